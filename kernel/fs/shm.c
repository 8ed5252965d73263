// SPDX-License-Identifier: Apache-2.0
// System V shared memory (man 7 sysvipc): each segment is a nameless file in memory, attached by mapping it. The number of
// attachments is the number of mappings that hold the file. Locks: `lock` guards the table; mm->lock and inode locks come
// after it.
#include "kernel/fs/fs.h"
#include "kernel/include/ktime.h"
#include "kernel/include/mm.h"

typedef int key_t;
#include <linux/ipc.h>
#include <linux/shm.h>

#define SEGMENTS 1024		// at a time
#define SEQ_LIMIT 0x7fff

struct segment {
	struct file *file;	// NULL: a free place
	struct shmid64_ds ds;
};

static struct mutex lock;
static struct segment *table;
static u32 sequence;

static bool in_group(u32 gid)
{
	const struct cred *c = cred();

	for (u32 i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return c->egid == gid;
}

// Reads a set of 9 mode bits as the caller's share of it: 4 reads, 2 writes.
static bool allowed(const struct segment *s, u32 want)
{
	const struct ipc64_perm *p = &s->ds.shm_perm;
	u32 mode = p->mode;

	if (capable(CAP_IPC_OWNER))
		return true;
	if (cred()->euid == p->uid || cred()->euid == p->cuid)
		mode >>= 6;
	else if (in_group(p->gid) || in_group(p->cgid))
		mode >>= 3;
	return (mode & want) == want;
}

static int seg_id(const struct segment *s)
{
	return (int)((u32)s->ds.shm_perm.seq << 16 | (u32)(s - table));
}

static struct segment *find(int id)
{
	u32 at = (u32)id & 0xffff;

	if (id < 0 || !table || at >= SEGMENTS || !table[at].file || seg_id(&table[at]) != id)
		return NULL;
	return &table[at];
}

// A new segment in a free place; its id.
static long make(key_t key, size_t size, u32 flags)
{
	struct segment *s = NULL;
	struct file *f;

	for (u32 i = 0; i < SEGMENTS && !s; i++)
		if (!table[i].file)
			s = &table[i];
	if (!s)
		return -ENOSPC;
	f = memfd_new("/SYSV (deleted)", false);
	if (IS_ERR(f))
		return PTR_ERR(f);
	f->inode->size = size;
	sequence = sequence % SEQ_LIMIT + 1;
	*s = (struct segment){ .file = f };
	s->ds.shm_perm = (struct ipc64_perm){ .key = key, .uid = cred()->euid, .gid = cred()->egid, .cuid = cred()->euid,
					      .cgid = cred()->egid, .mode = flags & 0777, .seq = (u16)sequence };
	s->ds.shm_segsz = size;
	s->ds.shm_ctime = (long)(ktime_real() / NSEC_PER_SEC);
	s->ds.shm_cpid = curproc->pid;
	return seg_id(s);
}

long sys_shmget(key_t key, size_t size, int flags)
{
	long r = -ENOENT;

	mutex_lock(&lock);
	if (!table)
		table = kzalloc(SEGMENTS * sizeof(*table));
	if (!table) {
		r = -ENOMEM;
		goto out;
	}
	for (u32 i = 0; i < SEGMENTS && key != IPC_PRIVATE; i++) {
		struct segment *s = &table[i];
		if (!s->file || s->ds.shm_perm.key != key)
			continue;
		if ((flags & IPC_CREAT) && (flags & IPC_EXCL))
			r = -EEXIST;
		else if (size > s->ds.shm_segsz)
			r = -EINVAL;
		else
			r = allowed(s, ((u32)flags >> 6 | (u32)flags >> 3 | (u32)flags) & 6) ? seg_id(s) : -EACCES;
		goto out;
	}
	if (key == IPC_PRIVATE || (flags & IPC_CREAT))
		r = !size || size > (u64)S64_MAX / 2 ? -EINVAL : make(key, size, (u32)flags);
out:
	mutex_unlock(&lock);
	return r;
}

long sys_shmat(int id, uptr addr, int flags)
{
	int prot = PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) | (flags & SHM_EXEC ? PROT_EXEC : 0);
	int how = MAP_SHARED;
	struct segment *s;
	struct file *f;
	size_t size;
	long r;

	if (addr & (PAGE_SIZE - 1)) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		addr &= PAGE_MASK;
	}
	if (addr)
		how |= flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED | MAP_FIXED_NOREPLACE;
	else if (flags & SHM_REMAP)
		return -EINVAL;
	mutex_lock(&lock);
	s = find(id);
	if (!s || !allowed(s, prot & PROT_WRITE ? 6 : 4)) {
		mutex_unlock(&lock);
		return s ? -EACCES : -EINVAL;
	}
	f = s->file;
	file_get(f);
	size = s->ds.shm_segsz;
	mutex_unlock(&lock);

	r = mm_map(curproc->mm, addr, size, prot, how, f, 0, 0);
	if (r == -EEXIST)
		r = -EINVAL;
	mutex_lock(&lock);
	s = find(id);
	if (s && r >= 0) {
		s->ds.shm_atime = (long)(ktime_real() / NSEC_PER_SEC);
		s->ds.shm_lpid = curproc->pid;
	}
	mutex_unlock(&lock);
	file_put(f);
	return r;
}

long sys_shmdt(uptr addr)
{
	struct mm *mm = curproc->mm;
	struct pagecache *pc = NULL;
	struct vma *v;
	uptr end = addr;

	mutex_lock(&mm->lock);
	v = mm_find(mm, addr);
	if (v && v->start == addr && !v->pgoff && v->file && (v->flags & VMA_SHARED) && v->file->inode->sb == memfd_super())
		pc = v->pc;
	for (; v && pc && v->pc == pc && v->start == end && v->pgoff == (end - addr) >> PAGE_SHIFT; v = mm_find(mm, end))
		end = v->end; // mprotect may have cut it into pieces
	mutex_unlock(&mm->lock);
	if (!pc)
		return -EINVAL;
	mutex_lock(&lock);
	for (u32 i = 0; table && i < SEGMENTS; i++)
		if (table[i].file && table[i].file->inode->pc == pc) {
			table[i].ds.shm_dtime = (long)(ktime_real() / NSEC_PER_SEC);
			table[i].ds.shm_lpid = curproc->pid;
		}
	mutex_unlock(&lock);
	return mm_unmap(mm, addr, end - addr);
}

static bool owns(const struct segment *s)
{
	return cred()->euid == s->ds.shm_perm.uid || cred()->euid == s->ds.shm_perm.cuid || capable(CAP_SYS_ADMIN);
}

static long status(struct segment *s, struct shmid64_ds __user *out)
{
	s->ds.shm_nattch = __atomic_load_n(&s->file->ref.n, __ATOMIC_RELAXED) - 1;
	return copy_to_user(out, &s->ds, sizeof(s->ds)) ? -EFAULT : 0;
}

long sys_shmctl(int id, int cmd, void __user *buf)
{
	struct file *dead = NULL;
	struct shmid64_ds in;
	struct segment *s;
	long r = 0;

	cmd &= ~IPC_64;
	if (cmd == IPC_SET && copy_from_user(&in, buf, sizeof(in)))
		return -EFAULT;
	if (cmd == IPC_INFO) {
		struct shminfo64 info = { .shmmax = S64_MAX / 2, .shmmin = 1, .shmmni = SEGMENTS, .shmseg = SEGMENTS,
					  .shmall = S64_MAX / PAGE_SIZE };
		return copy_to_user(buf, &info, sizeof(info)) ? -EFAULT : 0;
	}
	mutex_lock(&lock);
	s = cmd == SHM_STAT && table && id >= 0 && id < SEGMENTS && table[id].file ? &table[id] : find(id);
	if (!s) {
		r = -EINVAL;
		goto out;
	}
	switch (cmd) {
	case SHM_STAT:
	case IPC_STAT:
		r = allowed(s, 4) ? status(s, buf) : -EACCES;
		if (!r && cmd == SHM_STAT)
			r = seg_id(s);
		break;
	case IPC_SET:
		r = owns(s) ? 0 : -EPERM;
		if (!r) {
			s->ds.shm_perm.uid = in.shm_perm.uid;
			s->ds.shm_perm.gid = in.shm_perm.gid;
			s->ds.shm_perm.mode = in.shm_perm.mode & 0777;
			s->ds.shm_ctime = (long)(ktime_real() / NSEC_PER_SEC);
		}
		break;
	case IPC_RMID: // those who are attached keep the memory; the id is gone at once
		r = owns(s) ? 0 : -EPERM;
		if (!r) {
			dead = s->file;
			s->file = NULL;
		}
		break;
	case SHM_LOCK:
	case SHM_UNLOCK: // enclave memory is not swapped by the enclave
		break;
	default:
		r = -EINVAL;
	}
out:
	mutex_unlock(&lock);
	if (dead)
		file_put(dead);
	return r;
}
