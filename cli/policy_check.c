// SPDX-License-Identifier: Apache-2.0
// `coffer policy check`: what would a policy decide about a resource for this recorded evidence, and why? Shows the whole decision.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "attest/evidence.h"
#include "attest/json.h"
#include "attest/policy_file.h"
#include "attest/rules.h"
#include "attest/slice.h"
#include "cli/cli.h"
#include "cli/evidence.h"
#include "cli/policy_check.h"
#include "cli/reference.h"

struct request {
	struct evidence_files files;
	struct reference_files reference;
	const char *policy, *resource, *at, *simulated_root, *tpm_root, *owner;
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
	       q->files.evidence, evidence_kind_name(kind));
	printf("Judged for %s by %s", time_text(stamp, now), q->policy);
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

static int decide(const struct request *q, const struct policy_file *p, struct evidence_input *in, const struct refval_set *references,
		  struct attest_result *r, struct fault *f)
{
	const struct rules_input rules = {
		.claims = r->claims, .resource = q->resource, .caller = q->caller, .owner_known = q->owner != NULL, .approvals = q->approvals,
		.owner_allows = q->owner && !strcmp(q->owner, "yes"), .references = q->reference.file_count ? references : NULL, .now = in->now,
	};
	enum evidence_kind kind = evidence_verify(in, r);
	policy_file_appraise(p, r);
	json_t *decision = rules_decide(p->json, &rules);
	if (!decision)
		return fault_set(f, -ENOMEM, "out of memory");
	bool allowed = attest_passed(r) && rules_allowed(decision);
	if (q->json)
		print_json(kind, r, decision, allowed, in->now);
	else
		print_page(q, kind, r, decision, allowed, in->now);
	json_decref(decision);
	return allowed ? 0 : 1;
}

// 0 allowed, 1 refused, or a negative errno.
static int check(const struct request *q, struct fault *f)
{
	struct policy_file *p = calloc(1, sizeof *p);
	struct refval_set *references = calloc(1, sizeof *references);
	struct attest_result *r = calloc(1, sizeof *r);
	struct cert_list simulated = {.count = 0}, tpm = {.count = 0};
	struct bundle b = {.json = NULL};
	struct evidence_input in = {.bundle = &b};
	struct collateral_needs needs;
	int err = !p || !references || !r || attest_result_init(r) ? fault_set(f, -ENOMEM, "out of memory") : 0;
	if (!err)
		err = policy_file_read(q->policy, p, f);
	if (!err)
		err = evidence_load(&q->files, &b, f);
	if (!err)
		err = evidence_time(q->at, &b, &in.now, f);
	if (!err)
		err = evidence_add_store(&q->files, &b, in.now, &needs, f);
	if (!err)
		err = evidence_roots(q->simulated_root, &simulated, f);
	if (!err)
		err = evidence_roots(q->tpm_root, &tpm, f);
	if (!err)
		err = reference_load(&q->reference, in.now, references, f);
	if (!err) {
		in.simulated_roots = simulated.certs;
		in.simulated_root_count = simulated.count;
		in.tpm_roots = tpm.certs;
		in.tpm_root_count = tpm.count;
		in.tpm_keys = p->tpm_keys[0] ? p->tpm_keys : NULL;
		in.cca_keys = p->cca_keys;
		err = decide(q, p, &in, references, r, f);
		evidence_missing(&q->files, &needs);
	}
	if (r)
		attest_result_free(r);
	if (references)
		refval_set_free(references);
	if (p)
		policy_file_free(p);
	free(r);
	free(references);
	free(p);
	bundle_free(&b);
	cert_list_free(&simulated);
	cert_list_free(&tpm);
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
		{"resource", required_argument, NULL, 'R'}, {"collateral", required_argument, NULL, 'c'}, {"event-log", required_argument, NULL, 'e'},
		{"at", required_argument, NULL, 't'}, {"caller", required_argument, NULL, 'C'}, {"owner-allows", required_argument, NULL, 'o'},
		{"reference", required_argument, NULL, 'f'}, {"reference-key", required_argument, NULL, 'k'}, {"tpm-root", required_argument, NULL, 'm'},
		{"insecure-simulated-root", required_argument, NULL, 'r'}, {"json", no_argument, NULL, 'j'},
		{"approved-by", required_argument, NULL, 'A'}, {0},
	};
	struct request q = {.at = "now", .caller = json_object(), .approvals = json_array()};
	struct fault f = {""};
	int option, err = 0;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'R': q.resource = optarg; break;
		case 'c': q.files.collateral = optarg; break;
		case 'e': q.files.event_log = optarg; break;
		case 't': q.at = optarg; break;
		case 'o': q.owner = optarg; break;
		case 'm': q.tpm_root = optarg; break;
		case 'r': q.simulated_root = optarg; break;
		case 'j': q.json = true; break;
		case 'A': json_array_append_new(q.approvals, json_string(optarg)); break;
		case 'C':
			if (!add_caller(q.caller, optarg))
				err = cli_usage(&command_policy, "--caller takes NAME=VALUE, such as address=10.0.0.7");
			break;
		case 'f':
			if (q.reference.file_count == REFERENCE_MAX_FILES)
				err = cli_usage(&command_policy, "more than %d documents of reference values", REFERENCE_MAX_FILES);
			else
				q.reference.files[q.reference.file_count++] = optarg;
			break;
		case 'k':
			if (q.reference.key_count == REFERENCE_MAX_FILES)
				err = cli_usage(&command_policy, "more than %d keys of reference values", REFERENCE_MAX_FILES);
			else
				q.reference.keys[q.reference.key_count++] = optarg;
			break;
		default: err = cli_usage(&command_policy, "wrong option"); break;
		}
	}
	if (!err && argc - optind != 2)
		err = cli_usage(&command_policy, "name the policy and the evidence: coffer policy check POLICY.yaml EVIDENCE --resource RESOURCE");
	if (!err && !q.resource)
		err = cli_usage(&command_policy, "which resource? --resource default/volume/ID");
	if (!err && q.owner && strcmp(q.owner, "yes") && strcmp(q.owner, "no"))
		err = cli_usage(&command_policy, "--owner-allows takes yes or no");
	if (!err && q.reference.file_count && !q.reference.key_count)
		err = cli_usage(&command_policy, "who may have signed the reference values? --reference-key FILE");
	if (err) {
		json_decref(q.caller);
		json_decref(q.approvals);
		return err;
	}
	q.policy = argv[optind];
	q.files.evidence = argv[optind + 1];
	err = check(&q, &f);
	json_decref(q.caller);
	json_decref(q.approvals);
	return err < 0 ? cli_fail(&f) : err ? EXIT_REFUSED : EXIT_OK;
}
