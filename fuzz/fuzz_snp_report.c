// SPDX-License-Identifier: Apache-2.0
// Fuzzes the verification of SNP evidence: the input's first 1184 bytes are the report, what follows is a certificate
// in DER, a table of them or PEM text. Nothing that is not signed by a known root may pass.
#include <stdint.h>
#include <stdlib.h>

#include "attest/policy.h"
#include "attest/snp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t report_data[SNP_REPORT_DATA_BYTES];
	size_t n = size < SNP_REPORT_BYTES ? size : SNP_REPORT_BYTES;
	struct snp_chain chain = {.count = 0};
	struct attest_result r;
	const struct attest_policy policy = {.measurement_count = 0};

	if (size > n && snp_chain_add_der(&chain, data + n, size - n, NULL) && snp_chain_add_table(&chain, data + n, size - n, NULL))
		snp_chain_add_pem(&chain, (const char *)data + n, size - n, NULL);
	struct snp_input in = {
		.report = data, .report_len = n, .chain = &chain, .report_data = report_data, .now = 1734652800};
	if (attest_result_init(&r))
		abort();
	snp_verify(&in, &r);
	attest_appraise_platform(&policy, &r);
	attest_appraise_measurement(&policy, &r);
	if (attest_passed(&r))
		abort();
	json_decref(attest_checks_json(&r));
	attest_result_free(&r);
	snp_chain_free(&chain);
	return 0;
}
