// SPDX-License-Identifier: Apache-2.0
// What rules decide, and why. See rules.h. Pure.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/json.h"
#include "attest/rules.h"
#include "attest/slice.h"
#include "lib/encode.h"

enum truth { FALSE, TRUE, UNKNOWN };

static const char *const truth_words[] = {"false", "true", "unknown"};

static enum truth of(bool b)
{
	return b ? TRUE : FALSE;
}

static enum truth both(enum truth a, enum truth b)
{
	return a == FALSE || b == FALSE ? FALSE : a == UNKNOWN || b == UNKNOWN ? UNKNOWN : TRUE;
}

static enum truth either(enum truth a, enum truth b)
{
	return a == TRUE || b == TRUE ? TRUE : a == UNKNOWN || b == UNKNOWN ? UNKNOWN : FALSE;
}

static enum truth not(enum truth a)
{
	return a == UNKNOWN ? UNKNOWN : of(a == FALSE);
}

// What a condition expects and what it found, for people.
struct words {
	char expected[400], found[256];
};

__attribute__((format(printf, 2, 3))) static void expect(struct words *w, const char *format, ...)
{
	va_list ap;
	size_t n = strlen(w->expected);
	if (n && n + 6 < sizeof w->expected)
		n += (size_t)snprintf(w->expected + n, sizeof w->expected - n, " and ");
	va_start(ap, format);
	vsnprintf(w->expected + n, sizeof w->expected - n, format, ap);
	va_end(ap);
}

// '*' is any text ('/' ends it in resources), '?' one character. Linear: only the last star is ever tried again.
static bool glob(const char *p, const char *s, bool path)
{
	const char *star = NULL, *from = NULL;
	while (*s) {
		if (*p == '*') {
			star = ++p;
			from = s;
		} else if ((*p == '?' && !(path && *s == '/')) || *p == *s) {
			p++;
			s++;
		} else if (star && !(path && *from == '/')) {
			p = star;
			s = ++from;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return !*p;
}

// A text, number or truth as text, all of it: what is cut off could be what a rule denies. NULL for anything else.
static const char *scalar(const json_t *v, char number[32])
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_boolean(v))
		return json_is_true(v) ? "true" : "false";
	if (!json_is_integer(v))
		return NULL;
	snprintf(number, 32, "%lld", (long long)json_integer_value(v));
	return number;
}

static void show(const json_t *v, char *out, size_t size)
{
	char number[32];
	const char *s = v ? scalar(v, number) : "none";
	char *text = s ? NULL : json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS);
	snprintf(out, size, "%s", s ? s : text ? text : "");
	free(text);
}

static bool listed(const json_t *list, const char *s)
{
	size_t i;
	json_t *e;
	json_array_foreach((json_t *)list, i, e) {
		if (!strcmp(json_string_value(e), s))
			return true;
	}
	return false;
}

static void expect_list(struct words *w, const char *before, const json_t *list)
{
	char text[300];
	size_t n = 0, i;
	json_t *e;
	json_array_foreach((json_t *)list, i, e) {
		if (n < 200)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s%.90s", i ? ", " : "", json_string_value(e));
	}
	expect(w, "%s%s%s", before, i ? text : "nothing", n >= 200 ? "..." : "");
}

// Texts and numbers against the operators that compare with values.
static enum truth ask_scalar(const json_t *policy, const json_t *c, const json_t *v, struct words *w)
{
	static const struct { const char *name, *set; bool in; const char *words; } lists[] = {
		{"in", "in_set", true, "one of "}, {"not_in", "not_in_set", false, "none of "},
	};
	char number[32];
	const char *s = scalar(v, number), *is = json_string_value(json_object_get(c, "is"));
	const char *is_not = json_string_value(json_object_get(c, "is_not")), *matches = json_string_value(json_object_get(c, "matches"));
	enum truth t = TRUE;
	if (is) {
		expect(w, "%.200s", is);
		t = both(t, s ? of(!strcmp(s, is)) : UNKNOWN);
	}
	if (is_not) {
		expect(w, "not %.200s", is_not);
		t = both(t, s ? of(strcmp(s, is_not) != 0) : UNKNOWN);
	}
	if (matches) {
		expect(w, "text like %.200s", matches);
		t = both(t, s ? of(glob(matches, s, false)) : UNKNOWN);
	}
	for (size_t i = 0; i < 2; i++) {
		const char *set = json_string_value(json_object_get(c, lists[i].set));
		const json_t *own = json_object_get(c, lists[i].name), *named = json_object_get(json_object_get(policy, "sets"), set ? set : "");
		if (own) {
			expect_list(w, lists[i].words, own);
			t = both(t, s ? of(listed(own, s) == lists[i].in) : UNKNOWN);
		}
		if (set) {
			expect(w, "%sthe set %.64s", lists[i].words, set);
			t = both(t, s ? of(listed(named, s) == lists[i].in) : UNKNOWN);
		}
	}
	return t;
}

// Numbers, versions and times.
static enum truth ask_order(const json_t *c, const json_t *v, time_t now, struct words *w)
{
	const json_t *least = json_object_get(c, "at_least"), *most = json_object_get(c, "at_most"), *age = json_object_get(c, "max_age_days");
	const char *above = json_string_value(json_object_get(c, "version_at_least")), *below = json_string_value(json_object_get(c, "version_below"));
	const json_t *since = json_object_get(c, "since");
	const char *s = json_string_value(v);
	time_t then = s ? slice_time(v) : -1;
	enum truth t = TRUE;
	if (least) {
		expect(w, "%lld or more", (long long)json_integer_value(least));
		t = both(t, json_is_integer(v) ? of(json_integer_value(v) >= json_integer_value(least)) : UNKNOWN);
	}
	if (most) {
		expect(w, "%lld or less", (long long)json_integer_value(most));
		t = both(t, json_is_integer(v) ? of(json_integer_value(v) <= json_integer_value(most)) : UNKNOWN);
	}
	if (above) {
		int order = s ? rules_version_compare(s, above) : -2;
		expect(w, "version %.64s or later", above);
		t = both(t, order == -2 ? UNKNOWN : of(order >= 0));
	}
	if (below) {
		int order = s ? rules_version_compare(s, below) : -2;
		expect(w, "a version before %.64s", below);
		t = both(t, order == -2 ? UNKNOWN : of(order < 0));
	}
	if (since) {
		expect(w, "%s or later", json_string_value(since));
		t = both(t, then < 0 ? UNKNOWN : of(then >= slice_time(since)));
	}
	if (age) {
		expect(w, "at most %lld days ago", (long long)json_integer_value(age));
		t = both(t, then < 0 ? UNKNOWN : of(then >= now - json_integer_value(age) * 86400));
	}
	return t;
}

// Lists and objects.
static enum truth ask_parts(const json_t *c, const json_t *v, struct words *w)
{
	const json_t *tcb = json_object_get(c, "tcb_at_least"), *without = json_object_get(c, "contains_none");
	const char *contains = json_string_value(json_object_get(c, "contains")), *part;
	enum truth t = TRUE;
	json_t *least, *e;
	size_t i;
	json_object_foreach((json_t *)tcb, part, least) {
		const json_t *have = json_object_get(v, part);
		expect(w, "%.32s %lld or later", part, (long long)json_integer_value(least));
		t = both(t, json_is_integer(have) ? of(json_integer_value(have) >= json_integer_value(least)) : UNKNOWN);
	}
	if (contains || without) {
		bool some = false, bad = false;
		json_array_foreach((json_t *)v, i, e) {
			const char *s = json_string_value(e) ?: "";
			some |= contains && !strcmp(s, contains);
			bad |= without && listed(without, s);
		}
		if (contains) {
			expect(w, "a list with %.200s", contains);
			t = both(t, json_is_array(v) ? of(some) : UNKNOWN);
		}
		if (without) {
			expect_list(w, "a list with none of ", without);
			t = both(t, json_is_array(v) ? of(!bad) : UNKNOWN);
		}
	}
	return t;
}

// Whether what was found of a claim is among the reference values of that name.
static enum truth ask_reference(const struct rules_input *in, const json_t *c, const json_t *v, struct words *w)
{
	const char *name = json_string_value(json_object_get(c, "reference"));
	struct refval_answer a;
	if (!name)
		return TRUE;
	if (!in->references) {
		expect(w, "a reference value of %.64s, but there are none", name);
		return UNKNOWN;
	}
	switch (refval_lookup(in->references, name, json_string_value(json_object_get(in->claims, "tee")), v, in->now, &a)) {
	case REFVAL_GOOD:
		expect(w, "a reference value of %.64s", name);
		return TRUE;
	case REFVAL_UNKNOWN:
		expect(w, "a reference value of %.64s, but no document has one", name);
		return UNKNOWN;
	case REFVAL_REVOKED:
		expect(w, "a reference value of %.64s that is not revoked", name);
		return FALSE;
	case REFVAL_EXPIRED:
		expect(w, "a reference value of %.64s that holds now", name);
		return FALSE;
	case REFVAL_DIFFERS:
		break;
	}
	expect(w, "a reference value of %.64s", name);
	return v ? FALSE : UNKNOWN;
}

static enum truth ask(const json_t *policy, const struct rules_input *in, const json_t *c, const json_t *v, struct words *w)
{
	const json_t *present = json_object_get(c, "present");
	enum truth t = TRUE;
	if (present) {
		expect(w, json_is_true(present) ? "something" : "nothing");
		t = of((v != NULL) == json_is_true(present));
		if (json_is_false(present))
			return t;
	}
	t = both(t, ask_scalar(policy, c, v, w));
	t = both(t, ask_order(c, v, in->now, w));
	t = both(t, ask_parts(c, v, w));
	return both(t, ask_reference(in, c, v, w));
}

// Follows "a.b[each].c" from `v`. [each]: every element must answer, [some]: one. The words are those of the element that decided.
static enum truth walk(const json_t *policy, const struct rules_input *in, const json_t *c, const json_t *v, const char *path, struct words *w)
{
	char name[128];
	if (!*path) {
		*w = (struct words){"", ""};
		show(v, w->found, sizeof w->found);
		return ask(policy, in, c, v, w);
	}
	size_t n = strcspn(path, "."), name_len = n;
	const char *rest = path + n + (path[n] == '.');
	bool each = n > 6 && !memcmp(path + n - 6, "[each]", 6), some = n > 6 && !memcmp(path + n - 6, "[some]", 6);
	if (each || some)
		name_len -= 6;
	snprintf(name, sizeof name, "%.*s", (int)name_len, path);
	const json_t *child = json_object_get(v, name);
	if (!each && !some)
		return walk(policy, in, c, child, rest, w);
	enum truth t = each ? TRUE : FALSE;
	size_t i;
	json_t *e;
	if (!json_is_array(child) || (each && !json_array_size(child))) {
		walk(policy, in, c, NULL, "", w);	// for the words
		return UNKNOWN;
	}
	json_array_foreach((json_t *)child, i, e) {
		struct words own;
		enum truth one = walk(policy, in, c, e, rest, &own);
		enum truth next = each ? both(t, one) : either(t, one);
		if (i == 0 || next != t)
			*w = own;
		t = next;
	}
	return t;
}

static enum truth ask_time(const json_t *c, time_t now, struct words *w)
{
	const json_t *from = json_object_get(c, "not_before"), *to = json_object_get(c, "not_after"), *days = json_object_get(c, "days");
	const char *hours = json_string_value(json_object_get(c, "hours"));
	enum truth t = TRUE;
	struct tm tm = {0};
	int begin = 0, end = 0;
	char stamp[32];
	gmtime_r(&now, &tm);
	int minute = tm.tm_hour * 60 + tm.tm_min;
	if (from) {
		expect(w, "from %s on", json_string_value(from));
		t = both(t, of(now >= slice_time(from)));
	}
	if (to) {
		expect(w, "until %s", json_string_value(to));
		t = both(t, of(now <= slice_time(to)));
	}
	if (hours) {
		bool valid = !rules_hours(hours, &begin, &end);
		expect(w, "between %s (UTC)", hours);
		t = both(t, !valid ? UNKNOWN : of(begin < end ? minute >= begin && minute < end : minute >= begin || minute < end));
	}
	if (days) {
		expect_list(w, "on ", days);
		t = both(t, of(listed(days, rules_days[tm.tm_wday])));
	}
	snprintf(w->found, sizeof w->found, "%s, a %s", time_text(stamp, now), rules_days[tm.tm_wday]);
	return t;
}

// k of n: each name counts once.
static enum truth ask_approval(const json_t *approval, const struct rules_input *in, struct words *w)
{
	const json_t *names = json_object_get(approval, "of");
	json_int_t k = json_integer_value(json_object_get(approval, "k")), have = 0;
	size_t i, n = 0;
	json_t *name;
	char before[48];
	snprintf(before, sizeof before, "%lld approvals of ", (long long)k);
	expect_list(w, before, names);
	if (in->all_approve)
		return TRUE;
	if (!in->approvals) {
		snprintf(w->found, sizeof w->found, "nothing is known of approvals here");
		return UNKNOWN;
	}
	json_array_foreach((json_t *)names, i, name) {
		if (!listed(in->approvals, json_string_value(name)))
			continue;
		have++;
		if (n < 150)
			n += (size_t)snprintf(w->found + n, sizeof w->found - n, "%s%.60s", n ? ", " : "", json_string_value(name));
	}
	if (have < k && n < sizeof w->found)
		snprintf(w->found + n, sizeof w->found - n, "%s%s%s", have ? "" : "none", in->approval_id ? "; coffer approve " : "",
			 in->approval_id ? in->approval_id : "");
	return of(have >= k);
}

static enum truth ask_one(const json_t *policy, const struct rules_input *in, const json_t *c, struct words *w)
{
	const char *claim = json_string_value(json_object_get(c, "claim")), *caller = json_string_value(json_object_get(c, "caller"));
	const char *resource = json_string_value(json_object_get(c, "resource")), *reference = json_string_value(json_object_get(c, "reference"));
	const json_t *owner = json_object_get(c, "owner_allows");
	if (claim)
		return walk(policy, in, c, in->claims, claim, w);
	if (caller)
		return walk(policy, in, c, in->caller, caller, w);
	if (resource) {
		expect(w, "%s", resource);
		snprintf(w->found, sizeof w->found, "%s", in->resource);
		return of(glob(resource, in->resource, true));
	}
	if (reference) {
		json_t *v = refval_claim(in->claims, reference);
		enum truth t = walk(policy, in, c, v, "", w);
		json_decref(v);
		return t;
	}
	if (owner) {
		bool known = in->owner_known && json_is_string(json_object_get(in->claims, "measurement"));
		expect(w, json_is_true(owner) ? "a measurement that the owner allows for this resource" : "one that the owner does not allow");
		snprintf(w->found, sizeof w->found, "%s", slice_text(in->claims, "measurement"));
		return known ? of(in->owner_allows == json_is_true(owner)) : UNKNOWN;
	}
	if (json_object_get(c, "approval"))
		return ask_approval(json_object_get(c, "approval"), in, w);
	return ask_time(c, in->now, w);
}

static json_t *node_of(const json_t *policy, const struct rules_input *in, const char *name, enum truth *t);

// all, any or none of a list: the nodes below into `node`.
static enum truth ask_list(const json_t *policy, const struct rules_input *in, const json_t *list, const char *kind, json_t *node)
{
	bool every = !strcmp(kind, "all");
	enum truth t = every ? TRUE : FALSE, one;
	json_t *below = json_array(), *name;
	size_t i;
	json_array_foreach((json_t *)list, i, name) {
		json_array_append_new(below, node_of(policy, in, json_string_value(name), &one));
		t = every ? both(t, one) : either(t, one);
	}
	json_object_set_new(node, kind, below);
	return !strcmp(kind, "none") ? not(t) : t;
}

static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	return j ? j : json_string("(not text)");
}

static json_t *node_of(const json_t *policy, const struct rules_input *in, const char *name, enum truth *t)
{
	static const char *const kinds[] = {"all", "any", "none"};
	const json_t *c = json_object_get(json_object_get(policy, "conditions"), name);
	json_t *node = json_pack("{s:s}", "condition", name);
	for (size_t k = 0; k < 3; k++) {
		const json_t *list = json_object_get(c, kinds[k]);
		if (list) {
			*t = ask_list(policy, in, list, kinds[k], node);
			json_object_set_new(node, "result", json_string(truth_words[*t]));
			return node;
		}
	}
	struct words w = {"", ""};
	const char *about = json_string_value(json_object_get(c, "claim"));
	if (!about)
		about = json_string_value(json_object_get(c, "caller"));
	if (!about)
		about = json_string_value(json_object_get(c, "reference"));
	*t = ask_one(policy, in, c, &w);
	json_object_set_new(node, "result", json_string(truth_words[*t]));
	if (about)
		json_object_set_new(node, "about", json_string(about));
	json_object_set_new(node, "expected", text(w.expected));
	json_object_set_new(node, "found", text(w.found));
	return node;
}

static bool applies(const json_t *rule, const char *resource)
{
	size_t i;
	json_t *pattern;
	json_array_foreach(json_object_get(rule, "resources"), i, pattern) {
		if (glob(json_string_value(pattern), resource, true))
			return true;
	}
	return false;
}

json_t *rules_decide(const json_t *policy, const struct rules_input *in)
{
	bool allowed = false, denied = false;
	const char *by = NULL;
	json_t *list = json_array(), *rule;
	size_t i;
	json_array_foreach(json_object_get(policy, "rules"), i, rule) {
		const json_t *allow = json_object_get(rule, "allow_when"), *deny = json_object_get(rule, "deny_when");
		const char *name = slice_text(rule, "name");
		bool here = applies(rule, in->resource);
		json_t *node = json_pack("{s:s, s:b}", "rule", name, "applies", here);
		json_array_append_new(list, node);
		if (!here)
			continue;
		if (json_array_size(deny)) {	// one is enough, and what is not known denies
			json_t *n = json_object();
			bool yes = ask_list(policy, in, deny, "any", n) != FALSE;
			json_object_set_new(n, "result", json_string(yes ? "denies" : "does not deny"));
			json_object_set_new(node, "deny_when", n);
			by = yes && !denied ? name : by;
			denied |= yes;
		}
		if (json_array_size(allow)) {
			json_t *n = json_object();
			bool yes = ask_list(policy, in, allow, "all", n) == TRUE;
			json_object_set_new(n, "result", json_string(yes ? "allows" : "does not allow"));
			json_object_set_new(node, "allow_when", n);
			by = yes && !denied && !allowed ? name : by;
			allowed |= yes;
		}
	}
	json_t *d = json_pack("{s:b, s:s, s:o}", "allowed", allowed && !denied, "resource", in->resource, "rules", list);
	if (d && by)
		json_object_set_new(d, "rule", json_string(by));
	return d;
}

bool rules_wait_for_approval(const json_t *policy, const struct rules_input *in)
{
	struct rules_input then = *in;
	then.all_approve = true;
	json_t *now = rules_decide(policy, in), *later = rules_decide(policy, &then);
	bool waits = !rules_allowed(now) && rules_allowed(later);
	json_decref(now);
	json_decref(later);
	return waits;
}

bool rules_allowed(const json_t *decision)
{
	return json_is_true(json_object_get(decision, "allowed"));
}

static void add(struct attest_result *r, const char *id, const char *expected, const char *found)
{
	if (r->count + 4 > ATTEST_MAX_CHECKS)	// the whole tree is in the decision; these are its words
		return;
	struct attest_check *c = attest_check_add(r, id, false);
	attest_expected(c, "%s", expected);
	attest_found(c, "%s", found);
}

// The leaves that stood in the way of `wanted`.
static void explain_node(const json_t *node, bool wanted, struct attest_result *r)
{
	static const char *const kinds[] = {"all", "any", "none"};
	const char *result = slice_text(node, "result");
	char expected[480], found[300];
	size_t i;
	json_t *child;
	if (!strcmp(result, wanted ? "true" : "false"))
		return;
	for (size_t k = 0; k < 3; k++) {
		json_array_foreach(json_object_get(node, kinds[k]), i, child)
			explain_node(child, k == 2 ? !wanted : wanted, r);
		if (json_object_get(node, kinds[k]))
			return;
	}
	const char *about = slice_text(node, "about");
	snprintf(expected, sizeof expected, "%s%s%s%s", wanted ? "" : "not ", about, *about ? ": " : "", slice_text(node, "expected"));
	snprintf(found, sizeof found, "%.200s%s", slice_text(node, "found"), !strcmp(result, "unknown") ? " (so it is not known)" : "");
	add(r, slice_text(node, "condition"), expected, found);
}

void rules_explain(const json_t *decision, struct attest_result *r)
{
	bool any = false;
	size_t i, k;
	json_t *rule, *node;
	if (rules_allowed(decision)) {
		struct attest_check *c = attest_check_add(r, "rules", true);
		attest_expected(c, "a rule that allows %s", slice_text(decision, "resource"));
		attest_found(c, "'%s'", slice_text(decision, "rule"));
		return;
	}
	unsigned int before = r->count;
	json_array_foreach(json_object_get(decision, "rules"), i, rule) {
		const json_t *allow = json_object_get(rule, "allow_when"), *deny = json_object_get(rule, "deny_when");
		any |= json_is_true(json_object_get(rule, "applies"));
		json_array_foreach(json_object_get(allow, "all"), k, node)
			explain_node(node, true, r);
		json_array_foreach(json_object_get(deny, "any"), k, node)
			explain_node(node, false, r);
	}
	if (r->count == before)
		add(r, "rules", any ? "a rule that allows this" : "a rule for this resource", slice_text(decision, "resource"));
}
