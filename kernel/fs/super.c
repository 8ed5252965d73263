// SPDX-License-Identifier: Apache-2.0
// Super blocks: one mounted file system each. References are held by mounts and inodes. Locks: none.
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"

static u64 next_dev;

struct super *super_new(const char *fstype, const struct super_ops *ops, u32 magic)
{
	struct super *sb = knew(struct super);
	if (!sb)
		return NULL;
	COUNT(supers, 1);
	ref_init(&sb->ref, 1);
	mutex_init(&sb->rename_lock);
	sb->ops = ops;
	sb->fstype = fstype;
	sb->magic = magic;
	sb->blocksize = PAGE_SIZE;
	sb->next_ino = 1;
	// Minor numbers of major 0, as Linux gives them to file systems without a block device.
	sb->dev = __atomic_add_fetch(&next_dev, 1, __ATOMIC_RELAXED) + 20;
	return sb;
}

void super_get(struct super *sb) { ref_get(&sb->ref); }

void super_put(struct super *sb)
{
	if (!ref_put(&sb->ref))
		return;
	if (sb->ops && sb->ops->put)
		sb->ops->put(sb);
	COUNT(supers, -1);
	kfree(sb);
}
