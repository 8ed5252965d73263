// SPDX-License-Identifier: Apache-2.0
// System V shared memory (man 7 sysvipc): each segment is a nameless file in memory, attached by mapping it. The number of
// attachments is the number of mappings that hold the file. A segment that is removed while attached keeps its id, without
// its key, until the last mapping goes (shm_release).
// Locks: gone_lock -> ids->lock -> segment lock. mm->lock is never taken under them: mappings are made and dropped before or after, and
// shm_release, which runs under mm->lock, may take them.
#include "kernel/fs/fs.h"
#include "kernel/fs/procfs.h"
#include "kernel/include/count.h"
#include "kernel/include/mm.h"
#include "kernel/ipc/ids.h"
#include <linux/shm.h>

#define SHM_DEST_ 01000	  // removed, still attached: shown in the mode
#define SHM_LOCKED_ 02000
#define SHM_MAX (U64_MAX - (1ul << 24))

struct segment {
	struct ipc_obj o;
	struct file *file;	// its own reference until it is removed
	bool removed;
	struct shmid64_ds ds;	// times, sizes and pids
};

static struct file_ops shm_fops;
static struct mutex gone_lock;	// a namespace ends while its segments are mapped: either it or shm_release comes first

static struct segment *seg_of(struct ipc_obj *o) { return container_of(o, struct segment, o); }

void shm_free(struct ipc_obj *o)
{
	COUNT(shm_segments, -1);
	kfree(seg_of(o));
}

// The last mapping and the table's reference are gone.
static void shm_release(struct file *f)
{
	struct segment *s = f->priv;

	mutex_lock(&gone_lock);
	if (!s->o.gone) {
		struct ids *ids = s->o.ids;
		mutex_lock(&ids->lock);
		mutex_lock(&s->o.lock);
		ids_remove(&s->o);
		mutex_unlock(&s->o.lock);
		mutex_unlock(&ids->lock);
	}
	mutex_unlock(&gone_lock);
	ids_put(&s->o);
}

// The file, for as long as anybody is attached. Segment locked; NULL when it is about to go.
static struct file *file_of(struct segment *s) { return ref_get_unless_zero(&s->file->ref) ? s->file : NULL; }

static struct ipc_obj *make(const struct ipc_get *g)
{
	char name[32];
	struct segment *s;
	struct file *f;

	if (!g->size || g->size > (u64)S64_MAX / 2)
		return ERR_PTR(-EINVAL);
	if (PAGE_ALIGN(g->size) >> PAGE_SHIFT > page_count_total())
		return ERR_PTR(-ENOMEM);
	s = knew(struct segment);
	if (!s)
		return ERR_PTR(-ENOMEM);
	snprintf(name, sizeof(name), "/SYSV%08x (deleted)", (u32)g->key);
	f = memfd_new(name, false);
	if (IS_ERR(f)) {
		kfree(s);
		return (void *)f;
	}
	f->inode->size = g->size;
	f->ops = &shm_fops;
	f->priv = s;
	s->file = f;
	COUNT(shm_segments, 1);
	ref_init(&s->o.ref, 2); // the table's and the file's
	s->ds.shm_segsz = g->size;
	s->ds.shm_ctime = ipc_now();
	s->ds.shm_cpid = curproc->pid;
	return &s->o;
}

static int fits(struct ipc_obj *o, const struct ipc_get *g) { return g->size > seg_of(o)->ds.shm_segsz ? -EINVAL : 0; }

long sys_shmget(int key, size_t size, int flags)
{
	struct ipc_get g = {.key = key, .flags = flags, .size = size, .make = make, .fits = fits};

	return ids_open(&ipc_ns()->shm, &g);
}

long sys_shmat(int id, uptr addr, int flags)
{
	int prot = PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) | (flags & SHM_EXEC ? PROT_EXEC : 0);
	int how = MAP_SHARED;
	struct segment *s;
	struct ipc_obj *o;
	struct file *f;
	size_t size;
	long r;

	if (id < 0)
		return -EINVAL;
	if (addr & (PAGE_SIZE - 1)) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		addr &= PAGE_MASK;
	}
	if (addr)
		how |= flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED | MAP_FIXED_NOREPLACE;
	else if (flags & SHM_REMAP)
		return -EINVAL;
	o = ids_lock(&ipc_ns()->shm, id);
	if (IS_ERR(o))
		return PTR_ERR(o);
	s = seg_of(o);
	f = ipc_allowed(o, prot & PROT_WRITE ? 6 : 4) ? file_of(s) : ERR_PTR(-EACCES);
	size = s->ds.shm_segsz;
	mutex_unlock(&o->lock);
	if (IS_ERR_OR_NULL(f)) {
		ids_put(o);
		return f ? PTR_ERR(f) : -EIDRM;
	}
	r = mm_map(curproc->mm, addr, size, prot, how, f, 0, 0);
	if (r == -EEXIST)
		r = -EINVAL;
	mutex_lock(&o->lock);
	if (r >= 0) {
		s->ds.shm_atime = ipc_now();
		s->ds.shm_lpid = curproc->pid;
	}
	mutex_unlock(&o->lock);
	file_put(f);
	ids_put(o);
	return rseq_survived(r);
}

long sys_shmdt(uptr addr)
{
	struct mm *mm = curproc->mm;
	struct segment *s = NULL;
	struct vma *v;
	uptr end = addr;
	long r;

	if (addr & (PAGE_SIZE - 1))
		return -EINVAL;
	mutex_lock(&mm->lock);
	v = mm_find(mm, addr);
	if (v && v->start == addr && !v->pgoff && v->file && v->file->ops == &shm_fops) {
		struct pagecache *pc = v->pc;
		s = v->file->priv;
		ref_get(&s->o.ref);
		for (; v && v->pc == pc && v->start == end && v->pgoff == (end - addr) >> PAGE_SHIFT; v = mm_find(mm, end))
			end = v->end; // mprotect may have cut it into pieces
	}
	mutex_unlock(&mm->lock);
	if (!s)
		return -EINVAL;
	mutex_lock(&s->o.lock);
	s->ds.shm_dtime = ipc_now();
	s->ds.shm_lpid = curproc->pid;
	mutex_unlock(&s->o.lock);
	r = mm_unmap(mm, addr, end - addr);
	ids_put(&s->o);
	return r;
}

// --- shmctl

// Locked. Mappings hold the file; so does the table while the segment is not removed.
static u64 attached(const struct segment *s) { return __atomic_load_n(&s->file->ref.n, __ATOMIC_RELAXED) - !s->removed; }

static void fill(struct segment *s, struct shmid64_ds *ds)
{
	*ds = s->ds;
	ipc_perm_out(&s->o, &ds->shm_perm);
	ds->shm_nattch = attached(s);
}

static long status(int id, int cmd, void __user *buf)
{
	struct ids *ids = &ipc_ns()->shm;
	struct ipc_obj *o = cmd == IPC_STAT ? ids_lock(ids, id) : ids_lock_at(ids, id);
	struct shmid64_ds ds;
	long r = -EACCES;

	if (IS_ERR(o))
		return PTR_ERR(o);
	if (cmd == SHM_STAT_ANY || ipc_allowed(o, 4)) {
		fill(seg_of(o), &ds);
		r = cmd == IPC_STAT ? 0 : o->id;
	}
	ids_unlock(o);
	return r >= 0 && copy_to_user(buf, &ds, sizeof(ds)) ? -EFAULT : r;
}

void shm_row(struct ipc_obj *o, struct pout *p)
{
	struct segment *s = seg_of(o);

	pout(p, "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10lu %10lu %10lu %21lu %21lu\n", o->key, o->id, o->mode, s->ds.shm_segsz,
	     s->ds.shm_cpid, s->ds.shm_lpid, attached(s), uid_out(o->uid), gid_out(o->gid), uid_out(o->cuid), gid_out(o->cgid), s->ds.shm_atime,
	     s->ds.shm_dtime, s->ds.shm_ctime,
	     s->file->inode->pc->npages << PAGE_SHIFT, 0ul);
}

static long info(int cmd, void __user *buf)
{
	struct ids *ids = &ipc_ns()->shm;
	struct shminfo64 limits = {.shmmax = SHM_MAX, .shmmin = 1, .shmmni = ids->max, .shmseg = ids->max, .shmall = SHM_MAX};
	struct shm_info used = {.used_ids = (int)ids->used};
	int last = ids_highest(ids);

	if (cmd == IPC_INFO)
		return copy_to_user(buf, &limits, sizeof(limits)) ? -EFAULT : last;
	for (int k = 0; k <= last; k++) {
		struct ipc_obj *o = ids_lock_at(ids, k);
		if (IS_ERR(o))
			continue;
		used.shm_tot += PAGE_ALIGN(seg_of(o)->ds.shm_segsz) >> PAGE_SHIFT;
		used.shm_rss += seg_of(o)->file->inode->pc->npages;
		ids_unlock(o);
	}
	return copy_to_user(buf, &used, sizeof(used)) ? -EFAULT : last;
}

// The key is free again; the file goes with its last mapping. Locked; the file is to be put after unlocking.
static struct file *remove(struct segment *s)
{
	if (s->removed)
		return NULL;
	s->removed = true;
	s->o.key = IPC_PRIVATE;
	s->o.mode |= SHM_DEST_;
	return s->file;
}

void shm_kill(struct ipc_obj *o)
{
	struct segment *s = seg_of(o);
	struct file *f;

	mutex_lock(&gone_lock);
	mutex_lock(&o->lock);
	f = remove(s);
	o->gone = true;
	mutex_unlock(&o->lock);
	mutex_unlock(&gone_lock);
	if (f)
		file_put(f);
}

static long change(int id, int cmd, const void __user *buf)
{
	struct file *dead = NULL;
	struct shmid64_ds ds;
	struct ipc_obj *o;
	long r = 0;

	if (cmd == IPC_SET && copy_from_user(&ds, buf, sizeof(ds)))
		return -EFAULT;
	o = ids_lock_both(&ipc_ns()->shm, id);
	if (IS_ERR(o))
		return PTR_ERR(o);
	if (!ipc_owns(o)) {
		r = -EPERM;
	} else if (cmd == IPC_SET) {
		r = ipc_perm_set(o, &ds.shm_perm);
		if (!r)
			seg_of(o)->ds.shm_ctime = ipc_now();
	} else if (cmd == IPC_RMID) {
		dead = remove(seg_of(o));
	} else { // enclave memory is not swapped by the enclave
		o->mode = cmd == SHM_LOCK ? o->mode | SHM_LOCKED_ : o->mode & ~(u32)SHM_LOCKED_;
	}
	ids_unlock_both(o);
	if (dead)
		file_put(dead);
	return r;
}

long sys_shmctl(int id, int cmd, void __user *buf)
{
	cmd &= ~IPC_64;
	if (id < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO: case SHM_INFO: return info(cmd, buf);
	case IPC_STAT: case SHM_STAT: case SHM_STAT_ANY: return status(id, cmd, buf);
	case IPC_SET: case IPC_RMID: case SHM_LOCK: case SHM_UNLOCK: return change(id, cmd, buf);
	default: return -EINVAL;
	}
}

void shm_init(void)
{
	shm_fops = memfd_fops;
	shm_fops.release = shm_release;
}
