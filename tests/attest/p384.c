// SPDX-License-Identifier: Apache-2.0
// Signatures on P-384: good ones, numbers that no signature has, keys whose parameters are told instead of named, the arithmetic against OpenSSL's, and
// keys and signatures chosen so that the special cases of adding points come up.
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "attest/ecdsa.h"
#include "attest/p384.h"
#include "attest/p384_number.h"
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

static BN_CTX *bn;

static void number_of(struct number *out, const BIGNUM *v, const struct modulus *m)
{
	uint8_t bytes[48];
	if (BN_bn2binpad(v, bytes, 48) != 48 || !number_read(out, bytes, m))
		abort();
}

static bool is(const struct number *a, const BIGNUM *v, const struct modulus *m)
{
	struct number b;
	number_of(&b, v, m);
	return number_same(a, &b);
}

// Random ones, and such of words that are all zeros or ones: carries go a long way.
static void any(BIGNUM *out, const BIGNUM *m, unsigned int i)
{
	uint8_t bytes[48];
	if (i % 3 == 0) {
		BN_rand_range(out, m);
		return;
	}
	for (int w = 0; w < 48; w += i % 3 == 1 ? 8 : 4)
		memset(bytes + w, rand() & 1 ? 0xff : 0, i % 3 == 1 ? 8 : 4);
	BN_bin2bn(bytes, 48, out);
	if (i % 5 == 0)
		BN_add_word(out, (unsigned int)rand() % 3);
	BN_nnmod(out, out, m, bn);
	if (i % 7 == 0)
		BN_sub(out, m, BN_value_one());
}

static void test_arithmetic(const char *name, const struct modulus *m, const BIGNUM *modulus)
{
	BIGNUM *a = BN_new(), *b = BN_new(), *r = BN_new(), *back = BN_new();
	unsigned int wrong[4] = {0};
	BN_one(back);
	BN_lshift(back, back, 384);
	BN_mod_inverse(back, back, modulus, bn);
	for (unsigned int i = 0; i < 10000; i++) {
		struct number x, y, z;
		any(a, modulus, i);
		any(b, modulus, i / 3);
		number_of(&x, a, m);
		number_of(&y, b, m);
		number_add(&z, &x, &y, m);
		BN_mod_add(r, a, b, modulus, bn);
		wrong[0] += !is(&z, r, m);
		number_sub(&z, &x, &y, m);
		BN_mod_sub(r, a, b, modulus, bn);
		wrong[1] += !is(&z, r, m);
		number_mul(&z, &x, &y, m);
		BN_mod_mul(r, a, b, modulus, bn);
		BN_mod_mul(r, r, back, modulus, bn);
		wrong[2] += !is(&z, r, m);
		if (i % 50 || BN_is_zero(a))
			continue;
		number_mul(&z, &x, &m->square, m);
		number_invert(&z, &z, m);
		number_mul(&z, &z, &(struct number){{1}}, m);
		BN_mod_inverse(r, a, modulus, bn);
		wrong[3] += !is(&z, r, m);
	}
	ok("p384: numbers", !wrong[0] && !wrong[1] && !wrong[2] && !wrong[3], "%s: %u sums, %u differences, %u products, %u inverses are wrong", name, wrong[0],
	   wrong[1], wrong[2], wrong[3]);
	BN_free(a);
	BN_free(b);
	BN_free(r);
	BN_free(back);
}

static EC_GROUP *group;
static const BIGNUM *n;

static EVP_PKEY *key_of(const EC_POINT *q)
{
	uint8_t oct[97];
	EC_POINT_point2oct(group, q, POINT_CONVERSION_UNCOMPRESSED, oct, sizeof oct, bn);
	return ecdsa_key(oct + 1, 48);
}

static bool openssl_takes(EVP_PKEY *key, const uint8_t rs[96], const uint8_t digest[48])
{
	uint8_t der[ECDSA_DER_MAX];
	size_t len = ecdsa_der(der, rs, 48);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	bool ok = EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, der, len, digest, 48) == 1;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

// A signature that holds when u1 is `a` and u2 is `b`, made without a private key: r = x(a G + b Q), s = r/b, e = a r/b. Then the same with another e.
// `infinity`: a G + b Q has no x, r is any.
static bool chosen(const EC_POINT *q, const BIGNUM *a, const BIGNUM *b, bool *infinity)
{
	BIGNUM *r = BN_new(), *s = BN_new(), *e = BN_new();
	EC_POINT *sum = EC_POINT_new(group);
	EVP_PKEY *key = key_of(q);
	uint8_t rs[96], digest[48];
	EC_POINT_mul(group, sum, a, q, b, bn);
	*infinity = EC_POINT_is_at_infinity(group, sum);
	if (*infinity)
		BN_set_word(r, 77);
	else
		EC_POINT_get_affine_coordinates(group, sum, r, NULL, bn);
	BN_nnmod(r, r, n, bn);
	BN_mod_inverse(s, b, n, bn);
	BN_mod_mul(s, s, r, n, bn);
	BN_mod_mul(e, a, s, n, bn);
	BN_bn2binpad(r, rs, 48);
	BN_bn2binpad(s, rs + 48, 48);
	BN_bn2binpad(e, digest, 48);
	bool as_it_must = p384_verify(key, rs, digest) == !*infinity && openssl_takes(key, rs, digest) == !*infinity;
	digest[47] ^= 1;
	as_it_must &= p384_verify(key, rs, digest) == openssl_takes(key, rs, digest);
	EVP_PKEY_free(key);
	EC_POINT_free(sum);
	BN_free(r);
	BN_free(s);
	BN_free(e);
	return as_it_must;
}

// Factors and keys that are few steps from each other, from multiples in the tables, and from the order.
static void special(BIGNUM *out, unsigned int i)
{
	BN_set_word(out, i % 9);
	if (i / 9 % 2) {
		BN_one(out);
		BN_lshift(out, out, (int)(96 * (i % 9 % 4)));
		BN_mul_word(out, 1 + 2 * (i % 9 / 4));
	}
	if (i / 18 % 2)
		BN_sub(out, n, out);
	BN_nnmod(out, out, n, bn);
}

static void test_chosen(void)
{
	BIGNUM *a = BN_new(), *b = BN_new(), *d = BN_new();
	EC_POINT *q = EC_POINT_new(group);
	unsigned int wrong = 0, infinite = 0, made = 0;
	for (unsigned int i = 0; i < 36 * 36; i++) {
		unsigned int k = i % 4;
		bool infinity;
		special(a, i % 36);
		special(b, i / 36 % 36);
		special(d, k < 3 ? (unsigned int[]){1, 19, 9}[k] : (unsigned int)rand() % 36);	// G, -G, 2^96 G, and others
		if (BN_is_zero(b) || BN_is_zero(d))
			continue;
		EC_POINT_mul(group, q, d, NULL, NULL, bn);
		wrong += !chosen(q, a, b, &infinity);
		infinite += infinity;
		made++;
	}
	for (unsigned int i = 0; i < 20; i++) {
		bool infinity;
		BN_rand_range(d, n);
		EC_POINT_mul(group, q, d, NULL, NULL, bn);
		for (unsigned int k = 0; k < 10; k++) {
			BN_rand_range(b, n);
			if (k) {
				BN_rand_range(a, n);
			} else {	// nothing is left of it
				BN_mod_mul(a, b, d, n, bn);
				BN_sub(a, n, a);
			}
			wrong += !chosen(q, a, b, &infinity);
			infinite += infinity;
		}
	}
	ok("p384: factors and keys that were chosen", !wrong && infinite > 20 && made > 900, "%u of %u are wrong, %u at infinity", wrong, made, infinite);
	BN_free(a);
	BN_free(b);
	BN_free(d);
	EC_POINT_free(q);
}

// A point whose x is the order or more, of which r is the rest: it takes 2^190 signatures to meet one, and a key that is made for it.
static void test_wrapped(void)
{
	BIGNUM *x = BN_new(), *a = BN_new(), *b = BN_new(), *minus = BN_new();
	EC_POINT *point = EC_POINT_new(group), *q = EC_POINT_new(group);
	unsigned int found = 0, wrong = 0;
	for (unsigned int t = 1; t < 60; t++) {
		bool infinity;
		BN_copy(x, n);
		BN_add_word(x, t);
		if (EC_POINT_set_compressed_coordinates(group, point, x, (int)(t & 1), bn) != 1)
			continue;
		found++;
		BN_rand_range(a, n);
		BN_rand_range(b, n);
		// q = (point - a G) / b
		BN_sub(minus, n, a);
		EC_POINT_mul(group, q, minus, NULL, NULL, bn);
		EC_POINT_add(group, q, q, point, bn);
		BN_mod_inverse(minus, b, n, bn);
		EC_POINT_mul(group, q, NULL, q, minus, bn);
		wrong += !chosen(q, a, b, &infinity);
	}
	ERR_clear_error();
	ok("p384: an x above the order", found > 10 && !wrong, "%u of %u are wrong", wrong, found);
	BN_free(x);
	BN_free(a);
	BN_free(b);
	BN_free(minus);
	EC_POINT_free(point);
	EC_POINT_free(q);
}

// More keys than are kept, by threads.
static EVP_PKEY *many[200];
static uint8_t signatures[200][96];

static void *crowd(void *arg)
{
	unsigned int seed = (unsigned int)(size_t)arg;
	for (int i = 0; i < 250; i++) {
		int k = rand_r(&seed) % 200, other = (k + 1 + rand_r(&seed) % 199) % 200;
		if (!good(many[k], signatures[k]) || good(many[k], signatures[other]))
			return arg;
	}
	return NULL;
}

static void test_many(void)
{
	pthread_t t[4];
	bool wrong = false;
	for (int i = 0; i < 200; i++) {
		many[i] = EVP_EC_gen("P-384");
		pki_sign(many[i], 48, (const uint8_t *)message, sizeof message, signatures[i]);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, crowd, (void *)(i + 1));
	for (int i = 0; i < 4; i++) {
		void *r;
		pthread_join(t[i], &r);
		wrong |= r != NULL;
	}
	ok("p384: many keys by threads", !wrong, "a verdict is wrong");
	for (int i = 0; i < 200; i++)
		EVP_PKEY_free(many[i]);
}

int main(void)
{
	BIGNUM *prime = BN_new();
	bn = BN_CTX_new();
	group = EC_GROUP_new_by_curve_name(NID_secp384r1);
	n = EC_GROUP_get0_order(group);
	EC_GROUP_get_curve(group, prime, NULL, NULL, bn);
	test_arithmetic("prime", &p384_prime, prime);
	test_arithmetic("order", &p384_order, n);
	test_chosen();
	test_wrapped();
	test_many();
	BN_free(prime);
	EC_GROUP_free(group);
	BN_CTX_free(bn);
	uint8_t rs[96], xy[96] = {0};
	EVP_PKEY *key = EVP_EC_gen("P-384"), *other = EVP_EC_gen("P-384"), *small = EVP_EC_gen("P-256");
	pki_sign(key, 48, (const uint8_t *)message, sizeof message, rs);
	test_numbers(key, rs);
	ok("p384: another key", !good(other, rs), "it is taken");
	ok("p384: a key of another curve", !good(small, rs), "it is taken");
	ok("p384: no point", !ecdsa_key(xy, 48), "it is one");
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
