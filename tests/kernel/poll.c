// SPDX-License-Identifier: Apache-2.0
// poll, ppoll, select, pselect over every kind of descriptor.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>

#include "tests/kernel/t.h"

static short ask(int fd, short events)
{
	struct pollfd p = {fd, events, 0};
	if (poll(&p, 1, 0) < 0)
		t_fail(__LINE__, "poll: errno %d", errno);
	return p.revents;
}

TEST(poll_pipe)
{
	int p[2];
	OK(pipe(p));
	EQ(ask(p[0], POLLIN), 0);
	EQ(ask(p[1], POLLOUT), POLLOUT);
	EQ(write(p[1], "x", 1), 1);
	EQ(ask(p[0], POLLIN), POLLIN);
	EQ(ask(p[0], POLLIN | POLLRDNORM), POLLIN | POLLRDNORM);
	close(p[1]);
	EQ(ask(p[0], POLLIN), POLLIN | POLLHUP);
	char c;
	EQ(read(p[0], &c, 1), 1);
	EQ(ask(p[0], POLLIN), POLLHUP);
}

TEST(poll_pipe_reader_gone)
{
	int p[2];
	OK(pipe(p));
	close(p[0]);
	EQ(ask(p[1], POLLOUT), POLLOUT | POLLERR);
	EQ(ask(p[1], 0), POLLERR);
}

TEST(poll_full_pipe)
{
	static char b[65536];
	int p[2];
	OK(pipe(p));
	EQ(write(p[1], b, sizeof(b)), sizeof(b));
	EQ(ask(p[1], POLLOUT), 0);
	EQ(read(p[0], b, 4096), 4096);
	EQ(ask(p[1], POLLOUT), POLLOUT);
}

TEST_DIR(poll_file_and_directory)
{
	t_put("f", "x");
	EQ(ask(OK(open("f", O_RDWR)), POLLIN | POLLOUT), POLLIN | POLLOUT);
	EQ(ask(OK(open(".", O_RDONLY)), POLLIN), POLLIN);
	EQ(ask(OK(open("/dev/null", O_RDWR)), POLLIN | POLLOUT), POLLIN | POLLOUT);
	EQ(ask(OK(open("/dev/zero", O_RDWR)), POLLIN | POLLOUT), POLLIN | POLLOUT);
}

TEST(poll_socketpair)
{
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EQ(ask(s[0], POLLIN | POLLOUT), POLLOUT);
	EQ(write(s[1], "x", 1), 1);
	EQ(ask(s[0], POLLIN | POLLOUT), POLLIN | POLLOUT);
	char c;
	EQ(read(s[0], &c, 1), 1);
	OK(shutdown(s[1], SHUT_WR));
	EQ(ask(s[0], POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
	close(s[1]);
	CHECK(ask(s[0], POLLIN) & POLLHUP);
}

TEST(poll_closed_and_negative)
{
	EQ(ask(999, POLLIN), POLLNVAL);
	EQ(ask(-1, POLLIN), 0);
	EQ(ask(-100, POLLIN), 0);
}

TEST(poll_counts_ready)
{
	int a[2], b[2], c[2];
	OK(pipe(a));
	OK(pipe(b));
	OK(pipe(c));
	EQ(write(a[1], "x", 1), 1);
	EQ(write(c[1], "x", 1), 1);
	struct pollfd p[4] = {{a[0], POLLIN, 0}, {b[0], POLLIN, 9}, {c[0], POLLIN, 0}, {999, POLLIN, 0}};
	EQ(poll(p, 4, -1), 3);
	EQ(p[0].revents, POLLIN);
	EQ(p[1].revents, 0);
	EQ(p[2].revents, POLLIN);
	EQ(p[3].revents, POLLNVAL);
}

TEST(poll_timeout)
{
	struct timespec a, b;
	int p[2];
	OK(pipe(p));
	struct pollfd q = {p[0], POLLIN, 9};
	OK(clock_gettime(CLOCK_MONOTONIC, &a));
	EQ(poll(&q, 1, 30), 0);
	OK(clock_gettime(CLOCK_MONOTONIC, &b));
	CHECK((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 29);
	EQ(q.revents, 0);
	EQ(poll(NULL, 0, 1), 0);
}

TEST(poll_wakes_on_write)
{
	int p[2];
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		t_sleep_ms(20);
		_exit(write(p[1], "x", 1) == 1 ? 0 : 1);
	}
	struct pollfd q = {p[0], POLLIN, 0};
	EQ(poll(&q, 1, -1), 1);
	EQ(q.revents, POLLIN);
	EQ(t_wait(pid), 0);
}

TEST(poll_wakes_on_close)
{
	int p[2];
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		close(p[0]);
		t_sleep_ms(20);
		_exit(0);
	}
	close(p[1]);
	struct pollfd q = {p[0], POLLIN, 0};
	EQ(poll(&q, 1, -1), 1);
	EQ(q.revents, POLLHUP);
	EQ(t_wait(pid), 0);
}

TEST(poll_too_many)
{
	ERR(syscall(SYS_poll, NULL, 10000000, 0), EINVAL);
}

static void nothing(int s)
{
	(void)s;
}

TEST(poll_eintr)
{
	int p[2];
	OK(pipe(p));
	t_on(SIGUSR1, nothing, SA_RESTART); // poll never restarts
	pid_t k = t_pester(getpid(), SIGUSR1);
	struct pollfd q = {p[0], POLLIN, 0};
	ERR(poll(&q, 1, -1), EINTR);
	t_end(k);
}

TEST(ppoll_mask_lets_signal_in)
{
	int p[2];
	sigset_t block, none;
	OK(pipe(p));
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, NULL));
	t_on(SIGUSR1, nothing, 0);
	OK(raise(SIGUSR1)); // pending
	struct pollfd q = {p[0], POLLIN, 0};
	EQ(poll(&q, 1, 0), 0);
	ERR(ppoll(&q, 1, NULL, &none), EINTR);
	sigset_t now;
	OK(sigprocmask(SIG_BLOCK, NULL, &now));
	EQ(sigismember(&now, SIGUSR1), 1);
	struct timespec ts = {0, 1000000};
	EQ(ppoll(&q, 1, &ts, NULL), 0);
}

TEST(select_basic)
{
	int a[2], b[2];
	OK(pipe(a));
	OK(pipe(b));
	EQ(write(b[1], "x", 1), 1);
	fd_set r, w;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(a[0], &r);
	FD_SET(b[0], &r);
	FD_SET(a[1], &w);
	EQ(select(b[1] + 1, &r, &w, NULL, NULL), 2);
	CHECK(!FD_ISSET(a[0], &r) && FD_ISSET(b[0], &r) && FD_ISSET(a[1], &w));
}

TEST(select_timeout_and_errors)
{
	int p[2];
	OK(pipe(p));
	fd_set r;
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	struct timeval tv = {0, 20000};
	EQ(select(p[0] + 1, &r, NULL, NULL, &tv), 0);
	CHECK(!FD_ISSET(p[0], &r));
	EQ(tv.tv_sec, 0);
	EQ(tv.tv_usec, 0); // Linux writes back the time left
	int gone = OK(dup(p[0]));
	close(gone);
	FD_SET(gone, &r);
	ERR(select(gone + 1, &r, NULL, NULL, &tv), EBADF);
	ERR(select(-1, NULL, NULL, NULL, &tv), EINVAL);
	tv.tv_sec = -1;
	ERR(select(0, NULL, NULL, NULL, &tv), EINVAL);
}

TEST(select_eof_is_readable)
{
	int p[2];
	OK(pipe(p));
	close(p[1]);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	EQ(select(p[0] + 1, &r, NULL, NULL, NULL), 1);
	CHECK(FD_ISSET(p[0], &r));
}

TEST(pselect_mask)
{
	sigset_t block, none;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, NULL));
	t_on(SIGUSR1, nothing, 0);
	OK(raise(SIGUSR1));
	ERR(pselect(0, NULL, NULL, NULL, NULL, &none), EINTR);
}

TEST(poll_many_descriptors)
{
	enum { N = 200 };
	struct pollfd q[N];
	int w[N], p[2];
	for (int i = 0; i < N; i++) {
		OK(pipe(p));
		q[i] = (struct pollfd){p[0], POLLIN, 0};
		w[i] = p[1];
	}
	EQ(poll(q, N, 0), 0);
	for (int i = 0; i < N; i += 7)
		EQ(write(w[i], "x", 1), 1);
	EQ(poll(q, N, -1), (N + 6) / 7);
	for (int i = 0; i < N; i++)
		EQ(q[i].revents, i % 7 ? 0 : POLLIN);
}

TEST(poll_same_descriptor_twice)
{
	int p[2];
	OK(pipe(p));
	EQ(write(p[1], "x", 1), 1);
	struct pollfd q[2] = {{p[0], POLLIN, 0}, {p[0], POLLIN, 0}};
	EQ(poll(q, 2, -1), 2);
}
