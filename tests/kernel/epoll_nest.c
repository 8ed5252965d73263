// SPDX-License-Identifier: Apache-2.0
// epoll inside epoll: loops, depth, events that travel up; one-shot, edges and exclusive waiters together.
#include "tests/kernel/t.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int add(int ep, int fd, unsigned events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static int mod(int ep, int fd, unsigned events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};
	return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
}

TEST(loops)
{
	int a = OK(epoll_create1(0)), b = OK(epoll_create1(0)), c = OK(epoll_create1(0));
	ERR(add(a, a, EPOLLIN), EINVAL);
	OK(add(a, b, EPOLLIN));
	ERR(add(b, a, EPOLLIN), ELOOP);
	OK(add(b, c, EPOLLIN));
	ERR(add(c, a, EPOLLIN), ELOOP);
	OK(epoll_ctl(a, EPOLL_CTL_DEL, b, NULL));
	OK(add(b, a, EPOLLIN));
}

TEST(depth)
{
	int e[12], i;
	for (i = 0; i < 12; i++)
		e[i] = OK(epoll_create1(0));
	for (i = 1; i < 12 && add(e[i], e[i - 1], EPOLLIN) == 0; i++)
		;
	EQ(i, 5);
	EQ(errno, ELOOP);
	// from the other end
	for (i = 0; i < 12; i++)
		e[i] = OK(epoll_create1(0));
	for (i = 1; i < 12 && add(e[i - 1], e[i], EPOLLIN) == 0; i++)
		;
	EQ(i, 5);
	EQ(errno, ELOOP);
}

TEST(events_travel_up)
{
	struct epoll_event ev;
	int p[2], in = OK(epoll_create1(0)), mid = OK(epoll_create1(0)), out = OK(epoll_create1(0));
	OK(pipe(p));
	OK(add(in, p[0], EPOLLIN));
	OK(add(mid, in, EPOLLIN));
	OK(add(out, mid, EPOLLIN | EPOLLET));
	EQ(epoll_wait(out, &ev, 1, 0), 0);
	OK(write(p[1], "x", 1));
	EQ(epoll_wait(out, &ev, 1, 1000), 1);
	EQ(epoll_wait(out, &ev, 1, 0), 0); // an edge
	EQ(epoll_wait(mid, &ev, 1, 0), 1);
	EQ(epoll_wait(in, &ev, 1, 0), 1);
	EQ(ev.data.fd, p[0]);
	struct pollfd pf = {out, POLLIN, 0};
	char c;
	EQ(read(p[0], &c, 1), 1);
	EQ(epoll_wait(mid, &ev, 1, 0), 0);
	EQ(poll(&pf, 1, 0), 0);
}

TEST(oneshot_and_edge)
{
	struct epoll_event ev;
	int p[2], ep = OK(epoll_create1(0));
	char c;
	OK(pipe(p));
	OK(add(ep, p[0], EPOLLIN | EPOLLONESHOT | EPOLLET));
	OK(write(p[1], "ab", 2));
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	OK(write(p[1], "c", 1));
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	OK(mod(ep, p[0], EPOLLIN | EPOLLONESHOT | EPOLLET)); // armed anew: what is there counts
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	OK(mod(ep, p[0], EPOLLIN | EPOLLET));
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	EQ(read(p[0], &c, 1), 1);
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	OK(write(p[1], "d", 1));
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	close(p[1]);
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	CHECK(ev.events & EPOLLHUP);
}

TEST(exclusive_rules)
{
	int fd = OK(eventfd(0, 0)), ep = OK(epoll_create1(0)), in = OK(epoll_create1(0));
	ERR(add(ep, in, EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
	ERR(add(ep, fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), EINVAL);
	ERR(add(ep, fd, EPOLLPRI | EPOLLEXCLUSIVE), EINVAL);
	OK(add(ep, fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET));
	ERR(mod(ep, fd, EPOLLIN), EINVAL);
	OK(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	OK(add(ep, fd, EPOLLIN));
	ERR(mod(ep, fd, EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
}

static void *waits(void *arg)
{
	struct epoll_event ev;
	int n;
	do
		n = epoll_wait(*(int *)arg, &ev, 1, 20000);
	while (n < 0 && errno == EINTR);
	return (void *)(long)n;
}

TEST(exclusive_wakes_at_least_one)
{
	enum { N = 4 };
	int fd = OK(eventfd(0, EFD_SEMAPHORE)), ep[N];
	pthread_t t[N];
	for (int i = 0; i < N; i++) {
		ep[i] = OK(epoll_create1(0));
		OK(add(ep[i], fd, EPOLLIN | EPOLLEXCLUSIVE));
		ZERO(pthread_create(&t[i], NULL, waits, &ep[i]));
	}
	t_sleep_ms(20);
	unsigned long v = 1;
	for (int i = 0; i < N; i++) { // each write finds somebody who still waits
		OK(write(fd, &v, 8));
		t_sleep_ms(5);
	}
	for (int i = 0; i < N; i++) {
		void *got;
		ZERO(pthread_join(t[i], &got));
		EQ((long)got, 1);
	}
}

TEST(closed_while_waiting)
{
	struct epoll_event ev;
	int p[2], ep = OK(epoll_create1(0)), in = OK(epoll_create1(0));
	OK(pipe(p));
	OK(add(in, p[0], EPOLLIN));
	OK(add(ep, in, EPOLLIN));
	OK(write(p[1], "x", 1));
	close(p[0]);
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	close(in);
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
}
