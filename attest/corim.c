// SPDX-License-Identifier: Apache-2.0
// Envelope, manifest, tags and triples of a CoRIM; see corim.h. What a measurement says is corim_map.c's. The fuzz target fuzz_corim drives it.
#include "attest/corim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attest/cbor.h"
#include "attest/corim_map.h"
#include "attest/json.h"
#include "lib/encode.h"

enum {
	TAG_TIME = 1, TAG_URI = 32, TAG_UUID = 37, TAG_OID = 111, TAG_OLD = 500, TAG_CORIM = 501, TAG_OLD_SIGNED = 502, TAG_COMID = 506, TAG_UEID = 550,
	TAG_PEM = 554, TAG_BYTES = 560, TAG_PSA_IMPLEMENTATION = 600,
};

static void to_text(char *out, size_t size, const struct cbor *v)
{
	size_t n = 0;
	for (; n < v->len && n < size - 1; n++)
		out[n] = (char)(v->bytes[n] < ' ' || v->bytes[n] > '~' ? '?' : v->bytes[n]);
	out[n] = '\0';
}

// {0: not before, 1: not after}, each a tagged number; the first may be missing.
static int read_validity(struct cursor c, time_t *from, time_t *until)
{
	struct cbor v, t;
	struct cursor in, at;
	time_t *const times[] = {from, until};
	if (!corim_open(c, 0, CBOR_MAP, &v, &in))
		return -EINVAL;
	for (int i = 0; i < 2; i++) {
		if (!cbor_find(in, v.n, i, &at)) {
			if (i)
				return -EINVAL;
			continue;
		}
		if (!corim_open(at, TAG_TIME, CBOR_UINT, &t, &at) || t.n > (uint64_t)1 << 40)
			return -EINVAL;
		*times[i] = (time_t)t.n;
	}
	return 0;
}

static int in_time(time_t now, time_t from, time_t until, const char *what, struct fault *f)
{
	char stamp[32];
	if (from >= 0 && now < from)
		return fault_set(f, -ESTALE, "%s holds from %s on", what, time_text(stamp, from));
	if (until >= 0 && now > until)
		return fault_set(f, -ESTALE, "%s held until %s", what, time_text(stamp, until));
	return 0;
}

// What is signed beside the manifest: algorithm (1), critical headers (2), kind of content (3), who signs and until when (8).
static int read_header(const struct cose_sign1 *s, time_t now, struct fault *f)
{
	struct cursor c = cursor_of(s->protected.bytes, s->protected.len), at, in;
	struct cbor v, kind, meta, inner;
	time_t from = -1, until = -1;
	char text[64];
	if (!cbor_read(&c, &v) || v.kind != CBOR_MAP)
		return fault_set(f, -EINVAL, "a header that is malformed");
	if (cbor_find(c, v.n, 2, &at))
		return fault_set(f, -EINVAL, "it has critical headers, of which none is known");
	if (cbor_find_kind(c, v.n, 3, CBOR_TEXT, &kind)) {
		to_text(text, sizeof text, &kind);
		if (strcmp(text, "application/rim+cbor") && strcmp(text, "application/corim-unsigned+cbor"))
			return fault_set(f, -EINVAL, "it signs %s, not a manifest of reference values", text);
	}
	if (!cbor_find_kind(c, v.n, 8, CBOR_BYTES, &meta))
		return 0;
	in = cursor_of(meta.bytes, meta.len);
	if (!cbor_read(&in, &inner) || inner.kind != CBOR_MAP)
		return fault_set(f, -EINVAL, "what it says of its signer is malformed");
	if (!cbor_find(in, inner.n, 1, &at))
		return 0;
	int err = read_validity(at, &from, &until);
	return err ? fault_set(f, err, "the time of its signature is malformed") : in_time(now, from, until, "the signature", f);
}

struct reading {
	struct corim *out;
	char profile[129];
	struct fault *f;
};

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

static void classify_intel(const char *model, struct corim_env *env)
{
	bool tdx = !strncmp(model, "TDX", 3) || !strncmp(model, "TD ", 3);
	env->tee = tdx ? "tdx" : !strncmp(model, "SGX", 3) ? "sgx" : NULL;
	env->kind = !env->tee ? CORIM_UNKNOWN : has(model, "SEAM") ? CORIM_SEAM : has(model, "QE") ? CORIM_QE : has(model, "PCE") ? CORIM_PCE :
		    tdx ? CORIM_TD : CORIM_SGX;
}

static void classify(const struct reading *r, const struct cbor *uuid, const char *vendor, const char *model, struct corim_env *env)
{
	static const uint8_t chip[16] = {0xd0, 0x5e, 0x6d, 0x1b, 0x9f, 0x46, 0x4a, 0xe2, 0xa6, 0x10, 0xce, 0x3e, 0x6e, 0xe7, 0xe1, 0x53};
	static const uint8_t provider[16] = {0x89, 0xa7, 0xa1, 0xf0, 0xe7, 0x04, 0x4f, 0xaa, 0xac, 0xbd, 0x81, 0xc8, 0x6d, 0xf8, 0xa9, 0x61};
	if (uuid->len == 16 && (!memcmp(uuid->bytes, chip, 16) || !memcmp(uuid->bytes, provider, 16)))
		*env = (struct corim_env){CORIM_SNP, "snp"};
	else if (has(vendor, "Intel"))
		classify_intel(model, env);
	else if (has(r->profile, "cca_realm") || has(r->profile, "arm.com/cca/realm"))
		*env = (struct corim_env){CORIM_CCA_REALM, "cca"};
	else if (has(r->profile, "cca_platform") || has(r->profile, "arm.com/cca/ssd") || has(r->profile, "arm.com/CCA-SSD"))
		*env = (struct corim_env){CORIM_CCA_PLATFORM, "cca"};
	else if (has(r->profile, "arm.com,2025:psa") || has(r->profile, "arm.com/psa"))
		*env = (struct corim_env){CORIM_PSA, "psa"};
}

// Which platform of its kind: a restriction as well.
static void put_class(struct reading *r, const struct corim_env *env, struct cursor id)
{
	struct cbor v;
	struct cursor in;
	if (!corim_open(id, TAG_BYTES, CBOR_BYTES, &v, &in) && !corim_open(id, TAG_PSA_IMPLEMENTATION, CBOR_BYTES, &v, &in)) {
		// Identifiers of AMD's two classes and Intel's (beside vendor and model) only say the kind, which is known by them.
		if (env->kind == CORIM_UNKNOWN || (env->kind != CORIM_SNP && !env->tee) || !strcmp(env->tee, "cca") || !strcmp(env->tee, "psa"))
			corim_say(r->out->left_out, "an environment's class by an identifier");
		return;
	}
	if (env->kind == CORIM_CCA_PLATFORM || env->kind == CORIM_PSA)
		corim_put_hex(r->out, env, env->kind == CORIM_PSA ? "psa.implementation_id" : "cca.platform.implementation_id", v.bytes, v.len);
	else if (env->kind == CORIM_CCA_REALM)
		corim_put_hex(r->out, env, "measurement", v.bytes, v.len);
	else
		corim_say(r->out->left_out, "an environment's class by bytes");
}

static void put_instance(struct reading *r, const struct corim_env *env, struct cursor c)
{
	struct cbor v;
	struct cursor in;
	if (env->kind == CORIM_SNP && corim_open(c, TAG_BYTES, CBOR_BYTES, &v, &in) && v.len == 64)
		corim_put_hex(r->out, env, "snp.chip_id", v.bytes, v.len);
	else if (env->kind == CORIM_CCA_PLATFORM && (corim_open(c, TAG_UEID, CBOR_BYTES, &v, &in) || corim_open(c, TAG_BYTES, CBOR_BYTES, &v, &in)) && v.len == 33)
		corim_put_hex(r->out, env, "cca.platform.instance_id", v.bytes, v.len);
	else
		corim_say(r->out->left_out, "an environment's instance");
}

static int read_environment(struct reading *r, struct cursor c, bool keep, struct corim_env *env)
{
	struct cbor v, class, words[2] = {{.kind = CBOR_NONE}}, id = {.kind = CBOR_NONE};
	struct cursor in, at, in_class, id_at;
	char vendor[64] = "", model[64] = "";
	bool has_id = false;
	*env = (struct corim_env){CORIM_UNKNOWN, NULL};
	if (!corim_open(c, 0, CBOR_MAP, &v, &in))
		return fault_set(r->f, -EINVAL, "an environment that is malformed");
	if (cbor_find(in, v.n, 0, &at)) {
		if (!corim_open(at, 0, CBOR_MAP, &class, &in_class))
			return fault_set(r->f, -EINVAL, "a class that is malformed");
		has_id = cbor_find(in_class, class.n, 0, &id_at);
		if (has_id)
			corim_open(id_at, TAG_UUID, CBOR_BYTES, &id, &at);
		if (keep && (cbor_find(in_class, class.n, 3, &at) || cbor_find(in_class, class.n, 4, &at)))
			corim_say(r->out->left_out, "an environment's layer or index");
		if (cbor_find_kind(in_class, class.n, 1, CBOR_TEXT, &words[0]))
			to_text(vendor, sizeof vendor, &words[0]);
		if (cbor_find_kind(in_class, class.n, 2, CBOR_TEXT, &words[1]))
			to_text(model, sizeof model, &words[1]);
	}
	classify(r, id.kind == CBOR_BYTES ? &id : &(struct cbor){.len = 0}, vendor, model, env);
	if (!keep)
		return 0;
	if (has_id)
		put_class(r, env, id_at);
	if (cbor_find(in, v.n, 1, &at))
		put_instance(r, env, at);
	if (cbor_find(in, v.n, 2, &at))
		corim_say(r->out->left_out, "an environment's group");
	return 0;
}

// [environment, [measurement...]]
static int read_reference(struct reading *r, struct cursor triple)
{
	struct corim_env env;
	struct cbor v;
	struct cursor c, at, list, item;
	uint64_t items;
	if (!corim_open(triple, 0, CBOR_ARRAY, &v, &c) || v.n != 2)
		return fault_set(r->f, -EINVAL, "a triple that is malformed");
	at = c;
	if (!cbor_skip(&c) || !corim_open(c, 0, CBOR_ARRAY, &v, &list))
		return fault_set(r->f, -EINVAL, "a triple without measurements");
	int err = read_environment(r, at, true, &env);
	for (items = v.n; !err && corim_item(&list, &items, &item);)
		err = corim_measurement(r->out, &env, item, r->f);
	return !err && items ? fault_set(r->f, -EINVAL, "a triple whose measurements are cut short") : err;
}

// [environment, [key...]]: not reference values, but what a policy lists.
static int read_keys(struct reading *r, struct cursor triple)
{
	struct dsse_key k;
	struct cbor v, pem;
	struct cursor c, list, item, in;
	uint64_t items;
	if (!corim_open(triple, 0, CBOR_ARRAY, &v, &c) || v.n < 2 || !cbor_skip(&c) || !corim_open(c, 0, CBOR_ARRAY, &v, &list))
		return fault_set(r->f, -EINVAL, "a triple of keys that is malformed");
	for (items = v.n; corim_item(&list, &items, &item);) {
		if (corim_open(item, TAG_PEM, CBOR_TEXT, &pem, &in) && !dsse_public_key((const char *)pem.bytes, pem.len, &k, NULL)) {
			json_array_append_new(r->out->keys, json_string(k.id));
			dsse_key_free(&k);
		} else {
			corim_say(r->out->notes, "a key of attesters in a form that is not known");
		}
	}
	return items ? fault_set(r->f, -EINVAL, "a triple of keys that is cut short") : 0;
}

static int read_triples(struct reading *r, struct cursor c)
{
	struct cbor v, key;
	struct cursor in, value, list, item;
	int err = 0;
	if (!corim_open(c, 0, CBOR_MAP, &v, &in))
		return fault_set(r->f, -EINVAL, "triples that are malformed");
	uint64_t pairs = v.n, items;
	while (!err && corim_pair(&in, &pairs, &key, &value)) {
		if (key.kind != CBOR_UINT || (key.n != 0 && key.n != 2 && key.n != 3)) {
			corim_say(r->out->notes, "triples of kind %llu, which endorse or relate: they restrict no evidence", (unsigned long long)key.n);
			continue;
		}
		if (!corim_open(value, 0, CBOR_ARRAY, &v, &list))
			return fault_set(r->f, -EINVAL, "triples that are no list");
		for (items = v.n; !err && corim_item(&list, &items, &item);)
			err = key.n ? read_keys(r, item) : read_reference(r, item);
		if (!err && items)
			err = fault_set(r->f, -EINVAL, "triples that are cut short");
	}
	return !err && pairs ? fault_set(r->f, -EINVAL, "triples that are malformed") : err;
}

static int read_tag(struct reading *r, struct cursor c)
{
	struct cbor v;
	struct cursor in, at;
	if (!corim_open(c, TAG_COMID, CBOR_BYTES, &v, &in)) {
		corim_say(r->out->left_out, "a tag of another kind than CoMID");
		return 0;
	}
	in = cursor_of(v.bytes, v.len);
	at = in;
	if (!cbor_skip(&at) || at.left || !cbor_read(&in, &v) || v.kind != CBOR_MAP || !cbor_find(in, v.n, 4, &at))
		return fault_set(r->f, -EINVAL, "a tag that is malformed, or has no triples");
	return read_triples(r, at);
}

static void read_profile(struct reading *r, struct cursor c)
{
	struct cbor v;
	struct cursor in;
	char hex[129];
	if (corim_open(c, TAG_URI, CBOR_TEXT, &v, &in) || corim_open(c, 0, CBOR_TEXT, &v, &in)) {
		to_text(r->profile, sizeof r->profile, &v);
	} else if (corim_open(c, TAG_OID, CBOR_BYTES, &v, &in) && v.len <= 60) {
		snprintf(r->profile, sizeof r->profile, "oid %s", hex_encode(hex, v.bytes, v.len));
	}
	strcpy(r->out->profile, r->profile);
}

static void read_id(struct corim *out, struct cursor c)
{
	struct cbor v;
	struct cursor in;
	if (corim_open(c, 0, CBOR_TEXT, &v, &in))
		to_text(out->id, sizeof out->id, &v);
	else if ((corim_open(c, 0, CBOR_BYTES, &v, &in) || corim_open(c, TAG_UUID, CBOR_BYTES, &v, &in)) && v.len <= 32)
		hex_encode(out->id, v.bytes, v.len);
}

static int read_manifest(struct reading *r, const struct cbor *payload, time_t now)
{
	struct cursor c = cursor_of(payload->bytes, payload->len), in = c, at, list, item;
	struct corim *out = r->out;
	struct cbor v;
	int err = 0;
	if (!cbor_skip(&c) || c.left)
		return fault_set(r->f, -EINVAL, "the manifest is cut short, or followed by other bytes");
	if (!corim_open(in, TAG_CORIM, CBOR_MAP, &v, &c) && !corim_open(in, 0, CBOR_MAP, &v, &c))
		return fault_set(r->f, -EINVAL, "what is signed is no manifest");
	if (cbor_find(c, v.n, 0, &at))
		read_id(out, at);
	if (cbor_find(c, v.n, 3, &at))
		read_profile(r, at);
	if (cbor_find(c, v.n, 2, &at))
		corim_say(out->notes, "other manifests that it depends on are not fetched");
	if (cbor_find(c, v.n, 4, &at)) {
		err = read_validity(at, &out->from, &out->until);
		err = err ? fault_set(r->f, err, "the time in which it holds is malformed") : in_time(now, out->from, out->until, "the manifest", r->f);
	}
	if (err)
		return err;
	if (!cbor_find(c, v.n, 1, &at) || !corim_open(at, 0, CBOR_ARRAY, &v, &list))
		return fault_set(r->f, -EINVAL, "the manifest has no tags");
	uint64_t items = v.n;
	while (!err && corim_item(&list, &items, &item))
		err = read_tag(r, item);
	return !err && items ? fault_set(r->f, -EINVAL, "the manifest's tags are cut short") : err;
}

// Older drafts put a tag or two around the signature.
static size_t unwrap(const uint8_t *bytes, size_t len)
{
	struct cursor c = cursor_of(bytes, len), next;
	struct cbor v;
	for (int i = 0; i < 2; i++) {
		next = c;
		if (!cbor_read(&next, &v) || v.kind != CBOR_TAG || (v.n != TAG_OLD && v.n != TAG_OLD_SIGNED))
			break;
		c = next;
	}
	return len - c.left;
}

int corim_read(const uint8_t *bytes, size_t len, const struct dsse_key *keys, unsigned int count, time_t now, struct corim *out, struct fault *f)
{
	struct reading r = {.out = out, .f = f};
	struct cose_sign1 s;
	struct cbor v;
	unsigned int by = 0;
	memset(out, 0, sizeof *out);
	out->from = out->until = -1;
	if (!len || len > CORIM_MAX_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes are no manifest, or more than one may have", len);
	size_t skip = unwrap(bytes, len);
	struct cursor c = cursor_of(bytes + skip, len - skip);
	if (cbor_read(&c, &v) && v.kind == CBOR_TAG && v.n == TAG_CORIM)
		return fault_set(f, -EBADMSG, "the manifest is not signed");
	int err = cose_read(bytes + skip, len - skip, &s, f);
	if (err)
		return err;
	while (by < count && !cose_ok(&s, keys[by].key))
		by++;
	if (by == count)
		return fault_set(f, -EBADMSG, "its signature is by none of the keys that were given");
	strcpy(out->signer, keys[by].id);
	err = read_header(&s, now, f);
	if (err)
		return err;
	out->values = json_array();
	out->left_out = json_array();
	out->notes = json_array();
	out->keys = json_array();
	err = out->values && out->left_out && out->notes && out->keys ? read_manifest(&r, &s.payload, now) : fault_set(f, -ENOMEM, "out of memory");
	if (err)
		corim_free(out);
	return err;
}

void corim_free(struct corim *c)
{
	json_decref(c->values);
	json_decref(c->left_out);
	json_decref(c->notes);
	json_decref(c->keys);
	c->values = c->left_out = c->notes = c->keys = NULL;
}
