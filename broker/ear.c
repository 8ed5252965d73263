// SPDX-License-Identifier: Apache-2.0
// See ear.h. Trustworthiness claims are those of AR4SI (draft-ietf-rats-ar4si): 2 affirms, 97 contraindicates, 0 says
// nothing. What runs (executables) is appraised for each resource, so that the token says nothing about it.
#include "broker/ear.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/jwe.h"

#define ES256_BYTES 64

static char *base64url(const void *bytes, size_t len)
{
	char *out = malloc(BASE64_SIZE(len));
	if (out)
		base64_encode(out, bytes, len, BASE64_URL);
	return out;
}

static char *encode_json(json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	char *out = text ? base64url(text, strlen(text)) : NULL;
	free(text);
	json_decref(o);
	return out;
}

// Each check and its outcome. What was expected and found stands in the decision log: a token must fit into a request's head.
static json_t *checks(const struct attest_result *r)
{
	static const char *const outcomes[] = {"passed", "failed", "skipped"};
	json_t *list = json_array();
	for (unsigned int i = 0; i < r->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "claim", r->checks[i].id, "outcome", outcomes[r->checks[i].outcome]));
	return list;
}

static json_t *body(const struct attest_result *r, const json_t *tee_pubkey, time_t now)
{
	const char *tee = json_string_value(json_object_get(r->claims, "tee"));
	const char *debug = json_string_value(json_object_get(r->claims, "dbgstat"));
	bool tpm = tee && !strcmp(tee, "tpm");	// which says nothing about debuggers
	int hardware = tee && strcmp(tee, "simulated") && strcmp(tee, "unknown") ? 2 : 97;
	int configuration = tpm ? 0 : debug && !strcmp(debug, "disabled-since-boot") ? 2 : 97;
	bool good = attest_passed(r) && hardware == 2 && configuration != 97;

	json_t *cpu = json_pack("{s:s, s:{s:i, s:i, s:i}, s:s, s:O, s:o}",
				"ear.status", good ? "affirming" : "contraindicated",
				"ear.trustworthiness-vector", "configuration", configuration, "executables", 0,
				"hardware", hardware,
				"ear.appraisal-policy-id", "coffer-platform-1",
				"ear.veraison.annotated-evidence", r->claims,
				"coffer.checks", checks(r));
	if (!cpu)
		return NULL;
	return json_pack("{s:s, s:I, s:I, s:{s:s, s:s}, s:O, s:{s:o}}", "eat_profile",
			 "tag:github.com,2023:veraison/ear", "iat", (json_int_t)now, "exp",
			 (json_int_t)now + EAR_SECONDS, "ear.verifier-id", "developer", "Coffer", "build",
			 "coffer-broker", "tee-pubkey", tee_pubkey, "submods", "cpu0", cpu);
}

static json_t *header(EVP_PKEY *signer)
{
	json_t *jwk = jwk_from_key(signer);
	if (!jwk)
		return NULL;
	json_object_set_new(jwk, "alg", json_string("ES256"));
	return json_pack("{s:s, s:s, s:o}", "alg", "ES256", "typ", "JWT", "jwk", jwk);
}

// r | s, 32 bytes each, as RFC 7518 section 3.4 wants.
static int sign(EVP_PKEY *key, const char *text, uint8_t out[ES256_BYTES])
{
	uint8_t der[128];
	size_t len = sizeof der;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	ECDSA_SIG *sig = NULL;
	if (md && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
	    EVP_DigestSign(md, der, &len, (const uint8_t *)text, strlen(text)) == 1) {
		const uint8_t *p = der;
		sig = d2i_ECDSA_SIG(NULL, &p, (long)len);
	}
	int ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) == 32 &&
		 BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) == 32;
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(md);
	return ok;
}

char *ear_token(EVP_PKEY *signer, const struct attest_result *result, const json_t *tee_pubkey, time_t now)
{
	char *h = encode_json(header(signer)), *b = encode_json(body(result, tee_pubkey, now));
	char *signed_part = NULL, *token = NULL;
	uint8_t signature[ES256_BYTES];
	char signature64[BASE64_SIZE(ES256_BYTES)];
	if (h && b && asprintf(&signed_part, "%s.%s", h, b) < 0)
		signed_part = NULL;
	if (signed_part && sign(signer, signed_part, signature)) {
		base64_encode(signature64, signature, sizeof signature, BASE64_URL);
		if (asprintf(&token, "%s.%s", signed_part, signature64) < 0)
			token = NULL;
	}
	free(signed_part);
	free(h);
	free(b);
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

// The body of a token whose signature is good; a new reference.
static json_t *open_body(EVP_PKEY *signer, const char *token)
{
	const char *dot = strchr(token, '.'), *dot2 = dot ? strchr(dot + 1, '.') : NULL;
	uint8_t sig[ES256_BYTES];
	if (!dot2 || base64_decode(sig, sizeof sig, dot2 + 1, strlen(dot2 + 1), BASE64_URL) != ES256_BYTES ||
	    !signature_ok(signer, token, (size_t)(dot2 - token), sig))
		return NULL;
	size_t len = (size_t)(dot2 - dot - 1);
	char *text = malloc(len + 1);
	ssize_t n = text ? base64_decode(text, len, dot + 1, len, BASE64_URL) : -1;
	json_t *o = n > 0 ? json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	free(text);
	return o;
}

int ear_open(EVP_PKEY *signer, const char *token, time_t now, json_t **claims, EVP_PKEY **key)
{
	json_t *o = open_body(signer, token);
	const json_t *cpu = json_object_get(json_object_get(o, "submods"), "cpu0");
	json_t *evidence = json_object_get(cpu, "ear.veraison.annotated-evidence");
	int err = 0;
	if (!json_is_object(evidence))
		err = -EBADMSG;
	else if (json_integer_value(json_object_get(o, "exp")) <= (json_int_t)now)
		err = -ESTALE;
	else if (jwk_to_key(json_object_get(o, "tee-pubkey"), key, NULL))
		err = -EBADMSG;
	else
		*claims = json_incref(evidence);
	json_decref(o);
	return err;
}
