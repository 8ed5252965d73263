// SPDX-License-Identifier: Apache-2.0
// wait4, waitid (man 2 wait): finds a child that changed state, reports it, reaps zombies. Locks: tasklist.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/vfs.h"
#include "kernel/task/internal.h"
#include <linux/wait.h>

struct wait_req {
	int which, id;		// P_ALL, P_PID, P_PGID
	int options;
	// result
	int pid, uid, status, code;
	u64 utime, stime;
};

static bool eligible(const struct proc *c, const struct wait_req *w)
{
	bool clone_child = c->exit_signal != SIGCHLD;

	if (w->which == P_PID && c->pid != w->id)
		return false;
	if (w->which == P_PGID && c->pgid != w->id)
		return false;
	return w->options & __WALL || clone_child == !!(w->options & __WCLONE);
}

// Looks for something to report among the caller's children; tasklist held. 1: found, 0: none yet, -ECHILD: no child could ever.
static int look(struct proc *me, struct wait_req *w)
{
	bool any = false;
	struct proc *c;

	list_for_each(c, &me->children, sibling) {
		if (!eligible(c, w))
			continue;
		any = true;
		if (c->state == PROC_ZOMBIE && w->options & WEXITED) {
			w->pid = c->pid;
			w->uid = (int)c->cred.uid;
			w->status = c->exit_code;
			w->code = c->exit_code & 0x7f ? (c->exit_code & 0x80 ? CLD_DUMPED : CLD_KILLED) : CLD_EXITED;
			w->utime = c->utime_ns + c->cutime_ns;
			w->stime = c->stime_ns + c->cstime_ns;
			if (!(w->options & WNOWAIT)) {
				me->cutime_ns += w->utime;
				me->cstime_ns += w->stime;
				proc_reap(c);
			}
			return 1;
		}
		if (c->state == PROC_STOPPED && w->options & WUNTRACED && c->stop_pending) {
			w->pid = c->pid;
			w->uid = (int)c->cred.uid;
			w->status = c->stop_sig << 8 | 0x7f;
			w->code = CLD_STOPPED;
			if (!(w->options & WNOWAIT))
				c->stop_pending = false;
			return 1;
		}
		if (c->cont_pending && w->options & WCONTINUED) {
			w->pid = c->pid;
			w->uid = (int)c->cred.uid;
			w->status = 0xffff;
			w->code = CLD_CONTINUED;
			if (!(w->options & WNOWAIT))
				c->cont_pending = false;
			return 1;
		}
	}
	return any ? 0 : -ECHILD;
}

static long do_wait(struct wait_req *w)
{
	struct proc *me = curproc;
	struct waiter wt;
	long r;

	waiter_init(&wt);
	waitq_add(&me->wait_child, &wt);
	for (;;) {
		u32 seq = task_seq();
		mutex_lock(&tasklist);
		r = look(me, w);
		mutex_unlock(&tasklist);
		if (r || w->options & WNOHANG)
			break;
		r = task_sleep(seq, NO_DEADLINE);
		if (r) {
			r = -ERESTARTSYS;
			break;
		}
	}
	waitq_del(&me->wait_child, &wt);
	return r;
}

static long put_rusage(void __user *out, const struct wait_req *w)
{
	struct rusage ru;

	rusage_from_ns(&ru, w->utime, w->stime);
	return out && copy_to_user(out, &ru, sizeof(ru)) ? -EFAULT : 0;
}

long sys_wait4(int pid, int __user *status, int options, void __user *ru)
{
	struct wait_req w = { .options = options | WEXITED };
	long r;

	if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
		return -EINVAL;
	if (pid == (int)0x80000000)
		return -ESRCH;
	w.which = pid == -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
	w.id = pid > 0 ? pid : pid == 0 ? curproc->pgid : -pid;
	r = do_wait(&w);
	if (r <= 0)
		return r;
	if ((status && put_user(w.status, status)) || put_rusage(ru, &w))
		return -EFAULT;
	return w.pid;
}

long sys_waitid(int which, int id, void __user *info, int options, void __user *ru)
{
	struct wait_req w = { .which = which, .id = id, .options = options };
	siginfo_t si;
	long r;

	if (options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL) ||
	    !(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	switch (which) {
	case P_ALL:
		break;
	case P_PID:
		if (id <= 0)
			return -EINVAL;
		break;
	case P_PGID:
		if (id < 0)
			return -EINVAL;
		if (!id)
			w.id = curproc->pgid;
		break;
	default:
		return -EINVAL;
	}
	r = do_wait(&w);
	if (r < 0)
		return r;
	memset(&si, 0, sizeof(si));
	if (r) {
		si.si_signo = SIGCHLD;
		si.si_code = w.code;
		si.si_pid = w.pid;
		si.si_uid = (u32)w.uid;
		si.si_status = w.code == CLD_EXITED ? w.status >> 8 & 0xff :
			       w.code == CLD_STOPPED ? w.status >> 8 & 0xff : w.code == CLD_CONTINUED ? SIGCONT : w.status & 0x7f;
		if (put_rusage(ru, &w))
			return -EFAULT;
	}
	return info && copy_to_user(info, &si, sizeof(si)) ? -EFAULT : 0;
}
