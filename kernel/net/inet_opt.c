// SPDX-License-Identifier: Apache-2.0
// Options of levels IP, IPv6, TCP and UDP; ip(7), ipv6(7), tcp(7). Most are integers without an effect on a loopback: they
// are kept and given back. Takes no locks: each is one word.
#include "kernel/net/inet.h"
#include "kernel/include/log.h"
#include <linux/tcp.h>

struct int_opt {
	u8 opt;
	int def, low, high;
};

static const struct int_opt ip_opts[] = {
	{ IP_TOS, 0, 0, 255 }, { IP_TTL, 64, -1, 255 }, { IP_HDRINCL, 0, 0, 0 }, { IP_RECVOPTS, 0, 0, 1 }, { IP_RETOPTS, 0, 0, 1 },
	{ IP_PKTINFO, 0, 0, 1 }, { IP_MTU_DISCOVER, 1, 0, 5 }, { IP_RECVERR, 0, 0, 1 }, { IP_RECVTTL, 0, 0, 1 },
	{ IP_RECVTOS, 0, 0, 1 }, { IP_FREEBIND, 0, 0, 1 }, { IP_BIND_ADDRESS_NO_PORT, 0, 0, 1 }, { IP_RECVORIGDSTADDR, 0, 0, 1 },
	{ IP_MULTICAST_TTL, 1, -1, 255 }, { IP_MULTICAST_LOOP, 1, 0, 1 }, { IP_MULTICAST_ALL, 1, 0, 1 }, { IP_MINTTL, 0, 0, 255 },
};
static const struct int_opt ip6_opts[] = {
	{ IPV6_UNICAST_HOPS, 64, -1, 255 }, { IPV6_MULTICAST_HOPS, 1, -1, 255 }, { IPV6_MULTICAST_LOOP, 1, 0, 1 },
	{ IPV6_MULTICAST_IF, 0, 0, 1 }, { IPV6_RECVPKTINFO, 0, 0, 1 }, { IPV6_2292PKTINFO, 0, 0, 1 }, { IPV6_RECVHOPLIMIT, 0, 0, 1 },
	{ IPV6_TCLASS, 0, -1, 255 }, { IPV6_RECVTCLASS, 0, 0, 1 }, { IPV6_RECVERR, 0, 0, 1 }, { IPV6_MTU_DISCOVER, 1, 0, 5 },
	{ IPV6_DONTFRAG, 0, 0, 1 }, { IPV6_AUTOFLOWLABEL, 1, 0, 1 }, { IPV6_ADDR_PREFERENCES, 0, 0, 0xffff },
};
static const struct int_opt tcp_opts[] = {
	{ TCP_NODELAY, 0, 0, 1 }, { TCP_MAXSEG, 65483, 88, 65535 }, { TCP_CORK, 0, 0, 1 }, { TCP_KEEPIDLE, 7200, 1, 32767 },
	{ TCP_KEEPINTVL, 75, 1, 32767 }, { TCP_KEEPCNT, 9, 1, 127 }, { TCP_SYNCNT, 6, 1, 127 }, { TCP_LINGER2, 60, -1, 120 },
	{ TCP_DEFER_ACCEPT, 0, 0, 0x7fffffff }, { TCP_WINDOW_CLAMP, 0, 0, 0x7fffffff }, { TCP_QUICKACK, 1, 0, 0x7fffffff },
	{ TCP_USER_TIMEOUT, 0, 0, 0x7fffffff }, { TCP_FASTOPEN, 0, 0, 0x7fffffff }, { TCP_FASTOPEN_CONNECT, 0, 0, 1 },
	{ TCP_NOTSENT_LOWAT, 0, 0, 0x7fffffff }, { TCP_THIN_LINEAR_TIMEOUTS, 0, 0, 1 },
};

static const struct int_opt *find(const struct int_opt *t, size_t n, int opt)
{
	for (size_t k = 0; k < n; k++)
		if (t[k].opt == opt)
			return &t[k];
	return NULL;
}

// The table's row and the place of the value of one option; NULL: unknown.
static const struct int_opt *lookup(struct inet_opts *o, int level, int opt, int **slot)
{
	const struct int_opt *t = NULL;
	*slot = NULL;
	if (level == IPPROTO_IP && (t = find(ip_opts, ARRAY_SIZE(ip_opts), opt)))
		*slot = o ? &o->ip[opt % 64] : NULL;
	else if (level == IPPROTO_IPV6 && (t = find(ip6_opts, ARRAY_SIZE(ip6_opts), opt)))
		*slot = o ? &o->ip6[opt % 96] : NULL;
	else if (level == IPPROTO_TCP && (t = find(tcp_opts, ARRAY_SIZE(tcp_opts), opt)))
		*slot = o ? &o->tcp[opt % 48] : NULL;
	return t;
}

static int value_of(struct inet_sock *i, int level, int opt)
{
	int *slot;
	const struct int_opt *t = lookup(i->opts, level, opt, &slot);
	return !t ? 0 : slot && *slot ? *slot - 1 : t->def;
}

bool inet_takes_all_groups(const struct inet_sock *i)
{
	int *slot;
	const struct int_opt *t = lookup(i->opts, IPPROTO_IP, IP_MULTICAST_ALL, &slot);
	return slot && *slot ? *slot - 1 : t->def;
}

static bool level_ok(struct sock *s, int level)
{
	return level == IPPROTO_IP || (level == IPPROTO_IPV6 && s->family == AF_INET6) ||
	       (level == IPPROTO_TCP && s->type == SOCK_STREAM) || (level == IPPROTO_UDP && s->type == SOCK_DGRAM) ||
	       (level == IPPROTO_UDPLITE && s->protocol == IPPROTO_UDPLITE);
}

static int set_special(struct inet_sock *i, int level, int opt, const void *val, u32 len)
{
	int v = 0;
	if (level == IPPROTO_IPV6 && opt == IPV6_V6ONLY) {
		if (opt_int(val, len, &v) || i->bound)
			return -EINVAL;
		i->v6only = v;
		return 0;
	}
	if (level == IPPROTO_TCP && opt == TCP_CONGESTION) {
		bool known = (len >= 5 && !strncmp(val, "cubic", 5)) || (len >= 4 && !strncmp(val, "reno", 4));
		return known ? 0 : -ENOENT;
	}
	bool group = opt == MCAST_JOIN_GROUP || opt == MCAST_LEAVE_GROUP;
	if (level == IPPROTO_IP && (group || opt == IP_ADD_MEMBERSHIP || opt == IP_DROP_MEMBERSHIP || opt == IP_MULTICAST_IF))
		return mcast_setopt(i, level, opt, val, len);
	if (level == IPPROTO_IPV6 && (group || opt == IPV6_ADD_MEMBERSHIP || opt == IPV6_DROP_MEMBERSHIP))
		return mcast_setopt(i, level, opt, val, len);
	if (level == IPPROTO_UDPLITE) // checksum coverage: there are no checksums here
		return (opt == 10 || opt == 11) && !opt_int(val, len, &v) ? 0 : -ENOPROTOOPT;
	if (level == IPPROTO_UDP)
		return opt == 1 /* UDP_CORK */ && !opt_int(val, len, &v) && !v ? 0 : -ENOPROTOOPT;
	pr_debug("setsockopt(%d, %d): not supported\n", level, opt);
	return -ENOPROTOOPT;
}

int inet_setopt(struct sock *s, int level, int opt, const void *val, u32 len)
{
	struct inet_sock *i = inet_of(s);
	int v, *slot;
	if (!level_ok(s, level))
		return -ENOPROTOOPT;
	const struct int_opt *t = lookup(NULL, level, opt, &slot);
	if (!t)
		return set_special(i, level, opt, val, len);
	if (len >= sizeof(int))
		memcpy(&v, val, sizeof(v));
	else if (len >= 1 && level == IPPROTO_IP) // ip(7): a byte will do
		v = *(const u8 *)val;
	else
		return -EINVAL;
	if (t->low == 0 && t->high == 1)
		v = !!v;
	if (v < t->low || v > t->high)
		return -EINVAL;
	if (!i->opts) {
		struct inet_opts *o = knew(struct inet_opts), *none = NULL;
		if (!o)
			return -ENOMEM;
		if (!__atomic_compare_exchange_n(&i->opts, &none, o, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			kfree(o);
	}
	if (v == -1 && t->low == -1)
		v = t->def; // the system's default again
	lookup(i->opts, level, opt, &slot);
	*slot = v + 1;
	if (level == IPPROTO_TCP)
		host_setopt(i, level, opt, val, len);
	return 0;
}

static int get_info(struct sock *s, void *val, u32 *len)
{
	struct tcp_info ti;
	memset(&ti, 0, sizeof(ti));
	ti.tcpi_state = (u8)tcp_state(s);
	ti.tcpi_rto = 200000;
	ti.tcpi_ato = 40000;
	ti.tcpi_snd_mss = ti.tcpi_rcv_mss = ti.tcpi_advmss = 65483;
	ti.tcpi_pmtu = 65535;
	ti.tcpi_rtt = ti.tcpi_rcv_rtt = 10;
	ti.tcpi_rttvar = 5;
	ti.tcpi_snd_cwnd = 10;
	ti.tcpi_snd_ssthresh = 0x7fffffff;
	ti.tcpi_rcv_space = 65483;
	if (s->state == ST_LISTEN) {
		ti.tcpi_unacked = s->accept_n;
		ti.tcpi_sacked = s->backlog;
	}
	*len = min(*len, (u32)sizeof(ti));
	memcpy(val, &ti, *len);
	return 0;
}

int inet_getopt(struct sock *s, int level, int opt, void *val, u32 *len)
{
	struct inet_sock *i = inet_of(s);
	int *slot;
	if (level == SOL_SOCKET || !level_ok(s, level))
		return level == SOL_SOCKET || level == IPPROTO_TCP || level == IPPROTO_UDP ? -ENOPROTOOPT : -EOPNOTSUPP;
	if (lookup(NULL, level, opt, &slot)) {
		int v = value_of(i, level, opt);
		if (level == IPPROTO_IP && *len >= 1 && *len < sizeof(int)) { // ip(7): a small buffer gets a byte
			*(u8 *)val = (u8)v;
			*len = 1;
			return 0;
		}
		return opt_put_int(v, val, len);
	}
	if (level == IPPROTO_IPV6 && opt == IPV6_V6ONLY)
		return opt_put_int(i->v6only, val, len);
	if ((level == IPPROTO_IP && opt == IP_MTU) || (level == IPPROTO_IPV6 && opt == IPV6_MTU))
		return s->state == ST_CONNECTED ? opt_put_int(65536, val, len) : -ENOTCONN;
	if (level == IPPROTO_IP && opt == IP_MULTICAST_IF) {
		*len = min(*len, (u32)sizeof(u32));
		memcpy(val, &i->group_addr, *len);
		return 0;
	}
	if (level == IPPROTO_IP && opt == IP_OPTIONS) {
		*len = 0;
		return 0;
	}
	if (level == IPPROTO_TCP && opt == TCP_INFO)
		return get_info(s, val, len);
	if (level == IPPROTO_TCP && opt == TCP_CONGESTION) {
		char name[16] = "cubic";
		*len = min(*len, (u32)sizeof(name));
		memcpy(val, name, *len);
		return 0;
	}
	if ((level == IPPROTO_UDP && opt == 1 /* UDP_CORK */) || (level == IPPROTO_UDPLITE && (opt == 10 || opt == 11)))
		return opt_put_int(0, val, len);
	return -ENOPROTOOPT;
}

void inet_cmsg(struct sock *s, struct sock_msg *m, struct cmsg_out *c)
{
	struct inet_sock *i = inet_of(s);
	if (likely(!i->opts) || s->type != SOCK_DGRAM)
		return;
	if (m->has_dst && value_of(i, IPPROTO_IP, IP_PKTINFO) && ip_is_v4(m->dst)) {
		struct in_pktinfo pi = { .ipi_ifindex = 1 };
		memcpy(&pi.ipi_addr, m->dst + 12, 4);
		memcpy(&pi.ipi_spec_dst, m->dst + 12, 4);
		(void)cmsg_put(c, IPPROTO_IP, IP_PKTINFO, &pi, sizeof(pi));
	}
	if (m->has_dst && s->family == AF_INET6 && value_of(i, IPPROTO_IPV6, IPV6_RECVPKTINFO)) {
		struct in6_pktinfo_ {
			u8 addr[16];
			int ifindex;
		} pi = { .ifindex = 1 };
		memcpy(pi.addr, m->dst, 16);
		(void)cmsg_put(c, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi));
	}
	if (!m->has_dst)
		return;
	if (value_of(i, IPPROTO_IP, IP_RECVTTL) && s->family == AF_INET)
		(void)cmsg_put(c, IPPROTO_IP, IP_TTL, &(int){ m->hops }, sizeof(int));
	if (value_of(i, IPPROTO_IP, IP_RECVTOS) && s->family == AF_INET)
		(void)cmsg_put(c, IPPROTO_IP, IP_TOS, &(u8){ (u8)m->tclass }, 1);
	if (value_of(i, IPPROTO_IPV6, IPV6_RECVHOPLIMIT) && s->family == AF_INET6)
		(void)cmsg_put(c, IPPROTO_IPV6, IPV6_HOPLIMIT, &(int){ m->hops }, sizeof(int));
	if (value_of(i, IPPROTO_IPV6, IPV6_RECVTCLASS) && s->family == AF_INET6)
		(void)cmsg_put(c, IPPROTO_IPV6, IPV6_TCLASS, &(int){ m->tclass }, sizeof(int));
}

// Time to live and traffic class of a packet: the message's own or the socket's.
void inet_packet_fields(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to, struct packet *p)
{
	bool v4 = ip_is_v4(to->ip);
	p->hops = m->hops >= 0 ? m->hops : (s16)value_of(i, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS);
	p->tclass = m->tclass >= 0 ? m->tclass : (s16)value_of(i, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS);
}

// The control messages that concern a datagram's header; others of these levels have no meaning on a loopback.
int inet_take_cmsg(struct sock_msg *m, const void *ctl, size_t len)
{
	struct {
		u64 len;
		int level, type;
	} h;
	size_t at = 0;
	while (len - at >= sizeof(h)) {
		memcpy(&h, (const char *)ctl + at, sizeof(h));
		if (h.len < sizeof(h) || h.len > len - at)
			return -EINVAL;
		bool hops = (h.level == IPPROTO_IPV6 && h.type == IPV6_HOPLIMIT) || (h.level == IPPROTO_IP && h.type == IP_TTL);
		bool tclass = (h.level == IPPROTO_IPV6 && h.type == IPV6_TCLASS) || (h.level == IPPROTO_IP && h.type == IP_TOS);
		if (hops || tclass) {
			int v = 0;
			if (h.len - sizeof(h) < (h.type == IP_TOS && tclass && h.level == IPPROTO_IP ? 1 : sizeof(v)))
				return -EINVAL;
			memcpy(&v, (const char *)ctl + at + sizeof(h), min(h.len - sizeof(h), sizeof(v)));
			if (v < -1 || v > 255)
				return -EINVAL;
			*(hops ? &m->hops : &m->tclass) = (s16)v;
		}
		size_t step = ALIGN_UP(h.len, sizeof(u64));
		if (step > len - at)
			break;
		at += step;
	}
	return 0;
}
