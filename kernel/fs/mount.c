// SPDX-License-Identifier: Apache-2.0
// The mount table: file system types, mounts, and where they hang.
// Locks: see mounts.h.
#include "kernel/fs/mounts.h"
#include "kernel/include/count.h"

#define FS_MAX 24u

static struct {
	const char *name;
	mount_fn fn;
} types[FS_MAX];
static u32 ntypes;
struct list mounts = LIST_INIT(mounts);
struct mutex mount_lock;
static int next_id = 20;
struct mount *root_mnt, *anon_mnt;

int fs_register(const char *fstype, mount_fn fn)
{
	if (ntypes == FS_MAX)
		return -ENOSPC;
	types[ntypes].name = fstype;
	types[ntypes++].fn = fn;
	return 0;
}

const char *fs_type_name(u32 i) { return i < ntypes ? types[i].name : NULL; }

struct super *super_by_dev(u64 dev)
{
	struct super *sb = NULL;
	struct mount *m;

	read_lock(&dcache_lock);
	list_for_each(m, &mounts, link)
		if (m->sb->dev == dev && !sb)
			sb = m->sb;
	if (sb)
		super_get(sb);
	read_unlock(&dcache_lock);
	return sb;
}

struct super *fs_make(const char *fstype, const char *source, u32 flags, const void *data, size_t len)
{
	const char *sub = strchr(fstype, '.'); // "fuse.sshfs"
	size_t n = sub ? (size_t)(sub - fstype) : strlen(fstype);
	struct super *sb = NULL;

	for (u32 i = 0; i < ntypes; i++)
		if (!strncmp(types[i].name, fstype, n) && !types[i].name[n] && (!sub || !strcmp(types[i].name, "fuse"))) {
			int r = types[i].fn(source, flags, data, len, &sb);
			if (!r && sub)
				strlcpy(sb->subtype, sub + 1, sizeof(sb->subtype));
			return r ? ERR_PTR(r) : sb;
		}
	return ERR_PTR(-ENODEV);
}

// Every open file and every process holds references on a mount. Those of an attached one are counted by shard, under dcache_lock: no
// two CPUs meet there. Whoever detaches it holds the lock for writing and adds them up.
void mount_get_locked(struct mount *m)
{
	if (likely(m->attached))
		m->counts[brlock_shard()][0]++;
	else
		ref_get(&m->ref);
}

void mount_get(struct mount *m)
{
	read_lock(&dcache_lock);
	mount_get_locked(m);
	read_unlock(&dcache_lock);
}

void mount_counted_locked(struct mount *m, bool yes)
{
	for (u32 i = 0; i < SHARDS; i++) {
		__atomic_fetch_add(&m->ref.n, (u32)m->counts[i][0], __ATOMIC_SEQ_CST);
		m->counts[i][0] = 0;
	}
	m->attached = yes;
}

u32 mount_references_locked(const struct mount *m)
{
	u32 n = m->ref.n;
	for (u32 i = 0; i < SHARDS; i++)
		n += (u32)m->counts[i][0];
	return n;
}

void mount_put(struct mount *m)
{
	read_lock(&dcache_lock);
	bool last = false;
	if (likely(m->attached))
		m->counts[brlock_shard()][0]--;
	else
		last = ref_put(&m->ref);
	read_unlock(&dcache_lock);
	if (likely(!last))
		return;
	struct super *sb = m->sb;
	d_put(m->root);
	COUNT(mounts, -1);
	kfree(m);
	super_deactivate(sb);
}

int mount_write(const struct mount *m)
{
	return (m->flags & MS_RDONLY) || m->sb->read_only ? -EROFS : 0;
}

struct mount *mount_at_locked(struct mount *parent, struct dentry *d)
{
	for (struct list *l = mounts.prev; l != &mounts; l = l->prev) {
		struct mount *m = list_entry(l, struct mount, link);
		if (m->mountpoint == d && m->parent == parent)
			return m;
	}
	return NULL;
}

struct mount *mount_new(struct super *sb, struct dentry *root, const char *source, u32 flags)
{
	struct mount *m = knew(struct mount);
	if (m && !sb->droot) {
		inode_get(sb->root);
		sb->droot = d_new_root(sb->root);
		if (sb->droot)
			sb->droot->hashed = true; // never in a hash chain, yet alive
	}
	bool chosen = m && sb->droot && !root && sb->ops && sb->ops->mount_root;
	if (chosen)
		root = sb->ops->mount_root(sb);
	if (!m || !sb->droot || IS_ERR(root)) {
		kfree(m);
		super_put(sb);
		return NULL;
	}
	COUNT(mounts, 1);
	ref_init(&m->ref, 1);
	list_init(&m->link);
	m->sb = sb;
	ref_get(&sb->active);
	m->root = root ? root : sb->droot;
	if (!chosen)
		d_get(m->root);
	m->flags = flags & MNT_STATE;
	strlcpy(m->source, source && *source ? source : "none", sizeof(m->source));
	m->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
	return m;
}

int mount_attach(struct mount *m, struct path *where)
{
	if (is_dir(m->root->inode) != is_dir(where->dentry->inode))
		return -ENOTDIR;
	write_lock(&dcache_lock);
	d_pin_locked(where->dentry);
	if (!where->dentry->hashed && where->dentry->parent != where->dentry) {
		write_unlock(&dcache_lock);
		return -ENOENT;
	}
	m->parent = where->mnt;
	m->mountpoint = where->dentry;
	path_get_locked(where);
	where->dentry->mountpoint = true;
	list_add_tail(&m->link, &mounts);
	mount_counted_locked(m, true);
	tree_set_ns(m, where->mnt->ns);
	write_unlock(&dcache_lock);
	return 0;
}

void mount_attach_root(struct mount *m)
{
	write_lock(&dcache_lock);
	list_add(&m->link, &mounts);
	mount_counted_locked(m, true);
	m->ns = &init_mnt_ns;
	init_mnt_ns.root = m;
	write_unlock(&dcache_lock);
}

static int mount_super(struct super *sb, const char *source, u32 flags, struct path *where)
{
	struct mount *m = mount_new(sb, NULL, source, flags | MS_RELATIME); // as Linux mounts by default
	if (!m)
		return -ENOMEM;
	int r = mount_attach(m, where);
	if (r)
		mount_put(m);
	return r;
}

int mount_at(const char *fstype, const char *source, const char *target, u32 flags, const void *data, size_t len)
{
	struct path where;
	int r = path_lookup(AT_FDCWD, target, LOOKUP_FOLLOW, &where);
	if (r)
		return r;
	mutex_lock(&mount_lock);
	struct super *sb = fs_make(fstype, source, flags, data, len);
	r = IS_ERR(sb) ? (int)PTR_ERR(sb) : mount_super(sb, source, flags, &where);
	mutex_unlock(&mount_lock);
	path_put(&where);
	return r;
}

struct mount *first_child_locked(struct mount *m)
{
	struct mount *c;
	list_for_each(c, &mounts, link)
		if (c->parent == m)
			return c;
	return NULL;
}

void detach_locked(struct mount *m)
{
	struct mount *o;
	bool other = false;
	m->was = (struct path){m->parent, m->mountpoint};
	list_del(&m->link);
	mount_counted_locked(m, false);
	m->parent = NULL;
	m->mountpoint = NULL;
	m->ns = NULL;
	list_for_each(o, &mounts, link)
		other |= o->mountpoint == m->was.dentry;
	if (m->was.dentry)
		m->was.dentry->mountpoint = other;
}

int vfs_sync_all(void)
{
	int r = 0, last = 0;
	for (;;) {
		struct mount *m, *next = NULL;
		read_lock(&dcache_lock);
		list_for_each(m, &mounts, link)
			if (m->id > last && (!next || m->id < next->id))
				next = m;
		if (next)
			mount_get_locked(next);
		read_unlock(&dcache_lock);
		if (!next)
			return r;
		last = next->id;
		if (next->sb->ops && next->sb->ops->sync) {
			int e = next->sb->ops->sync(next->sb);
			r = r ? r : e;
		}
		mount_put(next);
	}
}
