// SPDX-License-Identifier: Apache-2.0
// The sides of writers and of those who take something away from readers of brlocks (shard.h).
#include "kernel/include/shard.h"

u32 brlock_mask __sealed = 0;

void brlock_init(u32 ncpus)
{
	while (brlock_mask + 1 < SHARDS && brlock_mask + 1 < 2 * ncpus) // few collisions, few locks for a writer
		brlock_mask = brlock_mask * 2 + 1;
}

void write_lock(struct brlock *b)
{
	for (u32 i = 0; i <= brlock_mask; i++)
		mutex_lock(&b->shard[i].m);
}

void read_pass(struct brlock *b)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u32 i = 0; i <= brlock_mask; i++)
		if (__atomic_load_n(&b->shard[i].m.word, __ATOMIC_ACQUIRE)) {
			mutex_lock(&b->shard[i].m);
			mutex_unlock(&b->shard[i].m);
		}
}

void write_unlock(struct brlock *b)
{
	for (u32 i = brlock_mask + 1; i-- > 0;)
		mutex_unlock(&b->shard[i].m);
}
