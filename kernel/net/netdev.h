// SPDX-License-Identifier: Apache-2.0
// The network interfaces that programs see: lo, and coffer0 when the configuration lets connections out. coffer0 stands
// for "the world through the host": it has an address of the shared range (RFC 6598) and a unique local one (RFC 4193), so that
// programs that ask whether there is a network (AI_ADDRCONFIG) get the right answer.
#pragma once
#include "kernel/include/types.h"

struct netdev {
	const char *name;
	int index;
	u32 flags; // IFF_*
	u32 mtu, hwtype;
	u8 ip4[4];
	u32 prefix4;
	u8 ip6[16];
	u32 prefix6;
};
// Row n, or NULL behind the last.
struct net_ns; // NULL: the first one
const struct netdev *netdev_row(const struct net_ns *net, u32 n);
const struct netdev *netdev_by_name(const struct net_ns *net, const char *name);
const struct netdev *netdev_by_index(const struct net_ns *net, int index);
bool netdev_has_lo4(const struct net_ns *net), netdev_has_lo6(const struct net_ns *net); // lo has its addresses
bool netdev_owns(const u8 *ip); // an address of ours that is not loopback
// The host's loopback is not ours: a peer there is shown as 100.64.0.2 or fdc0:ffe0:64::2.
void netdev_host_alias(u8 ip[16]);	// 127.0.0.1 or ::1 becomes it
bool netdev_host_real(u8 ip[16]);	// and back; false: is not it
struct iaddr;
void netdev_outer(u8 ip[16], const struct iaddr *local); // local's address, or where that is unspecified coffer0's
