// SPDX-License-Identifier: Apache-2.0
// Rules: which resource is given on which conditions. Declarative: named conditions over verified claims, the caller, the resource and the
// time, put together by all, any and none; rules that name them. Nothing is allowed that no rule allows.
// Truth has three values: a claim that is missing or of another type makes a condition unknown, also under `none`, and what is unknown
// allows nothing and, in a rule that denies, denies. So evidence gains nothing by leaving something out.
// A policy is immutable once opened; evaluation allocates its answer only: threads may share a policy. No network, no clock, no locks.
#ifndef COFFER_ATTEST_RULES_H
#define COFFER_ATTEST_RULES_H

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

#include "attest/refval.h"
#include "attest/result.h"
#include "lib/fault.h"
#include "lib/yamlcfg.h"

#define RULES_MAX_DEPTH 16
#define RULES_MAX_NODES 1000	// of the tree that one rule makes

// For the reader of a policy file: what the maps "sets" and "conditions" and the list "rules" are made of.
extern const struct yamlcfg_type rules_set, rules_condition, rules_rule;

// What yamlcfg made of these keys is checked: names that exist, no circles, operators that fit together, dates and versions that are some.
// `policy` is borrowed and must outlive evaluations. -EINVAL and where.
int rules_check(const json_t *policy, struct fault *f);
// It has rules at all.
bool rules_any(const json_t *policy);

struct rules_input {
	const json_t *claims;		// verified by the caller
	const char *resource;		// "repository/type/tag"
	const json_t *caller;		// {"address", "key", "session"}: what the broker knows of who asks; NULL: nothing
	bool owner_known, owner_allows;	// the owner's list of measurements for this resource has the evidence's; not known: unknown
	const json_t *approvals;	// names of those who approve this release; NULL: not known
	bool all_approve;		// as if everybody had approved
	const char *approval_id;	// by what a further approver names it, for the words; NULL: none
	const struct refval_set *references;	// NULL: none, so that no reference is met
	time_t now;
};

// The decision as a tree: {"allowed", "resource", "rule", "rules": [{"rule", "applies", "allow_when": {...}, "deny_when": {...}}]}, where a
// condition is {"condition", "result": "true"|"false"|"unknown", "expected", "found", "all"|"any"|"none": [...]}. A new reference, NULL
// without memory.
json_t *rules_decide(const json_t *policy, const struct rules_input *in);
bool rules_allowed(const json_t *decision);
// Some condition asks for approvals.
bool rules_ask_approvals(const json_t *policy);
// Of those who approve, the ones that some condition asks for; a new list.
json_t *rules_approvers(const json_t *policy, const json_t *approvals);
// Refused, and would be allowed with all approvals that are asked for.
bool rules_wait_for_approval(const json_t *policy, const struct rules_input *in);

// Appends what stood in the way as checks, of which each names its condition; one check "rules" when it is allowed. Ids of checks live as
// long as the decision.
void rules_explain(const json_t *decision, struct attest_result *r);

// Inside attest/: "08:00-18:00" in minutes; -EINVAL. Version numbers: -1, 0, 1 as a is below, equal, above b; -2: one is none.
int rules_hours(const char *text, int *from, int *to);
int rules_version_compare(const char *a, const char *b);
extern const char *const rules_days[];	// "sunday"... up to NULL

#endif
