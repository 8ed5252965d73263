// SPDX-License-Identifier: Apache-2.0
// Reads what an ELF file says about the files it needs, from its program headers and dynamic section alone
// (System V ABI, chapters 4 and 5; section headers are not used, so stripped files work). The bytes are untrusted:
// every offset and length is checked. Nothing is executed.
#ifndef COFFER_IMAGE_ELF_H
#define COFFER_IMAGE_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"
#include "image/text.h"

struct elf_file {
	uint16_t machine;		// EM_X86_64, ...
	uint8_t class;			// ELFCLASS64, ELFCLASS32
	uint16_t type;			// ET_EXEC, ET_DYN, ET_REL, ...
	char *interpreter;		// PT_INTERP, or NULL
	struct string_list needed;	// DT_NEEDED, in order
	char *rpath;			// DT_RPATH, or NULL; ignored by the dynamic linker when there is a runpath
	char *runpath;			// DT_RUNPATH, or NULL
};

// Does the file begin like an ELF file?
bool elf_is(const void *bytes, size_t len);

// Fills `e`; elf_free() it when 0 was returned. -EINVAL: corrupt (the message says what), -ENOEXEC: not for x86-64 Linux.
int elf_read(struct elf_file *e, const void *bytes, size_t len, struct fault *p);

void elf_free(struct elf_file *e);

// "x86-64", "32-bit x86", "AArch64", ...
const char *elf_machine_name(uint16_t machine, uint8_t class);

#endif
