// SPDX-License-Identifier: Apache-2.0
// connect(2) with AF_UNSPEC on a TCP socket: the connection is reset, and the socket can be used anew. Whoever is inside a call on it, or asks for its readiness
// (epoll holds no reference on files), may still look at the peer and at the host's socket that it had: they are kept until nobody can, which is at once for a
// socket that one descriptor stands for and no epoll watches, or else until the last descriptor closes.
// Locks: sock locks, one at a time; inet_lock while the peer is taken away, for who walks through the port table.
#include "kernel/net/inet.h"
#include "kernel/include/vfs.h"

#define FORMER_MAX 4096u // each is a socket's memory, or a descriptor of the host's

struct former {
	struct former *next;
	struct sock *peer;	// a reference; NULL: none
	int hfd;		// -1: none
};

// What connect and listen find as if the socket were new; `err` stays for SO_ERROR. Without a port of its own it gets another one, as on Linux.
static void make_idle(struct inet_sock *i, int err)
{
	struct sock *s = &i->s;
	bool keeps_port = i->named_port && !i->host_only;
	if (!keeps_port && i->bound)
		inet_unbind(i);
	mutex_lock(&s->lock);
	s->shut = 0;
	s->peer_done = s->reset = s->urgent = s->dead = false;
	s->urgent_at = s->rx_in = s->rx_out = 0;
	i->told = i->refused = i->host_only = false;
	memset(&i->remote, 0, sizeof(i->remote));
	if (!keeps_port)
		i->shares_port = i->named_port = false;
	if (!i->own_address || !keeps_port)
		memset(i->local.ip + (s->family == AF_INET ? 12 : 0), 0, s->family == AF_INET ? 4 : 16);
	if (!keeps_port)
		i->own_address = false;
	__atomic_store_n(&s->err, err, __ATOMIC_RELAXED);
	__atomic_store_n(&s->state, ST_IDLE, __ATOMIC_RELEASE);
	mutex_unlock(&s->lock);
}

// 0, -EISCONN (another thread is just connecting it), -ENOMEM, -ENOBUFS.
int tcp_disconnect(struct sock *s)
{
	struct inet_sock *i = inet_of(s);
	if (s->state == ST_IDLE && !i->refused)
		return 0;
	if (s->state == ST_CONNECTING && !i->host_only)
		return -EISCONN;
	if (i->nformer >= FORMER_MAX)
		return -ENOBUFS;
	struct former *old = kzalloc(sizeof(*old));
	if (!old)
		return -ENOMEM;
	if (__atomic_exchange_n(&i->parting, true, __ATOMIC_ACQ_REL)) { // another thread does it
		kfree(old);
		return -EISCONN;
	}
	bool over = s->state != ST_CONNECTED ? !i->host_only || s->state == ST_CLOSED : !i->host_only && stream_over(s);
	if (i->host_only) {
		host_disconnect(i, &old->hfd);
		__atomic_store_n(&s->ops, &tcp_ops, __ATOMIC_RELEASE);
	} else {
		old->hfd = -1;
		stream_end(s, !over);
		inet_table_lock();
		old->peer = s->peer;
		if (old->peer) { // a sender that waits for room sees that it is not its peer any more
			mutex_lock(&old->peer->lock);
			s->peer = NULL;
			mutex_unlock(&old->peer->lock);
		}
		inet_table_unlock();
	}
	make_idle(i, over ? 0 : ECONNRESET);
	mutex_lock(&s->lock);
	old->next = i->former;
	i->former = old;
	i->nformer++;
	mutex_unlock(&s->lock);
	__atomic_store_n(&i->parting, false, __ATOMIC_RELEASE);
	if (old->peer) {
		defer_end(inet_of(old->peer));
		sock_wake(&old->peer->wq);
	}
	sock_wake(&s->rq);
	sock_wake_poll(s, 0);
	return 0;
}

void tcp_forget_former(struct inet_sock *i)
{
	while (i->former) {
		struct former *old = i->former;
		i->former = old->next;
		i->nformer--;
		if (old->peer)
			sock_put(old->peer);
		host_close_former(old->hfd);
		kfree(old);
	}
}

// The caller holds one reference on the file and the table of descriptors another. Who comes now gets a third, and finds what the socket has become.
// If the descriptor is still there afterwards, it was there when they were counted: the second is not that of a call that began before a close.
void inet_disconnected(struct sock *s, struct file *f, int fd)
{
	if ((s->family != AF_INET && s->family != AF_INET6) || s->type != SOCK_STREAM)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&f->ref.n, __ATOMIC_SEQ_CST) != 2 || !list_empty(&f->epoll_links))
		return;
	struct file *there = fd_get(fd);
	if (there == f)
		tcp_forget_former(inet_of(s));
	if (there)
		file_put(there);
}
