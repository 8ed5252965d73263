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

// Each check and its outcome. What was expected and found stands in the decision log: a token must fit into a request's head.
static json_t *checks(const struct attest_result *r)
{
	static const char *const outcomes[] = {"passed", "failed", "skipped"};
	json_t *list = json_array();
	for (unsigned int i = 0; i < r->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "claim", r->checks[i].id, "outcome", outcomes[r->checks[i].outcome]));
	return list;
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
static int add_devices(json_t *submods, json_t *cpu_claims)
{
	json_t *list = json_incref(json_object_get(cpu_claims, "gpu")), *device;
	int err = 0;
	char name[32];
	size_t i;
	json_object_del(cpu_claims, "gpu");
	json_array_foreach(list, i, device) {
		bool simulated = json_is_true(json_object_get(device, "simulated"));
		snprintf(name, sizeof name, "gpu%zu", i);
		err |= json_object_set_new(submods, name,
					   json_pack("{s:s, s:{s:i}, s:s, s:o}", "ear.status", simulated ? "contraindicated" : "affirming", "ear.trustworthiness-vector",
						     "hardware", simulated ? 97 : 2, "ear.appraisal-policy-id", "coffer-platform-1",
						     "ear.veraison.annotated-evidence", short_claims(device)));
	}
	json_decref(list);
	return err;
}

static json_t *body(const struct attest_result *r, const json_t *tee_pubkey, time_t now)
{
	const char *tee = json_string_value(json_object_get(r->claims, "tee"));
	const char *debug = json_string_value(json_object_get(r->claims, "dbgstat"));
	bool tpm = tee && !strcmp(tee, "tpm");	// which says nothing about debuggers
	int hardware = tee && strcmp(tee, "simulated") && strcmp(tee, "unknown") ? 2 : 97;
	int configuration = tpm ? 0 : debug && !strcmp(debug, "disabled-since-boot") ? 2 : 97;
	bool good = attest_passed(r) && hardware == 2 && configuration != 97;

	json_t *claims = json_copy(r->claims), *submods = json_object();
	int err = add_devices(submods, claims);
	json_t *cpu = json_pack("{s:s, s:{s:i, s:i, s:i}, s:s, s:o, s:o}",
				"ear.status", good ? "affirming" : "contraindicated",
				"ear.trustworthiness-vector", "configuration", configuration, "executables", 0,
				"hardware", hardware,
				"ear.appraisal-policy-id", "coffer-platform-1",
				"ear.veraison.annotated-evidence", claims,
				"coffer.checks", checks(r));
	if (err || json_object_set_new(submods, "cpu0", cpu)) {
		json_decref(submods);
		return NULL;
	}
	return json_pack("{s:s, s:I, s:I, s:{s:s, s:s}, s:O, s:o}", "eat_profile",
			 "tag:github.com,2023:veraison/ear", "iat", (json_int_t)now, "exp",
			 (json_int_t)now + EAR_SECONDS, "ear.verifier-id", "developer", "Coffer", "build",
			 "coffer-broker", "tee-pubkey", tee_pubkey, "submods", submods);
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

char *ear_token(const struct signer *signer, const char *issuer, const struct attest_result *result, const json_t *tee_pubkey, time_t now)
{
	json_t *o = body(result, tee_pubkey, now);
	if (o && *issuer)
		json_object_set_new(o, "iss", json_string(issuer));
	char *h = header(signer), *token = jws_sign_part(signer->key, h, o);
	free(h);
	return token;
}
