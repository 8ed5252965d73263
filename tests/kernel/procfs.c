// SPDX-License-Identifier: Apache-2.0
// What monitors and runtimes read of /proc and /sys: the figures move with what a process does.
#include "t.h"
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>

#define MB (1ul << 20)

static unsigned long field(const char *file, const char *name)
{
	const char *p = strstr(t_get(file), name);
	if (!p)
		t_fail(__LINE__, "no %s in %s", name, file);
	return strtoul(p + strlen(name), NULL, 10);
}

// Field n (from 1) of /proc/.../stat, counted behind the name.
static unsigned long stat_field(const char *file, int n)
{
	const char *p = strrchr(t_get(file), ')');
	for (int i = 2; p && i < n; i++)
		p = strchr(p + 1, ' ');
	return p ? strtoul(p + 1, NULL, 10) : 0;
}

TEST(resident_memory)
{
	unsigned long n = 64 * MB;
	char *p = OK(mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	unsigned long rss = field("/proc/self/status", "VmRSS:"), size = field("/proc/self/status", "VmSize:");
	CHECK(rss > 100);
	CHECK(size > 65536);
	CHECK(rss < size);
	memset(p, 1, n / 2);
	unsigned long after = field("/proc/self/status", "VmRSS:");
	CHECK(after > rss + 30 * 1024 && after < rss + 40 * 1024);
	CHECK(field("/proc/self/status", "RssAnon:") > 30 * 1024);
	CHECK(field("/proc/self/status", "VmHWM:") >= after);
	unsigned long pages = stat_field("/proc/self/stat", 24);
	CHECK(pages * 4 > after - 4096 && pages * 4 < after + 4096);
	CHECK(stat_field("/proc/self/stat", 23) / 1024 >= size);
	CHECK(field("/proc/self/smaps_rollup", "Rss:") > 30 * 1024);
	CHECK(field("/proc/self/smaps_rollup", "Private_Dirty:") > 30 * 1024);
	OK(madvise(p, n, MADV_DONTNEED));
	CHECK(field("/proc/self/status", "VmRSS:") < rss + 4096);
	OK(munmap(p, n));
	CHECK(field("/proc/self/status", "VmSize:") <= size - 65536);
	CHECK(field("/proc/self/status", "VmPeak:") >= size);
}

TEST(resident_memory_of_a_child)
{
	int go[2], ready[2];
	char path[64], c;
	OK(pipe(go));
	OK(pipe(ready));
	pid_t pid = OK(fork());
	if (!pid) {
		char *p = mmap(NULL, 32 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(p, 1, 32 * MB);
		close(go[1]);
		if (write(ready[1], "x", 1) != 1 || read(go[0], &c, 1))
			_exit(1);
		_exit(p[0] != 1);
	}
	EQ(read(ready[0], &c, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	unsigned long anon = field(path, "RssAnon:");
	CHECK(anon >= 32 * 1024 && anon < 40 * 1024);
	close(go[1]);
	EQ(t_wait(pid), 0);
}

// The entry of one mapping in smaps.
static unsigned long smaps(void *at, const char *name)
{
	char start[32];
	snprintf(start, sizeof(start), "%lx-", (unsigned long)at);
	const char *p = strstr(t_get("/proc/self/smaps"), start);
	p = p ? strstr(p, name) : NULL;
	if (!p)
		t_fail(__LINE__, "no %s of %s", name, start);
	return strtoul(p + strlen(name), NULL, 10);
}

TEST(smaps_by_mapping)
{
	char *guard = OK(mmap(NULL, 10 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *p = OK(mmap(guard + MB, 4 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	OK(madvise(p, 4 * MB, MADV_NOHUGEPAGE));
	memset(p, 1, MB);
	EQ(smaps(p, "Size:"), 4096);
	EQ(smaps(p, "Rss:"), 1024);
	EQ(smaps(p, "Anonymous:"), 1024);
	OK(mlock(p, 4096));
	EQ(smaps(p, "Size:"), 4);
	CHECK(strstr(t_get("/proc/self/smaps"), "VmFlags: "));
}

TEST(pagemap_hides_frames)
{
	int fd = OK(open("/proc/self/pagemap", O_RDONLY));
	char *p = OK(mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	uint64_t e[16];
	OK(madvise(p, 16 * 4096, MADV_NOHUGEPAGE));
	p[0] = p[5 * 4096] = 1;
	EQ(pread(fd, e, sizeof(e), (off_t)((uintptr_t)p / 4096 * 8)), sizeof(e));
	for (int i = 0; i < 16; i++)
		EQ(e[i] >> 63, i == 0 || i == 5);
	ERR(pread(fd, e, 7, 0), EINVAL);
	ERR(pread(fd, e, 8, 3), EINVAL);
}

TEST(processor_time)
{
	struct rusage ru;
	do
		OK(getrusage(RUSAGE_SELF, &ru));
	while (ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec < 300000);
	CHECK(stat_field("/proc/self/stat", 14) + stat_field("/proc/self/stat", 15) >= 25);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)gettid());
	CHECK(stat_field(path, 14) + stat_field(path, 15) >= 25);
	CHECK(stat_field("/proc/self/stat", 10) > 10); // page faults
	CHECK(strtoul(t_get("/proc/self/schedstat"), NULL, 10) > 200000000);
	t_sleep_ms(20);
	CHECK(field("/proc/self/status", "\nvoluntary_ctxt_switches:") > 0);
}

TEST(names_are_writable)
{
	t_put("/proc/self/comm", "a-new-name");
	STREQ(t_get("/proc/self/comm"), "a-new-name\n");
	CHECK(strstr(t_get("/proc/self/status"), "Name:\ta-new-name\n"));
	CHECK(strstr(t_get("/proc/self/stat"), "(a-new-name)"));
}

TEST(scores)
{
	EQ(atoi(t_get("/proc/self/oom_score_adj")), 0);
	t_put("/proc/self/oom_score_adj", "500\n");
	EQ(atoi(t_get("/proc/self/oom_score_adj")), 500);
	CHECK(atoi(t_get("/proc/self/oom_score")) >= 900);
	EQ(atoi(t_get("/proc/self/oom_adj")), 8);
	pid_t p = OK(fork());
	if (!p)
		_exit(atoi(t_get("/proc/self/oom_score_adj")) != 500);
	EQ(t_wait(p), 0);
	int fd = OK(open("/proc/self/oom_score_adj", O_WRONLY));
	ERR(write(fd, "2000", 4), EINVAL);
	ERR(write(fd, "x", 1), EINVAL);
}

static void *login_of_another(void *fd)
{
	ERR(write(*(int *)fd, "7", 1), EPERM); // only a thread's own
	t_put("/proc/thread-self/loginuid", "8");
	return NULL;
}

// What PAM's pam_loginuid does for cron, login and sshd.
TEST(login)
{
	int fd = open("/proc/self/loginuid", O_RDWR);

	if (fd < 0 && errno == ENOENT)
		SKIP("a kernel without audit");
	OK(fd);
	ERR(write(fd, "x", 1), EINVAL);
	ERR(write(fd, "-1", 2), EINVAL);
	ERR(write(fd, "4294967296", 10), ERANGE);
	if (strcmp(t_get("/proc/self/loginuid"), "4294967295") && write(fd, "4294967295", 10) < 0)
		SKIP("somebody logged in, and may not be forgotten");
	OK(close(fd));
	fd = OK(open("/proc/self/loginuid", O_RDWR));
	EQ(write(fd, "1000", 4), 4);
	STREQ(t_get("/proc/self/loginuid"), "1000");
	unsigned long session = strtoul(t_get("/proc/self/sessionid"), NULL, 10);
	CHECK(session > 0 && session < 0xffffffff);
	pid_t p = OK(fork());
	if (!p) {
		STREQ(t_get("/proc/self/loginuid"), "1000");
		EQ(strtoul(t_get("/proc/self/sessionid"), NULL, 10), session);
		int own = OK(open("/proc/self/loginuid", O_RDWR));
		ERR(write(fd, "1001", 4), EPERM); // the parent's
		struct { __u32 version; int pid; } h = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct { __u32 effective, permitted, inheritable; } none[2] = {0};
		ZERO(syscall(SYS_capset, &h, none));
		ERR(write(own, "1001", 4), EPERM); // it is set
		_exit(0);
	}
	EQ(t_wait(p), 0);
	pthread_t t;
	ZERO(pthread_create(&t, NULL, login_of_another, &fd));
	ZERO(pthread_join(t, NULL));
	STREQ(t_get("/proc/self/loginuid"), "1000");
}

TEST(small_files)
{
	STREQ(t_get("/proc/self/personality"), "00000000\n");
	STREQ(t_get("/proc/self/coredump_filter"), "00000033\n");
	t_put("/proc/self/coredump_filter", "0x21");
	STREQ(t_get("/proc/self/coredump_filter"), "00000021\n");
	t_put("/proc/self/clear_refs", "1");
	int fd = OK(open("/proc/self/clear_refs", O_WRONLY));
	ERR(write(fd, "9", 1), EINVAL);
	EQ(atoi(t_get("/proc/self/timerslack_ns")), 50000);
	t_put("/proc/self/timerslack_ns", "70000");
	EQ(atoi(t_get("/proc/self/timerslack_ns")), 70000);
	CHECK(strstr(t_get("/proc/self/sched"), "nr_voluntary_switches"));
	CHECK(strstr(t_get("/proc/self/io"), "write_bytes: "));
	CHECK(strstr(t_get("/proc/self/mountstats"), t_root_is_mount_point() ? " mounted on / with fstype " : " with fstype "));
	CHECK(strstr(t_get("/proc/self/setgroups"), "allow") || strstr(t_get("/proc/self/setgroups"), "deny"));
	CHECK(strstr(t_get("/proc/self/cgroup"), "/"));
}

static const char *fdinfo(int fd)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return t_get(path);
}

TEST_DIR(descriptors_tell_what_they_are)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	t_put("f", "0123456789");
	int fd = OK(open("f", O_RDONLY | O_CLOEXEC)), e = OK(eventfd(5, 0)), ep = OK(epoll_create1(0));
	int tf = OK(timerfd_create(CLOCK_MONOTONIC, 0)), sf = OK(signalfd(-1, &set, 0)), in = OK(inotify_init1(0));
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0xabc};
	struct itimerspec its = {{1, 0}, {1000, 0}};
	OK(lseek(fd, 7, SEEK_SET));
	CHECK(strstr(fdinfo(fd), "pos:\t7\n"));
	CHECK(strstr(fdinfo(fd), "flags:\t02100000\n") || strstr(fdinfo(fd), "flags:\t02000000\n"));
	CHECK(strstr(fdinfo(fd), "mnt_id:\t"));
	CHECK(strstr(fdinfo(e), "eventfd-count:                5\n"));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
	CHECK(strstr(fdinfo(ep), "tfd:"));
	CHECK(strstr(fdinfo(ep), "data:              abc"));
	OK(timerfd_settime(tf, 0, &its, NULL));
	CHECK(strstr(fdinfo(tf), "clockid: 1\n"));
	CHECK(strstr(fdinfo(tf), "it_interval: (1, 0)\n"));
	CHECK(strstr(fdinfo(tf), "it_value: (99"));
	CHECK(strstr(fdinfo(sf), "sigmask:\t0000000000000200\n"));
	OK(inotify_add_watch(in, ".", IN_CREATE));
	CHECK(strstr(fdinfo(in), "inotify wd:1 "));
}

// A place behind all descriptors is the end, not the beginning again.
TEST(places_in_directories)
{
	static const char *const dirs[] = {"/proc", "/proc/self", "/proc/self/fd", "/proc/self/fdinfo", "/proc/self/task"};
	for (unsigned i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		char buf[1024];
		int d = OK(open(dirs[i], O_RDONLY | O_DIRECTORY));
		EQ(lseek(d, 0x7fffffff, SEEK_SET), 0x7fffffff);
		EQ(syscall(SYS_getdents64, d, buf, sizeof(buf)), 0);
		ERR(lseek(d, 0x80000000l, SEEK_SET), EINVAL);
		ERR(lseek(d, (1l << 32) + 2, SEEK_SET), EINVAL);
		ERR(lseek(d, 1, SEEK_CUR), EINVAL);
		EQ(lseek(d, 0, SEEK_CUR), 0x7fffffff);
		EQ(lseek(d, 2, SEEK_SET), 2);
		CHECK(syscall(SYS_getdents64, d, buf, sizeof(buf)) > 0);
		close(d);
	}
}

TEST_DIR(locks_are_listed)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20};
	char want[128];
	struct stat st;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(fcntl(fd, F_SETLK, &fl));
	OK(fstat(fd, &st));
	snprintf(want, sizeof(want), ":%lu 10 29\n", (unsigned long)st.st_ino);
	CHECK(strstr(t_get("/proc/locks"), want));
	CHECK(strstr(t_get("/proc/locks"), "POSIX  ADVISORY  WRITE"));
	OK(flock(fd, LOCK_SH));
	snprintf(want, sizeof(want), ":%lu 0 EOF\n", (unsigned long)st.st_ino);
	CHECK(strstr(t_get("/proc/locks"), want));
	close(fd);
	CHECK(!strstr(t_get("/proc/locks"), want));
}

TEST(whole_system)
{
	static const char *const files[] = {"meminfo", "stat", "loadavg", "uptime", "version", "cmdline", "filesystems", "partitions", "diskstats",
		"devices", "misc", "interrupts", "softirqs", "vmstat", "zoneinfo", "buddyinfo", "swaps", "crypto", "cgroups", "consoles", "locks",
		"cpuinfo", "mounts", "net/dev", "net/route", "net/tcp", "net/unix", "sys/kernel/threads-max", "sys/kernel/pid_max",
		"sys/kernel/sched_rt_runtime_us", "sys/kernel/core_pattern", "sys/kernel/panic", "sys/kernel/printk", 
		"sys/vm/overcommit_memory", "sys/vm/max_map_count", "sys/vm/swappiness", "sys/vm/min_free_kbytes", "sys/vm/panic_on_oom",
		"sys/vm/dirty_expire_centisecs", "sys/fs/file-nr", "sys/fs/nr_open", "sys/fs/aio-max-nr", "sys/fs/aio-nr", "sys/fs/inode-nr",
		"sys/fs/dentry-state", "sys/fs/suid_dumpable", "sys/net/core/somaxconn", "sys/net/core/optmem_max", "sys/net/ipv4/tcp_syncookies",
		"sys/net/ipv4/ip_forward", "sys/net/ipv4/tcp_congestion_control", "sys/net/ipv4/tcp_mem", "sys/net/ipv4/ping_group_range"};
	char path[96];
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "/proc/%s", files[i]);
		int fd = open(path, O_RDONLY);
		if (fd < 0)
			t_fail(__LINE__, "%s: errno %d", path, errno);
		char b[64];
		if (read(fd, b, sizeof(b)) < 0)
			t_fail(__LINE__, "read %s: errno %d", path, errno);
		close(fd);
	}
	struct sysinfo si;
	OK(sysinfo(&si));
	EQ(field("/proc/meminfo", "MemTotal:") / 1024, si.totalram / MB);
	CHECK(field("/proc/meminfo", "MemAvailable:") <= field("/proc/meminfo", "MemTotal:"));
	CHECK(strstr(t_get("/proc/cgroups"), "memory\t"));
	unsigned long n = field("/proc/stat", "processes ");
	EQ(t_wait(OK(fork() ?: (_exit(0), 0))), 0);
	CHECK(field("/proc/stat", "processes ") > n);
}

TEST(cpus_agree)
{
	cpu_set_t set;
	OK(sched_getaffinity(0, sizeof(set), &set));
	long n = sysconf(_SC_NPROCESSORS_ONLN), procs = 0;
	CHECK(n >= 1 && n >= CPU_COUNT(&set));
	for (const char *p = t_get("/proc/cpuinfo"); (p = strstr(p, "processor\t:")); p++)
		procs++;
	EQ(procs, n);
	char path[128];
	static const char *const per_cpu[] = {"topology/core_id", "topology/physical_package_id", "topology/thread_siblings_list",
		"topology/core_cpus_list", "cache/index0/level", "cache/index0/size", "cache/index0/type", "cache/index0/coherency_line_size",
		"cache/index0/shared_cpu_list"};
	for (size_t i = 0; i < sizeof(per_cpu) / sizeof(*per_cpu); i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/%s", per_cpu[i]);
		if (strstr(path, "cache") && access("/sys/devices/system/cpu/cpu0/cache", F_OK))
			continue; // not on every machine
		CHECK(t_get(path)[0]);
	}
	CHECK(access("/sys/devices/system/cpu/cpu0/online", F_OK) == 0 || errno == ENOENT);
	STREQ(t_get("/sys/devices/system/node/node0/distance"), "10\n");
	CHECK(strstr(t_get("/sys/devices/system/node/node0/numastat"), "numa_hit "));
	CHECK(strstr(t_get("/sys/devices/system/clocksource/clocksource0/current_clocksource"), "tsc") || 1);
	CHECK(t_get("/sys/kernel/mm/transparent_hugepage/enabled")[0]);
	STREQ(t_get("/sys/class/net/lo/mtu"), "65536\n");
	STREQ(t_get("/sys/class/net/lo/address"), "00:00:00:00:00:00\n");
	OK(access("/sys/block", F_OK));
	OK(access("/sys/module", F_OK));
}

// In an enclave the cgroup's files show the enclave's own limits.
TEST(control_group)
{
	if (access("/proc/coffer/objects", R_OK))
		SKIP("only inside an enclave");
	unsigned long total = field("/proc/meminfo", "MemTotal:") << 10;
	EQ(strtoul(t_get("/sys/fs/cgroup/memory.max"), NULL, 10), total - 4096); // below MemTotal, or a JVM takes it for none
	unsigned long used = strtoul(t_get("/sys/fs/cgroup/memory.current"), NULL, 10);
	CHECK(used > 0 && used < total);
	char *p = OK(mmap(NULL, 64 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	memset(p, 1, 64 * MB);
	t_sleep_ms(50);
	CHECK(strtoul(t_get("/sys/fs/cgroup/memory.current"), NULL, 10) > used + 48 * MB);
	CHECK(field("/sys/fs/cgroup/memory.stat", "anon ") > 60 * MB);
	STREQ(t_get("/sys/fs/cgroup/cpu.max"), "max 100000\n");
	char me[16];
	snprintf(me, sizeof(me), "%d\n", getpid());
	CHECK(strstr(t_get("/sys/fs/cgroup/cgroup.procs"), me));
	STREQ(t_get("/proc/self/cgroup"), "0::/\n");
}
