// SPDX-License-Identifier: Apache-2.0
// Key pairs whose private half stays at the broker: making, importing, public halves as JWK (RFC 7517, 8037) and PEM, signing (RFC 7518
// section 3, RFC 8037), RSA-OAEP. Over OpenSSL's EVP; secrets in buffers of this file are wiped. Pure; no locks.
#ifndef COFFER_BROKER_KEYPAIR_H
#define COFFER_BROKER_KEYPAIR_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"
#include "lib/jwk.h"

#define KEYPAIR_KID JWK_THUMBPRINT
#define KEYPAIR_MAX_SIGNATURE 512	// of 4096 bits
#define KEYPAIR_MAX_DER 4096		// a private half at rest

enum keypair_use { KEYPAIR_SIGN = 1, KEYPAIR_DECRYPT = 2 };

// The kinds: "ec-p256", "ec-p384", "ed25519", "rsa-3072", "rsa-4096". The uses that one has; 0: there is no such kind.
unsigned int keypair_uses(const char *kind);
// "ec-p256, ..." for messages.
const char *keypair_kinds(void);

// NULL when OpenSSL cannot make one.
EVP_PKEY *keypair_generate(const char *kind);
// A private key in PEM (PKCS#8 or the older forms, not encrypted); *kind says which one it is. -EINVAL with a message.
int keypair_import(const void *pem, size_t len, EVP_PKEY **out, const char **kind, struct fault *f);

// The private half as DER; the length, or -errno. And back.
int keypair_store(EVP_PKEY *key, uint8_t der[KEYPAIR_MAX_DER]);
EVP_PKEY *keypair_load(const uint8_t *der, size_t len);

// The public half with "use" and "kid"; a new reference, NULL without memory.
json_t *keypair_jwk(EVP_PKEY *key, enum keypair_use use);
// malloc'ed; NULL without memory.
char *keypair_pem(EVP_PKEY *key);

// Signs a message, or what is its digest already, with "ES256", "ES384", "EdDSA", "PS256" or "RS256" (NULL: the first that the key has).
// ECDSA's pair of numbers is written as JOSE does, or as DER. *alg: which one it was. -EINVAL with a message.
struct keypair_message {
	const uint8_t *bytes;
	size_t len;
	bool digested, der;
};
int keypair_sign(EVP_PKEY *key, const char **alg, const struct keypair_message *m, uint8_t out[KEYPAIR_MAX_SIGNATURE], size_t *len, struct fault *f);

// RSA-OAEP with SHA-256 (RFC 7518 section 4.3). -EBADMSG; *len is the size of `out` before.
int keypair_oaep(EVP_PKEY *key, const uint8_t *in, size_t in_len, uint8_t *out, size_t *len);

#endif
