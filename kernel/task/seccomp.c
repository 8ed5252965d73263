// SPDX-License-Identifier: Apache-2.0
// seccomp(2): strict mode, filters and what their verdicts do. Tasks under a filter are diverted (syscall/divert.c); others
// never come here. Locks: sig_lock of the process for who runs under what; filter_lock (leaf) for the checker's scratch
// memory and the counts of users.
#include "kernel/task/seccomp.h"
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/vfs.h"
#include "kernel/task/internal.h"
#include "kernel/task/ptrace.h"
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <linux/signal.h>

#define CHAIN_MAX   32768u // instructions on all filters of a task, each with
#define CHAIN_EXTRA 4u	   // so many for itself
#define FLAGS_KNOWN \
	(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_NEW_LISTENER | \
	 SECCOMP_FILTER_FLAG_TSYNC_ESRCH | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)

static struct mutex filter_lock;

// --- life of filters

void seccomp_put(struct seccomp_filter *f)
{
	while (f && ref_put(&f->ref)) {
		struct seccomp_filter *prev = f->prev;
		if (f->notify)
			notify_put(f->notify);
		kfree(f);
		f = prev;
	}
}

static void use(struct seccomp_filter *f)
{
	if (!f)
		return;
	ref_get(&f->ref);
	mutex_lock(&filter_lock);
	f->users++;
	mutex_unlock(&filter_lock);
}

static void unuse(struct seccomp_filter *f)
{
	struct seccomp_filter *top = f;

	while (f) {
		mutex_lock(&filter_lock);
		bool last = --f->users == 0;
		mutex_unlock(&filter_lock);
		if (!last)
			break;
		if (f->notify)
			notify_unused(f->notify);
		f = f->prev; // was used by this one
	}
	seccomp_put(top);
}

void seccomp_inherit(struct task *child)
{
	struct task *t = current;

	if (!t->seccomp_mode)
		return;
	child->seccomp_mode = t->seccomp_mode;
	child->seccomp = t->seccomp;
	child->divert |= DIVERT_SECCOMP;
	use(t->seccomp);
}

void seccomp_drop(struct task *t)
{
	unuse(t->seccomp);
	t->seccomp = NULL;
}

u32 seccomp_filters(const struct task *t)
{
	u32 n = 0;

	for (const struct seccomp_filter *f = t->seccomp; f; f = f->prev)
		n++;
	return n;
}

static struct seccomp_filter *filter_new(const void __user *uprog)
{
	struct sock_fprog prog;
	struct seccomp_filter *f;
	int r = -EFAULT;

	if (copy_from_user(&prog, uprog, sizeof(prog)))
		return ERR_PTR(-EFAULT);
	if (!prog.filter || !prog.len || prog.len > BPF_MAX_INSNS)
		return ERR_PTR(-EINVAL);
	f = kzalloc(sizeof(*f) + prog.len * sizeof(struct sock_filter));
	if (!f)
		return ERR_PTR(-ENOMEM);
	ref_init(&f->ref, 1);
	f->len = prog.len;
	if (!copy_from_user(f->insn, U(prog.filter), prog.len * sizeof(struct sock_filter))) {
		mutex_lock(&filter_lock);
		r = bpf_check(f->insn, f->len, &f->uses_ip);
		mutex_unlock(&filter_lock);
	}
	if (!r)
		return f;
	kfree(f);
	return ERR_PTR(r);
}

// --- putting a task under a filter

static void divert(struct task *t)
{
	struct hthread *h = t->host;

	t->divert |= DIVERT_SECCOMP;
	if (h && h->cur == t)
		__atomic_store_n(&h->calls, syscall_calls(t), __ATOMIC_SEQ_CST);
}

static bool is_ancestor(const struct seccomp_filter *old, const struct seccomp_filter *f)
{
	for (; f && f != old; f = f->prev)
		;
	return f == old;
}

// The first thread that cannot follow, or 0. sig_lock held.
static int cannot_sync(struct task *me)
{
	struct task *t;

	list_for_each (t, &me->proc->threads, thread_link)
		if (t != me && !t->exiting && t->seccomp_mode &&
		    (t->seccomp_mode != SECCOMP_MODE_FILTER || !is_ancestor(t->seccomp, me->seccomp)))
			return t->tid;
	return 0;
}

static long add_filter(struct task *me, struct seccomp_filter *f, u64 flags)
{
	struct task *t;
	int r;

	if (me->seccomp_mode == SECCOMP_MODE_STRICT)
		return -EINVAL;
	f->total = f->len + CHAIN_EXTRA + (me->seccomp ? me->seccomp->total : 0);
	if (f->total > CHAIN_MAX)
		return -ENOMEM;
	for (struct seccomp_filter *p = me->seccomp; f->notify && p; p = p->prev)
		if (p->notify)
			return -EBUSY;
	r = flags & SECCOMP_FILTER_FLAG_TSYNC ? cannot_sync(me) : 0;
	if (r)
		return flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH ? -ESRCH : r;
	f->prev = me->seccomp; // with the task's reference and use
	f->users = 1;
	me->seccomp = f;
	me->seccomp_mode = SECCOMP_MODE_FILTER;
	divert(me);
	if (!(flags & SECCOMP_FILTER_FLAG_TSYNC))
		return 0;
	list_for_each (t, &me->proc->threads, thread_link) {
		struct seccomp_filter *old = t->seccomp;
		if (t == me || t->exiting)
			continue;
		use(f);
		t->seccomp = f;
		t->seccomp_mode = SECCOMP_MODE_FILTER;
		divert(t);
		unuse(old);
	}
	return 0;
}

static long set_filter(u64 flags, const void __user *uprog)
{
	struct task *me = current;
	struct seccomp_filter *f;
	int fd = -1;
	long r;

	if (flags & ~(u64)FLAGS_KNOWN)
		return -EINVAL;
	if (flags & SECCOMP_FILTER_FLAG_TSYNC && flags & SECCOMP_FILTER_FLAG_NEW_LISTENER && !(flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH))
		return -EINVAL; // the result could not tell a descriptor from a thread
	if (flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV && !(flags & SECCOMP_FILTER_FLAG_NEW_LISTENER))
		return -EINVAL;
	if (!cred()->no_new_privs && !own_capable(CAP_SYS_ADMIN))
		return -EACCES;
	f = filter_new(uprog);
	if (IS_ERR(f))
		return PTR_ERR(f);
	f->log = flags & SECCOMP_FILTER_FLAG_LOG;
	if (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) {
		fd = notify_open(&f->notify, flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
		if (fd < 0) {
			seccomp_put(f);
			return fd;
		}
	}
	mutex_lock(&me->proc->sig_lock);
	r = add_filter(me, f, flags);
	mutex_unlock(&me->proc->sig_lock);
	if (r) {
		seccomp_put(f);
		if (fd >= 0)
			fd_close(fd);
		return r;
	}
	return fd >= 0 ? fd : 0;
}

static long set_strict(void)
{
	struct task *me = current;
	long r = 0;

	mutex_lock(&me->proc->sig_lock);
	if (me->seccomp_mode && me->seccomp_mode != SECCOMP_MODE_STRICT) {
		r = -EINVAL;
	} else {
		me->seccomp_mode = SECCOMP_MODE_STRICT;
		divert(me);
	}
	mutex_unlock(&me->proc->sig_lock);
	return r;
}

static long action_available(const void __user *uaction)
{
	u32 a;

	if (get_user(a, (const u32 __user *)uaction))
		return -EFAULT;
	switch (a) {
	case SECCOMP_RET_KILL_PROCESS:
	case SECCOMP_RET_KILL_THREAD:
	case SECCOMP_RET_TRAP:
	case SECCOMP_RET_ERRNO:
	case SECCOMP_RET_USER_NOTIF:
	case SECCOMP_RET_TRACE:
	case SECCOMP_RET_LOG:
	case SECCOMP_RET_ALLOW: return 0;
	default: return -EOPNOTSUPP;
	}
}

long sys_seccomp(u32 op, u32 flags, void __user *args)
{
	struct seccomp_notif_sizes sizes = {sizeof(struct seccomp_notif), sizeof(struct seccomp_notif_resp), sizeof(struct seccomp_data)};

	switch (op) {
	case SECCOMP_SET_MODE_STRICT: return flags || args ? -EINVAL : set_strict();
	case SECCOMP_SET_MODE_FILTER: return set_filter(flags, args);
	case SECCOMP_GET_ACTION_AVAIL: return flags ? -EINVAL : action_available(args);
	case SECCOMP_GET_NOTIF_SIZES: return flags ? -EINVAL : copy_to_user(args, &sizes, sizeof(sizes));
	default: return -EINVAL;
	}
}

long seccomp_prctl(u64 mode, const void __user *prog)
{
	return mode == SECCOMP_MODE_STRICT ? set_strict() : mode == SECCOMP_MODE_FILTER ? set_filter(0, prog) : -EINVAL;
}

// --- the verdict on a call

static void data_of(struct seccomp_data *d, const struct regs *r, const struct seccomp_filter *f)
{
	bool ip = false;

	d->nr = (int)r->orig_rax;
	d->arch = AUDIT_ARCH_X86_64;
	d->args[0] = r->rdi, d->args[1] = r->rsi, d->args[2] = r->rdx;
	d->args[3] = r->r10, d->args[4] = r->r8, d->args[5] = r->r9;
	for (; f && !ip; f = f->prev)
		ip = f->uses_ip;
	d->instruction_pointer = ip ? text_call_address(r->rip) : r->rip;
}

// The strictest of all filters' answers, the newest's among equals.
static u32 verdict(struct seccomp_filter *f, const struct seccomp_data *d, struct seccomp_filter **match)
{
	u32 best = SECCOMP_RET_ALLOW;

	for (*match = f; f; f = f->prev) {
		u32 v = bpf_run(f->insn, d);
		if ((s32)(v & SECCOMP_RET_ACTION_FULL) < (s32)(best & SECCOMP_RET_ACTION_FULL)) {
			best = v;
			*match = f;
		}
	}
	return best;
}

static void note(const struct regs *r, u32 v)
{
	pr_info("seccomp: task %d (%s) called %ld: action %x\n", current->tid, current->comm, (s64)r->orig_rax, v);
}

static void __noreturn kill_by(u32 action)
{
	struct task *t = current;
	bool last;

	mutex_lock(&t->proc->sig_lock);
	last = t->proc->nthreads == 1;
	mutex_unlock(&t->proc->sig_lock);
	if (action != SECCOMP_RET_KILL_THREAD || last)
		proc_exit(SIGSYS);
	task_exit(SIGSYS);
}

static void trap(struct regs *r, u32 data)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGSYS;
	info.si_code = SYS_SECCOMP;
	info.si_errno = (int)data;
	info.si_call_addr = (__force void *)U(text_call_address(r->rip));
	info.si_syscall = (int)r->orig_rax;
	info.si_arch = AUDIT_ARCH_X86_64;
	r->rax = r->orig_rax; // the handler finds the registers as they were
	signal_force_info(&info);
}

// 1: make the call, 0: skip it, -1: ask the filters again (a tracer may have changed the call)
static int traced(struct regs *r, u32 data)
{
	struct task *t = current;

	if (!ptraced(t) || !(t->pt->options & PTRACE_O_TRACESECCOMP))
		return 0; // the result is ENOSYS
	ptrace_event(PTRACE_EVENT_SECCOMP, data);
	if (__atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & WORK_EXIT || (s32)r->orig_rax < 0)
		return 0;
	return -1;
}

static bool strict(const struct regs *r)
{
	switch (r->orig_rax) {
	case __NR_read:
	case __NR_write:
	case __NR_exit:
	case __NR_rt_sigreturn: return true;
	default: task_exit(SIGKILL);
	}
}

bool seccomp_syscall_enter(struct regs *r)
{
	struct task *t = current;
	struct seccomp_filter *f;
	struct seccomp_data d;
	bool again = false;

	if (t->seccomp_mode == SECCOMP_MODE_STRICT)
		return strict(r);
	for (;;) {
		struct seccomp_filter *top = __atomic_load_n(&t->seccomp, __ATOMIC_ACQUIRE);
		data_of(&d, r, top);
		u32 v = verdict(top, &d, &f), data = v & SECCOMP_RET_DATA;
		int go;

		switch (v & SECCOMP_RET_ACTION_FULL) {
		case SECCOMP_RET_ALLOW: return true;
		case SECCOMP_RET_LOG: note(r, v); return true;
		case SECCOMP_RET_ERRNO:
			if (f->log)
				note(r, v);
			r->rax = (u64) - (s64)min(data, (u32)MAX_ERRNO);
			return false;
		case SECCOMP_RET_TRAP: trap(r, data); return false;
		case SECCOMP_RET_USER_NOTIF:
			if (!f->notify)
				return false; // ENOSYS
			return notify_ask(f->notify, r, &d);
		case SECCOMP_RET_TRACE:
			go = again ? 1 : traced(r, data);
			if (go >= 0)
				return go;
			again = true;
			continue;
		default:
			note(r, v);
			kill_by(v & SECCOMP_RET_ACTION_FULL);
		}
	}
}
