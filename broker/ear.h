// SPDX-License-Identifier: Apache-2.0
// Attestation results as tokens: EAR (EAT Attestation Results, draft-ietf-rats-ear) in a JWT signed with ES256: making them
// (attest/ear.h reads them). Pure.
#ifndef COFFER_BROKER_EAR_H
#define COFFER_BROKER_EAR_H

#include <openssl/evp.h>
#include <time.h>

#include "attest/ear.h"
#include "attest/result.h"
#include "broker/signer.h"

#define EAR_SECONDS 300

// The token for a verified result and the TEE's public key (JWK); issuer "" for none. `claims`: result->claims as text of JSON, where the caller has
// it, else NULL. malloc'ed text, NULL on failure.
char *ear_token(const struct signer *signer, const char *issuer, const struct attest_result *result, const char *claims, const json_t *tee_pubkey,
		time_t now);

#endif
