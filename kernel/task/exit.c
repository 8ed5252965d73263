// SPDX-License-Identifier: Apache-2.0
// The end of threads and processes. Each thread leaves by itself: it gives back what it owns in user memory, then its
// place among the threads. The last one closes the process: files, memory, children, and becomes a zombie.
// Locks: tasklist and sig_lock for the links and states; everything that may sleep happens before.
#include "kernel/include/alloc.h"
#include "kernel/include/cgroup.h"
#include "kernel/include/ipc.h"
#include "kernel/include/keys.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/ns.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/uring.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/oom.h"
#include "kernel/net/hostio.h"
#include "kernel/task/pidns.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/limit.h"

// What a parent hears of a child that ended, stopped or went on. tasklist held.
static void child_info(siginfo_t *info, struct proc *p, int code)
{
	u64 u = p->utime_ns, s = p->stime_ns;

	memset(info, 0, sizeof(*info));
	info->si_signo = SIGCHLD;
	info->si_code = code;
	info->si_pid = p->pid;
	info->si_uid = p->cred.uid;
	info->si_utime = (long)(u / 10000000);
	info->si_stime = (long)(s / 10000000);
	if (code == CLD_STOPPED)
		info->si_status = p->stop_sig;
	else if (code == CLD_CONTINUED)
		info->si_status = SIGCONT;
	else
		info->si_status = p->exit_code & 0x7f ? p->exit_code & 0x7f : p->exit_code >> 8 & 0xff;
}

void proc_notify_stop(struct proc *p, int code)
{
	struct proc *parent = p->parent;
	struct ksigaction ka;
	siginfo_t info;

	if (!parent)
		return;
	ka = action_of(parent, SIGCHLD);
	if (ka.handler != (void __user *)SIG_IGN && !(ka.flags & SA_NOCLDSTOP)) {
		child_info(&info, p, code);
		signal_send_proc(parent, SIGCHLD, &info);
	}
	waitq_wake(&parent->wait_child, 0);
}

void proc_reap(struct proc *p)
{
	mutex_lock(&p->sig_lock);
	p->state = PROC_DEAD;
	mutex_unlock(&p->sig_lock);
	proc_unlink(p);
	proc_put(p);
}

// Signals the parent of a fresh zombie; the caller wakes its waits. True: nobody will wait for it. tasklist held.
static bool notify_exit(struct proc *p)
{
	struct proc *parent = p->parent;
	struct ksigaction ka = action_of(parent, SIGCHLD);
	bool ignored = ka.handler == (void __user *)SIG_IGN, reap = p->exit_signal == SIGCHLD && (ignored || ka.flags & SA_NOCLDWAIT);
	bool tell = p->exit_signal && !(reap && ignored);
	siginfo_t info;

	if (tell) {
		child_info(&info, p,
			   p->exit_code & 0x7f ? (p->exit_code & 0x80 ? CLD_DUMPED : CLD_KILLED) : CLD_EXITED);
		info.si_signo = p->exit_signal;
		signal_send_proc(parent, p->exit_signal, &info);
	}
	return reap;
}

static struct proc *find_reaper(struct proc *p)
{
	for (struct proc *q = p->parent; q; q = q->parent)
		if (q->pid / PID_MAX != p->pid / PID_MAX)
			break;
		else if (q->child_subreaper && q->state < PROC_ZOMBIE)
			return q;
	return p->pid < PID_MAX ? init_proc : pid_reaper(p);
}

static int is_stopped(struct proc *p, void *arg)
{
	(void)arg;
	return p->state == PROC_STOPPED;
}
static bool has_stopped(int pgid) { return pgrp_for_each(pgid, is_stopped, NULL) == 1; }

// A stopped group that nobody can continue any more gets SIGHUP and SIGCONT. `p` is the member that leaves, or whose
// parent does. tasklist held.
static void check_orphaned(struct proc *p, struct proc *parent, struct proc *ignore)
{
	if (!parent || parent->pgid == p->pgid || parent->session != p->session)
		return; // it was no anchor
	if (!proc_orphaned_pgrp(p->pgid, ignore) || !has_stopped(p->pgid))
		return;
	signal_send_pgrp(p->pgid, SIGHUP, NULL);
	signal_send_pgrp(p->pgid, SIGCONT, NULL);
}

static void tell_parent_died(struct proc *child)
{
	struct task *t;
	int sig = 0;

	mutex_lock(&child->sig_lock);
	list_for_each (t, &child->threads, thread_link)
		if (t->pdeathsig)
			sig = (int)t->pdeathsig;
	mutex_unlock(&child->sig_lock);
	if (sig)
		signal_send_proc(child, sig, NULL);
}

// Children go to the nearest subreaper. tasklist held.
static void reparent(struct proc *p)
{
	struct proc *to, *c, *tmp;

	if (list_empty(&p->children))
		return; // a chain of vforks may be as deep as there are numbers: do not climb it at each end
	to = find_reaper(p);
	list_for_each_safe (c, tmp, &p->children, sibling) {
		struct proc *old = c->parent;
		list_del(&c->sibling);
		c->parent = to;
		list_add_tail(&c->sibling, &to->children);
		c->exit_signal = SIGCHLD;
		tell_parent_died(c);
		if (c->state == PROC_ZOMBIE) {
			if (!ptrace_holds(c) && notify_exit(c))
				proc_reap(c);
			waitq_wake(&to->wait_child, 0);
		} else {
			check_orphaned(c, old, NULL);
		}
	}
}

static int kill_others(struct proc *p, void *arg)
{
	(void)arg;
	if (p != init_proc)
		signal_send_proc(p, SIGKILL, NULL);
	return 0;
}

static void __noreturn stop_enclave(int wait_status)
{
	proc_for_each(kill_others, NULL);
	vfs_sync_all();
	sealed_shutdown();
	pf_stop(wait_status);
}

// What the last thread does for its process; also called for a process whose host process is gone (not `own`).
static void release_resources(struct proc *p, bool own)
{
	struct session *s = p->session;
	struct file *exe;
	struct mm *mm;

	itimers_drop(p);
	posix_timers_drop(p);
	sem_exit(p);
	if (p->session_keyring || p->process_keyring)
		keys_drop_proc(p);
	if (p->pid == s->sid)
		tty_hangup_session(s);
	mutex_lock(&tasklist);
	struct fs_ctx *fs = p->fs;
	p->fs = NULL;
	exe = p->exe;
	p->exe = NULL;
	mm = p->mm;
	p->mm = NULL;
	bool last = mm && !p->borrows_mm && mm_leave(mm);
	mutex_unlock(&tasklist);
	if (last)
		remote_close(mm);
	if (fs)
		fs_ctx_put(fs);
	ns_drop(p);
	if (own && last)
		memory_leave(mm);
	if (exe)
		exe_put(exe);
	mm_put(mm);
}

// The process has no thread any more that could act. tasklist held. Returns the parent with a reference: its waits are
// to be woken without tasklist, which they take first.
static struct proc *become_zombie(struct proc *p)
{
	struct proc *parent = p->parent;

	ref_get(&parent->ref);
	reparent(p);
	check_orphaned(p, p->parent, p);
	mutex_lock(&p->sig_lock);
	p->state = PROC_ZOMBIE;
	sigpending_flush(&p->pending, ~0ul);
	mutex_unlock(&p->sig_lock);
	if (unlikely(p->cgroup))
		cgroup_exit(p);
	waitq_wake(&p->exit_wq, 0);
	if (!ptrace_holds(p) && notify_exit(p))
		proc_reap(p);
	return parent;
}

// Its tracer has seen the end of p: now it is its parent's turn.
void proc_zombie_seen(struct proc *p)
{
	struct proc *parent = p->parent;

	ptrace_unlink(p->leader);
	if (notify_exit(p))
		proc_reap(p);
	waitq_wake(&parent->wait_child, 0);
}

static void wake_parent(struct proc *parent)
{
	waitq_wake(&parent->wait_child, 0);
	proc_put(parent);
}

static void leave_threads(struct proc *p, struct task *t)
{
	bool tell;

	mutex_lock(&p->sig_lock);
	list_del(&t->thread_link);
	t->dead = true;
	t->host = NULL;
	if (p->pending.set)
		signal_retarget(p);
	tell = signal_stop_complete(p);
	mutex_unlock(&p->sig_lock);
	if (t != p->leader)
		task_count--;
	if (unlikely(p->cgroup) && t != p->leader)
		cgroup_thread_left(p);
	if (t != p->leader && !ptrace_left(t)) { // the leader's number and name live as long as the process
		task_unpublish(t);
		pid_free(t->tid);
	}
	if (tell)
		proc_notify_stop(p, CLD_STOPPED);
}

static void __noreturn leave(struct task *t)
{
	struct proc *p = t->proc, *parent = NULL;
	u64 utime = 0, stime = 0;
	struct usage_counts used = {0};
	bool last, ends = p->group_exit;

	ptrace_exit(p->group_exit ? p->exit_code : t->exit_code);
	uring_task_gone(t);
	if (t->thread_keyring)
		keys_drop_thread(t);
	if (t->ipc_used)
		ipc_ns_leave();
	if (t->own_fs)
		fs_own_drop(t);
	if (!t->in_vfork_child) // also when the whole process ends: its other threads may still take memory away
		rseq_drop(t);
	__atomic_store_n(&t->exiting, true, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & WORK_REMOTE)
		remote_serve();
	futex_exit(t);
	if (!t->in_vfork_child && pf_cpu_times(t, &utime, &stime)) // what a vfork child used counts as its parent's
		utime = stime = 0;
	if (!t->in_vfork_child && (ends || p->nthreads == 1)) // where it is not known who will be the last, each asks
		usage_self(p, &used);
	task_files_set(t, NULL); // before the process can count as ended: then its files are closed
	hostio_task_exit(t);
	mutex_lock(&tasklist);
	ptrace_tracer_exit(t); // here: a child that wants to be traced now sees `exiting`, one that did before is in the list
	p->utime_ns += utime;
	p->stime_ns += stime;
	if (used.minflt >= p->used.minflt)
		p->used = used;
	mutex_lock(&p->sig_lock);
	last = --p->nthreads == 0;
	if (t == p->leader && !p->group_exit)
		p->exit_code = t->exit_code;
	mutex_unlock(&p->sig_lock);
	if (last) {
		mutex_unlock(&tasklist);
		if (p == init_proc)
			stop_enclave(p->exit_code);
		if (pid_is_reaper(p))
			pid_ns_end(p);
		release_resources(p, true);
		mutex_lock(&tasklist);
	}
	leave_threads(p, t);
	waitq_wake(&p->threads_wq, 0);
	if (last)
		parent = become_zombie(p);
	mutex_unlock(&tasklist);
	if (parent)
		wake_parent(parent);
	cgroup_news();

	if (t->in_vfork_child)
		vfork_return(t->vfork_parent, t);
	// `current` is not used below; the window is the platform's
	hthread_self()->cur = NULL;
	task_put(t);
	if (ends)
		pf_proc_exit();
	pf_thread_exit();
}

void task_exit(int code)
{
	struct task *t = current;

	t->exit_code = code;
	leave(t);
}

void proc_exit(int wait_status)
{
	struct task *t = current;

	mutex_lock(&t->proc->sig_lock);
	proc_kill_threads(t->proc, wait_status);
	mutex_unlock(&t->proc->sig_lock);
	t->exit_code = wait_status;
	leave(t);
}

long sys_exit(int code) { task_exit((code & 0xff) << 8); }
long sys_exit_group(int code) { proc_exit((code & 0xff) << 8); }

int exec_kill_siblings(void)
{
	struct task *me = current, *t;
	struct proc *p = me->proc;
	struct waiter w;
	int r = 0;

	mutex_lock(&p->sig_lock);
	if (p->group_exit || p->exec_task) {
		mutex_unlock(&p->sig_lock);
		return -EAGAIN;
	}
	if (p->nthreads == 1 && list_first(&p->threads, struct task, thread_link) == me &&
	    p->threads.prev == &me->thread_link) {
		p->exec_task = me;
		mutex_unlock(&p->sig_lock);
		return 0;
	}
	p->exec_task = me;
	p->group_stop = false;
	list_for_each (t, &p->threads, thread_link)
		if (t != me) {
			__atomic_fetch_and(&t->work, ~WORK_STOP, __ATOMIC_SEQ_CST);
			signal_wake(t, WORK_EXIT);
		}
	__atomic_fetch_and(&me->work, ~WORK_STOP, __ATOMIC_SEQ_CST);
	mutex_unlock(&p->sig_lock);

	waiter_init(&w);
	waitq_add(&p->threads_wq, &w);
	for (;;) {
		u32 seq = task_seq();
		mutex_lock(&p->sig_lock);
		bool alone = p->threads.next == &me->thread_link && p->threads.prev == &me->thread_link;
		if (p->group_exit)
			r = -EINTR;
		mutex_unlock(&p->sig_lock);
		if (alone || r)
			break;
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
	waitq_del(&p->threads_wq, &w);
	if (r) {
		p->exec_task = NULL;
		return r;
	}
	if (me != p->leader) { // the one that execs becomes the leader
		mutex_lock(&tasklist);
		struct task *old = p->leader;
		task_unpublish(me);
		pid_free(me->tid);
		me->tid = p->pid;
		ref_get(&me->ref);
		ptrace_unlink(old);
		p->leader = me;
		task_count--;
		if (unlikely(p->cgroup))
			cgroup_thread_left(p);
		task_publish(me);
		task_put(old);
		mutex_unlock(&tasklist);
	}
	return 0;
}
