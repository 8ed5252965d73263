// SPDX-License-Identifier: Apache-2.0
// Many readers of one object at a time, without a cache line that they share. The object has a mutex, for all who change it, and a
// flag `crowded`, false at first, set for good under the mutex when readers met there. Then a reader counts itself in a line of
// its shard, and whoever takes the mutex waits for those who are in. Nobody sleeps between crowd_join and crowd_leave.
#pragma once
#include "kernel/include/shard.h"

#define CROWD_SLOTS 64u
struct crowd_shard {
	u32 in[CROWD_SLOTS]; // readers of the objects that share a slot
} __aligned(64);
extern struct crowd_shard crowd[SHARDS];

static inline u32 crowd_slot(const void *obj) { return (u32)((((uptr)obj >> 6) * 0x9E3779B97F4A7C15ul) >> 58); }

// A reader comes: after this nobody changes the object until it leaves.
static inline void crowd_join(const void *obj, struct mutex *m)
{
	u32 *in = &crowd[my_shard()].in[crowd_slot(obj)];

	lock_count(1);
	__atomic_fetch_add(in, 1, __ATOMIC_SEQ_CST);
	if (likely(!__atomic_load_n(&m->word, __ATOMIC_SEQ_CST)))
		return;
	__atomic_fetch_sub(in, 1, __ATOMIC_SEQ_CST); // somebody may be changing it, and waits for us
	mutex_lock(m);
	__atomic_fetch_add(in, 1, __ATOMIC_SEQ_CST);
	mutex_unlock(m);
}

static inline void crowd_leave(const void *obj)
{
	__atomic_fetch_sub(&crowd[my_shard()].in[crowd_slot(obj)], 1, __ATOMIC_RELEASE);
	lock_count(-1);
}

void crowd_wait(const void *obj); // until no reader is in; the mutex held, so that none comes
