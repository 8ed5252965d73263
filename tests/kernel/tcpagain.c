// SPDX-License-Identifier: Apache-2.0
// What TCP does with connections that are left before their time (connect with AF_UNSPEC), with bytes that wait for others (TCP_CORK, MSG_MORE) and with
// connections that nobody needs to know of before something has come (TCP_DEFER_ACCEPT).
#include "tests/kernel/t.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)
static const struct sockaddr none = {.sa_family = AF_UNSPEC};

static struct sockaddr_in at(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct sockaddr_in name(int s)
{
	struct sockaddr_in a;
	socklen_t n = sizeof(a);
	OK(getsockname(s, (void *)&a, &n));
	return a;
}

static int listener(struct sockaddr_in *a)
{
	*a = at(0);
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(l, ADDR(*a)));
	OK(listen(l, 8));
	*a = name(l);
	return l;
}

static int events(int s)
{
	struct pollfd p = {s, POLLIN | POLLOUT | POLLRDHUP, 0};
	OK(poll(&p, 1, 0));
	return p.revents;
}

static int error_of(int s)
{
	int e = 0;
	socklen_t n = sizeof(e);
	OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &n));
	return e;
}

static void until_readable(int s)
{
	struct pollfd p = {s, POLLIN, 0};
	EQ(OK(poll(&p, 1, 20000)), 1);
}

TEST(disconnect_resets_and_connects_again)
{
	struct sockaddr_in a, was;
	char b[16];
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(c, &none, sizeof(none)));	// nothing to leave
	OK(connect(c, ADDR(a)));
	int s = OK(accept(l, NULL, NULL));
	was = name(c);
	EQ(write(s, "unread", 6), 6);
	EQ(write(c, "abc", 3), 3);
	OK(connect(c, &none, sizeof(none)));
	EQ(events(c), POLLOUT | POLLHUP | POLLERR);
	EQ(name(c).sin_addr.s_addr, 0);
	ERR(getpeername(c, (void *)&was, &(socklen_t){sizeof(was)}), ENOTCONN);
	EQ(error_of(c), ECONNRESET);
	EQ(error_of(c), 0);
	EQ(events(c), POLLOUT | POLLHUP);
	ERR(read(c, b, sizeof(b)), ENOTCONN);
	ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
	until_readable(s);
	EQ(error_of(s), ECONNRESET);
	EQ(read(s, b, sizeof(b)), 3);
	EQ(read(s, b, sizeof(b)), 0);
	ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);

	for (int k = 0; k < 3; k++) {	// an error that nobody asked for is gone with the next connection
		OK(connect(c, ADDR(a)));
		EQ(error_of(c), 0);
		int t = OK(accept(l, NULL, NULL));
		close(s);	// of the connection before: nothing of it reaches this one
		s = t;
		EQ(write(c, "again", 5), 5);
		EQ(read(s, b, sizeof(b)), 5);
		EQ(write(s, "yes", 3), 3);
		EQ(read(c, b, sizeof(b)), 3);
		OK(connect(c, &none, sizeof(none)));
	}
}

TEST(disconnect_after_half_close)
{
	struct sockaddr_in a;
	char b[4];
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(c, ADDR(a)));
	int s = OK(accept(l, NULL, NULL));
	OK(shutdown(c, SHUT_WR));
	OK(connect(c, &none, sizeof(none)));
	EQ(error_of(c), ECONNRESET);
	EQ(read(s, b, 4), 0);
	EQ(error_of(s), EPIPE);
	close(s);

	OK(connect(c, ADDR(a)));	// both have ended it: there is nothing to reset
	s = OK(accept(l, NULL, NULL));
	close(s);
	EQ(read(c, b, 4), 0);
	OK(shutdown(c, SHUT_WR));
	OK(connect(c, &none, sizeof(none)));
	OK(connect(c, ADDR(a)));
	EQ(error_of(c), 0);
}

TEST(disconnect_accepted_and_listening)
{
	struct sockaddr_in a, own;
	char b[4];
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(c, ADDR(a)));
	int s = OK(accept(l, NULL, NULL));
	OK(connect(s, &none, sizeof(none)));
	ERR(read(c, b, 4), ECONNRESET);
	OK(connect(s, ADDR(a)));	// not from the listener's port
	EQ(name(s).sin_port == a.sin_port, 0);
	int t = OK(accept(l, NULL, NULL));
	EQ(write(s, "hi", 2), 2);
	EQ(read(t, b, 4), 2);

	OK(connect(s, &none, sizeof(none)));	// and now it listens
	OK(listen(s, 4));
	own = at(ntohs(name(s).sin_port));
	int d = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(d, ADDR(own)));
	OK(accept(s, NULL, NULL));
	OK(connect(s, &none, sizeof(none)));
	ERR(connect(OK(socket(AF_INET, SOCK_STREAM, 0)), ADDR(own)), ECONNREFUSED);
}

TEST(disconnect_keeps_a_named_port)
{
	struct sockaddr_in a, own;
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
	own = at(ntohs(a.sin_port));
	own.sin_addr.s_addr = htonl(0x7f000002);
	OK(setsockopt(c, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	OK(bind(c, ADDR(own)));
	OK(connect(c, ADDR(a)));
	int s = OK(accept(l, NULL, NULL));
	OK(connect(c, &none, sizeof(none)));
	EQ(name(c).sin_port, own.sin_port);
	EQ(name(c).sin_addr.s_addr, own.sin_addr.s_addr);
	close(s);
	OK(connect(c, ADDR(a)));
	EQ(name(c).sin_port, own.sin_port);
}

TEST(disconnect_seen_by_epoll)
{
	struct sockaddr_in a;
	struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP};
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0)), ep = OK(epoll_create1(0));
	OK(connect(c, ADDR(a)));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c, &e));
	EQ(epoll_wait(ep, &e, 1, 0), 0);
	OK(connect(c, &none, sizeof(none)));
	EQ(epoll_wait(ep, &e, 1, 0), 1);
	EQ(e.events, EPOLLERR | EPOLLHUP);
	OK(connect(c, ADDR(a)));
	EQ(epoll_wait(ep, &e, 1, 0), 0);
	close(OK(accept(l, NULL, NULL)));
	int s = OK(accept(l, NULL, NULL));
	EQ(write(s, "x", 1), 1);
	EQ(epoll_wait(ep, &e, 1, 20000), 1);
	EQ(e.events, EPOLLIN);
}

// Threads that send and receive on a socket that is disconnected and connected all the time: whatever they get, the connection that comes after has none of
// their bytes, and nobody is left asleep.
static volatile int stop;

static void *sender(void *arg)
{
	static const char junk[70000];
	while (!stop)
		if (send(*(int *)arg, junk, sizeof(junk), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			sched_yield();
	return NULL;
}

static void *receiver(void *arg)
{
	char b[100];
	while (!stop)
		if (recv(*(int *)arg, b, sizeof(b), MSG_DONTWAIT) < 0)
			sched_yield();
	return NULL;
}

TEST(disconnect_under_traffic)
{
	struct sockaddr_in a;
	pthread_t t[3];
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0)), peer = -1, fresh;
	stop = 0;
	EQ(pthread_create(&t[0], NULL, sender, &c), 0);
	EQ(pthread_create(&t[1], NULL, receiver, &c), 0);
	for (int k = 0; k < 300; k++) {
		OK(connect(c, ADDR(a)));
		fresh = OK(accept(l, NULL, NULL));
		if (peer >= 0)
			close(peer);
		peer = fresh;
		send(peer, "hello", 5, MSG_NOSIGNAL | MSG_DONTWAIT);
		OK(connect(c, &none, sizeof(none)));
	}
	stop = 1;
	EQ(pthread_join(t[0], NULL), 0);
	EQ(pthread_join(t[1], NULL), 0);
	close(peer);
	char b[8];
	OK(connect(c, ADDR(a)));
	peer = OK(accept(l, NULL, NULL));
	EQ(write(c, "clean", 5), 5);
	EQ(read(peer, b, sizeof(b)), 5);
	EQ(memcmp(b, "clean", 5), 0);
}
