// SPDX-License-Identifier: Apache-2.0
// Sleeping mutexes and reference counts. A mutex word lives in kernel memory, which all enclave
// processes share, so it works across processes. Locks are not recursive. The owner's
// `locks_held` count lets the supervisor see that a host process died inside a critical section
// (then the whole enclave stops loudly). Lock order is documented at the top of each file.
// Never hold one over task_sleep() or a hostcall that may block.
#pragma once
#include "kernel/include/types.h"

struct mutex {
	u32 word; // 0 free, 1 held, 2 held with waiters
};
#define MUTEX_INIT { 0 }

void mutex_lock_slow(struct mutex *m);
void mutex_unlock_slow(struct mutex *m);
// current host thread's locks_held += d (struct hthread in platform.h)
#define lock_count(d) __asm__ volatile("addl %0, %%gs:%c1" ::"i"(d), "i"(48 - GS_BIAS) : "memory", "cc")

static inline void mutex_init(struct mutex *m) { m->word = 0; }
static inline void mutex_lock(struct mutex *m)
{
	u32 z = 0;
	lock_count(1);
	if (unlikely(!__atomic_compare_exchange_n(&m->word, &z, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		mutex_lock_slow(m);
}
static inline bool mutex_trylock(struct mutex *m)
{
	u32 z = 0;
	lock_count(1);
	if (__atomic_compare_exchange_n(&m->word, &z, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return true;
	lock_count(-1);
	return false;
}
static inline void mutex_unlock(struct mutex *m)
{
	if (unlikely(__atomic_exchange_n(&m->word, 0, __ATOMIC_RELEASE) == 2))
		mutex_unlock_slow(m);
	lock_count(-1);
}

struct ref {
	u32 n;
};
static inline void ref_init(struct ref *r, u32 n) { __atomic_store_n(&r->n, n, __ATOMIC_RELAXED); }
static inline void ref_get(struct ref *r) { __atomic_fetch_add(&r->n, 1, __ATOMIC_RELAXED); }
// True when this was the last reference.
static inline bool ref_put(struct ref *r) { return __atomic_fetch_sub(&r->n, 1, __ATOMIC_ACQ_REL) == 1; }
// Takes a reference unless the count has already reached zero.
static inline bool ref_get_unless_zero(struct ref *r)
{
	u32 v = __atomic_load_n(&r->n, __ATOMIC_RELAXED);
	while (v)
		if (__atomic_compare_exchange_n(&r->n, &v, v + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}
