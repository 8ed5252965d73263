// SPDX-License-Identifier: Apache-2.0
// Life of an address space: new, copy for fork, clear for exec, gone. See vma.c for the array.
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/vma.h"

int randomize_va_space = 2;

u64 mm_random(u64 bits)
{
	u64 r;

	if (!__atomic_load_n(&randomize_va_space, __ATOMIC_RELAXED) || curproc->personality & PER_NO_RANDOMIZE)
		return 0;
	pf_random(&r, 8);
	return r & ((1ul << bits) - 1);
}

// Until exec has placed the stack (stack_reserve).
static void set_base(struct mm *mm) { mm->mmap_base = mm->hint = pf_user_max - (64ul << 20); }

u64 mm_program_new(void)
{
	static u64 last;

	return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

struct mm *mm_new(void)
{
	struct mm *mm = knew(struct mm);

	if (!mm)
		return NULL;
	COUNT(mms, 1);
	ref_init(&mm->ref, 1);
	mm->program = mm_program_new();
	list_init(&mm->remote);
	list_init(&mm->aio);
	list_init(&mm->rseq);
	set_base(mm);
	return mm;
}

// What is mapped in pieces differs from the parent from now on. On failure v is as it was.
static int own_lazy(struct vma *v)
{
	struct lazy *l = lazy_copy(v->lazy);

	if (!l)
		return -ENOMEM;
	lazy_put(v->lazy);
	v->lazy = l;
	return 0;
}

int mm_fork_begin(struct mm *from, struct mm **out)
{
	struct mm *mm = knew(struct mm);
	u32 n = 0;

	if (!mm)
		return -ENOMEM;
	mutex_lock(&from->lock);
	*mm = *from;
	ref_init(&mm->ref, 1);
	mm->program = mm_program_new();
	mutex_init(&mm->lock);
	mutex_init(&mm->remote_lock);
	list_init(&mm->remote);
	list_init(&mm->aio);
	list_init(&mm->rseq);
	mm_inherit_prctl(mm, from);
	mm->cap = from->n + 16;
	mm->vmas = kmalloc(mm->cap * sizeof(struct vma));
	if (!mm->vmas) {
		mutex_unlock(&from->lock);
		kfree(mm);
		return -ENOMEM;
	}
	COUNT(mms, 1);
	COUNT(vmas, mm->n);
	memcpy(mm->vmas, from->vmas, from->n * sizeof(struct vma));
	for (u32 i = 0; i < from->n; i++) {
		struct vma *v = &mm->vmas[n];

		if (unlikely(from->vmas[i].flags & VMA_DONTFORK)) {
			vma_account(mm, &from->vmas[i], -1);
			continue;
		}
		if (unlikely(n != i))
			*v = from->vmas[i];
		n++;
		vma_get(v);
		v->flags &= ~(VMA_LOCKED | VMA_LOCKONFAULT); // locks are not inherited
		if (v->lazy && own_lazy(v)) {
			COUNT(vmas, (s64)n - (s64)mm->n);
			mm->n = n;
			mutex_unlock(&from->lock);
			mm_put(mm);
			return -ENOMEM;
		}
	}
	COUNT(vmas, (s64)n - (s64)mm->n);
	mm->n = n;
	mm->locked_pages = 0;
	mm->lock_future = 0;
	mm->others = 0;
	*out = mm;
	return 0;
}

void mm_fork_end(struct mm *from) { mutex_unlock(&from->lock); }

static void drop_all(struct mm *mm)
{
	aio_drop(mm);
	for (u32 i = 0; i < mm->n; i++)
		vma_put(&mm->vmas[i]);
	COUNT(vmas, -(s64)mm->n);
	mm->n = 0;
	mm->total_pages = mm->data_pages = mm->locked_pages = mm->peak_pages = 0;
	mm->lock_future = 0;
}

void mm_put(struct mm *mm)
{
	if (!mm || !ref_put(&mm->ref))
		return;
	drop_all(mm);
	kfree(mm->vmas);
	COUNT(mms, -1);
	kfree(mm);
}

bool mm_leave(struct mm *mm)
{
	if (!mm->others)
		return true;
	mm->others--;
	return false;
}

void mm_clear(struct mm *mm)
{
	mutex_lock(&mm->lock);
	pf_reset_address_space();
	drop_all(mm);
	mm->brk_start = mm->brk = 0;
	mm_inherit_prctl(mm, mm);
	set_base(mm);
	mutex_unlock(&mm->lock);
}
