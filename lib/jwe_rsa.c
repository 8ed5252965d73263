// SPDX-License-Identifier: Apache-2.0
// See jwe_rsa.h.
#include "lib/jwe_rsa.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <string.h>

#include "lib/encode.h"

#define MIN_BITS 2048

static BIGNUM *number(const json_t *jwk, const char *name)
{
	const char *s = json_string_value(json_object_get(jwk, name));
	uint8_t bytes[JWE_RSA_MAX];
	ssize_t n = s ? base64_decode(bytes, sizeof bytes, s, strlen(s), BASE64_URL) : -1;
	return n > 0 ? BN_bin2bn(bytes, (int)n, NULL) : NULL;
}

int jwe_rsa_key(const json_t *jwk, EVP_PKEY **out, struct fault *f)
{
	const char *alg = json_string_value(json_object_get(jwk, "alg"));
	BIGNUM *n = number(jwk, "n"), *e = number(jwk, "e");
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;
	int err = 0;
	if (alg && strcmp(alg, JWE_RSA_ALG))
		err = fault_set(f, -EINVAL, "tee-pubkey: alg of an RSA key must be " JWE_RSA_ALG);
	else if (!n || !e || BN_num_bits(n) < MIN_BITS || !BN_is_odd(n) || !BN_is_odd(e) || BN_is_one(e) || BN_num_bits(e) > 32)
		err = fault_set(f, -EINVAL, "tee-pubkey: n and e must be base64url, an odd modulus of %d to %d bits and an odd exponent of at most 32", MIN_BITS,
				8 * JWE_RSA_MAX);
	else if (!build || !ctx || !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) || !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) ||
		 !(params = OSSL_PARAM_BLD_to_param(build)) || EVP_PKEY_fromdata_init(ctx) != 1 ||
		 EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		err = fault_set(f, -EINVAL, "tee-pubkey: no RSA key");
	else
		*out = key;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	BN_free(n);
	BN_free(e);
	ERR_clear_error();
	return err;
}

// A number of the key in base64url, without leading zeros.
static bool text_of(EVP_PKEY *key, const char *param, char out[BASE64_SIZE(JWE_RSA_MAX)])
{
	uint8_t bytes[JWE_RSA_MAX];
	BIGNUM *n = NULL;
	bool ok = EVP_PKEY_get_bn_param(key, param, &n) == 1 && BN_num_bytes(n) <= JWE_RSA_MAX;
	if (ok)
		base64_encode(out, bytes, (size_t)BN_bn2bin(n, bytes), BASE64_URL);
	BN_free(n);
	return ok;
}

json_t *jwe_rsa_jwk(EVP_PKEY *key)
{
	char n[BASE64_SIZE(JWE_RSA_MAX)], e[BASE64_SIZE(JWE_RSA_MAX)];
	if (!EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < MIN_BITS || !text_of(key, OSSL_PKEY_PARAM_RSA_N, n) || !text_of(key, OSSL_PKEY_PARAM_RSA_E, e))
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:s}", "alg", JWE_RSA_ALG, "e", e, "kty", "RSA", "n", n);
}

int jwe_rsa_wrap(EVP_PKEY *to, const uint8_t *key, size_t key_len, uint8_t out[JWE_RSA_MAX], size_t *len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, to, NULL);
	*len = JWE_RSA_MAX;
	bool ok = ctx && EVP_PKEY_get_size(to) <= JWE_RSA_MAX && EVP_PKEY_encrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
		  EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
		  EVP_PKEY_encrypt(ctx, out, len, key, key_len) == 1;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return ok ? 0 : -EIO;
}
