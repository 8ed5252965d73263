// SPDX-License-Identifier: Apache-2.0
// Inside attest/: one measurement of a CoRIM, of a known environment, as reference values. No locks.
#ifndef COFFER_ATTEST_CORIM_MAP_H
#define COFFER_ATTEST_CORIM_MAP_H

#include "attest/cbor.h"
#include "attest/corim.h"

enum corim_kind {
	CORIM_UNKNOWN, CORIM_SNP, CORIM_SEAM, CORIM_TD, CORIM_SGX, CORIM_QE, CORIM_PCE, CORIM_CCA_PLATFORM, CORIM_CCA_REALM, CORIM_PSA,
};

struct corim_env {
	enum corim_kind kind;
	const char *tee;	// whose evidence it is about; NULL: any
};

// Adds to the text lists.
__attribute__((format(printf, 2, 3))) void corim_say(json_t *list, const char *format, ...);

// Adds the values of a measurement-map (the item at c) to out->values; what it cannot map goes to out->left_out. -EINVAL when malformed.
int corim_measurement(struct corim *out, const struct corim_env *env, struct cursor c, struct fault *f);

// A value of a claim by its name, from bytes.
void corim_put_hex(struct corim *out, const struct corim_env *env, const char *name, const uint8_t *bytes, size_t len);

// The pairs of a map one by one; the key is a number or a text, *value its item. False at the end, and (*pairs not 0) when malformed.
bool corim_pair(struct cursor *c, uint64_t *pairs, struct cbor *key, struct cursor *value);
// The items of an array the same way.
bool corim_item(struct cursor *c, uint64_t *items, struct cursor *item);
// Opens an item that should be of that kind, under that tag (0: none).
bool corim_open(struct cursor c, uint64_t tag, enum cbor_kind kind, struct cbor *v, struct cursor *inside);

#endif
