// SPDX-License-Identifier: Apache-2.0
// mount(2), umount2(2), pivot_root(2). A process changes the mounts of its own namespace only. Shared and slave mounts are
// marked and shown as such; events do not propagate between namespaces. Locks: see mounts.h.
#include "kernel/fs/mounts.h"

// umount2(2); in no UAPI header
#define MNT_FORCE 1
#define MNT_DETACH 2
#define MNT_EXPIRE 4
#define UMOUNT_NOFOLLOW 8

static bool at_root(const struct path *p) { return p->dentry == p->mnt->root; }

bool mount_takes_back(const struct mount *m, u32 flags)
{
	return m->locked_flags & MNT_RESTRICT & ~flags || (m->locked_flags & MS_RELATIME && (m->flags ^ flags) & MNT_ATIME);
}

// Mounts below d in m that came from a user namespace above.
bool mount_hides_locked(const struct mount *m, struct dentry *d)
{
	struct mount *c;
	bool yes = false;

	read_lock(&dcache_lock);
	list_for_each(c, &mounts, link)
		yes |= c->parent == m && c->locked && (c->mountpoint == d || d_ancestor(d, c->mountpoint));
	read_unlock(&dcache_lock);
	return yes;
}

int mount_reveals(const char *fstype, u32 flags, u32 *keep)
{
	struct mount *m, *c;
	bool yes = false;

	*keep = 0;
	if (!cur_mnt_ns()->ns.owner || (strcmp(fstype, "proc") && strcmp(fstype, "sysfs")))
		return 0;
	read_lock(&dcache_lock);
	list_for_each(m, &mounts, link) {
		u32 locked = m->locked_flags | (m->sb->read_only ? MS_RDONLY : 0);
		bool whole = !yes && mount_mine(m) && !strcmp(m->sb->fstype, fstype) && m->root == m->sb->droot;
		whole = whole && (flags & MS_RDONLY || !(locked & MS_RDONLY)) && !(locked & MS_RELATIME && (m->flags ^ flags) & MNT_ATIME);
		if (whole && strcmp(fstype, "sysfs")) // there only empty directories are mounted on
			list_for_each(c, &mounts, link)
				whole &= c->parent != m || !c->locked;
		if (whole)
			*keep = locked & (MS_RDONLY | MS_RELATIME);
		yes |= whole;
	}
	read_unlock(&dcache_lock);
	return yes ? 0 : -EPERM;
}

int mount_may_make(const char *fstype)
{
	static const struct {
		const char *name;
		u32 ns; // whose ruler may mount it; 0: the mount namespace's
	} types[] = {{"tmpfs", 0}, {"ramfs", 0}, {"devpts", 0}, {"overlay", 0}, {"fuse", 0},
		     {"proc", CLONE_NEWPID}, {"sysfs", CLONE_NEWNET}, {"mqueue", CLONE_NEWIPC}, {"cgroup2", CLONE_NEWCGROUP}};

	if (capable(CAP_SYS_ADMIN))
		return 0;
	for (u32 i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].name, fstype) || (!strncmp(fstype, "fuse.", 5) && !strcmp(types[i].name, "fuse")))
			return !types[i].ns || capable_here(types[i].ns, CAP_SYS_ADMIN) ? 0 : -EPERM;
	return fs_known(fstype) ? -EPERM : -ENODEV;
}

// Part of a tree that hangs nowhere yet.
bool mount_waits(const struct mount *m)
{
	while (m->parent)
		m = m->parent;
	return m->detached;
}

long bind_mount(const struct path *from, struct path *where, bool recursive)
{
	struct mount *m;
	long r;

	// What was taken off lazily and is reached by a descriptor is nobody's; a namespace's file, or a tree that a descriptor owns, is.
	if (!mount_mine(where->mnt) || !(mount_mine(from->mnt) || mount_waits(from->mnt) || is_ns_file(from->dentry->inode)) ||
	    from->mnt->propagation == MS_UNBINDABLE)
		return -EINVAL;
	if (!recursive && mount_hides_locked(from->mnt, from->dentry))
		return -EINVAL; // what lies below those mounts is not for the caller
	m = tree_copy(from, recursive, NULL);
	if (IS_ERR(m))
		return PTR_ERR(m);
	m->locked = false;
	r = mount_attach(m, where);
	if (r)
		tree_drop(m);
	return r;
}

long move_mount_to(const struct path *from, struct path *where)
{
	struct mount *m = from->mnt;
	bool loop = false;
	long r;

	// A tree without a namespace can be hung only while the descriptor that it came with owns it.
	if (!mount_mine(where->mnt) || (m->ns ? !mount_mine(m) : !m->detached))
		return -EINVAL;
	write_lock(&dcache_lock);
	for (struct mount *p = where->mnt; p; p = p->parent)
		loop |= p == m;
	r = !at_root(from) || m->locked || (m->ns && !m->parent)		     ? -EINVAL
	    : is_dir(m->root->inode) != is_dir(where->dentry->inode) ? -ENOTDIR
	    : loop						     ? -ELOOP
								     : 0;
	bool hung = !r && m->parent;
	if (hung)
		detach_locked(m);
	write_unlock(&dcache_lock);
	if (r)
		return r;
	struct path old = m->was;
	m->was = (struct path){0};
	r = mount_attach(m, where);
	if (r && hung && mount_attach(m, &old))
		pr_err("a mount could not be put back\n");
	if (hung)
		path_put(&old);
	if (!r)
		m->detached = false;
	return r;
}

long remount_at(const struct path *where, u32 flags, const char *opts, bool only_mount)
{
	struct mount *m = where->mnt;
	struct super *sb = m->sb;
	int r = 0;

	if (!at_root(where) || !mount_mine(m))
		return -EINVAL;
	if (!(flags & (MNT_ATIME | MS_STRICTATIME)))
		flags |= m->flags & MNT_ATIME; // they stay
	else if (!(flags & (MS_NOATIME | MS_STRICTATIME)))
		flags |= MS_RELATIME;
	if (mount_takes_back(m, flags))
		return -EPERM;
	if (!only_mount && !ns_capable(sb->user_ns, CAP_SYS_ADMIN))
		return -EPERM;
	if (!only_mount && sb->ops && sb->ops->remount)
		r = sb->ops->remount(sb, flags, opts);
	else if (!only_mount && sb->read_only && !(flags & MS_RDONLY))
		r = -EROFS;
	if (r)
		return r;
	write_lock(&dcache_lock);
	m->flags = flags & MNT_STATE;
	write_unlock(&dcache_lock);
	return 0;
}

long set_propagation(const struct path *where, u32 flags)
{
	u32 type = flags & MNT_PROPAGATION;
	struct mount *m;

	if (flags & ~(u32)(MNT_PROPAGATION | MS_REC | MS_SILENT) || (type & (type - 1)))
		return -EINVAL;
	if (!at_root(where) || !mount_mine(where->mnt))
		return -EINVAL;
	write_lock(&dcache_lock);
	where->mnt->propagation = type;
	list_for_each(m, &mounts, link) {
		bool under = false;
		for (struct mount *p = m->parent; p && flags & MS_REC; p = p->parent)
			under |= p == where->mnt;
		if (under)
			m->propagation = type;
	}
	write_unlock(&dcache_lock);
	return 0;
}

long new_mount(const char *fstype, const char *source, u32 flags, const char *opts, struct path *where)
{
	struct super *sb;
	struct mount *m;
	u32 locked;
	long r;

	if (!mount_mine(where->mnt))
		return -EINVAL;
	if (!(flags & (MS_NOATIME | MS_STRICTATIME)))
		flags |= MS_RELATIME;
	r = mount_may_make(fstype);
	if (!r)
		r = mount_reveals(fstype, flags, &locked);
	if (r)
		return r;
	sb = fs_make(fstype, source, flags, opts, opts ? PAGE_SIZE : 0);
	if (IS_ERR(sb))
		return PTR_ERR(sb);
	m = mount_new(sb, NULL, source, flags);
	if (!m)
		return -ENOMEM;
	m->locked_flags = locked;
	r = mount_attach(m, where);
	if (r)
		mount_put(m);
	return r;
}

// As Linux: up to a page, whatever can be read of it. May hold a key: the caller wipes it.
static long read_options(char *opts, const void __user *data)
{
	size_t first = PAGE_SIZE - ((uptr)data & (PAGE_SIZE - 1));

	if (copy_from_user(opts, data, first))
		return -EFAULT;
	if (first < PAGE_SIZE && copy_from_user(opts + first, (const char __user *)data + first, PAGE_SIZE - first))
		memset(opts + first, 0, PAGE_SIZE - first);
	opts[PAGE_SIZE - 1] = 0;
	return 0;
}

static long from_source(const char *src, struct path *where, u32 flags)
{
	struct path from;
	long r;

	if (!*src)
		return -EINVAL;
	r = path_lookup(AT_FDCWD, src, LOOKUP_FOLLOW, &from);
	if (r)
		return r;
	mutex_lock(&mount_lock);
	r = flags & MS_BIND ? bind_mount(&from, where, flags & MS_REC) : move_mount_to(&from, where);
	mutex_unlock(&mount_lock);
	path_put(&from);
	return r;
}

long sys_mount(const void __user *source, const void __user *target, const void __user *type, u64 flags,
	       const void __user *data)
{
	char *src = kzalloc(PATH_BUF), *opts = NULL, fstype[32] = "";
	struct path where = {0};
	u32 f = (u32)flags;
	long r;

	if (!src)
		return -ENOMEM;
	if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
		f &= ~(u32)MS_MGC_MSK;
	if (type && (r = user_str(fstype, type, sizeof(fstype))) < 0) {
		r = r == -ENAMETOOLONG ? -ENODEV : r;
		goto out;
	}
	if (source && (r = user_str(src, source, PATH_BUF)) < 0)
		goto out;
	if (data) {
		r = -ENOMEM;
		if (!(opts = kzalloc(PAGE_SIZE)) || (r = read_options(opts, data)))
			goto out;
	}
	if ((r = path_lookup_user(AT_FDCWD, target, LOOKUP_FOLLOW, &where)))
		goto out;
	if (!capable_here(CLONE_NEWNS, CAP_SYS_ADMIN)) {
		r = -EPERM;
	} else if (!(f & MS_REMOUNT) && f & (MS_BIND | MS_MOVE)) {
		r = from_source(src, &where, f);
	} else {
		mutex_lock(&mount_lock);
		r = f & MS_REMOUNT	    ? remount_at(&where, f, opts, f & MS_BIND)
		    : f & MNT_PROPAGATION ? set_propagation(&where, f)
		    : !type		    ? -EINVAL
					    : new_mount(fstype, src, f, opts, &where);
		mutex_unlock(&mount_lock);
	}
out:
	if (opts)
		explicit_bzero(opts, PAGE_SIZE);
	kfree(opts);
	kfree(src);
	if (where.mnt)
		path_put(&where);
	return r;
}

// --- umount2

static long unmount(struct path *at, int flags)
{
	struct mount *m = at->mnt;
	long r = 0;

	if (!at_root(at) || !mount_mine(m))
		return -EINVAL;
	mutex_lock(&mount_lock);
	write_lock(&dcache_lock);
	// Two references are the table's and ours.
	bool busy = first_child_locked(m) || mount_references_locked(m) > 2;
	if (m->locked)
		r = -EINVAL;
	else if (!m->parent)
		r = m == cur_mnt_ns()->root && !(flags & MNT_DETACH) ? -EBUSY : -EINVAL;
	else if (!(flags & MNT_DETACH) && busy)
		r = -EBUSY;
	else if (flags & MNT_EXPIRE && !m->expiring)
		r = -EAGAIN;
	m->expiring = r == -EAGAIN;
	write_unlock(&dcache_lock);
	if (!r)
		tree_drop(m);
	mutex_unlock(&mount_lock);
	return r;
}

// What is stacked on the place: "." and "/" are not crossed by the walk, but umount2 means the mount on top
// (after pivot_root(".", "."), the old root).
static void topmost(struct path *at)
{
	struct mount *m;

	write_lock(&dcache_lock);
	while ((m = mount_at_locked(at->mnt, at->dentry))) {
		struct path up = {m, m->root};
		path_get_locked(&up);
		write_unlock(&dcache_lock);
		path_put(at);
		*at = up;
		write_lock(&dcache_lock);
	}
	write_unlock(&dcache_lock);
}

long sys_umount2(const void __user *target, int flags)
{
	struct path at;
	long r;

	if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
		return -EINVAL;
	if (flags & MNT_EXPIRE && flags & (MNT_FORCE | MNT_DETACH))
		return -EINVAL;
	r = path_lookup_user(AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &at);
	if (r)
		return r;
	topmost(&at);
	if (!capable_here(CLONE_NEWNS, CAP_SYS_ADMIN)) {
		r = -EPERM;
	} else {
		struct super *sb = at.mnt->sb;
		if (sb->ops && sb->ops->sync)
			sb->ops->sync(sb);
		r = unmount(&at, flags);
	}
	path_put(&at);
	return r;
}

// --- pivot_root

struct swap {
	struct path old, new;
	struct path left;	// reference to be put
};

// Moves one reference that still is at the old root. tasklist held; dcache_lock inside.
static int follow_fs(struct fs_ctx *fs, struct swap *s)
{
	int r = 0;

	write_lock(&dcache_lock);
	struct path *at[] = {&fs->root, &fs->cwd};
	for (u32 i = 0; i < 2 && !r; i++)
		if (at[i]->mnt == s->old.mnt && at[i]->dentry == s->old.dentry) {
			s->left = *at[i];
			*at[i] = s->new;
			path_get_locked(at[i]);
			r = 1;
		}
	write_unlock(&dcache_lock);
	return r;
}

static int follow_root(struct proc *p, void *arg)
{
	int r = p->fs ? follow_fs(p->fs, arg) : 0;
	struct task *t;

	list_for_each(t, &p->threads, thread_link)
		if (!r && t->own_fs)
			r = follow_fs(t->own_fs, arg);
	return r;
}

static long pivot(struct path *new, struct path *put_old)
{
	struct fs_ctx *fs = cur_fs();
	struct swap s = {.old = fs->root, .new = *new};
	struct mount *root = fs->root.mnt, *m = new->mnt;
	struct path place = {0};
	bool inside = false;
	long r = 0;

	write_lock(&dcache_lock);
	for (struct path p = *put_old; p.mnt && !inside;) { // put_old is at or under new_root
		inside = p.mnt == m;
		p.mnt = p.mnt->parent;
	}
	if (!mount_mine(m) || !mount_mine(root) || !mount_mine(put_old->mnt) || !inside)
		r = -EINVAL;
	else if (m == root || put_old->mnt == root)
		r = -EBUSY;
	else if (!at_root(new) || s.old.dentry != root->root || !m->parent || m->locked)
		r = -EINVAL;
	else if (!is_dir(new->dentry->inode) || !is_dir(put_old->dentry->inode))
		r = -ENOTDIR;
	if (!r) {
		if (root->parent) {
			detach_locked(root);
			place = root->was;
		} else {
			list_del(&root->link);
			mount_counted_locked(root, false);
		}
		detach_locked(m);
		m->locked = root->locked; // what was hidden stays so
		root->locked = false;
		if (!place.mnt) {
			list_add(&m->link, &mounts);
			mount_counted_locked(m, true);
			m->ns = cur_mnt_ns();
			m->ns->root = m;
		}
	}
	write_unlock(&dcache_lock);
	if (r)
		return r;
	struct path was = m->was;
	m->was = root->was = (struct path){0};
	if ((place.mnt && mount_attach(m, &place)) || mount_attach(root, put_old))
		pr_err("pivot_root: a mount could not be put in its new place\n");
	path_get(&s.old);
	while (proc_for_each(follow_root, &s) == 1)
		path_put(&s.left);
	path_put(&s.old);
	path_put(&was);
	if (place.mnt)
		path_put(&place);
	return 0;
}

long sys_pivot_root(const void __user *new_root, const void __user *put_old)
{
	struct path new, old;
	long r;

	if (!capable_here(CLONE_NEWNS, CAP_SYS_ADMIN))
		return -EPERM;
	r = path_lookup_user(AT_FDCWD, new_root, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &new);
	if (r)
		return r;
	r = path_lookup_user(AT_FDCWD, put_old, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &old);
	if (!r) {
		mutex_lock(&mount_lock);
		r = pivot(&new, &old);
		mutex_unlock(&mount_lock);
		path_put(&old);
	}
	path_put(&new);
	return r;
}
