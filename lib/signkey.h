// SPDX-License-Identifier: Apache-2.0
// Keys that sign requests and statements: EC P-256 (ECDSA with SHA-256, r then s as 64 bytes) and Ed25519, the two that a browser has too.
// No locks.
#ifndef COFFER_LIB_SIGNKEY_H
#define COFFER_LIB_SIGNKEY_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define SIGNKEY_SIGNATURE 64
#define SIGNKEY_ID 44		// text of an id, with the terminator
#define SIGNKEY_PEM 256		// text of a public key, with the terminator

// "ecdsa-p256-sha256", "ed25519" (names of RFC 9421); NULL: a key of another kind.
const char *signkey_algorithm(EVP_PKEY *key);

// The key's JWK thumbprint (RFC 7638, RFC 8037): base64url of SHA-256. -EINVAL for another kind of key.
int signkey_id(EVP_PKEY *key, char id[SIGNKEY_ID]);

int signkey_sign(EVP_PKEY *key, const void *message, size_t len, uint8_t signature[SIGNKEY_SIGNATURE]);
bool signkey_verify(EVP_PKEY *key, const void *message, size_t len, const uint8_t *signature, size_t signature_len);

// A public key as PEM (SubjectPublicKeyInfo), and back. *key: EVP_PKEY_free by the caller. -EINVAL: no key of these kinds.
int signkey_pem(EVP_PKEY *key, char pem[SIGNKEY_PEM]);
int signkey_read(const char *pem, size_t len, EVP_PKEY **key, struct fault *f);

#endif
