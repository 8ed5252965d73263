// SPDX-License-Identifier: Apache-2.0
// EROFS, read-only and uncompressed, as mkfs.erofs writes the image's root (Linux fs/erofs/erofs_fs.h): compact and
// extended inodes, flat data with or without an inline tail, extended attributes beside the inode. Every byte has passed the hash tree (verity.c); positions
// and lengths are checked all the same. Locks: none; what it reads goes through page caches.
#include "kernel/fs/verity.h"

#define EROFS_MAGIC 0xE0F5E1E2u
#define BLOCK 4096u
#define SLOT 32u		// inode numbers count these
#define INCOMPAT_ZERO_PADDING 1u // says how compressed data lies: none here

enum { FLAT_PLAIN = 0, FLAT_INLINE = 2 };

struct disk_super {
	u32 magic, checksum, feature_compat;
	u8 blkszbits, sb_extslots;
	u16 root_nid;
	u64 inos, build_time;
	u32 build_time_nsec, blocks, meta_blkaddr, xattr_blkaddr;
	u8 uuid[16], volume_name[16];
	u32 feature_incompat;
} __packed;

struct disk_compact {
	u16 format, xattr_icount, mode, nlink;
	u32 size, reserved, u, ino;
	u16 uid, gid;
	u32 reserved2;
} __packed;

struct disk_extended {
	u16 format, xattr_icount, mode, reserved;
	u64 size;
	u32 u, ino, uid, gid;
	u64 mtime;
	u32 mtime_nsec, nlink;
	u8 reserved2[16];
} __packed;

struct disk_xattrs {		// before the extended attributes of an inode
	u32 filter;
	u8 shared_count, reserved[7];
} __packed;

struct disk_xattr {		// then the name without its prefix, the value, and up to 3 bytes
	u8 name_len, prefix;
	u16 value_size;
} __packed;

struct disk_dirent {
	u64 nid;
	u16 nameoff;
	u8 file_type, reserved;
} __packed;

struct erofs {
	struct verity *image;
	struct pagecache *meta;	// the image as one file: inodes, directories, tails
	u64 meta_start;		// byte offset of inode 0
	struct fstime built;
};

struct node {			// inode->priv
	u64 data;		// byte offset of the whole blocks
	u64 tail;		// byte offset of the inline tail; 0: none
	u64 tail_from;		// file offset from which data is in the tail
	u64 xattrs;		// byte offset of the extended attributes
	u32 xattrs_len;		// 0: none
};

static int meta_read(struct pagecache *pc, u64 index, u32 n, void *kaddr)
{
	return verity_read(pc->owner, index, n, kaddr);
}

static u64 meta_size(struct pagecache *pc)
{
	return verity_blocks(pc->owner) * BLOCK;
}

static const struct pc_ops meta_ops = {.read = meta_read, .size = meta_size};

static int read_at(struct erofs *e, u64 pos, void *buf, size_t n)
{
	struct iter it;
	iter_kernel(&it, buf, n);
	ssize_t r = pc_read(e->meta, &it, pos, verity_blocks(e->image) * BLOCK);
	return r < 0 ? (int)r : (size_t)r == n ? 0 : -EIO;
}

// Bytes [pos, pos+n) of an inode, all within its size.
static int read_data(struct inode *i, u64 pos, void *buf, size_t n)
{
	struct node *nd = i->priv;
	struct erofs *e = i->sb->priv;
	size_t flat = nd->tail && pos + n > nd->tail_from ? (pos < nd->tail_from ? nd->tail_from - pos : 0) : n;
	int r = flat ? read_at(e, nd->data + pos, buf, flat) : 0;
	if (!r && flat < n)
		r = read_at(e, nd->tail + (pos + flat - nd->tail_from), (char *)buf + flat, n - flat);
	return r;
}

// --- file data
static int file_pages(struct pagecache *pc, u64 index, u32 n, void *kaddr)
{
	struct inode *i = pc->owner;
	if (!i)
		return -EIO;
	struct node *nd = i->priv;
	struct erofs *e = i->sb->priv;
	u64 whole = (nd->tail ? nd->tail_from : i->size + BLOCK - 1) / BLOCK;
	u32 flat = index < whole ? (u32)min((u64)n, whole - index) : 0;
	int r = flat ? verity_read(e->image, nd->data / BLOCK + index, flat, kaddr) : 0;
	if (r)
		return r;
	if (flat < n) {
		char *p = (char *)kaddr + (u64)flat * BLOCK;
		memset(p, 0, (u64)(n - flat) * BLOCK);
		if (nd->tail && (index + flat) * BLOCK == nd->tail_from)
			r = read_at(e, nd->tail, p, i->size - nd->tail_from);
	}
	u64 end = (index + n) * BLOCK;
	if (!r && end > i->size && flat == n && end - i->size < BLOCK) // mapped files read zeros beyond their end
		memset((char *)kaddr + (i->size - index * BLOCK), 0, end - i->size);
	return r;
}

static u64 file_size(struct pagecache *pc)
{
	struct inode *i = pc->owner;
	return i ? i->size : 0;
}

static const struct pc_ops file_pc_ops = {.read = file_pages, .size = file_size};
static const struct file_ops file_fops = {.read = generic_file_read, .paged = true, .mmap = generic_mmap};

// --- directories
struct block {			// one directory block, checked
	u8 raw[BLOCK];
	u32 len, count;
};

static const struct disk_dirent *entry(const struct block *b, u32 k)
{
	return (const struct disk_dirent *)(const void *)(b->raw + k * sizeof(struct disk_dirent));
}

// Loads block number blk of a directory and checks that all its names lie within it.
static int load(struct inode *dir, u64 blk, struct block *b)
{
	b->len = (u32)min((u64)BLOCK, dir->size - blk * BLOCK);
	int r = read_data(dir, blk * BLOCK, b->raw, b->len);
	if (r)
		return r;
	u32 first = b->len >= sizeof(struct disk_dirent) ? entry(b, 0)->nameoff : 0;
	b->count = first / sizeof(struct disk_dirent);
	if (!b->count || first % sizeof(struct disk_dirent) || first > b->len)
		goto bad;
	for (u32 k = 0; k < b->count; k++) {
		u32 off = entry(b, k)->nameoff, end = k + 1 < b->count ? entry(b, k + 1)->nameoff : b->len;
		if (off < first || end > b->len || off >= end)
			goto bad;
	}
	return 0;
bad:
	pr_err("image: directory %lu is damaged", dir->ino);
	return -EIO;
}

static const char *name_of(const struct block *b, u32 k, u32 *len)
{
	u32 off = entry(b, k)->nameoff, end = k + 1 < b->count ? entry(b, k + 1)->nameoff : b->len;
	*len = (u32)strnlen((const char *)b->raw + off, end - off);
	return (const char *)b->raw + off;
}

static int compare(const char *a, u32 la, const char *b, u32 lb)
{
	int c = memcmp(a, b, min(la, lb));
	return c ? c : la < lb ? -1 : la > lb;
}

static struct inode *get_inode(struct super *sb, u64 nid, int *err);

static int lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct block *b = kmalloc(sizeof(*b));
	u64 lo = 0, hi = DIV_ROUND_UP(dir->size, (u64)BLOCK), at = U64_MAX;
	int r = -ENOMEM;
	if (!b)
		return r;
	// The block whose first name is the last not above ours, then the name in it.
	while (lo < hi) {
		u64 mid = (lo + hi) / 2;
		u32 n;
		if ((r = load(dir, mid, b)))
			goto out;
		at = mid;
		const char *s = name_of(b, 0, &n);
		int c = compare(name, len, s, n);
		if (c < 0) {
			hi = mid;
			continue;
		}
		lo = mid + 1;
		s = name_of(b, b->count - 1, &n);
		if (compare(name, len, s, n) <= 0)
			break; // it is here or nowhere
	}
	r = -ENOENT;
	if (at == U64_MAX)
		goto out;
	u32 x = 0, y = b->count;
	while (x < y) {
		u32 mid = (x + y) / 2, n;
		const char *s = name_of(b, mid, &n);
		int c = compare(name, len, s, n);
		if (!c) {
			r = 0;
			*out = get_inode(dir->sb, entry(b, mid)->nid, &r);
			break;
		}
		if (c < 0)
			y = mid;
		else
			x = mid + 1;
	}
out:
	kfree(b);
	return r;
}

// Positions: 2 + block * 4096 + index of the entry.
static int readdir(struct file *f, struct dir_ctx *c)
{
	static const u8 types[8] = {0, 8, 4, 2, 6, 1, 12, 10}; // EROFS_FT_* -> DT_*
	struct inode *dir = f->inode;
	struct block *b = kmalloc(sizeof(*b));
	u64 pos = c->pos - 2;
	int r = 0;
	if (!b)
		return -ENOMEM;
	for (u64 blk = pos / BLOCK; blk * BLOCK < dir->size; blk++) {
		if ((r = load(dir, blk, b)))
			break;
		for (u32 k = blk == pos / BLOCK ? (u32)(pos % BLOCK) : 0; k < b->count; k++) {
			u32 n;
			const char *s = name_of(b, k, &n);
			if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
				continue;
			u64 next = k + 1 < b->count ? blk * BLOCK + k + 1 : (blk + 1) * BLOCK;
			if (!c->emit(c, s, n, entry(b, k)->nid, types[entry(b, k)->file_type & 7], next + 2))
				goto out;
		}
	}
out:
	kfree(b);
	return r;
}

static int readlink(struct inode *i, char *buf, u32 n)
{
	u32 len = (u32)min((u64)n, i->size);
	int r = read_data(i, 0, buf, len);
	return r ? r : (int)len;
}

// --- extended attributes: the kernel above copies them when it first meets the inode (overlay.c)
#define XATTRS_MAX (1u << 17)	// of one inode; coffer build makes half of it

static const char *const prefixes[] = {[1] = "user.", [4] = "trusted.", [6] = "security."};

struct xattr_walk {
	u8 *all;
	u32 at, len;
	char name[256];		// of the one found
	const u8 *value;
	u32 value_len;
};

static int xattr_begin(struct inode *i, struct xattr_walk *w)
{
	struct node *nd = i->priv;
	int r;
	w->len = nd->xattrs_len;
	w->at = sizeof(struct disk_xattrs);
	w->all = kmalloc(w->len);
	r = !w->all ? -ENOMEM : read_at(i->sb->priv, nd->xattrs, w->all, w->len);
	if (r)
		kfree(w->all);
	return r;
}

// The next one of a kind that we know: 1; 0: the end; -EIO: damaged.
static int xattr_next(struct xattr_walk *w)
{
	while (w->len - w->at >= sizeof(struct disk_xattr)) {
		struct disk_xattr d;
		memcpy(&d, w->all + w->at, sizeof(d));
		u32 name = w->at + (u32)sizeof(d), value = name + d.name_len;
		const char *prefix = d.prefix < ARRAY_SIZE(prefixes) ? prefixes[d.prefix] : NULL;
		size_t n = prefix ? strlen(prefix) : 0;
		if (value + d.value_size > w->len || !d.name_len || memchr(w->all + name, 0, d.name_len))
			return -EIO;
		w->at = min(ALIGN_UP(value + d.value_size, 4u), w->len);
		if (!prefix || n + d.name_len >= sizeof(w->name))
			continue;
		memcpy(w->name, prefix, n);
		memcpy(w->name + n, w->all + name, d.name_len);
		w->name[n + d.name_len] = 0;
		w->value = w->all + value;
		w->value_len = d.value_size;
		return 1;
	}
	return 0;
}

static ssize_t getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
	struct xattr_walk w;
	if (!((struct node *)i->priv)->xattrs_len)
		return -ENODATA;
	ssize_t r = xattr_begin(i, &w);
	if (r)
		return r;
	while ((r = xattr_next(&w)) > 0 && strcmp(w.name, name))
		;
	if (r > 0) {
		r = w.value_len;
		if (n && w.value_len > n)
			r = -ERANGE;
		else if (n)
			memcpy(buf, w.value, w.value_len);
	} else if (!r) {
		r = -ENODATA;
	}
	kfree(w.all);
	return r;
}

static ssize_t listxattr(struct inode *i, char *buf, size_t n)
{
	struct xattr_walk w;
	size_t total = 0;
	if (!((struct node *)i->priv)->xattrs_len)
		return 0;
	ssize_t r = xattr_begin(i, &w);
	if (r)
		return r;
	while ((r = xattr_next(&w)) > 0) {
		size_t len = strlen(w.name) + 1;
		if (n && total + len > n) {
			r = -ERANGE;
			break;
		}
		if (n)
			memcpy(buf + total, w.name, len);
		total += len;
	}
	kfree(w.all);
	return r < 0 ? r : (ssize_t)total;
}

#define XATTRS .getxattr = getxattr, .listxattr = listxattr
static const struct inode_ops dir_iops = {.lookup = lookup, XATTRS};
static const struct inode_ops link_iops = {.readlink = readlink, XATTRS};
static const struct inode_ops file_iops = {XATTRS};
static const struct file_ops dir_fops = {.readdir = readdir};

// --- inodes
// Fills i from the image. Everything that later code computes offsets from is checked here.
static int fill(struct inode *i, struct node *nd)
{
	struct erofs *e = i->sb->priv;
	union {
		u16 format;
		struct disk_compact c;
		struct disk_extended x;
	} d;
	u64 limit = verity_blocks(e->image) * BLOCK, at = e->meta_start + i->ino * SLOT;
	if (i->ino > limit / SLOT || at + sizeof(d.c) > limit)
		return -EIO;
	int r = read_at(e, at, &d, sizeof(d.c));
	if (r)
		return r;
	u32 layout = d.format >> 1 & 7, head = sizeof(d.c),
	    xattrs = d.c.xattr_icount ? 12 + (d.c.xattr_icount - 1u) * 4 : 0, u;
	if (d.format & 1) {
		head = sizeof(d.x);
		if (at + head > limit || (r = read_at(e, at, &d, head)))
			return r ? r : -EIO;
		i->mode = d.x.mode;
		i->size = d.x.size;
		i->uid = d.x.uid;
		i->gid = d.x.gid;
		i->nlink = d.x.nlink;
		i->mtime = (struct fstime){(s64)d.x.mtime, d.x.mtime_nsec % (u32)NSEC_PER_SEC};
		u = d.x.u;
	} else {
		i->mode = d.c.mode;
		i->size = d.c.size;
		i->uid = d.c.uid;
		i->gid = d.c.gid;
		i->nlink = d.c.nlink;
		i->mtime = e->built;
		u = d.c.u;
	}
	i->atime = i->ctime = i->btime = i->mtime;
	if (!i->nlink)
		i->nlink = 1;
	if (xattrs) { // those that several inodes share are not made by coffer build
		struct disk_xattrs h;
		if (at + head + xattrs > limit || xattrs > XATTRS_MAX || (r = read_at(e, at + head, &h, sizeof(h))))
			return r ? r : -EIO;
		if (h.shared_count)
			return -EOPNOTSUPP;
		nd->xattrs = at + head;
		nd->xattrs_len = xattrs;
	}
	if (layout != FLAT_PLAIN && layout != FLAT_INLINE)
		return -EOPNOTSUPP;
	u32 type = i->mode & S_IFMT;
	if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK) {
		i->rdev = type == S_IFCHR || type == S_IFBLK ? u : 0;
		i->size = 0;
		return 0;
	}
	if (i->size > limit || (type == S_IFLNK && i->size >= 4096))
		return -EIO;
	i->blocks = DIV_ROUND_UP(i->size, 512ul);
	nd->data = (u64)u * BLOCK;
	u64 flat = DIV_ROUND_UP(i->size, (u64)BLOCK) * BLOCK;
	if (layout == FLAT_INLINE && i->size) {
		nd->tail_from = (i->size - 1) / BLOCK * BLOCK;
		nd->tail = at + head + xattrs;
		u64 n = i->size - nd->tail_from;
		if (nd->tail + n > limit || nd->tail / BLOCK != (nd->tail + n - 1) / BLOCK)
			return -EIO;
		flat = nd->tail_from;
	}
	return flat && (u == U32_MAX || nd->data + flat > limit) ? -EIO : 0;
}

static struct inode *get_inode(struct super *sb, u64 nid, int *err)
{
	struct inode *i = inode_find(sb, nid);
	if (i)
		return i;
	struct node *nd = knew(struct node);
	i = nd ? inode_new(sb, 0) : NULL;
	if (!i) {
		kfree(nd);
		*err = -ENOMEM;
		return NULL;
	}
	i->priv = nd;
	i->ino = nid;
	*err = fill(i, nd);
	if (*err) {
		pr_err("image: inode %lu cannot be read: error %d", nid, -*err);
		goto fail;
	}
	switch (i->mode & S_IFMT) {
	case S_IFDIR:
		i->iops = &dir_iops;
		i->fops = &dir_fops;
		break;
	case S_IFLNK:
		i->iops = &link_iops;
		break;
	case S_IFREG:
		i->fops = &file_fops;
		*err = -ENOMEM;
		if (!(i->pc = pc_new(&file_pc_ops, i)))
			goto fail;
		*err = 0;
		fallthrough;
	default:
		i->iops = &file_iops;
	}
	return inode_insert(i, nid);
fail:
	inode_put(i);
	return NULL;
}

static void evict(struct inode *i)
{
	kfree(i->priv);
	i->priv = NULL;
}

static int statfs(struct super *sb, struct statfs *st)
{
	st->f_blocks = (s64)verity_blocks(((struct erofs *)sb->priv)->image);
	return 0;
}

// The measured image is never put.
static void put(struct super *sb)
{
	struct erofs *e = sb->priv;
	if (!e)
		return;
	pc_put(e->meta);
	verity_close(e->image);
	kfree(e);
}

static const struct super_ops sops = {.evict = evict, .statfs = statfs, .put = put};

int erofs_mount(struct verity *image, struct super **out)
{
	struct disk_super ds;
	struct erofs *e = knew(struct erofs);
	struct super *sb = e ? super_new("erofs", &sops, EROFS_MAGIC) : NULL;
	int r = -ENOMEM;
	if (!sb)
		goto fail;
	e->image = image;
	sb->priv = e;
	sb->read_only = true;
	if (!(e->meta = pc_new(&meta_ops, image)))
		goto fail;
	if ((r = read_at(e, 1024, &ds, sizeof(ds))))
		goto fail;
	r = -EINVAL;
	if (ds.magic != EROFS_MAGIC || ds.blkszbits != 12 || (ds.feature_incompat & ~INCOMPAT_ZERO_PADDING) ||
	    ds.meta_blkaddr >= verity_blocks(image)) {
		pr_err("image: not an uncompressed EROFS of 4096-byte blocks (magic %x, block bits %u, features %x)",
		       ds.magic, ds.blkszbits, ds.feature_incompat);
		goto fail;
	}
	e->meta_start = (u64)ds.meta_blkaddr * BLOCK;
	e->built = (struct fstime){(s64)ds.build_time, ds.build_time_nsec % (u32)NSEC_PER_SEC};
	sb->next_ino = verity_blocks(image) * (BLOCK / SLOT) + 1;
	sb->root = get_inode(sb, ds.root_nid, &r);
	if (!sb->root)
		goto fail;
	if (!is_dir(sb->root)) {
		inode_put(sb->root);
		r = -EINVAL;
		goto fail;
	}
	*out = sb;
	return 0;
fail:
	if (e && e->meta)
		pc_put(e->meta);
	kfree(e);
	if (sb) {
		sb->priv = NULL;
		super_put(sb);
	}
	return r;
}
