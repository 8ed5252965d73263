// SPDX-License-Identifier: Apache-2.0
// Listening sockets: TCP with the options that accepted sockets inherit, and Unix sockets, whose path is taken over from who has gone. No locks.
#ifndef COFFER_TUNNEL_LISTEN_H
#define COFFER_TUNNEL_LISTEN_H

#include "tunnel/config.h"

// Non-blocking. `mode`: of a Unix socket's path. `transparent`: takes connections that were meant for other addresses, if this process may.
// *bound: the address that it has got. A descriptor, or a negative errno with a message.
int listen_at(const struct config_address *a, unsigned int mode, bool transparent, struct config_address *bound, struct fault *f);
// Removes the path of a Unix socket.
void listen_forget(const struct config_address *a);

#endif
