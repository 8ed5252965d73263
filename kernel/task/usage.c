// SPDX-License-Identifier: Apache-2.0
// CPU time and resource usage: getrusage, times. Only the host knows CPU time, faults, switches and what was
// resident. Locks: tasklist for the sums of children.
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/task/internal.h"
#include "kernel/time/clock.h"
#include <linux/times.h>

#define TICK_NS 10000000ul

static void to_timeval(struct __kernel_old_timeval *tv, u64 ns)
{
	tv->tv_sec = (long)(ns / NSEC_PER_SEC);
	tv->tv_usec = (long)(ns % NSEC_PER_SEC / 1000);
}

void usage_self(struct proc *p, struct usage_counts *c)
{
	struct pf_usage u;

	pf_usage_self(&u);
	// the host counts the kernel's pages, too: no more than was mapped
	*c = (struct usage_counts){ u.minflt, u.majflt, u.nvcsw, u.nivcsw, min(u.peak, p->mm->peak_pages) << PAGE_SHIFT >> 10 };
}

void usage_add(struct usage_counts *sum, const struct usage_counts *c)
{
	sum->minflt += c->minflt;
	sum->majflt += c->majflt;
	sum->nvcsw += c->nvcsw;
	sum->nivcsw += c->nivcsw;
	sum->peak_kib = max(sum->peak_kib, c->peak_kib);
}

void rusage_of(struct rusage *ru, u64 utime_ns, u64 stime_ns, const struct usage_counts *c)
{
	struct __kernel_old_timeval tv;

	memset(ru, 0, sizeof(*ru));
	to_timeval(&tv, utime_ns);
	memcpy(&ru->ru_utime, &tv, sizeof(tv));
	to_timeval(&tv, stime_ns);
	memcpy(&ru->ru_stime, &tv, sizeof(tv));
	ru->ru_maxrss = (long)c->peak_kib;
	ru->ru_minflt = (long)c->minflt;
	ru->ru_majflt = (long)c->majflt;
	ru->ru_nvcsw = (long)c->nvcsw;
	ru->ru_nivcsw = (long)c->nivcsw;
}

long sys_getrusage(int who, void __user *uru)
{
	struct proc *p = curproc;
	struct usage_counts c = {0};
	struct rusage ru;
	u64 u = 0, s = 0;

	switch (who) {
	case RUSAGE_SELF:
		proc_cpu_ns(p, &u, &s);
		usage_self(p, &c);
		break;
	case RUSAGE_CHILDREN:
		mutex_lock(&tasklist);
		u = p->cutime_ns;
		s = p->cstime_ns;
		c = p->cused;
		mutex_unlock(&tasklist);
		break;
	case RUSAGE_THREAD:
		if (pf_cpu_times(current, &u, &s))
			return -EINVAL;
		usage_self(p, &c);
		c = (struct usage_counts){ .peak_kib = c.peak_kib }; // the others are the whole process's
		break;
	default: return -EINVAL;
	}
	rusage_of(&ru, u, s, &c);
	return copy_to_user(uru, &ru, sizeof(ru));
}

long sys_times(void __user *ubuf)
{
	struct proc *p = curproc;
	struct tms t;
	u64 u, s;

	proc_cpu_ns(p, &u, &s);
	t.tms_utime = (long)(u / TICK_NS);
	t.tms_stime = (long)(s / TICK_NS);
	mutex_lock(&tasklist);
	t.tms_cutime = (long)(p->cutime_ns / TICK_NS);
	t.tms_cstime = (long)(p->cstime_ns / TICK_NS);
	mutex_unlock(&tasklist);
	if (ubuf && copy_to_user(ubuf, &t, sizeof(t)))
		return -EFAULT;
	return (long)(ktime_mono() / TICK_NS);
}
