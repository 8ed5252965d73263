// SPDX-License-Identifier: Apache-2.0
// seccomp: strict mode, the filter checker, every verdict, inheritance, threads, listeners.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "tests/kernel/t.h"

#define LD(off)		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (off))
#define NR		LD(offsetof(struct seccomp_data, nr))
#define ARG(n)		LD(offsetof(struct seccomp_data, args[n]))
#define IFEQ(k, t, f)	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), (t), (f))
#define RET(v)		BPF_STMT(BPF_RET | BPF_K, (v))
#define ALLOW		RET(SECCOMP_RET_ALLOW)
#define VERDICT(n, v)	{NR, IFEQ((n), 0, 1), RET(v), ALLOW}

static long install(struct sock_filter *f, size_t n, unsigned flags)
{
	struct sock_fprog p = {(unsigned short)n, f};
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}
#define INSTALL(f) install((f), sizeof(f) / sizeof(*(f)), 0)

static void no_new_privs(void) { OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

static void verdict(int nr, unsigned v)
{
	struct sock_filter f[] = VERDICT((unsigned)nr, v);
	no_new_privs();
	OK(INSTALL(f));
}

static int status_of(void (*fn)(void))
{
	int st;
	pid_t p = OK(fork());
	if (!p) {
		struct rlimit none = {0, 0};
		setrlimit(RLIMIT_CORE, &none);
		fn();
		syscall(SYS_exit, 0);
	}
	EQ(OK(waitpid(p, &st, 0)), p);
	return st & ~0x80; // a core or not is the machine's business
}

TEST(errno_verdict)
{
	verdict(SYS_getppid, SECCOMP_RET_ERRNO | 77);
	for (int i = 0; i < 3; i++)
		ERR(syscall(SYS_getppid), 77);
	EQ(syscall(SYS_getpid), getpid());
	EQ(prctl(PR_GET_SECCOMP), 2);
}

TEST(errno_is_capped_and_zero_is_success)
{
	verdict(SYS_getppid, SECCOMP_RET_ERRNO | 0xffff);
	verdict(SYS_getpgrp, SECCOMP_RET_ERRNO | 0);
	ERR(syscall(SYS_getppid), 4095);
	EQ(syscall(SYS_getpgrp), 0);
}

TEST(library_calls_are_filtered)
{
	EQ(getppid() > 0, 1);
	verdict(SYS_getppid, SECCOMP_RET_ERRNO | EPERM);
	EQ(getppid(), -1);
}

TEST(unknown_call_number)
{
	verdict(700, SECCOMP_RET_ERRNO | 5);
	ERR(syscall(700), 5);
	ERR(syscall(701), ENOSYS);
}

TEST(by_argument_and_architecture)
{
	struct sock_filter f[] = {
		LD(offsetof(struct seccomp_data, arch)), IFEQ(AUDIT_ARCH_X86_64, 1, 0), RET(SECCOMP_RET_KILL_PROCESS),
		NR, IFEQ(SYS_close, 0, 3), ARG(0), IFEQ(1000, 0, 1), RET(SECCOMP_RET_ERRNO | 1807), ALLOW};
	no_new_privs();
	OK(INSTALL(f));
	ERR(close(1000), 1807);
	ERR(close(1001), EBADF);
}

TEST(every_instruction)
{
	// computes 42 in many steps from args of getpriority and answers with it as errno
	struct sock_filter f[] = {
		NR, IFEQ(SYS_getpriority, 1, 0), ALLOW,
		ARG(0),						    // A = 5
		BPF_STMT(BPF_MISC | BPF_TAX, 0),		    // X = 5
		ARG(1),						    // A = 7
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_X, 0),		    // 35
		BPF_STMT(BPF_ST, 3),				    // M3 = 35
		BPF_STMT(BPF_LD | BPF_IMM, 100),		    // A = 100
		BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),		    // 20
		BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 2),		    // 80
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 3),		    // 10
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, 3),		    // 9
		BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 6),		    // 15
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 12),	    // 12
		BPF_STMT(BPF_ALU | BPF_NEG, 0),			    // -12
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),		    // -7
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 14),	    // 7
		BPF_STMT(BPF_LDX | BPF_MEM, 3),			    // X = 35
		BPF_STMT(BPF_STX, 15),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),		    // 42
		BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),		    // X = 42
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),		    // 64
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 1, 0), RET(SECCOMP_RET_ERRNO | 1),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 64, 1, 0), RET(SECCOMP_RET_ERRNO | 2),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1), RET(SECCOMP_RET_ERRNO | 3),
		BPF_STMT(BPF_MISC | BPF_TXA, 0),		    // 42
		BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RET(SECCOMP_RET_ERRNO | 4),
		BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_A, 0)};
	no_new_privs();
	OK(INSTALL(f));
	ERR(syscall(SYS_getpriority, 5, 7), 42);
}

#define REFUSED(...)                                                                               \
	do {                                                                                       \
		struct sock_filter f_[] = {__VA_ARGS__};                                           \
		ERR(INSTALL(f_), EINVAL);                                                          \
	} while (0)

TEST(bad_programs_are_refused)
{
	static struct sock_filter longest[4097];
	no_new_privs();
	REFUSED(NR);								 // no return
	REFUSED(IFEQ(0, 1, 0), ALLOW);						 // jumps out
	REFUSED(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), ALLOW);
	REFUSED(BPF_JUMP(BPF_JMP | BPF_JA, 0xffffffff, 0, 0), ALLOW);
	REFUSED(LD(2), ALLOW);							 // unaligned
	REFUSED(LD(64), ALLOW);							 // beyond
	REFUSED(LD(0xfffffffc), ALLOW);
	REFUSED(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), ALLOW);
	REFUSED(BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), ALLOW);
	REFUSED(BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), ALLOW);
	REFUSED(BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), ALLOW);
	REFUSED(BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), ALLOW);
	REFUSED(BPF_STMT(BPF_ST, 16), ALLOW);
	REFUSED(BPF_STMT(BPF_LD | BPF_MEM, 16), ALLOW);
	REFUSED(BPF_STMT(BPF_LD | BPF_MEM, 1), ALLOW);				 // never stored
	REFUSED(IFEQ(0, 0, 1), BPF_STMT(BPF_ST, 1), BPF_STMT(BPF_LD | BPF_MEM, 1), ALLOW); // not on every path
	REFUSED({0xffff, 0, 0, 0}, ALLOW);
	ERR(install(NULL, 0, 0), EINVAL);
	ERR(install(NULL, 1, 0), EINVAL);
	ERR(install((void *)16, 1, 0), EFAULT);
	for (int i = 0; i < 4097; i++)
		longest[i] = (struct sock_filter)ALLOW;
	ERR(install(longest, 4097, 0), EINVAL);
	OK(install(longest, 4096, 0));
	int n = 0;
	while (n < 20 && install(longest, 4096, 0) == 0)
		n++;
	EQ(errno, ENOMEM); // all filters together
	CHECK(n >= 2 && n < 20);
}

static void divides_by_zero(void)
{
	struct sock_filter f[] = {NR, IFEQ(SYS_getppid, 1, 0), ALLOW, BPF_STMT(BPF_LDX | BPF_IMM, 0), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), ALLOW};
	no_new_privs();
	OK(INSTALL(f));
	syscall(SYS_getppid);
}

TEST(division_by_zero_kills) { EQ(status_of(divides_by_zero), SIGSYS); }

TEST(arguments_of_the_call)
{
	struct sock_filter f[] = {ALLOW};
	unsigned a = SECCOMP_RET_TRAP;
	unsigned short sizes[3];
	ERR(syscall(SYS_seccomp, 99, 0, NULL), EINVAL);
	ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
	ERR(install(f, 1, 1u << 20), EINVAL);
	ERR(install(f, 1, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER), EINVAL);
	OK(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &a));
	a = SECCOMP_RET_USER_NOTIF;
	OK(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &a));
	a = 0x12340000;
	ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &a), EOPNOTSUPP);
	OK(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, sizes));
	EQ(sizes[0], sizeof(struct seccomp_notif));
	EQ(sizes[1], sizeof(struct seccomp_notif_resp));
	EQ(sizes[2], sizeof(struct seccomp_data));
	ERR(prctl(PR_SET_SECCOMP, 7, 0), EINVAL);
	EQ(prctl(PR_GET_SECCOMP), 0);
	no_new_privs();
	struct sock_fprog p = {1, f};
	OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p));
	EQ(prctl(PR_GET_SECCOMP), 2);
	ERR(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0), EINVAL);
}

TEST(without_privilege_no_new_privs_is_needed)
{
	struct sock_filter f[] = {ALLOW};
	OK(setresuid(1000, 1000, 1000));
	ERR(INSTALL(f), EACCES);
	no_new_privs();
	OK(INSTALL(f));
}

TEST(status_file_tells)
{
	struct sock_filter f[] = {ALLOW};
	CHECK(strstr(t_get("/proc/self/status"), "Seccomp:\t0\nSeccomp_filters:\t0\n"));
	no_new_privs();
	OK(INSTALL(f));
	OK(INSTALL(f));
	CHECK(strstr(t_get("/proc/self/status"), "Seccomp:\t2\nSeccomp_filters:\t2\n"));
}

TEST(strictest_of_several_wins)
{
	verdict(SYS_getppid, SECCOMP_RET_ERRNO | 1);
	verdict(SYS_getppid, SECCOMP_RET_LOG);
	ERR(syscall(SYS_getppid), 1);
	verdict(SYS_getppid, SECCOMP_RET_ERRNO | 2); // the newest among equals
	ERR(syscall(SYS_getppid), 2);
}

static void strict(void)
{
	OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
	if (syscall(SYS_write, 2, "", 0) == 0)
		syscall(SYS_exit, 5);
}
static void strict_getpid(void)
{
	OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
	syscall(SYS_getpid);
}

TEST(strict_mode)
{
	EQ(status_of(strict), 5 << 8);
	EQ(status_of(strict_getpid), SIGKILL);
}

static void kill_process(void)
{
	verdict(SYS_getppid, SECCOMP_RET_KILL_PROCESS);
	signal(SIGSYS, SIG_IGN);
	syscall(SYS_getppid);
}
static void kill_thread(void)
{
	verdict(SYS_getppid, SECCOMP_RET_KILL_THREAD);
	syscall(SYS_getppid);
}
static void unknown_action(void)
{
	verdict(SYS_getppid, 0x12340000);
	syscall(SYS_getppid);
}

TEST(kill_verdicts)
{
	EQ(status_of(kill_process), SIGSYS);
	EQ(status_of(kill_thread), SIGSYS);
	EQ(status_of(unknown_action), SIGSYS);
}

static void *calls_getppid(void *a)
{
	syscall(SYS_getppid);
	return a;
}

static void kill_other_thread(void)
{
	pthread_t t;
	verdict(SYS_getppid, SECCOMP_RET_KILL_THREAD);
	pthread_create(&t, NULL, calls_getppid, NULL);
	pthread_join(t, NULL);
	_exit(6);
}

TEST(kill_thread_leaves_the_others) { EQ(status_of(kill_other_thread), 6 << 8); }

static volatile siginfo_t got;
static volatile long got_rax;

static void on_sigsys(int s, siginfo_t *si, void *u)
{
	ucontext_t *uc = u;
	(void)s;
	got.si_signo = si->si_signo;
	got.si_code = si->si_code;
	got.si_errno = si->si_errno;
	got.si_syscall = si->si_syscall;
	got.si_arch = si->si_arch;
	got.si_call_addr = si->si_call_addr;
	got_rax = uc->uc_mcontext.gregs[REG_RAX];
	uc->uc_mcontext.gregs[REG_RAX] = 1234;
}

static void catch_sigsys(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
	OK(sigaction(SIGSYS, &sa, NULL));
}

__attribute__((noinline)) static long own_getppid(void **behind)
{
	long r;
	__asm__ volatile("lea 1f(%%rip), %%rdx\n mov %%rdx, %1\n mov $110, %%eax\n syscall\n1:" : "=a"(r), "=m"(*behind)::"rcx", "r11", "rdx", "memory");
	return r;
}

TEST(trap_verdict)
{
	void *behind = NULL;
	own_getppid(&behind);
	own_getppid(&behind);
	verdict(SYS_getppid, SECCOMP_RET_TRAP | 21);
	catch_sigsys();
	EQ(own_getppid(&behind), 1234);
	EQ(got.si_signo, SIGSYS);
	EQ(got.si_code, 1 /* SYS_SECCOMP */);
	EQ(got.si_errno, 21);
	EQ(got.si_syscall, SYS_getppid);
	EQ(got.si_arch, AUDIT_ARCH_X86_64);
	EQ(got.si_call_addr, behind);
	EQ(got_rax, SYS_getppid);
	EQ(syscall(SYS_getppid), 1234);
	EQ(getppid(), 1234);
}

static void trap_ignored(void)
{
	verdict(SYS_getppid, SECCOMP_RET_TRAP);
	signal(SIGSYS, SIG_IGN);
	syscall(SYS_getppid);
}
TEST(trap_without_handler_kills) { EQ(status_of(trap_ignored), SIGSYS); }

TEST(instruction_pointer_is_seen)
{
	void *behind = NULL;
	own_getppid(&behind);
	own_getppid(&behind);
	struct sock_filter f[] = {LD(offsetof(struct seccomp_data, instruction_pointer)), IFEQ((unsigned)(uintptr_t)behind, 0, 3),
				  LD(offsetof(struct seccomp_data, instruction_pointer) + 4), IFEQ((unsigned)((uintptr_t)behind >> 32), 0, 1),
				  RET(SECCOMP_RET_ERRNO | 3), ALLOW};
	no_new_privs();
	OK(INSTALL(f));
	EQ(own_getppid(&behind), -3);
	EQ(syscall(SYS_getppid), getppid());
}

TEST(trace_without_tracer_is_enosys)
{
	verdict(SYS_getppid, SECCOMP_RET_TRACE);
	ERR(syscall(SYS_getppid), ENOSYS);
}

// --- inheritance

HELPER(getppid_fails)
{
	return syscall(SYS_getppid) == -1 && errno == 55 ? 9 : 1;
}

TEST(inherited_over_fork_vfork_thread_and_exec)
{
	pid_t p;
	verdict(SYS_getppid, SECCOMP_RET_ERRNO | 55);
	if (!(p = OK(fork())))
		_exit(helper_getppid_fails(0, NULL));
	EQ(t_wait(p), 9);
	if (!(p = OK(fork()))) {
		execl(t_self, t_self, "--helper", "getppid_fails", NULL);
		_exit(99);
	}
	EQ(t_wait(p), 9);
	if (!(p = OK(vfork()))) {
		execl(t_self, t_self, "--helper", "getppid_fails", NULL);
		_exit(99);
	}
	EQ(t_wait(p), 9);
	ERR(syscall(SYS_getppid), 55); // the parent too, with its host thread back
}

static void *thread_errno(void *a)
{
	(void)a;
	return (void *)(uintptr_t)(syscall(SYS_getppid) == -1 ? errno : 0);
}

TEST(thread_inherits)
{
	pthread_t t;
	void *e;
	verdict(SYS_getppid, SECCOMP_RET_ERRNO | 56);
	ZERO(pthread_create(&t, NULL, thread_errno, NULL));
	ZERO(pthread_join(t, &e));
	EQ((uintptr_t)e, 56);
}

static pthread_barrier_t bar;
static volatile bool installed;

static void *spins_until_filtered(void *a)
{
	(void)a;
	pthread_barrier_wait(&bar);
	while (!installed)
		;
	return thread_errno(NULL);
}

TEST(tsync_reaches_running_threads)
{
	struct sock_filter f[] = VERDICT(SYS_getppid, SECCOMP_RET_ERRNO | 57);
	pthread_t t;
	void *e;
	ZERO(pthread_barrier_init(&bar, NULL, 2));
	ZERO(pthread_create(&t, NULL, spins_until_filtered, NULL));
	pthread_barrier_wait(&bar);
	no_new_privs();
	EQ(OK(install(f, 4, SECCOMP_FILTER_FLAG_TSYNC)), 0);
	installed = true;
	ZERO(pthread_join(t, &e));
	EQ((uintptr_t)e, 57);
}

static volatile pid_t other_tid;
static void *own_filter(void *a)
{
	struct sock_filter f[] = {ALLOW};
	if (INSTALL(f))
		return NULL;
	other_tid = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&bar);
	pthread_barrier_wait(&bar);
	return a;
}

TEST(tsync_names_the_thread_that_cannot)
{
	struct sock_filter f[] = {ALLOW};
	pthread_t t;
	no_new_privs();
	ZERO(pthread_barrier_init(&bar, NULL, 2));
	ZERO(pthread_create(&t, NULL, own_filter, NULL));
	pthread_barrier_wait(&bar);
	EQ(install(f, 1, SECCOMP_FILTER_FLAG_TSYNC), other_tid);
	ERR(install(f, 1, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH), ESRCH);
	EQ(prctl(PR_GET_SECCOMP), 0);
	pthread_barrier_wait(&bar);
	ZERO(pthread_join(t, NULL));
}

// --- with a tracer

static long pt(long req, pid_t pid, void *addr, long data) { return syscall(SYS_ptrace, req, pid, addr, data); }

TEST(trace_verdict_with_tracer)
{
	int st;
	pid_t p = OK(fork());
	if (!p) {
		if (pt(PTRACE_TRACEME, 0, NULL, 0))
			_exit(T_SKIPPED);
		raise(SIGSTOP);
		verdict(SYS_getppid, SECCOMP_RET_TRACE | 88);
		_exit(syscall(SYS_getppid) == getpid() ? 12 : 13);
	}
	EQ(waitpid(p, &st, 0), p);
	if (WIFEXITED(st))
		SKIP("ptrace is not permitted");
	OK(pt(PTRACE_SETOPTIONS, p, NULL, PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD));
	OK(pt(PTRACE_CONT, p, NULL, 0));
	EQ(waitpid(p, &st, 0), p);
	EQ(st, PTRACE_EVENT_SECCOMP << 16 | SIGTRAP << 8 | 0x7f);
	unsigned long msg;
	OK(syscall(SYS_ptrace, PTRACE_GETEVENTMSG, p, NULL, &msg));
	EQ(msg, 88);
	struct ptrace_syscall_info i;
	EQ(OK(pt(PTRACE_GET_SYSCALL_INFO, p, (void *)sizeof(i), (long)&i)), offsetof(struct ptrace_syscall_info, seccomp.ret_data) + 4);
	EQ(i.op, PTRACE_SYSCALL_INFO_SECCOMP);
	EQ(i.seccomp.nr, SYS_getppid);
	EQ(i.seccomp.ret_data, 88);
	OK(pt(PTRACE_POKEUSR, p, (void *)(15 * 8), SYS_getpid)); // orig_rax
	OK(pt(PTRACE_SYSCALL, p, NULL, 0));
	EQ(waitpid(p, &st, 0), p);
	EQ(st, (SIGTRAP | 0x80) << 8 | 0x7f); // the end of the call
	long v;
	OK(pt(PTRACE_PEEKUSR, p, (void *)(10 * 8), (long)&v));
	EQ(v, p);
	OK(pt(PTRACE_CONT, p, NULL, 0));
	EQ(waitpid(p, &st, 0), p);
	EQ(st, 12 << 8);
}

// --- listeners

static int listener(int nr)
{
	struct sock_filter f[] = VERDICT((unsigned)nr, SECCOMP_RET_USER_NOTIF);
	no_new_privs();
	return (int)OK(install(f, 4, SECCOMP_FILTER_FLAG_NEW_LISTENER));
}

static pid_t asker(void)
{
	pid_t p = OK(fork());
	if (!p) {
		long r = syscall(SYS_getppid);
		_exit(r == 4321 ? 1 : r == -1 && errno == 66 ? 2 : r == getpid() ? 3 : r > 0 ? 4 : errno == ENOSYS ? 5 : 6);
	}
	return p;
}

static struct seccomp_notif receive(int fd)
{
	struct seccomp_notif n;
	memset(&n, 0, sizeof(n));
	OK(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n));
	return n;
}

static void answer(int fd, unsigned long long id, long val, int error, unsigned flags)
{
	struct seccomp_notif_resp a = {id, val, error, flags};
	OK(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &a));
}

TEST(listener_answers)
{
	int fd = listener(SYS_getppid);
	struct pollfd pf = {fd, POLLIN | POLLOUT, 0};
	EQ(poll(&pf, 1, 0), 0);
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);

	pid_t p = asker();
	EQ(OK(poll(&pf, 1, -1)), 1);
	EQ(pf.revents, POLLIN);
	struct seccomp_notif n = receive(fd);
	EQ(n.pid, p);
	EQ(n.data.nr, SYS_getppid);
	EQ(n.data.arch, AUDIT_ARCH_X86_64);
	EQ(OK(poll(&pf, 1, 0)), 1);
	EQ(pf.revents, POLLOUT);
	OK(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
	answer(fd, n.id, 4321, 0, 0);
	EQ(t_wait(p), 1);
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id), ENOENT);

	p = asker();
	n = receive(fd);
	answer(fd, n.id, 0, -66, 0);
	EQ(t_wait(p), 2);

	p = asker();
	n = receive(fd);
	answer(fd, n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	EQ(t_wait(p), 4);
}

TEST(listener_refuses_nonsense)
{
	int fd = listener(SYS_getppid);
	pid_t p = asker();
	struct seccomp_notif n;
	memset(&n, 1, sizeof(n));
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n), EINVAL);
	struct seccomp_notif_resp a = {12345, 0, 0, 0};
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &a), ENOENT);
	n = receive(fd);
	a.id = n.id;
	a.flags = 8;
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &a), EINVAL);
	a.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	a.val = 1;
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &a), EINVAL);
	ERR(ioctl(fd, 0x1234, &a), EINVAL);
	struct sock_filter again[] = VERDICT(SYS_getpgrp, SECCOMP_RET_USER_NOTIF);
	ERR(install(again, 4, SECCOMP_FILTER_FLAG_NEW_LISTENER), EBUSY);
	answer(fd, n.id, 4321, 0, 0);
	EQ(t_wait(p), 1);
}

TEST(listener_gone_is_enosys)
{
	int fd = listener(SYS_getppid);
	int go[2];
	char c;
	OK(pipe(go));
	pid_t p = OK(fork());
	if (!p) { // two in a row: one that waits for the listener, one that finds none
		close(fd);
		t_writen(go[1], "x", 1);
		if (syscall(SYS_getppid) != -1 || errno != ENOSYS)
			_exit(1);
		_exit(syscall(SYS_getppid) == -1 && errno == ENOSYS ? 7 : 2);
	}
	EQ(t_readn(go[0], &c, 1), 1);
	receive(fd);
	close(fd);
	EQ(t_wait(p), 7);
}

TEST(listener_hangs_up_when_nobody_is_left)
{
	int sv[2], st, l;
	OK(pipe(sv));
	pid_t p = (pid_t)OK(syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL));
	if (!p) { // its descriptors are ours
		int fd = listener(SYS_getppid);
		t_writen(sv[1], &fd, sizeof(fd));
		for (;;)
			pause();
	}
	EQ(t_readn(sv[0], &l, sizeof(l)), sizeof(l));
	struct pollfd pf = {l, POLLIN, 0};
	EQ(poll(&pf, 1, 0), 0);
	kill(p, SIGKILL);
	EQ(waitpid(p, &st, 0), p);
	EQ(OK(poll(&pf, 1, -1)), 1);
	EQ(pf.revents, POLLHUP);
}

static void nothing(int s) { (void)s; }

TEST(signal_interrupts_a_question)
{
	int fd = listener(SYS_getppid);
	pid_t p = OK(fork());
	if (!p) {
		t_on(SIGUSR1, nothing, SA_RESTART);
		_exit(syscall(SYS_getppid) == 4321 ? 8 : 9);
	}
	struct seccomp_notif n = receive(fd);
	kill(p, SIGUSR1);
	while (!ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id))
		t_sleep_ms(1);
	EQ(errno, ENOENT);
	n = receive(fd); // it asks again
	answer(fd, n.id, 4321, 0, 0);
	EQ(t_wait(p), 8);
}

TEST(descriptors_are_handed_over)
{
	int fd = listener(SYS_getppid), p2[2];
	OK(pipe(p2));
	pid_t p = OK(fork());
	if (!p) {
		close(p2[0]);
		close(p2[1]);
		long got_fd = syscall(SYS_getppid);
		_exit(got_fd >= 0 && write((int)got_fd, "a", 1) == 1 && write(200, "b", 1) == 1 && fcntl(200, F_GETFD) == FD_CLOEXEC ? 10 : 11);
	}
	struct seccomp_notif n = receive(fd);
	struct seccomp_notif_addfd a = {.id = n.id, .srcfd = (unsigned)p2[1], .newfd = 200, .newfd_flags = O_CLOEXEC};
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a), EINVAL);
	a.flags = SECCOMP_ADDFD_FLAG_SETFD;
	EQ(OK(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a)), 200);
	a = (struct seccomp_notif_addfd){.id = n.id, .srcfd = 999};
	ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a), EBADF);
	a.srcfd = (unsigned)p2[1];
	a.flags = SECCOMP_ADDFD_FLAG_SEND;
	CHECK(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a) >= 0);
	EQ(t_wait(p), 10);
	close(p2[1]);
	char buf[4];
	EQ(t_readn(p2[0], buf, 4), 2);
	EQ(memcmp(buf, "ab", 2), 0);
}

// A filter does not slow or change the rest: many calls of all kinds under one that allows them.
TEST(much_work_under_a_filter)
{
	struct sock_filter f[] = {ALLOW};
	no_new_privs();
	OK(INSTALL(f));
	for (int i = 0; i < 20; i++) {
		int p[2];
		char b[64];
		OK(pipe(p));
		t_writen(p[1], "hello", 5);
		EQ(t_readn(p[0], b, 5), 5);
		close(p[0]);
		close(p[1]);
		pid_t c = OK(i & 1 ? vfork() : fork());
		if (!c)
			_exit(i);
		EQ(t_wait(c), i);
	}
}
