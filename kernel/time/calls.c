// SPDX-License-Identifier: Apache-2.0
// System calls that read clocks and sleep on them: clock_*, nanosleep, gettimeofday, time, adjtimex.
// Nobody inside can set a clock: time is the host's, and untrusted. Takes no locks.
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"
#include "kernel/time/clock.h"
#include <linux/timex.h>

#define MAX_SEC (S64_MAX / (s64)NSEC_PER_SEC)

int user_timespec(const void __user *p, u64 *ns)
{
	struct __kernel_timespec ts;
	if (copy_from_user(&ts, p, sizeof(ts)))
		return -EFAULT;
	if (ts.tv_sec < 0 || (u64)ts.tv_nsec >= NSEC_PER_SEC)
		return -EINVAL;
	*ns = ts.tv_sec >= MAX_SEC ? S64_MAX : ts_ns(&ts);
	return 0;
}

int put_timespec(void __user *p, u64 ns)
{
	struct __kernel_timespec ts = { .tv_sec = (s64)(ns / NSEC_PER_SEC), .tv_nsec = (long long)(ns % NSEC_PER_SEC) };
	return copy_to_user(p, &ts, sizeof(ts));
}

long sys_clock_gettime(int id, void __user *p)
{
	u64 ns;
	int r = ktime_clock(id, &ns);
	if (unlikely(curproc->time_ns))
		ns += (u64)time_offset(id);
	return r ? r : put_timespec(p, ns);
}

long sys_clock_getres(int id, void __user *p)
{
	u64 ns;
	int r = ktime_clock(id, &ns);
	if (r || !p)
		return r;
	bool coarse = id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE;
	return put_timespec(p, coarse ? 4000000 : 1);
}

long sys_clock_settime(int id, const void __user *p)
{
	u64 ns;
	int r = user_timespec(p, &ns);
	if (r)
		return r;
	return id == CLOCK_REALTIME ? -EPERM : -EINVAL;
}

long sys_gettimeofday(void __user *tv, void __user *tz)
{
	if (tv) {
		u64 ns = ktime_real();
		struct __kernel_old_timeval t = { .tv_sec = (long)(ns / NSEC_PER_SEC), .tv_usec = (long)(ns % NSEC_PER_SEC / 1000) };
		if (put_user(t, tv))
			return -EFAULT;
	}
	if (tz && clear_user(tz, 8)) // struct timezone: UTC
		return -EFAULT;
	return 0;
}

long sys_settimeofday(const void __user *tv, const void __user *tz)
{
	(void)tv;
	(void)tz;
	return -EPERM;
}

long sys_time(void __user *p)
{
	s64 t = (s64)(ktime_real() / NSEC_PER_SEC);
	if (p && put_user(t, p))
		return -EFAULT;
	return t;
}

// Sleeps until the clock shows `until`. 0, -EINTR or the clock's error. A clock may run slower than
// CLOCK_MONOTONIC, by which the host measures, so the way left is computed anew each time.
static int sleep_until(int id, u64 until)
{
	for (;;) {
		u32 seq = task_seq();
		u64 now;
		int r = ktime_clock(id, &now);
		if (r)
			return r;
		if (now >= until)
			return 0;
		u64 left = until - now;
		if (clock_is_cpu(id)) // n threads may use it up n times as fast; the last bit is polled
			left = max(left / max(curproc->nthreads, 1u), 1000000ul);
		r = task_sleep(seq, ktime_deadline(left));
		if (r == -EINTR)
			return r;
	}
}

static int put_remaining(int id, u64 until, void __user *rem)
{
	u64 now;
	if (!rem)
		return 0;
	if (ktime_clock(id, &now))
		now = until;
	return put_timespec(rem, until > now ? until - now : 0);
}

static long sleep_restart(struct task *t)
{
	int id = (int)t->restart_arg[0];
	u64 until = t->restart_arg[1];
	void __user *rem = U(t->restart_arg[2]);
	int r = sleep_until(id, until);
	if (r != -EINTR)
		return r;
	if (put_remaining(id, until, rem))
		return -EFAULT;
	t->restart_fn = sleep_restart;
	return -ERESTART_RESTARTBLOCK;
}

static long sleep_for(int id, u64 ns, void __user *rem)
{
	u64 now;
	int r = ktime_clock(id, &now);
	if (r)
		return r;
	struct task *t = current;
	t->restart_arg[0] = (u64)(u32)id;
	if (__builtin_add_overflow(now, ns, &t->restart_arg[1]))
		t->restart_arg[1] = U64_MAX;
	t->restart_arg[2] = (u64)rem;
	return sleep_restart(t);
}

long sys_nanosleep(const void __user *req, void __user *rem)
{
	u64 ns;
	int r = user_timespec(req, &ns);
	return r ? r : sleep_for(CLOCK_MONOTONIC, ns, rem);
}

long sys_clock_nanosleep(int id, int flags, const void __user *req, void __user *rem)
{
	u64 ns;
	if (id == CLOCK_MONOTONIC_RAW || id == CLOCK_MONOTONIC_COARSE || id == CLOCK_REALTIME_COARSE)
		return -EOPNOTSUPP;
	if (id == CLOCK_THREAD_CPUTIME_ID || ktime_clock(id, &ns))
		return -EINVAL;
	int r = user_timespec(req, &ns);
	if (r)
		return r;
	if (!(flags & TIMER_ABSTIME))
		return sleep_for(clock_is_real(id) ? CLOCK_MONOTONIC : id, ns, rem);
	r = sleep_until(id, time_to_kernel(id, ns));
	return r == -EINTR ? -ERESTARTNOHAND : r;
}

static long read_timex(void __user *p)
{
	struct __kernel_timex tx;
	if (copy_from_user(&tx, p, sizeof(tx)))
		return -EFAULT;
	if (tx.modes && tx.modes != ADJ_OFFSET_SS_READ)
		return -EPERM;
	u64 ns = ktime_real();
	tx = (struct __kernel_timex){
		.maxerror = 16000000, .esterror = 16000000, .status = STA_UNSYNC, .constant = 2, .precision = 1,
		.tolerance = 32768000, .tick = 10000,
		.time = { .tv_sec = (long long)(ns / NSEC_PER_SEC), .tv_usec = (long long)(ns % NSEC_PER_SEC / 1000) },
	};
	if (copy_to_user(p, &tx, sizeof(tx)))
		return -EFAULT;
	return TIME_ERROR; // the kernel's word for "not synchronised"
}

long sys_adjtimex(void __user *p) { return read_timex(p); }

long sys_clock_adjtime(int id, void __user *p)
{
	if (id != CLOCK_REALTIME)
		return ktime_clock(id, &(u64){ 0 }) ? -EINVAL : -EOPNOTSUPP;
	return read_timex(p);
}
