// SPDX-License-Identifier: Apache-2.0
// Connecting to a plain destination: name look-ups in threads of their own (getaddrinfo blocks), rules about what came of them, and non-blocking
// connects, one address after the other with a head start of a quarter of a second (RFC 8305). For egress routes, and for what an ingress route
// sends `direct`.
//
// An event loop has one dial_inbox, whose descriptor it polls for reading; when it is readable, dial_inbox_run calls `done` of what has ended. A
// dial that waits for sockets has no descriptor of its own to poll: the inbox's (an epoll descriptor) stands for all of them, and for time.
#ifndef COFFER_TUNNEL_DIAL_H
#define COFFER_TUNNEL_DIAL_H

#include <stdint.h>

#include "tunnel/rules.h"
#include "tunnel/target.h"

struct dial_pool;	// threads that look names up; one for the process
struct dial_inbox;	// one for each event loop; belongs to its thread
struct dial;

// `threads` (4 is right for most) are started when they are needed. `max_waiting`: look-ups beyond that are refused with -EBUSY.
int dial_pool_new(struct dial_pool **out, unsigned int threads, unsigned int max_waiting);
void dial_pool_free(struct dial_pool *p);	// after its inboxes
int dial_inbox_new(struct dial_inbox **out, struct dial_pool *p);
void dial_inbox_free(struct dial_inbox *i);	// after its dials
int dial_inbox_fd(const struct dial_inbox *i);	// poll for reading (level-triggered)
void dial_inbox_run(struct dial_inbox *i);

struct dial_options {
	const struct rules *rules;	// NULL: any (`to:` of a route, or direct)
	uint32_t mark;			// SO_MARK of the socket, 0: none. Keeps what the gateway sends out of its own redirect rules
	int timeout_ms;			// for all of it; 10000 when 0
	bool datagram;			// a connected UDP socket
	uint64_t share;			// for whom (shares.h): nobody may have more than half of the look-ups; 0: no matter
};

// fd: connected and non-blocking, the callee's; or a negative errno as accept_connected takes it, and why in words. Not called from within
// dial_start.
typedef void dial_done(void *ctx, int fd, const char *why);

// 0, or -ENOMEM, -EBUSY, -EACCES (the rules say no: *why). `o` is copied, but not what it points at. *out is valid until `done` has been called.
int dial_start(struct dial **out, struct dial_inbox *i, const struct target *t, const struct dial_options *o, dial_done *done, void *ctx,
	       struct fault *why);
// `done` will not be called.
void dial_cancel(struct dial *d);

#endif
