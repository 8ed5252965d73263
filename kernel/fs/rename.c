// SPDX-License-Identifier: Apache-2.0
// rename(2) and renameat2(2): NOREPLACE, EXCHANGE and WHITEOUT; and the same for names in a layer of an overlay.
// Locks: the file system's rename_lock when directories differ, then both directories: the one above first, strangers
// by address. The shape of the tree below a super block changes only under its rename_lock.
#include "kernel/fs/layer.h"
#include <linux/fs.h>

struct side {
	struct path dir;
	struct last last;
	char *link;
	struct dentry *d;
	char *name;
};

static void lock_dirs(struct side *a, struct side *b)
{
	struct inode *x = a->dir.dentry->inode, *y = b->dir.dentry->inode;
	if (x == y) {
		inode_lock(x);
		return;
	}
	bool b_first = d_ancestor(b->dir.dentry, a->dir.dentry) || (!d_ancestor(a->dir.dentry, b->dir.dentry) && y < x);
	inode_lock(b_first ? y : x);
	inode_lock(b_first ? x : y);
}

static void unlock_dirs(struct side *a, struct side *b)
{
	struct inode *x = a->dir.dentry->inode, *y = b->dir.dentry->inode;
	inode_unlock(x);
	if (x != y)
		inode_unlock(y);
}

static int may_move(struct inode *di, struct dentry *d)
{
	int r = inode_permission(di, MAY_WRITE | MAY_EXEC);
	u32 uid = cred()->fsuid;
	if (!r && d->inode && (di->mode & S_ISVTX) && uid != d->inode->uid && uid != di->uid && !inode_capable(d->inode, CAP_FOWNER))
		r = -EPERM;
	if (!r && d->inode && ((di->flags & FILE_APPEND) || (d->inode->flags & (FILE_APPEND | FILE_IMMUTABLE))))
		r = -EPERM;
	return r ? r : d->mountpoint ? -EBUSY : 0;
}

static int find(struct side *s)
{
	struct dentry *d = d_lookup(s->dir.dentry, s->last.name, s->last.len);
	if (IS_ERR(d))
		return (int)PTR_ERR(d);
	s->d = d;
	return 0;
}

// Everything that can forbid it. Both directories locked.
static int check(struct side *o, struct side *n, u32 flags)
{
	struct inode *od = o->dir.dentry->inode, *nd = n->dir.dentry->inode;
	int r;
	if ((r = find(o)))
		return r;
	struct inode *oi = o->d->inode;
	if (!oi)
		return -ENOENT;
	if ((r = find(n)))
		return r;
	struct inode *ni = n->d->inode;
	if ((flags & RENAME_NOREPLACE) && ni)
		return -EEXIST;
	if ((flags & RENAME_EXCHANGE) && !ni)
		return -ENOENT;
	if (!is_dir(oi) && (o->last.slash || (!(flags & RENAME_EXCHANGE) && n->last.slash)))
		return -ENOTDIR;
	if ((flags & RENAME_EXCHANGE) && !is_dir(ni) && n->last.slash)
		return -ENOTDIR;
	if (d_ancestor(o->d, n->dir.dentry))
		return -EINVAL;
	if (ni && d_ancestor(n->d, o->dir.dentry))
		return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (!nd->nlink || !od->nlink)
		return -ENOENT;
	// names in a layer (no mount): the overlay has asked already
	if (o->dir.mnt && ((r = mount_write(o->dir.mnt)) || (r = may_move(od, o->d)) || (r = may_move(nd, n->d))))
		return r;
	if (ni && !(flags & RENAME_EXCHANGE) && is_dir(oi) != is_dir(ni))
		return is_dir(ni) ? -EISDIR : -ENOTDIR;
	return od->iops->rename ? 0 : -EPERM;
}

static int do_rename(struct side *o, struct side *n, u32 flags)
{
	struct inode *od = o->dir.dentry->inode, *nd = n->dir.dentry->inode;
	struct super *sb = od->sb;
	bool across = od != nd && !sb->waits;
	int r;

	if (across)
		mutex_lock(&sb->rename_lock);
	lock_dirs(o, n);
	r = check(o, n, flags);
	struct inode *oi = r ? NULL : o->d->inode, *ni = r ? NULL : n->d->inode;
	if (r || oi == ni)
		goto out;
	r = od->iops->rename(od, o->last.name, o->last.len, oi, nd, n->last.name, n->last.len, ni, flags);
	if (r)
		goto out;
	fsnotify_move(od, o->d->name, nd, n->d->name, oi);
	if (ni && !(flags & RENAME_EXCHANGE))
		fs_event(NULL, ni, NULL, IN_ATTRIB);
	if (od->iops->no_cache || nd->iops->no_cache)
		goto out; // their names are looked up each time
	if ((flags & RENAME_EXCHANGE ? d_exchange(o->d, n->d) : d_move(o->d, n->d))) {
		d_drop(o->d); // no memory for the new names: look them up again
		d_drop(n->d);
	}
out:
	unlock_dirs(o, n);
	if (across)
		mutex_unlock(&sb->rename_lock);
	return r;
}

int layer_rename(struct dentry *od, const char *on, struct dentry *nd, const char *nn, u32 flags)
{
	struct side o = {.dir.dentry = od, .last = {.name = on, .len = (u32)strlen(on)}};
	struct side n = {.dir.dentry = nd, .last = {.name = nn, .len = (u32)strlen(nn)}};
	int r = do_rename(&o, &n, flags);

	d_put(o.d);
	d_put(n.d);
	return r;
}

long sys_renameat2(int odfd, const void __user *oname, int ndfd, const void __user *nname, u32 flags)
{
	struct side o = {0}, n = {0};
	int r = -EINVAL;
	if (flags & ~(u32)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	if ((flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) && (flags & RENAME_EXCHANGE))
		return -EINVAL;
	char *bufs = kmalloc(2 * PATH_BUF);
	if (!bufs)
		return -ENOMEM;
	o.name = bufs;
	n.name = bufs + PATH_BUF;
	if ((r = user_path_name(o.name, oname, false)) || (r = user_path_name(n.name, nname, false)))
		goto out;
	if ((r = path_parent(odfd, o.name, 0, &o.dir, &o.last, &o.link)) ||
	    (r = path_parent(ndfd, n.name, 0, &n.dir, &n.last, &n.link)))
		goto out;
	r = -EXDEV;
	if (o.dir.mnt != n.dir.mnt)
		goto out;
	r = -EBUSY;
	if (o.last.kind != LAST_NORM)
		goto out;
	r = flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	if (n.last.kind != LAST_NORM)
		goto out;
	r = -ENOTDIR;
	if (!is_dir(o.dir.dentry->inode) || !is_dir(n.dir.dentry->inode))
		goto out;
	r = do_rename(&o, &n, flags);
out:
	d_put(o.d);
	d_put(n.d);
	path_put(&o.dir);
	path_put(&n.dir);
	kfree(o.link);
	kfree(n.link);
	kfree(bufs);
	return r;
}

long sys_renameat(int odfd, const void __user *oname, int ndfd, const void __user *nname)
{
	return sys_renameat2(odfd, oname, ndfd, nname, 0);
}
long sys_rename(const void __user *oname, const void __user *nname)
{
	return sys_renameat2(AT_FDCWD, oname, AT_FDCWD, nname, 0);
}
