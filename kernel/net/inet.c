// SPDX-License-Identifier: Apache-2.0
// Addresses and ports of TCP and UDP: parsing, the port table, binding, lookup.
// A port's row has two lists: who bound it, and who was accepted from a listener there. Thousands of the latter cost a connect nothing.
// Locks: inet_lock guards the table and bound addresses; sock locks are taken below it only to read a state.
#include "kernel/net/inet.h"
#include "kernel/include/platform.h"
#include "kernel/net/netdev.h"
#include "kernel/net/netns.h"

#define BUCKETS 1024u
#define EPHEMERAL_LOW 32768u
#define EPHEMERAL_HIGH 60999u // net.ipv4.ip_local_port_range

static struct mutex inet_lock;
static struct bucket {
	struct list own, accepted;
} ports[BUCKETS];
static u32 next_ephemeral;

static const u8 v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
static const u8 zero[16];

bool ip_is_v4(const u8 *ip) { return !memcmp(ip, v4_prefix, 12); }
bool ip_is_any(const u8 *ip) { return !memcmp(ip, zero, 16) || (ip_is_v4(ip) && !memcmp(ip + 12, zero, 4)); }
bool ip_is_loopback(const u8 *ip)
{
	return ip_is_v4(ip) ? ip[12] == 127 : !memcmp(ip, zero, 15) && ip[15] == 1;
}
bool ip_is_multicast(const u8 *ip) { return ip_is_v4(ip) ? (ip[12] & 0xf0) == 0xe0 : ip[0] == 0xff; }

bool ip_is_local(const u8 *ip) { return ip_is_loopback(ip) || netdev_owns(ip) || shield_owns(ip); }

static struct bucket *bucket(u16 port)
{
	struct bucket *b = &ports[port % BUCKETS];
	if (!b->own.next) {
		list_init(&b->own);
		list_init(&b->accepted);
	}
	return b;
}

int inet_parse(struct sock *s, const u8 *addr, u32 len, struct iaddr *out)
{
	u16 family;
	memset(out, 0, sizeof(*out));
	if (len < sizeof(family))
		return -EINVAL;
	memcpy(&family, addr, sizeof(family));
	if (s->family == AF_INET) {
		struct sockaddr_in in;
		if (len < sizeof(in))
			return -EINVAL;
		memcpy(&in, addr, sizeof(in));
		if (family != AF_INET && !(family == AF_UNSPEC && !in.sin_addr.s_addr))
			return -EAFNOSUPPORT;
		memcpy(out->ip, v4_prefix, 12);
		memcpy(out->ip + 12, &in.sin_addr, 4);
		out->port = __builtin_bswap16(in.sin_port);
		return 0;
	}
	struct sockaddr_in6 in6;
	memset(&in6, 0, sizeof(in6));
	if (family != AF_INET6)
		return -EAFNOSUPPORT;
	if (len < 24) // without the scope, RFC 2133
		return -EINVAL;
	memcpy(&in6, addr, min(len, (u32)sizeof(in6)));
	memcpy(out->ip, &in6.sin6_addr, 16);
	out->port = __builtin_bswap16(in6.sin6_port);
	out->scope = in6.sin6_scope_id;
	return 0;
}

u32 inet_put_addr(u16 family, const struct iaddr *a, u8 *addr)
{
	if (family == AF_INET) {
		struct sockaddr_in in;
		memset(&in, 0, sizeof(in));
		in.sin_family = AF_INET;
		in.sin_port = __builtin_bswap16(a->port);
		memcpy(&in.sin_addr, a->ip + 12, 4);
		memcpy(addr, &in, sizeof(in));
		return sizeof(in);
	}
	struct sockaddr_in6 in6;
	memset(&in6, 0, sizeof(in6));
	in6.sin6_family = AF_INET6;
	in6.sin6_port = __builtin_bswap16(a->port);
	memcpy(&in6.sin6_addr, a->ip, 16);
	in6.sin6_scope_id = a->scope;
	memcpy(addr, &in6, sizeof(in6));
	return sizeof(in6);
}

void inet_fix_destination(struct iaddr *a)
{
	if (!ip_is_any(a->ip))
		return;
	if (ip_is_v4(a->ip))
		a->ip[12] = 127;
	a->ip[15] = 1;
}

void inet_source_for(const struct iaddr *dst, struct iaddr *local)
{
	if (!ip_is_any(local->ip))
		return;
	if (netdev_owns(dst->ip)) {
		memcpy(local->ip, dst->ip, 16);
		return;
	}
	memset(local->ip, 0, 16);
	if (ip_is_v4(dst->ip)) {
		memcpy(local->ip, v4_prefix, 12);
		local->ip[12] = 127;
	}
	local->ip[15] = 1;
}

struct inet_sock *inet_new(u16 family, u16 type, const struct sock_ops *ops)
{
	struct inet_sock *i = knew(struct inet_sock);
	if (!i)
		return NULL;
	sock_init(&i->s, ops, family, type, type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
	list_init(&i->hash);
	i->hfd = -1;
	if (type == SOCK_STREAM) { // net.ipv4.tcp_{w,r}mem
		i->s.sndbuf = 16384;
		i->s.rcvbuf = 131072;
	}
	return i;
}

void inet_free(struct sock *s)
{
	kfree(inet_of(s)->tcp);
	kfree(inet_of(s)->ip);
	udp_extra_free(inet_of(s));
	kfree(inet_of(s)->groups);
	kfree(inet_of(s));
}

struct sock *inet_create(int family, int type, int protocol, int *err)
{
	struct inet_sock *i = NULL;
	*err = -EINVAL;
	if (protocol < 0 || protocol >= IPPROTO_MAX)
		return NULL;
	*err = -EPROTONOSUPPORT;
	if (type == SOCK_STREAM && (!protocol || protocol == IPPROTO_TCP))
		i = inet_new((u16)family, SOCK_STREAM, &tcp_ops);
	else if (type == SOCK_DGRAM && (!protocol || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE)) {
		i = inet_new((u16)family, SOCK_DGRAM, &udp_ops);
		if (i && protocol)
			i->s.protocol = (u16)protocol; // UDP-Lite: UDP with ports of its own; over the inner loopback only
	} else {
		if (type == SOCK_RAW)
			*err = !protocol || capable_here(CLONE_NEWNET, 13) ? -EPROTONOSUPPORT : -EPERM; // CAP_NET_RAW: there is no raw network here
		else if (type != SOCK_STREAM && type != SOCK_DGRAM)
			*err = -ESOCKTNOSUPPORT;
		return NULL;
	}
	*err = i ? 0 : -ENOMEM;
	return i ? &i->s : NULL;
}

// --- the port table; all with inet_lock held

static bool any6(const struct inet_sock *i) { return !ip_is_v4(i->local.ip) && ip_is_any(i->local.ip); }

static bool overlap(const struct inet_sock *a, const struct inet_sock *b)
{
	bool a4 = ip_is_v4(a->local.ip), b4 = ip_is_v4(b->local.ip);
	if (any6(a))
		return !b4 || !a->v6only;
	if (any6(b))
		return !a4 || !b->v6only;
	if (a4 != b4)
		return false;
	return ip_is_any(a->local.ip) || ip_is_any(b->local.ip) || !memcmp(a->local.ip, b->local.ip, 16);
}

static bool conflict_in(const struct list *head, const struct inet_sock *a, u16 port, bool listening)
{
	struct inet_sock *b;
	list_for_each(b, head, hash) {
		if (b == a || b->local.port != port || b->s.protocol != a->s.protocol || b->s.net != a->s.net || a->outside != b->outside || !overlap(a, b))
			continue;
		if (a->serves != b->serves && memcmp(a->local.ip, b->local.ip, 16))
			continue; // who asks for the gateway's address finds the gateway
		if (a->serves != b->serves)
			return true;
		if (a->s.reuseport && b->s.reuseport && a->s.uid == b->s.uid)
			continue;
		if (listening) {
			if (b->s.state == ST_LISTEN)
				return true;
			continue;
		}
		if (a->s.reuseaddr && b->s.reuseaddr && (a->s.type == SOCK_DGRAM || b->s.state != ST_LISTEN))
			continue;
		return true;
	}
	return false;
}

static bool conflict(const struct inet_sock *a, u16 port, bool listening)
{
	struct bucket *b = bucket(port);
	return conflict_in(&b->own, a, port, listening) || conflict_in(&b->accepted, a, port, listening);
}

static bool in_use(const struct inet_sock *a, u16 port)
{
	struct bucket *row = bucket(port);
	struct inet_sock *b;
	list_for_each(b, &row->own, hash)
		if (b->local.port == port && b->s.protocol == a->s.protocol && b->s.net == a->s.net)
			return true;
	list_for_each(b, &row->accepted, hash)
		if (b->local.port == port && b->s.protocol == a->s.protocol && b->s.net == a->s.net)
			return true;
	return false;
}

static int take_ephemeral(struct inet_sock *i)
{
	const u32 n = EPHEMERAL_HIGH - EPHEMERAL_LOW + 1;
	if (!next_ephemeral)
		pf_random(&next_ephemeral, sizeof(next_ephemeral));
	for (u32 k = 0; k < n; k++) {
		u16 port = (u16)(EPHEMERAL_LOW + (next_ephemeral + k) % n);
		if (!in_use(i, port)) {
			next_ephemeral += k + 1;
			i->local.port = port;
			return 0;
		}
	}
	return -EADDRINUSE;
}

static int take_port(struct inet_sock *i, u16 port)
{
	int r = 0;
	mutex_lock(&inet_lock);
	if (i->bound)
		r = -EINVAL;
	else if (!port)
		r = take_ephemeral(i);
	else if (conflict(i, port, false))
		r = -EADDRINUSE;
	else
		i->local.port = port;
	if (!r) {
		i->bound = true;
		list_add(&i->hash, &bucket(i->local.port)->own);
	}
	mutex_unlock(&inet_lock);
	return r;
}

bool inet_published(const struct inet_sock *i, u16 port) { return i->outside || (!i->serves && !i->s.net && host_may_listen(port)); }

// May it have an address that is not ours? Nothing will reach it there.
static bool binds_freely(const struct inet_sock *i)
{
	return i->ip && (inet_opt(i, IPPROTO_IP, IP_FREEBIND) || inet_opt(i, IPPROTO_IPV6, IPV6_FREEBIND) ||
			 inet_opt(i, IPPROTO_IP, IP_TRANSPARENT) || inet_opt(i, IPPROTO_IPV6, IPV6_TRANSPARENT));
}

int inet_bind(struct sock *s, const u8 *addr, u32 len)
{
	struct inet_sock *i = inet_of(s);
	struct iaddr a, old = i->local;
	int r = inet_parse(s, addr, len, &a);
	if (r)
		return r;
	if (i->bound || s->state != ST_IDLE)
		return -EINVAL;
	if (i->v6only && ip_is_v4(a.ip))
		return -EINVAL;
	shield_bind(i, &a);
	if (ip_is_multicast(a.ip) && s->type == SOCK_DGRAM)
		r = 0;
	else if (!ip_is_any(a.ip) && !net_local(s->net, a.ip) && !inet_published(i, a.port) && !i->serves && !binds_freely(i))
		return -EADDRNOTAVAIL;
	if (a.port && a.port < 1024 && !ns_capable(net_ns_owner(s->net), 10)) // CAP_NET_BIND_SERVICE
		return -EACCES;
	i->local = a;
	r = take_port(i, a.port);
	if (!r && s->protocol == IPPROTO_UDP && inet_published(i, a.port) && (r = host_udp_open(i, true)))
		inet_unbind(i);
	if (r)
		i->local = old;
	else
		i->own_address = !ip_is_any(a.ip), i->named_port = a.port;
	return r;
}

int inet_autobind(struct inet_sock *i)
{
	if (i->bound)
		return 0;
	if (i->s.family == AF_INET)
		memcpy(i->local.ip, v4_prefix, 12);
	int r = take_port(i, 0);
	return r == -EADDRINUSE ? -EADDRNOTAVAIL : i->bound ? 0 : r;
}

void inet_share_port(struct inet_sock *child, struct inet_sock *listener)
{
	mutex_lock(&inet_lock);
	child->bound = child->shares_port = true;
	list_add_tail(&child->hash, &bucket(listener->local.port)->accepted);
	mutex_unlock(&inet_lock);
}

void inet_unbind(struct inet_sock *i)
{
	mutex_lock(&inet_lock);
	list_del(&i->hash);
	i->bound = false;
	mutex_unlock(&inet_lock);
}

int inet_begin_listen(struct inet_sock *i, int backlog)
{
	int r = 0;
	if (!i->bound && (r = inet_autobind(i)))
		return r;
	mutex_lock(&inet_lock);
	if (i->s.state != ST_LISTEN && conflict(i, i->local.port, true))
		r = -EADDRINUSE;
	mutex_lock(&i->s.lock);
	if (!r && i->s.state != ST_IDLE && i->s.state != ST_LISTEN)
		r = -EINVAL;
	if (!r) {
		i->s.state = ST_LISTEN;
		i->s.backlog = (u32)backlog;
	}
	mutex_unlock(&i->s.lock);
	mutex_unlock(&inet_lock);
	sock_wake(&i->s.wq);
	return r;
}

// How well a socket fits; 0: not at all.
static int score(const struct inet_sock *i, const struct iaddr *dst, const struct iaddr *src)
{
	int n = 1;
	if (i->s.type == SOCK_STREAM && (i->s.state != ST_LISTEN || i->shares_port || i->outside))
		return 0;
	if (shield_hides(i, dst->ip))
		return 0;
	if (ip_is_any(i->local.ip)) {
		bool v4 = ip_is_v4(dst->ip);
		if (ip_is_v4(i->local.ip) ? !v4 : v4 && i->v6only)
			return 0;
		n += ip_is_v4(i->local.ip) == v4;
	} else if (memcmp(i->local.ip, dst->ip, 16)) {
		return 0;
	} else {
		n += 2;
	}
	if (i->s.type == SOCK_DGRAM && i->s.state == ST_CONNECTED) {
		if (i->remote.port != src->port || memcmp(i->remote.ip, src->ip, 16))
			return 0;
		n += 4;
	}
	return n;
}

// Which of the n sockets that share a port (SO_REUSEPORT) gets what comes from src: a flow stays with its socket, as on Linux.
static u32 pick(const struct iaddr *dst, const struct iaddr *src, u32 n)
{
	static u64 seed;
	u64 w[4], h;

	if (!seed)
		pf_random(&seed, sizeof(seed));
	memcpy(w, src->ip, 16);
	memcpy(w + 2, dst->ip, 16);
	h = seed ^ ((u64)src->port << 16 | dst->port);
	for (u32 k = 0; k < ARRAY_SIZE(w); k++) {
		h = (h ^ w[k]) * 0x9e3779b97f4a7c15ul;
		h ^= h >> 29;
	}
	h *= 0xbf58476d1ce4e5b9ul;
	return (u32)((h >> 32) * n >> 32);
}

struct inet_sock *inet_find(const struct net_ns *net, u16 protocol, const struct iaddr *dst, const struct iaddr *src)
{
	struct inet_sock *i, *best = NULL;
	struct list *head;
	u32 same = 0;
	int top = 0;
	mutex_lock(&inet_lock);
	head = &bucket(dst->port)->own;
	list_for_each(i, head, hash) {
		if (i->s.protocol != protocol || i->local.port != dst->port || i->s.net != net)
			continue;
		int n = score(i, dst, src);
		if (n > top) {
			top = n;
			best = i;
			same = 0;
		}
		same += n == top && i->s.reuseport;
	}
	if (same > 1 && best->s.reuseport) {
		u32 nth = pick(dst, src, same);
		list_for_each(i, head, hash) {
			if (i->s.protocol != protocol || i->local.port != dst->port || i->s.net != net || !i->s.reuseport ||
			    score(i, dst, src) != top || nth--)
				continue;
			best = i;
			break;
		}
	}
	if (best && !ref_get_unless_zero(&best->s.ref))
		best = NULL;
	mutex_unlock(&inet_lock);
	return best;
}

bool inet_served(const struct iaddr *to)
{
	struct inet_sock *i;
	bool found = false;
	mutex_lock(&inet_lock);
	list_for_each(i, &bucket(to->port)->own, hash)
		if (i->serves && i->s.type == SOCK_STREAM && i->local.port == to->port && !memcmp(i->local.ip, to->ip, 16) && score(i, to, to))
			found = true;
	mutex_unlock(&inet_lock);
	return found;
}

void inet_table_lock(void) { mutex_lock(&inet_lock); }
void inet_table_unlock(void) { mutex_unlock(&inet_lock); }

u32 inet_find_group(const struct net_ns *net, u16 protocol, const struct iaddr *dst, const struct iaddr *src, struct inet_sock **out, u32 n)
{
	struct inet_sock *i;
	u32 k = 0;
	mutex_lock(&inet_lock);
	list_for_each(i, &bucket(dst->port)->own, hash) {
		if (k == n || i->s.protocol != protocol || i->local.port != dst->port || i->s.net != net || !score(i, dst, src))
			continue;
		if (mcast_takes(i, dst->ip, src->ip) && ref_get_unless_zero(&i->s.ref))
			out[k++] = i;
	}
	mutex_unlock(&inet_lock);
	return k;
}

static int each_of(const struct list *head, const struct net_ns *net, int (*fn)(struct inet_sock *, void *), void *arg)
{
	struct inet_sock *i;
	int r = 0;
	list_for_each(i, head, hash)
		if (i->s.net == net && (r = fn(i, arg)))
			break;
	return r;
}

int inet_for_each(const struct net_ns *net, int (*fn)(struct inet_sock *, void *), void *arg)
{
	int r = 0;
	mutex_lock(&inet_lock);
	for (u32 b = 0; b < BUCKETS && !r; b++) {
		r = each_of(&bucket((u16)b)->own, net, fn, arg);
		if (!r)
			r = each_of(&bucket((u16)b)->accepted, net, fn, arg);
	}
	mutex_unlock(&inet_lock);
	return r;
}

int inet_getname(struct sock *s, bool peer, u8 *addr)
{
	struct inet_sock *i = inet_of(s);
	if (peer && (s->state != ST_CONNECTED || (s->type == SOCK_STREAM && (!i->remote.port || stream_over(s)))))
		return -ENOTCONN;
	return (int)inet_put_addr(s->family, peer ? &i->remote : &i->local, addr);
}
