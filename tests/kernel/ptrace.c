// SPDX-License-Identifier: Apache-2.0
// ptrace(2): stops of each kind and what a tracer reads and changes in them: memory, text, registers, calls, steps, signals.
#include "tests/kernel/ptrace.h"
#include <sys/resource.h>

TEST(traceme_stop_and_exit)
{
	pid_t p = tracee(exits_7, 0);
	ERR(ptl(PTRACE_CONT, p, 1000), EIO);
	cont(p, 0);
	EQ(waits(p), 7 << 8);
	ERR(ptl(PTRACE_CONT, p, 0), ESRCH);
}

TEST(requests_want_a_stopped_tracee_of_ours)
{
	pid_t p = OK(fork());
	if (!p) {
		for (;;)
			pause();
	}
	ERR(ptl(PTRACE_CONT, p, 0), ESRCH);
	ERR(ptl(PTRACE_CONT, 999999, 0), ESRCH);
	ERR(ptl(PTRACE_ATTACH, getpid(), 0), EPERM);
	end(p);
}

TEST(peek_and_poke_data)
{
	pid_t p = tracee(exits_with_word, 0);
	EQ(peek(p, &word), 0x1122334455667788);
	EQ(peek(p, (char *)&word + 4), 0x11223344 | (long)((unsigned long)peek(p, &word + 1) << 32));
	poke(p, &word, 42);
	EQ(peek(p, &word), 42);
	EQ(word, 0x1122334455667788);
	ERR(pt(PTRACE_PEEKDATA, p, (void *)16, &(long){0}), EIO);
	ERR(pt(PTRACE_POKEDATA, p, (void *)16, NULL), EIO);
	poke(p, &constant, 9); // read-only, private: a debugger may
	EQ(peek(p, &constant), 9);
	EQ(*(volatile const long *)&constant, 0x0102030405060708);
	cont(p, 0);
	EQ(waits(p), 5 << 8);
}

TEST(breakpoint_by_poketext)
{
	pid_t p = tracee(calls_doubled, 0);
	long code = peek(p, (void *)doubled);
	EQ(memcmp(&code, (void *)doubled, 8), 0); // the original bytes
	poke(p, (void *)doubled, (code & ~0xffl) | 0xcc);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, 0));
	struct user_regs_struct r = regs_of(p);
	EQ(r.rip, (long)doubled + 1);
	EQ(r.rdi, 21);
	EQ(r.orig_rax, -1);
	siginfo_t si;
	OK(pt(PTRACE_GETSIGINFO, p, NULL, &si));
	EQ(si.si_signo, SIGTRAP);
	EQ(si.si_code, SI_KERNEL);
	EQ(doubled(4), 8); // ours is as it was
	poke(p, (void *)doubled, code);
	r.rip--;
	set_regs(p, &r);
	cont(p, 0);
	EQ(waits(p), 3 << 8);
}

// The C library's own text: calls of it go through patched sites.
static void calls_getppid(void) { _exit(getppid() > 0 && getppid() > 0 ? 3 : 4); }

TEST(breakpoint_in_library)
{
	getppid();
	pid_t p = tracee(calls_getppid, 0);
	long code = peek(p, (void *)getppid);
	poke(p, (void *)getppid, (code & ~0xffl) | 0xcc);
	for (int i = 0; i < 2; i++) {
		cont(p, 0);
		EQ(waits(p), STOPPED(SIGTRAP, 0));
		struct user_regs_struct r = regs_of(p);
		EQ(r.rip, (long)getppid + 1);
		r.rip--;
		set_regs(p, &r);
		poke(p, (void *)getppid, code);
		OK(ptl(PTRACE_SINGLESTEP, p, 0));
		EQ(waits(p), STOPPED(SIGTRAP, 0));
		poke(p, (void *)getppid, (code & ~0xffl) | 0xcc);
	}
	poke(p, (void *)getppid, code);
	cont(p, 0);
	EQ(waits(p), 3 << 8);
	EQ(getppid() > 0, 1);
}

static void writes(void)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "0"((long)SYS_getpriority), "D"(0l), "S"(0l), "d"(33l) : "rcx", "r11", "memory");
	_exit(r == 77 ? 8 : 9);
}

TEST(syscall_stops_arguments_and_result)
{
	pid_t p = tracee(writes, PTRACE_O_TRACESYSGOOD);
	struct ptrace_syscall_info i;
	long prio = OK(syscall(SYS_getpriority, PRIO_PROCESS, 0)); // 20 less the nice value

	OK(ptl(PTRACE_SYSCALL, p, 0));
	EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0)); // the entry
	for (;;) {
		struct user_regs_struct r = regs_of(p);
		OK(pt(PTRACE_GET_SYSCALL_INFO, p, (void *)sizeof(i), &i));
		if (i.op == PTRACE_SYSCALL_INFO_ENTRY && r.orig_rax == SYS_getpriority)
			break;
		OK(ptl(PTRACE_SYSCALL, p, 0));
		EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0));
	}
	struct user_regs_struct r = regs_of(p);
	EQ(r.rax, -ENOSYS);
	EQ(r.rdx, 33);
	unsigned long msg = 0;
	OK(pt(PTRACE_GETEVENTMSG, p, NULL, &msg));
	EQ(msg, PTRACE_EVENTMSG_SYSCALL_ENTRY);
	EQ(OK(pt(PTRACE_GET_SYSCALL_INFO, p, (void *)sizeof(i), &i)), offsetof(struct ptrace_syscall_info, entry.args[6]));
	EQ(i.entry.nr, SYS_getpriority);
	EQ(i.entry.args[2], 33);
	EQ(i.instruction_pointer, r.rip);
	OK(ptl(PTRACE_SYSCALL, p, 0));
	EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0));
	EQ(OK(pt(PTRACE_GET_SYSCALL_INFO, p, (void *)sizeof(i), &i)), offsetof(struct ptrace_syscall_info, exit.is_error) + 1);
	EQ(i.op, PTRACE_SYSCALL_INFO_EXIT);
	EQ(i.exit.rval, prio);
	EQ(i.exit.is_error, 0);
	r = regs_of(p);
	EQ(r.rax, prio);
	EQ(r.orig_rax, SYS_getpriority);
	r.rax = 77;
	set_regs(p, &r);
	cont(p, 0);
	EQ(waits(p), 8 << 8);
}

static void closes_nothing(void)
{
	errno = 0;
	long r = syscall(SYS_close, 1000);
	_exit(r == -1 && errno == ENOSYS ? 1 : r == getpid() ? 2 : 3);
}

static pid_t to_close_entry(void)
{
	pid_t p = tracee(closes_nothing, PTRACE_O_TRACESYSGOOD);
	do {
		OK(ptl(PTRACE_SYSCALL, p, 0));
		EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0));
	} while (regs_of(p).orig_rax != SYS_close);
	return p;
}

TEST(syscall_skipped)
{
	pid_t p = to_close_entry();
	struct user_regs_struct r = regs_of(p);
	r.orig_rax = -1ul;
	set_regs(p, &r);
	cont(p, 0);
	EQ(waits(p), 1 << 8);
}

TEST(syscall_number_changed)
{
	pid_t p = to_close_entry();
	struct user_regs_struct r = regs_of(p);
	r.orig_rax = SYS_getpid;
	set_regs(p, &r);
	cont(p, 0);
	EQ(waits(p), 2 << 8);
}

static void out_of_range_call(void)
{
	errno = 0;
	_exit(syscall(600) == -1 && errno == ENOSYS ? 11 : 12);
}

TEST(syscall_unknown_number_is_seen)
{
	pid_t p = tracee(out_of_range_call, PTRACE_O_TRACESYSGOOD);
	do {
		OK(ptl(PTRACE_SYSCALL, p, 0));
		EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0));
	} while (regs_of(p).orig_rax != 600);
	cont(p, 0);
	EQ(waits(p), 11 << 8);
}

TEST(sysemu_skips_the_call)
{
	pid_t p = tracee(closes_nothing, PTRACE_O_TRACESYSGOOD);
	for (;;) {
		OK(pt(31 /* PTRACE_SYSEMU */, p, NULL, NULL));
		EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0));
		struct user_regs_struct r = regs_of(p);
		if (r.orig_rax == SYS_close)
			break;
	}
	struct user_regs_struct r = regs_of(p);
	r.rax = (unsigned long)-ENOSYS;
	set_regs(p, &r);
	cont(p, 0);
	EQ(waits(p), 1 << 8);
}

__asm__(".pushsection .text\n"
	".globl steps_begin, steps_syscall, steps_end\n"
	"steps: \n"
	"steps_begin: mov $1,%rbx\n"
	" inc %rbx\n"
	" mov $39,%eax\n"
	"steps_syscall: syscall\n"
	" cmp $-4095,%rax\n"
	" inc %rbx\n"
	"steps_end: ret\n"
	".popsection\n");
extern char steps_begin[], steps_syscall[], steps_end[];

static void runs_steps(void)
{
	__asm__ volatile("int3\n call steps_begin" ::: "rax", "rbx", "rcx", "r11", "memory", "cc");
	_exit(13);
}

TEST(single_steps_over_a_system_call)
{
	__asm__ volatile("call steps_begin" ::: "rax", "rbx", "rcx", "r11", "memory", "cc"); // patched by now, if anything is
	__asm__ volatile("call steps_begin" ::: "rax", "rbx", "rcx", "r11", "memory", "cc");
	pid_t p = tracee(runs_steps, 0);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, 0));
	static const int at[] = {0, 7, 10, 15, 17, 23, 26};
	for (int i = -1; i < 7; i++) {
		OK(ptl(PTRACE_SINGLESTEP, p, 0));
		EQ(waits(p), STOPPED(SIGTRAP, 0));
		struct user_regs_struct r = regs_of(p);
		if (i + 1 < 7)
			EQ(r.rip - (unsigned long)steps_begin, at[i + 1]);
		EQ(r.eflags & 0x100, 0);
		siginfo_t si;
		OK(pt(PTRACE_GETSIGINFO, p, NULL, &si));
		EQ(si.si_code, i + 1 == 4 ? TRAP_BRKPT : TRAP_TRACE);
		if (i + 1 == 4)
			EQ(r.rax, p);
	}
	cont(p, 0);
	EQ(waits(p), 13 << 8);
}

static void calls_library(void)
{
	__asm__ volatile("int3");
	_exit(getppid() > 0 && write(1, "", 0) == 0 ? 14 : 15);
}

// From one breakpoint into the C library and to the end: every instruction lies in the program.
TEST(single_steps_through_library_calls)
{
	getppid();
	OK(write(1, "", 0));
	OK(write(1, "", 0));
	pid_t p = tracee(calls_library, 0);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, 0));
	int st, n = 0, calls = 0;
	unsigned long before = 0;
	for (;; n++) {
		struct user_regs_struct r = regs_of(p);
		unsigned char b[8];
		long w = peek(p, (void *)r.rip);
		memcpy(b, &w, 8);
		if (before && r.rip == before + 2)
			calls++;
		before = b[0] == 0x0f && b[1] == 0x05 ? r.rip : 0;
		OK(ptl(PTRACE_SINGLESTEP, p, 0));
		st = waits(p);
		if (WIFEXITED(st))
			break;
		EQ(st, STOPPED(SIGTRAP, 0));
		CHECK(n < 100000);
	}
	EQ(st, 14 << 8);
	EQ(calls, 2);
}

TEST(regset_prstatus_and_user_area)
{
	pid_t p = tracee(exits_7, 0);
	struct user_regs_struct a = regs_of(p), b;
	struct iovec v = {&b, sizeof(b)};
	memset(&b, 0, sizeof(b));
	OK(pt(PTRACE_GETREGSET, p, (void *)NT_PRSTATUS, &v));
	EQ(v.iov_len, sizeof(b));
	EQ(memcmp(&a, &b, sizeof(a)), 0);
	EQ(a.cs, 0x33);
	EQ(a.ss, 0x2b);
	CHECK(a.fs_base != 0);
	v.iov_len = 16;
	OK(pt(PTRACE_GETREGSET, p, (void *)NT_PRSTATUS, &v));
	EQ(v.iov_len, 16);
	v.iov_len = 9;
	ERR(pt(PTRACE_GETREGSET, p, (void *)NT_PRSTATUS, &v), EINVAL);
	v.iov_len = 8;
	ERR(pt(PTRACE_GETREGSET, p, (void *)0x7777, &v), EINVAL);
	long rip = 0, w = 0;
	OK(pt(PTRACE_PEEKUSR, p, (void *)offsetof(struct user, regs.rip), &rip));
	EQ(rip, a.rip);
	OK(pt(PTRACE_POKEUSR, p, (void *)offsetof(struct user, regs.rbx), (void *)0x1234));
	OK(pt(PTRACE_PEEKUSR, p, (void *)offsetof(struct user, regs.rbx), &w));
	EQ(w, 0x1234);
	ERR(pt(PTRACE_PEEKUSR, p, (void *)3, &w), EIO);
	ERR(pt(PTRACE_PEEKUSR, p, (void *)4096, &w), EIO);
	OK(pt(PTRACE_PEEKUSR, p, (void *)offsetof(struct user, u_debugreg[7]), &w));
	ERR(pt(0x7000, p, NULL, NULL), EIO);
	end(p);
}

static volatile double seen;
static void adds(void)
{
	register double x __asm__("xmm3") = 1.5;
	__asm__ volatile("int3" : "+x"(x));
	seen = x;
	_exit(seen == 2.5 ? 21 : 22);
}

static pid_t at_adds(void)
{
	pid_t p = tracee(adds, 0);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, 0));
	return p;
}

TEST(fpregs_read_and_changed)
{
	pid_t p = at_adds();
	struct user_fpregs_struct f;
	double d;
	OK(pt(REQ_GETFPREGS, p, NULL, &f));
	memcpy(&d, (char *)f.xmm_space + 3 * 16, 8);
	CHECK(d == 1.5);
	EQ(f.cwd, 0x37f);
	EQ(f.mxcsr & 0x1f80, 0x1f80);
	d = 2.5;
	memcpy((char *)f.xmm_space + 3 * 16, &d, 8);
	OK(pt(REQ_SETFPREGS, p, NULL, &f));
	memset(&f, 0, sizeof(f));
	OK(pt(REQ_GETFPREGS, p, NULL, &f));
	memcpy(&d, (char *)f.xmm_space + 3 * 16, 8);
	CHECK(d == 2.5);
	cont(p, 0);
	EQ(waits(p), 21 << 8);
}

TEST(regset_xstate)
{
	static char area[16384] __attribute__((aligned(64)));
	pid_t p = at_adds();
	struct iovec v = {area, sizeof(area)};
	unsigned long xcr0;
	double d = 2.5;
	OK(pt(PTRACE_GETREGSET, p, (void *)NT_X86_XSTATE, &v));
	CHECK(v.iov_len >= 576 && v.iov_len < sizeof(area));
	memcpy(&xcr0, area + 464, 8);
	EQ(xcr0 & 3, 3);
	memcpy(area + 160 + 3 * 16, &d, 8);
	OK(pt(PTRACE_SETREGSET, p, (void *)NT_X86_XSTATE, &v));
	cont(p, 0);
	EQ(waits(p), 21 << 8);
}

static volatile int handled, handled_code, handled_value;
static void handler(int s, siginfo_t *si, void *u)
{
	(void)u;
	handled = s;
	handled_code = si->si_code;
	handled_value = si->si_value.sival_int;
}

static void raises_usr1(void)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR1);
	_exit(handled == SIGUSR1 ? handled_code == SI_QUEUE && handled_value == 99 ? 33 : 31 : handled == SIGUSR2 ? 32 : 30);
}

static pid_t at_usr1(void)
{
	pid_t p = tracee(raises_usr1, 0);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGUSR1, 0));
	return p;
}

TEST(signal_passed_on)
{
	pid_t p = at_usr1();
	siginfo_t si;
	OK(pt(PTRACE_GETSIGINFO, p, NULL, &si));
	EQ(si.si_signo, SIGUSR1);
	EQ(si.si_code, SI_TKILL);
	EQ(si.si_pid, p);
	cont(p, SIGUSR1);
	EQ(waits(p), 31 << 8);
}

TEST(signal_swallowed)
{
	pid_t p = at_usr1();
	cont(p, 0);
	EQ(waits(p), 30 << 8);
}

TEST(signal_replaced)
{
	pid_t p = at_usr1();
	cont(p, SIGUSR2);
	EQ(waits(p), 32 << 8);
}

TEST(siginfo_changed)
{
	pid_t p = at_usr1();
	siginfo_t si;
	OK(pt(PTRACE_GETSIGINFO, p, NULL, &si));
	si.si_code = SI_QUEUE;
	si.si_value.sival_int = 99;
	OK(pt(PTRACE_SETSIGINFO, p, NULL, &si));
	cont(p, SIGUSR1);
	EQ(waits(p), 33 << 8);
}

static void ignores_and_raises(void)
{
	signal(SIGUSR1, SIG_IGN);
	raise(SIGUSR1);
	raise(SIGCHLD);
	_exit(34);
}

TEST(ignored_signals_stop_too)
{
	pid_t p = tracee(ignores_and_raises, 0);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGUSR1, 0));
	cont(p, SIGUSR1);
	EQ(waits(p), STOPPED(SIGCHLD, 0));
	cont(p, SIGCHLD);
	EQ(waits(p), 34 << 8);
}

static void blocked_pending(void)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGUSR2);
	sigprocmask(SIG_BLOCK, &s, NULL);
	raise(SIGUSR1);
	kill(getpid(), SIGUSR2);
	raise(SIGSTOP);
	_exit(35);
}

TEST(sigmask_and_pending_signals)
{
	pid_t p = tracee(blocked_pending, 0);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGSTOP, 0));
	unsigned long m = 0, want = 1ul << (SIGUSR1 - 1) | 1ul << (SIGUSR2 - 1);
	OK(pt(PTRACE_GETSIGMASK, p, (void *)8, &m));
	EQ(m, want);
	ERR(pt(PTRACE_GETSIGMASK, p, (void *)4, &m), EINVAL);
	struct __ptrace_peeksiginfo_args {
		unsigned long off;
		unsigned flags;
		int nr;
	} a = {0, 0, 4};
	siginfo_t si[4];
	EQ(OK(pt(PTRACE_PEEKSIGINFO, p, &a, si)), 1);
	EQ(si[0].si_signo, SIGUSR1);
	a.flags = PTRACE_PEEKSIGINFO_SHARED;
	EQ(OK(pt(PTRACE_PEEKSIGINFO, p, &a, si)), 1);
	EQ(si[0].si_signo, SIGUSR2);
	m = 1ul << (SIGUSR1 - 1);
	OK(pt(PTRACE_SETSIGMASK, p, (void *)8, &m));
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGUSR2, 0));
	cont(p, 0);
	EQ(waits(p), 35 << 8);
}

// --- children
