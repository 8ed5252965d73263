// SPDX-License-Identifier: Apache-2.0
// Overlay mounts: copy-up. The copy is made under a name in the work directory and renamed into place, so that nobody sees half of
// it: data, owner, mode, times and attributes. Locks: see ovl.h; `change` is held throughout.
#include "kernel/fs/ovl.h"

#define COPY_BYTES (128u << 10)
#define XVALUE_MAX 65536u

void ovl_temp(struct ovl_fs *fs, char name[16]) { snprintf(name, 16, "#%x", ++fs->temp); }

static s64 next_data(struct file *f, u64 pos)
{
	return (f->ops->llseek ? f->ops->llseek : generic_llseek)(f, (s64)pos, SEEK_DATA);
}

// Holes stay holes, as far as the layer below knows its own.
static int copy_data(struct dentry *from, struct dentry *to, u64 size)
{
	struct file *in = layer_open(from, O_RDONLY | O_NOATIME | O_LARGEFILE), *out = layer_open(to, O_WRONLY | O_LARGEFILE);
	struct iattr a = {.valid = ATTR_SIZE, .size = size};
	char *buf = kmalloc(COPY_BYTES);
	int r = IS_ERR(in) ? (int)PTR_ERR(in) : IS_ERR(out) ? (int)PTR_ERR(out) : buf ? 0 : -ENOMEM;

	for (u64 pos = 0; !r && pos < size;) {
		s64 at = next_data(in, pos);
		if (at == -ENXIO || (at >= 0 && (u64)at >= size))
			break;
		pos = at < 0 ? pos : max(pos, (u64)at);
		ssize_t n = file_read_kernel(in, buf, min(size - pos, (u64)COPY_BYTES), pos);
		if (n <= 0) {
			r = n ? (int)n : -EIO;
			break;
		}
		for (ssize_t done = 0, k; done < n && !r; done += k) {
			k = file_write_kernel(out, buf + done, (size_t)(n - done), pos + (u64)done);
			if (k <= 0)
				r = k ? (int)k : -ENOSPC;
		}
		pos += (u64)n;
	}
	if (!r && to->inode->size != size)
		r = layer_setattr(to->inode, &a);
	if (!IS_ERR(in))
		file_put(in);
	if (!IS_ERR(out))
		file_put(out);
	kfree(buf);
	return r;
}

static bool is_own(const struct ovl_fs *fs, const char *name)
{
	const char *prefix = fs->userxattr ? "user.overlay." : "trusted.overlay.";

	return !strncmp(name, prefix, strlen(prefix));
}

static int copy_xattrs(const struct ovl_fs *fs, struct inode *from, struct inode *to)
{
	char *names = kmalloc(XVALUE_MAX), *value = kmalloc(XVALUE_MAX);
	ssize_t n = names && value ? layer_listxattr(from, names, XVALUE_MAX) : -ENOMEM, len;
	int r = n < 0 ? (int)n : 0;

	for (char *p = names; !r && p < names + n; p += strlen(p) + 1) {
		if (is_own(fs, p))
			continue;
		len = layer_getxattr(from, p, value, XVALUE_MAX);
		r = len < 0 ? (int)len : layer_setxattr(to, p, value, (size_t)len, 0);
		if (r == -EOPNOTSUPP)
			r = 0; // the upper file system keeps none
	}
	kfree(names);
	kfree(value);
	return r;
}

static int copy_attributes(struct inode *from, struct inode *to)
{
	struct iattr a = {.valid = ATTR_UID | ATTR_GID | ATTR_ATIME | ATTR_MTIME, .mode = from->mode, .uid = from->uid, .gid = from->gid,
			  .atime = from->atime, .mtime = from->mtime};

	if (!is_lnk(to))
		a.valid |= ATTR_MODE;
	return layer_setattr(to, &a);
}

static int make_copy(struct ovl_fs *fs, struct inode *i, const char *temp, u64 keep, struct dentry **out)
{
	struct inode *from = ovl_node(i)->lower[0]->inode;
	char *target = NULL;
	int r = 0;

	if (is_lnk(from)) {
		r = (target = kzalloc(PATH_BUF)) ? from->iops->readlink(from, target, PATH_BUF - 1) : -ENOMEM;
		if (r < 0)
			goto out;
	}
	r = layer_make(fs->work, temp, from->mode & (S_IFMT | 0700), from->rdev, target, out);
	if (r)
		goto out;
	if (is_reg(from))
		r = copy_data(ovl_node(i)->lower[0], *out, min(keep, from->size));
	if (!r && !is_lnk(from))
		r = copy_xattrs(fs, from, (*out)->inode);
	if (!r && (is_reg(from) || is_dir(from))) {
		r = ovl_set_origin(fs, (*out)->inode, ovl_node(i)->number);
		if (r == -EOPNOTSUPP || r == -EPERM)
			r = 0; // then its number changes when it is forgotten
	}
	if (!r)
		r = copy_attributes(from, (*out)->inode);
	if (r) {
		d_put(*out);
		layer_remove(fs->work, temp);
	}
out:
	kfree(target);
	return r;
}

// Its directory is in the upper layer.
static int copy_one(struct inode *i, u64 keep)
{
	struct ovl_node *n = ovl_node(i);
	struct ovl_fs *fs = ovl_fs(i);
	struct dentry *up;
	const struct cred *by = fs->mounter;
	char temp[16];
	int r = 0;

	if (unlikely(by)) { // neither an owner who is nobody there, nor a name where it could not make one
		const struct inode *from = n->lower[0]->inode;
		if (by->user_ns && (!id_mapped(by->user_ns, false, from->uid) || !id_mapped(by->user_ns, true, from->gid)))
			return -EOVERFLOW;
		r = is_reg(from) ? ovl_may(fs, n->lower[0], MAY_READ) : 0;
		if (!r && !n->removed)
			r = ovl_may(fs, ovl_upper(n->parent), MAY_WRITE | MAY_EXEC);
	}
	if (r)
		return r;
	ovl_temp(fs, temp);
	r = make_copy(fs, i, temp, keep, &up);
	if (r)
		return r;
	if (n->removed) {
		r = layer_remove(fs->work, temp); // open, but without a name
	} else {
		struct dentry *dir = ovl_upper(n->parent);
		struct iattr times = {.valid = ATTR_ATIME | ATTR_MTIME, .atime = dir->inode->atime, .mtime = dir->inode->mtime};
		r = layer_rename(fs->work, temp, dir, n->name, 0);
		if (!r)
			layer_setattr(dir->inode, &times);
	}
	if (r) {
		d_put(up);
		layer_remove(fs->work, temp);
		return r;
	}
	if (is_reg(i)) {
		n->below = i->pc;
		pc_get(up->inode->pc);
		__atomic_store_n(&i->pc, up->inode->pc, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&n->upper, up, __ATOMIC_RELEASE);
	inode_rekey(i, (uptr)up->inode);
	ovl_refresh(i);
	return 0;
}

int ovl_copy_up(struct inode *i, u64 keep)
{
	int r = 0;

	if (!ovl_fs(i)->upper)
		return -EROFS;
	while (!r && !ovl_upper(i)) {
		struct inode *top = i;
		while (!ovl_node(top)->removed && !ovl_upper(ovl_node(top)->parent))
			top = ovl_node(top)->parent;
		r = copy_one(top, keep);
	}
	return r;
}

struct names { // of whiteouts
	struct dir_ctx ctx;
	struct dentry *dir;
	char (*name)[NAME_MAX_ + 1];
	u32 n;
};
#define AT_ONCE 8u

static bool note(struct dir_ctx *c, const char *name, u32 len, u64 ino, u32 dtype, u64 next)
{
	struct names *s = container_of(c, struct names, ctx);

	(void)ino;
	(void)dtype;
	if (s->n == AT_ONCE)
		return false;
	memcpy(s->name[s->n], name, len);
	s->name[s->n++][len] = 0;
	c->pos = next;
	return true;
}

int ovl_clear_whiteouts(struct dentry *d)
{
	struct names s = {.ctx.emit = note, .dir = d, .name = kmalloc(AT_ONCE * sizeof(*s.name)), .n = 1};
	int r = s.name ? 0 : -ENOMEM;

	while (!r && s.n) {
		struct file *f = layer_open(d, O_RDONLY);
		s.n = 0;
		s.ctx.pos = 2;
		if (IS_ERR(f)) {
			r = (int)PTR_ERR(f);
			break;
		}
		inode_lock(d->inode);
		r = f->ops->readdir(f, &s.ctx);
		inode_unlock(d->inode);
		file_put(f);
		for (u32 k = 0; k < s.n && !r; k++)
			r = layer_remove(d, s.name[k]);
	}
	kfree(s.name);
	return r;
}

int ovl_clear(struct dentry *work, const char *name)
{
	struct dentry *d = layer_find(work, name);
	int r = IS_ERR(d) ? (int)PTR_ERR(d) : ovl_clear_whiteouts(d);

	if (!IS_ERR(d))
		d_put(d);
	return r ? r : layer_remove(work, name);
}
