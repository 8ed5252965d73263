// SPDX-License-Identifier: Apache-2.0
// The few lines that the image library's tests share: numbered nothing, `ok NAME` / `not ok NAME: why` on stdout.
#ifndef COFFER_TESTS_IMAGE_UNIT_H
#define COFFER_TESTS_IMAGE_UNIT_H

#include <stdbool.h>
#include <stdio.h>

static int unit_failed;

__attribute__((unused)) static void unit_check(bool good, const char *name, const char *why)
{
	if (good)
		printf("ok %s\n", name);
	else
		printf("not ok %s: %s\n", name, why);
	unit_failed |= !good;
	fflush(stdout);
}

#endif
