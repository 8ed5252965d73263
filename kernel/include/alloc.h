// SPDX-License-Identifier: Apache-2.0
// Kernel memory: pages of the enclave's shared memory (kernel/mm/page.c) and objects in them
// (kernel/mm/kmalloc.c). All of it is visible at the same address in every enclave process.
#pragma once
#include "kernel/include/types.h"

typedef u32 pfn_t; // page number in the enclave's memory; 0 is never a valid page
#define PFN_NONE 0u

// Allocates n contiguous pages (any n >= 1), not zeroed unless `zero`. Returns the first page's
// number or PFN_NONE when the enclave's limit is reached. page_free returns them (any sub-range).
pfn_t page_alloc(u32 n, bool zero);
// As many as n pages, contiguous, at least one: for page-cache runs, which leave a reserve for the kernel's objects. *got is set.
// PAGES_ZERO_LATER: zero, and not to be written soon: the host gives those that were never used when they are touched.
enum page_content { PAGES_ANY, PAGES_ZERO, PAGES_ZERO_LATER };
pfn_t page_alloc_upto(u32 n, u32 *got, enum page_content want);
void page_free(pfn_t pfn, u32 n);
// The caller's pages lose their memory and count as free, but stay the caller's: they read as zero. page_fill: they are to be used again;
// false when there is no memory for them.
void page_bare(pfn_t pfn, u32 n);
bool page_fill(pfn_t pfn, u32 n) __must_check;
void *page_addr(pfn_t pfn);	     // kernel address of a page
pfn_t page_of(const void *kaddr);    // inverse
bool page_short(void);	// so little is left that data of files is refused
u64 page_count_free(void), page_count_total(void); // in pages
void page_keep(void), page_trim(void); // more free memory stays, until it was not wanted between two trims
u32 page_free_blocks(u32 order);	// free runs of 1 << order pages, for /proc/buddyinfo
// Programs' private memory is not taken from here, but counts against the same limit (mm/oom.c).
u64 page_count_outside(void), page_count_held(void); // theirs; and what was allocated here
void page_set_outside(u64 pages);
extern u64 page_reserve;
extern bool page_emergency;

// Objects: 16-byte aligned; NULL when out of memory. kfree(NULL) is allowed. Sizes above 32 KiB are
// whole pages.
void *kmalloc(size_t n) __must_check;
void *kzalloc(size_t n) __must_check;
void *krealloc(void *p, size_t n) __must_check;
void kfree(const void *p);
char *kstrdup(const char *s) __must_check;
char *kstrndup(const char *s, size_t n) __must_check;
// Objects in use of size class i = 0, 1, ..., *bytes each; behind the last class *bytes is 0 and the result is the pages of large objects.
u64 kmalloc_slab_pages(void), kmalloc_arena_free(void); // pages
u64 kmalloc_usage(u32 i, u64 *bytes);
#define knew(T) ((T *)kzalloc(sizeof(T)))
