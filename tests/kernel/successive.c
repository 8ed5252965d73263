// SPDX-License-Identifier: Apache-2.0
// Threads that follow one another: a new one has what its creator has and nothing of the one that ended before it, however often
// they come and go, whoever makes them, and in whatever way the process ends.
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "tests/kernel/t.h"

static long call(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	void *r;
	ZERO(pthread_create(&t, NULL, fn, arg));
	ZERO(pthread_join(t, &r));
	return (long)r;
}

static unsigned int mxcsr(void) { return __builtin_ia32_stmxcsr(); }

static void *rounding(void *set)
{
	long before = fegetround() | (long)(mxcsr() & 0x8040) << 16;
	fesetround((int)(long)set);
	__builtin_ia32_ldmxcsr(mxcsr() ^ 0x8040); // flush to zero, denormals are zero
	return (void *)before;
}

TEST(rounding_is_the_creators)
{
	static const int modes[] = {FE_UPWARD, FE_TONEAREST, FE_DOWNWARD, FE_TOWARDZERO};
	for (int i = 0; i < 40; i++) {
		ZERO(fesetround(modes[i % 4]));
		EQ(call(rounding, (void *)(long)modes[(i + 1) % 4]), modes[i % 4]);
	}
}

static long own_ns(clockid_t id)
{
	struct timespec t;
	OK(clock_gettime(id, &t));
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *burn(void *unused)
{
	for (long end = own_ns(CLOCK_THREAD_CPUTIME_ID) + 80000000; own_ns(CLOCK_THREAD_CPUTIME_ID) < end;)
		;
	return unused;
}

static void *spent_ms(void *unused)
{
	struct rusage u;
	(void)unused;
	OK(getrusage(RUSAGE_THREAD, &u));
	long r = u.ru_utime.tv_sec * 1000 + u.ru_stime.tv_sec * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
	long c = own_ns(CLOCK_THREAD_CPUTIME_ID) / 1000000;
	return (void *)(r > c ? r : c);
}

static pthread_barrier_t both;
static void *stay(void *unused)
{
	pthread_barrier_wait(&both);
	pthread_barrier_wait(&both);
	return unused;
}

TEST(cpu_time_begins_at_zero)
{
	pthread_t t;
	clockid_t id;
	long before = own_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < 2; i++) {
		call(burn, NULL);
		CHECK(call(spent_ms, NULL) < 40);
	}
	CHECK(own_ns(CLOCK_PROCESS_CPUTIME_ID) - before >= 160000000); // what they used is not lost
	ZERO(pthread_barrier_init(&both, NULL, 2));
	ZERO(pthread_create(&t, NULL, stay, NULL));
	pthread_barrier_wait(&both);
	ZERO(pthread_getcpuclockid(t, &id));
	CHECK(own_ns(id) < 40000000);
	pthread_barrier_wait(&both);
	ZERO(pthread_join(t, NULL));
}

static void *spoil(void *unused)
{
	static char stack[65536];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	cpu_set_t one;
	sigset_t all;
	OK(sigaltstack(&ss, NULL));
	sigfillset(&all);
	ZERO(pthread_sigmask(SIG_BLOCK, &all, NULL));
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	OK(sched_setaffinity(0, sizeof(one), &one));
	OK(prctl(PR_SET_NAME, "spoilt"));
	return unused;
}

static void *look(void *want)
{
	char name[16];
	stack_t ss;
	sigset_t mask;
	cpu_set_t cpus;
	OK(sigaltstack(NULL, &ss));
	EQ(ss.ss_flags, SS_DISABLE);
	ZERO(pthread_sigmask(SIG_BLOCK, NULL, &mask));
	CHECK(sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGTERM));
	OK(sched_getaffinity(0, sizeof(cpus), &cpus));
	CHECK(CPU_EQUAL(&cpus, (cpu_set_t *)want));
	OK(prctl(PR_GET_NAME, name));
	CHECK(strcmp(name, "spoilt") != 0);
	return NULL;
}

TEST(mask_stack_name_and_cpus_are_the_creators)
{
	cpu_set_t cpus;
	sigset_t usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	ZERO(pthread_sigmask(SIG_BLOCK, &usr1, NULL));
	OK(sched_getaffinity(0, sizeof(cpus), &cpus));
	for (int i = 0; i < 10; i++) {
		call(spoil, NULL);
		call(look, &cpus);
	}
}

static volatile int heard;
static void on_signal(int sig)
{
	(void)sig;
	__atomic_fetch_add(&heard, 1, __ATOMIC_SEQ_CST);
}

static void *until_heard(void *from)
{
	while (__atomic_load_n(&heard, __ATOMIC_SEQ_CST) == (int)(long)from)
		;
	return NULL;
}

TEST(signals_reach_each)
{
	signal(SIGUSR1, on_signal);
	for (int i = 0; i < 200; i++) {
		pthread_t t;
		ZERO(pthread_create(&t, NULL, until_heard, (void *)(long)i));
		ZERO(pthread_kill(t, SIGUSR1));
		ZERO(pthread_join(t, NULL));
		EQ(heard, i + 1);
	}
}

static void *give(void *arg) { return arg; }

static void *creator(void *unused)
{
	for (long i = 1; i < 400; i++)
		EQ(call(give, (void *)i), i);
	return unused;
}

TEST(creators_race)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		ZERO(pthread_create(&t[i], NULL, creator, NULL));
	for (int i = 0; i < 4; i++)
		ZERO(pthread_join(t[i], NULL));
}

static void wave(int n)
{
	pthread_t t[16];
	void *r;
	for (long i = 0; i < n; i++)
		ZERO(pthread_create(&t[i], NULL, give, (void *)i));
	for (long i = 0; i < n; i++) {
		ZERO(pthread_join(t[i], &r));
		EQ((long)r, i);
	}
}

TEST(waves_before_and_after_fork)
{
	for (int i = 0; i < 20; i++) {
		wave(1 + i % 12);
		pid_t p = OK(fork());
		if (!p) {
			wave(1 + (i + 5) % 12);
			_exit(i);
		}
		wave(3);
		EQ(t_wait(p), i);
	}
}

static void *end_later(void *main_thread)
{
	ZERO(pthread_join(*(pthread_t *)main_thread, NULL));
	wave(3);
	return NULL; // the last thread
}

TEST(every_end_of_a_process)
{
	pthread_t t;
	for (int i = 0; i < 40; i++) {
		pid_t p = OK(fork());
		if (p) {
			EQ(t_wait(p), i % 4 == 2 ? 0 : i % 4 == 3 ? 128 + SIGKILL : 7);
			continue;
		}
		wave(i % 6);
		for (int k = 0; k < 6; k++) // some have ended, some are about to, when the process does
			ZERO(pthread_create(&t, NULL, give, NULL));
		static pthread_t me;
		switch (i % 4) {
		case 0: _exit(7);
		case 1: execl(t_self, t_self, "--helper", "seven", NULL); _exit(99);
		case 2:
			me = pthread_self();
			ZERO(pthread_create(&t, NULL, end_later, &me));
			pthread_exit(NULL);
		default: kill(getpid(), SIGKILL);
		}
	}
}

HELPER(seven)
{
	(void)argc;
	(void)argv;
	wave(4);
	return 7;
}
