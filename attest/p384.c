// SPDX-License-Identifier: Apache-2.0
// See p384.h.
#include "attest/p384.h"

#include <gmp.h>
#include <nettle/dsa.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecdsa.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>

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

bool p384_verify(EVP_PKEY *key, const uint8_t rs[2 * P384_BYTES], const uint8_t digest[P384_BYTES])
{
	struct ecc_point point;
	struct dsa_signature s;
	mpz_t x, y;
	mpz_inits(x, y, NULL);
	dsa_signature_init(&s);
	ecc_point_init(&point, nettle_get_secp_384r1());
	mpz_import(s.r, P384_BYTES, 1, 1, 1, 0, rs);
	mpz_import(s.s, P384_BYTES, 1, 1, 1, 0, rs + P384_BYTES);
	bool ok = coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, x) && coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, y) &&
		  ecc_point_set(&point, x, y) == 1 && ecdsa_verify(&point, P384_BYTES, digest, &s) == 1;
	ecc_point_clear(&point);
	dsa_signature_clear(&s);
	mpz_clears(x, y, NULL);
	return ok;
}
