// SPDX-License-Identifier: Apache-2.0
// Interval timers of a process: alarm(2), getitimer(2), setitimer(2). ITIMER_REAL is a kernel timer.
// ITIMER_VIRTUAL and ITIMER_PROF count CPU time, which only the host measures: while one of them runs, a kernel
// timer looks again when the CPU time could have been used up at the earliest (at most once a millisecond).
// Locks: itimer_lock guards every process's timers; never held while a timer is cancelled (its function takes it).
// Order: itimer_lock -> timer_lock; signals are sent without it.
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/vfs.h"
#include "kernel/time/clock.h"

#define CPU_CHECK_MIN_NS 1000000ul
#define USEC 1000ul

struct cpu_itimers { // proc->cpu_itimers
	struct ktimer check;
	struct proc *proc; // owner; it drops this before it goes
	struct {
		u64 at, interval; // CPU time in ns; 0: off
	} t[2];			  // ITIMER_VIRTUAL - 1, ITIMER_PROF - 1
};

struct itimerval_ {
	struct __kernel_old_timeval interval, value;
};

static struct mutex itimer_lock;

static int read_timeval(const struct __kernel_old_timeval *tv, u64 *ns)
{
	if (tv->tv_sec < 0 || (u64)tv->tv_usec >= 1000000)
		return -EINVAL;
	*ns = (u64)tv->tv_sec > S64_MAX / NSEC_PER_SEC ? S64_MAX : (u64)tv->tv_sec * NSEC_PER_SEC + (u64)tv->tv_usec * USEC;
	return 0;
}

static struct __kernel_old_timeval to_timeval(u64 ns)
{
	return (struct __kernel_old_timeval){ .tv_sec = (long)(ns / NSEC_PER_SEC), .tv_usec = (long)(ns % NSEC_PER_SEC / USEC) };
}

static void real_expired(struct ktimer *t)
{
	struct proc *p = container_of(t, struct proc, itimer_real);
	signal_send_proc(p, SIGALRM, NULL);
	mutex_lock(&itimer_lock);
	if (p->itimer_interval && !t->pending) {
		u64 next = t->expires, now = ktime_mono();
		next += p->itimer_interval * (1 + (now > next ? (now - next) / p->itimer_interval : 0));
		ktimer_start(t, next, real_expired);
	}
	mutex_unlock(&itimer_lock);
}

// Sets ITIMER_REAL of the current process; what was left of the old one.
static u64 set_real(u64 value, u64 interval, u64 *old_interval)
{
	struct proc *p = curproc;
	u64 now = ktime_mono(), left = 0;

	mutex_lock(&itimer_lock);
	*old_interval = p->itimer_interval;
	p->itimer_interval = 0; // an expiry that is under way must not start it again
	u64 at = p->itimer_real.expires;
	mutex_unlock(&itimer_lock);
	if (ktimer_cancel(&p->itimer_real))
		left = at > now ? at - now : USEC;
	if (value) {
		mutex_lock(&itimer_lock);
		p->itimer_interval = interval;
		ktimer_start(&p->itimer_real, ktime_deadline(value), real_expired);
		mutex_unlock(&itimer_lock);
	}
	return left;
}

static void cpu_now(struct proc *p, u64 cpu[2])
{
	u64 s;
	proc_cpu_ns(p, &cpu[0], &s);
	cpu[1] = cpu[0] + s;
}

static void cpu_check(struct ktimer *t);

// Next look: n threads use up CPU time at most n times as fast as time passes. itimer_lock held.
static void cpu_arm(struct cpu_itimers *c, const u64 cpu[2])
{
	u64 left = U64_MAX;
	for (int i = 0; i < 2; i++)
		if (c->t[i].at)
			left = min(left, c->t[i].at > cpu[i] ? c->t[i].at - cpu[i] : 0);
	if (left != U64_MAX)
		ktimer_start(&c->check, ktime_deadline(max(left / max(c->proc->nthreads, 1u), CPU_CHECK_MIN_NS)), cpu_check);
}

static void cpu_check(struct ktimer *t)
{
	struct cpu_itimers *c = container_of(t, struct cpu_itimers, check);
	u64 cpu[2];
	bool due[2];
	cpu_now(c->proc, cpu);
	mutex_lock(&itimer_lock);
	for (int i = 0; i < 2; i++) {
		due[i] = c->t[i].at && cpu[i] >= c->t[i].at;
		if (!due[i])
			continue;
		u64 next = c->t[i].at + c->t[i].interval;
		c->t[i].at = !c->t[i].interval ? 0 : next > cpu[i] ? next : cpu[i] + c->t[i].interval;
	}
	cpu_arm(c, cpu);
	mutex_unlock(&itimer_lock);
	if (due[0])
		signal_send_proc(c->proc, SIGVTALRM, NULL);
	if (due[1])
		signal_send_proc(c->proc, SIGPROF, NULL);
}

static int set_cpu(int i, u64 value, u64 interval, u64 *old, u64 *old_interval)
{
	struct proc *p = curproc;
	struct cpu_itimers *fresh = NULL;
	u64 cpu[2];
	if (!p->cpu_itimers) {
		if (!(fresh = knew(struct cpu_itimers)))
			return -ENOMEM;
		fresh->proc = p;
	}
	cpu_now(p, cpu);
	mutex_lock(&itimer_lock);
	struct cpu_itimers *c = p->cpu_itimers;
	if (!c) {
		c = p->cpu_itimers = fresh;
		fresh = NULL;
	}
	*old = c->t[i].at > cpu[i] ? c->t[i].at - cpu[i] : c->t[i].at ? USEC : 0;
	*old_interval = c->t[i].interval;
	c->t[i].at = value ? cpu[i] + value : 0;
	c->t[i].interval = interval;
	cpu_arm(c, cpu);
	mutex_unlock(&itimer_lock);
	kfree(fresh);
	return 0;
}

static int get_itimer(int which, struct itimerval_ *out)
{
	struct proc *p = curproc;
	u64 left = 0, interval = 0, cpu[2];
	if ((u32)which > ITIMER_PROF)
		return -EINVAL;
	if (which != ITIMER_REAL)
		cpu_now(p, cpu);
	mutex_lock(&itimer_lock);
	if (which == ITIMER_REAL) {
		u64 now = ktime_mono();
		interval = p->itimer_interval;
		if (p->itimer_real.pending)
			left = p->itimer_real.expires > now ? p->itimer_real.expires - now : USEC;
	} else if (p->cpu_itimers) {
		u64 at = p->cpu_itimers->t[which - 1].at, is = cpu[which - 1];
		interval = p->cpu_itimers->t[which - 1].interval;
		left = at > is ? at - is : at ? USEC : 0;
	}
	mutex_unlock(&itimer_lock);
	*out = (struct itimerval_){ to_timeval(interval), to_timeval(left) };
	return 0;
}

long sys_getitimer(int which, void __user *out)
{
	struct itimerval_ v;
	int r = get_itimer(which, &v);
	return r ? r : copy_to_user(out, &v, sizeof(v));
}

long sys_setitimer(int which, const void __user *in, void __user *out)
{
	struct itimerval_ v;
	u64 value, interval, old, old_interval;
	if ((u32)which > ITIMER_PROF)
		return -EINVAL;
	memset(&v, 0, sizeof(v));
	if (in && copy_from_user(&v, in, sizeof(v)))
		return -EFAULT;
	int r = read_timeval(&v.value, &value);
	if (!r)
		r = read_timeval(&v.interval, &interval);
	if (r)
		return r;
	if (which == ITIMER_REAL)
		old = set_real(value, interval, &old_interval);
	else
		r = set_cpu(which - 1, value, interval, &old, &old_interval);
	if (r)
		return r;
	v = (struct itimerval_){ to_timeval(old_interval), to_timeval(old) };
	return out ? copy_to_user(out, &v, sizeof(v)) : 0;
}

long sys_alarm(u32 seconds)
{
	u64 interval, left = set_real(seconds * NSEC_PER_SEC, 0, &interval);
	// Rounded to the nearest second, but never to "none was set".
	u64 s = (left + NSEC_PER_SEC / 2) / NSEC_PER_SEC;
	return (long)(left && !s ? 1 : s);
}

void itimers_drop(struct proc *p)
{
	mutex_lock(&itimer_lock);
	struct cpu_itimers *c = p->cpu_itimers;
	p->cpu_itimers = NULL;
	p->itimer_interval = 0;
	if (c)
		c->t[0].at = c->t[1].at = 0;
	mutex_unlock(&itimer_lock);
	ktimer_cancel(&p->itimer_real);
	if (c) {
		ktimer_cancel(&c->check);
		kfree(c);
	}
}
