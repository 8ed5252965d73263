// SPDX-License-Identifier: Apache-2.0
// kernel/lib/string.c and printf.c against the C library's own functions.
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *k_memcpy(void *d, const void *s, size_t n), *k_memmove(void *d, const void *s, size_t n), *k_memset(void *d, int c, size_t n);
int k_memcmp(const void *a, const void *b, size_t n), k_strcmp(const char *a, const char *b);
int k_strncmp(const char *a, const char *b, size_t n);
void *k_memchr(const void *s, int c, size_t n);
size_t k_strlen(const char *s), k_strnlen(const char *s, size_t n), k_strlcpy(char *d, const char *s, size_t n);
char *k_strchr(const char *s, int c), *k_strrchr(const char *s, int c), *k_strstr(const char *h, const char *n);
int k_snprintf(char *buf, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int k_scnprintf(char *buf, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int kstrtou64(const char *s, const char **end, uint64_t *out);

static int failed;
static void result(const char *name, bool good)
{
	printf("%s kstring.%s%s\n", good ? "ok" : "not ok", name, good ? "" : ": differs from the C library");
	failed += !good;
}

static int sign(int v) { return (v > 0) - (v < 0); }

static bool moves(void)
{
	static unsigned char a[2048], b[2048];
	for (size_t n = 0; n < 600; n += 1 + n / 80)
		for (size_t from = 0; from < 80; from += 3)
			for (size_t to = 0; to < 80; to += 7) {
				for (size_t i = 0; i < sizeof(a); i++)
					a[i] = b[i] = (unsigned char)rand();
				memmove(a + to, a + from, n);
				k_memmove(b + to, b + from, n);
				memcpy(a + to, a + 1024 + from, n);
				k_memcpy(b + to, b + 1024 + from, n);
				memset(a + 700 + to, (int)n, n / 2);
				k_memset(b + 700 + to, (int)n, n / 2);
				if (memcmp(a, b, sizeof(a)))
					return false;
			}
	return true;
}

static bool compares(void)
{
	char a[64], b[64];
	for (int round = 0; round < 20000; round++) {
		size_t n = (size_t)rand() % sizeof(a);
		for (size_t i = 0; i < n; i++)
			a[i] = b[i] = (char)('a' + rand() % 2);
		if (n)
			b[(size_t)rand() % n] = (char)rand();
		if (sign(memcmp(a, b, n)) != sign(k_memcmp(a, b, n)) || memchr(b, 'a', n) != k_memchr(b, 'a', n))
			return false;
	}
	return true;
}

static bool strings(void)
{
	static const char *const s[] = {"", "a", "ab", "abc", "abab", "ba", "\xff", "a\xff", "hello world", "world"};
	const size_t n = sizeof(s) / sizeof(s[0]);
	for (size_t i = 0; i < n; i++) {
		char d[4];
		if (k_strlen(s[i]) != strlen(s[i]) || k_strnlen(s[i], 2) != strnlen(s[i], 2) || k_strchr(s[i], 'b') != strchr(s[i], 'b') ||
		    k_strchr(s[i], 0) != strchr(s[i], 0) || k_strrchr(s[i], 'a') != strrchr(s[i], 'a'))
			return false;
		if (k_strlcpy(d, s[i], sizeof(d)) != strlen(s[i]) || strncmp(d, s[i], 3) || strlen(d) > 3)
			return false;
		for (size_t j = 0; j < n; j++)
			if (sign(k_strcmp(s[i], s[j])) != sign(strcmp(s[i], s[j])) || k_strstr(s[i], s[j]) != strstr(s[i], s[j]) ||
			    sign(k_strncmp(s[i], s[j], 2)) != sign(strncmp(s[i], s[j], 2)))
				return false;
	}
	return true;
}

static bool good;
#define SAME(...)                                                                                                            \
	do {                                                                                                                 \
		char a[128], b[128];                                                                                         \
		int x = snprintf(a, sizeof(a), __VA_ARGS__), y = k_snprintf(b, sizeof(b), __VA_ARGS__);                      \
		if (x != y || strcmp(a, b)) {                                                                                \
			printf("# '%s' is not '%s'\n", b, a);                                                                \
			good = false;                                                                                        \
		}                                                                                                            \
	} while (0)

static bool formats(void)
{
	good = true;
	SAME("%d|%5d|%-5d|%05d|%+d|% d|%i", 1, 2, 3, 4, 5, 6, -7);
	SAME("%d %d %u", INT_MIN, INT_MAX, UINT_MAX);
	SAME("%ld %ld %lu %lld %llu", LONG_MIN, LONG_MAX, ULONG_MAX, LLONG_MIN, ULLONG_MAX);
	SAME("%x %#x %X %#X %o %#o %#x %#o", 255, 255, 255, 255, 8, 8, 0, 0);
	SAME("%hhd %hu %zu %zd", (signed char)300, (unsigned short)70000, (size_t)3, (ssize_t)-3);
	SAME("%.5d|%8.5d|%-8.3x|%08x|%#010x", 42, -42, 10, 0xbeef, 0xbeef);
	SAME("%s|%10s|%-10s|%.2s|%*s|%-*s|%.*s", "ab", "ab", "ab", "abcd", 6, "q", 6, "q", 1, "xyz");
	SAME("%c%%%5c|%-3c|", 'a', 'b', 'c');
	SAME("%p", (void *)0x1234);
	return good;
}

static bool truncation(void)
{
	char b[8];
	memset(b, 'x', sizeof(b));
	bool right = k_snprintf(b, 4, "%s", "abcdef") == 6 && !strcmp(b, "abc") && b[4] == 'x';
	right &= k_scnprintf(b, 4, "%s", "abcdef") == 3 && k_scnprintf(b, 0, "a") == 0 && k_snprintf(NULL, 0, "%d", 1234) == 4;
	return right;
}

static bool numbers(void)
{
	uint64_t v = 0;
	const char *end = NULL;
	bool right = !kstrtou64("0", NULL, &v) && v == 0 && !kstrtou64("18446744073709551615", NULL, &v) && v == UINT64_MAX;
	right &= !kstrtou64("0xfF", NULL, &v) && v == 255 && !kstrtou64("12,3", &end, &v) && v == 12 && *end == ',';
	right &= kstrtou64("18446744073709551616", NULL, &v) == -34 && kstrtou64("", NULL, &v) == -22 &&
		 kstrtou64("-1", NULL, &v) == -22 && kstrtou64("12x", NULL, &v) == -22;
	return right && !kstrtou64("0x", &end, &v) && v == 0 && *end == 'x';
}

int main(void)
{
	srand(1);
	result("moves", moves());
	result("compares", compares());
	result("strings", strings());
	result("formats", formats());
	result("truncation", truncation());
	result("numbers", numbers());
	return failed != 0;
}
