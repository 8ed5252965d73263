// SPDX-License-Identifier: Apache-2.0
// /sys: what programs look up about CPUs, memory nodes and the kernel. A static tree.
// Mount points for cgroup2 and configfs are empty directories of it. Locks: none.
#include "kernel/fs/procfs.h"
#include "kernel/include/platform.h"
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
#define DIR(n, t) \
	{ \
		.name = n, .mode = S_IFDIR | 0555, .dir = t \
	}

void proc_cpu_range(struct pout *o)
{
	u32 c = pf_ncpus();

	pout(o, c > 1 ? "0-%u\n" : "%u\n", c - 1);
}

static int cpu_range(struct pout *o, struct pnode *n)
{
	(void)n;
	proc_cpu_range(o);
	return 0;
}

static int cpu_mask(struct pout *o, struct pnode *n)
{
	u32 c = pf_ncpus();

	(void)n;
	pout(o, "%lx\n", c >= 64 ? U64_MAX : (1ul << c) - 1);
	return 0;
}

static int own_number(struct pout *o, struct pnode *n)
{
	pout(o, "%d\n", n->tid);
	return 0;
}

static int own_mask(struct pout *o, struct pnode *n)
{
	pout(o, "%lx\n", 1ul << (n->tid & 63));
	return 0;
}

static int node_meminfo(struct pout *o, struct pnode *n)
{
	u64 total = page_count_total() * 4, free = page_count_free() * 4;

	(void)n;
	pout(o, "Node 0 MemTotal:       %8lu kB\nNode 0 MemFree:        %8lu kB\nNode 0 MemUsed:        %8lu kB\n",
	     total, free, total - free);
	return 0;
}

// One directory a CPU; pnode.tid is its number.
static const struct pent topology[] = {
	FIX("physical_package_id", "0"),
	TXT("core_id", own_number),
	TXT("core_cpus_list", own_number),
	TXT("core_cpus", own_mask),
	TXT("thread_siblings_list", own_number),
	TXT("thread_siblings", own_mask),
	TXT("core_siblings_list", cpu_range),
	TXT("core_siblings", cpu_mask),
	TXT("package_cpus_list", cpu_range),
	FIX("die_id", "0"),
	{0},
};
static const struct pent cpu_n[] = {FIX("online", "1"), DIR("topology", topology), {0}};
static const struct pent cpu_n_dir = DIR("cpu", cpu_n);

static const struct pent cpu_files[] = {
	TXT("online", cpu_range), TXT("possible", cpu_range), TXT("present", cpu_range),
	FIX("offline", ""),	  FIX("kernel_max", "63"),    {0},
};

static int cpu_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	int n;

	if (len > 3 && !memcmp(name, "cpu", 3) && (n = proc_number(name + 3, len - 3)) >= 0 && n < (int)pf_ncpus()) {
		*out = proc_inode(dir->sb, &cpu_n_dir, NULL, n, -1);
		return *out ? 0 : -ENOMEM;
	}
	return proc_lookup_table(dir, cpu_files, name, len, out);
}

static int cpu_readdir(struct file *f, struct dir_ctx *c)
{
	char name[16];

	if (c->pos < 100 && !proc_emit_table(c, cpu_files, 2, f->inode->ino))
		return 0;
	for (u32 i = c->pos > 100 ? c->pos - 100 : 0; i < pf_ncpus(); i++) {
		int len = snprintf(name, sizeof(name), "cpu%u", i);

		if (!c->emit(c, name, len, f->inode->ino + 100 + i, S_IFDIR >> 12, 100 + i + 1))
			return 0;
	}
	return 0;
}

static const struct inode_ops cpu_iops = {.lookup = cpu_lookup, .no_cache = true};
static const struct file_ops cpu_fops = {.readdir = cpu_readdir};

static const struct pent empty[] = {{0}};
static const struct pent node0[] = {
	TXT("cpulist", cpu_range), TXT("cpumap", cpu_mask), TXT("meminfo", node_meminfo), FIX("distance", "10"), {0},
};
static const struct pent node[] = {
	FIX("online", "0"),
	FIX("possible", "0"),
	FIX("has_cpu", "0"),
	FIX("has_memory", "0"),
	FIX("has_normal_memory", "0"),
	DIR("node0", node0),
	{0},
};
static const struct pent system[] = {
	{.name = "cpu", .mode = S_IFDIR | 0555, .iops = &cpu_iops, .fops = &cpu_fops},
	DIR("node", node),
	{0},
};
static const struct pent devices[] = {DIR("system", system), {0}};
static const struct pent thp[] = {
	FIX("enabled", "always [madvise] never"),
	FIX("shmem_enabled", "always within_size advise [never] deny force"),
	FIX("defrag", "always defer defer+madvise [madvise] never"),
	FIX("hpage_pmd_size", "2097152"),
	{0},
};
static const struct pent mm[] = {DIR("transparent_hugepage", thp), DIR("hugepages", empty), {0}};
static const struct pent kernel[] = {
	DIR("mm", mm), DIR("config", empty), DIR("debug", empty), DIR("security", empty), {0}};
static const struct pent fs[] = {DIR("cgroup", empty), {0}};
static const struct pent class[] = {DIR("net", empty), DIR("block", empty), DIR("tty", empty), {0}};
static const struct pent root[] = {
	DIR("devices", devices), DIR("kernel", kernel), DIR("fs", fs),
	DIR("class", class),	 DIR("block", empty),	DIR("bus", empty),
	DIR("dev", empty),	 DIR("module", empty),	{0},
};
static const struct pent root_dir = DIR("/", root);

static int sysfs_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	struct super *sb = super_new("sysfs", &proc_sops, SYSFS_MAGIC);

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
	*out = sb;
	return 0;
}

int sysfs_init(void) { return fs_register("sysfs", sysfs_mount); }
