// SPDX-License-Identifier: Apache-2.0
// mlock, mlock2, munlock, mlockall, munlockall. This kernel never takes a program's page away, so a lock only brings pages in,
// forbids the advice that would drop them, and counts against RLIMIT_MEMLOCK. Locks: mm->lock.
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/mm/vma.h"
#include <linux/capability.h>

#define LOCKS (VMA_LOCKED | VMA_LOCKONFAULT)

// The pages of [start, end) that are locked.
static u64 locked(struct mm *mm, uptr start, uptr end)
{
	u64 n = 0;

	for (u32 i = vma_above(mm, start); i < mm->n && mm->vmas[i].start < end; i++)
		if (mm->vmas[i].flags & VMA_LOCKED)
			n += (min(end, mm->vmas[i].end) - max(start, mm->vmas[i].start)) >> PAGE_SHIFT;
	return n;
}

static void mark(struct mm *mm, struct vma *v, u32 locks)
{
	if (v->flags & (VMA_GUARD | VMA_TRAMP | VMA_VDSO))
		return;
	vma_account(mm, v, -1);
	v->flags = (v->flags & ~LOCKS) | locks;
	vma_account(mm, v, 1);
}

// Gives [start, end) these locks, as far as it is mapped without a hole: -ENOMEM behind that.
static int mark_range(struct mm *mm, uptr start, uptr end, u32 locks)
{
	int r = vma_split(mm, start);

	if (!r)
		r = vma_split(mm, end);
	for (u32 i = vma_above(mm, start); !r && start < end; i++) {
		struct vma *v = &mm->vmas[i];

		if (i >= mm->n || v->start != start || v->flags & VMA_GUARD) {
			r = -ENOMEM;
			break;
		}
		mark(mm, v, locks);
		start = v->end;
	}
	return r;
}

// Brings in one mapping's part from at to end, which are within it; for writing where a write would make a copy.
static int fill(struct vma *v, uptr at, uptr end)
{
	uptr backed;
	int r = 0;

	if (!(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
		return -ENOMEM;
	if (v->pc && !v->view && (r = vma_grow(v, vma_backed(v))))
		return r;
	backed = v->view ? v->end : v->start + min(v->valid, vma_backed(v));
	if (v->lazy)
		r = lazy_fill(v, at, min(end, backed));
	if (!r && at < backed && v->prot & (PROT_READ | PROT_WRITE))
		r = pf_populate(at, min(end, backed) - at, v->prot & PROT_WRITE && !(v->flags & VMA_SHARED));
	return r || end > backed ? -ENOMEM : 0;
}

// The locked mappings of [at, end); stops at the first failure unless `all`.
static int populate(struct mm *mm, uptr at, uptr end, bool all)
{
	int r = 0;

	while (at < end && (all || !r)) {
		mutex_lock(&mm->lock);
		u32 i = vma_above(mm, at);
		struct vma *v = i < mm->n && mm->vmas[i].start < end ? &mm->vmas[i] : NULL;

		if (v && (v->flags & LOCKS) == VMA_LOCKED)
			r = fill(v, max(at, v->start), min(end, v->end));
		at = v ? v->end : end;
		mutex_unlock(&mm->lock);
	}
	return r;
}

void mm_populate(struct mm *mm, uptr start, uptr end) { populate(mm, start, end, true); }

static long lock_range(uptr start, size_t len, u32 locks)
{
	uptr from = start & PAGE_MASK, end = PAGE_ALIGN(start + len);
	struct mm *mm = curproc->mm;
	int r = 0;

	if (locks && !mm_can_lock())
		return -EPERM;
	if (start + len < start || end < from)
		return -EINVAL;
	if (from == end)
		return 0;
	if (!range_ok(from, end - from))
		return -ENOMEM;
	mutex_lock(&mm->lock);
	if (locks && !mm_may_lock(mm, ((end - from) >> PAGE_SHIFT) - locked(mm, from, end)))
		r = -ENOMEM;
	if (!r) {
		r = mark_range(mm, from, end, locks);
		vma_merge_range(mm, from, end);
	}
	mutex_unlock(&mm->lock);
	return r || locks != VMA_LOCKED ? r : populate(mm, from, end, false);
}

long sys_mlock2(uptr start, size_t len, int flags)
{
	return flags & ~MLOCK_ONFAULT ? -EINVAL : lock_range(start, len, flags ? LOCKS : VMA_LOCKED);
}

long sys_mlock(uptr start, size_t len) { return lock_range(start, len, VMA_LOCKED); }
long sys_munlock(uptr start, size_t len) { return lock_range(start, len, 0); }

static void mark_all(struct mm *mm, u32 locks)
{
	for (u32 i = 0; i < mm->n; i++)
		mark(mm, &mm->vmas[i], locks);
	vma_merge_range(mm, 0, pf_user_max); // what differed by its locks only
}

long sys_mlockall(int flags)
{
	u32 locks = flags & MCL_ONFAULT ? LOCKS : VMA_LOCKED;
	struct mm *mm = curproc->mm;
	long r = 0;

	if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
		return -EINVAL;
	if (!mm_can_lock())
		return -EPERM;
	mutex_lock(&mm->lock);
	if (flags & MCL_CURRENT && !capable(CAP_IPC_LOCK) && mm->total_pages > RLIMIT(RLIMIT_MEMLOCK) >> PAGE_SHIFT)
		r = -ENOMEM;
	if (!r) {
		mm->lock_future = flags & MCL_FUTURE ? locks : 0;
		if (flags & MCL_CURRENT)
			mark_all(mm, locks);
	}
	mutex_unlock(&mm->lock);
	if (!r && flags & MCL_CURRENT)
		populate(mm, 0, pf_user_max, true);
	return r;
}

long sys_munlockall(void)
{
	struct mm *mm = curproc->mm;

	mutex_lock(&mm->lock);
	mm->lock_future = 0;
	mark_all(mm, 0);
	mutex_unlock(&mm->lock);
	return 0;
}
