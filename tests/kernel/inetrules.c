// SPDX-License-Identifier: Apache-2.0
// Rules of TCP and UDP that programs rely on: which error comes when, what poll says, who of several sockets on one port is served, the queue of
// errors, datagrams in parts, source addresses.
#include "tests/kernel/t.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef TCP_CM_INQ
#define TCP_INQ 36
#define TCP_CM_INQ TCP_INQ
#endif
#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)

static struct sockaddr_in at(uint32_t ip, int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(ip)};
}

static int port_of(int s)
{
	struct sockaddr_in a;
	socklen_t n = sizeof(a);
	OK(getsockname(s, (void *)&a, &n));
	return ntohs(a.sin_port);
}

static int bound(int type, uint32_t ip, int port)
{
	struct sockaddr_in a = at(ip, port);
	int s = OK(socket(AF_INET, type, 0));
	OK(bind(s, ADDR(a)));
	return s;
}

static void pair(int s[2])
{
	int l = bound(SOCK_STREAM, INADDR_LOOPBACK, 0);
	OK(listen(l, 5));
	struct sockaddr_in a = at(INADDR_LOOPBACK, port_of(l));
	s[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(s[0], ADDR(a)));
	s[1] = OK(accept(l, NULL, NULL));
	close(l);
}

static int events(int s, int want)
{
	struct pollfd p = {s, (short)want, 0};
	OK(poll(&p, 1, 0));
	return p.revents;
}

static void wait_for(int s, int want)
{
	struct pollfd p = {s, (short)want, 0};
	EQ(poll(&p, 1, -1), 1);
}

static int so_error(int s)
{
	int e = -1;
	socklen_t n = sizeof(e);
	OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &n));
	return e;
}

TEST(low_water_mark_and_poll)
{
	char b[8];
	int s[2];
	pair(s);
	OK(setsockopt(s[1], SOL_SOCKET, SO_RCVLOWAT, &(int){4}, sizeof(int)));
	EQ(write(s[0], "abc", 3), 3);
	int n = 0;
	while (OK(ioctl(s[1], FIONREAD, &n)) == 0 && n < 3)
		t_sleep_ms(1);
	EQ(events(s[1], POLLIN), 0);
	EQ(write(s[0], "d", 1), 1);
	wait_for(s[1], POLLIN);
	EQ(read(s[1], b, 8), 4);
	OK(setsockopt(s[1], SOL_SOCKET, SO_RCVLOWAT, &(int){1000}, sizeof(int)));
	EQ(write(s[0], "x", 1), 1);
	close(s[0]);
	wait_for(s[1], POLLIN); // the end makes everything readable
	EQ(read(s[1], b, 8), 1);
}

TEST(reset_while_established)
{
	char c;
	int s[2];
	pair(s);
	EQ(write(s[0], "unread", 6), 6);
	wait_for(s[1], POLLIN);
	close(s[1]); // with data in its buffer: a reset
	wait_for(s[0], POLLIN);
	EQ(events(s[0], POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	ERR(send(s[0], "x", 1, MSG_NOSIGNAL), ECONNRESET);
	ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(read(s[0], &c, 1), 0);
	EQ(so_error(s[0]), 0);
}

TEST(reset_after_the_end_is_a_broken_pipe)
{
	char c;
	int s[2];
	pair(s);
	OK(shutdown(s[1], SHUT_WR));
	EQ(read(s[0], &c, 1), 0); // s[0] waits to be closed
	EQ(write(s[0], "unread", 6), 6);
	wait_for(s[1], POLLIN | POLLRDNORM);
	int n = 0;
	while (OK(ioctl(s[1], FIONREAD, &n)) == 0 && n < 6)
		t_sleep_ms(1);
	close(s[1]);
	struct pollfd p = {s[0], 0, 0};
	EQ(poll(&p, 1, -1), 1);
	EQ(so_error(s[0]), EPIPE);
	EQ(so_error(s[0]), 0);
	EQ(read(s[0], &c, 1), 0);
}

TEST(data_before_a_reset_is_read)
{
	char b[8];
	int s[2];
	pair(s);
	EQ(write(s[1], "last", 4), 4);
	EQ(write(s[0], "unread", 6), 6);
	wait_for(s[1], POLLIN);
	wait_for(s[0], POLLIN);
	close(s[1]);
	struct pollfd p = {s[0], 0, 0};
	EQ(poll(&p, 1, -1), 1); // the reset is here
	EQ(read(s[0], b, sizeof(b)), 4);
	ERR(read(s[0], b, sizeof(b)), ECONNRESET);
	EQ(read(s[0], b, sizeof(b)), 0);
}

TEST(shutdown_of_a_listener)
{
	int l = bound(SOCK_STREAM, INADDR_LOOPBACK, 0);
	OK(listen(l, 5));
	OK(shutdown(l, SHUT_WR));
	struct sockaddr_in a = at(INADDR_LOOPBACK, port_of(l));
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(c, ADDR(a)));
	OK(accept(l, NULL, NULL));
	OK(shutdown(l, SHUT_RD));
	ERR(accept(l, NULL, NULL), EINVAL);
	ERR(connect(OK(socket(AF_INET, SOCK_STREAM, 0)), ADDR(a)), ECONNREFUSED);
}

TEST(shutdown_twice_and_reading_side)
{
	char c;
	int s[2];
	pair(s);
	OK(shutdown(s[0], SHUT_WR));
	OK(shutdown(s[0], SHUT_WR));
	EQ(read(s[1], &c, 1), 0);
	OK(shutdown(s[1], SHUT_RD)); // tells nobody
	EQ(write(s[1], "x", 1), 1);
	EQ(read(s[0], &c, 1), 1);
	OK(shutdown(s[1], SHUT_WR));
	EQ(read(s[0], &c, 1), 0);
	struct pollfd p = {s[0], POLLIN, 0};
	EQ(poll(&p, 1, -1), 1);
	EQ(p.revents, POLLIN | POLLHUP);
	ERR(shutdown(s[0], SHUT_WR), ENOTCONN);
}

TEST(closed_socket_polls_as_hung_up)
{
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	EQ(events(s, POLLIN | POLLOUT), POLLOUT | POLLHUP);
	ERR(recv(s, (char[1]){0}, 1, 0), ENOTCONN);
	ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
	ERR(shutdown(s, SHUT_RDWR), ENOTCONN);
	int l = bound(SOCK_STREAM, INADDR_LOOPBACK, 0);
	OK(listen(l, 1));
	EQ(events(l, POLLIN | POLLOUT), 0);
	ERR(recv(l, (char[1]){0}, 1, 0), ENOTCONN);
	ERR(send(l, "x", 1, MSG_NOSIGNAL), EPIPE);
}

TEST(queue_sizes)
{
	static char b[20000];
	int s[2], n = -1, port;
	pair(s);
	t_writen(s[0], b, sizeof(b));
	while (OK(ioctl(s[1], SIOCINQ, &n)) == 0 && n < (int)sizeof(b))
		t_sleep_ms(1);
	do // acknowledged, though nobody has read it
		OK(ioctl(s[0], SIOCOUTQ, &n));
	while (n);
	OK(ioctl(s[0], SIOCOUTQNSD, &n));
	EQ(n, 0);
	int l = bound(SOCK_STREAM, INADDR_LOOPBACK, 0);
	OK(listen(l, 1));
	ERR(ioctl(l, SIOCINQ, &n), EINVAL);
	ERR(ioctl(l, SIOCOUTQ, &n), EINVAL);
	int u = bound(SOCK_DGRAM, INADDR_LOOPBACK, 0);
	port = port_of(u);
	struct sockaddr_in a = at(INADDR_LOOPBACK, port);
	EQ(sendto(u, "abc", 3, 0, ADDR(a)), 3);
	EQ(sendto(u, "defgh", 5, 0, ADDR(a)), 5);
	OK(ioctl(u, SIOCINQ, &n));
	EQ(n, 3);
	OK(ioctl(u, SIOCOUTQ, &n));
	EQ(n, 0);
}

static int sharing(int type, int port)
{
	struct sockaddr_in a = at(INADDR_LOOPBACK, port);
	int s = OK(socket(AF_INET, type | SOCK_NONBLOCK, 0));
	OK(setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
	OK(bind(s, ADDR(a)));
	return s;
}

TEST(reuseport_keeps_flows)
{
	char b[8];
	int s[4], got[4] = {0}, used = 0;
	s[0] = sharing(SOCK_DGRAM, 0);
	int port = port_of(s[0]);
	for (int k = 1; k < 4; k++)
		s[k] = sharing(SOCK_DGRAM, port);
	struct sockaddr_in a = at(INADDR_LOOPBACK, port);
	for (int c = 0; c < 64; c++) { // each sender's datagrams reach one socket, all senders together all four
		int u = OK(socket(AF_INET, SOCK_DGRAM, 0)), mine = -1;
		for (int k = 0; k < 5; k++)
			EQ(sendto(u, "x", 1, 0, ADDR(a)), 1);
		for (int k = 0; k < 4; k++) {
			int n = 0;
			while (recv(s[k], b, sizeof(b), 0) == 1)
				n++;
			if (n) {
				EQ(n, 5);
				EQ(mine, -1);
				mine = k;
				got[k]++;
			}
		}
		CHECK(mine >= 0);
		close(u);
	}
	for (int k = 0; k < 4; k++)
		used += got[k] > 0;
	EQ(used, 4);
	int other = OK(socket(AF_INET, SOCK_DGRAM, 0));
	ERR(bind(other, ADDR(a)), EADDRINUSE);
}

TEST(reuseport_spreads_connections)
{
	int l[4], got[4] = {0}, n = 0;
	l[0] = sharing(SOCK_STREAM, 0);
	int port = port_of(l[0]);
	for (int k = 1; k < 4; k++)
		l[k] = sharing(SOCK_STREAM, port);
	for (int k = 0; k < 4; k++)
		OK(listen(l[k], 128));
	struct sockaddr_in a = at(INADDR_LOOPBACK, port);
	for (int c = 0; c < 100; c++)
		OK(connect(OK(socket(AF_INET, SOCK_STREAM, 0)), ADDR(a)));
	while (n < 100)
		for (int k = 0; k < 4; k++)
			while (accept(l[k], NULL, NULL) >= 0) {
				got[k]++;
				n++;
			}
	for (int k = 0; k < 4; k++)
		CHECK(got[k] >= 5);
}

static int closed_port(void)
{
	int u = bound(SOCK_DGRAM, INADDR_LOOPBACK, 0), port = port_of(u);
	close(u);
	return port;
}

static void read_error(int s, const char *text, int port)
{
	char data[16] = "", ctl[256];
	struct sockaddr_in name;
	struct iovec v = {data, sizeof(data)};
	struct msghdr m = {.msg_name = &name, .msg_namelen = sizeof(name), .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl,
			   .msg_controllen = sizeof(ctl)};
	EQ(recvmsg(s, &m, MSG_ERRQUEUE), strlen(text));
	STREQ(data, text);
	CHECK(m.msg_flags & MSG_ERRQUEUE);
	EQ(ntohs(name.sin_port), port);
	EQ(ntohl(name.sin_addr.s_addr), INADDR_LOOPBACK);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	while (c && !(c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR))
		c = CMSG_NXTHDR(&m, c);
	CHECK(c);
	struct sock_extended_err *e = (void *)CMSG_DATA(c);
	EQ(e->ee_errno, ECONNREFUSED);
	EQ(e->ee_origin, SO_EE_ORIGIN_ICMP);
	EQ(e->ee_type, 3);
	EQ(e->ee_code, 3);
	struct sockaddr_in *from = (void *)SO_EE_OFFENDER(e);
	EQ(from->sin_family, AF_INET);
	EQ(ntohl(from->sin_addr.s_addr), INADDR_LOOPBACK);
}

TEST(queue_of_errors)
{
	char b[8];
	int port = closed_port(), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = at(INADDR_LOOPBACK, port);
	EQ(sendto(s, "nobody", 6, 0, ADDR(a)), 6); // not connected, and did not ask: hears nothing
	ERR(recv(s, b, sizeof(b), MSG_ERRQUEUE), EAGAIN);
	ERR(recv(s, b, sizeof(b), MSG_DONTWAIT), EAGAIN);
	OK(setsockopt(s, IPPROTO_IP, IP_RECVERR, &(int){1}, sizeof(int)));
	EQ(sendto(s, "one", 3, 0, ADDR(a)), 3);
	struct pollfd p = {s, POLLIN, 0};
	EQ(poll(&p, 1, -1), 1);
	CHECK(p.revents & POLLERR);
	ERR(recv(s, b, sizeof(b), MSG_DONTWAIT), ECONNREFUSED);
	EQ(events(s, POLLIN), POLLERR); // while the queue holds one
	read_error(s, "one", port);
	EQ(events(s, POLLIN), 0);
	ERR(recv(s, b, sizeof(b), MSG_ERRQUEUE), EAGAIN);
	OK(connect(s, ADDR(a)));
	EQ(send(s, "two", 3, 0), 3);
	EQ(poll(&p, 1, -1), 1);
	read_error(s, "two", port); // takes the error along
	EQ(so_error(s), 0);
}

TEST(datagram_in_parts)
{
	char b[32] = "";
	int r = bound(SOCK_DGRAM, INADDR_LOOPBACK, 0), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = at(INADDR_LOOPBACK, port_of(r));
	EQ(sendto(s, "one ", 4, MSG_MORE, ADDR(a)), 4);
	EQ(sendto(s, "two ", 4, MSG_MORE, ADDR(a)), 4);
	ERR(recv(r, b, sizeof(b), MSG_DONTWAIT), EAGAIN);
	EQ(sendto(s, "three", 5, 0, ADDR(a)), 5);
	EQ(recv(r, b, sizeof(b), 0), 13);
	STREQ(b, "one two three");
	OK(connect(s, ADDR(a)));
	OK(setsockopt(s, IPPROTO_UDP, UDP_CORK, &(int){1}, sizeof(int)));
	EQ(send(s, "ab", 2, 0), 2);
	EQ(send(s, "cd", 2, 0), 2);
	ERR(recv(r, b, sizeof(b), MSG_DONTWAIT), EAGAIN);
	OK(setsockopt(s, IPPROTO_UDP, UDP_CORK, &(int){0}, sizeof(int)));
	EQ(recv(r, b, sizeof(b), 0), 4);
	EQ(send(s, "x", 1, 0), 1);
	EQ(recv(r, b, sizeof(b), 0), 1);
}

TEST(many_datagrams_in_one_call)
{
	static char b[2500];
	int r = bound(SOCK_DGRAM, INADDR_LOOPBACK, 0), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = at(INADDR_LOOPBACK, port_of(r));
	if (setsockopt(s, IPPROTO_UDP, UDP_SEGMENT, &(int){1000}, sizeof(int)))
		SKIP("no UDP_SEGMENT here");
	EQ(sendto(s, b, sizeof(b), 0, ADDR(a)), sizeof(b));
	EQ(recv(r, b, sizeof(b), 0), 1000);
	EQ(recv(r, b, sizeof(b), 0), 1000);
	EQ(recv(r, b, sizeof(b), 0), 500);
	EQ(sendto(s, b, 10, 0, ADDR(a)), 10);
	EQ(recv(r, b, sizeof(b), 0), 10);
}

TEST(source_address_of_a_message)
{
	char b[8], ctl[CMSG_SPACE(sizeof(struct in_pktinfo))];
	int r = bound(SOCK_DGRAM, INADDR_ANY, 0), s = bound(SOCK_DGRAM, INADDR_ANY, 0);
	struct sockaddr_in to = at(INADDR_LOOPBACK, port_of(r)), from;
	struct iovec v = {"x", 1};
	struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
	struct in_pktinfo pi = {.ipi_spec_dst.s_addr = htonl(0x7f000005)};
	memcpy(CMSG_DATA(c), &pi, sizeof(pi));
	EQ(sendmsg(s, &m, 0), 1);
	socklen_t n = sizeof(from);
	EQ(recvfrom(r, b, sizeof(b), 0, (void *)&from, &n), 1);
	EQ(ntohl(from.sin_addr.s_addr), 0x7f000005);
	pi.ipi_spec_dst.s_addr = htonl(0xc6336401); // 198.51.100.1 is not ours
	memcpy(CMSG_DATA(c), &pi, sizeof(pi));
	CHECK(sendmsg(s, &m, 0) == -1 && (errno == EINVAL || errno == ENETUNREACH)); // by version
	// 127.0.0.9 asks; the answer has to come from there
	struct sockaddr_in nine = at(0x7f000009, port_of(r));
	int q = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(connect(q, ADDR(nine)));
	OK(setsockopt(r, IPPROTO_IP, IP_PKTINFO, &(int){1}, sizeof(int)));
	OK(setsockopt(r, IPPROTO_IP, IP_RECVORIGDSTADDR, &(int){1}, sizeof(int)));
	EQ(send(q, "question", 8, 0), 8);
	char in[256];
	struct msghdr g = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &(struct iovec){b, sizeof(b)}, .msg_iovlen = 1, .msg_control = in,
			   .msg_controllen = sizeof(in)};
	EQ(recvmsg(r, &g, 0), 8);
	int seen = 0;
	for (c = CMSG_FIRSTHDR(&g); c; c = CMSG_NXTHDR(&g, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			memcpy(&pi, CMSG_DATA(c), sizeof(pi));
			EQ(ntohl(pi.ipi_spec_dst.s_addr), 0x7f000009);
			EQ(ntohl(pi.ipi_addr.s_addr), 0x7f000009);
			seen++;
		}
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR) {
			struct sockaddr_in o;
			memcpy(&o, CMSG_DATA(c), sizeof(o));
			EQ(ntohl(o.sin_addr.s_addr), 0x7f000009);
			EQ(ntohs(o.sin_port), port_of(r));
			seen++;
		}
	}
	EQ(seen, 2);
	m = (struct msghdr){.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl,
			    .msg_controllen = sizeof(ctl)};
	pi.ipi_ifindex = 0;
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &pi, sizeof(pi));
	EQ(sendmsg(r, &m, 0), 1);
	EQ(recv(q, b, sizeof(b), 0), 1);
}

TEST(free_bind)
{
	struct sockaddr_in a = at(0xc6336401, 0);
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	ERR(bind(s, ADDR(a)), EADDRNOTAVAIL);
	OK(setsockopt(s, IPPROTO_IP, IP_FREEBIND, &(int){1}, sizeof(int)));
	OK(bind(s, ADDR(a)));
}

TEST(fast_open)
{
	char b[8] = "";
	int l = bound(SOCK_STREAM, INADDR_LOOPBACK, 0);
	OK(listen(l, 5));
	struct sockaddr_in a = at(INADDR_LOOPBACK, port_of(l));
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	if (sendto(c, "hello", 5, MSG_FASTOPEN, ADDR(a)) < 0 && errno == EOPNOTSUPP)
		SKIP("no fast open here");
	int s = OK(accept(l, NULL, NULL));
	EQ(t_readn(s, b, 5), 5);
	STREQ(b, "hello");
	EQ(write(s, "back", 4), 4);
	EQ(t_readn(c, b, 4), 4);
	int d = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(setsockopt(d, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){1}, sizeof(int)));
	OK(connect(d, ADDR(a)));
	EQ(write(d, "x", 1), 1);
	s = OK(accept(l, NULL, NULL));
	EQ(read(s, b, 1), 1);
}

TEST(bytes_left_as_control_message)
{
	char b[4], ctl[64];
	int s[2], n = 0;
	pair(s);
	if (setsockopt(s[1], IPPROTO_TCP, TCP_INQ, &(int){1}, sizeof(int)))
		SKIP("no TCP_INQ here");
	EQ(write(s[0], "0123456789", 10), 10);
	while (OK(ioctl(s[1], FIONREAD, &n)) == 0 && n < 10)
		t_sleep_ms(1);
	struct msghdr m = {.msg_iov = &(struct iovec){b, 4}, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	EQ(recvmsg(s[1], &m, 0), 4);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_level == SOL_TCP && c->cmsg_type == TCP_CM_INQ);
	EQ(*(int *)CMSG_DATA(c), 6);
}

TEST(accepted_connections_hold_the_port)
{
	int l = bound(SOCK_STREAM, INADDR_LOOPBACK, 0), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = at(INADDR_LOOPBACK, port_of(l));
	OK(listen(l, 5));
	OK(connect(c, ADDR(a)));
	OK(accept(l, NULL, NULL));
	close(l);
	int n = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(bind(n, ADDR(a)), EADDRINUSE);
	OK(setsockopt(n, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
	ERR(bind(n, ADDR(a)), EADDRINUSE); // theirs did not say so
}
