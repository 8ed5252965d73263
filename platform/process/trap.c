// SPDX-License-Identifier: Apache-2.0
// Host signals: system calls that no trampoline caught (SIGSYS of the seccomp filter), faults, and kicks. The
// handlers do no kernel work: they move the interrupted registers into struct regs on the (empty)
// kernel stack and point the host frame at ktrap, so that the kernel runs in ordinary thread context, with the
// program's vector state live. Takes no locks.
#include "kernel/include/boot.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "platform/process/window.h"
#include <asm/sigcontext.h>
#include <asm/ucontext.h>

#define SA_RESTORER_ 0x04000000ul
#define AUDIT_ARCH_X86_64_ 0xc000003eu
#define SI_KERNEL_ 0x80

struct host_sigaction {
	void *handler;
	u64 flags;
	void *restorer;
	u64 mask;
};

enum { ERR_PRESENT = 1, ERR_KEY = 0x20 };
enum { FLAG_TF = 0x100, FLAG_DF = 0x400, FLAG_NT = 0x4000, FLAG_AC = 0x40000 };

extern u64 extable_start[], extable_end[];
void kernel_trap(struct regs *r);
void exit_work(struct regs *r);
void exit_restart(struct regs *r);
void kernel_fault(struct regs *regs, int sig, int code, u64 addr, u64 err, u64 trapno);
long syscall_dispatch(struct regs *r);

enum trap_kind { TRAP_SYSCALL, TRAP_FAULT, TRAP_KICK, TRAP_RSEQ };

static void *trap_restorer(void);

static void regs_from_host(struct regs *r, const struct sigcontext *c)
{
	r->r15 = c->r15, r->r14 = c->r14, r->r13 = c->r13, r->r12 = c->r12;
	r->rbp = c->rbp, r->rbx = c->rbx, r->r11 = c->r11, r->r10 = c->r10;
	r->r9 = c->r9, r->r8 = c->r8, r->rax = c->rax, r->rcx = c->rcx;
	r->rdx = c->rdx, r->rsi = c->rsi, r->rdi = c->rdi;
	r->rip = c->rip, r->flags = c->eflags, r->rsp = c->rsp;
	r->cs = c->cs, r->ss = c->ss ? c->ss : 0x2b;
	r->orig_rax = U64_MAX;
}

// The host's sigreturn leaves this flag as it is now, whatever the context says.
static void clear_nt(void) { __asm__ volatile("pushfq\n\tandq $~0x4000, (%%rsp)\n\tpopfq" ::: "memory", "cc"); }

static void redirect(struct sigcontext *c, struct window *w)
{
	c->rip = (u64)gate->ktrap;
	c->rdi = c->rsp = (u64)win_regs(w);
	c->cs = 0x33, c->ss = 0x2b; // the program may have gone to 32-bit code
	c->eflags &= ~(FLAG_TF | FLAG_DF | FLAG_AC);
	clear_nt();
}

// A program can enter the kernel with flags and a GS base that Linux would have changed on the way in; the kernel meets them at its
// first step that minds. True: put right, the instruction is run again (or the program gets SIGSEGV for registers that
// iretq refuses).
static bool program_state(int sig, bool gs_lost, struct sigcontext *c, struct window *w)
{
	if (gs_lost)
		return true;
	if (sig == SIGTRAP && c->eflags & FLAG_TF) {
		c->eflags &= ~FLAG_TF;
		return true;
	}
	if (sig == SIGBUS && c->eflags & FLAG_AC) {
		c->eflags &= ~FLAG_AC;
		return true;
	}
	if (c->rip != (u64)gate->kexit_iret)
		return false;
	if (c->eflags & FLAG_NT) {
		clear_nt();
		return true;
	}
	w->trap_kind = TRAP_FAULT;
	w->trap_sig = SIGSEGV;
	w->trap_code = SI_KERNEL_;
	w->trap_addr = 0;
	w->trap_err = 0;
	w->trap_no = 13; // general protection
	struct regs *r = win_regs(w);
	r->cs = 0x33, r->ss = 0x2b;
	redirect(c, w);
	return true;
}

// Registers hold what programs compute with: for enclaves whose owner lets them be looked at.
static void registers(const struct sigcontext *c)
{
	klog(LOG_LAST, "  rip %lx rsp %lx rbp %lx flags %lx error %lx trap %lu\n", (u64)c->rip, (u64)c->rsp, (u64)c->rbp, (u64)c->eflags, (u64)c->err, (u64)c->trapno);
	klog(LOG_LAST, "  rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx\n", (u64)c->rax, (u64)c->rbx, (u64)c->rcx, (u64)c->rdx, (u64)c->rsi, (u64)c->rdi);
	klog(LOG_LAST, "  r8 %lx r9 %lx r10 %lx r11 %lx r12 %lx r13 %lx r14 %lx r15 %lx\n", (u64)c->r8, (u64)c->r9, (u64)c->r10, (u64)c->r11, (u64)c->r12, (u64)c->r13,
	     (u64)c->r14, (u64)c->r15);
}

static const char *region(u64 at)
{
	if (at < PAGE_SIZE)
		return "a null pointer";
	return at < USER_MAX ? at - K_BASE < K_END - K_BASE ? "the kernel's memory" : "a program's memory" : "no address";
}

static void __noreturn kernel_died(int sig, const siginfo_t *info, const struct sigcontext *c)
{
	u64 at = (u64)info->si_addr;

	if ((at & ~(PAGE_SIZE - 1)) == (u64)win_self() + WIN_GUARD)
		klog(LOG_LAST, "kernel stack overflow\n");
	if (boot_info.debug) {
		registers(c);
		panic_at(c->rip, c->rbp, "kernel fault: signal %d at %lx, address %lx", sig, (u64)c->rip, at);
	}
	panic_at(c->rip, c->rbp, "kernel fault: signal %d at %lx, address in %s", sig, (u64)c->rip, region(at));
}

// Hosts up to Linux 6.18 have done it, and aborted the critical section that the program was in. Memory that is gone ends the
// host process here: the program's mistake, and the kernel has not begun.
static void rseq_word_clear(struct window *w)
{
	if (__atomic_load_n(w->h.rseq_word, __ATOMIC_RELAXED))
		__atomic_store_n(w->h.rseq_word, 0, __ATOMIC_RELAXED);
}

// Whether the host found the program's area spoilt on the way in, where its word is not cleared yet: at each instruction the thread may have lost the CPU.
static bool spoilt_on_the_way_in(int sig, int code, u64 ip, const struct window *w)
{
	return sig == SIGSEGV && code == SI_KERNEL_ && w->h.rseq_area &&
	       ((ip >= (u64)gate->kentry && ip < (u64)gate->kexit) || ip == (u64)gate->kexit_end);
}

// Ends the host process as by a fault of the program: with SIGSEGV blocked as it is, the host does (death.c).
static void die_of_the_program(struct window *w)
{
	w->h.in_kernel = 0;
	*(volatile u8 *)(1ul << 62) = 0; // no address
}

// All three kinds; on the window's host signal stack, further host signals blocked.
static void handle(int sig, siginfo_t *info, void *ctx, struct window *w, bool gs_lost)
{
	struct ucontext *uc = ctx;
	struct sigcontext *c = (struct sigcontext *)&uc->uc_mcontext;
	struct regs *r = win_regs(w);
	u64 ip = c->rip;
	bool in_kernel = ip >= (u64)kernel_text_start && ip < (u64)kernel_text_end;

	if (in_kernel && ip == (u64)gate->kexit_jmp) {
		c->rip = ip = c->rcx; // the last instruction of the way out: all else is the program's already
		in_kernel = false;
	}
	if (sig == KICK_SIGNAL) {
		if (in_kernel) {
			w->h.seen_rip = ip;
			w->h.seen_rbp = c->rbp;
			if (ip >= (u64)gate->kexit && ip < (u64)gate->kexit_end) {
				c->rip = (u64)gate->again;
				c->rsp = (u64)r;
			}
			return;
		}
		if (!w->h.cur)
			return;
		rseq_word_clear(w);
		regs_from_host(r, c);
		w->trap_kind = TRAP_KICK;
		redirect(c, w);
		return;
	}
	// By kill(2) and the like, from the host: nothing that the program or the kernel did. Programs' own signals never become the host's.
	if (info->si_code <= 0 || (sig == SIGSYS && info->si_code != SYS_SECCOMP))
		return;
	if (sig == SIGSEGV && ip == (u64)gate->ktrap && info->si_code == SI_KERNEL_) {
		w->trap_kind = TRAP_RSEQ; // found when it delivered the signal before, which had this one blocked
		return;
	}
	if (in_kernel && sig == SIGTRAP && info->si_code == TRAP_TRACE) {
		c->eflags &= ~0x100ul; // a program that steps jumped in here: the step ends with the call (task/ptrace_stop.c)
		return;
	}
	if (in_kernel) {
		for (u64 *e = extable_start; e < extable_end; e += 2)
			if (e[0] == ip) {
				c->rip = e[1];
				return;
			}
		if (!gs_lost && spoilt_on_the_way_in(sig, info->si_code, ip, w))
			die_of_the_program(w);
		if (program_state(sig, gs_lost, c, w))
			return;
		kernel_died(sig, info, c);
	}
	rseq_word_clear(w);
	regs_from_host(r, c);
	if (sig == SIGSYS) {
		w->trap_kind = info->si_arch == AUDIT_ARCH_X86_64_ ? TRAP_SYSCALL : TRAP_KICK;
		r->orig_rax = w->trap_kind == TRAP_SYSCALL ? (u32)c->rax : U64_MAX;
		w->trap_addr = (u64)info->si_call_addr;
		if (w->trap_kind == TRAP_KICK)
			r->rax = (u64)-ENOSYS; // int $0x80: there are no 32-bit calls
	} else {
		w->trap_kind = TRAP_FAULT;
		w->trap_sig = sig;
		w->trap_code = info->si_code;
		w->trap_addr = (u64)info->si_addr;
		w->trap_err = c->err;
		w->trap_no = c->trapno;
	}
	redirect(c, w);
}

static bool is_window(u64 at) { return at - (u64)WIN(0) < (u64)WIN_MAX * WIN_STRIDE && !((at - (u64)WIN(0)) % WIN_STRIDE); }

// When the program has changed GS, the window is found by the signal stack, which lies in it. No canary before GS is right.
__attribute__((no_stack_protector)) void on_signal(int sig, siginfo_t *info, void *ctx)
{
	u64 gs, at;
	bool lost;

	__asm__ volatile("rdgsbase %0" : "=r"(gs));
	at = gs - GS_BIAS;
	lost = !is_window(at);
	if (lost) {
		at = (u64)WIN(((u64)__builtin_frame_address(0) - (u64)WIN(0)) / WIN_STRIDE);
		__asm__ volatile("wrgsbase %0" ::"r"(at + GS_BIAS) : "memory");
	}
	handle(sig, info, ctx, (struct window *)at, lost);
}

__asm__(".pushsection .text.entry,\"ax\"\n"
	"host_restorer: mov $15, %eax\n syscall\n"
	".popsection\n");
extern char host_restorer[];
static void *trap_restorer(void) { return host_restorer; }

void trap_init(void)
{
	static const int sigs[] = { SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, KICK_SIGNAL };
	u64 mask = ~0ul;

	for (u32 i = 0; i < ARRAY_SIZE(sigs); i++) {
		struct host_sigaction sa = { (void *)gate->on_signal, SA_SIGINFO | SA_ONSTACK | SA_RESTORER_, trap_restorer(), ~0ul };
		if (S4(__NR_rt_sigaction, sigs[i], &sa, 0, 8))
			panic("cannot install a host signal handler");
		mask &= ~SIGBIT(sigs[i]);
	}
	S4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8);
}

// C side of ktrap: ordinary context, on the kernel stack.
void kernel_trap(struct regs *r)
{
	struct window *w = win_self();

	switch (w->trap_kind) {
	case TRAP_SYSCALL:
		if (w->trap_addr == r->rip) // else a call of the vsyscall page, which has returned: no `syscall` stands there
			text_trap(r);
		r->rcx = r->rip;
		r->r11 = r->flags;
		r->rax = (u64)syscall_dispatch(r);
		if (r->rax + 516 <= 4)
			exit_restart(r);
		break;
	case TRAP_FAULT:
		if (w->trap_no == 3 && text_breakpoint(r->rip - 1)) { // int3; a single step is 1
			r->rip--;
			break;
		}
		if (w->trap_code == SEGV_PKUERR && w->trap_addr - K_BASE < K_END - K_BASE) {
			w->trap_code = SEGV_MAPERR; // of the kernel programs are shown nothing
			w->trap_err &= ~(ERR_PRESENT | ERR_KEY);
		}
		kernel_fault(r, w->trap_sig, w->trap_code, w->trap_addr, w->trap_err, w->trap_no);
		break;
	case TRAP_RSEQ: // Linux lets no handler see it either
		proc_exit(SIGSEGV);
	default:
		break;
	}
}

// Turns the short form of struct regs (entry.S) into the complete one.
void regs_complete(struct regs *r)
{
	if (r->ss)
		return;
	u64 ax = r->r11; // lahf in AH, overflow in AL
	u64 fl = 0x202 | ((ax >> 8) & 0xd5) | ((ax & 1) << 11);
	r->flags = fl;
	r->r11 = fl;
	r->rcx = r->rip;
	r->cs = 0x33;
	r->ss = 0x2b;
}

void exit_work(struct regs *r)
{
	struct task *t = current;

	regs_complete(r);
	while (__atomic_load_n(&t->work, __ATOMIC_SEQ_CST)) {
		u32 w = __atomic_and_fetch(&t->work, ~WORK_FULL_RESTORE, __ATOMIC_SEQ_CST);
		if (w)
			task_work(r);
		t = current;
	}
}

// A handler answered with an ERESTART code. task_work decides even when no work is pending any more (another thread may
// have taken the signal): the code must never reach the program.
void exit_restart(struct regs *r)
{
	regs_complete(r);
	task_work(r);
}
