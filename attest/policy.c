// SPDX-License-Identifier: Apache-2.0
// See policy.h. Pure.
#include "attest/policy.h"

#include <stdio.h>
#include <string.h>

static const char *claim(const json_t *claims, const char *name)
{
	const char *s = json_string_value(json_object_get(claims, name));
	return s ? s : "none";
}

void attest_appraise_platform(const struct attest_policy *p, struct attest_result *r)
{
	const char *tee = claim(r->claims, "tee"), *debug = claim(r->claims, "dbgstat");
	bool simulated = !strcmp(tee, "simulated");

	struct attest_check *c = attest_check_add(r, "tee", !strcmp(tee, "snp") ||
						  (simulated && p->insecure_accept_simulated));
	attest_expected(c, p->insecure_accept_simulated ? "snp or simulated" : "snp");
	attest_found(c, "%s", tee);

	c = attest_check_add(r, "dbgstat", !strcmp(debug, "disabled-since-boot") ||
			     (!strcmp(debug, "enabled") && p->insecure_accept_debug));
	attest_expected(c, p->insecure_accept_debug ? "disabled-since-boot or enabled" : "disabled-since-boot");
	attest_found(c, "%s", debug);

	const json_t *snp = json_object_get(r->claims, "snp"), *vmpl = json_object_get(snp, "vmpl");
	c = attest_check_add(r, "snp.vmpl", json_is_integer(vmpl) && json_integer_value(vmpl) == 0);
	attest_expected(c, "0");
	attest_found(c, "%lld", json_is_integer(vmpl) ? (long long)json_integer_value(vmpl) : -1);

	const json_t *migrate = json_object_get(snp, "policy_migrate_ma");
	c = attest_check_add(r, "snp.policy_migrate_ma", json_is_false(migrate));
	attest_expected(c, "false");
	attest_found(c, json_is_true(migrate) ? "true" : json_is_false(migrate) ? "false" : "none");
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
