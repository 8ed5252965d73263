// SPDX-License-Identifier: Apache-2.0
// TCP_DEFER_ACCEPT inside: a connection is shown to its listener when something has come on it, its client has ended, or the time is over. Until then it is in
// the listener's list `deferred`, which holds the reference that accept(2) gets later, and has a timer.
// Who takes `defer` from the child ends the timer and frees it. Locks: the listener's lock guards the list; none is held while a timer is cancelled.
#include "kernel/net/inet.h"
#include "kernel/include/ktime.h"

struct defer {
	struct ktimer timer;
	struct inet_sock *listener, *child;	// references
};

// The listener's lock is held.
static void show(struct inet_sock *l, struct inet_sock *c)
{
	if (!c->deferred)
		return;
	c->deferred = false;
	list_del(&c->s.accept_link);
	l->s.defer_n--;
	list_add_tail(&c->s.accept_link, &l->s.accept_q);
	l->s.accept_n++;
}

static void finish(struct defer *d)
{
	struct inet_sock *l = d->listener;
	mutex_lock(&l->s.lock);
	show(l, d->child);
	mutex_unlock(&l->s.lock);
	accept_kick(&l->s);
	sock_put(&d->child->s);
	sock_put(&l->s);
	kfree(d);
}

static struct defer *take(struct inet_sock *c) { return __atomic_exchange_n(&c->defer, NULL, __ATOMIC_ACQ_REL); }

static void over(struct ktimer *t)
{
	struct defer *d = container_of(t, struct defer, timer);
	mutex_lock(&d->listener->s.lock); // the child may be about to be queued
	bool mine = take(d->child);
	mutex_unlock(&d->listener->s.lock);
	if (mine)
		finish(d);
}

// Connects client and c, a child of l, as accept_push does, with its errors and -ENOMEM.
int defer_push(struct inet_sock *l, struct inet_sock *c, struct inet_sock *client, int flags, u64 deadline)
{
	struct defer *d = knew(struct defer);
	int r;
	if (!d)
		return -ENOMEM;
	mutex_lock(&l->s.lock);
	r = accept_room(&l->s, flags, deadline);
	if (!r) {
		d->listener = l;
		d->child = c;
		sock_get(&l->s);
		sock_get(&c->s);
		if (!l->deferrals.next)
			list_init(&l->deferrals);
		list_add_tail(&c->s.accept_link, &l->deferrals);
		l->s.defer_n++;
		c->deferred = true;
		ktimer_start(&d->timer, ktime_deadline(l->defer_s * NSEC_PER_SEC), over);
		__atomic_store_n(&c->defer, d, __ATOMIC_RELEASE);
		sock_pair(&client->s, &c->s); // last: from here on another thread may send, which ends the wait
	}
	mutex_unlock(&l->s.lock);
	if (r)
		kfree(d);
	return r;
}

// Something has come for c, or its client has gone.
void defer_end(struct inet_sock *c)
{
	struct defer *d = take(c);
	if (!d)
		return;
	ktimer_cancel(&d->timer);
	finish(d);
}

// The listener has ended: what it was not shown goes the way of what it did not accept.
void defer_drop(struct inet_sock *l)
{
	if (!l->deferrals.next)
		return;
	for (;;) {
		struct inet_sock *c = NULL;
		mutex_lock(&l->s.lock);
		if (!list_empty(&l->deferrals)) {
			c = inet_of(list_first(&l->deferrals, struct sock, accept_link));
			sock_get(&c->s);
			show(l, c);
		}
		mutex_unlock(&l->s.lock);
		if (!c)
			break;
		defer_end(c);
		sock_put(&c->s);
	}
	accept_drop(&l->s);
}
