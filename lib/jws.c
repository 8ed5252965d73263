// SPDX-License-Identifier: Apache-2.0
// See jws.h.
#include "lib/jws.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/jwe.h"

#define ES256_BYTES 64

char *jws_part(json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL, *out = text ? malloc(BASE64_SIZE(strlen(text))) : NULL;
	if (out)
		base64_encode(out, text, strlen(text), BASE64_URL);
	free(text);
	json_decref(o);
	return out;
}

// r | s, 32 bytes each, as RFC 7518 section 3.4 wants.
static bool sign(EVP_PKEY *key, const char *text, size_t text_len, uint8_t out[ES256_BYTES])
{
	uint8_t der[128];
	size_t len = sizeof der;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	ECDSA_SIG *sig = NULL;
	if (md && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1 && EVP_DigestSign(md, der, &len, (const uint8_t *)text, text_len) == 1) {
		const uint8_t *p = der;
		sig = d2i_ECDSA_SIG(NULL, &p, (long)len);
	}
	bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) == 32 && BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) == 32;
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(md);
	return ok;
}

char *jws_sign_part(EVP_PKEY *key, const char *header, const char *body)
{
	size_t head = header ? strlen(header) : 0, len = body ? strlen(body) : 0;
	char *token = header && body ? malloc(head + 1 + BASE64_SIZE(len) + 1 + BASE64_SIZE(ES256_BYTES)) : NULL;
	uint8_t signature[ES256_BYTES];
	if (!token)
		return NULL;
	memcpy(token, header, head);
	token[head] = '.';
	size_t n = head + 1 + base64_encode(token + head + 1, body, len, BASE64_URL);
	if (!sign(key, token, n, signature)) {
		free(token);
		return NULL;
	}
	token[n] = '.';
	base64_encode(token + n + 1, signature, sizeof signature, BASE64_URL);
	return token;
}

char *jws_sign(EVP_PKEY *key, json_t *header, json_t *body)
{
	if (header)
		json_object_set_new(header, "alg", json_string("ES256"));
	char *h = jws_part(header), *text = body ? json_dumps(body, JSON_COMPACT) : NULL, *token = jws_sign_part(key, h, text);
	json_decref(body);
	free(text);
	free(h);
	return token;
}

static bool signature_ok(EVP_PKEY *key, const char *text, size_t len, const uint8_t sig[ES256_BYTES])
{
	uint8_t *der = NULL;
	ECDSA_SIG *s = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(sig, 32, NULL), *v = BN_bin2bn(sig + 32, 32, NULL);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int n = -1;
	if (s && r && v && ECDSA_SIG_set0(s, r, v) == 1) {
		r = v = NULL;
		n = i2d_ECDSA_SIG(s, &der);
	}
	bool ok = n > 0 && md && EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
		  EVP_DigestVerify(md, der, (size_t)n, (const uint8_t *)text, len) == 1;
	BN_free(r);
	BN_free(v);
	ECDSA_SIG_free(s);
	EVP_MD_CTX_free(md);
	OPENSSL_free(der);
	ERR_clear_error();
	return ok;
}

static json_t *part(const char *text, size_t len)
{
	char *plain = malloc(len + 1);
	ssize_t n = plain ? base64_decode(plain, len, text, len, BASE64_URL) : -1;
	json_t *o = n > 0 ? json_loadb(plain, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	free(plain);
	if (json_is_object(o))
		return o;
	json_decref(o);
	return NULL;
}

int jws_open(const char *token, jws_find *find, void *ctx, json_t **body)
{
	const char *dot = strchr(token, '.'), *dot2 = dot ? strchr(dot + 1, '.') : NULL;
	char group[32];
	uint8_t sig[ES256_BYTES];
	EVP_PKEY *key = NULL;
	if (!dot2 || (size_t)(dot2 - token) > JWS_MAX_BYTES || base64_decode(sig, sizeof sig, dot2 + 1, strlen(dot2 + 1), BASE64_URL) != ES256_BYTES)
		return -EBADMSG;
	json_t *header = part(token, (size_t)(dot - token));
	const char *alg = json_string_value(json_object_get(header, "alg"));
	int err = alg && !strcmp(alg, "ES256") && !json_object_get(header, "crit") ? find(ctx, header, &key) : -EBADMSG;
	json_decref(header);
	if (err)
		return err;
	bool p256 = EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 && !strcmp(group, "prime256v1");
	if (!p256 || !signature_ok(key, token, (size_t)(dot2 - token), sig) || !(*body = part(dot + 1, (size_t)(dot2 - dot - 1))))
		err = -EBADMSG;
	EVP_PKEY_free(key);
	return err;
}

int jws_find_in_set(void *jwks, const json_t *header, EVP_PKEY **key)
{
	const json_t *keys = json_object_get(jwks, "keys");
	const char *kid = json_string_value(json_object_get(header, "kid"));
	for (size_t i = 0; i < json_array_size(keys); i++) {
		json_t *jwk = json_array_get(keys, i);
		const char *own = json_string_value(json_object_get(jwk, "kid"));
		if (kid ? !own || strcmp(own, kid) : json_array_size(keys) != 1)
			continue;
		// What a key in a set is for is another's "alg" than that of keys to encrypt to.
		json_t *plain = json_copy(jwk);
		json_object_del(plain, "alg");
		int err = jwk_to_key(plain, key, NULL);
		json_decref(plain);
		return err ? -EBADMSG : 0;
	}
	return -ENOENT;
}
