// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: bytes being put together. What does not fit into memory or the limit is remembered, and asked for once at the end. Little-endian.
// One owner; no locks.
#ifndef COFFER_SPDM_BUFFER_H
#define COFFER_SPDM_BUFFER_H

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_MAX (1u << 20)

struct buffer {
	uint8_t *bytes;
	size_t len, size;
	bool failed;		// something is missing in it
};

// Room for n more bytes, zeroed, which count already; NULL: failed.
static inline uint8_t *buffer_room(struct buffer *b, size_t n)
{
	if (b->failed || n > BUFFER_MAX || b->len + n > BUFFER_MAX) {
		b->failed = true;
		return NULL;
	}
	if (b->len + n > b->size) {
		size_t size = b->size ? b->size : 256;
		while (size < b->len + n)
			size *= 2;
		uint8_t *bytes = OPENSSL_clear_realloc(b->bytes, b->size, size);
		if (!bytes) {
			b->failed = true;
			return NULL;
		}
		b->bytes = bytes;
		b->size = size;
	}
	uint8_t *p = b->bytes + b->len;
	memset(p, 0, n);
	b->len += n;
	return p;
}

static inline void buffer_put(struct buffer *b, const void *bytes, size_t n)
{
	uint8_t *p = buffer_room(b, n);
	if (p && n)
		memcpy(p, bytes, n);
}

// A number of `n` bytes.
static inline void buffer_number(struct buffer *b, uint32_t v, size_t n)
{
	uint8_t *p = buffer_room(b, n);
	for (size_t i = 0; p && i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

// Forgets what is in it, but keeps the memory.
static inline void buffer_clear(struct buffer *b)
{
	if (b->bytes)
		OPENSSL_cleanse(b->bytes, b->len);
	b->len = 0;
	b->failed = false;
}

static inline void buffer_free(struct buffer *b)
{
	OPENSSL_clear_free(b->bytes, b->size);
	*b = (struct buffer){.bytes = NULL};
}

#endif
