// SPDX-License-Identifier: Apache-2.0
// Multicast groups, on the loopback only: who sends to a group that somebody has joined reaches all sockets of the namespace that are bound to
// the port and take it; nothing goes to the host. Locks: inet_lock (inet.c) guards memberships.
#include "kernel/net/inet.h"
#include "kernel/net/netdev.h"
#include "kernel/net/netns.h"

#define GROUPS_MOST 20u // net.ipv4.igmp_max_memberships

struct inet_groups {
	u32 n;
	u8 ip[GROUPS_MOST][16];
};

// Does lo have this number, or IPv4 address? 0: any interface, which is lo.
static bool is_lo(const struct net_ns *net, int index, u32 addr)
{
	u8 ip[16] = { [10] = 0xff, [11] = 0xff };

	if (index || !addr)
		return !index || index == 1;
	memcpy(ip + 12, &addr, 4);
	return net_local(net, ip);
}

static int change(struct inet_sock *i, const u8 *ip, bool join)
{
	struct inet_groups *g = NULL;
	int r = 0;

	if (!i->groups && join) {
		g = knew(struct inet_groups);
		if (!g)
			return -ENOMEM;
	}
	inet_table_lock();
	if (!i->groups && g) {
		i->groups = g;
		g = NULL;
	}
	u32 k = 0, n = i->groups ? i->groups->n : 0;
	while (k < n && memcmp(i->groups->ip[k], ip, 16))
		k++;
	if (join && k < n)
		r = -EADDRINUSE;
	else if (join && n == GROUPS_MOST)
		r = -ENOBUFS;
	else if (!join && k == n)
		r = -EADDRNOTAVAIL;
	else if (join)
		memcpy(i->groups->ip[i->groups->n++], ip, 16);
	else
		memcpy(i->groups->ip[k], i->groups->ip[--i->groups->n], 16);
	inet_table_unlock();
	kfree(g);
	return r;
}

static int join_or_leave(struct inet_sock *i, const u8 *ip, int index, u32 addr, bool join)
{
	if (!ip_is_multicast(ip))
		return -EINVAL;
	if (!is_lo(i->s.net, index, addr))
		return -ENODEV;
	return change(i, ip, join);
}

static void as_v6(u8 ip[16], const void *v4)
{
	memset(ip, 0, 10);
	ip[10] = ip[11] = 0xff;
	memcpy(ip + 12, v4, 4);
}

static int by_mreq(struct inet_sock *i, const void *val, u32 len, bool join)
{
	struct ip_mreqn m = { .imr_ifindex = 0 };
	u8 ip[16];

	if (len < sizeof(struct ip_mreq))
		return -EINVAL;
	memcpy(&m, val, min((size_t)len, sizeof(m)));
	if (len < sizeof(m))
		m.imr_ifindex = 0;
	as_v6(ip, &m.imr_multiaddr);
	return join_or_leave(i, ip, m.imr_ifindex, m.imr_address.s_addr, join);
}

static int by_mreq6(struct inet_sock *i, const void *val, u32 len, bool join)
{
	struct ipv6_mreq m;

	if (len < sizeof(m))
		return -EINVAL;
	memcpy(&m, val, sizeof(m));
	return ip_is_v4((u8 *)&m.ipv6mr_multiaddr) ? -EINVAL : join_or_leave(i, (u8 *)&m.ipv6mr_multiaddr, m.ipv6mr_ifindex, 0, join);
}

static int by_group(struct inet_sock *i, int level, const void *val, u32 len, bool join)
{
	struct group_req g;
	struct sockaddr_in a4;
	struct sockaddr_in6 a6;
	u8 ip[16];

	if (len < sizeof(g))
		return -EINVAL;
	memcpy(&g, val, sizeof(g));
	memcpy(&a4, &g.gr_group, sizeof(a4));
	memcpy(&a6, &g.gr_group, sizeof(a6));
	if (a4.sin_family != (level == IPPROTO_IP ? AF_INET : AF_INET6))
		return level == IPPROTO_IP ? -EINVAL : -EADDRNOTAVAIL;
	if (level == IPPROTO_IP)
		as_v6(ip, &a4.sin_addr);
	else
		memcpy(ip, &a6.sin6_addr, sizeof(ip));
	return join_or_leave(i, ip, (int)g.gr_interface, 0, join);
}

static int set_interface(struct inet_sock *i, const void *val, u32 len)
{
	struct ip_mreqn m = { .imr_ifindex = 0 };

	if (len < sizeof(struct in_addr))
		return -EINVAL;
	if (len >= sizeof(struct ip_mreq))
		memcpy(&m, val, min((size_t)len, sizeof(m)));
	else
		memcpy(&m.imr_address, val, sizeof(m.imr_address));
	if (len < sizeof(m))
		m.imr_ifindex = 0;
	if (!is_lo(i->s.net, m.imr_ifindex, m.imr_address.s_addr))
		return -EADDRNOTAVAIL;
	i->group_if = m.imr_ifindex || m.imr_address.s_addr;
	i->group_addr = m.imr_address.s_addr;
	return 0;
}

int mcast_setopt(struct inet_sock *i, int level, int opt, const void *val, u32 len)
{
	bool six = level == IPPROTO_IPV6;

	if (!six && opt == IP_MULTICAST_IF)
		return set_interface(i, val, len);
	if (i->s.type != SOCK_DGRAM)
		return -EPROTO;
	if (opt == MCAST_JOIN_GROUP || opt == MCAST_LEAVE_GROUP)
		return by_group(i, level, val, len, opt == MCAST_JOIN_GROUP);
	return six ? by_mreq6(i, val, len, opt == IPV6_ADD_MEMBERSHIP) : by_mreq(i, val, len, opt == IP_ADD_MEMBERSHIP);
}

// inet_lock held.
bool mcast_member(const struct inet_sock *i, const u8 *ip)
{
	for (u32 k = 0; i->groups && k < i->groups->n; k++)
		if (!memcmp(i->groups->ip[k], ip, 16))
			return true;
	return false;
}

static int joined(struct inet_sock *i, void *ip) { return mcast_member(i, ip); }

bool mcast_joined(const struct net_ns *net, const u8 *ip)
{
	u8 group[16];

	memcpy(group, ip, sizeof(group));
	return inet_for_each(net, joined, group);
}

// A group is reached if somebody has joined it, or if the sender has named lo.
bool mcast_reached(const struct inet_sock *i, const u8 *ip)
{
	static const u8 lo[16] = { [15] = 1 };

	return net_local(i->s.net, lo) && (i->group_if || mcast_joined(i->s.net, ip));
}
