// SPDX-License-Identifier: Apache-2.0
// Flags of files (chattr) on a mounted volume. The host's kernel asks for them and sets them, and checks who may; but it does not know them
// when a file is used, so what they forbid is refused here, as Linux's own file systems refuse it. Called by the server's thread only.
#include "seal/tool_mount.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#define STRICT (SEAL_FLAG_IMMUTABLE | SEAL_FLAG_APPEND)

u32 mount_flags(struct mount *m, struct seal_inode *i)
{
	struct seal_attr a;
	seal_getattr(m->t.vol, i, &a);
	return a.flags;
}

int mount_may(struct mount *m, struct seal_inode *i, u32 forbidden) { return mount_flags(m, i) & forbidden ? -EPERM : 0; }

int mount_may_open(struct mount *m, struct seal_inode *i, int how)
{
	if ((how & O_ACCMODE) == O_RDONLY)
		return 0;
	return mount_may(m, i, how & O_APPEND ? SEAL_FLAG_IMMUTABLE : STRICT);
}

// O_APPEND cannot be taken off such a file; the host's kernel lets fcntl do it, and takes RWF_NOAPPEND, so the place counts.
int mount_may_write(struct mount *m, struct seal_inode *i, bool append, u64 off)
{
	struct seal_attr a;
	seal_getattr(m->t.vol, i, &a);
	return a.flags & SEAL_FLAG_IMMUTABLE || (append && a.flags & SEAL_FLAG_APPEND && off < a.size) ? -EPERM : 0;
}

int mount_may_remove(struct mount *m, struct seal_inode *dir, const char *name, u32 len)
{
	struct seal_inode *i;
	int r = mount_may(m, dir, STRICT);
	if (r)
		return r;
	r = seal_lookup(m->t.vol, dir, name, len, &i);
	if (r)
		return r;
	r = mount_may(m, i, STRICT);
	seal_iput(m->t.vol, i);
	return r;
}

int mount_may_rename(struct mount *m, struct seal_inode *from, const char *name, u32 len, struct seal_inode *to, const char *newname,
		     u32 newlen)
{
	struct seal_inode *victim;
	int r = mount_may_remove(m, from, name, len);
	if (!r)
		r = mount_may(m, to, SEAL_FLAG_IMMUTABLE);
	if (!r)
		r = seal_lookup(m->t.vol, to, newname, newlen, &victim);
	if (r)
		return r == -ENOENT ? 0 : r; // without the first name the library says so
	seal_iput(m->t.vol, victim);
	return mount_may_remove(m, to, newname, newlen);
}

int mount_may_allocate(struct mount *m, struct seal_inode *i, int mode)
{
	return mount_may(m, i, mode & ~FALLOC_FL_KEEP_SIZE ? STRICT : SEAL_FLAG_IMMUTABLE);
}

int mount_may_set(struct mount *m, struct seal_inode *i, bool now_only) { return mount_may(m, i, now_only ? SEAL_FLAG_IMMUTABLE : STRICT); }

// The flags as the other pair of calls has them, with which the kernel looks at what is there before it changes something.
static const u32 other[][2] = {{SEAL_FLAG_IMMUTABLE, FS_XFLAG_IMMUTABLE},
			       {SEAL_FLAG_APPEND, FS_XFLAG_APPEND},
			       {SEAL_FLAG_NODUMP, FS_XFLAG_NODUMP},
			       {SEAL_FLAG_NOATIME, FS_XFLAG_NOATIME}};

static u32 translate(u32 flags, u32 from)
{
	u32 known = 0, to = 0;
	for (u32 k = 0; k < sizeof other / sizeof *other; k++) {
		known |= other[k][from];
		to |= flags & other[k][from] ? other[k][!from] : 0;
	}
	return flags & ~known ? ~0u : to; // ~0: more than there is
}

// Before 5.13 the kernel leaves it to the server who may do this: the owner and root, and what forbids something only root.
static int set(struct mount *m, struct seal_inode *i, u32 caller, u32 flags)
{
	struct seal_attr a;
	seal_getattr(m->t.vol, i, &a);
	if (m->unchecked && caller && (mount_swap_id(caller, m->uid) != a.uid || (a.flags ^ flags) & STRICT))
		return -EPERM;
	return seal_setattr(m->t.vol, i, SEAL_SET_FLAGS, &(struct seal_attr){.flags = flags});
}

int mount_ioctl_flags(struct mount *m, struct seal_inode *i, u32 caller, unsigned cmd, const void *in, size_t in_size, void *out, size_t out_size)
{
	struct fsxattr x = {0};
	u32 flags;
	switch (cmd) {
	case (unsigned)FS_IOC_GETFLAGS:
		if (out_size < sizeof flags)
			break;
		flags = mount_flags(m, i);
		memcpy(out, &flags, sizeof flags);
		return sizeof flags;
	case (unsigned)FS_IOC_FSGETXATTR:
		if (out_size < sizeof x)
			break;
		x.fsx_xflags = translate(mount_flags(m, i) & SEAL_FLAGS, 0);
		memcpy(out, &x, sizeof x);
		return sizeof x;
	case (unsigned)FS_IOC_SETFLAGS:
		if (in_size < sizeof flags)
			break;
		memcpy(&flags, in, sizeof flags);
		return set(m, i, caller, flags);
	case (unsigned)FS_IOC_FSSETXATTR:
		if (in_size < sizeof x)
			break;
		memcpy(&x, in, sizeof x);
		return x.fsx_extsize || x.fsx_cowextsize || x.fsx_projid ? -EOPNOTSUPP : set(m, i, caller, translate(x.fsx_xflags, 1));
	}
	return -ENOTTY;
}
