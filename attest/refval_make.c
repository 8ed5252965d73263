// SPDX-License-Identifier: Apache-2.0
// Making documents of reference values; see refval.h. Bodies are JSON until they are signed.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/json.h"
#include "attest/refval.h"
#include "attest/slice.h"
#include "lib/encode.h"

json_t *refval_body(const char *name, time_t from, time_t until)
{
	char a[32], b[32];
	return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:[]}", "format", REFVAL_FORMAT, "name", name, "version", 0, "issued", time_text(a, from),
			 "not_before", a, "not_after", time_text(b, until), "values");
}

static bool same_text(const json_t *o, const char *name, const char *text)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s && text ? !strcmp(s, text) : !s && !text;
}

// Whether the row is this value, of whatever time and for whatever reason.
static bool same(const json_t *row, const struct refval_new *v)
{
	const json_t *value = json_object_get(row, v->kind == REFVAL_MINIMUM ? "minimum" : "value");
	return same_text(row, "name", v->name) && same_text(row, "tee", v->tee) && same_text(row, "mask", v->mask) && value &&
	       json_equal(value, v->value);
}

// When the value holds; false when that is how it was.
static bool set_times(json_t *row, time_t from, time_t until)
{
	if (slice_time(json_object_get(row, "not_before")) == from && slice_time(json_object_get(row, "not_after")) == until)
		return false;
	json_object_del(row, "not_before");
	json_object_del(row, "not_after");
	if (from >= 0)
		set_time(row, "not_before", from);
	if (until >= 0)
		set_time(row, "not_after", until);
	return true;
}

int refval_put(json_t *body, const struct refval_new *v, struct fault *f)
{
	json_t *values = json_object_get(body, "values"), *row;
	size_t i;
	json_array_foreach(values, i, row) {
		if (!same(row, v))
			continue;
		if (json_object_get(row, "revoked"))
			return fault_set(f, -EKEYREVOKED, "%s: that value was revoked %s; what is revoked does not come back", v->name,
					 slice_text(row, "revoked"));
		// The next manifest of the same values holds longer; who says no time leaves what was said before.
		return (v->from >= 0 || v->until >= 0) && set_times(row, v->from, v->until);
	}
	row = json_pack("{s:s, s:O}", "name", v->name, v->kind == REFVAL_MINIMUM ? "minimum" : "value", v->value);
	if (!row)
		return fault_set(f, -EINVAL, "%s: not a text", v->name);
	if (v->mask)
		set_text(row, "mask", v->mask);
	if (v->tee)
		set_text(row, "tee", v->tee);
	if (v->note && *v->note)
		set_text(row, "note", v->note);
	set_times(row, v->from, v->until);
	return json_array_append_new(values, row) ? fault_set(f, -ENOMEM, "out of memory") : 1;
}

int refval_revoke(json_t *body, const char *name, const json_t *value, const char *reason, time_t now, struct fault *f)
{
	json_t *row;
	size_t i;
	int count = 0;
	json_array_foreach(json_object_get(body, "values"), i, row) {
		const json_t *own = json_object_get(row, json_object_get(row, "minimum") ? "minimum" : "value");
		if (!same_text(row, "name", name) || (value && !json_equal(own, value)) || json_object_get(row, "revoked"))
			continue;
		set_time(row, "revoked", now);
		if (reason)
			set_text(row, "reason", reason);
		count++;
	}
	return count ? count : fault_set(f, -ENOENT, "there is no such value of %s that is not revoked yet", name);
}

int refval_sign(json_t *body, const struct dsse_key *key, time_t now, char **out, struct fault *f)
{
	struct refval_doc d;
	json_int_t version = json_integer_value(json_object_get(body, "version"));
	*out = NULL;
	set_number(body, "version", version + 1);
	set_time(body, "issued", now);
	char *text = json_dumps(body, JSON_INDENT(1) | JSON_SORT_KEYS);
	if (!text)
		return fault_set(f, -ENOMEM, "out of memory");
	int err = dsse_seal(REFVAL_TYPE, text, strlen(text), key, out, f);
	free(text);
	if (!err)
		err = refval_open(*out, strlen(*out), key, 1, &d, f);
	if (err) {
		free(*out);
		*out = NULL;
		return err;
	}
	refval_close(&d);
	return 0;
}

// Digests are compared as text, and claims have them in lower case.
static void lower_hex(char *s)
{
	if (strlen(s) < 16 || strspn(s, "0123456789abcdefABCDEF") != strlen(s))
		return;
	for (; *s; s++)
		*s = (char)tolower((unsigned char)*s);
}

// Up to ten digits without a zero in front: more is a digest that happens to have no letters.
static bool number(const char *s)
{
	size_t n = strlen(s);
	return n && n <= 10 && strspn(s, "0123456789") == n && (*s != '0' || n == 1);
}

static json_t *value_of(const char *s)
{
	if (number(s))
		return json_integer(atoll(s));
	return !strcmp(s, "true") || !strcmp(s, "false") ? json_boolean(*s == 't') : json_string(s);
}

int refval_parse(char *text, struct refval_new *v, struct fault *f)
{
	char *eq = strchr(text, '=');
	*v = (struct refval_new){.from = -1, .until = -1};
	if (!eq || eq == text || !eq[1])
		return fault_set(f, -EINVAL, "'%.100s': write NAME=VALUE, NAME>=NUMBER or NAME=HEX/MASK", text);
	v->kind = eq[-1] == '>' ? REFVAL_MINIMUM : REFVAL_EQUALS;
	eq[v->kind == REFVAL_MINIMUM ? -1 : 0] = '\0';
	v->name = text;
	char *value = eq + 1, *slash = strchr(value, '/');
	if (v->kind == REFVAL_MINIMUM && !number(value))
		return fault_set(f, -EINVAL, "'%.100s': a minimum is a number", value);
	if (slash && v->kind == REFVAL_EQUALS) {
		*slash = '\0';
		v->mask = slash + 1;
		v->kind = REFVAL_MASKED;
		if (strspn(value, "0123456789abcdefABCDEF") != strlen(value) || strspn(v->mask, "0123456789abcdefABCDEF") != strlen(v->mask) ||
		    strlen(value) != strlen(v->mask))
			return fault_set(f, -EINVAL, "'%.100s/%.100s': bytes and their mask are hex of one length", value, v->mask);
		for (char *s = value; *s; s++)
			*s = (char)tolower((unsigned char)*s);
		for (char *s = slash + 1; *s; s++)
			*s = (char)tolower((unsigned char)*s);
	}
	lower_hex(value);
	v->value = v->mask ? json_string(value) : value_of(value);
	return v->value ? 0 : fault_set(f, -EINVAL, "%s: the value is not text", v->name);
}

char *refval_text(const struct refval *v, char *out, size_t size)
{
	if (json_is_string(v->value))
		snprintf(out, size, "=%s%s%s", json_string_value(v->value), v->mask ? "/" : "", v->mask ? v->mask : "");
	else if (json_is_boolean(v->value))
		snprintf(out, size, "=%s", json_is_true(v->value) ? "true" : "false");
	else
		snprintf(out, size, "%s%lld", v->kind == REFVAL_MINIMUM ? ">=" : "=", (long long)json_integer_value(v->value));
	return out;
}
