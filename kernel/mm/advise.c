// SPDX-License-Identifier: Apache-2.0
// Calls about memory that are seldom used: process_madvise, process_mrelease, protection keys, remap_file_pages.
// Locks: mm->lock to look at a mapping.
#include "kernel/include/alloc.h"
#include "kernel/include/remote.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/vma.h"
#include "kernel/task/internal.h"

long sys_madvise(u64 addr, u64 len, int advice);
struct proc *pidfd_proc(struct file *f);

// --- process_madvise: the target's own task gives the advice

struct advice {
	struct remote r;
	int advice;
	u32 n;
	struct iovec v[];
};

static long advise_fn(struct remote *r)
{
	struct advice *a = container_of(r, struct advice, r);
	long done = 0;

	for (u32 i = 0; i < a->n; i++) {
		long e = sys_madvise((u64)a->v[i].iov_base, a->v[i].iov_len, a->advice);
		if (e)
			return done ? done : e;
		done += (long)a->v[i].iov_len;
	}
	return done;
}

static struct task *leader_of(struct proc *p)
{
	struct task *t;

	mutex_lock(&tasklist);
	t = p->leader;
	if (t)
		ref_get(&t->ref);
	mutex_unlock(&tasklist);
	return t;
}

static long advise(struct proc *p, const void __user *uvec, u64 n, int advice)
{
	struct task *t;
	struct remote *r;
	struct advice *a;
	long done;

	if (!remote_allowed(p))
		return -EPERM;
	r = remote_new(sizeof(*a) + n * sizeof(struct iovec), advise_fn);
	if (!r)
		return -ENOMEM;
	a = container_of(r, struct advice, r);
	a->advice = advice;
	a->n = (u32)n;
	done = n && copy_from_user(a->v, uvec, n * sizeof(struct iovec)) ? -EFAULT : 0;
	t = done ? NULL : leader_of(p);
	if (t) {
		done = remote_run(t, r);
		task_put(t);
	} else if (!done) {
		done = -ESRCH;
	}
	remote_put(r);
	return done;
}

long sys_process_madvise(int fd, const void __user *uvec, u64 n, int advice, u32 flags)
{
	struct file *f;
	struct proc *p;
	long r;

	if (flags || n > UIO_MAXIOV)
		return -EINVAL;
	f = fd_get(fd);
	p = f ? pidfd_proc(f) : NULL;
	if (!p)
		r = -EBADF;
	else if (advice != MADV_COLD && advice != MADV_PAGEOUT && advice != MADV_WILLNEED && (p != curproc || advice == MADV_COLLAPSE))
		r = -EINVAL; // others' contents are not to be changed
	else
		r = advise(p, uvec, n, advice);
	if (f)
		file_put(f);
	return r;
}

// Memory of a process that dies is given back by the process as it goes: nothing is left to do but to say so.
long sys_process_mrelease(int fd, u32 flags)
{
	struct file *f;
	struct proc *p;
	long r = 0;

	if (flags)
		return -EINVAL;
	f = fd_get(fd);
	p = f ? pidfd_proc(f) : NULL;
	if (!p) {
		r = -EBADF;
	} else {
		mutex_lock(&tasklist);
		r = !p->mm || p->state >= PROC_ZOMBIE ? -ESRCH : p->group_exit ? 0 : -EINVAL;
		mutex_unlock(&tasklist);
	}
	if (f)
		file_put(f);
	return r;
}

// --- protection keys: Linux's answers on a processor without them, which is what programs are shown

long sys_pkey_alloc(u64 flags, u64 rights)
{
	if (flags || rights & ~3ul)
		return -EINVAL;
	return -ENOSPC;
}

long sys_pkey_free(int key)
{
	(void)key;
	return -EINVAL; // none was allocated
}

long sys_mprotect(u64 addr, u64 len, u64 prot);
long sys_pkey_mprotect(u64 addr, u64 len, u64 prot, int key)
{
	return key == -1 ? sys_mprotect(addr, len, prot) : -EINVAL;
}

// --- remap_file_pages: as Linux does it since 4.0, by mapping the other pages anew

long sys_remap_file_pages(uptr start, u64 size, u64 prot, u64 pgoff, u64 flags)
{
	struct mm *mm = curproc->mm;
	struct file *f = NULL;
	struct vma *v;
	int vprot = 0, how = MAP_SHARED | MAP_FIXED | MAP_POPULATE | (int)(flags & MAP_NONBLOCK);
	long r;

	start &= PAGE_MASK;
	size &= PAGE_MASK;
	if (prot || start + size <= start || pgoff + (size >> PAGE_SHIFT) < pgoff)
		return -EINVAL;
	mutex_lock(&mm->lock);
	v = mm_find(mm, start);
	if (v && v->flags & VMA_SHARED && v->file && start + size <= v->end) {
		f = v->file;
		file_get(f);
		vprot = (int)v->prot;
	}
	mutex_unlock(&mm->lock);
	if (!f)
		return -EINVAL;
	r = mm_map(mm, start, size, vprot, how, f, pgoff, 0);
	file_put(f);
	return r < 0 ? r : 0;
}
