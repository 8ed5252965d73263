// SPDX-License-Identifier: Apache-2.0
// madvise: what a program expects of its memory. Advice about speed is checked and has no effect, for nothing is ever taken away; what
// changes contents or what a child inherits has it. Locks: mm->lock over the walk, so that the host's memory and the list agree.
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/mm/vma.h"

#define MADV_DONTNEED_LOCKED_ 24 // newer than the headers of Debian 12's C library

static bool known(int advice)
{
	switch (advice) {
	case MADV_NORMAL: case MADV_RANDOM: case MADV_SEQUENTIAL: case MADV_WILLNEED: case MADV_MERGEABLE: case MADV_UNMERGEABLE:
	case MADV_DONTDUMP: case MADV_DODUMP: case MADV_COLD: case MADV_PAGEOUT: case MADV_DONTNEED: case MADV_FREE: case MADV_REMOVE:
	case MADV_HUGEPAGE: case MADV_NOHUGEPAGE: case MADV_POPULATE_READ: case MADV_POPULATE_WRITE: case MADV_DONTFORK: case MADV_DOFORK:
	case MADV_WIPEONFORK: case MADV_KEEPONFORK: case MADV_DONTNEED_LOCKED_:
		return true;
	default:
		return false;
	}
}

// The flag that the advice sets or clears for children, 0: none.
static u32 inherit_flag(int advice)
{
	return advice == MADV_DONTFORK || advice == MADV_DOFORK	      ? VMA_DONTFORK
	       : advice == MADV_WIPEONFORK || advice == MADV_KEEPONFORK ? VMA_WIPEONFORK
									: 0;
}

int vma_tell_host(const struct vma *v, uptr at, uptr end)
{
	int r = v->flags & VMA_DONTFORK ? pf_inherit(at, end - at, VMA_DONTFORK, true) : 0;

	return !r && v->flags & VMA_WIPEONFORK ? pf_inherit(at, end - at, VMA_WIPEONFORK, true) : r;
}

// v lies within the range as a whole.
static int inherit(struct vma *v, u32 flag, bool on)
{
	int r;

	if (flag == VMA_WIPEONFORK && on && (v->pc || v->flags & (VMA_SHARED | VMA_VDSO | VMA_TRAMP)))
		return -EINVAL;
	if (!!(v->flags & flag) == on)
		return 0;
	r = pf_inherit(v->start, v->end - v->start, flag, on);
	if (r && r != -ENOMEM) // not all of it is mapped now: a file's end, or pieces that nobody touched
		return r;
	v->flags ^= flag;
	return 0;
}

static int populate(struct vma *v, uptr at, uptr end, bool write)
{
	uptr backed;
	int r = 0;

	if (v->pc && !v->view && (r = vma_grow(v, vma_backed(v))))
		return r;
	backed = v->view ? v->end : v->start + min(v->valid, vma_backed(v));
	if (v->lazy)
		r = lazy_fill(v, at, min(end, backed));
	if (!r && at < backed)
		r = pf_populate(at, min(end, backed) - at, write);
	return !r && end > backed ? -EFAULT : r;
}

static int remove(struct vma *v, uptr at, uptr end)
{
	u64 off = (v->pgoff << PAGE_SHIFT) - v->start;

	if (v->flags & VMA_LOCKED || !v->pc)
		return -EINVAL;
	if ((v->flags & (VMA_SHARED | VMA_MAYWRITE)) != (VMA_SHARED | VMA_MAYWRITE))
		return -EACCES;
	pc_punch(v->pc, off + at, off + end);
	return 0;
}

// Memory that is sealed against who may not write to it would be lost to the next reader.
static bool discards_sealed(const struct vma *v, int advice)
{
	return v->flags & VMA_SEALED && !v->pc && !(v->prot & PROT_WRITE) &&
	       (advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE || advice == MADV_DONTFORK || advice == MADV_WIPEONFORK ||
		advice == MADV_DONTNEED_LOCKED_);
}

static int advise(struct vma *v, uptr at, uptr end, int advice)
{
	if (discards_sealed(v, advice))
		return -EPERM;
	switch (advice) {
	case MADV_COLD:
	case MADV_PAGEOUT:
		return v->flags & VMA_LOCKED ? -EINVAL : 0;
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_DONTNEED_LOCKED_:
		if (v->flags & VMA_LOCKED && advice != MADV_DONTNEED_LOCKED_)
			return -EINVAL;
		if (advice == MADV_FREE && (v->pc || v->view || v->flags & VMA_SHARED))
			return -EINVAL;
		if (!(v->flags & VMA_SHARED) && !v->view)
			pf_dontneed(at, end - at);
		return 0;
	case MADV_REMOVE:
		return remove(v, at, end);
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
		if (!v->pc)
			pf_hugepage(at, end - at, advice == MADV_HUGEPAGE);
		return 0;
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return populate(v, at, end, advice == MADV_POPULATE_WRITE);
	case MADV_DONTFORK:
	case MADV_WIPEONFORK:
		return inherit(v, inherit_flag(advice), true);
	case MADV_DOFORK:
	case MADV_KEEPONFORK:
		return inherit(v, inherit_flag(advice), false);
	default:
		return 0;
	}
}

// A hole in the range is reported, but the rest is advised all the same.
static long walk(struct mm *mm, uptr at, uptr end, int advice)
{
	bool hole = false, split = inherit_flag(advice);
	uptr start = at;
	long r = split ? vma_split(mm, at) : 0;

	if (!r && split)
		r = vma_split(mm, end);
	for (u32 i = vma_above(mm, at); !r && at < end; i++) {
		struct vma *v = &mm->vmas[i];

		if (i >= mm->n || v->start >= end) {
			hole = true;
			break;
		}
		hole |= v->start > at || v->flags & VMA_GUARD;
		at = max(at, v->start);
		if (!(v->flags & VMA_GUARD))
			r = advise(v, at, min(end, v->end), advice);
		at = v->end;
	}
	if (split)
		vma_merge_range(mm, start, end);
	return !r && hole ? -ENOMEM : r;
}

long sys_madvise(u64 addr, u64 len, int advice)
{
	struct mm *mm = curproc->mm;
	uptr end = addr + PAGE_ALIGN(len);
	long r;

	if (addr & (PAGE_SIZE - 1) || !known(advice) || end < addr || (len && !PAGE_ALIGN(len)))
		return -EINVAL;
	if (end == addr)
		return 0;
	mutex_lock(&mm->lock);
	r = walk(mm, addr, end, advice);
	mutex_unlock(&mm->lock);
	return r;
}
