// SPDX-License-Identifier: Apache-2.0
// prctl, arch_prctl, personality and their kind: small settings of a thread or process. Locks: none, each setting is
// one word that its own process writes.
#include "kernel/include/mm.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include "kernel/task/seccomp.h"
#include <asm/prctl.h>
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/securebits.h>

static long bounding_set(int op, u64 cap)
{
	if (cap > CAP_LAST_CAP)
		return -EINVAL;
	if (op == PR_CAPBSET_READ)
		return cred()->cap_bset >> cap & 1;
	if (!own_capable(CAP_SETPCAP))
		return -EPERM;
	cred()->cap_bset &= ~(1ul << cap);
	return 0;
}

static long ambient(u64 op, u64 cap)
{
	struct cred *c = cred();

	if (op == PR_CAP_AMBIENT_CLEAR_ALL) {
		c->cap_amb = 0;
		return 0;
	}
	if (cap > CAP_LAST_CAP)
		return -EINVAL;
	switch (op) {
	case PR_CAP_AMBIENT_IS_SET: return c->cap_amb >> cap & 1;
	case PR_CAP_AMBIENT_RAISE:
		if (!(c->cap_perm & c->cap_inh & 1ul << cap) || c->securebits & SECBIT_NO_CAP_AMBIENT_RAISE)
			return -EPERM;
		c->cap_amb |= 1ul << cap;
		return 0;
	case PR_CAP_AMBIENT_LOWER: c->cap_amb &= ~(1ul << cap); return 0;
	default: return -EINVAL;
	}
}

static long set_name(const void __user *uname)
{
	struct task *t = current;
	char name[sizeof(t->comm)];
	ssize_t n;

	memset(name, 0, sizeof(name));
	n = user_str(name, uname, sizeof(name));
	if (n < 0 && n != -ENAMETOOLONG)
		return n;
	name[sizeof(name) - 1] = 0;
	memcpy(t->comm, name, sizeof(name));
	return 0;
}

static long bool_arg(u64 v, bool *to)
{
	if (v > 1)
		return -EINVAL;
	*to = v;
	return 0;
}

static long keep_caps(struct cred *c, bool on)
{
	if (c->securebits & SECBIT_KEEP_CAPS_LOCKED)
		return -EPERM;
	c->securebits = (u8)((c->securebits & ~SECBIT_KEEP_CAPS) | (on ? SECBIT_KEEP_CAPS : 0));
	return 0;
}

// A lock is the bit above the one that it locks, and stays.
static long secure_bits(struct cred *c, u64 to)
{
	u64 locks = c->securebits & SECURE_ALL_LOCKS;

	if (to & ~(u64)(SECURE_ALL_LOCKS | SECURE_ALL_BITS) || locks & ~to || (locks >> 1) & (to ^ c->securebits) || !own_capable(CAP_SETPCAP))
		return -EPERM;
	c->securebits = (u8)to;
	return 0;
}

// What Linux would do with a process whose memory went bad. The host keeps such events to itself: the wish is remembered.
static long mce_kill(struct task *t, u64 what, u64 policy)
{
	if (what == PR_MCE_KILL_CLEAR)
		return policy ? -EINVAL : (t->mce_policy = 0);
	if (what != PR_MCE_KILL_SET || policy > PR_MCE_KILL_DEFAULT)
		return -EINVAL;
	t->mce_policy = policy == PR_MCE_KILL_DEFAULT ? 0 : (u8)(policy + 1);
	return 0;
}

#ifndef PR_SET_MDWE // newer than the headers of Debian 12
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#define MDWE_REFUSE_EXEC_GAIN 1u
#define MDWE_NO_INHERIT 2u

// Memory that can be written is never to be run. Once asked for it stays.
static long mdwe_set(struct mm *mm, u64 bits)
{
	long r = 0;

	if (bits & ~(u64)(MDWE_REFUSE_EXEC_GAIN | MDWE_NO_INHERIT) || bits == MDWE_NO_INHERIT)
		return -EINVAL;
	mutex_lock(&mm->lock);
	if (mm->mdwe && mm->mdwe != bits)
		r = -EPERM;
	else
		mm->mdwe = (u32)bits;
	mutex_unlock(&mm->lock);
	return r;
}

long sys_prctl(int op, u64 a2, u64 a3, u64 a4, u64 a5)
{
	struct task *t = current;
	struct proc *p = t->proc;

	switch (op) {
	case PR_SET_NAME: return set_name(U(a2));
	case PR_GET_NAME: return copy_to_user(U(a2), t->comm, sizeof(t->comm));
	case PR_SET_PDEATHSIG:
		if (a2 > NSIG)
			return -EINVAL;
		t->pdeathsig = (u32)a2;
		return 0;
	case PR_GET_PDEATHSIG: return put_user((int)t->pdeathsig, (int __user *)U(a2));
	case PR_SET_DUMPABLE: return bool_arg(a2, &p->dumpable);
	case PR_GET_DUMPABLE: return p->dumpable;
	case PR_SET_KEEPCAPS: return a2 > 1 ? -EINVAL : keep_caps(&p->cred, a2);
	case PR_GET_KEEPCAPS: return !!(p->cred.securebits & SECBIT_KEEP_CAPS);
	case PR_SET_NO_NEW_PRIVS:
		if (a2 != 1 || a3 || a4 || a5)
			return -EINVAL;
		p->cred.no_new_privs = true;
		return 0;
	case PR_GET_NO_NEW_PRIVS: return a2 || a3 || a4 || a5 ? -EINVAL : p->cred.no_new_privs;
	case PR_SET_CHILD_SUBREAPER: p->child_subreaper = a2; return 0;
	case PR_GET_CHILD_SUBREAPER: return put_user((int)p->child_subreaper, (int __user *)U(a2));
	case PR_SET_TIMERSLACK: // timers here are as exact as the host's; the value is only remembered
		t->timer_slack_ns = a2 ? a2 : t->timer_slack_first;
		return 0;
	case PR_GET_TIMERSLACK: return (long)(t->timer_slack_ns ? t->timer_slack_ns : 50000);
	case PR_CAPBSET_READ:
	case PR_CAPBSET_DROP: return bounding_set(op, a2);
	case PR_CAP_AMBIENT: return ambient(a2, a3);
	case PR_SET_SECUREBITS: return secure_bits(&p->cred, a2);
	case PR_GET_SECUREBITS: return p->cred.securebits;
	case PR_GET_SECCOMP: return t->seccomp_mode;
	case PR_SET_SYSCALL_USER_DISPATCH: return sud_prctl(a2, a3, a4, U(a5));
	case PR_SET_SECCOMP: return seccomp_prctl(a2, U(a3));
	case PR_GET_TSC: return put_user((int)PR_TSC_ENABLE, (int __user *)U(a2));
	case PR_SET_TSC: return a2 == PR_TSC_ENABLE ? 0 : -EINVAL;
	case PR_MCE_KILL: return a4 || a5 ? -EINVAL : mce_kill(t, a2, a3);
	case PR_MCE_KILL_GET: return a2 || a3 || a4 || a5 ? -EINVAL : t->mce_policy ? t->mce_policy - 1 : PR_MCE_KILL_DEFAULT;
	case PR_SET_MDWE: return a3 || a4 || a5 ? -EINVAL : mdwe_set(p->mm, a2);
	case PR_GET_MDWE: return a2 || a3 || a4 || a5 ? -EINVAL : (long)p->mm->mdwe;
	case PR_GET_TID_ADDRESS: return put_user(t->clear_child_tid, (int __user *__user *)U(a2));
	case PR_SET_THP_DISABLE: // huge pages are the host's choice; the wish is only remembered
		if (a3 || a4 || a5)
			return -EINVAL;
		p->mm->thp_off = a2;
		return 0;
	case PR_GET_THP_DISABLE: return a2 || a3 || a4 || a5 ? -EINVAL : p->mm->thp_off;
	case PR_SET_PTRACER: return -EINVAL; // Yama's, which is not there
	case PR_GET_SPECULATION_CTRL: return -ENODEV;
	case PR_SET_VMA: return -EINVAL; // names of memory, as by a Linux that keeps none: programs ask at each start and do without
	default: pr_once("prctl %d is not supported (task %s): EINVAL\n", op, t->comm); return -EINVAL;
	}
}

long sys_arch_prctl(int op, u64 addr)
{
	switch (op) {
	case ARCH_SET_FS:
		if (!access_ok(U(addr), 1))
			return -EPERM;
		current->fs_base = addr;
		pf_set_fs(addr);
		return 0;
	case ARCH_GET_FS: return put_user(pf_get_fs(), (u64 __user *)U(addr));
	case ARCH_SET_GS:
		pr_once("arch_prctl(ARCH_SET_GS): the GS base belongs to the enclave kernel\n");
		return -EPERM;
	case ARCH_GET_GS: return put_user(0ul, (u64 __user *)U(addr));
	default: // CPUID faulting, shadow stacks, AMX permission: not offered
		return -EINVAL;
	}
}

long sys_personality(u64 persona)
{
	struct proc *p = curproc;
	u32 old = p->personality;

	if (persona != 0xffffffff)
		p->personality = (u32)persona;
	return old;
}

// Threads of an enclave are ordinary host threads; the barrier is the host's, over all CPUs that run one.
long sys_membarrier(int cmd, u32 flags, int cpu)
{
	(void)cpu;
	if (flags)
		return -EINVAL;
	switch (cmd) {
	case MEMBARRIER_CMD_QUERY:
		return MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED |
		       MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED |
		       MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
	case MEMBARRIER_CMD_GLOBAL:
	case MEMBARRIER_CMD_GLOBAL_EXPEDITED:
	case MEMBARRIER_CMD_PRIVATE_EXPEDITED: pf_text_sync(); return 0;
	case MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED:
	case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: return 0; // every host process is registered from its start
	default: return -EINVAL;
	}
}
