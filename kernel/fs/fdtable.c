// SPDX-License-Identifier: Apache-2.0
// Descriptor tables, and the calls that work on descriptors alone. Readers take no lock: a table's
// arrays only grow and old ones live as long as the table (arrays are chained through their slot -1).
// Each task holds a reference to its table, mostly the same one as its siblings, and alone replaces it: what `current->files`
// points at stays as long as the task does not do that itself. Others get at it under tasklist.
// Locks: tasklist (the pointers only), fdtable->lock; files are put after it is released.
#include "kernel/fs/fs.h"
#include "kernel/fs/sigio.h"
#include "kernel/include/count.h"
#include "kernel/include/uring.h"

#define FD_FIRST 64u
#define FD_MAX (1u << 20)

static struct file **array_new(u32 n, struct file **older)
{
	struct file **a = kzalloc((n + 1) * sizeof(*a));
	if (!a)
		return NULL;
	a[0] = (struct file *)older;
	return a + 1;
}

static void bits_free(struct fdtable *t, u64 *bits)
{
	if (bits != t->first)
		kfree(bits);
}

static bool table_grow(struct fdtable *t, u32 want)
{
	u32 n = max(t->size * 2, FD_FIRST);
	while (n < want)
		n *= 2;
	u32 words = n / 64, old_words = t->size / 64;
	struct file **file = array_new(n, t->file);
	u64 *bits = words == 1 ? t->first : kzalloc(words * 2 * sizeof(u64));
	if (!file || !bits) {
		kfree(file ? file - 1 : NULL);
		bits_free(t, bits);
		return false;
	}
	memcpy(file, t->file, t->size * sizeof(*file));
	memcpy(bits, t->open, old_words * sizeof(u64));
	memcpy(bits + words, t->cloexec, old_words * sizeof(u64));
	bits_free(t, t->open);
	t->open = bits;
	t->cloexec = bits + words;
	__atomic_store_n(&t->file, file, __ATOMIC_RELEASE);
	__atomic_store_n(&t->size, n, __ATOMIC_RELEASE);
	return true;
}

static bool bit(const u64 *map, u32 i) { return map[i / 64] >> (i % 64) & 1; }
static void set_bit(u64 *map, u32 i, bool on)
{
	map[i / 64] = (map[i / 64] & ~(1ul << (i % 64))) | (u64)on << (i % 64);
}

struct fdtable *fdtable_new(void)
{
	struct fdtable *t = knew(struct fdtable);
	if (!t)
		return NULL;
	ref_init(&t->ref, 1);
	mutex_init(&t->lock);
	if (!table_grow(t, FD_FIRST)) {
		kfree(t);
		return NULL;
	}
	COUNT(fd_tables, 1);
	return t;
}

struct fdtable *fdtable_copy(struct fdtable *from)
{
	struct fdtable *t = fdtable_new();
	if (!t)
		return NULL;
	mutex_lock(&from->lock);
	u32 words = from->size / 64;
	while (words > 1 && !from->open[words - 1]) // what was open once does not make every child's table large
		words--;
	if (words * 64 > t->size && !table_grow(t, words * 64)) {
		mutex_unlock(&from->lock);
		fdtable_put(t);
		return NULL;
	}
	memcpy(t->open, from->open, words * sizeof(u64));
	memcpy(t->cloexec, from->cloexec, words * sizeof(u64));
	for (u32 w = 0; w < words; w++)
		for (u64 m = t->open[w]; m; m &= m - 1) {
			u32 i = w * 64 + (u32)__builtin_ctzl(m);
			t->file[i] = from->file[i];
			if (t->file[i])
				ref_get(&t->file[i]->ref);
			else // reserved by an open in another thread
				set_bit(t->open, i, false);
		}
	t->next_free = min(from->next_free, t->size);
	mutex_unlock(&from->lock);
	return t;
}

// What closing a descriptor does besides dropping the reference.
static int close_file(struct file *f, struct fdtable *t)
{
	int r = f->ops->flush ? f->ops->flush(f) : 0;

	if (unlikely(f->inode->locks))
		locks_release_proc(f, t);
	if (unlikely(f->dnotify))
		dnotify_close(f, t);
	file_put(f);
	return r;
}

void fdtable_put(struct fdtable *t)
{
	if (!t || !ref_put(&t->ref))
		return;
	for (u32 w = 0; w < t->size / 64; w++)
		for (u64 m = t->open[w]; m; m &= m - 1) {
			struct file *f = t->file[w * 64 + (u32)__builtin_ctzl(m)];
			if (f)
				close_file(f, t);
		}
	for (struct file **a = t->file; a;) {
		struct file **older = (struct file **)a[-1];
		kfree(a - 1);
		a = older;
	}
	bits_free(t, t->open);
	COUNT(fd_tables, -1);
	kfree(t);
}

struct fdtable *task_files(struct task *t)
{
	struct fdtable *f;

	mutex_lock(&tasklist);
	f = t->files;
	if (f)
		ref_get(&f->ref);
	mutex_unlock(&tasklist);
	return f;
}

void task_files_set(struct task *t, struct fdtable *files)
{
	struct fdtable *old;

	mutex_lock(&tasklist);
	old = t->files;
	t->files = files;
	mutex_unlock(&tasklist);
	fdtable_put(old);
}

// Takes descriptor i out; lock held.
static struct file *take_locked(struct fdtable *t, u32 i)
{
	struct file *f = t->file[i];
	__atomic_store_n(&t->file[i], NULL, __ATOMIC_RELEASE);
	set_bit(t->open, i, false);
	set_bit(t->cloexec, i, false);
	if (i < t->next_free)
		t->next_free = i;
	return f;
}

void fdtable_close_exec(struct fdtable *t)
{
	for (u32 w = 0; w < t->size / 64; w++)
		while (t->cloexec[w] & t->open[w]) {
			mutex_lock(&t->lock);
			u64 m = t->cloexec[w] & t->open[w];
			struct file *f = m ? take_locked(t, w * 64 + (u32)__builtin_ctzl(m)) : NULL;
			mutex_unlock(&t->lock);
			if (f)
				close_file(f, t);
		}
}

struct file *fd_get(int fd)
{
	struct fdtable *t = current->files;
	u32 i = (u32)fd;
	if (unlikely(i >= __atomic_load_n(&t->size, __ATOMIC_ACQUIRE)))
		return i >= IO_FD ? uring_current_file(i) : NULL;
	for (;;) {
		struct file *f = __atomic_load_n(&__atomic_load_n(&t->file, __ATOMIC_ACQUIRE)[i], __ATOMIC_ACQUIRE);
		if (!f)
			return NULL;
		if (unlikely(!ref_get_unless_zero(&f->ref)))
			continue; // just closed: the slot has changed or is about to
		if (likely(f == __atomic_load_n(&t->file[i], __ATOMIC_ACQUIRE)))
			return f;
		file_put(f);
	}
}

bool fd_cloexec(int fd)
{
	struct fdtable *t = current->files;
	mutex_lock(&t->lock);
	bool on = (u32)fd < t->size && bit(t->cloexec, (u32)fd);
	mutex_unlock(&t->lock);
	return on;
}

static u32 fd_limit(void) { return (u32)min(RLIMIT(RLIMIT_NOFILE), (u64)FD_MAX); }

int fd_alloc(struct file *f, u32 min_fd, bool cloexec)
{
	struct fdtable *t = current->files;
	u32 limit = fd_limit(), i;
	int r = -EMFILE;
	mutex_lock(&t->lock);
	i = max(min_fd, t->next_free);
	__builtin_prefetch(&t->file[i], 1); // its neighbours are other threads'
	for (; i < t->size; i = (i | 63) + 1) {
		u64 free = ~t->open[i / 64] & ~0ul << (i % 64);
		if (free) {
			i = (i & ~63u) + (u32)__builtin_ctzl(free);
			break;
		}
	}
	if (i >= limit)
		goto out;
	r = -ENOMEM;
	if (i >= t->size && !table_grow(t, i + 1))
		goto out;
	set_bit(t->open, i, true);
	set_bit(t->cloexec, i, cloexec);
	if (min_fd <= t->next_free)
		t->next_free = i + 1;
	__atomic_store_n(&t->file[i], f, __ATOMIC_RELEASE);
	r = (int)i;
out:
	mutex_unlock(&t->lock);
	return r;
}

int fd_install(int fd, struct file *f, bool cloexec)
{
	struct fdtable *t = current->files;
	u32 i = (u32)fd;
	if (i >= fd_limit())
		return -EBADF;
	mutex_lock(&t->lock);
	if (i >= t->size && !table_grow(t, i + 1)) {
		mutex_unlock(&t->lock);
		return -ENOMEM;
	}
	struct file *old = t->file[i];
	set_bit(t->open, i, true);
	set_bit(t->cloexec, i, cloexec);
	__atomic_store_n(&t->file[i], f, __ATOMIC_RELEASE);
	mutex_unlock(&t->lock);
	if (old)
		close_file(old, t);
	return fd;
}

int fd_close(int fd)
{
	struct fdtable *t = current->files;
	u32 i = (u32)fd;
	if (likely(i < t->size))
		__builtin_prefetch(&t->file[i], 1);
	mutex_lock(&t->lock);
	struct file *f = i < t->size && t->file[i] ? take_locked(t, i) : NULL;
	mutex_unlock(&t->lock);
	if (!f)
		return -EBADF;
	return close_file(f, t);
}

long sys_close(int fd) { return fd_close(fd); }

long sys_dup(int fd)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	int r = fd_alloc(f, 0, false);
	if (r < 0)
		file_put(f);
	return r;
}

static long dup_to(int fd, int to, bool cloexec)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	int r = fd_install(to, f, cloexec);
	if (r < 0)
		file_put(f);
	return r;
}

long sys_dup2(int fd, int to)
{
	if (fd != to)
		return dup_to(fd, to, false);
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	file_put(f);
	return to;
}

long sys_dup3(int fd, int to, int flags)
{
	if ((flags & ~O_CLOEXEC) || fd == to)
		return -EINVAL;
	return dup_to(fd, to, flags & O_CLOEXEC);
}

#define CLOSE_RANGE_UNSHARE_ 2u
#define CLOSE_RANGE_CLOEXEC_ 4u
long sys_close_range(u32 first, u32 last, u32 flags)
{
	struct fdtable *t = current->files;
	if ((flags & ~(CLOSE_RANGE_UNSHARE_ | CLOSE_RANGE_CLOEXEC_)) || first > last)
		return -EINVAL;
	if ((flags & CLOSE_RANGE_UNSHARE_) && t->ref.n > 1) {
		struct fdtable *own = fdtable_copy(t);
		if (!own)
			return -ENOMEM;
		task_files_set(current, own);
		t = own;
	}
	for (u32 i = first; i <= last && i < __atomic_load_n(&t->size, __ATOMIC_ACQUIRE); i++) {
		if (!(flags & CLOSE_RANGE_CLOEXEC_)) {
			if (__atomic_load_n(&t->file, __ATOMIC_ACQUIRE)[i])
				fd_close((int)i);
			continue;
		}
		mutex_lock(&t->lock);
		if (bit(t->open, i))
			set_bit(t->cloexec, i, true);
		mutex_unlock(&t->lock);
	}
	return 0;
}

int fd_set_cloexec(int fd, bool on)
{
	struct fdtable *t = current->files;
	mutex_lock(&t->lock);
	bool open = (u32)fd < t->size && bit(t->open, (u32)fd);
	if (open)
		set_bit(t->cloexec, (u32)fd, on);
	mutex_unlock(&t->lock);
	return open ? 0 : -EBADF;
}

#define SETFL_MASK (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | FASYNC)
static long set_flags(struct file *f, int fd, u32 arg)
{
	u32 flags = (f->flags & ~(u32)SETFL_MASK) | (arg & SETFL_MASK);
	if ((flags & O_NOATIME) && !(f->flags & O_NOATIME) && !inode_owner(f->inode))
		return -EPERM;
	if (unlikely(f->inode->flags & FILE_APPEND) && (f->flags ^ flags) & O_APPEND)
		return -EPERM;
	int r = f->ops->set_flags ? f->ops->set_flags(f, flags) : 0;
	if (!r && (f->flags ^ flags) & FASYNC)
		r = sigio_async(f, fd, flags & FASYNC);
	if (!r)
		f->flags = flags;
	return r;
}

long dnotify_set(struct file *f, int fd, u32 arg);	// inotify.c
long fcntl_lock(struct file *f, u32 cmd, u64 arg);	// locks.c

// F_SETPIPE_SZ.. and seals are answered by the object itself, if it is of that kind.
static long special(struct file *f, u32 cmd, u64 arg)
{
	switch (cmd) {
	case F_SETPIPE_SZ:
	case F_GETPIPE_SZ:
		return pipe_fcntl(f, cmd, arg);
	case F_ADD_SEALS:
	case F_GET_SEALS:
		return memfd_fcntl(f, cmd, arg);
	}
	return -EINVAL;
}

static long fcntl_rest(int fd, struct file *f, u32 cmd, u64 arg)
{
	u64 hint;
	switch (cmd) {
	case F_GETOWN:
	case F_SETOWN:
	case F_GETOWN_EX:
	case F_SETOWN_EX:
	case F_GETSIG:
	case F_SETSIG:
		return sigio_fcntl(f, cmd, arg);
	case F_GETLEASE:
		return F_UNLCK;
	case F_SETLEASE:
		return arg == F_UNLCK ? 0 : -EAGAIN;
	case F_NOTIFY:
		return dnotify_set(f, fd, (u32)arg);
	case F_GET_RW_HINT:
	case F_GET_FILE_RW_HINT:
		hint = 0;
		return copy_to_user(U(arg), &hint, sizeof(hint));
	case F_SET_RW_HINT:
	case F_SET_FILE_RW_HINT:
		return 0;
	}
	return special(f, cmd, arg);
}

long sys_fcntl(int fd, u32 cmd, u64 arg)
{
	bool put;
	struct file *f = fd_light(fd, &put);
	long r;
	if (!f)
		return -EBADF;
	if ((f->flags & O_PATH) && cmd != F_DUPFD && cmd != F_DUPFD_CLOEXEC && cmd != F_GETFD && cmd != F_SETFD &&
	    cmd != F_GETFL) {
		fd_light_put(f, put);
		return -EBADF;
	}
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		r = -EINVAL;
		if (arg >= fd_limit())
			break;
		file_get(f);
		r = fd_alloc(f, (u32)arg, cmd == F_DUPFD_CLOEXEC);
		if (r < 0)
			file_put(f);
		break;
	case F_GETFD:
		r = fd_cloexec(fd);
		break;
	case F_SETFD:
		r = fd_set_cloexec(fd, arg & FD_CLOEXEC);
		break;
	case F_GETFL:
		r = f->flags & ~(u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
		break;
	case F_SETFL:
		r = set_flags(f, fd, (u32)arg);
		break;
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		r = fcntl_lock(f, cmd, arg);
		break;
	default:
		r = fcntl_rest(fd, f, cmd, arg);
	}
	fd_light_put(f, put);
	return r;
}
