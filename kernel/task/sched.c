// SPDX-License-Identifier: Apache-2.0
// Scheduling calls. The host schedules; programs see one fair class over the enclave's CPUs. Affinity and
// priorities are recorded so that what is set can be read back. tasklist guards what belongs to other tasks.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <linux/sched/types.h>


long sys_sched_yield(void)
{
	pf_yield();
	return 0;
}

static bool exists(int tid)
{
	struct task *t = tid ? task_find(tid) : NULL;

	if (t)
		task_put(t);
	return !tid || t;
}

long sys_sched_getaffinity(int tid, u32 len, void __user *out)
{
	u64 mask[16] = { 0 };
	u32 n = pf_ncpus();

	if (len & 7 || len * 8 < n)
		return -EINVAL;
	if (!exists(tid))
		return -ESRCH;
	for (u32 i = 0; i < n && i < 1024; i++)
		mask[i / 64] |= 1ul << (i % 64);
	len = min(len, (u32)DIV_ROUND_UP(n, 64) * 8);
	return copy_to_user(out, mask, len) ? -EFAULT : (long)len;
}

long sys_sched_setaffinity(int tid, u32 len, const void __user *in)
{
	u64 mask = 0;
	u32 n = pf_ncpus();

	if (!exists(tid))
		return -ESRCH;
	if (copy_from_user(&mask, in, min(len, 8u)))
		return -EFAULT;
	// accepted when it names a CPU of the enclave; the host decides where threads run
	return mask & (n >= 64 ? ~0ul : (1ul << n) - 1) ? 0 : -EINVAL;
}

long sys_sched_getscheduler(int tid) { return tid < 0 ? -EINVAL : exists(tid) ? 0 : -ESRCH; }

long sys_sched_getparam(int tid, void __user *out)
{
	int zero = 0;

	if (tid < 0 || !out)
		return -EINVAL;
	return exists(tid) ? put_user(zero, out) : -ESRCH;
}

static long set_policy(int tid, int policy, int prio)
{
	if (tid < 0 || policy < 0)
		return -EINVAL;
	if (!exists(tid))
		return -ESRCH;
	policy &= ~SCHED_RESET_ON_FORK;
	if (policy == SCHED_FIFO || policy == SCHED_RR) {
		pr_once("sched: real-time policies are not available in an enclave\n");
		return -EPERM;
	}
	if (policy != SCHED_NORMAL && policy != SCHED_BATCH && policy != SCHED_IDLE)
		return -EINVAL;
	return prio ? -EINVAL : 0;
}

long sys_sched_setscheduler(int tid, int policy, const void __user *param)
{
	int prio;

	if (!param)
		return -EINVAL;
	if (copy_from_user(&prio, param, 4))
		return -EFAULT;
	return set_policy(tid, policy, prio);
}

long sys_sched_setparam(int tid, const void __user *param) { return sys_sched_setscheduler(tid, SCHED_NORMAL, param); }

long sys_sched_getattr(int tid, void __user *out, u32 size, u32 flags)
{
	struct sched_attr a = { .size = SCHED_ATTR_SIZE_VER0 };

	if (tid < 0 || flags || size < SCHED_ATTR_SIZE_VER0)
		return -EINVAL;
	if (!exists(tid))
		return -ESRCH;
	a.sched_nice = (s32)curproc->nice;
	return copy_to_user(out, &a, SCHED_ATTR_SIZE_VER0);
}

long sys_sched_setattr(int tid, const void __user *in, u32 flags)
{
	struct sched_attr a = { 0 };

	if (flags || tid < 0)
		return -EINVAL;
	if (copy_from_user(&a, in, SCHED_ATTR_SIZE_VER0))
		return -EFAULT;
	return set_policy(tid, (int)a.sched_policy, (int)a.sched_priority);
}

long sys_sched_get_priority_max(int policy) { return policy == SCHED_FIFO || policy == SCHED_RR ? 99 : policy >= 0 && policy <= 6 ? 0 : -EINVAL; }
long sys_sched_get_priority_min(int policy) { return policy == SCHED_FIFO || policy == SCHED_RR ? 1 : policy >= 0 && policy <= 6 ? 0 : -EINVAL; }

long sys_sched_rr_get_interval(int tid, void __user *out)
{
	if (tid < 0)
		return -EINVAL;
	return exists(tid) ? put_timespec(out, 4000000) : -ESRCH;
}

struct nice_arg {
	int which, who, value;
	bool set, found;
};

static int nice_one(struct proc *p, void *arg)
{
	struct nice_arg *a = arg;

	if (a->which == PRIO_PROCESS && p->pid != a->who)
		return 0;
	if (a->which == PRIO_PGRP && p->pgid != a->who)
		return 0;
	if (a->set)
		p->nice = (u32)a->value;
	else if (!a->found || (s32)p->nice < a->value)
		a->value = (s32)p->nice;
	a->found = true;
	return 0;
}

static long nice_call(struct nice_arg *a)
{
	if (a->which < PRIO_PROCESS || a->which > PRIO_USER)
		return -EINVAL;
	if (!a->who)
		a->who = a->which == PRIO_PGRP ? curproc->pgid : curproc->pid;
	if (a->which == PRIO_PROCESS && a->who != curproc->pid) { // a thread counts as its process
		struct task *t = task_find(a->who);
		if (t) {
			a->who = t->proc->pid;
			task_put(t);
		}
	}
	proc_for_each(nice_one, a);
	return a->found ? 0 : -ESRCH;
}

long sys_getpriority(int which, int who)
{
	struct nice_arg a = { .which = which, .who = who };
	long r = nice_call(&a);

	return r ? r : 20 - a.value;
}

long sys_setpriority(int which, int who, int value)
{
	struct nice_arg a = { .which = which, .who = who, .value = max(-20, min(19, value)), .set = true };

	return nice_call(&a);
}

long sys_getcpu(u32 __user *cpu, u32 __user *node, void __user *unused)
{
	u32 c = (u32)pf_getcpu(), n = 0;

	(void)unused;
	if ((cpu && put_user(c, cpu)) || (node && put_user(n, node)))
		return -EFAULT;
	return 0;
}

// Threads of an enclave are ordinary host threads; the barrier is the host's, over all CPUs that run one.
long sys_membarrier(int cmd, u32 flags, int cpu)
{
	(void)cpu;
	if (flags)
		return -EINVAL;
	switch (cmd) {
	case 0: // QUERY
		return 1 | 2 | 4 | 8 | 16;
	case 1: case 2: case 8: // GLOBAL, GLOBAL_EXPEDITED, PRIVATE_EXPEDITED
		pf_text_sync();
		return 0;
	case 4: case 16:
		return 0;
	default:
		return -EINVAL;
	}
}
