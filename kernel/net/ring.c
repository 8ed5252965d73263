// SPDX-License-Identifier: Apache-2.0
// Memory of socket rings (ring.h). Takes no locks of its own; the number of rings is an atomic word.
#include "kernel/net/ring.h"

static u32 rings; // that have memory

void ring_free(struct ring *r)
{
	if (r->buf) {
		page_free(page_of(r->buf), r->size >> PAGE_SHIFT);
		__atomic_fetch_sub(&rings, 1, __ATOMIC_RELAXED);
	}
	r->buf = NULL;
	r->size = r->head = r->len = 0;
}

static int resize(struct ring *r, u32 size)
{
	pfn_t pfn = page_alloc(size >> PAGE_SHIFT, false);
	if (pfn == PFN_NONE)
		return -ENOMEM;
	char *nbuf = page_addr(pfn);
	if (r->len) {
		u32 first = min(r->len, r->size - r->head);
		memcpy(nbuf, r->buf + r->head, first);
		memcpy(nbuf + first, r->buf, r->len - first);
	}
	u32 len = r->len;
	ring_free(r);
	*r = (struct ring){ .buf = nbuf, .head = 0, .len = len, .size = size };
	__atomic_fetch_add(&rings, 1, __ATOMIC_RELAXED);
	return 0;
}

void ring_emptied(struct ring *r)
{
	if (unlikely(r->size > RING_KEEP || __atomic_load_n(&rings, __ATOMIC_RELAXED) > RINGS_KEPT))
		ring_free(r);
}

u32 ring_room(struct ring *r, u64 n, u32 cap)
{
	u64 need = min((u64)r->len + n, (u64)cap);
	if (unlikely(need > r->size)) {
		u32 size = RING_MIN;
		while (size < need)
			size *= 4;
		if (resize(r, size) && !r->buf)
			(void)resize(r, PAGE_SIZE);
	}
	u32 limit = min(r->size, cap);
	return limit > r->len ? limit - r->len : 0;
}
