// SPDX-License-Identifier: Apache-2.0
// Fuzzes policy files with rules: what is read is also decided upon, for claims that have a bit of everything. Nothing may be allowed that
// the same policy refuses when all its rules are taken away.
#include <stdint.h>
#include <stdlib.h>

#include "attest/policy_file.h"
#include "attest/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static json_t *claims;
	static struct policy_file p;
	struct attest_result r;
	if (!claims)
		claims = json_loads("{\"tee\":\"snp\",\"n\":7,\"v\":\"1.2.3\",\"d\":\"2025-06-01T00:00:00Z\",\"l\":[\"a\",{\"b\":1}],\"o\":{\"x\":1,\"y\":null}}", 0, NULL);
	if (!claims || policy_file_parse((const char *)data, size, &p, NULL))
		return 0;
	const struct rules_input in = {.claims = claims, .resource = "a/b/c", .caller = claims, .owner_known = size & 1, .now = 1767268800};
	json_t *d = rules_decide(p.json, &in);
	if (!d || attest_result_init(&r))
		abort();
	rules_explain(d, &r);
	if (attest_passed(&r) != rules_allowed(d))
		abort();
	json_object_del(p.json, "rules");
	json_decref(d);
	attest_result_free(&r);
	d = rules_decide(p.json, &in);
	if (rules_allowed(d))
		abort();
	json_decref(d);
	policy_file_free(&p);
	return 0;
}
