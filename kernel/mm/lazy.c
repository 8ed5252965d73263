// SPDX-License-Identifier: Apache-2.0
// Large mappings of files and of shared memory are mapped piece by piece, on first touch: a sparse file of a terabyte costs
// what is used of it. So is what lies behind the first segment when a whole program or library is mapped: its loader is about to map
// the other segments over it, and the text among them is never read through the page cache (text.c). A bitmap tells which pieces are mapped already, because a private piece must never be mapped twice: its changes
// would be lost. A large text view is mapped so, too, in small pieces: of a program of 40 MB only what runs is read. The halves of a split mapping share the bitmap, or each has its own where the split cuts a piece that is not mapped; a forked
// child gets a copy. mm->lock is held for all of these; the pages that storage must be read for are there already (mm_fault).
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"
#include "kernel/mm/vma.h"

#define PIECE (2ul << 20)

struct lazy {
	struct ref ref;
	uptr base;
	u64 piece;	// bytes
	u64 pieces;
	u64 mapped[]; // bitmap
};

static struct lazy *new_from(uptr base, uptr end, u64 piece)
{
	u64 n = DIV_ROUND_UP(end - base, piece);
	struct lazy *l = kzalloc(sizeof(*l) + DIV_ROUND_UP(n, 64ul) * 8);

	if (!l)
		return NULL;
	ref_init(&l->ref, 1);
	l->base = base;
	l->piece = piece;
	l->pieces = n;
	return l;
}

struct lazy *lazy_new(uptr start, uptr end) { return new_from(ALIGN_DOWN(start, PIECE), end, PIECE); }

struct lazy *lazy_new_image(uptr start, uptr end, u64 mapped)
{
	struct lazy *l = new_from(start, end, LAZY_IMAGE_PIECE);

	for (u64 i = 0; l && i < mapped / LAZY_IMAGE_PIECE; i++)
		l->mapped[i / 64] |= 1ul << (i % 64);
	return l;
}

int lazy_map_view(struct vma *v, struct textview *tv, u64 first, u64 end)
{
	u64 from = first * LAZY_IMAGE_PIECE, to = min(end * LAZY_IMAGE_PIECE, v->end - v->start);
	int r = pf_map_pages(v->start + from, tv->pfn + (u32)(from >> PAGE_SHIFT), (u32)((to - from) >> PAGE_SHIFT), (int)v->prot, true);

	for (u64 i = first; i < end && !r; i++)
		v->lazy->mapped[i / 64] |= 1ul << (i % 64);
	return r;
}

static u64 piece_of(const struct lazy *l, uptr addr) { return (addr - l->base) / l->piece; }
static uptr piece_start(const struct lazy *l, uptr addr) { return l->base + piece_of(l, addr) * l->piece; }

struct lazy *lazy_copy(const struct lazy *l)
{
	size_t size = sizeof(*l) + DIV_ROUND_UP(l->pieces, 64ul) * 8;
	struct lazy *n = kmalloc(size);

	if (!n)
		return NULL;
	memcpy(n, l, size);
	ref_init(&n->ref, 1);
	return n;
}

void lazy_get(struct lazy *l) { ref_get(&l->ref); }

void lazy_put(struct lazy *l)
{
	if (l && ref_put(&l->ref))
		kfree(l);
}

static bool is_mapped(const struct lazy *l, u64 piece) { return l->mapped[piece / 64] >> (piece % 64) & 1; }

bool lazy_absent(const struct vma *v, uptr addr)
{
	return v->lazy && addr - v->start < v->valid && !is_mapped(v->lazy, piece_of(v->lazy, addr));
}

void lazy_done(struct vma *v)
{
	struct lazy *l = v->lazy;

	for (u64 i = piece_of(l, v->start); i <= piece_of(l, v->end - 1); i++)
		if (!is_mapped(l, i))
			return;
	lazy_put(l);
	v->lazy = NULL;
}

void lazy_piece(const struct vma *v, uptr addr, u64 *from, u64 *to)
{
	uptr start = piece_start(v->lazy, addr);

	*from = max(start, v->start) - v->start;
	*to = min(start + v->lazy->piece, v->end) - v->start;
}

int lazy_touch(struct vma *v, uptr addr)
{
	struct lazy *l = v->lazy;
	u64 piece = piece_of(l, addr), from, to, now;
	int r;

	if (is_mapped(l, piece))
		return 0;
	lazy_piece(v, addr, &from, &to);
	now = vma_backed(v);
	if (addr - v->start >= now)
		return -ENXIO; // the file was cut short before anybody touched this
	if (to > now) {
		to = now;
		v->valid = now; // growth continues from here
	}
	r = vma_map_pages(v, from, to);
	if (!r)
		l->mapped[piece / 64] |= 1ul << (piece % 64);
	return r;
}

int lazy_fill(struct vma *v, uptr start, uptr end)
{
	int r = 0;

	for (uptr at = start; at < end && at - v->start < v->valid && !r; at = piece_start(v->lazy, at) + v->lazy->piece)
		r = lazy_touch(v, at);
	return r;
}

int lazy_fill_range(struct mm *mm, uptr start, uptr end)
{
	int r = 0;

	for (u32 i = vma_above(mm, start); i < mm->n && mm->vmas[i].start < end && !r; i++)
		if (mm->vmas[i].lazy)
			r = lazy_fill(&mm->vmas[i], max(start, mm->vmas[i].start), min(end, mm->vmas[i].end));
	return r;
}

int lazy_grow(struct vma *v, u64 now)
{
	u64 from = v->valid, to;
	int r = 0;

	// pieces that a neighbour has part of, or that the old end cut, are marked already: their rest is mapped now
	for (; from < now && !r; from = to) {
		lazy_piece(v, v->start + from, &(u64){0}, &to);
		to = min(to, now);
		if (is_mapped(v->lazy, piece_of(v->lazy, v->start + from)))
			r = vma_map_pages(v, from, to);
	}
	if (!r)
		v->valid = now;
	return r;
}

void lazy_cut(struct vma *v, u64 keep)
{
	struct lazy *l = v->lazy;

	for (uptr at = piece_start(l, v->start + keep + l->piece - 1); at + l->piece <= v->end; at += l->piece) {
		u64 piece = piece_of(l, at);

		l->mapped[piece / 64] &= ~(1ul << (piece % 64));
	}
}

int lazy_protect(struct vma *v, int prot)
{
	const struct lazy *l = v->lazy;
	int r = 0;

	for (uptr at = v->start; at < v->end && !r;) {
		uptr next = piece_start(l, at) + l->piece;

		if (is_mapped(l, piece_of(l, at))) {
			while (next < v->end && is_mapped(l, piece_of(l, next)))
				next += l->piece;
			r = pf_protect(at, min(next, v->end) - at, prot);
			if (r == -ENOMEM) // the last piece of a file is mapped in part
				r = 0;
		}
		at = next;
	}
	return r;
}
