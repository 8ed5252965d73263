// SPDX-License-Identifier: Apache-2.0
// The cache of decrypted blocks and the radix trees made of them. Leaves (level 0) are contents; a pointer block at
// level n holds the 128 pointers of level n-1. Nodes are found by (tree, level, index), so a tree can grow a level
// without moving any.
//
// Rules: a dirty node's ancestors are cached and dirty, so that writing a node can always store its new pointer; a node
// becomes clean only level by level from the bottom (nodes_writeback). Pinned nodes are never evicted.
#include "seal/vol.h"

static u32 hash_of(const struct seal_vol *v, const struct tree *t, u32 level, u64 index)
{
	u64 h = ((u64)t >> 4) * 0x9e3779b97f4a7c15ul + (index * NLEVEL + level) * 0xd6e8feb86659fd93ul;
	return (u32)(h >> 40) & (v->nhash - 1);
}

void sv_tree_init(struct tree *t, u32 cls, struct seal_inode *i)
{
	memset(t, 0, sizeof *t);
	t->cls = (u8)cls;
	t->inode = i;
	list_init(&t->nodes);
}

u64 sv_tree_limit(u32 height) { return NROOT * (1ul << (7 * height)); }

struct node *sv_node_find(struct seal_vol *v, struct tree *t, u32 level, u64 index)
{
	if (!t->nnodes || (!level && !t->nleaves)) // contents are hardly ever here: no need to look for each page
		return NULL;
	struct node *n = v->hash[hash_of(v, t, level, index)];
	while (n && (n->tree != t || n->index != index || n->level != level))
		n = n->hash_next;
	return n;
}

void sv_node_drop(struct seal_vol *v, struct node *n)
{
	struct node **p = &v->hash[hash_of(v, n->tree, n->level, n->index)];
	while (*p != n)
		p = &(*p)->hash_next;
	*p = n->hash_next;
	list_del(&n->lru);
	list_del(&n->in_tree);
	n->tree->nnodes--;
	n->tree->nleaves -= !n->level;
	v->nnodes--;
	if (n->dirty) {
		v->ndirty--;
		n->tree->ndirty--;
	}
	explicit_bzero(n->data, SEAL_BLOCK);
	vol_free(v, n->data, SEAL_BLOCK);
	vol_free(v, n, sizeof *n);
}

void sv_tree_drop(struct seal_vol *v, struct tree *t)
{
	while (!list_empty(&t->nodes))
		sv_node_drop(v, LIST_ENTRY(t->nodes.next, struct node, in_tree));
}

void sv_tree_drop_under(struct seal_vol *v, struct tree *t, u32 level, u64 index)
{
	for (struct list *e = t->nodes.next, *next; e != &t->nodes; e = next) {
		struct node *n = LIST_ENTRY(e, struct node, in_tree);
		next = e->next;
		bool below = level == LEVEL_XATTR ? n->level == level : n->level <= level;
		if (below && n->index >> (7 * (level - n->level)) == index)
			sv_node_drop(v, n);
	}
}

static int node_make(struct seal_vol *v, struct tree *t, u32 level, u64 index, struct node **out)
{
	while (v->nnodes >= v->max_nodes && !list_empty(&v->lru))
		sv_node_drop(v, LIST_ENTRY(v->lru.next, struct node, lru));
	struct node *n = vol_alloc(v, sizeof *n);
	u8 *data = n ? vol_alloc(v, SEAL_BLOCK) : NULL;
	if (!data) {
		vol_free(v, n, sizeof *n);
		return -ENOMEM;
	}
	memset(n, 0, sizeof *n);
	n->tree = t;
	n->level = (u8)level;
	n->index = index;
	n->data = data;
	n->pins = 1;
	list_init(&n->lru);
	struct node **h = &v->hash[hash_of(v, t, level, index)];
	n->hash_next = *h;
	*h = n;
	list_add_tail(&t->nodes, &n->in_tree);
	t->nnodes++;
	t->nleaves += !level;
	v->nnodes++;
	*out = n;
	return 0;
}

static void node_pin(struct node *n)
{
	if (!n->pins++ && !n->dirty)
		list_del(&n->lru);
}

void sv_node_put(struct seal_vol *v, struct node *n)
{
	if (n && !--n->pins && !n->dirty)
		list_add_tail(&v->lru, &n->lru);
}

static void node_mark(struct seal_vol *v, struct node *n) // pinned, its block not shared
{
	if (n->dirty)
		return;
	n->dirty = true;
	n->new_addr = 0;
	v->ndirty++;
	n->tree->ndirty++;
	list_add_tail(&v->dirty[n->tree->cls][n->level], &n->lru);
}

int sv_tree_slot(struct seal_vol *v, struct tree *t, u32 level, u64 index, u32 mode, struct d_ptr **slot,
		 struct node **holder)
{
	*slot = NULL;
	*holder = NULL;
	if (level >= t->height) {
		if (mode == NODE_WRITE && t->inode) {
			int r = sv_inode_dirty(v, t->inode);
			if (r)
				return r;
		}
		if (mode == NODE_WRITE && t->view) {
			int r = sv_view_dirty(v, t->view);
			if (r)
				return r;
		}
		if (level == LEVEL_XATTR)
			*slot = &t->inode->xattr;
		else if (level == t->height && index < NROOT)
			*slot = &t->root[index];
		return 0;
	}
	int r = sv_node_get(v, t, level + 1, index / FANOUT, mode, holder);
	if (!r && *holder)
		*slot = (struct d_ptr *)(*holder)->data + index % FANOUT;
	return r;
}

int sv_node_get(struct seal_vol *v, struct tree *t, u32 level, u64 index, u32 mode, struct node **out)
{
	struct node *n = sv_node_find(v, t, level, index), *holder;
	struct d_ptr *slot;
	*out = NULL;
	if (n && (mode == NODE_READ || n->dirty)) {
		node_pin(n);
		*out = n;
		return 0;
	}
	if (n)
		node_pin(n);
	int r = sv_tree_slot(v, t, level, index, mode, &slot, &holder);
	if (r)
		goto out;
	if (!n) {
		u64 addr = slot ? ptr_addr(slot) : 0;
		bool lost = slot && ptr_lost(slot);
		if (lost && (mode == NODE_READ || !level))
			r = vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_LOST, t, level, index, 0);
		if (r || (!addr && mode == NODE_READ))
			goto out;
		r = slot ? node_make(v, t, level, index, &n) : SEAL_ECORRUPT;
		if (r)
			goto out;
		if (addr)
			r = sv_block_read(v, t, level, index, slot, n->data);
		else
			memset(n->data, 0, SEAL_BLOCK);
		for (u32 k = 0; lost && k < FANOUT; k++) // what it named is lost, each for itself
			ptr_set((struct d_ptr *)n->data + k, 0, CTR_LOST, 0);
		if (r) {
			n->pins = 0;
			sv_node_drop(v, n);
			n = NULL;
			goto out;
		}
		if (!addr && ptr_reserved(slot)) {
			memset(slot, 0, sizeof *slot);
			v->reserved--;
		} else if (lost) {
			memset(slot, 0, sizeof *slot);
			if (t->inode)
				sv_inode_count_blocks(t->inode, FANOUT);
		} else if (!addr && t->inode)
			sv_inode_count_blocks(t->inode, 1);
	}
	if (mode == NODE_WRITE) {
		if (v->nshared && ptr_addr(slot) && t->cls <= CLASS_ITAB)
			r = sv_node_unshare(v, n, slot);
		if (r)
			goto out;
		node_mark(v, n);
	}
	*out = n;
	n = NULL;
out:
	sv_node_put(v, holder);
	sv_node_put(v, n);
	return r;
}

int sv_tree_grow(struct seal_vol *v, struct tree *t, u64 index)
{
	while (index >= sv_tree_limit(t->height)) {
		if (t->height >= MAX_HEIGHT)
			return -EFBIG;
		if (t->inode) {
			int r = sv_inode_dirty(v, t->inode);
			if (r)
				return r;
		}
		bool empty = !t->nnodes;
		for (u32 k = 0; k < NROOT; k++)
			empty = empty && ptr_none(&t->root[k]);
		if (empty) {
			t->height++;
			continue;
		}
		struct node *n;
		int r = node_make(v, t, t->height + 1u, 0, &n);
		if (r)
			return r;
		memset(n->data, 0, SEAL_BLOCK);
		memcpy(n->data, t->root, sizeof t->root);
		memset(t->root, 0, sizeof t->root);
		t->height++;
		if (t->inode)
			sv_inode_count_blocks(t->inode, 1);
		node_mark(v, n);
		sv_node_put(v, n);
	}
	return 0;
}

// --- freeing

struct freeing {
	struct seal_vol *v;
	struct tree *t;
	u64 from, to;
	bool all;    // nothing stays: nobody counts
	bool piece;  // about `budget` blocks, from the end on
	u64 budget, stop; // stop: from here on all is free
	struct memo memo;
};

static int free_slot(struct freeing *f, u32 level, u64 index, struct d_ptr *slot);

// Frees within the children of the pointer block n. *left: something stays.
static int free_children(struct freeing *f, struct node *n, bool *left)
{
	*left = false;
	for (u64 k = FANOUT; k--;) {
		struct d_ptr *s = (struct d_ptr *)n->data + k;
		int r = free_slot(f, n->level - 1u, n->index * FANOUT + k, s);
		if (r)
			return r;
		*left = *left || !ptr_none(s) || sv_node_find(f->v, f->t, n->level - 1u, n->index * FANOUT + k);
	}
	return 0;
}

// Below a shared block nothing is dirty: what its pointers say is what is there.
int sv_tree_count(struct seal_vol *v, struct tree *t, u32 level, u64 index, const struct d_ptr *slot, struct memo *m, bool shared, u64 *n)
{
	struct memo_entry *e;
	struct node *c;
	u64 own = 1;
	if (ptr_none(slot) && !sv_node_find(v, t, level, index))
		return 0;
	if (!level || level == LEVEL_XATTR || ptr_lost(slot)) {
		++*n;
		return 0;
	}
	if (!shared && v->nshared && ptr_addr(slot)) {
		s64 extra = sv_refs_extra(v, ptr_addr(slot));
		if (extra < 0)
			return (int)extra;
		shared = extra;
	}
	if (shared && (e = sv_memo_find(m, slot, level))) {
		*n += e->blocks;
		return 0;
	}
	if (m->limited && !m->reads)
		return -EAGAIN;
	m->reads -= m->limited;
	int r = sv_node_get(v, t, level, index, NODE_READ, &c);
	if (r || !c)
		return r;
	for (u64 k = 0; k < FANOUT && !r; k++)
		r = sv_tree_count(v, t, level - 1, index * FANOUT + k, (struct d_ptr *)c->data + k, m, shared, &own);
	sv_node_put(v, c);
	if (!r && shared)
		r = sv_memo_add(v, m, slot, level, own, 0);
	*n += own;
	return r;
}

// A whole subtree whose top has other owners: they keep it. -EAGAIN: counting it would take too long for one piece; nothing was done.
static int free_shared(struct freeing *f, u32 level, u64 index, struct d_ptr *slot)
{
	struct seal_vol *v = f->v;
	u64 n = 0;
	f->memo.limited = f->piece;
	f->memo.reads = PIECE_BLOCKS / 8;
	int r = f->t->inode && !f->all ? sv_tree_count(v, f->t, level, index, slot, &f->memo, true, &n) : 0;
	if (!r)
		r = sv_refs_add(v, ptr_addr(slot), -1);
	if (r)
		return r;
	memset(slot, 0, sizeof *slot);
	sv_tree_drop_under(v, f->t, level, index);
	if (f->t->inode)
		sv_inode_count_blocks(f->t->inode, -(s64)n);
	f->budget -= SEAL_MIN(f->budget, n + 1);
	return 0;
}

// The block at (level, index), whose pointer is *slot (in a writable holder, or one that is itself being freed). 1: the piece is done.
// What hangs below one pointer block is freed as a whole, so the blocks above are all that a piece has to leave writable.
static int free_slot(struct freeing *f, u32 level, u64 index, struct d_ptr *slot)
{
	struct seal_vol *v = f->v;
	u64 first = index << (7 * level), n = 1ul << (7 * level);
	struct node *c = sv_node_find(v, f->t, level, index);
	if (first >= f->to || first + n <= f->from || (ptr_none(slot) && !c))
		return 0;
	bool left = false, whole = first >= f->from && first + n <= f->to;
	if (level && f->piece && !f->budget) {
		f->stop = SEAL_MIN(f->to, first + n);
		return 1;
	}
	if (level && whole && v->nshared && ptr_addr(slot) && f->t->cls == CLASS_FILE) {
		s64 extra = sv_refs_extra(v, ptr_addr(slot));
		if (extra < 0)
			return (int)extra;
		int r = extra ? free_shared(f, level, index, slot) : -EAGAIN;
		if (r != -EAGAIN)
			return r;
	}
	if (level && !(whole && ptr_lost(slot))) {
		int r = sv_node_get(v, f->t, level, index, whole && (level == 1 || !f->piece) ? NODE_READ : NODE_WRITE, &c);
		if (r)
			return r;
		r = c ? free_children(f, c, &left) : 0; // a whole block of pointers can be set aside
		sv_node_put(v, c);
		if (r)
			return r;
	}
	if (left)
		return 0;
	if (ptr_addr(slot)) {
		int r = f->t->cls <= CLASS_ITAB ? sv_space_free(v, slot) : sv_space_free_sole(v, slot);
		if (r)
			return r;
	} else if (ptr_reserved(slot))
		v->reserved--;
	memset(slot, 0, sizeof *slot);
	c = sv_node_find(v, f->t, level, index); // only now: freeing may have made room in the cache
	if (c)
		sv_node_drop(v, c);
	if (f->t->inode)
		sv_inode_count_blocks(f->t->inode, -1);
	f->budget -= f->budget != 0;
	return 0;
}

static int free_within(struct freeing *f)
{
	struct seal_vol *v = f->v;
	struct tree *t = f->t;
	int r = t->inode ? sv_inode_dirty(v, t->inode) : 0;
	bool any = false;
	for (u32 k = NROOT; k-- && !r;) {
		r = free_slot(f, t->height, k, &t->root[k]);
		any = any || !ptr_none(&t->root[k]) || sv_node_find(v, t, t->height, k);
	}
	sv_memo_end(v, &f->memo);
	if (r)
		return r;
	if (!any)
		t->height = 0;
	if (t->inode && f->all)
		t->inode->blocks = ptr_addr(&t->inode->xattr) || sv_node_find(v, t, LEVEL_XATTR, 0);
	return 0;
}

int sv_tree_free_range(struct seal_vol *v, struct tree *t, u64 from, u64 to)
{
	struct freeing f = {.v = v, .t = t, .from = from, .to = to, .all = !from && to == ~0ul};
	return free_within(&f);
}

int sv_tree_free_piece(struct seal_vol *v, struct tree *t, u64 from, u64 *to, bool all)
{
	struct freeing f = {.v = v, .t = t, .from = from, .to = *to, .all = all, .piece = true, .budget = PIECE_BLOCKS};
	int r = free_within(&f);
	*to = r > 0 ? f.stop : from;
	return r;
}

// --- writing out

// Chooses addresses for a batch of nodes: a block not yet committed keeps its own, the others get new ones.
static int batch_place(struct seal_vol *v, u32 n, u32 *placed)
{
	for (u32 k = 0; k < n;) {
		struct node *c = v->batch[k], *holder;
		struct d_ptr *slot;
		int r = 0;
		if (c->tree->cls == CLASS_BMAP) {
			ptr_set(&v->ptrs[k], c->new_addr, 0, 0);
			*placed = ++k;
			continue;
		}
		r = sv_tree_slot(v, c->tree, c->level, c->index, NODE_READ, &slot, &holder);
		sv_node_put(v, holder);
		if (r || !slot)
			return r ? r : SEAL_ECORRUPT;
		if (ptr_uncommitted(v, slot)) { // a dirty node's block is never shared
			v->ptrs[k] = *slot;
			*placed = ++k;
			continue;
		}
		u64 addr, got;
		r = sv_space_alloc(v, 1, &addr, &got);
		if (r)
			return r;
		ptr_set(&v->ptrs[k], addr, 0, NO_SESSION); // the session tells a new address from a kept one
		*placed = ++k;
	}
	return 0;
}

static int batch_store(struct seal_vol *v, u32 n)
{
	for (u32 k = 0; k < n; k++) {
		struct node *c = v->batch[k], *holder;
		struct d_ptr *slot;
		int r = sv_tree_slot(v, c->tree, c->level, c->index, NODE_READ, &slot, &holder);
		sv_node_put(v, holder);
		if (r || !slot)
			return vol_abort(v, r ? r : SEAL_ECORRUPT);
		if (c->tree->cls != CLASS_BMAP) { // the bitmap's old blocks were freed when the new ones were given
			if (ptr_uncommitted(v, slot))
				sv_session_ref(v, slot->session, -1);
			else if (ptr_addr(slot) && (r = sv_space_free_sole(v, slot)))
				return vol_abort(v, r);
		}
		sv_session_ref(v, v->cur, 1);
		*slot = v->ptrs[k];
		c->dirty = false;
		v->ndirty--;
		c->tree->ndirty--;
		list_del(&c->lru);
		if (!c->pins)
			list_add_tail(&v->lru, &c->lru);
	}
	return 0;
}

static int level_writeback(struct seal_vol *v, u32 cls, u32 level)
{
	struct list *l = &v->dirty[cls][level];
	const void *in[IO_BLOCKS];
	while (!list_empty(l)) {
		u32 n = 0, placed = 0;
		for (struct list *e = l->next; e != l && n < IO_BLOCKS; e = e->next) {
			v->batch[n] = LIST_ENTRY(e, struct node, lru);
			in[n] = v->batch[n]->data;
			n++;
		}
		bool fresh[IO_BLOCKS] = {false};
		int r = batch_place(v, n, &placed);
		for (u32 k = 0; k < placed; k++)
			fresh[k] = v->ptrs[k].session == NO_SESSION;
		if (!r)
			r = sv_block_write(v, cls, level, v->ptrs, in, n);
		if (r) {
			if (cls == CLASS_BMAP)
				return vol_abort(v, r);
			for (u32 k = 0; k < placed; k++)
				if (fresh[k] && sv_space_release(v, ptr_addr(&v->ptrs[k]), 1))
					return vol_abort(v, r);
			if (r == -ENOSPC && !v->host_full) {
				sv_space_host_full(v);
				continue;
			}
			return r;
		}
		r = batch_store(v, n);
		if (r)
			return r;
	}
	return 0;
}

int sv_nodes_writeback(struct seal_vol *v, u32 cls)
{
	int r = 0;
	if (cls == CLASS_FILE)
		r = level_writeback(v, cls, LEVEL_XATTR);
	for (u32 level = 0; level <= MAX_HEIGHT && !r; level++)
		r = level_writeback(v, cls, level);
	return r;
}

int sv_cache_shrink(struct seal_vol *v)
{
	if (v->ndirty > v->max_nodes / 2) {
		int r = sv_nodes_writeback(v, CLASS_FILE);
		if (!r)
			r = sv_inodes_writeback(v);
		if (!r)
			r = sv_nodes_writeback(v, CLASS_ITAB);
		if (!r)
			r = sv_nodes_writeback(v, CLASS_REFS);
		if (r)
			return r;
	}
	int r = sv_inodes_settle(v);
	if (r)
		return r;
	while (v->nnodes > v->max_nodes && !list_empty(&v->lru))
		sv_node_drop(v, LIST_ENTRY(v->lru.next, struct node, lru));
	return 0;
}
