// SPDX-License-Identifier: Apache-2.0
// What the socket calls know of the families, and what the calls share.
#pragma once
#include "kernel/net/sock.h"

#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_RDM 4
#define SOCK_SEQPACKET 5
#define SOCK_PACKET 10
#define SOCK_CLOEXEC O_CLOEXEC
#define SOCK_NONBLOCK O_NONBLOCK

// Each: a new sock with one reference, or NULL and *err.
struct sock *unix_create(int type, int protocol, int *err);
struct sock *inet_create(int family, int type, int protocol, int *err);
struct sock *netlink_create(int type, int protocol, int *err);
int unix_pair(struct sock *a, struct sock *b);
// After connect with AF_UNSPEC on fd, which is f: gives back what its connection had, when nobody else is in a call on it.
void inet_disconnected(struct sock *s, struct file *f, int fd);

// msg.c
ssize_t sock_send(struct sock *s, struct sock_msg *m, int flags);	// raises SIGPIPE
ssize_t sock_recv(struct sock *s, struct sock_msg *m, int flags);
struct file *sock_from_fd(int fd, struct sock **s);	// a reference, or ERR_PTR
int addr_in(u8 *dst, const void __user *p, int len);
int addr_out(void __user *p, int __user *ulen, const u8 *addr, u32 len);

#define MSG_FAST_IOV 8
struct msghdr_ {
	void __user *name;
	int namelen, pad0;
	void __user *iov;
	u64 niov;
	void __user *control;
	u64 controllen;
	u32 flags, pad1;
};
struct msg_out {	// a message to be sent, read from the program's memory but for its data
	struct iovec fast[MSG_FAST_IOV], *iov;
	struct iter it;
	u8 addr[ADDR_MAX];
	u32 alen;
	void *ctl;
	size_t ctllen;
};
struct msg_in {		// where a message is to be received
	struct msghdr_ h;
	struct iovec fast[MSG_FAST_IOV], *iov;
	struct iter it;
};
// The _get functions leave something that _free accepts also when they fail. Neither structure may be copied.
int msg_out_get(struct msg_out *m, const struct msghdr_ *h);
ssize_t msg_out_send(struct file *f, struct sock *s, struct msg_out *m, int flags);
void msg_out_free(struct msg_out *m);
int msg_in_get(struct msg_in *m, const struct msghdr_ __user *um);
ssize_t msg_recv_parts(struct file *f, struct sock *s, struct msg_in *in, struct iter *it, int flags, u32 *namelen, u32 *controllen, u32 *mflags);
ssize_t msg_in_recv(struct file *f, struct sock *s, struct msghdr_ __user *um, struct msg_in *in, int flags);
void msg_in_free(struct msg_in *m);

// socket.c: new files, or ERR_PTR. type with SOCK_NONBLOCK; addr may be NULL.
struct file *socket_file(int family, int type, int protocol);
struct file *accept_file(struct sock *s, int mflags, int flags, void __user *addr, int __user *len);

// Control messages of AF_INET (inet_opt.c): calls put for each.
struct cmsg_out {
	char __user *at;
	size_t left, used;
	u32 flags; // MSG_CTRUNC
};
int cmsg_put(struct cmsg_out *c, int level, int type, const void *data, size_t len);
void inet_cmsg(struct sock *s, struct sock_msg *m, struct cmsg_out *c);
int inet_take_cmsg(struct sock_msg *m, const void *ctl, size_t len); // of a message to be sent

// netdev.c: ioctls about interfaces. -ENOTTY: none of them
struct net_ns;
long netdev_ioctl(struct net_ns *net, u32 cmd, u64 arg);
// proc_net.c
int proc_net_init(void);
