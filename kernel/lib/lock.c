// SPDX-License-Identifier: Apache-2.0
// Slow paths of mutexes: spin for a moment (the owner usually runs on another CPU and is nearly done, or in a short call of the host's),
// then sleep. To sleep and be woken costs the host more than all of the spinning, 10 us. With one CPU the owner cannot run meanwhile.
#include "kernel/include/lock.h"
#include "kernel/include/platform.h"
#include "kernel/include/wait.h"

#define SPINS 500

void mutex_lock_slow(struct mutex *m)
{
	for (u32 i = pf_ncpus() > 1 ? SPINS : 0; i; i--) {
		u32 z = 0;
		pf_relax();
		if (!__atomic_load_n(&m->word, __ATOMIC_RELAXED) &&
		    __atomic_compare_exchange_n(&m->word, &z, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return;
	}
	while (__atomic_exchange_n(&m->word, 2, __ATOMIC_ACQUIRE))
		pf_wait(&m->word, 2, NO_DEADLINE);
}

void mutex_unlock_slow(struct mutex *m) { pf_wake(&m->word, 1); }
