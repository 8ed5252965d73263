// SPDX-License-Identifier: Apache-2.0
// User namespaces: maps of ids, capabilities that count only there, what a ruler of one may do and what not. Cases work in children,
// some as an ordinary user.
#include "userns.h"
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static unsigned long caps(const char *which)
{
	const char *text = t_get("/proc/self/status"), *p = strstr(text, which);
	CHECK(p);
	return strtoul(p + strlen(which) + 1, NULL, 16);
}

TEST(ids_without_a_map)
{
	alone_in(0);
	EQ(getuid(), 65534);
	EQ(geteuid(), 65534);
	EQ(getgid(), 65534);
	STREQ(t_get("/proc/self/uid_map"), "");
	STREQ(t_get("/proc/self/setgroups"), "allow\n");
	CHECK(caps("CapEff:") == caps("CapBnd:") && caps("CapEff:"));
	EQ(caps("CapInh:"), 0);
	ERR(setuid(0), EINVAL);
	ERR(setgroups(0, NULL), EPERM);
	ERR(chown("/tmp", 0, -1), EINVAL);
	struct stat st;
	OK(stat("/", &st));
	EQ(st.st_uid, 65534);
	ERR(setresuid(-1, 5, -1), EINVAL);
	OK(setresuid(-1, -1, -1));
}

TEST_DIR(root_of_its_own)
{
	OK(chmod(".", 0777));
	as_root_in(0);
	EQ(getuid(), 0);
	EQ(getgid(), 0);
	CHECK(strstr(t_get("/proc/self/status"), "Uid:\t0\t0\t0\t0"));
	struct stat st;
	OK(stat("/", &st));
	EQ(st.st_uid, 65534);
	t_put("mine", "x");
	OK(stat("mine", &st));
	EQ(st.st_uid, 0);
	EQ(st.st_gid, 0);
	struct statx sx;
	OK(statx(AT_FDCWD, "mine", 0, STATX_BASIC_STATS, &sx));
	EQ(sx.stx_uid, 0);
	OK(chown("mine", 0, 0));
	ERR(chown("mine", 5, -1), EINVAL);
	ERR(chown("/etc/passwd", 0, 0), EPERM);
	ERR(open("/etc/passwd", O_WRONLY), EACCES);
	ERR(setuid(5), EINVAL);
	OK(setuid(0));
	ERR(setgroups(0, NULL), EPERM);
	OK(chmod("mine", 0));
	int fd = OK(open("mine", O_RDWR)); // CAP_DAC_OVERRIDE counts for one's own
	close(fd);
	ERR(sethostname("x", 1), EPERM);
	ERR(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), EPERM);
	ERR(mknod("dev", S_IFCHR | 0600, 0x103), EPERM);
	ERR(setxattr("mine", "trusted.x", "1", 1, 0), EPERM);
	ERR(open("/proc/1/mem", O_RDWR), EACCES);
	gid_t g[4];
	EQ(getgroups(4, g) >= 0, 1);
}

TEST(maps_are_written_once_and_rightly)
{
	char me[64], path[64], map_of_group[64];
	uid_t uid = geteuid() ? geteuid() : 1234;
	gid_t gid = geteuid() ? getegid() : 1234;
	alone_in(0);
	snprintf(map_of_group, sizeof(map_of_group), "0 %u 1", gid);
	snprintf(me, sizeof(me), "0 %u 1", uid);
	EQ(put("/proc/self/uid_map", ""), EINVAL);
	EQ(put("/proc/self/uid_map", "0 0"), EINVAL);
	EQ(put("/proc/self/uid_map", "0 0 0"), EINVAL);
	EQ(put("/proc/self/uid_map", "a 0 1"), EINVAL);
	EQ(put("/proc/self/uid_map", "0 1234 1 x"), EINVAL);
	EQ(put("/proc/self/uid_map", "0 100 10\n5 200 10\n"), EINVAL);
	EQ(put("/proc/self/uid_map", "0 100 10\n50 105 10\n"), EINVAL);
	EQ(put("/proc/self/uid_map", "4294967290 0 10"), EINVAL);
	EQ(put("/proc/self/uid_map", "0 0 1"), EPERM);
	EQ(put("/proc/self/uid_map", "0 1234 2"), EPERM);
	EQ(put("/proc/self/gid_map", "0 1234 1"), EPERM); // setgroups is not denied
	snprintf(path, sizeof(path), "%10u %10u %10u\n", 0, uid, 1);
	EQ(put("/proc/self/uid_map", me), 0);
	STREQ(t_get("/proc/self/uid_map"), path);
	EQ(put("/proc/self/uid_map", me), EPERM);
	EQ(put("/proc/self/setgroups", "deny"), 0);
	EQ(put("/proc/self/setgroups", "allow"), EPERM);
	EQ(put("/proc/self/setgroups", "nonsense"), EINVAL);
	EQ(put("/proc/self/setgroups", "deny"), 0); // again
	EQ(put("/proc/self/gid_map", map_of_group), 0);
	EQ(put("/proc/self/setgroups", "deny"), EPERM); // not after the groups' map, though it says so already
	STREQ(t_get("/proc/self/setgroups"), "deny\n");
	EQ(put("/proc/self/projid_map", "0 0 4294967295"), 0);
}

// Root maps a range for a child, as newuidmap does.
TEST_DIR(a_range)
{
	struct pair w;
	if (geteuid())
		SKIP("not root");
	pair_new(&w);
	OK(chmod(".", 0777));
	t_put("five", "x");
	OK(chown("five", 100005, 100006));
	t_put("other", "x");
	OK(chown("other", 99, 99));
	pid_t p = OK(fork());
	if (!p) {
		if (unshare(CLONE_NEWUSER))
			_exit(T_SKIPPED);
		say(w.up);
		hear(w.down);
		EQ(getuid(), 65534);
		OK(setgroups(0, NULL));
		OK(setresgid(6, 6, 6));
		OK(setresuid(0, 0, 0));
		EQ(getuid(), 0);
		CHECK(caps("CapEff:"));
		struct stat st;
		OK(stat("five", &st));
		EQ(st.st_uid, 5);
		EQ(st.st_gid, 6);
		OK(chown("five", 7, 8));
		OK(stat("five", &st));
		EQ(st.st_uid, 7);
		ERR(chown("five", 1005, 8), EINVAL);
		ERR(chown("other", 7, 8), EPERM);
		OK(stat("other", &st));
		EQ(st.st_uid, 65534);
		gid_t g[] = {1, 999}, got[3];
		OK(setgroups(2, g));
		EQ(getgroups(3, got), 2);
		EQ(got[1], 999);
		g[0] = 1000;
		ERR(setgroups(2, g), EINVAL);
		OK(setresuid(5, 5, 5));
		EQ(caps("CapEff:"), 0);
		EQ(getuid(), 5);
		_exit(0);
	}
	hear_or_skip(&w, p);
	EQ(put_of(p, "uid_map", "0 100000 1000\n1000 300000 5\n"), 0);
	EQ(put_of(p, "gid_map", "0 100000 1000"), 0);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/uid_map", p);
	STREQ(t_get(path), "         0     100000       1000\n      1000     300000          5\n");
	say(w.down);
	EQ(t_wait(p), 0);
	struct stat st;
	OK(stat("five", &st));
	EQ(st.st_uid, 100007);
	EQ(st.st_gid, 100008);
}

// With the user namespace come the right to have others, and rule over them.
TEST_DIR(others_are_owned)
{
	OK(chmod(".", 0777));
	char here[4096];
	OK((long)getcwd(here, sizeof(here)));
	as_root_in(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET);
	OK(sethostname("inner", 5));
	OK(mkdir("m", 0755));
	OK(mount("tmpfs", "m", "tmpfs", 0, NULL));
	t_put("m/f", "x");
	OK(mkdir("n", 0755));
	OK(mount("m", "n", NULL, MS_BIND, NULL));
	STREQ(t_get("n/f"), "x");
	OK(mount(NULL, "n", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	ERR(open("n/f", O_WRONLY), EROFS);
	OK(umount("n"));
	OK(umount("m"));
	ERR(umount2("/proc", MNT_DETACH), EINVAL);
	ERR(mount(NULL, "/proc", NULL, MS_REMOUNT, NULL), EPERM);
	ERR(mount("proc", "m", "proc", 0, NULL), EPERM); // its PID namespace is not its own
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)); // a port below 1024
	struct sockaddr a = {.sa_family = AF_INET, .sa_data = {0, 80}};
	OK(bind(s, &a, sizeof(struct sockaddr)));
	ERR(setpriority(0, 0, -10), EACCES);
}

TEST_DIR(proc_of_its_own)
{
	OK(chmod(".", 0777));
	as_root_in(CLONE_NEWNS | CLONE_NEWPID);
	OK(mkdir("p", 0755));
	pid_t p = OK(fork());
	if (!p) {
		EQ(getpid(), 1);
		if (mount("proc", "p", "proc", 0, NULL))
			_exit(errno == EPERM ? T_SKIPPED : 3);
		CHECK(strstr(t_get("p/self/status"), "Pid:\t1\n"));
		_exit(0);
	}
	int r = t_wait(p);
	if (r == T_SKIPPED)
		SKIP("the outer /proc is partly hidden");
	EQ(r, 0);
}

TEST(clone_makes_one)
{
	if (!geteuid()) {
		OK(setresgid(1234, 1234, 1234));
		OK(setresuid(1234, 1234, 1234));
	}
	struct clone_args { uint64_t v[11]; } a = {.v = {CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS, 0, 0, 0, SIGCHLD}};
	long p = syscall(SYS_clone3, &a, 64);
	if (p < 0 && (errno == EPERM || errno == ENOSPC))
		SKIP("no user namespaces here");
	OK(p);
	if (!p) {
		EQ(getpid(), 1);
		EQ(getuid(), 65534);
		OK(sethostname("y", 1));
		_exit(0);
	}
	EQ(t_wait((pid_t)p), 0);
	a.v[0] = CLONE_NEWUTS;
	ERR(syscall(SYS_clone3, &a, 64), EPERM);
	a.v[0] = CLONE_NEWUSER | CLONE_FS;
	ERR(syscall(SYS_clone3, &a, 64), EINVAL);
}

TEST(nested_and_entered)
{
	struct pair w;
	char path[64];
	pair_new(&w);
	as_root_in(0);
	int mine = OK(open("/proc/self/ns/user", O_RDONLY));
	pid_t p = OK(fork());
	if (!p) {
		OK(unshare(CLONE_NEWUSER | CLONE_NEWUTS));
		EQ(put("/proc/self/uid_map", "5 0 1"), 0);
		EQ(getuid(), 5);
		STREQ(t_get("/proc/self/uid_map"), "         5          0          1\n");
		ERR(setns(mine, CLONE_NEWUSER), EPERM); // upwards
		int up_fd = open("/proc/self/ns/user", O_RDONLY);
		ERR(ioctl(up_fd, NS_GET_PARENT), EPERM);
		say(w.up);
		hear(w.down);
		_exit(0);
	}
	hear(w.up);
	snprintf(path, sizeof(path), "/proc/%d/ns/uts", p);
	int uts = OK(open(path, O_RDONLY));
	snprintf(path, sizeof(path), "/proc/%d/ns/user", p);
	int inner = OK(open(path, O_RDONLY)), fd;
	EQ(ioctl(inner, NS_GET_NSTYPE), CLONE_NEWUSER);
	uid_t owner = 77;
	OK(ioctl(inner, NS_GET_OWNER_UID, &owner));
	EQ(owner, 0);
	struct stat a, b;
	fd = OK(ioctl(inner, NS_GET_PARENT));
	OK(fstat(fd, &a));
	OK(fstat(mine, &b));
	EQ(a.st_ino, b.st_ino);
	fd = OK(ioctl(uts, NS_GET_USERNS));
	OK(fstat(fd, &a));
	OK(fstat(inner, &b));
	EQ(a.st_ino, b.st_ino);
	OK(setns(uts, 0)); // the maker rules what it made
	ERR(setns(mine, CLONE_NEWUSER), EINVAL);
	OK(setns(inner, CLONE_NEWUSER));
	EQ(getuid(), 5);
	OK(sethostname("z", 1));
	say(w.down);
	EQ(t_wait(p), 0);
}

TEST(ids_of_senders)
{
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	int on = 1;
	OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	as_root_in(0);
	char buf[64], ctl[64];
	struct iovec v = {buf, sizeof(buf)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	OK(write(s[0], "x", 1));
	OK(recvmsg(s[1], &m, 0));
	struct ucred *u = (void *)CMSG_DATA(CMSG_FIRSTHDR(&m));
	EQ(u->uid, 0);
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	OK(kill(getpid(), SIGUSR1));
	OK(sigwaitinfo(&set, &info));
	EQ(info.si_uid, 0);
	EQ(info.si_pid, getpid());
	if (getppid() > 1)
		ERR(kill(1, 0), EPERM);
}

// A program that is run keeps what it is; root of the namespace has all capabilities again.
HELPER(tell_caps)
{
	return getuid() == 0 && caps("CapEff:") == caps("CapBnd:") ? 0 : 9;
}

TEST(a_program_is_run)
{
	as_root_in(0);
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{0}};
	OK(syscall(SYS_capset, &h, d));
	EQ(caps("CapEff:"), 0);
	pid_t p = OK(fork());
	if (!p)
		execl(t_self, t_self, "--helper", "tell_caps", NULL);
	EQ(t_wait(p), 0);
}

TEST(not_from_a_thread_or_a_chroot)
{
	if (geteuid())
		SKIP("not root");
	OK(chroot("/proc"));
	ERR(unshare(CLONE_NEWUSER), EPERM);
}

// What an overlay of one's own shows and changes is no more than what one may see and change without it.
TEST_DIR(an_overlay_is_no_way_around)
{
	if (geteuid())
		SKIP("not root");
	OK(chmod(".", 0777));
	OK(mkdir("low", 0755));
	OK(mkdir("low/closed", 0700));
	t_put("low/closed/secret", "s");
	OK(chmod("low/closed/secret", 0644));
	OK(mkdir("theirs", 0755));
	OK(mkdir("theirs-work", 0755));
	OK(mkdir("theirs-work/work", 0755));
	as_root_in(CLONE_NEWNS);
	OK(mkdir("mine", 0755));
	OK(mkdir("mine/closed", 0755));
	t_put("mine/f", "f");
	OK(mkdir("work", 0755));
	OK(mkdir("up", 0755));
	OK(mkdir("m", 0755));
	if (mount("o", "m", "overlay", 0, "lowerdir=mine:low"))
		SKIP("no overlay mounts here");
	ERR(open("m/closed/secret", O_RDONLY), EACCES);
	OK(umount("m"));
	if (!mount("o", "m", "overlay", 0, "lowerdir=mine,upperdir=theirs,workdir=work")) {
		CHECK(chmod("m/f", 0600) < 0);
		CHECK(open("m/new", O_CREAT | O_WRONLY, 0644) < 0);
		ERR(access("theirs/f", F_OK), ENOENT);
		OK(umount("m"));
	}
	OK(mount("o", "m", "overlay", 0, "lowerdir=mine,upperdir=up,workdir=theirs-work")); // which cannot be used: read-only
	ERR(open("m/new", O_CREAT | O_WRONLY, 0644), EROFS);
	ERR(open("m/f", O_WRONLY), EROFS);
	ERR(chmod("m/f", 0600), EROFS);
	ERR(unlink("m/f"), EROFS);
	ERR(rename("m/f", "m/g"), EROFS);
	CHECK(mount(NULL, "m", NULL, MS_REMOUNT, NULL) < 0 || open("m/new", O_CREAT | O_WRONLY, 0644) < 0);
	STREQ(t_get("m/f"), "f");
	OK(umount("m"));
	struct stat st;
	OK(stat("theirs-work/work", &st));
	EQ(st.st_uid, 65534);
	if (!mount("o", "m", "overlay", 0, "lowerdir=mine,upperdir=up,workdir=work")) { // what is one's own does
		OK(chmod("m/f", 0600));
		OK(close(open("m/new", O_CREAT | O_WRONLY, 0644)));
		OK(access("up/new", F_OK));
		OK(umount("m"));
	}
}

// A map is written by who has opened it: a more privileged program is not talked into it.
TEST(a_map_is_written_by_its_opener)
{
	struct pair w;
	char path[64];
	if (geteuid())
		SKIP("not root");
	pair_new(&w);
	pid_t p = OK(fork());
	if (!p) {
		if (!get_alone(0))
			_exit(T_SKIPPED);
		say(w.up);
		hear(w.down);
		_exit(0);
	}
	hear_or_skip(&w, p);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", p);
	OK(seteuid(1234));
	int fd = OK(open(path, O_WRONLY));
	OK(seteuid(0));
	ERR(write(fd, "0 0 10", 6), EPERM);
	STREQ(t_get(path), "");
	say(w.down);
	EQ(t_wait(p), 0);
}

// Who enters a namespace brings along what those who rule it may not look at, until another program runs.
TEST(who_enters_is_not_looked_into)
{
	struct pair w;
	int there[2];
	char c, path[64];
	static char secret[] = "secret";
	if (geteuid())
		SKIP("not root");
	pair_new(&w);
	OK(pipe(there));
	pid_t p = OK(fork()), q;
	if (!p) {
		if (!get_alone(0))
			_exit(T_SKIPPED);
		say(w.up);
		OK(read(w.down[0], &q, sizeof(q)));
		char got[8];
		struct iovec to = {got, sizeof(secret)}, from = {secret, sizeof(secret)};
		ERR(process_vm_readv(q, &to, 1, &from, 1, 0), EPERM);
		ERR(ptrace(PTRACE_SEIZE, q, 0, 0), EPERM);
		snprintf(path, sizeof(path), "/proc/%d/fd", q);
		CHECK(!opendir(path));
		_exit(0);
	}
	hear_or_skip(&w, p);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", p);
	int ns = open(path, O_RDONLY);
	if (ns < 0)
		SKIP("not seen from here");
	q = OK(fork());
	if (!q) {
		OK(setns(ns, CLONE_NEWUSER));
		OK(write(there[1], "x", 1));
		pause();
		_exit(0);
	}
	OK(read(there[0], &c, 1));
	OK(write(w.down[1], &q, sizeof(q)));
	EQ(t_wait(p), 0);
	kill(q, SIGKILL);
	waitpid(q, NULL, 0);
}
