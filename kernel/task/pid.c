// SPDX-License-Identifier: Apache-2.0
// Numbers of tasks, processes, groups and sessions, and the tables that find them.
// Locks: tasklist guards the tables, who only looks for a number takes find_lock instead, for reading; pgrp_lock guards the
// groups' lists (changed with tasklist held too); pid_lock the counts of uses (leaf).
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/ipc.h"
#include "kernel/task/pidns.h"

#define PID_RESERVED 300 // first number after a wrap, as in Linux
#define PGRP_BUCKETS 256

struct mutex tasklist;
struct proc *init_proc;

static struct mutex pid_lock, pgrp_lock;
static u16 pid_uses[PID_MAX] __large;
static int pid_last, pid_high; // no number above pid_high was ever used: tables are not read, and take no memory, beyond it
static u64 pids_made;
static struct task *tasks[PID_MAX] __large;
static struct proc *procs[PID_MAX] __large;
static struct list pgrps[PGRP_BUCKETS];
static struct brlock find_lock __warm;

static int take(int n)
{
	pid_uses[n] = 1;
	if (n > pid_high)
		__atomic_store_n(&pid_high, n, __ATOMIC_RELAXED);
	pids_made++;
	return n;
}

int pid_alloc(struct ns *ns, int wish)
{
	int pid = -EAGAIN;

	if (unlikely(ns)) {
		mutex_lock(&pid_lock);
		pid = pid_ns_alloc(ns, wish);
		mutex_unlock(&pid_lock);
		return pid;
	}
	mutex_lock(&pid_lock);
	if (unlikely(wish))
		pid = pid_uses[wish] ? -EEXIST : take(wish);
	for (int i = 0, n = pid_last; i < PID_MAX && !wish; i++) {
		if (++n >= PID_MAX)
			n = PID_RESERVED;
		if (!pid_uses[n]) {
			pid = pid_last = take(n);
			break;
		}
	}
	mutex_unlock(&pid_lock);
	return pid;
}

int pid_last_made(void) { return pid_last; }
u64 pid_count_made(void) { return pids_made; }

static u16 *uses_of(int pid) { return likely(pid < PID_MAX) ? &pid_uses[pid] : &pid_slot(pid)->uses; }

void pid_hold(int pid)
{
	mutex_lock(&pid_lock);
	++*uses_of(pid);
	mutex_unlock(&pid_lock);
}

void pid_free(int pid)
{
	bool last;

	mutex_lock(&pid_lock);
	last = !--*uses_of(pid);
	mutex_unlock(&pid_lock);
	if (last && pid >= PID_MAX)
		pid_ns_put(pid_ns_of(pid)); // each number in use holds its namespace
}

static struct task **task_at(int tid)
{
	struct pid_slot *s;

	if (likely((u32)tid < PID_MAX))
		return &tasks[tid]; // nobody has number 0
	s = pid_slot(tid);
	return s ? &s->task : NULL;
}

static struct proc **proc_at(int pid)
{
	struct pid_slot *s;

	if (likely((u32)pid < PID_MAX))
		return &procs[pid];
	s = pid_slot(pid);
	return s ? &s->proc : NULL;
}

// Whoever was found under the old entry has a reference when this returns.
static void replace_task(int tid, struct task *t)
{
	if (__atomic_exchange_n(task_at(tid), t, __ATOMIC_SEQ_CST))
		read_pass(&find_lock);
}

void task_publish(struct task *t) { replace_task(t->tid, t); }
void task_unpublish(struct task *t)
{
	if (*task_at(t->tid) == t)
		replace_task(t->tid, NULL);
}
void proc_publish(struct proc *p) { __atomic_store_n(proc_at(p->pid), p, __ATOMIC_RELEASE); }
void proc_unpublish(struct proc *p)
{
	if (*proc_at(p->pid) != p)
		return;
	__atomic_store_n(proc_at(p->pid), NULL, __ATOMIC_RELEASE);
	read_pass(&find_lock);
}
struct proc *proc_of(int pid)
{
	struct proc **at = proc_at(pid);

	return at ? *at : NULL;
}

struct proc *proc_find(int pid)
{
	struct proc **at = proc_at(pid), *p;

	read_lock(&find_lock);
	p = likely(at) ? __atomic_load_n(at, __ATOMIC_ACQUIRE) : NULL;
	if (p)
		ref_get(&p->ref);
	read_unlock(&find_lock);
	return p;
}

struct task *task_find(int tid)
{
	struct task **at = task_at(tid), *t;

	read_lock(&find_lock);
	t = likely(at) ? __atomic_load_n(at, __ATOMIC_ACQUIRE) : NULL;
	if (t)
		ref_get(&t->ref);
	read_unlock(&find_lock);
	return t;
}

void proc_hide(struct proc *p)
{
	mutex_lock(&tasklist);
	p->helper = true;
	proc_unpublish(p);
	task_unpublish(p->leader);
	mutex_unlock(&tasklist);
}

int proc_for_each_locked(int (*fn)(struct proc *, void *), void *arg)
{
	int r = 0;

	for (int i = 1; i <= __atomic_load_n(&pid_high, __ATOMIC_RELAXED) && !r; i++)
		if (procs[i])
			r = fn(procs[i], arg);
	if (!r)
		r = pid_spaces_for_each(fn, arg);
	return r;
}

int proc_for_each(int (*fn)(struct proc *, void *), void *arg)
{
	int r;

	mutex_lock(&tasklist);
	r = proc_for_each_locked(fn, arg);
	mutex_unlock(&tasklist);
	return r;
}

static struct list *bucket(int pgid)
{
	struct list *b = &pgrps[(u32)pgid % PGRP_BUCKETS];

	if (!b->next)
		list_init(b);
	return b;
}

void proc_set_pgrp(struct proc *p, int pgid)
{
	int old = p->pgid;

	if (pgid)
		pid_hold(pgid);
	mutex_lock(&pgrp_lock);
	list_del(&p->pgrp_link);
	p->pgid = pgid;
	if (pgid)
		list_add_tail(&p->pgrp_link, bucket(pgid));
	mutex_unlock(&pgrp_lock);
	if (old)
		pid_free(old);
}

int pgrp_for_each(int pgid, int (*fn)(struct proc *, void *), void *arg)
{
	struct proc *p;
	int r = -ESRCH;

	mutex_lock(&pgrp_lock);
	list_for_each (p, bucket(pgid), pgrp_link) {
		if (p->pgid != pgid)
			continue;
		r = fn(p, arg);
		if (r)
			break;
	}
	mutex_unlock(&pgrp_lock);
	return r;
}

struct session *session_new(int sid)
{
	struct session *s = knew(struct session);

	if (!s)
		return NULL;
	ref_init(&s->ref, 1);
	s->sid = sid;
	COUNT(sessions, 1);
	pid_hold(sid);
	return s;
}

void session_get(struct session *s) { ref_get(&s->ref); }

void session_put(struct session *s)
{
	if (!s || !ref_put(&s->ref))
		return;
	if (s->tty)
		tty_put(s->tty);
	pid_free(s->sid);
	COUNT(sessions, -1);
	kfree(s);
}
