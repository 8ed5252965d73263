// SPDX-License-Identifier: Apache-2.0
// Whole networks through the tunnel: IP packets of any protocol between a TUN device here and one at the far gateway. Each side says which networks
// are its own (`local`) and which are the far side's (`remote`), and lets nothing else pass in either direction, so that neither a far side nor a
// host behind it can use an address that it was not given. Belongs to its worker's thread; no locks. Making a device needs CAP_NET_ADMIN.
#ifndef COFFER_TUNNEL_TUNDEV_H
#define COFFER_TUNNEL_TUNDEV_H

#include "tunnel/engine.h"
#include "tunnel/mux.h"

struct link;

// Makes the route's device with a queue for each worker, its addresses and the routes to the far networks. None of them is used yet.
int tun_open(struct route *r, unsigned int workers, struct fault *f);

void tun_close(struct route *r);	// what belongs to all workers

int tun_lane_new(struct lane *l);
void tun_lane_link_open(struct lane *l);	// ingress: the lane has a link
void tun_lane_retire(struct lane *l);
void tun_lane_free(struct lane *l);

// Egress: the peer opened a stream of packets. 0, or a negative errno: refused.
int tun_begin(struct link *l, struct mux_stream *s);

#endif
