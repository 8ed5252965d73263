// SPDX-License-Identifier: Apache-2.0
// TCP inside: bytes that wait for more (TCP_CORK, MSG_MORE), so that a reader is woken once for a head and what follows it. They lie in the receiver's ring
// already, the last `held` of it, which the receiver does not see yet. As on Linux they wait 200 ms at most, counted from the first one.
// Locks: the receiver's; the sender's around its timer.
#include "kernel/net/inet.h"
#include "kernel/include/ktime.h"

#define HOLD_NS (200 * 1000000ul)

struct cork {
	struct ktimer timer;
	struct sock *to;	// whose bytes wait: a reference
	u64 since;
};

static void let_go(struct ktimer *t)
{
	struct cork *c = container_of(t, struct cork, timer);
	struct sock *p = c->to;
	u64 due = c->since + HOLD_NS;
	mutex_lock(&p->lock);
	u32 held = p->held;
	bool early = held && ktime_mono() < due; // bytes that wait since later than those for which it was started
	if (!early)
		p->held = 0;
	mutex_unlock(&p->lock);
	if (early)
		ktimer_start(t, due, let_go);
	else if (held)
		stream_kick_readers(p);
}

// `first`: nothing waited before. Without memory they do not wait.
void cork_hold(struct inet_sock *i, struct sock *p, bool first)
{
	struct sock *s = &i->s;
	mutex_lock(&s->lock);
	struct cork *c = i->cork;
	if (!c)
		c = i->cork = knew(struct cork);
	if (c && c->to != p) {
		if (c->to) {
			ktimer_cancel(&c->timer);
			sock_put(c->to);
		}
		c->to = sock_get(p);
		first = true;
	}
	if (c && first)
		c->since = ktime_mono();
	if (c && !c->timer.pending) // one that is pending finds out that it comes too early
		ktimer_start(&c->timer, c->since + HOLD_NS, let_go);
	mutex_unlock(&s->lock);
	if (!c)
		cork_push(i);
}

void cork_push(struct inet_sock *i)
{
	struct sock *p = i->s.peer;
	if (!p || !__atomic_load_n(&p->held, __ATOMIC_RELAXED))
		return;
	mutex_lock(&p->lock);
	p->held = 0;
	mutex_unlock(&p->lock);
	stream_kick_readers(p);
}

void cork_free(struct inet_sock *i)
{
	struct cork *c = i->cork;
	if (!c)
		return;
	i->cork = NULL;
	ktimer_cancel(&c->timer);
	if (c->to)
		sock_put(c->to);
	kfree(c);
}
