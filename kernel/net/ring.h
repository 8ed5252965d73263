// SPDX-License-Identifier: Apache-2.0
// A ring of bytes in kernel pages that grows as it is needed: the receive side of a stream socket.
// Locking is the caller's.
#pragma once
#include "kernel/net/sock.h"

#define RING_MIN (4u << 10)
#define RING_KEEP (64u << 10) // an empty ring that is larger gives its memory back
#define RINGS_KEPT 512u	      // beyond so many, every empty ring does: ten thousand connections that wait hold no buffers

void ring_free(struct ring *r);
void ring_emptied(struct ring *r);	// the last byte was taken
// Makes room for n more bytes if memory and cap allow; how many fit.
u32 ring_room(struct ring *r, u64 n, u32 cap);

// Copies from the iterator behind the end: how many bytes (short on a fault). They count at once.
static inline u32 ring_in(struct ring *r, struct iter *it, u32 n)
{
	u32 tail = (r->head + r->len) & (r->size - 1), first = min(n, r->size - tail);
	u32 got = (u32)iter_get(it, r->buf + tail, first);
	if (got == first && n > first)
		got += (u32)iter_get(it, r->buf, n - first);
	r->len += got;
	return got;
}

// Copies n bytes that begin `off` bytes after the head to the iterator, without consuming.
static inline u32 ring_peek(struct ring *r, struct iter *it, u32 off, u32 n)
{
	u32 at = (r->head + off) & (r->size - 1), first = min(n, r->size - at);
	u32 got = (u32)iter_put(it, r->buf + at, first);
	if (got == first && n > first)
		got += (u32)iter_put(it, r->buf, n - first);
	return got;
}

static inline void ring_skip(struct ring *r, u32 n)
{
	r->len -= n;
	r->head = r->len ? (r->head + n) & (r->size - 1) : 0; // an empty ring starts over: warm in the cache
}
