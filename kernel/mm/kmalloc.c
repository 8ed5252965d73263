// SPDX-License-Identifier: Apache-2.0
// Kernel objects: size classes cut from 16 KiB slabs, larger ones as whole pages. Each shard (shard.h) keeps
// some free objects of each class, so that threads on different CPUs do not meet; others lie in their slab's own list. A slab that is free
// as a whole serves any class, and goes back after a while (kmalloc_trim).
// Locks: the shard's pool, then the class, then empty_lock or page_lock.
// A kernel built with SAN_KERNEL=1 puts guards around them (kmalloc_san.c).
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/shard.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"

#define SLAB_PAGES 4u
static const u16 size_of[] = { 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192 };
#define NCLASS ARRAY_SIZE(size_of)
static u8 class_of[8192 / 16 + 1] __sealed;	// by 16-byte units

struct object {
	struct object *next;
};
struct class {
	struct mutex lock;
	pfn_t partial;	// slabs with free objects, linked through their meta()
};
static struct class cls[NCLASS];

struct pool {
	struct mutex lock;
	u32 n;		// objects on the list
	struct object *free;
	s64 used;	// given out less given back here
};
static struct {
	struct pool cls[NCLASS];
} __aligned(64) near[SHARDS];

#define NEAR_BYTES 8192u	// what a shard keeps of each class, and
#define NEAR_MAX 32u		// how many at most
static u32 near_max(u32 c) { return min(NEAR_MAX, NEAR_BYTES / size_of[c]); }
static u32 per_slab(u32 c) { return SLAB_PAGES * PAGE_SIZE / size_of[c]; }
static s64 large_pages;
static u64 slab_pages;

// Slabs come from one dense stretch of pages while it lasts: what every process touches in the kernel lies together, and away from file
// pages. Its first 2 MiB block, which the platform may have made one huge page, is never given back.
static pfn_t arena, arena_next, arena_end, arena_kept;
static u8 arena_cls[KMALLOC_ARENA_PAGES / SLAB_PAGES];
static struct pmeta arena_meta[KMALLOC_ARENA_PAGES / SLAB_PAGES];

// Slabs that are free as a whole: of the block that is kept, others, and of the arena without memory.
static struct mutex empty_lock;
static pfn_t empty_near, empty_far, released;
static u64 nempty, nempty_least, nreleased; // far ones now, the fewest since the last trim; released

#define KEEP_EMPTY 64u		// slabs that trim leaves
#define TRIM_AT_ONCE 64u

void kmalloc_init(pfn_t first, pfn_t end)
{
	arena = arena_next = first;
	arena_end = end;
	arena_kept = ALIGN_UP(first + 1, 512u);
	u32 c = 0;
	for (u32 i = 0; i < ARRAY_SIZE(class_of); i++) {
		while (size_of[c] < i * 16)
			c++;
		class_of[i] = (u8)c;
	}
}

static bool in_arena(pfn_t p) { return p >= arena && p < arena_end; }
static struct pmeta *meta(pfn_t slab) { return in_arena(slab) ? &arena_meta[(slab - arena) / SLAB_PAGES] : pmeta(slab); }

static pfn_t slab_of(const void *o)
{
	pfn_t p = page_of(o);

	return in_arena(p) ? p - (p - arena) % SLAB_PAGES : p & ~(SLAB_PAGES - 1);
}

static pfn_t pop_slab(pfn_t *list)
{
	pfn_t p = *list;

	if (p)
		*list = meta(p)->next;
	return p;
}

static void push_slab(pfn_t *list, pfn_t p)
{
	meta(p)->next = *list;
	*list = p;
}

// --- the slabs of a class that have free objects; its lock is held

static void link_slab(struct class *k, pfn_t p)
{
	struct pmeta *m = meta(p);

	m->prev = 0;
	m->next = k->partial;
	if (m->next)
		meta(m->next)->prev = p;
	k->partial = p;
}

static void unlink_slab(struct class *k, pfn_t p)
{
	struct pmeta *m = meta(p);

	if (m->prev)
		meta(m->prev)->next = m->next;
	else
		k->partial = m->next;
	if (m->next)
		meta(m->next)->prev = m->prev;
}

// A slab of no class yet: one that became free, then the arena, whose used part stays dense, then any pages.
static pfn_t new_slab(void)
{
	pfn_t p;

	mutex_lock(&empty_lock);
	p = pop_slab(&empty_near);
	if (!p && (p = pop_slab(&empty_far))) {
		nempty--;
		nempty_least = min(nempty, nempty_least);
	}
	if (p) {
		mutex_unlock(&empty_lock);
		return p;
	}
	p = pop_slab(&released);
	if (p) {
		nreleased--;
	} else if (arena_next + SLAB_PAGES <= arena_end) {
		p = arena_next;
		__atomic_store_n(&arena_next, p + SLAB_PAGES, __ATOMIC_RELAXED);
	}
	mutex_unlock(&empty_lock);
	if (!p)
		p = page_alloc(SLAB_PAGES, false);
	if (p)
		__atomic_fetch_add(&slab_pages, SLAB_PAGES, __ATOMIC_RELAXED);
	return p;
}

static bool refill(struct class *k, u32 c)
{
	pfn_t p = new_slab();
	struct object *next = NULL;
	u8 *a;

	if (!p)
		return false;
	if (in_arena(p))
		arena_cls[(p - arena) / SLAB_PAGES] = (u8)c;
	for (u32 i = 0; i < SLAB_PAGES && !in_arena(p); i++) {
		pmeta(p + i)->state = PM_SLAB;
		pmeta(p + i)->cls = (u8)c;
	}
	a = page_addr(p);
	for (u32 i = per_slab(c); i-- > 0;) { // the list runs upwards through the slab
		struct object *o = (struct object *)(a + (size_t)i * size_of[c]);

		o->next = next;
		next = o;
	}
	meta(p)->nfree = (u16)per_slab(c);
	meta(p)->head = 1;
	link_slab(k, p);
	return true;
}

static void slab_empty(pfn_t p)
{
	mutex_lock(&empty_lock);
	if (p < arena_kept && in_arena(p)) {
		push_slab(&empty_near, p);
	} else {
		push_slab(&empty_far, p);
		nempty++;
	}
	mutex_unlock(&empty_lock);
}

// `head` is the first free object's place in the slab, in 16-byte units from 1; 0: none is free.
static struct object *take(struct class *k)
{
	pfn_t p = k->partial;
	struct pmeta *m = meta(p);
	u8 *a = page_addr(p);
	struct object *o = (struct object *)(a + (m->head - 1u) * 16);

	m->head = o->next ? (u16)(((u8 *)o->next - a) / 16 + 1) : 0;
	if (!--m->nfree)
		unlink_slab(k, p);
	return o;
}

// Each class may keep one free slab.
static void put(struct class *k, u32 c, struct object *o)
{
	pfn_t p = slab_of(o);
	struct pmeta *m = meta(p);
	u8 *a = page_addr(p);

	o->next = m->head ? (struct object *)(a + (m->head - 1u) * 16) : NULL;
	m->head = (u16)(((u8 *)o - a) / 16 + 1);
	if (!m->nfree++)
		link_slab(k, p);
	if (m->nfree == per_slab(c) && (m->prev || m->next)) {
		unlink_slab(k, p);
		slab_empty(p);
	}
}

// --- between a shard and the slabs

// Half of what a shard may keep; p->lock held.
static bool fetch(struct pool *p, u32 c)
{
	struct class *k = &cls[c];
	u32 want = max(near_max(c) / 2, 1u);

	mutex_lock(&k->lock);
	while (p->n < want && (k->partial || (!p->n && refill(k, c)))) {
		struct object *o = take(k);

		o->next = p->free;
		p->free = o;
		p->n++;
	}
	mutex_unlock(&k->lock);
	return p->n;
}

// What a shard has beyond `keep` goes to the slabs; p->lock held.
static void give_back(struct pool *p, u32 c, u32 keep)
{
	struct class *k = &cls[c];

	mutex_lock(&k->lock);
	while (p->n > keep) {
		struct object *o = p->free;

		p->free = o->next;
		p->n--;
		put(k, c, o);
	}
	mutex_unlock(&k->lock);
}

// --- memory back

// Half of the slabs' memory is free objects, and more than a little: what shards keep would hold many slabs.
static bool mostly_free(void)
{
	u64 used = 0, n, bytes, held = __atomic_load_n(&slab_pages, __ATOMIC_RELAXED) * PAGE_SIZE;

	for (u32 i = 0; i < NCLASS; i++) {
		n = kmalloc_usage(i, &bytes);
		used += n * bytes;
	}
	return held > 2 * used + 2 * KEEP_EMPTY * SLAB_PAGES * PAGE_SIZE;
}

static void drain_shards(void)
{
	for (u32 i = 0; i < SHARDS; i++)
		for (u32 c = 0; c < NCLASS; c++) {
			struct pool *p = &near[i].cls[c];

			if (!__atomic_load_n(&p->n, __ATOMIC_RELAXED) || !mutex_trylock(&p->lock))
				continue;
			give_back(p, c, 0);
			mutex_unlock(&p->lock);
		}
}

static u32 take_empty(pfn_t *p, u32 most)
{
	u32 n = 0;

	mutex_lock(&empty_lock);
	while (n < most && (p[n] = pop_slab(&empty_far))) {
		nempty--;
		for (u32 i = n++; i && p[i] < p[i - 1]; i--) { // in order
			pfn_t t = p[i];
			p[i] = p[i - 1];
			p[i - 1] = t;
		}
	}
	mutex_unlock(&empty_lock);
	return n;
}

static void give_slab_back(pfn_t p)
{
	if (in_arena(p)) {
		mutex_lock(&empty_lock);
		push_slab(&released, p);
		nreleased++;
		mutex_unlock(&empty_lock);
		return;
	}
	for (u32 i = 0; i < SLAB_PAGES; i++)
		pmeta(p + i)->state = PM_USED;
	page_free(p, SLAB_PAGES);
}

void kmalloc_trim(void)
{
	pfn_t p[TRIM_AT_ONCE];
	u64 most;

	if (mostly_free())
		drain_shards();
	mutex_lock(&empty_lock);
	most = nempty_least > KEEP_EMPTY ? nempty_least - KEEP_EMPTY : 0;
	mutex_unlock(&empty_lock);
	while (most) {
		u32 n = take_empty(p, (u32)min(most, (u64)TRIM_AT_ONCE));

		for (u32 i = 0, run; i < n; i += run) {
			for (run = 1; i + run < n && p[i + run] == p[i] + run * SLAB_PAGES && in_arena(p[i + run]) == in_arena(p[i]); run++)
				;
			if (in_arena(p[i]))
				pf_pages_released(p[i], run * SLAB_PAGES);
		}
		for (u32 i = n; i-- > 0;) // the lowest is taken first
			give_slab_back(p[i]);
		__atomic_fetch_sub(&slab_pages, (u64)n * SLAB_PAGES, __ATOMIC_RELAXED);
		most = n ? most - n : 0;
	}
	mutex_lock(&empty_lock);
	nempty_least = nempty;
	mutex_unlock(&empty_lock);
}

// --- objects

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

	if (in_arena(p))
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
		give_back(near_pool, c, near_max(c) / 2);
	mutex_unlock(&near_pool->lock);
}

size_t heap_usable(const void *ptr)
{
	pfn_t p = page_of(ptr);
	u32 c = class_at(p);

	return c == NCLASS ? (size_t)pmeta(p)->next << PAGE_SHIFT : size_of[c];
}

u64 kmalloc_arena_free(void)
{
	return arena_end - __atomic_load_n(&arena_next, __ATOMIC_RELAXED) + __atomic_load_n(&nreleased, __ATOMIC_RELAXED) * SLAB_PAGES;
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
