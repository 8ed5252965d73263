// SPDX-License-Identifier: Apache-2.0
// Hybrid Public Key Encryption (RFC 9180), base mode, for DHKEM(X25519, HKDF-SHA256) and DHKEM(P-256, HKDF-SHA256) with HKDF-SHA256 and three AEADs.
// The primitives are OpenSSL's; this is how the RFC puts them together. A context belongs to one thread at a time; no locks. -EIO: OpenSSL refused,
// -ENOMEM.
#ifndef COFFER_TUNNEL_HPKE_H
#define COFFER_TUNNEL_HPKE_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Numbers of RFC 9180 section 7.
enum { HPKE_P256 = 0x0010, HPKE_X25519 = 0x0020 };
enum { HPKE_HKDF_SHA256 = 1 };
enum { HPKE_AES_128_GCM = 1, HPKE_AES_256_GCM = 2, HPKE_CHACHA20_POLY1305 = 3 };

#define HPKE_MAX_PUBLIC 65
#define HPKE_MAX_KEY 32
#define HPKE_NONCE 12
#define HPKE_TAG 16
#define HPKE_HASH 32

struct hpke_suite {
	uint16_t kem, kdf, aead;
};

bool hpke_known(const struct hpke_suite *s);
// How long a public key, and an encapsulated one, is; 0: an unknown KEM.
size_t hpke_public_bytes(uint16_t kem);
// How long an AEAD's key is; 0: unknown.
size_t hpke_key_bytes(uint16_t aead);

// A new key; NULL when OpenSSL makes none.
EVP_PKEY *hpke_generate(uint16_t kem);
// DeriveKeyPair (section 7.1.3): the same key from the same secret bytes, which must have 32 bytes of entropy. NULL when OpenSSL refuses.
EVP_PKEY *hpke_derive(uint16_t kem, const void *ikm, size_t len);
// From its parts as the RFC writes them (private key: 32 bytes; the public one belongs to it). NULL: not a key.
EVP_PKEY *hpke_private(uint16_t kem, const uint8_t secret[32], const uint8_t *public, size_t public_len);
// SerializePublicKey: hpke_public_bytes of them. -EIO.
int hpke_public_write(uint16_t kem, EVP_PKEY *key, uint8_t out[HPKE_MAX_PUBLIC]);
// DeserializePublicKey, untrusted: NULL when these bytes are no point of the curve (section 7.1.4).
EVP_PKEY *hpke_public_read(uint16_t kem, const uint8_t *bytes, size_t len);

// ---- messages under one key, each with the next nonce (section 5.2) ----

struct hpke_aead {
	EVP_CIPHER_CTX *cipher;
	uint8_t nonce[HPKE_NONCE];
	uint64_t next;
};

int hpke_aead_begin(struct hpke_aead *a, uint16_t aead, const uint8_t *key, const uint8_t nonce[HPKE_NONCE], bool seal);
void hpke_aead_end(struct hpke_aead *a);
// `out` has room for len + HPKE_TAG and may be `in`. -EOVERFLOW: no nonce is left.
int hpke_aead_seal(struct hpke_aead *a, const void *aad, size_t aad_len, const void *in, size_t len, uint8_t *out);
// `out` has room for len - HPKE_TAG and may be `in`. -EBADMSG: not what was sealed; the nonce is not used up, and nothing is left in `out`.
int hpke_aead_open(struct hpke_aead *a, const void *aad, size_t aad_len, const void *in, size_t len, uint8_t *out);

// ---- contexts ----

struct hpke {
	struct hpke_suite suite;
	struct hpke_aead aead;
	uint8_t exporter[HPKE_HASH];
};

// SetupBaseS. `enc` gets hpke_public_bytes of the KEM. `ephemeral`: NULL but in tests of vectors; stays the caller's.
int hpke_sender(struct hpke *h, const struct hpke_suite *s, EVP_PKEY *to, EVP_PKEY *ephemeral, const void *info, size_t info_len,
		uint8_t enc[HPKE_MAX_PUBLIC]);
// SetupBaseR. -EBADMSG: `enc` is no public key.
int hpke_receiver(struct hpke *h, const struct hpke_suite *s, EVP_PKEY *key, const uint8_t *enc, size_t enc_len, const void *info, size_t info_len);
// Export (section 5.3); len <= 255 * HPKE_HASH.
int hpke_export(const struct hpke *h, const void *context, size_t context_len, uint8_t *out, size_t len);
// Wipes. A zeroed one is fine.
void hpke_end(struct hpke *h);

// HKDF-SHA256 (RFC 5869), which OHTTP uses by itself as well.
int hpke_extract(const void *salt, size_t salt_len, const void *ikm, size_t ikm_len, uint8_t prk[HPKE_HASH]);
int hpke_expand(const uint8_t prk[HPKE_HASH], const void *info, size_t info_len, uint8_t *out, size_t len);

#endif
