// SPDX-License-Identifier: Apache-2.0
// reboot(2) as in a PID namespace of its own (man 2 reboot): it ends the first process, and with it the enclave, as if
// by SIGHUP for a restart and by SIGINT for an end. Locks: sig_lock of the first process.
#include "kernel/task/internal.h"
#include <linux/capability.h>
#include <linux/reboot.h>

static long end_first(int sig)
{
	mutex_lock(&init_proc->sig_lock);
	proc_kill_threads(init_proc, sig);
	mutex_unlock(&init_proc->sig_lock);
	proc_exit(SIGKILL);
}

long sys_reboot(u32 magic1, u32 magic2, u32 cmd, const void __user *arg)
{
	(void)arg;
	if (!capable(CAP_SYS_BOOT))
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
