// SPDX-License-Identifier: Apache-2.0
// cpuset.cpus: which CPUs the tasks of a group may use. It is told to the host as affinities are (sched_setaffinity). Locks: tasklist.
#include "kernel/include/cgroup.h"
#include "kernel/include/platform.h"

// The nearest set above that leaves something; all CPUs if there is none.
u64 cgroup_cpus(const struct cgroup *g)
{
	u64 cpus = U64_MAX;

	if (cgroup_is_root(g))
		return cpus;
	cpus = cgroup_cpus(g->parent);
	return g->cpus & cpus ? g->cpus & cpus : cpus;
}

u64 cgroup_wish(const struct cgroup *g, u64 wish)
{
	u64 cpus = cgroup_cpus(g);

	return wish & cpus ? wish & cpus : cpus;
}

static void follow(struct proc *p, void *unused)
{
	(void)unused;
	cgroup_follow(p);
}

void cgroup_set_cpus(struct cgroup *g, u64 cpus)
{
	mutex_lock(&tasklist);
	g->cpus = cpus;
	mutex_unlock(&tasklist);
	cgroup_for_each(g, true, follow, NULL);
}
