// SPDX-License-Identifier: Apache-2.0
// SNP verification against reports made under a test root: every version and product, both kinds of key, revocation, TCB rules, tables.
#include <string.h>

#include "attest/policy.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

static void expect(const char *name, const struct snp_spec *s, const struct attest_policy *p, const char *failed)
{
	struct snp_made m;
	struct attest_result out;
	X509 *root = snp_made_root();
	snp_make(s, &m);
	struct snp_input in = {.report = m.report, .report_len = sizeof m.report, .chain = &m.chain, .simulated_roots = &root,
			       .simulated_root_count = 1, .crl = m.crl, .now = SNP_MADE_NOW};
	attest_result_init(&out);
	snp_verify(&in, &out);
	if (p)
		attest_appraise_platform(p, &out);
	ok(name, !strcmp(failed_ids(&out), failed), "%s", failures(&out));
	attest_result_free(&out);
	snp_made_free(&m);
}

#define CASE(name, base, policy, failed, ...) \
	do { \
		struct snp_spec s = base; \
		__VA_ARGS__; \
		expect(name, &s, policy, failed); \
	} while (0)

static void test_kinds(void)
{
	CASE("Milan, version 2", snp_milan, NULL, "", );
	CASE("Milan, version 3", snp_milan, NULL, "", s.version = 3; s.family = 0x19; s.model = 1);
	CASE("Genoa, version 3, chip id in an OCTET STRING", snp_genoa, NULL, "", );
	CASE("Siena, version 4", snp_genoa, NULL, "", s.version = 4; s.model = 0xa0);
	CASE("Turin, version 5", snp_turin, NULL, "", );
	CASE("Milan by VLEK", snp_milan, NULL, "", s.vlek = true);
	CASE("Turin by VLEK", snp_turin, NULL, "", s.vlek = true);
	CASE("a masked chip id", snp_genoa, NULL, "", s.masked = true);
	CASE("version 1", snp_milan, NULL, "format ", s.version = 1);
	CASE("version 6", snp_turin, NULL, "format ", s.version = 6);
	CASE("VLEK's certificate, VCEK in the report", snp_milan, NULL, "signing-key ", s.vlek = true; s.key_kind = 0);
	CASE("VCEK's certificate, VLEK in the report", snp_milan, NULL, "signing-key ", s.key_kind = 1);
	CASE("no signing key", snp_milan, NULL, "signing-key ", s.key_kind = 7);
	CASE("another product's CPU", snp_genoa, NULL, "cpu ", s.model = 1);
}

static void test_rules(void)
{
	static const struct attest_policy simulated = {.insecure_accept_simulated = true},
		floor25 = {.insecure_accept_simulated = true, .snp_minimum = {.snp = 24, .microcode = 200}},
		fmc2 = {.insecure_accept_simulated = true, .snp_minimum = {.fmc = 2}};
	CASE("the issuer revoked", snp_milan, NULL, "revocation ", s.revoked = true);
	CASE("the issuer revoked, Turin by VLEK", snp_turin, NULL, "revocation ", s.revoked = true; s.vlek = true);
	CASE("revocation list expired", snp_milan, NULL, "revocation ", s.crl_to = SNP_MADE_NOW - 1);
	CASE("reported TCB below the certificate's", snp_milan, NULL, "tcb ", s.reported_snp = 23);
	CASE("reported TCB above the current one", snp_milan, NULL, "tcb tcb-order ", s.reported_snp = 25);
	CASE("committed TCB above the current one", snp_turin, NULL, "tcb-order ", s.committed_snp = 5);
	CASE("an older TCB is committed", snp_turin, &simulated, "", s.committed_snp = 3);
	CASE("policy: lowest versions reached", snp_milan, &floor25, "", );
	CASE("policy: committed version too low", snp_milan, &floor25, "snp.committed_tcb ", s.committed_snp = 23);
	CASE("policy: launched under too low a version", snp_milan, &floor25, "snp.launch_tcb ", s.launch_snp = 23);
	CASE("policy: microcode too old", snp_milan, &floor25, "snp.reported_tcb snp.committed_tcb snp.launch_tcb ", s.tcb[4] = 199);
	CASE("policy: FMC too old", snp_turin, &fmc2, "snp.reported_tcb snp.committed_tcb snp.launch_tcb ", );
	CASE("policy: FMC is asked of Turin only", snp_milan, &fmc2, "", );
	CASE("policy: debug", snp_turin, &simulated, "dbgstat ", s.policy |= SNP_POLICY_DEBUG);
	CASE("policy: migration", snp_genoa, &simulated, "snp.policy_migrate_ma ", s.policy |= SNP_POLICY_MIGRATE_MA);
}

static void test_input(void)
{
	static const struct attest_policy simulated = {.insecure_accept_simulated = true, .require_revocation = true};
	struct snp_made m;
	struct snp_chain chain = {.count = 0};
	struct attest_result out;
	X509 *root = snp_made_root();
	snp_make(&snp_turin, &m);
	int err = snp_chain_add_table(&chain, m.table, m.table_len, NULL);
	struct snp_input in = {.report = m.report, .report_len = sizeof m.report, .chain = &chain, .simulated_roots = &root,
			       .simulated_root_count = 1, .now = SNP_MADE_NOW};
	attest_result_init(&out);
	snp_verify(&in, &out);
	ok("certificates of an extended report", !err && attest_passed(&out) && json_integer_value(json_object_get(json_object_get(
	   json_object_get(out.claims, "snp"), "launch_tcb"), "fmc")) == 1, "%d %s", err, failures(&out));
	attest_appraise_platform(&simulated, &out);
	ok("policy: revocation must be checked", !strcmp(failed_ids(&out), "revocation-checked "), "%s", failures(&out));
	attest_result_free(&out);
	snp_chain_free(&chain);
	unsigned int accepted = 0;
	for (size_t n = 0; n < m.table_len; n++) {
		uint8_t *cut = malloc(n + 1);
		memcpy(cut, m.table, n);
		accepted += !snp_chain_add_table(&chain, cut, n, NULL);
		snp_chain_free(&chain);
		free(cut);
	}
	ok("a table cut short anywhere is malformed", accepted == 0, "%u were not", accepted);
	m.table[16] = 0xff;
	m.table[19] = 0xff;
	ok("an entry outside of the table", snp_chain_add_table(&chain, m.table, m.table_len, NULL) < 0, "accepted");
	snp_chain_free(&chain);
	snp_made_free(&m);
}

int main(void)
{
	test_kinds();
	test_rules();
	test_input();
	return ok_failed != 0;
}
