// SPDX-License-Identifier: Apache-2.0
// Who a process is: user and group ids, capabilities. Programs run as uid 0 with all
// capabilities, as in a container, and may drop both. Credentials belong to the process (Linux keeps them per thread
// and libc sets them in all threads at once; here the first call does and the others find it done). Locks: none;
// credentials are changed by their own process only. A thread that acts as somebody else for a while (task->as) changes
// nothing that others see.
#include "kernel/include/kstring.h"
#include "kernel/include/vfs.h"
#include "kernel/task/internal.h"
#include "kernel/task/userns.h"
#include <linux/capability.h>
#include <linux/securebits.h>

_Static_assert(CAP_LAST_CAP == 40, "CAP_ALL has them all");

#define KEEP	U32_MAX // -1: leave this id alone

void cred_init_root(struct cred *c)
{
	memset(c, 0, sizeof(*c));
	c->cap_eff = c->cap_perm = c->cap_bset = CAP_ALL;
}

bool capable(int cap)
{
	return !curproc || (cred()->cap_eff >> cap & 1 && !cred()->user_ns);
}

bool own_capable(int cap)
{
	return !curproc || cred()->cap_eff >> cap & 1;
}

static u32 root_of(const struct cred *c) { return likely(!c->user_ns) ? 0 : id_in(c->user_ns, false, 0); }

// What leaving or gaining uid 0 does to capabilities (man 7 capabilities, "Effect of user ID changes").
static void fix_caps(struct cred *c, const struct cred *old)
{
	u32 root = root_of(c);
	bool was = old->uid == root || old->euid == root || old->suid == root, is = c->uid == root || c->euid == root || c->suid == root;

	if (c->securebits & SECBIT_NO_SETUID_FIXUP)
		return;
	if (was && !is && !(c->securebits & SECBIT_KEEP_CAPS))
		c->cap_perm = c->cap_eff = c->cap_amb = 0;
	if (old->euid == root && c->euid != root)
		c->cap_eff = 0;
	if (old->euid != root && c->euid == root)
		c->cap_eff = c->cap_perm;
}

static long commit_uid(struct cred *c, const struct cred *new)
{
	struct cred old = *c;

	*c = *new;
	fix_caps(c, &old);
	if (old.euid != c->euid)
		curproc->dumpable = false;
	return 0;
}

bool cred_exec(struct inode *ino, bool nosuid, bool unsafe)
{
	struct cred *c = cred(), old = *c;
	u32 zero = root_of(c);
	bool root, other;
	u64 perm;

	nosuid |= unlikely(ino->sb->user_ns) && !user_ns_above(ino->sb->user_ns, c->user_ns);
	nosuid |= c->user_ns && !(id_mapped(c->user_ns, false, ino->uid) && id_mapped(c->user_ns, true, ino->gid));
	if (!nosuid && !c->no_new_privs && ino->mode & S_ISUID)
		c->euid = ino->uid;
	if (!nosuid && !c->no_new_privs && (ino->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		c->egid = ino->gid;
	c->securebits &= (u8)~SECBIT_KEEP_CAPS;
	root = (c->uid == zero || c->euid == zero) && !(c->securebits & SECBIT_NOROOT);
	perm = root ? c->cap_inh | c->cap_bset : 0;
	root = root && c->euid == zero;
	other = c->euid != old.uid || c->egid != old.gid;
	if ((other || perm & ~old.cap_perm) && (unsafe || c->no_new_privs)) { // no more than it had
		if (!(old.cap_eff >> CAP_SETUID & 1) || c->no_new_privs) {
			c->euid = c->uid;
			c->egid = c->gid;
		}
		perm &= old.cap_perm;
	}
	if (other)
		c->cap_amb = 0;
	c->suid = c->fsuid = c->euid;
	c->sgid = c->fsgid = c->egid;
	c->cap_perm = perm | c->cap_amb;
	c->cap_eff = root ? c->cap_perm : c->cap_amb;
	return c->euid != old.uid || c->egid != old.gid;
}

long sys_getuid(void) { return uid_out(cred()->uid); }
long sys_geteuid(void) { return uid_out(cred()->euid); }
long sys_getgid(void) { return gid_out(cred()->gid); }
long sys_getegid(void) { return gid_out(cred()->egid); }

long sys_setuid(u32 uid)
{
	struct cred *c = cred(), n = *c;

	uid = uid_in(uid);
	if (uid == KEEP)
		return -EINVAL;
	if (own_capable(CAP_SETUID))
		n.uid = n.suid = uid;
	else if (uid != c->uid && uid != c->suid)
		return -EPERM;
	n.euid = n.fsuid = uid;
	return commit_uid(c, &n);
}

long sys_setgid(u32 gid)
{
	struct cred *c = cred();

	gid = gid_in(gid);
	if (gid == KEEP)
		return -EINVAL;
	if (own_capable(CAP_SETGID))
		c->gid = c->sgid = gid;
	else if (gid != c->gid && gid != c->sgid)
		return -EPERM;
	c->egid = c->fsgid = gid;
	return 0;
}

// Ids that are to change become the kernel's: false for one that has no number here.
static bool take(u32 *id, bool group)
{
	if (*id == KEEP || likely(!cred()->user_ns))
		return true;
	*id = id_in(cred()->user_ns, group, *id);
	return *id != KEEP;
}

static bool one_of3(u32 id, u32 a, u32 b, u32 c) { return id == KEEP || id == a || id == b || id == c; }

long sys_setreuid(u32 r, u32 e)
{
	struct cred *c = cred(), n = *c;

	if (!take(&r, false) || !take(&e, false))
		return -EINVAL;
	if (!own_capable(CAP_SETUID) && (!one_of3(r, c->uid, c->euid, c->euid) || !one_of3(e, c->uid, c->euid, c->suid)))
		return -EPERM;
	if (r != KEEP)
		n.uid = r;
	if (e != KEEP)
		n.euid = e;
	if (r != KEEP || (e != KEEP && e != c->uid))
		n.suid = n.euid;
	n.fsuid = n.euid;
	return commit_uid(c, &n);
}

long sys_setregid(u32 r, u32 e)
{
	struct cred *c = cred(), n = *c;

	if (!take(&r, true) || !take(&e, true))
		return -EINVAL;
	if (!own_capable(CAP_SETGID) && (!one_of3(r, c->gid, c->egid, c->egid) || !one_of3(e, c->gid, c->egid, c->sgid)))
		return -EPERM;
	if (r != KEEP)
		n.gid = r;
	if (e != KEEP)
		n.egid = e;
	if (r != KEEP || (e != KEEP && e != c->gid))
		n.sgid = n.egid;
	n.fsgid = n.egid;
	*c = n;
	return 0;
}

long sys_setresuid(u32 r, u32 e, u32 s)
{
	struct cred *c = cred(), n = *c;

	if (!take(&r, false) || !take(&e, false) || !take(&s, false))
		return -EINVAL;
	if (!own_capable(CAP_SETUID) && (!one_of3(r, c->uid, c->euid, c->suid) || !one_of3(e, c->uid, c->euid, c->suid) ||
				     !one_of3(s, c->uid, c->euid, c->suid)))
		return -EPERM;
	if (r != KEEP)
		n.uid = r;
	if (e != KEEP)
		n.euid = e;
	if (s != KEEP)
		n.suid = s;
	n.fsuid = n.euid;
	return commit_uid(c, &n);
}

long sys_setresgid(u32 r, u32 e, u32 s)
{
	struct cred *c = cred();

	if (!take(&r, true) || !take(&e, true) || !take(&s, true))
		return -EINVAL;
	if (!own_capable(CAP_SETGID) && (!one_of3(r, c->gid, c->egid, c->sgid) || !one_of3(e, c->gid, c->egid, c->sgid) ||
				     !one_of3(s, c->gid, c->egid, c->sgid)))
		return -EPERM;
	if (r != KEEP)
		c->gid = r;
	if (e != KEEP)
		c->egid = e;
	if (s != KEEP)
		c->sgid = s;
	c->fsgid = c->egid;
	return 0;
}

static long put3(u32 a, u32 b, u32 c, u32 __user *pa, u32 __user *pb, u32 __user *pc)
{
	return put_user(a, pa) || put_user(b, pb) || put_user(c, pc) ? -EFAULT : 0;
}

long sys_getresuid(u32 __user *r, u32 __user *e, u32 __user *s)
{
	return put3(uid_out(cred()->uid), uid_out(cred()->euid), uid_out(cred()->suid), r, e, s);
}

long sys_getresgid(u32 __user *r, u32 __user *e, u32 __user *s)
{
	return put3(gid_out(cred()->gid), gid_out(cred()->egid), gid_out(cred()->sgid), r, e, s);
}

long sys_setfsuid(u32 uid)
{
	struct cred *c = cred();
	u32 old = c->fsuid;

	uid = uid_in(uid);
	if (uid != KEEP && (own_capable(CAP_SETUID) || one_of3(uid, c->uid, c->euid, c->suid) || uid == old))
		c->fsuid = uid;
	return uid_out(old);
}

long sys_setfsgid(u32 gid)
{
	struct cred *c = cred();
	u32 old = c->fsgid;

	gid = gid_in(gid);
	if (gid != KEEP && (own_capable(CAP_SETGID) || one_of3(gid, c->gid, c->egid, c->sgid) || gid == old))
		c->fsgid = gid;
	return gid_out(old);
}

long sys_getgroups(int n, u32 __user *list)
{
	struct cred *c = cred();

	if (n < 0)
		return -EINVAL;
	if (!n)
		return c->ngroups;
	if ((u32)n < c->ngroups)
		return -EINVAL;
	for (u32 i = 0; i < c->ngroups; i++)
		if (put_user(gid_out(c->groups[i]), &list[i]))
			return -EFAULT;
	return (long)c->ngroups;
}

long sys_setgroups(int n, const u32 __user *list)
{
	struct cred *c = cred();
	u32 groups[ARRAY_SIZE(c->groups)];

	if (!own_capable(CAP_SETGID) || !setgroups_allowed())
		return -EPERM;
	if (n < 0 || (u32)n > ARRAY_SIZE(groups))
		return -EINVAL;
	if (copy_from_user(groups, list, (u32)n * sizeof(u32)))
		return -EFAULT;
	for (int i = 0; i < n; i++) {
		groups[i] = gid_in(groups[i]);
		if (groups[i] == KEEP)
			return -EINVAL;
	}
	memcpy(c->groups, groups, (u32)n * sizeof(u32));
	c->ngroups = (u32)n;
	return 0;
}

// --- capabilities

struct cap_words {
	u32 eff, perm, inh;
};

static int cap_version(struct __user_cap_header_struct *h, void __user *uhead, u32 *words)
{
	if (copy_from_user(h, uhead, sizeof(*h)))
		return -EFAULT;
	*words = h->version == _LINUX_CAPABILITY_VERSION_1 ? 1 : 2;
	if (h->version == _LINUX_CAPABILITY_VERSION_1 || h->version == _LINUX_CAPABILITY_VERSION_2 ||
	    h->version == _LINUX_CAPABILITY_VERSION_3)
		return 0;
	h->version = _LINUX_CAPABILITY_VERSION_3;
	return copy_to_user(uhead, h, sizeof(*h)) ? -EFAULT : -EINVAL;
}

long sys_capget(void __user *uhead, void __user *udata)
{
	struct __user_cap_header_struct h;
	struct cap_words w[2];
	struct cred *c = cred();
	struct proc *p = NULL;
	u32 words;
	int r = cap_version(&h, uhead, &words);

	if (r)
		return r == -EINVAL && !udata ? 0 : r;
	if (h.pid < 0)
		return -EINVAL;
	if (h.pid) {
		struct task *t = task_find(h.pid);
		if (!t)
			return -ESRCH;
		p = t->proc;
		ref_get(&p->ref);
		task_put(t);
		c = &p->cred;
	}
	for (u32 i = 0; i < 2; i++)
		w[i] = (struct cap_words){(u32)(c->cap_eff >> 32 * i), (u32)(c->cap_perm >> 32 * i),
					  (u32)(c->cap_inh >> 32 * i)};
	if (p)
		proc_put(p);
	return udata && copy_to_user(udata, w, words * sizeof(w[0])) ? -EFAULT : 0;
}

long sys_capset(void __user *uhead, const void __user *udata)
{
	struct __user_cap_header_struct h;
	struct cap_words w[2] = {0};
	struct cred *c = cred();
	u32 words;
	int r = cap_version(&h, uhead, &words);

	if (r)
		return r;
	if (h.pid && h.pid != current->tid && h.pid != curproc->pid)
		return -EPERM;
	if (copy_from_user(w, udata, words * sizeof(w[0])))
		return -EFAULT;
	u64 eff = w[0].eff | (u64)w[1].eff << 32, perm = w[0].perm | (u64)w[1].perm << 32,
	    inh = w[0].inh | (u64)w[1].inh << 32;
	eff &= CAP_ALL;
	perm &= CAP_ALL;
	inh &= CAP_ALL;
	if (perm & ~c->cap_perm || eff & ~perm ||
	    inh & ~(c->cap_inh | c->cap_perm | (own_capable(CAP_SETPCAP) ? c->cap_bset : 0)))
		return -EPERM;
	c->cap_eff = eff;
	c->cap_perm = perm;
	c->cap_inh = inh;
	c->cap_amb &= perm & inh;
	return 0;
}

// --- process and thread (groups and sessions: jobctl.c)

long sys_getpid(void) { return curproc->pid; }
long sys_gettid(void) { return current->tid; }

long sys_getppid(void)
{
	struct proc *parent = __atomic_load_n(&curproc->parent, __ATOMIC_RELAXED);

	// The parent cannot be freed under us: it gives its children away before.
	return parent ? parent->pid : 0;
}
