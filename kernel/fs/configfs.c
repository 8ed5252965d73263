// SPDX-License-Identifier: Apache-2.0
// configfs with the one subsystem that an enclave has: tsm/report, Linux's interface for evidence of a TEE
// (Documentation/ABI/testing/configfs-tsm). mkdir of tsm/report/NAME makes a request; writing `inblob` and reading
// `outblob` gets evidence over it, as does reading `auxblob` (the certificates). `generation` counts writes of inputs;
// an input that changes while evidence is being made gives EWOULDBLOCK. Locks: inode->lock of a directory ->
// requests_lock (the list of requests); request->lock. The hostcall runs without them.
#include "kernel/fs/fs.h"
#include "kernel/include/hostcall.h"

#define CONFIGFS_MAGIC 0x62656570
#define INBLOB_MAX     64u
#define REPORT_ROOM    4096u
#define CHAIN_ROOM     32768u
#define NAME_ROOM      64u

enum attr { INBLOB, OUTBLOB, AUXBLOB, PROVIDER, GENERATION, PRIVLEVEL, PRIVLEVEL_FLOOR, NATTRS };
static const struct {
	const char *name;
	u32 mode;
} attrs[NATTRS] = {
	[INBLOB] = {"inblob", 0200},
	[OUTBLOB] = {"outblob", 0400},
	[AUXBLOB] = {"auxblob", 0400},
	[PROVIDER] = {"provider", 0400},
	[GENERATION] = {"generation", 0400},
	[PRIVLEVEL] = {"privlevel", 0200},
	[PRIVLEVEL_FLOOR] = {"privlevel_floor", 0400},
};

struct request {
	struct ref ref; // the directory's list, inodes
	struct list link;
	char name[NAME_ROOM];
	u64 ino; // of the directory; attributes follow
	struct mutex lock;
	u8 in[INBLOB_MAX];
	u32 in_len;
	u64 write_generation, read_generation; // inputs set; the ones that the outputs are about
	u8 *out;
	u32 out_len;
	char *chain;
	u32 chain_len;
};

struct node { // inode->priv
	enum { ROOT, TSM, REPORT, REQUEST, ATTR } kind;
	enum attr attr;
	struct request *r; // reference
};

static struct super *sb;
static struct list requests = LIST_INIT(requests); // requests_lock
static struct mutex requests_lock;
static u64 next_ino = 16;

static const struct inode_ops dir_iops, report_iops, request_iops, attr_iops;
static const struct file_ops dir_fops, attr_fops;

static void request_put(struct request *r)
{
	if (!r || !ref_put(&r->ref))
		return;
	kfree(r->out);
	kfree(r->chain);
	kfree(r);
}

static struct inode *make_inode(u32 mode, u32 kind, struct request *r, enum attr attr)
{
	struct node *n = knew(struct node);
	struct inode *i = n ? inode_new(sb, mode) : NULL;

	if (!i) {
		kfree(n);
		return NULL;
	}
	n->kind = kind;
	n->attr = attr;
	n->r = r;
	if (r)
		ref_get(&r->ref);
	i->priv = n;
	i->uid = i->gid = 0;
	i->ino = r ? r->ino + (kind == ATTR ? 1 + attr : 0) : 1 + kind;
	i->iops = kind == ATTR	    ? &attr_iops
		  : kind == REQUEST ? &request_iops
		  : kind == REPORT  ? &report_iops
				    : &dir_iops;
	i->fops = kind == ATTR ? &attr_fops : &dir_fops;
	if (kind != ATTR)
		i->nlink = 2;
	return i;
}

static void evict(struct inode *i)
{
	struct node *n = i->priv;

	if (n)
		request_put(n->r);
	kfree(n);
}

static const struct super_ops sops = {.evict = evict};

// --- directories

static bool is(const char *name, u32 len, const char *what) { return strlen(what) == len && !memcmp(name, what, len); }

static int dir_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct node *n = dir->priv;

	if (!is(name, len, n->kind == ROOT ? "tsm" : "report"))
		return -ENOENT;
	*out = make_inode(S_IFDIR | 0755, n->kind == ROOT ? TSM : REPORT, NULL, 0);
	return *out ? 0 : -ENOMEM;
}

static struct request *find(const char *name, u32 len)
{
	struct request *r;

	list_for_each (r, &requests, link)
		if (is(name, len, r->name))
			return r;
	return NULL;
}

static int report_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct request *r;

	(void)dir;
	mutex_lock(&requests_lock);
	r = find(name, len);
	if (r)
		*out = make_inode(S_IFDIR | 0755, REQUEST, r, 0);
	mutex_unlock(&requests_lock);
	return !r ? -ENOENT : *out ? 0 : -ENOMEM;
}

static int report_mkdir(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	struct request *r;
	int e = 0;

	(void)dir;
	(void)mode;
	if (len >= NAME_ROOM)
		return -ENAMETOOLONG;
	r = knew(struct request);
	if (!r)
		return -ENOMEM;
	ref_init(&r->ref, 1);
	memcpy(r->name, name, len);
	mutex_lock(&requests_lock);
	if (find(name, len)) {
		e = -EEXIST;
	} else {
		r->ino = next_ino;
		next_ino += 16;
		*out = make_inode(S_IFDIR | 0755, REQUEST, r, 0);
		e = *out ? 0 : -ENOMEM;
		if (!e)
			list_add_tail(&r->link, &requests);
	}
	mutex_unlock(&requests_lock);
	if (e)
		request_put(r);
	return e;
}

static int report_rmdir(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct request *r;

	(void)dir;
	mutex_lock(&requests_lock);
	r = find(name, len);
	if (r)
		list_del(&r->link);
	mutex_unlock(&requests_lock);
	if (!r)
		return -ENOENT;
	ino->nlink = 0;
	request_put(r);
	return 0;
}

static int request_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct node *n = dir->priv;

	for (u32 a = 0; a < NATTRS; a++)
		if (is(name, len, attrs[a].name)) {
			*out = make_inode(S_IFREG | attrs[a].mode, ATTR, n->r, a);
			return *out ? 0 : -ENOMEM;
		}
	return -ENOENT;
}

static int report_readdir(struct dir_ctx *c)
{
	struct request *r;
	u64 pos = 2;

	mutex_lock(&requests_lock);
	list_for_each (r, &requests, link) {
		if (pos++ < c->pos)
			continue;
		if (!c->emit(c, r->name, strlen(r->name), r->ino, S_IFDIR >> 12, pos))
			break;
	}
	mutex_unlock(&requests_lock);
	return 0;
}

static int dir_readdir(struct file *f, struct dir_ctx *c)
{
	struct node *n = f->inode->priv;

	if (n->kind == REPORT)
		return report_readdir(c);
	if (n->kind == REQUEST) {
		for (u64 a = c->pos > 2 ? c->pos - 2 : 0; a < NATTRS; a++)
			if (!c->emit(c, attrs[a].name, strlen(attrs[a].name), n->r->ino + 1 + a, S_IFREG >> 12, a + 3))
				break;
	} else if (c->pos <= 2) {
		const char *name = n->kind == ROOT ? "tsm" : "report";

		c->emit(c, name, strlen(name), 2 + n->kind, S_IFDIR >> 12, 3);
	}
	return 0;
}

static int attr_setattr(struct inode *i, const struct iattr *a)
{
	(void)i;
	return a->valid & ~(ATTR_SIZE | ATTR_ATIME | ATTR_MTIME) ? -EPERM : 0; // O_TRUNC does nothing
}

static const struct inode_ops dir_iops = {.lookup = dir_lookup, .no_cache = true};
static const struct inode_ops report_iops = {
	.lookup = report_lookup, .mkdir = report_mkdir, .rmdir = report_rmdir, .no_cache = true};
static const struct inode_ops request_iops = {.lookup = request_lookup, .no_cache = true};
static const struct inode_ops attr_iops = {.setattr = attr_setattr};
static const struct file_ops dir_fops = {.readdir = dir_readdir};

// --- attributes

// Asks the platform for evidence over the present inputs, unless the outputs are about them already.
static int refresh(struct request *r)
{
	u8 in[INBLOB_MAX] = {0}, *out = NULL;
	char *chain = NULL;
	u32 out_len = REPORT_ROOM, chain_len = CHAIN_ROOM;
	u64 generation;
	int e = 0;

	mutex_lock(&r->lock);
	if (!r->in_len)
		e = -EINVAL;
	else if (r->out && r->read_generation == r->write_generation)
		e = 1;
	memcpy(in, r->in, r->in_len);
	generation = r->write_generation;
	mutex_unlock(&r->lock);
	if (e)
		return e < 0 ? e : 0;

	out = kmalloc(out_len);
	chain = kmalloc(chain_len);
	e = out && chain ? hc_evidence(in, out, &out_len, chain, &chain_len) : -ENOMEM;
	if (!e && (out_len > REPORT_ROOM || chain_len > CHAIN_ROOM))
		e = -EIO;
	mutex_lock(&r->lock);
	if (!e && generation != r->write_generation)
		e = -EWOULDBLOCK; // an input changed meanwhile
	if (!e) {
		u8 *old_out = r->out;
		char *old_chain = r->chain;

		r->out = out;
		r->out_len = out_len;
		r->chain = chain;
		r->chain_len = chain_len;
		r->read_generation = generation;
		out = old_out;
		chain = old_chain;
	}
	mutex_unlock(&r->lock);
	kfree(out);
	kfree(chain);
	return e;
}

// The value of an attribute as a fresh copy in *buf (kfree).
static ssize_t value(struct request *r, enum attr a, char **buf)
{
	char small[32] = "";
	const void *from = small;
	size_t n = 0;
	int e = a == OUTBLOB || a == AUXBLOB ? refresh(r) : 0;

	*buf = NULL;
	if (e)
		return e;
	mutex_lock(&r->lock);
	switch (a) {
	case OUTBLOB:
	case AUXBLOB:
		if (!r->out || r->read_generation != r->write_generation)
			e = -EWOULDBLOCK;
		from = a == OUTBLOB ? (void *)r->out : (void *)r->chain;
		n = a == OUTBLOB ? r->out_len : r->chain_len;
		break;
	case PROVIDER:
		from = "coffer_simulated\n";
		n = strlen(from);
		break;
	case GENERATION: n = scnprintf(small, sizeof(small), "%lu\n", r->write_generation); break;
	case PRIVLEVEL_FLOOR: n = scnprintf(small, sizeof(small), "0\n"); break;
	default: e = -EACCES;
	}
	if (!e && n && !(*buf = kmalloc(n)))
		e = -ENOMEM;
	if (!e && n)
		memcpy(*buf, from, n);
	mutex_unlock(&r->lock);
	return e ? e : (ssize_t)n;
}

static ssize_t attr_read(struct file *f, struct iter *it, u64 *pos)
{
	struct node *n = f->inode->priv;
	ssize_t done = 0, len;
	char *buf;
	int e = 0;

	len = value(n->r, n->attr, &buf);
	if (len < 0)
		return len;
	while (*pos < (u64)len && it->left && !e) {
		size_t want = min(it->left, (size_t)len - *pos), got = iter_put(it, buf + *pos, want);

		*pos += got;
		done += got;
		if (got < want)
			e = iter_fault_in(it, true);
	}
	kfree(buf);
	return done ? done : e;
}

static int set_privlevel(struct request *r, const char *text)
{
	const char *end;
	u64 v;

	if (kstrtou64(text, &end, &v) || (*end && *end != '\n') || v > 3)
		return -EINVAL;
	mutex_lock(&r->lock);
	r->write_generation++;
	mutex_unlock(&r->lock);
	return 0;
}

static ssize_t attr_write(struct file *f, struct iter *it, u64 *pos)
{
	struct node *n = f->inode->priv;
	u8 buf[INBLOB_MAX + 1] = {0};
	struct iter saved = *it;
	size_t len = it->left;
	int e = 0;

	if (n->attr != INBLOB && n->attr != PRIVLEVEL)
		return -EACCES;
	if (!len || len > INBLOB_MAX || *pos)
		return -EINVAL;
	while (!e && iter_get(it, buf, len) != len) {
		e = iter_fault_in(it, false);
		iter_revert(it, &saved);
	}
	if (e)
		return e;
	if (n->attr == PRIVLEVEL) {
		e = set_privlevel(n->r, (char *)buf);
	} else {
		mutex_lock(&n->r->lock);
		memset(n->r->in, 0, INBLOB_MAX);
		memcpy(n->r->in, buf, len);
		n->r->in_len = len;
		n->r->write_generation++;
		mutex_unlock(&n->r->lock);
	}
	if (e)
		return e;
	*pos += len;
	return len;
}

static s64 attr_llseek(struct file *f, s64 off, int whence)
{
	if (whence == 1)
		off += f->pos;
	else if (whence)
		return -EINVAL;
	if (off < 0)
		return -EINVAL;
	f->pos = off;
	return off;
}

static const struct file_ops attr_fops = {.read = attr_read, .write = attr_write, .llseek = attr_llseek};

static int configfs_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	(void)source;
	(void)flags;
	(void)data;
	(void)len;
	if (!sb->root)
		sb->root = make_inode(S_IFDIR | 0755, ROOT, NULL, 0);
	if (!sb->root)
		return -ENOMEM;
	super_get(sb);
	*out = sb;
	return 0;
}

int configfs_init(void)
{
	sb = super_new("configfs", &sops, CONFIGFS_MAGIC);
	return sb ? fs_register("configfs", configfs_mount) : -ENOMEM;
}
