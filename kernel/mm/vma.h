// SPDX-License-Identifier: Apache-2.0
// Within mm/: the array of mappings. mm->lock is held for all of these; see vma.c.
#pragma once
#include "kernel/include/mm.h"

u32 vma_above(struct mm *mm, uptr addr);
void vma_get(struct vma *v);
void vma_put(struct vma *v);
void vma_merge(struct mm *mm, u32 i);
void vma_merge_range(struct mm *mm, uptr start, uptr end);	// all that meet in or at the borders of it
int vma_reserve(struct mm *mm, u32 more);	// so many can be inserted then
int vma_insert(struct mm *mm, const struct vma *v);
int vma_split(struct mm *mm, uptr addr);
int vma_remove(struct mm *mm, uptr start, uptr end);
int vma_unmap(struct mm *mm, uptr start, uptr end);
struct taken { // mappings that something else is about to replace
	struct vma one, *v;
	u32 n;
};
int vma_take(struct mm *mm, uptr start, uptr end, struct taken *t); // then one of the next two
void vma_drop_taken(struct taken *t);
void vma_give_back(struct mm *mm, struct taken *t);
// A mapping's pages join (1) or leave (-1) the sums in mm; around every change of its flags or protection, too.
void vma_account(struct mm *mm, const struct vma *v, int sign);
bool range_ok(uptr addr, size_t len);
bool vma_free(struct mm *mm, uptr addr, size_t len);
bool vma_sealed(struct mm *mm, uptr start, uptr end);	// whether any of it is (seal.c)
#define STACK_GAP (1ul << 20)	// kept free below what grows down; also between it and what it would grow into
bool vma_room(struct mm *mm, uptr addr, size_t len);	// vma_free, and no stack that would lose its gap
uptr vma_find_free(struct mm *mm, size_t len, size_t align);
int view_to_private(struct vma *v);	// a text view becomes a private copy of the file (mmap.c)
u64 vma_backed(const struct vma *v);	// bytes of v that its file or memory can back now (mmap.c)
int vma_map_pages(struct vma *v, u64 from, u64 to);	// maps the cache's pages from byte offset to byte offset
int vma_grow(struct vma *v, u64 now);	// its file backs `now` bytes: maps those that were not there (mmap.c)
int vma_tell_host(const struct vma *v, uptr at, uptr end);	// what a child inherits of memory just mapped (madvise.c)

// lazy.c
#define LAZY_MIN (8ul << 20)		// mappings from this size on
struct lazy *lazy_new(uptr start, uptr end), *lazy_copy(const struct lazy *l);	// NULL: no memory
#define LAZY_MIN_IMAGE (4ul << 20)	// of the verified image
#define LAZY_IMAGE_PIECE (64ul << 10)
struct lazy *lazy_new_image(uptr start, uptr end, u64 mapped); // pieces of this size; the first `mapped` bytes of it are mapped
int lazy_map_view(struct vma *v, struct textview *tv, u64 first, u64 end); // pieces of a new mapping of tv, which are there
void lazy_done(struct vma *v);				// everything is mapped? Then it is a mapping like others
void lazy_get(struct lazy *l), lazy_put(struct lazy *l);
bool lazy_absent(const struct vma *v, uptr addr);	// addr may be mapped and is not yet
void lazy_piece(const struct vma *v, uptr addr, u64 *from, u64 *to);	// byte offsets of its piece
int lazy_touch(struct vma *v, uptr addr);		// maps its piece; -ENXIO: beyond the end of the file
int lazy_fill(struct vma *v, uptr start, uptr end);
int lazy_fill_range(struct mm *mm, uptr start, uptr end);	// of all mappings in it
int lazy_grow(struct vma *v, u64 now);			// the file has grown: `valid` becomes now
void lazy_cut(struct vma *v, u64 keep);			// nothing behind its first `keep` bytes is mapped any more
int lazy_protect(struct vma *v, int prot);
// usercopy.c: whether the program could read or write at `at` now; changes nothing, may be called under mm->lock
bool user_reachable(uptr at, bool write);
u64 mm_object_size(const struct pagecache *pc, const struct file *f);
