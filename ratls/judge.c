// SPDX-License-Identifier: Apache-2.0
// See judge.h. Whatever is not proved is refused: a certificate without evidence, evidence that nothing binds to this key, a token by nobody known.
#include "ratls/judge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/collateral.h"
#include "attest/cert.h"
#include "attest/ear.h"
#include "attest/policy_file.h"
#include "attest/rules.h"
#include "attest/slice.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "ratls/cache.h"
#include "ratls/certificate.h"

#define CACHE_SECONDS 60
#define VERDICT_SECONDS (30 * 86400)	// of what nothing else bounds
#define MAX_TOKEN (64u << 10)

struct judge {
	struct policy_file *policy;
	struct collateral_store *store;		// NULL: none
	struct cert_list tpm_roots, simulated_roots;
	json_t *token_keys;			// NULL: tokens are not believed
	char *peer_token_file;
	struct verdict_cache *cache;		// NULL: none
	unsigned int cache_s;
	time_t at;
};

static int read_roots(const char *path, struct cert_list *out, struct fault *f)
{
	struct fault why = {""};
	char *pem;
	size_t len;
	int err = path ? file_read(path, 1 << 20, &pem, &len, f) : 0;
	if (!path || err)
		return err;
	err = cert_list_add(out, pem, len, &why);
	free(pem);
	return err ? fault_set(f, err, "%s: %s", path, why.text) : 0;
}

static int read_policy(struct judge *j, const struct ratls_options *o, struct fault *f)
{
	struct policy_file *p = j->policy;
	int err = policy_file_read(o->policy_file, p, f);
	if (err)
		return err;
	if (rules_any(p->json))
		return fault_set(f, -EINVAL, "%s has rules, which are about a broker's resources", o->policy_file);
	for (size_t i = 0; o->measurements && o->measurements[i]; i++) {
		size_t len = strlen(o->measurements[i]);
		if ((len != 64 && len != 96) || strspn(o->measurements[i], "0123456789abcdef") != len)
			return fault_set(f, -EINVAL,
					 "'%s' is no measurement: 96 lower-case hexadecimal digits (64 for SGX), as `coffer measure` prints them", o->measurements[i]);
		if (p->policy.measurement_count == POLICY_LIST_MAX)
			return fault_set(f, -E2BIG, "more than %d measurements", POLICY_LIST_MAX);
		strcpy(p->measurements[p->policy.measurement_count++], o->measurements[i]);
		p->policy.measurements = (const char (*)[ATTEST_MEASUREMENT_HEX])p->measurements;
		p->measured = true;
	}
	if (!p->measured && !o->any_measurement)
		return fault_set(f, -EINVAL, "which enclaves are meant? Name measurements, a policy that names some, or any_measurement");
	p->policy.insecure_accept_simulated |= o->insecure_simulated_root != NULL;
	p->policy.insecure_accept_debug |= o->insecure_accept_debug;
	return 0;
}

static int read_keys(struct judge *j, const char *path, struct fault *f)
{
	char *text;
	size_t len;
	int err = path ? file_read(path, 1 << 20, &text, &len, f) : 0;
	if (!path || err)
		return err;
	j->token_keys = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	return json_array_size(json_object_get(j->token_keys, "keys")) ? 0 : fault_set(f, -EINVAL, "%s is no set of keys (JWKS)", path);
}

int judge_open(struct judge **out, const struct ratls_options *o, struct fault *f)
{
	struct judge *j = calloc(1, sizeof *j);
	int err = j && (j->policy = calloc(1, sizeof *j->policy)) ? read_policy(j, o, f) : fault_set(f, -ENOMEM, "out of memory");
	if (!err && o->collateral_dir)
		err = collateral_open(&j->store, o->collateral_dir, false, f);
	if (!err)
		err = read_roots(o->tpm_roots_file, &j->tpm_roots, f);
	if (!err)
		err = read_roots(o->insecure_simulated_root, &j->simulated_roots, f);
	if (!err)
		err = read_keys(j, o->token_keys_file, f);
	if (!err && o->peer_token_file && !j->token_keys)
		err = fault_set(f, -EINVAL, "a peer's token needs the keys of who may have signed it (token_keys_file)");
	if (!err && o->peer_token_file && !(j->peer_token_file = strdup(o->peer_token_file)))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err && !o->no_cache && !(j->cache = verdict_cache_new()))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (err) {
		judge_close(j);
		return err;
	}
	j->cache_s = o->cache_seconds ? o->cache_seconds : CACHE_SECONDS;
	j->at = (time_t)o->at;
	*out = j;
	return 0;
}

void judge_close(struct judge *j)
{
	if (!j)
		return;
	if (j->policy)
		policy_file_free(j->policy);
	free(j->policy);
	if (j->store)
		collateral_close(j->store);
	cert_list_free(&j->tpm_roots);
	cert_list_free(&j->simulated_roots);
	json_decref(j->token_keys);
	free(j->peer_token_file);
	verdict_cache_free(j->cache);
	free(j);
}

time_t judge_now(const struct judge *j)
{
	return j->at ? j->at : time(NULL);
}

// ---- verdicts ----

struct verdict *verdict_ref(struct verdict *v)
{
	__atomic_add_fetch(&v->refs, 1, __ATOMIC_RELAXED);
	return v;
}

void verdict_release(struct verdict *v)
{
	if (!v || __atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL))
		return;
	free(v->claims);
	free(v->checks);
	free(v->reason);
	free(v->short_reason);
	free(v);
}

// Lines and names of the failed checks.
static bool say_failed(const struct attest_result *r, char **lines, char **names)
{
	size_t size = 0, name_size = 0;
	FILE *l = open_memstream(lines, &size), *n = open_memstream(names, &name_size);
	const char *comma = "";
	for (unsigned int i = 0; l && n && i < r->count; i++) {
		const struct attest_check *c = &r->checks[i];
		if (c->outcome != ATTEST_FAILED)
			continue;
		fprintf(l, "%s%s: expected %s, found %s", *comma ? "\n" : "", c->id, c->expected, c->found);
		fprintf(n, "%s%s", comma, c->id);
		comma = ", ";
	}
	bool ok = l && n && !ferror(l) && !ferror(n);
	if (l)
		ok &= !fclose(l);
	if (n)
		ok &= !fclose(n);
	if (ok)
		text_printable(*names);
	return ok;
}

// Of a proof that passed each connection has a verdict of its own: what was expected and found alike is left out.
static void shorten(json_t *checks)
{
	json_t *c;
	size_t i;
	json_array_foreach(checks, i, c) {
		const char *outcome = json_string_value(json_object_get(c, "outcome"));
		if (outcome && !strcmp(outcome, "passed")) {
			json_object_del(c, "expected");
			json_object_del(c, "found");
		}
	}
}

// Takes the result's insides.
static struct verdict *conclude(const char *model, const struct attest_result *r, bool own, time_t now, time_t until)
{
	struct verdict *v = calloc(1, sizeof *v);
	json_t *checks = attest_checks_json(r);
	if (!v)
		goto fail;
	if (own && attest_passed(r))
		shorten(checks);
	*v = (struct verdict){.accepted = attest_passed(r), .model = model, .from = now, .until = until, .refs = 1,
			      .claims = json_dumps(r->claims, JSON_COMPACT | JSON_SORT_KEYS), .checks = json_dumps(checks, JSON_COMPACT)};
	json_decref(checks);
	checks = NULL;
	if (v->claims && v->checks && say_failed(r, &v->reason, &v->short_reason))
		return v;
fail:
	json_decref(checks);
	verdict_release(v);
	return NULL;
}

struct verdict *judge_ordinary(const char *model, const char *reason)
{
	struct verdict *v = calloc(1, sizeof *v);
	if (!v)
		return NULL;
	*v = (struct verdict){.accepted = !*reason, .model = model, .from = time(NULL), .refs = 1, .claims = strdup("{}"), .checks = strdup("[]"),
			      .reason = strdup(reason), .short_reason = strdup(*reason ? "certificate" : "")};
	v->until = v->from + VERDICT_SECONDS;
	if (v->claims && v->checks && v->reason && v->short_reason)
		return v;
	verdict_release(v);
	return NULL;
}

// ---- evidence and tokens ----

static void fail(struct attest_result *out, const char *id, const char *expected, const char *found)
{
	struct attest_check *c = attest_check_add(out, id, false);
	attest_expected(c, "%s", expected);
	attest_found(c, "%s", found);
}

static void sooner(time_t *until, time_t t)
{
	if (t >= 0 && t < *until)
		*until = t;
}

// A verifier's word, signed, about the key that this connection is with.
static void check_token(struct judge *j, X509 *cert, const char *token, time_t now, time_t *until, struct attest_result *out)
{
	json_t *body = NULL, *claims = NULL;
	EVP_PKEY *key = NULL;
	int err = ear_open(jws_find_in_set, j->token_keys, token, now, &body, &claims, &key);
	struct attest_check *c = attest_check_add(out, "token", !err);
	attest_expected(c, "a token that one of the known keys signed, and that has not expired");
	attest_found(c, "%s",
		!err ? "one" : err == -ESTALE ? "an expired one" : err == -ENOMEM ? "out of memory" : "one of somebody else, or none at all");
	if (!err) {
		c = attest_check_add(out, "token-key", EVP_PKEY_eq(key, X509_get0_pubkey(cert)) == 1);
		attest_expected(c, "a token about this connection's key");
		attest_found(c, c->outcome == ATTEST_PASSED ? "one" : "a token about another key");
		json_object_update(out->claims, claims);
		json_object_set_new(out->claims, "token_expires", json_integer(json_integer_value(json_object_get(body, "exp"))));
		sooner(until, (time_t)json_integer_value(json_object_get(body, "exp")));
	}
	EVP_PKEY_free(key);
	json_decref(body);
	json_decref(claims);
}

static void check_evidence(struct judge *j, X509 *cert, const struct ratls_cert *r, time_t now, time_t *until, struct attest_result *out)
{
	struct bundle b;
	struct fault why = {""};
	uint8_t data[64];
	if (bundle_init(&b)) {
		fail(out, "certificate-evidence", "memory to look at it", "none");
		return;
	}
	if (ratls_cert_bundle(r, &b, &why) || ratls_cert_report_data(cert, r, data)) {
		fail(out, "certificate-evidence", "well-formed evidence", *why.text ? why.text : "out of memory");
	} else {
		size_t len = 0;
		const uint8_t *bytes = bundle_bytes(&b, "evidence", &len);
		enum evidence_kind kind = bytes ? evidence_kind_of(bytes, len) : EVIDENCE_TPM;
		bool by_nonce = kind == EVIDENCE_TPM || kind == EVIDENCE_HCL;
		if (j->store && collateral_fill(j->store, &b, now, NULL, &why) == -ENOMEM)
			fail(out, "collateral", "memory to look at it", "none");
		const struct evidence_input in = {
			.bundle = &b, .now = now, .report_data = by_nonce ? NULL : data, .nonce = by_nonce ? data : NULL, .nonce_len = 32,
				.gpu_nonce = data,
			.simulated_roots = j->simulated_roots.certs, .simulated_root_count = j->simulated_roots.count,
			.tpm_roots = j->tpm_roots.certs, .tpm_root_count = j->tpm_roots.count,
			.tpm_keys = j->policy->tpm_keys[0] ? j->policy->tpm_keys : NULL, .cca_keys = j->policy->cca_keys,
		};
		evidence_verify(&in, out);
		// Whatever kind it is: something in it must have been compared with this key.
		const struct attest_check *bound = attest_find(out, by_nonce ? "tpm-nonce" : "report-data");
		if (!bound || bound->outcome != ATTEST_PASSED)
			fail(out, "binding", "evidence about this connection's key", "evidence that nothing binds to it");
		json_t *expires = json_object_get(out->claims, "collateral_expires");
		if (expires)
			sooner(until, slice_time(expires));
	}
	bundle_free(&b);
}

static void check_content(struct judge *j, X509 *cert, const struct ratls_cert *r, time_t now, time_t *until, const char **model,
	struct attest_result *out)
{
	if (r->form == RATLS_DICE && r->tag == RATLS_TAG_TOKEN) {
		char *token = r->evidence_len <= MAX_TOKEN && j->token_keys ? strndup((const char *)r->evidence, r->evidence_len) : NULL;
		*model = "passport";
		if (token)
			check_token(j, cert, token, now, until, out);
		else
			fail(out, "token", j->token_keys ? "a token" : "evidence: nobody's tokens are believed here (token_keys_file)", "a token");
		free(token);
	} else {
		check_evidence(j, cert, r, now, until, out);
	}
	policy_file_appraise(j->policy, out);
}

// The token came to us some other way: the certificate proves its key and no more.
static void check_handed_over(struct judge *j, X509 *cert, time_t now, time_t *until, struct attest_result *out)
{
	struct fault why = {""};
	char *token;
	size_t len;
	if (file_read(j->peer_token_file, MAX_TOKEN, &token, &len, &why)) {
		fail(out, "token", "the peer's token", why.text);
	} else {
		token[strcspn(token, " \t\r\n")] = '\0';
		check_token(j, cert, token, now, until, out);
		free(token);
	}
	policy_file_appraise(j->policy, out);
}

struct verdict *judge_kept(struct judge *j, X509 *cert)
{
	struct verdict *v = NULL;
	uint8_t *der = NULL;
	int len = j->cache ? i2d_X509(cert, &der) : 0;
	if (len > 0)
		v = verdict_cache_get(j->cache, der, (size_t)len, judge_now(j));
	OPENSSL_free(der);
	return v;
}

struct verdict *judge_certificate(struct judge *j, X509 *cert)
{
	time_t now = judge_now(j), until = now + VERDICT_SECONDS;
	const char *model = "background-check";
	struct attest_result *result = calloc(1, sizeof *result);
	struct verdict *v = NULL;
	struct fault why = {""};
	struct ratls_cert r;
	uint8_t *der = NULL;
	int len = i2d_X509(cert, &der);
	if (!result || len <= 0)
		goto out;
	if (j->cache && (v = verdict_cache_get(j->cache, der, (size_t)len, now)))
		goto out;
	if (attest_result_init(result))
		goto out;
	int err = ratls_cert_read(cert, &r, &why);
	if (!err) {
		ratls_cert_check(cert, &r, now, result);
		check_content(j, cert, &r, now, &until, &model, result);
	} else if (err == -ENODATA && j->peer_token_file) {
		model = "passport";
		check_handed_over(j, cert, now, &until, result);
	} else {
		fail(result, "certificate-evidence", "evidence about the certificate's key", why.text);
	}
	sooner(&until, cert_time(X509_get0_notAfter(cert)));
	v = conclude(model, result, false, now, until);
	attest_result_free(result);
	if (v && v->accepted && j->cache)
		verdict_cache_put(j->cache, der, (size_t)len, v, now + (time_t)j->cache_s);
out:
	free(result);
	OPENSSL_free(der);
	return v;
}

struct verdict *judge_session(struct judge *j, X509 *cert, const uint8_t *content, size_t len, const uint8_t nonce[32], const uint8_t exporter[32])
{
	time_t now = judge_now(j), until = now + VERDICT_SECONDS;
	const char *model = "background-check";
	struct attest_result *result = calloc(1, sizeof *result);
	struct verdict *v = NULL;
	struct fault why = {""};
	struct ratls_cert r;
	if (!result || attest_result_init(result)) {
		free(result);
		return NULL;
	}
	if (ratls_content_read(content, len, &r, &why)) {
		fail(result, "certificate-evidence", "evidence about the connection's key", why.text);
	} else {
		ratls_content_check(cert, &r, result);
		ratls_cert_check_nonce(&r, nonce, 32, result);
		ratls_content_check_session(&r, exporter, result);
		check_content(j, cert, &r, now, &until, &model, result);
	}
	v = conclude(model, result, true, now, until);
	attest_result_free(result);
	free(result);
	return v;
}

// ---- key configurations ----

struct signer {
	EVP_PKEY *key;
};

static int find_signer(void *ctx, const json_t *header, EVP_PKEY **key)
{
	struct signer *s = ctx;
	const char *type = json_string_value(json_object_get(header, "typ"));
	if (!type || strcmp(type, OHTTP_PROOF_TYPE))	// the key signs other things too
		return -ENOENT;
	*key = s->key;
	EVP_PKEY_up_ref(s->key);
	return 0;
}

static void check_signed(struct attest_result *out, const char *id, const json_t *body, const char *name, const void *bytes, size_t len)
{
	char want[2 * RATLS_MAX_NONCE + 1];
	const char *got = json_string_value(json_object_get(body, name));
	struct attest_check *c = attest_check_add(out, id, got && !strcmp(got, hex_encode(want, bytes, len)));
	attest_expected(c, "%s", hex_encode(want, bytes, len));
	attest_found(c, "%.128s", got ? got : "none");
}

// A token says whose key it is, and that key what it vouches for.
static void check_proof(struct judge *j, const struct judge_ohttp *q, time_t now, time_t *until, struct attest_result *out)
{
	json_t *body = NULL, *claims = NULL, *said = NULL;
	struct signer s = {NULL};
	int err = j->token_keys ? ear_open(jws_find_in_set, j->token_keys, q->token, now, &body, &claims, &s.key) : -ENOENT;
	struct attest_check *c = attest_check_add(out, "token", !err);
	attest_expected(c, j->token_keys ? "a token that one of the known keys signed, and that has not expired"
					 : "evidence: nobody's tokens are believed here (token_keys_file)");
	attest_found(c, "%s", !err ? "one" : err == -ESTALE ? "an expired one" : err == -ENOENT ? "a token" : "one of somebody else, or none at all");
	if (!err) {
		json_object_update(out->claims, claims);
		sooner(until, (time_t)json_integer_value(json_object_get(body, "exp")));
		err = jws_open(q->proof, find_signer, &s, &said);
		c = attest_check_add(out, "token-key", !err);
		attest_expected(c, "a statement about the key configurations, signed by the token's key");
		attest_found(c, err ? "one of another key, or none" : "one");
	}
	if (!err) {
		json_int_t end = json_integer_value(json_object_get(said, "exp"));
		c = attest_check_add(out, "proof-validity", end > (json_int_t)now);
		attest_expected(c, "a statement that has not expired");
		attest_found(c, c->outcome == ATTEST_PASSED ? "one" : "an expired one");
		sooner(until, (time_t)end);
		check_signed(out, "ohttp-keys", said, "ohttp-keys", q->digest, 32);
		if (q->nonce)
			check_signed(out, "nonce", said, "nonce", q->nonce, q->nonce_len);
	}
	EVP_PKEY_free(s.key);
	json_decref(said);
	json_decref(body);
	json_decref(claims);
}

static void check_vouched(struct judge *j, const struct judge_ohttp *q, time_t now, time_t *until, const char **model, struct attest_result *out)
{
	struct fault why = {""};
	struct ratls_cert r;
	X509 *holder = X509_new();	// the checks look at a certificate's key
	if (!holder || X509_set_pubkey(holder, q->key) != 1) {
		fail(out, "certificate-evidence", "memory to look at it", "none");
	} else if (ratls_content_read(q->content, q->content_len, &r, &why)) {
		fail(out, "certificate-evidence", "evidence about the key configurations", why.text);
	} else if (r.tag == RATLS_TAG_TOKEN) {
		fail(out, "certificate-evidence", "evidence about the key configurations", "a token that nothing binds to them");
	} else {
		ratls_content_check(holder, &r, out);
		ratls_content_check_ohttp(&r, q->digest, out);
		if (q->nonce)
			ratls_cert_check_nonce(&r, q->nonce, q->nonce_len, out);
		check_content(j, holder, &r, now, until, model, out);
	}
	X509_free(holder);
}

struct verdict *judge_ohttp(struct judge *j, const struct judge_ohttp *q)
{
	time_t now = judge_now(j), until = now + VERDICT_SECONDS;
	const char *model = "background-check";
	struct attest_result *result = calloc(1, sizeof *result);
	if (!result || attest_result_init(result)) {
		free(result);
		return NULL;
	}
	if (q->content) {
		check_vouched(j, q, now, &until, &model, result);
	} else {
		model = "passport";
		check_proof(j, q, now, &until, result);
		policy_file_appraise(j->policy, result);
	}
	struct verdict *v = conclude(model, result, false, now, until);
	attest_result_free(result);
	free(result);
	return v;
}
