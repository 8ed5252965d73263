// SPDX-License-Identifier: Apache-2.0
// Flags of files: immutable, append only, no dump, no access times; chattr and lsattr ask by ioctl, newer programs by file_getattr and
// file_setattr. Files in memory have them (inode_ops->set_flags). Who is in the way of a change asks inode->flags: inode_permission for
// writing, may_open, the removal of names, attributes. Locks: inode->lock around a change.
#include "kernel/fs/fs.h"
#include <linux/fs.h>

#define FILE_ATTR_VER0 24u
#define FILE_XFLAGS 0x8001fffbul // FS_XFLAG_*: those that are known

struct file_attr_ {
	u64 xflags;
	u32 extsize, nextents, projid, cowextsize;
};

static const struct {
	u32 flag, xflag;
} map[] = {{FILE_IMMUTABLE, FS_XFLAG_IMMUTABLE}, {FILE_APPEND, FS_XFLAG_APPEND}, {FILE_NODUMP, FS_XFLAG_NODUMP}, {FILE_NOATIME, FS_XFLAG_NOATIME}};

static u32 xflags_of(u32 flags)
{
	u32 x = 0;

	for (u32 i = 0; i < ARRAY_SIZE(map); i++)
		x |= flags & map[i].flag ? map[i].xflag : 0;
	return x;
}

// -EOPNOTSUPP for what no file here can have.
static long flags_of(u64 xflags, u32 *flags)
{
	*flags = 0;
	for (u32 i = 0; i < ARRAY_SIZE(map); i++)
		if (xflags & map[i].xflag) {
			*flags |= map[i].flag;
			xflags &= ~(u64)map[i].xflag;
		}
	return xflags ? -EOPNOTSUPP : 0;
}

static bool has_flags(const struct inode *i) { return (is_reg(i) || is_dir(i)) && i->iops && i->iops->set_flags; }

static long change(struct inode *i, const struct mount *m, u32 flags)
{
	long r = m ? mount_write(m) : 0;

	if (r)
		return r;
	if (!inode_owner(i))
		return -EPERM;
	inode_lock(i);
	if ((flags ^ i->flags) & (FILE_IMMUTABLE | FILE_APPEND) && !capable(CAP_LINUX_IMMUTABLE))
		r = -EPERM;
	else
		r = flags & ~FILE_FLAGS ? -EOPNOTSUPP : i->iops->set_flags(i, flags);
	inode_unlock(i);
	return r;
}

static long get_fsx(struct inode *i, u64 arg)
{
	struct fsxattr x = {.fsx_xflags = xflags_of(i->flags)};

	return copy_to_user(U(arg), &x, sizeof(x));
}

static long set_fsx(struct inode *i, const struct mount *m, u64 arg)
{
	struct fsxattr x;
	u32 flags;
	long r;

	if (copy_from_user(&x, U(arg), sizeof(x)))
		return -EFAULT;
	r = x.fsx_extsize || x.fsx_projid || x.fsx_cowextsize ? -EOPNOTSUPP : flags_of(x.fsx_xflags, &flags);
	return r ? r : change(i, m, flags);
}

long fileattr_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct inode *i = f->inode;
	u32 flags;

	if (!has_flags(i))
		return -ENOTTY;
	switch (cmd) {
	case FS_IOC_GETFLAGS:
		return put_user(i->flags, U(arg));
	case FS_IOC_SETFLAGS:
		return get_user(flags, U(arg)) ? -EFAULT : change(i, f->path.mnt, flags);
	case FS_IOC_FSGETXATTR:
		return get_fsx(i, arg);
	case FS_IOC_FSSETXATTR:
		return set_fsx(i, f->path.mnt, arg);
	default:
		return -ENOTTY;
	}
}

static long attr_size(size_t size, u32 flags)
{
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return size > PAGE_SIZE ? -E2BIG : size < FILE_ATTR_VER0 ? -EINVAL : 0;
}

long sys_file_getattr(int dfd, const void __user *path, void __user *uattr, size_t size, u32 flags)
{
	struct file_attr_ attr = {0};
	struct at a;
	long r = attr_size(size, flags);

	if (!r)
		r = at_get(&a, dfd, path, flags);
	if (r)
		return r;
	attr.xflags = xflags_of(a.ino->flags);
	r = has_flags(a.ino) ? 0 : -EOPNOTSUPP;
	at_put(&a);
	if (!r && (copy_to_user(uattr, &attr, sizeof(attr)) || clear_user((u8 __user *)uattr + sizeof(attr), size - sizeof(attr))))
		r = -EFAULT;
	return r;
}

long sys_file_setattr(int dfd, const void __user *path, const void __user *uattr, size_t size, u32 flags)
{
	struct file_attr_ attr;
	struct at a;
	u32 want;
	long r = attr_size(size, flags);

	if (!r)
		r = copy_struct_from_user(&attr, sizeof(attr), uattr, size);
	if (!r && attr.xflags & ~FILE_XFLAGS)
		r = -EINVAL;
	if (!r)
		r = at_get(&a, dfd, path, flags);
	if (r)
		return r;
	r = a.m ? mount_write(a.m) : 0;
	if (!r)
		r = !has_flags(a.ino) || attr.extsize || attr.projid || attr.cowextsize ? -EOPNOTSUPP : flags_of(attr.xflags, &want);
	if (!r)
		r = change(a.ino, a.m, want);
	at_put(&a);
	return r;
}
