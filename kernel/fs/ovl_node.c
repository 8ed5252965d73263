// SPDX-License-Identifier: Apache-2.0
// Overlay mounts: looking names up through the layers, and the inodes that stand for what was found. Locks: see ovl.h.
#include "kernel/fs/ovl.h"

const char *ovl_attr(const struct ovl_fs *fs, const char *which, char buf[48])
{
	snprintf(buf, 48, "%s.overlay.%s", fs->userxattr ? "user" : "trusted", which);
	return buf;
}

bool ovl_whiteout(const struct dentry *d) { return (d->inode->mode & S_IFMT) == S_IFCHR && !d->inode->rdev; }

static bool is_opaque(const struct ovl_fs *fs, struct inode *dir)
{
	char name[48], y = 0;

	return layer_getxattr(dir, ovl_attr(fs, "opaque", name), &y, 1) == 1 && y == 'y';
}

int ovl_set_opaque(struct ovl_fs *fs, struct inode *dir)
{
	char name[48];

	return layer_setxattr(dir, ovl_attr(fs, "opaque", name), "y", 1, 0);
}

// Numbers of different file systems below are kept apart by their high bits.
static u64 number(const struct ovl_fs *fs, const struct inode *i)
{
	u32 k = 0;

	while (k < fs->nsupers && fs->supers[k] != i->sb)
		k++;
	return i->ino ^ (u64)k << 48;
}

// What copy-up wrote to the attribute "origin": a file handle in Linux's format, of no file system that Linux knows.
struct origin {
	u8 version, magic, len, flags, type;
	u8 uuid[16];
	u64 number;
} __packed;

int ovl_set_origin(struct ovl_fs *fs, struct inode *upper, u64 n)
{
	struct origin o = {.magic = 0xfb, .len = sizeof(o), .type = 0xff, .uuid = "coffer overlay\n", .number = n};
	char name[48];

	return layer_setxattr(upper, ovl_attr(fs, "origin", name), &o, sizeof(o), 0);
}

static bool get_origin(const struct ovl_fs *fs, struct inode *upper, u64 *n)
{
	struct origin o = {0};
	char name[48];

	if (layer_getxattr(upper, ovl_attr(fs, "origin", name), &o, sizeof(o)) != sizeof(o) || memcmp(o.uuid, "coffer overlay\n", 16))
		return false;
	*n = o.number;
	return true;
}

void ovl_refresh(struct inode *i)
{
	struct ovl_node *n = ovl_node(i);
	struct inode *real = ovl_real(i)->inode;

	i->mode = real->mode;
	i->uid = real->uid;
	i->gid = real->gid;
	i->rdev = real->rdev;
	i->blocks = real->blocks;
	i->atime = real->atime;
	i->mtime = real->mtime;
	i->ctime = real->ctime;
	i->btime = real->btime;
	__atomic_store_n(&i->size, real->size, __ATOMIC_RELAXED);
	i->flags = n->upper ? real->flags : 0;
	i->nlink = is_dir(i) ? !n->removed : n->removed && !n->upper ? real->nlink - 1 : real->nlink;
}

static void put_all(struct dentry *upper, struct dentry **lower, u32 n)
{
	d_put(upper);
	for (u32 k = 0; k < n; k++)
		d_put(lower[k]);
	kfree(lower);
}

struct inode *ovl_inode(struct super *sb, struct dentry *upper, struct dentry **lower, u32 nlower, struct inode *parent, const char *name)
{
	struct inode *real = upper ? upper->inode : lower[0]->inode, *i;
	// Each name of a file that is below has its own copy once it is changed.
	bool one = upper || is_dir(real) || real->nlink == 1;
	struct ovl_fs *fs = sb->priv;
	struct ovl_node *n;

	i = one ? inode_find(sb, (uptr)real) : NULL;
	if (i) {
		put_all(upper, lower, nlower);
		return i;
	}
	n = knew(struct ovl_node);
	i = n ? inode_new(sb, real->mode) : NULL;
	if (!i) {
		kfree(n);
		put_all(upper, lower, nlower);
		return ERR_PTR(-ENOMEM);
	}
	i->priv = n;
	n->upper = upper;
	n->lower = lower;
	n->nlower = nlower;
	if (name && !upper && !(n->name = kstrdup(name))) {
		inode_put(i);
		return ERR_PTR(-ENOMEM);
	}
	if (n->name) {
		n->parent = parent;
		inode_get(parent);
	}
	n->number = number(fs, nlower ? lower[0]->inode : real);
	if (upper && !nlower)
		get_origin(fs, real, &n->number);
	i->ino = n->number;
	i->iops = &ovl_file_iops;
	if (is_dir(i)) {
		i->iops = &ovl_dir_iops;
		i->fops = &ovl_dir_fops;
	} else if (is_lnk(i)) {
		i->iops = &ovl_link_iops;
	} else if (is_reg(i)) {
		i->fops = &ovl_file_fops;
		i->pc = real->pc;
		pc_get(i->pc);
	}
	ovl_refresh(i);
	return one ? inode_insert(i, (uptr)real) : i;
}

void ovl_evict(struct inode *i)
{
	struct ovl_node *n = ovl_node(i);

	if (!n)
		return;
	put_all(n->upper, n->lower, n->nlower);
	inode_put(n->parent);
	kfree(n->name);
	if (n->below)
		pc_put(n->below);
	kfree(n);
	i->priv = NULL;
}

struct search {
	struct dentry *upper, **lower;
	u32 n;
	bool stop;	// nothing further below is seen
};

// A layer's answer joins what was found above. Consumes d, which is not negative.
static void found(const struct ovl_fs *fs, struct search *s, struct dentry *d, bool in_upper)
{
	bool any = s->upper || s->n;

	if (ovl_whiteout(d) || (any && !is_dir(d->inode))) {
		s->stop = true;
		d_put(d);
		return;
	}
	if (in_upper)
		s->upper = d;
	else
		s->lower[s->n++] = d;
	s->stop = !is_dir(d->inode) || is_opaque(fs, d->inode);
}

int ovl_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct ovl_node *dn = ovl_node(dir);
	struct ovl_fs *fs = ovl_fs(dir);
	struct dentry *up = ovl_upper(dir), *d;
	struct search s = {0};
	char nm[NAME_MAX_ + 1];
	int r = 0;

	memcpy(nm, name, len);
	nm[len] = 0;
	if (dn->nlower && !(s.lower = kmalloc(dn->nlower * sizeof(*s.lower))))
		return -ENOMEM;
	for (u32 k = 0; k <= dn->nlower && !s.stop && !r; k++) {
		struct dentry *at = k ? dn->lower[k - 1] : up;
		if (!at)
			continue;
		if ((r = ovl_may(fs, at, MAY_EXEC)))
			break;
		d = layer_find(at, nm);
		if (IS_ERR(d))
			r = (int)PTR_ERR(d);
		else if (d->inode)
			found(fs, &s, d, !k);
		else
			d_put(d);
	}
	if (r || !(s.upper || s.n)) {
		put_all(s.upper, s.lower, s.n);
		return r ? r : -ENOENT;
	}
	struct inode *i = ovl_inode(dir->sb, s.upper, s.lower, s.n, dir, nm);
	if (IS_ERR(i))
		return (int)PTR_ERR(i);
	*out = i;
	return 0;
}

bool ovl_hides(struct inode *dir, const char *name)
{
	struct ovl_node *n = ovl_node(dir);

	for (u32 k = 0; k < n->nlower; k++) {
		struct dentry *d = layer_find(n->lower[k], name);
		bool there = !IS_ERR(d) && d->inode, white = there && ovl_whiteout(d);
		if (!IS_ERR(d))
			d_put(d);
		if (there)
			return !white;
	}
	return false;
}
