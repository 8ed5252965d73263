// SPDX-License-Identifier: Apache-2.0
// eventfd, timerfd, signalfd, inotify: descriptors that carry events.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "tests/kernel/t.h"

TEST(eventfd_counts)
{
	uint64_t v = 5;
	int e = OK(eventfd(3, EFD_NONBLOCK));
	EQ(write(e, &v, 8), 8);
	EQ(read(e, &v, 8), 8);
	EQ(v, 8);
	ERR(read(e, &v, 8), EAGAIN);
	ERR(read(e, &v, 4), EINVAL);
	ERR(write(e, &v, 4), EINVAL);
}

TEST(eventfd_limit)
{
	uint64_t v = 0xfffffffffffffffe;
	int e = OK(eventfd(0, EFD_NONBLOCK));
	EQ(write(e, &v, 8), 8);
	v = 1;
	ERR(write(e, &v, 8), EAGAIN);
	v = 0xffffffffffffffff;
	ERR(write(e, &v, 8), EINVAL);
	struct pollfd p = {e, POLLIN | POLLOUT, 0};
	EQ(poll(&p, 1, 0), 1);
	EQ(p.revents, POLLIN);
}

TEST(eventfd_semaphore)
{
	uint64_t v;
	int e = OK(eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE));
	EQ(read(e, &v, 8), 8);
	EQ(v, 1);
	EQ(read(e, &v, 8), 8);
	EQ(v, 1);
	ERR(read(e, &v, 8), EAGAIN);
}

TEST(eventfd_blocks_across_fork)
{
	uint64_t v = 9;
	int e = OK(eventfd(0, EFD_CLOEXEC));
	EQ(fcntl(e, F_GETFD), FD_CLOEXEC);
	pid_t p = OK(fork());
	if (!p) {
		t_sleep_ms(10);
		_exit(write(e, &v, 8) == 8 ? 0 : 1);
	}
	v = 0;
	EQ(read(e, &v, 8), 8);
	EQ(v, 9);
	EQ(t_wait(p), 0);
	ERR(eventfd(0, 0x40), EINVAL);
}

TEST(timerfd_one_shot)
{
	uint64_t n = 0;
	int t = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	struct itimerspec its = {.it_value = {0, 10000000}}, now;
	OK(timerfd_settime(t, 0, &its, NULL));
	EQ(read(t, &n, 8), 8);
	EQ(n, 1);
	OK(timerfd_gettime(t, &now));
	EQ(now.it_value.tv_sec, 0);
	EQ(now.it_value.tv_nsec, 0);
	OK(fcntl(t, F_SETFL, O_NONBLOCK));
	ERR(read(t, &n, 8), EAGAIN);
}

TEST(timerfd_periodic_counts)
{
	uint64_t n = 0, sum = 0;
	int t = OK(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	struct itimerspec its = {{0, 2000000}, {0, 2000000}};
	OK(timerfd_settime(t, 0, &its, NULL));
	while (sum < 5) {
		EQ(read(t, &n, 8), 8);
		CHECK(n >= 1);
		sum += n;
	}
	t_sleep_ms(30);
	EQ(read(t, &n, 8), 8);
	CHECK(n >= 5); // those missed are counted
	struct itimerspec old, off = {0};
	OK(timerfd_settime(t, 0, &off, &old));
	EQ(old.it_interval.tv_nsec, 2000000);
	struct pollfd p = {t, POLLIN, 0};
	EQ(poll(&p, 1, 5), 0);
}

TEST(timerfd_absolute)
{
	struct timespec now;
	uint64_t n;
	int t = OK(timerfd_create(CLOCK_REALTIME, 0));
	OK(clock_gettime(CLOCK_REALTIME, &now));
	struct itimerspec its = {.it_value = {now.tv_sec - 10, 0}};
	OK(timerfd_settime(t, TFD_TIMER_ABSTIME, &its, NULL)); // past: at once
	EQ(read(t, &n, 8), 8);
	EQ(n, 1);
}

TEST(timerfd_errors)
{
	struct itimerspec its = {.it_value = {0, 2000000000}};
	uint64_t n;
	int t = OK(timerfd_create(CLOCK_MONOTONIC, 0)), p[2];
	ERR(timerfd_settime(t, 0, &its, NULL), EINVAL);
	ERR(timerfd_create(99, 0), EINVAL);
	ERR(timerfd_create(CLOCK_MONOTONIC, 0x40), EINVAL);
	ERR(read(t, &n, 4), EINVAL);
	OK(pipe(p));
	ERR(timerfd_settime(p[0], 0, &its, NULL), EINVAL);
}

TEST(signalfd_reads_pending)
{
	struct signalfd_siginfo si;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	int s = OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
	ERR(read(s, &si, sizeof(si)), EAGAIN);
	OK(kill(getpid(), SIGUSR2));
	OK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 77}));
	struct signalfd_siginfo two[2];
	EQ(read(s, two, sizeof(two)), sizeof(two));
	EQ(two[0].ssi_signo, SIGUSR1);
	EQ(two[0].ssi_int, 77);
	EQ(two[0].ssi_pid, getpid());
	EQ(two[0].ssi_code, SI_QUEUE);
	EQ(two[1].ssi_signo, SIGUSR2);
	EQ(two[1].ssi_code, SI_USER);
	ERR(read(s, &si, 4), EINVAL);
}

TEST(signalfd_wakes_and_sigchld)
{
	struct signalfd_siginfo si;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	int s = OK(signalfd(-1, &set, 0));
	pid_t p = OK(fork());
	if (!p) {
		t_sleep_ms(10);
		_exit(42);
	}
	EQ(read(s, &si, sizeof(si)), sizeof(si));
	EQ(si.ssi_signo, SIGCHLD);
	EQ(si.ssi_pid, p);
	EQ(si.ssi_status, 42);
	EQ(si.ssi_code, CLD_EXITED);
	EQ(t_wait(p), 42);
}

TEST(signalfd_change_mask)
{
	struct signalfd_siginfo si;
	sigset_t a, b;
	sigemptyset(&a);
	sigemptyset(&b);
	sigaddset(&a, SIGUSR1);
	sigaddset(&b, SIGUSR2);
	OK(sigprocmask(SIG_BLOCK, &a, NULL));
	OK(sigprocmask(SIG_BLOCK, &b, NULL));
	int s = OK(signalfd(-1, &a, SFD_NONBLOCK));
	OK(raise(SIGUSR2));
	ERR(read(s, &si, sizeof(si)), EAGAIN);
	EQ(signalfd(s, &b, 0), s);
	EQ(read(s, &si, sizeof(si)), sizeof(si));
	EQ(si.ssi_signo, SIGUSR2);
}

// Reads the next event; the name is in a static buffer.
static const struct inotify_event *next_event(int fd)
{
	static char buf[4096] __attribute__((aligned(8)));
	static ssize_t have, at;
	if (at >= have) {
		have = read(fd, buf, sizeof(buf));
		at = 0;
		if (have <= 0)
			t_fail(__LINE__, "inotify read: errno %d", errno);
	}
	const struct inotify_event *e = (void *)(buf + at);
	at += (ssize_t)(sizeof(*e) + e->len);
	return e;
}

static int watch(int *fd, uint32_t mask)
{
	*fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (*fd < 0 && errno == ENOSYS)
		SKIP("no inotify here");
	if (*fd < 0)
		t_fail(__LINE__, "inotify_init1: errno %d", errno);
	int w = inotify_add_watch(*fd, ".", mask);
	if (w < 0)
		t_fail(__LINE__, "inotify_add_watch: errno %d", errno);
	return w;
}

TEST_DIR(inotify_create_write_delete)
{
	int fd, w = watch(&fd, IN_CREATE | IN_CLOSE_WRITE | IN_DELETE | IN_MODIFY);
	t_put("f", "x");
	OK(unlink("f"));
	static const uint32_t want[] = {IN_CREATE, IN_MODIFY, IN_CLOSE_WRITE, IN_DELETE};
	for (int i = 0; i < 4; i++) {
		const struct inotify_event *e = next_event(fd);
		EQ(e->mask, want[i]);
		EQ(e->wd, w);
		STREQ(e->name, "f");
	}
	char buf[64];
	ERR(read(fd, buf, sizeof(buf)), EAGAIN);
}

TEST_DIR(inotify_move_has_cookie)
{
	int fd;
	t_put("a", "x");
	watch(&fd, IN_MOVE);
	OK(rename("a", "b"));
	const struct inotify_event *e = next_event(fd);
	EQ(e->mask, IN_MOVED_FROM);
	uint32_t cookie = e->cookie;
	CHECK(cookie != 0);
	e = next_event(fd);
	EQ(e->mask, IN_MOVED_TO);
	EQ(e->cookie, cookie);
	STREQ(e->name, "b");
}

TEST_DIR(inotify_directory_and_remove_watch)
{
	int fd, w = watch(&fd, IN_CREATE);
	OK(mkdir("d", 0755));
	EQ(next_event(fd)->mask, IN_CREATE | IN_ISDIR);
	OK(inotify_rm_watch(fd, w));
	EQ(next_event(fd)->mask, IN_IGNORED);
	ERR(inotify_rm_watch(fd, w), EINVAL);
	ERR(inotify_add_watch(fd, "no", IN_CREATE), ENOENT);
}

TEST_DIR(inotify_poll)
{
	int fd;
	watch(&fd, IN_CREATE);
	struct pollfd p = {fd, POLLIN, 0};
	EQ(poll(&p, 1, 0), 0);
	pid_t pid = OK(fork());
	if (!pid) {
		t_sleep_ms(10);
		t_put("f", "x");
		_exit(0);
	}
	EQ(poll(&p, 1, -1), 1);
	EQ(t_wait(pid), 0);
}
