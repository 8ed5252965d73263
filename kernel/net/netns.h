// SPDX-License-Identifier: Apache-2.0
// Network namespaces (netns.c). NULL stands for the first one everywhere.
#pragma once
#include "kernel/include/ns.h"
#include "kernel/net/sock.h"

struct net_ns {
	struct ns ns;
	bool up;		// lo
	bool addr4, addr6;	// 127.0.0.1/8 and ::1/128
};
struct net_ns *net_ns_now(void);			// of the current process: a reference
struct user_ns *net_ns_owner(const struct net_ns *n);	// whose capabilities count there
void sock_into_ns(struct sock *s, struct net_ns *n);
bool net_local(const struct net_ns *n, const u8 *ip);	// reached without the host
int net_set_up(struct net_ns *n, bool up);		// lo; 0 or -EPERM
int net_add_address(struct net_ns *n, u8 family, const u8 *ip, u8 prefix); // to lo
