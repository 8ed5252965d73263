// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of coffer.yaml. What it accepts must give JSON, and the same JSON again.
#include <stdlib.h>
#include <string.h>

#include "image/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text first = {0}, second = {0};
	struct config c;
	struct fault f;

	if (config_parse(&c, "/nowhere", "coffer.yaml", (const char *)data, size, &f))
		return 0;
	config_json(&c, &first);
	config_json(&c, &second);
	if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
		abort();
	text_free(&first);
	text_free(&second);
	config_free(&c);
	return 0;
}
