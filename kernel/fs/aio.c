// SPDX-License-Identifier: Apache-2.0
// Linux AIO (man 2 io_submit). As Linux does with files that are not opened for direct I/O, a request is carried out while it
// is submitted; its result waits in the context until io_getevents takes it. A context is named by the address of a page in
// the program, which libaio looks into: it stays zero, which tells libaio to ask the kernel.
// Contexts belong to the address space: fork does not inherit them, exec and exit drop them.
// Locks: aio_lock (an address space's list of contexts) ; ctx->lock (events) -> waitq. Neither is held during I/O or copies.
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"
#include "kernel/include/ktime.h"
#include <linux/aio_abi.h>

#define AIO_MAX_NR 65536u
#define RWF_KNOWN 31

struct aio_ctx {
	struct list link;		// mm->aio
	struct ref ref;
	struct mutex lock;
	struct waitq q;
	uptr id;
	u32 max, running, head, count;	// events[head], count of them; running: submitted, no event yet
	bool dead;
	struct io_event events[];
};

static struct mutex aio_lock;

static struct aio_ctx *ctx_get(uptr id)
{
	struct aio_ctx *c, *found = NULL;
	struct list *l = &curproc->mm->aio;

	mutex_lock(&aio_lock);
	list_for_each(c, l, link)
		if (c->id == id)
			found = c;
	if (found)
		ref_get(&found->ref);
	mutex_unlock(&aio_lock);
	return found;
}

static void ctx_put(struct aio_ctx *c)
{
	if (!ref_put(&c->ref))
		return;
	COUNT(aio_contexts, -1);
	kfree(c);
}

// Out of the list; who waits for events learns of it.
static void ctx_kill(struct aio_ctx *c)
{
	mutex_lock(&c->lock);
	c->dead = true;
	mutex_unlock(&c->lock);
	waitq_wake(&c->q, 0);
	ctx_put(c);
}

void aio_drop(struct mm *mm)
{
	struct aio_ctx *c, *tmp;

	list_for_each_safe(c, tmp, &mm->aio, link) {
		list_del(&c->link);
		ctx_kill(c);
	}
}

long sys_io_setup(u32 nr, void __user *uctx)
{
	struct aio_ctx *c;
	long page;
	u64 old;

	if (get_user(old, (u64 __user *)uctx))
		return -EFAULT;
	if (old || !nr)
		return -EINVAL;
	if (nr > AIO_MAX_NR)
		return -EAGAIN;
	c = kzalloc(sizeof(*c) + nr * sizeof(struct io_event));
	if (!c)
		return -ENOMEM;
	page = mm_map(curproc->mm, 0, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0, 0);
	if (page < 0) {
		kfree(c);
		return page;
	}
	COUNT(aio_contexts, 1);
	ref_init(&c->ref, 1);
	waitq_init(&c->q);
	c->id = (uptr)page;
	c->max = nr;
	mutex_lock(&aio_lock);
	list_add(&c->link, &curproc->mm->aio);
	mutex_unlock(&aio_lock);
	return put_user(c->id, (u64 __user *)uctx);
}

long sys_io_destroy(uptr id)
{
	struct aio_ctx *c, *found = NULL;

	mutex_lock(&aio_lock);
	list_for_each(c, &curproc->mm->aio, link)
		if (c->id == id)
			found = c;
	if (found)
		list_del(&found->link);
	mutex_unlock(&aio_lock);
	if (!found)
		return -EINVAL;
	mm_unmap(curproc->mm, id, PAGE_SIZE);
	ctx_kill(found);
	return 0;
}

// --- submission

static ssize_t transfer(struct file *f, const struct iocb *b, bool write, bool vector)
{
	struct iovec fast[8], *iov = fast;
	struct iter it;
	u64 pos = (u64)b->aio_offset;
	ssize_t r;

	if (!(write ? can_write(f) : can_read(f)))
		return -EBADF;
	if (!(write ? f->ops->write : f->ops->read))
		return -EINVAL;
	if (vector) {
		r = iter_iovec(&it, U(b->aio_buf), b->aio_nbytes, fast, ARRAY_SIZE(fast), &iov);
		if (r < 0)
			return r;
	} else {
		if (!access_ok(U(b->aio_buf), b->aio_nbytes))
			return -EFAULT;
		iter_user(&it, fast, U(b->aio_buf), b->aio_nbytes);
	}
	if (b->aio_offset < 0 && !f->ops->stream)
		r = -EINVAL;
	else
		r = write ? file_write_iter(f, &it, &pos) : file_read_iter(f, &it, &pos);
	iter_free(iov, fast);
	if (r > 0 && write && b->aio_rw_flags & (RWF_SYNC | RWF_DSYNC) && f->ops->fsync) {
		int e = f->ops->fsync(f, !(b->aio_rw_flags & RWF_SYNC));
		r = e ? e : r;
	}
	return r;
}

// The work of one request. *bad: it is the submission that fails, without an event.
static ssize_t perform(struct file *f, const struct iocb *b, bool *bad)
{
	u32 op = b->aio_lio_opcode;
	bool write = op == IOCB_CMD_PWRITE || op == IOCB_CMD_PWRITEV;
	ssize_t r;

	*bad = true;
	switch (op) {
	case IOCB_CMD_PREAD: case IOCB_CMD_PWRITE: case IOCB_CMD_PREADV: case IOCB_CMD_PWRITEV:
		if (b->aio_rw_flags & ~RWF_KNOWN)
			return -EOPNOTSUPP;
		r = transfer(f, b, write, op == IOCB_CMD_PREADV || op == IOCB_CMD_PWRITEV);
		*bad = r == -EBADF || (r == -EFAULT && !access_ok(U(b->aio_buf), b->aio_nbytes));
		return r <= -ERESTARTSYS ? -EINTR : r;
	case IOCB_CMD_FSYNC: case IOCB_CMD_FDSYNC:
		if ((!f->ops->fsync && !is_reg(f->inode)) || b->aio_buf || b->aio_offset || b->aio_nbytes || b->aio_rw_flags)
			return -EINVAL;
		*bad = false;
		return f->ops->fsync ? f->ops->fsync(f, op == IOCB_CMD_FDSYNC) : 0; // memory is its own storage
	default:
		if (op == IOCB_CMD_POLL)
			pr_once("io_submit: IOCB_CMD_POLL is not supported; use epoll\n");
		return -EINVAL;
	}
}

// A place for the event is taken before the work and filled after it.
static bool reserve(struct aio_ctx *c)
{
	bool ok;

	mutex_lock(&c->lock);
	ok = !c->dead && c->running + c->count < c->max;
	c->running += ok;
	mutex_unlock(&c->lock);
	return ok;
}

static void complete(struct aio_ctx *c, const struct io_event *e)
{
	mutex_lock(&c->lock);
	c->running--;
	if (e)
		c->events[(c->head + c->count++) % c->max] = *e;
	mutex_unlock(&c->lock);
	if (e)
		waitq_wake(&c->q, 0);
}

static long submit_one(struct aio_ctx *c, u64 user)
{
	struct iocb __user *ub = U(user);
	struct file *f = NULL, *ev = NULL;
	struct iocb b;
	bool bad = true;
	long r;

	if (copy_from_user(&b, ub, sizeof(b)))
		return -EFAULT;
	if (b.aio_reserved2 || (ssize_t)b.aio_nbytes < 0)
		return -EINVAL;
	if (!reserve(c))
		return -EAGAIN;
	f = fd_get((int)b.aio_fildes);
	r = -EBADF;
	if (!f)
		goto out;
	if (b.aio_flags & IOCB_FLAG_RESFD) {
		ev = fd_get((int)b.aio_resfd);
		r = !ev ? -EBADF : file_is_eventfd(ev) ? 0 : -EINVAL;
		if (r)
			goto out;
	}
	r = -EFAULT;
	if (put_user(0u, &ub->aio_key))
		goto out;
	r = perform(f, &b, &bad);
out:
	if (bad) {
		complete(c, NULL);
	} else {
		struct io_event e = {.data = b.aio_data, .obj = user, .res = r};
		complete(c, &e);
		if (ev)
			eventfd_signal(ev);
		r = 0;
	}
	if (ev)
		file_put(ev);
	if (f)
		file_put(f);
	return r;
}

long sys_io_submit(uptr id, long nr, const void __user *uiocbs)
{
	struct aio_ctx *c;
	long r = 0, i;
	u64 p;

	if (nr < 0)
		return -EINVAL;
	c = ctx_get(id);
	if (!c)
		return -EINVAL;
	nr = min(nr, (long)c->max);
	for (i = 0; i < nr && !r; i++) {
		r = get_user(p, (const u64 __user *)uiocbs + i) ? -EFAULT : submit_one(c, p);
		if (r)
			break;
	}
	ctx_put(c);
	return i ? i : r;
}

// --- completion

// Moves events that are there to the program: how many, or -EFAULT.
static long take(struct aio_ctx *c, long want, struct io_event __user *out)
{
	struct io_event e;
	long n = 0;

	while (n < want) {
		mutex_lock(&c->lock);
		bool got = c->count;
		if (got) {
			e = c->events[c->head];
			c->head = (c->head + 1) % c->max;
			c->count--;
		}
		mutex_unlock(&c->lock);
		if (!got)
			break;
		if (copy_to_user(out + n, &e, sizeof(e)))
			return n ? n : -EFAULT;
		n++;
	}
	return n;
}

static long getevents(uptr id, long least, long nr, struct io_event __user *out, const void __user *uts)
{
	u64 deadline = NO_DEADLINE, ns;
	struct aio_ctx *c;
	struct waiter w;
	long done = 0, k;
	int r = 0;

	if (uts) {
		r = user_timespec(uts, &ns);
		if (r)
			return r;
		deadline = ktime_deadline(ns);
	}
	if (least < 0 || nr < 0 || least > nr)
		return -EINVAL;
	c = ctx_get(id);
	if (!c)
		return -EINVAL;
	waiter_init(&w);
	waitq_add(&c->q, &w);
	for (;;) {
		u32 seq = task_seq();
		k = take(c, nr - done, out + done);
		if (k < 0)
			r = (int)k;
		else
			done += k;
		if (r || done >= least)
			break;
		r = c->dead ? -EINVAL : task_sleep(seq, deadline);
	}
	waitq_del(&c->q, &w);
	ctx_put(c);
	return done || r == -ETIMEDOUT ? done : r;
}

long sys_io_getevents(uptr id, long least, long nr, void __user *out, const void __user *uts)
{
	return getevents(id, least, nr, out, uts);
}

long sys_io_pgetevents(uptr id, long least, long nr, void __user *out, const void __user *uts, const void __user *usig)
{
	struct {
		u64 set, size;
	} sig = {0, 0};
	long r;

	if (usig && copy_from_user(&sig, usig, sizeof(sig)))
		return -EFAULT;
	r = sigmask_swap(U(sig.set), sig.size);
	if (r)
		return r;
	r = getevents(id, least, nr, out, uts);
	sigmask_restore(r == -EINTR);
	return r == -EINTR ? -ERESTARTNOHAND : r;
}

// Nothing that was submitted is still under way when anybody could ask.
long sys_io_cancel(uptr id, const void __user *uiocb, void __user *result)
{
	struct aio_ctx *c;
	u32 key;

	(void)result;
	if (get_user(key, &((const struct iocb __user *)uiocb)->aio_key))
		return -EFAULT;
	c = ctx_get(id);
	if (c)
		ctx_put(c);
	return -EINVAL;
}
