// SPDX-License-Identifier: Apache-2.0
// Signatures on P-384: good ones, numbers that no signature has, and keys whose parameters are told instead of named.
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>
#include <pthread.h>
#include <string.h>

#include "attest/ecdsa.h"
#include "tests/attest/make/pki.h"
#include "tests/attest/ok.h"

static const char message[] = "what is signed";
static const char order[] = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

static bool good(EVP_PKEY *key, const uint8_t rs[96])
{
	return ecdsa_ok(key, rs, 48, message, sizeof message);
}

// r or s (`at` 0 or 48) as another number.
static bool with(EVP_PKEY *key, const uint8_t rs[96], size_t at, const BIGNUM *n)
{
	uint8_t changed[96];
	memcpy(changed, rs, 96);
	return BN_bn2binpad(n, changed + at, 48) != 48 || good(key, changed);
}

static void test_numbers(EVP_PKEY *key, const uint8_t rs[96])
{
	BIGNUM *n = NULL, *v = BN_new(), *own = BN_new();
	BN_hex2bn(&n, order);
	ok("p384: a good signature", good(key, rs), "it is refused");
	for (size_t at = 0; at < 96; at += 48) {
		BN_bin2bn(rs + at, 48, own);
		BN_zero(v);
		ok("p384: zero", !with(key, rs, at, v), "%zu is taken", at);
		ok("p384: the order", !with(key, rs, at, n), "%zu is taken", at);
		BN_copy(v, n);
		BN_add_word(v, 1);
		ok("p384: the order and one", !with(key, rs, at, v), "%zu is taken", at);
		BN_hex2bn(&v, "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff");
		ok("p384: all ones", !with(key, rs, at, v), "%zu is taken", at);
		BN_copy(v, own);
		BN_add_word(v, 1);
		ok("p384: another number", !with(key, rs, at, v), "%zu is taken", at);
	}
	uint8_t none[96] = {0};
	ok("p384: zero and zero", !good(key, none), "they are taken");
	none[47] = none[95] = 1;
	ok("p384: one and one", !good(key, none), "they are taken");
	BN_free(n);
	BN_free(v);
	BN_free(own);
}

// The curve with its numbers told, and twice its generator in the place of the generator: whoever may choose that one knows a private key for any public one.
static EVP_PKEY *other_generator(bool twice)
{
	EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_secp384r1);
	BIGNUM *p = BN_new(), *a = BN_new(), *b = BN_new(), *n = BN_new();
	EC_POINT *point = EC_POINT_new(g);
	uint8_t generator[97], public[97];
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;
	EC_GROUP_get_curve(g, p, a, b, NULL);
	EC_GROUP_get_order(g, n, NULL);
	BN_set_word(b, 3);	// the private key
	EC_POINT_mul(g, point, b, NULL, NULL, NULL);
	EC_POINT_point2oct(g, point, POINT_CONVERSION_UNCOMPRESSED, public, sizeof public, NULL);
	BN_set_word(b, twice ? 2 : 1);
	EC_POINT_mul(g, point, b, NULL, NULL, NULL);
	EC_POINT_point2oct(g, point, POINT_CONVERSION_UNCOMPRESSED, generator, sizeof generator, NULL);
	EC_GROUP_get_curve(g, NULL, NULL, b, NULL);
	OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_EC_FIELD_TYPE, "prime-field", 0);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_EC_P, p);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_EC_A, a);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_EC_B, b);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_EC_ORDER, n);
	OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_EC_GENERATOR, generator, sizeof generator);
	OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, public, sizeof public);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	if (EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	ERR_clear_error();
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	EC_POINT_free(point);
	EC_GROUP_free(g);
	BN_free(p);
	BN_free(a);
	BN_free(b);
	BN_free(n);
	return key;
}

struct used {
	EVP_PKEY *key;
	const uint8_t *rs;
	bool ok;
};

static void *use(void *p)
{
	struct used *u = p;
	u->ok = true;
	for (int i = 0; i < 16; i++)
		u->ok &= good(u->key, u->rs);
	return NULL;
}

// What is kept with a key is made once however many ask at once, is the copy's own, and outlives neither of them.
static void test_kept(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-384");
	struct used u[4];
	pthread_t thread[4];
	uint8_t rs[96];
	bool all = true;
	pki_sign(key, 48, (const uint8_t *)message, sizeof message, rs);
	for (int i = 0; i < 4; i++) {
		u[i] = (struct used){.key = key, .rs = rs};
		pthread_create(&thread[i], NULL, use, &u[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		all &= u[i].ok;
	}
	ok("p384: many at once with one key", all, "a good signature is refused");
	EVP_PKEY *copy = EVP_PKEY_dup(key);
	EVP_PKEY_free(key);
	ok("p384: a copy of a key that is gone", copy && good(copy, rs) && good(copy, rs), "it is refused");
	EVP_PKEY_free(copy);
}

int main(void)
{
	uint8_t rs[96], xy[96] = {0};
	EVP_PKEY *key = EVP_EC_gen("P-384"), *other = EVP_EC_gen("P-384"), *small = EVP_EC_gen("P-256");
	pki_sign(key, 48, (const uint8_t *)message, sizeof message, rs);
	test_numbers(key, rs);
	ok("p384: another key", !good(other, rs), "it is taken");
	ok("p384: a key of another curve", !good(small, rs), "it is taken");
	ok("p384: no point", !ecdsa_key(xy, 48), "it is one");
	test_kept();
	EVP_PKEY *told = other_generator(false), *odd = other_generator(true);
	ok("p384: a key with another generator is none of P-384", odd && ecdsa_size(odd) == 0 && !good(odd, rs), "%zu", odd ? ecdsa_size(odd) : 1);
	ok("p384: with the curve's own it is", told && ecdsa_size(told) == 48 && !good(told, rs), "%zu", told ? ecdsa_size(told) : 0);
	EVP_PKEY_free(told);
	EVP_PKEY_free(odd);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	EVP_PKEY_free(small);
	return ok_failed != 0;
}
