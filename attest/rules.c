// SPDX-License-Identifier: Apache-2.0
// The form of rules, and what must hold of them before they decide anything. See rules.h. Pure; the fuzz target fuzz_rules drives it.
#include "attest/rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/slice.h"

static const struct yamlcfg_type text = {.kind = YAMLCFG_TEXT};
static const struct yamlcfg_type number = {.kind = YAMLCFG_INT, .min = 0, .max = 1ll << 52};
#define TEXT {.kind = YAMLCFG_TEXT}
#define BOOL {.kind = YAMLCFG_BOOL}
#define INT {.kind = YAMLCFG_INT, .min = -(1ll << 52), .max = 1ll << 52}
#define LIST {.kind = YAMLCFG_LIST, .item = &text}

static const struct yamlcfg_key approval_keys[] = {
	{.name = "k", .type = {.kind = YAMLCFG_INT, .min = 1, .max = 100}, .required = true}, {.name = "of", .type = LIST, .required = true}, {.name = NULL},
};
static const struct yamlcfg_key condition_keys[] = {
	// subjects: one of them
	{.name = "claim", .type = TEXT}, {.name = "caller", .type = TEXT}, {.name = "resource", .type = TEXT}, {.name = "owner_allows", .type = BOOL},
	{.name = "all", .type = LIST}, {.name = "any", .type = LIST}, {.name = "none", .type = LIST},
	{.name = "approval", .type = {.kind = YAMLCFG_RECORD, .keys = approval_keys}},
	{.name = "not_before", .type = TEXT}, {.name = "not_after", .type = TEXT}, {.name = "hours", .type = TEXT}, {.name = "days", .type = LIST},
	// what is asked of a claim, or of what is known of the caller
	{.name = "reference", .type = TEXT}, {.name = "is", .type = TEXT}, {.name = "is_not", .type = TEXT}, {.name = "in", .type = LIST},
	{.name = "not_in", .type = LIST}, {.name = "in_set", .type = TEXT}, {.name = "not_in_set", .type = TEXT}, {.name = "at_least", .type = INT},
	{.name = "at_most", .type = INT}, {.name = "version_at_least", .type = TEXT}, {.name = "version_below", .type = TEXT},
	{.name = "tcb_at_least", .type = {.kind = YAMLCFG_MAP, .item = &number}}, {.name = "matches", .type = TEXT}, {.name = "contains", .type = TEXT},
	{.name = "contains_none", .type = LIST}, {.name = "present", .type = BOOL}, {.name = "since", .type = TEXT},
	{.name = "max_age_days", .type = {.kind = YAMLCFG_INT, .min = 0, .max = 36500}},
	{.name = NULL},
};
enum { FIRST_OPERATOR = 12 };	// in condition_keys
const struct yamlcfg_type rules_condition = {.kind = YAMLCFG_RECORD, .keys = condition_keys};
static const struct yamlcfg_key rule_keys[] = {
	{.name = "name", .type = TEXT, .required = true}, {.name = "resources", .type = LIST, .required = true}, {.name = "allow_when", .type = LIST},
	{.name = "deny_when", .type = LIST}, {.name = NULL},
};
const struct yamlcfg_type rules_rule = {.kind = YAMLCFG_RECORD, .keys = rule_keys};
const struct yamlcfg_type rules_set = LIST;

const char *const rules_days[] = {"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", NULL};

bool rules_any(const json_t *policy)
{
	return json_array_size(json_object_get(policy, "rules")) > 0;
}

static int minutes(const char *s)
{
	for (int i = 0; i < 5; i++) {
		if (i == 2 ? s[i] != ':' : s[i] < '0' || s[i] > '9')
			return -1;
	}
	int h = (s[0] - '0') * 10 + s[1] - '0', m = (s[3] - '0') * 10 + s[4] - '0';
	return h > 24 || m > 59 || h * 60 + m > 24 * 60 ? -1 : h * 60 + m;
}

int rules_hours(const char *s, int *from, int *to)
{
	if (strlen(s) != 11 || s[5] != '-')
		return -EINVAL;
	*from = minutes(s);
	*to = minutes(s + 6);
	return *from < 0 || *to < 0 || *from == *to ? -EINVAL : 0;
}

// The next part of a version, at most nine digits; *s moves behind it and its point. -1: none.
static long part(const char **s)
{
	size_t n = strspn(*s, "0123456789");
	if (!n || n > 9 || ((*s)[n] && ((*s)[n] != '.' || !(*s)[n + 1])))
		return -1;
	long v = strtol(*s, NULL, 10);
	*s += n + ((*s)[n] == '.');
	return v;
}

int rules_version_compare(const char *a, const char *b)
{
	int order = 0;
	if (!*a || !*b)
		return -2;
	while (*a || *b) {	// what is missing is 0
		long x = *a ? part(&a) : 0, y = *b ? part(&b) : 0;
		if (x < 0 || y < 0)
			return -2;
		if (!order)
			order = x < y ? -1 : x > y;
	}
	return order;
}

static bool known_day(const char *s)
{
	for (const char *const *d = rules_days; *d; d++) {
		if (!strcmp(*d, s))
			return true;
	}
	return false;
}

// Counts the nodes below, and finds circles: both end at a limit.
static int measure(const json_t *conditions, const char *name, int depth, int *nodes, struct fault *f)
{
	static const char *const lists[] = {"all", "any", "none"};
	const json_t *c = json_object_get(conditions, name);
	size_t i;
	json_t *child;
	if (!c)
		return fault_set(f, -EINVAL, "there is no condition '%.64s'", name);
	if (depth > RULES_MAX_DEPTH)
		return fault_set(f, -EINVAL, "condition '%.64s': names itself, or is nested more than %d deep", name, RULES_MAX_DEPTH);
	if (++*nodes > RULES_MAX_NODES)
		return fault_set(f, -EINVAL, "condition '%.64s': more than %d conditions in all", name, RULES_MAX_NODES);
	for (size_t k = 0; k < 3; k++) {
		json_array_foreach(json_object_get(c, lists[k]), i, child) {
			int err = measure(conditions, json_string_value(child), depth + 1, nodes, f);
			if (err)
				return err;
		}
	}
	return 0;
}

static bool has(const json_t *c, const char *name)
{
	return json_object_get(c, name) != NULL;
}

static int check_subject(const char *name, const json_t *c, bool *asks, struct fault *f)
{
	static const char *const alone[] = {"claim", "caller", "resource", "owner_allows", "all", "any", "none", "approval"};
	static const char *const times[] = {"not_before", "not_after", "hours", "days"};
	int subjects = 0;
	bool timed = false;
	for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
		subjects += has(c, alone[i]);
	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		timed |= has(c, times[i]);
	subjects += timed;
	bool only_reference = !subjects && has(c, "reference");	// of the claim of that name
	if (subjects + only_reference != 1)
		return fault_set(f, -EINVAL, "condition '%.64s': about one thing each: claim, caller, resource, owner_allows, approval, reference, a time, or all, any, none "
				 "of others", name);
	*asks = has(c, "claim") || has(c, "caller") || only_reference;
	int operators = 0;
	for (const struct yamlcfg_key *k = condition_keys + FIRST_OPERATOR; k->name; k++)
		operators += has(c, k->name);
	if (*asks ? !operators : operators)
		return fault_set(f, -EINVAL, *asks ? "condition '%.64s': says nothing about it (is, in, at_least, matches...)"
						   : "condition '%.64s': asks of what is no claim", name);
	if (has(c, "reference") && has(c, "caller"))
		return fault_set(f, -EINVAL, "condition '%.64s': reference values are about claims", name);
	if (has(c, "present") && operators > 1 && !json_is_true(json_object_get(c, "present")))
		return fault_set(f, -EINVAL, "condition '%.64s': nothing can be asked of what shall be absent", name);
	for (size_t i = 4; i < 7; i++) {
		if (has(c, alone[i]) && !json_array_size(json_object_get(c, alone[i])))
			return fault_set(f, -EINVAL, "condition '%.64s': %s of nothing", name, alone[i]);
	}
	return 0;
}

static int check_values(const json_t *policy, const char *name, const json_t *c, struct fault *f)
{
	static const char *const dates[] = {"not_before", "not_after", "since"}, *const sets[] = {"in_set", "not_in_set"},
				 *const versions[] = {"version_at_least", "version_below"};
	const char *hours = json_string_value(json_object_get(c, "hours"));
	const json_t *of = json_object_get(json_object_get(c, "approval"), "of");
	size_t i, j;
	json_t *day;
	int from, to;
	json_array_foreach(of, i, day) {
		for (j = 0; j < i; j++) {
			if (json_equal(day, json_array_get(of, j)))
				return fault_set(f, -EINVAL, "condition '%.64s': '%.64s' stands in approval's `of` twice", name, json_string_value(day));
		}
	}
	if (has(c, "approval") && (size_t)json_integer_value(json_object_get(json_object_get(c, "approval"), "k")) > json_array_size(of))
		return fault_set(f, -EINVAL, "condition '%.64s': more approvals than names in `of`", name);
	for (size_t k = 0; k < 3; k++) {
		if (has(c, dates[k]) && slice_time(json_object_get(c, dates[k])) < 0)
			return fault_set(f, -EINVAL, "condition '%.64s': %s: not a time like 2026-01-31T00:00:00Z", name, dates[k]);
	}
	for (size_t k = 0; k < 2; k++) {
		const char *set = slice_text(c, sets[k]), *version = slice_text(c, versions[k]);
		if (has(c, sets[k]) && !json_object_get(json_object_get(policy, "sets"), set))
			return fault_set(f, -EINVAL, "condition '%.64s': there is no set '%.64s'", name, set);
		if (has(c, versions[k]) && rules_version_compare(version, version) == -2)
			return fault_set(f, -EINVAL, "condition '%.64s': '%.64s' is no version like 1.55.8", name, version);
	}
	if (hours && rules_hours(hours, &from, &to))
		return fault_set(f, -EINVAL, "condition '%.64s': hours are written 08:00-18:00 (UTC)", name);
	json_array_foreach(json_object_get(c, "days"), i, day) {
		if (!known_day(json_string_value(day)))
			return fault_set(f, -EINVAL, "condition '%.64s': '%.32s' is no day (sunday, monday...)", name, json_string_value(day));
	}
	return 0;
}

static int check_rule(const json_t *conditions, const json_t *r, struct fault *f)
{
	static const char *const lists[] = {"allow_when", "deny_when"};
	const char *name = slice_text(r, "name");
	struct fault why = {""};
	int nodes = 0;
	size_t i;
	json_t *c;
	if (!json_array_size(json_object_get(r, "resources")))
		return fault_set(f, -EINVAL, "rule '%.64s': for no resource", name);
	if (!json_array_size(json_object_get(r, "allow_when")) && !json_array_size(json_object_get(r, "deny_when")))
		return fault_set(f, -EINVAL, "rule '%.64s': neither allow_when nor deny_when: what is always allowed needs a condition that says so", name);
	for (size_t k = 0; k < 2; k++) {
		json_array_foreach(json_object_get(r, lists[k]), i, c) {
			int err = measure(conditions, json_string_value(c), 0, &nodes, &why);
			if (err)
				return fault_set(f, err, "rule '%.64s': %.400s", name, why.text);
		}
	}
	return 0;
}

int rules_check(const json_t *policy, struct fault *f)
{
	json_t *conditions = json_object_get(policy, "conditions"), *c, *r;
	struct fault why = {""};
	const char *name;
	size_t i;
	int err = 0;
	json_object_foreach(conditions, name, c) {
		bool asks;
		int nodes = 0;
		err = check_subject(name, c, &asks, &why);
		if (!err)
			err = check_values(policy, name, c, &why);
		if (!err)
			err = measure(conditions, name, 0, &nodes, &why);
		if (err)
			return fault_set(f, err, "policy: %.600s", why.text);
	}
	json_array_foreach(json_object_get(policy, "rules"), i, r) {
		err = check_rule(conditions, r, &why);
		if (err)
			return fault_set(f, err, "policy: %.600s", why.text);
	}
	// A file that was cut off must not leave the decision to what decides without rules.
	if (!rules_any(policy) && (json_object_size(conditions) || json_object_get(policy, "rules")))
		return fault_set(f, -EINVAL, "policy: conditions without rules, or a list of rules without one");
	return 0;
}

bool rules_ask_approvals(const json_t *policy)
{
	const char *name;
	json_t *c;
	json_object_foreach(json_object_get(policy, "conditions"), name, c) {
		if (has(c, "approval"))
			return true;
	}
	return false;
}

json_t *rules_approvers(const json_t *policy, const json_t *approvals)
{
	json_t *list = json_array(), *who, *c, *one;
	const char *name;
	size_t i, k;
	json_array_foreach((json_t *)approvals, i, who) {
		bool asked = false;
		json_object_foreach(json_object_get(policy, "conditions"), name, c) {
			json_array_foreach(json_object_get(json_object_get(c, "approval"), "of"), k, one)
				asked |= json_equal(one, who);
		}
		if (asked)
			json_array_append(list, who);
	}
	return list;
}
