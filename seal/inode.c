// SPDX-License-Identifier: Apache-2.0
// Inodes: the table (a tree of blocks with eight inodes each), and files that have no name any more but are still open. A dirty
// inode's block in the table is dirty too, so writing it back cannot fail for space. The cache of decoded ones is seal/icache.c.
#include "seal/vol.h"

void sv_inode_count_blocks(struct seal_inode *i, s64 d) { i->blocks += (u64)d; }

// What the rest of the code relies on, whoever wrote the volume.
bool sv_inode_valid(const struct d_inode *d)
{
	u32 type = d->mode & 0170000;
	bool known = type == T_REG || type == T_DIR || type == T_LNK || type == T_CHR || type == T_BLK ||
		     type == T_FIFO || type == T_SOCK;
	if (!known || d->height > MAX_HEIGHT || d->is_inline > 1 || d->size > S64_LIMIT)
		return false;
	if (d->is_inline && (d->size > INLINE_MAX || d->height || type == T_DIR))
		return false;
	if (type == T_LNK && (!d->size || d->size > SEAL_SYMLINK_MAX))
		return false;
	// shared blocks count for each place that they have in it: as many as the volume has are no limit
	return d->blocks <= 2 * sv_tree_limit(MAX_HEIGHT) && d->dir_height < 16 && (!d->dir_height || d->dir_root < d->dir_blocks);
}

static void inode_decode(struct seal_inode *i, const struct d_inode *d)
{
	i->mode = d->mode;
	i->nlink = d->nlink;
	i->uid = d->uid;
	i->gid = d->gid;
	i->generation = d->generation;
	i->flags = d->flags;
	i->size = d->size;
	i->blocks = d->blocks;
	i->rdev = d->rdev;
	i->parent = d->parent;
	i->atime = d->atime;
	i->mtime = d->mtime;
	i->ctime = d->ctime;
	i->btime = d->btime;
	i->dir_root = d->dir_root;
	i->dir_height = d->dir_height;
	i->dir_blocks = d->dir_blocks;
	i->dir_free = d->dir_free;
	i->dir_count = d->dir_count;
	i->xattr = d->xattr;
	i->is_inline = d->is_inline;
	i->tree.height = d->height;
	memcpy(i->tree.root, d->body, sizeof d->body);
}

static void inode_encode(const struct seal_inode *i, struct d_inode *d)
{
	*d = (struct d_inode){
		.mode = i->mode,
		.nlink = i->nlink,
		.uid = i->uid,
		.gid = i->gid,
		.size = i->size,
		.blocks = i->blocks,
		.atime = i->atime,
		.mtime = i->mtime,
		.ctime = i->ctime,
		.btime = i->btime,
		.generation = i->generation,
		.is_inline = i->is_inline,
		.height = i->tree.height,
		.flags = (u16)i->flags,
		.rdev = i->rdev,
		.parent = i->parent,
		.dir_root = i->dir_root,
		.dir_height = i->dir_height,
		.dir_blocks = i->dir_blocks,
		.dir_free = i->dir_free,
		.dir_count = i->dir_count,
		.xattr = i->xattr,
	};
	memcpy(d->body, i->tree.root, sizeof d->body);
}

static int itab_get(struct seal_vol *v, struct view *view, u64 ino, u32 mode, struct node **b, struct d_inode **d)
{
	struct tree *t = view ? &view->itab : &v->itab;
	*d = NULL;
	ino &= VIEW_INO;
	int r = mode == NODE_WRITE ? sv_tree_grow(v, t, ino / INODES_PER_BLOCK) : 0;
	if (!r)
		r = sv_node_get(v, t, 0, ino / INODES_PER_BLOCK, mode, b);
	if (!r && *b)
		*d = (struct d_inode *)(*b)->data + ino % INODES_PER_BLOCK;
	return r;
}

int sv_inode_get(struct seal_vol *v, u64 ino, struct seal_inode **out)
{
	struct seal_inode *i = sv_inode_find(v, ino);
	struct node *b = NULL;
	struct d_inode *d;
	*out = NULL;
	if (i) {
		if (!i->refs++)
			list_del(&i->lru);
		*out = i;
		return 0;
	}
	struct view *view = NULL;
	int r = ino >> VIEW_SHIFT ? sv_view_get(v, (u32)(ino >> VIEW_SHIFT), &view) : 0;
	if (r)
		return r;
	if (!(ino & VIEW_INO) || (ino & VIEW_INO) >= (view ? view->next_ino : v->next_ino))
		return -ESTALE;
	r = itab_get(v, view, ino, NODE_READ, &b, &d);
	if (r)
		return r;
	if (!d || !d->mode)
		r = -ESTALE;
	else if (!sv_inode_valid(d))
		r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->itab, 0, (ino & VIEW_INO) / INODES_PER_BLOCK, 0);
	else
		r = sv_inode_new(v, ino, out);
	if (!r) {
		inode_decode(*out, d);
		(*out)->view = view;
	}
	sv_node_put(v, b);
	return r;
}

int sv_inode_dirty(struct seal_vol *v, struct seal_inode *i)
{
	struct node *b;
	struct d_inode *d;
	if (i->dirty)
		return 0;
	if (sv_is_frozen(v, i))
		return -EROFS;
	int r = itab_get(v, i->view, i->ino, NODE_WRITE, &b, &d);
	if (r)
		return r;
	sv_node_put(v, b);
	sv_inode_dirtied(v, i);
	return 0;
}

int sv_inode_store(struct seal_vol *v, struct seal_inode *i)
{
	struct node *b;
	struct d_inode *d;
	int r = itab_get(v, i->view, i->ino, NODE_WRITE, &b, &d);
	if (r)
		return r;
	inode_encode(i, d);
	sv_node_put(v, b);
	sv_inode_cleaned(v, i);
	return 0;
}

int sv_inodes_writeback(struct seal_vol *v)
{
	int r = 0;
	while (!r && !list_empty(&v->dirty_inodes))
		r = sv_inode_store(v, LIST_ENTRY(v->dirty_inodes.next, struct seal_inode, dirty_link));
	return r;
}

int sv_inode_alloc(struct seal_vol *v, u32 mode, u32 uid, u32 gid, struct seal_inode **out)
{
	struct node *b;
	struct d_inode *d;
	u64 ino = v->free_ino ? v->free_ino : v->next_ino;
	if (ino > VIEW_INO)
		return -ENOSPC;
	int r = itab_get(v, NULL, ino, NODE_WRITE, &b, &d);
	if (r)
		return r;
	u64 next = v->free_ino ? d->parent : 0;
	if (d->mode || next >= v->next_ino)
		r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->itab, 0, ino / INODES_PER_BLOCK, 0);
	if (!r)
		r = sv_inode_new(v, ino, out);
	if (r) {
		sv_node_put(v, b);
		return r;
	}
	struct seal_inode *i = *out;
	i->generation = d->generation + 1;
	i->mode = mode;
	i->uid = uid;
	i->gid = gid;
	i->nlink = 1;
	i->is_inline = sv_inode_is(i, T_REG) || sv_inode_is(i, T_LNK);
	sv_inode_touch(v, i, true);
	i->atime = i->btime = i->mtime;
	d->mode = mode; // never free in the table while it is cached
	sv_node_put(v, b);
	r = sv_inode_dirty(v, i); // its block is dirty already: only marks
	if (r)
		return vol_abort(v, r);
	if (v->free_ino)
		v->free_ino = next;
	else
		v->next_ino++;
	v->inodes++;
	return 0;
}

// The last name and the last reference are gone: contents, attributes and the number become free.
static int inode_free(struct seal_vol *v, struct seal_inode *i)
{
	struct node *b;
	struct d_inode *d;
	int r = sv_inode_dirty(v, i);
	if (!r && !i->is_inline)
		r = sv_tree_free_range(v, &i->tree, 0, ~0ul);
	if (!r && ptr_addr(&i->xattr))
		r = sv_space_free(v, &i->xattr);
	if (!r)
		r = itab_get(v, NULL, i->ino, NODE_WRITE, &b, &d);
	if (r)
		return vol_abort(v, r);
	*d = (struct d_inode){.generation = i->generation, .parent = v->free_ino};
	v->free_ino = i->ino;
	v->inodes--;
	sv_node_put(v, b);
	sv_inode_forget(v, i);
	return 0;
}

int sv_inode_free(struct seal_vol *v, struct seal_inode *i) { return inode_free(v, i); }

int sv_inode_erase(struct seal_vol *v, u64 ino, u32 mode)
{
	struct view *view = NULL;
	struct node *b;
	struct d_inode *d;
	int r = ino >> VIEW_SHIFT ? sv_view_get(v, (u32)(ino >> VIEW_SHIFT), &view) : 0;
	if (!r)
		r = itab_get(v, view, ino, NODE_WRITE, &b, &d);
	if (r)
		return r;
	s64 now = (s64)v->env.now_ns(v->env.ctx);
	*d = (struct d_inode){.generation = d->generation + 1};
	if (mode) {
		d->mode = mode;
		d->nlink = 2;
		d->parent = SEAL_ROOT_INO;
		d->atime = d->mtime = d->ctime = d->btime = now;
	}
	sv_node_put(v, b);
	return 0;
}

// Does the list name free inodes only, each once?
static int free_list_whole(struct seal_vol *v)
{
	u64 ino = v->free_ino, most = SEAL_MIN(v->next_ino, v->hiwater * INODES_PER_BLOCK);
	for (u64 steps = 0; ino && steps <= most; steps++) {
		struct node *b = NULL;
		struct d_inode *d;
		if (ino < FIRST_INO || ino >= v->next_ino)
			return 0;
		int r = itab_get(v, NULL, ino, NODE_READ, &b, &d);
		if (r)
			return r == -ENOMEM ? r : 0;
		bool free = d && !d->mode;
		ino = free ? d->parent : 0;
		sv_node_put(v, b);
		if (!free)
			return 0;
	}
	return !ino;
}

int sv_inodes_free_list(struct seal_vol *v, bool mend)
{
	int r = free_list_whole(v);
	if (r || !mend)
		return r > 0 ? 0 : r ? r : 1;
	v->free_ino = 0;
	for (u64 ino = v->next_ino; ino-- > FIRST_INO && !r;) {
		struct node *b = NULL;
		struct d_inode *d;
		r = itab_get(v, NULL, ino, NODE_READ, &b, &d);
		bool free = !r && d && !d->mode; // where a block of the table is missing the numbers stay unused
		if (!r)
			sv_node_put(v, b);
		if (free)
			r = sv_op_begin(v, 8, true);
		if (free && !r)
			r = itab_get(v, NULL, ino, NODE_WRITE, &b, &d);
		if (free && !r) {
			d->parent = v->free_ino;
			v->free_ino = ino;
			sv_node_put(v, b);
		}
	}
	return r ? r : 1;
}

static u32 orphan_name(u64 ino, char name[20]) { return (u32)snprintf(name, 20, "%lu", ino); }

static int orphan_unstore(struct seal_vol *v, struct seal_inode *i)
{
	struct seal_inode *dir;
	struct seal_dirent e;
	char name[20];
	if (!i->orphan_stored)
		return 0;
	int r = sv_inode_get(v, ORPHAN_INO, &dir);
	if (r)
		return r;
	r = sv_dir_find(v, dir, name, orphan_name(i->ino, name), &e);
	if (!r)
		r = sv_dir_remove(v, dir, e.key);
	sv_inode_put(v, dir);
	if (!r)
		i->orphan_stored = false;
	return r;
}

void sv_inode_unlinked(struct seal_vol *v, struct seal_inode *i)
{
	if (list_empty(&i->orphan_link)) {
		list_add_tail(&v->orphans, &i->orphan_link);
		v->norphans++;
	}
}

void sv_inode_relinked(struct seal_vol *v, struct seal_inode *i)
{
	if (list_empty(&i->orphan_link))
		return;
	list_del(&i->orphan_link);
	v->norphans--;
	int r = orphan_unstore(v, i);
	if (r)
		vol_abort(v, r);
}

int sv_orphans_store(struct seal_vol *v)
{
	struct seal_inode *dir = NULL;
	int r = 0;
	struct list *e = v->orphans.prev; // those of earlier commits come first
	while (e != &v->orphans && !LIST_ENTRY(e, struct seal_inode, orphan_link)->orphan_stored)
		e = e->prev;
	for (e = e->next; e != &v->orphans && !r; e = e->next) {
		struct seal_inode *i = LIST_ENTRY(e, struct seal_inode, orphan_link);
		char name[20];
		if (!dir)
			r = sv_inode_get(v, ORPHAN_INO, &dir);
		if (!r)
			r = sv_dir_insert(v, dir, name, orphan_name(i->ino, name), i->ino, T_REG);
		if (!r)
			i->orphan_stored = true;
	}
	if (dir)
		sv_inode_put(v, dir);
	return r;
}

void sv_inode_put(struct seal_vol *v, struct seal_inode *i)
{
	if (--i->refs || i == &v->snapdir)
		return;
	if (sv_is_stale(i)) {
		sv_inode_forget(v, i);
		return;
	}
	sv_inode_unused(v, i);
	if (i->nlink || i->view || i->ino == ORPHAN_INO || v->read_only || v->failed || v->repairing)
		return;
	i->refs = 1; // keeps it in place while its last traces go
	list_del(&i->lru);
	int r = sv_op_begin(v, 16, true);
	if (!r && !list_empty(&i->orphan_link)) {
		r = orphan_unstore(v, i);
		if (r)
			vol_abort(v, r);
		list_del(&i->orphan_link);
		v->norphans--;
	}
	if (!r)
		r = inode_free(v, i);
	if (r) { // stays in the hidden directory, or the volume has failed: the next mount frees it
		i->refs = 0;
		sv_inode_unused(v, i);
	}
}

void sv_inode_put_last(struct seal_vol *v, struct seal_inode *i)
{
	u64 end = ~0ul;
	int r = 1;
	while (r > 0 && i->refs == 1 && !i->nlink && !i->view && sv_inode_is(i, T_REG) && !i->is_inline && i->blocks > PIECE_BLOCKS &&
	       !v->repairing && !sv_op_begin(v, 16, true)) {
		r = sv_tree_free_piece(v, &i->tree, 0, &end, true);
		i->size = SEAL_MIN(i->size, end * SEAL_BLOCK);
		if (r < 0)
			vol_abort(v, r);
		if (r > 0)
			vol_pause(v);
	}
	sv_inode_put(v, i);
}

struct reap {
	u64 ino[64], key[64];
	u32 n;
};

static bool reap_emit(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct reap *r = ctx;
	(void)name, (void)len, (void)type;
	if (r->n == 64)
		return false;
	r->ino[r->n] = ino;
	r->key[r->n++] = cookie;
	return true;
}

int sv_orphans_reap(struct seal_vol *v)
{
	struct seal_inode *dir, *i;
	struct reap list;
	int r = sv_inode_get(v, ORPHAN_INO, &dir);
	if (r)
		return r;
	for (;;) {
		list.n = 0;
		r = sv_dir_iterate(v, dir, 0, reap_emit, &list);
		if (r || !list.n)
			break;
		for (u32 k = 0; k < list.n && !r; k++) {
			r = sv_op_begin(v, 32, true);
			if (!r)
				r = sv_inode_get(v, list.ino[k], &i);
			if (!r && i->nlink)
				r = SEAL_ECORRUPT;
			if (!r)
				r = sv_dir_remove(v, dir, list.key[k]);
			if (!r)
				r = inode_free(v, i);
		}
		if (r)
			break;
	}
	sv_inode_put(v, dir);
	return r;
}

int sv_inodes_reload(struct seal_vol *v, struct view *w, u64 leaf)
{
	int r = 0;
	for (u64 k = 0; k < INODES_PER_BLOCK && !r; k++) {
		u64 ino = (leaf * INODES_PER_BLOCK + k) | (w ? (u64)w->id << VIEW_SHIFT : 0);
		struct seal_inode *i = sv_inode_find(v, ino);
		struct node *b;
		struct d_inode *d;
		if (!i || i->dirty)
			continue;
		sv_tree_drop(v, &i->tree);
		r = itab_get(v, w, ino, NODE_READ, &b, &d);
		if (r)
			break;
		if (d)
			inode_decode(i, d);
		sv_node_put(v, b);
	}
	return r;
}

// --- handles

int seal_iget(struct seal_vol *v, u64 ino, struct seal_inode **out)
{
	vol_lock(v);
	int r = 0;
	if (ino == SNAPDIR_INO) {
		v->snapdir.refs++;
		*out = &v->snapdir;
	} else
		r = ino == ORPHAN_INO ? -ESTALE : sv_inode_get(v, ino | sv_top(v), out);
	vol_unlock(v);
	return r;
}

void seal_iput(struct seal_vol *v, struct seal_inode *i)
{
	vol_lock(v);
	sv_inode_put_last(v, i);
	vol_unlock(v);
}

void seal_getattr(struct seal_vol *v, struct seal_inode *i, struct seal_attr *out)
{
	vol_lock(v);
	*out = (struct seal_attr){
		.ino = i->ino,
		.snapshot = (u32)(i->ino >> VIEW_SHIFT),
		.mode = i->mode,
		.nlink = i->nlink,
		.uid = i->uid,
		.gid = i->gid,
		.rdev = i->rdev,
		.size = i->size,
		.blocks = i->blocks * 8,
		.atime_ns = i->atime,
		.mtime_ns = i->mtime,
		.ctime_ns = i->ctime,
		.btime_ns = i->btime,
		.generation = i->generation,
		.flags = i->flags,
		.parent = i->parent | sv_ino_view(i->ino),
	};
	if (i == &v->snapdir)
		out->parent = SEAL_ROOT_INO;
	vol_unlock(v);
}

// Is all as it should be already? Not known where ctime becomes the time of the call.
static bool as_is(const struct seal_vol *v, const struct seal_inode *i, u32 which, const struct seal_attr *a)
{
	return which & SEAL_SET_CTIME && !(which & SEAL_SET_SIZE) && !v->read_only && !v->failed && !sv_is_frozen(v, i) &&
	       (!(which & SEAL_SET_MODE) || !((i->mode ^ a->mode) & 07777)) && (!(which & SEAL_SET_UID) || i->uid == a->uid) &&
	       (!(which & SEAL_SET_GID) || i->gid == a->gid) && (!(which & SEAL_SET_ATIME) || i->atime == a->atime_ns) &&
	       (!(which & SEAL_SET_MTIME) || i->mtime == a->mtime_ns) && i->ctime == a->ctime_ns &&
	       (!(which & SEAL_SET_FLAGS) || i->flags == a->flags);
}

int seal_setattr(struct seal_vol *v, struct seal_inode *i, u32 which, const struct seal_attr *a)
{
	if (which & SEAL_SET_FLAGS && (a->flags & ~SEAL_FLAGS || !(sv_inode_is(i, T_REG) || sv_inode_is(i, T_DIR))))
		return -EOPNOTSUPP;
	vol_lock(v);
	if (as_is(v, i, which, a)) {
		vol_unlock(v);
		return 0;
	}
	int e = which & SEAL_SET_SIZE && sv_inode_is(i, T_REG) ? sv_file_shrink(v, i, a->size) : 0;
	if (e) {
		vol_unlock(v);
		return e;
	}
	// records of the log have no place for flags
	int r = which & (SEAL_SET_SIZE | SEAL_SET_FLAGS) ? sv_op_begin(v, 4, true) : sv_op_begin_logged(v, 4, false);
	if (!r)
		r = sv_inode_dirty(v, i);
	if (!r && which & SEAL_SET_SIZE)
		r = sv_inode_is(i, T_REG) ? sv_file_truncate(v, i, a->size) : sv_inode_is(i, T_DIR) ? -EISDIR : -EINVAL;
	if (r)
		goto out;
	if (which & ~SEAL_SET_ATIME)
		sv_inode_touch(v, i, which & SEAL_SET_SIZE);
	if (which & SEAL_SET_MODE)
		i->mode = (i->mode & 0170000) | (a->mode & 07777);
	if (which & SEAL_SET_UID)
		i->uid = a->uid;
	if (which & SEAL_SET_GID)
		i->gid = a->gid;
	if (which & SEAL_SET_ATIME)
		i->atime = a->atime_ns;
	if (which & SEAL_SET_MTIME)
		i->mtime = a->mtime_ns;
	if (which & SEAL_SET_CTIME)
		i->ctime = a->ctime_ns;
	if (which & SEAL_SET_FLAGS)
		i->flags = a->flags;
	sv_log_inode(v, i);
out:
	vol_unlock(v);
	return r;
}
