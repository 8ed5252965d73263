// SPDX-License-Identifier: Apache-2.0
// Super blocks: one mounted file system each. References are held by mounts and inodes. Locks: none.
// Those that are there from boot stay, even unmounted. They need no references, and what changes with each file (inode numbers, pages and
// inodes in use) they have by shard, so that two CPUs that make files do not meet. Others count in one place.
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"
#include "kernel/include/ns.h"
#include "kernel/include/task.h"

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
	if (current->proc && cred()->user_ns) {
		sb->user_ns = cred()->user_ns;
		user_ns_get(sb->user_ns);
	}
	sb->fstype = fstype;
	sb->magic = magic;
	sb->blocksize = PAGE_SIZE;
	sb->next_ino = 1;
	// Minor numbers of major 0, as Linux gives them to file systems without a block device.
	sb->dev = __atomic_add_fetch(&next_dev, 1, __ATOMIC_RELAXED) + 20;
	return sb;
}

#define SLOTS 32u
#define BATCH 64	// inode numbers that a shard takes at a time; how much of a sum it may keep to itself

static struct {
	u64 ino[SLOTS]; // next number; a multiple of BATCH: take more
	s32 part[SB_SUMS][SLOTS];
} __aligned(64) near[SHARDS] __warm;

void super_stays(struct super *sb)
{
	static u32 last;
	u32 slot;

	if (sb->slot || (slot = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED)) >= SLOTS)
		return;
	sb->next_ino = ALIGN_UP(sb->next_ino, (u64)BATCH);
	__atomic_store_n(&sb->slot, slot, __ATOMIC_RELEASE);
}

u64 super_ino(struct super *sb)
{
	if (unlikely(!sb->slot))
		return __atomic_fetch_add(&sb->next_ino, 1, __ATOMIC_RELAXED);
	u64 *p = &near[my_shard()].ino[sb->slot], next = __atomic_load_n(p, __ATOMIC_RELAXED), mine;
	do
		mine = next % BATCH ? next : __atomic_fetch_add(&sb->next_ino, BATCH, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(p, &next, mine + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return mine;
}

void super_add(struct super *sb, enum super_sum what, u64 *total, s64 by)
{
	if (likely(sb->slot) && by >= -BATCH && by <= BATCH) {
		s32 *p = &near[my_shard()].part[what][sb->slot], v = __atomic_add_fetch(p, (s32)by, __ATOMIC_RELAXED);
		if (likely(v >= -BATCH && v <= BATCH))
			return;
		by = __atomic_exchange_n(p, 0, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(total, (u64)by, __ATOMIC_RELAXED);
}

u64 super_sum(const struct super *sb, enum super_sum what, const u64 *total)
{
	s64 n = (s64)__atomic_load_n(total, __ATOMIC_RELAXED);

	for (u32 i = 0; sb->slot && i < SHARDS; i++)
		n += __atomic_load_n(&near[i].part[what][sb->slot], __ATOMIC_RELAXED);
	return n > 0 ? (u64)n : 0;
}

void super_get(struct super *sb)
{
	if (!sb->slot)
		ref_get(&sb->ref);
}

void super_deactivate(struct super *sb)
{
	if (ref_put(&sb->active)) {
		if (sb->ops && sb->ops->sync)
			sb->ops->sync(sb);
		dcache_drop_super(sb);
		d_put(sb->droot);
		sb->droot = NULL;
		inode_put(sb->root);
		sb->root = NULL;
	}
	super_put(sb);
}

void super_put(struct super *sb)
{
	if (sb->slot || !ref_put(&sb->ref))
		return;
	if (sb->ops && sb->ops->put)
		sb->ops->put(sb);
	COUNT(supers, -1);
	user_ns_put(sb->user_ns);
	kfree(sb);
}
