// SPDX-License-Identifier: Apache-2.0
// Fuzzes evidence files as `coffer verify` reads them: bundles, or raw evidence of any kind. Nothing may be accepted.
#include <stdint.h>
#include <stdlib.h>

#include "attest/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct attest_result r;
	struct bundle b;
	int err = bundle_looks(data, size) ? bundle_read(&b, data, size, NULL) : bundle_init(&b);
	if (err)
		return 0;
	if (!bundle_looks(data, size))
		bundle_put_bytes(&b, "evidence", data, size);
	if (attest_result_init(&r))
		abort();
	const struct evidence_input in = {.bundle = &b, .strict = size & 1, .now = 1750809600};
	evidence_verify(&in, &r);
	if (attest_passed(&r))
		abort();
	attest_result_free(&r);
	bundle_free(&b);
	return 0;
}
