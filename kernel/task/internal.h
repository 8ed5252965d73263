// SPDX-License-Identifier: Apache-2.0
// What the files of kernel/task/ share among themselves.
#pragma once
#include "kernel/include/task.h"


// --- pid.c. A pid number stays taken while anything uses it: a thread as tid (the leader's is its process's), a process as
// pid, pgid or sid.
void pid_hold(int pid);
// The tables behind task_find and proc_find; tasklist held.
void task_publish(struct task *t);
void task_unpublish(struct task *t);
void proc_publish(struct proc *p);
void proc_unpublish(struct proc *p);
struct proc *proc_of(int pid);		// no reference
void proc_set_pgrp(struct proc *p, int pgid);	// 0: none. tasklist held
// Calls fn for each member of a group until it returns non-zero; takes pgrp_lock. -ESRCH when the group is empty.
int pgrp_for_each(int pgid, int (*fn)(struct proc *, void *), void *arg);
struct session *session_new(int sid);
void session_get(struct session *s);
void session_put(struct session *s);

// --- proc.c
struct proc *proc_new(int pid);		// one reference: the tables'. Once linked, it owns the number pid
struct task *task_new(struct proc *p, int tid);	// one reference: the running task's
void proc_link(struct proc *p, struct task *leader, struct proc *parent); // makes both visible; tasklist held
void proc_unlink(struct proc *p);	// out of tables, parent's list, group and session; tasklist held
bool proc_orphaned_pgrp(int pgid, struct proc *ignore);	// no member has a parent in the session outside it; tasklist held

// --- sched.c
int sched_class(const struct task *t);		// SCHED_*
int sched_prio(const struct task *t);		// as /proc/PID/stat has it
// What a child or thread of `from` begins with (p: its process, NULL for a thread). check: only whether there may be one.
bool sched_fork(struct task *t, struct proc *p, const struct task *from, bool check);

// --- fork.c
// The vfork child has exec'ed or exited: the host thread becomes its parent again. `exited` (or NULL) is then released.
void vfork_return(struct task *parent, struct task *exited) __noreturn;

// --- exit.c
void proc_kill_threads(struct proc *p, int wait_status);	// exit_group: flags every thread; sig_lock held
int exec_kill_siblings(void);		// 0 when the current task is alone, -EINTR when it must die itself
void proc_reap(struct proc *p);		// a zombie that was waited for; tasklist held, drops the tables' reference
void proc_zombie_seen(struct proc *p);	// a zombie's tracer lets go: the parent hears of it; tasklist held
void proc_notify_stop(struct proc *p, int code);	// CLD_STOPPED, CLD_CONTINUED to the parent; tasklist held

// --- signal.c
void sigpending_flush(struct sigpending *s, sigset which);	// sig_lock held
bool sig_ignored_by(struct proc *p, int sig);	// the action discards it; sig_lock held
bool signal_kills(struct task *t);	// an unblocked signal waits for it that ends its process (without a core file)
void signal_reset_exec(struct proc *p);
void signal_wake(struct task *t, u32 work);	// sets work bits and makes t look at them
bool signal_stop_complete(struct proc *p);	// tasklist and sig_lock held; true: tell the parent
void signal_retarget(struct proc *p);		// every thread looks again at what is pending; sig_lock held
void signal_set_mask(sigset set);		// of the current task
void sigrestart_none(struct regs *regs);	// an interrupted call and no handler: call it again

// --- sigframe.c
void xstate_reset(void);	// initial vector state
int sigframe_build(struct regs *regs, int sig, const siginfo_t *info, const struct ksigaction *ka, sigset old_mask);

// --- futex.c
void futex_exit(struct task *t);	// robust list, clear_child_tid: in the task's own address space

// --- ids.c
#define CAP_ALL ((1ul << 41) - 1)	// CAP_LAST_CAP is 40
void sud_end(struct task *t), sud_exec(void);	// task/sud.c
long sud_prctl(u64 mode, u64 offset, u64 len, const void __user *selector);
bool sud_syscall_enter(struct regs *r);	// false: it was dispatched
void cred_init_root(struct cred *c);
struct inode;
// Set-user-ID programs, and root's capabilities; unsafe: others may have a hand in what the program does. True: AT_SECURE.
bool cred_exec(struct inode *ino, bool nosuid, bool unsafe);

// --- exec.c: a program that runs cannot be written to (ETXTBSY): these count its users
struct file *exe_get(struct file *f);	// f may be NULL
void exe_put(struct file *f);

// --- usage.c
struct rusage;
void rusage_of(struct rusage *ru, u64 utime_ns, u64 stime_ns, const struct usage_counts *c);
void usage_self(struct proc *p, struct usage_counts *c);	// p: the caller's
void usage_add(struct usage_counts *sum, const struct usage_counts *c);
