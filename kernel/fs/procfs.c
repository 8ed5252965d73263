// SPDX-License-Identifier: Apache-2.0
// The machinery of /proc: inodes are made on each lookup from tables of entries; a file's text is made when it is
// read from position 0 and kept with the open file until then.
// Locks: inode->lock (lookup) -> tasklist; the text's own lock, under which its generator runs.
#include "kernel/fs/procfs.h"
#include <linux/fs.h>

#define WRITE_MAX 4096u

void pout(struct pout *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	for (;;) {
		if (o->failed)
			return;
		va_start(ap, fmt);
		n = vsnprintf(o->p ? o->p + o->len : NULL, o->cap - o->len, fmt, ap);
		va_end(ap);
		if (n < 0 || o->len + n < o->cap)
			break;
		char *p = krealloc(o->p, (o->len + n + 1) * 3 / 2 + 512);

		if (!p) {
			o->failed = true;
			return;
		}
		o->p = p;
		o->cap = (o->len + n + 1) * 3 / 2 + 512;
	}
	o->len += n;
}

void pout_raw(struct pout *o, const void *data, size_t n)
{
	if (!o->failed && o->len + n > o->cap) {
		size_t cap = (o->len + n) * 3 / 2 + 512;
		char *p = krealloc(o->p, cap);

		if (p) {
			o->p = p;
			o->cap = cap;
		} else {
			o->failed = true;
		}
	}
	if (o->failed)
		return;
	memcpy(o->p + o->len, data, n);
	o->len += n;
}

// --- inodes

static const struct inode_ops text_iops;

struct inode *proc_inode(struct super *sb, const struct pent *e, struct proc *p, int tid, int fd)
{
	struct pnode *n = knew(struct pnode);
	struct inode *i = n ? inode_new(sb, e->mode) : NULL;

	if (!i) {
		kfree(n);
		return NULL;
	}
	n->e = e;
	n->tid = tid;
	n->fd = fd;
	n->proc = p;
	i->uid = i->gid = 0;
	if (p) {
		ref_get(&p->ref);
		i->uid = p->cred.euid;
		i->gid = p->cred.egid;
	}
	// The same entry has the same number each time.
	i->ino = ((u64)(p ? p->pid : 0) << 40 | (u64)tid << 24) + ((uptr)e >> 3 & 0xfffff) + (u64)(fd + 1) * 0x100001;
	i->priv = n;
	i->iops = e->iops ? e->iops : e->dir ? &proc_dir_iops : &text_iops;
	i->fops = e->fops ? e->fops : e->dir ? &proc_dir_fops : &proc_text_fops;
	if (S_IFDIR == (e->mode & S_IFMT))
		i->nlink = 2;
	return i;
}

static void proc_evict(struct inode *i)
{
	struct pnode *n = i->priv;

	if (n && n->proc)
		proc_put(n->proc);
	kfree(n);
}

const struct super_ops proc_sops = {.evict = proc_evict};

int proc_number(const char *name, u32 len)
{
	u64 v = 0;

	if (!len || len > 9 || (name[0] == '0' && len > 1))
		return -1;
	for (u32 i = 0; i < len; i++) {
		if (name[i] < '0' || name[i] > '9')
			return -1;
		v = v * 10 + (name[i] - '0');
	}
	return v;
}

int proc_lookup_table(struct inode *dir, const struct pent *t, const char *name, u32 len, struct inode **out)
{
	struct pnode *n = pnode_of(dir);

	for (; t->name; t++)
		if (strlen(t->name) == len && !memcmp(t->name, name, len)) {
			*out = proc_inode(dir->sb, t, n->proc, n->tid, -1);
			return *out ? 0 : -ENOMEM;
		}
	return -ENOENT;
}

bool proc_emit_table(struct dir_ctx *c, const struct pent *t, u64 first, u64 ino_base)
{
	for (u64 i = 0; t[i].name; i++) {
		if (c->pos > first + i)
			continue;
		if (!c->emit(c, t[i].name, strlen(t[i].name), ino_base + ((uptr)&t[i] >> 3 & 0xfffff),
			     (t[i].mode & S_IFMT) >> 12, first + i + 1))
			return false;
		c->pos = first + i + 1;
	}
	return true;
}

static int dir_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	return proc_lookup_table(dir, pnode_of(dir)->e->dir, name, len, out);
}

static int dir_readdir(struct file *f, struct dir_ctx *c)
{
	proc_emit_table(c, pnode_of(f->inode)->e->dir, 2, f->inode->ino);
	return 0;
}

// As on Linux, whose places in /proc have 31 bits: a number behind them would be another entry's.
s64 proc_dir_llseek(struct file *f, s64 off, int whence)
{
	if (whence == SEEK_CUR && !__builtin_add_overflow((s64)f->pos, off, &off))
		whence = SEEK_SET;
	return off > 0x7fffffff ? -EINVAL : generic_llseek(f, off, whence);
}

static int proc_setattr(struct inode *ino, const struct iattr *a)
{
	(void)ino;
	return a->valid & (ATTR_MODE | ATTR_UID | ATTR_GID) ? -EPERM : 0; // O_TRUNC is harmless
}

static const struct inode_ops text_iops = {.setattr = proc_setattr};
const struct inode_ops proc_dir_iops = {.lookup = dir_lookup, .setattr = proc_setattr, .no_cache = true};
const struct file_ops proc_dir_fops = {.readdir = dir_readdir, .llseek = proc_dir_llseek};

// --- text files

struct text {
	struct mutex lock;
	struct pout o;
	struct cred *by; // of files that a more privileged program must not be talked into writing
};

static int text_open(struct inode *ino, struct file *f)
{
	const struct pent *e = pnode_of(ino)->e;

	if ((f->flags & O_ACCMODE) != O_RDONLY && !e->write)
		return -EACCES;
	struct text *t = knew(struct text);
	if (!t)
		return -ENOMEM;
	if (e->opener && (f->flags & O_ACCMODE) != O_RDONLY && !(t->by = cred_dup(cred()))) {
		kfree(t);
		return -ENOMEM;
	}
	f->priv = t;
	return 0;
}

static bool same(const struct cred *a, const struct cred *b) { return a->user_ns == b->user_ns && a->euid == b->euid && a->cap_eff == b->cap_eff; }

static int text_make(struct text *t, struct pnode *n)
{
	int r = 0;

	t->o.len = 0;
	if (n->e->fixed)
		pout(&t->o, "%s\n", n->e->fixed);
	else
		r = n->e->text ? n->e->text(&t->o, n) : -EINVAL;
	return r ? r : t->o.failed ? -ENOMEM : 0;
}

static ssize_t text_read(struct file *f, struct iter *it, u64 *pos)
{
	struct text *t = f->priv;
	ssize_t done = 0;
	int r = 0;

	mutex_lock(&t->lock);
	if (*pos == 0 || !t->o.p)
		r = text_make(t, pnode_of(f->inode));
	while (!r && it->left && *pos < t->o.len) {
		size_t n = min(it->left, t->o.len - *pos), got = iter_put(it, t->o.p + *pos, n);

		*pos += got;
		done += got;
		if (got < n) {
			mutex_unlock(&t->lock);
			r = iter_fault_in(it, true);
			mutex_lock(&t->lock);
		}
	}
	mutex_unlock(&t->lock);
	return done ? done : r;
}

static ssize_t text_write(struct file *f, struct iter *it, u64 *pos)
{
	struct pnode *n = pnode_of(f->inode);
	size_t len = min(it->left, (size_t)WRITE_MAX);
	struct iter saved = *it;
	ssize_t r = 0;
	char *buf;

	if (!n->e->write)
		return -EIO;
	if (n->e->opener && !same(((struct text *)f->priv)->by, cred()))
		return -EPERM;
	buf = kmalloc(len + 1);
	if (!buf)
		return -ENOMEM;
	while (!r && iter_get(it, buf, len) != len) {
		r = iter_fault_in(it, false);
		iter_revert(it, &saved);
	}
	if (!r) {
		buf[len] = 0;
		r = n->e->write(n, buf, len);
		if (r > 0)
			*pos += r;
	}
	kfree(buf);
	return r;
}

static s64 text_llseek(struct file *f, s64 off, int whence)
{
	if (whence == SEEK_CUR)
		off += f->pos;
	else if (whence != SEEK_SET)
		return -EINVAL;
	if (off < 0)
		return -EINVAL;
	f->pos = off;
	return off;
}

static void text_release(struct file *f)
{
	struct text *t = f->priv;

	if (t) {
		kfree(t->o.p);
		cred_free(t->by);
	}
	kfree(t);
}

const struct file_ops proc_text_fops = {
	.open = text_open,
	.read = text_read,
	.write = text_write,
	.llseek = text_llseek,
	.release = text_release,
};
