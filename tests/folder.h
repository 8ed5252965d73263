// SPDX-License-Identifier: Apache-2.0
// A folder for what a test program writes, in TMPDIR or /tmp. It goes when the program ends by itself; when it is killed, tests/run-unit
// removes the TMPDIR that it gave it.
#ifndef COFFER_TESTS_FOLDER_H
#define COFFER_TESTS_FOLDER_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_FOLDERS 8

static char test_folders[TEST_FOLDERS][64];
static int test_folder_count;
static pid_t test_folder_maker;	// children that it forks leave them alone

static inline int test_folder_open(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)ftw;
	if (type == FTW_D)
		chmod(path, 0700);
	return 0;
}

static inline int test_folder_drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path);
	return 0;
}

static inline void test_folders_remove(void)
{
	if (getpid() != test_folder_maker)
		return;
	for (int i = 0; i < test_folder_count; i++) {
		nftw(test_folders[i], test_folder_open, 16, FTW_PHYS | FTW_MOUNT);
		nftw(test_folders[i], test_folder_drop, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	}
}

static inline bool test_folder_in(char path[64], const char *where, const char *name)
{
	snprintf(path, 64, "%s/coffer-%s-XXXXXX", where, name);
	if (test_folder_count == TEST_FOLDERS || !mkdtemp(path)) {
		printf("not ok %s: no folder for its files in %s\n", name, where);
		return false;
	}
	snprintf(test_folders[test_folder_count++], 64, "%s", path);
	if (!test_folder_maker) {
		test_folder_maker = getpid();
		atexit(test_folders_remove);
	}
	return true;
}

static inline bool test_folder(char path[64], const char *name)
{
	const char *where = getenv("TMPDIR");
	return test_folder_in(path, where ? where : "/tmp", name);
}

#endif
