// SPDX-License-Identifier: Apache-2.0
// Fuzzes reports of Azure's paravisor and the keys that they name. Nothing may pass.
#include <stdint.h>
#include <stdlib.h>

#include "attest/hcl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct snp_chain none;
	const struct snp_input snp = {.chain = &none, .now = 1734652800};
	const struct dcap_input dcap = {.quote = data, .quote_len = size, .now = 1734652800};
	const struct hcl_input in = {.blob = data, .blob_len = size, .snp = &snp, .dcap = &dcap};
	struct hcl_report h;
	struct attest_result r;

	if (!hcl_parse(data, size, &h, NULL))
		EVP_PKEY_free(hcl_attestation_key(&h, NULL));
	if (attest_result_init(&r))
		abort();
	hcl_verify(&in, &r);
	if (attest_passed(&r))
		abort();
	attest_result_free(&r);
	return 0;
}
