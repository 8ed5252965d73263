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
	struct memory m;

	(void)n;
	memory_now(&m);
#define LINE(name, pages) pout(o, "Node 0 %-16s%8lu kB\n", name ":", (u64)(pages) * 4)
	LINE("MemTotal", m.total);
	LINE("MemFree", m.free);
	LINE("MemUsed", m.total - m.free);
	LINE("FilePages", m.file + m.shared);
	LINE("AnonPages", m.anon);
	LINE("Shmem", m.shared);
	LINE("Slab", m.slab);
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
// Caches as CPUID leaf 4 (Intel) or 0x8000001d (AMD) tells them; pnode.tid is the CPU, pnode.fd the index.
static bool cache_leaf(u32 index, u32 l[4])
{
	u32 max_ext, leaf = 4;

	__asm__ volatile("cpuid" : "=a"(max_ext), "=b"(l[1]), "=c"(l[2]), "=d"(l[3]) : "a"(0x80000000), "c"(0));
	for (int i = 0; i < 2; i++) {
		__asm__ volatile("cpuid" : "=a"(l[0]), "=b"(l[1]), "=c"(l[2]), "=d"(l[3]) : "a"(leaf), "c"(index));
		if (l[0] & 31)
			return true;
		leaf = 0x8000001d;
		if (max_ext < leaf)
			break;
	}
	return false;
}

enum { CACHE_LEVEL, CACHE_TYPE, CACHE_SIZE, CACHE_LINE, CACHE_SETS, CACHE_WAYS, CACHE_PARTITION };

static int cache_number(struct pout *o, struct pnode *n, int what)
{
	static const char *const types[] = {"Unknown", "Data", "Instruction", "Unified"};
	u32 l[4], ways, parts, line, sets;

	if (!cache_leaf((u32)n->fd, l))
		return -ENOENT;
	ways = (l[1] >> 22) + 1;
	parts = (l[1] >> 12 & 0x3ff) + 1;
	line = (l[1] & 0xfff) + 1;
	sets = l[2] + 1;
	if (what == CACHE_TYPE)
		pout(o, "%s\n", types[l[0] & 3]);
	else if (what == CACHE_SIZE)
		pout(o, "%luK\n", (u64)ways * parts * line * sets >> 10);
	else
		pout(o, "%u\n", what == CACHE_LEVEL ? l[0] >> 5 & 7 : what == CACHE_LINE ? line : what == CACHE_SETS ? sets : what == CACHE_WAYS ? ways : parts);
	return 0;
}

static int cache_level(struct pout *o, struct pnode *n) { return cache_number(o, n, CACHE_LEVEL); }
static int cache_type(struct pout *o, struct pnode *n) { return cache_number(o, n, CACHE_TYPE); }
static int cache_size(struct pout *o, struct pnode *n) { return cache_number(o, n, CACHE_SIZE); }
static int cache_line(struct pout *o, struct pnode *n) { return cache_number(o, n, CACHE_LINE); }
static int cache_sets(struct pout *o, struct pnode *n) { return cache_number(o, n, CACHE_SETS); }
static int cache_ways(struct pout *o, struct pnode *n) { return cache_number(o, n, CACHE_WAYS); }
static int cache_parts(struct pout *o, struct pnode *n) { return cache_number(o, n, CACHE_PARTITION); }

// Which CPUs share a cache only the host knows: the last level counts as everyone's, the others as each CPU's own.
static bool last_level(struct pnode *n)
{
	u32 l[4];

	return !cache_leaf((u32)n->fd + 1, l);
}

static int cache_list(struct pout *o, struct pnode *n) { return last_level(n) ? cpu_range(o, n) : own_number(o, n); }
static int cache_map(struct pout *o, struct pnode *n) { return last_level(n) ? cpu_mask(o, n) : own_mask(o, n); }

static const struct pent cache_table[] = {
	TXT("level", cache_level), TXT("type", cache_type), TXT("size", cache_size), TXT("coherency_line_size", cache_line),
	TXT("number_of_sets", cache_sets), TXT("ways_of_associativity", cache_ways), TXT("physical_line_partition", cache_parts),
	TXT("shared_cpu_list", cache_list), TXT("shared_cpu_map", cache_map), {0},
};

static int index_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	const struct pent *t = cache_table;
	struct pnode *n = pnode_of(dir);

	for (; t->name; t++)
		if (strlen(t->name) == len && !memcmp(t->name, name, len)) {
			*out = proc_inode(dir->sb, t, NULL, n->tid, n->fd);
			return *out ? 0 : -ENOMEM;
		}
	return -ENOENT;
}

static int index_readdir(struct file *f, struct dir_ctx *c)
{
	proc_emit_table(c, cache_table, 2, f->inode->ino);
	return 0;
}

static const struct inode_ops index_iops = {.lookup = index_lookup, .no_cache = true};
static const struct file_ops index_fops = {.readdir = index_readdir};
static const struct pent index_dir = {.name = "index", .mode = S_IFDIR | 0555, .iops = &index_iops, .fops = &index_fops};

static int cache_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	u32 l[4];
	int i;

	if (len <= 5 || memcmp(name, "index", 5) || (i = proc_number(name + 5, len - 5)) < 0 || i > 15 || !cache_leaf((u32)i, l))
		return -ENOENT;
	*out = proc_inode(dir->sb, &index_dir, NULL, pnode_of(dir)->tid, i);
	return *out ? 0 : -ENOMEM;
}

static int cache_readdir(struct file *f, struct dir_ctx *c)
{
	char name[16];
	u32 l[4];

	for (u32 i = c->pos > 2 ? (u32)c->pos - 2 : 0; i < 16 && cache_leaf(i, l); i++) {
		int len = snprintf(name, sizeof(name), "index%u", i);

		if (!c->emit(c, name, len, f->inode->ino + 1 + i, S_IFDIR >> 12, i + 3))
			break;
	}
	return 0;
}

static const struct inode_ops cache_iops = {.lookup = cache_lookup, .no_cache = true};
static const struct file_ops cache_fops = {.readdir = cache_readdir};

static const struct pent cpu_n[] = {FIX("online", "1"), DIR("topology", topology),
				    {.name = "cache", .mode = S_IFDIR | 0555, .iops = &cache_iops, .fops = &cache_fops}, {0}};
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
	TXT("cpulist", cpu_range), TXT("cpumap", cpu_mask), TXT("meminfo", node_meminfo), FIX("distance", "10"),
	FIX("numastat", "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0"),
	FIX("vmstat", ""),
	{0},
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
static const struct pent clocksource0[] = {FIX("current_clocksource", "tsc"), FIX("available_clocksource", "tsc"), {0}};
static const struct pent clocksource[] = {DIR("clocksource0", clocksource0), {0}};
static const struct pent system[] = {
	{.name = "cpu", .mode = S_IFDIR | 0555, .iops = &cpu_iops, .fops = &cpu_fops},
	DIR("node", node),
	DIR("clocksource", clocksource),
	{0},
};
static const struct pent lo_stats[] = {FIX("rx_bytes", "0"), FIX("tx_bytes", "0"), FIX("rx_packets", "0"), FIX("tx_packets", "0"),
				       FIX("rx_errors", "0"), FIX("tx_errors", "0"), FIX("rx_dropped", "0"), FIX("tx_dropped", "0"), {0}};
static const struct pent lo[] = {
	FIX("address", "00:00:00:00:00:00"), FIX("addr_len", "6"), FIX("broadcast", "00:00:00:00:00:00"), FIX("carrier", "1"),
	FIX("flags", "0x9"), FIX("ifindex", "1"), FIX("iflink", "1"), FIX("mtu", "65536"), FIX("operstate", "unknown"), FIX("tx_queue_len", "1000"),
	FIX("type", "772"), FIX("dormant", "0"), DIR("statistics", lo_stats), {0}};
static const struct pent class_net[] = {DIR("lo", lo), {0}};
static const struct pent virtual_net[] = {DIR("net", class_net), {0}};
static const struct pent devices[] = {DIR("system", system), DIR("virtual", virtual_net), {0}};
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
static const struct pent class[] = {DIR("net", class_net), DIR("block", empty), DIR("tty", empty), {0}};
static const struct pent dev[] = {DIR("block", empty), DIR("char", empty), {0}};
static const struct pent root[] = {
	DIR("devices", devices), DIR("kernel", kernel), DIR("fs", fs),
	DIR("class", class),	 DIR("block", empty),	DIR("bus", empty),
	DIR("dev", dev),	 DIR("module", empty),	DIR("power", empty),  DIR("firmware", empty), DIR("hypervisor", empty), {0},
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
