// SPDX-License-Identifier: Apache-2.0
// Clones on a sealed volume, and giving free room back to the host. What waits in the caches is stored first, so that the
// blocks are there to be shared; the pages that the clone replaces are dropped, also where it stops half way. Locks: both inodes' (the one at the lower address first), then store_lock.
#include "kernel/fs/sealed.h"
#include <linux/fs.h>

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

// dedupe: only if the contents are the same: 1, else 0.
static int share(struct file *from, u64 soff, struct file *to, u64 doff, u64 len, bool dedupe)
{
	struct inode *src = from->inode, *dst = to->inode;
	struct seal_attr was, now;
	bool changed = false;
	int r = 0;
	if (dst->sb->read_only)
		return -EROFS;
	lock_both(src, dst);
	if (!len && src->size > soff && !dedupe)
		len = src->size - soff;
	if (!dedupe && doff + len > RLIMIT(RLIMIT_FSIZE))
		r = -EFBIG;
	if (!r && src != dst)
		r = sealed_store_pages(src);
	if (!r)
		r = sealed_store_pages(dst);
	if (r)
		goto out;
	mutex_lock(&snode_of(dst)->store_lock);
	seal_getattr(vol_of(dst), snode_of(dst)->si, &was);
	r = dedupe ? seal_dedupe(vol_of(dst), snode_of(src)->si, soff, snode_of(dst)->si, doff, len)
		   : seal_clone(vol_of(dst), snode_of(src)->si, soff, snode_of(dst)->si, doff, len);
	if (!dedupe && len)
		changed = sealed_half_done(dst, &was, &now) || !r;
	if (changed) {
		u64 old = dst->size;
		if (now.size < old) // it was cut off to make way for the clone
			__atomic_store_n(&dst->size, now.size, __ATOMIC_RELAXED);
		pc_drop(dst->pc, doff, doff + len);
		if (now.size < old)
			pc_truncate(dst->pc, now.size, old);
		dst->size = now.size;
	}
	r = sealed_err(r);
	mutex_unlock(&snode_of(dst)->store_lock);
	if (changed) {
		inode_touch(dst, ATTR_MTIME);
		sealed_mark_dirty(dst);
	}
out:
	unlock_both(src, dst);
	if (changed)
		setattr_cut(dst, doff); // mappings have the pages of before
	return r;
}

int sealed_clone(struct file *from, u64 soff, struct file *to, u64 doff, u64 len)
{
	return share(from, soff, to, doff, len, false);
}

int sealed_dedupe(struct file *from, u64 soff, struct file *to, u64 doff, u64 len)
{
	return share(from, soff, to, doff, len, true);
}

// FITRIM: what the volume does not use any more goes back to the host.
long sealed_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct fstrim_range range;
	u64 trimmed = 0;
	if (cmd != FITRIM)
		return -ENOTTY;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (copy_from_user(&range, U(arg), sizeof(range)))
		return -EFAULT;
	if (f->inode->sb->read_only)
		return -EROFS;
	int r = sealed_err(seal_sync(vol_of(f->inode))); // what was deleted last is free then
	sealed_anchor_note(svol_of(f->inode));
	if (!r)
		r = sealed_err(seal_trim(vol_of(f->inode), range.start, range.len, range.minlen, &trimmed));
	range.len = trimmed;
	return r ? r : copy_to_user(U(arg), &range, sizeof(range));
}
