// SPDX-License-Identifier: Apache-2.0
// Arm CCA attestation tokens: a platform token signed by the platform's key (CPAK) and a realm token signed by the realm's (RAK), which the
// platform token vouches for. Format: "Realm Management Monitor specification", section A7.2; draft-ffm-rats-cca-token. Arm has no common
// root: makers endorse CPAKs one by one, so the keys are inputs. No network, no clock, no locks.
#ifndef COFFER_ATTEST_CCA_H
#define COFFER_ATTEST_CCA_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attest/result.h"

#define CCA_MAX_BYTES (64 << 10)

struct cca_endorsement {
	EVP_PKEY *cpak;
	const uint8_t *implementation;	// 32 bytes; NULL: any
	const uint8_t *instance;	// 33 bytes; NULL: any
	bool simulated;			// a test key: the claim tee becomes "simulated"
};

struct cca_input {
	const uint8_t *token;
	size_t token_len;
	const struct cca_endorsement *endorsements;
	unsigned int endorsement_count;
	const uint8_t *challenge;	// 64 bytes; NULL: not checked (and said so)
	bool strict;
};

// Makes every check that can be made and fills claims under `cca`: `platform` and `realm`.
void cca_verify(const struct cca_input *in, struct attest_result *out);

#endif
