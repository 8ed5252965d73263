// SPDX-License-Identifier: Apache-2.0
// Time namespaces: clocks that differ for who is in one, by the library's fast way and by system call, and whatever names a moment on them.
#include "t.h"
#include <linux/futex.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define AHEAD 100000
#define BOOT_AHEAD 200000

static int put(const char *text)
{
	int fd = OK(open("/proc/self/timens_offsets", O_WRONLY)), e = 0;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		e = errno;
	close(fd);
	return e;
}

static void begin(void)
{
	if (unshare(CLONE_NEWTIME))
		SKIP("no time namespaces here");
}

static long sec(clockid_t id)
{
	struct timespec ts, by_call;
	OK(clock_gettime(id, &ts));
	OK(syscall(SYS_clock_gettime, id, &by_call));
	CHECK(by_call.tv_sec - ts.tv_sec >= 0 && by_call.tv_sec - ts.tv_sec < 1000);
	return ts.tv_sec;
}

static bool near(long a, long b) { return a - b > -2000 && a - b < 2000; }

static long uptime(void) { return strtol(t_get("/proc/uptime"), NULL, 10); }

static int in_child(void (*fn)(long mono, long boot))
{
	long mono = sec(CLOCK_MONOTONIC), boot = sec(CLOCK_BOOTTIME);
	pid_t p = OK(fork());
	if (!p) {
		fn(mono, boot);
		_exit(0);
	}
	return t_wait(p);
}

static long boot_up;
static struct sysinfo si_before;

static void clocks(long mono, long boot)
{
	struct sysinfo si;
	CHECK(near(sec(CLOCK_MONOTONIC), mono + AHEAD));
	CHECK(near(sec(CLOCK_MONOTONIC_RAW), mono + AHEAD));
	CHECK(near(sec(CLOCK_MONOTONIC_COARSE), mono + AHEAD));
	CHECK(near(sec(CLOCK_BOOTTIME), boot + BOOT_AHEAD));
	CHECK(near(sec(CLOCK_REALTIME), time(NULL)));
	CHECK(near(uptime(), boot_up + BOOT_AHEAD));
	OK(sysinfo(&si));
	CHECK(near(si.uptime, si_before.uptime + BOOT_AHEAD));
	EQ(put("monotonic 1 0"), EACCES); // somebody is in it
	pid_t p = OK(fork());
	if (!p)
		_exit(!near(sec(CLOCK_MONOTONIC), mono + AHEAD));
	EQ(t_wait(p), 0);
}

TEST(clocks_differ)
{
	boot_up = uptime();
	OK(sysinfo(&si_before));
	begin();
	EQ(put("monotonic 100000 0\nboottime 200000 0\n"), 0);
	STREQ(t_get("/proc/self/timens_offsets"), "monotonic      100000         0\nboottime       200000         0\n");
	CHECK(near(uptime(), boot_up)); // who unshares stays
	EQ(in_child(clocks), 0);
}

static void moments(long mono, long boot)
{
	struct timespec soon = {mono + AHEAD - 1000, 0}, late = {mono, 0}, span = {0, 1000000};
	uint32_t word = 1;
	uint64_t n;
	(void)boot;
	OK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &late, NULL) ? -1 : 0); // all of that is long past
	OK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &soon, NULL) ? -1 : 0);
	OK(clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL) ? -1 : 0);
	ERR(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 1, &soon, NULL, 1), ETIMEDOUT);
	int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	struct itimerspec set = {.it_value = soon}, got;
	OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, NULL));
	OK(read(fd, &n, sizeof(n)));
	set.it_value.tv_sec = mono + AHEAD + 50000;
	OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, NULL));
	OK(timerfd_gettime(fd, &got));
	CHECK(near(got.it_value.tv_sec, 50000));
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_NONE};
	OK(timer_create(CLOCK_BOOTTIME, &ev, &t));
	set.it_value.tv_sec = sec(CLOCK_BOOTTIME) + 50000;
	OK(timer_settime(t, TIMER_ABSTIME, &set, NULL));
	OK(timer_gettime(t, &got));
	CHECK(near(got.it_value.tv_sec, 50000));
}

TEST(moments_are_of_the_namespace)
{
	begin();
	EQ(put("1 100000 500000000"), 0);
	EQ(in_child(moments), 0);
}

static void behind(long mono, long boot)
{
	(void)boot;
	CHECK(sec(CLOCK_MONOTONIC) <= mono - 10 + 1);
}

TEST(behind_and_refused)
{
	begin();
	EQ(put("monotonic"), EINVAL);
	EQ(put("realtime 1 0"), EINVAL);
	EQ(put("monotonic 1 1000000000"), EINVAL);
	EQ(put("monotonic 1"), EINVAL);
	EQ(put("monotonic -9000000000 0"), ERANGE);
	EQ(put("monotonic 9000000000 0"), ERANGE);
	EQ(put("boottime 99999999999 0"), ERANGE);
	if (sec(CLOCK_MONOTONIC) < 20)
		SKIP("just started");
	EQ(put("monotonic -10 0"), 0);
	CHECK(strstr(t_get("/proc/self/timens_offsets"), "monotonic         -10         0\n"));
	EQ(in_child(behind), 0);
}

TEST(refused_to_the_first)
{
	int e = put("monotonic 1 0");
	CHECK(e == EACCES || e == EPERM);
}

HELPER(tell)
{
	return near(sec(CLOCK_MONOTONIC), atol(argv[1])) ? 0 : 5;
}

TEST(a_program_that_is_run_is_in_it)
{
	char text[32];
	begin();
	EQ(put("monotonic 100000 0"), 0);
	snprintf(text, sizeof(text), "%ld", sec(CLOCK_MONOTONIC) + AHEAD);
	pid_t p = OK(fork());
	if (!p)
		execl(t_self, t_self, "--helper", "tell", text, NULL);
	EQ(t_wait(p), 0);
}

static ino_t number(const char *name)
{
	struct stat st;
	OK(stat(name, &st));
	return st.st_ino;
}

TEST(entered_and_left)
{
	int home = OK(open("/proc/self/ns/time", O_RDONLY));
	long mono = sec(CLOCK_MONOTONIC);
	CHECK(number("/proc/self/ns/time") == number("/proc/self/ns/time_for_children"));
	begin();
	CHECK(number("/proc/self/ns/time") != number("/proc/self/ns/time_for_children"));
	EQ(put("monotonic 100000 0"), 0);
	int there = OK(open("/proc/self/ns/time_for_children", O_RDONLY));
	EQ(ioctl(there, NS_GET_NSTYPE), CLONE_NEWTIME);
	OK(setns(there, CLONE_NEWTIME));
	CHECK(number("/proc/self/ns/time") == number("/proc/self/ns/time_for_children"));
	CHECK(near(sec(CLOCK_MONOTONIC), mono + AHEAD));
	OK(setns(home, 0));
	CHECK(near(sec(CLOCK_MONOTONIC), mono));
	EQ(put("monotonic 5 0") != 0, 1);
	OK(unshare(CLONE_NEWTIME)); // and one within it
	EQ(put("monotonic 7 0"), 0);
}
