// SPDX-License-Identifier: Apache-2.0
// Interfaces and the ioctls that ask about them; netdevice(7). The table is constant, but for lo of a
// namespace, which may be down (netns.c): no locks.
#include "kernel/net/netdev.h"
#include "kernel/include/boot.h"
#include "kernel/net/inet.h"
#include "kernel/net/netns.h"
#include <linux/sockios.h>

// linux/if_arp.h drags libc headers in
#define ARPHRD_LOOPBACK 772
#define ARPHRD_NONE 0xFFFE
#define UP_RUNNING (0x1u | 0x40u)	// IFF_UP | IFF_RUNNING
#define LOOPBACK_FLAG 0x8u
#define POINTOPOINT_NOARP (0x10u | 0x80u)

#define LO6 { [15] = 1 }
#define OUTER6 { 0xfd, 0xc0, 0xff, 0xe0, 0, 0x64, [15] = 1 } // fdc0:ffe0:64::1

static const struct netdev lo_down = { "lo", 1, LOOPBACK_FLAG, 65536, ARPHRD_LOOPBACK, { 127, 0, 0, 1 }, 8, LO6, 128 }; // of a new namespace
static const struct netdev table[] = {
	{ "lo", 1, UP_RUNNING | LOOPBACK_FLAG, 65536, ARPHRD_LOOPBACK, { 127, 0, 0, 1 }, 8, LO6, 128 },
	{ "coffer0", 2, UP_RUNNING | POINTOPOINT_NOARP, 1500, ARPHRD_NONE, { 100, 64, 0, 1 }, 24, OUTER6, 64 },
};

bool netdev_has_lo4(const struct net_ns *net) { return !net || net->addr4; }
bool netdev_has_lo6(const struct net_ns *net) { return !net || net->addr6; }

const struct netdev *netdev_row(const struct net_ns *net, u32 n)
{
	if (net)
		return n ? NULL : __atomic_load_n(&net->up, __ATOMIC_RELAXED) ? &table[0] : &lo_down;
	return n < (boot_info.allow_connect || boot_info.gateway ? 2u : 1u) ? &table[n] : NULL;
}

const struct netdev *netdev_by_index(const struct net_ns *net, int index)
{
	return index > 0 ? netdev_row(net, (u32)index - 1) : NULL;
}

const struct netdev *netdev_by_name(const struct net_ns *net, const char *name)
{
	const struct netdev *d;
	for (u32 n = 0; (d = netdev_row(net, n)); n++)
		if (!strcmp(d->name, name))
			return d;
	return NULL;
}

bool netdev_owns(const u8 *ip)
{
	const struct netdev *d = netdev_row(NULL, 1);
	return d && (ip_is_v4(ip) ? !memcmp(ip + 12, d->ip4, 4) : !memcmp(ip, d->ip6, 16));
}

void netdev_outer(u8 ip[16], const struct iaddr *local)
{
	const struct netdev *d = netdev_row(NULL, 1);
	memcpy(ip, local->ip, 16);
	if (!d || !ip_is_any(local->ip))
		return;
	if (ip_is_v4(local->ip))
		memcpy(ip + 12, d->ip4, 4);
	else
		memcpy(ip, d->ip6, 16);
}

static void host_alias(u8 ip[16], bool v4)
{
	memcpy(ip, v4 ? (const u8[16]){ [10] = 0xff, [11] = 0xff } : table[1].ip6, 16);
	if (v4)
		memcpy(ip + 12, table[1].ip4, 4);
	ip[15] = 2;
}

void netdev_host_alias(u8 ip[16]) { host_alias(ip, ip_is_v4(ip)); }

bool netdev_host_real(u8 ip[16])
{
	bool v4 = ip_is_v4(ip);
	u8 alias[16];
	host_alias(alias, v4);
	if (memcmp(ip, alias, 16))
		return false;
	memset(ip, 0, v4 ? 0 : 16);
	memcpy(ip + 12, v4 ? (const u8[4]){ 127, 0, 0, 1 } : (const u8[4]){ 0, 0, 0, 1 }, 4);
	return true;
}

struct ifreq_ {
	char name[16];
	union {
		u8 addr[16];
		short flags;
		int value;
		struct {
			u16 family;
			u8 hw[14];
		} hw;
		u8 room[24];
	};
};

static void put_ip(struct ifreq_ *r, const u8 ip4[4])
{
	struct iaddr a = { .port = 0 };
	a.ip[10] = a.ip[11] = 0xff;
	memcpy(a.ip + 12, ip4, 4);
	(void)inet_put_addr(AF_INET, &a, r->addr);
}

static void mask_of(u32 prefix, u8 out[4])
{
	u32 m = prefix ? __builtin_bswap32(~0u << (32 - prefix)) : 0;
	memcpy(out, &m, 4);
}

static long get_conf(const struct net_ns *net, u64 arg)
{
	struct {
		int len, pad;
		u64 buf;
	} c;
	const struct netdev *d;
	if (get_user(c, U(arg)))
		return -EFAULT;
	int used = 0;
	for (u32 n = 0; (d = netdev_row(net, n)); n++) {
		struct ifreq_ r;
		if (!netdev_has_lo4(net))
			continue;
		memset(&r, 0, sizeof(r));
		strlcpy(r.name, d->name, sizeof(r.name));
		put_ip(&r, d->ip4);
		if (c.buf) {
			if (used + (int)sizeof(r) > c.len)
				break;
			if (copy_to_user(U(c.buf + (u64)used), &r, sizeof(r)))
				return -EFAULT;
		}
		used += (int)sizeof(r);
	}
	c.len = used;
	return put_user(c, U(arg));
}

long netdev_ioctl(struct net_ns *net, u32 cmd, u64 arg)
{
	struct ifreq_ r;
	const struct netdev *d;
	u8 ip[4];
	switch (cmd) {
	case SIOCGIFCONF: return get_conf(net, arg);
	case SIOCGIFNAME:
	case SIOCGIFFLAGS:
	case SIOCGIFADDR:
	case SIOCGIFDSTADDR:
	case SIOCGIFBRDADDR:
	case SIOCGIFNETMASK:
	case SIOCGIFMTU:
	case SIOCGIFHWADDR:
	case SIOCGIFINDEX:
	case SIOCGIFMETRIC:
	case SIOCGIFMAP:
	case SIOCGIFTXQLEN: break;
	case SIOCATMARK: return put_user(0, (int __user *)U(arg));
	case SIOCSIFFLAGS: break;
	case SIOCSIFADDR:
	case SIOCSIFMTU:
	case SIOCADDRT:
	case SIOCDELRT: return -EPERM;
	default: return -ENOTTY;
	}
	if (get_user(r, U(arg)))
		return -EFAULT;
	r.name[sizeof(r.name) - 1] = 0;
	d = cmd == SIOCGIFNAME ? netdev_by_index(net, r.value) : netdev_by_name(net, r.name);
	if (!d)
		return -ENODEV;
	if (cmd == SIOCSIFFLAGS)
		return net_set_up(net, r.flags & 1);
	if (!netdev_has_lo4(net) && (cmd == SIOCGIFADDR || cmd == SIOCGIFDSTADDR || cmd == SIOCGIFBRDADDR || cmd == SIOCGIFNETMASK))
		return -EADDRNOTAVAIL;
	memset(r.room, 0, sizeof(r.room));
	switch (cmd) {
	case SIOCGIFNAME:
		memset(r.name, 0, sizeof(r.name));
		strlcpy(r.name, d->name, sizeof(r.name));
		r.value = d->index;
		break;
	case SIOCGIFFLAGS: r.flags = (short)d->flags; break;
	case SIOCGIFADDR:
	case SIOCGIFDSTADDR: put_ip(&r, d->ip4); break;
	case SIOCGIFBRDADDR: put_ip(&r, (const u8[4]){ 0 }); break;
	case SIOCGIFNETMASK:
		mask_of(d->prefix4, ip);
		put_ip(&r, ip);
		break;
	case SIOCGIFMTU: r.value = (int)d->mtu; break;
	case SIOCGIFHWADDR: r.hw.family = (u16)d->hwtype; break;
	case SIOCGIFINDEX: r.value = d->index; break;
	case SIOCGIFTXQLEN: r.value = 1000; break;
	}
	return put_user(r, U(arg));
}
