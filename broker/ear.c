// SPDX-License-Identifier: Apache-2.0
// See ear.h. Trustworthiness claims are those of AR4SI (draft-ietf-rats-ar4si): 2 affirms, 97 contraindicates, 0 says
// nothing. What runs (executables) is appraised for each resource, so that the token says nothing about it. One lock, for the header that is kept.
#include "broker/ear.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/json.h"
#include "lib/jwe.h"
#include "lib/sha.h"

// A text as JSON has it. Most need nothing but their quotes.
static int put_text(FILE *to, const char *text)
{
	json_t *o = NULL;
	if (text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/ ")] == '\0')
		return fprintf(to, "\"%s\"", text) < 0 ? -EIO : 0;
	char *quoted = (o = json_string(text)) ? json_dumps(o, JSON_ENCODE_ANY) : NULL;
	int err = quoted && fputs(quoted, to) >= 0 ? 0 : -EINVAL;
	free(quoted);
	json_decref(o);
	return err;
}

static int put_json(FILE *to, const json_t *o)
{
	return json_dumpf(o, to, JSON_COMPACT) ? -EIO : 0;
}

// Each check and its outcome. What was expected and found stands in the decision log: a token must fit into a request's head.
static int put_checks(FILE *to, const struct attest_result *r)
{
	static const char *const outcomes[] = {"passed", "failed", "skipped"};
	int err = 0;
	for (unsigned int i = 0; i < r->count && !err; i++) {
		fputs(i ? ",{\"claim\":" : "{\"claim\":", to);
		err = put_text(to, r->checks[i].id);
		fprintf(to, ",\"outcome\":\"%s\"}", outcomes[r->checks[i].outcome]);
	}
	return err;
}

// What was measured, by index, does not fit into a request's head: a token has its digest.
static json_t *short_claims(const json_t *device)
{
	json_t *o = json_copy((json_t *)device);
	char *text = json_dumps(json_object_get(o, "measurements"), JSON_COMPACT | JSON_SORT_KEYS);
	uint8_t digest[32];
	if (text) {
		sha_256(text, strlen(text), digest);
		set_hex(o, "measurements_digest", digest, sizeof digest);
	}
	json_object_del(o, "measurements");
	free(text);
	return o;
}

// A submodule for each further device, as verifiers of composite machines give them. Their claims are in these alone.
static int put_devices(FILE *to, const json_t *list)
{
	json_t *device;
	int err = 0;
	size_t i;
	json_array_foreach(list, i, device) {
		bool simulated = json_is_true(json_object_get(device, "simulated"));
		json_t *o = json_pack("{s:s, s:{s:i}, s:s, s:o}", "ear.status", simulated ? "contraindicated" : "affirming",
				      "ear.trustworthiness-vector", "hardware", simulated ? 97 : 2,
				      "ear.appraisal-policy-id", "coffer-platform-1", "ear.veraison.annotated-evidence", short_claims(device));
		fprintf(to, ",\"gpu%zu\":", i);
		err |= o ? put_json(to, o) : -ENOMEM;
		json_decref(o);
	}
	return err;
}

// What the evidence said, without the devices.
static int put_claims(FILE *to, const json_t *all, const char *text)
{
	if (text && !json_object_get(all, "gpu"))
		return fputs(text, to) < 0 ? -EIO : 0;
	json_t *claims = json_copy((json_t *)all);
	json_object_del(claims, "gpu");
	int err = claims ? put_json(to, claims) : -ENOMEM;
	json_decref(claims);
	return err;
}

// Written as text: a tree of all this is made, copied and thrown away in the time of a signature. NULL on failure.
static char *body(const char *issuer, const struct attest_result *r, const char *claims, const json_t *tee_pubkey, time_t now)
{
	const char *tee = json_string_value(json_object_get(r->claims, "tee"));
	const char *debug = json_string_value(json_object_get(r->claims, "dbgstat"));
	bool tpm = tee && !strcmp(tee, "tpm");	// which says nothing about debuggers
	int hardware = tee && strcmp(tee, "simulated") && strcmp(tee, "unknown") ? 2 : 97;
	int configuration = tpm ? 0 : debug && !strcmp(debug, "disabled-since-boot") ? 2 : 97;
	bool good = attest_passed(r) && hardware == 2 && configuration != 97;
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	if (!to)
		return NULL;

	fprintf(to, "{\"eat_profile\":\"tag:github.com,2023:veraison/ear\",\"iat\":%lld,\"exp\":%lld,"
		"\"ear.verifier-id\":{\"developer\":\"Coffer\",\"build\":\"coffer-broker\"},\"tee-pubkey\":", (long long)now,
		(long long)now + EAR_SECONDS);
	int err = put_json(to, tee_pubkey);
	if (*issuer) {
		fputs(",\"iss\":", to);
		err |= put_text(to, issuer);
	}
	fprintf(to, ",\"submods\":{\"cpu0\":{\"ear.status\":\"%s\",\"ear.trustworthiness-vector\":"
		"{\"configuration\":%d,\"executables\":0,\"hardware\":%d},\"ear.appraisal-policy-id\":\"coffer-platform-1\","
		"\"ear.veraison.annotated-evidence\":", good ? "affirming" : "contraindicated", configuration, hardware);
	err |= put_claims(to, r->claims, claims);
	fputs(",\"coffer.checks\":[", to);
	err |= put_checks(to, r);
	fputs("]}", to);
	err |= put_devices(to, json_object_get(r->claims, "gpu"));
	fputs("}}", to);
	err |= ferror(to);
	if (!fclose(to) && !err)
		return text;
	free(text);
	return NULL;
}

static char *make_header(const struct signer *signer)
{
	json_t *jwk = jwk_from_key(signer->key);
	if (!jwk)
		return NULL;
	json_object_set_new(jwk, "alg", json_string("ES256"));
	json_object_set_new(jwk, "kid", json_string(signer->kid));
	return jws_part(json_pack("{s:s, s:s, s:s, s:o}", "typ", "JWT", "alg", "ES256", "kid", signer->kid, "jwk", jwk));
}

// Of all tokens that a key signs it is the same, and kept for the key that signed last; malloc'ed.
static char *header(const struct signer *signer)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static char kid[JWK_THUMBPRINT], *kept;
	pthread_mutex_lock(&lock);
	if (!kept || strcmp(kid, signer->kid)) {
		free(kept);
		kept = make_header(signer);
		memcpy(kid, signer->kid, sizeof kid);
	}
	char *copy = kept ? strdup(kept) : NULL;
	pthread_mutex_unlock(&lock);
	return copy;
}

char *ear_token(const struct signer *signer, const char *issuer, const struct attest_result *result, const char *claims, const json_t *tee_pubkey,
		time_t now)
{
	char *h = header(signer), *b = body(issuer, result, claims, tee_pubkey, now), *token = jws_sign_part(signer->key, h, b);
	free(b);
	free(h);
	return token;
}
