// SPDX-License-Identifier: Apache-2.0
// CBOR from its diagnostic notation (RFC 8949 section 8), as drafts print their examples: numbers, "texts", h'bytes', [lists], {maps}, tag(item),
// <<embedded>>, true, false, null, / comments /. Aborts on anything else. And COSE_Sign1 around it.
#ifndef COFFER_TESTS_ATTEST_MAKE_DIAG_H
#define COFFER_TESTS_ATTEST_MAKE_DIAG_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define DIAG_MAX 8192
struct diag {
	uint8_t b[DIAG_MAX];
	size_t n;
};

void diag_make(struct diag *out, const char *text);
// 18([<<header>>, {}, payload, signature]) with ES256 (P-256) or ES384 (P-384).
void diag_sign(struct diag *out, const char *header, const struct diag *payload, EVP_PKEY *key);

#endif
