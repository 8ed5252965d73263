// SPDX-License-Identifier: Apache-2.0
// Features that an enclave does not have: each call checks its arguments as far as Linux does before it refuses, and answers
// as a Linux on which the feature is switched off. Locks: none.
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"
#include <linux/capability.h>

static long privileged(int cap, long otherwise) { return capable(cap) ? otherwise : -EPERM; }

// --- kernel code from outside: modules_disabled and kexec_load_disabled
long sys_init_module(void) { return -EPERM; }
long sys_finit_module(void) { return -EPERM; }
long sys_delete_module(void) { return -EPERM; }
long sys_kexec_load(void) { return -EPERM; }
long sys_kexec_file_load(void) { return -EPERM; }
long sys_bpf(void) { return -EPERM; } // unprivileged_bpf_disabled, and nobody is privileged enough

// --- observing: no performance counters, no accounting, no profiler, no fanotify
#define PERF_ATTR_VER0 64u

// No counter of any type is registered.
long sys_perf_event_open(const void __user *uattr, int pid, int cpu, int group, u64 flags)
{
	struct {
		u32 type, size;
		u64 config, period, sample, read, bits;
	} a;

	(void)group;
	if (flags & ~15ul || (pid == -1 && cpu == -1))
		return -EINVAL;
	if (copy_from_user(&a, uattr, sizeof(a)))
		return -EFAULT;
	if (a.size && a.size < PERF_ATTR_VER0)
		return -E2BIG;
	if (!capable(CAP_SYS_ADMIN) && !capable(CAP_PERFMON))
		return -EACCES; // perf_event_paranoid
	return -ENOENT;
}

long sys_acct(const void __user *name)
{
	(void)name;
	return privileged(CAP_SYS_PACCT, -ENOSYS);
}

// For the kernel's own trampolines only, of which there are none.
long sys_uretprobe(void)
{
	signal_force(SIGILL, SI_KERNEL, 0);
	return -1;
}

long sys_lookup_dcookie(void) { return privileged(CAP_SYS_ADMIN, -EINVAL); } // no cookie was given out
long sys_fanotify_init(void) { return -ENOSYS; } // as without CONFIG_FANOTIFY, whoever asks
long sys_fanotify_mark(void) { return -ENOSYS; }

// --- user-space faults: unprivileged_userfaultfd=0, whoever asks
long sys_userfaultfd(int flags)
{
	return flags & ~(O_CLOEXEC | O_NONBLOCK | 1) ? -EINVAL : -EPERM;
}

// --- Landlock was not enabled at boot; no other security module is there either
long sys_landlock_create_ruleset(void) { return -EOPNOTSUPP; }
long sys_landlock_add_rule(void) { return -EOPNOTSUPP; }
long sys_landlock_restrict_self(void) { return -EOPNOTSUPP; }
long sys_lsm_get_self_attr(void) { return -EOPNOTSUPP; }
long sys_lsm_set_self_attr(void) { return -EOPNOTSUPP; }

long sys_lsm_list_modules(void __user *ids, void __user *usize, u32 flags)
{
	u32 size;

	(void)ids;
	if (flags)
		return -EINVAL;
	if (get_user(size, (u32 __user *)usize) || put_user(0u, (u32 __user *)usize))
		return -EFAULT;
	return 0;
}

// --- the machine itself
long sys_iopl(u32 level)
{
	return level > 3 ? -EINVAL : level ? -EPERM : 0;
}

long sys_ioperm(u64 from, u64 num, int on)
{
	if (from + num <= from || from + num > 65536)
		return -EINVAL;
	return on ? -EPERM : 0;
}

// Programs have no descriptors of their own; reading them finds none.
long sys_modify_ldt(int func, void __user *p, u64 bytes)
{
	switch (func) {
	case 0: return 0;
	case 2: bytes = min(bytes, (u64)128); return clear_user(p, bytes) ? -EFAULT : (long)bytes;
	default: return -ENOSYS;
	}
}

long sys_map_shadow_stack(void) { return -EOPNOTSUPP; }
