// SPDX-License-Identifier: Apache-2.0
// tmpfs: files in enclave memory. Regular files live in the page cache, which has no storage behind it; the same code
// is the upper layer of the root file system (overlay.c). Locks: the directory's inode lock (taken by the VFS), then
// the inode lock of the object it names.
#include "kernel/fs/memdir.h"

#define TMPFS_MAGIC_ 0x01021994u
#define RAMFS_MAGIC_ 0x858458f6u
#define DIR_ENTRY_SIZE 20u	// i_size of a directory: as Linux's tmpfs counts
#define FALLOC_KEEP_SIZE 1
#define FALLOC_PUNCH_HOLE 2
#define FALLOC_ZERO_RANGE 16

static void dir_changed(struct inode *dir)
{
	overlay_dirty(dir);
	dir->size = (u64)node_of(dir)->dir.live * DIR_ENTRY_SIZE;
	inode_touch(dir, ATTR_MTIME);
}

struct inode *mem_inode(struct super *sb, u32 mode)
{
	struct memnode *n = knew(struct memnode);
	struct inode *i = n ? inode_new(sb, mode) : NULL;
	if (!i) {
		kfree(n);
		return NULL;
	}
	list_init(&n->xattrs);
	i->priv = n;
	struct memfs *fs = sb->priv;
	super_add(sb, SB_INODES, &fs->inodes, 1);
	switch (mode & S_IFMT) {
	case S_IFDIR:
		i->iops = &memdir_iops;
		i->fops = &memdir_fops;
		i->nlink = 2;
		break;
	case S_IFLNK:
		i->iops = &memlink_iops;
		break;
	case S_IFREG:
		i->iops = &memfile_iops;
		i->fops = &memfile_fops;
		break;
	default: // devices, FIFOs, sockets: open.c knows their operations
		i->iops = &memfile_iops;
	}
	return i;
}

static u64 data_size(struct pagecache *pc)
{
	struct inode *i = pc->owner;
	return i ? i->size : 0;
}

// Memory is the storage: nothing to read or write, but a mapping must know where the file ends.
static const struct pc_ops mem_pc_ops = {.size = data_size};

struct pagecache *mem_pc(struct inode *i) { return pc_new(&mem_pc_ops, i); }

// A new object in dir; regular files get their page cache.
static struct inode *new_object(struct inode *dir, u32 mode)
{
	struct memfs *fs = dir->sb->priv;
	if (fs->max_inodes && super_sum(dir->sb, SB_INODES, &fs->inodes) >= fs->max_inodes)
		return NULL; // the callers' ENOSPC
	if (page_short()) // names without number must not take the memory that is needed to remove them
		return NULL;
	struct inode *i = mem_inode(dir->sb, mode);
	if (!i)
		return NULL;
	if (dir->mode & S_ISGID) {
		i->gid = dir->gid;
		if (is_dir(i))
			i->mode |= S_ISGID;
	}
	i->flags = dir->flags & FILE_INHERITED;
	if (is_reg(i) && !(i->pc = mem_pc(i))) {
		inode_put(i);
		return NULL;
	}
	return i;
}

// --- accounting
// Pages that may still be added; U64_MAX without a limit.
static u64 room(const struct super *sb)
{
	struct memfs *fs = sb->priv;
	u64 used = super_sum(sb, SB_PAGES, &fs->used_pages);
	return !fs->max_pages ? U64_MAX : used < fs->max_pages ? fs->max_pages - used : 0;
}

// Surely that many and more, without a look at what other CPUs count.
static bool has_room(const struct super *sb, u64 pages)
{
	struct memfs *fs = sb->priv;
	s64 used = (s64)__atomic_load_n(&fs->used_pages, __ATOMIC_RELAXED);
	return !fs->max_pages || (s64)fs->max_pages - used > (s64)(pages + SUPER_SLACK);
}

static void charge(struct inode *i)
{
	struct memnode *n = node_of(i);
	u64 now = n->lower_data || !i->pc ? 0 : i->pc->npages;
	if (now != n->charged) {
		super_add(i->sb, SB_PAGES, &memfs_of(i)->used_pages, (s64)(now - n->charged));
		n->charged = now;
	}
}

// How many of the n bytes at pos can be written without exceeding the limit.
static u64 fits(struct inode *i, u64 pos, u64 n)
{
	if (likely(has_room(i->sb, (n >> PAGE_SHIFT) + 1)))
		return n;
	u64 left = room(i->sb);
	if (left > (n >> PAGE_SHIFT) + 1)
		return n;
	u64 end = pos + n, at = pos;
	while (at < end) { // over present pages and holes in turn
		u64 data = pc_next_data(i->pc, at), page = ALIGN_DOWN(at, PAGE_SIZE);
		if (data > at) {
			u64 hole_end = min(ALIGN_UP(min(data, end), PAGE_SIZE), ALIGN_UP(end, PAGE_SIZE)),
			    pages = (hole_end - page) >> PAGE_SHIFT;
			if (pages > left)
				return max(page + left * PAGE_SIZE, pos) - pos;
			left -= pages;
			at = hole_end;
		} else {
			at = max(pc_next_hole(i->pc, at), at + 1);
		}
	}
	return n;
}

// --- directories
static int lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct mement *e = memdir_find(&node_of(dir)->dir, name, len);
	if (!e)
		return overlay_lookup(dir, name, len, out);
	if (!e->inode)
		return -ENOENT;
	inode_get(e->inode);
	*out = e->inode;
	return 0;
}

// Enters ino under a name that does not exist (but may be whited out).
static int enter(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct memdir *d = &node_of(dir)->dir;
	struct mement *e = memdir_find(d, name, len);
	if (e) {
		memdir_set(d, e, ino);
		return 0;
	}
	return memdir_add(d, name, len, ino);
}

// Takes a name away, leaving a whiteout if the layer below has it.
static int leave(struct inode *dir, const char *name, u32 len)
{
	struct memdir *d = &node_of(dir)->dir;
	struct mement *e = memdir_find(d, name, len);
	bool hide = overlay_hides(dir, name, len);
	if (hide && !e)
		return memdir_add(d, name, len, NULL);
	if (hide)
		memdir_set(d, e, NULL);
	else if (e)
		memdir_del(d, e);
	return 0;
}

static int add_new(struct inode *dir, const char *name, u32 len, struct inode *i, struct inode **out)
{
	int r = enter(dir, name, len, i);
	if (r) {
		inode_put(i);
		return r == -ENOMEM ? -ENOSPC : r;
	}
	if (is_dir(i))
		dir->nlink++;
	dir_changed(dir);
	*out = i;
	return 0;
}

static int create(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev, struct inode **out)
{
	struct inode *i = new_object(dir, mode);
	if (!i)
		return -ENOSPC;
	i->rdev = rdev;
	return add_new(dir, name, len, i, out);
}

static int make_dir(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	return create(dir, name, len, S_IFDIR | (mode & 07777), 0, out);
}

static int make_symlink(struct inode *dir, const char *name, u32 len, const char *target, struct inode **out)
{
	struct inode *i = new_object(dir, S_IFLNK | 0777);
	char *t = kstrdup(target);
	if (!i || !t) {
		kfree(t);
		inode_put(i);
		return -ENOSPC;
	}
	node_of(i)->target = t;
	i->size = strlen(target);
	return add_new(dir, name, len, i, out);
}

static int make_tmpfile(struct inode *dir, u32 mode, struct inode **out)
{
	struct inode *i = new_object(dir, mode);
	if (!i)
		return -ENOSPC;
	i->nlink = 0;
	*out = i;
	return 0;
}

static int make_link(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	mutex_lock(&ino->lock);
	int r = enter(dir, name, len, ino);
	if (!r) {
		overlay_dirty(ino);
		ino->nlink++;
		ino->linkable = false;
		ino->ctime = fstime_now();
	}
	mutex_unlock(&ino->lock);
	if (!r)
		dir_changed(dir);
	return r;
}

static void drop_link(struct inode *ino, u32 by)
{
	overlay_dirty(ino);
	ino->nlink -= min(ino->nlink, by);
	ino->ctime = fstime_now();
	if (!ino->nlink)
		overlay_gone(ino);
}

static int unlink(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	mutex_lock(&ino->lock);
	int r = leave(dir, name, len);
	if (!r)
		drop_link(ino, 1);
	mutex_unlock(&ino->lock);
	if (!r)
		dir_changed(dir);
	return r;
}

static int rmdir(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	mutex_lock(&ino->lock); // nothing may appear in it meanwhile
	int r = node_of(ino)->dir.live || !overlay_empty(ino) ? -ENOTEMPTY : leave(dir, name, len);
	if (!r)
		drop_link(ino, U32_MAX);
	mutex_unlock(&ino->lock);
	if (!r) {
		dir->nlink--;
		dir_changed(dir);
	}
	return r;
}

static void dir_links(struct inode *od, struct inode *nd, struct inode *moved)
{
	if (moved && is_dir(moved) && od != nd) {
		od->nlink--;
		nd->nlink++;
	}
}

static int rename(struct inode *od, const char *on, u32 olen, struct inode *ino, struct inode *nd, const char *nn,
		  u32 nlen, struct inode *victim, u32 flags)
{
	bool exchange = flags & 2;
	struct inode *white = NULL; // RENAME_WHITEOUT: a character device 0:0 takes the old name
	int r = 0;
	if (flags & 4 && !(white = new_object(od, S_IFCHR)))
		return -ENOSPC;
	if (victim && !exchange && is_dir(victim)) {
		mutex_lock(&victim->lock);
		r = node_of(victim)->dir.live || !overlay_empty(victim) ? -ENOTEMPTY : 0;
		if (!r)
			drop_link(victim, U32_MAX);
		mutex_unlock(&victim->lock);
		if (r) {
			inode_put(white);
			return r;
		}
		nd->nlink--;
	} else if (victim && !exchange) {
		mutex_lock(&victim->lock);
		drop_link(victim, 1);
		mutex_unlock(&victim->lock);
	}
	overlay_dirty(ino);
	if (exchange) {
		overlay_dirty(victim);
		inode_get(ino);
		inode_get(victim);
		if (!(r = enter(od, on, olen, victim)))
			r = enter(nd, nn, nlen, ino);
		dir_links(od, nd, ino);
		dir_links(nd, od, victim);
		inode_put(ino);
		inode_put(victim);
	} else {
		inode_get(ino);
		if (!(r = enter(nd, nn, nlen, ino))) {
			r = white ? enter(od, on, olen, white) : leave(od, on, olen);
			dir_links(od, nd, ino);
		}
		inode_put(ino);
		inode_put(white);
	}
	ino->ctime = fstime_now();
	dir_changed(od);
	if (nd != od)
		dir_changed(nd);
	return r;
}

static int readdir(struct file *f, struct dir_ctx *c)
{
	struct inode *dir = f->inode;
	struct memdir *d = &node_of(dir)->dir;
	if (c->pos < WHITEOUT_COOKIES)
		for (u32 k = memdir_from(d, c->pos); k < d->nslots; k++) {
			struct mement *e = d->slot[k];
			if (e && e->inode &&
			    !c->emit(c, e->name, e->len, e->inode->ino, e->inode->mode >> 12 & 15, e->cookie + 1))
				return 0;
		}
	return overlay_readdir(dir, c);
}

// --- attributes
static int setattr(struct inode *i, const struct iattr *a)
{
	struct memnode *n = node_of(i);
	if (a->valid & ATTR_SIZE) {
		if (a->size > (u64)S64_MAX)
			return -EFBIG;
		if (n->lower_data) {
			int r = overlay_copy_up(i, a->size);
			if (r)
				return r;
		}
		u64 old = i->size;
		i->size = a->size;
		if (a->size < old)
			pc_truncate(i->pc, a->size, old);
		charge(i);
		inode_touch(i, ATTR_MTIME);
	}
	overlay_dirty(i);
	setattr_copy(i, a);
	return 0;
}

static int getattr(struct inode *i)
{
	if (i->pc && !node_of(i)->lower_data)
		i->blocks = i->pc->npages * (PAGE_SIZE / 512);
	return 0;
}

static int set_flags(struct inode *i, u32 flags)
{
	overlay_dirty(i);
	i->flags = flags;
	i->ctime = fstime_now();
	return 0;
}

static int readlink(struct inode *i, char *buf, u32 n)
{
	struct memnode *node = node_of(i);
	if (!node->target)
		return node->lower->iops->readlink(node->lower, buf, n);
	u32 len = min((u32)strlen(node->target), n);
	memcpy(buf, node->target, len);
	return (int)len;
}

static struct xattr *xattr_find(struct inode *i, const char *name)
{
	struct xattr *x;
	list_for_each(x, &node_of(i)->xattrs, link)
		if (!strcmp(x->name, name))
			return x;
	return NULL;
}

static ssize_t getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
	struct xattr *x = xattr_find(i, name);
	if (!x)
		return -ENODATA;
	if (!n)
		return x->len;
	if (x->len > n)
		return -ERANGE;
	memcpy(buf, x->value, x->len);
	return x->len;
}

static void xattr_free(struct xattr *x)
{
	list_del(&x->link);
	kfree(x->name);
	kfree(x);
}

int mem_add_xattr(struct inode *i, const char *name, const void *buf, size_t n)
{
	struct xattr *x = kmalloc(sizeof(*x) + n);
	char *nm = kstrdup(name);
	if (!x || !nm) {
		kfree(x);
		kfree(nm);
		return -ENOSPC;
	}
	x->len = (u32)n;
	x->name = nm;
	memcpy(x->value, buf, n);
	list_add_tail(&x->link, &node_of(i)->xattrs);
	return 0;
}

static int setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags)
{
	struct xattr *old = xattr_find(i, name);
	if (old && (flags & 1))
		return -EEXIST;
	if (!old && (flags & 2))
		return -ENODATA;
	int r = mem_add_xattr(i, name, buf, n);
	if (r)
		return r;
	if (old)
		xattr_free(old);
	overlay_dirty(i);
	i->ctime = fstime_now();
	return 0;
}

static ssize_t listxattr(struct inode *i, char *buf, size_t n)
{
	struct xattr *x;
	size_t total = 0;
	list_for_each(x, &node_of(i)->xattrs, link) {
		size_t len = strlen(x->name) + 1;
		if (n && total + len > n)
			return -ERANGE;
		if (n)
			memcpy(buf + total, x->name, len);
		total += len;
	}
	return (ssize_t)total;
}

static int removexattr(struct inode *i, const char *name)
{
	struct xattr *x = xattr_find(i, name);
	if (!x)
		return -ENODATA;
	xattr_free(x);
	overlay_dirty(i);
	i->ctime = fstime_now();
	return 0;
}

// --- regular files
static int file_opened(struct inode *i, struct file *f)
{
	int r = 0;
	if (node_of(i)->lower_data && can_write(f)) {
		mutex_lock(&i->lock);
		r = overlay_copy_up(i, U64_MAX);
		mutex_unlock(&i->lock);
	}
	return r;
}

static ssize_t file_write(struct file *f, struct iter *it, u64 *pos)
{
	struct inode *i = f->inode;
	ssize_t r = 0;
	if (!it->left)
		return 0;
	mutex_lock(&i->lock);
	u64 at = f->flags & O_APPEND ? i->size : *pos, n = it->left, limit = RLIMIT(RLIMIT_FSIZE);
	bool too_big = false;
	if (unlikely(at >= limit || at >= (u64)S64_MAX - PAGE_SIZE)) {
		r = -EFBIG;
		too_big = at >= limit;
		goto out;
	}
	n = min(min(n, limit - at), (u64)S64_MAX - PAGE_SIZE - at);
	n = fits(i, at, n);
	if (!n) {
		r = -ENOSPC;
		goto out;
	}
	size_t rest = it->left - n;
	it->left = n;
	r = pc_write(i->pc, it, at, i->size);
	it->left += rest;
	if (r == -ENOMEM)
		r = -ENOSPC;
	if (r > 0) {
		*pos = at + (u64)r;
		if (*pos > i->size)
			i->size = *pos;
		inode_touch(i, ATTR_MTIME);
		if (unlikely(i->mode & (S_ISUID | S_ISGID)))
			i->mode = mode_written(i);
	}
	charge(i);
out:
	mutex_unlock(&i->lock);
	if (too_big)
		signal_send_task(current, SIGXFSZ, NULL);
	return r;
}

static int file_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct inode *i = f->inode;
	u64 end = off + len;
	int r = 0;
	if (mode & ~(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE))
		return -EOPNOTSUPP;
	if ((mode & FALLOC_PUNCH_HOLE) && !(mode & FALLOC_KEEP_SIZE))
		return -EOPNOTSUPP;
	mutex_lock(&i->lock);
	if (mode & (FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE))
		pc_punch(i->pc, off, end);
	if (!(mode & FALLOC_PUNCH_HOLE)) {
		if (fits(i, off, len) < len)
			r = -ENOSPC;
		if (!r)
			r = pc_allocate(i->pc, off >> PAGE_SHIFT, PAGE_ALIGN(end) >> PAGE_SHIFT);
		if (!r && !(mode & FALLOC_KEEP_SIZE) && end > i->size)
			i->size = end;
	}
	charge(i);
	if (!r)
		inode_touch(i, ATTR_MTIME);
	mutex_unlock(&i->lock);
	return r;
}

// --- super block
static void evict(struct inode *i)
{
	struct memnode *n = node_of(i);
	struct memfs *fs = memfs_of(i);
	if (!n)
		return;
	super_add(i->sb, SB_PAGES, &fs->used_pages, -(s64)n->charged);
	super_add(i->sb, SB_INODES, &fs->inodes, -1);
	if (i->pc && !n->lower_data)
		pc_truncate(i->pc, 0, i->size);
	memdir_free(&n->dir);
	while (!list_empty(&n->xattrs))
		xattr_free(list_first(&n->xattrs, struct xattr, link));
	kfree(n->target);
	if (n->lower_pc)
		pc_put(n->lower_pc);
	inode_put(n->lower);
	kfree(n);
	i->priv = NULL;
}

static int statfs(struct super *sb, struct statfs *st)
{
	struct memfs *fs = sb->priv;
	u64 total = fs->max_pages ? fs->max_pages : page_count_total();
	u64 left = min(room(sb), page_count_free());
	st->f_blocks = (s64)total;
	st->f_bfree = st->f_bavail = (s64)left;
	st->f_files = (s64)(fs->max_inodes ? fs->max_inodes : page_count_total());
	st->f_ffree = st->f_files - (s64)super_sum(sb, SB_INODES, &fs->inodes);
	return 0;
}

static void put(struct super *sb)
{
	struct memfs *fs = sb->priv;
	if (fs->lower)
		super_put(fs->lower);
	kfree(fs);
}

const struct inode_ops memdir_iops = {.lookup = lookup,
				      .create = create,
				      .mkdir = make_dir,
				      .symlink = make_symlink,
				      .link = make_link,
				      .unlink = unlink,
				      .rmdir = rmdir,
				      .rename = rename,
				      .tmpfile = make_tmpfile,
				      .setattr = setattr,
				      .getattr = getattr,
				      .getxattr = getxattr,
				      .setxattr = setxattr,
				      .listxattr = listxattr,
				      .removexattr = removexattr,
				      .set_flags = set_flags};
const struct inode_ops memfile_iops = {.setattr = setattr,
				       .getattr = getattr,
				       .getxattr = getxattr,
				       .setxattr = setxattr,
				       .listxattr = listxattr,
				       .removexattr = removexattr,
				       .set_flags = set_flags};
const struct inode_ops memlink_iops = {.setattr = setattr,
				       .readlink = readlink,
				       .getxattr = getxattr,
				       .setxattr = setxattr,
				       .listxattr = listxattr,
				       .removexattr = removexattr};
const struct file_ops memdir_fops = {.readdir = readdir};
const struct file_ops memfile_fops = {.open = file_opened,
				      .read = generic_file_read,
				      .paged = true,
				      .write = file_write,
				      .fallocate = file_fallocate,
				      .mmap = generic_mmap};
static int remount(struct super *sb, u32 flags, const char *text);
const struct super_ops memfs_sops = {.evict = evict, .statfs = statfs, .put = put, .remount = remount};

struct super *tmpfs_new(const char *fstype, u64 max_bytes, u32 mode)
{
	struct memfs *fs = knew(struct memfs);
	struct super *sb = fs ? super_new(fstype, &memfs_sops, TMPFS_MAGIC_) : NULL;
	if (!sb) {
		kfree(fs);
		return NULL;
	}
	fs->max_pages = max_bytes >> PAGE_SHIFT;
	sb->priv = fs;
	if (!(sb->root = mem_inode(sb, S_IFDIR | mode))) {
		super_put(sb);
		return NULL;
	}
	return sb;
}

void tmpfs_add_node(struct inode *dir, const char *name, u32 mode, u64 rdev, const char *target)
{
	struct inode *i = NULL;
	u32 len = (u32)strlen(name);
	mutex_lock(&dir->lock);
	int r = memdir_find(&node_of(dir)->dir, name, len) ? -EEXIST
		: target				   ? make_symlink(dir, name, len, target, &i)
							   : create(dir, name, len, mode, rdev, &i);
	mutex_unlock(&dir->lock);
	if (!r)
		inode_put(i);
}

static int parse_size(const char *s, u64 *out)
{
	const char *end;
	int r = kstrtou64(s, &end, out);
	if (r)
		return r;
	switch (*end | 0x20) {
	case 'k':
		*out <<= 10;
		break;
	case 'm':
		*out <<= 20;
		break;
	case 'g':
		*out <<= 30;
		break;
	default:
		if (*end == '%')
			*out = page_count_total() * PAGE_SIZE / 100 * *out;
	}
	return 0;
}

struct options {
	u64 pages, inodes;
	u32 mode, uid, gid;
	bool has_pages, has_inodes, has_uid, has_gid;
};

static int parse_octal(const char *s, u32 *out)
{
	*out = 0;
	for (; *s >= '0' && *s <= '7'; s++)
		*out = *out * 8 + (u32)(*s - '0');
	return *s && *s != ',' ? -EINVAL : 0;
}

static int parse_id(const char *s, u32 *out)
{
	const char *end;
	u64 v;
	int r = kstrtou64(s, &end, &v);
	*out = (u32)v;
	return r || (*end && *end != ',') || v >= U32_MAX ? -EINVAL : 0;
}

static int parse_option(struct options *o, const char *p, size_t key, const char *v)
{
	u64 n;
	int r;
	if (key == 4 && !memcmp(p, "size", 4)) {
		r = parse_size(v, &n);
		o->pages = DIV_ROUND_UP(n, PAGE_SIZE);
		o->has_pages = true;
		return r;
	}
	if (key == 9 && !memcmp(p, "nr_blocks", 9)) {
		o->has_pages = true;
		return parse_size(v, &o->pages);
	}
	if (key == 9 && !memcmp(p, "nr_inodes", 9)) {
		o->has_inodes = true;
		return parse_size(v, &o->inodes);
	}
	if (key == 4 && !memcmp(p, "mode", 4))
		return parse_octal(v, &o->mode);
	if (key == 3 && !memcmp(p, "uid", 3)) {
		o->has_uid = true;
		return parse_id(v, &o->uid) || (o->uid = uid_in(o->uid)) == U32_MAX ? -EINVAL : 0;
	}
	if (key == 3 && !memcmp(p, "gid", 3)) {
		o->has_gid = true;
		return parse_id(v, &o->gid) || (o->gid = gid_in(o->gid)) == U32_MAX ? -EINVAL : 0;
	}
	// without an effect here
	return (key == 4 && !memcmp(p, "huge", 4)) || (key == 4 && !memcmp(p, "mpol", 4)) ? 0 : -EINVAL;
}

static int parse_options(struct options *o, const char *text)
{
	for (const char *p = text, *end; p && *p; p = *end ? end + 1 : end) {
		end = strchr(p, ',');
		if (!end)
			end = p + strlen(p);
		const char *eq = memchr(p, '=', (size_t)(end - p));
		size_t len = (size_t)(end - p);
		if (!len || (!eq && ((len == 7 && (!memcmp(p, "inode32", 7) || !memcmp(p, "inode64", 7))) || (len == 6 && !memcmp(p, "noswap", 6)))))
			continue;
		if (!eq || parse_option(o, p, (size_t)(eq - p), eq + 1))
			return -EINVAL;
	}
	return 0;
}

static int remount(struct super *sb, u32 flags, const char *text)
{
	struct options o = {0};
	struct memfs *fs = sb->priv;
	if (fs->lower) // the root: only the mount changes
		return 0;
	if (parse_options(&o, text))
		return -EINVAL;
	if (o.has_pages && o.pages && super_sum(sb, SB_PAGES, &fs->used_pages) > o.pages)
		return -EINVAL;
	if (o.has_inodes && o.inodes && super_sum(sb, SB_INODES, &fs->inodes) > o.inodes)
		return -EINVAL;
	if (o.has_pages)
		fs->max_pages = o.pages;
	if (o.has_inodes)
		fs->max_inodes = o.inodes;
	sb->read_only = flags & MS_RDONLY;
	return 0;
}

static int tmpfs_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	(void)source;
	struct options o = {.mode = 01777, .pages = page_count_total() / 2};
	const char *text = len ? data : NULL;
	if ((text && strnlen(text, len) == len) || parse_options(&o, text))
		return -EINVAL;
	struct super *sb = tmpfs_new("tmpfs", o.pages << PAGE_SHIFT, o.mode & 07777);
	if (!sb)
		return -ENOMEM;
	((struct memfs *)sb->priv)->max_inodes = o.inodes;
	sb->read_only = flags & MS_RDONLY;
	if (o.has_uid)
		sb->root->uid = o.uid;
	if (o.has_gid)
		sb->root->gid = o.gid;
	*out = sb;
	return 0;
}

// Without limits, whatever it is told.
static int ramfs_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	(void)source;
	(void)data;
	(void)len;
	*out = tmpfs_new("ramfs", 0, 0755);
	if (!*out)
		return -ENOMEM;
	(*out)->magic = RAMFS_MAGIC_;
	(*out)->read_only = flags & MS_RDONLY;
	return 0;
}

int tmpfs_init(void)
{
	int r = fs_register("tmpfs", tmpfs_mount);
	return r ? r : fs_register("ramfs", ramfs_mount);
}
