// SPDX-License-Identifier: Apache-2.0
// Descriptor tables, and the calls that work on descriptors alone. A table is slots in segments that never move, and a map of those that
// are taken. A task that has its table for itself takes no lock and pays for no atomic operation. Of threads that share one, readers
// take none either, and opening and closing among the first 64 is one atomic operation on the map and one on the slot:
//  - a bit of the map is set before its slot is filled and cleared after it was emptied; who finds it set owns it, or is too late;
//  - a word without a free bit gets one only under the lock, so that who looks for the lowest free descriptor there finds no
//    lower one given back behind it;
//  - replacing (dup2), flags and all that looks further than the first word is done under the lock;
//  - fork, which wants the whole table as it is at one moment, holds the lock and sets `frozen`: others look at it when they have
//    changed a word or a slot (each is a full barrier), and take that back and wait; what was on its way before is waited for.
// Each task holds a reference to its table, mostly the same one as its siblings, and alone replaces it: what `current->files`
// points at stays as long as the task does not do that itself. Others get at it under tasklist, and only read.
// Locks: tasklist (the pointers only), fdtable->lock; files are put after it is released.
#include "kernel/fs/fs.h"
#include "kernel/fs/sigio.h"
#include "kernel/include/count.h"
#include "kernel/include/ktime.h"
#include "kernel/include/platform.h"
#include "kernel/include/uring.h"

#define FD_MAX (FD_FIRST << (FD_SEGS - 1))
#define FULL (~0ul)

static bool alone(const struct fdtable *t) { return __atomic_load_n(&t->ref.n, __ATOMIC_RELAXED) == 1; }
static u64 load(const u64 *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static bool swap(u64 *p, u64 *from, u64 to) { return __atomic_compare_exchange_n(p, from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE); }

// A word of the map; w * 64 < size.
static u64 *map_word(struct fdtable *t, u32 w)
{
	u32 k;

	if (likely(!w))
		return &t->taken;
	k = 32 - (u32)__builtin_clz(w);
	return t->seg[k] + (32u << k) + w - (1u << (k - 1));
}

// Room for `want` descriptors; lock held.
static bool table_grow(struct fdtable *t, u32 want)
{
	while (t->size < want) {
		u64 *seg = kzalloc((t->size + t->size / 64) * sizeof(u64));

		if (!seg)
			return false;
		__atomic_store_n(&t->seg[26 - (u32)__builtin_clz(t->size)], seg, __ATOMIC_RELAXED);
		__atomic_store_n(&t->size, t->size * 2, __ATOMIC_RELEASE);
	}
	return true;
}

static u32 table_size(const struct fdtable *t) { return __atomic_load_n(&t->size, __ATOMIC_ACQUIRE); }

struct fdtable *fdtable_new(void)
{
	struct fdtable *t = knew(struct fdtable);
	if (!t)
		return NULL;
	ref_init(&t->ref, 1);
	mutex_init(&t->lock);
	t->size = FD_FIRST;
	COUNT(fd_tables, 1);
	return t;
}

// The file of a slot, with a reference, and the slot as it was.
static struct file *slot_get(u64 *slot, u64 *as)
{
	for (;;) {
		struct file *f = slot_file(*as = load(slot));
		if (!f)
			return NULL;
		if (unlikely(!ref_get_unless_zero(&f->ref)))
			continue; // just closed: the slot has changed or is about to
		if (likely(*as == load(slot)))
			return f;
		file_put(f);
	}
}

// A moment for another thread that is between the map and a slot. It is a few instructions, unless the host has taken its CPU.
static void wait_a_moment(struct fdtable *t, u32 tries)
{
	if (tries < 200)
		pf_relax();
	else
		pf_wait(&t->size, table_size(t), ktime_deadline(20000));
}

// Copies what is open, with references. With others about they are frozen: who is on the way is waited for.
static bool copy_open(struct fdtable *t, struct fdtable *from, bool others)
{
	u32 words = from->size / 64;

	while (words > 1 && !load(map_word(from, words - 1))) // what was open once does not make every child's table large
		words--;
	if (!table_grow(t, words * 64))
		return false;
	for (u32 w = 0; w < words; w++) {
		u64 *map = map_word(from, w), had = 0;

		for (u64 m = load(map); m; m &= m - 1) {
			u64 bit = m & -m, *slot = fd_slot(from, w * 64 + (u32)__builtin_ctzl(m)), v;
			struct file *f;

			for (u32 n = 0; !(f = slot_get(slot, &v)) && others && load(map) & bit; n++)
				wait_a_moment(from, n);
			if (f) {
				*fd_slot(t, w * 64 + (u32)__builtin_ctzl(m)) = v;
				had |= bit;
			}
		}
		*map_word(t, w) = had;
	}
	return true;
}

struct fdtable *fdtable_copy(struct fdtable *from)
{
	struct fdtable *t = fdtable_new();
	bool others = !alone(from), done;

	if (!t)
		return NULL;
	if (others) {
		mutex_lock(&from->lock);
		__atomic_store_n(&from->frozen, 1, __ATOMIC_SEQ_CST);
	}
	done = copy_open(t, from, others);
	if (others) {
		__atomic_store_n(&from->frozen, 0, __ATOMIC_RELEASE);
		mutex_unlock(&from->lock);
	}
	if (!done) {
		fdtable_put(t);
		return NULL;
	}
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
		for (u64 m = *map_word(t, w); m; m &= m - 1) {
			struct file *f = slot_file(*fd_slot(t, w * 64 + (u32)__builtin_ctzl(m)));
			if (f)
				close_file(f, t);
		}
	for (u32 k = 1; k < FD_SEGS && t->seg[k]; k++)
		kfree(t->seg[k]);
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

static int has_files(struct proc *p, void *arg)
{
	struct task *me = arg, *t;

	list_for_each(t, &p->threads, thread_link)
		if (p != me->proc && t->files == me->files)
			return 1;
	return 0;
}

bool task_files_shared(struct task *t) { return unlikely(!alone(t->files)) && proc_for_each(has_files, t); }

// Waits for a fork that copies the table.
static void wait_thaw(struct fdtable *t)
{
	mutex_lock(&t->lock);
	mutex_unlock(&t->lock);
}

static bool is_frozen(const struct fdtable *t) { return unlikely(__atomic_load_n(&t->frozen, __ATOMIC_SEQ_CST)); }

static void set_slot(u64 *slot, u64 v) { __atomic_store_n(slot, v, __ATOMIC_RELEASE); }

// Empties a slot and gives its bit back, with no lock. False: there is no free bit in the word, or a fork is copying; nothing was changed.
static bool take_free(struct fdtable *t, u64 *slot, u64 *map, u64 bit, u64 *v)
{
	u64 w = load(map);

	if (w == FULL)
		return false;
	lock_count(1); // who dies here leaves a bit that nobody gives back
	*v = __atomic_exchange_n(slot, 0, __ATOMIC_SEQ_CST);
	if (*v && !is_frozen(t))
		while (w != FULL)
			if (swap(map, &w, w & ~bit)) {
				lock_count(-1);
				return true;
			}
	if (*v)
		set_slot(slot, *v);
	lock_count(-1);
	return !*v;
}

// Takes what is open at descriptor i out: the slot as it was, 0 when nothing is.
static u64 take(struct fdtable *t, u32 i)
{
	u64 *slot = fd_slot(t, i), *map = map_word(t, i / 64), bit = 1ul << (i % 64), v = load(slot);

	if (!v)
		return 0;
	if (alone(t)) {
		if (*map == FULL)
			t->full = min(t->full, i / 64);
		set_slot(slot, 0);
		__atomic_store_n(map, *map & ~bit, __ATOMIC_RELEASE);
		return v;
	}
	if (take_free(t, slot, map, bit, &v))
		return v;
	mutex_lock(&t->lock);
	v = __atomic_exchange_n(slot, 0, __ATOMIC_SEQ_CST);
	if (v) {
		__atomic_fetch_and(map, ~bit, __ATOMIC_SEQ_CST);
		t->full = min(t->full, i / 64);
	}
	mutex_unlock(&t->lock);
	return v;
}

void fdtable_close_exec(struct fdtable *t)
{
	for (u32 w = 0; w < table_size(t) / 64; w++)
		for (u64 m = load(map_word(t, w)); m; m &= m - 1) {
			u32 i = w * 64 + (u32)__builtin_ctzl(m);
			u64 v = load(fd_slot(t, i)) & FD_CLOEXEC ? take(t, i) : 0;

			if (v)
				close_file(slot_file(v), t);
		}
}

struct file *fd_get(int fd)
{
	struct fdtable *t = current->files;
	u32 i = (u32)fd;
	u64 v;

	if (unlikely(i >= table_size(t)))
		return i >= IO_FD ? uring_current_file(i) : NULL;
	return slot_get(fd_slot(t, i), &v);
}

struct file *fdtable_file(struct fdtable *t, u32 fd, bool *cloexec)
{
	u64 v = 0;
	struct file *f = fd < table_size(t) ? slot_get(fd_slot(t, fd), &v) : NULL;

	*cloexec = v & FD_CLOEXEC;
	return f;
}

int fdtable_next(struct fdtable *t, u32 from)
{
	u32 size = table_size(t);

	for (u32 i = from; i < size; i = (i | 63) + 1)
		for (u64 m = load(map_word(t, i / 64)) & FULL << (i % 64); m; m &= m - 1) {
			u32 fd = (i & ~63u) + (u32)__builtin_ctzl(m);
			if (load(fd_slot(t, fd)))
				return (int)fd;
		}
	return -1;
}

bool fd_cloexec(int fd)
{
	struct fdtable *t = current->files;

	return (u32)fd < table_size(t) && load(fd_slot(t, (u32)fd)) & FD_CLOEXEC;
}

static u32 fd_limit(void) { return (u32)min(RLIMIT(RLIMIT_NOFILE), (u64)FD_MAX); }

// The bits of word w that stand for descriptors from min_fd on and below limit.
static u64 wanted(u32 w, u32 min_fd, u32 limit)
{
	u64 m = w == min_fd / 64 ? FULL << (min_fd % 64) : FULL;

	return limit / 64 > w ? m : limit / 64 == w ? m & ((1ul << (limit % 64)) - 1) : 0;
}

// Sets the lowest free bit among those wanted. Its number, or -1.
static int claim(u64 *map, u64 want, bool others)
{
	u64 w = load(map), free;

	while ((free = ~w & want)) {
		if (!others)
			__atomic_store_n(map, w | (free & -free), __ATOMIC_RELAXED);
		else if (!swap(map, &w, w | (free & -free)))
			continue;
		return __builtin_ctzl(free);
	}
	return -1;
}

// Wherever there is room; lock held.
static int alloc_locked(struct fdtable *t, u64 v, u32 min_fd, u32 limit)
{
	u32 w = min_fd / 64;
	int b;

	for (;; w = max(w + 1, t->full)) {
		if ((u64)w * 64 >= limit)
			return -EMFILE;
		if (w * 64 >= t->size && !table_grow(t, w * 64 + 1))
			return -ENOMEM;
		b = claim(map_word(t, w), wanted(w, min_fd, limit), true);
		if (b >= 0)
			break;
	}
	if (w && min_fd < FD_FIRST)
		t->full = w;
	set_slot(fd_slot(t, w * 64 + (u32)b), v);
	return (int)(w * 64) + b;
}

// Among the first, without the lock. -1: all are taken.
static int alloc_first(struct fdtable *t, u64 v, u64 want)
{
	for (;;) {
		int b;

		lock_count(1); // who dies here leaves a bit that nobody gives back
		b = claim(&t->taken, want, true);
		if (b >= 0 && is_frozen(t)) {
			__atomic_fetch_and(&t->taken, ~(1ul << b), __ATOMIC_SEQ_CST);
			lock_count(-1);
			wait_thaw(t);
			continue;
		}
		if (b >= 0)
			set_slot(fd_slot(t, (u32)b), v);
		lock_count(-1);
		return b;
	}
}

int fd_alloc(struct file *f, u32 min_fd, bool cloexec)
{
	struct fdtable *t = current->files;
	u32 limit = fd_limit();
	u64 v = (u64)f | cloexec, want = min_fd < FD_FIRST ? wanted(0, min_fd, limit) : 0;
	int i;

	if (likely(alone(t))) {
		i = claim(&t->taken, want, false);
		if (likely(i >= 0))
			set_slot(fd_slot(t, (u32)i), v);
	} else {
		i = alloc_first(t, v, want);
	}
	if (likely(i >= 0))
		return i;
	mutex_lock(&t->lock);
	i = alloc_locked(t, v, min_fd, limit);
	mutex_unlock(&t->lock);
	return i;
}

// Puts v into slot i, whatever is there; lock held. Returns what was there.
static u64 replace(struct fdtable *t, u32 i, u64 v)
{
	u64 *slot = fd_slot(t, i), *map = map_word(t, i / 64), bit = 1ul << (i % 64), old;

	if (likely(alone(t))) {
		old = *slot;
		__atomic_store_n(map, *map | bit, __ATOMIC_RELAXED);
		set_slot(slot, v);
		return old;
	}
	for (u32 n = 0;; n++) {
		old = load(slot);
		if (old) {
			if (swap(slot, &old, v))
				return old;
		} else if (__atomic_fetch_or(map, bit, __ATOMIC_SEQ_CST) & bit) {
			wait_a_moment(t, n); // somebody is about to fill it, or to give it back
		} else {
			set_slot(slot, v);
			return 0;
		}
	}
}

int fd_install(int fd, struct file *f, bool cloexec)
{
	struct fdtable *t = current->files;
	u32 i = (u32)fd;
	u64 old = 0;
	bool room;

	if (i >= fd_limit())
		return -EBADF;
	mutex_lock(&t->lock);
	room = table_grow(t, i + 1);
	if (room)
		old = replace(t, i, (u64)f | cloexec);
	mutex_unlock(&t->lock);
	if (old)
		close_file(slot_file(old), t);
	return room ? fd : -ENOMEM;
}

int fd_close(int fd)
{
	struct fdtable *t = current->files;
	u64 v = (u32)fd < table_size(t) ? take(t, (u32)fd) : 0;

	return v ? close_file(slot_file(v), t) : -EBADF;
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
	int fd;
	if ((flags & ~(CLOSE_RANGE_UNSHARE_ | CLOSE_RANGE_CLOEXEC_)) || first > last)
		return -EINVAL;
	if ((flags & CLOSE_RANGE_UNSHARE_) && t->ref.n > 1) {
		struct fdtable *own = fdtable_copy(t);
		if (!own)
			return -ENOMEM;
		task_files_set(current, own);
		t = own;
	}
	for (u32 i = first; (fd = fdtable_next(t, i)) >= 0 && (u32)fd <= last; i = (u32)fd + 1)
		if (flags & CLOSE_RANGE_CLOEXEC_)
			fd_set_cloexec(fd, true);
		else
			fd_close(fd);
	return 0;
}

int fd_set_cloexec(int fd, bool on)
{
	struct fdtable *t = current->files;
	u64 *slot, v;

	if ((u32)fd >= table_size(t))
		return -EBADF;
	slot = fd_slot(t, (u32)fd);
	mutex_lock(&t->lock);
	v = load(slot);
	while (v && !swap(slot, &v, (v & ~(u64)FD_CLOEXEC) | on))
		;
	mutex_unlock(&t->lock);
	return v ? 0 : -EBADF;
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
