// SPDX-License-Identifier: Apache-2.0
// Multicast groups on a loopback, in a network namespace of the test's own: joining, leaving, who receives.
#include "t.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define GROUP "239.1.2.3"
#define OTHER "239.1.2.4"
#define PORT 5007

static void apart(void)
{
	if (unshare(CLONE_NEWNET))
		SKIP("not permitted");
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK};
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

static struct sockaddr_in at(const char *ip) { return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = inet_addr(ip)}; }

static int join(int s, const char *group, const char *dev, int op)
{
	struct ip_mreq m = {.imr_multiaddr.s_addr = inet_addr(group), .imr_interface.s_addr = inet_addr(dev)};
	return setsockopt(s, IPPROTO_IP, op, &m, sizeof(m));
}

static int receiver(const char *ip)
{
	int s = OK(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
	struct sockaddr_in a = at(ip);
	OK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
	OK(bind(s, (void *)&a, sizeof(a)));
	return s;
}

static int sender(void)
{
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct in_addr lo = {htonl(INADDR_LOOPBACK)}, got = {0};
	socklen_t n = sizeof(got);
	OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &got, &n));
	EQ(got.s_addr, 0);
	OK(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof(lo)));
	OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &got, &n));
	EQ(got.s_addr, lo.s_addr);
	return s;
}

static void say(int s, const char *group, const char *text)
{
	struct sockaddr_in a = at(group);
	EQ(sendto(s, text, strlen(text), 0, (void *)&a, sizeof(a)), strlen(text));
}

static void hears(int s, const char *text)
{
	char buf[64] = "";
	struct sockaddr_in from;
	socklen_t n = sizeof(from);
	for (int i = 0; i < 500 && recvfrom(s, buf, sizeof(buf) - 1, 0, (void *)&from, &n) < 0; i++)
		t_sleep_ms(10);
	STREQ(buf, text);
	EQ(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

static void deaf(int s)
{
	char b;
	ERR(recv(s, &b, 1, 0), EAGAIN);
}

TEST(members_receive)
{
	apart();
	int a = receiver("0.0.0.0"), b = receiver(GROUP), c = receiver(OTHER), s = sender();
	say(s, GROUP, "nobody");
	OK(join(a, GROUP, "127.0.0.1", IP_ADD_MEMBERSHIP));
	OK(join(b, GROUP, "127.0.0.1", IP_ADD_MEMBERSHIP));
	OK(join(c, OTHER, "127.0.0.1", IP_ADD_MEMBERSHIP));
	say(s, GROUP, "hello");
	hears(a, "hello");
	hears(b, "hello");
	deaf(a);
	deaf(b);
	deaf(c);
	say(s, OTHER, "you"); // a is bound to all addresses and takes what any member brings in
	hears(c, "you");
	hears(a, "you");
	deaf(b);
	OK(setsockopt(a, IPPROTO_IP, IP_MULTICAST_ALL, &(int){0}, sizeof(int)));
	say(s, OTHER, "two");
	hears(c, "two");
	deaf(a);
	OK(join(a, GROUP, "127.0.0.1", IP_DROP_MEMBERSHIP));
	say(s, GROUP, "left");
	hears(b, "left");
	deaf(a);
	close(b);
	say(s, GROUP, "gone");
	deaf(a);
}

TEST(joining_is_checked)
{
	apart();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), t = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(join(s, "10.1.2.3", "127.0.0.1", IP_ADD_MEMBERSHIP), EINVAL);
	ERR(join(s, GROUP, "10.9.9.9", IP_ADD_MEMBERSHIP), ENODEV);
	ERR(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, "abc", 4), EINVAL);
	ERR(join(s, GROUP, "127.0.0.1", IP_DROP_MEMBERSHIP), EADDRNOTAVAIL);
	OK(join(s, GROUP, "127.0.0.1", IP_ADD_MEMBERSHIP));
	ERR(join(s, GROUP, "127.0.0.1", IP_ADD_MEMBERSHIP), EADDRINUSE);
	OK(join(s, GROUP, "127.0.0.1", IP_DROP_MEMBERSHIP));
	ERR(join(t, GROUP, "127.0.0.1", IP_ADD_MEMBERSHIP), EPROTO);
	struct ip_mreqn n = {.imr_multiaddr.s_addr = inet_addr(GROUP), .imr_ifindex = 1};
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &n, sizeof(n)));
	n.imr_ifindex = 77;
	n.imr_multiaddr.s_addr = inet_addr(OTHER);
	ERR(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &n, sizeof(n)), ENODEV);
	struct group_req g = {.gr_interface = 1};
	struct sockaddr_in a = at(OTHER);
	memcpy(&g.gr_group, &a, sizeof(a));
	OK(setsockopt(s, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof(g)));
	OK(setsockopt(s, IPPROTO_IP, MCAST_LEAVE_GROUP, &g, sizeof(g)));
	ERR(setsockopt(s, IPPROTO_IP, MCAST_LEAVE_GROUP, &g, sizeof(g)), EADDRNOTAVAIL);
	char ip[20];
	int i;
	for (i = 0; i < 40; i++) {
		snprintf(ip, sizeof(ip), "239.9.9.%d", i + 1);
		if (join(s, ip, "127.0.0.1", IP_ADD_MEMBERSHIP))
			break;
	}
	EQ(errno, ENOBUFS);
	EQ(i, 19); // 20, with the one from before
	struct in_addr no = {inet_addr("10.9.9.9")};
	ERR(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &no, sizeof(no)), EADDRNOTAVAIL);
}

TEST(unreachable_without_a_way)
{
	apart();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = at(GROUP);
	ERR(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)), ENETUNREACH);
}

TEST(connected_sender)
{
	apart();
	int r = receiver("0.0.0.0"), s = sender();
	OK(join(r, GROUP, "127.0.0.1", IP_ADD_MEMBERSHIP));
	struct sockaddr_in a = at(GROUP);
	OK(connect(s, (void *)&a, sizeof(a)));
	CHECK(send(s, "hi", 2, 0) == 2);
	hears(r, "hi");
}

TEST(of_version_six)
{
	apart();
	int r = OK(socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0));
	struct ipv6_mreq m = {.ipv6mr_interface = 1};
	EQ(inet_pton(AF_INET6, "ff15::1234", &m.ipv6mr_multiaddr), 1);
	OK(setsockopt(r, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)));
	ERR(setsockopt(r, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)), EADDRINUSE);
	OK(setsockopt(r, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m, sizeof(m)));
	ERR(setsockopt(r, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m, sizeof(m)), EADDRNOTAVAIL);
	m.ipv6mr_interface = 77;
	ERR(setsockopt(r, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)), ENODEV);
	EQ(inet_pton(AF_INET6, "::1", &m.ipv6mr_multiaddr), 1);
	ERR(setsockopt(r, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)), EINVAL);
}

// On Linux this takes a route that a new namespace has not.
TEST(delivered_of_version_six)
{
	if (access("/proc/coffer/objects", R_OK))
		SKIP("only inside an enclave");
	int r = OK(socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0)), s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	struct ipv6_mreq m = {.ipv6mr_interface = 1};
	OK(bind(r, (void *)&a, sizeof(a)));
	EQ(inet_pton(AF_INET6, "ff15::1234", &m.ipv6mr_multiaddr), 1);
	OK(setsockopt(r, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)));
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, &(int){1}, sizeof(int)));
	a.sin6_addr = m.ipv6mr_multiaddr;
	EQ(sendto(s, "six", 3, 0, (void *)&a, sizeof(a)), 3);
	char buf[8] = "";
	for (int i = 0; i < 500 && recv(r, buf, 7, 0) < 0; i++)
		t_sleep_ms(10);
	STREQ(buf, "six");
}

static int from_source(int s, const char *group, const char *source, int op)
{
	struct ip_mreq_source m = {.imr_multiaddr.s_addr = inet_addr(group), .imr_interface.s_addr = inet_addr("127.0.0.1"),
				   .imr_sourceaddr.s_addr = inet_addr(source)};
	return setsockopt(s, IPPROTO_IP, op, &m, sizeof(m));
}

static void hears_any(int s, const char *text)
{
	char buf[64] = "";
	for (int i = 0; i < 500 && recv(s, buf, sizeof(buf) - 1, 0) < 0; i++)
		t_sleep_ms(10);
	STREQ(buf, text);
}

TEST(sources_of_a_group)
{
	apart();
	int r = receiver(GROUP), one = sender(), two = sender();
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr("127.0.0.2")};
	OK(bind(two, (void *)&a, sizeof(a)));
	OK(from_source(r, GROUP, "127.0.0.2", IP_ADD_SOURCE_MEMBERSHIP));
	ERR(from_source(r, GROUP, "127.0.0.2", IP_ADD_SOURCE_MEMBERSHIP), EADDRNOTAVAIL);
	ERR(from_source(r, GROUP, "127.0.0.1", IP_BLOCK_SOURCE), EINVAL); // the list says who is wanted
	say(one, GROUP, "unwanted");
	say(two, GROUP, "wanted");
	hears_any(r, "wanted");
	deaf(r);
	OK(from_source(r, GROUP, "127.0.0.1", IP_ADD_SOURCE_MEMBERSHIP));
	say(one, GROUP, "now");
	hears_any(r, "now");
	OK(from_source(r, GROUP, "127.0.0.1", IP_DROP_SOURCE_MEMBERSHIP));
	ERR(from_source(r, GROUP, "127.0.0.1", IP_DROP_SOURCE_MEMBERSHIP), EADDRNOTAVAIL);
	OK(from_source(r, GROUP, "127.0.0.2", IP_DROP_SOURCE_MEMBERSHIP)); // the last one: left
	ERR(join(r, GROUP, "127.0.0.1", IP_DROP_MEMBERSHIP), EADDRNOTAVAIL);
	ERR(from_source(r, GROUP, "127.0.0.1", IP_BLOCK_SOURCE), EINVAL);
	OK(join(r, GROUP, "127.0.0.1", IP_ADD_MEMBERSHIP));
	OK(from_source(r, GROUP, "127.0.0.1", IP_BLOCK_SOURCE));
	ERR(from_source(r, GROUP, "127.0.0.2", IP_ADD_SOURCE_MEMBERSHIP), EINVAL);
	say(one, GROUP, "blocked");
	say(two, GROUP, "open");
	hears_any(r, "open");
	deaf(r);
	OK(from_source(r, GROUP, "127.0.0.1", IP_UNBLOCK_SOURCE));
	ERR(from_source(r, GROUP, "127.0.0.1", IP_UNBLOCK_SOURCE), EADDRNOTAVAIL);
	say(one, GROUP, "again");
	hears_any(r, "again");
	OK(join(r, GROUP, "127.0.0.1", IP_DROP_MEMBERSHIP));
	struct group_source_req g = {.gsr_interface = 1};
	struct sockaddr_in group = at(GROUP);
	memcpy(&g.gsr_group, &group, sizeof(group));
	memcpy(&g.gsr_source, &a, sizeof(a));
	OK(setsockopt(r, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &g, sizeof(g)));
	say(one, GROUP, "unwanted");
	say(two, GROUP, "wanted");
	hears_any(r, "wanted");
	deaf(r);
	OK(setsockopt(r, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &g, sizeof(g)));
	ERR(setsockopt(r, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &g, 8), EINVAL);
}
