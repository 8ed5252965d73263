// SPDX-License-Identifier: Apache-2.0
// What the tests of imports share: each import goes into a new folder below the test's own, and `root` is the newest.
#ifndef COFFER_TESTS_IMAGE_IMPORT_H
#define COFFER_TESTS_IMAGE_IMPORT_H

#include <stdlib.h>

#include "image/rootfs.h"

static char top[64];	// test_folder makes it
static int rounds;
static char *root;

// work of the options is set here.
static int import(const char *from, struct rootfs_options o, struct rootfs_result *r, struct fault *f)
{
	char *work = xasprintf("%s/work%d", top, rounds);
	struct tree t;
	int err;

	free(root);
	root = xasprintf("%s/root%d", top, rounds++);
	o.work = work;
	err = tree_open(&t, root, f);
	if (!err)
		err = rootfs_import(&t, from, &o, r, f);
	tree_close(&t);
	free(work);
	return err;
}

#endif
