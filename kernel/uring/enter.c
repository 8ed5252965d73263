// SPDX-License-Identifier: Apache-2.0
// io_uring_enter(2): submit, run what is due, wait for completions.
#include "kernel/include/uring.h"
#include "kernel/uring/uring.h"

#define ENTER_KNOWN \
	(IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT | IORING_ENTER_EXT_ARG | IORING_ENTER_REGISTERED_RING)

static int enough(struct uring *r, u32 want, u32 timeouts)
{
	int n;

	mutex_lock(&r->lock);
	uring_flush_overflow(r);
	n = uring_ready(r) >= want || r->ntimeouts != timeouts;
	mutex_unlock(&r->lock);
	return n;
}

static int wait_for(struct uring *r, u32 want, u64 deadline)
{
	struct waiter w;
	u32 timeouts = r->ntimeouts;
	int e = 0;

	want = min(want, r->cq_entries);
	uring_run_defer(r);
	if (uring_work_pending(current))
		uring_work_run();
	if (enough(r, want, r->ntimeouts))
		return 0;
	waiter_init(&w);
	waitq_add(&r->wq, &w);
	for (;;) {
		u32 seq = task_seq();

		uring_run_defer(r);
		if (uring_work_pending(current))
			uring_work_run();
		if (enough(r, want, timeouts)) {
			e = 0;
			break;
		}
		if (e)
			break;
		e = task_sleep(seq, deadline);
	}
	waitq_del(&r->wq, &w);
	mutex_lock(&r->lock);
	if (e && uring_ready(r)) // something is there to be read: that comes first
		e = 0;
	mutex_unlock(&r->lock);
	return e == -ETIMEDOUT ? -ETIME : e;
}

static int get_events(struct uring *r, u32 want, u32 flags, const void __user *arg, size_t size)
{
	struct io_uring_getevents_arg a = { .sigmask = (u64)(__force uptr)arg, .sigmask_sz = (u32)size };
	u64 deadline = NO_DEADLINE, ns;
	int e;

	if (flags & IORING_ENTER_EXT_ARG) {
		if (size != sizeof(a))
			return -EINVAL;
		if (copy_from_user(&a, arg, sizeof(a)))
			return -EFAULT;
		if (a.pad)
			return -EINVAL;
	}
	if (a.ts) {
		e = user_timespec(U(a.ts), &ns);
		if (e)
			return e;
		deadline = ktime_deadline(ns);
	}
	if (a.sigmask) {
		e = sigmask_swap(U(a.sigmask), a.sigmask_sz);
		if (e)
			return e;
	}
	e = wait_for(r, want, deadline);
	if (a.sigmask)
		sigmask_restore(e == -EINTR);
	return e;
}

static struct file *ring_file(u32 fd, u32 flags)
{
	struct file *f;

	if (flags & IORING_ENTER_REGISTERED_RING) {
		struct utask *ut = current->uring;

		if (!ut || fd >= MAX_RING_FDS)
			return ERR_PTR(-EINVAL);
		f = ut->ring_fd[fd];
		if (f)
			file_get(f);
	} else {
		f = fd_get((int)fd);
	}
	return f ? f : ERR_PTR(-EBADF);
}

// What the poller would have found: entries of the ring, submitted by the program that the ring belongs to.
static long sqpoll_submit(struct uring *r, struct utask *ut, u32 n, u32 flags)
{
	if (__atomic_load_n(&r->issuer->dead, __ATOMIC_RELAXED) || !r->issuer->proc->mm)
		return -EOWNERDEAD;
	if ((flags & IORING_ENTER_SQ_WAKEUP) && curproc->mm == r->mm) {
		int e = uring_submit(r, ut, r->sq_entries);
		if (e < 0)
			return e;
	}
	return n;
}

static long enter(struct uring *r, u32 n, u32 want, u32 flags, const void __user *arg, size_t size)
{
	struct utask *ut = uring_task();
	long done = 0;
	int e;

	if (r->disabled)
		return -EBADFD;
	if (!ut)
		return -ENOMEM;
	if (r->flags & IORING_SETUP_SQPOLL) {
		done = sqpoll_submit(r, ut, n, flags);
		if (done < 0)
			return done;
	} else if (n) {
		if ((r->flags & IORING_SETUP_SINGLE_ISSUER) && r->issuer != current)
			return -EEXIST;
		done = uring_submit(r, ut, n);
		if (done != n)
			return done;
	}
	if (!(flags & IORING_ENTER_GETEVENTS))
		return done;
	if ((r->flags & IORING_SETUP_DEFER_TASKRUN) && r->issuer != current)
		return -EEXIST;
	e = get_events(r, want, flags, arg, size);
	if (e)
		return done ? done : e;
	if (unlikely(r->lost)) {
		r->lost = false;
		return done ? done : -EBADR;
	}
	return done;
}

long sys_io_uring_enter(u32 fd, u32 n, u32 want, u32 flags, const void __user *arg, size_t size)
{
	struct uring *r;
	struct file *f;
	long e;

	if (flags & ~ENTER_KNOWN)
		return -EINVAL;
	f = ring_file(fd, flags);
	if (IS_ERR(f))
		return PTR_ERR(f);
	r = file_uring(f);
	e = r ? enter(r, n, want, flags, arg, size) : -EOPNOTSUPP;
	file_put(f);
	return e;
}
