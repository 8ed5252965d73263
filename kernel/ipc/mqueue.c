// SPDX-License-Identifier: Apache-2.0
// POSIX message queues (man 7 mq_overview). A queue is an inode of its own file system, found by name in its IPC namespace
// (a name counts as one reference), and its descriptors are ordinary files: poll, fstat, fork and close work as
// on others.
// Locks: ns->mq_lock (names) ; mq->lock (messages, notification) -> waitq, -> sig_lock and a netlink socket's lock when
// a notification is sent. User memory is copied with no lock held.
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"
#include "kernel/include/ktime.h"
#include "kernel/ipc/ids.h"
#include <linux/mqueue.h>

#define QUEUES_MAX 256u
#define DEFAULT_MSGS 10
#define DEFAULT_SIZE 8192
#define MSGS_MAX 10		// without CAP_SYS_RESOURCE
#define SIZE_MAX_ 8192
#define HARD_MSGS 65536
#define HARD_SIZE (16 << 20)
#define NODE_BYTES 48ul		// what Linux counts for a message besides its text
#define MQUEUE_MAGIC 0x19800202
#define FILE_BYTES 80		// st_size, as Linux has it

#define SIGEV_SIGNAL_ 0
#define SIGEV_NONE_ 1
#define SIGEV_THREAD_ 2

struct sigevent_ {		// the kernel's own struct sigevent
	u64 value;
	int signo, notify;
	int pad[12];
};

struct mqmsg {
	struct list link;
	u32 prio, n;
	u8 text[];
};

struct mq {			// inode->priv; lives as long as the inode
	struct mutex lock;
	struct list msgs;	// highest priority first, oldest first among equals
	long count, max, size;
	u64 bytes;
	u32 nreaders;		// that sleep: they take the next message instead of a notification
	struct waitq readers, writers;
	struct proc *owner;	// wants to be notified: a reference
	int notify, signo;
	u64 value;
	u32 owner_uid;
	struct file *netlink;	// SIGEV_THREAD: where the cookie goes
	u8 cookie[NOTIFY_COOKIE_LEN];
};

struct name {			// of a queue, in its namespace
	struct list link;
	struct inode *ino;	// reference
	u32 len;
	char text[NAME_MAX_ + 1];
};

int netlink_post(struct file *f, const void *data, size_t n); // net/netlink.c; -EINVAL: no such socket
bool netlink_is(struct file *f);

static struct mutex supers_lock; // an IPC namespace and its super block: leaf
static const struct file_ops mq_fops, dir_fops;
static const struct inode_ops dir_iops;

// --- life

static void forget_owner(struct mq *q, u8 why)
{
	if (q->netlink) {
		q->cookie[NOTIFY_COOKIE_LEN - 1] = why;
		if (netlink_post(q->netlink, q->cookie, NOTIFY_COOKIE_LEN))
			pr_debug("mq_notify: the socket takes no more\n");
		file_put(q->netlink);
		q->netlink = NULL;
	}
	if (q->owner)
		proc_put(q->owner);
	q->owner = NULL;
}

static void mq_evict(struct inode *i)
{
	struct mq *q = i->priv;
	struct mqmsg *m, *tmp;

	if (!q)
		return;
	forget_owner(q, NOTIFY_REMOVED);
	list_for_each_safe(m, tmp, &q->msgs, link) {
		COUNT(messages, -1);
		kfree(m);
	}
	COUNT(mqueues, -1);
	kfree(q);
}


static int mq_setattr(struct inode *i, const struct iattr *a)
{
	if (a->valid & ATTR_SIZE)
		return -EINVAL;
	if (a->valid & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (a->mode & 07777);
	if (a->valid & ATTR_UID)
		i->uid = a->uid;
	if (a->valid & ATTR_GID)
		i->gid = a->gid;
	return 0;
}

static const struct inode_ops mq_iops = {.setattr = mq_setattr};

static u64 footprint(long max, long size) { return (u64)max * (NODE_BYTES + 8 + (u64)size); }

static struct name *find(struct ipc_ns *ns, const char *text)
{
	struct name *n;

	list_for_each(n, &ns->mqs, link)
		if (!strcmp(n->text, text))
			return n;
	return NULL;
}

static void name_drop(struct ipc_ns *ns, struct name *n)
{
	list_del(&n->link);
	ns->nmqs--;
	n->ino->nlink = 0;
	inode_put(n->ino);
	kfree(n);
}

void mq_clear(struct ipc_ns *ns)
{
	struct name *n, *tmp;

	list_for_each_safe(n, tmp, &ns->mqs, link)
		name_drop(ns, n);
	if (!ns->mq_super)
		return;
	mutex_lock(&supers_lock);
	ns->mq_super->priv = NULL; // mounts may stay
	mutex_unlock(&supers_lock);
	super_deactivate(ns->mq_super);
}

// What the caller's queues take, against RLIMIT_MSGQUEUE. mq_lock held.
static u64 used_by_caller(struct ipc_ns *ns)
{
	struct name *n;
	u64 sum = 0;

	list_for_each(n, &ns->mqs, link)
		if (n->ino->uid == cred()->fsuid)
			sum += footprint(((struct mq *)n->ino->priv)->max, ((struct mq *)n->ino->priv)->size);
	return sum;
}

static int check_attr(const struct mq_attr *a)
{
	bool may = capable(CAP_SYS_RESOURCE);

	if (a->mq_maxmsg <= 0 || a->mq_msgsize <= 0)
		return -EINVAL;
	if (a->mq_maxmsg > (may ? HARD_MSGS : MSGS_MAX) || a->mq_msgsize > (may ? HARD_SIZE : SIZE_MAX_))
		return -EINVAL;
	return 0;
}

// The namespace's super block, which all its queues and mounts are of, made when the first needs it. mq_lock held. NULL: no memory.
static struct super *super_of(struct ipc_ns *ns)
{
	static const struct super_ops sops = {.evict = mq_evict};
	struct super *s = ns->mq_super;
	struct inode *root;

	if (s)
		return s;
	s = super_new("mqueue", &sops, MQUEUE_MAGIC);
	root = s ? inode_new(s, S_IFDIR | S_ISVTX | 0777) : NULL;
	if (!root) {
		if (s)
			super_put(s);
		return NULL;
	}
	root->uid = root->gid = 0;
	root->nlink = 2;
	root->iops = &dir_iops;
	root->fops = &dir_fops;
	s->root = root;
	s->priv = ns;
	ref_get(&s->active); // it keeps its root however often it is unmounted
	ns->mq_super = s;
	return s;
}

// A new queue with a name. mq_lock held. ERR_PTR.
static struct inode *create(struct ipc_ns *ns, const char *text, u32 mode, const struct mq_attr *a)
{
	int r = check_attr(a);
	struct name *n = NULL;
	struct mq *q = NULL;
	struct inode *i = NULL;

	if (r)
		return ERR_PTR(r);
	if (ns->nmqs >= QUEUES_MAX && !capable(CAP_SYS_RESOURCE))
		return ERR_PTR(-ENOSPC);
	if (used_by_caller(ns) + footprint(a->mq_maxmsg, a->mq_msgsize) > RLIMIT(RLIMIT_MSGQUEUE))
		return ERR_PTR(-EMFILE);
	n = knew(struct name);
	q = knew(struct mq);
	i = n && q && super_of(ns) ? inode_new(ns->mq_super, S_IFREG | (mode & 07777 & ~cur_fs()->umask)) : NULL;
	if (!i) {
		kfree(n);
		kfree(q);
		return ERR_PTR(-ENOMEM);
	}
	COUNT(mqueues, 1);
	list_init(&q->msgs);
	waitq_init(&q->readers);
	waitq_init(&q->writers);
	q->max = a->mq_maxmsg;
	q->size = a->mq_msgsize;
	i->priv = q;
	i->iops = &mq_iops;
	i->fops = &mq_fops;
	i->size = FILE_BYTES;
	n->ino = i;
	strlcpy(n->text, text, sizeof(n->text));
	list_add_tail(&n->link, &ns->mqs);
	ns->nmqs++;
	return i;
}

// --- mount -t mqueue: the queues of the IPC namespace of who mounts it, as files that tell about them

// A reference; NULL once the namespace has gone.
static struct ipc_ns *ns_of(const struct inode *dir)
{
	struct ipc_ns *ns;

	mutex_lock(&supers_lock);
	ns = dir->sb->priv;
	if (ns && !ref_get_unless_zero(&ns->ns.ref))
		ns = NULL;
	mutex_unlock(&supers_lock);
	return ns;
}

static int text_of(char text[NAME_MAX_ + 1], const char *name, u32 len)
{
	if (len > NAME_MAX_)
		return -ENAMETOOLONG;
	memcpy(text, name, len);
	text[len] = 0;
	return 0;
}

static int dir_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct ipc_ns *ns = ns_of(dir);
	char text[NAME_MAX_ + 1];
	struct name *n = NULL;
	int r = text_of(text, name, len);

	if (!r && ns) {
		mutex_lock(&ns->mq_lock);
		n = find(ns, text);
		if (n) {
			*out = n->ino;
			inode_get(n->ino);
		}
		mutex_unlock(&ns->mq_lock);
	}
	ipc_ns_put(ns);
	return r ? r : n ? 0 : -ENOENT;
}

static int dir_create(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev, struct inode **out)
{
	struct mq_attr a = {.mq_maxmsg = DEFAULT_MSGS, .mq_msgsize = DEFAULT_SIZE};
	struct ipc_ns *ns = ns_of(dir);
	char text[NAME_MAX_ + 1];
	int r = (mode & S_IFMT) == S_IFREG ? text_of(text, name, len) : -EPERM;

	(void)rdev;
	if (!r && !ns)
		r = -EACCES;
	if (!r) {
		mutex_lock(&ns->mq_lock);
		*out = find(ns, text) ? ERR_PTR(-EEXIST) : create(ns, text, mode, &a);
		r = IS_ERR(*out) ? (int)PTR_ERR(*out) : 0;
		if (!r)
			inode_get(*out);
		mutex_unlock(&ns->mq_lock);
	}
	ipc_ns_put(ns);
	return r;
}

static int dir_unlink(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct ipc_ns *ns = ns_of(dir);
	char text[NAME_MAX_ + 1];
	struct name *n;
	int r = text_of(text, name, len);

	if (!r && !ns)
		r = -ENOENT;
	if (!r) {
		mutex_lock(&ns->mq_lock);
		n = find(ns, text);
		r = n && n->ino == ino ? 0 : -ENOENT;
		if (!r)
			name_drop(ns, n);
		mutex_unlock(&ns->mq_lock);
	}
	ipc_ns_put(ns);
	return r;
}

static int dir_readdir(struct file *f, struct dir_ctx *c)
{
	struct ipc_ns *ns = ns_of(f->inode);
	struct name *n;
	u64 pos = 2;

	if (!ns)
		return 0;
	mutex_lock(&ns->mq_lock);
	list_for_each(n, &ns->mqs, link) {
		if (pos++ < c->pos)
			continue;
		if (!c->emit(c, n->text, (u32)strlen(n->text), n->ino->ino, S_IFREG >> 12, pos))
			break;
	}
	mutex_unlock(&ns->mq_lock);
	ipc_ns_put(ns);
	return 0;
}

static const struct inode_ops dir_iops = {
	.lookup = dir_lookup, .create = dir_create, .unlink = dir_unlink, .setattr = mq_setattr, .no_cache = true};
static const struct file_ops dir_fops = {.readdir = dir_readdir};

// mount_lock is held.
static int mqueue_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	struct ipc_ns *ns = ipc_ns();
	struct super *s;

	(void)source, (void)flags, (void)data, (void)len;
	mutex_lock(&ns->mq_lock);
	s = super_of(ns);
	mutex_unlock(&ns->mq_lock);
	if (!s)
		return -ENOMEM;
	super_get(s);
	*out = s;
	return 0;
}

int mqueue_init(void) { return fs_register("mqueue", mqueue_mount); }

// --- mq_open, mq_unlink

// glibc takes the slash off: 0 and the name, or what Linux answers to a bad one.
static int get_name(char text[NAME_MAX_ + 1], const void __user *uname)
{
	ssize_t n = user_str(text, uname, NAME_MAX_ + 1);

	if (n < 0)
		return (int)n;
	if (!n)
		return -ENOENT;
	return strchr(text, '/') ? -EACCES : !strcmp(text, ".") || !strcmp(text, "..") ? -EACCES : 0;
}

static struct file *open_queue(struct inode *i, const char *text, int oflag)
{
	struct file *f = file_alloc(&mq_fops, i, (u32)(oflag & (O_ACCMODE | O_NONBLOCK)), NULL);
	char full[NAME_MAX_ + 2] = "/";

	if (IS_ERR_OR_NULL(f))
		return f ? f : ERR_PTR(-ENOMEM);
	if (can_write(f))
		__atomic_fetch_add(&i->writers, 1, __ATOMIC_ACQUIRE); // file_put counts it down
	strlcpy(full + 1, text, sizeof(full) - 1);
	f->path.dentry = d_anon(i, full);
	if (!f->path.dentry) {
		file_put(f);
		return ERR_PTR(-ENOMEM);
	}
	f->path.mnt = anon_mnt;
	mount_get(anon_mnt);
	return f;
}

long sys_mq_open(const void __user *uname, int oflag, u32 mode, const void __user *uattr)
{
	struct mq_attr a = {.mq_maxmsg = DEFAULT_MSGS, .mq_msgsize = DEFAULT_SIZE};
	static const u8 access[] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, 0};
	struct ipc_ns *ns = ipc_ns();
	char text[NAME_MAX_ + 1];
	struct inode *i = NULL;
	struct file *f;
	struct name *n;
	int r;

	if (uattr && copy_from_user(&a, uattr, sizeof(a)))
		return -EFAULT;
	r = get_name(text, uname);
	if (r)
		return r;
	mutex_lock(&ns->mq_lock);
	n = find(ns, text);
	if (n && (oflag & O_CREAT) && (oflag & O_EXCL))
		r = -EEXIST;
	else if (n && (oflag & O_ACCMODE) == O_ACCMODE)
		r = -EINVAL;
	else if (n)
		r = inode_permission(n->ino, access[oflag & O_ACCMODE]);
	else if (!(oflag & O_CREAT))
		r = -ENOENT;
	if (!r) {
		i = n ? n->ino : create(ns, text, mode, &a);
		r = IS_ERR(i) ? (int)PTR_ERR(i) : 0;
	}
	if (!r)
		inode_get(i);
	mutex_unlock(&ns->mq_lock);
	if (r)
		return r;
	f = open_queue(i, text, oflag);
	inode_put(i);
	if (IS_ERR(f))
		return PTR_ERR(f);
	r = fd_alloc(f, 0, true);
	if (r < 0)
		file_put(f);
	return r;
}

long sys_mq_unlink(const void __user *uname)
{
	struct ipc_ns *ns = ipc_ns();
	char text[NAME_MAX_ + 1];
	struct name *n;
	int r = get_name(text, uname);

	if (r)
		return r;
	mutex_lock(&ns->mq_lock);
	n = find(ns, text);
	r = !n ? -ENOENT : inode_owner(n->ino) ? 0 : -EACCES;
	if (!r)
		name_drop(ns, n);
	mutex_unlock(&ns->mq_lock);
	return r;
}

// --- sending and receiving

static struct file *mq_file(int fd, struct mq **q)
{
	struct file *f = fd_get(fd);

	if (f && f->ops != &mq_fops) {
		file_put(f);
		f = NULL;
	}
	*q = f ? f->inode->priv : NULL;
	return f;
}

// The deadline on CLOCK_REALTIME as one on CLOCK_MONOTONIC.
static int get_deadline(const void __user *uts, u64 *deadline)
{
	u64 ns, now;
	int r;

	*deadline = NO_DEADLINE;
	if (!uts)
		return 0;
	r = user_timespec(uts, &ns);
	now = ktime_real();
	if (!r)
		*deadline = ktime_deadline(ns > now ? ns - now : 0);
	return r;
}

// Sleeps until the queue may have changed. Locked on entry and on return.
static int await(struct mq *q, struct waitq *wq, u64 deadline)
{
	struct waiter w;
	u32 seq = task_seq();
	int r;

	waiter_init(&w);
	waitq_add(wq, &w);
	q->nreaders += wq == &q->readers;
	mutex_unlock(&q->lock);
	r = task_sleep(seq, deadline);
	waitq_del(wq, &w);
	mutex_lock(&q->lock);
	q->nreaders -= wq == &q->readers;
	return r == -EINTR ? -ERESTARTSYS : r;
}

// The first message in an empty queue that nobody waits for. Locked.
static void notify(struct mq *q)
{
	siginfo_t si;

	if (!q->owner)
		return;
	if (q->notify == SIGEV_SIGNAL_) {
		memset(&si, 0, sizeof(si));
		si.si_signo = q->signo;
		si.si_code = SI_MESGQ;
		si.si_pid = curproc->pid;
		si.si_uid = cred()->uid;
		si.si_ptr = (void *)q->value;
		signal_send_proc(q->owner, q->signo, &si);
	}
	forget_owner(q, NOTIFY_WOKENUP);
}

static void insert(struct mq *q, struct mqmsg *m)
{
	struct list *at = q->msgs.prev;

	while (at != &q->msgs && list_entry(at, struct mqmsg, link)->prio < m->prio)
		at = at->prev;
	list_insert(&m->link, at, at->next);
	q->count++;
	q->bytes += m->n;
}

long sys_mq_timedsend(int fd, const void __user *text, size_t n, u32 prio, const void __user *uts)
{
	struct mqmsg *m = NULL;
	struct file *f;
	struct mq *q;
	u64 deadline;
	long r = get_deadline(uts, &deadline);

	if (r)
		return r;
	if (prio >= MQ_PRIO_MAX)
		return -EINVAL;
	f = mq_file(fd, &q);
	if (!f || !can_write(f)) {
		r = -EBADF;
		goto out;
	}
	r = -EMSGSIZE;
	if (n > (size_t)q->size)
		goto out;
	r = -ENOMEM;
	m = kmalloc(sizeof(*m) + n);
	if (!m)
		goto out;
	m->prio = prio;
	m->n = (u32)n;
	r = copy_from_user(m->text, text, n);
	if (r)
		goto out;
	mutex_lock(&q->lock);
	while (!r && q->count >= q->max)
		r = f->flags & O_NONBLOCK ? -EAGAIN : await(q, &q->writers, deadline);
	if (!r || (r != -EAGAIN && q->count < q->max)) {
		r = 0;
		insert(q, m);
		m = NULL;
		COUNT(messages, 1);
		if (q->count == 1 && !q->nreaders)
			notify(q);
		waitq_wake(&q->readers, EPOLLIN | EPOLLRDNORM);
	}
	mutex_unlock(&q->lock);
out:
	kfree(m);
	if (f)
		file_put(f);
	return r;
}

long sys_mq_timedreceive(int fd, void __user *text, size_t n, void __user *uprio, const void __user *uts)
{
	struct mqmsg *m = NULL;
	struct file *f;
	struct mq *q;
	u64 deadline;
	long r = get_deadline(uts, &deadline);

	if (r)
		return r;
	f = mq_file(fd, &q);
	if (!f || !can_read(f)) {
		r = -EBADF;
		goto out;
	}
	r = -EMSGSIZE;
	if (n < (size_t)q->size)
		goto out;
	r = 0;
	mutex_lock(&q->lock);
	while (!r && !q->count)
		r = f->flags & O_NONBLOCK ? -EAGAIN : await(q, &q->readers, deadline);
	if (q->count) {
		m = list_first(&q->msgs, struct mqmsg, link);
		list_del(&m->link);
		q->count--;
		q->bytes -= m->n;
		COUNT(messages, -1);
		waitq_wake(&q->writers, EPOLLOUT | EPOLLWRNORM);
	}
	mutex_unlock(&q->lock);
	if (!m)
		goto out;
	r = (long)m->n;
	if (copy_to_user(text, m->text, m->n) || (uprio && put_user(m->prio, (u32 __user *)uprio)))
		r = -EFAULT;
out:
	kfree(m);
	if (f)
		file_put(f);
	return r;
}

// --- mq_notify, mq_getsetattr

static int check_event(const struct sigevent_ *e)
{
	if (e->notify == SIGEV_NONE_)
		return 0;
	if (e->notify == SIGEV_SIGNAL_)
		return e->signo < 0 || e->signo > NSIG ? -EINVAL : 0;
	return e->notify == SIGEV_THREAD_ ? 0 : -EINVAL;
}

long sys_mq_notify(int fd, const void __user *uevent)
{
	struct file *f = NULL, *nl = NULL;
	u8 cookie[NOTIFY_COOKIE_LEN];
	struct sigevent_ e;
	struct mq *q;
	long r = 0;

	if (uevent) {
		if (copy_from_user(&e, uevent, sizeof(e)))
			return -EFAULT;
		r = check_event(&e);
		if (r)
			return r;
		if (e.notify == SIGEV_THREAD_) {
			if (copy_from_user(cookie, U(e.value), sizeof(cookie)))
				return -EFAULT;
			nl = fd_get(e.signo);
			r = !nl ? -EBADF : netlink_is(nl) ? 0 : -EINVAL;
			if (r)
				goto out;
		}
	}
	f = mq_file(fd, &q);
	r = -EBADF;
	if (!f)
		goto out;
	r = 0;
	mutex_lock(&q->lock);
	if (!uevent) {
		if (q->owner == curproc)
			forget_owner(q, NOTIFY_REMOVED);
	} else if (q->owner) {
		r = -EBUSY;
	} else {
		q->notify = e.notify;
		q->signo = e.signo;
		q->value = e.value;
		q->owner = curproc;
		ref_get(&curproc->ref);
		if (nl) {
			memcpy(q->cookie, cookie, sizeof(cookie));
			q->netlink = nl;
			nl = NULL;
		}
	}
	mutex_unlock(&q->lock);
out:
	if (nl)
		file_put(nl);
	if (f)
		file_put(f);
	return r;
}

long sys_mq_getsetattr(int fd, const void __user *unew, void __user *uold)
{
	struct mq_attr new, old = {0};
	struct file *f;
	struct mq *q;
	long r = 0;

	if (unew) {
		if (copy_from_user(&new, unew, sizeof(new)))
			return -EFAULT;
		if (new.mq_flags & ~(long)O_NONBLOCK)
			return -EINVAL;
	}
	f = mq_file(fd, &q);
	if (!f)
		return -EBADF;
	mutex_lock(&q->lock);
	old.mq_flags = f->flags & O_NONBLOCK;
	old.mq_maxmsg = q->max;
	old.mq_msgsize = q->size;
	old.mq_curmsgs = q->count;
	if (unew)
		f->flags = (f->flags & ~(u32)O_NONBLOCK) | (u32)new.mq_flags;
	mutex_unlock(&q->lock);
	if (uold && copy_to_user(uold, &old, sizeof(old)))
		r = -EFAULT;
	file_put(f);
	return r;
}

// --- the descriptor

static u32 mq_poll(struct file *f, struct poll_table *pt)
{
	struct mq *q = f->inode->priv;
	u32 ev;

	poll_wait(pt, &q->readers);
	poll_wait(pt, &q->writers);
	mutex_lock(&q->lock);
	ev = (q->count ? EPOLLIN | EPOLLRDNORM : 0) | (q->count < q->max ? EPOLLOUT | EPOLLWRNORM : 0);
	mutex_unlock(&q->lock);
	return ev;
}

// The state in words, as a queue's file shows it.
static ssize_t mq_read(struct file *f, struct iter *it, u64 *pos)
{
	struct mq *q = f->inode->priv;
	char line[FILE_BYTES];
	size_t n, done = 0;

	mutex_lock(&q->lock);
	n = (size_t)scnprintf(line, sizeof(line), "QSIZE:%-10lu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", q->bytes,
			      q->owner ? q->notify : 0, q->owner && q->notify == SIGEV_SIGNAL_ ? q->signo : 0,
			      q->owner ? pid_out(q->owner->pid) : 0);
	mutex_unlock(&q->lock);
	while (it->left && *pos < n) {
		size_t k = iter_put(it, line + *pos, n - *pos);
		*pos += k;
		done += k;
		if (it->left && *pos < n && iter_fault_in(it, true))
			return done ? (ssize_t)done : -EFAULT;
	}
	return (ssize_t)done;
}

// Closing one of its descriptors ends a process's wish to be notified.
static int mq_flush(struct file *f)
{
	struct mq *q = f->inode->priv;

	mutex_lock(&q->lock);
	if (q->owner == curproc)
		forget_owner(q, NOTIFY_REMOVED);
	mutex_unlock(&q->lock);
	return 0;
}

static const struct file_ops mq_fops = {.read = mq_read, .poll = mq_poll, .flush = mq_flush, .llseek = generic_llseek};
