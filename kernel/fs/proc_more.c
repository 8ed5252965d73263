// SPDX-License-Identifier: Apache-2.0
// The smaller files of /proc/PID and /proc/PID/task/TID. Locks: tasklist while fields of another process are read.
#include "kernel/fs/proc_more.h"
#include "kernel/fs/proc_usage.h"
#include "kernel/include/ns.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/oom.h"
#include "kernel/task/internal.h"
#include <linux/capability.h>

// The named thread, or the leader. Reference or NULL.
static struct task *task_of(struct pnode *n)
{
	struct task *t = task_find(n->tid ? n->tid : n->proc->pid);

	if (t && t->proc != n->proc) {
		task_put(t);
		t = NULL;
	}
	return t;
}

int proc_personality(struct pout *o, struct pnode *n)
{
	pout(o, "%08x\n", n->proc->personality);
	return 0;
}

int proc_oom_score(struct pout *o, struct pnode *n)
{
	struct pf_usage u;

	if (pf_usage(n->proc, NULL, &u))
		memset(&u, 0, sizeof(u));
	pout(o, "%u\n", oom_score(n->proc, &u));
	return 0;
}

// The old scale: -17 (never) to 15.
int proc_oom_adj(struct pout *o, struct pnode *n)
{
	int a = n->proc->oom_score_adj;

	pout(o, "%d\n", a == 1000 ? 15 : a * 17 / 1000);
	return 0;
}

ssize_t proc_oom_adj_write(struct pnode *n, char *buf, size_t len)
{
	bool neg = buf[0] == '-';
	const char *end;
	int adj;
	u64 v;

	if (kstrtou64(buf + neg, &end, &v) || (*end && *end != '\n') || v > (neg ? 17 : 15))
		return -EINVAL;
	adj = neg ? -(int)v * 1000 / 17 : v == 15 ? 1000 : (int)v * 1000 / 17;
	if (adj < n->proc->oom_score_adj && !capable(CAP_SYS_RESOURCE))
		return -EACCES;
	n->proc->oom_score_adj = adj;
	return (ssize_t)len;
}

// Bytes are not counted: the figures stay 0, as with task accounting off.
int proc_io(struct pout *o, struct pnode *n)
{
	if (!proc_may_inspect(n->proc))
		return -EACCES;
	pout(o, "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n");
	return 0;
}

// The kernel's own frames are nobody's business.
int proc_stack(struct pout *o, struct pnode *n)
{
	(void)o;
	(void)n;
	return capable(CAP_SYS_ADMIN) ? 0 : -EACCES;
}

int proc_sched(struct pout *o, struct pnode *n)
{
	struct task *t = task_of(n);
	struct pf_usage u;

	proc_usage(n->proc, t, &u);
	pout(o, "%s (%d, #threads: %u)\n", t ? t->comm : "-", n->tid ? n->tid : n->proc->pid, n->proc->nthreads);
	pout(o, "-------------------------------------------------------------------\n");
	pout(o, "%-45s:%22lu.%06lu\n", "se.exec_start", ktime_mono() / 1000000, ktime_mono() % 1000000);
	pout(o, "%-45s:%22lu.%06lu\n", "se.sum_exec_runtime", (u.utime_ns + u.stime_ns) / 1000000, (u.utime_ns + u.stime_ns) % 1000000);
	pout(o, "%-45s:%29lu\n%-45s:%29lu\n%-45s:%29lu\n", "nr_switches", u.nvcsw + u.nivcsw, "nr_voluntary_switches", u.nvcsw,
	     "nr_involuntary_switches", u.nivcsw);
	pout(o, "%-45s:%29d\n%-45s:%29d\n", "policy", t ? sched_class(t) : 0, "prio",
	     t ? 100 + sched_prio(t) : 120 + (int)n->proc->nice);
	if (t)
		task_put(t);
	return 0;
}

int proc_schedstat(struct pout *o, struct pnode *n)
{
	struct task *t = task_of(n);
	struct pf_usage u;

	proc_usage(n->proc, t, &u);
	pout(o, "%lu 0 %lu\n", u.utime_ns + u.stime_ns, u.nvcsw + u.nivcsw);
	if (t)
		task_put(t);
	return 0;
}

static ssize_t number(const char *buf, size_t len, u32 base, u64 *v)
{
	*v = 0;
	if (base == 16 && buf[0] == '0' && (buf[1] == 'x' || buf[1] == 'X'))
		buf += 2;
	if (!*buf || *buf == '\n')
		return -EINVAL;
	for (; *buf && *buf != '\n'; buf++) {
		u32 d = *buf <= '9' ? (u32)(*buf - '0') : (u32)((*buf | 32) - 'a' + 10);

		if (*buf < '0' || d >= base)
			return -EINVAL;
		*v = *v * base + d;
	}
	return (ssize_t)len;
}

int proc_dump_filter(struct pout *o, struct pnode *n)
{
	pout(o, "%08x\n", n->proc->dump_filter ^ 0x33);
	return 0;
}

ssize_t proc_dump_filter_write(struct pnode *n, char *buf, size_t len)
{
	bool hex = buf[0] == '0' && (buf[1] | 32) == 'x';
	u64 v;
	ssize_t r = number(buf, len, hex ? 16 : 10, &v);

	if (r > 0)
		n->proc->dump_filter = ((u32)v & 0x1ff) ^ 0x33;
	return r;
}

// Marks of use are not kept, so there is nothing to clear; 5 forgets the peak.
ssize_t proc_clear_refs(struct pnode *n, char *buf, size_t len)
{
	struct mm *mm;
	u64 v;
	ssize_t r = number(buf, len, 10, &v);

	if (r < 0 || v < 1 || v > 5)
		return -EINVAL;
	if (v == 5 && !proc_mm_get(n->proc, &mm)) {
		mutex_lock(&mm->lock);
		mm->peak_pages = mm->total_pages;
		mutex_unlock(&mm->lock);
		mm_put(mm);
	}
	return r;
}

int proc_slack(struct pout *o, struct pnode *n)
{
	struct task *t = task_of(n);
	int r = 0;

	if (!t)
		return -ESRCH;
	if (t != current && !capable(CAP_SYS_NICE))
		r = -EPERM;
	else
		pout(o, "%lu\n", t->timer_slack_ns ? t->timer_slack_ns : 50000ul);
	task_put(t);
	return r;
}

ssize_t proc_slack_write(struct pnode *n, char *buf, size_t len)
{
	struct task *t = task_of(n);
	u64 v;
	ssize_t r = number(buf, len, 10, &v);

	if (!t)
		return -ESRCH;
	if (t != current && !capable(CAP_SYS_NICE))
		r = -EPERM;
	if (r > 0)
		t->timer_slack_ns = v ? v : t->timer_slack_first;
	task_put(t);
	return r;
}

// Who logged in to what became this thread, and the number of that login: kept and inherited for whoever asks (PAM's pam_loginuid insists); there is no
// audit. Ids are the kernel's; without line ends, as Linux.
int proc_loginuid(struct pout *o, struct pnode *n)
{
	struct task *t = task_of(n);
	u32 uid;

	if (!t)
		return -ESRCH;
	uid = ~t->login_uid;
	pout(o, "%u", uid != U32_MAX && id_mapped(cred()->user_ns, false, uid) ? uid_out(uid) : U32_MAX);
	task_put(t);
	return 0;
}

int proc_sessionid(struct pout *o, struct pnode *n)
{
	struct task *t = task_of(n);

	if (!t)
		return -ESRCH;
	pout(o, "%u", ~t->login_session);
	task_put(t);
	return 0;
}

// A thread sets its own: once, then with CAP_AUDIT_CONTROL only.
ssize_t proc_loginuid_write(struct pnode *n, char *buf, size_t len)
{
	static u32 sessions;
	struct task *t = task_of(n);
	bool own = t == current;
	u32 uid = U32_MAX;
	u64 v;
	ssize_t r = len > 20 ? -EINVAL : number(buf, len, 10, &v);

	if (!t)
		return -ESRCH;
	task_put(t);
	if (!own)
		return -EPERM;
	if (r < 0)
		return r;
	if (v > U32_MAX)
		return -ERANGE;
	if (v != U32_MAX && (uid = uid_in((u32)v)) == U32_MAX)
		return -EINVAL;
	if (current->login_uid && !capable(CAP_AUDIT_CONTROL))
		return -EPERM;
	current->login_uid = ~uid;
	current->login_session = uid == U32_MAX ? 0 : ~(__atomic_add_fetch(&sessions, 1, __ATOMIC_RELAXED) & 0x7fffffff);
	return r;
}

// Children are kept by process: they show at its first thread.
int proc_children(struct pout *o, struct pnode *n)
{
	struct proc *c;

	if (n->tid != n->proc->pid)
		return 0;
	mutex_lock(&tasklist);
	list_for_each (c, &n->proc->children, sibling)
		if (!c->helper)
			pout(o, "%d ", c->pid);
	mutex_unlock(&tasklist);
	return 0;
}

int proc_mountstats(struct pout *o, struct pnode *n)
{
	struct mnt_ns *ns = mnt_ns_of(n->proc, n->tid);
	char *line = kmalloc(MOUNT_LINE);
	int id = 0, len;

	if (!line) {
		mnt_ns_put(ns);
		return -ENOMEM;
	}
	// "source target type ..." becomes a sentence
	while (ns && (len = mounts_line(ns, &id, line, MOUNT_LINE, false)) > 0) {
		char *target, *type, *end;

		line[min(len, (int)(MOUNT_LINE) - 1)] = 0;
		target = strchr(line, ' ');
		type = target ? strchr(target + 1, ' ') : NULL;
		end = type ? strchr(type + 1, ' ') : NULL;
		if (!end)
			continue;
		*target = *type = *end = 0;
		pout(o, "device %s mounted on %s with fstype %s\n", line, target + 1, type + 1);
	}
	mnt_ns_put(ns);
	kfree(line);
	return 0;
}

// There is no security module that would have attributes.
static int attr_text(struct pout *o, struct pnode *n)
{
	(void)o;
	(void)n;
	return -EINVAL;
}

static ssize_t attr_write(struct pnode *n, char *buf, size_t len)
{
	(void)n;
	(void)buf;
	(void)len;
	return -EINVAL;
}

#define ATTR(n) {.name = n, .mode = S_IFREG | 0666, .text = attr_text, .write = attr_write}
const struct pent proc_attr_table[] = {
	ATTR("current"), ATTR("prev"), ATTR("exec"), ATTR("fscreate"), ATTR("keycreate"), ATTR("sockcreate"), {0},
};
