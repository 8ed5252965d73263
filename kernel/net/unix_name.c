// SPDX-License-Identifier: Apache-2.0
// Names of AF_UNIX sockets: path names are nodes of the file system whose inode->ipc points at the socket; abstract names
// are in a hash table. Locks: unix_lock guards both, and the list of all sockets. It is taken last, after the VFS's.
#include "kernel/fs/fs.h"
#include "kernel/net/unix.h"

#define BUCKETS 256
#define MIN_LEN 2u

static struct mutex unix_lock;
static struct list abstract[BUCKETS];
static struct list all = LIST_INIT(all);
static u32 auto_name;

static struct list *bucket(const char *name, u32 len)
{
	u32 h = 2166136261u;
	for (u32 i = 0; i < len; i++)
		h = (h ^ (u8)name[i]) * 16777619u;
	struct list *b = &abstract[h % BUCKETS];
	if (!b->next)
		list_init(b);
	return b;
}

void unix_list_add(struct unix_sock *u)
{
	mutex_lock(&unix_lock);
	list_add_tail(&u->all, &all);
	mutex_unlock(&unix_lock);
}

void unix_list_del(struct unix_sock *u)
{
	mutex_lock(&unix_lock);
	list_del(&u->all);
	mutex_unlock(&unix_lock);
}

u32 unix_put_name(const struct unix_sock *u, u8 *addr)
{
	u32 len = u->name_len;
	u16 family = AF_UNIX;
	if (!len) {
		memcpy(addr, &family, sizeof(family));
		return sizeof(family);
	}
	memcpy(addr, &u->name, len);
	return len;
}

// unix_lock held
static struct unix_sock *find_abstract(const struct net_ns *net, const struct unix_name *n, u32 len)
{
	struct unix_sock *u;
	list_for_each(u, bucket(n->path, len - MIN_LEN), hash)
		if (u->name_len == len && u->s.net == net && !memcmp(u->name.path, n->path, len - MIN_LEN))
			return u;
	return NULL;
}

static int parse(struct unix_name *n, const u8 *addr, u32 *len)
{
	memset(n, 0, sizeof(*n));
	if (*len <= MIN_LEN || *len > sizeof(*n))
		return -EINVAL;
	memcpy(n, addr, *len);
	if (n->family != AF_UNIX)
		return -EINVAL;
	return 0;
}

// A path may fill all of sun_path without a NUL.
static void path_of(const struct unix_name *n, char out[sizeof(((struct unix_name *)0)->path) + 1])
{
	memcpy(out, n->path, sizeof(n->path));
	out[sizeof(n->path)] = 0;
}

// Makes the node. *out: its path, with references.
static int make_node(const char *name, struct path *out)
{
	struct path dir;
	struct last last;
	char *link = NULL;
	int r = path_parent(AT_FDCWD, name, 0, &dir, &last, &link);
	if (r)
		return r == -EEXIST ? -EADDRINUSE : r;
	struct inode *ino = dir.dentry->inode;
	if (last.kind != LAST_NORM) {
		r = -EADDRINUSE;
		goto out;
	}
	if (last.slash) {
		r = -ENOENT;
		goto out;
	}
	inode_lock(ino);
	struct dentry *d = d_lookup(dir.dentry, last.name, last.len);
	if (IS_ERR(d)) {
		r = (int)PTR_ERR(d);
		goto unlock;
	}
	struct inode *fresh = NULL;
	if (d->inode)
		r = -EADDRINUSE;
	else if (!(r = mount_write(dir.mnt)) && !(r = inode_permission(ino, MAY_WRITE | MAY_EXEC)))
		r = ino->iops && ino->iops->create
			    ? ino->iops->create(ino, last.name, last.len, S_IFSOCK | (0777 & ~cur_fs()->umask), 0, &fresh)
			    : -EPERM;
	if (!r) {
		d_instantiate(d, fresh);
		out->mnt = dir.mnt;
		mount_get(out->mnt);
		out->dentry = d;
		fs_event(ino, fresh, last.name, IN_CREATE);
	} else {
		d_put(d);
	}
unlock:
	inode_unlock(ino);
out:
	path_put(&dir);
	kfree(link);
	return r;
}

// unix_lock held: the name is free, u takes it.
static void take_name(struct unix_sock *u, const struct unix_name *n, u32 len)
{
	u->name = *n;
	__atomic_store_n(&u->name_len, len, __ATOMIC_RELEASE);
}

static int bind_abstract(struct unix_sock *u, const struct unix_name *n, u32 len)
{
	int r = 0;
	mutex_lock(&unix_lock);
	if (u->name_len)
		r = -EINVAL;
	else if (find_abstract(u->s.net, n, len))
		r = -EADDRINUSE;
	if (!r) {
		take_name(u, n, len);
		list_add(&u->hash, bucket(n->path, len - MIN_LEN));
	}
	mutex_unlock(&unix_lock);
	return r;
}

static int bind_path(struct unix_sock *u, const struct unix_name *n)
{
	char name[sizeof(n->path) + 1];
	struct path at;
	path_of(n, name);
	if (u->name_len)
		return -EINVAL;
	int r = make_node(name, &at);
	if (r)
		return r;
	mutex_lock(&unix_lock);
	if (u->name_len) {
		r = -EINVAL;
	} else {
		u->path = at;
		at.dentry->inode->ipc = &u->s;
		take_name(u, n, MIN_LEN + (u32)strlen(name) + 1);
		if (u->name_len > sizeof(*n))
			u->name_len = sizeof(*n);
	}
	mutex_unlock(&unix_lock);
	if (r)
		path_put(&at);
	return r;
}

int unix_bind(struct sock *s, const u8 *addr, u32 len)
{
	struct unix_sock *u = unix_of(s);
	struct unix_name n;
	u16 family = 0;
	if (len >= MIN_LEN)
		memcpy(&family, addr, sizeof(family));
	if (len == MIN_LEN && family == AF_UNIX) { // autobind
		int r = 0;
		if (u->name_len)
			return 0;
		memset(&n, 0, sizeof(n));
		n.family = AF_UNIX;
		do {
			snprintf(n.path + 1, 6, "%05x", __atomic_add_fetch(&auto_name, 1, __ATOMIC_RELAXED) & 0xfffff);
			r = bind_abstract(u, &n, MIN_LEN + 6);
		} while (r == -EADDRINUSE);
		return r;
	}
	int r = parse(&n, addr, &len);
	if (r)
		return r;
	return n.path[0] ? bind_path(u, &n) : bind_abstract(u, &n, len);
}

void unix_unname(struct unix_sock *u)
{
	struct path at = { NULL, NULL };
	mutex_lock(&unix_lock);
	if (!list_empty(&u->hash))
		list_del(&u->hash);
	if (u->path.dentry) {
		at = u->path;
		u->path = (struct path){ NULL, NULL };
		if (at.dentry->inode && at.dentry->inode->ipc == &u->s)
			at.dentry->inode->ipc = NULL;
	}
	mutex_unlock(&unix_lock);
	if (at.dentry)
		path_put(&at);
}

static struct sock *find_path(const struct unix_name *n, int *err)
{
	char name[sizeof(n->path) + 1];
	struct path at;
	struct sock *s = NULL;
	path_of(n, name);
	int r = path_lookup(AT_FDCWD, name, LOOKUP_FOLLOW, &at);
	if (r) {
		*err = r;
		return NULL;
	}
	struct inode *ino = at.dentry->inode;
	r = inode_permission(ino, MAY_WRITE);
	if (!r && (ino->mode & S_IFMT) != S_IFSOCK)
		r = -ECONNREFUSED;
	if (!r) {
		mutex_lock(&unix_lock);
		s = ino->ipc;
		if (!s || !ref_get_unless_zero(&s->ref)) {
			s = NULL;
			r = -ECONNREFUSED;
		}
		mutex_unlock(&unix_lock);
	}
	path_put(&at);
	*err = r;
	return s;
}

struct sock *unix_find(const struct sock *from, const u8 *addr, u32 len, int type, int *err)
{
	struct unix_name n;
	(void)type;
	if ((*err = parse(&n, addr, &len)))
		return NULL;
	if (n.path[0])
		return find_path(&n, err);
	mutex_lock(&unix_lock);
	struct unix_sock *u = find_abstract(from->net, &n, len);
	struct sock *s = u && ref_get_unless_zero(&u->s.ref) ? &u->s : NULL;
	mutex_unlock(&unix_lock);
	*err = s ? 0 : -ECONNREFUSED;
	return s;
}

void unix_for_each(const struct net_ns *net, void (*fn)(struct unix_sock *u, void *arg), void *arg)
{
	struct unix_sock *u;
	mutex_lock(&unix_lock);
	list_for_each(u, &all, all)
		if (u->s.net == net)
			fn(u, arg);
	mutex_unlock(&unix_lock);
}

size_t unix_proc(const struct net_ns *net, char *buf, size_t n)
{
	size_t at = (size_t)snprintf(buf, n, "Num       RefCount Protocol Flags    Type St Inode Path\n");
	struct unix_sock *u;
	mutex_lock(&unix_lock);
	list_for_each(u, &all, all) {
		if (u->s.net != net)
			continue;
		char *to = at < n ? buf + at : NULL;
		size_t room = at < n ? n - at : 0;
		at += (size_t)snprintf(to, room, "%016x: %08x 00000000 %08x %04x %02x %5lu", 0, u->s.ref.n,
				       u->s.state == ST_LISTEN ? 0x10000 : 0, u->s.type,
				       u->s.state == ST_CONNECTED ? 3 : 1, u->s.ino);
		if (u->name_len > MIN_LEN) {
			to = at < n ? buf + at : NULL;
			room = at < n ? n - at : 0;
			bool abs = !u->name.path[0];
			at += (size_t)snprintf(to, room, " %s%.*s", abs ? "@" : "", (int)(u->name_len - MIN_LEN - abs), u->name.path + abs);
		}
		if (at < n)
			buf[at] = '\n';
		at++;
	}
	mutex_unlock(&unix_lock);
	return at;
}
