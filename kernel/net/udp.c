// SPDX-License-Identifier: Apache-2.0
// UDP: datagrams between sockets of this kernel, and through the host's socket beside it (hostinet.c) with the world;
// udp(7). Locks: one sock's lock at a time; inet_lock inside inet.c.
#include "kernel/net/inet.h"
#include "kernel/net/netns.h"
#include <asm/ioctls.h>

#define UDP_MAX 65507u
#define UDP_SEGMENTS_MAX 128u
#define ERRORS_MAX 64u // that wait for MSG_ERRQUEUE

static int udp_connect(struct sock *s, const u8 *addr, u32 len, int flags)
{
	struct inet_sock *i = inet_of(s);
	struct iaddr to;
	u16 family;
	(void)flags;
	memcpy(&family, addr, sizeof(family));
	if (family == AF_UNSPEC) {
		mutex_lock(&s->lock);
		s->state = ST_IDLE;
		memset(&i->remote, 0, sizeof(i->remote));
		if (!i->own_address) {
			memset(i->local.ip, 0, sizeof(i->local.ip));
			if (s->family == AF_INET)
				i->local.ip[10] = i->local.ip[11] = 0xff;
		}
		mutex_unlock(&s->lock);
		host_udp_disconnect(i);
		return 0;
	}
	int r = inet_parse(s, addr, len, &to);
	if (r)
		return r;
	inet_fix_destination(&to);
	if ((ip_is_multicast(to.ip) && !mcast_reached(i, to.ip)) || (i->v6only && ip_is_v4(to.ip)))
		return -ENETUNREACH;
	if ((r = inet_autobind(i)))
		return r;
	struct iaddr local = i->local;
	if (net_local(s->net, to.ip) || ip_is_multicast(to.ip))
		inet_source_for(&to, &local);
	else if ((r = s->net ? -ENETUNREACH : host_udp_connect(i, &to, &local)))
		return r;
	mutex_lock(&s->lock);
	memcpy(i->local.ip, local.ip, sizeof(local.ip));
	i->remote = to;
	s->state = ST_CONNECTED;
	mutex_unlock(&s->lock);
	return 0;
}

static int destination(struct inet_sock *i, struct sock_msg *m, struct iaddr *to)
{
	if (!m->alen) {
		if (i->s.state != ST_CONNECTED)
			return -EDESTADDRREQ;
		*to = i->remote;
		return 0;
	}
	int r = inet_parse(&i->s, m->addr, m->alen, to);
	if (r)
		return r;
	if (!to->port)
		return -EINVAL;
	inet_fix_destination(to);
	if (ip_is_v4(to->ip) && !memcmp(to->ip + 12, "\xff\xff\xff\xff", 4))
		return i->s.broadcast ? -ENETUNREACH : -EACCES;
	if ((ip_is_multicast(to->ip) && !mcast_reached(i, to->ip)) || (i->v6only && ip_is_v4(to->ip)))
		return -ENETUNREACH;
	return 0;
}

static struct udp_extra *extra(struct inet_sock *i)
{
	struct udp_extra *x = __atomic_load_n(&i->udp, __ATOMIC_ACQUIRE), *none = NULL;
	if (x)
		return x;
	x = knew(struct udp_extra);
	if (!x)
		return NULL;
	list_init(&x->errors);
	if (__atomic_compare_exchange_n(&i->udp, &none, x, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return x;
	kfree(x);
	return none;
}

void udp_extra_free(struct inet_sock *i)
{
	struct udp_extra *x = i->udp;
	if (!x)
		return;
	while (!list_empty(&x->errors)) {
		struct packet *p = list_first(&x->errors, struct packet, link);
		list_del(&p->link);
		packet_free(p);
	}
	kfree(x->held);
	kfree(x);
}

int udp_getopt(struct inet_sock *i, int opt, void *val, u32 *len)
{
	struct udp_extra *x = i->udp;
	switch (opt) {
	case UDP_CORK: return opt_put_int(x && x->cork, val, len);
	case UDP_ENCAP: return opt_put_int(0, val, len);
	case UDP_NO_CHECK6_TX: return opt_put_int(x && x->no_check_tx, val, len);
	case UDP_NO_CHECK6_RX: return opt_put_int(x && x->no_check_rx, val, len);
	case UDP_SEGMENT: return opt_put_int(x ? x->segment : 0, val, len);
	case UDP_GRO: return opt_put_int(x && x->gro, val, len);
	}
	return -ENOPROTOOPT;
}

// Nobody listens there, and no ICMP message will say so: told as if one had.
static void undelivered(struct inet_sock *i, struct packet *p, const struct iaddr *to)
{
	struct sock *s = &i->s;
	bool asked = i->ip && inet_opt(i, s->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, s->family == AF_INET ? IP_RECVERR : IPV6_RECVERR);
	struct udp_extra *x = asked ? extra(i) : NULL;
	if (x) {
		p->alen = inet_put_addr(s->family, to, p->addr);
		memcpy(p->dst, to->ip, sizeof(p->dst));
		mutex_lock(&s->lock);
		if (x->nerrors < ERRORS_MAX) {
			list_add_tail(&p->link, &x->errors);
			x->nerrors++;
			p = NULL;
		}
		mutex_unlock(&s->lock);
	}
	if (asked || s->state == ST_CONNECTED)
		sock_set_err(s, ECONNREFUSED, 0);
	if (p)
		packet_free(p);
}

static ssize_t udp_errqueue(struct sock *s, struct sock_msg *m, int flags)
{
	struct udp_extra *x = inet_of(s)->udp;
	struct packet *p = NULL;
	(void)flags;
	if (!x)
		return -EAGAIN;
	mutex_lock(&s->lock);
	if (!list_empty(&x->errors)) {
		p = list_first(&x->errors, struct packet, link);
		list_del(&p->link);
		if (!--x->nerrors)
			__atomic_store_n(&s->err, 0, __ATOMIC_RELAXED);
	}
	mutex_unlock(&s->lock);
	if (!p)
		return -EAGAIN;
	size_t n = min((size_t)p->len, m->it->left), got = 0;
	ssize_t r = (ssize_t)n;
	while ((got += iter_put(m->it, p->data + got, n - got)) < n)
		if (iter_fault_in(m->it, true)) {
			r = -EFAULT;
			break;
		}
	m->flags |= MSG_ERRQUEUE | (p->len > n ? MSG_TRUNC : 0);
	m->has_err = true;
	memcpy(m->dst, p->dst, sizeof(m->dst));
	if (m->addr) {
		memcpy(m->addr, p->addr, p->alen);
		m->alen = p->alen;
	}
	packet_free(p);
	return r;
}

static int source(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to, struct iaddr *from)
{
	*from = i->local;
	if (unlikely(m->has_src)) {
		if (ip_is_v4(m->src) != ip_is_v4(to->ip) || !net_local(i->s.net, m->src))
			return -ENETUNREACH;
		memcpy(from->ip, m->src, sizeof(from->ip));
	}
	inet_source_for(to, from);
	return 0;
}

static int send_inner(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to)
{
	struct iaddr from;
	int r = source(i, m, to, &from);
	if (r)
		return r;
	struct packet *p = packet_new(m, &r);
	if (!p)
		return r;
	struct inet_sock *dst = inet_find(i->s.net, i->s.protocol, to, &from);
	if (!dst) {
		undelivered(i, p, to);
		return 0;
	}
	p->alen = inet_put_addr(dst->s.family, &from, p->addr);
	p->stamp_ns = dst->s.timestamp || dst->s.timestampns ? ktime_real() : 0;
	memcpy(p->dst, to->ip, sizeof(p->dst));
	inet_packet_fields(i, m, to, p);
	if ((dst->s.shut & SHUT_RCV) || !packet_put(&dst->s, p, false))
		packet_free(p); // no room: lost, as datagrams may be
	sock_put(&dst->s);
	return 0;
}

#define RECEIVERS 64u // of one packet to a group

static int send_group(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to)
{
	struct inet_sock **dst = kmalloc(RECEIVERS * sizeof(*dst));
	struct iaddr from;
	struct sock_msg again = *m;
	struct iter start = *m->it;
	u32 n;
	int r;
	if (!dst)
		return -ENOBUFS;
	r = source(i, m, to, &from);
	if (r) {
		kfree(dst);
		return r;
	}
	n = inet_find_group(i->s.net, i->s.protocol, to, &from, dst, RECEIVERS);
	for (u32 k = 0; k < n; k++) {
		*m->it = start;
		again.scm = NULL;
		struct packet *p = r ? NULL : packet_new(&again, &r);
		if (p) {
			p->alen = inet_put_addr(dst[k]->s.family, &from, p->addr);
			p->stamp_ns = dst[k]->s.timestamp || dst[k]->s.timestampns ? ktime_real() : 0;
			memcpy(p->dst, to->ip, sizeof(p->dst));
			inet_packet_fields(i, m, to, p);
			if ((dst[k]->s.shut & SHUT_RCV) || !packet_put(&dst[k]->s, p, false))
				packet_free(p);
		}
		sock_put(&dst[k]->s);
	}
	kfree(dst);
	return r;
}

static ssize_t transmit(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to, int flags)
{
	struct net_ns *net = i->s.net;
	size_t n = m->it->left;
	int r;
	if (ip_is_multicast(to->ip)) {
		r = mcast_joined(net, to->ip) ? send_group(i, m, to) : 0;
		return r ? r : (ssize_t)n;
	}
	if (!net_local(net, to->ip))
		return net ? -ENETUNREACH : host_udp_send(i, m, to, flags);
	r = send_inner(i, m, to);
	return r ? r : (ssize_t)n;
}

// UDP_SEGMENT: one call, many datagrams.
static ssize_t send_segments(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to, u32 size, int flags)
{
	size_t left = m->it->left, n = left;
	ssize_t r = 0;
	if (n > (size_t)size * UDP_SEGMENTS_MAX)
		return -EINVAL;
	while (left && r >= 0) {
		m->it->left = min(left, (size_t)size);
		left -= m->it->left;
		r = transmit(i, m, to, flags);
	}
	m->it->left = left;
	return r < 0 ? r : (ssize_t)n;
}

// Sends what was held back as one datagram.
static ssize_t flush_held(struct inet_sock *i, int flags)
{
	struct udp_extra *x = i->udp;
	struct iaddr to;
	struct iter it;
	struct sock_msg m = { .it = &it, .hops = -1, .tclass = -1 };
	mutex_lock(&i->s.lock);
	char *held = x->held;
	u32 n = x->held_len;
	to = x->held_to;
	x->held = NULL;
	x->held_len = 0;
	mutex_unlock(&i->s.lock);
	if (!held)
		return 0;
	iter_kernel(&it, held, n);
	ssize_t r = x->segment && n > x->segment ? send_segments(i, &m, &to, x->segment, flags) : transmit(i, &m, &to, flags);
	kfree(held);
	return r;
}

// A part of a datagram (MSG_MORE, UDP_CORK). The first part says where it goes.
static ssize_t hold(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to, int flags)
{
	struct udp_extra *x = extra(i);
	char *fresh = NULL;
	int r = 0;
	if (!x)
		return -ENOBUFS;
	struct packet *p = packet_new(m, &r);
	if (!p)
		return r;
	u32 n = p->len;
	if (!x->held && !(fresh = kmalloc(UDP_MAX)))
		r = -ENOBUFS;
	mutex_lock(&i->s.lock);
	if (!r && !x->held) {
		x->held = fresh;
		fresh = NULL;
		x->held_to = *to;
	}
	if (!r && n > UDP_MAX - x->held_len)
		r = -EMSGSIZE;
	if (!r) {
		memcpy(x->held + x->held_len, p->data, n);
		x->held_len += n;
	}
	mutex_unlock(&i->s.lock);
	kfree(fresh);
	packet_free(p);
	if (!r && !x->cork && !(flags & MSG_MORE)) {
		ssize_t sent = flush_held(i, flags);
		return sent < 0 ? sent : (ssize_t)n;
	}
	return r ? r : (ssize_t)n;
}

int udp_setopt(struct inet_sock *i, int opt, const void *val, u32 len)
{
	int v, r = opt_int(val, len, &v);
	if (r)
		return r;
	if (opt < UDP_ENCAP ? opt != UDP_CORK : opt > UDP_GRO || (opt == UDP_ENCAP && v))
		return -ENOPROTOOPT;
	if (opt == UDP_SEGMENT && (v < 0 || v > 0xffff))
		return -EINVAL;
	struct udp_extra *x = v || i->udp ? extra(i) : NULL;
	if (!x)
		return v ? -ENOMEM : 0;
	switch (opt) {
	case UDP_CORK:
		x->cork = v;
		if (!v && x->held) {
			ssize_t sent = flush_held(i, 0);
			return sent < 0 ? (int)sent : 0;
		}
		break;
	case UDP_NO_CHECK6_TX: x->no_check_tx = v; break;
	case UDP_NO_CHECK6_RX: x->no_check_rx = v; break;
	case UDP_SEGMENT: x->segment = (u16)v; break;
	case UDP_GRO: x->gro = v; break; // nothing is joined; a receiver must live with that anyway
	}
	return 0;
}

static ssize_t udp_send(struct sock *s, struct sock_msg *m, int flags)
{
	struct inet_sock *i = inet_of(s);
	struct udp_extra *x = i->udp;
	struct iaddr to;
	size_t n = m->it->left;
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (n > UDP_MAX)
		return -EMSGSIZE;
	int r = sock_take_err(s);
	if (!r && (s->shut & SHUT_SND))
		r = -EPIPE;
	if (!r && x && x->held) {
		to = x->held_to;
		return hold(i, m, &to, flags);
	}
	if (!r)
		r = destination(i, m, &to);
	if (!r)
		r = inet_autobind(i);
	if (r)
		return r;
	if (unlikely((flags & MSG_MORE) || (x && x->cork)))
		return hold(i, m, &to, flags);
	u32 segment = m->segment ? m->segment : x ? x->segment : 0;
	if (unlikely(segment && n > segment))
		return send_segments(i, m, &to, segment, flags);
	return transmit(i, m, &to, flags);
}

static ssize_t udp_recv(struct sock *s, struct sock_msg *m, int flags)
{
	struct inet_sock *i = inet_of(s);
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (likely(i->hfd < 0))
		return packet_recv(s, m, flags);
	u64 deadline = 0;
	ssize_t r;
	struct waiter w;
	waiter_init(&w);
	waitq_add(&s->pollq, &w);
	for (;;) {
		u32 seq = task_seq();
		r = packet_recv(s, m, flags | MSG_DONTWAIT);
		if (r == -EAGAIN)
			r = host_udp_recv(i, m, flags);
		if (r != -EAGAIN || (flags & MSG_DONTWAIT))
			break;
		if (!deadline)
			deadline = sock_deadline(s->rcvtimeo);
		int e = task_sleep(seq, deadline);
		if (e) {
			r = e == -ETIMEDOUT ? -EAGAIN : deadline == NO_DEADLINE ? -ERESTARTSYS : -EINTR;
			break;
		}
	}
	waitq_del(&s->pollq, &w);
	return r;
}

static int udp_shutdown(struct sock *s, u32 bits)
{
	mutex_lock(&s->lock);
	s->shut |= (u8)bits;
	int r = s->state == ST_CONNECTED ? 0 : -ENOTCONN;
	mutex_unlock(&s->lock);
	sock_wake(&s->rq);
	sock_wake_poll(s, 0);
	return r;
}

static u32 udp_poll(struct sock *s, struct poll_table *pt)
{
	struct inet_sock *i = inet_of(s);
	u32 ev = EPOLLOUT | EPOLLWRNORM;
	poll_wait(pt, &s->pollq);
	mutex_lock(&s->lock);
	if (!list_empty(&s->pkts))
		ev |= EPOLLIN | EPOLLRDNORM;
	if (s->err || (i->udp && i->udp->nerrors))
		ev |= EPOLLERR;
	if (s->shut & SHUT_RCV)
		ev |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (s->shut == (SHUT_RCV | SHUT_SND))
		ev |= EPOLLHUP;
	mutex_unlock(&s->lock);
	if (i->hfd >= 0) {
		u32 h = hostio_ready(i->hfd, &i->host);
		if (h & EPOLLIN)
			ev |= EPOLLIN | EPOLLRDNORM;
		ev |= h & EPOLLERR;
	}
	return ev;
}

static long udp_ioctl(struct sock *s, u32 cmd, u64 arg)
{
	int n = 0;
	if (cmd != FIONREAD && cmd != TIOCOUTQ)
		return -ENOTTY;
	mutex_lock(&s->lock);
	if (cmd == FIONREAD && !list_empty(&s->pkts))
		n = (int)list_first(&s->pkts, struct packet, link)->len;
	mutex_unlock(&s->lock);
	if (cmd == FIONREAD && !n && inet_of(s)->hfd >= 0)
		n = host_available(inet_of(s));
	return put_user(n, U(arg));
}

static void udp_release(struct sock *s)
{
	inet_unbind(inet_of(s));
	mutex_lock(&s->lock);
	s->dead = true;
	s->state = ST_CLOSED;
	mutex_unlock(&s->lock);
	packet_drop_all(s);
	host_close(inet_of(s));
}

const struct sock_ops udp_ops = {
	.bind = inet_bind,
	.connect = udp_connect,
	.getname = inet_getname,
	.send = udp_send,
	.recv = udp_recv,
	.errqueue = udp_errqueue,
	.shutdown = udp_shutdown,
	.poll = udp_poll,
	.getopt = inet_getopt,
	.setopt = inet_setopt,
	.ioctl = udp_ioctl,
	.release = udp_release,
	.free = inet_free,
};
