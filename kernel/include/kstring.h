// SPDX-License-Identifier: Apache-2.0
// Freestanding string and formatting helpers (kernel/lib/).
#pragma once
#include "kernel/include/types.h"
#include <stdarg.h>

void *memcpy(void *d, const void *s, size_t n);
void *memmove(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t n);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
char *strstr(const char *h, const char *n);
size_t strlcpy(char *d, const char *s, size_t n);	// always terminates; returns strlen(s)
void explicit_bzero(void *p, size_t n);			// a wipe that the compiler keeps

// printf subset: d i u x X o c s p %, with flags - 0 + space #, width, precision, h hh l ll z.
// Always terminates; returns the length that would have been written (man 3 snprintf).
int vsnprintf(char *buf, size_t n, const char *fmt, va_list ap) __printf(3, 0);
int snprintf(char *buf, size_t n, const char *fmt, ...) __printf(3, 4);
int scnprintf(char *buf, size_t n, const char *fmt, ...) __printf(3, 4); // returns what was written
// Decimal or 0x.. number; 0 or -EINVAL / -ERANGE. `end` may be NULL (then the whole string must be a number).
int kstrtou64(const char *s, const char **end, u64 *out);
