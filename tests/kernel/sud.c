// SPDX-License-Identifier: Apache-2.0
// Syscall User Dispatch: a thread's calls become SIGSYS while a byte says so, but for those from one range of code.
#include "t.h"
#include <sys/prctl.h>
#include <sys/ucontext.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define ON 1
#define OFF 0
#define ALLOW 0
#define BLOCK 1

static volatile char selector;
static volatile int hits, nr, code;
static void *volatile where;
extern char call_end[];

// A call that the case knows the place of.
__attribute__((noinline)) static long call(long n, long a)
{
	long r;
	__asm__ volatile("syscall\n\t.globl call_end\ncall_end:" : "=a"(r) : "a"(n), "D"(a), "S"(0L), "d"(0L) : "rcx", "r11", "memory");
	return r;
}

static void caught(int sig, siginfo_t *info, void *uc)
{
	ucontext_t *u = uc;
	(void)sig;
	selector = ALLOW;
	hits++;
	nr = info->si_syscall;
	code = info->si_code;
	where = info->si_call_addr;
	if (u->uc_mcontext.gregs[REG_RAX] == nr)
		u->uc_mcontext.gregs[REG_RAX] = 4711; // what the program sees as the result
}

static void begin(void)
{
	struct sigaction sa = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
	OK(sigaction(SIGSYS, &sa, NULL));
	selector = ALLOW;
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, ON, 0, 0, &selector))
		SKIP("no Syscall User Dispatch here");
}

TEST(dispatched)
{
	begin();
	for (int i = 1; i < 20; i++) {
		EQ(call(SYS_getpid, 0), getpid());
		selector = BLOCK;
		long r = call(SYS_getppid, 7);
		EQ(r, 4711);
		EQ(hits, i);
		EQ(nr, SYS_getppid);
		EQ(code, 2); // SYS_USER_DISPATCH
		CHECK(where == call_end);
	}
	selector = BLOCK;
	EQ(call(100000, 0), 4711); // a number that no call has
	EQ(nr, 100000);
	OK(prctl(PR_SET_SYSCALL_USER_DISPATCH, OFF, 0, 0, 0));
	selector = BLOCK;
	EQ(call(SYS_getpid, 0), getpid());
	EQ(hits, 20);
}

TEST(a_range_that_passes)
{
	begin();
	unsigned long from = (unsigned long)call & ~15ul;
	OK(prctl(PR_SET_SYSCALL_USER_DISPATCH, ON, from, 128, &selector));
	selector = BLOCK;
	long pid = call(SYS_getpid, 0);
	selector = ALLOW;
	EQ(pid, getpid());
	EQ(hits, 0);
	selector = BLOCK;
	long r = syscall(SYS_getpid); // the library's
	EQ(r, 4711);
	EQ(hits, 1);
}

TEST(refused)
{
	begin();
	ERR(prctl(PR_SET_SYSCALL_USER_DISPATCH, OFF, 1, 0, 0), EINVAL);
	ERR(prctl(PR_SET_SYSCALL_USER_DISPATCH, OFF, 0, 1, 0), EINVAL);
	ERR(prctl(PR_SET_SYSCALL_USER_DISPATCH, OFF, 0, 0, &selector), EINVAL);
	ERR(prctl(PR_SET_SYSCALL_USER_DISPATCH, 77, 0, 0, 0), EINVAL);
	ERR(prctl(PR_SET_SYSCALL_USER_DISPATCH, ON, 1, -1ul, 0), EINVAL);
	ERR(prctl(PR_SET_SYSCALL_USER_DISPATCH, ON, 1, 0, 0), EINVAL);
	ERR(prctl(PR_SET_SYSCALL_USER_DISPATCH, ON, 0, 0, -4096l), EFAULT);
}

HELPER(free_again)
{
	return call(SYS_getpid, 0) == getpid() ? 0 : 5;
}

TEST(children_and_programs_are_free)
{
	begin();
	pid_t p = OK(fork());
	if (!p) {
		selector = BLOCK;
		long r = call(SYS_getppid, 0);
		_exit(r == 4711 ? 6 : 0);
	}
	EQ(t_wait(p), 0);
	p = OK(vfork());
	if (!p) {
		execl(t_self, t_self, "--helper", "free_again", NULL);
		_exit(9);
	}
	EQ(t_wait(p), 0);
}

static int end_of(char byte, const volatile char *at)
{
	int status;
	pid_t p = OK(fork());
	if (!p) {
		OK(prctl(PR_SET_SYSCALL_USER_DISPATCH, ON, 0, 0, at));
		if (at == &selector)
			selector = byte;
		call(SYS_getpid, 0);
		_exit(0);
	}
	EQ(OK(waitpid(p, &status, 0)), p);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST(a_bad_byte_ends_it)
{
	begin();
	EQ(end_of(2, &selector), SIGSYS);
	EQ(end_of(0, (char *)8), SIGSEGV);
}
