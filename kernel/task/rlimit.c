// SPDX-License-Identifier: Apache-2.0
// Resource limits (man 2 getrlimit). The array is guarded by the process's sig_lock.
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include "kernel/task/load.h"
#include "kernel/time/clock.h"
#include "kernel/task/limit.h"
#include <linux/capability.h>

static int do_prlimit(struct proc *p, u32 res, const struct __kernel_rlimit *new, struct __kernel_rlimit *old)
{
	int r = 0;

	if (res >= RLIM_NLIMITS)
		return -EINVAL;
	if (new && (new->cur > new->max || (res == RLIMIT_NOFILE && new->max > limit_descriptors())))
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

// RLIMIT_CPU: SIGXCPU at the soft limit and every second after it, SIGKILL at the hard one. tasklist held.
static int check_cpu(struct proc *p, void *unused)
{
	u64 u, s, sec;

	(void)unused;
	if (p->state >= PROC_ZOMBIE || (p->rlim[RLIMIT_CPU].cur == RLIM64_INFINITY && p->rlim[RLIMIT_CPU].max == RLIM64_INFINITY))
		return 0;
	proc_cpu_ns_locked(p, &u, &s);
	sec = (u + s) / NSEC_PER_SEC;
	if (sec >= p->rlim[RLIMIT_CPU].max) {
		signal_send_proc(p, SIGKILL, NULL);
	} else if (sec >= p->rlim[RLIMIT_CPU].cur && sec >= p->xcpu_next) {
		p->xcpu_next = sec + 1;
		signal_send_proc(p, SIGXCPU, NULL);
	}
	return 0;
}

void rlimit_tick(void) { proc_for_each(check_cpu, NULL); }
