// SPDX-License-Identifier: Apache-2.0
// Netlink, as far as it answers questions: links, addresses, routes (rtnetlink(7)), sockets (sockdiag.c). glibc's getifaddrs and
// getaddrinfo ask so. Only lo of a network namespace can be changed; no device ever comes or goes, so an uevent socket stays
// silent. Locks: the socket's lock, inside packet.c.
#include "kernel/net/families.h"
#include "kernel/net/netdev.h"
#include "kernel/net/netlink.h"
#include "kernel/net/netns.h"
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

#define MAX_REQUEST 8192u

static u32 next_port = 0x80000000u;

static void *put(struct nl_reply *r, const void *v, u32 n)
{
	u32 room = ALIGN_UP(n, 4u);
	if (r->len + room > NL_REPLY_MAX)
		return NULL;
	void *at = r->data + r->len;
	memset(at, 0, room);
	memcpy(at, v, n);
	r->len += room;
	return at;
}

void nl_begin(struct nl_reply *r, const struct nlmsghdr *q, u16 type, u16 flags, u32 port)
{
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = q->nlmsg_seq, .nlmsg_pid = port };
	r->msg = r->len;
	put(r, &h, sizeof(h));
}

void nl_body(struct nl_reply *r, const void *v, u32 n) { put(r, v, n); }

void nl_attr(struct nl_reply *r, u16 type, const void *v, u32 n)
{
	struct rtattr a = { .rta_len = (u16)(sizeof(a) + n), .rta_type = type };
	put(r, &a, sizeof(a));
	put(r, v, n);
}

void nl_end(struct nl_reply *r)
{
	u32 len = r->len - r->msg;
	memcpy(r->data + r->msg, &len, sizeof(len));
}

static void put_link(struct nl_reply *r, const struct nlmsghdr *q, u16 flags, u32 port, const struct netdev *d)
{
	static const u8 no_addr[6];
	u32 txq = 1000, group = 0;
	u8 oper = 0; // unknown, as lo has it
	struct ifinfomsg m = { .ifi_type = (u16)d->hwtype, .ifi_index = d->index, .ifi_flags = d->flags | 0x10000 };
	nl_begin(r, q, RTM_NEWLINK, flags, port);
	put(r, &m, sizeof(m));
	nl_attr(r, IFLA_IFNAME, d->name, (u32)strlen(d->name) + 1);
	nl_attr(r, IFLA_TXQLEN, &txq, sizeof(txq));
	nl_attr(r, IFLA_OPERSTATE, &oper, sizeof(oper));
	nl_attr(r, IFLA_LINKMODE, &oper, sizeof(oper));
	nl_attr(r, IFLA_MTU, &d->mtu, sizeof(d->mtu));
	nl_attr(r, IFLA_GROUP, &group, sizeof(group));
	nl_attr(r, IFLA_QDISC, "noqueue", sizeof("noqueue"));
	if (d->index == 1) {
		nl_attr(r, IFLA_ADDRESS, no_addr, sizeof(no_addr));
		nl_attr(r, IFLA_BROADCAST, no_addr, sizeof(no_addr));
	}
	nl_end(r);
}

static void put_lifetime(struct nl_reply *r)
{
	struct ifa_cacheinfo c = { .ifa_prefered = U32_MAX, .ifa_valid = U32_MAX };
	u32 flags = IFA_F_PERMANENT;
	nl_attr(r, IFA_FLAGS, &flags, sizeof(flags));
	nl_attr(r, IFA_CACHEINFO, &c, sizeof(c));
}

static void put_addrs(struct nl_reply *r, const struct nlmsghdr *q, const struct netlink_sock *n, const struct netdev *d, u8 family)
{
	if ((family == AF_UNSPEC || family == AF_INET) && netdev_has_lo4(n->s.net)) {
		struct ifaddrmsg m = { AF_INET, (u8)d->prefix4, IFA_F_PERMANENT, d->index == 1 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE, (u32)d->index };
		nl_begin(r, q, RTM_NEWADDR, NLM_F_MULTI, n->port);
		put(r, &m, sizeof(m));
		nl_attr(r, IFA_ADDRESS, d->ip4, 4);
		nl_attr(r, IFA_LOCAL, d->ip4, 4);
		nl_attr(r, IFA_LABEL, d->name, (u32)strlen(d->name) + 1);
		put_lifetime(r);
		nl_end(r);
	}
	if (netdev_has_lo6(n->s.net) && (family == AF_UNSPEC || family == AF_INET6)) {
		struct ifaddrmsg m = { AF_INET6, (u8)d->prefix6, IFA_F_PERMANENT, d->index == 1 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE, (u32)d->index };
		nl_begin(r, q, RTM_NEWADDR, NLM_F_MULTI, n->port);
		put(r, &m, sizeof(m));
		nl_attr(r, IFA_ADDRESS, d->ip6, 16);
		put_lifetime(r);
		nl_end(r);
	}
}

struct route {
	u8 family, bits, table, protocol, scope, type;
	const u8 *dst, *src; // NULL: none
	u32 metric;
	const struct netdev *out;
};

static void put_one_route(struct nl_reply *r, const struct nlmsghdr *q, struct netlink_sock *n, const struct route *w)
{
	struct rtmsg m = { .rtm_family = w->family, .rtm_dst_len = w->bits, .rtm_table = w->table, .rtm_protocol = w->protocol,
			   .rtm_scope = w->scope, .rtm_type = w->type };
	u32 table = w->table, size = w->family == AF_INET6 ? 16 : 4;
	u8 pref = 0;
	if (r->len + 128 > NL_REPLY_MAX)
		(void)nl_flush(n, r, true);
	nl_begin(r, q, RTM_NEWROUTE, NLM_F_MULTI, n->port);
	put(r, &m, sizeof(m));
	nl_attr(r, RTA_TABLE, &table, sizeof(table));
	if (w->dst)
		nl_attr(r, RTA_DST, w->dst, size);
	if (w->src)
		nl_attr(r, RTA_PREFSRC, w->src, size);
	if (w->family == AF_INET6)
		nl_attr(r, RTA_PRIORITY, &w->metric, sizeof(w->metric));
	nl_attr(r, RTA_OIF, &w->out->index, sizeof(w->out->index));
	if (w->family == AF_INET6)
		nl_attr(r, RTA_PREF, &pref, sizeof(pref));
	nl_end(r);
}

// What Linux's tables would hold for these interfaces. Nothing routes by them: inet.c knows what is inside.
static void put_routes(struct nl_reply *r, const struct nlmsghdr *q, struct netlink_sock *n, u8 family)
{
	static const u8 lo4[4] = { 127, 0, 0, 0 }, lo4_end[4] = { 127, 255, 255, 255 };
	const struct netdev *d, *lo = netdev_row(n->s.net, 0), *out = netdev_row(n->s.net, 1);
	u8 net4[4], net6[16] = { 0 };
	if (out) {
		memcpy(net4, out->ip4, 4);
		net4[3] = 0;
		memcpy(net6, out->ip6, 8);
	}
	if (family == AF_UNSPEC || family == AF_INET) {
		if (out) {
			put_one_route(r, q, n, &(struct route){ AF_INET, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST, .out = out });
			put_one_route(r, q, n, &(struct route){ AF_INET, (u8)out->prefix4, RT_TABLE_MAIN, RTPROT_KERNEL, RT_SCOPE_LINK, RTN_UNICAST,
								net4, out->ip4, .out = out });
		}
		if (netdev_has_lo4(n->s.net) && (lo->flags & 1)) {
			put_one_route(r, q, n, &(struct route){ AF_INET, 8, RT_TABLE_LOCAL, RTPROT_KERNEL, RT_SCOPE_HOST, RTN_LOCAL, lo4, lo->ip4, .out = lo });
			for (u32 k = 0; (d = netdev_row(n->s.net, k)); k++)
				put_one_route(r, q, n, &(struct route){ AF_INET, 32, RT_TABLE_LOCAL, RTPROT_KERNEL, RT_SCOPE_HOST, RTN_LOCAL,
									d->ip4, d->ip4, .out = d });
			put_one_route(r, q, n, &(struct route){ AF_INET, 32, RT_TABLE_LOCAL, RTPROT_KERNEL, RT_SCOPE_LINK, RTN_BROADCAST,
								lo4_end, lo->ip4, .out = lo });
		}
	}
	if ((family == AF_UNSPEC || family == AF_INET6) && netdev_has_lo6(n->s.net) && (lo->flags & 1)) {
		if (out) {
			put_one_route(r, q, n, &(struct route){ AF_INET6, (u8)out->prefix6, RT_TABLE_MAIN, RTPROT_KERNEL, RT_SCOPE_UNIVERSE, RTN_UNICAST,
								net6, NULL, 256, out });
			put_one_route(r, q, n, &(struct route){ AF_INET6, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, NULL, NULL, 1024, out });
		}
		for (u32 k = 0; (d = netdev_row(n->s.net, k)); k++)
			put_one_route(r, q, n, &(struct route){ AF_INET6, 128, RT_TABLE_LOCAL, RTPROT_KERNEL, RT_SCOPE_UNIVERSE, RTN_LOCAL, d->ip6, NULL, 0, d });
	}
}

// The three rules that every system begins with.
static void put_rules(struct nl_reply *r, const struct nlmsghdr *q, u32 port, u8 family)
{
	static const struct {
		u32 priority, table;
	} rules[] = { { 0, RT_TABLE_LOCAL }, { 32766, RT_TABLE_MAIN }, { 32767, RT_TABLE_DEFAULT } };
	for (u32 i = 0; i < (family == AF_INET6 ? 2 : ARRAY_SIZE(rules)); i++) {
		struct fib_rule_hdr m = { .family = family == AF_INET6 ? AF_INET6 : AF_INET, .table = (u8)rules[i].table, .action = FR_ACT_TO_TBL };
		nl_begin(r, q, RTM_NEWRULE, NLM_F_MULTI, port);
		put(r, &m, sizeof(m));
		nl_attr(r, FRA_TABLE, &rules[i].table, sizeof(u32));
		if (rules[i].priority)
			nl_attr(r, FRA_PRIORITY, &rules[i].priority, sizeof(u32));
		nl_end(r);
	}
}

// "How would a packet get there?"
static int put_route_to(struct nl_reply *r, const struct nlmsghdr *q, const struct netlink_sock *s, const u8 *body, u32 len)
{
	struct rtmsg ask, m = { .rtm_type = RTN_LOCAL };
	struct rtattr a;
	u8 ip[16] = { [10] = 0xff, [11] = 0xff };
	u32 at = sizeof(ask), n, table, zero = 0;
	const struct netdev *d = netdev_row(s->s.net, 0);
	bool found = false;
	if (len < sizeof(ask))
		return -EINVAL;
	memcpy(&ask, body, sizeof(ask));
	n = ask.rtm_family == AF_INET6 ? 16 : 4;
	for (; len - at >= sizeof(a); at += min(ALIGN_UP((u32)a.rta_len, 4u), len - at)) {
		memcpy(&a, body + at, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > len - at)
			return -EINVAL;
		if (a.rta_type == RTA_DST && a.rta_len == sizeof(a) + n) {
			memcpy(ip + 16 - n, body + at + sizeof(a), n);
			if (n == 16)
				memcpy(ip, body + at + sizeof(a), 16);
			found = true;
		}
	}
	if (!found)
		return -EINVAL;
	if (!net_local(s->s.net, ip)) {
		d = netdev_row(s->s.net, 1);
		if (!d)
			return -ENETUNREACH;
		m.rtm_type = RTN_UNICAST;
	}
	m.rtm_family = ask.rtm_family == AF_INET6 ? AF_INET6 : AF_INET;
	m.rtm_dst_len = (u8)(n * 8);
	m.rtm_src_len = n == 16 ? 128 : 0;
	m.rtm_table = n == 16 && m.rtm_type == RTN_LOCAL ? RT_TABLE_LOCAL : RT_TABLE_MAIN; // of IPv4 the table is told only to who asks for it
	m.rtm_protocol = n == 16 ? RTPROT_KERNEL : RTPROT_UNSPEC;
	table = m.rtm_table;
	m.rtm_flags = n == 4 ? RTM_F_CLONED | (m.rtm_type == RTN_LOCAL ? 0x80000000u : 0) : 0; // RTCF_LOCAL
	nl_begin(r, q, RTM_NEWROUTE, 0, s->port);
	put(r, &m, sizeof(m));
	nl_attr(r, RTA_TABLE, &table, sizeof(table));
	nl_attr(r, RTA_DST, ip + 16 - n, n);
	nl_attr(r, RTA_OIF, &d->index, sizeof(d->index));
	nl_attr(r, RTA_PREFSRC, m.rtm_type == RTN_LOCAL ? ip + 16 - n : n == 16 ? d->ip6 : d->ip4, n);
	if (n == 4) {
		nl_attr(r, RTA_UID, &(u32){uid_out(cred()->euid)}, sizeof(u32));
	} else {
		static const u8 any[16];
		nl_attr(r, RTA_SRC, any, sizeof(any));
		nl_attr(r, RTA_PRIORITY, &zero, sizeof(zero));
		nl_attr(r, RTA_PREF, &zero, 1);
	}
	nl_end(r);
	return 0;
}

static void put_error(struct nl_reply *r, const struct nlmsghdr *q, u32 port, int err)
{
	struct nlmsgerr e = { .error = err, .msg = *q };
	nl_begin(r, q, NLMSG_ERROR, 0, port);
	put(r, &e, sizeof(e));
	nl_end(r);
}

static void put_done(struct nl_reply *r, const struct nlmsghdr *q, u32 port)
{
	int zero = 0;
	nl_begin(r, q, NLMSG_DONE, NLM_F_MULTI, port);
	put(r, &zero, sizeof(zero));
	nl_end(r);
}

// Sends what r holds, which is empty then. force: a dump, however long it gets.
int nl_flush(struct netlink_sock *n, struct nl_reply *r, bool force)
{
	struct iter it;
	struct sockaddr_nl from = { .nl_family = AF_NETLINK };
	struct sock_msg m = { .it = &it, .scm = NULL };
	int err = 0;
	if (!r->len)
		return 0;
	iter_kernel(&it, r->data, r->len);
	struct packet *p = packet_new(&m, &err);
	if (!p)
		return err;
	memcpy(p->addr, &from, sizeof(from));
	p->alen = sizeof(from);
	r->len = 0;
	if (packet_put(&n->s, p, force))
		return 0;
	packet_free(p);
	return -ENOBUFS;
}

// What follows a fixed part: the attribute of a type, at least n bytes long. NULL: not there.
static const u8 *attr_of(const u8 *body, u32 len, u32 at, u16 type, u32 n)
{
	struct rtattr a;

	for (; at < len && len - at >= sizeof(a); at += min(ALIGN_UP((u32)a.rta_len, 4u), len - at)) {
		memcpy(&a, body + at, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > len - at)
			return NULL;
		if (a.rta_type == type && a.rta_len - sizeof(a) >= n)
			return body + at + sizeof(a);
	}
	return NULL;
}

// Of a namespace's own: lo goes up and down, and there is no other interface to be made.
static int set_link(struct netlink_sock *n, const struct nlmsghdr *q, const u8 *body, u32 len)
{
	struct ifinfomsg m;
	const u8 *name;

	if (len < sizeof(m))
		return -EINVAL;
	memcpy(&m, body, sizeof(m));
	name = attr_of(body, len, sizeof(m), IFLA_IFNAME, 3);
	if (!m.ifi_index && name && !memcmp(name, "lo", 3))
		m.ifi_index = 1;
	if (m.ifi_index != 1)
		return q->nlmsg_flags & NLM_F_CREATE ? -EOPNOTSUPP : -ENODEV;
	if (m.ifi_change & ~1u || attr_of(body, len, sizeof(m), IFLA_MTU, 4) || attr_of(body, len, sizeof(m), IFLA_ADDRESS, 0))
		return -EOPNOTSUPP;
	return m.ifi_change & 1 || (!m.ifi_change && m.ifi_flags & 1) ? net_set_up(n->s.net, m.ifi_flags & 1) : 0;
}

static int new_address(struct netlink_sock *n, const u8 *body, u32 len)
{
	struct ifaddrmsg m;
	const u8 *ip;
	u32 size;

	if (len < sizeof(m))
		return -EINVAL;
	memcpy(&m, body, sizeof(m));
	if (m.ifa_family != AF_INET && m.ifa_family != AF_INET6)
		return -EOPNOTSUPP;
	size = m.ifa_family == AF_INET ? 4 : 16;
	ip = attr_of(body, len, sizeof(m), IFA_LOCAL, size);
	if (!ip)
		ip = attr_of(body, len, sizeof(m), IFA_ADDRESS, size);
	if (!ip)
		return -EINVAL;
	return m.ifa_index != 1 ? -ENODEV : net_add_address(n->s.net, m.ifa_family, ip, m.ifa_prefixlen);
}

// Answers one request; body: what follows its header.
static int answer(struct netlink_sock *n, const struct nlmsghdr *q, const u8 *body, u32 len)
{
	struct nl_reply *r = kzalloc(sizeof(*r));
	const struct netdev *d;
	int err = 0;
	u8 family = len ? body[0] : AF_UNSPEC;
	bool dump = (q->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	if (!r)
		return -ENOMEM;
	if (!(q->nlmsg_flags & NLM_F_REQUEST) || q->nlmsg_type < NLMSG_MIN_TYPE)
		goto out;
	if (n->s.protocol == NETLINK_KOBJECT_UEVENT) {
		put_error(r, q, n->port, -EPERM);
	} else if (n->s.protocol == NETLINK_SOCK_DIAG) {
		err = sock_diag(n, r, q, body, len);
		if (err == 0 && dump)
			put_done(r, q, n->port);
		else if (err)
			put_error(r, q, n->port, err);
		err = 0;
	} else if (dump && (q->nlmsg_type == RTM_GETLINK || q->nlmsg_type == RTM_GETADDR || q->nlmsg_type == RTM_GETROUTE ||
			    q->nlmsg_type == RTM_GETRULE || q->nlmsg_type == RTM_GETNEIGH)) {
		for (u32 k = 0; (d = netdev_row(n->s.net, k)); k++) {
			if (q->nlmsg_type == RTM_GETLINK)
				put_link(r, q, NLM_F_MULTI, n->port, d);
			else if (q->nlmsg_type == RTM_GETADDR)
				put_addrs(r, q, n, d, family);
		}
		if (q->nlmsg_type == RTM_GETROUTE)
			put_routes(r, q, n, family);
		if (q->nlmsg_type == RTM_GETRULE)
			put_rules(r, q, n->port, family);
		if ((err = nl_flush(n, r, false)))
			goto out;
		put_done(r, q, n->port);
	} else if (q->nlmsg_type == RTM_GETROUTE) {
		int e = put_route_to(r, q, n, body, len);
		if (e)
			put_error(r, q, n->port, e);
	} else if (q->nlmsg_type == RTM_GETLINK && len >= sizeof(struct ifinfomsg)) {
		struct ifinfomsg m;
		memcpy(&m, body, sizeof(m));
		d = netdev_by_index(n->s.net, m.ifi_index);
		if (!m.ifi_index && len >= sizeof(m) + sizeof(struct rtattr)) { // asked by name
			struct rtattr a;
			char name[16] = "";
			memcpy(&a, body + sizeof(m), sizeof(a));
			if (a.rta_type == IFLA_IFNAME && a.rta_len > sizeof(a) && a.rta_len <= len - sizeof(m))
				memcpy(name, body + sizeof(m) + sizeof(a), min((size_t)a.rta_len - sizeof(a), sizeof(name) - 1));
			d = netdev_by_name(n->s.net, name);
		}
		if (d)
			put_link(r, q, 0, n->port, d);
		else
			put_error(r, q, n->port, -ENODEV);
	} else if (n->s.net && (q->nlmsg_type == RTM_NEWLINK || q->nlmsg_type == RTM_SETLINK || q->nlmsg_type == RTM_NEWADDR)) {
		int e = q->nlmsg_type == RTM_NEWADDR ? new_address(n, body, len) : set_link(n, q, body, len);
		if (e || q->nlmsg_flags & NLM_F_ACK)
			put_error(r, q, n->port, e);
	} else {
		bool get = (q->nlmsg_type & 3) == 2;
		put_error(r, q, n->port, get ? -EOPNOTSUPP : -EPERM);
	}
	if (!err)
		err = nl_flush(n, r, false);
out:
	kfree(r);
	return err;
}

static ssize_t nl_send(struct sock *s, struct sock_msg *m, int flags)
{
	size_t n = m->it->left;
	int err = 0;
	(void)flags;
	if (n > MAX_REQUEST)
		return -EMSGSIZE;
	struct packet *p = packet_new(m, &err);
	if (!p)
		return err;
	u32 at = 0;
	while (!err && n - at >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr h;
		memcpy(&h, p->data + at, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > n - at)
			break;
		err = answer(nl_of(s), &h, (u8 *)p->data + at + sizeof(h), h.nlmsg_len - (u32)sizeof(h));
		at += min(ALIGN_UP(h.nlmsg_len, 4u), (u32)(n - at));
	}
	packet_free(p);
	return err ? err : (ssize_t)n;
}

static int nl_bind(struct sock *s, const u8 *addr, u32 len)
{
	struct sockaddr_nl a;
	if (len < sizeof(a))
		return -EINVAL;
	memcpy(&a, addr, sizeof(a));
	if (a.nl_family != AF_NETLINK)
		return -EINVAL;
	if (a.nl_pid)
		nl_of(s)->port = a.nl_pid;
	nl_of(s)->groups = a.nl_groups;
	return 0;
}

static int nl_connect(struct sock *s, const u8 *addr, u32 len, int flags)
{
	struct sockaddr_nl a;
	(void)s;
	(void)flags;
	if (len < sizeof(a))
		return -EINVAL;
	memcpy(&a, addr, sizeof(a));
	return a.nl_family == AF_NETLINK && !a.nl_pid ? 0 : -EPERM;
}

static int nl_getname(struct sock *s, bool peer, u8 *addr)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	if (!peer) {
		a.nl_pid = nl_of(s)->port;
		a.nl_groups = nl_of(s)->groups;
	}
	memcpy(addr, &a, sizeof(a));
	return sizeof(a);
}

static u32 nl_poll(struct sock *s, struct poll_table *pt)
{
	poll_wait(pt, &s->pollq);
	mutex_lock(&s->lock);
	u32 ev = EPOLLOUT | EPOLLWRNORM | (list_empty(&s->pkts) ? 0 : EPOLLIN | EPOLLRDNORM);
	mutex_unlock(&s->lock);
	return ev;
}

static int nl_setopt(struct sock *s, int level, int opt, const void *val, u32 len)
{
	(void)s;
	(void)val;
	(void)len;
	if (level != 270) // SOL_NETLINK
		return -ENOPROTOOPT;
	switch (opt) { // what only concerns events or the form of errors has no effect here
	case NETLINK_ADD_MEMBERSHIP:
	case NETLINK_DROP_MEMBERSHIP:
	case NETLINK_PKTINFO:
	case NETLINK_NO_ENOBUFS:
	case NETLINK_EXT_ACK:
	case NETLINK_GET_STRICT_CHK: return 0;
	}
	return -ENOPROTOOPT;
}

static void nl_release(struct sock *s)
{
	mutex_lock(&s->lock);
	s->dead = true;
	mutex_unlock(&s->lock);
	packet_drop_all(s);
}

static void nl_free(struct sock *s) { kfree(nl_of(s)); }

static const struct sock_ops netlink_ops = {
	.bind = nl_bind,
	.connect = nl_connect,
	.getname = nl_getname,
	.send = nl_send,
	.recv = packet_recv,
	.poll = nl_poll,
	.setopt = nl_setopt,
	.release = nl_release,
	.free = nl_free,
};

// mq_notify's SIGEV_THREAD: glibc waits for such bytes, without any header, on a socket of this kind.
bool netlink_is(struct file *f);
int netlink_post(struct file *f, const void *data, size_t n);

bool netlink_is(struct file *f)
{
	struct sock *s = file_sock(f);
	return s && s->ops == &netlink_ops;
}

int netlink_post(struct file *f, const void *data, size_t n)
{
	struct nl_reply *r = netlink_is(f) ? kzalloc(sizeof(*r)) : NULL;
	int err = r ? 0 : -EINVAL;
	if (r && put(r, data, (u32)n))
		err = nl_flush(nl_of(file_sock(f)), r, false);
	kfree(r);
	return err;
}

struct sock *netlink_create(int type, int protocol, int *err)
{
	*err = type == SOCK_RAW || type == SOCK_DGRAM ? -EPROTONOSUPPORT : -ESOCKTNOSUPPORT;
	if (*err == -ESOCKTNOSUPPORT || (protocol != NETLINK_ROUTE && protocol != NETLINK_SOCK_DIAG && protocol != NETLINK_KOBJECT_UEVENT))
		return NULL;
	struct netlink_sock *n = knew(struct netlink_sock);
	*err = n ? 0 : -ENOMEM;
	if (!n)
		return NULL;
	sock_init(&n->s, &netlink_ops, AF_NETLINK, (u16)type, (u16)protocol);
	n->port = __atomic_fetch_add(&next_port, 1, __ATOMIC_RELAXED);
	return &n->s;
}
