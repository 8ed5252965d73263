// SPDX-License-Identifier: Apache-2.0
// Inside lib/: secrets for RSA keys (RFC 7518 sections 4.3 and 6.3), which clients of the KBS protocol may have: RSA-OAEP with SHA-256 and nothing
// older. Pure.
#ifndef COFFER_LIB_JWE_RSA_H
#define COFFER_LIB_JWE_RSA_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define JWE_RSA_ALG "RSA-OAEP-256"
#define JWE_RSA_MAX 1024	// bytes of a modulus

// The public key of an untrusted JWK of kty RSA. -EINVAL with a message.
int jwe_rsa_key(const json_t *jwk, EVP_PKEY **out, struct fault *f);
// The public half of an RSA key; a new reference, NULL for others and without memory.
json_t *jwe_rsa_jwk(EVP_PKEY *key);
// -EIO.
int jwe_rsa_wrap(EVP_PKEY *to, const uint8_t *key, size_t key_len, uint8_t out[JWE_RSA_MAX], size_t *len);

#endif
