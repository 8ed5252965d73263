// SPDX-License-Identifier: Apache-2.0
// ASYNC_CANCEL and IORING_REGISTER_SYNC_CANCEL: by user data, file or anything. Locks: ring->lock.
#include "kernel/uring/uring.h"

#define FLAGS (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_FD_FIXED)

struct key {
	u32 flags;
	u64 user_data;
	struct file *file;
	struct ureq *self;
};

static bool match(struct ureq *q, const void *arg)
{
	const struct key *k = arg;

	if (q == k->self || q->sqe.opcode == IORING_OP_LINK_TIMEOUT)
		return false;
	if (k->flags & IORING_ASYNC_CANCEL_ANY)
		return true;
	if (k->flags & IORING_ASYNC_CANCEL_FD)
		return q->file && q->file == k->file;
	return q->sqe.user_data == k->user_data;
}

static int cancel(struct uring *r, struct key *k, int fd)
{
	struct udone d;
	int e;

	if (k->flags & IORING_ASYNC_CANCEL_FD) {
		k->file = k->flags & IORING_ASYNC_CANCEL_FD_FIXED ? fixed_file(r, (u32)fd) : fd_get(fd);
		if (!k->file)
			return -EBADF;
	}
	udone_init(&d);
	mutex_lock(&r->lock);
	e = uring_cancel(r, match, k, k->flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY), &d);
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	if (k->file)
		file_put(k->file);
	return e;
}

static int check(u32 flags) { return (flags & ~FLAGS) || ((flags & IORING_ASYNC_CANCEL_FD) && (flags & IORING_ASYNC_CANCEL_ANY)) ? -EINVAL : 0; }

int op_cancel_prep(struct ureq *q)
{
	if (q->sqe.flags & IOSQE_BUFFER_SELECT || q->sqe.off || q->sqe.len || q->sqe.splice_fd_in)
		return -EINVAL;
	if (q->sqe.flags & IOSQE_FIXED_FILE)
		q->sqe.cancel_flags |= IORING_ASYNC_CANCEL_FD_FIXED;
	return check(q->sqe.cancel_flags);
}

int op_cancel_issue(struct ureq *q)
{
	struct key k = { .flags = q->sqe.cancel_flags, .user_data = q->sqe.addr, .self = q };

	return cancel(q->ring, &k, q->sqe.fd);
}

// What waits is cancelled on the spot. What another thread has in its hands is waited for, as long as the caller wants.
int uring_sync_cancel(struct uring *r, const void __user *arg)
{
	struct io_uring_sync_cancel_reg a;
	struct key k = { 0 };
	u64 deadline = NO_DEADLINE;
	int e;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.pad[0] || a.pad[1] || a.pad[2] || a.pad[3])
		return -EINVAL;
	k.flags = a.flags;
	k.user_data = a.addr;
	e = check(a.flags);
	if (e)
		return e;
	if (a.timeout.tv_sec != -1 || a.timeout.tv_nsec != -1)
		deadline = ktime_deadline(ts_ns(&a.timeout));
	for (;;) {
		e = cancel(r, &k, a.fd);
		if (e != -EALREADY)
			return e > 0 ? 0 : e;
		if (ktime_mono() >= deadline)
			return -ETIME;
		e = task_sleep(task_seq(), min(deadline, ktime_deadline(1000000)));
		if (e == -EINTR)
			return -EINTR;
	}
}
