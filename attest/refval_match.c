// SPDX-License-Identifier: Apache-2.0
// Claims against reference values; see refval.h. Pure.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/json.h"
#include "attest/refval.h"
#include "lib/encode.h"

// Checks of one verdict beside the verifier's own: more names than this share the last one.
#define CHECKS_MAX 20

static const char *const families[] = {"snp", "tdx", "sgx", "csv", "cca", "psa", "tpm", "gpu", NULL};

// The kind of hardware that a path begins with, or is: its number; -1: any.
static signed char family_of(const char *name)
{
	for (signed char i = 0; families[i]; i++) {
		size_t n = strlen(families[i]);
		if (!strncmp(name, families[i], n) && (name[n] == '.' || !name[n]))
			return i;
	}
	return -1;
}

// ---- values by name ----

static unsigned int bucket_of(const struct refval_set *s, const char *name)
{
	unsigned int h = 2166136261u;
	for (const char *p = name; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	h &= s->bucket_count - 1;
	while (s->buckets[h] && strcmp(s->names[s->buckets[h] - 1].name, name))
		h = (h + 1) & (s->bucket_count - 1);
	return h;
}

static const struct refval *first_named(const struct refval_set *s, const char *name)
{
	unsigned int at = s->bucket_count ? s->buckets[bucket_of(s, name)] : 0;
	return at ? s->names[at - 1].first : NULL;
}

int refval_index(struct refval_set *s)
{
	free(s->names);
	free(s->buckets);
	s->name_count = s->bucket_count = 0;
	unsigned int room = 16;
	while (room < 2 * s->values)
		room *= 2;
	s->names = calloc(s->values + 1, sizeof *s->names);
	s->buckets = calloc(room, sizeof *s->buckets);
	if (!s->names || !s->buckets)
		return -ENOMEM;
	s->bucket_count = room;
	for (unsigned int i = 0; i < s->count; i++) {
		for (unsigned int k = 0; k < s->docs[i].count; k++) {
			struct refval *v = &s->docs[i].values[k];
			unsigned int at = bucket_of(s, v->name);
			if (!s->buckets[at]) {
				s->names[s->name_count].name = v->name;
				s->buckets[at] = ++s->name_count;
			}
			struct refval_name *n = &s->names[s->buckets[at] - 1];
			v->id = s->buckets[at] - 1;
			v->doc = &s->docs[i];
			v->next = NULL;
			v->family = strchr(v->name, '.') ? family_of(v->name) : -1;
			v->hardware = v->tee ? family_of(v->tee) : -1;
			if (n->last)
				n->last->next = v;
			else
				n->first = v;
			n->last = v;
		}
	}
	return 0;
}

// ---- a claim ----

bool refval_is_tee(const char *name)
{
	const char *const *t = families;
	while (*t && strcmp(*t, name))
		t++;
	return *t != NULL;
}

static json_t *step(json_t *at, const char *part)
{
	json_t *list, *member;
	size_t i;
	if (!json_is_array(at))
		return json_incref(json_object_get(at, part));
	list = json_array();
	json_array_foreach(at, i, member) {
		const char *type = json_string_value(json_object_get(member, "type"));
		if (type && !strcmp(type, part))
			json_array_append(list, member);
	}
	if (!json_array_size(list)) {	// a member of those selected before
		json_array_foreach(at, i, member) {
			json_t *inner = json_object_get(member, part);
			json_array_append_new(list, inner ? json_incref(inner) : json_null());	// one that has none is none that is good
		}
	}
	return list;
}

// Digests of events, values of components.
static json_t *plain(json_t *v)
{
	json_t *inner = json_object_get(v, "digest");
	if (!inner)
		inner = json_object_get(v, "value");
	return json_incref(inner ? inner : v);
}

json_t *refval_claim(const json_t *claims, const char *name)
{
	json_t *at = json_incref((json_t *)claims), *next, *member;
	char part[192];
	size_t i;
	while (*name && at) {
		size_t n = strcspn(name, ".");
		snprintf(part, sizeof part, "%.*s", (int)n, name);
		next = step(at, part);
		json_decref(at);
		at = next;
		name += n + (name[n] == '.');
	}
	if (!json_is_array(at)) {
		next = at ? plain(at) : NULL;
	} else {
		next = json_array();
		json_array_foreach(at, i, member)
			json_array_append_new(next, plain(member));
	}
	json_decref(at);
	return next;
}

static char *say(const json_t *v, char *out, size_t size)
{
	if (!v)
		snprintf(out, size, "none");
	else if (json_is_string(v))
		snprintf(out, size, "%s", json_string_value(v));
	else if (json_is_integer(v))
		snprintf(out, size, "%lld", (long long)json_integer_value(v));
	else if (json_is_boolean(v))
		snprintf(out, size, "%s", json_is_true(v) ? "true" : "false");
	else
		snprintf(out, size, "something that is no value");
	return out;
}

static bool masked(const char *found, const char *value, const char *mask)
{
	uint8_t a[REFVAL_MAX_MASK], b[REFVAL_MAX_MASK], m[REFVAL_MAX_MASK];
	size_t n = strlen(mask) / 2;
	if (!found || strlen(found) != 2 * n || hex_decode(a, n, found) || hex_decode(b, n, value) || hex_decode(m, n, mask))
		return false;
	for (size_t i = 0; i < n; i++) {
		if ((a[i] ^ b[i]) & m[i])
			return false;
	}
	return true;
}

static bool is(const struct refval *v, const json_t *found)
{
	char number[32];
	if (v->kind == REFVAL_MINIMUM)
		return json_is_integer(found) && json_integer_value(found) >= json_integer_value(v->value);
	if (v->kind == REFVAL_MASKED)
		return masked(json_string_value(found), json_string_value(v->value), v->mask);
	if (json_is_integer(v->value) && json_is_string(found)) // a register of digits alone, which a person wrote as it stands
		return !strcmp(say(v->value, number, sizeof number), json_string_value(found));
	return json_equal(v->value, found);
}

struct matching {
	const struct refval *first;	// of the name
	const char *tee;
	time_t now;
	struct refval_answer *a;
	size_t shown, wanted;	// characters, and values, in a->expected
};

static bool wanted(const struct matching *m, const struct refval *v)
{
	return !v->tee || !m->tee || !strcmp(v->tee, m->tee);
}

// A set is used for as long as a broker runs: its documents' time may end meanwhile.
static bool current(const struct refval_doc *d, time_t now)
{
	return now >= d->from && now <= d->until;
}

static bool holds(const struct refval_doc *d, const struct refval *v, time_t now)
{
	return current(d, now) && (v->from < 0 || now >= v->from) && (v->until < 0 || now <= v->until);
}

__attribute__((format(printf, 2, 3))) static void tell(struct matching *m, const char *format, ...)
{
	va_list ap;
	size_t size = sizeof m->a->expected;
	if (m->shown >= size)
		return;
	va_start(ap, format);
	m->shown += (size_t)vsnprintf(m->a->expected + m->shown, size - m->shown, format, ap);
	va_end(ap);
}

// The set of what is wanted, in words: two of the values, and how many more.
static void expect(struct matching *m)
{
	char text[200];
	const struct refval *least = NULL;
	for (const struct refval *v = m->first; v; v = v->next) {
		if (!wanted(m, v) || v->revoked >= 0 || !holds(v->doc, v, m->now))
			continue;
		if (v->kind == REFVAL_MINIMUM) {
			if (!least || json_integer_value(v->value) > json_integer_value(least->value))
				least = v;
		} else if (m->wanted++ < 2) {
			tell(m, "%s%s%s%s", m->wanted > 1 ? " or " : "", say(v->value, text, sizeof text), v->mask ? "/" : "", v->mask ? v->mask : "");
		}
	}
	if (m->wanted > 2)
		tell(m, " or one of %zu more", m->wanted - 2);
	if (least)
		tell(m, "%s%lld or more", m->wanted ? ", and " : "", (long long)json_integer_value(least->value));
	else if (!m->wanted)
		tell(m, "a value that holds now, but all are revoked or out of date");
}

// One thing that was found. Every minimum must be reached; where there are values, it must be one of them; no revoked one will do.
static enum refval_verdict one(struct matching *m, const json_t *found)
{
	enum refval_verdict verdict = REFVAL_UNKNOWN;
	const struct refval_doc *good = NULL;
	bool below = false, values = false, minima = false, expired = false;
	char stamp[32], text[120];
	for (const struct refval *v = m->first; v; v = v->next) {
		const struct refval_doc *d = v->doc;
		if (!wanted(m, v))
			continue;
		if (verdict == REFVAL_UNKNOWN)
			verdict = REFVAL_DIFFERS;
		bool same = found && is(v, found);
		if (v->revoked >= 0 && v->kind == REFVAL_MINIMUM)
			continue;	// a minimum that was taken back
		if (v->revoked >= 0 && same) {
			m->a->doc = d;
			snprintf(m->a->found, sizeof m->a->found, "%.140s, revoked %s%s%.60s", say(found, text, sizeof text), time_text(stamp, v->revoked),
				 *v->reason ? ": " : "", v->reason);
			return REFVAL_REVOKED;
		}
		if (v->revoked >= 0)
			continue;
		if (!holds(d, v, m->now)) {
			expired |= same && v->kind != REFVAL_MINIMUM;
			// A document that is out of date allows nothing more, and what it demanded is still demanded.
			below |= !same && v->kind == REFVAL_MINIMUM && !current(d, m->now);
			continue;
		}
		if (v->kind == REFVAL_MINIMUM) {
			minima = true;
			below |= !same;
		} else {
			values = true;
		}
		if (same)
			good = d;
		if (same && v->kind != REFVAL_MINIMUM)
			verdict = REFVAL_GOOD;
	}
	if (verdict == REFVAL_DIFFERS && minima && !values && !expired)
		verdict = REFVAL_GOOD;
	if (below && verdict == REFVAL_GOOD)
		verdict = REFVAL_DIFFERS;
	if (verdict == REFVAL_DIFFERS && expired)
		verdict = REFVAL_EXPIRED;
	m->a->doc = verdict == REFVAL_GOOD ? good : NULL;
	say(found, m->a->found, sizeof m->a->found);
	if (verdict == REFVAL_EXPIRED)
		snprintf(m->a->found, sizeof m->a->found, "%s, whose time is over or has not come", say(found, text, sizeof text));
	return verdict;
}

enum refval_verdict refval_lookup(const struct refval_set *s, const char *name, const char *tee, const json_t *found, time_t now,
				  struct refval_answer *a)
{
	struct matching m = {.first = first_named(s, name), .tee = tee, .now = now, .a = a};
	const json_t *member;
	size_t i;
	memset(a, 0, sizeof *a);
	if (!json_is_array(found)) {
		a->verdict = one(&m, found);
	} else if (!json_array_size(found)) {
		a->verdict = one(&m, NULL);
	} else {
		json_array_foreach((json_t *)found, i, member) {
			a->verdict = one(&m, member);
			if (a->verdict != REFVAL_GOOD)
				break;
		}
	}
	expect(&m);
	return a->verdict;
}

// The kinds of hardware, also of simulated one, under whose names there are claims: bits by number. Azure's have two.
static unsigned int families_in(const json_t *claims)
{
	unsigned int there = 0;
	for (unsigned int i = 0; families[i]; i++)
		there |= (unsigned int)(json_object_get(claims, families[i]) != NULL) << i;
	return there;
}

static bool applies(unsigned int there, const struct refval *v)
{
	return (v->family < 0 || there >> v->family & 1) && (v->hardware < 0 || there >> v->hardware & 1);
}

// The first kind of hardware that both the claims and the values of that name speak of.
static const char *tee_for(const struct refval *first, unsigned int there)
{
	for (const struct refval *v = first; v; v = v->next) {
		if (v->hardware >= 0 && there >> v->hardware & 1)
			return v->tee;
	}
	for (unsigned int i = 0; families[i]; i++) {
		if (there >> i & 1)
			return families[i];
	}
	return "none";
}

void refval_appraise(const struct refval_set *s, time_t now, struct attest_result *r)
{
	struct attest_check *c, *rest = NULL;
	struct refval_answer a;
	unsigned int names = 0, others = 0, room = ATTEST_MAX_CHECKS - r->count;
	uint8_t done[REFVAL_MAX_VALUES / 8 + 1] = {0};	// by name
	unsigned int there = families_in(r->claims);
	size_t n = 0;
	room = room < 2 ? 0 : room - 2 < CHECKS_MAX ? room - 2 : CHECKS_MAX;	// two more follow
	for (unsigned int i = 0; i < s->count; i++) {
		for (unsigned int k = 0; k < s->docs[i].count; k++) {
			const struct refval *v = &s->docs[i].values[k];
			if (!applies(there, v) || done[v->id / 8] >> (v->id % 8) & 1)
				continue;
			done[v->id / 8] |= (uint8_t)(1u << (v->id % 8));
			json_t *found = refval_claim(r->claims, v->name);
			bool good = refval_lookup(s, v->name, tee_for(s->names[v->id].first, there), found, now, &a) == REFVAL_GOOD;
			json_decref(found);
			if (names++ < room) {
				c = attest_check_add(r, v->name, good);
				attest_expected(c, "%s", a.expected);
				attest_found(c, "%s", a.found);
				continue;
			}
			if (!rest)
				rest = attest_check_add(r, "reference-others", true);
			others++;
			if (!good && rest->outcome == ATTEST_PASSED) {
				rest->outcome = ATTEST_FAILED;
				attest_expected(rest, "%s: %.400s", v->name, a.expected);
				attest_found(rest, "%s", a.found);
			} else if (rest->outcome == ATTEST_PASSED) {
				attest_found(rest, "%u more", others);
			}
		}
	}
	c = attest_check_add(r, "reference", names > 0);
	attest_expected(c, "reference values for this kind of evidence");
	for (unsigned int i = 0; i < s->count && n < sizeof c->found; i++)
		n += (size_t)snprintf(c->found + n, sizeof c->found - n, "%s%s version %lld by %.16s", i ? ", " : "", s->docs[i].name,
				      (long long)s->docs[i].version, s->docs[i].signer);
	if (!s->count)
		attest_found(c, "none");
}
