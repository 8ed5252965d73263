// SPDX-License-Identifier: Apache-2.0
// See keys.h.
#include "tests/broker/keys.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"

bool verifies(EVP_PKEY *key, const char *alg, const char *message, const uint8_t *sig, size_t len)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pc;
	const EVP_MD *md = !strcmp(alg, "EdDSA") ? NULL : !strcmp(alg, "ES384") ? EVP_sha384() : EVP_sha256();
	uint8_t der[160], *at = der;
	size_t n = len;
	if (*alg == 'E' && alg[1] == 'S') {
		ECDSA_SIG *s = ECDSA_SIG_new();
		ECDSA_SIG_set0(s, BN_bin2bn(sig, (int)len / 2, NULL), BN_bin2bn(sig + len / 2, (int)len / 2, NULL));
		n = (size_t)i2d_ECDSA_SIG(s, &at);
		ECDSA_SIG_free(s);
		sig = der;
	}
	bool good = EVP_DigestVerifyInit(c, &pc, md, NULL, key) == 1;
	if (*alg == 'P')
		EVP_PKEY_CTX_set_rsa_padding(pc, RSA_PKCS1_PSS_PADDING);
	good = good && EVP_DigestVerify(c, sig, n, (const uint8_t *)message, strlen(message)) == 1;
	EVP_MD_CTX_free(c);
	return good;
}

json_t *request64(const char *name, const void *bytes, size_t len, const char *alg)
{
	char *text = malloc(BASE64_SIZE(len));
	base64_encode(text, bytes, len, BASE64_URL);
	json_t *o = json_pack("{s:s, s:s*}", name, text, "alg", alg);
	free(text);
	return o;
}

size_t bytes_of(const json_t *o, const char *name, uint8_t *out, size_t size)
{
	const char *s = json_string_value(json_object_get(o, name));
	ssize_t n = s ? base64_decode(out, size, s, strlen(s), BASE64_URL) : -1;
	return n < 0 ? 0 : (size_t)n;
}
