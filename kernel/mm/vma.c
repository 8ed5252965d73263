// SPDX-License-Identifier: Apache-2.0
// The sorted array of mappings: find, split, merge, remove, free places. mm->lock is held throughout; only memory of the
// kernel is touched here, the program's mappings are changed by mmap.c.
#include "kernel/mm/vma.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/vfs.h"

#define MAX_MAPS 65530u // /proc/sys/vm/max_map_count

void vma_account(struct mm *mm, const struct vma *v, int sign)
{
	u64 pages = (v->end - v->start) >> PAGE_SHIFT;

	if (v->flags & (VMA_TRAMP | VMA_GUARD))
		return;
	if (sign < 0)
		pages = -pages;
	mm->total_pages += pages;
	if (mm->total_pages > mm->peak_pages)
		mm->peak_pages = mm->total_pages;
	if (!(v->flags & (VMA_SHARED | VMA_STACK | VMA_GROWSDOWN)) && v->prot & PROT_WRITE)
		mm->data_pages += pages;
	if (v->flags & VMA_LOCKED)
		mm->locked_pages += pages;
}

// Index of the first mapping that ends above addr.
u32 vma_above(struct mm *mm, uptr addr)
{
	u32 lo = 0, hi = mm->n;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;
		if (mm->vmas[mid].end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct vma *mm_find(struct mm *mm, uptr addr)
{
	u32 i = vma_above(mm, addr);

	return i < mm->n && mm->vmas[i].start <= addr ? &mm->vmas[i] : NULL;
}

static bool shared_writable(const struct vma *v) { return (v->flags & VMA_SHARED) && (v->prot & PROT_WRITE); }

void vma_get(struct vma *v)
{
	if (v->file)
		file_get(v->file);
	if (v->pc) {
		pc_get(v->pc);
		pc_mapped(v->pc, 1, shared_writable(v));
	}
	if (v->view)
		text_get(v->view);
	if (v->lazy)
		lazy_get(v->lazy);
}

// Drops what a mapping holds. File references are collected, because the last one may call into a file system.
void vma_put(struct vma *v)
{
	if (v->pc) {
		pc_mapped(v->pc, -1, shared_writable(v));
		pc_put(v->pc);
	}
	if (v->view)
		text_put(v->view);
	if (v->file)
		file_put(v->file);
	v->file = NULL;
	v->pc = NULL;
	lazy_put(v->lazy);
	v->view = NULL;
	v->lazy = NULL;
}

int vma_reserve(struct mm *mm, u32 more)
{
	if (mm->n + more > MAX_MAPS)
		return -ENOMEM;
	if (mm->n + more > mm->cap) {
		u32 cap = max(mm->cap * 2, mm->n + more + 32);
		struct vma *v = krealloc(mm->vmas, cap * sizeof(*v));
		if (!v)
			return -ENOMEM;
		mm->vmas = v;
		mm->cap = cap;
	}
	return 0;
}

static bool mergeable(const struct vma *a, const struct vma *b)
{
	if (a->end != b->start || a->prot != b->prot || a->flags != b->flags || a->pc != b->pc || a->file != b->file || a->view != b->view)
		return false;
	if (!a->pc)
		return !a->file && !a->view && !(a->flags & (VMA_VDSO | VMA_TRAMP | VMA_GUARD));
	u64 len = a->end - a->start;
	return !a->view && !a->lazy && !b->lazy && a->valid == len && a->pgoff + (len >> PAGE_SHIFT) == b->pgoff;
}

static void remove_at(struct mm *mm, u32 i, u32 n)
{
	memmove(&mm->vmas[i], &mm->vmas[i + n], (mm->n - i - n) * sizeof(struct vma));
	mm->n -= n;
	COUNT(vmas, -(s64)n);
}

// Merges the mapping at index i with its neighbours where they are one.
void vma_merge(struct mm *mm, u32 i)
{
	for (int side = 0; side < 2; side++) {
		u32 a = side ? i : i - 1;
		if ((!side && i == 0) || a + 1 >= mm->n)
			continue;
		struct vma *x = &mm->vmas[a], *y = &mm->vmas[a + 1];
		if (!mergeable(x, y))
			continue;
		x->valid += y->valid;
		x->end = y->end;
		vma_put(y);
		remove_at(mm, a + 1, 1);
		if (!side)
			i--;
	}
}

void vma_merge_range(struct mm *mm, uptr start, uptr end)
{
	for (u32 i = vma_above(mm, start ? start - 1 : 0); i < mm->n && mm->vmas[i].start <= end;) {
		u32 n = mm->n;

		vma_merge(mm, i);
		if (mm->n == n)
			i++;
	}
}

// Inserts v (whose references pass to the array); the range must be free. Index or -ENOMEM.
int vma_insert(struct mm *mm, const struct vma *v)
{
	u32 i = vma_above(mm, v->start);

	if (vma_reserve(mm, 1))
		return -ENOMEM;
	memmove(&mm->vmas[i + 1], &mm->vmas[i], (mm->n - i) * sizeof(struct vma));
	mm->vmas[i] = *v;
	mm->n++;
	COUNT(vmas, 1);
	vma_account(mm, v, 1);
	return (int)i;
}

// Splits the mapping that contains addr so that one starts there.
int vma_split(struct mm *mm, uptr addr)
{
	u32 i = vma_above(mm, addr);
	struct lazy *own = NULL;
	struct vma *a, *b;

	if (i >= mm->n || mm->vmas[i].start >= addr)
		return 0;
	if (vma_reserve(mm, 1))
		return -ENOMEM;
	a = &mm->vmas[i];
	if (lazy_absent(a, addr) && !(own = lazy_copy(a->lazy)))
		return -ENOMEM;
	memmove(&mm->vmas[i + 1], &mm->vmas[i], (mm->n - i) * sizeof(struct vma));
	mm->n++;
	COUNT(vmas, 1);
	b = &mm->vmas[i + 1];
	a->end = b->start = addr;
	u64 len = a->end - a->start;
	b->valid = a->valid > len ? a->valid - len : 0;
	a->valid = min(a->valid, len);
	b->pgoff += len >> PAGE_SHIFT;
	vma_get(b);
	if (own) {
		lazy_put(b->lazy);
		b->lazy = own;
	}
	if (a->lazy)
		lazy_done(a);
	if (b->lazy)
		lazy_done(b);
	return 0;
}

static int cut_out(struct mm *mm, uptr start, uptr end)
{
	int r = rseq_memory_goes(mm, start, end);

	if (!r)
		r = vma_split(mm, start);
	if (!r)
		r = vma_split(mm, end);
	return r;
}

static void forget(struct mm *mm, uptr start, uptr end)
{
	u32 i = vma_above(mm, start), k;

	for (k = i; k < mm->n && mm->vmas[k].start < end; k++) {
		vma_account(mm, &mm->vmas[k], -1);
		vma_put(&mm->vmas[k]);
	}
	if (k > i) {
		remove_at(mm, i, k - i);
		if (mm->hint < end)
			mm->hint = min(end, mm->mmap_base);
	}
}

// Takes all mappings within [start, end) out, with what they hold, until the host has replaced them: no pages of theirs belong to others before that.
int vma_take(struct mm *mm, uptr start, uptr end, struct taken *t)
{
	int r = cut_out(mm, start, end);
	u32 i = vma_above(mm, start);

	*t = (struct taken){ .v = &t->one };
	if (r)
		return r;
	while (i + t->n < mm->n && mm->vmas[i + t->n].start < end)
		t->n++;
	if (t->n > 1 && !(t->v = kmalloc(t->n * sizeof(*t->v)))) {
		t->n = 0;
		return -ENOMEM;
	}
	if (!t->n)
		return 0;
	memcpy(t->v, &mm->vmas[i], t->n * sizeof(*t->v));
	for (u32 k = 0; k < t->n; k++)
		vma_account(mm, &t->v[k], -1);
	remove_at(mm, i, t->n);
	if (mm->hint < end)
		mm->hint = min(end, mm->mmap_base);
	return 0;
}

void vma_drop_taken(struct taken *t)
{
	for (u32 k = 0; k < t->n; k++)
		vma_put(&t->v[k]);
	if (t->n > 1)
		kfree(t->v);
	t->n = 0;
}

// They are there as before: the host could neither replace them nor let go of them.
void vma_give_back(struct mm *mm, struct taken *t)
{
	for (u32 k = 0; k < t->n; k++) // there is room: it was theirs, and nobody had mm->lock since
		vma_insert(mm, &t->v[k]);
	if (t->n)
		vma_merge_range(mm, t->v[0].start, t->v[t->n - 1].end);
	if (t->n > 1)
		kfree(t->v);
	t->n = 0;
}

// Forgets all mappings within [start, end) that hold no pages of the cache. The caller maps something else there.
int vma_remove(struct mm *mm, uptr start, uptr end)
{
	int r = cut_out(mm, start, end);

	if (!r)
		forget(mm, start, end);
	return r;
}

// Forgets them when the host has let go of them: pages that nobody else holds belong to others at once.
int vma_unmap(struct mm *mm, uptr start, uptr end)
{
	int r = cut_out(mm, start, end);

	if (!r)
		r = pf_unmap(start, end - start);
	if (!r)
		forget(mm, start, end);
	return r;
}

bool range_ok(uptr addr, size_t len)
{
	uptr end = addr + len;

	return end > addr && addr >= pf_user_min && end <= pf_user_max && (end <= pf_kernel_start || addr >= pf_kernel_end);
}

bool vma_free(struct mm *mm, uptr addr, size_t len)
{
	u32 i = vma_above(mm, addr);

	return range_ok(addr, len) && (i >= mm->n || mm->vmas[i].start >= addr + len);
}

static uptr gap_start(const struct vma *v) { return v->flags & VMA_GROWSDOWN ? v->start - min(v->start, STACK_GAP) : v->start; }

bool vma_room(struct mm *mm, uptr addr, size_t len)
{
	u32 i = vma_above(mm, addr);

	return range_ok(addr, len) && (i >= mm->n || (mm->vmas[i].start > addr && gap_start(&mm->vmas[i]) >= addr + len));
}

static uptr find_below(struct mm *mm, uptr bottom, uptr top, size_t len, size_t align)
{
	u32 i;

	if (top <= bottom)
		return 0;
	i = vma_above(mm, top - 1);
	for (;;) {
		// the gap between the mapping before i and i itself (or top)
		uptr high = i < mm->n ? min(gap_start(&mm->vmas[i]), top) : top;
		uptr low = i && mm->vmas[i - 1].end > bottom ? mm->vmas[i - 1].end : bottom;

		if (high > low && high - low >= len) {
			uptr at = ALIGN_DOWN(high - len, align);
			if (at >= low)
				return at;
		}
		if (!i || mm->vmas[i - 1].end <= bottom)
			return 0;
		i--;
	}
}

// A free place of len bytes, top down from mmap_base, then below the kernel; 0 if there is none. `align` a power of two.
uptr vma_find_free(struct mm *mm, size_t len, size_t align)
{
	uptr at = find_below(mm, pf_kernel_end, mm->hint, len, align);

	if (!at && mm->hint < mm->mmap_base)
		at = find_below(mm, pf_kernel_end, mm->mmap_base, len, align);
	if (!at)
		at = find_below(mm, pf_user_min, pf_kernel_start, len, align);
	if (at > pf_kernel_end)
		mm->hint = at;
	return at;
}
