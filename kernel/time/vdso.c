// SPDX-License-Identifier: Apache-2.0
// The vDSO's place in memory: one run of pages, the clocks' data page and the image behind it, mapped into
// every program. Locks: vdso_lock (boot only), then clock_lock; mm->lock inside mm_map_pages.
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/time/clock.h"
#include "kernel/time/vdso_data.h"

extern const char vdso_image_start[] __attribute__((visibility("hidden")));
extern const char vdso_image_end[] __attribute__((visibility("hidden")));

#define VDSO_RANDOM_BITS 9 // pages

static struct mutex vdso_lock;
static pfn_t vdso_pfn;	// the data page; the image follows
static u32 vdso_npages;	// both

// Linux keeps the CPU's number in what rdtscp returns; another host may not.
static bool cpu_in_aux(void)
{
	for (int i = 0; i < 4; i++) {
		int cpu = pf_getcpu();
		u32 aux;
		__asm__ volatile("rdtscp" : "=c"(aux)::"eax", "edx");
		if (cpu < 0 || (aux & 0xfff) != (u32)cpu)
			return false;
	}
	return true;
}

static int vdso_setup(void)
{
	size_t len = (size_t)(vdso_image_end - vdso_image_start);
	u32 n = 1 + (u32)DIV_ROUND_UP(len, PAGE_SIZE);
	pfn_t pfn = page_alloc(n, true);
	if (pfn == PFN_NONE)
		return -ENOMEM;
	struct vdso_data *data = page_addr(pfn);
	memcpy((char *)data + PAGE_SIZE, vdso_image_start, len);
	data->cpu_in_aux = cpu_in_aux();
	data->kentry = text_kentry;
	clock_publish(data);
	vdso_npages = n;
	__atomic_store_n(&vdso_pfn, pfn, __ATOMIC_RELEASE);
	return 0;
}

uptr vdso_map(void)
{
	int r = 0;
	mutex_lock(&vdso_lock);
	if (!vdso_pfn)
		r = vdso_setup();
	mutex_unlock(&vdso_lock);
	if (r)
		return 0;
	struct mm *mm = curproc->mm;
	// above the stack, as in Linux, if there is room
	uptr hint = curproc->stack_top + (mm_random(VDSO_RANDOM_BITS) << PAGE_SHIFT);
	long at = mm_map_pages(mm, hint, vdso_pfn, vdso_npages, PROT_READ, VMA_VDSO);
	if (at < 0)
		return 0;
	uptr text = (uptr)at + PAGE_SIZE;
	if (mm_protect(mm, text, (vdso_npages - 1) * PAGE_SIZE, PROT_READ | PROT_EXEC))
		return 0;
	return text;
}
