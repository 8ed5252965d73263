// SPDX-License-Identifier: Apache-2.0
// Name tables of directories in memory: an array in order of creation, so that readdir positions stay valid whatever
// comes and goes, and a hash table once it is worth one. Locks: the directory's inode lock, taken by the caller.
#include "kernel/fs/memdir.h"

#define HASH_FROM 16u

static u32 hash_of(const char *name, u32 len) { return name_hash(NULL, name, len); }

struct mement *memdir_find(struct memdir *d, const char *name, u32 len)
{
	u32 h = hash_of(name, len);
	if (d->bucket) {
		for (struct mement *e = d->bucket[h & (d->nbuckets - 1)]; e; e = e->hnext)
			if (e->hash == h && e->len == len && !memcmp(e->name, name, len))
				return e;
		return NULL;
	}
	for (u32 i = 0; i < d->nslots; i++) {
		struct mement *e = d->slot[i];
		if (e && e->hash == h && e->len == len && !memcmp(e->name, name, len))
			return e;
	}
	return NULL;
}

static void hash_in(struct memdir *d, struct mement *e)
{
	struct mement **b = &d->bucket[e->hash & (d->nbuckets - 1)];
	e->hnext = *b;
	*b = e;
}

static bool rehash(struct memdir *d, u32 n)
{
	struct mement **b = kzalloc(n * sizeof(*b));
	if (!b)
		return false;
	kfree(d->bucket);
	d->bucket = b;
	d->nbuckets = n;
	for (u32 i = 0; i < d->nslots; i++)
		if (d->slot[i])
			hash_in(d, d->slot[i]);
	return true;
}

static void close_gaps(struct memdir *d)
{
	u32 n = 0;

	for (u32 i = 0; i < d->nslots; i++)
		if (d->slot[i]) {
			d->slot[i]->at = n;
			d->slot[n++] = d->slot[i];
		}
	d->nslots = n;
}

// Room for one more slot. Fewer than half are gaps (memdir_del).
static bool make_room(struct memdir *d)
{
	if (d->nslots < d->cap)
		return true;
	u32 cap = d->cap ? d->cap * 2 : 8;
	struct mement **s = krealloc(d->slot, cap * sizeof(*s));
	if (!s)
		return false;
	d->slot = s;
	d->cap = cap;
	return true;
}

int memdir_add(struct memdir *d, const char *name, u32 len, struct inode *ino)
{
	struct mement *e = kmalloc(sizeof(*e) + len);
	if (!e || !make_room(d)) {
		kfree(e);
		return -ENOMEM;
	}
	if (d->used >= HASH_FROM && d->used >= d->nbuckets && !rehash(d, max(d->nbuckets * 2, 4 * HASH_FROM)) &&
	    !d->bucket) {
		kfree(e);
		return -ENOMEM;
	}
	e->hnext = NULL;
	e->inode = ino;
	e->hash = hash_of(name, len);
	e->len = (u8)len;
	memcpy(e->name, name, len);
	if (!d->next_cookie)
		d->next_cookie = 2;
	e->cookie = d->next_cookie++;
	e->at = d->nslots;
	d->slot[d->nslots++] = e;
	if (d->bucket)
		hash_in(d, e);
	d->used++;
	if (ino) {
		inode_get(ino);
		d->live++;
	}
	return 0;
}

u32 memdir_from(struct memdir *d, u64 cookie)
{
	// Slots may be empty: the cookie of an empty one is unknown, so look right for a neighbour.
	u32 lo = 0, hi = d->nslots;
	while (lo < hi) {
		u32 mid = (lo + hi) / 2, m = mid;
		while (m < hi && !d->slot[m])
			m++;
		if (m < hi && d->slot[m]->cookie < cookie)
			lo = m + 1;
		else
			hi = mid;
	}
	return lo;
}

void memdir_del(struct memdir *d, struct mement *e)
{
	d->slot[e->at] = NULL;
	while (d->nslots && !d->slot[d->nslots - 1])
		d->nslots--;
	if (d->bucket) {
		struct mement **p = &d->bucket[e->hash & (d->nbuckets - 1)];
		while (*p != e)
			p = &(*p)->hnext;
		*p = e->hnext;
	}
	if (--d->used < d->nslots / 2)
		close_gaps(d);
	if (e->inode) {
		d->live--;
		inode_put(e->inode);
	}
	kfree(e);
}

void memdir_set(struct memdir *d, struct mement *e, struct inode *ino)
{
	struct inode *old = e->inode;
	if (ino)
		inode_get(ino);
	d->live += !!ino;
	d->live -= !!old;
	e->inode = ino;
	inode_put(old);
}

// A directory that only the dying one names dies with it: its table is taken over here, not by recursion,
// however deep the tree is.
struct dead {
	struct dead *next;
	struct memdir dir;
};

static void take_over(struct inode *i, struct dead **todo)
{
	struct memdir *d = &node_of(i)->dir;
	if (!is_dir(i) || !d->used || __atomic_load_n(&i->ref.n, __ATOMIC_ACQUIRE) != 1)
		return;
	struct dead *t = kmalloc(sizeof(*t));
	if (!t)
		return;
	t->dir = *d;
	memset(d, 0, sizeof(*d));
	t->next = *todo;
	*todo = t;
}

void memdir_free(struct memdir *dir)
{
	struct dead *todo = NULL;
	struct memdir d = *dir;
	memset(dir, 0, sizeof(*dir));
	for (;;) {
		for (u32 i = 0; i < d.nslots; i++) {
			struct mement *e = d.slot[i];
			if (!e)
				continue;
			if (e->inode)
				take_over(e->inode, &todo);
			inode_put(e->inode);
			kfree(e);
		}
		kfree(d.slot);
		kfree(d.bucket);
		struct dead *t = todo;
		if (!t)
			return;
		todo = t->next;
		d = t->dir;
		kfree(t);
	}
}
