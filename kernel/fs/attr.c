// SPDX-License-Identifier: Apache-2.0
// Changing files' attributes and sizes; making them durable. Locks: inode->lock around setattr.
#include "kernel/fs/fs.h"

int setattr_checked(struct inode *ino, struct iattr *a)
{
	return ino->iops && ino->iops->setattr ? ino->iops->setattr(ino, a) : -EPERM;
}

void setattr_copy(struct inode *i, const struct iattr *a)
{
	if (a->valid & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (a->mode & 07777);
	if (a->valid & ATTR_UID)
		i->uid = a->uid;
	if (a->valid & ATTR_GID)
		i->gid = a->gid;
	if (a->valid & ATTR_ATIME)
		i->atime = a->atime;
	if (a->valid & ATTR_MTIME)
		i->mtime = a->mtime;
	i->ctime = fstime_now();
}

int setattr_plain(struct inode *i, const struct iattr *a)
{
	setattr_copy(i, a);
	return 0;
}

const struct inode_ops plain_iops = {.setattr = setattr_plain};

// After a new size was set, without locks.
void setattr_cut(struct inode *ino, u64 size)
{
	struct pagecache *pc = __atomic_load_n(&ino->pc, __ATOMIC_ACQUIRE);

	if (!pc || !__atomic_load_n(&pc->mapcount, __ATOMIC_RELAXED))
		return;
	pc_get(pc);
	mm_cut(pc, size);
	pc_put(pc);
}

u32 mode_written(const struct inode *ino)
{
	u32 bits = S_ISUID | (ino->mode & S_IXGRP ? S_ISGID : 0);

	return unlikely(ino->mode & bits) && is_reg(ino) && !inode_capable(ino, CAP_FSETID) ? ino->mode & ~bits : ino->mode;
}

void setattr_written(const struct inode *ino, struct iattr *a)
{
	a->mode = mode_written(ino);
	if (a->mode != ino->mode)
		a->valid |= ATTR_MODE;
}

// at: how ino was reached; empty for objects without a name.
static int set(struct inode *ino, const struct path *at, struct iattr *a)
{
	int r = at->mnt ? mount_write(at->mnt) : 0;
	if (!r && ino->flags & (FILE_IMMUTABLE | FILE_APPEND) && a->valid & (ATTR_MODE | ATTR_UID | ATTR_GID))
		r = -EPERM;
	if (r)
		return r;
	inode_lock(ino);
	if (a->valid & ATTR_SIZE)
		setattr_written(ino, a);
	r = setattr_checked(ino, a);
	inode_unlock(ino);
	if (a->valid & ATTR_SIZE) // what failed may have cut off a part
		setattr_cut(ino, r ? __atomic_load_n(&ino->size, __ATOMIC_RELAXED) : a->size);
	if (!r && at->dentry)
		fsnotify_name(at->dentry, a->valid & ATTR_SIZE ? IN_MODIFY : IN_ATTRIB);
	return r;
}

static bool in_group(u32 gid)
{
	const struct cred *c = cred();
	for (u32 i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return c->fsgid == gid;
}

// --- mode
static long change_mode(struct inode *ino, const struct path *at, u32 mode)
{
	struct iattr a = {.valid = ATTR_MODE, .mode = (ino->mode & S_IFMT) | (mode & 07777)};
	if (!inode_owner(ino))
		return -EPERM;
	if (is_lnk(ino))
		return -EOPNOTSUPP;
	if ((mode & S_ISGID) && !in_group(ino->gid) && !inode_capable(ino, CAP_FSETID))
		a.mode &= ~(u32)S_ISGID;
	return set(ino, at, &a);
}

long sys_fchmodat(int dfd, const void __user *name, u32 mode)
{
	struct path p;
	int r = path_lookup_user(dfd, name, LOOKUP_FOLLOW, &p);
	if (r)
		return r;
	long e = change_mode(p.dentry->inode, &p, mode);
	path_put(&p);
	return e;
}

long sys_fchmodat2(int dfd, const void __user *name, u32 mode, u32 flags)
{
	struct path p;
	int r;
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	r = path_lookup_user(dfd, name, (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &p);
	if (r)
		return r;
	long e = is_lnk(p.dentry->inode) ? -EOPNOTSUPP : change_mode(p.dentry->inode, &p, mode);
	path_put(&p);
	return e;
}

long sys_chmod(const void __user *name, u32 mode) { return sys_fchmodat(AT_FDCWD, name, mode); }

long sys_fchmod(int fd, u32 mode)
{
	struct file *f = fd_get(fd);
	long r = !f || (f->flags & O_PATH) ? -EBADF : change_mode(f->inode, &f->path, mode);
	file_put(f);
	return r;
}

// --- owner
static long change_owner(struct inode *ino, const struct path *at, u32 uid, u32 gid)
{
	struct iattr a = {.uid = uid, .gid = gid, .mode = ino->mode};
	bool may = inode_capable(ino, CAP_CHOWN), mine = cred()->fsuid == ino->uid;
	if ((uid != U32_MAX && (a.uid = uid = uid_in(uid)) == U32_MAX) || (gid != U32_MAX && (a.gid = gid = gid_in(gid)) == U32_MAX))
		return -EINVAL;
	if (uid != U32_MAX)
		a.valid |= ATTR_UID;
	if (gid != U32_MAX)
		a.valid |= ATTR_GID;
	if ((a.valid & ATTR_UID) && !may && !(mine && uid == ino->uid))
		return -EPERM;
	if ((a.valid & ATTR_GID) && !may && !(mine && (gid == ino->gid || in_group(gid))))
		return -EPERM;
	if (!is_dir(ino) && a.valid) {
		a.mode &= ~(u32)S_ISUID;
		if (a.mode & S_IXGRP)
			a.mode &= ~(u32)S_ISGID;
		if (a.mode != ino->mode)
			a.valid |= ATTR_MODE;
	}
	return set(ino, at, &a);
}

long sys_fchownat(int dfd, const void __user *name, u32 uid, u32 gid, u32 flags)
{
	struct path p;
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	int r = path_lookup_user(
		dfd, name,
		(flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &p);
	if (r)
		return r;
	long e = change_owner(p.dentry->inode, &p, uid, gid);
	path_put(&p);
	return e;
}

long sys_chown(const void __user *name, u32 uid, u32 gid) { return sys_fchownat(AT_FDCWD, name, uid, gid, 0); }
long sys_lchown(const void __user *name, u32 uid, u32 gid)
{
	return sys_fchownat(AT_FDCWD, name, uid, gid, AT_SYMLINK_NOFOLLOW);
}

long sys_fchown(int fd, u32 uid, u32 gid)
{
	struct file *f = fd_get(fd);
	long r = !f || (f->flags & O_PATH) ? -EBADF : change_owner(f->inode, &f->path, uid, gid);
	file_put(f);
	return r;
}

// --- times
#define UTIME_NOW_ 0x3fffffffl
#define UTIME_OMIT_ 0x3ffffffel

static long change_times(struct inode *ino, const struct path *at, const struct __kernel_timespec *ts)
{
	struct iattr a = {0};
	struct fstime now = fstime_now();
	bool both_now = !ts || (ts[0].tv_nsec == UTIME_NOW_ && ts[1].tv_nsec == UTIME_NOW_);
	for (int i = 0; i < 2; i++) {
		struct fstime t = now;
		if (ts && ts[i].tv_nsec == UTIME_OMIT_)
			continue;
		if (ts && ts[i].tv_nsec != UTIME_NOW_) {
			if (ts[i].tv_nsec < 0 || ts[i].tv_nsec >= (long)NSEC_PER_SEC)
				return -EINVAL;
			t = (struct fstime){ts[i].tv_sec, (u32)ts[i].tv_nsec};
		}
		a.valid |= i ? ATTR_MTIME : ATTR_ATIME;
		*(i ? &a.mtime : &a.atime) = t;
	}
	if (!a.valid)
		return 0;
	if (ino->flags & (both_now ? FILE_IMMUTABLE : FILE_IMMUTABLE | FILE_APPEND))
		return -EPERM;
	if (!inode_owner(ino)) {
		if (!both_now)
			return -EPERM;
		int r = inode_permission(ino, MAY_WRITE);
		if (r)
			return r;
	}
	return set(ino, at, &a);
}

static long times_at(int dfd, const void __user *name, const struct __kernel_timespec *ts, u32 flags)
{
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (!name && dfd != AT_FDCWD) {
		struct file *f = fd_get(dfd);
		long r = !f || (f->flags & O_PATH) ? -EBADF : change_times(f->inode, &f->path, ts);
		file_put(f);
		return r;
	}
	struct path p;
	int r = path_lookup_user(
		dfd, name,
		(flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &p);
	if (r)
		return r;
	long e = change_times(p.dentry->inode, &p, ts);
	path_put(&p);
	return e;
}

long sys_utimensat(int dfd, const void __user *name, const void __user *uts, u32 flags)
{
	struct __kernel_timespec ts[2];
	if (uts && copy_from_user(ts, uts, sizeof(ts)))
		return -EFAULT;
	if (uts && ts[0].tv_nsec == UTIME_OMIT_ && ts[1].tv_nsec == UTIME_OMIT_)
		return 0;
	return times_at(dfd, name, uts ? ts : NULL, flags);
}

long sys_futimesat(int dfd, const void __user *name, const void __user *utv)
{
	s64 tv[2][2];
	struct __kernel_timespec ts[2];
	if (utv && copy_from_user(tv, utv, sizeof(tv)))
		return -EFAULT;
	for (int i = 0; utv && i < 2; i++) {
		if (tv[i][1] < 0 || tv[i][1] >= 1000000)
			return -EINVAL;
		ts[i].tv_sec = tv[i][0];
		ts[i].tv_nsec = tv[i][1] * 1000;
	}
	return times_at(dfd, name, utv ? ts : NULL, 0);
}

long sys_utimes(const void __user *name, const void __user *utv) { return sys_futimesat(AT_FDCWD, name, utv); }

long sys_utime(const void __user *name, const void __user *ut)
{
	s64 t[2];
	struct __kernel_timespec ts[2] = {0};
	if (ut && copy_from_user(t, ut, sizeof(t)))
		return -EFAULT;
	if (ut) {
		ts[0].tv_sec = t[0];
		ts[1].tv_sec = t[1];
	}
	return times_at(AT_FDCWD, name, ut ? ts : NULL, 0);
}

// --- size
static long change_size(struct inode *ino, const struct path *at, s64 size)
{
	struct iattr a = {.valid = ATTR_SIZE, .size = (u64)size};
	if ((u64)size > ino->size && (u64)size > RLIMIT(RLIMIT_FSIZE)) {
		signal_send_task(current, SIGXFSZ, NULL);
		return -EFBIG;
	}
	if (ino->flags & FILE_APPEND)
		return -EPERM;
	return set(ino, at, &a);
}

long sys_truncate(const void __user *name, s64 size)
{
	struct path p;
	if (size < 0)
		return -EINVAL;
	long r = path_lookup_user(AT_FDCWD, name, LOOKUP_FOLLOW, &p);
	if (r)
		return r;
	struct inode *ino = p.dentry->inode;
	r = is_dir(ino) ? -EISDIR : !is_reg(ino) ? -EINVAL : inode_permission(ino, MAY_WRITE);
	if (!r) {
		__atomic_fetch_add(&ino->writers, 1, __ATOMIC_SEQ_CST);
		r = __atomic_load_n(&ino->deny_write, __ATOMIC_SEQ_CST) ? -ETXTBSY : change_size(ino, &p, size);
		__atomic_fetch_sub(&ino->writers, 1, __ATOMIC_SEQ_CST);
	}
	path_put(&p);
	return r;
}

long sys_ftruncate(int fd, s64 size)
{
	if (size < 0)
		return -EINVAL;
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long r = f->flags & O_PATH		      ? -EBADF
		 : !is_reg(f->inode) || !can_write(f) ? -EINVAL
						      : change_size(f->inode, &f->path, size);
	file_put(f);
	return r;
}

long sys_fallocate(int fd, int mode, s64 off, s64 len)
{
	struct file *f = fd_get(fd);
	long r = -EBADF;
	s64 end;
	if (!f || !can_write(f))
		goto out;
	r = -EINVAL;
	if (off < 0 || len <= 0)
		goto out;
	r = -EFBIG;
	if (__builtin_add_overflow(off, len, &end))
		goto out;
	r = f->ops->stream ? -ESPIPE : is_dir(f->inode) ? -EISDIR : !is_reg(f->inode) ? -ENODEV : 0;
	if (!r && ((f->inode->flags & FILE_IMMUTABLE) || (f->inode->flags & FILE_APPEND && mode & ~1)))
		r = -EPERM;
	if (r)
		goto out;
	r = -EFBIG;
	if (!(mode & 1) && (u64)end > f->inode->size && (u64)end > RLIMIT(RLIMIT_FSIZE)) {
		signal_send_task(current, SIGXFSZ, NULL);
		goto out;
	}
	r = f->ops->fallocate ? f->ops->fallocate(f, mode, (u64)off, (u64)len) : -EOPNOTSUPP;
	if (!r && unlikely(mode_written(f->inode) != f->inode->mode)) {
		struct iattr a = {0};
		inode_lock(f->inode);
		setattr_written(f->inode, &a);
		r = setattr_checked(f->inode, &a);
		inode_unlock(f->inode);
	}
	if (!r)
		file_event(f, IN_MODIFY);
out:
	file_put(f);
	return r;
}

// --- durability
static long sync_file(int fd, bool data_only)
{
	struct file *f = fd_get(fd);
	if (!f || (f->flags & O_PATH)) {
		file_put(f);
		return -EBADF;
	}
	long r = f->ops->fsync ? f->ops->fsync(f, data_only) : is_reg(f->inode) || is_dir(f->inode) ? 0 : -EINVAL;
	file_put(f);
	return r;
}

long sys_fsync(int fd) { return sync_file(fd, false); }
long sys_fdatasync(int fd) { return sync_file(fd, true); }

long sys_sync_file_range(int fd, s64 off, s64 len, u32 flags)
{
	struct file *f = fd_get(fd);
	long r = -EBADF;
	if (f && !(f->flags & O_PATH))
		r = off < 0 || len < 0 || (flags & ~7u)	     ? -EINVAL
		    : !is_reg(f->inode) && !is_dir(f->inode) ? -ESPIPE
							     : 0;
	if (!r && flags && f->ops->writeback)
		r = f->ops->writeback(f, flags & ~2u); // 2: SYNC_FILE_RANGE_WRITE, which only starts it
	file_put(f);
	return r;
}

long sys_sync(void)
{
	vfs_sync_all();
	return 0;
}

long sys_syncfs(int fd)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct super *sb = f->inode->sb;
	long r = sb->ops && sb->ops->sync ? sb->ops->sync(sb) : 0;
	file_put(f);
	return r;
}

// Hints that cost nothing to ignore; errors as documented.
long sys_fadvise64(int fd, s64 off, s64 len, int advice)
{
	(void)off;
	struct file *f = fd_get(fd);
	long r = !f ? -EBADF : f->ops->stream ? -ESPIPE : len < 0 || advice < 0 || advice > 5 ? -EINVAL : 0;
	file_put(f);
	return r;
}

long sys_readahead(int fd, s64 off, size_t n)
{
	(void)off;
	(void)n;
	struct file *f = fd_get(fd);
	long r = !f || !can_read(f) ? -EBADF : !is_reg(f->inode) ? -EINVAL : 0;
	file_put(f);
	return r;
}

long sys_umask(u32 mask)
{
	return __atomic_exchange_n(&cur_fs()->umask, mask & 0777, __ATOMIC_RELAXED);
}
