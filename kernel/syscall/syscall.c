// SPDX-License-Identifier: Apache-2.0
// Dispatch: the table that entry.S jumps through, made from table.h. Takes no locks.
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/syscall/syscall.h"

#define SYS(nr, name, cls, state, args, note) long sys_##name(void) __weak;
#include "kernel/syscall/table.h"
#undef SYS

static const char *const names[NR_TABLE] = {
#define SYS(nr, name, cls, state, args, note) [nr] = #name,
#include "kernel/syscall/table.h"
#undef SYS
};

static const syscall_fn handlers[NR_TABLE] = {
#define SYS(nr, name, cls, state, args, note) [nr] = (syscall_fn)(void *)sys_##name,
#include "kernel/syscall/table.h"
#undef SYS
};

syscall_fn syscall_table[NR_TABLE] __sealed; // what entry.S calls, for most tasks (divert.c)

// A call that is not there: ENOSYS, its name logged once.
static long sys_ni(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	static u64 logged[NR_TABLE / 64];
	u64 nr = current->regs->orig_rax;

	(void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	if (nr < NR_TABLE && !(__atomic_fetch_or(&logged[nr / 64], 1ul << (nr % 64), __ATOMIC_RELAXED) & 1ul << (nr % 64)))
		pr_warn("system call %s (%lu) is not supported (task %s): ENOSYS\n", names[nr] ? names[nr] : "?", nr, current->comm);
	return -ENOSYS;
}

const char *syscall_name(u32 nr) { return nr < NR_TABLE && names[nr] ? names[nr] : "?"; }

syscall_fn syscall_handler(u32 nr) { return handlers[nr] ? handlers[nr] : sys_ni; }

void syscall_init(void)
{
	for (u32 i = 0; i < NR_TABLE; i++)
		syscall_table[i] = strace_wants(i) ? strace_call : syscall_handler(i);
}

long sys_out_of_range(struct regs *r);

// For system calls that trapped instead of jumping.
long syscall_dispatch(struct regs *r)
{
	if (r->orig_rax >= NR_TABLE)
		return sys_out_of_range(r);
	return ((const syscall_fn *)hthread_self()->calls)[r->orig_rax](r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9);
}
