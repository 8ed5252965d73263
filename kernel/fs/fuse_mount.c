// SPDX-License-Identifier: Apache-2.0
// FUSE: mount -t fuse (and fuse.NAME) with the options that libfuse gives, the first exchange (INIT), and the super block. Locks: mount_lock
// is held while a mount is made; nothing waits for the daemon then.
#include "kernel/fs/fuse.h"

#define FUSE_MAGIC 0x65735546u
#define MINOR 31 // of the protocol that is spoken
#define FLAGS (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_AUTO_INVAL_DATA | FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT)

struct options {
	s64 fd;
	u32 rootmode, user_id, group_id, max_read, have;
	bool allow_other, default_permissions;
};

static int number(const char *s, u32 base, u32 *out)
{
	u64 v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s >= (char)('0' + base) || (v = v * base + (u64)(*s - '0')) > U32_MAX)
			return -EINVAL;
	}
	*out = (u32)v;
	return 0;
}

static int set(struct options *o, const char *key, const char *value)
{
	static const char *const names[] = {"fd", "rootmode", "user_id", "group_id", "max_read"};
	u32 fd = 0, *const to[] = {&fd, &o->rootmode, &o->user_id, &o->group_id, &o->max_read};

	if (!value) {
		o->allow_other |= !strcmp(key, "allow_other");
		o->default_permissions |= !strcmp(key, "default_permissions");
		return !strcmp(key, "allow_other") || !strcmp(key, "default_permissions") ? 0 : -EINVAL;
	}
	for (u32 k = 0; k < ARRAY_SIZE(names); k++)
		if (!strcmp(key, names[k])) {
			int r = number(value, k == 1 ? 8 : 10, to[k]);
			if (!k)
				o->fd = fd;
			o->have |= 1u << k;
			return r;
		}
	return !strcmp(key, "subtype") ? 0 : -EINVAL;
}

static int parse(struct options *o, char *text)
{
	int r = 0;

	while (*text && !r) {
		char *end = text, *value;
		while (*end && *end != ',')
			end++;
		bool more = *end;
		*end = 0;
		if ((value = strchr(text, '=')))
			*value++ = 0;
		if (*text)
			r = set(o, text, value);
		text = end + more;
	}
	if (!r && ((o->have & 15) != 15 || (o->rootmode & S_IFMT) != S_IFDIR))
		r = -EINVAL;
	return r;
}

// The daemon has said which of the things offered it wants.
static void init_done(struct fuse_conn *c, struct fuse_req *r)
{
	struct fuse_init_out out = {0};

	if (!r->error)
		memcpy(&out, r->out, min((size_t)r->out_len, sizeof(out)));
	// earlier protocols have other messages
	if (r->error || r->out_len < FUSE_COMPAT_22_INIT_OUT_SIZE || out.major != FUSE_KERNEL_VERSION || out.minor < 12) {
		mutex_lock(&c->lock);
		__atomic_store_n(&c->connected, false, __ATOMIC_RELEASE);
		mutex_unlock(&c->lock);
		waitq_wake(&c->readers, 0);
	} else {
		c->max_write = max(out.max_write, (u32)PAGE_SIZE);
		if (c->max_write > FUSE_IO_MAX)
			c->max_write = FUSE_IO_MAX;
		c->no_open &= out.flags & FUSE_NO_OPEN_SUPPORT;
		__atomic_store_n(&c->initialised, true, __ATOMIC_RELEASE);
	}
	waitq_wake(&c->ready, 0);
}

static int send_init(struct fuse_conn *c)
{
	struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION, .minor = MINOR, .max_readahead = FUSE_IO_MAX, .flags = FLAGS};
	// as long as it was before it grew in 7.36
	size_t n = offsetof(struct fuse_init_in, flags2);
	struct fuse_req *r = fuse_req_new(c, FUSE_INIT, 0, n, FUSE_COMPAT_INIT_OUT_SIZE, sizeof(struct fuse_init_out));

	if (!r)
		return -ENOMEM;
	memcpy(fuse_body(r), &in, n);
	fuse_tell(c, r, init_done);
	return 0;
}

static int statfs(struct super *sb, struct statfs *st)
{
	struct fuse_statfs_out out;

	st->f_type = FUSE_MAGIC;
	if (!fuse_allowed(sb->priv))
		return 0;
	int r = fuse_call(sb->priv, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0, &out, sizeof(out), sizeof(out));
	if (r < 0)
		return r;
	st->f_bsize = out.st.bsize;
	st->f_frsize = out.st.frsize ? out.st.frsize : out.st.bsize;
	st->f_blocks = (s64)out.st.blocks;
	st->f_bfree = (s64)out.st.bfree;
	st->f_bavail = (s64)out.st.bavail;
	st->f_files = (s64)out.st.files;
	st->f_ffree = (s64)out.st.ffree;
	st->f_namelen = out.st.namelen;
	return 0;
}

static void put(struct super *sb)
{
	struct fuse_conn *c = sb->priv;

	if (!c)
		return;
	mutex_lock(&c->lock);
	c->sb = NULL;
	mutex_unlock(&c->lock);
	fuse_conn_put(c);
}

static void show(struct super *sb, char *buf, size_t n)
{
	struct fuse_conn *c = sb->priv;
	char most[32] = "";

	if (c->max_read != U32_MAX)
		snprintf(most, sizeof(most), ",max_read=%u", c->max_read);
	snprintf(buf, n, "user_id=%u,group_id=%u%s%s%s", c->user_id, c->group_id, c->default_permissions ? ",default_permissions" : "",
		 c->allow_other ? ",allow_other" : "", most);
}

static const struct super_ops sops = {.evict = fuse_evict, .statfs = statfs, .put = put, .options = show};

static int make_super(const struct options *o, struct fuse_conn *c, struct super **out)
{
	struct fuse_entry_out root = {.nodeid = FUSE_ROOT_ID, .attr = {.ino = FUSE_ROOT_ID, .mode = o->rootmode & (S_IFMT | 07777), .nlink = 1}};
	struct super *sb = super_new("fuse", &sops, FUSE_MAGIC);
	struct inode *i;

	if (!sb)
		return -ENOMEM;
	sb->waits = true;
	sb->priv = c;
	ref_get(&c->ref);
	c->sb = sb;
	c->user_id = fuse_id_in(c, false, o->user_id);
	c->group_id = fuse_id_in(c, true, o->group_id);
	if (c->user_id == U32_MAX || c->group_id == U32_MAX) {
		super_put(sb);
		return -EINVAL;
	}
	c->max_read = o->have & 16 ? max(o->max_read, (u32)PAGE_SIZE) : U32_MAX;
	c->allow_other = o->allow_other;
	c->default_permissions = o->default_permissions;
	root.attr.uid = o->user_id;
	root.attr.gid = o->group_id;
	i = fuse_inode(sb, &root, 0);
	if (IS_ERR(i)) {
		super_put(sb);
		return (int)PTR_ERR(i);
	}
	sb->root = i;
	*out = sb;
	return 0;
}

// Ties an open /dev/fuse to the connection: from now on it is read there.
static int tie(const struct options *o, struct fuse_conn *c)
{
	struct file *dev = o->fd <= 0x7fffffff ? fd_get((int)o->fd) : NULL;
	struct fuse_conn *none = NULL;
	int r = !dev || dev->ops != &fuse_dev_fops ? -EINVAL : 0;

	if (!r) {
		ref_get(&c->ref);
		c->devices = 1;
		if (!__atomic_compare_exchange_n((struct fuse_conn **)&dev->priv, &none, c, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			c->devices = 0;
			fuse_conn_put(c);
			r = -EINVAL; // serves another mount
		}
	}
	file_put(dev);
	return r;
}

static int fuse_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	struct options o = {.fd = -1};
	char *text = len ? kstrndup(data, strnlen(data, len)) : kstrdup("");
	struct fuse_conn *c = fuse_conn_new();
	struct super *sb = NULL;
	int r = text && c ? parse(&o, text) : -ENOMEM;

	(void)source;
	if (!r)
		r = make_super(&o, c, &sb);
	if (!r)
		r = tie(&o, c);
	if (!r)
		r = send_init(c);
	if (!r) {
		sb->read_only = flags & MS_RDONLY;
		*out = sb;
	} else if (sb) {
		inode_put(sb->root);
		super_put(sb);
	}
	fuse_conn_put(c);
	kfree(text);
	return r;
}

int fuse_init(void)
{
	int r = dev_register(10, 229, "fuse", 0666, &fuse_dev_fops);

	return r ? r : fs_register("fuse", fuse_mount);
}
