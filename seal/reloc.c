// SPDX-License-Identifier: Apache-2.0
// Moving blocks: to below the new end of a volume that shrinks, or from keys of the old secret to those of the new one.
// One walk over all trees makes every block that has to move dirty; the ordinary writing out then gives it a new place
// and key. It is found by what it is, not by where the walk stands, so the work can stop anywhere and begin anew.
//
// Shared blocks stay shared: when a block of a file or an inode table block gets a copy of its own because it moves,
// the map notes where the copy went, and the next pointer to the old block is turned to the copy. For each block of the
// inode table the live tree and all snapshots are visited one after another, so the old blocks are soon free. (The
// upper blocks of an inode table that many snapshots share, a hundredth of it, do get copies; so does what is met after
// the map is full, or after an interruption.)
//
// Every piece ends with a commit: what the map points to is then never overwritten in place. Volume's lock held.
#include "seal/reloc.h"

#define MAP_BUCKETS 4096u
#define PENDING	    512u

struct moved { // the block at `from` has a copy
	struct moved *by_from, *by_to;
	u64 from;
	struct d_ptr to;
};
struct fresh { // a node that was shared has become a copy, which has no place yet
	struct tree *t;
	u64 index, from;
	u32 level;
	bool final; // the walk is through with it
};
struct reloc {
	u64 limit; // blocks from here on move
	bool rekey;
	u64 leaf; // of the inode tables: where the walk is
	u64 moved, seen, pass_moved;
	struct moved *from[MAP_BUCKETS], *to[MAP_BUCKETS];
	u64 nmap, max_map;
	struct fresh fresh[PENDING];
	u32 nfresh;
};

static u32 bucket(u64 addr) { return (u32)(addr * 0x9e3779b97f4a7c15ul >> 40) % MAP_BUCKETS; }

static struct moved *map_find(struct reloc *m, u64 addr)
{
	struct moved *e = m->from[bucket(addr)];
	while (e && e->from != addr)
		e = e->by_from;
	return e;
}

static void map_remove(struct seal_vol *v, struct moved *e)
{
	struct moved **p = &v->reloc->from[bucket(e->from)];
	while (*p != e)
		p = &(*p)->by_from;
	*p = e->by_from;
	p = &v->reloc->to[bucket(ptr_addr(&e->to))];
	while (*p != e)
		p = &(*p)->by_to;
	*p = e->by_to;
	v->reloc->nmap--;
	vol_free(v, e, sizeof *e);
}

void sv_reloc_freed(struct seal_vol *v, u64 addr)
{
	struct moved *e = map_find(v->reloc, addr);
	if (e)
		map_remove(v, e);
	e = v->reloc->to[bucket(addr)];
	while (e && ptr_addr(&e->to) != addr)
		e = e->by_to;
	if (e)
		map_remove(v, e);
}

static void map_add(struct seal_vol *v, u64 from, const struct d_ptr *to)
{
	struct reloc *m = v->reloc;
	struct moved *e = m->nmap < m->max_map ? vol_alloc(v, sizeof *e) : NULL;
	if (!e)
		return; // this block's other owners get a copy each
	sv_reloc_freed(v, from);
	*e = (struct moved){.from = from, .to = *to, .by_from = m->from[bucket(from)], .by_to = m->to[bucket(ptr_addr(to))]};
	m->from[bucket(from)] = e;
	m->to[bucket(ptr_addr(to))] = e;
	m->nmap++;
}

void sv_reloc_unshared(struct seal_vol *v, struct tree *t, u32 level, u64 index, u64 from, bool others)
{
	struct reloc *m = v->reloc;
	if (!m)
		return; // a repair
	u64 ino = t->inode ? t->inode->ino : 0;
	const struct tree *above = t; // where the pointer to it is, if that is a copy in the making
	u64 at = index / FANOUT;
	u32 up = level + 1;
	if (t->inode && (level == t->height || level == LEVEL_XATTR)) {
		above = t->inode->view ? &t->inode->view->itab : &v->itab;
		at = (ino & VIEW_INO) / INODES_PER_BLOCK;
		up = 0;
	}
	// With one other owner, which is what its parent is a copy of, whoever comes there follows the parent.
	for (u32 k = 0; k < m->nfresh && !others; k++)
		if (m->fresh[k].t == above && m->fresh[k].level == up && m->fresh[k].index == at && !m->fresh[k].final)
			return;
	if (m->nfresh < PENDING && (t->cls == CLASS_FILE || !level))
		m->fresh[m->nfresh++] = (struct fresh){.t = t, .index = index, .from = from, .level = level};
}

// The walk changes this node no more.
static void finish(struct reloc *m, const struct tree *t, u32 level, u64 index)
{
	for (u32 k = 0; k < m->nfresh; k++)
		if (m->fresh[k].t == t && m->fresh[k].level == level && m->fresh[k].index == index)
			m->fresh[k].final = true;
}

// Writes everything out and notes where the copies went that the walk is through with.
static int settle(struct seal_vol *v)
{
	struct reloc *m = v->reloc;
	int r = sv_nodes_writeback(v, CLASS_FILE);
	if (!r)
		r = sv_inodes_writeback(v);
	if (!r)
		r = sv_nodes_writeback(v, CLASS_ITAB);
	u32 left = 0;
	for (u32 k = 0; k < m->nfresh && !r; k++) {
		struct fresh f = m->fresh[k];
		struct node *holder;
		struct d_ptr *slot;
		if (!f.final) {
			m->fresh[left++] = f;
			continue;
		}
		r = sv_tree_slot(v, f.t, f.level, f.index, NODE_READ, &slot, &holder);
		if (r)
			break;
		if (slot && ptr_addr(slot))
			map_add(v, f.from, slot);
		sv_node_put(v, holder);
	}
	m->nfresh = left;
	return r;
}

static bool must_move(const struct seal_vol *v, const struct d_ptr *p)
{
	return ptr_addr(p) && (ptr_addr(p) >= v->reloc->limit ||
			       (v->reloc->rekey && p->session < v->nsessions && v->sessions[p->session].era != v->era));
}

// Room for what follows; commits where that frees some.
static int breathe(struct seal_vol *v)
{
	v->reloc->seen++;
	if (v->reloc->nfresh > PENDING / 2 || v->ndirty > 256) {
		int r = settle(v);
		if (r)
			return r;
	}
	return sv_op_begin(v, 16, true);
}

static int move_node(struct seal_vol *v, struct tree *t, u32 level, u64 index)
{
	struct node *n;
	int r = breathe(v);
	if (!r)
		r = sv_node_get(v, t, level, index, NODE_WRITE, &n);
	if (r)
		return r;
	sv_node_put(v, n);
	v->reloc->moved++;
	return 0;
}

// The pointer names a block that has moved for somebody else: 1 when it was turned to the copy.
static int follow(struct seal_vol *v, struct tree *t, u32 level, u64 index, u64 addr)
{
	struct moved *e = map_find(v->reloc, addr);
	struct node *holder;
	struct d_ptr *slot;
	if (!e)
		return 0;
	int r = breathe(v);
	e = map_find(v->reloc, addr); // a commit may have been made
	if (r || !e)
		return r;
	struct d_ptr to = e->to, old;
	r = sv_tree_slot(v, t, level, index, NODE_WRITE, &slot, &holder);
	if (r)
		return r;
	old = *slot;
	r = sv_refs_add(v, ptr_addr(&to), 1);
	if (!r) {
		*slot = to;
		sv_tree_drop_under(v, t, level, index);
		r = sv_drop_subtree(v, t->cls, level, &old);
	}
	sv_node_put(v, holder);
	v->reloc->moved++;
	return r ? vol_abort(v, r) : 1;
}

static int visit(struct seal_vol *v, struct tree *t, u32 level, u64 index)
{
	struct node *n, *holder;
	struct d_ptr *slot, p = {0};
	int r = sv_tree_slot(v, t, level, index, NODE_READ, &slot, &holder);
	if (r)
		return r;
	if (slot)
		p = *slot;
	sv_node_put(v, holder);
	if (!slot || (!ptr_addr(&p) && !(level && sv_node_find(v, t, level, index))))
		return 0;
	n = sv_node_find(v, t, level, index);
	r = ptr_addr(&p) && !(n && n->dirty) ? follow(v, t, level, index, ptr_addr(&p)) : 0;
	if (r)
		return r < 0 ? r : 0;
	if (level && level != LEVEL_XATTR) {
		r = sv_node_get(v, t, level, index, NODE_READ, &n);
		if (r || !n)
			return r;
		for (u64 k = 0; k < FANOUT && !r; k++)
			if (!ptr_none((struct d_ptr *)n->data + k) || sv_node_find(v, t, level - 1, index * FANOUT + k))
				r = visit(v, t, level - 1, index * FANOUT + k);
		sv_node_put(v, n);
	}
	n = sv_node_find(v, t, level, index);
	if (!r && must_move(v, &p) && !(n && n->dirty)) { // it may have moved with what is below it
		r = sv_tree_slot(v, t, level, index, NODE_READ, &slot, &holder);
		bool still = !r && slot && must_move(v, slot);
		if (!r)
			sv_node_put(v, holder);
		if (still)
			r = move_node(v, t, level, index);
	}
	finish(v->reloc, t, level, index);
	return r;
}

static int visit_inode(struct seal_vol *v, u64 ino)
{
	struct seal_inode *i;
	int r = sv_inode_get(v, ino, &i);
	if (r)
		return r == -ESTALE ? 0 : r; // free
	for (u32 k = 0; k < NROOT && !i->is_inline && !r; k++)
		r = visit(v, &i->tree, i->tree.height, k);
	if (!r)
		r = visit(v, &i->tree, LEVEL_XATTR, 0);
	bool copied = false; // what the map shall know of it has to be known before it may go
	for (u32 k = 0; k < v->reloc->nfresh; k++)
		copied = copied || v->reloc->fresh[k].t == &i->tree;
	if (!r && copied)
		r = settle(v);
	sv_inode_put(v, i);
	return r;
}

// A block of eight inodes, with all that is theirs, of one inode table.
static int visit_leaf(struct seal_vol *v, struct view *w, u64 leaf)
{
	struct tree *t = w ? &w->itab : &v->itab;
	struct node *n, *holder;
	struct d_ptr *slot, p = {0};
	if (leaf >= sv_tree_limit(t->height))
		return 0;
	int r = sv_tree_slot(v, t, 0, leaf, NODE_READ, &slot, &holder);
	if (r)
		return r;
	if (slot)
		p = *slot;
	sv_node_put(v, holder);
	n = sv_node_find(v, t, 0, leaf);
	if (!ptr_addr(&p) && !n)
		return 0;
	r = ptr_addr(&p) && !(n && n->dirty) ? follow(v, t, 0, leaf, ptr_addr(&p)) : 0;
	if (r)
		return r < 0 ? r : sv_inodes_reload(v, w, leaf);
	for (u64 k = 0; k < INODES_PER_BLOCK && !r; k++)
		r = visit_inode(v, (leaf * INODES_PER_BLOCK + k) | (w ? (u64)w->id << VIEW_SHIFT : 0));
	if (!r)
		r = sv_tree_slot(v, t, 0, leaf, NODE_READ, &slot, &holder);
	if (r)
		return r;
	bool move = slot && must_move(v, slot);
	sv_node_put(v, holder);
	if (move)
		r = move_node(v, t, 0, leaf);
	finish(v->reloc, t, 0, leaf);
	return r ? r : settle(v);
}

// The blocks at `level` and above of a tree that nobody shares, or whose lower levels have been visited.
static int visit_upper(struct seal_vol *v, struct tree *t, u32 level, u64 index, u32 lowest)
{
	struct node *n, *holder;
	struct d_ptr *slot, p = {0};
	int r = sv_tree_slot(v, t, level, index, NODE_READ, &slot, &holder);
	if (r)
		return r;
	if (slot)
		p = *slot;
	sv_node_put(v, holder);
	if (!ptr_addr(&p))
		return 0; // new, or none
	if (level > lowest) {
		r = sv_node_get(v, t, level, index, NODE_READ, &n);
		for (u64 k = 0; k < FANOUT && !r; k++)
			r = visit_upper(v, t, level - 1, index * FANOUT + k, lowest);
		sv_node_put(v, n);
	}
	n = sv_node_find(v, t, level, index);
	return !r && must_move(v, &p) && !(n && n->dirty) ? move_node(v, t, level, index) : r;
}

static int visit_uppers(struct seal_vol *v, struct tree *t, u32 lowest)
{
	int r = 0;
	for (u32 k = 0; k < NROOT && t->height >= lowest && !r; k++)
		r = visit_upper(v, t, t->height, k, lowest);
	return r;
}

// After all files: what is above them, and the volume's own trees.
static int visit_rest(struct seal_vol *v)
{
	int r = visit_uppers(v, &v->itab, 1);
	for (struct list *e = v->views.next; e != &v->views && !r; e = e->next)
		r = visit_uppers(v, &LIST_ENTRY(e, struct view, link)->itab, 1);
	if (!r)
		r = visit_uppers(v, &v->snaps, 0);
	if (!r)
		r = visit_uppers(v, &v->refs, 0);
	if (!r)
		r = visit_uppers(v, &v->bmap, 0);
	for (u32 k = 0; k < v->ntables && !r; k++)
		if (v->tables[k].ptr.addr >= v->reloc->limit)
			v->tables[k].dirty = true;
	return r;
}

void sv_reloc_end(struct seal_vol *v)
{
	struct reloc *m = v->reloc;
	if (!m)
		return;
	for (u32 k = 0; k < MAP_BUCKETS; k++)
		while (m->from[k])
			map_remove(v, m->from[k]);
	vol_free(v, m, sizeof *m);
	v->reloc = NULL;
}

static int reloc_begin(struct seal_vol *v)
{
	if (v->reloc)
		return 0;
	v->reloc = vol_alloc(v, sizeof *v->reloc);
	if (!v->reloc)
		return -ENOMEM;
	memset(v->reloc, 0, sizeof *v->reloc);
	v->reloc->max_map = v->max_nodes * SEAL_BLOCK / sizeof(struct moved) / 4;
	return 0;
}

int sv_reloc_step(struct seal_vol *v, u64 budget, u64 *done, u64 *total)
{
	int r = reloc_begin(v);
	if (!r)
		r = sv_views_load(v);
	if (r)
		return r;
	struct reloc *m = v->reloc;
	m->limit = v->shrink_to ? v->shrink_to : ~0ul;
	m->rekey = root_has_old(v);
	m->seen = 0;
	u64 last = v->next_ino;
	for (struct list *e = v->views.next; e != &v->views; e = e->next)
		last = SEAL_MAX(last, LIST_ENTRY(e, struct view, link)->next_ino);
	u64 leaves = last / INODES_PER_BLOCK + 1, moved = m->moved;
	v->moving = true;
	for (; m->leaf < leaves && !r && m->moved - moved + m->seen < budget; m->leaf++) {
		m->seen++;
		r = visit_leaf(v, NULL, m->leaf);
		for (struct list *e = v->views.next; e != &v->views && !r; e = e->next)
			r = visit_leaf(v, LIST_ENTRY(e, struct view, link), m->leaf);
	}
	if (!r && m->leaf >= leaves)
		r = visit_rest(v);
	if (!r)
		r = settle(v);
	m->nfresh = 0;
	v->moving = false;
	*done = m->leaf;
	*total = leaves;
	if (!r)
		r = vol_commit(v, false);
	if (r)
		sv_reloc_end(v); // the map may name what is not committed
	if (r || m->leaf < leaves)
		return r ? r : 1;
	// One pass is done. What others did meanwhile may call for another.
	bool idle = m->moved == m->pass_moved;
	m->pass_moved = m->moved;
	m->leaf = 0;
	r = sv_reloc_left(v);
	if (r > 0 && idle)
		r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->bmap, 0, 0, 0);
	if (r <= 0)
		sv_reloc_end(v);
	return r;
}
