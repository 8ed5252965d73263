// SPDX-License-Identifier: Apache-2.0
// Signal frames as Linux x86-64 lays them out (arch/x86/kernel/signal.c): [restorer][ucontext][siginfo] below the
// 64-byte aligned XSAVE area, on the program's stack or its alternate stack. rt_sigreturn and sigaltstack.
// Works on the current task only; takes sig_lock through signal_set_mask.
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include "kernel/task/ptrace.h"
#include <asm/sigcontext.h>
#include <asm/ucontext.h>
#include <linux/signal.h>

#define RED_ZONE     128
#define XSTATE_SMALL 4096 // larger areas come from the heap
#define FXSAVE_LEN   512
#define SW_RESERVED  464 // offset of struct _fpx_sw_bytes
#define MXCSR	     24
#define FCW	     0
#define XHEADER	     512
#define USER_CS	     0x33
#define USER_SS	     0x2b
#define FLAGS_USER   0x240dd5ul // AC OF DF TF SF ZF AF PF CF, as FIX_EFLAGS of Linux; and ID
#define FLAG_TF	     0x100ul
#define FLAG_DF	     0x400ul
#define FLAG_RF	     0x10000ul
#define AUTODISARM   (1u << 31) // SS_AUTODISARM
#define MINSIGSTKSZ_ 2048

struct rt_sigframe {
	u64 restorer;
	struct ucontext uc;
	siginfo_t info;
};

static bool on_altstack(const struct task *t, u64 sp)
{
	if (t->altstack_flags & (int)AUTODISARM)
		return false;
	return sp > t->altstack_sp && sp - t->altstack_sp <= t->altstack_size;
}

static void *xarea_get(void *small, size_t size)
{
	// 64-byte alignment by hand: the heap gives 16
	return size <= XSTATE_SMALL ? small : kmalloc(size + 64);
}
static void *xarea_align(void *p) { return (void *)ALIGN_UP((uptr)p, 64); }

// A fresh vector state, which a handler or a program starts with.
void xstate_reset(void)
{
	static u8 init[XSTATE_SMALL] __aligned(64);
	static bool ready;

	if (pf_xstate_size() > sizeof(init))
		return;
	if (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
		init[FCW] = 0x7f;
		init[FCW + 1] = 0x03;
		init[MXCSR] = 0x80;
		init[MXCSR + 1] = 0x1f;
		__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
	}
	pf_xrstor(init);
}

static int put_xstate(u64 to)
{
	u8 small[XSTATE_SMALL + 64];
	size_t size = pf_xstate_size();
	u8 *mem = xarea_get(small, size + sizeof(u32)), *area;
	u32 magic2 = FP_XSTATE_MAGIC2;
	int r;

	if (!mem)
		return -ENOMEM;
	area = xarea_align(mem);
	memset(area, 0, size);
	pf_xsave(area);
	struct _fpx_sw_bytes sw = {.magic1 = FP_XSTATE_MAGIC1,
				   .extended_size = (u32)(size + sizeof(magic2)),
				   .xfeatures = pf_xstate_mask(),
				   .xstate_size = (u32)size};
	memcpy(area + SW_RESERVED, &sw, sizeof(sw));
	memcpy(area + size, &magic2, sizeof(magic2));
	r = copy_to_user(U(to), area, size + sizeof(magic2));
	if (mem != small)
		kfree(mem);
	return r;
}

// Restores the vector state from a frame. A frame without one gets the initial state.
static int get_xstate(u64 from)
{
	u8 small[XSTATE_SMALL + 64];
	size_t size = pf_xstate_size();
	u8 *mem, *area;
	struct _fpx_sw_bytes sw;
	u64 bv;
	int r = -EFAULT;

	if (!from) {
		xstate_reset();
		return 0;
	}
	mem = xarea_get(small, size);
	if (!mem)
		return -ENOMEM;
	area = xarea_align(mem);
	if (copy_from_user(area, U(from), FXSAVE_LEN))
		goto out;
	memcpy(&sw, area + SW_RESERVED, sizeof(sw));
	if (sw.magic1 == FP_XSTATE_MAGIC1 && sw.xstate_size >= XHEADER + 64 && sw.xstate_size <= size &&
	    sw.extended_size == sw.xstate_size + FP_XSTATE_MAGIC2_SIZE) {
		memset(area + FXSAVE_LEN, 0, size - FXSAVE_LEN);
		if (copy_from_user(area + FXSAVE_LEN, (u8 __user *)U(from) + FXSAVE_LEN, sw.xstate_size - FXSAVE_LEN))
			goto out;
		memcpy(&bv, area + XHEADER, sizeof(bv));
		bv &= sw.xfeatures & pf_xstate_mask();
	} else {
		memset(area + FXSAVE_LEN, 0, size - FXSAVE_LEN);
		bv = 3; // x87 and SSE
	}
	memset(area + XHEADER, 0, 64);
	memcpy(area + XHEADER, &bv, sizeof(bv));
	r = pf_xrstor(area);
out:
	if (mem != small)
		kfree(mem);
	return r;
}

static void save_context(struct sigcontext *c, const struct regs *r, const struct task *t, u64 mask)
{
	c->r8 = r->r8, c->r9 = r->r9, c->r10 = r->r10, c->r11 = r->r11;
	c->r12 = r->r12, c->r13 = r->r13, c->r14 = r->r14, c->r15 = r->r15;
	c->rdi = r->rdi, c->rsi = r->rsi, c->rbp = r->rbp, c->rbx = r->rbx;
	c->rdx = r->rdx, c->rax = r->rax, c->rcx = r->rcx, c->rsp = r->rsp;
	c->rip = r->rip, c->eflags = r->flags;
	c->cs = USER_CS, c->ss = USER_SS;
	c->err = t->trap_err, c->trapno = t->trap_no, c->cr2 = t->trap_fault_addr;
	c->oldmask = mask;
}

int sigframe_build(struct regs *regs, int sig, const siginfo_t *info, const struct ksigaction *ka, sigset old_mask)
{
	struct task *t = current;
	struct rt_sigframe f;
	u64 sp = regs->rsp, fp, at;
	bool nested = on_altstack(t, sp);

	if (t->pt && t->pt->forced_tf) // the program did not set it: not for its frame
		regs->flags &= ~FLAG_TF, t->pt->forced_tf = false;
	if (!(ka->flags & SA_RESTORER) || !access_ok(ka->handler, 1))
		return -EFAULT;
	if (ka->flags & SA_ONSTACK && t->altstack_size && !nested)
		sp = t->altstack_sp + t->altstack_size;
	else
		sp -= RED_ZONE;
	fp = ALIGN_DOWN(sp - pf_xstate_size() - FP_XSTATE_MAGIC2_SIZE, 64ul);
	at = ALIGN_DOWN(fp - sizeof(f), 16ul) - 8;
	// An overflow of the alternate stack must not write below it.
	if (nested && at < t->altstack_sp)
		return -EFAULT;
	if (ka->flags & SA_ONSTACK && t->altstack_size && !nested && (at < t->altstack_sp || at > sp))
		return -EFAULT;

	memset(&f, 0, sizeof(f));
	f.restorer = (u64)(__force uptr)ka->restorer;
	f.uc.uc_flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	f.uc.uc_stack.ss_sp = (void *)t->altstack_sp;
	f.uc.uc_stack.ss_size = t->altstack_size;
	f.uc.uc_stack.ss_flags = t->altstack_size ? (nested ? SS_ONSTACK : 0) | t->altstack_flags : SS_DISABLE;
	save_context(&f.uc.uc_mcontext, regs, t, old_mask);
	f.uc.uc_mcontext.fpstate = (void *)fp;
	memcpy(&f.uc.uc_sigmask, &old_mask, sizeof(old_mask));
	f.info = *info;
	if (copy_to_user(U(at), &f, sizeof(f)) || put_xstate(fp))
		return -EFAULT;

	if (t->altstack_flags & (int)AUTODISARM) {
		t->altstack_sp = t->altstack_size = 0;
		t->altstack_flags = SS_DISABLE;
	}
	regs->rdi = (u64)sig;
	regs->rsi = at + offsetof(struct rt_sigframe, info);
	regs->rdx = at + offsetof(struct rt_sigframe, uc);
	regs->rax = 0;
	regs->rsp = at;
	regs->rip = (u64)(__force uptr)ka->handler;
	regs->flags &= ~(FLAG_DF | FLAG_RF | FLAG_TF);
	regs->cs = USER_CS;
	regs->ss = USER_SS;
	xstate_reset();
	return 0;
}

static void load_context(struct regs *r, const struct sigcontext *c)
{
	r->r8 = c->r8, r->r9 = c->r9, r->r10 = c->r10, r->r11 = c->r11;
	r->r12 = c->r12, r->r13 = c->r13, r->r14 = c->r14, r->r15 = c->r15;
	r->rdi = c->rdi, r->rsi = c->rsi, r->rbp = c->rbp, r->rbx = c->rbx;
	r->rdx = c->rdx, r->rax = c->rax, r->rcx = c->rcx, r->rsp = c->rsp;
	r->rip = c->rip;
	r->flags = 0x202 | (c->eflags & FLAGS_USER);
	r->cs = USER_CS;
	r->ss = USER_SS;
	r->orig_rax = U64_MAX;
}

static int set_altstack(struct task *t, const stack_t *ss, u64 sp, size_t min_size)
{
	u32 mode = (u32)ss->ss_flags & ~AUTODISARM;

	if (on_altstack(t, sp))
		return -EPERM;
	if (mode && mode != SS_ONSTACK && mode != SS_DISABLE)
		return -EINVAL;
	if (mode == SS_DISABLE) {
		t->altstack_sp = t->altstack_size = 0;
		t->altstack_flags = ss->ss_flags;
		return 0;
	}
	if (ss->ss_size < min_size)
		return -ENOMEM;
	t->altstack_sp = (u64)ss->ss_sp;
	t->altstack_size = ss->ss_size;
	t->altstack_flags = ss->ss_flags & (int)AUTODISARM;
	return 0;
}

long sys_sigaltstack(const void __user *uss, void __user *uold)
{
	struct task *t = current;
	u64 sp = t->regs->rsp;
	stack_t ss, old;
	int r;

	memset(&old, 0, sizeof(old));
	old.ss_sp = (void *)t->altstack_sp;
	old.ss_size = t->altstack_size;
	old.ss_flags = (t->altstack_size ? (on_altstack(t, sp) ? SS_ONSTACK : 0) : SS_DISABLE) |
		       (t->altstack_flags & (int)AUTODISARM);
	if (uss) {
		if (copy_from_user(&ss, uss, sizeof(ss)))
			return -EFAULT;
		r = set_altstack(t, &ss, sp, MINSIGSTKSZ_);
		if (r)
			return r;
	}
	return uold ? copy_to_user(uold, &old, sizeof(old)) : 0;
}

// Ends in the exit path, not by returning: rax too comes from the frame.
long sys_rt_sigreturn(void)
{
	struct task *t = current;
	struct regs *regs = t->regs;
	u64 at = regs->rsp - 8;
	struct ucontext uc;
	sigset mask;

	if (copy_from_user(&uc, U(at + offsetof(struct rt_sigframe, uc)), sizeof(uc)))
		goto bad;
	if (!access_ok(U(uc.uc_mcontext.rip), 1))
		goto bad;
	memcpy(&mask, &uc.uc_sigmask, sizeof(mask));
	if (get_xstate((u64)uc.uc_mcontext.fpstate))
		goto bad;
	signal_set_mask(mask);
	load_context(regs, &uc.uc_mcontext);
	// as in Linux, a stack that cannot be set is no error here
	set_altstack(t, &uc.uc_stack, regs->rsp, 0);
	if (t->pt)
		ptrace_watch_go_on(t, regs);
	pf_enter_user(regs);
bad:
	regs->orig_rax = U64_MAX;
	signal_force(SIGSEGV, SI_KERNEL, 0);
	return 0;
}

// A processor fault of the program, from the platform. Mappings that grow on demand first, then a signal.
void kernel_fault(struct regs *regs, int sig, int code, u64 addr, u64 err, u64 trapno)
{
	enum { PAGE_FAULT = 14, ERR_WRITE = 2 };
	struct task *t = current;

	if (sig == SIGTRAP && code == TRAP_TRACE && t->pt && t->pt->forced_tf && !ptraced(t)) {
		t->pt->forced_tf = false; // the tracer asked for the step and left
		regs->flags &= ~FLAG_TF;
		return;
	}
	if (sig == SIGTRAP && code == TRAP_TRACE && t->pt && !ptrace_watch_step(t, regs, &code))
		return;
	if (trapno == PAGE_FAULT && (sig == SIGSEGV || sig == SIGBUS)) {
		int r = mm_fault(addr, err & ERR_WRITE);
		if (!r)
			return;
		if (r != -EFAULT) {
			sig = SIGBUS;
			code = BUS_ADRERR;
		}
	}
	t->trap_fault_addr = trapno == PAGE_FAULT ? addr : t->trap_fault_addr;
	t->trap_err = err;
	t->trap_no = trapno;
	signal_force(sig, code, addr);
}
