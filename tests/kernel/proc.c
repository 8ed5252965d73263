// SPDX-License-Identifier: Apache-2.0
// /proc, /dev and the calls that describe the system, as programs read them.
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "tests/kernel/t.h"

TEST(self_is_this_process)
{
	char b[64] = "", want[16];
	CHECK(readlink("/proc/self", b, sizeof(b)) > 0);
	snprintf(want, sizeof(want), "%d", getpid());
	STREQ(b, want);
	struct stat st;
	snprintf(b, sizeof(b), "/proc/%d", getpid());
	OK(stat(b, &st));
	CHECK(S_ISDIR(st.st_mode));
	ERR(stat("/proc/4194304", &st), ENOENT);
}

TEST(exe_is_the_program)
{
	char b[PATH_MAX] = "";
	CHECK(readlink("/proc/self/exe", b, sizeof(b)) > 0);
	CHECK(strrchr(b, '/') && !strcmp(strrchr(b, '/') + 1, t_prog));
	struct stat x, y;
	OK(stat("/proc/self/exe", &x));
	OK(stat(b, &y));
	EQ(x.st_ino, y.st_ino);
}

TEST(cmdline_and_comm)
{
	const char *c = t_get("/proc/self/cmdline");
	CHECK(strlen(c) > 0 && strstr(c, t_prog));
	OK(prctl(PR_SET_NAME, "new-name"));
	STREQ(t_get("/proc/self/comm"), "new-name\n");
}

TEST(environ_holds_variables)
{
	// The environment at the start of the program: that of a helper with a known one.
	int q[2];
	char b[64] = "";
	OK(pipe(q));
	pid_t p = OK(fork());
	if (!p) {
		char *argv[] = {"x", "--helper", "environ", NULL}, *envp[] = {"ONE=1", "TWO=2", NULL};
		dup2(q[1], 1);
		execve(t_self, argv, envp);
		_exit(1);
	}
	EQ(t_wait(p), 0);
	close(q[1]);
	EQ(t_readn(q[0], b, sizeof(b)), 12);
	CHECK(!memcmp(b, "ONE=1\0TWO=2\0", 12));
}

HELPER(environ)
{
	char b[64];
	int fd = open("/proc/self/environ", O_RDONLY);
	ssize_t n = read(fd, b, sizeof(b));
	return n > 0 && write(1, b, (size_t)n) == n ? 0 : 1;
}

TEST(stat_fields)
{
	const char *s = t_get("/proc/self/stat");
	int pid, ppid, pgrp, sid;
	char state, comm[32];
	EQ(sscanf(s, "%d (%31[^)]) %c %d %d %d", &pid, comm, &state, &ppid, &pgrp, &sid), 6);
	EQ(pid, getpid());
	EQ(state, 'R');
	EQ(ppid, getppid());
	EQ(pgrp, getpgrp());
	EQ(sid, getsid(0));
	int fields = 0;
	for (const char *p = strrchr(s, ')'); *p; p++)
		fields += *p == ' ';
	EQ(fields, 50); // 52 in all
}

TEST(state_of_child)
{
	char path[64];
	pid_t p = OK(fork());
	if (!p)
		for (;;)
			pause();
	snprintf(path, sizeof(path), "/proc/%d/stat", p);
	while (!strstr(t_get(path), ") S "))
		t_sleep_ms(1);
	OK(kill(p, SIGSTOP));
	while (!strstr(t_get(path), ") T "))
		t_sleep_ms(1);
	OK(kill(p, SIGKILL));
	siginfo_t si;
	OK(waitid(P_PID, (id_t)p, &si, WEXITED | WNOWAIT));
	CHECK(strstr(t_get(path), ") Z "));
	EQ(t_wait(p), 128 + SIGKILL);
	ERR(open(path, O_RDONLY), ENOENT);
}

TEST(status_lines)
{
	char want[64];
	const char *s = t_get("/proc/self/status");
	snprintf(want, sizeof(want), "\nPid:\t%d\n", getpid());
	CHECK(strstr(s, want));
	snprintf(want, sizeof(want), "\nPPid:\t%d\n", getppid());
	CHECK(strstr(s, want));
	CHECK(!strncmp(s, "Name:\t", 6));
	CHECK(strstr(s, "\nThreads:\t1\n"));
	CHECK(strstr(s, "\nUid:\t"));
	CHECK(strstr(s, "\nVmRSS:\t"));
	CHECK(strstr(s, "\nSigBlk:\t"));
}

TEST(maps_show_mappings)
{
	char want[64];
	char *m = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(mprotect(m + 4096, 4096, PROT_NONE)); // stays apart from its neighbours
	snprintf(want, sizeof(want), "%lx-%lx r--p", (unsigned long)m, (unsigned long)m + 4096);
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f);
	char line[PATH_MAX + 100];
	bool mine = false, self = false, stack = false;
	unsigned long last = 0;
	while (fgets(line, sizeof(line), f)) {
		unsigned long a, b;
		EQ(sscanf(line, "%lx-%lx", &a, &b), 2);
		CHECK(a >= last && b > a); // sorted, without overlap
		last = b;
		mine |= strstr(line, want + 13) && strstr(line, "r--p");
		self |= strstr(line, t_prog) != NULL;
		stack |= strstr(line, "[stack]") != NULL;
	}
	CHECK(mine);
	CHECK(self);
	CHECK(stack);
}

TEST_DIR(fd_directory)
{
	char path[64], to[PATH_MAX] = "", cwd[PATH_MAX];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), n = 0, p[2];
	CHECK(getcwd(cwd, sizeof(cwd)));
	OK(pipe(p));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, to, sizeof(to)) > 0);
	CHECK(!strncmp(to, cwd, strlen(cwd)) && !strcmp(to + strlen(cwd), "/f"));
	DIR *d = opendir("/proc/self/fd");
	CHECK(d);
	struct dirent *e;
	bool seen = false;
	while ((e = readdir(d))) {
		seen |= atoi(e->d_name) == fd && e->d_name[0] != '.';
		n++;
	}
	CHECK(seen && n > 4);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	memset(to, 0, sizeof(to));
	CHECK(readlink(path, to, sizeof(to)) > 0);
	CHECK(!strncmp(to, "pipe:[", 6));
	OK(unlink("f"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(to, 0, sizeof(to));
	CHECK(readlink(path, to, sizeof(to)) > 0);
	CHECK(strstr(to, "/f (deleted)"));
}

TEST_DIR(dev_fd_reopens_file)
{
	char path[64], b[8] = "";
	t_put("f", "abc");
	int fd = OK(open("f", O_RDONLY));
	EQ(read(fd, b, 2), 2);
	snprintf(path, sizeof(path), "/dev/fd/%d", fd);
	int g = OK(open(path, O_RDONLY)); // a new open: from the start
	EQ(read(g, b, 8), 3);
	STREQ(b, "abc");
}

TEST(fdinfo)
{
	char path[64];
	int p[2];
	OK(pipe2(p, O_NONBLOCK));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", p[0]);
	const char *s = t_get(path);
	CHECK(strstr(s, "pos:\t0\n"));
	CHECK(strstr(s, "flags:\t"));
}

TEST(cwd_and_root_links)
{
	char a[PATH_MAX] = "", b[PATH_MAX];
	CHECK(readlink("/proc/self/cwd", a, sizeof(a)) > 0);
	CHECK(getcwd(b, sizeof(b)));
	STREQ(a, b);
	memset(a, 0, sizeof(a));
	CHECK(readlink("/proc/self/root", a, sizeof(a)) > 0);
	STREQ(a, "/");
}

static void *stay(void *arg)
{
	char c;
	(void)!read(*(int *)arg, &c, 1);
	return NULL;
}

TEST(task_directory)
{
	int q[2], n = 0;
	pthread_t t;
	OK(pipe(q));
	ZERO(pthread_create(&t, NULL, stay, &q[0]));
	DIR *d = opendir("/proc/self/task");
	CHECK(d);
	struct dirent *e;
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	EQ(n, 2);
	CHECK(strstr(t_get("/proc/self/status"), "\nThreads:\t2\n"));
	close(q[1]);
	ZERO(pthread_join(t, NULL));
}

TEST(list_of_processes)
{
	bool me = false, child = false;
	pid_t p = OK(fork());
	if (!p)
		for (;;)
			pause();
	DIR *d = opendir("/proc");
	CHECK(d);
	struct dirent *e;
	while ((e = readdir(d))) {
		me |= atoi(e->d_name) == getpid();
		child |= atoi(e->d_name) == p;
	}
	CHECK(me && child);
	t_end(p);
}

TEST(system_files)
{
	CHECK(strstr(t_get("/proc/meminfo"), "MemTotal:"));
	CHECK(strstr(t_get("/proc/meminfo"), "MemAvailable:"));
	CHECK(strstr(t_get("/proc/cpuinfo"), "processor\t: 0"));
	CHECK(strstr(t_get("/proc/cpuinfo"), "flags\t\t:"));
	CHECK(strstr(t_get("/proc/stat"), "cpu "));
	CHECK(strtod(t_get("/proc/uptime"), NULL) > 0);
	double a, b, c;
	EQ(sscanf(t_get("/proc/loadavg"), "%lf %lf %lf", &a, &b, &c), 3);
	CHECK(strstr(t_get("/proc/version"), "Linux version"));
	CHECK(strstr(t_get("/proc/self/mounts"), " /proc "));
	CHECK(strstr(t_get("/proc/filesystems"), "proc"));
	CHECK(strstr(t_get("/proc/self/limits"), "Max open files"));
	CHECK(atoi(t_get("/proc/sys/kernel/pid_max")) > 100);
	CHECK(strlen(t_get("/proc/sys/kernel/osrelease")) > 1);
	OK(access("/proc/self/oom_score_adj", F_OK));
	OK(access("/proc/self/statm", R_OK));
	OK(access("/proc/self/mountinfo", R_OK));
	OK(access("/proc/sys/vm/overcommit_memory", R_OK));
}

TEST(dev_null_zero_full)
{
	char b[100];
	int n = OK(open("/dev/null", O_RDWR)), z = OK(open("/dev/zero", O_RDWR)), f = OK(open("/dev/full", O_RDWR));
	EQ(read(n, b, 100), 0);
	EQ(write(n, b, 100), 100);
	memset(b, 1, sizeof(b));
	EQ(read(z, b, 100), 100);
	for (int i = 0; i < 100; i++)
		EQ(b[i], 0);
	EQ(write(z, b, 100), 100);
	ERR(write(f, b, 1), ENOSPC);
	EQ(read(f, b, 100), 100);
	EQ(b[99], 0);
	char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, z, 0);
	CHECK(m != MAP_FAILED);
	EQ(m[5], 0);
	m[5] = 1;
	struct stat st;
	OK(fstat(n, &st));
	EQ(st.st_rdev, 0x103);
}

TEST(random_sources)
{
	uint64_t a[4] = {0}, b[4] = {0};
	int u = OK(open("/dev/urandom", O_RDONLY));
	EQ(read(u, a, sizeof(a)), sizeof(a));
	EQ(read(u, b, sizeof(b)), sizeof(b));
	CHECK(memcmp(a, b, sizeof(a)));
	EQ(getrandom(a, sizeof(a), 0), sizeof(a));
	EQ(getrandom(b, sizeof(b), GRND_NONBLOCK), sizeof(b));
	CHECK(memcmp(a, b, sizeof(a)));
	CHECK(a[0] | a[1]);
	ERR(getrandom(a, 8, 0x100), EINVAL);
	static char big[1 << 20];
	EQ(getrandom(big, sizeof(big), 0), sizeof(big));
	int ones = 0;
	for (size_t i = 0; i < sizeof(big); i++)
		ones += __builtin_popcount((unsigned char)big[i]);
	CHECK(ones > (4 << 20) - 20000 && ones < (4 << 20) + 20000);
	// after fork both sides get different bytes
	int q[2];
	OK(pipe(q));
	pid_t p = OK(fork());
	if (!p) {
		EQ(getrandom(a, 8, 0), 8);
		t_writen(q[1], a, 8);
		_exit(0);
	}
	EQ(getrandom(a, 8, 0), 8);
	t_readn(q[0], b, 8);
	CHECK(a[0] != b[0]);
	EQ(t_wait(p), 0);
}

TEST(dev_stdin_and_friends)
{
	char b[32] = "";
	CHECK(readlink("/dev/stdin", b, sizeof(b)) > 0);
	STREQ(b, "/proc/self/fd/0");
	memset(b, 0, sizeof(b));
	CHECK(readlink("/dev/fd", b, sizeof(b)) > 0);
	STREQ(b, "/proc/self/fd");
	struct stat st;
	OK(stat("/dev/shm", &st));
	CHECK(S_ISDIR(st.st_mode));
	OK(stat("/dev/ptmx", &st));
	OK(stat("/dev/pts", &st));
}

TEST(uname_says_linux)
{
	struct utsname u;
	int a, b;
	OK(uname(&u));
	STREQ(u.sysname, "Linux");
	STREQ(u.machine, "x86_64");
	EQ(sscanf(u.release, "%d.%d", &a, &b), 2);
	CHECK(a >= 4);
	char host[100];
	OK(gethostname(host, sizeof(host)));
	STREQ(host, u.nodename);
}

TEST(sysinfo_and_sysconf)
{
	struct sysinfo si;
	OK(sysinfo(&si));
	CHECK(si.totalram > 0 && si.freeram <= si.totalram && si.mem_unit > 0);
	CHECK(si.uptime >= 0 && si.procs >= 1);
	EQ(sysconf(_SC_PAGESIZE), 4096);
	CHECK(sysconf(_SC_NPROCESSORS_CONF) >= 1);
	CHECK(sysconf(_SC_PHYS_PAGES) > 100);
	EQ(sysconf(_SC_CLK_TCK), 100);
}

TEST(rlimits)
{
	struct rlimit rl, old;
	OK(getrlimit(RLIMIT_NOFILE, &old));
	CHECK(old.rlim_cur >= 64 && old.rlim_cur <= old.rlim_max);
	rl = old;
	rl.rlim_cur = 100;
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	OK(prlimit(0, RLIMIT_NOFILE, NULL, &rl));
	EQ(rl.rlim_cur, 100);
	rl.rlim_cur = rl.rlim_max + 1;
	if (rl.rlim_max != RLIM_INFINITY)
		ERR(setrlimit(RLIMIT_NOFILE, &rl), EINVAL);
	ERR(getrlimit((__rlimit_resource_t)99, &rl), EINVAL);
	OK(getrlimit(RLIMIT_STACK, &rl));
	OK(getrlimit(RLIMIT_AS, &rl));
	ERR(prlimit(1 << 22, RLIMIT_NOFILE, NULL, &rl), ESRCH);
	EQ(sysconf(_SC_OPEN_MAX), 100);
}

TEST_DIR(file_size_limit)
{
	struct rlimit rl = {1000, 1000};
	static char b[2000];
	signal(SIGXFSZ, SIG_IGN);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	OK(setrlimit(RLIMIT_FSIZE, &rl));
	EQ(write(fd, b, 2000), 1000);
	ERR(write(fd, b, 1), EFBIG);
	ERR(ftruncate(fd, 2000), EFBIG);
	pid_t p = OK(fork());
	if (!p) {
		signal(SIGXFSZ, SIG_DFL);
		(void)!write(fd, b, 1);
		_exit(0);
	}
	EQ(t_wait(p), 128 + SIGXFSZ);
}

// What was touched, in KiB, not what was mapped; of a child when it has ended.
static void touch(size_t mapped, size_t touched)
{
	char *m = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(m != MAP_FAILED);
	(void)madvise(m, mapped, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < touched; i += 4096)
		m[i] = 1;
	OK(munmap(m, mapped));
}

TEST(rusage_memory)
{
	struct rusage a, b, w;
	int st;
	OK(getrusage(RUSAGE_SELF, &a));
	CHECK(a.ru_maxrss > 100 && a.ru_maxrss < 200 << 10);
	touch(1ul << 30, 4096);
	OK(getrusage(RUSAGE_SELF, &b));
	CHECK(b.ru_maxrss < 200 << 10);
	touch(32 << 20, 32 << 20);
	OK(getrusage(RUSAGE_SELF, &b));
	CHECK(b.ru_maxrss >= 32 << 10 && b.ru_maxrss < 300 << 10);
	CHECK(b.ru_minflt - a.ru_minflt >= (32 << 20) / 4096);
	OK(getrusage(RUSAGE_CHILDREN, &a));
	EQ(a.ru_maxrss, 0);
	pid_t p = OK(fork());
	if (!p) {
		touch(100 << 20, 100 << 20);
		_exit(0);
	}
	EQ(wait4(p, &st, 0, &w), p);
	EQ(st, 0);
	CHECK(w.ru_maxrss >= 100 << 10 && w.ru_maxrss < 400 << 10);
	CHECK(w.ru_minflt >= (100 << 20) / 4096);
	p = OK(fork());
	if (!p) { // its own child's counts are its own, when it has waited for it
		pid_t q = fork();
		if (!q) {
			touch(150 << 20, 150 << 20);
			_exit(0);
		}
		waitpid(q, NULL, 0);
		_exit(0);
	}
	EQ(wait4(p, &st, 0, &w), p);
	CHECK(w.ru_maxrss >= 150 << 10);
	OK(getrusage(RUSAGE_CHILDREN, &b));
	CHECK(b.ru_maxrss >= 150 << 10 && b.ru_minflt >= (250 << 20) / 4096);
	OK(getrusage(RUSAGE_THREAD, &b));
	CHECK(b.ru_maxrss >= 32 << 10);
}

TEST(rusage_counts)
{
	struct rusage a, b;
	OK(getrusage(RUSAGE_SELF, &a));
	CHECK(a.ru_maxrss > 0);
	volatile unsigned x = 0;
	do {
		for (int i = 0; i < 1000000; i++)
			x++;
		OK(getrusage(RUSAGE_SELF, &b));
	} while (b.ru_utime.tv_sec == a.ru_utime.tv_sec && b.ru_utime.tv_usec == a.ru_utime.tv_usec);
	OK(getrusage(RUSAGE_THREAD, &b));
	ERR(getrusage((__rusage_who_t)99, &b), EINVAL);
}

TEST(identities)
{
	uid_t r, e, s;
	gid_t g[100];
	EQ(getuid(), geteuid());
	EQ(getgid(), getegid());
	OK(getresuid(&r, &e, &s));
	EQ(r, getuid());
	CHECK(getgroups(100, g) >= 0);
	ERR(syscall(SYS_getgroups, -1, g), EINVAL);
	if (getuid() == 0) {
		pid_t p = OK(fork());
		if (!p) {
			gid_t one = 1234;
			OK(setgroups(1, &one));
			EQ(getgroups(100, g), 1);
			EQ(g[0], 1234);
			OK(setresgid(10, 11, 12));
			OK(setresuid(20, 21, 22));
			OK(getresuid(&r, &e, &s));
			CHECK(r == 20 && e == 21 && s == 22);
			OK(seteuid(22));
			ERR(seteuid(0), EPERM);
			ERR(setgroups(1, &one), EPERM);
			_exit(0);
		}
		EQ(t_wait(p), 0);
	}
}

TEST(priority_and_scheduling)
{
	int was = getpriority(PRIO_PROCESS, 0);
	OK(setpriority(PRIO_PROCESS, 0, was + 1));
	EQ(getpriority(PRIO_PROCESS, 0), was < 19 ? was + 1 : 19);
	ERR(getpriority((__priority_which_t)99, 0), EINVAL);
	EQ(sched_getscheduler(0), SCHED_OTHER);
	struct sched_param sp = {0};
	OK(sched_getparam(0, &sp));
	EQ(sp.sched_priority, 0);
	OK(sched_yield());
	EQ(sched_get_priority_max(SCHED_OTHER), 0);
	EQ(sched_get_priority_max(SCHED_FIFO), 99);
}

TEST(prctl_calls)
{
	char n[16] = "";
	OK(prctl(PR_SET_NAME, "abc"));
	OK(prctl(PR_GET_NAME, n));
	STREQ(n, "abc");
	EQ(prctl(PR_GET_DUMPABLE) >= 0, 1);
	int sig = 5;
	OK(prctl(PR_GET_PDEATHSIG, &sig));
	EQ(sig, 0);
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	ERR(prctl(12345678), EINVAL);
}

TEST(proc_is_not_writable)
{
	ERR(mkdir("/proc/x", 0755), ENOENT);
	CHECK(unlink("/proc/self/stat") == -1 && (errno == EPERM || errno == EACCES));
	CHECK(open("/proc/self/newfile", O_RDWR | O_CREAT, 0644) == -1);
}

TEST(sys_and_etc_for_programs)
{
	OK(access("/sys/devices/system/cpu/online", R_OK));
	CHECK(strlen(t_get("/sys/devices/system/cpu/online")) > 0);
	struct stat st;
	OK(stat("/tmp", &st));
	CHECK(S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 01777);
	OK(stat("/sys", &st));
}

TEST(membarrier_or_enosys)
{
	long r = syscall(324, 0, 0, 0);
	CHECK(r >= 0 || errno == ENOSYS);
}

TEST(read_in_small_pieces)
{
	// cat and shells read /proc files in pieces; the pieces make the whole.
	char whole[4096] = "", pieces[4096] = "";
	int fd = OK(open("/proc/self/status", O_RDONLY));
	size_t a = t_readn(fd, whole, sizeof(whole) - 1), b = 0;
	fd = OK(open("/proc/self/status", O_RDONLY));
	ssize_t n;
	while ((n = read(fd, pieces + b, 7)) > 0)
		b += (size_t)n;
	EQ(a, b);
	CHECK(!strncmp(whole, pieces, 30));
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(read(fd, pieces, 6), 6);
	CHECK(!strncmp(pieces, "Name:\t", 6));
}
