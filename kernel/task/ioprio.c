// SPDX-License-Identifier: Apache-2.0
// I/O priorities. The host orders I/O: they are remembered, inherited and told to those who ask. Locks: tasklist, for those of a group or of a user.
#include "kernel/task/internal.h"
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/sched.h>

struct who {
	int which, who;
	bool set;
	u16 prio; // to set, or the best found
	long r;
};

// What is in effect where none was set follows from class and nice value.
static u16 effective(const struct task *t)
{
	int policy = sched_class(t);

	if (IOPRIO_PRIO_CLASS(t->io_prio) != IOPRIO_CLASS_NONE)
		return t->io_prio;
	return (u16)IOPRIO_PRIO_VALUE(policy == SCHED_IDLE ? IOPRIO_CLASS_IDLE :
				      policy == SCHED_FIFO || policy == SCHED_RR ? IOPRIO_CLASS_RT : IOPRIO_CLASS_BE, ((int)t->proc->nice + 20) / 5);
}

// False: not permitted.
static bool set_one(struct task *t, u16 prio)
{
	const struct cred *c = cred();

	if (t->proc->cred.uid != c->euid && t->proc->cred.uid != c->uid && !capable(CAP_SYS_NICE))
		return false;
	t->io_prio = prio;
	return true;
}

static int of_proc(struct proc *p, void *arg)
{
	struct who *w = arg;
	struct task *t;

	if (p->state >= PROC_ZOMBIE || (w->which == IOPRIO_WHO_PGRP ? p->pgid != w->who : p->cred.uid != (u32)w->who))
		return 0;
	list_for_each (t, &p->threads, thread_link) {
		if (w->set && !set_one(t, w->prio)) {
			w->r = -EPERM;
			return 1;
		}
		if (!w->set)
			w->prio = w->r ? effective(t) : min(w->prio, effective(t));
		w->r = 0;
	}
	return 0;
}

static long of_many(struct who *w)
{
	if (w->which == IOPRIO_WHO_PGRP)
		w->who = w->who ? pid_in(w->who) : curproc->pgid;
	else
		w->who = w->who ? (int)uid_in((u32)w->who) : (int)cred()->uid;
	w->r = -ESRCH;
	proc_for_each(of_proc, w);
	return w->r;
}

static struct task *one(int tid)
{
	if (tid)
		return tid > 0 ? task_find(pid_in(tid)) : NULL;
	ref_get(&current->ref);
	return current;
}

long sys_ioprio_get(int which, int who)
{
	struct who w = {.which = which, .who = who};
	struct task *t;
	long r;

	if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER)
		return -EINVAL;
	if (which != IOPRIO_WHO_PROCESS) {
		r = of_many(&w);
		return r ? r : w.prio;
	}
	t = one(who);
	if (!t)
		return -ESRCH;
	r = t->io_prio;
	task_put(t);
	return r;
}

long sys_ioprio_set(int which, int who, int prio)
{
	int class = IOPRIO_PRIO_CLASS(prio);
	struct who w = {.which = which, .who = who, .set = true, .prio = (u16)prio};
	struct task *t;
	long r;

	if (prio < 0 || prio > 0xffff || class > IOPRIO_CLASS_IDLE || (class == IOPRIO_CLASS_NONE && prio) ||
	    (class != IOPRIO_CLASS_IDLE && IOPRIO_PRIO_DATA(prio) >= IOPRIO_BE_NR))
		return -EINVAL;
	if (class == IOPRIO_CLASS_RT && !capable(CAP_SYS_ADMIN) && !capable(CAP_SYS_NICE))
		return -EPERM;
	if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER)
		return -EINVAL;
	if (which != IOPRIO_WHO_PROCESS)
		return of_many(&w);
	t = one(who);
	if (!t)
		return -ESRCH;
	r = set_one(t, w.prio) ? 0 : -EPERM;
	task_put(t);
	return r;
}
