// SPDX-License-Identifier: Apache-2.0
// See p384.h. OpenSSL makes a key's coordinates anew each time it is asked for them, which takes a third as long as the signature, so the point is
// kept with the key, as long as that lives. `lock` guards what hangs on keys; points are never changed.
#include "attest/p384.h"

#include <gmp.h>
#include <nettle/dsa.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecdsa.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <pthread.h>
#include <stdlib.h>

#include "attest/ecdsa.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int place = -1;	// of a struct ecc_point * in a key's further data

static void point_free(void *key, void *p, CRYPTO_EX_DATA *all, int index, long number, void *ctx)
{
	(void)key, (void)all, (void)index, (void)number, (void)ctx;
	if (p)
		ecc_point_clear(p);
	free(p);
}

// A copy of a key has none yet.
static int point_dup(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **p, int index, long number, void *ctx)
{
	(void)to, (void)from, (void)index, (void)number, (void)ctx;
	*p = NULL;
	return 1;
}

static void take_place(void)
{
	place = CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_EVP_PKEY, 0, NULL, NULL, point_dup, point_free);
}

// Both coordinates, whatever form the key's certificate has them in.
static bool coordinate(EVP_PKEY *key, const char *name, mpz_t out)
{
	uint8_t bytes[P384_BYTES];
	BIGNUM *n = NULL;
	bool ok = EVP_PKEY_get_bn_param(key, name, &n) == 1 && BN_bn2binpad(n, bytes, sizeof bytes) == sizeof bytes;
	BN_free(n);
	if (ok)
		mpz_import(out, sizeof bytes, 1, 1, 1, 0, bytes);
	return ok;
}

static struct ecc_point *make_point(EVP_PKEY *key)
{
	struct ecc_point *p = ecdsa_size(key) == P384_BYTES ? malloc(sizeof *p) : NULL;
	mpz_t x, y;
	if (!p)
		return NULL;
	mpz_inits(x, y, NULL);
	ecc_point_init(p, nettle_get_secp_384r1());
	bool ok = coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, x) && coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, y) && ecc_point_set(p, x, y) == 1;
	mpz_clears(x, y, NULL);
	if (!ok)
		point_free(NULL, p, NULL, 0, 0, NULL);
	return ok ? p : NULL;
}

// The key's; NULL: it is none on this curve. *own: it could not be kept, and is the caller's to free.
static struct ecc_point *point_of(EVP_PKEY *key, bool *own)
{
	*own = false;
	pthread_once(&once, take_place);
	pthread_mutex_lock(&lock);
	struct ecc_point *p = key && place >= 0 ? EVP_PKEY_get_ex_data(key, place) : NULL;
	pthread_mutex_unlock(&lock);
	if (p || !key)
		return p;
	struct ecc_point *made = make_point(key);
	if (!made)
		return NULL;
	pthread_mutex_lock(&lock);
	p = place >= 0 ? EVP_PKEY_get_ex_data(key, place) : NULL;	// another thread was faster
	*own = p || place < 0 || EVP_PKEY_set_ex_data(key, place, made) != 1;
	pthread_mutex_unlock(&lock);
	return made;
}

bool p384_verify(EVP_PKEY *key, const uint8_t rs[2 * P384_BYTES], const uint8_t digest[P384_BYTES])
{
	struct dsa_signature s;
	bool own;
	struct ecc_point *point = point_of(key, &own);
	if (!point)
		return false;
	dsa_signature_init(&s);
	mpz_import(s.r, P384_BYTES, 1, 1, 1, 0, rs);
	mpz_import(s.s, P384_BYTES, 1, 1, 1, 0, rs + P384_BYTES);
	bool ok = ecdsa_verify(point, P384_BYTES, digest, &s) == 1;
	dsa_signature_clear(&s);
	if (own)
		point_free(NULL, point, NULL, 0, 0, NULL);
	return ok;
}
