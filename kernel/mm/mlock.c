// SPDX-License-Identifier: Apache-2.0
// mlock, mlock2, munlock, mlockall, munlockall. This kernel never takes a program's page away, so a lock only brings pages in and
// counts against RLIMIT_MEMLOCK. Locks: mm->lock.
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/mm/vma.h"
#include <linux/capability.h>

// The pages of [start, end) that are not locked yet; -ENOMEM in *r when a page is not mapped.
static u64 unlocked(struct mm *mm, uptr start, uptr end, int *r)
{
	u64 n = 0;

	*r = 0;
	while (start < end) {
		struct vma *v = mm_find(mm, start);

		if (!v || v->flags & VMA_GUARD) {
			*r = -ENOMEM;
			break;
		}
		if (!(v->flags & VMA_LOCKED))
			n += (min(end, v->end) - start) >> PAGE_SHIFT;
		start = v->end;
	}
	return n;
}

// Sets or clears the mark on the mappings of [start, end), all of which is mapped.
static int mark(struct mm *mm, uptr start, uptr end, bool on)
{
	int r = vma_split(mm, start);

	if (!r)
		r = vma_split(mm, end);
	if (r)
		return r;
	for (u32 i = vma_above(mm, start); i < mm->n && mm->vmas[i].start < end; i++) {
		struct vma *v = &mm->vmas[i];

		if (v->flags & (VMA_GUARD | VMA_TRAMP) || !!(v->flags & VMA_LOCKED) == on)
			continue;
		vma_account(mm, v, -1);
		v->flags ^= VMA_LOCKED;
		vma_account(mm, v, 1);
	}
	return 0;
}

static void merge_around(struct mm *mm, uptr start, uptr end)
{
	for (u32 i = vma_above(mm, start ? start - 1 : 0); i < mm->n && mm->vmas[i].start <= end;) {
		u32 n = mm->n;

		vma_merge(mm, i);
		if (mm->n == n)
			i++;
	}
}

static long lock_range(uptr start, size_t len, bool on, bool populate)
{
	uptr from = start & PAGE_MASK, end = PAGE_ALIGN(start + len);
	struct mm *mm = curproc->mm;
	int r;
	u64 n;

	if (start + len < start || end < from)
		return -EINVAL;
	if (from == end)
		return 0;
	if (on && !RLIMIT(RLIMIT_MEMLOCK) && !capable(CAP_IPC_LOCK))
		return -EPERM;
	if (!range_ok(from, end - from))
		return -ENOMEM;
	mutex_lock(&mm->lock);
	n = unlocked(mm, from, end, &r);
	if (!r && on && !mm_may_lock(mm, n))
		r = -ENOMEM;
	if (!r)
		r = mark(mm, from, end, on);
	if (!r && populate)
		r = lazy_fill_range(mm, from, end);
	merge_around(mm, from, end);
	mutex_unlock(&mm->lock);
	if (!r && populate)
		r = pf_populate(from, end - from, false);
	return r;
}

long sys_mlock2(uptr start, size_t len, int flags)
{
	if (flags & ~MLOCK_ONFAULT)
		return -EINVAL;
	return lock_range(start, len, true, !flags);
}

long sys_mlock(uptr start, size_t len) { return lock_range(start, len, true, true); }
long sys_munlock(uptr start, size_t len) { return lock_range(start, len, false, false); }

static void mark_all(struct mm *mm, bool on)
{
	for (u32 i = 0; i < mm->n; i++) {
		struct vma *v = &mm->vmas[i];

		if (v->flags & (VMA_GUARD | VMA_TRAMP | VMA_VDSO) || !!(v->flags & VMA_LOCKED) == on)
			continue;
		vma_account(mm, v, -1);
		v->flags ^= VMA_LOCKED;
		vma_account(mm, v, 1);
	}
}

long sys_mlockall(int flags)
{
	struct mm *mm = curproc->mm;
	long r = 0;

	if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
		return -EINVAL;
	if (!capable(CAP_IPC_LOCK) && !RLIMIT(RLIMIT_MEMLOCK))
		return -EPERM;
	mutex_lock(&mm->lock);
	if (flags & MCL_CURRENT && !capable(CAP_IPC_LOCK) && mm->total_pages > RLIMIT(RLIMIT_MEMLOCK) >> PAGE_SHIFT)
		r = -ENOMEM;
	if (!r) {
		mm->lock_future = flags & MCL_FUTURE;
		if (flags & MCL_CURRENT)
			mark_all(mm, true);
	}
	mutex_unlock(&mm->lock);
	return r;
}

long sys_munlockall(void)
{
	struct mm *mm = curproc->mm;

	mutex_lock(&mm->lock);
	mm->lock_future = false;
	mark_all(mm, false);
	mutex_unlock(&mm->lock);
	return 0;
}
