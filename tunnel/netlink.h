// SPDX-License-Identifier: Apache-2.0
// What a network device needs of the kernel (rtnetlink): up, an MTU, addresses, routes. Blocks for as long as the kernel takes; no locks.
#ifndef COFFER_TUNNEL_NETLINK_H
#define COFFER_TUNNEL_NETLINK_H

#include "tunnel/prefix.h"

// Each: 0 or a negative errno (-EPERM: CAP_NET_ADMIN is missing). What is there already is fine.
int netlink_up(unsigned int index, unsigned int mtu);
int netlink_address(unsigned int index, const struct prefix *p);
int netlink_route(unsigned int index, const struct prefix *p);

#endif
