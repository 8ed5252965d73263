// SPDX-License-Identifier: Apache-2.0
// Operations of regular files whose data is in the page cache, for any file system. Locks: the page cache's own.
#include "kernel/fs/fs.h"

ssize_t generic_file_read(struct file *f, struct iter *it, u64 *pos)
{
	struct inode *ino = f->inode;
	ssize_t r = pc_read(ino->pc, it, *pos, ino->size);
	if (r <= 0)
		return r;
	u64 size = __atomic_load_n(&ino->size, __ATOMIC_RELAXED);
	if (unlikely(*pos + (u64)r > size)) // it was cut meanwhile, and shrinks before pages go: behind its end may have been a hole already
		r = size > *pos ? (ssize_t)(size - *pos) : 0;
	if (unlikely(!r))
		return 0;
	*pos += (u64)r;
	generic_file_accessed(f);
	return r;
}

// relatime, without its daily refresh: the first read after a change counts
void generic_file_accessed(struct file *f)
{
	struct inode *ino = f->inode;

	if (unlikely(ino->atime.sec <= ino->mtime.sec || ino->atime.sec <= ino->ctime.sec) && !(f->flags & O_NOATIME) &&
	    !(ino->flags & FILE_NOATIME) && !ino->sb->read_only)
		inode_touch(ino, ATTR_ATIME);
}

s64 no_llseek(struct file *f, s64 off, int whence)
{
	(void)f;
	(void)off;
	(void)whence;
	return -ESPIPE;
}

s64 generic_llseek(struct file *f, s64 off, int whence)
{
	struct inode *ino = f->inode;
	u64 size = ino->size;
	switch (whence) {
	case SEEK_SET:
		break;
	case SEEK_CUR:
		if (!off)
			return (s64)f->pos;
		if (__builtin_add_overflow((s64)f->pos, off, &off))
			return -EOVERFLOW;
		break;
	case SEEK_END:
		if (__builtin_add_overflow((s64)size, off, &off))
			return -EOVERFLOW;
		break;
	case SEEK_DATA:
	case SEEK_HOLE:
		if (off < 0 || (u64)off >= size)
			return -ENXIO;
		if (ino->pc && (!ino->pc->ops || !ino->pc->ops->read)) { // memory is the storage: it knows its holes
			u64 at =
				whence == SEEK_DATA ? pc_next_data(ino->pc, (u64)off) : pc_next_hole(ino->pc, (u64)off);
			if (at >= size && whence == SEEK_DATA)
				return -ENXIO;
			off = (s64)min(at, size);
		} else if (whence == SEEK_HOLE) {
			off = (s64)size;
		}
		break;
	default:
		return -EINVAL;
	}
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	f->dir_version++;
	return off;
}

int generic_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc)
{
	(void)pgoff;
	(void)len;
	(void)prot;
	struct inode *ino = f->inode;
	if (unlikely(ino->flags & FILE_APPEND) && can_write(f) && (flags & MAP_TYPE) != MAP_PRIVATE)
		return -EACCES; // mprotect could make it writable
	// A copy-up may replace it at any time; the old one lives as long as the inode. No inode lock: the caller has
	// mm->lock.
	*pc = __atomic_load_n(&ino->pc, __ATOMIC_ACQUIRE);
	pc_get(*pc);
	return 0;
}
