// SPDX-License-Identifier: Apache-2.0
// Options of levels IP, IPv6, TCP and UDP; ip(7), ipv6(7), tcp(7). Most are integers without an effect on a loopback: they
// are kept and given back. Takes no locks: each is one word.
#include "kernel/net/inet.h"
#include "kernel/net/netdev.h"
#include "kernel/include/log.h"
#include <linux/tcp.h>

enum how {
	BOOL = 1,	// any value but 0 is 1
	BYTE = 2,	// cut to eight bits
	ASK = 4,	// cannot be set
	DGRAM = 8,	// not of a stream: -EINVAL (IP), -ENOPROTOOPT (IPv6)
	RESET = 16,	// -1: the default again
};
struct int_opt {
	u8 opt, how;
	int def, low, high;
};

#define ANY (-0x7fffffff - 1), 0x7fffffff
static const struct int_opt ip_opts[] = {
	{ IP_TOS, BYTE, 0, ANY }, { IP_TTL, RESET, 64, 1, 255 }, { IP_HDRINCL, ASK, 0, ANY }, { IP_RECVOPTS, BOOL, 0, ANY }, { IP_RETOPTS, BOOL, 0, ANY },
	{ IP_PKTINFO, BOOL, 0, ANY }, { IP_MTU_DISCOVER, 0, 1, 0, 5 }, { IP_RECVERR, BOOL, 0, ANY }, { IP_RECVTTL, BOOL, 0, ANY },
	{ IP_RECVTOS, BOOL, 0, ANY }, { IP_FREEBIND, BOOL, 0, ANY }, { IP_PASSSEC, BOOL, 0, ANY }, { IP_RECVORIGDSTADDR, BOOL, 0, ANY },
	{ IP_MINTTL, 0, 0, 0, 255 }, { IP_NODEFRAG, ASK, 0, ANY }, { IP_CHECKSUM, BOOL, 0, ANY }, { IP_BIND_ADDRESS_NO_PORT, BOOL, 0, ANY },
	{ IP_RECVFRAGSIZE, BOOL | DGRAM, 0, ANY }, { IP_RECVERR_RFC4884, 0, 0, 0, 1 }, { IP_MULTICAST_TTL, DGRAM | RESET, 1, 0, 255 },
	{ IP_MULTICAST_LOOP, BOOL, 1, ANY }, { IP_MULTICAST_ALL, 0, 1, 0, 1 }, { IP_UNICAST_IF, 0, 0, ANY }, { IP_TRANSPARENT, BOOL, 0, ANY },
};
static const struct int_opt ip6_opts[] = {
	{ IPV6_UNICAST_HOPS, RESET, 64, 0, 255 }, { IPV6_MULTICAST_HOPS, DGRAM | RESET, 1, 0, 255 }, { IPV6_MULTICAST_LOOP, 0, 1, 0, 1 },
	{ IPV6_MULTICAST_IF, DGRAM, 0, ANY }, { IPV6_MULTICAST_ALL, BOOL, 1, ANY }, { IPV6_UNICAST_IF, 0, 0, ANY }, { IPV6_FREEBIND, BOOL, 0, ANY },
	{ IPV6_TRANSPARENT, BOOL, 0, ANY }, { IPV6_RECVPKTINFO, BOOL, 0, ANY }, { IPV6_2292PKTINFO, BOOL, 0, ANY }, { IPV6_RECVHOPLIMIT, BOOL, 0, ANY },
	{ IPV6_2292HOPLIMIT, BOOL, 0, ANY }, { IPV6_2292HOPOPTS, BOOL, 0, ANY }, { IPV6_2292DSTOPTS, BOOL, 0, ANY }, { IPV6_2292RTHDR, BOOL, 0, ANY },
	{ IPV6_RECVHOPOPTS, BOOL, 0, ANY }, { IPV6_RECVRTHDR, BOOL, 0, ANY }, { IPV6_RECVDSTOPTS, BOOL, 0, ANY }, { IPV6_RECVPATHMTU, BOOL, 0, ANY },
	{ IPV6_FLOWINFO, BOOL, 0, ANY }, { IPV6_FLOWINFO_SEND, BOOL, 0, ANY }, { IPV6_TCLASS, RESET, 0, 0, 255 }, { IPV6_RECVTCLASS, BOOL, 0, ANY },
	{ IPV6_RECVERR, BOOL, 0, ANY }, { IPV6_RECVERR_RFC4884, 0, 0, 0, 1 }, { IPV6_MTU_DISCOVER, 0, 1, 0, 5 }, { IPV6_DONTFRAG, BOOL, 0, ANY },
	{ IPV6_AUTOFLOWLABEL, BOOL, 1, ANY }, { IPV6_ADDR_PREFERENCES, 0, 0x500, ANY }, { IPV6_MINHOPCOUNT, 0, 0, 0, 255 },
	{ IPV6_RECVORIGDSTADDR, BOOL, 0, ANY }, { IPV6_RECVFRAGSIZE, BOOL, 0, ANY },
};
static const struct int_opt tcp_opts[] = {
	{ TCP_NODELAY, BOOL, 0, ANY }, { TCP_MAXSEG, 0, 0, 0, 32767 }, { TCP_CORK, BOOL, 0, ANY }, { TCP_KEEPIDLE, 0, 7200, 1, 32767 },
	{ TCP_KEEPINTVL, 0, 75, 1, 32767 }, { TCP_KEEPCNT, 0, 9, 1, 127 }, { TCP_SYNCNT, 0, 6, 1, 127 }, { TCP_LINGER2, 0, 60, ANY },
	{ TCP_DEFER_ACCEPT, 0, 0, ANY }, { TCP_WINDOW_CLAMP, 0, 0, ANY }, { TCP_QUICKACK, BOOL, 1, ANY }, { TCP_THIN_LINEAR_TIMEOUTS, 0, 0, 0, 1 },
	{ TCP_USER_TIMEOUT, 0, 0, 0, 0x7fffffff }, { TCP_FASTOPEN, 0, 0, 0, 0x7fffffff }, { TCP_NOTSENT_LOWAT, 0, 0, ANY },
	{ TCP_SAVE_SYN, 0, 0, 0, 2 }, { TCP_FASTOPEN_CONNECT, 0, 0, 0, 1 }, { TCP_FASTOPEN_NO_COOKIE, 0, 0, 0, 1 }, { TCP_INQ, 0, 0, 0, 1 },
	{ TCP_TX_DELAY, 0, 0, 0, 1000000000 },
};
_Static_assert(ARRAY_SIZE(ip_opts) + ARRAY_SIZE(ip6_opts) <= 64 && ARRAY_SIZE(tcp_opts) <= 24, "rows of struct ip_values, struct tcp_values");

static const struct int_opt *find(const struct int_opt *t, size_t n, int opt)
{
	for (size_t k = 0; k < n; k++)
		if (t[k].opt == opt)
			return &t[k];
	return NULL;
}

// The table's row of one option and its place among the values; NULL: unknown.
static const struct int_opt *lookup(int level, int opt, u32 *row)
{
	const struct int_opt *t = NULL;
	if (level == IPPROTO_IP && (t = find(ip_opts, ARRAY_SIZE(ip_opts), opt)))
		*row = (u32)(t - ip_opts);
	else if (level == IPPROTO_IPV6 && (t = find(ip6_opts, ARRAY_SIZE(ip6_opts), opt)))
		*row = (u32)(t - ip6_opts + (long)ARRAY_SIZE(ip_opts));
	else if (level == IPPROTO_TCP && (t = find(tcp_opts, ARRAY_SIZE(tcp_opts), opt)))
		*row = (u32)(t - tcp_opts);
	return t;
}

int inet_opt(const struct inet_sock *i, int level, int opt)
{
	u32 row;
	const struct int_opt *t = lookup(level, opt, &row);
	if (!t)
		return 0;
	if (level == IPPROTO_TCP)
		return t->def ^ (i->tcp ? i->tcp->v[row] : 0);
	return t->def ^ (i->ip ? i->ip->v[row] : 0);
}

static int keep(struct inet_sock *i, int level, u32 row, const struct int_opt *t, int v)
{
	void **at = level == IPPROTO_TCP ? (void **)&i->tcp : (void **)&i->ip, *none = NULL;
	if (!*at) {
		if (v == t->def)
			return 0;
		void *fresh = kzalloc(level == IPPROTO_TCP ? sizeof(*i->tcp) : sizeof(*i->ip));
		if (!fresh)
			return -ENOMEM;
		if (!__atomic_compare_exchange_n(at, &none, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			kfree(fresh);
	}
	*(level == IPPROTO_TCP ? &i->tcp->v[row] : &i->ip->v[row]) = v ^ t->def;
	return 0;
}

void inet_each_tcp_option(const struct inet_sock *i, void (*fn)(int opt, int v, int hfd), int hfd)
{
	for (u32 k = 0; i->tcp && k < ARRAY_SIZE(tcp_opts); k++)
		if (i->tcp->v[k])
			fn(tcp_opts[k].opt, i->tcp->v[k] ^ tcp_opts[k].def, hfd);
}

static void *copy_of(const void *from, size_t n)
{
	void *to = from ? kmalloc(n) : NULL;
	if (to)
		memcpy(to, from, n);
	return to;
}

int inet_inherit(struct inet_sock *c, const struct inet_sock *l)
{
	c->tcp = copy_of(l->tcp, sizeof(*l->tcp));
	c->ip = copy_of(l->ip, sizeof(*l->ip));
	c->reno = l->reno;
	c->v6only = l->v6only;
	c->serves = l->serves;
	c->s.reuseaddr = l->s.reuseaddr;
	c->s.reuseport = l->s.reuseport;
	c->s.keepalive = l->s.keepalive;
	c->s.corked = l->s.corked;
	c->s.broadcast = l->s.broadcast;
	c->s.dontroute = l->s.dontroute;
	c->s.oobinline = l->s.oobinline;
	c->s.timestamp = l->s.timestamp;
	c->s.timestampns = l->s.timestampns;
	c->s.linger = l->s.linger;
	c->s.linger_sec = l->s.linger_sec;
	c->s.sndbuf = l->s.sndbuf;
	c->s.rcvbuf = l->s.rcvbuf;
	c->s.sndbuf_set = l->s.sndbuf_set;
	c->s.rcvbuf_set = l->s.rcvbuf_set;
	c->s.rcvlowat = l->s.rcvlowat;
	c->s.rcvtimeo = l->s.rcvtimeo;
	c->s.sndtimeo = l->s.sndtimeo;
	c->s.mark = l->s.mark;
	return (l->tcp && !c->tcp) || (l->ip && !c->ip) ? -ENOMEM : 0;
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
		bool reno = len >= 4 && !strncmp(val, "reno", 4);
		if (!reno && (len < 5 || strncmp(val, "cubic", 5)))
			return len ? -ENOENT : -EINVAL;
		i->reno = reno;
		host_setopt(i, level, opt, reno ? "reno" : "cubic", reno ? 4 : 5);
		return 0;
	}
	if (level == IPPROTO_TCP && opt == TCP_ULP)
		return -ENOENT; // no protocol sits on TCP in this kernel
	if (level == IPPROTO_TCP && (opt == TCP_REPAIR || opt == TCP_TIMESTAMP))
		return -EPERM;
	if (level == IPPROTO_TCP && opt == TCP_THIN_DUPACK) // once had an effect
		return opt_int(val, len, &v) || v < 0 || v > 1 ? -EINVAL : 0;
	if (level == IPPROTO_IP && opt == IP_OPTIONS)
		return len ? -EINVAL : 0;
	if (level == IPPROTO_IPV6 && opt == IPV6_MTU)
		return opt_int(val, len, &v) || (v && v < 1280) || v > 65536 ? -EINVAL : 0;
	bool group = opt >= MCAST_JOIN_GROUP && opt <= MCAST_LEAVE_SOURCE_GROUP;
	if (level == IPPROTO_IP && (group || (opt >= IP_ADD_MEMBERSHIP && opt <= IP_DROP_SOURCE_MEMBERSHIP) || opt == IP_MULTICAST_IF))
		return mcast_setopt(i, level, opt, val, len);
	if (level == IPPROTO_IPV6 && (group || opt == IPV6_ADD_MEMBERSHIP || opt == IPV6_DROP_MEMBERSHIP))
		return mcast_setopt(i, level, opt, val, len);
	if (level == IPPROTO_UDPLITE) // checksum coverage: there are no checksums here
		return (opt == 10 || opt == 11) && !opt_int(val, len, &v) ? 0 : -ENOPROTOOPT;
	if (level == IPPROTO_UDP)
		return udp_setopt(i, opt, val, len);
	pr_debug("setsockopt(%d, %d): not supported\n", level, opt);
	return -ENOPROTOOPT;
}

// Seconds as Linux keeps them for TCP_DEFER_ACCEPT: repetitions of the first packet after 1, 2, 4 ... 120 seconds.
static int defer_seconds(int v)
{
	int all = 0, wait = 1;
	for (int n = 0; v > 0 && n < 255; n++) {
		all += wait;
		wait = min(wait * 2, 120);
		if (all >= v)
			break;
	}
	return all;
}

// What of an option's value is kept, where the table does not say all. 0 or -errno.
static int adjust(struct inet_sock *i, int level, int opt, int *v)
{
	bool closed = i->s.state == ST_IDLE || i->s.state == ST_CLOSED, listens = i->s.state == ST_LISTEN;
	if (level == IPPROTO_TCP)
		switch (opt) {
		case TCP_MAXSEG: return *v && *v < 88 ? -EINVAL : 0;
		case TCP_LINGER2: *v = *v < 0 ? -1 : *v ? min(*v, 120) : 60; return 0;
		case TCP_DEFER_ACCEPT: *v = defer_seconds(*v); return 0;
		case TCP_WINDOW_CLAMP:
			if (!*v)
				return closed ? 0 : -EINVAL;
			*v = max(*v, 1152);
			return 0;
		case TCP_FASTOPEN: *v = min(*v, 4096); return closed || listens ? 0 : -EINVAL;
		case TCP_FASTOPEN_NO_COOKIE: return closed || listens ? 0 : -EINVAL;
		case TCP_FASTOPEN_CONNECT: return closed ? 0 : -EINVAL;
		}
	bool stream = i->s.type == SOCK_STREAM;
	if (level == IPPROTO_IP && opt == IP_TOS && stream) // congestion notification is TCP's own
		*v = (*v & 0xfc) | (inet_opt(i, level, opt) & 3);
	if (level == IPPROTO_IPV6 && opt == IPV6_TCLASS && stream)
		*v &= 0xfc;
	if (level == IPPROTO_IPV6 && opt == IPV6_MULTICAST_IF && *v && !netdev_by_index(i->s.net, *v))
		return -ENODEV;
	if ((level == IPPROTO_IP && opt == IP_UNICAST_IF) || (level == IPPROTO_IPV6 && opt == IPV6_UNICAST_IF))
		return *v && !netdev_by_index(i->s.net, (int)__builtin_bswap32((u32)*v)) ? -EADDRNOTAVAIL : 0;
	if (level == IPPROTO_IPV6 && opt == IPV6_ADDR_PREFERENCES) { // RFC 5014: one of each group, or its default
		int tmp = *v & 0x103, home = *v & 0x404, cga = *v & 0x808;
		if ((tmp & (tmp - 1)) || (home & (home - 1)) || (cga & (cga - 1)))
			return -EINVAL;
		*v = (tmp ? tmp : 0x100) | (home ? home : 0x400);
	}
	return 0;
}

int inet_setopt(struct sock *s, int level, int opt, const void *val, u32 len)
{
	struct inet_sock *i = inet_of(s);
	u32 row;
	int v, r;
	if (!level_ok(s, level))
		return -ENOPROTOOPT;
	const struct int_opt *t = lookup(level, opt, &row);
	if (!t)
		return set_special(i, level, opt, val, len);
	if (t->how & ASK)
		return -ENOPROTOOPT;
	if ((t->how & DGRAM) && s->type != SOCK_DGRAM)
		return level == IPPROTO_IP ? -EINVAL : -ENOPROTOOPT;
	if (len >= sizeof(int))
		memcpy(&v, val, sizeof(v));
	else if (len >= 1 && level == IPPROTO_IP) // ip(7): a byte will do
		v = *(const u8 *)val;
	else
		return -EINVAL;
	if (t->how & BOOL)
		v = !!v;
	if (t->how & BYTE)
		v &= 0xff;
	if (v == -1 && (t->how & RESET))
		v = t->def;
	if (v < t->low || v > t->high)
		return -EINVAL;
	r = adjust(i, level, opt, &v);
	if (!r)
		r = keep(i, level, row, t, v);
	if (r || level != IPPROTO_TCP)
		return r;
	if (opt == TCP_CORK)
		s->corked = v;
	if (opt == TCP_DEFER_ACCEPT)
		i->defer_s = (u32)v;
	if ((opt == TCP_CORK && !v) || (opt == TCP_NODELAY && v)) // tcp(7): either lets out what waits
		cork_push(i);
	host_setopt(i, level, opt, val, len);
	return 0;
}

#define LO_MSS 32741 // what Linux begins with on lo

void inet_tcp_info(struct sock *s, struct tcp_info *ti)
{
	struct sock *p = s->peer;
	memset(ti, 0, sizeof(*ti));
	ti->tcpi_state = (u8)tcp_state(s);
	ti->tcpi_rto = 200000;
	ti->tcpi_ato = 40000;
	ti->tcpi_snd_mss = s->state == ST_CONNECTED ? LO_MSS : 536;
	ti->tcpi_rcv_mss = 536;
	ti->tcpi_advmss = 65483;
	ti->tcpi_pmtu = 65535;
	ti->tcpi_rtt = ti->tcpi_rcv_rtt = ti->tcpi_min_rtt = 10;
	ti->tcpi_rttvar = 5;
	ti->tcpi_snd_cwnd = 10;
	ti->tcpi_snd_ssthresh = 0x7fffffff;
	ti->tcpi_rcv_ssthresh = ti->tcpi_rcv_space = 65483;
	ti->tcpi_reordering = 3;
	if (s->state == ST_LISTEN) {
		ti->tcpi_unacked = s->accept_n;
		ti->tcpi_sacked = s->backlog;
	} else if (s->state == ST_CONNECTED) {
		ti->tcpi_options = TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE;
		ti->tcpi_snd_wscale = ti->tcpi_rcv_wscale = 7;
		ti->tcpi_bytes_received = s->rx_in;
		ti->tcpi_bytes_acked = ti->tcpi_bytes_sent = p ? p->rx_in : 0;
		ti->tcpi_bytes_acked++; // the first packet's
	}
}

static int get_info(struct sock *s, void *val, u32 *len)
{
	struct tcp_info ti;
	inet_tcp_info(s, &ti);
	*len = min(*len, (u32)sizeof(ti));
	memcpy(val, &ti, *len);
	return 0;
}

// What reads differently from what was set.
static int shown(const struct inet_sock *i, int level, int opt)
{
	int v = inet_opt(i, level, opt);
	bool connected = i->s.state == ST_CONNECTED;
	if (level == IPPROTO_TCP && opt == TCP_MAXSEG)
		return connected ? LO_MSS : v ? v : 536;
	if (level == IPPROTO_TCP && opt == TCP_WINDOW_CLAMP)
		return v || !connected ? v : 65536;
	return v;
}

static int get_nothing(u32 *len)
{
	*len = 0;
	return 0;
}

int inet_getopt(struct sock *s, int level, int opt, void *val, u32 *len)
{
	struct inet_sock *i = inet_of(s);
	u32 row;
	if (level == SOL_SOCKET)
		return -ENOPROTOOPT;
	if (!level_ok(s, level))
		return -EOPNOTSUPP;
	if (lookup(level, opt, &row)) {
		int v = shown(i, level, opt);
		if (level == IPPROTO_IP && *len >= 1 && *len < sizeof(int) && v >= 0 && v <= 255) { // ip(7): a small buffer gets a byte
			*(u8 *)val = (u8)v;
			*len = 1;
			return 0;
		}
		return opt_put_int(v, val, len);
	}
	if (level == IPPROTO_IPV6 && opt == IPV6_V6ONLY)
		return opt_put_int(i->v6only, val, len);
	if ((level == IPPROTO_IP && opt == IP_MTU) || (level == IPPROTO_IPV6 && opt == IPV6_MTU))
		return s->state == ST_CONNECTED ? opt_put_int(s->type == SOCK_STREAM ? 65535 : 65536, val, len) : -ENOTCONN;
	if (level == IPPROTO_IP && opt == IP_MULTICAST_IF) {
		*len = min(*len, (u32)sizeof(u32));
		memcpy(val, &i->group_addr, *len);
		return 0;
	}
	if (level == IPPROTO_IP && opt == IP_OPTIONS)
		return get_nothing(len);
	if (level == IPPROTO_IPV6 && (opt == IPV6_HOPOPTS || opt == IPV6_RTHDRDSTOPTS || opt == IPV6_RTHDR || opt == IPV6_DSTOPTS))
		return get_nothing(len);
	if (level == IPPROTO_UDP)
		return udp_getopt(i, opt, val, len);
	if (level == IPPROTO_UDPLITE && (opt == 10 || opt == 11))
		return opt_put_int(0, val, len);
	if (level != IPPROTO_TCP)
		return -ENOPROTOOPT;
	switch (opt) {
	case TCP_INFO: return get_info(s, val, len);
	case TCP_CONGESTION: {
		char name[16] = "";
		strlcpy(name, i->reno ? "reno" : "cubic", sizeof(name));
		*len = min(*len, (u32)sizeof(name));
		memcpy(val, name, *len);
		return 0;
	}
	case TCP_TIMESTAMP: return opt_put_int((int)(ktime_mono() / 1000000), val, len);
	case TCP_REPAIR:
	case TCP_THIN_DUPACK: return opt_put_int(0, val, len);
	case TCP_SAVED_SYN:
	case TCP_ULP:
	case TCP_FASTOPEN_KEY: return get_nothing(len);
	}
	return -ENOPROTOOPT;
}

// Why a datagram did not arrive, as an ICMP message would have told (IP_RECVERR).
static void put_error(struct sock *s, struct sock_msg *m, struct cmsg_out *c)
{
	bool v4 = ip_is_v4(m->dst);
	struct {
		struct sock_extended_err_ {
			u32 err;
			u8 origin, type, code, pad;
			u32 info, data;
		} e;
		u8 offender[sizeof(struct sockaddr_in6)];
	} all = { .e = { .err = ECONNREFUSED, .origin = v4 ? 2 : 3, .type = v4 ? 3 : 1, .code = v4 ? 3 : 4 } }; // port unreachable
	struct iaddr from = { .port = 0 };
	memcpy(from.ip, m->dst, sizeof(from.ip));
	u32 n = inet_put_addr(s->family, &from, all.offender);
	(void)cmsg_put(c, s->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, s->family == AF_INET ? IP_RECVERR : IPV6_RECVERR, &all,
		       sizeof(all.e) + n);
}

void inet_cmsg(struct sock *s, struct sock_msg *m, struct cmsg_out *c)
{
	struct inet_sock *i = inet_of(s);
	if (unlikely(i->tcp) && inet_opt(i, IPPROTO_TCP, TCP_INQ))
		(void)cmsg_put(c, IPPROTO_TCP, TCP_CM_INQ, &(int){ (int)(s->rx.len - s->held) }, sizeof(int));
	if (likely(!i->ip) || s->type != SOCK_DGRAM)
		return;
	if (m->has_err)
		put_error(s, m, c);
	if (m->has_dst && inet_opt(i, IPPROTO_IP, IP_PKTINFO) && ip_is_v4(m->dst)) {
		struct in_pktinfo pi = { .ipi_ifindex = 1 };
		memcpy(&pi.ipi_addr, m->dst + 12, 4);
		memcpy(&pi.ipi_spec_dst, m->dst + 12, 4);
		(void)cmsg_put(c, IPPROTO_IP, IP_PKTINFO, &pi, sizeof(pi));
	}
	if (m->has_dst && s->family == AF_INET6 && inet_opt(i, IPPROTO_IPV6, IPV6_RECVPKTINFO)) {
		struct in6_pktinfo_ pi = { .ifindex = 1 };
		memcpy(pi.addr, m->dst, 16);
		(void)cmsg_put(c, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi));
	}
	if (!m->has_dst)
		return;
	if (inet_opt(i, IPPROTO_IP, IP_RECVTTL) && s->family == AF_INET)
		(void)cmsg_put(c, IPPROTO_IP, IP_TTL, &(int){ m->hops }, sizeof(int));
	if (inet_opt(i, IPPROTO_IP, IP_RECVTOS) && s->family == AF_INET)
		(void)cmsg_put(c, IPPROTO_IP, IP_TOS, &(u8){ (u8)m->tclass }, 1);
	if (inet_opt(i, IPPROTO_IPV6, IPV6_RECVHOPLIMIT) && s->family == AF_INET6)
		(void)cmsg_put(c, IPPROTO_IPV6, IPV6_HOPLIMIT, &(int){ m->hops }, sizeof(int));
	if (inet_opt(i, IPPROTO_IPV6, IPV6_RECVTCLASS) && s->family == AF_INET6)
		(void)cmsg_put(c, IPPROTO_IPV6, IPV6_TCLASS, &(int){ m->tclass }, sizeof(int));
	if (ip_is_v4(m->dst) ? inet_opt(i, IPPROTO_IP, IP_RECVORIGDSTADDR) : inet_opt(i, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR)) {
		bool v4 = ip_is_v4(m->dst);
		struct iaddr to = { .port = i->local.port };
		u8 name[sizeof(struct sockaddr_in6)];
		memcpy(to.ip, m->dst, sizeof(to.ip));
		u32 n = inet_put_addr(v4 ? AF_INET : AF_INET6, &to, name);
		(void)cmsg_put(c, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_ORIGDSTADDR : IPV6_ORIGDSTADDR, name, n);
	}
}

// Time to live and traffic class of a packet: the message's own or the socket's.
void inet_packet_fields(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to, struct packet *p)
{
	bool v4 = ip_is_v4(to->ip);
	p->hops = m->hops >= 0 ? m->hops : (s16)inet_opt(i, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS);
	p->tclass = m->tclass >= 0 ? m->tclass : (s16)inet_opt(i, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS);
}

// Where a datagram is to come from (IP_PKTINFO, IPV6_PKTINFO of a message to be sent).
static int take_source(struct sock_msg *m, int level, const void *data, size_t n)
{
	if (level == IPPROTO_IP) {
		struct in_pktinfo pi;
		if (n != sizeof(pi))
			return -EINVAL;
		memcpy(&pi, data, sizeof(pi));
		if (!pi.ipi_spec_dst.s_addr)
			return 0;
		memset(m->src, 0, 10);
		m->src[10] = m->src[11] = 0xff;
		memcpy(m->src + 12, &pi.ipi_spec_dst, 4);
	} else {
		struct in6_pktinfo_ pi;
		if (n < sizeof(pi))
			return -EINVAL;
		memcpy(&pi, data, sizeof(pi));
		if (ip_is_any(pi.addr))
			return 0;
		memcpy(m->src, pi.addr, sizeof(m->src));
	}
	m->has_src = true;
	return 0;
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
		const char *data = (const char *)ctl + at + sizeof(h);
		size_t n = h.len - sizeof(h);
		bool hops = (h.level == IPPROTO_IPV6 && h.type == IPV6_HOPLIMIT) || (h.level == IPPROTO_IP && h.type == IP_TTL);
		bool tclass = (h.level == IPPROTO_IPV6 && h.type == IPV6_TCLASS) || (h.level == IPPROTO_IP && h.type == IP_TOS);
		if (hops || tclass) {
			int v = 0;
			if (n < (h.type == IP_TOS && tclass && h.level == IPPROTO_IP ? 1 : sizeof(v)))
				return -EINVAL;
			memcpy(&v, data, min(n, sizeof(v)));
			if (v < -1 || v > 255)
				return -EINVAL;
			*(hops ? &m->hops : &m->tclass) = (s16)v;
		} else if ((h.level == IPPROTO_IP && h.type == IP_PKTINFO) || (h.level == IPPROTO_IPV6 && h.type == IPV6_PKTINFO)) {
			int r = take_source(m, h.level, data, n);
			if (r)
				return r;
		} else if (h.level == IPPROTO_UDP && h.type == UDP_SEGMENT) {
			if (n != sizeof(m->segment))
				return -EINVAL;
			memcpy(&m->segment, data, sizeof(m->segment));
		}
		size_t step = ALIGN_UP(h.len, sizeof(u64));
		if (step > len - at)
			break;
		at += step;
	}
	return 0;
}
