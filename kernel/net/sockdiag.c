// SPDX-License-Identifier: Apache-2.0
// NETLINK_SOCK_DIAG (sock_diag(7)): lists of TCP, UDP and Unix sockets, as ss(8) asks for them. A request's filter program is
// not run: who asks filters once more.
// Locks: inet_lock or unix_lock while a table is walked, the netlink socket's below it.
#include "kernel/net/netlink.h"
#include "kernel/net/unix.h"
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>

#define MESSAGE_ROOM 640u // the longest message

struct dump {
	struct netlink_sock *n;
	struct nl_reply *r;
	const struct nlmsghdr *q;
	union {
		struct inet_diag_req_v2 inet;
		struct unix_diag_req un;
	} ask;
};

static void start(struct dump *d)
{
	if (d->r->len + MESSAGE_ROOM > NL_REPLY_MAX && nl_flush(d->n, d->r, true))
		d->r->len = 0;
	nl_begin(d->r, d->q, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, d->n->port);
}

static void put_addr(__be32 to[4], u16 family, const struct iaddr *a)
{
	if (family == AF_INET)
		memcpy(to, a->ip + 12, 4);
	else
		memcpy(to, a->ip, 16);
}

// What ss(8) asks for with -i, -m, -e.
static void put_extensions(struct dump *d, struct inet_sock *i)
{
	struct sock *s = &i->s;
	u32 ext = d->ask.inet.idiag_ext;
	u8 tos = (u8)inet_opt(i, IPPROTO_IP, IP_TOS), tclass = (u8)inet_opt(i, IPPROTO_IPV6, IPV6_TCLASS);
	u32 rx = s->type == SOCK_STREAM ? s->rx.len : s->pkt_bytes;
	if (ext & 1u << (INET_DIAG_SKMEMINFO - 1)) {
		u32 mem[SK_MEMINFO_VARS] = { [SK_MEMINFO_RMEM_ALLOC] = rx, [SK_MEMINFO_RCVBUF] = s->rcvbuf, [SK_MEMINFO_SNDBUF] = s->sndbuf };
		nl_attr(d->r, INET_DIAG_SKMEMINFO, mem, sizeof(mem));
	}
	if (ext & 1u << (INET_DIAG_TOS - 1))
		nl_attr(d->r, INET_DIAG_TOS, &tos, 1);
	if (s->family == AF_INET6 && ext & 1u << (INET_DIAG_TCLASS - 1))
		nl_attr(d->r, INET_DIAG_TCLASS, &tclass, 1);
	if (s->type != SOCK_STREAM)
		return;
	if (ext & 1u << (INET_DIAG_INFO - 1)) {
		struct tcp_info ti;
		inet_tcp_info(s, &ti);
		nl_attr(d->r, INET_DIAG_INFO, &ti, sizeof(ti));
	}
	if (ext & 1u << (INET_DIAG_CONG - 1))
		nl_attr(d->r, INET_DIAG_CONG, i->reno ? "reno" : "cubic", i->reno ? 5 : 6);
}

static int put_inet(struct inet_sock *i, void *arg)
{
	struct dump *d = arg;
	struct sock *s = &i->s;
	int st = s->type == SOCK_STREAM ? tcp_state(s) : s->state == ST_CONNECTED ? 1 : 7;
	u16 type = s->type;
	u8 v6only = i->v6only;

	if (s->family != d->ask.inet.sdiag_family || s->protocol != d->ask.inet.sdiag_protocol || !(d->ask.inet.idiag_states >> st & 1))
		return 0;
	if (s->type == SOCK_STREAM && st == TCP_CLOSED_STATE)
		return 0;
	struct inet_diag_msg m = {
		.idiag_family = (u8)s->family,
		.idiag_state = (u8)st,
		.id = { .idiag_sport = __builtin_bswap16(i->local.port), .idiag_dport = __builtin_bswap16(i->remote.port),
			.idiag_cookie = { (u32)s->ino, (u32)(s->ino >> 32) } },
		.idiag_rqueue = s->state == ST_LISTEN ? s->accept_n : type == SOCK_STREAM ? s->rx.len : s->pkt_bytes,
		.idiag_wqueue = s->state == ST_LISTEN ? s->backlog : 0,
		.idiag_uid = uid_out(s->uid),
		.idiag_inode = (u32)s->ino,
	};
	put_addr(m.id.idiag_src, s->family, &i->local);
	put_addr(m.id.idiag_dst, s->family, &i->remote);
	start(d);
	nl_body(d->r, &m, sizeof(m));
	if (s->family == AF_INET6)
		nl_attr(d->r, INET_DIAG_SKV6ONLY, &v6only, 1);
	nl_attr(d->r, INET_DIAG_SHUTDOWN, &s->shut, 1);
	put_extensions(d, i);
	nl_end(d->r);
	return 0;
}

static void put_unix(struct unix_sock *u, void *arg)
{
	struct dump *d = arg;
	struct sock *s = &u->s;
	int st = s->state == ST_LISTEN ? 10 : s->state == ST_CONNECTED ? 1 : 7;
	struct unix_diag_msg m = { .udiag_family = AF_UNIX, .udiag_type = (u8)s->type, .udiag_state = (u8)st, .udiag_ino = (u32)s->ino,
				   .udiag_cookie = { (u32)s->ino, (u32)(s->ino >> 32) } };
	struct unix_diag_rqlen rq;
	u32 peer = 0;

	if (!(d->ask.un.udiag_states >> st & 1) || (d->ask.un.udiag_ino && d->ask.un.udiag_ino != (u32)s->ino))
		return;
	mutex_lock(&s->lock);
	if (s->peer)
		peer = (u32)s->peer->ino;
	rq.udiag_rqueue = st == 10 ? s->accept_n : s->type == SOCK_STREAM ? s->rx.len : s->pkt_bytes;
	rq.udiag_wqueue = st == 10 ? s->backlog : 0;
	mutex_unlock(&s->lock);
	start(d);
	nl_body(d->r, &m, sizeof(m));
	if ((d->ask.un.udiag_show & UDIAG_SHOW_NAME) && u->name_len > sizeof(u16))
		nl_attr(d->r, UNIX_DIAG_NAME, u->name.path, u->name_len - (u32)sizeof(u16));
	if ((d->ask.un.udiag_show & UDIAG_SHOW_PEER) && peer)
		nl_attr(d->r, UNIX_DIAG_PEER, &peer, sizeof(peer));
	if (d->ask.un.udiag_show & UDIAG_SHOW_RQLEN)
		nl_attr(d->r, UNIX_DIAG_RQLEN, &rq, sizeof(rq));
	if (d->ask.un.udiag_show & UDIAG_SHOW_UID)
		nl_attr(d->r, UNIX_DIAG_UID, &(u32){uid_out(s->uid)}, sizeof(u32));
	nl_end(d->r);
}

int sock_diag(struct netlink_sock *n, struct nl_reply *r, const struct nlmsghdr *q, const u8 *body, u32 len)
{
	struct dump d = { .n = n, .r = r, .q = q };
	u8 family = len ? body[0] : 0;

	if (q->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return -EINVAL;
	if ((q->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		return -EOPNOTSUPP;
	switch (family) {
	case AF_INET:
	case AF_INET6:
		if (len < sizeof(d.ask.inet))
			return -EINVAL;
		memcpy(&d.ask.inet, body, sizeof(d.ask.inet));
		if (d.ask.inet.sdiag_protocol != IPPROTO_TCP && d.ask.inet.sdiag_protocol != IPPROTO_UDP &&
		    d.ask.inet.sdiag_protocol != IPPROTO_UDPLITE)
			return -ENOENT;
		return inet_for_each(n->s.net, put_inet, &d);
	case AF_UNIX:
		if (len < sizeof(d.ask.un))
			return -EINVAL;
		memcpy(&d.ask.un, body, sizeof(d.ask.un));
		unix_for_each(n->s.net, put_unix, &d);
		return 0;
	}
	return -ENOENT; // no handler for this family
}
