// SPDX-License-Identifier: Apache-2.0
// FUSE: contents. Reads and writes go to the daemon each time. Pages are cached for mappings only (read when the file is mapped, and
// brought up to date by writes that come this way); a shared mapping that may be written is ENODEV, as for files of direct I/O on Linux.
// Locks: see fuse.h; the page cache's own.
#include "kernel/fs/fuse.h"

#define NOT_SENT ((u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC))

// --- handles

struct fuse_file *fuse_opened(struct inode *i, const struct fuse_open_out *o, u32 flags)
{
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_file *ff = knew(struct fuse_file);

	if (!ff)
		return NULL;
	ff->fh = o->fh;
	ff->open_flags = o->open_flags;
	ff->flags = flags & ~NOT_SENT;
	mutex_lock(&c->lock);
	list_add_tail(&ff->link, &fuse_node(i)->files);
	mutex_unlock(&c->lock);
	return ff;
}

int fuse_open(struct inode *i, struct file *f)
{
	struct fuse_conn *c = fuse_conn(i);
	bool *unsupported = is_dir(i) ? &c->no_opendir : &c->no_open;
	struct fuse_open_in in = {.flags = f->flags & ~NOT_SENT};
	struct fuse_open_out out = {0};
	struct fuse_file *ff;
	int r = 0;

	if (f->priv) // by make_open
		return 0;
	if (!fuse_allowed(c))
		return -EACCES;
	if (!*unsupported) {
		r = fuse_call(c, is_dir(i) ? FUSE_OPENDIR : FUSE_OPEN, fuse_id(i), &(struct fuse_arg){&in, sizeof(in)}, 1, &out, sizeof(out), sizeof(out));
		r = fuse_unsupported(r, unsupported, 0);
		if (r < 0)
			return r;
	}
	ff = fuse_opened(i, &out, f->flags);
	if (!ff)
		return -ENOMEM; // the daemon keeps a handle until it ends
	ff->nothing = *unsupported;
	f->priv = ff;
	if (is_reg(i) && !(out.open_flags & FOPEN_KEEP_CACHE))
		fuse_drop_pages(i);
	return 0;
}

void fuse_close(struct inode *i, struct fuse_file *ff)
{
	struct fuse_release_in in = {.fh = ff->fh, .flags = ff->flags};
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_req *r;

	mutex_lock(&c->lock);
	list_del(&ff->link);
	mutex_unlock(&c->lock);
	r = ff->nothing ? NULL : fuse_req_new(c, is_dir(i) ? FUSE_RELEASEDIR : FUSE_RELEASE, fuse_id(i), sizeof(in), 0, 0);
	if (r) {
		memcpy(fuse_body(r), &in, sizeof(in));
		fuse_tell(c, r, NULL);
	}
	kfree(ff);
}

void fuse_release(struct file *f)
{
	if (f->priv)
		fuse_close(f->inode, f->priv);
}

// Each close of a descriptor. Who is killed does not wait for it.
static int flush(struct file *f)
{
	struct fuse_conn *c = fuse_conn(f->inode);
	struct fuse_file *ff = f->priv;
	struct fuse_flush_in in = {.fh = ff ? ff->fh : 0};

	if (!ff || c->no_flush)
		return 0;
	int r = fuse_call(c, FUSE_FLUSH, fuse_id(f->inode), &(struct fuse_arg){&in, sizeof(in)}, 1, NULL, 0, 0);
	return fuse_unsupported(r, &c->no_flush, 0);
}

// --- reading

static int read_some(struct inode *i, const struct fuse_file *ff, void *buf, u32 n, u64 pos)
{
	struct fuse_read_in in = {.fh = ff->fh, .offset = pos, .size = n, .flags = ff->flags};

	return fuse_call(fuse_conn(i), FUSE_READ, fuse_id(i), &(struct fuse_arg){&in, sizeof(in)}, 1, buf, 0, n);
}

static int put_all(struct iter *it, const u8 *p, size_t n, size_t *done)
{
	int r = 0;

	for (*done = 0; *done < n && !r;) {
		*done += iter_put(it, p + *done, n - *done);
		if (*done < n)
			r = iter_fault_in(it, true);
	}
	return r;
}

static ssize_t file_read(struct file *f, struct iter *it, u64 *pos)
{
	struct inode *i = f->inode;
	u32 most = min(FUSE_IO_MAX, fuse_conn(i)->max_read), want = 1;
	u8 *buf = kmalloc(min((size_t)most, max(it->left, (size_t)1)));
	ssize_t total = 0;
	int r = buf ? 0 : -ENOMEM, n = 1;

	while (it->left && !r && n == (int)want) {
		size_t done;
		want = (u32)min(it->left, (size_t)most);
		n = read_some(i, f->priv, buf, want, *pos);
		if (n <= 0) {
			r = n;
			break;
		}
		if (n < (int)want)
			want = 0; // the end of the file
		else
			n = (int)want;
		r = put_all(it, buf, (size_t)n, &done);
		*pos += done;
		total += (ssize_t)done;
		if (want && signal_pending() && signal_fatal()) // a file's reads and writes are whole, as on a disk
			break;
	}
	kfree(buf);
	return total ? total : r;
}

// --- writing

// Bytes just written go into pages that mappings show.
static void update_pages(struct inode *i, const u8 *p, size_t n, u64 pos)
{
	while (n && i->pc->npages) {
		u32 off = (u32)(pos & (PAGE_SIZE - 1)), run;
		size_t k = min(n, (size_t)(PAGE_SIZE - off));
		pfn_t pfn = PFN_NONE;

		if (!pc_resident(i->pc, pos >> PAGE_SHIFT, (pos >> PAGE_SHIFT) + 1) || pc_run(i->pc, pos >> PAGE_SHIFT, 1, false, &pfn, &run))
			pfn = PFN_NONE;
		if (pfn)
			memcpy((u8 *)page_addr(pfn) + off, p, k);
		p += k;
		pos += k;
		n -= k;
	}
}

// One message. Bytes that the daemon took, or -errno.
static ssize_t write_some(struct inode *i, const struct fuse_file *ff, struct iter *it, u32 n, u64 pos)
{
	struct fuse_write_in in = {.fh = ff->fh, .offset = pos, .size = n, .flags = ff->flags};
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_req *r = fuse_req_new(c, FUSE_WRITE, fuse_id(i), sizeof(in) + n, sizeof(struct fuse_write_out), sizeof(struct fuse_write_out));
	u8 *data = r ? (u8 *)fuse_body(r) + sizeof(in) : NULL;
	struct fuse_write_out out;
	ssize_t e = -ENOMEM;

	if (!r)
		return e;
	memcpy(fuse_body(r), &in, sizeof(in));
	e = iter_get_all(it, data, n);
	if (!e)
		e = fuse_ask(c, r);
	if (!e) {
		memcpy(&out, r->out, sizeof(out));
		e = out.size > n ? -EIO : (ssize_t)out.size;
		if (e > 0)
			update_pages(i, data, (size_t)e, pos);
	}
	fuse_req_put(r);
	return e;
}

// The mode bits that a write takes away.
static void drop_suid(struct inode *i)
{
	struct iattr a = {0};

	setattr_written(i, &a);
	if (unlikely(a.valid))
		fuse_setattr(i, &a);
}

static ssize_t file_write(struct file *f, struct iter *it, u64 *pos)
{
	struct inode *i = f->inode;
	u64 limit = RLIMIT(RLIMIT_FSIZE), at = *pos;
	u32 most = min(FUSE_IO_MAX, fuse_conn(i)->max_write), n = 1;
	ssize_t total = 0, r = 0;

	if (f->flags & O_APPEND) {
		fuse_stale(i);
		if ((r = fuse_getattr(i)))
			return r;
		at = i->size;
	}
	if (it->left && at >= limit) {
		signal_send_task(current, SIGXFSZ, NULL);
		return -EFBIG;
	}
	drop_suid(i);
	for (r = n; it->left && at < limit && r == (ssize_t)n;) {
		n = (u32)min(min(it->left, (size_t)most), limit - at);
		r = write_some(i, f->priv, it, n, at);
		if (r <= 0)
			break;
		at += (u64)r;
		total += r;
		fuse_grew(i, at);
		if (signal_pending() && signal_fatal())
			break;
	}
	fuse_stale(i);
	if (total)
		*pos = at;
	return total ? total : min(r, (ssize_t)0);
}

// --- the rest

static s64 file_llseek(struct file *f, s64 off, int whence)
{
	struct inode *i = f->inode;
	struct fuse_conn *c = fuse_conn(i);
	int r;

	if (whence == SEEK_END || whence == SEEK_DATA || whence == SEEK_HOLE) {
		fuse_stale(i);
		if ((r = fuse_getattr(i)))
			return r;
	}
	if ((whence == SEEK_DATA || whence == SEEK_HOLE) && off >= 0 && (u64)off < i->size && !c->no_lseek) {
		struct fuse_lseek_in in = {.fh = ((struct fuse_file *)f->priv)->fh, .offset = (u64)off, .whence = (u32)whence};
		struct fuse_lseek_out out;
		r = fuse_call(c, FUSE_LSEEK, fuse_id(i), &(struct fuse_arg){&in, sizeof(in)}, 1, &out, sizeof(out), sizeof(out));
		if (r >= 0) {
			f->pos = out.offset > FUSE_SIZE_MAX ? f->pos : out.offset;
			f->dir_version++;
			return out.offset > FUSE_SIZE_MAX ? -EIO : (s64)out.offset;
		}
		if (fuse_unsupported(r, &c->no_lseek, 0))
			return r;
	}
	return generic_llseek(f, off, whence);
}

int fuse_fsync(struct file *f, bool data_only)
{
	struct inode *i = f->inode;
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_file *ff = f->priv;
	bool *unsupported = is_dir(i) ? &c->no_fsyncdir : &c->no_fsync;
	struct fuse_fsync_in in = {.fh = ff->fh, .fsync_flags = data_only ? FUSE_FSYNC_FDATASYNC : 0};

	if (*unsupported)
		return 0;
	int r = fuse_call(c, is_dir(i) ? FUSE_FSYNCDIR : FUSE_FSYNC, fuse_id(i), &(struct fuse_arg){&in, sizeof(in)}, 1, NULL, 0, 0);
	return fuse_unsupported(r, unsupported, 0);
}

static int file_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct inode *i = f->inode;
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_fallocate_in in = {.fh = ((struct fuse_file *)f->priv)->fh, .offset = off, .length = len, .mode = (u32)mode};

	if (c->no_fallocate)
		return -EOPNOTSUPP;
	int r = fuse_call(c, FUSE_FALLOCATE, fuse_id(i), &(struct fuse_arg){&in, sizeof(in)}, 1, NULL, 0, 0);
	fuse_stale(i);
	if (!r && mode & ~1)
		fuse_drop_pages(i);
	return fuse_unsupported(r, &c->no_fallocate, -EOPNOTSUPP);
}

// --- pages, for mappings

// A handle of somebody who may read; it stays open as long as the mapping that wants pages.
static bool reader(struct inode *i, struct fuse_file *copy)
{
	struct fuse_conn *c = fuse_conn(i);
	struct fuse_file *ff;
	bool found = false;

	mutex_lock(&c->lock);
	list_for_each(ff, &fuse_node(i)->files, link)
		if (!found && (ff->flags & O_ACCMODE) != O_WRONLY) {
			*copy = *ff;
			found = true;
		}
	mutex_unlock(&c->lock);
	return found;
}

static int pages_read(struct pagecache *pc, u64 index, u32 n, void *kaddr)
{
	u64 pos = index << PAGE_SHIFT, left = (u64)n << PAGE_SHIFT;
	struct inode *i = pc->owner;
	struct fuse_file ff;
	u8 *to = kaddr;
	u32 most;

	if (!i || !reader(i, &ff))
		return -EIO;
	most = ALIGN_DOWN(min(FUSE_IO_MAX, fuse_conn(i)->max_read), 512u);
	while (left) {
		u32 want = (u32)min(left, (u64)most);
		int got = read_some(i, &ff, to, want, pos);
		if (got < 0)
			return -EIO;
		to += got;
		pos += (u64)got;
		left -= (u64)got;
		if (got < (int)want)
			break;
	}
	memset(to, 0, left);
	return 0;
}

static u64 pages_size(struct pagecache *pc)
{
	struct inode *i = pc->owner;

	return i ? i->size : 0;
}

static const struct pc_ops fuse_pc = {.read = pages_read, .size = pages_size};

struct pagecache *fuse_pages(struct inode *i) { return pc_new(&fuse_pc, i); }

void fuse_drop_pages(struct inode *i)
{
	if (i->pc && i->pc->npages)
		pc_shrink(i->pc, U64_MAX);
}

static int file_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc)
{
	int r;

	if ((flags & MAP_TYPE) != MAP_PRIVATE && (prot & PROT_WRITE || (f->flags & O_ACCMODE) == O_RDWR))
		return -ENODEV;
	fuse_stale(f->inode);
	if ((r = fuse_getattr(f->inode)))
		return r;
	return generic_mmap(f, pgoff, len, prot, flags, pc);
}

const struct file_ops fuse_file_fops = {.open = fuse_open,
					.release = fuse_release,
					.flush = flush,
					.read = file_read,
					.write = file_write,
					.llseek = file_llseek,
					.fsync = fuse_fsync,
					.fallocate = file_fallocate,
					.mmap = file_mmap};
const struct file_ops fuse_dir_fops = {.open = fuse_open, .release = fuse_release, .readdir = fuse_readdir, .fsync = fuse_fsync};
