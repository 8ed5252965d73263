// SPDX-License-Identifier: Apache-2.0
// ELF files for exec: checked headers, then mapping (elf.c).
#pragma once
#include "kernel/include/types.h"
#include <linux/elf.h>
// platform.h has its own PF_ names
#undef PF_R
#undef PF_W
#undef PF_X
#define SEG_X 1u
#define SEG_W 2u
#define SEG_R 4u

struct file;
struct mm;

struct elf_image {
	struct file *file;	// reference
	Elf64_Ehdr eh;
	Elf64_Phdr *ph;
	char *interp;		// PT_INTERP path or NULL
	bool exec_stack;
	uptr low, high;		// page-aligned span of all PT_LOAD segments, before the bias
	u64 align;		// largest p_align, at least a page
	// set by elf_map
	uptr bias;
	uptr end;		// of the last byte of the highest segment (brk starts behind)
};

// Reads and checks the headers: 0 (im owns a reference on f and its tables), -ENOEXEC when this is no x86-64 ELF program,
// -EINVAL for a broken one, -EIO, -ENOMEM.
int elf_open(struct file *f, struct elf_image *im);
void elf_close(struct elf_image *im);
// Maps all segments. `at`: where an ET_DYN image should begin, 0 = anywhere. 0 or -errno; then the address space is half built.
int elf_map(struct mm *mm, struct elf_image *im, uptr at);
uptr elf_entry(const struct elf_image *im);
uptr elf_phdr(const struct elf_image *im);	// user address of the program headers, 0 if no segment holds them
