// SPDX-License-Identifier: Apache-2.0
// open(2) and its family: from a path to a file object and a descriptor.
// Locks: the parent directory's inode lock while a file is created.
#include "kernel/fs/fs.h"
#include <linux/openat2.h>

#define OPEN_FLAGS \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | FASYNC | O_DIRECT | \
	 O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | __O_TMPFILE)

static const struct file_ops path_fops; // O_PATH: nothing can be done with it

static bool wants_write(u32 flags)
{
	u32 acc = flags & O_ACCMODE;
	return acc == O_WRONLY || acc == O_RDWR || (flags & O_TRUNC);
}

static int may_open(struct inode *ino, const struct mount *m, u32 flags)
{
	int mask = 0;
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		mask = MAY_READ;
		break;
	case O_WRONLY:
		mask = MAY_WRITE;
		break;
	default:
		mask = MAY_READ | MAY_WRITE;
	}
	if (flags & O_TRUNC)
		mask |= MAY_WRITE;
	int r = inode_permission(ino, mask);
	if (!r && unlikely(ino->flags & FILE_APPEND) && (flags & O_TRUNC || ((mask & MAY_WRITE) && !(flags & O_APPEND))))
		r = -EPERM;
	if (!r && (mask & MAY_WRITE) && (is_reg(ino) || is_dir(ino)))
		r = mount_write(m);
	if (!r && (flags & O_NOATIME) && !inode_owner(ino))
		r = -EPERM;
	return r;
}

static int ops_of(struct inode *ino, const struct mount *m, const struct file_ops **ops)
{
	*ops = ino->fops;
	switch (ino->mode & S_IFMT) {
	case S_IFCHR:
		if (m->flags & MS_NODEV || (unlikely(ino->sb->user_ns) && strcmp(ino->sb->fstype, "devpts")))
			return -EACCES; // nor those that somebody made up who rules a user namespace
		if (!*ops)
			*ops = dev_fops(ino->rdev);
		break;
	case S_IFIFO:
		if (!*ops || !(*ops)->stream) // else a host stream, opened again through /proc/self/fd
			*ops = &fifo_fops;
		break;
	case S_IFSOCK:
	case S_IFBLK:
		*ops = NULL;
	}
	return *ops ? 0 : -ENXIO;
}

static int truncate_at_open(struct dentry *d)
{
	struct inode *ino = d->inode;
	struct iattr a = {.valid = ATTR_SIZE};
	inode_lock(ino);
	setattr_written(ino, &a);
	// O_RDONLY | O_TRUNC writes, too
	int r = __atomic_load_n(&ino->deny_write, __ATOMIC_SEQ_CST) ? -ETXTBSY : setattr_checked(ino, &a);
	inode_unlock(ino);
	if (!r) {
		setattr_cut(ino, 0);
		fsnotify_name(d, IN_MODIFY);
	}
	return r;
}

// Opens the place *p (references are consumed). `created`: just made by this open, so its mode does not bind us; `opened`: by make_open.
static struct file *open_place(struct path *p, u32 flags, bool created, void *opened)
{
	struct inode *ino = p->dentry->inode;
	const struct file_ops *ops = &path_fops;
	struct file *f = NULL;
	bool counted = false;
	int r;

	if (!(flags & O_PATH)) {
		r = -ELOOP;
		if (is_lnk(ino))
			goto fail;
		r = -EISDIR;
		if (is_dir(ino) && (wants_write(flags) || (flags & O_CREAT)))
			goto fail;
		if ((r = ops_of(ino, p->mnt, &ops)))
			goto fail;
		if (!created && (r = may_open(ino, p->mnt, flags)))
			goto fail;
	}
	r = -ENFILE;
	if (!(f = file_new(flags & ~(u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC))))
		goto fail;
	f->ops = ops;
	f->inode = ino; // as long as the dentry, which never changes it
	f->path = *p;
	*p = (struct path){0};
	if (flags & O_PATH)
		return f;
	if (is_reg(ino) && can_write(f)) {
		counted = true;
		__atomic_fetch_add(&ino->writers, 1, __ATOMIC_SEQ_CST);
		r = -ETXTBSY;
		if (__atomic_load_n(&ino->deny_write, __ATOMIC_SEQ_CST))
			goto fail;
	}
	if ((flags & O_TRUNC) && is_reg(ino) && !created && (r = truncate_at_open(f->path.dentry)))
		goto fail;
	// What open() may want to know: O_NOCTTY; it is not kept.
	f->flags |= flags & O_NOCTTY;
	f->priv = opened;
	opened = NULL;
	r = ops->open ? ops->open(ino, f) : 0;
	f->flags &= ~(u32)O_NOCTTY;
	if (r)
		goto fail;
	fsnotify_name(f->path.dentry, IN_OPEN);
	return f;
fail:
	if (opened)
		ino->iops->unmake_open(ino, opened);
	if (counted)
		__atomic_fetch_sub(&ino->writers, 1, __ATOMIC_SEQ_CST);
	if (f) {
		f->flags = O_PATH; // never opened: nothing to release
		file_put(f);
	}
	path_put(p);
	return ERR_PTR(r);
}

// Makes `last` in directory *dir, or finds that it exists by now. 0: *p replaced by it.
static int create_in(struct path *dir, const struct last *last, u32 mode, u32 flags, struct dentry **found, void **opened)
{
	struct inode *di = dir->dentry->inode, *ino = NULL;
	struct dentry *d;
	int r;

	*found = NULL;
	if (!is_dir(di))
		return -ENOTDIR;
	inode_lock(di);
	d = d_lookup(dir->dentry, last->name, last->len);
	if (IS_ERR(d)) {
		r = (int)PTR_ERR(d);
		goto out;
	}
	if (d->inode) {
		r = flags & O_EXCL ? -EEXIST : 0;
		*found = d;
		goto out;
	}
	r = -ENOENT;
	if (!di->nlink)
		goto put;
	if ((r = mount_write(dir->mnt)) || (r = inode_permission(di, MAY_WRITE | MAY_EXEC)))
		goto put;
	r = di->iops->no_cache ? -ENOENT : -EACCES; // /proc knows no negative names
	if (!di->iops->create)
		goto put;
	r = di->iops->make_open ? di->iops->make_open(di, last->name, last->len, S_IFREG | mode, flags, &ino, opened)
				: di->iops->create(di, last->name, last->len, S_IFREG | mode, 0, &ino);
	if (r)
		goto put;
	d_instantiate(d, ino);
	fs_event(di, ino, d->name, IN_CREATE);
	inode_unlock(di);
	path_child(dir, d);
	return 1;
put:
	d_put(d);
out:
	inode_unlock(di);
	if (r && *found) {
		d_put(*found);
		*found = NULL;
	}
	return r;
}

static struct file *open_create(int dfd, const char *name, const struct open_how_k *how)
{
	struct path p = {0}, next;
	struct last last;
	char *buf = NULL, *nbuf;
	void *opened = NULL;
	struct dentry *d;
	u32 depth = 0, lf = how->flags & O_NOFOLLOW ? 0 : LOOKUP_FOLLOW;
	int r;

	if (!(how->flags & O_EXCL)) { // mostly it is there
		r = path_lookup(dfd, name, how->lookup | lf, &p);
		if (!r)
			return open_place(&p, how->flags, false, NULL);
		if (r != -ENOENT)
			return ERR_PTR(r);
	}
	r = path_parent(dfd, name, how->lookup, &p, &last, &buf);
	while (!r) {
		r = how->flags & O_EXCL ? -EEXIST : -EISDIR;
		if (last.kind != LAST_NORM)
			break;
		r = -EISDIR;
		if (last.slash)
			break;
		r = create_in(&p, &last, how->mode & ~cur_fs()->umask & 07777, how->flags, &d, &opened);
		if (r < 0)
			break;
		if (r == 1) {
			kfree(buf);
			return open_place(&p, how->flags, true, opened);
		}
		if (!is_lnk(d->inode) || (how->flags & O_NOFOLLOW)) {
			kfree(buf);
			path_child(&p, d);
			return open_place(&p, how->flags, false, NULL);
		}
		// A symlink that led nowhere when we looked: create what it names.
		nbuf = NULL;
		r = path_follow_last(&p, d, how->lookup, &depth, &next, &last, &nbuf);
		d_put(d);
		kfree(buf);
		buf = nbuf;
		path_put(&p);
		if (r)
			return ERR_PTR(r);
		p = next;
	}
	kfree(buf);
	path_put(&p);
	return ERR_PTR(r);
}

static struct file *open_tmpfile(int dfd, const char *name, const struct open_how_k *how)
{
	struct path p;
	struct inode *ino = NULL, *di;
	int r = path_lookup(dfd, name, how->lookup | LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
	if (r)
		return ERR_PTR(r);
	di = p.dentry->inode;
	if ((r = mount_write(p.mnt)) || (r = inode_permission(di, MAY_WRITE | MAY_EXEC)))
		goto fail;
	r = -EOPNOTSUPP;
	if (!di->iops->tmpfile)
		goto fail;
	inode_lock(di);
	r = di->iops->tmpfile(di, S_IFREG | (how->mode & ~cur_fs()->umask & 07777), &ino);
	inode_unlock(di);
	if (r)
		goto fail;
	ino->linkable = !(how->flags & O_EXCL);
	char nm[24];
	u32 n = (u32)snprintf(nm, sizeof(nm), "#%lu", ino->ino);
	struct dentry *d = d_new(p.dentry, nm, n, ino);
	r = -ENOMEM;
	if (!d)
		goto fail;
	d_put(p.dentry);
	p.dentry = d;
	return open_place(&p, how->flags & ~(u32)(O_CREAT | O_EXCL | O_DIRECTORY), true, NULL);
fail:
	path_put(&p);
	return ERR_PTR(r);
}

struct file *open_path_flags(int dfd, const char *name, const struct open_how_k *how)
{
	struct path p = {0};
	u32 flags = how->flags;
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY) && !(flags & __O_TMPFILE))
		return ERR_PTR(-EINVAL);
	if (flags & __O_TMPFILE) {
		u32 acc = flags & O_ACCMODE;
		if (!(flags & O_DIRECTORY) || (flags & O_CREAT) || (acc != O_WRONLY && acc != O_RDWR))
			return ERR_PTR(-EINVAL);
		return open_tmpfile(dfd, name, how);
	}
	if (flags & O_CREAT)
		return open_create(dfd, name, how);
	int r = path_lookup(dfd, name,
			    how->lookup | (flags & O_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
				    (flags & O_DIRECTORY ? LOOKUP_DIRECTORY : 0),
			    &p);
	return r ? ERR_PTR(r) : open_place(&p, flags, false, NULL);
}

struct file *file_open(int dfd, const char *name, int flags, u32 mode)
{
	struct open_how_k how = {.flags = (u32)flags, .mode = mode};
	return open_path_flags(dfd, name, &how);
}

struct file *file_open_path(const struct path *p, int flags)
{
	struct path own = *p;
	path_get(&own);
	return open_place(&own, (u32)flags, false, NULL);
}

static long do_open(int dfd, const void __user *name, const struct open_how_k *how)
{
	__uninit char buf[PATH_BUF];
	ssize_t r = user_str(buf, name, sizeof(buf));
	if (r < 0)
		return r;
	struct file *f = open_path_flags(dfd, buf, how);
	if (IS_ERR(f))
		return PTR_ERR(f);
	int fd = fd_alloc(f, 0, how->flags & O_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}

long sys_openat(int dfd, const void __user *name, int flags, u32 mode)
{
	struct open_how_k how = {.flags = ((u32)flags & OPEN_FLAGS) | O_LARGEFILE, .mode = mode};
	return do_open(dfd, name, &how);
}

long sys_open(const void __user *name, int flags, u32 mode) { return sys_openat(AT_FDCWD, name, flags, mode); }

long sys_creat(const void __user *name, u32 mode)
{
	return sys_openat(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

long sys_openat2(int dfd, const void __user *name, const void __user *uhow, size_t size)
{
	struct open_how how;
	struct open_how_k k = {0};
	if (size < sizeof(how))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	int r = copy_struct_from_user(&how, sizeof(how), uhow, size);
	if (r)
		return r;
	if (how.flags & ~(u64)OPEN_FLAGS)
		return -EINVAL;
	if (how.resolve & ~(u64)(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH |
				 RESOLVE_IN_ROOT | RESOLVE_CACHED))
		return -EINVAL;
	if ((how.resolve & RESOLVE_BENEATH) && (how.resolve & RESOLVE_IN_ROOT))
		return -EINVAL;
	if (how.flags & (O_CREAT | __O_TMPFILE) ? how.mode & ~07777ul : how.mode)
		return -EINVAL;
	if ((how.flags & O_PATH) && (how.flags & ~(u64)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)))
		return -EINVAL;
	k.flags = (u32)how.flags | O_LARGEFILE;
	k.mode = (u32)how.mode;
	k.lookup = (how.resolve & RESOLVE_NO_XDEV ? LOOKUP_NO_XDEV : 0) |
		   (how.resolve & RESOLVE_NO_MAGICLINKS ? LOOKUP_NO_MAGIC : 0) |
		   (how.resolve & RESOLVE_NO_SYMLINKS ? LOOKUP_NO_SYMLINKS | LOOKUP_NO_MAGIC : 0) |
		   (how.resolve & RESOLVE_BENEATH ? LOOKUP_BENEATH : 0) |
		   (how.resolve & RESOLVE_IN_ROOT ? LOOKUP_IN_ROOT : 0);
	return do_open(dfd, name, &k);
}
