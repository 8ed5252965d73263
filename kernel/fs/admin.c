// SPDX-License-Identifier: Apache-2.0
// Administration of file systems and terminals: ustat, sysfs, quotas, swap, vhangup. There are no quotas and no swap here:
// these calls say what Linux says where none is set up. Locks: dcache_lock for the table of mounts.
#include "kernel/fs/fs.h"
#include <linux/quota.h>

struct ustat_ {		// struct ustat of <sys/ustat.h>
	s32 tfree;
	u64 tinode;
	char fname[6], fpack[6];
};

long sys_ustat(u32 dev, void __user *ubuf)
{
	struct super *sb = super_by_dev((dev >> 8 & 0xfff) << 8 | (dev & 0xff) | (dev >> 12 & 0xfff00));
	struct statfs st = {0};
	struct ustat_ out;
	int r;

	if (!sb)
		return -EINVAL;
	r = sb->ops && sb->ops->statfs ? sb->ops->statfs(sb, &st) : 0;
	super_put(sb);
	if (r)
		return r;
	memset(&out, 0, sizeof(out));
	out.tfree = (s32)st.f_bfree;
	out.tinode = (u64)st.f_ffree;
	return copy_to_user(ubuf, &out, sizeof(out)) ? -EFAULT : 0;
}

long sys_sysfs(int option, u64 a, void __user *buf)
{
	char name[32];
	const char *known;
	u32 i;

	switch (option) {
	case 1: // name to number
		if (user_str(name, U(a), sizeof(name)) == -EFAULT)
			return -EFAULT;
		for (i = 0; (known = fs_type_name(i)); i++)
			if (!strcmp(known, name))
				return i;
		return -EINVAL;
	case 2: // number to name
		known = a < U32_MAX ? fs_type_name((u32)a) : NULL;
		return !known ? -EINVAL : copy_to_user(buf, known, strlen(known) + 1) ? -EFAULT : 0;
	case 3:
		for (i = 0; fs_type_name(i); i++)
			;
		return i;
	default: return -EINVAL;
	}
}

long sys_quotactl(u32 cmd, const void __user *special, u32 id, void __user *addr)
{
	u32 op = cmd >> SUBCMDSHIFT, type = cmd & SUBCMDMASK;
	struct path p;
	int r;

	(void)id, (void)addr;
	if (type >= MAXQUOTAS)
		return -EINVAL;
	if (!special)
		return op == ((u32)Q_SYNC & 0xffffff) ? 0 : -ENODEV;
	r = path_lookup_user(AT_FDCWD, special, LOOKUP_FOLLOW, &p);
	if (r)
		return r;
	r = S_ISBLK(p.dentry->inode->mode) ? -ENODEV : -ENOTBLK;
	path_put(&p);
	return r;
}

long sys_quotactl_fd(int fd, u32 cmd, u32 id, void __user *addr)
{
	struct file *f = fd_get(fd);

	(void)id, (void)addr;
	if (!f)
		return -EBADF;
	file_put(f);
	return (cmd & SUBCMDMASK) >= MAXQUOTAS ? -EINVAL : -ENOSYS;
}

// No file system here can hold a swap file, and no file is in use as swap.
static long swap_file(const void __user *name)
{
	struct path p;
	int r;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	r = path_lookup_user(AT_FDCWD, name, LOOKUP_FOLLOW, &p);
	if (r)
		return r;
	r = is_dir(p.dentry->inode) ? -EISDIR : -EINVAL;
	path_put(&p);
	return r;
}

long sys_swapon(const void __user *name) { return swap_file(name); }
long sys_swapoff(const void __user *name) { return swap_file(name); }

long sys_vhangup(void)
{
	if (!capable(CAP_SYS_TTY_CONFIG))
		return -EPERM;
	if (curproc->session->tty)
		tty_hangup_session(curproc->session);
	return 0;
}
