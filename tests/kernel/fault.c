// SPDX-License-Identifier: Apache-2.0
// Faults of the program itself: what the handler is told, how it can go on, what ends the process.
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "tests/kernel/t.h"

static sigjmp_buf back;
static volatile int sig_no, sig_code;
static void *volatile sig_addr;
static volatile long sig_err, sig_trap;

static void caught(int s, siginfo_t *si, void *u)
{
	ucontext_t *uc = u;
	sig_no = s;
	sig_code = si->si_code;
	sig_addr = si->si_addr;
	sig_err = uc->uc_mcontext.gregs[REG_ERR];
	sig_trap = uc->uc_mcontext.gregs[REG_TRAPNO];
	siglongjmp(back, 1);
}

static void watch(int sig)
{
	struct sigaction sa = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	if (sigaction(sig, &sa, NULL))
		t_fail(__LINE__, "sigaction: errno %d", errno);
}

// Runs the statement; it must raise this signal.
#define FAULTS(sig, statement)                                                                     \
	do {                                                                                       \
		watch(sig);                                                                        \
		sig_no = 0;                                                                        \
		if (sigsetjmp(back, 1) == 0) {                                                     \
			statement;                                                                 \
			t_fail(__LINE__, "no fault: %s", #statement);                              \
		}                                                                                  \
		EQ(sig_no, sig);                                                                   \
	} while (0)

static char *volatile nowhere = (char *)0x18;

static char *page(int prot)
{
	char *m = mmap(NULL, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		t_fail(__LINE__, "mmap: errno %d", errno);
	return m;
}

TEST(null_write)
{
	for (int i = 0; i < 5; i++) {
		FAULTS(SIGSEGV, *(volatile char *)nowhere = 1);
		CHECK(sig_addr == nowhere);
		EQ(sig_code, SEGV_MAPERR);
	}
}

TEST(null_read)
{
	FAULTS(SIGSEGV, (void)*(volatile char *)nowhere);
	CHECK(sig_addr == nowhere);
	EQ(sig_code, SEGV_MAPERR);
}

TEST(error_code_tells_read_from_write)
{
	FAULTS(SIGSEGV, *(volatile char *)nowhere = 1);
	EQ(sig_err & 6, 6); // write, from user mode
	EQ(sig_trap, 14);
	FAULTS(SIGSEGV, (void)*(volatile char *)nowhere);
	EQ(sig_err & 6, 4);
}

TEST(write_to_read_only)
{
	char *volatile m = page(PROT_READ);
	FAULTS(SIGSEGV, m[100] = 1);
	CHECK(sig_addr == m + 100);
	EQ(sig_code, SEGV_ACCERR);
}

TEST(access_to_none)
{
	char *volatile m = page(PROT_NONE);
	FAULTS(SIGSEGV, (void)*(volatile char *)m);
	CHECK(sig_addr == m);
	EQ(sig_code, SEGV_ACCERR);
}

TEST(execute_of_data)
{
	char *volatile m = page(PROT_READ | PROT_WRITE);
	m[0] = (char)0xc3;
	FAULTS(SIGSEGV, ((void (*)(void))(void *)m)());
	CHECK(sig_addr == m);
	EQ(sig_code, SEGV_ACCERR);
}

TEST(jump_to_nowhere)
{
	FAULTS(SIGSEGV, ((void (*)(void))(void *)nowhere)());
	CHECK(sig_addr == nowhere);
}

TEST(non_canonical_address)
{
	char *volatile odd = (char *)0x8000000000000000ul;
	FAULTS(SIGSEGV, (void)*(volatile char *)odd);
	EQ(sig_code, SI_KERNEL);
	CHECK(sig_addr == NULL);
}

TEST(privileged_instruction)
{
	FAULTS(SIGSEGV, __asm__ volatile("hlt"));
	EQ(sig_code, SI_KERNEL);
}

TEST(division_by_zero)
{
	volatile int zero = 0, r;
	FAULTS(SIGFPE, r = 5 / zero);
	EQ(sig_code, FPE_INTDIV);
	(void)r;
}

TEST(illegal_instruction)
{
	FAULTS(SIGILL, __asm__ volatile("ud2"));
	EQ(sig_code, ILL_ILLOPN);
}

TEST(breakpoint)
{
	static volatile int n;
	watch(SIGTRAP);
	if (sigsetjmp(back, 1) == 0) {
		__asm__ volatile("int3");
		t_fail(__LINE__, "no trap");
	}
	n++;
	EQ(sig_no, SIGTRAP);
}

TEST_DIR(bus_error_beyond_end)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	OK(ftruncate(fd, 4096));
	char *volatile m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	m[0] = 1;
	FAULTS(SIGBUS, m[4096] = 1);
	EQ(sig_code, BUS_ADRERR);
	CHECK(sig_addr == m + 4096);
	OK(ftruncate(fd, 8192));
	EQ(m[4096], 0); // the file has grown: now there is something to see
	EQ(m[0], 1);
	m[4096] = 2;
	char c;
	EQ(pread(fd, &c, 1, 4096), 1);
	EQ(c, 2);
}

static void repair(int s, siginfo_t *si, void *u)
{
	(void)s;
	(void)u;
	sig_code++;
	mprotect((void *)((uintptr_t)si->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

TEST(handler_repairs_and_instruction_runs_again)
{
	struct sigaction sa = {.sa_sigaction = repair, .sa_flags = SA_SIGINFO};
	OK(sigaction(SIGSEGV, &sa, NULL));
	char *m = mmap(NULL, 16 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 16; i++)
		((volatile char *)m)[i * 4096] = (char)i;
	EQ(sig_code, 16);
	for (int i = 0; i < 16; i++)
		EQ(m[i * 4096], i);
}

static void skip_insn(int s, siginfo_t *si, void *u)
{
	ucontext_t *uc = u;
	(void)s;
	(void)si;
	uc->uc_mcontext.gregs[REG_RIP] += 2; // ud2
	sig_code++;
}

TEST(handler_moves_rip)
{
	struct sigaction sa = {.sa_sigaction = skip_insn, .sa_flags = SA_SIGINFO};
	OK(sigaction(SIGILL, &sa, NULL));
	for (int i = 0; i < 10; i++)
		__asm__ volatile("ud2");
	EQ(sig_code, 10);
}

TEST(registers_in_context)
{
	volatile long rip = 0;
	(void)rip;
	watch(SIGSEGV);
	FAULTS(SIGSEGV, __asm__ volatile("mov $0x5555, %%ebx\n mov $0x18, %%eax\n movb $1, (%%rax)" ::: "rax", "rbx", "memory"));
	CHECK(sig_addr == nowhere);
}

static volatile bool enough; // never set
static int grow(int n)
{
	volatile char pad[4096];
	pad[0] = (char)n;
	return enough ? 0 : grow(n + 1) + pad[0];
}

TEST(stack_overflow_on_alternate_stack)
{
	static char alt[65536];
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
	struct rlimit rl;
	OK(getrlimit(RLIMIT_STACK, &rl));
	if (rl.rlim_cur == RLIM_INFINITY)
		SKIP("no stack limit here");
	OK(sigaltstack(&ss, NULL));
	FAULTS(SIGSEGV, grow(0));
}

TEST(stack_overflow_without_handler)
{
	struct rlimit rl;
	OK(getrlimit(RLIMIT_STACK, &rl));
	if (rl.rlim_cur == RLIM_INFINITY)
		SKIP("no stack limit here");
	pid_t p = OK(fork());
	if (!p)
		_exit(grow(0));
	EQ(t_wait(p), 128 + SIGSEGV);
}

TEST(stack_grows_on_demand)
{
	volatile char big[6 << 20];
	for (long i = (long)sizeof(big) - 1; i >= 0; i -= 4096)
		big[i] = 1;
	EQ(big[4095], 1);
}

TEST(blocked_fault_kills)
{
	pid_t p = OK(fork());
	if (!p) {
		sigset_t s;
		watch(SIGSEGV);
		sigemptyset(&s);
		sigaddset(&s, SIGSEGV);
		sigprocmask(SIG_BLOCK, &s, NULL);
		*(volatile char *)nowhere = 1;
		_exit(0);
	}
	EQ(t_wait(p), 128 + SIGSEGV);
}

TEST(ignored_fault_kills)
{
	pid_t p = OK(fork());
	if (!p) {
		signal(SIGSEGV, SIG_IGN);
		*(volatile char *)nowhere = 1;
		_exit(0);
	}
	EQ(t_wait(p), 128 + SIGSEGV);
}

static void fault_again(int s)
{
	(void)s;
	*(volatile char *)nowhere = 1;
}

TEST(fault_in_handler_kills)
{
	pid_t p = OK(fork());
	if (!p) {
		t_on(SIGSEGV, fault_again, 0);
		*(volatile char *)nowhere = 1;
		_exit(0);
	}
	EQ(t_wait(p), 128 + SIGSEGV);
}

TEST(sent_segv_is_caught_too)
{
	FAULTS(SIGSEGV, raise(SIGSEGV));
	EQ(sig_code, SI_TKILL);
}

static void *fault_in_thread(void *arg)
{
	*(volatile char *)nowhere = 1;
	return arg;
}

TEST(fault_in_thread_kills_process)
{
	pid_t p = OK(fork());
	if (!p) {
		pthread_t t;
		ZERO(pthread_create(&t, NULL, fault_in_thread, NULL));
		pthread_join(t, NULL);
		_exit(0);
	}
	EQ(t_wait(p), 128 + SIGSEGV);
}

static __thread sigjmp_buf my_back;
static void caught_by_thread(int s)
{
	siglongjmp(my_back, s);
}

static void *many_faults(void *arg)
{
	for (volatile int i = 0; i < 200; i++)
		if (sigsetjmp(my_back, 1) == 0) {
			*(volatile char *)nowhere = 1;
			t_fail(__LINE__, "no fault");
		}
	return arg;
}

TEST(faults_in_many_threads)
{
	pthread_t t[4];
	t_on(SIGSEGV, caught_by_thread, 0);
	for (int i = 0; i < 4; i++)
		ZERO(pthread_create(&t[i], NULL, many_faults, NULL));
	for (int i = 0; i < 4; i++)
		ZERO(pthread_join(t[i], NULL));
}

TEST(fault_does_not_hurt_parent_or_sibling)
{
	int *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 5; i++) {
		pid_t p = OK(fork());
		if (!p) {
			m[0]++;
			*(volatile char *)nowhere = 1;
			_exit(0);
		}
		EQ(t_wait(p), 128 + SIGSEGV);
	}
	EQ(m[0], 5);
}

TEST(kernel_addresses_are_not_the_programs)
{
	char *volatile kernel = (char *)0xffffffff80000000ul;
	FAULTS(SIGSEGV, (void)*(volatile char *)kernel);
}

TEST(floating_point_exception_when_unmasked)
{
	volatile double zero = 0, r;
	unsigned csr = 0x1f80 & ~0x200u; // unmask division by zero
	watch(SIGFPE);
	if (sigsetjmp(back, 1) == 0) {
		__asm__ volatile("ldmxcsr %0" ::"m"(csr));
		r = 1.0 / zero;
		t_fail(__LINE__, "no fault, %f", r);
	}
	EQ(sig_no, SIGFPE);
	EQ(sig_code, FPE_FLTDIV);
}

// What a program does to its own flags and segments must not trouble the kernel, which Linux enters with its own.
static long call_with_flags(long flags, long nr, long a, long b)
{
	long r;
	for (int i = 0; i < 2; i++)
		__asm__ volatile("pushfq\n\torq %2, (%%rsp)\n\tpopfq\n\tsyscall\n\tpushfq\n\tandq %3, (%%rsp)\n\tpopfq"
				 : "=a"(r)
				 : "0"(nr), "r"(flags), "r"(~flags), "D"(a), "S"(b)
				 : "rcx", "r11", "memory", "cc");
	return r;
}

TEST(nested_task_flag)
{
	EQ(call_with_flags(0x4000, SYS_getpid, 0, 0), getpid());
	t_on(SIGUSR1, SIG_IGN, 0);
	EQ(call_with_flags(0x4000, SYS_kill, getpid(), SIGUSR1), 0);
	watch(SIGUSR1);
	if (sigsetjmp(back, 1) == 0)
		call_with_flags(0x4000, SYS_kill, getpid(), SIGUSR1);
	EQ(sig_no, SIGUSR1);
	EQ(getppid() > 0, 1);
}

TEST(alignment_check_flag)
{
	char buf[4096];
	EQ(call_with_flags(0x40000, SYS_getpid, 0, 0), getpid());
	EQ(call_with_flags(0x40000, SYS_uname, (long)(buf + 1), 0), 0);
	EQ(call_with_flags(0x40000, SYS_clock_gettime, CLOCK_REALTIME, (long)(buf + 3)), 0);
	EQ(call_with_flags(0x40000, SYS_open, (long)"/proc/self/status", O_RDONLY) >= 0, 1);
	EQ(call_with_flags(0x40000, SYS_getcwd, (long)(buf + 5), 4000) > 0, 1);
}

static volatile int traps;
static void count_trap(int sig)
{
	(void)sig;
	traps++;
}

TEST(trap_flag_in_a_call)
{
	t_on(SIGTRAP, count_trap, 0);
	EQ(call_with_flags(0x100, SYS_getpid, 0, 0), getpid());
	CHECK(traps > 0);
}

TEST(data_segment_in_gs)
{
	unsigned short old;
	__asm__ volatile("mov %%gs, %0" : "=r"(old));
	for (int i = 0; i < 3; i++) {
		__asm__ volatile("mov %0, %%gs" ::"r"(0x2b));
		EQ(syscall(SYS_getpid), getpid());
		__asm__ volatile("mov %0, %%gs" ::"r"(old));
		CHECK(getppid() > 0);
	}
	__asm__ volatile("mov %0, %%gs" ::"r"(0x2b));
	FAULTS(SIGSEGV, *(volatile char *)nowhere = 1);
}

// Natively GS base is 0 and this faults; inside it may find memory, but none that anything depends on.
TEST(stray_writes_through_gs)
{
	pid_t p = OK(fork());
	if (!p) {
		signal(SIGSEGV, SIG_DFL);
		for (long at = -40000; at < 40000; at++)
			__asm__ volatile("incb %%gs:(%0)" ::"r"(at) : "memory", "cc");
		for (int i = 0; i < 100; i++)
			if (getppid() != (pid_t)syscall(SYS_getppid) || t_wait(OK(fork()) ?: (_exit(3), 0)) != 3)
				_exit(1);
		raise(SIGSEGV);
	}
	int st;
	EQ(waitpid(p, &st, 0), p);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV);
}

TEST(fault_in_32_bit_code)
{
	unsigned char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(m != MAP_FAILED);
	m[0] = 0x90;
	m[1] = 0xf4; // hlt
	stack_t ss = {.ss_size = 65536};
	ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(sigaltstack(&ss, NULL)); // the upper half of the stack pointer is gone
	for (int i = 0; i < 3; i++) {
		FAULTS(SIGSEGV, __asm__ volatile("pushq $0x23\n\tpushq %0\n\tlretq" ::"r"((long)m) : "memory"));
		CHECK(getppid() > 0);
	}
}

// Random bytes run as code: whatever they do to the process, nobody else notices. System calls are left out.
TEST(random_code)
{
	unsigned long seed = 88172645463325252ul;
	for (int i = 0; i < 400; i++) {
		unsigned char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(m != MAP_FAILED);
		for (int k = 0; k < 4096; k++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			m[k] = (unsigned char)(seed >> 24);
			if (k && ((m[k - 1] == 0x0f && (m[k] == 0x05 || m[k] == 0x34)) || m[k - 1] == 0xcd))
				m[k] = 0x90;
		}
		pid_t p = OK(fork());
		if (p == 0) {
			alarm(1);
			for (int s = 1; s < 32; s++)
				signal(s, SIG_DFL);
			((void (*)(void))(m + (seed & 63)))();
			_exit(0);
		}
		t_wait(p);
		munmap(m, 8192);
	}
}
