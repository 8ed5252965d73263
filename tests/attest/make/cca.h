// SPDX-License-Identifier: Apache-2.0
// Makes Arm CCA tokens, of the older and the newer profile, signed by keys of a test. For tests only.
#ifndef COFFER_TESTS_ATTEST_MAKE_CCA_H
#define COFFER_TESTS_ATTEST_MAKE_CCA_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cca_spec {
	bool cose_key, p256, other_rak, repeated;
	uint64_t lifecycle;
	size_t challenge_len;
	const char *rak_hash;
};


struct cca_keys {
	EVP_PKEY *cpak, *rak, *rak256, *other;
};

// `challenge` NULL: bytes 0xda. `token` has room for 4096 bytes. Returns the length.
size_t cca_make(const struct cca_spec *s, const struct cca_keys *k, const uint8_t *challenge, uint8_t *token);

#endif
