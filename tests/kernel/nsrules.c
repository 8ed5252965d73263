// SPDX-License-Identifier: Apache-2.0
// What one namespace may do about what came from another: mounts and their flags, set-user-id programs, setns, ids in lists.
// Needs root; each case that mounts makes a mount namespace of its own first.
#include "userns.h"
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/socket.h>

static void own_mounts(void)
{
	if (geteuid())
		SKIP("not root");
	if (unshare(CLONE_NEWNS) < 0 && errno == EPERM)
		SKIP("not allowed to make namespaces");
	if (!t_root_is_mount_point())
		SKIP("the root is no mount point");
	OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	OK(chmod(".", 0777));
	OK(mkdir("m", 0777));
	OK(mkdir("n", 0777));
}

struct attr { uint64_t set, clr, propagation, userns; };
static long set_attr(int dir, const char *name, unsigned flags, uint64_t set, uint64_t clr)
{
	struct attr a = {set, clr, 0, 0};
	return syscall(442, dir, name, flags, &a, sizeof(a));
}

// In a namespace of its own, as pid 1: mounts proc with these flags. 0 or errno.
static int inner_proc(unsigned long flags, unsigned long then)
{
	pid_t p = OK(fork()), q;
	if (!p) {
		if (!get_alone(CLONE_NEWNS | CLONE_NEWPID))
			_exit(T_SKIPPED);
		q = OK(fork());
		if (!q) {
			if (mount("proc", "n", "proc", flags, NULL))
				_exit(errno);
			if (then != 1 && mount(NULL, "n", NULL, MS_REMOUNT | MS_BIND | then, NULL))
				_exit(100 + errno);
			_exit(0);
		}
		_exit(t_wait(q));
	}
	return t_wait(p);
}

// A proc that is mounted elsewhere (in some chroot) would do as the one that he sees.
static void no_other_proc(void)
{
	char line[4096], at[1024];
	FILE *f = fopen("/proc/self/mountinfo", "re");

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, " - proc ") && sscanf(line, "%*s %*s %*s %*s %1023s", at) == 1 && strcmp(at, "/proc"))
			umount2(at, MNT_DETACH);
	fclose(f);
}

// Whoever cannot change the flags of the proc that he sees cannot have one without them either.
TEST_DIR(a_new_proc_does_no_more_than_the_old)
{
	own_mounts();
	no_other_proc();
	int r = inner_proc(0, 1);
	if (r == EPERM)
		SKIP("the outer /proc is partly hidden");
	if (r == T_SKIPPED)
		SKIP("no user namespaces here");
	EQ(r, 0);
	EQ(inner_proc(MS_NOATIME, 1), EPERM);
	EQ(inner_proc(MS_NOSUID | MS_NODEV | MS_NOEXEC, 0), 0); // its own flags come and go
	OK(mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	EQ(inner_proc(0, 1), EPERM);
	EQ(inner_proc(MS_RDONLY, 1), 0);
	EQ(inner_proc(MS_RDONLY, 0), 100 + EPERM);
	OK(mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND | MS_NOATIME, NULL));
	EQ(inner_proc(0, 1), EPERM);
	EQ(inner_proc(MS_NOATIME, 1), 0);
}

TEST_DIR(flags_from_above_stay)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", MS_NOSUID | MS_NODEV, "mode=777"));
	as_root_in(CLONE_NEWNS);
	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL), EPERM);
	ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID | MS_NOATIME, NULL), EPERM);
	OK(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID | MS_NOEXEC | MS_RDONLY, NULL));
	OK(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID, NULL)); // what it has added itself
	OK(mount("m", "n", NULL, MS_BIND, NULL));
	ERR(mount(NULL, "n", NULL, MS_REMOUNT | MS_BIND, NULL), EPERM);
	ERR(set_attr(AT_FDCWD, "n", 0, 0, 2), EPERM);
	OK(set_attr(AT_FDCWD, "n", 0, 8, 0));
	OK(set_attr(AT_FDCWD, "n", 0, 0, 8));
	OK(set_attr(AT_FDCWD, "n", 0, 8, 0));
	int copy = OK((int)syscall(428, AT_FDCWD, "m", 1)); // which hangs nowhere
	ERR(set_attr(copy, "", AT_EMPTY_PATH, 0, 2), EPERM);
	OK(set_attr(copy, "", AT_EMPTY_PATH, 8, 0));
	OK(close(copy));
	OK(unshare(CLONE_NEWUSER | CLONE_NEWNS)); // a level further down what was its own is from above, too
	ERR(set_attr(AT_FDCWD, "n", 0, 0, 8), EPERM);
}

TEST_DIR(owners_of_a_tmpfs)
{
	struct stat st;
	own_mounts();
	as_root_in(CLONE_NEWNS);
	OK(mount("none", "m", "tmpfs", 0, "uid=0,gid=0,mode=700"));
	OK(stat("m", &st));
	EQ(st.st_uid, 0);
	EQ(st.st_gid, 0);
	t_put("m/f", "x");
	ERR(mount("none", "m", "tmpfs", 0, "uid=5"), EINVAL);
	ERR(mount("none", "m", "tmpfs", 0, "gid=5"), EINVAL);
}

TEST_DIR(what_was_taken_off_lazily)
{
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	OK(mkdir("m/d", 0755));
	OK(mkdir("m/sub", 0755));
	OK(mount("none", "m/sub", "tmpfs", 0, NULL));
	int fd = OK(open("m", O_RDONLY | O_DIRECTORY)), sub = OK(open("m/sub", O_PATH));
	OK(umount2("m", MNT_DETACH));
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ERR(mount(path, "n", NULL, MS_BIND, NULL), EINVAL);
	ERR(mount(path, "n", NULL, MS_BIND | MS_REC, NULL), EINVAL);
	ERR(mount(path, "n", NULL, MS_MOVE, NULL), EINVAL);
	ERR(mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), EINVAL);
	ERR(set_attr(fd, "", AT_EMPTY_PATH, 1, 0), EINVAL);
	ERR(set_attr(sub, "", AT_EMPTY_PATH, 1, 0), EINVAL);
	OK(mkdirat(fd, "e", 0755));
	ERR(syscall(428, fd, "", AT_EMPTY_PATH | 1), EINVAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", sub);
	ERR(mount(path, "n", NULL, MS_BIND, NULL), EINVAL);
	// What a descriptor owns can be changed, also below its top; what has no mount at all cannot be bound; a namespace can.
	OK(mount("none", "m", "tmpfs", 0, NULL));
	OK(mkdir("m/sub", 0755));
	OK(mount("none", "m/sub", "tmpfs", 0, NULL));
	int tree = OK((int)syscall(428, AT_FDCWD, "m", 1 | 0x8000));
	OK(set_attr(tree, "", AT_EMPTY_PATH, 1, 0));
	ERR(mkdirat(tree, "d", 0755), EROFS);
	OK(mkdirat(tree, "sub/d", 0755));
	t_put("file", "");
	int mem = OK(memfd_create("x", 0));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem);
	ERR(mount(path, "file", NULL, MS_BIND, NULL), EINVAL);
	OK(mount("/proc/self/ns/uts", "file", NULL, MS_BIND, NULL));
	int uts = OK(open("file", O_RDONLY));
	OK(setns(uts, CLONE_NEWUTS));
	OK(close(uts));
	OK(umount("file"));
}

HELPER(tell_euid) { return geteuid() == 0 ? 10 : 11; }

static int run_as_user(int program)
{
	pid_t p = OK(fork());
	if (!p) {
		OK(setgroups(0, NULL));
		OK(setresgid(1234, 1234, 1234));
		OK(setresuid(1234, 1234, 1234));
		char *const argv[] = {"t", "--helper", "tell_euid", NULL}, *const env[] = {NULL};
		fexecve(program, argv, env);
		_exit(12);
	}
	return t_wait(p);
}

// Set-user-id programs count only on mounts of one's own mount namespace.
TEST_DIR(set_id_programs_of_others)
{
	struct pair w;
	char path[4200], here[4096];
	own_mounts();
	OK((long)getcwd(here, sizeof(here)));
	OK(mount("none", "m", "tmpfs", 0, "mode=755"));
	pair_new(&w);
	int to = OK(open("m/t", O_CREAT | O_WRONLY, 0755)), from = OK(open(t_self, O_RDONLY));
	struct stat st;
	OK(fstat(from, &st));
	EQ(sendfile(to, from, NULL, (size_t)st.st_size), st.st_size);
	OK(fchmod(to, 04755));
	OK(close(to));
	pid_t p = OK(fork());
	if (!p) {
		OK(unshare(CLONE_NEWNS));
		say(w.up);
		hear(w.down);
		_exit(0);
	}
	hear(w.up);
	snprintf(path, sizeof(path), "/proc/%d/root%s/m/t", p, here);
	int own = OK(open("m/t", O_RDONLY)), others = OK(open(path, O_RDONLY));
	EQ(run_as_user(own), 10);
	EQ(run_as_user(others), 11);
	OK(umount2("m", MNT_DETACH));
	EQ(run_as_user(own), 11); // no namespace's
	say(w.down);
	EQ(t_wait(p), 0);
}

static void link_of(const char *which, char *to)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/ns/%s", which);
	memset(to, 0, 64);
	OK(readlink(path, to, 63));
}

static void drop_cap(int cap)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	OK(syscall(SYS_capget, &h, d));
	d[0].effective &= ~(1u << cap);
	OK(syscall(SYS_capset, &h, d));
}

static const char *const kinds[] = {"ipc", "mnt", "user", "uts", "cgroup"};

static void stays(char was[5][64])
{
	char is[64];
	for (int i = 0; i < 5; i++) {
		link_of(kinds[i], is);
		STREQ(is, was[i]);
	}
}

// setns with a process's descriptor: to all of the kinds asked for, or to none.
TEST_DIR(all_namespaces_or_none)
{
	char was[5][64], is[64];
	struct pair w, v;
	own_mounts();
	pair_new(&w);
	pid_t p = OK(fork()), q;
	if (!p) {
		OK(unshare(CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWCGROUP));
		say(w.up);
		hear(w.down);
		_exit(0);
	}
	hear(w.up);
	pair_new(&v); // not p's: who waits for q must see its end
	q = OK(fork());
	if (!q) {
		OK(unshare(CLONE_NEWUTS));
		if (!get_alone(CLONE_NEWIPC))
			_exit(T_SKIPPED);
		say(v.up);
		hear(v.down);
		_exit(0);
	}
	hear_or_skip(&v, q);
	int pf = OK((int)syscall(SYS_pidfd_open, p, 0)), qf = OK((int)syscall(SYS_pidfd_open, q, 0));
	for (int i = 0; i < 5; i++)
		link_of(kinds[i], was[i]);
	drop_cap(CAP_SYS_CHROOT);
	ERR(setns(pf, CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWCGROUP), EPERM);
	ERR(setns(pf, CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWUTS), EINVAL); // it is there already
	stays(was);
	OK(setns(pf, CLONE_NEWIPC));
	link_of("ipc", is);
	CHECK(strcmp(is, was[0]));
	link_of("ipc", was[0]);
	pid_t user = OK(fork());
	if (!user) { // who rules q's users rules what they made, not the names, which q had before
		OK(setgroups(0, NULL));
		OK(setresgid(1234, 1234, 1234));
		OK(setresuid(1234, 1234, 1234));
		OK(prctl(PR_SET_DUMPABLE, 1));
		ERR(setns(qf, CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWUTS), EPERM);
		stays(was);
		EQ(getuid(), 1234);
		OK(setns(qf, CLONE_NEWUSER | CLONE_NEWIPC));
		EQ(getuid(), 65534);
		link_of("ipc", is);
		CHECK(strcmp(is, was[0]));
		_exit(0);
	}
	EQ(t_wait(user), 0);
	say(w.down);
	say(v.down);
	EQ(t_wait(p), 0);
	EQ(t_wait(q), 0);
}

// Of the line whose field `at` is this number, n fields from `from` on. Ends the case when there is none.
static void fields(const char *file, unsigned at, unsigned long number, unsigned from, unsigned n, unsigned *out)
{
	char *text = strdup(t_get(file)), *l = NULL;
	bool found = false;
	for (char *line = strtok_r(text, "\n", &l); line && !found; line = strtok_r(NULL, "\n", &l)) {
		char *f = NULL, *words[32] = {strtok_r(line, " ", &f)};
		unsigned k = 0;
		while (k < 31 && words[k])
			words[++k] = strtok_r(NULL, " ", &f);
		found = at < k && from + n <= k && words[at][0] <= '9' && strtoul(words[at], NULL, 10) == number;
		for (unsigned i = 0; found && i < n; i++)
			out[i] = (unsigned)strtoul(words[from + i], NULL, 10);
	}
	free(text);
	CHECK(found);
}

static void all_ids(const char *file, unsigned number, unsigned from, unsigned want)
{
	unsigned ids[4];
	fields(file, 1, number, from, 4, ids);
	for (int i = 0; i < 4; i++)
		EQ(ids[i], want);
}

// Lists show their reader's numbers.
TEST(ids_in_lists)
{
	if (geteuid())
		SKIP("not root");
	if (unshare(CLONE_NEWIPC) && errno == EPERM)
		SKIP("not allowed to make namespaces");
	int shm = OK(shmget(IPC_PRIVATE, 4096, 0666)), sem = OK(semget(IPC_PRIVATE, 1, 0666)), msg = OK(msgget(IPC_PRIVATE, 0666));
	all_ids("/proc/sysvipc/shm", (unsigned)shm, 7, 0);
	all_ids("/proc/sysvipc/sem", (unsigned)sem, 4, 0);
	all_ids("/proc/sysvipc/msg", (unsigned)msg, 7, 0);
	as_root_in(0);
	all_ids("/proc/sysvipc/shm", (unsigned)shm, 7, 65534);
	all_ids("/proc/sysvipc/sem", (unsigned)sem, 4, 65534);
	all_ids("/proc/sysvipc/msg", (unsigned)msg, 7, 65534);
	shm = OK(shmget(IPC_PRIVATE, 4096, 0666));
	sem = OK(semget(IPC_PRIVATE, 1, 0666));
	msg = OK(msgget(IPC_PRIVATE, 0666));
	all_ids("/proc/sysvipc/shm", (unsigned)shm, 7, 0);
	all_ids("/proc/sysvipc/sem", (unsigned)sem, 4, 0);
	all_ids("/proc/sysvipc/msg", (unsigned)msg, 7, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(s, (struct sockaddr *)&a, sizeof(a)));
	struct stat st;
	OK(fstat(s, &st));
	unsigned uid;
	fields("/proc/net/udp", 9, st.st_ino, 7, 1, &uid);
	EQ(uid, 0);
}

static long key_new(const char *name) { return syscall(SYS_add_key, "user", name, "x", 1, -2); } // in the process's keyring

TEST(ids_of_keys)
{
	char text[256], want[64];
	as_root_in(0);
	long k = key_new("mine");
	if (k < 0)
		SKIP("no keys here");
	OK(syscall(SYS_keyctl, 6, k, text, sizeof(text))); // KEYCTL_DESCRIBE
	CHECK(!strncmp(text, "user;0;0;", 9));
	snprintf(want, sizeof(want), "%08lx", k);
	char *line = strstr(t_get("/proc/keys"), want);
	CHECK(line);
	unsigned uid = 77, gid = 77;
	EQ(sscanf(line, "%*s %*s %*s %*s %*s %u %u", &uid, &gid), 2);
	EQ(uid, 0);
	EQ(gid, 0);
	const char *users = t_get("/proc/key-users");
	CHECK(!strncmp(users, "    0: ", 7) && !strchr(strchr(users, '\n') + 1, '\n')); // nobody else has a number here
	ERR(syscall(SYS_keyctl, 4, k, 5, -1), EINVAL); // KEYCTL_CHOWN to whom there is not
	OK(syscall(SYS_keyctl, 4, k, 0, 0));
}
