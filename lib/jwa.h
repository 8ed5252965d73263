// SPDX-License-Identifier: Apache-2.0
// Algorithms of JSON Web Encryption (RFC 7518) over OpenSSL's primitives, for any sizes: key agreement with the Concat KDF, AES key wrap,
// AES-GCM. Intermediate secrets are wiped; outputs are the caller's. Pure; no locks.
#ifndef COFFER_LIB_JWA_H
#define COFFER_LIB_JWA_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JWA_MAX_KEY 32
#define JWA_MAX_INFO 256	// apu, apv
#define JWA_IV_BYTES 12
#define JWA_TAG_BYTES 16
#define JWA_WRAP_EXTRA 8
#define JWA_MAX_WRAPPED 4096	// bytes of a wrapped key

struct jwa_info {
	const char *alg;	// what the key is for: the algorithm's name
	const uint8_t *apu, *apv;	// of both parties, may be empty
	size_t apu_len, apv_len;
};

// ECDH-ES (section 4.6): a key of `len` (at most 32) bytes. -EINVAL when the keys do not fit together.
int jwa_agree(EVP_PKEY *mine, EVP_PKEY *theirs, const struct jwa_info *info, uint8_t *key, size_t len);

// AES key wrap (RFC 3394) under a key of 16, 24 or 32 bytes; `len` is a multiple of 8, 16 at least (wrapped: 24). out: len + 8, or len - 8.
// -EINVAL sizes; -EBADMSG: what was wrapped under another key, or was changed.
int jwa_wrap(const uint8_t *kek, size_t kek_len, const uint8_t *key, size_t len, uint8_t *out);
int jwa_unwrap(const uint8_t *kek, size_t kek_len, const uint8_t *wrapped, size_t len, uint8_t *out);

// AES-GCM under a key of 16, 24 or 32 bytes. When decrypting, -EBADMSG: nothing of `out` is to be used.
int jwa_gcm(bool encrypt, const uint8_t *key, size_t key_len, const uint8_t iv[JWA_IV_BYTES], const void *aad, size_t aad_len, const uint8_t *in,
	    size_t len, uint8_t *out, uint8_t tag[JWA_TAG_BYTES]);

#endif
