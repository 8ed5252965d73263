// SPDX-License-Identifier: Apache-2.0
// Open file objects: memory, references, nameless files. The address of a struct file is only ever
// reused for another struct file, so that fd_get may take a reference without a lock and look afterwards whether it got
// the right one. After a peak the memory behind such addresses goes back (files_trim): it reads as zero then, a file without references.
// Locks: a shard's pool, then the common one (kmalloc's and the pages' come after them).
#include "kernel/fs/fs.h"
#include "kernel/fs/sigio.h"
#include "kernel/include/count.h"
#include "kernel/mm/page.h"
#include "kernel/task/limit.h"

#define CHUNK 64u	// files made at a time,
#define FIRST 512u	// these many; then blocks of pages
#define BLOCK_PAGES 4u
#define PER_BLOCK (BLOCK_PAGES * PAGE_SIZE / sizeof(struct file))
#define KEEP 2048u	// free files that files_trim leaves

struct pool {
	struct mutex lock;
	u32 n;
	struct file *free;	// linked through priv
};
static struct pool common;
static u32 least;	// free files in it since the last trim, at least
static u32 made;	// files of the first kind
static pfn_t bare;	// blocks without memory, linked through their pmeta
static struct {
	struct pool p;
} __aligned(64) near[SHARDS];	// at most 2 * CHUNK each; what is more goes to the common one
static struct inode *anon_inode;
static struct super *anon_super;

static void move(struct pool *to, struct pool *from, u32 most)
{
	for (u32 i = 0; i < most && from->free; i++) {
		struct file *f = from->free;
		from->free = f->priv;
		from->n--;
		f->priv = to->free;
		to->free = f;
		to->n++;
	}
}

static struct file *block_new(void)
{
	pfn_t b;

	mutex_lock(&common.lock);
	b = bare;
	if (b && page_fill(b, BLOCK_PAGES))
		bare = pmeta(b)->next;
	else
		b = PFN_NONE;
	mutex_unlock(&common.lock);
	if (!b && !(b = page_alloc(BLOCK_PAGES, true)))
		return NULL;
	pmeta(b)->state = PM_FILES;
	pmeta(b)->nfree = 0;
	return page_addr(b);
}

static bool pool_grow(struct pool *p)
{
	bool first = __atomic_load_n(&made, __ATOMIC_RELAXED) < FIRST;
	u32 n = first ? CHUNK : (u32)PER_BLOCK;
	struct file *f = first ? kzalloc(sizeof(*f) * CHUNK) : block_new();
	if (!f)
		return false;
	if (first)
		__atomic_fetch_add(&made, n, __ATOMIC_RELAXED);
	for (u32 i = 0; i < n; i++) {
		f[i].priv = p->free;
		p->free = &f[i];
	}
	p->n += n;
	return true;
}

static struct file *pool_take(void)
{
	struct pool *p = &near[my_shard()].p;
	struct file *f = NULL;
	mutex_lock(&p->lock);
	if (unlikely(!p->free)) {
		mutex_lock(&common.lock);
		move(p, &common, CHUNK);
		least = min(least, common.n);
		mutex_unlock(&common.lock);
	}
	if (p->free || pool_grow(p)) {
		f = p->free;
		p->free = f->priv;
		p->n--;
	}
	mutex_unlock(&p->lock);
	return f;
}

static void pool_put(struct file *f)
{
	struct pool *p = &near[my_shard()].p;
	mutex_lock(&p->lock);
	f->priv = p->free;
	p->free = f;
	if (unlikely(++p->n > 2 * CHUNK)) {
		mutex_lock(&common.lock);
		move(&common, p, CHUNK);
		mutex_unlock(&common.lock);
	}
	mutex_unlock(&p->lock);
}

// --- memory back

// The block of a free file, 0 for one of the first kind.
static pfn_t block_of(const struct file *f)
{
	pfn_t b = page_of(f) & ~(BLOCK_PAGES - 1);

	return pmeta(b)->state == PM_FILES ? b : PFN_NONE;
}

// Sorts out the files of blocks that are free as a whole: *all keeps the others, the blocks are linked through their pmeta.
static pfn_t free_blocks(struct pool *all)
{
	struct file *f, *next, *keep = NULL;
	pfn_t b, found = PFN_NONE;

	for (f = all->free; f; f = f->priv)
		if ((b = block_of(f)))
			pmeta(b)->nfree++;
	for (f = all->free; f; f = next) {
		next = f->priv;
		b = block_of(f);
		if (b && pmeta(b)->nfree == PER_BLOCK) {
			pmeta(b)->nfree = 0;
			pmeta(b)->head = 1; // found
			pmeta(b)->next = found;
			found = b;
		}
		if (b && pmeta(b)->head == 1) {
			all->n--;
			continue;
		}
		f->priv = keep;
		keep = f;
	}
	all->free = keep;
	for (f = keep; f; f = f->priv)
		if ((b = block_of(f)))
			pmeta(b)->nfree = 0;
	return found;
}

void files_trim(void)
{
	struct pool all = {.n = 0};
	pfn_t b, next;

	mutex_lock(&common.lock);
	if (least > KEEP) { // nobody will miss them meanwhile
		all.free = common.free;
		all.n = common.n;
		common.free = NULL;
		common.n = 0;
	}
	least = common.n;
	mutex_unlock(&common.lock);
	if (!all.n)
		return;
	for (u32 i = 0; i < SHARDS; i++)
		if (mutex_trylock(&near[i].p.lock)) {
			move(&all, &near[i].p, near[i].p.n);
			mutex_unlock(&near[i].p.lock);
		}
	for (b = free_blocks(&all); b; b = next) {
		next = pmeta(b)->next;
		page_bare(b, BLOCK_PAGES);
		pmeta(b)->head = 0;
		mutex_lock(&common.lock);
		pmeta(b)->next = bare;
		bare = b;
		mutex_unlock(&common.lock);
	}
	mutex_lock(&common.lock);
	move(&common, &all, all.n);
	least = common.n;
	mutex_unlock(&common.lock);
}

struct file *file_new(u32 flags)
{
	struct file *f = unlikely(limit_files_reached()) ? NULL : pool_take();
	if (unlikely(!f))
		return NULL;
	COUNT(files, 1);
	f->flags = flags;
	f->ops = NULL;
	f->inode = NULL;
	f->owns_inode = false;
	f->path = (struct path){0};
	f->pos = 0;
	mutex_init(&f->pos_lock);
	f->priv = NULL;
	f->sigio = NULL;
	f->dnotify = false;
	list_init(&f->epoll_links);
	mutex_init(&f->epoll_lock);
	f->dir_version = 0;
	f->has_posix_locks = false;
	__atomic_store_n(&f->ref.n, 1, __ATOMIC_RELEASE);
	return f;
}

struct file *file_alloc(const struct file_ops *ops, struct inode *ino, u32 flags, void *priv)
{
	struct file *f = file_new(flags);
	if (!f)
		return ERR_PTR(limit_files_reached() ? -ENFILE : -ENOMEM);
	f->ops = ops;
	f->inode = ino;
	f->owns_inode = true;
	inode_get(ino);
	f->priv = priv;
	return f;
}

void file_get(struct file *f) { ref_get(&f->ref); }

static void file_last(struct file *f)
{
	struct inode *ino = f->inode;
	if (f->flags & O_PATH) {
		if (unlikely(f->ops == &detached_fops))
			f->ops->release(f);
		goto free;
	}
	if (f->path.dentry)
		fsnotify_name(f->path.dentry, can_write(f) ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
	epoll_file_closing(f);
	if (unlikely(f->sigio))
		sigio_free(f);
	if (ino && unlikely(ino->locks))
		locks_release_file(f);
	if (f->ops && f->ops->release)
		f->ops->release(f);
	if (ino && is_reg(ino) && can_write(f))
		__atomic_fetch_sub(&ino->writers, 1, __ATOMIC_RELEASE);
free:
	path_put(&f->path);
	if (f->owns_inode)
		inode_put(ino);
	COUNT(files, -1);
	pool_put(f);
}

void file_put(struct file *f)
{
	if (f && ref_put(&f->ref))
		file_last(f);
}

struct file *anon_file(const char *name, const struct file_ops *ops, u32 flags, void *priv)
{
	char full[64];
	snprintf(full, sizeof(full), "anon_inode:%s", name);
	struct file *f = file_alloc(ops, anon_inode, flags, priv);
	if (IS_ERR(f))
		return f;
	f->path.dentry = d_anon(anon_inode, full);
	if (!f->path.dentry) {
		f->ops = NULL; // the caller keeps what priv stands for
		file_put(f);
		return ERR_PTR(-ENOMEM);
	}
	f->path.mnt = anon_mnt;
	mount_get(anon_mnt);
	return f;
}

ssize_t file_read_kernel(struct file *f, void *buf, size_t n, u64 pos)
{
	size_t done = 0;
	if (!f->ops->read)
		return -EINVAL;
	while (done < n) {
		struct iter it;
		u64 at = pos + done;
		iter_kernel(&it, (char *)buf + done, n - done);
		ssize_t r = f->ops->read(f, &it, &at);
		if (r < 0)
			return done ? (ssize_t)done : r;
		if (!r)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t file_write_kernel(struct file *f, const void *buf, size_t n, u64 pos)
{
	struct iter it;
	if (!f->ops->write)
		return -EINVAL;
	iter_kernel(&it, (void *)buf, n);
	return f->ops->write(f, &it, &pos);
}

int anon_init(void)
{
	anon_super = super_new("anon_inodefs", NULL, 0x09041934);
	if (!anon_super)
		return -ENOMEM;
	anon_inode = inode_new(anon_super, 0600);
	struct inode *root = inode_new(anon_super, S_IFDIR | 0555);
	if (!anon_inode || !root)
		return -ENOMEM;
	anon_super->root = root;
	super_get(anon_super);
	super_stays(anon_super);
	anon_mnt = mount_new(anon_super, NULL, "anon_inodefs", 0);
	if (!anon_mnt)
		return -ENOMEM;
	anon_mnt->attached = true; // nowhere, but never detached either
	return 0;
}
