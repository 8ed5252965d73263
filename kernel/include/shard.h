// SPDX-License-Identifier: Apache-2.0
// What many threads need at the same time is split into shards: a thread always uses the same one, neighbours (made one after
// another) use different ones, so two CPUs seldom meet on a lock or a cache line. Shards are not CPUs: more than one thread
// may use a shard at once, which is slower, not wrong.
#pragma once
#include "kernel/include/lock.h"
#include "kernel/include/platform.h"

#define SHARDS 16u
static inline u32 my_shard(void) { return hthread_self()->shard % SHARDS; }

// A lock for what is read all the time and seldom changed. Readers take their shard's mutex, a writer all of them in
// ascending order. As mutexes: not recursive, never held over a sleep; a reader excludes readers of its own shard.
struct brlock {
	struct {
		struct mutex m;
	} __aligned(64) shard[SHARDS];
};
extern u32 brlock_mask;		// shards in use less one: grows with the machine's CPUs, set at boot
void brlock_init(u32 ncpus);
void write_lock(struct brlock *b), write_unlock(struct brlock *b);
// Until all have left who hold it for reading now: what was taken out of their reach before may go. Not while holding it.
void read_pass(struct brlock *b);
static inline u32 brlock_shard(void) { return hthread_self()->shard & brlock_mask; } // what its readers may change without atomics
static inline struct mutex *brlock_mine(struct brlock *b) { return &b->shard[brlock_shard()].m; }
static inline void read_lock(struct brlock *b) { mutex_lock(brlock_mine(b)); }
static inline void read_unlock(struct brlock *b) { mutex_unlock(brlock_mine(b)); }
