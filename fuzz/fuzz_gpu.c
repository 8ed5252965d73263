// SPDX-License-Identifier: Apache-2.0
// Fuzzes what GPUs send: raw messages, or a list of devices in JSON. Nothing may pass: no input is signed under NVIDIA's root.
#include <stdint.h>
#include <stdlib.h>

#include "attest/gpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct attest_result r;
	const struct gpu_trust t = {.now = 1767225600, .strict = size & 1};
	if (attest_result_init(&r))
		abort();
	if (size && *data == '{') {
		json_t *o = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
		gpu_verify_json(&t, o, &r);
		json_decref(o);
	} else {
		gpu_verify(&t, &(struct gpu_device){data, size, NULL, ""}, 1, &r);
	}
	if (attest_passed(&r))
		abort();
	attest_result_free(&r);
	return 0;
}
