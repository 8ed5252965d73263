// SPDX-License-Identifier: Apache-2.0
// ioctl(2): what every file answers (descriptor flags, readable bytes of a regular file); the rest is the file's own.
// Takes no locks.
#include "kernel/fs/fs.h"
#include <asm/ioctls.h>
#include <linux/fs.h>

long sys_fcntl(int fd, u32 cmd, u64 arg);

static long set_status_flag(int fd, struct file *f, u32 flag, u64 arg)
{
	int on;
	if (get_user(on, U(arg)))
		return -EFAULT;
	return sys_fcntl(fd, F_SETFL, on ? f->flags | flag : f->flags & ~flag);
}

static long regular_file(struct file *f, u32 cmd, u64 arg)
{
	s64 left;
	switch (cmd) {
	case FIONREAD:
		left = (s64)(f->inode->size - f->pos);
		return put_user((int)left, U(arg));
	case FIGETBSZ:
		return put_user((int)f->inode->sb->blocksize, U(arg));
	}
	return -ENOTTY;
}

long sys_ioctl(int fd, u32 cmd, u64 arg)
{
	bool put;
	struct file *f = fd_light(fd, &put);
	long r;
	if (!f)
		return -EBADF;
	if (f->flags & O_PATH) {
		r = -EBADF;
		goto out;
	}
	switch (cmd) {
	case FIOCLEX:
		r = sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
		break;
	case FIONCLEX:
		r = sys_fcntl(fd, F_SETFD, 0);
		break;
	case FIONBIO:
		r = set_status_flag(fd, f, O_NONBLOCK, arg);
		break;
	case FIOASYNC:
		r = set_status_flag(fd, f, FASYNC, arg);
		break;
	default:
		r = f->ops->ioctl ? f->ops->ioctl(f, cmd, arg) : -ENOTTY;
		if (r == -ENOTTY && is_reg(f->inode))
			r = regular_file(f, cmd, arg);
	}
out:
	fd_light_put(f, put);
	return r;
}
