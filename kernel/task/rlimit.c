// SPDX-License-Identifier: Apache-2.0
// Resource limits (man 2 getrlimit). The array is guarded by the process's sig_lock.
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <linux/capability.h>

static int do_prlimit(struct proc *p, u32 res, const struct __kernel_rlimit *new, struct __kernel_rlimit *old)
{
	int r = 0;

	if (res >= RLIM_NLIMITS)
		return -EINVAL;
	if (new && (new->cur > new->max || (res == RLIMIT_NOFILE && new->max > 1048576)))
		return new->cur > new->max ? -EINVAL : -EPERM;
	mutex_lock(&p->sig_lock);
	if (old)
		*old = p->rlim[res];
	if (new) {
		if (new->max > p->rlim[res].max && !capable(CAP_SYS_RESOURCE))
			r = -EPERM;
		else
			p->rlim[res] = *new;
	}
	mutex_unlock(&p->sig_lock);
	return r;
}

long sys_prlimit64(int pid, u32 res, const void __user *unew, void __user *uold)
{
	struct __kernel_rlimit new, old;
	struct proc *p = curproc;
	int r;

	if (unew && copy_from_user(&new, unew, sizeof(new)))
		return -EFAULT;
	if (pid) {
		p = proc_find(pid);
		if (!p)
			return -ESRCH;
		struct cred *c = cred();
		if (p != curproc && !capable(CAP_SYS_RESOURCE) &&
		    (c->uid != p->cred.euid || c->uid != p->cred.uid || c->uid != p->cred.suid)) {
			proc_put(p);
			return -EPERM;
		}
	}
	r = do_prlimit(p, res, unew ? &new : NULL, &old);
	if (pid)
		proc_put(p);
	if (!r && uold && copy_to_user(uold, &old, sizeof(old)))
		return -EFAULT;
	return r;
}

long sys_getrlimit(u32 res, void __user *u) { return sys_prlimit64(0, res, NULL, u); }
long sys_setrlimit(u32 res, const void __user *u) { return u ? sys_prlimit64(0, res, u, NULL) : -EFAULT; }
