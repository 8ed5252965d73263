// SPDX-License-Identifier: Apache-2.0
// The owner's limits on the whole enclave, `limits:` of coffer.yaml (limit.c).
#pragma once
#include "kernel/include/task.h"

void limits_init(void);			// boot, once the manifest is read
void limits_first(struct proc *p);	// the first process, whose resource limits all others inherit
u32 limit_tasks(void);			// most processes and threads
u32 limit_descriptors(void);		// most that any process may raise RLIMIT_NOFILE to
u64 limit_files(void);			// most open files of all processes; U64_MAX: no limit
bool limit_files_reached(void);
int limit_task(void);			// is there room for one more? -EAGAIN; tasklist held
extern u32 task_count;			// processes (zombies too) and threads; tasklist
