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
	u16 family, type;
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

static int inet_line(struct inet_sock *i, void *arg)
{
	struct inet_walk *w = arg;
	struct sock *s = &i->s;
	if (s->family != w->family || s->type != w->type)
		return 0;
	int st = s->type == SOCK_STREAM ? tcp_state(s) : s->state == ST_CONNECTED ? 1 : 7;
	add(&w->t, "%4u: ", w->n++);
	add_addr(&w->t, w->family, &i->local);
	add_addr(&w->t, w->family, &i->remote);
	u32 rx = s->type == SOCK_STREAM ? s->rx.len : s->pkt_bytes;
	add(&w->t, "%02X %08X:%08X 00:00000000 00000000 %5u %8d %lu %u %016x\n", st, 0, s->state == ST_LISTEN ? s->accept_n : rx,
	    uid_out(s->uid), 0, s->ino, s->ref.n, 0);
	return 0;
}

static size_t inet_file(const struct net_ns *net, char *buf, size_t n, u16 family, u16 type)
{
	struct inet_walk w = { .t = { buf, n, 0 }, .family = family, .type = type };
	add(&w.t, "  sl  local_address %srem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
	    family == AF_INET6 ? "                        " : "");
	(void)inet_for_each(net, inet_line, &w);
	return w.t.at;
}

static size_t gen_tcp(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET, SOCK_STREAM); }
static size_t gen_tcp6(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET6, SOCK_STREAM); }
static size_t gen_udp(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET, SOCK_DGRAM); }
static size_t gen_udp6(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET6, SOCK_DGRAM); }

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

static size_t gen_route(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	const struct netdev *d = netdev_row(net, 1);
	add(&t, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n");
	if (d)
		add(&t, "%s\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n", d->name);
	return t.at;
}

static size_t gen_if_inet6(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	if (netdev_has_lo6(net))
		add(&t, "00000000000000000000000000000001 01 80 10 80 %8s\n", "lo");
	return t.at;
}

static size_t gen_ipv6_route(const struct net_ns *net, char *buf, size_t n)
{
	struct text t = { buf, n, 0 };
	if (netdev_has_lo6(net))
		add(&t, "00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 "
			"00000000 00000001 00000000 80200001 %8s\n", "lo");
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
		"Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs "
		"InErrs OutRsts InCsumErrors\n"
		"Tcp: 1 200 120000 -1 0 0 0 0 %u 0 0 0 0 0 0\n"
		"Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti\n"
		"Udp: 0 0 0 0 0 0 0 0\n", estab);
	return t.at;
}

// There are no raw and packet sockets: tables without rows.
static size_t gen_raw(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET, SOCK_RAW); }
static size_t gen_raw6(const struct net_ns *net, char *buf, size_t n) { return inet_file(net, buf, n, AF_INET6, SOCK_RAW); }
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
		{ "packet", gen_packet }, { "snmp", gen_snmp },
	};
	int r = 0;
	for (u32 k = 0; k < ARRAY_SIZE(files) && !r; k++)
		r = proc_net_register(files[k].name, files[k].gen);
	return r;
}
