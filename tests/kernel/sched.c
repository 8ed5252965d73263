// SPDX-License-Identifier: Apache-2.0
// Scheduling classes: what may be asked for, who may ask, what is remembered, inherited and shown. Priorities are never put to the test: the
// threads here only look at themselves, and a real-time one never spins.
#include "t.h"
#include <linux/sched.h>
#define sched_param kernel_sched_param // the C library has its own
#include <linux/sched/types.h>
#undef sched_param
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif
#define MS 1000000ull

static int set(int pid, int policy, int prio) { return sched_setscheduler(pid, policy, &(struct sched_param){prio}); }
static long setattr(const struct sched_attr *a) { return syscall(SYS_sched_setattr, 0, a, 0); }
static struct sched_attr attr(void)
{
	struct sched_attr a = {0};
	OK(syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0));
	return a;
}

static int prio(void)
{
	struct sched_param p;
	OK(sched_getparam(0, &p));
	return p.sched_priority;
}

// Fields of /proc/self/stat, counted from 1.
static long field(int n)
{
	const char *s = strrchr(t_get("/proc/thread-self/stat"), ')') + 2;
	for (; n > 3; n--)
		s = strchr(s, ' ') + 1;
	return strtol(s, NULL, 10);
}

static void need_rt(void)
{
	if (set(0, SCHED_FIFO, 1))
		SKIP("not permitted");
	OK(set(0, SCHED_OTHER, 0));
}

TEST(classes_are_remembered)
{
	need_rt();
	OK(set(0, SCHED_FIFO, 10));
	EQ(sched_getscheduler(0), SCHED_FIFO);
	EQ(prio(), 10);
	EQ(field(18), -11);
	EQ(field(40), 10);
	EQ(field(41), SCHED_FIFO);
	OK(sched_setparam(0, &(struct sched_param){20}));
	EQ(prio(), 20);
	struct timespec ts;
	OK(sched_rr_get_interval(0, &ts));
	EQ(ts.tv_sec * 1000000000 + ts.tv_nsec, 0);
	OK(set(0, SCHED_RR, 99));
	OK(sched_rr_get_interval(0, &ts));
	CHECK(ts.tv_sec == 0 && ts.tv_nsec == 100000000);
	EQ(attr().sched_policy, SCHED_RR);
	EQ(attr().sched_priority, 99);
	EQ(attr().sched_nice, 0);
	OK(set(0, SCHED_BATCH, 0));
	EQ(sched_getscheduler(0), SCHED_BATCH);
	OK(set(0, SCHED_IDLE, 0));
	EQ(field(41), SCHED_IDLE);
	EQ(field(18), 20 + getpriority(PRIO_PROCESS, 0));
	OK(set(0, SCHED_OTHER, 0));
	EQ(sched_getscheduler(0), SCHED_OTHER);
}

TEST(nonsense_is_refused)
{
	ERR(set(0, SCHED_FIFO, 0), EINVAL);
	ERR(set(0, SCHED_FIFO, 100), EINVAL);
	ERR(set(0, SCHED_FIFO, -1), EINVAL);
	ERR(set(0, SCHED_OTHER, 1), EINVAL);
	ERR(set(0, SCHED_DEADLINE, 0), EINVAL);
	ERR(set(0, 4, 0), EINVAL);
	ERR(set(0, 77, 0), EINVAL);
	ERR(set(-1, SCHED_OTHER, 0), EINVAL);
	ERR(set(0x7ffffff0, SCHED_OTHER, 0), ESRCH);
	ERR(sched_setscheduler(0, SCHED_OTHER, NULL), EINVAL);
	ERR(sched_setparam(0, NULL), EINVAL);
	ERR(sched_setparam(0, &(struct sched_param){1}), EINVAL);
	ERR(sched_setparam(0x7ffffff0, &(struct sched_param){0}), ESRCH);
	ERR(sched_getscheduler(-1), EINVAL);
	ERR(sched_getscheduler(0x7ffffff0), ESRCH);
	struct sched_attr a = {.size = sizeof(a), .sched_policy = SCHED_OTHER};
	ERR(syscall(SYS_sched_setattr, 0, &a, 1), EINVAL);
	ERR(syscall(SYS_sched_setattr, -1, &a, 0), EINVAL);
	ERR(syscall(SYS_sched_setattr, 0, NULL, 0), EINVAL);
	a.size = 40;
	ERR(setattr(&a), E2BIG);
	a.size = 0;
	OK(setattr(&a)); // the first version's
	struct {
		struct sched_attr a;
		char more[8];
	} big = {.a = {.size = sizeof(big), .sched_policy = SCHED_OTHER}};
	OK(setattr(&big.a));
	big.more[3] = 1;
	ERR(setattr(&big.a), E2BIG);
	EQ(big.a.size, sizeof(big.a));
	a = (struct sched_attr){.size = sizeof(a), .sched_policy = SCHED_OTHER, .sched_flags = 1ull << 20};
	ERR(setattr(&a), EINVAL);
	ERR(syscall(SYS_sched_getattr, 0, &a, 40, 0), EINVAL);
	ERR(syscall(SYS_sched_getattr, 0, &a, sizeof(a), 1), EINVAL);
	EQ(sched_get_priority_max(SCHED_DEADLINE), 0);
	EQ(sched_get_priority_max(SCHED_RR), 99);
	ERR(sched_get_priority_max(4), EINVAL);
}

static pid_t child_sees(int policy, int flags)
{
	pid_t p = OK(fork());
	if (!p) {
		struct sched_attr a = attr();
		_exit(sched_getscheduler(0) == policy && (int)a.sched_flags == flags ? 5 : 6);
	}
	return p;
}

static void *look(void *arg)
{
	*(int *)arg = sched_getscheduler(0);
	return NULL;
}

TEST(inherited)
{
	need_rt();
	OK(set(0, SCHED_RR, 5));
	EQ(t_wait(child_sees(SCHED_RR, 0)), 5);
	pthread_t t;
	int seen = -1;
	ZERO(pthread_create(&t, NULL, look, &seen));
	ZERO(pthread_join(t, NULL));
	EQ(seen, SCHED_RR);
	OK(set(0, SCHED_RR | SCHED_RESET_ON_FORK, 5));
	EQ(sched_getscheduler(0), SCHED_RR | SCHED_RESET_ON_FORK);
	EQ(attr().sched_flags, SCHED_FLAG_RESET_ON_FORK);
	EQ(attr().sched_policy, SCHED_RR);
	EQ(t_wait(child_sees(SCHED_OTHER, 0)), 5);
	// of a normal class, it is a nice value below zero that is not handed on
	OK(set(0, SCHED_OTHER | SCHED_RESET_ON_FORK, 0));
	OK(setpriority(PRIO_PROCESS, 0, -5));
	pid_t p = OK(fork());
	if (!p)
		_exit(getpriority(PRIO_PROCESS, 0) == 0 ? 5 : 6);
	EQ(t_wait(p), 5);
	OK(set(0, SCHED_BATCH | SCHED_RESET_ON_FORK, 0));
	EQ(t_wait(child_sees(SCHED_BATCH, 0)), 5);
}

TEST(a_thread_has_its_own)
{
	need_rt();
	pthread_t t;
	pthread_attr_t at;
	int seen = -1;
	ZERO(pthread_attr_init(&at));
	ZERO(pthread_attr_setinheritsched(&at, PTHREAD_EXPLICIT_SCHED));
	ZERO(pthread_attr_setschedpolicy(&at, SCHED_FIFO));
	ZERO(pthread_attr_setschedparam(&at, &(struct sched_param){3}));
	ZERO(pthread_create(&t, &at, look, &seen));
	ZERO(pthread_join(t, NULL));
	EQ(seen, SCHED_FIFO);
	EQ(sched_getscheduler(0), SCHED_OTHER);
}

TEST(by_attributes)
{
	need_rt();
	struct sched_attr a = {.size = sizeof(a), .sched_policy = SCHED_FIFO, .sched_priority = 7};
	OK(setattr(&a));
	EQ(prio(), 7);
	a = (struct sched_attr){.size = sizeof(a), .sched_policy = SCHED_OTHER, .sched_nice = 7};
	OK(setattr(&a));
	EQ(getpriority(PRIO_PROCESS, 0), 7);
	EQ(attr().sched_nice, 7);
	a = (struct sched_attr){.size = sizeof(a), .sched_policy = 99, .sched_flags = SCHED_FLAG_KEEP_POLICY, .sched_nice = 3};
	OK(setattr(&a));
	EQ(attr().sched_policy, SCHED_OTHER);
	EQ(attr().sched_nice, 3);
	a = (struct sched_attr){.size = sizeof(a), .sched_policy = SCHED_BATCH, .sched_flags = SCHED_FLAG_KEEP_PARAMS, .sched_nice = 9};
	OK(setattr(&a)); // keeps the class, too
	EQ(attr().sched_policy, SCHED_OTHER);
	EQ(attr().sched_nice, 3);
}

TEST(deadlines)
{
	need_rt();
	struct sched_attr a = {.size = sizeof(a), .sched_policy = SCHED_DEADLINE, .sched_runtime = 1 * MS, .sched_deadline = 20 * MS, .sched_period = 40 * MS};
	if (setattr(&a))
		SKIP("not permitted");
	EQ(sched_getscheduler(0), SCHED_DEADLINE);
	struct sched_attr g = attr();
	EQ(g.sched_runtime, 1 * MS);
	EQ(g.sched_deadline, 20 * MS);
	EQ(g.sched_period, 40 * MS);
	EQ(field(18), -101);
	EQ(field(41), SCHED_DEADLINE);
	ERR(fork(), EAGAIN);
	a.sched_flags = SCHED_FLAG_RESET_ON_FORK;
	OK(setattr(&a));
	EQ(t_wait(child_sees(SCHED_OTHER, 0)), 5);
	a.sched_runtime = 30 * MS; // more than the deadline
	ERR(setattr(&a), EINVAL);
	a.sched_runtime = 1000; // too little
	ERR(setattr(&a), EINVAL);
	a.sched_runtime = 1 * MS;
	a.sched_period = 10 * MS; // less than the deadline
	ERR(setattr(&a), EINVAL);
	a.sched_period = 0; // the deadline
	OK(setattr(&a));
	EQ(attr().sched_period, 20 * MS);
	a.sched_priority = 1;
	ERR(setattr(&a), EINVAL);
	OK(set(0, SCHED_OTHER, 0));
}

static void as_nobody(void (*fn)(void))
{
	if (getuid())
		SKIP("not root");
	pid_t p = OK(fork());
	if (!p) {
		fn();
		_exit(0);
	}
	int r = t_wait(p);
	if (r == T_SKIPPED)
		SKIP("may not raise the limit");
	EQ(r, 0);
}

static void nobody(void) { OK(setresuid(1234, 1234, 1234)); }

static void unprivileged(void)
{
	OK(setpriority(PRIO_PROCESS, 0, 0)); // whatever these tests run with
	OK(setrlimit(RLIMIT_RTPRIO, &(struct rlimit){0, 0}));
	OK(setrlimit(RLIMIT_NICE, &(struct rlimit){0, 0}));
	pid_t other = OK(fork());
	if (!other)
		for (;;)
			pause();
	nobody();
	ERR(set(0, SCHED_FIFO, 1), EPERM);
	ERR(set(0, SCHED_RR, 1), EPERM);
	struct sched_attr a = {.size = sizeof(a), .sched_policy = SCHED_DEADLINE, .sched_runtime = 1 * MS, .sched_deadline = 20 * MS};
	ERR(setattr(&a), EPERM);
	ERR(set(other, SCHED_BATCH, 0), EPERM);
	OK(set(0, SCHED_BATCH, 0));
	OK(set(0, SCHED_OTHER, 0));
	a = (struct sched_attr){.size = sizeof(a), .sched_policy = SCHED_OTHER, .sched_nice = -1};
	ERR(setattr(&a), EPERM);
	a.sched_nice = 5;
	OK(setattr(&a));
	OK(set(0, SCHED_IDLE, 0));
	ERR(set(0, SCHED_OTHER, 0), EPERM); // out of idle as into a better nice value
	OK(set(0, SCHED_IDLE | SCHED_RESET_ON_FORK, 0));
	ERR(set(0, SCHED_IDLE, 0), EPERM);
}

static void with_a_limit(void)
{
	if (setrlimit(RLIMIT_RTPRIO, &(struct rlimit){10, 10}))
		_exit(T_SKIPPED);
	nobody();
	OK(set(0, SCHED_FIFO, 10));
	ERR(set(0, SCHED_FIFO, 11), EPERM);
	OK(set(0, SCHED_RR, 5));
	OK(setrlimit(RLIMIT_RTPRIO, &(struct rlimit){0, 0}));
	ERR(set(0, SCHED_FIFO, 5), EPERM);
	OK(sched_setparam(0, &(struct sched_param){4})); // less is always possible
	ERR(sched_setparam(0, &(struct sched_param){5}), EPERM);
	OK(set(0, SCHED_OTHER, 0));
	ERR(set(0, SCHED_RR, 1), EPERM);
}

TEST(without_privilege) { as_nobody(unprivileged); }
TEST(within_the_limit)
{
	need_rt();
	as_nobody(with_a_limit);
}

// What a child or a new program shows: the slack, what 0 sets it back to, huge pages, I/O priority.
HELPER(inherited)
{
	long slack = prctl(PR_GET_TIMERSLACK);
	OK(prctl(PR_SET_TIMERSLACK, 0));
	printf("%ld %ld %d %lx", slack, (long)prctl(PR_GET_TIMERSLACK), prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), syscall(SYS_ioprio_get, 1, 0));
	return fflush(stdout) ? 1 : 0;
}

static char *run_inherited(void)
{
	static char out[64];
	int p[2];
	OK(pipe(p));
	pid_t child = OK(fork());
	if (!child) {
		OK(dup2(p[1], 1));
		execl(t_self, t_self, "--helper", "inherited", NULL);
		_exit(1);
	}
	EQ(t_wait(child), 0);
	out[OK(read(p[0], out, sizeof(out) - 1))] = 0;
	close(p[0]);
	close(p[1]);
	return out;
}

static void *slack_of_thread(void *to)
{
	*(long *)to = prctl(PR_GET_TIMERSLACK);
	OK(prctl(PR_SET_TIMERSLACK, 300));
	return NULL;
}

TEST(timer_slack_is_inherited)
{
	long first = OK(prctl(PR_GET_TIMERSLACK)), seen;
	char want[64];
	OK(prctl(PR_SET_TIMERSLACK, 123456));
	EQ(prctl(PR_GET_TIMERSLACK), 123456);
	pthread_t t;
	ZERO(pthread_create(&t, NULL, slack_of_thread, &seen));
	ZERO(pthread_join(t, NULL));
	EQ(seen, 123456);
	EQ(prctl(PR_GET_TIMERSLACK), 123456); // a thread's own
	snprintf(want, sizeof(want), "123456 123456 %d %lx", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), OK(syscall(SYS_ioprio_get, 1, 0)));
	STREQ(run_inherited(), want);
	OK(prctl(PR_SET_TIMERSLACK, 0));
	EQ(prctl(PR_GET_TIMERSLACK), first);
	t_put("/proc/self/timerslack_ns", "77");
	EQ(prctl(PR_GET_TIMERSLACK), 77);
	t_put("/proc/self/timerslack_ns", "0");
	EQ(prctl(PR_GET_TIMERSLACK), first);
}

static void slack_of_others(void)
{
	char path[64], b[32];
	snprintf(path, sizeof(path), "/proc/%d/timerslack_ns", getppid());
	int fd = OK(open(path, O_RDWR));
	nobody();
	ERR(read(fd, b, sizeof(b)), EPERM);
	ERR(write(fd, "5", 1), EPERM);
}

TEST(timer_slack_of_others_wants_a_capability) { as_nobody(slack_of_others); }

TEST(huge_pages_refused_stay_so)
{
	if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0))
		SKIP("refused already");
	ERR(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0), EINVAL);
	ERR(prctl(PR_SET_THP_DISABLE, 1, 0, 1, 0), EINVAL);
	CHECK(strstr(t_get("/proc/self/status"), "THP_enabled:\t1\n"));
	OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
	CHECK(strstr(t_get("/proc/self/status"), "THP_enabled:\t0\n"));
	CHECK(strstr(run_inherited(), " 1 ")); // by the child, and by its program
	OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 0);
	CHECK(strstr(run_inherited(), " 0 "));
}

#define IO_PRIO(class, level) ((class) << 13 | (level))
enum { IO_NONE, IO_RT, IO_BE, IO_IDLE };
enum { IO_PROCESS = 1, IO_PGRP, IO_USER };
static long io_get(int which, int who) { return syscall(SYS_ioprio_get, which, who); }
static long io_set(int which, int who, int prio) { return syscall(SYS_ioprio_set, which, who, prio); }

static void *io_of_thread(void *main)
{
	EQ(io_get(IO_PROCESS, 0), IO_PRIO(IO_BE, 3));
	OK(io_set(IO_PROCESS, 0, IO_PRIO(IO_BE, 6)));
	EQ(io_get(IO_PROCESS, *(pid_t *)main), IO_PRIO(IO_BE, 3));
	OK(io_set(IO_PROCESS, *(pid_t *)main, IO_PRIO(IO_BE, 5)));
	EQ(io_get(IO_PROCESS, 0), IO_PRIO(IO_BE, 6));
	return NULL;
}

TEST(io_priorities_are_remembered)
{
	OK(io_set(IO_PROCESS, 0, IO_PRIO(IO_BE, 3)));
	EQ(io_get(IO_PROCESS, 0), IO_PRIO(IO_BE, 3));
	EQ(io_get(IO_PROCESS, getpid()), IO_PRIO(IO_BE, 3));
	CHECK(strstr(run_inherited(), " 4003"));
	pthread_t t;
	pid_t me = getpid();
	ZERO(pthread_create(&t, NULL, io_of_thread, &me));
	ZERO(pthread_join(t, NULL));
	EQ(io_get(IO_PROCESS, 0), IO_PRIO(IO_BE, 5));
	OK(setpgid(0, 0));
	pid_t child = OK(fork());
	if (!child) {
		pause();
		_exit(0);
	}
	EQ(io_get(IO_PROCESS, child), IO_PRIO(IO_BE, 5));
	OK(io_set(IO_PROCESS, child, IO_PRIO(IO_BE, 2)));
	EQ(io_get(IO_PGRP, 0), IO_PRIO(IO_BE, 2)); // the best of them
	EQ(io_get(IO_PGRP, getpid()), IO_PRIO(IO_BE, 2));
	OK(io_set(IO_PGRP, 0, IO_PRIO(IO_IDLE, 0)));
	EQ(io_get(IO_PROCESS, child), IO_PRIO(IO_IDLE, 0));
	EQ(io_get(IO_PROCESS, 0), IO_PRIO(IO_IDLE, 0));
	CHECK(io_get(IO_USER, 0) >= 0);
	OK(kill(child, SIGKILL));
	OK(waitpid(child, NULL, 0));
	ERR(io_get(IO_PROCESS, child), ESRCH);
	ERR(io_set(IO_PROCESS, child, IO_PRIO(IO_BE, 2)), ESRCH);
	ERR(io_get(0, 0), EINVAL);
	ERR(io_set(4, 0, 0), EINVAL);
	ERR(io_set(IO_PROCESS, 0, IO_PRIO(4, 0)), EINVAL);
	ERR(io_set(IO_PROCESS, 0, IO_PRIO(IO_NONE, 4)), EINVAL);
	OK(io_set(IO_PROCESS, 0, IO_PRIO(IO_NONE, 0)));
	EQ(io_get(IO_PROCESS, 0), 0);
}

static void io_of_nobody(void)
{
	nobody();
	ERR(io_set(IO_PROCESS, 0, IO_PRIO(IO_RT, 4)), EPERM);
	ERR(io_set(IO_PROCESS, getppid(), IO_PRIO(IO_BE, 7)), EPERM);
	CHECK(io_get(IO_PROCESS, getppid()) >= 0);
	OK(io_set(IO_PROCESS, 0, IO_PRIO(IO_IDLE, 0)));
}

TEST(io_priorities_of_others_want_a_capability) { as_nobody(io_of_nobody); }
