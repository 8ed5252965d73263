// SPDX-License-Identifier: Apache-2.0
// SGX and TDX verification against quotes made under a test root: every way in which one, or what is said about its platform, can be
// wrong, and which check must notice.
#include <string.h>

#include "attest/dcap.h"
#include "attest/policy.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

static void expect(const char *name, const struct dcap_spec *s, const char *failed, const char *status)
{
	struct made m;
	struct attest_result out;
	X509 *root = made_root();
	made_make(s, &m);
	struct dcap_input in = {.quote = m.quote, .quote_len = m.quote_len, .collateral = m.collateral, .simulated_roots = &root,
				.simulated_root_count = 1, .now = MADE_NOW};
	attest_result_init(&out);
	dcap_verify(&in, &out);
	ok(name, !strcmp(failed_ids(&out), failed) && !strcmp(claim_of(&out, "tcb_status"), status), "tcb_status '%s', failed: %s",
	   claim_of(&out, "tcb_status"), failures(&out));
	attest_result_free(&out);
	made_free(&m);
}

#define CASE(name, base, failed, status, ...) \
	do { \
		struct dcap_spec s = base; \
		__VA_ARGS__; \
		expect(name, &s, failed, status); \
	} while (0)

static void test_good(void)
{
	CASE("SGX v3", made_sgx, "", "UpToDate", );
	CASE("SGX v4", made_sgx, "", "UpToDate", s.version = 4);
	CASE("SGX v5", made_sgx, "", "UpToDate", s.version = 5);
	CASE("TDX v4", made_tdx, "", "UpToDate", );
	CASE("TDX v5, TD 1.0", made_tdx, "", "UpToDate", s.version = 5);
	CASE("TDX v5, TD 1.5", made_tdx, "", "UpToDate", s.version = 5; s.td15 = true);
	CASE("a chain in another order", made_sgx, "", "UpToDate", s.chain_shuffled = true);
	CASE("a chain with a certificate too many", made_sgx, "", "UpToDate", s.extra_certificate = true);
}

static void test_collateral(void)
{
	CASE("TCB info expired", made_sgx, "tcb-info-dates ", "UpToDate", s.tcb_next = MADE_NOW - 1);
	CASE("TCB info from the future", made_sgx, "tcb-info-dates ", "UpToDate", s.tcb_issued = MADE_NOW + 1);
	CASE("QE identity expired", made_sgx, "qe-identity-dates ", "UpToDate", s.qe_next = MADE_NOW - 1);
	CASE("QE identity from the future", made_tdx, "qe-identity-dates ", "UpToDate", s.qe_issued = MADE_NOW + 1);
	CASE("revocation lists expired", made_sgx, "revocation ", "UpToDate", s.crl_to = MADE_NOW - 1);
	CASE("revocation lists from the future", made_sgx, "revocation ", "UpToDate", s.crl_from = MADE_NOW + 1);
	CASE("root's list by another root of the same name", made_sgx, "revocation ", "UpToDate", s.other_crl_issuer = true);
	CASE("PCK certificate revoked", made_sgx, "revocation ", "UpToDate", s.revoke = 1);
	CASE("PCK authority revoked", made_tdx, "revocation ", "UpToDate", s.revoke = 2);
	CASE("TCB signer revoked", made_tdx, "revocation ", "UpToDate", s.revoke = 3);
	CASE("PCK certificate expired", made_sgx, "certificate-dates ", "UpToDate", s.pck_to = MADE_NOW - 1);
	CASE("TCB info changed after signing", made_sgx, "tcb-info platform ", "", s.tcb_tampered = true);
	CASE("QE identity changed after signing", made_sgx, "qe-identity qe ", "", s.qe_tampered = true);
	CASE("statements signed below the PCK authority", made_sgx, "tcb-info qe-identity ", "UpToDate", s.tcb_signed_by_ca = true);
	CASE("SGX's TCB info for a TD", made_tdx, "tcb-info ", "", s.tcb_id = "SGX");
	CASE("the SGX QE's identity for a TD", made_tdx, "qe-identity ", "UpToDate", s.qe_id = "QE");
	CASE("TCB info version 2 for TDX", made_tdx, "tcb-info platform ", "", s.tcb_version = 2);
	CASE("another FMSPC", made_sgx, "platform ", "UpToDate", s.tcb_fmspc = "00806F050001");
	CASE("root missing in the chain", made_sgx, "certificate-chain qe-report ", "", s.no_root_in_chain = true);
}

static void test_quote(void)
{
	CASE("quote signed by another key", made_sgx, "signature ", "UpToDate", s.quote_signed_by_other = true);
	CASE("QE report signed by another key", made_tdx, "qe-report ", "UpToDate", s.qe_signed_by_other = true);
	CASE("QE report about another key", made_tdx, "attestation-key ", "UpToDate", s.wrong_ak_hash = true);
	CASE("another QE signer", made_sgx, "qe ", "UpToDate", s.qe_mrsigner = 0x8d);
	CASE("another QE product", made_sgx, "qe ", "UpToDate", s.qe_prod_id = 3);
	CASE("a QE in debug mode", made_sgx, "qe ", "UpToDate", s.qe_flags = 0x13);
	CASE("bits that the mask leaves out", made_sgx, "", "UpToDate", s.qe_flags = 0x15);
	CASE("another attestation key type", made_sgx, "format ", "", s.ak_type = 3);
	CASE("quote version 2", made_sgx, "format ", "", s.version = 2);
	CASE("quote version 6", made_tdx, "format ", "", s.version = 6);
	CASE("another module signer", made_tdx, "tdx-module ", "UpToDate", s.mrsigner_seam = 1);
	CASE("seam attributes set", made_tdx, "tdx-module ", "UpToDate", s.seam_attributes = 1);
	CASE("an unknown module version", made_tdx, "tdx-module tcb ", "Unsupported", s.tee_tcb_svn[1] = 2);
}

static void test_status(void)
{
	CASE("SW hardening needed", made_sgx, "", "SWHardeningNeeded", s.platform_svn = 6);
	CASE("out of date", made_sgx, "", "OutOfDate", s.platform_svn = 5);
	CASE("PCE too old for the first levels", made_sgx, "", "OutOfDate", s.platform_pce = 10);
	CASE("no level reached", made_sgx, "tcb ", "Unsupported", s.platform_svn = 4);
	CASE("a revoked level", made_sgx, "tcb ", "Revoked", s.levels[0].status = "Revoked");
	CASE("configuration needed", made_sgx, "", "ConfigurationNeeded", s.levels[0].status = "ConfigurationNeeded");
	CASE("an unknown status", made_sgx, "tcb-info platform ", "", s.levels[0].status = "Fine");
	CASE("QE out of date", made_sgx, "", "OutOfDate", s.qe_svn = 3);
	CASE("QE out of date, hardening needed", made_sgx, "", "OutOfDate", s.qe_svn = 3; s.platform_svn = 6);
	CASE("QE out of date, configuration needed", made_sgx, "", "OutOfDateConfigurationNeeded", s.qe_svn = 3;
	     s.levels[0].status = "ConfigurationAndSWHardeningNeeded");
	CASE("QE revoked", made_sgx, "tcb ", "Revoked", s.qe_svn = 1);
	CASE("QE older than all levels", made_sgx, "tcb ", "Unsupported", s.qe_svn = 0);
	CASE("module out of date", made_tdx, "", "OutOfDate", s.tee_tcb_svn[0] = 4);
	CASE("module revoked", made_tdx, "tcb ", "Revoked", s.tee_tcb_svn[0] = 2);
	CASE("module older than all its levels", made_tdx, "tcb ", "Unsupported", s.tee_tcb_svn[0] = 0);
	CASE("another module's levels", made_tdx, "", "OutOfDate", s.tee_tcb_svn[0] = 2; s.tee_tcb_svn[1] = 3);
	CASE("a module without version: components decide", made_tdx, "", "OutOfDate", s.tee_tcb_svn[0] = 4; s.tee_tcb_svn[1] = 0);
	CASE("late microcode of the TD too old", made_tdx, "", "OutOfDate", s.tee_tcb_svn[2] = 6);
	CASE("TDX out of date, configuration needed", made_tdx, "", "OutOfDateConfigurationNeeded", s.tee_tcb_svn[2] = 5);
}

// TD 1.5: launched under an old module, which was updated since.
static void test_relaunch(void)
{
#define OLD s.version = 5; s.td15 = true; s.tee_tcb_svn[0] = 4; s.tee_tcb_svn[2] = 6
	CASE("relaunch advised", made_tdx, "", "TDRelaunchAdvised", OLD);
	CASE("relaunch advised, configuration needed", made_tdx, "", "TDRelaunchAdvisedConfigurationNeeded", OLD;
	     s.levels[1].status = "OutOfDateConfigurationNeeded");
	CASE("no relaunch helps while the module is old", made_tdx, "", "OutOfDate", OLD; s.tee_tcb_svn2[0] = 4);
	CASE("no relaunch helps while the microcode is old", made_tdx, "", "OutOfDate", OLD; s.tee_tcb_svn2[2] = 6);
	CASE("no relaunch helps while the machine is old", made_tdx, "", "OutOfDate", OLD; s.platform_svn = 6);
	CASE("no relaunch helps while the QE is old", made_tdx, "", "OutOfDate", OLD; s.qe_svn = 3);
	CASE("a TD 1.0 cannot tell", made_tdx, "", "OutOfDate", OLD; s.td15 = false);
}

static void test_input(void)
{
	struct made m;
	struct attest_result out;
	X509 *root = made_root();
	uint8_t data[64];
	made_make(&made_tdx, &m);
	struct dcap_input in = {.quote = m.quote, .quote_len = m.quote_len, .collateral = m.collateral, .simulated_roots = &root,
				.simulated_root_count = 1, .now = MADE_NOW, .report_data = data};
	memset(data, 0xda, sizeof data);
	attest_result_init(&out);
	dcap_verify(&in, &out);
	ok("bound report data", attest_passed(&out) && !strcmp(claim_of(&out, "tee"), "simulated"), "%s", failures(&out));
	ok("the first end of the collateral is named", !strcmp(claim_of(&out, "collateral_expires"), "2026-01-30T00:00:00Z") &&
	   !strcmp(claim_of(&out, "collateral_expires_first"), "TCB info"), "%s %s", claim_of(&out, "collateral_expires"),
	   claim_of(&out, "collateral_expires_first"));
	attest_result_free(&out);
	data[63] ^= 1;
	attest_result_init(&out);
	dcap_verify(&in, &out);
	ok("other report data", !strcmp(failed_ids(&out), "report-data "), "%s", failures(&out));
	attest_result_free(&out);
	in.report_data = NULL;
	in.simulated_root_count = 0;
	attest_result_init(&out);
	dcap_verify(&in, &out);
	ok("a root that is not accepted", !strcmp(failed_ids(&out), "root ") && !strcmp(claim_of(&out, "tee"), "unknown"), "%s", failures(&out));
	attest_result_free(&out);
	in.simulated_root_count = 1;
	unsigned int passed = 0;
	for (size_t n = 0; n < m.quote_len; n++) {
		uint8_t *cut = malloc(n + 1);	// its end is where a sanitizer sees it
		memcpy(cut, m.quote, n);
		in.quote = cut;
		in.quote_len = n;
		struct dcap_quote q;
		passed += dcap_quote_parse(cut, n, &q, NULL) == 0;
		free(cut);
	}
	ok("a quote cut short anywhere is malformed", passed == 0, "%u were not", passed);
	made_free(&m);
}

// What policy says of a quote that verifies: `p` is laxer than the default in one point.
static void judged(const char *name, const struct dcap_spec *s, const struct attest_policy *p, const char *failed)
{
	struct made m;
	struct attest_result out;
	X509 *root = made_root();
	made_make(s, &m);
	struct dcap_input in = {.quote = m.quote, .quote_len = m.quote_len, .collateral = m.collateral, .simulated_roots = &root,
				.simulated_root_count = 1, .now = MADE_NOW};
	attest_result_init(&out);
	dcap_verify(&in, &out);
	bool genuine = attest_passed(&out);
	attest_appraise_platform(p, &out);
	ok(name, genuine && !strcmp(failed_ids(&out), failed), "%s", failures(&out));
	attest_result_free(&out);
	made_free(&m);
}

#define JUDGE(name, base, policy, failed, ...) \
	do { \
		struct dcap_spec s = base; \
		__VA_ARGS__; \
		judged(name, &s, &policy, failed); \
	} while (0)

static void test_policy(void)
{
	static const char *const hardening[] = {"SWHardeningNeeded", NULL};
	const struct attest_policy strict = {0}, simulated = {.insecure_accept_simulated = true},
				   debug = {.insecure_accept_simulated = true, .insecure_accept_debug = true},
				   lax = {.insecure_accept_simulated = true, .tcb_status = hardening};
	JUDGE("policy: simulated hardware", made_tdx, strict, "tee ", );
	JUDGE("policy: all is well", made_tdx, simulated, "", );
	JUDGE("policy: a TD in debug mode", made_tdx, simulated, "dbgstat ", s.td_attributes |= 1);
	JUDGE("policy: a TD under another kind of debugging", made_tdx, simulated, "dbgstat ", s.td_attributes |= 0x10);
	JUDGE("policy: debugging accepted", made_tdx, debug, "", s.td_attributes |= 1);
	JUDGE("policy: #VE by the host", made_tdx, simulated, "tdx.sept_ve_disable ", s.td_attributes = 0);
	JUDGE("policy: a TD that can migrate", made_tdx, simulated, "tdx.migratable ", s.td_attributes |= TD_ATTR_MIGRATABLE);
	JUDGE("policy: a reserved attribute", made_tdx, simulated, "tdx.reserved_attributes ", s.td_attributes |= 1ull << 40);
	JUDGE("policy: an enclave in debug mode", made_sgx, simulated, "dbgstat ", s.sgx_flags |= 2);
	JUDGE("policy: an enclave that was not initialised", made_sgx, simulated, "sgx.initialised ", s.sgx_flags = 4);
	JUDGE("policy: a platform out of date", made_sgx, simulated, "tcb_status ", s.platform_svn = 5);
	JUDGE("policy: hardening needed", made_sgx, simulated, "tcb_status ", s.platform_svn = 6);
	JUDGE("policy: hardening needed is accepted", made_sgx, lax, "", s.platform_svn = 6);
}

int main(void)
{
	test_good();
	test_collateral();
	test_quote();
	test_status();
	test_relaunch();
	test_input();
	test_policy();
	return ok_failed != 0;
}
