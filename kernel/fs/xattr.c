// SPDX-License-Identifier: Apache-2.0
// Extended attributes: the calls. Storage is the file system's (iops->getxattr...). Locks: inode->lock around a change.
#include "kernel/fs/fs.h"
#include <linux/xattr.h>

#define XNAME_MAX 255u
#define XVALUE_MAX 65536u

static bool starts(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

// Name space rules of man 7 xattr.
static int check(struct inode *ino, const char *name, bool write)
{
	int r;
	if (write && (ino->flags & (FILE_IMMUTABLE | FILE_APPEND)))
		return -EPERM;
	if (starts(name, "system.posix_acl_") || starts(name, "system."))
		return -EOPNOTSUPP;
	if (starts(name, "trusted."))
		return capable(CAP_SYS_ADMIN) ? 0 : write ? -EPERM : -ENODATA;
	if (starts(name, "user.")) {
		if (!is_reg(ino) && !is_dir(ino))
			return write ? -EPERM : -ENODATA;
		return inode_permission(ino, write ? MAY_WRITE : MAY_READ);
	}
	if (!starts(name, "security."))
		return -EOPNOTSUPP;
	r = write && !capable(CAP_SYS_ADMIN) ? -EPERM : 0;
	return r;
}

static int get_name(char name[XNAME_MAX + 1], const void __user *uname)
{
	ssize_t n = user_str(name, uname, XNAME_MAX + 1);
	return n == -ENAMETOOLONG || n == 0 ? -ERANGE : n < 0 ? (int)n : 0;
}

static long do_set(struct inode *ino, const struct mount *m, const void __user *uname, const void __user *uval,
		   size_t n, int flags)
{
	char name[XNAME_MAX + 1];
	void *val = NULL;
	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	int r = get_name(name, uname);
	if (r)
		return r;
	if (n > XVALUE_MAX)
		return -E2BIG;
	if ((r = m ? mount_write(m) : 0) || (r = check(ino, name, true)))
		return r;
	if (!ino->iops || !ino->iops->setxattr)
		return -EOPNOTSUPP;
	if (n && !(val = kmalloc(n)))
		return -ENOMEM;
	r = n && copy_from_user(val, uval, n) ? -EFAULT : 0;
	if (!r) {
		inode_lock(ino);
		r = ino->iops->setxattr(ino, name, val, n, flags);
		inode_unlock(ino);
	}
	if (!r)
		fs_event(NULL, ino, NULL, IN_ATTRIB);
	kfree(val);
	return r;
}

static long do_get(struct inode *ino, const void __user *uname, void __user *uval, size_t n)
{
	char name[XNAME_MAX + 1];
	void *val = NULL;
	ssize_t r = get_name(name, uname);
	if (r || (r = check(ino, name, false)))
		return r;
	if (!ino->iops || !ino->iops->getxattr)
		return -EOPNOTSUPP;
	n = min(n, (size_t)XVALUE_MAX);
	if (n && !(val = kmalloc(n)))
		return -ENOMEM;
	inode_lock(ino);
	r = ino->iops->getxattr(ino, name, val, n);
	inode_unlock(ino);
	if (r > 0 && n && copy_to_user(uval, val, (size_t)r))
		r = -EFAULT;
	kfree(val);
	return r;
}

// Takes the names out that only CAP_SYS_ADMIN may know. What is left.
static size_t visible(char *names, size_t all)
{
	size_t left = 0;
	if (capable(CAP_SYS_ADMIN))
		return all;
	for (size_t at = 0, len; at < all; at += len) {
		len = min(strnlen(names + at, all - at) + 1, all - at); // a file system in user space may leave the last NUL out
		if (len > 8 && !memcmp(names + at, "trusted.", 8))
			continue;
		memmove(names + left, names + at, len);
		left += len;
	}
	return left;
}

static long do_list(struct inode *ino, void __user *ubuf, size_t n)
{
	char *buf = NULL;
	if (!ino->iops || !ino->iops->listxattr)
		return 0;
	inode_lock(ino);
	ssize_t r = ino->iops->listxattr(ino, NULL, 0);
	if (r > XVALUE_MAX)
		r = -E2BIG;
	if (r > 0 && !(buf = kmalloc((size_t)r)))
		r = -ENOMEM;
	if (r > 0)
		r = ino->iops->listxattr(ino, buf, (size_t)r);
	inode_unlock(ino);
	if (r > 0)
		r = (ssize_t)visible(buf, (size_t)r);
	if (r > 0 && n)
		r = (size_t)r > n ? -ERANGE : copy_to_user(ubuf, buf, (size_t)r) ? -EFAULT : r;
	kfree(buf);
	return r;
}

static long do_remove(struct inode *ino, const struct mount *m, const void __user *uname)
{
	char name[XNAME_MAX + 1];
	int r = get_name(name, uname);
	if (r || (r = m ? mount_write(m) : 0) || (r = check(ino, name, true)))
		return r;
	if (!ino->iops || !ino->iops->removexattr)
		return -EOPNOTSUPP;
	inode_lock(ino);
	r = ino->iops->removexattr(ino, name);
	inode_unlock(ino);
	if (!r)
		fs_event(NULL, ino, NULL, IN_ATTRIB);
	return r;
}

// Each call in three forms: by path, by path without following, by descriptor.
#define BY_PATH(follow, call)                                                                      \
	struct path p;                                                                             \
	int r = path_lookup_user(AT_FDCWD, path, follow, &p);                                      \
	if (r)                                                                                     \
		return r;                                                                          \
	struct inode *ino = p.dentry->inode;                                                       \
	const struct mount *m = p.mnt;                                                             \
	(void)m;                                                                                   \
	long e = call;                                                                             \
	path_put(&p);                                                                              \
	return e

#define BY_FD(call)                                                                                \
	struct file *f = fd_get(fd);                                                               \
	if (!f || (f->flags & O_PATH)) {                                                           \
		file_put(f);                                                                       \
		return -EBADF;                                                                     \
	}                                                                                          \
	struct inode *ino = f->inode;                                                              \
	const struct mount *m = f->path.mnt;                                                       \
	(void)m;                                                                                   \
	long e = call;                                                                             \
	file_put(f);                                                                               \
	return e

long sys_setxattr(const void __user *path, const void __user *name, const void __user *val, size_t n, int flags)
{
	BY_PATH(LOOKUP_FOLLOW, do_set(ino, m, name, val, n, flags));
}
long sys_lsetxattr(const void __user *path, const void __user *name, const void __user *val, size_t n, int flags)
{
	BY_PATH(0, do_set(ino, m, name, val, n, flags));
}
long sys_fsetxattr(int fd, const void __user *name, const void __user *val, size_t n, int flags)
{
	BY_FD(do_set(ino, m, name, val, n, flags));
}
long sys_getxattr(const void __user *path, const void __user *name, void __user *val, size_t n)
{
	BY_PATH(LOOKUP_FOLLOW, do_get(ino, name, val, n));
}
long sys_lgetxattr(const void __user *path, const void __user *name, void __user *val, size_t n)
{
	BY_PATH(0, do_get(ino, name, val, n));
}
long sys_fgetxattr(int fd, const void __user *name, void __user *val, size_t n) { BY_FD(do_get(ino, name, val, n)); }
long sys_listxattr(const void __user *path, void __user *buf, size_t n)
{
	BY_PATH(LOOKUP_FOLLOW, do_list(ino, buf, n));
}
long sys_llistxattr(const void __user *path, void __user *buf, size_t n) { BY_PATH(0, do_list(ino, buf, n)); }
long sys_flistxattr(int fd, void __user *buf, size_t n) { BY_FD(do_list(ino, buf, n)); }
long sys_removexattr(const void __user *path, const void __user *name)
{
	BY_PATH(LOOKUP_FOLLOW, do_remove(ino, m, name));
}
long sys_lremovexattr(const void __user *path, const void __user *name) { BY_PATH(0, do_remove(ino, m, name)); }
long sys_fremovexattr(int fd, const void __user *name) { BY_FD(do_remove(ino, m, name)); }

// --- relative to a directory. A descriptor itself stands for its file when the name is empty and AT_EMPTY_PATH says so.

struct xattr_arg { // struct xattr_args
	u64 value;
	u32 size, flags;
};

static int read_args(struct xattr_arg *a, const void __user *uargs, size_t size)
{
	if (size < sizeof(*a))
		return -EINVAL;
	return size > PAGE_SIZE ? -E2BIG : copy_struct_from_user(a, sizeof(*a), uargs, size);
}

int at_get(struct at *a, int dfd, const void __user *path, u32 flags)
{
	char first = 1;
	int r;

	*a = (struct at){0};
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (flags & AT_EMPTY_PATH && path && get_user(first, (const char __user *)path))
		return -EFAULT;
	if (flags & AT_EMPTY_PATH && (!path || !first) && dfd >= 0) {
		a->f = fd_get(dfd);
		if (!a->f || a->f->flags & O_PATH) {
			file_put(a->f);
			return -EBADF;
		}
		a->ino = a->f->inode;
		a->m = a->f->path.mnt;
		return 0;
	}
	r = path_lookup_user(dfd, path, (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &a->p);
	if (r)
		return r;
	a->ino = a->p.dentry->inode;
	a->m = a->p.mnt;
	return 0;
}

void at_put(struct at *a)
{
	if (a->f)
		file_put(a->f);
	else
		path_put(&a->p);
}

long sys_setxattrat(int dfd, const void __user *path, u32 flags, const void __user *name, const void __user *uargs, size_t size)
{
	struct xattr_arg arg;
	struct at a;
	long r = read_args(&arg, uargs, size);

	if (!r)
		r = at_get(&a, dfd, path, flags);
	if (r)
		return r;
	r = do_set(a.ino, a.m, name, U(arg.value), arg.size, (int)arg.flags);
	at_put(&a);
	return r;
}

long sys_getxattrat(int dfd, const void __user *path, u32 flags, const void __user *name, const void __user *uargs, size_t size)
{
	struct xattr_arg arg;
	struct at a;
	long r = read_args(&arg, uargs, size);

	if (!r && arg.flags)
		r = -EINVAL;
	if (!r)
		r = at_get(&a, dfd, path, flags);
	if (r)
		return r;
	r = do_get(a.ino, name, U(arg.value), arg.size);
	at_put(&a);
	return r;
}

long sys_listxattrat(int dfd, const void __user *path, u32 flags, void __user *buf, size_t n)
{
	struct at a;
	long r = at_get(&a, dfd, path, flags);

	if (r)
		return r;
	r = do_list(a.ino, buf, n);
	at_put(&a);
	return r;
}

long sys_removexattrat(int dfd, const void __user *path, u32 flags, const void __user *name)
{
	struct at a;
	long r = at_get(&a, dfd, path, flags);

	if (r)
		return r;
	r = do_remove(a.ino, a.m, name);
	at_put(&a);
	return r;
}
