// SPDX-License-Identifier: Apache-2.0
// See suite.h.
#include "spdm/suite.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#include "attest/ecdsa.h"

#define PREFIX "dmtf-spdm-v1.2.*"
#define PREFIX_TIMES 4
#define CONTEXT_BYTES 36
#define SIGNED_BYTES (PREFIX_TIMES * (sizeof PREFIX - 1) + CONTEXT_BYTES)

int suite_set(struct suite *s, uint32_t asym, uint32_t hash, uint16_t dhe, uint16_t aead)
{
	*s = (struct suite){.asym = asym, .hash = hash, .dhe = dhe, .aead = aead};
	s->hash_len = hash == HASH_SHA256 ? 32 : hash == HASH_SHA384 ? 48 : 0;
	s->signature_len = asym == ASYM_P256 ? 64 : asym == ASYM_P384 ? 96 : 0;
	s->point_len = dhe == DHE_P256 ? 64 : dhe == DHE_P384 ? 96 : 0;
	if (!s->hash_len || !s->signature_len)
		return -EINVAL;
	return (!dhe && !aead) || (s->point_len && aead == AEAD_AES256GCM) ? 0 : -EINVAL;
}

uint32_t suite_asym_of(EVP_PKEY *key)
{
	size_t n = ecdsa_size(key);
	return n == 32 ? ASYM_P256 : n == 48 ? ASYM_P384 : 0;
}

const char *suite_asym_name(uint32_t asym)
{
	return asym == ASYM_P256 ? "ECDSA-P256" : asym == ASYM_P384 ? "ECDSA-P384" : "none";
}

const char *suite_hash_name(uint32_t hash)
{
	return hash == HASH_SHA256 ? "SHA256" : hash == HASH_SHA384 ? "SHA384" : "none";
}

const char *suite_dhe_name(uint16_t dhe)
{
	return dhe == DHE_P256 ? "P-256" : dhe == DHE_P384 ? "P-384" : "none";
}

static const EVP_MD *md_of(const struct suite *s)
{
	return s->hash == HASH_SHA256 ? EVP_sha256() : s->hash == HASH_SHA384 ? EVP_sha384() : NULL;
}

// ---- transcripts ----

bool transcript_begin(struct transcript *t, const struct suite *s, const void *bytes, size_t len)
{
	if (!t->ctx && !(t->ctx = EVP_MD_CTX_new()))
		return false;
	if (EVP_DigestInit_ex(t->ctx, md_of(s), NULL) == 1 && EVP_DigestUpdate(t->ctx, bytes, len) == 1)
		return true;
	transcript_free(t);
	return false;
}

bool transcript_add(struct transcript *t, const void *bytes, size_t len)
{
	return t->ctx && EVP_DigestUpdate(t->ctx, bytes, len) == 1;
}

bool transcript_digest(const struct transcript *t, uint8_t out[SUITE_MAX_HASH])
{
	EVP_MD_CTX *copy = t->ctx ? EVP_MD_CTX_new() : NULL;
	bool ok = copy && EVP_MD_CTX_copy_ex(copy, t->ctx) == 1 && EVP_DigestFinal_ex(copy, out, NULL) == 1;
	EVP_MD_CTX_free(copy);
	return ok;
}

void transcript_free(struct transcript *t)
{
	EVP_MD_CTX_free(t->ctx);
	t->ctx = NULL;
}

// ---- hashes and signatures ----

bool suite_digest(const struct suite *s, const void *bytes, size_t len, uint8_t out[SUITE_MAX_HASH])
{
	return md_of(s) && EVP_Digest(bytes, len, out, NULL, md_of(s), NULL) == 1;
}

bool suite_hmac(const struct suite *s, const uint8_t *key, const void *bytes, size_t len, uint8_t out[SUITE_MAX_HASH])
{
	size_t n = 0;
	bool ok = EVP_Q_mac(NULL, "HMAC", NULL, suite_hash_name(s->hash), NULL, key, s->hash_len, bytes, len, out, SUITE_MAX_HASH, &n) &&
		  n == s->hash_len;
	ERR_clear_error();
	return ok;
}

// The prefix four times, then zeros and the context, which end it together, then the hash.
static size_t signed_bytes(const struct suite *s, const char *context, const uint8_t *digest, uint8_t out[SIGNED_BYTES + SUITE_MAX_HASH])
{
	size_t n = strlen(context);
	memset(out, 0, SIGNED_BYTES);
	for (int i = 0; i < PREFIX_TIMES; i++)
		memcpy(out + i * (sizeof PREFIX - 1), PREFIX, sizeof PREFIX - 1);
	memcpy(out + SIGNED_BYTES - n, context, n);
	memcpy(out + SIGNED_BYTES, digest, s->hash_len);
	return SIGNED_BYTES + s->hash_len;
}

bool suite_sign(const struct suite *s, EVP_PKEY *key, const char *context, const uint8_t *digest, uint8_t *signature)
{
	uint8_t message[SIGNED_BYTES + SUITE_MAX_HASH], der[ECDSA_DER_MAX + 16];
	size_t len = signed_bytes(s, context, digest, message), der_len = sizeof der;
	int n = (int)s->signature_len / 2;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ECDSA_SIG *rs = NULL;
	const uint8_t *p = der;
	bool ok = ctx && suite_asym_of(key) == s->asym && EVP_DigestSignInit(ctx, NULL, md_of(s), NULL, key) == 1 &&
		  EVP_DigestSign(ctx, der, &der_len, message, len) == 1 && (rs = d2i_ECDSA_SIG(NULL, &p, (long)der_len)) &&
		  BN_bn2binpad(ECDSA_SIG_get0_r(rs), signature, n) == n && BN_bn2binpad(ECDSA_SIG_get0_s(rs), signature + n, n) == n;
	ECDSA_SIG_free(rs);
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

// Without a context: as the versions before 1.2 sign, the hash as it is.
static bool verify_hash(const struct suite *s, EVP_PKEY *key, const uint8_t *digest, const uint8_t *signature)
{
	uint8_t der[ECDSA_DER_MAX];
	EVP_PKEY_CTX *ctx = suite_asym_of(key) == s->asym ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	bool ok = ctx && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_CTX_set_signature_md(ctx, md_of(s)) == 1 &&
		  EVP_PKEY_verify(ctx, der, ecdsa_der(der, signature, s->signature_len / 2), digest, s->hash_len) == 1;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

bool suite_verify(const struct suite *s, EVP_PKEY *key, const char *context, const uint8_t *digest, const uint8_t *signature)
{
	if (!context)
		return verify_hash(s, key, digest, signature);
	uint8_t message[SIGNED_BYTES + SUITE_MAX_HASH], der[ECDSA_DER_MAX];
	size_t len = signed_bytes(s, context, digest, message);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && suite_asym_of(key) == s->asym && EVP_DigestVerifyInit(ctx, NULL, md_of(s), NULL, key) == 1 &&
		  EVP_DigestVerify(ctx, der, ecdsa_der(der, signature, s->signature_len / 2), message, len) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

// ---- key exchange ----

EVP_PKEY *suite_dhe_make(const struct suite *s, uint8_t *point)
{
	uint8_t encoded[1 + SUITE_MAX_POINT];
	size_t len = 0;
	EVP_PKEY *key = s->point_len ? EVP_EC_gen(suite_dhe_name(s->dhe)) : NULL;
	if (!key || EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, encoded, sizeof encoded, &len) != 1 ||
	    len != 1 + s->point_len || encoded[0] != POINT_CONVERSION_UNCOMPRESSED) {
		EVP_PKEY_free(key);
		ERR_clear_error();
		return NULL;
	}
	memcpy(point, encoded + 1, s->point_len);
	return key;
}

bool suite_dhe_secret(const struct suite *s, EVP_PKEY *own, const uint8_t *point, uint8_t *secret)
{
	EVP_PKEY *peer = ecdsa_key(point, s->point_len / 2);	// looks whether it is on the curve
	EVP_PKEY_CTX *ctx = peer ? EVP_PKEY_CTX_new(own, NULL) : NULL;
	size_t len = s->point_len / 2;
	bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, secret, &len) == 1 &&
		  len == s->point_len / 2;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(peer);
	ERR_clear_error();
	return ok;
}

// ---- key schedule ----

static bool hkdf(const struct suite *s, int mode, const uint8_t *key, size_t key_len, const uint8_t *salt, const uint8_t *info, size_t info_len,
		 uint8_t *out, size_t len)
{
	OSSL_PARAM params[5], *p = params;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	*p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)suite_hash_name(s->hash), 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, key_len);
	*p++ = salt ? OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, s->hash_len) :
		      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_len);
	*p = OSSL_PARAM_construct_end();
	bool ok = ctx && EVP_KDF_derive(ctx, out, len, params) == 1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	ERR_clear_error();
	return ok;
}

bool suite_extract(const struct suite *s, const uint8_t *salt, const uint8_t *secret, size_t len, uint8_t out[SUITE_MAX_HASH])
{
	return hkdf(s, EVP_KDF_HKDF_MODE_EXTRACT_ONLY, secret, len, salt, NULL, 0, out, s->hash_len);
}

bool suite_expand(const struct suite *s, const uint8_t *secret, const char *label, const uint8_t *context, uint8_t *out, size_t len)
{
	static const char version[] = "spdm1.2 ";
	uint8_t info[2 + sizeof version + 32 + SUITE_MAX_HASH], *p = info;
	*p++ = (uint8_t)len;
	*p++ = (uint8_t)(len >> 8);
	p = mempcpy(p, version, sizeof version - 1);
	p = mempcpy(p, label, strlen(label));
	if (context)
		p = mempcpy(p, context, s->hash_len);
	return hkdf(s, EVP_KDF_HKDF_MODE_EXPAND_ONLY, secret, s->hash_len, NULL, info, (size_t)(p - info), out, len);
}
