// SPDX-License-Identifier: Apache-2.0
// inotify(7), and dnotify, the older fcntl(F_NOTIFY). A watch holds a reference on its inode, which lists its watches; the VFS calls fsnotify only when that
// list, or the parent directory's, is not empty.
// Locks: inotify_lock (all watches, lists and queues; leaf but for waitq). fsnotify may be called with inode locks
// held, so inodes are released after the lock.
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"
#include "kernel/fs/sigio.h"
#include <linux/magic.h>

#define MAX_EVENTS 16384u
#define SELF_ONLY  (IN_DELETE_SELF | IN_MOVE_SELF)
#define DIR_ONLY   (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

#define DN_RENAMED 0x10000000u // a rename within one directory, for dnotify alone

struct group;

struct watch {
	struct watch *next_on_inode;
	struct list link; // group->watches, then a local list of the dying
	struct group *group; // NULL: dnotify
	struct inode *inode; // reference
	int wd;
	u32 mask;
	struct file *file;      // dnotify: no reference, the entry goes when the descriptor is closed
	struct fdtable *files;  // the table that it lies in
};

struct note { // a dnotify signal that is to be sent
	struct list link;
	struct sigio_target to;
};

struct aftermath { // what is done without inotify_lock
	struct list dead, notes;
};

struct event {
	struct list link;
	int wd;
	u32 mask, cookie, len; // len: of name with its NUL, padded; 0 without a name
	char name[];
};

struct group {
	struct list watches, events;
	u32 nevents, last_wd;
	struct waitq q;
};

static struct mutex inotify_lock;
static const struct file_ops inotify_fops;
static u32 nwatches;	// of all groups: none is the common case
static u32 next_cookie; // ties the two halves of a rename together

// --- queue (inotify_lock held)

static bool same_as_last(struct group *g, int wd, u32 mask, u32 cookie, const char *name)
{
	struct event *e;

	if (list_empty(&g->events))
		return false;
	e = list_entry(g->events.prev, struct event, link);
	if (e->wd != wd || e->mask != mask || e->cookie != cookie || !e->len != !name)
		return false;
	return !name || !strcmp(e->name, name);
}

static void queue(struct group *g, int wd, u32 mask, u32 cookie, const char *name)
{
	u32 n = name ? strlen(name) + 1 : 0, len = ALIGN_UP(n, (u32)sizeof(struct inotify_event));
	struct event *e;

	if (same_as_last(g, wd, mask, cookie, name))
		return;
	if (g->nevents == MAX_EVENTS) {
		if (same_as_last(g, -1, IN_Q_OVERFLOW, 0, NULL))
			return;
		wd = -1;
		mask = IN_Q_OVERFLOW;
		cookie = len = n = 0;
	}
	e = kzalloc(sizeof(*e) + len);
	if (!e)
		return;
	e->wd = wd;
	e->mask = mask;
	e->cookie = cookie;
	e->len = len;
	if (n)
		memcpy(e->name, name, n);
	list_add_tail(&e->link, &g->events);
	g->nevents++;
	waitq_wake(&g->q, EPOLLIN | EPOLLRDNORM);
}

// Takes a watch off its inode and group; it goes to `dead`, to be freed without the lock.
static void watch_remove(struct watch *w, struct aftermath *a)
{
	struct watch **pp = (struct watch **)&w->inode->watches;

	while (*pp != w)
		pp = &(*pp)->next_on_inode;
	*pp = w->next_on_inode;
	nwatches--;
	list_del(&w->link);
	list_add_tail(&w->link, &a->dead);
}

static void aftermath_init(struct aftermath *a)
{
	list_init(&a->dead);
	list_init(&a->notes);
}

static void finish(struct aftermath *a)
{
	struct watch *w, *tmp;
	struct note *n, *next;

	list_for_each_safe (w, tmp, &a->dead, link) {
		inode_put(w->inode);
		kfree(w);
	}
	list_for_each_safe (n, next, &a->notes, link) {
		sigio_send(&n->to, SIGIO, POLL_MSG, EPOLLIN | EPOLLRDNORM | EPOLLMSG);
		kfree(n);
	}
}

// dnotify tells about what lies in a directory, by a signal, once unless DN_MULTISHOT was asked for.
static void dnotify_tell(struct watch *w, struct aftermath *a)
{
	struct note *n = knew(struct note);

	if (n) {
		n->to = sigio_target(w->file);
		n->to.fd = w->wd;
		list_add_tail(&n->link, &a->notes);
	}
	if (w->mask & IN_ONESHOT)
		watch_remove(w, a);
}

static void tell(struct inode *ino, u32 mask, u32 flags, u32 cookie, const char *name, struct aftermath *a)
{
	struct watch *w, *next;

	for (w = ino->watches; w; w = next) {
		next = w->next_on_inode;
		if (!w->group) {
			if (name && w->mask & mask)
				dnotify_tell(w, a);
			continue;
		}
		if (w->mask & mask) {
			queue(w->group, w->wd, (mask & ~DN_RENAMED) | flags, cookie, name);
			if (w->mask & IN_ONESHOT) {
				queue(w->group, w->wd, IN_IGNORED, 0, NULL);
				watch_remove(w, a);
				continue;
			}
		}
		if (mask & IN_DELETE_SELF) {
			queue(w->group, w->wd, IN_IGNORED, 0, NULL);
			watch_remove(w, a);
		}
	}
}

void fsnotify(struct inode *dir, struct inode *ino, const char *name, u32 mask)
{
	u32 flags = mask & IN_ISDIR || (ino && is_dir(ino)) ? IN_ISDIR : 0;
	struct aftermath a;

	mask &= ~IN_ISDIR;
	aftermath_init(&a);
	mutex_lock(&inotify_lock);
	if (dir && dir->watches && !(mask & SELF_ONLY))
		tell(dir, mask, flags, 0, name, &a);
	if (ino && ino->watches && !(mask & DIR_ONLY))
		tell(ino, mask, mask & SELF_ONLY ? 0 : flags, 0, NULL, &a);
	mutex_unlock(&inotify_lock);
	finish(&a);
}

void fsnotify_move(struct inode *from, const char *from_name, struct inode *to, const char *to_name, struct inode *ino)
{
	u32 flags = is_dir(ino) ? IN_ISDIR : 0, cookie;
	struct aftermath a;

	if (likely(!from->watches && !to->watches && !ino->watches))
		return;
	aftermath_init(&a);
	mutex_lock(&inotify_lock);
	cookie = ++next_cookie;
	tell(from, IN_MOVED_FROM | (from == to ? DN_RENAMED : 0), flags, cookie, from_name, &a);
	tell(to, IN_MOVED_TO, flags, cookie, to_name, &a);
	tell(ino, IN_MOVE_SELF, 0, 0, NULL, &a);
	mutex_unlock(&inotify_lock);
	finish(&a);
}

void fsnotify_name(struct dentry *d, u32 mask)
{
	char name[NAME_MAX_ + 1], *end = name + NAME_MAX_;
	struct dentry *parent;
	struct inode *dir = NULL;
	bool watched;
	u32 len = 0;

	if (likely(!__atomic_load_n(&nwatches, __ATOMIC_RELAXED)))
		return;
	read_lock(&dcache_lock); // a rename may take the parent away at any time
	parent = d_name_locked(d, end, NAME_MAX_, &len);
	*end = 0;
	if (len > NAME_MAX_) // of a nameless object
		len = 0;
	if (parent != d)
		dir = parent->inode;
	watched = (dir && dir->watches) || (d->inode && d->inode->watches);
	if (watched && dir)
		inode_get(dir);
	read_unlock(&dcache_lock);
	if (watched) {
		fsnotify(dir, d->inode, end - len, mask);
		inode_put(dir);
	}
}

// --- the descriptor

static ssize_t inotify_read(struct file *f, struct iter *it, u64 *pos)
{
	struct group *g = f->priv;
	ssize_t done = 0;
	int r = 0;

	(void)pos;
	for (;;) {
		struct event *e = NULL;
		struct inotify_event head;
		struct iter saved = *it;

		mutex_lock(&inotify_lock);
		if (!list_empty(&g->events)) {
			e = list_first(&g->events, struct event, link);
			if (sizeof(head) + e->len > it->left) {
				r = done ? 0 : -EINVAL;
				mutex_unlock(&inotify_lock);
				break;
			}
			list_del(&e->link);
			g->nevents--;
		}
		mutex_unlock(&inotify_lock);
		if (!e) {
			if (done || r)
				break;
			if (f->flags & O_NONBLOCK)
				return -EAGAIN;
			r = WAIT_EVENT(&g->q, NO_DEADLINE, __atomic_load_n(&g->nevents, __ATOMIC_ACQUIRE))
				    ? -ERESTARTSYS
				    : 0;
			if (r)
				return r;
			continue;
		}
		head = (struct inotify_event){.wd = e->wd, .mask = e->mask, .cookie = e->cookie, .len = e->len};
		while (!r &&
		       (iter_put(it, &head, sizeof(head)) != sizeof(head) || iter_put(it, e->name, e->len) != e->len)) {
			r = iter_fault_in(it, true);
			iter_revert(it, &saved);
		}
		if (!r)
			done += sizeof(head) + e->len;
		kfree(e);
		if (r)
			break;
	}
	return done ? done : r;
}

static u32 inotify_poll(struct file *f, struct poll_table *pt)
{
	struct group *g = f->priv;
	u32 n;

	poll_wait(pt, &g->q);
	mutex_lock(&inotify_lock);
	n = g->nevents;
	mutex_unlock(&inotify_lock);
	return n ? EPOLLIN | EPOLLRDNORM : 0;
}

static long inotify_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct group *g = f->priv;
	struct event *e;
	int n = 0;

	if (cmd != 0x541B /* FIONREAD */)
		return -ENOTTY;
	mutex_lock(&inotify_lock);
	list_for_each (e, &g->events, link)
		n += sizeof(struct inotify_event) + e->len;
	mutex_unlock(&inotify_lock);
	return put_user(n, U(arg));
}

static void inotify_release(struct file *f)
{
	struct group *g = f->priv;
	struct event *e, *tmp;
	struct aftermath a;

	aftermath_init(&a);
	mutex_lock(&inotify_lock);
	while (!list_empty(&g->watches))
		watch_remove(list_first(&g->watches, struct watch, link), &a);
	mutex_unlock(&inotify_lock);
	finish(&a);
	list_for_each_safe (e, tmp, &g->events, link)
		kfree(e);
	COUNT(inotifies, -1);
	kfree(g);
}

static const struct file_ops inotify_fops = {
	.read = inotify_read,
	.llseek = no_llseek,
	.poll = inotify_poll,
	.ioctl = inotify_ioctl,
	.release = inotify_release,
	.stream = true,
};

// For /proc/PID/fdinfo: one line a watch. Returns the length needed.
size_t inotify_fdinfo(struct file *f, char *buf, size_t n)
{
	struct group *g = f->priv;
	struct watch *w;
	size_t len = 0;

	if (f->ops != &inotify_fops)
		return 0;
	mutex_lock(&inotify_lock);
	list_for_each (w, &g->watches, link)
		len += snprintf(len < n ? buf + len : NULL, len < n ? n - len : 0,
				"inotify wd:%x ino:%lx sdev:%lx mask:%x ignored_mask:0\n", w->wd, w->inode->ino,
				w->inode->sb->dev, w->mask);
	mutex_unlock(&inotify_lock);
	return len;
}

long sys_inotify_init1(int flags)
{
	struct group *g;
	struct file *f;
	long fd;

	if (flags & ~(IN_CLOEXEC | IN_NONBLOCK))
		return -EINVAL;
	g = knew(struct group);
	if (!g)
		return -ENOMEM;
	list_init(&g->watches);
	list_init(&g->events);
	waitq_init(&g->q);
	f = anon_file("inotify", &inotify_fops, O_RDONLY | (flags & O_NONBLOCK), g);
	if (IS_ERR_OR_NULL(f)) {
		kfree(g);
		return f ? PTR_ERR(f) : -ENOMEM;
	}
	COUNT(inotifies, 1);
	fd = fd_alloc(f, 0, flags & O_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}

long sys_inotify_init(void) { return sys_inotify_init1(0); }

static struct group *group_get(int fd, struct file **f, long *r)
{
	*f = fd_get(fd);
	*r = -EBADF;
	if (!*f)
		return NULL;
	if ((*f)->ops == &inotify_fops)
		return (*f)->priv;
	file_put(*f);
	*r = -EINVAL;
	return NULL;
}

// inotify_lock held. `w`: ready-made, used when the inode has none of this group; returns what remains unused.
static struct watch *set_watch(struct group *g, struct inode *ino, u32 mask, struct watch *w, long *wd)
{
	struct watch *o;

	for (o = ino->watches; o; o = o->next_on_inode)
		if (o->group == g)
			break;
	if (o) {
		*wd = mask & IN_MASK_CREATE ? -EEXIST : o->wd;
		if (*wd >= 0)
			o->mask = (mask & IN_MASK_ADD ? o->mask : 0) | (mask & ~(IN_MASK_ADD | IN_MASK_CREATE));
		return w;
	}
	w->group = g;
	w->inode = ino;
	inode_get(ino);
	w->mask = mask & ~(IN_MASK_ADD | IN_MASK_CREATE);
	*wd = w->wd = ++g->last_wd;
	w->next_on_inode = ino->watches;
	ino->watches = w;
	nwatches++;
	list_add_tail(&w->link, &g->watches);
	return NULL;
}

long sys_inotify_add_watch(int fd, const void __user *name, u32 mask)
{
	struct watch *w = NULL;
	struct group *g;
	struct path p;
	struct file *f;
	long r;

	if (!(mask & IN_ALL_EVENTS) || (mask & (IN_MASK_ADD | IN_MASK_CREATE)) == (IN_MASK_ADD | IN_MASK_CREATE))
		return -EINVAL;
	g = group_get(fd, &f, &r);
	if (!g)
		return r;
	r = path_lookup_user(AT_FDCWD, name,
			     (mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW) | (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0),
			     &p);
	if (r)
		goto out;
	r = inode_permission(p.dentry->inode, MAY_READ);
	if (!r && !(w = knew(struct watch)))
		r = -ENOMEM;
	if (!r) {
		mutex_lock(&inotify_lock);
		w = set_watch(g, p.dentry->inode,
			      mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK | IN_MASK_ADD | IN_MASK_CREATE), w,
			      &r);
		mutex_unlock(&inotify_lock);
		kfree(w);
	}
	path_put(&p);
out:
	file_put(f);
	return r;
}

long sys_inotify_rm_watch(int fd, int wd)
{
	struct watch *w, *found = NULL;
	struct group *g;
	struct aftermath a;
	struct file *f;
	long r;

	g = group_get(fd, &f, &r);
	if (!g)
		return r;
	aftermath_init(&a);
	mutex_lock(&inotify_lock);
	list_for_each (w, &g->watches, link)
		if (w->wd == wd)
			found = w;
	if (found) {
		queue(g, wd, IN_IGNORED, 0, NULL);
		watch_remove(found, &a);
	}
	mutex_unlock(&inotify_lock);
	finish(&a);
	file_put(f);
	return found ? 0 : -EINVAL;
}

// --- dnotify

static u32 dnotify_mask(u32 arg)
{
	return (arg & DN_ACCESS ? IN_ACCESS : 0) | (arg & DN_MODIFY ? IN_MODIFY : 0) | (arg & DN_ATTRIB ? IN_ATTRIB : 0) |
	       (arg & DN_CREATE ? IN_CREATE | IN_MOVED_TO : 0) | (arg & DN_DELETE ? IN_DELETE | IN_MOVED_FROM : 0) |
	       (arg & DN_RENAME ? DN_RENAMED : 0) | (arg & DN_MULTISHOT ? 0 : IN_ONESHOT);
}

static struct watch *dnotify_find(struct file *f, struct fdtable *t)
{
	struct watch *w;

	for (w = f->inode->watches; w; w = w->next_on_inode)
		if (!w->group && w->file == f && w->files == t)
			return w;
	return NULL;
}

void dnotify_close(struct file *f, struct fdtable *t)
{
	struct aftermath a;
	struct watch *w;

	aftermath_init(&a);
	mutex_lock(&inotify_lock);
	w = dnotify_find(f, t);
	if (w)
		watch_remove(w, &a);
	mutex_unlock(&inotify_lock);
	finish(&a);
}

long dnotify_set(struct file *f, int fd, u32 arg);
long dnotify_set(struct file *f, int fd, u32 arg)
{
	struct watch *w, *o;

	if (!(arg & ~DN_MULTISHOT)) {
		dnotify_close(f, current->files);
		return 0;
	}
	if (!is_dir(f->inode))
		return -ENOTDIR;
	w = knew(struct watch);
	if (!w)
		return -ENOMEM;
	sigio_default_owner(f, fd, curproc->pid);
	mutex_lock(&inotify_lock);
	o = dnotify_find(f, current->files);
	if (o) { // asked again: the events add up
		u32 more = dnotify_mask(arg);

		o->mask = (o->mask | more) & ~(more & IN_ONESHOT && o->mask & IN_ONESHOT ? 0 : IN_ONESHOT);
	} else {
		w->inode = f->inode;
		inode_get(w->inode);
		w->wd = fd;
		w->mask = dnotify_mask(arg);
		w->file = f;
		w->files = current->files;
		w->next_on_inode = f->inode->watches;
		f->inode->watches = w;
		list_init(&w->link);
		nwatches++;
		f->dnotify = true;
		w = NULL;
	}
	mutex_unlock(&inotify_lock);
	kfree(w);
	return 0;
}
