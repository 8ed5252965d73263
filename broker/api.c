// SPDX-License-Identifier: Apache-2.0
// The broker's HTTP interface: who asks for what (routes.c, identity.c), and the KBS protocol for enclaves. Runs in connection threads; takes
// no lock of its own.
#include "broker/api.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/binding.h"
#include "attest/policy.h"
#include "broker/ear.h"
#include "broker/approvals.h"
#include "broker/kbs.h"
#include "broker/policies.h"
#include "broker/limits.h"
#include "broker/metrics.h"
#include "broker/ops.h"
#include "broker/ratls.h"
#include "broker/token_api.h"
#include "broker/routes.h"
#include "broker/tpm_activation.h"
#include "lib/blocks.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "lib/jwk.h"
#include "lib/log.h"
#include "lib/sha.h"
#include "ratls/certificate.h"

#define SESSION_COOKIE "kbs-session-id"

void broker_reply(struct http_response *r, int status, json_t *o)
{
	r->status = status;
	r->body = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	r->body_len = r->body ? strlen(r->body) : 0;
	if (!r->body)
		r->status = 500;
	json_decref(o);
}

void broker_problem(struct http_response *r, int status, const char *name, const char *detail, json_t *refusals)
{
	char type[96];
	snprintf(type, sizeof type, "urn:coffer:kbs:error:%s", name);
	json_t *text = json_string(detail);
	json_t *o = json_pack("{s:s, s:s, s:i, s:o}", "type", type, "title", name, "status", status, "detail",
			      text ? text : json_string("(the reason is not valid text)"));
	if (refusals)
		json_object_set_new(o, "refusals", refusals);
	if (status == 503 && !r->headers && strcmp(name, "OutcomeUnknown"))	// what may have been done is not to be repeated unseen
		r->headers = strdup("Retry-After: 2\r\n");
	broker_reply(r, status, o);
}

void broker_fault(struct http_response *r, int err, const struct fault *f)
{
	log_warning("broker: %s", f->text);
	if (err == -EUCLEAN) {
		broker_problem(r, 503, "OutcomeUnknown", "this was done, or may have been, though the broker could not end it as it should: look how it is before "
			       "you repeat it. Its own log says why", NULL);
		return;
	}
	if (db_worth_retrying(err)) {
		broker_problem(r, 503, "Unavailable", "the broker cannot reach or write what it stores; ask again a little later. Its own log "
			       "says why", NULL);
		return;
	}
	broker_problem(r, 500, "Internal", "the broker could not do this; its own log says why", NULL);
}

// "measurement: expected X, found Y; ..."
static void refusal_text(const struct attest_result *result, char *out, size_t size)
{
	size_t n = 0;
	out[0] = '\0';
	for (unsigned int i = 0; i < result->count && n < size; i++) {
		const struct attest_check *c = &result->checks[i];
		if (c->outcome == ATTEST_FAILED)
			n += (size_t)snprintf(out + n, size - n, "%s%s: expected %s, found %s", n ? "; " : "", c->id,
					      c->expected, c->found);
	}
}

// The names of the checks with that outcome.
static json_t *checks_that(const struct attest_result *result, enum attest_outcome outcome)
{
	json_t *list = json_array();
	for (unsigned int i = 0; i < result->count; i++) {
		if (result->checks[i].outcome == outcome)
			json_array_append_new(list, json_string(result->checks[i].id));
	}
	return list;
}

static json_t *decision(const struct broker_wish *wish, const struct attest_result *result)
{
	static const char *const noted[][2] = {{"tee", "tee"}, {"measurement", "measurement"}, {"tcb", "tcb_status"}, {"evidence", "evidence_digest"},
						{"key", "key_thumbprint"}, {"policy", "policy_digest"}, {"policy_version", "policy_version"}};
	json_t *o = json_pack("{s:s, s:s, s:o}", "event", wish->event ? wish->event : wish->operation, "outcome",
			      attest_passed(result) ? "accepted" : "refused", "refusals", attest_failures_json(result));
	json_object_set_new(o, "passed", checks_that(result, ATTEST_PASSED));
	json_object_set_new(o, "skipped", checks_that(result, ATTEST_SKIPPED));
	for (size_t i = 0; i < sizeof noted / sizeof *noted; i++) {
		json_t *claim = json_object_get(result->claims, noted[i][1]);
		if (claim)
			json_object_set(o, noted[i][0], claim);
	}
	if (wish->resource)
		json_object_set_new(o, "resource", json_string(wish->resource));
	if (wish->operation)
		json_object_set_new(o, "operation", json_string(wish->operation));
	if (wish->version)
		json_object_set_new(o, "version", json_integer(wish->version));
	if (json_array_size(wish->approved_by))
		json_object_set(o, "approved_by", wish->approved_by);
	return o;
}

static void count_decision(const char *event, const struct attest_result *result)
{
	const char *tee = json_string_value(json_object_get(result->claims, "tee"));
	bool passed = attest_passed(result);
	if (event && !strcmp(event, "attest"))
		metric_attestation(tee ? tee : "unknown", passed ? "accepted" : "refused");
	for (unsigned int i = 0; i < result->count; i++) {
		if (result->checks[i].outcome == ATTEST_FAILED)
			metric_refusal(result->checks[i].id);
	}
}

int broker_decide(struct broker *b, const struct broker_wish *wish, const struct attest_result *result, struct http_response *r)
{
	struct fault f = {""};
	if (!wish->event && attest_passed(result))
		return 0;
	count_decision(wish->event, result);
	bool passed = attest_passed(result), single = passed || limits_refused(b->limits, r->peer, wish->resource ? REFUSED_RELEASE : REFUSED_EVIDENCE);
	int err = single ? audit_log(b, r, decision(wish, result), &f) : 0;
	if (err) {
		broker_fault(r, err, &f);
		return err;
	}
	if (passed && !strcmp(wish->event ? wish->event : "", "attest"))
		limits_attested(b->limits, r->peer);
	if (passed)
		return 0;
	char text[4096];
	refusal_text(result, text, sizeof text);
	if (single)
		log_warning("broker: refused (%s%s%s): %.1500s", wish->operation ? wish->operation : wish->event, wish->resource ? " " : "",
			    wish->resource ? wish->resource : "", text);
	broker_problem(r, 403, "PolicyDeny", text, attest_failures_json(result));
	return -EACCES;
}

bool broker_told_to_wait(struct http_response *r, unsigned int seconds)
{
	char text[200];
	if (!seconds)
		return false;
	snprintf(text, sizeof text, "too many requests of this address were refused or led to nothing; come again in %u s", seconds);
	broker_problem(r, 429, "TooManyRequests", text, NULL);
	if (asprintf(&r->headers, "Retry-After: %u\r\n", seconds) < 0)
		r->headers = NULL;
	return true;
}

// A TPM's endorsement key: on record as refused evidence is.
static void refuse_endorsement(struct broker *b, const struct fault *why, struct http_response *r)
{
	struct attest_result result;
	if (attest_result_init(&result)) {
		broker_problem(r, 503, "Internal", "out of memory", NULL);
		return;
	}
	struct attest_check *c = attest_check_add(&result, "tpm-endorsement", false);
	attest_expected(c, "an endorsement key that is certified or listed, for a key that attests");
	attest_found(c, "%s", why->text);
	if (broker_decide(b, &(struct broker_wish){.event = "attest"}, &result, r) == -EACCES) {
		free_wiped(r->body, r->body_len);
		broker_problem(r, 403, "EndorsementRefused", why->text, NULL);
	}
	attest_result_free(&result);
}

void api_auth(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	char id[SESSION_ID_TEXT], nonce[SESSION_NONCE_TEXT];
	const struct coco_tee *tee;
	if (broker_told_to_wait(r, limits_begin(b->limits, r->peer)))
		return;
	int err = kbs_parse_auth(q->body, q->body_len, &tee, &f);
	if (!err && tee->simulated && !verifier_accepts_simulated(&b->verifier))
		err = fault_set(&f, -EPROTONOSUPPORT, "simulated hardware is not accepted here; supported: %s", coco_tee_names());
	if (err) {
		broker_problem(r, 400, err == -EPROTONOSUPPORT ? "NotSupported" : "BadRequest", f.text, NULL);
		return;
	}
	err = session_begin(b->sessions, tee, id, nonce, &f);
	if (err) {
		broker_fault(r, db_worth_retrying(err) ? err : -EBUSY, &f);
		return;
	}
	json_t *challenge = NULL;
	err = tee->kind == EVIDENCE_TPM ? tpm_activation_challenge(&b->verifier, b->activation_key, q->body, q->body_len, id, nonce, time(NULL), &challenge, &f) : 0;
	if (err == -EACCES) {
		refuse_endorsement(b, &f, r);
		return;
	}
	if (err) {
		broker_problem(r, err == -EINVAL ? 400 : 503, err == -EINVAL ? "BadRequest" : "Internal", f.text, NULL);
		return;
	}
	snprintf(r->set_cookie, sizeof r->set_cookie, SESSION_COOKIE "=%s; Path=/kbs; Max-Age=%d; Secure; HttpOnly; "
		 "SameSite=Strict", id, SESSION_SECONDS);
	broker_reply(r, 200, json_pack("{s:s, s:{s:s, s:b, s:o*}}", "nonce", nonce, "extra-params", "selected-hash-algorithm",
				       "sha384", "coffer-statement", 1, "tpm", challenge));
}

static bool session_id(const struct http_request *q, struct http_response *r, char id[SESSION_ID_TEXT])
{
	if (http_cookie(q->head->cookie, SESSION_COOKIE, id, SESSION_ID_TEXT))
		return true;
	broker_problem(r, 401, "SessionMissing", "no session: begin with POST /kbs/v0/auth and send its cookie back",
		       NULL);
	return false;
}

static void check_nonce(const struct kbs_attest *a, const char *nonce, struct attest_result *result)
{
	if (!a->nonce[0])
		return;
	struct attest_check *c = attest_check_add(result, "nonce", !strcmp(a->nonce, nonce));
	attest_expected(c, "%s", nonce);
	attest_found(c, "%s", a->nonce);
}

// Which version of the policy decides, where it is one of those in the database.
static void note_version(const struct broker *b, json_t *claims)
{
	if (b->verifier.policy_version)
		json_object_set_new(claims, "policy_version", json_integer(b->verifier.policy_version));
	else
		json_object_del(claims, "policy_version");
}

static void verify(struct broker *b, const struct coco_tee *tee, struct kbs_attest *a, const char *id, const char *nonce, struct attest_result *result)
{
	uint8_t report_data[64], device_data[64] = {0};	// devices are bound to the first half of theirs, which cannot cover themselves
	bool devices = json_object_get(a->evidence.json, "device_evidence_list");
	check_nonce(a, nonce, result);
	if (attest_report_data(nonce, a->tee_pubkey, a->additional, report_data) ||
	    (devices && attest_report_data(nonce, a->tee_pubkey, NULL, device_data))) {
		struct attest_check *c = attest_check_add(result, "report-data", false);
		attest_expected(c, "a tee-pubkey of plain text members");
		attest_found(c, "something else");
		return;
	}
	tpm_activation_check(b->activation_key, id, nonce, &a->evidence, result);
	verifier_verify(&b->verifier, tee, &a->evidence, report_data, device_data, time(NULL), result);
	note_version(b, result->claims);
	if (a->anchor[0])
		json_object_set_new(result->claims, "coffer", json_pack("{s:s}", "anchor", a->anchor));
}

// A token is letters, digits, '-', '_' and '.': it needs no look at each character.
static void reply_token(struct http_response *r, const char *token)
{
	int n = asprintf(&r->body, "{\"token\":\"%s\"}", token);
	r->status = n < 0 ? 500 : 200;
	r->body_len = n < 0 ? 0 : (size_t)n;
	if (n < 0)
		r->body = NULL;
}

void api_attest(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	char id[SESSION_ID_TEXT], nonce[SESSION_NONCE_TEXT], *token = NULL, *claims = NULL;
	const struct coco_tee *tee;
	struct kbs_attest a;
	struct attest_result result;
	char thumbprint[JWK_THUMBPRINT];
	if (broker_told_to_wait(r, limits_ask(b->limits, r->peer)) || !session_id(q, r, id))
		return;
	// The nonce is spent here, before anything is looked at: each one gets one try.
	int err = session_take_nonce(b->sessions, id, nonce, &tee, &f);
	if (err && err != -EALREADY && err != -ENOENT) {
		broker_fault(r, err, &f);
		return;
	}
	if (err) {
		broker_problem(r, 401, err == -EALREADY ? "NonceUsed" : "SessionUnknown",
			       err == -EALREADY
				       ? "this session's nonce was used already: each nonce serves one attestation"
				       : "the session is unknown or has expired: begin anew with POST /kbs/v0/auth",
			       NULL);
		return;
	}
	if (kbs_parse_attest(q->body, q->body_len, tee, &a, &f)) {
		broker_problem(r, 400, "BadRequest", f.text, NULL);
		return;
	}
	if (attest_result_init(&result)) {
		kbs_attest_free(&a);
		broker_problem(r, 503, "Internal", "out of memory", NULL);
		return;
	}
	verify(b, tee, &a, id, nonce, &result);
	// What was measured, by role, stays; the hundreds of events do not: claims are kept for each session and go into tokens.
	json_object_del(json_object_get(result.claims, "event_log"), "events");
	jwk_thumbprint(a.tee_pubkey, thumbprint);
	json_object_set_new(result.claims, "key_thumbprint", json_string(thumbprint));
	if (broker_decide(b, &(struct broker_wish){.event = "attest"}, &result, r))
		goto out;
	struct signer signer;
	if ((claims = json_dumps(result.claims, JSON_COMPACT)) && !signers_current(b->signers, SIGNER_TOKEN, &signer, &f)) {
		token = ear_token(&signer, b->issuer, &result, claims, a.tee_pubkey, time(NULL));
		EVP_PKEY_free(signer.key);
	}
	err = token ? session_attested(b->sessions, id, result.claims, claims, a.key, &f) : -ENOMEM;
	if (err && err != -ENOMEM && err != -ENOENT) {
		broker_fault(r, err, &f);
		goto out;
	}
	if (err) {
		broker_problem(r, 503, "Internal", "the session ended meanwhile or memory is short", NULL);
		goto out;
	}
	a.key = NULL;	// the session's now
	reply_token(r, token);
out:
	free(token);
	free(claims);
	attest_result_free(&result);
	kbs_attest_free(&a);
}

// Which policy decided, for the log: a digest over all of it, in a fixed order.
static json_t *policy_digest(const struct attest_policy *p, const char *file)
{
	uint8_t digest[32];
	char hex[65];
	json_t *o = json_array();
	for (unsigned int i = 0; i < p->measurement_count; i++)
		json_array_append_new(o, json_string(p->measurements[i]));
	for (unsigned int i = 0; p->anchors && p->anchors[i]; i++)
		json_array_append_new(o, json_string(p->anchors[i]));
	json_array_append_new(o, json_string(file));
	char *text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!text)
		return NULL;
	sha_256(text, strlen(text), digest);
	free(text);
	return json_string(hex_encode(hex, digest, sizeof digest));
}

// "10.0.0.7" of "10.0.0.7:4711", "::1" of "[::1]:4711"; IPv4 on a socket of both is IPv4.
static const char *address_of(const char *peer, char out[64])
{
	const char *from = *peer == '[' ? peer + 1 : peer;
	if (!strncmp(from, "::ffff:", 7) && strchr(from, '.'))
		from += 7;
	snprintf(out, 64, "%.*s", (int)strcspn(from, *peer == '[' ? "]" : ":"), from);
	return out;
}

// A header of another scheme is no token: who sends one is known by his cookie.
static bool bears_token(const struct http_request *q)
{
	return !strncmp(q->head->authorization, "Bearer ", 7);
}

// How the caller showed who it is: a certificate without a session says nothing about when its evidence was made.
static const char *shown_by(const struct http_request *q)
{
	char id[SESSION_ID_TEXT];
	return bears_token(q) ? "token" : http_cookie(q->head->cookie, SESSION_COOKIE, id, sizeof id) ? "cookie" : "certificate";
}

bool broker_token_will_do(const struct http_request *q, struct http_response *r)
{
	if (!bears_token(q))
		return true;
	broker_problem(r, 403, "TokenNotEnough", "a token may have been passed on, and this is not encrypted to the enclave's key: ask with the session's cookie, "
		       "or with a certificate that carries evidence", NULL);
	return false;
}

// What the rules say, where there are some: they alone decide, and may ask what the owner allows. *approved_by: whose approvals counted, where some
// are asked for; NULL or the caller's.
static json_t *ask_rules(struct broker *b, const struct broker_wish *wish, const json_t *claims, const struct attest_policy *owner,
			 const struct http_request *q, const char *peer, json_t **approved_by)
{
	const char *measurement = json_string_value(json_object_get(claims, "measurement"));
	bool listed = false;
	for (unsigned int i = 0; measurement && i < owner->measurement_count; i++)
		listed |= !strcmp(owner->measurements[i], measurement);
	char address[64];
	json_t *caller = json_pack("{s:s, s:s, s:s}", "address", address_of(peer, address), "session", shown_by(q), "operation",
				   wish->operation);
	const struct approval a = {APPROVAL_RELEASE, wish->resource, measurement ? measurement : ""};
	struct fault f = {""};
	char id[APPROVAL_ID], by[APPROVAL_BY];
	json_t *approvals = NULL;
	approval_id(&a, id);
	if (measurement && rules_ask_approvals(b->verifier.policy->json) && approvals_valid(b, &a, &approvals, &f)) {
		log_alarm("broker: approvals: %s", f.text);	// and so none is known
		approvals = NULL;
	}
	const struct rules_input in = {.claims = claims, .resource = wish->resource, .caller = caller, .owner_known = true, .owner_allows = listed,
				       .approvals = approvals, .approval_id = id, .references = b->verifier.references, .now = time(NULL)};
	json_t *decision = rules_decide(b->verifier.policy->json, &in);
	int err = 0;
	if (approvals && rules_wait_for_approval(b->verifier.policy->json, &in))
		err = approvals_ask(b, &a, approval_by_enclave(address, by), &f);
	if (err == -EDQUOT)	// which who asks brings about
		log_warning("broker: approvals: %s", f.text);
	else if (err)
		log_alarm("broker: approvals: %s", f.text);
	if (approvals && rules_allowed(decision))
		*approved_by = rules_approvers(b->verifier.policy->json, approvals);
	json_decref(approvals);
	json_decref(caller);
	return decision;
}

// What the measurement's policy says about this resource; the platform was appraised when the session attested, but
// the policy there may have become stricter since, so both are looked at.
int broker_appraise(struct broker *b, const struct broker_wish *wish, json_t *claims, const struct http_request *q, struct http_response *r)
{
	struct fault f = {""};
	struct attest_result result = {.claims = claims};
	char(*list)[ATTEST_MEASUREMENT_HEX];
	struct attest_policy policy = {.anchors = b->anchors};
	json_t *rules = NULL, *approved_by = NULL;
	int err = store_allowed(b->store, wish->resource, &list, &policy.measurement_count, &f);
	if (err) {
		broker_fault(r, err, &f);
		return err;
	}
	policy.measurements = (const char (*)[ATTEST_MEASUREMENT_HEX])list;
	verifier_appraise(&b->verifier, &result);
	if (!verifier_has_rules(&b->verifier)) {
		attest_appraise_measurement(&policy, &result);
	} else {
		rules = ask_rules(b, wish, claims, &policy, q, r->peer, &approved_by);
		if (!rules)
			err = fault_set(&f, -ENOMEM, "out of memory");
		else
			rules_explain(rules, &result);
	}
	attest_appraise_anchor(&policy, &result);
	json_object_set_new(claims, "policy_digest", policy_digest(&policy, b->verifier.digest));
	note_version(b, claims);
	free(list);
	if (err)
		broker_fault(r, err, &f);
	else
		err = broker_decide(b, &(struct broker_wish){wish->event, wish->resource, wish->operation, wish->version, approved_by}, &result, r);
	json_decref(approved_by);
	json_decref(rules);	// its names are those of checks
	return err;
}

// Who asks: an attested session (cookie), the bearer of a token that this broker gave, or who has the key of a certificate with evidence in
// it. Answers when it is none of them.
static int asker(struct broker *b, const struct http_request *q, struct http_response *r, json_t **claims,
		 EVP_PKEY **key)
{
	struct fault f = {""};
	char id[SESSION_ID_TEXT];
	int err;
	if (bears_token(q)) {
		err = ear_open(token_find, b, q->head->authorization + 7, time(NULL), NULL, claims, key);
		if (err)
			broker_problem(r, 401, "TokenRefused", err == -ESTALE ? "the token has expired: attest anew" :
				       "this broker did not give this token", NULL);
		return err;
	}
	bool has_session = http_cookie(q->head->cookie, SESSION_COOKIE, id, sizeof id), certified = q->certificate && ratls_cert_carries(q->certificate);
	if (!has_session && certified)
		return ratls_ask_by_age(b, q, r, claims, key);
	if (!session_id(q, r, id))
		return -EACCES;
	err = session_get(b->sessions, id, claims, key, &f);
	if (err && err != -EACCES && err != -ENOENT) {
		broker_fault(r, err, &f);
		return err;
	}
	if (err == -EACCES && certified)
		return ratls_ask(b, id, q, r, claims, key);
	if (err)
		broker_problem(r, 401, err == -EACCES ? "NotAttested" : "SessionUnknown",
			       err == -EACCES
				       ? "this session has not attested: POST /kbs/v0/attest first"
				       : "the session is unknown or has expired: begin anew with POST /kbs/v0/auth",
			       NULL);
	return err;
}

int broker_asker(struct broker *b, const struct http_request *q, struct http_response *r, bool *owner, json_t **claims,
		 EVP_PKEY **key)
{
	*owner = r->caller->kind != CALLER_NOBODY;
	return *owner ? 0 : asker(b, q, r, claims, key);
}

// Those that no enclave asks for.
static bool is_for_people(const struct route *t)
{
	return t->permission != PERMIT_ANYBODY && t->permission != PERMIT_ATTESTED;
}

// Somebody who may not was told so. Who is told too often hears nothing more; who may is never kept out by that.
static void refused_caller(struct broker *b, struct http_response *r)
{
	unsigned int wait = limits_ask(b->limits, r->peer);
	if (!wait) {
		limits_refused(b->limits, r->peer, REFUSED_CALLER);
		return;
	}
	free(r->body);
	r->body = NULL;
	free(r->headers);
	broker_told_to_wait(r, wait);
}

static void handle(struct broker *b, const struct route *t, bool other, const struct http_request *q, struct http_response *r)
{
	if (!t) {
		if (other)
			broker_problem(r, 405, "MethodNotAllowed", "this is not done with that method", NULL);
		else
			broker_problem(r, 404, "NotFound", "there is nothing here", NULL);
		return;
	}
	const char *rest = q->head->path + strlen(t->path);
	if (t->resource && !kbs_resource_valid(rest)) {
		broker_problem(r, 404, "ResourceNotFound", "a resource is named repository/type/tag", NULL);
		return;
	}
	struct caller caller = {.kind = CALLER_NOBODY};
	r->caller = &caller;
	if ((t->permission == PERMIT_ANYBODY || identify(b, q, r, &caller)) && broker_permits(r, t->permission, t->resource ? rest : NULL))
		t->handle(b, rest, q, r);
	if (is_for_people(t) && (r->status == 401 || r->status == 403))
		refused_caller(b, r);
	else if (r->status == 401)
		limits_unknown(b->limits, r->peer);
	json_decref(caller.approved_by);
	r->caller = NULL;
}

void broker_handle(void *ctx, const struct http_request *q, struct http_response *r)
{
	struct broker *b = ctx;
	struct timespec begun, ended;
	bool other;
	metric_begun();
	clock_gettime(CLOCK_MONOTONIC, &begun);
	const struct route *t = route_find(q->head->method, q->head->path, &other);
	if (t && (t->permission == PERMIT_ATTESTED || t->permission == PERMIT_POLICY_READ))
		policies_follow(b);
	bool locked = !t || t->handle != ops_live;	// which says that the process lives, whatever else waits
	if (locked)
		pthread_rwlock_rdlock(&b->verifier_lock);
	blocks_begin();
	handle(b, t, other, q, r);
	blocks_end();
	if (locked)
		pthread_rwlock_unlock(&b->verifier_lock);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	metric_request(t ? (int)(t - routes) : -1, r->status, (ended.tv_sec - begun.tv_sec) * 1000000 + (ended.tv_nsec - begun.tv_nsec) / 1000);
}
