// SPDX-License-Identifier: Apache-2.0
// Names in the layers of an overlay mount. Changes go through the layer's own name cache, so that who looks at the upper
// directory itself sees them. Locks: the inode lock of the layer's directory or object, inside all of the overlay's.
#include "kernel/fs/layer.h"

struct dentry *layer_find(struct dentry *dir, const char *name)
{
	inode_lock(dir->inode);
	struct dentry *d = d_lookup(dir, name, (u32)strlen(name));
	inode_unlock(dir->inode);
	return d;
}

static int make(struct inode *di, const char *name, u32 mode, u64 rdev, const char *target, struct inode **out)
{
	const struct inode_ops *ops = di->iops;
	u32 len = (u32)strlen(name);

	switch (mode & S_IFMT) {
	case S_IFDIR:
		return ops->mkdir ? ops->mkdir(di, name, len, mode, out) : -EPERM;
	case S_IFLNK:
		return ops->symlink ? ops->symlink(di, name, len, target, out) : -EPERM;
	default:
		return ops->create ? ops->create(di, name, len, mode, rdev, out) : -EPERM;
	}
}

// A name that must not exist yet gets a new object, or (ino not NULL) one that there is. Consumes nothing.
static int enter(struct dentry *dir, const char *name, u32 mode, u64 rdev, const char *target, struct inode *ino, struct dentry **out)
{
	struct inode *di = dir->inode, *fresh = ino;
	u32 len = (u32)strlen(name);
	struct dentry *d;
	int r;

	inode_lock(di);
	d = d_lookup(dir, name, len);
	r = IS_ERR(d) ? (int)PTR_ERR(d) : d->inode ? -EEXIST : !di->nlink ? -ENOENT : 0;
	if (!r && ino)
		r = di->iops->link ? di->iops->link(di, name, len, ino) : -EPERM;
	else if (!r)
		r = make(di, name, mode, rdev, target, &fresh);
	if (!r) {
		if (ino)
			inode_get(ino);
		d_instantiate(d, fresh);
		fs_event(di, fresh, name, IN_CREATE | (is_dir(fresh) ? IN_ISDIR : 0));
	}
	inode_unlock(di);
	if (!r && out)
		*out = d;
	else if (!IS_ERR(d))
		d_put(d);
	return r;
}

int layer_make(struct dentry *dir, const char *name, u32 mode, u64 rdev, const char *target, struct dentry **out)
{
	return enter(dir, name, mode, rdev, target, NULL, out);
}

int layer_link(struct dentry *dir, const char *name, struct inode *ino, struct dentry **out)
{
	return enter(dir, name, 0, 0, NULL, ino, out);
}

int layer_remove(struct dentry *dir, const char *name)
{
	struct inode *di = dir->inode, *ino;
	u32 len = (u32)strlen(name);
	struct dentry *d;
	int r;

	inode_lock(di);
	d = d_lookup(dir, name, len);
	r = IS_ERR(d) ? (int)PTR_ERR(d) : !d->inode ? -ENOENT : d->mountpoint ? -EBUSY : 0;
	if (!r) {
		ino = d->inode;
		if (is_dir(ino))
			r = di->iops->rmdir ? di->iops->rmdir(di, name, len, ino) : -EPERM;
		else
			r = di->iops->unlink ? di->iops->unlink(di, name, len, ino) : -EPERM;
		if (!r) {
			d_drop(d);
			fs_event(di, ino, name, IN_DELETE | (is_dir(ino) ? IN_ISDIR : 0));
		}
	}
	inode_unlock(di);
	if (!IS_ERR(d))
		d_put(d);
	return r;
}

struct file *layer_open(struct dentry *d, u32 flags)
{
	struct inode *ino = d->inode;
	bool writes = (flags & O_ACCMODE) != O_RDONLY && is_reg(ino);
	struct file *f = ino->fops ? file_alloc(ino->fops, ino, flags, NULL) : ERR_PTR(-ENXIO);
	int r;

	if (IS_ERR(f))
		return f;
	if (writes)
		__atomic_fetch_add(&ino->writers, 1, __ATOMIC_SEQ_CST);
	r = writes && __atomic_load_n(&ino->deny_write, __ATOMIC_SEQ_CST) ? -ETXTBSY : f->ops->open ? f->ops->open(ino, f) : 0;
	if (!r)
		return f;
	if (writes)
		__atomic_fetch_sub(&ino->writers, 1, __ATOMIC_SEQ_CST);
	f->flags = O_PATH; // never opened: nothing to release
	file_put(f);
	return ERR_PTR(r);
}

int layer_setattr(struct inode *i, struct iattr *a)
{
	inode_lock(i);
	int r = setattr_checked(i, a);
	inode_unlock(i);
	return r;
}

ssize_t layer_getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
	if (!i->iops || !i->iops->getxattr)
		return -EOPNOTSUPP;
	inode_lock(i);
	ssize_t r = i->iops->getxattr(i, name, buf, n);
	inode_unlock(i);
	return r;
}

ssize_t layer_listxattr(struct inode *i, char *buf, size_t n)
{
	if (!i->iops || !i->iops->listxattr)
		return 0;
	inode_lock(i);
	ssize_t r = i->iops->listxattr(i, buf, n);
	inode_unlock(i);
	return r;
}

int layer_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags)
{
	if (!i->iops || !i->iops->setxattr)
		return -EOPNOTSUPP;
	inode_lock(i);
	int r = i->iops->setxattr(i, name, buf, n, flags);
	inode_unlock(i);
	return r;
}

int layer_removexattr(struct inode *i, const char *name)
{
	if (!i->iops || !i->iops->removexattr)
		return -EOPNOTSUPP;
	inode_lock(i);
	int r = i->iops->removexattr(i, name);
	inode_unlock(i);
	return r;
}
