// SPDX-License-Identifier: Apache-2.0
// /proc/PID and /proc/PID/task/TID: stat, status, links and the rest of what describes a process.
// Locks: tasklist while fields of another process are read.
#include "kernel/fs/proc_more.h"
#include "kernel/fs/proc_usage.h"
#include "kernel/include/cgroup.h"
#include "kernel/include/ns.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/task/internal.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/seccomp.h"
#include <linux/capability.h>

// The task that an entry is about: the named thread, or the leader, or any thread that is left. Reference or NULL.
static struct task *node_task(struct pnode *n)
{
	struct task *t = task_find(n->tid ? n->tid : n->proc->pid);

	if (t && t->proc != n->proc) {
		task_put(t);
		t = NULL;
	}
	if (!t && !n->tid) {
		mutex_lock(&tasklist);
		if (!list_empty(&n->proc->threads)) {
			t = list_first(&n->proc->threads, struct task, thread_link);
			ref_get(&t->ref);
		}
		mutex_unlock(&tasklist);
	}
	return t;
}

static void name_of(struct pnode *n, char comm[16])
{
	struct task *t = node_task(n);

	strlcpy(comm, t ? t->comm : "-", 16);
	if (t)
		task_put(t);
}

static char state_of(struct pnode *n)
{
	struct proc *p = n->proc;
	struct task *t;
	char c = 'S';

	if (p->state >= PROC_ZOMBIE)
		return p->state == PROC_ZOMBIE ? 'Z' : 'X';
	t = node_task(n);
	if (t) {
		c = ptraced(t) && t->pt->stopped ? 't' : p->state == PROC_STOPPED ? 'T' : t->sleeping ? 'S' : 'R';
		task_put(t);
	}
	return c;
}

struct sizes { // pages
	u64 total, peak, locked, text, data, stack, lib;
	uptr start_code, end_code, start_data, end_data, brk_start, stack_top;
	bool thp_off;
};

static void sizes_of(struct proc *p, struct sizes *s)
{
	struct mm *mm;

	memset(s, 0, sizeof(*s));
	if (proc_mm_get(p, &mm))
		return;
	mutex_lock(&mm->lock);
	for (u32 i = 0; i < mm->n; i++) {
		struct vma *v = &mm->vmas[i];
		u64 pages = (v->end - v->start) >> PAGE_SHIFT;

		if (v->flags & (VMA_TRAMP | VMA_GUARD))
			continue;
		if (v->flags & VMA_STACK)
			s->stack += pages;
		if (v->prot & PROT_EXEC && !(v->flags & VMA_VDSO)) {
			if (v->file && p->exe && v->file->inode == p->exe->inode) {
				s->text += pages;
				s->start_code = s->start_code ? s->start_code : v->start;
				s->end_code = v->end;
			} else {
				s->lib += pages;
			}
		}
	}
	s->brk_start = mm->brk_start;
	s->total = mm->total_pages;
	s->data = mm->data_pages;
	s->peak = mm->peak_pages;
	s->thp_off = mm->thp_off;
	s->locked = mm->locked_pages;
	mutex_unlock(&mm->lock);
	mm_put(mm);
	s->stack_top = p->stack_top;
}

static void sigsets_of(struct proc *p, sigset *ignored, sigset *caught)
{
	*ignored = *caught = 0;
	mutex_lock(&p->sig_lock); // a table that is shared goes away under it
	for (int s = 1; s <= NSIG; s++) {
		void __user *h = p->action[s].handler;

		if (h == (void __user *)SIG_IGN)
			*ignored |= SIGBIT(s);
		else if (h != (void __user *)SIG_DFL)
			*caught |= SIGBIT(s);
	}
	mutex_unlock(&p->sig_lock);
}

static int pid_stat(struct pout *o, struct pnode *n)
{
	struct proc *p = n->proc;
	struct task *t = node_task(n);
	u64 utime = 0, stime = 0, blocked = t ? t->blocked : 0, pending;
	sigset ignored, caught;
	struct pf_usage u;
	struct sizes s;
	int tpgid = -1, ppid, sid;
	u32 tty = 0;
	char comm[16];

	name_of(n, comm);
	sizes_of(p, &s);
	sigsets_of(p, &ignored, &caught);
	pending = p->pending.set | (t ? t->pending.set : 0);
	proc_usage(p, n->tid ? t : NULL, &u);
	utime = u.utime_ns;
	stime = u.stime_ns;
	mutex_lock(&tasklist);
	if (!n->tid && !(utime + stime)) // finer than the host's ticks, and the only figure of a zombie
		proc_cpu_ns_locked(p, &utime, &stime);
	ppid = p->parent ? pid_out(p->parent->pid) : 0;
	sid = p->session ? pid_out(p->session->sid) : 0;
	if (p->session && p->session->tty)
		tty_stat_of(p->session->tty, &tty, &tpgid);
	tpgid = tpgid > 0 ? pid_out(tpgid) : tpgid;
	mutex_unlock(&tasklist);

	pout(o, "%d (%s) %c %d %d %d %d %d %d %lu 0 %lu 0 ", pid_out(n->tid ? n->tid : p->pid), comm, state_of(n), ppid,
	     pid_out(p->pgid), sid, tty, tpgid, p->execed ? 0x400000 : 0x400040, u.minflt, u.majflt);
	pout(o, "%lu %lu %lu %lu %d %d %u 0 %lu ", utime / USER_HZ_NS, stime / USER_HZ_NS, p->cutime_ns / USER_HZ_NS,
	     p->cstime_ns / USER_HZ_NS, t ? sched_prio(t) : 20 + (int)p->nice, (int)p->nice, p->nthreads,
	     ((t && n->tid ? t->start_ns : p->start_ns) + (u64)time_offset(CLOCK_BOOTTIME)) / USER_HZ_NS);
	pout(o, "%lu %lu %lu %lu %lu %lu 0 0 ", s.total << PAGE_SHIFT, u.anon + u.shared, p->rlim[RLIMIT_RSS].cur,
	     s.start_code, s.end_code, s.stack_top);
	pout(o, "%lu %lu %lu %lu 0 0 0 %d %d %u %d 0 0 0 ", pending, blocked, ignored, caught, p->exit_signal, 0, t ? t->rt_prio : 0,
	     t ? sched_class(t) : 0);
	pout(o, "%lu %lu %lu %lu %lu %lu %lu %d\n", s.start_data, s.end_data, s.brk_start, p->arg_start, p->arg_end,
	     p->env_start, p->env_end, p->state == PROC_ZOMBIE ? p->exit_code : 0);
	if (t)
		task_put(t);
	return 0;
}

static int pid_statm(struct pout *o, struct pnode *n)
{
	struct pf_usage u;
	struct sizes s;

	sizes_of(n->proc, &s);
	proc_usage(n->proc, NULL, &u);
	pout(o, "%lu %lu %lu %lu 0 %lu 0\n", s.total, u.anon + u.shared, u.shared, s.text, s.data + s.stack);
	return 0;
}

static const char *state_word(char c)
{
	return c == 'R'	  ? "R (running)"
	       : c == 'S' ? "S (sleeping)"
	       : c == 'T' ? "T (stopped)"
	       : c == 't' ? "t (tracing stop)"
	       : c == 'Z' ? "Z (zombie)"
			  : "X (dead)";
}

// "0-3", and the mask as /proc prints it.
static void cpus(struct pout *o, u64 mask)
{
	u32 n = pf_ncpus();
	bool first = true;

	mask &= n >= 64 ? U64_MAX : (1ul << n) - 1;
	pout(o, "Cpus_allowed:\t%lx\nCpus_allowed_list:\t", mask);
	for (u32 i = 0; i < 64; i++) {
		u32 from = i;

		if (!(mask >> i & 1))
			continue;
		while (i + 1 < 64 && (mask >> (i + 1) & 1))
			i++;
		pout(o, from == i ? "%s%u" : "%s%u-%u", first ? "" : ",", from, i);
		first = false;
	}
	pout(o, "\n");
}

// A number as the reader sees it and, when that differs, as the process itself does.
static void ns_number(struct pout *o, const char *name, int pid, int of)
{
	int seen = pid_out(pid);

	if (of < PID_MAX || seen < PID_MAX)
		pout(o, "%s:\t%d\n", name, seen);
	else
		pout(o, "%s:\t%d\t%d\n", name, seen, pid / PID_MAX == of / PID_MAX ? pid % PID_MAX : 0);
}

static int pid_status(struct pout *o, struct pnode *n)
{
	struct proc *p = n->proc;
	struct cred *c = &p->cred;
	struct task *t = node_task(n);
	sigset ignored, caught;
	struct pf_usage u;
	struct sizes s;
	u64 queued;
	char comm[16];
	int ppid, sid, umask, tracer;
	u32 fds;

	name_of(n, comm);
	mutex_lock(&tasklist);
	ppid = p->parent ? pid_out(p->parent->pid) : 0;
	sid = p->session ? p->session->sid : 0;
	umask = p->fs ? (int)p->fs->umask : -1;
	fds = t && t->files ? t->files->size : 0;
	tracer = t && ptraced(t) ? t->pt->tracer->tid : 0;
	mutex_unlock(&tasklist);
	pout(o, "Name:\t%s\n", comm);
	if (umask >= 0)
		pout(o, "Umask:\t%04o\n", umask);
	pout(o, "State:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n", state_word(state_of(n)),
	     pid_out(p->pid), pid_out(n->tid ? n->tid : p->pid), ppid, tracer ? pid_out(tracer) : 0);
	pout(o, "Uid:\t%u\t%u\t%u\t%u\n", uid_out(c->uid), uid_out(c->euid), uid_out(c->suid), uid_out(c->fsuid));
	pout(o, "Gid:\t%u\t%u\t%u\t%u\n", gid_out(c->gid), gid_out(c->egid), gid_out(c->sgid), gid_out(c->fsgid));
	pout(o, "FDSize:\t%u\nGroups:\t", fds);
	for (u32 i = 0; i < c->ngroups; i++)
		pout(o, "%u ", gid_out(c->groups[i]));
	pout(o, "\n");
	ns_number(o, "NStgid", p->pid, p->pid);
	ns_number(o, "NSpid", n->tid ? n->tid : p->pid, p->pid);
	ns_number(o, "NSpgid", p->pgid, p->pid);
	ns_number(o, "NSsid", sid, p->pid);
	sizes_of(p, &s);
	proc_usage(p, n->tid ? t : NULL, &u);
	if (s.total) {
		pout(o, "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmPin:\t%8d kB\n", s.peak * 4,
		     s.total * 4, s.locked * 4, 0);
		pout(o, "VmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\nRssAnon:\t%8lu kB\nRssFile:\t%8lu kB\nRssShmem:\t%8d kB\n", u.peak * 4,
		     (u.anon + u.shared) * 4, u.anon * 4, u.shared * 4, 0);
		pout(o,
		     "VmData:\t%8lu kB\nVmStk:\t%8lu kB\nVmExe:\t%8lu kB\nVmLib:\t%8lu kB\n"
		     "VmPTE:\t%8d kB\nVmSwap:\t%8d kB\nHugetlbPages:\t%8d kB\nCoreDumping:\t0\nTHP_enabled:\t%d\n",
		     s.data * 4, s.stack * 4, s.text * 4, s.lib * 4, 0, 0, 0, !s.thp_off);
	}
	mutex_lock(&p->sig_lock);
	queued = signal_queued(p);
	mutex_unlock(&p->sig_lock);
	sigsets_of(p, &ignored, &caught);
	pout(o,
	     "Threads:\t%u\nSigQ:\t%lu/"
	     "%lu\nSigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n",
	     p->nthreads, queued, p->rlim[RLIMIT_SIGPENDING].cur, t ? t->pending.set : 0, p->pending.set, t ? t->blocked : 0,
	     ignored, caught);
	pout(o, "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:\t%016lx\n", c->cap_inh,
	     c->cap_perm, c->cap_eff, c->cap_bset, c->cap_amb);
	pout(o, "NoNewPrivs:\t%d\nSeccomp:\t%u\nSeccomp_filters:\t%u\n", c->no_new_privs, t ? t->seccomp_mode : 0,
	     t ? seccomp_filters(t) : 0);
	cpus(o, t ? t->cpu_mask : U64_MAX);
	pout(o,
	     "Mems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n",
	     u.nvcsw, u.nivcsw);
	if (t)
		task_put(t);
	return 0;
}

static int pid_comm(struct pout *o, struct pnode *n)
{
	char comm[16];

	name_of(n, comm);
	pout(o, "%s\n", comm);
	return 0;
}

static ssize_t pid_comm_write(struct pnode *n, char *buf, size_t len)
{
	struct task *t;

	if (n->proc != curproc)
		return -EINVAL;
	t = node_task(n);
	if (!t)
		return -ESRCH;
	buf[min(len, 15ul)] = 0;
	if (strchr(buf, '\n'))
		*strchr(buf, '\n') = 0;
	strlcpy(t->comm, buf, sizeof(t->comm));
	task_put(t);
	return len;
}

bool proc_may_inspect(struct proc *p)
{
	return remote_allowed(p) || (p->dumpable && cred()->fsuid == p->cred.euid && cred()->user_ns == p->cred.user_ns);
}

static int pid_cmdline(struct pout *o, struct pnode *n)
{
	mutex_lock(&tasklist);
	if (n->proc->cmdline && n->proc->state < PROC_ZOMBIE)
		pout_raw(o, n->proc->cmdline, n->proc->cmdline_len);
	mutex_unlock(&tasklist);
	return 0;
}

static int pid_environ(struct pout *o, struct pnode *n)
{
	if (!proc_may_inspect(n->proc))
		return -EACCES;
	mutex_lock(&tasklist);
	if (n->proc->environ && n->proc->state < PROC_ZOMBIE)
		pout_raw(o, n->proc->environ, n->proc->environ_len);
	mutex_unlock(&tasklist);
	return 0;
}

static int pid_auxv(struct pout *o, struct pnode *n)
{
	u32 i = 0;

	if (!proc_may_inspect(n->proc))
		return -EACCES;
	while (i + 2 < ARRAY_SIZE(n->proc->auxv_copy) && n->proc->auxv_copy[i])
		i += 2;
	pout_raw(o, n->proc->auxv_copy, (i + 2) * sizeof(uptr));
	return 0;
}

static void limit_value(struct pout *o, u64 v)
{
	if (v == RLIM64_INFINITY)
		pout(o, "%-20s ", "unlimited");
	else
		pout(o, "%-20lu ", v);
}

static int pid_limits(struct pout *o, struct pnode *n)
{
	static const struct {
		const char *name, *unit;
	} l[RLIM_NLIMITS] = {
		[RLIMIT_CPU] = {"Max cpu time", "seconds"},
		[RLIMIT_FSIZE] = {"Max file size", "bytes"},
		[RLIMIT_DATA] = {"Max data size", "bytes"},
		[RLIMIT_STACK] = {"Max stack size", "bytes"},
		[RLIMIT_CORE] = {"Max core file size", "bytes"},
		[RLIMIT_RSS] = {"Max resident set", "bytes"},
		[RLIMIT_NPROC] = {"Max processes", "processes"},
		[RLIMIT_NOFILE] = {"Max open files", "files"},
		[RLIMIT_MEMLOCK] = {"Max locked memory", "bytes"},
		[RLIMIT_AS] = {"Max address space", "bytes"},
		[RLIMIT_LOCKS] = {"Max file locks", "locks"},
		[RLIMIT_SIGPENDING] = {"Max pending signals", "signals"},
		[RLIMIT_MSGQUEUE] = {"Max msgqueue size", "bytes"},
		[RLIMIT_NICE] = {"Max nice priority", ""},
		[RLIMIT_RTPRIO] = {"Max realtime priority", ""},
		[RLIMIT_RTTIME] = {"Max realtime timeout", "us"},
	};

	pout(o, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (u32 i = 0; i < RLIM_NLIMITS; i++) {
		pout(o, "%-25s ", l[i].name);
		limit_value(o, n->proc->rlim[i].cur);
		limit_value(o, n->proc->rlim[i].max);
		pout(o, "%-10s\n", l[i].unit);
	}
	return 0;
}

static int mounts_text(struct pout *o, struct pnode *n, bool info)
{
	struct mnt_ns *ns = mnt_ns_of(n->proc, n->tid);
	char *line = kmalloc(MOUNT_LINE);
	int id = 0, len;

	if (!line) {
		mnt_ns_put(ns);
		return -ENOMEM;
	}
	while (ns && (len = mounts_line(ns, &id, line, MOUNT_LINE, info)) > 0)
		pout_raw(o, line, len);
	mnt_ns_put(ns);
	kfree(line);
	return 0;
}

static int pid_mounts(struct pout *o, struct pnode *n)
{
	return mounts_text(o, n, false);
}

static int pid_mountinfo(struct pout *o, struct pnode *n)
{
	return mounts_text(o, n, true);
}

static int oom_adj(struct pout *o, struct pnode *n)
{
	pout(o, "%d\n", n->proc->oom_score_adj);
	return 0;
}

static ssize_t oom_adj_write(struct pnode *n, char *buf, size_t len)
{
	bool neg = buf[0] == '-';
	const char *end;
	u64 v;

	if (kstrtou64(buf + neg, &end, &v) || (*end && *end != '\n') || v > 1000)
		return -EINVAL;
	if (neg && -(int)v < n->proc->oom_score_adj && !capable(CAP_SYS_RESOURCE))
		return -EACCES;
	n->proc->oom_score_adj = neg ? -(int)v : (int)v;
	return len;
}

// --- links

enum { LINK_EXE, LINK_CWD, LINK_ROOT };

static int link_path(struct pnode *n, int which, struct path *out)
{
	struct proc *p = n->proc;
	struct task *t = node_task(n);
	struct fs_ctx *fs;
	int r = -ENOENT;

	mutex_lock(&tasklist);
	fs = t && t->own_fs ? t->own_fs : p->fs;
	if (which == LINK_EXE && p->exe) {
		*out = p->exe->path;
		path_get(out);
		r = 0;
	} else if (which != LINK_EXE && fs) {
		mutex_lock(&fs->lock);
		*out = which == LINK_CWD ? fs->cwd : fs->root;
		path_get(out);
		mutex_unlock(&fs->lock);
		r = 0;
	}
	mutex_unlock(&tasklist);
	if (t)
		task_put(t);
	return r;
}

static int read_link(struct inode *ino, char *buf, u32 n, int which)
{
	char *tmp, *name;
	struct path p;
	int r;

	if (!proc_may_inspect(pnode_of(ino)->proc))
		return -EACCES;
	tmp = kmalloc(PATH_MAX);
	if (!tmp)
		return -ENOMEM;
	r = link_path(pnode_of(ino), which, &p);
	if (!r) {
		name = path_name(&p, tmp, PATH_MAX);
		r = IS_ERR(name) ? (int)PTR_ERR(name) : (int)min((size_t)n, strlen(name));
		if (r > 0)
			memcpy(buf, name, r);
		path_put(&p);
	}
	kfree(tmp);
	return r;
}

static struct file *follow(struct inode *ino, struct dentry **d, struct mount **m, int which)
{
	struct path p;
	int r;

	if (!proc_may_inspect(pnode_of(ino)->proc))
		return ERR_PTR(-EACCES);
	r = link_path(pnode_of(ino), which, &p);
	if (r)
		return ERR_PTR(r);
	*d = p.dentry;
	*m = p.mnt;
	return NULL;
}

#define LINK(name, which) \
	static int name##_readlink(struct inode *i, char *b, u32 n) { return read_link(i, b, n, which); } \
	static struct file *name##_follow(struct inode *i, struct dentry **d, struct mount **m) \
	{ \
		return follow(i, d, m, which); \
	} \
	static const struct inode_ops name##_iops = {.readlink = name##_readlink, .follow = name##_follow}
LINK(exe, LINK_EXE);
LINK(cwd, LINK_CWD);
LINK(root, LINK_ROOT);

// --- the directories

#define TXT(n, m, f) \
	{ \
		.name = n, .mode = S_IFREG | m, .text = f \
	}
#define FIX(n, m, s) \
	{ \
		.name = n, .mode = S_IFREG | m, .fixed = s \
	}
#define COMMON \
	TXT("stat", 0444, pid_stat), TXT("statm", 0444, pid_statm), TXT("status", 0444, pid_status), \
		TXT("maps", 0444, proc_maps), TXT("smaps", 0444, proc_smaps), \
		TXT("smaps_rollup", 0444, proc_smaps_rollup), TXT("cmdline", 0444, pid_cmdline), \
		{.name = "comm", .mode = S_IFREG | 0644, .text = pid_comm, .write = pid_comm_write}, \
		TXT("environ", 0400, pid_environ), TXT("auxv", 0400, pid_auxv), TXT("limits", 0444, pid_limits), \
		TXT("mounts", 0444, pid_mounts), TXT("mountinfo", 0444, pid_mountinfo), \
		{.name = "mem", .mode = S_IFREG | 0600, .fops = &proc_mem_fops}, \
		{.name = "exe", .mode = S_IFLNK | 0777, .iops = &exe_iops}, \
		{.name = "cwd", .mode = S_IFLNK | 0777, .iops = &cwd_iops}, \
		{.name = "root", .mode = S_IFLNK | 0777, .iops = &root_iops}, \
		{.name = "fd", .mode = S_IFDIR | 0500, .iops = &proc_fd_iops, .fops = &proc_fd_fops}, \
		{.name = "fdinfo", .mode = S_IFDIR | 0555, .iops = &proc_fdinfo_iops, .fops = &proc_fdinfo_fops}, \
		{.name = "net", .mode = S_IFDIR | 0555, .iops = &proc_net_iops, .fops = &proc_net_fops}, \
		{.name = "oom_score_adj", .mode = S_IFREG | 0644, .text = oom_adj, .write = oom_adj_write}, \
		PROC_MORE, TXT("cgroup", 0444, pid_cgroup), \
		TXT("personality", 0400, proc_personality), TXT("wchan", 0444, pid_wchan), TXT("syscall", 0400, pid_syscall), \
		{.name = "uid_map", .mode = S_IFREG | 0644, .text = ns_uid_map, .write = ns_uid_map_write, .opener = true}, \
		{.name = "gid_map", .mode = S_IFREG | 0644, .text = ns_gid_map, .write = ns_gid_map_write, .opener = true}, \
		{.name = "projid_map", .mode = S_IFREG | 0644, .text = ns_projid_map, .write = ns_projid_map_write, .opener = true}, \
		{.name = "setgroups", .mode = S_IFREG | 0644, .text = ns_setgroups, .write = ns_setgroups_write, .opener = true}

static int pid_cgroup(struct pout *o, struct pnode *n)
{
	char *buf = kmalloc(PATH_MAX);

	if (!buf)
		return -ENOMEM;
	mutex_lock(&tasklist);
	struct cgroup *g = cgroup_of(n->proc);
	pout(o, "0::%s%s\n", cgroup_path(g, buf, PATH_MAX), g->dead ? " (deleted)" : "");
	mutex_unlock(&tasklist);
	kfree(buf);
	return 0;
}

// The system call that a sleeping task is in.
static int pid_syscall(struct pout *o, struct pnode *n)
{
	struct task *t;
	struct regs r;
	bool running;

	if (!proc_may_inspect(n->proc))
		return -EPERM;
	t = node_task(n);
	if (!t)
		return -ESRCH;
	mutex_lock(&tasklist);
	running = t->dead || !t->host || !t->sleeping;
	if (!running)
		r = *t->regs;
	mutex_unlock(&tasklist);
	task_put(t);
	if (running)
		pout(o, "running\n");
	else if (r.orig_rax == U64_MAX)
		pout(o, "-1 0x%lx 0x%lx\n", r.rsp, r.rip);
	else
		pout(o, "%ld 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx\n", (s64)r.orig_rax, r.rdi, r.rsi, r.rdx, r.r10, r.r8,
		     r.r9, r.rsp, r.rip);
	return 0;
}

static int pid_wchan(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "0");
	return 0;
}

static const struct pent tid_table[] = {COMMON, TXT("children", 0444, proc_children),
	{.name = "ns", .mode = S_IFDIR | 0511, .dir = proc_ns_table}, {0}};
static const struct pent tid_dir = {.name = "tid", .mode = S_IFDIR | 0555, .dir = tid_table};

static int task_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct pnode *n = pnode_of(dir);
	int tid = proc_number(name, len);
	struct task *t;
	bool mine;

	tid = pid_in(tid);
	t = tid > 0 ? task_find(tid) : NULL;
	mine = t && t->proc == n->proc;

	if (t)
		task_put(t);
	if (!mine)
		return -ENOENT;
	*out = proc_inode(dir->sb, &tid_dir, n->proc, tid, -1);
	return *out ? 0 : -ENOMEM;
}

// Smallest tid >= from of a live thread, or -1.
static int next_tid(struct proc *p, int from)
{
	struct task *t;
	int best = -1;

	mutex_lock(&tasklist);
	mutex_lock(&p->sig_lock);
	list_for_each (t, &p->threads, thread_link) {
		int tid = pid_out(t->tid);
		if (tid >= from && (best < 0 || tid < best))
			best = tid;
	}
	mutex_unlock(&p->sig_lock);
	mutex_unlock(&tasklist);
	return best;
}

static int task_readdir(struct file *f, struct dir_ctx *c)
{
	struct proc *p = pnode_of(f->inode)->proc;
	char name[12];
	int tid;

	for (int from = c->pos > 2 ? (int)c->pos - 2 : 1; (tid = next_tid(p, from)) >= 0; from = tid + 1) {
		int len = snprintf(name, sizeof(name), "%d", tid);

		if (!c->emit(c, name, len, f->inode->ino + tid, S_IFDIR >> 12, tid + 3))
			break;
	}
	return 0;
}

static const struct inode_ops task_iops = {.lookup = task_lookup, .no_cache = true};
static const struct file_ops task_fops = {.readdir = task_readdir, .llseek = proc_dir_llseek};
static const struct pent pid_table[] = {
	COMMON,
	{.name = "task", .mode = S_IFDIR | 0555, .iops = &task_iops, .fops = &task_fops},
	{.name = "ns", .mode = S_IFDIR | 0511, .dir = proc_ns_table},
	TXT("timers", 0444, proc_timers),
	{.name = "timens_offsets", .mode = S_IFREG | 0644, .text = time_offsets, .write = time_offsets_write, .opener = true},
	{0},
};
const struct pent proc_pid_dir = {.name = "pid", .mode = S_IFDIR | 0555, .dir = pid_table};

struct proc *proc_dir_process(const struct file *f)
{
	if (f->flags & O_PATH || f->inode->iops != &proc_dir_iops || pnode_of(f->inode)->e != &proc_pid_dir)
		return NULL;
	return pnode_of(f->inode)->proc;
}
