// SPDX-License-Identifier: Apache-2.0
// Memory and string functions, without vector registers. Up to 256 bytes go through plain 8-byte
// moves, because `rep movsb` has a start-up cost of some tens of cycles; longer blocks use it, since it
// moves whole cache lines. Takes no locks.
#include "kernel/include/kstring.h"

typedef u64 __attribute__((may_alias, aligned(1))) u64_ua;
typedef u32 __attribute__((may_alias, aligned(1))) u32_ua;
typedef u16 __attribute__((may_alias, aligned(1))) u16_ua;

#define LD8(p, o) (*(const u64_ua *)((const char *)(p) + (o)))
#define ST8(p, o, v) (*(u64_ua *)((char *)(p) + (o)) = (v))
// Keeps the compiler from turning a loop back into a call of the function that it is in.
#define KEEP_LOOP() __asm__ volatile("" ::: "memory")

// Up to 32 bytes: all loads come before all stores, so overlap is harmless.
static inline void copy_small(void *d, const void *s, size_t n)
{
	if (n >= 16) {
		u64 a = LD8(s, 0), b = LD8(s, 8), c = LD8(s, n - 16), e = LD8(s, n - 8);
		ST8(d, 0, a);
		ST8(d, 8, b);
		ST8(d, n - 16, c);
		ST8(d, n - 8, e);
	} else if (n >= 8) {
		u64 a = LD8(s, 0), b = LD8(s, n - 8);
		ST8(d, 0, a);
		ST8(d, n - 8, b);
	} else if (n >= 4) {
		u32 a = *(const u32_ua *)s, b = *(const u32_ua *)((const char *)s + n - 4);
		*(u32_ua *)d = a;
		*(u32_ua *)((char *)d + n - 4) = b;
	} else if (n >= 2) {
		u16 a = *(const u16_ua *)s, b = *(const u16_ua *)((const char *)s + n - 2);
		*(u16_ua *)d = a;
		*(u16_ua *)((char *)d + n - 2) = b;
	} else if (n) {
		*(char *)d = *(const char *)s;
	}
}

// 32 bytes and more, lowest address first: right when the areas are apart or d lies below s.
static inline void copy_up(void *d, const void *s, size_t n)
{
	if (n > 256) {
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
		return;
	}
	while (n > 32) {
		u64 a = LD8(s, 0), b = LD8(s, 8), c = LD8(s, 16), e = LD8(s, 24);
		ST8(d, 0, a);
		ST8(d, 8, b);
		ST8(d, 16, c);
		ST8(d, 24, e);
		d = (char *)d + 32;
		s = (const char *)s + 32;
		n -= 32;
		KEEP_LOOP();
	}
	copy_small(d, s, n);
}

static inline void copy_down(void *d, const void *s, size_t n)
{
	while (n > 32) {
		u64 a = LD8(s, n - 8), b = LD8(s, n - 16), c = LD8(s, n - 24), e = LD8(s, n - 32);
		ST8(d, n - 8, a);
		ST8(d, n - 16, b);
		ST8(d, n - 24, c);
		ST8(d, n - 32, e);
		n -= 32;
		KEEP_LOOP();
	}
	copy_small(d, s, n);
}

void *memcpy(void *d, const void *s, size_t n)
{
	if (n <= 32)
		copy_small(d, s, n);
	else
		copy_up(d, s, n);
	return d;
}

void *memmove(void *d, const void *s, size_t n)
{
	if (n <= 32)
		copy_small(d, s, n);
	else if ((uptr)d - (uptr)s >= n)
		copy_up(d, s, n);
	else
		copy_down(d, s, n);
	return d;
}

void *memset(void *d, int c, size_t n)
{
	u64 v = 0x0101010101010101ul * (u8)c;
	void *p = d;
	if (n > 256) {
		__asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
	} else if (n >= 8) {
		for (size_t i = 0; i + 8 < n; i += 8) {
			ST8(p, i, v);
			KEEP_LOOP();
		}
		ST8(p, n - 8, v);
	} else if (n >= 4) {
		*(u32_ua *)p = (u32)v;
		*(u32_ua *)((char *)p + n - 4) = (u32)v;
	} else if (n) {
		((char *)p)[0] = ((char *)p)[n - 1] = ((char *)p)[n / 2] = (char)c;
	}
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;
	while (n >= 8 && LD8(x, 0) == LD8(y, 0)) {
		x += 8;
		y += 8;
		n -= 8;
	}
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

void *memchr(const void *s, int c, size_t n)
{
	for (const u8 *p = s; n; n--, p++)
		if (*p == (u8)c)
			return (void *)(uptr)p;
	return NULL;
}

size_t strlen(const char *s)
{
	const char *p = s;
	while (*p) {
		p++;
		KEEP_LOOP();
	}
	return (size_t)(p - s);
}

size_t strnlen(const char *s, size_t n)
{
	size_t i = 0;
	while (i < n && s[i])
		i++;
	return i;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++)
		if (*a != *b || !*a)
			return (u8)*a - (u8)*b;
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uptr)s;
		if (!*s)
			return NULL;
	}
}

char *strrchr(const char *s, int c)
{
	const char *last = NULL;
	for (;; s++) {
		if (*s == (char)c)
			last = s;
		if (!*s)
			return (char *)(uptr)last;
	}
}

char *strstr(const char *h, const char *n)
{
	size_t len = strlen(n);
	for (;; h++) {
		if (!strncmp(h, n, len))
			return (char *)(uptr)h;
		if (!*h)
			return NULL;
	}
}

size_t strlcpy(char *d, const char *s, size_t n)
{
	size_t len = strlen(s);
	if (n) {
		size_t c = min(len, n - 1);
		memcpy(d, s, c);
		d[c] = 0;
	}
	return len;
}

void explicit_bzero(void *p, size_t n)
{
	memset(p, 0, n);
	__asm__ volatile("" : : "r"(p) : "memory");
}
