// SPDX-License-Identifier: Apache-2.0
// Lines of a test program: `ok NAME`, `not ok NAME: why`, `skip NAME: why`. Single-threaded.
#ifndef COFFER_TESTS_ATTEST_OK_H
#define COFFER_TESTS_ATTEST_OK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((weak)) int ok_failed;	// one for all files of a program

__attribute__((format(printf, 3, 4))) static inline bool ok(const char *name, bool passed, const char *why, ...)
{
	if (passed) {
		printf("ok %s\n", name);
	} else {
		va_list ap;
		va_start(ap, why);
		printf("not ok %s: ", name);
		vprintf(why, ap);
		printf("\n");
		va_end(ap);
		ok_failed++;
	}
	fflush(stdout);
	return passed;
}

static inline void skip(const char *name, const char *why)
{
	printf("skip %s: %s\n", name, why);
	fflush(stdout);
}

// What a test needs did not work: it is left out where that program is not installed, and fails where it is.
static inline void lacks(const char *name, const char *program, const char *why)
{
	if (access(program, X_OK))
		printf("skip %s: %s is not installed\n", name, program);
	else
		ok(name, false, "%s", why);
	fflush(stdout);
}

#endif
