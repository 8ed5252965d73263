// SPDX-License-Identifier: Apache-2.0
// Snapshots: the roots of the inode table as they were at a commit, each with one more reference (seal/refs.c), in a
// small table of their own. A deleted one is only marked; what nobody else holds is freed in pieces by seal_work, and
// going back to a snapshot makes the former live tree such a deleted one. Inodes of a snapshot are seen through a
// `view`, whose id is in the upper bits of their numbers. Takes the volume's lock in the public functions.
#include "seal/root.h"

#define FIRST_COOKIE 256ul

static bool name_valid(const char *name, u32 len)
{
	return len && len <= SEAL_SNAPNAME_MAX && !memchr(name, '/', len) && !memchr(name, 0, len) &&
	       !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

// --- the table
static int place_of(struct seal_vol *v, u32 slot, u32 mode, struct node **b, struct d_snap **d)
{
	*d = NULL;
	int r = mode == NODE_WRITE ? sv_tree_grow(v, &v->snaps, slot / SNAPS_PER_BLOCK) : 0;
	if (!r)
		r = sv_node_get(v, &v->snaps, 0, slot / SNAPS_PER_BLOCK, mode, b);
	if (!r && *b)
		*d = (struct d_snap *)(*b)->data + slot % SNAPS_PER_BLOCK;
	return r;
}

static struct view *view_new(struct seal_vol *v, u32 id, u32 slot)
{
	struct view *w = vol_alloc(v, sizeof *w);
	if (!w)
		return NULL;
	memset(w, 0, sizeof *w);
	sv_tree_init(&w->itab, CLASS_ITAB, NULL);
	w->itab.view = w;
	w->id = id;
	w->slot = slot;
	list_add_tail(&v->views, &w->link);
	return w;
}

static void view_drop(struct seal_vol *v, struct view *w)
{
	list_del(&w->link);
	sv_tree_drop(v, &w->itab);
	explicit_bzero(w, sizeof *w);
	vol_free(v, w, sizeof *w);
}

static int view_decode(struct seal_vol *v, const struct d_snap *d, u32 slot)
{
	bool sane = d->id <= v->next_view && d->name_len <= SEAL_SNAPNAME_MAX && d->itab.height <= MAX_HEIGHT &&
		    d->next_ino <= VIEW_INO && (d->dying || name_valid((const char *)d->name, d->name_len));
	struct view *w = sane ? view_new(v, d->id, slot) : NULL;
	if (!w)
		return sane ? -ENOMEM : vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->snaps, 0, slot / SNAPS_PER_BLOCK, 0);
	w->dying = d->dying;
	w->name_len = d->name_len;
	memcpy(w->name, d->name, d->name_len);
	w->generation = d->generation;
	w->created = d->created;
	w->next_ino = d->next_ino;
	w->free_ino = d->free_ino;
	w->inodes = d->inodes;
	w->itab.height = (u8)d->itab.height;
	memcpy(w->itab.root, d->itab.root, sizeof w->itab.root);
	return 0;
}

static void view_encode(const struct view *w, struct d_snap *d)
{
	memset(d, 0, sizeof *d);
	d->id = w->id;
	d->dying = w->dying;
	d->name_len = w->name_len;
	memcpy(d->name, w->name, w->name_len);
	d->generation = w->generation;
	d->created = w->created;
	d->next_ino = w->next_ino;
	d->free_ino = w->free_ino;
	d->inodes = w->inodes;
	d->itab.height = w->itab.height;
	memcpy(d->itab.root, w->itab.root, sizeof d->itab.root);
}

int sv_views_load(struct seal_vol *v)
{
	u32 found = 0;
	int r = 0;
	if (v->views_loaded)
		return 0;
	for (u32 slot = 0; slot < MAX_SNAPSHOTS && found < v->nsnaps && !r; slot++) {
		struct node *b;
		struct d_snap *d;
		r = place_of(v, slot, NODE_READ, &b, &d);
		if (r && r != -ENOMEM && v->repairing) {
			r = 0;
			continue;
		}
		if (!r && d && d->id) {
			r = view_decode(v, d, slot);
			found += !r;
			if (r != -ENOMEM && v->repairing)
				r = 0;
		}
		if (!r)
			sv_node_put(v, b);
	}
	if (!r && found != v->nsnaps && !v->repairing)
		r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->snaps, 0, 0, 0);
	if (r)
		sv_views_drop(v);
	else
		v->views_loaded = true;
	return r;
}

void sv_views_drop(struct seal_vol *v)
{
	while (v->views.next && !list_empty(&v->views))
		view_drop(v, LIST_ENTRY(v->views.next, struct view, link));
	v->views_loaded = false;
}

int sv_view_dirty(struct seal_vol *v, struct view *w)
{
	struct node *b;
	struct d_snap *d;
	if (w->dirty)
		return 0;
	int r = place_of(v, w->slot, NODE_WRITE, &b, &d);
	if (r)
		return r;
	sv_node_put(v, b);
	w->dirty = true;
	return 0;
}

int sv_views_writeback(struct seal_vol *v)
{
	for (struct list *e = v->views.next; e != &v->views; e = e->next) {
		struct view *w = LIST_ENTRY(e, struct view, link);
		struct node *b;
		struct d_snap *d;
		if (!w->dirty)
			continue;
		int r = place_of(v, w->slot, NODE_WRITE, &b, &d);
		if (r)
			return r;
		view_encode(w, d);
		sv_node_put(v, b);
		w->dirty = false;
	}
	return 0;
}

int sv_view_get(struct seal_vol *v, u32 id, struct view **out)
{
	int r = sv_views_load(v);
	for (struct list *e = v->views.next; !r && e != &v->views; e = e->next) {
		*out = LIST_ENTRY(e, struct view, link);
		if ((*out)->id == id && (!(*out)->dying || v->moving || v->repairing))
			return 0;
	}
	return r ? r : -ESTALE;
}

static int view_named(struct seal_vol *v, const char *name, u32 len, struct view **out)
{
	int r = sv_views_load(v);
	for (struct list *e = v->views.next; !r && e != &v->views; e = e->next) {
		*out = LIST_ENTRY(e, struct view, link);
		if (!(*out)->dying && (*out)->name_len == len && !memcmp((*out)->name, name, len))
			return 0;
	}
	return r ? r : -ENOENT;
}

// A new snapshot with the inode table `t`, whose roots get one more reference. Nothing is dirty.
static int view_add(struct seal_vol *v, const char *name, u32 len, const struct tree *t, struct view **out)
{
	u32 slot = 0;
	int r = sv_views_load(v);
	if (r)
		return r;
	if (v->nsnaps >= MAX_SNAPSHOTS || v->next_view >= MAX_VIEW_ID)
		return -EMLINK;
	for (struct list *e = v->views.next; e != &v->views;) { // the first free place
		if (LIST_ENTRY(e, struct view, link)->slot == slot) {
			slot++;
			e = v->views.next;
		} else
			e = e->next;
	}
	struct view *w = view_new(v, v->next_view + 1, slot);
	if (!w)
		return -ENOMEM;
	w->name_len = len;
	memcpy(w->name, name, len);
	w->created = (s64)v->env.now_ns(v->env.ctx);
	w->itab.height = t->height;
	memcpy(w->itab.root, t->root, sizeof w->itab.root);
	r = sv_view_dirty(v, w);
	for (u32 k = 0; k < NROOT && !r; k++)
		if (ptr_addr(&t->root[k]))
			r = sv_refs_add(v, ptr_addr(&t->root[k]), 1);
	v->next_view++;
	v->nsnaps++;
	*out = w;
	return r ? vol_abort(v, r) : 0;
}

int seal_snapshot_create(struct seal_vol *v, const char *name, u32 len)
{
	struct view *w;
	if (!name_valid(name, len))
		return len > SEAL_SNAPNAME_MAX ? -ENAMETOOLONG : -EINVAL;
	vol_lock(v);
	int r = sv_op_begin(v, 40 + sv_refs_reserve(v), false);
	if (!r) {
		r = view_named(v, name, len, &w);
		r = r == -ENOENT ? 0 : r ? r : -EEXIST;
	}
	if (!r && v->nsnaps >= MAX_SNAPSHOTS)
		r = -EMLINK;
	if (!r)
		r = vol_commit(v, false); // the roots of the inode table are what they will be
	if (!r)
		r = sv_op_begin(v, 40, false);
	if (!r)
		r = view_add(v, name, len, &v->itab, &w);
	if (!r) {
		w->generation = v->generation;
		w->next_ino = v->next_ino;
		w->free_ino = v->free_ino;
		w->inodes = v->inodes;
		r = vol_commit(v, false);
	}
	vol_unlock(v);
	return r;
}

static int kill_view(struct seal_vol *v, struct view *w)
{
	int r = sv_view_dirty(v, w);
	if (r)
		return r;
	w->dying = true;
	w->name_len = 0;
	sv_inodes_drop_view(v, w);
	return 0;
}

int seal_snapshot_delete(struct seal_vol *v, const char *name, u32 len)
{
	struct view *w;
	vol_lock(v);
	int r = sv_op_begin(v, 16, true);
	if (!r)
		r = view_named(v, name, len, &w);
	if (!r)
		r = kill_view(v, w);
	if (!r)
		r = vol_commit(v, false);
	vol_unlock(v);
	return r;
}

int seal_snapshot_rollback(struct seal_vol *v, const char *name, u32 len)
{
	struct view *w, *old;
	vol_lock(v);
	int r = sv_op_begin(v, 48, true);
	if (!r)
		r = view_named(v, name, len, &w);
	if (!r && (!sv_inodes_idle(v) || v->top))
		r = -EBUSY;
	if (!r)
		r = vol_commit(v, false);
	if (!r)
		r = sv_op_begin(v, 48, true);
	// The live tree becomes a deleted snapshot (which adds references), and gives up its own ones; so they only move.
	if (!r)
		r = view_add(v, "", 0, &(struct tree){0}, &old);
	if (r)
		goto out;
	old->dying = true;
	old->next_ino = v->next_ino;
	old->itab.height = v->itab.height;
	memcpy(old->itab.root, v->itab.root, sizeof old->itab.root);
	sv_inode_put(v, v->root);
	v->root = NULL;
	sv_inodes_drop_view(v, NULL);
	sv_tree_drop(v, &v->itab);
	v->itab.height = w->itab.height;
	memcpy(v->itab.root, w->itab.root, sizeof v->itab.root);
	v->next_ino = w->next_ino;
	v->free_ino = w->free_ino;
	v->inodes = w->inodes;
	for (u32 k = 0; k < NROOT && !r; k++)
		if (ptr_addr(&v->itab.root[k]))
			r = sv_refs_add(v, ptr_addr(&v->itab.root[k]), 1);
	if (!r)
		r = vol_commit(v, false);
	if (!r)
		r = sv_inode_get(v, SEAL_ROOT_INO, &v->root);
	if (!r)
		r = sv_orphans_reap(v); // files that were open and nameless when the snapshot was made
	if (r)
		vol_abort(v, r);
out:
	vol_unlock(v);
	return r;
}

int seal_snapshot_list(struct seal_vol *v, bool (*fn)(void *ctx, const struct seal_snapshot *s), void *ctx)
{
	vol_lock(v);
	int r = sv_views_load(v);
	for (struct list *e = v->views.next; !r && e != &v->views; e = e->next) {
		struct view *w = LIST_ENTRY(e, struct view, link);
		struct seal_snapshot s = {
			.id = w->id, .generation = w->generation, .created_ns = w->created, .inodes = w->inodes};
		if (w->dying)
			continue;
		memcpy(s.name, w->name, w->name_len);
		if (!fn(ctx, &s))
			break;
	}
	vol_unlock(v);
	return r;
}

// --- the directory ".snapshots"
bool sv_snapdir_named(const struct seal_vol *v, const struct seal_inode *dir, const char *name, u32 len)
{
	return dir == v->root && !v->top && len == sizeof SEAL_SNAPDIR - 1 && !memcmp(name, SEAL_SNAPDIR, len);
}

int sv_snapdir_lookup(struct seal_vol *v, const char *name, u32 len, struct seal_inode **out)
{
	struct view *w;
	int r = view_named(v, name, len, &w);
	return r ? r : sv_inode_get(v, (u64)w->id << VIEW_SHIFT | SEAL_ROOT_INO, out);
}

int sv_snapdir_iterate(struct seal_vol *v, u64 cookie, seal_emit emit, void *ctx)
{
	int r = sv_views_load(v);
	for (struct list *e = v->views.next; !r && e != &v->views; e = e->next) { // in the order of their ids
		struct view *w = LIST_ENTRY(e, struct view, link);
		if (!w->dying && FIRST_COOKIE + w->id > cookie &&
		    !emit(ctx, w->name, w->name_len, (u64)w->id << VIEW_SHIFT | SEAL_ROOT_INO, T_DIR, FIRST_COOKIE + w->id))
			break;
	}
	return r;
}

int sv_view_mount(struct seal_vol *v, const char *name, u32 len)
{
	return view_named(v, name, len, &v->top);
}

bool seal_same(struct seal_vol *v, const struct seal_inode *a, const struct seal_inode *b)
{
	vol_lock(v);
	bool clean = true;
	for (int k = 0; k < 2; k++) // a dirty node has contents that its pointer does not tell
		for (struct list *e = (k ? b : a)->tree.nodes.next; e != &(k ? b : a)->tree.nodes; e = e->next)
			clean = clean && !LIST_ENTRY(e, struct node, in_tree)->dirty;
	bool same = clean && a->size == b->size && a->is_inline == b->is_inline && a->tree.height == b->tree.height &&
		    !memcmp(a->tree.root, b->tree.root, sizeof a->tree.root) && !memcmp(&a->xattr, &b->xattr, sizeof a->xattr);
	vol_unlock(v);
	return same;
}

// --- freeing what a deleted snapshot held, and counting what only it holds
struct reaping {
	struct seal_vol *v;
	u64 *budget, found;
	bool count_only;
};

static int reap_slot(struct reaping *p, struct tree *t, u32 level, u64 index, struct d_ptr *slot);

// The blocks of one file of the snapshot, whose inode (in a block that only the snapshot holds) is d.
static int reap_file(struct reaping *p, struct d_inode *d)
{
	struct seal_vol *v = p->v;
	struct tree t;
	int r = 0;
	sv_tree_init(&t, CLASS_FILE, NULL);
	t.height = d->height;
	if (d->height > MAX_HEIGHT)
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->snaps, 0, 0, 0);
	memcpy(t.root, d->body, sizeof t.root);
	for (u32 k = 0; k < NROOT && !d->is_inline && !r; k++)
		r = reap_slot(p, &t, t.height, k, &t.root[k]);
	if (!r)
		r = reap_slot(p, &t, 0, 0, &d->xattr);
	sv_tree_drop(v, &t);
	return r;
}

static int reap_kids(struct reaping *p, struct tree *t, struct node *n)
{
	int r = 0;
	if (n->level)
		for (u32 k = 0; k < FANOUT && !r; k++)
			r = reap_slot(p, t, n->level - 1u, n->index * FANOUT + k, (struct d_ptr *)n->data + k);
	else if (t->cls == CLASS_ITAB)
		for (u32 k = 0; k < INODES_PER_BLOCK && !r; k++) {
			struct d_inode *d = (struct d_inode *)n->data + k;
			if (d->mode)
				r = reap_file(p, d);
			if (!r && !p->count_only)
				memset(d, 0, sizeof *d); // done, should the work be interrupted here
		}
	return r;
}

// One reference less to the block behind *slot; when it was the last, to what it names as well. Inode table blocks are
// made writable before, so that the work can stop between any two inodes. -EAGAIN: the budget is used up.
static int reap_slot(struct reaping *p, struct tree *t, u32 level, u64 index, struct d_ptr *slot)
{
	struct seal_vol *v = p->v;
	if (ptr_none(slot) && !sv_node_find(v, t, level, index))
		return 0;
	if (!p->count_only && t->cls == CLASS_ITAB && !*p->budget)
		return -EAGAIN;
	if (ptr_lost(slot)) {
		memset(slot, 0, p->count_only ? 0 : sizeof *slot);
		return 0;
	}
	s64 extra = ptr_addr(slot) ? sv_refs_extra(v, ptr_addr(slot)) : 0;
	if (extra < 0)
		return (int)extra;
	if (!p->count_only && ptr_reserved(slot))
		v->reserved--;
	if (!extra && (level || t->cls == CLASS_ITAB)) {
		struct node *n;
		bool write = t->cls == CLASS_ITAB && !p->count_only;
		int r = sv_node_get(v, t, level, index, write ? NODE_WRITE : NODE_READ, &n);
		if (r || !n)
			return r;
		r = reap_kids(p, t, n);
		sv_node_put(v, n);
		if (r)
			return r;
		if (!p->count_only || t->cls == CLASS_FILE)
			sv_node_drop(v, n);
	}
	p->found += !extra && ptr_addr(slot);
	if (p->count_only)
		return 0;
	if (extra)
		sv_tree_drop_under(v, t, level, index); // what was read of it is not this tree's any more
	*p->budget -= SEAL_MIN(*p->budget, 1ul);
	int r = ptr_addr(slot) ? sv_space_free(v, slot) : 0;
	if (!r)
		memset(slot, 0, sizeof *slot);
	return r;
}

int sv_drop_subtree(struct seal_vol *v, u32 cls, u32 level, struct d_ptr *p)
{
	u64 budget = ~0ul;
	struct reaping rp = {.v = v, .budget = &budget};
	struct tree t;
	if (!ptr_addr(p))
		return 0;
	sv_tree_init(&t, cls, NULL);
	t.height = (u8)(level == LEVEL_XATTR ? 0 : level);
	t.root[0] = *p;
	int r = reap_slot(&rp, &t, t.height, 0, &t.root[0]);
	sv_tree_drop(v, &t);
	return r;
}

static int reap_view(struct seal_vol *v, struct view *w, u64 *budget)
{
	struct reaping p = {.v = v, .budget = budget};
	struct node *b;
	struct d_snap *d;
	int r = sv_op_begin(v, 64, true);
	if (!r)
		r = sv_view_dirty(v, w);
	for (u32 k = 0; k < NROOT && !r; k++)
		r = reap_slot(&p, &w->itab, w->itab.height, k, &w->itab.root[k]);
	if (r)
		return r == -EAGAIN ? 1 : vol_abort(v, r);
	r = place_of(v, w->slot, NODE_WRITE, &b, &d);
	if (r)
		return vol_abort(v, r);
	memset(d, 0, sizeof *d);
	sv_node_put(v, b);
	v->nsnaps--;
	view_drop(v, w);
	return 0;
}

int sv_snaps_reap(struct seal_vol *v, u64 *budget)
{
	int r = v->nsnaps ? sv_views_load(v) : 0;
	for (struct list *e = v->views.next, *next; !r && e != &v->views; e = next) {
		struct view *w = LIST_ENTRY(e, struct view, link);
		next = e->next;
		if (w->dying)
			r = *budget ? reap_view(v, w, budget) : 1;
	}
	return r;
}

int seal_snapshot_usage(struct seal_vol *v, const char *name, u32 len, u64 *unique_blocks)
{
	struct reaping p = {.v = v, .count_only = true};
	struct view *w;
	vol_lock(v);
	int r = view_named(v, name, len, &w);
	for (u32 k = 0; k < NROOT && !r; k++)
		r = reap_slot(&p, &w->itab, w->itab.height, k, &w->itab.root[k]);
	*unique_blocks = p.found;
	vol_unlock(v);
	return r;
}
