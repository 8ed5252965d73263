// SPDX-License-Identifier: Apache-2.0
// Room for contents: ranges that fallocate sets aside, and what a write takes. A pointer marked as reserved is a hole
// whose block is counted in v->reserved and kept from everybody else. Overwriting what has a block of its own takes
// none in the end, since the old one comes back with the next commit; so it may use the room that is kept for deleting.
// Takes the volume's lock in the public functions.
#include "seal/vol.h"

// Has the block at (level, index), or one above it, other owners? Counting is lazy: what is below such a one has too.
static s64 owned_by_others(struct seal_vol *v, struct tree *t, u32 level, u64 index)
{
	s64 extra = 0;
	for (; level <= t->height && !extra; level++, index /= FANOUT) {
		struct node *holder;
		struct d_ptr *slot;
		int r = sv_tree_slot(v, t, level, index, NODE_READ, &slot, &holder);
		if (r)
			return r;
		extra = slot && ptr_addr(slot) ? sv_refs_extra(v, ptr_addr(slot)) : 0;
		sv_node_put(v, holder);
	}
	return extra;
}

// Does writing this page take a block that is neither reserved nor already the file's own? 1, 0 or -errno.
static int page_fresh(struct seal_vol *v, struct seal_inode *i, u64 idx)
{
	struct node *holder;
	struct d_ptr *slot;
	if (i->is_inline)
		return 1;
	int r = sv_tree_slot(v, &i->tree, 0, idx, NODE_READ, &slot, &holder);
	if (r)
		return r;
	bool none = !slot || ptr_none(slot) || ptr_lost(slot);
	sv_node_put(v, holder);
	s64 extra = v->nshared ? owned_by_others(v, &i->tree, 0, idx) : 0;
	if (!extra && v->nshared)
		extra = owned_by_others(v, &v->itab, 0, (i->ino & VIEW_INO) / INODES_PER_BLOCK);
	if (extra < 0)
		return (int)extra;
	return (none && !sv_node_find(v, &i->tree, 0, idx)) || extra;
}

int sv_write_begin(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, u64 cost)
{
	int r = sv_op_begin_logged(v, cost, false);
	if (r != -ENOSPC)
		return r;
	for (u32 k = 0; k < n; k++) {
		r = page_fresh(v, i, index[k]);
		if (r)
			return r < 0 ? r : -ENOSPC;
	}
	return sv_op_begin_logged(v, cost, true);
}

u64 seal_write_needs(struct seal_vol *v, struct seal_inode *i, u64 off, u64 len)
{
	vol_lock(v);
	u64 first = off / SEAL_BLOCK, n = len ? (off + len - 1) / SEAL_BLOCK - first + 1 : 0;
	u64 fresh = 0;
	for (u64 k = 0; k < n; k++)
		fresh += page_fresh(v, i, first + k) != 0; // an error: better too many
	vol_unlock(v);
	return fresh;
}

// Marks the holes among the pages as reserved.
static int reserve_pages(struct seal_vol *v, struct seal_inode *i, u64 first, u64 n)
{
	for (u64 done = 0, m, steps = 1; done < n; done += m, steps++) {
		struct node *holder;
		struct d_ptr *slot;
		u64 at = first + done;
		if (steps * FANOUT % PIECE_BLOCKS == 0)
			vol_pause(v);
		int r = sv_op_begin(v, FANOUT + 12, false);
		if (!r)
			r = sv_inode_dirty(v, i);
		if (!r)
			r = sv_file_uninline(v, i); // it may have been cut off meanwhile
		if (!r)
			r = sv_tree_grow(v, &i->tree, first + n - 1);
		if (r)
			return r;
		m = SEAL_MIN(n - done, i->tree.height ? FANOUT - at % FANOUT : NROOT - at);
		r = sv_tree_slot(v, &i->tree, 0, at, NODE_WRITE, &slot, &holder);
		if (r)
			return r;
		for (u64 k = 0; k < m; k++)
			if (ptr_none(&slot[k]) && !sv_node_find(v, &i->tree, 0, at + k)) {
				ptr_set(&slot[k], 0, CTR_RESERVED, 0);
				v->reserved++;
				sv_inode_count_blocks(i, 1);
			}
		sv_node_put(v, holder);
	}
	return 0;
}

static int allocate(struct seal_vol *v, struct seal_inode *i, u64 off, u64 end)
{
	u64 first = off / SEAL_BLOCK, n = (end - 1) / SEAL_BLOCK - first + 1;
	bool small = i->is_inline && end <= INLINE_MAX;
	if (n > v->max_blocks)
		return -ENOSPC;
	int r = small ? sv_op_begin(v, 4, false) : sv_op_begin_pieces(v, n + n / FANOUT + 12);
	if (!r)
		r = sv_inode_dirty(v, i);
	if (r || small)
		return r;
	r = sv_file_uninline(v, i);
	return r ? r : reserve_pages(v, i, first, n);
}

int seal_fallocate(struct seal_vol *v, struct seal_inode *i, int mode, u64 off, u64 len)
{
	if (!len || off > S64_LIMIT || len > S64_LIMIT - off)
		return len ? -EFBIG : -EINVAL;
	if (mode & ~(SEAL_FALLOC_KEEP_SIZE | SEAL_FALLOC_PUNCH_HOLE | SEAL_FALLOC_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (mode & SEAL_FALLOC_PUNCH_HOLE)
		return mode == (SEAL_FALLOC_PUNCH_HOLE | SEAL_FALLOC_KEEP_SIZE) ? seal_punch(v, i, off, len) : -EOPNOTSUPP;
	if (mode & SEAL_FALLOC_ZERO_RANGE) {
		int r = seal_punch(v, i, off, len);
		if (r)
			return r;
	}
	vol_lock(v);
	int r = sv_inode_is(i, T_REG) ? allocate(v, i, off, off + len) : sv_inode_is(i, T_DIR) ? -EISDIR : -ENODEV;
	if (!r && !(mode & SEAL_FALLOC_KEEP_SIZE) && off + len > i->size)
		r = sv_file_truncate(v, i, off + len);
	if (!r)
		sv_inode_touch(v, i, true);
	vol_unlock(v);
	return r;
}
