// SPDX-License-Identifier: Apache-2.0
// Reading signed documents of reference values; see refval.h. The fuzz target fuzz_refval drives it.
#include "attest/refval.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "attest/json.h"
#include "attest/slice.h"
#include "lib/encode.h"

#define VERSION_MAX ((json_int_t)1 << 53)	// what any reader of JSON can tell apart
#define NAME_MAX_CHARS 160

// Words of people: no control characters, which would command the terminal of who reads them.
static bool printable(const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	}
	return true;
}

static bool only_known(const json_t *o, const char *const *known, const char **which)
{
	json_t *value;
	json_object_foreach((json_t *)o, *which, value) {
		const char *const *k = known;
		while (*k && strcmp(*k, *which))
			k++;
		if (!*k)
			return false;
	}
	return true;
}

// A time; `none` when it is missing. False when it is no time.
static bool time_member(const json_t *o, const char *name, time_t none, time_t *out)
{
	const json_t *s = json_object_get(o, name);
	*out = s ? slice_time(s) : none;
	return !s || *out >= 0;
}

static bool text_member(const json_t *o, const char *name, const char *none, const char **out)
{
	const json_t *s = json_object_get(o, name);
	*out = s ? json_string_value(s) : none;
	return !s || (*out && printable(*out));
}

static bool name_ok(const char *s)
{
	size_t n = s ? strlen(s) : 0;
	if (!n || n > NAME_MAX_CHARS)
		return false;
	for (; *s; s++) {
		if (*s <= ' ' || *s > '~' || strchr("=<>\"\\", *s))
			return false;
	}
	return true;
}

static bool hex_ok(const char *s, size_t max)
{
	size_t n = s ? strlen(s) : 0;
	return n && n % 2 == 0 && n <= 2 * max && strspn(s, "0123456789abcdef") == n;
}

static int read_value(const json_t *o, struct refval *v, struct fault *f)
{
	static const char *const known[] = {"name", "tee", "value", "minimum", "mask", "not_before", "not_after", "note", "revoked", "reason", NULL};
	const char *which;
	if (!json_is_object(o) || !text_member(o, "name", NULL, &v->name) || !name_ok(v->name))
		return fault_set(f, -EINVAL, "a value without a name that will do");
	if (!only_known(o, known, &which))
		return fault_set(f, -EINVAL, "the value %s has the unknown member '%.40s'", v->name, which);
	json_t *is = json_object_get(o, "value"), *least = json_object_get(o, "minimum");
	if (!is == !least)
		return fault_set(f, -EINVAL, "%s needs a value, or a minimum", v->name);
	v->kind = least ? REFVAL_MINIMUM : json_object_get(o, "mask") ? REFVAL_MASKED : REFVAL_EQUALS;
	v->value = least ? least : is;
	v->mask = json_string_value(json_object_get(o, "mask"));
	if (least ? !json_is_integer(least) || json_integer_value(least) < 0 || v->mask : !json_is_string(is) && !json_is_integer(is) && !json_is_boolean(is))
		return fault_set(f, -EINVAL, "%s: neither text, number nor truth", v->name);
	if (json_is_string(v->value) && !printable(json_string_value(v->value)))
		return fault_set(f, -EINVAL, "%s: control characters", v->name);
	if (v->kind == REFVAL_MASKED && (!hex_ok(v->mask, REFVAL_MAX_MASK) || !hex_ok(json_string_value(is), REFVAL_MAX_MASK) ||
					 json_string_length(is) != strlen(v->mask)))
		return fault_set(f, -EINVAL, "%s: value and mask must be lower-case hex of one length, %d bytes at most", v->name, REFVAL_MAX_MASK);
	if (!time_member(o, "not_before", -1, &v->from) || !time_member(o, "not_after", -1, &v->until) || !time_member(o, "revoked", -1, &v->revoked))
		return fault_set(f, -EINVAL, "%s: a time that is none (2026-01-31T00:00:00Z)", v->name);
	if (!text_member(o, "tee", NULL, &v->tee) || !text_member(o, "note", "", &v->note) || !text_member(o, "reason", "", &v->reason))
		return fault_set(f, -EINVAL, "%s: tee, note and reason are printable texts", v->name);
	if (v->tee && !refval_is_tee(v->tee))	// it would apply to nothing, and what it asks for would be asked of nobody
		return fault_set(f, -EINVAL, "%s: '%.40s' is no kind of hardware (snp, tdx, sgx, csv, cca, psa, tpm)", v->name, v->tee);
	return 0;
}

static int read_head(const json_t *o, struct refval_doc *d, struct fault *f)
{
	static const char *const known[] = {"format", "name", "version", "issued", "not_before", "not_after", "values", NULL};
	const char *which, *name;
	if (strcmp(slice_text(o, "format"), REFVAL_FORMAT))
		return fault_set(f, -EINVAL, "not a document of reference values (%s)", REFVAL_FORMAT);
	if (!only_known(o, known, &which))
		return fault_set(f, -EINVAL, "the unknown member '%.40s'", which);
	if (!text_member(o, "name", NULL, &name) || !name_ok(name) || strlen(name) >= sizeof d->name)
		return fault_set(f, -EINVAL, "a document without a name that will do (1 to 64 letters, digits, marks)");
	strcpy(d->name, name);
	const json_t *version = json_object_get(o, "version");
	d->version = json_is_integer(version) ? json_integer_value(version) : 0;
	if (d->version < 1 || d->version > VERSION_MAX)
		return fault_set(f, -EINVAL, "%s has no version from 1 up", d->name);
	if (!time_member(o, "issued", -1, &d->issued) || !time_member(o, "not_before", -1, &d->from) || !time_member(o, "not_after", -1, &d->until) ||
	    d->issued < 0 || d->from < 0 || d->until < d->from)
		return fault_set(f, -EINVAL, "%s does not say when it was issued, and from when until when it holds", d->name);
	return 0;
}

static int read_body(struct refval_doc *d, const char *text, size_t len, struct fault *f)
{
	uint8_t digest[32];
	if (EVP_Digest(text, len, digest, NULL, EVP_sha256(), NULL) != 1)
		return fault_set(f, -ENOMEM, "out of memory");
	hex_encode(d->digest, digest, sizeof digest);
	d->json = slice_parse(text, len, f);
	if (!d->json)
		return -EINVAL;
	int err = read_head(d->json, d, f);
	if (err)
		return err;
	const json_t *values = json_object_get(d->json, "values");
	size_t n = json_array_size(values);
	if (!json_is_array(values) || n > REFVAL_MAX_VALUES)
		return fault_set(f, -EINVAL, "%s has no list of values, or more than %d", d->name, REFVAL_MAX_VALUES);
	d->values = calloc(n + 1, sizeof *d->values);
	if (!d->values)
		return fault_set(f, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n && !err; i++) {
		err = read_value(json_array_get(values, i), &d->values[i], f);
		d->count++;
	}
	return err;
}

static int open_document(const char *text, size_t len, const struct dsse_key *keys, unsigned int count, struct refval_doc *d, struct fault *f)
{
	char *body;
	size_t n;
	int by, err;
	memset(d, 0, sizeof *d);
	err = dsse_open(text, len, REFVAL_TYPE, keys, count, &body, &n, &by, f);
	if (err)
		return err;
	if (by >= 0)
		strcpy(d->signer, keys[by].id);
	err = read_body(d, body, n, f);
	free(body);
	if (err)
		refval_close(d);
	return err;
}

int refval_open(const char *text, size_t len, const struct dsse_key *keys, unsigned int count, struct refval_doc *d, struct fault *f)
{
	if (!count)
		return fault_set(f, -EBADMSG, "no key was given that could have signed it");
	return open_document(text, len, keys, count, d, f);
}

int refval_open_unverified(const char *text, size_t len, struct refval_doc *d, struct fault *f)
{
	return open_document(text, len, NULL, 0, d, f);
}

void refval_close(struct refval_doc *d)
{
	free(d->values);
	d->values = NULL;
	d->count = 0;
	json_decref(d->json);
	d->json = NULL;
}

int refval_dates(const struct refval_doc *d, time_t now, struct fault *f)
{
	char stamp[32];
	if (now < d->from)
		return fault_set(f, -ESTALE, "%s version %lld holds from %s on", d->name, (long long)d->version, time_text(stamp, d->from));
	if (now > d->until)
		return fault_set(f, -ESTALE, "%s version %lld held until %s", d->name, (long long)d->version, time_text(stamp, d->until));
	return 0;
}

int refval_seen(json_t *seen, const struct refval_doc *d, struct fault *f)
{
	const json_t *old = json_object_get(seen, d->name), *number = json_object_get(old, "version");
	json_int_t version = json_integer_value(number);
	if (old && (!json_is_integer(number) || version < 1))
		return fault_set(f, -EINVAL, "what is remembered of %s is damaged: which version was seen?", d->name);
	if (d->version < version)
		return fault_set(f, -ESTALE, "%s was seen in version %lld; this is version %lld, an older one", d->name, (long long)version,
				 (long long)d->version);
	if (old && d->version == version && strcmp(slice_text(old, "digest"), d->digest))
		return fault_set(f, -EBADMSG, "%s was seen in version %lld with other values: whoever signs it made two of one version", d->name,
				 (long long)version);
	json_t *o = json_pack("{s:I, s:s}", "version", d->version, "digest", d->digest);
	return json_object_set_new(seen, d->name, o) ? fault_set(f, -ENOMEM, "out of memory") : 0;
}

int refval_add(struct refval_set *s, const char *text, size_t len, const struct dsse_key *keys, unsigned int count, time_t now, struct fault *f)
{
	struct refval_doc *d = &s->docs[s->count];
	if (s->count == REFVAL_MAX_DOCS)
		return fault_set(f, -E2BIG, "more than %d documents of reference values", REFVAL_MAX_DOCS);
	int err = refval_open(text, len, keys, count, d, f);
	if (err)
		return err;
	err = refval_dates(d, now, f);
	for (unsigned int i = 0; i < s->count && !err; i++) {
		const struct refval_doc *other = &s->docs[i];
		if (strcmp(other->name, d->name))
			continue;
		if (!strcmp(other->digest, d->digest)) {	// the same once more
			refval_close(d);
			return 0;
		}
		// What the newer one no longer has, the older one would still allow.
		err = fault_set(f, -EEXIST, "%s is given twice, as version %lld and version %lld: leave only the newest", d->name,
				(long long)other->version, (long long)d->version);
	}
	if (!err && d->count > REFVAL_MAX_VALUES - s->values)
		err = fault_set(f, -E2BIG, "more than %d reference values in all", REFVAL_MAX_VALUES);
	if (err) {
		refval_close(d);
		return err;
	}
	s->values += d->count;
	s->count++;
	return refval_index(s) ? fault_set(f, -ENOMEM, "out of memory") : 0;
}

void refval_set_free(struct refval_set *s)
{
	for (unsigned int i = 0; i < s->count; i++)
		refval_close(&s->docs[i]);
	free(s->names);
	free(s->buckets);
	memset(s, 0, sizeof *s);
}
