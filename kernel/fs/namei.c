// SPDX-License-Identifier: Apache-2.0
// Path walk. What the name cache knows is walked under one hold of dcache_lock without touching a single reference
// count; only a missing name or a symlink lets go of the lock, holding references meanwhile. Locks: dcache_lock; a
// directory's inode lock around a lookup in its file system (dcache_lock not held).
#include "kernel/fs/fs.h"

#define LINKS_MAX 40

struct walk {
	struct mount *mnt;		// where we are; guarded by dcache_lock, pinned by held* while it is not held
	struct dentry *d;
	struct mount *held_mnt;		// references
	struct dentry *held;
	struct path root;		// RESOLVE_BENEATH/IN_ROOT: references; empty: the process's root
	u32 flags;
	u32 depth;			// symlinks followed
	bool override;			// CAP_DAC_OVERRIDE: every directory can be searched
	char *buf;			// text of the symlink being walked
	struct last last;
};

void path_get_locked(struct path *p)
{
	if (p->mnt)
		mount_get_locked(p->mnt);
	if (p->dentry)
		d_get(p->dentry);
}

void path_get(struct path *p)
{
	if (p->mnt)
		mount_get(p->mnt);
	if (p->dentry)
		d_get(p->dentry);
}

void path_put(struct path *p)
{
	if (p->dentry)
		d_put(p->dentry);
	if (p->mnt)
		mount_put(p->mnt);
	p->dentry = NULL;
	p->mnt = NULL;
}

// Takes references on the present place, lets go of the lock and of what was held before.
static void unlock_held(struct walk *w)
{
	struct dentry *d = w->held;
	struct mount *m = w->held_mnt;
	w->held = w->d;
	w->held_mnt = w->mnt;
	d_get(w->held);
	mount_get_locked(w->held_mnt);
	read_unlock(&dcache_lock);
	d_put(d);
	if (m)
		mount_put(m);
}

static const struct path *walk_root(struct walk *w)
{
	return w->root.dentry ? &w->root : &cur_fs()->root;
}

static int cross_mounts(struct walk *w)
{
	while (unlikely(w->d->mountpoint)) {
		struct mount *m = mount_at_locked(w->mnt, w->d);
		if (!m)
			break;
		if (w->flags & LOOKUP_NO_XDEV)
			return -EXDEV;
		w->mnt = m;
		w->d = m->root;
	}
	return 0;
}

static int go_up(struct walk *w)
{
	const struct path *root = walk_root(w);
	for (;;) {
		if (w->d == root->dentry && w->mnt == root->mnt)
			return w->flags & LOOKUP_BENEATH ? -EXDEV : 0;
		if (w->d != w->mnt->root) {
			w->d = w->d->parent;
			break;
		}
		if (!w->mnt->parent)
			return 0;
		if (w->flags & LOOKUP_NO_XDEV)
			return -EXDEV;
		w->d = w->mnt->mountpoint;
		w->mnt = w->mnt->parent;
	}
	return cross_mounts(w);
}

// The cache does not know the name: asks the file system. Lock dropped and taken again; *child stays held.
static int look_up(struct walk *w, const char *name, u32 len, struct dentry **child)
{
	if (unlikely(w->flags & LOOKUP_NO_WAIT) && w->d->inode->sb->waits)
		return -EINVAL;
	unlock_held(w);
	struct dentry *dir = w->d;
	inode_lock(dir->inode);
	struct dentry *d = d_lookup(dir, name, len);
	inode_unlock(dir->inode);
	if (!IS_ERR(d)) {
		w->held = d; // which holds its parent
		d_put(dir);
	}
	read_lock(&dcache_lock);
	if (IS_ERR(d))
		return (int)PTR_ERR(d);
	*child = d;
	return 0;
}

// A magic link of /proc leads to a place directly.
static int jump(struct walk *w, struct inode *ino)
{
	struct dentry *d = NULL;
	struct mount *m = NULL;
	if (w->flags & (LOOKUP_NO_MAGIC | LOOKUP_BENEATH | LOOKUP_IN_ROOT))
		return w->flags & LOOKUP_NO_MAGIC ? -ELOOP : -EXDEV;
	struct file *f = ino->iops->follow(ino, &d, &m);
	if (IS_ERR(f))
		return (int)PTR_ERR(f);
	if (f) { // a pipe, a socket, an anonymous file
		struct path p = f->path;
		if (p.dentry) {
			path_get(&p);
		} else {
			p.mnt = anon_mnt;
			mount_get(anon_mnt);
			p.dentry = d_anon(f->inode, "");
		}
		file_put(f);
		d = p.dentry;
		m = p.mnt;
		if (!d) {
			mount_put(m);
			return -ENOMEM;
		}
	}
	if (!d || !m)
		return -ENOENT;
	if ((w->flags & LOOKUP_NO_XDEV) && m != w->mnt) {
		d_put(d);
		mount_put(m);
		return -EXDEV;
	}
	d_put(w->held);
	mount_put(w->held_mnt);
	w->held = w->d = d;
	w->held_mnt = w->mnt = m;
	return 0;
}

// Follows `link`, a child of the present place; `rest` is what comes after it in the path. Lock dropped and taken
// again.
static int follow_link(struct walk *w, struct dentry *link, bool slash, const char *rest, const char **next)
{
	int r;
	char *buf = NULL;
	struct inode *ino = link->inode;
	if ((w->flags & LOOKUP_NO_SYMLINKS) || w->depth++ >= LINKS_MAX)
		return -ELOOP;
	if (unlikely(w->flags & LOOKUP_NO_WAIT) && ino->sb->waits)
		return -EINVAL;
	d_get(link);
	unlock_held(w);
	if (ino->iops->follow) {
		r = jump(w, ino);
		*next = rest;
		goto out;
	}
	r = -ENOMEM;
	size_t nrest = strlen(rest);
	buf = kmalloc(PATH_BUF + nrest + 2);
	if (!buf)
		goto out;
	r = ino->iops->readlink ? ino->iops->readlink(ino, buf, PATH_BUF - 1) : -EINVAL;
	if (r <= 0) {
		r = r ? r : -ENOENT;
		goto out;
	}
	u32 n = (u32)r;
	r = 0;
	if (slash)
		buf[n++] = '/';
	memcpy(buf + n, rest, nrest + 1);
	kfree(w->buf);
	w->buf = buf;
	*next = buf;
	buf = NULL;
out:
	kfree(buf);
	d_put(link);
	read_lock(&dcache_lock);
	if (!r && *next == w->buf && w->buf && **next == '/') {
		const struct path *root = walk_root(w);
		if (w->flags & LOOKUP_BENEATH)
			return -EXDEV;
		if ((w->flags & LOOKUP_NO_XDEV) && root->mnt != w->mnt)
			return -EXDEV;
		w->mnt = root->mnt;
		w->d = root->dentry;
	}
	return r;
}

// May drop the lock and take it again, holding the present place.
static int may_search(struct walk *w, struct inode *dir)
{
	int r = inode_permission_locked(dir, MAY_EXEC);

	if (likely(r != -ECHILD))
		return r;
	if (w->flags & LOOKUP_NO_WAIT)
		return -EINVAL;
	unlock_held(w);
	r = inode_permission(dir, MAY_EXEC);
	read_lock(&dcache_lock);
	return r;
}

// Walks p from the present place. dcache_lock held on entry and on return, whatever the result.
static int walk(struct walk *w, const char *p)
{
	int r;
	w->last.kind = LAST_ROOT;
	w->last.len = 0;
	w->last.name = "";
	w->last.slash = false;
	while (*p == '/')
		p++;
	while (*p) {
		struct inode *dir = w->d->inode;
		const char *s = p;
		u64 h = HASH_INIT;
		while (*p && *p != '/')
			h = hash_step(h, (u8)*p++);
		size_t len = (size_t)(p - s);
		bool slash = *p == '/';
		while (*p == '/')
			p++;
		bool final = !*p;
		if (unlikely(!is_dir(dir)))
			return -ENOTDIR;
		if (unlikely(!w->override) && (r = may_search(w, dir)))
			return r;
		u32 kind = s[0] != '.' || len > 2 ? LAST_NORM
			   : len == 1		  ? LAST_DOT
			   : s[1] == '.'	  ? LAST_DOTDOT
						  : LAST_NORM;
		if (final && (w->flags & LOOKUP_PARENT)) {
			w->last = (struct last){s, (u32)len, kind, slash}; // whoever looks it up says whether it is too long
			return 0;
		}
		if (unlikely(len > NAME_MAX_))
			return -ENAMETOOLONG;
		if (unlikely(kind != LAST_NORM)) {
			if (kind == LAST_DOTDOT && (r = go_up(w)))
				return r;
			continue;
		}
		struct dentry *child = d_find_locked(w->d, s, (u32)len, hash_end(w->d, h));
		if (unlikely(!child) && (r = look_up(w, s, (u32)len, &child)))
			return r;
		if (!child->inode)
			return -ENOENT;
		if (unlikely(is_lnk(child->inode)) && (!final || slash || (w->flags & LOOKUP_FOLLOW))) {
			if ((r = follow_link(w, child, slash, p, &p)))
				return r;
			while (*p == '/')
				p++;
			// A link to "/" or a magic link as last component: the place itself must do.
			if (!*p && slash && !is_dir(w->d->inode))
				return -ENOTDIR;
			continue;
		}
		w->d = child;
		if ((r = cross_mounts(w)))
			return r;
		if (final && slash && !is_dir(w->d->inode))
			return -ENOTDIR;
	}
	if ((w->flags & LOOKUP_DIRECTORY) && !is_dir(w->d->inode))
		return -ENOTDIR;
	return 0;
}

static void walk_end(struct walk *w)
{
	d_put(w->held);
	if (w->held_mnt)
		mount_put(w->held_mnt);
	if (unlikely(w->root.dentry))
		path_put(&w->root);
}

// One walk from `base` (or from dfd when NULL). On success *out has references; *link is the symlink's text if any.
static int walk_path(const struct path *base, int dfd, const char *name, u32 flags, u32 depth, struct path *out,
		     struct last *last, char **link)
{
	struct walk w = {.flags = flags, .depth = depth, .override = cred()->cap_eff & (1ul << CAP_DAC_OVERRIDE) && likely(!cred()->user_ns)};
	struct file *f = NULL;
	bool put = false;
	int r = 0;

	if (unlikely(!*name) && !(flags & LOOKUP_EMPTY))
		return -ENOENT;
	if (*name != '/' || (flags & (LOOKUP_BENEATH | LOOKUP_IN_ROOT))) {
		if (!base && dfd != AT_FDCWD) {
			f = fd_light(dfd, &put);
			if (!f)
				return -EBADF;
			if (!f->path.dentry || (*name && !is_dir(f->path.dentry->inode))) {
				fd_light_put(f, put);
				return -ENOTDIR;
			}
			base = &f->path;
		}
	} else {
		base = NULL;
		dfd = AT_FDCWD;
	}
	read_lock(&dcache_lock);
	struct fs_ctx *fs = cur_fs();
	const struct path *start = base								  ? base
				   : *name == '/' && !(flags & (LOOKUP_BENEATH | LOOKUP_IN_ROOT)) ? &fs->root
												  : &fs->cwd;
	w.mnt = start->mnt;
	w.d = start->dentry;
	if (unlikely(flags & (LOOKUP_BENEATH | LOOKUP_IN_ROOT))) {
		if (*name == '/' && (flags & LOOKUP_BENEATH))
			r = -EXDEV;
		w.root = *start;
		path_get_locked(&w.root);
	}
	if (!r)
		r = walk(&w, name);
	if (likely(!r)) {
		out->mnt = w.mnt;
		out->dentry = w.d;
		mount_get_locked(w.mnt);
		d_get(w.d);
	}
	read_unlock(&dcache_lock);
	walk_end(&w);
	fd_light_put(f, put && f);
	if (last)
		*last = w.last;
	if (link)
		*link = w.buf;
	else
		kfree(w.buf);
	return r;
}

int path_lookup(int dfd, const char *name, u32 flags, struct path *out)
{
	return walk_path(NULL, dfd, name, flags & ~LOOKUP_PARENT, 0, out, NULL, NULL);
}

int path_parent(int dfd, const char *name, u32 flags, struct path *out, struct last *last, char **link)
{
	*link = NULL;
	int r = walk_path(NULL, dfd, name, (flags | LOOKUP_PARENT) & ~LOOKUP_DIRECTORY, 0, out, last, link);
	if (r) {
		kfree(*link);
		*link = NULL;
	}
	return r;
}

int path_follow_last(struct path *dir, struct dentry *d, u32 flags, u32 *depth, struct path *out, struct last *last,
		     char **buf)
{
	struct inode *ino = d->inode;
	if ((flags & LOOKUP_NO_SYMLINKS) || ++*depth > LINKS_MAX)
		return -ELOOP;
	if (flags & (LOOKUP_BENEATH | LOOKUP_IN_ROOT))
		return -EXDEV; // creating through a dangling link could leave the fence
	char *text = kmalloc(PATH_BUF), *inner = NULL;
	if (!text)
		return -ENOMEM;
	int r = ino->iops->readlink ? ino->iops->readlink(ino, text, PATH_BUF - 1) : -EINVAL;
	if (r == 0)
		r = -ENOENT;
	if (r > 0) {
		text[r] = 0;
		r = walk_path(dir, AT_FDCWD, text, (flags & ~LOOKUP_DIRECTORY) | LOOKUP_PARENT, *depth, out, last,
			      &inner);
	}
	if (r || inner) {
		kfree(text);
		text = NULL;
	}
	if (r) {
		kfree(inner);
		return r;
	}
	*buf = inner ? inner : text;
	return 0;
}

int path_child(struct path *p, struct dentry *child)
{
	struct walk w = {.mnt = p->mnt, .d = child};
	read_lock(&dcache_lock);
	cross_mounts(&w);
	if (w.mnt != p->mnt)
		mount_get_locked(w.mnt);
	if (w.d != child)
		d_get(w.d);
	read_unlock(&dcache_lock);
	d_put(p->dentry);
	if (w.d != child)
		d_put(child);
	if (w.mnt != p->mnt)
		mount_put(p->mnt);
	p->mnt = w.mnt;
	p->dentry = w.d;
	return 0;
}

int user_path_name(char buf[PATH_BUF], const void __user *name, bool empty_ok)
{
	ssize_t n = user_str(buf, name, PATH_BUF);
	if (n < 0)
		return (int)n;
	return n || empty_ok ? 0 : -ENOENT;
}

int path_lookup_user(int dfd, const void __user *name, u32 flags, struct path *out)
{
	__uninit char buf[PATH_BUF];
	int r = user_path_name(buf, name, flags & LOOKUP_EMPTY);
	return r ? r : path_lookup(dfd, buf, flags, out);
}

// True for a name that was removed; names of uncached file systems are never in the cache.
static bool deleted(struct dentry *d)
{
	return !d->hashed && d->parent != d &&
	       !(d->parent->inode && d->parent->inode->iops && d->parent->inode->iops->no_cache);
}

char *path_name(const struct path *p, char *buf, size_t n)
{
	char *s = buf + n;
	bool failed = false, reached = false;
	if (n < 16 || !p->dentry)
		return ERR_PTR(-ENAMETOOLONG);
	*--s = 0;
	read_lock(&dcache_lock);
	struct dentry *d = p->dentry;
	struct mount *m = p->mnt;
	const struct path *root = &cur_fs()->root;
	u32 len;
	if (m == anon_mnt) {
		d_name_locked(d, s, (u32)(s - buf), &len);
		failed = len > (size_t)(s - buf);
		s -= failed ? 0 : len;
		read_unlock(&dcache_lock);
		return failed ? ERR_PTR(-ENAMETOOLONG) : s;
	}
	if (deleted(d))
		s = memcpy(s - 10, " (deleted)", 10);
	char *end = s;
	for (;;) {
		if (d == root->dentry && m == root->mnt) {
			reached = true;
			break;
		}
		if (d == m->root || d->parent == d) {
			if (!m->parent) {
				reached = m->ns;
				break;
			}
			d = m->mountpoint;
			m = m->parent;
			continue;
		}
		struct dentry *parent = d_name_locked(d, s, (u32)(s - buf), &len);
		if ((size_t)(s - buf) < len + 1u) {
			failed = true;
			break;
		}
		s -= len;
		*--s = '/';
		d = parent;
	}
	read_unlock(&dcache_lock);
	if (!failed && s == end)
		*--s = '/';
	if (!failed && !reached) {
		if (s - buf < 13)
			failed = true;
		else
			s = memcpy(s - 13, "(unreachable)", 13);
	}
	return failed ? ERR_PTR(-ENAMETOOLONG) : s;
}
