// SPDX-License-Identifier: Apache-2.0
// The calls that send and receive: sendto, recvfrom, sendmsg, recvmsg, sendmmsg, recvmmsg. Takes no locks.
#include "kernel/net/families.h"

#define CONTROL_MAX 20480u // net.core.optmem_max

struct mmsghdr_ {
	struct msghdr_ hdr;
	u32 len, pad;
};

ssize_t sock_send(struct sock *s, struct sock_msg *m, int flags)
{
	ssize_t r = s->ops->send ? s->ops->send(s, m, flags) : -EOPNOTSUPP;
	if (unlikely(m->scm)) { // not taken
		scm_free(m->scm);
		m->scm = NULL;
	}
	if (unlikely(r == -EPIPE && !(flags & MSG_NOSIGNAL) && s->type == SOCK_STREAM))
		signal_send_task(current, SIGPIPE, NULL);
	return r;
}

ssize_t sock_recv(struct sock *s, struct sock_msg *m, int flags)
{
	m->flags = 0;
	m->alen = 0;
	m->scm = NULL;
	m->stamp_ns = 0;
	m->has_dst = false;
	m->has_err = false;
	if (unlikely(flags & MSG_ERRQUEUE))
		return s->ops->errqueue ? s->ops->errqueue(s, m, flags) : -EAGAIN;
	return s->ops->recv ? s->ops->recv(s, m, flags) : -EOPNOTSUPP;
}

static inline int call_flags(struct file *f, int flags)
{
	return f->flags & O_NONBLOCK ? flags | MSG_DONTWAIT : flags;
}

long sys_sendto(int fd, const void __user *buf, size_t n, int flags, const void __user *addr, int alen)
{
	u8 a[ADDR_MAX];
	struct sock *s;
	struct iter it;
	struct iovec iov;
	struct sock_msg m = { .it = &it, .addr = a, .scm = NULL, .hops = -1, .tclass = -1 };
	long r = 0;

	if (n && !access_ok(buf, n))
		return -EFAULT;
	struct file *f = sock_from_fd(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	iter_user(&it, &iov, U(buf), min(n, (size_t)0x7ffff000));
	m.alen = 0;
	if (addr && !(r = addr_in(a, addr, alen)))
		m.alen = (u32)alen;
	if (!r)
		r = sock_send(s, &m, call_flags(f, flags));
	file_put(f);
	return r;
}

long sys_recvfrom(int fd, void __user *buf, size_t n, int flags, void __user *addr, int __user *alen)
{
	u8 a[ADDR_MAX];
	struct sock *s;
	struct iter it;
	struct iovec iov;
	struct sock_msg m = { .it = &it, .addr = addr ? a : NULL, .wants_scm = false };

	if (n && !access_ok(buf, n))
		return -EFAULT;
	struct file *f = sock_from_fd(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	iter_user(&it, &iov, buf, min(n, (size_t)0x7ffff000));
	long r = sock_recv(s, &m, call_flags(f, flags));
	if (m.scm)
		scm_free(m.scm);
	if (r >= 0 && addr) {
		int e = addr_out(addr, alen, a, m.alen);
		if (e)
			r = e;
	}
	file_put(f);
	return r;
}

// --- sendmsg

int msg_out_get(struct msg_out *m, const struct msghdr_ *h)
{
	int r = iter_iovec(&m->it, h->iov, h->niov, m->fast, MSG_FAST_IOV, &m->iov);
	m->ctl = NULL;
	m->ctllen = 0;
	m->alen = 0;
	if (r < 0) {
		m->iov = m->fast;
		return r;
	}
	if (h->name && h->namelen) {
		r = addr_in(m->addr, h->name, h->namelen);
		if (r)
			goto out;
		m->alen = (u32)h->namelen;
	}
	if (h->control && h->controllen) {
		r = -ENOBUFS;
		if (h->controllen > CONTROL_MAX || !(m->ctl = kmalloc(h->controllen)))
			goto out;
		m->ctllen = h->controllen;
		r = copy_from_user(m->ctl, h->control, h->controllen);
	}
out:
	if (r)
		msg_out_free(m);
	return r;
}

void msg_out_free(struct msg_out *m)
{
	kfree(m->ctl);
	m->ctl = NULL;
	iter_free(m->iov, m->fast);
	m->iov = m->fast;
}

// Sends what is left of m; may be called again after -EAGAIN.
ssize_t msg_out_send(struct file *f, struct sock *s, struct msg_out *m, int flags)
{
	struct sock_msg sm = { .it = &m->it, .addr = m->addr, .alen = m->alen, .scm = NULL, .hops = -1, .tclass = -1 };
	int r = 0;
	if (m->ctl)
		r = s->family == AF_UNIX ? scm_send(s, m->ctl, m->ctllen, &sm.scm) : inet_take_cmsg(&sm, m->ctl, m->ctllen);
	return r ? r : sock_send(s, &sm, call_flags(f, flags));
}

static long send_one(struct file *f, struct sock *s, const struct msghdr_ *h, int flags)
{
	__uninit struct msg_out m;
	long r = msg_out_get(&m, h);
	if (r < 0)
		return r;
	r = msg_out_send(f, s, &m, flags);
	msg_out_free(&m);
	return r;
}

long sys_sendmsg(int fd, const void __user *um, int flags)
{
	struct msghdr_ h;
	struct sock *s;
	if (copy_from_user(&h, um, sizeof(h)))
		return -EFAULT;
	struct file *f = sock_from_fd(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	long r = send_one(f, s, &h, flags);
	file_put(f);
	return r;
}

long sys_sendmmsg(int fd, void __user *uv, u32 n, int flags)
{
	struct mmsghdr_ __user *v = uv;
	struct mmsghdr_ h;
	struct sock *s;
	struct file *f = sock_from_fd(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	u32 i;
	long r = 0;
	for (i = 0; i < min(n, (u32)UIO_MAXIOV); i++) {
		if (copy_from_user(&h, &v[i], sizeof(h))) {
			r = -EFAULT;
			break;
		}
		r = send_one(f, s, &h.hdr, flags);
		if (r < 0)
			break;
		if (put_user((u32)r, &v[i].len)) {
			r = -EFAULT;
			break;
		}
	}
	file_put(f);
	return i ? i : r < 0 ? r : 0;
}

// --- recvmsg

int cmsg_put(struct cmsg_out *c, int level, int type, const void *data, size_t len)
{
	struct {
		u64 len;
		int level, type;
	} h = { sizeof(h) + len, level, type };
	if (c->left < sizeof(h)) {
		c->flags |= MSG_CTRUNC;
		return -ENOBUFS;
	}
	if (h.len > c->left) {
		c->flags |= MSG_CTRUNC;
		h.len = c->left;
		len = h.len - sizeof(h);
	}
	if (copy_to_user(c->at, &h, sizeof(h)) || copy_to_user(c->at + sizeof(h), data, len))
		return -EFAULT;
	size_t step = min(ALIGN_UP(h.len, sizeof(u64)), c->left);
	c->at += step;
	c->left -= step;
	c->used += step;
	return 0;
}

// New descriptors for the files that came: as many as there is room for; the rest are dropped (MSG_CTRUNC).
static int put_files(struct scm *scm, struct cmsg_out *c, bool cloexec)
{
	int fds[SCM_MAX_FD];
	u32 room = c->left < 16 + sizeof(int) ? 0 : (u32)((c->left - 16) / sizeof(int)), n = 0;
	while (n < min(room, scm->nfiles)) {
		file_get(scm->files[n]);
		fds[n] = fd_alloc(scm->files[n], 0, cloexec);
		if (fds[n] < 0) {
			file_put(scm->files[n]);
			break;
		}
		n++;
	}
	if (n < scm->nfiles)
		c->flags |= MSG_CTRUNC;
	return n ? cmsg_put(c, SOL_SOCKET, 1 /* SCM_RIGHTS */, fds, n * sizeof(int)) : 0;
}

static int put_control(struct sock *s, struct sock_msg *m, struct cmsg_out *c, int flags)
{
	int r = 0;
	if (m->stamp_ns && s->timestampns) {
		s64 ts[2] = { (s64)(m->stamp_ns / NSEC_PER_SEC), (s64)(m->stamp_ns % NSEC_PER_SEC) };
		r = cmsg_put(c, SOL_SOCKET, SO_TIMESTAMPNS_OLD, ts, sizeof(ts));
	} else if (m->stamp_ns && s->timestamp) {
		s64 tv[2] = { (s64)(m->stamp_ns / NSEC_PER_SEC), (s64)(m->stamp_ns % NSEC_PER_SEC / 1000) };
		r = cmsg_put(c, SOL_SOCKET, SO_TIMESTAMP_OLD, tv, sizeof(tv));
	}
	if (r == -EFAULT)
		return r;
	if (s->family == AF_INET || s->family == AF_INET6)
		inet_cmsg(s, m, c);
	if (s->passcred) {
		struct ucred_ who = { 0, 65534, 65534 };
		if (m->scm && m->scm->has_cred)
			who = (struct ucred_){ m->scm->cred.pid, uid_out(m->scm->cred.uid), gid_out(m->scm->cred.gid) };
		who.pid = (u32)pid_out((int)who.pid);
		r = cmsg_put(c, SOL_SOCKET, 2 /* SCM_CREDENTIALS */, &who, sizeof(who));
		if (r == -EFAULT)
			return r;
	}
	if (m->scm && m->scm->nfiles)
		r = put_files(m->scm, c, flags & MSG_CMSG_CLOEXEC);
	return r == -EFAULT ? r : 0;
}

int msg_in_get(struct msg_in *m, const struct msghdr_ __user *um)
{
	m->iov = m->fast;
	if (copy_from_user(&m->h, um, sizeof(m->h)))
		return -EFAULT;
	if (m->h.namelen < 0)
		return -EINVAL;
	int r = iter_iovec(&m->it, m->h.iov, m->h.niov, m->fast, MSG_FAST_IOV, &m->iov);
	if (r < 0)
		m->iov = m->fast;
	return r < 0 ? r : 0;
}

void msg_in_free(struct msg_in *m)
{
	iter_free(m->iov, m->fast);
	m->iov = m->fast;
}

// Receives into `it`, name and control data to where in->h says; their lengths and the flags come back.
ssize_t msg_recv_parts(struct file *f, struct sock *s, struct msg_in *in, struct iter *it, int flags, u32 *namelen, u32 *controllen, u32 *mflags)
{
	u8 a[ADDR_MAX];
	struct msghdr_ *h = &in->h;
	struct sock_msg m = { .it = it, .addr = h->name ? a : NULL, .wants_scm = h->control && h->controllen };
	struct cmsg_out c = { .at = h->control, .left = h->control ? h->controllen : 0 };
	long r = sock_recv(s, &m, call_flags(f, flags));
	if (r >= 0) {
		int e = put_control(s, &m, &c, flags);
		if (!e && h->name)
			e = copy_to_user(h->name, a, min((u32)h->namelen, m.alen));
		if (e)
			r = e;
		*namelen = m.alen;
		*controllen = (u32)c.used;
		*mflags = m.flags | c.flags | ((u32)flags & MSG_CMSG_CLOEXEC);
	}
	if (m.scm)
		scm_free(m.scm);
	return r;
}

// The same as recvmsg(2) tells it, in *um.
ssize_t msg_in_recv(struct file *f, struct sock *s, struct msghdr_ __user *um, struct msg_in *in, int flags)
{
	u32 namelen, controllen, mflags;
	long r = msg_recv_parts(f, s, in, &in->it, flags, &namelen, &controllen, &mflags);
	if (r < 0)
		return r;
	if ((in->h.name && put_user((int)namelen, &um->namelen)) || put_user((u64)controllen, &um->controllen) || put_user(mflags, &um->flags))
		return -EFAULT;
	return r;
}

static long recv_one(struct file *f, struct sock *s, struct msghdr_ __user *um, int flags)
{
	__uninit struct msg_in m;
	long r = msg_in_get(&m, um);
	if (!r)
		r = msg_in_recv(f, s, um, &m, flags);
	msg_in_free(&m);
	return r;
}

long sys_recvmsg(int fd, void __user *um, int flags)
{
	struct sock *s;
	struct file *f = sock_from_fd(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	long r = recv_one(f, s, um, flags);
	file_put(f);
	return r;
}

long sys_recvmmsg(int fd, void __user *uv, u32 n, int flags, const void __user *timeout)
{
	struct mmsghdr_ __user *v = uv;
	struct sock *s;
	u64 ns = 0, deadline = NO_DEADLINE;
	if (timeout) {
		int e = user_timespec(timeout, &ns);
		if (e)
			return e;
		deadline = ktime_deadline(ns);
	}
	struct file *f = sock_from_fd(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	u32 i;
	long r = 0;
	for (i = 0; i < min(n, (u32)UIO_MAXIOV); i++) {
		r = recv_one(f, s, &v[i].hdr, flags & ~MSG_WAITFORONE);
		if (r < 0)
			break;
		if (put_user((u32)r, &v[i].len)) {
			r = -EFAULT;
			break;
		}
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (timeout && ktime_mono() >= deadline) { // looked at after each message only, as man 2 says
			i++;
			break;
		}
	}
	if (i && r < 0 && r != -EAGAIN) // the error is told next time
		__atomic_store_n(&s->err, r == -ERESTARTSYS || r == -EINTR ? 0 : (int)-r, __ATOMIC_RELAXED);
	file_put(f);
	return i ? i : r < 0 ? r : 0;
}
