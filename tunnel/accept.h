// SPDX-License-Identifier: Apache-2.0
// The ways in: how a client says where it wants to go. One `struct acceptor` a client connection. It reads and writes no socket: it is fed what
// the client sent, says what to send back, and when the destination is known. Belongs to one thread; no locks, and no allocation after accept_new
// but for HTTP heads.
//
//	a = accept_new(kind, &options)
//	step = accept_begin(a, fd)			// mapping and transparent know at once; the others want bytes
//	while step is ACCEPT_MORE:			// read what there is, within ACCEPT_MAX_MS from the first to the last byte
//		step = accept_input(a, bytes, n, &used)	// what was not used stays the caller's and comes again with what follows
//		send accept_output(a)			// may have something at each step: SOCKS answers its greeting
//	ACCEPT_TARGET:  connect to accept_target(a) through the tunnel (or directly, when rules say so), then
//		step = accept_connected(a, error, bound)	// ACCEPT_OPEN or ACCEPT_REFUSED
//		send accept_output(a)
//	ACCEPT_OPEN:    bytes pass both ways, beginning with the input that was not used
//	ACCEPT_UDP:     datagrams of SOCKS (udp ASSOCIATE): open a UDP socket, accept_connected with its address, then see socks_udp_*
//	ACCEPT_REFUSED: send accept_output(a), then close. accept_reason(a) is for the log
//
// When accept_filters(a) (a request of HTTP that is forwarded, not CONNECT), bytes pass through accept_up and accept_down instead of as they are.
#ifndef COFFER_TUNNEL_ACCEPT_H
#define COFFER_TUNNEL_ACCEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "tunnel/target.h"

#define ACCEPT_MAX_MS 10000	// from the connection to its destination, else it is closed: who sends a byte a minute keeps no slot
#define ACCEPT_MAX_INPUT 16384	// no way in needs more than this at a time before the destination is known; a larger buffer is never wanted

#define ACCEPT_LAST_WORDS 512

enum accept_kind {
	ACCEPT_MAPPING,		// whatever the route maps to
	ACCEPT_SOCKS5,		// RFC 1928, 1929
	ACCEPT_HTTP,		// CONNECT, and requests for http:// (RFC 9110, 9112)
	ACCEPT_TRANSPARENT,	// connections that nftables redirected here (SO_ORIGINAL_DST), or TPROXY
	ACCEPT_HOOK,		// of programs under `coffer tunnel exec`: a ticket of hook.h, and no answer
};

enum accept_step {
	ACCEPT_MORE,
	ACCEPT_TARGET,
	ACCEPT_UDP,
	ACCEPT_OPEN,
	ACCEPT_REFUSED,
};

struct users;	// tunnel/users.h: names and passwords
struct hook;	// tunnel/hook.h: tickets

struct accept_options {
	enum accept_kind kind;
	const struct users *users;	// NULL: anyone. Of SOCKS5 (RFC 1929) and HTTP (Proxy-Authorization: Basic)
	struct hook *hook;		// of ACCEPT_HOOK
	bool udp;			// SOCKS5 may associate UDP
	uint16_t listen_port;		// of ACCEPT_TRANSPARENT: where the gateway listens, to know its own connections
};

struct acceptor;

// `o` must outlive it. NULL: no memory.
struct acceptor *accept_new(const struct accept_options *o);
void accept_free(struct acceptor *a);

// `fd`: the accepted connection, of which only addresses are asked.
enum accept_step accept_begin(struct acceptor *a, int fd);
// `bytes` has all input that was not used yet. *used: how much of it is done with. May be called only after ACCEPT_MORE.
enum accept_step accept_input(struct acceptor *a, const uint8_t *bytes, size_t n, size_t *used);
// The client has ended before ACCEPT_TARGET: what to log.
const char *accept_reason(const struct acceptor *a);
// After ACCEPT_TARGET (until accept_free). host is TARGET_NONE for ACCEPT_MAPPING.
const struct target *accept_target(const struct acceptor *a);
// The user that gave a right password, or NULL.
const char *accept_user(const struct acceptor *a);

// What became of the connection to the target: 0 or a negative errno. `bound` (NULL: not known) is this side's address of it, which SOCKS tells.
// What clients are told, as SOCKS reply (RFC 1928 section 6) and HTTP status:
//	-EACCES, -EPERM    2  403   rules do not let it there
//	-ENETUNREACH       3  502
//	-EHOSTUNREACH      4  502   also: the name is not known
//	-ECONNREFUSED      5  502
//	-ETIMEDOUT         4  504
//	-EKEYREJECTED      1  502   the far gateway was refused (or refuses this one)
//	-EAFNOSUPPORT      8  502
//	-EBUSY, -ENOBUFS, -EMFILE  1  503
//	others             1  502
enum accept_step accept_connected(struct acceptor *a, int error, const struct sockaddr *bound);

// What is to be sent to the client, from the first byte not sent yet; *n is 0 when there is nothing. accept_sent: that many have been.
const uint8_t *accept_output(const struct acceptor *a, size_t *n);
void accept_sent(struct acceptor *a, size_t n);

// ---- after ACCEPT_OPEN, only when this is true ----
bool accept_filters(const struct acceptor *a);
// From the client to the target, and back. Takes *used bytes of `in`, writes *made bytes (at most `size`, which should be 4096 or more) to `out`.
// Call again while something was used or made; *made counts in every case. 0; 1: that direction has ended: what follows is to be dropped, and in
// `up` the target must not be told of the end (it would take it for the client's leave); -EPROTO: malformed: cut both, nothing of it was passed on.
int accept_up(struct acceptor *a, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made);
int accept_down(struct acceptor *a, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made);
// The target has ended: what is still to be said to the client (an error, when there was no answer) goes to `out`, of at least ACCEPT_LAST_WORDS
// bytes.
size_t accept_down_end(struct acceptor *a, uint8_t *out);

#endif
