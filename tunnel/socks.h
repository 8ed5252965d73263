// SPDX-License-Identifier: Apache-2.0
// The datagrams of SOCKS5 (RFC 1928 section 7): each begins with where it goes, or comes from. Pure.
#ifndef COFFER_TUNNEL_SOCKS_H
#define COFFER_TUNNEL_SOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "tunnel/target.h"

#define SOCKS_UDP_HEADER 262	// the longest: a name of 255 bytes

// Reads the header of a client's datagram: *t, and the header's length; the payload is what follows. -EPROTO: malformed; -EOPNOTSUPP: a fragment.
int socks_udp_read(const uint8_t *bytes, size_t n, struct target *t);
// Writes the header of a datagram that came from `t`; its length.
size_t socks_udp_write(const struct target *t, uint8_t out[SOCKS_UDP_HEADER]);

#endif
