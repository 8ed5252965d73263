// SPDX-License-Identifier: Apache-2.0
// The root file system: a tmpfs whose names and objects come from a read-only file system below until they change.
// Each object below is wrapped in an inode of the memory file system that starts with its attributes and
// shares its page cache. While nothing has changed the wrapper can be forgotten and made again; the first change pins
// it. Names that are removed or moved leave whiteouts. File data is copied when a file is first opened for writing;
// attributes, links and renames never copy data. Locks: as tmpfs.c. The file system below takes none of ours.
#include "kernel/fs/memdir.h"

#define OVERLAYFS_MAGIC 0x794c7630u
#define COPY_BYTES (128u << 10)
#define XATTR_BYTES 65536u

// The few files that have extended attributes have them in memory while they are known.
static int copy_xattrs(struct inode *i, struct inode *lower)
{
	ssize_t all = lower->iops && lower->iops->listxattr ? lower->iops->listxattr(lower, NULL, 0) : 0, n;
	char *names, *value;
	int r = 0;
	if (all <= 0)
		return (int)all;
	names = kmalloc((size_t)all);
	value = kmalloc(XATTR_BYTES);
	if (!names || !value)
		r = -ENOMEM;
	else if (lower->iops->listxattr(lower, names, (size_t)all) != all)
		r = -EIO;
	for (const char *name = names; !r && name < names + all; name += strlen(name) + 1) {
		n = lower->iops->getxattr(lower, name, value, XATTR_BYTES);
		r = n < 0 ? (int)n : mem_add_xattr(i, name, value, (size_t)n);
	}
	kfree(names);
	kfree(value);
	return r;
}

// ERR_PTR.
static struct inode *wrap(struct super *sb, struct inode *lower)
{
	struct inode *i = inode_find(sb, lower->ino);
	if (i) {
		inode_put(lower);
		return i;
	}
	i = mem_inode(sb, lower->mode);
	if (!i) {
		inode_put(lower);
		return ERR_PTR(-ENOMEM);
	}
	struct memnode *n = node_of(i);
	n->lower = lower;
	int r = copy_xattrs(i, lower);
	if (r) {
		inode_put(i);
		return ERR_PTR(r);
	}
	i->ino = lower->ino;
	i->uid = lower->uid;
	i->gid = lower->gid;
	i->nlink = lower->nlink;
	i->rdev = lower->rdev;
	i->size = lower->size;
	i->blocks = lower->blocks;
	i->atime = lower->atime;
	i->mtime = lower->mtime;
	i->ctime = lower->ctime;
	i->btime = lower->btime;
	if (is_reg(i)) {
		n->lower_data = true;
		i->pc = n->lower_pc = lower->pc;
		pc_get(lower->pc); // one for the inode, one for the node: see copy_up
		pc_get(lower->pc);
	}
	return inode_insert(i, lower->ino);
}

int overlay_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct inode *lower = node_of(dir)->lower, *found = NULL;
	if (!lower)
		return -ENOENT;
	int r = lower->iops->lookup(lower, name, len, &found);
	if (r)
		return r;
	found = wrap(dir->sb, found);
	if (IS_ERR(found))
		return (int)PTR_ERR(found);
	*out = found;
	return 0;
}

bool overlay_hides(struct inode *dir, const char *name, u32 len)
{
	struct inode *lower = node_of(dir)->lower, *found = NULL;
	if (!lower || lower->iops->lookup(lower, name, len, &found) == -ENOENT)
		return false;
	inode_put(found);
	return true;
}

struct merge {			// readdir of the layer below, names of the upper layer left out
	struct dir_ctx ctx, *out;
	struct memdir *upper;
	bool any;
};

static bool merge_emit(struct dir_ctx *c, const char *name, u32 len, u64 ino, u32 dtype, u64 next_pos)
{
	struct merge *m = container_of(c, struct merge, ctx);
	if (memdir_find(m->upper, name, len)) {
		c->pos = next_pos;
		return true;
	}
	m->any = true;
	if (!m->out || !m->out->emit(m->out, name, len, ino, dtype, WHITEOUT_COOKIES + next_pos))
		return false;
	c->pos = next_pos;
	return true;
}

int overlay_readdir(struct inode *dir, struct dir_ctx *c)
{
	struct memnode *n = node_of(dir);
	if (!n->lower)
		return 0;
	struct file below = {.inode = n->lower};
	struct merge m = {
		.ctx = {.pos = c->pos >= WHITEOUT_COOKIES ? c->pos - WHITEOUT_COOKIES : 2, .emit = merge_emit},
		.out = c,
		.upper = &n->dir};
	return n->lower->fops->readdir(&below, &m.ctx);
}

bool overlay_empty(struct inode *dir)
{
	struct memnode *n = node_of(dir);
	if (!n->lower || !is_dir(dir))
		return true;
	struct file below = {.inode = n->lower};
	struct merge m = {.ctx = {.pos = 2, .emit = merge_emit}, .upper = &n->dir};
	return !n->lower->fops->readdir(&below, &m.ctx) && !m.any;
}

void overlay_dirty(struct inode *i)
{
	struct memnode *n = node_of(i);
	if (n->lower && i->nlink && !__atomic_exchange_n(&n->pinned, true, __ATOMIC_ACQ_REL))
		inode_get(i);
}

void overlay_gone(struct inode *i)
{
	// The caller has a reference: this one is not the last.
	if (__atomic_exchange_n(&node_of(i)->pinned, false, __ATOMIC_ACQ_REL))
		inode_put(i);
}

int overlay_copy_up(struct inode *i, u64 keep)
{
	struct memnode *n = node_of(i);
	u64 size = min(keep, i->size), pos = 0;
	struct pagecache *pc, *old = i->pc;
	char *buf = NULL;
	int r = 0;
	if (!n->lower_data)
		return 0;
	if (!(pc = mem_pc(i)) || (size && !(buf = kmalloc(COPY_BYTES)))) {
		r = -ENOMEM;
		goto out;
	}
	while (pos < size) {
		struct iter it;
		u64 k = min(size - pos, (u64)COPY_BYTES);
		iter_kernel(&it, buf, k);
		ssize_t got = pc_read(old, &it, pos, size);
		if (got <= 0) {
			r = got ? (int)got : -EIO;
			goto out;
		}
		iter_kernel(&it, buf, (size_t)got);
		ssize_t put = pc_write(pc, &it, pos, size);
		if (put != got) {
			r = put < 0 ? (int)put : -ENOSPC;
			goto out;
		}
		pos += (u64)got;
	}
	overlay_dirty(i);
	__atomic_store_n(&i->pc, pc, __ATOMIC_RELEASE);
	n->lower_data = false;
	pc_put(old); // the node's own reference keeps it for readers that have loaded the pointer
	pc = NULL;
out:
	if (pc)
		pc_put(pc);
	kfree(buf);
	return r == -ENOMEM ? -ENOSPC : r;
}

int overlay_mount(struct super *lower, struct super **out)
{
	struct memfs *fs = knew(struct memfs);
	struct super *sb = fs ? super_new("overlay", &memfs_sops, OVERLAYFS_MAGIC) : NULL;
	if (!sb) {
		kfree(fs);
		return -ENOMEM;
	}
	sb->priv = fs;
	fs->lower = lower;
	super_get(lower);
	sb->next_ino = lower->next_ino; // new numbers lie above all of those below
	inode_get(lower->root);
	struct inode *root = wrap(sb, lower->root);
	if (IS_ERR(root)) {
		super_put(sb);
		return (int)PTR_ERR(root);
	}
	sb->root = root;
	*out = sb;
	return 0;
}
