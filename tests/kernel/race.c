// SPDX-License-Identifier: Apache-2.0
// Processes, threads, signals and exec against each other: ends of processes whose threads are anywhere, exec among
// live siblings, kills in the middle of a spawn, stops, identity switches of nested vforks. Each case repeats what would
// go wrong only sometimes.
#include "tests/kernel/t.h"
#include <execinfo.h>
#include <fenv.h>
#include <linux/sched.h>
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

extern char **environ;

HELPER(seven)
{
	return 7;
}

static char *seven[] = {t_self, "--helper", "seven", NULL};

static int busy_pipe[2];
static pthread_mutex_t busy_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t busy_cond = PTHREAD_COND_INITIALIZER;

// A thread that is in the kernel, asleep or computing, by its number.
static void *busy(void *arg)
{
	for (;;) {
		struct timespec ts = {0, 100000};
		char c;
		switch ((long)arg % 6) {
		case 0:
			if (read(busy_pipe[0], &c, 1) == 1)
				return NULL;
			break;
		case 1:
			pause();
			break;
		case 2:
			nanosleep(&ts, NULL);
			break;
		case 3:
			pthread_mutex_lock(&busy_lock);
			pthread_cond_wait(&busy_cond, &busy_lock);
			pthread_mutex_unlock(&busy_lock);
			break;
		case 4:
			for (volatile int i = 0; i < 10000; i++)
				;
			break;
		default:
			free(malloc(200000));
			getppid();
		}
	}
	return NULL;
}

static void busy_threads(long n)
{
	pthread_t t;
	OK(pipe(busy_pipe));
	for (long i = 0; i < n; i++)
		CHECK(!pthread_create(&t, NULL, busy, (void *)i));
}

TEST(end_with_busy_threads)
{
	for (int i = 0; i < 90; i++) {
		pid_t p = OK(fork());
		if (!p) {
			busy_threads(6);
			usleep((useconds_t)(i % 7 * 200));
			if (i % 3 == 0)
				kill(getpid(), SIGKILL);
			if (i % 3 == 1)
				syscall(SYS_exit_group, 5);
			exit(5);
		}
		int st;
		EQ(waitpid(p, &st, 0), p);
		if (i % 3 == 0)
			CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
		else
			CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 5);
	}
}

static void *execs(void *arg)
{
	execv(t_self, seven);
	t_fail(__LINE__, "execv: errno %d", errno);
	return arg;
}

TEST(exec_among_busy_threads)
{
	for (int i = 0; i < 60; i++) {
		pid_t p = OK(fork());
		if (!p) {
			pthread_t t;
			busy_threads(6);
			usleep((useconds_t)(i % 5 * 200));
			if (!(i & 1))
				execs(NULL);
			pthread_create(&t, NULL, execs, NULL);
			for (;;)
				pause();
		}
		int st;
		EQ(waitpid(p, &st, 0), p);
		CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 7);
	}
}

TEST(kill_during_spawn)
{
	for (int i = 0; i < 80; i++) {
		pid_t p;
		if (i & 1) {
			CHECK(!posix_spawn(&p, t_self, NULL, NULL, seven, environ));
		} else {
			p = OK(fork());
			if (!p) {
				execv(t_self, seven);
				_exit(99);
			}
		}
		usleep((useconds_t)(i % 40 * 20));
		kill(p, SIGKILL);
		int st;
		EQ(waitpid(p, &st, 0), p);
		CHECK((WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL) || (WIFEXITED(st) && WEXITSTATUS(st) == 7));
	}
}

static void *spawns_and_forks(void *arg)
{
	for (int i = 0; i < 25; i++) {
		pid_t p;
		int st;
		CHECK(!posix_spawn(&p, t_self, NULL, NULL, seven, environ));
		EQ(waitpid(p, &st, 0), p);
		CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 7);
		p = OK(fork());
		if (!p)
			_exit(3);
		EQ(waitpid(p, &st, 0), p);
		CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 3);
		free(malloc(300000));
	}
	return arg;
}

TEST(spawn_and_fork_in_parallel)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, spawns_and_forks, NULL));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

TEST(stop_and_continue_busy_threads)
{
	for (int i = 0; i < 20; i++) {
		int st;
		pid_t p = OK(fork());
		if (!p) {
			busy_threads(4);
			for (;;)
				pause();
		}
		for (int k = 0; k < 5; k++) {
			OK(kill(p, SIGSTOP));
			EQ(waitpid(p, &st, WUNTRACED), p);
			CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
			OK(kill(p, SIGCONT));
			EQ(waitpid(p, &st, WCONTINUED), p);
			CHECK(WIFCONTINUED(st));
		}
		if (i & 1)
			OK(kill(p, SIGSTOP));
		OK(kill(p, SIGKILL));
		EQ(waitpid(p, &st, 0), p);
		CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
	}
}

static atomic_int handled, over;
static void count(int s)
{
	(void)s;
	handled++;
}

static void *interrupted(void *arg)
{
	char buf[64];
	while (!over) {
		int f = open("/proc/self/stat", O_RDONLY);
		CHECK(f >= 0);
		CHECK(read(f, buf, sizeof(buf)) == sizeof(buf));
		close(f);
		double sum = 0;
		for (int i = 1; i < 200; i++)
			sum += i * 0.5;
		CHECK(sum == 9950.0);
	}
	return arg;
}

TEST(signals_into_busy_threads)
{
	struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESTART};
	pthread_t t[4];
	OK(sigaction(SIGUSR1, &sa, NULL));
	OK(sigaction(SIGUSR2, &sa, NULL));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, interrupted, NULL));
	for (int n = 0; n < 2000; n++) {
		for (int i = 0; i < 4; i++)
			CHECK(!pthread_kill(t[i], SIGUSR1));
		OK(kill(getpid(), SIGUSR2));
		usleep(50);
	}
	over = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK(handled > 2000);
}

TEST(orphans_of_orphans)
{
	for (int i = 0; i < 50; i++) {
		pid_t p = OK(fork());
		if (!p) {
			for (int k = 0; k < 3; k++)
				if (!fork()) {
					usleep((useconds_t)(k * 100));
					_exit(0);
				}
			_exit(0);
		}
		EQ(t_wait(p), 0);
	}
}

// --- vfork: the child runs in the parent's place

TEST(vfork_within_vfork)
{
	int st;
	pid_t p = vfork();
	if (!p) {
		pid_t q = vfork();
		if (!q)
			_exit(3);
		waitpid(q, &st, 0);
		_exit(WEXITSTATUS(st) + 1);
	}
	EQ(waitpid(p, &st, 0), p);
	EQ(WEXITSTATUS(st), 4);
}

TEST(fork_within_vfork)
{
	int st;
	pid_t p = vfork();
	if (!p) {
		long q = syscall(SYS_fork);
		if (!q)
			_exit(9);
		waitpid((pid_t)q, &st, 0);
		_exit(WEXITSTATUS(st));
	}
	EQ(waitpid(p, &st, 0), p);
	EQ(WEXITSTATUS(st), 9);
}

static volatile sig_atomic_t seen;
static void see(int s)
{
	seen = s;
}

TEST(signal_to_vfork_parent_waits)
{
	int st;
	pid_t me = getpid();
	signal(SIGUSR1, see);
	pid_t p = vfork();
	if (!p) {
		kill(me, SIGUSR1);
		struct timespec ts = {0, 2000000};
		nanosleep(&ts, NULL);
		_exit(seen ? 1 : 4); // shared memory: the handler has not run yet
	}
	EQ(seen, SIGUSR1);
	EQ(waitpid(p, &st, 0), p);
	EQ(WEXITSTATUS(st), 4);
}

static volatile long vfork_child;
static void *kill_vfork_child(void *arg)
{
	while (!vfork_child)
		usleep(100);
	kill((pid_t)vfork_child, SIGKILL);
	return arg;
}

TEST(vfork_child_killed_by_parents_thread)
{
	pthread_t t;
	int st;
	CHECK(!pthread_create(&t, NULL, kill_vfork_child, NULL));
	pid_t p = vfork();
	if (!p) {
		vfork_child = syscall(SYS_getpid);
		for (;;)
			syscall(SYS_pause);
	}
	pthread_join(t, NULL);
	EQ(waitpid(p, &st, 0), p);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
}

// --- stacks and registers of handlers

static sigjmp_buf back;
static void jump_back(int s)
{
	(void)s;
	siglongjmp(back, 1);
}

__attribute__((noinline)) static long recurse(long n)
{
	volatile char b[4096];
	b[0] = (char)n;
	return n > 1000000000 ? 0 : recurse(n + 1) + b[0];
}

TEST(stack_overflow_on_alternate_stack)
{
	static char alt[65536];
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
	struct sigaction sa = {.sa_handler = jump_back, .sa_flags = SA_ONSTACK};
	OK(sigaltstack(&ss, NULL));
	OK(sigaction(SIGSEGV, &sa, NULL));
	for (int i = 0; i < 3; i++)
		if (!sigsetjmp(back, 1))
			recurse(0);
}

TEST(stack_overflow_without_alternate_stack)
{
	struct sigaction sa = {.sa_handler = jump_back};
	OK(sigaction(SIGSEGV, &sa, NULL));
	pid_t p = OK(fork());
	if (!p)
		_exit((int)recurse(0));
	int st;
	EQ(waitpid(p, &st, 0), p);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV);
}

static volatile double spoilt;
static void spoil(int s)
{
	(void)s;
	double x = 1.5;
	for (int i = 0; i < 100; i++)
		x *= 1.01;
	spoilt = x;
	fesetround(FE_UPWARD);
}

TEST(handler_keeps_vector_state)
{
	signal(SIGUSR1, spoil);
	fesetround(FE_DOWNWARD);
	double y = 3.25;
	__asm__ volatile("" : "+x"(y));
	raise(SIGUSR1);
	__asm__ volatile("" : "+x"(y));
	CHECK(y == 3.25);
	EQ(fegetround(), FE_DOWNWARD);
}

static volatile int depth;
static void trace(int s)
{
	void *frames[64];
	(void)s;
	depth = backtrace(frames, 64);
}

__attribute__((noinline)) static int deep(int n)
{
	if (!n) {
		raise(SIGUSR2);
		return 0;
	}
	volatile int r = deep(n - 1);
	return r + 1;
}

TEST(backtrace_through_handler)
{
	signal(SIGUSR2, trace);
	for (int i = 0; i < 3; i++) {
		depth = 0;
		deep(10);
		CHECK(depth >= 12);
	}
}

// --- locks with owners

static pthread_mutex_t pi_lock;
static int pi_count;
static void *pi_user(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&pi_lock);
		pi_count++;
		if (i % 100 == 0)
			sched_yield();
		pthread_mutex_unlock(&pi_lock);
	}
	return arg;
}

static void *lock_and_die(void *m)
{
	pthread_mutex_lock(m);
	return NULL;
}

TEST(priority_inheritance_mutex)
{
	pthread_mutexattr_t a;
	pthread_t t[4];
	pthread_mutexattr_init(&a);
	CHECK(!pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT));
	CHECK(!pthread_mutex_init(&pi_lock, &a));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, pi_user, NULL));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	EQ(pi_count, 8000);

	pthread_mutex_t m;
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	CHECK(!pthread_mutex_init(&m, &a));
	CHECK(!pthread_create(&t[0], NULL, lock_and_die, &m));
	pthread_join(t[0], NULL);
	EQ(pthread_mutex_lock(&m), EOWNERDEAD);
	CHECK(!pthread_mutex_consistent(&m));
	CHECK(!pthread_mutex_unlock(&m));
}

static void *sleeper(void *arg)
{
	struct timespec ts = {1000, 0};
	nanosleep(&ts, NULL);
	return arg;
}

TEST(three_hundred_threads_cancelled)
{
	pthread_attr_t a;
	pthread_t t[300];
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 65536);
	for (int i = 0; i < 300; i++)
		CHECK(!pthread_create(&t[i], &a, sleeper, NULL));
	for (int i = 0; i < 300; i++)
		pthread_cancel(t[i]);
	for (int i = 0; i < 300; i++)
		pthread_join(t[i], NULL);
}

TEST(clone3_gives_a_pidfd)
{
	int fd = -1;
	struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&fd, .exit_signal = SIGCHLD};
	pid_t p = (pid_t)OK(syscall(SYS_clone3, &a, sizeof(a)));
	if (!p) {
		usleep(2000);
		_exit(6);
	}
	siginfo_t si;
	CHECK(fd >= 0);
	OK(waitid((idtype_t)3 /* P_PIDFD */, (id_t)fd, &si, WEXITED));
	EQ(si.si_pid, p);
	EQ(si.si_status, 6);
}

TEST(queued_signals_in_order)
{
	sigset_t s;
	siginfo_t si;
	struct timespec zero = {0, 0};
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN + 1);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	for (int i = 0; i < 100; i++)
		OK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i}));
	for (int i = 0; i < 100; i++) {
		EQ(sigwaitinfo(&s, &si), SIGRTMIN + 1);
		EQ(si.si_value.sival_int, i);
		EQ(si.si_code, SI_QUEUE);
	}
	ERR(sigtimedwait(&s, &si, &zero), EAGAIN);
}

// Bursts to a reader that sleeps, that has been woken and has not run yet, and that runs, from three processes at once: they wait for each other's answers,
// so that one wake-up lost would leave all of them waiting.
TEST(bursts_from_many_wakers)
{
	enum { WRITERS = 3, BURSTS = 2000 };
	int ep = epoll_create1(0), pair[2], left = WRITERS;
	pid_t pids[WRITERS];
	CHECK(ep >= 0);
	for (int k = 0; k < WRITERS; k++) {
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
		pids[k] = fork();
		CHECK(pids[k] >= 0);
		if (!pids[k]) {
			close(pair[0]);
			for (int i = 0; i < BURSTS; i++) {
				char c[8];
				int n = 1 + (i * 7 + k) % 5;
				for (int j = 0; j < n; j++) {
					if (write(pair[1], "x", 1) != 1)
						_exit(1);
					if ((i + j + k) % 11 == 0)
						sched_yield();
				}
				for (ssize_t got; n > 0; n -= (int)got)
					if ((got = read(pair[1], c, (size_t)n)) <= 0)
						_exit(2);
			}
			_exit(0);
		}
		close(pair[1]);
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, pair[0], &(struct epoll_event){.events = EPOLLIN, .data.fd = pair[0]}));
	}
	while (left) {
		struct epoll_event e[WRITERS];
		char bytes[64];
		int n = epoll_wait(ep, e, WRITERS, -1);
		CHECK(n > 0);
		for (int i = 0; i < n; i++) {
			ssize_t got = read(e[i].data.fd, bytes, sizeof bytes);
			CHECK(got >= 0);
			if (got) {
				EQ(write(e[i].data.fd, bytes, (size_t)got), got);
				continue;
			}
			OK(epoll_ctl(ep, EPOLL_CTL_DEL, e[i].data.fd, NULL)); // later children hold it as well
			close(e[i].data.fd);
			left--;
		}
	}
	close(ep);
	for (int k = 0; k < WRITERS; k++) {
		int st;
		EQ(waitpid(pids[k], &st, 0), pids[k]);
		EQ(st, 0);
	}
}
