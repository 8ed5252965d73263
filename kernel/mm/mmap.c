// SPDX-License-Identifier: Apache-2.0
// mmap, munmap, mprotect, mremap, brk: the array of mappings (vma.c) and the program's real mappings (platform)
// are changed together under mm->lock. File pages are read before the lock is taken.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/vma.h"
#include <linux/capability.h>
#include <linux/elf.h>

#define GUARD_BYTES TRAMP_BYTES
#define STACK_STEP (64ul << 10)	// by which a stack grows

// The size of what a mapping shows: beyond it there is nothing to map. Files in memory keep it in their inode.
u64 mm_object_size(const struct pagecache *pc, const struct file *f)
{
	if (pc->ops && pc->ops->size)
		return pc->ops->size((struct pagecache *)pc);
	return f && f->inode && S_ISREG(f->inode->mode) ? __atomic_load_n(&f->inode->size, __ATOMIC_RELAXED) : U64_MAX;
}

// Bytes of v that can be backed now.
u64 vma_backed(const struct vma *v)
{
	u64 size = v->pc ? mm_object_size(v->pc, v->file) : U64_MAX;
	u64 off = v->pc ? v->pgoff << PAGE_SHIFT : 0, len = v->end - v->start;

	return size <= off ? 0 : min(len, size == U64_MAX ? len : PAGE_ALIGN(size) - off);
}

static int host_prot(const struct vma *v) { return (int)(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)); }

static int map_runs(struct vma *v, u64 *from, u64 to)
{
	while (*from < to) {
		u64 at = v->start + *from;
		pfn_t pfn;
		u32 n;
		int r = pc_run(v->pc, v->pgoff + (*from >> PAGE_SHIFT), (to - *from) >> PAGE_SHIFT, true, &pfn, &n);
		if (!r)
			r = pf_map_pages(at, pfn, n, host_prot(v), v->flags & VMA_SHARED);
		if (r)
			return r;
		*from += (u64)n << PAGE_SHIFT;
		if (v->prot & PROT_EXEC)
			pf_pages_mapped_often(pfn, n);
		if (unlikely(v->flags & VMA_DONTFORK) && (r = vma_tell_host(v, at, v->start + *from)))
			return r;
	}
	return 0;
}

// Maps page-cache pages of v from byte offset `from` to `to`.
int vma_map_pages(struct vma *v, u64 from, u64 to)
{
	if (v->view) { // a lazy one
		u64 first = v->pgoff - v->view->pgoff + (from >> PAGE_SHIFT), n = (to - from) >> PAGE_SHIFT;
		int r = text_fill(v->view, v->pc, first, first + n);
		if (!r)
			r = pf_map_pages(v->start + from, v->view->pfn + (u32)first, (u32)n, host_prot(v), true);
		return r || !(v->flags & VMA_DONTFORK) ? r : vma_tell_host(v, v->start + from, v->start + to);
	}
	return map_runs(v, &from, to);
}

int vma_grow(struct vma *v, u64 now)
{
	int r = 0;

	if (now <= v->valid)
		return 0;
	r = v->lazy ? lazy_grow(v, now) : vma_map_pages(v, v->valid, now);
	if (!r || pf_unmap(v->start + v->valid, now - v->valid)) // what the host does not let go of counts as mapped
		v->valid = now;
	return r;
}

// Reads what a mapping will need, without mm->lock.
static int prefill(struct pagecache *pc, const struct file *f, u64 pgoff, size_t len)
{
	u64 size = mm_object_size(pc, f), n = len >> PAGE_SHIFT, i = 0;

	if (size != U64_MAX) {
		u64 pages = DIV_ROUND_UP(size, PAGE_SIZE);
		n = pages > pgoff ? min(n, pages - pgoff) : 0;
	}
	while (i < n) {
		pfn_t p;
		u32 k;
		int r = pc_run(pc, pgoff + i, n - i, true, &p, &k);
		if (r)
			return r;
		i += k;
	}
	return 0;
}

// A guard gap where no other view has its trampolines yet.
static bool is_spare(const struct vma *v) { return (v->flags & (VMA_GUARD | VMA_TRAMP)) == VMA_GUARD; }

// Where the trampolines of a view mapped at `addr` can be: the guard gap behind the file's mappings, or a free
// place just before them. 0: nowhere.
static uptr tramp_place(struct mm *mm, uptr addr, size_t len, s64 delta)
{
	if (delta) {
		uptr at = addr + (uptr)delta;
		struct vma *g = mm_find(mm, at);
		if (g && is_spare(g) && g->start == at)
			return at;
		return vma_free(mm, at, TRAMP_BYTES) ? at : 0;
	}
	u32 i = vma_above(mm, addr);
	uptr end = i < mm->n && mm->vmas[i].start <= addr ? mm->vmas[i].end : addr + len;
	for (; i < mm->n && end - addr < (1ul << 30); i++) {
		if (mm->vmas[i].start > end)
			break;
		if (is_spare(&mm->vmas[i]))
			return mm->vmas[i].start;
		end = mm->vmas[i].end;
	}
	uptr start = addr;
	i = vma_above(mm, addr - 1);
	while (i < mm->n && mm->vmas[i].end >= start && mm->vmas[i].start < start) {
		start = mm->vmas[i].start;
		if (!i)
			break;
		i--;
	}
	return start > pf_user_min + TRAMP_BYTES && vma_free(mm, start - TRAMP_BYTES, TRAMP_BYTES) ? start - TRAMP_BYTES : 0;
}

// An executable private file mapping becomes a text view with trampolines beside it. Made without mm->lock, because it reads the file.
static struct textview *want_view(const struct mm *mm, const struct vma *v, size_t len)
{
	u64 off = v->pgoff << PAGE_SHIFT, size = mm_object_size(v->pc, v->file);

	if (v->flags & VMA_SHARED || (v->prot & (PROT_EXEC | PROT_WRITE)) != PROT_EXEC)
		return NULL;
	return mm->unpatched || size <= off || PAGE_ALIGN(size) - off < len ? NULL : text_view(v->pc, v->pgoff, len >> PAGE_SHIFT);
}

// A large view is mapped as far as somebody has read it; the rest on first touch.
static int map_filled(struct vma *v, struct textview *tv)
{
	u64 pieces = DIV_ROUND_UP(v->end - v->start, LAZY_IMAGE_PIECE);
	int r = pf_unmap(v->start, v->end - v->start); // what was there before

	if (!r && !(v->lazy = lazy_new_image(v->start, v->end, 0)))
		r = -ENOMEM;
	for (u64 i = 0, k; i < pieces && !r; i = k + 1) {
		for (k = i; k < pieces && tv->filled[k / 64] >> (k % 64) & 1; k++)
			;
		if (k > i)
			r = lazy_map_view(v, tv, i, k);
	}
	return r;
}

// Maps the view. False: map the file itself. Takes the reference on it in any case.
static bool map_view(struct mm *mm, struct vma *v, struct textview *tv)
{
	uptr place;

	if (!tv)
		return false;
	if (mm->unpatched || v->valid != v->end - v->start)
		goto no;
	mutex_lock(&tv->lock);
	place = tramp_place(mm, v->start, v->end - v->start, tv->delta);
	if (place && !tv->delta) {
		tv->delta = (s64)(place - v->start);
		text_placed(tv);
	}
	mutex_unlock(&tv->lock);
	if (!place)
		goto no;
	struct vma t = { .start = place, .end = place + TRAMP_BYTES, .prot = PROT_READ | PROT_EXEC, .flags = VMA_TRAMP | VMA_GUARD };
	if (vma_remove(mm, t.start, t.end) || vma_insert(mm, &t) < 0)
		goto no;
	if (pf_map_pages(place, tv->tramp_pfn, TRAMP_BYTES >> PAGE_SHIFT, PROT_READ | PROT_EXEC, true) ||
	    (tv->filled ? map_filled(v, tv) : pf_map_pages(v->start, tv->pfn, (u32)tv->npages, host_prot(v), true))) {
		lazy_put(v->lazy);
		v->lazy = NULL;
		if (pf_unmap(t.start, TRAMP_BYTES)) // the program sees them for good, so they stay what they are
			return false;
		vma_remove(mm, t.start, t.end);
		goto no;
	}
	v->view = tv;
	v->flags |= VMA_VIEW;
	return true;
no:
	text_put(tv);
	return false;
}

static bool is_elf(struct pagecache *pc)
{
	pfn_t p;
	u32 n;

	return !pc_run(pc, 0, 1, false, &p, &n) && p && !memcmp(page_addr(p), "\177ELF", 4);
}

// A program or library of which the whole is mapped: the bytes before its text, rounded up to pieces; or len.
static u64 before_text(struct pagecache *pc, u64 len)
{
	Elf64_Ehdr eh;
	u64 text = U64_MAX;
	pfn_t p;
	u32 n;

	if (!pc->ops || !pc->ops->read || pc_run(pc, 0, 1, false, &p, &n) || !p)
		return len;
	memcpy(&eh, page_addr(p), sizeof(eh));
	for (u32 i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;

		if (eh.e_phoff > PAGE_SIZE || eh.e_phoff + (i + 1) * sizeof(ph) > PAGE_SIZE)
			return len;
		memcpy(&ph, (u8 *)page_addr(p) + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_LOAD && ph.p_flags & 1 /* X */)
			text = min(text, ph.p_offset);
	}
	return text >= len ? len : min(len, ALIGN_UP(max(text, 1ul), LAZY_IMAGE_PIECE));
}

u32 overcommit_memory;

int mm_may_grow(const struct mm *mm, u64 pages, u32 prot, u32 vma_flags)
{
	const struct proc *p = curproc;
	bool data = prot & PROT_WRITE && !(vma_flags & (VMA_SHARED | VMA_STACK | VMA_GROWSDOWN));

	if (mm->total_pages + pages > p->rlim[RLIMIT_AS].cur >> PAGE_SHIFT)
		return -ENOMEM;
	return data && mm->data_pages + pages > p->rlim[RLIMIT_DATA].cur >> PAGE_SHIFT ? -ENOMEM : 0;
}

bool mm_hopeless(u64 pages, u32 prot, u32 vma_flags)
{
	return prot & PROT_WRITE && !(vma_flags & (VMA_SHARED | VMA_NORESERVE)) && !overcommit_memory && pages > page_count_total();
}

bool mm_can_lock(void) { return RLIMIT(RLIMIT_MEMLOCK) || capable(CAP_IPC_LOCK); }

bool mm_may_lock(const struct mm *mm, u64 pages)
{
	return mm->locked_pages + pages <= RLIMIT(RLIMIT_MEMLOCK) >> PAGE_SHIFT || capable(CAP_IPC_LOCK);
}

// Bytes of [start, end) that are mapped, and so do not count twice when they are mapped over.
static u64 covered(struct mm *mm, uptr start, uptr end)
{
	u64 n = 0;

	for (u32 i = vma_above(mm, start); i < mm->n && mm->vmas[i].start < end; i++)
		if (!(mm->vmas[i].flags & (VMA_GUARD | VMA_TRAMP)))
			n += min(end, mm->vmas[i].end) - max(start, mm->vmas[i].start);
	return n;
}

// A mapping that failed. Before the host changed anything, all is as it was. After that the host lets go of what is there now; where it cannot
// (it has no room for one mapping more in the middle of another), what was there before is there again as far as the kernel knows, and what
// either of them holds is never given up.
static void undo_map(struct mm *mm, struct vma *v, struct taken *old, bool touched)
{
	if (touched && !pf_unmap(v->start, v->end - v->start)) {
		vma_drop_taken(old);
		return;
	}
	vma_give_back(mm, old);
	if (!touched || !v->pc)
		return;
	pr_once("mmap failed, and the host cannot take back what was mapped: the pages stay in memory");
	lazy_put(v->lazy);
	v->lazy = NULL;
	v->pc = NULL;
	v->file = NULL;
}

long mm_map(struct mm *mm, uptr addr, size_t len, int prot, int flags, struct file *f, u64 pgoff, u32 vma_flags)
{
	struct vma v = { 0 };
	struct taken old = { 0 };
	struct textview *view = NULL;
	bool shared = (flags & MAP_TYPE) != MAP_PRIVATE, fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	bool guard = false, touched = false, lazy, waits, image;
	size_t place_len, now;
	int r, i;

	if (!len)
		return -EINVAL;
	len = PAGE_ALIGN(len);
	if (!len || len > pf_user_max)
		return -ENOMEM;
	if (fixed && (addr & (PAGE_SIZE - 1)))
		return -EINVAL;
	if (flags & MAP_LOCKED && !mm_can_lock())
		return -EPERM;
	v.prot = (u32)prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
	v.flags = vma_flags | (shared ? VMA_SHARED : 0) | (flags & MAP_NORESERVE ? VMA_NORESERVE : 0) | VMA_MAYWRITE;
	v.pgoff = pgoff;
	v.valid = len;
	if (f) {
		u32 acc = f->flags & O_ACCMODE;
		if (acc == O_WRONLY || f->flags & O_PATH)
			return -EACCES;
		if (shared && acc == O_RDONLY) {
			if (prot & PROT_WRITE)
				return -EACCES;
			v.flags &= ~VMA_MAYWRITE;
		}
		if (!f->ops->mmap)
			return -ENODEV;
		r = f->ops->mmap(f, pgoff, len, prot, flags, &v.pc);
		if (r)
			return r;
		file_get(f);
		v.file = f;
		if (f->ops->mmap_page)
			v.pgoff = f->ops->mmap_page(f, pgoff);
		if (v.pc && !shared && !fixed && !pgoff)
			guard = is_elf(v.pc);
	} else if (shared) {
		v.pgoff = 0;
	}
	if (shared && !v.pc) {
		v.pc = pc_new(NULL, NULL);
		if (!v.pc) {
			r = -ENOMEM;
			goto out;
		}
		v.pc->anon = true;
	}
	// a program that serves files is not asked in the middle of a fault: their pages are read now
	waits = f && f->inode->sb->waits;
	image = v.pc && v.pc->ops && v.pc->ops->read && !v.pc->ops->write; // what is read has to be verified: in small pieces
	lazy = v.pc && !waits && len >= (image ? LAZY_MIN_IMAGE : LAZY_MIN) && (shared || !(prot & PROT_EXEC)) && !(flags & (MAP_POPULATE | MAP_LOCKED));
	now = lazy ? 0 : len; // bytes that are mapped at once
	if (guard && !lazy && !waits && !(prot & (PROT_WRITE | PROT_EXEC)) && !(flags & (MAP_POPULATE | MAP_LOCKED)))
		now = before_text(v.pc, len);
	if (v.pc) {
		pc_mapped(v.pc, 1, shared && (prot & PROT_WRITE));
		view = waits ? NULL : want_view(mm, &v, len);
		r = view ? 0 : prefill(v.pc, v.file, v.pgoff, now);
		if (r) {
			pc_mapped(v.pc, -1, shared && (prot & PROT_WRITE));
			pc_put(v.pc);
			v.pc = NULL;
			goto out;
		}
	}

	mutex_lock(&mm->lock);
	r = -ENOMEM;
	v.flags |= mm->lock_future | (flags & MAP_LOCKED ? VMA_LOCKED : 0);
	if (mm_may_grow(mm, (len - (fixed ? covered(mm, addr, addr + len) : 0)) >> PAGE_SHIFT, v.prot, v.flags) ||
	    mm_hopeless(len >> PAGE_SHIFT, v.prot, v.flags))
		goto unlock;
	if (v.flags & VMA_LOCKED && !mm_may_lock(mm, len >> PAGE_SHIFT)) {
		r = -EAGAIN;
		goto unlock;
	}
	place_len = len + (guard ? GUARD_BYTES : 0);
	if (fixed) {
		if (!range_ok(addr, len)) {
			r = addr < pf_user_min && addr + len >= addr ? -EPERM : -ENOMEM;
			goto unlock;
		}
		if (flags & MAP_FIXED_NOREPLACE && !vma_free(mm, addr, len)) {
			r = -EEXIST;
			goto unlock;
		}
		r = vma_sealed(mm, addr, addr + len) ? -EPERM : vma_take(mm, addr, addr + len, &old);
		if (r)
			goto unlock;
	} else {
		size_t align = v.pc ? PAGE_SIZE : len >= (2ul << 20) ? 2ul << 20 : PAGE_SIZE;
		addr &= PAGE_MASK;
		if (!addr || !vma_room(mm, addr, place_len)) {
			uptr low = flags & MAP_32BIT ? 0x80000000ul : 0;
			if (low) {
				uptr hint = mm->hint, base = mm->mmap_base;
				mm->hint = mm->mmap_base = low;
				addr = 0;
				for (uptr a = low - place_len; a > (1ul << 30); a -= PAGE_SIZE * 16)
					if (vma_free(mm, a & PAGE_MASK, place_len)) {
						addr = a & PAGE_MASK;
						break;
					}
				mm->hint = hint;
				mm->mmap_base = base;
			} else {
				addr = vma_find_free(mm, place_len, align);
			}
		}
		if (!addr)
			goto unlock;
	}
	v.start = addr;
	v.end = addr + len;
	r = vma_reserve(mm, view ? 2 : 1);
	if (r) {
		vma_give_back(mm, &old);
		goto unlock;
	}
	if (v.pc) {
		v.valid = vma_backed(&v);
		u64 done = min(now, v.valid), at = 0;
		touched = view;
		bool viewed = map_view(mm, &v, view);
		view = NULL;
		if (viewed)
			r = 0;
		else if (now < len && !(v.lazy = lazy && !image ? lazy_new(addr, addr + len) : lazy_new_image(addr, addr + len, now)))
			r = -ENOMEM;
		else
			r = map_runs(&v, &at, done);
		touched |= at;
		if (!r && fixed && done < len)
			r = pf_unmap(addr + done, len - done); // what was there before
	} else {
		r = pf_map_anon(addr, len, host_prot(&v));
	}
	if (r) {
		undo_map(mm, &v, &old, touched);
		goto unlock;
	}
	vma_drop_taken(&old);
	i = vma_insert(mm, &v); // there is room
	vma_merge(mm, (u32)i);
	if (guard) {
		struct vma g = { .start = addr + len, .end = addr + len + GUARD_BYTES, .flags = VMA_GUARD };
		vma_insert(mm, &g);
	}
	mutex_unlock(&mm->lock);
	if (v.flags & VMA_LOCKED)
		mm_populate(mm, addr, addr + len);
	else if (flags & MAP_POPULATE && !v.pc && v.prot)
		pf_populate(addr, len, prot & PROT_WRITE);
	return (long)addr;
unlock:
	mutex_unlock(&mm->lock);
out:
	text_put(view);
	if (v.pc)
		vma_put(&v);
	else if (v.file)
		file_put(v.file);
	return r;
}

// Kernel pages in the program's address space (vDSO).
long mm_map_pages(struct mm *mm, uptr hint, pfn_t pfn, u32 n, int prot, u32 vma_flags)
{
	struct vma v = { .prot = (u32)prot, .flags = vma_flags, .valid = (u64)n << PAGE_SHIFT };
	size_t len = (size_t)n << PAGE_SHIFT;
	int r = -ENOMEM;

	mutex_lock(&mm->lock);
	v.start = hint && vma_free(mm, hint, len) ? hint : vma_find_free(mm, len, PAGE_SIZE);
	v.end = v.start + len;
	if (v.start) {
		r = pf_map_pages(v.start, pfn, n, prot, true);
		if (!r)
			r = vma_insert(mm, &v);
	}
	mutex_unlock(&mm->lock);
	return r < 0 ? r : (long)v.start;
}

int mm_unmap(struct mm *mm, uptr addr, size_t len)
{
	uptr end;
	u32 i;
	int r;

	len = PAGE_ALIGN(len);
	if (addr & (PAGE_SIZE - 1) || !len || !range_ok(addr, len))
		return -EINVAL;
	end = addr + len;
	mutex_lock(&mm->lock);
	// the guard gap behind a file's mappings goes with the last of them
	i = vma_above(mm, end);
	if (i < mm->n && mm->vmas[i].start == end && mm->vmas[i].flags & VMA_GUARD) {
		u32 k = vma_above(mm, addr);
		if (k < mm->n && mm->vmas[k].start >= addr)
			end = mm->vmas[i].end;
	}
	i = vma_above(mm, addr);
	if (i >= mm->n || mm->vmas[i].start >= end) {
		mutex_unlock(&mm->lock);
		return 0;
	}
	r = vma_sealed(mm, addr, end) ? -EPERM : vma_unmap(mm, addr, end);
	mutex_unlock(&mm->lock);
	return r;
}

// A text view that is to become writable turns into a private copy of the file's pages; its calls then trap.
int view_to_private(struct vma *v)
{
	struct textview *tv = v->view;
	int r;

	v->view = NULL;
	v->flags &= ~VMA_VIEW;
	r = vma_map_pages(v, 0, v->valid);
	if (!r) { // all of it is mapped now
		lazy_put(v->lazy);
		v->lazy = NULL;
	}
	text_put(tv);
	return r;
}

int mm_protect(struct mm *mm, uptr addr, size_t len, int prot)
{
	uptr end, at;
	u32 i;
	int r = 0;

	if (addr & (PAGE_SIZE - 1) || prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN | PROT_SEM))
		return -EINVAL; // no mapping grows upwards
	if (!len)
		return 0;
	end = addr + PAGE_ALIGN(len);
	if (!range_ok(addr, end - addr))
		return -ENOMEM;
	mutex_lock(&mm->lock);
	if (prot & PROT_GROWSDOWN) { // from the start of the stack on
		i = vma_above(mm, addr);
		if (i >= mm->n || mm->vmas[i].start >= end)
			r = -ENOMEM;
		else if (!(mm->vmas[i].flags & VMA_GROWSDOWN))
			r = -EINVAL;
		else
			addr = mm->vmas[i].start;
	}
	if (!r && !(prot & PROT_WRITE))
		r = rseq_memory_goes(mm, addr, end);
	if (!r)
		r = vma_split(mm, addr);
	if (!r)
		r = vma_split(mm, end);
	i = vma_above(mm, addr);
	for (at = addr; !r && at < end; i++) {
		struct vma *v = &mm->vmas[i];
		u32 p = (u32)prot & (PROT_READ | PROT_WRITE | PROT_EXEC);

		if (i >= mm->n || v->start != at || v->flags & VMA_GUARD) {
			r = -ENOMEM;
			break;
		}
		if (v->flags & VMA_SEALED) {
			r = -EPERM;
			break;
		}
		if (unlikely(mm->mdwe) && p & PROT_EXEC && (p & PROT_WRITE || !(v->prot & PROT_EXEC))) {
			r = -EACCES;
			break;
		}
		if (v->flags & VMA_SHARED && p & PROT_WRITE && !(v->flags & VMA_MAYWRITE)) {
			r = -EACCES;
			break;
		}
		if (v->prot != p && p & PROT_WRITE && !(v->prot & PROT_WRITE) && !(v->flags & VMA_SHARED)) {
			u64 pages = (v->end - v->start) >> PAGE_SHIFT;
			// nothing new is mapped, but there is more data
			if (mm_hopeless(pages, p, v->flags) ||
			    (!(v->flags & (VMA_STACK | VMA_GROWSDOWN)) && mm->data_pages + pages > RLIMIT(RLIMIT_DATA) >> PAGE_SHIFT)) {
				r = -ENOMEM;
				break;
			}
		}
		if (v->prot != p) {
			bool was = v->flags & VMA_SHARED && v->prot & PROT_WRITE, now = v->flags & VMA_SHARED && p & PROT_WRITE;
			if (v->view && p & PROT_WRITE)
				r = view_to_private(v);
			if (!r && v->lazy)
				r = lazy_protect(v, (int)p);
			else if (!r && min(v->valid, v->end - v->start))
				r = pf_protect(v->start, min(v->valid, v->end - v->start), (int)p);
			if (r)
				break;
			if (was != now && v->pc) {
				pc_mapped(v->pc, 1, now);
				pc_mapped(v->pc, -1, was);
			}
			vma_account(mm, v, -1);
			v->prot = p;
			vma_account(mm, v, 1);
		}
		at = v->end;
	}
	vma_merge_range(mm, addr, end); // what has become alike
	bool fill = !r && prot & PROT_WRITE && mm->locked_pages;
	mutex_unlock(&mm->lock);
	if (fill)
		mm_populate(mm, addr, end); // locked memory is there before it is touched, and now it may be
	return r;
}

// Reads the pages of a lazy mapping's piece, which takes mm->lock away for the time. The mapping may be another one afterwards.
static int read_piece(struct mm *mm, struct vma *v, uptr addr)
{
	struct pagecache *pc = v->pc;
	struct textview *tv = v->view;
	struct file *f = v->file;
	u64 from, to, pgoff = v->pgoff;
	int r;

	lazy_piece(v, addr, &from, &to);
	pc_get(pc);
	if (f)
		file_get(f);
	if (tv)
		text_get(tv);
	mutex_unlock(&mm->lock);
	if (tv)
		r = text_fill(tv, pc, pgoff - tv->pgoff + (from >> PAGE_SHIFT), pgoff - tv->pgoff + (to >> PAGE_SHIFT));
	else
		r = prefill(pc, f, pgoff + (from >> PAGE_SHIFT), to - from);
	text_put(tv);
	pc_put(pc);
	if (f)
		file_put(f);
	mutex_lock(&mm->lock);
	return r;
}

// A mapping that grows downwards (a stack) reaches addr from now on, if limits and what lies below it allow that; more than a page at a time.
static bool stack_grow(struct mm *mm, uptr addr)
{
	u32 i = vma_above(mm, addr);
	struct vma *v = &mm->vmas[i];
	uptr low = pf_user_min, to = ALIGN_DOWN(addr, STACK_STEP), least = addr & PAGE_MASK;
	u64 limit = RLIMIT(RLIMIT_STACK) & PAGE_MASK, pages;

	if (i >= mm->n || !(v->flags & VMA_GROWSDOWN))
		return false;
	if (i)
		low = v[-1].end + (v[-1].prot && !(v[-1].flags & VMA_GROWSDOWN) ? STACK_GAP : 0);
	if (v->start >= pf_kernel_end && low < pf_kernel_end)
		low = pf_kernel_end;
	if (limit < v->end)
		low = max(low, v->end - limit);
	to = max(to, low);
	if (to > least)
		return false;
	pages = (v->start - to) >> PAGE_SHIFT;
	if (mm_may_grow(mm, pages, v->prot, v->flags) || (v->flags & VMA_LOCKED && !mm_may_lock(mm, pages)))
		return false;
	if (pf_map_anon(to, v->start - to, host_prot(v)) || vma_tell_host(v, to, v->start))
		return false;
	if ((v->flags & (VMA_LOCKED | VMA_LOCKONFAULT)) == VMA_LOCKED)
		pf_populate(to, v->start - to, v->prot & PROT_WRITE);
	vma_account(mm, v, -1);
	v->start = to;
	v->valid = v->end - to;
	vma_account(mm, v, 1);
	return true;
}

// A file mapping beyond the end of the file faults, and the file may have grown since; so does a piece of a large mapping that
// nobody touched before.
int mm_fault(uptr addr, bool write)
{
	struct mm *mm = curproc->mm;
	struct vma *v;
	u64 now;
	int r = -EFAULT;

	mutex_lock(&mm->lock);
	v = mm_find(mm, addr);
	if (!v && stack_grow(mm, addr))
		r = 0;
	if (!v || !v->pc || (v->view && !v->lazy) || !(v->prot & (write ? PROT_WRITE : PROT_READ | PROT_WRITE | PROT_EXEC)))
		goto out;
	if (addr - v->start >= v->valid) {
		now = vma_backed(v);
		r = -ENXIO;
		if (addr - v->start >= now || now <= v->valid)
			goto out;
		r = vma_grow(v, now);
		if (r)
			goto out;
	}
	if (!lazy_absent(v, addr)) {
		r = user_reachable(addr, write) ? 0 : -EFAULT; // another thread may have been quicker
		goto out;
	}
	if (v->pc->ops && v->pc->ops->read) {
		r = read_piece(mm, v, addr);
		v = mm_find(mm, addr);
		if (r || !v || !lazy_absent(v, addr)) // gone or done meanwhile: the access is tried again
			goto out;
	}
	r = lazy_touch(v, addr);
out:
	mutex_unlock(&mm->lock);
	return r;
}

int mm_key(const void __user *p, bool private_hint, void **obj, u64 *off)
{
	struct mm *mm = curproc->mm;
	uptr a = (__force uptr)p;
	struct vma *v;
	int r = -EFAULT;

	*obj = mm;
	*off = a;
	if (private_hint)
		return 0;
	mutex_lock(&mm->lock);
	v = mm_find(mm, a);
	if (v && v->pc && v->flags & VMA_SHARED) {
		*obj = v->pc;
		*off = (v->pgoff << PAGE_SHIFT) + (a - v->start);
		if (a - v->start >= vma_backed(v))
			v = NULL; // beyond the end of the file
	}
	if (v)
		r = 0;
	mutex_unlock(&mm->lock);
	return r;
}
