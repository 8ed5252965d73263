// SPDX-License-Identifier: Apache-2.0
// See verifier.h.
#include "broker/verifier.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "attest/csv.h"
#include "attest/digest.h"
#include "attest/evidence.h"
#include "attest/json.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/log.h"

static int read_roots(const char *path, const char *setting, struct cert_list *out, struct fault *f)
{
	struct fault why = {""};
	char *pem;
	size_t len;
	if (!*path)
		return 0;
	int err = file_read(path, 1 << 20, &pem, &len, f);
	if (err)
		return err;
	err = cert_list_add_pem(out, pem, len, &why);
	if (err)
		fault_set(f, err, "%s: %s holds no certificates (PEM): %s", setting, path, why.text);
	free(pem);
	return err;
}

static int read_many_roots(const char *path, const char *setting, struct cert_roots *out, struct fault *f)
{
	struct fault why = {""};
	int err = *path ? cert_roots_add_file(out, path, &why) : 0;
	return err ? fault_set(f, err, "%s: %s holds no certificates (PEM): %s", setting, path, why.text) : 0;
}

static int read_crls(const char *path, const char *setting, struct cert_crls *out, struct fault *f)
{
	struct fault why = {""};
	if (!*path)
		return 0;
	int err = cert_crls_add_file(out, path, &why);
	if (err)
		return fault_set(f, err, "%s: %s holds no revocation lists (PEM or DER): %s", setting, path, why.text);
	for (unsigned int i = 0; i < out->count; i++) {
		const ASN1_TIME *next = X509_CRL_get0_nextUpdate(out->crls[i]);
		if (next && cert_time(next) <= time(NULL))
			log_warning("broker: %s: a list in %s has ended: put a newer one there, and reload", setting, path);
	}
	return 0;
}

static int read_client_ca(const char *path, X509_STORE **out, struct fault *f)
{
	struct cert_roots roots = {.count = 0};
	if (!*path)
		return 0;
	int err = read_many_roots(path, "client_ca", &roots, f);
	if (!err && !(*out = X509_STORE_new()))
		err = fault_set(f, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < roots.count && !err; i++)
		err = X509_STORE_add_cert(*out, roots.certs[i]) == 1 ? 0 : fault_set(f, -EINVAL, "client_ca: %s: OpenSSL does not take a certificate", path);
	cert_roots_free(&roots);
	return err;
}

// Beside ROOT.pem may lie ROOT.pem.hrk, a test root in Hygon's own format, which PEM cannot hold.
static int read_hrk(const char *simulated, uint8_t **out, struct fault *f)
{
	char path[PATH_MAX + 8], *bytes;
	size_t len;
	snprintf(path, sizeof path, "%s.hrk", simulated);
	int err = *simulated ? file_read(path, 64 << 10, &bytes, &len, f) : -ENOENT;
	if (err)
		return err == -ENOENT ? 0 : err;
	*out = (uint8_t *)bytes;
	return len == CSV_ROOT_BYTES ? 0 : fault_set(f, -EINVAL, "insecure_accept_simulated: %s is no root certificate of CSV", path);
}

static int digest_policy(struct verifier *v, struct fault *f)
{
	uint8_t digest[32];
	char *text = v->policy->json ? json_dumps(v->policy->json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	if (v->policy->json && (!text || EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL) != 1))
		return fault_set(f, -ENOMEM, "out of memory");
	if (text)
		hex_encode(v->digest, digest, sizeof digest);
	free(text);
	return 0;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);
	return n > k && !strcmp(s + n - k, end);
}

// An older version of a document than one that was used here is refused: it may lack the revocation that the newer one has.
static int remember_versions(const char *file, const struct refval_set *set, struct fault *f)
{
	json_t *seen = NULL;
	int err = refval_seen_read(file, &seen, f);
	json_t *before = err ? NULL : json_deep_copy(seen);
	for (unsigned int i = 0; i < set->count && !err; i++)
		err = refval_seen(seen, &set->docs[i], f);
	if (!err && !json_equal(before, seen))
		err = refval_seen_write(file, seen, f);
	json_decref(before);
	json_decref(seen);
	return err;
}

// NAME.pem: who may have signed; NAME.json: what they did. All must be good: a document that is left out may be the one that revokes.
static int read_references(const char *dir, struct refval_set **out, struct fault *f)
{
	struct dsse_key keys[REFVAL_MAX_DOCS];
	struct dirent **names = NULL;
	struct fault why = {""};
	unsigned int count = 0;
	char path[PATH_MAX], *text;
	size_t len;
	int err = 0, n = *dir ? scandir(dir, &names, NULL, alphasort) : 0;
	if (n < 0)
		return fault_errno(f, errno, "cannot read %s", dir);
	if (*dir && !(*out = calloc(1, sizeof **out)))
		err = -ENOMEM;
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < n && !err; i++) {
			if (!ends_with(names[i]->d_name, pass ? ".json" : ".pem"))
				continue;
			snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
			err = file_read(path, DSSE_MAX_BYTES, &text, &len, &why);
			if (err)
				break;
			err = pass ? refval_add(*out, text, len, keys, count, time(NULL), &why)
				   : count == REFVAL_MAX_DOCS ? -E2BIG : dsse_public_key(text, len, &keys[count], &why);
			count += !pass && !err;
			free(text);
		}
	}
	if (err)
		fault_set(f, err, "references: %s: %s", path, err == -E2BIG && !*why.text ? "too many keys" : why.text);
	while (count)
		dsse_key_free(&keys[--count]);
	while (n > 0)
		free(names[--n]);
	free(names);
	return err;
}

int verifier_open(struct verifier *v, const struct verifier_settings *s, struct fault *f)
{
	memset(v, 0, sizeof *v);
	v->policy = calloc(1, sizeof *v->policy);
	if (!v->policy)
		return fault_set(f, -ENOMEM, "out of memory");
	const char *name = s->policy_text ? "the policy" : s->policy;
	v->policy_version = s->policy_text ? s->policy_version : 0;
	int err = s->policy_text ? policy_file_parse(s->policy_text, s->policy_len, v->policy, f) : policy_file_read(*s->policy ? s->policy : NULL, v->policy, f);
	if (!err && *name && !json_object_size(v->policy->json))
		err = fault_set(f, -EINVAL, "%s is empty: whoever wants to allow all real hardware names no policy", name);
	if (!err && *s->collateral)
		err = collateral_open(&v->store, s->collateral, false, f);
	if (!err && v->policy->measured)
		err = fault_set(f, -EINVAL, "%s: measurements are allowed for each resource (coffer policy allow), not for the platform",
				name);
	if (!err)
		err = digest_policy(v, f);
	if (!err)
		err = read_many_roots(s->tpm_roots, "tpm_roots", &v->tpm_roots, f);
	if (!err)
		err = read_crls(s->tpm_crl, "tpm_crl", &v->tpm_revocation.lists, f);
	if (!err)
		err = read_client_ca(s->client_ca, &v->client_ca, f);
	if (!err)
		err = read_crls(s->client_crl, "client_ca_crl", &v->client_revocation.lists, f);
	if (!err && ((*s->tpm_crl && !*s->tpm_roots) || (*s->client_crl && !*s->client_ca)))
		err = fault_set(f, -EINVAL, "%s, without %s", *s->tpm_crl && !*s->tpm_roots ? "tpm_crl" : "client_ca_crl", *s->tpm_crl && !*s->tpm_roots ?
				"tpm_roots: the lists are of what stands under these roots" : "client_ca: the lists are of what stands under it");
	v->tpm_revocation.accept_expired = v->client_revocation.accept_expired = s->accept_expired_crl;
	if (!err)
		err = read_roots(s->gpu_roots, "gpu_roots", &v->gpu_roots, f);
	if (!err)
		err = read_roots(s->simulated, "insecure_accept_simulated", &v->simulated_roots, f);
	if (!err)
		err = read_hrk(s->simulated, &v->simulated_hrk, f);
	if (!err)
		err = read_references(s->references, &v->references, f);
	if (!err && v->references && s->references_seen)
		err = remember_versions(s->references_seen, v->references, f);
	// The command line and broker.yaml say what is insecure, and so does the broker at its start: a policy file alone is too quiet.
	struct attest_policy *p = &v->policy->policy;
	if (!err && ((p->insecure_accept_simulated && !*s->simulated) || (p->insecure_accept_debug && !s->accept_debug)))
		err = fault_set(f, -EINVAL, "%s: simulated hardware and debugging are accepted in broker.yaml only", name);
	p->insecure_accept_simulated = *s->simulated;
	p->insecure_accept_debug = s->accept_debug;
	return err;
}

void verifier_close(struct verifier *v)
{
	if (v->policy)
		policy_file_free(v->policy);
	free(v->policy);
	cert_roots_free(&v->tpm_roots);
	cert_list_free(&v->gpu_roots);
	cert_crls_free(&v->tpm_revocation.lists);
	cert_crls_free(&v->client_revocation.lists);
	X509_STORE_free(v->client_ca);
	cert_list_free(&v->simulated_roots);
	free(v->simulated_hrk);
	if (v->references)
		refval_set_free(v->references);
	free(v->references);
	if (v->store)
		collateral_close(v->store);
	memset(v, 0, sizeof *v);
}

// The file that the operator named after this kind of hardware, for what no maker's service answers: a bundle without evidence. What is in
// it counts before what was sent.
static int add_file(const char *dir, const char *name, struct bundle *b, struct fault *f)
{
	char path[PATH_MAX], *text;
	struct bundle file;
	size_t len;
	if (snprintf(path, sizeof path, "%s/own/%s.json", dir, name) >= (int)sizeof path)
		return fault_set(f, -ENAMETOOLONG, "collateral: the path is too long");
	int err = file_read(path, BUNDLE_MAX_BYTES, &text, &len, f);
	if (err)
		return err == -ENOENT ? 0 : err;
	struct fault why = {""};
	err = bundle_read(&file, (uint8_t *)text, len, &why);
	free(text);
	if (err)
		return fault_set(f, err, "%s: %s", path, why.text);
	json_object_del(file.json, "evidence");
	json_object_del(file.json, "event_log");
	size_t have, more;
	const char *leaf = bundle_text(b, "certificates", &have), *authorities = bundle_text(&file, "certificates", &more);
	// A chip's certificate comes with the evidence, its authorities may be the operator's.
	char *both = leaf && authorities ? malloc(have + more + 2) : NULL;
	if (both) {
		char *p = mempcpy(mempcpy(mempcpy(both, leaf, have), "\n", 1), authorities, more);
		json_object_del(file.json, "certificates");
		bundle_put_text(b, "certificates", both, (size_t)(p - both));
		free(both);
	}
	bundle_prefer(b, &file);
	bundle_free(&file);
	return 0;
}

// What the store lacks, in words. False: nothing.
static bool lacking(const struct collateral_needs *n, char *out, size_t size)
{
	size_t len = 0;
	char about[200];
	out[0] = '\0';
	for (unsigned int i = 0; i < n->count && len < size; i++) {
		if (n->need[i].state != COLLATERAL_THERE)
			len += (size_t)snprintf(out + len, size - len, "%s%s %s", len ? ", " : "", n->need[i].state == COLLATERAL_EXPIRED ? "expired" : "missing",
						collateral_about(&n->need[i].key, about));
	}
	return len > 0;
}

// What clients send decides about these lines: ten a minute will do.
static void warn(const char *text)
{
	static atomic_long minute, said;
	long now = (long)(time(NULL) / 60);
	if (atomic_exchange(&minute, now) != now)
		said = 0;
	if (said++ < 10)
		log_warning("broker: collateral: %s", text);
}

static void add_collateral(const struct verifier *v, const struct coco_tee *tee, struct bundle *b, time_t now, struct attest_result *out)
{
	struct collateral_needs needs = {.count = 0};
	struct fault f = {""};
	char text[256];
	if (!v->store)
		return;
	int err = add_file(collateral_dir(v->store), tee->name, b, &f);
	if (!err && json_object_get(b->json, "device_evidence_list"))
		err = add_file(collateral_dir(v->store), "nvidia", b, &f);	// revocation lists (gpu_crl)
	if (err) {	// it counts before what was sent, and may be what revokes: without it nothing is known
		warn(f.text);
		attest_expected(attest_check_add(out, "collateral-own", false), "the operator's own collateral");
		attest_found(&out->checks[out->count - 1], "a file that cannot be read");
	}
	err = collateral_fill(v->store, b, now, &needs, &f);
	if (!err && lacking(&needs, text, sizeof text)) {
		// Not a refusal of its own: the checks that need it fail, or the evidence brought it.
		struct attest_check *c = attest_check_add(out, "collateral", true);
		c->outcome = ATTEST_SKIPPED;
		attest_found(c, "%s", text);
		warn(text);
	}
}

// Which evidence it was, for logs.
static void note_evidence(struct bundle *b, struct attest_result *out)
{
	uint8_t digest[32];
	size_t len;
	const uint8_t *bytes = bundle_bytes(b, "evidence", &len);
	if (bytes && EVP_Digest(bytes, len, digest, NULL, digest_of(TPM_SHA256), NULL) == 1)
		set_hex(out->claims, "evidence_digest", digest, sizeof digest);
}

void verifier_verify(const struct verifier *v, const struct coco_tee *tee, struct bundle *b, const uint8_t report_data[64],
		     const uint8_t *device_nonce, time_t now, struct attest_result *out)
{
	const struct policy_file *p = v->policy;
	add_collateral(v, tee, b, now, out);
	const struct evidence_input in = {
		.bundle = b, .now = now,
		.report_data = tee->by_nonce ? NULL : report_data, .nonce = tee->by_nonce ? report_data : NULL, .nonce_len = coco_nonce_len(b),
		.simulated_roots = v->simulated_roots.certs, .simulated_root_count = v->simulated_roots.count, .simulated_hrk = v->simulated_hrk,
		.tpm_roots = v->tpm_roots.certs, .tpm_root_count = v->tpm_roots.count, .tpm_revocation = &v->tpm_revocation,
		.gpu_roots = v->gpu_roots.certs, .gpu_root_count = v->gpu_roots.count,
		.tpm_keys = p->tpm_keys[0] ? p->tpm_keys : NULL, .cca_keys = p->cca_keys,
		.gpu_nonce = device_nonce, .tpm_activated = json_string_value(json_object_get(b->json, "tpm_activated")),
		.tpm_endorsement = json_string_value(json_object_get(json_object_get(b->json, "tpm_activation"), "ek_digest")),
	};
	enum evidence_kind kind = evidence_verify(&in, out);
	note_evidence(b, out);
	bool other = tee->hardware && !json_object_get(out->claims, tee->hardware);
	struct attest_check *c = attest_check_add(out, "evidence-kind", kind == tee->kind && !other);
	attest_expected(c, "%s, as the client calls itself %s", evidence_kind_name(tee->kind), tee->name);
	attest_found(c, "%s%s", evidence_kind_name(kind), kind == tee->kind && other ? " over other hardware" : "");
	verifier_appraise(v, out);
}

void verifier_appraise(const struct verifier *v, struct attest_result *r)
{
	policy_file_appraise(v->policy, r);
}

bool verifier_has_rules(const struct verifier *v)
{
	return rules_any(v->policy->json);
}

bool verifier_accepts_simulated(const struct verifier *v)
{
	return v->policy->policy.insecure_accept_simulated;
}
