// SPDX-License-Identifier: Apache-2.0
// Scrubbing: reads and authenticates every block in use, snapshots included, in pieces on a volume in use; tells each
// damaged one with the file it belongs to. Blocks below one that was met before are not read again, so shared ones
// cost once. Takes the volume's lock for one piece; between two pieces others may change what they like.
#include "seal/vol.h"

struct seal_scrub {
	struct seal_vol *v;
	u8 *seen; // one bit a block
	u64 seen_bytes;
	u8 *page;
	u64 leaf;    // of the inode tables: the next one
	bool own;    // the volume's own trees are done
	u64 damaged; // blocks
	u64 done, budget;
	void (*report)(void *ctx, const struct seal_damage *d);
	void *ctx;
	u64 path_ino; // whose path is in `path`
	char path[1024];
};

int seal_scrub_begin(struct seal_vol *v, struct seal_scrub **out)
{
	struct seal_scrub *s = vol_alloc(v, sizeof *s);
	*out = NULL;
	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof *s);
	s->v = v;
	vol_lock(v);
	s->seen_bytes = v->max_blocks / 8 + 1;
	if (s->seen_bytes > v->hiwater / 4 + 4096)
		s->seen_bytes = v->hiwater / 4 + 4096; // twice what is used now; what lies beyond is read as often as met
	vol_unlock(v);
	s->seen = vol_alloc(v, s->seen_bytes);
	s->page = vol_alloc(v, SEAL_BLOCK);
	if (!s->seen || !s->page) {
		seal_scrub_end(s);
		return -ENOMEM;
	}
	memset(s->seen, 0, s->seen_bytes);
	*out = s;
	return 0;
}

void seal_scrub_end(struct seal_scrub *s)
{
	struct seal_vol *v = s->v;
	if (s->page)
		explicit_bzero(s->page, SEAL_BLOCK);
	vol_free(v, s->seen, s->seen_bytes);
	vol_free(v, s->page, SEAL_BLOCK);
	explicit_bzero(s, sizeof *s);
	vol_free(v, s, sizeof *s);
}

// --- the name of what is damaged
struct search {
	u64 ino;
	char name[SEAL_NAME_MAX + 1];
	bool found;
};

static bool match(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct search *s = ctx;
	(void)type, (void)cookie;
	if (ino != s->ino)
		return true;
	memcpy(s->name, name, len);
	s->name[len] = 0;
	s->found = true;
	return false;
}

// The directory that has an entry for ino, and the entry. Directories are searched in the order of their numbers.
static int parent_of(struct seal_vol *v, struct search *s, u64 hint, u64 *dir, u64 *budget)
{
	struct view *w = NULL;
	int r = s->ino >> VIEW_SHIFT ? sv_view_get(v, (u32)(s->ino >> VIEW_SHIFT), &w) : 0;
	u64 end = SEAL_MIN(w ? w->next_ino : v->next_ino, v->hiwater * INODES_PER_BLOCK);
	for (u64 d = hint ? hint : SEAL_ROOT_INO; !r && d < end && !s->found && *budget; d = hint ? end : d + 1) {
		struct seal_inode *i;
		if (d == ORPHAN_INO || sv_inode_get(v, d | sv_ino_view(s->ino), &i))
			continue;
		if (sv_inode_is(i, T_DIR)) {
			*budget -= SEAL_MIN(SEAL_MIN(i->blocks, v->hiwater), *budget);
			if (!sv_dir_iterate(v, i, 0, match, s) && s->found)
				*dir = d | sv_ino_view(s->ino);
		}
		sv_inode_put(v, i);
	}
	return r ? r : s->found ? 0 : -ENOENT;
}

int sv_path(struct seal_vol *v, u64 ino, u64 first_dir, char *buf, size_t n, u64 *budget)
{
	size_t at = n - 1; // built from the end
	buf[at] = 0;
	for (u32 depth = 0; (ino & VIEW_INO) != SEAL_ROOT_INO; depth++) {
		struct search s = {.ino = ino};
		struct seal_inode *i;
		u64 hint = depth ? 0 : first_dir & VIEW_INO, dir = 0;
		if (!hint && !sv_inode_get(v, ino, &i)) { // a directory knows its parent
			hint = sv_inode_is(i, T_DIR) ? i->parent & VIEW_INO : 0;
			sv_inode_put(v, i);
		}
		int r = depth < 256 ? parent_of(v, &s, hint, &dir, budget) : -ENOENT;
		if (r)
			return r;
		size_t len = strlen(s.name);
		if (len + 1 > at)
			return -ENAMETOOLONG;
		at -= len + 1;
		buf[at] = '/';
		memcpy(buf + at + 1, s.name, len);
		ino = dir;
	}
	if (!buf[at] && at)
		buf[--at] = '/';
	memmove(buf, buf + at, n - at);
	return 0;
}

int seal_path(struct seal_vol *v, u64 ino, char *buf, size_t n)
{
	if (n < 2)
		return -ENAMETOOLONG;
	u64 budget = ~0ul;
	vol_lock(v);
	int r = sv_path(v, ino, 0, buf, n, &budget);
	vol_unlock(v);
	return r;
}

// --- reading
static void damaged(struct seal_scrub *s, const struct tree *t, u32 level, u64 index)
{
	struct seal_damage d = {.block = s->v->fault.block, .level = level};
	u64 unlimited = ~0ul;
	s->damaged++;
	if (!s->report)
		return;
	memcpy(d.text, s->v->fault.text, sizeof d.text);
	if (t->inode) {
		d.ino = t->inode->ino;
		d.snapshot = (u32)(d.ino >> VIEW_SHIFT);
		if (level < LEVEL_XATTR) {
			d.offset = index << (7 * level) << 12;
			u64 len = (u64)SEAL_BLOCK << (7 * level);
			d.length = d.offset < t->inode->size ? SEAL_MIN(len, t->inode->size - d.offset) : 0;
		}
		if (s->path_ino != d.ino && sv_path(s->v, d.ino, 0, s->path, sizeof s->path, &unlimited))
			s->path[0] = 0;
		s->path_ino = d.ino;
		memcpy(d.path, s->path, sizeof d.path);
	}
	s->report(s->ctx, &d);
}

static int scrub_slot(struct seal_scrub *s, struct tree *t, u32 level, u64 index, const struct d_ptr *p)
{
	struct seal_vol *v = s->v;
	u64 addr = ptr_addr(p);
	if (!addr)
		return 0;
	if (addr / 8 < s->seen_bytes) {
		if (s->seen[addr / 8] >> (addr % 8) & 1)
			return 0;
		s->seen[addr / 8] |= (u8)(1u << (addr % 8));
	}
	s->done++;
	s->budget -= SEAL_MIN(s->budget, 1ul);
	int r = sv_block_read(v, t, level, index, p, s->page);
	if (r == -ENOMEM)
		return r;
	if (r) {
		damaged(s, t, level, index);
		return 0;
	}
	if (!level || level == LEVEL_XATTR)
		return 0;
	struct d_ptr *kids = vol_alloc(v, SEAL_BLOCK);
	if (!kids)
		return -ENOMEM;
	memcpy(kids, s->page, SEAL_BLOCK);
	for (u64 k = 0; k < FANOUT && !r; k++)
		r = scrub_slot(s, t, level - 1, index * FANOUT + k, &kids[k]);
	explicit_bzero(kids, SEAL_BLOCK);
	vol_free(v, kids, SEAL_BLOCK);
	return r;
}

static int scrub_tree(struct seal_scrub *s, struct tree *t)
{
	int r = 0;
	for (u32 k = 0; k < NROOT && !r; k++)
		r = scrub_slot(s, t, t->height, k, &t->root[k]);
	return r;
}

// The files of a block of an inode table. The table's own blocks were read before.
static int scrub_leaf(struct seal_scrub *s, struct view *w, u64 leaf)
{
	int r = 0;
	for (u64 k = 0; k < INODES_PER_BLOCK && !r; k++) {
		struct seal_inode *i;
		if (sv_inode_get(s->v, (leaf * INODES_PER_BLOCK + k) | (w ? (u64)w->id << VIEW_SHIFT : 0), &i))
			continue; // free, or its block was told of
		if (!i->is_inline)
			r = scrub_tree(s, &i->tree);
		if (!r)
			r = scrub_slot(s, &i->tree, LEVEL_XATTR, 0, &i->xattr);
		sv_inode_put(s->v, i);
	}
	return r;
}

static int scrub_own(struct seal_scrub *s)
{
	struct seal_vol *v = s->v;
	struct tree *const own[] = {&v->bmap, &v->refs, &v->snaps, &v->itab};
	int r = 0;
	for (u32 k = 0; k < 4 && !r; k++)
		r = scrub_tree(s, own[k]);
	for (struct list *e = v->views.next; e != &v->views && !r; e = e->next)
		r = scrub_tree(s, &LIST_ENTRY(e, struct view, link)->itab);
	s->own = true;
	return r;
}

int seal_scrub_step(struct seal_scrub *s, u64 blocks, void (*report)(void *ctx, const struct seal_damage *d), void *ctx,
		    struct seal_scrub_stats *st)
{
	struct seal_vol *v = s->v;
	vol_lock(v);
	s->report = report;
	s->ctx = ctx;
	s->budget = SEAL_MAX(blocks, 1ul);
	int r = sv_views_load(v) == -ENOMEM ? -ENOMEM : 0; // else: the snapshot table is damaged, which is told below
	if (!r && !s->own)
		r = vol_commit(v, false); // what lies in the cache only would not be looked at
	if (!r && !s->own)
		r = scrub_own(s);
	u64 end = v->next_ino;
	for (struct list *e = v->views.next; e != &v->views; e = e->next)
		end = SEAL_MAX(end, LIST_ENTRY(e, struct view, link)->next_ino);
	u64 leaves = end / INODES_PER_BLOCK + 1;
	for (; s->leaf < leaves && s->budget && !r; s->leaf++) {
		r = scrub_leaf(s, NULL, s->leaf);
		for (struct list *e = v->views.next; e != &v->views && !r; e = e->next)
			if (!LIST_ENTRY(e, struct view, link)->dying)
				r = scrub_leaf(s, LIST_ENTRY(e, struct view, link), s->leaf);
	}
	*st = (struct seal_scrub_stats){.blocks_done = s->done, .blocks_total = SEAL_MAX(v->used, s->done), .damaged = s->damaged};
	vol_unlock(v);
	return r ? r : s->leaf < leaves;
}
