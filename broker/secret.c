// SPDX-License-Identifier: Apache-2.0
// See secret.h.
#include "broker/secret.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/slice.h"
#include "lib/encode.h"
#include "lib/file.h"

#define MAX_RANDOM 4096
#define MAX_LIMIT 1000000		// of uses: each is a row
#define MAX_KEPT 1000000
#define MAX_SECONDS (100ll * 366 * 86400)

static const char *const state_names[] = {"enabled", "disabled", "destroyed"};
static const char *const encodings[] = {"raw", "hex", "base64url"};

int secret_init(struct secret *s, const char *kind, struct fault *f)
{
	*s = (struct secret){.keep_versions = -1, .keep_seconds = -1};
	if (strcmp(kind, "data") && strcmp(kind, "random") && strcmp(kind, "aes-256") && !keypair_uses(kind))
		return fault_set(f, -EINVAL, "there is no kind '%.16s': data, random, aes-256, %s", kind, keypair_kinds());
	strcpy(s->kind, kind);
	if (!strcmp(kind, "random")) {
		s->bytes = 32;
		strcpy(s->encoding, "raw");
	}
	if (keypair_uses(kind) == KEYPAIR_SIGN)
		s->use = KEYPAIR_SIGN;
	return RAND_bytes(s->id, sizeof s->id) == 1 ? 0 : fault_set(f, -EIO, "there is no randomness");
}

bool secret_is_pair(const struct secret *s)
{
	return keypair_uses(s->kind) != 0;
}

bool secret_is_made_here(const struct secret *s)
{
	return strcmp(s->kind, "data") != 0;
}

bool secret_leaves(const struct secret *s)
{
	return !strcmp(s->kind, "data") || !strcmp(s->kind, "random");
}

bool secret_is_limited(const struct secret *s)
{
	return s->uses || s->uses_total;
}

struct secret_version *secret_version(struct secret *s, unsigned int number)
{
	for (unsigned int i = 0; i < s->count; i++) {
		if (s->versions[i].number == number)
			return &s->versions[i];
	}
	return NULL;
}

struct secret_version *secret_current(struct secret *s, time_t now)
{
	if (s->pinned)
		return secret_version(s, s->pinned);
	for (unsigned int i = s->count; i-- > 0;) {
		if (s->versions[i].not_before <= now)
			return &s->versions[i];
	}
	return NULL;
}

int secret_choose(struct secret *s, unsigned int number, time_t now, struct secret_version **v, struct fault *f)
{
	*v = number ? secret_version(s, number) : secret_current(s, now);
	if (*v)
		return 0;
	return number ? fault_set(f, -ENOENT, "there is no version %u of it", number) : fault_set(f, -ENOENT, "no version of it is valid yet");
}

// An older version is kept for so many versions, and for so long after the next one was made.
static int kept(struct secret *s, const struct secret_version *v, time_t now, struct fault *f)
{
	const struct secret_version *current = secret_current(s, now), *next = NULL;
	unsigned int newer = 0;
	if (!current || v->number >= current->number)
		return 0;
	for (unsigned int i = s->count; i-- > 0 && s->versions[i].number > v->number;) {
		next = &s->versions[i];
		newer += next->number <= current->number;
	}
	long long since = next->created > next->not_before ? next->created : next->not_before;
	if ((s->keep_versions >= 0 && newer > s->keep_versions) || (s->keep_seconds >= 0 && now - since > s->keep_seconds))
		return fault_set(f, -ESTALE, "version %u of it is no longer given: %u is the current one", v->number, current->number);
	return 0;
}

int secret_usable(struct secret *s, const struct secret_version *v, time_t now, struct fault *f)
{
	char when[32];
	if (s->disabled)
		return fault_set(f, -EKEYREVOKED, "its owner has disabled it");
	if (v->state != SECRET_ENABLED)
		return fault_set(f, -EKEYREVOKED, "version %u of it is %s", v->number, state_names[v->state]);
	if (v->not_before > now) {
		time_text(when, (time_t)v->not_before);
		return fault_set(f, -ETIME, "version %u of it is not valid before %s", v->number, when);
	}
	if (v->not_after && v->not_after < now) {
		time_text(when, (time_t)v->not_after);
		return fault_set(f, -EKEYEXPIRED, "version %u of it has expired: it was valid until %s", v->number, when);
	}
	return kept(s, v, now, f);
}

int secret_has_uses(const struct secret *s, const struct secret_version *v, struct fault *f)
{
	if (s->uses && v->used >= s->uses)
		return fault_set(f, -EDQUOT, "version %u of it has been given %lld times, and %lld is the limit", v->number, v->used, s->uses);
	if (s->uses_total && s->used_total >= s->uses_total)
		return fault_set(f, -EDQUOT, "it has been given %lld times, and %lld is the limit", s->used_total, s->uses_total);
	return 0;
}

int secret_add_version(struct secret *s, time_t now, struct secret_version **out, struct fault *f)
{
	if (s->count == SECRET_MAX_VERSIONS) {	// the oldest that is destroyed is forgotten
		unsigned int i = 0;
		while (i < s->count && s->versions[i].state != SECRET_DESTROYED)
			i++;
		if (i == s->count)
			return fault_set(f, -ENOSPC, "it has %d versions: destroy old ones first", SECRET_MAX_VERSIONS);
		memmove(&s->versions[i], &s->versions[i + 1], (s->count - i - 1) * sizeof *s->versions);
		s->count--;
	}
	struct secret_version *v = &s->versions[s->count++];
	*v = (struct secret_version){.number = ++s->last, .created = now, .not_after = s->lifetime ? now + s->lifetime : 0};
	s->pinned = 0;
	*out = v;
	return 0;
}

// A number from `least` to `most`, or null for `none`.
static int number(const json_t *v, const char *name, long long least, long long most, long long none, long long *out, struct fault *f)
{
	if (json_is_null(v)) {
		*out = none;
		return 0;
	}
	if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > most)
		return fault_set(f, -EINVAL, "%s: a number from %lld to %lld", name, least, most);
	*out = json_integer_value(v);
	return 0;
}

static int moment(const json_t *v, const char *name, long long *out, struct fault *f)
{
	*out = json_is_null(v) ? 0 : slice_time(v);
	return *out < 0 ? fault_set(f, -EINVAL, "%s: a time like 2026-01-31T00:00:00Z", name) : 0;
}

static int note(struct secret *s, const json_t *v, struct fault *f)
{
	const char *text = json_is_null(v) ? "" : json_string_value(v);
	if (!text || strlen(text) != (json_is_null(v) ? 0 : json_string_length(v)) || strlen(text) >= sizeof s->note)
		return fault_set(f, -EINVAL, "note: one line of at most 200 bytes");
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return fault_set(f, -EINVAL, "note: one line of at most 200 bytes");
	}
	strcpy(s->note, text);
	return 0;
}

// What cannot change later. 1: it is no such setting.
static int apply_form(struct secret *s, const char *name, const json_t *v, struct fault *f)
{
	const char *text = json_string_value(v);
	long long n;
	if (!strcmp(name, "use") && secret_is_pair(s)) {
		unsigned int use = text && !strcmp(text, "sign") ? KEYPAIR_SIGN : text && !strcmp(text, "decrypt") ? KEYPAIR_DECRYPT : 0;
		if (!(keypair_uses(s->kind) & use))
			return fault_set(f, -EINVAL, "use: a key of kind %s is made to %s", s->kind,
					 keypair_uses(s->kind) == KEYPAIR_SIGN ? "\"sign\"" : "\"sign\" or to \"decrypt\"");
		s->use = use;
		return 0;
	}
	if (!strcmp(name, "bytes") && !strcmp(s->kind, "random")) {
		int err = number(v, name, 1, MAX_RANDOM, 32, &n, f);
		if (!err)
			s->bytes = (unsigned int)n;
		return err;
	}
	if (!strcmp(name, "encoding") && !strcmp(s->kind, "random")) {
		for (size_t i = 0; text && i < sizeof encodings / sizeof *encodings; i++) {
			if (!strcmp(encodings[i], text)) {
				strcpy(s->encoding, text);
				return 0;
			}
		}
		return fault_set(f, -EINVAL, "encoding: raw, hex or base64url");
	}
	return 1;
}

static int apply_one(struct secret *s, struct secret_version *v, const char *name, const json_t *value, bool fresh, struct fault *f)
{
	const struct { const char *name; long long least, most, none, *out; } numbers[] = {
		{"uses", 1, MAX_LIMIT, 0, &s->uses}, {"uses_total", 1, MAX_LIMIT, 0, &s->uses_total},
		{"keep_versions", 0, MAX_KEPT, -1, &s->keep_versions}, {"keep_seconds", 0, MAX_SECONDS, -1, &s->keep_seconds},
		{"lifetime", 1, MAX_SECONDS, 0, &s->lifetime},
	};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		if (!strcmp(numbers[i].name, name))
			return number(value, name, numbers[i].least, numbers[i].most, numbers[i].none, numbers[i].out, f);
	}
	if (!strcmp(name, "note"))
		return note(s, value, f);
	if (!strcmp(name, "not_before"))
		return moment(value, name, &v->not_before, f);
	if (!strcmp(name, "not_after"))
		return moment(value, name, &v->not_after, f);
	if (!strcmp(name, "publish") && json_is_boolean(value)) {
		s->publish = json_is_true(value);
		return 0;
	}
	if (!strcmp(name, "reset_uses") && json_is_true(value)) {
		for (unsigned int i = 0; i < s->count; i++)
			s->versions[i].used = 0;
		s->used_total = 0;
		return 0;
	}
	if (!strcmp(name, "current")) {
		long long n;
		int err = number(value, name, 1, 1ll << 31, 0, &n, f);
		if (!err && n && !secret_version(s, (unsigned int)n))
			err = fault_set(f, -EINVAL, "current: there is no version %lld of it", n);
		if (!err)
			s->pinned = (unsigned int)n;
		return err;
	}
	int err = fresh ? apply_form(s, name, value, f) : 1;
	return err == 1 ? fault_set(f, -EINVAL, "\"%.32s\" cannot be set %s", name, fresh ? "for a secret of this kind" : "of a secret that is there, or not so")
			: err;
}

int secret_apply(struct secret *s, struct secret_version *v, const json_t *settings, bool fresh, const char *const *others, struct fault *f)
{
	const char *name;
	json_t *value;
	int err = 0;
	json_object_foreach((json_t *)settings, name, value) {
		const char *const *o = others;
		while (*o && strcmp(*o, name))
			o++;
		if (!*o && !err)
			err = apply_one(s, v, name, value, fresh, f);
	}
	if (!err && fresh && secret_is_pair(s) && !s->use)
		err = fault_set(f, -EINVAL, "is a key of kind %s to sign or to decrypt? Say which as its \"use\"", s->kind);
	if (!err && s->lifetime && !json_object_get(settings, "not_after") && fresh)
		v->not_after = v->created + s->lifetime;
	if (!err && v->not_after && v->not_after <= v->not_before)
		err = fault_set(f, -EINVAL, "it would expire before it is valid");
	return err;
}

json_t *secret_to_json(const struct secret *s)
{
	char id[2 * SECRET_ID_BYTES + 1];
	json_t *list = json_array();
	for (unsigned int i = 0; i < s->count; i++) {
		const struct secret_version *v = &s->versions[i];
		json_array_append_new(list, json_pack("[i, i, I, I, I, I, s]", (int)v->number, (int)v->state, (json_int_t)v->created,
						      (json_int_t)v->not_before, (json_int_t)v->not_after, (json_int_t)v->used, v->kid));
	}
	return json_pack("{s:s, s:s, s:i, s:i, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:o}", "id", hex_encode(id, s->id, sizeof s->id),
			 "kind", s->kind, "use", (int)s->use, "bytes", (int)s->bytes, "encoding", s->encoding, "note", s->note, "disabled", s->disabled,
			 "publish", s->publish, "uses", (json_int_t)s->uses, "uses_total", (json_int_t)s->uses_total, "used_total",
			 (json_int_t)s->used_total, "keep_versions", (json_int_t)s->keep_versions, "keep_seconds", (json_int_t)s->keep_seconds,
			 "lifetime", (json_int_t)s->lifetime, "pinned", (int)s->pinned, "last", (int)s->last, "versions", list);
}

static bool time_fits(json_int_t t)
{
	return t >= 0 && t < 253402300800;	// the year 10000
}

static int version_from_json(struct secret_version *v, json_t *o)
{
	const char *kid;
	json_int_t created, not_before, not_after, used;
	int number, state;
	if (json_unpack(o, "[i, i, I, I, I, I, s!]", &number, &state, &created, &not_before, &not_after, &used, &kid) || number < 1 || state < 0 ||
	    state > SECRET_DESTROYED || strlen(kid) >= sizeof v->kid || !time_fits(created) || !time_fits(not_before) || !time_fits(not_after))
		return -EBADMSG;
	*v = (struct secret_version){(unsigned int)number, (enum secret_state)state, created, not_before, not_after, used, ""};
	strcpy(v->kid, kid);
	return 0;
}

int secret_from_json(struct secret *s, const json_t *o)
{
	const char *id, *kind, *encoding, *text;
	json_int_t uses, uses_total, used_total, keep_versions, keep_seconds, lifetime;
	int use, bytes, disabled, publish, pinned, last;
	json_t *list;
	*s = (struct secret){.count = 0};
	if (json_unpack((json_t *)o, "{s:s, s:s, s:i, s:i, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:o}", "id", &id, "kind", &kind,
			"use", &use, "bytes", &bytes, "encoding", &encoding, "note", &text, "disabled", &disabled, "publish", &publish, "uses", &uses,
			"uses_total", &uses_total, "used_total", &used_total, "keep_versions", &keep_versions, "keep_seconds", &keep_seconds,
			"lifetime", &lifetime, "pinned", &pinned, "last", &last, "versions", &list) ||
	    hex_decode(s->id, sizeof s->id, id) || strlen(kind) >= sizeof s->kind || strlen(encoding) >= sizeof s->encoding ||
	    strlen(text) >= sizeof s->note || json_array_size(list) > SECRET_MAX_VERSIONS || bytes < 0 || bytes > MAX_RANDOM)
		return -EBADMSG;
	strcpy(s->kind, kind);
	strcpy(s->encoding, encoding);
	strcpy(s->note, text);
	s->use = (enum keypair_use)use;
	s->bytes = (unsigned int)bytes;
	s->disabled = disabled;
	s->publish = publish;
	s->uses = uses;
	s->uses_total = uses_total;
	s->used_total = used_total;
	s->keep_versions = keep_versions;
	s->keep_seconds = keep_seconds;
	s->lifetime = lifetime;
	s->pinned = (unsigned int)pinned;
	s->last = (unsigned int)last;
	for (; s->count < json_array_size(list); s->count++) {
		if (version_from_json(&s->versions[s->count], json_array_get(list, s->count)) ||
		    (s->count && s->versions[s->count].number <= s->versions[s->count - 1].number) || s->versions[s->count].number > s->last)
			return -EBADMSG;
	}
	return 0;
}

static void add_time(json_t *o, const char *name, long long t)
{
	char text[32];
	if (!t)
		return;
	time_text(text, (time_t)t);
	json_object_set_new(o, name, json_string(text));
}

static void add_number(json_t *o, const char *name, long long n, long long none)
{
	if (n != none)
		json_object_set_new(o, name, json_integer(n));
}

static json_t *describe_version(struct secret *s, const struct secret_version *v, time_t now)
{
	int why = secret_usable(s, v, now, NULL);
	json_t *o = json_pack("{s:i, s:s, s:b}", "version", (int)v->number, "state", state_names[v->state], "given", !why && !secret_has_uses(s, v, NULL));
	add_time(o, "created", v->created);
	add_time(o, "not_before", v->not_before);
	add_time(o, "not_after", v->not_after);
	add_number(o, "used", v->used, 0);
	if (v->kid[0])
		json_object_set_new(o, "kid", json_string(v->kid));
	return o;
}

json_t *secret_describe(struct secret *s, const char *name, time_t now)
{
	const struct secret_version *current = secret_current(s, now);
	json_t *list = json_array(), *o = json_pack("{s:s, s:s, s:b}", "resource", name, "kind", s->kind, "disabled", s->disabled);
	for (unsigned int i = 0; i < s->count; i++)
		json_array_append_new(list, describe_version(s, &s->versions[i], now));
	json_object_set_new(o, "versions", list);
	if (current)
		json_object_set_new(o, "current", json_integer(current->number));
	if (s->pinned)
		json_object_set_new(o, "pinned", json_true());
	if (s->use)
		json_object_set_new(o, "use", json_string(s->use == KEYPAIR_SIGN ? "sign" : "decrypt"));
	if (!strcmp(s->kind, "random")) {
		json_object_set_new(o, "bytes", json_integer(s->bytes));
		json_object_set_new(o, "encoding", json_string(s->encoding));
	}
	if (s->note[0])
		json_object_set_new(o, "note", json_string(s->note));
	if (s->publish)
		json_object_set_new(o, "publish", json_true());
	add_number(o, "uses", s->uses, 0);
	add_number(o, "uses_total", s->uses_total, 0);
	add_number(o, "used_total", s->used_total, 0);
	add_number(o, "keep_versions", s->keep_versions, -1);
	add_number(o, "keep_seconds", s->keep_seconds, -1);
	add_number(o, "lifetime", s->lifetime, 0);
	return o;
}

static int store_pair(EVP_PKEY *key, const struct secret *s, struct secret_version *v, uint8_t **value, size_t *len, struct fault *f)
{
	json_t *jwk = key ? keypair_jwk(key, s->use) : NULL;
	uint8_t *der = malloc(KEYPAIR_MAX_DER);
	int n = jwk && der ? keypair_store(key, der) : -EIO;
	if (n > 0) {
		snprintf(v->kid, sizeof v->kid, "%s", json_string_value(json_object_get(jwk, "kid")));
		*value = der;
		*len = (size_t)n;
	} else {
		free_wiped(der, der ? KEYPAIR_MAX_DER : 0);
	}
	json_decref(jwk);
	return n > 0 ? 0 : fault_set(f, -EIO, "the key cannot be made");
}

int secret_make_value(const struct secret *s, struct secret_version *v, uint8_t **value, size_t *len, struct fault *f)
{
	uint8_t raw[MAX_RANDOM];
	if (secret_is_pair(s)) {
		EVP_PKEY *key = keypair_generate(s->kind);
		int err = store_pair(key, s, v, value, len, f);
		EVP_PKEY_free(key);
		return err;
	}
	size_t n = !strcmp(s->kind, "aes-256") ? KEYOP_AES_BYTES : s->bytes;
	if (!n || n > sizeof raw || RAND_priv_bytes(raw, (int)n) != 1)
		return fault_set(f, -EIO, "the key cannot be made");
	*value = malloc(2 * n + 3);	// of one byte, base64 has the most
	if (!*value)
		return fault_set(f, -ENOMEM, "out of memory");
	if (!strcmp(s->encoding, "hex"))
		*len = strlen(hex_encode((char *)*value, raw, n));
	else if (!strcmp(s->encoding, "base64url"))
		*len = base64_encode((char *)*value, raw, n, BASE64_URL);
	else
		memcpy(*value, raw, *len = n);
	explicit_bzero(raw, sizeof raw);
	return 0;
}

int secret_take_value(const struct secret *s, struct secret_version *v, const void *given, size_t given_len, uint8_t **value, size_t *len, struct fault *f)
{
	if (!given_len)
		return fault_set(f, -EINVAL, "the secret is empty");
	if (given_len > SECRET_MAX_BYTES)
		return fault_set(f, -EFBIG, "a secret may have %u bytes at most", SECRET_MAX_BYTES);
	if (secret_is_pair(s)) {
		EVP_PKEY *key;
		const char *kind;
		int err = keypair_import(given, given_len, &key, &kind, f);
		if (err)
			return err;
		err = strcmp(kind, s->kind) ? fault_set(f, -EINVAL, "this is a key of kind %s, not %s", kind, s->kind) : store_pair(key, s, v, value, len, f);
		EVP_PKEY_free(key);
		return err;
	}
	if (!strcmp(s->kind, "aes-256") && given_len != KEYOP_AES_BYTES)
		return fault_set(f, -EINVAL, "a key of kind aes-256 has %d bytes, not %zu", KEYOP_AES_BYTES, given_len);
	*value = malloc(given_len);
	if (!*value)
		return fault_set(f, -ENOMEM, "out of memory");
	memcpy(*value, given, given_len);
	*len = given_len;
	return 0;
}

int secret_key(const struct secret *s, const uint8_t *value, size_t len, struct keyop_key *out, struct fault *f)
{
	*out = (struct keyop_key){.pair = NULL};
	if (secret_is_pair(s)) {
		out->pair = keypair_load(value, len);
		return out->pair ? 0 : fault_set(f, -EBADMSG, "the stored key is damaged");
	}
	if (strcmp(s->kind, "aes-256") || len != sizeof out->aes)
		return fault_set(f, -EBADMSG, "the stored secret is no key");
	memcpy(out->aes, value, len);
	return 0;
}

void secret_key_wipe(struct keyop_key *k)
{
	EVP_PKEY_free(k->pair);
	explicit_bzero(k, sizeof *k);
}
