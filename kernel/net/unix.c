// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: streams, datagrams, sequenced packets; unix(7). Names are in unix_name.c.
// Locks: unix_lock (names; held while a name is looked up) -> inode->lock only through the VFS; sock locks below it. A
// datagram socket's peer can change: it is read under s->lock with a reference.
#include "kernel/net/netns.h"
#include "kernel/net/unix.h"
#include <asm/ioctls.h>

static const struct sock_ops stream_ops, packet_ops;

struct sock *unix_create(int type, int protocol, int *err)
{
	*err = -EPROTONOSUPPORT;
	if (protocol && protocol != AF_UNIX)
		return NULL;
	if (type == SOCK_RAW)
		type = SOCK_DGRAM;
	*err = -ESOCKTNOSUPPORT;
	if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
		return NULL;
	*err = -ENOMEM;
	struct unix_sock *u = knew(struct unix_sock);
	if (!u)
		return NULL;
	sock_init(&u->s, type == SOCK_STREAM ? &stream_ops : &packet_ops, AF_UNIX, (u16)type, 0);
	list_init(&u->hash);
	unix_list_add(u);
	*err = 0;
	return &u->s;
}

static struct ucred_ own_cred(void) { return (struct ucred_){ (u32)curproc->pid, cred()->euid, cred()->egid }; }

int unix_pair(struct sock *a, struct sock *b)
{
	unix_of(a)->peer_cred = unix_of(b)->peer_cred = own_cred();
	sock_pair(a, b);
	return 0;
}

static int unix_listen(struct sock *s, int backlog)
{
	if (s->type == SOCK_DGRAM)
		return -EOPNOTSUPP;
	if (!unix_of(s)->name_len)
		return -EINVAL;
	mutex_lock(&s->lock);
	int r = s->state == ST_IDLE || s->state == ST_LISTEN ? 0 : -EINVAL;
	if (!r) {
		s->state = ST_LISTEN;
		s->backlog = (u32)backlog;
		unix_of(s)->peer_cred = own_cred(); // what those who connect will see
	}
	mutex_unlock(&s->lock);
	sock_wake(&s->wq);
	return r;
}

static int unix_accept(struct sock *s, struct sock **out, int flags)
{
	if (s->type == SOCK_DGRAM)
		return -EOPNOTSUPP;
	return accept_pop(s, out, flags);
}

static int connect_dgram(struct sock *s, struct sock *to)
{
	if (to) {
		mutex_lock(&to->lock);
		bool refused = to->peer && to->peer != s;
		mutex_unlock(&to->lock);
		if (refused)
			return -EPERM;
	}
	mutex_lock(&s->lock);
	struct sock *old = s->peer;
	s->peer = to ? sock_get(to) : NULL;
	s->state = to ? ST_CONNECTED : ST_IDLE;
	mutex_unlock(&s->lock);
	if (old) {
		sock_wake(&old->wq);
		sock_put(old);
	}
	sock_wake_poll(s, EPOLLOUT);
	return 0;
}

// ST_IDLE -> ST_CONNECTING, so that only one thread connects at a time.
static int begin_connect(struct sock *s)
{
	mutex_lock(&s->lock);
	int r = s->state == ST_IDLE	      ? 0
		: s->state == ST_CONNECTED    ? -EISCONN
		: s->state == ST_CONNECTING   ? -EALREADY
					      : -EINVAL;
	if (!r)
		s->state = ST_CONNECTING;
	mutex_unlock(&s->lock);
	return r;
}

static int connect_stream(struct sock *s, struct sock *l, int flags)
{
	int r = begin_connect(s);
	if (r)
		return r;
	struct sock *c = l->type == s->type ? unix_create(s->type, 0, &r) : NULL;
	if (!c) {
		r = r ? r : -EPROTOTYPE;
		goto out;
	}
	sock_into_ns(c, l->net);
	struct unix_sock *u = unix_of(c), *lu = unix_of(l);
	u->peer_cred = own_cred();
	unix_of(s)->peer_cred = lu->peer_cred;
	u->name = lu->name; // for getsockname and getpeername only; it stays the listener's
	u->name_len = lu->name_len;
	c->sndbuf = l->sndbuf;
	c->rcvbuf = l->rcvbuf;
	c->sndbuf_set = l->sndbuf_set;
	c->rcvbuf_set = l->rcvbuf_set;
	c->passcred = l->passcred;
	r = accept_push(l, c, s, flags, sock_deadline(s->sndtimeo));
	if (r) {
		c->ops->release(c);
		sock_put(c);
	}
out:
	if (r) {
		mutex_lock(&s->lock);
		s->state = ST_IDLE;
		mutex_unlock(&s->lock);
	} else {
		sock_wake_poll(s, EPOLLOUT | EPOLLWRNORM);
	}
	return r;
}

static int unix_connect(struct sock *s, const u8 *addr, u32 len, int flags)
{
	u16 family;
	int r;
	memcpy(&family, addr, sizeof(family));
	if (s->type == SOCK_DGRAM && family == AF_UNSPEC)
		return connect_dgram(s, NULL);
	if (family != AF_UNIX)
		return -EINVAL;
	struct sock *to = unix_find(s, addr, len, s->type, &r);
	if (!to)
		return r;
	if (s->type != SOCK_DGRAM)
		r = connect_stream(s, to, flags);
	else
		r = to->type == s->type ? connect_dgram(s, to) : -EPROTOTYPE;
	sock_put(to);
	return r;
}

static int unix_getname(struct sock *s, bool peer, u8 *addr)
{
	struct sock *of = s;
	if (peer) {
		mutex_lock(&s->lock);
		of = s->state == ST_CONNECTED && s->peer ? sock_get(s->peer) : NULL;
		mutex_unlock(&s->lock);
		if (!of)
			return -ENOTCONN;
	}
	int len = (int)unix_put_name(unix_of(of), addr);
	if (peer)
		sock_put(of);
	return len;
}

// The sender's ids travel when one side asks for them.
static int attach_cred(struct sock *s, struct sock *to, struct sock_msg *m)
{
	if (likely(!s->passcred && !to->passcred))
		return 0;
	if (!m->scm && !(m->scm = scm_new()))
		return -ENOMEM;
	if (!m->scm->has_cred)
		scm_cred_now(m->scm);
	return 0;
}

static ssize_t unix_stream_send(struct sock *s, struct sock_msg *m, int flags)
{
	if (unlikely(flags & MSG_OOB))
		return -EOPNOTSUPP;
	if (unlikely(m->alen))
		return s->state == ST_CONNECTED ? -EISCONN : -EOPNOTSUPP;
	if (s->state == ST_CONNECTED && s->peer) {
		int r = attach_cred(s, s->peer, m);
		if (r)
			return r;
	}
	return stream_send(s, m, flags);
}

static ssize_t unix_stream_recv(struct sock *s, struct sock_msg *m, int flags)
{
	if (unlikely(flags & MSG_OOB))
		return -EOPNOTSUPP;
	ssize_t r = stream_recv(s, m, flags);
	if (m->addr && r >= 0 && s->peer && unix_of(s->peer)->name_len)
		m->alen = unix_put_name(unix_of(s->peer), m->addr);
	return r;
}

// --- packets

// Where a packet goes: a reference, or NULL and *r.
static struct sock *destination(struct sock *s, struct sock_msg *m, int *r)
{
	struct sock *to = NULL;
	if (m->alen && s->type == SOCK_SEQPACKET) {
		*r = s->state == ST_CONNECTED ? -EISCONN : -EOPNOTSUPP;
		return NULL;
	}
	if (m->alen) {
		to = unix_find(s, m->addr, m->alen, s->type, r);
		if (to && to->type != s->type) {
			sock_put(to);
			*r = -EPROTOTYPE;
			to = NULL;
		}
		return to;
	}
	mutex_lock(&s->lock);
	if (s->state == ST_CONNECTED && s->peer)
		to = sock_get(s->peer);
	mutex_unlock(&s->lock);
	*r = -ENOTCONN;
	return to;
}

// Queues p at `to`, waiting for room.
static int deliver(struct sock *s, struct sock *to, struct packet *p, int flags)
{
	u64 deadline = sock_deadline(s->sndtimeo);
	int r = 0;
	while (!packet_put(to, p, false)) {
		mutex_lock(&to->lock);
		if (to->dead)
			r = s->type == SOCK_DGRAM ? -ECONNREFUSED : -EPIPE;
		else if ((s->shut & SHUT_SND) || (to->shut & SHUT_RCV))
			r = -EPIPE;
		else if (packet_room(to))
			r = 0;
		else if (flags & MSG_DONTWAIT)
			r = -EAGAIN;
		else
			r = sock_sleep(&to->lock, &to->wq, deadline);
		mutex_unlock(&to->lock);
		if (r)
			break;
	}
	return r;
}

static ssize_t unix_packet_send(struct sock *s, struct sock_msg *m, int flags)
{
	size_t n = m->it->left;
	struct packet *p = NULL;
	int r = 0;
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (s->shut & SHUT_SND)
		return -EPIPE;
	if (n > s->sndbuf - 32)
		return -EMSGSIZE;
	struct sock *to = destination(s, m, &r);
	if (!to)
		return r;
	if (s->type == SOCK_DGRAM) {
		mutex_lock(&to->lock);
		bool refused = to->peer && to->peer != s;
		mutex_unlock(&to->lock);
		r = refused ? -EPERM : to->dead ? -ECONNREFUSED : (to->shut & SHUT_RCV) ? -EPIPE : 0;
	} else {
		r = sock_take_err(s);
	}
	if (!r)
		r = attach_cred(s, to, m);
	if (!r && !(p = packet_new(m, &r)))
		goto out;
	if (!r) {
		p->alen = unix_of(s)->name_len ? unix_put_name(unix_of(s), p->addr) : 0;
		p->stamp_ns = to->timestamp || to->timestampns ? ktime_real() : 0;
		if (s->peer == to && s->type == SOCK_DGRAM)
			p->from = sock_get(s);
		r = deliver(s, to, p, flags);
		if (r)
			packet_free(p);
	}
out:
	if (r == -ECONNREFUSED && s->type == SOCK_DGRAM && !m->alen)
		connect_dgram(s, NULL);
	sock_put(to);
	return r ? r : (ssize_t)n;
}

static ssize_t unix_packet_recv(struct sock *s, struct sock_msg *m, int flags)
{
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (s->type == SOCK_SEQPACKET && s->state != ST_CONNECTED)
		return -ENOTCONN;
	return packet_recv(s, m, flags);
}

static int unix_packet_shutdown(struct sock *s, u32 bits)
{
	mutex_lock(&s->lock);
	struct sock *p = s->state == ST_CONNECTED && s->peer ? sock_get(s->peer) : NULL;
	if (p || s->type == SOCK_DGRAM)
		s->shut |= (u8)bits;
	mutex_unlock(&s->lock);
	if (!p && s->type != SOCK_DGRAM)
		return -ENOTCONN;
	sock_wake(&s->rq);
	sock_wake(&s->wq);
	sock_wake_poll(s, 0);
	if (p && s->type == SOCK_SEQPACKET) {
		mutex_lock(&p->lock);
		p->shut |= (bits & SHUT_SND ? SHUT_RCV : 0) | (bits & SHUT_RCV ? SHUT_SND : 0);
		mutex_unlock(&p->lock);
		sock_wake(&p->rq);
		sock_wake(&p->wq);
		sock_wake_poll(p, 0);
	}
	if (p)
		sock_put(p);
	return 0;
}

static u32 unix_packet_poll(struct sock *s, struct poll_table *pt)
{
	u32 ev = 0;
	bool room = true;
	poll_wait(pt, &s->pollq);
	mutex_lock(&s->lock);
	struct sock *p = s->peer ? sock_get(s->peer) : NULL;
	if (s->err)
		ev |= EPOLLERR;
	if (s->shut & SHUT_RCV)
		ev |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
	if (s->shut == (SHUT_RCV | SHUT_SND))
		ev |= EPOLLHUP;
	if (s->type == SOCK_SEQPACKET && s->state == ST_IDLE)
		ev |= EPOLLHUP;
	if (!list_empty(&s->pkts) || !list_empty(&s->accept_q))
		ev |= EPOLLIN | EPOLLRDNORM;
	mutex_unlock(&s->lock);
	if (p) {
		mutex_lock(&p->lock);
		room = p->dead || packet_room(p);
		mutex_unlock(&p->lock);
		sock_put(p);
	}
	if (room && s->state != ST_LISTEN)
		ev |= EPOLLOUT | EPOLLWRNORM;
	return ev;
}

static long unix_packet_ioctl(struct sock *s, u32 cmd, u64 arg)
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

// --- the end

static void close_seqpacket(struct sock *s)
{
	struct sock *p = s->peer;
	mutex_lock(&s->lock);
	bool unread = !list_empty(&s->pkts), was = s->state == ST_CONNECTED;
	s->dead = true;
	s->state = ST_CLOSED;
	s->shut = SHUT_RCV | SHUT_SND;
	mutex_unlock(&s->lock);
	packet_drop_all(s);
	sock_wake(&s->wq);
	if (!p || !was || s->type != SOCK_SEQPACKET)
		return;
	mutex_lock(&p->lock);
	p->shut = SHUT_RCV | SHUT_SND;
	if (unread)
		__atomic_store_n(&p->err, ECONNRESET, __ATOMIC_RELAXED);
	mutex_unlock(&p->lock);
	sock_wake(&p->rq);
	sock_wake_poll(p, 0);
}

static void unix_release(struct sock *s)
{
	unix_unname(unix_of(s));
	if (s->state == ST_LISTEN)
		accept_drop(s);
	else if (s->type == SOCK_STREAM)
		stream_close(s);
	else
		close_seqpacket(s);
	mutex_lock(&s->lock);
	struct sock *p = s->peer;
	s->peer = NULL;
	mutex_unlock(&s->lock);
	if (p)
		sock_put(p);
	unix_gc();
}

static void unix_free(struct sock *s)
{
	unix_list_del(unix_of(s));
	kfree(unix_of(s));
}

static int unix_getopt(struct sock *s, int level, int opt, void *val, u32 *len)
{
	if (level != SOL_SOCKET)
		return -EOPNOTSUPP;
	if (opt != SO_PEERCRED)
		return -ENOPROTOOPT;
	struct ucred_ c = unix_of(s)->peer_cred;
	c.pid = (u32)pid_out((int)c.pid);
	if (!c.pid && s->state != ST_CONNECTED)
		c = (struct ucred_){ 0, (u32)-1, (u32)-1 };
	else
		c = (struct ucred_){ c.pid, uid_out(c.uid), gid_out(c.gid) };
	*len = min(*len, (u32)sizeof(c));
	memcpy(val, &c, *len);
	return 0;
}

static const struct sock_ops stream_ops = {
	.bind = unix_bind,
	.listen = unix_listen,
	.accept = unix_accept,
	.connect = unix_connect,
	.getname = unix_getname,
	.send = unix_stream_send,
	.recv = unix_stream_recv,
	.shutdown = stream_shutdown,
	.poll = stream_poll,
	.getopt = unix_getopt,
	.ioctl = stream_ioctl,
	.release = unix_release,
	.free = unix_free,
};

static const struct sock_ops packet_ops = {
	.bind = unix_bind,
	.listen = unix_listen,
	.accept = unix_accept,
	.connect = unix_connect,
	.getname = unix_getname,
	.send = unix_packet_send,
	.recv = unix_packet_recv,
	.shutdown = unix_packet_shutdown,
	.poll = unix_packet_poll,
	.getopt = unix_getopt,
	.ioctl = unix_packet_ioctl,
	.release = unix_release,
	.free = unix_free,
};
