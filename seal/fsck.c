// SPDX-License-Identifier: Apache-2.0
// Checks a mounted volume: authenticates every block of the committed state, and compares what the trees refer to with
// the free space map, directory entries with inodes, and link counts with names. Takes the volume's lock for the whole
// run.
#include "seal/vol.h"

struct check {
	struct seal_vol *v;
	void (*report)(void *ctx, const char *text);
	void *ctx;
	struct seal_fsck_stats *st;
	u8 *seen; // one bit a block of the volume, up to hiwater
	u64 seen_bytes, marked;
	u32 *names; // by inode: directory entries that name it
	u64 *live;  // by session: blocks found
	u8 *page;
};

static void __attribute__((format(printf, 2, 3))) finding(struct check *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	c->st->findings++;
	if (c->report)
		c->report(c->ctx, text);
}

static void mark(struct check *c, u64 addr, u64 ino)
{
	if (addr >= c->v->hiwater) {
		finding(c, "block %lu of inode %lu lies beyond the used part of the volume", addr, ino);
		return;
	}
	if (c->seen[addr / 8] & 1u << (addr % 8))
		finding(c, "block %lu belongs to two owners, one of them inode %lu", addr, ino);
	c->seen[addr / 8] |= (u8)(1u << (addr % 8));
	c->marked++;
}

// Reads the block behind p and, below a pointer block, everything under it. *blocks counts them.
static int walk(struct check *c, struct tree *t, u32 level, u64 index, const struct d_ptr *p, u64 *blocks)
{
	u64 ino = t->inode ? t->inode->ino : 0;
	struct d_ptr *kids;
	if (!ptr_addr(p))
		return 0;
	int r = sv_block_read(c->v, t, level, index, p, c->page);
	if (r == -ENOMEM)
		return r;
	if (r) {
		finding(c, "%s", c->v->fault.text);
		if (vol_check_ptr(c->v, p))
			return 0;
	}
	mark(c, ptr_addr(p), ino);
	c->live[p->session]++;
	c->st->blocks++;
	++*blocks;
	if (r || !level || level == LEVEL_XATTR)
		return 0;
	kids = vol_alloc(c->v, SEAL_BLOCK);
	if (!kids)
		return -ENOMEM;
	memcpy(kids, c->page, SEAL_BLOCK);
	for (u64 k = 0; k < FANOUT && r == 0; k++)
		r = walk(c, t, level - 1, index * FANOUT + k, &kids[k], blocks);
	explicit_bzero(kids, SEAL_BLOCK);
	vol_free(c->v, kids, SEAL_BLOCK);
	return r;
}

static int walk_tree(struct check *c, struct tree *t, u64 *blocks)
{
	int r = 0;
	*blocks = 0;
	for (u32 k = 0; k < NROOT && !r; k++)
		r = walk(c, t, t->height, k, &t->root[k], blocks);
	return r;
}

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
		finding(l->c, "directory %lu: the entry %.*s names inode %lu, which cannot be read (error %d)", l->dir,
			(int)SEAL_MIN(len, 60u), name, ino, -r);
		return true;
	}
	if (!sv_inode_is(i, type) && l->dir != ORPHAN_INO)
		finding(l->c, "directory %lu: the entry %.*s has the wrong type", l->dir, (int)SEAL_MIN(len, 60u),
			name);
	if (sv_inode_is(i, T_DIR) && i->parent != l->dir)
		finding(l->c, "directory %lu has the wrong parent", ino);
	if (l->dir != ORPHAN_INO)
		l->c->names[ino]++;
	sv_inode_put(l->c->v, i);
	return true;
}

static int check_inode(struct check *c, u64 ino)
{
	struct seal_inode *i;
	u64 blocks = 0, extra = 0;
	int r = sv_inode_get(c->v, ino, &i);
	if (r == -ESTALE)
		return 0;
	if (r) {
		if (r != -ENOMEM)
			finding(c, "inode %lu cannot be read: %s", ino, c->v->fault.text);
		return r == -ENOMEM ? r : 0;
	}
	if (!i->is_inline)
		r = walk_tree(c, &i->tree, &blocks);
	if (!r)
		r = walk(c, &i->tree, LEVEL_XATTR, 0, &i->xattr, &extra);
	if (!r && blocks + extra != i->blocks)
		finding(c, "inode %lu counts %lu blocks but has %lu", ino, i->blocks, blocks + extra);
	if (!r && sv_inode_is(i, T_DIR)) {
		struct listing l = {c, ino, 0};
		int e = sv_dir_iterate(c->v, i, 0, entry, &l);
		if (e)
			finding(c, "directory %lu cannot be listed: %s", ino, c->v->fault.text);
		else if (l.count != i->dir_count)
			finding(c, "directory %lu counts %lu entries but has %lu", ino, i->dir_count, l.count);
		c->st->dirs++;
	} else if (!r) {
		c->st->files++;
		c->st->bytes += sv_inode_is(i, T_REG) ? i->size : 0;
	}
	sv_inode_put(c->v, i);
	return r;
}

// After all inodes have been seen. A directory's links: its name, its ".", and each subdirectory's "..".
static int check_links(struct check *c, u64 *inodes)
{
	u32 *subdirs = vol_alloc(c->v, c->v->next_ino * sizeof *subdirs);
	struct seal_inode *i;
	if (!subdirs)
		return -ENOMEM;
	memset(subdirs, 0, c->v->next_ino * sizeof *subdirs);
	for (int pass = 0; pass < 2; pass++)
		for (u64 ino = SEAL_ROOT_INO; ino < c->v->next_ino; ino++) {
			if (sv_inode_get(c->v, ino, &i))
				continue;
			u32 want = c->names[ino] + (sv_inode_is(i, T_DIR) ? 1 + subdirs[ino] : 0);
			if (ino == SEAL_ROOT_INO || ino == ORPHAN_INO)
				want++;
			if (!pass && sv_inode_is(i, T_DIR) && ino != SEAL_ROOT_INO && ino != ORPHAN_INO &&
			    i->parent < c->v->next_ino)
				subdirs[i->parent]++;
			if (pass) {
				++*inodes;
				if (i->nlink != want)
					finding(c, "inode %lu has %u links but %u names", ino, i->nlink, want);
			}
			sv_inode_put(c->v, i);
		}
	vol_free(c->v, subdirs, c->v->next_ino * sizeof *subdirs);
	return 0;
}

static int check_space(struct check *c)
{
	u64 wrong = 0;
	for (u64 leaf = 0; leaf * BITS_PER_BLOCK < c->v->hiwater; leaf++) {
		struct node *b;
		int r = sv_node_get(c->v, &c->v->bmap, 0, leaf, NODE_READ, &b);
		if (r) {
			finding(c, "the free space map cannot be read: %s", c->v->fault.text);
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
				finding(c, "block %lu is %s but the free space map says %s", addr,
					used ? "in use" : "unused", said ? "in use" : "free");
		}
		sv_node_put(c->v, b);
	}
	if (wrong > 8)
		finding(c, "%lu blocks are wrong in the free space map", wrong);
	if (c->v->used != c->marked)
		finding(c, "the root counts %lu blocks in use, found %lu", c->v->used, c->marked);
	return 0;
}

static int check_all(struct check *c)
{
	u64 blocks, inodes = 0;
	struct seal_vol *v = c->v;
	for (u64 a = 0; a < FIRST_BLOCK; a++)
		mark(c, a, 0);
	for (u32 k = 0; k < v->ntables; k++)
		mark(c, v->tables[k].ptr.addr, 0);
	int r = walk_tree(c, &v->bmap, &blocks);
	if (!r)
		r = walk_tree(c, &v->itab, &blocks);
	for (u64 ino = SEAL_ROOT_INO; ino < v->next_ino && !r; ino++)
		r = check_inode(c, ino);
	if (!r)
		r = check_links(c, &inodes);
	if (!r && inodes != v->inodes)
		finding(c, "the root counts %lu inodes, found %lu", v->inodes, inodes);
	if (!r)
		r = check_space(c);
	for (u32 k = 0; k < v->nsessions && !r; k++)
		if (v->sessions[k].live != c->live[k])
			finding(c, "session %u counts %lu blocks, found %lu", k, v->sessions[k].live, c->live[k]);
	if (v->fell_back)
		finding(c, "one of the two roots does not authenticate: an interrupted commit, or tampering");
	return r;
}

s64 seal_fsck(struct seal_vol *v, void (*report)(void *ctx, const char *text), void *ctx, struct seal_fsck_stats *st)
{
	struct check c = {.v = v, .report = report, .ctx = ctx, .st = st};
	memset(st, 0, sizeof *st);
	vol_lock(v);
	int r = v->failed ? v->failed : vol_commit(v, false);
	if (r)
		goto out;
	c.seen_bytes = v->hiwater / 8 + 1;
	c.seen = vol_alloc(v, c.seen_bytes);
	c.names = vol_alloc(v, v->next_ino * sizeof *c.names);
	c.live = vol_alloc(v, v->cap_sessions * sizeof *c.live);
	c.page = vol_alloc(v, SEAL_BLOCK);
	if (!c.seen || !c.names || !c.live || !c.page) {
		r = -ENOMEM;
		goto out;
	}
	memset(c.seen, 0, c.seen_bytes);
	memset(c.names, 0, v->next_ino * sizeof *c.names);
	memset(c.live, 0, v->cap_sessions * sizeof *c.live);
	r = check_all(&c);
out:
	if (c.page)
		explicit_bzero(c.page, SEAL_BLOCK);
	vol_free(v, c.seen, c.seen_bytes);
	vol_free(v, c.names, v->next_ino * sizeof *c.names);
	vol_free(v, c.live, v->cap_sessions * sizeof *c.live);
	vol_free(v, c.page, SEAL_BLOCK);
	vol_unlock(v);
	return r ? r : (s64)st->findings;
}
