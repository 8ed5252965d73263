// SPDX-License-Identifier: Apache-2.0
// Netlink: lists of sockets (sock_diag), rules, the way to an address; corners of sendmmsg, recvmmsg and TCP_INFO.
#include "tests/kernel/t.h"
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

static char reply[65536];

// Sends one request and calls fn for each message until the end; the number of messages, or the error that came.
static int ask(int proto, int type, int flags, const void *body, size_t len, void (*fn)(struct nlmsghdr *, void *), void *arg)
{
	struct {
		struct nlmsghdr h;
		char body[256];
	} q = {.h = {.nlmsg_len = (unsigned)(NLMSG_HDRLEN + len), .nlmsg_type = (unsigned short)type, .nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags), .nlmsg_seq = 77}};
	int s = OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, proto)), n = 0;
	memcpy(q.body, body, len);
	OK(send(s, &q, q.h.nlmsg_len, 0));
	for (;;) {
		long got = OK(recv(s, reply, sizeof(reply), 0));
		for (struct nlmsghdr *h = (void *)reply; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
			EQ(h->nlmsg_seq, 77);
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
				int e = h->nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(h))->error : 0;
				close(s);
				return e ? e : n;
			}
			n++;
			if (fn)
				fn(h, arg);
			if (!(h->nlmsg_flags & NLM_F_MULTI)) {
				close(s);
				return n;
			}
		}
	}
}

struct look {
	unsigned short port;
	int states[16], family;
	unsigned ino, peer;
	char name[108];
	int names;
};

static void on_inet(struct nlmsghdr *h, void *arg)
{
	struct inet_diag_msg *m = NLMSG_DATA(h);
	struct look *l = arg;
	EQ(h->nlmsg_type, SOCK_DIAG_BY_FAMILY);
	if (ntohs(m->id.idiag_sport) == l->port || ntohs(m->id.idiag_dport) == l->port)
		l->states[m->idiag_state]++;
}

TEST(tcp_sockets)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c[3];
	OK(bind(l, (void *)&a, sizeof(a)));
	OK(listen(l, 8));
	OK(getsockname(l, (void *)&a, &len));
	for (int i = 0; i < 3; i++) {
		c[i] = OK(socket(AF_INET, SOCK_STREAM, 0));
		OK(connect(c[i], (void *)&a, sizeof(a)));
	}
	struct look k = {.port = ntohs(a.sin_port)};
	struct inet_diag_req_v2 q = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u};
	CHECK(ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &q, sizeof(q), on_inet, &k) >= 7);
	EQ(k.states[TCP_LISTEN], 1);
	EQ(k.states[TCP_ESTABLISHED], 6);
	memset(k.states, 0, sizeof(k.states));
	q.idiag_states = 1 << TCP_LISTEN;
	CHECK(ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &q, sizeof(q), on_inet, &k) >= 1);
	EQ(k.states[TCP_LISTEN], 1);
	EQ(k.states[TCP_ESTABLISHED], 0);
}

// Sockets that are bound only, or whose connection was reset, are in no list.
TEST(tcp_sockets_that_are_closed)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger reset = {1, 0};
	socklen_t len = sizeof(a);
	char line[256], want[16], byte;
	int bound = OK(socket(AF_INET, SOCK_STREAM, 0)), l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0)), s;
	OK(bind(l, (void *)&a, sizeof(a)));
	OK(bind(bound, (void *)&a, sizeof(a)));
	OK(listen(l, 8));
	OK(getsockname(l, (void *)&a, &len));
	OK(connect(c, (void *)&a, sizeof(a)));
	s = OK(accept(l, NULL, NULL));
	OK(setsockopt(c, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)));
	OK(close(c));
	ERR(read(s, &byte, 1), ECONNRESET);
	struct look k = {.port = ntohs(a.sin_port)};
	struct inet_diag_req_v2 q = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 0xfff};
	CHECK(ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &q, sizeof(q), on_inet, &k) >= 1);
	EQ(k.states[TCP_LISTEN], 1);
	EQ(k.states[TCP_CLOSE], 0);
	OK(getsockname(bound, (void *)&a, &len));
	FILE *f = fopen("/proc/net/tcp", "r");
	CHECK(f);
	for (int i = 0; i < 2; i++) {
		snprintf(want, sizeof(want), ":%04X ", i ? ntohs(a.sin_port) : k.port);
		rewind(f);
		int lines = 0;
		while (fgets(line, sizeof(line), f))
			lines += strstr(line, want) && strstr(line, " 07 ");
		EQ(lines, 0);
	}
	fclose(f);
}

static void on_unix(struct nlmsghdr *h, void *arg)
{
	struct unix_diag_msg *m = NLMSG_DATA(h);
	struct look *l = arg;
	long left = (long)h->nlmsg_len - NLMSG_LENGTH(sizeof(*m));
	if (m->udiag_ino == l->ino)
		l->states[m->udiag_state]++;
	for (struct rtattr *a = (void *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == UNIX_DIAG_NAME && RTA_PAYLOAD(a) == strlen(l->name) + 1 && !memcmp((char *)RTA_DATA(a) + 1, l->name, strlen(l->name)))
			l->names++;
		if (a->rta_type == UNIX_DIAG_PEER && m->udiag_ino == l->ino)
			memcpy(&l->peer, RTA_DATA(a), 4);
	}
}

TEST(unix_sockets)
{
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	struct stat st[2];
	struct look k = {0};
	int s[2], l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	snprintf(k.name, sizeof(k.name), "netlink-test-%d", getpid());
	strcpy(u.sun_path + 1, k.name);
	OK(bind(l, (void *)&u, (socklen_t)(3 + strlen(k.name))));
	OK(listen(l, 3));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(fstat(s[0], &st[0]));
	OK(fstat(s[1], &st[1]));
	k.ino = (unsigned)st[0].st_ino;
	struct unix_diag_req q = {.sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER};
	CHECK(ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &q, sizeof(q), on_unix, &k) >= 3);
	EQ(k.states[TCP_ESTABLISHED], 1);
	EQ(k.peer, (unsigned)st[1].st_ino);
	EQ(k.names, 1);
}

TEST(many_in_one_dump)
{
	struct unix_diag_req q = {.sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN};
	for (int i = 0; i < 100; i++) {
		int s[2];
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	}
	CHECK(ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &q, sizeof(q), NULL, NULL) >= 200);
}

TEST(diag_errors)
{
	struct inet_diag_req_v2 q = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u};
	char c = AF_INET;
	EQ(ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &c, 1, NULL, NULL), -EINVAL);
	q.sdiag_family = 200;
	CHECK(ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &q, sizeof(q), NULL, NULL) < 0);
}

TEST(rules)
{
	struct rtmsg m = {.rtm_family = AF_INET};
	EQ(ask(NETLINK_ROUTE, RTM_GETRULE, NLM_F_DUMP, &m, sizeof(m), NULL, NULL), 3);
}

static void on_route(struct nlmsghdr *h, void *arg)
{
	struct rtmsg *m = NLMSG_DATA(h);
	EQ(h->nlmsg_type, RTM_NEWROUTE);
	*(int *)arg = m->rtm_type;
}

TEST(route_to_loopback)
{
	struct {
		struct rtmsg m;
		struct rtattr a;
		unsigned char ip[4];
	} q = {{.rtm_family = AF_INET, .rtm_dst_len = 32}, {.rta_len = 8, .rta_type = RTA_DST}, {127, 0, 0, 5}};
	int type = -1;
	EQ(ask(NETLINK_ROUTE, RTM_GETROUTE, 0, &q, sizeof(q), on_route, &type), 1);
	EQ(type, RTN_LOCAL);
}

TEST(tcp_info)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	struct tcp_info ti;
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(l, (void *)&a, sizeof(a)));
	len = sizeof(ti);
	OK(getsockopt(l, IPPROTO_TCP, TCP_INFO, &ti, &len));
	EQ(ti.tcpi_state, TCP_CLOSE);
	OK(listen(l, 8));
	OK(getsockopt(l, IPPROTO_TCP, TCP_INFO, &ti, &len));
	EQ(ti.tcpi_state, TCP_LISTEN);
	len = sizeof(a);
	OK(getsockname(l, (void *)&a, &len));
	OK(connect(c, (void *)&a, sizeof(a)));
	len = 8;
	OK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &ti, &len));
	EQ(len, 8);
	EQ(ti.tcpi_state, TCP_ESTABLISHED);
	OK(shutdown(c, SHUT_WR));
	len = sizeof(ti);
	OK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &ti, &len));
	CHECK(ti.tcpi_state == TCP_FIN_WAIT1 || ti.tcpi_state == TCP_FIN_WAIT2);
}

TEST(mmsg_timeout)
{
	int s[2];
	char b[3][8];
	struct iovec v[3] = {{b[0], 8}, {b[1], 8}, {b[2], 8}};
	struct mmsghdr m[3] = {{{.msg_iov = v, .msg_iovlen = 1}, 0}, {{.msg_iov = v + 1, .msg_iovlen = 1}, 0}, {{.msg_iov = v + 2, .msg_iovlen = 1}, 0}};
	struct timespec t = {0, 1000000}, bad = {0, -1};
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	EQ(sendmmsg(s[0], m, 2, 0), 2);
	ERR(recvmmsg(s[1], m, 3, 0, &bad), EINVAL);
	EQ(recvmmsg(s[1], m, 3, MSG_WAITFORONE, NULL), 2);
	EQ(sendmmsg(s[0], m, 3, 0), 3);
	t_sleep_ms(5);
	EQ(recvmmsg(s[1], m, 3, MSG_DONTWAIT, NULL), 3);
	ERR(recvmmsg(s[1], m, 3, MSG_DONTWAIT, &t), EAGAIN);
	EQ(sendmmsg(s[0], m, 0, 0), 0);
	ERR(sendmmsg(s[0], (void *)8, 1, 0), EFAULT);
	close(s[1]);
	ERR(sendmmsg(s[0], m, 2, 0), ECONNREFUSED);
}

// What Linux has never had, or answers the same way wherever it is switched off.
TEST(sockets_that_are_not_there)
{
	static const int no_family[] = {1, 8, 17, 25, 31, 32, 1000, -1};
	for (size_t i = 0; i < sizeof(no_family) / sizeof(*no_family); i++) {
		ERR(socket(AF_NETLINK, SOCK_RAW, no_family[i]), EPROTONOSUPPORT);
		ERR(socket(AF_NETLINK, SOCK_DGRAM, no_family[i]), EPROTONOSUPPORT);
	}
	ERR(socket(AF_NETLINK, SOCK_STREAM, 0), ESOCKTNOSUPPORT);
	ERR(socket(AF_NETLINK, SOCK_SEQPACKET, 99), ESOCKTNOSUPPORT);
	ERR(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(-1, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(AF_UNIX, 11, 0), EINVAL);
	for (int v6 = 0; v6 < 2; v6++) {
		int af = v6 ? AF_INET6 : AF_INET;
		ERR(socket(af, SOCK_RAW, 0), EPROTONOSUPPORT);
		ERR(socket(af, SOCK_RAW, -1), EINVAL);
		ERR(socket(af, SOCK_RAW, 5000), EINVAL);
		ERR(socket(af, SOCK_DGRAM, 5000), EINVAL);
		ERR(socket(af, SOCK_STREAM, -1), EINVAL);
		ERR(socket(af, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
		ERR(socket(af, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
		ERR(socket(af, SOCK_RDM, 0), ESOCKTNOSUPPORT);
		ERR(socket(af, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
	}
	// There, or switched off: never anything else.
	static const int families[] = {NETLINK_USERSOCK, NETLINK_NFLOG, NETLINK_XFRM, NETLINK_SELINUX, NETLINK_AUDIT, NETLINK_FIB_LOOKUP,
				       NETLINK_CONNECTOR, NETLINK_NETFILTER, NETLINK_GENERIC, NETLINK_CRYPTO};
	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
		int s = socket(AF_NETLINK, SOCK_RAW, families[i]);
		CHECK(s >= 0 || errno == EPROTONOSUPPORT);
		close(s);
	}
	int s = socket(AF_PACKET, SOCK_RAW, 0);
	CHECK(s >= 0 || errno == EAFNOSUPPORT || errno == EPERM); // EPERM: without CAP_NET_RAW
	close(s);
	if (!geteuid()) { // raw sockets are for those who may have them, before anybody asks whether they exist
		OK(setuid(1000));
		ERR(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), EPERM);
		ERR(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), EPERM);
		ERR(socket(AF_INET, SOCK_RAW, 0), EPROTONOSUPPORT);
	}
}
