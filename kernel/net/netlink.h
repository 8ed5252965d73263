// SPDX-License-Identifier: Apache-2.0
// Netlink sockets and the messages that they answer with.
#pragma once
#include "kernel/net/inet.h"
#include <linux/netlink.h>

#define NL_REPLY_MAX 2048u

struct netlink_sock {
	struct sock s;
	u32 port, groups;
};
static inline struct netlink_sock *nl_of(struct sock *s) { return container_of(s, struct netlink_sock, s); }

struct nl_reply {
	u8 data[NL_REPLY_MAX];
	u32 len, msg; // msg: where the open message begins
};
void nl_begin(struct nl_reply *r, const struct nlmsghdr *q, u16 type, u16 flags, u32 port);
void nl_body(struct nl_reply *r, const void *v, u32 n);
void nl_attr(struct nl_reply *r, u16 type, const void *v, u32 n);
void nl_end(struct nl_reply *r);
int nl_flush(struct netlink_sock *n, struct nl_reply *r, bool force);

// sockdiag.c: answers a request of NETLINK_SOCK_DIAG into r. 0 or -errno.
int sock_diag(struct netlink_sock *n, struct nl_reply *r, const struct nlmsghdr *q, const u8 *body, u32 len);
