// SPDX-License-Identifier: Apache-2.0
// Directories: a B+tree over the blocks of the directory's own file, ordered by a keyed hash of the name (so nobody
// outside can make names collide). A name's key is 55 bits of SipHash and 8 bits that tell equal hashes apart; it never
// changes while the name exists, which makes it the readdir cookie. Emptied blocks go to a free list in the directory.
#include "seal/vol.h"

static u64 rol(u64 x, int b) { return x << b | x >> (64 - b); }

static void sip_round(u64 s[4])
{
	s[0] += s[1];
	s[2] += s[3];
	s[1] = rol(s[1], 13) ^ s[0];
	s[3] = rol(s[3], 16) ^ s[2];
	s[0] = rol(s[0], 32);
	s[2] += s[1];
	s[0] += s[3];
	s[1] = rol(s[1], 17) ^ s[2];
	s[3] = rol(s[3], 21) ^ s[0];
	s[2] = rol(s[2], 32);
}

// SipHash-2-4 (Aumasson, Bernstein).
static u64 siphash(const u8 key[16], const char *name, u32 len)
{
	u64 k[2], m;
	memcpy(k, key, 16);
	u64 s[4] = {k[0] ^ 0x736f6d6570736575ul, k[1] ^ 0x646f72616e646f6dul, k[0] ^ 0x6c7967656e657261ul,
		    k[1] ^ 0x7465646279746573ul};
	for (u32 i = 0; i <= len; i += 8) {
		u32 n = SEAL_MIN(8u, len - i);
		m = n < 8 ? (u64)len << 56 : 0;
		memcpy(&m, name + i, n);
		s[3] ^= m;
		sip_round(s);
		sip_round(s);
		s[0] ^= m;
	}
	s[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(s);
	return s[0] ^ s[1] ^ s[2] ^ s[3];
}

static u64 name_hash(struct seal_vol *v, const char *name, u32 len)
{
	u64 h = siphash(v->dir_key, name, len) & ((1ul << 55) - 1);
	return (h ? h : 1) << 8;
}

static struct d_dirhead *head(const struct node *n) { return (struct d_dirhead *)n->data; }
static struct d_dirslot *slots(const struct node *n)
{
	return (struct d_dirslot *)(n->data + sizeof(struct d_dirhead));
}
static struct d_dirsep *seps(const struct node *n) { return (struct d_dirsep *)(n->data + sizeof(struct d_dirhead)); }

static bool name_ok(const char *s, u32 len)
{
	if (!len || len > SEAL_NAME_MAX || memchr(s, '/', len) || memchr(s, 0, len))
		return false;
	return !(s[0] == '.' && (len == 1 || (len == 2 && s[1] == '.')));
}

static bool block_valid(const struct seal_inode *d, const struct node *n, u32 kind)
{
	const struct d_dirhead *h = head(n);
	u64 last = 255;
	if (h->kind != kind)
		return false;
	if (kind == DIR_FREE)
		return h->next_free <= d->dir_blocks;
	if (kind == DIR_INNER) {
		if (!h->count || h->count > DIR_MAX_INNER)
			return false;
		for (u32 k = 0; k < h->count; k++) {
			if (seps(n)[k].child >= d->dir_blocks || (k && seps(n)[k].key <= last))
				return false;
			last = k ? seps(n)[k].key : last;
		}
		return true;
	}
	u64 base = sizeof *h + h->count * sizeof(struct d_dirslot);
	if (base > h->heap || h->heap > SEAL_BLOCK || h->dead > SEAL_BLOCK - h->heap)
		return false;
	for (u32 k = 0; k < h->count; k++) {
		const struct d_dirslot *s = &slots(n)[k];
		if (s->key <= last || s->key >> 63 || s->ino > VIEW_INO || s->off < h->heap || s->off + s->len > SEAL_BLOCK ||
		    !name_ok((char *)n->data + s->off, s->len))
			return false;
		last = s->key;
	}
	return true;
}

static int block_get(struct seal_vol *v, struct seal_inode *d, u32 blk, u32 kind, u32 mode, struct node **out)
{
	int r = sv_node_get(v, &d->tree, 0, blk, mode, out);
	if (r)
		return r;
	if (*out && ((*out)->checked ? head(*out)->kind == kind : block_valid(d, *out, kind))) {
		(*out)->checked = true;
		return 0;
	}
	sv_node_put(v, *out);
	*out = NULL;
	return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &d->tree, 0, blk, 0);
}

static int block_new(struct seal_vol *v, struct seal_inode *d, u32 kind, u32 *blk, struct node **out)
{
	u32 b = d->dir_free ? d->dir_free - 1 : d->dir_blocks;
	u32 next = 0;
	int r;
	if (d->dir_free) {
		r = block_get(v, d, b, DIR_FREE, NODE_WRITE, out);
		if (!r)
			next = head(*out)->next_free;
	} else {
		r = sv_tree_grow(v, &d->tree, b);
		if (!r)
			r = sv_node_get(v, &d->tree, 0, b, NODE_WRITE, out);
	}
	if (r)
		return r;
	if (d->dir_free)
		d->dir_free = next;
	else
		d->size = (u64)++d->dir_blocks * SEAL_BLOCK;
	memset((*out)->data, 0, SEAL_BLOCK);
	head(*out)->kind = (u16)kind;
	head(*out)->heap = SEAL_BLOCK;
	(*out)->checked = true;
	*blk = b;
	return 0;
}

static void block_release(struct seal_inode *d, u32 blk, struct node *n) // writable
{
	memset(n->data, 0, SEAL_BLOCK);
	head(n)->kind = DIR_FREE;
	head(n)->next_free = d->dir_free;
	d->dir_free = blk + 1;
}

// Position of the child that covers key.
static u32 sep_find(const struct node *n, u64 key)
{
	u32 lo = 0, hi = head(n)->count;
	while (hi - lo > 1) {
		u32 mid = (lo + hi) / 2;
		if (seps(n)[mid].key <= key)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

// First slot whose key is >= key.
static u32 slot_find(const struct node *n, u64 key)
{
	u32 lo = 0, hi = head(n)->count;
	while (lo < hi) {
		u32 mid = (lo + hi) / 2;
		if (slots(n)[mid].key < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

// The leaf that covers key, pinned; *bound: the first key beyond that leaf (~0: none). *out NULL: empty directory.
static int leaf_get(struct seal_vol *v, struct seal_inode *d, u64 key, u32 mode, struct node **out, u64 *bound)
{
	u32 blk = d->dir_root;
	*out = NULL;
	*bound = ~0ul;
	for (u32 level = d->dir_height; level > 1; level--) {
		struct node *n;
		int r = block_get(v, d, blk, DIR_INNER, mode, &n);
		if (r)
			return r;
		u32 k = sep_find(n, key);
		if (k + 1 < head(n)->count)
			*bound = seps(n)[k + 1].key;
		blk = seps(n)[k].child;
		sv_node_put(v, n);
	}
	return d->dir_height ? block_get(v, d, blk, DIR_LEAF, mode, out) : 0;
}

// Looks for the name among the entries of its hash. -ENOENT: *free_key is a key that it could get (0: none left).
static int name_find(struct seal_vol *v, struct seal_inode *d, const char *name, u32 len, struct seal_dirent *out,
		     u64 *free_key)
{
	u64 hash = name_hash(v, name, len), at = hash, want = hash, bound;
	*free_key = 0;
	for (;;) {
		struct node *n;
		int r = leaf_get(v, d, at, NODE_READ, &n, &bound);
		if (r)
			return r;
		for (u32 k = n ? slot_find(n, at) : 0; n && k < head(n)->count; k++) {
			const struct d_dirslot *s = &slots(n)[k];
			if (s->key >> 8 != hash >> 8) {
				bound = ~0ul;
				break;
			}
			if (s->len == len && !memcmp(n->data + s->off, name, len)) {
				*out = (struct seal_dirent){s->key, s->ino | sv_ino_view(d->ino), s->type};
				sv_node_put(v, n);
				return 0;
			}
			if (s->key == want)
				want++;
		}
		sv_node_put(v, n);
		if (bound >> 8 > hash >> 8)
			break;
		at = bound;
	}
	*free_key = want >> 8 == hash >> 8 ? want : 0;
	return -ENOENT;
}

int sv_dir_find(struct seal_vol *v, struct seal_inode *d, const char *name, u32 len, struct seal_dirent *out)
{
	u64 key;
	return name_find(v, d, name, len, out, &key);
}

static u32 leaf_room(const struct node *n)
{
	return head(n)->heap - (u32)(sizeof(struct d_dirhead) + head(n)->count * sizeof(struct d_dirslot));
}

// Moves the names together so that deleted ones' room can be used.
static void leaf_compact(struct node *n)
{
	u8 copy[SEAL_BLOCK];
	struct d_dirhead *h = head(n);
	memcpy(copy, n->data, SEAL_BLOCK);
	u32 heap = SEAL_BLOCK;
	for (u32 k = 0; k < h->count; k++) {
		struct d_dirslot *s = &slots(n)[k];
		heap -= s->len;
		memcpy(n->data + heap, copy + s->off, s->len);
		s->off = (u16)heap;
	}
	h->heap = (u16)heap;
	h->dead = 0;
	memset(&slots(n)[h->count], 0, heap - sizeof *h - h->count * sizeof(struct d_dirslot));
	explicit_bzero(copy, sizeof copy);
}

static bool block_full(const struct node *n, u32 len)
{
	if (head(n)->kind == DIR_INNER)
		return head(n)->count >= DIR_MAX_INNER;
	return leaf_room(n) + head(n)->dead < sizeof(struct d_dirslot) + len;
}

// Moves the upper half of child to a new block and enters it in the parent, which has room. Both are writable.
static int block_split(struct seal_vol *v, struct seal_inode *d, struct node *parent, u32 at, struct node *child)
{
	struct node *right;
	u32 blk, kind = head(child)->kind, n = head(child)->count, half = n / 2;
	u64 key;
	int r = block_new(v, d, kind, &blk, &right);
	if (r)
		return r;
	if (kind == DIR_INNER) {
		key = seps(child)[half].key;
		memcpy(seps(right), seps(child) + half, (n - half) * sizeof(struct d_dirsep));
	} else {
		// By bytes, not by number, so that both halves have room for one more name.
		u32 bytes = 0, total = 0;
		for (u32 k = 0; k < n; k++)
			total += slots(child)[k].len + (u32)sizeof(struct d_dirslot);
		for (half = 0; half < n - 1 && bytes < total / 2; half++)
			bytes += slots(child)[half].len + (u32)sizeof(struct d_dirslot);
		key = slots(child)[half].key;
		u32 heap = SEAL_BLOCK;
		for (u32 k = half; k < n; k++) {
			struct d_dirslot s = slots(child)[k];
			heap -= s.len;
			memcpy(right->data + heap, child->data + s.off, s.len);
			s.off = (u16)heap;
			slots(right)[k - half] = s;
		}
		head(right)->heap = (u16)heap;
	}
	head(right)->count = (u16)(n - half);
	head(child)->count = (u16)half;
	if (kind == DIR_LEAF)
		leaf_compact(child);
	else
		memset(seps(child) + half, 0, (n - half) * sizeof(struct d_dirsep));
	struct d_dirsep *s = seps(parent) + at + 1;
	memmove(s + 1, s, (head(parent)->count - at - 1) * sizeof *s);
	*s = (struct d_dirsep){.key = key, .child = blk};
	head(parent)->count++;
	sv_node_put(v, right);
	return 0;
}

// A new root above the old one, whose only child that is.
static int root_raise(struct seal_vol *v, struct seal_inode *d, struct node **root)
{
	u32 blk;
	int r = block_new(v, d, DIR_INNER, &blk, root);
	if (r)
		return r;
	seps(*root)[0] = (struct d_dirsep){.child = d->dir_root};
	head(*root)->count = 1;
	d->dir_root = blk;
	d->dir_height++;
	return 0;
}

// The writable leaf for key with room for a name of that length, splitting full blocks on the way down. Each split
// leaves a valid tree, so a failure later does no harm.
static int leaf_for_insert(struct seal_vol *v, struct seal_inode *d, u64 key, u32 len, struct node **out)
{
	struct node *n = NULL, *c;
	u32 level = d->dir_height, blk = d->dir_root;
	int r = block_get(v, d, blk, level > 1 ? DIR_INNER : DIR_LEAF, NODE_WRITE, &n);
	if (r)
		return r;
	if (block_full(n, len)) {
		if (level >= 15) {
			sv_node_put(v, n);
			return -ENOSPC;
		}
		r = root_raise(v, d, &c);
		if (!r)
			r = block_split(v, d, c, 0, n);
		sv_node_put(v, n);
		if (r)
			return r;
		n = c;
		level++;
	}
	for (; level > 1; level--) {
		u32 k = sep_find(n, key), kind = level > 2 ? DIR_INNER : DIR_LEAF;
		r = block_get(v, d, seps(n)[k].child, kind, NODE_WRITE, &c);
		if (!r && block_full(c, len)) {
			r = block_split(v, d, n, k, c);
			sv_node_put(v, c);
			c = NULL;
			k = sep_find(n, key);
			if (!r)
				r = block_get(v, d, seps(n)[k].child, kind, NODE_WRITE, &c);
		}
		sv_node_put(v, n);
		if (r)
			return r;
		n = c;
	}
	*out = n;
	return 0;
}

int sv_dir_insert(struct seal_vol *v, struct seal_inode *d, const char *name, u32 len, u64 ino, u32 type)
{
	struct seal_dirent e;
	struct node *n;
	u64 key;
	int r = name_find(v, d, name, len, &e, &key);
	if (r != -ENOENT)
		return r ? r : -EEXIST;
	if (!key)
		return -ENOSPC;
	r = sv_inode_dirty(v, d);
	if (r)
		return r;
	if (!d->dir_height) {
		u32 blk;
		r = block_new(v, d, DIR_LEAF, &blk, &n);
		if (r)
			return r;
		d->dir_root = blk;
		d->dir_height = 1;
	} else {
		r = leaf_for_insert(v, d, key, len, &n);
		if (r)
			return r;
	}
	if (leaf_room(n) < sizeof(struct d_dirslot) + len)
		leaf_compact(n);
	struct d_dirhead *h = head(n);
	u32 k = slot_find(n, key);
	h->heap = (u16)(h->heap - len);
	memcpy(n->data + h->heap, name, len);
	memmove(slots(n) + k + 1, slots(n) + k, (h->count - k) * sizeof(struct d_dirslot));
	slots(n)[k] = (struct d_dirslot){.key = key, .ino = ino, .off = h->heap, .len = (u16)len, .type = type};
	h->count++;
	d->dir_count++;
	sv_node_put(v, n);
	return 0;
}

static int slot_of(struct seal_vol *v, struct seal_inode *d, u64 key, u32 mode, struct node **n, u32 *k)
{
	u64 bound;
	int r = leaf_get(v, d, key, mode, n, &bound);
	if (r)
		return r;
	*k = *n ? slot_find(*n, key) : 0;
	if (*n && *k < head(*n)->count && slots(*n)[*k].key == key)
		return 0;
	sv_node_put(v, *n);
	return -ENOENT;
}

int sv_dir_replace(struct seal_vol *v, struct seal_inode *d, u64 key, u64 ino, u32 type)
{
	struct node *n;
	u32 k;
	int r = slot_of(v, d, key, NODE_WRITE, &n, &k);
	if (r)
		return r;
	slots(n)[k].ino = ino;
	slots(n)[k].type = type;
	sv_node_put(v, n);
	return 0;
}

// The block at `level` on the way to key lost its last entry: takes it out of its parent, and so on upwards.
static int prune(struct seal_vol *v, struct seal_inode *d, u64 key)
{
	struct node *path[16];
	u32 blk[16], at[16], depth = 0;
	int r = 0;
	blk[0] = d->dir_root;
	for (u32 level = d->dir_height; level; level--) {
		r = block_get(v, d, blk[depth], level > 1 ? DIR_INNER : DIR_LEAF, NODE_WRITE, &path[depth]);
		if (r)
			goto out;
		if (level > 1) {
			at[depth] = sep_find(path[depth], key);
			blk[depth + 1] = seps(path[depth])[at[depth]].child;
		}
		depth++;
	}
	for (u32 l = depth - 1; l && !head(path[l])->count; l--) {
		struct d_dirhead *ph = head(path[l - 1]);
		struct d_dirsep *s = seps(path[l - 1]) + at[l - 1];
		block_release(d, blk[l], path[l]);
		memmove(s, s + 1, (ph->count - at[l - 1] - 1u) * sizeof *s);
		ph->count--;
		memset(seps(path[l - 1]) + ph->count, 0, sizeof *s);
	}
	for (u32 l = 0; l + 1 < depth && head(path[l])->kind == DIR_INNER && head(path[l])->count == 1; l++) {
		d->dir_root = seps(path[l])[0].child;
		d->dir_height--;
		block_release(d, blk[l], path[l]);
		if (blk[l + 1] != d->dir_root)
			break; // the next level was just emptied; its sibling is the root now
	}
out:
	while (depth--)
		sv_node_put(v, path[depth]);
	return r;
}

int sv_dir_clear(struct seal_vol *v, struct seal_inode *d)
{
	int r = sv_tree_free_range(v, &d->tree, 0, ~0ul);
	d->dir_root = d->dir_height = d->dir_blocks = d->dir_free = 0;
	d->dir_count = d->size = 0;
	return r;
}

int sv_dir_remove(struct seal_vol *v, struct seal_inode *d, u64 key)
{
	struct node *n;
	u32 k;
	int r = sv_inode_dirty(v, d);
	if (!r)
		r = slot_of(v, d, key, NODE_WRITE, &n, &k);
	if (r)
		return r;
	struct d_dirhead *h = head(n);
	h->dead = (u16)(h->dead + slots(n)[k].len);
	memset(n->data + slots(n)[k].off, 0, slots(n)[k].len);
	memmove(slots(n) + k, slots(n) + k + 1, (h->count - k - 1u) * sizeof(struct d_dirslot));
	h->count--;
	memset(slots(n) + h->count, 0, sizeof(struct d_dirslot));
	d->dir_count--;
	bool empty = !h->count;
	sv_node_put(v, n);
	if (empty && d->dir_count)
		return prune(v, d, key);
	return empty ? sv_dir_clear(v, d) : 0;
}

int sv_dir_salvage(struct seal_vol *v, struct seal_inode *d, seal_emit emit, void *ctx)
{
	u64 blocks = SEAL_MIN((u64)d->dir_blocks, v->hiwater);
	for (u32 blk = 0; blk < blocks; blk++) {
		struct node *n;
		int r = sv_node_get(v, &d->tree, 0, blk, NODE_READ, &n);
		if (r == -ENOMEM)
			return r;
		bool leaf = !r && n && block_valid(d, n, DIR_LEAF);
		for (u32 k = 0; leaf && k < head(n)->count && !r; k++) {
			const struct d_dirslot *s = &slots(n)[k];
			if (!emit(ctx, (char *)n->data + s->off, s->len, s->ino, s->type, s->key))
				r = -ENOMEM;
		}
		if (n)
			sv_node_put(v, n);
		if (leaf && r)
			return r;
	}
	return 0;
}

int sv_dir_iterate(struct seal_vol *v, struct seal_inode *d, u64 cookie, seal_emit emit, void *ctx)
{
	u64 left = SEAL_MIN(d->blocks, v->hiwater); // a leaf has one place in the tree
	for (u64 at = cookie + 1, bound;; at = bound) {
		struct node *n;
		int r = leaf_get(v, d, at, NODE_READ, &n, &bound);
		if (r || !n)
			return r;
		if (!left--) {
			sv_node_put(v, n);
			return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &d->tree, 0, d->dir_root, 0);
		}
		for (u32 k = slot_find(n, at); k < head(n)->count; k++) {
			const struct d_dirslot *s = &slots(n)[k];
			if (!emit(ctx, (char *)n->data + s->off, s->len, s->ino | sv_ino_view(d->ino), s->type, s->key)) {
				sv_node_put(v, n);
				return 0;
			}
		}
		sv_node_put(v, n);
		if (bound == ~0ul)
			return 0;
	}
}
