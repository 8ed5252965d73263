// SPDX-License-Identifier: Apache-2.0
// What a connection's other end being on this machine changes. No locks.
#ifndef COFFER_TUNNEL_NEAR_H
#define COFFER_TUNNEL_NEAR_H

// A new connection, of any kind. One over TCP to this very machine shares no network with anybody: its congestion control is Reno, which is always there and
// sends as soon as there is something. The system's choice may pace what it sends by timers (BBR), which takes half as much processor time again.
void near_tune(int fd);

#endif
