// SPDX-License-Identifier: Apache-2.0
// Inodes: creation, references, times, and the cache by key for file systems whose objects have
// several names. Locks: icache_lock (leaf).
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"

#define ICACHE_FIRST 256u	// a page; more as they are needed
#define ICACHE_MAX 4096u
static struct list icache[ICACHE_MAX] __warm;
static u32 nbuckets = ICACHE_FIRST, ninodes;
static struct mutex icache_lock;

static struct list *icache_bucket(struct super *sb, u64 key)
{
	u64 hash = ((key ^ ((uptr)sb >> 6)) * 0x9E3779B97F4A7C15ul) >> 52;
	struct list *l = &icache[hash & (nbuckets - 1)];
	if (!l->next)
		list_init(l);
	return l;
}

static void icache_grow(void)
{
	struct inode *i, *t;
	u32 old = nbuckets;

	nbuckets = 2 * old;
	for (u32 b = 0; b < old; b++) {
		if (!icache[b].next)
			continue;
		list_for_each_safe(i, t, &icache[b], hash) {
			list_del(&i->hash);
			list_add(&i->hash, icache_bucket(i->sb, i->key));
		}
	}
}

struct fstime fstime_now(void)
{
	u64 ns = ktime_real();
	return (struct fstime){(s64)(ns / NSEC_PER_SEC), (u32)(ns % NSEC_PER_SEC)};
}

struct inode *inode_new(struct super *sb, u32 mode)
{
	struct inode *i = knew(struct inode);
	if (!i)
		return NULL;
	COUNT(inodes, 1);
	ref_init(&i->ref, 1);
	mutex_init(&i->lock);
	list_init(&i->hash);
	i->sb = sb;
	super_get(sb);
	i->ino = super_ino(sb);
	i->mode = mode;
	i->nlink = 1;
	struct task *t = current;
	if (t && t->proc) {
		i->uid = cred()->fsuid;
		i->gid = cred()->fsgid;
	}
	i->atime = i->mtime = i->ctime = i->btime = fstime_now();
	return i;
}

void inode_get(struct inode *i) { ref_get(&i->ref); }

void inode_put(struct inode *i)
{
	if (!i || !ref_put(&i->ref))
		return;
	if (!list_empty(&i->hash)) {
		mutex_lock(&icache_lock);
		list_del(&i->hash);
		ninodes--;
		mutex_unlock(&icache_lock);
	}
	locks_free(i);
	struct super *sb = i->sb;
	if (sb->ops && sb->ops->evict)
		sb->ops->evict(i);
	if (i->pc) {
		if (i->pc->owner == i)
			i->pc->owner = NULL;
		pc_put(i->pc);
	}
	COUNT(inodes, -1);
	kfree(i);
	super_put(sb);
}

struct inode *inode_find(struct super *sb, u64 key)
{
	struct inode *i, *found = NULL;
	mutex_lock(&icache_lock);
	struct list *b = icache_bucket(sb, key);
	list_for_each(i, b, hash)
		if (i->key == key && i->sb == sb && ref_get_unless_zero(&i->ref)) {
			found = i;
			break;
		}
	mutex_unlock(&icache_lock);
	return found;
}

struct inode *inode_insert(struct inode *n, u64 key)
{
	struct inode *i, *found = NULL;
	n->key = key;
	mutex_lock(&icache_lock);
	if (ninodes >= 2 * nbuckets && nbuckets < ICACHE_MAX)
		icache_grow();
	struct list *b = icache_bucket(n->sb, key);
	list_for_each(i, b, hash)
		if (i->key == key && i->sb == n->sb && ref_get_unless_zero(&i->ref)) {
			found = i;
			break;
		}
	if (!found) {
		list_add(&n->hash, b);
		ninodes++;
	}
	mutex_unlock(&icache_lock);
	if (!found)
		return n;
	inode_put(n);
	return found;
}

void inode_rekey(struct inode *i, u64 key)
{
	mutex_lock(&icache_lock);
	if (list_empty(&i->hash))
		ninodes++;
	else
		list_del(&i->hash);
	i->key = key;
	list_add(&i->hash, icache_bucket(i->sb, key));
	mutex_unlock(&icache_lock);
}

void inode_touch(struct inode *i, u32 which)
{
	struct fstime now = fstime_now();
	if (which & ATTR_ATIME)
		i->atime = now;
	if (which & ATTR_MTIME)
		i->mtime = i->ctime = now;
}

bool inode_owner(const struct inode *ino)
{
	return cred()->fsuid == ino->uid || inode_capable(ino, CAP_FOWNER);
}

int inode_permission(struct inode *ino, int mask)
{
	int r = inode_permission_locked(ino, mask);

	if (unlikely(r == -ECHILD) && !(r = ino->iops->getattr(ino)))
		r = inode_permission_locked(ino, mask | MAY_NOW);
	return r;
}

int inode_permission_locked(struct inode *ino, int mask)
{
	if (unlikely(ino->flags & FILE_IMMUTABLE) && mask & MAY_WRITE)
		return -EPERM;
	return unlikely(ino->iops && ino->iops->permission) ? ino->iops->permission(ino, mask) : mode_permission(ino, mask);
}

// Capabilities of a user namespace are good for files whose owners have numbers there.
static bool in_reach(const struct cred *c, const struct inode *ino)
{
	return likely(!c->user_ns) || (id_mapped(c->user_ns, false, ino->uid) && id_mapped(c->user_ns, true, ino->gid));
}

bool inode_capable(const struct inode *ino, int cap) { return own_capable(cap) && (!current->proc || in_reach(cred(), ino)); }

int mode_permission(const struct inode *ino, int mask) { return cred_permission(cred(), ino, mask); }

int cred_permission(const struct cred *c, const struct inode *ino, int mask)
{
	u32 mode = ino->mode;
	if (c->cap_eff & (1ul << CAP_DAC_OVERRIDE) && in_reach(c, ino))
		return (mask & MAY_EXEC) && !is_dir(ino) && !(mode & 0111) ? -EACCES : 0;
	if (c->fsuid == ino->uid) {
		mode >>= 6;
	} else {
		bool in_group = c->fsgid == ino->gid;
		for (u32 k = 0; k < c->ngroups && !in_group; k++)
			in_group = c->groups[k] == ino->gid;
		if (in_group)
			mode >>= 3;
	}
	if (((u32)mask & ~mode & 7) == 0)
		return 0;
	if ((c->cap_eff & (1ul << CAP_DAC_READ_SEARCH)) && in_reach(c, ino) && !(mask & MAY_WRITE) && (is_dir(ino) || !(mask & MAY_EXEC)))
		return 0;
	return -EACCES;
}
