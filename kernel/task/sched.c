// SPDX-License-Identifier: Apache-2.0
// Scheduling calls. The host schedules: affinities are passed on to it, and that a task is SCHED_BATCH; other policies and priorities are
// remembered and reported, real-time ones too, as they are hints to most programs. No locks.
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

// --- classes. They are remembered, inherited and shown, with Linux's rules of who may ask for what. The host, who schedules, hears of none but SCHED_BATCH,
// which only takes: such a thread does not interrupt another one when it wakes. A task tells it of itself: what another one sets counts from the next
// thread on that carries it.

#define PRIO_MOST 99
#define DL_RUNTIME_LEAST 1024ul
#define ATTR_FLAGS \
	(SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_RECLAIM | SCHED_FLAG_DL_OVERRUN | SCHED_FLAG_KEEP_ALL | SCHED_FLAG_UTIL_CLAMP)
#define KEEP_CLASS (-1)

static bool normal(int policy) { return policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE; }
static bool real_time(int policy) { return policy == SCHED_FIFO || policy == SCHED_RR; }
static bool known(int policy) { return normal(policy) || real_time(policy) || policy == SCHED_DEADLINE; }
int sched_class(const struct task *t) { return t->policy & ~SCHED_RESET_ON_FORK; }
bool sched_batch(const struct task *t) { return sched_class(t) == SCHED_BATCH; }

int sched_prio(const struct task *t)
{
	return sched_class(t) == SCHED_DEADLINE ? -101 : t->rt_prio ? -1 - (int)t->rt_prio : 20 + (int)t->proc->nice;
}

static bool deadline_valid(const struct sched_attr *a)
{
	u64 period = a->sched_period ? a->sched_period : a->sched_deadline;

	if (!a->sched_deadline || a->sched_runtime < DL_RUNTIME_LEAST || (a->sched_deadline | a->sched_period) >> 63)
		return false;
	return period >= a->sched_deadline && a->sched_deadline >= a->sched_runtime;
}

static bool may_be_nicer(const struct proc *p, int nice) { return (u64)(20 - nice) <= p->rlim[RLIMIT_NICE].cur; }

// Does the change from what t has want CAP_SYS_NICE?
static bool privileged(const struct task *t, int policy, const struct sched_attr *a, bool reset)
{
	u64 limit = t->proc->rlim[RLIMIT_RTPRIO].cur;
	u32 me = cred()->euid;

	if (normal(policy) && a->sched_nice < (int)t->proc->nice && !may_be_nicer(t->proc, a->sched_nice))
		return true;
	if (real_time(policy) && policy != sched_class(t) && !limit)
		return true;
	if (real_time(policy) && a->sched_priority > t->rt_prio && a->sched_priority > limit)
		return true;
	if (policy == SCHED_DEADLINE || (t->policy & SCHED_RESET_ON_FORK && !reset))
		return true;
	if (sched_class(t) == SCHED_IDLE && policy != SCHED_IDLE && !may_be_nicer(t->proc, (int)t->proc->nice))
		return true;
	return me != t->proc->cred.euid && me != t->proc->cred.uid;
}

static long change(struct task *t, int policy, const struct sched_attr *a)
{
	bool reset = a->sched_flags & SCHED_FLAG_RESET_ON_FORK;

	if (policy == KEEP_CLASS) {
		reset = reset || t->policy & SCHED_RESET_ON_FORK;
		policy = sched_class(t);
	} else if (!known(policy)) {
		return -EINVAL;
	}
	if (a->sched_flags & ~(u64)ATTR_FLAGS || a->sched_priority > PRIO_MOST)
		return -EINVAL;
	if ((policy == SCHED_DEADLINE && !deadline_valid(a)) || real_time(policy) != !!a->sched_priority)
		return -EINVAL;
	if (privileged(t, policy, a, reset) && !capable(CAP_SYS_NICE))
		return -EPERM;
	if (a->sched_flags & SCHED_FLAG_UTIL_CLAMP)
		return -EOPNOTSUPP;
	if (a->sched_flags & SCHED_FLAG_KEEP_PARAMS) {
		t->policy = sched_class(t) | (reset ? SCHED_RESET_ON_FORK : 0);
		return 0;
	}
	bool was = sched_batch(t);
	t->policy = policy | (reset ? SCHED_RESET_ON_FORK : 0);
	if (t == current && sched_batch(t) != was)
		pf_set_batch(!was);
	t->rt_prio = a->sched_priority;
	if (normal(policy))
		t->proc->nice = (u32)a->sched_nice;
	if (policy == SCHED_DEADLINE) {
		t->dl[0] = a->sched_runtime;
		t->dl[1] = a->sched_deadline;
		t->dl[2] = a->sched_period ? a->sched_period : a->sched_deadline;
	}
	return 0;
}

bool sched_fork(struct task *t, struct proc *p, const struct task *from, bool check)
{
	bool reset = from->policy & SCHED_RESET_ON_FORK;

	if (check)
		return reset || from->policy != SCHED_DEADLINE;
	t->policy = sched_class(from);
	t->rt_prio = from->rt_prio;
	if (!reset)
		return true;
	if (!normal(t->policy)) {
		t->policy = SCHED_NORMAL;
		t->rt_prio = 0;
		if (p)
			p->nice = 0;
	} else if (p && (int)p->nice < 0) {
		p->nice = 0;
	}
	return true;
}

static long set_policy(int pid, int policy, const void __user *uparam)
{
	struct sched_attr a;
	struct task *t;
	int prio;
	long r;

	if (pid < 0 || !uparam)
		return -EINVAL;
	if (get_user(prio, (const int __user *)uparam))
		return -EFAULT;
	t = task_arg(pid);
	if (!t)
		return -ESRCH;
	memset(&a, 0, sizeof(a));
	a.sched_priority = (u32)prio;
	a.sched_nice = (int)t->proc->nice;
	if (policy != KEEP_CLASS && policy & SCHED_RESET_ON_FORK) {
		a.sched_flags = SCHED_FLAG_RESET_ON_FORK;
		policy &= ~SCHED_RESET_ON_FORK;
	}
	r = change(t, policy, &a);
	task_put(t);
	return r;
}

long sys_sched_setscheduler(int pid, int policy, const void __user *uparam) { return policy < 0 ? -EINVAL : set_policy(pid, policy, uparam); }
long sys_sched_setparam(int pid, const void __user *uparam) { return set_policy(pid, KEEP_CLASS, uparam); }

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

long sys_sched_getparam(int pid, void __user *uparam)
{
	struct task *t = uparam ? task_arg(pid) : NULL;
	u32 prio;

	if (!t)
		return pid < 0 || !uparam ? -EINVAL : -ESRCH;
	prio = t->rt_prio;
	task_put(t);
	return put_user((int)prio, (int __user *)uparam);
}

long sys_sched_getattr(int pid, void __user *uattr, u32 size, u32 flags)
{
	struct sched_attr a;
	struct task *t;

	if (pid < 0 || !uattr || flags || size < SCHED_ATTR_SIZE_VER0 || size > PAGE_SIZE)
		return -EINVAL;
	t = task_arg(pid);
	if (!t)
		return -ESRCH;
	memset(&a, 0, sizeof(a));
	a.size = (u32)min((size_t)size, sizeof(a));
	a.sched_policy = (u32)sched_class(t);
	if (t->policy & SCHED_RESET_ON_FORK)
		a.sched_flags = SCHED_FLAG_RESET_ON_FORK;
	if (sched_class(t) == SCHED_DEADLINE) {
		a.sched_runtime = t->dl[0];
		a.sched_deadline = t->dl[1];
		a.sched_period = t->dl[2];
	} else if (t->rt_prio) {
		a.sched_priority = t->rt_prio;
	} else {
		a.sched_nice = (int)t->proc->nice;
	}
	task_put(t);
	return copy_to_user(uattr, &a, a.size);
}

static long get_attr(struct sched_attr *a, const void __user *uattr)
{
	u32 size;
	long r;

	if (get_user(size, (const u32 __user *)uattr))
		return -EFAULT;
	if (!size)
		size = SCHED_ATTR_SIZE_VER0;
	r = size < SCHED_ATTR_SIZE_VER0 || size > PAGE_SIZE ? -E2BIG : copy_struct_from_user(a, sizeof(*a), uattr, size);
	if (r == -E2BIG && put_user((u32)sizeof(*a), (u32 __user *)(__force uptr)uattr))
		return -EFAULT;
	if (!r && a->sched_flags & SCHED_FLAG_UTIL_CLAMP && size < SCHED_ATTR_SIZE_VER1)
		return -EINVAL;
	a->sched_nice = max(-20, min(a->sched_nice, 19));
	return r;
}

long sys_sched_setattr(int pid, const void __user *uattr, u32 flags)
{
	struct sched_attr a;
	struct task *t;
	long r;

	if (pid < 0 || !uattr || flags)
		return -EINVAL;
	r = get_attr(&a, uattr);
	if (r)
		return r;
	if ((int)a.sched_policy < 0)
		return -EINVAL;
	t = task_arg(pid);
	if (!t)
		return -ESRCH;
	if (a.sched_flags & SCHED_FLAG_KEEP_PARAMS) {
		a.sched_priority = t->rt_prio;
		a.sched_nice = (int)t->proc->nice;
		a.sched_runtime = t->dl[0];
		a.sched_deadline = t->dl[1];
		a.sched_period = t->dl[2];
	}
	r = change(t, a.sched_flags & SCHED_FLAG_KEEP_POLICY ? KEEP_CLASS : (int)a.sched_policy, &a);
	task_put(t);
	return r;
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
	u64 ns;

	if (!t)
		return pid < 0 ? -EINVAL : -ESRCH;
	ns = sched_class(t) == SCHED_RR ? 100000000 : normal(sched_class(t)) ? 4000000 : 0; // as Linux shows them
	task_put(t);
	return put_timespec(uts, ns);
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
	else if (n->who)
		n->who = (int)uid_in((u32)n->who);
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
