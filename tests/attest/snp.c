// SPDX-License-Identifier: Apache-2.0
// SNP verification: real reports of AMD hardware (from ../shared/vectors, where present), reports of the simulated
// hardware, and every way in which one can be wrong.
#include "attest/snp.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/policy.h"
#include "attest/simtee_sign.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "tests/attest/ok.h"
#include "tests/folder.h"

#define VECTORS "../shared/vectors/snp/"

// 2024-12-20: every certificate of the vectors is valid.
#define THEN 1734652800

static const struct attest_check *find(const struct attest_result *r, const char *id)
{
	for (unsigned int i = 0; i < r->count; i++) {
		if (!strcmp(r->checks[i].id, id))
			return &r->checks[i];
	}
	return NULL;
}

static const char *failures(const struct attest_result *r)
{
	static char text[2048];
	size_t n = 0;
	text[0] = '\0';
	for (unsigned int i = 0; i < r->count && n < sizeof text; i++) {
		if (r->checks[i].outcome == ATTEST_FAILED)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s (expected %s, found %s); ",
					      r->checks[i].id, r->checks[i].expected, r->checks[i].found);
	}
	return text;
}

// Exactly the check `id` failed.
static bool only_failed(const struct attest_result *r, const char *id)
{
	unsigned int failed = 0;
	for (unsigned int i = 0; i < r->count; i++)
		failed += r->checks[i].outcome == ATTEST_FAILED;
	const struct attest_check *c = find(r, id);
	return failed == 1 && c && c->outcome == ATTEST_FAILED && c->expected[0] && c->found[0];
}

static const char *claim(const struct attest_result *r, const char *name)
{
	const char *s = json_string_value(json_object_get(r->claims, name));
	return s ? s : "";
}

static bool add_file(struct snp_chain *chain, const char *path)
{
	char *bytes;
	size_t len;
	if (file_read(path, 1 << 20, &bytes, &len, NULL))
		return false;
	bool pem = len > 10 && !memcmp(bytes, "-----BEGIN", 10);
	int err = pem ? snp_chain_add_pem(chain, bytes, len, NULL)
		      : snp_chain_add_der(chain, (uint8_t *)bytes, len, NULL);
	free(bytes);
	return !err;
}

static bool load(const char *file, uint8_t report[SNP_REPORT_BYTES])
{
	char *bytes;
	size_t len;
	bool good;
	if (file_read(file, 1 << 20, &bytes, &len, NULL))
		return false;
	if (len >= 2 * SNP_REPORT_BYTES) {
		bytes[2 * SNP_REPORT_BYTES] = '\0';
		good = !hex_decode(report, SNP_REPORT_BYTES, bytes);
	} else {
		good = len == SNP_REPORT_BYTES;
		memcpy(report, bytes, good ? len : 0);
	}
	free(bytes);
	return good;
}

static void test_vector(const char *name, const char *report_file, const char *leaf, const char *authorities,
			const char *must_fail)
{
	uint8_t report[SNP_REPORT_BYTES];
	struct snp_chain chain = {.count = 0};
	struct attest_result r;
	char label[128];
	snprintf(label, sizeof label, "snp vector %s", name);
	if (access(report_file, R_OK)) {
		skip(label, "the vectors are not here");
		return;
	}
	if (!load(report_file, report) || !add_file(&chain, leaf) || !add_file(&chain, authorities)) {
		ok(label, false, "cannot read the vector");
		snp_chain_free(&chain);
		return;
	}
	struct snp_input in = {.report = report, .report_len = sizeof report, .chain = &chain, .now = THEN};
	attest_result_init(&r);
	snp_verify(&in, &r);
	if (must_fail) {
		const struct attest_check *c = find(&r, must_fail);
		ok(label, !attest_passed(&r) && c && c->outcome == ATTEST_FAILED, "not refused for %s but: %s",
		   must_fail, failures(&r));
	} else {
		ok(label, attest_passed(&r) && !strcmp(claim(&r, "tee"), "snp"), "%s", failures(&r));
		// Any changed byte under the signature must be noticed.
		unsigned int missed = 0;
		for (unsigned int i = 0; i < SNP_SIGNED_BYTES + 2 * 72; i += 7) {
			struct attest_result b;
			report[i] ^= 0x10;
			attest_result_init(&b);
			snp_verify(&in, &b);
			missed += attest_passed(&b);
			attest_result_free(&b);
			report[i] ^= 0x10;
		}
		snprintf(label, sizeof label, "snp vector %s: each changed byte is noticed", name);
		ok(label, missed == 0, "%u missed", missed);
	}
	attest_result_free(&r);
	snp_chain_free(&chain);
}

static void test_vectors(void)
{
	test_vector("trustee v2 Milan", VECTORS "trustee/test-report.bin", VECTORS "trustee/test-vcek.der",
		    VECTORS "trustee/milan_ask_ark_asvk.pem", NULL);
	test_vector("trustee v3 VLEK", VECTORS "trustee/test-vlek-report.bin", VECTORS "trustee/test-vlek.der",
		    VECTORS "trustee/milan_ask_ark_asvk.pem", NULL);
	test_vector("go-sev-guest v2 Milan", VECTORS "go-sev-guest/attestation.bin",
		    VECTORS "go-sev-guest/vcek.testcer", VECTORS "go-sev-guest/milan.testcer", NULL);
	test_vector("virtee Milan", VECTORS "virtee/report_milan.hex", VECTORS "virtee/vcek_milan.der",
		    VECTORS "virtee/cert_chain_milan", NULL);
	test_vector("other machine's VCEK", VECTORS "trustee/test-report.bin", VECTORS "virtee/vcek_milan.der",
		    VECTORS "trustee/milan_ask_ark_asvk.pem", "signature");
	test_vector("invalid VCEK", VECTORS "trustee/test-report.bin", VECTORS "trustee/test-vcek-invalid-new.der",
		    VECTORS "trustee/milan_ask_ark_asvk.pem", "certificate-chain");
	test_vector("invalid VCEK, old", VECTORS "trustee/test-report.bin",
		    VECTORS "trustee/test-vcek-invalid-legacy.der", VECTORS "trustee/milan_ask_ark_asvk.pem",
		    "certificate-chain");
	test_vector("wrong product's authorities", VECTORS "trustee/test-report.bin", VECTORS "trustee/test-vcek.der",
		    VECTORS "trustee/genoa_ask_ark_asvk.pem", "certificate-chain");
}

static uint8_t measurement[48], report_data[64];
static char dir[64], other[64];
static X509 *root;
static struct snp_chain chain;

static void verify(const uint8_t *report, size_t len, const struct snp_chain *c, bool known_root, const uint8_t *data,
		   struct attest_result *r)
{
	struct snp_input in = {.report = report, .report_len = len, .chain = c, .report_data = data,
			       .simulated_roots = &root, .simulated_root_count = known_root, .now = time(NULL)};
	attest_result_init(r);
	snp_verify(&in, r);
}

static X509 *read_root(const char *folder)
{
	char path[128], *pem;
	size_t len;
	if (simtee_root_path(folder, path, sizeof path) || file_read(path, 1 << 16, &pem, &len, NULL))
		return NULL;
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	free(pem);
	return cert;
}

// A report that the simulated hardware signs after a change, and the one check that must fail.
static void test_signed_change(const char *name, unsigned int at, uint8_t value, const char *check)
{
	uint8_t report[SNP_REPORT_BYTES];
	struct attest_result r;
	if (simtee_fill(dir, measurement, report_data, false, report)) {
		ok(name, false, "cannot make a report");
		return;
	}
	report[at] = value;
	simtee_sign(dir, report);
	verify(report, sizeof report, &chain, true, report_data, &r);
	struct attest_policy p = {.insecure_accept_simulated = true};
	attest_appraise_platform(&p, &r);
	ok(name, only_failed(&r, check), "%s", failures(&r));
	attest_result_free(&r);
}

static void test_simulated(void)
{
	uint8_t report[SNP_REPORT_BYTES];
	char *pem = NULL;
	struct attest_result r;
	struct attest_policy strict = {0}, lax = {.insecure_accept_simulated = true};

	for (size_t i = 0; i < sizeof measurement; i++)
		measurement[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof report_data; i++)
		report_data[i] = (uint8_t)(0x80 + i);
	int err = simtee_report(dir, measurement, report_data, false, report, &pem);
	if (!ok("simulated report is made", !err, "error %d", err))
		return;
	root = read_root(dir);
	ok("simulated chain is three certificates",
	   !snp_chain_add_pem(&chain, pem, strlen(pem), NULL) && chain.count == 3, "%u", chain.count);
	char name[128] = "";
	X509_NAME_get_text_by_NID(X509_get_subject_name(root), NID_commonName, name, sizeof name);
	ok("the simulated root says what it is", !strcmp(name, SIMTEE_ROOT_NAME), "%s", name);

	verify(report, sizeof report, &chain, true, report_data, &r);
	ok("simulated report verifies under its root", attest_passed(&r), "%s", failures(&r));
	ok("it is claimed as simulated", !strcmp(claim(&r, "tee"), "simulated"), "%s", claim(&r, "tee"));
	char hex[97];
	ok("the measurement is claimed", !strcmp(claim(&r, "measurement"), hex_encode(hex, measurement, 48)), "%s",
	   claim(&r, "measurement"));
	attest_appraise_platform(&strict, &r);
	ok("the default policy refuses simulated hardware", only_failed(&r, "tee"), "%s", failures(&r));
	const struct attest_check *c = find(&r, "tee");
	ok("the refusal names expected and found", c && !strcmp(c->expected, "snp") && !strcmp(c->found, "simulated"),
	   "%s", failures(&r));
	attest_result_free(&r);

	verify(report, sizeof report, &chain, false, report_data, &r);
	ok("without its root it is refused", only_failed(&r, "root"), "%s", failures(&r));
	ok("and not claimed as anything", !strcmp(claim(&r, "tee"), "unknown"), "%s", claim(&r, "tee"));
	ok("the rest of the report still comes out", !strcmp(claim(&r, "measurement"), hex), "%s",
	   claim(&r, "measurement"));
	attest_result_free(&r);

	unsigned int missed = 0;
	for (unsigned int i = 0; i < SNP_SIGNED_BYTES + 144; i++) {
		report[i] ^= 1;
		verify(report, sizeof report, &chain, true, report_data, &r);
		missed += attest_passed(&r);
		attest_result_free(&r);
		report[i] ^= 1;
	}
	ok("each changed byte of a report is noticed", missed == 0, "%u missed", missed);

	report_data[0] ^= 1;
	verify(report, sizeof report, &chain, true, report_data, &r);
	ok("other report data is refused", only_failed(&r, "report-data"), "%s", failures(&r));
	attest_result_free(&r);
	report_data[0] ^= 1;

	verify(report, sizeof report - 1, &chain, true, report_data, &r);
	ok("a report cut short is refused", only_failed(&r, "format"), "%s", failures(&r));
	attest_result_free(&r);

	struct snp_chain empty = {.count = 0};
	verify(report, sizeof report, &empty, true, report_data, &r);
	ok("a report without certificates is refused", !attest_passed(&r) && !strcmp(claim(&r, "tee"), "unknown"), "%s",
	   failures(&r));
	attest_result_free(&r);

	struct snp_chain shorter = {.certs = {chain.certs[0], chain.certs[2]}, .count = 2};
	verify(report, sizeof report, &shorter, true, report_data, &r);
	ok("a chain with a hole is refused", only_failed(&r, "certificate-chain"), "%s", failures(&r));
	attest_result_free(&r);

	struct snp_input late = {.report = report,
				 .report_len = sizeof report,
				 .chain = &chain,
				 .report_data = report_data,
				 .simulated_roots = &root,
				 .simulated_root_count = 1,
				 .now = time(NULL) + 40ll * 365 * 86400};
	attest_result_init(&r);
	snp_verify(&late, &r);
	ok("expired certificates are refused", only_failed(&r, "certificate-dates"), "%s", failures(&r));
	attest_result_free(&r);

	// Another machine's simulated hardware: same names, other root.
	uint8_t foreign[SNP_REPORT_BYTES];
	char *foreign_pem = NULL;
	struct snp_chain foreign_chain = {.count = 0};
	simtee_report(other, measurement, report_data, false, foreign, &foreign_pem);
	snp_chain_add_pem(&foreign_chain, foreign_pem, strlen(foreign_pem), NULL);
	verify(foreign, sizeof foreign, &foreign_chain, true, report_data, &r);
	ok("another machine's simulated root is refused", only_failed(&r, "root"), "%s", failures(&r));
	attest_result_free(&r);
	verify(foreign, sizeof foreign, &chain, true, report_data, &r);
	const struct attest_check *s = find(&r, "signature");
	ok("a report signed by another chip is refused", s && s->outcome == ATTEST_FAILED, "%s", failures(&r));
	attest_result_free(&r);
	snp_chain_free(&foreign_chain);
	free(foreign_pem);

	test_signed_change("debug is refused", 0x0a, 0x0b, "dbgstat");
	test_signed_change("a migration agent is refused", 0x0a, 0x07, "snp.policy_migrate_ma");
	test_signed_change("another VMPL is refused", 0x30, 2, "snp.vmpl");
	test_signed_change("another TCB is refused", 0x180, 2, "tcb");
	test_signed_change("another chip id is refused", 0x1a0, report[0x1a0] ^ 1, "chip-id");
	test_signed_change("another kind of key is refused", 0x48, 4, "signing-key");
	test_signed_change("another signature algorithm is refused", 0x34, 2, "signature");

	char allowed[1][ATTEST_MEASUREMENT_HEX];
	hex_encode(allowed[0], measurement, 48);
	lax.measurements = (const char (*)[ATTEST_MEASUREMENT_HEX])allowed;
	lax.measurement_count = 1;
	verify(report, sizeof report, &chain, true, report_data, &r);
	attest_appraise_measurement(&lax, &r);
	ok("the right measurement is accepted", attest_passed(&r), "%s", failures(&r));
	allowed[0][0] ^= 1;
	attest_appraise_measurement(&lax, &r);
	c = &r.checks[r.count - 1];
	ok("a wrong measurement is refused by name", only_failed(&r, "measurement") || c->outcome == ATTEST_FAILED,
	   "%s", failures(&r));
	ok("with the value expected and the value found", !strcmp(c->expected, allowed[0]) && !strcmp(c->found, hex),
	   "%s", failures(&r));
	attest_result_free(&r);
	free(pem);
}

static void test_sealing_key(void)
{
	uint8_t m[48] = {1}, n[48] = {2}, key[5][32];
	int err = simtee_sealing_key(dir, m, false, key[0]) || simtee_sealing_key(dir, m, false, key[1]) || simtee_sealing_key(dir, n, false, key[2]) ||
		  simtee_sealing_key(dir, m, true, key[3]) || simtee_sealing_key(other, m, false, key[4]);
	bool differ = !err;
	for (int k = 2; k < 5; k++)
		differ = differ && memcmp(key[0], key[k], 32);
	ok("the simulated sealing key is the same each time", !err && !memcmp(key[0], key[1], 32), "%d", err);
	ok("another for each measurement, debugging, machine", differ, "it is not");
}

int main(void)
{
	if (!test_folder(dir, "simtee") || !test_folder(other, "simtee"))
		return 1;
	test_vectors();
	test_simulated();
	test_sealing_key();
	snp_chain_free(&chain);
	X509_free(root);
	return ok_failed != 0;
}
