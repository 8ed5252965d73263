// SPDX-License-Identifier: Apache-2.0
// See log.h.
#include "lib/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void log_line(enum log_level level, const char *format, ...)
{
	static const char *const colours[] = {"", "\033[33m", "\033[1;31m"};
	char text[2048], line[sizeof text + 32];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	for (char *p = text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	const char *none = getenv("NO_COLOR");
	bool colour = level != LOG_LEVEL_INFO && !(none && *none) && isatty(STDERR_FILENO);
	int n = snprintf(line, sizeof line, "%s%s%s\n", colour ? colours[level] : "", text, colour ? "\033[0m" : "");
	// Nothing can be done about a message that cannot be written.
	ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
	(void)ignored;
}
