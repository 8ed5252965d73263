// SPDX-License-Identifier: Apache-2.0
// See fault.h. Pure; no locks.
#include "lib/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fault_set(struct fault *f, int err, const char *format, ...)
{
	if (f) {
		va_list ap;
		va_start(ap, format);
		vsnprintf(f->text, sizeof f->text, format, ap);
		va_end(ap);
	}
	return err;
}

int fault_errno(struct fault *f, int errno_value, const char *format, ...)
{
	if (f) {
		va_list ap;
		va_start(ap, format);
		int n = vsnprintf(f->text, sizeof f->text, format, ap);
		va_end(ap);
		if (n >= 0 && (size_t)n < sizeof f->text)
			snprintf(f->text + n, sizeof f->text - n, ": %s", strerror(errno_value));
	}
	return -errno_value;
}
