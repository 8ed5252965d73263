// SPDX-License-Identifier: Apache-2.0
// ioctl(2): requests that every descriptor understands; the rest goes to the object. Locks: none.
#include "kernel/fs/fs.h"
#include "kernel/fs/sigio.h"
#include <asm/ioctls.h>
#include <linux/fs.h>

#define FIGETBSZ_ 2u
#define FIOQSIZE_ 0x5460u

static long set_flag(struct file *f, int fd, u32 flag, u64 arg)
{
	int on;
	if (get_user(on, U(arg)))
		return -EFAULT;
	u32 flags = on ? f->flags | flag : f->flags & ~flag;
	int r = f->ops->set_flags ? f->ops->set_flags(f, flags) : 0;
	if (!r && (f->flags ^ flags) & FASYNC)
		r = sigio_async(f, fd, flags & FASYNC);
	if (!r)
		f->flags = flags;
	return r;
}

static long of_file(struct file *f, u32 cmd, u64 arg)
{
	struct inode *ino = f->inode;
	int n;
	switch (cmd) {
	case FIONREAD:
		n = (int)min(ino->size > f->pos ? ino->size - f->pos : 0, 0x7ffffffful);
		return put_user(n, U(arg));
	case FIGETBSZ_:
		n = (int)ino->sb->blocksize;
		return put_user(n, U(arg));
	}
	return -ENOTTY;
}

long sys_ioctl(int fd, u32 cmd, u64 arg)
{
	struct file *f = fd_get(fd);
	long r = -EBADF;
	if (!f || (f->flags & O_PATH))
		goto out;
	switch (cmd) {
	case FIOCLEX:
	case FIONCLEX:
		r = fd_set_cloexec(fd, cmd == FIOCLEX);
		break;
	case FIONBIO:
		r = set_flag(f, fd, O_NONBLOCK, arg);
		break;
	case FIOASYNC:
		r = set_flag(f, fd, FASYNC, arg);
		break;
	case FIOQSIZE_:
		r = is_reg(f->inode) || is_dir(f->inode) || is_lnk(f->inode) ? put_user(f->inode->size, U(arg))
									     : -ENOTTY;
		break;
	case FICLONE:
	case FICLONERANGE:
		r = file_clone(f, cmd, arg);
		break;
	case FIDEDUPERANGE:
		r = file_dedupe(f, arg);
		break;
	default:
		r = f->ops->ioctl ? f->ops->ioctl(f, cmd, arg) : -ENOTTY;
		if (r == -ENOTTY && is_reg(f->inode))
			r = of_file(f, cmd, arg);
		if (r == -ENOTTY)
			r = fileattr_ioctl(f, cmd, arg);
	}
out:
	file_put(f);
	return r;
}
