// SPDX-License-Identifier: Apache-2.0
// FUSE: names. They are not cached: each look-up asks the daemon. Locks: none; the daemon keeps its own order.
#include "kernel/fs/fuse.h"
#include <linux/fs.h>

#define DIR_BYTES PAGE_SIZE

static struct fuse_arg name_arg(char nm[NAME_MAX_ + 1], const char *name, u32 len)
{
	memcpy(nm, name, len);
	nm[len] = 0;
	return (struct fuse_arg){nm, len + 1};
}

// The daemon has counted a node that is not taken.
static void unwanted(struct fuse_conn *c, u64 nodeid)
{
	struct fuse_forget *f = nodeid && nodeid != FUSE_ROOT_ID ? knew(struct fuse_forget) : NULL;

	if (!f)
		return;
	*f = (struct fuse_forget){.nodeid = nodeid, .nlookup = 1};
	list_init(&f->link);
	fuse_forget(c, f);
}

// The answer to a call that makes or finds an object. 0 and its inode.
static int entry(struct inode *dir, const struct fuse_entry_out *e, u32 mode, u64 version, struct inode **out)
{
	struct inode *i;

	if (!fuse_entry_ok(e) || (mode && (mode ^ e->attr.mode) & S_IFMT)) {
		unwanted(fuse_conn(dir), e->nodeid);
		return -EIO;
	}
	i = fuse_inode(dir->sb, e, version);
	if (IS_ERR(i))
		return (int)PTR_ERR(i);
	*out = i;
	return 0;
}

static int lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct fuse_conn *c = fuse_conn(dir);
	struct fuse_entry_out e;
	char nm[NAME_MAX_ + 1];
	struct fuse_arg arg = name_arg(nm, name, len);
	u64 version = fuse_version(c);
	int r = fuse_allowed(c) ? fuse_call(c, FUSE_LOOKUP, fuse_id(dir), &arg, 1, &e, sizeof(e), sizeof(e)) : -EACCES;

	if (r < 0)
		return r;
	return e.nodeid ? entry(dir, &e, 0, version, out) : -ENOENT;
}

// opcode with `in` and then a name (and a target): makes an object of the type in `mode`.
static int make(struct inode *dir, u32 opcode, const void *in, size_t n, const char *name, u32 len, const char *target, u32 mode, struct inode **out)
{
	struct fuse_entry_out e;
	char nm[NAME_MAX_ + 1];
	struct fuse_arg args[] = {{in, n}, name_arg(nm, name, len), {target, target ? strlen(target) + 1 : 0}};
	int r = fuse_allowed(fuse_conn(dir)) ? fuse_call(fuse_conn(dir), opcode, fuse_id(dir), args, 3, &e, sizeof(e), sizeof(e)) : -EACCES;

	fuse_stale(dir);
	return r < 0 ? r : entry(dir, &e, mode, 0, out);
}

static int create(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev, struct inode **out)
{
	struct fuse_mknod_in in = {.mode = mode, .rdev = (u32)rdev, .umask = cur_fs()->umask};

	return make(dir, FUSE_MKNOD, &in, sizeof(in), name, len, NULL, mode, out);
}

static int make_dir(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	struct fuse_mkdir_in in = {.mode = mode & 07777, .umask = cur_fs()->umask};

	return make(dir, FUSE_MKDIR, &in, sizeof(in), name, len, NULL, S_IFDIR, out);
}

static int make_symlink(struct inode *dir, const char *name, u32 len, const char *target, struct inode **out)
{
	return make(dir, FUSE_SYMLINK, NULL, 0, name, len, target, S_IFLNK, out);
}

static int make_link(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct fuse_link_in in = {.oldnodeid = fuse_id(ino)};
	struct inode *made = NULL;
	int r = make(dir, FUSE_LINK, &in, sizeof(in), name, len, NULL, ino->mode, &made);

	fuse_stale(ino);
	inode_put(made); // perhaps under a number of its own
	return r;
}

static int make_open(struct inode *dir, const char *name, u32 len, u32 mode, u32 flags, struct inode **out, void **opened)
{
	struct fuse_conn *c = fuse_conn(dir);
	struct fuse_create_in in = {.flags = flags & ~(u32)(O_NOCTTY | O_CLOEXEC), .mode = mode, .umask = cur_fs()->umask};
	struct {
		struct fuse_entry_out e;
		struct fuse_open_out o;
	} a;
	char nm[NAME_MAX_ + 1];
	struct fuse_arg args[] = {{&in, sizeof(in)}, name_arg(nm, name, len)};
	int r;

	if (c->no_create)
		return create(dir, name, len, mode, 0, out);
	r = fuse_allowed(c) ? fuse_call(c, FUSE_CREATE, fuse_id(dir), args, 2, &a, sizeof(a), sizeof(a)) : -EACCES;
	fuse_stale(dir);
	if (r == -ENOSYS) {
		c->no_create = true;
		return create(dir, name, len, mode, 0, out);
	}
	if (r < 0)
		return r;
	r = entry(dir, &a.e, S_IFREG, 0, out);
	if (r)
		return r; // what it has opened is its own fault
	*opened = fuse_opened(*out, &a.o, flags);
	if (*opened)
		return 0;
	inode_put(*out);
	return -ENOMEM;
}

static void unmake_open(struct inode *ino, void *opened) { fuse_close(ino, opened); }

static int remove(struct inode *dir, u32 opcode, const char *name, u32 len, struct inode *ino)
{
	char nm[NAME_MAX_ + 1];
	struct fuse_arg arg = name_arg(nm, name, len);
	int r = fuse_allowed(fuse_conn(dir)) ? fuse_call(fuse_conn(dir), opcode, fuse_id(dir), &arg, 1, NULL, 0, 0) : -EACCES;

	fuse_stale(dir);
	fuse_stale(ino);
	if (!r && ino->nlink)
		ino->nlink = is_dir(ino) ? 0 : ino->nlink - 1;
	return r;
}

static int unlink(struct inode *dir, const char *name, u32 len, struct inode *ino) { return remove(dir, FUSE_UNLINK, name, len, ino); }
static int rmdir(struct inode *dir, const char *name, u32 len, struct inode *ino) { return remove(dir, FUSE_RMDIR, name, len, ino); }

static int rename(struct inode *od, const char *on, u32 olen, struct inode *ino, struct inode *nd, const char *nn, u32 nlen,
		  struct inode *victim, u32 flags)
{
	struct fuse_conn *c = fuse_conn(od);
	struct fuse_rename2_in in = {.newdir = fuse_id(nd), .flags = flags};
	char from[NAME_MAX_ + 1], to[NAME_MAX_ + 1];
	// the older call has only the directory
	struct fuse_arg args[] = {{&in, flags ? sizeof(in) : sizeof(struct fuse_rename_in)}, name_arg(from, on, olen), name_arg(to, nn, nlen)};
	int r;

	if (flags && c->no_rename2)
		return -EINVAL;
	r = fuse_allowed(c) ? fuse_call(c, flags ? FUSE_RENAME2 : FUSE_RENAME, fuse_id(od), args, 3, NULL, 0, 0) : -EACCES;
	fuse_stale(od);
	fuse_stale(nd);
	fuse_stale(ino);
	if (victim)
		fuse_stale(victim);
	return flags ? fuse_unsupported(r, &c->no_rename2, -EINVAL) : r;
}

static int readlink(struct inode *i, char *buf, u32 n)
{
	struct fuse_conn *c = fuse_conn(i);
	int r = fuse_allowed(c) ? fuse_call(c, FUSE_READLINK, fuse_id(i), NULL, 0, buf, 0, min(n, (u32)PAGE_SIZE - 1)) : -EACCES;

	return r < 0 ? r : fuse_target_ok(buf, (u32)r) ? r : -EIO;
}

// Positions are the daemon's, after the two that the VFS makes: "." and "..", which it may send as well.
int fuse_readdir(struct file *f, struct dir_ctx *ctx)
{
	struct fuse_conn *c = fuse_conn(f->inode);
	struct fuse_file *ff = f->priv;
	u8 *buf = kmalloc(DIR_BYTES);
	bool full = false;
	int r = buf ? 0 : -ENOMEM, n;

	while (!r && !full) {
		struct fuse_read_in in = {.fh = ff->fh, .offset = ctx->pos - 2, .size = DIR_BYTES, .flags = f->flags};
		n = fuse_call(c, FUSE_READDIR, fuse_id(f->inode), &(struct fuse_arg){&in, sizeof(in)}, 1, buf, 0, DIR_BYTES);
		if (n <= 0) {
			r = n;
			break;
		}
		struct fuse_dirent d;
		const char *name;
		for (u32 at = 0; !full && (r = fuse_next_dirent(buf, (u32)n, &at, &d, &name)) > 0;) {
			if (d.off > U64_MAX - 2) {
				r = -EIO;
				break;
			}
			if (name[0] == '.' && (d.namelen == 1 || (d.namelen == 2 && name[1] == '.')))
				ctx->pos = d.off + 2;
			else if (ctx->emit(ctx, name, d.namelen, d.ino, d.type & 15, d.off + 2))
				ctx->pos = d.off + 2;
			else
				full = true;
		}
		r = min(r, 0);
	}
	kfree(buf);
	return r;
}

const struct inode_ops fuse_dir_iops = {.lookup = lookup,
					.create = create,
					.make_open = make_open,
					.unmake_open = unmake_open,
					.mkdir = make_dir,
					.symlink = make_symlink,
					.link = make_link,
					.unlink = unlink,
					.rmdir = rmdir,
					.rename = rename,
					.setattr = fuse_setattr,
					.getattr = fuse_getattr,
					.permission = fuse_permission,
					.access = fuse_access,
					.getxattr = fuse_getxattr,
					.setxattr = fuse_setxattr,
					.listxattr = fuse_listxattr,
					.removexattr = fuse_removexattr,
					.no_cache = true};
const struct inode_ops fuse_file_iops = {.setattr = fuse_setattr,
					 .getattr = fuse_getattr,
					 .permission = fuse_permission,
					 .access = fuse_access,
					 .getxattr = fuse_getxattr,
					 .setxattr = fuse_setxattr,
					 .listxattr = fuse_listxattr,
					 .removexattr = fuse_removexattr};
const struct inode_ops fuse_link_iops = {.readlink = readlink,
					 .setattr = fuse_setattr,
					 .getattr = fuse_getattr,
					 .permission = fuse_permission,
					 .getxattr = fuse_getxattr,
					 .setxattr = fuse_setxattr,
					 .listxattr = fuse_listxattr,
					 .removexattr = fuse_removexattr};
