// SPDX-License-Identifier: Apache-2.0
// NUMA memory policies (man 2 set_mempolicy) of a machine with one node: arguments are checked as Linux checks them, a
// thread's policy is remembered and reported, and all memory is and stays on node 0. Locks: mm->lock to look at mappings.
#include "kernel/include/kstring.h"
#include "kernel/include/remote.h"
#include "kernel/include/task.h"
#include "kernel/mm/vma.h"
#include <linux/capability.h>
#include <linux/mempolicy.h>

#define MAX_NODES 1024u
#define MODE_FLAGS (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING)

// A set of nodes from the program: bit 0 of it in *mask; any other node does not exist.
static int read_nodes(const void __user *umask, u64 maxnode, u64 *mask, bool *others)
{
	u64 words = DIV_ROUND_UP(maxnode ? maxnode - 1 : 0, 64ul), w;

	*mask = 0;
	*others = false;
	if (!umask || maxnode <= 1)
		return 0;
	if (maxnode - 1 > PAGE_SIZE * 8)
		return -EINVAL;
	for (u64 i = 0; i < words; i++) {
		if (get_user(w, (const u64 __user *)umask + i))
			return -EFAULT;
		if (i == words - 1 && (maxnode - 1) % 64)
			w &= (1ul << (maxnode - 1) % 64) - 1;
		if (!i)
			*mask = w & 1;
		if (w & (i ? U64_MAX : ~1ul)) {
			*others = true;
			if (i >= MAX_NODES / 64)
				return -EINVAL;
		}
	}
	return 0;
}

static int check_policy(int mode, u64 mask, bool others)
{
	int m = mode & ~MODE_FLAGS;

	if (m < 0 || m >= MPOL_MAX)
		return -EINVAL;
	if ((mode & MPOL_F_STATIC_NODES) && (mode & MPOL_F_RELATIVE_NODES))
		return -EINVAL;
	if (mode & MPOL_F_NUMA_BALANCING && m != MPOL_BIND)
		return -EINVAL;
	if (m == MPOL_DEFAULT || m == MPOL_LOCAL)
		return mask || others || mode & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES) ? -EINVAL : 0;
	if (m == MPOL_PREFERRED && !mask && !others)
		return mode & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES) ? -EINVAL : 0;
	return mask ? 0 : -EINVAL; // none of the nodes that it names exists
}

long sys_set_mempolicy(int mode, const void __user *umask, u64 maxnode)
{
	struct task *t = current;
	bool others;
	u64 mask;
	int r = read_nodes(umask, maxnode, &mask, &others);

	if (!r)
		r = check_policy(mode, mask, others);
	if (r)
		return r;
	if ((mode & ~MODE_FLAGS) == MPOL_PREFERRED && !mask)
		mode = MPOL_LOCAL;
	t->mempolicy = mode;
	t->mempolicy_nodes = mask;
	return 0;
}

long sys_get_mempolicy(int __user *umode, void __user *umask, u64 maxnode, uptr addr, u64 flags)
{
	struct task *t = current;
	int mode = t->mempolicy;
	u64 mask = t->mempolicy_nodes;

	if (flags & ~(u64)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED))
		return -EINVAL;
	if (umask && maxnode < 1)
		return -EINVAL;
	if (flags & MPOL_F_MEMS_ALLOWED) {
		if (flags & (MPOL_F_NODE | MPOL_F_ADDR))
			return -EINVAL;
		mode = 0;
		mask = 1;
	} else if (flags & MPOL_F_ADDR) {
		mutex_lock(&t->proc->mm->lock);
		bool there = mm_find(t->proc->mm, addr);
		mutex_unlock(&t->proc->mm->lock);
		if (!there)
			return -EFAULT;
		if (flags & MPOL_F_NODE)
			mode = 0; // the node that the page is on
	} else if (addr) {
		return -EINVAL;
	} else if (flags & MPOL_F_NODE) {
		if ((mode & ~MODE_FLAGS) != MPOL_INTERLEAVE)
			return -EINVAL;
		mode = 0; // the next node to take a page from
	}
	if (umode && put_user(mode, umode))
		return -EFAULT;
	if (umask) {
		u64 bytes = DIV_ROUND_UP(maxnode, 64ul) * 8;
		if (bytes > PAGE_SIZE)
			return -EINVAL;
		if (clear_user(umask, bytes) || put_user(mask, (u64 __user *)umask))
			return -EFAULT;
	}
	return 0;
}

// All of [addr, addr + len) is mapped?
static bool mapped(uptr addr, size_t len)
{
	struct mm *mm = curproc->mm;
	uptr end = addr + len;

	mutex_lock(&mm->lock);
	while (addr < end) {
		struct vma *v = mm_find(mm, addr);
		if (!v)
			break;
		addr = v->end;
	}
	mutex_unlock(&mm->lock);
	return addr >= end;
}

long sys_mbind(uptr addr, u64 len, int mode, const void __user *umask, u64 maxnode, u32 flags)
{
	bool others;
	u64 mask;
	int r;

	if (flags & ~(u32)(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
		return -EINVAL;
	if (flags & MPOL_MF_MOVE_ALL && !capable(CAP_SYS_NICE))
		return -EPERM;
	if (addr & (PAGE_SIZE - 1))
		return -EINVAL;
	len = PAGE_ALIGN(len);
	if (addr + len < addr)
		return -EINVAL;
	r = read_nodes(umask, maxnode, &mask, &others);
	if (!r)
		r = check_policy(mode, mask, others);
	if (r || !len)
		return r;
	return mapped(addr, len) ? 0 : -EFAULT;
}

long sys_set_mempolicy_home_node(uptr addr, u64 len, u64 node, u64 flags)
{
	if (addr & (PAGE_SIZE - 1) || flags || node)
		return -EINVAL;
	len = PAGE_ALIGN(len);
	if (addr + len < addr)
		return -EINVAL;
	return len ? -ENOENT : 0; // no mapping has a policy of its own
}

// The process that a pid means to move_pages and migrate_pages; 0: the caller's. ERR_PTR.
static struct proc *target(int pid)
{
	struct task *t = pid ? task_find(pid) : current;
	struct proc *p = t ? t->proc : NULL;

	if (p)
		ref_get(&p->ref);
	if (t && pid)
		task_put(t);
	if (p && remote_allowed(p))
		return p;
	if (p)
		proc_put(p);
	return ERR_PTR(p ? -EPERM : -ESRCH);
}

long sys_migrate_pages(int pid, u64 maxnode, const void __user *ufrom, const void __user *uto)
{
	bool others, ignore;
	u64 from, to;
	struct proc *p;
	int r = read_nodes(ufrom, maxnode, &from, &ignore);

	if (!r)
		r = read_nodes(uto, maxnode, &to, &others);
	if (r)
		return r;
	p = target(pid);
	if (IS_ERR(p))
		return PTR_ERR(p);
	proc_put(p);
	return to ? 0 : -EINVAL; // every page is where it can be
}

// Where page `addr` of mm is: node 0, or -EFAULT.
static int node_of(struct mm *mm, uptr addr)
{
	mutex_lock(&mm->lock);
	struct vma *v = mm_find(mm, addr);
	int r = v && !(v->flags & VMA_GUARD) ? 0 : -EFAULT;
	mutex_unlock(&mm->lock);
	return r;
}

long sys_move_pages(int pid, u64 n, const void __user *upages, const void __user *unodes, void __user *ustatus, int flags)
{
	struct mm *mm = NULL;
	struct proc *p;
	long r = 0;

	if (flags & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
		return -EINVAL;
	if (flags & MPOL_MF_MOVE_ALL && !capable(CAP_SYS_NICE))
		return -EPERM;
	p = target(pid);
	if (IS_ERR(p))
		return PTR_ERR(p);
	mutex_lock(&tasklist);
	mm = p->mm;
	if (mm)
		ref_get(&mm->ref);
	mutex_unlock(&tasklist);
	proc_put(p);
	if (!mm)
		return -EINVAL;
	for (u64 i = 0; i < n && !r; i++) {
		uptr addr;
		int node = 0, status;
		if (get_user(addr, (const uptr __user *)upages + i) || (unodes && get_user(node, (const int __user *)unodes + i)))
			r = -EFAULT;
		else if (node)
			r = -ENODEV;
		else if ((status = node_of(mm, addr)), put_user(status, (int __user *)ustatus + i))
			r = -EFAULT;
	}
	mm_put(mm);
	return r;
}
