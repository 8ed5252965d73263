// SPDX-License-Identifier: Apache-2.0
// cachestat: how much of a file is in the page cache. Locks: the page cache's own.
#include "kernel/fs/fs.h"

struct cachestat_ {
	u64 cached, dirty, writeback, evicted, recently_evicted;
};
struct range {
	u64 off, len;
};

long sys_cachestat(int fd, const void __user *urange, void __user *ustat, u32 flags)
{
	struct cachestat_ st = {0};
	struct range a;
	struct file *f = fd_get(fd);
	struct inode *i;
	long r = -EBADF;

	if (!f)
		return r;
	i = f->inode;
	r = -EFAULT;
	if (copy_from_user(&a, urange, sizeof(a)))
		goto out;
	r = -EOPNOTSUPP;
	if (!is_reg(i) || !i->pc)
		goto out;
	r = -EINVAL;
	if (flags)
		goto out;
	u64 size = PAGE_ALIGN(i->size) >> PAGE_SHIFT, first = a.off >> PAGE_SHIFT;
	u64 end = !a.len || a.off + a.len < a.off ? size : PAGE_ALIGN(a.off + a.len) >> PAGE_SHIFT;
	st.cached = pc_resident(i->pc, first, min(end, size));
	st.dirty = min(__atomic_load_n(&i->pc->ndirty, __ATOMIC_RELAXED), st.cached);
	r = copy_to_user(ustat, &st, sizeof(st)) ? -EFAULT : 0;
out:
	file_put(f);
	return r;
}
