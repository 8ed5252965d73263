// SPDX-License-Identifier: Apache-2.0
// A launcher lives as long as its enclave and does next to nothing; the pages of code and constants that it touched are most of
// its memory. They come back from the file when they are needed: segments that cannot be written hold nothing of their own.
#include "host/trim.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

static int trim(struct dl_phdr_info *o, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	for (int i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &o->dlpi_phdr[i];
		uintptr_t page = 4095, at = (o->dlpi_addr + p->p_vaddr) & ~page, end = (o->dlpi_addr + p->p_vaddr + p->p_memsz + page) & ~page;

		if (p->p_type == PT_LOAD && !(p->p_flags & PF_W))
			madvise((void *)at, end - at, MADV_DONTNEED);
	}
	return 0;
}

void trim_clean_pages(void) { dl_iterate_phdr(trim, NULL); }
