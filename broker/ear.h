// SPDX-License-Identifier: Apache-2.0
// Attestation results as tokens: EAR (EAT Attestation Results, draft-ietf-rats-ear) in a JWT signed with ES256. Pure.
#ifndef COFFER_BROKER_EAR_H
#define COFFER_BROKER_EAR_H

#include <openssl/evp.h>
#include <time.h>

#include "attest/result.h"
#include "broker/signer.h"
#include "lib/jws.h"

#define EAR_SECONDS 300

// The token for a verified result and the TEE's public key (JWK); issuer "" for none. malloc'ed text, NULL on failure.
char *ear_token(const struct signer *signer, const char *issuer, const struct attest_result *result, const json_t *tee_pubkey, time_t now);

// A token that one of the keys made which `find` knows, and that has not expired: its body and its claims (new references; either may be NULL
// when nobody asks) and the TEE's key. -EBADMSG, -ESTALE expired, -ENOMEM.
int ear_open(jws_find *find, void *ctx, const char *token, time_t now, json_t **body, json_t **claims, EVP_PKEY **key);

#endif
