// SPDX-License-Identifier: Apache-2.0
// UDP: datagrams between sockets of this kernel, and through the host's socket beside it (hostinet.c) with the world;
// udp(7). Locks: one sock's lock at a time; inet_lock inside inet.c.
#include "kernel/net/inet.h"
#include "kernel/net/netns.h"
#include <asm/ioctls.h>

#define UDP_MAX 65507u

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
		host_close(i); // the host's socket goes; the next one is made when it is needed
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

static int send_inner(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to)
{
	int r = 0;
	struct iaddr from = i->local;
	inet_source_for(to, &from);
	struct packet *p = packet_new(m, &r);
	if (!p)
		return r;
	struct inet_sock *dst = inet_find(i->s.net, i->s.protocol, to, &from);
	if (!dst) { // where a network would answer with an ICMP message
		if (i->s.state == ST_CONNECTED)
			sock_set_err(&i->s, ECONNREFUSED, 0);
		packet_free(p);
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
	struct iaddr from = i->local;
	struct sock_msg again = *m;
	struct iter start = *m->it;
	u32 n;
	int r = 0;
	if (!dst)
		return -ENOBUFS;
	inet_source_for(to, &from);
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

static ssize_t udp_send(struct sock *s, struct sock_msg *m, int flags)
{
	struct inet_sock *i = inet_of(s);
	struct iaddr to;
	size_t n = m->it->left;
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (n > UDP_MAX)
		return -EMSGSIZE;
	int r = sock_take_err(s);
	if (!r && (s->shut & SHUT_SND))
		r = -EPIPE;
	if (!r)
		r = destination(i, m, &to);
	if (!r)
		r = inet_autobind(i);
	if (r)
		return r;
	if (ip_is_multicast(to.ip)) {
		r = mcast_joined(s->net, to.ip) ? send_group(i, m, &to) : 0;
		return r ? r : (ssize_t)n;
	}
	if (!net_local(s->net, to.ip))
		return s->net ? -ENETUNREACH : host_udp_send(i, m, &to, flags);
	r = send_inner(i, m, &to);
	return r ? r : (ssize_t)n;
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
	if (s->err)
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
	.shutdown = udp_shutdown,
	.poll = udp_poll,
	.getopt = inet_getopt,
	.setopt = inet_setopt,
	.ioctl = udp_ioctl,
	.release = udp_release,
	.free = inet_free,
};
