// SPDX-License-Identifier: Apache-2.0
// Fuzzes the scanner of Python imports.
#include <stdint.h>

#include "image/pyimports.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct string_list modules = {0};

	python_imports((const char *)data, size, size & 1, &modules);
	string_list_free(&modules);
	return 0;
}
