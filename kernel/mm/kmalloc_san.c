// SPDX-License-Identifier: Apache-2.0
// The guarded heap of a kernel built with SAN_KERNEL=1. Each object lies between two red zones, starts as garbage, and is
// poisoned when freed and kept for a while; a red zone that changed, a second kfree and a write after kfree stop the enclave and
// name who allocated and who freed the object. Locks: quarantine_lock, a leaf that is taken before the heap's.
#ifdef KERNEL_SAN
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "kernel/include/log.h"
#include "kernel/include/task.h"
#include "kernel/mm/heap.h"

#define LIVE 0x4c495645434f4646ul
#define DEAD 0x44454144434f4646ul
#define ZONE 32u
#define FRESH 0x5a
#define GONE 0x6b
#define GUARD 0xfd
#define QUARANTINE 8192u
#define QUARANTINE_BYTES (32ul << 20)

struct guard {		// before the object
	u64 state, size;
	const void *allocated, *freed;
	u8 zone[ZONE];
};
static_assert(sizeof(struct guard) % 16 == 0, "objects stay aligned");

static struct mutex quarantine_lock;
static struct guard *quarantine[QUARANTINE];
static u64 put_at, take_at, quarantined;

static u8 *object(struct guard *g) { return (u8 *)(g + 1); }

static bool all(const u8 *p, u8 value, size_t n)
{
	while (n--)
		if (*p++ != value)
			return false;
	return true;
}

static void __noreturn broken(const struct guard *g, const char *what, const void *who)
{
	panic("heap: %s: object %p of %lu bytes, allocated at %p, freed at %p, seen at %p", what, (const void *)(g + 1), g->size, g->allocated,
	      g->freed, who);
}

static void check_zones(struct guard *g, const void *who)
{
	if (!all(g->zone, GUARD, ZONE))
		broken(g, "written before its begin", who);
	if (!all(object(g) + g->size, GUARD, ZONE))
		broken(g, "written behind its end", who);
}

void *kmalloc(size_t n)
{
	struct guard *g;

	if (n > SSIZE_MAX)
		return NULL;
	g = heap_alloc(sizeof(*g) + n + ZONE);
	if (!g)
		return NULL;
	*g = (struct guard){ .state = LIVE, .size = n, .allocated = __builtin_return_address(0) };
	memset(g->zone, GUARD, ZONE);
	memset(object(g), FRESH, n);
	memset(object(g) + n, GUARD, ZONE);
	return object(g);
}

size_t kmalloc_usable(const void *p)
{
	const struct guard *g = (const struct guard *)p - 1;

	BUG_ON(g->state != LIVE);
	return g->size;
}

void kfree(const void *p)
{
	struct guard *g, *old;
	const void *who = __builtin_return_address(0);

	if (!p)
		return;
	g = (struct guard *)(uptr)p - 1;
	if (g->state == DEAD)
		broken(g, "freed twice", who);
	if (g->state != LIVE)
		panic("heap: kfree(%p) at %p of what kmalloc did not make", p, who);
	check_zones(g, who);
	g->state = DEAD;
	g->freed = who;
	memset(object(g), GONE, g->size);
	if (g->size > QUARANTINE_BYTES / 16) {
		heap_free(g);
		return;
	}
	do {
		mutex_lock(&quarantine_lock);
		old = NULL;
		if (g && put_at - take_at < QUARANTINE) {
			quarantine[put_at++ % QUARANTINE] = g;
			quarantined += g->size;
			g = NULL;
		}
		if (g || quarantined > QUARANTINE_BYTES) {
			old = quarantine[take_at++ % QUARANTINE];
			quarantined -= old->size;
		}
		mutex_unlock(&quarantine_lock);
		if (old) {
			if (old->state != DEAD || !all(object(old), GONE, old->size))
				broken(old, "written after it was freed", who);
			check_zones(old, who);
			old->state = 0;
			heap_free(old);
		}
	} while (g || old);
}
#endif
