// SPDX-License-Identifier: Apache-2.0
// Who a process is: user and group ids, groups, capabilities (man 7 credentials, capabilities), process groups and sessions. There is
// one real user, the enclave; ids have Linux's semantics so that programs that drop privileges work. Credentials belong to the
// process and change under sig_lock; groups and sessions under tasklist.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/vfs.h"
#include "kernel/task/internal.h"
#include <linux/capability.h>

#define ALL_CAPS ((1ul << (CAP_LAST_CAP + 1)) - 1)

void cred_init_root(struct cred *c)
{
	memset(c, 0, sizeof(*c));
	c->cap_eff = c->cap_perm = c->cap_bset = ALL_CAPS;
}

bool capable(int cap) { return curproc->cred.cap_eff >> cap & 1; }

// Capabilities follow the ids when they move between root and others (capabilities(7), "Effect of user ID changes").
static void ids_changed(struct cred *c, const struct cred *old)
{
	bool was = !old->uid || !old->euid || !old->suid, is = !c->uid || !c->euid || !c->suid;

	if (was && !is && !c->keepcaps)
		c->cap_perm = c->cap_eff = c->cap_amb = 0;
	if (!old->euid && c->euid)
		c->cap_eff = 0;
	else if (old->euid && !c->euid)
		c->cap_eff = c->cap_perm;
	c->fsuid = c->euid;
	c->fsgid = c->egid;
}

bool cred_exec(struct inode *ino, bool nosuid)
{
	struct cred *c = &curproc->cred;
	struct cred old = *c;

	if (!nosuid && !c->no_new_privs) {
		if (ino->mode & S_ISUID)
			c->euid = ino->uid;
		if ((ino->mode & (S_ISGID | 0010)) == (S_ISGID | 0010))
			c->egid = ino->gid;
	}
	c->suid = c->fsuid = c->euid;
	c->sgid = c->fsgid = c->egid;
	c->keepcaps = false;
	if (!c->euid || !c->uid) {
		c->cap_perm = c->cap_bset | c->cap_inh;
		c->cap_eff = c->euid ? 0 : c->cap_perm;
	} else {
		c->cap_perm = c->cap_eff = c->cap_amb;
	}
	return old.euid != c->euid || old.egid != c->egid;
}

long sys_getuid(void) { return cred()->uid; }
long sys_geteuid(void) { return cred()->euid; }
long sys_getgid(void) { return cred()->gid; }
long sys_getegid(void) { return cred()->egid; }

long sys_getresuid(u32 __user *r, u32 __user *e, u32 __user *s)
{
	struct cred *c = cred();
	return put_user(c->uid, r) || put_user(c->euid, e) || put_user(c->suid, s) ? -EFAULT : 0;
}

long sys_getresgid(u32 __user *r, u32 __user *e, u32 __user *s)
{
	struct cred *c = cred();
	return put_user(c->gid, r) || put_user(c->egid, e) || put_user(c->sgid, s) ? -EFAULT : 0;
}

static bool one_of(u32 v, u32 a, u32 b, u32 c) { return v == a || v == b || v == c; }

long sys_setresuid(u32 r, u32 e, u32 s)
{
	struct cred *c = cred(), old = *c;
	bool priv = capable(CAP_SETUID);

	if (!priv && ((r != ~0u && !one_of(r, c->uid, c->euid, c->suid)) || (e != ~0u && !one_of(e, c->uid, c->euid, c->suid)) ||
		      (s != ~0u && !one_of(s, c->uid, c->euid, c->suid))))
		return -EPERM;
	if (r != ~0u)
		c->uid = r;
	if (e != ~0u)
		c->euid = e;
	if (s != ~0u)
		c->suid = s;
	ids_changed(c, &old);
	return 0;
}

long sys_setresgid(u32 r, u32 e, u32 s)
{
	struct cred *c = cred();

	if (!capable(CAP_SETGID) && ((r != ~0u && !one_of(r, c->gid, c->egid, c->sgid)) || (e != ~0u && !one_of(e, c->gid, c->egid, c->sgid)) ||
				     (s != ~0u && !one_of(s, c->gid, c->egid, c->sgid))))
		return -EPERM;
	if (r != ~0u)
		c->gid = r;
	if (e != ~0u)
		c->egid = c->fsgid = e;
	if (s != ~0u)
		c->sgid = s;
	return 0;
}

long sys_setreuid(u32 r, u32 e)
{
	struct cred *c = cred();
	u32 s = r != ~0u || (e != ~0u && e != c->uid) ? (e != ~0u ? e : c->euid) : ~0u;

	return sys_setresuid(r, e, s);
}

long sys_setregid(u32 r, u32 e)
{
	struct cred *c = cred();
	u32 s = r != ~0u || (e != ~0u && e != c->gid) ? (e != ~0u ? e : c->egid) : ~0u;

	return sys_setresgid(r, e, s);
}

long sys_setuid(u32 id)
{
	struct cred *c = cred();

	if (id == ~0u)
		return -EINVAL;
	if (capable(CAP_SETUID))
		return sys_setresuid(id, id, id);
	return id == c->uid || id == c->suid ? sys_setresuid(~0u, id, ~0u) : -EPERM;
}

long sys_setgid(u32 id)
{
	struct cred *c = cred();

	if (id == ~0u)
		return -EINVAL;
	if (capable(CAP_SETGID))
		return sys_setresgid(id, id, id);
	return id == c->gid || id == c->sgid ? sys_setresgid(~0u, id, ~0u) : -EPERM;
}

long sys_setfsuid(u32 id)
{
	struct cred *c = cred();
	u32 old = c->fsuid;

	if (id != ~0u && (capable(CAP_SETUID) || one_of(id, c->uid, c->euid, c->suid)))
		c->fsuid = id;
	return old;
}

long sys_setfsgid(u32 id)
{
	struct cred *c = cred();
	u32 old = c->fsgid;

	if (id != ~0u && (capable(CAP_SETGID) || one_of(id, c->gid, c->egid, c->sgid)))
		c->fsgid = id;
	return old;
}

long sys_getgroups(int n, u32 __user *out)
{
	struct cred *c = cred();

	if (n < 0 || (n && (u32)n < c->ngroups))
		return -EINVAL;
	if (n && copy_to_user(out, c->groups, c->ngroups * 4))
		return -EFAULT;
	return c->ngroups;
}

long sys_setgroups(u32 n, const u32 __user *in)
{
	struct cred *c = cred();
	u32 g[ARRAY_SIZE(c->groups)];

	if (!capable(CAP_SETGID))
		return -EPERM;
	if (n > ARRAY_SIZE(g))
		return -EINVAL;
	if (copy_from_user(g, in, n * 4))
		return -EFAULT;
	memcpy(c->groups, g, n * 4);
	c->ngroups = n;
	return 0;
}

static int cap_head(void __user *uh, struct __user_cap_header_struct *h, u32 *words)
{
	u32 want = _LINUX_CAPABILITY_VERSION_3;

	if (copy_from_user(h, uh, sizeof(*h)))
		return -EFAULT;
	switch (h->version) {
	case _LINUX_CAPABILITY_VERSION_1: *words = 1; return 0;
	case _LINUX_CAPABILITY_VERSION_2: case _LINUX_CAPABILITY_VERSION_3: *words = 2; return 0;
	default: return put_user(want, (u32 __user *)uh) ? -EFAULT : -EINVAL;
	}
}

long sys_capget(void __user *uh, void __user *data)
{
	struct __user_cap_data_struct d[2] = { 0 };
	struct __user_cap_header_struct h;
	struct proc *p;
	u32 words;
	int r = cap_head(uh, &h, &words);

	if (r)
		return !data && r == -EINVAL ? 0 : r;
	if (h.pid < 0)
		return -EINVAL;
	p = proc_find(h.pid ? h.pid : curproc->pid);
	if (!p)
		return -ESRCH;
	for (u32 i = 0; i < words; i++) {
		d[i].effective = (u32)(p->cred.cap_eff >> 32 * i);
		d[i].permitted = (u32)(p->cred.cap_perm >> 32 * i);
		d[i].inheritable = (u32)(p->cred.cap_inh >> 32 * i);
	}
	proc_put(p);
	return data && copy_to_user(data, d, words * sizeof(d[0])) ? -EFAULT : 0;
}

long sys_capset(void __user *uh, const void __user *data)
{
	struct __user_cap_data_struct d[2] = { 0 };
	struct __user_cap_header_struct h;
	struct cred *c = cred();
	u64 e, p, i;
	u32 words;
	int r = cap_head(uh, &h, &words);

	if (r)
		return r;
	if (h.pid && h.pid != curproc->pid && h.pid != current->tid)
		return -EPERM;
	if (copy_from_user(d, data, words * sizeof(d[0])))
		return -EFAULT;
	e = d[0].effective | (u64)d[1].effective << 32;
	p = d[0].permitted | (u64)d[1].permitted << 32;
	i = d[0].inheritable | (u64)d[1].inheritable << 32;
	if (p & ~c->cap_perm || e & ~p || (i & ~(c->cap_inh | c->cap_perm) && !capable(CAP_SETPCAP)) || i & ~(c->cap_inh | c->cap_bset))
		return -EPERM;
	c->cap_eff = e & ALL_CAPS;
	c->cap_perm = p & ALL_CAPS;
	c->cap_inh = i & ALL_CAPS;
	return 0;
}
