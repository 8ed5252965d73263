// SPDX-License-Identifier: Apache-2.0
// SGX and TDX verification against evidence of real machines.
#include "attest/dcap.h"

#include <openssl/pem.h>

#include "attest/slice.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

// A set of collateral as vectors keep it; what is borrowed lives until set_free.
struct set {
	char *files[16];
	unsigned int count;
	json_t *json[8];
	unsigned int json_count;
	uint8_t *crls[2];
	struct dcap_collateral_parts parts;
};

static void set_free(struct set *s)
{
	for (unsigned int i = 0; i < s->count; i++)
		free(s->files[i]);
	for (unsigned int i = 0; i < s->json_count; i++)
		json_decref(s->json[i]);
	free(s->crls[0]);
	free(s->crls[1]);
}

static struct collateral_text file(struct set *s, const char *folder, const char *name)
{
	char path[256];
	size_t len = 0;
	snprintf(path, sizeof path, "%s/%s", folder, name);
	char *bytes = vector_read(path, &len);
	if (bytes)
		s->files[s->count++] = bytes;
	return (struct collateral_text){bytes, len};
}

static struct collateral_text member(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);
	return (struct collateral_text){json_string_value(v), json_string_length(v)};
}

static json_t *json_file(struct set *s, const char *folder, const char *name)
{
	struct collateral_text t = file(s, folder, name);
	json_t *o = t.bytes ? json_loadb(t.bytes, t.len, 0, NULL) : NULL;
	if (o)
		s->json[s->json_count++] = o;
	return o;
}

// One file with everything in it, lists in hex.
static bool load_single(struct set *s, const char *folder, const char *name)
{
	json_t *o = json_file(s, folder, name);
	if (!o)
		return false;
	s->parts = (struct dcap_collateral_parts){
		.tcb_info = member(o, "tcb_info"), .tcb_info_signature = member(o, "tcb_info_signature"),
		.tcb_info_chain = member(o, "tcb_info_issuer_chain"), .qe_identity = member(o, "qe_identity"),
		.qe_identity_signature = member(o, "qe_identity_signature"), .qe_identity_chain = member(o, "qe_identity_issuer_chain"),
		.pck_crl_chain = member(o, "pck_crl_issuer_chain"),
	};
	static const char *const names[] = {"root_ca_crl", "pck_crl"};
	for (int i = 0; i < 2; i++) {
		size_t n = json_string_length(json_object_get(o, names[i])) / 2;
		s->crls[i] = malloc(n + 1);
		if (slice_hex(json_object_get(o, names[i]), s->crls[i], n))
			return false;
		*(i ? &s->parts.pck_crl : &s->parts.root_crl) = (struct collateral_text){(char *)s->crls[i], n};
	}
	return true;
}

// PCS replies, each with its chain. The root's list is not among them.
static bool load_pcs(struct set *s)
{
	json_t *t = json_file(s, "tdx/gcp-ccel/pcs", "tdx_tcb_info_00806F050000.json"), *q = json_file(s, "tdx/gcp-ccel/pcs", "tdx_qe_identity.json");
	json_t *c = json_file(s, "tdx/gcp-ccel/pcs", "pck_crl_platform.json");
	s->parts = (struct dcap_collateral_parts){
		.tcb_info = member(t, "tcb_info_json"), .tcb_info_chain = member(t, "issuer_chain"),
		.qe_identity = member(q, "enclave_identity_json"), .qe_identity_chain = member(q, "issuer_chain"),
		.pck_crl = member(c, "crl_data"), .pck_crl_chain = member(c, "issuer_chain"),
	};
	return t && q && c;
}

// Loose files, as Intel's sample data and oasis-core have them.
static bool load_files(struct set *s, const char *folder, const char *tcb, const char *tcb_chain, const char *qe)
{
	s->parts = (struct dcap_collateral_parts){
		.tcb_info = file(s, folder, tcb), .tcb_info_chain = file(s, folder, tcb_chain), .qe_identity = file(s, folder, qe),
		.root_crl = file(s, folder, "rootCaCrl.der"), .pck_crl = file(s, folder, "intermediateCaCrl.der"),
		.pck_crl_chain = file(s, folder, "pckSignChain.pem"),
	};
	s->parts.qe_identity_chain = s->parts.tcb_info_chain;
	return s->parts.tcb_info.bytes && s->parts.tcb_info_chain.bytes && s->parts.qe_identity.bytes;
}

struct run {
	const char *quote;
	const char *now;
	const char *failed;	// ids of the checks that fail, each with a blank behind
	const char *status;	// tcb_status
	const char *tee;
	X509 *root;		// a test root, or NULL
	bool strict;
};

static time_t time_of(const char *text)
{
	json_t *s = json_string(text);
	time_t t = slice_time(s);
	json_decref(s);
	return t;
}

// The text around the certificates' base64 is signed by nobody; everything before it is.
static unsigned int unnoticed_flips(struct dcap_input *in, uint8_t *quote, const char *failed)
{
	struct dcap_quote q;
	struct attest_result out;
	unsigned int missed = 0;
	if (dcap_quote_parse(quote, in->quote_len, &q, NULL))
		return 1;
	for (size_t i = 0, end = (size_t)(q.cert_data - quote); i < end; i += 7) {
		quote[i] ^= 0x20;
		attest_result_init(&out);
		dcap_verify(in, &out);
		// Bytes 8 to 11 are reserved in version 3, but signed as all others.
		missed += !strcmp(failed_ids(&out), failed);
		attest_result_free(&out);
		quote[i] ^= 0x20;
	}
	return missed;
}

static bool run(const char *name, struct set *s, const struct run *r, char advisories[256], bool flips)
{
	char label[160];
	size_t len;
	char *quote = vector_read(r->quote, &len);
	struct dcap_collateral *col;
	struct attest_result out;
	snprintf(label, sizeof label, "dcap vector %s", name);
	if (!quote) {
		skip(label, "the vectors are not here");
		return false;
	}
	if (dcap_collateral_open(&s->parts, &col))
		abort();
	struct dcap_input in = {.quote = (uint8_t *)quote, .quote_len = len, .collateral = col, .simulated_roots = &r->root,
				.simulated_root_count = r->root != NULL, .strict = r->strict, .now = time_of(r->now)};
	attest_result_init(&out);
	dcap_verify(&in, &out);
	bool good = ok(label, !strcmp(failed_ids(&out), r->failed) && !strcmp(claim_of(&out, "tcb_status"), r->status) &&
		       !strcmp(claim_of(&out, "tee"), r->tee), "tee '%s', tcb_status '%s', failed: %s", claim_of(&out, "tee"),
		       claim_of(&out, "tcb_status"), failures(&out));
	if (advisories) {
		size_t i, n = 0;
		json_t *a;
		advisories[0] = '\0';
		json_array_foreach(json_object_get(out.claims, "advisory_ids"), i, a)
			n += (size_t)snprintf(advisories + n, 256 - n, "%s ", json_string_value(a));
	}
	attest_result_free(&out);
	if (flips && good) {
		unsigned int missed = unnoticed_flips(&in, (uint8_t *)quote, r->failed);
		snprintf(label, sizeof label, "dcap vector %s: each changed byte is noticed", name);
		ok(label, missed == 0, "%u missed", missed);
	}
	dcap_collateral_free(col);
	free(quote);
	return good;
}

static void test_dcap_qvl(void)
{
	struct set sgx = {.count = 0}, tdx = {.count = 0}, old = {.count = 0}, none = {.count = 0};
	char advisories[256];
	load_single(&sgx, "sgx/dcap-qvl", "collateral.json");
	load_single(&tdx, "tdx/dcap-qvl", "collateral.json");
	load_single(&old, "tdx/dcap-qvl", "quote_outdated_collateral.json");
	struct run r = {.quote = "sgx/dcap-qvl/quote.bin", .now = "2025-06-25T00:00:00Z", .failed = "",
			.status = "ConfigurationAndSWHardeningNeeded", .tee = "sgx"};
	if (run("dcap-qvl SGX v3", &sgx, &r, advisories, true))
		ok("dcap vector dcap-qvl SGX v3: advisories", !strcmp(advisories, "INTEL-SA-00289 INTEL-SA-00615 "), "%s", advisories);
	r.now = "2025-07-20T00:00:00Z";
	r.failed = "revocation tcb-info-dates qe-identity-dates ";
	run("dcap-qvl SGX v3, a month later", &sgx, &r, NULL, false);
	r.now = "2025-06-18T00:00:00Z";
	run("dcap-qvl SGX v3, a day too early", &sgx, &r, NULL, false);
	r = (struct run){.quote = "tdx/dcap-qvl/quote.bin", .now = "2025-06-25T00:00:00Z", .failed = "", .status = "UpToDate", .tee = "tdx"};
	run("dcap-qvl TDX v4", &tdx, &r, NULL, true);
	r.strict = true;
	r.failed = "trailing-bytes ";
	run("dcap-qvl TDX v4, strict", &tdx, &r, NULL, false);
	r.strict = false;
	r.failed = "revocation tcb-info qe-identity platform qe ";
	r.status = "";
	run("dcap-qvl TDX v4 with SGX's collateral", &sgx, &r, NULL, false);
	run("dcap-qvl TDX v4 without collateral", &none, &r, NULL, false);
	r = (struct run){.quote = "tdx/dcap-qvl/quote_outdated.bin", .now = "2026-03-01T00:00:00Z", .failed = "tcb ", .status = "Unsupported",
			 .tee = "tdx"};
	run("dcap-qvl TDX v5 that no TCB level matches", &old, &r, NULL, false);
	set_free(&sgx);
	set_free(&tdx);
	set_free(&old);
}

static void test_others(void)
{
	struct set gcp = {.count = 0}, oasis = {.count = 0}, bad = {.count = 0};
	load_pcs(&gcp);
	// The root's list is not among these replies, nor are oasis-core's: that, and nothing else, is missing.
	struct run r = {.quote = "tdx/gcp-ccel/cos-113-tdx-quote.dat", .now = "2025-06-01T00:00:00Z", .failed = "revocation ",
			.status = "UpToDate", .tee = "tdx"};
	run("GCP TDX v4", &gcp, &r, NULL, true);
	load_files(&oasis, "sgx/oasis", "tcb_info_v3_fmspc_00606A000000.json", "tcb_info_v3_fmspc_00606A000000_certs.pem",
		   "qe_identity_v2.json");
	r = (struct run){.quote = "sgx/oasis/quote_pck_chain.bin", .now = "2022-12-25T00:00:00Z", .failed = "revocation ",
			 .status = "SWHardeningNeeded", .tee = "sgx"};
	run("oasis SGX v3", &oasis, &r, NULL, true);
	load_files(&bad, "sgx/oasis", "tcb_info_v3_fmspc_00606A000000.json", "tcb_info_v3_fmspc_00606A000000_certs_bad.pem",
		   "qe_identity_v2.json");
	r.failed = "revocation tcb-info qe-identity platform qe ";
	r.status = "";
	run("oasis SGX v3, bad TCB signing chain", &bad, &r, NULL, false);
	r = (struct run){.quote = "sgx/oasis/quote_v3_ecdsa_p256_eppid.bin", .now = "2022-12-25T00:00:00Z",
			 .failed = "certificate-chain qe-report ", .status = "", .tee = "unknown"};
	run("oasis SGX v3 that only names its platform", &oasis, &r, NULL, false);
	set_free(&gcp);
	set_free(&oasis);
	set_free(&bad);
}

// Intel's own sample data, under roots of its own.
static void test_sample(const char *folder, const char *failed, const char *status)
{
	struct set s = {.count = 0};
	char path[64];
	struct cert_list l = {.count = 0};
	if (!load_files(&s, folder, "tcbInfo.json", "tcbSignChain.pem", "qeIdentity.json")) {
		skip("dcap vector Intel's samples", "the vectors are not here");
		return;
	}
	struct collateral_text root = file(&s, folder, "trustedRootCaCert.pem"), pck = file(&s, folder, "pckCert.pem"), above = s.parts.pck_crl_chain;
	char *all = malloc(pck.len + above.len + 2);
	s.files[s.count++] = all;
	int n = sprintf(all, "%.*s\n%.*s", (int)pck.len, pck.bytes, (int)above.len, above.bytes);
	s.parts.pck_chain = (struct collateral_text){all, (size_t)n};
	cert_list_add_pem(&l, root.bytes, root.len, NULL);
	snprintf(path, sizeof path, "%s/quote.dat", folder);
	struct run r = {.quote = path, .now = "2024-01-01T00:00:00Z", .failed = failed, .status = status, .tee = "simulated",
			.root = l.certs[0]};
	run(folder, &s, &r, NULL, true);
	char without[64];
	snprintf(without, sizeof without, "root %s", failed);
	r.root = NULL;
	r.failed = without;
	r.tee = "unknown";
	run("Intel's sample without its root", &s, &r, NULL, false);
	cert_list_free(&l);
	set_free(&s);
}

static void test_debug(void)
{
	static const struct { const char *quote, *dbgstat; } rows[] = {
		{"tdx/trustee/tdx_quote_4.dat", "enabled"},
		{"sgx/trustee/occlum_quote.dat", "enabled"},
		{"tdx/trustee/tdx_quote_5.dat", "disabled-since-boot"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char label[128];
		size_t len;
		char *quote = vector_read(rows[i].quote, &len);
		struct attest_result out;
		snprintf(label, sizeof label, "dcap vector %s: signed, dbgstat %s", rows[i].quote, rows[i].dbgstat);
		if (!quote) {
			skip(label, "the vectors are not here");
			continue;
		}
		struct dcap_input in = {.quote = (uint8_t *)quote, .quote_len = len, .now = time_of("2025-01-01T00:00:00Z")};
		attest_result_init(&out);
		dcap_verify(&in, &out);
		ok(label, !strcmp(claim_of(&out, "dbgstat"), rows[i].dbgstat) &&
		   !strcmp(failed_ids(&out), "revocation tcb-info qe-identity platform qe "), "%s %s", claim_of(&out, "dbgstat"), failures(&out));
		attest_result_free(&out);
		free(quote);
	}
}

int main(void)
{
	test_dcap_qvl();
	test_others();
	test_sample("sgx/intel-qvl", "", "UpToDate");
	// Made of random numbers: signatures, chains and dates hold, what they say does not fit.
	test_sample("tdx/intel-qvl", "qe tdx-module tcb ", "Unsupported");
	test_debug();
	return ok_failed != 0;
}
