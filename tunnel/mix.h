// SPDX-License-Identifier: Apache-2.0
// Spreads the bits of a number over all of it, for places in hash tables. What must not be guessed needs a secret number in it. Pure.
#ifndef COFFER_TUNNEL_MIX_H
#define COFFER_TUNNEL_MIX_H

#include <stdint.h>

static inline uint64_t mix_bits(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

#endif
