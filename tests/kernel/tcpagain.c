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
#include <linux/sockios.h>
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

// The reset has arrived: data and an end may be there before it.
static void until_reset(int s)
{
	struct pollfd p = {s, 0, 0};
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
	until_reset(s);
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
	until_reset(s);
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

// A socket that is used again and again keeps nothing of the connections that it had.
TEST(disconnect_without_end)
{
	struct sockaddr_in a;
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	for (int k = 0; k < 5000; k++) {
		OK(connect(c, ADDR(a)));
		close(OK(accept(l, NULL, NULL)));
		OK(connect(c, &none, sizeof(none)));
	}
}

// Bytes that wait, wait 200 ms at most: a look that comes later than that is taken again.
static void tcp_pair(int s[2])
{
	struct sockaddr_in a;
	int l = listener(&a);
	s[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(s[0], ADDR(a)));
	s[1] = OK(accept(l, NULL, NULL));
	close(l);
}

static void cork(int s, int on)
{
	OK(setsockopt(s, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)));
}

static bool unseen(int s)
{
	char b[16];
	int n = -1;
	OK(ioctl(s, FIONREAD, &n));
	return !n && !(events(s) & POLLIN) && recv(s, b, sizeof(b), MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

static void gets(int s, const char *want)
{
	char b[16];
	until_readable(s);
	EQ(recv(s, b, sizeof(b), MSG_DONTWAIT), (ssize_t)strlen(want));
	EQ(memcmp(b, want, strlen(want)), 0);
}

static void drain(int s, size_t n)
{
	char b[16];
	EQ(recv(s, b, n, MSG_WAITALL), (ssize_t)n);
}

TEST(cork_keeps_bytes_back)
{
	int s[2], n = 0;
	tcp_pair(s);
	for (bool seen = false; !seen;) {
		cork(s[0], 1);
		EQ(write(s[0], "ab", 2), 2);
		EQ(write(s[0], "c", 1), 1);
		seen = unseen(s[1]);
		if (seen) {
			OK(ioctl(s[0], SIOCOUTQ, &n));
			seen = n >= 3;
		}
		cork(s[0], 0);
		if (seen)
			gets(s[1], "abc");
		else
			drain(s[1], 3);
	}
	cork(s[0], 1);	// and lets them go after a while
	EQ(write(s[0], "later", 5), 5);
	gets(s[1], "later");
	EQ(write(s[0], "again", 5), 5);
	gets(s[1], "again");
}

TEST(more_keeps_bytes_back)
{
	int s[2], one = 1, zero = 0;
	char b[16];
	tcp_pair(s);
	for (bool seen = false; !seen;) {
		EQ(send(s[0], "abc", 3, MSG_MORE), 3);
		seen = unseen(s[1]);
		EQ(send(s[0], "def", 3, 0), 3);
		if (seen)
			gets(s[1], "abcdef");
		else
			drain(s[1], 6);
	}
	for (bool seen = false; !seen;) { // TCP_NODELAY lets out what waits
		EQ(send(s[0], "abc", 3, MSG_MORE), 3);
		seen = unseen(s[1]);
		OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
		gets(s[1], "abc");
		OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &zero, sizeof(zero)));
	}
	EQ(send(s[0], "last", 4, MSG_MORE), 4);
	OK(shutdown(s[0], SHUT_WR));
	EQ(recv(s[1], b, sizeof(b), MSG_WAITALL), 4);
	EQ(read(s[1], b, sizeof(b)), 0);
	tcp_pair(s);
	EQ(send(s[0], "last", 4, MSG_MORE), 4);
	close(s[0]);
	EQ(recv(s[1], b, sizeof(b), MSG_WAITALL), 4);
}

// Nobody waits for more where there is no room for it, or where a segment is full.
TEST(cork_moves_on)
{
	static char out[30000], in[30000];
	int s[2], small = 4096;
	tcp_pair(s);
	for (size_t k = 0; k < sizeof(out); k++)
		out[k] = (char)(k * 7 + k / 251);
	OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	OK(setsockopt(s[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	cork(s[0], 1);
	size_t sent = 0, got = 0;
	while (got < sizeof(in)) {
		ssize_t n = sent < sizeof(out) ? send(s[0], out + sent, sizeof(out) - sent < 999 ? sizeof(out) - sent : 999, MSG_DONTWAIT | MSG_MORE) : -1;
		if (n > 0) {
			sent += (size_t)n;
			continue;
		}
		until_readable(s[1]);
		got += (size_t)OK(recv(s[1], in + got, sizeof(in) - got, MSG_DONTWAIT));
	}
	EQ(memcmp(in, out, sizeof(in)), 0);
}

// Without room for more, what waited is shown, and who waits for it hears so.
TEST(more_in_a_full_buffer_is_shown)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLET};
	int s[2], ep = OK(epoll_create1(0));
	tcp_pair(s);
	OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &(int){4608}, sizeof(int)));
	OK(setsockopt(s[1], SOL_SOCKET, SO_RCVBUF, &(int){2304}, sizeof(int)));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &e));
	EQ(epoll_wait(ep, &e, 1, 0), 0);
	while (send(s[0], "x", 1, MSG_MORE | MSG_DONTWAIT) == 1)
		;
	EQ(errno, EAGAIN);
	EQ(epoll_wait(ep, &e, 1, -1), 1);
}

static void defer(int l, int seconds)
{
	OK(setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)));
	OK(fcntl(l, F_SETFL, O_NONBLOCK));
}

TEST(defer_until_something_comes)
{
	struct sockaddr_in a;
	char b[8];
	int l = listener(&a), c[3], s;
	defer(l, 600);
	for (int k = 0; k < 3; k++) {
		c[k] = OK(socket(AF_INET, SOCK_STREAM, 0));
		OK(connect(c[k], ADDR(a)));
	}
	ERR(accept(l, NULL, NULL), EAGAIN);
	EQ(events(l), 0);
	EQ(write(c[1], "one", 3), 3);	// bytes
	until_readable(l);
	s = OK(accept(l, NULL, NULL));
	EQ(read(s, b, sizeof(b)), 3);
	EQ(write(s, "back", 4), 4);
	EQ(read(c[1], b, sizeof(b)), 4);
	ERR(accept(l, NULL, NULL), EAGAIN);
	OK(shutdown(c[2], SHUT_WR));	// an end
	until_readable(l);
	s = OK(accept(l, NULL, NULL));
	EQ(read(s, b, sizeof(b)), 0);
	close(c[0]);
	until_readable(l);
	s = OK(accept(l, NULL, NULL));
	EQ(read(s, b, sizeof(b)), 0);
	ERR(accept(l, NULL, NULL), EAGAIN);
}

TEST(defer_not_for_ever)
{
	struct sockaddr_in a;
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	defer(l, 1);
	OK(connect(c, ADDR(a)));
	until_readable(l);
	OK(accept(l, NULL, NULL));
}

TEST(defer_and_a_listener_that_ends)
{
	struct sockaddr_in a;
	struct pollfd p = {.events = POLLIN};
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	defer(l, 600);
	OK(connect(c, ADDR(a)));
	close(l);
	(void)!send(c, "x", 1, MSG_NOSIGNAL);
	p.fd = c;
	EQ(OK(poll(&p, 1, 20000)), 1);
	CHECK(p.revents & POLLHUP);
	ERR(connect(OK(socket(AF_INET, SOCK_STREAM, 0)), ADDR(a)), ECONNREFUSED);
}

// Clients that send while their listener shows, accepts and ends.
static volatile int port;

static void *client(void *arg)
{
	(void)arg;
	while (!stop) {
		struct sockaddr_in a = at(port);
		int c = socket(AF_INET, SOCK_STREAM, 0);
		if (!connect(c, ADDR(a)))
			send(c, "x", 1, MSG_NOSIGNAL | (c & 1 ? MSG_MORE : 0));
		close(c);
	}
	return NULL;
}

TEST(defer_under_traffic)
{
	struct sockaddr_in a;
	pthread_t t[2];
	char b[4];
	int l = listener(&a), next;
	stop = 0;
	port = ntohs(a.sin_port);
	for (int k = 0; k < 2; k++)
		EQ(pthread_create(&t[k], NULL, client, NULL), 0);
	for (int round = 0; round < 10; round++) {
		defer(l, 600);
		for (int k = 0; k < 20; k++) {
			until_readable(l);
			int s = OK(accept(l, NULL, NULL));
			ssize_t n = read(s, b, sizeof(b));
			CHECK(n == 1 || n == 0 || errno == ECONNRESET);
			close(s);
		}
		next = listener(&a);
		port = ntohs(a.sin_port);
		close(l);
		l = next;
	}
	stop = 1;
	close(l); // clients may wait for room
	for (int k = 0; k < 2; k++)
		EQ(pthread_join(t[k], NULL), 0);
}
