// SPDX-License-Identifier: Apache-2.0
// The mount table: file system types, mounts, mount(2) and umount2(2).
// Locks: mount_lock (a whole mount or unmount), then dcache_lock, which guards the table and each mount's links.
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"

// umount2(2); in no UAPI header
#define MNT_FORCE 1
#define MNT_DETACH 2
#define MNT_EXPIRE 4
#define UMOUNT_NOFOLLOW 8

#define FS_MAX 24u
#define MNT_STATE (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME)

static struct {
	const char *name;
	mount_fn fn;
} types[FS_MAX];
static u32 ntypes;
static struct list mounts = LIST_INIT(mounts);	// oldest first; topmost of a place is the youngest
static struct mutex mount_lock;
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
	struct super *sb = NULL;
	for (u32 i = 0; i < ntypes; i++)
		if (!strcmp(types[i].name, fstype)) {
			int r = types[i].fn(source, flags, data, len, &sb);
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

static void counted_by_shard_locked(struct mount *m, bool yes)
{
	for (u32 i = 0; i < SHARDS; i++) {
		__atomic_fetch_add(&m->ref.n, (u32)m->counts[i][0], __ATOMIC_SEQ_CST);
		m->counts[i][0] = 0;
	}
	m->attached = yes;
}

static u32 references_locked(const struct mount *m)
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
	if (ref_put(&sb->active)) {
		if (sb->ops && sb->ops->sync)
			sb->ops->sync(sb);
		dcache_drop_super(sb);
		d_put(sb->droot);
		sb->droot = NULL;
		inode_put(sb->root);
		sb->root = NULL;
	}
	super_put(sb);
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
	if (!m || !sb->droot) {
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
	counted_by_shard_locked(m, true);
	write_unlock(&dcache_lock);
	return 0;
}

void mount_attach_root(struct mount *m)
{
	write_lock(&dcache_lock);
	list_add(&m->link, &mounts);
	counted_by_shard_locked(m, true);
	write_unlock(&dcache_lock);
}

static int mount_super(struct super *sb, const char *source, u32 flags, struct path *where)
{
	struct mount *m = mount_new(sb, NULL, source, flags);
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

static bool children_locked(struct mount *m)
{
	struct mount *c;
	list_for_each(c, &mounts, link)
		if (c->parent == m)
			return true;
	return false;
}

// Takes m out of the table; its reference goes to the caller, *where too.
static void detach_locked(struct mount *m, struct path *where)
{
	struct mount *o;
	bool other = false;
	where->mnt = m->parent;
	where->dentry = m->mountpoint;
	list_del(&m->link);
	counted_by_shard_locked(m, false);
	m->parent = NULL;
	m->mountpoint = NULL;
	list_for_each(o, &mounts, link)
		other |= o->mountpoint == where->dentry;
	where->dentry->mountpoint = other;
}

// Binds a place (and with MS_REC the mounts below it) to another.
static int bind(const char *source, struct path *where, u32 flags)
{
	struct path from;
	int r = path_lookup(AT_FDCWD, source, LOOKUP_FOLLOW, &from);
	if (r)
		return r;
	super_get(from.mnt->sb);
	struct mount *m = mount_new(from.mnt->sb, from.dentry, from.mnt->source, from.mnt->flags | flags);
	r = -ENOMEM;
	if (m && (r = mount_attach(m, where)))
		mount_put(m);
	int last = 0;
	while (!r && (flags & MS_REC)) { // submounts of the source, by id, so that new ones are not copied again
		struct mount *c, *found = NULL;
		write_lock(&dcache_lock);
		list_for_each(c, &mounts, link)
			if (c->parent == from.mnt && c->id > last && c->id < m->id && (!found || c->id < found->id))
				found = c;
		struct path to = {0};
		if (found) {
			last = found->id;
			bool below = false;
			for (struct dentry *d = found->mountpoint; !below; d = d->parent) {
				below = d == from.dentry;
				if (d->parent == d)
					break;
			}
			if (below) {
				to = (struct path){m, found->mountpoint};
				path_get_locked(&to);
				mount_get_locked(found);
			}
		}
		write_unlock(&dcache_lock);
		if (!found)
			break;
		if (!to.mnt)
			continue;
		super_get(found->sb);
		struct mount *copy = mount_new(found->sb, found->root, found->source, found->flags);
		r = copy ? mount_attach(copy, &to) : -ENOMEM;
		if (r && copy)
			mount_put(copy);
		path_put(&to);
		mount_put(found);
	}
	path_put(&from);
	return r;
}

static int remount(struct path *where, u32 flags)
{
	if (where->dentry != where->mnt->root)
		return -EINVAL;
	write_lock(&dcache_lock);
	where->mnt->flags = flags & MNT_STATE;
	write_unlock(&dcache_lock);
	return 0;
}

static int move(const char *source, struct path *where)
{
	struct path from, old = {0};
	int r = path_lookup(AT_FDCWD, source, LOOKUP_FOLLOW, &from);
	if (r)
		return r;
	write_lock(&dcache_lock);
	struct mount *m = from.mnt;
	bool loop = false;
	for (struct mount *p = where->mnt; p; p = p->parent)
		loop |= p == m;
	r = from.dentry != m->root || !m->parent		     ? -EINVAL
	    : loop						     ? -ELOOP
	    : is_dir(m->root->inode) != is_dir(where->dentry->inode) ? -ENOTDIR
								     : 0;
	if (!r)
		detach_locked(m, &old);
	write_unlock(&dcache_lock);
	if (!r) {
		r = mount_attach(m, where);
		if (r)
			mount_attach(m, &old);
	}
	path_put(&old);
	path_put(&from);
	return r;
}

long sys_mount(const void __user *source, const void __user *target, const void __user *type, u64 flags,
	       const void __user *data)
{
	struct path where = {0};
	struct super *sb;
	__uninit char src[PATH_BUF], fstype[32] = "";
	char *opts = NULL;
	long r;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
		flags &= ~(u64)MS_MGC_MSK;
	src[0] = 0;
	if (source && (r = user_str(src, source, sizeof(src))) < 0)
		return r;
	if (type && (r = user_str(fstype, type, sizeof(fstype))) < 0)
		return r == -ENAMETOOLONG ? -ENODEV : r;
	if ((r = path_lookup_user(AT_FDCWD, target, LOOKUP_FOLLOW, &where)))
		return r;
	if (data) { // as Linux: up to a page, whatever can be read of it. May hold a key: wiped below.
		r = -ENOMEM;
		if (!(opts = kzalloc(PAGE_SIZE)))
			goto out;
		size_t first = PAGE_SIZE - ((uptr)data & (PAGE_SIZE - 1));
		r = copy_from_user(opts, data, first);
		if (r)
			goto out;
		if (first < PAGE_SIZE &&
		    copy_from_user(opts + first, (const char __user *)data + first, PAGE_SIZE - first))
			memset(opts + first, 0, PAGE_SIZE - first);
	}
	mutex_lock(&mount_lock);
	if (flags & MS_REMOUNT) {
		r = remount(&where, (u32)flags);
	} else if (flags & MS_BIND) {
		r = bind(src, &where, (u32)flags);
	} else if (flags & MS_MOVE) {
		r = move(src, &where);
	} else if (flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)) {
		r = 0; // one mount namespace: nothing propagates
	} else {
		sb = fs_make(fstype, src, (u32)flags, opts, opts ? PAGE_SIZE : 0);
		r = IS_ERR(sb) ? PTR_ERR(sb) : mount_super(sb, src, (u32)flags, &where);
	}
	mutex_unlock(&mount_lock);
out:
	if (opts)
		explicit_bzero(opts, PAGE_SIZE);
	kfree(opts);
	path_put(&where);
	return r;
}

long sys_umount2(const void __user *target, int flags)
{
	struct path at, where = {0};
	if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
		return -EINVAL;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	int r = path_lookup_user(AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &at);
	if (r)
		return r;
	struct mount *m = at.mnt;
	struct super *sb = m->sb;
	if (at.dentry != m->root || !m->parent) {
		path_put(&at);
		return m == root_mnt && at.dentry == m->root ? -EBUSY : -EINVAL;
	}
	if (sb->ops && sb->ops->sync)
		sb->ops->sync(sb);
	mutex_lock(&mount_lock);
	write_lock(&dcache_lock);
	// Two references are the table's and ours.
	if (!m->parent)
		r = -EINVAL;
	else if (!(flags & MNT_DETACH) && (children_locked(m) || references_locked(m) > 2))
		r = -EBUSY;
	else
		detach_locked(m, &where);
	write_unlock(&dcache_lock);
	mutex_unlock(&mount_lock);
	path_put(&at);
	if (!r) {
		mount_put(m);
		path_put(&where);
	}
	return r;
}

long sys_pivot_root(const void __user *new_root, const void __user *put_old)
{
	(void)new_root;
	(void)put_old;
	pr_once("pivot_root: an enclave has one root file system; use chroot");
	return capable(CAP_SYS_ADMIN) ? -EINVAL : -EPERM;
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

static void opts_text(char *buf, size_t n, u32 flags, bool ro)
{
	snprintf(buf, n, "%s%s%s%s%s", ro || (flags & MS_RDONLY) ? "ro" : "rw", flags & MS_NOSUID ? ",nosuid" : "",
		 flags & MS_NODEV ? ",nodev" : "", flags & MS_NOEXEC ? ",noexec" : "",
		 flags & MS_NOATIME ? ",noatime" : ",relatime");
}

int mounts_line(int *id, char *buf, size_t n, bool mountinfo)
{
	struct mount *m, *next = NULL;
	char opts[64], *tmp = kmalloc(PATH_BUF);
	int len = -ENOMEM;
	if (!tmp)
		return -ENOMEM;
	read_lock(&dcache_lock);
	list_for_each(m, &mounts, link)
		if (m->id > *id && (!next || m->id < next->id))
			next = m;
	if (next)
		mount_get_locked(next);
	read_unlock(&dcache_lock);
	if (!next) {
		kfree(tmp);
		return 0;
	}
	*id = next->id;
	struct path p = {next, next->root};
	char *name = path_name(&p, tmp, PATH_BUF);
	const char *at = IS_ERR(name) ? "/" : name;
	opts_text(opts, sizeof(opts), next->flags, next->sb->read_only);
	if (mountinfo)
		len = scnprintf(buf, n, "%d %d %lu:%lu / %s %s - %s %s %s\n", next->id,
				next->parent ? next->parent->id : 1, next->sb->dev >> 8, next->sb->dev & 255, at, opts,
				next->sb->fstype, next->source, next->sb->read_only ? "ro" : "rw");
	else
		len = scnprintf(buf, n, "%s %s %s %s 0 0\n", next->source, at, next->sb->fstype, opts);
	kfree(tmp);
	mount_put(next);
	return len;
}
