// SPDX-License-Identifier: Apache-2.0
// Byte streams between two sockets of this kernel: AF_UNIX SOCK_STREAM and TCP over the inner loopback. The sender copies
// into the receiver's ring under the receiver's lock. Descriptors and credentials (AF_UNIX) hang on marks at places in
// the stream.
// Locks: one sock's lock at a time; see sock.h.
#include "kernel/net/ring.h"
#include <asm/ioctls.h>
#include <linux/sockios.h>

// Room is announced when a quarter is free: not for each byte that a reader takes.
static inline bool writable(const struct sock *p) { return p->rx.len + p->rx_cap / 4 <= p->rx_cap; }

// SO_RCVLOWAT: TCP does not call fewer bytes readable, unless no more have room. AF_UNIX does, as on Linux.
static inline bool readable(const struct sock *s)
{
	return s->rx.len > s->held && (likely(s->rcvlowat <= 1 || s->family == AF_UNIX) || s->rx.len - s->held >= min(s->rcvlowat, s->rx_cap / 2));
}

static void kick_readers(struct sock *p)
{
	sock_wake(&p->rq);
	sock_wake_poll(p, EPOLLIN | EPOLLRDNORM);
}

void stream_kick_readers(struct sock *p) { kick_readers(p); }

// The peer's senders sleep on s->wq; its pollers on the peer's own queue.
static void kick_writers(struct sock *s)
{
	struct sock *p = __atomic_load_n(&s->peer, __ATOMIC_ACQUIRE); // once: it may be taken away (disconnect.c), and stays in memory
	sock_wake(&s->wq);
	if (p)
		sock_wake_poll(p, EPOLLOUT | EPOLLWRNORM);
}

static u32 capacity(const struct sock *from, const struct sock *to)
{
	if (likely(!from->sndbuf_set && !to->rcvbuf_set))
		return RING_CAP_DEFAULT;
	u64 cap = to->family == AF_UNIX ? from->sndbuf : (u64)from->sndbuf + to->rcvbuf;
	return (u32)max(min(cap, (u64)(1u << 20)), (u64)PAGE_SIZE);
}

// Hangs m's scm on the bytes from `start` to the current end. p->lock held; `mk` was allocated before.
static void add_mark(struct sock *p, struct mark *mk, struct sock_msg *m, u64 start)
{
	mk->start = start;
	mk->end = p->rx_in;
	mk->scm = m->scm;
	m->scm = NULL;
	list_add_tail(&mk->link, &p->marks);
}

// The other side has closed, as TCP sees it: the first bytes after its FIN are answered by a reset.
static void tcp_reset_by_dead(struct sock *s)
{
	s->reset = true;
	sock_set_err(s, EPIPE, SHUT_RCV | SHUT_SND);
}

static int send_error(struct sock *s)
{
	int e = s->family == AF_UNIX ? 0 : sock_take_err(s);
	return e ? e : -EPIPE;
}

ssize_t stream_send(struct sock *s, struct sock_msg *m, int flags)
{
	struct iter *it = m->it;
	struct sock *p = s->peer;
	struct mark *mk = NULL;
	u64 deadline = 0;
	ssize_t done = 0;
	int r = 0;
	bool hold = unlikely(flags & MSG_MORE) && s->family != AF_UNIX, shown = false;

	if (unlikely(s->state != ST_CONNECTED || !p)) {
		r = sock_take_err(s);
		return r ? r : s->family != AF_UNIX || (s->shut & SHUT_SND) ? -EPIPE : -ENOTCONN;
	}
	if (unlikely(m->scm) && it->left && !(mk = kmalloc(sizeof(*mk))))
		return -ENOMEM;
	mutex_lock(&p->lock);
	for (;;) {
		if (unlikely(s->shut & SHUT_SND || s->peer != p || (s->err && s->family != AF_UNIX))) {
			mutex_unlock(&p->lock);
			r = done ? 0 : send_error(s);
			goto out;
		}
		if (unlikely(p->dead)) {
			mutex_unlock(&p->lock);
			if (s->family == AF_UNIX) {
				r = done ? 0 : -EPIPE;
				goto out;
			}
			tcp_reset_by_dead(s);
			done += (ssize_t)it->left;
			iter_advance(it, it->left);
			goto out;
		}
		if (unlikely(!it->left))
			break;
		p->rx_cap = capacity(s, p);
		u32 room = ring_room(&p->rx, it->left, p->rx_cap);
		if (likely(room)) {
			u32 want = (u32)min((u64)room, it->left);
			u64 start = p->rx_in;
			u32 got = ring_in(&p->rx, it, want);
			p->rx_in += got;
			done += got;
			if (unlikely(hold))
				p->held = p->held + got < STREAM_HOLD_MOST ? p->held + got : 0;
			else if (likely(got))
				p->held = 0;
			if (unlikely(mk) && got) {
				add_mark(p, mk, m, start);
				mk = NULL;
			}
			if (likely(!it->left))
				break;
			if (got < want) {
				mutex_unlock(&p->lock);
				if (got)
					kick_readers(p);
				if (iter_fault_in(it, false)) {
					r = done ? 0 : -EFAULT;
					goto out;
				}
				mutex_lock(&p->lock);
			}
			continue;
		}
		shown = p->held; // what waits must not keep others from coming
		p->held = 0;
		if (flags & MSG_DONTWAIT) {
			r = p->rx.size ? -EAGAIN : -ENOBUFS;
			break;
		}
		if (!p->rx.size) { // not one page to be had
			r = -ENOBUFS;
			break;
		}
		if (!deadline)
			deadline = sock_deadline(s->sndtimeo);
		struct waiter w;
		u32 seq = task_seq();
		waiter_init(&w);
		waitq_add(&p->wq, &w);
		mutex_unlock(&p->lock);
		kick_readers(p);
		r = task_sleep(seq, deadline);
		waitq_del(&p->wq, &w);
		mutex_lock(&p->lock);
		if (r) {
			r = r == -ETIMEDOUT ? -EAGAIN : deadline == NO_DEADLINE ? -ERESTARTSYS : -EINTR;
			break;
		}
	}
	bool quiet = p->held;
	mutex_unlock(&p->lock);
	if (likely(done && !quiet) || unlikely(shown))
		kick_readers(p);
out:
	if (unlikely(mk))
		kfree(mk);
	return done ? done : r;
}

// How far a read may go from `at` of the stream, and the scm that belongs to it. s->lock held. *stop: end there. Descriptors come with
// the first byte of their message and end the read with its last; ids only keep messages of different senders apart.
static u32 until_mark(struct sock *s, struct sock_msg *m, u64 at, u32 want, ssize_t done, int flags, bool *stop)
{
	struct mark *mk = NULL, *i;
	if (likely(list_empty(&s->marks)))
		return want;
	list_for_each(i, &s->marks, link)
		if (i->end > at) {
			mk = i;
			break;
		}
	if (!mk)
		return want;
	if (mk->start > at)
		return (u32)min((u64)want, mk->start - at);
	want = (u32)min((u64)want, mk->end - at);
	struct scm *c = mk->scm;
	if (c && !c->nfiles) {
		if (!m->wants_scm)
			return want;
		if (!done && !m->scm)
			m->scm = scm_dup(c);
		if (!m->scm || memcmp(&m->scm->cred, &c->cred, sizeof(c->cred)) == 0)
			return want;
	}
	*stop = true;
	if (done) // what was read so far goes without
		return 0;
	if (c && !m->scm) {
		m->scm = flags & MSG_PEEK ? scm_dup(c) : c;
		if (m->scm == c)
			mk->scm = NULL;
	}
	return want;
}

static void drop_marks(struct sock *s, struct list *gone)
{
	while (!list_empty(&s->marks)) {
		struct mark *mk = list_first(&s->marks, struct mark, link);
		if (mk->end > s->rx_out)
			return;
		list_del(&mk->link);
		list_add_tail(&mk->link, gone);
	}
}

static void free_marks(struct list *gone)
{
	while (!list_empty(gone)) {
		struct mark *mk = list_first(gone, struct mark, link);
		list_del(&mk->link);
		if (mk->scm)
			scm_free(mk->scm);
		kfree(mk);
	}
}

// TCP: the other side's FIN had come before the reset. What was sent is whole, so a reader sees the end; SO_ERROR and writers learn the rest.
static bool ended_before_reset(const struct sock *s)
{
	return unlikely(__atomic_load_n(&s->err, __ATOMIC_RELAXED) == EPIPE) && s->peer_done && s->family != AF_UNIX;
}

ssize_t stream_recv(struct sock *s, struct sock_msg *m, int flags)
{
	struct iter *it = m->it;
	struct list gone;
	u64 deadline = 0;
	ssize_t done = 0;
	int r = 0;
	bool stop = false, freed = false;
	size_t target = flags & MSG_WAITALL ? it->left : min((size_t)s->rcvlowat, it->left);

	m->alen = 0;
	list_init(&gone);
	mutex_lock(&s->lock);
	for (;;) {
		u32 skip = sock_peek_at(s, flags);
		u32 there = s->rx.len - s->held;
		if (likely(there > skip && it->left)) {
			u32 want = (u32)min((u64)there - skip, it->left);
			want = until_mark(s, m, s->rx_out + skip, want, done, flags, &stop);
			if (unlikely(stop && !want))
				break;
			bool was_full = !writable(s);
			u32 got = want;
			if (unlikely((flags & MSG_TRUNC) && s->family != AF_UNIX))
				iter_advance(it, want); // TCP: throw away
			else
				got = ring_peek(&s->rx, it, skip, want);
			done += got;
			sock_peeked(s, flags, got);
			if (likely(!(flags & MSG_PEEK))) {
				ring_skip(&s->rx, got);
				s->rx_out += got;
				if (unlikely(!list_empty(&s->marks)))
					drop_marks(s, &gone);
				freed |= writable(s) && (was_full || !list_empty(&s->wq.waiters));
			}
			if (unlikely(got < want)) {
				mutex_unlock(&s->lock);
				if (iter_fault_in(it, true)) {
					r = -EFAULT;
					goto out;
				}
				mutex_lock(&s->lock);
				continue;
			}
			if (stop || (flags & MSG_PEEK))
				break;
			continue;
		}
		if (done >= (ssize_t)target && (done || !it->left))
			break;
		if (!ended_before_reset(s) && (r = sock_take_err(s)))
			break;
		if (s->shut & SHUT_RCV)
			break;
		if (unlikely(s->state != ST_CONNECTED)) {
			r = s->state == ST_CLOSED ? 0 : s->family == AF_UNIX ? -EINVAL : -ENOTCONN;
			break;
		}
		if (!it->left)
			break;
		if (flags & MSG_DONTWAIT) {
			r = -EAGAIN;
			break;
		}
		if (!deadline)
			deadline = sock_deadline(s->rcvtimeo);
		if (freed) { // a partial read made room: the sender must know before we sleep
			freed = false;
			mutex_unlock(&s->lock);
			kick_writers(s);
			mutex_lock(&s->lock);
			continue;
		}
		r = sock_sleep(&s->lock, &s->rq, deadline);
		if (r)
			break;
	}
	if (s->rx.size && !s->rx.len)
		ring_emptied(&s->rx);
	mutex_unlock(&s->lock);
out:
	if (freed)
		kick_writers(s);
	free_marks(&gone);
	return done ? done : r;
}

bool stream_over(const struct sock *s) { return s->reset || (s->peer_done && (s->shut & SHUT_SND)); }

int stream_shutdown(struct sock *s, u32 bits)
{
	struct sock *p = s->peer;
	mutex_lock(&s->lock);
	if (s->state != ST_CONNECTED || !p || (s->family != AF_UNIX && stream_over(s))) {
		mutex_unlock(&s->lock);
		return -ENOTCONN;
	}
	s->shut |= bits;
	mutex_unlock(&s->lock);

	// AF_UNIX tells the other side of both directions; TCP has a word for "I send no more" only.
	u32 other = bits & SHUT_SND ? SHUT_RCV : 0;
	if (s->family == AF_UNIX && (bits & SHUT_RCV))
		other |= SHUT_SND;
	mutex_lock(&p->lock);
	p->shut |= other;
	if (other)
		p->held = 0;
	p->peer_done |= (bits & SHUT_SND) != 0;
	mutex_unlock(&p->lock);
	sock_wake(&s->rq);
	sock_wake(&s->wq);
	sock_wake(&p->rq);
	sock_wake(&p->wq);
	sock_wake_poll(s, 0);
	sock_wake_poll(p, 0);
	return 0;
}

void stream_drop_rx(struct sock *s)
{
	struct list gone;
	list_init(&gone);
	mutex_lock(&s->lock);
	list_splice_tail(&s->marks, &gone);
	s->rx_out = s->rx_in;
	s->held = 0;
	ring_free(&s->rx);
	mutex_unlock(&s->lock);
	free_marks(&gone);
}

void stream_close(struct sock *s) { stream_end(s, false); }

// reset: whatever is left, the other side is told that it was not an end in order.
void stream_end(struct sock *s, bool reset)
{
	struct sock *p = s->peer;
	mutex_lock(&s->lock);
	bool unread = s->rx.len, was = s->state == ST_CONNECTED;
	bool finished = (s->shut & (SHUT_RCV | SHUT_SND)) == (SHUT_RCV | SHUT_SND);
	s->dead = true;
	s->state = ST_CLOSED;
	s->shut = SHUT_RCV | SHUT_SND;
	mutex_unlock(&s->lock);
	stream_drop_rx(s);
	sock_wake(&s->wq);
	if (!p || !was)
		return;
	bool abort = reset || unread || (s->linger && !s->linger_sec && s->family != AF_UNIX && !finished);
	mutex_lock(&p->lock);
	if (!p->dead && p->peer == s) { // it may have another peer by now
		bool knew = p->peer_done && p->family != AF_UNIX; // in CLOSE_WAIT: the reset is a broken pipe
		p->shut |= SHUT_RCV;
		p->held = 0;
		p->peer_done = true;
		p->reset |= abort;
		if (abort || s->family == AF_UNIX)
			p->shut |= SHUT_SND;
		if (abort)
			__atomic_store_n(&p->err, knew ? EPIPE : ECONNRESET, __ATOMIC_RELAXED);
	}
	mutex_unlock(&p->lock);
	sock_wake(&p->rq);
	sock_wake_poll(p, 0);
}

// TCP's urgent data: the last byte of a message, beside the stream or (SO_OOBINLINE) in it, its place remembered.
ssize_t stream_send_urgent(struct sock *s, struct sock_msg *m, int flags)
{
	struct iter *it = m->it;
	size_t n = it->left;
	u8 byte;
	if (!n)
		return 0;
	it->left = n - 1;
	ssize_t done = n > 1 ? stream_send(s, m, flags) : 0;
	if (done < 0 || (size_t)done < n - 1)
		return done;
	it->left = 1;
	struct sock *p = s->peer;
	if (s->state != ST_CONNECTED || !p || (s->shut & SHUT_SND))
		return done ? done : -EPIPE;
	while (!iter_get(it, &byte, 1))
		if (iter_fault_in(it, false))
			return done ? done : -EFAULT;
	mutex_lock(&p->lock);
	p->urgent_at = p->rx_in;
	p->urgent_byte = byte;
	p->urgent = !p->oobinline && !p->dead;
	bool in_line = p->oobinline, held = p->held;
	p->held = 0; // what waits lies before the mark
	mutex_unlock(&p->lock);
	if (held)
		kick_readers(p);
	if (in_line) {
		struct iter one;
		iter_kernel(&one, &byte, 1);
		m->it = &one;
		ssize_t r = stream_send(s, m, flags);
		m->it = it;
		if (r < 0)
			return done ? done : r;
	}
	sock_wake_poll(p, EPOLLPRI);
	return done + 1;
}

ssize_t stream_recv_urgent(struct sock *s, struct sock_msg *m, int flags)
{
	u8 byte = 0;
	mutex_lock(&s->lock);
	bool have = s->urgent && !s->oobinline;
	if (have) {
		byte = s->urgent_byte;
		if (!(flags & MSG_PEEK))
			s->urgent = false;
	}
	mutex_unlock(&s->lock);
	if (!have)
		return -EINVAL;
	if (!m->it->left)
		return 0;
	while (!iter_put(m->it, &byte, 1))
		if (iter_fault_in(m->it, true))
			return -EFAULT;
	return 1;
}

u32 stream_poll(struct sock *s, struct poll_table *pt)
{
	u32 ev = 0;
	bool room = true;
	poll_wait(pt, &s->pollq);
	struct sock *p = s->peer;
	if (p && s->state == ST_CONNECTED) {
		mutex_lock(&p->lock);
		room = p->dead || writable(p);
		mutex_unlock(&p->lock);
	}
	mutex_lock(&s->lock);
	if (__atomic_load_n(&s->err, __ATOMIC_RELAXED))
		ev |= EPOLLERR;
	if (s->state == ST_LISTEN) {
		if (!list_empty(&s->accept_q))
			ev |= EPOLLIN | EPOLLRDNORM;
	} else {
		if (s->shut == (SHUT_RCV | SHUT_SND) || s->state == ST_IDLE || s->state == ST_CLOSED)
			ev |= EPOLLHUP;
		if (s->shut & SHUT_RCV)
			ev |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
		if (readable(s))
			ev |= EPOLLIN | EPOLLRDNORM;
		if (s->urgent)
			ev |= EPOLLPRI;
		if (s->state != ST_CONNECTING && (room || (s->shut & SHUT_SND)))
			ev |= EPOLLOUT | EPOLLWRNORM;
	}
	mutex_unlock(&s->lock);
	return ev;
}

long stream_ioctl(struct sock *s, u32 cmd, u64 arg)
{
	struct sock *of = cmd == FIONREAD ? s : s->peer;
	u32 n = 0;
	if (cmd == SIOCATMARK && s->family != AF_UNIX) {
		mutex_lock(&s->lock);
		int at_mark = s->urgent_at && s->rx_out == s->urgent_at;
		mutex_unlock(&s->lock);
		return put_user(at_mark, U(arg));
	}
	if (cmd != FIONREAD && cmd != TIOCOUTQ && (cmd != SIOCOUTQNSD || s->family == AF_UNIX))
		return -ENOTTY;
	if (s->state == ST_LISTEN)
		return -EINVAL;
	if (of) {
		mutex_lock(&of->lock);
		n = of->rx.len;
		// TCP: what the receiver's buffer holds is acknowledged, only the rest is still ours, and what waits for more
		if (cmd == FIONREAD)
			n -= of->held;
		else if (s->family != AF_UNIX)
			n = max(n > of->rcvbuf ? n - of->rcvbuf : 0, of->held);
		mutex_unlock(&of->lock);
	}
	return put_user((int)n, U(arg));
}
