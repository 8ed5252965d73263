// SPDX-License-Identifier: Apache-2.0
// statmount(2) and listmount(2): mounts by their unique numbers. Who may not administer sees what lies under its own root.
// Locks: dcache_lock for reading.
#include "kernel/fs/mounts.h"

#define REQ_VER0 24u
#define LSMT_ROOT U64_MAX
#define LISTMOUNT_REVERSE 1u
#define MAX_IDS 1000000u

struct request { // struct mnt_id_req
	u32 size, fd;
	u64 id, param, ns;
};

struct statmount_k { // struct statmount; [str]: offset in the text behind it
	u32 size, mnt_opts;
	u64 mask;
	u32 major, minor;
	u64 magic;
	u32 sb_flags, fs_type;
	u64 id, parent;
	u32 old_id, old_parent;
	u64 attr, propagation, peer, master, propagate_from;
	u32 root, point;
	u64 ns;
	u32 subtype, source, nopts, opt_array, nsec, sec_array;
	u64 supported, spare[45];
};
_Static_assert(sizeof(struct statmount_k) == 512, "as Linux has it");

#define SB_BASIC 1u
#define MNT_BASIC 2u
#define PROPAGATE_FROM 4u
#define MNT_ROOT 8u
#define MNT_POINT 0x10u
#define FS_TYPE 0x20u
#define NS_ID 0x40u
#define SOURCE 0x200u
#define SUPPORTED 0x1000u
#define STRINGS (MNT_ROOT | MNT_POINT | FS_TYPE | SOURCE)

// sizeof(struct request) never grows beyond a page of it. The namespace asked for: 0 the caller's.
static long read_request(struct request *r, const void __user *ureq)
{
	u32 size;
	long e;

	if (get_user(size, (const u32 __user *)ureq))
		return -EFAULT;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size < REQ_VER0)
		return -EINVAL;
	e = copy_struct_from_user(r, sizeof(*r), ureq, size);
	if (e)
		return e;
	return r->fd || r->id <= MOUNT_UNIQUE ? -EINVAL : 0;
}

// The namespace with that number, 0 for the caller's; only somebody with rights looks into others. Locked; lives as long as the lock.
static struct mnt_ns *find_ns(u64 inum)
{
	struct mount *m;

	if (!inum || inum == cur_mnt_ns()->ns.inum)
		return cur_mnt_ns();
	list_for_each(m, &mounts, link)
		if (m->ns && m->ns->ns.inum == inum)
			return ns_capable(m->ns->ns.owner, CAP_SYS_ADMIN) ? m->ns : NULL;
	return NULL;
}

static struct path root_of(const struct mnt_ns *ns)
{
	struct path top = {ns->root, ns->root->root};
	struct mount *m;

	if (ns == cur_mnt_ns())
		return cur_fs()->root;
	while ((m = mount_at_locked(top.mnt, top.dentry)))
		top = (struct path){m, m->root};
	return top;
}

static struct mount *find_mount(const struct mnt_ns *ns, u64 id)
{
	struct mount *m;

	list_for_each(m, &mounts, link)
		if (m->ns == ns && mount_unique(m) == id)
			return m;
	return NULL;
}

static bool in_sight(const struct mount *m, const struct path *root) { return capable(CAP_SYS_ADMIN) || mount_reached_locked(m, root); }

static u64 attributes(u32 ms)
{
	return (ms & MS_RDONLY ? MOUNT_ATTR_RDONLY : 0) | (ms & MS_NOSUID ? MOUNT_ATTR_NOSUID : 0) | (ms & MS_NODEV ? MOUNT_ATTR_NODEV : 0) |
	       (ms & MS_NOEXEC ? MOUNT_ATTR_NOEXEC : 0) | (ms & MS_NODIRATIME ? MOUNT_ATTR_NODIRATIME : 0) |
	       (ms & MS_NOATIME ? MOUNT_ATTR_NOATIME : ms & MS_RELATIME ? MOUNT_ATTR_RELATIME : MOUNT_ATTR_STRICTATIME);
}

static void basics(struct statmount_k *s, const struct mount *m, u64 want)
{
	if (want & SB_BASIC) {
		s->mask |= SB_BASIC;
		s->major = (u32)(m->sb->dev >> 8);
		s->minor = m->sb->dev & 255;
		s->magic = m->sb->magic;
		s->sb_flags = m->sb->read_only ? MS_RDONLY : 0;
	}
	if (want & MNT_BASIC) {
		s->mask |= MNT_BASIC;
		s->id = mount_unique(m);
		s->parent = m->parent ? mount_unique(m->parent) : MOUNT_UNIQUE + 1;
		s->old_id = (u32)m->id;
		s->old_parent = m->parent ? (u32)m->parent->id : 1;
		s->attr = attributes(m->flags);
		s->propagation = m->propagation ? m->propagation : MS_PRIVATE;
		s->peer = m->propagation == MS_SHARED ? (u64)m->id : 0;
		s->master = m->propagation == MS_SLAVE ? (u64)m->id : 0;
	}
	if (want & PROPAGATE_FROM)
		s->mask |= PROPAGATE_FROM;
	if (want & NS_ID) {
		s->mask |= NS_ID;
		s->ns = m->ns->ns.inum;
	}
	if (want & SUPPORTED) {
		s->mask |= SUPPORTED;
		s->supported = SB_BASIC | MNT_BASIC | PROPAGATE_FROM | STRINGS | NS_ID | SUPPORTED;
	}
}

struct text {
	char *buf;
	size_t n, used; // byte 0 is an empty string: what an offset of 0 means
};

static int add(struct text *t, struct statmount_k *s, u32 bit, u32 *at, const char *str)
{
	size_t n = strlen(str) + 1, from = t->used ? t->used : 1;

	if (n == 1)
		return 0;
	if (from + n > t->n)
		return -EOVERFLOW;
	memcpy(t->buf + from, str, n);
	*at = (u32)from;
	t->used = from + n;
	s->mask |= bit;
	return 0;
}

// m is held. tmp: PATH_BUF bytes.
static int strings(struct text *t, struct statmount_k *s, struct mount *m, u64 want, bool reached, char *tmp)
{
	struct path p = {m, m->root};
	const char *name;
	int r = 0;

	if (want & FS_TYPE)
		r = add(t, s, FS_TYPE, &s->fs_type, m->sb->fstype);
	if (!r && want & MNT_ROOT)
		r = add(t, s, MNT_ROOT, &s->root, mount_root_name(m, tmp, PATH_BUF));
	if (!r && want & MNT_POINT && reached) {
		name = path_name(&p, tmp, PATH_BUF);
		r = IS_ERR(name) ? (int)PTR_ERR(name) : add(t, s, MNT_POINT, &s->point, name);
	}
	if (!r && want & SOURCE)
		r = add(t, s, SOURCE, &s->source, m->source);
	return r;
}

static long tell(struct mount *m, struct statmount_k *s, u64 want, bool reached, void __user *ubuf, size_t n)
{
	struct text t = {.n = n > sizeof(*s) ? min(n - sizeof(*s), 4ul * PATH_BUF) : 0};
	char *tmp = kmalloc(PATH_BUF);
	size_t head = min(n, sizeof(*s));
	long r = -ENOMEM;

	t.buf = kzalloc(t.n + 1);
	if (tmp && t.buf)
		r = strings(&t, s, m, want, reached, tmp);
	s->size = (u32)(head + t.used);
	if (!r && (copy_to_user(ubuf, s, head) || (t.used && copy_to_user((char __user *)ubuf + sizeof(*s), t.buf, t.used))))
		r = -EFAULT;
	kfree(t.buf);
	kfree(tmp);
	return r;
}

long sys_statmount(const void __user *ureq, void __user *ubuf, size_t n, u32 flags)
{
	struct statmount_k s = {0};
	struct mount *m = NULL;
	struct mnt_ns *ns;
	struct request q;
	struct path root;
	bool reached = false;
	long r;

	if (flags)
		return -EINVAL;
	r = read_request(&q, ureq);
	if (r)
		return r;
	read_lock(&dcache_lock);
	ns = find_ns(q.ns);
	if (ns)
		m = find_mount(ns, q.id);
	if (m) {
		root = root_of(ns);
		reached = mount_reached_locked(m, &root);
		if (in_sight(m, &root)) {
			mount_get_locked(m);
			basics(&s, m, q.param);
		} else {
			m = NULL;
			r = -EPERM;
		}
	} else {
		r = -ENOENT;
	}
	read_unlock(&dcache_lock);
	if (!m)
		return r;
	r = tell(m, &s, q.param, reached, ubuf, n);
	mount_put(m);
	return r;
}

static void sort_ids(u64 *ids, u32 n, bool down)
{
	for (u32 i = 1; i < n; i++) {
		u64 v = ids[i];
		u32 k = i;

		for (; k && (down ? ids[k - 1] < v : ids[k - 1] > v); k--)
			ids[k] = ids[k - 1];
		ids[k] = v;
	}
}

// All that lies under q->id; as many as there are, ids or not. Locked.
static long collect(const struct request *q, bool down, u64 *ids, u32 room)
{
	struct mnt_ns *ns = find_ns(q->ns);
	struct mount *m, *top = NULL;
	struct path root;
	u32 n = 0;

	if (!ns)
		return -ENOENT;
	root = root_of(ns);
	if (q->id != LSMT_ROOT) {
		top = find_mount(ns, q->id);
		if (!top)
			return -ENOENT;
		if (!in_sight(top, &root))
			return -EPERM;
		root = (struct path){top, top->root};
	}
	list_for_each(m, &mounts, link) {
		u64 id = mount_unique(m);

		if (m->ns != ns || m == top || (q->param && (down ? id >= q->param : id <= q->param)) || !mount_reached_locked(m, &root))
			continue;
		if (n < room)
			ids[n] = id;
		n++;
	}
	return n;
}

long sys_listmount(const void __user *ureq, u64 __user *uids, size_t nr, u32 flags)
{
	bool down = flags & LISTMOUNT_REVERSE;
	struct request q;
	u64 *ids = NULL;
	long n = 0, r;

	if (flags & ~LISTMOUNT_REVERSE)
		return -EINVAL;
	if (nr > MAX_IDS)
		return -EOVERFLOW;
	if (!access_ok(uids, nr * sizeof(*uids)))
		return -EFAULT;
	r = read_request(&q, ureq);
	if (!r && q.param && q.param <= MOUNT_UNIQUE)
		r = -EINVAL;
	if (r)
		return r;
	for (u32 room = 0;; room = (u32)n + 16) { // until all that there are fit
		kfree(ids);
		ids = room ? kmalloc(room * sizeof(*ids)) : NULL;
		if (room && !ids)
			return -ENOMEM;
		read_lock(&dcache_lock);
		n = collect(&q, down, ids, room);
		read_unlock(&dcache_lock);
		if (n <= (long)room)
			break;
	}
	if (n > 0) {
		sort_ids(ids, (u32)n, down);
		n = (long)min((size_t)n, nr);
		if (n && copy_to_user(uids, ids, (size_t)n * sizeof(*ids)))
			n = -EFAULT;
	}
	kfree(ids);
	return n;
}
