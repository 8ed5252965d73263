// SPDX-License-Identifier: Apache-2.0
// /proc/PID/maps, smaps, smaps_rollup: the mappings of a process.
// The host resolves faults, so which pages are resident is not known here: Rss is the upper bound, all of a mapping.
// Locks: tasklist (to get at the address space), then mm->lock, never together.
#include "kernel/fs/procfs.h"
#include <linux/mman.h>

#define HIDDEN (VMA_TRAMP | VMA_GUARD)

int proc_mm_get(struct proc *p, struct mm **mm)
{
	mutex_lock(&tasklist);
	*mm = p->mm;
	if (*mm)
		ref_get(&(*mm)->ref);
	mutex_unlock(&tasklist);
	return *mm ? 0 : -ESRCH;
}

static const char *label(struct vma *v)
{
	return v->flags & VMA_HEAP    ? "[heap]"
	       : v->flags & VMA_STACK ? "[stack]"
	       : v->flags & VMA_VDSO  ? "[vdso]"
				      : NULL;
}

static void one_line(struct pout *o, struct vma *v, char *buf)
{
	struct inode *ino = v->file ? v->file->inode : NULL;
	bool shared = (v->flags & VMA_SHARED) && !(v->flags & VMA_VIEW);
	size_t before = o->len;
	const char *name;

	pout(o, "%08lx-%08lx %c%c%c%c %08lx %02lx:%02lx %lu ", v->start, v->end, v->prot & PROT_READ ? 'r' : '-',
	     v->prot & PROT_WRITE ? 'w' : '-', v->prot & PROT_EXEC ? 'x' : '-', shared ? 's' : 'p',
	     ino ? v->pgoff << PAGE_SHIFT : 0, ino ? ino->sb->dev >> 8 : 0, ino ? ino->sb->dev & 255 : 0,
	     ino ? ino->ino : 0);
	name = v->file ? proc_file_name(v->file, buf, PATH_MAX) : label(v);
	if (IS_ERR(name))
		name = NULL;
	// Names start at column 74, as programs expect.
	if (name && !o->failed) {
		while (o->len - before < 73)
			pout(o, " ");
		pout(o, "%s", name);
	}
	pout(o, "\n");
}

struct usage {
	u64 rss, anon, shared, priv; // KiB
};

static void account(struct usage *u, struct vma *v)
{
	u64 kb = (v->end - v->start) >> 10;

	if (!(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
		return;
	u->rss += kb;
	if (v->flags & VMA_SHARED)
		u->shared += kb;
	else
		u->priv += kb;
	if (!v->pc)
		u->anon += kb;
}

static void usage_lines(struct pout *o, const struct usage *u)
{
	pout(o, "Rss:            %8lu kB\nPss:            %8lu kB\nPss_Dirty:      %8lu kB\n", u->rss, u->rss, u->anon);
	pout(o, "Shared_Clean:   %8lu kB\nShared_Dirty:   %8d kB\n", u->shared, 0);
	pout(o, "Private_Clean:  %8lu kB\nPrivate_Dirty:  %8lu kB\n", u->priv - min(u->priv, u->anon), u->anon);
	pout(o, "Referenced:     %8lu kB\nAnonymous:      %8lu kB\nSwap:           %8d kB\nLocked:         %8d kB\n",
	     u->rss, u->anon, 0, 0);
}

static int walk(struct pout *o, struct pnode *n, bool lines, bool detail, struct usage *sum)
{
	struct mm *mm;
	char *buf = kmalloc(PATH_MAX);
	int r = buf ? proc_mm_get(n->proc, &mm) : -ENOMEM;

	if (r) {
		kfree(buf);
		return r == -ESRCH ? 0 : r; // a zombie has no mappings
	}
	mutex_lock(&mm->lock);
	for (u32 i = 0; i < mm->n; i++) {
		struct vma *v = &mm->vmas[i];
		struct usage u = {0};

		if (v->flags & HIDDEN)
			continue;
		if (lines)
			one_line(o, v, buf);
		account(sum, v);
		if (detail) {
			account(&u, v);
			pout(o, "Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n",
			     (v->end - v->start) >> 10);
			usage_lines(o, &u);
			pout(o, "VmFlags: %s%s%s%s\n", v->prot & PROT_READ ? "rd " : "",
			     v->prot & PROT_WRITE ? "wr " : "", v->prot & PROT_EXEC ? "ex " : "",
			     v->flags & VMA_SHARED ? "sh " : "");
		}
	}
	mutex_unlock(&mm->lock);
	mm_put(mm);
	kfree(buf);
	return 0;
}

int proc_maps(struct pout *o, struct pnode *n)
{
	struct usage sum = {0};

	return walk(o, n, true, false, &sum);
}

int proc_smaps(struct pout *o, struct pnode *n)
{
	struct usage sum = {0};

	return walk(o, n, true, true, &sum);
}

int proc_smaps_rollup(struct pout *o, struct pnode *n)
{
	struct usage sum = {0};
	int r = walk(o, n, false, false, &sum);

	usage_lines(o, &sum);
	return r;
}
