// SPDX-License-Identifier: Apache-2.0
// Inside attest/: hash algorithms by the numbers that the TCG gives them. No locks.
#ifndef COFFER_ATTEST_DIGEST_H
#define COFFER_ATTEST_DIGEST_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#define DIGEST_MAX 64
enum { TPM_SHA1 = 0x04, TPM_SHA256 = 0x0b, TPM_SHA384 = 0x0c, TPM_SHA512 = 0x0d, TPM_SM3 = 0x12 };

// NULL, 0 and "unknown" for numbers that are not known.
const EVP_MD *digest_of(uint16_t alg);
size_t digest_size(uint16_t alg);
const char *digest_name(uint16_t alg);	// "sha256"

// H(a | b) into out, digest_size bytes. `b` may be empty.
bool digest_two(uint16_t alg, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t *out);

#endif
