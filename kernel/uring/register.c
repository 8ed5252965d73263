// SPDX-License-Identifier: Apache-2.0
// io_uring_register(2) but for the tables of files and buffers. Locks: ring->lock.
#include "kernel/include/ipc.h"
#include "kernel/include/uring.h"
#include "kernel/uring/uring.h"

#define MAX_RESTRICTIONS (IORING_RESTRICTION_LAST + IORING_REGISTER_LAST + IORING_OP_LAST)

static int eventfd_set(struct uring *r, const void __user *arg, bool async)
{
	struct file *f;
	int fd, e = -EBUSY;

	if (get_user(fd, (const int __user *)arg))
		return -EFAULT;
	if (r->eventfd)
		return -EBUSY;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (!file_is_eventfd(f)) {
		file_put(f);
		return -EINVAL;
	}
	mutex_lock(&r->lock);
	if (!r->eventfd) {
		r->cq_told = r->cq_tail;
		r->eventfd_async = async;
		r->eventfd = f;
		f = NULL;
		e = 0;
	}
	mutex_unlock(&r->lock);
	if (f)
		file_put(f);
	return e;
}

static int eventfd_unset(struct uring *r)
{
	struct file *f;

	mutex_lock(&r->lock);
	f = r->eventfd;
	r->eventfd = NULL;
	mutex_unlock(&r->lock);
	if (!f)
		return -ENXIO;
	file_put(f);
	return 0;
}

static int probe(void __user *arg, u32 n)
{
	struct io_uring_probe p = { .last_op = IORING_OP_LAST - 1 };
	struct io_uring_probe __user *up = arg;
	char head[sizeof(p)];

	if (n > 256)
		return -EINVAL;
	n = min(n, (u32)IORING_OP_LAST);
	if (copy_from_user(head, arg, sizeof(head)))
		return -EFAULT;
	for (u32 i = 0; i < sizeof(head); i++)
		if (head[i])
			return -EINVAL;
	p.ops_len = (u8)n;
	if (copy_to_user(arg, &p, sizeof(p)))
		return -EFAULT;
	for (u32 i = 0; i < n; i++) {
		struct io_uring_probe_op o = { .op = (u8)i, .flags = uring_ops[i].issue && i != IORING_OP_URING_CMD ? IO_URING_OP_SUPPORTED : 0 };

		if (copy_to_user(&up->ops[i], &o, sizeof(o)))
			return -EFAULT;
	}
	return 0;
}

// The ids of now under a number.
static int personality_add(struct uring *r)
{
	struct cred *c = cred_dup(cred());
	int id = -ENOSPC;

	if (!c)
		return -ENOMEM;
	mutex_lock(&r->lock);
	for (u32 i = 0; i < MAX_PERSONALITIES && id < 0; i++)
		if (!r->person[i]) {
			r->person[i] = c;
			id = (int)i + 1;
		}
	mutex_unlock(&r->lock);
	if (id < 0)
		cred_free(c);
	return id;
}

static int personality_drop(struct uring *r, u32 id)
{
	struct cred *c = NULL;

	mutex_lock(&r->lock);
	if (id && id <= MAX_PERSONALITIES) {
		c = r->person[id - 1];
		r->person[id - 1] = NULL;
	}
	mutex_unlock(&r->lock);
	cred_free(c);
	return c ? 0 : -EINVAL;
}

static int restrict_to(struct uring *r, const void __user *arg, u32 n)
{
	u64 ops = 0, regs = 0;
	u8 may = 0, must = 0;

	if (!r->disabled)
		return -EBADFD;
	if (r->restrictions_set)
		return -EBUSY;
	if (n > MAX_RESTRICTIONS)
		return -EINVAL;
	for (u32 i = 0; i < n; i++) {
		struct io_uring_restriction x;

		if (get_user(x, (const struct io_uring_restriction __user *)arg + i))
			return -EFAULT;
		switch (x.opcode) {
		case IORING_RESTRICTION_REGISTER_OP:
			if (x.register_op >= IORING_REGISTER_LAST)
				return -EINVAL;
			regs |= 1ul << x.register_op;
			break;
		case IORING_RESTRICTION_SQE_OP:
			if (x.sqe_op >= IORING_OP_LAST)
				return -EINVAL;
			ops |= 1ul << x.sqe_op;
			break;
		case IORING_RESTRICTION_SQE_FLAGS_ALLOWED:
			may = x.sqe_flags;
			break;
		case IORING_RESTRICTION_SQE_FLAGS_REQUIRED:
			must = x.sqe_flags;
			break;
		default:
			return -EINVAL;
		}
	}
	mutex_lock(&r->lock);
	r->allowed_ops = ops;
	r->allowed_regs = regs;
	r->allowed_flags = may;
	r->required_flags = must;
	r->restrictions_set = true;
	mutex_unlock(&r->lock);
	return 0;
}

static int enable(struct uring *r)
{
	if (!r->disabled)
		return -EBADFD;
	mutex_lock(&r->lock);
	if ((r->flags & (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SQPOLL)) && !r->issuer) {
		r->issuer = current;
		ref_get(&current->ref);
	}
	r->restricted = r->restrictions_set;
	r->disabled = false;
	mutex_unlock(&r->lock);
	waitq_wake(&r->wq, EPOLLOUT);
	return 0;
}

// Rings by small numbers of this task's own (IORING_ENTER_REGISTERED_RING). Returns how many were taken.
static int ring_fds(void __user *arg, u32 n, bool add)
{
	struct utask *ut = uring_task();
	struct io_uring_rsrc_update __user *u = arg;
	struct io_uring_rsrc_update a;
	u32 done;
	int e = 0;

	if (!n || n > MAX_RING_FDS)
		return -EINVAL;
	if (!ut)
		return -ENOMEM;
	for (done = 0; done < n && !e; done++) {
		struct file *f;
		u32 at;

		if (get_user(a, u + done)) {
			e = -EFAULT;
			break;
		}
		at = a.offset;
		if (!add) {
			if (a.resv || a.data || at >= MAX_RING_FDS) {
				e = -EINVAL;
				break;
			}
			f = ut->ring_fd[at];
			ut->ring_fd[at] = NULL;
			if (f)
				file_put(f);
			continue;
		}
		if (a.resv || (at != U32_MAX && at >= MAX_RING_FDS)) {
			e = -EINVAL;
			break;
		}
		for (u32 i = 0; at == U32_MAX && i < MAX_RING_FDS; i++)
			if (!ut->ring_fd[i])
				at = i;
		if (at == U32_MAX || ut->ring_fd[at]) {
			e = -EBUSY;
			break;
		}
		f = fd_get((int)a.data);
		if (!f || !file_uring(f)) {
			e = f ? -EOPNOTSUPP : -EBADF;
			if (f)
				file_put(f);
			break;
		}
		ut->ring_fd[at] = f;
		a.offset = at;
		if (put_user(a, u + done)) {
			ut->ring_fd[at] = NULL;
			file_put(f);
			e = -EFAULT;
			break;
		}
	}
	return done ? (int)done : e;
}

static int files2(struct uring *r, u32 op, const void __user *arg, u32 size)
{
	struct io_uring_rsrc_register a;
	bool sparse;

	if (size != sizeof(a))
		return -EINVAL;
	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	sparse = a.flags & IORING_RSRC_REGISTER_SPARSE;
	if (!a.nr || a.resv2 || (a.flags & ~IORING_RSRC_REGISTER_SPARSE) || (sparse && a.data))
		return -EINVAL;
	return op == IORING_REGISTER_FILES2 ? files_register(r, U(a.data), a.nr, U(a.tags), sparse)
					    : bufs_register(r, U(a.data), a.nr, U(a.tags), sparse);
}

static int update2(struct uring *r, u32 op, const void __user *arg, u32 size)
{
	struct io_uring_rsrc_update2 a;

	if (size != sizeof(a))
		return -EINVAL;
	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (!a.nr || a.resv || a.resv2)
		return -EINVAL;
	return op == IORING_REGISTER_FILES_UPDATE2 ? files_update(r, a.offset, U(a.data), U(a.tags), a.nr)
						   : bufs_update(r, a.offset, U(a.data), U(a.tags), a.nr);
}

static int update1(struct uring *r, const void __user *arg, u32 n)
{
	struct io_uring_rsrc_update a;

	if (!n)
		return -EINVAL;
	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	return a.resv ? -EINVAL : files_update(r, a.offset, U(a.data), NULL, n);
}

static int range(struct uring *r, const void __user *arg)
{
	struct io_uring_file_index_range a;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	return a.resv ? -EINVAL : files_range(r, a.off, a.len);
}

// There are no worker threads: what was asked for is checked, and the old values are "as many as you like".
static int workers(void __user *arg, u32 n)
{
	u32 old[2], now[2] = { 0, 0 };

	if (!arg || n != 2)
		return -EINVAL;
	if (copy_from_user(old, arg, sizeof(old)) || copy_to_user(arg, now, sizeof(now)))
		return -EFAULT;
	return 0;
}

static int reg(struct uring *r, u32 op, void __user *arg, u32 n)
{
	bool none = !arg && !n;

	switch (op) {
	case IORING_REGISTER_BUFFERS:
		return arg ? bufs_register(r, arg, n, NULL, false) : -EFAULT;
	case IORING_UNREGISTER_BUFFERS:
		return none ? bufs_unregister(r) : -EINVAL;
	case IORING_REGISTER_FILES:
		return arg ? files_register(r, arg, n, NULL, false) : -EFAULT;
	case IORING_UNREGISTER_FILES:
		return none ? files_unregister(r) : -EINVAL;
	case IORING_REGISTER_FILES_UPDATE:
		return update1(r, arg, n);
	case IORING_REGISTER_EVENTFD:
	case IORING_REGISTER_EVENTFD_ASYNC:
		return n == 1 ? eventfd_set(r, arg, op == IORING_REGISTER_EVENTFD_ASYNC) : -EINVAL;
	case IORING_UNREGISTER_EVENTFD:
		return none ? eventfd_unset(r) : -EINVAL;
	case IORING_REGISTER_PROBE:
		return arg && n <= 256 ? probe(arg, n) : -EINVAL;
	case IORING_REGISTER_PERSONALITY:
		return none ? personality_add(r) : -EINVAL;
	case IORING_UNREGISTER_PERSONALITY:
		return arg ? -EINVAL : personality_drop(r, n);
	case IORING_REGISTER_RESTRICTIONS:
		return arg ? restrict_to(r, arg, n) : -EINVAL;
	case IORING_REGISTER_ENABLE_RINGS:
		return none ? enable(r) : -EINVAL;
	case IORING_REGISTER_FILES2:
	case IORING_REGISTER_BUFFERS2:
		return files2(r, op, arg, n);
	case IORING_REGISTER_FILES_UPDATE2:
	case IORING_REGISTER_BUFFERS_UPDATE:
		return update2(r, op, arg, n);
	case IORING_REGISTER_IOWQ_AFF:
		return arg && n ? 0 : -EINVAL;
	case IORING_UNREGISTER_IOWQ_AFF:
		return none ? 0 : -EINVAL;
	case IORING_REGISTER_IOWQ_MAX_WORKERS:
		return workers(arg, n);
	case IORING_REGISTER_RING_FDS:
	case IORING_UNREGISTER_RING_FDS:
		return ring_fds(arg, n, op == IORING_REGISTER_RING_FDS);
	case IORING_REGISTER_PBUF_RING:
		return arg && n == 1 ? pbuf_ring_register(r, arg) : -EINVAL;
	case IORING_UNREGISTER_PBUF_RING:
		return arg && n == 1 ? pbuf_ring_unregister(r, arg) : -EINVAL;
	case IORING_REGISTER_SYNC_CANCEL:
		return arg && n == 1 ? uring_sync_cancel(r, arg) : -EINVAL;
	case IORING_REGISTER_FILE_ALLOC_RANGE:
		return arg && !n ? range(r, arg) : -EINVAL;
	}
	return -EINVAL;
}

long sys_io_uring_register(u32 fd, u32 op, void __user *arg, u32 n)
{
	struct uring *r;
	struct file *f;
	long e;

	if (op >= IORING_REGISTER_LAST)
		return -EINVAL;
	f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	r = file_uring(f);
	if (!r)
		e = -EOPNOTSUPP;
	else if ((r->flags & IORING_SETUP_SINGLE_ISSUER) && r->issuer && r->issuer != current)
		e = -EEXIST;
	else if (r->restricted && !(r->allowed_regs >> op & 1))
		e = -EACCES;
	else
		e = reg(r, op, arg, n);
	file_put(f);
	return e;
}

void register_free(struct uring *r)
{
	files_unregister(r);
	eventfd_unset(r);
	for (u32 i = 0; i < MAX_PERSONALITIES; i++)
		cred_free(r->person[i]);
}
