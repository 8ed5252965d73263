// SPDX-License-Identifier: Apache-2.0
// Terminals as files: read, write, poll and ioctl of the console and of pty slaves, and /dev/tty. Job control and
// controlling terminals are in tty_job.c, the line discipline in ldisc.c.
// Locks: see tty.h.
#include "kernel/fs/tty.h"
#include "kernel/fs/tty_job.h"
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include <linux/tty.h>

#define READ_EVENTS  (EPOLLIN | EPOLLRDNORM)
#define WRITE_EVENTS (EPOLLOUT | EPOLLWRNORM)
#define CHUNK	     512

struct tty *tty_new(const struct tty_driver *drv, u32 dev)
{
	struct tty *t = knew(struct tty);
	pfn_t pfn;

	if (!t)
		return NULL;
	pfn = page_alloc(TTY_OUT >> PAGE_SHIFT, false);
	if (pfn == PFN_NONE) {
		kfree(t);
		return NULL;
	}
	COUNT(ttys, 1);
	t->out = page_addr(pfn);
	ref_init(&t->ref, 1);
	t->drv = drv;
	t->dev = dev;
	waitq_init(&t->q);
	ldisc_init(t);
	return t;
}

void tty_put(struct tty *t)
{
	if (!t || !ref_put(&t->ref))
		return;
	t->drv->free(t);
	page_free(page_of(t->out), TTY_OUT >> PAGE_SHIFT);
	COUNT(ttys, -1);
	kfree(t);
}

static bool hung_up(struct file *f, struct tty *t)
{
	return f->pos != __atomic_load_n(&t->generation, __ATOMIC_ACQUIRE);
}

void tty_unlock(struct tty *t, u32 events)
{
	u32 signals = t->pending_signals;
	bool flush = t->pending_flush;
	int pgrp = t->pgrp;

	t->pending_signals = 0;
	t->pending_flush = false;
	mutex_unlock(&t->lock);
	if (unlikely(signals) && !pgrp && t->drv->keeps_files)
		pgrp = tty_boot_pgrp(); // the console before anyone made it his: Ctrl-C must not be lost
	for (int sig = 1; signals && sig < 32; sig++)
		if (signals & SIGBIT(sig)) {
			signals &= ~SIGBIT(sig);
			tty_signal_pgrp(pgrp, sig);
		}
	if (flush)
		t->drv->flush(t);
	if (events && !list_empty(&t->q.waiters))
		waitq_wake(&t->q, events);
}

int tty_sleep(struct tty *t, u32 events, u64 deadline)
{
	struct waiter w;
	u32 seq = task_seq();
	int r;

	waiter_init(&w);
	w.events = events | EPOLLHUP;
	waitq_add(&t->q, &w);
	tty_unlock(t, 0);
	r = task_sleep(seq, deadline);
	waitq_del(&t->q, &w);
	mutex_lock(&t->lock);
	return r == -EINTR ? -ERESTARTSYS : r;
}

u32 tty_room(struct tty *t)
{
	u32 used = t->head - t->tail;

	// A canonical line that is too long is cut, not waited for: the reader could not empty the buffer.
	if ((t->t.c_lflag & ICANON) && t->canon_head == t->tail)
		return TTY_IN;
	return used < TTY_IN - 2 ? TTY_IN - 2 - used : 0;
}

void tty_receive(struct tty *t, const u8 *buf, u32 n)
{
	mutex_lock(&t->lock);
	for (u32 i = 0; i < n; i++)
		ldisc_input(t, buf[i]);
	tty_unlock(t, READ_EVENTS | WRITE_EVENTS); // XON may have let writers go
}

static ssize_t tty_read(struct file *f, struct iter *it, u64 *pos)
{
	struct tty *t = f->priv;
	u64 deadline = NO_DEADLINE, gap = 0;
	u32 vmin, vtime;
	ssize_t done = 0;
	int r;

	(void)pos;
	if (hung_up(f, t))
		return 0;
	r = tty_job_check(t, SIGTTIN);
	if (r)
		return r;
	if (!it->left)
		return 0;
	mutex_lock(&t->lock);
	vmin = vtime = 0;
	if (!(t->t.c_lflag & ICANON)) {
		vmin = t->t.c_cc[VMIN];
		vtime = t->t.c_cc[VTIME];
		gap = vtime * 100000000ul;
		if (!vmin)
			deadline = vtime ? ktime_deadline(gap) : 0;
	}
	for (;;) {
		if (ldisc_readable(t, false)) {
			bool canon = t->t.c_lflag & ICANON, eof, fault;
			u32 got = ldisc_copy(t, it, &eof, &fault);

			done += got;
			if (fault) {
				tty_unlock(t, 0);
				r = iter_fault_in(it, true) ? -EFAULT : 0;
				mutex_lock(&t->lock);
				if (r)
					break;
				continue;
			}
			if (canon || eof || !it->left || done >= vmin)
				break;
			if (vtime)
				deadline = ktime_deadline(gap);
			continue;
		}
		r = t->other_closed ? -EIO : 0;
		if (r || hung_up(f, t) || !deadline)
			break;
		r = f->flags & O_NONBLOCK ? -EAGAIN : tty_sleep(t, READ_EVENTS, deadline);
		if (r) {
			r = r == -ETIMEDOUT ? 0 : r;
			break;
		}
	}
	tty_unlock(t, 0);
	if (done)
		t->drv->unthrottle(t);
	return done ? done : r;
}

static ssize_t tty_write(struct file *f, struct iter *it, u64 *pos)
{
	struct tty *t = f->priv;
	ssize_t done = 0;
	__uninit u8 buf[CHUNK];
	int r = 0;

	(void)pos;
	if (hung_up(f, t))
		return -EIO;
	if (t->t.c_lflag & TOSTOP) {
		r = tty_job_check(t, SIGTTOU);
		if (r)
			return r;
	}
	while (it->left && !r) {
		struct iter saved = *it;
		u32 n = iter_get(it, buf, min(it->left, sizeof(buf))), put;

		if (!n) {
			r = iter_fault_in(it, false) ? -EFAULT : 0;
			continue;
		}
		mutex_lock(&t->lock);
		put = 0;
		if (hung_up(f, t) || t->other_closed)
			r = -EIO;
		else
			put = ldisc_write(t, buf, n);
		done += put;
		if (!put && !r)
			r = f->flags & O_NONBLOCK ? -EAGAIN : tty_sleep(t, WRITE_EVENTS, NO_DEADLINE);
		tty_unlock(t, 0);
		if (put < n) {
			iter_revert(it, &saved);
			iter_advance(it, put);
		}
	}
	return done ? done : r;
}

static u32 tty_poll(struct file *f, struct poll_table *pt)
{
	struct tty *t = f->priv;
	u32 ev = 0;

	poll_wait(pt, &t->q);
	if (hung_up(f, t))
		return EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDNORM | EPOLLWRNORM;
	mutex_lock(&t->lock);
	if (ldisc_readable(t, true))
		ev |= READ_EVENTS;
	if (t->other_closed)
		ev |= EPOLLHUP;
	if (out_room(t) >= CHUNK && !t->stopped)
		ev |= WRITE_EVENTS;
	mutex_unlock(&t->lock);
	return ev;
}

// --- ioctl

// Waits until the device has taken all output.
static int tty_drain(struct tty *t)
{
	int r = 0;

	if (!t->drv->drains)
		return 0;
	mutex_lock(&t->lock);
	while (t->out_len && !r)
		r = tty_sleep(t, WRITE_EVENTS, NO_DEADLINE);
	tty_unlock(t, 0);
	return r;
}

static void flush_output(struct tty *t)
{
	t->out_head = (t->out_head + t->out_len) & (TTY_OUT - 1);
	t->out_len = 0;
}

// The size of the user's structure: struct termios is the front of struct termios2 (ktermios has its layout).
#define TERMIOS_SIZE  sizeof(struct termios)
#define TERMIOS2_SIZE sizeof(struct termios2)
#define TERMIO_SIZE   sizeof(struct termio)

static long get_termios(struct tty *t, void __user *arg, size_t size)
{
	struct ktermios k;

	mutex_lock(&t->lock);
	k = t->t;
	mutex_unlock(&t->lock);
	return copy_to_user(arg, &k, size);
}

// The structure of System V: the low halves of the flags and the first eight characters.
static long get_termio(struct tty *t, void __user *arg)
{
	struct ktermios k;
	struct termio io;

	mutex_lock(&t->lock);
	k = t->t;
	mutex_unlock(&t->lock);
	memset(&io, 0, sizeof(io));
	io.c_iflag = (u16)k.c_iflag;
	io.c_oflag = (u16)k.c_oflag;
	io.c_cflag = (u16)k.c_cflag;
	io.c_lflag = (u16)k.c_lflag;
	io.c_line = k.c_line;
	memcpy(io.c_cc, k.c_cc, NCC);
	return copy_to_user(arg, &io, sizeof(io));
}

static bool read_termio(struct ktermios *k, const void __user *arg)
{
	struct termio io;

	if (copy_from_user(&io, arg, sizeof(io)))
		return false;
	k->c_iflag = (k->c_iflag & ~0xffffu) | io.c_iflag;
	k->c_oflag = (k->c_oflag & ~0xffffu) | io.c_oflag;
	k->c_cflag = (k->c_cflag & ~0xffffu) | io.c_cflag;
	k->c_lflag = (k->c_lflag & ~0xffffu) | io.c_lflag;
	memcpy(k->c_cc, io.c_cc, NCC);
	return true;
}

static long set_termios(struct tty *t, const void __user *arg, size_t size, bool drain, bool flush)
{
	struct ktermios k, old;
	int r = tty_job_check(t, SIGTTOU);

	if (r)
		return r;
	k = t->t;
	if (size == TERMIO_SIZE ? !read_termio(&k, arg) : copy_from_user(&k, arg, size))
		return -EFAULT;
	if (drain) {
		r = tty_drain(t);
		if (r)
			return r;
	}
	mutex_lock(&t->lock);
	if (flush)
		ldisc_flush_input(t);
	old = t->t;
	t->t = k;
	t->t.c_cflag = (k.c_cflag & ~(CSIZE | PARENB)) | CS8 | CREAD;
	ldisc_termios_changed(t, &old);
	tty_unlock(t, READ_EVENTS | WRITE_EVENTS);
	return 0;
}

static long flush_queues(struct tty *t, u64 which)
{
	int r = tty_job_check(t, SIGTTOU);

	if (r)
		return r;
	if (which > TCIOFLUSH)
		return -EINVAL;
	mutex_lock(&t->lock);
	if (which != TCOFLUSH)
		ldisc_flush_input(t);
	if (which != TCIFLUSH)
		flush_output(t);
	tty_unlock(t, WRITE_EVENTS);
	if (which != TCOFLUSH)
		t->drv->unthrottle(t);
	return 0;
}

static long flow(struct tty *t, u64 what)
{
	int r = tty_job_check(t, SIGTTOU);

	if (r)
		return r;
	mutex_lock(&t->lock);
	switch (what) {
	case TCOOFF: t->stopped = true; break;
	case TCOON:
		t->stopped = false;
		t->pending_flush = true;
		break;
	case TCIOFF:
	case TCION: break; // would send STOP/START to a sender that has no need of them
	default: r = -EINVAL;
	}
	tty_unlock(t, WRITE_EVENTS);
	return r;
}

void tty_resized(struct tty *t, const struct winsize *ws)
{
	mutex_lock(&t->lock);
	if (memcmp(ws, &t->ws, sizeof(*ws))) {
		t->ws = *ws;
		t->pending_signals |= SIGBIT(SIGWINCH);
	}
	tty_unlock(t, 0);
}

long tty_modes_ioctl(struct tty *t, u32 cmd, u64 arg)
{
	struct winsize ws;

	switch (cmd) {
	case TCGETS: return get_termios(t, U(arg), TERMIOS_SIZE);
	case TCGETS2: return get_termios(t, U(arg), TERMIOS2_SIZE);
	case TCSETS:
	case TCSETSW:
	case TCSETSF: return set_termios(t, U(arg), TERMIOS_SIZE, cmd != TCSETS, cmd == TCSETSF);
	case TCGETA: return get_termio(t, U(arg));
	case TCSETA:
	case TCSETAW:
	case TCSETAF: return set_termios(t, U(arg), TERMIO_SIZE, cmd != TCSETA, cmd == TCSETAF);
	case TIOCGLCKTRMIOS: return clear_user(U(arg), TERMIOS_SIZE); // nothing is locked
	case TIOCSLCKTRMIOS: return -EPERM;
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2: return set_termios(t, U(arg), TERMIOS2_SIZE, cmd != TCSETS2, cmd == TCSETSF2);
	case TIOCGWINSZ:
		if (t->drv->winsize)
			t->drv->winsize(t);
		mutex_lock(&t->lock);
		ws = t->ws;
		mutex_unlock(&t->lock);
		return put_user(ws, U(arg));
	case TIOCSWINSZ:
		if (get_user(ws, U(arg)))
			return -EFAULT;
		tty_resized(t, &ws);
		return 0;
	case TCFLSH: return flush_queues(t, arg);
	case TCXONC: return flow(t, arg);
	}
	return -ENOTTY;
}

static long tty_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct tty *t = f->priv;
	long r;
	int n;

	if (hung_up(f, t))
		return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
	r = tty_modes_ioctl(t, cmd, arg);
	if (r != -ENOTTY)
		return r;
	r = tty_job_ioctl(t, cmd, arg, false);
	if (r != -ENOIOCTL)
		return r;
	switch (cmd) {
	case FIONREAD:
	case TIOCOUTQ:
		mutex_lock(&t->lock);
		n = cmd == FIONREAD ? ldisc_count(t) : t->drv->drains ? t->out_len : 0;
		mutex_unlock(&t->lock);
		return put_user(n, U(arg));
	case TCSBRK:
	case TCSBRKP: r = tty_job_check(t, SIGTTOU); return r ? r : tty_drain(t);
	case TIOCEXCL:
	case TIOCNXCL: t->exclusive = cmd == TIOCEXCL; return 0;
	case TIOCGEXCL: n = t->exclusive; return put_user(n, U(arg));
	case TIOCGETD: n = N_TTY; return put_user(n, U(arg));
	case TIOCSETD:
		if (get_user(n, U(arg)))
			return -EFAULT;
		return n == N_TTY ? 0 : -EINVAL;
	case TIOCGDEV: return put_user(t->dev, U(arg));
	case TIOCVHANGUP:
		if (!capable(21 /* CAP_SYS_ADMIN */))
			return -EPERM;
		tty_hangup(t, true);
		return 0;
	case TIOCSTI: // faking input: Linux refuses it too (dev.tty.legacy_tiocsti = 0)
		return -EIO;
	}
	return -ENOTTY;
}

int tty_open_file(struct tty *t, struct file *f)
{
	int r = 0;

	mutex_lock(&t->lock);
	if (t->other_closed)
		r = -EIO;
	else if (t->exclusive && t->opens && !capable(21 /* CAP_SYS_ADMIN */))
		r = -EBUSY;
	else
		t->opens++;
	mutex_unlock(&t->lock);
	if (r) {
		tty_put(t);
		return r;
	}
	f->priv = t;
	f->pos = t->generation;
	f->ops = &tty_fops;
	if (!(f->flags & O_NOCTTY))
		tty_try_ctty(t);
	return 0;
}

static void tty_release(struct file *f)
{
	struct tty *t = f->priv;
	bool last;

	if (!t)
		return;
	mutex_lock(&t->lock);
	last = --t->opens == 0;
	if (last)
		t->exclusive = false;
	mutex_unlock(&t->lock);
	if (last && t->drv->last_close)
		t->drv->last_close(t);
	tty_put(t);
}

const struct file_ops tty_fops = {
	.read = tty_read,
	.write = tty_write,
	.llseek = no_llseek,
	.poll = tty_poll,
	.ioctl = tty_ioctl,
	.release = tty_release,
	.stream = true,
};
