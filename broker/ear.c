// SPDX-License-Identifier: Apache-2.0
// See ear.h. Trustworthiness claims are those of AR4SI (draft-ietf-rats-ar4si): 2 affirms, 97 contraindicates, 0 says
// nothing. What runs (executables) is appraised for each resource, so that the token says nothing about it.
#include "broker/ear.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lib/jwe.h"

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

static json_t *header(const struct signer *signer)
{
	json_t *jwk = jwk_from_key(signer->key);
	if (!jwk)
		return NULL;
	json_object_set_new(jwk, "alg", json_string("ES256"));
	json_object_set_new(jwk, "kid", json_string(signer->kid));
	return json_pack("{s:s, s:s, s:o}", "typ", "JWT", "kid", signer->kid, "jwk", jwk);
}

char *ear_token(const struct signer *signer, const char *issuer, const struct attest_result *result, const json_t *tee_pubkey, time_t now)
{
	json_t *o = body(result, tee_pubkey, now);
	if (o && *issuer)
		json_object_set_new(o, "iss", json_string(issuer));
	return jws_sign(signer->key, header(signer), o);
}

int ear_open(jws_find *find, void *ctx, const char *token, time_t now, json_t **body_out, json_t **claims, EVP_PKEY **key)
{
	json_t *o = NULL;
	int err = jws_open(token, find, ctx, &o);
	if (err)
		return -EBADMSG;
	const json_t *cpu = json_object_get(json_object_get(o, "submods"), "cpu0");
	json_t *evidence = json_object_get(cpu, "ear.veraison.annotated-evidence");
	if (!json_is_object(evidence))
		err = -EBADMSG;
	else if (json_integer_value(json_object_get(o, "exp")) <= (json_int_t)now)
		err = -ESTALE;
	else if (jwk_to_key(json_object_get(o, "tee-pubkey"), key, NULL))
		err = -EBADMSG;
	else if (claims)
		*claims = json_incref(evidence);
	if (!err && body_out)
		*body_out = o;
	else
		json_decref(o);
	return err;
}
