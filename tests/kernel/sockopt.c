// SPDX-License-Identifier: Apache-2.0
// Options of sockets as Linux gives them: defaults, what a value becomes, which values and states are refused, what accept(2) hands on.
#include "tests/kernel/t.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif
enum { BAD = -1000000 }; // BAD - errno: setsockopt fails so

struct row {
	int opt, set, want;
};

static int make(int family, int type)
{
	int s = socket(family, type, 0);
	if (s < 0 && errno == EAFNOSUPPORT)
		SKIP("no IPv6 here");
	return OK(s);
}

static int get(int s, int level, int opt)
{
	int v = 0x5a5a5a5a;
	socklen_t n = sizeof(v);
	if (getsockopt(s, level, opt, &v, &n))
		t_fail(__LINE__, "getsockopt(%d, %d): errno %d", level, opt, errno);
	if (n != sizeof(v))
		t_fail(__LINE__, "getsockopt(%d, %d): %d bytes", level, opt, (int)n);
	return v;
}

static void rows(int family, int type, int level, const struct row *r, int n)
{
	for (int k = 0; k < n; k++) {
		int s = make(family, type), e = setsockopt(s, level, r[k].opt, &r[k].set, sizeof(int));
		int got = e ? BAD - errno : get(s, level, r[k].opt);
		if (got != r[k].want)
			t_fail(__LINE__, "level %d option %d set to %d: got %d, want %d", level, r[k].opt, r[k].set, got, r[k].want);
		close(s);
	}
}
#define ROWS(family, type, level, ...)                                                                        \
	do {                                                                                                  \
		static const struct row r_[] = __VA_ARGS__;                                                   \
		rows(family, type, level, r_, (int)(sizeof(r_) / sizeof(r_[0])));                             \
	} while (0)

static int pair(int s[2])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int l = make(AF_INET, SOCK_STREAM);
	OK(bind(l, (void *)&a, sizeof(a)));
	OK(listen(l, 5));
	OK(getsockname(l, (void *)&a, &n));
	s[0] = make(AF_INET, SOCK_STREAM);
	OK(connect(s[0], (void *)&a, sizeof(a)));
	s[1] = OK(accept(l, NULL, NULL));
	return l;
}

TEST(tcp_defaults)
{
	int s = make(AF_INET, SOCK_STREAM);
	EQ(get(s, IPPROTO_TCP, TCP_NODELAY), 0);
	EQ(get(s, IPPROTO_TCP, TCP_MAXSEG), 536);
	EQ(get(s, IPPROTO_TCP, TCP_CORK), 0);
	EQ(get(s, IPPROTO_TCP, TCP_KEEPIDLE), 7200);
	EQ(get(s, IPPROTO_TCP, TCP_KEEPINTVL), 75);
	EQ(get(s, IPPROTO_TCP, TCP_KEEPCNT), 9);
	EQ(get(s, IPPROTO_TCP, TCP_SYNCNT), 6);
	EQ(get(s, IPPROTO_TCP, TCP_LINGER2), 60);
	EQ(get(s, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	EQ(get(s, IPPROTO_TCP, TCP_QUICKACK), 1);
	EQ(get(s, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
	EQ(get(s, IPPROTO_TCP, TCP_FASTOPEN), 0);
	EQ(get(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT), 0);
	EQ(get(s, IPPROTO_TCP, TCP_THIN_DUPACK), 0);
	EQ(get(s, IPPROTO_TCP, TCP_REPAIR), 0);
	ERR(getsockopt(s, IPPROTO_TCP, TCP_REPAIR_QUEUE + 100, &(int){0}, &(socklen_t){4}), ENOPROTOOPT);
}

TEST(tcp_values)
{
	ROWS(AF_INET, SOCK_STREAM, IPPROTO_TCP, {
		{TCP_NODELAY, 5, 1}, {TCP_NODELAY, -1, 1}, {TCP_CORK, 7, 1}, {TCP_MAXSEG, 1000, 1000}, {TCP_MAXSEG, 0, 536}, {TCP_MAXSEG, 87, BAD - EINVAL},
		{TCP_MAXSEG, 40000, BAD - EINVAL}, {TCP_KEEPIDLE, 32767, 32767}, {TCP_KEEPIDLE, 0, BAD - EINVAL}, {TCP_KEEPIDLE, 32768, BAD - EINVAL},
		{TCP_KEEPINTVL, 5, 5}, {TCP_KEEPINTVL, 0, BAD - EINVAL}, {TCP_KEEPCNT, 127, 127}, {TCP_KEEPCNT, 128, BAD - EINVAL}, {TCP_KEEPCNT, 0, BAD - EINVAL},
		{TCP_SYNCNT, 127, 127}, {TCP_SYNCNT, 128, BAD - EINVAL}, {TCP_LINGER2, -5, -1}, {TCP_LINGER2, 0, 60}, {TCP_LINGER2, 30, 30},
		{TCP_LINGER2, 500, 120}, {TCP_DEFER_ACCEPT, 1, 1}, {TCP_DEFER_ACCEPT, 2, 3}, {TCP_DEFER_ACCEPT, 5, 7}, {TCP_DEFER_ACCEPT, 1000, 1087},
		{TCP_DEFER_ACCEPT, -1, 0}, {TCP_WINDOW_CLAMP, 5, 1152}, {TCP_WINDOW_CLAMP, 70000, 70000}, {TCP_QUICKACK, 0, 0}, {TCP_QUICKACK, 3, 1},
		{TCP_THIN_LINEAR_TIMEOUTS, 1, 1}, {TCP_THIN_LINEAR_TIMEOUTS, 2, BAD - EINVAL}, {TCP_THIN_DUPACK, 1, 0}, {TCP_THIN_DUPACK, 2, BAD - EINVAL},
		{TCP_USER_TIMEOUT, 30000, 30000}, {TCP_USER_TIMEOUT, -1, BAD - EINVAL}, {TCP_FASTOPEN, 5, 5}, {TCP_FASTOPEN, -1, BAD - EINVAL},
		{TCP_NOTSENT_LOWAT, 16384, 16384}, {TCP_SAVE_SYN, 1, 1}, {TCP_FASTOPEN_CONNECT, 1, 1}, {TCP_FASTOPEN_CONNECT, 2, BAD - EINVAL},
		{TCP_FASTOPEN_NO_COOKIE, 1, 1}, {TCP_INQ, 1, 1}, {TCP_INQ, 2, BAD - EINVAL}, {TCP_INFO, 1, BAD - ENOPROTOOPT}, {TCP_TIMESTAMP, 1, BAD - EPERM},
		{TCP_ULP, 0, BAD - ENOENT},
	});
	int s = make(AF_INET, SOCK_STREAM);
	ERR(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &(char){1}, 1), EINVAL);
}

TEST(tcp_states)
{
	int s[2], l = pair(s), v = 1;
	ERR(setsockopt(s[0], IPPROTO_TCP, TCP_FASTOPEN, &v, sizeof(v)), EINVAL);
	ERR(setsockopt(s[0], IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &v, sizeof(v)), EINVAL);
	ERR(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &v, sizeof(v)), EINVAL);
	ERR(setsockopt(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP, &(int){0}, sizeof(v)), EINVAL);
	OK(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, sizeof(v)));
	CHECK(get(s[0], IPPROTO_TCP, TCP_MAXSEG) > 536);
	CHECK(get(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP) > 0);
	EQ(get(l, IPPROTO_TCP, TCP_MAXSEG), 536);
	CHECK(get(s[0], IPPROTO_IP, IP_MTU) >= 65535);
}

TEST(tcp_congestion)
{
	char name[16] = "";
	int s = make(AF_INET, SOCK_STREAM);
	socklen_t n = sizeof(name);
	OK(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	OK(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	STREQ(name, "reno");
	EQ(n, 16);
	ERR(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6), ENOENT);
	n = 3;
	OK(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	EQ(n, 3);
}

TEST(tcp_info_counts)
{
	static char b[3000];
	struct tcp_info ti = {0};
	socklen_t n = sizeof(ti);
	int s[2];
	pair(s);
	t_writen(s[0], b, sizeof(b));
	EQ(t_readn(s[1], b, sizeof(b)), sizeof(b));
	OK(getsockopt(s[1], IPPROTO_TCP, TCP_INFO, &ti, &n));
	EQ(ti.tcpi_state, 1);
	EQ(ti.tcpi_bytes_received, sizeof(b));
	n = sizeof(ti);
	OK(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &ti, &n));
	EQ(ti.tcpi_bytes_sent, sizeof(b));
	EQ(ti.tcpi_bytes_acked, sizeof(b) + 1);
	EQ(ti.tcpi_total_retrans, 0);
	CHECK(ti.tcpi_options & TCPI_OPT_SACK);
	n = 8;
	OK(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &ti, &n));
	EQ(n, 8);
}

TEST(ip_values)
{
	ROWS(AF_INET, SOCK_STREAM, IPPROTO_IP, {
		{IP_TOS, 255, 252}, {IP_TOS, 5, 4}, {IP_TTL, -1, 64}, {IP_TTL, 0, BAD - EINVAL}, {IP_TTL, 255, 255}, {IP_TTL, 256, BAD - EINVAL},
		{IP_HDRINCL, 1, BAD - ENOPROTOOPT}, {IP_MTU_DISCOVER, 5, 5}, {IP_MTU_DISCOVER, 6, BAD - EINVAL}, {IP_RECVERR, 4, 1}, {IP_MINTTL, 255, 255},
		{IP_MINTTL, 256, BAD - EINVAL}, {IP_MULTICAST_TTL, 1, BAD - EINVAL}, {IP_FREEBIND, 2, 1}, {IP_MULTICAST_LOOP, 5, 1},
	});
	ROWS(AF_INET, SOCK_DGRAM, IPPROTO_IP, {
		{IP_TOS, 255, 255}, {IP_TOS, 1000, 232}, {IP_TTL, 0, BAD - EINVAL}, {IP_PKTINFO, 9, 1}, {IP_MULTICAST_TTL, -1, 1}, {IP_MULTICAST_TTL, 0, 0},
		{IP_MULTICAST_TTL, 256, BAD - EINVAL}, {IP_MULTICAST_ALL, 2, BAD - EINVAL}, {IP_MULTICAST_ALL, 0, 0}, {IP_UNICAST_IF, 1000, BAD - EADDRNOTAVAIL},
		{IP_RECVERR_RFC4884, 2, BAD - EINVAL}, {IP_RECVORIGDSTADDR, 3, 1}, {IP_MTU, 5, BAD - ENOPROTOOPT},
	});
	int s = make(AF_INET, SOCK_DGRAM), one = (int)htonl(1);
	OK(setsockopt(s, IPPROTO_IP, IP_UNICAST_IF, &one, sizeof(one)));
	EQ(get(s, IPPROTO_IP, IP_UNICAST_IF), one);
	ERR(getsockopt(s, IPPROTO_IP, IP_MTU, &one, &(socklen_t){4}), ENOTCONN);
	ERR(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, &(socklen_t){4}), EOPNOTSUPP);
	ERR(getsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &one, &(socklen_t){4}), EOPNOTSUPP);
	ERR(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), ENOPROTOOPT);
}

TEST(ip6_values)
{
	ROWS(AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, {
		{IPV6_UNICAST_HOPS, -1, 64}, {IPV6_UNICAST_HOPS, 0, 0}, {IPV6_UNICAST_HOPS, 256, BAD - EINVAL}, {IPV6_MULTICAST_IF, 1, 1},
		{IPV6_MULTICAST_IF, 1000, BAD - ENODEV}, {IPV6_MULTICAST_HOPS, 255, 255}, {IPV6_MULTICAST_LOOP, 2, BAD - EINVAL}, {IPV6_MULTICAST_LOOP, 0, 0},
		{IPV6_MULTICAST_ALL, 0, 0}, {IPV6_RECVPKTINFO, 5, 1}, {IPV6_TCLASS, 255, 255}, {IPV6_TCLASS, -1, 0}, {IPV6_TCLASS, 256, BAD - EINVAL},
		{IPV6_RECVERR, 2, 1}, {IPV6_MTU_DISCOVER, 6, BAD - EINVAL}, {IPV6_DONTFRAG, 2, 1}, {IPV6_AUTOFLOWLABEL, 0, 0}, {IPV6_ADDR_PREFERENCES, 2, 0x402},
		{IPV6_ADDR_PREFERENCES, 3, BAD - EINVAL}, {IPV6_ADDR_PREFERENCES, 0, 0x500}, {IPV6_MINHOPCOUNT, 255, 255}, {IPV6_MINHOPCOUNT, 256, BAD - EINVAL},
		{IPV6_UNICAST_IF, 1000, BAD - EADDRNOTAVAIL}, {IPV6_FREEBIND, 5, 1}, {IPV6_RECVORIGDSTADDR, 1, 1}, {IPV6_V6ONLY, 5, 1},
	});
	ROWS(AF_INET6, SOCK_STREAM, IPPROTO_IPV6, {
		{IPV6_TCLASS, 255, 252}, {IPV6_MULTICAST_IF, 1, BAD - ENOPROTOOPT}, {IPV6_MULTICAST_HOPS, 1, BAD - ENOPROTOOPT}, {IPV6_V6ONLY, 1, 1},
	});
	int s = make(AF_INET6, SOCK_DGRAM);
	EQ(get(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 64);
	EQ(get(s, IPPROTO_IPV6, IPV6_MULTICAST_LOOP), 1);
	EQ(get(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 1);
	ERR(getsockopt(s, IPPROTO_IPV6, IPV6_MTU, &(int){0}, &(socklen_t){4}), ENOTCONN);
}

TEST(socket_values)
{
	ROWS(AF_INET, SOCK_STREAM, SOL_SOCKET, {
		{SO_REUSEADDR, 9, 1}, {SO_KEEPALIVE, -1, 1}, {SO_SNDBUF, 0, 4608}, {SO_SNDBUF, 70000, 140000}, {SO_RCVBUF, 0, 2304}, {SO_RCVBUF, 50000, 100000},
		{SO_RCVLOWAT, 0, 1}, {SO_RCVLOWAT, 100, 100}, {SO_SNDLOWAT, 5, BAD - ENOPROTOOPT}, {SO_TYPE, 1, BAD - ENOPROTOOPT},
		{SO_ERROR, 1, BAD - ENOPROTOOPT}, {SO_ACCEPTCONN, 1, BAD - ENOPROTOOPT}, {SO_PROTOCOL, 1, BAD - ENOPROTOOPT}, {SO_DOMAIN, 1, BAD - ENOPROTOOPT},
		{SO_PRIORITY, 6, 6}, {SO_NO_CHECK, 4, 1}, {SO_RXQ_OVFL, 2, 1}, {SO_SELECT_ERR_QUEUE, 1, 1}, {SO_INCOMING_CPU, 0, 0},
		{SO_MAX_PACING_RATE, 1000000, 1000000}, {SO_BINDTOIFINDEX, 1, 1}, {SO_BINDTOIFINDEX, -1, BAD - EINVAL}, {SO_ZEROCOPY, 0, 0},
		{SO_ZEROCOPY, 2, BAD - EINVAL}, {SO_PEERCRED, 1, BAD - ENOPROTOOPT},
	});
	int s = make(AF_INET, SOCK_DGRAM);
	EQ(get(s, SOL_SOCKET, SO_INCOMING_CPU), -1);
	EQ(get(s, SOL_SOCKET, SO_MAX_PACING_RATE), -1);
	EQ(get(s, SOL_SOCKET, SO_INCOMING_NAPI_ID), 0);
	ERR(setsockopt(s, SOL_SOCKET, SO_DETACH_FILTER, &s, sizeof(s)), ENOENT);
	ERR(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8), ENODEV);
}

TEST(bound_to_device)
{
	char name[IFNAMSIZ] = "x";
	socklen_t n = sizeof(name);
	int s = make(AF_INET, SOCK_DGRAM);
	OK(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
	EQ(n, 0);
	if (setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) && errno == EPERM)
		SKIP("not permitted");
	n = sizeof(name);
	OK(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
	EQ(n, 3);
	STREQ(name, "lo");
	EQ(get(s, SOL_SOCKET, SO_BINDTOIFINDEX), (int)if_nametoindex("lo"));
	OK(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
	EQ(get(s, SOL_SOCKET, SO_BINDTOIFINDEX), 0);
}

TEST(accepted_inherits)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval tv = {3, 0}, got = {0};
	struct linger lg = {1, 7};
	socklen_t n = sizeof(a), tn = sizeof(got);
	int l = make(AF_INET, SOCK_STREAM), on = 1, idle = 33;
	OK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	OK(setsockopt(l, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)));
	OK(setsockopt(l, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
	OK(setsockopt(l, SOL_SOCKET, SO_PRIORITY, &(int){3}, sizeof(int)));
	OK(setsockopt(l, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)));
	OK(setsockopt(l, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	OK(setsockopt(l, IPPROTO_IP, IP_TTL, &(int){9}, sizeof(int)));
	OK(bind(l, (void *)&a, sizeof(a)));
	OK(listen(l, 5));
	OK(getsockname(l, (void *)&a, &n));
	int c = make(AF_INET, SOCK_STREAM);
	OK(connect(c, (void *)&a, sizeof(a)));
	int s = OK(accept(l, NULL, NULL));
	OK(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &got, &tn));
	EQ(got.tv_sec, 3);
	n = sizeof(lg);
	memset(&lg, 0, sizeof(lg));
	OK(getsockopt(s, SOL_SOCKET, SO_LINGER, &lg, &n));
	EQ(lg.l_linger, 7);
	EQ(get(s, SOL_SOCKET, SO_KEEPALIVE), 1);
	EQ(get(s, SOL_SOCKET, SO_PRIORITY), 0); // this is not
	EQ(get(s, IPPROTO_TCP, TCP_KEEPIDLE), 33);
	EQ(get(s, IPPROTO_TCP, TCP_NODELAY), 1);
	EQ(get(s, IPPROTO_IP, IP_TTL), 9);
	EQ(get(c, IPPROTO_TCP, TCP_KEEPIDLE), 7200);
}

TEST(peer_name)
{
	struct sockaddr_in a;
	socklen_t n = sizeof(a);
	int s[2];
	pair(s);
	OK(getsockopt(s[0], SOL_SOCKET, SO_PEERNAME, &a, &n));
	EQ(n, sizeof(a));
	EQ(a.sin_family, AF_INET);
	n = 100;
	ERR(getsockopt(s[0], SOL_SOCKET, SO_PEERNAME, (char[128]){0}, &n), EINVAL);
	n = sizeof(a);
	ERR(getsockopt(make(AF_INET, SOCK_STREAM), SOL_SOCKET, SO_PEERNAME, &a, &n), ENOTCONN);
}

TEST(udp_options)
{
	ROWS(AF_INET, SOCK_DGRAM, IPPROTO_UDP, {
		{1 /* UDP_CORK */, 5, 1}, {103 /* UDP_SEGMENT */, 1200, 1200}, {103, 70000, BAD - EINVAL}, {104 /* UDP_GRO */, 1, 1}, {100, 1, BAD - ENOPROTOOPT},
		{101, 1, 1}, {200, 1, BAD - ENOPROTOOPT},
	});
}

// One look after the other from s: the bytes, or the errno, in brackets.
static char *looks(int s, int size, int times, char *out)
{
	char b[64], *at = out;
	for (int i = 0; i < times; i++) {
		ssize_t n = recv(s, b, (size_t)size, MSG_PEEK | MSG_DONTWAIT);
		at += n < 0 ? sprintf(at, "(%d)", errno) : sprintf(at, "(%.*s)", (int)n, b);
	}
	return out;
}
#define LOOKS(s, size, times, want)                                                                                                                            \
	do {                                                                                                                                                   \
		char l_[512];                                                                                                                                  \
		if (strcmp(looks(s, size, times, l_), want))                                                                                                   \
			t_fail(__LINE__, "looks: %s, not %s", l_, want);                                                                                       \
	} while (0)

static void set_peek(int s, int v) { OK(setsockopt(s, SOL_SOCKET, SO_PEEK_OFF, &v, sizeof(v))); }

static void peek_stream(int from, int s)
{
	char b[8];
	EQ(get(s, SOL_SOCKET, SO_PEEK_OFF), -1);
	EQ(write(from, "0123456789", 10), 10);
	LOOKS(s, 4, 2, "(0123)(0123)");
	set_peek(s, 0);
	LOOKS(s, 4, 4, "(0123)(4567)(89)(11)");
	EQ(get(s, SOL_SOCKET, SO_PEEK_OFF), 10);
	EQ(read(s, b, 3), 3);		// what is read goes from the front
	EQ(get(s, SOL_SOCKET, SO_PEEK_OFF), 7);
	EQ(write(from, "ab", 2), 2);
	LOOKS(s, 8, 2, "(ab)(11)");
	set_peek(s, 2);
	LOOKS(s, 3, 2, "(567)(89a)");
	EQ(read(s, b, 8), 8);
	EQ(memcmp(b, "3456789a", 8), 0);
	EQ(get(s, SOL_SOCKET, SO_PEEK_OFF), 0);
	LOOKS(s, 8, 2, "(b)(11)");
	set_peek(s, -1);
	LOOKS(s, 8, 2, "(b)(b)");
	set_peek(s, 1);
	OK(shutdown(from, SHUT_WR));
	LOOKS(s, 8, 1, "()");		// behind the last byte is the end
}

TEST(peek_off_streams)
{
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	peek_stream(s[0], s[1]);
	pair(s);
	if (!setsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &(int){-1}, sizeof(int)))	// Linux 6.9
		peek_stream(s[0], s[1]);
}

static void peek_packets(int from, int s)
{
	char b[8];
	EQ(send(from, "0123", 4, 0), 4);
	EQ(send(from, "45", 2, 0), 2);
	set_peek(s, 0);
	LOOKS(s, 8, 3, "(0123)(45)(11)");
	EQ(recv(s, b, 8, 0), 4);
	EQ(get(s, SOL_SOCKET, SO_PEEK_OFF), 2);
	EQ(send(from, "678", 3, 0), 3);
	LOOKS(s, 8, 2, "(678)(11)");
	set_peek(s, 1);
	LOOKS(s, 8, 2, "(5)(678)");
	set_peek(s, 0);
	LOOKS(s, 1, 4, "(4)(5)(6)(7)");
}

TEST(peek_off_packets)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	peek_packets(s[0], s[1]);
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	peek_packets(s[0], s[1]);
	s[0] = make(AF_INET, SOCK_DGRAM);
	s[1] = make(AF_INET, SOCK_DGRAM);
	OK(bind(s[1], (void *)&a, sizeof(a)));
	OK(getsockname(s[1], (void *)&a, &n));
	OK(connect(s[0], (void *)&a, sizeof(a)));
	peek_packets(s[0], s[1]);
	ERR(setsockopt(OK(socket(AF_NETLINK, SOCK_RAW, 0)), SOL_SOCKET, SO_PEEK_OFF, &(int){0}, sizeof(int)), EOPNOTSUPP);
}
