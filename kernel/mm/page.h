// SPDX-License-Identifier: Apache-2.0
// Page metadata shared by the page allocator and kmalloc.
#pragma once
#include "kernel/include/types.h"

enum { PM_USED, PM_FREE, PM_SLAB, PM_LARGE, PM_FILES /* fs/file.c */ };

struct pmeta {		// 16 bytes a page, in memory that reads as zero at first
	u32 next, prev;	// free lists; PM_LARGE: next = pages of the object
	u8 order, state, zero, cls;
	u16 nfree, head; // the first page of a slab (kmalloc.c) or of a block of files
};

#define KMALLOC_ARENA_PAGES 8192	// 32 MiB at most
void kmalloc_init(u32 first, u32 end);	// [first, end): pages for slabs
void kmalloc_trim(void);	// gives back slabs that nobody has needed since the last time; no locks held

// Linear map and metadata array; set by the platform's layout.
#define page_base 0x680010000000ul
#define pmeta_base (page_base + 0x228000000ul)
static inline struct pmeta *pmeta(u32 pfn) { return (struct pmeta *)pmeta_base + pfn; }
