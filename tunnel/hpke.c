// SPDX-License-Identifier: Apache-2.0
// See hpke.h. Names follow RFC 9180.
#include "tunnel/hpke.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <pthread.h>
#include <string.h>

#include "tunnel/outbuf.h"

#define SHARED_SECRET 32

size_t hpke_public_bytes(uint16_t kem)
{
	return kem == HPKE_X25519 ? 32 : kem == HPKE_P256 ? 65 : 0;
}

size_t hpke_key_bytes(uint16_t aead)
{
	return aead == HPKE_AES_128_GCM ? 16 : aead == HPKE_AES_256_GCM || aead == HPKE_CHACHA20_POLY1305 ? 32 : 0;
}

bool hpke_known(const struct hpke_suite *s)
{
	return hpke_public_bytes(s->kem) && s->kdf == HPKE_HKDF_SHA256 && hpke_key_bytes(s->aead);
}

// ---- keys ----

EVP_PKEY *hpke_generate(uint16_t kem)
{
	return kem == HPKE_X25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "X25519") : kem == HPKE_P256 ? EVP_EC_gen("P-256") : NULL;
}

static EVP_PKEY *p256(const uint8_t *secret, const uint8_t *public, size_t len)
{
	OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	BIGNUM *n = secret ? BN_secure_new() : NULL;
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;
	if (b && ctx && OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) &&
	    OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, public, len) &&
	    (!secret || (n && BN_bin2bn(secret, 32, n) && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, n))) &&
	    (params = OSSL_PARAM_BLD_to_param(b)) && EVP_PKEY_fromdata_init(ctx) == 1 &&
	    EVP_PKEY_fromdata(ctx, &key, secret ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(b);
	BN_clear_free(n);
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return key;
}

EVP_PKEY *hpke_private(uint16_t kem, const uint8_t secret[32], const uint8_t *public, size_t public_len)
{
	if (public_len != hpke_public_bytes(kem))
		return NULL;
	return kem == HPKE_X25519 ? EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, 32) : p256(secret, public, public_len);
}

int hpke_public_write(uint16_t kem, EVP_PKEY *key, uint8_t out[HPKE_MAX_PUBLIC])
{
	unsigned char *bytes = NULL;
	size_t len = EVP_PKEY_get1_encoded_public_key(key, &bytes);
	int err = len && len == hpke_public_bytes(kem) ? 0 : -EIO;
	if (!err)
		memcpy(out, bytes, len);
	OPENSSL_free(bytes);
	ERR_clear_error();
	return err;
}

EVP_PKEY *hpke_public_read(uint16_t kem, const uint8_t *bytes, size_t len)
{
	EVP_PKEY *key = NULL;
	if (!len || len != hpke_public_bytes(kem))
		return NULL;
	if (kem == HPKE_X25519) {
		key = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, bytes, len);
	} else if (bytes[0] == 4 && (key = p256(NULL, bytes, len))) {
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
		if (!ctx || EVP_PKEY_public_check(ctx) != 1) {
			EVP_PKEY_free(key);
			key = NULL;
		}
		EVP_PKEY_CTX_free(ctx);
	}
	ERR_clear_error();
	return key;
}

// ---- HKDF ----

static EVP_KDF *hkdf;

static void fetch_hkdf(void)
{
	hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
}

static int derive(int mode, const void *key, size_t key_len, const char *with, const void *bytes, size_t len, uint8_t *out, size_t out_len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, fetch_hkdf);
	OSSL_PARAM params[5], *p = params;
	*p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, key_len);
	if (len)
		*p++ = OSSL_PARAM_construct_octet_string(with, (void *)bytes, len);
	*p = OSSL_PARAM_construct_end();
	EVP_KDF_CTX *ctx = hkdf ? EVP_KDF_CTX_new(hkdf) : NULL;
	int err = ctx && EVP_KDF_derive(ctx, out, out_len, params) == 1 ? 0 : -EIO;
	EVP_KDF_CTX_free(ctx);
	ERR_clear_error();
	return err;
}

int hpke_extract(const void *salt, size_t salt_len, const void *ikm, size_t ikm_len, uint8_t prk[HPKE_HASH])
{
	return derive(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, ikm, ikm_len, OSSL_KDF_PARAM_SALT, salt, salt_len, prk, HPKE_HASH);
}

int hpke_expand(const uint8_t prk[HPKE_HASH], const void *info, size_t info_len, uint8_t *out, size_t len)
{
	return derive(EVP_KDF_HKDF_MODE_EXPAND_ONLY, prk, HPKE_HASH, OSSL_KDF_PARAM_INFO, info, info_len, out, len);
}

// "KEM" and the KEM's number, or "HPKE" and all three.
static void put_suite(struct outbuf *b, const struct hpke_suite *s, bool kem)
{
	outbuf_text(b, kem ? "KEM" : "HPKE");
	outbuf_number(b, s->kem, 2);
	if (!kem) {
		outbuf_number(b, s->kdf, 2);
		outbuf_number(b, s->aead, 2);
	}
}

static int labeled_extract(const struct hpke_suite *s, bool kem, const void *salt, size_t salt_len, const char *label, const void *ikm,
	size_t ikm_len,
			   uint8_t prk[HPKE_HASH])
{
	struct outbuf b = {.at = NULL};
	outbuf_text(&b, "HPKE-v1");
	put_suite(&b, s, kem);
	outbuf_text(&b, label);
	outbuf_put(&b, ikm, ikm_len);
	int err = b.failed ? -ENOMEM : hpke_extract(salt, salt_len, b.at, b.len, prk);
	outbuf_free(&b);
	return err;
}

static int labeled_expand(const struct hpke_suite *s, bool kem, const uint8_t prk[HPKE_HASH], const char *label, const void *info, size_t info_len,
			  uint8_t *out, size_t len)
{
	struct outbuf b = {.at = NULL};
	if (len > 255 * HPKE_HASH)
		return -EINVAL;
	outbuf_number(&b, len, 2);
	outbuf_text(&b, "HPKE-v1");
	put_suite(&b, s, kem);
	outbuf_text(&b, label);
	outbuf_put(&b, info, info_len);
	int err = b.failed ? -ENOMEM : hpke_expand(prk, b.at, b.len, out, len);
	outbuf_free(&b);
	return err;
}

// ---- derived keys ----

// The public point of a P-256 secret; false: 0, or not below the order.
static bool p256_public(const uint8_t secret[32], uint8_t public[65])
{
	EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	EC_POINT *p = g ? EC_POINT_new(g) : NULL;
	BIGNUM *n = BN_secure_new();
	bool good = p && n && BN_bin2bn(secret, 32, n) && !BN_is_zero(n) && BN_cmp(n, EC_GROUP_get0_order(g)) < 0;
	if (good) {
		BN_set_flags(n, BN_FLG_CONSTTIME);
		good = EC_POINT_mul(g, p, n, NULL, NULL, NULL) == 1 && EC_POINT_point2oct(g, p, POINT_CONVERSION_UNCOMPRESSED, public, 65,
			NULL) == 65;
	}
	BN_clear_free(n);
	EC_POINT_clear_free(p);
	EC_GROUP_free(g);
	ERR_clear_error();
	return good;
}

EVP_PKEY *hpke_derive(uint16_t kem, const void *ikm, size_t len)
{
	const struct hpke_suite s = {.kem = kem};
	uint8_t prk[HPKE_HASH], secret[32], public[65];
	EVP_PKEY *key = NULL;
	int err = hpke_public_bytes(kem) ? labeled_extract(&s, true, NULL, 0, "dkp_prk", ikm, len, prk) : -EINVAL;
	if (!err && kem == HPKE_X25519) {
		err = labeled_expand(&s, true, prk, "sk", NULL, 0, secret, sizeof secret);
		key = err ? NULL : EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, sizeof secret);
	}
	for (unsigned int i = 0; !err && kem == HPKE_P256 && !key && i < 256; i++) {
		const uint8_t counter = (uint8_t)i;
		err = labeled_expand(&s, true, prk, "candidate", &counter, 1, secret, sizeof secret);
		if (!err && p256_public(secret, public))
			key = p256(secret, public, sizeof public);
	}
	OPENSSL_cleanse(prk, sizeof prk);
	OPENSSL_cleanse(secret, sizeof secret);
	return key;
}

// ---- DHKEM ----

// An all-zero X25519 result and a P-256 point at infinity are errors of OpenSSL's (section 7.1.4).
static int dh(EVP_PKEY *own, EVP_PKEY *peer, uint8_t out[32])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
	size_t len = 32;
	int err = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, out, &len) == 1 &&
		len == 32
			  ? 0 : -EBADMSG;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return err;
}

static int shared_secret(const struct hpke_suite *s, EVP_PKEY *own, EVP_PKEY *peer, const uint8_t *enc, EVP_PKEY *receiver,
	uint8_t out[SHARED_SECRET])
{
	uint8_t z[32], prk[HPKE_HASH], context[2 * HPKE_MAX_PUBLIC];
	size_t n = hpke_public_bytes(s->kem);
	memcpy(context, enc, n);
	int err = hpke_public_write(s->kem, receiver, context + n);
	if (!err)
		err = dh(own, peer, z);
	if (!err)
		err = labeled_extract(s, true, NULL, 0, "eae_prk", z, sizeof z, prk);
	if (!err)
		err = labeled_expand(s, true, prk, "shared_secret", context, 2 * n, out, SHARED_SECRET);
	OPENSSL_cleanse(z, sizeof z);
	OPENSSL_cleanse(prk, sizeof prk);
	return err;
}

// ---- AEAD ----

int hpke_aead_begin(struct hpke_aead *a, uint16_t aead, const uint8_t *key, const uint8_t nonce[HPKE_NONCE], bool seal)
{
	const EVP_CIPHER *c = aead == HPKE_AES_128_GCM ? EVP_aes_128_gcm() : aead == HPKE_AES_256_GCM ? EVP_aes_256_gcm()
			    : aead == HPKE_CHACHA20_POLY1305 ? EVP_chacha20_poly1305() : NULL;
	a->next = 0;
	memcpy(a->nonce, nonce, HPKE_NONCE);
	a->cipher = c ? EVP_CIPHER_CTX_new() : NULL;
	if (a->cipher && EVP_CipherInit_ex(a->cipher, c, NULL, key, NULL, seal) == 1)
		return 0;
	ERR_clear_error();
	hpke_aead_end(a);
	return c ? -EIO : -EINVAL;
}

void hpke_aead_end(struct hpke_aead *a)
{
	EVP_CIPHER_CTX_free(a->cipher);
	a->cipher = NULL;
}

// ComputeNonce, and what is authenticated besides.
static int start(struct hpke_aead *a, const void *aad, size_t aad_len, size_t len)
{
	uint8_t nonce[HPKE_NONCE];
	int n;
	if (a->next == UINT64_MAX)
		return -EOVERFLOW;
	if (len > INT32_MAX - HPKE_TAG || aad_len > INT32_MAX)
		return -E2BIG;
	memcpy(nonce, a->nonce, sizeof nonce);
	for (int i = 0; i < 8; i++)
		nonce[HPKE_NONCE - 1 - i] ^= (uint8_t)(a->next >> (8 * i));
	if (EVP_CipherInit_ex(a->cipher, NULL, NULL, NULL, nonce, -1) == 1 &&
	    (!aad_len || EVP_CipherUpdate(a->cipher, NULL, &n, aad, (int)aad_len) == 1))
		return 0;
	ERR_clear_error();
	return -EIO;
}

int hpke_aead_seal(struct hpke_aead *a, const void *aad, size_t aad_len, const void *in, size_t len, uint8_t *out)
{
	int n = 0, last = 0, err = start(a, aad, aad_len, len);
	if (err)
		return err;
	if ((len && EVP_CipherUpdate(a->cipher, out, &n, in, (int)len) != 1) || EVP_CipherFinal_ex(a->cipher, out + n, &last) != 1 ||
		(size_t)(n + last) != len ||
	    EVP_CIPHER_CTX_ctrl(a->cipher, EVP_CTRL_AEAD_GET_TAG, HPKE_TAG, out + len) != 1) {
		ERR_clear_error();
		return -EIO;
	}
	a->next++;
	return 0;
}

int hpke_aead_open(struct hpke_aead *a, const void *aad, size_t aad_len, const void *in, size_t len, uint8_t *out)
{
	uint8_t tag[HPKE_TAG];
	int n = 0, last = 0, err = len < HPKE_TAG ? -EBADMSG : start(a, aad, aad_len, len);
	if (err)
		return err;
	len -= HPKE_TAG;
	memcpy(tag, (const uint8_t *)in + len, HPKE_TAG);
	if (EVP_CIPHER_CTX_ctrl(a->cipher, EVP_CTRL_AEAD_SET_TAG, HPKE_TAG, tag) != 1 ||
	    (len && EVP_CipherUpdate(a->cipher, out, &n, in, (int)len) != 1) || EVP_CipherFinal_ex(a->cipher, out + n, &last) != 1) {
		ERR_clear_error();
		OPENSSL_cleanse(out, len);
		return -EBADMSG;
	}
	a->next++;
	return 0;
}

// ---- contexts ----

static int key_schedule(struct hpke *h, const struct hpke_suite *s, const uint8_t secret_in[SHARED_SECRET], const void *info, size_t info_len,
	bool seal)
{
	uint8_t context[1 + 2 * HPKE_HASH] = {0 /* mode_base */}, secret[HPKE_HASH], key[HPKE_MAX_KEY], nonce[HPKE_NONCE];
	int err = labeled_extract(s, false, NULL, 0, "psk_id_hash", NULL, 0, context + 1);
	h->suite = *s;
	if (!err)
		err = labeled_extract(s, false, NULL, 0, "info_hash", info, info_len, context + 1 + HPKE_HASH);
	if (!err)
		err = labeled_extract(s, false, secret_in, SHARED_SECRET, "secret", NULL, 0, secret);
	if (!err)
		err = labeled_expand(s, false, secret, "key", context, sizeof context, key, hpke_key_bytes(s->aead));
	if (!err)
		err = labeled_expand(s, false, secret, "base_nonce", context, sizeof context, nonce, sizeof nonce);
	if (!err)
		err = labeled_expand(s, false, secret, "exp", context, sizeof context, h->exporter, sizeof h->exporter);
	if (!err)
		err = hpke_aead_begin(&h->aead, s->aead, key, nonce, seal);
	OPENSSL_cleanse(secret, sizeof secret);
	OPENSSL_cleanse(key, sizeof key);
	OPENSSL_cleanse(nonce, sizeof nonce);
	return err;
}

int hpke_sender(struct hpke *h, const struct hpke_suite *s, EVP_PKEY *to, EVP_PKEY *ephemeral, const void *info, size_t info_len,
		uint8_t enc[HPKE_MAX_PUBLIC])
{
	uint8_t secret[SHARED_SECRET];
	EVP_PKEY *own = NULL;
	memset(h, 0, sizeof *h);
	if (!hpke_known(s))
		return -EINVAL;
	if (!ephemeral && !(own = hpke_generate(s->kem)))
		return -EIO;
	int err = hpke_public_write(s->kem, ephemeral ? ephemeral : own, enc);
	if (!err)
		err = shared_secret(s, ephemeral ? ephemeral : own, to, enc, to, secret);
	if (!err)
		err = key_schedule(h, s, secret, info, info_len, true);
	EVP_PKEY_free(own);
	OPENSSL_cleanse(secret, sizeof secret);
	if (err)
		hpke_end(h);
	return err;
}

int hpke_receiver(struct hpke *h, const struct hpke_suite *s, EVP_PKEY *key, const uint8_t *enc, size_t enc_len, const void *info, size_t info_len)
{
	uint8_t secret[SHARED_SECRET];
	memset(h, 0, sizeof *h);
	if (!hpke_known(s))
		return -EINVAL;
	EVP_PKEY *peer = hpke_public_read(s->kem, enc, enc_len);
	int err = peer ? shared_secret(s, key, peer, enc, key, secret) : -EBADMSG;
	if (!err)
		err = key_schedule(h, s, secret, info, info_len, false);
	EVP_PKEY_free(peer);
	OPENSSL_cleanse(secret, sizeof secret);
	if (err)
		hpke_end(h);
	return err;
}

int hpke_export(const struct hpke *h, const void *context, size_t context_len, uint8_t *out, size_t len)
{
	return labeled_expand(&h->suite, false, h->exporter, "sec", context, context_len, out, len);
}

void hpke_end(struct hpke *h)
{
	hpke_aead_end(&h->aead);
	OPENSSL_cleanse(h, sizeof *h);
}
