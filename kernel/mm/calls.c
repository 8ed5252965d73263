// SPDX-License-Identifier: Apache-2.0
// Memory system calls: mmap munmap mprotect mremap brk msync mincore. Argument checks as man 2 has
// them; the work is in mmap.c.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/vma.h"

// What MAP_SHARED_VALIDATE does not refuse: the flags that were there before it.
#define OLD_FLAGS (MAP_SHARED_VALIDATE | MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | 0x80 /* ABOVE4G */ | MAP_GROWSDOWN | MAP_DENYWRITE | \
		   MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | 0x4000000 /* \
		   UNINITIALIZED */ | 63ul << MAP_HUGE_SHIFT)

long sys_mmap(u64 addr, u64 len, u64 prot, u64 flags, int fd, u64 off)
{
	struct file *f = NULL;
	long r;
	u32 type = flags & MAP_TYPE;

	if (off & (PAGE_SIZE - 1))
		return -EINVAL;
	if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (flags & MAP_HUGETLB) // as on a Linux that has none reserved; programs ask, and take others without a word
		return -ENOMEM;
	if (!(flags & MAP_ANONYMOUS)) {
		f = fd_get(fd);
		if (!f)
			return -EBADF;
		r = off + len < off ? -EOVERFLOW : type == MAP_SHARED_VALIDATE && flags & ~OLD_FLAGS ? -EOPNOTSUPP : flags & MAP_GROWSDOWN ? -EINVAL : 0;
		if (r) {
			file_put(f);
			return r;
		}
	} else if (type == MAP_SHARED_VALIDATE || (type == MAP_SHARED && flags & MAP_GROWSDOWN)) {
		return -EINVAL;
	}
	r = -EACCES; // PR_SET_MDWE
	if (likely(!curproc->mm->mdwe) || !(prot & PROT_EXEC) || !(prot & PROT_WRITE))
		r = mm_map(curproc->mm, addr, len, (int)prot, (int)flags, f, f ? off >> PAGE_SHIFT : 0,
			   flags & MAP_GROWSDOWN ? VMA_GROWSDOWN : 0);
	if (f)
		file_put(f);
	return rseq_survived(r);
}

long sys_munmap(u64 addr, u64 len) { return rseq_survived(mm_unmap(curproc->mm, addr, len)); }

long sys_mprotect(u64 addr, u64 len, u64 prot)
{
	return rseq_survived(mm_protect(curproc->mm, addr, len, (int)prot));
}

long sys_brk(u64 addr)
{
	struct mm *mm = curproc->mm;
	uptr old, new = PAGE_ALIGN(addr);
	int r = 0;

	mutex_lock(&mm->lock);
	old = PAGE_ALIGN(mm->brk);
	if (addr < mm->brk_start || new - mm->brk_start > curproc->rlim[RLIMIT_DATA].cur)
		goto out;
	if (new > old) {
		struct vma v = { .start = old, .end = new, .prot = PROT_READ | PROT_WRITE, .flags = VMA_HEAP | VMA_MAYWRITE, .valid = new - old };
		u64 pages = (new - old) >> PAGE_SHIFT;
		int i;
		v.flags |= mm->lock_future;
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
		if (vma_sealed(mm, new, old) || (r = vma_unmap(mm, new, old)))
			goto out;
	}
	mm->brk = addr;
out:
	addr = mm->brk;
	mutex_unlock(&mm->lock);
	if (mm->lock_future && PAGE_ALIGN(addr) > old)
		mm_populate(mm, old, PAGE_ALIGN(addr));
	rseq_survived(r);
	return (long)addr;
}

// A second mapping of the pages of v, which is shared, from `old` on.
static int map_again(struct mm *mm, const struct vma *v, uptr old, size_t len, uptr to)
{
	struct vma n = *v;
	int r = 0;

	vma_get(&n);
	lazy_put(n.lazy);
	n.lazy = NULL;
	n.pgoff += (old - v->start) >> PAGE_SHIFT;
	n.start = to;
	n.end = to + len;
	n.valid = vma_backed(&n);
	if (v->lazy)
		r = (n.lazy = lazy_new(to, to + len)) ? 0 : -ENOMEM;
	else
		r = vma_map_pages(&n, 0, n.valid);
	if (!r)
		r = vma_insert(mm, &n);
	if (r < 0) {
		if (!pf_unmap(to, len)) // else the program sees them for good, and nobody else gets them
			vma_put(&n);
		return r;
	}
	vma_merge(mm, (u32)r);
	return 0;
}

// Moves the mapping v, as a whole len bytes from `old`, to newlen bytes at `to`, where there is room.
static int move(struct mm *mm, struct vma *v, size_t len, uptr to, size_t newlen)
{
	struct vma n = *v;
	uptr old = v->start;
	int r = 0;

	if (v->pc && v->flags & VMA_SHARED) { // the pages are mapped anew
		r = map_again(mm, v, old, newlen, to);
		return r ? r : pf_unmap(old, len);
	}
	// private changes move with the host's mapping
	if (v->lazy && (r = lazy_fill(v, v->start, v->end)))
		return r;
	vma_get(&n);
	lazy_put(n.lazy);
	n.lazy = NULL;
	n.start = to;
	n.end = to + newlen;
	if (v->pc) {
		u64 was = min(min(len, newlen), v->valid);

		n.valid = vma_backed(&n);
		if (n.valid > was)
			r = vma_map_pages(&n, was, n.valid);
		else
			n.valid = was;
		if (!r && was)
			r = pf_move(old, was, to, was);
	} else {
		n.valid = newlen;
		r = pf_move(old, len, to, newlen);
	}
	if (!r)
		r = vma_insert(mm, &n);
	if (r < 0) {
		vma_put(&n);
		return r;
	}
	vma_merge(mm, (u32)r);
	return 0;
}

// What was private memory at v is new, zero and not locked, after its pages have gone to `to`.
static int leave_empty(struct mm *mm, struct vma *v, uptr to)
{
	size_t len = v->end - v->start;
	struct vma n = *v;
	int r = pf_move(v->start, len, to, len);

	if (!r)
		r = pf_map_anon(v->start, len, (int)(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)));
	if (!r)
		r = vma_tell_host(v, v->start, v->end);
	if (r)
		return r;
	vma_account(mm, v, -1);
	v->flags &= ~(VMA_LOCKED | VMA_LOCKONFAULT);
	vma_account(mm, v, 1);
	n.start = to;
	n.end = to + len;
	r = vma_insert(mm, &n);
	return r < 0 ? r : 0;
}

// Makes room at `to` for what mremap moves there; the place or an error.
static long place(struct mm *mm, uptr to, size_t len, bool fixed)
{
	int r;

	if (!fixed && to && vma_room(mm, to, len))
		return (long)to;
	if (!fixed)
		return (to = vma_find_free(mm, len, PAGE_SIZE)) ? (long)to : -ENOMEM;
	r = vma_unmap(mm, to, to + len);
	return r ? r : (long)to;
}

// Grows a private anonymous mapping where it is. The host's grows, too: it moves only as a whole.
static int grow_in_place(struct mm *mm, const struct vma *v, uptr old, size_t len, size_t newlen)
{
	struct vma g = *v;
	int r = pf_move(old, len, old, newlen);

	if (r)
		return r;
	g.start = v->end;
	g.end = g.start + (newlen - len);
	g.valid = newlen - len;
	g.pgoff = 0;
	vma_get(&g);
	r = vma_insert(mm, &g);
	if (r < 0) {
		vma_put(&g);
		return r;
	}
	vma_merge(mm, (u32)r);
	return 0;
}

// Moves or grows one mapping (man 2 mremap). mm->lock held.
static long remap(struct mm *mm, uptr old, size_t len, size_t newlen, int flags, uptr to)
{
	bool fixed = flags & MREMAP_FIXED, empty = flags & MREMAP_DONTUNMAP;
	struct vma *v = mm_find(mm, old);
	long at;
	int r;

	if (!v || v->flags & (VMA_GUARD | VMA_VDSO))
		return -EFAULT;
	if (vma_sealed(mm, old, old + max(len, PAGE_SIZE)) || (fixed && vma_sealed(mm, to, to + newlen)))
		return -EPERM;
	if (!len && !(v->flags & VMA_SHARED && v->pc))
		return -EINVAL;
	if (len && newlen <= len && !fixed && !empty) {
		r = newlen < len ? vma_unmap(mm, old + newlen, old + len) : 0;
		return r ? r : (long)old;
	}
	if (old + len > v->end)
		return -EFAULT;
	if (v->view || (empty && v->pc))
		return -EINVAL;
	if (newlen > len || empty) {
		u64 more = (empty ? len : newlen - len) >> PAGE_SHIFT;

		if (mm_may_grow(mm, more, v->prot, v->flags) || mm_hopeless(more, v->prot, v->flags))
			return -ENOMEM;
		if (v->flags & VMA_LOCKED && !mm_may_lock(mm, more))
			return -EAGAIN;
	}
	if (len && !fixed && !empty && old + len == v->end && vma_free(mm, v->end, newlen - len) && !v->pc) {
		r = grow_in_place(mm, v, old, len, newlen);
		return r ? r : (long)old;
	}
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	if (fixed && newlen < len) { // the tail goes first
		r = vma_unmap(mm, old + newlen, old + len);
		if (r)
			return r;
		len = newlen;
	}
	r = vma_split(mm, old);
	if (!r && len)
		r = vma_split(mm, old + len);
	if (r)
		return r;
	at = place(mm, fixed || empty ? to : 0, newlen, fixed);
	if (at < 0)
		return at;
	v = mm_find(mm, old);
	if (!len)
		r = map_again(mm, v, old, newlen, (uptr)at);
	else if (empty)
		r = leave_empty(mm, v, (uptr)at);
	else
		r = move(mm, v, len, (uptr)at, newlen);
	if (!r && len && !empty)
		r = vma_remove(mm, old, old + len);
	return r ? r : at;
}

long sys_mremap(u64 old, u64 len, u64 newlen, int flags, u64 to)
{
	struct mm *mm = curproc->mm;
	bool populate;
	long r;

	len = PAGE_ALIGN(len);
	newlen = PAGE_ALIGN(newlen);
	if (old & (PAGE_SIZE - 1) || !newlen || newlen > pf_user_max || flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
		return -EINVAL;
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if (flags & MREMAP_DONTUNMAP && len != newlen)
		return -EINVAL;
	if (flags & MREMAP_FIXED && !range_ok(to, newlen))
		return -EINVAL;
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) && (to & (PAGE_SIZE - 1) || (to < old + len && old < to + newlen)))
		return -EINVAL;
	if (old + len < old || old + len > pf_user_max)
		return -EFAULT;
	mutex_lock(&mm->lock);
	r = newlen < len || flags & MREMAP_MAYMOVE ? rseq_memory_goes(mm, old, old + len) : 0;
	if (!r)
		r = remap(mm, old, len, newlen, flags, to);
	populate = r > 0 && newlen > len && mm->locked_pages;
	mutex_unlock(&mm->lock);
	if (populate)
		mm_populate(mm, (uptr)r + len, (uptr)r + newlen);
	return rseq_survived(r);
}

long sys_msync(u64 addr, u64 len, int flags)
{
	struct mm *mm = curproc->mm;
	uptr end = addr + PAGE_ALIGN(len);
	bool hole = false;
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
		u32 i = vma_above(mm, addr);
		v = i < mm->n && mm->vmas[i].start < end ? &mm->vmas[i] : NULL;
		hole |= !v || v->start > addr || v->flags & VMA_GUARD;
		if (v && flags & MS_INVALIDATE && v->flags & VMA_LOCKED)
			r = -EBUSY;
		if (v && !r && flags & MS_SYNC && v->flags & VMA_SHARED && v->file && v->pc) {
			pc = v->pc;
			f = v->file;
			file_get(f);
		}
		addr = v ? v->end : end;
		mutex_unlock(&mm->lock);
		if (pc)
			r = f->ops->fsync ? f->ops->fsync(f, true) : 0;
		if (f)
			file_put(f);
	}
	return !r && hole ? -ENOMEM : r;
}

// Whether the pages of [at, end) of v are in memory, one byte each.
static void resident(const struct vma *v, uptr at, uptr end, u8 *out)
{
	u64 backed = v->pc ? vma_backed(v) : 0;

	if (!v->pc && pf_mincore(at, end - at, out))
		memset(out, 0, (end - at) >> PAGE_SHIFT);
	for (; v->pc && at < end; at += PAGE_SIZE) {
		u64 off = at - v->start, page = v->pgoff + (off >> PAGE_SHIFT);

		*out++ = off < backed && pc_resident(v->pc, page, page + 1);
	}
}

#define MINCORE_CHUNK 256u

long sys_mincore(u64 addr, u64 len, u8 __user *vec)
{
	struct mm *mm = curproc->mm;
	u64 pages = PAGE_ALIGN(len) >> PAGE_SHIFT, done = 0;
	__uninit u8 out[MINCORE_CHUNK];

	if (addr & (PAGE_SIZE - 1))
		return -EINVAL;
	if (addr + len < addr || addr + len > pf_user_max)
		return -ENOMEM;
	if (!access_ok(vec, pages))
		return -EFAULT;
	while (done < pages) {
		uptr at = addr + (done << PAGE_SHIFT), end = at;
		u64 n = min(pages - done, (u64)MINCORE_CHUNK);
		struct vma *v;

		mutex_lock(&mm->lock);
		v = mm_find(mm, at);
		if (v && !(v->flags & VMA_GUARD)) {
			end = min(v->end, at + (n << PAGE_SHIFT));
			resident(v, at, end, out);
		}
		mutex_unlock(&mm->lock);
		if (end == at)
			return -ENOMEM;
		n = (end - at) >> PAGE_SHIFT;
		if (copy_to_user(vec + done, out, n))
			return -EFAULT;
		done += n;
	}
	return 0;
}
