// SPDX-License-Identifier: Apache-2.0
// Inside broker/: activate-credential in a session of the KBS protocol (`tee` "tpm"), so that a TPM's attestation key (AK) is believed on the word
// of its maker, who certified its endorsement key (EK). Nothing is kept between the two requests: the credential is a MAC over session and keys,
// so every broker with the same master key can check it. No locks.
//
//	auth    extra-params: {"tpm": {"ak_public": base64 TPM2B_PUBLIC, "ek_certificates": PEM | "ek_public": base64 TPM2B_PUBLIC}}
//	answer  extra-params: {"tpm": {"credential_blob": base64 TPM2B_ID_OBJECT, "encrypted_secret": base64 TPM2B_ENCRYPTED_SECRET, "ek_digest": hex}}
//	attest  primary_evidence: {..., "activation": {"credential": base64 of what the TPM opened, "ek_digest": hex}}
#ifndef COFFER_BROKER_TPM_ACTIVATION_H
#define COFFER_BROKER_TPM_ACTIVATION_H

#include <jansson.h>
#include <openssl/evp.h>

#include "broker/session.h"
#include "broker/verifier.h"

// The answer's member "tpm" for a body of /auth that asks for it; *out NULL when it does not. -EINVAL (malformed), -EACCES (the EK is not believed, or
// the AK is no attestation key).
int tpm_activation_challenge(const struct verifier *v, const uint8_t secret[32], const char *body, size_t len, const char id[SESSION_ID_TEXT],
			     const char nonce[SESSION_NONCE_TEXT], time_t now, json_t **out, struct fault *f);

// Before the evidence is verified: what it says of an activation, if anything, becomes a check ("tpm-activation"), and the AK's digest, if that holds, the
// bundle's member "tpm_activated", which nothing else sets.
void tpm_activation_check(const uint8_t secret[32], const char *id, const char *nonce, struct bundle *evidence, struct attest_result *out);

#endif
