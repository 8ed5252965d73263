// SPDX-License-Identifier: Apache-2.0
// The system calls of tasks that somebody watches: a tracer (ptrace), a seccomp filter or they themselves (Syscall User
// Dispatch); and of those in a PID namespace. Each host thread has a pointer to the
// table that entry.S calls through; for a watched task it is a table whose every entry comes here, so that
// nobody else pays. Locks: none; a task's divert word is its own.
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/syscall/syscall.h"
#include "kernel/include/kstring.h"
#include "kernel/task/pidns.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/seccomp.h"

extern syscall_fn syscall_table[NR_TABLE];
long sys_out_of_range(struct regs *r);

// Which arguments of a call are numbers of processes (bits 0 to 5), and whether its result is (bit 7). Made with the first namespace.
#define RESULT 128u
static u8 pid_args[NR_TABLE];

void pid_divert_init(void)
{
	static const char *const args[NR_TABLE] = {
#define SYS(nr, name, cls, state, args, note) [nr] = args,
#include "kernel/syscall/table.h"
#undef SYS
	};

	for (u32 i = 0; i < NR_TABLE; i++) {
		u32 bits = 0, n = 0;

		for (const char *s = args[i]; s && *s; n++) {
			const char *end = strchr(s, ' '), *colon = strchr(s, ':');
			size_t len = end ? (size_t)(end - s) : strlen(s);
			if (len == 4 && !memcmp(s, "=pid", 4))
				bits |= RESULT;
			else if (colon && colon + 4 == s + len && !memcmp(colon, ":pid", 4))
				bits |= 1u << n;
			s += len + (end != NULL);
		}
		pid_args[i] = (u8)bits;
	}
	// these look at their numbers themselves
	pid_args[__NR_clone] = pid_args[__NR_clone3] = pid_args[__NR_fork] = pid_args[__NR_vfork] = 0;
}

static long translated(struct regs *r)
{
	u64 a[6] = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9};
	u32 bits = pid_args[r->orig_rax];
	long v;

	for (u32 i = 0; bits && i < 6; i++)
		if (bits & 1u << i)
			a[i] = (u64)(s64)pid_in((int)a[i]);
	v = syscall_table[r->orig_rax](a[0], a[1], a[2], a[3], a[4], a[5]);
	return bits & RESULT && v > 0 ? pid_out((int)v) : v;
}

static long watched(struct regs *r)
{
	struct task *t = current;

	regs_complete(r);
	r->rax = (u64)-ENOSYS;
	if (t->divert & DIVERT_SUD && !sud_syscall_enter(r))
		return (long)r->rax;
	if (t->divert & DIVERT_PTRACE && !ptrace_syscall_enter(r))
		return (long)r->rax;
	if (t->divert & DIVERT_SECCOMP && !seccomp_syscall_enter(r))
		return (long)r->rax;
	if (r->orig_rax >= NR_TABLE)
		return (long)r->rax; // a watcher made it -1: what it left in rax is the result
	if (t->divert & DIVERT_PIDS)
		return translated(r);
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
