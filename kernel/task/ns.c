// SPDX-License-Identifier: Apache-2.0
// Namespaces of processes: unshare, setns, the CLONE_NEW* flags, /proc/PID/ns. Mount, UTS, IPC and PID (pidns.c) namespaces
// are real; so are cgroup namespaces, which show the group where they were made as the root (cgroup.c), network namespaces (net/netns.c) and user
// namespaces (userns.c), which own the others; and time namespaces (timens.c).
// Locks: tasklist guards the pointers of other processes; a process changes only its own.
#include "kernel/fs/fs.h"
#include "kernel/fs/procfs.h"
#include "kernel/include/cgroup.h"
#include "kernel/include/log.h"
#include "kernel/include/ns.h"
#include "kernel/include/remote.h"
#include "kernel/ipc/ids.h"
#include "kernel/task/pidns.h"
#include "kernel/task/userns.h"
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/nsfs.h>

#define NEW_NS (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWCGROUP | CLONE_NEWNET | CLONE_NEWTIME)

static struct ns first_net = {.ref = {1}, .type = CLONE_NEWNET, .inum = 4026531840ul};
struct cgroup_ns {
	struct ns ns;
	struct cgroup *root; // a reference
};
static struct cgroup_ns init_cgroup = {.ns = {.ref = {1}, .type = CLONE_NEWCGROUP, .inum = 4026531835ul}, .root = &root_cgroup};
static struct super *nsfs;

static struct ns *ns_get(struct proc *p, int tid, u32 type, bool children);
static struct file *ns_file(struct ns *n);
struct fdtable *fdtable_copy(struct fdtable *t);
struct proc *pidfd_proc(struct file *f); // pidfd.c

u64 ns_inum(void)
{
	static u64 last = 4026532200ul;

	return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

static void cgroup_ns_put(struct ns *n)
{
	struct cgroup_ns *c = n ? container_of(n, struct cgroup_ns, ns) : NULL;

	if (!c || !ref_put(&n->ref))
		return;
	cgroup_put(c->root);
	user_ns_put(n->owner);
	kfree(c);
}

struct cgroup *cgroup_ns_root(void)
{
	struct ns *n = curproc->cgroup_ns;

	return n ? container_of(n, struct cgroup_ns, ns)->root : &root_cgroup;
}

static struct ns *cgroup_ns_new(struct proc *p)
{
	struct cgroup_ns *c = knew(struct cgroup_ns);

	if (!c)
		return NULL;
	c->ns = (struct ns){.ref = {1}, .type = CLONE_NEWCGROUP, .inum = ns_inum()};
	mutex_lock(&tasklist);
	c->root = cgroup_of(p);
	cgroup_get(c->root);
	mutex_unlock(&tasklist);
	return &c->ns;
}

static void ns_put(struct ns *n)
{
	switch (n->type) {
	case CLONE_NEWPID: pid_ns_put(n); break;
	case CLONE_NEWCGROUP: cgroup_ns_put(n); break;
	case CLONE_NEWNET: n == &first_net ? (void)ref_put(&n->ref) : net_ns_put((struct net_ns *)n); break;
	case CLONE_NEWNS: mnt_ns_put((struct mnt_ns *)n); break;
	case CLONE_NEWUTS: uts_ns_put((struct uts_ns *)n); break;
	case CLONE_NEWIPC: ipc_ns_put((struct ipc_ns *)n); break;
	case CLONE_NEWTIME: time_ns_put(n); break;
	case CLONE_NEWUSER: user_ns_put(user_ns_of(n)); break;
	default: ref_put(&n->ref);
	}
}

void ns_inherit(struct proc *p, const struct proc *from)
{
	mutex_lock(&tasklist); // another thread may leave one
	p->ipc_ns = from->ipc_ns;
	p->uts_ns = from->uts_ns;
	p->mnt_ns = from->mnt_ns;
	ref_get((struct ref *)p->ipc_ns);
	ref_get((struct ref *)p->uts_ns);
	ref_get((struct ref *)p->mnt_ns);
	p->cgroup_ns = from->cgroup_ns;
	if (p->cgroup_ns)
		ref_get(&p->cgroup_ns->ref);
	p->net_ns = from->net_ns;
	if (p->net_ns)
		ref_get((struct ref *)p->net_ns);
	if (unlikely(from->time_ns || from->time_children)) {
		p->time_children = from->time_children ? from->time_children : from->time_ns;
		ref_get(&p->time_children->ref);
		time_ns_enter(p);
	}
	mutex_unlock(&tasklist);
}

struct net_ns *net_ns_of(struct proc *p)
{
	struct net_ns *n;

	mutex_lock(&tasklist);
	n = p->net_ns;
	if (n)
		ref_get((struct ref *)n);
	mutex_unlock(&tasklist);
	return n;
}

void ns_drop(struct proc *p)
{
	struct ipc_ns *i = p->ipc_ns;
	struct uts_ns *u = p->uts_ns;
	struct mnt_ns *m = p->mnt_ns;
	struct ns *c = p->cgroup_ns, *pid = p->pid_children, *t = p->time_ns, *tc = p->time_children;
	struct net_ns *net = p->net_ns;

	mutex_lock(&tasklist);
	p->ipc_ns = NULL;
	p->uts_ns = NULL;
	p->mnt_ns = NULL;
	p->net_ns = NULL;
	p->cgroup_ns = p->pid_children = p->time_ns = p->time_children = NULL;
	mutex_unlock(&tasklist);
	ipc_ns_put(i);
	uts_ns_put(u);
	mnt_ns_put(m);
	cgroup_ns_put(c);
	pid_ns_put(pid);
	net_ns_put(net);
	time_ns_put(t);
	time_ns_put(tc);
}

// --- making new ones

static int check_new(u64 flags)
{
	return flags & NEW_NS && !(flags & CLONE_NEWUSER) && !own_capable(CAP_SYS_ADMIN) ? -EPERM : 0;
}

void ns_own(struct ns *n, struct user_ns *u)
{
	user_ns_get(u);
	n->owner = u;
}

bool capable_here(u32 type, int cap)
{
	struct ns *n;
	bool yes;

	if (likely(!current->proc || !cred()->user_ns) && own_capable(cap))
		return true; // of the first, which is above all
	n = ns_get(curproc, current->tid, type, false);
	yes = n && ns_capable(n->owner, cap);
	if (n)
		ns_put(n);
	return yes;
}

// The adjustments of semaphores are given back by the last thread that could be about to make more, now or when the process ends.
static void undos_leave(struct proc *p)
{
	if (p->nthreads == 1)
		sem_exit(p);
}

// Its adjustments of semaphores belong to the namespace that it leaves.
static void ipc_leave(struct proc *p)
{
	undos_leave(p);
	ipc_ns_leave();
}

int ns_unshare(struct proc *p, u64 flags)
{
	struct user_ns *user = NULL, *owner;
	struct uts_ns *uts = NULL;
	struct ipc_ns *ipc = NULL;
	struct mnt_ns *mnt = NULL;
	struct ns *cgroup = NULL, *pid = NULL, *time = NULL, *left = NULL;
	struct net_ns *net = NULL;
	int r = check_new(flags);

	if (r)
		return r;
	if (flags & CLONE_NEWUSER) {
		user = user_ns_new(&p->cred);
		if (IS_ERR(user))
			return (int)PTR_ERR(user);
	}
	owner = user ? user : p->cred.user_ns;
	r = -ENOMEM;
	if (flags & CLONE_NEWUTS && !(uts = uts_ns_copy()))
		goto fail;
	if (flags & CLONE_NEWIPC && !(ipc = ipc_ns_new()))
		goto fail;
	if (flags & CLONE_NEWNS) {
		mnt = mnt_ns_copy(p->fs, owner);
		if (IS_ERR(mnt)) {
			r = (int)PTR_ERR(mnt);
			mnt = NULL;
			goto fail;
		}
	}
	if (flags & CLONE_NEWCGROUP) {
		cgroup = cgroup_ns_new(curproc);
		if (!cgroup)
			goto fail;
	}
	if (flags & CLONE_NEWTIME && !(time = time_ns_new(curproc)))
		goto fail;
	if (flags & CLONE_NEWNET && !(net = net_ns_new()))
		goto fail;
	if (flags & CLONE_NEWPID) {
		pid = pid_ns_new();
		if (IS_ERR(pid)) {
			r = (int)PTR_ERR(pid);
			pid = NULL;
			goto fail;
		}
	}
	struct ns *made[] = {(struct ns *)uts, ipc ? &ipc->ns : NULL, cgroup, (struct ns *)net, pid, time};
	for (u32 i = 0; i < ARRAY_SIZE(made); i++)
		if (made[i])
			ns_own(made[i], owner);
	if (ipc && p == curproc)
		ipc_leave(p);
	mutex_lock(&tasklist);
#define SWAP(new, member) \
	if (new) { \
		__typeof__(new) _old = p->member; \
		p->member = new; \
		new = _old; \
	}
	if (user)
		cred_enter(&p->cred, user);
	SWAP(uts, uts_ns)
	SWAP(ipc, ipc_ns)
	SWAP(mnt, mnt_ns)
	SWAP(cgroup, cgroup_ns)
	SWAP(net, net_ns)
	SWAP(pid, pid_children)
	if (time) {
		SWAP(time, time_children)
		if (p != curproc)
			left = time_ns_enter(p);
	}
	mutex_unlock(&tasklist);
	r = 0;
fail: // what was not used, or is no more
	user_ns_put(user);
	uts_ns_put(uts);
	ipc_ns_put(ipc);
	mnt_ns_put(mnt);
	cgroup_ns_put(cgroup);
	net_ns_put(net);
	pid_ns_put(pid);
	time_ns_put(time);
	time_ns_put(left);
	return r;
}

// A namespace that came with directories of p's own is p's.
void fs_ns_settle(struct proc *p)
{
	struct mnt_ns *n;

	if (likely(!p->fs->mnt_ns) || p->fs->ref.n > 1)
		return;
	mutex_lock(&tasklist);
	n = p->mnt_ns;
	p->mnt_ns = p->fs->mnt_ns;
	p->fs->mnt_ns = NULL;
	mutex_unlock(&tasklist);
	mnt_ns_put(n);
}

// The caller's own root and working directory, shared with no other process.
static int own_fs(struct proc *p)
{
	struct fs_ctx *old = p->fs, *fs;

	if (old->ref.n == 1)
		return 0;
	fs = fs_ctx_copy(old);
	if (!fs)
		return -ENOMEM;
	mutex_lock(&tasklist);
	p->fs = fs;
	mutex_unlock(&tasklist);
	fs_ns_settle(p);
	fs_ctx_put(old);
	return 0;
}

void fs_own_settle(void)
{
	struct fs_ctx *old;

	mutex_lock(&tasklist);
	old = curproc->fs;
	curproc->fs = current->own_fs;
	current->own_fs = NULL;
	mutex_unlock(&tasklist);
	fs_ns_settle(curproc);
	fs_ctx_put(old);
}

void fs_own_drop(struct task *t)
{
	struct fs_ctx *fs;

	mutex_lock(&tasklist);
	fs = t->own_fs;
	t->own_fs = NULL;
	mutex_unlock(&tasklist);
	fs_ctx_put(fs);
}

// The calling thread's own directories, beside its process's.
static int own_fs_of_thread(void)
{
	struct fs_ctx *old = current->own_fs, *fs;

	if (old && old->ref.n == 1)
		return 0;
	fs = fs_ctx_copy(cur_fs());
	if (!fs)
		return -ENOMEM;
	mutex_lock(&tasklist);
	current->own_fs = fs;
	mutex_unlock(&tasklist);
	if (old)
		fs_ctx_put(old);
	return 0;
}

// The calling thread, which has directories of its own, goes to n, or (ERR_PTR) to a copy of its mounts, and leaves the others where they are.
static int mounts_of_thread(struct mnt_ns *n)
{
	struct fs_ctx *fs = current->own_fs;
	struct mnt_ns *old;

	if (IS_ERR(n)) {
		n = mnt_ns_copy(fs, cred()->user_ns);
		if (IS_ERR(n))
			return (int)PTR_ERR(n);
	} else {
		ref_get((struct ref *)n);
		mnt_ns_enter(n, fs);
	}
	mutex_lock(&tasklist);
	old = fs->mnt_ns;
	fs->mnt_ns = n;
	mutex_unlock(&tasklist);
	mnt_ns_put(old);
	return 0;
}

// The calling thread's own descriptor table.
static int own_files(void)
{
	struct fdtable *t;

	if (current->files->ref.n == 1)
		return 0;
	t = fdtable_copy(current->files);
	if (!t)
		return -ENOMEM;
	task_files_set(current, t);
	return 0;
}

// Is the caller the only thread? Those on their way out, which nobody who joined them sees any more, are waited for.
static bool alone_in(struct proc *p)
{
	struct task *t;
	bool others = false;

	if (p->nthreads > 1) {
		mutex_lock(&p->sig_lock);
		list_for_each(t, &p->threads, thread_link)
			others |= t != current && !__atomic_load_n(&t->exiting, __ATOMIC_SEQ_CST);
		mutex_unlock(&p->sig_lock);
		if (!others && WAIT_EVENT(&p->threads_wq, NO_DEADLINE, __atomic_load_n(&p->nthreads, __ATOMIC_RELAXED) == 1))
			return false;
	}
	return p->nthreads == 1;
}

long sys_unshare(u64 flags)
{
	const u64 known = NEW_NS | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
	struct proc *p = curproc;
	bool alone = alone_in(p);
	int r = 0;

	if (flags & ~known)
		return -EINVAL;
	if (flags & CLONE_NEWPID && p->pid_children)
		return -EINVAL; // one is waiting for its first process
	if (flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWUSER) && !alone)
		return -EINVAL;
	if (flags & (CLONE_SIGHAND | CLONE_VM) && (p->sighand || (flags & CLONE_VM && p->mm->others)))
		return -EINVAL;
	r = check_new(flags);
	if (alone && current->own_fs)
		fs_own_settle();
	if (!r && flags & (CLONE_FS | CLONE_NEWNS | CLONE_NEWUSER))
		r = alone ? own_fs(p) : own_fs_of_thread();
	if (!r && flags & CLONE_FILES)
		r = own_files();
	if (!r && flags & CLONE_SYSVSEM)
		undos_leave(p);
	if (!r && !alone && flags & CLONE_NEWNS)
		r = mounts_of_thread(ERR_PTR(-ENOENT));
	return r ? r : ns_unshare(p, flags & NEW_NS & (alone ? ~0ul : ~(u64)CLONE_NEWNS));
}

// --- /proc/PID/ns

static const struct {
	const char *name;
	u32 type;
} kinds[] = {{"cgroup", CLONE_NEWCGROUP}, {"ipc", CLONE_NEWIPC}, {"mnt", CLONE_NEWNS},	 {"net", CLONE_NEWNET},
	     {"pid", CLONE_NEWPID},	  {"time", CLONE_NEWTIME}, {"user", CLONE_NEWUSER}, {"uts", CLONE_NEWUTS}};

static const char *kind_name(u32 type)
{
	for (u32 i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].type == type)
			return kinds[i].name;
	return "?";
}

// A reference; NULL when the process has exited.
static struct ns *ns_get(struct proc *p, int tid, u32 type, bool children)
{
	struct ns *n = NULL;

	mutex_lock(&tasklist);
	if (p->mnt_ns) {
		switch (type) {
		case CLONE_NEWNS: n = (struct ns *)mnt_ns_at(p, tid); break;
		case CLONE_NEWUTS: n = (struct ns *)p->uts_ns; break;
		case CLONE_NEWIPC: n = &p->ipc_ns->ns; break;
		case CLONE_NEWUSER: n = user_ns_head(p->cred.user_ns); break;
		case CLONE_NEWNET: n = p->net_ns ? (struct ns *)p->net_ns : &first_net; break;
		case CLONE_NEWPID: n = children && p->pid_children ? p->pid_children : pid_ns_of(p->pid); break;
		case CLONE_NEWCGROUP: n = p->cgroup_ns ? p->cgroup_ns : &init_cgroup.ns; break;
		default: n = children && p->time_children ? p->time_children : p->time_ns ? p->time_ns : &first_time_ns;
		}
		ref_get(&n->ref);
	}
	mutex_unlock(&tasklist);
	return n;
}

// pid_for_children, time_for_children
static bool for_children(struct inode *ino) { return strchr(pnode_of(ino)->e->name, '_'); }

static u32 link_type(struct inode *ino)
{
	const char *name = pnode_of(ino)->e->name;

	for (u32 i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strncmp(name, kinds[i].name, strlen(kinds[i].name)))
			return kinds[i].type;
	return 0;
}

static int ns_readlink(struct inode *ino, char *buf, u32 n)
{
	struct proc *p = pnode_of(ino)->proc;
	struct ns *ns = remote_allowed(p) ? ns_get(p, pnode_of(ino)->tid, link_type(ino), for_children(ino)) : NULL;
	char text[40];
	int len;

	if (!ns)
		return remote_allowed(p) ? -ENOENT : -EACCES;
	len = snprintf(text, sizeof(text), "%s:[%lu]", kind_name(ns->type), ns->inum);
	ns_put(ns);
	len = min(len, (int)n);
	memcpy(buf, text, (size_t)len);
	return len;
}

static long ns_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct ns *n = f->inode->priv, *get = NULL;

	switch (cmd) {
	case NS_GET_NSTYPE: return (long)n->type;
	case NS_GET_OWNER_UID:
		if (n->type != CLONE_NEWUSER)
			return -EINVAL;
		return put_user(uid_out(user_ns_owner(n)), (u32 __user *)U(arg)) ? -EFAULT : 0;
	case NS_GET_USERNS:
		if (n->type != CLONE_NEWUSER) {
			get = user_ns_head(n->owner);
			break;
		}
		fallthrough; // the owner of one is its parent
	case NS_GET_PARENT:
		if (n->type != CLONE_NEWUSER)
			return n->type == CLONE_NEWPID ? -EOPNOTSUPP : -EINVAL;
		if (n == &init_user_ns)
			return -EPERM;
		get = user_ns_head(user_ns_parent(user_ns_of(n)));
		break;
	default: return -ENOTTY;
	}
	if (!user_ns_above(cred()->user_ns, user_ns_of(get)))
		return -EPERM; // above the caller's
	ref_get(&get->ref);
	f = ns_file(get);
	long fd = IS_ERR(f) ? PTR_ERR(f) : fd_alloc(f, 0, true);
	if (!IS_ERR(f) && fd < 0)
		file_put(f);
	return fd;
}

static const struct file_ops ns_fops = {.ioctl = ns_ioctl, .llseek = no_llseek};
static const struct inode_ops ns_iops = {0};

static struct file *ns_file(struct ns *n)
{
	struct inode *i = inode_new(nsfs, S_IFREG | 0444);
	struct file *f;
	char name[40];

	if (!i) {
		ns_put(n);
		return ERR_PTR(-ENOMEM);
	}
	i->priv = n;
	i->ino = n->inum;
	i->uid = i->gid = 0;
	i->iops = &ns_iops;
	i->fops = &ns_fops;
	f = file_alloc(&ns_fops, i, O_RDONLY, NULL);
	if (!IS_ERR_OR_NULL(f)) {
		snprintf(name, sizeof(name), "%s:[%lu]", kind_name(n->type), n->inum);
		f->path.dentry = d_anon(i, name);
		if (f->path.dentry) {
			f->path.mnt = anon_mnt;
			mount_get(anon_mnt);
		}
	}
	inode_put(i);
	return f ? f : ERR_PTR(-ENOMEM);
}

static struct file *ns_follow(struct inode *ino, struct dentry **d, struct mount **m)
{
	struct proc *p = pnode_of(ino)->proc;
	struct ns *ns;

	(void)d, (void)m;
	if (!remote_allowed(p))
		return ERR_PTR(-EACCES);
	ns = ns_get(p, pnode_of(ino)->tid, link_type(ino), for_children(ino));
	return ns ? ns_file(ns) : ERR_PTR(-ENOENT);
}

static const struct inode_ops ns_link_iops = {.readlink = ns_readlink, .follow = ns_follow};
#define NS(n) {.name = n, .mode = S_IFLNK | 0777, .iops = &ns_link_iops}
const struct pent proc_ns_table[] = {NS("cgroup"), NS("ipc"),	NS("mnt"),		 NS("net"),  NS("pid"), NS("pid_for_children"),
				     NS("time"),   NS("time_for_children"), NS("user"), NS("uts"), {0}};

bool is_ns_file(const struct inode *i) { return i->sb == nsfs; }

static void ns_evict(struct inode *i)
{
	if (i->priv)
		ns_put(i->priv);
}

int ns_init(void);
int ns_init(void)
{
	static const struct super_ops sops = {.evict = ns_evict};

	nsfs = super_new("nsfs", &sops, NSFS_MAGIC);
	return nsfs ? 0 : -ENOMEM;
}

// --- setns

// Users: the user namespace of the caller, or that which it enters in the same call.
static long may_enter(struct ns *n, const struct user_ns *users, bool alone)
{
	struct fs_ctx *own = current->own_fs;

	if (n->type == CLONE_NEWUSER) {
		if (user_ns_of(n) == cred()->user_ns || !alone)
			return -EINVAL;
		return ns_capable(user_ns_of(n), CAP_SYS_ADMIN) ? 0 : -EPERM;
	}
	if (!ns_capable(n->owner, CAP_SYS_ADMIN) || !ns_capable(users, CAP_SYS_ADMIN))
		return -EPERM;
	if (n->type == CLONE_NEWNS && !ns_capable(users, CAP_SYS_CHROOT))
		return -EPERM;
	if (n->type == CLONE_NEWNS && !alone)
		return own && own->ref.n == 1 ? 0 : -EINVAL;
	if (n->type == CLONE_NEWPID && !pid_ns_below(n))
		return -EINVAL;
	return n->type == CLONE_NEWTIME && curproc->nthreads > 1 ? -EUSERS : 0;
}

static void enter_user(struct user_ns *u)
{
	if (!user_ns_made(u, cred()))
		curproc->dumpable = false; // what it brings along is not for those who rule there
	cred_enter(&curproc->cred, u);
}

// Cannot fail: may_enter has said so.
static void enter(struct ns *n, bool alone)
{
	struct proc *p = curproc;
	struct ns *old = NULL, *plain = NULL, *kept = NULL, *gone = NULL;

	if (n->type == CLONE_NEWUSER) {
		enter_user(user_ns_of(n));
		return;
	}
	if (n->type == CLONE_NEWNS && !alone) {
		(void)mounts_of_thread((struct mnt_ns *)n); // which fails for a copy only
		return;
	}
	if (n->type == CLONE_NEWIPC)
		ipc_leave(p);
	mutex_lock(&tasklist);
	if (n->type == CLONE_NEWNS) {
		old = (struct ns *)p->mnt_ns;
		p->mnt_ns = (struct mnt_ns *)n;
	} else if (n->type == CLONE_NEWUTS) {
		old = (struct ns *)p->uts_ns;
		p->uts_ns = (struct uts_ns *)n;
	} else if (n->type == CLONE_NEWIPC) {
		old = &p->ipc_ns->ns;
		p->ipc_ns = container_of(n, struct ipc_ns, ns);
	} else if (n->type == CLONE_NEWPID) {
		plain = p->pid_children;
		p->pid_children = n == pid_ns_of(p->pid) ? NULL : n;
		kept = p->pid_children;
	} else if (n->type == CLONE_NEWCGROUP) {
		plain = p->cgroup_ns;
		p->cgroup_ns = n == &init_cgroup.ns ? NULL : n;
		kept = p->cgroup_ns;
	} else if (n->type == CLONE_NEWTIME) {
		plain = p->time_children;
		p->time_children = n;
		ref_get(&n->ref);
		kept = NULL;
		gone = time_ns_enter(p);
	} else if (n->type == CLONE_NEWNET) {
		plain = (struct ns *)p->net_ns;
		p->net_ns = n == &first_net ? NULL : (struct net_ns *)n;
		kept = p->net_ns ? n : NULL;
	}
	if (kept)
		ref_get(&kept->ref);
	if (old)
		ref_get(&n->ref);
	mutex_unlock(&tasklist);
	if (n->type == CLONE_NEWNS)
		mnt_ns_enter(p->mnt_ns, p->fs);
	if (old)
		ns_put(old);
	if (plain)
		ns_put(plain);
	time_ns_put(gone);
}

// Goes to all of them or, when one is not for the caller, to none. A user namespace is the first of the list.
static long enter_all(struct ns **list, u32 n)
{
	struct proc *p = curproc;
	const struct user_ns *users = cred()->user_ns;
	bool alone = alone_in(p);
	long r = 0;

	if (alone && current->own_fs)
		fs_own_settle();
	alone = alone && p->fs->ref.n == 1;
	for (u32 i = 0; i < n && !r; i++) {
		r = may_enter(list[i], users, alone);
		if (list[i]->type == CLONE_NEWUSER)
			users = user_ns_of(list[i]);
	}
	for (u32 i = 0; i < n && !r; i++)
		enter(list[i], alone);
	return r;
}

// All that a pidfd's process has of the kinds asked for.
static long enter_of(struct proc *p, u32 types)
{
	struct ns *list[ARRAY_SIZE(kinds)];
	u32 n = 0;
	long r = 0;

	if (!types || types & ~(u32)NEW_NS)
		return -EINVAL;
	if (!remote_allowed(p))
		return -EPERM;
	for (u32 i = 0; i <= ARRAY_SIZE(kinds) && !r; i++) {
		u32 type = !i ? CLONE_NEWUSER : kinds[i - 1].type;
		if (!(types & type))
			continue;
		types &= ~type;
		list[n] = ns_get(p, 0, type, false);
		if (list[n])
			n++;
		else
			r = -ESRCH;
	}
	if (!r)
		r = enter_all(list, n);
	while (n)
		ns_put(list[--n]);
	return r;
}

long sys_setns(int fd, int type)
{
	struct file *f = fd_get(fd);
	struct proc *p;
	struct ns *n;
	long r = -EINVAL;

	if (!f)
		return -EBADF;
	p = pidfd_proc(f);
	if (p) {
		r = enter_of(p, (u32)type);
	} else if (f->inode && f->inode->sb == nsfs) {
		n = f->inode->priv;
		r = type && (u32)type != n->type ? -EINVAL : enter_all(&n, 1);
	}
	file_put(f);
	return r;
}
