// SPDX-License-Identifier: Apache-2.0
// Fuzzes the verification of SGX and TDX quotes without collateral, and the reader of the PCK certificate's extension. Nothing may pass.
#include <stdint.h>
#include <stdlib.h>

#include "attest/dcap.h"
#include "attest/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct attest_result r;
	struct pck_platform p;
	const struct attest_policy policy = {.measurement_count = 0};
	struct dcap_input in = {.quote = data, .quote_len = size, .now = 1750809600};

	pck_platform_read(data, size, &p, NULL);
	if (attest_result_init(&r))
		abort();
	dcap_verify(&in, &r);
	attest_appraise_platform(&policy, &r);
	if (attest_passed(&r))
		abort();
	json_decref(attest_checks_json(&r));
	attest_result_free(&r);
	return 0;
}
