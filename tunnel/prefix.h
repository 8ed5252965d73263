// SPDX-License-Identifier: Apache-2.0
// Networks (10.0.0.0/8, fd00::/8), and which IP packets have their source in one list of them and their destination in another. Pure; no locks.
#ifndef COFFER_TUNNEL_PREFIX_H
#define COFFER_TUNNEL_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREFIXES_MAX 64

struct prefix {
	uint8_t version;	// 4 or 6
	uint8_t bits;
	uint8_t address[16];	// network order; IPv4 has the first four
};

struct prefixes {
	unsigned int count;
	struct prefix list[PREFIXES_MAX];
};

// ADDRESS/BITS; without /BITS one address. `interface`: of one, whose other bits count as well (10.0.0.1/24); else they must be zero. -EINVAL.
int prefix_parse(struct prefix *out, const char *text, bool interface);
bool prefixes_have(const struct prefixes *p, unsigned int version, const uint8_t *address);

// The addresses of an IP packet, within it. *version: 4 or 6. -EPROTO: it is none, or its length is not what its head says.
int packet_addresses(const uint8_t *packet, size_t len, unsigned int *version, const uint8_t **source, const uint8_t **destination);
// From one of `sources` to one of `destinations`.
bool packet_may_pass(const uint8_t *packet, size_t len, const struct prefixes *sources, const struct prefixes *destinations);

#endif
