// SPDX-License-Identifier: Apache-2.0
// The message of a failed call, in the user's words. The caller owns it; the callee that fails fills it once and
// returns a negative errno. Holds no memory of its own; no locks.
#ifndef COFFER_LIB_FAULT_H
#define COFFER_LIB_FAULT_H

struct fault {
	char text[1024];
};

// Writes the message and returns `err` (a negative errno): `return fault_set(f, -EINVAL, "...")`. `f` may be NULL.
__attribute__((format(printf, 3, 4))) int fault_set(struct fault *f, int err, const char *format, ...);

// The same with ": <strerror>" appended for the positive `errno_value`; returns -errno_value.
__attribute__((format(printf, 3, 4))) int fault_errno(struct fault *f, int errno_value, const char *format, ...);

#endif
