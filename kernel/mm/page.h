// SPDX-License-Identifier: Apache-2.0
// Page metadata shared by the page allocator and kmalloc.
#pragma once
#include "kernel/include/types.h"

enum { PM_USED, PM_FREE, PM_SLAB, PM_LARGE };

struct pmeta {		// 16 bytes a page, in memory that reads as zero at first
	u32 next, prev;	// free lists; PM_LARGE: next = pages of the object
	u8 order, state, zero, cls;
	u32 pad;
};

#define KMALLOC_ARENA_PAGES 8192	// 32 MiB at most
void kmalloc_init(u32 first, u32 end);	// [first, end): pages for slabs

// Linear map and metadata array; set by the platform's layout.
#define page_base 0x600010000000ul
#define pmeta_base (page_base + 0x228000000ul)
static inline struct pmeta *pmeta(u32 pfn) { return (struct pmeta *)pmeta_base + pfn; }
