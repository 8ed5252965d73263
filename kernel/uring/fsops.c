// SPDX-License-Identifier: Apache-2.0
// Operations on files and names: what their system calls do, on the request's file (IO_FD stands for it) and with names that
// were read at submission. They are done at once. No locks.
#include "kernel/include/ipc.h"
#include "kernel/include/uring.h"
#include "kernel/uring/uring.h"

#define FSYNC_KNOWN IORING_FSYNC_DATASYNC

long sys_fsync(int fd);
long sys_fdatasync(int fd);
long sys_sync_file_range(int fd, s64 off, s64 len, u32 flags);
long sys_fallocate(int fd, int mode, s64 off, s64 len);
long sys_fadvise64(int fd, s64 off, s64 len, int advice);
long sys_madvise(u64 addr, u64 len, int advice);
long sys_openat(int dfd, const void __user *name, int flags, u32 mode);
long sys_openat2(int dfd, const void __user *name, const void __user *how, size_t size);
long sys_statx(int dfd, const void __user *name, u32 flags, u32 mask, void __user *buf);
long sys_epoll_ctl(int epfd, int op, int fd, const struct epoll_event __user *ev);
long sys_renameat2(int odfd, const void __user *oname, int ndfd, const void __user *nname, u32 flags);
long sys_unlinkat(int dfd, const void __user *name, u32 flags);
long sys_mkdirat(int dfd, const void __user *name, u32 mode);
long sys_symlinkat(const void __user *target, int dfd, const void __user *name);
long sys_linkat(int odfd, const void __user *oname, int ndfd, const void __user *nname, u32 flags);
long sys_fsetxattr(int fd, const void __user *name, const void __user *val, size_t n, int flags);
long sys_setxattr(const void __user *path, const void __user *name, const void __user *val, size_t n, int flags);
long sys_fgetxattr(int fd, const void __user *name, void __user *val, size_t n);
long sys_getxattr(const void __user *path, const void __user *name, void __user *val, size_t n);
long sys_tee(int ifd, int ofd, size_t n, u32 flags);

static int no_fixed(struct ureq *q) { return q->sqe.flags & IOSQE_FIXED_FILE ? -EBADF : 0; }

int op_fsync_prep(struct ureq *q)
{
	return q->sqe.addr || q->sqe.buf_index || q->sqe.splice_fd_in || (q->sqe.fsync_flags & ~FSYNC_KNOWN) ? -EINVAL : 0;
}

int op_fsync_issue(struct ureq *q)
{
	return (int)(q->sqe.fsync_flags & IORING_FSYNC_DATASYNC ? sys_fdatasync((int)IO_FD) : sys_fsync((int)IO_FD));
}

int op_sync_range_prep(struct ureq *q) { return q->sqe.addr || q->sqe.buf_index || q->sqe.splice_fd_in ? -EINVAL : 0; }

int op_sync_range_issue(struct ureq *q)
{
	return (int)sys_sync_file_range((int)IO_FD, (s64)q->sqe.off, q->sqe.len, q->sqe.sync_range_flags);
}

int op_fallocate_prep(struct ureq *q) { return q->sqe.buf_index || q->sqe.rw_flags || q->sqe.splice_fd_in ? -EINVAL : 0; }

int op_fallocate_issue(struct ureq *q) { return (int)sys_fallocate((int)IO_FD, (int)q->sqe.len, (s64)q->sqe.off, (s64)q->sqe.addr); }

int op_fadvise_prep(struct ureq *q) { return q->sqe.addr || q->sqe.buf_index || q->sqe.splice_fd_in ? -EINVAL : 0; }

int op_fadvise_issue(struct ureq *q)
{
	return (int)sys_fadvise64((int)IO_FD, (s64)q->sqe.off, q->sqe.len, (int)q->sqe.fadvise_advice);
}

int op_madvise_prep(struct ureq *q) { return q->sqe.buf_index || q->sqe.off || q->sqe.splice_fd_in ? -EINVAL : 0; }

int op_madvise_issue(struct ureq *q) { return (int)sys_madvise(q->sqe.addr, q->sqe.len, (int)q->sqe.fadvise_advice); }

// --- open, close

int op_open_prep(struct ureq *q)
{
	int e = q->sqe.buf_index ? -EINVAL : no_fixed(q);

	if (e)
		return e;
	if (q->sqe.file_index && (q->sqe.open_flags & O_CLOEXEC))
		return -EINVAL;
	return ureq_name(q, 0, q->sqe.addr);
}

// A descriptor that was just made becomes a registered file.
static int to_slot(struct ureq *q, long fd)
{
	struct file *f;

	if (fd < 0 || !q->sqe.file_index)
		return (int)fd;
	f = fd_get((int)fd);
	fd_close((int)fd);
	return f ? fixed_install(q->ring, f, q->sqe.file_index) : -EBADF;
}

int op_open_issue(struct ureq *q)
{
	return to_slot(q, sys_openat(q->sqe.fd, U(q->sqe.addr), (int)q->sqe.open_flags, q->sqe.len));
}

int op_open2_prep(struct ureq *q)
{
	int e = q->sqe.buf_index ? -EINVAL : no_fixed(q);

	if (e)
		return e;
	return q->sqe.len < 24 ? -EINVAL : ureq_name(q, 0, q->sqe.addr); // OPEN_HOW_SIZE_VER0
}

int op_open2_issue(struct ureq *q) { return to_slot(q, sys_openat2(q->sqe.fd, U(q->sqe.addr), U(q->sqe.addr2), q->sqe.len)); }

int op_close_prep(struct ureq *q)
{
	if (q->sqe.off || q->sqe.addr || q->sqe.len || q->sqe.rw_flags || q->sqe.buf_index)
		return -EINVAL;
	if (q->sqe.flags & IOSQE_FIXED_FILE)
		return -EBADF;
	return q->sqe.file_index && q->sqe.fd ? -EINVAL : 0;
}

int op_close_issue(struct ureq *q)
{
	struct file *f;
	bool ring;

	if (q->sqe.file_index)
		return fixed_close(q->ring, q->sqe.file_index - 1);
	f = fd_get(q->sqe.fd);
	if (!f)
		return -EBADF;
	ring = file_uring(f);
	file_put(f);
	return ring ? -EBADF : fd_close(q->sqe.fd);
}

// --- names

int op_statx_prep(struct ureq *q)
{
	int e = q->sqe.buf_index || q->sqe.splice_fd_in ? -EINVAL : no_fixed(q);

	return e ? e : ureq_name(q, 0, q->sqe.addr);
}

int op_statx_issue(struct ureq *q)
{
	return (int)sys_statx(q->sqe.fd, U(q->sqe.addr), q->sqe.statx_flags, q->sqe.len, U(q->sqe.addr2));
}

static int two_names(struct ureq *q)
{
	int e = q->sqe.buf_index || q->sqe.splice_fd_in ? -EINVAL : no_fixed(q);

	if (!e)
		e = ureq_name(q, 0, q->sqe.addr);
	return e ? e : ureq_name(q, 1, q->sqe.addr2);
}

int op_rename_prep(struct ureq *q) { return two_names(q); }

int op_rename_issue(struct ureq *q)
{
	return (int)sys_renameat2(q->sqe.fd, U(q->sqe.addr), (int)q->sqe.len, U(q->sqe.addr2), q->sqe.rename_flags);
}

int op_unlink_prep(struct ureq *q)
{
	if (q->sqe.off || q->sqe.len || q->sqe.buf_index || q->sqe.splice_fd_in || (q->sqe.unlink_flags & ~(u32)AT_REMOVEDIR))
		return -EINVAL;
	return no_fixed(q) ? -EBADF : ureq_name(q, 0, q->sqe.addr);
}

int op_unlink_issue(struct ureq *q) { return (int)sys_unlinkat(q->sqe.fd, U(q->sqe.addr), q->sqe.unlink_flags); }

int op_mkdir_prep(struct ureq *q)
{
	if (q->sqe.off || q->sqe.rw_flags || q->sqe.buf_index || q->sqe.splice_fd_in)
		return -EINVAL;
	return no_fixed(q) ? -EBADF : ureq_name(q, 0, q->sqe.addr);
}

int op_mkdir_issue(struct ureq *q) { return (int)sys_mkdirat(q->sqe.fd, U(q->sqe.addr), q->sqe.len); }

int op_symlink_prep(struct ureq *q) { return q->sqe.len || q->sqe.rw_flags ? -EINVAL : two_names(q); }

int op_symlink_issue(struct ureq *q) { return (int)sys_symlinkat(U(q->sqe.addr), q->sqe.fd, U(q->sqe.addr2)); }

int op_link_prep(struct ureq *q) { return two_names(q); }

int op_link_issue(struct ureq *q)
{
	return (int)sys_linkat(q->sqe.fd, U(q->sqe.addr), (int)q->sqe.len, U(q->sqe.addr2), q->sqe.hardlink_flags);
}

// --- extended attributes: names in addr, values in addr2, paths in addr3

static int xattr_prep(struct ureq *q, bool path, bool get)
{
	int e = q->sqe.buf_index || (get && q->sqe.xattr_flags) || (path && (q->sqe.flags & IOSQE_FIXED_FILE)) ? -EINVAL : 0;

	if (path && (q->sqe.flags & IOSQE_FIXED_FILE))
		e = -EBADF;
	if (!e)
		e = ureq_name(q, 0, q->sqe.addr);
	return e || !path ? e : ureq_name(q, 1, q->sqe.addr3);
}

int op_fsetxattr_prep(struct ureq *q) { return xattr_prep(q, false, false); }
int op_setxattr_prep(struct ureq *q) { return xattr_prep(q, true, false); }
int op_fgetxattr_prep(struct ureq *q) { return xattr_prep(q, false, true); }
int op_getxattr_prep(struct ureq *q) { return xattr_prep(q, true, true); }

int op_fsetxattr_issue(struct ureq *q)
{
	return (int)sys_fsetxattr((int)IO_FD, U(q->sqe.addr), U(q->sqe.addr2), q->sqe.len, (int)q->sqe.xattr_flags);
}
int op_setxattr_issue(struct ureq *q)
{
	return (int)sys_setxattr(U(q->sqe.addr3), U(q->sqe.addr), U(q->sqe.addr2), q->sqe.len, (int)q->sqe.xattr_flags);
}
int op_fgetxattr_issue(struct ureq *q) { return (int)sys_fgetxattr((int)IO_FD, U(q->sqe.addr), U(q->sqe.addr2), q->sqe.len); }
int op_getxattr_issue(struct ureq *q) { return (int)sys_getxattr(U(q->sqe.addr3), U(q->sqe.addr), U(q->sqe.addr2), q->sqe.len); }

// --- epoll, splice

int op_epoll_ctl_prep(struct ureq *q) { return q->sqe.buf_index || q->sqe.splice_fd_in ? -EINVAL : no_fixed(q); }

int op_epoll_ctl_issue(struct ureq *q) { return (int)sys_epoll_ctl(q->sqe.fd, (int)q->sqe.len, (int)q->sqe.off, U(q->sqe.addr)); }

int op_splice_prep(struct ureq *q)
{
	return q->sqe.splice_flags & ~(SPLICE_F_FD_IN_FIXED | SPLICE_F_ALL_) ? -EINVAL : 0;
}

int op_tee_prep(struct ureq *q) { return q->sqe.splice_off_in || q->sqe.off ? -EINVAL : op_splice_prep(q); }

// The source: of the registered files, or by its number.
static struct file *source(struct ureq *q)
{
	struct file *f = q->sqe.splice_flags & SPLICE_F_FD_IN_FIXED ? fixed_file(q->ring, (u32)q->sqe.splice_fd_in) : fd_get(q->sqe.splice_fd_in);

	return f ? f : ERR_PTR(-EBADF);
}

// What keeps it from going on: an empty source or a full sink.
static int splice_wait(struct ureq *q, struct file *in)
{
	bool input = pipe_of(in) && !(file_poll(in, NULL) & (EPOLLIN | EPOLLHUP));
	struct file *on = input ? in : q->file;

	if (!on->ops->poll)
		return U_RETRY;
	if (q->wait_file && q->wait_file != q->file)
		file_put(q->wait_file);
	if (on != q->file)
		file_get(on);
	q->wait_file = on;
	q->wait_events = (input ? EPOLLIN : EPOLLOUT) | EPOLLERR | EPOLLHUP;
	return U_WAIT;
}

static int splice(struct ureq *q, bool tee)
{
	u32 flags = q->sqe.splice_flags & SPLICE_F_ALL_;
	s64 ioff = (s64)q->sqe.splice_off_in, ooff = (s64)q->sqe.off;
	struct file *in;
	long r = 0;

	in = source(q);
	if (IS_ERR(in))
		return (int)PTR_ERR(in);
	q->ut->file[1] = in;
	current->nowait = true;
	if (tee)
		r = q->sqe.len ? sys_tee((int)IO_FD + 1, (int)IO_FD, q->sqe.len, flags) : 0;
	else if (q->sqe.len)
		r = splice_files(in, ioff == -1 ? NULL : &ioff, q->file, ooff == -1 ? NULL : &ooff, q->sqe.len, flags);
	current->nowait = false;
	if ((r == -EAGAIN && !(flags & SPLICE_F_NONBLOCK_)) || r == -ERESTARTSYS || r == -EINTR)
		r = splice_wait(q, in);
	file_put(in);
	q->fail = r >= 0 && r != q->sqe.len;
	return (int)r;
}

int op_splice_issue(struct ureq *q) { return splice(q, false); }
int op_tee_issue(struct ureq *q) { return splice(q, true); }
