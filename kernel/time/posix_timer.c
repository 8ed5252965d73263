// SPDX-License-Identifier: Apache-2.0
// POSIX timers: timer_create(2) and its family. A timer expires on its own clock; a kernel timer wakes it when that
// can have happened at the earliest (CPU clocks run slower than time, CLOCK_REALTIME may be bent) and looks again.
// Locks: posix_lock guards the lists and timers of all processes. Order: posix_lock -> sig_lock, posix_lock -> tasklist,
// posix_lock -> timer_lock. A kernel timer is cancelled without it.
#include "kernel/fs/procfs.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"
#include "kernel/time/clock.h"

#define MAX_TIMERS 4096
#define MIN_INTERVAL_NS 20000ul	 // a shorter one counts overruns instead of keeping the timer thread busy
#define CPU_CHECK_MIN_NS 500000ul
#define OVERRUN_MAX 0x7fffffff
#define MISSED_MAX 0x3ffffffful

#define SIGEV_SIGNAL_ 0
#define SIGEV_NONE_ 1
#define SIGEV_THREAD_ID_ 4

struct sigevent_ { // the kernel's own struct sigevent
	u64 value;
	int signo, notify, tid;
	int pad[11];
};

struct posix_timer {
	struct list link;	 // proc->posix_timers
	struct ktimer kt;
	struct proc *proc;
	struct task *target;	 // SIGEV_THREAD_ID: a reference
	struct task *cpu_task;	 // thread whose CPU time it counts: a reference
	bool cpu;		 // a CPU clock: cpu_task's or the process's
	int id, clock, notify, signo, overrun;
	u64 value;
	u64 at, interval;	 // on its clock, ns; at 0: disarmed
};

static struct mutex posix_lock;

// A thread's CPU clock read by the timer thread is that of its whole process (pf_cpu_times): with several threads such a
// timer may expire early.
static u64 now_of(struct posix_timer *t)
{
	u64 u = 0, s = 0, ns = 0;
	if (!t->cpu)
		ktime_clock(t->clock, &ns);
	else if (t->cpu_task)
		ns = pf_cpu_times(t->cpu_task, &u, &s) ? 0 : u + s;
	else {
		proc_cpu_ns(t->proc, &u, &s);
		ns = u + s;
	}
	return ns;
}

static void expired(struct ktimer *kt);

static void arm(struct posix_timer *t, u64 now)
{
	u64 left = t->at > now ? t->at - now : 0;
	if (t->cpu)
		left = max(left / (t->cpu_task ? 1 : max(t->proc->nthreads, 1u)), CPU_CHECK_MIN_NS);
	ktimer_start(&t->kt, ktime_deadline(left), expired);
}

// True if the timer's last signal still waits in `pend`; then that one stands for n more expiries.
static bool count_in(struct posix_timer *t, struct sigpending *pend, int n)
{
	struct sigqueue *q;
	list_for_each(q, &pend->queue, link)
		if (q->info.si_signo == t->signo && q->info.si_code == SI_TIMER && q->info.si_tid == t->id) {
			q->info.si_overrun = q->info.si_overrun > OVERRUN_MAX - n ? OVERRUN_MAX : q->info.si_overrun + n;
			return true;
		}
	return false;
}

static void notify(struct posix_timer *t, int missed)
{
	if (t->notify == SIGEV_NONE_)
		return;
	mutex_lock(&t->proc->sig_lock);
	bool queued = count_in(t, t->target ? &t->target->pending : &t->proc->pending, missed + 1);
	mutex_unlock(&t->proc->sig_lock);
	if (queued)
		return;
	siginfo_t si;
	memset(&si, 0, sizeof(si));
	si.si_signo = t->signo;
	si.si_code = SI_TIMER;
	si.si_tid = t->id;
	si.si_overrun = missed;
	si.si_ptr = (void *)t->value;
	if (t->target)
		signal_send_task(t->target, t->signo, &si);
	else
		signal_send_proc(t->proc, t->signo, &si);
}

// Moves t->at beyond now; how many expiries that passes over.
static u64 forward(struct posix_timer *t, u64 now)
{
	u64 n = (now - t->at) / t->interval + 1;

	t->at += n * t->interval;
	return n;
}

static void expired(struct ktimer *kt)
{
	struct posix_timer *t = container_of(kt, struct posix_timer, kt);
	mutex_lock(&posix_lock);
	u64 now = t->at ? now_of(t) : 0;
	if (t->at && now >= t->at) {
		u64 missed = 0;
		if (t->interval) {
			missed = forward(t, now) - 1;
			if (t->at - now < MIN_INTERVAL_NS) {
				u64 more = MIN_INTERVAL_NS / t->interval;
				missed += more;
				t->at += more * t->interval;
			}
		} else {
			t->at = 0;
		}
		notify(t, (int)min(missed, MISSED_MAX));
	}
	if (t->at)
		arm(t, now);
	mutex_unlock(&posix_lock);
}

// posix_lock held
static struct posix_timer *find(int id)
{
	struct proc *p = curproc;
	struct posix_timer *t;
	if (p->posix_timers.next)
		list_for_each(t, &p->posix_timers, link)
			if (t->id == id)
				return t;
	return NULL;
}

void posix_timer_taken(siginfo_t *info)
{
	mutex_lock(&posix_lock);
	struct posix_timer *t = find(info->si_tid);
	if (t && t->signo == info->si_signo) {
		u64 now = t->at && t->interval ? now_of(t) : 0;
		int had = max(info->si_overrun, 0); // a program can send itself what looks like a timer's signal
		if (now && now >= t->at)
			had += (int)min(forward(t, now), (u64)(OVERRUN_MAX - had));
		t->overrun = info->si_overrun = had;
	}
	mutex_unlock(&posix_lock);
}

// What left the list is no one else's.
static void destroy(struct posix_timer *t)
{
	mutex_lock(&posix_lock);
	t->at = 0;
	mutex_unlock(&posix_lock);
	ktimer_cancel(&t->kt);
	if (t->target)
		task_put(t->target);
	if (t->cpu_task)
		task_put(t->cpu_task);
	COUNT(posix_timers, -1);
	kfree(t);
}

static struct task *own_thread(int tid)
{
	struct task *t = task_find(pid_in(tid));
	if (t && t->proc != curproc) {
		task_put(t);
		t = NULL;
	}
	return t;
}

static int set_clock(struct posix_timer *t, int clock)
{
	t->clock = clock;
	if (clock_is_real(clock) || clock_is_mono(clock))
		return 0;
	if (!clock_is_cpu(clock))
		return ktime_clock(clock, &(u64){ 0 }) ? -EINVAL : -EOPNOTSUPP;
	t->cpu = true;
	bool thread = clock == CLOCK_THREAD_CPUTIME_ID || (clock < 0 && (clock & 4));
	int pid = clock < 0 ? ~(clock >> 3) : 0;
	if (!thread)
		return pid && pid != curproc->pid ? -EINVAL : 0;
	t->cpu_task = own_thread(pid ? pid : current->tid);
	return t->cpu_task ? 0 : -EINVAL;
}

static int set_event(struct posix_timer *t, const void __user *uev)
{
	struct sigevent_ ev = { .signo = SIGALRM, .notify = SIGEV_SIGNAL_ };
	if (uev && copy_from_user(&ev, uev, sizeof(ev)))
		return -EFAULT;
	t->notify = ev.notify;
	t->signo = ev.signo;
	t->value = uev ? ev.value : (u64)t->id;
	if (ev.notify == SIGEV_NONE_)
		return 0;
	if (ev.notify != SIGEV_SIGNAL_ && ev.notify != SIGEV_THREAD_ID_ && ev.notify != 2 /* SIGEV_THREAD */)
		return -EINVAL;
	if (ev.signo < 1 || ev.signo > NSIG)
		return -EINVAL;
	if (ev.notify == SIGEV_THREAD_ID_ && !(t->target = own_thread(ev.tid)))
		return -EINVAL;
	return 0;
}

long sys_timer_create(int clock, const void __user *uev, int __user *uid)
{
	struct proc *p = curproc;
	struct posix_timer *t = knew(struct posix_timer);
	if (!t)
		return -EAGAIN;
	COUNT(posix_timers, 1);
	t->proc = p;
	list_init(&t->link);
	mutex_lock(&posix_lock);
	t->id = p->next_timer_id++ & 0x7fffffff;
	mutex_unlock(&posix_lock);
	int r = set_clock(t, clock);
	if (!r)
		r = set_event(t, uev);
	if (!r)
		r = put_user(t->id, uid);
	if (r) {
		destroy(t);
		return r;
	}
	u32 n = 0;
	struct posix_timer *o;
	mutex_lock(&posix_lock);
	if (!p->posix_timers.next)
		list_init(&p->posix_timers);
	list_for_each(o, &p->posix_timers, link)
		n++;
	if (n < MAX_TIMERS)
		list_add_tail(&t->link, &p->posix_timers);
	mutex_unlock(&posix_lock);
	if (n >= MAX_TIMERS) {
		destroy(t);
		return -EAGAIN;
	}
	return 0;
}

static void read_setting(struct posix_timer *t, u64 now, struct __kernel_itimerspec *out)
{
	u64 left = !t->at ? 0 : t->at > now ? t->at - now : 1;
	if (t->at && t->at <= now && t->notify == SIGEV_NONE_ && !t->interval)
		left = 0;
	out->it_interval = (struct __kernel_timespec){ (s64)(t->interval / NSEC_PER_SEC), (s64)(t->interval % NSEC_PER_SEC) };
	out->it_value = (struct __kernel_timespec){ (s64)(left / NSEC_PER_SEC), (s64)(left % NSEC_PER_SEC) };
}

long sys_timer_gettime(int id, void __user *out)
{
	struct __kernel_itimerspec its;
	mutex_lock(&posix_lock);
	struct posix_timer *t = find(id);
	if (t)
		read_setting(t, now_of(t), &its);
	mutex_unlock(&posix_lock);
	return t ? copy_to_user(out, &its, sizeof(its)) : -EINVAL;
}

long sys_timer_settime(int id, int flags, const void __user *in, void __user *out)
{
	struct __kernel_itimerspec old;
	u64 value, interval;
	if (!in)
		return -EINVAL;
	int r = user_timespec(in, &interval);
	if (!r)
		r = user_timespec((const char __user *)in + sizeof(struct __kernel_timespec), &value);
	if (r)
		return r;
	mutex_lock(&posix_lock);
	struct posix_timer *t = find(id);
	if (t) {
		u64 now = now_of(t);
		read_setting(t, now, &old);
		t->interval = value ? interval : 0;
		t->overrun = 0;
		t->at = !value ? 0 : flags & TIMER_ABSTIME ? max(time_to_kernel(t->clock, value), 1ul) : now + value;
		if (t->at)
			arm(t, now);
	}
	mutex_unlock(&posix_lock);
	if (!t)
		return -EINVAL;
	return out ? copy_to_user(out, &old, sizeof(old)) : 0;
}

long sys_timer_getoverrun(int id)
{
	mutex_lock(&posix_lock);
	struct posix_timer *t = find(id);
	long r = t ? t->overrun : -EINVAL;
	mutex_unlock(&posix_lock);
	return r;
}

long sys_timer_delete(int id)
{
	mutex_lock(&posix_lock);
	struct posix_timer *t = find(id);
	if (t)
		list_del(&t->link);
	mutex_unlock(&posix_lock);
	if (!t)
		return -EINVAL;
	destroy(t);
	return 0;
}

void posix_timers_drop(struct proc *p)
{
	for (;;) {
		struct posix_timer *t = NULL;
		mutex_lock(&posix_lock);
		if (p->posix_timers.next && !list_empty(&p->posix_timers)) {
			t = list_first(&p->posix_timers, struct posix_timer, link);
			list_del(&t->link);
		}
		mutex_unlock(&posix_lock);
		if (!t)
			return;
		destroy(t);
	}
}

// --- /proc/PID/timers: the newest first

int proc_timers(struct pout *o, struct pnode *n)
{
	static const char how[][8] = {"signal", "none", "thread"};
	struct list *head = &n->proc->posix_timers, *at;

	mutex_lock(&posix_lock);
	for (at = head->next ? head->prev : head; at != head; at = at->prev) {
		const struct posix_timer *t = container_of(at, struct posix_timer, link);
		// the clocks of the caller's own CPU time are kept as the numbers that mean them, whoever asks
		int clock = t->clock == CLOCK_PROCESS_CPUTIME_ID ? -6 : t->clock == CLOCK_THREAD_CPUTIME_ID ? -2 : t->clock;

		pout(o, "ID: %d\nsignal: %d/%016lx\nnotify: %s/%s.%d\nClockID: %d\n", t->id, t->signo, t->value, how[t->notify & 3],
		     t->target ? "tid" : "pid", pid_out(t->target ? t->target->tid : t->proc->pid), clock);
	}
	mutex_unlock(&posix_lock);
	return 0;
}
