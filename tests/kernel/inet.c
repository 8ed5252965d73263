// SPDX-License-Identifier: Apache-2.0
// TCP and UDP over the loopback, IPv4 and IPv6.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "tests/kernel/t.h"

#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)

static struct sockaddr_in lo(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int port_of(int s)
{
	struct sockaddr_in6 a; // large enough for both families
	socklen_t len = sizeof(a);
	if (getsockname(s, (struct sockaddr *)&a, &len))
		t_fail(__LINE__, "getsockname: errno %d", errno);
	return ntohs(a.sin6_port); // the same place in both
}

// A TCP listener on a free port.
static int listener(int *port)
{
	struct sockaddr_in a = lo(0);
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0 || bind(s, ADDR(a)) || listen(s, 64))
		t_fail(__LINE__, "listener: errno %d", errno);
	*port = port_of(s);
	return s;
}

static int caller(int port)
{
	struct sockaddr_in a = lo(port);
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0 || connect(s, ADDR(a)))
		t_fail(__LINE__, "connect: errno %d", errno);
	return s;
}

// Both ends of one TCP connection.
static void tcp_pair(int s[2])
{
	int port, l = listener(&port);
	s[0] = caller(port);
	s[1] = accept(l, NULL, NULL);
	if (s[1] < 0)
		t_fail(__LINE__, "accept: errno %d", errno);
	close(l);
}

TEST(tcp_hello)
{
	char b[16] = "";
	int s[2];
	tcp_pair(s);
	EQ(write(s[0], "hello", 5), 5);
	EQ(t_readn(s[1], b, 5), 5);
	STREQ(b, "hello");
	EQ(send(s[1], "back", 4, 0), 4);
	EQ(t_readn(s[0], b, 4), 4);
	close(s[0]);
	EQ(read(s[1], b, 16), 0);
}

TEST(tcp_names)
{
	struct sockaddr_in a, b;
	socklen_t len = sizeof(a);
	int port, l = listener(&port);
	CHECK(port > 0);
	int c = caller(port);
	int s = OK(accept(l, (struct sockaddr *)&a, &len));
	EQ(len, sizeof(a));
	EQ(a.sin_family, AF_INET);
	EQ(ntohl(a.sin_addr.s_addr), INADDR_LOOPBACK);
	EQ(ntohs(a.sin_port), port_of(c));
	len = sizeof(b);
	OK(getpeername(c, (struct sockaddr *)&b, &len));
	EQ(ntohs(b.sin_port), port);
	OK(getpeername(s, (struct sockaddr *)&b, &len));
	EQ(b.sin_port, a.sin_port);
	EQ(port_of(s), port);
	ERR(getpeername(l, (struct sockaddr *)&b, &len), ENOTCONN);
}

TEST(tcp_refused)
{
	int port, l = listener(&port);
	close(l);
	struct sockaddr_in a = lo(port);
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect(s, ADDR(a)), ECONNREFUSED);
}

TEST(tcp_nonblocking_connect)
{
	int port, l = listener(&port), err = -1;
	socklen_t len = sizeof(err);
	struct sockaddr_in a = lo(port);
	int s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	int r = connect(s, ADDR(a));
	CHECK(r == 0 || errno == EINPROGRESS);
	struct pollfd p = {s, POLLOUT, 0};
	EQ(poll(&p, 1, -1), 1);
	EQ(p.revents, POLLOUT);
	OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &len));
	EQ(err, 0);
	int again = connect(s, ADDR(a));
	CHECK((again == 0 && r != 0) || (again == -1 && errno == EISCONN));
	int t = OK(accept(l, NULL, NULL));
	EQ(write(t, "x", 1), 1);
	p.events = POLLIN;
	EQ(poll(&p, 1, -1), 1);
}

TEST(tcp_nonblocking_refused)
{
	int port, l = listener(&port), err = 0;
	socklen_t len = sizeof(err);
	close(l);
	struct sockaddr_in a = lo(port);
	int s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	int r = connect(s, ADDR(a));
	CHECK(r == -1 && (errno == EINPROGRESS || errno == ECONNREFUSED));
	if (errno == EINPROGRESS) {
		struct pollfd p = {s, POLLOUT, 0};
		EQ(poll(&p, 1, -1), 1);
		CHECK(p.revents & POLLERR);
		OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &len));
		EQ(err, ECONNREFUSED);
		OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &len));
		EQ(err, 0); // told once
	}
}

TEST(tcp_nonblocking_accept_and_read)
{
	char c;
	int port, l = listener(&port);
	OK(fcntl(l, F_SETFL, O_NONBLOCK));
	ERR(accept(l, NULL, NULL), EAGAIN);
	int s = caller(port);
	struct pollfd p = {l, POLLIN, 0};
	EQ(poll(&p, 1, -1), 1);
	int t = OK(accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	EQ(fcntl(t, F_GETFD), FD_CLOEXEC);
	ERR(read(t, &c, 1), EAGAIN);
	EQ(write(s, "x", 1), 1);
	p.fd = t;
	EQ(poll(&p, 1, -1), 1);
	EQ(read(t, &c, 1), 1);
}

TEST(tcp_shutdown_both_ways)
{
	char b[8];
	int s[2];
	tcp_pair(s);
	EQ(write(s[0], "end", 3), 3);
	OK(shutdown(s[0], SHUT_WR));
	EQ(t_readn(s[1], b, 8), 3); // up to the end
	EQ(write(s[1], "after", 5), 5);
	EQ(t_readn(s[0], b, 5), 5);
	signal(SIGPIPE, SIG_IGN);
	ERR(write(s[0], "x", 1), EPIPE);
	int n = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(shutdown(n, SHUT_WR), ENOTCONN);
	ERR(send(n, "x", 1, MSG_NOSIGNAL), EPIPE);
}

TEST(tcp_write_after_peer_closed)
{
	int s[2];
	tcp_pair(s);
	close(s[1]);
	signal(SIGPIPE, SIG_IGN);
	// The first write may still be accepted; an error must come.
	while (write(s[0], "x", 1) == 1)
		t_sleep_ms(1);
	CHECK(errno == EPIPE || errno == ECONNRESET);
}

TEST(tcp_reset_by_linger_zero)
{
	char c;
	int s[2];
	struct linger lg = {1, 0};
	tcp_pair(s);
	OK(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)));
	close(s[1]);
	ERR(read(s[0], &c, 1), ECONNRESET);
	EQ(read(s[0], &c, 1), 0);
}

TEST(tcp_big_transfer)
{
	enum { N = 16 << 20 };
	int s[2];
	tcp_pair(s);
	uint32_t *b = malloc(N);
	pid_t p = OK(fork());
	if (!p) {
		for (uint32_t i = 0; i < N / 4; i++)
			b[i] = i * 2654435761u;
		close(s[1]);
		t_writen(s[0], b, N);
		_exit(0);
	}
	close(s[0]);
	EQ(t_readn(s[1], b, N), N);
	for (uint32_t i = 0; i < N / 4; i++)
		CHECK(b[i] == i * 2654435761u);
	char c;
	EQ(read(s[1], &c, 1), 0);
	EQ(t_wait(p), 0);
}

TEST(tcp_both_directions_at_once)
{
	enum { N = 2 << 20 };
	int s[2];
	tcp_pair(s);
	pid_t p = OK(fork());
	int me = p ? s[0] : s[1];
	char *out = malloc(N), *in = malloc(N);
	memset(out, p ? 'p' : 'c', N);
	int done = 0, got = 0;
	OK(fcntl(me, F_SETFL, O_NONBLOCK));
	while (done < N || got < N) {
		struct pollfd q = {me, (short)((done < N ? POLLOUT : 0) | (got < N ? POLLIN : 0)), 0};
		EQ(poll(&q, 1, -1), 1);
		ssize_t n = done < N ? write(me, out + done, (size_t)(N - done)) : 0;
		if (n > 0)
			done += (int)n;
		n = got < N ? read(me, in + got, (size_t)(N - got)) : 0;
		if (n > 0)
			got += (int)n;
	}
	for (int i = 0; i < N; i++)
		CHECK(in[i] == (p ? 'c' : 'p'));
	if (!p)
		_exit(0);
	EQ(t_wait(p), 0);
}

TEST(tcp_full_send_buffer)
{
	static char b[65536];
	int s[2];
	tcp_pair(s);
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	while (write(s[0], b, sizeof(b)) > 0)
		;
	EQ(errno, EAGAIN);
	struct pollfd p = {s[0], POLLOUT, 0};
	EQ(poll(&p, 1, 0), 0);
	OK(fcntl(s[1], F_SETFL, O_NONBLOCK));
	while (poll(&p, 1, 10) == 0)
		while (read(s[1], b, sizeof(b)) > 0)
			;
	EQ(p.revents, POLLOUT);
}

TEST(tcp_reuseaddr)
{
	int on = 1, port, l = listener(&port);
	OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	int c = caller(port), s = OK(accept(l, NULL, NULL));
	close(s); // the server's side closes first: it is in TIME_WAIT afterwards
	char x;
	EQ(read(c, &x, 1), 0);
	close(c);
	close(l);
	struct sockaddr_in a = lo(port);
	int m = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(setsockopt(m, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	OK(bind(m, ADDR(a)));
	OK(listen(m, 5));
	caller(port);
	int n = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(bind(n, ADDR(a)), EADDRINUSE);
}

TEST(bind_errors)
{
	struct sockaddr_in a = lo(0);
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(s, ADDR(a)));
	ERR(bind(s, ADDR(a)), EINVAL); // twice
	int t = OK(socket(AF_INET, SOCK_STREAM, 0));
	a.sin_addr.s_addr = htonl(0xc0000201); // 192.0.2.1, not ours
	ERR(bind(t, ADDR(a)), EADDRNOTAVAIL);
	a = lo(0);
	a.sin_family = AF_UNIX;
	ERR(bind(t, ADDR(a)), EAFNOSUPPORT);
	ERR(bind(t, (struct sockaddr *)&a, 3), EINVAL);
	ERR(bind(1, ADDR(a)), ENOTSOCK);
	ERR(accept(t, NULL, NULL), EINVAL);
}

TEST(tcp_ephemeral_ports_differ)
{
	int a, b, p1, p2;
	a = listener(&p1);
	b = listener(&p2);
	CHECK(p1 != p2 && p1 >= 1024 && p2 >= 1024);
	close(a);
	close(b);
}

TEST(tcp_listen_without_bind)
{
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(listen(s, 5));
	int port = port_of(s);
	CHECK(port > 0);
	caller(port);
}

TEST(tcp_any_address)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(s, ADDR(a)));
	OK(listen(s, 5));
	caller(port_of(s));
	OK(accept(s, NULL, NULL));
}

TEST(tcp_ipv6)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int s = socket(AF_INET6, SOCK_STREAM, 0), on = 1;
	if (s < 0 && errno == EAFNOSUPPORT)
		SKIP("no IPv6 here");
	CHECK(s >= 0);
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)));
	if (bind(s, ADDR(a)) < 0 && errno == EADDRNOTAVAIL)
		SKIP("no ::1 here");
	OK(listen(s, 5));
	a.sin6_port = htons((uint16_t)port_of(s));
	int c = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(connect(c, ADDR(a)));
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);
	int t = OK(accept(s, (struct sockaddr *)&peer, &len));
	EQ(len, sizeof(peer));
	EQ(peer.sin6_family, AF_INET6);
	CHECK(IN6_IS_ADDR_LOOPBACK(&peer.sin6_addr));
	char b[4] = "";
	EQ(write(c, "six", 3), 3);
	EQ(t_readn(t, b, 3), 3);
	STREQ(b, "six");
}

TEST(tcp_ipv4_mapped)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6}; // any
	int s = socket(AF_INET6, SOCK_STREAM, 0), off = 0;
	if (s < 0 && errno == EAFNOSUPPORT)
		SKIP("no IPv6 here");
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)));
	OK(bind(s, ADDR(a)));
	OK(listen(s, 5));
	caller(port_of(s));
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);
	OK(accept(s, (struct sockaddr *)&peer, &len));
	CHECK(IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr));
}

TEST(tcp_options)
{
	int s[2], v = 1;
	socklen_t len = sizeof(v);
	tcp_pair(s);
	OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v)));
	v = 0;
	OK(getsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &v, &len));
	EQ(v, 1);
	OK(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &v, sizeof(v)));
	OK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, &len));
	EQ(v, SOCK_STREAM);
	OK(getsockopt(s[0], SOL_SOCKET, SO_PROTOCOL, &v, &len));
	EQ(v, IPPROTO_TCP);
	OK(getsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &v, &len));
	CHECK(v > 0);
	ERR(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &v, 1), EINVAL);
	ERR(getsockopt(s[0], IPPROTO_TCP, 9999, &v, &len), ENOPROTOOPT);
}

TEST(tcp_receive_timeout)
{
	char c;
	int s[2];
	struct timeval tv = {0, 20000};
	tcp_pair(s);
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	ERR(read(s[0], &c, 1), EAGAIN);
	EQ(write(s[1], "x", 1), 1);
	EQ(read(s[0], &c, 1), 1);
}

TEST(tcp_peek_and_fionread)
{
	char b[8] = "";
	int s[2], n = 0;
	tcp_pair(s);
	EQ(write(s[0], "abc", 3), 3);
	EQ(recv(s[1], b, 3, MSG_PEEK | MSG_WAITALL), 3);
	OK(ioctl(s[1], FIONREAD, &n));
	EQ(n, 3);
	EQ(recv(s[1], b, 8, 0), 3);
	ERR(recv(s[1], b, 8, MSG_DONTWAIT), EAGAIN);
}

TEST(epoll_server_with_50_clients)
{
	enum { CLIENTS = 50, ROUNDS = 10 };
	int port, l = listener(&port), e = OK(epoll_create1(0));
	OK(fcntl(l, F_SETFL, O_NONBLOCK));
	pid_t p = OK(fork());
	if (!p) {
		int c[CLIENTS];
		close(l);
		for (int i = 0; i < CLIENTS; i++)
			c[i] = caller(port);
		for (int r = 0; r < ROUNDS; r++) {
			for (int i = 0; i < CLIENTS; i++) {
				int v = r * 1000 + i;
				t_writen(c[i], &v, sizeof(v));
			}
			for (int i = 0; i < CLIENTS; i++) {
				int v;
				EQ(t_readn(c[i], &v, sizeof(v)), sizeof(v));
				EQ(v, r * 1000 + i + 1);
			}
		}
		_exit(0);
	}
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = l}, out[16];
	OK(epoll_ctl(e, EPOLL_CTL_ADD, l, &ev));
	int closed = 0, total = 0;
	while (closed < CLIENTS) {
		int n = OK(epoll_wait(e, out, 16, -1));
		for (int i = 0; i < n; i++) {
			int fd = out[i].data.fd, v;
			if (fd == l) {
				int s = OK(accept(l, NULL, NULL));
				ev = (struct epoll_event){.events = EPOLLIN, .data.fd = s};
				OK(epoll_ctl(e, EPOLL_CTL_ADD, s, &ev));
			} else if (t_readn(fd, &v, sizeof(v)) == sizeof(v)) {
				v++;
				total++;
				t_writen(fd, &v, sizeof(v));
			} else {
				closed++;
				close(fd);
			}
		}
	}
	EQ(total, CLIENTS * ROUNDS);
	EQ(t_wait(p), 0);
}

static void *serve_one(void *arg)
{
	int s = (int)(long)arg;
	char b[256];
	ssize_t n;
	while ((n = read(s, b, sizeof(b))) > 0)
		t_writen(s, b, (size_t)n);
	close(s);
	return NULL;
}

TEST(thread_per_connection_server)
{
	int port, l = listener(&port);
	pid_t p = OK(fork());
	if (!p) {
		for (int i = 0; i < 20; i++) {
			char b[16] = "";
			int s = caller(port);
			t_writen(s, "echo", 4);
			EQ(t_readn(s, b, 4), 4);
			STREQ(b, "echo");
			close(s);
		}
		_exit(0);
	}
	for (int i = 0; i < 20; i++) {
		pthread_t t;
		ZERO(pthread_create(&t, NULL, serve_one, (void *)(long)OK(accept(l, NULL, NULL))));
		ZERO(pthread_detach(t));
	}
	EQ(t_wait(p), 0);
}

TEST(preforked_accept)
{
	int port, l = listener(&port);
	pid_t w[3];
	for (int i = 0; i < 3; i++) {
		w[i] = OK(fork());
		if (!w[i])
			for (;;) {
				int s = accept(l, NULL, NULL);
				if (s < 0 || write(s, "x", 1) != 1)
					_exit(1);
				close(s);
			}
	}
	for (int i = 0; i < 30; i++) {
		char c;
		int s = caller(port);
		EQ(t_readn(s, &c, 1), 1);
		close(s);
	}
	for (int i = 0; i < 3; i++)
		t_end(w[i]);
}

TEST_DIR(sendfile_to_socket)
{
	static char b[300000];
	int s[2];
	tcp_pair(s);
	memset(b, 'q', sizeof(b));
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	t_writen(fd, b, sizeof(b));
	pid_t p = OK(fork());
	if (!p) {
		off_t off = 0;
		while (off < (off_t)sizeof(b))
			if (sendfile(s[0], fd, &off, sizeof(b)) <= 0)
				_exit(1);
		_exit(0);
	}
	close(s[0]);
	memset(b, 0, sizeof(b));
	EQ(t_readn(s[1], b, sizeof(b)), sizeof(b));
	EQ(b[299999], 'q');
	EQ(t_wait(p), 0);
}

static int udp(int *port)
{
	struct sockaddr_in a = lo(0);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	if (s < 0 || bind(s, ADDR(a)))
		t_fail(__LINE__, "udp: errno %d", errno);
	*port = port_of(s);
	return s;
}

TEST(udp_send_and_receive)
{
	char b[16] = "";
	int pa, pb, a = udp(&pa), c = udp(&pb);
	struct sockaddr_in to = lo(pb), from;
	socklen_t len = sizeof(from);
	EQ(sendto(a, "abc", 3, 0, ADDR(to)), 3);
	EQ(recvfrom(c, b, sizeof(b), 0, (struct sockaddr *)&from, &len), 3);
	STREQ(b, "abc");
	EQ(ntohs(from.sin_port), pa);
	EQ(sendto(a, "", 0, 0, ADDR(to)), 0);
	EQ(recv(c, b, sizeof(b), 0), 0);
	ERR(send(a, "x", 1, 0), EDESTADDRREQ);
}

TEST(udp_truncation)
{
	char b[4];
	int pa, pb, a = udp(&pa), c = udp(&pb);
	struct sockaddr_in to = lo(pb);
	EQ(sendto(a, "0123456789", 10, 0, ADDR(to)), 10);
	EQ(sendto(a, "next", 4, 0, ADDR(to)), 4);
	struct iovec v = {b, 4};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	EQ(recvmsg(c, &m, 0), 4);
	CHECK(m.msg_flags & MSG_TRUNC);
	EQ(recv(c, b, 4, 0), 4);
	CHECK(!memcmp(b, "next", 4));
	static char big[70000];
	ERR(sendto(a, big, sizeof(big), 0, ADDR(to)), EMSGSIZE);
}

TEST(udp_connected)
{
	char b[8] = "";
	int pa, pb, pc, a = udp(&pa), c = udp(&pb), d = udp(&pc);
	struct sockaddr_in toc = lo(pb), toa = lo(pa);
	OK(connect(a, ADDR(toc)));
	EQ(send(a, "x", 1, 0), 1);
	EQ(recv(c, b, 8, 0), 1);
	EQ(sendto(d, "stranger", 8, 0, ADDR(toa)), 8);
	EQ(sendto(c, "friend", 6, 0, ADDR(toa)), 6);
	EQ(recv(a, b, 8, 0), 6); // only the peer is heard
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	OK(getpeername(a, (struct sockaddr *)&peer, &len));
	EQ(ntohs(peer.sin_port), pb);
}

TEST(udp_refused_when_connected)
{
	int pa, pb, a = udp(&pa), c = udp(&pb);
	struct sockaddr_in to = lo(pb);
	OK(connect(a, ADDR(to)));
	close(c);
	(void)!send(a, "x", 1, 0);
	char b;
	ERR(recv(a, &b, 1, 0), ECONNREFUSED);
}

TEST(udp_poll_and_nonblock)
{
	char c;
	int p, s = udp(&p);
	struct sockaddr_in to = lo(p);
	struct pollfd q = {s, POLLIN | POLLOUT, 0};
	EQ(poll(&q, 1, 0), 1);
	EQ(q.revents, POLLOUT);
	ERR(recv(s, &c, 1, MSG_DONTWAIT), EAGAIN);
	EQ(sendto(s, "x", 1, 0, ADDR(to)), 1);
	EQ(poll(&q, 1, -1), 1);
	CHECK(q.revents & POLLIN);
	struct timeval tv = {0, 10000};
	OK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	EQ(recv(s, &c, 1, 0), 1);
	ERR(recv(s, &c, 1, 0), EAGAIN);
}

TEST(udp_ipv6)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int s = socket(AF_INET6, SOCK_DGRAM, 0);
	if (s < 0 && errno == EAFNOSUPPORT)
		SKIP("no IPv6 here");
	if (bind(s, ADDR(a)) < 0 && errno == EADDRNOTAVAIL)
		SKIP("no ::1 here");
	a.sin6_port = htons((uint16_t)port_of(s));
	EQ(sendto(s, "six", 3, 0, ADDR(a)), 3);
	char b[4] = "";
	EQ(recv(s, b, 4, 0), 3);
	STREQ(b, "six");
}

TEST(udp_port_in_use)
{
	int p, s = udp(&p), on = 1;
	struct sockaddr_in a = lo(p);
	int t = OK(socket(AF_INET, SOCK_DGRAM, 0));
	ERR(bind(t, ADDR(a)), EADDRINUSE);
	close(s);
	OK(bind(t, ADDR(a)));
	(void)on;
}

TEST(raw_needs_privilege_or_is_refused)
{
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	CHECK(s >= 0 || errno == EPERM || errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT || errno == EACCES);
}
