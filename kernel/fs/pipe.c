// SPDX-License-Identifier: Apache-2.0
// Pipes and FIFOs: a ring of bytes in kernel pages. It starts with one page and grows to its capacity when
// more than that is waiting, so that idle pipes cost little.
// Blocked readers and writers sleep on queues of their own (one is woken at a time, and hands on when something is
// left); pollers share `pollq`. A waker looks at a queue without locking it: a sleeper enqueues under pipe->lock
// after it saw that it must wait, and the waker changed the state under the same lock.
// Locks: inode->lock (FIFO open and release) -> pipe->lock -> waitq.
#include "kernel/fs/fs.h"
#include "kernel/fs/pipe.h"
#include "kernel/include/count.h"
#include <asm/ioctls.h>
#include <linux/magic.h>

#define PIPE_DEFAULT (64u << 10)
#define PIPE_MAX     (1u << 20) // /proc/sys/fs/pipe-max-size

static struct super *pipe_sb;

static struct pipe *pipe_new(void)
{
	struct pipe *p = knew(struct pipe);

	if (!p)
		return NULL;
	COUNT(pipes, 1);
	p->cap = PIPE_DEFAULT;
	waitq_init(&p->rq);
	waitq_init(&p->wq);
	waitq_init(&p->pollq);
	waitq_init(&p->openq);
	return p;
}

static void ring_free(char *buf, u32 size)
{
	if (buf)
		page_free(page_of(buf), size >> PAGE_SHIFT);
}

static void pipe_free(struct pipe *p)
{
	ring_free(p->buf, p->size);
	COUNT(pipes, -1);
	kfree(p);
}

int pipe_ring_resize(struct pipe *p, u32 size)
{
	pfn_t pfn = page_alloc(size >> PAGE_SHIFT, false);
	char *nbuf;
	u32 first;

	if (pfn == PFN_NONE)
		return -ENOMEM;
	nbuf = page_addr(pfn);
	first = min(p->len, p->size - p->head);
	if (p->len) {
		memcpy(nbuf, p->buf + p->head, first);
		memcpy(nbuf + first, p->buf, p->len - first);
	}
	ring_free(p->buf, p->size);
	p->buf = nbuf;
	p->size = size;
	p->head = 0;
	return 0;
}

u32 pipe_ring_room(struct pipe *p, u64 n)
{
	u64 need = p->len + n;

	if (unlikely(need > p->size && p->size < p->cap)) {
		u32 size = need <= PAGE_SIZE ? PAGE_SIZE : p->cap;

		if (pipe_ring_resize(p, size) && !p->buf)
			(void)pipe_ring_resize(p, PAGE_SIZE);
	}
	return min(p->size, p->cap) > p->len ? min(p->size, p->cap) - p->len : 0;
}

int pipe_sleep(struct pipe *p, struct waitq *q, bool wake_readers)
{
	struct waiter w;
	u32 seq = task_seq();
	int r;

	waiter_init(&w);
	waitq_add(q, &w);
	mutex_unlock(&p->lock);
	if (wake_readers)
		kick_readers(p, true);
	r = task_sleep(seq, NO_DEADLINE);
	waitq_del(q, &w);
	mutex_lock(&p->lock);
	return r ? -ERESTARTSYS : 0;
}

static ssize_t pipe_read(struct file *f, struct iter *it, u64 *pos)
{
	struct pipe *p = f->priv;
	ssize_t done = 0;
	bool freed, more;

	(void)pos;
	if (unlikely(!it->left))
		return 0;
	if (unlikely(p->packets))
		return packet_read(f, it);
	mutex_lock(&p->lock);
	for (;;) {
		if (likely(p->len)) {
			u32 want = min((size_t)p->len, it->left);
			bool was_full = !writable(p);
			size_t got = ring_out(p, it, want);

			done += got;
			freed = was_full && writable(p);
			more = p->len;
			mutex_unlock(&p->lock);
			if (freed)
				kick_writers(p);
			if (likely(got == want)) {
				if (more)
					kick(&p->rq);
				return done;
			}
			if (iter_fault_in(it, true)) {
				if (more)
					kick(&p->rq);
				return done ? done : -EFAULT;
			}
			mutex_lock(&p->lock);
			continue;
		}
		if (done || !p->writers)
			break;
		if (f->flags & O_NONBLOCK) {
			done = -EAGAIN;
			break;
		}
		done = pipe_sleep(p, &p->rq, false);
		if (done) {
			more = p->len;
			mutex_unlock(&p->lock);
			if (more)
				kick(&p->rq); // the wake-up may have been ours alone
			return done;
		}
	}
	mutex_unlock(&p->lock);
	return done;
}

void pipe_sigpipe(void)
{
	siginfo_t si = {.si_signo = SIGPIPE, .si_code = SI_USER};

	si.si_pid = curproc->pid;
	si.si_uid = cred()->uid;
	signal_send_task(current, SIGPIPE, &si);
}

static ssize_t pipe_write(struct file *f, struct iter *it, u64 *pos)
{
	struct pipe *p = f->priv;
	bool atomic = it->left <= PIPE_BUF;
	bool was_empty = false, more;
	ssize_t done = 0, err = 0;

	(void)pos;
	if (unlikely(!it->left))
		return 0;
	if (unlikely(p->packets))
		return packet_write(f, it);
	mutex_lock(&p->lock);
	while (it->left) {
		u32 room, want;

		if (unlikely(!p->readers)) {
			err = -EPIPE;
			break;
		}
		room = pipe_ring_room(p, it->left);
		if (unlikely(!p->buf)) {
			err = -ENOMEM;
			break;
		}
		if (likely(atomic ? room >= it->left : room > 0)) {
			struct iter saved = *it, stuck;
			size_t got;

			want = min((size_t)room, it->left);
			got = ring_in(p, it, want);
			stuck = *it;
			if (likely(got == want) || !atomic) {
				was_empty |= !p->len && got;
				p->len += got;
				done += got;
			} else {
				iter_revert(it, &saved);
			}
			if (unlikely(got != want)) {
				mutex_unlock(&p->lock);
				err = iter_fault_in(&stuck, false) ? -EFAULT : 0;
				mutex_lock(&p->lock);
				if (err)
					break;
			}
			continue;
		}
		if (f->flags & O_NONBLOCK) {
			err = -EAGAIN;
			break;
		}
		err = pipe_sleep(p, &p->wq, was_empty);
		was_empty = false;
		if (err)
			break;
	}
	more = writable(p);
	mutex_unlock(&p->lock);
	if (done)
		kick_readers(p, was_empty);
	if (more)
		kick(&p->wq); // another blocked writer may go on, or the wake-up was ours alone
	if (err == -EPIPE)
		pipe_sigpipe();
	return done ? done : err;
}

static u32 pipe_poll(struct file *f, struct poll_table *pt)
{
	struct pipe *p = f->priv;
	u32 ev = 0, mode = f->flags & O_ACCMODE;

	poll_wait(pt, &p->pollq);
	mutex_lock(&p->lock);
	if (mode != O_WRONLY) {
		if (p->len)
			ev |= EPOLLIN | EPOLLRDNORM;
		// A reader that opened a FIFO before any writer sees no hang-up until one came and went.
		if (!p->writers && f->pos != p->w_opens)
			ev |= EPOLLHUP;
	}
	if (mode != O_RDONLY) {
		if (writable(p))
			ev |= EPOLLOUT | EPOLLWRNORM;
		if (!p->readers)
			ev |= EPOLLERR;
	}
	mutex_unlock(&p->lock);
	return ev;
}

static long pipe_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct pipe *p = f->priv;
	int n;

	if (cmd != FIONREAD)
		return -ENOTTY;
	mutex_lock(&p->lock);
	n = p->len - p->npackets * PACKET_HEAD;
	mutex_unlock(&p->lock);
	return put_user(n, U(arg));
}

static void pipe_drop_end(struct pipe *p, u32 mode)
{
	mutex_lock(&p->lock);
	if (mode != O_WRONLY)
		p->readers--;
	if (mode != O_RDONLY)
		p->writers--;
	mutex_unlock(&p->lock);
	waitq_wake(&p->rq, 0);
	waitq_wake(&p->wq, 0);
	waitq_wake(&p->pollq, EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM | EPOLLERR | EPOLLHUP);
}

static void pipe_release(struct file *f)
{
	struct inode *ino = f->inode;
	struct pipe *p = f->priv;
	bool last;

	if (!p)
		return;
	pipe_drop_end(p, f->flags & O_ACCMODE);
	f->priv = NULL;
	mutex_lock(&ino->lock);
	last = --p->files == 0;
	if (last)
		ino->ipc = NULL;
	mutex_unlock(&ino->lock);
	if (last)
		pipe_free(p);
}

// Opens one end of a FIFO: waits for the other one (man 7 fifo).
static int fifo_open(struct inode *ino, struct file *f)
{
	u32 mode = f->flags & O_ACCMODE, seen;
	bool anonymous = ino->sb == pipe_sb; // opened again through /proc/self/fd: never waits for the other end
	struct pipe *p, *fresh;
	int r = 0;

	fresh = ino->ipc ? NULL : pipe_new();
	mutex_lock(&ino->lock);
	if (!ino->ipc) {
		if (!fresh)
			fresh = pipe_new();
		ino->ipc = fresh;
		fresh = NULL;
	}
	p = ino->ipc;
	if (p)
		p->files++;
	mutex_unlock(&ino->lock);
	if (fresh)
		pipe_free(fresh);
	if (!p)
		return -ENOMEM;

	f->priv = p;
	mutex_lock(&p->lock);
	if (mode == O_WRONLY && (f->flags & O_NONBLOCK) && !p->readers && !anonymous) {
		mutex_unlock(&p->lock);
		r = -ENXIO;
		goto undo;
	}
	f->pos = U64_MAX; // for pipe_poll: hang-up counts
	if (mode != O_WRONLY) {
		p->readers++;
		p->r_opens++;
		if (!p->writers && (f->flags & O_NONBLOCK) && !anonymous)
			f->pos = p->w_opens;
	}
	if (mode != O_RDONLY) {
		p->writers++;
		p->w_opens++;
	}
	seen = mode == O_RDONLY ? p->w_opens : p->r_opens;
	r = mode == O_RDONLY ? p->writers : p->readers;
	mutex_unlock(&p->lock);
	waitq_wake(&p->openq, 0);
	waitq_wake(&p->pollq, EPOLLIN | EPOLLOUT);
	if (r || anonymous || (f->flags & O_NONBLOCK))
		return 0;
	r = WAIT_EVENT(&p->openq, NO_DEADLINE,
		       __atomic_load_n(mode == O_RDONLY ? &p->w_opens : &p->r_opens, __ATOMIC_ACQUIRE) != seen);
	if (!r)
		return 0;
	r = -ERESTARTSYS;
	pipe_drop_end(p, mode);
undo:
	f->priv = NULL;
	mutex_lock(&ino->lock);
	if (--p->files == 0)
		ino->ipc = NULL;
	else
		p = NULL;
	mutex_unlock(&ino->lock);
	if (p)
		pipe_free(p);
	return r;
}

// Packet mode is chosen when the pipe is made.
static int pipe_set_flags(struct file *f, u32 flags)
{
	struct pipe *p = f->priv;

	return (flags & O_DIRECT) && !p->packets ? -EINVAL : 0;
}

const struct file_ops fifo_fops = {
	.open = fifo_open,
	.read = pipe_read,
	.write = pipe_write,
	.llseek = no_llseek,
	.ioctl = pipe_ioctl,
	.poll = pipe_poll,
	.release = pipe_release,
	.set_flags = pipe_set_flags,
	.stream = true,
};

struct pipe *pipe_of(struct file *f)
{
	struct pipe *p = f->ops == &fifo_fops ? f->priv : NULL;

	return p && !p->packets ? p : NULL; // packets are not spliced
}

static const struct super_ops pipe_sops = {0};

static struct super *pipe_super(void)
{
	static struct mutex once;

	if (unlikely(!__atomic_load_n(&pipe_sb, __ATOMIC_ACQUIRE))) {
		mutex_lock(&once);
		struct super *sb = pipe_sb ? NULL : super_new("pipefs", &pipe_sops, PIPEFS_MAGIC);
		if (sb) {
			super_stays(sb);
			__atomic_store_n(&pipe_sb, sb, __ATOMIC_RELEASE);
		}
		mutex_unlock(&once);
	}
	return pipe_sb;
}

long sys_pipe2(int __user *fds, int flags)
{
	struct file *rd = NULL, *wr = NULL;
	struct super *sb = pipe_super();
	struct inode *ino;
	struct pipe *p;
	int fd[2] = {-1, -1};
	long r = -ENOMEM;

	if (flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
		return -EINVAL;
	if (!sb)
		return -ENOMEM;
	ino = inode_new(sb, S_IFIFO | 0600);
	p = ino ? pipe_new() : NULL;
	if (!p)
		goto out;
	rd = file_alloc(&fifo_fops, ino, O_RDONLY | (flags & O_NONBLOCK), p);
	wr = rd && !IS_ERR(rd) ? file_alloc(&fifo_fops, ino, O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT)), p) : NULL;
	if (IS_ERR_OR_NULL(rd) || IS_ERR_OR_NULL(wr)) {
		if (!IS_ERR_OR_NULL(rd)) {
			rd->priv = NULL;
			file_put(rd);
		}
		pipe_free(p);
		rd = wr = NULL;
		goto out;
	}
	ino->ipc = p;
	ino->iops = &plain_iops;
	ino->fops = &fifo_fops; // opened again through /proc/self/fd
	p->packets = flags & O_DIRECT;
	p->readers = p->writers = 1;
	p->files = 2;
	p->r_opens = p->w_opens = 1;
	rd->pos = U64_MAX;

	fd[0] = r = fd_alloc(rd, 0, flags & O_CLOEXEC);
	if (r < 0)
		goto out;
	rd = NULL;
	fd[1] = r = fd_alloc(wr, 0, flags & O_CLOEXEC);
	if (r < 0)
		goto out;
	wr = NULL;
	r = copy_to_user(fds, fd, sizeof(fd));
out:
	if (r && fd[0] >= 0)
		fd_close(fd[0]);
	if (r && fd[1] >= 0)
		fd_close(fd[1]);
	if (rd)
		file_put(rd);
	if (wr)
		file_put(wr);
	if (ino)
		inode_put(ino);
	return r;
}

long sys_pipe(int __user *fds) { return sys_pipe2(fds, 0); }

// F_SETPIPE_SZ rounds up to a power of two pages (man 2 fcntl).
static long pipe_set_size(struct pipe *p, u64 arg)
{
	u32 size = PAGE_SIZE;
	long r;

	if (arg > 1u << 31)
		return -EINVAL;
	while (size < arg)
		size <<= 1;
	mutex_lock(&p->lock);
	if (size > PIPE_MAX && size > p->cap && !capable(24 /* CAP_SYS_RESOURCE */))
		r = -EPERM;
	else if (size < p->len)
		r = -EBUSY;
	else
		r = p->buf && size < p->size ? pipe_ring_resize(p, size) : 0;
	if (!r)
		r = p->cap = size;
	mutex_unlock(&p->lock);
	if (r > 0)
		kick_writers(p);
	return r;
}

long pipe_fcntl(struct file *f, u32 cmd, u64 arg)
{
	struct pipe *p = f->priv;

	if (f->ops != &fifo_fops)
		return -EBADF;
	return cmd == F_SETPIPE_SZ ? pipe_set_size(p, arg) : (long)p->cap;
}
