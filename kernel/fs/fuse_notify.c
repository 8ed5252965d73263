// SPDX-License-Identifier: Apache-2.0
// FUSE: what a daemon says without being asked. Names are not cached here, so a notification about one needs no work; attributes and pages
// of an inode are forgotten. Locks: conn->lock.
#include "kernel/fs/fuse.h"

static struct super *super_of(struct fuse_conn *c)
{
	struct super *sb;

	mutex_lock(&c->lock);
	sb = c->sb && ref_get_unless_zero(&c->sb->ref) ? c->sb : NULL;
	mutex_unlock(&c->lock);
	return sb;
}

static int inode_changed(struct fuse_conn *c, u64 nodeid)
{
	struct super *sb = super_of(c);
	struct inode *i = sb ? inode_find(sb, nodeid) : NULL;

	if (i) {
		fuse_stale(i);
		fuse_drop_pages(i);
		inode_put(i);
	}
	if (sb)
		super_put(sb);
	return i ? 0 : -ENOENT;
}

int fuse_notify(struct fuse_conn *c, u32 code, const u8 *data, size_t n)
{
	union {
		struct fuse_notify_inval_inode_out inode;
		struct fuse_notify_inval_entry_out entry;
		struct fuse_notify_delete_out gone;
	} u = {0};

	memcpy(&u, data, min(n, sizeof(u)));
	switch (code) {
	case FUSE_NOTIFY_POLL: // nobody asked to be told
		return n == sizeof(struct fuse_notify_poll_wakeup_out) ? 0 : -EINVAL;
	case FUSE_NOTIFY_INVAL_INODE:
		return fuse_notice_ok(n, sizeof(u.inode), 0) ? inode_changed(c, u.inode.ino) : -EINVAL;
	case FUSE_NOTIFY_INVAL_ENTRY:
		return u.entry.namelen && fuse_notice_ok(n, sizeof(u.entry), u.entry.namelen) ? inode_changed(c, u.entry.parent) : -EINVAL;
	case FUSE_NOTIFY_DELETE:
		return u.gone.namelen && fuse_notice_ok(n, sizeof(u.gone), u.gone.namelen) ? inode_changed(c, u.gone.parent) : -EINVAL;
	default:
		return code < FUSE_NOTIFY_CODE_MAX ? -ENOSYS : -EINVAL; // STORE, RETRIEVE: there is nothing to keep it in
	}
}
