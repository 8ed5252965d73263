// SPDX-License-Identifier: Apache-2.0
// Messages of failed calls (see problem.h).
#include "image/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int problem_set(struct problem *p, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->text, sizeof(p->text), format, args);
	va_end(args);
	return err;
}

int problem_errno(struct problem *p, int errno_value, const char *format, ...)
{
	va_list args;
	size_t used;

	va_start(args, format);
	vsnprintf(p->text, sizeof(p->text), format, args);
	va_end(args);
	used = strlen(p->text);
	snprintf(p->text + used, sizeof(p->text) - used, ": %s", strerror(errno_value));
	return -errno_value;
}
