// SPDX-License-Identifier: Apache-2.0
// eventfd(2): a counter with readiness.
// Locks: e->lock -> waitq. A waker may look at the queue unlocked: sleepers enqueue under e->lock, pollers enqueue
// before they take it.
#include "kernel/include/count.h"
#include "kernel/include/ipc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"

#define EFD_SEM 1 // EFD_SEMAPHORE: no UAPI header has it

struct eventfd {
	struct mutex lock;
	u64 count;
	bool semaphore;
	struct waitq q;
};

static int eventfd_sleep(struct eventfd *e)
{
	struct waiter w;
	u32 seq = task_seq();
	int r;

	waiter_init(&w);
	waitq_add(&e->q, &w);
	mutex_unlock(&e->lock);
	r = task_sleep(seq, NO_DEADLINE);
	waitq_del(&e->q, &w);
	mutex_lock(&e->lock);
	return r ? -ERESTARTSYS : 0;
}

static ssize_t eventfd_read(struct file *f, struct iter *it, u64 *pos)
{
	struct eventfd *e = f->priv;
	struct iter saved = *it;
	u64 v = 0;
	int r = 0;

	(void)pos;
	if (it->left < 8)
		return -EINVAL;
	mutex_lock(&e->lock);
	while (!e->count && !r)
		r = f->flags & O_NONBLOCK ? -EAGAIN : eventfd_sleep(e);
	if (e->count) {
		v = e->semaphore ? 1 : e->count;
		e->count -= v;
		r = 0;
	}
	mutex_unlock(&e->lock);
	if (r)
		return r;
	if (!list_empty(&e->q.waiters))
		waitq_wake(&e->q, EPOLLOUT | EPOLLWRNORM);
	while (iter_put(it, &v, 8) != 8) {
		if (iter_fault_in(it, true))
			return -EFAULT;
		iter_revert(it, &saved);
	}
	return 8;
}

static ssize_t eventfd_write(struct file *f, struct iter *it, u64 *pos)
{
	struct eventfd *e = f->priv;
	struct iter saved = *it;
	u64 v;
	int r = 0;

	(void)pos;
	if (it->left < 8)
		return -EINVAL;
	while (iter_get(it, &v, 8) != 8) {
		if (iter_fault_in(it, false))
			return -EFAULT;
		iter_revert(it, &saved);
	}
	if (v == U64_MAX)
		return -EINVAL;
	mutex_lock(&e->lock);
	while (U64_MAX - e->count <= v && !r)
		r = f->flags & O_NONBLOCK ? -EAGAIN : eventfd_sleep(e);
	if (U64_MAX - e->count > v) {
		e->count += v;
		r = 0;
	}
	mutex_unlock(&e->lock);
	if (r)
		return r;
	if (!list_empty(&e->q.waiters))
		waitq_wake(&e->q, EPOLLIN | EPOLLRDNORM);
	return 8;
}

static u32 eventfd_poll(struct file *f, struct poll_table *pt)
{
	struct eventfd *e = f->priv;
	u64 n;

	poll_wait(pt, &e->q);
	mutex_lock(&e->lock);
	n = e->count;
	mutex_unlock(&e->lock);
	return (n ? EPOLLIN : 0) | (n < U64_MAX - 1 ? EPOLLOUT : 0) | (n == U64_MAX ? EPOLLERR : 0);
}

static void eventfd_release(struct file *f)
{
	COUNT(eventfds, -1);
	kfree(f->priv);
}

static const struct file_ops eventfd_fops = {
	.read = eventfd_read,
	.write = eventfd_write,
	.llseek = no_llseek,
	.poll = eventfd_poll,
	.release = eventfd_release,
	.stream = true,
};

bool file_is_eventfd(struct file *f) { return f->ops == &eventfd_fops; }

void eventfd_signal(struct file *f)
{
	struct eventfd *e = f->priv;

	mutex_lock(&e->lock);
	e->count += e->count < U64_MAX;
	mutex_unlock(&e->lock);
	if (!list_empty(&e->q.waiters))
		waitq_wake(&e->q, EPOLLIN | EPOLLRDNORM);
}

// For /proc/PID/fdinfo. Returns the length; 0 for another kind of file.
size_t eventfd_fdinfo(struct file *f, char *buf, size_t n)
{
	struct eventfd *e = f->priv;
	u64 count;

	if (f->ops != &eventfd_fops)
		return 0;
	mutex_lock(&e->lock);
	count = e->count;
	mutex_unlock(&e->lock);
	return (size_t)scnprintf(buf, n, "eventfd-count: %16lx\neventfd-id: %d\neventfd-semaphore: %d\n", count, 0, e->semaphore);
}

long sys_eventfd2(u32 count, int flags)
{
	struct eventfd *e;
	struct file *f;
	long fd;

	if (flags & ~(EFD_SEM | O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	e = knew(struct eventfd);
	if (!e)
		return -ENOMEM;
	waitq_init(&e->q);
	e->count = count;
	e->semaphore = flags & EFD_SEM;
	f = anon_file("[eventfd]", &eventfd_fops, O_RDWR | (flags & O_NONBLOCK), e);
	if (IS_ERR_OR_NULL(f)) {
		kfree(e);
		return f ? PTR_ERR(f) : -ENOMEM;
	}
	COUNT(eventfds, 1);
	fd = fd_alloc(f, 0, flags & O_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}

long sys_eventfd(u32 count) { return sys_eventfd2(count, 0); }
