// SPDX-License-Identifier: Apache-2.0
// Fuzzes TPM evidence: the first two bytes say how long quote and signature are; what follows them is the key. Nothing may pass.
#include <stdint.h>
#include <stdlib.h>

#include "attest/tpm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct attest_result r;
	if (size < 2)
		return 0;
	size_t a = data[0], s = (size_t)data[1] * 4;
	data += 2;
	size -= 2;
	a = a < size ? a : size;
	s = s < size - a ? s : size - a;
	struct tpm_input in = {.attest = data, .attest_len = a, .signature = data + a, .signature_len = s, .now = 1750809600};
	in.ak = tpm_key_read(data + a + s, size - a - s, NULL);
	if (attest_result_init(&r))
		abort();
	tpm_verify(&in, &r);
	if (attest_passed(&r))
		abort();
	EVP_PKEY_free(in.ak);
	attest_result_free(&r);
	return 0;
}
