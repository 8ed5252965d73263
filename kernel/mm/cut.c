// SPDX-License-Identifier: Apache-2.0
// A file that is cut short while it is mapped: what lies beyond its new end leaves every mapping of every process, so that an access
// there is a SIGBUS, and private copies go as well. The own address space first; only when the page cache knows of mappings elsewhere are
// the other processes looked at, and those that have such pages are asked to let go of them (include/remote.h). When all mappings
// have been seen, and none came meanwhile, nobody can reach the pages any more, and they are freed.
// Locks: none held by the caller, who may sleep. tasklist, then mm->lock, never together.
#include "kernel/include/alloc.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/task.h"
#include "kernel/mm/vma.h"

#define PASSES 3 // a mapping that came while we looked is found by the next; pages that are still not free wait for its end

struct cut {
	struct remote r;
	struct pagecache *pc; // the caller's reference
	u64 size;
};

// Bytes of v that the first `size` bytes of its file back.
static u64 kept(const struct vma *v, u64 size)
{
	u64 off = v->pgoff << PAGE_SHIFT;

	return size <= off ? 0 : min(v->end - v->start, PAGE_ALIGN(size) - off);
}

// False: the host does not let go of them (it has no room for one mapping more in the middle of another).
static bool cut_vma(struct vma *v, u64 keep)
{
	u64 len = v->end - v->start, was = v->valid;

	v->valid = keep;
	if (v->view)
		view_to_private(v); // a view has other pages; without memory its beginning stays a view
	if (pf_unmap(v->start + keep, len - keep)) {
		v->valid = was;
		return false;
	}
	if (v->lazy)
		lazy_cut(v, keep);
	return true;
}

// The current address space. Returns how many mappings of pc it has.
static u64 cut_here(struct mm *mm, struct pagecache *pc, u64 size)
{
	u64 n = 0;

	mutex_lock(&mm->lock);
	for (u32 i = 0; i < mm->n; i++) {
		struct vma *v = &mm->vmas[i];

		if (v->pc != pc)
			continue;
		n += kept(v, size) >= v->valid || cut_vma(v, kept(v, size)); // else the pages wait until it is gone
	}
	mutex_unlock(&mm->lock);
	return n;
}

// Another one: the same number; *any: it has pages to let go of.
static u64 count_there(struct mm *mm, struct pagecache *pc, u64 size, bool *any)
{
	u64 n = 0;

	mutex_lock(&mm->lock);
	for (u32 i = 0; i < mm->n; i++)
		if (mm->vmas[i].pc == pc) {
			n++;
			*any |= kept(&mm->vmas[i], size) < mm->vmas[i].valid;
		}
	mutex_unlock(&mm->lock);
	return n;
}

static long cut_fn(struct remote *r)
{
	struct cut *c = container_of(r, struct cut, r);

	return (long)cut_here(curproc->mm, c->pc, c->size);
}

static u64 cut_there(struct task *t, struct pagecache *pc, u64 size)
{
	struct remote *r = remote_new(sizeof(struct cut), cut_fn);
	struct cut *c = container_of(r, struct cut, r);
	long n;

	if (!r)
		return 0;
	c->pc = pc;
	c->size = size;
	n = remote_run(t, r);
	remote_put(r);
	return n > 0 ? (u64)n : 0;
}

// --- the other address spaces, each once a pass

struct next {
	u64 pass;
	int after;
	struct mm *mm;		// references
	struct task *task;
};

static int next_mm(struct proc *p, void *arg)
{
	struct next *n = arg;

	if (p->pid <= n->after || p->state >= PROC_ZOMBIE || !p->mm || !p->leader || p->mm == curproc->mm || p->mm->cut_pass == n->pass)
		return 0;
	n->after = p->pid;
	n->mm = p->mm;
	n->task = p->leader;
	n->mm->cut_pass = n->pass;
	ref_get(&n->mm->ref);
	ref_get(&n->task->ref);
	return 1;
}

static u64 cut_others(struct pagecache *pc, u64 size)
{
	static u64 passes;
	struct next n = { .pass = __atomic_add_fetch(&passes, 1, __ATOMIC_RELAXED) };
	u64 seen = 0;

	while (proc_for_each(next_mm, &n)) {
		bool any = false;
		u64 k = count_there(n.mm, pc, size, &any);

		seen += any ? cut_there(n.task, pc, size) : k;
		task_put(n.task);
		mm_put(n.mm);
	}
	return seen;
}

void mm_cut(struct pagecache *pc, u64 size)
{
	struct pc_cut c;

	for (u32 i = 0; i < PASSES && pc_cut_begin(pc, size, &c); i++) {
		u64 seen = cut_here(curproc->mm, pc, size);

		if (seen != c.mappings)
			seen += cut_others(pc, size);
		if (pc_cut_end(pc, &c, seen))
			return;
	}
}
