// SPDX-License-Identifier: Apache-2.0
// READ, WRITE and their vector and registered-buffer forms. Files that can be polled are tried without sleeping and waited
// for in their queues; the rest (regular files) are done at once. No locks.
#include "kernel/uring/uring.h"

#define RWF_NOWAIT_ 8

static bool is_write(const struct ureq *q)
{
	u8 op = q->sqe.opcode;

	return op == IORING_OP_WRITE || op == IORING_OP_WRITEV || op == IORING_OP_WRITE_FIXED;
}

int op_rw_prep(struct ureq *q)
{
	if ((q->sqe.flags & IOSQE_BUFFER_SELECT) || !q->sqe.len)
		return 0;
	return access_ok(U(q->sqe.addr), q->sqe.len) ? 0 : -EFAULT;
}

int op_rwv_prep(struct ureq *q)
{
	if (q->sqe.flags & IOSQE_BUFFER_SELECT) { // one vector, of which the length counts
		struct iovec v;

		if (q->sqe.len != 1)
			return -EINVAL;
		if (copy_from_user(&v, U(q->sqe.addr), sizeof(v)))
			return -EFAULT;
		q->sqe.len = (u32)min(v.iov_len, (size_t)0x7ffff000);
		return 0;
	}
	return iter_iovec(&q->it, U(q->sqe.addr), q->sqe.len, NULL, 0, &q->iov);
}

int op_rw_fixed_prep(struct ureq *q)
{
	(void)q;
	return 0;
}

static ssize_t transfer(struct ureq *q, struct iter *it)
{
	struct file *f = q->file;
	bool pollable = f->ops->poll, write = is_write(q);
	ssize_t r;

	current->nowait = pollable;
	r = file_rw(f, it, f->ops->stream ? -1 : (s64)q->sqe.off, (int)q->sqe.rw_flags, write);
	current->nowait = false;
	if (pollable && (r == -EAGAIN || r == -ERESTARTSYS || r == -EINTR || r == -ERESTARTNOHAND)) {
		if (q->sqe.rw_flags & RWF_NOWAIT_)
			return -EAGAIN;
		q->wait_events = (write ? EPOLLOUT | EPOLLWRNORM : EPOLLIN | EPOLLRDNORM) | EPOLLERR | EPOLLHUP;
		return U_WAIT;
	}
	return r;
}

int op_rw_issue(struct ureq *q)
{
	bool select = q->sqe.flags & IOSQE_BUFFER_SELECT;
	u32 len = min(q->sqe.len, 0x7ffff000u);
	struct iter it;
	ssize_t r;

	if (q->ring->flags & IORING_SETUP_IOPOLL)
		return -EOPNOTSUPP; // no file here can be polled for completions
	if (select) {
		r = buffer_select(q, len);
		if (r)
			return (int)r;
		if (!access_ok(U(q->buf_addr), q->buf_len))
			return -EFAULT;
		iter_user(&it, &q->one, U(q->buf_addr), q->buf_len);
	} else {
		iter_user(&it, &q->one, U(q->sqe.addr), len);
	}
	len = (u32)it.left;
	r = transfer(q, &it);
	if (select && r > 0)
		q->cflags = buffer_used(q);
	else if (select)
		buffer_recycle(q);
	q->fail = r >= 0 && (u32)r != len;
	return (int)r;
}

int op_rwv_issue(struct ureq *q)
{
	struct iter it = q->it;
	ssize_t r;

	if (q->sqe.flags & IOSQE_BUFFER_SELECT)
		return op_rw_issue(q);
	if (q->ring->flags & IORING_SETUP_IOPOLL)
		return -EOPNOTSUPP;
	r = transfer(q, &it);
	q->fail = r >= 0 && (size_t)r != q->it.left;
	return (int)r;
}

int op_rw_fixed_issue(struct ureq *q)
{
	int e = fixed_buffer(q, q->sqe.addr, q->sqe.len);

	return e ? e : op_rw_issue(q);
}
