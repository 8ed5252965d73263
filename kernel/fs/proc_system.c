// SPDX-License-Identifier: Apache-2.0
// Files of /proc about hardware that an enclave does not have: tables with a head and no lines, as on a machine without the
// devices. Locks: none.
#include "kernel/fs/procfs.h"
#include "kernel/include/cgroup.h"
#include "kernel/include/count.h"
#include "kernel/include/platform.h"

static void cpu_columns(struct pout *o, u32 indent)
{
	pout(o, "%*s", (int)indent, "");
	for (u32 i = 0; i < pf_ncpus(); i++)
		pout(o, "CPU%-8u", i);
	pout(o, "\n");
}

// Interrupts are the host's.
int proc_interrupts(struct pout *o, struct pnode *n)
{
	(void)n;
	cpu_columns(o, 11);
	return 0;
}

int proc_softirqs(struct pout *o, struct pnode *n)
{
	static const char *const names[] = {"HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"};

	(void)n;
	cpu_columns(o, 20);
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		pout(o, "%12s:", names[i]);
		for (u32 c = 0; c < pf_ncpus(); c++)
			pout(o, " %10u", 0u);
		pout(o, "\n");
	}
	return 0;
}

int proc_cgroups(struct pout *o, struct pnode *n)
{
	static const char *const names[] = {"cpuset", "cpu", "cpuacct", "memory", "freezer", "pids"};
	u32 groups = root_cgroup.ndescendants + 1;

	(void)n;
	pout(o, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
	for (u32 i = 0; i < ARRAY_SIZE(names); i++)
		pout(o, "%s\t0\t%u\t1\n", names[i], groups);
	return 0;
}
