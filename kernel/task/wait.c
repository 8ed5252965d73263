// SPDX-License-Identifier: Apache-2.0
// wait4 and waitid: a parent learns of children that ended, stopped or went on (man 2 wait).
// Locks: tasklist around each look at the children.
#include "kernel/include/kstring.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/vfs.h"
#include "kernel/task/internal.h"
#include "kernel/task/ptrace.h"
#include <linux/signal.h>
#include <linux/wait.h>

struct wait_req {
	int type; // P_ALL, P_PID, P_PGID
	int id;
	int options;
	// what was found
	int pid, uid, status, code;
	u64 utime_ns, stime_ns;
	struct usage_counts used;
};

struct proc *pidfd_proc(struct file *f); // pidfd.c: no reference

static bool matches(const struct wait_req *w, const struct proc *c)
{
	bool clone_child = c->exit_signal != SIGCHLD;

	if (w->type == P_PID && c->pid != w->id)
		return false;
	if (w->type == P_PGID && c->pgid != w->id)
		return false;
	return w->options & __WALL || clone_child == !!(w->options & __WCLONE);
}

static void found(struct wait_req *w, const struct proc *c, int status, int code)
{
	w->pid = c->pid;
	w->uid = (int)c->cred.uid;
	w->status = status;
	w->code = code;
	w->utime_ns = c->utime_ns + c->cutime_ns;
	w->stime_ns = c->stime_ns + c->cstime_ns;
	w->used = c->used;
	usage_add(&w->used, &c->cused);
}

// Looks at one child; true when it has news. tasklist held.
static bool consume(struct wait_req *w, struct proc *me, struct proc *c)
{
	bool keep = w->options & WNOWAIT, got = false;

	if (c->state == PROC_ZOMBIE) {
		if (!(w->options & WEXITED))
			return false;
		found(w, c, c->exit_code, c->exit_code & 0x7f ? CLD_KILLED : CLD_EXITED);
		if (!keep) {
			me->cutime_ns += w->utime_ns;
			me->cstime_ns += w->stime_ns;
			usage_add(&me->cused, &w->used);
			proc_reap(c);
		}
		return true;
	}
	mutex_lock(&c->sig_lock);
	if (w->options & WSTOPPED && c->state == PROC_STOPPED && c->stop_pending) {
		found(w, c, c->stop_sig << 8 | 0x7f, CLD_STOPPED);
		c->stop_pending = c->stop_pending && keep;
		got = true;
	} else if (w->options & WCONTINUED && c->cont_pending) {
		found(w, c, 0xffff, CLD_CONTINUED);
		c->cont_pending = c->cont_pending && keep;
		got = true;
	}
	mutex_unlock(&c->sig_lock);
	return got;
}

// A zombie's tracer sees threads that ended before the process that they were part of.
static bool has_zombie_thread(struct proc *me, struct proc *p)
{
	struct ptrace *pt;

	list_for_each (pt, &me->tracees, link)
		if (pt->zombie && pt->task->proc == p)
			return true;
	return false;
}

// The same for a thread that one of ours traces. tasklist held.
static bool consume_traced(struct wait_req *w, struct proc *me, struct ptrace *pt)
{
	struct task *t = pt->task;
	struct proc *p = t->proc;
	bool keep = w->options & WNOWAIT;

	if (pt->zombie) {
		if (!(w->options & WEXITED))
			return false;
		found(w, p, t->exit_code, t->exit_code & 0x7f ? CLD_KILLED : CLD_EXITED);
		w->pid = t->tid;
		return keep || ptrace_consume_thread(pt);
	}
	if (p->state == PROC_ZOMBIE) {
		if (t != p->leader || has_zombie_thread(me, p))
			return false;
		if (p->parent == me)
			return consume(w, me, p);
		if (!(w->options & WEXITED))
			return false;
		found(w, p, p->exit_code, p->exit_code & 0x7f ? CLD_KILLED : CLD_EXITED);
		if (!keep)
			proc_zombie_seen(p);
		return true;
	}
	if (pt->stopped && !pt->listening && pt->code) {
		found(w, p, (int)(pt->code << 8 | 0x7f), CLD_TRAPPED);
		w->pid = t->tid;
		if (!keep)
			pt->code = 0;
		return true;
	}
	return t == p->leader && consume(w, me, p);
}

static bool matches_traced(const struct wait_req *w, const struct ptrace *pt)
{
	if (w->type == P_PID)
		return pt->task->tid == w->id;
	return w->type != P_PGID || pt->task->proc->pgid == w->id;
}

// 1: found, 0: nothing yet, -ECHILD
static int scan(struct wait_req *w)
{
	struct proc *me = curproc, *c, *tmp;
	struct ptrace *pt, *next;
	int r = -ECHILD;

	mutex_lock(&tasklist);
	list_for_each_safe (pt, next, &me->tracees, link) {
		if (!matches_traced(w, pt))
			continue;
		r = 0;
		if (consume_traced(w, me, pt)) {
			r = 1;
			goto out;
		}
	}
	list_for_each_safe (c, tmp, &me->children, sibling) {
		bool traced = c->leader && ptraced(c->leader);

		if (!matches(w, c) || (traced && c->leader->pt->tracer->proc == me))
			continue;
		r = 0;
		if (traced && c->state == PROC_ZOMBIE)
			continue; // its tracer's first
		if (consume(w, me, c)) {
			r = 1;
			break;
		}
	}
out:
	mutex_unlock(&tasklist);
	return r;
}

// 1: found, 0: WNOHANG and nothing, or an error
static int do_wait(struct wait_req *w)
{
	struct proc *me = curproc;
	struct waiter *waiter = &current->child_waiter;
	int r = scan(w);

	if (r || w->options & WNOHANG)
		return r;
	waiter_init(waiter);
	waitq_add(&me->wait_child, waiter);
	for (;;) {
		u32 seq = task_seq();
		r = scan(w);
		if (r)
			break;
		if (task_sleep(seq, NO_DEADLINE) == -EINTR) {
			r = -ERESTARTSYS;
			break;
		}
	}
	waitq_del(&me->wait_child, waiter);
	return r;
}

static int put_rusage(const struct wait_req *w, void __user *uru)
{
	struct rusage ru;

	if (!uru)
		return 0;
	rusage_of(&ru, w->utime_ns, w->stime_ns, &w->used);
	return copy_to_user(uru, &ru, sizeof(ru));
}

long sys_wait4(int pid, int __user *ustatus, int options, void __user *uru)
{
	struct wait_req w = {0};
	int r;

	if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
		return -EINVAL;
	if (pid == (int)0x80000000)
		return -ESRCH;
	w.options = options | WEXITED;
	w.type = pid == -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
	w.id = pid > 0 ? pid : pid == 0 ? curproc->pgid : -pid;
	r = do_wait(&w);
	if (r != 1)
		return r;
	if (ustatus && put_user(w.status, ustatus))
		return -EFAULT;
	return put_rusage(&w, uru) ? -EFAULT : w.pid;
}

long sys_waitid(int which, int id, void __user *uinfo, int options, void __user *uru)
{
	struct wait_req w = {.type = which, .id = id, .options = options};
	siginfo_t info;
	int r;

	if (options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
		return -EINVAL;
	if (!(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	switch (which) {
	case P_ALL: break;
	case P_PID:
		if (id <= 0)
			return -EINVAL;
		w.id = pid_in(id);
		break;
	case P_PGID:
		if (id < 0)
			return -EINVAL;
		w.id = id ? pid_in(id) : curproc->pgid;
		break;
	case P_PIDFD: {
		struct file *f = id < 0 ? NULL : fd_get(id);
		if (!f)
			return id < 0 ? -EINVAL : -EBADF;
		struct proc *p = pidfd_proc(f);
		w.type = P_PID;
		w.id = p ? p->pid : 0;
		if (p && f->flags & O_NONBLOCK)
			w.options |= WNOHANG;
		bool nonblock = w.options & WNOHANG && !(options & WNOHANG);
		file_put(f);
		if (!p)
			return -EBADF;
		r = do_wait(&w);
		if (!r && nonblock)
			return -EAGAIN;
		goto waited;
	}
	default: return -EINVAL;
	}
	r = do_wait(&w);
waited:
	if (r < 0)
		return r;
	if (r == 1 && put_rusage(&w, uru))
		return -EFAULT;
	if (!uinfo)
		return 0;
	memset(&info, 0, sizeof(info));
	if (r == 1) {
		info.si_signo = SIGCHLD;
		info.si_code = w.code;
		info.si_pid = pid_out(w.pid);
		info.si_uid = uid_out((u32)w.uid);
		info.si_status = w.code == CLD_TRAPPED	   ? w.status >> 8
				 : w.code == CLD_EXITED	   ? w.status >> 8 & 0xff
				 : w.code == CLD_KILLED	   ? w.status & 0x7f
				 : w.code == CLD_CONTINUED ? SIGCONT
							   : w.status >> 8 & 0xff;
	}
	return copy_to_user(uinfo, &info, sizeof(info));
}
