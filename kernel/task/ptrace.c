// SPDX-License-Identifier: Apache-2.0
// ptrace(2): the requests. The tracee stands still (ptrace_stop.c), so registers, signals and events are read and
// written where they lie, under tasklist; memory goes through the tracee's own address space (mm/remote.c), with the
// rights of a debugger. What the tracer's memory takes or gives is copied without locks.
// Locks: tasklist, sig_lock inside it.
#include "kernel/task/ptrace.h"
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <asm/prctl.h>
#include <asm/ptrace-abi.h>
#include <linux/audit.h>
#include <linux/elf.h>
#include <linux/ptrace.h>
#include <linux/signal.h>

#define UNBLOCKABLE  (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))
#define FXSAVE_LEN   512
#define SW_RESERVED  464 // first word of what the FXSAVE area leaves to software: XCR0
#define OPTIONS_KNOWN (PTRACE_O_MASK & ~PTRACE_O_SUSPEND_SECCOMP)

// --- who traces whom

static long traceme(void)
{
	struct task *me = current, *t, *tracer = NULL;
	struct proc *parent;
	long r = -EPERM;

	mutex_lock(&tasklist);
	parent = me->proc->parent;
	if (ptraced(me) || !parent)
		goto out;
	mutex_lock(&parent->sig_lock);
	list_for_each (t, &parent->threads, thread_link)
		if (!t->exiting && (!tracer || t->tid == me->proc->forker))
			tracer = t;
	mutex_unlock(&parent->sig_lock);
	if (tracer)
		r = ptrace_link(me, tracer, false, 0);
out:
	mutex_unlock(&tasklist);
	return r;
}

static long attach(int pid, bool seize, u64 options)
{
	struct task *t = task_find(pid);
	struct proc *p;
	bool stop = false;
	long r = -EPERM;

	if (!t)
		return -ESRCH;
	p = t->proc;
	mutex_lock(&tasklist); // an exec that gains rights comes before, and is not allowed, or after, and finds a tracer
	if (p != curproc && remote_allowed(p) && !ptraced(t) && !t->dead && !t->exiting)
		r = ptrace_link(t, current, seize, (u32)options);
	if (!r) {
		stop = !seize;
		mutex_lock(&p->sig_lock);
		if (t->stopped)
			task_wake(t); // from the job-control stop into one of ours
		mutex_unlock(&p->sig_lock);
	}
	mutex_unlock(&tasklist);
	if (stop)
		signal_send_task(t, SIGSTOP, NULL);
	task_put(t);
	return r;
}

static long interrupt(struct task *t)
{
	if (!t->pt->seized)
		return -EIO;
	mutex_lock(&t->proc->sig_lock);
	if (t->pt->listening) {
		t->pt->listening = false;
		__atomic_store_n(&t->pt->stopped, false, __ATOMIC_SEQ_CST);
	}
	signal_wake(t, WORK_TRAP);
	mutex_unlock(&t->proc->sig_lock);
	return 0;
}

static long listen(struct ptrace *pt)
{
	bool cont;

	if (!pt->seized || !pt->has_info || (u32)pt->info.si_code >> 8 != PTRACE_EVENT_STOP)
		return -EIO;
	mutex_lock(&pt->task->proc->sig_lock);
	cont = __atomic_load_n(&pt->task->work, __ATOMIC_SEQ_CST) & WORK_TRAP; // SIGCONT came meanwhile
	if (!cont) {
		pt->listening = true;
		pt->code = 0;
	}
	mutex_unlock(&pt->task->proc->sig_lock);
	if (cont)
		ptrace_resume(pt);
	return 0;
}

static long resume(struct ptrace *pt, long req, u64 sig)
{
	if (sig > NSIG)
		return -EIO;
	pt->data = (int)sig;
	pt->syscall = req == PTRACE_SYSCALL;
	pt->step = req == PTRACE_SINGLESTEP || req == PTRACE_SYSEMU_SINGLESTEP;
	pt->emulate = req == PTRACE_SYSEMU || req == PTRACE_SYSEMU_SINGLESTEP;
	ptrace_resume(pt);
	return 0;
}

static long detach(struct task *t, u64 sig)
{
	if (sig > NSIG)
		return -EIO;
	t->pt->data = (int)sig;
	ptrace_unlink(t);
	return 0;
}

// --- signals

static long set_options(struct ptrace *pt, u64 v)
{
	if (v & ~(u64)OPTIONS_KNOWN)
		return -EINVAL;
	pt->options = (u32)v;
	return 0;
}

static sigset *mask_of(struct task *t) { return t->restore_blocked ? &t->saved_blocked : &t->blocked; }

static void set_mask(struct task *t, sigset set)
{
	mutex_lock(&t->proc->sig_lock);
	t->restore_blocked = false;
	t->blocked = set & ~UNBLOCKABLE;
	signal_recalc(t);
	mutex_unlock(&t->proc->sig_lock);
}

// The nth pending signal, left where it is. tasklist held.
static bool nth_pending(struct task *t, bool shared, u64 n, siginfo_t *info)
{
	struct sigpending *s = shared ? &t->proc->pending : &t->pending;
	struct sigqueue *q;
	bool hit = false;

	mutex_lock(&t->proc->sig_lock);
	list_for_each (q, &s->queue, link)
		if (!n--) {
			*info = q->info;
			hit = true;
			break;
		}
	mutex_unlock(&t->proc->sig_lock);
	return hit;
}

// --- requests on a stopped tracee: the tracer's memory is touched before or after, without locks

struct call {
	long req;
	u64 addr, data;
	u8 *buf;	// goes in or out, or NULL
	size_t n;	// bytes in buf
	u64 small[32];	// buf of short ones
};

static u32 stop_op(const struct ptrace *pt)
{
	if (pt->kind == PT_ENTRY)
		return PTRACE_SYSCALL_INFO_ENTRY;
	if (pt->kind == PT_EXIT)
		return PTRACE_SYSCALL_INFO_EXIT;
	return pt->kind == PT_EVENT && pt->info.si_code >> 8 == PTRACE_EVENT_SECCOMP ? PTRACE_SYSCALL_INFO_SECCOMP : PTRACE_SYSCALL_INFO_NONE;
}

static long syscall_info(struct task *t, struct call *c)
{
	struct ptrace_syscall_info *i = (void *)c->buf;
	struct regs *r = t->regs;
	const u64 args[] = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9};
	size_t size = offsetof(struct ptrace_syscall_info, entry);

	_Static_assert(sizeof(*i) <= sizeof(c->small), "room for the answer");
	memset(i, 0, sizeof(*i));
	i->op = (u8)stop_op(t->pt);
	i->arch = AUDIT_ARCH_X86_64;
	i->instruction_pointer = r->rip;
	i->stack_pointer = r->rsp;
	if (i->op == PTRACE_SYSCALL_INFO_ENTRY || i->op == PTRACE_SYSCALL_INFO_SECCOMP) {
		i->entry.nr = r->orig_rax;
		memcpy(i->entry.args, args, sizeof(args));
		size += sizeof(i->entry);
		if (i->op == PTRACE_SYSCALL_INFO_SECCOMP) {
			i->seccomp.ret_data = (u32)t->pt->msg;
			size = offsetof(struct ptrace_syscall_info, seccomp.ret_data) + 4;
		}
	} else if (i->op == PTRACE_SYSCALL_INFO_EXIT) {
		i->exit.rval = (s64)r->rax;
		i->exit.is_error = r->rax >= (u64)-MAX_ERRNO;
		size = offsetof(struct ptrace_syscall_info, exit.is_error) + 1;
	}
	c->n = min(c->addr, size);
	return (long)size;
}

// tasklist held; c->buf is kernel memory. Result of the call.
static long act(struct task *t, struct call *c)
{
	struct ptrace *pt = t->pt;

	switch (c->req) {
	case PTRACE_KILL: signal_send_task(t, SIGKILL, NULL); return 0;
	case PTRACE_INTERRUPT: return interrupt(t);
	case PTRACE_LISTEN: return listen(pt);
	case PTRACE_CONT:
	case PTRACE_SYSCALL:
	case PTRACE_SINGLESTEP:
	case PTRACE_SYSEMU:
	case PTRACE_SYSEMU_SINGLESTEP: return resume(pt, c->req, c->data);
	case PTRACE_DETACH: return detach(t, c->data);
	case PTRACE_OLDSETOPTIONS:
	case PTRACE_SETOPTIONS: return set_options(pt, c->data);
	case PTRACE_GETEVENTMSG: memcpy(c->buf, &pt->msg, 8); return 0;
	case PTRACE_GETREGS: ptrace_getregs(t, (u64 *)c->buf); return 0;
	case PTRACE_SETREGS: return ptrace_setregs(t, (u64 *)c->buf, (u32)(c->n / 8));
	case PTRACE_PEEKUSR: return ptrace_peekuser(t, c->addr, (u64 *)c->buf);
	case PTRACE_POKEUSR: return ptrace_pokeuser(t, c->addr, c->data);
	case PTRACE_GETFPREGS:
		memcpy(c->buf, pt->xstate, c->n);
		if (c->n > FXSAVE_LEN) {
			u64 mask = pf_xstate_mask();
			memcpy(c->buf + SW_RESERVED, &mask, 8);
		}
		return 0;
	case PTRACE_SETFPREGS: return ptrace_set_xstate(t, c->buf, c->n);
	case PTRACE_GETSIGINFO:
		if (!pt->has_info)
			return -EINVAL;
		memcpy(c->buf, &pt->info, sizeof(pt->info));
		return 0;
	case PTRACE_SETSIGINFO:
		if (!pt->has_info)
			return -EINVAL;
		memcpy(&pt->info, c->buf, sizeof(pt->info));
		return 0;
	case PTRACE_GETSIGMASK: memcpy(c->buf, mask_of(t), 8); return 0;
	case PTRACE_SETSIGMASK: set_mask(t, *(sigset *)(void *)c->buf); return 0;
	case PTRACE_GET_SYSCALL_INFO: return syscall_info(t, c);
	case PTRACE_ARCH_PRCTL:
		if (c->data == ARCH_SET_FS)
			return ptrace_pokeuser(t, 21 * 8, c->addr);
		if (c->data != ARCH_GET_FS)
			return -EINVAL;
		memcpy(c->buf, &t->fs_base, 8);
		return 0;
	default: return -EIO;
	}
}

// Finds the tracee and does what needs it to stand still (or not, for KILL and INTERRUPT).
static long on_tracee(int pid, struct call *c)
{
	bool any = c->req == PTRACE_KILL || c->req == PTRACE_INTERRUPT;
	struct task *t = task_find(pid);
	long r = -ESRCH;

	if (!t)
		return r;
	mutex_lock(&tasklist);
	if (t->pt && t->pt->tracer == current && !t->pt->zombie && (any || (t->pt->stopped && !t->pt->listening)))
		r = act(t, c);
	mutex_unlock(&tasklist);
	task_put(t);
	return r;
}

static long out(int pid, struct call *c, u64 to)
{
	long r = on_tracee(pid, c);

	return r >= 0 && copy_to_user(U(to), c->buf, c->n) ? -EFAULT : r;
}

static long in(int pid, struct call *c)
{
	if (copy_from_user(c->buf, U(c->data), c->n))
		return -EFAULT;
	return on_tracee(pid, c);
}

// The tracee for a request on its memory: a reference, without lock; or NULL.
static struct task *standing(int pid)
{
	struct task *t = task_find(pid);
	bool ok;

	if (!t)
		return NULL;
	mutex_lock(&tasklist);
	ok = t->pt && t->pt->tracer == current && t->pt->stopped && !t->pt->listening;
	mutex_unlock(&tasklist);
	if (!ok) {
		task_put(t);
		t = NULL;
	}
	return t;
}

static long memory(int pid, u64 addr, u64 data, bool write)
{
	struct task *t = standing(pid);
	u64 v = data;
	ssize_t n;

	if (!t)
		return -ESRCH;
	n = write ? remote_poke(t, 0, &v, addr, 8) : remote_peek(t, 0, &v, addr, 8);
	task_put(t);
	if (n != 8)
		return -EIO;
	return write ? 0 : put_user(v, (u64 __user *)U(data));
}

static long peek_siginfo(int pid, struct call *c)
{
	struct ptrace_peeksiginfo_args a;
	siginfo_t info;
	long done = 0;

	if (copy_from_user(&a, U(c->addr), sizeof(a)))
		return -EFAULT;
	if (a.flags & ~PTRACE_PEEKSIGINFO_SHARED || a.nr < 0)
		return -EINVAL;
	for (; done < a.nr; done++) {
		struct task *t = standing(pid);
		bool hit;

		if (!t)
			return done ? done : -ESRCH;
		hit = nth_pending(t, a.flags & PTRACE_PEEKSIGINFO_SHARED, a.off + (u64)done, &info);
		task_put(t);
		if (!hit)
			break;
		if (copy_to_user((siginfo_t __user *)U(c->data) + done, &info, sizeof(info)))
			return done ? done : -EFAULT;
	}
	return done;
}

// GETREGSET, SETREGSET: the same registers under other names. The vector state is larger than c->small.
static long regset(int pid, struct call *c, bool write)
{
	struct iovec v, __user *uv = U(c->data);
	size_t full = c->addr == NT_PRSTATUS ? USER_REGS * 8 : c->addr == NT_PRFPREG ? FXSAVE_LEN : pf_xstate_size();
	long r;

	if (c->addr != NT_PRSTATUS && c->addr != NT_PRFPREG && c->addr != NT_X86_XSTATE)
		return -EINVAL;
	if (copy_from_user(&v, uv, sizeof(v)))
		return -EFAULT;
	if (v.iov_len % 8)
		return -EINVAL;
	c->n = v.iov_len = min(v.iov_len, full);
	if (write && c->addr == NT_X86_XSTATE && c->n != full)
		return -EFAULT;
	c->buf = kzalloc(full);
	if (!c->buf)
		return -ENOMEM;
	if (c->addr == NT_PRSTATUS) {
		c->req = write ? PTRACE_SETREGS : PTRACE_GETREGS;
	} else {
		c->req = write ? PTRACE_SETFPREGS : PTRACE_GETFPREGS;
		if (c->addr == NT_PRFPREG && write && c->n != full) { // the rest stays
			size_t n = c->n;
			c->n = full;
			c->req = PTRACE_GETFPREGS;
			on_tracee(pid, c);
			c->req = PTRACE_SETFPREGS;
			c->n = n;
		}
	}
	if (write) {
		r = copy_from_user(c->buf, U(v.iov_base), c->n);
		if (!r && c->req == PTRACE_SETFPREGS)
			c->n = full;
		if (!r)
			r = on_tracee(pid, c);
	} else {
		size_t n = c->n;
		c->n = full;
		r = on_tracee(pid, c);
		if (!r)
			r = copy_to_user(U(v.iov_base), c->buf, n);
	}
	kfree(c->buf);
	return r ? r : put_user(v.iov_len, &uv->iov_len);
}

static long fpregs(int pid, struct call *c)
{
	u8 area[FXSAVE_LEN];

	c->buf = area;
	c->n = sizeof(area);
	return c->req == PTRACE_GETFPREGS ? out(pid, c, c->data) : in(pid, c);
}

long sys_ptrace(long req, long pid, u64 addr, u64 data)
{
	struct call c = {.req = req, .addr = addr, .data = data};
	long r;

	c.buf = (u8 *)c.small;
	switch (req) {
	case PTRACE_TRACEME: return traceme();
	case PTRACE_ATTACH: return attach((int)pid, false, 0);
	case PTRACE_SEIZE:
		if (addr || data & ~(u64)OPTIONS_KNOWN)
			return -EIO;
		return attach((int)pid, true, data);
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA: return memory((int)pid, addr, data, false);
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA: return memory((int)pid, addr, data, true);
	case PTRACE_PEEKUSR:
	case PTRACE_GETEVENTMSG:
		c.n = 8;
		return out((int)pid, &c, data);
	case PTRACE_GETREGS:
		c.n = USER_REGS * 8;
		return out((int)pid, &c, data);
	case PTRACE_SETREGS:
		c.n = USER_REGS * 8;
		return in((int)pid, &c);
	case PTRACE_GETFPREGS:
	case PTRACE_SETFPREGS: return fpregs((int)pid, &c);
	case PTRACE_GETREGSET:
	case PTRACE_SETREGSET: return regset((int)pid, &c, req == PTRACE_SETREGSET);
	case PTRACE_GETSIGINFO:
		c.n = sizeof(siginfo_t);
		return out((int)pid, &c, data);
	case PTRACE_SETSIGINFO:
		c.n = sizeof(siginfo_t);
		return in((int)pid, &c);
	case PTRACE_GETSIGMASK:
	case PTRACE_SETSIGMASK:
		c.n = sizeof(sigset);
		if (addr != c.n)
			return -EINVAL;
		return req == PTRACE_GETSIGMASK ? out((int)pid, &c, data) : in((int)pid, &c);
	case PTRACE_PEEKSIGINFO: return peek_siginfo((int)pid, &c);
	case PTRACE_GET_SYSCALL_INFO: return out((int)pid, &c, data);
	case PTRACE_ARCH_PRCTL:
		r = on_tracee((int)pid, &c);
		return !r && data == ARCH_GET_FS ? copy_to_user(U(addr), c.buf, 8) : r;
	default: return on_tracee((int)pid, &c);
	}
}
