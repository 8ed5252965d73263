// SPDX-License-Identifier: Apache-2.0
// Overlay mounts: listing a directory. All layers are read once, when a listing begins, and the names of lower ones that are hidden
// left out; positions count what is left, so they stay valid. Locks: see ovl.h; the directory's inode lock, held by the caller.
#include "kernel/fs/ovl.h"

struct item {
	u64 ino;
	u32 hash, next, at; // next: of its hash chain, index + 1; at: where its name begins
	u8 type, len;
	bool hidden;
};

struct listing {
	struct item *item;
	char *names;
	u32 n, cap, used, room, bucket[256];
};

static void free_listing(struct listing *l)
{
	if (!l)
		return;
	kfree(l->item);
	kfree(l->names);
	kfree(l);
}

static bool known(const struct listing *l, const char *name, u32 len, u32 hash)
{
	for (u32 k = l->bucket[hash & 255]; k; k = l->item[k - 1].next)
		if (l->item[k - 1].hash == hash && l->item[k - 1].len == len && !memcmp(l->names + l->item[k - 1].at, name, len))
			return true;
	return false;
}

static bool add(struct listing *l, const char *name, u32 len, u64 ino, u8 type)
{
	u32 hash = name_hash(NULL, name, len);

	if (l->n == l->cap) {
		u32 cap = max(2 * l->cap, 64u);
		struct item *more = krealloc(l->item, cap * sizeof(*more));
		if (!more)
			return false;
		l->item = more;
		l->cap = cap;
	}
	if (l->used + len > l->room) {
		u32 room = max(2 * l->room, 2048u);
		char *more = krealloc(l->names, room);
		if (!more)
			return false;
		l->names = more;
		l->room = room;
	}
	memcpy(l->names + l->used, name, len);
	l->item[l->n] = (struct item){.ino = ino, .hash = hash, .next = l->bucket[hash & 255], .at = l->used, .type = type, .len = (u8)len};
	l->used += len;
	l->bucket[hash & 255] = ++l->n;
	return true;
}

struct reading { // readdir of one layer
	struct dir_ctx ctx;
	struct listing *l;
	bool failed;
};

static bool take(struct dir_ctx *c, const char *name, u32 len, u64 ino, u32 dtype, u64 next)
{
	struct reading *r = container_of(c, struct reading, ctx);

	c->pos = next;
	if (!known(r->l, name, len, name_hash(NULL, name, len)))
		r->failed |= !add(r->l, name, len, ino, (u8)dtype);
	return !r->failed;
}

static int read_layer(const struct ovl_fs *fs, struct listing *l, struct dentry *d)
{
	struct reading r = {.ctx = {.pos = 2, .emit = take}, .l = l};
	struct file *f;
	int e = ovl_may(fs, d, MAY_READ);

	if (e)
		return e;
	f = layer_open(d, O_RDONLY);
	if (IS_ERR(f))
		return (int)PTR_ERR(f);
	inode_lock(d->inode);
	e = f->ops->readdir(f, &r.ctx);
	inode_unlock(d->inode);
	file_put(f);
	return e < 0 ? e : r.failed ? -ENOMEM : 0;
}

// What is listed bears the number and type that looking it up gives: whiteouts and what they hide are not seen, a copy has the
// number of what was copied. Not while reading, when the layer's directory is locked.
static int resolve(struct listing *l, struct inode *dir)
{
	for (u32 k = 0; k < l->n; k++) {
		struct item *it = &l->item[k];
		struct inode *i = NULL;
		int r = ovl_lookup(dir, l->names + it->at, it->len, &i);
		if (r && r != -ENOENT)
			return r;
		it->hidden = r;
		if (!r) {
			it->ino = i->ino;
			it->type = (u8)(i->mode >> 12 & 15);
			inode_put(i);
		}
	}
	return 0;
}

static int build(struct inode *dir, struct listing **out)
{
	struct ovl_node *n = ovl_node(dir);
	struct dentry *up = ovl_upper(dir);
	struct listing *l = knew(struct listing);
	int r = l ? 0 : -ENOMEM;

	if (!r && up)
		r = read_layer(ovl_fs(dir), l, up);
	for (u32 k = 0; k < n->nlower && !r; k++)
		r = read_layer(ovl_fs(dir), l, n->lower[k]);
	if (!r)
		r = resolve(l, dir);
	if (r) {
		free_listing(l);
		return r;
	}
	*out = l;
	return 0;
}

int ovl_readdir(struct file *f, struct dir_ctx *c)
{
	struct listing *l = f->priv;

	if (c->pos == 2 || !l) {
		struct listing *fresh;
		int r = build(f->inode, &fresh);
		if (r)
			return r;
		free_listing(l);
		f->priv = l = fresh;
	}
	for (u64 k = c->pos - 2; k < l->n; k++) {
		const struct item *it = &l->item[k];
		if (!it->hidden && !c->emit(c, l->names + it->at, it->len, it->ino, it->type, k + 3))
			break;
	}
	return 0;
}

void ovl_list_free(struct file *f) { free_listing(f->priv); }

int ovl_empty(struct inode *dir)
{
	struct listing *l;
	int r = build(dir, &l);

	for (u32 k = 0; !r && k < l->n; k++)
		if (!l->item[k].hidden)
			r = -ENOTEMPTY;
	if (!r || r == -ENOTEMPTY)
		free_listing(l);
	return r;
}
