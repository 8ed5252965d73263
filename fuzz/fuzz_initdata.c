// SPDX-License-Identifier: Apache-2.0
// Fuzzes init-data: the first byte says whether it calls itself TOML or JSON.
#include <stdint.h>

#include "attest/initdata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct initdata d;
	struct fault f;
	if (size)
		initdata_digest(data[0] & 1 ? "toml" : "json", (const char *)data + 1, size - 1, &d, &f);
	return 0;
}
