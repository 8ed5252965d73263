// SPDX-License-Identifier: Apache-2.0
// /proc/sys. Most values are what this kernel does and cannot be changed: they are read-only, so that a write
// fails instead of being ignored. Locks: none.
#include "kernel/fs/procfs.h"
#include "kernel/include/mm.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/task/limit.h"
#include <linux/capability.h>

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

#define UTS(fn, field) \
	static int fn(struct pout *o, struct pnode *n) \
	{ \
		struct new_utsname u; \
		(void)n; \
		uts_get(&u); \
		pout(o, "%s\n", u.field); \
		return 0; \
	}
UTS(ostype, sysname)
UTS(osrelease, release)
UTS(version, version)
UTS(hostname, nodename)
UTS(domainname, domainname)

static ssize_t set_name(bool domain, char *buf, size_t len)
{
	size_t n = len && buf[len - 1] == '\n' ? len - 1 : len;
	int r = capable_here(CLONE_NEWUTS, CAP_SYS_ADMIN) ? uts_set_name(domain, buf, n) : -EPERM;

	return r ? r : (ssize_t)len;
}

static ssize_t hostname_write(struct pnode *n, char *buf, size_t len)
{
	(void)n;
	return set_name(false, buf, len);
}

static ssize_t domainname_write(struct pnode *n, char *buf, size_t len)
{
	(void)n;
	return set_name(true, buf, len);
}

static void put_uuid(struct pout *o, u8 b[16])
{
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	for (int i = 0; i < 16; i++)
		pout(o, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", b[i]);
	pout(o, "\n");
}

static int uuid(struct pout *o, struct pnode *n)
{
	u8 b[16];

	(void)n;
	pf_random(b, sizeof(b));
	put_uuid(o, b);
	return 0;
}

static int boot_id(struct pout *o, struct pnode *n)
{
	static struct mutex lock;
	static bool made;
	static u8 id[16];
	u8 b[16];

	(void)n;
	mutex_lock(&lock);
	if (!made)
		pf_random(id, sizeof(id));
	made = true;
	memcpy(b, id, sizeof(b));
	mutex_unlock(&lock);
	put_uuid(o, b);
	return 0;
}

static int aslr(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%d\n", __atomic_load_n(&randomize_va_space, __ATOMIC_RELAXED));
	return 0;
}

static ssize_t aslr_write(struct pnode *n, char *buf, size_t len)
{
	u64 v;

	(void)n;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (len && buf[len - 1] == '\n')
		buf[len - 1] = 0;
	if (kstrtou64(buf, NULL, &v) || v > 2)
		return -EINVAL;
	__atomic_store_n(&randomize_va_space, (int)v, __ATOMIC_RELAXED);
	return (ssize_t)len;
}

static int threads_max(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%u\n", limit_tasks());
	return 0;
}

static s64 counted(enum counted kind) { return max(object_count(kind), 0l); }

static int file_nr(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%ld\t0\t%lu\n", counted(N_files), min(limit_files(), (u64)S64_MAX));
	return 0;
}

static int file_max(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%lu\n", min(limit_files(), (u64)S64_MAX));
	return 0;
}

static int nr_open(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%u\n", limit_descriptors());
	return 0;
}

static int inode_nr(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%ld\t0\n", counted(N_inodes));
	return 0;
}

static int inode_state(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%ld\t0\t0\t0\t0\t0\t0\n", counted(N_inodes));
	return 0;
}

static int dentry_state(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%ld\t0\t45\t0\t0\t0\n", counted(N_dentries));
	return 0;
}

static const struct pent random_table[] = {
	TXT("uuid", uuid), TXT("boot_id", boot_id), FIX("entropy_avail", "256"), FIX("poolsize", "256"), {0},
};

static const struct pent keys_table[] = {FIX("maxkeys", "200"), FIX("maxbytes", "20000"), FIX("root_maxkeys", "1000000"),
					   FIX("root_maxbytes", "25000000"), FIX("gc_delay", "300"), {0}};
static const struct pent kernel_table[] = {
	TXT("ostype", ostype),
	TXT("osrelease", osrelease),
	TXT("version", version),
	{.name = "hostname", .mode = S_IFREG | 0644, .text = hostname, .write = hostname_write},
	{.name = "domainname", .mode = S_IFREG | 0644, .text = domainname, .write = domainname_write},
	FIX("pid_max", "32768"),
	TXT("threads-max", threads_max),
	FIX("cap_last_cap", "40"),
	FIX("ngroups_max", "32"),
	{.name = "randomize_va_space", .mode = S_IFREG | 0644, .text = aslr, .write = aslr_write},
	FIX("overflowuid", "65534"),
	FIX("overflowgid", "65534"),
	FIX("core_pattern", ""),
	FIX("core_uses_pid", "0"),
	FIX("dmesg_restrict", "1"),
	FIX("kptr_restrict", "2"),
	FIX("perf_event_paranoid", "4"),
	FIX("sem", "32000\t1024000000\t500\t32000"),
	FIX("shmmax", "18446744073692774399"),
	FIX("shmall", "18446744073692774399"),
	FIX("shmmni", "4096"),
	FIX("msgmax", "8192"),
	FIX("msgmnb", "16384"),
	FIX("msgmni", "32000"),
	FIX("numa_balancing", "0"),
	FIX("sched_child_runs_first", "0"),
	FIX("tainted", "0"),
	FIX("panic", "0"),
	FIX("panic_on_oops", "0"),
	FIX("printk", "4\t4\t1\t7"),
	FIX("sysrq", "0"),
	FIX("sched_rt_runtime_us", "950000"),
	FIX("sched_rt_period_us", "1000000"),
	FIX("sched_autogroup_enabled", "0"),
	FIX("unprivileged_bpf_disabled", "2"),
	FIX("perf_event_max_sample_rate", "100000"),
	FIX("modules_disabled", "1"),
	FIX("watchdog", "0"),
	FIX("nmi_watchdog", "0"),
	FIX("hung_task_timeout_secs", "0"),
	FIX("arch", "x86_64"),
	FIX("ctrl-alt-del", "0"),
	FIX("auto_msgmni", "0"),
	FIX("shm_rmid_forced", "0"),
	DIR("keys", keys_table),
	DIR("random", random_table),
	{0},
};

static int overcommit(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%u\n", __atomic_load_n(&overcommit_memory, __ATOMIC_RELAXED));
	return 0;
}

// 2 (never overcommit) would need every reservation to be backed, which nothing here accounts for.
static ssize_t overcommit_write(struct pnode *n, char *buf, size_t len)
{
	(void)n;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if ((buf[0] != '0' && buf[0] != '1') || (buf[1] && buf[1] != '\n'))
		return -EINVAL;
	__atomic_store_n(&overcommit_memory, (u32)(buf[0] - '0'), __ATOMIC_RELAXED);
	return (ssize_t)len;
}

static int min_free(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%lu\n", page_reserve * 4);
	return 0;
}

static ssize_t drop_caches(struct pnode *n, char *buf, size_t len)
{
	(void)n;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (buf[0] < '1' || buf[0] > '4' || (buf[1] && buf[1] != '\n'))
		return -EINVAL;
	if (buf[0] & 1)
		pc_reclaim(U64_MAX);
	return (ssize_t)len;
}

static const struct pent vm_table[] = {
	{.name = "overcommit_memory", .mode = S_IFREG | 0644, .text = overcommit, .write = overcommit_write},
	FIX("overcommit_kbytes", "0"),
	TXT("min_free_kbytes", min_free),
	FIX("panic_on_oom", "0"),
	FIX("oom_kill_allocating_task", "0"),
	FIX("oom_dump_tasks", "0"),
	FIX("dirty_bytes", "0"),
	FIX("dirty_background_bytes", "0"),
	FIX("dirty_expire_centisecs", "3000"),
	FIX("dirty_writeback_centisecs", "0"),
	FIX("vfs_cache_pressure", "100"),
	FIX("watermark_scale_factor", "10"),
	FIX("zone_reclaim_mode", "0"),
	FIX("page-cluster", "0"),
	FIX("laptop_mode", "0"),
	FIX("compaction_proactiveness", "0"),
	FIX("nr_overcommit_hugepages", "0"),
	FIX("hugetlb_shm_group", "0"),
	FIX("legacy_va_layout", "0"),
	FIX("unprivileged_userfaultfd", "0"),
	FIX("admin_reserve_kbytes", "0"),
	FIX("user_reserve_kbytes", "0"),
	{.name = "drop_caches", .mode = S_IFREG | 0200, .write = drop_caches},
	FIX("overcommit_ratio", "50"),
	FIX("max_map_count", "65530"),
	FIX("mmap_min_addr", "65536"),
	FIX("swappiness", "0"),
	FIX("nr_hugepages", "0"),
	FIX("dirty_ratio", "20"),
	FIX("dirty_background_ratio", "10"),
	{0},
};

static const struct pent inotify_table[] = {
	FIX("max_user_watches", "65536"),
	FIX("max_user_instances", "1024"),
	FIX("max_queued_events", "16384"),
	{0},
};

static const struct pent mqueue_table[] = {
	FIX("queues_max", "256"),
	FIX("msg_max", "10"),
	FIX("msgsize_max", "8192"),
	FIX("msg_default", "10"),
	FIX("msgsize_default", "8192"),
	{0},
};

static const struct pent epoll_table[] = {FIX("max_user_watches", "1048576"), {0}};

static const struct pent fs_table[] = {
	FIX("aio-max-nr", "65536"),
	FIX("aio-nr", "0"),
	TXT("inode-nr", inode_nr),
	TXT("inode-state", inode_state),
	TXT("dentry-state", dentry_state),
	FIX("suid_dumpable", "0"),
	FIX("dir-notify-enable", "1"),
	FIX("lease-break-time", "45"),
	FIX("leases-enable", "1"),
	FIX("mount-max", "100000"),
	FIX("overflowuid", "65534"),
	FIX("overflowgid", "65534"),
	FIX("pipe-user-pages-hard", "0"),
	FIX("protected_fifos", "0"),
	FIX("protected_regular", "0"),
	TXT("file-max", file_max),
	TXT("file-nr", file_nr),
	TXT("nr_open", nr_open),
	FIX("pipe-max-size", "1048576"),
	FIX("pipe-user-pages-soft", "0"),
	FIX("protected_symlinks", "0"),
	FIX("protected_hardlinks", "0"),
	DIR("inotify", inotify_table),
	DIR("epoll", epoll_table),
	DIR("mqueue", mqueue_table),
	{0},
};

static const struct pent net_core_table[] = {
	FIX("somaxconn", "4096"),
	FIX("rmem_max", "212992"),
	FIX("wmem_max", "212992"),
	FIX("rmem_default", "212992"),
	FIX("wmem_default", "212992"),
	FIX("netdev_max_backlog", "1000"),
	FIX("optmem_max", "131072"),
	FIX("default_qdisc", "noqueue"),
	FIX("busy_poll", "0"),
	FIX("busy_read", "0"),
	FIX("netdev_budget", "300"),
	FIX("bpf_jit_enable", "0"),
	{0},
};

static const struct pent ipv4_table[] = {
	FIX("ip_local_port_range", "32768\t60999"),
	FIX("ip_unprivileged_port_start", "1024"),
	FIX("tcp_fin_timeout", "60"),
	FIX("tcp_syncookies", "1"),
	FIX("tcp_congestion_control", "cubic"),
	FIX("tcp_available_congestion_control", "cubic"),
	FIX("tcp_allowed_congestion_control", "cubic"),
	FIX("tcp_mem", "188745\t251661\t377490"),
	FIX("udp_mem", "377493\t503324\t754986"),
	FIX("tcp_tw_reuse", "0"),
	FIX("tcp_timestamps", "1"),
	FIX("tcp_window_scaling", "1"),
	FIX("tcp_sack", "1"),
	FIX("tcp_fastopen", "0"),
	FIX("tcp_syn_retries", "6"),
	FIX("tcp_synack_retries", "5"),
	FIX("tcp_retries2", "15"),
	FIX("tcp_max_tw_buckets", "131072"),
	FIX("tcp_slow_start_after_idle", "1"),
	FIX("tcp_no_metrics_save", "0"),
	FIX("tcp_moderate_rcvbuf", "1"),
	FIX("ip_forward", "0"),
	FIX("ip_default_ttl", "64"),
	FIX("ip_nonlocal_bind", "0"),
	FIX("ping_group_range", "1\t0"),
	FIX("icmp_echo_ignore_all", "0"),
	FIX("tcp_keepalive_time", "7200"),
	FIX("tcp_keepalive_intvl", "75"),
	FIX("tcp_keepalive_probes", "9"),
	FIX("tcp_max_syn_backlog", "512"),
	FIX("tcp_rmem", "4096\t131072\t6291456"),
	FIX("tcp_wmem", "4096\t16384\t4194304"),
	{0},
};

static const struct pent net_unix_table[] = {FIX("max_dgram_qlen", "512"), {0}};
static const struct pent net_table[] = {
	DIR("core", net_core_table), DIR("ipv4", ipv4_table), DIR("unix", net_unix_table), {0}};

const struct pent proc_sys_table[] = {
	DIR("kernel", kernel_table), DIR("vm", vm_table), DIR("fs", fs_table), DIR("net", net_table), {0},
};
