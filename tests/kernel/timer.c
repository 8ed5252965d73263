// SPDX-License-Identifier: Apache-2.0
// Clocks, sleeping and timers.
#include <sys/time.h>
#include <sys/times.h>

#include "tests/kernel/t.h"

static int64_t ns(clockid_t c)
{
	struct timespec ts;
	if (clock_gettime(c, &ts))
		t_fail(__LINE__, "clock_gettime(%d): errno %d", c, errno);
	return ts.tv_sec * 1000000000l + ts.tv_nsec;
}

static volatile sig_atomic_t hits;
static void hit(int s)
{
	(void)s;
	hits++;
}

TEST(monotonic_never_steps_back)
{
	// Longer than the kernel goes without a look at the host's clock, and beside others who want the processor: readers and whoever sets the rate are
	// interrupted anywhere.
	int64_t a = ns(CLOCK_MONOTONIC), end = a + 1200000000;
	pid_t other[3];
	for (int i = 0; i < 3; i++) {
		if (!(other[i] = fork())) {
			while (ns(CLOCK_MONOTONIC) < end)
				;
			_exit(0);
		}
	}
	while (a < end) {
		int64_t b = ns(CLOCK_MONOTONIC);
		CHECK(b >= a);
		a = b;
	}
	for (int i = 0; i < 3; i++)
		waitpid(other[i], NULL, 0);
}

TEST(every_clock_answers)
{
	static const clockid_t c[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
				      CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
	struct timespec ts;
	for (size_t i = 0; i < sizeof(c) / sizeof(*c); i++) {
		CHECK(ns(c[i]) >= 0);
		OK(clock_getres(c[i], &ts));
		CHECK(ts.tv_sec == 0 && ts.tv_nsec > 0);
	}
	ERR(syscall(SYS_clock_gettime, 99, &ts), EINVAL);
	ERR(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &ts), EINVAL);
}

TEST(realtime_is_this_century)
{
	CHECK(ns(CLOCK_REALTIME) / 1000000000 > 1600000000);
	struct timeval tv;
	OK(gettimeofday(&tv, NULL));
	CHECK(labs(tv.tv_sec - ns(CLOCK_REALTIME) / 1000000000) < 100);
}

TEST(monotonic_is_not_realtime)
{
	CHECK(ns(CLOCK_MONOTONIC) < ns(CLOCK_REALTIME) / 2);
}

TEST(cpu_time_counts_work_not_sleep)
{
	int64_t a = ns(CLOCK_PROCESS_CPUTIME_ID), w = ns(CLOCK_MONOTONIC);
	t_sleep_ms(50);
	int64_t slept = ns(CLOCK_PROCESS_CPUTIME_ID) - a, wall = ns(CLOCK_MONOTONIC) - w;
	CHECK(slept < wall);
	a = ns(CLOCK_THREAD_CPUTIME_ID);
	volatile unsigned x = 0;
	while (ns(CLOCK_THREAD_CPUTIME_ID) - a < 20000000)
		x++; // ends only if work is counted
}

TEST(nanosleep_is_long_enough)
{
	int64_t a = ns(CLOCK_MONOTONIC);
	struct timespec ts = {0, 20000000};
	OK(nanosleep(&ts, NULL));
	CHECK(ns(CLOCK_MONOTONIC) - a >= 20000000);
	ts.tv_nsec = 1000000000;
	ERR(nanosleep(&ts, NULL), EINVAL);
	ts.tv_nsec = 0;
	ts.tv_sec = -1;
	ERR(nanosleep(&ts, NULL), EINVAL);
	ts.tv_sec = 0;
	OK(nanosleep(&ts, NULL));
}

TEST(clock_nanosleep_absolute)
{
	struct timespec ts;
	OK(clock_gettime(CLOCK_MONOTONIC, &ts));
	int64_t want = ts.tv_sec * 1000000000l + ts.tv_nsec + 20000000;
	ts.tv_sec = want / 1000000000;
	ts.tv_nsec = want % 1000000000;
	ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL));
	CHECK(ns(CLOCK_MONOTONIC) >= want);
	ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL)); // past
	EQ(clock_nanosleep(99, 0, &ts, NULL), EINVAL);
}

TEST(alarm_fires_and_returns_rest)
{
	t_on(SIGALRM, hit, 0);
	EQ(alarm(100), 0);
	unsigned rest = alarm(1);
	CHECK(rest >= 99 && rest <= 100);
	while (!hits)
		pause();
	EQ(alarm(0), 0);
}

TEST(alarm_default_ends_process)
{
	pid_t p = OK(fork());
	if (!p) {
		struct itimerval it = {.it_value = {0, 10000}};
		setitimer(ITIMER_REAL, &it, NULL);
		for (;;)
			pause();
	}
	EQ(t_wait(p), 128 + SIGALRM);
}

TEST(setitimer_periodic)
{
	struct itimerval it = {{0, 3000}, {0, 3000}}, old;
	t_on(SIGALRM, hit, 0);
	OK(setitimer(ITIMER_REAL, &it, NULL));
	while (hits < 5)
		t_sleep_ms(1);
	memset(&it, 0, sizeof(it));
	OK(setitimer(ITIMER_REAL, &it, &old));
	EQ(old.it_interval.tv_usec, 3000);
	OK(getitimer(ITIMER_REAL, &old));
	EQ(old.it_value.tv_usec, 0);
	it.it_value.tv_usec = 1000000;
	ERR(setitimer(ITIMER_REAL, &it, NULL), EINVAL);
	ERR(setitimer((__itimer_which_t)99, &it, NULL), EINVAL);
}

TEST(setitimer_interrupts_computation)
{
	struct itimerval it = {.it_value = {0, 5000}};
	t_on(SIGALRM, hit, 0);
	OK(setitimer(ITIMER_REAL, &it, NULL));
	for (volatile unsigned long i = 0; !hits; i++)
		;
}

TEST(virtual_timer_counts_cpu_time)
{
	struct itimerval it = {.it_value = {0, 10000}};
	t_on(SIGVTALRM, hit, 0);
	OK(setitimer(ITIMER_VIRTUAL, &it, NULL));
	for (volatile unsigned long i = 0; !hits; i++)
		;
	hits = 0;
	t_on(SIGPROF, hit, 0);
	OK(setitimer(ITIMER_PROF, &it, NULL));
	for (volatile unsigned long i = 0; !hits; i++)
		;
}

static volatile int value, code;
static void hit_value(int s, siginfo_t *si, void *u)
{
	(void)s;
	(void)u;
	value = si->si_value.sival_int;
	code = si->si_code;
	hits++;
}

TEST(posix_timer_signal)
{
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 55};
	struct sigaction sa = {.sa_sigaction = hit_value, .sa_flags = SA_SIGINFO};
	struct itimerspec its = {{0, 2000000}, {0, 2000000}}, now;
	OK(sigaction(SIGUSR1, &sa, NULL));
	OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	OK(timer_settime(t, 0, &its, NULL));
	while (hits < 3)
		t_sleep_ms(1);
	EQ(value, 55);
	EQ(code, SI_TIMER);
	OK(timer_gettime(t, &now));
	EQ(now.it_interval.tv_nsec, 2000000);
	OK(timer_delete(t));
	ERR(timer_delete(t), EINVAL);
	int n = hits;
	t_sleep_ms(10);
	EQ(hits, n);
}

TEST(posix_timer_overrun)
{
	timer_t t;
	sigset_t set;
	siginfo_t si;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2};
	struct itimerspec its = {{0, 1000000}, {0, 1000000}};
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	OK(timer_settime(t, 0, &its, NULL));
	t_sleep_ms(30);
	EQ(sigwaitinfo(&set, &si), SIGRTMIN + 2);
	CHECK(timer_getoverrun(t) >= 5); // one signal stands for them all
	OK(timer_delete(t));
}

TEST(posix_timer_none_and_errors)
{
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_NONE};
	struct itimerspec its = {.it_value = {1000, 0}}, now;
	OK(timer_create(CLOCK_REALTIME, &ev, &t));
	OK(timer_settime(t, 0, &its, NULL));
	OK(timer_gettime(t, &now));
	CHECK(now.it_value.tv_sec >= 990 && now.it_value.tv_sec <= 1000);
	ERR(timer_create(99, &ev, &t), EINVAL);
	its.it_value.tv_nsec = 2000000000;
	ERR(timer_settime(t, 0, &its, NULL), EINVAL);
}

static void on_thread(union sigval v)
{
	__atomic_store_n((int *)v.sival_ptr, 1, __ATOMIC_SEQ_CST);
}

TEST(posix_timer_thread)
{
	timer_t t;
	int done = 0;
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_thread, .sigev_value.sival_ptr = &done};
	struct itimerspec its = {.it_value = {0, 1000000}};
	OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	OK(timer_settime(t, 0, &its, NULL));
	while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST))
		t_sleep_ms(1);
}

TEST(times_and_clock)
{
	struct tms a, b;
	clock_t w = OK(times(&a));
	clock_t c = clock();
	volatile unsigned x = 0;
	do {
		for (int i = 0; i < 1000000; i++)
			x++;
		OK(times(&b));
	} while (b.tms_utime + b.tms_stime - a.tms_utime - a.tms_stime < 2);
	CHECK(times(&b) > w);
	CHECK(clock() > c);
}

TEST(many_sleepers)
{
	for (int i = 0; i < 30; i++)
		if (OK(fork()) == 0) {
			t_sleep_ms(5 + i);
			_exit(i);
		}
	int sum = 0, st;
	for (int i = 0; i < 30; i++) {
		OK(wait(&st));
		sum += WEXITSTATUS(st);
	}
	EQ(sum, 435);
}

TEST(timers_shown_in_proc)
{
	char want[1024];
	struct {
		union sigval value;
		int signo, notify, tid, pad[11];
	} e = {.value.sival_ptr = (void *)0x1234abcd, .signo = 40};
	int id[4];
	static const struct {
		int clock, notify;
	} kinds[4] = {{CLOCK_MONOTONIC, SIGEV_SIGNAL}, {CLOCK_REALTIME, SIGEV_NONE}, {CLOCK_PROCESS_CPUTIME_ID, SIGEV_THREAD_ID}, {CLOCK_THREAD_CPUTIME_ID, SIGEV_THREAD}};
	STREQ(t_get("/proc/self/timers"), "");
	for (int i = 0; i < 4; i++) {
		e.notify = kinds[i].notify;
		e.tid = getpid();
		OK(syscall(SYS_timer_create, kinds[i].clock, &e, &id[i]));
	}
	int me = getpid();
	snprintf(want, sizeof(want),
		 "ID: %d\nsignal: 40/000000001234abcd\nnotify: thread/pid.%d\nClockID: -2\n"
		 "ID: %d\nsignal: 40/000000001234abcd\nnotify: signal/tid.%d\nClockID: -6\n"
		 "ID: %d\nsignal: 40/000000001234abcd\nnotify: none/pid.%d\nClockID: 0\n"
		 "ID: %d\nsignal: 40/000000001234abcd\nnotify: signal/pid.%d\nClockID: 1\n",
		 id[3], me, id[2], me, id[1], me, id[0], me);
	STREQ(t_get("/proc/self/timers"), want);
	OK(syscall(SYS_timer_delete, id[1]));
	OK(syscall(SYS_timer_delete, id[3]));
	CHECK(!strstr(t_get("/proc/self/timers"), "thread"));
	CHECK(strstr(t_get("/proc/self/timers"), "signal/tid."));
	if (!OK(fork())) {
		STREQ(t_get("/proc/self/timers"), ""); // they are not inherited
		snprintf(want, sizeof(want), "/proc/%d/timers", me);
		CHECK(strstr(t_get(want), "\nClockID: -6\n")); // anybody may look
		_exit(0);
	}
	int st;
	OK(wait(&st));
	EQ(st, 0);
	snprintf(want, sizeof(want), "/proc/self/task/%d/timers", me);
	ERR(access(want, F_OK), ENOENT); // of processes only
}

TEST(no_clock_is_set_off)
{
	if (access("/proc/self/timens_offsets", F_OK))
		SKIP("no time namespaces here");
	STREQ(t_get("/proc/self/timens_offsets"), "monotonic           0         0\nboottime            0         0\n");
	if (geteuid())
		SKIP("needs root to open it for writing");
	int fd = OK(open("/proc/self/timens_offsets", O_WRONLY));
	errno = 0;
	CHECK(write(fd, "monotonic 5 0\n", 14) == -1 && (errno == EACCES || errno == EPERM)); // without CAP_SYS_TIME
}
