// SPDX-License-Identifier: Apache-2.0
// /dev/fuse: where a FUSE daemon reads requests and writes replies, one whole message each call. A mount ties the device to a
// connection; FUSE_DEV_IOC_CLONE ties another device to the same one. The last that closes ends the connection. Locks: see fuse.h.
#include "kernel/fs/fuse.h"

#define NOTICE_MAX 4096u

// What a read gives next, under conn->lock; it is the caller's then.
struct message {
	struct fuse_req *req;	// reference
	struct fuse_forget *forget;
	struct {
		struct fuse_in_header h;
		union {
			struct fuse_interrupt_in intr;
			struct fuse_forget_in forget;
		};
	} small;		// interrupts and forgets
};

// The next node to be forgotten, or NULL. One that a request is about waits until the daemon has answered: with several threads it may
// serve what it reads in any order, and libfuse ends itself over a node that it does not know.
static struct fuse_forget *forgettable(struct fuse_conn *c)
{
	struct fuse_forget *f;
	struct fuse_req *r;

	list_for_each(f, &c->forgets, link) {
		bool used = false;
		list_for_each(r, &c->sent, link)
			used |= r->h.nodeid == f->nodeid;
		if (!used)
			return f;
	}
	return NULL;
}

static bool take_locked(struct fuse_conn *c, struct message *m)
{
	if (!list_empty(&c->interrupts)) {
		struct fuse_req *r = list_first(&c->interrupts, struct fuse_req, intr);
		list_del(&r->intr);
		m->small.h = (struct fuse_in_header){.len = sizeof(m->small), .opcode = FUSE_INTERRUPT, .unique = r->h.unique | 1};
		m->small.intr.unique = r->h.unique;
		fuse_req_put(r);
		return true;
	}
	if (!list_empty(&c->pending)) {
		m->req = list_first(&c->pending, struct fuse_req, link);
		list_del(&m->req->link);
		m->req->state = FUSE_SENT;
		list_add_tail(&m->req->link, &c->sent);
		ref_get(&m->req->ref);
		if (m->req->interrupted)
			fuse_interrupt(c, m->req);
		return true;
	}
	m->forget = forgettable(c); // nothing is pending
	if (m->forget) {
		list_del(&m->forget->link);
		m->small.h = (struct fuse_in_header){.len = sizeof(m->small), .opcode = FUSE_FORGET, .unique = c->unique += 2, .nodeid = m->forget->nodeid};
		m->small.forget.nlookup = m->forget->nlookup;
		return true;
	}
	return false;
}

static bool anything(struct fuse_conn *c) { return !list_empty(&c->interrupts) || !list_empty(&c->pending) || forgettable(c); }

static int wait_message(struct fuse_conn *c, struct message *m, bool nonblock)
{
	struct waiter w;
	int r;

	waiter_init(&w);
	waitq_add(&c->readers, &w);
	for (;;) {
		u32 seq = task_seq();
		mutex_lock(&c->lock);
		r = !c->connected ? -ENODEV : take_locked(c, m) ? 0 : -EAGAIN;
		mutex_unlock(&c->lock);
		if (r != -EAGAIN || nonblock)
			break;
		if (task_sleep(seq, NO_DEADLINE)) {
			r = -ERESTARTSYS;
			break;
		}
	}
	waitq_del(&c->readers, &w);
	return r;
}

// Takes a request off the list of those that wait for an answer: NULL if it is not there (any more).
static struct fuse_req *claim(struct fuse_conn *c, u64 unique)
{
	struct fuse_req *r, *found = NULL;
	bool forget;

	mutex_lock(&c->lock);
	list_for_each(r, &c->sent, link)
		if (r->h.unique == unique) {
			found = r;
			list_del(&r->link);
			break;
		}
	forget = found && !list_empty(&c->forgets); // it may have waited for this one
	mutex_unlock(&c->lock);
	if (forget)
		waitq_wake(&c->readers, EPOLLIN | EPOLLRDNORM);
	return found;
}

// The daemon does not get to know of it. Consumes the reader's reference.
static void end_unread(struct fuse_conn *c, struct fuse_req *r, int error)
{
	struct fuse_req *mine = claim(c, r->h.unique);

	if (mine)
		fuse_end(c, mine, error);
	fuse_req_put(r);
}

static ssize_t dev_read(struct file *f, struct iter *it, u64 *pos)
{
	struct fuse_conn *c = __atomic_load_n((struct fuse_conn **)&f->priv, __ATOMIC_ACQUIRE);
	struct message m = {0};
	ssize_t n;
	int r;

	(void)pos;
	if (!c)
		return -EPERM;
	if (it->left < max(FUSE_MIN_READ_BUFFER + 0ul, sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) + c->max_write))
		return -EINVAL;
	for (;;) {
		r = wait_message(c, &m, f->flags & O_NONBLOCK);
		if (r)
			return r;
		if (!m.req || m.req->len <= it->left)
			break;
		// a buffer for what may be written can be too small for an attribute's value
		end_unread(c, m.req, m.req->h.opcode == FUSE_SETXATTR ? -E2BIG : -EIO);
		m.req = NULL;
	}
	n = m.req ? m.req->len : sizeof(m.small);
	r = iter_put_all(it, m.req ? (void *)&m.req->h : (void *)&m.small, (size_t)n);
	if (r && m.req)
		end_unread(c, m.req, -EIO);
	else
		fuse_req_put(m.req);
	kfree(m.forget);
	return r ? r : n;
}

// The answer to an INTERRUPT: it may have come before what it interrupts was begun.
static void interrupt_answered(struct fuse_conn *c, u64 unique, int error)
{
	struct fuse_req *r;
	bool again = false;

	mutex_lock(&c->lock);
	if (error == -ENOSYS)
		c->no_interrupt = true;
	list_for_each(r, &c->sent, link)
		if (error == -EAGAIN && r->h.unique == unique)
			again = fuse_interrupt(c, r);
	mutex_unlock(&c->lock);
	if (again)
		waitq_wake(&c->readers, EPOLLIN | EPOLLRDNORM);
}

static int notice(struct fuse_conn *c, struct iter *it, u32 code)
{
	size_t n = it->left;
	u8 *buf;
	int r;

	if (n > NOTICE_MAX)
		return -EINVAL;
	if (!(buf = kmalloc(max(n, (size_t)1))))
		return -ENOMEM;
	r = iter_get_all(it, buf, n);
	if (!r)
		r = fuse_notify(c, code, buf, n);
	kfree(buf);
	return r;
}

static ssize_t dev_write(struct file *f, struct iter *it, u64 *pos)
{
	struct fuse_conn *c = __atomic_load_n((struct fuse_conn **)&f->priv, __ATOMIC_ACQUIRE);
	size_t total = it->left;
	struct fuse_out_header h;
	struct fuse_req *req;
	int r;

	(void)pos;
	if (!c)
		return -EPERM;
	if (total < sizeof(h))
		return -EINVAL;
	if ((r = iter_get_all(it, &h, sizeof(h))))
		return r;
	if (!h.unique && h.len == total && h.error > 0) {
		r = notice(c, it, (u32)h.error);
		return r ? r : (ssize_t)total;
	}
	if (!fuse_header_ok(&h, total))
		return -EINVAL;
	if (h.unique & 1) {
		interrupt_answered(c, h.unique & ~1ul, h.error);
		return (ssize_t)total;
	}
	if (!(req = claim(c, h.unique)))
		return -ENOENT;
	if (!fuse_length_ok(&h, req->out_min, req->out_max)) {
		fuse_end(c, req, -EIO);
		return -EINVAL;
	}
	if (!h.error) {
		req->out_len = h.len - (u32)sizeof(h);
		r = iter_get_all(it, req->out, req->out_len);
	}
	fuse_end(c, req, r ? -EIO : h.error);
	return r ? r : (ssize_t)total;
}

static u32 dev_poll(struct file *f, struct poll_table *pt)
{
	struct fuse_conn *c = __atomic_load_n((struct fuse_conn **)&f->priv, __ATOMIC_ACQUIRE);
	u32 mask = EPOLLOUT | EPOLLWRNORM;

	if (!c)
		return EPOLLERR;
	poll_wait(pt, &c->readers);
	mutex_lock(&c->lock);
	if (!c->connected)
		mask = EPOLLERR;
	else if (anything(c))
		mask |= EPOLLIN | EPOLLRDNORM;
	mutex_unlock(&c->lock);
	return mask;
}

static long dev_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct fuse_conn *none = NULL, *c = NULL;
	struct file *from;
	u32 fd;
	long r = -EINVAL;

	if (cmd != FUSE_DEV_IOC_CLONE)
		return -ENOTTY;
	if (get_user(fd, U(arg)))
		return -EFAULT;
	from = fd_get((int)fd);
	if (from && from->ops == &fuse_dev_fops)
		c = __atomic_load_n((struct fuse_conn **)&from->priv, __ATOMIC_ACQUIRE);
	if (c) {
		ref_get(&c->ref);
		mutex_lock(&c->lock);
		c->devices++;
		mutex_unlock(&c->lock);
		r = 0;
		if (!__atomic_compare_exchange_n((struct fuse_conn **)&f->priv, &none, c, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			mutex_lock(&c->lock);
			c->devices--;
			mutex_unlock(&c->lock);
			fuse_conn_put(c);
			r = -EINVAL;
		}
	}
	file_put(from);
	return r;
}

static void dev_release(struct file *f)
{
	struct fuse_conn *c = f->priv;
	bool last;

	if (!c)
		return;
	mutex_lock(&c->lock);
	last = !--c->devices;
	mutex_unlock(&c->lock);
	if (last)
		fuse_abort(c, false);
	fuse_conn_put(c);
}

const struct file_ops fuse_dev_fops = {
	.read = dev_read, .write = dev_write, .poll = dev_poll, .ioctl = dev_ioctl, .release = dev_release, .llseek = no_llseek, .stream = true};
