// SPDX-License-Identifier: Apache-2.0
// Syscall User Dispatch (prctl PR_SET_SYSCALL_USER_DISPATCH): a thread's system calls from outside of one range of code become SIGSYS while a
// byte of its memory says so. Such a thread is diverted (syscall/divert.c); others pay nothing. Takes no locks.
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <linux/audit.h>
#include <linux/prctl.h>

#define SYS_USER_DISPATCH_ 2 // si_code

struct sud {
	u64 offset, len;	 // code whose calls pass
	const u8 __user *selector; // NULL: all others are dispatched
};

void sud_end(struct task *t)
{
	kfree(t->sud);
	t->sud = NULL;
}

static void off(struct task *t)
{
	if (!t->sud)
		return;
	t->divert &= ~DIVERT_SUD;
	syscall_divert_update();
	sud_end(t);
}

void sud_exec(void) { off(current); }

long sud_prctl(u64 mode, u64 offset, u64 len, const void __user *selector)
{
	struct task *t = current;

	if (mode == PR_SYS_DISPATCH_OFF) {
		if (offset || len || selector)
			return -EINVAL;
		off(t);
		return 0;
	}
	if (mode != PR_SYS_DISPATCH_ON || (offset && offset + len <= offset))
		return -EINVAL;
	if ((uptr)selector >> 47) // what is not there is found when it is read
		return -EFAULT;
	if (!t->sud && !(t->sud = knew(struct sud)))
		return -ENOMEM;
	*t->sud = (struct sud){offset, len, selector};
	t->divert |= DIVERT_SUD;
	syscall_divert_update();
	return 0;
}

bool sud_syscall_enter(struct regs *r)
{
	const struct sud *s = current->sud;
	u64 at = text_call_address(r->rip);
	siginfo_t info;
	u8 state;

	if (at - s->offset < s->len)
		return true;
	if (s->selector) {
		if (get_user(state, s->selector))
			proc_exit(SIGSEGV);
		if (state == SYSCALL_DISPATCH_FILTER_ALLOW)
			return true;
		if (state != SYSCALL_DISPATCH_FILTER_BLOCK)
			proc_exit(SIGSYS);
	}
	memset(&info, 0, sizeof(info));
	info.si_signo = SIGSYS;
	info.si_code = SYS_USER_DISPATCH_;
	info.si_call_addr = (__force void *)U(at);
	info.si_syscall = (int)r->orig_rax;
	info.si_arch = AUDIT_ARCH_X86_64;
	r->rax = r->orig_rax; // the handler finds the registers as they were
	signal_force_info(&info);
	return false;
}
