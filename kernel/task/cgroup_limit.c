// SPDX-License-Identifier: Apache-2.0
// Limits of control groups that need looking at: cpu.max, memory.max, memory.high. The host hands out CPU time and private memory without
// asking the kernel, so the memory thread (mm/oom.c) looks again and again while there are such limits, and acts on what it finds: a group that
// has used up the quota of its period stands still until the debt is paid, so that it gets its share in the mean; one that
// holds more memory than its limit loses the process with the highest score; above memory.high it gets a part of its time only.
// Locks: tasklist. The host is asked without.
#include "kernel/include/cgroup.h"
#include "kernel/include/alloc.h"
#include "kernel/include/platform.h"
#include "kernel/mm/oom.h"
#include "kernel/task/internal.h"

#define NEVER_MS 1000000ul
#define CPU_MS 5ul
#define MEMORY_MS 10ul
#define FAR_MS 50ul	// a group that is far from its limit
#define BATCH 64u
#define VICTIM_NS 2000000000ul
#define HIGH_RUNS 4u	// above memory.high a group runs in one of so many looks

static u32 limited; // groups with a limit, at most: 0 costs nothing

void cgroup_limits_watch(void)
{
	__atomic_store_n(&limited, 1, __ATOMIC_SEQ_CST);
	memory_nudge();
}

void cgroup_set_cpu_max(struct cgroup *g, u64 quota_us, u64 period_us)
{
	u64 u, s;

	cgroup_cpu(g, &u, &s);
	mutex_lock(&tasklist);
	g->quota_us = quota_us;
	g->period_us = period_us;
	g->spent_at = u + s;
	g->left_ns = quota_us == CG_MAX ? 0 : (s64)quota_us * 1000;
	g->period_ends = ktime_mono() + period_us * 1000;
	mutex_unlock(&tasklist);
	if (quota_us == CG_MAX)
		cgroup_throttle(g, CG_BY_CPU, false);
	cgroup_limits_watch();
}

// --- CPU time

static u64 cpu_look(struct cgroup *g)
{
	u64 u, s, now = ktime_mono(), period = g->period_us * 1000;
	bool out;

	if (g->quota_us == CG_MAX) {
		cgroup_throttle(g, CG_BY_CPU, false);
		return NEVER_MS;
	}
	cgroup_cpu(g, &u, &s);
	if (!g->live) { // who comes first begins a period
		g->spent_at = max(g->spent_at, u + s);
		g->left_ns = (s64)g->quota_us * 1000;
		g->period_ends = 0;
		cgroup_throttle(g, CG_BY_CPU, false);
		return NEVER_MS;
	}
	if (!g->period_ends)
		g->period_ends = now + period;
	if (u + s > g->spent_at)
		g->left_ns -= (s64)(u + s - g->spent_at);
	g->spent_at = max(g->spent_at, u + s);
	if (now >= g->period_ends) {
		u64 n = 1 + (now - g->period_ends) / period;

		g->period_ends += n * period;
		g->nperiods += n;
		g->left_ns = min(g->left_ns + (s64)(n * g->quota_us * 1000), (s64)g->quota_us * 1000);
	}
	out = g->left_ns <= 0;
	if (out != !!(g->throttled & CG_BY_CPU)) {
		if (out) {
			g->nthrottled++;
			g->throttled_since = now;
		} else {
			g->throttled_ns += now - g->throttled_since;
		}
		cgroup_throttle(g, CG_BY_CPU, out);
	}
	return max(min(CPU_MS, g->period_us / 4000), 1ul);
}

// --- memory

struct members {
	struct proc *p[BATCH];
	u32 n;
	int after; // those up to this number were seen
};

static void gather(struct proc *p, void *arg)
{
	struct members *m = arg;

	if (p->pid <= m->after || m->n == BATCH || p->state >= PROC_ZOMBIE || p->borrows_mm || !p->mm || p->mm->owner != p)
		return; // who shares another's memory does not count twice
	ref_get(&p->ref);
	m->p[m->n++] = p;
}

u64 cgroup_private(struct cgroup *g, bool exact)
{
	struct members *m = kmalloc(sizeof(*m));
	u64 sum = 0;

	if (!m)
		return g->mem_now;
	m->after = 0;
	do {
		m->n = 0;
		cgroup_for_each(g, true, gather, m);
		long pages = m->n ? pf_private_pages_of(m->p, m->n, exact) : 0;
		sum += pages > 0 ? (u64)pages : 0;
		for (u32 i = 0; i < m->n; i++) {
			m->after = max(m->after, m->p[i]->pid);
			proc_put(m->p[i]);
		}
	} while (m->n == BATCH);
	kfree(m);
	mutex_lock(&tasklist);
	g->mem_now = sum;
	g->mem_peak = max(g->mem_peak, sum + g->mem_files);
	mutex_unlock(&tasklist);
	return sum;
}

static void memory_event(struct cgroup *g, u64 *what)
{
	mutex_lock(&tasklist);
	++*what;
	cgroup_tell(g, CG_EV_MEMORY);
	mutex_unlock(&tasklist);
	cgroup_news();
}

// The process that was killed for this group has not gone yet: another would die for nothing. One that hangs is waited for only so long.
static bool still_dying(struct cgroup *g)
{
	struct proc *p = g->victim && ktime_mono() < g->victim_until ? proc_find(g->victim) : NULL;
	bool yes = p && p->state < PROC_ZOMBIE;

	if (p)
		proc_put(p);
	return yes;
}

static u64 memory_look(struct cgroup *g)
{
	u64 limit = min(g->mem_max, g->mem_high), pages, held;
	bool dying;

	if (limit == CG_MAX || !g->live) {
		cgroup_throttle(g, CG_BY_MEMORY, false);
		return NEVER_MS;
	}
	pages = limit >> PAGE_SHIFT;
	dying = still_dying(g); // asked first: who goes while we count may have been counted
	held = cgroup_private(g, false) + g->mem_files;
	if (held > pages) // what forks share counts many times in the cheap figure
		held = cgroup_private(g, true) + g->mem_files;
	if (held > g->mem_max >> PAGE_SHIFT && dying)
		return MEMORY_MS;
	if (held > g->mem_max >> PAGE_SHIFT) {
		memory_event(g, &g->ev_max);
		memory_event(g, &g->ev_oom);
		g->victim = oom_kill(g);
		g->victim_until = ktime_mono() + VICTIM_NS;
		if (g->victim)
			return MEMORY_MS;
	}
	if (held > g->mem_high >> PAGE_SHIFT) {
		memory_event(g, &g->ev_high);
		cgroup_throttle(g, CG_BY_MEMORY, g->ev_high % HIGH_RUNS);
		return MEMORY_MS;
	}
	cgroup_throttle(g, CG_BY_MEMORY, false);
	return held > pages - pages / 4 ? MEMORY_MS : FAR_MS;
}

void cgroup_set_memory(u64 *which, u64 bytes)
{
	mutex_lock(&tasklist);
	*which = bytes;
	mutex_unlock(&tasklist);
	cgroup_limits_watch();
}

// --- all of them

bool cgroup_has_limit(const struct cgroup *g) { return g->quota_us != CG_MAX || g->mem_max != CG_MAX || g->mem_high != CG_MAX || g->throttled; }

u64 cgroup_limits_tick(void)
{
	struct cgroup *found[BATCH], *g;
	u64 ms = NEVER_MS;
	u32 n = 0, skip = 0, seen;

	if (!__atomic_load_n(&limited, __ATOMIC_RELAXED))
		return ms;
	__atomic_store_n(&limited, 0, __ATOMIC_SEQ_CST); // before the look: whoever sets a limit meanwhile says so after it
	do {
		n = seen = 0;
		mutex_lock(&tasklist);
		for (g = &root_cgroup; g && n < BATCH; g = cgroup_next(g))
			if (g->parent && cgroup_has_limit(g) && seen++ >= skip) {
				cgroup_get(g);
				found[n++] = g;
			}
		mutex_unlock(&tasklist);
		for (u32 i = 0; i < n; i++) {
			ms = min(ms, cpu_look(found[i]));
			ms = min(ms, memory_look(found[i]));
			cgroup_put(found[i]);
		}
		skip += n;
	} while (n == BATCH);
	if (skip)
		__atomic_store_n(&limited, 1, __ATOMIC_SEQ_CST);
	return ms;
}
