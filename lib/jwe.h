// SPDX-License-Identifier: Apache-2.0
// JSON Web Encryption, as far as the KBS protocol uses it: flattened JSON (RFC 7516 section 7.2.2), key agreement
// ECDH-ES+A256KW on P-256, P-384 or P-521 (RFC 7518 section 4.6), to others also RSA-OAEP-256, content encryption A256GCM; and the JWK form
// of the public key it encrypts to (RFC 7517, RFC 7518 sections 6.2 and 6.3). Secrets that pass through are wiped. No locks, no
// globals.
#ifndef COFFER_LIB_JWE_H
#define COFFER_LIB_JWE_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define JWE_MAX_PLAINTEXT (64u << 10)

// A new private key; curve "P-256", "P-384" or "P-521". NULL when OpenSSL cannot make one.
EVP_PKEY *jwk_new_key(const char *curve);

// The public half as {"alg","crv","kty","x","y"}, or of an RSA key as {"alg","e","kty","n"}; a new reference, NULL for others and without memory.
json_t *jwk_from_key(EVP_PKEY *key);

// The public key of an untrusted JWK; the point must lie on the curve, RSA have 2048 to 8192 bits. -EINVAL with a message.
int jwk_to_key(const json_t *jwk, EVP_PKEY **out, struct fault *f);

// Encrypts `len` bytes (at most JWE_MAX_PLAINTEXT) to `to`. *out: a new reference.
int jwe_encrypt(EVP_PKEY *to, const void *plain, size_t len, json_t **out, struct fault *f);

// Decrypts an untrusted JWE with the private key into `plain` (size bytes); *len gets the length. -EINVAL malformed,
// -EBADMSG not authentic, -ENOSPC too long.
int jwe_decrypt(EVP_PKEY *key, const json_t *jwe, void *plain, size_t size, size_t *len, struct fault *f);

#endif
