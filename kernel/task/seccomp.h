// SPDX-License-Identifier: Apache-2.0
// Filters on system calls (man 2 seccomp). A task points to its newest filter, which points to the one before it; filters are
// shared by the tasks that inherited them and never change. seccomp.c has the filters, seccomp_notify.c the listener.
// Locks: sig_lock for task->seccomp and its mode; notify->lock for a listener's state.
#pragma once
#include "kernel/include/task.h"
#include "kernel/task/bpf.h"

struct notify;

struct seccomp_filter {
	struct ref ref;
	u32 users;		// tasks that run under it, and filters that were put upon it
	struct seccomp_filter *prev;
	u32 len, total;		// instructions: its own, with those before it
	bool log, uses_ip;
	struct notify *notify;	// its listener's, or NULL
	struct sock_filter insn[];
};

bool seccomp_syscall_enter(struct regs *r);	// false: the call is skipped, its result is in rax
void seccomp_inherit(struct task *child);	// from the current task; sig_lock of its process held
void seccomp_drop(struct task *t);		// t is gone
u32 seccomp_filters(const struct task *t);	// how many; tasklist or sig_lock held
long seccomp_prctl(u64 mode, const void __user *prog);
void seccomp_put(struct seccomp_filter *f);

// --- seccomp_notify.c
int notify_open(struct notify **out, bool killable);		// a listener's descriptor; *out gets a reference of its own
void notify_put(struct notify *n);
void notify_unused(struct notify *n);		// no task runs under the filter any more
// Asks the listener. True: make the call; false: r->rax has the result.
bool notify_ask(struct notify *n, struct regs *r, const struct seccomp_data *d);
