// SPDX-License-Identifier: Apache-2.0
// See policy.h. Pure.
#include "attest/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *claim(const json_t *claims, const char *name)
{
	const char *s = json_string_value(json_object_get(claims, name));
	return s ? s : "none";
}

static bool listed(const char *const *list, const char *what)
{
	for (; list && *list; list++) {
		if (!strcmp(*list, what))
			return true;
	}
	return false;
}

// "a or b or c", first `head` (when there is one), then the list, then `tail`.
static void alternatives(struct attest_check *c, const char *head, const char *const *list, const char *tail)
{
	size_t n = 0, size = sizeof c->expected;
	const char *const *first = list;
	if (head)
		n += (size_t)snprintf(c->expected, size, "%s", head);
	for (; list && *list && n < size; list++)
		n += (size_t)snprintf(c->expected + n, size - n, "%s%s", head || list != first ? " or " : "", *list);
	if (tail && n < size)
		snprintf(c->expected + n, size - n, " or %s", tail);
}

// A boolean of a platform's own claims.
static void appraise_bool(struct attest_result *r, const json_t *o, const char *name, const char *id, bool wanted)
{
	const json_t *v = json_object_get(o, name);
	struct attest_check *c = attest_check_add(r, id, wanted ? json_is_true(v) : json_is_false(v));
	attest_expected(c, wanted ? "true" : "false");
	attest_found(c, json_is_true(v) ? "true" : json_is_false(v) ? "false" : "none");
}

static void appraise_snp(struct attest_result *r, const json_t *snp)
{
	const json_t *vmpl = json_object_get(snp, "vmpl");
	struct attest_check *c = attest_check_add(r, "snp.vmpl", json_is_integer(vmpl) && json_integer_value(vmpl) == 0);
	attest_expected(c, "0");
	attest_found(c, "%lld", json_is_integer(vmpl) ? (long long)json_integer_value(vmpl) : -1);
	appraise_bool(r, snp, "policy_migrate_ma", "snp.policy_migrate_ma", false);
}

// Each part of each TCB: what runs now, what it cannot be rolled back from, and what the guest was launched under.
static void appraise_snp_tcb(struct attest_result *r, const json_t *snp, const struct attest_snp_tcb *min)
{
	static const char *const names[] = {"reported_tcb", "committed_tcb", "launch_tcb"};
	const struct { const char *name; int least; } parts[] = {
		{"fmc", min->fmc}, {"bootloader", min->bootloader}, {"tee", min->tee}, {"snp", min->snp}, {"microcode", min->microcode},
	};
	for (int i = 0; i < 3; i++) {
		const json_t *tcb = json_object_get(snp, names[i]);
		const char *low = NULL;
		json_int_t least = 0, found = 0;
		for (size_t k = 0; k < 5 && !low; k++) {
			const json_t *v = json_object_get(tcb, parts[k].name);
			if (parts[k].least > 0 && (v || k) && json_integer_value(v) < parts[k].least) {
				low = parts[k].name;
				least = parts[k].least;
				found = json_integer_value(v);
			}
		}
		struct attest_check *c = attest_check_add(r, i == 0 ? "snp.reported_tcb" : i == 1 ? "snp.committed_tcb" : "snp.launch_tcb", tcb && !low);
		if (low) {
			attest_expected(c, "%s %lld or later", low, (long long)least);
			attest_found(c, "%lld", (long long)found);
		} else {
			attest_expected(c, "the minimum or later");
			attest_found(c, tcb ? "that" : "none");
		}
	}
}

static void appraise_tdx(struct attest_result *r, const json_t *tdx)
{
	// Without it, the host can inject exceptions by taking pages away.
	appraise_bool(r, tdx, "sept_ve_disable", "tdx.sept_ve_disable", true);
	appraise_bool(r, tdx, "migratable", "tdx.migratable", false);
	appraise_bool(r, tdx, "reserved_attributes", "tdx.reserved_attributes", false);
}

// Without encrypted state a host reads a machine's registers at each exit.
static void appraise_csv(struct attest_result *r, const json_t *csv)
{
	const json_t *p = json_object_get(csv, "policy");
	bool es = json_is_true(json_object_get(p, "es")) || json_is_true(json_object_get(p, "csv3"));
	struct attest_check *c = attest_check_add(r, "csv.policy.es", es);
	attest_expected(c, "registers that are encrypted (es, csv3)");
	attest_found(c, es ? "they are" : "registers that the host can read");
}

// Registers that must have been quoted with one of the values listed: {"0": ["hex", ...]}.
static void appraise_pcrs(struct attest_result *r, const json_t *wanted)
{
	const json_t *pcrs = json_object_get(json_object_get(r->claims, "tpm"), "pcrs");
	const char *number;
	json_t *values, *v;
	size_t i;
	struct attest_check *c = attest_check_add(r, "tpm_pcrs", true);
	attest_expected(c, "the values that the policy lists");
	attest_found(c, "those");
	json_object_foreach((json_t *)wanted, number, values) {
		char name[16];
		snprintf(name, sizeof name, "pcr%02u", (unsigned int)strtoul(number, NULL, 10));
		const char *found = claim(pcrs, name);
		bool match = false;
		json_array_foreach(values, i, v)
			match |= !strcmp(json_string_value(v), found);
		if (match)
			continue;
		c->outcome = ATTEST_FAILED;
		attest_expected(c, "%s: %s%s", name, json_string_value(json_array_get(values, 0)), json_array_size(values) > 1 ? " or another one listed" : "");
		attest_found(c, "%s", !strcmp(found, "none") ? "a quote without it" : found);
		return;
	}
}

// Keys that a list vouches for, as long as they are on it: a session lives longer than a list.
static void appraise_lists(struct attest_result *r, const struct attest_policy *p)
{
	const json_t *tpm = json_object_get(r->claims, "tpm"), *cca = json_object_get(json_object_get(r->claims, "cca"), "platform");
	const char *trust = claim(tpm, "ak_trust");
	const struct {
		const char *id, *found;
		const char *const *list;
		bool always;	// also when the list is empty by now
	} lists[] = {
		{"tpm_keys", tpm && strcmp(trust, "tee") && strcmp(trust, "none") ? claim(tpm, "ak_digest") : NULL, p->tpm_keys, !strcmp(trust, "allow-list")},
		{"tpm_endorsement_keys", tpm && !strcmp(trust, "activate-credential") ? claim(tpm, "ek_digest") : NULL, p->tpm_endorsement_keys, false},
		{"cca_platform_keys", json_object_get(cca, "key_digest") ? claim(cca, "key_digest") : NULL, p->cca_keys, true},
	};
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		if (!lists[i].found || !lists[i].list || (!lists[i].list[0] && !lists[i].always))
			continue;
		struct attest_check *c = attest_check_add(r, lists[i].id, listed(lists[i].list, lists[i].found));
		attest_expected(c, "a key that the policy lists");
		attest_found(c, "%s", lists[i].found);
	}
}

// One GPU that proves nothing would receive what is meant for all.
static void appraise_gpus(struct attest_result *r, const json_t *gpus, bool accept_simulated)
{
	bool real = json_array_size(gpus) > 0;
	json_t *device;
	size_t i;
	json_array_foreach((json_t *)gpus, i, device)
		real &= json_is_false(json_object_get(device, "simulated"));
	struct attest_check *c = attest_check_add(r, "gpu", real || accept_simulated);
	attest_expected(c, accept_simulated ? "real or simulated GPUs" : "real GPUs");
	attest_found(c, "%zu, %s", json_array_size(gpus), real ? "real" : "simulated or unproved");
}

void attest_appraise_platform(const struct attest_policy *p, struct attest_result *r)
{
	static const char *const only_snp[] = {"snp", NULL};
	const char *const *tees = p->tees ? p->tees : only_snp;
	const char *tee = claim(r->claims, "tee"), *debug = claim(r->claims, "dbgstat");
	bool simulated = !strcmp(tee, "simulated");

	struct attest_check *c = attest_check_add(r, "tee", (!simulated && listed(tees, tee)) || (simulated && p->insecure_accept_simulated));
	alternatives(c, NULL, tees, p->insecure_accept_simulated ? "simulated" : NULL);
	attest_found(c, "%s", tee);

	if (strcmp(tee, "tpm") && strcmp(tee, "gpu")) {	// they say nothing about debuggers
		c = attest_check_add(r, "dbgstat", !strcmp(debug, "disabled-since-boot") ||
				     (!strcmp(debug, "enabled") && p->insecure_accept_debug));
		attest_expected(c, p->insecure_accept_debug ? "disabled-since-boot or enabled" : "disabled-since-boot");
		attest_found(c, "%s", debug);
	}

	appraise_lists(r, p);
	if (json_object_get(r->claims, "gpu"))
		appraise_gpus(r, json_object_get(r->claims, "gpu"), p->insecure_accept_simulated);
	const json_t *own = json_object_get(r->claims, "snp");
	if (own || listed(only_snp, tee)) {
		static const struct attest_snp_tcb any;
		appraise_snp(r, own);
		if (memcmp(&p->snp_minimum, &any, sizeof any))
			appraise_snp_tcb(r, own, &p->snp_minimum);
	}
	if (p->require_revocation) {
		const char *revocation = claim(r->claims, "revocation");
		c = attest_check_add(r, "revocation-checked", !strcmp(revocation, "checked"));
		attest_expected(c, "revocation lists, checked");
		attest_found(c, "%s", revocation);
	}
	own = json_object_get(r->claims, "tdx");
	if (own)
		appraise_tdx(r, own);
	own = json_object_get(r->claims, "csv");
	if (own)
		appraise_csv(r, own);
	if (p->pcrs)
		appraise_pcrs(r, p->pcrs);
	own = json_object_get(r->claims, "sgx");
	if (own)
		appraise_bool(r, own, "initialised", "sgx.initialised", true);
	if (json_object_get(r->claims, "quote")) {	// Intel's: how current the platform is, is a condition, not a matter of genuineness
		const char *status = claim(r->claims, "tcb_status");
		c = attest_check_add(r, "tcb_status", !strcmp(status, "UpToDate") || listed(p->tcb_status, status));
		alternatives(c, "UpToDate", p->tcb_status, NULL);
		attest_found(c, "%s", status);
	}
}

void attest_appraise_measurement(const struct attest_policy *p, struct attest_result *r)
{
	const char *found = claim(r->claims, "measurement");
	bool allowed = false;
	for (unsigned int i = 0; i < p->measurement_count; i++)
		allowed |= !strcmp(p->measurements[i], found);
	struct attest_check *c = attest_check_add(r, "measurement", allowed);
	attest_found(c, "%s", found);
	if (p->measurement_count == 0)
		attest_expected(c, "a measurement that a policy allows, but no policy allows any");
	else if (p->measurement_count == 1)
		attest_expected(c, "%s", p->measurements[0]);
	else if (p->measurement_count == 2)
		attest_expected(c, "%s or %s", p->measurements[0], p->measurements[1]);
	else
		attest_expected(c, "%s or %s or one of %u more", p->measurements[0], p->measurements[1],
				p->measurement_count - 2);
}

void attest_appraise_anchor(const struct attest_policy *p, struct attest_result *r)
{
	const char *found = claim(json_object_get(r->claims, "coffer"), "anchor");
	if (!p->anchors)
		return;
	struct attest_check *c = attest_check_add(r, "coffer.anchor", listed(p->anchors, found));
	alternatives(c, NULL, p->anchors, NULL);
	attest_found(c, "%s", found);
}
