// SPDX-License-Identifier: Apache-2.0
// Dispatch: the table that entry.S jumps through, made from table.h, and the --strace variant of it.
#include "kernel/include/boot.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"

typedef long (*handler)(u64, u64, u64, u64, u64, u64);
#define NR_TABLE 512

#define SYS(nr, name, cls, state, args, note) long sys_##name(void) __weak;
#include "kernel/syscall/table.h"
#undef SYS

static const struct {
	const char *name, *fmt;
} names[NR_TABLE] = {
#define SYS(nr, name, cls, state, args, note) [nr] = { #name, args },
#include "kernel/syscall/table.h"
#undef SYS
};

static const handler handlers[NR_TABLE] = {
#define SYS(nr, name, cls, state, args, note) [nr] = (handler)(void *)sys_##name,
#include "kernel/syscall/table.h"
#undef SYS
};

handler syscall_table[NR_TABLE] __sealed; // what entry.S calls, for most tasks (divert.c)

// A call that is not there: ENOSYS, its name logged once.
static long sys_ni(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	static u64 logged[NR_TABLE / 64];
	u64 nr = current->regs->orig_rax;

	(void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	if (nr < NR_TABLE && !(__atomic_fetch_or(&logged[nr / 64], 1ul << (nr % 64), __ATOMIC_RELAXED) & 1ul << (nr % 64)))
		pr_warn("system call %s (%lu) is not supported (task %s): ENOSYS\n", names[nr].name ? names[nr].name : "?", nr, current->comm);
	return -ENOSYS;
}

static int print_arg(char *p, int room, const char *type, u64 v)
{
	char s[48];

	switch (*type == 'p' && type[1] == 'a' ? 's' : *type) {
	case 'd': case 'f':
		return scnprintf(p, (size_t)room, "%d", (int)v);
	case 'u': case 'n':
		return scnprintf(p, (size_t)room, "%lu", v);
	case 'o':
		return scnprintf(p, (size_t)room, "0%o", (u32)v);
	case 's':
		if (user_str(s, (void __user *)v, sizeof(s)) == -EFAULT)
			return scnprintf(p, (size_t)room, "%lx", v);
		s[sizeof(s) - 1] = 0;
		return scnprintf(p, (size_t)room, "\"%s\"", s);
	default:
		return scnprintf(p, (size_t)room, "0x%lx", v);
	}
}

// --strace: every entry of the table points here.
static long traced(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	u64 nr = current->regs->orig_rax, v[6] = { a, b, c, d, e, f };
	char line[320];
	int n = 0, tid = current->tid;
	handler h = handlers[nr] ? handlers[nr] : sys_ni;
	const char *fmt = names[nr].fmt ? names[nr].fmt : "";
	bool noreturn = nr == __NR_exit || nr == __NR_exit_group || nr == __NR_execve || nr == __NR_rt_sigreturn;
	long r = 0;

	n = scnprintf(line, sizeof(line), "[%d] %s(", tid, names[nr].name ? names[nr].name : "?");
	for (int i = 0; i < 6; i++) {	// "name:type name:type =result"
		while (*fmt && *fmt != ':')
			fmt++;
		if (!*fmt)
			break;
		if (i)
			n += scnprintf(line + n, sizeof(line) - (size_t)n, ", ");
		n += print_arg(line + n, (int)sizeof(line) - n, ++fmt, v[i]);
	}
	if (noreturn)
		klog(LOG_ERR, "%s)\n", line);
	r = h(a, b, c, d, e, f);
	klog(LOG_ERR, "%s) = %ld\n", line, r);
	return r;
}

void syscall_init(void)
{
	for (u32 i = 0; i < NR_TABLE; i++)
		syscall_table[i] = boot_info.strace && boot_info.debug ? traced : handlers[i] ? handlers[i] : sys_ni;
}

long sys_out_of_range(struct regs *r);

// For system calls that trapped instead of jumping.
long syscall_dispatch(struct regs *r)
{
	if (r->orig_rax >= NR_TABLE)
		return sys_out_of_range(r);
	return ((const handler *)hthread_self()->calls)[r->orig_rax](r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9);
}
