// SPDX-License-Identifier: Apache-2.0
// Names: creating, linking, removing and renaming. Each operation checks everything first; when it still fails after
// its first change (memory, a block that does not authenticate), the volume is closed for changes, so half of it is
// never committed.
#include "seal/vol.h"

static int name_check(const struct seal_inode *dir, const char *name, u32 len)
{
	if (!sv_inode_is(dir, T_DIR))
		return -ENOTDIR;
	if (!len)
		return -ENOENT;
	if (len > SEAL_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(name, '/', len) || memchr(name, 0, len))
		return -EINVAL;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return -EEXIST;
	return 0;
}

static int change_begin(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, bool privileged)
{
	int r = name_check(dir, name, len);
	if (!r && sv_snapdir_named(v, dir, name, len))
		r = privileged ? -EPERM : -EEXIST;
	if (!r && sv_is_frozen(v, dir))
		r = -EROFS;
	if (!r)
		r = sv_op_begin(v, 24, privileged);
	return r ? r : sv_inode_dirty(v, dir);
}

int seal_lookup(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, struct seal_inode **out)
{
	struct seal_dirent e;
	*out = NULL;
	vol_lock(v);
	int r = name_check(dir, name, len);
	if (!r && dir == &v->snapdir) {
		r = sv_snapdir_lookup(v, name, len, out);
	} else if (!r && sv_snapdir_named(v, dir, name, len)) {
		v->snapdir.refs++;
		*out = &v->snapdir;
	} else {
		if (!r)
			r = sv_is_stale(dir) ? -ESTALE : sv_dir_find(v, dir, name, len, &e);
		if (!r)
			r = sv_inode_get(v, e.ino, out);
	}
	vol_unlock(v);
	return r;
}

// A new inode for a name; directory entry still to come.
static int make(struct seal_vol *v, struct seal_inode *dir, u32 mode, u32 uid, u32 gid, struct seal_inode **out)
{
	if (!dir->nlink)
		return -ENOENT; // removed, though still open
	if (sv_inode_is(&(struct seal_inode){.mode = mode}, T_DIR) && dir->nlink >= SEAL_LINK_MAX)
		return -EMLINK;
	int r = sv_inode_alloc(v, mode, uid, gid, out);
	if (!r && (sv_inode_is(*out, T_REG) || sv_inode_is(*out, T_DIR)))
		(*out)->flags = dir->flags & SEAL_FLAGS_INHERITED;
	return r;
}

// Gives a fresh inode its name, or takes it back.
static int enter(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, struct seal_inode *i,
		 struct seal_inode **out)
{
	int r = sv_dir_insert(v, dir, name, len, i->ino, i->mode & 0170000);
	if (r) {
		i->nlink = 0;
		sv_inode_unlinked(v, i);
		sv_inode_put(v, i);
		return r;
	}
	sv_inode_touch(v, dir, true);
	if (sv_inode_is(i, T_DIR)) {
		i->nlink = 2;
		i->parent = dir->ino;
		dir->nlink++;
	}
	if (out)
		*out = i;
	else
		sv_inode_put(v, i);
	return 0;
}

int seal_create(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, u32 mode, u32 uid, u32 gid,
		u64 rdev, struct seal_inode **out)
{
	struct seal_inode *i;
	struct seal_dirent e;
	u32 type = mode & 0170000;
	if (type != T_REG && type != T_DIR && type != T_CHR && type != T_BLK && type != T_FIFO && type != T_SOCK)
		return -EINVAL;
	vol_lock(v);
	int r = change_begin(v, dir, name, len, false);
	if (!r) {
		r = sv_dir_find(v, dir, name, len, &e);
		r = r == -ENOENT ? 0 : r ? r : -EEXIST;
	}
	if (!r)
		r = make(v, dir, mode, uid, gid, &i);
	if (!r) {
		i->rdev = rdev;
		r = enter(v, dir, name, len, i, out);
	}
	vol_unlock(v);
	return r;
}

int seal_tmpfile(struct seal_vol *v, u32 mode, u32 uid, u32 gid, struct seal_inode **out)
{
	vol_lock(v);
	int r = sv_op_begin(v, 24, false);
	if (!r)
		r = sv_inode_alloc(v, T_REG | (mode & 07777), uid, gid, out);
	if (!r) {
		(*out)->nlink = 0;
		sv_inode_unlinked(v, *out);
	}
	vol_unlock(v);
	return r;
}

int seal_symlink(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, const char *target, u32 tlen,
		 u32 uid, u32 gid, struct seal_inode **out)
{
	struct seal_inode *i;
	struct seal_dirent e;
	if (!tlen)
		return -ENOENT;
	if (tlen > SEAL_SYMLINK_MAX)
		return -ENAMETOOLONG;
	vol_lock(v);
	int r = change_begin(v, dir, name, len, false);
	if (!r) {
		r = sv_dir_find(v, dir, name, len, &e);
		r = r == -ENOENT ? 0 : r ? r : -EEXIST;
	}
	if (!r)
		r = make(v, dir, T_LNK | 0777, uid, gid, &i);
	if (!r) {
		i->nlink = 0; // nameless while it is filled: a commit in between would not lose it
		sv_inode_unlinked(v, i);
		s64 n = data_write(v, i, 0, target, tlen);
		if (n == tlen) {
			i->nlink = 1;
			sv_inode_relinked(v, i);
		} else {
			r = n < 0 ? (int)n : -ENOSPC;
			sv_inode_put(v, i);
		}
	}
	if (!r)
		r = enter(v, dir, name, len, i, out);
	vol_unlock(v);
	return r;
}

int seal_readlink(struct seal_vol *v, struct seal_inode *i, char *buf, u32 n)
{
	vol_lock(v);
	int r = sv_inode_is(i, T_LNK) ? (int)data_read(v, i, 0, buf, n) : -EINVAL;
	vol_unlock(v);
	return r;
}

int seal_link(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, struct seal_inode *i)
{
	vol_lock(v);
	int r = change_begin(v, dir, name, len, false);
	if (!r && sv_inode_is(i, T_DIR))
		r = -EPERM;
	if (!r && i->view)
		r = -EXDEV;
	if (!r && i->nlink >= SEAL_LINK_MAX)
		r = -EMLINK;
	if (!r && !dir->nlink)
		r = -ENOENT;
	if (!r)
		r = sv_inode_dirty(v, i);
	if (!r)
		r = sv_dir_insert(v, dir, name, len, i->ino, i->mode & 0170000);
	if (!r) {
		i->nlink++;
		sv_inode_relinked(v, i);
		sv_inode_touch(v, i, false);
		sv_inode_touch(v, dir, true);
	}
	vol_unlock(v);
	return r;
}

static void unlinked(struct seal_vol *v, struct seal_inode *i, u32 links)
{
	i->nlink -= SEAL_MIN(links, i->nlink);
	sv_inode_touch(v, i, false);
	if (!i->nlink)
		sv_inode_unlinked(v, i);
}

static int remove_name(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, bool is_dir)
{
	struct seal_dirent e;
	struct seal_inode *i = NULL;
	vol_lock(v);
	int r = change_begin(v, dir, name, len, true);
	if (r == -EEXIST) // "." and ".."
		r = is_dir ? (len == 1 ? -EINVAL : -ENOTEMPTY) : -EISDIR;
	if (!r)
		r = sv_dir_find(v, dir, name, len, &e);
	if (!r && is_dir != (e.type == T_DIR))
		r = is_dir ? -ENOTDIR : -EISDIR;
	if (!r)
		r = sv_inode_get(v, e.ino, &i);
	if (!r && is_dir && i->dir_count)
		r = -ENOTEMPTY;
	if (!r)
		r = sv_inode_dirty(v, i);
	if (r)
		goto out;
	r = sv_dir_remove(v, dir, e.key);
	if (r) {
		vol_abort(v, r);
		goto out;
	}
	sv_inode_touch(v, dir, true);
	unlinked(v, i, is_dir ? 2 : 1);
	if (is_dir)
		dir->nlink--;
out:
	if (i)
		sv_inode_put_last(v, i);
	vol_unlock(v);
	return r;
}

int seal_unlink(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len)
{
	return remove_name(v, dir, name, len, false);
}

int seal_rmdir(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len)
{
	return remove_name(v, dir, name, len, true);
}

// Is `dir` below (or the same as) the directory `top`?
static int is_below(struct seal_vol *v, struct seal_inode *dir, u64 top)
{
	u64 ino = dir->ino;
	for (u64 steps = 0; steps <= v->inodes; steps++) {
		struct seal_inode *d;
		if (ino == top)
			return 1;
		if (ino == SEAL_ROOT_INO)
			return 0;
		int r = sv_inode_get(v, ino, &d);
		if (r)
			return r;
		ino = d->parent;
		sv_inode_put(v, d);
	}
	return SEAL_ECORRUPT;
}

struct renaming {
	struct seal_inode *od, *nd, *src, *dst;
	struct seal_dirent se, de;
	const char *nname;
	u32 nlen, flags;
};

static int rename_check(struct seal_vol *v, struct renaming *n)
{
	bool sdir = n->se.type == T_DIR, ddir = n->dst && n->de.type == T_DIR;
	if (n->dst && n->flags & SEAL_RENAME_NOREPLACE)
		return -EEXIST;
	if (!n->dst && n->flags & SEAL_RENAME_EXCHANGE)
		return -ENOENT;
	if (!n->nd->nlink)
		return -ENOENT;
	if (sdir) {
		int r = is_below(v, n->nd, n->src->ino);
		if (r)
			return r < 0 ? r : -EINVAL;
	}
	if (n->flags & SEAL_RENAME_EXCHANGE) {
		int r = ddir ? is_below(v, n->od, n->dst->ino) : 0;
		return r < 0 ? r : r ? -EINVAL : 0;
	}
	if (n->dst && sdir != ddir)
		return sdir ? -ENOTDIR : -EISDIR;
	if (ddir && n->dst->dir_count)
		return -ENOTEMPTY;
	if (sdir && !n->dst && n->od != n->nd && n->nd->nlink >= SEAL_LINK_MAX)
		return -EMLINK;
	return 0;
}

static void moved_dir(struct seal_inode *d, struct seal_inode *from, struct seal_inode *to)
{
	if (!sv_inode_is(d, T_DIR) || from == to)
		return;
	d->parent = to->ino;
	from->nlink--;
	to->nlink++;
}

// Everything is checked and the inodes are writable.
static int rename_do(struct seal_vol *v, struct renaming *n)
{
	int r;
	if (n->flags & SEAL_RENAME_EXCHANGE) {
		r = sv_dir_replace(v, n->nd, n->de.key, n->src->ino, n->se.type);
		if (!r && (r = sv_dir_replace(v, n->od, n->se.key, n->dst->ino, n->de.type)))
			return vol_abort(v, r);
		if (r)
			return r;
		moved_dir(n->src, n->od, n->nd);
		moved_dir(n->dst, n->nd, n->od);
		sv_inode_touch(v, n->dst, false);
		return 0;
	}
	if (n->dst)
		r = sv_dir_replace(v, n->nd, n->de.key, n->src->ino, n->se.type);
	else
		r = sv_dir_insert(v, n->nd, n->nname, n->nlen, n->src->ino, n->se.type);
	if (!r && (r = sv_dir_remove(v, n->od, n->se.key)))
		return vol_abort(v, r);
	if (r)
		return r;
	moved_dir(n->src, n->od, n->nd);
	if (n->dst) {
		bool dir = sv_inode_is(n->dst, T_DIR);
		unlinked(v, n->dst, dir ? 2 : 1);
		if (dir)
			n->nd->nlink--;
	}
	return 0;
}

int seal_rename(struct seal_vol *v, struct seal_inode *odir, const char *oname, u32 olen, struct seal_inode *ndir,
		const char *nname, u32 nlen, u32 flags)
{
	struct renaming n = {.od = odir, .nd = ndir, .nname = nname, .nlen = nlen, .flags = flags};
	if (flags & ~(SEAL_RENAME_NOREPLACE | SEAL_RENAME_EXCHANGE) ||
	    flags == (SEAL_RENAME_NOREPLACE | SEAL_RENAME_EXCHANGE))
		return -EINVAL;
	vol_lock(v);
	int r = name_check(odir, oname, olen);
	if (!r)
		r = name_check(ndir, nname, nlen);
	if (r == -EEXIST)
		r = -EBUSY; // "." and ".."
	if (!r && (sv_snapdir_named(v, odir, oname, olen) || sv_snapdir_named(v, ndir, nname, nlen)))
		r = -EPERM;
	if (!r && (sv_is_frozen(v, odir) || sv_is_frozen(v, ndir)))
		r = -EROFS;
	if (!r)
		r = sv_op_begin(v, 32, true);
	if (!r)
		r = sv_inode_dirty(v, odir);
	if (!r)
		r = sv_inode_dirty(v, ndir);
	if (!r)
		r = sv_dir_find(v, odir, oname, olen, &n.se);
	if (!r)
		r = sv_inode_get(v, n.se.ino, &n.src);
	if (r)
		goto out;
	r = sv_dir_find(v, ndir, nname, nlen, &n.de);
	if (!r)
		r = sv_inode_get(v, n.de.ino, &n.dst);
	else if (r == -ENOENT)
		r = 0;
	if (r)
		goto out;
	if (n.dst == n.src) { // two names of one file: nothing happens (POSIX)
		r = flags & SEAL_RENAME_NOREPLACE ? -EEXIST : 0;
		goto out;
	}
	r = rename_check(v, &n);
	if (!r)
		r = sv_inode_dirty(v, n.src);
	if (!r && n.dst)
		r = sv_inode_dirty(v, n.dst);
	if (!r)
		r = rename_do(v, &n);
	if (!r) {
		sv_inode_touch(v, n.src, false);
		sv_inode_touch(v, odir, true);
		sv_inode_touch(v, ndir, true);
	}
out:
	if (n.src)
		sv_inode_put(v, n.src);
	if (n.dst)
		sv_inode_put_last(v, n.dst);
	vol_unlock(v);
	return r;
}

int seal_readdir(struct seal_vol *v, struct seal_inode *dir, u64 cookie, seal_emit emit, void *ctx)
{
	vol_lock(v);
	int r = 0;
	if (!sv_inode_is(dir, T_DIR))
		r = -ENOTDIR;
	else if (sv_is_stale(dir))
		r = -ESTALE;
	else if (dir == &v->snapdir)
		r = sv_snapdir_iterate(v, cookie, emit, ctx);
	else if (!(cookie >> 63))
		r = sv_dir_iterate(v, dir, cookie, emit, ctx);
	vol_unlock(v);
	return r;
}
