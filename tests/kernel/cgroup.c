// SPDX-License-Identifier: Apache-2.0
// Control groups that are made: the tree, membership, freezing, killing, word of changes, controllers. A machine that keeps its controllers in
// version 1, or has no writable cgroup2, skips what it has not.
#include "t.h"
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>

#define MB (1024ul * 1024)
static char base[256]; // the group where the tests make theirs

static void put(const char *group, const char *file, const char *text)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s/%s", base, group, file);
	int fd = OK(open(path, O_WRONLY));
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		t_fail(__LINE__, "%s to %s: errno %d", text, path, errno);
	close(fd);
}

static int put_error(const char *group, const char *file, const char *text)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s/%s", base, group, file);
	int fd = open(path, O_WRONLY);
	if (fd < 0)
		return errno;
	int e = write(fd, text, strlen(text)) < 0 ? errno : 0;
	close(fd);
	return e;
}

static const char *get(const char *group, const char *file)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s/%s", base, group, file);
	return t_get(path);
}

static unsigned long number(const char *group, const char *file, const char *key)
{
	const char *text = get(group, file), *p = *key ? strstr(text, key) : text;
	if (!p)
		t_fail(__LINE__, "%s: no %s", file, key);
	return strtoul(p + strlen(key), NULL, 10);
}

static const char *group(const char *name)
{
	static char path[512];
	snprintf(path, sizeof(path), "%s/%s", base, name);
	return path;
}

static void make(const char *name) { OK(mkdir(group(name), 0755)); }

static void gone(const char *name)
{
	int r = 0;
	for (int i = 0; i < 500 && (r = rmdir(group(name))) && errno == EBUSY; i++)
		t_sleep_ms(10);
	if (r)
		t_fail(__LINE__, "rmdir %s: errno %d", name, errno);
}

static void enter(const char *name, pid_t pid)
{
	char text[16];
	snprintf(text, sizeof(text), "%d", pid);
	put(name, "cgroup.procs", text);
}

// What is left of an earlier run.
static void sweep(const char *dir, int depth)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char sub[512];
	while (d && depth && (e = readdir(d)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.') {
			snprintf(sub, sizeof(sub), "%s/%s", dir, e->d_name);
			sweep(sub, depth - 1);
		}
	if (d)
		closedir(d);
	rmdir(dir);
}

// A group for this case, `need`: with this controller for the groups below it.
static void begin(const char *need)
{
	static char root[200];
	FILE *f = fopen("/proc/self/mounts", "r");
	char line[1024], type[32];
	*root = 0;
	while (f && !*root && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %199s %31s", root, type) != 2 || strcmp(type, "cgroup2"))
			*root = 0;
	if (f)
		fclose(f);
	if (!*root)
		SKIP("no cgroup2 is mounted");
	DIR *d = opendir(root);
	struct dirent *e;
	int pid;
	while (d && (e = readdir(d)))
		if (sscanf(e->d_name, "t.%d", &pid) == 1 && kill(pid, 0) && errno == ESRCH) {
			snprintf(base, sizeof(base), "%s/t.%d", root, pid);
			sweep(base, 4);
		}
	if (d)
		closedir(d);
	snprintf(base, sizeof(base), "%s/t.%d", root, getpid());
	if (mkdir(base, 0755))
		SKIP("cgroup2 is not writable");
	if (!need)
		return;
	char path[300], text[64];
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/cgroup.subtree_control", i ? base : root);
		snprintf(text, sizeof(text), "+%s", need);
		int fd = open(path, O_WRONLY);
		if (fd < 0 || write(fd, text, strlen(text)) < 0) {
			rmdir(base);
			SKIP("only inside an enclave");
		}
		close(fd);
	}
}

static void end(void)
{
	if (rmdir(base))
		t_fail(__LINE__, "rmdir %s: errno %d", base, errno);
}

static pid_t sleeper(void)
{
	pid_t p = OK(fork());
	if (!p)
		for (;;)
			pause();
	return p;
}

static pid_t runner(void)
{
	pid_t p = OK(fork());
	if (!p)
		for (volatile long n = 0;; n++)
			;
	return p;
}

static void wait_for(const char *name, const char *file, const char *line)
{
	for (int i = 0; i < 1500; i++) {
		if (strstr(get(name, file), line))
			return;
		t_sleep_ms(10);
	}
	t_fail(__LINE__, "%s/%s never had %s", name, file, line);
}

TEST(groups_are_made_and_removed)
{
	begin(NULL);
	make("a");
	ERR(mkdir(group("a"), 0755), EEXIST);
	ERR(mkdir(group("new\nline"), 0755), EINVAL);
	ERR(mkdir(group("cgroup.procs"), 0755), EEXIST);
	make("a/b");
	ERR(rmdir(group("a")), EBUSY);
	STREQ(get("a", "cgroup.type"), "domain\n");
	STREQ(get("a", "cgroup.events"), "populated 0\nfrozen 0\n");
	STREQ(get("a", "cgroup.procs"), "");
	STREQ(get("a", "cgroup.subtree_control"), "");
	EQ(number("a", "cgroup.stat", "nr_descendants "), 1);
	EQ(number("", "cgroup.stat", "nr_descendants "), 2);
	STREQ(get("a", "cgroup.max.depth"), "max\n");
	STREQ(get("a", "cgroup.freeze"), "0\n");
	ERR(open(group("a/new"), O_CREAT | O_WRONLY, 0644), EACCES);
	ERR(mknod(group("a/new"), S_IFIFO | 0644, 0), EPERM);
	ERR(symlink("x", group("a/new")), EPERM);
	ERR(unlink(group("a/cgroup.procs")), EPERM);
	char to[512];
	snprintf(to, sizeof(to), "%s", group("c"));
	ERR(rename(group("a"), to), EPERM);
	char c;
	int fd = OK(open(group("a/cgroup.kill"), O_RDONLY)); // root may
	ERR(read(fd, &c, 1), EINVAL);
	close(fd);
	fd = OK(open(group("a/cgroup.events"), O_WRONLY));
	ERR(write(fd, "1", 1), EINVAL);
	close(fd);
	int held = OK(open(group("a/b/cgroup.events"), O_RDONLY));
	gone("a/b");
	ERR(pread(held, &c, 1, 0), ENODEV);
	ERR(access(group("a/b"), F_OK), ENOENT);
	ERR(access(group("a/b/cgroup.procs"), F_OK), ENOENT);
	gone("a");
	end();
}

TEST(attributes_stay)
{
	struct stat st;
	begin(NULL);
	make("a");
	OK(chmod(group("a/cgroup.procs"), 0664));
	OK(chown(group("a/cgroup.procs"), 1234, 5678));
	OK(stat(group("a/cgroup.procs"), &st));
	EQ(st.st_uid, 1234);
	EQ(st.st_gid, 5678);
	EQ(st.st_mode & 07777, 0664);
	ino_t ino = st.st_ino;
	OK(stat(group("a/cgroup.procs"), &st));
	EQ(st.st_ino, ino);
	OK(stat(group("a"), &st));
	EQ(st.st_mode, S_IFDIR | 0755);
	gone("a");
	end();
}

TEST(processes_move)
{
	begin(NULL);
	make("a");
	make("b");
	pid_t p = sleeper();
	char text[16], path[64], want[300];
	enter("a", p);
	snprintf(text, sizeof(text), "%d\n", p);
	STREQ(get("a", "cgroup.procs"), text);
	STREQ(get("a", "cgroup.threads"), text);
	STREQ(get("a", "cgroup.events"), "populated 1\nfrozen 0\n");
	EQ(strncmp(get("", "cgroup.events"), "populated 1", 11), 0);
	snprintf(path, sizeof(path), "/proc/%d/cgroup", p);
	CHECK(strstr(t_get(path), "/a\n"));
	snprintf(want, sizeof(want), "0::/t.%d/a\n", getpid());
	CHECK(strstr(t_get(path), want));
	ERR(rmdir(group("a")), EBUSY);
	enter("b", p);
	STREQ(get("a", "cgroup.procs"), "");
	STREQ(get("b", "cgroup.procs"), text);
	STREQ(get("a", "cgroup.events"), "populated 0\nfrozen 0\n");
	gone("a");
	EQ(put_error("b", "cgroup.procs", "x"), EINVAL);
	EQ(put_error("b", "cgroup.procs", "99999999"), ESRCH);
	EQ(put_error("b", "cgroup.procs", "-5"), EINVAL);
	kill(p, SIGKILL);
	siginfo_t si;
	OK(waitid(P_PID, (id_t)p, &si, WEXITED | WNOWAIT));
	wait_for("b", "cgroup.events", "populated 0"); // a zombie does not populate
	STREQ(get("b", "cgroup.procs"), "");
	gone("b");
	snprintf(want, sizeof(want), "0::/t.%d/b (deleted)\n", getpid());
	CHECK(strstr(t_get(path), want));
	EQ(t_wait(p), 128 + SIGKILL);
	end();
}

static void *thread(void *arg)
{
	(void)arg;
	pause();
	return NULL;
}

TEST(children_and_threads_follow)
{
	begin(NULL);
	make("a");
	int go[2], done[2];
	OK(pipe(go));
	OK(pipe(done));
	pid_t p = OK(fork());
	if (!p) {
		char c;
		CHECK(read(go[0], &c, 1) == 1);
		pthread_t t;
		ZERO(pthread_create(&t, NULL, thread, NULL));
		pid_t child = sleeper();
		CHECK(write(done[1], &child, sizeof(child)) == sizeof(child));
		pause();
	}
	enter("a", p);
	CHECK(write(go[1], "x", 1) == 1);
	pid_t child;
	CHECK(read(done[0], &child, sizeof(child)) == sizeof(child));
	int procs = 0, threads = 0;
	for (const char *s = get("a", "cgroup.procs"); (s = strchr(s, '\n')); s++)
		procs++;
	for (const char *s = get("a", "cgroup.threads"); (s = strchr(s, '\n')); s++)
		threads++;
	EQ(procs, 2);
	EQ(threads, 3);
	char text[16];
	snprintf(text, sizeof(text), "%d", child);
	EQ(put_error("", "cgroup.threads", text), EOPNOTSUPP); // single threads move below a threaded group only
	OK(kill(child, SIGKILL));
	OK(kill(p, SIGKILL));
	t_wait(p);
	gone("a");
	end();
}

TEST(depth_and_number_are_bounded)
{
	begin(NULL);
	make("a");
	put("a", "cgroup.max.depth", "1");
	STREQ(get("a", "cgroup.max.depth"), "1\n");
	make("a/b");
	ERR(mkdir(group("a/b/c"), 0755), EAGAIN);
	put("a", "cgroup.max.depth", "max");
	put("a", "cgroup.max.descendants", "2");
	make("a/b/c");
	ERR(mkdir(group("a/d"), 0755), EAGAIN);
	EQ(put_error("a", "cgroup.max.depth", "x"), EINVAL);
	EQ(put_error("a", "cgroup.max.depth", "-1"), ERANGE);
	EQ(put_error("a", "cgroup.max.depth", "9999999999"), ERANGE);
	STREQ(get("a", "cgroup.max.depth"), "max\n");
	gone("a/b/c");
	gone("a/b");
	gone("a");
	end();
}

TEST(kill_kills_all)
{
	begin(NULL);
	make("a");
	make("a/b");
	pid_t p = sleeper(), q = sleeper();
	enter("a", p);
	enter("a/b", q);
	EQ(put_error("a", "cgroup.kill", "2"), ERANGE);
	EQ(put_error("a", "cgroup.kill", "0"), ERANGE);
	EQ(put_error("a", "cgroup.kill", "x"), EINVAL);
	put("a", "cgroup.kill", "1");
	EQ(t_wait(p), 128 + SIGKILL);
	EQ(t_wait(q), 128 + SIGKILL);
	gone("a/b");
	gone("a");
	end();
}

static void exit3(int sig)
{
	(void)sig;
	_exit(3);
}

TEST(freezing)
{
	begin(NULL);
	make("a");
	make("a/b");
	t_on(SIGTERM, exit3, 0);
	pid_t p = runner(), q = sleeper(), h = sleeper();
	enter("a", p);
	enter("a/b", h);
	enter("a/b", q);
	EQ(put_error("a", "cgroup.freeze", "2"), ERANGE);
	EQ(put_error("a", "cgroup.freeze", "x"), EINVAL);
	put("a", "cgroup.freeze", "1");
	wait_for("a", "cgroup.events", "frozen 1");
	wait_for("a/b", "cgroup.events", "frozen 1");
	STREQ(get("a/b", "cgroup.freeze"), "0\n");
	clockid_t clock;
	struct timespec t1, t2;
	ZERO(clock_getcpuclockid(p, &clock));
	bool stands = false;
	for (int i = 0; i < 20 && !stands; i++) { // where the CPUs are wanted it may not be off them yet when it counts as frozen
		OK(clock_gettime(clock, &t1));
		t_sleep_ms(50);
		OK(clock_gettime(clock, &t2));
		stands = t1.tv_sec == t2.tv_sec && t1.tv_nsec == t2.tv_nsec;
	}
	CHECK(stands);
	kill(h, SIGTERM); // waits until the group goes on
	t_sleep_ms(20);
	EQ(waitpid(h, NULL, WNOHANG), 0);
	kill(q, SIGUSR1); // what kills does not wait
	EQ(t_wait(q), 128 + SIGUSR1);
	pid_t r = sleeper();
	enter("a", r); // comes to stand as well
	wait_for("a", "cgroup.events", "frozen 1");
	kill(r, SIGKILL);
	EQ(t_wait(r), 128 + SIGKILL);
	put("a", "cgroup.freeze", "0");
	wait_for("a", "cgroup.events", "frozen 0");
	EQ(t_wait(h), 3);
	t_end(p);
	put("a", "cgroup.freeze", "1"); // empty: frozen at once
	wait_for("a", "cgroup.events", "frozen 1");
	gone("a/b");
	gone("a");
	end();
}

// A frozen call goes on as if nothing had been, and a stopped task counts as frozen.
TEST(frozen_calls_go_on)
{
	begin(NULL);
	make("a");
	int fd[2];
	OK(pipe(fd));
	pid_t p = OK(fork());
	if (!p) {
		char c;
		_exit(read(fd[0], &c, 1) == 1 && c == 'x' ? 7 : 8);
	}
	pid_t q = sleeper();
	enter("a", p);
	enter("a", q);
	OK(kill(q, SIGSTOP));
	int st;
	EQ(waitpid(q, &st, WUNTRACED), q);
	t_sleep_ms(20);
	for (int i = 0; i < 3; i++) {
		put("a", "cgroup.freeze", "1");
		wait_for("a", "cgroup.events", "frozen 1");
		put("a", "cgroup.freeze", "0");
		wait_for("a", "cgroup.events", "frozen 0");
	}
	CHECK(write(fd[1], "x", 1) == 1);
	EQ(t_wait(p), 7);
	t_end(q);
	gone("a");
	end();
}

TEST(events_are_told)
{
	begin(NULL);
	make("a");
	int fd = OK(open(group("a/cgroup.events"), O_RDONLY)), in = OK(inotify_init1(IN_NONBLOCK));
	char buf[4096];
	CHECK(read(fd, buf, sizeof(buf)) > 0);
	struct pollfd pf = {fd, POLLPRI, 0};
	EQ(poll(&pf, 1, 0), 0);
	OK(inotify_add_watch(in, group("a/cgroup.events"), IN_MODIFY));
	pid_t p = sleeper();
	enter("a", p);
	EQ(poll(&pf, 1, 10000), 1);
	CHECK(pf.revents & POLLPRI && pf.revents & POLLERR);
	OK(lseek(fd, 0, SEEK_SET));
	CHECK(read(fd, buf, sizeof(buf)) > 0);
	EQ(strncmp(buf, "populated 1", 11), 0);
	EQ(poll(&pf, 1, 0), 0);
	struct pollfd pi = {in, POLLIN, 0};
	EQ(poll(&pi, 1, 10000), 1);
	CHECK(read(in, buf, sizeof(buf)) >= (ssize_t)sizeof(struct inotify_event));
	EQ(((struct inotify_event *)buf)->mask, IN_MODIFY);
	t_end(p);
	EQ(poll(&pf, 1, 10000), 1);
	EQ(poll(&pi, 1, 10000), 1);
	gone("a");
	end();
}

static long clone_into(int fd, unsigned long flags)
{
	struct clone_args a = {.flags = flags | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned)fd};
	return syscall(SYS_clone3, &a, sizeof(a));
}

TEST(born_into_a_group)
{
	begin(NULL);
	make("a");
	int fd = OK(open(group("a"), O_RDONLY | O_DIRECTORY)), other = OK(open("/", O_RDONLY)), file = OK(open(group("a/cgroup.procs"), O_RDONLY));
	pid_t p = (pid_t)clone_into(fd, 0);
	if (!p)
		_exit(strstr(t_get("/proc/self/cgroup"), "/a\n") ? 5 : 6);
	CHECK(p > 0);
	EQ(t_wait(p), 5);
	p = (pid_t)clone_into(fd, CLONE_VFORK);
	if (!p)
		_exit(9);
	CHECK(p > 0);
	EQ(t_wait(p), 9);
	ERR(clone_into(other, 0), EBADF);
	ERR(clone_into(999, 0), EBADF);
	ERR(clone_into(file, 0), EBADF);
	gone("a");
	ERR(clone_into(fd, 0), ENOENT);
	end();
}

TEST(namespace_shows_its_own_root)
{
	begin(NULL);
	make("a");
	make("a/b");
	make("c");
	pid_t q = sleeper(), o = sleeper();
	enter("a/b", q);
	enter("c", o);
	pid_t p = OK(fork());
	if (!p) {
		char path[64];
		enter("a", getpid());
		if (unshare(CLONE_NEWCGROUP))
			_exit(errno == EPERM ? T_SKIPPED : 3);
		CHECK(strstr(t_get("/proc/self/cgroup"), "0::/\n"));
		snprintf(path, sizeof(path), "/proc/%d/cgroup", q);
		CHECK(strstr(t_get(path), "0::/b\n"));
		snprintf(path, sizeof(path), "/proc/%d/cgroup", o);
		CHECK(strstr(t_get(path), "0::/../c\n"));
		_exit(0);
	}
	int r = t_wait(p);
	t_end(q);
	t_end(o);
	gone("a/b");
	gone("a");
	gone("c");
	end();
	if (r == T_SKIPPED)
		SKIP("not permitted");
	EQ(r, 0);
}

TEST_DIR(mounted_in_a_namespace)
{
	begin(NULL);
	make("a");
	make("a/b");
	pid_t p = OK(fork());
	if (!p) {
		enter("a", getpid());
		if (unshare(CLONE_NEWCGROUP | CLONE_NEWNS))
			_exit(errno == EPERM ? T_SKIPPED : 3);
		if (t_root_is_mount_point())
			OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		OK(mkdir("m", 0755));
		if (mount("none", "m", "cgroup2", 0, NULL))
			_exit(errno == EPERM ? T_SKIPPED : 4);
		OK(access("m/b/cgroup.procs", R_OK));
		ERR(access("m/a", F_OK), ENOENT);
		char me[16];
		snprintf(me, sizeof(me), "%d\n", getpid());
		STREQ(t_get("m/cgroup.procs"), me);
		OK(mkdir("m/made", 0755));
		OK(access(group("a/made"), F_OK));
		OK(rmdir("m/made"));
		_exit(0);
	}
	int r = t_wait(p);
	gone("a/b");
	gone("a");
	end();
	if (r == T_SKIPPED)
		SKIP("not permitted");
	EQ(r, 0);
}

// Who may write the files of a group may move its own processes within it, and no further.
TEST(delegation)
{
	begin(NULL);
	make("a");
	make("a/b");
	make("c");
	static const char *const files[] = {"a", "a/cgroup.procs", "a/cgroup.subtree_control", "a/b", "a/b/cgroup.procs"};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		OK(chown(group(files[i]), 1234, 1234));
	pid_t p = OK(fork());
	if (!p) {
		enter("a", getpid());
		OK(setresgid(1234, 1234, 1234));
		OK(setresuid(1234, 1234, 1234));
		enter("a/b", getpid());
		enter("a", getpid());
		OK(mkdir(group("a/mine"), 0755));
		enter("a/mine", getpid());
		enter("a", getpid());
		OK(rmdir(group("a/mine")));
		EQ(put_error("c", "cgroup.procs", "0"), EACCES);
		ERR(mkdir(group("c/mine"), 0755), EACCES);
		_exit(0);
	}
	EQ(t_wait(p), 0);
	// may write the file, but not that of the group above both
	OK(chown(group("c/cgroup.procs"), 1234, 1234));
	p = OK(fork());
	if (!p) {
		enter("a", getpid());
		OK(setresuid(1234, 1234, 1234));
		EQ(put_error("c", "cgroup.procs", "0"), EACCES);
		_exit(0);
	}
	EQ(t_wait(p), 0);
	gone("a/b");
	gone("a");
	gone("c");
	end();
}

// Who opened the file is asked, not who writes: a program with more rights may have been talked into writing.
TEST(the_opener_moves)
{
	begin(NULL);
	make("a");
	make("c");
	OK(chown(group("c/cgroup.procs"), 1234, 1234));
	pid_t p = OK(fork());
	if (!p) {
		enter("a", getpid());
		int mine = OK(open(group("c/cgroup.procs"), O_WRONLY));
		OK(setresuid(1234, 1234, 0));
		int theirs = OK(open(group("c/cgroup.procs"), O_WRONLY));
		OK(setresuid(0, 0, 0));
		ERR(write(theirs, "0", 1), EACCES);
		OK(setresuid(1234, 1234, 1234));
		OK(write(mine, "0", 1));
		_exit(0);
	}
	EQ(t_wait(p), 0);
	gone("a");
	gone("c");
	end();
}

// --- controllers

TEST(controllers_are_handed_down)
{
	begin("pids");
	make("a");
	make("a/b");
	CHECK(strstr(get("a", "cgroup.controllers"), "pids"));
	STREQ(get("a/b", "cgroup.controllers"), "");
	ERR(access(group("a/b/pids.max"), F_OK), ENOENT);
	EQ(put_error("a", "cgroup.subtree_control", "+nothing"), EINVAL);
	EQ(put_error("a", "cgroup.subtree_control", "pids"), EINVAL);
	EQ(put_error("a/b", "cgroup.subtree_control", "+pids"), ENOENT);
	put("a", "cgroup.subtree_control", "+pids");
	STREQ(get("a", "cgroup.subtree_control"), "pids\n");
	STREQ(get("a/b", "pids.max"), "max\n");
	put("a/b", "pids.max", "10");
	STREQ(get("a/b", "pids.max"), "10\n");
	EQ(put_error("", "cgroup.subtree_control", "-pids"), EBUSY);
	put("a", "cgroup.subtree_control", "-pids");
	ERR(access(group("a/b/pids.max"), F_OK), ENOENT);
	put("a", "cgroup.subtree_control", "+pids");
	STREQ(get("a/b", "pids.max"), "max\n");
	gone("a/b");
	gone("a");
	end();
}

// A group has processes or hands down controllers of memory, not both.
TEST(no_processes_inside)
{
	begin("memory");
	make("a");
	make("a/b");
	pid_t p = sleeper();
	enter("a", p);
	EQ(put_error("a", "cgroup.subtree_control", "+memory"), EBUSY);
	enter("a/b", p);
	put("a", "cgroup.subtree_control", "+memory");
	char text[16];
	snprintf(text, sizeof(text), "%d", p);
	EQ(put_error("a", "cgroup.procs", text), EBUSY);
	t_end(p);
	gone("a/b");
	gone("a");
	end();
}

TEST(pids_are_limited)
{
	begin("pids");
	make("a");
	pid_t p = OK(fork());
	if (!p) {
		enter("a", getpid());
		put("a", "pids.max", "3");
		EQ(number("a", "pids.current", ""), 1);
		pid_t q = sleeper();
		pthread_t t;
		ZERO(pthread_create(&t, NULL, thread, NULL));
		EQ(number("a", "pids.current", ""), 3);
		ERR(fork(), EAGAIN);
		EQ(pthread_create(&t, NULL, thread, NULL), EAGAIN);
		EQ(number("a", "pids.events", "max "), 2);
		EQ(number("a", "pids.peak", ""), 3);
		kill(q, SIGKILL);
		siginfo_t si;
		OK(waitid(P_PID, (id_t)q, &si, WEXITED | WNOWAIT));
		ERR(fork(), EAGAIN); // a zombie counts
		t_wait(q);
		q = sleeper();
		t_end(q);
		put("a", "pids.max", "max");
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(number("a", "pids.current", ""), 0);
	EQ(put_error("a", "pids.max", "x"), EINVAL);
	EQ(put_error("a", "pids.max", "-1"), EINVAL);
	gone("a");
	end();
}

// The limit of a group above holds for all below it, threads that are gone do not count, and an exec by a thread leaves one.
HELPER(count)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/pids.current", argv[1]);
	return (int)strtol(t_get(path), NULL, 10);
}

static void *ends_at_once(void *arg) { return arg; }

static void *exec_it(void *arg)
{
	execl(t_self, t_self, "--helper", "count", (char *)arg, (char *)NULL);
	_exit(99);
}

TEST(pids_count_right)
{
	begin("pids");
	make("a");
	put("a", "cgroup.subtree_control", "+pids");
	make("a/b");
	put("a", "pids.max", "4");
	pid_t p = OK(fork());
	if (!p) {
		enter("a/b", getpid());
		pthread_t t;
		char *dir = strdup(group("a"));
		for (int i = 0; i < 20; i++) {
			ZERO(pthread_create(&t, NULL, ends_at_once, NULL));
			ZERO(pthread_join(t, NULL));
			for (int n = 0; n < 500 && number("a/b", "pids.current", "") > 1; n++)
				t_sleep_ms(10); // joined is not yet gone
		}
		ZERO(pthread_create(&t, NULL, exec_it, dir));
		pause();
	}
	EQ(t_wait(p), 1);
	EQ(number("a", "pids.current", ""), 0);
	gone("a/b");
	gone("a");
	end();
}

TEST(cpu_time_is_counted)
{
	begin("cpu");
	make("a");
	pid_t p = runner();
	enter("a", p);
	for (int i = 0; i < 1000 && number("a", "cpu.stat", "usage_usec ") < 50000; i++)
		t_sleep_ms(10);
	CHECK(number("a", "cpu.stat", "usage_usec ") >= 50000);
	t_end(p);
	CHECK(number("a", "cpu.stat", "usage_usec ") >= 50000); // also when it is gone
	CHECK(number("", "cpu.stat", "usage_usec ") >= number("a", "cpu.stat", "usage_usec "));
	gone("a");
	end();
}

TEST(cpu_time_is_limited)
{
	begin("cpu");
	make("a");
	STREQ(get("a", "cpu.max"), "max 100000\n");
	EQ(put_error("a", "cpu.max", "x"), EINVAL);
	STREQ(get("a", "cpu.weight"), "100\n");
	put("a", "cpu.weight", "250");
	STREQ(get("a", "cpu.weight"), "250\n");
	EQ(put_error("a", "cpu.weight", "0"), ERANGE);
	EQ(put_error("a", "cpu.weight", "10001"), ERANGE);
	EQ(put_error("a", "cpu.weight", "x"), EINVAL);
	EQ(put_error("a", "cpu.max", "500"), EINVAL);
	EQ(put_error("a", "cpu.max", "10000 2000000"), EINVAL);
	put("a", "cpu.max", "5000 50000");
	STREQ(get("a", "cpu.max"), "5000 50000\n");
	pid_t p = runner();
	enter("a", p);
	struct timespec t1, t2;
	OK(clock_gettime(CLOCK_MONOTONIC, &t1));
	for (int i = 0; i < 2000 && number("a", "cpu.stat", "nr_throttled ") < 5; i++)
		t_sleep_ms(10);
	OK(clock_gettime(CLOCK_MONOTONIC, &t2));
	unsigned long us = (unsigned long)((t2.tv_sec - t1.tv_sec) * 1000000 + (t2.tv_nsec - t1.tv_nsec) / 1000);
	CHECK(number("a", "cpu.stat", "nr_throttled ") >= 5);
	CHECK(number("a", "cpu.stat", "usage_usec ") < us / 2); // a tenth, but not to the tick
	put("a", "cpu.max", "max");
	unsigned long used = number("a", "cpu.stat", "usage_usec ");
	for (int i = 0; i < 2000 && number("a", "cpu.stat", "usage_usec ") < used + 50000; i++)
		t_sleep_ms(10);
	CHECK(number("a", "cpu.stat", "usage_usec ") >= used + 50000);
	t_end(p);
	gone("a");
	end();
}

TEST(memory_is_limited)
{
	begin("memory");
	make("a");
	STREQ(get("a", "memory.max"), "max\n");
	put("a", "memory.max", "64M");
	EQ(number("a", "memory.max", ""), 64 * MB);
	EQ(put_error("a", "memory.max", "many"), EINVAL);
	int fd[2];
	OK(pipe(fd));
	pid_t small = sleeper(), p = OK(fork());
	if (!p) {
		char c;
		enter("a", getpid());
		char *m = OK(mmap(NULL, 32 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		memset(m, 1, 32 * MB);
		CHECK(write(fd[1], "x", 1) == 1);
		kill(getpid(), SIGSTOP);
		m = OK(mmap(NULL, 512 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
		for (size_t i = 0; i < 512 * MB; i += 4096) {
			m[i] = 1;
			if (i % (8 * MB) == 0)
				t_sleep_ms(20);
		}
		_exit(read(fd[0], &c, 1) == 1);
	}
	enter("a", small);
	char c;
	CHECK(read(fd[0], &c, 1) == 1);
	unsigned long now = number("a", "memory.current", "");
	CHECK(now >= 32 * MB && now < 64 * MB);
	CHECK(number("a", "memory.stat", "anon ") >= 32 * MB);
	int st;
	EQ(waitpid(p, &st, WUNTRACED), p);
	OK(kill(p, SIGCONT));
	EQ(t_wait(p), 128 + SIGKILL);
	EQ(number("a", "memory.events", "\noom_kill "), 1);
	CHECK(number("a", "memory.events", "\noom ") >= 1);
	CHECK(number("a", "memory.peak", "") >= 32 * MB);
	EQ(waitpid(small, &st, WNOHANG), 0); // it was not the one
	t_end(small);
	gone("a");
	end();
}

TEST(memory_group_dies_together)
{
	begin("memory");
	make("a");
	put("a", "memory.max", "32M");
	put("a", "memory.oom.group", "1");
	STREQ(get("a", "memory.oom.group"), "1\n");
	pid_t small = sleeper(), p;
	enter("a", small);
	p = OK(fork());
	if (!p) {
		enter("a", getpid());
		char *m = OK(mmap(NULL, 512 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
		for (size_t i = 0; i < 512 * MB; i += 4096) {
			m[i] = 1;
			if (i % (8 * MB) == 0)
				t_sleep_ms(20);
		}
		pause();
	}
	EQ(t_wait(p), 128 + SIGKILL);
	EQ(t_wait(small), 128 + SIGKILL);
	EQ(number("a", "memory.events", "oom_group_kill "), 1);
	gone("a");
	end();
}

TEST(cpus_are_limited)
{
	begin("cpuset");
	make("a");
	STREQ(get("a", "cpuset.cpus"), "\n");
	cpu_set_t set, one;
	OK(sched_getaffinity(0, sizeof(set), &set));
	if (CPU_COUNT(&set) < 2) {
		gone("a");
		end();
		SKIP("one CPU");
	}
	put("a", "cpuset.cpus", "0");
	STREQ(get("a", "cpuset.cpus"), "0\n");
	STREQ(get("a", "cpuset.cpus.effective"), "0\n");
	EQ(put_error("a", "cpuset.cpus", "x"), EINVAL);
	pid_t p = sleeper();
	enter("a", p);
	OK(sched_getaffinity(p, sizeof(one), &one));
	EQ(CPU_COUNT(&one), 1);
	CHECK(CPU_ISSET(0, &one));
	CPU_ZERO(&one);
	CPU_SET(1, &one);
	ERR(sched_setaffinity(p, sizeof(one), &one), EINVAL);
	put("a", "cpuset.cpus", "");
	OK(sched_getaffinity(p, sizeof(one), &one));
	CHECK(CPU_EQUAL(&one, &set));
	t_end(p);
	gone("a");
	end();
}
