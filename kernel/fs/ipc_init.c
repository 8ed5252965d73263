// SPDX-License-Identifier: Apache-2.0
// Boot of the IPC-like files and pseudo file systems. Locks: none (before the first program).
#include "kernel/include/ipc.h"

void shm_init(void);
int mqueue_init(void), ns_init(void);
int proc_init(void), sysfs_init(void), cgroupfs_init(void), configfs_init(void), pty_init(void), memfd_init(void);
extern const struct file_ops dev_tty_fops, console_fops, ptmx_fops;

int ipc_init(void)
{
	int r = proc_init();

	if (!r)
		r = sysfs_init();
	if (!r)
		r = cgroupfs_init();
	if (!r)
		r = configfs_init();
	if (!r)
		r = pty_init();
	if (!r)
		r = memfd_init();
	if (!r)
		r = mqueue_init();
	if (!r)
		r = ns_init();
	shm_init();
	if (!r)
		r = dev_register(5, 0, "tty", 0666, &dev_tty_fops);
	if (!r)
		r = dev_register(5, 1, "console", 0600, &console_fops);
	if (!r)
		r = dev_register(5, 2, "ptmx", 0666, &ptmx_fops);
	return r;
}
