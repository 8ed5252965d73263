// SPDX-License-Identifier: Apache-2.0
// What a process uses, for stat, statm, status, smaps, pagemap: the host knows which pages are there, and is asked through the
// launcher. What it does not tell is 0. Locks: mm->lock while mappings are listed; never while the host is asked.
#include "kernel/fs/proc_usage.h"
#include "kernel/include/alloc.h"
#include "kernel/include/uapi.h"
#include <linux/mman.h>

#define HIDDEN (VMA_TRAMP | VMA_GUARD)
#define WALK_MOST (1ul << 18) // pages of files and shared memory that are looked at one by one: 1 GiB

int residence_take(struct residence *r, struct proc *p, struct mm *mm, bool only_shared)
{
	u64 (*range)[2], pages = 0;
	u32 cap, n = 0;

	r->n = 0;
	r->at = NULL;
	mutex_lock(&mm->lock);
	cap = mm->n;
	mutex_unlock(&mm->lock);
	range = kmalloc((cap + 1) * sizeof(*range));
	r->at = kmalloc((cap + 1) * sizeof(*r->at));
	if (!range || !r->at)
		goto out;
	mutex_lock(&mm->lock);
	for (u32 i = 0; i < mm->n && n < cap; i++) {
		struct vma *v = &mm->vmas[i];

		if (v->flags & HIDDEN || (only_shared && !v->pc) || !(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
			continue;
		pages += (v->end - v->start) >> PAGE_SHIFT;
		range[n][0] = r->at[n].start = v->start;
		range[n++][1] = v->end;
	}
	mutex_unlock(&mm->lock);
	if (only_shared && pages > WALK_MOST)
		goto out;
	if (pf_resident(p, range, n))
		goto out;
	for (u32 i = 0; i < n; i++) {
		r->at[i].priv = range[i][0];
		r->at[i].shared = range[i][1];
	}
	r->n = n;
	kfree(range);
	return 0;
out:
	kfree(range);
	kfree(r->at);
	r->at = NULL;
	return -ENODATA;
}

const struct resident *residence_of(const struct residence *r, const struct vma *v)
{
	static const struct resident none;
	u32 lo = 0, hi = r->n;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (r->at[mid].start < v->start)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->n && r->at[lo].start == v->start ? &r->at[lo] : &none;
}

void residence_drop(struct residence *r) { kfree(r->at); }

void proc_usage(struct proc *p, struct task *t, struct pf_usage *u)
{
	struct residence r;
	struct mm *mm;
	u64 mapped;

	if (pf_usage(p, t, u)) {
		memset(u, 0, sizeof(*u));
		return;
	}
	if (proc_mm_get(p, &mm)) {
		u->anon = u->shared = u->peak = 0;
		return;
	}
	mapped = mm->total_pages;
	if (!residence_take(&r, p, mm, true)) {
		u->shared = 0; // the host counted the kernel's pages, too
		for (u32 i = 0; i < r.n; i++)
			u->shared += r.at[i].shared;
		residence_drop(&r);
	}
	mm_put(mm);
	u->anon = min(u->anon, mapped);
	u->shared = min(u->shared, mapped - u->anon);
	u->peak = max(min(u->peak, mapped), u->anon + u->shared);
}

// --- pagemap: whether pages are there, and whose. Page frame numbers are hidden, as from everyone without CAP_SYS_ADMIN.

#define PM_PRESENT (1ul << 63)
#define PM_FILE (1ul << 61)
#define ENTRIES 512u

static ssize_t pagemap_read(struct file *f, struct iter *it, u64 *pos)
{
	struct proc *p = pnode_of(f->inode)->proc;
	u64 (*range)[2], *entry;
	ssize_t done = 0;
	struct mm *mm;
	int r = 0;

	if (*pos % 8 || it->left % 8)
		return -EINVAL;
	if (*pos / 8 >= pf_user_max >> PAGE_SHIFT || proc_mm_get(p, &mm))
		return 0;
	range = kmalloc(ENTRIES * sizeof(*range));
	entry = kmalloc(ENTRIES * sizeof(*entry));
	if (!range || !entry)
		r = -ENOMEM;
	while (!r && it->left) {
		u32 n = (u32)min(min((u64)it->left / 8, (u64)ENTRIES), (pf_user_max >> PAGE_SHIFT) - *pos / 8), k = 0;
		u64 addr = *pos / 8 << PAGE_SHIFT;

		if (!n)
			break;
		mutex_lock(&mm->lock);
		for (u32 i = 0; i < n; i++, addr += PAGE_SIZE) {
			struct vma *v = mm_find(mm, addr);

			entry[i] = v && !(v->flags & HIDDEN);
			if (entry[i]) {
				range[k][0] = addr;
				range[k++][1] = addr + PAGE_SIZE;
			}
		}
		mutex_unlock(&mm->lock);
		if (k && pf_resident(p, range, k))
			memset(range, 0, k * sizeof(*range));
		k = 0;
		for (u32 i = 0; i < n; i++)
			if (entry[i]) {
				entry[i] = range[k][0] ? PM_PRESENT : range[k][1] ? PM_PRESENT | PM_FILE : 0;
				k++;
			}
		size_t got = iter_put(it, entry, n * 8ul);
		*pos += got;
		done += (ssize_t)got;
		if (got < n * 8ul)
			r = iter_fault_in(it, true);
	}
	kfree(range);
	kfree(entry);
	mm_put(mm);
	return done ? done : r;
}

static int pagemap_open(struct inode *ino, struct file *f)
{
	(void)f;
	return proc_may_inspect(pnode_of(ino)->proc) ? 0 : -EACCES;
}

const struct file_ops proc_pagemap_fops = {.open = pagemap_open, .read = pagemap_read};
