// SPDX-License-Identifier: Apache-2.0
// The Merkle tree of RFC 9162, section 2.1, with SHA-256: roots, inclusion and consistency proofs, and their checks. Pure but for the
// caller's function that gives the hashes of complete subtrees; no locks, no allocation.
#ifndef COFFER_BROKER_MERKLE_H
#define COFFER_BROKER_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MERKLE_HASH 32
#define MERKLE_MAX_PROOF 64
#define MERKLE_MAX_SIZE (1ull << 62)

void merkle_leaf(const void *entry, size_t len, uint8_t out[MERKLE_HASH]);
void merkle_node(const uint8_t left[MERKLE_HASH], const uint8_t right[MERKLE_HASH], uint8_t out[MERKLE_HASH]);

// A tree that only grows, by the roots of its complete subtrees: enough to add leaves and to tell the root.
struct merkle_range {
	uint64_t size;
	uint8_t peak[64][MERKLE_HASH];	// [level], where that bit of `size` is set
};
void merkle_add(struct merkle_range *r, const uint8_t leaf[MERKLE_HASH]);
void merkle_range_root(const struct merkle_range *r, uint8_t out[MERKLE_HASH]);

// Where hashes come from: the root of the `index`th complete subtree of 2^level leaves. 0 or a negative errno.
struct merkle_source {
	int (*read)(void *ctx, unsigned int level, uint64_t index, uint8_t out[MERKLE_HASH]);
	void *ctx;
};

struct merkle_proof {
	unsigned int count;
	uint8_t hash[MERKLE_MAX_PROOF][MERKLE_HASH];
};

int merkle_root(const struct merkle_source *s, uint64_t size, uint8_t out[MERKLE_HASH]);
// index < size. -EINVAL, or what the source fails with.
int merkle_prove_inclusion(const struct merkle_source *s, uint64_t index, uint64_t size, struct merkle_proof *out);
// 0 < old <= size.
int merkle_prove_consistency(const struct merkle_source *s, uint64_t old, uint64_t size, struct merkle_proof *out);

bool merkle_check_inclusion(const uint8_t leaf[MERKLE_HASH], uint64_t index, uint64_t size, const struct merkle_proof *p,
			    const uint8_t root[MERKLE_HASH]);
// An empty older tree is consistent with every one.
bool merkle_check_consistency(uint64_t old, const uint8_t old_root[MERKLE_HASH], uint64_t size, const uint8_t root[MERKLE_HASH],
			      const struct merkle_proof *p);

#endif
