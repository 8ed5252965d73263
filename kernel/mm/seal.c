// SPDX-License-Identifier: Apache-2.0
// mseal(2): mappings that stay as they are until the process ends or execs. They are not unmapped, moved, mapped over, protected
// otherwise, nor emptied by who may not write to them; who changes mappings asks vma_sealed. Locks: mm->lock.
#include "kernel/include/task.h"
#include "kernel/mm/vma.h"

bool vma_sealed(struct mm *mm, uptr start, uptr end)
{
	for (u32 i = vma_above(mm, start); i < mm->n && mm->vmas[i].start < end; i++)
		if (unlikely(mm->vmas[i].flags & VMA_SEALED))
			return true;
	return false;
}

// Whether all of [start, end) is mapped.
static bool whole(struct mm *mm, uptr start, uptr end)
{
	for (u32 i = vma_above(mm, start); start < end; start = mm->vmas[i++].end)
		if (i >= mm->n || mm->vmas[i].start > start || mm->vmas[i].flags & VMA_GUARD)
			return false;
	return true;
}

long sys_mseal(u64 start, size_t len, u64 flags)
{
	struct mm *mm = curproc->mm;
	size_t n = PAGE_ALIGN(len);
	uptr end = start + n;
	int r = 0;

	if (flags || start & (PAGE_SIZE - 1) || (len && !n) || end < start)
		return -EINVAL;
	mutex_lock(&mm->lock);
	if (!whole(mm, start, end))
		r = -ENOMEM;
	if (!r)
		r = vma_split(mm, start);
	if (!r)
		r = vma_split(mm, end);
	for (u32 i = vma_above(mm, start); !r && i < mm->n && mm->vmas[i].start < end; i++)
		mm->vmas[i].flags |= VMA_SEALED;
	mutex_unlock(&mm->lock);
	return r;
}
