// SPDX-License-Identifier: Apache-2.0
// What every process maps, in huge pages of the host, once an enclave has shown that it makes many processes.
// A fork copies page tables only of mappings that have private state; shared ones start empty in the child, where each fault maps 64 KiB at
// most, page by page. The kernel's variables and objects lie in one block of 2 MiB, its text in another, its tables in a third: one fault maps
// each, and nothing is torn down page by page. Programs' text lies at odd addresses, but of a huge page the host maps, and unmaps, many small
// ones at once. A huge page takes 2 MiB whatever is used of it, so an enclave of few processes has none.
// Where the host has none at all (before Linux 6.1, or built without), a guard page (Linux 6.15) in the variables' block is private state:
// forks copy the page tables of that block then.
// Touches the kernel's own mappings of the enclave's memory. The only lock is blocks_lock (leaf).
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "platform/process/window.h"

#define ADVISE_COLLAPSE 25	// Linux 6.1
#define MANY 16u		// processes that were made
#define AGAIN 64u		// and so many more before what failed is tried again
#define TRIES 8
#define BLOCKS 64

static bool have_huge __sealed = false;
static bool touch_hot __sealed = false;
static u32 made;	// counted while something is to be done
static struct mutex blocks_lock;
static struct block {
	u64 at;
	u8 left;	// tries
} block[BLOCKS];
static u32 nblocks, pending;	// pending: those with tries left

static void add(u64 at)
{
	bool known = false;

	mutex_lock(&blocks_lock);
	for (u32 i = 0; i < nblocks && !known; i++)
		known = block[i].at == at;
	if (!known && nblocks < BLOCKS) {
		block[nblocks] = (struct block){ at, TRIES };
		__atomic_store_n(&nblocks, nblocks + 1, __ATOMIC_RELEASE);
		__atomic_fetch_add(&pending, 1, __ATOMIC_RELAXED);
	}
	mutex_unlock(&blocks_lock);
}

void hot_block_init(void)
{
	static u8 guard[PAGE_SIZE] __aligned(PAGE_SIZE);

	have_huge = !S3(__NR_madvise, K_LIN + OFF_HOT, 0, ADVISE_COLLAPSE);
	if (have_huge) {
		add(K_LIN + OFF_HOT);
		add((u64)kernel_text_start);
		add((u64)kernel_sealed_start);
		return;
	}
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
	u32 n;

	if (!__atomic_load_n(&pending, __ATOMIC_RELAXED))
		return false;
	n = __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
	return n >= MANY && (n - MANY) % AGAIN == 0;
}

void pf_pages_mapped_often(u32 pfn, u32 n)
{
	u64 at = K_LIN + ((u64)pfn << PAGE_SHIFT), end = at + ((u64)n << PAGE_SHIFT);

	if (have_huge)
		for (at &= ~(HUGE_SIZE - 1ul); at < end; at += HUGE_SIZE)
			add(at);
}

// One fault and one zeroing for 512 pages, in this process and in every other. The host collapses only what is not empty.
bool pf_pages_huge(u32 pfn)
{
	u64 at = K_LIN + ((u64)pfn << PAGE_SHIFT);

	if (!have_huge)
		return false;
	*(volatile u8 *)at = 0;
	return !S3(__NR_madvise, at, HUGE_SIZE, ADVISE_COLLAPSE);
}

// The host may have no huge page free, or may be using a page of the block: the memory stays as it was.
void hot_collapse(void)
{
	if (__atomic_load_n(&made, __ATOMIC_RELAXED) < MANY)
		return;
	for (u32 i = 0; i < __atomic_load_n(&nblocks, __ATOMIC_ACQUIRE); i++) {
		struct block *b = &block[i];

		if (!b->left)
			continue;
		// The host first has a worker on each CPU put away the pages that this CPU gathered lately, and on a busy CPU the worker
		// waits long for its turn. Unmapping a page (the next access maps it again) puts away those of this CPU at once.
		S3(__NR_madvise, b->at, PAGE_SIZE, MADV_DONTNEED);
		b->left = S3(__NR_madvise, b->at, HUGE_SIZE, ADVISE_COLLAPSE) ? b->left - 1 : 0;
		if (!b->left)
			__atomic_fetch_sub(&pending, 1, __ATOMIC_RELAXED);
	}
}
