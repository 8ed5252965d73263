// SPDX-License-Identifier: Apache-2.0
// Signed envelopes: DSSE, as in-toto and cosign use them. The signature covers the type and the exact bytes of the payload, so nothing is
// ever written anew before it is checked, and what is not checked is not parsed. Keys: ECDSA P-256 with SHA-256, P-384 with SHA-384,
// Ed25519. No locks.
#ifndef COFFER_ATTEST_DSSE_H
#define COFFER_ATTEST_DSSE_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define DSSE_MAX_BYTES (8u << 20)
#define DSSE_MAX_SIGNATURES 16

struct dsse_key {
	EVP_PKEY *key;
	char id[65];	// SHA-256 over the DER of the public key, as hex
};

// A public key (or a certificate's) from PEM; -EINVAL for other text and for keys of other kinds.
int dsse_public_key(const char *pem, size_t len, struct dsse_key *out, struct fault *f);
// A private key from PEM; one with a passphrase asks for it at the terminal.
int dsse_private_key(const char *pem, size_t len, struct dsse_key *out, struct fault *f);
// Takes over `key` and names it. -EINVAL (the key is freed).
int dsse_key_of(EVP_PKEY *key, struct dsse_key *out, struct fault *f);
void dsse_key_free(struct dsse_key *k);

// The payload (malloc, a NUL behind it) of an envelope of that type which one of the keys signed; *by is the key's index. Without keys
// the payload comes out unverified and *by is -1. -EINVAL: no such envelope; -EBADMSG: nobody known signed it.
int dsse_open(const char *text, size_t len, const char *type, const struct dsse_key *keys, unsigned int count, char **payload, size_t *payload_len,
	      int *by, struct fault *f);

// An envelope as JSON text (malloc) with one signature.
int dsse_seal(const char *type, const char *payload, size_t len, const struct dsse_key *key, char **out, struct fault *f);

#endif
