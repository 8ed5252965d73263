// SPDX-License-Identifier: Apache-2.0
// A route of the gateway that speaks OHTTP: one of the two services of ohttp_gateway.h, made from the route's configuration. It listens and works in
// threads of its own, beside the engine's workers.
#ifndef COFFER_TUNNEL_OHTTP_ROUTE_H
#define COFFER_TUNNEL_OHTTP_ROUTE_H

#include "tunnel/config.h"

struct ohttp_route;

// Serves what comes in at the listening socket, of which it takes a duplicate. *c must outlive it.
int ohttp_route_start(struct ohttp_route **out, const struct route_config *c, int listener, struct fault *f);
// NULL is fine. `wait`: until it has stopped, after drain_ms at the latest; else that goes on by itself, and needs *c no longer.
void ohttp_route_stop(struct ohttp_route *r, unsigned int drain_ms, bool wait);
// What can be found wrong without listening.
int ohttp_route_check(const struct route_config *c, struct fault *f);
// Its counters, under the names of the other routes' where there are such, and those of OHTTP's own.
void ohttp_route_describe(struct ohttp_route *r, json_t *o);

#endif
