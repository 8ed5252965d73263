// SPDX-License-Identifier: Apache-2.0
// The queue of a listening socket: connected sockets that nobody has accepted yet. Each holds one reference, which
// accept hands to the caller. Locks: the listener's lock.
#include "kernel/net/sock.h"

void sock_pair(struct sock *a, struct sock *b)
{
	a->peer = sock_get(b);
	b->peer = sock_get(a);
	__atomic_store_n(&a->state, ST_CONNECTED, __ATOMIC_RELEASE);
	__atomic_store_n(&b->state, ST_CONNECTED, __ATOMIC_RELEASE);
}

// Waits until l, which is locked, has room for another connection.
int accept_room(struct sock *l, int flags, u64 deadline)
{
	while (l->state == ST_LISTEN && l->accept_n + l->defer_n > l->backlog && flags != ACCEPT_FORCE) {
		if (flags & MSG_DONTWAIT)
			return -EAGAIN;
		int r = sock_sleep(&l->lock, &l->wq, deadline);
		if (r)
			return r;
	}
	return l->state == ST_LISTEN ? 0 : -ECONNREFUSED;
}

static int push_locked(struct sock *l, struct sock *child, struct sock *client, int flags, u64 deadline)
{
	int r = accept_room(l, flags, deadline);
	if (r)
		return r;
	sock_pair(client, child);
	list_add_tail(&child->accept_link, &l->accept_q);
	l->accept_n++;
	return 0;
}

void accept_kick(struct sock *l)
{
	if (!list_empty(&l->rq.waiters))
		waitq_wake_one(&l->rq, 0);
	sock_wake_poll(l, EPOLLIN | EPOLLRDNORM);
}

// Waits for room, connects client with child and queues child, whose reference the queue takes over.
// ACCEPT_FORCE as flags: without regard to the backlog. -EAGAIN (no room), -ECONNREFUSED (nobody listens any more), -ERESTARTSYS.
int accept_push(struct sock *l, struct sock *child, struct sock *client, int flags, u64 deadline)
{
	mutex_lock(&l->lock);
	int r = push_locked(l, child, client, flags, deadline);
	mutex_unlock(&l->lock);
	if (r == 0)
		accept_kick(l);
	return r;
}

int accept_pop(struct sock *l, struct sock **out, int flags)
{
	u64 deadline = 0;
	int r = 0;
	mutex_lock(&l->lock);
	while (r == 0 && l->state == ST_LISTEN && list_empty(&l->accept_q)) {
		if (flags & MSG_DONTWAIT) {
			r = -EAGAIN;
		} else {
			if (!deadline)
				deadline = sock_deadline(l->rcvtimeo);
			r = sock_sleep(&l->lock, &l->rq, deadline);
		}
	}
	bool more = !list_empty(&l->accept_q);
	if (l->state != ST_LISTEN) {
		r = -EINVAL;
	} else if (r == 0) {
		*out = list_first(&l->accept_q, struct sock, accept_link);
		list_del(&(*out)->accept_link);
		l->accept_n--;
		more = !list_empty(&l->accept_q);
	}
	mutex_unlock(&l->lock);
	if (r == 0)
		sock_wake(&l->wq);
	if (more && !list_empty(&l->rq.waiters)) // hand on: one wake-up was spent on us
		waitq_wake_one(&l->rq, 0);
	return r;
}

void accept_drop(struct sock *l)
{
	struct list gone;
	list_init(&gone);
	mutex_lock(&l->lock);
	l->state = ST_CLOSED;
	l->dead = true;
	list_splice_tail(&l->accept_q, &gone);
	l->accept_n = 0;
	mutex_unlock(&l->lock);
	sock_wake(&l->rq);
	sock_wake(&l->wq);
	sock_wake_poll(l, 0);
	while (!list_empty(&gone)) {
		struct sock *c = list_first(&gone, struct sock, accept_link);
		list_del(&c->accept_link);
		c->linger = true; // never accepted: the other side sees a reset
		c->linger_sec = 0;
		struct sock *peer = c->peer ? sock_get(c->peer) : NULL;
		c->ops->release(c);
		if (peer) {
			mutex_lock(&peer->lock);
			if (peer->peer == c) {
				__atomic_store_n(&peer->err, ECONNRESET, __ATOMIC_RELAXED);
				peer->shut = SHUT_RCV | SHUT_SND;
				peer->reset = true;
			}
			mutex_unlock(&peer->lock);
			sock_wake(&peer->rq);
			sock_wake_poll(peer, 0);
			sock_put(peer);
		}
		sock_put(c);
	}
}
