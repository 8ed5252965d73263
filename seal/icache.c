// SPDX-License-Identifier: Apache-2.0
// The cache of decoded inodes. Those that nobody holds and that are not dirty are kept in the order of their last use, up to a
// number that follows the cache's size; dirty ones wait in a list of their own until they are stored. Volume's lock held.
#include "seal/vol.h"

#define NIHASH 1024u // chains at first

static struct seal_inode **slot_of(struct seal_vol *v, u64 ino)
{
	struct seal_inode **p = &v->ihash[(ino ^ ino >> VIEW_SHIFT) & (v->nihash - 1)];
	while (*p && (*p)->ino != ino)
		p = &(*p)->hash_next;
	return p;
}

struct seal_inode *sv_inode_find(struct seal_vol *v, u64 ino) { return *slot_of(v, ino); }

int sv_icache_init(struct seal_vol *v)
{
	v->ihash = vol_alloc(v, NIHASH * sizeof *v->ihash);
	if (!v->ihash)
		return -ENOMEM;
	memset(v->ihash, 0, NIHASH * sizeof *v->ihash);
	v->nihash = NIHASH;
	return 0;
}

void sv_icache_end(struct seal_vol *v)
{
	sv_inodes_drop_all(v);
	vol_free(v, v->ihash, v->nihash * sizeof *v->ihash);
	v->ihash = NULL;
	v->nihash = 0;
}

// Programs may hold more inodes than the cache keeps. Without memory for it the chains stay as long as they are.
static void hash_grow(struct seal_vol *v)
{
	u32 had = v->nihash;
	struct seal_inode **old = v->ihash, **p = had < 1u << 22 ? vol_alloc(v, 2 * had * sizeof *p) : NULL;
	if (!p)
		return;
	memset(p, 0, 2 * had * sizeof *p);
	v->ihash = p;
	v->nihash = 2 * had;
	for (u32 k = 0; k < had; k++)
		for (struct seal_inode *i = old[k], *next; i; i = next) {
			next = i->hash_next;
			i->hash_next = NULL;
			*slot_of(v, i->ino) = i;
		}
	vol_free(v, old, had * sizeof *old);
}

void sv_inode_forget(struct seal_vol *v, struct seal_inode *i)
{
	*slot_of(v, i->ino) = i->hash_next;
	list_del(&i->lru);
	v->ndirty_inodes -= i->dirty;
	list_del(&i->dirty_link);
	list_del(&i->orphan_link);
	sv_tree_drop(v, &i->tree);
	v->ninodes--;
	explicit_bzero(i, sizeof *i);
	vol_free(v, i, sizeof *i);
}

static u64 most(const struct seal_vol *v) { return v->max_nodes / 4 + 64; }

static bool pinned(const struct seal_inode *i)
{
	for (const struct list *n = i->tree.nodes.next; n != &i->tree.nodes; n = n->next)
		if (LIST_ENTRY(n, struct node, in_tree)->pins)
			return true;
	return i->tree.ndirty;
}

int sv_inode_new(struct seal_vol *v, u64 ino, struct seal_inode **out)
{
	while (v->ninodes > most(v) && !list_empty(&v->inode_lru)) {
		struct seal_inode *old = LIST_ENTRY(v->inode_lru.next, struct seal_inode, lru);
		if (pinned(old))
			break;
		sv_inode_forget(v, old);
	}
	struct seal_inode *i = vol_alloc(v, sizeof *i);
	if (!i)
		return -ENOMEM;
	memset(i, 0, sizeof *i);
	i->ino = ino;
	i->refs = 1;
	list_init(&i->lru);
	list_init(&i->dirty_link);
	list_init(&i->orphan_link);
	sv_tree_init(&i->tree, CLASS_FILE, i);
	if (v->ninodes > 2 * v->nihash)
		hash_grow(v);
	*slot_of(v, ino) = i;
	v->ninodes++;
	*out = i;
	return 0;
}

void sv_inode_unused(struct seal_vol *v, struct seal_inode *i)
{
	if (!i->dirty && list_empty(&i->orphan_link))
		list_add_tail(&v->inode_lru, &i->lru);
}

void sv_inode_dirtied(struct seal_vol *v, struct seal_inode *i)
{
	list_del(&i->lru);
	i->dirty = true;
	v->ndirty_inodes++;
	list_add_tail(&v->dirty_inodes, &i->dirty_link);
}

void sv_inode_cleaned(struct seal_vol *v, struct seal_inode *i)
{
	i->dirty = false;
	v->ndirty_inodes--;
	list_del(&i->dirty_link);
	if (!i->refs)
		sv_inode_unused(v, i);
}

// Those with dirty blocks have to wait for them, which will change their pointers; but they are no more than there are dirty blocks,
// so each time it comes to this a good part of all is stored.
int sv_inodes_settle(struct seal_vol *v)
{
	int r = 0;
	if (v->ndirty_inodes <= most(v) / 2 + v->ndirty)
		return 0;
	for (struct list *e = v->dirty_inodes.next, *next; e != &v->dirty_inodes && !r; e = next) {
		struct seal_inode *i = LIST_ENTRY(e, struct seal_inode, dirty_link);
		next = e->next;
		if (!i->tree.ndirty)
			r = sv_inode_store(v, i);
	}
	return r;
}

void sv_inodes_drop_all(struct seal_vol *v)
{
	for (u32 k = 0; k < v->nihash; k++)
		while (v->ihash[k])
			sv_inode_forget(v, v->ihash[k]);
}

void sv_inodes_drop_view(struct seal_vol *v, struct view *view)
{
	for (u32 k = 0; k < v->nihash; k++)
		for (struct seal_inode *i = v->ihash[k], *next; i; i = next) {
			next = i->hash_next;
			if (i->view != view)
				continue;
			if (!i->refs) {
				sv_inode_forget(v, i);
				continue;
			}
			// somebody still holds it: it is an empty shell from now on
			sv_tree_drop(v, &i->tree);
			memset(i->tree.root, 0, sizeof i->tree.root);
			memset(&i->xattr, 0, sizeof i->xattr);
			i->tree.height = 0;
			i->size = 0;
			i->dir_height = i->dir_root = i->dir_blocks = 0;
			i->is_inline = false;
			i->view = SV_STALE;
		}
}

bool sv_inodes_idle(struct seal_vol *v)
{
	for (u32 k = 0; k < v->nihash; k++)
		for (struct seal_inode *i = v->ihash[k]; i; i = i->hash_next)
			if (!i->view && i->refs > (i == v->root))
				return false;
	return true;
}
