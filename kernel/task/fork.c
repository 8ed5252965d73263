// SPDX-License-Identifier: Apache-2.0
// fork, vfork, clone, clone3. Four kinds of children:
//  - a thread: new host thread in the same host process (pf_thread_create);
//  - a process: new host process with a copy of the memory (pf_fork);
//  - a vfork child (CLONE_VM|CLONE_VFORK): the host thread itself becomes the child and stays it until the child
//    execs (a blank host process takes it over) or exits; then it is the parent again (vfork_return);
//  - a process that shares the memory (CLONE_VM alone): a host thread as for a thread, and a host process of its own when it execs.
// A child is prepared completely and made visible before it runs; until then any failure undoes all.
// Locks: tasklist and sig_lock while a child is linked in.
#include "kernel/include/alloc.h"
#include "kernel/include/boot.h"
#include "kernel/include/cgroup.h"
#include "kernel/include/keys.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/ns.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/vfs.h"
#include "kernel/task/limit.h"
#include "kernel/task/pidns.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/seccomp.h"
#include <linux/ptrace.h>
#include <linux/capability.h>
#include <linux/signal.h>

struct clone_req {
	u64 flags;
	int exit_signal;
	u64 stack; // new stack pointer; 0: the caller's
	u64 tls;
	int __user *ptid;
	int __user *ctid;
	int __user *pidfd;
	int tid; // wished for; 0: any
	struct cgroup *cgroup; // CLONE_INTO_CGROUP; NULL: the caller's
};

int pidfd_new(struct proc *p); // pidfd.c

#define NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | \
	 CLONE_NEWTIME)

static int check_flags(const struct clone_req *c)
{
	u64 f = c->flags;

	if ((f & CLONE_FS && f & (CLONE_NEWNS | CLONE_NEWUSER)) || (f & CLONE_SYSVSEM && f & CLONE_NEWIPC))
		return -EINVAL;
	if (f & CLONE_THREAD && f & NAMESPACES)
		return -EINVAL;
	if (f & CLONE_THREAD && f & CLONE_INTO_CGROUP)
		return -EINVAL;
	if ((f & CLONE_THREAD && !(f & CLONE_SIGHAND)) || (f & CLONE_SIGHAND && !(f & CLONE_VM)))
		return -EINVAL;
	if (f & CLONE_SIGHAND && f & CLONE_CLEAR_SIGHAND)
		return -EINVAL;
	if (f & CLONE_PARENT && curproc == init_proc)
		return -EINVAL;
	if (f & CLONE_PIDFD && f & (CLONE_THREAD | CLONE_DETACHED))
		return -EINVAL;
	return 0;
}

static void inherit_task(struct task *t, const struct task *from, const struct clone_req *c)
{
	t->blocked = from->blocked;
	memcpy(t->comm, from->comm, sizeof(t->comm));
	t->cpu_mask = from->cpu_mask;
	t->cpu_wish = from->cpu_wish;
	if (unlikely(from->policy))
		sched_fork(t, NULL, from, false);
	t->mempolicy = from->mempolicy;
	t->timer_slack_ns = t->timer_slack_first = from->timer_slack_ns;
	t->io_prio = from->io_prio;
	t->login_uid = from->login_uid;
	t->login_session = from->login_session;
	t->mce_policy = from->mce_policy;
	t->mempolicy_nodes = from->mempolicy_nodes;
	t->fs_base = c->flags & CLONE_SETTLS ? c->tls : pf_get_fs();
	if (c->flags & CLONE_CHILD_CLEARTID)
		t->clear_child_tid = c->ctid;
}

static void *dup_block(const void *p, size_t n)
{
	void *d = p ? kmalloc(n) : NULL;

	if (d)
		memcpy(d, p, n);
	return d;
}

static void free_proc_parts(struct proc *p, struct task *t)
{
	if (t)
		task_files_set(t, NULL);
	if (p->mm)
		mm_put(p->mm);
	if (p->fs)
		fs_ctx_put(p->fs);
	if (p->exe)
		exe_put(p->exe);
	ns_drop(p);
	if (p->session_keyring)
		keys_drop_proc(p);
	p->mm = NULL;
	p->fs = NULL;
	p->exe = NULL;
}

static struct fdtable *inherit_files(const struct clone_req *c)
{
	if (!(c->flags & CLONE_FILES))
		return fdtable_copy(current->files);
	ref_get(&current->files->ref);
	return current->files;
}

// Everything a process inherits but its place in the tables.
static int inherit_proc(struct proc *p, struct task *t, struct proc *from, const struct clone_req *c)
{
	p->cred = from->cred;
	if (unlikely(p->cred.user_ns))
		user_ns_get(p->cred.user_ns);
	p->nice = from->nice;
	if (unlikely(current->policy))
		sched_fork(t, p, current, false);
	p->dumpable = from->dumpable;
	p->exec_ns = from->exec_ns;
	p->personality = from->personality;
	p->dump_filter = from->dump_filter;
	p->oom_score_adj = from->oom_score_adj;
	p->exit_signal = c->flags & CLONE_PARENT ? from->exit_signal : c->exit_signal;
	p->arg_start = from->arg_start;
	p->arg_end = from->arg_end;
	p->env_start = from->env_start;
	p->env_end = from->env_end;
	p->stack_top = from->stack_top;
	memcpy(p->auxv_copy, from->auxv_copy, sizeof(p->auxv_copy));

	mutex_lock(&from->sig_lock);
	if (!(c->flags & CLONE_SIGHAND))
		memcpy(p->action, from->action, sizeof(p->own_action));
	memcpy(p->rlim, from->rlim, sizeof(p->rlim));
	mutex_unlock(&from->sig_lock);
	if (c->flags & CLONE_CLEAR_SIGHAND)
		for (int i = 1; i <= NSIG; i++)
			if (p->action[i].handler != (void __user *)SIG_IGN)
				memset(&p->action[i], 0, sizeof(p->action[i]));

	if (c->flags & CLONE_SIGHAND && sighand_share(p, from))
		return -ENOMEM;

	mutex_lock(&tasklist); // /proc/self/cmdline and exe change under it
	p->cmdline = dup_block(from->cmdline, from->cmdline_len);
	p->cmdline_len = p->cmdline ? from->cmdline_len : 0;
	p->environ = dup_block(from->environ, from->environ_len);
	p->environ_len = p->environ ? from->environ_len : 0;
	p->exe = exe_get(from->exe);
	mutex_unlock(&tasklist);

	ns_inherit(p, from);
	if (from->session_keyring)
		keys_inherit(p, from);
	t->files = inherit_files(c);
	if (c->flags & CLONE_FS) {
		p->fs = cur_fs();
		ref_get(&p->fs->ref);
	} else {
		p->fs = fs_ctx_copy(cur_fs());
	}
	if (IS_ERR(p->fs))
		p->fs = NULL;
	if (!t->files || !p->fs)
		return -ENOMEM;
	fs_ns_settle(p);
	int r = c->flags & NAMESPACES ? ns_unshare(p, c->flags & NAMESPACES & ~CLONE_NEWPID) : 0;
	if (!r && c->flags & CLONE_NEWPID)
		ns_own(pid_ns_of(p->pid), p->cred.user_ns);
	return r;
}

// A signal, an exit or an exec under way must be seen before a child is made (else it could miss it).
static bool must_wait(struct task *t)
{
	return __atomic_load_n(&t->work, __ATOMIC_SEQ_CST) & (WORK_SIGNAL | WORK_EXIT | WORK_STOP | WORK_TRAP | WORK_FREEZE);
}

// A tracer's single step is not for the child.
static void drop_step(struct regs *regs)
{
	if (current->pt && current->pt->forced_tf)
		regs->flags &= ~0x100ul;
}

static int link_proc(struct proc *p, struct task *t, struct proc *from, const struct clone_req *c, u32 event)
{
	int r = 0;

	mutex_lock(&tasklist);
	mutex_lock(&from->sig_lock);
	if (must_wait(current))
		r = -ERESTARTNOINTR;
	else
		seccomp_inherit(t);
	mutex_unlock(&from->sig_lock);
	if (!r)
		r = limit_task();
	if (!r && unlikely(from->cgroup || c->cgroup))
		r = cgroup_fork(p, t, c->cgroup ? c->cgroup : cgroup_of(from));
	if (!r) {
		if (p->mm && !p->borrows_mm)
			p->mm->others++;
		p->session = from->session;
		session_get(p->session);
		proc_set_pgrp(p, from->pgid);
		proc_link(p, t, c->flags & CLONE_PARENT ? from->parent : from);
		ptrace_inherit(t, event, c->flags);
	}
	mutex_unlock(&tasklist);
	cgroup_news();
	return r;
}

// The child never ran: as if it had not been made.
static void unlink_proc(struct proc *p, struct task *t)
{
	mutex_lock(&tasklist);
	mutex_lock(&p->sig_lock);
	list_del(&t->thread_link);
	p->nthreads = 0;
	p->state = PROC_DEAD;
	mutex_unlock(&p->sig_lock);
	if (p->mm && !p->borrows_mm)
		mm_leave(p->mm);
	struct proc *parent = p->parent;
	if (unlikely(p->cgroup))
		cgroup_unfork(p);
	if (p->pid >= PID_MAX)
		pid_ns_unborn(p);
	proc_unlink(p);
	waitq_wake(&parent->wait_child, 0);
	mutex_unlock(&tasklist);
}

// A thread's directories are not its process's, or its maker's are not.
static int inherit_fs(struct task *t, const struct clone_req *c)
{
	struct fs_ctx *fs = cur_fs();

	if (c->flags & CLONE_FS)
		ref_get(&fs->ref);
	else
		fs = fs_ctx_copy(fs);
	if (!fs)
		return -ENOMEM;
	t->own_fs = fs;
	return 0;
}

// CLONE_VFORK with CLONE_THREAD: its maker goes on when it has left.
static void wait_thread(struct proc *p, const struct task *t)
{
	struct waiter w;

	waiter_init(&w);
	waitq_add(&p->threads_wq, &w);
	for (;;) {
		u32 seq = task_seq();
		if (__atomic_load_n(&t->dead, __ATOMIC_ACQUIRE) || __atomic_load_n(&current->work, __ATOMIC_SEQ_CST) & WORK_EXIT)
			break;
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
	waitq_del(&p->threads_wq, &w);
}

static struct ns *own_pid_ns(void) { return pid_namespaced() ? pid_ns_of(current->tid) : NULL; }

static int new_pid(const struct clone_req *c)
{
	struct ns *n;
	int pid;

	if (!(c->flags & CLONE_NEWPID))
		return pid_alloc(curproc->pid_children ? curproc->pid_children : own_pid_ns(), c->tid);
	n = c->flags & CLONE_NEWUSER || own_capable(CAP_SYS_ADMIN) ? pid_ns_new() : ERR_PTR(-EPERM);
	if (IS_ERR(n))
		return (int)PTR_ERR(n);
	pid = pid_alloc(n, c->tid);
	pid_ns_put(n);
	return pid;
}

static long clone_thread(const struct clone_req *c)
{
	struct task *me = current, *t;
	struct proc *p = me->proc;
	struct regs regs = *me->regs;
	u32 event = ptrace_fork_event(c->flags, c->exit_signal);
	int tid, r = 0;
	bool traced = false;

	if (p->pid_children)
		return -EINVAL; // threads are of one PID namespace
	tid = pid_alloc(own_pid_ns(), c->tid);
	if (tid < 0)
		return tid;
	t = task_new(p, tid);
	if (!t || !(t->files = inherit_files(c))) {
		if (t)
			task_put(t);
		pid_free(tid);
		return -ENOMEM;
	}
	inherit_task(t, me, c);
	if (me->thread_keyring && (r = keys_new_thread(t)))
		goto fail;
	if ((me->own_fs || !(c->flags & CLONE_FS)) && (r = inherit_fs(t, c)))
		goto fail;
	int seen = pid_own(t);
	if ((c->flags & CLONE_PARENT_SETTID && put_user(seen, c->ptid)) ||
	    (c->flags & CLONE_CHILD_SETTID && put_user(seen, c->ctid)))
		pr_debug("clone: the thread id could not be stored\n"); // as Linux: not an error
	if (c->stack)
		regs.rsp = c->stack;
	drop_step(&regs);

	mutex_lock(&tasklist);
	mutex_lock(&p->sig_lock);
	if (must_wait(me) || p->group_exit || p->exec_task) {
		r = -ERESTARTNOINTR;
	} else if (!(r = limit_task()) && (!unlikely(p->cgroup) || !(r = cgroup_thread(p, t)))) {
		list_add_tail(&t->thread_link, &p->threads);
		p->nthreads++;
		task_count++;
		if (likely(!p->helper)) // whose threads are as hidden as it is
			task_publish(t);
		seccomp_inherit(t);
		traced = true;
	}
	mutex_unlock(&p->sig_lock);
	if (traced)
		ptrace_inherit(t, event, c->flags);
	mutex_unlock(&tasklist);
	cgroup_news();
	if (r)
		goto fail;

	ref_get(&t->ref); // the thread may be gone before pf_thread_create returns
	r = pf_thread_create(t, &regs);
	if (!r) {
		if (c->flags & CLONE_VFORK)
			wait_thread(p, t);
		task_put(t);
		if (event)
			ptrace_event(event, (u64)tid);
		return pid_out(tid);
	}
	mutex_lock(&tasklist);
	ptrace_unlink(t);
	mutex_lock(&p->sig_lock);
	list_del(&t->thread_link);
	p->nthreads--;
	signal_retarget(p);
	mutex_unlock(&p->sig_lock);
	task_count--;
	if (unlikely(p->cgroup))
		cgroup_thread_left(p);
	task_unpublish(t);
	waitq_wake(&p->threads_wq, 0);
	mutex_unlock(&tasklist);
	task_put(t);
fail:
	if (t->thread_keyring)
		keys_drop_thread(t);
	if (t->own_fs)
		fs_ctx_put(t->own_fs);
	task_files_set(t, NULL);
	pid_free(tid);
	task_put(t);
	return r;
}

// The host thread goes on as the child, on the parent's stack or the one given.
static void vfork_enter(struct task *parent, struct task *child, const struct clone_req *c)
{
	struct regs *regs = parent->regs;

	parent->saved = *regs;
	parent->saved.rax = (u64)pid_out(child->tid);
	drop_step(regs);
	parent->fs_base = pf_get_fs();
	parent->regs = &parent->saved;
	ptrace_vfork_enter(parent, child->tid);
	child->vfork_parent = parent;
	child->in_vfork_child = true;
	pf_switch_identity(child);
	remote_pass(parent, child);
	if (c->stack)
		child->regs->rsp = c->stack;
	if (c->flags & CLONE_SETTLS)
		pf_set_fs(c->tls);
}

void vfork_return(struct task *parent, struct task *exited)
{
	bool traced = parent->pt;

	if (traced) // its tracer may be at its registers
		mutex_lock(&tasklist);
	pf_switch_identity(parent);
	*parent->regs = parent->saved;
	if (traced)
		mutex_unlock(&tasklist);
	pf_set_fs(parent->fs_base);
	if (exited)
		task_put(exited);
	pf_enter_user(parent->regs);
}

// CLONE_VFORK without CLONE_VM: an ordinary fork whose parent waits.
static void wait_vfork_done(struct proc *p)
{
	struct waiter w;

	waiter_init(&w);
	waitq_add(&p->exit_wq, &w);
	for (;;) {
		u32 seq = task_seq();
		if (__atomic_load_n(&p->execed, __ATOMIC_ACQUIRE) || p->state >= PROC_ZOMBIE ||
		    __atomic_load_n(&current->work, __ATOMIC_SEQ_CST) & WORK_EXIT)
			break;
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
	waitq_del(&p->exit_wq, &w);
}

static int fork_host(struct task *t, struct proc *from, const struct clone_req *c)
{
	struct regs regs = *current->regs;
	u32 sig = 0;
	uptr area;
	int r;

	if (c->stack)
		regs.rsp = c->stack;
	drop_step(&regs);
	if (c->flags & CLONE_CHILD_SETTID) {
		t->set_child_tid = c->ctid;
		__atomic_fetch_or(&t->work, WORK_START, __ATOMIC_SEQ_CST);
	}
	// No other thread may change the mappings between the copy of the list and the copy of the memory.
	r = mm_fork_begin(from->mm, &t->proc->mm);
	if (r)
		return r;
	t->proc->mm->owner = t->proc;
	area = rseq_not_for_child(from->mm, &sig);
	r = pf_fork(t, &regs);
	rseq_again(from->mm, area, sig);
	mm_fork_end(from->mm);
	return r;
}

// CLONE_VM alone: a thread of the same host process under a process of its own.
static int share_host(struct task *t, const struct clone_req *c)
{
	struct regs regs = *current->regs;

	if (c->stack)
		regs.rsp = c->stack;
	drop_step(&regs);
	int own = pid_own(t);
	if (c->flags & CLONE_CHILD_SETTID && put_user(own, c->ctid))
		pr_debug("clone: the process id could not be stored\n");
	return pf_thread_create(t, &regs);
}

static long clone_proc(const struct clone_req *c)
{
	struct task *me = current, *t;
	struct proc *from = me->proc, *p = NULL;
	bool share = c->flags & CLONE_VM, borrow = share && c->flags & CLONE_VFORK;
	u32 event = ptrace_fork_event(c->flags, c->exit_signal);
	int pid, r, pidfd = -1, seen;

	pid = new_pid(c);
	if (pid < 0)
		return pid;
	seen = pid_out(pid);
	r = -ENOMEM;
	p = proc_new(pid);
	t = p ? task_new(p, pid) : NULL;
	if (!t)
		goto out_parts;
	inherit_task(t, me, c);
	t->altstack_sp = me->altstack_sp;
	t->altstack_size = me->altstack_size;
	t->altstack_flags = me->altstack_flags;
	r = inherit_proc(p, t, from, c);
	if (r)
		goto out_parts;
	if (c->flags & CLONE_PIDFD) {
		r = pidfd = pidfd_new(p);
		if (r >= 0)
			r = put_user(pidfd, c->pidfd);
		if (r)
			goto out_pidfd;
	}
	if (share) {
		p->mm = from->mm;
		ref_get(&p->mm->ref);
		p->borrows_mm = borrow;
	}
	r = link_proc(p, t, from, c, event);
	if (r)
		goto out_pidfd;
	if (borrow) {
		int own = pid_own(t);
		if ((c->flags & CLONE_PARENT_SETTID && put_user(seen, c->ptid)) ||
		    (c->flags & CLONE_CHILD_SETTID && put_user(own, c->ctid)))
			pr_debug("clone: the process id could not be stored\n");
		vfork_enter(me, t, c);
		return 0;
	}
	if (c->flags & CLONE_VFORK)
		ref_get(&p->ref);
	r = share ? share_host(t, c) : fork_host(t, from, c);
	if (r) {
		if (c->flags & CLONE_VFORK)
			proc_put(p);
		goto out_unlink;
	}
	if (c->flags & CLONE_PARENT_SETTID && put_user(seen, c->ptid))
		pr_debug("clone: the process id could not be stored\n");
	if (event)
		ptrace_event(event, (u64)pid);
	if (c->flags & CLONE_VFORK) {
		wait_vfork_done(p);
		proc_put(p);
		ptrace_event(PTRACE_EVENT_VFORK_DONE, (u64)pid);
	}
	return seen;

out_unlink:
	unlink_proc(p, t);
	free_proc_parts(p, t);
	if (pidfd >= 0)
		fd_close(pidfd);
	task_put(t);
	proc_put(p);
	return r;
out_pidfd:
	if (pidfd >= 0)
		fd_close(pidfd);
out_parts:
	if (p)
		free_proc_parts(p, t);
	if (t)
		task_put(t);
	if (p)
		proc_put(p);
	pid_free(pid);
	return r;
}

struct owned {
	u32 uid, tasks;
};

static int count_owned(struct proc *p, void *arg)
{
	struct owned *o = arg;

	if (p->cred.uid == o->uid)
		o->tasks += max(p->nthreads, 1u); // a zombie is one, too
	return 0;
}

// RLIMIT_NPROC. Root and who may raise limits are exempt.
static bool too_many(void)
{
	struct owned o = {.uid = cred()->uid};
	u64 limit = RLIMIT(RLIMIT_NPROC);

	if (!o.uid || limit == RLIM64_INFINITY || capable(CAP_SYS_RESOURCE) || capable(CAP_SYS_ADMIN))
		return false;
	proc_for_each(count_owned, &o);
	return o.tasks >= limit;
}

static long do_clone(const struct clone_req *c)
{
	int r = check_flags(c);

	if (r)
		return r;
	if (c->flags & CLONE_SETTLS && !access_ok(U(c->tls), 1)) // the processor takes no such base
		return -EPERM;
	if (too_many() || !sched_fork(NULL, NULL, current, true))
		return -EAGAIN;
	long pid = c->flags & CLONE_THREAD ? clone_thread(c) : clone_proc(c);
	if (unlikely(pid == -EAGAIN) && boot_info.processes && task_count >= boot_info.processes)
		pr_once("there are %u processes and threads, the most that `limits: processes:` of coffer.yaml allows: fork and clone fail with EAGAIN\n",
			boot_info.processes);
	return pid;
}

long sys_fork(void) { return do_clone(&(struct clone_req){.exit_signal = SIGCHLD}); }
long sys_vfork(void) { return do_clone(&(struct clone_req){.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD}); }

long sys_clone(u64 flags, u64 stack, int __user *ptid, int __user *ctid, u64 tls)
{
	struct clone_req c = {.flags = flags & 0xffffff00ul,
			      .exit_signal = (int)(flags & 0xff),
			      .stack = stack,
			      .tls = tls,
			      .ptid = ptid,
			      .ctid = ctid,
			      .pidfd = ptid};

	if (c.exit_signal > NSIG)
		return -EINVAL;
	if (c.flags & CLONE_PIDFD && c.flags & CLONE_PARENT_SETTID)
		return -EINVAL; // both want the same pointer
	return do_clone(&c);
}

// The number that a process wants for its child: one namespace, one number.
static int wished_tid(const struct clone_args *a)
{
	int tid;

	if (a->set_tid_size > 1 || !a->set_tid)
		return -EINVAL;
	if (get_user(tid, (const int __user *)U(a->set_tid)))
		return -EFAULT;
	if (tid < 1 || tid >= PID_MAX)
		return -EINVAL;
	return capable_here(CLONE_NEWPID, CAP_SYS_ADMIN) || capable_here(CLONE_NEWPID, CAP_CHECKPOINT_RESTORE) ? tid : -EPERM;
}

// May the caller put a child into g?
static int enter_group(struct cgroup *g)
{
	struct cgroup *from = cgroup_get_of(curproc);
	int r = cgroup_may_clone(from, g);

	cgroup_put(from);
	if (r)
		return r;
	mutex_lock(&tasklist);
	r = cgroup_may_enter(g);
	mutex_unlock(&tasklist);
	return r;
}

long sys_clone3(const void __user *uargs, size_t size)
{
	struct clone_args a;
	int r;

	if (size < CLONE_ARGS_SIZE_VER0)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	r = copy_struct_from_user(&a, sizeof(a), uargs, size);
	if (r)
		return r;
	r = a.set_tid_size ? wished_tid(&a) : a.set_tid ? -EINVAL : 0;
	if (r < 0)
		return r;
	if (a.exit_signal > NSIG || a.flags & (CLONE_DETACHED | (0xff & ~CLONE_NEWTIME)))
		return -EINVAL;
	if (a.flags & (CLONE_THREAD | CLONE_PARENT) && a.exit_signal)
		return -EINVAL;
	if (!a.stack != !a.stack_size)
		return -EINVAL;
	struct cgroup *into = NULL;
	if (a.flags & CLONE_INTO_CGROUP) {
		if (size < CLONE_ARGS_SIZE_VER2 || a.cgroup > 0x7fffffff)
			return -EINVAL;
		into = cgroup_of_fd((int)a.cgroup);
		if (IS_ERR(into))
			return PTR_ERR(into);
	}
	struct clone_req c = {.flags = a.flags,
			      .exit_signal = (int)a.exit_signal,
			      .stack = a.stack ? a.stack + a.stack_size : 0,
			      .tls = a.tls,
			      .ptid = U(a.parent_tid),
			      .ctid = U(a.child_tid),
			      .pidfd = U(a.pidfd),
			      .tid = r,
			      .cgroup = into};
	long pid = into ? enter_group(into) : 0;
	if (!pid)
		pid = do_clone(&c);
	if (into)
		cgroup_put(into);
	return pid;
}

long sys_set_tid_address(int __user *tidptr)
{
	current->clear_child_tid = tidptr;
	return current->tid;
}
