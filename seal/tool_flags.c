// SPDX-License-Identifier: Apache-2.0
// Flags of files (chattr) on this machine, as far as a volume keeps them. Whose file system has none has none set. Hosted only.
#include "seal/tool_impl.h"
#include <linux/fs.h>
#include <sys/ioctl.h>

#define STRICT (SEAL_FLAG_IMMUTABLE | SEAL_FLAG_APPEND)

// What is no more than advice is everybody's; what only root may set is kept like owners.
u32 tool_flags_kept(u32 flags, bool keep_owner) { return flags & (keep_owner ? SEAL_FLAGS : SEAL_FLAGS & ~STRICT); }

bool tool_flags_known(int fd)
{
	int flags;
	return !ioctl(fd, FS_IOC_GETFLAGS, &flags);
}

u32 tool_flags_get(int fd)
{
	int flags = 0;
	return ioctl(fd, FS_IOC_GETFLAGS, &flags) ? 0 : (u32)flags & SEAL_FLAGS;
}

int tool_flags_set(int fd, u32 flags)
{
	int now = 0, want;
	if (ioctl(fd, FS_IOC_GETFLAGS, &now))
		return flags & STRICT ? -errno : 0;
	want = (int)(((u32)now & ~SEAL_FLAGS) | flags);
	if (want != now && ioctl(fd, FS_IOC_SETFLAGS, &want) && (((u32)now ^ (u32)want) & STRICT || errno == EIO))
		return -errno;
	return 0;
}
