// SPDX-License-Identifier: Apache-2.0
// signalfd(2). Readiness belongs to whoever asks: a signalfd shows the pending signals of the process that reads
// or polls it. Each process that did so gets a forwarder in its signal queue, which holds a reference on it, so that
// an epoll may keep waiting on the file's own queue after the process has gone.
// Locks: s->lock -> waitq of the process -> waitq of the file.
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include <linux/signalfd.h>

struct signalfd;

struct forwarder {
	struct waiter w;
	struct proc *proc; // reference
	struct signalfd *s;
	struct forwarder *next;
};

struct signalfd {
	struct mutex lock;
	sigset set;
	struct waitq q;
	struct forwarder *procs;
};

static const struct file_ops signalfd_fops;

static void forward(struct waiter *w, u32 events)
{
	struct signalfd *s = container_of(w, struct forwarder, w)->s;

	(void)events;
	if (!list_empty(&s->q.waiters))
		waitq_wake(&s->q, EPOLLIN | EPOLLRDNORM);
}

static int follow_me(struct signalfd *s)
{
	struct proc *me = curproc;
	struct forwarder *fw;

	mutex_lock(&s->lock);
	for (fw = s->procs; fw; fw = fw->next)
		if (fw->proc == me)
			break;
	if (!fw && (fw = knew(struct forwarder))) {
		waiter_init(&fw->w);
		fw->w.task = NULL;
		fw->w.fn = forward;
		fw->s = s;
		fw->proc = me;
		ref_get(&me->ref);
		fw->next = s->procs;
		s->procs = fw;
		waitq_add(&me->signal_wq, &fw->w);
	}
	mutex_unlock(&s->lock);
	return fw ? 0 : -ENOMEM;
}

static bool pending_now(struct signalfd *s)
{
	sigset p = __atomic_load_n(&current->pending.set, __ATOMIC_ACQUIRE) |
		   __atomic_load_n(&curproc->pending.set, __ATOMIC_ACQUIRE);

	return p & __atomic_load_n(&s->set, __ATOMIC_RELAXED);
}

static void fill(struct signalfd_siginfo *o, const siginfo_t *i)
{
	memset(o, 0, sizeof(*o));
	o->ssi_signo = i->si_signo;
	o->ssi_errno = i->si_errno;
	o->ssi_code = i->si_code;
	if (i->si_code == SI_TIMER) {
		o->ssi_tid = i->si_tid;
		o->ssi_overrun = i->si_overrun;
		o->ssi_ptr = (u64)i->si_ptr;
		o->ssi_int = i->si_int;
		return;
	}
	if (i->si_code < 0 || i->si_code == SI_USER || i->si_code == SI_KERNEL) {
		o->ssi_pid = i->si_pid;
		o->ssi_uid = i->si_uid;
		if (i->si_code < 0) {
			o->ssi_ptr = (u64)i->si_ptr;
			o->ssi_int = i->si_int;
		}
		return;
	}
	switch (i->si_signo) {
	case SIGCHLD:
		o->ssi_pid = i->si_pid;
		o->ssi_uid = i->si_uid;
		o->ssi_status = i->si_status;
		o->ssi_utime = i->si_utime;
		o->ssi_stime = i->si_stime;
		break;
	case SIGILL:
	case SIGBUS:
	case SIGFPE:
	case SIGSEGV:
	case SIGTRAP: o->ssi_addr = (u64)i->si_addr; break;
	case SIGIO:
		o->ssi_band = i->si_band;
		o->ssi_fd = i->si_fd;
		break;
	}
}

static ssize_t signalfd_read(struct file *f, struct iter *it, u64 *pos)
{
	struct signalfd *s = f->priv;
	struct signalfd_siginfo out;
	ssize_t done = 0;
	int r;

	(void)pos;
	if (it->left < sizeof(out))
		return -EINVAL;
	if (follow_me(s))
		return -ENOMEM;
	while (it->left >= sizeof(out)) {
		struct iter saved = *it;
		siginfo_t info;

		if (!signal_dequeue(s->set, &info)) {
			if (done)
				break;
			if (f->flags & O_NONBLOCK)
				return -EAGAIN;
			r = WAIT_EVENT(&s->q, NO_DEADLINE, pending_now(s));
			if (r)
				return -ERESTARTSYS;
			continue;
		}
		fill(&out, &info);
		while (iter_put(it, &out, sizeof(out)) != sizeof(out)) {
			if (iter_fault_in(it, true))
				return done ? done : -EFAULT;
			iter_revert(it, &saved);
		}
		done += sizeof(out);
	}
	return done;
}

static u32 signalfd_poll(struct file *f, struct poll_table *pt)
{
	struct signalfd *s = f->priv;

	if (pt && follow_me(s))
		return EPOLLERR;
	poll_wait(pt, &s->q);
	return pending_now(s) ? EPOLLIN | EPOLLRDNORM : 0;
}

static void signalfd_release(struct file *f)
{
	struct signalfd *s = f->priv;
	struct forwarder *fw, *next;

	for (fw = s->procs; fw; fw = next) {
		next = fw->next;
		waitq_del(&fw->proc->signal_wq, &fw->w);
		proc_put(fw->proc);
		kfree(fw);
	}
	COUNT(signalfds, -1);
	kfree(s);
}

static const struct file_ops signalfd_fops = {
	.read = signalfd_read,
	.llseek = no_llseek,
	.poll = signalfd_poll,
	.release = signalfd_release,
	.stream = true,
};

// For /proc/PID/fdinfo: the set, or 0 for another kind of file.
u64 signalfd_set(struct file *f) { return f->ops == &signalfd_fops ? ((struct signalfd *)f->priv)->set : 0; }

long sys_signalfd4(int fd, const void __user *uset, size_t size, int flags)
{
	struct signalfd *s;
	struct file *f;
	sigset set;
	long r;

	if (flags & ~(SFD_CLOEXEC | SFD_NONBLOCK) || size != sizeof(set))
		return -EINVAL;
	if (get_user(set, uset))
		return -EFAULT;
	set &= ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	if (fd != -1) {
		f = fd_get(fd);
		if (!f)
			return -EBADF;
		r = -EINVAL;
		if (f->ops == &signalfd_fops) {
			s = f->priv;
			__atomic_store_n(&s->set, set, __ATOMIC_SEQ_CST);
			waitq_wake(&s->q, EPOLLIN | EPOLLRDNORM);
			r = fd;
		}
		file_put(f);
		return r;
	}
	s = knew(struct signalfd);
	if (!s)
		return -ENOMEM;
	waitq_init(&s->q);
	s->set = set;
	f = anon_file("[signalfd]", &signalfd_fops, O_RDWR | (flags & O_NONBLOCK), s);
	if (IS_ERR_OR_NULL(f)) {
		kfree(s);
		return f ? PTR_ERR(f) : -ENOMEM;
	}
	COUNT(signalfds, 1);
	r = fd_alloc(f, 0, flags & O_CLOEXEC);
	if (r < 0)
		file_put(f);
	return r;
}

long sys_signalfd(int fd, const void __user *uset, size_t size) { return sys_signalfd4(fd, uset, size, 0); }
