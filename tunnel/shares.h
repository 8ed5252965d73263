// SPDX-License-Identifier: Apache-2.0
// Who has how much of what there is a limit of, by the peer's address: so that nobody takes all of it. An IPv6 peer is its network of 64 bits. Thread-safe:
// a mutex of its own, held for list work only.
#ifndef COFFER_TUNNEL_SHARES_H
#define COFFER_TUNNEL_SHARES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct shares;

int shares_new(struct shares **out);	// -ENOMEM
void shares_free(struct shares *s);

// A number that stands for the address; 0: of none, as a Unix socket has, which is in nobody's way. Another one in each process: nobody can aim at a peer's.
uint64_t share_of(const struct sockaddr *sa);
uint64_t share_of_peer(int fd);

// One more for that peer; false: it has `most` already, or there is no memory. Always true for 0.
bool shares_take(struct shares *s, uint64_t peer, unsigned int most);
void shares_give(struct shares *s, uint64_t peer);

#endif
