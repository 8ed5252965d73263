// SPDX-License-Identifier: Apache-2.0
// Fuzzes the manifest reader: what it accepts has exactly one spelling.
#include <stdlib.h>
#include <string.h>

#include "image/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text again = {0};
	struct manifest m;
	struct fault f;

	if (manifest_parse(&m, (const char *)data, size, &f))
		return 0;
	manifest_write(&m, &again);
	if (again.len != size || memcmp(again.data, data, size) != 0)
		abort();
	text_free(&again);
	return 0;
}
