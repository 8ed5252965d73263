// SPDX-License-Identifier: Apache-2.0
// Multicast groups, on the loopback only: who sends to a group that somebody has joined reaches all sockets of the namespace that are bound to
// the port and take it; nothing goes to the host. Locks: inet_lock (inet.c) guards memberships.
#include "kernel/net/inet.h"
#include "kernel/net/netdev.h"
#include "kernel/net/netns.h"

#define GROUPS_MOST 20u  // net.ipv4.igmp_max_memberships
#define SOURCES_MOST 10u // net.ipv4.igmp_max_msf

struct group {
	u8 ip[16];
	bool only;	// from the sources named and no others (RFC 4607); else from all but those
	u32 nsources;
	u8 source[SOURCES_MOST][16];
};
struct inet_groups {
	u32 n;
	struct group g[GROUPS_MOST];
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

// Joins a group, or leaves it; inet_lock held.
static int change(struct inet_groups *g, const u8 *ip, bool join)
{
	u32 k = 0;
	while (k < g->n && memcmp(g->g[k].ip, ip, 16))
		k++;
	if (join) {
		if (k < g->n)
			return -EADDRINUSE;
		if (k == GROUPS_MOST)
			return -ENOBUFS;
		memset(&g->g[k], 0, sizeof(g->g[k]));
		memcpy(g->g[k].ip, ip, 16);
		g->n++;
		return 0;
	}
	if (k == g->n)
		return -EADDRNOTAVAIL;
	g->g[k] = g->g[--g->n];
	return 0;
}

// One source more or less of a group; inet_lock held. only: of those that are wanted, else of those that are not.
static int change_source(struct inet_groups *g, const u8 *ip, const u8 *source, bool only, bool add)
{
	struct group *m = NULL;
	u32 k = 0;
	for (u32 n = 0; n < g->n && !m; n++)
		m = memcmp(g->g[n].ip, ip, 16) ? NULL : &g->g[n];
	if (!m) {
		if (!only)
			return -EINVAL;
		if (!add)
			return -EADDRNOTAVAIL;
		int r = change(g, ip, true);
		if (r)
			return r;
		m = &g->g[g->n - 1];
		m->only = true;
	}
	if (m->only != only) {
		if (m->nsources)
			return -EINVAL;
		m->only = only; // an empty list may change its meaning
	}
	while (k < m->nsources && memcmp(m->source[k], source, 16))
		k++;
	if (!add) {
		if (k == m->nsources)
			return -EADDRNOTAVAIL;
		memcpy(m->source[k], m->source[--m->nsources], 16);
		return only && !m->nsources ? change(g, ip, false) : 0;
	}
	if (k < m->nsources)
		return -EADDRNOTAVAIL;
	if (k == SOURCES_MOST)
		return -ENOBUFS;
	memcpy(m->source[m->nsources++], source, 16);
	return 0;
}

// What is asked of a group. SOURCE: of one source of it; ONLY: of the list of sources that are wanted.
enum { ADD = 1, SOURCE = 2, ONLY = 4 };

static int ask(struct inet_sock *i, const u8 *ip, const u8 *source, int index, u32 addr, u32 what)
{
	struct inet_groups *fresh = NULL;
	int r;

	if (!ip_is_multicast(ip))
		return -EINVAL;
	if (!is_lo(i->s.net, index, addr))
		return -ENODEV;
	if (!i->groups && !(fresh = knew(struct inet_groups)))
		return -ENOMEM;
	inet_table_lock();
	if (!i->groups) {
		i->groups = fresh;
		fresh = NULL;
	}
	r = what & SOURCE ? change_source(i->groups, ip, source, what & ONLY, what & ADD) : change(i->groups, ip, what & ADD);
	inet_table_unlock();
	kfree(fresh);
	return r;
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
	return ask(i, ip, NULL, m.imr_ifindex, m.imr_address.s_addr, join);
}

static int by_mreq6(struct inet_sock *i, const void *val, u32 len, bool join)
{
	struct ipv6_mreq m;

	if (len < sizeof(m))
		return -EINVAL;
	memcpy(&m, val, sizeof(m));
	if (i->s.type != SOCK_DGRAM)
		return -EPROTO;
	return ip_is_v4((u8 *)&m.ipv6mr_multiaddr) ? -EINVAL : ask(i, (u8 *)&m.ipv6mr_multiaddr, NULL, m.ipv6mr_ifindex, 0, join);
}

static int by_source(struct inet_sock *i, const void *val, u32 len, u32 what)
{
	struct ip_mreq_source m;
	u8 ip[16], source[16];

	if (len != sizeof(m))
		return -EINVAL;
	memcpy(&m, val, sizeof(m));
	as_v6(ip, &m.imr_multiaddr);
	as_v6(source, &m.imr_sourceaddr);
	return ask(i, ip, source, 0, m.imr_interface, what);
}

// An address in a sockaddr of the level's family.
static int take_address(int level, const void *sockaddr, u8 ip[16])
{
	struct sockaddr_in a4;
	struct sockaddr_in6 a6;

	memcpy(&a4, sockaddr, sizeof(a4));
	memcpy(&a6, sockaddr, sizeof(a6));
	if (a4.sin_family != (level == IPPROTO_IP ? AF_INET : AF_INET6))
		return level == IPPROTO_IP ? -EINVAL : -EADDRNOTAVAIL;
	if (level == IPPROTO_IP)
		as_v6(ip, &a4.sin_addr);
	else
		memcpy(ip, &a6.sin6_addr, 16);
	return 0;
}

static int by_group(struct inet_sock *i, int level, const void *val, u32 len, u32 what)
{
	struct group_source_req g; // begins like struct group_req
	u32 want = what & SOURCE ? sizeof(g) : sizeof(struct group_req);
	u8 ip[16], source[16] = { 0 };
	int r;

	if (len < want)
		return -EINVAL;
	memcpy(&g, val, want);
	r = take_address(level, &g.gsr_group, ip);
	if (!r && what & SOURCE)
		r = take_address(level, &g.gsr_source, source);
	if (!r && i->s.type != SOCK_DGRAM)
		r = -EPROTO;
	return r ? r : ask(i, ip, source, (int)g.gsr_interface, 0, what);
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
	switch (opt) { // the same numbers on both levels
	case MCAST_JOIN_GROUP: return by_group(i, level, val, len, ADD);
	case MCAST_LEAVE_GROUP: return by_group(i, level, val, len, 0);
	case MCAST_JOIN_SOURCE_GROUP: return by_group(i, level, val, len, SOURCE | ONLY | ADD);
	case MCAST_LEAVE_SOURCE_GROUP: return by_group(i, level, val, len, SOURCE | ONLY);
	case MCAST_BLOCK_SOURCE: return by_group(i, level, val, len, SOURCE | ADD);
	case MCAST_UNBLOCK_SOURCE: return by_group(i, level, val, len, SOURCE);
	}
	if (level == IPPROTO_IPV6)
		return by_mreq6(i, val, len, opt == IPV6_ADD_MEMBERSHIP);
	switch (opt) {
	case IP_MULTICAST_IF: return i->s.type == SOCK_DGRAM ? set_interface(i, val, len) : -EINVAL;
	case IP_ADD_MEMBERSHIP:
	case IP_DROP_MEMBERSHIP: return i->s.type == SOCK_DGRAM ? by_mreq(i, val, len, opt == IP_ADD_MEMBERSHIP) : -EPROTO;
	case IP_ADD_SOURCE_MEMBERSHIP: return by_source(i, val, len, SOURCE | ONLY | ADD);
	case IP_DROP_SOURCE_MEMBERSHIP: return by_source(i, val, len, SOURCE | ONLY);
	case IP_BLOCK_SOURCE: return by_source(i, val, len, SOURCE | ADD);
	case IP_UNBLOCK_SOURCE: return by_source(i, val, len, SOURCE);
	}
	return -ENOPROTOOPT;
}

// inet_lock held.
static const struct group *member(const struct inet_sock *i, const u8 *ip)
{
	for (u32 k = 0; i->groups && k < i->groups->n; k++)
		if (!memcmp(i->groups->g[k].ip, ip, 16))
			return &i->groups->g[k];
	return NULL;
}

bool mcast_takes(const struct inet_sock *i, const u8 *ip, const u8 *source)
{
	const struct group *g = member(i, ip);
	bool named = false;

	if (!g)
		return inet_opt(i, ip_is_v4(ip) ? IPPROTO_IP : IPPROTO_IPV6, ip_is_v4(ip) ? IP_MULTICAST_ALL : IPV6_MULTICAST_ALL);
	for (u32 k = 0; k < g->nsources && !named; k++)
		named = !memcmp(g->source[k], source, 16);
	return named == g->only;
}

static int joined(struct inet_sock *i, void *ip) { return member(i, ip) != NULL; }

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

	return net_local(i->s.net, lo) && (i->group_if || inet_opt(i, IPPROTO_IPV6, IPV6_MULTICAST_IF) == 1 || mcast_joined(i->s.net, ip));
}
