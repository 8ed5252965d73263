// SPDX-License-Identifier: Apache-2.0
// A stream of datagrams or packets in a link (mux.h), as those see it who have such: UDP clients and destinations (udp.h), TUN devices (tundev.h).
// And what waits for its turn to be sent: a queue that loses its oldest when it is full, as those are the least wanted. Belongs to its worker's
// thread; no locks.
#ifndef COFFER_TUNNEL_CARRIER_H
#define COFFER_TUNNEL_CARRIER_H

#include "tunnel/engine.h"
#include "tunnel/mux.h"

#define CARRIER_QUEUE_BYTES (512u << 10)	// of one queue; the datagrams' own bytes and a head for each
#define CARRIER_QUEUE_COUNT 1024u

struct link;
struct carrier;

struct carrier_ops {
	void (*open)(struct carrier *c);	// the far side took the stream; may be NULL
	ssize_t (*pull)(struct carrier *c, uint8_t *buf, size_t size);	// as mux_ops.pull
	ssize_t (*data)(struct carrier *c, const uint8_t *bytes, size_t len);	// as mux_ops.data
	void (*closed)(struct carrier *c, int err, const char *why);	// the stream is gone; link and stream are NULL already
	void (*free)(struct carrier *c);	// at the end of the turn in which carrier_bury was called
};

struct carrier {
	const struct carrier_ops *ops;
	struct lane *lane;
	struct link *link;		// NULL: none (yet, or any more)
	struct mux_stream *stream;
	struct list_node dead;		// worker's
};

// Ingress: a stream in the lane's link. -EAGAIN: there is no link now, but one is being made, and lane_link_open will be called; others: there will
// be none.
int carrier_open(struct carrier *c, enum mux_kind kind, const struct target *target);
// Egress: the stream that the peer opened.
void carrier_take(struct carrier *c, struct link *l, struct mux_stream *s);
void carrier_accept(struct carrier *c);	// its destination is there
void carrier_ready(struct carrier *c);	// pull has something
// The stream is no longer wanted (0), or for this reason. Nothing when there is none.
void carrier_drop(struct carrier *c, int err);
void carrier_bury(struct carrier *c);

// One more client or destination of datagrams; false: there are too many. They may have half of `limits: connections`, so that who forges senders'
// addresses keeps no connection out.
bool carrier_admit(struct worker *w);
void carrier_leave(struct worker *w);	// one less

// ---- queues ----

struct datagram {
	struct datagram *next;
	size_t len;
	uint8_t bytes[];
};

struct datagram_queue {
	struct datagram *first, **last;
	unsigned int count;
	size_t bytes;
};

void queue_init(struct datagram_queue *q);
// Copies it. How many were lost for it, itself among them without memory.
unsigned int queue_put(struct datagram_queue *q, const uint8_t *bytes, size_t len);
// The oldest into buf, which is large enough. -EAGAIN: none.
ssize_t queue_get(struct datagram_queue *q, uint8_t *buf, size_t size);
void queue_clear(struct datagram_queue *q);

#endif
