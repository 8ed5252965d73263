// SPDX-License-Identifier: Apache-2.0
// Contents of files: whole pages go straight between the caller and ciphertext; parts of pages are collected in cached
// nodes until the next commit. Up to INLINE_MAX bytes live in the inode. Bytes behind the end of a file in its last
// page are zero.
#include "seal/vol.h"

#define FETCH_LEAST 8u

static u8 *inline_bytes(struct seal_inode *i) { return (u8 *)i->tree.root; }
static u64 pages_of(u64 bytes) { return bytes / SEAL_BLOCK + (bytes % SEAL_BLOCK != 0); }

// How many pointers follow in the same holder as the one for page idx.
static u32 slots_from(const struct seal_inode *i, u64 idx)
{
	return (u32)(i->tree.height ? FANOUT - idx % FANOUT : idx < NROOT ? NROOT - idx : 1);
}

static int pages_read(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *out)
{
	for (u32 k = 0; k < n;) {
		struct d_ptr *slot;
		struct node *holder, *c;
		u32 chunk = SEAL_MIN(n - k, slots_from(i, first + k));
		int r = sv_tree_slot(v, &i->tree, 0, first + k, NODE_READ, &slot, &holder);
		for (u32 j = 0, m; j < chunk && !r; j += m) {
			u64 idx = first + k + j;
			m = 1;
			c = sv_node_find(v, &i->tree, 0, idx);
			if (c) {
				memcpy(out[k + j], c->data, SEAL_BLOCK);
				continue;
			}
			if (slot && ptr_lost(&slot[j])) {
				r = vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_LOST, &i->tree, 0, idx, 0);
				continue;
			}
			if (!slot || !ptr_addr(&slot[j])) {
				memset(out[k + j], 0, SEAL_BLOCK);
				continue;
			}
			while (j + m < chunk && m < IO_BLOCKS && ptr_addr(&slot[j + m]) == ptr_addr(&slot[j]) + m &&
			       !sv_node_find(v, &i->tree, 0, idx + m))
				m++;
			for (u32 l = 0; l < m && !r; l++)
				if (vol_check_ptr(v, &slot[j + l]))
					r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_POINTER, &i->tree, 0, idx + l,
						      ptr_addr(&slot[j + l]));
			if (!r)
				r = sv_block_read_run(v, &i->tree, idx, &slot[j], m, out + k + j);
		}
		sv_node_put(v, holder);
		if (r)
			return r;
		k += chunk;
	}
	return 0;
}

// The slot of a page whose pointer block is made writable, and stays in the cache until the next writing out.
static int slot_of(struct seal_vol *v, struct seal_inode *i, u64 idx, u32 mode, struct d_ptr **slot)
{
	struct node *holder;
	int r = sv_tree_slot(v, &i->tree, 0, idx, mode, slot, &holder);
	sv_node_put(v, holder);
	return r;
}

// The same for one page after the other: pages of one group have their slots in one pointer block, that the first of them has found.
struct group {
	u64 number;
	struct d_ptr *slots; // NULL: none yet
};
static int slot_in(struct seal_vol *v, struct seal_inode *i, u64 idx, u32 mode, struct group *g, struct d_ptr **slot)
{
	if (!g->slots || g->number != idx / FANOUT) {
		int r = slot_of(v, i, idx, mode, slot);
		if (r || !*slot)
			return r ? r : SEAL_ECORRUPT;
		*g = (struct group){idx / FANOUT, *slot - idx % FANOUT};
	}
	*slot = g->slots + idx % FANOUT;
	return 0;
}

// Addresses for a batch, in v->ptrs: what is not yet committed is overwritten in place (*kept: some are), the rest gets
// runs as long as can be had. fresh[k]: has a new address.
static int batch_place(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, bool *kept, bool *fresh)
{
	u32 missing = 0;
	struct group g = {0};
	for (u32 k = 0; k < n; k++) {
		struct d_ptr *slot;
		int r = slot_in(v, i, index[k], NODE_WRITE, &g, &slot);
		if (r)
			return r;
		r = sv_inplace(v, slot);
		if (r < 0)
			return r;
		if (r)
			v->ptrs[k] = *slot;
		else
			ptr_set(&v->ptrs[k], 0, 0, NO_SESSION);
		*kept = *kept || r;
		missing += !r;
	}
	for (u32 k = 0; missing;) {
		u64 addr, got;
		int r = sv_space_alloc(v, missing, &addr, &got);
		if (r)
			return r;
		missing -= (u32)got;
		for (; got; k++)
			if (v->ptrs[k].session == NO_SESSION) {
				ptr_set(&v->ptrs[k], addr++, 0, NO_SESSION);
				fresh[k] = true;
				got--;
			}
	}
	return 0;
}

// Blocks one behind the other that are no longer referred to: given back together.
struct run {
	struct d_ptr first;
	u32 n;
};

static int run_end(struct seal_vol *v, struct run *run)
{
	u32 n = run->n;
	run->n = 0;
	return n ? sv_space_free_run(v, &run->first, n) : 0;
}

static int run_free(struct seal_vol *v, struct run *run, const struct d_ptr *p)
{
	if (v->nshared || ptr_uncommitted(v, p))
		return sv_space_free(v, p);
	if (run->n && ptr_addr(p) == ptr_addr(&run->first) + run->n && p->session == run->first.session) {
		run->n++;
		return 0;
	}
	int r = run_end(v, run);
	*run = (struct run){*p, 1};
	return r;
}

static int batch_store(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n)
{
	struct group g = {0};
	struct run run = {.n = 0};
	u32 added = 0; // under the session in use
	for (u32 k = 0; k < n; k++) {
		struct node *c;
		struct d_ptr *slot;
		int r = slot_in(v, i, index[k], NODE_READ, &g, &slot);
		if (r)
			return vol_abort(v, r);
		bool had = !ptr_none(slot) || sv_node_find(v, &i->tree, 0, index[k]);
		if (ptr_reserved(slot))
			v->reserved--;
		else if (ptr_addr(slot) == ptr_addr(&v->ptrs[k])) // overwritten where it lay
			sv_session_ref(v, slot->session, -1);
		else if (ptr_addr(slot) && (r = run_free(v, &run, slot)))
			return vol_abort(v, r);
		if (v->ptrs[k].session == v->cur)
			added++;
		else
			sv_session_ref(v, v->ptrs[k].session, 1);
		*slot = v->ptrs[k];
		if (!had)
			sv_inode_count_blocks(i, 1);
		if ((c = sv_node_find(v, &i->tree, 0, index[k]))) // only now: freeing may have made room in the cache
			sv_node_drop(v, c);
	}
	if (added)
		sv_session_ref(v, v->cur, added);
	int r = run_end(v, &run);
	return r ? vol_abort(v, r) : 0;
}

int sv_file_adopt(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n)
{
	u64 last = 0;
	for (u32 k = 0; k < n; k++)
		last = SEAL_MAX(last, index[k]);
	int r = sv_tree_grow(v, &i->tree, last); // first: a tree with nothing in it grows without a block for the places it had
	for (u32 k = 0; k < n && !r; k++) {
		struct d_ptr *slot;
		r = slot_of(v, i, index[k], NODE_WRITE, &slot);
	}
	return r ? r : batch_store(v, i, index, n);
}

// Most blocks that storing these pages can take, their pointer blocks included.
static u64 batch_cost(const struct seal_inode *i, const u64 *index, u32 n)
{
	u64 groups = 1;
	for (u32 k = 1; k < n; k++)
		groups += index[k] / FANOUT != index[k - 1] / FANOUT;
	return n + 12 + (groups - 1) * SEAL_MAX(i->tree.height, 1u);
}

// Stores whole pages, anywhere in the file, index rising: one run of blocks where there is room for it. n <= BATCH_BLOCKS.
static int batch_write(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, const void *const *in)
{
	int r = sv_write_begin(v, i, index, n, batch_cost(i, index, n));
	if (!r)
		r = sv_tree_grow(v, &i->tree, index[n - 1]);
	if (!r)
		r = sv_inode_dirty(v, i);
	if (r)
		return r;
	for (;;) {
		bool kept = false, wrote = false, fresh[BATCH_BLOCKS] = {false};
		r = batch_place(v, i, index, n, &kept, fresh);
		if (!r) {
			wrote = true;
			r = sv_block_write(v, CLASS_FILE, 0, v->ptrs, in, n);
		}
		if (!r) {
			r = batch_store(v, i, index, n);
			if (!r)
				sv_log_pages(v, i, index, n);
			return r;
		}
		for (u32 k = 0; k < n; k++)
			if (fresh[k] && sv_space_release(v, ptr_addr(&v->ptrs[k]), 1))
				return vol_abort(v, r);
		if (r == -ENOSPC && !v->host_full && !v->failed) {
			sv_space_host_full(v);
			continue;
		}
		if (kept && wrote)
			vol_abort(v, r); // earlier contents of this transaction may be damaged
		return r;
	}
}

// The same for any number. A nearly full volume takes a few pages where it has no room for many; neither has a small cache, that
// holds the pointers to them until they are stored.
static int pages_write(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, const void *const *in,
		       u32 *done)
{
	u32 most = v->max_nodes >= 8 * BATCH_BLOCKS ? BATCH_BLOCKS : IO_BLOCKS;
	for (*done = 0; *done < n;) {
		u32 m = SEAL_MIN(n - *done, most);
		int r = batch_write(v, i, index + *done, m, in + *done);
		if (r == -ENOSPC && m > 1 && !v->failed)
			most = m / 2;
		else if (r)
			return r;
		else
			*done += m;
	}
	return 0;
}

// Moves inline contents to a block. The caller has made the inode dirty.
int sv_file_uninline(struct seal_vol *v, struct seal_inode *i)
{
	u8 copy[INLINE_MAX];
	struct node *n;
	if (!i->is_inline)
		return 0;
	memcpy(copy, inline_bytes(i), INLINE_MAX);
	memset(i->tree.root, 0, sizeof i->tree.root);
	i->is_inline = false;
	if (!i->size)
		return 0;
	v->log.beyond = true;
	int r = sv_node_get(v, &i->tree, 0, 0, NODE_WRITE, &n);
	if (r) {
		memcpy(inline_bytes(i), copy, INLINE_MAX);
		i->is_inline = true;
		return r;
	}
	memcpy(n->data, copy, INLINE_MAX);
	sv_node_put(v, n);
	return 0;
}

s64 data_read(struct seal_vol *v, struct seal_inode *i, u64 off, void *buf, size_t n)
{
	u8 *p = buf;
	if (off >= i->size)
		return 0;
	n = SEAL_MIN(n, i->size - off);
	if (i->is_inline) {
		memcpy(p, inline_bytes(i) + off, n);
		return (s64)n;
	}
	for (size_t done = 0, m; done < n; done += m) {
		u64 idx = (off + done) / SEAL_BLOCK, at = (off + done) % SEAL_BLOCK;
		int r;
		if (at || n - done < SEAL_BLOCK) {
			struct node *c;
			m = SEAL_MIN(SEAL_BLOCK - at, n - done);
			r = sv_node_get(v, &i->tree, 0, idx, NODE_READ, &c);
			if (!r && c)
				memcpy(p + done, c->data + at, m);
			else if (!r)
				memset(p + done, 0, m);
			sv_node_put(v, c);
		} else {
			void *pages[IO_BLOCKS];
			u32 k = (u32)SEAL_MIN((n - done) / SEAL_BLOCK, (u64)IO_BLOCKS);
			for (u32 j = 0; j < k; j++)
				pages[j] = p + done + (u64)j * SEAL_BLOCK;
			m = (size_t)k * SEAL_BLOCK;
			r = pages_read(v, i, idx, k, pages);
		}
		if (r)
			return done ? (s64)done : r;
	}
	return (s64)n;
}

s64 data_write(struct seal_vol *v, struct seal_inode *i, u64 off, const void *buf, size_t n)
{
	const u8 *p = buf;
	size_t done = 0;
	int r = 0;
	if (off > S64_LIMIT || n > S64_LIMIT - off)
		return -EFBIG;
	while (done < n && !r) {
		u64 at = (off + done) % SEAL_BLOCK, idx = (off + done) / SEAL_BLOCK;
		size_t m = SEAL_MIN(SEAL_BLOCK - at, n - done);
		r = sv_write_begin(v, i, &idx, 1, 13);
		if (!r)
			r = sv_inode_dirty(v, i);
		if (r)
			break;
		if (i->is_inline && off + n <= INLINE_MAX) {
			m = n;
			v->log.beyond = true;
			memcpy(inline_bytes(i) + off, p, n);
		} else if ((r = sv_file_uninline(v, i))) {
			break;
		} else if (m < SEAL_BLOCK) {
			struct node *c;
			r = sv_tree_grow(v, &i->tree, idx);
			if (!r)
				r = sv_node_get(v, &i->tree, 0, idx, NODE_WRITE, &c);
			if (r)
				break;
			v->log.beyond = true;
			memcpy(c->data + at, p + done, m);
			sv_node_put(v, c);
		} else {
			const void *pages[IO_BLOCKS];
			u64 index[IO_BLOCKS];
			u32 k = (u32)SEAL_MIN((n - done) / SEAL_BLOCK, (u64)IO_BLOCKS), got;
			for (u32 j = 0; j < k; j++) {
				pages[j] = p + done + (u64)j * SEAL_BLOCK;
				index[j] = idx + j;
			}
			r = pages_write(v, i, index, k, pages, &got);
			m = (size_t)got * SEAL_BLOCK;
		}
		done += m;
		i->size = SEAL_MAX(i->size, off + done);
	}
	if (done) {
		sv_inode_touch(v, i, true);
		sv_log_inode(v, i);
	}
	return done ? (s64)done : r;
}

// Zeros part of one page; holes stay holes.
static int page_zero(struct seal_vol *v, struct seal_inode *i, u64 idx, u64 from, u64 to)
{
	struct d_ptr *slot;
	struct node *c;
	int r = slot_of(v, i, idx, NODE_READ, &slot);
	if (!r && slot && ptr_lost(slot))
		return 0; // all of the page stays unreadable
	if (!r)
		r = sv_node_get(v, &i->tree, 0, idx, NODE_READ, &c);
	if (r || !c)
		return r;
	sv_node_put(v, c);
	r = sv_node_get(v, &i->tree, 0, idx, NODE_WRITE, &c);
	if (r)
		return r;
	memset(c->data + from, 0, to - from);
	sv_node_put(v, c);
	return 0;
}

int sv_file_truncate(struct seal_vol *v, struct seal_inode *i, u64 size)
{
	int r = 0;
	if (size > S64_LIMIT)
		return -EFBIG;
	if (i->is_inline) {
		if (size < i->size)
			memset(inline_bytes(i) + size, 0, INLINE_MAX - size);
		else if (size > INLINE_MAX)
			r = sv_file_uninline(v, i);
	} else if (size < i->size) {
		if (size % SEAL_BLOCK)
			r = page_zero(v, i, size / SEAL_BLOCK, size % SEAL_BLOCK, SEAL_BLOCK);
		if (!r && (r = sv_tree_free_range(v, &i->tree, pages_of(size), ~0ul)))
			vol_abort(v, r);
		if (!r && !size)
			i->is_inline = true; // an empty tree is an empty inline file
	}
	if (!r)
		i->size = size;
	return r;
}

// Do others own all that the file's pointers name? Then nothing of it is freed, however large it is.
static bool all_shared(struct seal_vol *v, struct tree *t)
{
	bool shared = v->nshared;
	for (u32 k = 0; k < NROOT && shared; k++)
		shared = ptr_addr(&t->root[k]) ? sv_refs_extra(v, ptr_addr(&t->root[k])) > 0 : !sv_node_find(v, t, t->height, k);
	return shared;
}

int sv_file_shrink(struct seal_vol *v, struct seal_inode *i, u64 size)
{
	u64 end = ~0ul;
	int r = 1;
	while (r > 0 && !i->is_inline && size < i->size && i->blocks > PIECE_BLOCKS && !(!size && all_shared(v, &i->tree))) {
		r = sv_op_begin(v, 16, true);
		if (!r)
			r = sv_inode_dirty(v, i);
		if (r)
			return r;
		r = sv_tree_free_piece(v, &i->tree, pages_of(size), &end, false);
		if (r < 0)
			return vol_abort(v, r);
		i->size = SEAL_MIN(i->size, SEAL_MAX(size, end * SEAL_BLOCK));
		sv_inode_touch(v, i, true);
		if (r)
			vol_pause(v);
		if (i->size > end * SEAL_BLOCK) // somebody made it longer meanwhile
			end = ~0ul;
	}
	return 0;
}

s64 seal_read(struct seal_vol *v, struct seal_inode *i, u64 off, void *buf, size_t n)
{
	vol_lock(v);
	s64 r = sv_is_stale(i)		? -ESTALE
		: sv_inode_is(i, T_REG) ? data_read(v, i, off, buf, n)
		: sv_inode_is(i, T_DIR) ? -EISDIR
					: -EINVAL;
	vol_unlock(v);
	return r;
}

s64 seal_write(struct seal_vol *v, struct seal_inode *i, u64 off, const void *buf, size_t n)
{
	vol_lock(v);
	s64 r = sv_inode_is(i, T_REG) ? data_write(v, i, off, buf, n) : -EINVAL;
	vol_unlock(v);
	return r;
}

// What is to be read for these pages, and the key; cached pages and holes are given at once. 1: all is as far as that;
// 0: it is not so simple (several keys, a damaged pointer).
static int fetch_plan(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *out, struct fetch *f)
{
	u32 session = NO_SESSION;
	memset(f->ptr, 0, n * sizeof *f->ptr);
	for (u32 k = 0, chunk; k < n; k += chunk) {
		struct node *holder, *c;
		struct d_ptr *slot;
		int r = sv_tree_slot(v, &i->tree, 0, first + k, NODE_READ, &slot, &holder);
		sv_node_put(v, holder); // nothing else is looked up meanwhile
		if (r)
			return r;
		chunk = SEAL_MIN(n - k, slots_from(i, first + k));
		for (u32 j = 0; j < chunk; j++) {
			if ((c = sv_node_find(v, &i->tree, 0, first + k + j))) {
				memcpy(out[k + j], c->data, SEAL_BLOCK);
			} else if (slot && ptr_lost(&slot[j])) {
				return 0;
			} else if (!slot || !ptr_addr(&slot[j])) {
				memset(out[k + j], 0, SEAL_BLOCK);
			} else {
				if (vol_check_ptr(v, &slot[j]) || (session != NO_SESSION && slot[j].session != session))
					return 0;
				session = slot[j].session;
				f->ptr[k + j] = slot[j];
			}
		}
	}
	if (session != NO_SESSION)
		f->key = *sv_session_key(v, session);
	return 1;
}

// Reads and decrypts beside others: the lock is held only to look up what lies where. An error means no more than to
// look again with the lock: what lay there may have moved.
static int pages_fetch(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *out)
{
	struct fetch *f = vol_alloc(v, sizeof *f);
	int r = f && fetch_plan(v, i, first, n, out, f) == 1 ? 0 : -EAGAIN;
	if (!r) {
		vol_unlock(v);
		for (u32 k = 0, m; k < n && !r; k += m) {
			u64 addr = ptr_addr(&f->ptr[k]);
			m = 1;
			if (!addr)
				continue;
			while (k + m < n && m < FETCH_BLOCKS && ptr_addr(&f->ptr[k + m]) == addr + m)
				m++;
			r = sv_block_fetch(v, f, CLASS_FILE, k, m, out);
		}
		explicit_bzero(&f->key, sizeof f->key);
		explicit_bzero(&f->ctx, sizeof f->ctx);
		vol_lock(v);
	}
	vol_free(v, f, sizeof *f);
	return r;
}

static int pages_get(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *pages, bool fetch)
{
	if (!sv_inode_is(i, T_REG) || sv_is_stale(i))
		return sv_is_stale(i) ? -ESTALE : -EINVAL;
	if (!i->is_inline)
		return fetch ? pages_fetch(v, i, first, n, pages) : pages_read(v, i, first, n, pages);
	for (u32 k = 0; k < n; k++) {
		memset(pages[k], 0, SEAL_BLOCK);
		if (first + k == 0)
			memcpy(pages[k], inline_bytes(i), i->size);
	}
	return 0;
}

int seal_read_pages(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *pages)
{
	vol_lock(v);
	bool fetch = n >= FETCH_LEAST && n <= IO_BLOCKS; // few are read before a buffer is found
	int r = pages_get(v, i, first, n, pages, fetch);
	if (r && fetch)
		r = pages_get(v, i, first, n, pages, false);
	vol_unlock(v);
	return r;
}

int seal_write_pages(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, const void *const *pages,
		     u64 new_size)
{
	u32 done;
	vol_lock(v);
	int r = sv_inode_is(i, T_REG) ? sv_write_begin(v, i, index, 1, 13) : -EINVAL;
	if (!r)
		r = sv_inode_dirty(v, i);
	if (r)
		goto out;
	if (index[n - 1] >= S64_LIMIT / SEAL_BLOCK || new_size > S64_LIMIT) {
		r = -EFBIG;
		goto out;
	}
	if (i->is_inline && new_size <= INLINE_MAX && i->size <= INLINE_MAX && !index[0] && n == 1) {
		v->log.beyond = true;
		memcpy(inline_bytes(i), pages[0], INLINE_MAX);
	} else {
		r = sv_file_uninline(v, i);
		if (!r)
			r = pages_write(v, i, index, n, pages, &done);
	}
	if (!r) {
		i->size = SEAL_MAX(i->size, new_size);
		sv_log_inode(v, i);
	}
out:
	vol_unlock(v);
	return r;
}

int seal_truncate(struct seal_vol *v, struct seal_inode *i, u64 size)
{
	return seal_setattr(v, i, SEAL_SET_SIZE, &(struct seal_attr){.size = size});
}

int seal_punch(struct seal_vol *v, struct seal_inode *i, u64 off, u64 len)
{
	vol_lock(v);
	int r = sv_inode_is(i, T_REG) ? sv_op_begin(v, 16, true) : -EINVAL;
	if (!r)
		r = sv_inode_dirty(v, i);
	u64 end = len > i->size || off > i->size - len ? i->size : off + len;
	if (r || off >= end)
		goto out;
	u64 p0 = pages_of(off), p1 = end == i->size ? pages_of(end) : end / SEAL_BLOCK;
	if (i->is_inline) {
		memset(inline_bytes(i) + off, 0, end - off);
	} else if (off / SEAL_BLOCK == (end - 1) / SEAL_BLOCK && p0 >= p1) {
		r = page_zero(v, i, off / SEAL_BLOCK, off % SEAL_BLOCK, (end - 1) % SEAL_BLOCK + 1);
	} else {
		if (off % SEAL_BLOCK)
			r = page_zero(v, i, off / SEAL_BLOCK, off % SEAL_BLOCK, SEAL_BLOCK);
		if (!r && end != i->size && end % SEAL_BLOCK)
			r = page_zero(v, i, end / SEAL_BLOCK, 0, end % SEAL_BLOCK);
		for (int more = 1; !r && more && p0 < p1 && !i->is_inline;) {
			more = sv_tree_free_piece(v, &i->tree, p0, &p1, false);
			if (more < 0)
				r = vol_abort(v, more);
			if (more > 0) {
				sv_inode_touch(v, i, true);
				vol_pause(v);
				r = sv_op_begin(v, 16, true);
				if (!r)
					r = sv_inode_dirty(v, i);
			}
		}
	}
	if (!r)
		sv_inode_touch(v, i, true);
out:
	vol_unlock(v);
	return r;
}

int seal_fsync(struct seal_vol *v, struct seal_inode *i)
{
	(void)i;
	return seal_sync(v);
}

// What is at a page: data or a hole, up to where that is known without reading more (*n pages, at least one).
static int extent_at(struct seal_vol *v, struct seal_inode *i, u64 idx, bool *data, u64 *n)
{
	struct tree *t = &i->tree;
	*data = false;
	*n = 1ul << (7 * t->height);
	if (idx >= sv_tree_limit(t->height)) { // behind all that the tree can name
		*n = ~0ul - idx;
		return 0;
	}
	for (u32 level = t->height;; level--) {
		struct d_ptr *slot;
		struct node *holder;
		u64 at = idx >> (7 * level);
		int r = sv_tree_slot(v, t, level, at, NODE_READ, &slot, &holder);
		bool there = !r && ((slot && (ptr_addr(slot) || ptr_lost(slot))) || sv_node_find(v, t, level, at));
		sv_node_put(v, holder);
		if (r || !there || !level) {
			*data = there;
			*n = (1ul << (7 * level)) - (idx & ((1ul << (7 * level)) - 1));
			return r;
		}
	}
}

s64 seal_seek(struct seal_vol *v, struct seal_inode *i, u64 off, bool hole)
{
	vol_lock(v);
	s64 r = -ENXIO;
	if (off >= i->size)
		goto out;
	r = (s64)(hole ? i->size : off);
	if (i->is_inline)
		goto out;
	for (u64 idx = off / SEAL_BLOCK, m, steps = 1; idx < pages_of(i->size) && !i->is_inline; idx += m, steps++) {
		bool data;
		if (steps % PIECE_BLOCKS == 0)
			vol_pause(v);
		int e = extent_at(v, i, idx, &data, &m);
		if (e) {
			r = e;
			goto out;
		}
		if (data != hole) {
			r = (s64)SEAL_MAX(off, idx * SEAL_BLOCK);
			goto out;
		}
	}
	r = hole ? (s64)i->size : -ENXIO;
out:
	vol_unlock(v);
	return r;
}
