// SPDX-License-Identifier: Apache-2.0
// SEND, RECV and their message forms (plain, multishot, zero-copy), ACCEPT, CONNECT, SHUTDOWN, SOCKET. Each try is made with
// MSG_DONTWAIT; -EAGAIN waits in the socket's queues. No locks.
#include "kernel/include/uring.h"
#include "kernel/net/families.h"
#include "kernel/uring/uring.h"

#define IN (EPOLLIN | EPOLLRDNORM | EPOLLERR | EPOLLHUP)
#define OUT (EPOLLOUT | EPOLLWRNORM | EPOLLERR | EPOLLHUP)

long sys_shutdown(int fd, int how);

static int wait_for(struct ureq *q, u32 events)
{
	q->wait_events = events;
	return U_WAIT;
}

static bool is_zc(const struct ureq *q) { return q->sqe.opcode == IORING_OP_SEND_ZC || q->sqe.opcode == IORING_OP_SENDMSG_ZC; }

static struct sock *req_sock(struct ureq *q, int *err)
{
	struct sock *s = file_sock(q->file);

	*err = !s ? -ENOTSOCK : is_zc(q) && s->family != AF_INET && s->family != AF_INET6 ? -EOPNOTSUPP : 0;
	return *err ? NULL : s;
}

// IORING_RECVSEND_POLL_FIRST: no try before the socket was asked once.
static bool poll_first(struct ureq *q)
{
	if (!(q->sqe.ioprio & IORING_RECVSEND_POLL_FIRST) || !q->inline_issue)
		return false;
	q->sqe.ioprio &= (u16)~IORING_RECVSEND_POLL_FIRST;
	return true;
}

// A stream that was asked for everything (MSG_WAITALL) goes on until it has it.
static bool goes_on(struct ureq *q, const struct sock *s)
{
	return (q->sqe.msg_flags & MSG_WAITALL) && (s->type == SOCK_STREAM || s->type == SOCK_SEQPACKET);
}

static bool blocked(long r) { return r == -EAGAIN || r == -ERESTARTSYS || r == -EINTR; }

// --- sending

static int send_prep(struct ureq *q)
{
	u32 known = IORING_RECVSEND_POLL_FIRST;

	if (is_zc(q))
		known |= IORING_RECVSEND_FIXED_BUF | IORING_SEND_ZC_REPORT_USAGE;
	if ((q->sqe.ioprio & ~known) || (is_zc(q) && (q->sqe.flags & IOSQE_CQE_SKIP_SUCCESS)))
		return -EINVAL;
	q->sqe.msg_flags |= MSG_NOSIGNAL;
	return 0;
}

int op_send_prep(struct ureq *q)
{
	struct msg_out *m;
	int e = send_prep(q);

	if (e)
		return e;
	if (q->sqe.opcode == IORING_OP_SEND && (q->sqe.addr2 || q->sqe.file_index))
		return -EINVAL;
	if (q->sqe.len && !access_ok(U(q->sqe.addr), q->sqe.len))
		return -EFAULT;
	iter_user(&q->it, &q->one, U(q->sqe.addr), min(q->sqe.len, 0x7ffff000u));
	if (!is_zc(q) || !q->sqe.addr2)
		return 0;
	m = q->data = knew(struct msg_out); // for its address
	if (!m)
		return -ENOMEM;
	e = addr_in(m->addr, U(q->sqe.addr2), q->sqe.addr_len);
	m->alen = q->sqe.addr_len;
	return e;
}

// The notification that the buffer is free follows at once: the data was copied.
static int sent(struct ureq *q, long r)
{
	struct udone d;

	if (!is_zc(q))
		return (int)r;
	udone_init(&d);
	uring_post_more(q, (s32)r, 0);
	q->res = q->sqe.ioprio & IORING_SEND_ZC_REPORT_USAGE ? (s32)IORING_NOTIF_USAGE_ZC_COPIED : 0;
	q->cflags = IORING_CQE_F_NOTIF;
	q->fail |= r < 0;
	return U_DONE;
}

static int send_result(struct ureq *q, struct sock *s, long r, size_t left)
{
	if (blocked(r)) {
		if (!(q->sqe.msg_flags & MSG_DONTWAIT))
			return wait_for(q, OUT);
		r = -EAGAIN;
	}
	if (r > 0) {
		q->done += (u64)r;
		if (left && goes_on(q, s))
			return wait_for(q, OUT);
		r = 0;
	}
	q->fail = r < 0 || (left && (q->sqe.msg_flags & MSG_WAITALL));
	return sent(q, q->done ? (long)q->done : r);
}

int op_send_issue(struct ureq *q)
{
	struct msg_out *m = q->data;
	struct sock_msg sm = { .it = &q->it, .addr = m ? m->addr : NULL, .alen = m ? m->alen : 0, .hops = -1, .tclass = -1 };
	struct sock *s;
	int e;

	s = req_sock(q, &e);
	if (!s)
		return e;
	if (poll_first(q))
		return wait_for(q, OUT);
	if (is_zc(q) && (q->sqe.ioprio & IORING_RECVSEND_FIXED_BUF)) {
		e = fixed_buffer(q, q->sqe.addr, q->sqe.len);
		if (e)
			return sent(q, e);
	}
	e = (int)sock_send(s, &sm, (int)q->sqe.msg_flags | MSG_DONTWAIT);
	return send_result(q, s, e, q->it.left);
}

int op_sendmsg_prep(struct ureq *q)
{
	struct msg_out *m;
	struct msghdr_ h;
	int e = send_prep(q);

	if (e)
		return e;
	if (q->sqe.addr2 || q->sqe.file_index)
		return -EINVAL;
	if (copy_from_user(&h, U(q->sqe.addr), sizeof(h)))
		return -EFAULT;
	m = knew(struct msg_out);
	if (!m)
		return -ENOMEM;
	e = msg_out_get(m, &h);
	if (e)
		kfree(m);
	else
		q->data = m;
	return e;
}

void op_msg_clean(struct ureq *q)
{
	if (!q->data)
		return;
	if (q->sqe.opcode == IORING_OP_RECVMSG)
		msg_in_free(q->data);
	else
		msg_out_free(q->data);
}

int op_sendmsg_issue(struct ureq *q)
{
	struct msg_out *m = q->data;
	struct sock *s;
	int e;

	s = req_sock(q, &e);
	if (!s)
		return e;
	if (poll_first(q))
		return wait_for(q, OUT);
	e = (int)msg_out_send(q->file, s, m, (int)q->sqe.msg_flags | MSG_DONTWAIT);
	return send_result(q, s, e, m->it.left);
}

// --- receiving

static int recv_prep(struct ureq *q)
{
	if (q->sqe.file_index || q->sqe.addr2 || (q->sqe.ioprio & ~(IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT)))
		return -EINVAL;
	if (q->sqe.ioprio & IORING_RECV_MULTISHOT) {
		if (!(q->sqe.flags & IOSQE_BUFFER_SELECT) || (q->sqe.msg_flags & MSG_WAITALL))
			return -EINVAL;
		if (q->sqe.opcode == IORING_OP_RECV && q->sqe.len)
			return -EINVAL;
	}
	return 0;
}

int op_recv_prep(struct ureq *q)
{
	int e = recv_prep(q);

	if (e || (q->sqe.flags & IOSQE_BUFFER_SELECT))
		return e;
	if (q->sqe.len && !access_ok(U(q->sqe.addr), q->sqe.len))
		return -EFAULT;
	iter_user(&q->it, &q->one, U(q->sqe.addr), min(q->sqe.len, 0x7ffff000u));
	return 0;
}

static u32 more_there(struct sock *s)
{
	return s->family != AF_UNIX && (s->type == SOCK_STREAM ? s->rx.len > s->held : !list_empty(&s->pkts)) ? IORING_CQE_F_SOCK_NONEMPTY : 0;
}

// What a try means for the request. MSG_TRUNC counts as failed where everything was wanted.
static int recv_result(struct ureq *q, struct sock *s, long r, size_t left)
{
	if (blocked(r)) {
		buffer_recycle(q);
		if (!(q->sqe.msg_flags & MSG_DONTWAIT))
			return wait_for(q, IN | (q->sqe.msg_flags & MSG_ERRQUEUE ? EPOLLPRI : 0));
		r = -EAGAIN;
	}
	if (r > 0) {
		q->done += (u64)r;
		if (left && goes_on(q, s)) // keeps its buffer
			return wait_for(q, IN);
	}
	if (r < 0 && !q->done) {
		buffer_recycle(q);
		q->fail = true;
		return (int)r;
	}
	q->fail = left && (q->sqe.msg_flags & MSG_WAITALL);
	q->cflags = 0;
	if (q->done || (r == 0 && s->type != SOCK_STREAM))
		q->cflags = buffer_used(q);
	else
		buffer_recycle(q);
	q->cflags |= more_there(s);
	return (int)q->done;
}

static int take_buffer(struct ureq *q, u32 want)
{
	int e;

	if (q->buf_taken)
		return 0;
	e = buffer_select(q, want);
	if (!e && !access_ok(U(q->buf_addr), q->buf_len)) {
		buffer_recycle(q);
		return -EFAULT;
	}
	if (!e)
		iter_user(&q->it, &q->one, U(q->buf_addr), q->buf_len);
	return e;
}

static int recv_once(struct ureq *q, struct sock *s)
{
	struct sock_msg sm = { .it = &q->it, .addr = NULL };
	long r;

	if (q->sqe.flags & IOSQE_BUFFER_SELECT) {
		int e = take_buffer(q, q->sqe.len);

		if (e)
			return e;
	}
	r = sock_recv(s, &sm, (int)q->sqe.msg_flags | MSG_DONTWAIT);
	if (sm.scm)
		scm_free(sm.scm);
	return recv_result(q, s, r, q->it.left);
}

int op_recv_issue(struct ureq *q)
{
	struct sock *s;
	int e, r;

	s = req_sock(q, &e);
	if (!s)
		return e;
	if (poll_first(q))
		return wait_for(q, IN);
	for (;;) {
		r = recv_once(q, s);
		if (!(q->sqe.ioprio & IORING_RECV_MULTISHOT) || r <= 0)
			return r;
		if (!uring_post_more(q, r, q->cflags))
			return r;
		q->done = 0;
		q->cflags = 0;
		q->tries = 0;
	}
}

int op_recvmsg_prep(struct ureq *q)
{
	struct msg_in *m;
	int e = recv_prep(q);

	if (e)
		return e;
	m = knew(struct msg_in);
	if (!m)
		return -ENOMEM;
	e = msg_in_get(m, U(q->sqe.addr));
	if (e) {
		kfree(m);
		return e;
	}
	q->data = m;
	if ((q->sqe.flags & IOSQE_BUFFER_SELECT) && m->h.niov > 1)
		return -EINVAL;
	return 0;
}

// Multishot RECVMSG lays header, name, control data and payload into the selected buffer.
static int recvmsg_multi(struct ureq *q, struct sock *s)
{
	struct msg_in *m = q->data;
	struct io_uring_recvmsg_out o;
	struct msghdr_ h = m->h;
	size_t head = sizeof(o) + (u32)h.namelen + h.controllen;
	void __user *at;
	long r;
	int e = take_buffer(q, 0);

	if (e)
		return e;
	if (h.controllen > q->buf_len || head > q->buf_len) {
		buffer_recycle(q);
		return -EFAULT;
	}
	at = U(q->buf_addr);
	iter_user(&q->it, &q->one, (char __user *)at + head, q->buf_len - head);
	m->h.name = h.namelen ? (char __user *)at + sizeof(o) : NULL;
	m->h.control = h.controllen ? (char __user *)at + sizeof(o) + (u32)h.namelen : NULL;
	r = msg_recv_parts(q->file, s, m, &q->it, (int)q->sqe.msg_flags | MSG_DONTWAIT, &o.namelen, &o.controllen, &o.flags);
	m->h = h;
	if (r >= 0) {
		o.payloadlen = (u32)r;
		if (copy_to_user(at, &o, sizeof(o)))
			r = -EFAULT;
		else if (r > (long)(q->buf_len - head)) // MSG_TRUNC: the whole length was told
			r = (long)(q->buf_len - head);
	}
	if (r > 0 || (r == 0 && s->type != SOCK_STREAM))
		r += (long)head;
	return recv_result(q, s, r, 0);
}

int op_recvmsg_issue(struct ureq *q)
{
	struct msg_in *m = q->data;
	struct sock *s;
	int e, r;

	s = req_sock(q, &e);
	if (!s)
		return e;
	if (poll_first(q))
		return wait_for(q, IN);
	while (q->sqe.ioprio & IORING_RECV_MULTISHOT) {
		r = recvmsg_multi(q, s);
		if (r <= 0 || !uring_post_more(q, r, q->cflags))
			return r;
		q->done = 0;
		q->cflags = 0;
		q->tries = 0;
	}
	if (q->sqe.flags & IOSQE_BUFFER_SELECT) {
		e = take_buffer(q, (u32)m->it.left);
		if (e)
			return e;
		m->it = q->it;
	}
	e = (int)msg_in_recv(q->file, s, U(q->sqe.addr), m, (int)q->sqe.msg_flags | MSG_DONTWAIT);
	return recv_result(q, s, e, m->it.left);
}

// --- accept, connect, shutdown, socket

int op_accept_prep(struct ureq *q)
{
	u32 f = q->sqe.accept_flags;

	if (q->sqe.len || q->sqe.buf_index || (q->sqe.ioprio & ~IORING_ACCEPT_MULTISHOT) || (f & ~(u32)(SOCK_CLOEXEC | SOCK_NONBLOCK)))
		return -EINVAL;
	if (q->sqe.file_index && ((f & SOCK_CLOEXEC) || ((q->sqe.ioprio & IORING_ACCEPT_MULTISHOT) && q->sqe.file_index != SLOT_ALLOC)))
		return -EINVAL;
	return 0;
}

static int accept_once(struct ureq *q, struct sock *s)
{
	struct file *f = accept_file(s, MSG_DONTWAIT, (int)q->sqe.accept_flags, U(q->sqe.addr), U(q->sqe.addr2));
	int r;

	if (IS_ERR(f)) {
		r = (int)PTR_ERR(f);
		return blocked(r) ? wait_for(q, IN) : r;
	}
	if (q->sqe.file_index)
		return fixed_install(q->ring, f, q->sqe.file_index);
	r = fd_alloc(f, 0, q->sqe.accept_flags & SOCK_CLOEXEC);
	if (r < 0)
		file_put(f);
	return r;
}

int op_accept_issue(struct ureq *q)
{
	struct sock *s;
	int e, r;

	s = req_sock(q, &e);
	if (!s)
		return e;
	for (;;) {
		r = accept_once(q, s);
		if (r < 0 || !(q->sqe.ioprio & IORING_ACCEPT_MULTISHOT) || !uring_post_more(q, r, 0))
			return r;
		q->tries = 0;
	}
}

int op_connect_prep(struct ureq *q)
{
	u64 len = q->sqe.addr2;
	struct msg_out *m;

	if (q->sqe.len || q->sqe.buf_index || q->sqe.rw_flags || q->sqe.splice_fd_in)
		return -EINVAL;
	if (len > ADDR_MAX)
		return -EINVAL;
	m = q->data = knew(struct msg_out);
	if (!m)
		return -ENOMEM;
	m->alen = (u32)len;
	return addr_in(m->addr, U(q->sqe.addr), (int)len);
}

static int try_connect(struct ureq *q, bool again)
{
	struct msg_out *m = q->data;
	struct sock *s;
	int e;

	s = req_sock(q, &e);
	if (!s)
		return e;
	if (again) {
		e = sock_take_err(s);
		if (e)
			return e;
	}
	if (m->alen < sizeof(u16))
		return -EINVAL;
	e = s->ops->connect ? s->ops->connect(s, m->addr, m->alen, MSG_DONTWAIT) : -EOPNOTSUPP;
	if (again && e == -EISCONN)
		return 0;
	if (e == -EAGAIN && s->family == AF_UNIX) // no room in the listener's queue: nothing of ours tells
		return U_RETRY;
	return e == -EINPROGRESS || (again && e == -EALREADY) ? wait_for(q, OUT) : e;
}

int op_connect_issue(struct ureq *q) { return try_connect(q, false); }

int op_connect_wake(struct ureq *q)
{
	ureq_disarm(q);
	return try_connect(q, true);
}

int op_shutdown_prep(struct ureq *q)
{
	return q->sqe.off || q->sqe.addr || q->sqe.rw_flags || q->sqe.buf_index || q->sqe.splice_fd_in ? -EINVAL : 0;
}

int op_shutdown_issue(struct ureq *q) { return (int)sys_shutdown((int)IO_FD, (int)q->sqe.len); }

int op_socket_prep(struct ureq *q)
{
	u32 flags = (u32)q->sqe.off & ~0xfu;

	if (q->sqe.addr || q->sqe.rw_flags || q->sqe.buf_index)
		return -EINVAL;
	if ((q->sqe.file_index && (flags & SOCK_CLOEXEC)) || (flags & ~(u32)(SOCK_CLOEXEC | SOCK_NONBLOCK)))
		return -EINVAL;
	return 0;
}

int op_socket_issue(struct ureq *q)
{
	struct file *f = socket_file(q->sqe.fd, (int)q->sqe.off, (int)q->sqe.len);
	int r;

	if (IS_ERR(f))
		return (int)PTR_ERR(f);
	if (q->sqe.file_index)
		return fixed_install(q->ring, f, q->sqe.file_index);
	r = fd_alloc(f, 0, (u32)q->sqe.off & SOCK_CLOEXEC);
	if (r < 0)
		file_put(f);
	return r;
}
