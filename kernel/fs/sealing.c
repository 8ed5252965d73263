// SPDX-License-Identifier: Apache-2.0
// /proc/coffer/sealing_key: the platform's sealing key, for init-attest, which derives the keys of volumes from it that are sealed to this
// enclave. Open only before the first program runs. Locks: none.
#include "hostcall/mountkey.h"
#include "kernel/fs/procfs.h"
#include "kernel/include/boot.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/usercopy.h"

static int key_open(struct inode *ino, struct file *f)
{
	(void)ino, (void)f;
	return boot_before_program() ? 0 : -EPERM;
}

static ssize_t key_read(struct file *f, struct iter *it, u64 *pos)
{
	struct coffer_sealing_key k = {.bound = COFFER_SEALED_TO_MEASUREMENT, .simulated = 1};
	int r;

	(void)f, (void)pos;
	if (it->left < sizeof(k))
		return -EINVAL;
	r = hc_sealing_key(k.key);
	while (!r && iter_put(it, &k, sizeof(k)) != sizeof(k))
		if (iter_fault_in(it, true))
			r = -EFAULT;
	explicit_bzero(&k, sizeof(k));
	return r ? r : (ssize_t)sizeof(k);
}

const struct file_ops proc_sealing_fops = {.open = key_open, .read = key_read, .llseek = no_llseek, .stream = true};
