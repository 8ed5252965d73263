// SPDX-License-Identifier: Apache-2.0
// Memory system calls: mmap munmap mprotect mremap brk madvise msync mincore. Argument checks as man 2 has
// them; the work is in mmap.c.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/vma.h"

long sys_mmap(u64 addr, u64 len, u64 prot, u64 flags, int fd, u64 off)
{
	struct file *f = NULL;
	long r;
	u32 type = flags & MAP_TYPE;

	if (off & (PAGE_SIZE - 1))
		return -EINVAL;
	if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (flags & MAP_HUGETLB) {
		pr_once("mmap: MAP_HUGETLB is not supported; use transparent huge pages (madvise)\n");
		return -ENOMEM;
	}
	if (!(flags & MAP_ANONYMOUS)) {
		f = fd_get(fd);
		if (!f)
			return -EBADF;
		if (off + len < off) {
			file_put(f);
			return -EOVERFLOW;
		}
	}
	if (flags & MAP_FIXED)
		rseq_memory_goes(addr, len);
	r = mm_map(curproc->mm, addr, len, (int)prot, (int)flags, f, f ? off >> PAGE_SHIFT : 0, 0);
	if (f)
		file_put(f);
	return r;
}

long sys_munmap(u64 addr, u64 len)
{
	rseq_memory_goes(addr, len);
	return mm_unmap(curproc->mm, addr, len);
}

long sys_mprotect(u64 addr, u64 len, u64 prot)
{
	if (!(prot & PROT_WRITE))
		rseq_memory_goes(addr, len);
	return mm_protect(curproc->mm, addr, len, (int)prot);
}

long sys_brk(u64 addr)
{
	struct mm *mm = curproc->mm;
	uptr old, new = PAGE_ALIGN(addr);

	if (addr >= mm->brk_start && addr < mm->brk)
		rseq_memory_goes(new, mm->brk - new);
	mutex_lock(&mm->lock);
	old = PAGE_ALIGN(mm->brk);
	if (addr < mm->brk_start || new - mm->brk_start > curproc->rlim[RLIMIT_DATA].cur)
		goto out;
	if (new > old) {
		struct vma v = { .start = old, .end = new, .prot = PROT_READ | PROT_WRITE, .flags = VMA_HEAP | VMA_MAYWRITE, .valid = new - old };
		u64 pages = (new - old) >> PAGE_SHIFT;
		int i;
		if (mm->lock_future)
			v.flags |= VMA_LOCKED;
		if (mm_may_grow(mm, pages, v.prot, v.flags) || mm_hopeless(pages, v.prot, v.flags) ||
		    (mm->lock_future && !mm_may_lock(mm, pages)))
			goto out;
		if (!vma_free(mm, old, new - old + PAGE_SIZE) || pf_map_anon(old, new - old, PROT_READ | PROT_WRITE))
			goto out;
		i = vma_insert(mm, &v);
		if (i < 0) {
			pf_unmap(old, new - old);
			goto out;
		}
		vma_merge(mm, (u32)i);
	} else if (new < old) {
		if (vma_sealed(mm, new, old) || vma_remove(mm, new, old))
			goto out;
		pf_unmap(new, old - new);
	}
	mm->brk = addr;
out:
	addr = mm->brk;
	mutex_unlock(&mm->lock);
	return (long)addr;
}

// Moves or grows one mapping (man 2 mremap).
static long remap(struct mm *mm, uptr old, size_t len, size_t newlen, int flags, uptr to)
{
	struct vma *v, n;
	int r, i;

	mutex_lock(&mm->lock);
	v = mm_find(mm, old);
	r = -EFAULT;
	if (!v || v->flags & (VMA_GUARD | VMA_VDSO) || old + len > v->end)
		goto out;
	r = -EPERM;
	if (vma_sealed(mm, old, old + len) || (flags & MREMAP_FIXED && vma_sealed(mm, to, to + newlen)))
		goto out;
	if (newlen < len && !(flags & MREMAP_FIXED)) {
		r = vma_remove(mm, old + newlen, old + len);
		if (!r)
			r = pf_unmap(old + newlen, len - newlen);
		to = old;
		goto out;
	}
	if (newlen == len && !(flags & MREMAP_FIXED)) {
		to = old;
		r = 0;
		goto out;
	}
	if (v->view) {
		r = -EINVAL;
		goto out;
	}
	if (newlen > len) {
		u64 more = (newlen - len) >> PAGE_SHIFT;
		r = -ENOMEM;
		if (mm_may_grow(mm, more, v->prot, v->flags) || mm_hopeless(more, v->prot, v->flags))
			goto out;
		r = -EAGAIN;
		if (v->flags & VMA_LOCKED && !mm_may_lock(mm, more))
			goto out;
	}
	// in place, when the room behind is free
	if (!(flags & MREMAP_FIXED) && old + len == v->end && vma_free(mm, v->end, newlen - len) && !v->pc) {
		struct vma g = *v;
		g.start = v->end;
		g.end = g.start + (newlen - len);
		g.valid = newlen - len;
		g.pgoff = 0;
		// one mapping of the host too: it moves only as a whole
		r = pf_move(old, len, old, newlen);
		if (r)
			goto out;
		vma_get(&g);
		i = vma_insert(mm, &g);
		if (i >= 0)
			vma_merge(mm, (u32)i);
		r = i < 0 ? i : 0;
		to = old;
		goto out;
	}
	r = -ENOMEM;
	if (!(flags & MREMAP_MAYMOVE))
		goto out;
	r = vma_split(mm, old);
	if (!r)
		r = vma_split(mm, old + len);
	if (r)
		goto out;
	if (flags & MREMAP_FIXED) {
		r = vma_remove(mm, to, to + newlen);
		if (r)
			goto out;
		pf_unmap(to, newlen);
	} else {
		to = vma_find_free(mm, newlen, PAGE_SIZE);
		r = -ENOMEM;
		if (!to)
			goto out;
	}
	v = mm_find(mm, old);
	if (v->lazy && !(v->flags & VMA_SHARED) && (r = lazy_fill(v, v->start, v->end)))
		goto out;
	n = *v;
	vma_get(&n);
	n.start = to;
	n.end = to + newlen;
	if (n.pc) {
		// page cache: map the pages anew. Private changes move with the old mapping.
		u64 size = mm_object_size(n.pc, n.file), off = n.pgoff << PAGE_SHIFT;
		if (size != U64_MAX)
			size = PAGE_ALIGN(size);
		n.valid = size <= off ? 0 : min(newlen, size - off);
		r = 0;
		lazy_put(n.lazy);
		n.lazy = NULL;
		if (v->lazy && n.flags & VMA_SHARED && !(n.lazy = lazy_new(to, to + newlen)))
			r = -ENOMEM;
		for (u64 at = 0; at < n.valid && !n.lazy && !r;) {
			pfn_t pfn;
			u32 k;
			r = pc_run(n.pc, n.pgoff + (at >> PAGE_SHIFT), (n.valid - at) >> PAGE_SHIFT, true, &pfn, &k);
			if (!r)
				r = pf_map_pages(to + at, pfn, k, (int)(n.prot & 7), n.flags & VMA_SHARED);
			if (r)
				break;
			at += (u64)k << PAGE_SHIFT;
		}
		if (!(n.flags & VMA_SHARED))
			r = pf_move(old, min(len, newlen), to, min(len, newlen));
		else if (!r)
			pf_unmap(old, len);
	} else {
		n.valid = newlen;
		r = pf_move(old, len, to, newlen);
	}
	if (r) {
		vma_put(&n);
		goto out;
	}
	vma_remove(mm, old, old + len);
	i = vma_insert(mm, &n);
	if (i >= 0)
		vma_merge(mm, (u32)i);
	r = i < 0 ? i : 0;
out:
	mutex_unlock(&mm->lock);
	return r ? r : (long)to;
}

long sys_mremap(u64 old, u64 len, u64 newlen, int flags, u64 to)
{
	len = PAGE_ALIGN(len);
	newlen = PAGE_ALIGN(newlen);
	if (old & (PAGE_SIZE - 1) || !newlen || flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED))
		return -EINVAL;
	if (flags & MREMAP_FIXED) {
		if (!(flags & MREMAP_MAYMOVE) || to & (PAGE_SIZE - 1) || !range_ok(to, newlen) || (to < old + len && old < to + newlen))
			return -EINVAL;
	}
	if (!len || !range_ok(old, len))
		return -EINVAL;
	if (newlen < len || flags & MREMAP_MAYMOVE)
		rseq_memory_goes(old, len);
	return remap(curproc->mm, old, len, newlen, flags, to);
}

// Memory that is sealed against who may not write to it would be lost to the next reader.
static bool discards_sealed(const struct vma *v, int advice)
{
	return v->flags & VMA_SEALED && !v->pc && !(v->prot & PROT_WRITE) &&
	       (advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE || advice == MADV_DONTFORK);
}

long sys_madvise(u64 addr, u64 len, int advice)
{
	struct mm *mm = curproc->mm;
	uptr end, at;
	bool hole = false;
	long r = 0;

	len = PAGE_ALIGN(len);
	end = addr + len;
	if (addr & (PAGE_SIZE - 1) || end < addr)
		return -EINVAL;
	switch (advice) {
	case MADV_NORMAL: case MADV_RANDOM: case MADV_SEQUENTIAL: case MADV_WILLNEED: case MADV_MERGEABLE: case MADV_UNMERGEABLE:
	case MADV_DONTDUMP: case MADV_DODUMP: case MADV_COLD: case MADV_PAGEOUT: case MADV_DONTNEED: case MADV_FREE: case MADV_REMOVE:
	case MADV_HUGEPAGE: case MADV_NOHUGEPAGE: case MADV_POPULATE_READ: case MADV_POPULATE_WRITE: case MADV_DONTFORK: case MADV_DOFORK:
		break;
	default:
		return -EINVAL;
	}
	if (!len)
		return 0;
	mutex_lock(&mm->lock);
	for (at = addr; at < end && !r;) {
		u32 i = vma_above(mm, at);
		struct vma *v = &mm->vmas[i];
		uptr e;
		if (i >= mm->n || v->start >= end || v->flags & VMA_GUARD) {
			r = -ENOMEM;
			break;
		}
		if (v->start > at) {
			hole = true; // reported, but the rest is advised all the same
			at = v->start;
		}
		e = min(end, v->end);
		if (discards_sealed(v, advice)) {
			r = -EPERM;
			break;
		}
		switch (advice) {
		case MADV_FREE:
			if (v->pc || v->view || v->flags & VMA_SHARED) {
				r = -EINVAL;
				break;
			}
			fallthrough;
		case MADV_DONTNEED:
			if (!(v->flags & VMA_SHARED) && !v->view)
				pf_dontneed(at, e - at);
			break;
		case MADV_REMOVE:
			if (v->flags & VMA_SHARED && v->pc)
				pc_punch(v->pc, (v->pgoff << PAGE_SHIFT) + (at - v->start), (v->pgoff << PAGE_SHIFT) + (e - v->start));
			else
				r = -EINVAL;
			break;
		case MADV_HUGEPAGE:
		case MADV_NOHUGEPAGE:
			if (!v->pc)
				pf_hugepage(at, e - at, advice == MADV_HUGEPAGE);
			break;
		case MADV_POPULATE_READ:
		case MADV_POPULATE_WRITE:
			r = v->lazy ? lazy_fill(v, at, e) : 0;
			if (!r)
				r = pf_populate(at, e - at, advice == MADV_POPULATE_WRITE);
			break;
		case MADV_DONTFORK:
			v->flags |= VMA_DONTFORK;
			break;
		case MADV_DOFORK:
			v->flags &= ~VMA_DONTFORK;
			break;
		default:
			break;
		}
		at = e;
	}
	mutex_unlock(&mm->lock);
	return !r && hole ? -ENOMEM : r;
}

long sys_msync(u64 addr, u64 len, int flags)
{
	struct mm *mm = curproc->mm;
	uptr end = addr + PAGE_ALIGN(len);
	long r = 0;

	if (addr & (PAGE_SIZE - 1) || flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) || (flags & MS_ASYNC && flags & MS_SYNC))
		return -EINVAL;
	if (end < addr)
		return -ENOMEM;
	while (addr < end && !r) {
		struct pagecache *pc = NULL;
		struct file *f = NULL;
		struct vma *v;

		mutex_lock(&mm->lock);
		v = mm_find(mm, addr);
		if (!v) {
			mutex_unlock(&mm->lock);
			return -ENOMEM;
		}
		if (flags & MS_SYNC && v->flags & VMA_SHARED && v->file && v->pc) {
			pc = v->pc;
			f = v->file;
			file_get(f);
		}
		addr = v->end;
		mutex_unlock(&mm->lock);
		if (pc)
			r = f->ops->fsync ? f->ops->fsync(f, true) : 0;
		if (f)
			file_put(f);
	}
	return r;
}

// All that is mapped counts as resident: the enclave does not swap.
long sys_mincore(u64 addr, u64 len, u8 __user *vec)
{
	struct mm *mm = curproc->mm;
	u64 pages = PAGE_ALIGN(len) >> PAGE_SHIFT;
	u8 one = 1;

	if (addr & (PAGE_SIZE - 1))
		return -EINVAL;
	for (u64 i = 0; i < pages; i++) {
		bool there;
		mutex_lock(&mm->lock);
		there = mm_find(mm, addr + (i << PAGE_SHIFT)) != NULL;
		mutex_unlock(&mm->lock);
		if (!there)
			return -ENOMEM;
		if (copy_to_user(vec + i, &one, 1))
			return -EFAULT;
	}
	return 0;
}
