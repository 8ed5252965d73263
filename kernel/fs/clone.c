// SPDX-License-Identifier: Apache-2.0
// FICLONE, FICLONERANGE, FIDEDUPERANGE, and copy_file_range of whole blocks: a file shares another's blocks until one of them is written. The checks of Linux's
// vfs_clone_file_range in its order; the file system does the rest. Locks: none here.
#include "kernel/fs/fs.h"
#include <linux/fs.h>

#define BLOCK	   4096ul
#define WORTH_IT   (64ul << 10) // less is copied: what waits in the caches would have to be stored first
#define PIECE	   (64ul << 20) // of a range that is shared pointer by pointer: others wait meanwhile
#define DEDUPE_MOST ((PAGE_SIZE - sizeof(struct file_dedupe_range)) / sizeof(struct file_dedupe_range_info))

static long clone(struct file *src, u64 soff, u64 len, struct file *dst, u64 doff)
{
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
	return dst->ops->clone(src, soff, dst, doff, len);
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

u64 clone_for_copy(struct file *src, u64 soff, struct file *dst, u64 doff, u64 n)
{
	if (!dst->ops->clone || src->ops->clone != dst->ops->clone || src->inode->sb != dst->inode->sb || (soff | doff) % BLOCK)
		return 0;
	u64 size = __atomic_load_n(&src->inode->size, __ATOMIC_RELAXED);
	n = min(n, size > soff ? size - soff : 0);
	if (soff + n < size || doff + n < dst->inode->size) // the source's ragged end only where it becomes the end
		n -= n % BLOCK;
	if (n < WORTH_IT)
		return 0;
	u64 done = 0, piece = !soff && !doff && n == size ? n : PIECE; // a whole file is as quick as a piece
	while (done < n && !signal_pending() && !dst->ops->clone(src, soff + done, dst, doff + done, min(piece, n - done)))
		done += min(piece, n - done); // copying will find out why one failed
	return done;
}

static bool may_dedupe(struct file *dst)
{
	return capable(CAP_SYS_ADMIN) || (dst->flags & O_ACCMODE) != O_RDONLY || cred()->fsuid == dst->inode->uid ||
	       !inode_permission(dst->inode, MAY_WRITE);
}

// One destination: 0 or 1 (they differ), or an error.
static int dedupe_one(struct file *src, u64 soff, u64 len, struct file *dst, u64 doff)
{
	int r;
	if (!dst || (dst->flags & O_PATH))
		return -EBADF;
	if (dst->path.mnt && (r = mount_write(dst->path.mnt)))
		return r;
	if ((s64)doff < 0 || (s64)(doff + len) < 0)
		return -EINVAL;
	if (!may_dedupe(dst))
		return -EPERM;
	if (src->inode->sb != dst->inode->sb)
		return -EXDEV;
	if (is_dir(dst->inode))
		return -EISDIR;
	if (!dst->ops->dedupe)
		return -EINVAL;
	if (!len)
		return 0;
	if ((soff | doff) % BLOCK)
		return -EINVAL;
	if (soff + len != src->inode->size || doff + len != dst->inode->size)
		len -= len % BLOCK;
	if (!len)
		return 0;
	r = dst->ops->dedupe(src, soff, dst, doff, len);
	return r < 0 ? r : !r;
}

long file_dedupe(struct file *src, u64 arg)
{
	struct file_dedupe_range *q = NULL;
	u16 count;
	if (get_user(count, (u16 __user *)U(arg + offsetof(struct file_dedupe_range, dest_count))))
		return -EFAULT;
	if (count > DEDUPE_MOST)
		return -ENOMEM;
	size_t size = sizeof(*q) + count * sizeof(q->info[0]);
	if (!(q = kmalloc(size)))
		return -ENOMEM;
	long r = copy_from_user(q, U(arg), size) ? -EFAULT : 0;
	if (r)
		goto out;
	q->dest_count = count; // not what it may say by now
	r = -EINVAL;
	if ((src->flags & O_ACCMODE) == O_WRONLY || q->reserved1 || q->reserved2)
		goto out;
	u64 off = q->src_offset, len = q->src_length;
	r = is_dir(src->inode) ? -EISDIR : !is_reg(src->inode) ? -EINVAL : !src->ops->dedupe ? -EOPNOTSUPP : 0;
	if (!r && ((s64)off < 0 || (s64)len < 0 || (s64)(off + len) < 0 || off + len > src->inode->size))
		r = -EINVAL;
	for (u32 k = 0; k < count && !r; k++) {
		struct file_dedupe_range_info *i = &q->info[k];
		struct file *dst = i->dest_fd == (int)i->dest_fd ? fd_get((int)i->dest_fd) : NULL;
		int one = i->reserved ? -EINVAL : dedupe_one(src, off, len, dst, i->dest_offset);
		i->status = one;
		i->bytes_deduped = one ? 0 : len;
		file_put(dst);
	}
	if (!r && copy_to_user(U(arg), q, size))
		r = -EFAULT;
out:
	kfree(q);
	return r;
}
