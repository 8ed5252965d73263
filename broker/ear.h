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

// A token that this signer made and that has not expired: its claims (new reference) and the TEE's key. Nothing in it
// is looked at before the signature is found good. -EBADMSG, -ESTALE expired, -ENOMEM.
int ear_open(EVP_PKEY *signer, const char *token, time_t now, json_t **claims, EVP_PKEY **key);

#endif
