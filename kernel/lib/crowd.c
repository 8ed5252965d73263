// SPDX-License-Identifier: Apache-2.0
// The changer's side of crowds (crowd.h).
#include "kernel/include/crowd.h"

#define SPINS 100

void pf_yield(void);

struct crowd_shard crowd[SHARDS] __large;

void crowd_wait(const void *obj)
{
	u32 slot = crowd_slot(obj);

	for (u32 s = 0; s < SHARDS; s++)
		for (u32 i = 0; __atomic_load_n(&crowd[s].in[slot], __ATOMIC_SEQ_CST); i++) {
			if (i < SPINS)
				pf_relax();
			else
				pf_yield(); // it lost its CPU while it was in
		}
}
