// SPDX-License-Identifier: Apache-2.0
// Fuzzes Arm CCA tokens, and the CBOR and COSE below them. Nothing may pass.
#include <stdint.h>
#include <stdlib.h>

#include "attest/cbor.h"
#include "attest/cca.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct cca_input in = {.token = data, .token_len = size};
	struct cursor c = cursor_of(data, size);
	struct cose_sign1 s;
	struct attest_result r;

	cose_read(data, size, &s, NULL);
	while (cbor_skip(&c))
		;
	if (c.p < data || c.p + c.left != data + size)
		abort();
	if (attest_result_init(&r))
		abort();
	cca_verify(&in, &r);
	if (attest_passed(&r))
		abort();
	json_decref(attest_checks_json(&r));
	attest_result_free(&r);
	return 0;
}
