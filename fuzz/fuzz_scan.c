// SPDX-License-Identifier: Apache-2.0
// Fuzzes the scanner of `coffer syscalls --check`: any file of the machine may be given to it.
#include <stdint.h>

#include "image/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fault f;
	struct scan s;

	scan_bytes(&s, data, size, &f);
	scan_free(&s);
	return 0;
}
