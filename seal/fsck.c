// SPDX-License-Identifier: Apache-2.0
// Checks a mounted volume: authenticates every block of the committed state, snapshots included, and compares what the
// trees refer to with the free space map, the reference counts and the session counts; and, in the live tree, directory
// entries with inodes and link counts with names. Each block is gone through once, however many name it (seal/memo.c): what a
// volume costs goes by its blocks, whatever they say. Takes the volume's lock for the whole run.
#include "seal/check.h"

void check_finding(struct check *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	c->st->findings++;
	if (c->how->finding)
		c->how->finding(c->how->ctx, text);
}

void check_repaired(struct check *c, const char *fmt, ...)
{
	char text[1400]; // a path
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	c->st->repairs++;
	if (c->how->repair)
		c->how->repair(c->how->ctx, text);
}

int check_begin(struct check *c)
{
	struct seal_vol *v = c->v;
	c->seen_bytes = v->hiwater / 8 + 1;
	c->extra_pages = v->hiwater / REFS_PER_BLOCK + 1;
	c->names_max = SEAL_MIN(v->next_ino, v->hiwater * INODES_PER_BLOCK) + 1; // a repair may make one directory
	c->live_max = v->cap_sessions;
	c->seen = vol_alloc(v, c->seen_bytes);
	c->extra = vol_alloc(v, c->extra_pages * sizeof *c->extra);
	c->names = vol_alloc(v, c->names_max * sizeof *c->names);
	c->live = vol_alloc(v, c->live_max * sizeof *c->live);
	c->page = vol_alloc(v, SEAL_BLOCK);
	c->own = vol_alloc(v, c->seen_bytes);
	c->own_live = vol_alloc(v, c->live_max * sizeof *c->live);
	c->prints = vol_alloc(v, c->extra_pages * sizeof *c->prints);
	if (c->extra)
		memset(c->extra, 0, c->extra_pages * sizeof *c->extra);
	if (c->prints)
		memset(c->prints, 0, c->extra_pages * sizeof *c->prints);
	if (!c->prints || v->env.random(v->env.ctx, &c->seed, sizeof c->seed))
		return -ENOMEM;
	if (!c->seen || !c->extra || !c->names || !c->live || !c->page || !c->own || !c->own_live)
		return -ENOMEM;
	memset(c->seen, 0, c->seen_bytes);
	memset(c->own, 0, c->seen_bytes);
	memset(c->own_live, 0, c->live_max * sizeof *c->live);
	memset(c->names, 0, c->names_max * sizeof *c->names);
	memset(c->live, 0, c->live_max * sizeof *c->live);
	return 0;
}

void check_end(struct check *c)
{
	struct seal_vol *v = c->v;
	if (c->page)
		explicit_bzero(c->page, SEAL_BLOCK);
	for (u64 k = 0; c->extra && k < c->extra_pages; k++)
		vol_free(v, c->extra[k], REFS_PER_BLOCK * sizeof **c->extra);
	vol_free(v, c->extra, c->extra_pages * sizeof *c->extra);
	for (u64 k = 0; c->prints && k < c->extra_pages; k++)
		vol_free(v, c->prints[k], REFS_PER_BLOCK * sizeof **c->prints);
	vol_free(v, c->prints, c->extra_pages * sizeof *c->prints);
	vol_free(v, c->seen, c->seen_bytes);
	vol_free(v, c->own, c->seen_bytes);
	vol_free(v, c->bad, c->seen_bytes);
	vol_free(v, c->own_live, c->live_max * sizeof *c->live);
	vol_free(v, c->names, c->names_max * sizeof *c->names);
	vol_free(v, c->live, c->live_max * sizeof *c->live);
	vol_free(v, c->page, SEAL_BLOCK);
	vol_free(v, c->damage, c->cap_damage * sizeof *c->damage);
	sv_memo_end(v, &c->walked);
	sv_memo_end(v, &c->counted);
}

// The place of a block in such pages. NULL: no memory.
static u32 *by_block(struct check *c, u32 **pages, u64 addr)
{
	u32 **p = &pages[addr / REFS_PER_BLOCK];
	if (!*p) {
		*p = vol_alloc(c->v, REFS_PER_BLOCK * sizeof **p);
		if (!*p)
			return NULL;
		memset(*p, 0, REFS_PER_BLOCK * sizeof **p);
	}
	return *p + addr % REFS_PER_BLOCK;
}

static int extra_add(struct check *c, u64 addr)
{
	u32 *n = by_block(c, c->extra, addr);
	if (!n)
		return -ENOMEM;
	c->shared += !(*n)++;
	return 0;
}

static u32 print_of(const struct check *c, const struct d_ptr *p, u32 level)
{
	u64 h = c->seed + level, tag[2];
	memcpy(tag, p->tag, sizeof tag);
	const u64 parts[] = {ptr_ctr(p), p->session, tag[0], tag[1]};
	for (u32 k = 0; k < 4; k++) {
		h = (h ^ parts[k]) * 0x9e3779b97f4a7c15ul;
		h ^= h >> 29;
	}
	return (u32)(h >> 32) | 1;
}

// The first pointer to contents. Where others may follow it is noted, to be compared with theirs.
static int print_add(struct check *c, const struct d_ptr *p, u32 level)
{
	if (!c->v->nshared || !sv_refs_extra(c->v, ptr_addr(p)))
		return 0;
	u32 *print = by_block(c, c->prints, ptr_addr(p));
	if (!print)
		return -ENOMEM;
	*print = print_of(c, p, level);
	return 0;
}

static bool print_differs(const struct check *c, const struct d_ptr *p, u32 level)
{
	const u32 *page = c->prints[ptr_addr(p) / REFS_PER_BLOCK];
	u32 print = page ? page[ptr_addr(p) % REFS_PER_BLOCK] : 0;
	return print && print != print_of(c, p, level);
}

// A reference to the block. 1: it was met before, 0: not.
static int mark(struct check *c, u64 addr, u64 ino, bool shareable)
{
	if (addr >= c->v->hiwater)
		return 1; // of the session table, or the roots of an empty volume
	if (check_bit(c->seen, addr)) {
		if (!shareable)
			check_finding(c, "block %lu belongs to two owners, one of them inode %lu", addr, ino & VIEW_INO);
		else if (extra_add(c, addr))
			return -ENOMEM;
		return 1;
	}
	c->seen[addr / 8] |= (u8)(1u << (addr % 8));
	c->marked++;
	return 0;
}

static int bad_add(struct check *c, u64 addr)
{
	if (!c->bad) {
		c->bad = vol_alloc(c->v, c->seen_bytes);
		if (!c->bad)
			return -ENOMEM;
		memset(c->bad, 0, c->seen_bytes);
	}
	c->bad[addr / 8] |= (u8)(1u << (addr % 8));
	return 0;
}

// Notes a place where something is damaged. p: the pointer, where it makes sense and was counted. 1: enough of them, in the second walk.
static int damage_add(struct check *c, const struct tree *t, u32 level, u64 index, const struct d_ptr *p, bool place)
{
	if (c->ndamage == DAMAGE_MAX) {
		c->more = true;
		return c->again;
	}
	if (c->ndamage == c->cap_damage) {
		u32 cap = c->cap_damage ? c->cap_damage * 2 : 64;
		struct damage *d = vol_alloc(c->v, cap * sizeof *d);
		if (!d)
			return -ENOMEM;
		if (c->ndamage)
			memcpy(d, c->damage, c->ndamage * sizeof *d);
		vol_free(c->v, c->damage, c->cap_damage * sizeof *d);
		c->damage = d;
		c->cap_damage = cap;
	}
	c->damage[c->ndamage++] = (struct damage){.ino = t->inode ? t->inode->ino : 0,
						  .cls = t->cls,
						  .level = level,
						  .index = index,
						  .counted = p != NULL,
						  .place = place,
						  .view = t->view ? t->view->id : 0};
	return 0;
}

static int damaged(struct check *c, const struct tree *t, u32 level, u64 index, const struct d_ptr *p)
{
	if (!c->again)
		check_finding(c, "%s", c->v->fault.text);
	return damage_add(c, t, level, index, p, false);
}

// What lies below a pointer.
struct sum {
	u64 blocks;
	u32 bad;  // places that are damaged
	bool met; // some of it was met before
};

static void sum_bad(struct sum *s, u32 n) { s->bad = n > ~0u - s->bad ? ~0u : s->bad + n; }

static int walk_inodes(struct check *c, struct tree *t, u64 leaf, const u8 *data, struct sum *s);
static int walk(struct check *c, struct tree *t, u32 level, u64 index, const struct d_ptr *p, struct sum *s);

// The block behind p and everything under it. Returns also the sum of that alone.
static int walk_below(struct check *c, struct tree *t, u32 level, u64 index, const struct d_ptr *p, struct sum *own)
{
	struct d_ptr *kids = vol_alloc(c->v, SEAL_BLOCK);
	int r = kids ? 0 : -ENOMEM;
	if (kids)
		memcpy(kids, c->page, SEAL_BLOCK);
	if (!r && !level)
		r = walk_inodes(c, t, index, (u8 *)kids, own);
	for (u64 k = 0; level && k < FANOUT && !r; k++)
		r = walk(c, t, level - 1, index * FANOUT + k, &kids[k], own);
	if (kids)
		explicit_bzero(kids, SEAL_BLOCK);
	vol_free(c->v, kids, SEAL_BLOCK);
	if (!r && !c->again && t->cls <= CLASS_ITAB)
		r = sv_memo_add(c->v, &c->walked, p, level, t->cls == CLASS_ITAB ? index : own->blocks, own->bad);
	return r;
}

// What is known of a block that was gone through. NULL: it was not, by this pointer and at this place of an inode table.
static const struct memo_entry *walked(struct check *c, const struct tree *t, u32 level, u64 index, const struct d_ptr *p)
{
	const struct memo_entry *e = sv_memo_find(&c->walked, p, level);
	return e && t->cls == CLASS_ITAB && e->blocks != index ? NULL : e;
}

// p names contents that were met before, by a pointer that read them or did not. One that differs has to be tried itself.
static int contents_met(struct check *c, struct tree *t, u32 level, u64 index, const struct d_ptr *p, struct sum *s)
{
	bool bad = c->bad && check_bit(c->bad, ptr_addr(p)), differs = print_differs(c, p, level);
	if (differs) {
		c->differ = true;
		int r = sv_block_read(c->v, t, level, index, p, c->page);
		if (r == -ENOMEM)
			return r;
		bad = r != 0;
	}
	s->blocks++;
	sum_bad(s, bad);
	return bad && (differs || c->again) ? damaged(c, t, level, index, p) : 0;
}

// p names a block that was met before. What only must not be named here is no damage for the second walk: it would find none, however
// often it came by.
static int walk_met(struct check *c, struct tree *t, u32 level, u64 index, const struct d_ptr *p, bool last, struct sum *s)
{
	s->met = true;
	if (c->live_dir) {
		c->differ = true; // it may
		check_finding(c, "block %lu belongs to two owners, one of them directory %lu", ptr_addr(p), t->inode->ino);
		return damage_add(c, t, level, index, p, true);
	}
	if (last)
		return contents_met(c, t, level, index, p, s);
	if (c->bad && check_bit(c->bad, ptr_addr(p))) {
		c->differ = true; // it may
		s->blocks++;
		sum_bad(s, 1);
		return 0;
	}
	const struct memo_entry *e = walked(c, t, level, index, p);
	if (!e) { // two pointers to one block that differ, or two places for the same inodes
		c->differ = true;
		vol_fault(c->v, SEAL_ECORRUPT, SEAL_FAULT_POINTER, t, level, index, ptr_addr(p));
		sum_bad(s, 1);
		return damaged(c, t, level, index, p);
	}
	s->blocks += t->cls == CLASS_ITAB ? 0 : e->blocks;
	sum_bad(s, e->bad);
	return 0;
}

// The second walk: where nothing is damaged it does not go.
static int walk_again(struct check *c, struct tree *t, u32 level, u64 index, const struct d_ptr *p, bool last, struct sum *s)
{
	if (last)
		return contents_met(c, t, level, index, p, s);
	if (c->bad && check_bit(c->bad, ptr_addr(p)))
		return damaged(c, t, level, index, p);
	const struct memo_entry *e = walked(c, t, level, index, p);
	if (!e)
		return damaged(c, t, level, index, p);
	if (!e->bad)
		return 0;
	int r = sv_block_read(c->v, t, level, index, p, c->page);
	if (r)
		return r == -ENOMEM ? r : damaged(c, t, level, index, p);
	return walk_below(c, t, level, index, p, s);
}

// Reads the block behind p and everything under it, unless it was met before.
static int walk(struct check *c, struct tree *t, u32 level, u64 index, const struct d_ptr *p, struct sum *s)
{
	struct sum own = {.blocks = 1};
	bool last = (!level && t->cls != CLASS_ITAB) || level == LEVEL_XATTR, shareable = t->cls <= CLASS_ITAB;
	if (!ptr_addr(p)) {
		c->reserved += !c->again && ptr_reserved(p);
		s->blocks += !ptr_none(p);
		return 0;
	}
	if (vol_check_ptr(c->v, p) || ptr_addr(p) >= c->v->hiwater || (shareable && check_bit(c->own, ptr_addr(p)))) {
		vol_fault(c->v, SEAL_ECORRUPT, SEAL_FAULT_POINTER, t, level, index, ptr_addr(p));
		sum_bad(s, 1);
		return damaged(c, t, level, index, NULL);
	}
	if (c->again)
		return walk_again(c, t, level, index, p, last, s);
	int met = mark(c, ptr_addr(p), t->inode ? t->inode->ino : 0, shareable);
	if (met)
		return met < 0 ? met : shareable ? walk_met(c, t, level, index, p, last, s) : 0;
	c->live[p->session]++;
	c->st->blocks++;
	if (c->st->blocks % 256 == 0 && c->how->progress && c->how->progress(c->how->ctx, c->st->blocks, c->v->used))
		return -EINTR;
	int r = last && shareable ? print_add(c, p, level) : 0;
	if (!r)
		r = sv_block_read(c->v, t, level, index, p, c->page);
	if (r == -ENOMEM)
		return r;
	if (r) {
		s->blocks++;
		sum_bad(s, 1);
		r = bad_add(c, ptr_addr(p));
		return r ? r : damaged(c, t, level, index, p);
	}
	if (!last)
		r = walk_below(c, t, level, index, p, &own);
	s->blocks += own.blocks;
	sum_bad(s, own.bad);
	s->met = s->met || own.met;
	return r;
}

static int walk_tree(struct check *c, struct tree *t, struct sum *s)
{
	int r = 0;
	for (u32 k = 0; k < NROOT && !r; k++)
		r = walk(c, t, t->height, k, &t->root[k], s);
	return r;
}

// An inode that makes sense.
static int walk_inode(struct check *c, struct seal_inode *i, const struct d_inode *d, struct sum *all)
{
	struct sum s = {0};
	u64 ino = i->ino & VIEW_INO;
	bool dir = (d->mode & 0170000) == T_DIR && !(i->ino >> VIEW_SHIFT);
	u32 type = d->mode & 0170000;
	int r = 0;
	if (!c->again && (d->flags & ~SEAL_FLAGS || (d->flags && type != T_REG && type != T_DIR)))
		check_finding(c, "inode %lu has flags that it cannot have (%x)", ino, d->flags);
	i->tree.height = d->height;
	memcpy(i->tree.root, d->body, sizeof d->body);
	i->xattr = d->xattr;
	c->live_dir = dir && !c->again;
	if (!d->is_inline)
		r = walk_tree(c, &i->tree, &s);
	c->live_dir = false;
	bool foreign = s.met;
	if (!r)
		r = walk(c, &i->tree, LEVEL_XATTR, 0, &i->xattr, &s);
	if (!r && !c->again && !s.bad && !(dir && foreign) && d->nlink && s.blocks != d->blocks) // what waits to be freed may be half gone
		check_finding(c, "inode %lu counts %lu blocks but has %lu", ino, d->blocks, s.blocks);
	if (dir && !c->again && ino < c->names_max && (foreign || d->blocks > s.blocks))
		c->names[ino] |= NAME_SKIP;
	sum_bad(all, s.bad);
	return r;
}

// The files of a block of an inode table.
static int walk_inodes(struct check *c, struct tree *t, u64 leaf, const u8 *data, struct sum *s)
{
	struct seal_inode *i = vol_alloc(c->v, sizeof *i);
	int r = i ? 0 : -ENOMEM;
	for (u32 k = 0; k < INODES_PER_BLOCK && !r; k++) {
		const struct d_inode *d = (const struct d_inode *)data + k;
		if (!d->mode)
			continue;
		memset(i, 0, sizeof *i);
		sv_tree_init(&i->tree, CLASS_FILE, i);
		i->ino = leaf * INODES_PER_BLOCK + k;
		if (t->view)
			i->ino |= (u64)t->view->id << VIEW_SHIFT;
		if (sv_inode_valid(d)) {
			c->last_ino = t->view ? c->last_ino : SEAL_MAX(c->last_ino, i->ino);
			r = walk_inode(c, i, d, s);
			continue;
		}
		vol_fault(c->v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &i->tree, 0, 0, 0);
		sum_bad(s, 1);
		r = damaged(c, &i->tree, LEVEL_INODE, 0, NULL);
	}
	if (i)
		explicit_bzero(i, sizeof *i);
	vol_free(c->v, i, sizeof *i);
	return r;
}

// An inode table.
static int walk_table(struct check *c, struct tree *t)
{
	struct sum s = {0};
	int r = walk_tree(c, t, &s);
	if (!c->again)
		c->places += s.bad;
	return r;
}

int check_walk(struct check *c)
{
	struct seal_vol *v = c->v;
	struct sum s = {0};
	int r = walk_tree(c, &v->bmap, &s);
	if (!r)
		r = walk_tree(c, &v->refs, &s);
	memcpy(c->own, c->seen, c->seen_bytes);
	memcpy(c->own_live, c->live, c->live_max * sizeof *c->live);
	for (u64 a = 0; a < FIRST_BLOCK; a++)
		mark(c, a, 0, false);
	for (u32 k = 0; k < v->ntables; k++)
		if (v->tables[k].ptr.addr)
			mark(c, v->tables[k].ptr.addr, 0, false);
	if (v->tables_lost)
		check_finding(c, "%u blocks of the session table cannot be read: what is encrypted under their keys is lost", v->tables_lost);
	if (!r)
		r = walk_tree(c, &v->snaps, &s);
	if (!r)
		r = walk_table(c, &v->itab);
	if (!r && v->nsnaps) {
		r = sv_views_load(v);
		if (r && r != -ENOMEM) {
			check_finding(c, "the snapshots cannot be listed: %s", v->fault.text);
			r = 0;
		}
	}
	u32 found = 0;
	for (struct list *e = v->views.next; !r && e != &v->views; e = e->next, found++)
		r = walk_table(c, &LIST_ENTRY(e, struct view, link)->itab);
	if (!r && v->views_loaded && found != v->nsnaps)
		check_finding(c, "the root counts %u snapshots, found %u", v->nsnaps, found);
	return r;
}

int check_owners(struct check *c)
{
	struct seal_vol *v = c->v;
	u64 noted = 0;
	u32 kept = 0;
	for (u32 k = 0; k < c->ndamage; k++)
		noted += c->damage[k].cls <= CLASS_ITAB && !c->damage[k].place;
	if (c->more || c->places <= noted)
		return 0;
	for (u32 k = 0; k < c->ndamage; k++)
		if (c->damage[k].cls > CLASS_ITAB || c->damage[k].place)
			c->damage[kept++] = c->damage[k];
	c->ndamage = kept;
	c->again = true;
	int r = walk_table(c, &v->itab);
	for (struct list *e = v->views.next; !r && e != &v->views; e = e->next)
		r = walk_table(c, &LIST_ENTRY(e, struct view, link)->itab);
	c->again = false;
	return SEAL_MIN(r, 0);
}

// --- names
struct listing {
	struct check *c;
	u64 dir, count;
};

static bool entry(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct listing *l = ctx;
	struct seal_inode *i;
	(void)cookie;
	l->count++;
	int r = sv_inode_get(l->c->v, ino, &i);
	if (r) {
		check_finding(l->c, "directory %lu: the entry %.*s names inode %lu, which cannot be read (error %d)", l->dir,
			      (int)SEAL_MIN(len, 60u), name, ino, -r);
		return true;
	}
	if (!sv_inode_is(i, type) && l->dir != ORPHAN_INO)
		check_finding(l->c, "directory %lu: the entry %.*s has the wrong type", l->dir, (int)SEAL_MIN(len, 60u), name);
	if (sv_inode_is(i, T_DIR) && i->parent != l->dir && l->dir != ORPHAN_INO)
		check_finding(l->c, "directory %lu has the wrong parent", ino);
	if (ino >= l->c->names_max)
		check_finding(l->c, "directory %lu: the entry %.*s names inode %lu, for which the volume has no room", l->dir,
			      (int)SEAL_MIN(len, 60u), name, ino);
	else if (l->dir != ORPHAN_INO)
		l->c->names[ino]++;
	else if (i->nlink)
		check_finding(l->c, "inode %lu waits to be freed but has %u links", ino, i->nlink);
	else
		l->c->names[ino] |= NAME_ORPHAN;
	sv_inode_put(l->c->v, i);
	return true;
}

static int check_inode(struct check *c, u64 ino)
{
	struct seal_inode *i;
	int r = sv_inode_get(c->v, ino, &i);
	if (r == -ESTALE) {
		if (ino < FIRST_INO)
			check_finding(c, "the %s directory is missing", ino == SEAL_ROOT_INO ? "root" : "hidden");
		return 0;
	}
	if (r) {
		check_finding(c, "inode %lu cannot be read: %s", ino, c->v->fault.text);
		return r == -ENOMEM ? r : 0;
	}
	if (sv_inode_is(i, T_DIR) && !(c->names[ino] & NAME_SKIP)) {
		struct listing l = {c, ino, 0};
		int e = sv_dir_iterate(c->v, i, 0, entry, &l);
		if (e)
			check_finding(c, "directory %lu cannot be listed: %s", ino, c->v->fault.text);
		else if (l.count != i->dir_count)
			check_finding(c, "directory %lu counts %lu entries but has %lu", ino, i->dir_count, l.count);
	}
	if (sv_inode_is(i, T_DIR))
		c->st->dirs++;
	else {
		c->st->files++;
		c->st->bytes += sv_inode_is(i, T_REG) ? i->size : 0;
	}
	sv_inode_put(c->v, i);
	return 0;
}

// After all inodes have been seen. A directory's links: its name, its ".", and each subdirectory's "..".
static int check_links(struct check *c)
{
	u32 *subdirs = vol_alloc(c->v, c->names_max * sizeof *subdirs);
	struct seal_inode *i;
	if (!subdirs)
		return -ENOMEM;
	memset(subdirs, 0, c->names_max * sizeof *subdirs);
	for (int pass = 0; pass < 2; pass++)
		for (u64 ino = SEAL_ROOT_INO; ino < c->names_max; ino++) {
			if (sv_inode_get(c->v, ino, &i))
				continue;
			bool dir = sv_inode_is(i, T_DIR) && i->nlink; // not one that was removed while it was open
			u32 want = (c->names[ino] & NAME_LINKS) + (dir ? 1 + subdirs[ino] : 0);
			if (ino == SEAL_ROOT_INO || ino == ORPHAN_INO)
				want++;
			if (!pass && dir && ino != SEAL_ROOT_INO && ino != ORPHAN_INO && c->names[ino] & ~NAME_SKIP &&
			    i->parent < c->names_max)
				subdirs[i->parent]++;
			if (pass) {
				c->inodes++;
				if (c->v->repairing && !i->nlink && !(c->names[ino] & ~NAME_SKIP)) // nobody has it open
					check_finding(c, "inode %lu has no name and does not wait to be freed", ino);
				if (i->nlink != want)
					check_finding(c, "inode %lu has %u links but %u names", ino, i->nlink, want);
			}
			sv_inode_put(c->v, i);
		}
	vol_free(c->v, subdirs, c->names_max * sizeof *subdirs);
	return 0;
}

static int check_names(struct check *c)
{
	int r = 0;
	if (c->v->next_ino >= c->names_max)
		check_finding(c, "the root counts inodes up to %lu, more than the volume has room for", c->v->next_ino);
	if (c->last_ino >= c->v->next_ino)
		check_finding(c, "the root counts inodes up to %lu, but %lu is in use", c->v->next_ino, c->last_ino);
	for (u64 ino = SEAL_ROOT_INO; ino < c->names_max && !r; ino++)
		r = check_inode(c, ino);
	return r ? r : check_links(c);
}

// --- comparing
static int check_space(struct check *c)
{
	u64 wrong = 0;
	for (u64 leaf = 0; leaf * BITS_PER_BLOCK < c->v->hiwater; leaf++) {
		struct node *b;
		int r = sv_node_get(c->v, &c->v->bmap, 0, leaf, NODE_READ, &b);
		if (r) {
			check_finding(c, "the free space map cannot be read: %s", c->v->fault.text);
			return r == -ENOMEM ? r : 0;
		}
		u64 n = SEAL_MIN(BITS_PER_BLOCK, c->v->hiwater - leaf * BITS_PER_BLOCK);
		for (u64 k = 0; k < n; k++) {
			u64 addr = leaf * BITS_PER_BLOCK + k;
			bool used = c->seen[addr / 8] & 1u << (addr % 8);
			bool said = b && b->data[k / 8] & 1u << (k % 8);
			if (used == said)
				continue;
			if (++wrong <= 8)
				check_finding(c, "block %lu is %s but the free space map says %s", addr,
					      used ? "in use" : "unused", said ? "in use" : "free");
		}
		sv_node_put(c->v, b);
	}
	if (wrong > 8)
		check_finding(c, "%lu blocks are wrong in the free space map", wrong);
	if (c->v->used != c->marked)
		check_finding(c, "the root counts %lu blocks in use, found %lu", c->v->used, c->marked);
	return 0;
}

static int check_refs(struct check *c)
{
	static const u32 none[REFS_PER_BLOCK];
	u64 wrong = 0;
	for (u64 leaf = 0; leaf < c->extra_pages; leaf++) {
		struct node *b;
		int r = sv_node_get(c->v, &c->v->refs, 0, leaf, NODE_READ, &b);
		if (r) {
			check_finding(c, "the reference counts cannot be read: %s", c->v->fault.text);
			return r == -ENOMEM ? r : 0;
		}
		const u32 *said = b ? (const u32 *)b->data : none, *found = c->extra[leaf] ? c->extra[leaf] : none;
		for (u64 k = 0; k < REFS_PER_BLOCK && memcmp(said, found, sizeof none); k++)
			if (said[k] != found[k] && ++wrong <= 8)
				check_finding(c, "block %lu has %u references but %u are counted", leaf * REFS_PER_BLOCK + k,
					      found[k] + 1, said[k] + 1);
		sv_node_put(c->v, b);
	}
	if (wrong > 8)
		check_finding(c, "%lu blocks have wrong reference counts", wrong);
	if (c->v->nshared != c->shared)
		check_finding(c, "the root counts %lu shared blocks, found %lu", c->v->nshared, c->shared);
	if (c->v->reserved != c->reserved)
		check_finding(c, "the root counts %lu blocks set aside, found %lu", c->v->reserved, c->reserved);
	return 0;
}

int check_all(struct check *c)
{
	struct seal_vol *v = c->v;
	if (v->log_lost)
		check_finding(c, v->log_lost->all ? "what was synced after the newest root cannot be gone through: %s" :
						    "what was synced after the newest root can be gone through only with %s",
			      v->log_lost->all ? "this is the state of that root" : "a map of free space that is made anew");
	int r = check_walk(c);
	if (!r && v->repairing && !v->read_only)
		r = check_owners(c);
	if (!r)
		r = check_names(c);
	if (!r && c->inodes != v->inodes)
		check_finding(c, "the root counts %lu inodes, found %lu", v->inodes, c->inodes);
	if (!r)
		r = check_space(c);
	if (!r)
		r = check_refs(c);
	for (u32 k = 0; k < v->nsessions && !r; k++)
		if (v->sessions[k].live != c->live[k])
			check_finding(c, "session %u counts %lu blocks, found %lu", k, v->sessions[k].live, c->live[k]);
	int wrong = r ? r : sv_inodes_free_list(v, false);
	if (wrong > 0)
		check_finding(c, "the list of free inodes is broken");
	r = SEAL_MIN(wrong, 0);
	u64 top = v->hiwater;
	while (top > v->end && !check_bit(c->seen, top - 1))
		top--;
	if (v->cut_short)
		check_finding(c, "the volume file is cut short");
	else if (top > v->end)
		check_finding(c, "the root says that the file has %lu blocks, but block %lu is in use", v->end, top - 1);
	if (v->root_unread)
		check_finding(c, "one of the two roots cannot be read by the host: what was synced last is lost if it was the newest");
	else if (v->fell_back)
		check_finding(c, "one of the two roots does not authenticate: an interrupted commit, or tampering");
	return r;
}

s64 seal_fsck(struct seal_vol *v, void (*report)(void *ctx, const char *text), void *ctx, struct seal_fsck_stats *st)
{
	const struct seal_checker how = {.finding = report, .ctx = ctx};
	return seal_fsck_watched(v, &how, st);
}

s64 seal_fsck_watched(struct seal_vol *v, const struct seal_checker *how, struct seal_fsck_stats *st)
{
	struct check c = {.v = v, .how = how, .st = st};
	memset(st, 0, sizeof *st);
	vol_lock(v);
	int r = v->failed ? v->failed : vol_commit(v, false);
	if (!r)
		r = check_begin(&c);
	if (!r)
		r = check_all(&c);
	check_end(&c);
	vol_unlock(v);
	return r ? r : (s64)st->findings;
}
