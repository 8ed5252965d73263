// SPDX-License-Identifier: Apache-2.0
// The owner's limits on the whole enclave: CPUs, tasks, descriptors, open files. They are measured (boot.c), so nobody inside is exempt, root
// neither; programs see them where Linux shows a machine's: sched_getaffinity, pids.max of the root group, /proc/sys. The limit on memory
// is in mm/oom.c. Locks: tasklist guards the number of tasks.
#include "kernel/task/limit.h"
#include "kernel/include/boot.h"
#include "kernel/include/cgroup.h"
#include "kernel/include/count.h"
#include "kernel/include/platform.h"

#define DESCRIPTORS_MOST 1048576u // of a process, in any enclave
#define TASKS_MOST 32768u

u32 task_count;

void limits_init(void)
{
	if (boot_info.cpus)
		pf_limit_cpus(boot_info.cpus);
	if (boot_info.processes)
		root_cgroup.pids_max = boot_info.processes;
}

u32 limit_tasks(void) { return boot_info.processes ? min(boot_info.processes, TASKS_MOST) : TASKS_MOST; }
u32 limit_descriptors(void) { return boot_info.descriptors ? min(boot_info.descriptors, DESCRIPTORS_MOST) : DESCRIPTORS_MOST; }
u64 limit_files(void) { return boot_info.files ? boot_info.files : U64_MAX; }

// The sum over all shards, so not quite exact while others open and close: as Linux's.
bool limit_files_reached(void) { return unlikely(boot_info.files) && object_count(N_files) >= (s64)boot_info.files; }

void limits_first(struct proc *p)
{
	struct __kernel_rlimit *files = &p->rlim[RLIMIT_NOFILE], *procs = &p->rlim[RLIMIT_NPROC];

	files->max = min(files->max, (u64)limit_descriptors());
	files->cur = min(files->cur, files->max);
	procs->max = procs->cur = min(procs->max, (u64)limit_tasks());
}

int limit_task(void)
{
	if (likely(!boot_info.processes) || task_count < boot_info.processes)
		return 0;
	root_cgroup.pids_hits++;
	cgroup_tell(&root_cgroup, CG_EV_PIDS);
	return -EAGAIN;
}
