// SPDX-License-Identifier: Apache-2.0
// The EROFS reader on an arbitrary image: mounts it, walks the tree to some depth, looks every name up again, reads every
// file and link. In the enclave the hash tree stands before it; here nothing does. What it needs of the kernel is below.
#define GS_BIAS 0 // of the kernel's own window, which is not there
#include "kernel/fs/erofs.c" // freestanding: includes no libc header

int LLVMFuzzerTestOneInput(const u8 *data, size_t n);
void *malloc(size_t n);
void *calloc(size_t a, size_t b);
void free(void *p);
void abort(void);

static const u8 *image;
static u64 image_blocks;

int log_level;
void klog(int level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}
void *kmalloc(size_t n) { return malloc(n); }
void *kzalloc(size_t n) { return calloc(1, n); }
void kfree(const void *p) { free((void *)p); }

u64 verity_blocks(const struct verity *v)
{
	(void)v;
	return image_blocks;
}
void verity_close(struct verity *v) { (void)v; }
int verity_read(struct verity *v, u64 block, u32 n, void *dst)
{
	(void)v;
	if (block >= image_blocks || n > image_blocks - block)
		return -EIO;
	memcpy(dst, image + block * BLOCK, (size_t)n * BLOCK);
	return 0;
}

void iter_kernel(struct iter *it, void *buf, size_t n)
{
	*it = (struct iter){.kernel = true, .kbuf = buf, .left = n};
}

// A page cache that caches nothing.
struct pagecache *pc_new(const struct pc_ops *ops, void *owner)
{
	struct pagecache *pc = knew(struct pagecache);
	pc->ops = ops;
	pc->owner = owner;
	return pc;
}
ssize_t pc_read(struct pagecache *pc, struct iter *it, u64 pos, u64 size)
{
	size_t done = 0;
	u8 *page = malloc(BLOCK);
	while (it->left && pos + done < size) {
		u64 at = pos + done;
		size_t off = at % BLOCK, k = min(min(it->left, BLOCK - off), size - at);
		int r = pc->ops->read(pc, at / BLOCK, 1, page);
		if (r) {
			free(page);
			return done ? (ssize_t)done : r;
		}
		memcpy(it->kbuf + done, page + off, k);
		done += k;
		it->left -= k;
	}
	free(page);
	return (ssize_t)done;
}

void pc_put(struct pagecache *pc) { free(pc); }
void super_put(struct super *sb) { free(sb); }
struct super *super_new(const char *fstype, const struct super_ops *ops, u32 magic)
{
	struct super *sb = knew(struct super);
	sb->fstype = fstype;
	sb->ops = ops;
	sb->magic = magic;
	return sb;
}
struct inode *inode_new(struct super *sb, u32 mode)
{
	struct inode *i = knew(struct inode);
	i->sb = sb;
	i->mode = mode;
	return i;
}
struct inode *inode_find(struct super *sb, u64 ino)
{
	(void)sb;
	(void)ino;
	return NULL;
}
struct inode *inode_insert(struct inode *i, u64 key)
{
	(void)key;
	return i;
}
void inode_put(struct inode *i)
{
	i->sb->ops->evict(i);
	free(i->pc);
	free(i);
}
ssize_t generic_file_read(struct file *f, struct iter *it, u64 *pos) { return pc_read(f->inode->pc, it, *pos, f->inode->size); }
int generic_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc)
{
	(void)pgoff;
	(void)len;
	(void)prot;
	(void)flags;
	*pc = f->inode->pc;
	return 0;
}

static u32 budget;

struct seen {
	struct dir_ctx ctx;
	struct inode *dir;
	int depth;
};

static void visit(struct inode *i, int depth);

static bool each(struct dir_ctx *c, const char *name, u32 len, u64 ino, u32 dtype, u64 next_pos)
{
	struct seen *s = container_of(c, struct seen, ctx);
	struct inode *i = NULL;
	(void)ino;
	(void)dtype;
	if (next_pos <= c->pos && c->pos > 2)
		abort(); // readdir must move on
	c->pos = next_pos;
	if (!budget || !--budget)
		return false;
	if (!lookup(s->dir, name, len, &i)) {
		visit(i, s->depth + 1);
		inode_put(i);
	}
	return true;
}

static void xattrs(struct inode *i)
{
	char names[4096];
	u8 value[512];
	ssize_t n = listxattr(i, names, sizeof(names));
	if (n > (ssize_t)sizeof(names) || (n > 0 && names[n - 1]))
		abort();
	for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		ssize_t got = getxattr(i, name, value, sizeof(value));
		if (got == -ENODATA || got > (ssize_t)sizeof(value))
			abort();
	}
}

static void visit(struct inode *i, int depth)
{
	xattrs(i);
	if (is_dir(i) && depth < 6) {
		struct file f = {.inode = i};
		struct seen s = {.ctx = {.pos = 2, .emit = each}, .dir = i, .depth = depth};
		readdir(&f, &s.ctx);
	} else if (is_lnk(i)) {
		char buf[4096];
		readlink(i, buf, sizeof(buf));
	} else if (is_reg(i)) {
		u8 *pages = malloc(2 * BLOCK);
		for (u64 p = 0; p * BLOCK < i->size; p += 2)
			file_pages(i->pc, p, (p + 1) * BLOCK < i->size ? 2 : 1, pages);
		free(pages);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	struct super *sb = NULL;
	u8 *padded = NULL;
	if (!n || n > 1u << 20)
		return 0;
	image_blocks = (n + BLOCK - 1) / BLOCK;
	padded = calloc(image_blocks, BLOCK);
	memcpy(padded, data, n);
	image = padded;
	budget = 300;
	if (!erofs_mount(NULL, &sb)) {
		struct erofs *e = sb->priv;
		visit(sb->root, 0);
		inode_put(sb->root);
		pc_put(e->meta);
		free(e);
		super_put(sb);
	}
	free(padded);
	return 0;
}
