// SPDX-License-Identifier: Apache-2.0
// Advisory locks: POSIX record locks (owner: the descriptor table), open file description locks and
// flock(2) (owner: the open file). One sorted list per inode for ranges, one for flock.
// Locks: locks_lock, one mutex (leaf but for waitq locks): locking is rare and a wait-for graph must be looked at
// whole.
#include "kernel/fs/fs.h"
#include "kernel/fs/procfs.h"

struct lock {
	struct list link;
	void *owner;		// struct fdtable or struct file
	bool posix, write;
	int pid;		// F_GETLK; -1 for OFD
	u64 start, end;		// inclusive
};

struct file_locks {
	struct list ranges;	// by start
	struct list flocks;
	struct waitq wq;
	struct list all;	// all_locks
	struct inode *ino;
};

// A task that waits for a record lock: what the deadlock search walks.
struct blocked {
	struct list link;
	void *owner;		// who waits
	void *holder;		// for whom
};

static struct mutex locks_lock;
static struct list all_blocked = LIST_INIT(all_blocked);
static struct list all_locks = LIST_INIT(all_locks);	// of every inode, for /proc/locks

static struct file_locks *locks_of(struct inode *ino)
{
	struct file_locks *l = __atomic_load_n(&ino->locks, __ATOMIC_ACQUIRE);
	if (l)
		return l;
	struct file_locks *n = knew(struct file_locks);
	if (!n)
		return NULL;
	list_init(&n->ranges);
	list_init(&n->flocks);
	waitq_init(&n->wq);
	n->ino = ino;
	list_init(&n->all);
	if (__atomic_compare_exchange_n(&ino->locks, &l, n, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		mutex_lock(&locks_lock);
		list_add_tail(&n->all, &all_locks);
		mutex_unlock(&locks_lock);
		return n;
	}
	kfree(n);
	return l;
}

void locks_free(struct inode *ino)
{
	struct file_locks *l = ino->locks;
	struct lock *k, *tmp;
	if (!l)
		return;
	mutex_lock(&locks_lock);
	list_del(&l->all);
	mutex_unlock(&locks_lock);
	list_for_each_safe(k, tmp, &l->ranges, link)
		kfree(k);
	list_for_each_safe(k, tmp, &l->flocks, link)
		kfree(k);
	kfree(l);
	ino->locks = NULL;
}

static struct lock *conflict_locked(struct file_locks *l, const struct lock *want)
{
	struct lock *k;
	list_for_each(k, &l->ranges, link) {
		if (k->start > want->end)
			break;
		if (k->end >= want->start && k->owner != want->owner && (k->write || want->write))
			return k;
	}
	return NULL;
}

// Would waiting for `holder` close a circle?
static bool deadlock_locked(void *owner, void *holder)
{
	for (int depth = 0; depth < 64; depth++) {
		struct blocked *b;
		void *next = NULL;
		if (holder == owner)
			return true;
		list_for_each(b, &all_blocked, link)
			if (b->owner == holder) {
				next = b->holder;
				break;
			}
		if (!next)
			return false;
		holder = next;
	}
	return false;
}

static void insert_sorted(struct file_locks *l, struct lock *n)
{
	struct lock *k;
	list_for_each(k, &l->ranges, link)
		if (k->start > n->start)
			break;
	list_add_tail(&n->link, &k->link); // before k, or at the end
}

// Removes the owner's hold on [start, end]; a lock that sticks out on both sides is split with *spare.
static void cut_locked(struct file_locks *l, void *owner, u64 start, u64 end, struct lock **spare)
{
	struct lock *k, *tmp;
	list_for_each_safe(k, tmp, &l->ranges, link) {
		if (k->owner != owner || k->end < start || k->start > end)
			continue;
		if (k->start < start && k->end > end) {
			struct lock *right = *spare;
			*spare = NULL;
			*right = *k;
			right->start = end + 1;
			k->end = start - 1;
			insert_sorted(l, right);
			return;
		}
		if (k->start < start) {
			k->end = start - 1;
		} else if (k->end > end) {
			list_del(&k->link);
			k->start = end + 1;
			insert_sorted(l, k);
		} else {
			list_del(&k->link);
			kfree(k);
		}
	}
}

// Joins neighbours of the same owner and kind.
static void merge_locked(struct file_locks *l, struct lock *n)
{
	struct lock *k, *tmp;
	list_for_each_safe(k, tmp, &l->ranges, link) {
		if (k == n || k->owner != n->owner || k->write != n->write || k->posix != n->posix)
			continue;
		if ((k->end != U64_MAX && k->end + 1 < n->start) || (n->end != U64_MAX && n->end + 1 < k->start))
			continue;
		n->start = min(n->start, k->start);
		n->end = max(n->end, k->end);
		list_del(&k->link);
		kfree(k);
	}
	list_del(&n->link);
	insert_sorted(l, n);
}

static int flock_range(struct file *f, const struct flock *fl, u64 *start, u64 *end)
{
	s64 base = fl->l_whence == SEEK_SET ? 0 : fl->l_whence == SEEK_CUR ? (s64)f->pos : (s64)f->inode->size, s;
	if (fl->l_whence < SEEK_SET || fl->l_whence > SEEK_END)
		return -EINVAL;
	if (__builtin_add_overflow(base, fl->l_start, &s))
		return -EOVERFLOW;
	s64 e = S64_MAX;
	if (fl->l_len > 0) {
		if (__builtin_add_overflow(s, fl->l_len - 1, &e))
			return -EOVERFLOW;
	} else if (fl->l_len < 0) {
		e = s - 1;
		s += fl->l_len;
	}
	if (s < 0)
		return -EINVAL;
	*start = (u64)s;
	*end = (u64)e;
	return 0;
}

static long set_range(struct file *f, struct lock *want, bool unlock, bool wait)
{
	struct file_locks *l = locks_of(f->inode);
	struct lock *n = knew(struct lock), *spare = knew(struct lock);
	long r = -ENOLCK;
	if (!l || !n || !spare)
		goto out;
	*n = *want;
	list_init(&n->link);
	struct waiter w;
	waiter_init(&w);
	waitq_add(&l->wq, &w);
	for (;;) {
		u32 seq = task_seq();
		struct blocked b = {.owner = want->owner};
		mutex_lock(&locks_lock);
		struct lock *c = unlock ? NULL : conflict_locked(l, want);
		if (!c) {
			cut_locked(l, want->owner, want->start, want->end, &spare);
			if (!unlock) {
				insert_sorted(l, n);
				merge_locked(l, n);
				n = NULL;
			}
			mutex_unlock(&locks_lock);
			r = 0;
			break;
		}
		r = !wait ? -EAGAIN : want->posix && deadlock_locked(want->owner, c->owner) ? -EDEADLK : 0;
		if (r) {
			mutex_unlock(&locks_lock);
			break;
		}
		b.holder = c->owner;
		list_add(&b.link, &all_blocked);
		mutex_unlock(&locks_lock);
		r = task_sleep(seq, NO_DEADLINE);
		mutex_lock(&locks_lock);
		list_del(&b.link);
		mutex_unlock(&locks_lock);
		if (r) {
			r = -ERESTARTSYS;
			break;
		}
	}
	waitq_del(&l->wq, &w);
	if (!r) // ranges were given up or downgraded, maybe
		waitq_wake(&l->wq, 0);
out:
	kfree(n);
	kfree(spare);
	return r;
}

long fcntl_lock(struct file *f, u32 cmd, u64 arg)
{
	struct flock fl;
	bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW,
	     get = cmd == F_GETLK || cmd == F_OFD_GETLK;
	if (copy_from_user(&fl, U(arg), sizeof(fl)))
		return -EFAULT;
	if (fl.l_type != F_RDLCK && fl.l_type != F_WRLCK && (get || fl.l_type != F_UNLCK))
		return -EINVAL;
	if (ofd && fl.l_pid)
		return -EINVAL;
	struct lock want = {.owner = ofd ? (void *)f : (void *)current->files,
			    .posix = !ofd,
			    .write = fl.l_type == F_WRLCK,
			    .pid = ofd ? -1 : curproc->pid};
	int r = flock_range(f, &fl, &want.start, &want.end);
	if (r)
		return r;
	if (!get) {
		if ((fl.l_type == F_RDLCK && !can_read(f)) || (fl.l_type == F_WRLCK && !can_write(f)))
			return -EBADF;
		if (!ofd)
			f->has_posix_locks = true;
		return set_range(f, &want, fl.l_type == F_UNLCK, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
	}
	struct file_locks *l = f->inode->locks;
	mutex_lock(&locks_lock);
	struct lock *c = l ? conflict_locked(l, &want) : NULL;
	fl.l_type = F_UNLCK;
	if (c) {
		fl.l_type = c->write ? F_WRLCK : F_RDLCK;
		fl.l_whence = SEEK_SET;
		fl.l_start = (s64)c->start;
		fl.l_len = c->end >= (u64)S64_MAX ? 0 : (s64)(c->end - c->start + 1);
		fl.l_pid = pid_out(c->pid);
	}
	mutex_unlock(&locks_lock);
	return copy_to_user(U(arg), &fl, sizeof(fl));
}

// Drops every lock of `owner` in one of the lists; true if there was any.
static bool drop_locked(struct list *head, void *owner)
{
	struct lock *k, *tmp;
	bool any = false;
	list_for_each_safe(k, tmp, head, link)
		if (k->owner == owner) {
			list_del(&k->link);
			kfree(k);
			any = true;
		}
	return any;
}

void locks_release_proc(struct file *f, struct fdtable *t)
{
	struct file_locks *l = f->inode->locks;
	if (!l)
		return;
	mutex_lock(&locks_lock);
	bool any = drop_locked(&l->ranges, t);
	mutex_unlock(&locks_lock);
	if (any)
		waitq_wake(&l->wq, 0);
}

void locks_release_file(struct file *f)
{
	struct file_locks *l = f->inode->locks;
	if (!l)
		return;
	mutex_lock(&locks_lock);
	bool any = drop_locked(&l->ranges, f);
	any |= drop_locked(&l->flocks, f);
	mutex_unlock(&locks_lock);
	if (any)
		waitq_wake(&l->wq, 0);
}

// flock: one lock an open file; changing its kind drops it first, as Linux does.
static long do_flock(struct file *f, bool write, bool nonblock)
{
	struct file_locks *l = locks_of(f->inode);
	struct lock *n = knew(struct lock), *k;
	struct waiter w;
	long r = -ENOLCK;
	if (!l || !n)
		goto out;
	*n = (struct lock){.owner = f, .write = write, .pid = curproc->pid};
	waiter_init(&w);
	waitq_add(&l->wq, &w);
	bool dropped = false;
	for (;;) {
		u32 seq = task_seq();
		bool busy = false, have = false;
		mutex_lock(&locks_lock);
		list_for_each(k, &l->flocks, link) {
			if (k->owner == f)
				have = k->write == write;
			else
				busy |= k->write || write;
		}
		if (have) {
			mutex_unlock(&locks_lock);
			r = 0;
			break;
		}
		dropped |= drop_locked(&l->flocks, f);
		if (!busy) {
			list_add(&n->link, &l->flocks);
			n = NULL;
		}
		mutex_unlock(&locks_lock);
		if (dropped) {
			dropped = false;
			waitq_wake(&l->wq, 0);
		}
		r = busy ? nonblock ? -EAGAIN : task_sleep(seq, NO_DEADLINE) : 0;
		if (!busy || r) {
			r = r == -EINTR ? -ERESTARTSYS : r;
			break;
		}
	}
	waitq_del(&l->wq, &w);
out:
	kfree(n);
	return r;
}

#define LOCK_SH_ 1u
#define LOCK_EX_ 2u
#define LOCK_NB_ 4u
#define LOCK_UN_ 8u
long sys_flock(int fd, u32 op)
{
	struct file *f = fd_get(fd);
	u32 kind = op & ~LOCK_NB_;
	long r = -EBADF;
	if (!f || (f->flags & O_PATH))
		goto out;
	r = -EINVAL;
	if (kind == LOCK_UN_) {
		struct file_locks *l = f->inode->locks;
		r = 0;
		if (l) {
			mutex_lock(&locks_lock);
			bool any = drop_locked(&l->flocks, f);
			mutex_unlock(&locks_lock);
			if (any)
				waitq_wake(&l->wq, 0);
		}
	} else if (kind == LOCK_SH_ || kind == LOCK_EX_) {
		r = do_flock(f, kind == LOCK_EX_, op & LOCK_NB_);
	}
out:
	file_put(f);
	return r;
}

static void lock_line(struct pout *o, u32 nr, const struct inode *ino, const struct lock *k, bool flock)
{
	pout(o, "%u: %s  ADVISORY  %s %d %02lx:%02lx:%lu ", nr, flock ? "FLOCK" : k->posix ? "POSIX" : "OFDLCK", k->write ? "WRITE" : "READ", k->pid,
	     ino->sb->dev >> 8, ino->sb->dev & 255, ino->ino);
	if (flock || k->end >= (u64)S64_MAX)
		pout(o, "%lu EOF\n", flock ? 0ul : k->start);
	else
		pout(o, "%lu %lu\n", k->start, k->end);
}

int proc_locks(struct pout *o, struct pnode *n)
{
	struct file_locks *l;
	struct lock *k;
	u32 nr = 0;

	(void)n;
	mutex_lock(&locks_lock);
	list_for_each(l, &all_locks, all) {
		list_for_each(k, &l->ranges, link)
			lock_line(o, ++nr, l->ino, k, false);
		list_for_each(k, &l->flocks, link)
			lock_line(o, ++nr, l->ino, k, true);
	}
	mutex_unlock(&locks_lock);
	return 0;
}
