// SPDX-License-Identifier: Apache-2.0
// Fuzzes Hygon's reports; what follows the first 2548 or 3380 bytes are certificates. Nothing may pass.
#include <stdint.h>
#include <stdlib.h>

#include "attest/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct attest_result r;
	size_t n = size > CSV_V2_BYTES + 8 ? CSV_V2_BYTES : size;
	struct csv_input in = {.report = data, .report_len = n, .hsk_cek = data + n, .hsk_cek_len = size - n, .hrk = data,
			       .hrk_len = n > CSV_ROOT_BYTES ? CSV_ROOT_BYTES : n};

	if (attest_result_init(&r))
		abort();
	csv_verify(&in, &r);
	if (attest_passed(&r))
		abort();
	json_decref(attest_checks_json(&r));
	attest_result_free(&r);
	return 0;
}
