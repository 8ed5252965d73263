// SPDX-License-Identifier: Apache-2.0
// The cgroup2 file system: a directory is a group (task/cgroup.c), its files are in cgroup_files.c. There is one tree, however often it is
// mounted; a mount made in a cgroup namespace shows that namespace's root as its own. An inode is made once and stays with its group, so that
// owners, modes and watches stay. Locks: mount_lock -> directory's inode lock -> tasklist; inodes_lock; a text's own lock.
#include "kernel/fs/cgroupfs.h"
#include "kernel/fs/fs.h"
#include <linux/magic.h>

#define WRITE_MAX 4096u

struct node { // inode->priv
	struct cgroup *g; // reference
	const struct cfile *f; // NULL: the directory
};

static struct super *sb;
static struct mutex inodes_lock; // pointers to inodes in groups: leaf
static const struct inode_ops dir_iops;
static const struct file_ops dir_fops, file_fops;

static struct cgroup *group_of(const struct inode *i) { return ((const struct node *)i->priv)->g; }

static struct inode *make(struct cgroup *g, const struct cfile *f, u32 mode)
{
	struct node *n = knew(struct node);
	struct inode *i = n ? inode_new(sb, mode) : NULL;

	if (!i) {
		kfree(n);
		return NULL;
	}
	*n = (struct node){g, f};
	cgroup_get(g);
	i->priv = n;
	i->ino = g->id + (f ? 1 + (u64)(f - cgroup_files) : 0);
	i->iops = f ? &plain_iops : &dir_iops;
	i->fops = f ? &file_fops : &dir_fops;
	if (!f)
		i->nlink = 2;
	return i;
}

static void evict(struct inode *i)
{
	struct node *n = i->priv;

	if (n)
		cgroup_put(n->g);
	kfree(n);
}

// --- directories

static struct cgroup *child(struct cgroup *g, const char *name, u32 len)
{
	struct cgroup *c, *found = NULL;

	mutex_lock(&tasklist);
	list_for_each (c, &g->children, sibling)
		if (strlen(c->name) == len && !memcmp(c->name, name, len)) {
			found = c;
			cgroup_get(c);
		}
	mutex_unlock(&tasklist);
	return found;
}

static const struct cfile *file_named(const struct cgroup *g, const char *name, u32 len)
{
	for (const struct cfile *f = cgroup_files; f < cgroup_files + cgroup_nfiles; f++)
		if (strlen(f->name) == len && !memcmp(f->name, name, len) && cgroup_file_there(f, g))
			return f;
	return NULL;
}

// The inode in *at, made if it is not there yet, with a reference for the caller. The directory's lock is held.
static int show(struct inode **at, struct cgroup *g, const struct cfile *f, struct inode *dir, struct inode **out)
{
	if (!*at && (*out = make(g, f, f ? S_IFREG | f->mode : S_IFDIR | 0755))) {
		(*out)->uid = dir->uid;
		(*out)->gid = dir->gid;
		mutex_lock(&inodes_lock);
		*at = *out;
		mutex_unlock(&inodes_lock);
	}
	*out = *at;
	if (*out)
		inode_get(*out);
	return *out ? 0 : -ENOMEM;
}

static int lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct cgroup *g = group_of(dir), *c = child(g, name, len);
	const struct cfile *f = file_named(g, name, len);
	int r = -ENOENT;

	if (c) {
		r = show(&c->dir, c, NULL, dir, out);
		cgroup_put(c);
	} else if (f && !g->dead) {
		r = show(&g->file[f - cgroup_files], g, f, dir, out);
	}
	return r;
}

static int mkdir(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	struct cgroup *g = group_of(dir), *c;
	int r;

	if (memchr(name, '\n', len))
		return -EINVAL;
	c = cgroup_new(g, name, len, &r);
	if (!c)
		return r;
	c->dir = make(c, NULL, mode);
	if (!c->dir) {
		cgroup_remove(c);
		cgroup_put(c);
		cgroup_put(c);
		return -ENOMEM;
	}
	*out = c->dir;
	inode_get(*out);
	dir->nlink++;
	cgroup_put(c);
	cgroup_news();
	return 0;
}

static void drop_inode(struct inode **at)
{
	struct inode *i = *at;

	mutex_lock(&inodes_lock);
	*at = NULL;
	mutex_unlock(&inodes_lock);
	if (i)
		i->nlink = 0;
	inode_put(i);
}

static int rmdir(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct cgroup *g = group_of(ino);
	int r;

	(void)name;
	(void)len;
	mutex_lock(&ino->lock);
	r = cgroup_remove(g);
	if (!r)
		ino->nlink = 0;
	mutex_unlock(&ino->lock);
	if (r)
		return r;
	dir->nlink--;
	for (u32 i = 0; i < CG_FILES; i++)
		drop_inode(&g->file[i]);
	drop_inode(&g->dir);
	cgroup_news();
	cgroup_put(g); // the tree's
	return 0;
}

// Files first, then groups in the order of their numbers.
static int readdir(struct file *f, struct dir_ctx *c)
{
	struct cgroup *g = group_of(f->inode), *next;

	for (u64 i = c->pos - 2; i < cgroup_nfiles; i++, c->pos = i + 2) {
		const struct cfile *e = &cgroup_files[i];
		if (cgroup_file_there(e, g) && !c->emit(c, e->name, (u32)strlen(e->name), g->id + 1 + i, S_IFREG >> 12, i + 3))
			return 0;
	}
	do {
		char name[256];
		struct cgroup *s;
		u64 id = U64_MAX;

		next = NULL;
		mutex_lock(&tasklist);
		list_for_each (s, &g->children, sibling)
			if (s->id >= c->pos && s->id < id) {
				next = s;
				id = s->id;
			}
		if (next)
			strlcpy(name, next->name, sizeof(name));
		mutex_unlock(&tasklist);
		if (next && !c->emit(c, name, (u32)strlen(name), id, S_IFDIR >> 12, id + 1))
			return 0;
	} while (next);
	return 0;
}

static const struct inode_ops dir_iops = {.lookup = lookup, .mkdir = mkdir, .rmdir = rmdir, .setattr = setattr_plain};
static const struct file_ops dir_fops = {.readdir = readdir};

static struct inode *inode_at(struct inode **at)
{
	struct inode *i;

	mutex_lock(&inodes_lock);
	i = *at;
	if (i)
		inode_get(i);
	mutex_unlock(&inodes_lock);
	return i;
}

// Names of groups are cached; of their files, those of a controller come and go.
static void forget_below(struct cgroup *g, u32 controllers)
{
	struct inode *dir = inode_at(&g->dir);

	for (u32 i = 0; i < cgroup_nfiles; i++)
		if (cgroup_files[i].controller & controllers && dir)
			dcache_invalidate(dir, cgroup_files[i].name, (u32)strlen(cgroup_files[i].name));
	inode_put(dir);
}

void cgroupfs_forget(struct cgroup *g, u32 controllers)
{
	struct cgroup *c;

	for (u64 after = 0;;) {
		struct cgroup *next = NULL;

		mutex_lock(&tasklist);
		list_for_each (c, &g->children, sibling)
			if (c->id > after && (!next || c->id < next->id))
				next = c;
		if (next)
			cgroup_get(next);
		mutex_unlock(&tasklist);
		if (!next)
			return;
		after = next->id;
		forget_below(next, controllers);
		cgroup_put(next);
	}
}

// --- files: a text is made when it is read from position 0 and kept until then

struct text {
	struct mutex lock;
	struct pout o;
	u32 seq; // of the event that the reader knows
	struct cg_opener *by; // of files that move processes
};

static struct cg_opener *opener(void)
{
	struct cg_opener *by = knew(struct cg_opener);

	if (!by)
		return NULL;
	by->cred = cred_dup(cred());
	if (!by->cred) {
		kfree(by);
		return NULL;
	}
	mutex_lock(&tasklist); // another thread may leave the namespace
	by->top = cgroup_ns_root();
	cgroup_get(by->top);
	mutex_unlock(&tasklist);
	return by;
}

static void close_opener(struct cg_opener *by)
{
	if (!by)
		return;
	cgroup_put(by->top);
	cred_free(by->cred);
	kfree(by);
}

static int open(struct inode *ino, struct file *f)
{
	const struct cfile *c = ((struct node *)ino->priv)->f;
	struct text *t;

	t = knew(struct text);
	if (!t)
		return -ENOMEM;
	if (c->where & CG_MOVES && !(t->by = opener())) {
		kfree(t);
		return -ENOMEM;
	}
	if (c->event)
		t->seq = group_of(ino)->seq[c->event - 1];
	f->priv = t;
	return 0;
}

static ssize_t read(struct file *f, struct iter *it, u64 *pos)
{
	struct node *n = f->inode->priv;
	struct text *t = f->priv;
	ssize_t done = 0;
	int r = 0;

	if (n->g->dead || !n->f->text)
		return n->g->dead ? -ENODEV : -EINVAL;
	mutex_lock(&t->lock);
	if (*pos == 0 || !t->o.p) {
		t->o.len = 0;
		if (n->f->event)
			t->seq = __atomic_load_n(&n->g->seq[n->f->event - 1], __ATOMIC_SEQ_CST);
		r = n->f->text(&t->o, n->g);
		if (!r && t->o.failed)
			r = -ENOMEM;
	}
	while (!r && it->left && *pos < t->o.len) {
		size_t want = min(it->left, t->o.len - *pos), got = iter_put(it, t->o.p + *pos, want);

		*pos += got;
		done += (ssize_t)got;
		if (got < want) {
			mutex_unlock(&t->lock);
			r = iter_fault_in(it, true);
			mutex_lock(&t->lock);
		}
	}
	mutex_unlock(&t->lock);
	return done ? done : r;
}

static ssize_t write(struct file *f, struct iter *it, u64 *pos)
{
	struct node *n = f->inode->priv;
	const struct text *t = f->priv;
	size_t len = min(it->left, (size_t)WRITE_MAX);
	struct iter saved = *it;
	ssize_t r = 0;
	char *buf;

	if (n->g->dead || (!n->f->write && !t->by))
		return n->g->dead ? -ENODEV : -EINVAL;
	buf = kmalloc(len + 1);
	if (!buf)
		return -ENOMEM;
	while (!r && iter_get(it, buf, len) != len) {
		r = iter_fault_in(it, false);
		iter_revert(it, &saved);
	}
	if (!r) {
		char *start = buf, *end = buf + len;

		*end = 0;
		while (end > start && (u8)end[-1] <= ' ')
			*--end = 0;
		while (*start && (u8)*start <= ' ')
			start++;
		r = t->by ? cgroup_write_procs(n->g, start, len, n->f->where & CG_MOVES_THREAD, t->by) : n->f->write(n->g, start, len);
		if (r > 0)
			*pos += (u64)r;
	}
	kfree(buf);
	cgroup_news();
	return r;
}

static u32 poll(struct file *f, struct poll_table *pt)
{
	struct node *n = f->inode->priv;
	struct text *t = f->priv;

	if (!n->f->event)
		return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
	poll_wait(pt, &n->g->wq);
	return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM |
	       (t->seq != __atomic_load_n(&n->g->seq[n->f->event - 1], __ATOMIC_SEQ_CST) ? EPOLLPRI | EPOLLERR : 0);
}

static s64 llseek(struct file *f, s64 off, int whence)
{
	if (whence == SEEK_CUR)
		off += (s64)f->pos;
	else if (whence != SEEK_SET)
		return -EINVAL;
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

static void release(struct file *f)
{
	struct text *t = f->priv;

	if (t)
		close_opener(t->by);
	if (t)
		kfree(t->o.p);
	kfree(t);
}

static const struct file_ops file_fops = {
	.open = open, .read = read, .write = write, .llseek = llseek, .poll = poll, .release = release};

// Watchers of files that changed by themselves.
void cgroup_tell_files(struct cgroup *g, u32 which)
{
	struct inode *dir = inode_at(&g->dir);

	for (u32 i = 0; i < cgroup_nfiles; i++) {
		const struct cfile *f = &cgroup_files[i];
		struct inode *ino;

		if (!f->event || !(which & 1u << (f->event - 1)) || !dir)
			continue;
		ino = inode_at(&g->file[i]);
		if (ino)
			fs_event(dir, ino, f->name, IN_MODIFY);
		inode_put(ino);
	}
	inode_put(dir);
}

// --- who may move what

int cgroup_may_move(struct cgroup *from, struct cgroup *to, const struct cg_opener *by)
{
	struct cgroup *both = to;
	const struct cfile *f = file_named(&root_cgroup, "cgroup.procs", 12);
	struct inode *dir, *ino = NULL;
	bool seen;
	int r;

	mutex_lock(&tasklist);
	while (!cgroup_under(from, both))
		both = both->parent;
	seen = cgroup_under(from, by->top) && cgroup_under(to, by->top);
	mutex_unlock(&tasklist);
	if (!seen)
		return -ENOENT;
	dir = inode_at(&both->dir); // rmdir may drop it
	if (!dir) // never looked at, so it is as it was made: root's
		return by->cred->fsuid && !cred_capable(by->cred, NULL, CAP_DAC_OVERRIDE) ? -EACCES : 0;
	mutex_lock(&dir->lock);
	r = both->dead ? -ENODEV : show(&both->file[f - cgroup_files], both, f, dir, &ino);
	mutex_unlock(&dir->lock);
	if (!r)
		r = cred_permission(by->cred, ino, MAY_WRITE);
	inode_put(ino);
	inode_put(dir);
	return r;
}

int cgroup_may_clone(struct cgroup *from, struct cgroup *to)
{
	struct cg_opener *by = opener();
	int r = by ? cgroup_may_move(from, to, by) : -ENOMEM;

	close_opener(by);
	return r;
}

struct cgroup *cgroup_of_fd(int fd)
{
	struct file *f = fd_get(fd);
	struct cgroup *g = ERR_PTR(-EBADF);

	if (!f)
		return g;
	if (f->inode->sb == sb && is_dir(f->inode)) {
		g = group_of(f->inode);
		if (g->dead)
			g = ERR_PTR(-ENOENT);
		else
			cgroup_get(g);
	}
	file_put(f);
	return g;
}

// --- mounting

// A mount in a cgroup namespace begins at that namespace's root.
static struct dentry *mount_root(struct super *s)
{
	struct cgroup *at[64], *top, *g;
	struct dentry *d = s->droot;
	u32 n = 0;

	mutex_lock(&tasklist); // another thread may leave the namespace
	top = cgroup_ns_root();
	cgroup_get(top);
	mutex_unlock(&tasklist);
	for (g = top; g->parent && n < ARRAY_SIZE(at); g = g->parent)
		at[n++] = g;
	d_get(d);
	if (g->parent) {
		d_put(d);
		d = ERR_PTR(-ENAMETOOLONG);
	}
	while (n-- && !IS_ERR(d)) {
		struct dentry *up = d;

		mutex_lock(&up->inode->lock);
		d = d_lookup(up, at[n]->name, (u32)strlen(at[n]->name));
		mutex_unlock(&up->inode->lock);
		d_put(up);
		if (!IS_ERR(d) && !d->inode) {
			d_put(d);
			d = ERR_PTR(-ENOENT);
		}
	}
	cgroup_put(top);
	return d;
}

static int cgroup_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	(void)source, (void)flags, (void)data, (void)len;
	if (!root_cgroup.dir)
		root_cgroup.dir = make(&root_cgroup, NULL, S_IFDIR | 0755);
	if (!root_cgroup.dir)
		return -ENOMEM;
	if (!sb->root) { // an unmount drops it
		sb->root = root_cgroup.dir;
		inode_get(sb->root);
	}
	super_get(sb);
	*out = sb;
	return 0;
}

int cgroupfs_init(void)
{
	static const struct super_ops sops = {.evict = evict, .mount_root = mount_root};

	sb = super_new("cgroup2", &sops, CGROUP2_SUPER_MAGIC);
	return sb ? fs_register("cgroup2", cgroup_mount) : -ENOMEM;
}
