// SPDX-License-Identifier: Apache-2.0
// One client connection: a plain socket on this side, a stream of a link (or a link of its own) on the other. On an ingress route the plain socket is
// a client's
// that was accepted; on an egress route it is one that is connected to the destination. Bytes are read when the far side has room and written as they
// come:
// nothing is stored here but what a client sends before its destination is known. Belongs to its worker's thread; no locks.
#ifndef COFFER_TUNNEL_FLOW_H
#define COFFER_TUNNEL_FLOW_H

#include <jansson.h>

#include "tunnel/engine.h"
#include "tunnel/mux.h"

struct link;
struct direct;
struct association;

enum flow_state {
	FLOW_ACCEPTING,	// ingress: the client says where it wants to go
	FLOW_WAITING,	// for a link, or for the far side to be connected
	FLOW_DIALING,	// egress: the destination is being connected
	FLOW_OPEN,
	FLOW_FLUSHING,	// over, but for what the plain side has still to take
	FLOW_DEAD,
};

struct flow {
	struct list_node node;		// lane.flows
	struct list_node wait;		// link.waiting
	struct list_node dead;		// worker.dead_flows
	struct lane *lane;
	struct source src;		// the plain side; fd -1: not yet
	struct timer timer;
	enum flow_state state;
	bool readable, hup, plain_ended, far_ended, accepted;
	struct link *link;		// the far side; NULL: none (yet)
	struct mux_stream *stream;	// in the link's mux; NULL: direct, or none yet
	struct direct *past, *passed;	// the far side when no link is: a plain connection (direct.h); one that is over, until the flow is freed
	struct association *association;	// of SOCKS: datagrams beside the connection (associate.h)
	struct dial *dial;
	struct acceptor *acceptor;	// NULL when it is not (or no longer) needed
	struct filter *filter;		// of bytes that are rewritten; NULL: they pass as they are
	uint8_t *early;			// what the client sent before its destination was known
	size_t early_len, early_pos;
	int64_t began_ms, active_ms;
	uint64_t in, out;		// bytes from and to the plain side
};

// Ingress: an accepted client, which is taken over.
void flow_accept(struct lane *l, int fd);
// Egress: a stream that the peer opened, or (stream NULL) a link without streams. 0, or a negative errno: refused.
int flow_begin(struct link *l, struct mux_stream *s);

// What the far side has to tell; link.c calls these.
void flow_far_open(struct flow *f);				// it is connected
ssize_t flow_pull(struct flow *f, uint8_t *buf, size_t size);	// as mux_ops.pull
ssize_t flow_data(struct flow *f, const uint8_t *bytes, size_t len);	// as mux_ops.data
bool flow_is_bare(const struct flow *f);	// bytes pass as they are, and none are kept: they may pass by another way than the two above
ssize_t flow_took(struct flow *f, ssize_t n);	// by another way: so many from the plain side; 0: its end; -EAGAIN. Returns n
void flow_gave(struct flow *f, size_t n);	// so many to it
void flow_far_end(struct flow *f);
void flow_far_closed(struct flow *f, int err, const char *why);	// 0: in order. f->link and f->stream are gone already

// The plain socket is reset, the far side told.
void flow_cut(struct flow *f, int err, const char *why);
void flow_free(struct flow *f);	// of a dead one; the worker's
json_t *flow_describe(struct flow *f);

#endif
