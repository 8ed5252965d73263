// SPDX-License-Identifier: Apache-2.0
// See policy_file.h.
#include "attest/policy_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attest/rules.h"
#include "lib/file.h"
#include "lib/yamlcfg.h"

static const struct yamlcfg_type text = {.kind = YAMLCFG_TEXT};
#define LIST {.kind = YAMLCFG_LIST, .item = &text}
static const struct yamlcfg_type texts = LIST;
#define SVN {.kind = YAMLCFG_INT, .min = 0, .max = 255}
static const struct yamlcfg_key snp_keys[] = {
	{.name = "fmc", .type = SVN}, {.name = "bootloader", .type = SVN}, {.name = "tee", .type = SVN}, {.name = "snp", .type = SVN},
	{.name = "microcode", .type = SVN}, {.name = NULL},
};
static const struct yamlcfg_key keys[] = {
	{.name = "tees", .type = LIST},
	{.name = "measurements", .type = LIST},
	{.name = "tcb_status", .type = LIST},
	{.name = "snp_minimum_tcb", .type = {.kind = YAMLCFG_RECORD, .keys = snp_keys}},
	{.name = "require_revocation", .type = {.kind = YAMLCFG_BOOL}},
	{.name = "tpm_keys", .type = LIST},
	{.name = "tpm_endorsement_keys", .type = LIST},
	{.name = "tpm_pcrs", .type = {.kind = YAMLCFG_MAP, .item = &texts}},
	{.name = "cca_platform_keys", .type = LIST},
	{.name = "insecure_accept_simulated", .type = {.kind = YAMLCFG_BOOL}},
	{.name = "insecure_accept_debug", .type = {.kind = YAMLCFG_BOOL}},
	{.name = "sets", .type = {.kind = YAMLCFG_MAP, .item = &rules_set}},
	{.name = "conditions", .type = {.kind = YAMLCFG_MAP, .item = &rules_condition}},
	{.name = "rules", .type = {.kind = YAMLCFG_LIST, .item = &rules_rule}},
	{.name = NULL},
};
static const struct yamlcfg_type record = {.kind = YAMLCFG_RECORD, .keys = keys};

static const char *const all_tees[] = {"snp", "tdx", "sgx", "csv", "cca", "tpm", "gpu", NULL};

// A list of texts, each of which must be hex of one of the sizes (0: any text).
static int list(const json_t *o, const char *name, const char *out[], size_t a, size_t b, struct fault *f)
{
	const json_t *l = json_object_get(o, name);
	size_t n = json_array_size(l);
	if (n > POLICY_LIST_MAX)
		return fault_set(f, -EINVAL, "policy: more than %d %s", POLICY_LIST_MAX, name);
	for (size_t i = 0; i < n; i++) {
		out[i] = json_string_value(json_array_get(l, i));
		size_t len = strlen(out[i]);
		if (a && ((len != a && len != b) || strspn(out[i], "0123456789abcdef") != len))
			return fault_set(f, -EINVAL, "policy: %s: '%s' is not a digest in lower-case hex", name, out[i]);
	}
	out[n] = NULL;
	return 0;
}

// Registers by number, each with one digest or more.
static int check_pcrs(const json_t *pcrs, struct fault *f)
{
	const char *number;
	json_t *values, *v;
	size_t i;
	json_object_foreach((json_t *)pcrs, number, values) {
		char *end;
		unsigned long n = strtoul(number, &end, 10);
		if (*end || number[0] < '0' || number[0] > '9' || strlen(number) > 2 || n > 23)
			return fault_set(f, -EINVAL, "policy: tpm_pcrs: '%s' is no register (0 to 23)", number);
		if (!json_array_size(values))
			return fault_set(f, -EINVAL, "policy: tpm_pcrs: no value of register %s", number);
		json_array_foreach(values, i, v) {
			size_t len = json_string_length(v);
			if ((len != 64 && len != 96 && len != 128) || strspn(json_string_value(v), "0123456789abcdef") != len)
				return fault_set(f, -EINVAL, "policy: tpm_pcrs: '%s' is not a digest in lower-case hex", json_string_value(v));
		}
	}
	return 0;
}

static int svn(const json_t *o, const char *name)
{
	return (int)json_integer_value(json_object_get(o, name));
}

static int fill(struct policy_file *p, struct fault *f)
{
	const char *measurements[POLICY_LIST_MAX + 1];
	int err = list(p->json, "tees", p->tees, 0, 0, f);
	if (!err)
		err = list(p->json, "tcb_status", p->tcb_status, 0, 0, f);
	if (!err)
		err = list(p->json, "tpm_keys", p->tpm_keys, 64, 64, f);
	if (!err)
		err = list(p->json, "tpm_endorsement_keys", p->tpm_endorsement_keys, 64, 64, f);
	if (!err)
		err = list(p->json, "cca_platform_keys", p->cca_keys, 64, 64, f);
	if (!err)
		err = list(p->json, "measurements", measurements, 96, 64, f);
	if (!err)
		err = check_pcrs(json_object_get(p->json, "tpm_pcrs"), f);
	if (!err)
		err = rules_check(p->json, f);
	for (size_t i = 0; !err && p->tees[i]; i++) {
		bool known = false;
		for (const char *const *t = all_tees; *t; t++)
			known |= !strcmp(*t, p->tees[i]);
		if (!known)
			err = fault_set(f, -EINVAL, "policy: tees: '%s' is not one of snp, tdx, sgx, csv, cca, tpm, gpu", p->tees[i]);
	}
	if (err) {
		policy_file_free(p);
		return err;
	}
	for (unsigned int i = 0; measurements[i]; i++) {
		strcpy(p->measurements[i], measurements[i]);
		p->policy.measurement_count++;
	}
	const json_t *min = json_object_get(p->json, "snp_minimum_tcb");
	p->measured = json_object_get(p->json, "measurements") != NULL;
	p->policy.measurements = (const char (*)[ATTEST_MEASUREMENT_HEX])p->measurements;
	p->policy.tees = json_object_get(p->json, "tees") ? p->tees : all_tees;
	p->policy.tcb_status = p->tcb_status;
	p->policy.snp_minimum = (struct attest_snp_tcb){svn(min, "fmc"), svn(min, "bootloader"), svn(min, "tee"), svn(min, "snp"), svn(min, "microcode")};
	p->policy.pcrs = json_object_get(p->json, "tpm_pcrs");
	p->policy.require_revocation = json_is_true(json_object_get(p->json, "require_revocation"));
	p->policy.insecure_accept_simulated = json_is_true(json_object_get(p->json, "insecure_accept_simulated"));
	p->policy.insecure_accept_debug = json_is_true(json_object_get(p->json, "insecure_accept_debug"));
	return 0;
}

static void begin(struct policy_file *p)
{
	memset(p, 0, sizeof *p);
	p->policy.tpm_keys = p->tpm_keys;
	p->policy.tpm_endorsement_keys = p->tpm_endorsement_keys;
	p->policy.cca_keys = p->cca_keys;
}

// The first (or last) line that is neither empty nor a comment is this one.
static bool line_is(const char *text, size_t len, bool last, const char *word)
{
	bool is = false;
	for (size_t at = 0, n; at < len; at += n + 1) {
		const char *end = memchr(text + at, '\n', len - at);
		n = end ? (size_t)(end - text) - at : len - at;
		size_t words = n;
		while (words && strchr(" \t\r", text[at + words - 1]))
			words--;
		if (!words || text[at] == '#')
			continue;
		is = words == strlen(word) && !memcmp(text + at, word, words);
		if (!last)
			break;
	}
	return is;
}

// A file that was cut off between two lines can be one that allows more: the last of a rule's conditions is gone. Whoever begins with the
// line `---` says that the line `...` ends it.
static int parse(const char *text, size_t len, const char *name, struct policy_file *p, struct fault *f)
{
	int err = yamlcfg_parse(text, len, name, &record, &p->json, f);
	if (!err && line_is(text, len, false, "---") && !line_is(text, len, true, "..."))
		err = fault_set(f, -EINVAL, "%s: begins with `---` and does not end with the line `...`: its end is missing", name);
	if (!err)
		err = fill(p, f);
	if (err)
		policy_file_free(p);
	return err;
}

int policy_file_read(const char *path, struct policy_file *p, struct fault *f)
{
	char *bytes;
	size_t len;
	begin(p);
	p->policy.tees = all_tees;
	if (!path)
		return 0;
	int err = file_read(path, YAMLCFG_MAX_BYTES, &bytes, &len, f);
	if (err)
		return err;
	err = parse(bytes, len, path, p, f);
	free(bytes);
	return err;
}

int policy_file_parse(const char *text, size_t len, struct policy_file *p, struct fault *f)
{
	begin(p);
	return parse(text, len, "policy", p, f);
}

void policy_file_free(struct policy_file *p)
{
	json_decref(p->json);
	p->json = NULL;
}

void policy_file_appraise(const struct policy_file *p, struct attest_result *r)
{
	attest_appraise_platform(&p->policy, r);
	if (p->measured)
		attest_appraise_measurement(&p->policy, r);
}
