// SPDX-License-Identifier: Apache-2.0
// Network namespaces: a loopback of one's own, down at first; ports, abstract names and lists apart.
#include "t.h"
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static void apart(void)
{
	if (unshare(CLONE_NEWNET))
		SKIP("not permitted");
}

static struct sockaddr_in at(int port) { return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}; }

static short lo_flags(void)
{
	struct ifreq r = {.ifr_name = "lo"};
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(ioctl(s, SIOCGIFFLAGS, &r));
	close(s);
	return r.ifr_flags;
}

static void lo_set(bool up)
{
	struct ifreq r = {.ifr_name = "lo"};
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(ioctl(s, SIOCGIFFLAGS, &r));
	r.ifr_flags = (short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
	OK(ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

TEST(lo_is_down_at_first)
{
	apart();
	struct sockaddr_in a = at(1234);
	CHECK(!(lo_flags() & IFF_UP));
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), u = OK(socket(AF_INET, SOCK_DGRAM, 0));
	ERR(connect(s, (void *)&a, sizeof(a)), ENETUNREACH);
	ERR(connect(u, (void *)&a, sizeof(a)), ENETUNREACH);
	ERR(sendto(u, "x", 1, 0, (void *)&a, sizeof(a)), ENETUNREACH);
	a.sin_addr.s_addr = inet_addr("192.0.2.1");
	ERR(connect(s, (void *)&a, sizeof(a)), ENETUNREACH);
	struct ifreq r = {.ifr_name = "lo"};
	ERR(ioctl(u, SIOCGIFADDR, &r), EADDRNOTAVAIL);
	strcpy(r.ifr_name, "eth0");
	ERR(ioctl(u, SIOCGIFFLAGS, &r), ENODEV);
	struct if_nameindex *n = if_nameindex();
	CHECK(n && n[0].if_index == 1 && !strcmp(n[0].if_name, "lo"));
	if_freenameindex(n);
	lo_set(true);
	CHECK(lo_flags() & IFF_UP);
	OK(ioctl(u, SIOCGIFADDR, &(struct ifreq){.ifr_name = "lo"}));
	a = at(1234);
	ERR(connect(s, (void *)&a, sizeof(a)), ECONNREFUSED);
	a.sin_addr.s_addr = inet_addr("192.0.2.1");
	int t = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect(t, (void *)&a, sizeof(a)), ENETUNREACH);
	ERR(sendto(u, "x", 1, 0, (void *)&a, sizeof(a)), ENETUNREACH);
	lo_set(false);
	CHECK(!(lo_flags() & IFF_UP));
}

TEST(ports_are_apart)
{
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = at(0);
	socklen_t n = sizeof(a);
	OK(bind(l, (void *)&a, sizeof(a)));
	OK(listen(l, 5));
	OK(getsockname(l, (void *)&a, &n));
	apart();
	lo_set(true);
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect(s, (void *)&a, sizeof(a)), ECONNREFUSED);
	int m = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(m, (void *)&a, sizeof(a))); // the same port again
	OK(listen(m, 5));
	s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(s, (void *)&a, sizeof(a)));
	int c = OK(accept(m, NULL, NULL));
	CHECK(write(s, "hello", 5) == 5);
	char buf[8];
	EQ(read(c, buf, 8), 5);
	int fl = fcntl(l, F_GETFL);
	fcntl(l, F_SETFL, fl | O_NONBLOCK);
	ERR(accept(l, NULL, NULL), EAGAIN);
	// UDP and IPv6
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = a.sin_port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int u = OK(socket(AF_INET6, SOCK_DGRAM, 0)), v = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(bind(u, (void *)&a6, sizeof(a6)));
	EQ(sendto(v, "abc", 3, 0, (void *)&a6, sizeof(a6)), 3);
	EQ(recv(u, buf, 8, 0), 3);
}

// A socket stays where it was made, whoever uses it.
TEST(sockets_stay)
{
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), s = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = at(0);
	socklen_t n = sizeof(a);
	OK(bind(l, (void *)&a, sizeof(a)));
	OK(listen(l, 5));
	OK(getsockname(l, (void *)&a, &n));
	apart();
	OK(connect(s, (void *)&a, sizeof(a)));
	int c = OK(accept(l, NULL, NULL));
	CHECK(write(s, "x", 1) == 1);
	char b;
	EQ(read(c, &b, 1), 1);
}

TEST(names_are_apart)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path + 1, 30, "netns.%d", getpid());
	socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a.sun_path + 1));
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(l, (void *)&a, n));
	OK(listen(l, 5));
	CHECK(strstr(t_get("/proc/self/net/unix"), a.sun_path + 1));
	apart();
	CHECK(!strstr(t_get("/proc/self/net/unix"), a.sun_path + 1));
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect(s, (void *)&a, n), ECONNREFUSED);
	int m = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(m, (void *)&a, n));
	OK(listen(m, 5));
	OK(connect(s, (void *)&a, n));
}

TEST_DIR(paths_are_not_apart)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "sock"};
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(l, (void *)&a, sizeof(a)));
	OK(listen(l, 5));
	apart();
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(connect(s, (void *)&a, sizeof(a)));
	OK(accept(l, NULL, NULL));
}

TEST(entered_again)
{
	char first[64], second[64], now[64];
	int here = OK(open("/proc/self/ns/net", O_RDONLY)), e;
	memset(first, 0, sizeof(first));
	memset(second, 0, sizeof(second));
	memset(now, 0, sizeof(now));
	OK(readlink("/proc/self/ns/net", first, 63));
	apart();
	OK(readlink("/proc/self/ns/net", second, 63));
	CHECK(strcmp(first, second));
	lo_set(true);
	int there = OK(open("/proc/self/ns/net", O_RDONLY));
	OK(setns(here, CLONE_NEWNET));
	OK(readlink("/proc/self/ns/net", now, 63));
	STREQ(now, first);
	pid_t p = OK(fork());
	if (!p) {
		OK(setns(there, 0));
		CHECK(lo_flags() & IFF_UP); // it was kept
		OK(readlink("/proc/self/ns/net", now, 63));
		STREQ(now, second);
		_exit(0);
	}
	EQ(t_wait(p), 0);
	ERR(setns(there, CLONE_NEWUTS), EINVAL);
	(void)e;
}

static int request(int s, void *msg, size_t len)
{
	char buf[8192];
	struct nlmsghdr *h = msg;
	h->nlmsg_len = (uint32_t)len;
	h->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	CHECK(send(s, msg, len, 0) == (ssize_t)len);
	ssize_t n = recv(s, buf, sizeof(buf), 0);
	CHECK(n > 0);
	h = (void *)buf;
	EQ(h->nlmsg_type, NLMSG_ERROR);
	return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
}

// As bubblewrap sets up lo.
TEST(by_netlink)
{
	apart();
	int s = OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	struct {
		struct nlmsghdr h;
		struct ifaddrmsg m;
		struct rtattr a1;
		uint32_t ip1;
		struct rtattr a2;
		uint32_t ip2;
	} addr = {.h = {.nlmsg_type = RTM_NEWADDR, .nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL},
		  .m = {.ifa_family = AF_INET, .ifa_prefixlen = 8, .ifa_flags = IFA_F_PERMANENT, .ifa_scope = RT_SCOPE_HOST, .ifa_index = 1},
		  .a1 = {8, IFA_LOCAL}, .ip1 = htonl(INADDR_LOOPBACK), .a2 = {8, IFA_ADDRESS}, .ip2 = htonl(INADDR_LOOPBACK)};
	EQ(request(s, &addr, sizeof(addr)), 0);
	EQ(request(s, &addr, sizeof(addr)), EEXIST);
	struct {
		struct nlmsghdr h;
		struct ifinfomsg m;
	} link = {.h = {.nlmsg_type = RTM_NEWLINK}, .m = {.ifi_family = AF_UNSPEC, .ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP}};
	EQ(request(s, &link, sizeof(link)), 0);
	CHECK(lo_flags() & IFF_UP);
	link.m.ifi_index = 77;
	EQ(request(s, &link, sizeof(link)), ENODEV);
	struct sockaddr_in a = at(0);
	int u = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(u, (void *)&a, sizeof(a)));
	CHECK(strstr(t_get("/proc/self/net/udp"), "0100007F:"));
	CHECK(strstr(t_get("/proc/self/net/dev"), "lo:"));
}

TEST(without_privilege)
{
	if (getuid())
		SKIP("not root");
	pid_t p = OK(fork());
	if (!p) {
		apart();
		OK(setresuid(1234, 1234, 1234));
		struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
		int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
		ERR(ioctl(s, SIOCSIFFLAGS, &r), EPERM);
		ERR(unshare(CLONE_NEWNET), EPERM);
		_exit(0);
	}
	int r = t_wait(p);
	if (r == T_SKIPPED)
		SKIP("not permitted");
	EQ(r, 0);
}

static int child(void *arg)
{
	char me[64] = "";
	if (readlink("/proc/self/ns/net", me, 63) < 0)
		return 2;
	return !strcmp(me, arg);
}

TEST(clone_makes_one)
{
	char mine[64] = "", stack[65536];
	OK(readlink("/proc/self/ns/net", mine, 63));
	pid_t p = clone(child, stack + sizeof(stack), CLONE_NEWNET | SIGCHLD, mine);
	if (p < 0 && errno == EPERM)
		SKIP("not permitted");
	EQ(t_wait(OK(p)), 0);
}
