// SPDX-License-Identifier: Apache-2.0
// The FUSE operations of a mounted volume. The host's kernel names files by their inode number; a table holds the
// library's handle of each that the kernel knows. Nobody else changes the volume while it is mounted, so the kernel may
// keep names, attributes and pages as long as it likes. Writes go through to the library at once: a full volume is an
// error of write(2). Single-threaded: one request after the other.
#define FUSE_USE_VERSION 314
#include "seal/tool_mount.h"
#include <fuse3/fuse_lowlevel.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FOREVER		  86400.0
#define MOST_ENTRIES	  1024u // of one readdir
#define COPY_MOST	  (64ul << 20) // of one copy_file_range: others wait meanwhile

static struct mount *mount_of(fuse_req_t req) { return fuse_req_userdata(req); }
static u32 len_of(const char *name) { return (u32)strnlen(name, SEAL_NAME_MAX + 1); }

static void reply(fuse_req_t req, int e) { fuse_reply_err(req, e ? -mount_error(mount_of(req), e) : 0); }

// --- the table of nodes

static struct mount_node **slot(struct mount *m, u64 ino)
{
	struct mount_node **p = &m->table[(ino * 0x9e3779b97f4a7c15ul >> 20) & (m->buckets - 1)];
	while (*p && (*p)->ino != ino)
		p = &(*p)->next;
	return p;
}

static void grow_table(struct mount *m)
{
	size_t old = m->buckets, n = old ? old * 2 : 1024;
	struct mount_node **from = m->table, **to = calloc(n, sizeof *to);
	if (!to)
		return; // longer chains
	m->table = to;
	m->buckets = n;
	for (size_t k = 0; k < old; k++)
		for (struct mount_node *d = from[k], *next; d; d = next) {
			struct mount_node **p = slot(m, d->ino);
			next = d->next;
			d->next = NULL;
			*p = d;
		}
	free(from);
}

// One more reference of the kernel's to this file; the caller's handle is consumed.
static int know(struct mount *m, struct seal_inode *i, u64 ino)
{
	if (m->nodes >= m->buckets)
		grow_table(m);
	struct mount_node **p = m->buckets ? slot(m, ino) : NULL, *d = p ? *p : NULL;
	if (d) {
		seal_iput(m->t.vol, i);
		d->lookups++;
		return 0;
	}
	d = p ? calloc(1, sizeof *d) : NULL;
	if (!d) {
		seal_iput(m->t.vol, i);
		return -ENOMEM;
	}
	*d = (struct mount_node){.inode = i, .ino = ino, .lookups = 1};
	*p = d;
	m->nodes++;
	return 0;
}

static void forget_one(struct mount *m, u64 ino, u64 n)
{
	struct mount_node **p = m->buckets ? slot(m, ino) : NULL, *d = p ? *p : NULL;
	if (!d || (d->lookups -= SEAL_MIN(n, d->lookups)))
		return;
	*p = d->next;
	m->nodes--;
	seal_iput(m->t.vol, d->inode);
	free(d);
}

void mount_release_nodes(struct mount *m)
{
	for (size_t k = 0; k < m->buckets; k++)
		for (struct mount_node *d = m->table[k], *next; d; d = next) {
			next = d->next;
			seal_iput(m->t.vol, d->inode);
			free(d);
		}
	free(m->table);
	m->table = NULL;
	m->buckets = m->nodes = 0;
}

// The handle of a file that the kernel knows, or NULL after an answer. The root is always known.
static struct seal_inode *inode_of(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	struct mount_node *d = m->buckets ? *slot(m, ino) : NULL;
	struct seal_inode *i;
	if (d)
		return d->inode;
	int r = ino == SEAL_ROOT_INO ? seal_iget(m->t.vol, ino, &i) : -ESTALE;
	if (!r)
		r = know(m, i, ino);
	if (r) {
		reply(req, r);
		return NULL;
	}
	return i;
}

// --- attributes

static struct timespec to_ts(s64 ns)
{
	struct timespec t = {.tv_sec = ns / 1000000000l, .tv_nsec = ns % 1000000000l};
	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000l;
		t.tv_sec--;
	}
	return t;
}

static s64 to_ns(const struct timespec *t)
{
	s64 ns;
	if (__builtin_mul_overflow(t->tv_sec, 1000000000l, &ns) || __builtin_add_overflow(ns, t->tv_nsec, &ns))
		return t->tv_sec < 0 ? -(s64)S64_LIMIT : (s64)S64_LIMIT;
	return ns;
}

static void fill_stat(const struct mount *m, const struct seal_attr *a, struct stat *st)
{
	*st = (struct stat){
		.st_ino = a->ino,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = mount_swap_id(a->uid, m->uid),
		.st_gid = mount_swap_id(a->gid, m->gid),
		.st_rdev = a->rdev,
		.st_size = (off_t)a->size,
		.st_blksize = SEAL_BLOCK,
		.st_blocks = (blkcnt_t)a->blocks,
		.st_atim = to_ts(a->atime_ns),
		.st_mtim = to_ts(a->mtime_ns),
		.st_ctim = to_ts(a->ctime_ns),
	};
}

static void fill_entry(const struct mount *m, const struct seal_attr *a, struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){
		.ino = a->ino, .generation = a->generation, .attr_timeout = FOREVER, .entry_timeout = FOREVER};
	fill_stat(m, a, &e->attr);
}

// Answers with a file, whose handle is consumed: the kernel knows it from now on.
static void reply_entry(fuse_req_t req, struct seal_inode *i, struct fuse_file_info *created)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param e;
	struct seal_attr a;
	seal_getattr(m->t.vol, i, &a);
	int r = know(m, i, a.ino);
	if (r) {
		reply(req, r);
		return;
	}
	fill_entry(m, &a, &e);
	if (created)
		r = fuse_reply_create(req, &e, created);
	else
		r = fuse_reply_entry(req, &e);
	if (r)
		forget_one(m, a.ino, 1); // the request was interrupted
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct seal_inode *i = inode_of(req, ino);
	struct seal_attr a;
	struct stat st;
	(void)fi;
	if (!i)
		return;
	seal_getattr(mount_of(req)->t.vol, i, &a);
	fill_stat(mount_of(req), &a, &st);
	fuse_reply_attr(req, &st, FOREVER);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int set, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct seal_inode *i = inode_of(req, ino);
	s64 now = (s64)m->t.host.env.now_ns(m->t.host.env.ctx);
	u32 which = 0;
	if (!i)
		return;
	struct seal_attr a = {.mode = st->st_mode & 07777,
			      .uid = mount_swap_id(st->st_uid, m->uid),
			      .gid = mount_swap_id(st->st_gid, m->gid),
			      .size = (u64)st->st_size,
			      .atime_ns = set & FUSE_SET_ATTR_ATIME_NOW ? now : to_ns(&st->st_atim),
			      .mtime_ns = set & FUSE_SET_ATTR_MTIME_NOW ? now : to_ns(&st->st_mtim)};
	which |= set & FUSE_SET_ATTR_MODE ? SEAL_SET_MODE : 0;
	which |= set & FUSE_SET_ATTR_UID ? SEAL_SET_UID : 0;
	which |= set & FUSE_SET_ATTR_GID ? SEAL_SET_GID : 0;
	which |= set & FUSE_SET_ATTR_SIZE ? SEAL_SET_SIZE : 0;
	which |= set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW) ? SEAL_SET_ATIME : 0;
	which |= set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW) ? SEAL_SET_MTIME : 0;
	if (which & SEAL_SET_ATIME && !(which & ~SEAL_SET_ATIME)) { // the times of utimens change ctime as well
		a.ctime_ns = now;
		which |= SEAL_SET_CTIME;
	}
	const int now_only = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW;
	bool times = !(set & ~now_only) && (!(which & SEAL_SET_ATIME) || set & FUSE_SET_ATTR_ATIME_NOW) &&
		     (!(which & SEAL_SET_MTIME) || set & FUSE_SET_ATTR_MTIME_NOW);
	int r = which ? mount_may_set(m, i, times) : 0;
	if (!r && which)
		r = seal_setattr(m->t.vol, i, which, &a);
	if (r)
		reply(req, r);
	else
		op_getattr(req, ino, fi);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct seal_statfs s;
	(void)ino;
	seal_statfs(mount_of(req)->t.vol, &s);
	struct statvfs st = {.f_bsize = SEAL_BLOCK, .f_frsize = SEAL_BLOCK, .f_blocks = s.blocks, .f_bfree = s.bfree,
			     .f_bavail = s.bavail, .f_files = s.files, .f_ffree = s.ffree, .f_favail = s.ffree,
			     .f_namemax = SEAL_NAME_MAX};
	fuse_reply_statfs(req, &st);
}

// --- names

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct seal_inode *dir = inode_of(req, parent), *i;
	if (!dir)
		return;
	int r = seal_lookup(mount_of(req)->t.vol, dir, name, len_of(name), &i);
	if (r == -ENOENT)
		fuse_reply_entry(req, &(struct fuse_entry_param){.entry_timeout = FOREVER});
	else if (r)
		reply(req, r);
	else
		reply_entry(req, i, NULL);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget_one(mount_of(req), ino, n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *f)
{
	for (size_t k = 0; k < count; k++)
		forget_one(mount_of(req), f[k].ino, f[k].nlookup);
	fuse_reply_none(req);
}

// Owner, group and mode of a new file: a directory with the group bit hands its group down.
static void new_owner(fuse_req_t req, struct seal_inode *dir, u32 *mode, u32 *uid, u32 *gid)
{
	struct mount *m = mount_of(req);
	const struct fuse_ctx *c = fuse_req_ctx(req);
	struct seal_attr a;
	seal_getattr(m->t.vol, dir, &a);
	*uid = mount_swap_id(c->uid, m->uid);
	*gid = mount_swap_id(c->gid, m->gid);
	if (a.mode & S_ISGID) {
		*gid = a.gid;
		if (S_ISDIR(*mode))
			*mode |= S_ISGID;
	}
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, u32 mode, u64 rdev, struct fuse_file_info *fi)
{
	struct seal_inode *dir = inode_of(req, parent), *i;
	u32 uid, gid;
	if (!dir)
		return;
	new_owner(req, dir, &mode, &uid, &gid);
	int r = mount_may(mount_of(req), dir, SEAL_FLAG_IMMUTABLE);
	if (!r)
		r = seal_create(mount_of(req)->t.vol, dir, name, len_of(name), mode, uid, gid, rdev, &i);
	if (r)
		reply(req, r);
	else
		reply_entry(req, i, fi);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	make(req, parent, name, mode & S_IFMT ? mode : S_IFREG | mode, rdev, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, S_IFDIR | (mode & 07777), 0, NULL);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	fi->keep_cache = 1;
	fi->fh = (fi->flags & O_APPEND) != 0;
	make(req, parent, name, S_IFREG | (mode & 07777), 0, fi);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct seal_inode *dir = inode_of(req, parent), *i;
	u32 mode = S_IFLNK, uid, gid;
	size_t n = strlen(target);
	if (!dir)
		return;
	new_owner(req, dir, &mode, &uid, &gid);
	int r = mount_may(mount_of(req), dir, SEAL_FLAG_IMMUTABLE);
	if (!r)
		r = n > SEAL_SYMLINK_MAX
			? -ENAMETOOLONG
			: seal_symlink(mount_of(req)->t.vol, dir, name, len_of(name), target, (u32)n, uid, gid, &i);
	if (r)
		reply(req, r);
	else
		reply_entry(req, i, NULL);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct seal_inode *i = inode_of(req, ino);
	char target[SEAL_SYMLINK_MAX + 1];
	if (!i)
		return;
	int n = seal_readlink(mount_of(req)->t.vol, i, target, SEAL_SYMLINK_MAX);
	if (n < 0) {
		reply(req, n);
		return;
	}
	target[n] = 0;
	fuse_reply_readlink(req, target);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct seal_inode *i = inode_of(req, ino), *dir = i ? inode_of(req, parent) : NULL, *ref;
	if (!dir)
		return;
	int r = mount_may(m, i, SEAL_FLAG_IMMUTABLE | SEAL_FLAG_APPEND);
	if (!r)
		r = mount_may(m, dir, SEAL_FLAG_IMMUTABLE);
	if (!r)
		r = seal_link(m->t.vol, dir, name, len_of(name), i);
	if (!r)
		r = seal_iget(m->t.vol, ino, &ref);
	if (r)
		reply(req, r);
	else
		reply_entry(req, ref, NULL);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct seal_inode *dir = inode_of(req, parent);
	if (!dir)
		return;
	int r = mount_may_remove(mount_of(req), dir, name, len_of(name));
	reply(req, r ? r : seal_unlink(mount_of(req)->t.vol, dir, name, len_of(name)));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct seal_inode *dir = inode_of(req, parent);
	if (!dir)
		return;
	int r = mount_may_remove(mount_of(req), dir, name, len_of(name));
	reply(req, r ? r : seal_rmdir(mount_of(req)->t.vol, dir, name, len_of(name)));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
		      unsigned int flags)
{
	struct seal_inode *from = inode_of(req, parent), *to = from ? inode_of(req, newparent) : NULL;
	if (!to)
		return;
	int r = flags & ~(SEAL_RENAME_NOREPLACE | SEAL_RENAME_EXCHANGE)
			? -EINVAL
			: mount_may_rename(mount_of(req), from, name, len_of(name), to, newname, len_of(newname));
	reply(req, r ? r : seal_rename(mount_of(req)->t.vol, from, name, len_of(name), to, newname, len_of(newname), flags));
}

// --- directories: entries are gathered first, because the library holds its lock while it lists

struct entry {
	char name[SEAL_NAME_MAX + 1];
	u64 ino, next;
	u32 type;
};

struct listing {
	struct entry *v;
	size_t n, max;
};

static bool list_emit(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct listing *l = ctx;
	if (l->n == l->max)
		return false;
	struct entry *e = &l->v[l->n++];
	memcpy(e->name, name, len);
	e->name[len] = 0;
	e->ino = ino;
	e->type = type;
	e->next = cookie;
	return true;
}

// One entry into the answer; false when it is full. `plus` entries count as looked up, but for "." and "..".
static int add_entry(fuse_req_t req, const struct entry *e, bool plus, u8 *out, size_t size, size_t *used)
{
	struct mount *m = mount_of(req);
	struct stat st = {.st_ino = e->ino, .st_mode = e->type};
	size_t n = plus ? fuse_add_direntry_plus(req, NULL, 0, e->name, NULL, 0)
			: fuse_add_direntry(req, NULL, 0, e->name, NULL, 0);
	struct fuse_entry_param p = {.attr = st};
	struct seal_inode *i;
	struct seal_attr a;
	if (n > size - *used)
		return -ENOBUFS;
	if (!plus) { // a file that cannot be read has its name all the same
		fuse_add_direntry(req, (char *)out + *used, size - *used, e->name, &st, (off_t)e->next);
	} else {
		if (e->next > 2) {
			int r = seal_iget(m->t.vol, e->ino, &i);
			if (!r) {
				seal_getattr(m->t.vol, i, &a);
				r = know(m, i, a.ino);
				if (r)
					return r;
				fill_entry(m, &a, &p);
			}
		}
		fuse_add_direntry_plus(req, (char *)out + *used, size - *used, e->name, &p, (off_t)e->next);
	}
	*used += n;
	return 0;
}

static void list_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct mount *m = mount_of(req);
	struct seal_inode *dir = inode_of(req, ino);
	struct listing l = {.max = SEAL_MIN(size / 32 + 1, MOST_ENTRIES)};
	struct seal_attr a;
	size_t used = 0;
	int r = 0;
	if (!dir)
		return;
	size = SEAL_MIN(size, TOOL_CHUNK);
	l.v = malloc((l.max + 2) * sizeof *l.v);
	if (!l.v) {
		reply(req, -ENOMEM);
		return;
	}
	seal_getattr(m->t.vol, dir, &a);
	if (off < 1)
		l.v[l.n++] = (struct entry){.name = ".", .ino = a.ino, .next = 1, .type = S_IFDIR};
	if (off < 2)
		l.v[l.n++] = (struct entry){.name = "..", .ino = a.parent, .next = 2, .type = S_IFDIR};
	l.max += l.n;
	r = seal_readdir(m->t.vol, dir, off < 3 ? 0 : (u64)off, list_emit, &l);
	for (size_t k = 0; k < l.n && !r; k++)
		r = add_entry(req, &l.v[k], plus, m->buf, size, &used);
	free(l.v);
	if (r && !used)
		reply(req, r == -ENOBUFS ? -EINVAL : r);
	else
		fuse_reply_buf(req, (char *)m->buf, used);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, ino, size, off, true);
}

// --- contents

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct seal_inode *i = inode_of(req, ino);
	int r = i ? mount_may_open(mount_of(req), i, fi->flags) : 0;
	fi->keep_cache = 1;
	fi->fh = (fi->flags & O_APPEND) != 0; // for mount_may_write
	if (i && r)
		reply(req, r);
	else if (i)
		fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct seal_inode *i = inode_of(req, ino);
	(void)fi;
	if (!i)
		return;
	s64 n = seal_read(m->t.vol, i, (u64)off, m->buf, SEAL_MIN(size, TOOL_CHUNK));
	if (n < 0)
		reply(req, (int)n);
	else
		fuse_reply_buf(req, (char *)m->buf, (size_t)n);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct seal_inode *i = inode_of(req, ino);
	if (!i)
		return;
	s64 n = fi->writepage ? 0 : mount_may_write(mount_of(req), i, fi->fh, (u64)off); // of a page in the cache the program has long heard that it is written
	if (!n)
		n = seal_write(mount_of(req)->t.vol, i, (u64)off, buf, size);
	if (n < 0)
		reply(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct seal_inode *i = inode_of(req, ino);
	(void)data_only, (void)fi;
	if (i)
		reply(req, m->read_only ? 0 : seal_fsync(m->t.vol, i));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct seal_inode *i = inode_of(req, ino);
	(void)fi;
	if (!i)
		return;
	int r = mount_may_allocate(mount_of(req), i, mode);
	reply(req, r ? r : seal_fallocate(mount_of(req)->t.vol, i, mode, (u64)off, (u64)len));
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct seal_inode *i = inode_of(req, ino);
	(void)fi;
	if (!i)
		return;
	s64 r = off < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE)
			? -EINVAL
			: seal_seek(mount_of(req)->t.vol, i, (u64)off, whence == SEEK_HOLE);
	if (r < 0)
		reply(req, (int)r);
	else
		fuse_reply_lseek(req, r);
}

// As much as one request may take. Whole blocks are shared, the rest is copied.
static s64 copy_range(struct mount *m, struct seal_inode *from, u64 at, struct seal_inode *to, u64 off, u64 len)
{
	struct seal_attr a, b;
	seal_getattr(m->t.vol, from, &a);
	seal_getattr(m->t.vol, to, &b);
	len = SEAL_MIN(SEAL_MIN(len, a.size > at ? a.size - at : 0), COPY_MOST);
	u64 whole = at + len == a.size && off + len >= b.size ? len : len / SEAL_BLOCK * SEAL_BLOCK;
	u64 done = 0;
	if (whole && !((at | off) % SEAL_BLOCK) && !seal_clone(m->t.vol, from, at, to, off, whole))
		done = whole;
	while (done < len) {
		s64 n = seal_read(m->t.vol, from, at + done, m->buf, SEAL_MIN(len - done, TOOL_CHUNK));
		if (n > 0)
			n = seal_write(m->t.vol, to, off + done, m->buf, (size_t)n);
		if (n <= 0)
			return done ? (s64)done : n;
		done += (u64)n;
	}
	return (s64)done;
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t at, struct fuse_file_info *fi, fuse_ino_t to, off_t off,
			       struct fuse_file_info *fi_to, size_t len, int flags)
{
	struct seal_inode *i = inode_of(req, from), *o = i ? inode_of(req, to) : NULL;
	(void)fi;
	if (!o)
		return;
	s64 n = flags || at < 0 || off < 0 ? -EINVAL : mount_may_write(mount_of(req), o, fi_to->fh, (u64)off);
	if (!n)
		n = copy_range(mount_of(req), i, (u64)at, o, (u64)off, len);
	if (n < 0)
		reply(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

// FITRIM: what the volume does not use goes back to this machine's file system. And flags of files.
static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi, unsigned int flags,
		     const void *in, size_t in_size, size_t out_size)
{
	struct mount *m = mount_of(req);
	struct seal_inode *i = inode_of(req, ino);
	struct fstrim_range range;
	u8 out[MOUNT_FLAGS_BYTES];
	u64 trimmed = 0;
	(void)arg, (void)fi;
	if (!i)
		return;
	int r = mount_ioctl_flags(m, i, fuse_req_ctx(req)->uid, cmd, in, in_size, out, SEAL_MIN(out_size, sizeof out));
	if (r >= 0) {
		fuse_reply_ioctl(req, 0, out, (size_t)r);
		return;
	}
	if (cmd == FITRIM && !(flags & FUSE_IOCTL_COMPAT) && in_size == sizeof range && out_size == sizeof range) {
		memcpy(&range, in, sizeof range);
		r = seal_sync(m->t.vol); // what was deleted last is free then
		if (!r)
			r = seal_trim(m->t.vol, range.start, range.len, range.minlen, &trimmed);
		range.len = trimmed;
	}
	if (r)
		reply(req, r);
	else
		fuse_reply_ioctl(req, 0, &range, sizeof range);
}

// --- extended attributes. POSIX ACLs would have to be obeyed, so they are not taken.

static bool not_kept(const char *name) { return !strncmp(name, "system.", 7); }

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct mount *m = mount_of(req);
	struct seal_inode *i = inode_of(req, ino);
	if (!i)
		return;
	s64 n = not_kept(name) ? -EOPNOTSUPP
			       : seal_getxattr(m->t.vol, i, name, len_of(name), m->buf, SEAL_MIN(size, TOOL_CHUNK));
	if (n < 0)
		reply(req, (int)n);
	else if (size)
		fuse_reply_buf(req, (char *)m->buf, (size_t)n);
	else
		fuse_reply_xattr(req, (size_t)n);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct seal_inode *i = inode_of(req, ino);
	int r = not_kept(name) ? -EOPNOTSUPP : i ? mount_may(mount_of(req), i, SEAL_FLAG_IMMUTABLE | SEAL_FLAG_APPEND) : 0;
	if (i)
		reply(req, r ? r : seal_setxattr(mount_of(req)->t.vol, i, name, len_of(name), value, size, flags));
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct mount *m = mount_of(req);
	struct seal_inode *i = inode_of(req, ino);
	if (!i)
		return;
	s64 n = seal_listxattr(m->t.vol, i, (char *)m->buf, SEAL_MIN(size, TOOL_CHUNK));
	if (n < 0)
		reply(req, (int)n);
	else if (size)
		fuse_reply_buf(req, (char *)m->buf, (size_t)n);
	else
		fuse_reply_xattr(req, (size_t)n);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct seal_inode *i = inode_of(req, ino);
	int r = not_kept(name) ? -EOPNOTSUPP : i ? mount_may(mount_of(req), i, SEAL_FLAG_IMMUTABLE | SEAL_FLAG_APPEND) : 0;
	if (i)
		reply(req, r ? r : seal_removexattr(mount_of(req)->t.vol, i, name, len_of(name)));
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;
	m->unchecked = conn->proto_minor < 34; // Linux 5.13 looks at who changes flags, and it is the last with 33
	// The kernel clears set-user-ID bits and truncates at open by itself, and pages are never changed behind its back.
	conn->want &= ~(FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA);
	conn->want |= conn->capable & (FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA);
	conn->time_gran = 1;
}

const struct fuse_lowlevel_ops mount_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.statfs = op_statfs,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.create = op_create,
	.symlink = op_symlink,
	.readlink = op_readlink,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fsyncdir = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.ioctl = op_ioctl,
	.getxattr = op_getxattr,
	.setxattr = op_setxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
};
