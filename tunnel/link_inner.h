// SPDX-License-Identifier: Apache-2.0
// Inside links: what link.c (beginning, end, streams) and link_turn.c (bytes) ask of each other. The worker's thread.
#ifndef COFFER_TUNNEL_LINK_INNER_H
#define COFFER_TUNNEL_LINK_INNER_H

#include "tunnel/link.h"

// A piece of attested TLS's work, in a helper's hands.
struct link_job {
	struct job job;
	struct ratls_work *work;
	struct link *link;	// NULL: it has ended meanwhile
};

extern const struct mux_ops link_mux_ops;	// ctx: the link

// The peer in text: the far gateway's name, or a client's address. `out` or a constant.
const char *link_peer_text(const struct link *l, char out[TARGET_TEXT]);

// It is lost, or was never had: says why, tells flows, backs off. The link is dead or lingers afterwards.
void link_fail(struct link *l, int err, const char *why);
// The last of it passed in order.
void link_finish(struct link *l);
// Nothing of it is told to anybody any more; freed at the end of the turn.
void link_bury(struct link *l);
// The peer gets no goodbye, so that it knows that something may be missing.
void link_break_off(struct link *l);
// One turn of waiting until a refused peer has read why.
void link_linger(struct link *l);
// It is no longer among the handshakes under way.
void link_leave_handshake(struct link *l);
// A stream for f in an open link: -EAGAIN, -ESHUTDOWN: another link is needed.
int link_open_stream(struct link *l, struct flow *f);

#endif
