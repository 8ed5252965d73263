// SPDX-License-Identifier: Apache-2.0
// Pseudo terminals: /dev/ptmx makes a pair, devpts shows the slaves. The slave is a struct tty; its output ring is
// what the master reads, and what the master writes is the slave's input.
// Locks: pty_lock (the table) -> nothing; tty.h for the rest. masterq wakes the master's readers and writers.
#include "kernel/fs/tty_job.h"
#include "kernel/include/kstring.h"
#include <linux/magic.h>
#include <linux/major.h>

#define PTY_MAX 256
#define CHUNK	512

struct pty {
	struct tty *slave; // the pair's life is the slave's
	u32 index;
	u32 uid, gid;
	bool locked;	   // TIOCSPTLCK
	bool slave_opened; // at least once: only then is "no slave" an end of file
	bool packet;	   // TIOCPKT
	struct waitq masterq;
};

static struct mutex pty_lock;
static struct tty *slaves[PTY_MAX]; // no reference: the master's file has it
static struct super *devpts_sb;

static struct pty *pair(struct tty *t) { return t->priv; }

static void pty_flush(struct tty *t)
{
	if (!list_empty(&pair(t)->masterq.waiters))
		waitq_wake(&pair(t)->masterq, EPOLLIN | EPOLLRDNORM);
}

static void pty_unthrottle(struct tty *t)
{
	if (!list_empty(&pair(t)->masterq.waiters))
		waitq_wake(&pair(t)->masterq, EPOLLOUT | EPOLLWRNORM);
}

static void pty_last_close(struct tty *t) { waitq_wake(&pair(t)->masterq, 0); }

static void pty_free(struct tty *t) { kfree(t->priv); }

static const struct tty_driver pty_driver = {
	.flush = pty_flush,
	.unthrottle = pty_unthrottle,
	.last_close = pty_last_close,
	.free = pty_free,
};

// --- the master

static bool no_slave(struct tty *t) { return pair(t)->slave_opened && !t->opens; }

// Sleeps once on the master's queue; t->lock is held, and held again on return.
static int master_sleep(struct tty *t, u32 events)
{
	struct waiter w;
	u32 seq = task_seq();
	int r;

	waiter_init(&w);
	w.events = events | EPOLLHUP;
	waitq_add(&pair(t)->masterq, &w);
	tty_unlock(t, 0);
	r = task_sleep(seq, NO_DEADLINE);
	waitq_del(&pair(t)->masterq, &w);
	mutex_lock(&t->lock);
	return r ? -ERESTARTSYS : 0;
}

static ssize_t master_read(struct file *f, struct iter *it, u64 *pos)
{
	struct tty *t = f->priv;
	ssize_t done = 0;
	int r = 0;

	(void)pos;
	if (!it->left)
		return 0;
	mutex_lock(&t->lock);
	while (!r && !done) {
		bool short_copy = false;

		if (t->out_len && pair(t)->packet) {
			u8 data = TIOCPKT_DATA;

			if (iter_put(it, &data, 1) != 1) {
				r = -EFAULT;
				break;
			}
			done++;
		}
		while (t->out_len && it->left && !short_copy) {
			u32 n = min((size_t)min(t->out_len, TTY_OUT - t->out_head), it->left);
			u32 got = iter_put(it, t->out + t->out_head, n);

			t->out_head = (t->out_head + got) & (TTY_OUT - 1);
			t->out_len -= got;
			done += got;
			short_copy = got < n;
		}
		if (short_copy && !done) {
			tty_unlock(t, 0);
			r = iter_fault_in(it, true) ? -EFAULT : 0;
			mutex_lock(&t->lock);
			continue;
		}
		if (done)
			break;
		if (no_slave(t))
			r = -EIO;
		else
			r = f->flags & O_NONBLOCK ? -EAGAIN : master_sleep(t, EPOLLIN);
	}
	tty_unlock(t, done ? EPOLLOUT | EPOLLWRNORM : 0);
	return done ? done : r;
}

static ssize_t master_write(struct file *f, struct iter *it, u64 *pos)
{
	struct tty *t = f->priv;
	ssize_t done = 0;
	__uninit u8 buf[CHUNK];
	int r = 0;

	(void)pos;
	while (it->left && !r) {
		u32 room, n;

		mutex_lock(&t->lock);
		room = tty_room(t);
		if (no_slave(t))
			r = -EIO;
		else if (!room)
			r = f->flags & O_NONBLOCK ? -EAGAIN : master_sleep(t, EPOLLOUT);
		tty_unlock(t, 0);
		if (r || !room)
			continue;
		n = iter_get(it, buf, min(min((size_t)room, sizeof(buf)), it->left));
		if (n)
			tty_receive(t, buf, n);
		else if (iter_fault_in(it, false))
			r = -EFAULT;
		done += n;
	}
	return done ? done : r;
}

static u32 master_poll(struct file *f, struct poll_table *pt)
{
	struct tty *t = f->priv;
	u32 ev = 0;

	poll_wait(pt, &pair(t)->masterq);
	mutex_lock(&t->lock);
	if (t->out_len)
		ev |= EPOLLIN | EPOLLRDNORM;
	if (no_slave(t))
		ev |= EPOLLHUP;
	if (tty_room(t))
		ev |= EPOLLOUT | EPOLLWRNORM;
	mutex_unlock(&t->lock);
	return ev;
}

static int slave_open(struct tty *t, struct file *f)
{
	int r;

	if (__atomic_load_n(&pair(t)->locked, __ATOMIC_RELAXED)) {
		tty_put(t);
		return -EIO;
	}
	r = tty_open_file(t, f);
	if (!r)
		pair(t)->slave_opened = true;
	return r;
}

static struct inode *pts_inode(struct tty *t);

// TIOCGPTPEER: opens the slave without its name.
static long open_peer(struct tty *t, u64 flags)
{
	struct inode *ino = pts_inode(t);
	struct file *f;
	long r;

	if (!ino)
		return -ENOMEM;
	f = file_alloc(&tty_fops, ino, flags & (O_ACCMODE | O_NONBLOCK | O_NOCTTY), NULL);
	inode_put(ino);
	if (IS_ERR_OR_NULL(f))
		return f ? PTR_ERR(f) : -ENOMEM;
	tty_get(t);
	r = slave_open(t, f);
	if (!r)
		r = fd_alloc(f, 0, flags & O_CLOEXEC);
	if (r < 0)
		file_put(f);
	return r;
}

static long master_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct tty *t = f->priv;
	struct pty *p = pair(t);
	long r;
	int n;

	switch (cmd) {
	case TIOCGPTN: return put_user(p->index, U(arg));
	case TIOCSPTLCK:
		if (get_user(n, U(arg)))
			return -EFAULT;
		__atomic_store_n(&p->locked, n != 0, __ATOMIC_RELAXED);
		return 0;
	case TIOCGPTLCK: n = p->locked; return put_user(n, U(arg));
	case TIOCGPTPEER: return open_peer(t, arg);
	case TIOCPKT:
		if (get_user(n, U(arg)))
			return -EFAULT;
		p->packet = n;
		return 0;
	case TIOCGPKT: n = p->packet; return put_user(n, U(arg));
	case TIOCSIG:
		if (arg < 1 || arg > NSIG || (arg != SIGINT && arg != SIGQUIT && arg != SIGTSTP))
			return -EINVAL;
		tty_signal_pgrp(t->pgrp, arg);
		return 0;
	case FIONREAD:
	case TIOCOUTQ:
		mutex_lock(&t->lock);
		n = cmd == FIONREAD ? t->out_len : 0;
		mutex_unlock(&t->lock);
		return put_user(n, U(arg));
	case TCSBRK:
	case TCSBRKP: return 0;
	}
	r = tty_modes_ioctl(t, cmd, arg);
	if (r != -ENOTTY)
		return r;
	r = tty_job_ioctl(t, cmd, arg, true);
	return r == -ENOIOCTL ? -ENOTTY : r;
}

static void master_release(struct file *f)
{
	struct tty *t = f->priv;

	if (!t)
		return;
	mutex_lock(&pty_lock);
	slaves[pair(t)->index] = NULL;
	mutex_unlock(&pty_lock);
	mutex_lock(&t->lock);
	t->other_closed = true;
	tty_unlock(t, 0);
	tty_hangup(t, true);
	tty_put(t);
}

static const struct file_ops master_fops = {
	.read = master_read,
	.write = master_write,
	.llseek = no_llseek,
	.poll = master_poll,
	.ioctl = master_ioctl,
	.release = master_release,
	.stream = true,
};

static int ptmx_open(struct inode *ino, struct file *f)
{
	struct pty *p = knew(struct pty);
	struct tty *t;
	u32 i;

	(void)ino;
	if (!p)
		return -ENOMEM;
	waitq_init(&p->masterq);
	p->locked = true;
	p->uid = cred()->fsuid;
	p->gid = cred()->fsgid;
	t = tty_new(&pty_driver, 0);
	if (!t) {
		kfree(p);
		return -ENOMEM;
	}
	t->priv = p;
	p->slave = t;
	mutex_lock(&pty_lock);
	for (i = 0; i < PTY_MAX && slaves[i]; i++)
		;
	if (i < PTY_MAX) {
		p->index = i;
		t->dev = UNIX98_PTY_SLAVE_MAJOR << 8 | i;
		slaves[i] = t;
	}
	mutex_unlock(&pty_lock);
	if (i == PTY_MAX) {
		tty_put(t);
		return -ENOSPC;
	}
	f->priv = t;
	f->ops = &master_fops;
	return 0;
}

const struct file_ops ptmx_fops = {.open = ptmx_open, .llseek = no_llseek, .stream = true};

// --- devpts: the root directory holds the slaves by number, and ptmx

static struct tty *slave_get(u32 i)
{
	struct tty *t = NULL;

	mutex_lock(&pty_lock);
	if (i < PTY_MAX && slaves[i]) {
		t = slaves[i];
		tty_get(t);
	}
	mutex_unlock(&pty_lock);
	return t;
}

static int pts_open(struct inode *ino, struct file *f)
{
	struct tty *t = slave_get(ino->rdev & 0xff);

	return t ? slave_open(t, f) : -EIO;
}

const struct file_ops pts_fops = {.open = pts_open, .llseek = no_llseek, .stream = true};

static int pts_setattr(struct inode *ino, const struct iattr *a)
{
	struct tty *t = slave_get(ino->rdev & 0xff);

	if (a->valid & ATTR_MODE)
		ino->mode = (ino->mode & S_IFMT) | (a->mode & 07777);
	if (a->valid & ATTR_UID)
		ino->uid = a->uid;
	if (a->valid & ATTR_GID)
		ino->gid = a->gid;
	if (t) {
		pair(t)->uid = ino->uid;
		pair(t)->gid = ino->gid;
	}
	tty_put(t);
	return 0;
}

static const struct inode_ops pts_iops = {.setattr = pts_setattr};

static struct inode *pts_inode(struct tty *t)
{
	struct inode *i = inode_new(devpts_sb, S_IFCHR | 0620);

	if (!i)
		return NULL;
	i->ino = pair(t)->index + 3;
	i->rdev = t->dev;
	i->uid = pair(t)->uid;
	i->gid = pair(t)->gid;
	i->iops = &pts_iops;
	i->fops = &pts_fops;
	return i;
}

static int pts_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct tty *t;
	u64 n = 0;

	(void)dir;
	if (len == 4 && !memcmp(name, "ptmx", 4)) {
		struct inode *i = inode_new(devpts_sb, S_IFCHR | 0666);

		if (!i)
			return -ENOMEM;
		i->ino = 2;
		i->rdev = TTYAUX_MAJOR << 8 | 2;
		i->fops = &ptmx_fops;
		*out = i;
		return 0;
	}
	if (!len || len > 3 || (name[0] == '0' && len > 1))
		return -ENOENT;
	for (u32 k = 0; k < len; k++) {
		if (name[k] < '0' || name[k] > '9')
			return -ENOENT;
		n = n * 10 + (name[k] - '0');
	}
	t = slave_get(n);
	if (!t)
		return -ENOENT;
	*out = pts_inode(t);
	tty_put(t);
	return *out ? 0 : -ENOMEM;
}

static int pts_readdir(struct file *f, struct dir_ctx *c)
{
	char name[12];

	(void)f;
	if (c->pos <= 2) {
		if (!c->emit(c, "ptmx", 4, 2, 2 /* DT_CHR */, 3))
			return 0;
		c->pos = 3;
	}
	for (u32 i = c->pos - 3; i < PTY_MAX; i++) {
		int n;

		if (!__atomic_load_n(&slaves[i], __ATOMIC_RELAXED))
			continue;
		n = snprintf(name, sizeof(name), "%u", i);
		if (!c->emit(c, name, n, i + 3, 2, i + 4))
			return 0;
	}
	return 0;
}

static const struct inode_ops pts_root_iops = {.lookup = pts_lookup, .no_cache = true};
static const struct file_ops pts_root_fops = {.readdir = pts_readdir};
static const struct super_ops pts_sops = {0};

// One instance, however often it is mounted.
static int devpts_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	(void)source;
	(void)flags;
	(void)data;
	(void)len;
	if (!devpts_sb->root) { // an unmount drops it
		devpts_sb->root = inode_new(devpts_sb, S_IFDIR | 0755);
		if (!devpts_sb->root)
			return -ENOMEM;
		devpts_sb->root->nlink = 2;
		devpts_sb->root->iops = &pts_root_iops;
		devpts_sb->root->fops = &pts_root_fops;
	}
	super_get(devpts_sb);
	*out = devpts_sb;
	return 0;
}

int pty_init(void)
{
	devpts_sb = super_new("devpts", &pts_sops, DEVPTS_SUPER_MAGIC);
	if (!devpts_sb)
		return -ENOMEM;
	return fs_register("devpts", devpts_mount);
}
