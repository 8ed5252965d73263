// SPDX-License-Identifier: Apache-2.0
// The name cache. A dentry is one name in one directory, with its inode or (negative) the knowledge
// that there is none. The cache itself holds one reference on each dentry in it, so that a dentry's last reference goes
// only after it has left the cache, and dropping a reference is one atomic operation.
// Locks: dcache_lock, read by path walks and written by what changes the tree: it guards names, parents and children of dentries, the
// hash table, the mount table, and every process's cwd and root. Nothing is freed or called under it. One name more or less
// (d_add, d_drop, d_move of a file) is no such change: who holds dcache_lock for reading and the directory's inode lock may enter it or
// take it out, under the locks of its hash chain and of its list of old names (leaves), while others walk past; it goes when they have
// passed.
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"

#define BUCKETS_FIRST 256u	// a page: few names are all that most enclaves use, and a name in each page of a large table costs its memory
#define BUCKETS_MAX 16384u
#define CACHE_MAX 65536u	// names kept before unused ones are trimmed
#define TRIM_BATCH 128u
#define LOOK_EVERY 64u		// how many names a shard makes before it looks whether they are too many
#define INLINE_MIN 32u		// room for the name in the dentry, so that most renames fit in place

struct brlock dcache_lock;
static struct list table[BUCKETS_MAX] __warm; // the first nbuckets are in use
static u32 nbuckets;
static struct {
	struct mutex m;
} __aligned(64) chain_locks[16] __warm;
static struct old {	// names by age; a shard has its own, so that who makes names on two CPUs does not meet
	struct mutex m;
	u32 n, added;
	struct list names;
} __aligned(64) olds[SHARDS] __warm;

static struct list *bucket(u32 hash) { return &table[hash & (nbuckets - 1)]; }

static struct old *old_of(u32 shard)
{
	struct old *o = &olds[shard];

	if (unlikely(!o->names.next))
		list_init(&o->names);
	return o;
}

static u32 ncached(void)
{
	u32 n = 0;

	for (u32 i = 0; i <= brlock_mask; i++)
		n += __atomic_load_n(&olds[i].n, __ATOMIC_RELAXED);
	return n;
}

// Twice the buckets: some of each one's names belong to the new one that is as far behind the old end.
static void grow(void)
{
	u32 old = nbuckets;
	struct dentry *d, *t;

	for (u32 i = old; i < 2 * old; i++)
		list_init(&table[i]);
	nbuckets = 2 * old;
	for (u32 i = 0; i < old; i++)
		list_for_each_safe(d, t, &table[i], hash)
			if (d->hashval & old) {
				list_del(&d->hash);
				list_add(&d->hash, bucket(d->hashval));
			}
}

void dcache_init(void)
{
	nbuckets = BUCKETS_FIRST;
	for (u32 i = 0; i < nbuckets; i++)
		list_init(&table[i]);
}

struct dentry *d_find_locked(struct dentry *parent, const char *name, u32 len, u32 hash)
{
	struct list *head = bucket(hash);
	for (struct list *l = __atomic_load_n(&head->next, __ATOMIC_ACQUIRE); l != head; l = __atomic_load_n(&l->next, __ATOMIC_ACQUIRE)) {
		struct dentry *d = list_entry(l, struct dentry, hash);
		if (d->hashval == hash && d->parent == parent && d->len == len && !memcmp(d->name, name, len)) {
			if (!d->referenced)
				d->referenced = true;
			return d;
		}
	}
	return NULL;
}

struct dentry *d_new(struct dentry *parent, const char *name, u32 len, struct inode *inode)
{
	u32 room = max(len + 1, INLINE_MIN);
	struct dentry *d = kmalloc(sizeof(*d) + room);
	if (!d) {
		inode_put(inode);
		return NULL;
	}
	memset(d, 0, sizeof(*d));
	COUNT(dentries, 1);
	ref_init(&d->ref, 1);
	list_init(&d->hash);
	list_init(&d->sibling);
	list_init(&d->children);
	list_init(&d->lru);
	d->room = room;
	d->name = d->iname;
	memcpy(d->iname, name, len);
	d->iname[len] = 0;
	d->len = len;
	d->inode = inode;
	d->parent = parent ? parent : d;
	if (parent) {
		ref_get(&parent->ref);
		d->hashval = name_hash(parent, name, len);
	}
	return d;
}

struct dentry *d_new_root(struct inode *inode) { return d_new(NULL, "/", 1, inode); }

struct dentry *d_anon(struct inode *inode, const char *name)
{
	inode_get(inode);
	return d_new(NULL, name, (u32)strlen(name), inode);
}

void d_get(struct dentry *d) { ref_get(&d->ref); }

void d_put(struct dentry *d)
{
	while (d && ref_put(&d->ref)) {
		struct dentry *parent = d->parent != d ? d->parent : NULL;
		struct inode *ino = d->inode;
		if (ino) {
			if (!ino->nlink)
				fs_event(NULL, ino, NULL, IN_DELETE_SELF);
			inode_put(ino);
		}
		if (d->name != d->iname)
			kfree(d->name);
		COUNT(dentries, -1);
		kfree(d);
		d = parent;
	}
}

static void enter_locked(struct dentry *d)
{
	struct old *o = old_of(brlock_shard());

	list_add(&d->hash, bucket(d->hashval));
	list_add(&d->sibling, &d->parent->children);
	list_add(&d->lru, &o->names);
	d->shard = (u8)brlock_shard();
	o->n++;
	d->hashed = true;
	ref_get(&d->ref);
}

void d_pin_locked(struct dentry *d)
{
	for (; !d->hashed && d->parent != d && d->parent->inode->iops->no_cache; d = d->parent)
		enter_locked(d);
}

// Takes d out; its cache reference goes to the caller.
static void leave_locked(struct dentry *d)
{
	list_del(&d->hash);
	list_del(&d->sibling);
	list_del(&d->lru);
	olds[d->shard].n--;
	d->hashed = false;
}

// The same two while others walk: dcache_lock held for reading, and the directory's inode lock.
static bool enter_one(struct dentry *d)
{
	struct mutex *m = &chain_locks[d->hashval % ARRAY_SIZE(chain_locks)].m;
	struct list *head = bucket(d->hashval);
	struct old *o = old_of(brlock_shard());
	bool look;

	d->hashed = true;
	d->shard = (u8)brlock_shard();
	ref_get(&d->ref);
	list_add(&d->sibling, &d->parent->children);
	mutex_lock(&o->m);
	list_add(&d->lru, &o->names);
	o->n++;
	look = ++o->added % LOOK_EVERY == 0;
	mutex_unlock(&o->m);
	mutex_lock(m);
	d->hash.prev = head;
	d->hash.next = head->next;
	head->next->prev = &d->hash;
	__atomic_store_n(&head->next, &d->hash, __ATOMIC_RELEASE);
	mutex_unlock(m);
	return look;
}

static void leave_one(struct dentry *d)
{
	struct mutex *m = &chain_locks[d->hashval % ARRAY_SIZE(chain_locks)].m;
	struct old *o = &olds[d->shard];

	mutex_lock(m);
	d->hash.next->prev = d->hash.prev;
	__atomic_store_n(&d->hash.prev->next, d->hash.next, __ATOMIC_RELEASE); // d still leads those on who stand there
	mutex_unlock(m);
	list_del(&d->sibling);
	mutex_lock(&o->m);
	list_del(&d->lru);
	o->n--;
	mutex_unlock(&o->m);
}

static void put_all(struct list *victims)
{
	while (!list_empty(victims)) {
		struct dentry *d = list_first(victims, struct dentry, lru);
		list_del(&d->lru);
		d_put(d);
	}
}

// Frees names that nobody uses, from the cold end, with a second chance for those looked up lately.
static void trim(void)
{
	struct list victims = LIST_INIT(victims);
	struct dentry *d;
	write_lock(&dcache_lock);
	for (u32 s = 0; s <= brlock_mask; s++) {
		struct list *l = &old_of(s)->names;
		for (u32 i = 0, n = 0; i < 8 * TRIM_BATCH && n < TRIM_BATCH && !list_empty(l); i++) {
			d = list_entry(l->prev, struct dentry, lru);
			if (d->ref.n > 1 || d->referenced || d->mountpoint) {
				d->referenced = false;
				list_del(&d->lru);
				list_add(&d->lru, l);
				continue;
			}
			leave_locked(d);
			list_add(&d->lru, &victims);
			n++;
		}
	}
	write_unlock(&dcache_lock);
	put_all(&victims);
}

void d_add(struct dentry *d)
{
	read_lock(&dcache_lock);
	bool look = enter_one(d);
	read_unlock(&dcache_lock);
	if (likely(!look))
		return;
	u32 n = ncached();
	if (n >= 2 * nbuckets && nbuckets < BUCKETS_MAX) {
		write_lock(&dcache_lock);
		if (n >= 2 * nbuckets && nbuckets < BUCKETS_MAX)
			grow();
		write_unlock(&dcache_lock);
	}
	if (n > CACHE_MAX)
		trim();
}

void d_instantiate(struct dentry *d, struct inode *inode) { __atomic_store_n(&d->inode, inode, __ATOMIC_RELEASE); }

// A removed directory: what is known of its names is no use.
static void drop_children(struct dentry *d)
{
	struct list victims = LIST_INIT(victims);
	struct dentry *c, *tmp;
	write_lock(&dcache_lock);
	list_for_each_safe(c, tmp, &d->children, sibling) {
		leave_locked(c);
		list_add(&c->lru, &victims);
	}
	write_unlock(&dcache_lock);
	put_all(&victims);
}

void d_drop(struct dentry *d)
{
	read_lock(&dcache_lock);
	bool was = d->hashed;
	if (was)
		leave_one(d);
	d->hashed = false;
	read_unlock(&dcache_lock);
	if (d->inode && !d->inode->nlink && !list_empty(&d->children))
		drop_children(d);
	if (!was)
		return;
	read_pass(&dcache_lock);
	list_init(&d->hash);
	d_put(d);
}

// Memory for a name of `len` bytes that d cannot hold itself. False: out of memory.
static bool name_room(struct dentry *d, u32 len, char **mem)
{
	*mem = len < d->room ? NULL : kmalloc(len + 1);
	return *mem || len < d->room;
}

// Gives d a place in the tree. The old external name goes to *mem, the old parent is returned: the caller drops both.
static struct dentry *place_locked(struct dentry *d, struct dentry *parent, const char *name, u32 len, char **mem)
{
	char *old = d->name != d->iname ? d->name : NULL;
	struct dentry *was = d->parent;
	char *to = *mem ? *mem : d->iname;
	memmove(to, name, len);
	to[len] = 0;
	d->name = to;
	d->len = len;
	*mem = old;
	d->parent = parent;
	d->hashval = name_hash(parent, to, len);
	return was;
}

// The same for what is no directory, while others walk. Nobody finds it meanwhile (who asks waits for the directory's lock), but
// who has it may ask for its name.
static void move_one(struct dentry *d, struct dentry *to, char *mem)
{
	read_lock(&dcache_lock);
	bool d_was = d->hashed, to_was = to->hashed;
	if (d_was)
		leave_one(d);
	if (to_was)
		leave_one(to);
	to->hashed = false;
	read_unlock(&dcache_lock);
	read_pass(&dcache_lock);
	list_init(&to->hash);
	ref_get(&to->parent->ref);
	__atomic_store_n(&d->name_seq, d->name_seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	struct dentry *parent = place_locked(d, to->parent, to->name, to->len, &mem);
	__atomic_store_n(&d->name_seq, d->name_seq + 1, __ATOMIC_RELEASE);
	read_lock(&dcache_lock);
	enter_one(d);
	read_unlock(&dcache_lock);
	if (mem || parent != d->parent)
		read_pass(&dcache_lock); // who reads the old name, or stands at the old parent
	kfree(mem);
	if (d_was)
		d_put(d);
	if (to_was)
		d_put(to);
	d_put(parent);
}

int d_move(struct dentry *d, struct dentry *to)
{
	char *mem;
	if (!name_room(d, to->len, &mem))
		return -ENOMEM;
	if (!is_dir(d->inode)) {
		move_one(d, to, mem);
		return 0;
	}
	write_lock(&dcache_lock);
	bool d_was = d->hashed, to_was = to->hashed;
	if (d_was)
		leave_locked(d);
	if (to_was)
		leave_locked(to);
	ref_get(&to->parent->ref);
	struct dentry *parent = place_locked(d, to->parent, to->name, to->len, &mem);
	enter_locked(d);
	write_unlock(&dcache_lock);
	kfree(mem);
	if (d_was)
		d_put(d);
	if (to_was)
		d_put(to);
	d_put(parent);
	return 0;
}

int d_exchange(struct dentry *a, struct dentry *b)
{
	char *ma, *mb = NULL, *na = kstrndup(a->name, a->len);
	if (!na)
		return -ENOMEM;
	if (!name_room(a, b->len, &ma) || !name_room(b, a->len, &mb)) {
		kfree(na);
		kfree(ma);
		return -ENOMEM;
	}
	u32 la = a->len;
	write_lock(&dcache_lock);
	bool wa = a->hashed, wb = b->hashed;
	if (wa)
		leave_locked(a);
	if (wb)
		leave_locked(b);
	// The two references on the parents change owners.
	struct dentry *pa = a->parent;
	place_locked(a, b->parent, b->name, b->len, &ma);
	place_locked(b, pa, na, la, &mb);
	enter_locked(a);
	enter_locked(b);
	write_unlock(&dcache_lock);
	kfree(na);
	kfree(ma);
	kfree(mb);
	if (wa)
		d_put(a);
	if (wb)
		d_put(b);
	return 0;
}

bool d_ancestor(struct dentry *a, struct dentry *d)
{
	bool yes = false;
	read_lock(&dcache_lock);
	for (;; d = d->parent) {
		if (d == a)
			yes = true;
		if (yes || d->parent == d)
			break;
	}
	read_unlock(&dcache_lock);
	return yes;
}

struct dentry *d_lookup(struct dentry *dir, const char *name, u32 len)
{
	struct inode *di = dir->inode, *ino = NULL;
	if (!di->iops || !di->iops->lookup)
		return ERR_PTR(-ENOTDIR);
	if (unlikely(len > NAME_MAX_))
		return ERR_PTR(-ENAMETOOLONG);
	bool cached = !di->iops->no_cache;
	read_lock(&dcache_lock);
	struct dentry *d = d_find_locked(dir, name, len, name_hash(dir, name, len));
	if (d)
		ref_get(&d->ref);
	read_unlock(&dcache_lock);
	if (d)
		return d;
	int r = di->iops->lookup(di, name, len, &ino);
	if (r && r != -ENOENT)
		return ERR_PTR(r);
	d = d_new(dir, name, len, r ? NULL : ino);
	if (!d)
		return ERR_PTR(-ENOMEM);
	if (cached && di->nlink) // names of a removed directory must not come back to life in the cache
		d_add(d);
	return d;
}

struct dentry *d_name_locked(struct dentry *d, char *end, u32 room, u32 *len)
{
	struct dentry *parent;
	u32 seq, n;
	do {
		while ((seq = __atomic_load_n(&d->name_seq, __ATOMIC_ACQUIRE)) & 1)
			pf_relax();
		n = __atomic_load_n(&d->len, __ATOMIC_RELAXED);
		parent = __atomic_load_n(&d->parent, __ATOMIC_RELAXED);
		if (n <= room)
			memcpy(end - n, __atomic_load_n(&d->name, __ATOMIC_RELAXED), n);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (seq != __atomic_load_n(&d->name_seq, __ATOMIC_RELAXED));
	*len = n;
	return parent;
}

void dcache_invalidate(struct inode *dir, const char *name, u32 len)
{
	struct dentry *d, *found = NULL;
	write_lock(&dcache_lock);
	for (u32 s = 0; s <= brlock_mask; s++)
		list_for_each(d, &old_of(s)->names, lru)
			if (d->parent->inode == dir && d->len == len && !memcmp(d->name, name, len))
				found = d;
	if (found)
		leave_locked(found);
	write_unlock(&dcache_lock);
	d_put(found);
}

void dcache_drop_super(struct super *sb)
{
	struct dentry *d, *next;
	for (bool more = true; more;) {
		struct list victims = LIST_INIT(victims);
		more = false;
		write_lock(&dcache_lock);
		for (u32 s = 0; s <= brlock_mask; s++)
			list_for_each_safe(d, next, &old_of(s)->names, lru) {
				struct inode *i = d->inode ? d->inode : d->parent->inode;
				// Leaves first; their parents become leaves for the next round.
				if (i->sb != sb || d->ref.n > 1)
					continue;
				leave_locked(d);
				list_add(&d->lru, &victims);
				more = true;
			}
		write_unlock(&dcache_lock);
		put_all(&victims);
	}
}
