// SPDX-License-Identifier: Apache-2.0
// Signals about files: fcntl F_SETOWN, F_SETSIG and O_ASYNC on pipes, sockets and terminals, and SIGURG of sockets; the
// owner of a file for dnotify too. A file that needs it has one struct sigio, made on first use and kept to its end.
// The file's wakers call event() under their queue's lock, where no signal may be sent; the timer thread sends it.
// Locks: sigio->lock, taken outside the files' own locks; signals are sent without it.
#include "kernel/fs/sigio.h"
#include "kernel/fs/fs.h"
#include <asm/ioctls.h>
#include <linux/poll.h>

#define READ_EVENTS (EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR)
#define WRITE_EVENTS (EPOLLOUT | EPOLLWRNORM | EPOLLERR)

struct sigio_wait { // one registration in a queue of the file
	struct waiter w;
	struct waitq *q;
	struct sigio *io;
	struct sigio_wait *more;
};

struct sigio {
	struct mutex lock;
	struct file *file;
	struct sigio_target to;
	bool async, registered;
	u32 events; // not told yet
	struct sigio_wait *waits;
	struct ktimer timer;
};

static bool is_sock(const struct file *f) { return (f->inode->mode & S_IFMT) == S_IFSOCK; }

// The kinds of file that Linux sends signals about.
static bool able(const struct file *f)
{
	u32 fmt = f->inode->mode & S_IFMT;

	return fmt == S_IFIFO || fmt == S_IFSOCK || fmt == S_IFCHR;
}

static struct sigio *sigio_of(struct file *f)
{
	struct sigio *io = __atomic_load_n(&f->sigio, __ATOMIC_ACQUIRE), *n;

	if (io)
		return io;
	n = knew(struct sigio);
	if (!n)
		return NULL;
	n->file = f;
	if (__atomic_compare_exchange_n(&f->sigio, &io, n, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return n;
	kfree(n);
	return io;
}

void sigio_send(const struct sigio_target *to, int sig, int code, u32 band)
{
	siginfo_t info = {0};
	bool chosen = sig == SIGIO && to->sig;
	struct proc *p;
	struct task *t;

	if (!to->owner)
		return;
	if (chosen) {
		sig = info.si_signo = to->sig;
		info.si_code = code;
		info.si_band = band;
		info.si_fd = to->fd;
	}
	if (to->type == F_OWNER_PGRP) {
		signal_send_pgrp(to->owner, sig, chosen ? &info : NULL);
	} else if (to->type == F_OWNER_TID && (t = task_find(to->owner))) {
		signal_send_task(t, sig, chosen ? &info : NULL);
		task_put(t);
	} else if (to->type == F_OWNER_PID && (p = proc_find(to->owner))) {
		signal_send_proc(p, sig, chosen ? &info : NULL);
		proc_put(p);
	}
}

static void tell(struct ktimer *timer)
{
	struct sigio *io = container_of(timer, struct sigio, timer);
	u32 e = __atomic_exchange_n(&io->events, 0, __ATOMIC_ACQ_REL);
	struct sigio_target to = io->to;

	if (e & EPOLLPRI && is_sock(io->file))
		sigio_send(&to, SIGURG, 0, 0);
	if (!io->async)
		return;
	if (e & (EPOLLIN | EPOLLRDNORM))
		sigio_send(&to, SIGIO, POLL_IN, EPOLLIN | EPOLLRDNORM);
	if (e & (EPOLLOUT | EPOLLWRNORM))
		sigio_send(&to, SIGIO, POLL_OUT, EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
	if (e & EPOLLPRI)
		sigio_send(&to, SIGIO, POLL_PRI, EPOLLPRI | EPOLLRDBAND);
	if (e & EPOLLERR)
		sigio_send(&to, SIGIO, POLL_ERR, EPOLLERR);
	if (e & (EPOLLHUP | EPOLLRDHUP))
		sigio_send(&to, SIGIO, POLL_HUP, EPOLLHUP | EPOLLERR);
}

static void event(struct waiter *w, u32 events)
{
	struct sigio *io = container_of(w, struct sigio_wait, w)->io;
	struct file *f = io->file;
	u32 want = (can_read(f) ? READ_EVENTS : 0) | (can_write(f) ? WRITE_EVENTS : 0);

	// A waker that does not tell what happened: data has come to a reader, or room to a writer.
	events = events ? events & want : want & (EPOLLIN | EPOLLOUT);
	if (!events)
		return;
	__atomic_fetch_or(&io->events, events, __ATOMIC_RELEASE);
	ktimer_start(&io->timer, 0, tell);
}

struct registrar {
	struct poll_table pt;
	struct sigio *io;
	bool failed;
};

static void add_wait(struct poll_table *pt, struct waitq *q)
{
	struct registrar *rg = container_of(pt, struct registrar, pt);
	struct sigio_wait *w = knew(struct sigio_wait);

	if (!w) {
		rg->failed = true;
		return;
	}
	waiter_init(&w->w);
	w->w.task = NULL;
	w->w.fn = event;
	w->io = rg->io;
	w->q = q;
	w->more = rg->io->waits;
	rg->io->waits = w;
	waitq_add(q, &w->w);
}

static void leave(struct sigio *io)
{
	struct sigio_wait *w, *next;

	for (w = io->waits; w; w = next) {
		next = w->more;
		waitq_del(w->q, &w->w);
		kfree(w);
	}
	io->waits = NULL;
	io->registered = false;
}

// Enters the file's queues or leaves them, as is needed now. io->lock held.
static int update(struct sigio *io)
{
	struct registrar rg = {.pt.add = add_wait, .io = io};
	bool need = io->async || (io->to.owner && is_sock(io->file));

	if (need == io->registered)
		return 0;
	if (!need) {
		leave(io);
		return 0;
	}
	io->registered = true;
	file_poll(io->file, &rg.pt);
	if (rg.failed)
		leave(io);
	return rg.failed ? -ENOMEM : 0;
}

int sigio_async(struct file *f, int fd, bool on)
{
	struct sigio *io;
	int r;

	if (!able(f) || (!on && !f->sigio))
		return 0;
	io = sigio_of(f);
	if (!io)
		return -ENOMEM;
	mutex_lock(&io->lock);
	io->async = on;
	io->to.fd = fd;
	// A terminal has an owner by itself.
	if (on && !io->to.owner && (f->inode->mode & S_IFMT) == S_IFCHR) {
		io->to.type = F_OWNER_PID;
		io->to.owner = curproc->pid;
	}
	r = update(io);
	if (r)
		io->async = false;
	mutex_unlock(&io->lock);
	return r;
}

static long set_owner(struct file *f, int type, int owner)
{
	struct proc *p = NULL;
	struct task *t = NULL;
	struct sigio *io;
	long r;

	if (owner && type == F_OWNER_TID)
		t = task_find(owner);
	else if (owner && type == F_OWNER_PID)
		p = proc_find(owner);
	else if (owner && type == F_OWNER_PGRP && signal_send_pgrp(owner, 0, NULL))
		return -ESRCH;
	if (owner && type != F_OWNER_PGRP && !p && !t)
		return -ESRCH;
	if (p)
		proc_put(p);
	if (t)
		task_put(t);
	io = sigio_of(f);
	if (!io)
		return -ENOMEM;
	mutex_lock(&io->lock);
	io->to.type = type;
	io->to.owner = owner;
	r = update(io);
	mutex_unlock(&io->lock);
	return r;
}

void sigio_default_owner(struct file *f, int fd, int pid)
{
	struct sigio *io = sigio_of(f);

	if (!io)
		return;
	mutex_lock(&io->lock);
	if (!io->to.owner) {
		io->to.type = F_OWNER_PID;
		io->to.owner = pid;
	}
	io->to.fd = fd;
	mutex_unlock(&io->lock);
}

struct sigio_target sigio_target(struct file *f)
{
	struct sigio *io = __atomic_load_n(&f->sigio, __ATOMIC_ACQUIRE);

	return io ? io->to : (struct sigio_target){.type = F_OWNER_PID};
}

long sigio_fcntl(struct file *f, u32 cmd, u64 arg)
{
	struct sigio_target to = sigio_target(f);
	struct f_owner_ex ow;
	struct sigio *io;

	switch (cmd) {
	case F_GETOWN:
		return to.type == F_OWNER_PGRP ? -pid_out(to.owner) : pid_out(to.owner);
	case F_SETOWN:
		if ((int)arg == (int)0x80000000)
			return -EINVAL;
		return (int)arg < 0 ? set_owner(f, F_OWNER_PGRP, pid_in(-(int)arg)) : set_owner(f, F_OWNER_PID, pid_in((int)arg));
	case F_GETOWN_EX:
		ow.type = to.type;
		ow.pid = pid_out(to.owner);
		return copy_to_user(U(arg), &ow, sizeof(ow));
	case F_SETOWN_EX:
		if (copy_from_user(&ow, U(arg), sizeof(ow)))
			return -EFAULT;
		if (ow.type < F_OWNER_TID || ow.type > F_OWNER_PGRP)
			return -EINVAL;
		return ow.pid < 0 ? -ESRCH : set_owner(f, ow.type, pid_in(ow.pid));
	case F_GETSIG:
		return to.sig;
	case F_SETSIG:
		if (arg > NSIG)
			return -EINVAL;
		io = sigio_of(f);
		if (!io)
			return -ENOMEM;
		io->to.sig = (int)arg;
		return 0;
	}
	return -EINVAL;
}

void sigio_free(struct file *f)
{
	struct sigio *io = f->sigio;

	leave(io);
	ktimer_cancel(&io->timer);
	kfree(io);
	f->sigio = NULL;
}
