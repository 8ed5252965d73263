// SPDX-License-Identifier: Apache-2.0
// The files of /proc/net. Each generator writes as much as fits and returns the length that it needs.
// Locks: inet_lock or unix_lock while a table is walked.
#include "kernel/include/ipc.h"
#include "kernel/net/inet.h"
#include "kernel/net/netdev.h"
#include "kernel/net/unix.h"

struct text {
	char *buf;
	size_t n, at;
};

static void add(struct text *t, const char *fmt, ...) __printf(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	size_t room = t->at < t->n ? t->n - t->at : 0;
	t->at += (size_t)vsnprintf(room ? t->buf + t->at : NULL, room, fmt, ap);
	va_end(ap);
}

struct inet_walk {
	struct text t;
	u16 family, type, protocol;
	u32 n;
};

// Addresses are shown as 32-bit words in the machine's byte order.
static void add_addr(struct text *t, u16 family, const struct iaddr *a)
{
	u32 w[4];
	memcpy(w, a->ip, sizeof(w));
	if (family == AF_INET)
		add(t, "%08X:%04X ", w[3], a->port);
	else
		add(t, "%08X%08X%08X%08X:%04X ", w[0], w[1], w[2], w[3], a->port);
}

// Lines of Linux's tables have one length.
static void pad_line(struct text *t, size_t begin, size_t len)
{
	add(t, "%*s\n", (int)(t->at - begin < len ? len - (t->at - begin) : 0), "");
}

static int inet_line(struct inet_sock *i, void *arg)
{
	struct inet_walk *w = arg;
	struct sock *s = &i->s;
	if (s->family != w->family || s->protocol != w->protocol)
		return 0;
	int st = s->type == SOCK_STREAM ? tcp_state(s) : s->state == ST_CONNECTED ? 1 : 7;
	if (s->type == SOCK_STREAM && st == TCP_CLOSED_STATE)
		return 0;
	size_t begin = w->t.at;
	add(&w->t, "%4u: ", w->n++);
	add_addr(&w->t, w->family, &i->local);
	add_addr(&w->t, w->family, &i->remote);
	u32 rx = s->type == SOCK_STREAM ? s->rx.len : s->pkt_bytes;
	bool tcp = s->type == SOCK_STREAM;
	add(&w->t, "%02X %08X:%08X 00:00000000 00000000 %5u %8d %lu %u %016x", st, 0, s->state == ST_LISTEN ? s->accept_n : rx,
	    uid_out(s->uid), 0, s->ino, s->ref.n, 0);
	if (tcp && s->state == ST_LISTEN)
		add(&w->t, " 100 0 0 10 0");
	else if (tcp)
		add(&w->t, " 20 4 30 10 -1");
	else
		add(&w->t, " 0");
	if (w->family == AF_INET)
		pad_line(&w->t, begin, tcp ? 149 : 127);
	else
		add(&w->t, "\n");
	return 0;
}

static size_t inet_file(const struct net_ns *net, char *buf, size_t n, u16 family, u16 type, u16 protocol)
{
	struct inet_walk w = { .t = { buf, n, 0 }, .family = family, .type = type, .protocol = protocol };
	if (family == AF_INET6)
		add(&w.t, "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt"
			  "   uid  timeout inode%s\n", type == SOCK_STREAM ? "" : " ref pointer drops");
	else
		add(&w.t, "%s local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode%s",
		    type == SOCK_STREAM ? "  sl " : "   sl ", type == SOCK_STREAM ? "" : " ref pointer drops");
	if (family == AF_INET)
		pad_line(&w.t, 0, type == SOCK_STREAM ? 149 : 127);
	(void)inet_for_each(net, inet_line, &w);
	return w.t.at;
}

static size_t gen_tcp(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET, SOCK_STREAM, IPPROTO_TCP); }
static size_t gen_tcp6(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET6, SOCK_STREAM, IPPROTO_TCP); }
static size_t gen_udp(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET, SOCK_DGRAM, IPPROTO_UDP); }
static size_t gen_udp6(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET6, SOCK_DGRAM, IPPROTO_UDP); }

static size_t gen_udplite(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE); }
static size_t gen_udplite6(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE); }

static size_t gen_dev(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	const struct netdev *d;
	add(&t, "Inter-|   Receive                                                |  Transmit\n"
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n");
	for (u32 k = 0; (d = netdev_row(net, k)); k++)
		add(&t, "%6s: %7u %7u    0    0    0     0          0         0 %8u %7u    0    0    0     0       0          0\n",
		    d->name, 0, 0, 0, 0);
	return t.at;
}

static void route_line(struct text *t, const struct netdev *d, u32 dst, u32 mask)
{
	size_t begin = t->at;
	add(t, "%s\t%08X\t00000000\t0001\t0\t0\t0\t%08X\t0\t0\t0", d->name, dst, mask);
	pad_line(t, begin, 127);
}

static size_t gen_route(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	const struct netdev *d = netdev_row(net, 1);
	u32 ip, mask;
	add(&t, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT");
	pad_line(&t, 0, 127);
	if (!d)
		return t.at;
	route_line(&t, d, 0, 0);
	memcpy(&ip, d->ip4, 4);
	mask = __builtin_bswap32(~0u << (32 - d->prefix4));
	route_line(&t, d, ip & mask, mask);
	return t.at;
}

static void add_hex(struct text *t, const u8 *ip)
{
	for (u32 k = 0; k < 16; k++)
		add(t, "%02x", ip[k]);
}

static size_t gen_if_inet6(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	const struct netdev *d;
	for (u32 k = 0; netdev_has_lo6(net) && (d = netdev_row(net, k)); k++) {
		add_hex(&t, d->ip6);
		add(&t, " %02x %02x %02x 80 %8s\n", (u32)d->index, d->prefix6, d->index == 1 ? 0x10 : 0, d->name);
	}
	return t.at;
}

static void route6_line(struct text *t, const u8 *ip, u32 bits, u32 metric, u32 flags, const struct netdev *d)
{
	static const u8 none[16];
	add_hex(t, ip);
	add(t, " %02x ", bits);
	add_hex(t, none);
	add(t, " 00 ");
	add_hex(t, none);
	add(t, " %08x 00000001 00000000 %08x %8s\n", metric, flags, d->name);
}

static size_t gen_ipv6_route(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	const struct netdev *d = netdev_row(net, 1);
	u8 ip[16] = { 0 };
	if (!netdev_has_lo6(net))
		return 0;
	if (d) {
		memcpy(ip, d->ip6, 8);
		route6_line(&t, ip, d->prefix6, 256, 1, d);
		memset(ip, 0, sizeof(ip));
		route6_line(&t, ip, 0, 1024, 1, d);
	}
	for (u32 k = 0; (d = netdev_row(net, k)); k++)
		route6_line(&t, d->ip6, 128, 0, 0x80200001, d);
	return t.at;
}

static size_t gen_arp(const struct net_ns *net, char *buf, size_t n)
{
	(void)net;
	struct text t = { buf, n, 0 };
	add(&t, "IP address       HW type     Flags       HW address            Mask     Device\n");
	return t.at;
}

struct counts {
	u32 tcp, udp, tcp6, udp6;
};

static int count(struct inet_sock *i, void *arg)
{
	struct counts *c = arg;
	bool six = i->s.family == AF_INET6;
	(*(i->s.type == SOCK_STREAM ? six ? &c->tcp6 : &c->tcp : six ? &c->udp6 : &c->udp))++;
	return 0;
}

static void count_unix(struct unix_sock *u, void *arg)
{
	(void)u;
	(*(u32 *)arg)++;
}

static size_t gen_sockstat(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	struct counts c = { 0 };
	u32 un = 0;
	(void)inet_for_each(net, count, &c);
	unix_for_each(net, count_unix, &un);
	add(&t, "sockets: used %u\nTCP: inuse %u orphan 0 tw 0 alloc %u mem 0\nUDP: inuse %u mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\n"
		"FRAG: inuse 0 memory 0\n", un + c.tcp + c.udp + c.tcp6 + c.udp6, c.tcp, c.tcp + c.tcp6, c.udp);
	return t.at;
}

static size_t gen_sockstat6(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	struct counts c = { 0 };
	(void)inet_for_each(net, count, &c);
	add(&t, "TCP6: inuse %u\nUDP6: inuse %u\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n", c.tcp6, c.udp6);
	return t.at;
}

static int count_established(struct inet_sock *i, void *arg)
{
	int st = i->s.type == SOCK_STREAM ? tcp_state(&i->s) : 0;
	*(u32 *)arg += st == 1 || st == 8; // CLOSE_WAIT counts, as in Linux
	return 0;
}

// No packets are sent inside, so of all this only the established connections are more than nothing.
static size_t gen_snmp(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	u32 estab = 0;
	(void)inet_for_each(net, count_established, &estab);
	add(&t, "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests "
		"OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates\n"
		"Ip: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
		"Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps "
		"InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds "
		"OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps\n"
		"Icmp: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
		"Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs "
		"InErrs OutRsts InCsumErrors\n"
		"Tcp: 1 200 120000 -1 0 0 0 0 %u 0 0 0 0 0 0\n", estab);
	for (u32 lite = 0; lite < 2; lite++)
		add(&t, "%s: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n%s: 0 0 0 0 0 0 0 0 0\n",
		    lite ? "UdpLite" : "Udp", lite ? "UdpLite" : "Udp");
	return t.at;
}

static size_t gen_netstat(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	(void)net;
	add(&t, "TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed TW DelayedACKs ListenOverflows ListenDrops TCPHPHits TCPPureAcks TCPLostRetransmit "
		"TCPTimeouts TCPAbortOnData TCPAbortOnClose TCPAbortOnTimeout TCPBacklogDrop TCPOrigDataSent\n"
		"TcpExt: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
		"IpExt: InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets InMcastOctets OutMcastOctets "
		"InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts\n"
		"IpExt: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
	return t.at;
}

static size_t gen_snmp6(const struct net_ns *net, char *buf, size_t n)
{
	static const char *const rows[] = {
		"Ip6InReceives", "Ip6InHdrErrors", "Ip6InTooBigErrors", "Ip6InNoRoutes", "Ip6InAddrErrors", "Ip6InUnknownProtos", "Ip6InTruncatedPkts",
		"Ip6InDiscards", "Ip6InDelivers", "Ip6OutForwDatagrams", "Ip6OutRequests", "Ip6OutDiscards", "Ip6OutNoRoutes", "Ip6InOctets", "Ip6OutOctets",
		"Icmp6InMsgs", "Icmp6InErrors", "Icmp6OutMsgs", "Icmp6OutErrors", "Udp6InDatagrams", "Udp6NoPorts", "Udp6InErrors", "Udp6OutDatagrams",
		"Udp6RcvbufErrors", "Udp6SndbufErrors",
	};
	struct text t = { buf, n, 0 };
	(void)net;
	for (u32 k = 0; k < ARRAY_SIZE(rows); k++)
		add(&t, "%-32s\t0\n", rows[k]);
	return t.at;
}

// There are no raw and packet sockets: tables without rows.
static size_t gen_raw(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET, SOCK_RAW, IPPROTO_RAW); }
static size_t gen_raw6(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET6, SOCK_RAW, IPPROTO_RAW); }
static size_t gen_packet(const struct net_ns *net, char *buf, size_t n)
{
	(void)net;
	return (size_t)snprintf(buf, n, "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
}

int proc_net_init(void)
{
	static const struct {
		const char *name;
		size_t (*gen)(const struct net_ns *net, char *buf, size_t n);
	} files[] = {
		{ "tcp", gen_tcp }, { "tcp6", gen_tcp6 }, { "udp", gen_udp }, { "udp6", gen_udp6 }, { "unix", unix_proc },
		{ "dev", gen_dev }, { "route", gen_route }, { "if_inet6", gen_if_inet6 }, { "ipv6_route", gen_ipv6_route },
		{ "arp", gen_arp }, { "sockstat", gen_sockstat }, { "sockstat6", gen_sockstat6 }, { "raw", gen_raw }, { "raw6", gen_raw6 },
		{ "packet", gen_packet }, { "snmp", gen_snmp }, { "netstat", gen_netstat }, { "snmp6", gen_snmp6 },
		{ "udplite", gen_udplite }, { "udplite6", gen_udplite6 },
	};
	int r = 0;
	for (u32 k = 0; k < ARRAY_SIZE(files) && !r; k++)
		r = proc_net_register(files[k].name, files[k].gen);
	return r;
}
