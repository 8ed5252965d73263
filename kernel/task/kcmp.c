// SPDX-License-Identifier: Apache-2.0
// kcmp: do two tasks share a kernel object? And pidfd_getfd: a descriptor of another process. Locks: tasklist to get
// at another process's parts.
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/vfs.h"
#include "kernel/task/internal.h"
#include <linux/kcmp.h>

struct proc *pidfd_proc(struct file *f); // pidfd.c

// An open file of a task, with a reference; NULL: no such descriptor.
static struct file *file_in(struct task *task, u64 fd)
{
	struct fdtable *t = task_files(task);
	bool cloexec;
	struct file *f = t && fd <= U32_MAX ? fdtable_file(t, (u32)fd, &cloexec) : NULL;

	fdtable_put(t);
	return f;
}

// The order of two objects that tells nothing about where they lie: as Linux, by an obfuscated number.
static long order(const void *a, const void *b)
{
	static u64 secret;
	u64 none = 0, s = __atomic_load_n(&secret, __ATOMIC_RELAXED), x, y;

	if (!s) {
		pf_random(&s, sizeof(s));
		s |= 1;
		__atomic_compare_exchange_n(&secret, &none, s, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
		s = __atomic_load_n(&secret, __ATOMIC_RELAXED);
	}
	x = (u64)a * s;
	y = (u64)b * s;
	return x == y ? 0 : x < y ? 1 : 2;
}

static long compare_files(struct task *a, u64 fa, struct task *b, u64 fb)
{
	struct file *x = file_in(a, fa), *y = file_in(b, fb);
	long r = x && y ? order(x, y) : -EBADF;

	file_put(x);
	file_put(y);
	return r;
}

static const void *fs_of(const struct task *t) { return t->own_fs ? t->own_fs : t->proc->fs; }

static long compare_target(struct task *a, u64 fa, struct task *b, const struct kcmp_epoll_slot __user *at)
{
	struct kcmp_epoll_slot slot;
	const struct file *target = NULL;
	struct file *x, *epoll;
	long r = -EBADF;

	if (copy_from_user(&slot, at, sizeof(slot)))
		return -EFAULT;
	x = file_in(a, fa);
	epoll = file_in(b, slot.efd);
	if (x && epoll) {
		r = epoll_target(epoll, (int)slot.tfd, slot.toff, &target);
		if (!r)
			r = order(x, target);
	}
	file_put(x);
	file_put(epoll);
	return r;
}

static long compare(struct task *ta, struct task *tb, int type, u64 i1, u64 i2)
{
	struct proc *a = ta->proc, *b = tb->proc;

	switch (type) {
	case KCMP_FILE: return compare_files(ta, i1, tb, i2);
	case KCMP_VM: return order(a->mm, b->mm);
	case KCMP_FILES: return order(ta->files, tb->files);
	case KCMP_FS: return order(fs_of(ta), fs_of(tb));
	case KCMP_SIGHAND: return order(a->action, b->action);
	case KCMP_IO: return 0; // nobody has an I/O context
	case KCMP_SYSVSEM: return order(a->sem_undos, b->sem_undos);
	case KCMP_EPOLL_TFD: return compare_target(ta, i1, tb, (const void __user *)i2);
	default: return -EINVAL;
	}
}

long sys_kcmp(int pid1, int pid2, int type, u64 i1, u64 i2)
{
	struct task *a = task_find(pid1), *b = task_find(pid2);
	long r = -ESRCH;

	if (a && b)
		r = remote_allowed(a->proc) && remote_allowed(b->proc) ? compare(a, b, type, i1, i2) : -EPERM;
	if (a)
		task_put(a);
	if (b)
		task_put(b);
	return r;
}

long sys_pidfd_getfd(int pidfd, int target, u32 flags)
{
	struct file *pf, *f = NULL;
	struct task *t = NULL;
	struct proc *p;
	long r = -EINVAL;

	if (flags)
		return r;
	pf = fd_get(pidfd);
	p = pf ? pidfd_proc(pf) : NULL;
	if (!p)
		r = -EBADF;
	else if (*(const volatile enum proc_state *)&p->state >= PROC_ZOMBIE)
		r = -ESRCH;
	else if (!remote_allowed(p))
		r = -EPERM;
	else if (!(t = task_find(p->pid)))
		r = -ESRCH;
	else if (!(f = file_in(t, (u64)(u32)target)))
		r = -EBADF;
	else
		r = fd_alloc(f, 0, true);
	if (f && r < 0)
		file_put(f);
	if (t)
		task_put(t);
	if (pf)
		file_put(pf);
	return r;
}
