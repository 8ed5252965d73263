// SPDX-License-Identifier: Apache-2.0
// epoll: level and edge triggered, one-shot, nesting, every kind of descriptor, life and death of entries.
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "tests/kernel/t.h"

static void add(int e, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = (uint64_t)fd | 0x1234500000000ul};
	if (epoll_ctl(e, EPOLL_CTL_ADD, fd, &ev))
		t_fail(__LINE__, "epoll_ctl add %d: errno %d", fd, errno);
}

// Events of one wait that expects at most one ready descriptor; 0 when there is none.
static uint32_t got(int e, int fd)
{
	struct epoll_event ev[4];
	int n = epoll_wait(e, ev, 4, 0);
	if (n < 0 || n > 1)
		t_fail(__LINE__, "epoll_wait: %d errno %d", n, errno);
	if (n && ev[0].data.u64 != ((uint64_t)fd | 0x1234500000000ul))
		t_fail(__LINE__, "wrong data");
	return n ? ev[0].events : 0;
}

TEST(create)
{
	OK(epoll_create(1));
	ERR(epoll_create(0), EINVAL);
	int e = OK(epoll_create1(EPOLL_CLOEXEC));
	EQ(fcntl(e, F_GETFD), FD_CLOEXEC);
	ERR(epoll_create1(1), EINVAL);
}

TEST_DIR(ctl_errors)
{
	int e = OK(epoll_create1(0)), p[2];
	struct epoll_event ev = {.events = EPOLLIN};
	OK(pipe(p));
	t_put("f", "x");
	int f = OK(open("f", O_RDONLY));
	ERR(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev), ENOENT);
	ERR(epoll_ctl(e, EPOLL_CTL_DEL, p[0], &ev), ENOENT);
	OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev), EEXIST);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, 999, &ev), EBADF);
	ERR(epoll_ctl(999, EPOLL_CTL_ADD, p[0], &ev), EBADF);
	ERR(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &ev), EINVAL);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, e, &ev), EINVAL);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, f, &ev), EPERM);
	ERR(epoll_ctl(e, 99, p[0], &ev), EINVAL);
	OK(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL));
	ERR(epoll_wait(e, &ev, 0, 0), EINVAL);
	ERR(syscall(SYS_epoll_wait, e, &ev, -1, 0), EINVAL);
	ERR(epoll_wait(p[0], &ev, 1, 0), EINVAL);
}

TEST(level_triggered)
{
	int e = OK(epoll_create1(0)), p[2];
	char c;
	OK(pipe(p));
	add(e, p[0], EPOLLIN);
	EQ(got(e, p[0]), 0);
	EQ(write(p[1], "ab", 2), 2);
	EQ(got(e, p[0]), EPOLLIN);
	EQ(got(e, p[0]), EPOLLIN);
	EQ(read(p[0], &c, 1), 1);
	EQ(got(e, p[0]), EPOLLIN);
	EQ(read(p[0], &c, 1), 1);
	EQ(got(e, p[0]), 0);
}

TEST(edge_triggered)
{
	int e = OK(epoll_create1(0)), p[2];
	char c;
	OK(pipe(p));
	add(e, p[0], EPOLLIN | EPOLLET);
	EQ(write(p[1], "ab", 2), 2);
	EQ(got(e, p[0]), EPOLLIN);
	EQ(got(e, p[0]), 0);
	EQ(read(p[0], &c, 1), 1);
	EQ(got(e, p[0]), 0);
	EQ(write(p[1], "c", 1), 1);
	EQ(got(e, p[0]), EPOLLIN); // new data is a new edge
	EQ(got(e, p[0]), 0);
}

TEST(edge_seen_at_add)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	EQ(write(p[1], "x", 1), 1);
	add(e, p[0], EPOLLIN | EPOLLET);
	EQ(got(e, p[0]), EPOLLIN);
	EQ(got(e, p[0]), 0);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = (uint64_t)p[0] | 0x1234500000000ul};
	OK(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev)); // arms again
	EQ(got(e, p[0]), EPOLLIN);
}

TEST(edge_of_writability)
{
	static char b[65536];
	int e = OK(epoll_create1(0)), s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	add(e, s[0], EPOLLOUT | EPOLLET);
	EQ(got(e, s[0]), EPOLLOUT);
	EQ(got(e, s[0]), 0);
	while (write(s[0], b, sizeof(b)) > 0)
		;
	EQ(errno, EAGAIN);
	EQ(got(e, s[0]), 0);
	while (read(s[1], b, sizeof(b)) > 0)
		;
	EQ(got(e, s[0]), EPOLLOUT);
}

TEST(one_shot)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	add(e, p[0], EPOLLIN | EPOLLONESHOT);
	EQ(write(p[1], "ab", 2), 2);
	EQ(got(e, p[0]), EPOLLIN);
	EQ(got(e, p[0]), 0);
	EQ(write(p[1], "ab", 2), 2);
	EQ(got(e, p[0]), 0);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = (uint64_t)p[0] | 0x1234500000000ul};
	OK(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev));
	EQ(got(e, p[0]), EPOLLIN);
	EQ(got(e, p[0]), 0);
}

TEST(hang_up_always_reported)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	add(e, p[0], 0);
	EQ(got(e, p[0]), 0);
	close(p[1]);
	EQ(got(e, p[0]), EPOLLHUP);
}

TEST(closing_removes_entry)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	EQ(write(p[1], "x", 1), 1);
	add(e, p[0], EPOLLIN);
	EQ(got(e, p[0]), EPOLLIN);
	close(p[0]);
	EQ(got(e, p[0]), 0);
	int q[2];
	OK(pipe(q)); // reuses the number
	add(e, q[0], EPOLLIN);
	EQ(got(e, q[0]), 0);
}

TEST(copy_keeps_entry_alive)
{
	// The entry belongs to the open file, not to the number.
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	add(e, p[0], EPOLLIN);
	int copy = OK(dup(p[0]));
	EQ(write(p[1], "x", 1), 1);
	int n = p[0];
	close(p[0]);
	EQ(got(e, n), EPOLLIN);
	close(copy);
	EQ(got(e, n), 0);
}

TEST(same_file_two_numbers)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	int copy = OK(dup(p[0]));
	add(e, p[0], EPOLLIN);
	add(e, copy, EPOLLIN);
	EQ(write(p[1], "x", 1), 1);
	struct epoll_event ev[4];
	EQ(epoll_wait(e, ev, 4, -1), 2);
}

TEST(fairness_with_small_array)
{
	enum { N = 10 };
	int e = OK(epoll_create1(0)), p[2];
	bool seen[1024] = {false};
	for (int i = 0; i < N; i++) {
		OK(pipe(p));
		add(e, p[0], EPOLLIN);
		EQ(write(p[1], "x", 1), 1);
	}
	int n = 0;
	for (int i = 0; i < N * 3; i++) { // level triggered: each comes around in turn
		struct epoll_event ev;
		EQ(epoll_wait(e, &ev, 1, -1), 1);
		int fd = (int)(ev.data.u64 & 0xffff);
		n += !seen[fd];
		seen[fd] = true;
	}
	EQ(n, N);
}

TEST(nested)
{
	int inner = OK(epoll_create1(0)), outer = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	add(inner, p[0], EPOLLIN);
	add(outer, inner, EPOLLIN);
	EQ(got(outer, inner), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(got(outer, inner), EPOLLIN);
	EQ(got(inner, p[0]), EPOLLIN);
	char c;
	EQ(read(p[0], &c, 1), 1);
	EQ(got(outer, inner), 0);
	struct epoll_event ev = {.events = EPOLLIN};
	ERR(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &ev), ELOOP);
}

TEST(nested_wakes_sleeper)
{
	int inner = OK(epoll_create1(0)), outer = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	add(inner, p[0], EPOLLIN);
	add(outer, inner, EPOLLIN);
	pid_t pid = OK(fork());
	if (!pid) {
		t_sleep_ms(20);
		_exit(write(p[1], "x", 1) == 1 ? 0 : 1);
	}
	struct epoll_event ev;
	EQ(epoll_wait(outer, &ev, 1, -1), 1);
	EQ(t_wait(pid), 0);
}

TEST(every_kind)
{
	int e = OK(epoll_create1(0)), p[2], s[2];
	sigset_t set;
	OK(pipe(p));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	int ev = OK(eventfd(0, 0)), sg = OK(signalfd(-1, &set, 0)), tm = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	add(e, p[0], EPOLLIN);
	add(e, s[0], EPOLLIN);
	add(e, ev, EPOLLIN);
	add(e, sg, EPOLLIN);
	add(e, tm, EPOLLIN);
	struct epoll_event out[8];
	EQ(epoll_wait(e, out, 8, 0), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(write(s[1], "x", 1), 1);
	OK(eventfd_write(ev, 1));
	OK(raise(SIGUSR1));
	struct itimerspec its = {.it_value = {0, 1}};
	OK(timerfd_settime(tm, 0, &its, NULL));
	uint64_t v;
	struct signalfd_siginfo si;
	char c;
	int seen = 0, n;
	while (seen < 5) {
		n = OK(epoll_wait(e, out, 8, -1));
		for (int i = 0; i < n; i++) {
			int fd = (int)(out[i].data.u64 & 0xffff);
			EQ(out[i].events, EPOLLIN);
			if (fd == ev || fd == tm)
				EQ(read(fd, &v, 8), 8);
			else if (fd == sg)
				EQ(read(fd, &si, sizeof(si)), sizeof(si));
			else
				EQ(read(fd, &c, 1), 1);
			seen++;
		}
	}
	EQ(epoll_wait(e, out, 8, 0), 0);
}

TEST(timeout)
{
	struct timespec a, b;
	int e = OK(epoll_create1(0));
	struct epoll_event ev;
	OK(clock_gettime(CLOCK_MONOTONIC, &a));
	EQ(epoll_wait(e, &ev, 1, 30), 0);
	OK(clock_gettime(CLOCK_MONOTONIC, &b));
	CHECK((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 29);
}

static void nothing(int s)
{
	(void)s;
}

TEST(eintr_and_pwait_mask)
{
	int e = OK(epoll_create1(0));
	struct epoll_event ev;
	t_on(SIGUSR1, nothing, SA_RESTART);
	pid_t k = t_pester(getpid(), SIGUSR1);
	ERR(epoll_wait(e, &ev, 1, -1), EINTR);
	t_end(k);
	sigset_t block, none;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, NULL));
	OK(raise(SIGUSR1));
	EQ(epoll_wait(e, &ev, 1, 0), 0);
	ERR(epoll_pwait(e, &ev, 1, -1, &none), EINTR);
}

TEST(shared_across_fork)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		add(e, p[0], EPOLLIN); // into the set that the parent shares
		_exit(0);
	}
	EQ(t_wait(pid), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(got(e, p[0]), EPOLLIN);
}

TEST(child_waits_parent_writes)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	add(e, p[0], EPOLLIN);
	pid_t pid = OK(fork());
	if (!pid) {
		struct epoll_event ev;
		_exit(epoll_wait(e, &ev, 1, -1) == 1 && ev.events == EPOLLIN ? 0 : 1);
	}
	t_sleep_ms(10);
	EQ(write(p[1], "x", 1), 1);
	EQ(t_wait(pid), 0);
}

static void *late_add(void *arg)
{
	int *v = arg;
	t_sleep_ms(20);
	add(v[0], v[1], EPOLLIN);
	return NULL;
}

TEST(add_while_another_thread_waits)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	EQ(write(p[1], "x", 1), 1);
	pthread_t t;
	int v[2] = {e, p[0]};
	ZERO(pthread_create(&t, NULL, late_add, v));
	struct epoll_event ev;
	EQ(epoll_wait(e, &ev, 1, -1), 1);
	ZERO(pthread_join(t, NULL));
}

TEST(exclusive_flag)
{
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
	OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
	ERR(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev), EINVAL);
	EQ(write(p[1], "x", 1), 1);
	EQ(epoll_wait(e, &ev, 1, -1), 1);
}

TEST(mod_changes_interest)
{
	int e = OK(epoll_create1(0)), s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	add(e, s[0], EPOLLIN);
	EQ(got(e, s[0]), 0);
	struct epoll_event ev = {.events = EPOLLOUT, .data.u64 = (uint64_t)s[0] | 0x1234500000000ul};
	OK(epoll_ctl(e, EPOLL_CTL_MOD, s[0], &ev));
	EQ(got(e, s[0]), EPOLLOUT);
	EQ(write(s[1], "x", 1), 1);
	EQ(got(e, s[0]), EPOLLOUT);
}

TEST(peer_shutdown_events)
{
	int e = OK(epoll_create1(0)), s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	add(e, s[0], EPOLLIN | EPOLLRDHUP);
	OK(shutdown(s[1], SHUT_WR));
	EQ(got(e, s[0]), EPOLLIN | EPOLLRDHUP);
	close(s[1]);
	EQ(got(e, s[0]), EPOLLIN | EPOLLRDHUP | EPOLLHUP);
}
