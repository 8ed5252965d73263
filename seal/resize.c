// SPDX-License-Identifier: Apache-2.0
// The size of a volume: growing, shrinking (whose work is in seal/reloc.c), and giving free room back to the host.
// Takes the volume's lock in the public functions.
#include "seal/reloc.h"

#define MIN_BLOCKS  256ul
#define PUNCH_LEAST 16ul // at a commit, runs of free blocks below this stay as they are: each costs a host call

int sv_grow_unmended(struct seal_vol *v)
{
	u64 blocks = v->grow_to;
	int r = blocks ? sv_tree_grow(v, &v->bmap, (blocks - 1) / BITS_PER_BLOCK) : 0;
	if (r || !blocks)
		return r;
	v->max_blocks = blocks;
	v->shrink_to = v->grow_to = 0;
	v->longest = ~0ul;
	sv_space_set_reserve(v);
	vol_changed(v);
	return 0;
}

// For a repair that has no room: it takes the new limit when it has looked at everything, as a map that gained a level is not the one
// that is on disk any more.
static int grow_later(struct seal_vol *v, u64 blocks)
{
	if (v->failed || v->read_only)
		return v->failed ? v->failed : -EROFS;
	if (v->unclaimed)
		return -EBUSY;
	if (blocks < v->max_blocks)
		return -EINVAL;
	v->grow_to = blocks;
	return 0;
}

int seal_resize(struct seal_vol *v, u64 bytes)
{
	u64 blocks = bytes / SEAL_BLOCK;
	if (blocks < MIN_BLOCKS || blocks > MAX_BLOCKS)
		return -EINVAL;
	vol_lock(v);
	int r = v->repairing ? grow_later(v, blocks) : sv_op_begin(v, 16, true);
	if (r || v->repairing)
		goto out;
	if (blocks >= v->max_blocks) {
		r = sv_tree_grow(v, &v->bmap, (blocks - 1) / BITS_PER_BLOCK);
		if (!r) {
			v->max_blocks = blocks;
			v->shrink_to = 0;
			v->longest = ~0ul;
			sv_space_set_reserve(v);
			r = vol_commit(v, false);
		}
		goto out;
	}
	r = vol_commit(v, false); // what was freed counts
	u64 kept = sv_space_kept(v) + v->reserved;
	if (!r && (v->used + kept > blocks || v->next_ino > blocks * INODES_PER_BLOCK)) // the table of a repaired volume may have holes
		r = -ENOSPC;
	if (!r)
		r = sv_op_begin(v, 16, true);
	if (!r) {
		v->shrink_to = blocks;
		v->cursor = v->run_cursor = FIRST_BLOCK;
		r = vol_commit(v, false);
	}
out:
	vol_unlock(v);
	return r;
}

// Is a block in use at or beyond the new end?
static int tail_used(struct seal_vol *v)
{
	for (u64 a = v->shrink_to; a < v->hiwater;) {
		struct node *b;
		u64 leaf = a / BITS_PER_BLOCK, end = SEAL_MIN((leaf + 1) * BITS_PER_BLOCK, v->hiwater);
		int r = sv_node_get(v, &v->bmap, 0, leaf, NODE_READ, &b);
		if (r)
			return r;
		for (; b && a < end && !r; a++)
			r = b->data[a % BITS_PER_BLOCK / 8] >> (a % 8) & 1;
		sv_node_put(v, b);
		if (r)
			return 1;
		a = end;
	}
	return 0;
}

int sv_reloc_left(struct seal_vol *v)
{
	if (root_has_old(v))
		return 1;
	return v->shrink_to ? tail_used(v) : 0;
}

int sv_shrink_finish(struct seal_vol *v)
{
	u64 blocks = v->shrink_to;
	int r = sv_op_begin(v, 16, true);
	if (!r)
		r = sv_tree_free_range(v, &v->bmap, (blocks - 1) / BITS_PER_BLOCK + 1, ~0ul);
	if (r)
		return r;
	v->max_blocks = blocks;
	v->shrink_to = 0;
	v->hiwater = SEAL_MIN(v->hiwater, blocks);
	v->end = SEAL_MIN(v->end, blocks);
	v->cursor = v->run_cursor = FIRST_BLOCK;
	sv_space_set_reserve(v);
	r = vol_commit(v, true); // no root needs the longer file any more
	if (!r && v->io.truncate && v->io.size(v->io.ctx) > (s64)(blocks * SEAL_BLOCK))
		r = v->io.truncate(v->io.ctx, blocks * SEAL_BLOCK);
	return r;
}

// Punches the runs of blocks whose bits are clear in `taken`, within bits from..to-1 of one block of the bitmap.
static int punch_runs(struct seal_vol *v, const u64 *taken, u64 base, u64 from, u64 to, u64 least, u64 *n)
{
	int r = 0;
	for (u64 k = from, m; k < to && !r; k += m) {
		bool used = taken[k / 64] >> (k % 64) & 1;
		for (m = 1; k + m < to && (taken[(k + m) / 64] >> ((k + m) % 64) & 1) == used;)
			m++;
		if (!used && m >= least) {
			r = v->io.punch(v->io.ctx, (base + k) * SEAL_BLOCK, m * SEAL_BLOCK);
			*n += r ? 0 : m;
		}
	}
	return r;
}

void sv_discard_committed(struct seal_vol *v)
{
	u64 n = 0, *taken = vol_alloc(v, SEAL_BLOCK);
	for (u64 leaf = 0; taken && leaf < v->npending_leaves; leaf++) {
		if (!v->pending[leaf])
			continue;
		for (u64 w = 0; w < BITS_PER_BLOCK / 64; w++)
			taken[w] = ~v->pending[leaf][w];
		u64 base = leaf * BITS_PER_BLOCK;
		if (base < v->end && punch_runs(v, taken, base, 0, SEAL_MIN(BITS_PER_BLOCK, v->end - base), PUNCH_LEAST, &n))
			break; // the host cannot: nothing is lost
	}
	vol_free(v, taken, SEAL_BLOCK);
}

int seal_trim(struct seal_vol *v, u64 off, u64 len, u64 minlen, u64 *trimmed)
{
	u64 n = 0, *taken = NULL;
	int r = 0;
	*trimmed = 0;
	if (!v->io.punch)
		return -EOPNOTSUPP;
	vol_lock(v);
	if (v->read_only)
		r = -EROFS;
	else if (off / SEAL_BLOCK >= v->max_blocks || len < SEAL_BLOCK || minlen > v->max_blocks * SEAL_BLOCK)
		r = -EINVAL;
	u64 from = SEAL_MAX(off / SEAL_BLOCK + (off % SEAL_BLOCK != 0), FIRST_BLOCK);
	u64 to = SEAL_MIN(len > S64_LIMIT - off ? ~0ul : (off + len) / SEAL_BLOCK, v->end);
	if (!r && !(taken = vol_alloc(v, SEAL_BLOCK)))
		r = -ENOMEM;
	for (u64 a = from, end; a < to && !r; a = end) {
		struct node *b;
		u64 leaf = a / BITS_PER_BLOCK, base = leaf * BITS_PER_BLOCK;
		end = SEAL_MIN(base + BITS_PER_BLOCK, to);
		r = sv_node_get(v, &v->bmap, 0, leaf, NODE_READ, &b);
		if (r)
			break;
		const u64 *pend = leaf < v->npending_leaves ? v->pending[leaf] : NULL;
		for (u64 w = 0; w < BITS_PER_BLOCK / 64; w++)
			taken[w] = (b ? ((u64 *)b->data)[w] : 0) | (pend ? pend[w] : 0);
		sv_node_put(v, b);
		r = punch_runs(v, taken, base, a - base, end - base, SEAL_MAX(minlen / SEAL_BLOCK, 1ul), &n);
		vol_unlock(v); // others wait for one block of the map at the most
		vol_lock(v);
	}
	vol_free(v, taken, SEAL_BLOCK);
	vol_unlock(v);
	*trimmed = n * SEAL_BLOCK;
	return r;
}
