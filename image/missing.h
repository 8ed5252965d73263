// SPDX-License-Identifier: Apache-2.0
// A program in an enclave has failed: what did it look for that the image does not have, and this machine does? The names come from what it
// wrote to standard error, which the host sees anyway; or, of a debug enclave, from the kernel's list.
#ifndef COFFER_IMAGE_MISSING_H
#define COFFER_IMAGE_MISSING_H

#include <stddef.h>
#include <stdio.h>

#include "image/text.h"

// Adds "path:/usr/x", "library:libx.so.1", "program:x", "python:x", "perl:X/Y.pm" or "node:x" for what messages of the dynamic linker, shells,
// interpreters and programs name, without doubles, at most 64. *complains: some message says that something is not there. Any bytes will do.
void missing_names(const char *said, size_t len, struct string_list *names, bool *complains);

// Adds the lines of a kernel's list, the last one first.
void missing_list(const char *list, size_t len, struct string_list *names);

// Prints a line for each name that the folder `image` lacks and this machine has, at most `most`: with its Debian package and how to bring
// it. Returns how many; `head` is printed before the first.
#define MISSING_MOST 20
int missing_report(const char *image, const struct string_list *names, int most, const char *head, FILE *out);

#endif
