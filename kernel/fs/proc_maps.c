// SPDX-License-Identifier: Apache-2.0
// /proc/PID/maps, smaps, smaps_rollup: the mappings of a process.
// Which pages are there is asked of the host (proc_usage.c).
// Locks: tasklist (to get at the address space), then mm->lock, never together.
#include "kernel/fs/proc_usage.h"
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
	u64 rss, pss, anon, shared, priv, locked; // KiB
};

static void account(struct usage *u, const struct vma *v, const struct resident *res)
{
	u64 shared = res->shared * 4, anon = res->priv * 4;
	bool alone = v->pc && !(v->flags & VMA_VIEW) && v->pc->mapcount <= 1;

	u->rss += shared + anon;
	u->anon += anon;
	u->pss += anon + shared / max(v->pc ? v->pc->mapcount : 1u, 1u);
	u->priv += anon + (alone ? shared : 0);
	u->shared += alone ? 0 : shared;
	if (v->flags & VMA_LOCKED)
		u->locked += (v->end - v->start) >> 10;
}

static void usage_lines(struct pout *o, const struct usage *u)
{
	pout(o, "Rss:            %8lu kB\nPss:            %8lu kB\nPss_Dirty:      %8lu kB\n", u->rss, u->pss, u->anon);
	pout(o, "Shared_Clean:   %8lu kB\nShared_Dirty:   %8d kB\n", u->shared, 0);
	pout(o, "Private_Clean:  %8lu kB\nPrivate_Dirty:  %8lu kB\n", u->priv - u->anon, u->anon);
	pout(o, "Referenced:     %8lu kB\nAnonymous:      %8lu kB\nLazyFree:       %8d kB\nAnonHugePages:  %8d kB\n", u->rss, u->anon, 0, 0);
	pout(o, "ShmemPmdMapped: %8d kB\nFilePmdMapped:  %8d kB\nShared_Hugetlb: %8d kB\nPrivate_Hugetlb:%8d kB\n", 0, 0, 0, 0);
	pout(o, "Swap:           %8d kB\nSwapPss:        %8d kB\nLocked:         %8lu kB\n", 0, 0, u->locked);
}

enum { LINES = 1, DETAIL = 2, NUMA = 4, SUM = 8 };

// One mapping as /proc/PID/numa_maps shows it: there is one node.
static void numa_line(struct pout *o, struct vma *v, const struct resident *res, char *buf)
{
	const char *name = v->file ? proc_file_name(v->file, buf, PATH_MAX) : NULL;

	pout(o, "%08lx default", v->start);
	if (name && !IS_ERR(name))
		pout(o, " file=%s", name);
	else if (v->flags & (VMA_HEAP | VMA_STACK))
		pout(o, v->flags & VMA_HEAP ? " heap" : " stack");
	if (res->priv)
		pout(o, " anon=%lu dirty=%lu", res->priv, res->priv);
	if (res->shared)
		pout(o, " mapped=%lu", res->shared);
	if (res->priv + res->shared)
		pout(o, " N0=%lu kernelpagesize_kB=4", res->priv + res->shared);
	pout(o, "\n");
}

static int walk(struct pout *o, struct pnode *n, int what, struct usage *sum)
{
	struct residence res = {0};
	struct mm *mm;
	char *buf = kmalloc(PATH_MAX);
	int r = buf ? proc_mm_get(n->proc, &mm) : -ENOMEM;

	if (r) {
		kfree(buf);
		return r == -ESRCH ? 0 : r; // a zombie has no mappings
	}
	if (what & ~LINES && residence_take(&res, n->proc, mm, false))
		res.n = 0;
	mutex_lock(&mm->lock);
	for (u32 i = 0; i < mm->n; i++) {
		struct vma *v = &mm->vmas[i];
		const struct resident *rs = residence_of(&res, v);
		struct usage u = {0};

		if (v->flags & HIDDEN)
			continue;
		if (what & LINES)
			one_line(o, v, buf);
		if (what & NUMA)
			numa_line(o, v, rs, buf);
		account(sum, v, rs);
		if (what & DETAIL) {
			account(&u, v, rs);
			pout(o, "Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n",
			     (v->end - v->start) >> 10);
			usage_lines(o, &u);
			pout(o, "THPeligible:           %d\nVmFlags: %s%s%s%smr mw me %s%s%s%s%s%s%s\n", !v->pc, v->prot & PROT_READ ? "rd " : "",
			     v->prot & PROT_WRITE ? "wr " : "", v->prot & PROT_EXEC ? "ex " : "",
			     v->flags & VMA_SHARED ? "sh " : "", v->flags & VMA_GROWSDOWN ? "gd " : "",
			     v->flags & VMA_LOCKED ? "lo " : "", v->flags & VMA_DONTFORK ? "dc " : "", v->flags & VMA_NORESERVE ? "nr " : "",
			     v->flags & VMA_LOCKONFAULT ? "lf " : "", v->flags & VMA_WIPEONFORK ? "wf " : "",
			     v->flags & VMA_SEALED ? "sl " : "");
		}
	}
	mutex_unlock(&mm->lock);
	residence_drop(&res);
	mm_put(mm);
	kfree(buf);
	return 0;
}

int proc_maps(struct pout *o, struct pnode *n)
{
	struct usage sum = {0};

	return walk(o, n, LINES, &sum);
}

int proc_smaps(struct pout *o, struct pnode *n)
{
	struct usage sum = {0};

	return walk(o, n, LINES | DETAIL, &sum);
}

int proc_numa_maps(struct pout *o, struct pnode *n)
{
	struct usage sum = {0};

	return walk(o, n, NUMA, &sum);
}

int proc_smaps_rollup(struct pout *o, struct pnode *n)
{
	struct usage sum = {0};
	uptr first = 0, last = 0;
	struct mm *mm;
	int r;

	if (!proc_mm_get(n->proc, &mm)) {
		mutex_lock(&mm->lock);
		if (mm->n) {
			first = mm->vmas[0].start;
			last = mm->vmas[mm->n - 1].end;
		}
		mutex_unlock(&mm->lock);
		mm_put(mm);
	}
	r = walk(o, n, SUM, &sum);
	pout(o, "%08lx-%08lx ---p 00000000 00:00 0                          [rollup]\n", first, last);
	usage_lines(o, &sum);
	return r;
}
