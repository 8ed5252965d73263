// SPDX-License-Identifier: Apache-2.0
// Rules about resources: each operator with what meets it, what does not and what leaves it unknown; all, any, none with three values; what
// a policy file may not say; the command that shows a decision.
#include "attest/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/bundle.h"
#include "attest/policy_file.h"
#include "lib/file.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

#define NOW 1767268800	// 2026-01-01T12:00:00Z, a thursday
#define RULE "rules:\n  - name: one\n    resources: [a/b/*]\n    allow_when: [c]\n"

static const char claims_text[] =
	"{\"tee\":\"snp\",\"tcb_status\":\"UpToDate\",\"tcb_date\":\"2025-06-01T00:00:00Z\",\"advisory_ids\":[\"INTEL-SA-1\",\"INTEL-SA-2\"],"
	"\"snp\":{\"guest_svn\":7,\"current_firmware\":\"1.55.8\",\"policy_debug_allowed\":false,\"reported_tcb\":{\"bootloader\":4,\"snp\":24}},"
	"\"measurement\":\"aa55\",\"event_log\":{\"measured\":{\"kernel\":[{\"digest\":\"11\"},{\"digest\":\"22\"}],\"initrd\":[]}},\"nothing\":null}";
static json_t *claims;

// "true", "false" or "unknown": what the condition `c` of this policy comes to; "?" when the policy is none.
static const char *result_of(const char *text, const struct rules_input *in)
{
	static char result[512];
	struct policy_file *p = calloc(1, sizeof *p);
	struct fault f = {""};
	if (policy_file_parse(text, strlen(text), p, &f)) {
		snprintf(result, sizeof result, "%s", f.text);
		free(p);
		return result;
	}
	json_t *d = rules_decide(p->json, in);
	const json_t *part = json_object_get(json_array_get(json_object_get(d, "rules"), 0), "allow_when");
	const char *s = json_string_value(json_object_get(json_array_get(json_object_get(part, "all"), 0), "result"));
	snprintf(result, sizeof result, "%s%s", s ? s : "?", rules_allowed(d) == (s && !strcmp(s, "true")) ? "" : ", but the decision is another");
	json_decref(d);
	policy_file_free(p);
	free(p);
	return result;
}

static void expect(const char *condition, const char *wanted)
{
	char text[2048], label[256];
	struct rules_input in = {.claims = claims, .resource = "a/b/c", .now = NOW, .owner_known = true, .owner_allows = true};
	in.caller = json_pack("{s:s}", "address", "10.0.0.7");
	in.approvals = json_pack("[s, s]", "ann", "ben");
	snprintf(text, sizeof text, "sets:\n  kernels: ['11', '22']\n  some: ['11']\nconditions:\n  t: {claim: tee, is: snp}\n  f: {claim: tee, is: tdx}\n"
		 "  u: {claim: missing, is: x}\n  c: {%s}\n" RULE, condition);
	const char *got = result_of(text, &in);
	snprintf(label, sizeof label, "rules: {%.180s} is %s", condition, wanted);
	ok(label, !strcmp(got, wanted), "%s", got);
	json_decref((json_t *)in.caller);
	json_decref((json_t *)in.approvals);
}

static void test_operators(void)
{
	static const struct { const char *condition, *result; } cases[] = {
		{"claim: tee, is: snp", "true"}, {"claim: tee, is: tdx", "false"}, {"claim: missing, is: snp", "unknown"}, {"claim: snp, is: snp", "unknown"},
		{"claim: nothing, is: 'null'", "unknown"}, {"claim: missing, is_not: snp", "unknown"}, {"claim: tee, is_not: tdx", "true"},
		{"claim: snp.guest_svn, is: 7", "true"}, {"claim: snp.policy_debug_allowed, is: false", "true"},
		{"claim: tee, in: [tdx, snp]", "true"}, {"claim: tee, not_in: [tdx, snp]", "false"}, {"claim: missing, not_in: [tdx]", "unknown"},
		{"claim: snp.guest_svn, at_least: 7", "true"}, {"claim: snp.guest_svn, at_least: 8", "false"}, {"claim: snp.guest_svn, at_most: 6", "false"},
		{"claim: tee, at_least: 0", "unknown"}, {"claim: snp.guest_svn, at_least: 3, at_most: 9", "true"},
		{"claim: snp.current_firmware, version_at_least: 1.55.8", "true"}, {"claim: snp.current_firmware, version_at_least: 1.55.10", "false"},
		{"claim: snp.current_firmware, version_at_least: '1.9'", "true"}, {"claim: snp.current_firmware, version_below: '2'", "true"},
		{"claim: tee, version_below: '2'", "unknown"},
		{"claim: snp.reported_tcb, tcb_at_least: {bootloader: 4, snp: 24}", "true"}, {"claim: snp.reported_tcb, tcb_at_least: {bootloader: 5}", "false"},
		{"claim: snp.reported_tcb, tcb_at_least: {microcode: 0}", "unknown"}, {"claim: snp, tcb_at_least: {snp: 1}", "unknown"},
		{"claim: measurement, matches: 'aa*'", "true"}, {"claim: measurement, matches: 'a?5?'", "true"}, {"claim: measurement, matches: '*a5'", "false"},
		{"claim: advisory_ids, contains: INTEL-SA-2", "true"}, {"claim: advisory_ids, contains: INTEL-SA-3", "false"}, {"claim: tee, contains: s", "unknown"},
		{"claim: advisory_ids, contains_none: [INTEL-SA-9]", "true"}, {"claim: advisory_ids, contains_none: [INTEL-SA-1]", "false"},
		{"claim: missing, contains_none: [INTEL-SA-1]", "unknown"},
		{"claim: tdx, present: false", "true"}, {"claim: snp, present: true", "true"}, {"claim: snp, present: false", "false"},
		{"claim: tcb_date, since: '2025-01-01T00:00:00Z'", "true"}, {"claim: tcb_date, since: '2025-07-01T00:00:00Z'", "false"},
		{"claim: tcb_date, max_age_days: 365", "true"}, {"claim: tcb_date, max_age_days: 100", "false"}, {"claim: tee, max_age_days: 1", "unknown"},
		{"claim: 'event_log.measured.kernel[each].digest', in_set: kernels", "true"}, {"claim: 'event_log.measured.kernel[each].digest', in_set: some", "false"},
		{"claim: 'event_log.measured.kernel[some].digest', in_set: some", "true"}, {"claim: 'event_log.measured.kernel[some].digest', is: '33'", "false"},
		{"claim: 'event_log.measured.initrd[each].digest', is: '33'", "unknown"}, {"claim: 'event_log.measured.initrd[some].digest', is: '33'", "false"},
		{"claim: 'event_log.measured.grub[each].digest', is: '33'", "unknown"}, {"claim: 'event_log.measured.kernel[each].words', is: '33'", "unknown"},
		{"claim: 'event_log.measured.kernel[each].digest', not_in_set: some", "false"},
		{"caller: address, matches: '10.*'", "true"}, {"caller: address, is: 10.0.0.8", "false"}, {"caller: name, is: x", "unknown"},
		{"resource: 'a/b/*'", "true"}, {"resource: 'a/*'", "false"}, {"resource: '*/*/c'", "true"},
		{"claim: words, matches: '*evil'", "true"}, {"claim: words, is_not: evil", "true"},
		{"owner_allows: true", "true"}, {"owner_allows: false", "false"}, {"reference: measurement", "unknown"}, {"claim: tee, reference: tee", "unknown"},
		{"not_before: '2026-01-01T00:00:00Z'", "true"}, {"not_after: '2026-01-01T00:00:00Z'", "false"}, {"hours: 08:00-18:00", "true"},
		{"hours: 22:00-06:00", "false"}, {"hours: 11:00-12:00", "false"}, {"days: [thursday]", "true"}, {"days: [friday, monday]", "false"},
		{"days: [thursday], hours: 13:00-14:00", "false"},
		{"approval: {k: 1, of: [ann, cid]}", "true"}, {"approval: {k: 2, of: [ann, cid]}", "false"}, {"approval: {k: 2, of: [cid, ben, ann]}", "true"},
		{"approval: {k: 1, of: [cid]}", "false"},
		{"all: [t, t]", "true"}, {"all: [t, f]", "false"}, {"all: [t, u]", "unknown"}, {"all: [f, u]", "false"}, {"any: [f, t]", "true"},
		{"any: [f, u]", "unknown"}, {"any: [t, u]", "true"}, {"any: [f, f]", "false"}, {"none: [f]", "true"}, {"none: [t]", "false"},
		{"none: [u]", "unknown"}, {"none: [f, u]", "unknown"}, {"none: [t, u]", "false"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		expect(cases[i].condition, cases[i].result);
}

// Evidence without a measurement is not known to be off the owner's list either.
static void test_no_measurement(void)
{
	json_t *without = json_copy(claims);
	const struct rules_input in = {.claims = without, .resource = "a/b/c", .now = NOW, .owner_known = true};
	json_object_del(without, "measurement");
	const char *got = result_of("conditions:\n  c: {owner_allows: false}\n" RULE, &in);
	ok("rules: without a measurement the owner's list says nothing", !strcmp(got, "unknown"), "%s", got);
	json_decref(without);
	const struct rules_input plain = {.claims = claims, .resource = "a/b/c", .now = NOW};
	got = result_of("conditions:\n  c: {approval: {k: 1, of: [ann]}}\n" RULE, &plain);
	ok("rules: where nothing is known of approvals they are unknown", !strcmp(got, "unknown"), "%s", got);
}

static void test_bad(void)
{
	static const struct { const char *text, *why; } cases[] = {
		{"conditions:\n  c: {all: [c]}\n", "names itself"}, {"conditions:\n  a: {all: [b]}\n  b: {none: [a]}\n", "names itself"},
		{"conditions:\n  c: {all: [d]}\n", "no condition 'd'"}, {"conditions:\n  c: {claim: tee}\n", "says nothing"},
		{"conditions:\n  c: {approval: {k: 2, of: [a]}}\n", "more approvals"}, {"conditions:\n  c: {approval: {k: 1, of: [a, a]}}\n", "twice"},
		{"conditions:\n  c: {approval: {k: 1, of: [a]}, is: x}\n", "no claim"}, {"conditions:\n  c: {approval: {k: 0, of: [a]}}\n", "k"},
		{"conditions:\n  c: {is: snp}\n", "about one thing each"}, {"conditions:\n  c: {claim: tee, caller: x, is: y}\n", "about one thing each"},
		{"conditions:\n  c: {hours: 08:00-18:00, is: x}\n", "no claim"}, {"conditions:\n  c: {hours: 8-18}\n", "08:00-18:00"},
		{"conditions:\n  c: {days: [someday]}\n", "no day"}, {"conditions:\n  c: {not_before: soon}\n", "not a time"},
		{"conditions:\n  c: {claim: a, version_below: one}\n", "no version"}, {"conditions:\n  c: {claim: a, in_set: x}\n", "no set"},
		{"conditions:\n  c: {claim: a, at_leest: 3}\n", "at_least"}, {"conditions:\n  c: {any: []}\n", "of nothing"},
		{"conditions:\n  c: {claim: a, present: false, is: x}\n", "absent"}, {"rules:\n  - {name: r, resources: [a]}\n", "neither"},
		{"rules:\n  - {name: r, resources: [], allow_when: [c]}\n", "no resource"}, {"rules:\n  - {name: r, resources: [a], allow_when: [c]}\n", "no condition 'c'"},
		{"rules:\n  - {resources: [a], allow_when: [c]}\n", "name"}, {"tees: [snp, sev]\n", "sev"},
		{"conditions:\n  c: {claim: a, is: b}\n", "without rules"}, {"rules: []\n", "without rules"},
	};
	struct policy_file *p = calloc(1, sizeof *p);
	struct fault f;
	char label[160];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		f.text[0] = '\0';
		int err = policy_file_parse(cases[i].text, strlen(cases[i].text), p, &f);
		snprintf(label, sizeof label, "rules: refused: %.80s", strchr(cases[i].text, ' '));
		label[strcspn(label, "\n")] = '\0';
		if (ok(label, err == -EINVAL && strstr(f.text, cases[i].why), "%d: %s", err, f.text) && !err)
			policy_file_free(p);
	}
	// Conditions that name others twice, seventeen deep: 2^17 nodes.
	char deep[4096] = "conditions:\n  c0: {claim: a, is: b}\n";
	for (int i = 1; i <= 15; i++)
		snprintf(deep + strlen(deep), sizeof deep - strlen(deep), "  c%d: {all: [c%d, c%d]}\n", i, i - 1, i - 1);
	int err = policy_file_parse(deep, strlen(deep), p, &f);
	ok("rules: refused: a tree that grows without end", err == -EINVAL && strstr(f.text, "more than 1000"), "%d: %s", err, f.text);
	free(p);
}

static json_t *decide(const char *text, const char *resource, struct policy_file *p)
{
	struct fault f = {""};
	struct rules_input in = {.claims = claims, .resource = resource, .now = NOW};
	if (policy_file_parse(text, strlen(text), p, &f)) {
		ok("a policy of the test", false, "%s", f.text);
		return NULL;
	}
	return rules_decide(p->json, &in);
}

// Cut between two lines it is a policy still, of which one condition is gone.
static void test_cut(void)
{
	static const struct { const char *name, *text; bool good; } cases[] = {
		{"a policy with marks", "# ours\n---\nconditions:\n  c: {claim: tee, is: snp}\n" RULE "...\n# end\n", true},
		{"its end is missing", "# ours\n---\nconditions:\n  c: {claim: tee, is: snp}\n" RULE, false},
		{"and half of a rule", "---\nconditions:\n  c: {claim: tee, is: snp}\nrules:\n  - name: one\n    resources: [a/b/*]\n    allow_when:\n      - c\n", false},
		{"one without marks", "conditions:\n  c: {claim: tee, is: snp}\n" RULE, true},
		{"the mark as a text", "---\nconditions:\n  c: {claim: tee, is: '...'}\n" RULE, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct policy_file *p = calloc(1, sizeof *p);
		struct fault f = {""};
		char label[100];
		snprintf(label, sizeof label, "rules: cut off: %s", cases[i].name);
		int err = policy_file_parse(cases[i].text, strlen(cases[i].text), p, &f);
		ok(label, cases[i].good ? !err : err == -EINVAL && strstr(f.text, "its end is missing"), "%d %s", err, f.text);
		if (!err)
			policy_file_free(p);
		free(p);
	}
}

static void test_decisions(void)
{
	static const char text[] =
		"conditions:\n  snp: {claim: tee, is: snp}\n  new: {claim: snp.guest_svn, at_least: 9}\n  bad: {claim: advisory_ids, contains: INTEL-SA-2}\n"
		"  lost: {claim: missing, is: x}\n  either: {any: [new, lost]}\n  clean: {none: [bad]}\n"
		"rules:\n  - {name: open, resources: ['a/b/*'], allow_when: [snp]}\n  - {name: shut, resources: [a/b/shut], deny_when: [bad]}\n"
		"  - {name: unsure, resources: [a/b/unsure], deny_when: [lost]}\n  - {name: fine, resources: [a/b/fine], deny_when: [new]}\n"
		"  - {name: hard, resources: [x/y/z], allow_when: [either, clean]}\n";
	static const struct { const char *resource, *rule, *checks; bool allowed; } cases[] = {
		{"a/b/c", "open", "", true}, {"a/b/shut", "shut", "bad ", false}, {"a/b/unsure", "unsure", "lost ", false}, {"a/b/fine", "open", "", true},
		{"x/y/z", "", "new lost bad ", false}, {"q/q/q", "", "rules ", false},
	};
	struct policy_file *p = calloc(1, sizeof *p);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char label[96];
		struct attest_result r;
		json_t *d = decide(text, cases[i].resource, p);
		const char *rule = json_string_value(json_object_get(d, "rule")) ?: "";
		attest_result_init(&r);
		rules_explain(d, &r);
		snprintf(label, sizeof label, "rules: %s is %s", cases[i].resource, cases[i].allowed ? "allowed" : "refused");
		ok(label, rules_allowed(d) == cases[i].allowed && !strcmp(rule, cases[i].rule) && !strcmp(failed_ids(&r), cases[i].checks) &&
		   attest_passed(&r) == cases[i].allowed, "%s: %s", rule, failures(&r));
		attest_result_free(&r);
		json_decref(d);
		policy_file_free(p);
	}
	json_t *d = decide("tees: [snp]\n", "a/b/c", p);
	ok("rules: without rules nothing is allowed", d && !rules_allowed(d), "it is");
	json_decref(d);
	policy_file_free(p);
	free(p);
}

// ---- the command ----

static char folder[64], coffer[512];

static int run(const char *arguments, const char *wanted)
{
	char line[1400], out[128], *text = NULL;
	size_t len;
	snprintf(out, sizeof out, "%s/out", folder);
	snprintf(line, sizeof line, "cd %s && NO_COLOR=1 %s policy check %s >out 2>&1", folder, coffer, arguments);
	int status = system(line);
	bool there = !file_read(out, 1 << 20, &text, &len, NULL) && strstr(text, wanted);
	if (!there)
		printf("not ok policy check %s: no '%s' in: %s\n", arguments, wanted, text);
	ok_failed += !there;
	free(text);
	return WEXITSTATUS(status);
}

static void write_text(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (file_write(path, text, strlen(text), 0600, false, NULL))
		abort();
}

static void test_command(const char *self)
{
	struct snp_made m;
	struct bundle b;
	char line[700];
	snprintf(coffer, sizeof coffer, "%.*s/../bin/coffer", (int)(strrchr(self, '/') - self), self);
	if (access(coffer, X_OK)) {
		ok("policy check", false, "the command is not built");
		return;
	}
	char *real = realpath(coffer, NULL);
	snprintf(coffer, sizeof coffer, "%s", real);
	free(real);
	if (!test_folder(folder, "rules"))
		return;
	snp_make(&snp_milan, &m);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.report, sizeof m.report);
	bundle_put_text(&b, "time", "2026-01-01T12:00:00Z", 20);
	char *pem = pki_pem(m.chain.certs[0], m.chain.certs[1], m.chain.certs[2], NULL), *text;
	bundle_put_text(&b, "certificates", pem, strlen(pem));
	text = json_dumps(b.json, 0);
	write_text("bundle.json", text);
	free(pem);
	free(text);
	pem = pki_pem(m.chain.certs[2], NULL);
	write_text("root.pem", pem);
	free(pem);
	write_text("policy.yaml", "insecure_accept_simulated: true\nconditions:\n  known: {claim: measurement, matches: 'e1e1*'}\n"
				  "  office: {hours: 08:00-18:00}\n  inside: {caller: address, matches: '10.*'}\n"
				  RULE "  - {name: two, resources: [x/y/z], allow_when: [known, office, inside]}\n");
	#define COMMON "policy.yaml bundle.json --insecure-simulated-root root.pem --at recorded "
	ok("policy check: a condition that there is not", run(COMMON "--resource a/b/c", "there is no condition 'c'") == 1, "another exit code");
	write_text("policy.yaml", "insecure_accept_simulated: true\nconditions:\n  known: {claim: measurement, matches: 'e1e1*'}\n"
				  "  office: {hours: 08:00-18:00}\n  inside: {caller: address, matches: '10.*'}\n"
				  "rules:\n  - {name: two, resources: [x/y/z], allow_when: [known, office, inside]}\n");
	ok("policy check: allowed", run(COMMON "--resource x/y/z --caller address=10.0.0.7", "rule 'two' allows it") == 0, "another exit code");
	ok("policy check: refused", run(COMMON "--resource x/y/z --caller address=11.0.0.7", "found 11.0.0.7") == 3, "another exit code");
	ok("policy check: not known", run(COMMON "--resource x/y/z", "UNKNOWN inside: address is to be text like 10.*") == 3, "another exit code");
	ok("policy check: JSON", run(COMMON "--resource x/y/z --json", "\"allowed\":false") == 3, "another exit code");
	ok("policy check: another resource", run(COMMON "--resource x/y/w", "not about this resource") == 3, "another exit code");
	ok("policy check: evidence that is not genuine",
	   run("policy.yaml bundle.json --at recorded --resource x/y/z --caller address=10.0.0.7", "but the evidence does not hold") == 3, "another exit code");
	ok("policy check: no resource", run("policy.yaml bundle.json", "which resource?") == 2, "another exit code");
	snprintf(line, sizeof line, "cd %s && %s verify bundle.json --policy policy.yaml --at recorded >out 2>&1", folder, coffer);
	int status = system(line);
	ok("policy check: verify says where rules are checked", WEXITSTATUS(status) == 1, "%d", WEXITSTATUS(status));
	bundle_free(&b);
	snp_made_free(&m);
}

// A list vouches for keys as long as they are on it, also when evidence was verified before.
static void test_lists(void)
{
#define KEY_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define TPM_BY(trust) "{\"tee\":\"tpm\",\"tpm\":{\"ak_trust\":\"" trust "\",\"ak_digest\":\"" KEY_A "\",\"ek_digest\":\"" KEY_A "\"}}"
#define CCA_OF "{\"tee\":\"cca\",\"dbgstat\":\"disabled-since-boot\",\"cca\":{\"platform\":{\"key_digest\":\"" KEY_A "\"}}}"
	static const struct { const char *name, *claims, *policy, *failed; } rows[] = {
		{"a key on the list", TPM_BY("allow-list"), "tpm_keys: [" KEY_A "]\n", ""},
		{"one that was taken off", TPM_BY("allow-list"), "tpm_keys: [" KEY_B "]\n", "tpm_keys "},
		{"a list that was emptied", TPM_BY("allow-list"), "tees: [tpm]\n", "tpm_keys "},
		{"a certified key and no list", TPM_BY("certificate"), "tees: [tpm]\n", ""},
		{"an endorsement key on the list", TPM_BY("activate-credential"), "tpm_endorsement_keys: [" KEY_A "]\n", ""},
		{"an endorsement key taken off", TPM_BY("activate-credential"), "tpm_endorsement_keys: [" KEY_B "]\n", "tpm_endorsement_keys "},
		{"a platform's key on the list", CCA_OF, "cca_platform_keys: [" KEY_A "]\n", ""},
		{"a platform's key taken off", CCA_OF, "tees: [cca]\n", "cca_platform_keys "},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct policy_file *p = calloc(1, sizeof *p);
		struct fault f = {""};
		struct attest_result r = {.claims = json_loads(rows[i].claims, 0, NULL)};
		int err = policy_file_parse(rows[i].policy, strlen(rows[i].policy), p, &f);
		policy_file_appraise(p, &r);
		ok(rows[i].name, !err && !strcmp(failed_ids(&r), rows[i].failed), "%d %s %s", err, f.text, failures(&r));
		attest_result_free(&r);
		policy_file_free(p);
		free(p);
	}
}

int main(int argc, char **argv)
{
	(void)argc;
	claims = json_loads(claims_text, 0, NULL);
	json_object_set_new(claims, "words", json_sprintf("%01100d evil", 0));
	test_operators();
	test_no_measurement();
	test_bad();
	test_cut();
	test_decisions();
	test_command(argv[0]);
	json_decref(claims);
	test_lists();
	return ok_failed != 0;
}
