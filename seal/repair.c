// SPDX-License-Identifier: Apache-2.0
// Mends what a check of a whole volume found (seal/fsck.c). First free space, reference counts and session counts are made
// anew from what the trees refer to, so that everything after that can allocate and free as usual; then references to
// blocks that do not authenticate are dropped, in the live tree, in snapshots and in clones; then names and links are set
// right (seal/repair_names.c). Nothing that the committed root can still read is overwritten before the new one is
// written, so a repair can be interrupted and begun anew. Takes the volume's lock for the whole run.
#include "seal/check.h"

#define SEARCH_BLOCKS (1ul << 24) // of directories, for the paths of what is lost; then it is told by number
#define MAX_PASSES 8 // each mends what only showed when the one before was done

// --- free space and counts

// The tree is empty; what it was made of stays until the next root is there.
static void tree_reset(struct seal_vol *v, struct tree *t)
{
	sv_tree_drop(v, t);
	memset(t->root, 0, sizeof t->root);
	t->height = 0;
}

static int map_leaf(struct check *c, u64 leaf)
{
	struct seal_vol *v = c->v;
	u64 base = leaf * BITS_PER_BLOCK, n = SEAL_MIN(BITS_PER_BLOCK, v->hiwater - base);
	struct node *b = NULL;
	int r = 0;
	for (u64 k = 0; k < n && !r; k++) {
		bool own = check_bit(c->own, base + k);
		if (own)
			r = sv_space_keep(v, base + k);
		if (own || !check_bit(c->seen, base + k))
			continue;
		if (!b)
			r = sv_node_get(v, &v->bmap, 0, leaf, NODE_WRITE, &b);
		if (!r) {
			b->data[k / 8] |= (u8)(1u << (k % 8));
			v->used++;
		}
	}
	sv_node_put(v, b);
	return r;
}

static int make_map(struct check *c)
{
	struct seal_vol *v = c->v;
	int r = 0;
	s64 size = v->io.size(v->io.ctx);
	for (u64 top = v->hiwater; top > v->end; top--) // what is in use lies within the file, unless that is cut short
		if (check_bit(c->seen, top - 1) && top * SEAL_BLOCK <= (u64)SEAL_MAX(size, 0))
			v->end = top;
	tree_reset(v, &v->bmap);
	v->used = 0;
	v->longest = ~0ul;
	r = sv_grow_unmended(v);
	if (!r)
		r = sv_tree_grow(v, &v->bmap, (v->max_blocks - 1) / BITS_PER_BLOCK);
	for (u64 leaf = 0; leaf * BITS_PER_BLOCK < v->hiwater && !r; leaf++)
		r = map_leaf(c, leaf);
	return r;
}

static int make_refs(struct check *c)
{
	struct seal_vol *v = c->v;
	int r = 0;
	tree_reset(v, &v->refs);
	for (u64 leaf = 0; leaf < c->extra_pages && !r; leaf++) {
		struct node *b;
		if (!c->extra[leaf])
			continue;
		r = sv_tree_grow(v, &v->refs, leaf);
		if (!r)
			r = sv_node_get(v, &v->refs, 0, leaf, NODE_WRITE, &b);
		if (!r) {
			memcpy(b->data, c->extra[leaf], SEAL_BLOCK);
			sv_node_put(v, b);
		}
	}
	v->nshared = c->shared;
	v->reserved = c->reserved;
	return r;
}

static void make_sessions(struct check *c)
{
	struct seal_vol *v = c->v;
	for (u32 k = 0; k < v->nsessions; k++) {
		struct session *s = &v->sessions[k];
		s->live = c->live[k] - c->own_live[k];
		if (s->used && !s->live && k != v->cur && !c->differ) {
			explicit_bzero(s, sizeof *s);
			sv_session_forget_keys(v);
		}
	}
	for (u32 k = 0; k < v->ntables; k++)
		v->tables[k].dirty = true;
	v->tables_lost = 0;
}

int sv_repair_counts(struct seal_vol *v)
{
	static const struct seal_checker quiet;
	struct seal_fsck_stats st = {0};
	struct check c = {.v = v, .how = &quiet, .st = &st};
	u32 lost = v->tables_lost; // what will be mended is still to be told
	int r = check_begin(&c);
	if (!r)
		r = check_walk(&c);
	if (!r)
		r = make_map(&c);
	if (!r)
		r = make_refs(&c);
	if (!r) {
		c.live[v->log.session]++; // its key is needed for the log
		make_sessions(&c);
		v->tables_lost = lost;
	}
	check_end(&c);
	return r;
}

// --- what does not authenticate

static struct view *view_of(struct seal_vol *v, u32 id)
{
	struct view *w = NULL;
	return id && !sv_view_get(v, id, &w) ? w : NULL;
}

// One reference less to a block that nobody can read; *slot becomes what `with` says. The slot is writable.
static int drop(struct seal_vol *v, const struct damage *d, struct d_ptr *slot, u64 with)
{
	int r = 0;
	if (d->counted)
		r = d->cls <= CLASS_ITAB ? sv_space_free(v, slot) : sv_space_free_sole(v, slot);
	memset(slot, 0, sizeof *slot);
	if (with)
		ptr_set(slot, 0, with, 0);
	return r;
}

static int drop_in(struct seal_vol *v, struct tree *t, const struct damage *d, u64 with)
{
	struct node *holder;
	struct d_ptr *slot;
	int r = sv_op_begin(v, 32, true);
	if (!r)
		r = sv_tree_slot(v, t, d->level, d->index, NODE_WRITE, &slot, &holder);
	if (r)
		return r;
	if (slot && ptr_addr(slot))
		r = drop(v, d, slot, with);
	sv_node_put(v, holder);
	return r;
}

static int mend_table(struct check *c, const struct damage *d)
{
	struct seal_vol *v = c->v;
	struct view *w = view_of(v, d->view);
	if (d->view && !w)
		return 0;
	int r = drop_in(v, w ? &w->itab : &v->itab, d, 0);
	u64 n = INODES_PER_BLOCK << (7 * d->level);
	if (!r)
		check_repaired(c, "inodes %lu to %lu%s%s are lost", d->index * n, d->index * n + n - 1, w ? " of snapshot " : "",
			       w ? w->name : "");
	return r;
}

static int recount(struct check *c, struct seal_inode *i)
{
	u64 n = 0;
	int r = 0;
	for (u32 k = 0; k < NROOT && !i->is_inline && !r; k++)
		r = sv_tree_count(c->v, &i->tree, i->tree.height, k, &i->tree.root[k], &c->counted, false, &n);
	if (!r)
		r = sv_tree_count(c->v, &i->tree, LEVEL_XATTR, 0, &i->xattr, &c->counted, false, &n);
	if (r || n == i->blocks)
		return r;
	r = sv_inode_dirty(c->v, i);
	i->blocks = n;
	return r;
}

// All damage of one inode, d[0..n-1].
static int mend_inode(struct check *c, const struct damage *d, u32 n)
{
	struct seal_vol *v = c->v;
	struct seal_inode *i;
	bool cut = false, contents = false;
	u64 ino = d->ino;
	if (d->level == LEVEL_INODE) {
		check_repaired(c, "inode %lu made no sense and is dropped", ino & VIEW_INO);
		int e = sv_op_begin(v, 16, true);
		return e ? e : sv_inode_erase(v, ino, 0);
	}
	int r = sv_inode_get(v, ino, &i);
	if (r)
		return r == -ESTALE ? 0 : r;
	bool reg = sv_inode_is(i, T_REG);
	for (u32 k = 0; k < n && !r; k++) {
		bool xattr = d[k].level == LEVEL_XATTR;
		r = drop_in(v, &i->tree, &d[k], reg && !xattr ? CTR_LOST : 0);
		contents = contents || !xattr;
		cut = cut || (!xattr && d[k].level);
	}
	if (!r && reg && cut) { // what was named beyond the end is not missed
		r = sv_op_begin(v, 32, true);
		if (!r)
			r = sv_tree_free_range(v, &i->tree, i->size / SEAL_BLOCK + (i->size % SEAL_BLOCK != 0), ~0ul);
	}
	if (!r && sv_inode_is(i, T_DIR) && contents)
		r = repair_dir(c, i);
	if (!r && sv_inode_is(i, T_LNK) && contents) {
		check_repaired(c, "symbolic link %lu has lost its target and is dropped", ino & VIEW_INO);
		r = sv_tree_free_range(v, &i->tree, 0, ~0ul);
		if (!r && ptr_addr(&i->xattr))
			r = sv_space_free(v, &i->xattr);
		if (!r)
			r = sv_inode_erase(v, ino, 0);
		sv_inode_forget(v, i);
		return r;
	}
	if (!r)
		r = recount(c, i);
	if (c->more && (r == SEAL_ETAMPER || r == SEAL_ECORRUPT)) // there is more of it than is noted: the next pass mends that
		r = 0;
	sv_inode_put(v, i);
	return r;
}

static int mend_damage(struct check *c)
{
	struct seal_vol *v = c->v;
	int r = 0;
	for (u32 k = 0, n; k < c->ndamage && !r; k += n) {
		const struct damage *d = &c->damage[k];
		for (n = 1; d->cls == CLASS_FILE && k + n < c->ndamage && d[n].cls == CLASS_FILE && d[n].ino == d->ino;)
			n++;
		if (d->cls == CLASS_FILE)
			r = mend_inode(c, d, n);
		else if (d->cls == CLASS_ITAB)
			r = mend_table(c, d);
		else if (d->cls == CLASS_SNAP)
			r = drop_in(v, &v->snaps, d, 0);
	}
	return r;
}

// The live inode table ends before the block `first`. What the inodes behind it held shows as unused in the next pass.
static int cut_table(struct seal_vol *v, u64 first)
{
	struct tree *t = &v->itab;
	int r = 0;
	for (u32 level = t->height; !r; level--) {
		struct node *holder;
		struct d_ptr *slot;
		u64 unit = 1ul << (7 * level), at = first / unit, end = level == t->height ? NROOT : (at / FANOUT + 1) * FANOUT;
		for (u64 k = at + (first % unit != 0); k < end && !r; k++) {
			const struct damage d = {.cls = CLASS_ITAB, .level = level, .index = k, .counted = true};
			sv_tree_drop_under(v, t, level, k);
			r = drop_in(v, t, &d, 0);
		}
		if (r || first % unit == 0 || at >= end)
			break;
		r = sv_tree_slot(v, t, level, at, NODE_READ, &slot, &holder);
		bool there = !r && slot && ptr_addr(slot);
		sv_node_put(v, holder);
		if (!there)
			break;
	}
	return r;
}

// More inodes than the volume has room for were made by nobody; those that the root does not count are looked at in the next pass.
static int mend_numbers(struct check *c)
{
	struct seal_vol *v = c->v;
	u64 most = v->hiwater * INODES_PER_BLOCK;
	int r = 0;
	if (c->last_ino >= most) {
		r = cut_table(v, v->hiwater);
		if (!r)
			check_repaired(c, "inodes from %lu on are more than the volume has room for: they are dropped", most);
	}
	v->next_ino = SEAL_MAX(v->next_ino, SEAL_MIN(c->last_ino + 1, most));
	return r;
}

// Snapshots whose place in the table is gone.
static int mend_snapshots(struct check *c)
{
	u32 n = 0;
	for (struct list *e = c->v->views.next; e != &c->v->views; e = e->next)
		n++;
	if (n < c->v->nsnaps)
		check_repaired(c, "%u snapshots are lost", c->v->nsnaps - n);
	c->v->nsnaps = n;
	return 0;
}

static int mend_block_counts(struct check *c)
{
	int r = 0;
	for (u64 ino = SEAL_ROOT_INO; ino < c->v->next_ino && !r; ino++) {
		struct seal_inode *i;
		if (sv_inode_get(c->v, ino, &i))
			continue;
		r = sv_op_begin(c->v, 16, true);
		if (!r)
			r = recount(c, i);
		if (c->more && (r == SEAL_ETAMPER || r == SEAL_ECORRUPT)) // the next pass mends it
			r = 0;
		sv_inode_put(c->v, i);
	}
	return r;
}

// --- what is told of it at the end: by name
static void tell_log(struct check *c, u64 *budget)
{
	struct log_lost *l = c->v->log_lost;
	char path[1100];
	if (l->all)
		check_repaired(c, "what was synced after the newest root could not be gone through: it is lost");
	if (l->cut)
		check_repaired(c, "a part of what was synced after the newest root cannot be read by the host: it and what follows it are lost");
	for (u32 k = 0; k < l->n; k++) {
		if (sv_path(c->v, l->of[k].ino, 0, path, sizeof path, budget))
			snprintf(path, sizeof path, "inode %lu", l->of[k].ino);
		check_repaired(c, "%s: %u pages%s that were synced after the newest root are lost", path, l->of[k].pages,
			       l->of[k].attributes ? " and attributes" : "");
	}
	if (l->others)
		check_repaired(c, "so are changes of %lu other inodes", l->others);
	vol_free(c->v, l, sizeof *l);
	c->v->log_lost = NULL;
}

static void tell_lost(struct check *c, u64 *budget)
{
	char path[1100];
	for (u32 k = 0; k < c->ndamage; k++) {
		const struct damage *d = &c->damage[k];
		struct seal_inode *i;
		struct view *w = view_of(c->v, (u32)(d->ino >> VIEW_SHIFT));
		if (d->cls != CLASS_FILE || d->level == LEVEL_INODE || sv_inode_get(c->v, d->ino, &i))
			continue;
		u32 up = d->level == LEVEL_XATTR ? 0 : d->level;
		u64 from = (d->index << (7 * up)) * SEAL_BLOCK, len = (u64)SEAL_BLOCK << (7 * up), size = i->size;
		if (sv_path(c->v, d->ino, d->dir, path, sizeof path, budget))
			snprintf(path, sizeof path, "inode %lu", d->ino & VIEW_INO);
		if (d->level == LEVEL_XATTR)
			check_repaired(c, "%s%s%s: its extended attributes are lost", w ? w->name : "", w ? ":" : "", path);
		else if (sv_inode_is(i, T_REG) && from < size)
			check_repaired(c, "%s%s%s: bytes %lu to %lu are lost; reading them is an error until they are written again",
				       w ? w->name : "", w ? ":" : "", path, from, SEAL_MIN(size, from + len) - 1);
		sv_inode_put(c->v, i);
	}
}

static int mend(struct check *c)
{
	struct seal_vol *v = c->v;
	bool map = v->used != c->marked || v->log_lost, second = v->fell_back;
	u64 budget = SEARCH_BLOCKS;
	sv_inodes_drop_all(v); // what was read before may not be what is there
	sv_tree_drop(v, &v->itab);
	sv_tree_drop(v, &v->snaps);
	for (struct list *e = v->views.next; e != &v->views; e = e->next)
		sv_tree_drop(v, &LIST_ENTRY(e, struct view, link)->itab);
	v->next_ino = SEAL_MIN(v->next_ino, c->names_max - 1);
	int r = make_map(c);
	if (!r)
		r = make_refs(c);
	if (r)
		return r;
	make_sessions(c);
	vol_changed(v);
	v->moving = true; // snapshots may be changed
	r = mend_snapshots(c);
	if (!r)
		r = mend_damage(c);
	if (!r)
		r = mend_block_counts(c);
	if (!r && c->more)
		check_repaired(c, "damaged blocks are named in more than %u places: the rest waits for the next pass", DAMAGE_MAX);
	else if (!r)
		r = repair_names(c);
	if (!r && !c->more)
		r = mend_numbers(c);
	v->moving = false;
	if (!r)
		r = vol_commit(v, true);
	if (r)
		return r;
	v->fell_back = v->root_unread = v->cut_short = false;
	if (map)
		check_repaired(c, "the free space map was made anew");
	if (second)
		check_repaired(c, "both roots are written anew");
	if (v->log_lost)
		tell_log(c, &budget);
	tell_lost(c, &budget);
	return 0;
}

s64 seal_repair(struct seal_vol *v, const struct seal_checker *how, struct seal_fsck_stats *st)
{
	s64 left = 1;
	u64 repairs = 0;
	vol_lock(v);
	int r = v->failed ? v->failed : v->read_only ? -EROFS : v->repairing ? 0 : -EINVAL;
	if (!r && v->unclaimed)
		r = -EBUSY;
	memset(st, 0, sizeof *st);
	for (int pass = 0; pass < MAX_PASSES && left && !r; pass++) {
		struct seal_fsck_stats now = {.repairs = repairs};
		struct check c = {.v = v, .how = how, .st = &now};
		r = check_begin(&c);
		if (!r)
			r = check_all(&c);
		left = r ? left : (s64)now.findings;
		if (!r && left)
			r = mend(&c);
		check_end(&c);
		repairs = now.repairs;
		if (!pass)
			*st = now;
	}
	if (!r && !left && v->grow_to) { // there was nothing to mend
		r = sv_grow_unmended(v);
		if (!r)
			r = vol_commit(v, true);
	}
	st->repairs = repairs;
	if (r && r != -EINTR)
		vol_abort(v, r);
	vol_unlock(v);
	return r ? r : left;
}
