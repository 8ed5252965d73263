// SPDX-License-Identifier: Apache-2.0
// The image's hash tree (dm-verity version 1, SHA-256, no salt, no superblock; Linux
// Documentation/admin-guide/device-mapper/verity.rst): every block that comes from the host is hashed and compared
// before anyone sees it. Blocks of the tree are verified once, from the top down, and kept. Locks: none; a verified
// tree block is published with one atomic store.
#include "kernel/fs/verity.h"
#include "kernel/include/boot.h"
#include "kernel/include/hostcall.h"
#include "kernel/lib/sha2.h"

#define BLOCK 4096u
#define DIGEST 32u
#define FANOUT (BLOCK / DIGEST)
#define LEVELS 10u
#define BATCH 64u	// blocks hashed under one save of the vector state

static struct {
	u64 blocks;			// data
	u32 levels;
	u64 start[LEVELS], count[LEVELS]; // level 0 holds the digests of data blocks
	u8 **cache[LEVELS];		// verified tree blocks
	bool booted;
} tree;

u64 verity_blocks(void) { return tree.blocks; }
void verity_boot_done(void) { tree.booted = true; }

static int mismatch(const char *what, u64 block, const u8 *want, const u8 *got)
{
	char a[17], b[17];
	for (int i = 0; i < 8; i++) {
		snprintf(a + 2 * i, 3, "%02x", want[i]);
		snprintf(b + 2 * i, 3, "%02x", got[i]);
	}
	if (!tree.booted)
		panic("image does not match its measurement: %s %lu has digest %s..., expected %s...", what, block, b,
		      a);
	pr_err("image does not match its measurement: %s %lu has digest %s..., expected %s...: read refused", what,
	       block, b, a);
	return -EIO;
}

static int unreadable(u64 block, int r)
{
	if (!tree.booted)
		panic("image cannot be read: block %lu, error %d: is the file cut short?", block, -r);
	pr_err("image cannot be read: block %lu, error %d", block, -r);
	return -EIO;
}

// The verified tree block `index` of a level.
static int tree_block(u32 level, u64 index, const u8 **out)
{
	u8 **slot = &tree.cache[level][index], *have = __atomic_load_n(slot, __ATOMIC_ACQUIRE), *none = NULL;
	const u8 *want = boot_info.image_root, *parent;
	u8 got[DIGEST];
	int r;
	if (likely(have)) {
		*out = have;
		return 0;
	}
	if (level + 1 < tree.levels) {
		if ((r = tree_block(level + 1, index / FANOUT, &parent)))
			return r;
		want = parent + index % FANOUT * DIGEST;
	}
	pfn_t pfn = page_alloc(1, false);
	if (!pfn)
		return -ENOMEM;
	u8 *b = page_addr(pfn);
	u64 block = tree.start[level] + index;
	r = hc_block_read(-1, block * BLOCK, b, BLOCK);
	if (r) {
		r = unreadable(block, r);
		goto fail;
	}
	sha256_blocks(b, BLOCK, 1, &got);
	if (memcmp(got, want, DIGEST)) {
		r = mismatch("hash block", block, want, got);
		goto fail;
	}
	if (!__atomic_compare_exchange_n(slot, &none, b, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		page_free(pfn, 1); // someone else was as far
		b = none;
	}
	*out = b;
	return 0;
fail:
	page_free(pfn, 1);
	return r;
}

int verity_read(u64 block, u32 n, void *dst)
{
	u8 got[BATCH][DIGEST];
	const u8 *leaf;
	int r;
	if (block >= tree.blocks || n > tree.blocks - block)
		return -EIO;
	r = hc_block_read(-1, block * BLOCK, dst, (size_t)n * BLOCK);
	if (r)
		return unreadable(block, r);
	for (u32 at = 0; at < n;) {
		u32 k = min(n - at, BATCH);
		sha256_blocks((u8 *)dst + (size_t)at * BLOCK, BLOCK, k, got);
		for (u32 i = 0; i < k; i++) {
			u64 b = block + at + i;
			if ((r = tree_block(0, b / FANOUT, &leaf)))
				goto fail;
			const u8 *want = leaf + b % FANOUT * DIGEST;
			if (memcmp(want, got[i], DIGEST)) {
				r = mismatch("block", b, want, got[i]);
				goto fail;
			}
		}
		at += k;
	}
	return 0;
fail:
	memset(dst, 0, (size_t)n * BLOCK);
	return r;
}

int verity_init(void)
{
	const u8 *top;
	tree.blocks = boot_info.image_blocks;
	if (!tree.blocks || tree.blocks > 1ul << 40) {
		pr_err("manifest: image-blocks is %lu", tree.blocks);
		return -EINVAL;
	}
	for (u64 n = tree.blocks; tree.levels < LEVELS; tree.levels++) {
		n = DIV_ROUND_UP(n, (u64)FANOUT);
		tree.count[tree.levels] = n;
		if (!(tree.cache[tree.levels] = kzalloc(n * sizeof(u8 *))))
			return -ENOMEM;
		if (n == 1) {
			tree.levels++;
			break;
		}
	}
	u64 at = tree.blocks;
	for (u32 l = tree.levels; l--;) { // top level first
		tree.start[l] = at;
		at += tree.count[l];
	}
	long size = hc_block_size(-1);
	if (size >= 0 && (u64)size < at * BLOCK)
		panic("image does not match its measurement: it is cut short (%ld bytes, expected %lu)", size,
		      at * BLOCK);
	return tree_block(tree.levels - 1, 0, &top);
}
