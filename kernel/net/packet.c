// SPDX-License-Identifier: Apache-2.0
// Queues of packets: AF_UNIX datagrams and seqpackets, UDP, netlink. A packet is one allocation and belongs to the
// receiver once it is queued. Locks: the receiver's lock.
#include "kernel/net/sock.h"

struct packet *packet_new(struct sock_msg *m, int *err)
{
	size_t n = m->it->left;
	struct packet *p = kmalloc(sizeof(*p) + n);
	if (!p) {
		*err = -ENOBUFS;
		return NULL;
	}
	p->scm = NULL;
	p->from = NULL;
	p->stamp_ns = 0;
	p->len = (u32)n;
	p->off = p->alen = 0;
	struct iter saved = *m->it;
	while (iter_get(m->it, p->data, n) < n) {
		if (iter_fault_in(m->it, false)) { // where it stopped, hence before going back
			kfree(p);
			*err = -EFAULT;
			return NULL;
		}
		iter_revert(m->it, &saved);
	}
	p->scm = m->scm;
	m->scm = NULL;
	return p;
}

void packet_free(struct packet *p)
{
	if (p->scm)
		scm_free(p->scm);
	if (p->from)
		sock_put(p->from);
	kfree(p);
}

bool packet_room(struct sock *to) { return to->pkt_bytes < to->rcvbuf; }

bool packet_put(struct sock *to, struct packet *p, bool force)
{
	mutex_lock(&to->lock);
	bool ok = !to->dead && (force || packet_room(to));
	if (ok) {
		list_add_tail(&p->link, &to->pkts);
		to->pkt_bytes += p->len + PKT_OVERHEAD;
	}
	mutex_unlock(&to->lock);
	if (ok) {
		if (!list_empty(&to->rq.waiters))
			waitq_wake_one(&to->rq, 0);
		sock_wake_poll(to, EPOLLIN | EPOLLRDNORM);
	}
	return ok;
}

// The next packet to be read, or to be looked at: behind those that were, and *off bytes behind its beginning. NULL: none. s->lock held.
static struct packet *next_packet(const struct sock *s, int flags, u32 *off)
{
	struct packet *p;
	*off = sock_peek_at(s, flags);
	list_for_each(p, &s->pkts, link) {
		if (likely(!*off || *off < p->len))
			return p;
		*off -= p->len;
	}
	return NULL;
}

// Waits for such a one; s->lock held.
static int wait_packet(struct sock *s, int flags)
{
	u64 deadline = 0;
	u32 off;
	while (!next_packet(s, flags, &off)) {
		int r = sock_take_err(s);
		if (r)
			return r;
		if (s->shut & SHUT_RCV)
			return 1;
		if (flags & MSG_DONTWAIT)
			return -EAGAIN;
		if (!deadline)
			deadline = sock_deadline(s->rcvtimeo);
		r = sock_sleep(&s->lock, &s->rq, deadline);
		if (r)
			return r;
	}
	return 0;
}

ssize_t packet_recv(struct sock *s, struct sock_msg *m, int flags)
{
	struct iter saved = *m->it;
	m->alen = 0;
again:
	mutex_lock(&s->lock);
	int r = wait_packet(s, flags);
	if (r) {
		bool more = !list_empty(&s->pkts);
		mutex_unlock(&s->lock);
		if (more && !list_empty(&s->rq.waiters))
			waitq_wake_one(&s->rq, 0);
		return r < 0 ? r : 0;
	}
	u32 off;
	struct packet *p = next_packet(s, flags, &off);
	size_t n = min((size_t)p->len - off, m->it->left);
	if (!(flags & MSG_PEEK)) { // off the queue: it is ours, the copy needs no lock
		list_del(&p->link);
		s->pkt_bytes -= p->len + PKT_OVERHEAD;
		sock_peeked(s, flags, p->len);
		bool more = !list_empty(&s->pkts);
		mutex_unlock(&s->lock);
		if (more && !list_empty(&s->rq.waiters)) // several packets may have woken the same receiver
			waitq_wake_one(&s->rq, 0);
	}
	size_t got = iter_put(m->it, p->data + off, n);
	if (unlikely(got < n && (flags & MSG_PEEK))) { // a fault under the lock: make the page present and look again
		mutex_unlock(&s->lock);
		if (iter_fault_in(m->it, true))
			return -EFAULT;
		iter_revert(m->it, &saved);
		goto again;
	}
	while (unlikely(got < n)) {
		if (iter_fault_in(m->it, true)) {
			r = -EFAULT;
			break;
		}
		got += iter_put(m->it, p->data + got, n - got);
	}
	if (m->addr && p->alen) {
		memcpy(m->addr, p->addr, p->alen);
		m->alen = p->alen;
	}
	m->stamp_ns = p->stamp_ns;
	memcpy(m->dst, p->dst, sizeof(m->dst));
	m->hops = p->hops;
	m->tclass = p->tclass;
	m->has_dst = true;
	if (p->len - off > n)
		m->flags |= MSG_TRUNC;
	size_t full = p->len - off;
	if (flags & MSG_PEEK) {
		sock_peeked(s, flags, n);
		m->scm = p->scm && m->wants_scm ? scm_dup(p->scm) : NULL;
		mutex_unlock(&s->lock);
	} else {
		struct sock *from = p->from;
		m->scm = p->scm;
		p->scm = NULL;
		sock_wake(&s->wq);
		if (from)
			sock_wake_poll(from, EPOLLOUT | EPOLLWRNORM);
		else if (s->peer)
			sock_wake_poll(s->peer, EPOLLOUT | EPOLLWRNORM);
		packet_free(p);
	}
	if (r)
		return r;
	return (ssize_t)(flags & MSG_TRUNC ? full : n);
}

void packet_drop_all(struct sock *s)
{
	struct list gone;
	list_init(&gone);
	mutex_lock(&s->lock);
	list_splice_tail(&s->pkts, &gone);
	s->pkt_bytes = 0;
	mutex_unlock(&s->lock);
	while (!list_empty(&gone)) {
		struct packet *p = list_first(&gone, struct packet, link);
		list_del(&p->link);
		struct sock *from = p->from;
		if (from)
			sock_wake_poll(from, EPOLLOUT | EPOLLWRNORM);
		packet_free(p);
	}
}
