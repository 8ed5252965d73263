// SPDX-License-Identifier: Apache-2.0
// reboot(2) as in a PID namespace (man 2 reboot): it ends the first process of the caller's, and with it all others there, as if
// by SIGHUP for a restart and by SIGINT for an end. In the first namespace that is the end of the enclave.
// Locks: tasklist, sig_lock of the first process.
#include "kernel/task/pidns.h"
#include <linux/capability.h>
#include <linux/reboot.h>

static long end_first(int sig)
{
	struct proc *first;

	mutex_lock(&tasklist);
	first = pid_first(curproc);
	if (first) { // NULL: it is on its way out already
		mutex_lock(&first->sig_lock);
		proc_kill_threads(first, sig);
		mutex_unlock(&first->sig_lock);
	}
	mutex_unlock(&tasklist);
	task_exit(0);
}

long sys_reboot(u32 magic1, u32 magic2, u32 cmd, const void __user *arg)
{
	(void)arg;
	if (!capable_here(CLONE_NEWPID, CAP_SYS_BOOT))
		return -EPERM;
	if (magic1 != LINUX_REBOOT_MAGIC1 || (magic2 != LINUX_REBOOT_MAGIC2 && magic2 != LINUX_REBOOT_MAGIC2A &&
					       magic2 != LINUX_REBOOT_MAGIC2B && magic2 != LINUX_REBOOT_MAGIC2C))
		return -EINVAL;
	switch (cmd) {
	case LINUX_REBOOT_CMD_RESTART:
	case LINUX_REBOOT_CMD_RESTART2: return end_first(SIGHUP);
	case LINUX_REBOOT_CMD_HALT:
	case LINUX_REBOOT_CMD_POWER_OFF: return end_first(SIGINT);
	default: return -EINVAL;
	}
}
