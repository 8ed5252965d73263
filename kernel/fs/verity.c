// SPDX-License-Identifier: Apache-2.0
// The image's hash tree (dm-verity version 1, SHA-256, no salt, no superblock; Linux
// Documentation/admin-guide/device-mapper/verity.rst): every block that comes from the host is hashed and compared
// before anyone sees it. Blocks of the tree are verified once, from the top down, and kept. An encrypted image has its tree
// over the ciphertext; a block is decrypted when it has been verified, with AES-256 in the counter mode of GCM: nonce 1,
// block number; the tag is not needed. The key is new for each build, so no pair of key and nonce is used twice. Locks: none; a
// verified tree block is published with one atomic store.
#include "kernel/fs/verity.h"
#include "kernel/include/boot.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/platform.h"
#include "kernel/lib/sha2.h"
#include "seal/gcm.h"
#include "seal/sha256.h"

#define BLOCK 4096u
#define DIGEST 32u
#define FANOUT (BLOCK / DIGEST)
#define LEVELS 10u
#define BATCH 64u	// blocks hashed under one save of the vector state

struct verity {
	u64 base;			// first block in the file
	u64 blocks;			// data
	u64 end;			// behind the tree
	u32 levels;
	u64 start[LEVELS], count[LEVELS]; // level 0 holds the digests of data blocks
	u8 **cache[LEVELS];		// verified tree blocks
	u8 root[DIGEST];
	struct gcm_key *key;		// NULL: plain
};
static struct verity measured;
static bool booted;

u64 verity_blocks(const struct verity *v) { return v->blocks; }
void verity_boot_done(void) { booted = true; }

static int mismatch(const char *what, u64 block, const u8 *want, const u8 *got)
{
	char a[17], b[17];
	for (int i = 0; i < 8; i++) {
		snprintf(a + 2 * i, 3, "%02x", want[i]);
		snprintf(b + 2 * i, 3, "%02x", got[i]);
	}
	if (!booted)
		panic("image does not match its measurement: %s %lu has digest %s..., expected %s...", what, block, b,
		      a);
	pr_err("image does not match its measurement: %s %lu has digest %s..., expected %s...: read refused", what,
	       block, b, a);
	return -EIO;
}

static int unreadable(u64 block, int r)
{
	if (!booted)
		panic("image cannot be read: block %lu, error %d: is the file cut short?", block, -r);
	pr_err("image cannot be read: block %lu, error %d", block, -r);
	return -EIO;
}

// The verified tree block `index` of a level.
static int tree_block(struct verity *v, u32 level, u64 index, const u8 **out)
{
	u8 **slot = &v->cache[level][index], *have = __atomic_load_n(slot, __ATOMIC_ACQUIRE), *none = NULL;
	const u8 *want = v->root, *parent;
	u8 got[DIGEST];
	int r;
	if (likely(have)) {
		*out = have;
		return 0;
	}
	if (level + 1 < v->levels) {
		if ((r = tree_block(v, level + 1, index / FANOUT, &parent)))
			return r;
		want = parent + index % FANOUT * DIGEST;
	}
	pfn_t pfn = page_alloc(1, false);
	if (!pfn)
		return -ENOMEM;
	u8 *b = page_addr(pfn);
	u64 block = v->start[level] + index;
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

static int decrypt(const struct verity *v, u64 block, u32 n, u8 *p)
{
	struct gcm_ctx *c = kmalloc(sizeof(*c) + 64);
	u8 tag[16];
	if (!c)
		return -ENOMEM;
	struct gcm_ctx *aligned = (struct gcm_ctx *)(((uptr)c + 63) & ~63ul);
	pf_fpu_begin();
	for (u32 k = 0; k < n; k++) {
		u8 nonce[12] = {1};
		u64 at = block + k;
		memcpy(nonce + 4, &at, sizeof(at));
		gcm_encrypt(v->key, aligned, p + (size_t)k * BLOCK, p + (size_t)k * BLOCK, BLOCK, nonce, NULL, 0, tag);
	}
	pf_fpu_end();
	explicit_bzero(aligned, sizeof(*aligned));
	kfree(c);
	return 0;
}

static u64 blocks_read;

u64 verity_blocks_read(void) { return __atomic_load_n(&blocks_read, __ATOMIC_RELAXED); }

int verity_read(struct verity *v, u64 block, u32 n, void *dst)
{
	u8 got[BATCH][DIGEST];
	const u8 *leaf;
	int r;
	if (block >= v->blocks || n > v->blocks - block)
		return -EIO;
	r = hc_block_read(-1, (v->base + block) * BLOCK, dst, (size_t)n * BLOCK);
	if (r)
		return unreadable(v->base + block, r);
	__atomic_fetch_add(&blocks_read, n, __ATOMIC_RELAXED);
	for (u32 at = 0; at < n;) {
		u32 k = min(n - at, BATCH);
		sha256_blocks((u8 *)dst + (size_t)at * BLOCK, BLOCK, k, got);
		for (u32 i = 0; i < k; i++) {
			u64 b = block + at + i;
			if ((r = tree_block(v, 0, b / FANOUT, &leaf)))
				goto fail;
			const u8 *want = leaf + b % FANOUT * DIGEST;
			if (memcmp(want, got[i], DIGEST)) {
				r = mismatch("block", v->base + b, want, got[i]);
				goto fail;
			}
		}
		at += k;
	}
	if (v->key && (r = decrypt(v, block, n, dst)))
		goto fail;
	return 0;
fail:
	memset(dst, 0, (size_t)n * BLOCK);
	return r;
}

// Where the levels of the tree lie; the root is there already.
static int plan(struct verity *v, u64 base, u64 blocks)
{
	v->base = base;
	v->blocks = blocks;
	for (u64 n = blocks; v->levels < LEVELS; v->levels++) {
		n = DIV_ROUND_UP(n, (u64)FANOUT);
		v->count[v->levels] = n;
		if (!(v->cache[v->levels] = kzalloc(n * sizeof(u8 *))))
			return -ENOMEM;
		if (n == 1) {
			v->levels++;
			break;
		}
	}
	u64 at = base + blocks;
	for (u32 l = v->levels; l--;) { // top level first
		v->start[l] = at;
		at += v->count[l];
	}
	v->end = at;
	return 0;
}

int verity_init(struct verity **out)
{
	const u8 *top;
	u64 blocks = boot_info.image_blocks;
	if (!blocks || blocks > 1ul << 40) {
		pr_err("manifest: image-blocks is %lu", blocks);
		return -EINVAL;
	}
	memcpy(measured.root, boot_info.image_root, DIGEST);
	int r = plan(&measured, 0, blocks);
	if (r)
		return r;
	long size = hc_block_size(-1);
	if (size >= 0 && (u64)size < measured.end * BLOCK)
		panic("image does not match its measurement: it is cut short (%ld bytes, expected %lu)", size,
		      measured.end * BLOCK);
	*out = &measured;
	return tree_block(&measured, measured.levels - 1, 0, &top);
}

static int set_key(struct verity *v, const u8 key[32])
{
	u8 prk[32], block_key[32];
	int r = gcm_init();
	if (r)
		return r;
	pfn_t p = page_alloc(1, false);
	if (!p)
		return -ENOMEM;
	v->key = page_addr(p);
	seal_hkdf_extract(v->root, 0, key, 32, prk);
	seal_hkdf_expand(prk, "coffer encrypted image", NULL, 0, block_key, sizeof(block_key));
	pf_fpu_begin();
	gcm_key_set(v->key, block_key);
	pf_fpu_end();
	explicit_bzero(prk, sizeof(prk));
	explicit_bzero(block_key, sizeof(block_key));
	return 0;
}

int verity_open(u64 blocks, const u8 root[32], const u8 key[32], struct verity **out)
{
	const u8 *top;
	long size = hc_block_size(-1);
	struct verity *v;
	int r;
	if (!blocks || blocks > 1ul << 40)
		return -EINVAL;
	if (!(v = knew(struct verity)))
		return -ENOMEM;
	memcpy(v->root, root, DIGEST);
	if ((r = plan(v, measured.end, blocks)))
		goto fail;
	r = -ENODATA;
	if (size >= 0 && (u64)size < v->end * BLOCK) {
		pr_err("encrypted image does not match its measurement: the file is cut short (%ld bytes, expected %lu)", size,
		       v->end * BLOCK);
		goto fail;
	}
	if ((r = tree_block(v, v->levels - 1, 0, &top)) || (r = set_key(v, key)))
		goto fail;
	*out = v;
	return 0;
fail:
	verity_close(v);
	return r;
}

void verity_close(struct verity *v)
{
	if (v == &measured)
		return;
	for (u32 l = 0; l < v->levels; l++) {
		for (u64 k = 0; v->cache[l] && k < v->count[l]; k++)
			if (v->cache[l][k])
				page_free(page_of(v->cache[l][k]), 1);
		kfree(v->cache[l]);
	}
	if (v->key) {
		explicit_bzero(v->key, sizeof(*v->key));
		page_free(page_of(v->key), 1);
	}
	kfree(v);
}
