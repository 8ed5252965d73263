// SPDX-License-Identifier: Apache-2.0
// Connections that nftables sent here although they were meant for another place: `redirect to` (the destination is rewritten, and conntrack knows
// what it was) and `tproxy` (the destination is as it was). Asks sockets only; the table of own connections has a mutex, under which nothing but
// connect(2) of a non-blocking socket is called.
#ifndef COFFER_TUNNEL_TRANSPARENT_H
#define COFFER_TUNNEL_TRANSPARENT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "tunnel/target.h"

// Before bind(2) of a listening socket: lets it take what `tproxy` gives it. 0, or -EPERM without CAP_NET_ADMIN: `redirect` works all the same.
int transparent_prepare(int fd, int family);

// Where an accepted connection was meant to go, that a socket listening at `listen_port` has accepted. -ELOOP: to the gateway itself: nothing
// redirected it, or it is one that the gateway has made (own_connect), and serving it would go on for ever; other errors of getsockopt.
int transparent_target(int fd, uint16_t listen_port, struct target *t);

// connect(2) of a non-blocking socket, remembered: should the redirect rules catch what the gateway itself connects to (a missing `mark`),
// transparent_target knows it again. Costs nothing until transparent_prepare was called once. As connect(2): 0 or a negative errno, -EINPROGRESS
// among them.
int own_connect(int fd, const struct sockaddr *sa, socklen_t len);

#endif
