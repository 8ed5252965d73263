// SPDX-License-Identifier: Apache-2.0
// Clones on a sealed volume. What waits in the caches is stored first, so that the blocks are there to be shared; the
// pages that the clone replaces are dropped. Locks: both inodes' (the one at the lower address first), then store_lock.
#include "kernel/fs/sealed.h"

static void lock_both(struct inode *a, struct inode *b)
{
	mutex_lock(&min(a, b)->lock);
	if (a != b)
		mutex_lock(&max(a, b)->lock);
}

static void unlock_both(struct inode *a, struct inode *b)
{
	mutex_unlock(&a->lock);
	if (a != b)
		mutex_unlock(&b->lock);
}

int sealed_clone(struct file *from, u64 soff, struct file *to, u64 doff, u64 len)
{
	struct inode *src = from->inode, *dst = to->inode;
	int r = 0;
	if (dst->sb->read_only)
		return -EROFS;
	lock_both(src, dst);
	if (!len && src->size > soff)
		len = src->size - soff;
	if (doff + len > RLIMIT(RLIMIT_FSIZE))
		r = -EFBIG;
	if (!r && src != dst)
		r = sealed_store_pages(src);
	if (!r)
		r = sealed_store_pages(dst);
	if (r)
		goto out;
	mutex_lock(&snode_of(dst)->store_lock);
	r = sealed_err(seal_clone(vol_of(dst), snode_of(src)->si, soff, snode_of(dst)->si, doff, len));
	if (!r && doff < dst->size)
		pc_truncate(dst->pc, doff, dst->size);
	mutex_unlock(&snode_of(dst)->store_lock);
	if (!r && len) {
		dst->size = max(dst->size, doff + len);
		inode_touch(dst, ATTR_MTIME);
		sealed_mark_dirty(dst);
	}
out:
	unlock_both(src, dst);
	return r;
}
