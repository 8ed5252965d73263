// SPDX-License-Identifier: Apache-2.0
// Inside the engine: what engine.c and worker.c ask of each other. Threads as each function says.
#ifndef COFFER_TUNNEL_WORKER_H
#define COFFER_TUNNEL_WORKER_H

#include "tunnel/engine.h"

// Before its thread runs; worker_end after it has ended, whatever worker_init returned.
int worker_init(struct worker *w, struct engine *e, unsigned int index);
int worker_start(struct worker *w);
void worker_end(struct worker *w);

// In the worker's thread, or before it runs. A retired lane takes no connections, and is cut off after drain_ms.
int lane_new(struct worker *w, struct route *r);
void lane_retire(struct lane *l);

#endif
