// SPDX-License-Identifier: Apache-2.0
// Bytes of a flow that are rewritten on their way (a forwarded request of HTTP and its response): what the rewriting has taken and not yet given
// away.
// Reads and writes the flow's plain socket. Belongs to the worker's thread; no locks.
#ifndef COFFER_TUNNEL_FILTER_H
#define COFFER_TUNNEL_FILTER_H

#include "tunnel/accept.h"

struct filter;

// `a` must outlive it. NULL: no memory.
struct filter *filter_new(struct acceptor *a);
void filter_free(struct filter *x);

// What came before, from where the client's own bytes begin.
void filter_early(struct filter *x, const uint8_t *bytes, size_t len);	// at most ACCEPT_MAX_INPUT
// As read(2) of the rewritten request, from the socket: a count; -EAGAIN (the socket too has nothing); -EPROTO; the socket's error. Never an end: the
// target
// would take it for the client's leave.
ssize_t filter_pull(struct filter *x, int fd, uint8_t *buf, size_t size);
// As write(2) of the response: how much was taken, which may be on its way still. *over: the response is whole.
ssize_t filter_push(struct filter *x, int fd, const uint8_t *bytes, size_t len, bool *over);
// The far side has ended: the client is told when it was too early.
void filter_end(struct filter *x);
// What is on its way: 0 nothing any more, -EAGAIN, the socket's error.
int filter_flush(struct filter *x, int fd);

#endif
