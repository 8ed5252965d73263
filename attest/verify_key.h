// SPDX-License-Identifier: Apache-2.0
// Inside attest/: a public key that is kept because many signatures of it are checked (a TPM's, a platform's): with what OpenSSL looks up and
// prepares for a check, which costs up to a quarter of one. Threads may share one: a check in progress has the prepared context to itself, and others
// beside it make their own. Pure otherwise.
#ifndef COFFER_ATTEST_VERIFY_KEY_H
#define COFFER_ATTEST_VERIFY_KEY_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct verify_key;

// Takes a reference to `key`. NULL without memory.
struct verify_key *verify_key_new(EVP_PKEY *key);
// NULL is fine.
void verify_key_free(struct verify_key *k);
EVP_PKEY *verify_key_public(const struct verify_key *k);

// As ecdsa_ok (ecdsa.h).
bool verify_key_ecdsa(struct verify_key *k, const uint8_t *rs, size_t n, const void *message, size_t len);
// RSA with 2048 bits or more over a message, hashed by one of SHA-2 (TPM_SHA256...; digest.h). PSS with any salt, else PKCS #1 v1.5.
bool verify_key_rsa(struct verify_key *k, bool pss, uint16_t hash, const uint8_t *signature, size_t signature_len, const void *message, size_t len);

#endif
