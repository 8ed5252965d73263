// SPDX-License-Identifier: Apache-2.0
// See verify_key.h.
#include "attest/verify_key.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "attest/digest.h"
#include "attest/ecdsa.h"
#include "attest/p384.h"

#define RSA_MIN_BITS 2048

static const uint16_t hashes[] = {TPM_SHA256, TPM_SHA384, TPM_SHA512};
#define HASHES (sizeof hashes / sizeof *hashes)

struct verify_key {
	EVP_PKEY *key;
	size_t ec;	// as ecdsa_size
	bool rsa;
	_Atomic(EVP_PKEY_CTX *) spare[2 * HASHES];	// prepared, by padding and hash (EC keys: the first); NULL: none, or somebody has it
};

struct verify_key *verify_key_new(EVP_PKEY *key)
{
	struct verify_key *k = key ? calloc(1, sizeof *k) : NULL;
	if (!k)
		return NULL;
	EVP_PKEY_up_ref(key);
	k->key = key;
	k->ec = ecdsa_size(key);
	k->rsa = EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= RSA_MIN_BITS;
	for (size_t i = 0; i < 2 * HASHES; i++)
		atomic_init(&k->spare[i], NULL);
	return k;
}

void verify_key_free(struct verify_key *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < 2 * HASHES; i++)
		EVP_PKEY_CTX_free(atomic_load(&k->spare[i]));
	EVP_PKEY_free(k->key);
	free(k);
}

EVP_PKEY *verify_key_public(const struct verify_key *k)
{
	return k->key;
}

static EVP_PKEY_CTX *prepare(struct verify_key *k, bool pss, const EVP_MD *hash)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->key, NULL);
	bool ok = ctx && EVP_PKEY_verify_init(ctx) == 1 &&
		  (!k->rsa || (EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1 &&
			       EVP_PKEY_CTX_set_signature_md(ctx, hash) == 1 && (!pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_AUTO) == 1)));
	if (ok)
		return ctx;
	EVP_PKEY_CTX_free(ctx);
	return NULL;
}

static bool check(struct verify_key *k, size_t kind, bool pss, const EVP_MD *hash, const uint8_t *signature, size_t signature_len,
		  const uint8_t *digest, size_t n)
{
	EVP_PKEY_CTX *ctx = atomic_exchange(&k->spare[kind], NULL);
	if (!ctx)
		ctx = prepare(k, pss, hash);
	bool ok = ctx && EVP_PKEY_verify(ctx, signature, signature_len, digest, n) == 1;
	if (ok)	// what a bad signature leaves in it is nobody's business
		ctx = atomic_exchange(&k->spare[kind], ctx);
	EVP_PKEY_CTX_free(ctx);
	if (!ok)
		ERR_clear_error();
	return ok;
}

bool verify_key_ecdsa(struct verify_key *k, const uint8_t *rs, size_t n, const void *message, size_t len)
{
	uint8_t digest[P384_BYTES], der[ECDSA_DER_MAX];
	if (k->ec != n || !n || EVP_Digest(message, len, digest, NULL, n == 32 ? digest_of(TPM_SHA256) : digest_of(TPM_SHA384), NULL) != 1)
		return false;
	if (n == P384_BYTES)
		return p384_verify(k->key, rs, digest);
	return check(k, 0, false, NULL, der, ecdsa_der(der, rs, n), digest, n);
}

bool verify_key_rsa(struct verify_key *k, bool pss, uint16_t hash, const uint8_t *signature, size_t signature_len, const void *message, size_t len)
{
	uint8_t digest[DIGEST_MAX];
	unsigned int n = 0;
	size_t i = 0;
	while (i < HASHES && hashes[i] != hash)
		i++;
	if (i == HASHES || !k->rsa || EVP_Digest(message, len, digest, &n, digest_of(hash), NULL) != 1)
		return false;
	return check(k, 2 * i + pss, pss, digest_of(hash), signature, signature_len, digest, n);
}
