// SPDX-License-Identifier: Apache-2.0
// Directories: listing, making and removing names, the working directory and root.
// Locks: the directory's inode lock; fs_ctx->lock then dcache_lock for cwd and root.
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"
#include "kernel/include/ns.h"

// --- getdents
#define GETDENTS_MAX 32768u

struct getdents {
	struct dir_ctx ctx;
	char *buf;
	size_t used, room;
	bool old;		// struct linux_dirent: type in the last byte
	size_t last;		// where the latest record starts
	bool full;
};

static bool emit(struct dir_ctx *c, const char *name, u32 len, u64 ino, u32 dtype, u64 next_pos)
{
	struct getdents *g = container_of(c, struct getdents, ctx);
	size_t head = g->old ? 18 : 19, n = ALIGN_UP(head + len + (g->old ? 2 : 1), 8ul);
	if (g->used + n > g->room) {
		g->full = true;
		return false;
	}
	char *r = g->buf + g->used;
	u16 reclen = (u16)n;
	memset(r, 0, n);
	memcpy(r, &ino, 8);
	memcpy(r + 8, &next_pos, 8);
	memcpy(r + 16, &reclen, 2);
	memcpy(r + head, name, len);
	r[g->old ? n - 1 : 18] = (char)dtype;
	g->last = g->used;
	g->used += n;
	c->pos = next_pos;
	return true;
}

static u64 parent_ino(struct file *f)
{
	u64 n;
	read_lock(&dcache_lock);
	struct dentry *d = f->path.dentry;
	struct mount *m = f->path.mnt;
	while (m && d == m->root && m->parent) {
		d = m->mountpoint;
		m = m->parent;
	}
	n = d->parent->inode->ino;
	read_unlock(&dcache_lock);
	return n;
}

static long list_dir(int fd, void __user *ubuf, u32 n, bool old)
{
	struct file *f = fd_get(fd);
	struct getdents g = {.ctx.emit = emit, .old = old, .room = min(n, GETDENTS_MAX)};
	size_t dots = 0;
	long r = -EBADF;
	if (!f || !can_read(f))
		goto out;
	r = -ENOTDIR;
	if (!is_dir(f->inode) || !f->ops->readdir)
		goto out;
	r = -ENOMEM;
	if (!(g.buf = kmalloc(max(g.room, 32ul))))
		goto out;
	file_pos_lock(f);
	g.ctx.pos = f->pos;
	inode_lock(f->inode);
	r = -ENOENT;
	if (f->inode->nlink) {
		r = 0;
		if (g.ctx.pos == 0 && !emit(&g.ctx, ".", 1, f->inode->ino, 4, 1))
			r = -EINVAL;
		if (!r && g.ctx.pos == 1)
			emit(&g.ctx, "..", 2, parent_ino(f), 4, 2);
		dots = g.used;
		if (!r && g.ctx.pos >= 2)
			r = f->ops->readdir(f, &g.ctx);
	}
	inode_unlock(f->inode);
	if (r >= 0 && !g.used && g.full)
		r = -EINVAL; // not even one entry fits
	if (r >= 0 || g.used > dots) {
		r = (long)g.used;
		if (copy_to_user(ubuf, g.buf, g.used))
			r = -EFAULT;
		else
			f->pos = g.ctx.pos;
	}
	file_pos_unlock(f);
	kfree(g.buf);
out:
	file_put(f);
	return r;
}

long sys_getdents64(int fd, void __user *buf, u32 n) { return list_dir(fd, buf, n, false); }
long sys_getdents(int fd, void __user *buf, u32 n) { return list_dir(fd, buf, n, true); }

// --- names that come and go
struct place {			// a name about to change: directory locked, dentry of the name
	struct path dir;
	struct last last;
	char *link;
	struct dentry *d;
	char name[PATH_BUF];
};

static void place_put(struct place *p)
{
	d_put(p->d);
	path_put(&p->dir);
	kfree(p->link);
}

static int place_parent(struct place *p, int dfd, const void __user *name)
{
	p->d = NULL;
	p->dir = (struct path){0};
	int r = user_path_name(p->name, name, false);
	return r ? r : path_parent(dfd, p->name, 0, &p->dir, &p->last, &p->link);
}

static int place_find(struct place *p)
{
	struct dentry *d = d_lookup(p->dir.dentry, p->last.name, p->last.len);
	if (IS_ERR(d))
		return (int)PTR_ERR(d);
	p->d = d;
	return 0;
}

// Finds where to create. On success the directory is locked and place_end must follow.
static int create_begin(struct place *p, int dfd, const void __user *name, bool directory)
{
	int r = place_parent(p, dfd, name);
	if (r)
		return r;
	struct inode *di = p->dir.dentry->inode;
	r = -EEXIST;
	if (p->last.kind != LAST_NORM)
		goto fail;
	r = -ENOTDIR;
	if (!is_dir(di))
		goto fail;
	inode_lock(di);
	r = place_find(p);
	if (!r && p->d->inode)
		r = -EEXIST;
	else if (!r && ((p->last.slash && !directory) || !di->nlink))
		r = -ENOENT;
	if (!r && !(r = mount_write(p->dir.mnt)))
		r = inode_permission(di, MAY_WRITE | MAY_EXEC);
	if (!r && di->iops->no_cache && !di->iops->mkdir && !di->iops->create)
		r = -ENOENT; // /proc knows no negative names
	if (!r)
		return 0;
	inode_unlock(di);
fail:
	place_put(p);
	return r;
}

static long create_end(struct place *p, int r, struct inode *ino)
{
	struct inode *di = p->dir.dentry->inode;
	if (!r) {
		d_instantiate(p->d, ino);
		fs_event(di, ino, p->d->name, IN_CREATE | (is_dir(ino) ? IN_ISDIR : 0));
	}
	inode_unlock(di);
	place_put(p);
	return r;
}

long sys_mkdirat(int dfd, const void __user *name, u32 mode)
{
	struct place p;
	struct inode *ino = NULL;
	int r = create_begin(&p, dfd, name, true);
	if (r)
		return r;
	struct inode *di = p.dir.dentry->inode;
	r = di->iops->mkdir
		    ? di->iops->mkdir(di, p.last.name, p.last.len, S_IFDIR | (mode & 01777 & ~cur_fs()->umask), &ino)
		    : -EPERM;
	return create_end(&p, r, ino);
}

long sys_mkdir(const void __user *name, u32 mode) { return sys_mkdirat(AT_FDCWD, name, mode); }

long sys_mknodat(int dfd, const void __user *name, u32 mode, u32 dev)
{
	struct place p;
	struct inode *ino = NULL;
	u32 type = mode & S_IFMT;
	if (type == S_IFDIR)
		return -EPERM;
	if (!type)
		type = S_IFREG;
	if (type != S_IFREG && type != S_IFCHR && type != S_IFBLK && type != S_IFIFO && type != S_IFSOCK)
		return -EINVAL;
	if ((type == S_IFBLK || (type == S_IFCHR && dev)) && !capable(CAP_MKNOD)) // 0:0 is a whiteout
		return -EPERM;
	int r = create_begin(&p, dfd, name, false);
	if (r)
		return r;
	struct inode *di = p.dir.dentry->inode;
	r = di->iops->create
		    ? di->iops->create(di, p.last.name, p.last.len, type | (mode & 07777 & ~cur_fs()->umask),
				       type == S_IFCHR || type == S_IFBLK ? dev : 0, &ino)
		    : -EPERM;
	return create_end(&p, r, ino);
}

long sys_mknod(const void __user *name, u32 mode, u32 dev) { return sys_mknodat(AT_FDCWD, name, mode, dev); }

long sys_symlinkat(const void __user *target, int dfd, const void __user *name)
{
	struct place p;
	struct inode *ino = NULL;
	char *text = kmalloc(PATH_BUF);
	if (!text)
		return -ENOMEM;
	int r = user_path_name(text, target, false);
	if (!r && !(r = create_begin(&p, dfd, name, false))) {
		struct inode *di = p.dir.dentry->inode;
		r = di->iops->symlink ? di->iops->symlink(di, p.last.name, p.last.len, text, &ino) : -EPERM;
		r = (int)create_end(&p, r, ino);
	}
	kfree(text);
	return r;
}

long sys_symlink(const void __user *target, const void __user *name) { return sys_symlinkat(target, AT_FDCWD, name); }

long sys_linkat(int odfd, const void __user *oname, int ndfd, const void __user *nname, u32 flags)
{
	struct path old;
	struct place p;
	if (flags & ~(u32)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if ((flags & AT_EMPTY_PATH) && !capable(CAP_DAC_READ_SEARCH))
		return -ENOENT;
	int r = path_lookup_user(
		odfd, oname,
		(flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &old);
	if (r)
		return r;
	struct inode *ino = old.dentry->inode;
	if (!(r = create_begin(&p, ndfd, nname, false))) {
		struct inode *di = p.dir.dentry->inode;
		if (old.mnt != p.dir.mnt)
			r = -EXDEV;
		else if (is_dir(ino) || !di->iops->link || ino->flags & (FILE_APPEND | FILE_IMMUTABLE))
			r = -EPERM;
		else if (!ino->nlink && !ino->linkable)
			r = -ENOENT;
		else
			r = di->iops->link(di, p.last.name, p.last.len, ino);
		if (!r) {
			inode_get(ino);
			fs_event(NULL, ino, NULL, IN_ATTRIB);
		}
		r = (int)create_end(&p, r, ino);
	}
	path_put(&old);
	return r;
}

long sys_link(const void __user *oname, const void __user *nname)
{
	return sys_linkat(AT_FDCWD, oname, AT_FDCWD, nname, 0);
}

// May `d` be taken out of (or replaced in) directory di?
static int may_remove(struct inode *di, struct dentry *d)
{
	int r = inode_permission(di, MAY_WRITE | MAY_EXEC);
	if (r)
		return r;
	u32 uid = cred()->fsuid;
	if ((di->mode & S_ISVTX) && uid != d->inode->uid && uid != di->uid && !inode_capable(d->inode, CAP_FOWNER))
		return -EPERM;
	if ((di->flags & FILE_APPEND) || (d->inode->flags & (FILE_APPEND | FILE_IMMUTABLE)))
		return -EPERM;
	return d->mountpoint ? -EBUSY : 0;
}

static long remove(int dfd, const void __user *name, bool directory)
{
	struct place p;
	int r = place_parent(&p, dfd, name);
	if (r)
		return r;
	struct inode *di = p.dir.dentry->inode, *ino;
	r = -EISDIR;
	if (directory)
		r = p.last.kind == LAST_DOTDOT ? -ENOTEMPTY : p.last.kind == LAST_DOT ? -EINVAL : -EBUSY;
	if (p.last.kind != LAST_NORM)
		goto put;
	r = -ENOTDIR;
	if (!is_dir(di))
		goto put;
	inode_lock(di);
	if ((r = place_find(&p)))
		goto out;
	r = -ENOENT;
	if (!(ino = p.d->inode))
		goto out;
	if ((r = mount_write(p.dir.mnt)) || (r = may_remove(di, p.d)))
		goto out;
	if (directory) {
		r = -ENOTDIR;
		if (!is_dir(ino))
			goto out;
		r = di->iops->rmdir ? di->iops->rmdir(di, p.last.name, p.last.len, ino) : -EPERM;
	} else {
		r = p.last.slash && !is_dir(ino) ? -ENOTDIR : -EISDIR;
		if (is_dir(ino) || p.last.slash)
			goto out;
		r = di->iops->unlink ? di->iops->unlink(di, p.last.name, p.last.len, ino) : -EPERM;
	}
	if (!r) {
		d_drop(p.d);
		fs_event(di, ino, p.d->name, IN_DELETE | (directory ? IN_ISDIR : 0));
		if (!directory)
			fs_event(NULL, ino, NULL, IN_ATTRIB);
	}
out:
	inode_unlock(di);
put:
	place_put(&p);
	return r;
}

long sys_unlinkat(int dfd, const void __user *name, u32 flags)
{
	return flags & ~(u32)AT_REMOVEDIR ? -EINVAL : remove(dfd, name, flags & AT_REMOVEDIR);
}
long sys_unlink(const void __user *name) { return remove(AT_FDCWD, name, false); }
long sys_rmdir(const void __user *name) { return remove(AT_FDCWD, name, true); }

// --- cwd and root
static void set_path(struct path *which, struct path *p)
{
	struct fs_ctx *fs = cur_fs();
	mutex_lock(&fs->lock);
	write_lock(&dcache_lock);
	struct path old = *which;
	*which = *p;
	write_unlock(&dcache_lock);
	mutex_unlock(&fs->lock);
	path_put(&old);
}

long sys_chdir(const void __user *name)
{
	struct path p;
	int r = path_lookup_user(AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
	if (r)
		return r;
	r = inode_permission(p.dentry->inode, MAY_EXEC);
	if (r)
		path_put(&p);
	else
		set_path(&cur_fs()->cwd, &p);
	return r;
}

long sys_fchdir(int fd)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	int r = is_dir(f->inode) && f->path.mnt ? inode_permission(f->inode, MAY_EXEC) : -ENOTDIR;
	if (!r) {
		struct path p = f->path;
		path_get(&p);
		set_path(&cur_fs()->cwd, &p);
	}
	file_put(f);
	return r;
}

long sys_chroot(const void __user *name)
{
	struct path p;
	int r = path_lookup_user(AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
	if (r)
		return r;
	r = inode_permission(p.dentry->inode, MAY_EXEC);
	if (!r && !own_capable(CAP_SYS_CHROOT))
		r = -EPERM;
	if (r)
		path_put(&p);
	else
		set_path(&cur_fs()->root, &p);
	return r;
}

long sys_getcwd(void __user *ubuf, size_t n)
{
	char *buf = kmalloc(PATH_BUF);
	if (!buf)
		return -ENOMEM;
	struct fs_ctx *fs = cur_fs();
	mutex_lock(&fs->lock);
	struct path p = fs->cwd;
	path_get(&p);
	mutex_unlock(&fs->lock);
	long r = -ENOENT;
	struct dentry *d = p.dentry;
	if (!d->hashed && d->parent != d && !d->inode->nlink)
		goto out;
	char *s = path_name(&p, buf, PATH_BUF);
	r = IS_ERR(s) ? PTR_ERR(s) : (long)strlen(s) + 1;
	if (r > 0 && (size_t)r > n)
		r = -ERANGE;
	else if (r > 0 && copy_to_user(ubuf, s, (size_t)r))
		r = -EFAULT;
out:
	path_put(&p);
	kfree(buf);
	return r;
}

struct fs_ctx *fs_ctx_new(void)
{
	struct fs_ctx *fs = knew(struct fs_ctx);
	if (!fs)
		return NULL;
	COUNT(fs_contexts, 1);
	ref_init(&fs->ref, 1);
	mutex_init(&fs->lock);
	fs->umask = 022;
	fs->cwd = fs->root = (struct path){root_mnt, root_mnt->root};
	path_get(&fs->cwd);
	path_get(&fs->root);
	return fs;
}

struct fs_ctx *fs_ctx_copy(struct fs_ctx *from)
{
	struct fs_ctx *fs = knew(struct fs_ctx);
	if (!fs)
		return NULL;
	COUNT(fs_contexts, 1);
	ref_init(&fs->ref, 1);
	mutex_init(&fs->lock);
	mutex_lock(&from->lock);
	fs->umask = from->umask;
	fs->cwd = from->cwd;
	fs->root = from->root;
	path_get(&fs->cwd);
	path_get(&fs->root);
	mutex_unlock(&from->lock);
	fs->mnt_ns = from->mnt_ns; // who has one is its only user, or shares it with those that stay
	if (unlikely(fs->mnt_ns))
		ref_get((struct ref *)fs->mnt_ns);
	return fs;
}

void fs_ctx_put(struct fs_ctx *fs)
{
	if (!fs || !ref_put(&fs->ref))
		return;
	path_put(&fs->cwd);
	path_put(&fs->root);
	mnt_ns_put(fs->mnt_ns);
	COUNT(fs_contexts, -1);
	kfree(fs);
}
