// SPDX-License-Identifier: Apache-2.0
// TCP over the inner loopback: no protocol, just what programs see of one; tcp(7). The bytes move in stream.c.
// A listener on a published port also has a socket on the host (hostinet.c); accept serves both.
// Locks: sock locks; inet_lock inside inet.c.
#include "kernel/net/inet.h"
#include "kernel/net/netns.h"
#include "kernel/include/boot.h"
#include "kernel/include/log.h"

#define QUEUE_HARD_MAX 8192u

// Connections that nobody accepted are reset; the socket can be used anew.
static void stop_listening(struct sock *s)
{
	accept_drop(s);
	defer_drop(inet_of(s));
	host_close(inet_of(s));
	mutex_lock(&s->lock);
	s->state = ST_IDLE;
	s->dead = false;
	mutex_unlock(&s->lock);
}

static int tcp_listen(struct sock *s, int backlog)
{
	struct inet_sock *i = inet_of(s);
	int r = inet_begin_listen(i, backlog);
	if (r)
		return r;
	if (inet_published(i, i->local.port)) {
		r = host_listen(i, backlog);
		if (r) // somebody inside may have connected meanwhile
			stop_listening(s);
	} else if (ip_is_any(i->local.ip) && !s->net) {
		if (!shield_port(i->local.port))
			pr_info("port %u is listened to inside the enclave only; network.listen in coffer.yaml publishes it\n", i->local.port);
	}
	return r;
}

static int tcp_accept(struct sock *s, struct sock **out, int flags)
{
	struct inet_sock *l = inet_of(s);
	if (likely(l->hfd < 0))
		return accept_pop(s, out, flags);
	u64 deadline = 0;
	struct waiter w;
	waiter_init(&w);
	waitq_add(&s->pollq, &w);
	int r;
	for (;;) {
		u32 seq = task_seq();
		r = accept_pop(s, out, MSG_DONTWAIT);
		if (r == -EAGAIN)
			r = host_accept(l, out);
		if (r != -EAGAIN || (flags & MSG_DONTWAIT))
			break;
		if (!deadline)
			deadline = sock_deadline(s->rcvtimeo);
		r = task_sleep(seq, deadline);
		if (r) {
			r = r == -ETIMEDOUT ? -EAGAIN : deadline == NO_DEADLINE ? -ERESTARTSYS : -EINTR;
			break;
		}
	}
	waitq_del(&s->pollq, &w);
	return r;
}

// The other end, made when the connection is: what the listener's owner will accept.
static struct inet_sock *make_child(struct inet_sock *l, struct inet_sock *client, const struct iaddr *to)
{
	struct inet_sock *c = inet_new(l->s.family, SOCK_STREAM, &tcp_ops);
	if (!c)
		return NULL;
	if (inet_inherit(c, l)) {
		sock_put(&c->s);
		return NULL;
	}
	sock_into_ns(&c->s, l->s.net);
	c->local = *to;
	c->remote = client->local;
	return c;
}

static int connect_inner(struct inet_sock *i, const struct iaddr *to, int flags)
{
	struct inet_sock *l = inet_find(i->s.net, IPPROTO_TCP, to, &i->local);
	if (!l)
		return -ECONNREFUSED;
	int r = -ENOMEM;
	struct inet_sock *c = make_child(l, i, to);
	if (!c)
		goto out;
	inet_share_port(c, l);
	i->remote = *to;
	// Linux repeats the first packet until there is room; who does not wait is queued beyond the backlog.
	u32 there = l->s.accept_n + l->s.defer_n;
	int how = (flags & MSG_DONTWAIT) && there > l->s.backlog && there < QUEUE_HARD_MAX ? ACCEPT_FORCE : flags;
	u64 deadline = sock_deadline(i->s.sndtimeo);
	if (unlikely(l->defer_s))
		r = defer_push(l, c, i, how, deadline);
	else
		r = accept_push(&l->s, &c->s, &i->s, how, deadline);
	if (r) {
		c->s.ops->release(&c->s);
		sock_put(&c->s);
	}
out:
	sock_put(&l->s);
	return r;
}

static int begin_connect(struct inet_sock *i)
{
	struct sock *s = &i->s;
	int r = 0;
	mutex_lock(&s->lock);
	if (i->refused) {
		i->refused = false;
		s->shut = 0;
		r = sock_take_err(s);
		r = r ? r : -ECONNABORTED;
	} else if (s->state == ST_CONNECTED) {
		r = i->told ? 1 : -EISCONN;
		i->told = false;
	} else if (s->state == ST_CONNECTING) {
		r = -EALREADY;
	} else if (s->state != ST_IDLE) {
		r = s->state == ST_LISTEN ? -EISCONN : -EINVAL;
	} else {
		s->state = ST_CONNECTING;
		__atomic_store_n(&s->err, 0, __ATOMIC_RELAXED); // of a connection before this one
	}
	mutex_unlock(&s->lock);
	return r;
}

static void end_connect(struct inet_sock *i, int err, bool told_later)
{
	struct sock *s = &i->s;
	mutex_lock(&s->lock);
	if (err)
		s->state = ST_IDLE;
	if (told_later && err) {
		i->refused = true;
		s->shut = SHUT_RCV | SHUT_SND;
		__atomic_store_n(&s->err, -err, __ATOMIC_RELAXED);
	}
	i->told = told_later && !err;
	mutex_unlock(&s->lock);
	sock_wake_poll(s, 0);
}

static int tcp_connect(struct sock *s, const u8 *addr, u32 len, int flags)
{
	struct inet_sock *i = inet_of(s);
	struct iaddr to;
	u16 family;
	memcpy(&family, addr, sizeof(family));
	if (family == AF_UNSPEC) {
		if (s->state == ST_LISTEN)
			stop_listening(s);
		return tcp_disconnect(s);
	}
	int r = inet_parse(s, addr, len, &to);
	if (!r)
		r = begin_connect(i);
	if (r)
		return r < 0 ? r : 0;
	inet_fix_destination(&to);
	if (i->v6only && ip_is_v4(to.ip)) {
		r = -ENETUNREACH;
	} else if (ip_is_multicast(to.ip)) {
		r = -ENETUNREACH;
	} else if (s->net && !net_local(s->net, to.ip)) {
		r = -ENETUNREACH;
	} else if (!shield_takes(s, &to)) {
		return host_connect(s, &to, flags);
	} else {
		struct iaddr old = i->local;
		r = inet_autobind(i);
		if (!r) {
			inet_source_for(&to, &i->local);
			r = connect_inner(i, &to, flags);
		}
		if (r)
			memcpy(i->local.ip, old.ip, sizeof(old.ip));
		if ((flags & MSG_DONTWAIT) && (!r || r == -ECONNREFUSED)) {
			end_connect(i, r, true);
			return -EINPROGRESS;
		}
	}
	end_connect(i, r, false);
	return r == -EAGAIN ? -ETIMEDOUT : r;
}

static ssize_t tcp_send(struct sock *s, struct sock_msg *m, int flags)
{
	if (unlikely(flags & MSG_FASTOPEN) && s->state == ST_IDLE) { // connects first; there is no packet for the data to travel in
		int r = m->alen ? tcp_connect(s, m->addr, m->alen, flags & MSG_DONTWAIT) : -EINVAL;
		if (r)
			return r;
		if (s->ops != &tcp_ops)
			return s->ops->send(s, m, flags);
	}
	if (unlikely(flags & MSG_OOB))
		return stream_send_urgent(s, m, flags & ~MSG_MORE);
	if (unlikely(s->corked))
		flags |= MSG_MORE;
	struct sock *p = s->peer;
	ssize_t r = stream_send(s, m, flags);
	if (r > 0 && p) {
		u32 held = __atomic_load_n(&p->held, __ATOMIC_RELAXED);
		if (unlikely(held))
			cork_hold(inet_of(s), p, held <= r);
		if (unlikely(inet_of(p)->defer))
			defer_end(inet_of(p));
	}
	return r;
}

static ssize_t tcp_recv(struct sock *s, struct sock_msg *m, int flags)
{
	if (unlikely(flags & MSG_OOB))
		return stream_recv_urgent(s, m, flags);
	return stream_recv(s, m, flags);
}

static u32 tcp_poll(struct sock *s, struct poll_table *pt)
{
	u32 ev = stream_poll(s, pt);
	if (unlikely(s->state == ST_LISTEN && inet_of(s)->hfd >= 0) && host_acceptable(inet_of(s)))
		ev |= EPOLLIN | EPOLLRDNORM;
	return ev;
}

static int tcp_shutdown(struct sock *s, u32 bits)
{
	if (s->state == ST_LISTEN && (bits & SHUT_RCV)) {
		stop_listening(s);
		return 0;
	}
	if (s->state == ST_LISTEN)
		return 0;
	struct sock *p = s->peer;
	int r = stream_shutdown(s, bits);
	if (p && (bits & SHUT_SND))
		defer_end(inet_of(p));
	return r;
}

static void tcp_release(struct sock *s)
{
	struct inet_sock *i = inet_of(s);
	struct sock *p = s->peer;
	if (s->state == ST_LISTEN) {
		accept_drop(s);
		defer_drop(i);
	} else {
		stream_close(s);
		if (p)
			defer_end(inet_of(p));
	}
	inet_unbind(i);
	host_close(i);
	cork_free(i);
	tcp_forget_former(i);
	s->peer = NULL;
	if (p)
		sock_put(p);
}

int tcp_state(const struct sock *s)
{
	enum { ESTABLISHED = 1, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN };
	switch (s->state) {
	case ST_LISTEN: return LISTEN;
	case ST_CONNECTING: return SYN_SENT;
	case ST_CONNECTED: break;
	default: return CLOSE;
	}
	if (stream_over(s))
		return CLOSE;
	switch (s->shut) {
	case 0: return ESTABLISHED;
	case SHUT_RCV: return s->peer_done ? CLOSE_WAIT : ESTABLISHED;
	default: return s->peer_done ? CLOSE_WAIT : FIN_WAIT2;
	}
}

const struct sock_ops tcp_ops = {
	.bind = inet_bind,
	.listen = tcp_listen,
	.accept = tcp_accept,
	.connect = tcp_connect,
	.getname = inet_getname,
	.send = tcp_send,
	.recv = tcp_recv,
	.shutdown = tcp_shutdown,
	.poll = tcp_poll,
	.getopt = inet_getopt,
	.setopt = inet_setopt,
	.ioctl = stream_ioctl,
	.release = tcp_release,
	.free = inet_free,
};
