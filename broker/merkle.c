// SPDX-License-Identifier: Apache-2.0
// See merkle.h.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "broker/merkle.h"

#include <errno.h>
#include <openssl/sha.h>
#include <string.h>

#include "lib/sha.h"

void merkle_leaf(const void *entry, size_t len, uint8_t out[MERKLE_HASH])
{
	SHA256_CTX c;

	SHA256_Init(&c);
	SHA256_Update(&c, "\0", 1);
	SHA256_Update(&c, entry, len);
	SHA256_Final(out, &c);
}

void merkle_node(const uint8_t left[MERKLE_HASH], const uint8_t right[MERKLE_HASH], uint8_t out[MERKLE_HASH])
{
	uint8_t both[1 + 2 * MERKLE_HASH] = {1};

	memcpy(both + 1, left, MERKLE_HASH);
	memcpy(both + 1 + MERKLE_HASH, right, MERKLE_HASH);
	sha_256(both, sizeof both, out);
}

void merkle_add(struct merkle_range *r, const uint8_t leaf[MERKLE_HASH])
{
	uint8_t h[MERKLE_HASH];
	unsigned int level = 0;

	memcpy(h, leaf, sizeof h);
	for (; r->size >> level & 1; level++)
		merkle_node(r->peak[level], h, h);
	memcpy(r->peak[level], h, sizeof h);
	r->size++;
}

void merkle_range_root(const struct merkle_range *r, uint8_t out[MERKLE_HASH])
{
	bool any = false;

	if (!r->size)
		sha_256("", 0, out);
	for (unsigned int level = 0; level < 64; level++) {
		if (!(r->size >> level & 1))
			continue;
		if (any)
			merkle_node(r->peak[level], out, out);
		else
			memcpy(out, r->peak[level], MERKLE_HASH);
		any = true;
	}
}

// The largest power of two that is smaller than n, as its exponent; n > 1.
static unsigned int split(uint64_t n)
{
	return 63 - (unsigned int)__builtin_clzll(n - 1);
}

// Root of leaves [from, from + n), where `from` is a multiple of the power of two that is not smaller than n.
static int root_of(const struct merkle_source *s, uint64_t from, uint64_t n, uint8_t out[MERKLE_HASH])
{
	uint8_t left[MERKLE_HASH], right[MERKLE_HASH];
	int err;

	if (!(n & (n - 1))) {
		unsigned int level = (unsigned int)__builtin_ctzll(n);
		return s->read(s->ctx, level, from >> level, out);
	}
	unsigned int level = split(n);
	err = s->read(s->ctx, level, from >> level, left);
	if (!err)
		err = root_of(s, from + (1ull << level), n - (1ull << level), right);
	if (!err)
		merkle_node(left, right, out);
	return err;
}

int merkle_root(const struct merkle_source *s, uint64_t size, uint8_t out[MERKLE_HASH])
{
	if (!size) {
		sha_256("", 0, out);
		return 0;
	}
	return size > MERKLE_MAX_SIZE ? -EINVAL : root_of(s, 0, size, out);
}

// The hash goes in front: proofs are written from the root down and read from the leaf up.
static int put(const struct merkle_source *s, uint64_t from, uint64_t n, struct merkle_proof *p)
{
	memmove(p->hash[1], p->hash[0], p->count * sizeof p->hash[0]);
	p->count++;
	return root_of(s, from, n, p->hash[0]);
}

int merkle_prove_inclusion(const struct merkle_source *s, uint64_t index, uint64_t size, struct merkle_proof *out)
{
	uint64_t from = 0, n = size;
	int err = 0;

	out->count = 0;
	if (index >= size || size > MERKLE_MAX_SIZE)
		return -EINVAL;
	while (n > 1 && !err) {
		uint64_t k = 1ull << split(n);
		if (index - from < k) {
			err = put(s, from + k, n - k, out);
			n = k;
		} else {
			err = put(s, from, k, out);
			from += k;
			n -= k;
		}
	}
	return err;
}

int merkle_prove_consistency(const struct merkle_source *s, uint64_t old, uint64_t size, struct merkle_proof *out)
{
	uint64_t from = 0, n = size;
	bool whole = true;	// the old tree is, so far, a complete subtree of the new one: its root is known to the asker
	int err = 0;

	out->count = 0;
	if (!old || old > size || size > MERKLE_MAX_SIZE)
		return -EINVAL;
	while (old - from != n && !err) {
		uint64_t k = 1ull << split(n);
		if (old - from <= k) {
			err = put(s, from + k, n - k, out);
			n = k;
		} else {
			err = put(s, from, k, out);
			from += k;
			n -= k;
			whole = false;
		}
	}
	if (!err && !whole)
		err = put(s, from, n, out);
	return err;
}

// RFC 9162, section 2.1.3.2.
bool merkle_check_inclusion(const uint8_t leaf[MERKLE_HASH], uint64_t index, uint64_t size, const struct merkle_proof *p,
			    const uint8_t root[MERKLE_HASH])
{
	uint8_t r[MERKLE_HASH];
	uint64_t fn = index, sn = size - 1;

	if (index >= size || size > MERKLE_MAX_SIZE)
		return false;
	memcpy(r, leaf, sizeof r);
	for (unsigned int i = 0; i < p->count; i++) {
		if (!sn)
			return false;
		if ((fn & 1) || fn == sn) {
			merkle_node(p->hash[i], r, r);
			for (; fn && !(fn & 1); fn >>= 1)
				sn >>= 1;
		} else {
			merkle_node(r, p->hash[i], r);
		}
		fn >>= 1;
		sn >>= 1;
	}
	return !sn && !memcmp(r, root, sizeof r);
}

// RFC 9162, section 2.1.4.2.
bool merkle_check_consistency(uint64_t old, const uint8_t old_root[MERKLE_HASH], uint64_t size, const uint8_t root[MERKLE_HASH],
			      const struct merkle_proof *p)
{
	uint8_t fr[MERKLE_HASH], sr[MERKLE_HASH];
	uint64_t fn = old - 1, sn = size - 1;
	unsigned int i = 0;

	if (!old) {
		sha_256("", 0, fr);
		return !p->count && !memcmp(fr, old_root, sizeof fr);
	}
	if (old > size || size > MERKLE_MAX_SIZE)
		return false;
	if (old == size)
		return !p->count && !memcmp(old_root, root, MERKLE_HASH);
	if (!p->count)
		return false;
	memcpy(fr, old & (old - 1) ? p->hash[i++] : old_root, sizeof fr);
	memcpy(sr, fr, sizeof sr);
	for (; fn & 1; fn >>= 1)
		sn >>= 1;
	for (; i < p->count; i++) {
		if (!sn)
			return false;
		if ((fn & 1) || fn == sn) {
			merkle_node(p->hash[i], fr, fr);
			merkle_node(p->hash[i], sr, sr);
			for (; fn && !(fn & 1); fn >>= 1)
				sn >>= 1;
		} else {
			merkle_node(sr, p->hash[i], sr);
		}
		fn >>= 1;
		sn >>= 1;
	}
	return !sn && !memcmp(fr, old_root, sizeof fr) && !memcmp(sr, root, sizeof sr);
}
