// SPDX-License-Identifier: Apache-2.0
// What a program sees of the network outside its enclave: run natively and inside, both against the same peer. tests/net/run makes a network
// namespace with the addresses below and starts the peer (`through --helper peer`) in it.
#include "tests/kernel/t.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#define OUT4 "198.51.100.1"
#define OUT6 "fd12:3456::1"
// ECHO: until the end, then closes. RESET: reads four bytes and aborts. HOLD: accepts and does nothing. COMMAND: one line
// "PORT N": makes N connections (-1: sends one datagram from 127.0.0.1; -2: one connection from there) to PORT, sends a
// byte through each, reads one, answers with how many worked.
enum { ECHO = 9001, RESET, HOLD, COMMAND, NOBODY, PUBLISHED = 7000, PUBLISHED_UDP, PUBLISHED_SHARED };
#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)

static struct sockaddr_in in4(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	inet_pton(AF_INET, OUT4, &a.sin_addr);
	return a;
}

static struct sockaddr_in6 in6(int port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	inet_pton(AF_INET6, OUT6, &a.sin6_addr);
	return a;
}

// --- the peer

static void *echo(void *arg)
{
	int s = (int)(long)arg;
	char b[65536];
	ssize_t n;
	while ((n = read(s, b, sizeof(b))) > 0)
		t_writen(s, b, (size_t)n);
	close(s);
	return NULL;
}

static int command(int s)
{
	char line[64] = "";
	int port, n, good = 0;
	if (read(s, line, sizeof(line) - 1) <= 0 || sscanf(line, "%d %d", &port, &n) != 2)
		return -1;
	if (n < 0) { // from 127.0.0.1: one connection, or one datagram
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		int c = socket(AF_INET, n == -2 ? SOCK_STREAM : SOCK_DGRAM, 0);
		char x = 'q';
		good = !connect(c, ADDR(a)) && send(c, &x, 1, 0) == 1 && recv(c, &x, 1, 0) == 1 && x == 'r';
		close(c);
	}
	for (int k = 0; k < n; k++) {
		struct sockaddr_in a = in4(port);
		int c = socket(AF_INET, SOCK_STREAM, 0);
		char x = 'q';
		good += c >= 0 && !connect(c, ADDR(a)) && write(c, &x, 1) == 1 && read(c, &x, 1) == 1 && x == 'r';
		close(c);
	}
	return dprintf(s, "%d", good);
}

static void *serve(void *arg)
{
	int port = (int)(long)arg;
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	int l = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
	OK(bind(l, ADDR(any)));
	OK(listen(l, 4096));
	for (;;) {
		int s = accept(l, NULL, NULL);
		char b[4];
		pthread_t t;
		if (s < 0 || port == HOLD)
			continue;
		if (port == RESET) {
			t_readn(s, b, 4);
			setsockopt(s, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
			close(s);
		} else if (port == COMMAND) {
			command(s);
			close(s);
		} else if (!pthread_create(&t, NULL, echo, (void *)(long)s)) {
			pthread_detach(t);
		}
	}
}

HELPER(peer)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(ECHO)}, from;
	static char b[65536];
	struct rlimit l;
	pthread_t t;
	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	for (int p = ECHO; p <= COMMAND; p++)
		ZERO(pthread_create(&t, NULL, serve, (void *)(long)p));
	int u = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(bind(u, ADDR(any)));
	for (;;) {
		socklen_t n = sizeof(from);
		ssize_t got = recvfrom(u, b, sizeof(b), 0, (void *)&from, &n);
		if (got >= 0)
			sendto(u, b, (size_t)got, 0, (void *)&from, n);
	}
}

// --- the cases

static int to4(int type, int port)
{
	struct sockaddr_in a = in4(port);
	int s = OK(socket(AF_INET, type, 0));
	OK(connect(s, ADDR(a)));
	return s;
}

static void say_and_hear(int s)
{
	char b[8] = "";
	EQ(write(s, "hello", 5), 5);
	EQ(t_readn(s, b, 5), 5);
	STREQ(b, "hello");
}

TEST(tcp4) { say_and_hear(to4(SOCK_STREAM, ECHO)); }

TEST(tcp6)
{
	struct sockaddr_in6 a = in6(ECHO), b;
	socklen_t n = sizeof(b);
	int s = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(connect(s, ADDR(a)));
	say_and_hear(s);
	OK(getpeername(s, (void *)&b, &n));
	CHECK(!memcmp(&a.sin6_addr, &b.sin6_addr, 16) && a.sin6_port == b.sin6_port);
}

TEST(tcp_mapped)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(ECHO)};
	inet_pton(AF_INET6, "::ffff:" OUT4, &a.sin6_addr);
	int s = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(connect(s, ADDR(a)));
	say_and_hear(s);
}

TEST(refused)
{
	struct sockaddr_in a = in4(NOBODY);
	struct sockaddr_in6 a6 = in6(NOBODY);
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), e = 0;
	socklen_t n = sizeof(e);
	ERR(connect(s, ADDR(a)), ECONNREFUSED);
	ERR(connect(OK(socket(AF_INET6, SOCK_STREAM, 0)), ADDR(a6)), ECONNREFUSED);
	s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	if (connect(s, ADDR(a)) && errno == EINPROGRESS) {
		struct pollfd p = {s, POLLOUT, 0};
		EQ(poll(&p, 1, -1), 1);
		CHECK(p.revents & POLLERR);
		OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &n));
		EQ(e, ECONNREFUSED);
	}
	s = to4(SOCK_DGRAM, NOBODY);
	EQ(send(s, "x", 1, 0), 1);
	ERR(recv(s, &e, 1, 0), ECONNREFUSED);
}

TEST(reset)
{
	char c;
	int s = to4(SOCK_STREAM, RESET);
	EQ(write(s, "four", 4), 4);
	ERR(read(s, &c, 1), ECONNRESET);
	EQ(read(s, &c, 1), 0);
	ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
}

TEST(half_closed)
{
	static char b[200000];
	int s = to4(SOCK_STREAM, ECHO);
	pid_t p = OK(fork());
	if (!p) {
		t_writen(s, b, sizeof(b));
		OK(shutdown(s, SHUT_WR));
		_exit(0);
	}
	EQ(t_readn(s, b, sizeof(b)), sizeof(b));
	EQ(read(s, b, 1), 0);
	EQ(t_wait(p), 0);
	ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
}

// Data that goes to and comes from memory that was never touched, in pieces that end in the middle of pages.
TEST(untouched_memory)
{
	enum { N = 3 << 20 };
	int s = to4(SOCK_STREAM, ECHO);
	char *in = mmap(NULL, N, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *hole = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(in != MAP_FAILED && hole != MAP_FAILED);
	OK(munmap(hole + 4096, 4096));
	pid_t p = OK(fork());
	if (!p) {
		unsigned char *out = malloc(N);
		for (int k = 0; k < N; k++)
			out[k] = (unsigned char)((unsigned)k * 2654435761u >> 24);
		for (int k = 0; k < N; k += 100001)
			t_writen(s, out + k, (size_t)(N - k < 100001 ? N - k : 100001));
		_exit(0);
	}
	for (size_t got = 0; got < N;) {
		size_t want = N - got < 77777 ? N - got : 77777;
		EQ(t_readn(s, in + got, want), want);
		got += want;
	}
	for (int k = 0; k < N; k++)
		CHECK((unsigned char)in[k] == (unsigned char)((unsigned)k * 2654435761u >> 24));
	EQ(t_wait(p), 0);
	ERR(write(s, hole + 4096, 10), EFAULT);
	EQ(write(s, "abcd", 4), 4);
	struct pollfd q = {s, POLLIN, 0};
	EQ(poll(&q, 1, -1), 1);
	ERR(read(s, hole + 4096, 4), EFAULT);
}

TEST(full_send_buffer)
{
	static char b[65536];
	int s = to4(SOCK_STREAM, HOLD);
	struct pollfd p = {s, POLLOUT, 0};
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	do // the last of it may still move on to the other side; then poll says that there is no room
		while (write(s, b, sizeof(b)) > 0)
			;
	while (poll(&p, 1, 200));
	EQ(p.revents, 0);
}

TEST(bytes_that_wait)
{
	char b[8];
	int s = to4(SOCK_STREAM, ECHO), n = 0;
	EQ(write(s, "seven..", 7), 7);
	while (n < 7)
		OK(ioctl(s, FIONREAD, &n));
	EQ(n, 7);
	EQ(read(s, b, 8), 7);
	OK(ioctl(s, FIONREAD, &n));
	EQ(n, 0);
	do
		OK(ioctl(s, TIOCOUTQ, &n));
	while (n);
	int u = to4(SOCK_DGRAM, ECHO);
	struct pollfd p = {u, POLLIN, 0};
	EQ(send(u, "datagram", 8, 0), 8);
	EQ(poll(&p, 1, -1), 1);
	OK(ioctl(u, FIONREAD, &n));
	EQ(n, 8);
	EQ(recv(u, b, 3, MSG_PEEK | MSG_TRUNC), 8);
	struct msghdr m = {.msg_iov = &(struct iovec){b, 3}, .msg_iovlen = 1};
	EQ(recvmsg(u, &m, 0), 3);
	EQ(m.msg_flags, MSG_TRUNC);
}

TEST(options)
{
	struct sockaddr_in a = in4(ECHO);
	struct tcp_info ti = {0};
	socklen_t n = sizeof(ti);
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), v = 0;
	OK(setsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &(int){33}, sizeof(int)));
	OK(setsockopt(s, IPPROTO_TCP, TCP_MAXSEG, &(int){700}, sizeof(int)));
	OK(connect(s, ADDR(a)));
	say_and_hear(s);
	OK(getsockopt(s, IPPROTO_TCP, TCP_INFO, &ti, &n));
	EQ(ti.tcpi_state, TCP_ESTABLISHED);
	CHECK(ti.tcpi_snd_mss <= 700); // told before the connection was made
	n = sizeof(v);
	OK(getsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &v, &n));
	EQ(v, 33);
}

static void udp_both(int s, struct sockaddr *a, socklen_t n)
{
	char b[8] = "";
	struct sockaddr_in6 from = {0};
	socklen_t m = sizeof(from);
	EQ(sendto(s, "ping", 4, 0, a, n), 4);
	EQ(recvfrom(s, b, sizeof(b), 0, (void *)&from, &m), 4);
	STREQ(b, "ping");
	EQ(m, n);
	CHECK(!memcmp(&from, a, n));
}

// A socket that is connected anew all the time costs the host no descriptor for each connection that it had.
TEST(disconnected_without_end)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct sockaddr_in a = in4(ECHO);
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), u = OK(socket(AF_INET, SOCK_DGRAM, 0));
	for (int k = 0; k < 5000; k++) {
		OK(connect(s, ADDR(a)));
		OK(connect(s, &none, sizeof(none)));
		OK(connect(u, ADDR(a)));
		OK(connect(u, &none, sizeof(none)));
	}
	ERR(send(u, "", 0, 0), EDESTADDRREQ);
}

// connect(AF_UNSPEC): the far side is told, and the socket can go elsewhere, within the machine and out of it again.
TEST(disconnected)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct sockaddr_in a = in4(ECHO), hold = in4(HOLD), near = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), e = 0, l = OK(socket(AF_INET, SOCK_STREAM, 0));
	socklen_t n = sizeof(e), near_len = sizeof(near);
	char b[8];
	OK(bind(l, ADDR(near)));
	OK(listen(l, 4));
	OK(getsockname(l, (void *)&near, &near_len));
	for (int k = 0; k < 3; k++) {
		OK(connect(s, ADDR(a)));
		OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &n));
		EQ(e, 0);
		t_writen(s, "hello", 5);
		EQ(recv(s, b, 5, MSG_WAITALL), 5);
		EQ(memcmp(b, "hello", 5), 0);
		OK(connect(s, &none, sizeof(none)));
		if (k != 1) {
			OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &n));
			EQ(e, ECONNRESET);
			ERR(read(s, b, 1), ENOTCONN);
		}
		OK(connect(s, ADDR(near)));
		int c = OK(accept(l, NULL, NULL));
		t_writen(s, "near", 4);
		EQ(recv(c, b, 4, MSG_WAITALL), 4);
		OK(connect(s, &none, sizeof(none)));
		close(c);
		OK(connect(s, ADDR(hold)));
		OK(connect(s, &none, sizeof(none)));
	}
	ERR(send(s, "x", 1, MSG_NOSIGNAL), ECONNRESET);
	ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
}

static unsigned int not_sent(int s)
{
	unsigned int info[64] = {0};
	socklen_t n = sizeof(info);
	OK(getsockopt(s, IPPROTO_TCP, TCP_INFO, info, &n));
	CHECK(n >= 148);
	return info[36]; // tcpi_notsent_bytes, which the C library's structure does not have
}

// TCP_CORK and MSG_MORE keep bytes back, for 200 ms at most: so it is tried until a look comes in time.
TEST(corked)
{
	struct sockaddr_in a = in4(ECHO);
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), one = 1, zero = 0;
	char b[8];
	OK(connect(s, ADDR(a)));
	for (int more = 0; more < 2; more++)
		for (bool seen = false; !seen;) {
			if (!more)
				OK(setsockopt(s, IPPROTO_TCP, TCP_CORK, &one, sizeof(one)));
			EQ(send(s, "abc", 3, more ? MSG_MORE : 0), 3);
			seen = not_sent(s) == 3;
			EQ(send(s, "def", 3, more ? MSG_MORE : 0), 3);
			if (more)
				OK(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
			else
				OK(setsockopt(s, IPPROTO_TCP, TCP_CORK, &zero, sizeof(zero)));
			EQ(recv(s, b, 6, MSG_WAITALL), 6);
			EQ(memcmp(b, "abcdef", 6), 0);
			EQ(not_sent(s), 0);
			OK(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &zero, sizeof(zero)));
		}
}

TEST(udp)
{
	struct sockaddr_in a = in4(ECHO);
	struct sockaddr_in6 a6 = in6(ECHO), mapped = {.sin6_family = AF_INET6, .sin6_port = htons(ECHO)};
	inet_pton(AF_INET6, "::ffff:" OUT4, &mapped.sin6_addr);
	udp_both(OK(socket(AF_INET, SOCK_DGRAM, 0)), ADDR(a));
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0)); // one socket, both versions, in both orders
	udp_both(s, ADDR(mapped));
	udp_both(s, ADDR(a6));
	s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	udp_both(s, ADDR(a6));
	udp_both(s, ADDR(mapped));
}

TEST(where_it_was_sent)
{
	char b[8], ctl[128];
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = in4(ECHO);
	OK(setsockopt(s, IPPROTO_IP, IP_PKTINFO, &(int){1}, sizeof(int)));
	EQ(sendto(s, "x", 1, 0, ADDR(a)), 1);
	struct msghdr m = {.msg_iov = &(struct iovec){b, sizeof(b)}, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	EQ(recvmsg(s, &m, 0), 1);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO);
	struct in_pktinfo pi;
	memcpy(&pi, CMSG_DATA(c), sizeof(pi));
	CHECK(pi.ipi_addr.s_addr);
}

static int published(int type, int port, bool share)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int l = OK(socket(AF_INET, type | SOCK_NONBLOCK, 0));
	OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
	if (share)
		OK(setsockopt(l, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
	OK(bind(l, ADDR(a)));
	if (type == SOCK_STREAM)
		OK(listen(l, 128));
	return l;
}

// The peer makes n connections; the listeners accept and answer them. How many worked is checked; got: how many came to each.
static void served(int *l, int listeners, int port, int n, int *got)
{
	char b[16] = "";
	int c = to4(SOCK_STREAM, COMMAND), done = 0;
	struct pollfd p[5] = {{c, POLLIN, 0}};
	dprintf(c, "%d %d", port, n);
	for (int k = 0; k < listeners; k++)
		p[k + 1] = (struct pollfd){l[k], POLLIN, 0};
	while (!done) {
		OK(poll(p, (nfds_t)listeners + 1, -1));
		for (int k = 0; k < listeners; k++) {
			int s = p[k + 1].revents ? accept(l[k], NULL, NULL) : -1;
			if (s < 0)
				continue;
			got[k]++;
			EQ(t_readn(s, b, 1), 1);
			EQ(write(s, "r", 1), 1);
			close(s);
		}
		if (p[0].revents) {
			memset(b, 0, sizeof(b));
			CHECK(read(c, b, sizeof(b) - 1) > 0);
			EQ(atoi(b), n);
			done = 1;
		}
	}
}

TEST(listening)
{
	int l = published(SOCK_STREAM, PUBLISHED, false), got = 0;
	served(&l, 1, PUBLISHED, 20, &got);
	EQ(got, 20);
}

TEST(listening_with_reuseport)
{
	int l[4], got[4] = {0};
	for (int k = 0; k < 4; k++)
		l[k] = published(SOCK_STREAM, PUBLISHED_SHARED, true);
	served(l, 4, PUBLISHED_SHARED, 100, got);
	for (int k = 0; k < 4; k++)
		CHECK(got[k] > 0);
}

TEST(published_datagrams)
{
	char b[8] = "";
	struct sockaddr_in a = in4(ECHO);
	int s = published(SOCK_DGRAM, PUBLISHED_UDP, false);
	EQ(sendto(s, "abc", 3, 0, ADDR(a)), 3); // comes back to the port
	struct pollfd p = {s, POLLIN, 0};
	EQ(poll(&p, 1, -1), 1);
	EQ(recv(s, b, sizeof(b), 0), 3);
	STREQ(b, "abc");
}

// Who finds something ready every time must still learn what comes from outside.
TEST(never_asleep)
{
	int busy = to4(SOCK_STREAM, HOLD), s = to4(SOCK_STREAM, ECHO), e = OK(epoll_create1(0));
	struct pollfd p[2] = {{busy, POLLOUT, 0}, {s, POLLIN, 0}};
	struct epoll_event ev = {.events = EPOLLOUT, .data.fd = busy}, out[2];
	char b[4];
	EQ(write(s, "ab", 2), 2);
	do
		EQ(poll(p, 2, -1) >= 1, 1);
	while (!p[1].revents);
	EQ(read(s, b, 1), 1); // one of two: the rest needs no new event
	while (poll(&p[1], 1, 0) == 0)
		;
	EQ(t_readn(s, b, 1), 1);
	EQ(write(s, "c", 1), 1);
	while (poll(&p[1], 1, 0) == 0)
		;
	EQ(read(s, b, 4), 1);
	OK(epoll_ctl(e, EPOLL_CTL_ADD, busy, &ev));
	ev = (struct epoll_event){.events = EPOLLIN, .data.fd = s};
	OK(epoll_ctl(e, EPOLL_CTL_ADD, s, &ev));
	EQ(write(s, "d", 1), 1);
	for (bool seen = false; !seen;)
		for (int n = OK(epoll_wait(e, out, 2, -1)); n-- > 0;)
			seen |= out[n].data.fd == s;
	EQ(read(s, b, 4), 1);
	OK(epoll_ctl(e, EPOLL_CTL_DEL, busy, NULL));
	EQ(write(s, "e", 1), 1);
	while (epoll_wait(e, out, 2, 0) == 0)
		;
	EQ(read(s, b, 4), 1);
	EQ(write(s, "f", 1), 1);
	for (fd_set r;;) {
		FD_ZERO(&r);
		FD_SET(s, &r);
		if (select(s + 1, &r, NULL, NULL, &(struct timeval){0, 0}) == 1)
			break;
	}
	EQ(read(s, b, 4), 1);
}

// Asked from the host's loopback, a published port answers there; but the one who asks is not on the enclave's own loopback.
TEST(datagrams_of_the_host_itself)
{
	char b[8] = "";
	struct sockaddr_in from;
	socklen_t n = sizeof(from);
	int s = published(SOCK_DGRAM, PUBLISHED_UDP, false), c = to4(SOCK_STREAM, COMMAND);
	struct pollfd p = {s, POLLIN, 0};
	dprintf(c, "%d %d", PUBLISHED_UDP, -1);
	EQ(poll(&p, 1, -1), 1);
	EQ(recvfrom(s, b, sizeof(b), 0, (void *)&from, &n), 1);
	bool local = ntohl(from.sin_addr.s_addr) == INADDR_LOOPBACK;
	EQ(local, getenv("COFFER_INSIDE") == NULL);
	EQ(sendto(s, "r", 1, 0, ADDR(from)), 1);
	EQ(t_readn(c, b, 1), 1);
	EQ(b[0], '1');
}

TEST(connections_of_the_host_itself)
{
	char b[8] = "";
	struct sockaddr_in from;
	socklen_t n = sizeof(from);
	int l = published(SOCK_STREAM, PUBLISHED, false), c = to4(SOCK_STREAM, COMMAND);
	struct pollfd p = {l, POLLIN, 0};
	dprintf(c, "%d %d", PUBLISHED, -2);
	EQ(poll(&p, 1, -1), 1);
	int s = OK(accept(l, (void *)&from, &n));
	bool local = ntohl(from.sin_addr.s_addr) == INADDR_LOOPBACK;
	EQ(local, getenv("COFFER_INSIDE") == NULL);
	EQ(t_readn(s, b, 1), 1);
	EQ(write(s, "r", 1), 1);
	EQ(t_readn(c, b, 1), 1);
	EQ(b[0], '1');
}

TEST(many_idle_connections)
{
	enum { N = 3000 };
	static int s[N];
	struct rlimit l = {N + 100, N + 100}, old;
	OK(getrlimit(RLIMIT_NOFILE, &old));
	if (old.rlim_max < l.rlim_max)
		SKIP("too few descriptors here");
	l.rlim_max = old.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &l));
	for (int k = 0; k < N; k++)
		s[k] = to4(SOCK_STREAM, k % 100 ? HOLD : ECHO);
	for (int k = 0; k < N; k += 100)
		say_and_hear(s[k]);
	for (int k = 0; k < N; k++)
		OK(close(s[k]));
	say_and_hear(to4(SOCK_STREAM, ECHO));
}

static void *send_file(void *arg)
{
	off_t at = 3000;
	int *fd = arg;
	for (ssize_t n; at < (1 << 20) - 5;)
		if ((n = sendfile(fd[0], fd[1], &at, (size_t)((1 << 20) - 5 - at))) < 0) {
			EQ(errno, EAGAIN);
			poll(&(struct pollfd){fd[0], POLLOUT, 0}, 1, -1);
		}
	OK(shutdown(fd[0], SHUT_WR));
	return NULL;
}

// A file with a hole, from an odd place on, through a socket that takes a little at a time.
TEST(files_sent)
{
	static char b[1 << 20], back[1 << 20];
	for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
		int fd[2] = {to4(SOCK_STREAM, ECHO), OK(memfd_create("file", 0))};
		pthread_t t;
		for (size_t k = 0; k < sizeof(b); k++)
			b[k] = k >= 300000 && k < 400000 ? 0 : (char)(k * 7 / 3);
		EQ(pwrite(fd[1], b, 300000, 0), 300000);
		EQ(pwrite(fd[1], b + 400000, sizeof(b) - 400000, 400000), sizeof(b) - 400000);
		EQ(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &(int){20000}, sizeof(int)), 0);
		if (nonblocking)
			OK(fcntl(fd[0], F_SETFL, O_NONBLOCK));
		ZERO(pthread_create(&t, NULL, send_file, fd));
		size_t got = 0;
		for (ssize_t n; (n = read(fd[0], back + got, sizeof(back) - got)) != 0;) {
			if (n > 0)
				got += (size_t)n;
			else
				poll(&(struct pollfd){fd[0], POLLIN, 0}, 1, -1);
		}
		ZERO(pthread_join(t, NULL));
		EQ(got, sizeof(b) - 3005);
		CHECK(!memcmp(back, b + 3000, got));
		close(fd[0]);
		close(fd[1]);
	}
}

// --- who collects events: a connection that wakes the same thread again and again is that thread's, until somebody else waits for it

static int in_epoll(int s)
{
	int e = OK(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = s};
	OK(epoll_ctl(e, EPOLL_CTL_ADD, s, &ev));
	return e;
}

static void wait_and_hear(int e, int s, int times)
{
	struct epoll_event ev;
	char b;
	for (int k = 0; k < times; k++) {
		EQ(write(s, "x", 1), 1);
		EQ(epoll_wait(e, &ev, 1, -1), 1);
		EQ(read(s, &b, 1), 1);
	}
}

enum way { RECV, POLL, POLL_AGAIN, SELECT, EPOLL, SAME_EPOLL, POLL_EPOLL, EPOLL_IN_EPOLL, WAYS };
static struct {
	int s, e;
	enum way way;
	atomic_int done;
} stranger;

// Waits for connection s, each in its way; its thread does not sleep meanwhile.
static void strange(void)
{
	struct pollfd p = {stranger.s, POLLIN, 0};
	struct epoll_event ev;
	char b;
	EQ(write(stranger.s, "y", 1), 1);
	switch (stranger.way) {
	case RECV: break;
	case POLL: EQ(poll(&p, 1, -1), 1); break;
	case POLL_AGAIN:
		while (!poll(&p, 1, 0))
			;
		break;
	case SELECT: {
		fd_set r;
		FD_ZERO(&r);
		FD_SET(stranger.s, &r);
		EQ(select(stranger.s + 1, &r, NULL, NULL, NULL), 1);
		break;
	}
	case EPOLL: {
		int e = in_epoll(stranger.s);
		EQ(epoll_wait(e, &ev, 1, -1), 1);
		close(e);
		break;
	}
	case SAME_EPOLL: EQ(epoll_wait(stranger.e, &ev, 1, -1), 1); break;
	case POLL_EPOLL:
		p.fd = stranger.e;
		EQ(poll(&p, 1, -1), 1);
		break;
	default: {
		int e = in_epoll(stranger.e);
		EQ(epoll_wait(e, &ev, 1, -1), 1);
		close(e);
	}
	}
	EQ(read(stranger.s, &b, 1), 1);
}

static void *stranger_thread(void *arg)
{
	(void)arg;
	strange();
	atomic_store(&stranger.done, 1);
	return NULL;
}

// Sleeps in poll for a connection that says nothing: somebody must, so that events come by way of another thread.
static void *idle(void *arg)
{
	struct pollfd p = {(int)(long)arg, POLLIN, 0};
	poll(&p, 1, -1);
	return NULL;
}

static void heat(void)
{
	stranger.s = to4(SOCK_STREAM, ECHO);
	stranger.e = in_epoll(stranger.s);
	wait_and_hear(stranger.e, stranger.s, 20);
}

TEST(a_connection_of_one_thread_for_another)
{
	pthread_t t, i[3];
	int quiet[3];
	for (int k = 0; k < 3; k++) {
		quiet[k] = to4(SOCK_STREAM, ECHO);
		ZERO(pthread_create(&i[k], NULL, idle, (void *)(long)quiet[k]));
	}
	for (int w = 0; w < WAYS; w++) {
		heat();
		stranger.way = (enum way)w;
		atomic_store(&stranger.done, 0);
		ZERO(pthread_create(&t, NULL, stranger_thread, NULL));
		while (!atomic_load(&stranger.done))
			; // not asleep: what comes for the connection is not collected by this thread
		ZERO(pthread_join(t, NULL));
		wait_and_hear(stranger.e, stranger.s, 20);
		close(stranger.e);
		close(stranger.s);
	}
	for (int k = 0; k < 3; k++) {
		EQ(write(quiet[k], "z", 1), 1);
		ZERO(pthread_join(i[k], NULL));
		close(quiet[k]);
	}
}

TEST(a_connection_of_one_process_for_another)
{
	static const enum way ways[] = {RECV, POLL, SAME_EPOLL, EPOLL};
	int quiet = to4(SOCK_STREAM, ECHO), end[2];
	pthread_t i;
	ZERO(pthread_create(&i, NULL, idle, (void *)(long)quiet));
	for (size_t w = 0; w < sizeof(ways) / sizeof(*ways); w++) {
		char b;
		heat();
		stranger.way = ways[w];
		OK(pipe2(end, O_NONBLOCK));
		pid_t p = OK(fork());
		if (!p) {
			strange();
			_exit(0);
		}
		close(end[1]);
		while (read(end[0], &b, 1) != 0)
			; // the end of the child, waited for without sleeping
		ZERO(t_wait(p));
		wait_and_hear(stranger.e, stranger.s, 20);
		close(end[0]);
		close(stranger.e);
		close(stranger.s);
	}
	EQ(write(quiet, "z", 1), 1);
	ZERO(pthread_join(i, NULL));
}

static void *own_connection(void *arg)
{
	int s = to4(SOCK_STREAM, ECHO), e = in_epoll(s);
	wait_and_hear(e, s, 20);
	*(int *)arg = s;
	close(e);
	return NULL;
}

// More threads than there can be epolls of their own, twice; what the dead ones had goes on with others.
TEST(connections_of_many_threads)
{
	enum { N = 100 };
	static int s[N];
	pthread_t t[N];
	for (int round = 0; round < 2; round++) {
		for (int k = 0; k < N; k++)
			ZERO(pthread_create(&t[k], NULL, own_connection, &s[k]));
		for (int k = 0; k < N; k++)
			ZERO(pthread_join(t[k], NULL));
		for (int k = 0; k < N; k++) {
			int e = in_epoll(s[k]);
			wait_and_hear(e, s[k], 3);
			close(e);
			close(s[k]);
		}
	}
}
