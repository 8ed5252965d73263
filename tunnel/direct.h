// SPDX-License-Identifier: Apache-2.0
// The far side of a flow whose destination no tunnel leads to: a plain connection to it (`otherwise: direct` of an ingress route). Belongs to the
// worker's thread; no locks.
#ifndef COFFER_TUNNEL_DIRECT_H
#define COFFER_TUNNEL_DIRECT_H

#include "tunnel/flow.h"

// Begins to connect; flow_far_open or flow_far_closed follow. 0, or a negative errno.
int direct_begin(struct flow *f, const struct target *t);
void direct_ready(struct flow *f);	// the flow's plain side can be read
void direct_resume(struct flow *f);	// it can be written
void direct_drop(struct flow *f, bool cut);	// nothing more of it is wanted; cut: the far end is to learn that something may be missing
void direct_free(struct direct *d);	// after direct_drop. NULL is fine

#endif
