// SPDX-License-Identifier: Apache-2.0
// Signals: handlers and their flags, masks, queues, who sent what, process groups, EINTR and restart.
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>

#include "tests/kernel/t.h"

static volatile sig_atomic_t hits, last;
static volatile siginfo_t info;

static void hit(int s)
{
	hits++;
	last = s;
}

static void hit_info(int s, siginfo_t *si, void *u)
{
	(void)u;
	hits++;
	last = s;
	info.si_signo = si->si_signo;
	info.si_code = si->si_code;
	info.si_pid = si->si_pid;
	info.si_uid = si->si_uid;
	info.si_value = si->si_value;
}

static void on_info(int sig, int flags)
{
	struct sigaction sa = {.sa_sigaction = hit_info, .sa_flags = SA_SIGINFO | flags};
	if (sigaction(sig, &sa, NULL))
		t_fail(__LINE__, "sigaction: errno %d", errno);
}

static sigset_t one(int sig)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	return s;
}

static void block(int sig)
{
	sigset_t s = one(sig);
	if (sigprocmask(SIG_BLOCK, &s, NULL))
		t_fail(__LINE__, "sigprocmask: errno %d", errno);
}

static void unblock(int sig)
{
	sigset_t s = one(sig);
	if (sigprocmask(SIG_UNBLOCK, &s, NULL))
		t_fail(__LINE__, "sigprocmask: errno %d", errno);
}

TEST(raise_runs_handler)
{
	t_on(SIGUSR1, hit, 0);
	for (int i = 1; i <= 100; i++) {
		OK(raise(SIGUSR1));
		EQ(hits, i);
	}
	EQ(last, SIGUSR1);
}

TEST(default_actions)
{
	const struct {
		int sig, want;
	} v[] = {{SIGTERM, 128 + SIGTERM}, {SIGCHLD, 0},  {SIGURG, 0},		{SIGWINCH, 0},
		 {SIGUSR2, 128 + SIGUSR2}, {SIGCONT, 0}, {SIGRTMIN + 3, 128 + SIGRTMIN + 3}};
	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
		pid_t p = OK(fork());
		if (!p) {
			raise(v[i].sig);
			_exit(0);
		}
		EQ(t_wait(p), v[i].want);
	}
}

TEST(ignored_signals_vanish)
{
	signal(SIGUSR1, SIG_IGN);
	OK(raise(SIGUSR1));
	block(SIGUSR1);
	OK(raise(SIGUSR1));
	t_on(SIGUSR1, hit, 0);
	unblock(SIGUSR1);
	// Blocked and ignored: Linux keeps it pending only when it was not ignored at that time.
	CHECK(hits <= 1);
}

TEST(set_to_ignore_discards_pending)
{
	t_on(SIGUSR1, hit, 0);
	block(SIGUSR1);
	OK(raise(SIGUSR1));
	signal(SIGUSR1, SIG_IGN);
	t_on(SIGUSR1, hit, 0);
	unblock(SIGUSR1);
	EQ(hits, 0);
}

TEST(kill_and_stop_cannot_be_caught)
{
	struct sigaction sa = {.sa_handler = hit};
	ERR(sigaction(SIGKILL, &sa, NULL), EINVAL);
	ERR(sigaction(SIGSTOP, &sa, NULL), EINVAL);
	ERR(syscall(SYS_rt_sigaction, 0, &sa, NULL, 8), EINVAL);
	ERR(syscall(SYS_rt_sigaction, 65, &sa, NULL, 8), EINVAL);
	sigset_t all, now;
	sigfillset(&all);
	OK(sigprocmask(SIG_SETMASK, &all, NULL));
	OK(sigprocmask(SIG_SETMASK, NULL, &now));
	EQ(sigismember(&now, SIGKILL), 0);
	EQ(sigismember(&now, SIGSTOP), 0);
	EQ(sigismember(&now, SIGTERM), 1);
	ERR(syscall(SYS_rt_sigprocmask, 99, &all, NULL, 8), EINVAL);
}

TEST(old_action_returned)
{
	struct sigaction sa = {.sa_handler = hit, .sa_flags = SA_RESTART | SA_NODEFER}, old;
	sigaddset(&sa.sa_mask, SIGTERM);
	OK(sigaction(SIGUSR1, &sa, NULL));
	OK(sigaction(SIGUSR1, NULL, &old));
	CHECK(old.sa_handler == hit);
	EQ(old.sa_flags & (SA_RESTART | SA_NODEFER | SA_SIGINFO), SA_RESTART | SA_NODEFER);
	EQ(sigismember(&old.sa_mask, SIGTERM), 1);
	EQ(sigismember(&old.sa_mask, SIGINT), 0);
}

TEST(blocked_then_delivered)
{
	sigset_t pend;
	t_on(SIGUSR1, hit, 0);
	block(SIGUSR1);
	OK(raise(SIGUSR1));
	OK(raise(SIGUSR1)); // ordinary signals merge
	EQ(hits, 0);
	OK(sigpending(&pend));
	EQ(sigismember(&pend, SIGUSR1), 1);
	EQ(sigismember(&pend, SIGUSR2), 0);
	unblock(SIGUSR1);
	EQ(hits, 1);
	OK(sigpending(&pend));
	EQ(sigismember(&pend, SIGUSR1), 0);
}

TEST(realtime_signals_queue_in_order)
{
	int s = SIGRTMIN + 1;
	on_info(s, 0);
	block(s);
	for (int i = 0; i < 10; i++)
		OK(sigqueue(getpid(), s, (union sigval){.sival_int = i}));
	sigset_t set = one(s);
	siginfo_t si;
	for (int i = 0; i < 5; i++) {
		EQ(sigwaitinfo(&set, &si), s);
		EQ(si.si_value.sival_int, i);
	}
	unblock(s);
	EQ(hits, 5);
	EQ(info.si_value.sival_int, 9);
}

TEST(lowest_number_first)
{
	block(SIGRTMIN + 2);
	block(SIGRTMIN + 1);
	OK(raise(SIGRTMIN + 2));
	OK(raise(SIGRTMIN + 1));
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	EQ(sigwaitinfo(&set, NULL), SIGRTMIN + 1);
	EQ(sigwaitinfo(&set, NULL), SIGRTMIN + 2);
}

TEST(info_of_kill)
{
	on_info(SIGUSR1, 0);
	OK(kill(getpid(), SIGUSR1));
	EQ(info.si_code, SI_USER);
	EQ(info.si_pid, getpid());
	EQ(info.si_uid, getuid());
	EQ(info.si_signo, SIGUSR1);
}

TEST(info_of_tgkill)
{
	on_info(SIGUSR1, 0);
	OK(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1));
	EQ(info.si_code, SI_TKILL);
	ERR(syscall(SYS_tgkill, getpid(), 1 << 22, SIGUSR1), ESRCH);
	ERR(syscall(SYS_tgkill, getpid(), -1, SIGUSR1), EINVAL);
}

TEST(info_of_child_signal)
{
	on_info(SIGUSR1, 0);
	block(SIGUSR1);
	pid_t p = OK(fork());
	if (!p) {
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	EQ(t_wait(p), 0);
	unblock(SIGUSR1);
	EQ(hits, 1);
	EQ(info.si_pid, p);
}

TEST(info_of_sigqueue)
{
	on_info(SIGUSR2, 0);
	OK(sigqueue(getpid(), SIGUSR2, (union sigval){.sival_ptr = (void *)0x123456789abc}));
	EQ(info.si_code, SI_QUEUE);
	EQ((long)info.si_value.sival_ptr, 0x123456789abc);
}

static volatile int depth, max_depth;
static void nest(int s)
{
	depth++;
	if (depth > max_depth)
		max_depth = depth;
	if (depth < 5)
		raise(s);
	depth--;
}

TEST(nodefer_nests)
{
	t_on(SIGUSR1, nest, SA_NODEFER);
	OK(raise(SIGUSR1));
	EQ(max_depth, 5);
}

static void raise_self_once(int s)
{
	depth++;
	if (depth > max_depth)
		max_depth = depth;
	if (hits++ == 0)
		raise(s); // stays pending until this handler returns
	depth--;
}

TEST(no_nesting_by_default)
{
	t_on(SIGUSR1, raise_self_once, 0);
	OK(raise(SIGUSR1));
	EQ(max_depth, 1);
	EQ(hits, 2);
}

static void raise_other(int s)
{
	(void)s;
	raise(SIGUSR2);
	last = hits; // USR2 is in the mask: not yet delivered
}

TEST(handler_mask)
{
	struct sigaction sa = {.sa_handler = raise_other};
	sigaddset(&sa.sa_mask, SIGUSR2);
	OK(sigaction(SIGUSR1, &sa, NULL));
	t_on(SIGUSR2, hit, 0);
	OK(raise(SIGUSR1));
	EQ(hits, 1);
	EQ(last, SIGUSR2);
	sigset_t now;
	OK(sigprocmask(SIG_BLOCK, NULL, &now));
	EQ(sigismember(&now, SIGUSR1), 0);
	EQ(sigismember(&now, SIGUSR2), 0);
}

TEST(nested_different_signals)
{
	struct sigaction sa = {.sa_handler = raise_other};
	OK(sigaction(SIGUSR1, &sa, NULL));
	t_on(SIGUSR2, hit, 0);
	for (int i = 0; i < 50; i++)
		OK(raise(SIGUSR1));
	EQ(hits, 50);
}

TEST(reset_hand)
{
	pid_t p = OK(fork());
	if (!p) {
		t_on(SIGUSR1, hit, (int)SA_RESETHAND);
		raise(SIGUSR1);
		if (hits != 1)
			_exit(1);
		struct sigaction sa;
		sigaction(SIGUSR1, NULL, &sa);
		if (sa.sa_handler != SIG_DFL)
			_exit(2);
		raise(SIGUSR1);
		_exit(3);
	}
	EQ(t_wait(p), 128 + SIGUSR1);
}

static char alt[65536];
static volatile bool on_alt;
static void where(int s)
{
	char here;
	(void)s;
	on_alt = &here >= alt && &here < alt + sizeof(alt);
	stack_t ss;
	sigaltstack(NULL, &ss);
	last = ss.ss_flags;
}

TEST(alternate_stack)
{
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)}, old;
	OK(sigaltstack(&ss, NULL));
	t_on(SIGUSR1, where, SA_ONSTACK);
	OK(raise(SIGUSR1));
	EQ(on_alt, true);
	EQ(last, SS_ONSTACK);
	t_on(SIGUSR1, where, 0);
	OK(raise(SIGUSR1));
	EQ(on_alt, false);
	OK(sigaltstack(NULL, &old));
	CHECK(old.ss_sp == alt);
	EQ(old.ss_flags, 0);
	ss.ss_size = 10;
	ERR(sigaltstack(&ss, NULL), ENOMEM);
	ss.ss_flags = 99;
	ERR(sigaltstack(&ss, NULL), EINVAL);
	ss.ss_flags = SS_DISABLE;
	OK(sigaltstack(&ss, NULL));
}

static volatile long misaligned;
__attribute__((noinline)) static void aligned(int s)
{
	(void)s;
	misaligned = (long)__builtin_frame_address(0) % 16;
}

TEST(frame_is_aligned)
{
	// The ABI: RSP + 8 is a multiple of 16 at the handler's first instruction. SSE code depends on it.
	t_on(SIGUSR1, aligned, 0);
	misaligned = 1;
	OK(raise(SIGUSR1));
	EQ(misaligned, 0);
}

static sigjmp_buf sig_there;
static void jump(int s)
{
	siglongjmp(sig_there, s);
}

TEST(siglongjmp_out_of_handler)
{
	t_on(SIGUSR1, jump, 0);
	for (volatile int i = 0; i < 20; i++) {
		int s = sigsetjmp(sig_there, 1);
		if (s == 0) {
			raise(SIGUSR1);
			t_fail(__LINE__, "came back");
		}
		EQ(s, SIGUSR1);
	}
}

static void change_regs(int s, siginfo_t *si, void *u)
{
	ucontext_t *uc = u;
	(void)s;
	(void)si;
	uc->uc_mcontext.gregs[REG_RBX] = 0x1234;
	sigaddset(&uc->uc_sigmask, SIGUSR2);
}

TEST(context_is_writable)
{
	struct sigaction sa = {.sa_sigaction = change_regs, .sa_flags = SA_SIGINFO};
	OK(sigaction(SIGUSR1, &sa, NULL));
	long rbx, pid = getpid(), tid = syscall(SYS_gettid);
	__asm__ volatile("xor %%ebx, %%ebx\n mov $234, %%eax\n syscall\n mov %%rbx, %0"
			 : "=r"(rbx)
			 : "D"(pid), "S"(tid), "d"(SIGUSR1)
			 : "rax", "rbx", "rcx", "r11", "memory");
	EQ(rbx, 0x1234);
	sigset_t now;
	OK(sigprocmask(SIG_BLOCK, NULL, &now));
	EQ(sigismember(&now, SIGUSR2), 1);
}

TEST(sigsuspend_waits)
{
	sigset_t none, now;
	sigemptyset(&none);
	t_on(SIGUSR1, hit, 0);
	block(SIGUSR1);
	OK(raise(SIGUSR1));
	EQ(hits, 0);
	ERR(sigsuspend(&none), EINTR);
	EQ(hits, 1);
	OK(sigprocmask(SIG_BLOCK, NULL, &now));
	EQ(sigismember(&now, SIGUSR1), 1);
}

TEST(pause_returns_eintr)
{
	t_on(SIGUSR1, hit, SA_RESTART);
	pid_t k = t_pester(getpid(), SIGUSR1);
	ERR(pause(), EINTR);
	t_end(k);
}

TEST(sigwait_family)
{
	sigset_t set = one(SIGUSR1);
	siginfo_t si;
	int s;
	block(SIGUSR1);
	OK(raise(SIGUSR1));
	EQ(sigwait(&set, &s), 0);
	EQ(s, SIGUSR1);
	struct timespec ts = {0, 10000000};
	ERR(sigtimedwait(&set, &si, &ts), EAGAIN);
	ts.tv_nsec = 0;
	ERR(sigtimedwait(&set, &si, &ts), EAGAIN);
	pid_t p = OK(fork());
	if (!p) {
		t_sleep_ms(10);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	EQ(sigwaitinfo(&set, &si), SIGUSR1);
	EQ(si.si_pid, p);
	EQ(t_wait(p), 0);
}

// EINTR without, restart with SA_RESTART, for one blocking call. The caller's fn blocks for ever.
static int blocked_pipe[2], blocked_sock[2];

static void eintr_of(long (*fn)(void))
{
	if (pipe(blocked_pipe) || socketpair(AF_UNIX, SOCK_STREAM, 0, blocked_sock))
		t_fail(__LINE__, "setup: errno %d", errno);
	t_on(SIGUSR1, hit, 0);
	pid_t k = t_pester(getpid(), SIGUSR1);
	errno = 0;
	long r = fn();
	int e = errno;
	t_end(k);
	if (r != -1 || e != EINTR)
		t_fail(__LINE__, "want EINTR, got %ld errno %d", r, e);
	CHECK(hits > 0);
}

// With SA_RESTART the call goes on after 10 handlers have run and ends by the data that then comes.
static void restart_of(long (*fn)(void), int data_fd)
{
	t_on(SIGUSR1, hit, SA_RESTART);
	pid_t me = getpid(), p = fork();
	if (p < 0)
		t_fail(__LINE__, "fork: errno %d", errno);
	if (!p) {
		for (int i = 0; i < 10; i++) {
			kill(me, SIGUSR1);
			t_sleep_ms(3);
		}
		if (data_fd >= 0 && write(data_fd, "x", 1) != 1)
			_exit(1);
		_exit(0);
	}
	long r = fn();
	if (r != 1)
		t_fail(__LINE__, "want 1, got %ld errno %d", r, errno);
	CHECK(hits > 0);
	EQ(t_wait(p), 0);
}

static long read_pipe(void)
{
	char c;
	return read(blocked_pipe[0], &c, 1);
}

static long write_pipe(void)
{
	static char big[70000];
	long r = write(blocked_pipe[1], big, 65536);
	return r == 65536 ? write(blocked_pipe[1], big, 1) : r;
}

static long recv_sock(void)
{
	char c;
	return recv(blocked_sock[0], &c, 1, 0);
}

static long sleep_long(void)
{
	struct timespec ts = {1000, 0};
	return nanosleep(&ts, NULL);
}

static uint32_t word;
static long wait_futex(void)
{
	return syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0);
}

TEST(eintr_read)
{
	eintr_of(read_pipe);
}

TEST(eintr_write)
{
	eintr_of(write_pipe);
}

TEST(eintr_recv)
{
	eintr_of(recv_sock);
}

TEST(eintr_nanosleep)
{
	eintr_of(sleep_long);
}

TEST(eintr_futex)
{
	eintr_of(wait_futex);
}

TEST(restart_read)
{
	OK(pipe(blocked_pipe));
	restart_of(read_pipe, blocked_pipe[1]);
}

TEST(restart_recv)
{
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, blocked_sock));
	restart_of(recv_sock, blocked_sock[1]);
}

static pid_t waited;
static long wait_child(void)
{
	int st;
	return waitpid(waited, &st, 0) == waited;
}

TEST(restart_waitpid)
{
	OK(pipe(blocked_pipe));
	waited = OK(fork());
	if (!waited) {
		char c;
		t_readn(blocked_pipe[0], &c, 1);
		_exit(0);
	}
	restart_of(wait_child, blocked_pipe[1]);
}

TEST(nanosleep_never_restarts_and_tells_rest)
{
	struct timespec ts = {1000, 0}, rest = {0, 0};
	t_on(SIGUSR1, hit, SA_RESTART);
	pid_t k = t_pester(getpid(), SIGUSR1);
	ERR(nanosleep(&ts, &rest), EINTR);
	t_end(k);
	CHECK(rest.tv_sec >= 900 && rest.tv_sec <= 1000);
}

TEST(partial_write_is_not_eintr)
{
	static char big[200000];
	OK(pipe(blocked_pipe));
	t_on(SIGUSR1, hit, 0);
	pid_t k = t_pester(getpid(), SIGUSR1);
	ssize_t n = write(blocked_pipe[1], big, sizeof(big));
	t_end(k);
	EQ(n, 65536);
}

TEST(ignored_signal_does_not_interrupt)
{
	OK(pipe(blocked_pipe));
	signal(SIGUSR1, SIG_IGN);
	pid_t me = getpid(), p = OK(fork());
	if (!p) {
		for (int i = 0; i < 5; i++) {
			kill(me, SIGUSR1);
			kill(me, SIGCHLD);
			t_sleep_ms(2);
		}
		_exit(write(blocked_pipe[1], "x", 1) == 1 ? 0 : 1);
	}
	EQ(read_pipe(), 1);
	EQ(t_wait(p), 0);
}

TEST(kill_process_group)
{
	int q[2];
	char c;
	OK(pipe(q));
	pid_t lead = OK(fork());
	if (!lead) {
		setpgid(0, 0);
		for (int i = 0; i < 3; i++)
			if (fork() == 0)
				break;
		t_writen(q[1], "x", 1);
		for (;;)
			pause();
	}
	setpgid(lead, lead);
	close(q[1]);
	for (int i = 0; i < 4; i++)
		EQ(t_readn(q[0], &c, 1), 1);
	OK(kill(-lead, 0));
	OK(killpg(lead, SIGTERM));
	EQ(t_wait(lead), 128 + SIGTERM);
	EQ(read(q[0], &c, 1), 0); // all of them are gone
	while (kill(-lead, 0) == 0)
		t_sleep_ms(2);
	EQ(errno, ESRCH);
}

TEST(kill_own_group)
{
	pid_t p = OK(fork());
	if (!p) {
		setpgid(0, 0);
		kill(0, SIGUSR1);
		_exit(1);
	}
	EQ(t_wait(p), 128 + SIGUSR1);
}

TEST(kill_errors)
{
	ERR(kill(1 << 22, SIGTERM), ESRCH);
	ERR(kill(getpid(), 65), EINVAL);
	ERR(kill(getpid(), -1), EINVAL);
	OK(kill(getpid(), 0));
	ERR(killpg(1 << 22, SIGTERM), ESRCH);
}

static volatile pid_t handler_tid;
static void note_tid(int s)
{
	(void)s;
	handler_tid = (pid_t)syscall(SYS_gettid);
}

static void *blocked_thread(void *arg)
{
	pid_t *tid = arg;
	__atomic_store_n(tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	while (!handler_tid)
		t_sleep_ms(1);
	return NULL;
}

TEST(thread_directed_signal)
{
	pid_t tid = 0;
	pthread_t t;
	t_on(SIGUSR1, note_tid, 0);
	ZERO(pthread_create(&t, NULL, blocked_thread, &tid));
	while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST))
		t_sleep_ms(1);
	ZERO(pthread_kill(t, SIGUSR1));
	ZERO(pthread_join(t, NULL));
	EQ(handler_tid, tid);
}

TEST(process_signal_goes_to_thread_that_lets_it_in)
{
	pid_t tid = 0;
	pthread_t t;
	t_on(SIGUSR1, note_tid, 0);
	ZERO(pthread_create(&t, NULL, blocked_thread, &tid));
	block(SIGUSR1);
	while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST))
		t_sleep_ms(1);
	OK(kill(getpid(), SIGUSR1));
	ZERO(pthread_join(t, NULL));
	EQ(handler_tid, tid);
}

static void *change_mask(void *arg)
{
	sigset_t s;
	pthread_sigmask(SIG_BLOCK, NULL, &s);
	if (!sigismember(&s, SIGUSR1)) // inherited
		return arg;
	sigaddset(&s, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &s, NULL);
	return NULL;
}

TEST(masks_are_per_thread)
{
	pthread_t t;
	sigset_t now;
	void *r;
	int x;
	block(SIGUSR1);
	ZERO(pthread_create(&t, NULL, change_mask, &x));
	ZERO(pthread_join(t, &r));
	CHECK(!r);
	OK(sigprocmask(SIG_BLOCK, NULL, &now));
	EQ(sigismember(&now, SIGUSR2), 0);
}

TEST(async_signal_into_compute_loop)
{
	// Floating-point state and all registers survive handlers at arbitrary points.
	t_on(SIGUSR1, hit, 0);
	pid_t k = t_pester(getpid(), SIGUSR1);
	double ref = 0, x;
	for (int round = 0; hits < 20; round++) {
		x = 1.0;
		for (int i = 1; i < 100000; i++)
			x = x * 1.0000001 + 1.0 / i;
		if (round == 0)
			ref = x;
		if (x != ref) {
			t_end(k);
			t_fail(__LINE__, "round %d: %.17g, not %.17g", round, x, ref);
		}
	}
	t_end(k);
}

static void spoil_vectors(int s)
{
	(void)s;
	__asm__ volatile("vpcmpeqd %%ymm0, %%ymm0, %%ymm0\n vmovdqa %%ymm0, %%ymm1\n vmovdqa %%ymm0, %%ymm7\n"
			 "vmovdqa %%ymm0, %%ymm15\n fldpi\n fstp %%st(0)\n" ::
				 : "xmm0", "xmm1", "xmm7", "xmm15");
	hits++;
}

TEST(vector_state_across_handler)
{
	if (!__builtin_cpu_supports("avx2"))
		SKIP("no AVX2");
	uint64_t in[4] = {1, 2, 3, 4}, out[12];
	t_on(SIGUSR1, spoil_vectors, 0);
	long pid = getpid(), tid = syscall(SYS_gettid);
	for (int i = 0; i < 10; i++) {
		long nr = 234;
		__asm__ volatile("vmovdqu (%[in]), %%ymm0\n vmovdqu (%[in]), %%ymm7\n vmovdqu (%[in]), %%ymm15\n"
				 "syscall\n"
				 "vmovdqu %%ymm0, (%[out])\n vmovdqu %%ymm7, 32(%[out])\n vmovdqu %%ymm15, 64(%[out])\n"
				 "vzeroupper\n"
				 : "+a"(nr)
				 : [in] "r"(in), [out] "r"(out), "D"(pid), "S"(tid), "d"(SIGUSR1)
				 : "rcx", "r11", "memory", "xmm0", "xmm7", "xmm15");
		EQ(nr, 0);
		for (int k = 0; k < 12; k++)
			EQ(out[k], in[k % 4]);
	}
	EQ(hits, 10);
}

TEST(rounding_mode_across_handler)
{
	unsigned set = 0x1f80 | 0x6000, now = 0; // round towards zero
	t_on(SIGUSR1, hit, 0);
	__asm__ volatile("ldmxcsr %0" ::"m"(set));
	OK(raise(SIGUSR1));
	__asm__ volatile("stmxcsr %0" : "=m"(now));
	EQ(now & 0x6000, 0x6000);
}

TEST(storm_between_processes)
{
	// Two processes signal each other as fast as they can; nothing hangs, nothing is lost for good.
	t_on(SIGUSR1, hit, 0);
	block(SIGUSR1);
	pid_t me = getpid(), p = OK(fork());
	sigset_t set = one(SIGUSR1);
	pid_t peer = p ? p : me;
	for (int i = 0; i < 300; i++) {
		if (p)
			kill(peer, SIGUSR1);
		struct timespec ts = {20, 0};
		if (sigtimedwait(&set, NULL, &ts) != SIGUSR1)
			t_fail(__LINE__, "lost at %d, errno %d", i, errno);
		if (!p)
			kill(peer, SIGUSR1);
	}
	if (!p)
		_exit(0);
	EQ(t_wait(p), 0);
}

TEST(handler_on_guarded_stack)
{
	// No room for the frame: the process ends by SIGSEGV, nothing else happens.
	pid_t p = OK(fork());
	if (!p) {
		t_on(SIGUSR1, hit, 0);
		char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mprotect(m, 4096, PROT_NONE);
		long pid = getpid();
		__asm__ volatile("mov %0, %%rsp\n mov $62, %%eax\n syscall\n mov $60, %%eax\n mov $9, %%edi\n syscall" ::"r"(
					 m + 4096),
				 "D"(pid), "S"((long)SIGUSR1)
				 : "memory");
		_exit(1);
	}
	EQ(t_wait(p), 128 + SIGSEGV);
}
