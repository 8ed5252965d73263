// SPDX-License-Identifier: Apache-2.0
// Small per-task settings: prctl, arch_prctl, set_tid_address, personality, and who am I. They concern the calling thread or
// its process alone and take no locks.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <asm/prctl.h>
#include <linux/capability.h>
#include <linux/prctl.h>

long sys_getpid(void) { return curproc->pid; }
long sys_gettid(void) { return current->tid; }

long sys_getppid(void)
{
	struct proc *parent = curproc->parent;
	return parent ? parent->pid : 0;
}

long sys_set_tid_address(int __user *p)
{
	current->clear_child_tid = p;
	return current->tid;
}

long sys_arch_prctl(int code, u64 addr)
{
	u64 v;

	switch (code) {
	case ARCH_SET_FS:
		if (!access_ok((void __user *)addr, 1))
			return -EPERM;
		current->fs_base = addr;
		pf_set_fs(addr);
		return 0;
	case ARCH_GET_FS:
		v = pf_get_fs();
		return put_user(v, (u64 __user *)addr);
	case ARCH_SET_GS:
		pr_once("arch_prctl: GS belongs to the enclave kernel; programs that need their own GS base do not run\n");
		return -EINVAL;
	case ARCH_GET_GS:
		v = 0;
		return put_user(v, (u64 __user *)addr);
	default:
		return -EINVAL;
	}
}

long sys_personality(u32 v)
{
	struct proc *p = curproc;
	u32 old = p->personality;

	if (v != ~0u)
		p->personality = v;
	return old;
}

static long cap_ambient(u64 op, u64 cap)
{
	struct cred *c = cred();

	if (op == PR_CAP_AMBIENT_CLEAR_ALL) {
		c->cap_amb = 0;
		return 0;
	}
	if (cap > CAP_LAST_CAP)
		return -EINVAL;
	switch (op) {
	case PR_CAP_AMBIENT_IS_SET:
		return c->cap_amb >> cap & 1;
	case PR_CAP_AMBIENT_RAISE:
		if (!(c->cap_perm & c->cap_inh & 1ul << cap))
			return -EPERM;
		c->cap_amb |= 1ul << cap;
		return 0;
	case PR_CAP_AMBIENT_LOWER:
		c->cap_amb &= ~(1ul << cap);
		return 0;
	default:
		return -EINVAL;
	}
}

long sys_prctl(int op, u64 a, u64 b, u64 c, u64 d)
{
	struct task *t = current;
	struct proc *p = t->proc;
	char name[16] = { 0 };
	int v;

	switch (op) {
	case PR_SET_NAME:
		if (user_str(name, (void __user *)a, sizeof(name)) == -EFAULT)
			return -EFAULT;
		name[15] = 0;
		memcpy(t->comm, name, 16);
		return 0;
	case PR_GET_NAME:
		return copy_to_user((void __user *)a, t->comm, 16);
	case PR_SET_PDEATHSIG:
		if (a > NSIG)
			return -EINVAL;
		t->pdeathsig = (u32)a;
		return 0;
	case PR_GET_PDEATHSIG:
		v = (int)t->pdeathsig;
		return put_user(v, (int __user *)a);
	case PR_SET_DUMPABLE:
		if (a > 1)
			return -EINVAL;
		p->dumpable = a;
		return 0;
	case PR_GET_DUMPABLE:
		return p->dumpable;
	case PR_SET_NO_NEW_PRIVS:
		if (a != 1 || b || c || d)
			return -EINVAL;
		p->cred.no_new_privs = true;
		return 0;
	case PR_GET_NO_NEW_PRIVS:
		return a || b || c || d ? -EINVAL : p->cred.no_new_privs;
	case PR_SET_KEEPCAPS:
		if (a > 1)
			return -EINVAL;
		p->cred.keepcaps = a;
		return 0;
	case PR_GET_KEEPCAPS:
		return p->cred.keepcaps;
	case PR_SET_CHILD_SUBREAPER:
		p->child_subreaper = a != 0;
		return 0;
	case PR_GET_CHILD_SUBREAPER:
		v = p->child_subreaper;
		return put_user(v, (int __user *)a);
	case PR_CAPBSET_READ:
		return a > CAP_LAST_CAP ? -EINVAL : (long)(p->cred.cap_bset >> a & 1);
	case PR_CAPBSET_DROP:
		if (a > CAP_LAST_CAP)
			return -EINVAL;
		if (!capable(CAP_SETPCAP))
			return -EPERM;
		p->cred.cap_bset &= ~(1ul << a);
		return 0;
	case PR_CAP_AMBIENT:
		return cap_ambient(a, b);
	case PR_GET_SECUREBITS:
		return 0;
	case PR_SET_TIMERSLACK: // the host's timers decide
		return 0;
	case PR_GET_TIMERSLACK:
		return 50000;
	case PR_GET_SECCOMP:
		return 0;
	case PR_SET_THP_DISABLE: case PR_SET_VMA: case PR_MCE_KILL: case PR_SET_PTRACER: case PR_SET_IO_FLUSHER:
		return op == PR_SET_VMA || op == PR_SET_IO_FLUSHER ? -EINVAL : 0;
	case PR_GET_THP_DISABLE:
		return 0;
	case PR_GET_TSC:
		v = PR_TSC_ENABLE;
		return put_user(v, (int __user *)a);
	case PR_SET_TSC:
		return a == PR_TSC_ENABLE ? 0 : -EINVAL;
	default:
		pr_once("prctl: option %d is not supported\n", op);
		return -EINVAL;
	}
}
