// SPDX-License-Identifier: Apache-2.0
// CPU time and resource usage: getrusage, times. Times of live threads come from the host (it schedules them), of threads
// and children that are gone from sums. tasklist guards the sums.
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <linux/times.h>

void usage_add_task(struct proc *p, struct task *t)
{
	u64 u, s;

	if (pf_cpu_times(t, &u, &s))
		return;
	p->utime_ns += u - min(u, t->utime_ns);
	p->stime_ns += s - min(s, t->stime_ns);
}

// utime_ns/stime_ns of a task hold what its host thread had used before it became this task (vfork, blank processes).
void proc_cpu_ns(struct proc *p, u64 *utime, u64 *stime)
{
	struct task *t;

	*utime = p->utime_ns;
	*stime = p->stime_ns;
	mutex_lock(&p->sig_lock);
	list_for_each(t, &p->threads, thread_link) {
		u64 u, s;
		if (pf_cpu_times(t, &u, &s))
			continue;
		*utime += u - min(u, t->utime_ns);
		*stime += s - min(s, t->stime_ns);
	}
	mutex_unlock(&p->sig_lock);
}

void rusage_from_ns(struct rusage *ru, u64 u, u64 s)
{
	memset(ru, 0, sizeof(*ru));
	ru->ru_utime.tv_sec = (s64)(u / NSEC_PER_SEC);
	ru->ru_utime.tv_usec = (s64)(u % NSEC_PER_SEC / 1000);
	ru->ru_stime.tv_sec = (s64)(s / NSEC_PER_SEC);
	ru->ru_stime.tv_usec = (s64)(s % NSEC_PER_SEC / 1000);
}

long sys_getrusage(int who, void __user *out)
{
	struct proc *p = curproc;
	struct rusage ru;
	u64 u = 0, s = 0;

	switch (who) {
	case RUSAGE_SELF:
		proc_cpu_ns(p, &u, &s);
		break;
	case RUSAGE_THREAD:
		pf_cpu_times(current, &u, &s);
		break;
	case RUSAGE_CHILDREN:
		mutex_lock(&tasklist);
		u = p->cutime_ns;
		s = p->cstime_ns;
		mutex_unlock(&tasklist);
		break;
	default:
		return -EINVAL;
	}
	rusage_from_ns(&ru, u, s);
	if (who != RUSAGE_CHILDREN && p->mm)
		ru.ru_maxrss = (s64)(p->mm->total_pages * 4);
	return copy_to_user(out, &ru, sizeof(ru));
}

long sys_times(void __user *out)
{
	struct proc *p = curproc;
	const u64 tick = NSEC_PER_SEC / 100;
	struct tms t;
	u64 u, s;

	proc_cpu_ns(p, &u, &s);
	t.tms_utime = (s64)(u / tick);
	t.tms_stime = (s64)(s / tick);
	mutex_lock(&tasklist);
	t.tms_cutime = (s64)(p->cutime_ns / tick);
	t.tms_cstime = (s64)(p->cstime_ns / tick);
	mutex_unlock(&tasklist);
	if (out && copy_to_user(out, &t, sizeof(t)))
		return -EFAULT;
	return (s64)(ktime_mono() / tick);
}
