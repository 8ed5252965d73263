// SPDX-License-Identifier: Apache-2.0
// memfd_create(2): a nameless file in memory whose changes can be sealed off (man 2 fcntl, "File Sealing").
// The inode's priv is its set of seals. Locks: inode->lock guards size and seals.
#include "kernel/fs/fs.h"
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/memfd.h>

#define NAME_PREFIX "/memfd:"
#define NAME_SUFFIX " (deleted)"
#define NAME_LIMIT  249
#define ALL_SEALS   (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

static struct super *sb;

static u32 seals(struct inode *i) { return (u32)(uptr)__atomic_load_n(&i->priv, __ATOMIC_ACQUIRE); }

static ssize_t memfd_write(struct file *f, struct iter *it, u64 *pos)
{
	struct inode *i = f->inode;
	struct iter saved = *it;
	ssize_t r;

	if (!it->left)
		return 0;
	do {
		mutex_lock(&i->lock);
		if (f->flags & O_APPEND)
			*pos = i->size;
		if (seals(i) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
			r = -EPERM;
		else if ((seals(i) & F_SEAL_GROW) && *pos + it->left > i->size)
			r = *pos < i->size ? 1 : -EPERM;
		else
			r = 0;
		if (r == 1) { // Linux writes what fits below the sealed size
			size_t cut = it->left - (i->size - *pos);

			it->left -= cut;
			r = pc_write(i->pc, it, *pos, i->size);
			it->left += cut;
		} else if (!r) {
			r = pc_write(i->pc, it, *pos, i->size);
		}
		if (r > 0) {
			*pos += r;
			if (*pos > i->size)
				i->size = *pos;
			inode_touch(i, ATTR_MTIME);
		}
		mutex_unlock(&i->lock);
		if (r == -EFAULT && iter_fault_in(it, false))
			break;
		if (r == -EFAULT)
			iter_revert(it, &saved);
	} while (r == -EFAULT && it->left);
	return r;
}

static int memfd_setattr(struct inode *i, const struct iattr *a)
{
	if (a->valid & ATTR_SIZE) {
		if (a->size < i->size && (seals(i) & F_SEAL_SHRINK))
			return -EPERM;
		if (a->size > i->size && (seals(i) & F_SEAL_GROW))
			return -EPERM;
		u64 old = i->size;
		i->size = a->size;
		pc_truncate(i->pc, a->size, old);
	}
	if (a->valid & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (a->mode & 07777);
	if (a->valid & ATTR_UID)
		i->uid = a->uid;
	if (a->valid & ATTR_GID)
		i->gid = a->gid;
	return 0;
}

static int memfd_getattr(struct inode *i)
{
	i->blocks = i->pc->npages * (PAGE_SIZE / 512);
	return 0;
}

static int memfd_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct inode *i = f->inode;
	int r = 0;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
		return -EOPNOTSUPP;
	mutex_lock(&i->lock);
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		if (seals(i) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
			r = -EPERM;
		else
			pc_punch(i->pc, off, off + len); // also what was allocated behind the end
	} else if (!(mode & FALLOC_FL_KEEP_SIZE) && off + len > i->size && (seals(i) & F_SEAL_GROW)) {
		r = -EPERM;
	} else {
		r = pc_allocate(i->pc, off >> PAGE_SHIFT, PAGE_ALIGN(off + len) >> PAGE_SHIFT);
		if (!r && !(mode & FALLOC_FL_KEEP_SIZE))
			i->size = max(i->size, off + len);
	}
	mutex_unlock(&i->lock);
	return r;
}

static int memfd_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc)
{
	u32 s = seals(f->inode);

	if ((s & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) && (flags & MAP_TYPE) != MAP_PRIVATE && (prot & PROT_WRITE))
		return -EPERM;
	return generic_mmap(f, pgoff, len, prot, flags, pc);
}

static int memfd_fsync(struct file *f, bool data_only)
{
	(void)f;
	(void)data_only;
	return 0; // memory is the storage
}

static const struct inode_ops memfd_iops = {.setattr = memfd_setattr, .getattr = memfd_getattr};
const struct file_ops memfd_fops = {
	.read = generic_file_read,
	.paged = true,
	.write = memfd_write,
	.llseek = generic_llseek,
	.fsync = memfd_fsync,
	.fallocate = memfd_fallocate,
	.mmap = memfd_mmap,
};

static int add_seals(struct inode *i, u32 add)
{
	int r = 0;

	if (add & ~ALL_SEALS)
		return -EINVAL;
	mutex_lock(&i->lock);
	if (seals(i) & F_SEAL_SEAL)
		r = -EPERM;
	else if ((add & F_SEAL_WRITE) && !(seals(i) & F_SEAL_WRITE) && i->pc->wmapcount)
		r = -EBUSY;
	else
		__atomic_store_n(&i->priv, (void *)(uptr)(seals(i) | add), __ATOMIC_RELEASE);
	mutex_unlock(&i->lock);
	return r;
}

long memfd_fcntl(struct file *f, u32 cmd, u64 arg)
{
	if (f->ops != &memfd_fops)
		return -EINVAL;
	if (cmd == F_GET_SEALS)
		return seals(f->inode);
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		return -EPERM;
	return add_seals(f->inode, arg);
}

static const struct super_ops memfd_sops = {0};

int memfd_init(void)
{
	sb = super_new("tmpfs", &memfd_sops, TMPFS_MAGIC);
	return sb ? 0 : -ENOMEM;
}

struct file *memfd_new(const char *name, bool sealing)
{
	struct inode *i = inode_new(sb, S_IFREG | 0777);
	struct file *f = NULL;

	if (!i)
		return ERR_PTR(-ENOMEM);
	i->nlink = 0;
	i->iops = &memfd_iops;
	i->fops = &memfd_fops;
	i->priv = (void *)(uptr)(sealing ? 0 : F_SEAL_SEAL);
	i->pc = pc_new(NULL, i);
	if (i->pc)
		f = file_alloc(&memfd_fops, i, O_RDWR | O_LARGEFILE, NULL);
	if (!IS_ERR_OR_NULL(f)) {
		i->writers = 1; // file_put counts it down
		f->path.dentry = d_anon(i, name);
		if (f->path.dentry) {
			f->path.mnt = anon_mnt;
			mount_get(anon_mnt);
		} else {
			file_put(f);
			f = ERR_PTR(-ENOMEM);
		}
	}
	inode_put(i);
	return f ? f : ERR_PTR(-ENOMEM);
}

long sys_memfd_create(const void __user *uname, u32 flags)
{
	char name[sizeof(NAME_PREFIX) + NAME_LIMIT + sizeof(NAME_SUFFIX)] = NAME_PREFIX;
	struct file *f;
	ssize_t n;
	long fd;

	if (flags & MFD_HUGETLB)
		pr_once("memfd_create: MFD_HUGETLB is not supported; leave the flag out");
	if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING))
		return -EINVAL;
	n = user_str(name + strlen(NAME_PREFIX), uname, NAME_LIMIT + 1);
	if (n < 0)
		return n == -ENAMETOOLONG ? -EINVAL : n;
	strlcpy(name + strlen(name), NAME_SUFFIX, sizeof(NAME_SUFFIX));
	f = memfd_new(name, flags & MFD_ALLOW_SEALING);
	if (IS_ERR(f))
		return PTR_ERR(f);
	fd = fd_alloc(f, 0, flags & MFD_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}
