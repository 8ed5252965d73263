// SPDX-License-Identifier: Apache-2.0
// What the ptrace tests share: a tracee that stops itself, and short names for the requests.
#ifndef TESTS_KERNEL_PTRACE_H
#define TESTS_KERNEL_PTRACE_H

#include <elf.h>
#include <linux/ptrace.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "tests/kernel/t.h"

// glibc's own sys/ptrace.h and the kernel's header do not go together: the call itself.
static inline long pt(long req, pid_t pid, void *addr, void *data) { return syscall(SYS_ptrace, req, pid, addr, data); }
static inline long ptl(long req, pid_t pid, long data) { return pt(req, pid, NULL, (void *)data); }

#define STOPPED(sig, event) ((event) << 16 | (sig) << 8 | 0x7f)
#define REQ_GETREGS 12
#define REQ_SETREGS 13
#define REQ_GETFPREGS 14
#define REQ_SETFPREGS 15

static inline int waits(pid_t pid)
{
	int st = 0;
	EQ(OK(waitpid(pid, &st, __WALL)), pid);
	return st;
}

static inline struct user_regs_struct regs_of(pid_t pid)
{
	struct user_regs_struct r;
	OK(pt(REQ_GETREGS, pid, NULL, &r));
	return r;
}

static inline void set_regs(pid_t pid, struct user_regs_struct *r) { OK(pt(REQ_SETREGS, pid, NULL, r)); }

static inline long peek(pid_t pid, const volatile void *addr)
{
	long v = 0;
	OK(pt(PTRACE_PEEKDATA, pid, (void *)(uintptr_t)addr, &v));
	return v;
}

static inline void poke(pid_t pid, const volatile void *addr, long v) { OK(pt(PTRACE_POKEDATA, pid, (void *)(uintptr_t)addr, (void *)v)); }

static inline void traceme(void)
{
	if (ptl(PTRACE_TRACEME, 0, 0)) {
		if (errno == EPERM || errno == ENOSYS)
			_exit(T_SKIPPED);
		_exit(90);
	}
	raise(SIGSTOP);
}

// A child that runs fn after its first stop, in which it is returned.
static inline pid_t tracee(void (*fn)(void), long options)
{
	pid_t p = OK(fork());
	if (!p) {
		traceme();
		fn();
		_exit(0);
	}
	int st = waits(p);
	if (WIFEXITED(st) && WEXITSTATUS(st) == T_SKIPPED)
		SKIP("ptrace is not permitted");
	EQ(st, STOPPED(SIGSTOP, 0));
	OK(ptl(PTRACE_SETOPTIONS, p, options));
	return p;
}

static inline void cont(pid_t p, long sig) { OK(ptl(PTRACE_CONT, p, sig)); }

static inline void end(pid_t p)
{
	kill(p, SIGKILL);
	ptl(PTRACE_CONT, p, 0); // it may stand in its exit event, which we have seen
	for (;;) {
		int st, r = waitpid(p, &st, __WALL);
		if (r < 0 || WIFSIGNALED(st) || WIFEXITED(st))
			return;
		ptl(PTRACE_CONT, p, 0);
	}
}

// what tracees do, and what their tracers look at
static inline void exits_7(void) { _exit(7); }

static volatile long word = 0x1122334455667788, other[2] = {1, 2};
static const long constant = 0x0102030405060708;

static inline void exits_with_word(void) { _exit(word == 42 && other[0] == 1 && other[1] == 2 ? 5 : 6); }

__attribute__((noinline, unused)) static long doubled(long x)
{
	__asm__ volatile("" : "+r"(x));
	return x * 2;
}

static inline void calls_doubled(void) { _exit(doubled(21) == 42 ? 3 : 4); }

#endif
