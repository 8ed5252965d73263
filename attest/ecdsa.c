// SPDX-License-Identifier: Apache-2.0
// See ecdsa.h.
#include "attest/ecdsa.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <string.h>

#include "attest/digest.h"
#include "attest/p384.h"

EVP_PKEY *ecdsa_key(const uint8_t *xy, size_t n)
{
	uint8_t point[1 + 2 * 48];
	char group[16];
	EVP_PKEY *key = NULL;

	if (n != 32 && n != 48)
		return NULL;
	point[0] = POINT_CONVERSION_UNCOMPRESSED;
	memcpy(point + 1, xy, 2 * n);
	strcpy(group, n == 32 ? "prime256v1" : "secp384r1");
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * n),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return key;
}

size_t ecdsa_size(EVP_PKEY *key)
{
	char group[32] = "";
	if (!key || !EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1)
		return 0;
	return !strcmp(group, "prime256v1") ? 32 : !strcmp(group, "secp384r1") ? 48 : 0;
}

// One number as a DER INTEGER; the bytes written, at most n + 3.
static size_t der_number(uint8_t *out, const uint8_t *v, size_t n)
{
	while (n > 1 && !*v) {
		v++;
		n--;
	}
	size_t pad = *v >> 7;
	out[0] = 0x02;
	out[1] = (uint8_t)(n + pad);
	out[2] = 0;
	memcpy(out + 2 + pad, v, n);
	return 2 + pad + n;
}

size_t ecdsa_der(uint8_t out[ECDSA_DER_MAX], const uint8_t *rs, size_t n)
{
	size_t len = der_number(out + 2, rs, n);
	len += der_number(out + 2 + len, rs + n, n);
	out[0] = 0x30;
	out[1] = (uint8_t)len;	// at most 102: one byte says it
	return len + 2;
}

bool ecdsa_digest_ok(EVP_PKEY *key, const uint8_t *rs, size_t n, const uint8_t *digest)
{
	uint8_t der[ECDSA_DER_MAX];
	if (n == P384_BYTES)
		return p384_verify(key, rs, digest);
	if (ecdsa_size(key) != n || !n)
		return false;
	size_t len = ecdsa_der(der, rs, n);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	bool ok = ctx && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, der, len, digest, n) == 1;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

bool ecdsa_ok(EVP_PKEY *key, const uint8_t *rs, size_t n, const void *message, size_t len)
{
	uint8_t digest[48];
	return EVP_Digest(message, len, digest, NULL, n == 32 ? digest_of(TPM_SHA256) : digest_of(TPM_SHA384), NULL) == 1 &&
	       ecdsa_digest_ok(key, rs, n, digest);
}
