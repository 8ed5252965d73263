// SPDX-License-Identifier: Apache-2.0
// Which system calls could a program make? Read from its machine code and that of the libraries it loads; nothing is run.
// All of the program counts; of a library only what the program can reach: imported functions, what those call, and what
// lies behind pointers in the library's data.
#ifndef COFFER_IMAGE_SCAN_H
#define COFFER_IMAGE_SCAN_H

#include "image/text.h"
#include "lib/fault.h"

enum { SCAN_CALLS = 512 };

struct scan {
	bool made[SCAN_CALLS];
	char *where[SCAN_CALLS];	// the file (and imported function) that makes it, the first found
	size_t unknown;			// `syscall` instructions whose number is not a constant just before them
	bool indirect;			// the program uses syscall(2) with a number that it computes
	bool loads;			// it can load further libraries at run time (dlopen)
	struct string_list files;	// what was looked at
};

// `path`: an ELF program, or library. scan_free() it also after an error.
int scan_program(struct scan *s, const char *path, struct fault *p);
void scan_free(struct scan *s);

// One file's bytes alone (for the fuzzer): all of its code.
int scan_bytes(struct scan *s, const void *bytes, size_t len, struct fault *p);

#endif
