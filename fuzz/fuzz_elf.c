// SPDX-License-Identifier: Apache-2.0
// Fuzzes the ELF reader of `coffer copy`: any file of the machine, or of a project, may be given to it.
#include "image/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_file e;
	struct fault f;

	if (!elf_read(&e, data, size, &f))
		elf_free(&e);
	return 0;
}
