// SPDX-License-Identifier: Apache-2.0
// Overlay mounts: names that come, go and move. What would need two steps that somebody could see between is made in the work directory and
// renamed. A directory that (also) lies in a lower layer is not moved: EXDEV, as Linux has it without redirect_dir; programs copy then.
// Locks: see ovl.h; the VFS holds the directories' inode locks.
#include "kernel/fs/ovl.h"
#include <linux/fs.h>

#define WHITEOUT (S_IFCHR | 0u)

// The calls come with a length; the layers want strings.
#define NAMED(nm, name, len)		\
	char nm[NAME_MAX_ + 1];		\
	memcpy(nm, name, len);		\
	nm[len] = 0

// What is in the upper layer under that name: true for a whiteout.
static bool has_whiteout(struct dentry *dir, const char *name)
{
	struct dentry *d = layer_find(dir, name);
	bool yes = !IS_ERR(d) && d->inode && ovl_whiteout(d);

	if (!IS_ERR(d))
		d_put(d);
	return yes;
}

// Begins a change in `dir`: it is in the upper layer then. `change` is taken, also on failure.
static int begin(struct inode *dir)
{
	int r;

	mutex_lock(&ovl_fs(dir)->change);
	r = ovl_node(dir)->removed ? -ENOENT : ovl_copy_up(dir, U64_MAX);
	return r ? r : ovl_may(ovl_fs(dir), ovl_upper(dir), MAY_WRITE | MAY_EXEC);
}

static int end(struct inode *dir, int r)
{
	ovl_refresh(dir);
	mutex_unlock(&ovl_fs(dir)->change);
	return r;
}

struct thing { // to be made
	u32 mode;
	u64 rdev;
	const char *target;
	struct inode *link; // or one more name for this one, of the upper layer
};

static int make_at(struct dentry *at, const char *name, const struct thing *t, struct dentry **out)
{
	return t->link ? layer_link(at, name, t->link, out) : layer_make(at, name, t->mode, t->rdev, t->target, out);
}

// In the place of a whiteout: set up in `work`, where it is not the directory's heir, then exchanged.
static int replace_whiteout(struct ovl_fs *fs, struct inode *dir, const char *name, const struct thing *t, struct dentry **out)
{
	struct dentry *up = ovl_upper(dir);
	struct iattr a = {.valid = ATTR_GID | ATTR_MODE, .gid = dir->gid};
	bool directory = (t->mode & S_IFMT) == S_IFDIR && !t->link;
	char temp[16];
	int r;

	ovl_temp(fs, temp);
	r = make_at(fs->work, temp, t, out);
	if (r)
		return r;
	if (!t->link && dir->mode & S_ISGID) {
		a.mode = (*out)->inode->mode | (directory ? S_ISGID : 0);
		r = layer_setattr((*out)->inode, &a);
	}
	if (!r && directory)
		r = ovl_set_opaque(fs, (*out)->inode);
	if (!r)
		r = layer_rename(fs->work, temp, up, name, directory ? RENAME_EXCHANGE : 0);
	if (r)
		d_put(*out);
	if (r || directory)
		layer_remove(fs->work, temp); // itself, or the whiteout
	return r;
}

static int make(struct inode *dir, const char *name, u32 len, const struct thing *t, struct inode **out)
{
	struct ovl_fs *fs = ovl_fs(dir);
	struct dentry *d;
	NAMED(nm, name, len);
	int r = begin(dir);

	if (!r && has_whiteout(ovl_upper(dir), nm))
		r = replace_whiteout(fs, dir, nm, t, &d);
	else if (!r)
		r = make_at(ovl_upper(dir), nm, t, &d);
	if (!r && t->link) {
		d_put(d);
	} else if (!r) {
		struct inode *i = ovl_inode(dir->sb, d, NULL, 0, NULL, NULL);
		if (IS_ERR(i))
			r = (int)PTR_ERR(i);
		else
			*out = i;
	}
	return end(dir, r);
}

static int create(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev, struct inode **out)
{
	struct thing t = {.mode = mode, .rdev = rdev};

	// that would hide what is below instead of being there
	return (mode & S_IFMT) == S_IFCHR && !rdev ? -EPERM : make(dir, name, len, &t, out);
}

static int make_dir(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	struct thing t = {.mode = S_IFDIR | (mode & 07777)};

	return make(dir, name, len, &t, out);
}

static int make_symlink(struct inode *dir, const char *name, u32 len, const char *target, struct inode **out)
{
	struct thing t = {.mode = S_IFLNK | 0777, .target = target};

	return make(dir, name, len, &t, out);
}

static int make_link(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct ovl_fs *fs = ovl_fs(dir);
	int r;

	mutex_lock(&fs->change);
	r = ovl_copy_up(ino, U64_MAX);
	mutex_unlock(&fs->change);
	if (!r) {
		struct thing t = {.link = ovl_upper(ino)->inode};
		r = make(dir, name, len, &t, NULL);
		ovl_refresh(ino);
		ino->linkable &= r != 0;
	}
	return r;
}

static int make_tmpfile(struct inode *dir, u32 mode, struct inode **out)
{
	struct ovl_fs *fs = ovl_fs(dir);
	struct dentry *d;
	char temp[16];
	int r = begin(dir);

	ovl_temp(fs, temp);
	if (!r)
		r = layer_make(fs->work, temp, mode, 0, NULL, &d);
	if (!r) {
		struct inode *i = ovl_inode(dir->sb, d, NULL, 0, NULL, NULL);
		r = layer_remove(fs->work, temp);
		if (IS_ERR(i))
			r = (int)PTR_ERR(i);
		else if (r)
			inode_put(i);
		else
			*out = i;
	}
	return end(dir, r);
}

// Takes a name away; a whiteout stays where a lower layer has it. The directory is in the upper layer.
static int take_away(struct inode *dir, const char *name, struct inode *ino)
{
	struct ovl_fs *fs = ovl_fs(dir);
	struct dentry *at = ovl_upper(dir), *up = ovl_upper(ino);
	bool hides = ovl_hides(dir, name);
	char temp[16];
	int r = 0;

	ovl_temp(fs, temp);
	if (hides && !up) {
		r = layer_make(at, name, WHITEOUT, 0, NULL, NULL);
	} else if (hides) {
		r = layer_make(fs->work, temp, WHITEOUT, 0, NULL, NULL);
		if (!r && (r = layer_rename(fs->work, temp, at, name, is_dir(ino) ? RENAME_EXCHANGE : 0)))
			layer_remove(fs->work, temp);
	} else if (is_dir(ino)) {
		r = layer_rename(at, name, fs->work, temp, 0);
	} else {
		r = layer_remove(at, name);
	}
	if (!r && up && is_dir(ino) && ovl_clear(fs->work, temp))
		pr_warn("overlay: %s stays in a work directory", temp);
	if (!r) {
		ovl_node(ino)->removed = is_dir(ino) || !up || !up->inode->nlink;
		ovl_refresh(ino);
	}
	return r;
}

static int unlink(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	NAMED(nm, name, len);
	int r = begin(dir);

	return end(dir, r ? r : take_away(dir, nm, ino));
}

static int rmdir(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	NAMED(nm, name, len);
	int r = begin(dir);

	if (!r)
		r = ovl_empty(ino);
	return end(dir, r ? r : take_away(dir, nm, ino));
}

static bool is_below(const struct inode *i) { return is_dir(i) && ovl_node(i)->nlower; }

static int exchange(struct inode *od, const char *on, struct inode *ino, struct inode *nd, const char *nn, struct inode *other)
{
	struct ovl_fs *fs = ovl_fs(od);
	int r = ovl_copy_up(other, U64_MAX);

	if (!r && is_dir(ino) && ovl_node(nd)->nlower)
		r = ovl_set_opaque(fs, ovl_upper(ino)->inode);
	if (!r && is_dir(other) && ovl_node(od)->nlower)
		r = ovl_set_opaque(fs, ovl_upper(other)->inode);
	return r ? r : layer_rename(ovl_upper(od), on, ovl_upper(nd), nn, RENAME_EXCHANGE);
}

// What is empty to a program becomes empty in the upper layer too, so that something can be renamed over it.
static int empty_out(struct ovl_fs *fs, struct inode *dir)
{
	struct dentry *up = ovl_upper(dir);
	int r = ovl_empty(dir);

	if (!r && up && ovl_node(dir)->nlower)
		r = ovl_set_opaque(fs, up->inode); // then nothing reappears when its whiteouts go
	return r || !up ? r : ovl_clear_whiteouts(up);
}

// One rename of the upper layer, which also leaves or takes along the whiteout that the old name needs.
static int move(struct inode *od, const char *on, struct inode *ino, struct inode *nd, const char *nn, struct inode *victim)
{
	struct ovl_fs *fs = ovl_fs(od);
	struct dentry *from = ovl_upper(od), *to = ovl_upper(nd);
	bool hides = ovl_hides(od, on), white, exchange;
	int r = 0;

	if (victim && is_dir(victim))
		r = empty_out(fs, victim);
	if (!r && is_dir(ino) && ovl_node(nd)->nlower)
		r = ovl_set_opaque(fs, ovl_upper(ino)->inode);
	if (r)
		return r;
	white = has_whiteout(to, nn);
	exchange = white && (hides || is_dir(ino));
	r = layer_rename(from, on, to, nn, exchange ? RENAME_EXCHANGE : hides ? RENAME_WHITEOUT : 0);
	if (r)
		return r;
	if (exchange && !hides && layer_remove(from, on))
		pr_warn("overlay: a whiteout stays where nothing lies below"); // it hides nothing
	if (victim) {
		struct dentry *up = ovl_upper(victim);
		ovl_node(victim)->removed = is_dir(victim) || !up || !up->inode->nlink;
	}
	return 0;
}

static int rename(struct inode *od, const char *on, u32 olen, struct inode *ino, struct inode *nd, const char *nn, u32 nlen,
		  struct inode *victim, u32 flags)
{
	NAMED(from, on, olen);
	NAMED(to, nn, nlen);
	int r;

	if (flags & RENAME_WHITEOUT)
		return -EINVAL;
	if (is_below(ino) || ((flags & RENAME_EXCHANGE) && is_below(victim)))
		return -EXDEV;
	r = begin(od);
	if (!r)
		r = ovl_node(nd)->removed ? -ENOENT : ovl_copy_up(nd, U64_MAX);
	if (!r)
		r = ovl_may(ovl_fs(nd), ovl_upper(nd), MAY_WRITE | MAY_EXEC);
	if (!r)
		r = ovl_copy_up(ino, U64_MAX);
	if (!r)
		r = flags & RENAME_EXCHANGE ? exchange(od, from, ino, nd, to, victim) : move(od, from, ino, nd, to, victim);
	ovl_refresh(ino);
	if (victim)
		ovl_refresh(victim);
	ovl_refresh(nd);
	return end(od, r);
}

const struct inode_ops ovl_dir_iops = {.lookup = ovl_lookup,
				       .create = create,
				       .mkdir = make_dir,
				       .symlink = make_symlink,
				       .link = make_link,
				       .unlink = unlink,
				       .rmdir = rmdir,
				       .rename = rename,
				       .tmpfile = make_tmpfile,
				       .setattr = ovl_setattr,
				       .getattr = ovl_getattr,
				       .getxattr = ovl_getxattr,
				       .setxattr = ovl_setxattr,
				       .listxattr = ovl_listxattr,
				       .removexattr = ovl_removexattr};
