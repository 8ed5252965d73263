// SPDX-License-Identifier: Apache-2.0
// Kernel objects: size classes cut from 16 KiB slabs, larger ones as whole pages. Each shard (shard.h) keeps
// some free objects of each class, so that threads on different CPUs do not meet. Locks: the shard's pool, then the class, then page_lock.
// A kernel built with SAN_KERNEL=1 puts guards around them (kmalloc_san.c).
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "kernel/include/log.h"
#include "kernel/include/shard.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"

#define SLAB_PAGES 4
static const u16 size_of[] = { 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192 };
#define NCLASS ARRAY_SIZE(size_of)
static u8 class_of[8192 / 16 + 1] __sealed;	// by 16-byte units

struct object {
	struct object *next;
};
struct pool {
	struct mutex lock;
	u32 n;		// of a shard's pool: objects on its list
	struct object *free;
	s64 used;	// given out less given back here
};
static struct pool cls[NCLASS];
static struct {
	struct pool cls[NCLASS];
} __aligned(64) near[SHARDS];

#define NEAR_BYTES 8192u	// what a shard keeps of each class, and
#define NEAR_MAX 32u		// how many at most
static u32 near_max(u32 c) { return min(NEAR_MAX, NEAR_BYTES / size_of[c]); }
static s64 large_pages;
static u64 slab_pages;

// Slabs come from one dense stretch of pages while it lasts: what every process touches in the kernel lies together, so that a fork can hand
// it to the child (pf_fork), and away from file pages.
static pfn_t arena, arena_next, arena_end;
static u8 arena_cls[KMALLOC_ARENA_PAGES / SLAB_PAGES];

void kmalloc_init(pfn_t first, pfn_t end)
{
	arena = arena_next = first;
	arena_end = end;
	u32 c = 0;
	for (u32 i = 0; i < ARRAY_SIZE(class_of); i++) {
		while (size_of[c] < i * 16)
			c++;
		class_of[i] = (u8)c;
	}
}

static bool refill(u32 c)
{
	pfn_t p = __atomic_fetch_add(&arena_next, SLAB_PAGES, __ATOMIC_RELAXED);
	u8 *a;

	if (p + SLAB_PAGES <= arena_end) {
		arena_cls[(p - arena) / SLAB_PAGES] = (u8)c;
	} else {
		__atomic_fetch_sub(&arena_next, SLAB_PAGES, __ATOMIC_RELAXED);
		p = page_alloc(SLAB_PAGES, false);
		if (!p)
			return false;
		for (u32 i = 0; i < SLAB_PAGES; i++) {
			pmeta(p + i)->state = PM_SLAB;
			pmeta(p + i)->cls = (u8)c;
		}
	}
	__atomic_fetch_add(&slab_pages, SLAB_PAGES, __ATOMIC_RELAXED);
	a = page_addr(p);
	// last object first, so that the list runs upwards through the slab
	u32 n = SLAB_PAGES * PAGE_SIZE / size_of[c];
	for (u32 i = n; i-- > 0;) {
		struct object *o = (struct object *)(a + (size_t)i * size_of[c]);
		o->next = cls[c].free;
		cls[c].free = o;
	}
	return true;
}

// Half of what a shard may keep, from the common list; p->lock held.
static bool fetch(struct pool *p, u32 c)
{
	struct pool *all = &cls[c];
	u32 want = max(near_max(c) / 2, 1u);

	mutex_lock(&all->lock);
	while (p->n < want && (all->free || (!p->n && refill(c)))) {
		struct object *o = all->free;
		all->free = o->next;
		o->next = p->free;
		p->free = o;
		p->n++;
	}
	mutex_unlock(&all->lock);
	return p->n;
}

// Half of what a shard keeps goes to the common list; p->lock held.
static void give_back(struct pool *p, u32 c)
{
	struct pool *all = &cls[c];
	u32 keep = near_max(c) / 2;

	mutex_lock(&all->lock);
	while (p->n > keep) {
		struct object *o = p->free;
		p->free = o->next;
		p->n--;
		o->next = all->free;
		all->free = o;
	}
	mutex_unlock(&all->lock);
}

void *heap_alloc(size_t n)
{
	struct object *o;
	u32 c;

	if (n > 8192) {
		u64 pages = DIV_ROUND_UP(n, PAGE_SIZE);
		pfn_t p = pages > (1u << 20) ? PFN_NONE : page_alloc((u32)pages, false);
		if (!p)
			return NULL;
		pmeta(p)->state = PM_LARGE;
		pmeta(p)->next = (u32)pages;
		__atomic_fetch_add(&large_pages, (s64)pages, __ATOMIC_RELAXED);
		return page_addr(p);
	}
	c = class_of[(n + 15) / 16];
	struct pool *p = &near[my_shard()].cls[c];
	mutex_lock(&p->lock);
	if (unlikely(!p->free) && !fetch(p, c)) {
		mutex_unlock(&p->lock);
		return NULL;
	}
	o = p->free;
	p->free = o->next;
	p->n--;
	p->used++;
	mutex_unlock(&p->lock);
	return o;
}

// The class of an object, NCLASS for one of whole pages.
static u32 class_at(pfn_t p)
{
	struct pmeta *m;

	if (p >= arena && p < arena_end)
		return arena_cls[(p - arena) / SLAB_PAGES];
	m = pmeta(p);
	BUG_ON(m->state != PM_SLAB && m->state != PM_LARGE);
	return m->state == PM_LARGE ? NCLASS : m->cls;
}

void heap_free(const void *ptr)
{
	struct object *o = (struct object *)(uptr)ptr;
	pfn_t p;
	u32 c;

	if (!o)
		return;
	p = page_of(o);
	c = class_at(p);
	if (c == NCLASS) {
		struct pmeta *m = pmeta(p);
		m->state = PM_USED;
		__atomic_fetch_sub(&large_pages, (s64)m->next, __ATOMIC_RELAXED);
		page_free(p, m->next);
		return;
	}
	struct pool *near_pool = &near[my_shard()].cls[c];
	mutex_lock(&near_pool->lock);
	o->next = near_pool->free;
	near_pool->free = o;
	near_pool->used--;
	if (unlikely(++near_pool->n > near_max(c)))
		give_back(near_pool, c);
	mutex_unlock(&near_pool->lock);
}

size_t heap_usable(const void *ptr)
{
	pfn_t p = page_of(ptr);
	u32 c = class_at(p);

	return c == NCLASS ? (size_t)pmeta(p)->next << PAGE_SHIFT : size_of[c];
}

u64 kmalloc_arena_free(void) { return arena_end - min(__atomic_load_n(&arena_next, __ATOMIC_RELAXED), arena_end); }
u64 kmalloc_slab_pages(void) { return __atomic_load_n(&slab_pages, __ATOMIC_RELAXED); }

u64 kmalloc_usage(u32 i, u64 *bytes)
{
	if (i < NCLASS) {
		*bytes = size_of[i];
		s64 used = 0;
		for (u32 k = 0; k < SHARDS; k++)
			used += __atomic_load_n(&near[k].cls[i].used, __ATOMIC_RELAXED);
		return used > 0 ? (u64)used : 0;
	}
	*bytes = 0;
	return (u64)__atomic_load_n(&large_pages, __ATOMIC_RELAXED);
}

#ifndef KERNEL_SAN
void *kmalloc(size_t n) { return heap_alloc(n); }
void kfree(const void *p) { heap_free(p); }
#define kmalloc_usable heap_usable
#endif

void *kzalloc(size_t n)
{
	void *p = kmalloc(n);
	if (p)
		memset(p, 0, n);
	return p;
}

void *krealloc(void *p, size_t n)
{
	void *q;
	size_t u;

	if (!p)
		return kmalloc(n);
	u = kmalloc_usable(p);
	if (n <= u && n * 2 >= u)
		return p;
	q = kmalloc(n);
	if (!q)
		return n <= u ? p : NULL;
	memcpy(q, p, min(u, n));
	kfree(p);
	return q;
}

char *kstrndup(const char *s, size_t n)
{
	size_t l = strnlen(s, n);
	char *d = kmalloc(l + 1);

	if (d) {
		memcpy(d, s, l);
		d[l] = 0;
	}
	return d;
}

char *kstrdup(const char *s) { return kstrndup(s, (size_t)-1 >> 1); }
