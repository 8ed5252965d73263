// SPDX-License-Identifier: Apache-2.0
// timerfd_create(2): a timer whose expirations are read from a descriptor. As in Linux an interval timer runs
// once and is started again, with the ticks that it missed, by the next read or gettime.
// Inside, the wall clock never steps, so TFD_TIMER_CANCEL_ON_SET is accepted and never cancels.
// Locks: t->set_lock (settime calls) -> t->lock (also taken by the timer thread) -> waitq.
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include <linux/timerfd.h>

struct timerfd {
	struct mutex lock, set_lock;
	struct ktimer timer;
	int clock;
	u64 interval; // ns, 0 = one shot
	u64 expires;  // CLOCK_MONOTONIC ns of the next (or the last, when expired) expiration; 0 = disarmed
	u64 ticks;    // not yet read
	bool expired; // has fired and not been started again
	struct waitq q;
};

static void timerfd_fire(struct ktimer *k)
{
	struct timerfd *t = container_of(k, struct timerfd, timer);
	bool due;

	mutex_lock(&t->lock);
	due = t->expires && !t->expired && t->expires <= ktime_mono();
	if (due) {
		t->expired = true;
		t->ticks++;
	}
	mutex_unlock(&t->lock);
	if (due)
		waitq_wake(&t->q, EPOLLIN | EPOLLRDNORM);
}

// Starts an expired interval timer again and counts what it missed; t->lock held.
static void timerfd_forward(struct timerfd *t)
{
	u64 now, missed;

	if (!t->expired || !t->interval)
		return;
	now = ktime_mono();
	missed = now > t->expires ? (now - t->expires) / t->interval : 0;
	t->ticks += missed;
	t->expires += (missed + 1) * t->interval;
	t->expired = false;
	ktimer_start(&t->timer, t->expires, timerfd_fire);
}

static ssize_t timerfd_read(struct file *f, struct iter *it, u64 *pos)
{
	struct timerfd *t = f->priv;
	struct iter saved = *it;
	u64 n = 0;
	int r = 0;

	(void)pos;
	if (it->left < 8)
		return -EINVAL;
	for (;;) {
		mutex_lock(&t->lock);
		if (t->ticks) {
			timerfd_forward(t);
			n = t->ticks;
			t->ticks = 0;
			if (!t->interval)
				t->expires = 0;
		}
		mutex_unlock(&t->lock);
		if (n)
			break;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = WAIT_EVENT(&t->q, NO_DEADLINE, __atomic_load_n(&t->ticks, __ATOMIC_ACQUIRE));
		if (r)
			return -ERESTARTSYS;
	}
	while (iter_put(it, &n, 8) != 8) {
		if (iter_fault_in(it, true))
			return -EFAULT;
		iter_revert(it, &saved);
	}
	return 8;
}

static u32 timerfd_poll(struct file *f, struct poll_table *pt)
{
	struct timerfd *t = f->priv;
	u64 n;

	poll_wait(pt, &t->q);
	mutex_lock(&t->lock);
	n = t->ticks;
	mutex_unlock(&t->lock);
	return n ? EPOLLIN | EPOLLRDNORM : 0;
}

static long timerfd_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct timerfd *t = f->priv;
	u64 n;

	if (cmd != TFD_IOC_SET_TICKS)
		return -ENOTTY;
	if (get_user(n, (u64 __user *)U(arg)))
		return -EFAULT;
	if (!n)
		return -EINVAL;
	mutex_lock(&t->lock);
	t->ticks = n;
	mutex_unlock(&t->lock);
	waitq_wake(&t->q, EPOLLIN | EPOLLRDNORM);
	return 0;
}

static void timerfd_release(struct file *f)
{
	struct timerfd *t = f->priv;

	ktimer_cancel(&t->timer);
	COUNT(timerfds, -1);
	kfree(t);
}

static const struct file_ops timerfd_fops = {
	.read = timerfd_read,
	.llseek = no_llseek,
	.poll = timerfd_poll,
	.ioctl = timerfd_ioctl,
	.release = timerfd_release,
	.stream = true,
};

long sys_timerfd_create(int clock, int flags)
{
	struct timerfd *t;
	struct file *f;
	long fd;

	if (flags & ~(TFD_CLOEXEC | TFD_NONBLOCK))
		return -EINVAL;
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME && clock != CLOCK_BOOTTIME &&
	    clock != CLOCK_REALTIME_ALARM && clock != CLOCK_BOOTTIME_ALARM)
		return -EINVAL;
	if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM)
		return -EPERM; // needs CAP_WAKE_ALARM, which nobody has here
	t = knew(struct timerfd);
	if (!t)
		return -ENOMEM;
	waitq_init(&t->q);
	t->clock = clock;
	f = anon_file("[timerfd]", &timerfd_fops, O_RDWR | (flags & O_NONBLOCK), t);
	if (IS_ERR_OR_NULL(f)) {
		kfree(t);
		return f ? PTR_ERR(f) : -ENOMEM;
	}
	COUNT(timerfds, 1);
	fd = fd_alloc(f, 0, flags & O_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}

static struct timerfd *timerfd_get(int fd, struct file **f, long *r)
{
	*f = fd_get(fd);
	*r = -EBADF;
	if (!*f)
		return NULL;
	if ((*f)->ops == &timerfd_fops)
		return (*f)->priv;
	file_put(*f);
	*r = -EINVAL;
	return NULL;
}

static struct __kernel_timespec to_ts(u64 ns)
{
	return (struct __kernel_timespec){.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};
}

// t->lock held
static struct __kernel_itimerspec timerfd_now(struct timerfd *t)
{
	u64 now = ktime_mono(), left = 0;

	if (t->expires && !t->expired)
		left = t->expires > now ? t->expires - now : 1;
	return (struct __kernel_itimerspec){.it_interval = to_ts(t->interval), .it_value = to_ts(left)};
}

// CLOCK_MONOTONIC time of an absolute time of the timer's clock; never 0.
static u64 absolute(struct timerfd *t, u64 ns)
{
	u64 now, mono = ktime_mono();

	if (t->clock == CLOCK_REALTIME) {
		now = ktime_real();
		ns = ns > now ? ns - now + mono : 1;
	} else {
		ns = time_to_kernel(t->clock, ns);
	}
	return ns ? ns : 1;
}

long sys_timerfd_settime(int fd, int flags, const struct __kernel_itimerspec __user *unew, void __user *uold)
{
	struct __kernel_itimerspec old;
	u64 interval, value;
	struct timerfd *t;
	struct file *f;
	long r;

	if (flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
		return -EINVAL;
	r = user_timespec(&unew->it_interval, &interval);
	if (!r)
		r = user_timespec(&unew->it_value, &value);
	if (r)
		return r;
	t = timerfd_get(fd, &f, &r);
	if (!t)
		return r;

	mutex_lock(&t->set_lock);
	ktimer_cancel(&t->timer);
	mutex_lock(&t->lock);
	timerfd_forward(t);
	old = timerfd_now(t);
	t->interval = interval;
	t->expired = false;
	t->ticks = 0;
	t->expires = !value ? 0 : flags & TFD_TIMER_ABSTIME ? absolute(t, value) : ktime_deadline(value);
	if (t->expires)
		ktimer_start(&t->timer, t->expires, timerfd_fire);
	mutex_unlock(&t->lock);
	if (!value)
		ktimer_cancel(&t->timer); // timerfd_forward may have started it
	mutex_unlock(&t->set_lock);
	file_put(f);
	return uold ? copy_to_user(uold, &old, sizeof(old)) : 0;
}

// For /proc/PID/fdinfo. Returns the length; 0 for another kind of file.
size_t timerfd_fdinfo(struct file *f, char *buf, size_t n)
{
	struct __kernel_itimerspec cur;
	struct timerfd *t = f->priv;
	u64 ticks;

	if (f->ops != &timerfd_fops)
		return 0;
	mutex_lock(&t->lock);
	cur = timerfd_now(t);
	ticks = t->ticks;
	mutex_unlock(&t->lock);
	return (size_t)scnprintf(buf, n, "clockid: %d\nticks: %lu\nsettime flags: 00\nit_value: (%lld, %lld)\nit_interval: (%lld, %lld)\n", t->clock, ticks,
				 cur.it_value.tv_sec, cur.it_value.tv_nsec, cur.it_interval.tv_sec, cur.it_interval.tv_nsec);
}

long sys_timerfd_gettime(int fd, void __user *ucur)
{
	struct __kernel_itimerspec cur;
	struct timerfd *t;
	struct file *f;
	long r;

	t = timerfd_get(fd, &f, &r);
	if (!t)
		return r;
	mutex_lock(&t->lock);
	timerfd_forward(t);
	cur = timerfd_now(t);
	mutex_unlock(&t->lock);
	file_put(f);
	return copy_to_user(ucur, &cur, sizeof(cur));
}
