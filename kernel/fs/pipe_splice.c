// SPDX-License-Identifier: Apache-2.0
// What splice, tee and vmsplice do with a pipe: bytes move between its ring and kernel memory. Locks: pipe->lock, see
// pipe.c.
#include "kernel/fs/pipe.h"

size_t pipe_peek(struct pipe *p, void *buf, size_t n)
{
	u32 head, len;
	size_t got;
	struct iter it;

	iter_kernel(&it, buf, n);
	mutex_lock(&p->lock);
	head = p->head;
	len = p->len;
	got = p->len ? ring_out(p, &it, min((size_t)p->len, n)) : 0;
	p->head = head;
	p->len = len;
	mutex_unlock(&p->lock);
	return got;
}

size_t pipe_take(struct pipe *p, void *buf, size_t n)
{
	bool freed = false;
	struct iter it;
	size_t got = 0;

	iter_kernel(&it, buf, n);
	mutex_lock(&p->lock);
	if (p->len) {
		bool was_full = !writable(p);

		got = ring_out(p, &it, min((size_t)p->len, n));
		freed = was_full && writable(p);
	}
	mutex_unlock(&p->lock);
	if (freed)
		kick_writers(p);
	return got;
}

// Room for n more bytes whatever the capacity says.
static int ring_force(struct pipe *p, size_t n)
{
	u32 size = max(p->size, (u32)PAGE_SIZE);

	while (size < p->len + n)
		size <<= 1;
	return p->buf && size == p->size ? 0 : pipe_ring_resize(p, size);
}

void pipe_unread(struct pipe *p, const void *buf, size_t n)
{
	struct iter it;
	u32 head;

	if (!n)
		return;
	iter_kernel(&it, (void *)buf, n);
	mutex_lock(&p->lock);
	if (!ring_force(p, n)) {
		u32 len = p->len;

		head = (p->head - n) & (p->size - 1);
		p->head = head;
		p->len = 0;
		p->len = len + ring_in(p, &it, n);
	}
	mutex_unlock(&p->lock);
	kick_readers(p, true);
}

int pipe_push(struct pipe *p, const void *buf, size_t n)
{
	struct iter it;
	int r;

	iter_kernel(&it, (void *)buf, n);
	mutex_lock(&p->lock);
	r = p->readers ? ring_force(p, n) : -EPIPE;
	if (!r)
		p->len += ring_in(p, &it, n);
	mutex_unlock(&p->lock);
	if (!r)
		kick_readers(p, true);
	return r;
}

size_t pipe_room(struct pipe *p)
{
	size_t n;

	mutex_lock(&p->lock);
	n = p->cap > p->len ? p->cap - p->len : 0;
	mutex_unlock(&p->lock);
	return n;
}

int pipe_wait_data(struct pipe *p, bool nonblock)
{
	int r = 0;

	mutex_lock(&p->lock);
	while (!p->len && p->writers && !r)
		r = nonblock ? -EAGAIN : pipe_sleep(p, &p->rq, false);
	if (!r)
		r = p->len ? 1 : 0;
	mutex_unlock(&p->lock);
	return r;
}

int pipe_wait_room(struct pipe *p, bool nonblock)
{
	int r = 0;

	mutex_lock(&p->lock);
	while (p->readers && p->len >= p->cap && !r)
		r = nonblock ? -EAGAIN : pipe_sleep(p, &p->wq, false);
	if (!r && !p->readers)
		r = -EPIPE;
	mutex_unlock(&p->lock);
	if (r == -EPIPE)
		pipe_sigpipe();
	return r;
}
