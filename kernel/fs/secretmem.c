// SPDX-License-Identifier: Apache-2.0
// memfd_secret: memory behind a descriptor that can only be mapped. Enclave memory is nobody else's to begin with;
// what the call adds is that not even read and write reach it. Locks: inode->lock guards the size.
#include "kernel/fs/fs.h"

static int secret_setattr(struct inode *i, const struct iattr *a)
{
	if (a->valid & ATTR_SIZE) {
		if (i->size)
			return -EINVAL; // set once
		i->size = a->size;
	}
	if (a->valid & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (a->mode & 07777);
	return 0;
}

static int secret_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc)
{
	if ((flags & MAP_TYPE) == MAP_PRIVATE)
		return -EINVAL;
	return generic_mmap(f, pgoff, len, prot, flags, pc);
}

static const struct inode_ops secret_iops = {.setattr = secret_setattr};
static const struct file_ops secret_fops = {.mmap = secret_mmap, .llseek = generic_llseek};

long sys_memfd_secret(u32 flags)
{
	struct file *f;
	long fd;

	if (flags & ~(u32)O_CLOEXEC)
		return -EINVAL;
	f = memfd_new("/secretmem (deleted)", false);
	if (IS_ERR(f))
		return PTR_ERR(f);
	f->ops = f->inode->fops = &secret_fops;
	f->inode->iops = &secret_iops;
	f->inode->mode = S_IFREG | 0600;
	fd = fd_alloc(f, 0, flags & O_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}
