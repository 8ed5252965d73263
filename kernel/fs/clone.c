// SPDX-License-Identifier: Apache-2.0
// FICLONE and FICLONERANGE: a file shares another's blocks until one of them is written. The checks of Linux's
// vfs_clone_file_range in its order; the file system does the rest. Locks: none here.
#include "kernel/fs/fs.h"
#include <linux/fs.h>

static long clone(struct file *src, u64 soff, u64 len, struct file *dst, u64 doff)
{
	long r;

	if (src->inode->sb != dst->inode->sb)
		return -EXDEV;
	if (is_dir(src->inode) || is_dir(dst->inode))
		return -EISDIR;
	if (!is_reg(src->inode) || !is_reg(dst->inode))
		return -EINVAL;
	if ((src->flags & O_ACCMODE) == O_WRONLY || (dst->flags & O_ACCMODE) == O_RDONLY || dst->flags & O_APPEND)
		return -EBADF;
	if (!dst->ops->clone || src->ops->clone != dst->ops->clone)
		return -EOPNOTSUPP;
	if ((s64)soff < 0 || (s64)doff < 0 || (s64)len < 0 || (s64)(soff + len) < 0 || (s64)(doff + len) < 0)
		return -EINVAL;
	r = dst->ops->clone(src, soff, dst, doff, len);
	if (!r)
		setattr_cut(dst->inode, doff); // mappings have the pages of before
	return r;
}

long file_clone(struct file *dst, u32 cmd, u64 arg)
{
	struct file_clone_range c = {.src_fd = (int)arg};
	struct file *src;
	long r;
	if (cmd == FICLONERANGE && copy_from_user(&c, U(arg), sizeof(c)))
		return -EFAULT;
	src = c.src_fd == (int)c.src_fd ? fd_get((int)c.src_fd) : NULL;
	r = src && !(src->flags & O_PATH) ? clone(src, c.src_offset, c.src_length, dst, c.dest_offset) : -EBADF;
	file_put(src);
	return r;
}
