// SPDX-License-Identifier: Apache-2.0
// Sockets of the host behind our own: connections to the world, and listeners on published ports. The measured
// configuration decides what is let through (boot_info.listen_ports, boot_info.allow_connect); what the host's network
// carries is as untrusted as any network. Host calls are made without locks.
// Locks: sock lock (states).
#include "kernel/net/inet.h"
#include "kernel/net/netdev.h"
#include "kernel/net/sendcache.h"
#include "kernel/include/boot.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/log.h"
#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

#define CHUNK (64u << 10) // bounce buffer of one transfer
#define MOST (128u << 10) // to send or receive at once: what a socket has no room for was copied in vain
#define STACK_CHUNK 2048u

bool host_may_listen(u16 port)
{
	for (u32 k = 0; k < boot_info.nlisten; k++)
		if (boot_info.listen_ports[k] == port)
			return port != 0;
	return false;
}

static int may_connect(void)
{
	if (boot_info.allow_connect || boot_reaches_host())
		return 0;
	shield_refused();
	return -ENETUNREACH;
}

// A host socket that reaches `to`: IPv4 for mapped addresses, so that the host needs no dual stack.
static u16 family_for(const struct iaddr *to) { return ip_is_v4(to->ip) ? AF_INET : AF_INET6; }

static int open_socket(struct inet_sock *i, u16 family, u16 type)
{
	int h = hc_socket(family, type);
	if (h < 0)
		return h;
	int r = hostio_watch_state(h, &i->s.pollq, &i->host);
	if (r < 0) {
		hc_close(h);
		return r;
	}
	return h;
}

void host_close(struct inet_sock *i)
{
	int h = __atomic_exchange_n(&i->hfd, -1, __ATOMIC_ACQ_REL);
	if (h < 0)
		return;
	hostio_unwatch(h);
	hc_close(h);
}

void host_disconnect(struct inet_sock *i, int *former)
{
	const struct sockaddr_in none = { .sin_family = AF_UNSPEC };
	*former = __atomic_exchange_n(&i->hfd, -1, __ATOMIC_ACQ_REL);
	if (*former < 0)
		return;
	hostio_unwatch(*former);
	(void)hc_connect(*former, &none, sizeof(none));
	memset(&i->host, 0, sizeof(i->host));
}

void host_close_former(int hfd)
{
	if (hfd >= 0)
		hc_close(hfd);
}

// Makes h the socket's; another thread may have been first: -EEXIST. Nothing must go on watching for a socket that does not close it.
static int adopt(struct inet_sock *i, int h)
{
	int none = -1;
	if (__atomic_compare_exchange_n(&i->hfd, &none, h, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return 0;
	hostio_unwatch(h);
	hc_close(h);
	return -EEXIST;
}

// An address as the host reports it; nonsense becomes 0.0.0.0:0.
static void parse_host_addr(const u8 *a, u32 len, struct iaddr *out)
{
	u16 family = 0;
	memset(out, 0, sizeof(*out));
	if (len >= sizeof(family))
		memcpy(&family, a, sizeof(family));
	struct sock as = { .family = family };
	if (family == AF_INET || family == AF_INET6)
		(void)inet_parse(&as, a, len, out);
}

static void learn_name(struct inet_sock *i, bool peer, struct iaddr *out)
{
	u8 a[ADDR_MAX];
	u32 len = sizeof(struct sockaddr_in6);
	struct iaddr got;
	if (hc_getname(i->hfd, peer, a, &len) < 0)
		return;
	parse_host_addr(a, len, &got);
	if (!peer && i->bound && out == &i->local)
		got.port = got.port ? got.port : out->port;
	*out = got;
}

static int errno_of(int h)
{
	int err = 0;
	u32 len = sizeof(err);
	if (hc_getsockopt(h, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || len != sizeof(err))
		return -EIO;
	return err > 0 && err < 134 ? -err : err ? -EIO : 0;
}

static void tell_tcp(int opt, int v, int h) { (void)hc_setsockopt(h, IPPROTO_TCP, opt, &v, sizeof(v)); }

// Options that were set before the host's socket existed.
static void push_options(struct inet_sock *i, int h)
{
	int one = 1, half;
	if (i->s.keepalive)
		(void)hc_setsockopt(h, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	half = (int)i->s.sndbuf / 2; // the host doubles what it is told, as we did
	if (i->s.sndbuf_set)
		(void)hc_setsockopt(h, SOL_SOCKET, SO_SNDBUF, &half, sizeof(half));
	int peek = i->s.peek_off - 1;
	if (i->s.peek_off)
		(void)hc_setsockopt(h, SOL_SOCKET, SO_PEEK_OFF, &peek, sizeof(peek));
	half = (int)i->s.rcvbuf / 2;
	if (i->s.rcvbuf_set)
		(void)hc_setsockopt(h, SOL_SOCKET, SO_RCVBUF, &half, sizeof(half));
	if (i->reno)
		(void)hc_setsockopt(h, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
	inet_each_tcp_option(i, tell_tcp, h);
}

int host_available(struct inet_sock *i)
{
	char *buf = kmalloc(CHUNK);
	long n = buf ? hc_recv(i->hfd, buf, CHUNK, MSG_PEEK | MSG_TRUNC, NULL, NULL) : 0;
	kfree(buf);
	return n > 0 ? (int)n : 0;
}

void host_setopt(struct inet_sock *i, int level, int opt, const void *val, u32 len)
{
	if (i->hfd >= 0)
		(void)hc_setsockopt(i->hfd, level, opt, val, len);
}

// Waits until `bits` may be possible: 0, -EAGAIN, -ERESTARTSYS / -EINTR. gen: of before the attempt.
static int wait_host(struct inet_sock *i, u32 bits, u32 gen, u64 timeo, u64 *deadline)
{
	struct waiter w;
	int r = 0;
	hostio_used_up(&i->host, bits, gen);
	if (!*deadline)
		*deadline = sock_deadline(timeo);
	waiter_init(&w);
	waitq_add(&i->s.pollq, &w);
	u32 seq = task_seq();
	if (!(__atomic_load_n(&i->host.events, __ATOMIC_ACQUIRE) & (bits | EPOLLERR | EPOLLHUP)))
		r = task_sleep(seq, *deadline);
	waitq_del(&i->s.pollq, &w);
	if (r)
		r = r == -ETIMEDOUT ? -EAGAIN : *deadline == NO_DEADLINE ? -ERESTARTSYS : -EINTR;
	return r;
}

// --- streams

// Looks whether a connect that is under way has ended. The error stays in s->err for SO_ERROR.
static void check_connected(struct sock *s)
{
	struct inet_sock *i = inet_of(s);
	// Another thread may disconnect it meanwhile and connect it anew. The former handle stays until this call has ended, so that the new one is another.
	int h = __atomic_load_n(&i->hfd, __ATOMIC_ACQUIRE);
	if (s->state != ST_CONNECTING || h < 0)
		return;
	u32 gen = __atomic_load_n(&i->host.gen, __ATOMIC_ACQUIRE);
	if (!(hostio_ready(h, &i->host) & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return;
	u32 ev = hostio_events(h); // what another task collected may be from before the connect, when there was nothing to wait for
	if (!(ev & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		hostio_used_up(&i->host, ~0u, gen);
		return;
	}
	int r = errno_of(h);
	if (!r && (ev & EPOLLHUP) && !(ev & EPOLLIN))
		r = -ECONNREFUSED;
	mutex_lock(&s->lock);
	bool mine = s->state == ST_CONNECTING && i->hfd == h;
	if (mine)
		s->state = r ? ST_CLOSED : ST_CONNECTED;
	if (mine && r)
		__atomic_store_n(&s->err, -r, __ATOMIC_RELAXED);
	mutex_unlock(&s->lock);
	if (mine && !r)
		learn_name(i, false, &i->local);
}

static int host_tcp_connect(struct sock *s, const u8 *addr, u32 len, int flags)
{
	struct inet_sock *i = inet_of(s);
	if (addr && len >= sizeof(u16) && !memcmp(addr, "\0\0", 2)) // AF_UNSPEC
		return tcp_disconnect(s);
	bool was = s->state == ST_CONNECTING;
	u64 deadline = 0;
	for (;;) {
		u32 gen = i->host.gen;
		check_connected(s);
		if (s->state != ST_CONNECTING)
			break;
		if (flags & MSG_DONTWAIT)
			return -EALREADY;
		int r = wait_host(i, EPOLLOUT, gen, s->sndtimeo, &deadline);
		if (r)
			return r == -EAGAIN ? -EINPROGRESS : r;
	}
	if (s->state == ST_CONNECTED)
		return was || __atomic_exchange_n(&i->told, false, __ATOMIC_RELAXED) ? 0 : -EISCONN;
	int r = sock_take_err(s);
	return r ? r : -ECONNABORTED;
}

// The socket is ST_CONNECTING and from here on the host's.
int host_connect(struct sock *s, const struct iaddr *to, int flags)
{
	struct inet_sock *i = inet_of(s);
	u8 a[ADDR_MAX];
	int h = -1, r = may_connect();
	if (r)
		goto out;
	u16 family = family_for(to);
	h = open_socket(i, family, SOCK_STREAM);
	if (h < 0) {
		r = h;
		goto out;
	}
	push_options(i, h);
	i->hfd = h;
	i->remote = *to;
	r = hc_connect(h, a, inet_put_addr(family, to, a));
	if (r && r != -EINPROGRESS) {
		host_close(i);
		goto out;
	}
	i->host_only = true;
	i->told = r && (flags & MSG_DONTWAIT);
	__atomic_store_n(&s->ops, &host_tcp_ops, __ATOMIC_RELEASE);
	if (!r) {
		mutex_lock(&s->lock);
		s->state = ST_CONNECTED;
		mutex_unlock(&s->lock);
		learn_name(i, false, &i->local);
		sock_wake_poll(s, EPOLLOUT);
		return 0;
	}
	if (flags & MSG_DONTWAIT)
		return -EINPROGRESS;
	return host_tcp_connect(s, NULL, 0, flags);
out:
	mutex_lock(&s->lock);
	s->state = ST_IDLE;
	mutex_unlock(&s->lock);
	return r;
}

static void *bounce(char *stack, size_t n) { return n <= STACK_CHUNK ? stack : kmalloc(n); }
static void bounce_free(void *p, char *stack)
{
	if (p != stack)
		kfree(p);
}

static int not_connected(struct sock *s, bool sending)
{
	check_connected(s);
	int r = sock_take_err(s);
	if (r)
		return r;
	if (s->state == ST_CONNECTING)
		return -EAGAIN;
	if (s->state == ST_CONNECTED)
		return 0;
	return sending ? -EPIPE : -ENOTCONN;
}

static ssize_t host_tcp_send(struct sock *s, struct sock_msg *m, int flags)
{
	struct inet_sock *i = inet_of(s);
	u64 deadline = 0;
	ssize_t done = 0;
	long r = not_connected(s, true);
	if (r)
		return r;
	if (s->shut & SHUT_SND)
		return -EPIPE;
	while (m->it->left && !r) {
		u32 gen = i->host.gen;
		size_t n = min(m->it->left, (size_t)MOST);
		int more = m->it->left > n ? MSG_MORE : 0; // no short packet between two pieces
		long k = m->it->pc ? sendcache_send(i->hfd, m->it, n) : 0;
		if (!k)
			k = hc_send_iter(i->hfd, m->it, n, MSG_NOSIGNAL | more | (flags & (MSG_MORE | MSG_OOB)));
		if (k > 0) {
			done += k;
		} else if (k == 0) {
			r = iter_fault_in(m->it, false);
		} else if (k != -EAGAIN) {
			r = k;
		} else if (flags & MSG_DONTWAIT) {
			hostio_used_up(&i->host, EPOLLOUT, gen);
			r = -EAGAIN;
		} else {
			r = wait_host(i, EPOLLOUT, gen, s->sndtimeo, &deadline);
		}
	}
	if (r != -EAGAIN && !(i->host.events & EPOLLOUT)) // else it most likely still is writable: not worth asking
		hostio_unsure(&i->host, EPOLLOUT);
	return done ? done : r;
}

// Receives into the message, or into `drop` (MSG_TRUNC: thrown away). What k bytes of the result could not be put is in *r.
static long recv_some(struct inet_sock *i, struct sock_msg *m, size_t want, int flags, char *drop, long *r)
{
	char *rest = NULL;
	size_t put = 0, more = 0;
	long k;
	if (drop) {
		k = hc_recv(i->hfd, drop, want, flags, NULL, NULL);
		if (k > 0)
			iter_advance(m->it, (size_t)k);
		return k;
	}
	k = hc_recv_iter(i->hfd, m->it, want, flags, &put, &rest);
	while (k > 0 && rest && put + more < (size_t)k && !*r)
		if (!(*r = iter_fault_in(m->it, true)))
			more += iter_put(m->it, rest + more, (size_t)k - put - more);
	if (unlikely(k > 0 && put < (size_t)k && !rest)) { // no memory
		if (!(flags & MSG_PEEK)) { // they are lost: nothing may follow them
			(void)hc_shutdown(i->hfd, 2);
			sock_set_err(&i->s, ECONNRESET, SHUT_RCV | SHUT_SND);
		}
		return put ? (long)put : -ENOMEM;
	}
	kfree(rest);
	return k > 0 ? (long)(put + more) : k;
}

static ssize_t host_tcp_recv(struct sock *s, struct sock_msg *m, int flags)
{
	struct inet_sock *i = inet_of(s);
	__uninit char stack[STACK_CHUNK];
	u64 deadline = 0;
	ssize_t done = 0;
	bool emptied = false;
	long r = not_connected(s, false);
	m->alen = 0;
	if (r)
		return r;
	if (s->shut & SHUT_RCV)
		return 0;
	size_t target = flags & MSG_WAITALL ? m->it->left : min((size_t)s->rcvlowat, m->it->left);
	char *drop = flags & MSG_TRUNC ? bounce(stack, min(m->it->left, (size_t)CHUNK)) : NULL;
	if ((flags & MSG_TRUNC) && !drop)
		return -ENOBUFS;
	while (m->it->left && !r) {
		u32 gen = i->host.gen;
		size_t want = min(m->it->left, (size_t)(drop ? CHUNK : MOST));
		long k = recv_some(i, m, want, flags & (MSG_PEEK | MSG_OOB), drop, &r);
		if (k > 0) {
			done += k;
			emptied = (size_t)k < want;
			if (emptied)
				hostio_used_up(&i->host, EPOLLIN, gen);
			if ((size_t)done >= target || (flags & MSG_PEEK))
				break;
		} else if (k == 0) {
			break;
		} else if (k != -EAGAIN) {
			r = k;
		} else if (done && (size_t)done >= target) {
			break;
		} else if (flags & MSG_DONTWAIT) {
			hostio_used_up(&i->host, EPOLLIN, gen);
			r = -EAGAIN;
		} else {
			r = wait_host(i, EPOLLIN | EPOLLRDHUP, gen, s->rcvtimeo, &deadline);
		}
	}
	if (done) // an edge that says more may not have been collected yet
		hostio_unsure(&i->host, emptied ? i->host.events & EPOLLIN : EPOLLIN);
	if (drop)
		bounce_free(drop, stack);
	return done ? done : r;
}

static u32 host_tcp_poll(struct sock *s, struct poll_table *pt)
{
	struct inet_sock *i = inet_of(s);
	poll_wait(pt, &s->pollq);
	check_connected(s);
	if (s->state == ST_CLOSED)
		return EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLHUP | EPOLLRDHUP | (s->err ? EPOLLERR : 0);
	if (s->state == ST_CONNECTING)
		return 0;
	u32 h = hostio_ready(i->hfd, &i->host), ev = h & (EPOLLERR | EPOLLHUP | EPOLLRDHUP);
	if (h & (EPOLLIN | EPOLLRDHUP | EPOLLHUP) || (s->shut & SHUT_RCV))
		ev |= EPOLLIN | EPOLLRDNORM;
	if (h & EPOLLOUT || (s->shut & SHUT_SND))
		ev |= EPOLLOUT | EPOLLWRNORM;
	if (s->err)
		ev |= EPOLLERR;
	return ev;
}

static int host_tcp_shutdown(struct sock *s, u32 bits)
{
	struct inet_sock *i = inet_of(s);
	check_connected(s);
	if (s->state != ST_CONNECTED)
		return -ENOTCONN;
	int r = hc_shutdown(i->hfd, (int)bits - 1);
	if (r == -ENOTCONN && s->shut)
		r = 0;
	mutex_lock(&s->lock);
	s->shut |= (u8)bits;
	mutex_unlock(&s->lock);
	sock_wake_poll(s, 0);
	return r;
}

static void host_tcp_release(struct sock *s)
{
	struct inet_sock *i = inet_of(s);
	mutex_lock(&s->lock);
	s->dead = true;
	s->state = ST_CLOSED;
	mutex_unlock(&s->lock);
	if (s->linger && i->hfd >= 0) {
		int l[2] = { 1, (int)s->linger_sec };
		(void)hc_setsockopt(i->hfd, SOL_SOCKET, SO_LINGER, l, sizeof(l));
	}
	host_close(i);
	inet_unbind(i);
	cork_free(i); // of a connection inside before this one
	tcp_forget_former(i);
}

static int host_getopt(struct sock *s, int level, int opt, void *val, u32 *len)
{
	struct inet_sock *i = inet_of(s);
	check_connected(s);
	if (level == SOL_SOCKET && opt == SO_ERROR && !s->err && i->hfd >= 0)
		return opt_put_int(-errno_of(i->hfd), val, len);
	if (level == IPPROTO_TCP && (opt == TCP_INFO || opt == TCP_MAXSEG) && i->hfd >= 0) { // the host's word, as all that it carries
		u8 info[256] = { 0 };
		u32 n = min(*len, (u32)sizeof(info));
		int r = hc_getsockopt(i->hfd, level, opt, info, &n);
		if (r < 0)
			return r;
		*len = min(n, *len);
		memcpy(val, info, *len);
		return 0;
	}
	return inet_getopt(s, level, opt, val, len);
}

// Socket options that the host's TCP must know of.
static void host_changed(struct sock *s, int opt)
{
	int v;
	switch (opt) {
	case SO_KEEPALIVE: v = s->keepalive; break;
	case SO_PEEK_OFF: v = s->peek_off - 1; break;
	case SO_SNDBUF: v = (int)s->sndbuf / 2; break; // it doubles what it is told, as we did
	case SO_RCVBUF: v = (int)s->rcvbuf / 2; break;
	default: return;
	}
	host_setopt(inet_of(s), SOL_SOCKET, opt, &v, sizeof(v));
}

static long host_tcp_ioctl(struct sock *s, u32 cmd, u64 arg)
{
	struct inet_sock *i = inet_of(s);
	if (cmd != FIONREAD && cmd != TIOCOUTQ && cmd != SIOCOUTQNSD)
		return -ENOTTY;
	return put_user(cmd == FIONREAD && s->state == ST_CONNECTED ? host_available(i) : 0, U(arg));
}

const struct sock_ops host_tcp_ops = {
	.connect = host_tcp_connect,
	.getname = inet_getname,
	.send = host_tcp_send,
	.recv = host_tcp_recv,
	.shutdown = host_tcp_shutdown,
	.poll = host_tcp_poll,
	.getopt = host_getopt,
	.setopt = inet_setopt,
	.changed = host_changed,
	.ioctl = host_tcp_ioctl,
	.release = host_tcp_release,
	.free = inet_free,
};

// --- listeners

int host_listen(struct inet_sock *i, int backlog)
{
	u8 a[ADDR_MAX];
	int one = 1, zero = 0, r;
	if (i->hfd >= 0)
		return hc_listen(i->hfd, backlog);
	u16 family = family_for(&i->local);
	int h = open_socket(i, family, SOCK_STREAM);
	if (h == -EAFNOSUPPORT && ip_is_any(i->local.ip)) { // a host without IPv6
		family = AF_INET;
		h = open_socket(i, family, SOCK_STREAM);
	}
	if (h < 0)
		return h;
	if (adopt(i, h))
		return 0; // another thread listens with it at this moment
	(void)hc_setsockopt(h, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (i->s.reuseport) // one listener a worker: the host spreads connections over them
		(void)hc_setsockopt(h, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (family == AF_INET6)
		(void)hc_setsockopt(h, IPPROTO_IPV6, 26 /* IPV6_V6ONLY */, i->v6only ? &one : &zero, sizeof(one));
	push_options(i, h);
	struct iaddr at = i->local;
	r = hc_bind(h, a, inet_put_addr(family, &at, a));
	if (!r)
		r = hc_listen(h, backlog);
	if (r) {
		pr_warn("the host does not let us listen on port %u: error %d\n", i->local.port, -r);
		host_close(i);
	}
	return r;
}

bool sock_takes_pages(struct file *f)
{
	struct sock *s = file_sock(f);
	return s && __atomic_load_n(&s->ops, __ATOMIC_ACQUIRE) == &host_tcp_ops;
}

bool host_acceptable(struct inet_sock *l) { return hostio_ready(l->hfd, &l->host) & EPOLLIN; }

int host_accept(struct inet_sock *l, struct sock **out)
{
	u8 a[ADDR_MAX];
	u32 len = sizeof(struct sockaddr_in6), gen = l->host.gen;
	int h = hc_accept(l->hfd, a, &len);
	if (h < 0) {
		if (h == -EAGAIN)
			hostio_used_up(&l->host, EPOLLIN, gen);
		return h;
	}
	hostio_unsure(&l->host, EPOLLIN);
	struct inet_sock *c = inet_new(l->s.family, SOCK_STREAM, &host_tcp_ops);
	int r = c ? hostio_watch_state(h, &c->s.pollq, &c->host) : -ENOMEM;
	if (r < 0) {
		if (c)
			sock_put(&c->s);
		hc_close(h);
		return r;
	}
	c->hfd = h;
	c->host_only = true;
	c->s.state = ST_CONNECTED;
	parse_host_addr(a, len, &c->remote);
	if (ip_is_local(c->remote.ip)) // programs trust their own loopback; this is another
		netdev_host_alias(c->remote.ip);
	c->local = l->local;
	learn_name(c, false, &c->local);
	(void)inet_inherit(c, l); // without memory for them its options are the defaults
	push_options(c, h);
	*out = &c->s;
	return 0;
}

// --- datagrams

// One that reaches what the program's socket may reach: both versions of IP, unless it is of version 4 or says no.
static int open_datagram(struct inet_sock *i, u16 *family)
{
	int both = i->v6only, h;
	*family = i->s.family;
	h = open_socket(i, *family, SOCK_DGRAM);
	if (h == -EAFNOSUPPORT && *family == AF_INET6 && !i->v6only) { // a host without IPv6
		*family = AF_INET;
		return open_socket(i, *family, SOCK_DGRAM);
	}
	if (h >= 0 && *family == AF_INET6)
		(void)hc_setsockopt(h, IPPROTO_IPV6, 26 /* IPV6_V6ONLY */, &both, sizeof(both));
	return h;
}

int host_udp_open(struct inet_sock *i, bool bind)
{
	u8 a[ADDR_MAX];
	int r = 0;
	if (i->hfd >= 0)
		return 0;
	u16 family;
	int one = 1, h = open_datagram(i, &family);
	if (h < 0)
		return h;
	if (bind && i->s.reuseport)
		(void)hc_setsockopt(h, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind && i->s.reuseaddr)
		(void)hc_setsockopt(h, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind)
		r = hc_bind(h, a, inet_put_addr(family, &i->local, a));
	if (!r) {
		(void)adopt(i, h);
		return 0;
	}
	hostio_unwatch(h);
	hc_close(h);
	return r;
}

// Who talks to a published port from the host's own loopback has an alias inside (netdev.h), which only such a socket can answer to.
static bool to_host_loopback(const struct inet_sock *i, struct iaddr *to)
{
	return i->hfd >= 0 && host_may_listen(i->local.port) && netdev_host_real(to->ip);
}

int host_udp_connect(struct inet_sock *i, const struct iaddr *dst, struct iaddr *local)
{
	u8 a[ADDR_MAX];
	struct iaddr there = *dst, *to = &there;
	int r = i->s.protocol != IPPROTO_UDP ? -ENETUNREACH : to_host_loopback(i, to) ? 0 : may_connect();
	if (r)
		return r;
	if (i->hfd < 0) {
		u16 family;
		int h = open_datagram(i, &family);
		if (h < 0)
			return h;
		(void)adopt(i, h);
	}
	r = hc_connect(i->hfd, a, inet_put_addr(family_for(to), to, a));
	if (!r) {
		u16 port = local->port;
		learn_name(i, false, local);
		local->port = port;
	}
	return r;
}

// The host's socket stays: another thread may be in the middle of a call with it.
void host_udp_disconnect(struct inet_sock *i)
{
	const struct sockaddr_in none = { .sin_family = AF_UNSPEC };
	if (i->hfd >= 0)
		(void)hc_connect(i->hfd, &none, sizeof(none));
}

ssize_t host_udp_send(struct inet_sock *i, struct sock_msg *m, const struct iaddr *dst, int flags)
{
	struct iaddr there = *dst, *to = &there;
	u8 a[ADDR_MAX];
	__uninit char stack[STACK_CHUNK];
	size_t n = m->it->left, got = 0;
	u64 deadline = 0;
	if (i->s.protocol != IPPROTO_UDP)
		return -ENETUNREACH;
	long r = i->hfd >= 0 && host_may_listen(i->local.port) ? 0 : may_connect(); // a published port may answer
	if (!r && i->hfd < 0) {
		u16 family;
		int h = open_datagram(i, &family);
		if (h < 0)
			return h;
		(void)adopt(i, h);
	}
	if (r)
		return r;
	to_host_loopback(i, to);
	char *buf = bounce(stack, n);
	if (!buf)
		return -ENOBUFS;
	while ((got += iter_get(m->it, buf + got, n - got)) < n)
		if ((r = iter_fault_in(m->it, false)))
			goto out;
	do {
		u32 gen = i->host.gen;
		bool connected = i->s.state == ST_CONNECTED && !m->alen;
		r = hc_send(i->hfd, buf, n, MSG_NOSIGNAL, connected ? NULL : a, connected ? 0 : inet_put_addr(family_for(to), to, a));
		if (r != -EAGAIN || (flags & MSG_DONTWAIT))
			break;
		r = wait_host(i, EPOLLOUT, gen, i->s.sndtimeo, &deadline);
	} while (!r);
out:
	bounce_free(buf, stack);
	return r;
}

ssize_t host_udp_recv(struct inet_sock *i, struct sock_msg *m, int flags)
{
	u8 a[ADDR_MAX];
	__uninit char stack[STACK_CHUNK];
	u32 alen = sizeof(struct sockaddr_in6), gen = i->host.gen;
	size_t left = m->it->left, want = min(left, (size_t)CHUNK), got = 0;
	char *buf = bounce(stack, want);
	if (!buf)
		return -ENOBUFS;
	long full = hc_recv(i->hfd, buf, want, (flags & MSG_PEEK) | MSG_TRUNC, a, &alen), n = full;
	if (n < 0) {
		if (n == -EAGAIN)
			hostio_used_up(&i->host, EPOLLIN, gen);
		goto out;
	}
	hostio_unsure(&i->host, EPOLLIN);
	if ((size_t)full > want) {
		m->flags |= MSG_TRUNC;
		n = (long)want;
	}
	while ((got += iter_put(m->it, buf + got, (size_t)n - got)) < (size_t)n)
		if (iter_fault_in(m->it, true)) {
			n = -EFAULT;
			goto out;
		}
	struct iaddr from, at = i->local;
	parse_host_addr(a, alen, &from);
	if (ip_is_local(from.ip)) // not our loopback
		netdev_host_alias(from.ip);
	if (m->addr)
		m->alen = inet_put_addr(i->s.family, &from, m->addr);
	if (ip_is_any(at.ip) && ip_is_v4(from.ip))
		at.ip[10] = at.ip[11] = 0xff;
	netdev_outer(m->dst, &at); // the host does not tell: the address that stands for us there
	m->has_dst = true;
	m->hops = 64;
	m->tclass = 0;
	m->stamp_ns = i->s.timestamp || i->s.timestampns ? ktime_real() : 0;
	if (flags & MSG_TRUNC)
		n = full;
out:
	bounce_free(buf, stack);
	return n;
}
