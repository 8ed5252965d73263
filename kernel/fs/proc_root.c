// SPDX-License-Identifier: Apache-2.0
// The root of /proc: processes by number, self, and what describes the whole system and the enclave.
// Locks: tasklist while processes are counted.
#include "kernel/fs/proc_cpu.h"
#include "kernel/fs/procfs.h"
#include "kernel/include/platform.h"
#include "kernel/task/load.h"
#include <linux/magic.h>

extern const struct super_ops proc_sops;

#define FIRST_PID_POS 256 // readdir: static entries come before, pid p is at FIRST_PID_POS + p

static int text_stat(struct pout *o, struct pnode *n)
{
	u32 cpus = pf_ncpus();
	struct census c;
	u64 up = ktime_mono() - enclave_start(), busy, idle;

	(void)n;
	census_take(&c, true);
	busy = c.utime + c.stime;
	idle = up * cpus > busy ? up * cpus - busy : 0;
	pout(o, "cpu  %lu 0 %lu %lu 0 0 0 0 0 0\n", c.utime / USER_HZ_NS, c.stime / USER_HZ_NS, idle / USER_HZ_NS);
	// The host schedules: which CPU did what is not known here.
	for (u32 i = 0; i < cpus; i++)
		pout(o, "cpu%u %lu 0 %lu %lu 0 0 0 0 0 0\n", i, c.utime / cpus / USER_HZ_NS,
		     c.stime / cpus / USER_HZ_NS, idle / cpus / USER_HZ_NS);
	pout(o, "intr 0\nctxt 0\nbtime %lu\nprocesses %lu\nprocs_running %u\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
	     (ktime_real() - ktime_mono() - (u64)time_offset(CLOCK_BOOTTIME)) / NSEC_PER_SEC, pid_count_made(), max(c.running, 1u));
	return 0;
}

static int text_loadavg(struct pout *o, struct pnode *n)
{
	struct census c;

	(void)n;
	census_take(&c, false);
	for (u32 i = 0; i < 3; i++) { // rounded to hundredths, as Linux does
		u64 l = load_average(i) + (1 << LOAD_SHIFT) / 200;

		pout(o, "%lu.%02lu ", l >> LOAD_SHIFT, (l & ((1 << LOAD_SHIFT) - 1)) * 100 >> LOAD_SHIFT);
	}
	pout(o, "%u/%u %d\n", c.running, c.tasks, pid_last_made());
	return 0;
}

static int text_uptime(struct pout *o, struct pnode *n)
{
	u64 up = ktime_mono(), span = up - enclave_start(), busy, idle;
	struct census c;

	(void)n;
	census_take(&c, true);
	busy = c.utime + c.stime;
	idle = span * pf_ncpus() > busy ? (span * pf_ncpus() - busy) / USER_HZ_NS : 0;
	up = (up + (u64)time_offset(CLOCK_BOOTTIME)) / USER_HZ_NS;
	pout(o, "%lu.%02lu %lu.%02lu\n", up / 100, up % 100, idle / 100, idle % 100);
	return 0;
}

static int text_version(struct pout *o, struct pnode *n)
{
	struct new_utsname u;

	(void)n;
	uts_get(&u);
	pout(o, "Linux version %s (coffer@enclave) %s\n", u.release, u.version);
	return 0;
}

static int text_nothing(struct pout *o, struct pnode *n)
{
	(void)o;
	(void)n;
	return 0;
}

static int text_filesystems(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tdevpts\nnodev\tconfigfs\nnodev\tcgrou"
		"p2\nnodev\tramfs\nnodev\toverlay\n"
		"\terofs\n\tsealed\n");
	return 0;
}

static int text_devices(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n136 "
		"pts\n\nBlock devices:\n");
	return 0;
}

// --- self, thread-self, links to files of self

static int self_readlink(struct inode *i, char *buf, u32 n)
{
	(void)i;
	return min((u32)scnprintf(buf, n, "%d", pid_out(curproc->pid)), n);
}

static int thread_self_readlink(struct inode *i, char *buf, u32 n)
{
	(void)i;
	return min((u32)scnprintf(buf, n, "%d/task/%d", pid_out(curproc->pid), pid_out(current->tid)), n);
}

static int to_self_readlink(struct inode *i, char *buf, u32 n)
{
	return scnprintf(buf, n, "self/%s", pnode_of(i)->e->name);
}

static const struct inode_ops self_iops = {.readlink = self_readlink};
static const struct inode_ops thread_self_iops = {.readlink = thread_self_readlink};
static const struct inode_ops to_self_iops = {.readlink = to_self_readlink};

#define TXT(n, m, f) \
	{ \
		.name = n, .mode = S_IFREG | m, .text = f \
	}
#define FIX(n, m, s) \
	{ \
		.name = n, .mode = S_IFREG | m, .fixed = s \
	}
#define LNK(n, ops) \
	{ \
		.name = n, .mode = S_IFLNK | 0777, .iops = ops \
	}

static const struct pent root_table[] = {
	LNK("self", &self_iops),
	LNK("thread-self", &thread_self_iops),
	LNK("mounts", &to_self_iops),
	LNK("net", &to_self_iops),
	TXT("cpuinfo", 0444, proc_cpuinfo),
	TXT("meminfo", 0444, proc_meminfo),
	TXT("vmstat", 0444, proc_vmstat),
	TXT("zoneinfo", 0444, proc_zoneinfo),
	TXT("buddyinfo", 0444, proc_buddyinfo),
	TXT("slabinfo", 0400, proc_slabinfo),
	TXT("stat", 0444, text_stat),
	TXT("loadavg", 0444, text_loadavg),
	TXT("uptime", 0444, text_uptime),
	TXT("version", 0444, text_version),
	TXT("filesystems", 0444, text_filesystems),
	TXT("devices", 0444, text_devices),
	FIX("cmdline", 0444, "coffer"),
	TXT("locks", 0444, proc_locks),
	TXT("interrupts", 0444, proc_interrupts),
	TXT("softirqs", 0444, proc_softirqs),
	TXT("cgroups", 0444, proc_cgroups),
	TXT("modules", 0444, text_nothing),
	TXT("diskstats", 0444, text_nothing),
	TXT("crypto", 0444, text_nothing),
	TXT("keys", 0444, proc_keys),
	TXT("key-users", 0444, proc_key_users),
	FIX("partitions", 0444, "major minor  #blocks  name\n"),
	FIX("misc", 0444, ""),
	FIX("consoles", 0444, "console              -W- (EC   )    5:1"),
	FIX("execdomains", 0444, "0-0\tLinux           \t[kernel]"),
	FIX("swaps", 0444, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"),
	{.name = "coffer", .mode = S_IFDIR | 0555, .dir = proc_coffer_table},
	{.name = "sys", .mode = S_IFDIR | 0555, .dir = proc_sys_table},
	{.name = "sysvipc", .mode = S_IFDIR | 0555, .dir = proc_sysvipc_table},
	{0},
};

static int root_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	int pid = proc_number(name, len);
	struct proc *p;

	if (pid < 0)
		return proc_lookup_table(dir, root_table, name, len, out);
	p = proc_find(pid_in(pid));
	if (!p)
		return -ENOENT;
	*out = proc_inode(dir->sb, &proc_pid_dir, p, 0, -1);
	proc_put(p);
	return *out ? 0 : -ENOMEM;
}

struct next_pid {
	int from, found;
};

static int at_least(struct proc *p, void *arg)
{
	struct next_pid *q = arg;

	int pid = pid_out(p->pid);

	if (pid >= q->from && (!q->found || pid < q->found))
		q->found = pid;
	return 0;
}

static int root_readdir(struct file *f, struct dir_ctx *c)
{
	struct next_pid q;
	char name[12];

	if (c->pos < FIRST_PID_POS && !proc_emit_table(c, root_table, 2, f->inode->ino))
		return 0;
	q.from = c->pos > FIRST_PID_POS ? (int)(c->pos - FIRST_PID_POS) : 1;
	for (;;) {
		int len;

		q.found = 0;
		proc_for_each(at_least, &q);
		if (!q.found)
			return 0;
		len = snprintf(name, sizeof(name), "%d", q.found);
		if (!c->emit(c, name, len, (u64)q.found << 40, S_IFDIR >> 12, FIRST_PID_POS + q.found + 1))
			return 0;
		q.from = q.found + 1;
	}
}

static const struct inode_ops root_iops = {.lookup = root_lookup, .no_cache = true};
static const struct file_ops root_fops = {.readdir = root_readdir, .llseek = proc_dir_llseek};
static const struct pent root_dir = {.name = "/", .mode = S_IFDIR | 0555, .iops = &root_iops, .fops = &root_fops};

static int proc_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	struct super *sb = super_new("proc", &proc_sops, PROC_SUPER_MAGIC);

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

int proc_init(void) { return fs_register("proc", proc_mount); }
