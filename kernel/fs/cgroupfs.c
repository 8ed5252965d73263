// SPDX-License-Identifier: Apache-2.0
// cgroup2 with its root group only, as a container sees its own: every process is in it, its limits are the enclave's, and what
// programs size themselves by is real. Groups cannot be made (EPERM). Locks: tasklist while processes are listed.
#include "kernel/fs/procfs.h"
#include "kernel/include/count.h"
#include "kernel/include/platform.h"
#include "kernel/mm/oom.h"
#include <linux/magic.h>

extern const struct super_ops proc_sops;

#define TXT(n, f) \
	{ \
		.name = n, .mode = S_IFREG | 0444, .text = f \
	}
#define FIX(n, s) \
	{ \
		.name = n, .mode = S_IFREG | 0444, .fixed = s \
	}

// A page less than MemTotal: runtimes (the JVM) take a limit that is not below the machine's memory for none.
static int mem_max(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%lu\n", (page_count_total() - 1) << PAGE_SHIFT);
	return 0;
}

static int mem_current(struct pout *o, struct pnode *n)
{
	struct memory m;

	(void)n;
	memory_now(&m);
	pout(o, "%lu\n", (m.total - m.free) << PAGE_SHIFT);
	return 0;
}

static int mem_peak(struct pout *o, struct pnode *n)
{
	struct memory m;

	(void)n;
	memory_now(&m);
	pout(o, "%lu\n", max(oom_counts.peak, m.total - m.free) << PAGE_SHIFT);
	return 0;
}

static int mem_stat(struct pout *o, struct pnode *n)
{
	struct memory m;

	(void)n;
	memory_now(&m);
#define LINE(name, pages) pout(o, name " %lu\n", (u64)(pages) << PAGE_SHIFT)
	LINE("anon", m.anon);
	LINE("file", m.file + m.shared);
	LINE("kernel", m.kernel + m.slab);
	LINE("kernel_stack", 0);
	LINE("pagetables", 0);
	LINE("shmem", m.shared);
	LINE("file_mapped", 0);
	LINE("file_dirty", m.dirty);
	LINE("file_writeback", 0);
	LINE("swapcached", 0);
	LINE("anon_thp", 0);
	LINE("inactive_anon", m.shared);
	LINE("active_anon", m.anon);
	LINE("inactive_file", m.file);
	LINE("active_file", 0);
	LINE("unevictable", 0);
	LINE("slab_reclaimable", 0);
	LINE("slab_unreclaimable", m.slab);
	LINE("slab", m.slab);
	return 0;
}

static int mem_events(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "low 0\nhigh 0\nmax %lu\noom %lu\noom_kill %lu\noom_group_kill 0\n", oom_counts.oom, oom_counts.oom, oom_counts.killed);
	return 0;
}

static int pids_current(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%ld\n", object_count(N_tasks));
	return 0;
}

static int one_pid(struct proc *p, void *arg)
{
	if (p->state < PROC_ZOMBIE)
		pout(arg, "%d\n", p->pid);
	return 0;
}

static int group_procs(struct pout *o, struct pnode *n)
{
	(void)n;
	proc_for_each(one_pid, o);
	return 0;
}

static int threads_of(struct proc *p, void *arg)
{
	struct task *t;

	list_for_each (t, &p->threads, thread_link)
		pout(arg, "%d\n", t->tid);
	return 0;
}

static int group_threads(struct pout *o, struct pnode *n)
{
	(void)n;
	proc_for_each(threads_of, o);
	return 0;
}

// Moving a process into the group where it is.
static ssize_t procs_write(struct pnode *n, char *buf, size_t len)
{
	const char *end;
	struct proc *p;
	u64 pid;

	(void)n;
	if (kstrtou64(buf, &end, &pid) || (*end && *end != '\n') || pid > 0x7fffffff)
		return -EINVAL;
	p = pid ? proc_find((int)pid) : NULL;
	if (pid && !p)
		return -ESRCH;
	if (p)
		proc_put(p);
	return (ssize_t)len;
}

static int cpu_stat(struct pout *o, struct pnode *n)
{
	u64 u, s;

	(void)n;
	proc_total_cpu(&u, &s);
	pout(o, "usage_usec %lu\nuser_usec %lu\nsystem_usec %lu\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n", (u + s) / 1000, u / 1000,
	     s / 1000);
	return 0;
}

static int cpuset(struct pout *o, struct pnode *n)
{
	(void)n;
	proc_cpu_range(o);
	return 0;
}

static int nothing(struct pout *o, struct pnode *n)
{
	(void)o;
	(void)n;
	return 0;
}

static const struct pent root[] = {
	FIX("cgroup.controllers", "cpuset cpu io memory pids"),
	TXT("cgroup.subtree_control", nothing),
	{.name = "cgroup.procs", .mode = S_IFREG | 0644, .text = group_procs, .write = procs_write},
	{.name = "cgroup.threads", .mode = S_IFREG | 0644, .text = group_threads, .write = procs_write},
	FIX("cgroup.type", "domain"),
	FIX("cgroup.events", "populated 1\nfrozen 0"),
	FIX("cgroup.max.depth", "0"),
	FIX("cgroup.max.descendants", "0"),
	FIX("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0"),
	FIX("cpu.max", "max 100000"),
	FIX("cpu.weight", "100"),
	TXT("cpu.stat", cpu_stat),
	TXT("cpuset.cpus", cpuset),
	TXT("cpuset.cpus.effective", cpuset),
	FIX("cpuset.mems", "0"),
	FIX("cpuset.mems.effective", "0"),
	TXT("memory.max", mem_max),
	TXT("memory.current", mem_current),
	TXT("memory.peak", mem_peak),
	TXT("memory.stat", mem_stat),
	TXT("memory.events", mem_events),
	FIX("memory.high", "max"),
	FIX("memory.low", "0"),
	FIX("memory.min", "0"),
	FIX("memory.oom.group", "0"),
	FIX("memory.swap.max", "0"),
	FIX("memory.swap.current", "0"),
	FIX("memory.swap.high", "0"),
	FIX("pids.max", "max"),
	TXT("pids.current", pids_current),
	FIX("pids.events", "max 0"),
	TXT("io.stat", nothing),
	{0},
};
static int root_lookup(struct inode *dir, const char *name, u32 len, struct inode **out) { return proc_lookup_table(dir, root, name, len, out); }

static int root_readdir(struct file *f, struct dir_ctx *c)
{
	proc_emit_table(c, root, 2, f->inode->ino);
	return 0;
}

static int no_group(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	(void)dir;
	(void)name;
	(void)len;
	(void)mode;
	(void)out;
	return -EPERM;
}

static const struct inode_ops root_iops = {.lookup = root_lookup, .mkdir = no_group, .no_cache = true};
static const struct file_ops root_fops = {.readdir = root_readdir};
static const struct pent root_dir = {.name = "/", .mode = S_IFDIR | 0755, .iops = &root_iops, .fops = &root_fops};

static int cgroup_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	struct super *sb = super_new("cgroup2", &proc_sops, CGROUP2_SUPER_MAGIC);

	(void)source;
	(void)flags;
	(void)data;
	(void)len;
	if (!sb)
		return -ENOMEM;
	sb->root = proc_inode(sb, &root_dir, NULL, 0, -1);
	if (!sb->root) {
		super_put(sb);
		return -ENOMEM;
	}
	sb->root->ino = 1;
	*out = sb;
	return 0;
}

int cgroupfs_init(void) { return fs_register("cgroup2", cgroup_mount); }
