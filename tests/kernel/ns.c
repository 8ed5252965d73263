// SPDX-License-Identifier: Apache-2.0
// Namespaces and mounts: unshare, setns, /proc/PID/ns, mount, umount2, pivot_root, chroot. Needs root; each case makes a mount
// namespace of its own first, so that nothing outside is touched.
#include <pthread.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/sem.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include "tests/kernel/t.h"

static void own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 && errno == EPERM)
		SKIP("not allowed to make namespaces");
	if (!t_root_is_mount_point())
		SKIP("the root is no mount point");
	OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	OK(mkdir("m", 0755));
	OK(mkdir("n", 0755));
}

static const char *ns_name(const char *which)
{
	static char buf[2][64];
	static int k;
	char path[64];
	k ^= 1;
	memset(buf[k], 0, sizeof(buf[k]));
	snprintf(path, sizeof(path), "/proc/self/ns/%s", which);
	OK(readlink(path, buf[k], sizeof(buf[k]) - 1));
	return buf[k];
}

// The line of mountinfo for a place under the current directory, or NULL.
static const char *info(const char *place)
{
	static char line[4096];
	char want[4200], cwd[4096];
	OK(getcwd(cwd, sizeof(cwd)) ? 0 : -1);
	snprintf(want, sizeof(want), " %s/%s ", cwd, place);
	FILE *f = fopen("/proc/self/mountinfo", "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, want)) {
			fclose(f);
			return line;
		}
	fclose(f);
	return NULL;
}

TEST_DIR(tmpfs_and_its_limits)
{
	struct statfs st;
	struct stat s;
	char page[4096] = "x";
	own_mounts();
	OK(mount("none", "m", "tmpfs", MS_NOSUID, "size=64k,mode=0710,nr_inodes=4,uid=3"));
	CHECK(strstr(info("m"), "nosuid"));
	OK(stat("m", &s));
	EQ(s.st_mode & 07777, 0710);
	EQ(s.st_uid, 3);
	OK(statfs("m", &st));
	EQ(st.f_blocks * st.f_bsize, 65536);
	EQ(st.f_files, 4);
	int fd = OK(open("m/f", O_RDWR | O_CREAT, 0644));
	for (int i = 0; i < 16; i++)
		EQ(write(fd, page, 4096), 4096);
	ERR(write(fd, page, 4096), ENOSPC);
	OK(close(OK(open("m/g", O_RDWR | O_CREAT, 0644))));
	OK(mkdir("m/d", 0755));
	ERR(open("m/h", O_RDWR | O_CREAT, 0644), ENOSPC);
	OK(mount(NULL, "m", NULL, MS_REMOUNT, "size=128k,nr_inodes=10"));
	EQ(write(fd, page, 4096), 4096);
	ERR(mount(NULL, "m", NULL, MS_REMOUNT, "size=4k"), EINVAL);
	ERR(mount("none", "n", "tmpfs", 0, "nosuchoption=1"), EINVAL);
	ERR(umount("m"), EBUSY);
	close(fd);
	OK(umount("m"));
	ERR(access("m/f", F_OK), ENOENT);
	ERR(umount("m"), EINVAL);
	ERR(mount("none", "m", "nosuchfs", 0, NULL), ENODEV);
	ERR(mount("none", "nosuchdir", "tmpfs", 0, NULL), ENOENT);
	t_put("file", "x");
	ERR(mount("none", "file", "tmpfs", 0, NULL), ENOTDIR);
}

TEST_DIR(bind_directories_and_files)
{
	own_mounts();
	t_put("m/f", "one");
	t_put("file", "covered");
	OK(mkdir("m/sub", 0755));
	OK(mount("none", "m/sub", "tmpfs", 0, NULL));
	t_put("m/sub/g", "two");
	OK(mount("m", "n", NULL, MS_BIND, NULL));
	STREQ(t_get("n/f"), "one");
	ERR(access("n/sub/g", F_OK), ENOENT);
	OK(umount("n"));
	OK(mount("m", "n", NULL, MS_BIND | MS_REC, NULL));
	STREQ(t_get("n/sub/g"), "two");
	ERR(umount("n"), EBUSY);
	OK(umount2("n", MNT_DETACH));
	ERR(access("n/f", F_OK), ENOENT);
	CHECK(info("n/sub") == NULL);
	OK(mount("m/f", "file", NULL, MS_BIND, NULL));
	STREQ(t_get("file"), "one");
	ERR(mount("m/f", "n", NULL, MS_BIND, NULL), ENOTDIR);
	ERR(unlink("file"), EBUSY);
	OK(umount("file"));
	STREQ(t_get("file"), "covered");
	ERR(mount("nothing", "n", NULL, MS_BIND, NULL), ENOENT);
}

TEST_DIR(read_only)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	t_put("m/f", "x");
	OK(mount("m", "n", NULL, MS_BIND, NULL));
	OK(mount(NULL, "n", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	ERR(open("n/f", O_WRONLY), EROFS);
	OK(close(OK(open("m/f", O_WRONLY)))); // the other mount is as it was
	ERR(mkdir("n/d", 0755), EROFS);
	OK(umount("n"));
	OK(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	ERR(open("m/f", O_WRONLY), EROFS);
	OK(mount(NULL, "m", NULL, MS_REMOUNT, NULL));
	OK(close(OK(open("m/f", O_WRONLY))));
	ERR(mount(NULL, "n", NULL, MS_REMOUNT | MS_RDONLY, NULL), EINVAL); // not a mount point
}

TEST_DIR(moved)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	OK(mkdir("m/in", 0755));
	t_put("m/f", "moved");
	ERR(mount("m", "m/in", NULL, MS_MOVE, NULL), ELOOP);
	OK(mount("m", "n", NULL, MS_MOVE, NULL));
	STREQ(t_get("n/f"), "moved");
	ERR(access("m/f", F_OK), ENOENT);
	CHECK(info("n") && !info("m"));
	ERR(mount("m", "n", NULL, MS_MOVE, NULL), EINVAL);
	char gone[32];
	snprintf(gone, sizeof(gone), "/proc/self/fd/%d", OK(open("n", O_RDONLY | O_DIRECTORY)));
	OK(umount2("n", MNT_DETACH));
	ERR(mount(gone, "m", NULL, MS_MOVE, NULL), EINVAL); // no longer mounted anywhere
}

TEST_DIR(propagation_types)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	CHECK(!strstr(info("m"), "shared:"));
	OK(mount(NULL, "m", NULL, MS_SHARED, NULL));
	CHECK(strstr(info("m"), "shared:"));
	OK(mount(NULL, "m", NULL, MS_PRIVATE, NULL));
	CHECK(!strstr(info("m"), "shared:"));
	ERR(mount(NULL, "m", NULL, MS_SHARED | MS_PRIVATE, NULL), EINVAL);
	ERR(mount(NULL, "n", NULL, MS_PRIVATE, NULL), EINVAL);
	OK(mount(NULL, "m", NULL, MS_UNBINDABLE, NULL));
	CHECK(strstr(info("m"), "unbindable"));
	ERR(mount("m", "n", NULL, MS_BIND, NULL), EINVAL);
}

TEST_DIR(unmounting)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	t_put("m/f", "still here");
	int fd = OK(open("m/f", O_RDONLY));
	ERR(umount2("m", 0), EBUSY);
	OK(umount2("m", MNT_DETACH));
	char b[16] = "";
	EQ(read(fd, b, 16), 10);
	STREQ(b, "still here");
	close(fd);
	OK(mount("none", "m", "tmpfs", 0, NULL));
	OK(symlink("m", "l"));
	ERR(umount2("l", UMOUNT_NOFOLLOW), EINVAL);
	ERR(umount2("m", MNT_EXPIRE | MNT_DETACH), EINVAL);
	ERR(umount2("m", MNT_EXPIRE), EAGAIN);
	OK(umount2("m", MNT_EXPIRE));
	ERR(umount2("m", 0x100), EINVAL);
	OK(mount("none", "m", "tmpfs", 0, NULL));
	OK(umount2("l", 0));
}

TEST_DIR(mountinfo_tells)
{
	own_mounts();
	OK(mkdir("a b", 0755));
	OK(mount("my source", "a b", "tmpfs", MS_NOEXEC, NULL));
	const char *l = info("a\\040b");
	CHECK(l && strstr(l, " - tmpfs "));
	CHECK(strstr(l, "noexec"));
	OK(mkdir("a b/deep", 0755));
	OK(mount("a b/deep", "n", NULL, MS_BIND, NULL));
	CHECK(strstr(info("n"), " /deep "));
	CHECK(strstr(t_get("/proc/self/mounts"), "a\\040b tmpfs "));
}

TEST_DIR(proc_can_be_mounted)
{
	own_mounts();
	OK(mount("proc", "m", "proc", 0, NULL));
	char path[64], want[32];
	snprintf(path, sizeof(path), "m/%d/stat", getpid());
	snprintf(want, sizeof(want), "%d (", getpid());
	CHECK(!strncmp(t_get(path), want, strlen(want)));
	OK(umount("m"));
}

TEST_DIR(mounts_are_the_namespaces_own)
{
	struct stat root, now;
	int st, p[2], q[2];
	char c;
	own_mounts();
	OK(pipe(p));
	OK(pipe(q));
	const char *mine = ns_name("mnt");
	int before = OK(open("/proc/self/ns/mnt", O_RDONLY));
	pid_t kid = OK(fork());
	if (!kid) {
		CHECK(unshare(CLONE_NEWNS) == 0);
		CHECK(strcmp(ns_name("mnt"), mine));
		CHECK(mount("none", "m", "tmpfs", 0, NULL) == 0);
		t_put("m/secret", "x");
		CHECK(write(p[1], "x", 1) == 1);
		CHECK(read(q[0], &c, 1) == 1);
		_exit(access("m/secret", F_OK));
	}
	EQ(read(p[0], &c, 1), 1);
	ERR(access("m/secret", F_OK), ENOENT);
	CHECK(!info("m"));
	char path[64], cwd[4096];
	OK(getcwd(cwd, sizeof(cwd)) ? 0 : -1);
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", kid);
	int its = OK(open(path, O_RDONLY));
	OK(stat("/", &root));
	OK(setns(its, CLONE_NEWNS));
	OK(stat("/", &now));
	if (now.st_ino != root.st_ino || now.st_dev != root.st_dev) {
		OK(kill(kid, SIGKILL));
		SKIP("in a chroot, which setns leaves");
	}
	OK(chdir(cwd));
	OK(access("m/secret", F_OK));
	ERR(setns(its, CLONE_NEWUTS), EINVAL);
	OK(setns(before, 0));
	OK(chdir(cwd));
	ERR(access("m/secret", F_OK), ENOENT);
	STREQ(ns_name("mnt"), mine);
	EQ(write(q[1], "x", 1), 1);
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
}

TEST_DIR(uts_names)
{
	int st;
	struct utsname a, b;
	own_mounts();
	OK(uname(&a));
	pid_t kid = OK(fork());
	if (!kid) {
		CHECK(unshare(CLONE_NEWUTS) == 0);
		uname(&b);
		CHECK(!strcmp(a.nodename, b.nodename));
		CHECK(sethostname("elsewhere", 9) == 0);
		uname(&b);
		CHECK(!strcmp(b.nodename, "elsewhere"));
		CHECK(!strcmp(t_get("/proc/sys/kernel/hostname"), "elsewhere\n"));
		_exit(0);
	}
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	OK(uname(&b));
	STREQ(b.nodename, a.nodename);
}

TEST_DIR(ipc_objects)
{
	int st;
	own_mounts();
	key_t key = 0x5000 + getpid();
	int id = OK(semget(key, 1, IPC_CREAT | 0600));
	pid_t kid = OK(fork());
	if (!kid) {
		CHECK(unshare(CLONE_NEWIPC) == 0);
		CHECK(semget(key, 1, 0) == -1 && errno == ENOENT);
		CHECK(semget(key, 1, IPC_CREAT | 0600) >= 0);
		_exit(0);
	}
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	EQ(semget(key, 1, 0), id);
	OK(semctl(id, 0, IPC_RMID));
}

// Which namespace a thread finds while another one changes it is Linux's affair; that it holds what it works with is ours.
static void *makes_and_removes(void *stop)
{
	struct sembuf up = {.sem_op = 1};
	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED)) {
		int id = semget(IPC_PRIVATE, 2, 0600), n = 0;
		semop(id, &up, 1);
		for (; n < 8; n++)
			if (semget(7000 + n, 1, IPC_CREAT | 0600) < 0)
				break;
		semctl(id, 0, IPC_RMID);
	}
	return NULL;
}

TEST(ipc_changed_beside_a_user)
{
	bool stop = false;
	pthread_t t;
	if (unshare(CLONE_NEWIPC))
		SKIP("no namespaces here");
	EQ(pthread_create(&t, NULL, makes_and_removes, &stop), 0);
	for (int i = 0; i < 500; i++) {
		OK(unshare(CLONE_NEWIPC));
		pid_t p = OK(fork());
		if (!p)
			_exit(semget(IPC_PRIVATE, 1, 0600) < 0);
		EQ(t_wait(p), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	EQ(pthread_join(t, NULL), 0);
}

TEST_DIR(clone_flags)
{
	int st;
	own_mounts();
	const char *mine = ns_name("uts");
	pid_t kid = (pid_t)syscall(SYS_clone, CLONE_NEWUTS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
	OK(kid);
	if (!kid) {
		CHECK(strcmp(ns_name("uts"), mine));
		CHECK(mount("none", "m", "tmpfs", 0, NULL) == 0);
		_exit(0);
	}
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	CHECK(!info("m"));
	ERR(syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0), EINVAL);
	ERR(unshare(0x1), EINVAL);
	ERR(setns(0, 0), EINVAL);
	ERR(setns(99, 0), EBADF);
}

TEST_DIR(chroot_and_its_walls)
{
	own_mounts();
	t_put("m/inside", "x");
	pid_t kid = OK(fork());
	int st;
	if (!kid) {
		CHECK(chroot("m") == 0);
		CHECK(chdir("/") == 0);
		CHECK(access("/inside", F_OK) == 0);
		CHECK(access("/../inside", F_OK) == 0);
		CHECK(access("/etc", F_OK) == -1);
		CHECK(chroot("/nosuch") == -1 && errno == ENOENT);
		CHECK(setuid(12345) == 0);
		CHECK(chroot("/") == -1 && errno == EPERM);
		_exit(0);
	}
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	OK(access("m/inside", F_OK));
}

TEST_DIR(pivoted_root)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	OK(mkdir("m/old", 0755));
	t_put("m/new-root", "x");
	ERR(syscall(SYS_pivot_root, "n", "n"), EINVAL);
	ERR(syscall(SYS_pivot_root, "m", "n"), EINVAL);
	OK(syscall(SYS_pivot_root, "m", "m/old"));
	OK(chdir("/"));
	OK(access("/new-root", F_OK));
	OK(access("/old/proc", F_OK));
	OK(umount2("/old", MNT_DETACH));
	ERR(access("/old/proc", F_OK), ENOENT);
}

// pivot_root(2): with "." twice the old root lies on top of the new one, where umount2 finds it.
TEST_DIR(pivoted_without_a_place)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	t_put("m/new-root", "x");
	OK(chdir("m"));
	OK(syscall(SYS_pivot_root, ".", "."));
	OK(umount2(".", MNT_DETACH));
	OK(chdir("/"));
	OK(access("/new-root", F_OK));
	ERR(access("/proc", F_OK), ENOENT);
}

TEST_DIR(unprivileged)
{
	int st;
	own_mounts();
	pid_t kid = OK(fork());
	if (!kid) {
		CHECK(setuid(12345) == 0);
		CHECK(mount("none", "/", "tmpfs", 0, NULL) == -1 && errno == EPERM);
		CHECK(umount("/") == -1 && errno == EPERM);
		CHECK(unshare(CLONE_NEWNS) == -1 && errno == EPERM);
		CHECK(unshare(CLONE_FS | CLONE_FILES) == 0);
		_exit(0);
	}
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
}

TEST_DIR(user_namespace_of_root)
{
	int st;
	own_mounts();
	pid_t kid = OK(fork());
	if (!kid) {
		const char *mine = ns_name("user");
		if (unshare(CLONE_NEWUSER) && errno == EPERM) // who is in a chroot makes none
			_exit(T_SKIPPED);
		CHECK(strcmp(ns_name("user"), mine));
		CHECK(!strcmp(t_get("/proc/self/uid_map"), ""));
		t_put("/proc/self/setgroups", "deny");
		t_put("/proc/self/uid_map", "0 0 1");
		t_put("/proc/self/gid_map", "0 0 1");
		CHECK(!strcmp(t_get("/proc/self/uid_map"), "         0          0          1\n"));
		CHECK(getuid() == 0);
		_exit(0);
	}
	EQ(waitpid(kid, &st, 0), kid);
	if (WIFEXITED(st) && WEXITSTATUS(st) == T_SKIPPED)
		SKIP("no user namespaces here");
	EQ(st, 0);
}

TEST(sharing_between_threads_of_control)
{
	int st;
	int fd = OK(open("/dev/null", O_RDONLY));
	pid_t kid = (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_FS | SIGCHLD, 0, 0, 0, 0);
	OK(kid);
	if (!kid) {
		CHECK(unshare(CLONE_FILES | CLONE_FS) == 0);
		close(fd);
		CHECK(chdir("/proc") == 0);
		_exit(0);
	}
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	OK(fcntl(fd, F_GETFD));
	char cwd[4096];
	OK(getcwd(cwd, sizeof(cwd)) ? 0 : -1);
	CHECK(strcmp(cwd, "/proc"));
}

// --- the calls with descriptors

enum { OPEN_TREE = 428, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK, SETATTR = 442, F_EMPTY = 4, SET_FLAG = 0, SET_STRING = 1, CREATE = 6, RECONFIGURE = 7 };

static long conf(int fd, int cmd, const char *key, const char *value) { return syscall(FSCONFIG, fd, cmd, key, value, 0); }

TEST_DIR(new_file_system_by_descriptors)
{
	struct stat st;
	own_mounts();
	ERR(syscall(FSOPEN, "nosuchfs", 0), ENODEV);
	ERR(syscall(FSOPEN, "tmpfs", 0x100), EINVAL);
	int fs = OK((int)syscall(FSOPEN, "tmpfs", 1));
	OK(conf(fs, SET_STRING, "source", "here"));
	OK(conf(fs, SET_STRING, "mode", "0711"));
	ERR(syscall(FSMOUNT, fs, 0, 0), EINVAL); // not made yet
	ERR(conf(fs, SET_STRING, NULL, "x"), EINVAL);
	ERR(conf(0, SET_STRING, "mode", "0711"), EINVAL);
	OK(conf(fs, CREATE, NULL, NULL));
	int m = OK((int)syscall(FSMOUNT, fs, 1, 4 | 8)); // nodev, noexec
	OK(fstat(m, &st));
	EQ(st.st_mode & 07777, 0711);
	OK(close(OK(openat(m, "early", O_CREAT | O_WRONLY, 0644))));
	OK(syscall(MOVE_MOUNT, m, "", AT_FDCWD, "m", F_EMPTY));
	OK(access("m/early", F_OK));
	CHECK(strstr(info("m"), "nodev") && strstr(info("m"), "noexec") && strstr(info("m"), " here "));
	close(m);
	OK(access("m/early", F_OK));
	int pick = OK((int)syscall(FSPICK, AT_FDCWD, "m", 0));
	OK(conf(pick, SET_FLAG, "ro", NULL));
	OK(conf(pick, RECONFIGURE, NULL, NULL));
	ERR(open("m/new", O_CREAT | O_WRONLY, 0644), EROFS);
	OK(umount("m"));
}

TEST_DIR(tree_dropped_with_its_descriptor)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	OK(mkdir("m/sub", 0755));
	OK(mount("none", "m/sub", "tmpfs", 0, NULL));
	t_put("m/sub/f", "x");
	int t = OK((int)syscall(OPEN_TREE, AT_FDCWD, "m", 1 | 0x8000)); // a clone with what is below
	OK(faccessat(t, "sub/f", F_OK, 0));
	close(t);
	OK(umount("m/sub"));
	OK(umount("m"));
	OK(mount("none", "m", "tmpfs", 0, NULL));
	t_put("m/g", "x");
	t = OK((int)syscall(OPEN_TREE, AT_FDCWD, "m", 1));
	OK(syscall(MOVE_MOUNT, t, "", AT_FDCWD, "n", F_EMPTY));
	OK(access("n/g", F_OK));
	close(t);
	OK(umount("n"));
	t = OK((int)syscall(OPEN_TREE, AT_FDCWD, "m", 0));
	OK(syscall(MOVE_MOUNT, t, "", AT_FDCWD, "n", F_EMPTY)); // the mount itself
	ERR(access("m/g", F_OK), ENOENT);
	OK(access("n/g", F_OK));
	ERR(syscall(OPEN_TREE, AT_FDCWD, "n", 0x8000), EINVAL);
}

TEST_DIR(attributes)
{
	struct { uint64_t set, clr, propagation, userns; } a = {.set = 1};
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	OK(mkdir("m/sub", 0755));
	OK(mount("none", "m/sub", "tmpfs", 0, NULL));
	OK(syscall(SETATTR, AT_FDCWD, "m", 0, &a, sizeof(a)));
	ERR(mkdir("m/d", 0755), EROFS);
	OK(mkdir("m/sub/d", 0755));
	OK(syscall(SETATTR, AT_FDCWD, "m", 0x8000, &a, sizeof(a)));
	ERR(mkdir("m/sub/e", 0755), EROFS);
	a.set = 2;
	a.clr = 1;
	OK(syscall(SETATTR, AT_FDCWD, "m", 0, &a, sizeof(a)));
	OK(mkdir("m/d", 0755));
	CHECK(strstr(info("m"), "nosuid"));
	a.set = 0x10;
	a.clr = 0;
	ERR(syscall(SETATTR, AT_FDCWD, "m", 0, &a, sizeof(a)), EINVAL);
	a.clr = 0x70;
	OK(syscall(SETATTR, AT_FDCWD, "m", 0, &a, sizeof(a)));
	CHECK(strstr(info("m"), "noatime"));
	ERR(syscall(SETATTR, AT_FDCWD, "m", 0, &a, 8), EINVAL);
	ERR(syscall(SETATTR, AT_FDCWD, "n", 0, &a, sizeof(a)), EINVAL);
}
