// SPDX-License-Identifier: Apache-2.0
// The memory limit over all of the enclave (oom.c).
#pragma once
#include "kernel/include/mm.h"

struct pf_usage;
struct oom_counts {
	u64 oom, killed; // limit reached with nothing to give back; processes killed for it
	u64 peak;	 // most pages in use at a look
};
extern struct oom_counts oom_counts;

void memory_thread(void *unused);	// kernel thread
void memory_nudge(void);		// it looks at the groups' limits now
struct cgroup;
// Kills the process with the highest score, of the group or (NULL) of all; of all, it waits for its end. Its number, 0: there was none.
int oom_kill(struct cgroup *in);
// Brings page_count_free() up to date, unless that was done a moment ago. Not under locks: asks the host.
void memory_refresh(void);
void memory_leave(const struct mm *mm);		// last thread of a process, whose address space is its own and not needed any more
s64 oom_badness(struct proc *p, const struct pf_usage *u);
u32 oom_score(struct proc *p, const struct pf_usage *u);	// as /proc/PID/oom_score shows it
