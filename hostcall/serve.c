// SPDX-License-Identifier: Apache-2.0
// The host's side of a hostcall: performs one request. Compiled into the launcher (ring mode) and, on platform/process only, into
// the kernel image, where the calling thread answers itself for speed. The request has been copied
// into `d`; buffers are offsets into `pool`.
#include "hostcall/serve.h"
#include "platform/process/sys.h"

#ifndef COFFER_KERNEL
#include <errno.h>
#endif

#define EFD_EV 0x80002005u // EPOLLET | EPOLLRDHUP | EPOLLOUT | EPOLLIN

static bool in_pool(u64 off, u64 len) { return off <= HC_POOL_SIZE && len <= HC_POOL_SIZE - off; }

enum { EPOLL_ADD = 1, EPOLL_DEL, EPOLL_MOD };
struct event {
	u32 ev;
	u64 data;
} __attribute__((packed));

// The epoll of a set, made if there is none. Two threads never make the same one.
static s64 pollset(struct control *c, u64 set)
{
	// Each write to it is an event of its own: nobody has to read it.
	struct event wake = { 0x80000001u /* EPOLLET | EPOLLIN */, HC_EVENT_WAKE }, all = { 1, HC_EVENT_ALL };
	s64 ep, ev, r;

	if (set >= HC_SETS)
		return -EINVAL;
	if (c->epoll_fd[set])
		return c->epoll_fd[set];
	ep = S1(__NR_epoll_create1, 0x80000 /* EPOLL_CLOEXEC */);
	if (ep < 0)
		return ep;
	ev = S2(__NR_eventfd2, 0, 0x80800 /* EFD_CLOEXEC | EFD_NONBLOCK */);
	r = ev < 0 ? ev : S4(__NR_epoll_ctl, ep, EPOLL_ADD, ev, &wake);
	if (r >= 0)
		r = S4(__NR_epoll_ctl, ep, EPOLL_ADD, c->epoll_fd[0], &all);
	if (r < 0) {
		if (ev >= 0)
			S1(__NR_close, ev);
		S1(__NR_close, ep);
		return r;
	}
	c->wake_fd[set] = ev;
	c->epoll_fd[set] = ep;
	return ep;
}

static s64 vol_fd(const struct control *c, u64 vol)
{
	if ((s64)vol == -1)
		return c->image_fd;
	return vol < c->nvol ? c->vol_fd[vol] : -1;
}

// Whole transfer, or the first error; a short read (end of file) is -EIO.
static s64 block_io(bool write, s64 fd, u8 *p, u64 len, u64 off)
{
	while (len) {
		long r = write ? S4(__NR_pwrite64, fd, p, len, off) : S4(__NR_pread64, fd, p, len, off);
		if (r == -EINTR)
			continue;
		if (r < 0)
			return r;
		if (r == 0)
			return -EIO;
		p += r;
		off += (u64)r;
		len -= (u64)r;
	}
	return 0;
}

static bool is_console(const struct control *c, s64 fd) { return fd <= 2 || fd == c->message_fd; }

// The program's last words, for the launcher to look at when it has failed: standard error, and a terminal, which both streams may be.
static void keep_said(struct control *c, s64 fd, const u8 *p, u64 n)
{
	u64 at, part;

	if (fd > 2 || (fd < 2 && !c->console_tty[fd]))
		return;
	at = __atomic_fetch_add(&c->said_bytes, (u32)n, __ATOMIC_RELAXED);
	if (n > CTL_SAID) {
		at += n - CTL_SAID;
		p += n - CTL_SAID;
		n = CTL_SAID;
	}
	at %= CTL_SAID;
	part = n < CTL_SAID - at ? n : CTL_SAID - at;
	__builtin_memcpy(c->said + at, p, part);
	__builtin_memcpy(c->said, p + part, n - part);
}

// These streams belong to whoever started us and stay in blocking mode, so ask first. 1 ready, -EAGAIN, -errno.
static long console_ready(const struct control *c, s64 fd, u16 ev)
{
	struct {
		s32 fd;
		u16 ev, rev;
	} pf = { (s32)fd, ev, 0 };
	long r;

	if (!is_console(c, fd))
		return 1;
	r = S3(__NR_poll, &pf, 1, 0);
	return r < 0 ? r : r == 0 ? -EAGAIN : 1;
}

void hc_serve(struct control *c, struct hc_desc *d, u8 *pool)
{
	u64 *a = d->a;
	u8 *p = pool + a[1];
	s64 fd = (s64)a[0];

	d->ret = -EINVAL;
	switch (d->op) {
	case HC_READ:
		if (!in_pool(a[1], a[2]))
			break;
		d->ret = console_ready(c, fd, 1);
		if (d->ret > 0)
			d->ret = S3(__NR_read, fd, p, a[2]);
		break;
	case HC_WRITE:
		if (!in_pool(a[1], a[2]))
			break;
		d->ret = console_ready(c, fd, 4);
		// a ready pipe takes PIPE_BUF bytes without blocking, not more
		if (d->ret > 0)
			d->ret = S3(__NR_write, fd, p, is_console(c, fd) && a[2] > 4096 ? 4096 : a[2]);
		if (d->ret > 0 && (u64)d->ret <= a[2] && is_console(c, fd)) // the caller refuses more
			keep_said(c, fd, p, (u64)d->ret);
		break;
	case HC_CONSOLE_INFO: {
		struct hc_console_info *i = (struct hc_console_info *)p;
		u16 ws[4] = { 24, 80, 0, 0 };
		if (!in_pool(a[1], sizeof(*i)))
			break;
		for (int n = 0; n < 3; n++) {
			u8 st[256];
			i->open[n] = S2(__NR_fstat, n, st) == 0;
			i->tty[n] = (u8)c->console_tty[n];
			if (i->tty[n])
				S3(__NR_ioctl, n, 0x5413 /* TIOCGWINSZ */, ws);
		}
		i->rows = ws[0];
		i->cols = ws[1];
		d->ret = 0;
		break;
	}
	case HC_CONSOLE_RAW: {
		static u8 saved[64], have; // struct termios of the kernel ABI: 4 flags, line, 19 control characters
		u8 t[64];
		u32 fl[4];
		s64 tfd = c->console_tty[0] ? 0 : 1;
		d->ret = S3(__NR_ioctl, tfd, 0x5401 /* TCGETS */, t);
		if (d->ret < 0)
			break;
		if (!have) {
			__builtin_memcpy(saved, t, sizeof(saved));
			have = 1;
		}
		if (!a[0]) {
			d->ret = S3(__NR_ioctl, tfd, 0x5402 /* TCSETS */, saved);
			break;
		}
		__builtin_memcpy(fl, t, 16);
		fl[0] &= ~0x5ebu;	// input: no BRKINT ICRNL IGNBRK IGNCR INLCR INPCK ISTRIP IXON
		fl[1] &= ~1u;		// no OPOST
		fl[3] &= ~0x804bu;	// no ISIG ICANON ECHO ECHONL IEXTEN
		__builtin_memcpy(t, fl, 16);
		t[17 + 6] = 1;		// VMIN
		t[17 + 5] = 0;		// VTIME
		d->ret = S3(__NR_ioctl, tfd, 0x5402, t);
		break;
	}
	case HC_BLOCK_READ:
	case HC_BLOCK_WRITE:
		if (in_pool(a[1], a[2]))
			d->ret = block_io(d->op == HC_BLOCK_WRITE, vol_fd(c, a[0]), p, a[2], a[3]);
		break;
	case HC_BLOCK_FLUSH:
		d->ret = S1(__NR_fdatasync, vol_fd(c, a[0]));
		break;
	case HC_BLOCK_SIZE:
		d->ret = S3(__NR_lseek, vol_fd(c, a[0]), 0, 2);
		break;
	case HC_BLOCK_RESIZE:
		d->ret = S2(__NR_ftruncate, vol_fd(c, a[0]), a[3]);
		break;
	case HC_BLOCK_PUNCH:
		d->ret = S4(__NR_fallocate, vol_fd(c, a[0]), 3 /* PUNCH_HOLE | KEEP_SIZE */, a[3], a[2]);
		break;
	case HC_BLOCK_OUT:
		d->ret = S4(__NR_sync_file_range, vol_fd(c, a[0]), a[3], a[2], 2 /* WRITE */);
		break;
	case HC_SOCKET:
		d->ret = S3(__NR_socket, a[0], (u32)a[1] | 04000 | 02000000 /* NONBLOCK | CLOEXEC */, 0);
		break;
	case HC_BIND:
	case HC_CONNECT:
		if (in_pool(a[1], a[2]))
			d->ret = S3(d->op == HC_BIND ? __NR_bind : __NR_connect, fd, p, a[2]);
		break;
	case HC_LISTEN:
		d->ret = S2(__NR_listen, fd, a[1]);
		break;
	case HC_ACCEPT: {
		u32 len = 28;
		if (!in_pool(a[1], 28))
			break;
		d->ret = S4(__NR_accept4, fd, p, &len, 04000 | 02000000);
		a[2] = len;
		break;
	}
	case HC_SEND:
		if (in_pool(a[1], a[2]) && in_pool(a[4], a[5]))
			d->ret = S6(__NR_sendto, fd, p, a[2], a[3] | 0x4000 /* NOSIGNAL */, a[5] ? pool + a[4] : NULL, a[5]);
		break;
	case HC_RECV: {
		u32 len = 28;
		if (!in_pool(a[1], a[2]) || !in_pool(a[4], 28))
			break;
		d->ret = S6(__NR_recvfrom, fd, p, a[2], a[3], a[4] ? pool + a[4] : NULL, a[4] ? &len : NULL);
		a[5] = len;
		break;
	}
	case HC_SHUTDOWN:
		d->ret = S2(__NR_shutdown, fd, a[1]);
		break;
	case HC_GETSOCKOPT: {
		u32 len = (u32)a[2];
		if (!in_pool(a[1], len))
			break;
		d->ret = S5(__NR_getsockopt, fd, a[3], a[4], p, &len);
		a[2] = len;
		break;
	}
	case HC_SETSOCKOPT:
		if (in_pool(a[1], a[2]))
			d->ret = S5(__NR_setsockopt, fd, a[3], a[4], p, a[2]);
		break;
	case HC_GETNAME: {
		u32 len = 28;
		if (!in_pool(a[1], 28))
			break;
		d->ret = S3(a[3] ? __NR_getpeername : __NR_getsockname, fd, p, &len);
		a[2] = len;
		break;
	}
	case HC_CLOSE:
		d->ret = S1(__NR_close, fd);
		break;
	case HC_WATCH: {
		struct event e = { EFD_EV, a[1] };
		s64 set = pollset(c, a[2]);
		d->ret = set < 0 ? set : S4(__NR_epoll_ctl, set, EPOLL_ADD, fd, &e);
		if (d->ret == -EEXIST)
			d->ret = S4(__NR_epoll_ctl, set, EPOLL_MOD, fd, &e);
		break;
	}
	case HC_UNWATCH:
		if (a[2] < HC_SETS)
			d->ret = S4(__NR_epoll_ctl, c->epoll_fd[a[2]], EPOLL_DEL, fd, 0);
		break;
	case HC_POLL: {
		struct {
			s32 fd;
			u16 ev, rev;
		} pf = { (s32)fd, 0x2005, 0 };
		d->ret = S3(__NR_poll, &pf, 1, 0);
		if (d->ret >= 0)
			d->ret = pf.rev;
		break;
	}
	case HC_CACHE_PUT:
		if (in_pool(a[1], a[2]))
			d->ret = block_io(true, c->cache_fd, p, a[2], a[3]);
		break;
	case HC_CACHE_DROP:
		d->ret = S4(__NR_fallocate, c->cache_fd, 3 /* PUNCH_HOLE | KEEP_SIZE */, a[3], a[2]);
		break;
	case HC_CACHE_SEND: // a connection that is gone means SIGPIPE here, which all threads that come here have blocked
		d->ret = S4(__NR_sendfile, fd, c->cache_fd, &a[3], a[2]);
		break;
	default:
		d->ret = -ENOSYS;
	}
}
