// SPDX-License-Identifier: Apache-2.0
// The mount calls with descriptors: fsopen, fsconfig, fsmount, fspick, open_tree, open_tree_attr, move_mount,
// mount_setattr. What they do to
// the table is what mount(2) does. A descriptor of fsmount or open_tree(OPEN_TREE_CLONE) owns a tree that hangs nowhere,
// until move_mount hangs it; closing it before drops the tree.
// Locks: see mounts.h; a context's own lock -> mount_lock.
#include "kernel/fs/mounts.h"

#define PATH_FLAGS (AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW)

struct fs_context {
	struct mutex lock;
	char fstype[32], source[64];
	char *opts;		// a page: "key=value,flag", as mount(2) takes them
	u32 flags;		// MS_RDONLY
	struct super *sb;	// made by FSCONFIG_CMD_CREATE: active, a reference
	struct super *picked;	// fspick: what is reconfigured, a reference
};

static void context_release(struct file *f)
{
	struct fs_context *c = f->priv;

	if (c->sb)
		super_deactivate(c->sb);
	if (c->picked)
		super_put(c->picked);
	explicit_bzero(c->opts, PAGE_SIZE);
	kfree(c->opts);
	kfree(c);
}

static const struct file_ops context_fops = {.release = context_release, .llseek = no_llseek, .stream = true};

static long context_new(const char *fstype, struct super *picked, bool cloexec)
{
	struct fs_context *c = knew(struct fs_context);
	struct file *f;
	long fd;

	if (!c || !(c->opts = kzalloc(PAGE_SIZE))) {
		kfree(c);
		return -ENOMEM;
	}
	strlcpy(c->fstype, fstype, sizeof(c->fstype));
	if (picked) {
		c->picked = picked;
		super_get(picked);
	}
	f = anon_file("[fscontext]", &context_fops, O_RDWR, c);
	if (IS_ERR_OR_NULL(f)) {
		if (picked)
			super_put(picked);
		kfree(c->opts);
		kfree(c);
		return f ? PTR_ERR(f) : -ENOMEM;
	}
	fd = fd_alloc(f, 0, cloexec);
	if (fd < 0)
		file_put(f);
	return fd;
}

bool fs_known(const char *name)
{
	const char *t;

	for (u32 i = 0; (t = fs_type_name(i)); i++)
		if (!strcmp(t, name))
			return true;
	return false;
}

long sys_fsopen(const void __user *uname, u32 flags)
{
	char name[32];
	ssize_t n;

	if (!capable_here(CLONE_NEWNS, CAP_SYS_ADMIN))
		return -EPERM;
	if (flags & ~(u32)FSOPEN_CLOEXEC)
		return -EINVAL;
	n = user_str(name, uname, sizeof(name));
	if (n == -EFAULT)
		return n;
	return n < 0 || !fs_known(name) ? -ENODEV : context_new(name, NULL, flags & FSOPEN_CLOEXEC);
}

long sys_fspick(int dfd, const void __user *name, u32 flags)
{
	struct path p;
	long r;

	if (!capable_here(CLONE_NEWNS, CAP_SYS_ADMIN))
		return -EPERM;
	if (flags & ~(u32)(FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW | FSPICK_NO_AUTOMOUNT | FSPICK_EMPTY_PATH))
		return -EINVAL;
	r = path_lookup_user(dfd, name, (flags & FSPICK_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & FSPICK_EMPTY_PATH ? LOOKUP_EMPTY : 0), &p);
	if (r)
		return r;
	r = p.dentry == p.mnt->root ? context_new(p.mnt->sb->fstype, p.mnt->sb, flags & FSPICK_CLOEXEC) : -EINVAL;
	path_put(&p);
	return r;
}

// One key with or without a value, kept as text. Locked.
static long add_option(struct fs_context *c, const char *key, const char *value)
{
	size_t at = strlen(c->opts);

	if (!value && (!strcmp(key, "ro") || !strcmp(key, "rw"))) {
		c->flags = !strcmp(key, "ro") ? MS_RDONLY : 0;
		return 0;
	}
	if (value && !strcmp(key, "source")) {
		if (c->source[0])
			return -EINVAL;
		strlcpy(c->source, value, sizeof(c->source));
		return 0;
	}
	if (at + strlen(key) + (value ? strlen(value) : 0) + 3 > PAGE_SIZE || strchr(key, ','))
		return -EINVAL;
	snprintf(c->opts + at, PAGE_SIZE - at, "%s%s%s%s", at ? "," : "", key, value ? "=" : "", value ? value : "");
	return 0;
}

static long create(struct fs_context *c)
{
	struct super *sb;

	if (c->picked || c->sb)
		return -EBUSY;
	long r = mount_may_make(c->fstype);
	if (r)
		return r;
	mutex_lock(&mount_lock);
	sb = fs_make(c->fstype, c->source, c->flags, c->opts, PAGE_SIZE);
	mutex_unlock(&mount_lock);
	if (IS_ERR(sb))
		return PTR_ERR(sb);
	ref_get(&sb->active);
	c->sb = sb;
	return 0;
}

static long reconfigure(struct fs_context *c)
{
	long r;

	if (!c->picked)
		return -EINVAL;
	if (!ns_capable(c->picked->user_ns, CAP_SYS_ADMIN))
		return -EPERM;
	if (!c->picked->ops || !c->picked->ops->remount)
		return -EOPNOTSUPP;
	mutex_lock(&mount_lock);
	r = c->picked->ops->remount(c->picked, c->flags, c->opts);
	mutex_unlock(&mount_lock);
	return r;
}

static long configure(struct fs_context *c, u32 cmd, const char *key, const char *value)
{
	long r;

	mutex_lock(&c->lock);
	switch (cmd) {
	case FSCONFIG_SET_FLAG:
	case FSCONFIG_SET_STRING: r = c->sb ? -EBUSY : add_option(c, key, value); break;
	case FSCONFIG_CMD_CREATE: r = create(c); break;
	default: r = reconfigure(c);
	}
	mutex_unlock(&c->lock);
	return r;
}

long sys_fsconfig(int fd, u32 cmd, const void __user *ukey, const void __user *uvalue, int aux)
{
	bool key_wanted = cmd == FSCONFIG_SET_FLAG || cmd == FSCONFIG_SET_STRING, value_wanted = cmd == FSCONFIG_SET_STRING;
	char key[64] = "", value[256] = "";
	struct file *f;
	long r;

	if (fd < 0 || !ukey == key_wanted || !uvalue == value_wanted || aux)
		return cmd == FSCONFIG_SET_BINARY || cmd == FSCONFIG_SET_PATH || cmd == FSCONFIG_SET_PATH_EMPTY || cmd == FSCONFIG_SET_FD
			       ? -EOPNOTSUPP : cmd > FSCONFIG_CMD_RECONFIGURE ? -EOPNOTSUPP : -EINVAL;
	if (cmd > FSCONFIG_CMD_RECONFIGURE)
		return -EOPNOTSUPP;
	f = fd_get(fd);
	r = !f ? -EBADF : f->ops != &context_fops ? -EINVAL : 0;
	if (!r && key_wanted && (r = user_str(key, ukey, sizeof(key))) > 0)
		r = 0;
	if (!r && value_wanted && (r = user_str(value, uvalue, sizeof(value))) > 0)
		r = 0;
	if (r == -ENAMETOOLONG)
		r = -EINVAL;
	if (!r)
		r = configure(f->priv, cmd, key, value_wanted ? value : NULL);
	explicit_bzero(value, sizeof(value));
	if (f)
		file_put(f);
	return r;
}

// --- trees that hang nowhere

static void detached_release(struct file *f)
{
	struct mount *m = f->path.mnt;

	mutex_lock(&mount_lock);
	if (m->detached) {
		m->detached = false;
		tree_drop(m);
	}
	mutex_unlock(&mount_lock);
}

const struct file_ops detached_fops = {.release = detached_release};

static struct file *detached_file(struct mount *m)
{
	struct path p = {m, m->root};
	struct file *f = file_open_path(&p, O_PATH);

	if (IS_ERR(f)) {
		mutex_lock(&mount_lock);
		tree_drop(m);
		mutex_unlock(&mount_lock);
		return f;
	}
	m->detached = true;
	f->ops = &detached_fops;
	return f;
}

static long tree_fd(struct file *f, bool cloexec)
{
	long fd = IS_ERR(f) ? PTR_ERR(f) : fd_alloc(f, 0, cloexec);

	if (!IS_ERR(f) && fd < 0)
		file_put(f);
	return fd;
}

static int attr_flags(u64 attr, u32 *ms)
{
	static const u32 bits[][2] = {{MOUNT_ATTR_RDONLY, MS_RDONLY}, {MOUNT_ATTR_NOSUID, MS_NOSUID}, {MOUNT_ATTR_NODEV, MS_NODEV},
				      {MOUNT_ATTR_NOEXEC, MS_NOEXEC}, {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME}};
	u64 known = MOUNT_ATTR__ATIME;

	*ms = 0;
	for (u32 i = 0; i < ARRAY_SIZE(bits); i++) {
		known |= bits[i][0];
		*ms |= attr & bits[i][0] ? bits[i][1] : 0;
	}
	return attr & ~known ? -EINVAL : 0;
}

// MS_RELATIME, MS_NOATIME or neither; -EINVAL.
static int atime_flags(u64 attr)
{
	switch (attr & MOUNT_ATTR__ATIME) {
	case MOUNT_ATTR_RELATIME: return MS_RELATIME;
	case MOUNT_ATTR_NOATIME: return MS_NOATIME;
	case MOUNT_ATTR_STRICTATIME: return 0;
	default: return -EINVAL;
	}
}

long sys_fsmount(int fd, u32 flags, u32 attr)
{
	struct fs_context *c;
	struct mount *m = NULL;
	struct file *f;
	u32 ms, locked;
	long r;

	if (!capable_here(CLONE_NEWNS, CAP_SYS_ADMIN))
		return -EPERM;
	if (flags & ~(u32)FSMOUNT_CLOEXEC || attr_flags(attr, &ms) || atime_flags(attr) < 0)
		return -EINVAL;
	ms |= (u32)atime_flags(attr);
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	r = -EINVAL;
	if (f->ops == &context_fops) {
		c = f->priv;
		mutex_lock(&c->lock);
		if (c->sb)
			r = mount_reveals(c->fstype, ms, &locked);
		if (c->sb && !r) {
			super_get(c->sb);
			m = mount_new(c->sb, NULL, c->source, ms);
			if (m)
				m->locked_flags = locked;
			r = m ? 0 : -ENOMEM;
			super_deactivate(c->sb);
			c->sb = NULL; // one mount each
		}
		mutex_unlock(&c->lock);
	}
	file_put(f);
	return m ? tree_fd(detached_file(m), flags & FSMOUNT_CLOEXEC) : r;
}

static int lookup(int dfd, const void __user *name, u32 flags, struct path *p)
{
	return path_lookup_user(dfd, name, (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), p);
}

// A file that stands for the tree, or ERR_PTR.
static struct file *open_tree(int dfd, const void __user *name, u32 flags)
{
	struct file *f;
	struct mount *m;
	struct path p;
	long r;

	if (flags & ~(u32)(PATH_FLAGS | AT_RECURSIVE | OPEN_TREE_CLONE | O_CLOEXEC) || (flags & (AT_RECURSIVE | OPEN_TREE_CLONE)) == AT_RECURSIVE)
		return ERR_PTR(-EINVAL);
	if (flags & OPEN_TREE_CLONE && !capable_here(CLONE_NEWNS, CAP_SYS_ADMIN))
		return ERR_PTR(-EPERM);
	r = lookup(dfd, name, flags, &p);
	if (r)
		return ERR_PTR(r);
	if (!(flags & OPEN_TREE_CLONE)) {
		f = file_open_path(&p, O_PATH);
	} else {
		mutex_lock(&mount_lock);
		m = (flags & AT_RECURSIVE || !mount_hides_locked(p.mnt, p.dentry)) && mount_mine(p.mnt) && p.mnt->propagation != MS_UNBINDABLE ? tree_copy(&p, flags & AT_RECURSIVE, NULL) : ERR_PTR(-EINVAL);
		mutex_unlock(&mount_lock);
		if (!IS_ERR(m))
			m->locked = false;
		f = IS_ERR(m) ? (void *)m : detached_file(m);
	}
	path_put(&p);
	return f;
}

long sys_open_tree(int dfd, const void __user *name, u32 flags) { return tree_fd(open_tree(dfd, name, flags), flags & O_CLOEXEC); }

long sys_move_mount(int from_dfd, const void __user *from_name, int to_dfd, const void __user *to_name, u32 flags)
{
	const u32 known = MOVE_MOUNT_F_SYMLINKS | MOVE_MOUNT_F_AUTOMOUNTS | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS |
			  MOVE_MOUNT_T_AUTOMOUNTS | MOVE_MOUNT_T_EMPTY_PATH;
	struct path from, to;
	long r;

	if (!capable_here(CLONE_NEWNS, CAP_SYS_ADMIN))
		return -EPERM;
	if (flags & ~known)
		return -EINVAL;
	r = path_lookup_user(from_dfd, from_name,
			     (flags & MOVE_MOUNT_F_SYMLINKS ? LOOKUP_FOLLOW : 0) | (flags & MOVE_MOUNT_F_EMPTY_PATH ? LOOKUP_EMPTY : 0), &from);
	if (r)
		return r;
	r = path_lookup_user(to_dfd, to_name,
			     (flags & MOVE_MOUNT_T_SYMLINKS ? LOOKUP_FOLLOW : 0) | (flags & MOVE_MOUNT_T_EMPTY_PATH ? LOOKUP_EMPTY : 0), &to);
	if (!r) {
		mutex_lock(&mount_lock);
		r = move_mount_to(&from, &to);
		mutex_unlock(&mount_lock);
		path_put(&to);
	}
	path_put(&from);
	return r;
}

// --- mount_setattr

static bool under(const struct mount *m, const struct mount *top)
{
	while (m && m != top)
		m = m->parent;
	return m;
}

struct change { // a checked struct mount_attr
	u32 set, clr, atime, propagation;
};

static long read_change(struct change *c, const void __user *uattr, size_t size)
{
	struct mount_attr a;
	int atime = 0;
	long r;

	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size < sizeof(a))
		return -EINVAL;
	if (!capable_here(CLONE_NEWNS, CAP_SYS_ADMIN))
		return -EPERM;
	r = copy_struct_from_user(&a, sizeof(a), uattr, size);
	if (r)
		return r;
	if (attr_flags(a.attr_set, &c->set) || attr_flags(a.attr_clr, &c->clr) || a.propagation & ~(u64)MNT_PROPAGATION ||
	    a.propagation & (a.propagation - 1))
		return -EINVAL;
	if (a.attr_clr & MOUNT_ATTR__ATIME) {
		atime = atime_flags(a.attr_set);
		if ((a.attr_clr & MOUNT_ATTR__ATIME) != MOUNT_ATTR__ATIME || atime < 0)
			return -EINVAL;
		c->clr |= MS_RELATIME | MS_NOATIME;
	} else if (a.attr_set & MOUNT_ATTR__ATIME) {
		return -EINVAL;
	}
	c->atime = (u32)atime;
	c->propagation = (u32)a.propagation;
	return 0;
}

static long may_change(const struct mount *m, const struct change *c)
{
	return mount_takes_back(m, (m->flags & ~c->clr) | c->set | c->atime) ? -EPERM : 0;
}

static void change_one(struct mount *m, const struct change *c)
{
	m->flags = (m->flags & ~c->clr) | c->set | c->atime;
	if (c->propagation)
		m->propagation = c->propagation;
}

static long change_at(const struct path *p, const struct change *c, bool recursive)
{
	struct mount *top = p->mnt, *m;
	long r;

	mutex_lock(&mount_lock);
	write_lock(&dcache_lock);
	r = p->dentry != top->root || !(mount_mine(top) || mount_waits(top)) ? -EINVAL : may_change(top, c);
	list_for_each(m, &mounts, link) // where one that hangs nowhere is not
		if (!r && recursive && m != top && under(m, top))
			r = may_change(m, c);
	if (!r) {
		change_one(top, c);
		list_for_each(m, &mounts, link)
			if (recursive && m != top && under(m, top))
				change_one(m, c);
	}
	write_unlock(&dcache_lock);
	mutex_unlock(&mount_lock);
	return r;
}

long sys_mount_setattr(int dfd, const void __user *name, u32 flags, const void __user *uattr, size_t size)
{
	struct change c;
	struct path p;
	long r;

	if (flags & ~(u32)(PATH_FLAGS | AT_RECURSIVE))
		return -EINVAL;
	r = read_change(&c, uattr, size);
	if (!r)
		r = lookup(dfd, name, flags, &p);
	if (r)
		return r;
	r = change_at(&p, &c, flags & AT_RECURSIVE);
	path_put(&p);
	return r;
}

long sys_open_tree_attr(int dfd, const void __user *name, u32 flags, const void __user *uattr, size_t size)
{
	struct change c;
	struct file *f;
	long r;

	if (!uattr && size)
		return -EINVAL;
	f = open_tree(dfd, name, flags);
	if (IS_ERR(f))
		return PTR_ERR(f);
	r = uattr ? read_change(&c, uattr, size) : 0;
	if (!r && uattr)
		r = change_at(&f->path, &c, flags & AT_RECURSIVE);
	if (!r)
		return tree_fd(f, flags & O_CLOEXEC);
	file_put(f);
	return r;
}
