// SPDX-License-Identifier: Apache-2.0
// FUSE: inodes and their attributes. An inode is known by the daemon's number for it and counts how often the daemon has told of it;
// its end takes all of that back (FORGET). Attributes are believed as long as the daemon says. Locks: see fuse.h.
#include "kernel/fs/fuse.h"
#include "kernel/include/ktime.h"
#include "kernel/task/userns.h"
#include <linux/xattr.h>

#define XATTR_MOST 65536u

bool fuse_allowed(const struct fuse_conn *c)
{
	const struct cred *k = cred();

	if (c->allow_other) // who mounts in a user namespace has no power over those outside of it
		return likely(!c->user_ns) || user_ns_above(c->user_ns, k->user_ns);
	return k->euid == c->user_id && k->uid == c->user_id && k->suid == c->user_id && k->egid == c->group_id && k->gid == c->group_id &&
	       k->sgid == c->group_id;
}

static void attributes(struct inode *i, const struct fuse_attr *a, u64 valid, u32 valid_nsec, u64 version)
{
	u64 ns = valid > 1000000000 ? U64_MAX / 2 : valid * NSEC_PER_SEC + min(valid_nsec, 999999999u), was;
	struct fuse_node *n = fuse_node(i);
	struct fuse_conn *c = fuse_conn(i);

	mutex_lock(&c->lock);
	if (version && (n->version > version || n->resizing)) {
		mutex_unlock(&c->lock);
		return;
	}
	n->version = __atomic_add_fetch(&c->version, 1, __ATOMIC_RELEASE);
	i->ino = a->ino;
	i->mode = a->mode;
	i->nlink = a->nlink;
	i->uid = fuse_id_in(c, false, a->uid);
	i->gid = fuse_id_in(c, true, a->gid);
	i->rdev = a->rdev;
	i->blocks = a->blocks;
	i->atime = (struct fstime){(s64)a->atime, a->atimensec};
	i->mtime = (struct fstime){(s64)a->mtime, a->mtimensec};
	i->ctime = (struct fstime){(s64)a->ctime, a->ctimensec};
	i->btime = i->ctime;
	was = i->size;
	__atomic_store_n(&i->size, a->size, __ATOMIC_RELAXED);
	__atomic_store_n(&n->fresh_until, ns ? ktime_mono() + ns : 0, __ATOMIC_RELAXED);
	mutex_unlock(&c->lock);
	if (is_reg(i) && i->pc && a->size < was) {
		pc_truncate(i->pc, a->size, was);
		mm_cut(i->pc, a->size);
	}
}

void fuse_grew(struct inode *i, u64 size)
{
	struct fuse_conn *c = fuse_conn(i);

	mutex_lock(&c->lock);
	fuse_node(i)->version = __atomic_add_fetch(&c->version, 1, __ATOMIC_RELEASE);
	if (size > i->size)
		__atomic_store_n(&i->size, size, __ATOMIC_RELAXED);
	mutex_unlock(&c->lock);
}

struct inode *fuse_inode(struct super *sb, const struct fuse_entry_out *e, u64 version)
{
	struct inode *i = inode_find(sb, e->nodeid);
	struct fuse_conn *c = sb->priv;
	struct fuse_node *n;

	if (i) {
		mutex_lock(&c->lock);
		fuse_node(i)->forget.nlookup++;
		mutex_unlock(&c->lock);
	} else {
		n = knew(struct fuse_node);
		i = n ? inode_new(sb, e->attr.mode) : NULL;
		if (!i) {
			kfree(n);
			return ERR_PTR(-ENOMEM);
		}
		list_init(&n->forget.link);
		list_init(&n->files);
		n->inode = i;
		n->forget.nodeid = e->nodeid;
		n->forget.nlookup = e->nodeid != FUSE_ROOT_ID;
		i->generation = e->generation;
		i->priv = n;
		i->iops = &fuse_file_iops;
		if (is_dir(i)) {
			i->iops = &fuse_dir_iops;
			i->fops = &fuse_dir_fops;
		} else if (is_lnk(i)) {
			i->iops = &fuse_link_iops;
		} else if (is_reg(i)) {
			i->fops = &fuse_file_fops;
			if (!(i->pc = fuse_pages(i))) {
				inode_put(i);
				return ERR_PTR(-ENOMEM);
			}
		}
		i = inode_insert(i, e->nodeid);
	}
	if ((i->mode ^ e->attr.mode) & S_IFMT) { // a number that was given to something else while it was in use
		inode_put(i);
		return ERR_PTR(-EIO);
	}
	attributes(i, &e->attr, e->attr_valid, e->attr_valid_nsec, version);
	return i;
}

void fuse_evict(struct inode *i)
{
	struct fuse_node *n = fuse_node(i);
	struct fuse_conn *c = fuse_conn(i);

	if (!n)
		return;
	i->priv = NULL;
	if (i->pc)
		i->pc->owner = NULL;
	if (n->forget.nodeid == FUSE_ROOT_ID) // unmounted
		fuse_abort(c, true);
	fuse_forget(c, &n->forget);
}

int fuse_permission(struct inode *i, int mask)
{
	struct fuse_conn *c = fuse_conn(i);

	if (!fuse_allowed(c))
		return -EACCES;
	if (!c->default_permissions) // the daemon judges; but nothing is run that is no program
		return (mask & MAY_EXEC) && is_reg(i) && !(i->mode & 0111) ? -EACCES : 0;
	if (!(mask & MAY_NOW) && __atomic_load_n(&fuse_node(i)->fresh_until, __ATOMIC_RELAXED) <= ktime_mono())
		return -ECHILD;
	return mode_permission(i, mask & ~MAY_NOW);
}

int fuse_access(struct inode *i, int mask)
{
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_access_in in = {.mask = (u32)mask};

	if (c->default_permissions || c->no_access || !mask)
		return 0;
	int r = fuse_call(c, FUSE_ACCESS, fuse_id(i), &(struct fuse_arg){&in, sizeof(in)}, 1, NULL, 0, 0);
	return fuse_unsupported(r, &c->no_access, 0);
}

int fuse_getattr(struct inode *i)
{
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	u64 version = fuse_version(c);
	int r;

	if (!fuse_allowed(c))
		return -EACCES;
	if (ktime_mono() < __atomic_load_n(&fuse_node(i)->fresh_until, __ATOMIC_RELAXED))
		return 0;
	r = fuse_call(c, FUSE_GETATTR, fuse_id(i), &(struct fuse_arg){&in, sizeof(in)}, 1, &out, sizeof(out), sizeof(out));
	if (r < 0)
		return r;
	if (!fuse_attr_ok(&out.attr) || (out.attr.mode ^ i->mode) & S_IFMT)
		return -EIO;
	attributes(i, &out.attr, out.attr_valid, out.attr_valid_nsec, version);
	return 0;
}

static void resizing(struct inode *i, u32 by)
{
	mutex_lock(&fuse_conn(i)->lock);
	fuse_node(i)->resizing += by;
	mutex_unlock(&fuse_conn(i)->lock);
}

int fuse_setattr(struct inode *i, const struct iattr *a)
{
	struct fuse_setattr_in in = {
		.valid = (a->valid & ATTR_MODE ? FATTR_MODE : 0) | (a->valid & ATTR_UID ? FATTR_UID : 0) | (a->valid & ATTR_GID ? FATTR_GID : 0) |
			 (a->valid & ATTR_SIZE ? FATTR_SIZE : 0) | (a->valid & ATTR_ATIME ? FATTR_ATIME : 0) | (a->valid & ATTR_MTIME ? FATTR_MTIME : 0),
		.mode = (i->mode & S_IFMT) | (a->mode & 07777), .uid = fuse_id_out(fuse_conn(i), false, a->uid),
		.gid = fuse_id_out(fuse_conn(i), true, a->gid), .size = a->size, .atime = (u64)a->atime.sec,
		.atimensec = a->atime.nsec, .mtime = (u64)a->mtime.sec, .mtimensec = a->mtime.nsec};
	struct fuse_attr_out out;
	int r;

	if (!fuse_allowed(fuse_conn(i)))
		return -EACCES;
	if (a->valid & ATTR_SIZE)
		resizing(i, 1);
	r = fuse_call(fuse_conn(i), FUSE_SETATTR, fuse_id(i), &(struct fuse_arg){&in, sizeof(in)}, 1, &out, sizeof(out), sizeof(out));
	if (r >= 0)
		r = !fuse_attr_ok(&out.attr) || (out.attr.mode ^ i->mode) & S_IFMT ? -EIO : 0;
	if (!r)
		attributes(i, &out.attr, out.attr_valid, out.attr_valid_nsec, 0);
	if (a->valid & ATTR_SIZE)
		resizing(i, -1u);
	return r;
}

// --- extended attributes

// The answer is a size when n is 0, else the value or list itself.
static ssize_t ask_xattr(struct inode *i, u32 opcode, const char *name, void *buf, size_t n)
{
	struct fuse_getxattr_in in = {.size = (u32)min(n, (size_t)XATTR_MOST)};
	struct fuse_arg args[] = {{&in, sizeof(in)}, {name, name ? strlen(name) + 1 : 0}};
	struct fuse_getxattr_out size;
	int r;

	if (!n) {
		r = fuse_call(fuse_conn(i), opcode, fuse_id(i), args, 2, &size, sizeof(size), sizeof(size));
		return r < 0 ? r : size.size > XATTR_MOST ? -E2BIG : (ssize_t)size.size;
	}
	return fuse_call(fuse_conn(i), opcode, fuse_id(i), args, 2, buf, 0, in.size);
}

ssize_t fuse_getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
	struct fuse_conn *c = fuse_conn(i);

	if (c->no_getxattr)
		return -EOPNOTSUPP;
	ssize_t r = fuse_allowed(c) ? ask_xattr(i, FUSE_GETXATTR, name, buf, n) : -EACCES;
	return r >= 0 ? r : fuse_unsupported((int)r, &c->no_getxattr, -EOPNOTSUPP);
}

ssize_t fuse_listxattr(struct inode *i, char *buf, size_t n)
{
	struct fuse_conn *c = fuse_conn(i);

	if (c->no_listxattr)
		return -EOPNOTSUPP;
	ssize_t r = fuse_allowed(c) ? ask_xattr(i, FUSE_LISTXATTR, NULL, buf, n) : -EACCES;
	if (r > 0 && n && !fuse_names_ok(buf, (u32)r))
		return -EIO;
	return r >= 0 ? r : fuse_unsupported((int)r, &c->no_listxattr, -EOPNOTSUPP);
}

int fuse_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags)
{
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_setxattr_in in = {.size = (u32)n, .flags = (u32)flags};
	struct fuse_arg args[] = {{&in, FUSE_COMPAT_SETXATTR_IN_SIZE}, {name, strlen(name) + 1}, {buf, n}};

	if (c->no_setxattr)
		return -EOPNOTSUPP;
	int r = fuse_allowed(c) ? fuse_call(c, FUSE_SETXATTR, fuse_id(i), args, 3, NULL, 0, 0) : -EACCES;
	fuse_stale(i);
	return fuse_unsupported(r, &c->no_setxattr, -EOPNOTSUPP);
}

int fuse_removexattr(struct inode *i, const char *name)
{
	struct fuse_conn *c = fuse_conn(i);

	if (c->no_removexattr)
		return -EOPNOTSUPP;
	int r = fuse_allowed(c) ? fuse_call(c, FUSE_REMOVEXATTR, fuse_id(i), &(struct fuse_arg){name, strlen(name) + 1}, 1, NULL, 0, 0) : -EACCES;
	fuse_stale(i);
	return fuse_unsupported(r, &c->no_removexattr, -EOPNOTSUPP);
}
