// SPDX-License-Identifier: Apache-2.0
// PID namespaces within the kernel: see pidns.c. Only pid_in and pid_out matter to others (include/task.h).
#pragma once
#include "kernel/include/ns.h"
#include "kernel/task/internal.h"
#include "kernel/task/ptrace.h"

#define PID_NOBODY 0x3fffffff // no number of anybody

struct pid_slot {
	u16 uses;
	struct task *task;
	struct proc *proc;
};
struct pid_slot *pid_slot(int pid);	// of a number from PID_MAX on; NULL: never used
int pid_ns_alloc(struct ns *n, int wish);	// pid_lock held
int pid_spaces_for_each(int (*fn)(struct proc *, void *), void *arg);	// tasklist held
struct ns *pid_ns_new(void);		// below the caller's; ERR_PTR
void pid_ns_put(struct ns *n);
struct ns *pid_ns_of(int pid);		// where that number belongs; no reference
bool pid_ns_below(struct ns *n);	// the caller's, or one below it
void pid_ns_born(struct proc *p), pid_ns_unborn(struct proc *p);	// tasklist held
bool pid_is_reaper(const struct proc *p);	// the first process of a namespace that is not the first
struct proc *pid_first(const struct proc *p);	// the first process of p's namespace, NULL: it ends. tasklist held
struct proc *pid_reaper(const struct proc *p);	// who takes p's orphans. tasklist held
void pid_ns_end(struct proc *p);
void pid_divert_init(void);		// syscall/divert.c
