// SPDX-License-Identifier: Apache-2.0
// The system calls of tasks that somebody watches: a tracer (ptrace) or a seccomp filter. Each host thread has a pointer to the
// table that entry.S calls through; for a watched task it is a table whose every entry comes here, so that
// nobody else pays. Locks: none; a task's divert word is its own.
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/syscall/syscall.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/seccomp.h"

extern syscall_fn syscall_table[NR_TABLE];
long sys_out_of_range(struct regs *r);

static long watched(struct regs *r)
{
	struct task *t = current;

	regs_complete(r);
	r->rax = (u64)-ENOSYS;
	if (t->divert & DIVERT_PTRACE && !ptrace_syscall_enter(r))
		return (long)r->rax;
	if (t->divert & DIVERT_SECCOMP && !seccomp_syscall_enter(r))
		return (long)r->rax;
	if (r->orig_rax >= NR_TABLE)
		return (long)r->rax; // a watcher made it -1: what it left in rax is the result
	return syscall_table[r->orig_rax](r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9);
}

static long diverted(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	(void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	return watched(current->regs);
}

static const syscall_fn diverted_table[NR_TABLE] = {[0 ... NR_TABLE - 1] = diverted};

const void *syscall_calls(const struct task *t) { return t && t->divert ? diverted_table : syscall_table; }
void syscall_divert_update(void) { hthread_self()->calls = syscall_calls(current); }

long sys_out_of_range(struct regs *r)
{
	if (current->divert)
		return watched(r);
	pr_once("system call %ld does not exist (task %s): ENOSYS\n", (s64)r->orig_rax, current->comm);
	return -ENOSYS;
}
