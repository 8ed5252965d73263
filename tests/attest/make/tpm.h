// SPDX-License-Identifier: Apache-2.0
// Makes TPM 2.0 quotes by keys of a test. For tests only.
#ifndef COFFER_TESTS_ATTEST_MAKE_TPM_H
#define COFFER_TESTS_ATTEST_MAKE_TPM_H

#include "attest/tpm.h"

struct tpm_spec {
	int scheme;			// 0x14 RSASSA, 0x16 RSAPSS, 0x18 ECDSA
	uint32_t magic;			// 0xff544347
	uint16_t type;			// 0x8018
	uint32_t mask;			// of the registers quoted, SHA-256
	const uint8_t *nonce;
	size_t nonce_len;
	uint8_t (*values)[32];		// of TPM_PCRS registers
};

struct tpm_made {
	uint8_t attest[512], signature[700];
	size_t attest_len, signature_len;
};

void tpm_make(const struct tpm_spec *s, EVP_PKEY *key, struct tpm_made *m);

#endif
