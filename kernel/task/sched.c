// SPDX-License-Identifier: Apache-2.0
// Scheduling calls. The host schedules: affinities are passed on to it, policies and priorities are
// remembered and reported, as they are hints to most programs; real-time policies are refused. No locks.
#include "kernel/include/cgroup.h"
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <linux/capability.h>
#include <linux/sched/types.h>

#define CPUS_SHOWN 64u

void pf_yield(void);

long sys_sched_yield(void)
{
	pf_yield();
	return 0;
}

static u64 all_cpus(void)
{
	u32 n = min(pf_ncpus(), CPUS_SHOWN);

	return n == 64 ? U64_MAX : (1ul << n) - 1;
}

// The task that a pid argument names, with a reference; NULL: -ESRCH.
static struct task *task_arg(int pid)
{
	if (pid)
		return pid > 0 ? task_find(pid) : NULL;
	ref_get(&current->ref);
	return current;
}

long sys_sched_getaffinity(int pid, u32 len, void __user *umask)
{
	struct task *t;
	u64 mask;

	if (len < sizeof(mask) || len % sizeof(mask))
		return -EINVAL;
	t = task_arg(pid);
	if (!t)
		return -ESRCH;
	mask = t->cpu_mask & all_cpus();
	task_put(t);
	return copy_to_user(umask, &mask, sizeof(mask)) ? -EFAULT : (long)sizeof(mask);
}

// May the caller change how t is scheduled?
static bool owns(const struct task *t)
{
	u32 me = cred()->euid;

	return me == t->proc->cred.euid || me == t->proc->cred.uid || capable(CAP_SYS_NICE);
}

long sys_sched_setaffinity(int pid, u32 len, const void __user *umask)
{
	struct task *t;
	u64 mask = 0;
	long r = 0;

	if (copy_from_user(&mask, umask, min((size_t)len, sizeof(mask))))
		return -EFAULT;
	t = task_arg(pid);
	if (!t)
		return -ESRCH;
	mask &= all_cpus();
	if (!owns(t)) {
		r = -EPERM;
	} else if (!mask) {
		r = -EINVAL;
	} else {
		mutex_lock(&tasklist);
		if (cgroup_cpus(cgroup_of(t->proc)) & mask) {
			t->cpu_wish = mask == all_cpus() ? U64_MAX : mask;
			t->cpu_mask = cgroup_wish(cgroup_of(t->proc), t->cpu_wish);
		} else {
			r = -EINVAL;
		}
		mutex_unlock(&tasklist);
		pf_set_cpus(t);
	}
	task_put(t);
	return r;
}

static bool normal(int policy)
{
	policy &= ~SCHED_RESET_ON_FORK;
	return policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

static bool known(int policy)
{
	policy &= ~SCHED_RESET_ON_FORK;
	return normal(policy) || policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_DEADLINE;
}

static long set_policy(int pid, int policy, int priority)
{
	struct task *t;

	if (pid < 0 || !known(policy))
		return -EINVAL;
	if (!normal(policy))
		return priority < 1 || priority > 99 ? -EINVAL : -EPERM; // no real time on an untrusted scheduler
	if (priority)
		return -EINVAL;
	t = task_arg(pid);
	if (!t)
		return -ESRCH;
	t->policy = policy;
	task_put(t);
	return 0;
}

long sys_sched_setscheduler(int pid, int policy, const void __user *uparam)
{
	int prio;

	return get_user(prio, (const int __user *)uparam) ? -EFAULT : set_policy(pid, policy, prio);
}

long sys_sched_getscheduler(int pid)
{
	struct task *t = task_arg(pid);
	int policy;

	if (!t)
		return pid < 0 ? -EINVAL : -ESRCH;
	policy = t->policy;
	task_put(t);
	return policy;
}

long sys_sched_setparam(int pid, const void __user *uparam)
{
	struct task *t;
	int prio;

	if (get_user(prio, (const int __user *)uparam))
		return -EFAULT;
	t = task_arg(pid);
	if (!t)
		return pid < 0 ? -EINVAL : -ESRCH;
	task_put(t);
	return prio ? -EINVAL : 0;
}

long sys_sched_getparam(int pid, void __user *uparam)
{
	struct task *t = task_arg(pid);

	if (!t)
		return pid < 0 ? -EINVAL : -ESRCH;
	task_put(t);
	return put_user(0, (int __user *)uparam);
}

long sys_sched_getattr(int pid, void __user *uattr, u32 size, u32 flags)
{
	struct sched_attr a;
	struct task *t;

	if (flags || size < SCHED_ATTR_SIZE_VER0 || size > PAGE_SIZE)
		return -EINVAL;
	t = task_arg(pid);
	if (!t)
		return -ESRCH;
	memset(&a, 0, sizeof(a));
	a.size = (u32)min((size_t)size, sizeof(a));
	a.sched_policy = (u32)(t->policy & ~SCHED_RESET_ON_FORK);
	a.sched_nice = (int)t->proc->nice;
	task_put(t);
	return copy_to_user(uattr, &a, a.size);
}

long sys_sched_setattr(int pid, const void __user *uattr, u32 flags)
{
	struct sched_attr a;

	if (flags)
		return -EINVAL;
	memset(&a, 0, sizeof(a));
	if (copy_from_user(&a, uattr, SCHED_ATTR_SIZE_VER0))
		return -EFAULT;
	return set_policy(pid, (int)a.sched_policy, (int)a.sched_priority);
}

long sys_sched_get_priority_max(int policy)
{
	return !known(policy) ? -EINVAL : policy == SCHED_FIFO || policy == SCHED_RR ? 99 : 0;
}
long sys_sched_get_priority_min(int policy)
{
	return !known(policy) ? -EINVAL : policy == SCHED_FIFO || policy == SCHED_RR ? 1 : 0;
}

long sys_sched_rr_get_interval(int pid, void __user *uts)
{
	struct task *t = task_arg(pid);

	if (!t)
		return pid < 0 ? -EINVAL : -ESRCH;
	task_put(t);
	return put_timespec(uts, 4000000); // the slice that Linux shows for SCHED_NORMAL
}

long sys_getcpu(u32 __user *ucpu, u32 __user *unode)
{
	if (ucpu && put_user((u32)pf_getcpu(), ucpu))
		return -EFAULT;
	return unode && put_user(0u, unode) ? -EFAULT : 0;
}

// --- nice values: per process, seen by programs only

struct nice_arg {
	int which, who;
	bool set;
	int value; // to set, or the best found
	long r;
};

static int nice_one(struct proc *p, void *arg)
{
	struct nice_arg *n = arg;
	bool hit = n->which == PRIO_PROCESS ? p->pid == n->who
		   : n->which == PRIO_PGRP  ? p->pgid == n->who
					    : p->cred.uid == (u32)n->who;

	if (!hit || p->state >= PROC_ZOMBIE)
		return 0;
	if (!n->set) {
		n->r = max(n->r, (long)(20 - (int)p->nice));
		return 0;
	}
	if (n->value < (int)p->nice && (u64)(20 - n->value) > p->rlim[RLIMIT_NICE].cur && !capable(CAP_SYS_NICE)) {
		n->r = -EACCES;
	} else {
		p->nice = (u32)n->value;
		if (n->r == -ESRCH)
			n->r = 0;
	}
	return 0;
}

static long do_nice(struct nice_arg *n)
{
	struct task *t;

	if (n->which < PRIO_PROCESS || n->which > PRIO_USER)
		return -EINVAL;
	if (n->which != PRIO_USER)
		n->who = pid_in(n->who);
	if (!n->who)
		n->who = n->which == PRIO_PROCESS ? curproc->pid
			 : n->which == PRIO_PGRP  ? curproc->pgid
						  : (int)cred()->uid;
	if (n->which == PRIO_PROCESS && (t = task_find(n->who))) {
		n->who = t->proc->pid; // a thread stands for its process
		task_put(t);
	}
	n->r = -ESRCH;
	proc_for_each(nice_one, n);
	return n->r;
}

long sys_getpriority(int which, int who) { return do_nice(&(struct nice_arg){.which = which, .who = who}); }

long sys_setpriority(int which, int who, int value)
{
	return do_nice(&(struct nice_arg){.which = which, .who = who, .set = true, .value = max(-20, min(value, 19))});
}
