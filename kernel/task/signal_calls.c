// SPDX-License-Identifier: Apache-2.0
// System calls of signals: man 2 sigaction, sigprocmask, sigpending, sigsuspend, sigwaitinfo, kill, tgkill,
// rt_sigqueueinfo, sigaltstack, pause.
// Locks: sig_lock of the process that is looked at.
#include "kernel/include/kstring.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <linux/capability.h>
#include <linux/signal.h>

#define UNBLOCKABLE (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))
#define SA_KNOWN \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND | SA_RESTORER)

long sys_rt_sigaction(int sig, const void __user *uact, void __user *uold, size_t size)
{
	struct proc *p = curproc;
	struct ksigaction act, old; // laid out as the user's struct kernel_sigaction
	struct task *t;

	if (size != sizeof(sigset) || sig < 1 || sig > NSIG || (uact && SIGBIT(sig) & UNBLOCKABLE))
		return -EINVAL;
	if (uact && copy_from_user(&act, uact, sizeof(act)))
		return -EFAULT;
	mutex_lock(&p->sig_lock);
	old = action_get(p, sig);
	if (uact) {
		act.flags &= SA_KNOWN;
		act.mask &= ~UNBLOCKABLE;
		action_set(p, sig, &act);
		if (sig_ignored_by(p, sig)) {
			sigpending_flush(&p->pending, SIGBIT(sig));
			list_for_each (t, &p->threads, thread_link)
				sigpending_flush(&t->pending, SIGBIT(sig));
		}
	}
	mutex_unlock(&p->sig_lock);
	if (uold && copy_to_user(uold, &old, sizeof(old)))
		return -EFAULT;
	return 0;
}

long sys_rt_sigprocmask(int how, const void __user *uset, void __user *uold, size_t size)
{
	sigset old = current->blocked, set;

	if (size != sizeof(sigset))
		return -EINVAL;
	if (uset) {
		if (get_user(set, (const sigset __user *)uset))
			return -EFAULT;
		switch (how) {
		case SIG_BLOCK: set |= old; break;
		case SIG_UNBLOCK: set = old & ~set; break;
		case SIG_SETMASK: break;
		default: return -EINVAL;
		}
		signal_set_mask(set);
	}
	return uold ? put_user(old, (sigset __user *)uold) : 0;
}

long sys_rt_sigpending(void __user *uset, size_t size)
{
	struct task *t = current;

	if (size > sizeof(sigset))
		return -EINVAL;
	mutex_lock(&t->proc->sig_lock);
	sigset s = (t->pending.set | t->proc->pending.set) & t->blocked;
	mutex_unlock(&t->proc->sig_lock);
	return copy_to_user(uset, &s, size);
}

static long sleep_for_signal(void)
{
	while (!signal_pending()) {
		u32 seq = task_seq();
		if (!signal_pending())
			task_sleep(seq, NO_DEADLINE);
	}
	return -ERESTARTNOHAND;
}

long sys_pause(void) { return sleep_for_signal(); }

long sys_rt_sigsuspend(const void __user *uset, size_t size)
{
	int r = uset ? sigmask_swap(uset, size) : -EFAULT;

	if (r)
		return r;
	sleep_for_signal();
	sigmask_restore(true);
	return -ERESTARTNOHAND;
}

long sys_rt_sigtimedwait(const void __user *uset, void __user *uinfo, const void __user *uts, size_t size)
{
	struct task *t = current;
	u64 deadline = NO_DEADLINE, ns;
	siginfo_t info;
	sigset set;
	int sig, r = 0;

	if (size != sizeof(sigset))
		return -EINVAL;
	if (get_user(set, (const sigset __user *)uset))
		return -EFAULT;
	set &= ~UNBLOCKABLE;
	if (uts) {
		r = user_timespec(uts, &ns);
		if (r)
			return r;
		deadline = ktime_deadline(ns);
	}
	mutex_lock(&t->proc->sig_lock);
	t->sigwait = set;
	mutex_unlock(&t->proc->sig_lock);
	for (;;) {
		u32 seq = task_seq();
		sig = signal_dequeue(set, &info);
		if (sig || r)
			break;
		r = task_sleep(seq, deadline);
	}
	mutex_lock(&t->proc->sig_lock);
	t->sigwait = 0;
	mutex_unlock(&t->proc->sig_lock);
	if (!sig)
		return r == -ETIMEDOUT ? -EAGAIN : r;
	if (uinfo && copy_to_user(uinfo, &info, sizeof(info)))
		return -EFAULT;
	return sig;
}

// --- kill and its family

static bool may_signal(struct proc *p, int sig)
{
	struct cred *c = cred();

	if (unlikely(p->helper))
		return false;
	if (c->euid == p->cred.suid || c->euid == p->cred.uid || c->uid == p->cred.suid || c->uid == p->cred.uid ||
	    ns_capable(p->cred.user_ns, CAP_KILL))
		return true;
	return sig == SIGCONT && p->session == curproc->session;
}

static void user_info(siginfo_t *info, int sig, int code)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = sig;
	info->si_code = code;
	info->si_pid = curproc->pid;
	info->si_uid = cred()->uid;
}

struct kill_all {
	int sig, sent, seen;
	bool others_only; // kill(-1): neither pid 1 nor the caller
	const siginfo_t *info;
};

static int kill_one(struct proc *p, void *arg)
{
	struct kill_all *k = arg;

	if (p->helper || (k->others_only && (p == init_proc || p == curproc || !pid_visible(p->pid) || (pid_namespaced() && pid_out(p->pid) == 1))))
		return 0;
	k->seen++;
	if (may_signal(p, k->sig)) {
		k->sent++;
		signal_send_proc(p, k->sig, k->info);
	}
	return 0;
}

int signal_send_user(struct proc *p, int sig, const siginfo_t *info); // for pidfd_send_signal
int signal_send_user(struct proc *p, int sig, const siginfo_t *info)
{
	siginfo_t si;

	if (sig < 0 || sig > NSIG)
		return -EINVAL;
	if (!may_signal(p, sig))
		return -EPERM;
	if (!info) {
		user_info(&si, sig, SI_USER);
		info = &si;
	}
	return signal_send_proc(p, sig, info);
}

long sys_kill(int pid, int sig)
{
	struct kill_all k = {.sig = sig};
	struct proc *p;
	siginfo_t info;
	int r;

	if (sig < 0 || sig > NSIG)
		return -EINVAL;
	user_info(&info, sig, SI_USER);
	k.info = &info;
	if (pid > 0) {
		p = proc_find(pid);
		if (!p) { // the id of a thread names its process, as in Linux
			struct task *t = task_find(pid);
			if (!t)
				return -ESRCH;
			p = t->proc;
			ref_get(&p->ref);
			task_put(t);
		}
		r = signal_send_user(p, sig, &info);
		proc_put(p);
		return r;
	}
	if (pid == -1) {
		k.others_only = true;
		proc_for_each(kill_one, &k);
	} else {
		if (pid == (int)0x80000000)
			return -ESRCH;
		pgrp_for_each(pid ? -pid : curproc->pgid, kill_one, &k);
	}
	return k.sent ? 0 : k.seen ? -EPERM : -ESRCH;
}

static long send_to_task(int tgid, int tid, int sig, const siginfo_t *info)
{
	struct task *t;
	long r;

	if (sig < 0 || sig > NSIG)
		return -EINVAL;
	t = task_find(tid);
	if (!t)
		return -ESRCH;
	if (tgid && t->proc->pid != tgid)
		r = -ESRCH;
	else if (!may_signal(t->proc, sig))
		r = -EPERM;
	else
		r = signal_send_task(t, sig, info);
	task_put(t);
	return r;
}

long sys_tgkill(int tgid, int tid, int sig)
{
	siginfo_t info;

	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	user_info(&info, sig, SI_TKILL);
	return send_to_task(tgid, tid, sig, &info);
}

long sys_tkill(int tid, int sig)
{
	siginfo_t info;

	if (tid <= 0)
		return -EINVAL;
	user_info(&info, sig, SI_TKILL);
	return send_to_task(0, tid, sig, &info);
}

// Programs may not pretend to be the kernel or kill(2) towards others.
static int copy_info(siginfo_t *info, const void __user *uinfo, int sig, bool self)
{
	if (copy_from_user(info, uinfo, sizeof(*info)))
		return -EFAULT;
	info->si_signo = sig;
	info->si_pid = pid_in(info->si_pid);
	info->si_uid = uid_in(info->si_uid);
	return (info->si_code >= 0 || info->si_code == SI_TKILL) && !self ? -EPERM : 0;
}

long sys_rt_sigqueueinfo(int pid, int sig, const void __user *uinfo)
{
	siginfo_t info;
	struct proc *p;
	int r = copy_info(&info, uinfo, sig, pid == curproc->pid);

	if (r)
		return r;
	p = proc_find(pid);
	if (!p)
		return -ESRCH;
	r = signal_send_user(p, sig, &info);
	proc_put(p);
	return r;
}

long sys_rt_tgsigqueueinfo(int tgid, int tid, int sig, const void __user *uinfo)
{
	siginfo_t info;
	int r;

	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	r = copy_info(&info, uinfo, sig, tid == current->tid);
	return r ? r : send_to_task(tgid, tid, sig, &info);
}

// A call that slept until a point in time and was interrupted without a handler goes on from there.
long sys_restart_syscall(void)
{
	struct task *t = current;

	return t->restart_fn ? t->restart_fn(t) : -EINTR;
}
