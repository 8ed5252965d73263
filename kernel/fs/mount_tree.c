// SPDX-License-Identifier: Apache-2.0
// Trees of mounts: copies for bind mounts and namespaces, unmounting with all that is below, mount namespaces.
// Locks: see mounts.h.
#include "kernel/fs/mounts.h"

struct mnt_ns init_mnt_ns = {.ns = {.ref = {1}, .type = CLONE_NEWNS, .inum = 4026531841ul}};

struct mnt_ns *cur_mnt_ns(void)
{
	struct mnt_ns *n = cur_fs()->mnt_ns;

	return unlikely(n) ? n : curproc->mnt_ns;
}

bool mount_mine(const struct mount *m) { return m->ns == cur_mnt_ns(); }

void tree_set_ns(struct mount *m, struct mnt_ns *n)
{
	struct mount *c;
	bool again = true;

	m->ns = n;
	while (again) {
		again = false;
		list_for_each(c, &mounts, link)
			if (c->parent && c->ns != n && c->parent->ns == n && c != m) {
				c->ns = n;
				again = true;
			}
	}
}

static bool below(struct dentry *d, const struct dentry *top)
{
	while (d != top && d->parent != d)
		d = d->parent;
	return d == top;
}

bool mount_reached_locked(const struct mount *m, const struct path *root)
{
	struct dentry *d = m->root;

	for (; m != root->mnt && m->parent; m = m->parent)
		d = m->mountpoint;
	return m == root->mnt && below(d, root->dentry);
}

static struct mount *copy_one(struct mount *m, struct dentry *root)
{
	struct mount *c;

	super_get(m->sb);
	c = mount_new(m->sb, root, m->source, m->flags);
	if (!c)
		return NULL;
	c->propagation = m->propagation;
	c->locked = m->locked;
	c->locked_flags = m->locked_flags;
	m->copy = c;
	return c;
}

// Hangs c, the copy of m, where m hangs, in the copy of its parent.
static void hang(struct mount *c, struct mount *m)
{
	struct path where = {m->parent->copy, m->mountpoint};

	write_lock(&dcache_lock);
	path_get_locked(&where);
	c->parent = where.mnt;
	c->mountpoint = where.dentry;
	list_add_tail(&c->link, &mounts);
	mount_counted_locked(c, true);
	write_unlock(&dcache_lock);
}

static void to_copy(struct path *p)
{
	struct mount *old = p->mnt;

	if (!old || !old->copy)
		return;
	write_lock(&dcache_lock);
	p->mnt = old->copy;
	mount_get_locked(p->mnt);
	write_unlock(&dcache_lock);
	mount_put(old);
}

struct mount *tree_copy(const struct path *from, bool recursive, struct fs_ctx *fs)
{
	struct mount *top = copy_one(from->mnt, from->dentry), *m;
	bool again = recursive && top, failed = !top;

	while (again && !failed) { // nobody else changes the table
		again = false;
		list_for_each(m, &mounts, link) {
			if (m->copy || !m->parent || !m->parent->copy || (m->parent == from->mnt && !below(m->mountpoint, from->dentry)) ||
			    m->propagation == MS_UNBINDABLE)
				continue;
			struct mount *c = copy_one(m, m->root);
			if (!c) {
				failed = true;
				break;
			}
			hang(c, m);
			again = true;
		}
	}
	if (fs && !failed) {
		to_copy(&fs->root);
		to_copy(&fs->cwd);
	}
	from->mnt->copy = NULL;
	list_for_each(m, &mounts, link)
		m->copy = NULL;
	if (failed && top)
		tree_drop(top);
	return failed ? ERR_PTR(-ENOMEM) : top;
}

void tree_drop(struct mount *m)
{
	struct list dead;
	struct mount *c, *tmp;

	list_init(&dead);
	write_lock(&dcache_lock);
	for (;;) { // leaves first
		struct mount *leaf = m, *child;
		while ((child = first_child_locked(leaf)))
			leaf = child;
		detach_locked(leaf);
		list_add_tail(&leaf->link, &dead);
		if (leaf == m)
			break;
	}
	write_unlock(&dcache_lock);
	list_for_each_safe(c, tmp, &dead, link) {
		struct path was = c->was;
		list_del(&c->link);
		c->was = (struct path){0};
		mount_put(c);
		if (was.mnt)
			path_put(&was);
	}
}

// --- namespaces

bool fs_chrooted(void)
{
	struct fs_ctx *fs = cur_fs();
	bool yes;

	read_lock(&dcache_lock);
	struct mount *m = cur_mnt_ns()->root;
	struct dentry *d = m->root;
	for (struct mount *top; (top = mount_at_locked(m, d)); d = top->root)
		m = top;
	yes = fs->root.mnt != m || fs->root.dentry != d;
	read_unlock(&dcache_lock);
	return yes;
}

// The tree comes from a more privileged user namespace. dcache_lock held.
static void lock_tree(struct mnt_ns *n)
{
	struct mount *m;

	list_for_each(m, &mounts, link)
		if (m->ns == n) {
			m->locked_flags |= (m->flags & MNT_RESTRICT) | MS_RELATIME;
			m->locked = m != n->root;
		}
}

struct mnt_ns *mnt_ns_copy(struct fs_ctx *fs, struct user_ns *owner)
{
	struct mnt_ns *old = cur_mnt_ns(), *n = knew(struct mnt_ns);
	struct path top;
	struct mount *m;

	if (!n)
		return ERR_PTR(-ENOMEM);
	n->ns = (struct ns){.ref = {1}, .type = CLONE_NEWNS, .inum = ns_inum(), .owner = owner};
	mutex_lock(&mount_lock);
	top = (struct path){old->root, old->root->root};
	m = tree_copy(&top, true, fs);
	if (!IS_ERR(m)) {
		n->root = m;
		write_lock(&dcache_lock);
		list_add_tail(&m->link, &mounts);
		mount_counted_locked(m, true);
		tree_set_ns(m, n);
		if (owner != old->ns.owner)
			lock_tree(n);
		write_unlock(&dcache_lock);
	}
	mutex_unlock(&mount_lock);
	if (!IS_ERR(m)) {
		user_ns_get(owner);
		return n;
	}
	kfree(n);
	return (void *)m;
}

struct mnt_ns *mnt_ns_at(struct proc *p, int tid)
{
	struct fs_ctx *fs = p->fs;
	struct task *t;

	list_for_each (t, &p->threads, thread_link)
		if (t->own_fs && t->tid == tid)
			fs = t->own_fs;
	return fs && fs->mnt_ns ? fs->mnt_ns : p->mnt_ns;
}

struct mnt_ns *mnt_ns_of(struct proc *p, int tid)
{
	struct mnt_ns *n;

	mutex_lock(&tasklist);
	n = mnt_ns_at(p, tid);
	if (n)
		ref_get(&n->ns.ref);
	mutex_unlock(&tasklist);
	return n;
}

void mnt_ns_put(struct mnt_ns *n)
{
	if (!n || !ref_put(&n->ns.ref))
		return;
	mutex_lock(&mount_lock);
	tree_drop(n->root);
	mutex_unlock(&mount_lock);
	user_ns_put(n->ns.owner);
	kfree(n);
}

// setns: root and working directory of the caller become the namespace's root.
void mnt_ns_enter(struct mnt_ns *n, struct fs_ctx *fs)
{
	struct path top, old[2];

	mutex_lock(&mount_lock);
	write_lock(&dcache_lock);
	top = (struct path){n->root, n->root->root};
	struct mount *m;
	while ((m = mount_at_locked(top.mnt, top.dentry)))
		top = (struct path){m, m->root};
	path_get_locked(&top);
	path_get_locked(&top);
	old[0] = fs->root;
	old[1] = fs->cwd;
	fs->root = fs->cwd = top;
	write_unlock(&dcache_lock);
	mutex_unlock(&mount_lock);
	path_put(&old[0]);
	path_put(&old[1]);
}
