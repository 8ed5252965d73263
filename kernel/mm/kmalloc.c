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

void kmalloc_init(void)
{
	u32 c = 0;
	for (u32 i = 0; i < ARRAY_SIZE(class_of); i++) {
		while (size_of[c] < i * 16)
			c++;
		class_of[i] = (u8)c;
	}
}

static bool refill(u32 c)
{
	pfn_t p = page_alloc(SLAB_PAGES, false);
	u8 *a = page_addr(p);

	if (!p)
		return false;
	__atomic_fetch_add(&slab_pages, SLAB_PAGES, __ATOMIC_RELAXED);
	for (u32 i = 0; i < SLAB_PAGES; i++) {
		pmeta(p + i)->state = PM_SLAB;
		pmeta(p + i)->cls = (u8)c;
	}
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

void heap_free(const void *ptr)
{
	struct object *o = (struct object *)(uptr)ptr;
	struct pmeta *m;
	pfn_t p;

	if (!o)
		return;
	p = page_of(o);
	m = pmeta(p);
	if (m->state == PM_LARGE) {
		m->state = PM_USED;
		__atomic_fetch_sub(&large_pages, (s64)m->next, __ATOMIC_RELAXED);
		page_free(p, m->next);
		return;
	}
	BUG_ON(m->state != PM_SLAB);
	struct pool *near_pool = &near[my_shard()].cls[m->cls];
	mutex_lock(&near_pool->lock);
	o->next = near_pool->free;
	near_pool->free = o;
	near_pool->used--;
	if (unlikely(++near_pool->n > near_max(m->cls)))
		give_back(near_pool, m->cls);
	mutex_unlock(&near_pool->lock);
}

size_t heap_usable(const void *p)
{
	struct pmeta *m = pmeta(page_of(p));
	return m->state == PM_LARGE ? (size_t)m->next << PAGE_SHIFT : size_of[m->cls];
}

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
