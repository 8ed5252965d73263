// SPDX-License-Identifier: Apache-2.0
// TCP and UDP. Inside the enclave there is one interface, lo (127.0.0.0/8, ::1): connections over it never leave, they are
// streams and packets between two socks. Other addresses are reached through the host (hostinet.c), as far as the measured
// configuration lets them.
#pragma once
#include "kernel/net/families.h"
#include "kernel/net/hostio.h"

struct iaddr { // IPv4 as ::ffff:a.b.c.d
	u8 ip[16];
	u16 port; // host byte order
	u32 scope;
};

// Values of integer options that were set, the default's bits flipped (so 0 is the default); allocated when needed. The rows are those of the
// tables in inet_opt.c. Most connections set an option of TCP and none of IP.
struct tcp_values {
	int v[24];
};
struct ip_values {
	int v[64];
};

#define UDP_CORK 1
#define UDP_ENCAP 100
#define UDP_NO_CHECK6_TX 101
#define UDP_NO_CHECK6_RX 102
#define UDP_SEGMENT 103
#define UDP_GRO 104

struct udp_extra { // what few datagram sockets have; allocated when needed
	bool cork, gro, no_check_tx, no_check_rx;
	u16 segment;
	char *held;	    // UDP_CORK, MSG_MORE: what waits for the rest of its datagram. The sock's lock guards it, and what follows
	u32 held_len;
	struct iaddr held_to;
	struct list errors; // packets that did not arrive (IP_RECVERR)
	u32 nerrors;
};

struct in6_pktinfo_ {
	u8 addr[16];
	int ifindex;
};

struct inet_sock {
	struct sock s;
	struct iaddr local, remote;
	bool bound;	   // local.port is ours: in the port table
	bool shares_port;  // accepted from a listener
	bool own_address;  // bind(2) named the local address, so it outlives a disconnect
	bool named_port;   // and the port
	bool v6only;
	bool told;	   // a non-blocking connect has succeeded and the next connect(2) says so
	bool refused;	   // a non-blocking connect has failed and the next connect(2) says so
	struct list hash;  // port table
	struct tcp_values *tcp;
	struct ip_values *ip;
	bool reno;	   // TCP_CONGESTION
	struct udp_extra *udp;
	struct inet_groups *groups; // mcast.c; NULL: none ever joined
	bool group_if;	   // IP_MULTICAST_IF named lo, by this address
	u32 group_addr;
	int hfd;	   // host's socket beside or instead of the inner one; -1: none
	bool host_only;	   // TCP: the stream itself is the host's
	bool outside;	   // the gateway's listener on a shielded port: nobody inside finds it, and the port inside is the program's
	bool serves;	   // the gateway's, at an address of the world that programs reach here
	struct hostio_state host;
	struct cork *cork;	// cork.c: the timer of what it holds back
	struct defer *defer;	// defer.c: its listener has not been shown it yet
	bool deferred;		// and it is in the listener's list. The listener's lock guards it, and
	struct list deferrals;	// this list
	u32 defer_s;		// a listener: TCP_DEFER_ACCEPT
	struct former *former; // disconnect.c: connections that it had
	u32 nformer;
	bool parting;
};
static inline struct inet_sock *inet_of(struct sock *s) { return container_of(s, struct inet_sock, s); }

// inet.c
bool ip_is_v4(const u8 *ip), ip_is_any(const u8 *ip), ip_is_loopback(const u8 *ip), ip_is_multicast(const u8 *ip);
bool ip_is_local(const u8 *ip);	// of this enclave: loopback or coffer0's
int inet_parse(struct sock *s, const u8 *addr, u32 len, struct iaddr *out);
u32 inet_put_addr(u16 family, const struct iaddr *a, u8 *addr);
void inet_fix_destination(struct iaddr *a);		// 0.0.0.0 and :: mean this machine
struct inet_sock *inet_new(u16 family, u16 type, const struct sock_ops *ops);
void inet_free(struct sock *s);
int inet_bind(struct sock *s, const u8 *addr, u32 len);
bool inet_published(const struct inet_sock *i, u16 port);	// the host may give it connections from outside
int inet_autobind(struct inet_sock *i);
void inet_share_port(struct inet_sock *child, struct inet_sock *listener);
void inet_unbind(struct inet_sock *i);
int inet_getname(struct sock *s, bool peer, u8 *addr);
int inet_begin_listen(struct inet_sock *i, int backlog); // -EADDRINUSE; state becomes ST_LISTEN
// The best receiver for a packet from src to dst: a reference or NULL.
struct inet_sock *inet_find(const struct net_ns *net, u16 protocol, const struct iaddr *dst, const struct iaddr *src);
void inet_table_lock(void), inet_table_unlock(void); // inet_lock
// All who take a packet from src to the group dst: references in out, at most n; how many.
u32 inet_find_group(const struct net_ns *net, u16 protocol, const struct iaddr *dst, const struct iaddr *src, struct inet_sock **out, u32 n);
void inet_source_for(const struct iaddr *dst, struct iaddr *local); // fills in an unspecified local address
int inet_for_each(const struct net_ns *net, int (*fn)(struct inet_sock *i, void *arg), void *arg); // under inet_lock

// mcast.c
int mcast_setopt(struct inet_sock *i, int level, int opt, const void *val, u32 len);
bool mcast_takes(const struct inet_sock *i, const u8 *ip, const u8 *source);	// inet_lock held
bool mcast_joined(const struct net_ns *net, const u8 *ip);	// by anybody
bool mcast_reached(const struct inet_sock *i, const u8 *ip);

// inet_opt.c
struct tcp_info;
void inet_tcp_info(struct sock *s, struct tcp_info *ti);
int inet_opt(const struct inet_sock *i, int level, int opt);	// the value of an integer option; 0: there is none
int inet_inherit(struct inet_sock *child, const struct inet_sock *listener);	// what accept(2) hands on: 0 or -ENOMEM
void inet_each_tcp_option(const struct inet_sock *i, void (*fn)(int opt, int v, int hfd), int hfd);	// those that were set
void inet_packet_fields(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to, struct packet *p);
int inet_getopt(struct sock *s, int level, int opt, void *val, u32 *len);
int inet_setopt(struct sock *s, int level, int opt, const void *val, u32 len);

// shield.c
bool shield_port(u16 port);		// the gateway alone may listen there
bool shield_owns(const u8 *ip);		// stands for a destination that the gateway serves
bool shield_takes(const struct sock *s, const struct iaddr *to);	// does this connection stay inside?
bool shield_hides(const struct inet_sock *i, const u8 *ip);	// such a destination is the gateway's alone, also when it is gone
void shield_bind(struct inet_sock *i, const struct iaddr *at);	// marks what the gateway binds
bool inet_served(const struct iaddr *to);	// inet.c: the gateway listens at exactly this address
void shield_refused(void);		// says why a connection out is refused

// tcp.c, udp.c
extern const struct sock_ops tcp_ops, udp_ops;
#define TCP_CLOSED_STATE 7		// such sockets are in no list: Linux takes them out of its tables
int tcp_state(const struct sock *s);	// as in /proc/net/tcp and TCP_INFO

// cork.c
void cork_hold(struct inet_sock *i, struct sock *p, bool first);	// a timer for bytes in p that wait
void cork_push(struct inet_sock *i);	// they wait no longer
void cork_free(struct inet_sock *i);	// nobody is in a call on it any more

// defer.c
int defer_push(struct inet_sock *l, struct inet_sock *c, struct inet_sock *client, int flags, u64 deadline);
void defer_end(struct inet_sock *c);
void defer_drop(struct inet_sock *l);

// disconnect.c
int tcp_disconnect(struct sock *s);
void tcp_forget_former(struct inet_sock *i);

int udp_setopt(struct inet_sock *i, int opt, const void *val, u32 len);
int udp_getopt(struct inet_sock *i, int opt, void *val, u32 *len);
void udp_extra_free(struct inet_sock *i);

// hostinet.c
extern const struct sock_ops host_tcp_ops;
bool host_may_listen(u16 port);
int host_connect(struct sock *s, const struct iaddr *to, int flags);
int host_listen(struct inet_sock *i, int backlog);
int host_accept(struct inet_sock *l, struct sock **out);	// -EAGAIN
void host_close(struct inet_sock *i);
void host_disconnect(struct inet_sock *i, int *former);	// the host's stream is reset; *former: its handle, which nobody uses any more but who is in a call
void host_close_former(int hfd);
int host_available(struct inet_sock *i);	// FIONREAD: bytes that can be read, of the first datagram; at most 64 KiB
bool host_acceptable(struct inet_sock *l);
int host_udp_open(struct inet_sock *i, bool bind);
int host_udp_connect(struct inet_sock *i, const struct iaddr *to, struct iaddr *local);
void host_udp_disconnect(struct inet_sock *i);
ssize_t host_udp_send(struct inet_sock *i, struct sock_msg *m, const struct iaddr *to, int flags);
ssize_t host_udp_recv(struct inet_sock *i, struct sock_msg *m, int flags);	// -EAGAIN
void host_setopt(struct inet_sock *i, int level, int opt, const void *val, u32 len); // told to the host's socket, too
