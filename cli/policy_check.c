// SPDX-License-Identifier: Apache-2.0
// `coffer policy check`: what would a policy decide about a resource for this recorded evidence, and why? Shows the whole decision.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "attest/json.h"
#include "attest/rules.h"
#include "attest/slice.h"
#include "cli/cli.h"
#include "cli/judge.h"
#include "cli/policy_check.h"
#include "lib/encode.h"

struct request {
	struct judge_files files;
	const char *resource, *owner;
	json_t *caller, *approvals;
	bool json;
};

static const char *mark(const char *result, bool wanted)
{
	return !strcmp(result, wanted ? "true" : "false") ? "ok" : !strcmp(result, "unknown") ? "UNKNOWN" : "FAILED";
}

static const char *colour(const char *mark)
{
	return !strcmp(mark, "ok") ? cli_green(stdout) : !strcmp(mark, "-") ? "" : cli_red(stdout);
}

static void print_node(const json_t *node, int depth, bool wanted)
{
	static const char *const kinds[] = {"all", "any", "none"};
	static const char *const words[] = {"all of", "any of", "none of"};
	const char *m = mark(slice_text(node, "result"), wanted);
	size_t i;
	json_t *child;
	printf("%*s%s%-7s%s %s", 4 + 2 * depth, "", colour(m), m, cli_plain(stdout), slice_text(node, "condition"));
	for (size_t k = 0; k < 3; k++) {
		json_t *list = json_object_get(node, kinds[k]);
		if (!list)
			continue;
		printf(": %s\n", words[k]);
		json_array_foreach(list, i, child)
			print_node(child, depth + 1, k == 2 ? !wanted : wanted);
		return;
	}
	const char *about = slice_text(node, "about");
	printf(": %s%s%s%.200s\n", about, *about ? " is to be " : "", wanted ? "" : "not ", slice_text(node, "expected"));
	if (strcmp(m, "ok"))
		printf("%*sfound %.200s\n", 12 + 2 * depth, "", slice_text(node, "found"));
}

static void print_rules(const json_t *decision)
{
	static const struct { const char *name, *list, *words; bool wanted; } parts[] = {
		{"deny_when", "any", "denies when any of these is not ruled out", false}, {"allow_when", "all", "allows when all of these hold", true},
	};
	size_t i, n;
	json_t *rule, *node;
	printf("\nRules\n");
	json_array_foreach(json_object_get(decision, "rules"), i, rule) {
		bool here = json_is_true(json_object_get(rule, "applies"));
		printf("  %s%s\n", slice_text(rule, "rule"), here ? "" : ": not about this resource");
		for (size_t k = 0; k < 2; k++) {
			const json_t *part = json_object_get(rule, parts[k].name);
			if (!part)
				continue;
			printf("   %s: %s\n", parts[k].words, slice_text(part, "result"));
			json_array_foreach(json_object_get(part, parts[k].list), n, node)
				print_node(node, 0, parts[k].wanted);
		}
	}
	if (!json_array_size(json_object_get(decision, "rules")))
		printf("  there are none, and nothing is allowed without\n");
}

static void print_page(const struct request *q, enum evidence_kind kind, const struct attest_result *r, const json_t *decision, bool allowed, time_t now)
{
	char stamp[32];
	printf("%s%s%s: %s for %s, %s.\n", allowed ? cli_green(stdout) : cli_red(stdout), allowed ? "ALLOWED" : "REFUSED", cli_plain(stdout), q->resource,
	       q->files.evidence.evidence, evidence_kind_name(kind));
	printf("Judged for %s by %s", time_text(stamp, now), q->files.policy);
	if (rules_allowed(decision))
		printf("; rule '%s' allows it%s", slice_text(decision, "rule"), allowed ? "" : ", but the evidence does not hold");
	else if (*slice_text(decision, "rule"))
		printf("; rule '%s' denies it", slice_text(decision, "rule"));
	else
		printf("; no rule allows it");
	printf(".\n\nEvidence\n");
	if (attest_passed(r))
		printf("  %sok%s      all checks of genuineness and platform hold (coffer verify lists them)\n", cli_green(stdout), cli_plain(stdout));
	for (unsigned int i = 0; i < r->count; i++) {
		const struct attest_check *c = &r->checks[i];
		if (c->outcome == ATTEST_FAILED)
			printf("  %sFAILED%s  %s\n          expected %s\n          found    %s\n", cli_red(stdout), cli_plain(stdout), c->id, c->expected, c->found);
	}
	print_rules(decision);
}

static void print_json(enum evidence_kind kind, const struct attest_result *r, json_t *decision, bool allowed, time_t now)
{
	char stamp[32];
	json_t *o = json_pack("{s:b, s:s, s:s, s:O, s:O, s:o}", "allowed", allowed, "kind", evidence_kind_name(kind), "time", time_text(stamp, now),
			      "decision", decision, "claims", r->claims, "checks", attest_checks_json(r));
	char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	printf("%s\n", text ? text : "{}");
	free(text);
	json_decref(o);
}

// 0 allowed, 1 refused, or a negative errno.
static int check(const struct request *q, struct fault *f)
{
	struct judge j;
	int err = judge_begin(&j, &q->files, f);
	if (err)
		goto out;
	enum evidence_kind kind = judge_evidence(&j);
	const struct rules_input rules = {
		.claims = j.result->claims, .resource = q->resource, .caller = q->caller, .owner_known = q->owner != NULL, .approvals = q->approvals,
		.owner_allows = q->owner && !strcmp(q->owner, "yes"), .references = q->files.reference.file_count ? j.references : NULL, .now = j.in.now,
	};
	json_t *decision = rules_decide(j.policy->json, &rules);
	if (!decision) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	bool allowed = attest_passed(j.result) && rules_allowed(decision);
	if (q->json)
		print_json(kind, j.result, decision, allowed, j.in.now);
	else
		print_page(q, kind, j.result, decision, allowed, j.in.now);
	json_decref(decision);
	err = allowed ? 0 : 1;
	fflush(stdout);
	evidence_missing(&q->files.evidence, &j.needs);
out:
	judge_end(&j);
	return err;
}

static bool add_caller(json_t *caller, const char *text)
{
	const char *equals = strchr(text, '=');
	char name[64];
	if (!equals || equals == text || equals - text >= (int)sizeof name)
		return false;
	snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
	return !json_object_set_new(caller, name, json_string(equals + 1));
}

int policy_check(int argc, char **argv)
{
	static const struct option options[] = {
		JUDGE_OPTIONS, {"resource", required_argument, NULL, 'R'}, {"caller", required_argument, NULL, 'C'}, {"owner-allows", required_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'}, {"approved-by", required_argument, NULL, 'A'}, {0},
	};
	struct request q = {.files.at = "now", .caller = json_object(), .approvals = json_array()};
	struct fault f = {""};
	const char *why;
	int option, err = 0;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'R': q.resource = optarg; break;
		case 'o': q.owner = optarg; break;
		case 'j': q.json = true; break;
		case 'A': json_array_append_new(q.approvals, json_string(optarg)); break;
		case 'C':
			if (!add_caller(q.caller, optarg))
				err = cli_usage(&command_policy, "--caller takes NAME=VALUE, such as address=10.0.0.7");
			break;
		default:
			if (!judge_option(&q.files, option, optarg, &why))
				err = cli_usage(&command_policy, "%s", why);
		}
	}
	if (!err && argc - optind != 2)
		err = cli_usage(&command_policy, "name the policy and the evidence: coffer policy check POLICY.yaml EVIDENCE --resource RESOURCE");
	if (!err && !q.resource)
		err = cli_usage(&command_policy, "which resource? --resource default/volume/ID");
	if (!err && q.owner && strcmp(q.owner, "yes") && strcmp(q.owner, "no"))
		err = cli_usage(&command_policy, "--owner-allows takes yes or no");
	if (!err && (why = judge_options_wrong(&q.files)))
		err = cli_usage(&command_policy, "%s", why);
	if (err) {
		json_decref(q.caller);
		json_decref(q.approvals);
		return err;
	}
	q.files.policy = argv[optind];
	q.files.evidence.evidence = argv[optind + 1];
	err = check(&q, &f);
	json_decref(q.caller);
	json_decref(q.approvals);
	return err < 0 ? cli_fail(&f) : err ? EXIT_REFUSED : EXIT_OK;
}
