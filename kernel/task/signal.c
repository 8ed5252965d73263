// SPDX-License-Identifier: Apache-2.0
// Signals: sending, pending sets, masks, what happens on the way back to the program, job-control stops.
// A sender sets bits in task->work, wakes the task if it sleeps (task_wake) and kicks it if it runs in user mode; the
// receiver looks at task->work when it leaves the kernel (task_work). signal_calls.c has the system calls.
// Locks: proc->sig_lock for actions, pending sets, masks, stop and exit flags, and to walk the threads;
// tasklist around it where a parent is told. Two processes' sig_locks are never held together.
#include "kernel/include/alloc.h"
#include "kernel/include/cgroup.h"
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/strace.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/uring.h"
#include "kernel/task/internal.h"
#include "kernel/task/ptrace.h"
#include <linux/signal.h>

#define STOP_SIGNALS   (SIGBIT(SIGSTOP) | SIGBIT(SIGTSTP) | SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU))
#define IGNORE_SIGNALS (SIGBIT(SIGCONT) | SIGBIT(SIGCHLD) | SIGBIT(SIGWINCH) | SIGBIT(SIGURG))
#define FAULT_SIGNALS \
	(SIGBIT(SIGSEGV) | SIGBIT(SIGBUS) | SIGBIT(SIGILL) | SIGBIT(SIGTRAP) | SIGBIT(SIGFPE) | SIGBIT(SIGSYS))
#define CORE_SIGNALS (FAULT_SIGNALS | SIGBIT(SIGQUIT) | SIGBIT(SIGABRT) | SIGBIT(SIGXCPU) | SIGBIT(SIGXFSZ))
#define UNBLOCKABLE (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))

static bool is_default(struct proc *p, int sig) { return p->action[sig].handler == (void __user *)SIG_DFL; }

bool sig_ignored_by(struct proc *p, int sig)
{
	if (p->action[sig].handler == (void __user *)SIG_IGN)
		return true;
	if (!is_default(p, sig))
		return false;
	// pid 1 dies of its own faults only
	if (p->pid >= PID_MAX && p->pid % PID_MAX == 1 && !(SIGBIT(sig) & UNBLOCKABLE && current->tid / PID_MAX != p->pid / PID_MAX))
		return true; // the first of a PID namespace, but for what comes from above
	return p == init_proc || SIGBIT(sig) & IGNORE_SIGNALS;
}

void sigpending_flush(struct sigpending *s, sigset which)
{
	struct sigqueue *q, *tmp;

	if (!(s->set & which))
		return;
	s->set &= ~which;
	list_for_each_safe (q, tmp, &s->queue, link) {
		if (!(SIGBIT(q->info.si_signo) & which))
			continue;
		list_del(&q->link);
		COUNT(signals, -1);
		kfree(q);
	}
}

void signal_wake(struct task *t, u32 work)
{
	__atomic_fetch_or(&t->work, work, __ATOMIC_SEQ_CST);
	if (t == current)
		return;
	task_wake(t);
	pf_kick(t);
}

void signal_recalc(struct task *t)
{
	bool want = (t->pending.set | t->proc->pending.set) & ~t->blocked || t->restore_blocked || t->force_sig;

	if (want == !!(__atomic_load_n(&t->work, __ATOMIC_RELAXED) & WORK_SIGNAL))
		return;
	if (want)
		__atomic_fetch_or(&t->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&t->work, ~WORK_SIGNAL, __ATOMIC_SEQ_CST);
}

void signal_retarget(struct proc *p)
{
	struct task *t;

	list_for_each (t, &p->threads, thread_link) {
		if (__atomic_load_n(&t->work, __ATOMIC_RELAXED) & WORK_SIGNAL)
			continue;
		signal_recalc(t);
		if (__atomic_load_n(&t->work, __ATOMIC_RELAXED) & WORK_SIGNAL)
			signal_wake(t, WORK_SIGNAL);
	}
}

bool signal_fatal(void)
{
	struct task *t = current;
	struct proc *p = t->proc;
	bool yes = __atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & WORK_EXIT;
	sigset set;

	if (yes)
		return true;
	mutex_lock(&p->sig_lock);
	set = (t->pending.set | p->pending.set) & ~t->blocked;
	for (int sig = 1; set && sig <= NSIG; sig++)
		yes |= set & SIGBIT(sig) && !(SIGBIT(sig) & STOP_SIGNALS) && is_default(p, sig) && !sig_ignored_by(p, sig);
	mutex_unlock(&p->sig_lock);
	return yes;
}

// --- sending

// SIGCONT and the stop signals cancel each other. sig_lock held.
static void prepare(struct proc *p, int sig)
{
	struct task *t;
	sigset flush = sig == SIGCONT ? STOP_SIGNALS : SIGBIT(sig) & STOP_SIGNALS ? SIGBIT(SIGCONT) : 0;

	if (!flush)
		return;
	sigpending_flush(&p->pending, flush);
	list_for_each (t, &p->threads, thread_link)
		sigpending_flush(&t->pending, flush);
	if (sig == SIGCONT && p->ntraced)
		ptrace_cont(p);
	if (sig != SIGCONT || !p->group_stop)
		return;
	p->group_stop = false;
	if (p->state == PROC_STOPPED) {
		p->state = PROC_RUNNING;
		p->stop_pending = false;
		p->cont_pending = p->cont_notify = true;
	}
	list_for_each (t, &p->threads, thread_link) {
		__atomic_fetch_and(&t->work, ~WORK_STOP, __ATOMIC_SEQ_CST);
		task_wake(t);
	}
}

void proc_kill_threads(struct proc *p, int wait_status)
{
	struct task *t;

	if (p->group_exit)
		return;
	p->group_exit = true;
	p->exit_code = wait_status;
	p->group_stop = false;
	if (p->state == PROC_STOPPED)
		p->state = PROC_RUNNING;
	list_for_each (t, &p->threads, thread_link) {
		__atomic_fetch_and(&t->work, ~WORK_STOP, __ATOMIC_SEQ_CST);
		signal_wake(t, WORK_EXIT);
	}
}

static bool wants(const struct task *t, int sig) { return !(t->blocked & ~t->sigwait & SIGBIT(sig)); }

static void wake_for(struct task *t, int sig)
{
	if (t->blocked & SIGBIT(sig))
		task_wake(t); // waits in sigtimedwait
	else if (!(__atomic_load_n(&t->work, __ATOMIC_RELAXED) & WORK_SIGNAL) || t->frozen)
		signal_wake(t, WORK_SIGNAL);
}

// Who takes a signal sent to the process: the sender itself, the first thread that does not block it, or nobody yet.
static void wake_one(struct proc *p, int sig)
{
	struct task *t, *me = current;

	if (me->proc == p && !me->exiting && wants(me, sig)) {
		wake_for(me, sig);
		return;
	}
	list_for_each (t, &p->threads, thread_link)
		if (!t->exiting && wants(t, sig)) {
			wake_for(t, sig);
			return;
		}
}

static void fill_info(siginfo_t *to, int sig, const siginfo_t *info)
{
	if (info) {
		*to = *info;
	} else {
		memset(to, 0, sizeof(*to));
		to->si_code = SI_KERNEL;
	}
	to->si_signo = sig;
}

static u32 queue_length(const struct sigpending *s)
{
	struct sigqueue *q;
	u32 n = 0;

	list_for_each (q, &s->queue, link)
		n++;
	return n;
}

// Signals that wait for p and its threads, as RLIMIT_SIGPENDING counts them. sig_lock held.
u64 signal_queued(struct proc *p)
{
	u64 n = queue_length(&p->pending);
	struct task *t;

	list_for_each (t, &p->threads, thread_link)
		n += queue_length(&t->pending);
	return n;
}

// To the process p, or to its thread t when t is not NULL.
static int send(struct proc *p, struct task *t, int sig, const siginfo_t *info)
{
	struct sigpending *pend = t ? &t->pending : &p->pending;
	struct sigqueue *q;
	int r = 0;

	if (!sig)
		return 0;
	if (sig < 1 || sig > NSIG)
		return -EINVAL;
	q = kmalloc(sizeof(*q));
	mutex_lock(&p->sig_lock);
	if (sig == SIGKILL && p->ntraced)
		ptrace_kill(p);
	if (p->state >= PROC_ZOMBIE || list_empty(&p->threads) || p->group_exit || (t && t->dead))
		goto out;
	prepare(p, sig);
	struct task *who = t ? t : list_first(&p->threads, struct task, thread_link);
	if (sig_ignored_by(p, sig) && !(p->ntraced && sig != SIGKILL) && !((who->blocked | who->sigwait) & SIGBIT(sig) & ~UNBLOCKABLE))
		goto out;
	if (sig == SIGKILL) {
		proc_kill_threads(p, SIGKILL);
		goto out;
	}
	if (sig < SIGRTMIN && pend->set & SIGBIT(sig))
		goto out; // classic signals do not queue
	if (sig >= SIGRTMIN && info && (!q || signal_queued(p) >= p->rlim[RLIMIT_SIGPENDING].cur)) {
		r = -EAGAIN;
		goto out;
	}
	__atomic_fetch_or(&pend->set, SIGBIT(sig), __ATOMIC_SEQ_CST); // before the masks are read (signal_set_mask)
	if (q) {
		fill_info(&q->info, sig, info);
		list_add_tail(&q->link, &pend->queue);
		COUNT(signals, 1);
		q = NULL;
	}
	if (!t)
		wake_one(p, sig);
	else if (wants(t, sig))
		wake_for(t, sig);
	mutex_unlock(&p->sig_lock);
	waitq_wake(&p->signal_wq, EPOLLIN);
	kfree(q);
	return 0;
out:
	mutex_unlock(&p->sig_lock);
	kfree(q);
	return r;
}

int signal_send_proc(struct proc *p, int sig, const siginfo_t *info) { return send(p, NULL, sig, info); }
int signal_send_task(struct task *t, int sig, const siginfo_t *info) { return send(t->proc, t, sig, info); }

struct pgrp_send {
	int sig;
	const siginfo_t *info;
};

static int send_member(struct proc *p, void *arg)
{
	struct pgrp_send *s = arg;

	send(p, NULL, s->sig, s->info);
	return 0;
}

int signal_send_pgrp(int pgid, int sig, const siginfo_t *info)
{
	struct pgrp_send s = {sig, info};

	return pgrp_for_each(pgid, send_member, &s);
}

void signal_force(int sig, int code, u64 addr)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = sig;
	info.si_code = code;
	info.si_addr = (__force void *)U(addr);
	signal_force_info(&info);
}

void signal_force_info(const siginfo_t *info)
{
	int sig = info->si_signo;
	struct task *t = current;
	struct proc *p = t->proc;
	struct sigqueue *q = kmalloc(sizeof(*q));

	mutex_lock(&p->sig_lock);
	if (t->blocked & SIGBIT(sig) || p->action[sig].handler == (void __user *)SIG_IGN) {
		p->action[sig].handler = (void __user *)SIG_DFL;
		t->blocked &= ~SIGBIT(sig);
	}
	sigpending_flush(&t->pending, SIGBIT(sig));
	t->pending.set |= SIGBIT(sig);
	if (q) {
		q->info = *info;
		list_add_tail(&q->link, &t->pending.queue);
		COUNT(signals, 1);
	}
	t->force_sig = sig;
	signal_recalc(t);
	mutex_unlock(&p->sig_lock);
}

// --- taking

// Takes the first signal of `set` out of s. sig_lock held.
static int take(struct sigpending *s, sigset set, siginfo_t *info)
{
	struct sigqueue *q, *found = NULL;
	sigset have = s->set & set;
	bool more = false;
	int sig;

	if (!have)
		return 0;
	sig = __builtin_ctzl(have & FAULT_SIGNALS ? have & FAULT_SIGNALS : have) + 1;
	list_for_each (q, &s->queue, link) {
		if (q->info.si_signo != sig)
			continue;
		if (found) {
			more = true;
			break;
		}
		found = q;
	}
	if (found) {
		list_del(&found->link);
		*info = found->info;
		COUNT(signals, -1);
		kfree(found);
	} else {
		memset(info, 0, sizeof(*info));
		info->si_signo = sig;
	}
	if (!more)
		s->set &= ~SIGBIT(sig);
	return sig;
}

int signal_dequeue(sigset set, siginfo_t *info)
{
	struct task *t = current;
	int sig;

	mutex_lock(&t->proc->sig_lock);
	sig = take(&t->pending, set, info);
	if (!sig)
		sig = take(&t->proc->pending, set, info);
	if (sig)
		signal_recalc(t);
	mutex_unlock(&t->proc->sig_lock);
	if (sig && unlikely(info->si_code == SI_TIMER))
		posix_timer_taken(info);
	if (sig && (pid_namespaced() || cred()->user_ns))
		pid_fix_info(info);
	return sig;
}

bool signal_kills(struct task *t)
{
	struct proc *p = t->proc;
	bool yes = false;

	mutex_lock(&p->sig_lock);
	sigset s = ptraced(t) ? 0 : (t->pending.set | p->pending.set) & ~t->blocked & ~STOP_SIGNALS & ~CORE_SIGNALS;
	for (int sig = 1; sig <= NSIG && !yes; sig++)
		yes = s & SIGBIT(sig) && is_default(p, sig) && !sig_ignored_by(p, sig);
	mutex_unlock(&p->sig_lock);
	return yes;
}

// --- masks

void signal_set_mask(sigset set)
{
	struct task *t = current;
	struct proc *p = t->proc;

	// A sender adds to what is pending and then looks who wants it; this is the other way round, so one of the two sees the other.
	sigset newly = set & ~__atomic_exchange_n(&t->blocked, set & ~UNBLOCKABLE, __ATOMIC_SEQ_CST);
	if (likely(!(__atomic_load_n(&t->pending.set, __ATOMIC_SEQ_CST) | __atomic_load_n(&p->pending.set, __ATOMIC_SEQ_CST)) &&
		   !t->restore_blocked && !t->force_sig && !(__atomic_load_n(&t->work, __ATOMIC_RELAXED) & WORK_SIGNAL)))
		return;
	mutex_lock(&p->sig_lock);
	signal_recalc(t);
	if (unlikely(p->pending.set & newly))
		signal_retarget(p); // others may have to take what we no longer want
	mutex_unlock(&p->sig_lock);
}

int sigmask_swap(const void __user *set, size_t size)
{
	struct task *t = current;
	sigset s;

	if (!set)
		return 0;
	if (size != sizeof(s))
		return -EINVAL;
	if (get_user(s, (const sigset __user *)set))
		return -EFAULT;
	t->saved_blocked = t->blocked;
	t->mask_swapped = true;
	signal_set_mask(s);
	return 0;
}

void sigmask_restore(bool interrupted)
{
	struct task *t = current;

	if (!t->mask_swapped)
		return;
	t->mask_swapped = false;
	if (!interrupted) {
		signal_set_mask(t->saved_blocked);
		return;
	}
	mutex_lock(&t->proc->sig_lock);
	t->restore_blocked = true;
	signal_recalc(t);
	mutex_unlock(&t->proc->sig_lock);
}

// --- job control

// The stop is complete when the last thread stands still. tasklist and sig_lock held; true: tell the parent.
bool signal_stop_complete(struct proc *p)
{
	struct task *t;

	if (!p->group_stop || p->state != PROC_RUNNING || list_empty(&p->threads))
		return false;
	list_for_each (t, &p->threads, thread_link)
		if (!t->stopped)
			return false;
	p->state = PROC_STOPPED;
	p->stop_pending = true;
	p->cont_pending = false;
	return true;
}

static void stand_still(struct task *t, struct regs *regs)
{
	struct proc *p = t->proc;
	bool tell, traced;
	int sig;

	mutex_lock(&tasklist);
	mutex_lock(&p->sig_lock);
	if (!p->group_stop) {
		__atomic_fetch_and(&t->work, ~WORK_STOP, __ATOMIC_SEQ_CST);
		mutex_unlock(&p->sig_lock);
		mutex_unlock(&tasklist);
		return;
	}
	t->stopped = true;
	traced = ptraced(t);
	sig = p->stop_sig;
	if (traced)
		__atomic_fetch_and(&t->work, ~WORK_STOP, __ATOMIC_SEQ_CST);
	tell = signal_stop_complete(p);
	mutex_unlock(&p->sig_lock);
	if (tell && !(traced && t->pt->tracer->proc == p->parent))
		proc_notify_stop(p, CLD_STOPPED);
	if (unlikely(cgroup_freezes))
		cgroup_settle();
	mutex_unlock(&tasklist);
	cgroup_news();

	if (traced)
		ptrace_group_stop(regs, sig);
	while (!traced) {
		u32 seq = task_seq(), work = __atomic_load_n(&t->work, __ATOMIC_SEQ_CST);
		if (!(work & WORK_STOP) || work & WORK_EXIT || ptraced(t))
			break;
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}

	mutex_lock(&tasklist);
	mutex_lock(&p->sig_lock);
	t->stopped = false;
	tell = p->cont_notify;
	p->cont_notify = false;
	mutex_unlock(&p->sig_lock);
	if (tell)
		proc_notify_stop(p, CLD_CONTINUED);
	mutex_unlock(&tasklist);
}

// Default action "stop". sig_lock not held.
static void stop_process(struct proc *p, int sig)
{
	struct task *t;
	bool orphaned = false;

	if (sig != SIGSTOP) {
		mutex_lock(&tasklist);
		orphaned = proc_orphaned_pgrp(p->pgid, NULL);
		mutex_unlock(&tasklist);
	}
	if (orphaned)
		return; // nobody could continue it
	mutex_lock(&p->sig_lock);
	if (!p->group_exit && !p->exec_task && !(p->pending.set & SIGBIT(SIGCONT))) {
		p->group_stop = true;
		p->stop_sig = sig;
		list_for_each (t, &p->threads, thread_link)
			signal_wake(t, WORK_STOP);
	}
	mutex_unlock(&p->sig_lock);
}

// --- on the way back to the program

void sigrestart_none(struct regs *regs)
{
	if (regs->orig_rax == U64_MAX)
		return;
	switch ((s64)regs->rax) {
	case -ERESTARTSYS:
	case -ERESTARTNOINTR:
	case -ERESTARTNOHAND:
		regs->rax = regs->orig_rax;
		regs->rip -= 2;
		break;
	case -ERESTART_RESTARTBLOCK:
		regs->rax = __NR_restart_syscall;
		regs->rip -= 2;
		break;
	default: return;
	}
	regs->orig_rax = U64_MAX;
}

static void restart_handler(struct regs *regs, u64 sa_flags)
{
	if (regs->orig_rax == U64_MAX)
		return;
	switch ((s64)regs->rax) {
	case -ERESTART_RESTARTBLOCK:
	case -ERESTARTNOHAND: regs->rax = (u64)-EINTR; break;
	case -ERESTARTSYS:
		if (!(sa_flags & SA_RESTART)) {
			regs->rax = (u64)-EINTR;
			break;
		}
		fallthrough;
	case -ERESTARTNOINTR:
		regs->rax = regs->orig_rax;
		regs->rip -= 2;
		break;
	default: break;
	}
	regs->orig_rax = U64_MAX;
}

// Acts on one pending signal. False when there was none.
static bool deliver(struct regs *regs)
{
	struct task *t = current;
	struct proc *p = t->proc;
	struct ksigaction ka;
	siginfo_t info;
	bool forced;
	int sig;

	mutex_lock(&p->sig_lock);
	sig = take(&t->pending, ~t->blocked, &info);
	if (!sig)
		sig = take(&p->pending, ~t->blocked, &info);
	if (!sig) {
		t->force_sig = 0;
		mutex_unlock(&p->sig_lock);
		return false;
	}
	forced = t->force_sig == sig;
	if (forced)
		t->force_sig = 0;
	if (ptraced(t)) {
		signal_recalc(t);
		mutex_unlock(&p->sig_lock);
		int now = ptrace_signal(regs, sig, &info);
		if (!now)
			return true;
		forced = forced && now == sig;
		sig = now;
		if (t->blocked & SIGBIT(sig)) {
			signal_send_task(t, sig, &info);
			return true;
		}
		mutex_lock(&p->sig_lock);
	}
	if (sig == SIGKILL) { // the tracer's wish
		mutex_unlock(&p->sig_lock);
		proc_exit(SIGKILL);
	}
	ka = action_get(p, sig);
	if (ka.handler != (void __user *)SIG_DFL && ka.handler != (void __user *)SIG_IGN && ka.flags & SA_RESETHAND)
		p->action[sig].handler = (void __user *)SIG_DFL;
	signal_recalc(t);
	sigset old = t->restore_blocked ? t->saved_blocked : t->blocked;
	bool discard = !forced && sig_ignored_by(p, sig) && ka.handler != (void __user *)SIG_IGN;
	mutex_unlock(&p->sig_lock);

	if (ka.handler == (void __user *)SIG_IGN || (ka.handler == (void __user *)SIG_DFL && discard))
		return true;
	if (unlikely(strace_on))
		strace_signal(sig, info.si_code);
	if (ka.handler == (void __user *)SIG_DFL) {
		if (!(SIGBIT(sig) & STOP_SIGNALS))
			proc_exit(sig);
		stop_process(p, sig);
		return true;
	}

	restart_handler(regs, ka.flags);
	if (unlikely(info.si_code == SI_TIMER))
		posix_timer_taken(&info);
	if (pid_namespaced() || unlikely(cred()->user_ns))
		pid_fix_info(&info);
	if (sigframe_build(regs, sig, &info, &ka, old)) {
		mutex_lock(&p->sig_lock);
		if (sig == SIGSEGV)
			p->action[sig].handler = (void __user *)SIG_DFL;
		mutex_unlock(&p->sig_lock);
		signal_force(SIGSEGV, SI_KERNEL, 0);
		return true;
	}
	t->restore_blocked = false;
	signal_set_mask(t->blocked | ka.mask | (ka.flags & SA_NODEFER ? 0 : SIGBIT(sig)));
	if (ptraced(t))
		ptrace_handler_step(regs);
	return true;
}

void task_work(struct regs *regs)
{
	struct task *t = current;
	u32 work;

	for (;;) {
		work = __atomic_load_n(&t->work, __ATOMIC_SEQ_CST);
		if (work & WORK_EXIT)
			task_exit(0);
		if (work & WORK_URING) {
			uring_work_run();
		} else if (work & WORK_START) {
			__atomic_fetch_and(&t->work, ~WORK_START, __ATOMIC_SEQ_CST);
			int own = pid_own(t);
			if (t->set_child_tid && put_user(own, t->set_child_tid))
				t->set_child_tid = NULL;
		} else if (work & WORK_REMOTE) {
			remote_serve();
		} else if (work & WORK_VFORK) {
			ptrace_vfork_back(regs);
		} else if (work & WORK_SYSEXIT) {
			ptrace_syscall_exit(regs);
		} else if (work & WORK_STOP) {
			stand_still(t, regs);
		} else if (work & WORK_TRAP) {
			ptrace_trap(regs);
		} else if (work & (WORK_FREEZE | WORK_THROTTLE) && !(work & WORK_SIGNAL && signal_kills(t))) {
			cgroup_stand(t);
		} else if (!(work & WORK_SIGNAL) || !deliver(regs)) {
			break;
		}
	}
	sigrestart_none(regs);
	mutex_lock(&t->proc->sig_lock);
	if (t->restore_blocked) {
		t->restore_blocked = false;
		t->blocked = t->saved_blocked;
	}
	signal_recalc(t);
	mutex_unlock(&t->proc->sig_lock);
}
