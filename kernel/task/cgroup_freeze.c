// SPDX-License-Identifier: Apache-2.0
// Tasks of a group that stand still. A frozen one (cgroup.freeze) leaves its system call as for a signal and stands on its way back to the
// program, until the group goes on or the task is killed; one whose group has used up its CPU time (cpu.max) is only kept from going back to
// the program. Locks: tasklist.
#include "kernel/include/cgroup.h"
#include "kernel/include/platform.h"
#include "kernel/task/internal.h"

u32 cgroup_freezes;

bool cgroup_freezing(const struct cgroup *g)
{
	while (g && !g->freeze)
		g = g->parent;
	return g;
}

bool cgroup_throttling(const struct cgroup *g)
{
	while (g && !g->throttled)
		g = g->parent;
	return g;
}

static void set_work(struct task *t, u32 bit, bool on)
{
	if (!on == !(__atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & bit))
		return;
	if (!on) {
		__atomic_fetch_and(&t->work, ~bit, __ATOMIC_SEQ_CST);
		task_wake(t);
	} else if (bit == WORK_FREEZE) {
		signal_wake(t, bit);
	} else {
		__atomic_fetch_or(&t->work, bit, __ATOMIC_SEQ_CST);
		if (t != current && !t->sleeping)
			pf_kick(t);
	}
}

void cgroup_follow(struct proc *p)
{
	const struct cgroup *g = cgroup_of(p);
	bool freeze = cgroup_freezing(g), throttle = cgroup_throttling(g);
	struct task *t;

	list_for_each (t, &p->threads, thread_link) {
		set_work(t, WORK_FREEZE, freeze);
		set_work(t, WORK_THROTTLE, throttle);
		u64 cpus = cgroup_wish(g, t->cpu_wish);
		if (cpus != t->cpu_mask) {
			t->cpu_mask = cpus;
			pf_set_cpus(t);
		}
	}
}

static void follow(struct proc *p, void *unused)
{
	(void)unused;
	cgroup_follow(p);
}

// A vfork parent stands, too: its child has its host thread.
static bool stands(const struct task *t) { return t->frozen || t->stopped || t->regs == &t->saved; }

static int look_at(struct proc *p, void *arg)
{
	struct task *t;

	(void)arg;
	list_for_each (t, &p->threads, thread_link)
		if (!stands(t))
			for (struct cgroup *g = cgroup_of(p); g && !g->moving; g = g->parent)
				g->moving = true;
	return 0;
}

void cgroup_settle(void)
{
	struct cgroup *g;

	for (g = &root_cgroup; g; g = cgroup_next(g))
		g->moving = false;
	proc_for_each_locked(look_at, NULL);
	for (g = &root_cgroup; g; g = cgroup_next(g)) {
		bool frozen = cgroup_freezing(g) && !g->moving;

		if (frozen != g->frozen) {
			g->frozen = frozen;
			cgroup_tell(g, CG_EV_EVENTS);
		}
	}
}

void cgroup_freeze(struct cgroup *g, bool on)
{
	bool change;

	mutex_lock(&tasklist);
	change = g->freeze != on && !g->dead;
	if (change) {
		g->freeze = on;
		cgroup_freezes += on ? 1 : -1u;
	}
	mutex_unlock(&tasklist);
	if (!change)
		return;
	cgroup_for_each(g, true, follow, NULL);
	mutex_lock(&tasklist);
	cgroup_settle();
	mutex_unlock(&tasklist);
	cgroup_notify();
}

void cgroup_throttle(struct cgroup *g, u8 why, bool on)
{
	bool change;
	u8 was;

	mutex_lock(&tasklist);
	was = g->throttled;
	g->throttled = on ? was | why : was & ~why;
	change = !was != !g->throttled;
	mutex_unlock(&tasklist);
	if (change)
		cgroup_for_each(g, true, follow, NULL);
}

static void stand(struct task *t, bool frozen)
{
	mutex_lock(&tasklist);
	t->frozen = frozen && __atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & WORK_FREEZE;
	cgroup_settle();
	mutex_unlock(&tasklist);
	cgroup_news();
}

void cgroup_stand(struct task *t)
{
	const u32 leave = WORK_EXIT | WORK_STOP | WORK_TRAP | WORK_START;

	if (__atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & WORK_FREEZE)
		stand(t, true);
	for (;;) {
		u32 seq = task_seq(), work = __atomic_load_n(&t->work, __ATOMIC_SEQ_CST);

		if (!(work & (WORK_FREEZE | WORK_THROTTLE)) || work & leave || (work & WORK_FREEZE && !t->frozen) || (work & WORK_SIGNAL && signal_kills(t)))
			break;
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
	if (t->frozen)
		stand(t, false);
}

static void kill_one(struct proc *p, void *unused)
{
	(void)unused;
	signal_send_proc(p, SIGKILL, NULL);
}

void cgroup_kill(struct cgroup *g) { cgroup_for_each(g, true, kill_one, NULL); }
