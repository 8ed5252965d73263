// SPDX-License-Identifier: Apache-2.0
// The load averages (/proc/loadavg, sysinfo): exponential means of the number of tasks that run, taken every five seconds, in
// Linux's fixed-point numbers; and CPU time summed over all processes that ever were. Locks: tasklist.
#include "kernel/include/kstring.h"
#include "kernel/task/internal.h"
#include "kernel/task/load.h"
#include "kernel/time/clock.h"

#define PERIOD_NS 5000000000ul

static u64 average[3];
static u64 gone_utime, gone_stime; // of processes that were reaped; tasklist

static int count(struct proc *p, void *arg)
{
	struct census *c = arg;
	struct task *t;
	u64 u = 0, s = 0;

	c->procs++;
	c->tasks += p->nthreads;
	if (p->state < PROC_ZOMBIE)
		list_for_each (t, &p->threads, thread_link)
			c->running += !t->sleeping && !t->stopped;
	if (c->cpu) {
		proc_cpu_ns_locked(p, &u, &s);
		c->utime += u;
		c->stime += s;
	}
	return 0;
}

void census_take(struct census *c, bool cpu)
{
	memset(c, 0, sizeof(*c));
	c->cpu = cpu;
	proc_for_each(count, c);
	mutex_lock(&tasklist);
	c->utime += gone_utime;
	c->stime += gone_stime;
	mutex_unlock(&tasklist);
}

void proc_total_cpu(u64 *utime, u64 *stime)
{
	struct census c;

	census_take(&c, true);
	*utime = c.utime;
	*stime = c.stime;
}

void load_add_gone(const struct proc *p)
{
	gone_utime += p->utime_ns;
	gone_stime += p->stime_ns;
}

void load_tick(void)
{
	static const u64 decay[3] = { 1884, 2014, 2037 }; // exp(-5 s / 1, 5, 15 min) << LOAD_SHIFT
	static u64 next;
	u64 now = ktime_mono();
	struct census c;

	if (!next)
		next = now + PERIOD_NS;
	if (now < next)
		return;
	census_take(&c, false);
	for (int periods = 0; now >= next && periods < 12; periods++, next += PERIOD_NS)
		for (int i = 0; i < 3; i++) {
			u64 active = (u64)c.running << LOAD_SHIFT, l = average[i] * decay[i] + active * ((1 << LOAD_SHIFT) - decay[i]);

			if (active >= average[i])
				l += (1 << LOAD_SHIFT) - 1;
			__atomic_store_n(&average[i], l >> LOAD_SHIFT, __ATOMIC_RELAXED);
		}
	if (now >= next)
		next = now + PERIOD_NS;
}

u64 load_average(u32 i) { return __atomic_load_n(&average[i], __ATOMIC_RELAXED); }
