// SPDX-License-Identifier: Apache-2.0
// Hygon CSV: a real report with its chain, and reports of both versions made under a test root.
#include "attest/csv.h"

#include <string.h>

#include "tests/attest/make/csv.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

static void verify(const struct csv_input *in, struct attest_result *r)
{
	attest_result_init(r);
	csv_verify(in, r);
}

static unsigned int unnoticed(const struct csv_input *in, uint8_t *bytes, size_t len)
{
	unsigned int missed = 0;
	for (size_t i = 0; i < len; i += 5) {
		struct attest_result r;
		bytes[i] ^= 0x40;
		verify(in, &r);
		missed += attest_passed(&r);
		attest_result_free(&r);
		bytes[i] ^= 0x40;
	}
	return missed;
}

static void test_vector(void)
{
	size_t report_len, chain_len, hrk_len;
	char *report = vector_read("csv/csv-rs/report.cert", &report_len), *chain = vector_read("csv/csv-rs/hsk_cek.cert", &chain_len);
	char *hrk = vector_read("csv/csv-rs/hrk.cert", &hrk_len);
	struct attest_result r;
	if (!report || !chain || !hrk) {
		skip("csv vector csv-rs", "the vectors are not here");
		return;
	}
	uint8_t data[64] = "user data";
	struct csv_input in = {.report = (uint8_t *)report, .report_len = report_len, .hsk_cek = (uint8_t *)chain, .hsk_cek_len = chain_len,
			       .hrk = (uint8_t *)hrk, .hrk_len = hrk_len, .report_data = data};
	verify(&in, &r);
	ok("csv vector csv-rs", attest_passed(&r) && !strcmp(claim_of(&r, "tee"), "csv") && !strcmp(claim_of(&r, "csv.unproved_serial_number"), "NZA9T14052605"),
	   "%s %s", claim_of(&r, "csv.unproved_serial_number"), failures(&r));
	attest_result_free(&r);
	unsigned int missed = unnoticed(&in, (uint8_t *)report, report_len);
	ok("csv vector csv-rs: each changed byte is noticed", missed == 0, "%u missed", missed);
	in.hsk_cek = NULL;
	verify(&in, &r);
	ok("csv vector csv-rs: without the chip's certificates", !strcmp(failed_ids(&r), "certificate-chain "), "%s", failures(&r));
	attest_result_free(&r);
	free(report);
	free(chain);
	free(hrk);
}

static void test_made(void)
{
	static uint8_t b[8192];
	struct csv_world w, other, swapped;
	struct attest_result r;
	char label[96];
	csv_make_world(&w, CSV_USAGE_CEK);
	csv_make_world(&other, CSV_USAGE_CEK);
	csv_make_world(&swapped, CSV_USAGE_OCA);
	struct csv_input in = {.report = b, .hsk_cek = w.hsk_cek, .hsk_cek_len = sizeof w.hsk_cek, .hrk = w.hrk_cert, .hrk_len = sizeof w.hrk_cert,
			       .simulated_hrk = w.hrk_cert};
	for (int version = 1; version <= 2; version++) {
		in.report_len = csv_make_report(&w, version, CSV_POLICY_NODBG, NULL, b);
		verify(&in, &r);
		snprintf(label, sizeof label, "csv: version %d", version);
		ok(label, attest_passed(&r) && !strcmp(claim_of(&r, "tee"), "simulated") && !strcmp(claim_of(&r, "dbgstat"), "disabled-since-boot") &&
		   json_integer_value(json_object_get(json_object_get(r.claims, "csv"), "version")) == version, "%s", failures(&r));
		attest_result_free(&r);
		unsigned int missed = unnoticed(&in, b, in.report_len);
		snprintf(label, sizeof label, "csv: version %d: each changed byte is noticed", version);
		ok(label, missed == 0, "%u missed", missed);
		csv_make_report(&w, version, 0, NULL, b);
		verify(&in, &r);
		ok("csv: debugging allowed", !strcmp(claim_of(&r, "dbgstat"), "enabled"), "%s", claim_of(&r, "dbgstat"));
		attest_result_free(&r);
	}
	in.report_len = 4096;
	in.strict = true;
	verify(&in, &r);
	ok("csv: padded, strict", !strcmp(failed_ids(&r), "trailing-bytes "), "%s", failures(&r));
	attest_result_free(&r);
	in.strict = false;
	in.report_len = CSV_V1_BYTES - 1;
	verify(&in, &r);
	ok("csv: cut short", !strcmp(failed_ids(&r), "format "), "%s", failures(&r));
	attest_result_free(&r);
	in.report_len = csv_make_report(&w, 1, CSV_POLICY_NODBG, NULL, b);
	in.simulated_hrk = NULL;
	verify(&in, &r);
	ok("csv: a root that is not accepted", !strcmp(failed_ids(&r), "root ") && !strcmp(claim_of(&r, "tee"), "unknown"), "%s", failures(&r));
	attest_result_free(&r);
	in.simulated_hrk = w.hrk_cert;
	in.hsk_cek = other.hsk_cek;
	verify(&in, &r);
	ok("csv: another chip's certificates", !strcmp(failed_ids(&r), "certificate-chain "), "%s", failures(&r));
	attest_result_free(&r);
	in.report_len = csv_make_report(&swapped, 1, CSV_POLICY_NODBG, NULL, b);
	in.hsk_cek = swapped.hsk_cek;
	in.hrk = in.simulated_hrk = swapped.hrk_cert;
	verify(&in, &r);
	ok("csv: a certificate of another use", !strcmp(failed_ids(&r), "certificate-chain "), "%s", failures(&r));
	attest_result_free(&r);
	csv_free_world(&w);
	csv_free_world(&other);
	csv_free_world(&swapped);
}

int main(void)
{
	test_vector();
	test_made();
	return ok_failed != 0;
}
