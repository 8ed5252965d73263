// SPDX-License-Identifier: Apache-2.0
// Options of level SOL_SOCKET; socket(7). Takes no locks: each option is one word.
#include "kernel/net/families.h"
#include "kernel/net/netdev.h"
#include "kernel/net/netns.h"
#include "kernel/include/log.h"
#include <linux/sock_diag.h>

#define SNDBUF_MIN 4608u
#define RCVBUF_MIN 2304u
#define BUF_MAX 212992u // net.core.{r,w}mem_max; the value set is doubled, as Linux does

int opt_int(const void *val, u32 len, int *out)
{
	if (len < sizeof(int))
		return -EINVAL;
	memcpy(out, val, sizeof(int));
	return 0;
}

int opt_put_int(int v, void *val, u32 *len)
{
	*len = min(*len, (u32)sizeof(int));
	memcpy(val, &v, *len);
	return 0;
}

static int put_bytes(const void *v, u32 n, void *val, u32 *len)
{
	*len = min(*len, n);
	memcpy(val, v, *len);
	return 0;
}

static int set_timeout(const void *val, u32 len, u64 *out)
{
	s64 tv[2];
	if (len < sizeof(tv))
		return -EINVAL;
	memcpy(tv, val, sizeof(tv));
	if ((u64)tv[1] >= 1000000)
		return -EDOM;
	if (tv[0] < 0 || (!tv[0] && !tv[1])) // never, as Linux takes negative ones
		*out = tv[0] < 0 ? 1 : 0;
	else
		*out = tv[0] > 1000000000 ? 0 : (u64)tv[0] * NSEC_PER_SEC + (u64)tv[1] * 1000;
	return 0;
}

static int get_timeout(u64 ns, void *val, u32 *len)
{
	s64 tv[2] = { (s64)(ns / NSEC_PER_SEC), (s64)(ns % NSEC_PER_SEC / 1000) };
	return put_bytes(tv, sizeof(tv), val, len);
}

static u32 buffer(int v, u32 min_, u32 max_)
{
	u32 n = v < 0 ? max_ : min((u32)v, max_);
	return max(n * 2, min_);
}

// Switches without an effect here: kept and given back. Each has a bit of s->kept.
static const u8 switches[] = { SO_NO_CHECK, SO_RXQ_OVFL, SO_WIFI_STATUS, SO_NOFCS, SO_SELECT_ERR_QUEUE, SO_PREFER_BUSY_POLL, SO_RCVMARK };

static u16 switch_bit(int opt)
{
	for (u32 k = 0; k < ARRAY_SIZE(switches); k++)
		if (switches[k] == opt)
			return (u16)(1u << k);
	return 0;
}

static int bind_to_device(struct sock *s, const char *name, u32 len)
{
	char n[16] = "";
	const struct netdev *d;
	memcpy(n, name, min(len, 15u));
	d = *n ? netdev_by_name(s->net, n) : NULL;
	if (*n && !d)
		return -ENODEV;
	s->device = d ? (u32)d->index : 0;
	return 0;
}

int sock_setopt(struct sock *s, int opt, const void *val, u32 len)
{
	int v = 0, r = 0;
	if (opt == SO_BINDTODEVICE)
		return bind_to_device(s, val, len);
	if ((r = opt_int(val, len, &v)))
		return r;
	u16 bit = switch_bit(opt);
	if (bit) { // two at a time are the caller's race
		s->kept = v ? s->kept | bit : s->kept & (u16)~bit;
		return 0;
	}
	switch (opt) {
	case SO_REUSEADDR: s->reuseaddr = v; break;
	case SO_REUSEPORT: s->reuseport = v; break;
	case SO_KEEPALIVE: s->keepalive = v; break;
	case SO_BROADCAST: s->broadcast = v; break;
	case SO_OOBINLINE: s->oobinline = v; break;
	case SO_DONTROUTE: s->dontroute = v; break;
	case SO_PASSCRED: s->passcred = v; break;
	case SO_TIMESTAMP_OLD:
	case SO_TIMESTAMP_NEW: s->timestamp = v; break;
	case SO_TIMESTAMPNS_OLD:
	case SO_TIMESTAMPNS_NEW: s->timestampns = v; break;
	case SO_INCOMING_CPU: s->incoming_cpu = v + 1; break;
	case SO_PEEK_OFF:
		if (s->family == AF_NETLINK)
			return -EOPNOTSUPP;
		s->peek_off = v == 0x7fffffff ? v : v + 1;
		break;
	case SO_BUSY_POLL:
		if (v < 0)
			return -EINVAL;
		s->busy_poll = (u32)v;
		break;
	case SO_MAX_PACING_RATE: s->pacing = ~(u32)v; break;
	case SO_BINDTOIFINDEX:
		if (v < 0)
			return -EINVAL;
		if (v && !netdev_by_index(s->net, v))
			return -ENODEV;
		s->device = (u32)v;
		break;
	case SO_ZEROCOPY: // sends always copy
		return v < 0 || v > 1 ? -EINVAL : v ? -EOPNOTSUPP : 0;
	case SO_DETACH_FILTER: return -ENOENT;
	case SO_PRIORITY:
		if ((v < 0 || v > 6) && !ns_capable(net_ns_owner(s->net), 12)) // CAP_NET_ADMIN
			return -EPERM;
		s->priority = (u32)v;
		break;
	case SO_MARK:
		if (!ns_capable(net_ns_owner(s->net), 12)) // CAP_NET_ADMIN
			return -EPERM;
		s->mark = (u32)v;
		break;
	case SO_SNDBUF:
	case SO_SNDBUFFORCE:
		s->sndbuf = buffer(v, SNDBUF_MIN, opt == SO_SNDBUF ? BUF_MAX : 1u << 24);
		s->sndbuf_set = true;
		sock_wake(&s->wq);
		break;
	case SO_RCVBUF:
	case SO_RCVBUFFORCE:
		s->rcvbuf = buffer(v, RCVBUF_MIN, opt == SO_RCVBUF ? BUF_MAX : 1u << 24);
		s->rcvbuf_set = true;
		sock_wake(&s->wq);
		break;
	case SO_RCVLOWAT: s->rcvlowat = v < 0 ? 0x7fffffff : max((u32)v, 1u); break;
	case SO_SNDLOWAT: return -ENOPROTOOPT;
	case SO_LINGER: {
		int l[2];
		if (len < sizeof(l))
			return -EINVAL;
		memcpy(l, val, sizeof(l));
		s->linger_sec = (u32)l[1];
		s->linger = l[0];
		break;
	}
	case SO_RCVTIMEO_OLD:
	case SO_RCVTIMEO_NEW: return set_timeout(val, len, &s->rcvtimeo);
	case SO_SNDTIMEO_OLD:
	case SO_SNDTIMEO_NEW: return set_timeout(val, len, &s->sndtimeo);
	case SO_TYPE:
	case SO_PROTOCOL:
	case SO_DOMAIN:
	case SO_ERROR:
	case SO_ACCEPTCONN: return -ENOPROTOOPT;
	default:
		pr_once("setsockopt(SOL_SOCKET, %d): not supported, answered ENOPROTOOPT", opt);
		return -ENOPROTOOPT;
	}
	return 0;
}

int sock_getopt(struct sock *s, int opt, void *val, u32 *len)
{
	int v;
	u16 bit = switch_bit(opt);
	if (bit)
		return opt_put_int((s->kept & bit) != 0, val, len);
	switch (opt) {
	case SO_TYPE: v = s->type; break;
	case SO_DOMAIN: v = s->family; break;
	case SO_PROTOCOL: v = s->protocol; break;
	case SO_ERROR: v = -sock_take_err(s); break;
	case SO_ACCEPTCONN: v = s->state == ST_LISTEN; break;
	case SO_REUSEADDR: v = s->reuseaddr; break;
	case SO_REUSEPORT: v = s->reuseport; break;
	case SO_KEEPALIVE: v = s->keepalive; break;
	case SO_BROADCAST: v = s->broadcast; break;
	case SO_OOBINLINE: v = s->oobinline; break;
	case SO_DONTROUTE: v = s->dontroute; break;
	case SO_PASSCRED: v = s->passcred; break;
	case SO_TIMESTAMP_OLD: v = s->timestamp; break;
	case SO_TIMESTAMPNS_OLD: v = s->timestampns; break;
	case SO_PRIORITY: v = (int)s->priority; break;
	case SO_MARK: v = (int)s->mark; break;
	case SO_SNDBUF: v = (int)s->sndbuf; break;
	case SO_RCVBUF: v = (int)s->rcvbuf; break;
	case SO_RCVLOWAT: v = (int)s->rcvlowat; break;
	case SO_SNDLOWAT: v = 1; break;
	case SO_INCOMING_CPU: v = s->incoming_cpu - 1; break;
	case SO_PEEK_OFF:
		if (s->family == AF_NETLINK)
			return -EOPNOTSUPP;
		v = s->peek_off - 1;
		break;
	case SO_BUSY_POLL: v = (int)s->busy_poll; break;
	case SO_MAX_PACING_RATE: v = (int)~s->pacing; break;
	case SO_BINDTOIFINDEX: v = (int)s->device; break;
	case SO_ZEROCOPY:
	case SO_INCOMING_NAPI_ID:
	case SO_LOCK_FILTER: v = 0; break;
	case SO_LINGER: {
		int l[2] = { s->linger, (int)s->linger_sec };
		return put_bytes(l, sizeof(l), val, len);
	}
	case SO_RCVTIMEO_OLD:
	case SO_RCVTIMEO_NEW: return get_timeout(s->rcvtimeo, val, len);
	case SO_SNDTIMEO_OLD:
	case SO_SNDTIMEO_NEW: return get_timeout(s->sndtimeo, val, len);
	case SO_BINDTODEVICE: {
		const struct netdev *d = netdev_by_index(s->net, (int)s->device);
		if (d && *len < 16)
			return -EINVAL;
		*len = d ? (u32)strlen(d->name) + 1 : 0;
		memcpy(val, d ? d->name : "", *len);
		return 0;
	}
	case SO_PEERNAME: {
		u8 name[ADDR_MAX];
		int n = s->ops->getname ? s->ops->getname(s, true, name) : -ENOTCONN;
		if (n < 0)
			return -ENOTCONN;
		if ((u32)n < *len)
			return -EINVAL;
		return put_bytes(name, (u32)n, val, len);
	}
	case SO_MEMINFO: {
		u32 mem[SK_MEMINFO_VARS] = { [SK_MEMINFO_RMEM_ALLOC] = s->type == SOCK_STREAM ? s->rx.len : s->pkt_bytes,
					     [SK_MEMINFO_RCVBUF] = s->rcvbuf, [SK_MEMINFO_SNDBUF] = s->sndbuf };
		return put_bytes(mem, sizeof(mem), val, len);
	}
	case SO_COOKIE: {
		u64 cookie = s->ino; // as in socket diagnosis
		if (*len < sizeof(cookie))
			return -EINVAL;
		return put_bytes(&cookie, sizeof(cookie), val, len);
	}
	case SO_PEERCRED: {
		struct ucred_ none = { 0, (u32)-1, (u32)-1 };
		return put_bytes(&none, sizeof(none), val, len);
	}
	default: return -ENOPROTOOPT;
	}
	return opt_put_int(v, val, len);
}
