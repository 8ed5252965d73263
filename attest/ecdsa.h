// SPDX-License-Identifier: Apache-2.0
// Inside attest/: ECDSA over P-256 and P-384 with signatures and keys as bare numbers, as quotes, tokens and reports carry them.
// Keys and digests come from OpenSSL. No locks; no state but caches of OpenSSL's own.
#ifndef COFFER_ATTEST_ECDSA_H
#define COFFER_ATTEST_ECDSA_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A public key from its point, x then y, each `n` bytes big-endian: 32 is P-256, 48 is P-384. NULL when the point is not on the
// curve or memory is short. EVP_PKEY_free by the caller.
EVP_PKEY *ecdsa_key(const uint8_t *xy, size_t n);

// 32 for a P-256 key, 48 for P-384, 0 for any other.
size_t ecdsa_size(EVP_PKEY *key);

// True when `rs` (r then s, n bytes each, big-endian) signs `message` under key with SHA-256 (n = 32) or SHA-384 (n = 48).
bool ecdsa_ok(EVP_PKEY *key, const uint8_t *rs, size_t n, const void *message, size_t len);

// r then s, n bytes each, as the DER that OpenSSL wants; the bytes written.
#define ECDSA_DER_MAX (2 + 2 * (48 + 3))
size_t ecdsa_der(uint8_t out[ECDSA_DER_MAX], const uint8_t *rs, size_t n);

// The same over a digest of n bytes.
bool ecdsa_digest_ok(EVP_PKEY *key, const uint8_t *rs, size_t n, const uint8_t *digest);

#endif
