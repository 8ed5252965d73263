// SPDX-License-Identifier: Apache-2.0
// Sockets as files, and the calls that make, name and connect them. Messages: msg.c. Options: sockopt.c.
// Locks: none of its own; the families' operations take theirs.
#include "kernel/fs/fs.h"
#include "kernel/net/families.h"
#include "kernel/net/netns.h"
#include "kernel/include/count.h"
#include "kernel/include/log.h"
#include <asm/ioctls.h>
#include <linux/magic.h>
#include <linux/sockios.h>

static struct super *sock_sb;
static const struct super_ops sock_super_ops;

void sock_init(struct sock *s, const struct sock_ops *ops, u16 family, u16 type, u16 protocol)
{
	COUNT(sockets, 1);
	s->ops = ops;
	ref_init(&s->ref, 1);
	s->family = family;
	s->type = type;
	s->protocol = protocol;
	list_init(&s->marks);
	list_init(&s->pkts);
	list_init(&s->accept_q);
	list_init(&s->accept_link);
	list_init(&s->gc_link);
	waitq_init(&s->rq);
	waitq_init(&s->wq);
	waitq_init(&s->pollq);
	s->rx_cap = RING_CAP_DEFAULT;
	s->sndbuf = s->rcvbuf = SOCK_BUF_DEFAULT;
	s->rcvlowat = 1;
	s->net = net_ns_now();
}

void sock_put(struct sock *s)
{
	if (ref_put(&s->ref)) {
		packet_drop_all(s);
		stream_drop_rx(s);
		COUNT(sockets, -1);
		net_ns_put(s->net);
		s->ops->free(s);
	}
}

// --- the file

static ssize_t sock_read(struct file *f, struct iter *it, u64 *pos)
{
	struct sock *s = f->priv;
	struct sock_msg m = { .it = it, .addr = NULL, .scm = NULL };
	(void)pos;
	if (!it->left && s->type == SOCK_STREAM)
		return 0;
	ssize_t r = sock_recv(s, &m, f->flags & O_NONBLOCK ? MSG_DONTWAIT : 0);
	if (unlikely(m.scm))
		scm_free(m.scm);
	return r;
}

static ssize_t sock_write(struct file *f, struct iter *it, u64 *pos)
{
	struct sock_msg m = { .it = it, .addr = NULL, .scm = NULL, .hops = -1, .tclass = -1 };
	(void)pos;
	return sock_send(f->priv, &m, f->flags & O_NONBLOCK ? MSG_DONTWAIT : 0);
}

static u32 sock_poll(struct file *f, struct poll_table *pt)
{
	struct sock *s = f->priv;
	return s->ops->poll(s, pt);
}

static long sock_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct sock *s = f->priv;
	long r = s->ops->ioctl ? s->ops->ioctl(s, cmd, arg) : -ENOTTY;
	if (r != -ENOTTY)
		return r;
	return netdev_ioctl(s->net, cmd, arg);
}

static void sock_release(struct file *f)
{
	struct sock *s = f->priv;
	s->ops->release(s);
	sock_put(s);
}

static const struct file_ops sock_fops = {
	.read = sock_read,
	.write = sock_write,
	.llseek = no_llseek,
	.ioctl = sock_ioctl,
	.poll = sock_poll,
	.release = sock_release,
	.stream = true,
};

struct sock *file_sock(struct file *f) { return f->ops == &sock_fops ? f->priv : NULL; }

int net_init(void)
{
	sock_sb = super_new("sockfs", &sock_super_ops, SOCKFS_MAGIC);
	if (IS_ERR_OR_NULL(sock_sb))
		return sock_sb ? (int)PTR_ERR(sock_sb) : -ENOMEM;
	sock_sb->next_ino = 10000; // netstat(8) passes over inode numbers of one digit
	super_stays(sock_sb);
	return proc_net_init();
}

// A file over s; takes over the reference on success.
static struct file *sock_file(struct sock *s, int flags)
{
	struct inode *ino = inode_new(sock_sb, S_IFSOCK | 0777);
	if (IS_ERR_OR_NULL(ino))
		return ERR_PTR(ino ? PTR_ERR(ino) : -ENOMEM);
	ino->iops = &plain_iops;
	u32 oflags = O_RDWR | (flags & SOCK_NONBLOCK ? O_NONBLOCK : 0);
	struct file *f = file_alloc(&sock_fops, ino, oflags, s);
	inode_put(ino);
	if (!f)
		return ERR_PTR(-ENOMEM);
	if (!IS_ERR(f)) {
		s->ino = f->inode->ino;
		s->uid = f->inode->uid;
	}
	return f;
}

static struct file *get_sock(int fd, struct sock **s)
{
	struct file *f = fd_get(fd);
	if (!f)
		return ERR_PTR(-EBADF);
	if (!(*s = file_sock(f))) {
		file_put(f);
		return ERR_PTR(-ENOTSOCK);
	}
	return f;
}

struct file *sock_from_fd(int fd, struct sock **s) { return get_sock(fd, s); }

// --- addresses

int addr_in(u8 *dst, const void __user *p, int len)
{
	if (len < 0 || len > (int)ADDR_MAX)
		return -EINVAL;
	return len ? copy_from_user(dst, p, (size_t)len) : 0;
}

int addr_out(void __user *p, int __user *ulen, const u8 *addr, u32 len)
{
	int room;
	if (get_user(room, ulen))
		return -EFAULT;
	if (room < 0)
		return -EINVAL;
	if (copy_to_user(p, addr, min((u32)room, len)))
		return -EFAULT;
	return put_user((int)len, ulen);
}

// --- calls

static struct sock *sock_create(int family, int type, int protocol, int *err)
{
	struct sock *s = NULL;
	*err = -EAFNOSUPPORT;
	if (type < 0 || type > SOCK_PACKET) {
		*err = -EINVAL;
		return NULL;
	}
	switch (family) {
	case AF_UNIX: s = unix_create(type, protocol, err); break;
	case AF_INET:
	case AF_INET6: s = inet_create(family, type, protocol, err); break;
	case AF_NETLINK: s = netlink_create(type, protocol, err); break;
	}
	return s;
}

#define TYPE_MASK 0xf

struct file *socket_file(int family, int type, int protocol)
{
	int err, flags = type & ~TYPE_MASK;
	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return ERR_PTR(-EINVAL);
	struct sock *s = sock_create(family, type & TYPE_MASK, protocol, &err);
	if (!s)
		return ERR_PTR(err);
	struct file *f = sock_file(s, flags);
	if (IS_ERR(f)) {
		s->ops->release(s);
		sock_put(s);
	}
	return f;
}

long sys_socket(int family, int type, int protocol)
{
	struct file *f = socket_file(family, type, protocol);
	if (IS_ERR(f))
		return PTR_ERR(f);
	int fd = fd_alloc(f, 0, type & SOCK_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}

long sys_socketpair(int family, int type, int protocol, int __user *ufd)
{
	int err, fd[2] = { -1, -1 }, flags = type & ~TYPE_MASK;
	struct sock *s[2] = { NULL, NULL };
	struct file *f[2] = { NULL, NULL };

	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	for (int i = 0; i < 2; i++)
		if (!(s[i] = sock_create(family, type & TYPE_MASK, protocol, &err)))
			goto out;
	err = family == AF_UNIX ? unix_pair(s[0], s[1]) : -EOPNOTSUPP;
	if (err)
		goto out;
	for (int i = 0; i < 2; i++) {
		f[i] = sock_file(s[i], flags);
		if (IS_ERR(f[i])) {
			err = (int)PTR_ERR(f[i]);
			f[i] = NULL;
			goto out;
		}
		s[i] = NULL;
	}
	for (int i = 0; i < 2; i++) {
		if ((fd[i] = fd_alloc(f[i], 0, flags & SOCK_CLOEXEC)) < 0) {
			err = fd[i];
			goto out;
		}
		f[i] = NULL;
	}
	if (copy_to_user(ufd, fd, sizeof(fd))) {
		err = -EFAULT;
		goto out;
	}
	return 0;
out:
	for (int i = 0; i < 2; i++) {
		if (fd[i] >= 0)
			fd_close(fd[i]);
		if (f[i])
			file_put(f[i]);
		if (s[i]) {
			s[i]->ops->release(s[i]);
			sock_put(s[i]);
		}
	}
	return err;
}

long sys_bind(int fd, const void __user *addr, int len)
{
	u8 a[ADDR_MAX];
	struct sock *s;
	struct file *f = get_sock(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	int r = addr_in(a, addr, len);
	if (!r)
		r = s->ops->bind ? s->ops->bind(s, a, (u32)len) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

long sys_listen(int fd, int backlog)
{
	struct sock *s;
	struct file *f = get_sock(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	if ((u32)backlog > 4096) // net.core.somaxconn
		backlog = 4096;
	int r = s->ops->listen ? s->ops->listen(s, backlog) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

struct file *accept_file(struct sock *s, int mflags, int flags, void __user *addr, int __user *len)
{
	struct sock *child = NULL;
	int r = s->ops->accept ? s->ops->accept(s, &child, mflags) : -EOPNOTSUPP;
	if (r)
		return ERR_PTR(r);
	struct file *cf = sock_file(child, flags);
	if (IS_ERR(cf)) {
		child->ops->release(child);
		sock_put(child);
		return cf;
	}
	if (addr) {
		u8 a[ADDR_MAX];
		int alen = child->ops->getname(child, true, a);
		r = alen < 0 ? -ECONNABORTED : addr_out(addr, len, a, (u32)alen);
		if (r) {
			file_put(cf);
			return ERR_PTR(r);
		}
	}
	return cf;
}

long sys_accept4(int fd, void __user *addr, int __user *len, int flags)
{
	struct sock *s;
	long r;
	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	struct file *f = get_sock(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	struct file *cf = accept_file(s, f->flags & O_NONBLOCK ? MSG_DONTWAIT : 0, flags, addr, len);
	r = PTR_ERR(cf);
	if (!IS_ERR(cf)) {
		r = fd_alloc(cf, 0, flags & SOCK_CLOEXEC);
		if (r < 0)
			file_put(cf);
	}
	file_put(f);
	return r;
}

long sys_accept(int fd, void __user *addr, int __user *len) { return sys_accept4(fd, addr, len, 0); }

long sys_connect(int fd, const void __user *addr, int len)
{
	u8 a[ADDR_MAX];
	struct sock *s;
	struct file *f = get_sock(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	int r = addr_in(a, addr, len);
	if (!r && (u32)len < sizeof(u16))
		r = -EINVAL;
	if (!r)
		r = s->ops->connect ? s->ops->connect(s, a, (u32)len, f->flags & O_NONBLOCK ? MSG_DONTWAIT : 0) : -EOPNOTSUPP;
	if (!r && !memcmp(a, "\0\0", 2)) // AF_UNSPEC
		inet_disconnected(s, f, fd);
	file_put(f);
	return r;
}

long sys_shutdown(int fd, int how)
{
	struct sock *s;
	struct file *f = get_sock(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	int r = -EINVAL;
	if (how >= 0 && how <= 2)
		r = s->ops->shutdown ? s->ops->shutdown(s, (u32)how + 1) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

static long get_name(int fd, bool peer, void __user *addr, int __user *len)
{
	u8 a[ADDR_MAX];
	struct sock *s;
	struct file *f = get_sock(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	int r = s->ops->getname(s, peer, a);
	if (r >= 0)
		r = addr_out(addr, len, a, (u32)r);
	file_put(f);
	return r;
}

long sys_getsockname(int fd, void __user *addr, int __user *len) { return get_name(fd, false, addr, len); }
long sys_getpeername(int fd, void __user *addr, int __user *len) { return get_name(fd, true, addr, len); }

#define OPT_MAX 1024

long sys_setsockopt(int fd, int level, int opt, const void __user *val, int len)
{
	u8 buf[OPT_MAX];
	struct sock *s;
	if (len < 0 || len > OPT_MAX)
		return -EINVAL;
	struct file *f = get_sock(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	int r = copy_from_user(buf, val, (size_t)len);
	if (!r && level == SOL_SOCKET) {
		r = sock_setopt(s, opt, buf, (u32)len);
		if (!r && s->ops->changed)
			s->ops->changed(s, opt);
	} else if (!r) {
		r = s->ops->setopt ? s->ops->setopt(s, level, opt, buf, (u32)len) : -EOPNOTSUPP;
	}
	file_put(f);
	return r;
}

long sys_getsockopt(int fd, int level, int opt, void __user *val, int __user *ulen)
{
	u8 buf[OPT_MAX];
	struct sock *s;
	int len;
	if (get_user(len, ulen))
		return -EFAULT;
	if (len < 0)
		return -EINVAL;
	struct file *f = get_sock(fd, &s);
	if (IS_ERR(f))
		return PTR_ERR(f);
	u32 n = min((u32)len, (u32)OPT_MAX);
	int r = -ENOPROTOOPT;
	if (s->ops->getopt)
		r = s->ops->getopt(s, level, opt, buf, &n);
	if (r == -ENOPROTOOPT && level == SOL_SOCKET)
		r = sock_getopt(s, opt, buf, &n);
	if (!r && (copy_to_user(val, buf, n) || put_user((int)n, ulen)))
		r = -EFAULT;
	file_put(f);
	return r;
}
