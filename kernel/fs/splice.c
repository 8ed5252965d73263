// SPDX-License-Identifier: Apache-2.0
// Copies between descriptors inside the kernel: sendfile, copy_file_range, splice, tee, vmsplice. One buffer
// of kernel memory; nothing that was taken from a source is lost when the sink takes less.
// Locks: none of its own; pos_lock of a file whose position is used.
#include "kernel/fs/fs.h"
#include <linux/fs.h>

#define CHUNK 65536u
#define SEND_PIECE (1u << 20)
#define VECS 8u

static ssize_t read_at(struct file *f, void *buf, size_t n, u64 *pos)
{
	struct iter it;
	iter_kernel(&it, buf, n);
	return f->ops->read(f, &it, pos);
}

static ssize_t write_at(struct file *f, void *buf, size_t n, u64 *pos)
{
	struct iter it;
	iter_kernel(&it, buf, n);
	return f->ops->write(f, &it, pos);
}

static int check_pair(struct file *in, struct file *out)
{
	if (!in || !out || !can_read(in) || !can_write(out))
		return -EBADF;
	if (is_dir(in->inode) || is_dir(out->inode))
		return -EISDIR;
	return in->ops->read && out->ops->write ? 0 : -EINVAL;
}

// From a file with positions to anything. *ipos advances by what the sink took. opos NULL for streams.
static ssize_t copy(struct file *in, u64 *ipos, struct file *out, u64 *opos, size_t n)
{
	char *buf = kmalloc(CHUNK);
	size_t done = 0;
	ssize_t r = 0;
	if (!buf)
		return -ENOMEM;
	while (done < n) {
		u64 at = *ipos, no_pos = 0, *op = opos ? opos : &no_pos;
		r = read_at(in, buf, min(n - done, (size_t)CHUNK), &at);
		if (r <= 0)
			break;
		size_t got = (size_t)r;
		r = write_at(out, buf, got, op);
		if (r <= 0)
			break;
		*ipos += (u64)r;
		done += (size_t)r;
		if ((size_t)r < got || signal_pending())
			break;
	}
	kfree(buf);
	return done ? (ssize_t)done : r;
}

// A file in the page cache to a host socket: its bytes are copied once, to where the host takes them, or the host has them already (net/sendcache.c).
static ssize_t send_pages(struct file *in, u64 *ipos, struct file *out, size_t n)
{
	u64 size = in->inode->size, begin = *ipos, no_pos = 0;
	struct iter it;
	ssize_t r = 0;

	if (begin >= size)
		return 0;
	n = min(n, size - begin);
	iter_pagecache(&it, in->inode->pc, begin, n, &in->inode->size);
	while (it.left) {
		r = out->ops->write(out, &it, &no_pos);
		if (r <= 0 || signal_pending())
			break;
	}
	*ipos = it.off;
	generic_file_accessed(in);
	return *ipos > begin ? (ssize_t)(*ipos - begin) : r;
}

// What is not in memory is read by the file's own read, which knows how to read ahead; the rest goes as it lies.
static ssize_t send_file(struct file *in, u64 *ipos, struct file *out, size_t n)
{
	size_t done = 0;
	ssize_t r = 0;

	while (done < n) {
		size_t k = min(n - done, (size_t)SEND_PIECE);
		u64 first = *ipos >> PAGE_SHIFT, end = DIV_ROUND_UP(min(*ipos + k, in->inode->size), PAGE_SIZE);

		if (end > first && pc_resident(in->inode->pc, first, end) == end - first)
			r = send_pages(in, ipos, out, k);
		else
			r = copy(in, ipos, out, NULL, min(k, (size_t)CHUNK));
		done += (size_t)max(r, (ssize_t)0);
		if (r <= 0 || signal_pending())
			break;
	}
	return done ? (ssize_t)done : r;
}

long sys_sendfile(int ofd, int ifd, s64 __user *uoff, size_t n)
{
	struct file *in = fd_get(ifd), *out = fd_get(ofd);
	s64 off = 0;
	ssize_t r = check_pair(in, out);
	if (r == -EISDIR)
		r = -EINVAL;
	if (r)
		goto out;
	if (in->ops->stream) {
		r = uoff ? -ESPIPE : -EINVAL;
		goto out;
	}
	r = -EINVAL;
	if (out->flags & O_APPEND)
		goto out;
	if (uoff && (r = get_user(off, uoff)))
		goto out;
	r = -EINVAL;
	if (off < 0)
		goto out;
	u64 ipos = uoff ? (u64)off : in->pos, opos = out->pos;
	n = min(n, 0x7ffff000ul);
	if (in->ops->paged && sock_takes_pages(out))
		r = in->ops->read == generic_file_read ? send_pages(in, &ipos, out, n) : send_file(in, &ipos, out, n);
	else
		r = copy(in, &ipos, out, out->ops->stream ? NULL : &opos, n);
	if (r > 0) {
		if (!out->ops->stream)
			out->pos = opos;
		if (!uoff)
			in->pos = ipos;
	}
	off = (s64)ipos;
	if (uoff && put_user(off, uoff))
		r = -EFAULT;
out:
	file_put(in);
	file_put(out);
	return r;
}

long sys_copy_file_range(int ifd, s64 __user *uioff, int ofd, s64 __user *uooff, size_t n, u32 flags)
{
	struct file *in = fd_get(ifd), *out = fd_get(ofd);
	s64 ioff = 0, ooff = 0;
	ssize_t r = -EBADF;
	if (!in || !out)
		goto out;
	r = -EISDIR; // what they are comes before what they were opened for
	if (is_dir(in->inode) || is_dir(out->inode))
		goto out;
	r = -EINVAL;
	if (flags || !is_reg(in->inode) || !is_reg(out->inode))
		goto out;
	if ((r = check_pair(in, out)))
		goto out;
	r = -EBADF;
	if (out->flags & O_APPEND)
		goto out;
	r = -EFAULT;
	if ((uioff && get_user(ioff, uioff)) || (uooff && get_user(ooff, uooff)))
		goto out;
	u64 ipos = uioff ? (u64)ioff : in->pos, opos = uooff ? (u64)ooff : out->pos;
	r = -EINVAL;
	n = min(n, 0x7ffff000ul);
	if ((s64)ipos < 0 || (s64)opos < 0 || (s64)(ipos + n) < 0 || (s64)(opos + n) < 0)
		goto out;
	u64 size = __atomic_load_n(&in->inode->size, __ATOMIC_RELAXED);
	n = ipos < size ? min(n, (size_t)(size - ipos)) : 0; // as it is now: what is copied to the same file's end is not to be copied again
	if (in->inode == out->inode && ipos < opos + n && opos < ipos + n)
		goto out;
	u64 shared = clone_for_copy(in, ipos, out, opos, n);
	ipos += shared;
	opos += shared;
	r = shared < n ? copy(in, &ipos, out, &opos, n - shared) : 0;
	if (shared)
		r = (ssize_t)shared + max(r, (ssize_t)0);
	if (r > 0) {
		ioff = (s64)ipos;
		ooff = (s64)opos;
		if (!uioff)
			in->pos = ipos;
		if (!uooff)
			out->pos = opos;
		if ((uioff && put_user(ioff, uioff)) || (uooff && put_user(ooff, uooff)))
			r = -EFAULT;
	}
out:
	file_put(in);
	file_put(out);
	return r;
}

static ssize_t pipe_to(struct pipe *p, struct file *out, u64 *pos, size_t n, bool nonblock)
{
	int r = pipe_wait_data(p, nonblock);
	if (r <= 0)
		return r;
	n = min(n, (size_t)CHUNK);
	char *buf = kmalloc(n);
	if (!buf)
		return -ENOMEM;
	size_t got = pipe_take(p, buf, n);
	ssize_t w = got ? write_at(out, buf, got, pos) : 0;
	size_t taken = w > 0 ? (size_t)w : 0;
	if (taken < got)
		pipe_unread(p, buf + taken, got - taken);
	kfree(buf);
	return w;
}

static ssize_t to_pipe(struct file *in, u64 *pos, struct pipe *p, size_t n, bool nonblock, bool nonblock_out)
{
	int r = pipe_wait_room(p, nonblock_out);
	if (r < 0)
		return r;
	n = min(min(n, (size_t)CHUNK), max(pipe_room(p), (size_t)1));
	char *buf = kmalloc(n);
	if (!buf)
		return -ENOMEM;
	bool before = current->nowait;
	current->nowait |= nonblock; // of the source too, whatever it is
	ssize_t got = read_at(in, buf, n, pos);
	current->nowait = before;
	if (nonblock && (got == -ERESTARTSYS || got == -EINTR))
		got = -EAGAIN;
	if (got > 0 && (r = pipe_push(p, buf, (size_t)got)) < 0)
		got = r;
	kfree(buf);
	return got;
}

static ssize_t pipe_to_pipe(struct pipe *from, struct pipe *to, size_t n, bool nonblock, bool consume)
{
	int r = pipe_wait_data(from, nonblock);
	if (r <= 0)
		return r;
	if ((r = pipe_wait_room(to, nonblock)) < 0)
		return r;
	n = min(min(n, (size_t)CHUNK), max(pipe_room(to), (size_t)1));
	char *buf = kmalloc(n);
	if (!buf)
		return -ENOMEM;
	size_t got = consume ? pipe_take(from, buf, n) : pipe_peek(from, buf, n);
	if (got && (r = pipe_push(to, buf, got)) < 0) {
		if (consume)
			pipe_unread(from, buf, got);
		got = 0;
	}
	kfree(buf);
	return r < 0 ? r : (ssize_t)got;
}

ssize_t splice_files(struct file *in, s64 *ioff, struct file *out, s64 *ooff, size_t n, u32 flags)
{
	bool nonblock = flags & SPLICE_F_NONBLOCK_;
	struct pipe *pi, *po;
	ssize_t r;

	if (flags & ~SPLICE_F_ALL_)
		return -EINVAL;
	r = check_pair(in, out);
	if (r || !n)
		return r == -EISDIR ? -EINVAL : r;
	pi = pipe_of(in);
	po = pipe_of(out);
	if (!pi && !po)
		return -EINVAL;
	if ((ioff && in->ops->stream) || (ooff && out->ops->stream))
		return -ESPIPE;
	if ((ioff && *ioff < 0) || (ooff && *ooff < 0) || pi == po)
		return -EINVAL;
	u64 ipos = ioff ? (u64)*ioff : in->pos, opos = ooff ? (u64)*ooff : out->pos;
	if (pi && po)
		return pipe_to_pipe(pi, po, n, nonblock || ((in->flags | out->flags) & O_NONBLOCK), true);
	if (pi) {
		r = out->flags & O_APPEND ? -EINVAL : pipe_to(pi, out, &opos, n, nonblock || (in->flags & O_NONBLOCK));
		if (r > 0 && ooff)
			*ooff = (s64)opos;
		else if (r > 0 && !out->ops->stream)
			out->pos = opos;
		return r;
	}
	r = to_pipe(in, &ipos, po, n, nonblock, nonblock || (out->flags & O_NONBLOCK));
	if (r > 0 && ioff)
		*ioff = (s64)ipos;
	else if (r > 0 && !in->ops->stream)
		in->pos = ipos;
	return r;
}

long sys_splice(int ifd, s64 __user *uioff, int ofd, s64 __user *uooff, size_t n, u32 flags)
{
	struct file *in = fd_get(ifd), *out = fd_get(ofd);
	s64 ioff = 0, ooff = 0;
	ssize_t r = -EBADF;

	if (!in || !out)
		goto out;
	r = -ESPIPE;
	if ((uioff && in->ops->stream) || (uooff && out->ops->stream))
		goto out;
	r = -EFAULT;
	if ((uioff && get_user(ioff, uioff)) || (uooff && get_user(ooff, uooff)))
		goto out;
	r = splice_files(in, uioff ? &ioff : NULL, out, uooff ? &ooff : NULL, n, flags);
	if (r > 0 && ((uioff && put_user(ioff, uioff)) || (uooff && put_user(ooff, uooff))))
		r = -EFAULT;
out:
	file_put(in);
	file_put(out);
	return r;
}

long sys_tee(int ifd, int ofd, size_t n, u32 flags)
{
	struct file *in = fd_get(ifd), *out = fd_get(ofd);
	ssize_t r = -EINVAL;
	if ((flags & ~SPLICE_F_ALL_) || (r = check_pair(in, out)))
		goto out;
	struct pipe *pi = pipe_of(in), *po = pipe_of(out);
	r = -EINVAL;
	if (!pi || !po || pi == po)
		goto out;
	r = n ? pipe_to_pipe(pi, po, n, (flags & SPLICE_F_NONBLOCK_) || ((in->flags | out->flags) & O_NONBLOCK), false)
	      : 0;
out:
	file_put(in);
	file_put(out);
	return r;
}

long sys_vmsplice(int fd, const void __user *uiov, u64 n, u32 flags)
{
	__uninit struct iovec fast[VECS], *iov = fast;
	struct iter it;
	u64 pos = 0;
	if (flags & ~SPLICE_F_ALL_)
		return -EINVAL;
	struct file *f = fd_get(fd);
	ssize_t r = -EBADF;
	if (!f || !pipe_of(f))
		goto out;
	if ((r = iter_iovec(&it, uiov, n, fast, VECS, &iov)) < 0)
		goto out;
	current->nowait = flags & SPLICE_F_NONBLOCK_;
	r = can_write(f) ? f->ops->write(f, &it, &pos) : f->ops->read(f, &it, &pos);
	current->nowait = false;
	if ((flags & SPLICE_F_NONBLOCK_) && (r == -ERESTARTSYS || r == -EINTR))
		r = -EAGAIN;
	iter_free(iov, fast);
out:
	file_put(f);
	return r;
}
