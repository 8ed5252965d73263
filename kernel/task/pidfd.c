// SPDX-License-Identifier: Apache-2.0
// Process descriptors: pidfd_open, pidfd_send_signal, CLONE_PIDFD, and their poll (readable once the process ended).
// A pidfd holds a reference on its process, which therefore keeps its identity after it was reaped. No locks.
#include "kernel/include/alloc.h"
#include "kernel/include/ipc.h"
#include "kernel/include/vfs.h"
#include "kernel/task/internal.h"

int signal_send_user(struct proc *p, int sig, const siginfo_t *info);
int pidfd_new(struct proc *p);
struct proc *pidfd_proc(struct file *f);

// A look without a lock: the state only moves on, and a poller is woken after each step.
static enum proc_state proc_state(const struct proc *p) { return *(const volatile enum proc_state *)&p->state; }

static u32 pidfd_poll(struct file *f, struct poll_table *pt)
{
	struct proc *p = f->priv;

	poll_wait(pt, &p->exit_wq);
	return proc_state(p) >= PROC_ZOMBIE ? EPOLLIN | EPOLLRDNORM : 0;
}

static void pidfd_release(struct file *f) { proc_put(f->priv); }

static const struct file_ops pidfd_fops = {
	.poll = pidfd_poll, .release = pidfd_release, .llseek = no_llseek, .stream = true};

static int open_with(struct proc *p, u32 flags)
{
	struct file *f;
	int fd;

	ref_get(&p->ref);
	f = anon_file("[pidfd]", &pidfd_fops, O_RDWR | flags, p);
	if (IS_ERR_OR_NULL(f)) {
		proc_put(p);
		return f ? (int)PTR_ERR(f) : -ENOMEM;
	}
	fd = fd_alloc(f, 0, true);
	if (fd < 0)
		file_put(f);
	return fd;
}

int pidfd_new(struct proc *p) { return open_with(p, 0); }
struct proc *pidfd_proc(struct file *f) { return f->ops == &pidfd_fops ? f->priv : NULL; }

long sys_pidfd_open(int pid, u32 flags)
{
	struct proc *p;
	int r;

	if (flags & ~(u32)O_NONBLOCK || pid <= 0)
		return -EINVAL;
	p = proc_find(pid);
	if (!p) {
		struct task *t = task_find(pid);
		if (!t)
			return -ESRCH;
		task_put(t);
		return -EINVAL; // a thread that is not a leader
	}
	r = open_with(p, flags);
	proc_put(p);
	return r;
}

long sys_pidfd_send_signal(int fd, int sig, const void __user *uinfo, u32 flags)
{
	struct file *f;
	struct proc *p;
	siginfo_t info;
	long r = 0;

	if (flags)
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	p = pidfd_proc(f);
	if (!p)
		p = proc_dir_process(f);
	if (!p) {
		r = -EBADF;
	} else if (uinfo) {
		if (copy_from_user(&info, uinfo, sizeof(info)))
			r = -EFAULT;
		else if (info.si_signo != sig)
			r = -EINVAL;
		else if ((info.si_code >= 0 || info.si_code == SI_TKILL) && p != curproc)
			r = -EPERM;
	}
	if (!r)
		r = proc_state(p) == PROC_DEAD ? -ESRCH : signal_send_user(p, sig, uinfo ? &info : NULL);
	file_put(f);
	return r;
}
