// SPDX-License-Identifier: Apache-2.0
// Resource limits (man 2 getrlimit). Those that bite: AS, DATA, STACK, NOFILE, FSIZE, SIGPENDING, CPU by the host. sig_lock guards a pair.
#include "kernel/include/log.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <linux/capability.h>

static long change(struct proc *p, u32 res, const struct rlimit64 *new, struct rlimit64 *old)
{
	long r = 0;

	if (new && new->rlim_cur > new->rlim_max)
		return -EINVAL;
	if (new && res == RLIMIT_NOFILE && new->rlim_max > 1048576)
		return -EPERM;
	mutex_lock(&p->sig_lock);
	old->rlim_cur = p->rlim[res].cur;
	old->rlim_max = p->rlim[res].max;
	if (new && new->rlim_max > p->rlim[res].max && !capable(CAP_SYS_RESOURCE)) {
		r = -EPERM;
	} else if (new) {
		p->rlim[res].cur = new->rlim_cur;
		p->rlim[res].max = new->rlim_max;
	}
	mutex_unlock(&p->sig_lock);
	return r;
}

long sys_prlimit64(int pid, u32 res, const void __user *unew, void __user *uold)
{
	struct rlimit64 new, old;
	struct proc *p;
	long r;

	if (res >= RLIM_NLIMITS)
		return -EINVAL;
	if (unew && copy_from_user(&new, unew, sizeof(new)))
		return -EFAULT;
	p = proc_find(pid ? pid : curproc->pid);
	if (!p)
		return -ESRCH;
	r = change(p, res, unew ? &new : NULL, &old);
	proc_put(p);
	if (!r && uold && copy_to_user(uold, &old, sizeof(old)))
		r = -EFAULT;
	return r;
}

long sys_getrlimit(u32 res, void __user *u) { return sys_prlimit64(0, res, NULL, u); }
long sys_setrlimit(u32 res, const void __user *u) { return u ? sys_prlimit64(0, res, u, NULL) : -EFAULT; }
