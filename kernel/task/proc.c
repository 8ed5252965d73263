// SPDX-License-Identifier: Apache-2.0
// Making and freeing processes and tasks. A process is referenced by the tables until it is reaped, a task by
// itself until it has left; finders add references of their own.
// Locks: tasklist (callers), sig_lock for the list of threads.
#include "kernel/include/alloc.h"
#include "kernel/include/cgroup.h"
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/ns.h"
#include "kernel/include/platform.h"
#include "kernel/include/vfs.h"
#include "kernel/task/pidns.h"
#include "kernel/task/load.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/seccomp.h"
#include "kernel/task/limit.h"
#include <linux/signal.h>

struct proc *proc_new(int pid)
{
	struct proc *p = knew(struct proc);

	if (!p)
		return NULL;
	COUNT(processes, 1);
	p->pid = pid;
	ref_init(&p->ref, 1);
	list_init(&p->children);
	list_init(&p->sibling);
	list_init(&p->threads);
	list_init(&p->tracees);
	list_init(&p->pgrp_link);
	list_init(&p->pending.queue);
	list_init(&p->signalfd_wqs);
	list_init(&p->posix_timers);
	waitq_init(&p->wait_child);
	waitq_init(&p->exit_wq);
	waitq_init(&p->threads_wq);
	waitq_init(&p->signal_wq);
	p->action = p->own_action;
	p->exit_signal = SIGCHLD;
	p->dumpable = true;
	p->start_ns = ktime_mono();
	return p;
}

void proc_put(struct proc *p)
{
	if (!ref_put(&p->ref))
		return;
	sigpending_flush(&p->pending, ~0ul);
	sighand_leave(p, false);
	kfree(p->cmdline);
	kfree(p->environ);
	if (unlikely(p->cred.user_ns))
		user_ns_put(p->cred.user_ns);
	COUNT(processes, -1);
	kfree(p);
}

struct task *task_new(struct proc *p, int tid)
{
	struct task *t = knew(struct task);

	if (!t)
		return NULL;
	COUNT(tasks, 1);
	t->tid = tid;
	if (tid >= PID_MAX)
		t->divert = DIVERT_PIDS;
	t->proc = p;
	ref_get(&p->ref);
	ref_init(&t->ref, 1);
	list_init(&t->thread_link);
	list_init(&t->pending.queue);
	list_init(&t->futex_link);
	t->start_ns = ktime_mono();
	t->altstack_flags = SS_DISABLE;
	t->cpu_mask = t->cpu_wish = U64_MAX;
	return t;
}

void task_put(struct task *t)
{
	if (!ref_put(&t->ref))
		return;
	sigpending_flush(&t->pending, ~0ul);
	ptrace_free(t);
	seccomp_drop(t);
	sud_end(t);
	proc_put(t->proc);
	COUNT(tasks, -1);
	kfree(t);
}

void proc_link(struct proc *p, struct task *leader, struct proc *parent)
{
	p->parent = parent;
	p->forker = current ? current->tid : 0;
	if (parent)
		list_add_tail(&p->sibling, &parent->children);
	mutex_lock(&p->sig_lock);
	list_add_tail(&leader->thread_link, &p->threads);
	p->nthreads = 1;
	mutex_unlock(&p->sig_lock);
	ref_get(&leader->ref);
	p->leader = leader;
	task_publish(leader);
	proc_publish(p);
	task_count++;
	if (p->pid >= PID_MAX)
		pid_ns_born(p);
}

void proc_unlink(struct proc *p)
{
	struct task *leader = p->leader;

	ptrace_unlink(leader);
	load_add_gone(p);
	task_count--;
	if (unlikely(p->cgroup))
		cgroup_reaped(p);
	proc_unpublish(p);
	task_unpublish(leader);
	list_del(&p->sibling);
	proc_set_pgrp(p, 0);
	session_put(p->session);
	p->session = NULL;
	pid_free(p->pid);
	p->leader = NULL;
	task_put(leader);
}

struct orphan_check {
	struct proc *ignore;
	int pgid;
};

static int has_anchor(struct proc *p, void *arg)
{
	struct orphan_check *c = arg;

	if (p == c->ignore || p->state >= PROC_ZOMBIE || !p->parent || p->parent == init_proc)
		return 0;
	return p->parent->pgid != c->pgid && p->parent->session == p->session;
}

bool proc_orphaned_pgrp(int pgid, struct proc *ignore)
{
	struct orphan_check c = {ignore, pgid};

	return pgrp_for_each(pgid, has_anchor, &c) <= 0;
}

// Pid 1, before its first exec: no memory, no files but an empty table.
struct task *task_create_init(void)
{
	static const struct __kernel_rlimit limits[] = {
		[RLIMIT_STACK] = {8ul << 20, RLIM64_INFINITY},
		[RLIMIT_CORE] = {0, RLIM64_INFINITY},
		[RLIMIT_NOFILE] = {1024, 1048576},
		[RLIMIT_NPROC] = {4096, 4096},
		[RLIMIT_MEMLOCK] = {8ul << 20, 8ul << 20},
		[RLIMIT_SIGPENDING] = {4096, 4096},
		[RLIMIT_MSGQUEUE] = {819200, 819200},
		[RLIMIT_NICE] = {0, 0},
		[RLIMIT_RTPRIO] = {0, 0},
		[RLIM_NLIMITS - 1] = {RLIM64_INFINITY, RLIM64_INFINITY},
	};
	static const u32 unlimited = 1u << RLIMIT_CPU | 1u << RLIMIT_FSIZE | 1u << RLIMIT_DATA | 1u << RLIMIT_RSS |
				     1u << RLIMIT_AS | 1u << RLIMIT_LOCKS;
	int pid = pid_alloc(NULL, 0);
	struct proc *p = pid == 1 ? proc_new(pid) : NULL;
	struct task *t = p ? task_new(p, pid) : NULL;

	if (!t)
		return NULL;
	p->session = session_new(pid);
	t->files = fdtable_new();
	p->mm = mm_new();
	if (!p->session || !t->files || !p->mm)
		return NULL;
	for (u32 i = 0; i < RLIM_NLIMITS; i++)
		p->rlim[i] = unlimited & 1u << i ? limits[RLIM_NLIMITS - 1] : limits[i];
	limits_first(p);
	cred_init_root(&p->cred);
	p->ipc_ns = &init_ipc_ns;
	p->uts_ns = &init_uts_ns;
	p->mnt_ns = &init_mnt_ns;
	strlcpy(t->comm, "init", sizeof(t->comm));
	p->child_subreaper = true;
	mutex_lock(&tasklist);
	proc_link(p, t, NULL);
	proc_set_pgrp(p, pid);
	init_proc = p;
	mutex_unlock(&tasklist);
	return t;
}
