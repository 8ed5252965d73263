// SPDX-License-Identifier: Apache-2.0
// Clones: two files name the same blocks, each counted (seal/refs.c); whoever writes first gets a copy of what it
// writes. A whole file is cloned by its root pointers, whatever its size; a range pointer by pointer. The source may lie
// in a snapshot. Takes the volume's lock in the public functions.
#include "seal/vol.h"

// How many pointers follow in the same holder as the one for page idx.
static u64 together(const struct seal_inode *i, u64 idx)
{
	return i->tree.height ? FANOUT - idx % FANOUT : idx < NROOT ? NROOT - idx : 1;
}

static int one_more(struct seal_vol *v, const struct d_ptr *p)
{
	v->reserved += ptr_reserved(p);
	return ptr_addr(p) ? sv_refs_add(v, ptr_addr(p), 1) : 0;
}

// `dst` is empty and gets everything.
static int clone_whole(struct seal_vol *v, struct seal_inode *src, struct seal_inode *dst)
{
	for (u32 k = 0; k < NROOT; k++) {
		int r = one_more(v, &src->tree.root[k]);
		if (r)
			return vol_abort(v, r);
	}
	dst->is_inline = false;
	dst->tree.height = src->tree.height;
	memcpy(dst->tree.root, src->tree.root, sizeof dst->tree.root);
	bool xattr = ptr_addr(&src->xattr) || sv_node_find(v, &src->tree, LEVEL_XATTR, 0);
	sv_inode_count_blocks(dst, (s64)(src->blocks - xattr));
	dst->size = src->size;
	return 0;
}

// n pointers of dst from page `at` on become those in p.
static int pointers_set(struct seal_vol *v, struct seal_inode *dst, u64 at, const struct d_ptr *p, u32 n)
{
	struct node *holder;
	struct d_ptr *slot;
	int r = sv_tree_slot(v, &dst->tree, 0, at, NODE_WRITE, &slot, &holder);
	if (r)
		return r;
	for (u32 k = 0; k < n && !r; k++) {
		struct node *c;
		bool had = !ptr_none(&slot[k]) || sv_node_find(v, &dst->tree, 0, at + k);
		r = one_more(v, &p[k]);
		if (!r && ptr_addr(&slot[k]))
			r = sv_space_free(v, &slot[k]);
		v->reserved -= ptr_reserved(&slot[k]);
		slot[k] = p[k];
		if ((c = sv_node_find(v, &dst->tree, 0, at + k))) // only now: counting may have made room in the cache
			sv_node_drop(v, c);
		sv_inode_count_blocks(dst, (s64)!ptr_none(&p[k]) - had);
	}
	sv_node_put(v, holder);
	return r ? vol_abort(v, r) : 0;
}

// A range that ends within a block ends both files.
static bool ragged(const struct seal_inode *src, u64 soff, const struct seal_inode *dst, u64 doff, u64 len)
{
	return len % SEAL_BLOCK && (soff + len != src->size || doff + len < dst->size);
}

// Others had the lock: is there still what is to be cloned, and with a place for each of its blocks?
static int clone_again(struct seal_vol *v, struct seal_inode *src, u64 soff, const struct seal_inode *dst, u64 doff, u64 len)
{
	if (sv_is_stale(src))
		return -ESTALE;
	if (src->is_inline || src->size < soff + len || ragged(src, soff, dst, doff, len))
		return -EINVAL;
	return src->tree.ndirty ? sv_nodes_writeback(v, CLASS_FILE) : 0;
}

// The file is as long as what it has got so far: a commit between two pieces leaves nothing behind its end.
static int clone_range(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len)
{
	struct d_ptr p[FANOUT];
	u64 from = soff / SEAL_BLOCK, to = doff / SEAL_BLOCK, n = (len + SEAL_BLOCK - 1) / SEAL_BLOCK;
	for (u64 done = 0, m, steps = 1; done < n; done += m, steps++) {
		struct node *holder;
		struct d_ptr *slot;
		int r = 0;
		if (steps * FANOUT % PIECE_BLOCKS == 0) {
			vol_pause(v);
			r = clone_again(v, src, soff, dst, doff, len);
		}
		if (!r)
			r = sv_op_begin(v, 16, false);
		if (!r)
			r = sv_inode_dirty(v, dst);
		if (!r)
			r = sv_file_uninline(v, dst);
		if (!r)
			r = sv_tree_grow(v, &dst->tree, to + SEAL_MIN(n, done + FANOUT) - 1);
		if (r)
			return r;
		m = SEAL_MIN(SEAL_MIN(n - done, together(src, from + done)), together(dst, to + done));
		r = sv_tree_slot(v, &src->tree, 0, from + done, NODE_READ, &slot, &holder);
		if (r)
			return r;
		memset(p, 0, sizeof p);
		if (slot)
			memcpy(p, slot, m * sizeof *p);
		sv_node_put(v, holder);
		r = pointers_set(v, dst, to + done, p, (u32)m);
		if (r)
			return r;
		dst->size = SEAL_MAX(dst->size, doff + SEAL_MIN(len, (done + m) * SEAL_BLOCK));
		sv_inode_touch(v, dst, true);
	}
	return 0;
}

static int clone_inline(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len)
{
	u8 small[INLINE_MAX];
	s64 n = data_read(v, src, soff, small, len);
	if (n > 0)
		n = data_write(v, dst, doff, small, (size_t)n);
	explicit_bzero(small, sizeof small);
	return n < 0 ? (int)n : (u64)n == len ? 0 : -ENOSPC;
}

static int clone_check(const struct seal_vol *v, const struct seal_inode *src, u64 soff, const struct seal_inode *dst, u64 doff,
		       u64 *len)
{
	if (!sv_inode_is(src, T_REG) || !sv_inode_is(dst, T_REG))
		return sv_inode_is(src, T_DIR) || sv_inode_is(dst, T_DIR) ? -EISDIR : -EINVAL;
	if (sv_is_stale(src))
		return -ESTALE;
	if (sv_is_frozen(v, dst))
		return -EROFS;
	if (!*len)
		*len = src->size > soff ? src->size - soff : 0;
	if (soff > src->size || *len > src->size - soff || doff > S64_LIMIT || *len > S64_LIMIT - doff)
		return -EINVAL;
	if ((soff | doff) % SEAL_BLOCK || ragged(src, soff, dst, doff, *len))
		return -EINVAL;
	return src == dst && soff < doff + *len && doff < soff + *len ? -EINVAL : 0;
}

// Does it become a copy of all of src?
static bool whole(const struct seal_inode *src, u64 soff, const struct seal_inode *dst, u64 doff, u64 len)
{
	return !soff && !doff && len == src->size && dst->size <= len && src != dst;
}

// same: dst has these contents already, so nothing else is done to it and the lock is not given up.
static int clone(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len, bool same)
{
	int r = clone_check(v, src, soff, dst, doff, &len);
	if (!r)
		r = sv_op_begin(v, 32 + sv_refs_reserve(v), false);
	if (!r)
		r = sv_inode_dirty(v, dst);
	if (r || !len)
		return r;
	if (src->is_inline)
		r = clone_inline(v, src, soff, dst, doff, len);
	else {
		r = src->tree.ndirty ? sv_nodes_writeback(v, CLASS_FILE) : 0; // what is shared has a place
		if (r)
			return r;
		if (whole(src, soff, dst, doff, len) && !(same && dst->blocks > PIECE_BLOCKS)) {
			r = sv_file_truncate(v, dst, 0);
			if (!r && !dst->is_inline) // it was empty, but may have had blocks set aside behind its end
				r = sv_tree_free_range(v, &dst->tree, 0, ~0ul);
			if (!r)
				r = clone_whole(v, src, dst);
		} else {
			r = clone_range(v, src, soff, dst, doff, len);
		}
	}
	if (!r)
		sv_inode_touch(v, dst, true);
	return r;
}

// What all of src replaces is cut off a piece at a time first, once there is sure to be room for the clone.
static int make_way(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len)
{
	int r = clone_check(v, src, soff, dst, doff, &len);
	if (r || !len || !whole(src, soff, dst, doff, len))
		return r;
	r = sv_op_begin(v, 32 + sv_refs_reserve(v), false);
	return r ? r : sv_file_shrink(v, dst, 0);
}

int seal_clone(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len)
{
	vol_lock(v);
	int r = make_way(v, src, soff, dst, doff, len);
	if (!r)
		r = clone(v, src, soff, dst, doff, len, false);
	vol_unlock(v);
	return r;
}

// 1: equal, 0: not.
static int compare(struct seal_vol *v, struct seal_inode *a, u64 aoff, struct seal_inode *b, u64 boff, u64 len)
{
	const size_t chunk = 16u * SEAL_BLOCK;
	u8 *buf = vol_alloc(v, 2 * chunk);
	int same = buf ? 1 : -ENOMEM;
	for (u64 done = 0; done < len && same > 0; done += chunk) {
		size_t n = SEAL_MIN(len - done, chunk);
		s64 ra = data_read(v, a, aoff + done, buf, n), rb = data_read(v, b, boff + done, buf + chunk, n);
		same = ra < 0 ? (int)ra : rb < 0 ? (int)rb : ra == rb && !memcmp(buf, buf + chunk, (size_t)ra);
	}
	if (buf)
		explicit_bzero(buf, 2 * chunk);
	vol_free(v, buf, 2 * chunk);
	return same;
}

#define DEDUPE_PIECE (64ul * SEAL_BLOCK)

static int dedupe_check(const struct seal_vol *v, const struct seal_inode *src, u64 soff, const struct seal_inode *dst, u64 doff, u64 len)
{
	return doff > dst->size || len > dst->size - doff ? -EINVAL : clone_check(v, src, soff, dst, doff, &len);
}

static int dedupe_piece(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len)
{
	s64 mtime = dst->mtime, ctime = dst->ctime;
	int r = compare(v, src, soff, dst, doff, len);
	if (r <= 0)
		return r;
	r = clone(v, src, soff, dst, doff, len, true);
	dst->mtime = mtime; // its contents are what they were
	dst->ctime = ctime;
	return r ? r : 1;
}

// Piece by piece, each compared and shared in one hold of the lock. Where a later one differs the earlier ones stay shared: they are
// the same, which is all that sharing says.
int seal_dedupe(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len)
{
	vol_lock(v);
	int r = dedupe_check(v, src, soff, dst, doff, len);
	bool same = !r && len;
	for (u64 done = 0, m; done < len && same && !r; done += m) {
		if (done)
			vol_pause(v);
		m = SEAL_MIN(len - done, DEDUPE_PIECE);
		r = dedupe_check(v, src, soff + done, dst, doff + done, m);
		if (!r)
			r = dedupe_piece(v, src, soff + done, dst, doff + done, m);
		same = r > 0;
		r = SEAL_MIN(r, 0);
	}
	vol_unlock(v);
	return r ? r : same;
}
