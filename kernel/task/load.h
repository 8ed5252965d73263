// SPDX-License-Identifier: Apache-2.0
// Counts over all processes (load.c).
#pragma once
#include "kernel/include/task.h"

#define LOAD_SHIFT 11

struct census {
	u32 procs, tasks, running;
	u64 utime, stime;	// of all that ever ran, when asked for
	bool cpu;
};
void census_take(struct census *c, bool cpu);
void proc_total_cpu(u64 *utime, u64 *stime);
void load_add_gone(const struct proc *p);	// a process leaves the tables; tasklist held
void load_tick(void);				// now and then, by the timer thread
void rlimit_tick(void);				// the same: limits on CPU time
u64 load_average(u32 i);			// of 1, 5, 15 minutes, << LOAD_SHIFT
