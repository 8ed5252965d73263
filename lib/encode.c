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
	for (char *p = s; *p; p++)
		memset(p, '?', control(p));
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
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
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
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)b[i] << 16 | (n > 1 ? (uint32_t)b[i + 1] << 8 : 0) | (n > 2 ? b[i + 2] : 0);
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

static int base64_digit(char c, enum base64_kind kind)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == (kind == BASE64_URL ? '-' : '+'))
		return 62;
	if (c == (kind == BASE64_URL ? '_' : '/'))
		return 63;
	return -1;
}

ssize_t base64_decode(void *out, size_t size, const char *text, size_t len, enum base64_kind kind)
{
	if (len % 4 == 0 && len > 0 && text[len - 1] == '=')
		len -= text[len - 2] == '=' ? 2 : 1;
	if (len % 4 == 1)
		return -EINVAL;
	size_t n = len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0);
	if (n > size)
		return -ENOSPC;

	uint8_t *o = out;
	uint32_t acc = 0;
	unsigned int bits = 0;
	for (size_t i = 0; i < len; i++) {
		int d = base64_digit(text[i], kind);
		if (d < 0)
			return -EINVAL;
		acc = acc << 6 | (uint32_t)d;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			*o++ = (uint8_t)(acc >> bits);
			acc &= (1u << bits) - 1;
		}
	}
	return acc ? -EINVAL : (ssize_t)n;
}
