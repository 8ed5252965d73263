// SPDX-License-Identifier: Apache-2.0
// AF_UNIX sockets and their names.
#pragma once
#include "kernel/net/families.h"

struct unix_name {
	u16 family;
	char path[108]; // abstract: begins with NUL
};

struct unix_sock {
	struct sock s;
	struct unix_name name;
	u32 name_len;		// as sockaddr length; 0: unnamed. Written once, under unix_lock
	struct path path;	// where a path name lives: references
	struct list hash;	// abstract names
	struct list all;	// every AF_UNIX socket, for /proc/net/unix
	struct ucred_ peer_cred;
};
static inline struct unix_sock *unix_of(struct sock *s) { return container_of(s, struct unix_sock, s); }

int unix_bind(struct sock *s, const u8 *addr, u32 len);
void unix_unname(struct unix_sock *u);
// The socket that has this name, as `from` sees names: a reference, or NULL and *err.
struct sock *unix_find(const struct sock *from, const u8 *addr, u32 len, int type, int *err);
u32 unix_put_name(const struct unix_sock *u, u8 *addr);	// length; of the family alone when unnamed
void unix_list_add(struct unix_sock *u);
void unix_list_del(struct unix_sock *u);
size_t unix_proc(const struct net_ns *net, char *buf, size_t n);
void unix_for_each(const struct net_ns *net, void (*fn)(struct unix_sock *u, void *arg), void *arg); // under unix_lock
