// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: the algorithms that two ends have agreed on, and what SPDM 1.2 makes of them: transcripts, signatures with a context, key exchange,
// the steps of the key schedule. All of it is OpenSSL's; signatures and points are bare numbers. No locks; no state but what the caller holds.
#ifndef COFFER_SPDM_SUITE_H
#define COFFER_SPDM_SUITE_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUITE_MAX_HASH 48
#define SUITE_MAX_SIGNATURE 96
#define SUITE_MAX_POINT 96
#define SUITE_KEY 32		// AES-256-GCM
#define SUITE_IV 12
#define SUITE_TAG 16

#define ASYM_P256 (1u << 4)
#define ASYM_P384 (1u << 7)
#define HASH_SHA256 (1u << 0)
#define HASH_SHA384 (1u << 1)
#define DHE_P256 (1u << 3)
#define DHE_P384 (1u << 4)
#define AEAD_AES256GCM (1u << 1)
#define MEASUREMENT_SHA256 (1u << 1)
#define MEASUREMENT_SHA384 (1u << 2)

struct suite {
	uint32_t asym, hash;
	uint16_t dhe, aead;	// 0: no sessions
	size_t hash_len, signature_len, point_len;
};

// -EINVAL when one of them is not exactly one of the algorithms above.
int suite_set(struct suite *s, uint32_t asym, uint32_t hash, uint16_t dhe, uint16_t aead);
// The bit of what this key signs with; 0: no such key.
uint32_t suite_asym_of(EVP_PKEY *key);
// "ECDSA-P256"...; "none" for 0.
const char *suite_asym_name(uint32_t asym);
const char *suite_hash_name(uint32_t hash);	// as OpenSSL calls it
const char *suite_dhe_name(uint16_t dhe);	// as OpenSSL calls it

// ---- transcripts: hashes of all messages of a kind so far ----

struct transcript {
	EVP_MD_CTX *ctx;	// NULL: not begun
};
bool transcript_begin(struct transcript *t, const struct suite *s, const void *bytes, size_t len);
// False when it was not begun, or OpenSSL fails.
bool transcript_add(struct transcript *t, const void *bytes, size_t len);
// The hash so far; more may be added.
bool transcript_digest(const struct transcript *t, uint8_t out[SUITE_MAX_HASH]);
void transcript_free(struct transcript *t);

// ---- the rest; false: refused, or OpenSSL fails ----

bool suite_digest(const struct suite *s, const void *bytes, size_t len, uint8_t out[SUITE_MAX_HASH]);
bool suite_hmac(const struct suite *s, const uint8_t *key, const void *bytes, size_t len, uint8_t out[SUITE_MAX_HASH]);

// Over a transcript's hash with a context ("responder-challenge_auth signing"), as version 1.2 has it (DSP0274 section 15). To verify, a context of
// NULL means the hash alone, which versions before it sign.
bool suite_sign(const struct suite *s, EVP_PKEY *key, const char *context, const uint8_t *digest, uint8_t *signature);
bool suite_verify(const struct suite *s, EVP_PKEY *key, const char *context, const uint8_t *digest, const uint8_t *signature);

// A key for one exchange and its public part, point_len bytes. EVP_PKEY_free.
EVP_PKEY *suite_dhe_make(const struct suite *s, uint8_t *point);
// The shared secret, point_len / 2 bytes. A point that is not on the curve is refused.
bool suite_dhe_secret(const struct suite *s, EVP_PKEY *own, const uint8_t *point, uint8_t *secret);

// HKDF's two halves. `context` (hash_len bytes) may be NULL; `label` and the length asked for go into the information (DSP0274 section "Key
// schedule").
bool suite_extract(const struct suite *s, const uint8_t *salt, const uint8_t *secret, size_t len, uint8_t out[SUITE_MAX_HASH]);
bool suite_expand(const struct suite *s, const uint8_t *secret, const char *label, const uint8_t *context, uint8_t *out, size_t len);

#endif
