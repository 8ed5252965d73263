// SPDX-License-Identifier: Apache-2.0
// io_uring: time-outs, polling, cancellation, overflow.
#include "tests/kernel/uring.h"
#include <pthread.h>
#include <sys/epoll.h>

static struct __kernel_timespec ms(long n) { return (struct __kernel_timespec){n / 1000, n % 1000 * 1000000}; }

TEST(timeouts)
{
	struct ring r;
	struct __kernel_timespec t = ms(10), long_t = ms(100000), bad = {-1, 0};
	ring_new(&r, 16, 0);
	sqe(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 1);
	EQ(one(&r), -ETIME);
	sqe(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 1)->timeout_flags = IORING_TIMEOUT_ETIME_SUCCESS;
	EQ(one(&r), -ETIME);
	sqe(&r, IORING_OP_TIMEOUT, -1, &t, 2, 0, 1);
	EQ(one(&r), -EINVAL);
	sqe(&r, IORING_OP_TIMEOUT, -1, &bad, 1, 0, 1);
	EQ(one(&r), -EINVAL);
	sqe(&r, IORING_OP_TIMEOUT, -1, NULL, 1, 0, 1);
	EQ(one(&r), -EFAULT);
	struct timespec now;
	for (int i = 0; i < 3; i++) {
		static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
		static const unsigned flags[] = {0, IORING_TIMEOUT_REALTIME, IORING_TIMEOUT_BOOTTIME};
		clock_gettime(clocks[i], &now);
		t = (struct __kernel_timespec){now.tv_sec, now.tv_nsec + 1000};
		if (t.tv_nsec > 999999999)
			t.tv_nsec = 999999999;
		sqe(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 1)->timeout_flags = IORING_TIMEOUT_ABS | flags[i];
		EQ(one(&r), -ETIME);
	}
	// after two completions
	sqe(&r, IORING_OP_TIMEOUT, -1, &long_t, 1, 2, 1);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
	EQ(enter(r.fd, 2, 1, IORING_ENTER_GETEVENTS), 2);
	COMPLETES(&r, 2, 0);
	EQ(ready(&r), 0);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	EQ(enter(r.fd, 1, 2, IORING_ENTER_GETEVENTS), 1);
	COMPLETES(&r, 3, 0);
	COMPLETES(&r, 1, 0);
	// removed, changed
	sqe(&r, IORING_OP_TIMEOUT, -1, &long_t, 1, 0, 4);
	EQ(enter(r.fd, 1, 0, 0), 1);
	sqe(&r, IORING_OP_TIMEOUT_REMOVE, -1, (void *)4, 0, 0, 5);
	sqe(&r, IORING_OP_TIMEOUT_REMOVE, -1, (void *)44, 0, 0, 6);
	EQ(enter(r.fd, 2, 3, IORING_ENTER_GETEVENTS), 2);
	for (int i = 0; i < 3; i++) {
		struct cqe c = next(&r);
		EQ(c.res, c.user_data == 4 ? -ECANCELED : c.user_data == 5 ? 0 : -ENOENT);
	}
	sqe(&r, IORING_OP_TIMEOUT, -1, &long_t, 1, 0, 7);
	EQ(enter(r.fd, 1, 0, 0), 1);
	t = ms(1);
	sqe(&r, IORING_OP_TIMEOUT_REMOVE, -1, (void *)7, 0, (unsigned long)&t, 8)->timeout_flags = IORING_TIMEOUT_UPDATE;
	EQ(enter(r.fd, 1, 0, 0), 1);
	COMPLETES(&r, 8, 0);
	COMPLETES(&r, 7, -ETIME);
	ring_free(&r);
}

TEST(wait_with_timeout)
{
	struct ring r;
	struct __kernel_timespec t = ms(10);
	struct io_uring_getevents_arg a = {.ts = (unsigned long)&t};
	ring_new(&r, 8, 0);
	ERR(syscall(__NR_io_uring_enter, r.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &a, sizeof(a)), ETIME);
	ERR(syscall(__NR_io_uring_enter, r.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &a, 8), EINVAL);
	t = ms(10000);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	EQ(syscall(__NR_io_uring_enter, r.fd, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &a, sizeof(a)), 1);
	COMPLETES(&r, 1, 0);
	// a time-out request ends the wait though more was asked for
	t = ms(5);
	sqe(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 2);
	EQ(enter(r.fd, 1, 2, IORING_ENTER_GETEVENTS), 1);
	COMPLETES(&r, 2, -ETIME);
	ring_free(&r);
}

static volatile sig_atomic_t hits;
static void on_usr1(int sig)
{
	(void)sig;
	hits++;
}

TEST(wait_interrupted)
{
	struct ring r;
	ring_new(&r, 8, 0);
	t_on(SIGUSR1, on_usr1, 0);
	pid_t p = t_pester(getpid(), SIGUSR1);
	ERR(enter(r.fd, 0, 1, IORING_ENTER_GETEVENTS), EINTR);
	t_end(p);
	CHECK(hits > 0);
	ring_free(&r);
}

TEST(link_timeout)
{
	struct ring r;
	struct __kernel_timespec t = ms(10), long_t = ms(100000);
	char buf[4];
	int p[2];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_LINK_TIMEOUT, -1, &t, 1, 0, 2);
	EQ(enter(r.fd, 2, 0, 0), 2);
	for (int i = 0; i < 2; i++) {
		struct cqe c = next(&r);
		EQ(c.res, c.user_data == 1 ? -ECANCELED : -ETIME);
	}
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_LINK_TIMEOUT, -1, &long_t, 1, 0, 2)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	EQ(enter(r.fd, 3, 0, 0), 3);
	OK(write(p[1], "x", 1));
	for (int i = 0; i < 3; i++) {
		struct cqe c = next(&r);
		EQ(c.res, c.user_data == 1 ? 1 : c.user_data == 2 ? -ECANCELED : 0);
	}
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_LINK_TIMEOUT, -1, &long_t, 1, 0, 2);
	EQ(enter(r.fd, 2, 2, IORING_ENTER_GETEVENTS), 2);
	EQ(ready(&r), 2);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	ring_free(&r);
	ring_new(&r, 8, 0);
	sqe(&r, IORING_OP_LINK_TIMEOUT, -1, &t, 1, 0, 2);
	EQ(one(&r), -EINVAL);
	ring_free(&r);
}

TEST(poll_once)
{
	struct ring r;
	int p[2];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_POLL_ADD, p[0], NULL, 0, 0, 1)->poll32_events = POLLIN;
	EQ(enter(r.fd, 1, 0, 0), 1);
	EQ(ready(&r), 0);
	OK(write(p[1], "x", 1));
	COMPLETES(&r, 1, POLLIN);
	sqe(&r, IORING_OP_POLL_ADD, p[0], NULL, 0, 0, 2)->poll32_events = POLLIN | POLLOUT;
	EQ(one(&r), POLLIN);
	sqe(&r, IORING_OP_POLL_ADD, p[1], NULL, 0, 0, 3)->poll32_events = POLLIN;
	EQ(enter(r.fd, 1, 0, 0), 1);
	close(p[0]);
	COMPLETES(&r, 3, POLLERR);
	sqe(&r, IORING_OP_POLL_ADD, 999, NULL, 0, 0, 4)->poll32_events = POLLIN;
	EQ(one(&r), -EBADF);
	sqe(&r, IORING_OP_POLL_ADD, p[1], NULL, 0, 5, 4);
	EQ(one(&r), -EINVAL);
	ring_free(&r);
}

TEST(poll_multi)
{
	struct ring r;
	char c;
	int p[2];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_POLL_ADD, p[0], NULL, IORING_POLL_ADD_MULTI, 0, 1)->poll32_events = POLLIN;
	EQ(enter(r.fd, 1, 0, 0), 1);
	for (int i = 0; i < 5; i++) {
		OK(write(p[1], "x", 1));
		struct cqe e = next(&r);
		EQ(e.user_data, 1);
		EQ(e.res, POLLIN);
		CHECK(e.flags & IORING_CQE_F_MORE);
		EQ(read(p[0], &c, 1), 1);
	}
	sqe(&r, IORING_OP_POLL_REMOVE, -1, (void *)1, 0, 0, 2);
	EQ(enter(r.fd, 1, 0, 0), 1);
	for (int i = 0; i < 2; i++) {
		struct cqe e = next(&r);
		EQ(e.res, e.user_data == 1 ? -ECANCELED : 0);
		EQ(e.flags & IORING_CQE_F_MORE, 0);
	}
	sqe(&r, IORING_OP_POLL_REMOVE, -1, (void *)1, 0, 0, 3);
	EQ(one(&r), -ENOENT);
	ring_free(&r);
}

TEST(poll_update)
{
	struct ring r;
	int p[2];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_POLL_ADD, p[1], NULL, 0, 0, 1)->poll32_events = POLLIN;
	EQ(enter(r.fd, 1, 0, 0), 1);
	sqe(&r, IORING_OP_POLL_REMOVE, -1, (void *)1, IORING_POLL_UPDATE_USER_DATA, 9, 2);
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_POLL_REMOVE, -1, (void *)9, IORING_POLL_UPDATE_EVENTS, 0, 3)->poll32_events = POLLOUT;
	EQ(enter(r.fd, 1, 0, 0), 1);
	for (int i = 0; i < 2; i++) {
		struct cqe e = next(&r);
		EQ(e.res, e.user_data == 9 ? POLLOUT : 0);
	}
	ring_free(&r);
}

TEST(cancel)
{
	struct ring r;
	char buf[4];
	int p[2], q[2];
	ring_new(&r, 16, 0);
	OK(pipe(p));
	OK(pipe(q));
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	sqe(&r, IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 2);
	EQ(enter(r.fd, 1, 0, 0), 1);
	for (int i = 0; i < 2; i++) {
		struct cqe e = next(&r);
		EQ(e.res, e.user_data == 1 ? -ECANCELED : 0);
	}
	sqe(&r, IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 2);
	EQ(one(&r), -ENOENT);
	// by descriptor
	for (int i = 0; i < 3; i++)
		sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 10 + i);
	sqe(&r, IORING_OP_READ, q[0], buf, 1, 0, 20);
	EQ(enter(r.fd, 4, 0, 0), 4);
	sqe(&r, IORING_OP_ASYNC_CANCEL, p[0], NULL, 0, 0, 3)->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
	EQ(enter(r.fd, 1, 4, IORING_ENTER_GETEVENTS), 1);
	EQ(ready(&r), 4);
	EQ(result_of(&r, 4, 3), 3);
	// everything
	sqe(&r, IORING_OP_ASYNC_CANCEL, -1, NULL, 0, 0, 4)->cancel_flags = IORING_ASYNC_CANCEL_ANY;
	EQ(enter(r.fd, 1, 2, IORING_ENTER_GETEVENTS), 1);
	EQ(result_of(&r, 2, 4), 1);
	sqe(&r, IORING_OP_ASYNC_CANCEL, 999, NULL, 0, 0, 3)->cancel_flags = IORING_ASYNC_CANCEL_FD;
	EQ(one(&r), -EBADF);
	// by io_uring_register
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 5);
	EQ(enter(r.fd, 1, 0, 0), 1);
	struct io_uring_sync_cancel_reg c = {.addr = 5, .timeout = {-1, -1}};
	EQ(reg(r.fd, IORING_REGISTER_SYNC_CANCEL, &c, 1), 0);
	COMPLETES(&r, 5, -ECANCELED);
	ERR(reg(r.fd, IORING_REGISTER_SYNC_CANCEL, &c, 1), ENOENT);
	ring_free(&r);
}

TEST(overflow)
{
	struct ring r;
	ring_new(&r, 4, 0);
	for (int i = 0; i < 20; i++) {
		sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, i);
		EQ(enter(r.fd, 1, 0, 0), 1);
	}
	EQ(ready(&r), 8);
	CHECK(LOAD(WORD(&r, r.p.sq_off.flags)) & IORING_SQ_CQ_OVERFLOW);
	for (int i = 0; i < 8; i++)
		COMPLETES(&r, (unsigned long)i, 0);
	EQ(enter(r.fd, 0, 0, IORING_ENTER_GETEVENTS), 0);
	EQ(ready(&r), 8);
	for (int i = 8; i < 20; i++)
		COMPLETES(&r, (unsigned long)i, 0);
	EQ(LOAD(WORD(&r, r.p.sq_off.flags)) & IORING_SQ_CQ_OVERFLOW, 0);
	EQ(*WORD(&r, r.p.cq_off.overflow), 0);
	ring_free(&r);
}

TEST(ring_is_pollable)
{
	struct ring r;
	struct epoll_event ev = {.events = EPOLLIN}, got;
	char buf[4];
	int p[2];
	ring_new(&r, 4, 0);
	OK(pipe(p));
	struct pollfd pf = {r.fd, POLLIN | POLLOUT, 0};
	EQ(poll(&pf, 1, 0), 1);
	EQ(pf.revents, POLLOUT);
	int ep = OK(epoll_create1(0));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, r.fd, &ev));
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	EQ(epoll_wait(ep, &got, 1, 0), 0);
	OK(write(p[1], "x", 1));
	EQ(epoll_wait(ep, &got, 1, 10000), 1);
	COMPLETES(&r, 1, 1);
	EQ(epoll_wait(ep, &got, 1, 0), 0);
	ring_free(&r);
}

// A read waits for a pipe whose descriptor io_uring closes meanwhile: it keeps what it reads from, or begins anew and finds nothing there.
TEST(a_descriptor_closes_under_a_read)
{
	struct __kernel_timespec t = {.tv_nsec = 50000000};
	struct ring r;
	char c = 0;
	int p[2], fill[64];
	ring_new(&r, 4, 0);
	OK(pipe(p));
	pid_t child = OK(fork());
	if (!child) {
		signal(SIGPIPE, SIG_IGN);
		OK(close(p[0]));
		for (;;) { // until the reader has gone
			if (write(p[1], "x", 1) < 0)
				_exit(errno == EPIPE ? 0 : 9);
			usleep(200000);
		}
	}
	OK(close(p[1]));
	while (read(p[0], &c, 1) != 1)
		;
	sqe(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 1)->flags = IOSQE_IO_HARDLINK;
	sqe(&r, IORING_OP_CLOSE, p[0], NULL, 0, 0, 2);
	EQ(enter(r.fd, 2, 0, 0), 2);
	c = 0;
	ssize_t n = read(p[0], &c, 1);
	for (int i = 0; i < 64; i++) // over what was freed too early
		fill[i] = OK(eventfd(1, 0));
	CHECK((n == 1 && c == 'x') || (n < 0 && errno == EBADF));
	COMPLETES(&r, 1, -ETIME);
	COMPLETES(&r, 2, 0);
	for (int i = 0; i < 64; i++)
		OK(close(fill[i]));
	EQ(t_wait(child), 0);
	ring_free(&r);
}
