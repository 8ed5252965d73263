// SPDX-License-Identifier: Apache-2.0
// Attestation results as tokens: EAR (EAT Attestation Results, draft-ietf-rats-ear) in a JWT signed with ES256. Pure.
#ifndef COFFER_BROKER_EAR_H
#define COFFER_BROKER_EAR_H

#include <openssl/evp.h>
#include <time.h>

#include "attest/result.h"

#define EAR_SECONDS 300

// The token for a verified result and the TEE's public key (JWK); malloc'ed text, NULL on failure.
char *ear_token(EVP_PKEY *signer, const struct attest_result *result, const json_t *tee_pubkey, time_t now);

#endif
