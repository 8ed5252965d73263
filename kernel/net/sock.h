// SPDX-License-Identifier: Apache-2.0
// Sockets. `struct sock` is what every family shares: options, state, the receive side (a ring of bytes for streams, a
// queue of packets for the rest) and the peer. Families embed it: struct unix_sock (unix.c), struct inet_sock (inet.h).
//
// Sending puts bytes or packets straight into the peer's receive side. A connected pair holds references on each other:
// s->peer is set before the socket is visible as connected, and dropped when the last descriptor of s closes, so what a call on s
// has read there is good until it returns. (TCP can leave its peer before: disconnect.c keeps the reference.)
//
// Locks: s->lock guards what is marked (L). Two socks' locks are never held together. Above it: the family's table
// locks (unix_lock, inet_lock). Wake-ups happen after it was released; a sleeper enqueues itself under it, so a waker
// that changed the state under it sees the sleeper.
#pragma once
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include <asm/socket.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <linux/un.h>

typedef u16 sa_family_t_;
struct sockaddr_ {
	u16 family;
	char data[];
};
#define ADDR_MAX 128u

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16

#define MSG_OOB 1
#define MSG_PEEK 2
#define MSG_DONTROUTE 4
#define MSG_CTRUNC 8
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_EOR 0x80
#define MSG_WAITALL 0x100
#define MSG_ERRQUEUE 0x2000
#define MSG_NOSIGNAL 0x4000
#define MSG_MORE 0x8000
#define MSG_WAITFORONE 0x10000
#define MSG_FASTOPEN 0x20000000
#define MSG_CMSG_CLOEXEC 0x40000000

#define SHUT_RCV 1u // s->shut: no more comes in
#define SHUT_SND 2u // nothing more may be sent

#define SCM_MAX_FD 253

struct scm { // what travels beside the data: descriptors (references) and the sender's ids
	struct list link; // while it waits to be freed
	struct list fly;  // gc.c, while its files are in flight
	u32 nfiles;
	struct file **files;
	bool has_cred;
	struct ucred_ {
		u32 pid, uid, gid;
	} cred;
};

struct packet {
	struct list link;
	struct scm *scm;
	struct sock *from;  // unix datagrams: the sender, a reference, for its room; else NULL
	u64 stamp_ns;	    // CLOCK_REALTIME
	u32 len, off;	    // off: what a stream-like reader has taken
	u32 alen;
	u8 dst[16];	    // UDP: the address it was sent to, as IPv6
	s16 hops, tclass;   // UDP: time to live and traffic class
	u8 addr[ADDR_MAX];  // the sender's name
	char data[];
};

struct mark { // a place in a stream's bytes that carries an scm
	struct list link;
	u64 start, end; // counted from the stream's beginning
	struct scm *scm;
};

struct ring {
	char *buf;
	u32 head, len, size; // size: bytes of buf, 0 or a power of two pages
};

struct sock_msg {
	struct iter *it;
	u8 *addr;	 // send: destination; recv: the op writes the source's name here (ADDR_MAX bytes), NULL = not wanted
	u32 alen;	 // its length; 0: none
	struct scm *scm; // send: the op takes it (and sets NULL); recv: what came, the caller's to free
	u32 flags;	 // recv: MSG_TRUNC, MSG_CTRUNC, MSG_EOR
	u64 stamp_ns;	 // recv: arrival, 0 = unknown
	u8 dst[16];	 // recv: address it was sent to (IP_PKTINFO), as IPv6
	bool has_dst;
	bool has_err;	 // recv: from the queue of errors; dst is who told
	bool has_src;	 // send: the source address that is wanted (IP_PKTINFO)
	u8 src[16];
	u16 segment;	 // send: UDP_SEGMENT, 0 = the socket's own
	s16 hops, tclass; // datagrams: time to live and traffic class; send: -1 = the socket's own
	bool wants_scm;	 // recv: control data is wanted
};

struct sock;
struct sock_ops { // NULL: -EOPNOTSUPP. flags: MSG_*; MSG_DONTWAIT is set for non-blocking files
	int (*bind)(struct sock *s, const u8 *addr, u32 len);
	int (*listen)(struct sock *s, int backlog);
	int (*accept)(struct sock *s, struct sock **out, int flags);
	int (*connect)(struct sock *s, const u8 *addr, u32 len, int flags);
	int (*getname)(struct sock *s, bool peer, u8 *addr); // length
	ssize_t (*send)(struct sock *s, struct sock_msg *m, int flags);
	ssize_t (*recv)(struct sock *s, struct sock_msg *m, int flags);
	ssize_t (*errqueue)(struct sock *s, struct sock_msg *m, int flags);	// recv with MSG_ERRQUEUE; NULL: it is empty
	int (*shutdown)(struct sock *s, u32 bits);
	u32 (*poll)(struct sock *s, struct poll_table *pt);
	int (*getopt)(struct sock *s, int level, int opt, void *val, u32 *len); // *len: room in, length out
	int (*setopt)(struct sock *s, int level, int opt, const void *val, u32 len);
	void (*changed)(struct sock *s, int opt);	// a SOL_SOCKET option was set
	long (*ioctl)(struct sock *s, u32 cmd, u64 arg);
	void (*release)(struct sock *s);		// last descriptor closed: leave all tables, tell the peer
	void (*free)(struct sock *s);			// last reference dropped
};

enum sock_state { ST_IDLE, ST_LISTEN, ST_CONNECTING, ST_CONNECTED, ST_CLOSED };

struct sock {
	const struct sock_ops *ops;
	struct ref ref;
	struct mutex lock;
	u16 family, type, protocol;
	u8 state;		// (L) enum sock_state; ST_CONNECTED never changes back but to ST_CLOSED, and TCP's to ST_IDLE (disconnect.c)
	u8 shut;		// (L) SHUT_RCV | SHUT_SND; senders read it without
	bool peer_done;		// (L) the peer has closed or shut down its sending side
	bool reset;		// (L) the connection was aborted
	bool urgent;		// (L) TCP: urgent_byte waits for MSG_OOB
	u8 urgent_byte;
	u64 urgent_at;		// (L) its place among rx_in (SIOCATMARK)
	bool dead;		// (L) last descriptor closed: nothing may be put into it
	int err;		// positive errno for SO_ERROR; taken by atomic exchange
	struct sock *peer;

	struct ring rx;		// (L) streams
	u64 rx_in, rx_out;	// (L) bytes ever put in and taken
	struct list marks;	// (L)
	struct list pkts;	// (L) the rest
	u32 pkt_bytes;		// (L)
	u32 rx_cap;		// (L) bytes that rx may hold
	u32 held;		// (L) TCP: of rx, the last ones, which wait for more and are not to be seen yet (cork.c)

	struct list accept_q;	// (L) listener: children that wait
	u32 accept_n, defer_n, backlog;	// (L) queued, waiting to be shown (defer.c), and how many of both may be there
	struct list accept_link; // in its listener's accept_q

	struct waitq rq;	// blocked receivers and accepters
	struct waitq wq;	// blocked senders to this sock (threads of the peer) and connecters
	struct waitq pollq;

	u32 sndbuf, rcvbuf;
	bool sndbuf_set, rcvbuf_set;
	bool reuseaddr, reuseport, keepalive, broadcast, passcred, oobinline, corked, timestamp, timestampns, dontroute;
	bool linger;
	u32 linger_sec, rcvlowat, priority, mark;
	u64 rcvtimeo, sndtimeo; // ns, 0 = for ever
	u16 kept;		// switches that are only given back (sockopt.c)
	u32 busy_poll, pacing, device; // pacing: inverted; device: index of the interface that it is bound to
	s32 incoming_cpu;	// plus one
	s32 peek_off;		// (L) SO_PEEK_OFF, plus one: where the next MSG_PEEK begins
	u32 inflight;		// gc.c: messages that carry it
	s32 gc_left;
	u8 gc;
	struct list gc_link;
	struct net_ns *net;	// kernel/net/netns.h, a reference; NULL: the first one
	u64 ino;		// of its file, for /proc/net
	u32 uid;
};

#define RING_CAP_DEFAULT (256u << 10)
#define SOCK_BUF_DEFAULT 212992u
#define PKT_OVERHEAD 512u // what a queued packet counts besides its bytes

// socket.c
void sock_init(struct sock *s, const struct sock_ops *ops, u16 family, u16 type, u16 protocol);
static inline struct sock *sock_get(struct sock *s) { ref_get(&s->ref); return s; }
void sock_put(struct sock *s);
struct sock *file_sock(struct file *f); // NULL: not a socket
int net_init(void);

// sockopt.c: level SOL_SOCKET
int sock_getopt(struct sock *s, int opt, void *val, u32 *len);
int sock_setopt(struct sock *s, int opt, const void *val, u32 len);
int opt_int(const void *val, u32 len, int *out);	// -EINVAL when too short
int opt_put_int(int v, void *val, u32 *len);

// scm.c
int scm_send(struct sock *s, const void *ctl, size_t len, struct scm **out); // parses SOL_SOCKET control messages
struct scm *scm_new(void);
struct scm *scm_dup(const struct scm *c);	// another set of references, for MSG_PEEK
void scm_free(struct scm *c);
void scm_cred_now(struct scm *c);

// gc.c: sockets that only unreachable messages hold
void gc_takeoff(struct scm *c);
void gc_landed(struct scm *c);
void unix_gc(void);

// wait.c
static inline u64 sock_deadline(u64 timeo) { return timeo ? ktime_deadline(timeo) : NO_DEADLINE; }
int sock_sleep(struct mutex *lock, struct waitq *q, u64 deadline);
static inline void sock_wake(struct waitq *q)
{
	if (!list_empty(&q->waiters))
		waitq_wake(q, 0);
}
static inline void sock_wake_poll(struct sock *s, u32 events)
{
	if (!list_empty(&s->pollq.waiters))
		waitq_wake(&s->pollq, events);
}
int sock_take_err(struct sock *s);		// 0 or -errno, cleared
void sock_set_err(struct sock *s, int err, u32 shut_bits);	// positive errno; tells sleepers and pollers

// SO_PEEK_OFF: each peek begins behind the one before, and reading takes from the front. The lock is held.
static inline u32 sock_peek_at(const struct sock *s, int flags)
{
	return unlikely(s->peek_off > 0) && (flags & MSG_PEEK) ? (u32)s->peek_off - 1 : 0;
}
static inline void sock_peeked(struct sock *s, int flags, u64 n)
{
	if (likely(s->peek_off <= 0))
		return;
	if (flags & MSG_PEEK)
		s->peek_off = (s32)min((u64)s->peek_off + n, (u64)0x7fffffff);
	else
		s->peek_off = (u64)s->peek_off > n ? s->peek_off - (s32)n : 1;
}

// accept.c: the queue of a listener
#define ACCEPT_FORCE (-1)
int accept_room(struct sock *listener, int flags, u64 deadline);
int accept_push(struct sock *listener, struct sock *child, struct sock *client, int flags, u64 deadline);
int accept_pop(struct sock *listener, struct sock **out, int flags);
void accept_kick(struct sock *listener);	// something is in its queue
void accept_drop(struct sock *listener);	// the listener goes: its children are released

// stream.c
ssize_t stream_send(struct sock *s, struct sock_msg *m, int flags);
ssize_t stream_recv(struct sock *s, struct sock_msg *m, int flags);
int stream_shutdown(struct sock *s, u32 bits);
bool stream_over(const struct sock *s);	// both directions have ended: TCP's CLOSE
ssize_t stream_send_urgent(struct sock *s, struct sock_msg *m, int flags);
ssize_t stream_recv_urgent(struct sock *s, struct sock_msg *m, int flags);
void stream_close(struct sock *s);	// tells the peer; frees the ring
void stream_end(struct sock *s, bool reset);
void stream_kick_readers(struct sock *p);
#define STREAM_HOLD_MOST 32768u	// as much of TCP does not wait for more: a segment of the loopback
void stream_drop_rx(struct sock *s);
u32 stream_poll(struct sock *s, struct poll_table *pt);
void sock_pair(struct sock *a, struct sock *b);
long stream_ioctl(struct sock *s, u32 cmd, u64 arg); // FIONREAD, TIOCOUTQ

// packet.c
struct packet *packet_new(struct sock_msg *m, int *err);	// copies m's data in
void packet_free(struct packet *p);
bool packet_put(struct sock *to, struct packet *p, bool force);	// false: no room (p is still the caller's)
bool packet_room(struct sock *to);
ssize_t packet_recv(struct sock *s, struct sock_msg *m, int flags);
void packet_drop_all(struct sock *s);
