// SPDX-License-Identifier: Apache-2.0
// Packet mode of pipes (man 2 pipe, O_DIRECT): a write of up to PIPE_BUF bytes is read as one. In the ring a length
// goes before each packet. Locks: pipe->lock, see pipe.c.
#include "kernel/fs/pipe.h"

static void ring_skip(struct pipe *p, u32 n)
{
	p->len -= n;
	p->head = p->len ? (p->head + n) & (p->size - 1) : 0;
}

// One packet; what the reader has no room for is lost. p->lock held. Bytes, or -EFAULT with the packet still there.
static ssize_t packet_out(struct pipe *p, struct iter *it)
{
	u32 n, take, head = p->head, len = p->len;
	struct iter h;

	iter_kernel(&h, &n, sizeof(n));
	ring_out(p, &h, sizeof(n));
	take = min((size_t)n, it->left);
	if (ring_out(p, it, take) != take) {
		p->head = head;
		p->len = len;
		return -EFAULT;
	}
	ring_skip(p, n - take);
	p->npackets--;
	return take;
}

static ssize_t packet_in(struct pipe *p, struct iter *it, u32 n)
{
	u32 len = p->len, got;
	struct iter h;

	iter_kernel(&h, &n, sizeof(n));
	p->len += ring_in(p, &h, sizeof(n));
	got = ring_in(p, it, n);
	if (got != n) {
		p->len = len;
		return -EFAULT;
	}
	p->len += n;
	p->npackets++;
	return n;
}

ssize_t packet_read(struct file *f, struct iter *it)
{
	struct pipe *p = f->priv;
	struct iter saved = *it;
	ssize_t r = 0;
	bool more;

	mutex_lock(&p->lock);
	while (!r) {
		if (p->len) {
			r = packet_out(p, it);
			if (r != -EFAULT)
				break;
			mutex_unlock(&p->lock);
			iter_revert(it, &saved);
			r = iter_fault_in(it, true);
			mutex_lock(&p->lock);
		} else if (!p->writers) {
			break;
		} else {
			r = f->flags & O_NONBLOCK ? -EAGAIN : pipe_sleep(p, &p->rq, false);
		}
	}
	more = p->len;
	mutex_unlock(&p->lock);
	if (r > 0)
		kick_writers(p);
	if (more)
		kick(&p->rq);
	return r;
}

ssize_t packet_write(struct file *f, struct iter *it)
{
	struct pipe *p = f->priv;
	ssize_t done = 0, r = 0;

	mutex_lock(&p->lock);
	while (it->left && !r) {
		u32 n = min(it->left, (size_t)PIPE_BUF);
		struct iter saved = *it;

		if (!p->readers) {
			r = -EPIPE;
		} else if (pipe_ring_room(p, n + PACKET_HEAD) >= n + PACKET_HEAD) {
			r = packet_in(p, it, n);
			if (r > 0) {
				done += r;
				r = 0;
				continue;
			}
			mutex_unlock(&p->lock);
			iter_revert(it, &saved);
			r = iter_fault_in(it, false);
			mutex_lock(&p->lock);
		} else {
			r = f->flags & O_NONBLOCK ? -EAGAIN : pipe_sleep(p, &p->wq, done != 0);
		}
	}
	mutex_unlock(&p->lock);
	if (done)
		kick_readers(p, true);
	kick(&p->wq);
	if (r == -EPIPE)
		pipe_sigpipe();
	return done ? done : r;
}
