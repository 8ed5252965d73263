// SPDX-License-Identifier: Apache-2.0
// Inside attest/: reading CBOR (RFC 8949) and COSE_Sign1 (RFC 9052) in place, and the heads to write it. Items come one by one; a whole one is skipped by counting, so
// nothing recurses and nothing is allocated for what a length claims. Indefinite lengths and floats, which tokens do not use, are
// refused. Pure; no locks.
#ifndef COFFER_ATTEST_CBOR_H
#define COFFER_ATTEST_CBOR_H

#include <openssl/evp.h>

#include "attest/bytes.h"
#include "lib/fault.h"

enum cbor_kind { CBOR_NONE, CBOR_UINT, CBOR_NEGATIVE, CBOR_BYTES, CBOR_TEXT, CBOR_ARRAY, CBOR_MAP, CBOR_TAG, CBOR_BOOL, CBOR_NULL };

struct cbor {
	enum cbor_kind kind;
	uint64_t n;		// value (negative ones: -1 - n), count of items or pairs, tag, truth
	const uint8_t *bytes;	// of BYTES and TEXT
	size_t len;
};

// The next item: of an array, map or tag only its head. False (and c->short_of) when there is none or it is malformed.
bool cbor_read(struct cursor *c, struct cbor *v);
// Passes over one item with all that is in it.
bool cbor_skip(struct cursor *c);
// The value of the pair whose key is that number, in a map whose `pairs` pairs begin at c. False when it is missing or given twice.
bool cbor_find(struct cursor c, uint64_t pairs, int64_t key, struct cursor *value);
// The same, read, when it is of that kind.
bool cbor_find_kind(struct cursor c, uint64_t pairs, int64_t key, enum cbor_kind kind, struct cbor *v);

// Writes an item's head in its shortest form, at most 9 bytes: type 0 number, 2 bytes, 3 text, 4 list, 5 map, 6 tag. Its length.
size_t cbor_head(uint8_t *out, unsigned int major, uint64_t n);

struct cose_sign1 {
	struct cbor protected, payload, signature;
	int64_t alg;		// -7 ES256, -35 ES384
};

// Reads a COSE_Sign1, tagged (18) or not, that is the whole of the bytes. -EINVAL and why.
int cose_read(const uint8_t *bytes, size_t len, struct cose_sign1 *s, struct fault *f);
bool cose_ok(const struct cose_sign1 *s, EVP_PKEY *key);

#endif
