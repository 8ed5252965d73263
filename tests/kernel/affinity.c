// SPDX-License-Identifier: Apache-2.0
// CPU affinity: where threads run, what children and new programs inherit, what others may change, what /proc shows.
#include "tests/kernel/t.h"
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>

static cpu_set_t all;
static int cpus[CPU_SETSIZE], ncpus;

static void begin(void)
{
	OK(sched_getaffinity(0, sizeof(all), &all));
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all))
			cpus[ncpus++] = i;
	CHECK(ncpus >= 1);
}

static cpu_set_t just(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return set;
}

static void pin(pid_t who, int cpu)
{
	cpu_set_t set = just(cpu);
	OK(sched_setaffinity(who, sizeof(set), &set));
}

// The one CPU that the caller is bound to, or -1.
static int bound(pid_t who)
{
	cpu_set_t set;
	int cpu = -1;
	OK(sched_getaffinity(who, sizeof(set), &set));
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set)) {
			if (cpu >= 0)
				return -1;
			cpu = i;
		}
	return cpu;
}

// Runs there and nowhere else, by both ways to ask.
static void stays_on(int cpu)
{
	for (int i = 0; i < 200; i++) {
		unsigned n = 999;
		EQ(sched_getcpu(), cpu);
		OK(syscall(SYS_getcpu, &n, NULL, NULL));
		EQ(n, cpu);
		if (i % 20 == 0)
			sched_yield();
	}
}

TEST(runs_where_it_is_told)
{
	begin();
	for (int round = 0; round < 5; round++)
		for (int i = 0; i < ncpus; i++) {
			pin(0, cpus[i]);
			EQ(bound(0), cpus[i]);
			EQ(bound(getpid()), cpus[i]);
			stays_on(cpus[i]);
		}
	OK(sched_setaffinity(0, sizeof(all), &all));
	cpu_set_t now;
	OK(sched_getaffinity(0, sizeof(now), &now));
	CHECK(CPU_EQUAL(&now, &all));
}

TEST(what_others_do_not_have_counts_for_nothing)
{
	begin();
	cpu_set_t set = just(cpus[0]);
	CPU_SET(CPU_SETSIZE - 1, &set);
	if (CPU_ISSET(CPU_SETSIZE - 1, &all))
		SKIP("a very large machine");
	OK(sched_setaffinity(0, sizeof(set), &set));
	EQ(bound(0), cpus[0]);
	set = just(CPU_SETSIZE - 1);
	ERR(sched_setaffinity(0, sizeof(set), &set), EINVAL);
	CPU_ZERO(&set);
	ERR(sched_setaffinity(0, sizeof(set), &set), EINVAL);
	EQ(bound(0), cpus[0]);
}

TEST(errors)
{
	begin();
	ERR(sched_setaffinity(0x7ffffff0, sizeof(all), &all), ESRCH);
	ERR(sched_setaffinity(-1, sizeof(all), &all), ESRCH);
	ERR(sched_getaffinity(-1, sizeof(all), &all), ESRCH);
	ERR(syscall(SYS_sched_setaffinity, 0, sizeof(all), 8), EFAULT);
	ERR(syscall(SYS_sched_getaffinity, 0, 7, &all), EINVAL);
	ERR(syscall(SYS_sched_getaffinity, 0, 4, &all), EINVAL);
	EQ(syscall(SYS_sched_setaffinity, 0, 1, &all), 0); // the rest counts as zero
}

static int tell[2];

static void *inherits(void *arg)
{
	int *where = arg;
	where[0] = bound(0);
	stays_on(where[0]);
	pin(0, cpus[0]); // its own business
	stays_on(cpus[0]);
	return NULL;
}

TEST(threads_inherit_and_differ)
{
	begin();
	for (int i = 0; i < ncpus; i++) {
		pthread_t t;
		int where = -2;
		pin(0, cpus[i]);
		CHECK(!pthread_create(&t, NULL, inherits, &where));
		CHECK(!pthread_join(t, NULL));
		EQ(where, cpus[i]);
		EQ(bound(0), cpus[i]);
		stays_on(cpus[i]);
	}
}

HELPER(where)
{
	int want = argc > 1 ? atoi(argv[1]) : -1;
	if (bound(0) != want)
		return 1;
	for (int i = 0; i < 100; i++)
		if (sched_getcpu() != want)
			return 2;
	return 0;
}

extern char **environ;

TEST(children_and_programs_inherit)
{
	begin();
	for (int i = 0; i < ncpus; i++) {
		char n[16];
		int st;
		pid_t p;
		snprintf(n, sizeof(n), "%d", cpus[i]);
		char *argv[] = {t_self, "--helper", "where", n, NULL};
		pin(0, cpus[i]);
		p = OK(fork());
		if (!p) {
			stays_on(cpus[i]);
			execv(t_self, argv);
			_exit(9);
		}
		EQ(waitpid(p, &st, 0), p);
		EQ(st, 0);
		CHECK(!posix_spawn(&p, t_self, NULL, NULL, argv, environ));
		EQ(waitpid(p, &st, 0), p);
		EQ(st, 0);
		stays_on(cpus[i]);
	}
}

TEST(a_vfork_child_changes_only_itself)
{
	begin();
	pin(0, cpus[0]);
	pid_t p = vfork();
	if (!p) {
		cpu_set_t set = just(cpus[ncpus - 1]);
		unsigned cpu = 0;
		syscall(SYS_sched_setaffinity, 0, sizeof(set), &set);
		syscall(SYS_getcpu, &cpu, NULL, NULL); // sched_getcpu(3) would read the parent's rseq area
		_exit((int)cpu == cpus[ncpus - 1] ? 0 : 1);
	}
	int st;
	EQ(waitpid(p, &st, 0), p);
	EQ(st, 0);
	EQ(bound(0), cpus[0]);
	stays_on(cpus[0]);
}

static _Atomic int other_tid, goal, seen;

static void *obeys(void *arg)
{
	atomic_store(&other_tid, (int)syscall(SYS_gettid));
	for (int last = -1; last != -2;) {
		int g = atomic_load(&goal);
		if (g != last && g >= 0)
			stays_on(g);
		last = g;
		atomic_store(&seen, g);
		if (g == -1)
			sched_yield();
	}
	return arg;
}

TEST(another_thread_is_moved)
{
	begin();
	pthread_t t;
	goal = seen = -1;
	CHECK(!pthread_create(&t, NULL, obeys, NULL));
	while (!atomic_load(&other_tid))
		sched_yield();
	for (int i = 0; i < 4 * ncpus; i++) {
		int cpu = cpus[i % ncpus];
		pin(other_tid, cpu); // it is there when the call comes back
		atomic_store(&goal, cpu);
		while (atomic_load(&seen) != cpu)
			sched_yield();
		EQ(bound(other_tid), cpu);
	}
	EQ(bound(0), ncpus == 1 ? cpus[0] : -1);
	atomic_store(&goal, -2);
	CHECK(!pthread_join(t, NULL));
}

TEST(another_process_is_moved)
{
	begin();
	OK(pipe(tell));
	int go[2];
	OK(pipe(go));
	pid_t p = OK(fork());
	if (!p) {
		char c;
		for (int i = 0; i < 2 * ncpus; i++) {
			if (read(go[0], &c, 1) != 1)
				_exit(1);
			stays_on(cpus[i % ncpus]);
			if (write(tell[1], "x", 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	for (int i = 0; i < 2 * ncpus; i++) { // it sleeps, or is about to
		char c;
		pin(p, cpus[i % ncpus]);
		EQ(write(go[1], "x", 1), 1);
		EQ(read(tell[0], &c, 1), 1);
	}
	int st;
	EQ(waitpid(p, &st, 0), p);
	EQ(st, 0);
}

TEST(others_need_the_right)
{
	begin();
	if (getuid())
		SKIP("needs root");
	pid_t p = OK(fork());
	if (!p) {
		if (setuid(65534))
			_exit(1);
		cpu_set_t set = just(cpus[0]);
		if (sched_setaffinity(getppid(), sizeof(set), &set) != -1 || errno != EPERM)
			_exit(2);
		if (sched_setaffinity(0, sizeof(set), &set))
			_exit(3);
		if (sched_getaffinity(getppid(), sizeof(set), &set))
			_exit(4);
		_exit(0);
	}
	int st;
	EQ(waitpid(p, &st, 0), p);
	EQ(st, 0);
}

TEST(proc_shows_it)
{
	begin();
	for (int i = 0; i < ncpus; i++) {
		char list[64];
		pin(0, cpus[i]);
		snprintf(list, sizeof(list), "Cpus_allowed_list:\t%d\n", cpus[i]);
		CHECK(strstr(t_get("/proc/self/status"), list));
		CHECK(strstr(t_get("/proc/thread-self/status"), list));
		const char *mask = strstr(t_get("/proc/self/status"), "Cpus_allowed:\t");
		CHECK(mask);
		if (cpus[i] < 32 && !strchr(strndup(mask, strcspn(mask, "\n")), ','))
			EQ(strtoul(mask + 14, NULL, 16), 1ul << cpus[i]);
	}
}

static _Atomic int stop;

static void *wanders(void *arg)
{
	for (int i = 0; !atomic_load(&stop); i++)
		pin(0, cpus[i % ncpus]);
	return arg;
}

// Threads that change their own and each other's while some begin and end: nobody is lost.
TEST(all_at_once)
{
	begin();
	pthread_t t[3], u;
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&t[i], NULL, wanders, NULL));
	for (int i = 0; i < 150; i++) {
		int where = -2;
		pin(0, cpus[i % ncpus]);
		CHECK(!pthread_create(&u, NULL, inherits, &where));
		CHECK(!pthread_join(u, NULL));
		EQ(where, cpus[i % ncpus]);
		if (i % 10 == 0) {
			pid_t p = OK(fork());
			if (!p) {
				stays_on(cpus[i % ncpus]);
				_exit(0);
			}
			int st;
			EQ(waitpid(p, &st, 0), p);
			EQ(st, 0);
		}
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_join(t[i], NULL));
}
