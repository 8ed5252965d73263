// SPDX-License-Identifier: Apache-2.0
// Within mm/: the array of mappings. mm->lock is held for all of these; see vma.c.
#pragma once
#include "kernel/include/mm.h"

u32 vma_above(struct mm *mm, uptr addr);
void vma_get(struct vma *v);
void vma_put(struct vma *v);
void vma_merge(struct mm *mm, u32 i);
int vma_insert(struct mm *mm, const struct vma *v);
int vma_split(struct mm *mm, uptr addr);
int vma_remove(struct mm *mm, uptr start, uptr end);
// A mapping's pages join (1) or leave (-1) the sums in mm; around every change of its flags or protection, too.
void vma_account(struct mm *mm, const struct vma *v, int sign);
bool range_ok(uptr addr, size_t len);
bool vma_free(struct mm *mm, uptr addr, size_t len);
uptr vma_find_free(struct mm *mm, size_t len, size_t align);
int view_to_private(struct vma *v);	// a text view becomes a private copy of the file (mmap.c)
u64 mm_object_size(const struct pagecache *pc, const struct file *f);
