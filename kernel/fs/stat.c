// SPDX-License-Identifier: Apache-2.0
// Looking at files: stat, statx, access, readlink, statfs. Locks: none of its own.
#include "kernel/fs/mounts.h"

static int refresh(struct inode *ino)
{
	return ino->iops && ino->iops->getattr ? ino->iops->getattr(ino) : 0;
}

static int fill(struct inode *i, struct stat *s)
{
	int r = refresh(i);
	if (unlikely(r))
		return r;
	memset(s, 0, sizeof(*s));
	s->st_dev = i->sb->dev;
	s->st_ino = i->ino;
	s->st_nlink = i->nlink;
	s->st_mode = i->mode;
	s->st_uid = uid_out(i->uid);
	s->st_gid = gid_out(i->gid);
	s->st_rdev = i->rdev;
	s->st_size = (s64)i->size;
	s->st_blksize = i->sb->blocksize;
	s->st_blocks = (s64)i->blocks;
	s->st_atime = (u64)i->atime.sec;
	s->st_atime_nsec = i->atime.nsec;
	s->st_mtime = (u64)i->mtime.sec;
	s->st_mtime_nsec = i->mtime.nsec;
	s->st_ctime = (u64)i->ctime.sec;
	s->st_ctime_nsec = i->ctime.nsec;
	return 0;
}

static long stat_inode(struct inode *i, void __user *ubuf)
{
	__uninit struct stat s;
	int r = fill(i, &s);
	return r ? r : copy_to_user(ubuf, &s, sizeof(s));
}

static long stat_at(int dfd, const char *name, u32 lookup, void __user *ubuf)
{
	struct path p;
	int r = path_lookup(dfd, name, lookup, &p);
	if (r)
		return r;
	__uninit struct stat s;
	r = fill(p.dentry->inode, &s);
	path_put(&p);
	return r ? r : copy_to_user(ubuf, &s, sizeof(s));
}

long sys_fstat(int fd, void __user *ubuf)
{
	bool put;
	struct file *f = fd_light(fd, &put);
	if (!f)
		return -EBADF;
	long r = stat_inode(f->inode, ubuf);
	fd_light_put(f, put);
	return r;
}

long sys_stat(const void __user *name, void __user *ubuf)
{
	__uninit char buf[PATH_BUF];
	ssize_t r = user_str(buf, name, sizeof(buf));
	return r < 0 ? r : stat_at(AT_FDCWD, buf, LOOKUP_FOLLOW, ubuf);
}

long sys_lstat(const void __user *name, void __user *ubuf)
{
	__uninit char buf[PATH_BUF];
	ssize_t r = user_str(buf, name, sizeof(buf));
	return r < 0 ? r : stat_at(AT_FDCWD, buf, 0, ubuf);
}

long sys_newfstatat(int dfd, const void __user *name, void __user *ubuf, u32 flags)
{
	__uninit char buf[PATH_BUF];
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return -EINVAL;
	ssize_t r = user_str(buf, name, sizeof(buf));
	if (r < 0)
		return r;
	if (!r && (flags & AT_EMPTY_PATH) && dfd != AT_FDCWD)
		return sys_fstat(dfd, ubuf);
	return stat_at(dfd, buf,
		       (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
		       ubuf);
}

static struct statx_timestamp stx_time(struct fstime t)
{
	return (struct statx_timestamp){.tv_sec = t.sec, .tv_nsec = t.nsec};
}
static u32 dev_major(u64 d) { return (u32)(d >> 8 & 0xfff); }
static u32 dev_minor(u64 d) { return (u32)((d & 0xff) | (d >> 12 & 0xffffff00)); }

long sys_statx(int dfd, const void __user *name, u32 flags, u32 mask, void __user *ubuf)
{
	__uninit char buf[PATH_BUF];
	struct path p = {0};
	struct file *f = NULL;
	struct inode *i;
	struct statx x = {0};
	const u32 unique = 0x4000; // STATX_MNT_ID_UNIQUE
	if ((mask & STATX__RESERVED) || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
		return -EINVAL;
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE))
		return -EINVAL;
	ssize_t r = user_str(buf, name, sizeof(buf));
	if (r < 0)
		return r;
	if (!r && (flags & AT_EMPTY_PATH) && dfd != AT_FDCWD) {
		if (!(f = fd_get(dfd)))
			return -EBADF;
		i = f->inode;
		p.mnt = f->path.mnt;
		p.dentry = f->path.dentry;
	} else {
		r = path_lookup(dfd, buf,
				(flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
					(flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
				&p);
		if (r)
			return r;
		i = p.dentry->inode;
	}
	r = refresh(i);
	if (!r) {
		x.stx_mask = STATX_BASIC_STATS | STATX_BTIME | (p.mnt ? STATX_MNT_ID : 0);
		x.stx_blksize = i->sb->blocksize;
		x.stx_nlink = i->nlink;
		x.stx_uid = uid_out(i->uid);
		x.stx_gid = gid_out(i->gid);
		x.stx_mode = (u16)i->mode;
		x.stx_ino = i->ino;
		x.stx_size = i->size;
		x.stx_blocks = i->blocks;
		x.stx_atime = stx_time(i->atime);
		x.stx_btime = stx_time(i->btime);
		x.stx_ctime = stx_time(i->ctime);
		x.stx_mtime = stx_time(i->mtime);
		x.stx_rdev_major = dev_major(i->rdev);
		x.stx_rdev_minor = dev_minor(i->rdev);
		x.stx_dev_major = dev_major(i->sb->dev);
		x.stx_dev_minor = dev_minor(i->sb->dev);
		x.stx_mnt_id = p.mnt ? (u64)p.mnt->id : 0;
		if (p.mnt && mask & unique) {
			x.stx_mask ^= STATX_MNT_ID | unique;
			x.stx_mnt_id = mount_unique(p.mnt);
		}
		x.stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
		if (i->iops && i->iops->set_flags) { // the same bits
			x.stx_attributes_mask |= FILE_IMMUTABLE | FILE_APPEND | FILE_NODUMP;
			x.stx_attributes = i->flags & (FILE_IMMUTABLE | FILE_APPEND | FILE_NODUMP);
		}
		if (p.mnt && p.dentry == p.mnt->root)
			x.stx_attributes |= STATX_ATTR_MOUNT_ROOT;
	}
	if (f)
		file_put(f);
	else
		path_put(&p);
	return r ? r : copy_to_user(ubuf, &x, sizeof(x));
}

// access(2) asks for the real user; its answer is made with ids swapped for a moment.
static long access_path(struct path *p, int mode)
{
	struct inode *ino = p->dentry->inode;
	int r = inode_permission(ino, mode);
	if (!r && (mode & MAY_WRITE) && (is_reg(ino) || is_dir(ino) || is_lnk(ino)))
		r = mount_write(p->mnt);
	if (!r && (mode & MAY_EXEC) && is_reg(ino) && (p->mnt->flags & MS_NOEXEC))
		r = -EACCES;
	return r || !ino->iops || !ino->iops->access ? r : ino->iops->access(ino, mode);
}

static long access_at(int dfd, const void __user *name, int mode, u32 flags)
{
	struct path p = {0};
	struct cred *c = cred(), saved = *c;
	bool swap = !(flags & AT_EACCESS) && (c->uid != c->fsuid || c->gid != c->fsgid);
	if ((mode & ~7) || (flags & ~(u32)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
		return -EINVAL;
	if (swap) {
		c->fsuid = c->uid;
		c->fsgid = c->gid;
		c->cap_eff = c->uid != (c->user_ns ? id_in(c->user_ns, false, 0) : 0) ? 0 : c->cap_perm;
	}
	long r = path_lookup_user(
		dfd, name,
		(flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &p);
	if (!r)
		r = access_path(&p, mode);
	if (swap) {
		c->fsuid = saved.fsuid;
		c->fsgid = saved.fsgid;
		c->cap_eff = saved.cap_eff;
	}
	path_put(&p);
	return r;
}

long sys_access(const void __user *name, int mode) { return access_at(AT_FDCWD, name, mode, 0); }
long sys_faccessat(int dfd, const void __user *name, int mode) { return access_at(dfd, name, mode, 0); }
long sys_faccessat2(int dfd, const void __user *name, int mode, u32 flags) { return access_at(dfd, name, mode, flags); }

// Text of a magic link: the name of where it leads.
static int magic_text(struct inode *ino, char *buf, u32 n)
{
	struct path p = {0};
	struct file *f = ino->iops->follow(ino, &p.dentry, &p.mnt);
	if (IS_ERR(f))
		return (int)PTR_ERR(f);
	char *s = ERR_PTR(-EINVAL);
	if (!f)
		s = path_name(&p, buf, n);
	else
		file_put(f);
	path_put(&p);
	if (IS_ERR(s))
		return (int)PTR_ERR(s);
	int len = (int)strlen(s);
	memmove(buf, s, (size_t)len);
	return len;
}

long sys_readlinkat(int dfd, const void __user *name, void __user *ubuf, int n)
{
	struct path p;
	char *buf;
	if (n <= 0)
		return -EINVAL;
	int r = path_lookup_user(dfd, name, LOOKUP_EMPTY, &p);
	if (r)
		return r;
	struct inode *ino = p.dentry->inode;
	buf = kmalloc(PATH_BUF);
	r = -ENOMEM;
	if (!buf)
		goto out;
	r = -EINVAL;
	if (!is_lnk(ino))
		goto out;
	if (ino->iops->readlink)
		r = ino->iops->readlink(ino, buf, PATH_BUF);
	else if (ino->iops->follow)
		r = magic_text(ino, buf, PATH_BUF);
	if (r > 0) {
		r = min(r, n);
		if (copy_to_user(ubuf, buf, (size_t)r))
			r = -EFAULT;
	}
out:
	kfree(buf);
	path_put(&p);
	return r;
}

long sys_readlink(const void __user *name, void __user *ubuf, int n) { return sys_readlinkat(AT_FDCWD, name, ubuf, n); }

static long statfs_super(struct super *sb, const struct mount *m, void __user *ubuf)
{
	struct statfs st = {0};
	st.f_type = sb->magic;
	st.f_bsize = st.f_frsize = sb->blocksize;
	st.f_namelen = NAME_MAX_;
	st.f_fsid.val[0] = (int)sb->dev;
	int r = sb->ops && sb->ops->statfs ? sb->ops->statfs(sb, &st) : 0;
	st.f_flags = 0x20; // ST_VALID; the rest has the same bits as MS_*
	if (m)
		st.f_flags |= (m->flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)) | (m->flags & MS_RELATIME ? 0x1000 : 0);
	if (sb->read_only)
		st.f_flags |= MS_RDONLY;
	return r ? r : copy_to_user(ubuf, &st, sizeof(st));
}

long sys_statfs(const void __user *name, void __user *ubuf)
{
	struct path p;
	int r = path_lookup_user(AT_FDCWD, name, LOOKUP_FOLLOW, &p);
	if (r)
		return r;
	long e = statfs_super(p.mnt->sb, p.mnt, ubuf);
	path_put(&p);
	return e;
}

long sys_fstatfs(int fd, void __user *ubuf)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long r = statfs_super(f->inode->sb, f->path.mnt, ubuf);
	file_put(f);
	return r;
}
