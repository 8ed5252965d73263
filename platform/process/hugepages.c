// SPDX-License-Identifier: Apache-2.0
// What every process maps, in huge pages of the host, once an enclave has shown that it makes many processes. A fork copies page tables only of
// mappings that have private state; shared ones start empty in the child, where each fault maps 64 KiB at most, page by page. The kernel's variables
// and objects lie in one block of 2 MiB, its text in another, its tables in a third: one fault maps each, and nothing is to be torn down page by page. Programs' text
// lies at odd addresses, but from a huge page the host maps, and unmaps, many small ones at once.
// A huge page takes 2 MiB whatever is used of it, so an enclave of few processes has none.
// Where the host has none at all (before Linux 6.1, or built without), a guard page (Linux 6.15) in the variables' block is private state:
// forks copy the page tables of that block then.
// Touches the kernel's own mappings of the enclave's memory. The only lock is blocks_lock (leaf).
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "platform/process/window.h"

#define ADVISE_DONTDUMP 16	// makes mappings of their own
#define ADVISE_COLLAPSE 25	// Linux 6.1
#define MANY 16u		// processes that were made
#define BLOCKS 64

static bool have_huge __sealed = false;
static bool touch_hot __sealed = false;
static u32 made;
static struct mutex blocks_lock;
static u32 block[BLOCKS], nblocks, ndone; // page numbers >> HUGE_SHIFT

#define HUGE_SHIFT 9

void hot_block_init(void)
{
	static u8 guard[PAGE_SIZE] __aligned(PAGE_SIZE);

	S3(__NR_madvise, K_LIN + OFF_WINDOWS, OFF_POOLS - OFF_WINDOWS, ADVISE_DONTDUMP); // they have guard pages (window_guard)
	have_huge = !S3(__NR_madvise, K_LIN + OFF_HOT, 0, ADVISE_COLLAPSE);
	if (have_huge)
		return;
	S3(__NR_madvise, K_LIN + OFF_HOT, HUGE_SIZE, ADVISE_DONTDUMP);
	touch_hot = S3(__NR_madvise, guard, PAGE_SIZE, ADVISE_GUARD_INSTALL) != 0;
}

// A fresh process has no page of the kernel mapped. Reading a byte lets the host map the 64 KiB around it at once, also for
// writing; a write would map one page.
void touch(const char *p, const char *end)
{
	for (; p < end; p += 65536)
		(void)*(const volatile char *)p;
}

void hot_touch(void)
{
	if (touch_hot)
		touch(kernel_hot_start, kernel_small_end);
}

bool hot_process_made(void)
{
	return have_huge && __atomic_load_n(&made, __ATOMIC_RELAXED) < MANY && __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED) == MANY;
}

void pf_pages_mapped_often(u32 pfn, u32 n)
{
	if (!have_huge)
		return;
	mutex_lock(&blocks_lock);
	for (u32 b = pfn >> HUGE_SHIFT; b <= (pfn + n - 1) >> HUGE_SHIFT; b++) {
		bool known = false;

		for (u32 i = 0; i < nblocks && !known; i++)
			known = block[i] == b;
		if (!known && nblocks < BLOCKS)
			block[nblocks++] = b;
	}
	mutex_unlock(&blocks_lock);
}

// That the host has no huge page free is no error: the memory stays as it was.
void hot_collapse(void)
{
	u32 b;

	if (__atomic_load_n(&made, __ATOMIC_RELAXED) < MANY)
		return;
	if (!ndone) {
		S3(__NR_madvise, K_LIN + OFF_HOT, HUGE_SIZE, ADVISE_COLLAPSE);
		S3(__NR_madvise, kernel_text_start, HUGE_SIZE, ADVISE_COLLAPSE);
		S3(__NR_madvise, kernel_sealed_start, HUGE_SIZE, ADVISE_COLLAPSE);
	}
	for (;;) {
		mutex_lock(&blocks_lock);
		b = ndone < nblocks ? block[ndone++] : 0;
		mutex_unlock(&blocks_lock);
		if (!b)
			return;
		S3(__NR_madvise, K_LIN + ((u64)b << (HUGE_SHIFT + PAGE_SHIFT)), HUGE_SIZE, ADVISE_COLLAPSE);
	}
}
