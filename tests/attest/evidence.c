// SPDX-License-Identifier: Apache-2.0
// Evidence of any kind by one entry: kinds told apart, bundles, policies from files, and the command that does it (`coffer verify`).
#include "attest/evidence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/json.h"
#include "attest/policy_file.h"
#include "lib/encode.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

static char folder[64], coffer[512];

static char *path(const char *name)
{
	static char out[8][128];
	static int next;
	char *p = out[next++ % 8];
	snprintf(p, 128, "%s/%s", folder, name);
	return p;
}

static void write_text(const char *name, const char *text)
{
	if (file_write(path(name), text, strlen(text), 0600, false, NULL))
		abort();
}

// A bundle of everything that was made.
static void make_bundle(const struct made *m, struct bundle *b)
{
	char stamp[32];
	bundle_init(b);
	bundle_put_text(b, "format", BUNDLE_FORMAT, strlen(BUNDLE_FORMAT));
	time_text(stamp, MADE_NOW);
	bundle_put_text(b, "time", stamp, strlen(stamp));
	bundle_put_bytes(b, "evidence", m->quote, m->quote_len);
	bundle_put_text(b, "tcb_info", m->tcb, strlen(m->tcb));
	bundle_put_text(b, "tcb_info_issuer_chain", m->tcb_chain, strlen(m->tcb_chain));
	bundle_put_text(b, "qe_identity", m->qe, strlen(m->qe));
	bundle_put_text(b, "qe_identity_issuer_chain", m->tcb_chain, strlen(m->tcb_chain));
	bundle_put_text(b, "pck_crl_issuer_chain", m->crl_chain, strlen(m->crl_chain));
	bundle_put_bytes(b, "root_ca_crl", m->root_crl, m->parts.root_crl.len);
	bundle_put_bytes(b, "pck_crl", m->pck_crl, m->parts.pck_crl.len);
}

static void test_bundle(void)
{
	struct made m;
	struct bundle b, again;
	struct attest_result r;
	struct fault f = {""};
	X509 *root = made_root();
	made_make(&made_tdx, &m);
	make_bundle(&m, &b);
	char *text = json_dumps(b.json, JSON_INDENT(2));
	int err = bundle_read(&again, (uint8_t *)text, strlen(text), &f);
	struct evidence_input in = {.bundle = &again, .simulated_roots = &root, .simulated_root_count = 1, .now = bundle_time(&again)};
	attest_result_init(&r);
	enum evidence_kind kind = err ? EVIDENCE_UNKNOWN : evidence_verify(&in, &r);
	ok("evidence: a bundle has all that is wanted", kind == EVIDENCE_TDX && attest_passed(&r), "%s %s", f.text, failures(&r));
	attest_result_free(&r);
	bundle_free(&again);
	bundle_free(&b);
	free(text);
	static const struct { const char *text, *name; } bad[] = {
		{"[]", "a list"}, {"{\"evidence\":3}", "a number"}, {"{\"evidenc\":\"\"}", "an unknown member"}, {"{\"format\":\"other\"}", "another format"},
		{"{\"time\":\"x\",\"time\":\"y\"}", "a member given twice"}, {"{", "cut short"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char label[96];
		snprintf(label, sizeof label, "evidence: no bundle: %s", bad[i].name);
		ok(label, bundle_read(&b, (const uint8_t *)bad[i].text, strlen(bad[i].text), &f) == -EINVAL, "accepted");
	}
	made_free(&m);
}

// What is asked of evidence that cannot answer is refused, not passed over.
static void test_unanswered(void)
{
	static const uint8_t data[64];
	struct snp_made s;
	struct bundle b;
	struct attest_result r;
	X509 *root = snp_made_root();
	snp_make(&snp_milan, &s);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", s.report, sizeof s.report);
	char *pem = pki_pem(s.chain.certs[0], s.chain.certs[1], s.chain.certs[2], NULL);
	bundle_put_text(&b, "certificates", pem, strlen(pem));
	bundle_put_bytes(&b, "event_log", "log", 3);
	struct evidence_input in = {.bundle = &b, .simulated_roots = &root, .simulated_root_count = 1, .now = SNP_MADE_NOW, .nonce = data, .nonce_len = 9};
	attest_result_init(&r);
	evidence_verify(&in, &r);
	ok("evidence: a nonce and a log that SNP cannot answer", !strcmp(failed_ids(&r), "nonce-asked event-log "), "%s", failures(&r));
	attest_result_free(&r);
	bundle_free(&b);
	uint8_t longer[sizeof s.report + 1] = {0};
	memcpy(longer, s.report, sizeof s.report);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", longer, sizeof longer);
	bundle_put_text(&b, "certificates", pem, strlen(pem));
	in.nonce = NULL;
	in.strict = true;
	attest_result_init(&r);
	evidence_verify(&in, &r);
	ok("evidence: bytes behind an SNP report, strict", !strcmp(failed_ids(&r), "trailing-bytes "), "%s", failures(&r));
	attest_result_free(&r);
	bundle_free(&b);
	bundle_init(&b);
	bundle_put_bytes(&b, "tpm_quote", "\xff" "TCG\x80\x18", 6);
	in.report_data = data;
	attest_result_init(&r);
	evidence_verify(&in, &r);
	ok("evidence: report data that a TPM cannot answer", strstr(failed_ids(&r), "report-data-asked "), "%s", failures(&r));
	attest_result_free(&r);
	bundle_free(&b);
	free(pem);
	snp_made_free(&s);
}

// A bundle's other members do not stand in for the evidence that its log is replayed to.
static void test_two_quotes(void)
{
	struct made m;
	struct bundle b;
	struct attest_result r;
	X509 *root = made_root();
	made_make(&made_tdx, &m);
	make_bundle(&m, &b);
	bundle_put_bytes(&b, "quote", m.quote, m.quote_len);
	m.quote[48 + 328] ^= 1; // RTMR0
	bundle_put_bytes(&b, "evidence", m.quote, m.quote_len);
	struct evidence_input in = {.bundle = &b, .simulated_roots = &root, .simulated_root_count = 1, .now = MADE_NOW};
	attest_result_init(&r);
	evidence_verify(&in, &r);
	ok("evidence: a false quote beside a genuine one", !strcmp(failed_ids(&r), "signature "), "%s", failures(&r));
	attest_result_free(&r);
	bundle_free(&b);
	made_free(&m);
}

// Another TPM of the same maker has a certificate too.
static void test_listed_keys(void)
{
	uint8_t quote[41] = {0xff, 'T', 'C', 'G', 0x80, 0x18};
	const char *const listed[] = {"00", NULL};
	struct pki root = pki_make(&(struct pki_spec){"TEST TPM maker", NULL, true, "P-384", MADE_NOW - MADE_DAY, MADE_NOW + MADE_DAY, NULL});
	struct pki ak = pki_make(&(struct pki_spec){"TEST AK", &root, false, "P-256", MADE_NOW - MADE_DAY, MADE_NOW + MADE_DAY, pki_ak_usage});
	char *pem = pki_pem(ak.cert, root.cert, NULL);
	for (int with = 0; with < 2; with++) {
		struct attest_result r;
		struct bundle b;
		bundle_init(&b);
		bundle_put_bytes(&b, "tpm_quote", quote, sizeof quote);
		bundle_put_text(&b, "tpm_certificates", pem, strlen(pem));
		struct evidence_input in = {.bundle = &b, .tpm_roots = &root.cert, .tpm_root_count = 1, .tpm_keys = with ? listed : NULL, .now = MADE_NOW};
		attest_result_init(&r);
		evidence_verify(&in, &r);
		const struct attest_check *c = attest_find(&r, "tpm-key");
		ok(with ? "evidence: a TPM's key that the policy does not list" : "evidence: a TPM's key by its certificate",
		   c && c->outcome == (with ? ATTEST_FAILED : ATTEST_PASSED), "%s", failures(&r));
		attest_result_free(&r);
		bundle_free(&b);
	}
	free(pem);
	pki_free(&ak);
	pki_free(&root);
}

// What evidence holds does not command the terminal of who reads about it.
static void test_printable(void)
{
	struct attest_result r;
	attest_result_init(&r);
	struct attest_check *c = attest_check_add(&r, "format", false);
	attest_expected(c, "%s", "a\nb");
	attest_found(c, "%s", "\033[2J");
	ok("checks: no control characters", !strcmp(c->expected, "a?b") && !strcmp(c->found, "?[2J"), "they are there");
	attest_result_free(&r);
}

static void test_kinds(void)
{
	static const struct { const char *file; enum evidence_kind kind; } rows[] = {
		{"sgx/dcap-qvl/quote.bin", EVIDENCE_SGX}, {"sgx/oasis/quote_pck_chain.bin", EVIDENCE_SGX}, {"tdx/dcap-qvl/quote.bin", EVIDENCE_TDX},
		{"tdx/gcp-ccel/cos-113-tdx-quote.dat", EVIDENCE_TDX}, {"tdx/trustee/tdx_quote_5.dat", EVIDENCE_TDX},
		{"snp/trustee/test-report.bin", EVIDENCE_SNP}, {"snp/trustee/test-vlek-report.bin", EVIDENCE_SNP}, {"azure/snp/hcl-report.bin", EVIDENCE_HCL},
		{"csv/csv-rs/report.cert", EVIDENCE_CSV}, {"cca/tf-rmm/cca_token.cbor", EVIDENCE_CCA}, {"eventlog/trustee/CCEL_data_grub", EVIDENCE_LOG},
		{"eventlog/tpm/debian-10.bin", EVIDENCE_LOG}, {"eventlog/tpm/rhel8-uefi.bin", EVIDENCE_LOG}, {"csv/csv-rs/hrk.cert", EVIDENCE_UNKNOWN},
		{"ear/ear.jwt", EVIDENCE_UNKNOWN}, {"snp/trustee/test-vcek.der", EVIDENCE_UNKNOWN},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char label[128];
		size_t len;
		char *bytes = vector_read(rows[i].file, &len);
		snprintf(label, sizeof label, "evidence: %s is %s", rows[i].file, evidence_kind_name(rows[i].kind));
		if (!bytes) {
			skip(label, "the vectors are not here");
			continue;
		}
		enum evidence_kind kind = evidence_kind_of((uint8_t *)bytes, len);
		ok(label, kind == rows[i].kind, "%s", evidence_kind_name(kind));
		free(bytes);
	}
}

static void policy_refused(const char *name, const char *yaml, const char *why)
{
	struct policy_file *p = calloc(1, sizeof *p);
	struct fault f = {""};
	write_text("p.yaml", yaml);
	int err = policy_file_read(path("p.yaml"), p, &f);
	ok(name, err == -EINVAL && strstr(f.text, why), "%d %s", err, f.text);
	free(p);
}

static void test_policies(void)
{
	struct policy_file *p = calloc(1, sizeof *p);
	struct fault f = {""};
	write_text("p.yaml", "tees: [tdx]\ntcb_status: [SWHardeningNeeded]\nsnp_minimum_tcb: {snp: 8, microcode: 100}\nrequire_revocation: true\n");
	int err = policy_file_read(path("p.yaml"), p, &f);
	ok("policy file: what it says", !err && !strcmp(p->policy.tees[0], "tdx") && !p->policy.tees[1] && p->policy.snp_minimum.snp == 8 &&
	   p->policy.require_revocation && !strcmp(p->policy.tcb_status[0], "SWHardeningNeeded") && !p->measured &&
	   !p->policy.insecure_accept_simulated, "%d %s", err, f.text);
	policy_file_free(p);
	free(p);
	policy_refused("policy file: an unknown key", "tee: [tdx]\n", "tee");
	policy_refused("policy file: unknown hardware", "tees: [tdk]\n", "tdk");
	policy_refused("policy file: no digest", "measurements: [abc]\n", "abc");
	policy_refused("policy file: upper case", "measurements: [E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1]\n", "E1E1");
}

// Runs the command and returns its exit code; what it printed is in out.
static int run(char *out, size_t size, const char *arguments)
{
	char line[2048];
	snprintf(line, sizeof line, "%s %s 2>&1", coffer, arguments);
	FILE *p = popen(line, "r");
	size_t n = p ? fread(out, 1, size - 1, p) : 0;
	out[n] = '\0';
	int status = p ? pclose(p) : -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *name, const char *arguments, int code, const char *text)
{
	static char out[64 << 10];
	int rc = run(out, sizeof out, arguments);
	ok(name, rc == code && strstr(out, text), "exit code %d: %s", rc, out);
}

static void test_command(void)
{
	struct made m;
	struct snp_made s;
	struct bundle b;
	char line[1024];
	if (access(coffer, X_OK)) {
		ok("coffer verify", false, "the command is not built");
		return;
	}
	made_make(&made_tdx, &m);
	make_bundle(&m, &b);
	char *text = json_dumps(b.json, 0), *pem = pki_pem(made_root(), NULL);
	write_text("tdx.json", text);
	write_text("root.pem", pem);
	if (file_write(path("quote.bin"), m.quote, m.quote_len, 0600, false, NULL))
		abort();
	free(text);
	free(pem);
	json_object_del(b.json, "evidence");
	text = json_dumps(b.json, 0);
	write_text("collateral.json", text);
	free(text);
	bundle_put_bytes(&b, "evidence", m.quote, m.quote_len);
	bundle_put_text(&b, "pck_crl", "none", 4);
	bundle_put_text(&b, "tcb_info_signature", "0", 1);
	text = json_dumps(b.json, 0);
	write_text("old.json", text);
	free(text);
	bundle_free(&b);
	made_free(&m);
	write_text("lax.yaml", "insecure_accept_simulated: true\n");
	write_text("other.yaml", "insecure_accept_simulated: true\nmeasurements: [0000000000000000000000000000000000000000000000000000000000000000"
				 "00000000000000000000000000000000]\n");
	snprintf(line, sizeof line, "verify %s --insecure-simulated-root %s --policy %s --at recorded", path("tdx.json"), path("root.pem"), path("lax.yaml"));
	expect("coffer verify: a bundle, for the time recorded in it", line, 0, "the hardware is simulated and proves nothing");
	snprintf(line, sizeof line, "verify %s --policy %s --at recorded", path("tdx.json"), path("lax.yaml"));
	expect("coffer verify: without the test root", line, 3, "the first is `root`");
	snprintf(line, sizeof line, "verify %s --insecure-simulated-root %s --at recorded", path("tdx.json"), path("root.pem"));
	expect("coffer verify: without a policy that accepts simulated hardware", line, 3, "the first is `tee`");
	snprintf(line, sizeof line, "verify %s --insecure-simulated-root %s --policy %s --at recorded", path("tdx.json"), path("root.pem"), path("other.yaml"));
	expect("coffer verify: another measurement", line, 3, "Something else runs there than the policy allows");
	snprintf(line, sizeof line, "verify %s --insecure-simulated-root %s --policy %s --at 2026-03-01T00:00:00Z", path("tdx.json"), path("root.pem"),
		 path("lax.yaml"));
	expect("coffer verify: later", line, 3, "is not current at that time");
	snprintf(line, sizeof line, "verify %s --collateral %s --insecure-simulated-root %s --policy %s --at 2026-01-02T00:00:00Z --json", path("quote.bin"),
		 path("collateral.json"), path("root.pem"), path("lax.yaml"));
	expect("coffer verify: raw evidence and a file of collateral, as JSON", line, 0, "\"verdict\":\"accepted\"");
	snprintf(line, sizeof line, "verify %s --insecure-simulated-root %s --policy %s --at recorded", path("old.json"), path("root.pem"), path("lax.yaml"));
	expect("coffer verify: a bundle with other collateral", line, 3, "REFUSED");
	snprintf(line, sizeof line, "verify %s --collateral %s --insecure-simulated-root %s --policy %s --at recorded", path("old.json"),
		 path("collateral.json"), path("root.pem"), path("lax.yaml"));
	expect("coffer verify: the collateral given counts, not the bundle's", line, 0, "ACCEPTED");
	snprintf(line, sizeof line, "verify %s --report-data dada", path("tdx.json"));
	expect("coffer verify: report data", line, 3, "perhaps an old one, replayed");
	snprintf(line, sizeof line, "evidence bundle %s --collateral %s --at 2026-01-02T00:00:00Z --output %s && %s verify %s "
		 "--insecure-simulated-root %s --policy %s --at recorded", path("quote.bin"), path("collateral.json"), path("packed.json"), coffer,
		 path("packed.json"), path("root.pem"), path("lax.yaml"));
	expect("coffer evidence bundle, then verify", line, 0, "ACCEPTED");
	snp_make(&snp_genoa, &s);
	if (file_write(path("report.bin"), s.report, sizeof s.report, 0600, false, NULL))
		abort();
	snp_made_free(&s);
	snprintf(line, sizeof line, "evidence show %s", path("report.bin"));
	expect("coffer evidence show", line, 0, "an AMD SEV-SNP report. Nothing of this is verified");
	write_text("none", "nothing");
	snprintf(line, sizeof line, "verify %s", path("none"));
	expect("coffer verify: no evidence", line, 3, "7 bytes of none");
	snprintf(line, sizeof line, "verify %s", path("missing"));
	expect("coffer verify: no file", line, 1, "missing");
	snprintf(line, sizeof line, "verify %s --at yesterday", path("tdx.json"));
	expect("coffer verify: no time", line, 1, "'yesterday' is no time");
	expect("coffer verify: no arguments", "verify", 2, "name one file");
}

// A certificate of an attestation key that its maker has revoked: what the command says of it with the maker's lists, in a file of both.
static void test_tpm_lists(void)
{
	uint8_t quote[41] = {0xff, 'T', 'C', 'G', 0x80, 0x18};
	struct pki root = pki_make(&(struct pki_spec){"TEST TPM maker", NULL, true, "P-384", MADE_NOW - MADE_DAY, MADE_NOW + MADE_DAY, NULL});
	struct pki issuer = pki_make(&(struct pki_spec){"TEST TPM line", &root, true, "P-256", MADE_NOW - MADE_DAY, MADE_NOW + MADE_DAY, NULL});
	struct pki ak = pki_make(&(struct pki_spec){"TEST AK", &issuer, false, "P-256", MADE_NOW - MADE_DAY, MADE_NOW + MADE_DAY, pki_ak_usage});
	char *chain = pki_pem(ak.cert, issuer.cert, root.cert, NULL), *top = pki_pem(root.cert, NULL), *text, line[1024], stamp[32];
	static const struct { const char *name, *text; bool named; } rows[] = {
		{"coffer verify: a TPM's key that its maker does not list", "by certificate", false},
		{"coffer verify: one that it has revoked", "'TEST AK' is revoked", true},
	};
	struct bundle b;
	bundle_init(&b);
	bundle_put_text(&b, "format", BUNDLE_FORMAT, strlen(BUNDLE_FORMAT));
	bundle_put_bytes(&b, "tpm_quote", quote, sizeof quote);
	bundle_put_text(&b, "tpm_certificates", chain, strlen(chain));
	text = json_dumps(b.json, 0);
	write_text("tpm.json", text);
	write_text("tpm.pem", top);
	time_text(stamp, MADE_NOW);
	for (size_t i = 0; i < 2; i++) {
		X509_CRL *lists[] = {pki_crl(&root, NULL, MADE_NOW - 100, MADE_NOW + 100),
				     pki_crl(&issuer, rows[i].named ? ak.cert : NULL, MADE_NOW - 100, MADE_NOW + 100)};
		FILE *f = fopen(path("tpm.crl"), "w");
		for (int k = 0; k < 2; k++) {	// DER, one behind the other
			size_t len;
			uint8_t *der = pki_crl_der(lists[k], &len);
			fwrite(der, 1, len, f);
			free(der);
			X509_CRL_free(lists[k]);
		}
		fclose(f);
		snprintf(line, sizeof line, "verify %s --at %s --tpm-root %s --tpm-crl %s", path("tpm.json"), stamp, path("tpm.pem"), path("tpm.crl"));
		expect(rows[i].name, line, 3, rows[i].text);
	}
	snprintf(line, sizeof line, "verify %s --at %s --tpm-crl %s", path("tpm.json"), stamp, path("tpm.crl"));
	expect("coffer verify: lists without roots", line, 2, "--tpm-root");
	snprintf(line, sizeof line, "verify %s --at %s --tpm-root %s --tpm-crl %s", path("tpm.json"), stamp, path("tpm.pem"), path("tpm.pem"));
	expect("coffer verify: lists that are none", line, 1, "revocation list");
	free(text);
	free(chain);
	free(top);
	bundle_free(&b);
	pki_free(&ak);
	pki_free(&issuer);
	pki_free(&root);
}

int main(int argc, char **argv)
{
	char *slash = strrchr(argv[0], '/');
	(void)argc;
	snprintf(coffer, sizeof coffer, "%.*s../bin/coffer", slash ? (int)(slash + 1 - argv[0]) : 0, argv[0]);
	if (!test_folder(folder, "evidence"))
		return 1;
	test_bundle();
	test_unanswered();
	test_two_quotes();
	test_listed_keys();
	test_printable();
	test_kinds();
	test_policies();
	test_command();
	test_tpm_lists();
	return ok_failed != 0;
}
