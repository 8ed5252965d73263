// SPDX-License-Identifier: Apache-2.0
// See signkey.h. Pure.
#include "lib/signkey.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/sha.h"

#define HALF (SIGNKEY_SIGNATURE / 2)

const char *signkey_algorithm(EVP_PKEY *key)
{
	char group[32];
	size_t n;
	if (EVP_PKEY_is_a(key, "ED25519"))
		return "ed25519";
	if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, &n) == 1 && !strcmp(group, SN_X9_62_prime256v1))
		return "ecdsa-p256-sha256";
	return NULL;
}

static int coordinate(EVP_PKEY *key, const char *name, char text[BASE64_SIZE(HALF)])
{
	uint8_t bytes[HALF];
	BIGNUM *n = NULL;
	int ok = EVP_PKEY_get_bn_param(key, name, &n) == 1 && BN_bn2binpad(n, bytes, HALF) == HALF;
	BN_free(n);
	if (ok)
		base64_encode(text, bytes, HALF, BASE64_URL);
	return ok ? 0 : -EINVAL;
}

int signkey_id(EVP_PKEY *key, char id[SIGNKEY_ID])
{
	const char *algorithm = signkey_algorithm(key);
	char x[BASE64_SIZE(HALF)], y[BASE64_SIZE(HALF)], text[256];
	uint8_t bytes[HALF], digest[32];
	size_t len = sizeof bytes;
	if (!algorithm)
		return -EINVAL;
	if (*algorithm == 'e' && algorithm[1] == 'd') {
		if (EVP_PKEY_get_raw_public_key(key, bytes, &len) != 1 || len != sizeof bytes)
			return -EINVAL;
		base64_encode(x, bytes, len, BASE64_URL);
		snprintf(text, sizeof text, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", x);
	} else {
		if (coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, x) || coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, y))
			return -EINVAL;
		snprintf(text, sizeof text, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
	}
	sha_256(text, strlen(text), digest);
	base64_encode(id, digest, sizeof digest, BASE64_URL);
	return 0;
}

static int raw_of_der(const uint8_t *der, size_t len, uint8_t out[SIGNKEY_SIGNATURE])
{
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &der, (long)len);
	int ok = s && BN_bn2binpad(ECDSA_SIG_get0_r(s), out, HALF) == HALF && BN_bn2binpad(ECDSA_SIG_get0_s(s), out + HALF, HALF) == HALF;
	ECDSA_SIG_free(s);
	return ok ? 0 : -EIO;
}

static int der_of_raw(const uint8_t *raw, uint8_t *out, size_t size)
{
	ECDSA_SIG *s = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw, HALF, NULL), *t = BN_bin2bn(raw + HALF, HALF, NULL);
	int len = -1;
	if (s && r && t && ECDSA_SIG_set0(s, r, t) == 1) {
		r = t = NULL;	// the signature's now
		len = i2d_ECDSA_SIG(s, NULL) <= (int)size ? i2d_ECDSA_SIG(s, &out) : -1;
	}
	BN_free(r);
	BN_free(t);
	ECDSA_SIG_free(s);
	return len;
}

int signkey_sign(EVP_PKEY *key, const void *message, size_t len, uint8_t signature[SIGNKEY_SIGNATURE])
{
	const char *algorithm = signkey_algorithm(key);
	if (!algorithm)
		return -EINVAL;
	bool ec = algorithm[1] == 'c';
	uint8_t out[128];
	size_t n = sizeof out;
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	int ok = c && EVP_DigestSignInit(c, NULL, ec ? EVP_sha256() : NULL, NULL, key) == 1 && EVP_DigestSign(c, out, &n, message, len) == 1;
	EVP_MD_CTX_free(c);
	ERR_clear_error();
	if (!ok || (!ec && n != SIGNKEY_SIGNATURE))
		return -EIO;
	if (ec)
		return raw_of_der(out, n, signature);
	memcpy(signature, out, n);
	return 0;
}

bool signkey_verify(EVP_PKEY *key, const void *message, size_t len, const uint8_t *signature, size_t signature_len)
{
	const char *algorithm = signkey_algorithm(key);
	uint8_t der[128];
	if (!algorithm || signature_len != SIGNKEY_SIGNATURE)
		return false;
	bool ec = algorithm[1] == 'c';
	int n = ec ? der_of_raw(signature, der, sizeof der) : SIGNKEY_SIGNATURE;
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	bool ok = n > 0 && c && EVP_DigestVerifyInit(c, NULL, ec ? EVP_sha256() : NULL, NULL, key) == 1 &&
		  EVP_DigestVerify(c, ec ? der : signature, (size_t)n, message, len) == 1;
	EVP_MD_CTX_free(c);
	ERR_clear_error();
	return ok;
}

int signkey_pem(EVP_PKEY *key, char pem[SIGNKEY_PEM])
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long n = bio && PEM_write_bio_PUBKEY(bio, key) == 1 ? BIO_get_mem_data(bio, &text) : 0;
	bool fits = n > 0 && n < SIGNKEY_PEM;
	if (fits) {
		memcpy(pem, text, (size_t)n);
		pem[n] = '\0';
	}
	BIO_free(bio);
	return fits ? 0 : -EINVAL;
}

int signkey_read(const char *pem, size_t len, EVP_PKEY **key, struct fault *f)
{
	BIO *bio = len < 65536 ? BIO_new_mem_buf(pem, (int)len) : NULL;
	EVP_PKEY *k = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	ERR_clear_error();
	if (!k || !signkey_algorithm(k)) {
		EVP_PKEY_free(k);
		return fault_set(f, -EINVAL, "not a public key (PEM) of EC P-256 or Ed25519");
	}
	*key = k;
	return 0;
}
