// SPDX-License-Identifier: Apache-2.0
// File handles (man 2 open_by_handle_at): the inode's number and generation, good while the name cache knows the file.
// Locks: dcache_lock to search it.
#include "kernel/fs/fs.h"

#define HANDLE_TYPE 0x81	// FILEID_INO64_GEN
#define HANDLE_BYTES 12u
#define MAX_HANDLE 128u
#define AT_HANDLE_FID_ 0x200

struct handle_head {
	u32 bytes;
	s32 type;
};
struct handle_body {
	u64 ino;
	u32 generation;
} __packed;

// File systems whose numbers mean the same file tomorrow.
static bool has_handles(const struct super *sb)
{
	static const char *const types[] = {"tmpfs", "overlay", "erofs", "sealed"};

	for (u32 i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(sb->fstype, types[i]))
			return true;
	return false;
}

long sys_name_to_handle_at(int dfd, const void __user *name, void __user *uhandle, int __user *umount_id, int flags)
{
	struct handle_head h;
	struct handle_body b;
	struct path p;
	long r;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID_))
		return -EINVAL;
	r = path_lookup_user(dfd, name, (flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), &p);
	if (r)
		return r;
	r = -EOPNOTSUPP;
	if (!has_handles(p.mnt->sb))
		goto out;
	r = -EFAULT;
	if (copy_from_user(&h, uhandle, sizeof(h)))
		goto out;
	r = -EINVAL;
	if (h.bytes > MAX_HANDLE)
		goto out;
	b.ino = p.dentry->inode->ino;
	b.generation = (u32)p.dentry->inode->generation;
	r = h.bytes < HANDLE_BYTES ? -EOVERFLOW : 0;
	h.bytes = HANDLE_BYTES;
	h.type = HANDLE_TYPE;
	if (copy_to_user(uhandle, &h, sizeof(h)) || put_user(p.mnt->id, umount_id))
		r = -EFAULT;
	if (!r && copy_to_user((u8 __user *)uhandle + sizeof(h), &b, sizeof(b)))
		r = -EFAULT;
out:
	path_put(&p);
	return r;
}

// Depth first through the names of a file system that are in the cache. dcache_lock held.
static struct dentry *search(struct dentry *root, const struct handle_body *b)
{
	struct dentry *d = root;

	for (;;) {
		if (d->inode && d->inode->ino == b->ino && (u32)d->inode->generation == b->generation)
			return d;
		if (!list_empty(&d->children)) {
			d = list_first(&d->children, struct dentry, sibling);
			continue;
		}
		while (d != root && d->sibling.next == &d->parent->children)
			d = d->parent;
		if (d == root)
			return NULL;
		d = list_entry(d->sibling.next, struct dentry, sibling);
	}
}

long sys_open_by_handle_at(int mount_fd, const void __user *uhandle, int flags)
{
	struct path where = {0}, p = {0};
	struct handle_head h;
	struct handle_body b;
	struct file *f = NULL;
	long r;

	if (!capable(CAP_DAC_READ_SEARCH))
		return -EPERM;
	if (copy_from_user(&h, uhandle, sizeof(h)))
		return -EFAULT;
	if (!h.bytes || h.bytes > MAX_HANDLE)
		return -EINVAL;
	if (mount_fd == AT_FDCWD) {
		r = path_lookup(AT_FDCWD, ".", 0, &where);
		if (r)
			return r;
	} else {
		f = fd_get(mount_fd);
		if (!f || !f->path.mnt) {
			r = -EBADF;
			goto out;
		}
		where = f->path;
		path_get(&where);
	}
	r = -ESTALE;
	if (h.type != HANDLE_TYPE || h.bytes != HANDLE_BYTES || !has_handles(where.mnt->sb))
		goto out;
	r = -EFAULT;
	if (copy_from_user(&b, (const u8 __user *)uhandle + sizeof(h), sizeof(b)))
		goto out;
	write_lock(&dcache_lock); // names come and go under readers
	p.dentry = search(where.mnt->sb->droot, &b);
	if (p.dentry) {
		p.mnt = where.mnt;
		path_get_locked(&p);
	}
	write_unlock(&dcache_lock);
	r = -ESTALE;
	if (!p.dentry)
		goto out;
	struct file *n = file_open_path(&p, flags);
	r = IS_ERR(n) ? PTR_ERR(n) : fd_alloc(n, 0, flags & O_CLOEXEC);
	if (!IS_ERR(n) && r < 0)
		file_put(n);
out:
	if (p.dentry)
		path_put(&p);
	if (where.mnt)
		path_put(&where);
	if (f)
		file_put(f);
	return r;
}
