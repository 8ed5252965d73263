// SPDX-License-Identifier: Apache-2.0
// Tracing: who traces whom, and the stops. A tracee publishes its stop under tasklist (registers and vector state are then in
// kernel memory), tells the tracer and sleeps until it is resumed; the tracer's requests are in ptrace.c.
// A vfork parent's host thread runs the child: its stop is published before the switch, and waited out when it is back.
// Locks: tasklist; sig_lock inside it. The stops are entered without locks.
#include "kernel/task/ptrace.h"
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/task/internal.h"
#include <linux/ptrace.h>
#include <linux/signal.h>

#define FLAG_TF 0x100ul
// events that stop a task in the middle of a system call: how it is resumed decides about the stop at the call's end
#define IN_CALL \
	(PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACESECCOMP)
#define CODE(event) ((u32)SIGTRAP | (event) << 8)

// --- links

int ptrace_link(struct task *t, struct task *tracer, bool seized, u32 options)
{
	struct ptrace *pt = t->pt;

	if (!pt) {
		pt = knew(struct ptrace);
		if (!pt)
			return -ENOMEM;
		pt->xmem = kzalloc(pf_xstate_size() + 64);
		if (!pt->xmem) {
			kfree(pt);
			return -ENOMEM;
		}
		pt->xstate = (u8 *)ALIGN_UP((uptr)pt->xmem, 64);
		pt->task = t;
		list_init(&pt->link);
		t->pt = pt;
	}
	pt->tracer = tracer;
	pt->seized = seized;
	pt->options = options;
	list_add_tail(&pt->link, &tracer->proc->tracees);
	t->proc->ntraced++;
	return 0;
}

void ptrace_free(struct task *t)
{
	if (!t->pt)
		return;
	kfree(t->pt->xmem);
	kfree(t->pt);
	t->pt = NULL;
}

void ptrace_resume(struct ptrace *pt)
{
	pt->listening = false;
	pt->code = 0;
	__atomic_store_n(&pt->stopped, false, __ATOMIC_SEQ_CST);
	task_wake(pt->task);
}

void ptrace_unlink(struct task *t)
{
	struct ptrace *pt = t->pt;
	struct proc *p = t->proc;

	if (!pt || !pt->tracer)
		return;
	list_del(&pt->link);
	pt->tracer = NULL;
	pt->seized = pt->syscall = pt->step = pt->emulate = false;
	pt->options = 0;
	pt->dr[7] = 0;
	p->ntraced--;
	if (pt->zombie)
		return;
	mutex_lock(&p->sig_lock);
	__atomic_fetch_and(&t->work, ~WORK_TRAP, __ATOMIC_SEQ_CST);
	if (p->group_stop && !t->dead)
		signal_wake(t, WORK_STOP); // its process still stands: now so does it
	mutex_unlock(&p->sig_lock);
	ptrace_resume(pt);
}

// --- telling the tracer

static void tell(struct ptrace *pt, int why, int status)
{
	struct proc *to = pt->tracer->proc;
	struct ksigaction ka = action_of(to, SIGCHLD);
	siginfo_t info;

	if (ka.handler != (void __user *)SIG_IGN && !(ka.flags & SA_NOCLDSTOP && (why == CLD_TRAPPED || why == CLD_STOPPED))) {
		memset(&info, 0, sizeof(info));
		info.si_signo = SIGCHLD;
		info.si_code = why;
		info.si_pid = pt->task->tid;
		info.si_uid = pt->task->proc->cred.uid;
		info.si_status = status;
		signal_send_proc(to, SIGCHLD, &info);
	}
	waitq_wake(&to->wait_child, 0);
}

bool ptrace_left(struct task *t)
{
	struct ptrace *pt = t->pt;

	if (!ptraced(t) || t == t->proc->leader)
		return false;
	pt->zombie = true;
	pt->stopped = false;
	ref_get(&t->ref);
	tell(pt, t->exit_code & 0x7f ? CLD_KILLED : CLD_EXITED, t->exit_code & 0x7f ? t->exit_code & 0x7f : t->exit_code >> 8 & 0xff);
	return true;
}

// Frees a thread that its tracer has seen the end of.
bool ptrace_consume_thread(struct ptrace *pt)
{
	struct task *t = pt->task;

	ptrace_unlink(t);
	task_unpublish(t);
	pid_free(t->tid);
	task_put(t);
	return true;
}

bool ptrace_holds(struct proc *z)
{
	struct task *leader = z->leader;

	if (!leader || !ptraced(leader) || leader->pt->tracer->proc == z->parent)
		return false;
	tell(leader->pt, z->exit_code & 0x7f ? CLD_KILLED : CLD_EXITED, z->exit_code & 0x7f ? z->exit_code & 0x7f : z->exit_code >> 8 & 0xff);
	return true;
}

void ptrace_tracer_exit(struct task *tracer)
{
	struct ptrace *pt, *tmp;

	list_for_each_safe (pt, tmp, &tracer->proc->tracees, link) {
		struct task *t = pt->task;
		struct proc *p = t->proc;

		if (pt->tracer != tracer)
			continue;
		if (pt->zombie) {
			ptrace_consume_thread(pt);
			continue;
		}
		if (pt->options & PTRACE_O_EXITKILL)
			signal_send_proc(p, SIGKILL, NULL);
		if (!pt->code)
			pt->data = 0; // its stop had been seen: the signal is lost with the tracer
		ptrace_unlink(t);
		if (p->state == PROC_ZOMBIE && t == p->leader && p->parent != tracer->proc)
			proc_zombie_seen(p);
	}
}

// --- one stop

static void save(struct task *t, struct regs *r)
{
	struct ptrace *pt = t->pt;

	regs_complete(r);
	text_expose(r);
	if (pt->forced_tf) {
		r->flags &= ~FLAG_TF;
		pt->forced_tf = false;
	}
	pt->xstate_set = pt->fs_set = false;
	t->fs_base = pf_get_fs();
	pf_xsave(pt->xstate);
}

static bool dying(const struct task *t, u32 code)
{
	if (code == CODE(PTRACE_EVENT_EXIT))
		return __atomic_load_n(&t->pt->killed, __ATOMIC_SEQ_CST); // it is on its way out anyhow
	return __atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & WORK_EXIT;
}

// False when there is nobody to stop for any more.
static bool publish(struct task *t, u32 code, enum ptrace_kind kind, const siginfo_t *info)
{
	struct ptrace *pt = t->pt;
	bool stop;

	mutex_lock(&tasklist);
	mutex_lock(&t->proc->sig_lock);
	// SIGCONT may have come since the group stop was seen: the tracer that listens then has to hear of it
	if (kind != PT_GROUP || t->proc->group_stop)
		__atomic_fetch_and(&t->work, ~WORK_TRAP, __ATOMIC_SEQ_CST);
	mutex_unlock(&t->proc->sig_lock);
	stop = pt->tracer && !dying(t, code);
	if (stop) {
		pt->kind = kind;
		pt->code = pt->what = code;
		pt->data = kind == PT_SIGNAL ? (int)code : 0;
		pt->has_info = info;
		if (info)
			pt->info = *info;
		pt->syscall = pt->step = pt->emulate = pt->listening = false;
		__atomic_store_n(&pt->stopped, true, __ATOMIC_SEQ_CST);
		tell(pt, kind == PT_GROUP ? CLD_STOPPED : CLD_TRAPPED, (int)(code & 0x7f));
	}
	mutex_unlock(&tasklist);
	return stop;
}

static void stand(struct task *t)
{
	struct ptrace *pt = t->pt;

	for (;;) {
		u32 seq = task_seq();
		if (!__atomic_load_n(&pt->stopped, __ATOMIC_SEQ_CST) || dying(t, pt->what))
			break;
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
}

// Takes over what the tracer changed. Returns the signal that it passes on.
static int go_on(struct task *t, struct regs *r, siginfo_t *info)
{
	struct ptrace *pt = t->pt;
	int sig;

	mutex_lock(&tasklist);
	pt->stopped = pt->listening = false;
	if (pt->kind == PT_EVENT && IN_CALL & 1u << (pt->what >> 8 & 31)) {
		if (pt->syscall || pt->step)
			__atomic_fetch_or(&t->work, WORK_SYSEXIT, __ATOMIC_SEQ_CST);
		else
			__atomic_fetch_and(&t->work, ~WORK_SYSEXIT, __ATOMIC_SEQ_CST);
	}
	pt->kind = PT_RUNNING;
	pt->code = 0;
	sig = pt->data;
	if (info)
		*info = pt->info;
	if (pt->xstate_set && pf_xrstor(pt->xstate))
		xstate_reset();
	if (pt->fs_set)
		pf_set_fs(t->fs_base);
	if (pt->step && !(r->flags & FLAG_TF)) {
		r->flags |= FLAG_TF;
		pt->forced_tf = true;
	}
	if (pt->syscall || pt->step || pt->emulate)
		t->divert |= DIVERT_PTRACE;
	else
		t->divert &= ~DIVERT_PTRACE;
	mutex_unlock(&tasklist);
	ptrace_watch_arm(t, r);
	syscall_divert_update();
	return sig;
}

static int stop(struct regs *r, u32 code, enum ptrace_kind kind, siginfo_t *info)
{
	struct task *t = current;

	save(t, r);
	if (!publish(t, code, kind, info))
		return kind == PT_SIGNAL ? (int)code : 0;
	stand(t);
	return go_on(t, r, kind == PT_SIGNAL ? info : NULL);
}

// The information that goes with a stop that is no signal of the program's own.
static siginfo_t *note(siginfo_t *info, u32 code)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = code & 0x7f;
	info->si_code = (int)code;
	info->si_pid = current->tid;
	info->si_uid = cred()->uid;
	return info;
}

static void set_msg(u64 msg)
{
	mutex_lock(&tasklist);
	current->pt->msg = msg;
	mutex_unlock(&tasklist);
}

// --- the kinds of stops

int ptrace_signal(struct regs *r, int sig, siginfo_t *info)
{
	int n = stop(r, (u32)sig, PT_SIGNAL, info);

	if (n && n != info->si_signo) {
		struct task *tracer;

		memset(info, 0, sizeof(*info));
		info->si_signo = n;
		mutex_lock(&tasklist);
		tracer = current->pt->tracer;
		info->si_pid = tracer ? tracer->proc->pid : 0;
		info->si_uid = tracer ? tracer->proc->cred.uid : 0;
		mutex_unlock(&tasklist);
	}
	return n;
}

void ptrace_event(u32 event, u64 msg)
{
	struct task *t = current;
	siginfo_t info;

	if (!ptraced(t) || !(t->pt->options & 1u << event))
		return;
	set_msg(msg);
	stop(t->regs, CODE(event), PT_EVENT, note(&info, CODE(event)));
}

void ptrace_group_stop(struct regs *r, int sig)
{
	bool seized = current->pt->seized;
	u32 code = seized ? (u32)sig | PTRACE_EVENT_STOP << 8 : (u32)sig;
	siginfo_t info;

	stop(r, code, PT_GROUP, seized ? note(&info, code) : NULL);
}

void ptrace_trap(struct regs *r)
{
	struct task *t = current;
	siginfo_t info;

	__atomic_fetch_and(&t->work, ~WORK_TRAP, __ATOMIC_SEQ_CST);
	if (!ptraced(t))
		return;
	if (t->proc->group_stop)
		ptrace_group_stop(r, t->proc->stop_sig);
	else
		stop(r, CODE(PTRACE_EVENT_STOP), PT_EVENT, note(&info, CODE(PTRACE_EVENT_STOP)));
}

void ptrace_handler_step(struct regs *r)
{
	siginfo_t info;

	if (!ptraced(current))
		return;
	ptrace_watch_go_on(current, r);
	if (current->pt->step)
		stop(r, SIGTRAP, PT_EVENT, note(&info, SIGTRAP));
}

static u32 syscall_code(const struct ptrace *pt) { return pt->options & PTRACE_O_TRACESYSGOOD ? SIGTRAP | 0x80 : SIGTRAP; }

bool ptrace_syscall_enter(struct regs *r)
{
	struct task *t = current;
	struct ptrace *pt = t->pt;
	bool emulate = pt->emulate;
	siginfo_t info;
	int sig;

	if (!ptraced(t)) { // the tracer left while we ran
		t->divert &= ~DIVERT_PTRACE;
		syscall_divert_update();
		return true;
	}
	if (pt->syscall || emulate) {
		set_msg(PTRACE_EVENTMSG_SYSCALL_ENTRY);
		sig = stop(r, syscall_code(pt), PT_ENTRY, note(&info, syscall_code(pt)));
		if (sig)
			signal_send_task(t, sig, NULL);
		if (emulate || __atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & WORK_EXIT)
			return false;
	}
	if (pt->syscall || pt->step)
		__atomic_fetch_or(&t->work, WORK_SYSEXIT, __ATOMIC_SEQ_CST);
	return true;
}

void ptrace_syscall_exit(struct regs *r)
{
	struct task *t = current;
	siginfo_t info;
	int sig;

	__atomic_fetch_and(&t->work, ~WORK_SYSEXIT, __ATOMIC_SEQ_CST);
	if (!ptraced(t))
		return;
	if (t->pt->step) {
		signal_force(SIGTRAP, TRAP_BRKPT, r->rip);
		return;
	}
	set_msg(PTRACE_EVENTMSG_SYSCALL_EXIT);
	sig = stop(r, syscall_code(t->pt), PT_EXIT, note(&info, syscall_code(t->pt)));
	if (sig)
		signal_send_task(t, sig, NULL);
}

void ptrace_exec(struct regs *r, int old_tid)
{
	struct task *t = current;
	siginfo_t info;

	if (!ptraced(t))
		return;
	t->pt->dr[7] = 0;
	if (t->pt->options & PTRACE_O_TRACEEXEC) {
		ptrace_event(PTRACE_EVENT_EXEC, (u64)old_tid);
	} else if (!t->pt->seized) {
		note(&info, 0);
		info.si_signo = SIGTRAP;
		signal_send_task(t, SIGTRAP, &info);
	}
	(void)r;
}

void ptrace_exit(int code)
{
	if (ptraced(current))
		ptrace_event(PTRACE_EVENT_EXIT, (u64)code);
}

// --- children of a tracee

u32 ptrace_fork_event(u64 flags, int exit_signal)
{
	u32 event = flags & CLONE_VFORK ? PTRACE_EVENT_VFORK : exit_signal != SIGCHLD ? PTRACE_EVENT_CLONE : PTRACE_EVENT_FORK;

	if (!ptraced(current) || flags & CLONE_UNTRACED)
		return 0;
	return current->pt->options & 1u << event ? event : 0;
}

// As far as memory allows: a child that could not be linked runs untraced.
void ptrace_inherit(struct task *child, u32 event, u64 flags)
{
	struct task *t = current;

	if (!ptraced(t) || !(event || flags & CLONE_PTRACE))
		return;
	if (ptrace_link(child, t->pt->tracer, t->pt->seized, t->pt->options))
		return;
	if (t->pt->seized) {
		__atomic_fetch_or(&child->work, WORK_TRAP, __ATOMIC_SEQ_CST);
	} else {
		child->pending.set |= SIGBIT(SIGSTOP);
		__atomic_fetch_or(&child->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
	}
}

void ptrace_vfork_enter(struct task *parent, int child)
{
	struct ptrace *pt = parent->pt;
	siginfo_t info;

	if (!ptraced(parent))
		return;
	__atomic_fetch_or(&parent->work, WORK_VFORK, __ATOMIC_SEQ_CST);
	set_msg((u64)child);
	if (!(pt->options & PTRACE_O_TRACEVFORK))
		return;
	save(parent, parent->regs);
	pt->away = publish(parent, CODE(PTRACE_EVENT_VFORK), PT_EVENT, note(&info, CODE(PTRACE_EVENT_VFORK)));
}

void ptrace_vfork_back(struct regs *r)
{
	struct task *t = current;

	__atomic_fetch_and(&t->work, ~WORK_VFORK, __ATOMIC_SEQ_CST);
	if (t->pt->away) {
		t->pt->away = false;
		stand(t);
		go_on(t, r, NULL);
	}
	ptrace_event(PTRACE_EVENT_VFORK_DONE, r->rax);
}

// --- what others do to it

void ptrace_cont(struct proc *p)
{
	struct task *t;

	list_for_each (t, &p->threads, thread_link) {
		if (!ptraced(t) || !t->pt->seized)
			continue;
		if (t->pt->listening) {
			t->pt->listening = false;
			__atomic_store_n(&t->pt->stopped, false, __ATOMIC_SEQ_CST);
		}
		signal_wake(t, WORK_TRAP);
	}
}

void ptrace_kill(struct proc *p)
{
	struct task *t;

	list_for_each (t, &p->threads, thread_link)
		if (t->pt) {
			__atomic_store_n(&t->pt->killed, true, __ATOMIC_SEQ_CST);
			task_wake(t);
		}
}
