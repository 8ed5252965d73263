// SPDX-License-Identifier: Apache-2.0
// Free space. The bitmap (one bit a block) is itself a tree in the volume and always describes the state being built; a
// block that the committed root still refers to is only *pending* when freed, and cannot be taken before the next
// commit. Addresses below `hiwater` have been used at some time; the rest of the volume is free and needs no bitmap.
#include "seal/vol.h"

#define WORDS	  (BITS_PER_BLOCK / 64)
#define RUN_SHORT 8ul	// blocks: fewer are a few
#define RUN_LONG  64ul	// as many as one transfer carries
#define FILE_STEP 128ul // blocks by which the file is extended at least

void sv_space_set_reserve(struct seal_vol *v)
{
	u64 leaves = v->max_blocks / BITS_PER_BLOCK + 1;
	v->reserve = leaves + leaves / 64 + 32; // a commit may have to move every bitmap block
}

u64 sv_space_available(const struct seal_vol *v)
{
	u64 gone = v->used + v->pending_count;
	u64 top = v->host_full ? SEAL_MIN(v->hiwater, sv_space_top(v)) : sv_space_top(v);
	return top > gone ? top - gone : 0;
}

static u64 leaf_taken(const u64 *bits, const u64 *pend, u64 w) { return (bits ? bits[w] : 0) | (pend ? pend[w] : 0); }

// First run of at least `least` free bits in [from, to) of one bitmap block. Returns how many of them are wanted; 0: there is none.
static u64 leaf_scan(const u64 *bits, const u64 *pend, u64 from, u64 to, u64 least, u64 want, u64 *at)
{
	u64 most = SEAL_MAX(least, want); // a few blocks may want a long run to go on in
	for (u64 b = from, n; b < to; b += n + 1) {
		u64 free = ~leaf_taken(bits, pend, b / 64) >> (b % 64);
		n = 0;
		if (!free) {
			b |= 63;
			continue;
		}
		b += (u64)__builtin_ctzl(free);
		while (n < most && b + n < to) {
			u64 w = (b + n) / 64, s = (b + n) % 64;
			u64 taken = leaf_taken(bits, pend, w) >> s;
			u64 run = taken ? (u64)__builtin_ctzl(taken) : 64 - s;
			n += run;
			if (run < 64 - s)
				break;
		}
		n = b < to ? SEAL_MIN(n, to - b) : 0;
		if (n && n >= least) {
			*at = b;
			return SEAL_MIN(n, want);
		}
	}
	return 0;
}

static void bits_set(u64 *bits, u64 at, u64 n)
{
	for (; n; at++, n--)
		bits[at / 64] |= 1ul << (at % 64);
}

static int space_take(struct seal_vol *v, u64 leaf, u64 bit, u64 n)
{
	struct node *b;
	int r = sv_node_get(v, &v->bmap, 0, leaf, NODE_WRITE, &b);
	if (r)
		return r;
	bits_set((u64 *)b->data, bit, n);
	sv_node_put(v, b);
	v->used += n;
	u64 top = leaf * BITS_PER_BLOCK + bit + n;
	v->hiwater = SEAL_MAX(v->hiwater, top);
	return 0;
}

// Searches [from, to) bitmap block by bitmap block for at least `least` free blocks in a row.
static int space_search(struct seal_vol *v, u64 from, u64 to, u64 least, u64 want, u64 *addr, u64 *got)
{
	for (u64 a = from; a < to;) {
		u64 leaf = a / BITS_PER_BLOCK, base = leaf * BITS_PER_BLOCK;
		u64 last = SEAL_MIN(base + BITS_PER_BLOCK, to), at, n;
		struct node *b;
		int r = sv_node_get(v, &v->bmap, 0, leaf, NODE_READ, &b);
		if (r)
			return r;
		n = leaf_scan(b ? (u64 *)b->data : NULL, leaf < v->npending_leaves ? v->pending[leaf] : NULL, a - base,
			      last - base, least, want, &at);
		sv_node_put(v, b);
		if (n) {
			r = space_take(v, leaf, at, n);
			if (r)
				return r;
			*addr = base + at;
			*got = n;
			return 0;
		}
		a = last;
	}
	return -ENOSPC;
}

// Below hiwater, from *cursor on and round.
static int space_reuse(struct seal_vol *v, u64 *cursor, u64 least, u64 want, u64 *addr, u64 *got)
{
	u64 top = SEAL_MIN(v->hiwater, sv_space_top(v));
	int r = -ENOSPC;
	if (*cursor < top)
		r = space_search(v, *cursor, top, least, want, addr, got);
	if (r == -ENOSPC)
		r = space_search(v, FIRST_BLOCK, top, least, want, addr, got);
	if (!r)
		*cursor = *addr + *got;
	return r;
}

// Extends the file with blank blocks.
static int file_extend(struct seal_vol *v, u64 blocks)
{
	u64 limit = sv_space_top(v);
	memset(v->buf, 0, SEAL_BUF_BYTES);
	while (blocks && v->end < limit) {
		u64 n = SEAL_MIN(SEAL_MIN(blocks, (u64)IO_BLOCKS), limit - v->end);
		int r = v->io.write(v->io.ctx, v->end * SEAL_BLOCK, v->buf, n * SEAL_BLOCK);
		if (r) {
			r = vol_io_error(v, r, v->end, true);
			if (r == -ENOSPC)
				sv_space_host_full(v);
			return r;
		}
		v->end += n;
		v->hiwater = SEAL_MAX(v->hiwater, v->end);
		blocks -= n;
	}
	return 0;
}

// At the end of what is used. A long run begins at a multiple of its length, behind blank blocks that a few will take: runs that keep to
// this grid are large folios of the host's page cache, which it reads and writes faster.
static int space_grow(struct seal_vol *v, u64 want, u64 *addr, u64 *got)
{
	u64 off = v->hiwater % RUN_LONG;
	if (want >= RUN_LONG && off && v->end == v->hiwater && v->hiwater + 2 * RUN_LONG < sv_space_top(v)) {
		int r = file_extend(v, RUN_LONG - off);
		if (r)
			return r; // -ENOSPC: of the host, so holes have to do
	}
	return space_search(v, v->hiwater, sv_space_top(v), 1, want, addr, got);
}

// Free blocks with room on the host's disk that there have to be for a change that takes so many, and for the commit after it.
static u64 ballast_least(const struct seal_vol *v, u64 blocks) { return blocks + v->ndirty + v->norphans * 4 + v->ntables + 40; }

// A run as long as may be between RUN_SHORT and most, or -ENOSPC.
static int space_run(struct seal_vol *v, u64 *cursor, u64 most, u64 want, u64 *addr, u64 *got)
{
	int r = -ENOSPC;
	for (u64 least = most; r == -ENOSPC && least >= RUN_SHORT; least /= 2) {
		if (least > v->longest)
			continue;
		r = space_reuse(v, cursor, least, want, addr, got);
		if (r == -ENOSPC)
			v->longest = least - 1;
	}
	return r;
}

// What is written together shall lie together, and so be one transfer of the host's disk. While the file is well filled
// it grows rather than that a batch is torn to fit into holes; once a good part is free, holes have to do. A hole that takes it whole
// does, but for the ballast: room that the host has given costs it less than new room, and what is overwritten again and again finds its own.
// A few blocks go on where the last few ended: those of one commit are neighbours. They take room that the host has given
// already, so that not every flush makes it extend the file.
int sv_space_alloc(struct seal_vol *v, u64 want, u64 *addr, u64 *got)
{
	u64 holes = v->hiwater - SEAL_MIN(v->hiwater, v->used + v->pending_count), limit = sv_space_top(v);
	bool grow = v->hiwater < limit && !v->host_full && !v->placing;
	int r = -ENOSPC;
	if (want < RUN_SHORT && holes) {
		u64 end = SEAL_MIN(SEAL_MIN(v->cursor + RUN_SHORT, v->hiwater), limit);
		if (v->cursor < end)
			r = space_search(v, v->cursor, end, 1, want, addr, got);
		if (r == -ENOSPC)
			r = space_run(v, &v->cursor, RUN_SHORT * 2, want, addr, got);
		u64 top = v->hiwater;
		if (r == -ENOSPC && grow && holes < top / 8 + 8 * FILE_STEP) {
			r = file_extend(v, FILE_STEP);
			if (!r)
				r = space_search(v, top, v->hiwater, 1, want, addr, got);
		}
		if (!r)
			v->cursor = *addr + *got;
		else if (r == -ENOSPC)
			r = space_reuse(v, &v->cursor, 1, want, addr, got);
	} else if (want >= RUN_SHORT) {
		bool crowded = grow && holes < v->hiwater / 8 + 64;
		__atomic_store_n(&v->crowded, grow && holes < v->hiwater / 4 + 64, __ATOMIC_RELAXED); // a commit takes time, and room meanwhile
		u64 whole = SEAL_MIN(want, RUN_LONG);
		if (crowded && v->longest >= whole && holes > ballast_least(v, 2 * want) + v->reserved + 8 * FILE_STEP) {
			r = space_reuse(v, &v->run_cursor, whole, want, addr, got);
			if (r == -ENOSPC)
				v->longest = whole - 1;
		}
		if (crowded && r == -ENOSPC)
			r = space_grow(v, want, addr, got);
		if (r == -ENOSPC)
			r = space_run(v, &v->run_cursor, SEAL_MIN(want, RUN_LONG), want, addr, got);
		if (r == -ENOSPC && grow && !v->host_full && holes < v->hiwater / 2)
			r = space_grow(v, want, addr, got);
		if (r == -ENOSPC)
			r = space_reuse(v, &v->run_cursor, 1, want, addr, got);
	}
	if (r == -ENOSPC && !v->host_full && v->hiwater < limit)
		r = space_search(v, v->hiwater, limit, 1, want, addr, got);
	return r;
}

// The bits of a bitmap block whose blocks the committed state still has.
static u64 *pending_leaf(struct seal_vol *v, u64 leaf)
{
	if (leaf >= v->npending_leaves) {
		u64 n = SEAL_MAX(leaf + 1, v->npending_leaves * 2);
		u64 **p = vol_alloc(v, n * sizeof *p);
		if (!p)
			return NULL;
		memset(p, 0, n * sizeof *p);
		if (v->npending_leaves)
			memcpy(p, v->pending, v->npending_leaves * sizeof *p);
		vol_free(v, v->pending, v->npending_leaves * sizeof *p);
		v->pending = p;
		v->npending_leaves = n;
	}
	if (!v->pending[leaf]) {
		u64 *b = vol_alloc(v, SEAL_BLOCK);
		if (!b)
			return NULL;
		memset(b, 0, SEAL_BLOCK);
		v->pending[leaf] = b;
	}
	return v->pending[leaf];
}

static int pending_add(struct seal_vol *v, u64 leaf, u64 bit)
{
	u64 *pend = pending_leaf(v, leaf);
	if (!pend)
		return -ENOMEM;
	pend[bit / 64] |= 1ul << (bit % 64);
	v->pending_count++;
	return 0;
}

// Of n bits from `bit` on: those in its word, at most.
static u64 word_mask(u64 bit, u64 n, u64 *here)
{
	*here = SEAL_MIN(64 - bit % 64, n);
	return (*here == 64 ? ~0ul : (1ul << *here) - 1) << (bit % 64);
}

// Clears n bits that lie in one bitmap block. pending: the committed state still has the blocks.
static int leaf_clear(struct seal_vol *v, u64 addr, u64 n, bool pending)
{
	struct node *b;
	u64 leaf = addr / BITS_PER_BLOCK, bit = addr % BITS_PER_BLOCK;
	int r = sv_node_get(v, &v->bmap, 0, leaf, NODE_WRITE, &b);
	if (r)
		return r;
	u64 *bits = (u64 *)b->data, *pend = pending ? pending_leaf(v, leaf) : NULL;
	if (pending && !pend)
		r = -ENOMEM;
	for (u64 k = 0, here; k < n && !r; k += here) {
		u64 w = (bit + k) / 64, m = word_mask(bit + k, n - k, &here);
		if ((bits[w] & m) != m) {
			r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->bmap, 0, leaf, addr + k);
			break;
		}
		bits[w] &= ~m;
		v->used -= here;
		if (pending) {
			pend[w] |= m;
			v->pending_count += here;
		}
		for (u64 j = 0; j < here && v->reloc; j++)
			sv_reloc_freed(v, addr + k + j);
	}
	sv_node_put(v, b);
	return r;
}

static int space_clear(struct seal_vol *v, u64 addr, u64 n, bool pending)
{
	int r = 0;
	for (u64 here; n && !r; addr += here, n -= here) {
		here = SEAL_MIN(n, BITS_PER_BLOCK - addr % BITS_PER_BLOCK);
		r = leaf_clear(v, addr, here, pending);
	}
	return r;
}

int sv_space_free(struct seal_vol *v, const struct d_ptr *p)
{
	s64 extra = v->nshared ? sv_refs_extra(v, ptr_addr(p)) : 0;
	if (extra)
		return extra < 0 ? (int)extra : sv_refs_add(v, ptr_addr(p), -1);
	return sv_space_free_sole(v, p);
}

int sv_space_free_sole(struct seal_vol *v, const struct d_ptr *p)
{
	int r = vol_check_ptr(v, p);
	if (r)
		return vol_fault(v, r, SEAL_FAULT_POINTER, &v->bmap, 0, 0, ptr_addr(p));
	bool uncommitted = ptr_uncommitted(v, p);
	if (uncommitted)
		sv_recent_forget(v, ptr_addr(p));
	r = space_clear(v, ptr_addr(p), 1, !uncommitted);
	if (!r)
		sv_session_ref(v, p->session, -1);
	return r;
}

int sv_space_free_run(struct seal_vol *v, const struct d_ptr *first, u32 n)
{
	struct d_ptr last = *first;
	ptr_set(&last, ptr_addr(first) + n - 1, ptr_ctr(first), first->session);
	int r = vol_check_ptr(v, first);
	if (!r)
		r = vol_check_ptr(v, &last);
	if (r)
		return vol_fault(v, r, SEAL_FAULT_POINTER, &v->bmap, 0, 0, ptr_addr(first));
	r = space_clear(v, ptr_addr(first), n, true);
	if (!r) {
		sv_session_ref(v, first->session, -(s64)n);
		__atomic_store_n(&v->replaced, v->replaced + n, __ATOMIC_RELAXED);
	}
	return r;
}

int sv_space_keep(struct seal_vol *v, u64 addr) { return pending_add(v, addr / BITS_PER_BLOCK, addr % BITS_PER_BLOCK); }
int sv_space_free_addr(struct seal_vol *v, u64 addr) { return space_clear(v, addr, 1, true); }

void sv_space_host_full(struct seal_vol *v)
{
	v->host_full = true;
	v->hiwater = SEAL_MAX(v->end, FIRST_BLOCK);
	v->cursor = v->run_cursor = FIRST_BLOCK;
}

int sv_space_release(struct seal_vol *v, u64 addr, u64 n) { return space_clear(v, addr, n, false); }

void sv_space_committed(struct seal_vol *v)
{
	if (v->discard)
		sv_discard_committed(v);
	for (u64 k = 0; k < v->npending_leaves; k++) {
		vol_free(v, v->pending[k], SEAL_BLOCK);
		v->pending[k] = NULL;
	}
	v->freed += v->pending_count;
	v->pending_count = 0;
	__atomic_store_n(&v->replaced, 0, __ATOMIC_RELAXED);
	if (v->freed > v->hiwater / 32 + RUN_LONG) { // worth looking for longer runs again
		v->longest = ~0ul;
		v->freed = 0;
	}
	v->host_full = false;
}

int sv_space_hold(struct seal_vol *v, u64 addr)
{
	u64 leaf = addr / BITS_PER_BLOCK, bit = addr % BITS_PER_BLOCK, m = 1ul << (bit % 64);
	struct node *b;
	if (addr < FIRST_BLOCK || addr >= v->max_blocks)
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_POINTER, &v->bmap, 0, leaf, addr);
	int r = sv_node_get(v, &v->bmap, 0, leaf, NODE_READ, &b);
	if (r)
		return r;
	bool taken = b && ((u64 *)b->data)[bit / 64] & m;
	bool held = leaf < v->npending_leaves && v->pending[leaf] && v->pending[leaf][bit / 64] & m;
	sv_node_put(v, b);
	if (taken || held)
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_POINTER, &v->bmap, 0, leaf, addr);
	v->hiwater = SEAL_MAX(v->hiwater, addr + 1);
	return pending_add(v, leaf, bit);
}

int sv_space_claim(struct seal_vol *v, u64 addr)
{
	u64 leaf = addr / BITS_PER_BLOCK, bit = addr % BITS_PER_BLOCK, m = 1ul << (bit % 64);
	if (leaf >= v->npending_leaves || !v->pending[leaf] || !(v->pending[leaf][bit / 64] & m))
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_POINTER, &v->bmap, 0, leaf, addr);
	v->pending[leaf][bit / 64] &= ~m;
	v->pending_count--;
	return space_take(v, leaf, bit, 1);
}

void vol_changed(struct seal_vol *v)
{
	v->changed = v->log.unsynced = v->log.beyond = true;
	v->clean = false;
}

// Free blocks for which the host has already given room, so that what is dirty now can be committed, and something
// deleted, even when the host's disk fills up. The file is extended with blank blocks where needed. -ENOSPC: not to be
// had.
static int ballast(struct seal_vol *v, u64 blocks)
{
	u64 must = ballast_least(v, blocks), want = must + v->reserved;
	u64 limit = sv_space_top(v), top = SEAL_MIN(SEAL_MIN(v->end, v->hiwater), limit);
	u64 gone = v->used + v->pending_count;
	u64 have = top > gone ? top - gone : 0;
	if (have >= want || v->end >= limit)
		return 0;
	if (v->host_full)
		return -ENOSPC;
	// what is set aside gets its room a piece at a time: nobody writes there yet
	u64 lack = have < must ? must - have : SEAL_MIN(want - have, (u64)PIECE_BLOCKS);
	return file_extend(v, SEAL_MAX(lack, FILE_STEP));
}

u64 sv_space_kept(const struct seal_vol *v)
{
	u64 n = v->reserve + 64 + SEAL_MIN(v->max_blocks / 64, 4096ul);
	return v->nshared || v->nsnaps ? n + sv_refs_reserve(v) : n;
}

// now: of these blocks, those that are taken before the next such call.
static int op_begin(struct seal_vol *v, u64 blocks, u64 now, bool privileged)
{
	if (v->read_only)
		return -EROFS;
	if (v->failed)
		return v->failed;
	int r = sv_session_begin(v);
	if (r)
		return r;
	for (int again = 0;; again++) {
		r = ballast(v, now);
		if (r && r != -ENOSPC)
			return r;
		u64 need = v->ndirty + v->norphans * 4 + v->ntables;
		// the estimates of `blocks` are generous; what deleting really takes is a path of blocks
		need += privileged && v->host_full ? SEAL_MIN(blocks, 12ul) : blocks;
		if (!privileged) // what deleting needs when the volume is full, and what was set aside
			need += sv_space_kept(v) + v->reserved;
		else if (!v->host_full)
			need += v->reserve + (v->nshared || v->nsnaps ? sv_refs_reserve(v) : 0);
		if (sv_space_available(v) >= need && (!r || privileged))
			break;
		if (again || !v->changed)
			return -ENOSPC;
		r = vol_commit(v, false);
		if (r)
			return r;
	}
	r = sv_cache_shrink(v);
	if (r)
		return r;
	v->changed = v->log.unsynced = true;
	v->clean = false;
	return 0;
}

int sv_op_begin_logged(struct seal_vol *v, u64 blocks, bool privileged) { return op_begin(v, blocks, blocks, privileged); }

int sv_op_begin_pieces(struct seal_vol *v, u64 blocks)
{
	int r = op_begin(v, blocks, FANOUT, false);
	if (!r)
		vol_changed(v);
	return r;
}

int sv_op_begin(struct seal_vol *v, u64 blocks, bool privileged)
{
	int r = sv_op_begin_logged(v, blocks, privileged);
	if (!r)
		vol_changed(v);
	return r;
}
