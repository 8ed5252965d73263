// SPDX-License-Identifier: Apache-2.0
// A failed call's message: what went wrong, in the user's words. Handed down by the caller, filled once, printed by
// the command. Holds no memory of its own; no locks.
#ifndef COFFER_IMAGE_PROBLEM_H
#define COFFER_IMAGE_PROBLEM_H

struct problem {
	char text[1536];
};

// Writes the message and returns `err` (a negative errno), so that a caller can `return problem_set(p, -EINVAL, ...)`.
__attribute__((format(printf, 3, 4))) int problem_set(struct problem *p, int err, const char *format, ...);

// The same, with ": <strerror>" appended for the positive `errno_value`; returns -errno_value.
__attribute__((format(printf, 3, 4))) int problem_errno(struct problem *p, int errno_value, const char *format, ...);

#endif
