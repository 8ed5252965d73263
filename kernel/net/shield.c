// SPDX-License-Identifier: Apache-2.0
// The network shield: the gateway is one process of the measured image that init starts before the program. It alone speaks with the host on
// ports and to destinations for which coffer.yaml asks for attested connections; programs speak plaintext with it, inside. It becomes the gateway
// by writing to /proc/coffer/gateway, which nobody can open once a program has run, and is out of programs' sight from then on. It writes there again
// when it ends because the program has.
//
//	it listens on a port of `shield=`, at any address    the host's port, and nothing inside: the program listens on the same one
//	it listens anywhere else              inside alone, also at addresses of the world, which programs then reach there, and on ports that are
//	                                      published: who comes from outside must never be taken for a program
//	it connects to such a port on lo      to the program
//	it connects to 100.64.0.0/16          inside
//	it connects to anything else          through the host, the host's own 127.0.0.1 too
//
// When it ends, all of that is refused: nothing falls back to the host. Locks: none of its own; inet_lock in inet_served.
#include "kernel/fs/procfs.h"
#include "kernel/include/boot.h"
#include "kernel/include/log.h"
#include "kernel/net/inet.h"
#include "kernel/net/netdev.h"
#include "kernel/net/netns.h"

bool shield_port(u16 port)
{
	for (u32 k = 0; k < boot_info.nshield; k++)
		if (boot_info.shield_ports[k] == port)
			return true;
	return false;
}

// All of 100.64.0.0/16 but 100.64.0.2, which is the host (netdev_host_alias).
bool shield_owns(const u8 *ip)
{
	return unlikely(boot_info.gateway) && ip_is_v4(ip) && ip[12] == 100 && ip[13] == 64 && (ip[14] || ip[15] != 2);
}

bool shield_hides(const struct inet_sock *i, const u8 *ip) { return shield_owns(ip) && !i->serves && !netdev_owns(ip); }

void shield_bind(struct inet_sock *i, const struct iaddr *at)
{
	bool mine = unlikely(curproc->gateway) && !i->s.net;
	i->outside = mine && i->s.protocol == IPPROTO_TCP && shield_port(at->port) && ip_is_any(at->ip);
	i->serves = mine && !i->outside && !ip_is_any(at->ip) && !ip_is_loopback(at->ip);
}

bool shield_takes(const struct sock *s, const struct iaddr *to)
{
	if (s->net) // which has nothing but its loopback
		return true;
	if (unlikely(curproc->gateway))
		return shield_owns(to->ip) || (ip_is_loopback(to->ip) && shield_port(to->port));
	if (boot_reaches_host())
		return false;
	return net_local(NULL, to->ip) || (unlikely(boot_info.gateway) && inet_served(to));
}

void shield_refused(void)
{
	if (boot_info.gateway)
		pr_once("a connection out of the enclave was refused: network.connect in coffer.yaml does not list where it went\n");
	else
		pr_once("a connection out of the enclave was refused: set network.connect to any in coffer.yaml to allow them\n");
}

static int gateway_open(struct inode *ino, struct file *f)
{
	(void)ino, (void)f;
	return boot_info.gateway && boot_before_program() ? 0 : -EPERM;
}

static ssize_t gateway_write(struct file *f, struct iter *it, u64 *pos)
{
	size_t n = it->left;

	(void)pos;
	if (f->priv) { // an end in order
		f->priv = NULL;
		return (ssize_t)n;
	}
	if (!n || !boot_before_program())
		return -EINVAL;
	f->priv = f; // its release is the gateway's end
	curproc->gateway = true;
	proc_hide(curproc);
	return (ssize_t)n;
}

static void gateway_release(struct file *f)
{
	if (!f->priv)
		return;
	pr_err("the network gateway has ended: attested ports are closed and attested destinations out of reach\n");
}

const struct file_ops proc_gateway_fops = {.open = gateway_open, .write = gateway_write, .llseek = no_llseek, .release = gateway_release, .stream = true};
