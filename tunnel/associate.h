// SPDX-License-Identifier: Apache-2.0
// SOCKS5's UDP ASSOCIATE (RFC 1928 section 7): a flow whose connection only says how long a UDP socket beside it lives. Each destination that the client's
// datagrams name is a stream of datagrams in the lane's link. Belongs to the worker's thread; no locks.
#ifndef COFFER_TUNNEL_ASSOCIATE_H
#define COFFER_TUNNEL_ASSOCIATE_H

#include "tunnel/flow.h"

// The socket, on the address that the client reached; the client is told of it. 0, or a negative errno.
int associate_begin(struct flow *f);
void associate_link_open(struct lane *l);	// what waited for an attested connection goes on
void associate_end(struct flow *f);		// destinations' streams end. Nothing when there is none
void associate_free(struct association *a);	// after associate_end. NULL is fine

#endif
