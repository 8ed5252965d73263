// SPDX-License-Identifier: Apache-2.0
// Reference values: signed documents, what they say about claims, and the commands around them.
#include "attest/bundle.h"
#include "attest/refval.h"
#include "attest/snp.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

#define NOW 1767225600	// 2026-01-01
#define A48 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B48 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char folder[64], coffer[512];
static struct dsse_key owner, other;

static void put(json_t *body, const char *text, const char *tee, time_t from, time_t until)
{
	struct refval_new v;
	struct fault f = {""};
	char copy[256];
	snprintf(copy, sizeof copy, "%s", text);
	if (refval_parse(copy, &v, &f)) {
		printf("%s\n", f.text);
		abort();
	}
	v.tee = tee;
	v.from = from;
	v.until = until;
	if (refval_put(body, &v, &f) < 0) {
		printf("%s\n", f.text);
		abort();
	}
	json_decref(v.value);
}

static char *sign(json_t *body)
{
	struct fault f = {""};
	char *text;
	if (refval_sign(body, &owner, NOW, &text, &f)) {
		printf("%s\n", f.text);
		abort();
	}
	return text;
}

static void test_signature(void)
{
	static const char *const kinds[] = {"P-256", "P-384", "ED25519"};
	struct refval_doc d;
	struct fault f = {""};
	for (int i = 0; i < 3; i++) {
		char label[64], *text = NULL;
		struct dsse_key k;
		EVP_PKEY *raw = i == 2 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : jwk_new_key(kinds[i]);
		json_t *body = refval_body("web", NOW, NOW + 1000);
		int err = dsse_key_of(raw, &k, &f);
		put(body, "measurement=" A48, NULL, -1, -1);
		if (!err)
			err = refval_sign(body, &k, NOW, &text, &f);
		if (!err)
			err = refval_open(text, strlen(text), &k, 1, &d, &f);
		snprintf(label, sizeof label, "reference: signed and read, %s", kinds[i]);
		if (ok(label, !err && d.version == 1 && d.count == 1 && !strcmp(d.signer, k.id), "%d %s", err, f.text))
			refval_close(&d);
		snprintf(label, sizeof label, "reference: signed by somebody else, %s", kinds[i]);
		ok(label, refval_open(text, strlen(text), &other, 1, &d, &f) == -EBADMSG, "%s", f.text);
		free(text);
		json_decref(body);
		dsse_key_free(&k);
	}
	EVP_PKEY *rsa = EVP_RSA_gen(2048);
	struct dsse_key k;
	ok("reference: no keys of other kinds", dsse_key_of(rsa, &k, &f) == -EINVAL, "taken");

	json_t *body = refval_body("web", NOW, NOW + 1000);
	put(body, "measurement=" A48, NULL, -1, -1);
	char *text = sign(body);
	json_t *o = json_loads(text, 0, NULL), *bare = json_deep_copy(o);
	json_object_set_new(bare, "signatures", json_array());
	char *unsigned_text = json_dumps(bare, 0);
	ok("reference: unsigned", refval_open(unsigned_text, strlen(unsigned_text), &owner, 1, &d, &f) == -EBADMSG && strstr(f.text, "not signed"), "%s", f.text);
	ok("reference: no key", refval_open(text, strlen(text), NULL, 0, &d, &f) == -EBADMSG, "%s", f.text);
	const char *plain = json_dumps(body, 0);
	ok("reference: the bare body", refval_open(plain, strlen(plain), &owner, 1, &d, &f) == -EINVAL, "%s", f.text);
	free((char *)plain);

	// Every bit of the payload is covered, and so is its type.
	const char *payload = json_string_value(json_object_get(o, "payload"));
	size_t len = strlen(payload), wrong = 0;
	char *bytes = malloc(len), *again = malloc(BASE64_SIZE(len));
	ssize_t n = base64_decode(bytes, len, payload, len, BASE64_STD);
	for (ssize_t i = 0; i < n; i++) {
		bytes[i] ^= (char)(1 << i % 8);
		base64_encode(again, bytes, (size_t)n, BASE64_STD);
		json_object_set_new(bare, "payload", json_string(again));
		json_object_set(bare, "signatures", json_object_get(o, "signatures"));
		char *t = json_dumps(bare, 0);
		wrong += refval_open(t, strlen(t), &owner, 1, &d, &f) != -EBADMSG;
		free(t);
		bytes[i] ^= (char)(1 << i % 8);
	}
	ok("reference: any changed byte", n > 100 && !wrong, "%zu of %zd were not noticed", wrong, n);
	char *url = malloc(BASE64_SIZE(len));
	base64_encode(url, bytes, (size_t)n, BASE64_URL);
	json_object_set_new(bare, "payload", json_string(url));
	char *t = json_dumps(bare, 0);
	int err = refval_open(t, strlen(t), &owner, 1, &d, &f);
	if (ok("reference: URL-safe base64", !err, "%s", f.text))
		refval_close(&d);
	free(t);
	json_object_set_new(bare, "payloadType", json_string("application/vnd.in-toto+json"));
	t = json_dumps(bare, 0);
	ok("reference: another type", refval_open(t, strlen(t), &owner, 1, &d, &f) == -EINVAL, "%s", f.text);
	free(t);
	free(url);
	free(again);
	free(bytes);
	free(unsigned_text);
	free(text);
	json_decref(bare);
	json_decref(o);
	json_decref(body);
}

// Another implementation's word for the signature: openssl(1) over the bytes that DSSE 1.0 says.
static void test_openssl(void)
{
	char path[128], line[512], *payload;
	struct fault f = {""};
	json_t *body = refval_body("web", NOW, NOW + 1000);
	char *text = sign(body);
	json_t *o = json_loads(text, 0, NULL);
	const char *b64 = json_string_value(json_object_get(o, "payload"));
	const char *sig64 = json_string_value(json_object_get(json_array_get(json_object_get(o, "signatures"), 0), "sig"));
	payload = malloc(strlen(b64));
	uint8_t sig[256];
	ssize_t n = base64_decode(payload, strlen(b64), b64, strlen(b64), BASE64_STD);
	ssize_t m = base64_decode(sig, sizeof sig, sig64, strlen(sig64), BASE64_STD);
	snprintf(path, sizeof path, "%s/pae", folder);
	FILE *p = fopen(path, "w");
	fprintf(p, "DSSEv1 44 %s %zd ", REFVAL_TYPE, n);
	fwrite(payload, 1, (size_t)n, p);
	fclose(p);
	snprintf(path, sizeof path, "%s/sig", folder);
	if (file_write(path, sig, (size_t)m, 0600, false, &f))
		abort();
	snprintf(path, sizeof path, "%s/pub.pem", folder);
	p = fopen(path, "w");
	PEM_write_PUBKEY(p, owner.key);
	fclose(p);
	snprintf(line, sizeof line, "openssl dgst -sha256 -verify %s/pub.pem -signature %s/sig %s/pae >/dev/null 2>&1", folder, folder, folder);
	ok("reference: openssl verifies the signature", strlen(REFVAL_TYPE) == 44 && system(line) == 0, "it does not; the type has %zu", strlen(REFVAL_TYPE));
	free(payload);
	free(text);
	json_decref(o);
	json_decref(body);
}

static void refused(const char *name, const char *member, json_t *value, const char *why)
{
	struct fault f = {""};
	struct refval_doc d;
	json_t *body = refval_body("web", NOW, NOW + 1000);
	char *text = NULL, *sealed, label[96];
	put(body, "measurement=" A48, NULL, -1, -1);
	json_object_set_new(body, "version", json_integer(3));
	const char *dot = strchr(member, '.');
	if (dot)
		json_object_set_new(json_array_get(json_object_get(body, "values"), 0), dot + 1, value);
	else
		json_object_set_new(body, member, value);
	text = json_dumps(body, 0);
	if (dsse_seal(REFVAL_TYPE, text, strlen(text), &owner, &sealed, &f))
		abort();
	int err = refval_open(sealed, strlen(sealed), &owner, 1, &d, &f);
	snprintf(label, sizeof label, "reference: no document: %s", name);
	ok(label, err == -EINVAL && strstr(f.text, why), "%d %s", err, f.text);
	if (!err)
		refval_close(&d);
	free(sealed);
	free(text);
	json_decref(body);
}

static void test_malformed(void)
{
	refused("another format", "format", json_string("coffer-reference-9"), "not a document");
	refused("no version", "version", json_integer(0), "version");
	refused("a version that is text", "version", json_string("1"), "version");
	refused("a version beyond what JSON can tell apart", "version", json_integer((json_int_t)1 << 60), "version");
	refused("an end before its beginning", "not_after", json_string("2020-01-01T00:00:00Z"), "until when");
	refused("no end", "not_after", json_null(), "until when");
	refused("an unknown member", "expires", json_string("never"), "expires");
	refused("values that are no list", "values", json_object(), "list");
	refused("a name with spaces", "name", json_string("a b"), "name");
	refused("a name that commands terminals", "name", json_string("\033[2J"), "name");
	refused("a value's unknown member", "values.valid", json_true(), "valid");
	refused("a value that is a list", "values.value", json_array(), "neither");
	refused("a value and a minimum", "values.minimum", json_integer(1), "a value, or a minimum");
	refused("a mask of another length", "values.mask", json_string("ff"), "one length");
	refused("a mask in upper case", "values.mask", json_string("FF"), "lower-case");
	refused("a time that is none", "values.not_after", json_string("soon"), "time");
	refused("a revocation that is no time", "values.revoked", json_true(), "time");
	refused("a kind of hardware that there is not", "values.tee", json_string("SNP"), "no kind of hardware");
	refused("a note that is a number", "values.note", json_integer(1), "printable");
}

static enum refval_verdict ask(struct refval_set *s, const char *name, const char *tee, json_t *found, struct refval_answer *a)
{
	enum refval_verdict v = refval_lookup(s, name, tee, found, NOW + 500, a);
	json_decref(found);
	return v;
}

static void test_lookup(void)
{
	struct refval_set *s = calloc(1, sizeof *s);
	struct refval_answer a;
	struct fault f = {""};
	json_t *body = refval_body("web", NOW, NOW + 1000), *value = json_string("old");
	put(body, "measurement=" A48, NULL, -1, -1);
	put(body, "measurement=" B48, NULL, -1, NOW + 100);
	put(body, "firmware=old", NULL, -1, -1);
	put(body, "firmware=new", NULL, -1, -1);
	put(body, "snp.reported_tcb.microcode>=72", NULL, -1, -1);
	put(body, "snp.reported_tcb.microcode>=70", NULL, -1, -1);
	put(body, "tdx.td_attributes=0000001000000000/00000010ffffff00", NULL, -1, -1);
	put(body, "kernel=one", "snp", -1, -1);
	put(body, "kernel=two", "tdx", -1, -1);
	put(body, "later=x", NULL, NOW + 900, -1);
	put(body, "flag=true", NULL, -1, -1);
	int err = refval_revoke(body, "firmware", value, "CVE-2026-1", NOW, &f);
	json_decref(value);
	char *text = sign(body);
	if (err == 1)
		err = refval_add(s, text, strlen(text), &owner, 1, NOW + 500, &f);
	ok("reference: a set", !err && s->count == 1, "%d %s", err, f.text);
	static const struct { const char *label, *name, *tee, *found; json_int_t number; enum refval_verdict want; const char *expected, *says; } rows[] = {
		{"the value", "measurement", NULL, A48, 0, REFVAL_GOOD, A48, A48},
		{"another", "measurement", NULL, "cc", 0, REFVAL_DIFFERS, A48, "cc"},
		{"one whose time is over", "measurement", NULL, B48, 0, REFVAL_EXPIRED, A48, "whose time is over"},
		{"one whose time has not come", "later", NULL, "x", 0, REFVAL_EXPIRED, "all are revoked or out of date", "has not come"},
		{"a revoked one", "firmware", NULL, "old", 0, REFVAL_REVOKED, "new", "revoked 2026-01-01T00:00:00Z: CVE-2026-1"},
		{"its successor", "firmware", NULL, "new", 0, REFVAL_GOOD, "new", "new"},
		{"the highest minimum", "snp.reported_tcb.microcode", NULL, NULL, 72, REFVAL_GOOD, "72 or more", "72"},
		{"below it", "snp.reported_tcb.microcode", NULL, NULL, 71, REFVAL_DIFFERS, "72 or more", "71"},
		{"text for a minimum", "snp.reported_tcb.microcode", NULL, "99", 0, REFVAL_DIFFERS, "72 or more", "99"},
		{"bits under the mask", "tdx.td_attributes", NULL, "ff00001000000042", 0, REFVAL_GOOD, "/00000010ffffff00", "ff"},
		{"a wrong bit under the mask", "tdx.td_attributes", NULL, "0000001001000000", 0, REFVAL_DIFFERS, "/", "0000001001"},
		{"masked bytes of another length", "tdx.td_attributes", NULL, "00000010", 0, REFVAL_DIFFERS, "/", "00000010"},
		{"on this hardware", "kernel", "snp", "one", 0, REFVAL_GOOD, "one", "one"},
		{"on other hardware", "kernel", "tdx", "one", 0, REFVAL_DIFFERS, "two", "one"},
		{"on hardware that nobody named", "kernel", "cca", "one", 0, REFVAL_UNKNOWN, "", "one"},
		{"a name that nobody named", "kernels", NULL, "one", 0, REFVAL_UNKNOWN, "", "one"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char label[128];
		json_t *found = rows[i].found ? json_string(rows[i].found) : json_integer(rows[i].number);
		enum refval_verdict v = ask(s, rows[i].name, rows[i].tee, found, &a);
		snprintf(label, sizeof label, "reference: %s", rows[i].label);
		ok(label, v == rows[i].want && v == a.verdict && strstr(a.expected, rows[i].expected) && strstr(a.found, rows[i].says) &&
		   (v != REFVAL_GOOD || a.doc == &s->docs[0]), "%d, expected '%s', found '%s'", v, a.expected, a.found);
	}
	json_t *late = json_string(A48), *high = json_integer(99);
	ok("reference: a document whose time ran out while it was in use", refval_lookup(s, "measurement", NULL, late, NOW + 1001, &a) == REFVAL_EXPIRED &&
	   refval_lookup(s, "snp.reported_tcb.microcode", NULL, high, NOW + 1001, &a) != REFVAL_GOOD, "%d, found '%s'", a.verdict, a.found);
	json_decref(late);
	json_decref(high);
	ok("reference: nothing found", ask(s, "measurement", NULL, NULL, &a) == REFVAL_DIFFERS && !strcmp(a.found, "none"), "%s", a.found);
	ok("reference: nothing found for a minimum", ask(s, "snp.reported_tcb.microcode", NULL, NULL, &a) == REFVAL_DIFFERS, "%s", a.found);
	ok("reference: truth", ask(s, "flag", NULL, json_true(), &a) == REFVAL_GOOD && ask(s, "flag", NULL, json_false(), &a) == REFVAL_DIFFERS, "%s", a.found);
	ok("reference: each of a list", ask(s, "firmware", NULL, json_pack("[s,s]", "new", "new"), &a) == REFVAL_GOOD &&
	   ask(s, "firmware", NULL, json_pack("[s,s]", "new", "evil"), &a) == REFVAL_DIFFERS && ask(s, "firmware", NULL, json_array(), &a) == REFVAL_DIFFERS, "%s",
	   a.found);

	// What another document revokes is revoked.
	json_t *second = refval_body("incidents", NOW, NOW + 1000);
	put(second, "measurement=" A48, NULL, -1, -1);
	if (refval_revoke(second, "measurement", NULL, "leaked", NOW, &f) != 1)
		abort();
	char *more = sign(second);
	err = refval_add(s, more, strlen(more), &owner, 1, NOW + 500, &f);
	ok("reference: revoked by another document", !err && ask(s, "measurement", NULL, json_string(A48), &a) == REFVAL_REVOKED && strstr(a.found, "leaked"),
	   "%d %s", err, a.found);
	ok("reference: what is revoked does not come back", refval_put(second, &(struct refval_new){.name = "measurement", .value = value = json_string(A48),
	   .from = -1, .until = -1}, &f) == -EKEYREVOKED, "%s", f.text);
	json_decref(value);
	char *newer = sign(second);
	err = refval_add(s, newer, strlen(newer), &owner, 1, NOW + 500, &f);
	ok("reference: another version of a document in the set", err == -EEXIST && strstr(f.text, "leave only the newest") && s->count == 2, "%d %s", err, f.text);
	err = refval_add(s, more, strlen(more), &owner, 1, NOW + 500, &f);
	ok("reference: the same document once more", !err && s->count == 2, "%d %s", err, f.text);
	free(newer);
	ok("reference: a document before its time", refval_add(s, more, strlen(more), &owner, 1, NOW - 1, &f) == -ESTALE, "%s", f.text);
	ok("reference: a document after its time", refval_add(s, more, strlen(more), &owner, 1, NOW + 1001, &f) == -ESTALE, "%s", f.text);
	refval_set_free(s);
	free(s);
	free(more);
	free(text);
	json_decref(second);
	json_decref(body);
}

// What is added again: a time that is given is the new one.
static void test_again(void)
{
	struct fault f = {""};
	json_t *body = refval_body("web", NOW, NOW + 1000), *value = json_string("x");
	struct refval_new v = {.name = "firmware", .value = value, .from = -1, .until = NOW + 100};
	const json_t *rows = json_object_get(body, "values");
	int first = refval_put(body, &v, &f), same = refval_put(body, &v, &f);
	v.until = NOW + 500;
	int later = refval_put(body, &v, &f);
	v.until = -1;
	int none = refval_put(body, &v, &f);
	const char *until = json_string_value(json_object_get(json_array_get(rows, 0), "not_after"));
	ok("reference: a value again, with another time", first == 1 && !same && later == 1 && !none && json_array_size(rows) == 1 && until &&
	   !strcmp(until, "2026-01-01T00:08:20Z"), "%d %d %d %d, %zu rows, until %s", first, same, later, none, json_array_size(rows), until ? until : "");
	json_decref(value);
	json_decref(body);
}

static void test_seen(void)
{
	struct refval_doc one, two, fork;
	struct fault f = {""};
	json_t *body = refval_body("web", NOW, NOW + 1000), *seen = json_object();
	char *a = sign(body);
	put(body, "measurement=" A48, NULL, -1, -1);
	json_t *twin = json_deep_copy(body);
	char *b = sign(body);
	put(twin, "measurement=" B48, NULL, -1, -1);
	char *c = sign(twin);
	if (refval_open(a, strlen(a), &owner, 1, &one, &f) || refval_open(b, strlen(b), &owner, 1, &two, &f) ||
	    refval_open(c, strlen(c), &owner, 1, &fork, &f))
		abort();
	ok("reference: versions rise", one.version == 1 && two.version == 2 && fork.version == 2, "%lld %lld", (long long)one.version, (long long)two.version);
	ok("reference: a newer version", !refval_seen(seen, &one, &f) && !refval_seen(seen, &one, &f) && !refval_seen(seen, &two, &f), "%s", f.text);
	ok("reference: an older version", refval_seen(seen, &one, &f) == -ESTALE && strstr(f.text, "older"), "%s", f.text);
	ok("reference: two documents of one version", refval_seen(seen, &fork, &f) == -EBADMSG, "%s", f.text);
	ok("reference: what was refused is not remembered", !refval_seen(seen, &two, &f), "%s", f.text);
	json_object_set_new(seen, "web", json_pack("{s:s, s:s}", "version", "9", "digest", ""));
	ok("reference: a damaged memory is not an empty one", refval_seen(seen, &two, &f) == -EINVAL, "%s", f.text);
	refval_close(&one);
	refval_close(&two);
	refval_close(&fork);
	free(a);
	free(b);
	free(c);
	json_decref(twin);
	json_decref(body);
	json_decref(seen);
}

static void test_appraise(void)
{
	struct refval_set *s = calloc(1, sizeof *s);
	struct attest_result r;
	struct fault f = {""};
	json_t *body = refval_body("web", NOW, NOW + 1000);
	put(body, "measurement=" A48, NULL, -1, -1);
	put(body, "snp.reported_tcb.microcode>=72", NULL, -1, -1);
	put(body, "tdx.rtmr_1=" A48, NULL, -1, -1);
	put(body, "event_log.measured.kernel=ab", "tdx", -1, -1);
	put(body, "event_log.measured.kernel=ef", "snp", -1, -1);
	put(body, "cca.platform.software_components.BL=cd", NULL, -1, -1);
	put(body, "cca.platform.software_components.BL.signer_id=ee", NULL, -1, -1);
	char *text = sign(body);
	if (refval_add(s, text, strlen(text), &owner, 1, NOW, &f))
		abort();
	attest_result_init(&r);
	json_decref(r.claims);
	r.claims = json_pack("{s:s, s:{s:{s:i}}, s:{s:{s:[{s:s, s:s}]}}}", "measurement", A48, "snp", "reported_tcb", "microcode", 80, "event_log", "measured",
			     "kernel", "digest", "ef", "about", "vmlinuz");
	refval_appraise(s, NOW, &r);
	ok("reference: claims that meet them", attest_passed(&r) && r.count == 4 && attest_find(&r, "event_log.measured.kernel") &&
	   !attest_find(&r, "tdx.rtmr_1"), "%u checks, %s", r.count, failures(&r));
	r.count = 0;
	json_object_set_new(r.claims, "measurement", json_string(B48));
	json_object_del(r.claims, "event_log");
	refval_appraise(s, NOW, &r);
	ok("reference: which value, expected, found", !strcmp(failed_ids(&r), "measurement event_log.measured.kernel ") &&
	   !strcmp(attest_find(&r, "measurement")->expected, A48) && !strcmp(attest_find(&r, "measurement")->found, B48), "%s", failures(&r));
	attest_result_free(&r);
	attest_result_init(&r);
	json_decref(r.claims);
	r.claims = json_pack("{s:s, s:{s:{s:[{s:s,s:s},{s:s,s:s,s:s}]}}}", "measurement", A48, "cca", "platform", "software_components", "type", "M1", "value", "00",
			     "type", "BL", "value", "cd", "signer_id", "ee");
	refval_appraise(s, NOW, &r);
	ok("reference: components by their type", attest_passed(&r) && r.count == 4, "%u checks, %s", r.count, failures(&r));
	json_t *more = json_object_get(json_object_get(json_object_get(r.claims, "cca"), "platform"), "software_components");
	json_array_append_new(more, json_pack("{s:s, s:s}", "type", "BL", "value", "cd"));
	r.count = 0;
	refval_appraise(s, NOW, &r);
	ok("reference: a component without what the other has", !strcmp(failed_ids(&r), "cca.platform.software_components.BL.signer_id "), "%s", failures(&r));
	json_array_clear(more);
	r.count = 0;
	refval_appraise(s, NOW, &r);
	ok("reference: no component of that type", strstr(failed_ids(&r), "components.BL ") && strstr(failed_ids(&r), "BL.signer_id"), "%s", failures(&r));
	attest_result_free(&r);
	refval_set_free(s);
	free(text);
	json_decref(body);

	body = refval_body("many", NOW, NOW + 1000);
	for (int i = 0; i < 300; i++) {
		char value[64];
		snprintf(value, sizeof value, "snp.v%d=%s", i, i == 250 ? "other" : "x");
		put(body, value, NULL, -1, -1);
	}
	text = sign(body);
	if (refval_add(s, text, strlen(text), &owner, 1, NOW, &f))
		abort();
	attest_result_init(&r);
	json_t *snp = json_object();
	for (int i = 0; i < 300; i++) {
		char name[16];
		snprintf(name, sizeof name, "v%d", i);
		json_object_set_new(snp, name, json_string("x"));
	}
	json_object_set_new(r.claims, "snp", snp);
	refval_appraise(s, NOW, &r);
	ok("reference: more names than checks", !strcmp(failed_ids(&r), "reference-others ") && strstr(failures(&r), "snp.v250: other"), "%s", failures(&r));
	r.count = 0;
	while (r.count < ATTEST_MAX_CHECKS - 2)
		attest_check_add(&r, "another", true);
	refval_appraise(s, NOW, &r);
	ok("reference: no room for checks of their own", !strcmp(failed_ids(&r), "reference-others ") && r.count == ATTEST_MAX_CHECKS, "%s", failures(&r));
	json_object_set_new(snp, "v250", json_string("other"));
	r.count = 0;
	refval_appraise(s, NOW, &r);
	ok("reference: more names than checks, all good", attest_passed(&r), "%s", failures(&r));
	attest_result_free(&r);
	attest_result_init(&r);
	json_object_set_new(r.claims, "tdx", json_object());
	refval_appraise(s, NOW, &r);
	ok("reference: documents about other hardware prove nothing", !strcmp(failed_ids(&r), "reference "), "%s", failures(&r));
	attest_result_free(&r);
	refval_set_free(s);
	free(s);
	free(text);
	json_decref(body);
}

// Runs commands in the folder; $C is coffer.
static void expect(const char *name, const char *commands, int code, const char *text)
{
	static char out[64 << 10], line[2048];
	snprintf(line, sizeof line, "cd %s && C=%s && { %s; } 2>&1", folder, coffer, commands);
	FILE *p = popen(line, "r");
	size_t n = p ? fread(out, 1, sizeof out - 1, p) : 0;
	out[n] = '\0';
	int status = p ? pclose(p) : -1, rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	ok(name, rc == code && strstr(out, text), "exit code %d: %s", rc, out);
}

static void test_commands(void)
{
	struct snp_made m;
	char path[128], *pem;
	if (access(coffer, X_OK)) {
		ok("coffer reference", false, "the command is not built");
		return;
	}
	expect("coffer reference keygen", "$C reference keygen k && stat -c %a k && grep -c PUBLIC k.pub", 0, "600");
	expect("coffer reference keygen: keys are not replaced", "$C reference keygen k", 1, "k");
	expect("coffer reference create", "$C reference create w.ref --key k --name web measurement=" A48, 0, "version 1 of web");
	expect("coffer reference create: documents are not replaced", "$C reference create w.ref --key k --name web", 1, "w.ref");
	expect("coffer reference add", "cp w.ref w1.ref; $C reference add w.ref --key k --note 'second image' measurement=" B48 " 'snp.vmpl=0'", 0, "version 2");
	expect("coffer reference verify", "$C reference verify w.ref --key k.pub --seen seen", 0, "second image");
	expect("coffer reference verify: an older version", "$C reference verify w1.ref --key k.pub --seen seen", 3, "older");
	expect("coffer reference verify: without memory", "$C reference verify w1.ref --key k.pub", 0, "ACCEPTED");
	expect("coffer reference verify: JSON", "$C reference verify w.ref --key k.pub --json", 0, "\"verdict\":\"accepted\"");
	expect("coffer reference verify: later", "$C reference verify w.ref --key k.pub --at 2050-01-01T00:00:00Z --json", 3, "\"verdict\":\"refused\"");
	expect("coffer reference show", "$C reference show w.ref", 0, "nothing of this is verified");
	expect("coffer reference verify: another key", "$C reference keygen o && $C reference verify w.ref --key o.pub", 3, "REFUSED");
	expect("coffer reference add: somebody else's document", "$C reference add w.ref --key o snp.x=1", 1, "--from-key");
	expect("coffer reference renew: the key changes", "$C reference renew w.ref --key o --from-key k.pub --days 30 && $C reference verify w.ref --key o.pub", 0,
	       "version 3");
	expect("coffer reference add: a key that others may read", "cp k l; chmod 644 l; $C reference add w1.ref --key l snp.x=1", 1, "chmod 600");
	expect("coffer reference: no value", "$C reference add w.ref --key o measurement", 1, "NAME=VALUE");
	expect("coffer reference: no verb", "$C reference change w.ref", 2, "say what to do");
	expect("coffer reference: openssl's keys", "openssl genpkey -algorithm ED25519 -out e 2>/dev/null && chmod 600 e && openssl pkey -in e -pubout -out e.pub && "
	       "$C reference create e.ref --key e --name ed a=b && $C reference verify e.ref --key k.pub --key e.pub", 0, "ACCEPTED");

	// Evidence against values, as verifiers do it.
	snp_make(&snp_milan, &m);
	struct attest_result r;
	struct snp_input in = {.report = m.report, .report_len = sizeof m.report, .chain = &m.chain, .now = SNP_MADE_NOW};
	X509 *root = snp_made_root();
	in.simulated_roots = &root;
	in.simulated_root_count = 1;
	attest_result_init(&r);
	snp_verify(&in, &r);
	char line[1024], measurement[128];
	snprintf(measurement, sizeof measurement, "%s", claim_of(&r, "measurement"));
	attest_result_free(&r);
	struct bundle b;
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.report, sizeof m.report);
	pem = pki_pem(m.chain.certs[0], m.chain.certs[1], m.chain.certs[2], NULL);
	bundle_put_text(&b, "certificates", pem, strlen(pem));
	free(pem);
	char *text = json_dumps(b.json, 0);
	snprintf(path, sizeof path, "%s/e.json", folder);
	if (file_write(path, text, strlen(text), 0600, false, NULL))
		abort();
	free(text);
	bundle_free(&b);
	pem = pki_pem(root, NULL);
	snprintf(path, sizeof path, "%s/root.pem", folder);
	if (file_write(path, pem, strlen(pem), 0600, false, NULL))
		abort();
	free(pem);
	snp_made_free(&m);
	snprintf(path, sizeof path, "%s/p.yaml", folder);
	if (file_write(path, "insecure_accept_simulated: true\n", 32, 0600, false, NULL))
		abort();
#define JUDGE "$C verify e.json --policy p.yaml --insecure-simulated-root root.pem --at 2026-01-02T00:00:00Z --reference v.ref --reference-key k.pub"
	snprintf(line, sizeof line, "$C reference create v.ref --key k --name v --not-before 2025-01-01T00:00:00Z --days 9999 measurement=%s 'snp.vmpl=0' && " JUDGE,
		 measurement);
	expect("coffer verify: reference values that hold", line, 0, "v version 1 by");
	expect("coffer verify: no key", "$C verify e.json --reference v.ref", 2, "who may have signed");
	expect("coffer verify: another key", "$C verify e.json --reference v.ref --reference-key o.pub", 1, "none of its signatures");
	snprintf(line, sizeof line, "$C reference revoke v.ref --key k --reason 'CVE-2026-1' measurement=%s && " JUDGE, measurement);
	expect("coffer verify: a revoked value", line, 3, "CVE-2026-1");
	expect("coffer verify: which value, expected, found", "$C reference add v.ref --key k measurement=" A48 " && " JUDGE, 3, "expected " A48);
}

int main(int argc, char **argv)
{
	char *slash = strrchr(argv[0], '/'), here[256];
	struct fault f = {""};
	(void)argc;
	if (!getcwd(here, sizeof here))
		return 1;
	bool absolute = argv[0][0] == '/';
	snprintf(coffer, sizeof coffer, "%s%s%.*s../bin/coffer", absolute ? "" : here, absolute ? "" : "/", slash ? (int)(slash + 1 - argv[0]) : 0, argv[0]);
	if (!test_folder(folder, "refval") || dsse_key_of(jwk_new_key("P-256"), &owner, &f) || dsse_key_of(jwk_new_key("P-256"), &other, &f))
		return 1;
	test_signature();
	test_openssl();
	test_malformed();
	test_lookup();
	test_again();
	test_seen();
	test_appraise();
	test_commands();
	dsse_key_free(&owner);
	dsse_key_free(&other);
	return ok_failed != 0;
}
