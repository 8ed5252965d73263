// SPDX-License-Identifier: Apache-2.0
// Files and directories of sealed volumes. The volume's own library keeps names and attributes; contents of regular
// files pass through the page cache and are stored at fsync, sync, when much is dirty, and by the flusher. A dirty
// inode is held in memory, so an inode that is looked up again is always the one that knows what is newest. Locks: as
// in sealed.c. The VFS holds the directory's lock around name operations and inode->lock around setattr.
#include "kernel/fs/sealed.h"

#define DIRTY_KICK	  512u	  // pages of one file from which on they are stored in the background
#define DIRTY_MAX	  8192u	  // most that may wait in the cache
#define DIRTY_ALL	  16384ul // of all files of a volume
#define PAGES		  64u	  // pages in one call of the library
#define IN_ORDER	  32u	  // pages read in order that make a file worth reading ahead
#define PIECE		  64u	  // pages that a thread reads ahead at a time
#define AHEAD		  512ul	  // pages asked for ahead of the reader
#define FALLOC_KEEP_SIZE  1
#define FALLOC_PUNCH_HOLE 2
#define FALLOC_ZERO_RANGE 16
#define RENAME_WHITEOUT_  4u

static const struct inode_ops dir_iops, link_iops, file_iops;
static const struct file_ops dir_fops, file_fops;

static struct fstime fstime_of(s64 ns)
{
	s64 s = ns / (s64)NSEC_PER_SEC, n = ns % (s64)NSEC_PER_SEC;
	return n < 0 ? (struct fstime){s - 1, (u32)(n + (s64)NSEC_PER_SEC)} : (struct fstime){s, (u32)n};
}

static s64 ns_of(struct fstime t)
{
	s64 ns;
	if (__builtin_mul_overflow(t.sec, (s64)NSEC_PER_SEC, &ns) || __builtin_add_overflow(ns, (s64)t.nsec, &ns))
		return t.sec < 0 ? -S64_MAX : S64_MAX;
	return ns;
}

// --- the page cache's storage
static int pages_read(struct pagecache *pc, u64 index, u32 n, void *kaddr)
{
	struct inode *i = pc->owner;
	void *pages[PAGES];
	if (!i)
		return -EIO;
	for (u32 done = 0, m; done < n; done += m) {
		m = min(n - done, PAGES);
		for (u32 k = 0; k < m; k++)
			pages[k] = (u8 *)kaddr + (u64)(done + k) * PAGE_SIZE;
		int r = seal_read_pages(vol_of(i), snode_of(i)->si, index + done, m, pages);
		if (r)
			return sealed_err(r);
	}
	return 0;
}

// With store_lock; the last page only with inode->lock too: the size stands still.
static int pages_write(struct pagecache *pc, const u64 *index, u32 n, const void **pages)
{
	struct inode *i = pc->owner;
	void *tail = NULL;
	if (!i)
		return -EIO;
	u64 end = (index[n - 1] + 1) * PAGE_SIZE;
	if (end > i->size && i->size > end - PAGE_SIZE) {
		// a mapping may have written behind the end: that is not part of the file
		pfn_t p = page_alloc(1, false);
		if (!p)
			return -ENOMEM;
		tail = page_addr(p);
		u64 keep = i->size & (PAGE_SIZE - 1);
		memcpy(tail, pages[n - 1], keep);
		memset((u8 *)tail + keep, 0, PAGE_SIZE - keep);
		pages[n - 1] = tail;
	}
	int r = seal_write_pages(vol_of(i), snode_of(i)->si, index, n, pages, min(i->size, end));
	if (tail)
		page_free(page_of(tail), 1);
	sealed_sync_due(svol_of(i));
	return sealed_err(r);
}

static u64 pages_size(struct pagecache *pc)
{
	struct inode *i = pc->owner;
	return i ? i->size : 0;
}

// A cut may fail yet: what is read meanwhile behind the end to be is what the volume has, and not a hole that would stay in the cache.
static u64 pages_stored(struct pagecache *pc)
{
	struct inode *i = pc->owner;
	return i ? max(__atomic_load_n(&i->size, __ATOMIC_RELAXED), __atomic_load_n(&snode_of(i)->cutting, __ATOMIC_RELAXED)) : 0;
}

// It stays on the list for as long as such a mapping is there (sealed_store), and is stored once more after that.
static void pages_wmapped(struct pagecache *pc)
{
	struct inode *i = pc->owner;
	if (i)
		sealed_mark_dirty(i);
}

static const struct pc_ops sealed_pc = {
	.read = pages_read, .write = pages_write, .size = pages_size, .stored = pages_stored, .wmapped = pages_wmapped};

// --- inodes
void sealed_refresh(struct inode *i)
{
	struct seal_attr a;
	seal_getattr(vol_of(i), snode_of(i)->si, &a);
	i->nlink = a.nlink;
	i->ctime = fstime_of(a.ctime_ns);
	if (is_dir(i)) {
		i->mtime = fstime_of(a.mtime_ns);
		i->size = a.size;
	}
}

struct inode *sealed_inode(struct super *sb, struct seal_inode *si)
{
	struct svol *sv = sb->priv;
	struct seal_attr a;
	seal_getattr(sv->v, si, &a);
	struct inode *i = inode_find(sb, a.ino);
	if (i) {
		seal_iput(sv->v, si);
		return i;
	}
	struct snode *n = knew(struct snode);
	i = n ? inode_new(sb, a.mode) : NULL;
	if (!i) {
		kfree(n);
		seal_iput(sv->v, si);
		return ERR_PTR(-ENOMEM);
	}
	list_init(&n->dirty);
	n->si = si;
	n->inode = i;
	n->frozen = a.snapshot;
	i->priv = n;
	i->ino = a.ino;
	i->nlink = a.nlink;
	i->uid = a.uid;
	i->gid = a.gid;
	i->rdev = a.rdev;
	i->size = a.size;
	i->blocks = a.blocks;
	i->generation = a.generation;
	i->atime = fstime_of(a.atime_ns);
	i->mtime = fstime_of(a.mtime_ns);
	i->ctime = fstime_of(a.ctime_ns);
	i->btime = fstime_of(a.btime_ns);
	i->flags = a.flags & FILE_FLAGS; // others mean something to the kernel only
	i->iops = &file_iops;
	if (is_dir(i)) {
		i->iops = &dir_iops;
		i->fops = &dir_fops;
	} else if (is_lnk(i)) {
		i->iops = &link_iops;
	} else if (is_reg(i)) {
		i->fops = &file_fops;
		if (!(i->pc = pc_new(&sealed_pc, i))) {
			inode_put(i);
			return ERR_PTR(-ENOMEM);
		}
	}
	return inode_insert(i, a.ino);
}

void sealed_forget(struct inode *i)
{
	struct snode *n = snode_of(i);
	if (!n)
		return;
	__atomic_fetch_sub(&svol_of(i)->unflushed, n->unflushed, __ATOMIC_RELAXED);
	if (i->pc)
		i->pc->owner = NULL;
	seal_iput(vol_of(i), n->si);
	kfree(n);
	i->priv = NULL;
}

// The inode has no name any more: what is only in memory may stay there.
static void nameless(struct inode *i)
{
	struct svol *sv = svol_of(i);
	struct snode *n = snode_of(i);
	mutex_lock(&sv->dirty_lock);
	bool was = !list_empty(&n->dirty);
	if (was) {
		list_del(&n->dirty);
		list_init(&n->dirty);
	}
	mutex_unlock(&sv->dirty_lock);
	if (was)
		inode_put(i); // the caller has a reference of its own
}

// What was written and not stored is at most what is dirty. inode->lock held.
static void account(struct inode *i, u64 left)
{
	struct snode *n = snode_of(i);
	u64 gone = n->unflushed - min(n->unflushed, left);
	__atomic_fetch_sub(&svol_of(i)->unflushed, gone, __ATOMIC_RELAXED);
	n->unflushed -= gone;
}

int sealed_store_pages(struct inode *i)
{
	struct snode *n = snode_of(i);
	if (!i->pc)
		return 0;
	mutex_lock(&n->store_lock);
	int r = pc_sync(i->pc);
	mutex_unlock(&n->store_lock);
	if (!r)
		account(i, 0);
	return r;
}

void sealed_store_behind(struct inode *i)
{
	struct snode *n = snode_of(i);
	__atomic_store_n(&n->behind, false, __ATOMIC_SEQ_CST);
	mutex_lock(&n->store_lock);
	if (i->nlink || i->linkable)
		pc_write_behind(i->pc, __atomic_load_n(&i->size, __ATOMIC_RELAXED) >> PAGE_SHIFT); // what fails stays dirty for the next fsync
	mutex_unlock(&n->store_lock);
	mutex_lock(&i->lock);
	account(i, i->pc->ndirty);
	mutex_unlock(&i->lock);
}

int sealed_flush(struct inode *i)
{
	if (i->sb->read_only || (!i->nlink && !i->linkable) || snode_of(i)->frozen) // the times of reading stay in memory
		return 0;
	int r = sealed_store_pages(i);
	if (r)
		return r;
	struct seal_attr a = {
		.atime_ns = ns_of(i->atime), .mtime_ns = ns_of(i->mtime), .ctime_ns = ns_of(i->ctime), .mode = i->mode};
	return sealed_err(seal_setattr(vol_of(i), snode_of(i)->si,
				       SEAL_SET_ATIME | SEAL_SET_MTIME | SEAL_SET_CTIME | SEAL_SET_MODE, &a));
}

bool sealed_half_done(struct inode *i, const struct seal_attr *was, struct seal_attr *now)
{
	seal_getattr(vol_of(i), snode_of(i)->si, now);
	return now->size != was->size || now->ctime_ns != was->ctime_ns;
}

// With i's lock.
static int set_flags(struct inode *i, u32 flags)
{
	struct seal_attr a = {.flags = flags};
	_Static_assert(FILE_FLAGS == SEAL_FLAGS && FILE_INHERITED == SEAL_FLAGS_INHERITED, "the same numbers");
	int r = sealed_err(seal_setattr(vol_of(i), snode_of(i)->si, SEAL_SET_FLAGS, &a));
	if (r)
		return r;
	i->flags = flags;
	sealed_refresh(i);
	return 0;
}

// --- names
static int found(struct inode *dir, struct seal_inode *si, struct inode **out)
{
	struct inode *i = sealed_inode(dir->sb, si);
	if (IS_ERR(i))
		return (int)PTR_ERR(i);
	*out = i;
	return 0;
}

static int lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct seal_inode *si;
	int r = seal_lookup(vol_of(dir), snode_of(dir)->si, name, len, &si);
	return r ? sealed_err(r) : found(dir, si, out);
}

static u32 owner_group(struct inode *dir, u32 *mode)
{
	if (!(dir->mode & S_ISGID))
		return cred()->fsgid;
	if ((*mode & S_IFMT) == S_IFDIR)
		*mode |= S_ISGID;
	return dir->gid;
}

static int create(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev, struct inode **out)
{
	struct seal_inode *si;
	u32 gid = owner_group(dir, &mode);
	int r = seal_create(vol_of(dir), snode_of(dir)->si, name, len, mode, cred()->fsuid, gid, rdev, &si);
	if (r)
		return sealed_err(r);
	sealed_refresh(dir);
	return found(dir, si, out);
}

static int make_dir(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	return create(dir, name, len, S_IFDIR | (mode & 07777), 0, out);
}

static int make_symlink(struct inode *dir, const char *name, u32 len, const char *target, struct inode **out)
{
	struct seal_inode *si;
	u32 mode = S_IFLNK | 0777, gid = owner_group(dir, &mode);
	int r = seal_symlink(vol_of(dir), snode_of(dir)->si, name, len, target, (u32)strlen(target), cred()->fsuid, gid,
			     &si);
	if (r)
		return sealed_err(r);
	sealed_refresh(dir);
	return found(dir, si, out);
}

static int make_tmpfile(struct inode *dir, u32 mode, struct inode **out)
{
	struct seal_inode *si;
	u32 gid = owner_group(dir, &mode);
	int r = seal_tmpfile(vol_of(dir), mode, cred()->fsuid, gid, &si);
	if (!r)
		r = found(dir, si, out);
	if (!r && dir->flags & FILE_INHERITED && (r = set_flags(*out, dir->flags & FILE_INHERITED)))
		inode_put(*out);
	return sealed_err(r);
}

static int make_link(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	int r = seal_link(vol_of(dir), snode_of(dir)->si, name, len, snode_of(ino)->si);
	if (r)
		return sealed_err(r);
	ino->linkable = false;
	sealed_refresh(ino);
	sealed_refresh(dir);
	if (is_reg(ino) && ino->nlink == 1)
		sealed_mark_dirty(ino); // it was nameless: what it holds may be only in memory
	return 0;
}

static void lost_name(struct inode *dir, struct inode *ino)
{
	sealed_refresh(ino);
	sealed_refresh(dir);
	if (!ino->nlink)
		nameless(ino);
}

static int unlink(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	int r = seal_unlink(vol_of(dir), snode_of(dir)->si, name, len);
	if (!r)
		lost_name(dir, ino);
	return sealed_err(r);
}

static int rmdir(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	int r = seal_rmdir(vol_of(dir), snode_of(dir)->si, name, len);
	if (!r)
		lost_name(dir, ino);
	return sealed_err(r);
}

// A character device 0:0 takes the old name (RENAME_WHITEOUT). It is made first, under a name of its own, and changes places with what moves;
// the last step is the only one that replaces something, and until then all can be taken back.
static int rename_whiteout(struct inode *od, const char *on, u32 olen, struct inode *nd, const char *nn, u32 nlen, u32 flags)
{
	struct seal_inode *from = snode_of(od)->si, *to = snode_of(nd)->si;
	struct seal_vol *v = vol_of(od);
	struct inode *white;
	char temp[40];
	u64 id[2];
	u32 n;
	int r;

	pf_random(id, sizeof(id));
	n = (u32)snprintf(temp, sizeof(temp), ".%lx%lx", id[0], id[1]);
	r = create(od, temp, n, S_IFCHR, 0, &white);
	if (r)
		return r;
	r = seal_rename(v, from, on, olen, from, temp, n, SEAL_RENAME_EXCHANGE);
	if (r) {
		seal_unlink(v, from, temp, n);
	} else if ((r = seal_rename(v, from, temp, n, to, nn, nlen, flags))) {
		if (!seal_rename(v, from, temp, n, from, on, olen, SEAL_RENAME_EXCHANGE))
			seal_unlink(v, from, temp, n);
	}
	inode_put(white);
	return sealed_err(r);
}

// The way programs replace a file is write, rename: the new contents are stored together with the new name.
static int rename(struct inode *od, const char *on, u32 olen, struct inode *ino, struct inode *nd, const char *nn,
		  u32 nlen, struct inode *victim, u32 flags)
{
	int r = 0;
	if (victim && is_reg(ino) && ino->pc->ndirty) {
		mutex_lock(&ino->lock);
		r = sealed_flush(ino);
		mutex_unlock(&ino->lock);
	}
	if (!r && flags & RENAME_WHITEOUT_) {
		r = rename_whiteout(od, on, olen, nd, nn, nlen, flags & ~RENAME_WHITEOUT_);
		if (r)
			return r;
	} else if (!r) {
		r = seal_rename(vol_of(od), snode_of(od)->si, on, olen, snode_of(nd)->si, nn, nlen, flags);
	}
	if (r)
		return sealed_err(r);
	sealed_refresh(ino);
	sealed_refresh(od);
	if (victim)
		lost_name(nd, victim);
	else
		sealed_refresh(nd);
	return r;
}

static bool emit(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct dir_ctx *c = ctx;
	return c->emit(c, name, len, ino, type >> 12, cookie);
}

static int readdir(struct file *f, struct dir_ctx *c)
{
	return sealed_err(seal_readdir(vol_of(f->inode), snode_of(f->inode)->si, c->pos, emit, c));
}

static int readlink(struct inode *i, char *buf, u32 n)
{
	return sealed_err(seal_readlink(vol_of(i), snode_of(i)->si, buf, n));
}

// --- attributes
// Readers and faults find the new end before contents go: they never take for the file's what is a hole only because it is being cut off.
// What fails gives the old end back, or as much of it as is left.
static int set_size(struct inode *i, u32 which, const struct seal_attr *s)
{
	struct snode *n = snode_of(i);
	struct seal_attr was, now;
	u64 old = i->size, size = s->size;
	if (n->frozen || !is_reg(i))
		return seal_setattr(vol_of(i), n->si, which, s);
	mutex_lock(&n->store_lock);
	seal_getattr(vol_of(i), n->si, &was);
	if (size < old) {
		__atomic_store_n(&n->cutting, old, __ATOMIC_RELAXED);
		__atomic_store_n(&i->size, size, __ATOMIC_RELEASE);
	}
	int r = seal_setattr(vol_of(i), n->si, which, s);
	bool half = r && sealed_half_done(i, &was, &now) && now.size < was.size;
	if (r)
		size = half ? now.size : old;
	__atomic_store_n(&i->size, size, __ATOMIC_RELAXED);
	__atomic_store_n(&n->cutting, 0, __ATOMIC_RELAXED);
	if (size < old)
		pc_truncate(i->pc, size, old);
	if (!r || half)
		inode_touch(i, ATTR_MTIME);
	mutex_unlock(&n->store_lock);
	return r;
}

static int setattr(struct inode *i, const struct iattr *a)
{
	struct seal_attr s = {.mode = a->mode,
			      .uid = a->uid,
			      .gid = a->gid,
			      .size = a->size,
			      .atime_ns = ns_of(a->atime),
			      .mtime_ns = ns_of(a->mtime)};
	u32 which = (a->valid & ATTR_MODE ? SEAL_SET_MODE : 0) | (a->valid & ATTR_UID ? SEAL_SET_UID : 0) |
		    (a->valid & ATTR_GID ? SEAL_SET_GID : 0) | (a->valid & ATTR_SIZE ? SEAL_SET_SIZE : 0) |
		    (a->valid & ATTR_ATIME ? SEAL_SET_ATIME : 0) | (a->valid & ATTR_MTIME ? SEAL_SET_MTIME : 0);
	int r = a->valid & ATTR_SIZE ? set_size(i, which, &s) : seal_setattr(vol_of(i), snode_of(i)->si, which, &s);
	if (r)
		return sealed_err(r);
	setattr_copy(i, a);
	return 0;
}

static int getattr(struct inode *i)
{
	struct seal_attr a;
	seal_getattr(vol_of(i), snode_of(i)->si, &a);
	i->blocks = a.blocks;
	if (i->pc && i->pc->ndirty) // not stored yet
		i->blocks = max(i->blocks, min(i->pc->ndirty, DIV_ROUND_UP(i->size, PAGE_SIZE)) * (PAGE_SIZE / 512));
	return 0;
}

static ssize_t getxattr(struct inode *i, const char *name, void *buf, size_t n)
{
	return sealed_err((int)seal_getxattr(vol_of(i), snode_of(i)->si, name, (u32)strlen(name), buf, n));
}

static int setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags)
{
	return sealed_err(seal_setxattr(vol_of(i), snode_of(i)->si, name, (u32)strlen(name), buf, n, flags));
}

static ssize_t listxattr(struct inode *i, char *buf, size_t n)
{
	return sealed_err((int)seal_listxattr(vol_of(i), snode_of(i)->si, buf, n));
}

static int removexattr(struct inode *i, const char *name)
{
	return sealed_err(seal_removexattr(vol_of(i), snode_of(i)->si, name, (u32)strlen(name)));
}

// --- contents
// A file that is read in order is read ahead by another thread; where that one is not fast enough, by the reader too: what nobody has begun he
// reads himself, and instead of waiting for a page he goes ahead of the other.
static void read_ahead(struct inode *i, struct snode *n, u64 first)
{
	u64 end = min(DIV_ROUND_UP(i->size, PAGE_SIZE), first + AHEAD);
	if (n->ahead < first || n->ahead > first + 2 * AHEAD)
		n->ahead = first + PIECE;
	for (; n->ahead < end; n->ahead += PIECE) {
		if (pc_resident(i->pc, n->ahead, n->ahead + 1))
			continue;
		if (!sealed_read_ahead(i, n->ahead, PIECE))
			break;
		n->asked = n->ahead + PIECE;
	}
	if (first < n->asked && n->asked <= first + 2 * AHEAD && pc_on_its_way(i->pc, first)) {
		pc_fill(i->pc, n->ahead, PIECE);
		n->ahead += PIECE;
	}
}

static ssize_t read(struct file *f, struct iter *it, u64 *pos)
{
	struct inode *i = f->inode;
	struct snode *n = snode_of(i);
	u64 first = *pos >> PAGE_SHIFT;
	bool follows = first == n->next || first + 1 == n->next; // the last page may have been read in part
	if (follows && n->in_order >= IN_ORDER)
		read_ahead(i, n, first);
	i->pc->ahead = !follows ? 0 : n->in_order < IN_ORDER ? n->in_order : PIECE;
	ssize_t r = generic_file_read(f, it, pos);
	if (r <= 0)
		return r;
	u64 end = DIV_ROUND_UP(*pos, PAGE_SIZE);
	n->in_order = follows ? min(n->in_order + (u32)min(end - first, (u64)IN_ORDER), IN_ORDER) : 0;
	n->next = end;
	return r;
}

// Is there room for n more pages, beside what other files have written but not stored yet?
static bool has_room(struct svol *sv, u64 pages)
{
	return seal_room(sv->v) > pages + pages / 64 + __atomic_load_n(&sv->unflushed, __ATOMIC_RELAXED) + 16;
}

// Lets i's lock go while everything dirty is stored.
static bool make_room(struct inode *i, u64 pages)
{
	struct svol *sv = svol_of(i);
	if (likely(has_room(sv, pages)))
		return true;
	mutex_unlock(&i->lock);
	sealed_sync(sv);
	mutex_lock(&i->lock);
	return has_room(sv, pages);
}

static ssize_t write(struct file *f, struct iter *it, u64 *pos)
{
	struct inode *i = f->inode;
	struct snode *n = snode_of(i);
	ssize_t r = 0;
	if (!it->left)
		return 0;
	mutex_lock(&i->lock);
	if (i->pc->ndirty > DIRTY_MAX) { // before this round takes anything: what fails has not been written
		r = sealed_store_pages(i);
		if (r) {
			mutex_unlock(&i->lock);
			return r;
		}
	}
	u64 want = min(it->left, (size_t)(DIRTY_MAX / 2 * PAGE_SIZE)), limit = RLIMIT(RLIMIT_FSIZE);
	bool room = make_room(i, (want >> PAGE_SHIFT) + 2), too_big = false;
	u64 at = f->flags & O_APPEND ? i->size : *pos;
	if (unlikely(at >= limit || at >= (u64)S64_MAX - PAGE_SIZE)) {
		r = -EFBIG;
		too_big = at >= limit;
		goto out;
	}
	r = -ENOSPC;
	if (!room && seal_write_needs(vol_of(i), n->si, at, want)) // unless fallocate has set it aside
		goto out;
	want = min(min(want, limit - at), (u64)S64_MAX - PAGE_SIZE - at);
	size_t rest = it->left - want;
	it->left = want;
	r = pc_write(i->pc, it, at, i->size);
	it->left += rest;
	if (r == -ENOMEM) { // perhaps the cache is full of what could be stored: next round has room, or there is none
		mutex_unlock(&i->lock);
		sealed_store(svol_of(i), false);
		mutex_lock(&i->lock);
		it->left = min(want, (u64)PAGE_SIZE);
		want -= it->left;
		at = f->flags & O_APPEND ? i->size : at;
		r = pc_write(i->pc, it, at, i->size);
		it->left += want + rest;
	}
	if (r > 0) {
		u64 pages = ((u64)r >> PAGE_SHIFT) + 1;
		n->unflushed += pages;
		__atomic_fetch_add(&svol_of(i)->unflushed, pages, __ATOMIC_RELAXED);
		*pos = at + (u64)r;
		if (*pos > i->size)
			i->size = *pos;
		inode_touch(i, ATTR_MTIME);
		if (unlikely(i->mode & (S_ISUID | S_ISGID)))
			i->mode = mode_written(i);
		sealed_mark_dirty(i);
		if (i->pc->ndirty > DIRTY_KICK && !__atomic_exchange_n(&n->behind, true, __ATOMIC_SEQ_CST) &&
			   !sealed_write_behind(i)) {
			__atomic_store_n(&n->behind, false, __ATOMIC_SEQ_CST);
		}
	}
out:
	mutex_unlock(&i->lock);
	if (too_big)
		signal_send_task(current, SIGXFSZ, NULL);
	return r;
}

// The VFS expects all that fits; each round stores or caches one piece.
static ssize_t write_all(struct file *f, struct iter *it, u64 *pos)
{
	ssize_t done = 0;
	while (it->left) {
		ssize_t r = write(f, it, pos);
		if (r <= 0)
			return done ? done : r;
		done += r;
		struct svol *sv = svol_of(f->inode);
		if (sv->unflushed > min(DIRTY_ALL, page_count_total() / 8) && sealed_store(sv, false))
			pr_once("sealed volume %s: its data cannot be stored",
				sv->name); // fsync will say so to whom it concerns
		if (signal_pending() && signal_fatal()) // programs take a short write to a file for a full disk
			break;
	}
	return done;
}

// What is written to the cache of a snapshot's file could never be stored.
static int open(struct inode *i, struct file *f)
{
	return snode_of(i)->frozen && (f->flags & O_ACCMODE) != O_RDONLY ? -EROFS : 0;
}

static int fsync(struct file *f, bool data_only)
{
	struct inode *i = f->inode;
	(void)data_only;
	if (i->sb->read_only)
		return 0;
	mutex_lock(&i->lock);
	int r = sealed_flush(i);
	mutex_unlock(&i->lock);
	int e = sealed_err(seal_sync(vol_of(i)));
	if (!e)
		e = sealed_anchor_fsync(svol_of(i));
	return r ? r : e;
}

// For sync_file_range, which is about contents only: no commit, which would cost what an fsync does.
static int writeback(struct file *f, bool wait)
{
	struct inode *i = f->inode;
	if (i->sb->read_only || (!wait && sealed_write_behind(i)))
		return 0;
	mutex_lock(&i->lock);
	int r = sealed_store_pages(i);
	mutex_unlock(&i->lock);
	return r;
}

static int fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct inode *i = f->inode;
	u64 end = off + len;
	int r = 0;
	if (mode & ~(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE))
		return -EOPNOTSUPP;
	if ((mode & FALLOC_PUNCH_HOLE) && !(mode & FALLOC_KEEP_SIZE))
		return -EOPNOTSUPP;
	mutex_lock(&i->lock);
	if (mode & (FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE)) {
		struct seal_attr was, now;
		mutex_lock(&snode_of(i)->store_lock);
		seal_getattr(vol_of(i), snode_of(i)->si, &was);
		r = sealed_err(seal_punch(vol_of(i), snode_of(i)->si, off, len));
		if (!r && off < i->size)
			pc_punch(i->pc, off, min(end, PAGE_ALIGN(i->size)));
		else if (r && sealed_half_done(i, &was, &now)) // from its end on, as far as that went
			pc_drop_clean(i->pc, off, end);
		mutex_unlock(&snode_of(i)->store_lock);
	}
	if (!r && !(mode & FALLOC_PUNCH_HOLE)) { // sets blocks aside
		r = seal_fallocate(vol_of(i), snode_of(i)->si, mode & FALLOC_KEEP_SIZE, off, len);
		if (r == -ENOSPC && make_room(i, len >> PAGE_SHIFT))
			r = seal_fallocate(vol_of(i), snode_of(i)->si, mode & FALLOC_KEEP_SIZE, off, len);
		r = sealed_err(r);
		if (!r && !(mode & FALLOC_KEEP_SIZE) && end > i->size)
			i->size = end;
	}
	if (!r) {
		inode_touch(i, ATTR_MTIME);
		sealed_mark_dirty(i);
	}
	mutex_unlock(&i->lock);
	return r;
}

static s64 llseek(struct file *f, s64 off, int whence)
{
	struct inode *i = f->inode;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return generic_llseek(f, off, whence);
	if (off < 0)
		return -ENXIO;
	mutex_lock(&i->lock);
	int e = i->sb->read_only ? 0 : sealed_store_pages(i); // the volume knows the holes
	s64 r = e ? e : seal_seek(vol_of(i), snode_of(i)->si, (u64)off, whence == SEEK_HOLE);
	mutex_unlock(&i->lock);
	if (r >= 0) {
		f->pos = (u64)r;
		f->dir_version++;
	}
	return r < 0 ? sealed_err((int)r) : r;
}

static const struct inode_ops dir_iops = {
	.lookup = lookup,
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
	.set_flags = set_flags,
};
static const struct inode_ops link_iops = {.readlink = readlink, .setattr = setattr, .getattr = getattr};
static const struct inode_ops file_iops = {
	.setattr = setattr,
	.getattr = getattr,
	.getxattr = getxattr,
	.setxattr = setxattr,
	.listxattr = listxattr,
	.removexattr = removexattr,
	.set_flags = set_flags,
};
static const struct file_ops dir_fops = {.readdir = readdir, .fsync = fsync, .ioctl = sealed_ioctl};
static const struct file_ops file_fops = {
	.open = open,
	.read = read,
	.paged = true,
	.write = write_all,
	.llseek = llseek,
	.fsync = fsync,
	.fallocate = fallocate,
	.clone = sealed_clone,
	.dedupe = sealed_dedupe,
	.writeback = writeback,
	.ioctl = sealed_ioctl,
	.mmap = generic_mmap,
};
