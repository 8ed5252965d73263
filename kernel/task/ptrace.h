// SPDX-License-Identifier: Apache-2.0
// What tracing (man 2 ptrace) adds to a task. ptrace_stop.c has the stops and the links between tracer and tracee, ptrace.c the
// requests, ptrace_regs.c registers. A stopped tracee stands in ptrace_stop; its registers lie in kernel memory, its vector
// state is saved in pt->xstate, so the tracer works on those; memory goes through mm/remote.c.
// Locks: tasklist guards everything in struct ptrace but what the tracee alone uses.
#pragma once
#include "kernel/include/task.h"

enum ptrace_kind { PT_RUNNING, PT_SIGNAL, PT_EVENT, PT_ENTRY, PT_EXIT, PT_GROUP };

struct ptrace {
	struct task *task;
	struct task *tracer;	// NULL: nobody traces; cleared before that thread goes
	struct list link;	// tracer->proc->tracees
	u32 options;		// PTRACE_O_*
	bool seized;
	bool stopped;		// the tracer may work on it
	bool listening;		// PTRACE_LISTEN: stopped, but not for requests
	bool zombie;		// a thread that ended; its tracer has not been told
	bool killed;		// SIGKILL came during an exit stop
	enum ptrace_kind kind;
	u32 code;		// status for wait (>> 8), 0: was reported
	u32 what;		// the same, for as long as it stands
	bool has_info;
	siginfo_t info;
	u64 msg;		// PTRACE_GETEVENTMSG
	int data;		// signal that the tracer passes on
	bool syscall, step, emulate; // how it was resumed
	bool forced_tf;		// the trap flag in its registers is ours
	bool xstate_set, fs_set; // the tracer changed them
	u64 dr[8], watched[4];	// debug registers, and what the watched bytes were
	bool away;		// stopped as a vfork parent: its host thread is the child
	void *xmem;		// holds xstate
	u8 *xstate;		// aligned; pf_xstate_size() bytes
};

static inline bool ptraced(const struct task *t) { return t->pt && t->pt->tracer; }

// --- ptrace_stop.c
// The current task's stops. Each returns when the tracer lets it go on (or is gone).
int ptrace_signal(struct regs *r, int sig, siginfo_t *info);	// the signal to act upon, 0: none
void ptrace_event(u32 event, u64 msg);		// PTRACE_EVENT_*, if the tracer asked for it
void ptrace_group_stop(struct regs *r, int sig);
void ptrace_trap(struct regs *r);		// WORK_TRAP
void ptrace_handler_step(struct regs *r);	// a signal handler is about to start
bool ptrace_syscall_enter(struct regs *r);	// false: the call is skipped
void ptrace_syscall_exit(struct regs *r);	// WORK_SYSEXIT
void ptrace_exec(struct regs *r, int old_tid);
void ptrace_exit(int code);			// PTRACE_EVENT_EXIT
// The parent of a vfork child stops without a host thread of its own: before it lends it, and after it has it back.
void ptrace_vfork_enter(struct task *parent, int child);
void ptrace_vfork_back(struct regs *r);		// WORK_VFORK

u32 ptrace_fork_event(u64 clone_flags, int exit_signal);	// which event the current task's tracer wants of it, or 0
void ptrace_inherit(struct task *child, u32 event, u64 clone_flags);	// tasklist held
// tasklist held for all of these:
int ptrace_link(struct task *t, struct task *tracer, bool seized, u32 options);
void ptrace_unlink(struct task *t);		// the tracee goes on by itself
void ptrace_resume(struct ptrace *pt);
bool ptrace_consume_thread(struct ptrace *pt);	// zombie thread: frees it
bool ptrace_left(struct task *t);		// a thread has ended; true: it stays as a zombie for its tracer
bool ptrace_holds(struct proc *zombie);		// the zombie is its tracer's to see first; tells it
void ptrace_tracer_exit(struct task *t);	// tasklist held, t->exiting set
void ptrace_cont(struct proc *p);		// SIGCONT came: sig_lock held
void ptrace_kill(struct proc *p);		// SIGKILL came: sig_lock held
void ptrace_free(struct task *t);

// --- ptrace_regs.c: tasklist held, t is stopped
struct user_regs_struct;
void ptrace_getregs(struct task *t, u64 *out);
int ptrace_setregs(struct task *t, const u64 *in, u32 n);	// the first n registers
int ptrace_peekuser(struct task *t, u64 off, u64 *v);
int ptrace_pokeuser(struct task *t, u64 off, u64 v);
int ptrace_set_xstate(struct task *t, const u8 *in, size_t n);

// --- ptrace_watch.c
int ptrace_get_debugreg(struct task *t, u32 n, u64 *v);	// tasklist held, t is stopped
int ptrace_set_debugreg(struct task *t, u32 n, u64 v);
// The current task: it goes on after a stop; its registers were replaced; it has made a step (true: that is a SIGTRAP).
void ptrace_watch_arm(struct task *t, struct regs *r);
void ptrace_watch_go_on(struct task *t, struct regs *r);
bool ptrace_watch_step(struct task *t, struct regs *r, int *code);
#define USER_REGS 27u	// words of struct user_regs_struct
