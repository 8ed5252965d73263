// SPDX-License-Identifier: Apache-2.0
// Overlay mounts: contents and attributes. An open file has files open below it, and each call goes to the one that counts: who opened
// a file for reading before it was copied up reads the copy afterwards. Locks: see ovl.h.
#include "kernel/fs/ovl.h"

#define NOT_BELOW ((u32)(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY))

// --- attributes

int ovl_setattr(struct inode *i, const struct iattr *a)
{
	struct ovl_fs *fs = ovl_fs(i);
	struct iattr change = *a;
	int r;

	mutex_lock(&fs->change);
	r = ovl_copy_up(i, a->valid & ATTR_SIZE ? a->size : U64_MAX);
	if (!r)
		r = layer_setattr(ovl_upper(i)->inode, &change);
	if (!r)
		ovl_refresh(i);
	mutex_unlock(&fs->change);
	return r;
}

int ovl_getattr(struct inode *i)
{
	struct inode *real = ovl_real(i)->inode;
	int r = real->iops && real->iops->getattr ? real->iops->getattr(real) : 0;

	if (!r)
		ovl_refresh(i);
	return r;
}

static const char *prefix(const struct inode *i) { return ovl_fs(i)->userxattr ? "user.overlay." : "trusted.overlay."; }

static const char *after(const char *s, const char *start)
{
	size_t n = strlen(start);

	return strncmp(s, start, n) ? NULL : s + n;
}

// What a program calls trusted.overlay.x is trusted.overlay.overlay.x below, so that overlays can be on overlays. In buf, if it differs;
// NULL: too long.
#define XNAME 272
static const char *name_below(struct inode *i, const char *name, char buf[XNAME])
{
	const char *own = after(name, prefix(i));

	if (!own)
		return name;
	return (size_t)snprintf(buf, XNAME, "%soverlay.%s", prefix(i), own) > 255 ? NULL : buf;
}

ssize_t ovl_getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
	char nm[XNAME];
	const char *there = name_below(i, name, nm);

	return there ? layer_getxattr(ovl_real(i)->inode, there, buf, n) : -ENODATA;
}

static int change_xattr(struct inode *i, const char *name, const void *buf, size_t n, int flags, bool set)
{
	struct ovl_fs *fs = ovl_fs(i);
	char nm[XNAME];
	const char *there = name_below(i, name, nm);
	int r;

	if (!there)
		return -ERANGE;
	if (!set) {
		ssize_t have = ovl_getxattr(i, name, NULL, 0);
		if (have < 0)
			return (int)have;
	}
	mutex_lock(&fs->change);
	r = ovl_copy_up(i, U64_MAX);
	if (!r && set)
		r = layer_setxattr(ovl_upper(i)->inode, there, buf, n, flags);
	else if (!r)
		r = layer_removexattr(ovl_upper(i)->inode, there);
	ovl_refresh(i);
	mutex_unlock(&fs->change);
	return r;
}

int ovl_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags) { return change_xattr(i, name, buf, n, flags, true); }
int ovl_removexattr(struct inode *i, const char *name) { return change_xattr(i, name, NULL, 0, 0, false); }

// The overlay's own names are not shown; so all are fetched first.
ssize_t ovl_listxattr(struct inode *i, char *buf, size_t n)
{
	struct inode *real = ovl_real(i)->inode;
	ssize_t all = layer_listxattr(real, NULL, 0), used = 0;
	char *names;

	if (all <= 0)
		return all;
	if (!(names = kmalloc((size_t)all)))
		return -ENOMEM;
	all = layer_listxattr(real, names, (size_t)all);
	for (ssize_t at = 0; at < all; at += (ssize_t)strlen(names + at) + 1) {
		const char *own = after(names + at, prefix(i)), *show = own ? after(own, "overlay.") : names + at;
		if (!show)
			continue;
		size_t head = own ? strlen(prefix(i)) : 0, len = strlen(show) + 1;
		if (n && (size_t)used + head + len > n) {
			all = -ERANGE;
			break;
		}
		if (n) {
			memcpy(buf + used, prefix(i), head);
			memcpy(buf + used + head, show, len);
		}
		used += (ssize_t)(head + len);
	}
	kfree(names);
	return all < 0 ? all : used;
}

static int readlink(struct inode *i, char *buf, u32 n)
{
	struct inode *real = ovl_real(i)->inode;

	return real->iops->readlink(real, buf, n);
}

// --- open files

// The file below that counts now. It lives as long as f. ERR_PTR.
static struct file *below(struct file *f)
{
	struct ovl_file *of = f->priv;
	struct dentry *up = ovl_upper(f->inode);
	struct file **slot = up ? &of->upper : &of->lower, *have = __atomic_load_n(slot, __ATOMIC_ACQUIRE), *fresh;

	if (!have) {
		// reading does not change the times of what is below
		fresh = layer_open(up ? up : ovl_node(f->inode)->lower[0], (f->flags & ~NOT_BELOW) | (up ? 0 : O_NOATIME));
		if (IS_ERR(fresh))
			return fresh;
		if (__atomic_compare_exchange_n(slot, &have, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			have = fresh;
		else
			file_put(fresh);
	}
	have->flags = (f->flags & ~NOT_BELOW) | (up ? 0 : O_NOATIME); // F_SETFL
	return have;
}

static int file_opened(struct inode *i, struct file *f)
{
	struct ovl_file *of = knew(struct ovl_file);
	struct ovl_fs *fs = ovl_fs(i);
	struct file *b;
	int r = 0;

	if (!of)
		return -ENOMEM;
	f->priv = of;
	if (can_write(f)) {
		mutex_lock(&fs->change);
		r = ovl_copy_up(i, U64_MAX);
		mutex_unlock(&fs->change);
	}
	if (!r && IS_ERR(b = below(f)))
		r = (int)PTR_ERR(b);
	if (r)
		kfree(of);
	return r;
}

static void file_closed(struct file *f)
{
	struct ovl_file *of = f->priv;

	file_put(of->lower);
	file_put(of->upper);
	kfree(of);
}

static ssize_t file_read(struct file *f, struct iter *it, u64 *pos)
{
	struct file *b = below(f);

	return IS_ERR(b) ? PTR_ERR(b) : b->ops->read(b, it, pos);
}

static ssize_t file_write(struct file *f, struct iter *it, u64 *pos)
{
	struct file *b = below(f);
	ssize_t r = IS_ERR(b) ? PTR_ERR(b) : b->ops->write(b, it, pos);

	if (r > 0)
		ovl_refresh(f->inode);
	return r;
}

static s64 file_llseek(struct file *f, s64 off, int whence)
{
	struct file *b = below(f);

	if (IS_ERR(b))
		return PTR_ERR(b);
	b->pos = f->pos;
	s64 r = (b->ops->llseek ? b->ops->llseek : generic_llseek)(b, off, whence);
	if (r >= 0)
		f->pos = b->pos;
	f->dir_version++;
	return r;
}

static int file_fsync(struct file *f, bool data_only)
{
	struct file *b = below(f);

	return IS_ERR(b) ? (int)PTR_ERR(b) : b->ops->fsync ? b->ops->fsync(b, data_only) : 0;
}

static int file_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct file *b = below(f);
	int r = IS_ERR(b) ? (int)PTR_ERR(b) : b->ops->fallocate ? b->ops->fallocate(b, mode, off, len) : -EOPNOTSUPP;

	ovl_refresh(f->inode);
	return r;
}

static int file_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc)
{
	struct file *b = below(f);

	return IS_ERR(b) ? (int)PTR_ERR(b) : b->ops->mmap ? b->ops->mmap(b, pgoff, len, prot, flags, pc) : -ENODEV;
}

static int dir_fsync(struct file *f, bool data_only)
{
	struct dentry *up = ovl_upper(f->inode);
	struct file *b = up ? layer_open(up, O_RDONLY) : NULL;
	int r = 0;

	if (IS_ERR(b))
		return (int)PTR_ERR(b);
	if (b && b->ops->fsync)
		r = b->ops->fsync(b, data_only);
	file_put(b);
	return r;
}

const struct inode_ops ovl_file_iops = {.setattr = ovl_setattr,
					.getattr = ovl_getattr,
					.getxattr = ovl_getxattr,
					.setxattr = ovl_setxattr,
					.listxattr = ovl_listxattr,
					.removexattr = ovl_removexattr};
const struct inode_ops ovl_link_iops = {.readlink = readlink,
					.setattr = ovl_setattr,
					.getattr = ovl_getattr,
					.getxattr = ovl_getxattr,
					.setxattr = ovl_setxattr,
					.listxattr = ovl_listxattr,
					.removexattr = ovl_removexattr};
const struct file_ops ovl_file_fops = {.open = file_opened,
				       .release = file_closed,
				       .read = file_read,
				       .write = file_write,
				       .llseek = file_llseek,
				       .fsync = file_fsync,
				       .fallocate = file_fallocate,
				       .mmap = file_mmap};
const struct file_ops ovl_dir_fops = {.readdir = ovl_readdir, .release = ovl_list_free, .fsync = dir_fsync};
