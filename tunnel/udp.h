// SPDX-License-Identifier: Apache-2.0
// UDP through the tunnel. On an ingress route each client (address and port) is a stream of datagrams; on the egress side that stream is a socket of
// its own, so that the destination sees clients apart and its answers find their way back. Boundaries are kept, order is kept, and what finds no
// room is lost, as UDP may: of a client's queue the oldest, and whatever the kernel's buffers do not hold. Belongs to its worker's thread; no locks.
#ifndef COFFER_TUNNEL_UDP_H
#define COFFER_TUNNEL_UDP_H

#include "tunnel/engine.h"
#include "tunnel/mux.h"

struct link;
struct udp_lane;

// A route's sockets, one for each worker: the kernel gives a client always to the same. Port 0 becomes one that is free. `r` is not used yet by
// anybody.
int udp_listen(struct route *r, unsigned int workers, struct fault *f);

// Ingress: a route in a worker.
int udp_lane_new(struct lane *l);
void udp_lane_link_open(struct lane *l);	// clients that waited get their streams
void udp_lane_retire(struct lane *l);	// takes no more; the clients' streams end
void udp_lane_free(struct lane *l);

// Egress: the peer opened a stream. 0, or a negative errno: refused.
int udp_begin(struct link *l, struct mux_stream *s);

#endif
