// SPDX-License-Identifier: Apache-2.0
// Moving data: read, write and their vector and positioned forms, lseek.
// Locks: file->pos_lock around transfers that use the file's position, when someone else could use it too.
#include "kernel/fs/fs.h"

#define IO_MAX 0x7ffff000ul	// longest single transfer, as Linux
#define FAST_IOV 8u
#define RWF_KNOWN (0x1f)	// HIPRI DSYNC SYNC NOWAIT APPEND
#define RWF_NOWAIT_ 8
#define RWF_APPEND_ 16

static bool overflows(const struct file *f, const struct iter *it, u64 pos)
{
	return unlikely((s64)(pos + it->left) < 0) && !f->ops->stream;
}

ssize_t file_read_iter(struct file *f, struct iter *it, u64 *pos)
{
	if (unlikely(!can_read(f)))
		return -EBADF;
	if (unlikely(!f->ops->read))
		return is_dir(f->inode) ? -EISDIR : -EINVAL;
	if (overflows(f, it, *pos))
		return -EINVAL;
	if (it->left > IO_MAX)
		it->left = IO_MAX;
	ssize_t r = f->ops->read(f, it, pos);
	if (r > 0)
		file_event(f, IN_ACCESS);
	return r;
}

ssize_t file_write_iter(struct file *f, struct iter *it, u64 *pos)
{
	if (unlikely(!can_write(f)))
		return -EBADF;
	if (unlikely(!f->ops->write) || overflows(f, it, *pos))
		return -EINVAL;
	if (it->left > IO_MAX)
		it->left = IO_MAX;
	ssize_t r = f->ops->write(f, it, pos);
	if (r > 0) {
		file_event(f, IN_MODIFY);
		if (unlikely(f->flags & O_DSYNC) && f->ops->fsync) {
			int e = f->ops->fsync(f, !(f->flags & __O_SYNC));
			if (e)
				return e;
		}
	}
	return r;
}

// A mutex, but where a transfer waits for a program: nobody sleeps with a mutex. Then its word is only a flag.
static struct waitq pos_free = {.waiters = LIST_INIT(pos_free.waiters)};

static bool pos_taken(struct file *f)
{
	u32 z = 0;

	return __atomic_compare_exchange_n(&f->pos_lock.word, &z, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void file_pos_lock(struct file *f)
{
	struct waiter w;

	if (likely(!f->inode->sb->waits)) {
		mutex_lock(&f->pos_lock);
		return;
	}
	if (pos_taken(f))
		return;
	waiter_init(&w);
	waitq_add(&pos_free, &w);
	for (u32 seq = task_seq(); !pos_taken(f); seq = task_seq())
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	waitq_del(&pos_free, &w);
}

void file_pos_unlock(struct file *f)
{
	if (likely(!f->inode->sb->waits)) {
		mutex_unlock(&f->pos_lock);
		return;
	}
	__atomic_store_n(&f->pos_lock.word, 0, __ATOMIC_SEQ_CST);
	waitq_wake(&pos_free, 0);
}

// The file's position is shared with other threads or descriptors? Then transfers are one after another.
static bool pos_lock(struct file *f, bool put)
{
	if (f->ops->stream || (!put && f->ref.n == 1))
		return false;
	file_pos_lock(f);
	return true;
}

static ssize_t rw_pos(struct file *f, bool put, struct iter *it, bool write)
{
	bool locked = pos_lock(f, put);
	u64 pos = f->pos;
	ssize_t r = write ? file_write_iter(f, it, &pos) : file_read_iter(f, it, &pos);
	if (r > 0 && !f->ops->stream)
		f->pos = pos;
	if (locked)
		file_pos_unlock(f);
	return r;
}

long sys_read(int fd, void __user *buf, size_t n)
{
	bool put;
	struct file *f = fd_light(fd, &put);
	if (unlikely(!f))
		return -EBADF;
	struct iovec one;
	struct iter it;
	ssize_t r = -EFAULT;
	if (access_ok(buf, n)) {
		iter_user(&it, &one, buf, n);
		r = rw_pos(f, put, &it, false);
	}
	fd_light_put(f, put);
	return r;
}

long sys_write(int fd, const void __user *buf, size_t n)
{
	bool put;
	struct file *f = fd_light(fd, &put);
	if (unlikely(!f))
		return -EBADF;
	struct iovec one;
	struct iter it;
	ssize_t r = -EFAULT;
	if (access_ok(buf, n)) {
		iter_user(&it, &one, (void __user *)buf, n);
		r = rw_pos(f, put, &it, true);
	}
	fd_light_put(f, put);
	return r;
}

static ssize_t prw(struct file *f, struct iter *it, s64 off, bool write)
{
	if (off < 0)
		return -EINVAL;
	if (f->ops->stream)
		return -ESPIPE;
	u64 pos = (u64)off;
	return write ? file_write_iter(f, it, &pos) : file_read_iter(f, it, &pos);
}

long sys_pread64(int fd, void __user *buf, size_t n, s64 off)
{
	bool put;
	if (off < 0)
		return -EINVAL;
	struct file *f = fd_light(fd, &put);
	if (unlikely(!f))
		return -EBADF;
	struct iovec one;
	struct iter it;
	ssize_t r = -EFAULT;
	if (access_ok(buf, n)) {
		iter_user(&it, &one, buf, n);
		r = prw(f, &it, off, false);
	}
	fd_light_put(f, put);
	return r;
}

long sys_pwrite64(int fd, const void __user *buf, size_t n, s64 off)
{
	bool put;
	if (off < 0)
		return -EINVAL;
	struct file *f = fd_light(fd, &put);
	if (unlikely(!f))
		return -EBADF;
	struct iovec one;
	struct iter it;
	ssize_t r = -EFAULT;
	if (access_ok(buf, n)) {
		iter_user(&it, &one, (void __user *)buf, n);
		r = prw(f, &it, off, true);
	}
	fd_light_put(f, put);
	return r;
}

static ssize_t with_flags(struct file *f, bool put, struct iter *it, s64 off, bool use_pos, int rwf, bool write)
{
	u32 saved = f->flags;
	ssize_t r;

	if (rwf & RWF_NOWAIT_)
		f->flags |= f->ops->stream ? O_NONBLOCK : 0;
	if (rwf & RWF_APPEND_)
		f->flags |= O_APPEND;
	r = use_pos ? rw_pos(f, put, it, write) : prw(f, it, off, write);
	if (rwf & (RWF_NOWAIT_ | RWF_APPEND_))
		f->flags = saved;
	if (r > 0 && (rwf & 6) && write && f->ops->fsync) {
		int e = f->ops->fsync(f, !(rwf & 4));
		r = e ? e : r;
	}
	return r;
}

ssize_t file_rw(struct file *f, struct iter *it, s64 off, int rwf, bool write)
{
	if (rwf & ~RWF_KNOWN)
		return -EOPNOTSUPP;
	return with_flags(f, true, it, off, off == -1, rwf, write);
}

// All vector forms. off == -1 with use_pos: the file's position.
static long vector(int fd, const void __user *uiov, u64 n, s64 off, bool use_pos, int rwf, bool write)
{
	__uninit struct iovec fast[FAST_IOV], *iov = fast;
	struct iter it;
	bool put;
	if (rwf & ~RWF_KNOWN)
		return -EOPNOTSUPP;
	if (!use_pos && off < 0)
		return -EINVAL;
	struct file *f = fd_light(fd, &put);
	if (!f)
		return -EBADF;
	ssize_t r = -EBADF;
	if (!(write ? can_write(f) : can_read(f)))
		goto out;
	r = iter_iovec(&it, uiov, n, fast, FAST_IOV, &iov);
	if (r < 0)
		goto out;
	r = with_flags(f, put, &it, off, use_pos, rwf, write);
	iter_free(iov, fast);
out:
	fd_light_put(f, put);
	return r;
}

long sys_readv(int fd, const void __user *iov, u64 n) { return vector(fd, iov, n, -1, true, 0, false); }
long sys_writev(int fd, const void __user *iov, u64 n) { return vector(fd, iov, n, -1, true, 0, true); }
// The offset comes in two halves of which a 64-bit system uses the first only.
long sys_preadv(int fd, const void __user *iov, u64 n, s64 off) { return vector(fd, iov, n, off, false, 0, false); }
long sys_pwritev(int fd, const void __user *iov, u64 n, s64 off) { return vector(fd, iov, n, off, false, 0, true); }
long sys_preadv2(int fd, const void __user *iov, u64 n, s64 off, u64 high, int flags)
{
	(void)high;
	return vector(fd, iov, n, off, off == -1, flags, false);
}
long sys_pwritev2(int fd, const void __user *iov, u64 n, s64 off, u64 high, int flags)
{
	(void)high;
	return vector(fd, iov, n, off, off == -1, flags, true);
}

long sys_lseek(int fd, s64 off, u32 whence)
{
	bool put;
	struct file *f = fd_light(fd, &put);
	if (!f)
		return -EBADF;
	s64 r;
	if (f->flags & O_PATH) {
		r = -EBADF;
	} else if (f->ops->stream) { // but one may have places of another kind
		r = f->ops->llseek ? f->ops->llseek(f, off, (int)whence) : -ESPIPE;
	} else {
		bool locked = pos_lock(f, put);
		r = (f->ops->llseek ? f->ops->llseek : generic_llseek)(f, off, (int)whence);
		if (locked)
			file_pos_unlock(f);
	}
	fd_light_put(f, put);
	return r;
}
