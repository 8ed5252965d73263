// SPDX-License-Identifier: Apache-2.0
// Tables of System V IPC objects and the IPC namespaces that hold them.
// Locks: ids->lock (slots, keys) -> object lock. An object that was removed lives on, marked gone, while somebody works for
// it; who sleeps for it finds the mark and returns EIDRM.
#include "kernel/include/alloc.h"
#include "kernel/include/ktime.h"
#include "kernel/include/kstring.h"
#include "kernel/ipc/ids.h"
#include <linux/capability.h>
#include <linux/msg.h>
#include <linux/sem.h>

#define SHMMNI 4096u
#define SEQ_LIMIT (0x7fffffffu >> IDS_SHIFT)

#define IPC_NS_TABLES \
	.sem = {.max = SEMMNI, .free = sem_free}, .msg = {.max = MSGMNI, .free = msg_free}, .shm = {.max = SHMMNI, .free = shm_free}

struct ipc_ns init_ipc_ns = {
	.ns = {.ref = {1}, .type = CLONE_NEWIPC, .inum = 4026531839ul}, IPC_NS_TABLES, .mqs = LIST_INIT(init_ipc_ns.mqs)};

struct ipc_ns *ipc_ns(void)
{
	struct ipc_ns *n = __atomic_load_n(&curproc->ipc_ns, __ATOMIC_RELAXED), *old = current->ipc_used;

	if (likely(n == &init_ipc_ns ? !old : n == old))
		return n;
	mutex_lock(&tasklist); // another thread may leave it
	n = curproc->ipc_ns;
	if (n != &init_ipc_ns)
		ref_get(&n->ns.ref);
	current->ipc_used = n == &init_ipc_ns ? NULL : n;
	mutex_unlock(&tasklist);
	ipc_ns_put(old);
	return n;
}

struct ipc_ns *ipc_ns_used(void) { return current->ipc_used ? current->ipc_used : &init_ipc_ns; }

void ipc_ns_leave(void)
{
	ipc_ns_put(current->ipc_used);
	current->ipc_used = NULL;
}

struct ipc_ns *ipc_ns_new(void)
{
	struct ipc_ns *n = kmalloc(sizeof(*n));

	if (!n)
		return NULL;
	*n = (struct ipc_ns){.ns = {.ref = {1}, .type = CLONE_NEWIPC, .inum = ns_inum()}, IPC_NS_TABLES};
	list_init(&n->mqs);
	return n;
}

void ipc_ns_get(struct ipc_ns *n) { ref_get(&n->ns.ref); }

void ipc_ns_put(struct ipc_ns *n)
{
	if (!n || !ref_put(&n->ns.ref))
		return;
	ids_clear(&n->sem, sem_kill);
	ids_clear(&n->msg, msg_kill);
	ids_clear(&n->shm, shm_kill);
	mq_clear(n);
	user_ns_put(n->ns.owner);
	kfree(n);
}

s64 ipc_now(void) { return (s64)(ktime_real() / NSEC_PER_SEC); }

// --- permissions

static bool in_group(u32 gid)
{
	const struct cred *c = cred();

	for (u32 i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return c->egid == gid;
}

bool ipc_allowed(const struct ipc_obj *o, u32 want)
{
	u32 mode = o->mode;

	if (ns_capable(ipc_ns_used()->ns.owner, CAP_IPC_OWNER))
		return true;
	if (cred()->euid == o->uid || cred()->euid == o->cuid)
		mode >>= 6;
	else if (in_group(o->gid) || in_group(o->cgid))
		mode >>= 3;
	return (mode & want) == want;
}

bool ipc_owns(const struct ipc_obj *o)
{
	return cred()->euid == o->uid || cred()->euid == o->cuid || ns_capable(ipc_ns_used()->ns.owner, CAP_SYS_ADMIN);
}

void ipc_perm_out(const struct ipc_obj *o, struct ipc64_perm *p)
{
	*p = (struct ipc64_perm){.key = o->key, .uid = uid_out(o->uid), .gid = gid_out(o->gid), .cuid = uid_out(o->cuid),
				  .cgid = gid_out(o->cgid), .mode = o->mode, .seq = o->seq};
}

int ipc_perm_set(struct ipc_obj *o, const struct ipc64_perm *p)
{
	u32 uid = uid_in(p->uid), gid = gid_in(p->gid);

	if (uid == U32_MAX || gid == U32_MAX)
		return -EINVAL;
	o->uid = uid;
	o->gid = gid;
	o->mode = (o->mode & ~0777u) | (p->mode & 0777);
	return 0;
}

// --- tables

static struct ipc_obj *by_key(struct ids *ids, int key)
{
	for (u32 i = 0; i < ids->cap && key != IPC_PRIVATE; i++)
		if (ids->slot[i] && ids->slot[i]->key == key)
			return ids->slot[i];
	return NULL;
}

// A free place, the table grown if need be; -ENOSPC, -ENOMEM.
static int place(struct ids *ids)
{
	if (ids->used >= ids->max)
		return -ENOSPC;
	for (u32 i = 0; i < ids->cap; i++)
		if (!ids->slot[i])
			return (int)i;
	u32 old = ids->cap, cap = min(max(old * 2, 32u), IDS_MAX);
	struct ipc_obj **s = cap > old ? krealloc(ids->slot, cap * sizeof(*s)) : NULL;
	if (!s)
		return -ENOMEM;
	memset(s + old, 0, (cap - old) * sizeof(*s));
	ids->slot = s;
	ids->cap = cap;
	return (int)old;
}

long ids_open(struct ids *ids, const struct ipc_get *g)
{
	struct ipc_obj *o;
	int at;
	long r;

	mutex_lock(&ids->lock);
	o = by_key(ids, g->key);
	if (o) {
		u32 f = (u32)g->flags;
		r = f & IPC_CREAT && f & IPC_EXCL ? -EEXIST : g->fits(o, g);
		if (!r)
			r = ipc_allowed(o, (f >> 6 | f >> 3 | f) & 6) ? o->id : -EACCES;
		goto out;
	}
	r = -ENOENT;
	if (g->key != IPC_PRIVATE && !(g->flags & IPC_CREAT))
		goto out;
	r = at = place(ids);
	if (at < 0)
		goto out;
	o = g->make(g);
	if (IS_ERR(o)) {
		r = PTR_ERR(o);
		goto out;
	}
	o->ids = ids;
	o->free = ids->free;
	o->key = g->key;
	o->uid = o->cuid = cred()->euid;
	o->gid = o->cgid = cred()->egid;
	o->mode = (u32)g->flags & 0777;
	o->seq = (u16)ids->seq;
	o->id = (int)(ids->seq << IDS_SHIFT | (u32)at);
	ids->seq = (ids->seq + 1) & SEQ_LIMIT;
	ids->slot[at] = o;
	ids->used++;
	r = o->id;
out:
	mutex_unlock(&ids->lock);
	return r;
}

static struct ipc_obj *find(struct ids *ids, int id)
{
	u32 at = (u32)id & (IDS_MAX - 1);
	struct ipc_obj *o = id >= 0 && at < ids->cap ? ids->slot[at] : NULL;

	return o && o->id == id ? o : NULL;
}

struct ipc_obj *ids_get(struct ids *ids, int id)
{
	mutex_lock(&ids->lock);
	struct ipc_obj *o = find(ids, id);
	if (o)
		ref_get(&o->ref);
	mutex_unlock(&ids->lock);
	return o;
}

static struct ipc_obj *lock_got(struct ipc_obj *o)
{
	if (!o)
		return ERR_PTR(-EINVAL);
	mutex_lock(&o->lock);
	if (!o->gone)
		return o;
	ids_unlock(o);
	return ERR_PTR(-EIDRM);
}

struct ipc_obj *ids_lock(struct ids *ids, int id) { return lock_got(ids_get(ids, id)); }

struct ipc_obj *ids_lock_at(struct ids *ids, int at)
{
	mutex_lock(&ids->lock);
	struct ipc_obj *o = at >= 0 && (u32)at < ids->cap ? ids->slot[at] : NULL;
	if (o)
		ref_get(&o->ref);
	mutex_unlock(&ids->lock);
	return lock_got(o);
}

void ids_put(struct ipc_obj *o)
{
	if (ref_put(&o->ref))
		o->free(o);
}

void ids_unlock(struct ipc_obj *o)
{
	mutex_unlock(&o->lock);
	ids_put(o);
}

struct ipc_obj *ids_lock_both(struct ids *ids, int id)
{
	mutex_lock(&ids->lock);
	struct ipc_obj *o = find(ids, id);
	if (!o) {
		mutex_unlock(&ids->lock);
		return ERR_PTR(-EINVAL);
	}
	ref_get(&o->ref);
	mutex_lock(&o->lock);
	return o;
}

void ids_unlock_both(struct ipc_obj *o)
{
	struct ids *ids = o->ids;

	mutex_unlock(&o->lock);
	mutex_unlock(&ids->lock);
	ids_put(o);
}

void ids_remove(struct ipc_obj *o)
{
	o->ids->slot[(u32)o->id & (IDS_MAX - 1)] = NULL;
	o->ids->used--;
	o->gone = true;
	ref_put(&o->ref); // the caller has another
}

int ids_highest(struct ids *ids)
{
	int last = 0;

	mutex_lock(&ids->lock);
	for (u32 i = 0; i < ids->cap; i++)
		if (ids->slot[i])
			last = (int)i;
	mutex_unlock(&ids->lock);
	return last;
}

void ids_clear(struct ids *ids, void (*kill)(struct ipc_obj *o))
{
	for (u32 i = 0; i < ids->cap; i++) {
		struct ipc_obj *o = ids->slot[i];
		if (!o)
			continue;
		kill(o);
		ids_put(o);
	}
	kfree(ids->slot);
}
