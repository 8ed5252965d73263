// SPDX-License-Identifier: Apache-2.0
// Bytes that are being put together: a buffer that grows, and remembers when it could not, so that whoever writes looks once at the end. Wiped when
// it grows and when it is freed. One thread at a time; no locks.
#ifndef COFFER_TUNNEL_OUTBUF_H
#define COFFER_TUNNEL_OUTBUF_H

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct outbuf {
	uint8_t *at;
	size_t len, size;
	bool failed;		// memory was short: what is in it is not all
};

// Room for `n` more bytes at the end, which belong to it from now on; NULL when there is none.
static inline uint8_t *outbuf_add(struct outbuf *b, size_t n)
{
	if (b->failed || n > SIZE_MAX / 4 - b->len) {
		b->failed = true;
		return NULL;
	}
	if (b->len + n > b->size || !b->at) {
		size_t size = b->size ? b->size : 256;
		while (size < b->len + n)
			size *= 2;
		uint8_t *at = malloc(size);
		if (!at) {
			b->failed = true;
			return NULL;
		}
		if (b->len)
			memcpy(at, b->at, b->len);
		OPENSSL_cleanse(b->at, b->len);
		free(b->at);
		b->at = at;
		b->size = size;
	}
	b->len += n;
	return b->at + b->len - n;
}

static inline void outbuf_put(struct outbuf *b, const void *bytes, size_t n)
{
	uint8_t *p = outbuf_add(b, n);
	if (p && n)
		memcpy(p, bytes, n);
}

static inline void outbuf_text(struct outbuf *b, const char *text)
{
	outbuf_put(b, text, strlen(text));
}

// A number of `n` bytes, the highest first.
static inline void outbuf_number(struct outbuf *b, uint64_t v, unsigned int n)
{
	uint8_t *p = outbuf_add(b, n);
	for (unsigned int i = 0; p && i < n; i++)
		p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

// An integer of variable length (RFC 9000 section 16), in its shortest form; v < 2^62.
static inline void outbuf_varint(struct outbuf *b, uint64_t v)
{
	if (v < 1u << 6)
		outbuf_number(b, v, 1);
	else if (v < 1u << 14)
		outbuf_number(b, v | 1u << 14, 2);
	else if (v < 1u << 30)
		outbuf_number(b, v | 2u << 30, 4);
	else
		outbuf_number(b, v | 3ull << 62, 8);
}

// Takes `n` bytes from the front.
static inline void outbuf_drop(struct outbuf *b, size_t n)
{
	memmove(b->at, b->at + n, b->len - n);
	b->len -= n;
}

static inline void outbuf_free(struct outbuf *b)
{
	OPENSSL_cleanse(b->at, b->len);
	free(b->at);
	*b = (struct outbuf){.at = NULL};
}

#endif
