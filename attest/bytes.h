// SPDX-License-Identifier: Apache-2.0
// Inside attest/: reading untrusted bytes. A cursor never leaves its bytes: once something was asked that is not there, `short_of` is
// set, every further read yields zeros or NULL, and one question at the end tells. Pure; no locks.
#ifndef COFFER_ATTEST_BYTES_H
#define COFFER_ATTEST_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
	const uint8_t *p;
	size_t left;
	bool short_of;
};

static inline struct cursor cursor_of(const void *bytes, size_t len)
{
	return (struct cursor){bytes, len, false};
}

// The next `n` bytes, or NULL.
static inline const uint8_t *cursor_take(struct cursor *c, size_t n)
{
	if (c->short_of || n > c->left) {
		c->short_of = true;
		return NULL;
	}
	const uint8_t *p = c->p;
	c->p += n;
	c->left -= n;
	return p;
}

// The next `n` bytes as a cursor of their own.
static inline struct cursor cursor_part(struct cursor *c, size_t n)
{
	const uint8_t *p = cursor_take(c, n);
	return (struct cursor){p, p ? n : 0, !p};
}

static inline uint16_t load_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t load_le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void store_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static inline uint64_t load_le64(const uint8_t *p)
{
	return load_le32(p) | (uint64_t)load_le32(p + 4) << 32;
}

static inline uint64_t load_be(const uint8_t *p, size_t n)
{
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static inline uint16_t cursor_le16(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 2);
	return p ? load_le16(p) : 0;
}

static inline uint32_t cursor_le32(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 4);
	return p ? load_le32(p) : 0;
}

// A big-endian number of n bytes, 1 to 8.
static inline uint64_t cursor_be(struct cursor *c, size_t n)
{
	const uint8_t *p = cursor_take(c, n);
	return p ? load_be(p, n) : 0;
}

static inline bool all_bytes(const uint8_t *p, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] != value)
			return false;
	}
	return true;
}

#endif
