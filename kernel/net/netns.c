// SPDX-License-Identifier: Apache-2.0
// Network namespaces. The first one has the enclave's loopback and the way out through the host; another has a loopback interface of its own,
// down at first, and nothing else: ports, abstract names and lists are its own, and no socket in it reaches the host. A socket belongs to the
// namespace where it was made. Locks: none: what lo is like is read and set in one step.
#include "kernel/net/netns.h"
#include "kernel/include/task.h"
#include "kernel/net/inet.h"
#include "kernel/net/netdev.h"
#include <linux/capability.h>

struct net_ns *net_ns_new(void)
{
	struct net_ns *n = knew(struct net_ns);

	if (n)
		n->ns = (struct ns){.ref = {1}, .type = CLONE_NEWNET, .inum = ns_inum()};
	return n;
}

void net_ns_put(struct net_ns *n)
{
	if (!n || !ref_put(&n->ns.ref))
		return;
	user_ns_put(n->ns.owner);
	kfree(n);
}

struct user_ns *net_ns_owner(const struct net_ns *n) { return n ? n->ns.owner : NULL; }

struct net_ns *net_ns_now(void)
{
	return likely(!curproc->net_ns) ? NULL : net_ns_of(curproc); // another thread may leave it
}

void sock_into_ns(struct sock *s, struct net_ns *n)
{
	struct net_ns *old = s->net;

	if (n)
		ref_get(&n->ns.ref);
	s->net = n;
	net_ns_put(old);
}

bool net_local(const struct net_ns *n, const u8 *ip)
{
	if (likely(!n))
		return ip_is_local(ip);
	return __atomic_load_n(&n->up, __ATOMIC_RELAXED) && ip_is_loopback(ip);
}

int net_set_up(struct net_ns *n, bool up)
{
	if (!n || !ns_capable(n->ns.owner, CAP_NET_ADMIN))
		return -EPERM;
	if (up)
		n->addr4 = n->addr6 = true; // lo gets its addresses by itself
	__atomic_store_n(&n->up, up, __ATOMIC_RELAXED);
	return 0;
}

int net_add_address(struct net_ns *n, u8 family, const u8 *ip, u8 prefix)
{
	static const u8 lo4[4] = {127, 0, 0, 1}, lo6[16] = {[15] = 1};
	bool *have = family == AF_INET ? &n->addr4 : &n->addr6;

	if (!n || !ns_capable(n->ns.owner, CAP_NET_ADMIN))
		return -EPERM;
	if (family == AF_INET ? prefix != 8 || memcmp(ip, lo4, 4) : prefix != 128 || memcmp(ip, lo6, 16))
		return -EOPNOTSUPP; // lo has its own addresses, and no others
	if (*have)
		return -EEXIST;
	*have = true;
	return 0;
}
