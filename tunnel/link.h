// SPDX-License-Identifier: Apache-2.0
// An attested connection of a worker, from the dial or the accept to its end, with what passes in it: many streams (mux.h), or, with a peer that does
// not
// speak that, one flow alone. Reads and writes its socket in link_turn only; whoever gave it something to do marks it (link_mark), so that what many
// flows
// have goes out together. Belongs to its worker's thread; no locks.
#ifndef COFFER_TUNNEL_LINK_H
#define COFFER_TUNNEL_LINK_H

#include <jansson.h>

#include "tunnel/engine.h"
#include "tunnel/mux.h"

struct flow;

enum link_state {
	LINK_DIALING,
	LINK_HANDSHAKE,
	LINK_OPEN,
	LINK_GOING,	// no new streams; ends with the last
	LINK_LINGERING,	// ended; until the peer has read why
	LINK_DEAD,
};

struct link {
	struct list_node node;		// lane.links
	struct list_node dirty, dead;	// worker's
	struct lane *lane;
	struct source src;
	uint32_t watched;		// events of its descriptor; level-triggered, unlike flows'
	struct timer timer;
	enum link_state state;
	bool client, readable, counted;	// counted: among the handshakes under way
	unsigned int gateway;		// which of the route's
	struct dial *dial;
	struct ratls_connection *c;
	struct link_job *job;		// that a helper has
	struct mux *mux;		// NULL: direct
	struct flow *direct;
	bool pulls, end_sent, ended;	// of direct: the flow has something; sent, received
	struct list_node waiting;	// flows, until it is open
	uint8_t *rest;			// made by the mux, or pulled, and not taken yet by TLS
	size_t rest_len, rest_pos;
	uint8_t *kept;			// of direct: came, and not taken by the plain side
	size_t kept_len, kept_pos;
	size_t accounted;		// of worker.kept
	int64_t began_ms, heard_ms, deadline_ms;
	uint64_t share;			// of an accepted one: shares.h
	bool pinged;
};

// For a flow of an ingress route that knows its destination: a stream in the lane's link, now or when that is open; flow_far_closed when it fails. 0,
// or a
// negative errno when it is known at once that none can be had.
int link_want(struct lane *l, struct flow *f);
// The flow no longer waits, or wants its stream no more: err is what the far side is told (0: in order).
void link_drop(struct flow *f, int err);

// What a flow has to tell its far side.
void link_flow_ready(struct flow *f);	// its plain side can be read
void link_flow_drained(struct flow *f);	// no more: until the next link_flow_ready
void link_flow_resume(struct flow *f);	// its plain side can be written
void link_flow_accept(struct flow *f);	// egress: its destination is connected

// Egress: an accepted socket, which is taken over.
void link_accept(struct lane *l, int fd);
// Ingress: a lane that should have a link and has none gets one, now or when its back-off is over.
void lane_tend(struct lane *l);

void link_mark(struct link *l);
void link_turn(struct link *l);
// No new streams; closes when the last has ended.
void link_retire(struct link *l);
// Now, whatever passes in it: streams are reset.
void link_cut(struct link *l, const char *why);
void link_free(struct link *l);	// of a dead one; the worker's

json_t *link_describe(struct link *l);

#endif
