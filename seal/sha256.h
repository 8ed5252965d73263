// SPDX-License-Identifier: Apache-2.0
// SHA-256, HMAC-SHA-256 and HKDF for key derivation: a few hundred bytes at a time, so plain C serves (FIPS 180-4,
// RFC 2104, RFC 5869). No state outlives a call; intermediate values are wiped.
#pragma once
#include "seal/port.h"

struct seal_bytes {
	const void *p;
	size_t n;
};

// Digest over the concatenation of n pieces.
void seal_sha256(const struct seal_bytes *in, u32 n, u8 out[32]);
// HMAC over the concatenation of n pieces (n <= 6).
void seal_hmac256(const u8 *key, size_t key_len, const struct seal_bytes *in, u32 n, u8 out[32]);
// HKDF-Extract: salt and input key material.
void seal_hkdf_extract(const void *salt, size_t salt_len, const void *ikm, size_t ikm_len, u8 prk[32]);
// HKDF-Expand for at most 32 bytes: the purpose's name and an optional context.
void seal_hkdf_expand(const u8 prk[32], const char *purpose, const void *context, size_t context_len, u8 *out,
		      size_t n);
