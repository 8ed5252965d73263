// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of a failed program's last words.
#include <stdlib.h>
#include <string.h>

#include "image/missing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct string_list names = {0};
	bool complains;

	missing_names((const char *)data, size, &names, &complains);
	for (size_t i = 0; i < names.count; i++)
		if (!strchr(names.items[i], ':') || strpbrk(names.items[i], "\n\033 "))
			abort();
	string_list_free(&names);
	return 0;
}
