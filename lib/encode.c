// SPDX-License-Identifier: Apache-2.0
// See encode.h. Pure; no locks.
#include "lib/encode.h"

#include <errno.h>
#include <string.h>

// The bytes of a control character here; 0: none.
static size_t control(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	return *p < ' ' || *p == 0x7f ? 1 : *p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0 ? 2 : 0;
}

char *text_printable(char *s)
{
	for (char *p = s; *p; p++) {
		if ((unsigned char)(*p - ' ') >= 0x7f - ' ')	// all but plain ASCII
			memset(p, '?', control(p));
	}
	return s;
}

bool text_is_printable(const char *s)
{
	while (*s && !control(s))
		s++;
	return !*s;
}

char *hex_encode(char *out, const void *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = bytes;
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[b[i] >> 4];
		out[2 * i + 1] = digits[b[i] & 15];
	}
	out[2 * len] = '\0';
	return out;
}

static int hex_digit(char c)
{
	unsigned int digit = (unsigned char)c - '0', letter = ((unsigned char)c | 0x20) - 'a';
	return digit < 10 ? (int)digit : letter < 6 ? (int)letter + 10 : -1;
}

int hex_decode(void *out, size_t len, const char *text)
{
	uint8_t *o = out;
	if (strlen(text) != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return -EINVAL;
		o[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

static const char *alphabet(enum base64_kind kind)
{
	return kind == BASE64_URL ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
				  : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}

size_t base64_encode(char *out, const void *bytes, size_t len, enum base64_kind kind)
{
	const char *set = alphabet(kind);
	const uint8_t *b = bytes;
	char *o = out;
	size_t i = 0;
	for (; i + 3 <= len; i += 3, o += 4) {
		uint32_t v = (uint32_t)b[i] << 16 | (uint32_t)b[i + 1] << 8 | b[i + 2];
		o[0] = set[v >> 18];
		o[1] = set[v >> 12 & 63];
		o[2] = set[v >> 6 & 63];
		o[3] = set[v & 63];
	}
	if (i < len) {
		size_t n = len - i;
		uint32_t v = (uint32_t)b[i] << 16 | (n > 1 ? (uint32_t)b[i + 1] << 8 : 0);
		for (size_t k = 0; k < 4; k++) {
			if (k <= n)
				*o++ = set[v >> (18 - 6 * k) & 63];
			else if (kind == BASE64_STD)
				*o++ = '=';
		}
	}
	*o = '\0';
	return (size_t)(o - out);
}

// What a character stands for in either alphabet, with a bit that says that it does. By a table: what branches on text like this is guessed wrong
// every other time.
#define DIGIT 0x80
static const uint8_t base64_digits[256] = {
	['A'] = 0x80, ['B'] = 0x81, ['C'] = 0x82, ['D'] = 0x83, ['E'] = 0x84, ['F'] = 0x85, ['G'] = 0x86, ['H'] = 0x87,
	['I'] = 0x88, ['J'] = 0x89, ['K'] = 0x8a, ['L'] = 0x8b, ['M'] = 0x8c, ['N'] = 0x8d, ['O'] = 0x8e, ['P'] = 0x8f,
	['Q'] = 0x90, ['R'] = 0x91, ['S'] = 0x92, ['T'] = 0x93, ['U'] = 0x94, ['V'] = 0x95, ['W'] = 0x96, ['X'] = 0x97,
	['Y'] = 0x98, ['Z'] = 0x99, ['a'] = 0x9a, ['b'] = 0x9b, ['c'] = 0x9c, ['d'] = 0x9d, ['e'] = 0x9e, ['f'] = 0x9f,
	['g'] = 0xa0, ['h'] = 0xa1, ['i'] = 0xa2, ['j'] = 0xa3, ['k'] = 0xa4, ['l'] = 0xa5, ['m'] = 0xa6, ['n'] = 0xa7,
	['o'] = 0xa8, ['p'] = 0xa9, ['q'] = 0xaa, ['r'] = 0xab, ['s'] = 0xac, ['t'] = 0xad, ['u'] = 0xae, ['v'] = 0xaf,
	['w'] = 0xb0, ['x'] = 0xb1, ['y'] = 0xb2, ['z'] = 0xb3, ['0'] = 0xb4, ['1'] = 0xb5, ['2'] = 0xb6, ['3'] = 0xb7,
	['4'] = 0xb8, ['5'] = 0xb9, ['6'] = 0xba, ['7'] = 0xbb, ['8'] = 0xbc, ['9'] = 0xbd, ['+'] = 0xbe, ['-'] = 0xbe,
	['/'] = 0xbf, ['_'] = 0xbf,
};

static unsigned int base64_digit(char c)
{
	return base64_digits[(unsigned char)c];
}

ssize_t base64_decode(void *out, size_t size, const char *text, size_t len, enum base64_kind kind)
{
	const char *foreign = kind == BASE64_URL ? "+/" : "-_";
	if (len % 4 == 0 && len > 0 && text[len - 1] == '=')
		len -= text[len - 2] == '=' ? 2 : 1;
	if (len % 4 == 1)
		return -EINVAL;
	size_t n = len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0), i = 0;
	if (n > size)
		return -ENOSPC;
	if (len && (memchr(text, foreign[0], len) || memchr(text, foreign[1], len)))
		return -EINVAL;

	uint8_t *o = out;
	for (; i + 4 <= len; i += 4, o += 3) {
		unsigned int a = base64_digit(text[i]), b = base64_digit(text[i + 1]), c = base64_digit(text[i + 2]), d = base64_digit(text[i + 3]);
		if (!(a & b & c & d & DIGIT))
			return -EINVAL;
		o[0] = (uint8_t)(a << 2 | (b & 63) >> 4);
		o[1] = (uint8_t)(b << 4 | (c & 63) >> 2);
		o[2] = (uint8_t)(c << 6 | (d & 63));
	}
	if (i == len)
		return (ssize_t)n;
	bool two = len - i > 2;	// bytes; else one
	unsigned int a = base64_digit(text[i]), b = base64_digit(text[i + 1]), c = two ? base64_digit(text[i + 2]) : DIGIT;
	if (!(a & b & c & DIGIT) || (two ? c & 3 : b & 15))	// bits left over
		return -EINVAL;
	*o++ = (uint8_t)(a << 2 | (b & 63) >> 4);
	if (two)
		*o = (uint8_t)(b << 4 | (c & 63) >> 2);
	return (ssize_t)n;
}

char *time_text(char out[32], time_t t)
{
	struct tm tm;
	if (!gmtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		out[0] = '\0';
	return out;
}
