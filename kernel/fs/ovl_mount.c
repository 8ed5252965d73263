// SPDX-License-Identifier: Apache-2.0
// Overlay mounts: mount -t overlay. Options: lowerdir=A:B... (topmost first; lowerdir+= adds one), upperdir=, workdir=, userxattr, and those
// of Linux's that ask for what is done anyway. The layers are directories of the caller's; what is mounted below them is not seen. Locks:
// mount_lock is held, so a layer cannot be reached through a file system that waits for a program. See ovl.h.
#include "kernel/fs/ovl.h"
#include "kernel/include/log.h"

#define OVERLAYFS_MAGIC_ 0x794c7630u
#define STACK_MAX 2u // as Linux: overlays on overlays

struct options {
	struct path lower[OVL_LAYERS], upper, work;
	u32 nlower;
	bool userxattr;
};

static int look_up(const char *name, struct path *p)
{
	int r = path_lookup(AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY | LOOKUP_NO_WAIT, p);

	if (!r && (p->dentry->inode->iops->no_cache || p->mnt->sb->waits)) {
		path_put(p);
		r = -EINVAL;
	}
	return r;
}

// Takes one layer off *text, which a colon ends; "\x" is x.
static int next_layer(struct options *o, char **text)
{
	char *from = *text, *to = from, *name = from;

	for (; *from && *from != ':'; from++)
		*to++ = *from == '\\' && from[1] ? *++from : *from;
	*text = from + (*from == ':');
	*to = 0;
	if (!*name || o->nlower == OVL_LAYERS)
		return -EINVAL;
	int r = look_up(name, &o->lower[o->nlower]);
	if (!r)
		o->nlower++;
	return r;
}

static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++)
		*to++ = *s == '\\' && s[1] ? *++s : *s;
	*to = 0;
}

static bool is(const char *key, const char *const *list)
{
	while (*list && strcmp(key, *list))
		list++;
	return *list;
}

static int set(struct options *o, char *key, char *value)
{
	static const char *const done_anyway[] = {"redirect_dir", "index", "metacopy", "nfs_export", "xino", "uuid", NULL};
	static const char *const off[] = {"off", "nofollow", "null", "auto", NULL}, *const flags[] = {"volatile", "default_permissions", NULL};
	struct path *p = !strcmp(key, "upperdir") ? &o->upper : !strcmp(key, "workdir") ? &o->work : NULL;
	int r = 0;

	if (!value) {
		bool own = !strcmp(key, "userxattr");
		o->userxattr |= own;
		return own || is(key, flags) ? 0 : -EINVAL;
	}
	if (p) {
		if (p->dentry)
			path_put(p);
		unescape(value);
		return look_up(value, p);
	}
	if (!strcmp(key, "lowerdir+")) {
		unescape(value);
		return o->nlower == OVL_LAYERS ? -EINVAL : (r = look_up(value, &o->lower[o->nlower])) ? r : (o->nlower++, 0);
	}
	if (strcmp(key, "lowerdir"))
		return is(key, done_anyway) && is(value, off) ? 0 : -EINVAL;
	while (o->nlower)
		path_put(&o->lower[--o->nlower]);
	while (*value && !r)
		r = next_layer(o, &value);
	return r;
}

// "key=value,flag"; "\," is a comma within a value.
static int parse(struct options *o, char *text)
{
	int r = 0;

	while (*text && !r) {
		char *end = text, *value;
		while (*end && *end != ',')
			end += *end == '\\' && end[1] ? 2 : 1;
		bool more = *end;
		*end = 0;
		if ((value = strchr(text, '=')))
			*value++ = 0;
		if (*text)
			r = set(o, text, value);
		text = end + more;
	}
	return r;
}

static int check(const struct options *o)
{
	const struct path *u = &o->upper, *w = &o->work;

	if (!o->nlower || (!u->dentry && o->nlower < 2))
		return -EINVAL;
	if (u->dentry && (!w->dentry || u->mnt != w->mnt || d_ancestor(u->dentry, w->dentry) || d_ancestor(w->dentry, u->dentry)))
		return -EINVAL;
	return u->dentry && mount_write(u->mnt) ? -EINVAL : 0;
}

// workdir/work, without what was left there.
static int work_dir(struct ovl_fs *fs, struct dentry *parent)
{
	struct dentry *d;
	int r = ovl_may(fs, parent, MAY_READ | MAY_WRITE | MAY_EXEC);

	if (r)
		return r;
	d = layer_find(parent, "work");
	if (IS_ERR(d))
		return (int)PTR_ERR(d);
	bool there = d->inode;
	bool own = !there || !fs->mounter || !(parent->inode->mode & S_ISVTX) || d->inode->uid == fs->mounter->fsuid;
	d_put(d);
	if (!own)
		return -EPERM;
	if (there && (r = ovl_clear(parent, "work")))
		return r == -ENOTDIR ? -EINVAL : r;
	r = layer_make(parent, "work", S_IFDIR, 0, NULL, &d);
	if (!r)
		fs->work = d;
	return r;
}

// The file system of a layer stays, whatever is unmounted.
static void use(struct ovl_fs *fs, struct super *sb, u8 *stack)
{
	*stack = max(*stack, sb->stack);
	for (u32 k = 0; k < fs->nsupers; k++)
		if (fs->supers[k] == sb)
			return;
	super_get(sb);
	ref_get(&sb->active);
	fs->supers[fs->nsupers++] = sb;
}

static struct dentry *hold(struct dentry *d)
{
	d_get(d);
	return d;
}

static void put(struct super *sb)
{
	struct ovl_fs *fs = sb->priv;

	if (!fs)
		return;
	d_put(fs->upper);
	d_put(fs->work);
	for (u32 k = 0; k < fs->nlower; k++)
		d_put(fs->lower[k]);
	for (u32 k = 0; k < fs->nsupers; k++)
		super_deactivate(fs->supers[k]);
	kfree(fs->lower);
	kfree(fs->supers);
	kfree(fs->options);
	cred_free(fs->mounter);
	kfree(fs);
}

static int statfs(struct super *sb, struct statfs *st)
{
	struct ovl_fs *fs = sb->priv;
	struct super *real = (fs->upper ? fs->upper : fs->lower[0])->inode->sb;

	return real->ops && real->ops->statfs ? real->ops->statfs(real, st) : 0;
}

static int sync(struct super *sb)
{
	struct ovl_fs *fs = sb->priv;
	struct super *real = fs->upper ? fs->upper->inode->sb : NULL;

	return real && real->ops && real->ops->sync ? real->ops->sync(real) : 0;
}

static int remount(struct super *sb, u32 flags, const char *opts)
{
	struct ovl_fs *fs = sb->priv;

	(void)opts; // the layers stay
	if (!fs->work && !(flags & MS_RDONLY))
		return -EROFS;
	sb->read_only = flags & MS_RDONLY;
	return 0;
}

static void show(struct super *sb, char *buf, size_t n) { snprintf(buf, n, "%s", ((struct ovl_fs *)sb->priv)->options); }

static const struct super_ops sops = {.evict = ovl_evict, .statfs = statfs, .sync = sync, .remount = remount, .put = put, .options = show};

static int fill(struct super *sb, struct ovl_fs *fs, const struct options *o)
{
	struct dentry **lower = kmalloc(o->nlower * sizeof(*lower));
	int r = o->upper.dentry ? work_dir(fs, o->work.dentry) : 0;

	if (r && r != -EINVAL && r != -ENOMEM) {
		pr_warn("an overlay's workdir cannot be used (error %d): mounted read-only\n", -r);
		r = 0;
	}

	fs->lower = kmalloc(o->nlower * sizeof(*lower));
	fs->supers = kmalloc((o->nlower + 1) * sizeof(*fs->supers));
	if (r || !lower || !fs->lower || !fs->supers) {
		kfree(lower);
		return r ? r : -ENOMEM;
	}
	mutex_init(&fs->change);
	fs->userxattr = o->userxattr;
	for (u32 k = 0; k < o->nlower; k++) {
		lower[k] = hold(o->lower[k].dentry);
		fs->lower[fs->nlower++] = hold(lower[k]);
		use(fs, lower[k]->inode->sb, &sb->stack);
	}
	if (o->upper.dentry) {
		fs->upper = hold(o->upper.dentry);
		use(fs, fs->upper->inode->sb, &sb->stack);
	}
	sb->read_only = !fs->work;
	sb->blocksize = (fs->upper ? fs->upper : lower[0])->inode->sb->blocksize;
	struct inode *root = ++sb->stack > STACK_MAX ? ERR_PTR(-EINVAL) : NULL;
	if (root)
		for (u32 k = 0; k < o->nlower; k++)
			d_put(lower[k]);
	if (root)
		kfree(lower);
	else
		root = ovl_inode(sb, fs->upper ? hold(fs->upper) : NULL, lower, o->nlower, NULL, NULL);
	if (IS_ERR(root))
		return (int)PTR_ERR(root);
	sb->root = root;
	return 0;
}

static int ovl_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	struct options *o = knew(struct options);
	struct ovl_fs *fs = knew(struct ovl_fs);
	char *text = len ? kstrndup(data, strnlen(data, len)) : kstrdup("");
	struct super *sb = NULL;
	int r = -ENOMEM;

	(void)source;
	if (!o || !fs || !text || !(fs->options = kstrdup(text)))
		goto out;
	if (unlikely(cred()->user_ns) && !(fs->mounter = cred_dup(cred())))
		goto out;
	r = parse(o, text);
	if (!r)
		r = check(o);
	if (r)
		goto out;
	r = -ENOMEM;
	if (!(sb = super_new("overlay", &sops, OVERLAYFS_MAGIC_)))
		goto out;
	sb->priv = fs;
	r = fill(sb, fs, o);
	if (r) {
		super_put(sb);
		fs = NULL;
		goto out;
	}
	sb->read_only |= (flags & MS_RDONLY) != 0;
	*out = sb;
out:
	while (o && o->nlower)
		path_put(&o->lower[--o->nlower]);
	if (o) {
		path_put(&o->upper);
		path_put(&o->work);
	}
	if (fs && (r || !sb)) {
		kfree(fs->options);
		cred_free(fs->mounter);
		kfree(fs);
	}
	kfree(o);
	kfree(text);
	return r;
}

int ovl_init(void) { return fs_register("overlay", ovl_mount); }
