// SPDX-License-Identifier: Apache-2.0
// PID and cgroup namespaces: numbers inside and outside, the first process and its end, what is seen of others. Needs root.
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>

#include "tests/kernel/t.h"

static pid_t clone_flags(unsigned long flags) { return (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0); }

// A child that is the first process of a namespace; 0 in the child.
static pid_t first(void)
{
	pid_t p = clone_flags(CLONE_NEWPID);
	if (p < 0 && errno == EPERM)
		SKIP("not allowed to make namespaces");
	return OK(p);
}

TEST(numbers_inside_and_outside)
{
	int up[2];
	pid_t p;
	OK(pipe(up));
	p = first();
	if (!p) {
		EQ(getpid(), 1);
		EQ(syscall(SYS_gettid), 1);
		EQ(getppid(), 0);
		EQ(getpgid(0), 0); // its group and session lie outside
		EQ(getsid(0), 0);
		pid_t c = OK(fork());
		if (!c) {
			EQ(getpid(), 2);
			EQ(getppid(), 1);
			_exit(22);
		}
		EQ(c, 2);
		int st;
		EQ(waitpid(2, &st, 0), 2);
		EQ(WEXITSTATUS(st), 22);
		c = OK(fork());
		if (!c)
			_exit(getpid() == 3 ? 0 : 1);
		EQ(t_wait(c), 0);
		EQ(setsid(), 1);
		EQ(getpgrp(), 1);
		EQ(getsid(0), 1);
		_exit(7);
	}
	CHECK(p > 1 && p != getpid());
	EQ(t_wait(p), 7);
}

TEST(unshare_is_for_children)
{
	pid_t me = getpid();
	if (unshare(CLONE_NEWPID) && errno == EPERM)
		SKIP("not allowed to make namespaces");
	EQ(getpid(), me);
	pid_t a = OK(fork());
	if (!a) {
		EQ(getpid(), 1);
		pause();
	}
	pid_t b = OK(fork());
	if (!b)
		_exit(getpid() == 2 && getppid() == 0 ? 0 : 1);
	EQ(t_wait(b), 0);
	OK(kill(a, SIGKILL));
	EQ(t_wait(a), 128 + SIGKILL);
	ERR(fork(), ENOMEM); // its first process is gone
}

static volatile int got, from;
static void on_usr1(int sig, siginfo_t *i, void *u)
{
	(void)u;
	got = sig;
	from = i->si_pid;
}

TEST(signals_within)
{
	pid_t p = first();
	if (!p) {
		struct sigaction sa = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO};
		OK(sigaction(SIGUSR1, &sa, NULL));
		OK(kill(1, SIGTERM)); // the first process: what would end it is nothing
		OK(kill(getpid(), SIGKILL));
		pid_t c = OK(fork());
		if (!c) {
			OK(kill(1, SIGKILL));
			OK(kill(getppid(), SIGUSR1));
			pause();
		}
		while (!got)
			t_sleep_ms(1);
		EQ(from, c);
		EQ(c, 2);
		siginfo_t info = {0};
		OK(kill(c, SIGKILL));
		OK(waitid(P_PID, (id_t)c, &info, WEXITED));
		EQ(info.si_pid, 2);
		ERR(kill(12345, 0), ESRCH);
		ERR(kill(getppid() ? 1 : 9999, SIGUSR1), ESRCH);
		got = 0;
		OK(syscall(SYS_tgkill, 1, 1, SIGUSR1));
		EQ(got, SIGUSR1);
		EQ(from, 1);
		EQ(kill(-1, SIGUSR2), -1); // nobody else
		_exit(5);
	}
	EQ(t_wait(p), 5);
}

TEST(signals_from_outside)
{
	int up[2];
	char b;
	OK(pipe(up));
	pid_t p = first();
	if (!p) {
		struct sigaction sa = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO};
		from = -1;
		OK(sigaction(SIGUSR1, &sa, NULL));
		EQ(write(up[1], "r", 1), 1);
		while (!got)
			t_sleep_ms(1);
		EQ(from, 0); // somebody whom it does not see
		EQ(write(up[1], "s", 1), 1);
		for (;;)
			pause();
	}
	EQ(read(up[0], &b, 1), 1);
	OK(kill(p, SIGUSR1));
	EQ(read(up[0], &b, 1), 1);
	OK(kill(p, SIGTERM)); // no handler: nothing, from outside too
	OK(kill(p, SIGKILL));
	EQ(t_wait(p), 128 + SIGKILL);
}

TEST(end_of_the_first_ends_all)
{
	int up[2];
	char b[4];
	OK(pipe(up));
	pid_t p = first();
	if (!p) {
		for (int i = 0; i < 3; i++)
			if (!OK(fork())) {
				if (i == 2)
					fork(); // grandchildren too
				for (;;)
					pause();
			}
		_exit(1);
	}
	close(up[1]);
	EQ(t_wait(p), 1);
	EQ(read(up[0], b, 4), 0); // all ends of the pipe are closed
}

// reboot(2) ends a namespace as if its first process had got a signal.
TEST(reboot_ends_the_namespace)
{
	static const struct {
		int cmd, sig;
		bool by_child;
	} how[] = {{RB_AUTOBOOT, SIGHUP, true}, {RB_AUTOBOOT, SIGHUP, false}, {RB_POWER_OFF, SIGINT, true}, {RB_HALT_SYSTEM, SIGINT, false}};
	for (size_t i = 0; i < sizeof(how) / sizeof(*how); i++) {
		pid_t p = first();
		if (!p) {
			if (getpid() != 1) // nobody else's machine
				_exit(1);
			if (reboot(RB_ENABLE_CAD) == -1 && errno == EPERM)
				_exit(T_SKIPPED);
			ERR(reboot(RB_ENABLE_CAD), EINVAL);
			ERR(syscall(SYS_reboot, 1, 2, RB_AUTOBOOT, NULL), EINVAL);
			pid_t c = how[i].by_child ? OK(fork()) : 0;
			if (!c) {
				reboot(how[i].cmd);
				_exit(2);
			}
			for (;;)
				pause();
		}
		int end = t_wait(p);
		if (end == T_SKIPPED)
			SKIP("no CAP_SYS_BOOT");
		EQ(end, 128 + how[i].sig);
	}
}

TEST(orphans_come_to_the_first)
{
	pid_t p = first();
	if (!p) {
		pid_t c = OK(fork());
		if (!c) {
			if (!OK(fork())) {
				while (getppid() != 1)
					t_sleep_ms(1);
				_exit(9);
			}
			_exit(8);
		}
		EQ(t_wait(c), 8);
		int st;
		EQ(wait(&st), 3);
		EQ(WEXITSTATUS(st), 9);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST(nested)
{
	pid_t p = first();
	if (!p) {
		pid_t q = OK(clone_flags(CLONE_NEWPID));
		if (!q) {
			EQ(getpid(), 1);
			EQ(getppid(), 0);
			pid_t c = OK(fork());
			if (!c)
				_exit(getpid() == 2 ? 0 : 1);
			EQ(t_wait(c), 0);
			_exit(6);
		}
		CHECK(q > 1);
		OK(kill(q, 0));
		EQ(t_wait(q), 6);
		_exit(5);
	}
	EQ(t_wait(p), 5);
}

static pthread_mutex_t pi;
static volatile int inside;
static void *locks(void *arg)
{
	(void)arg;
	inside = (int)syscall(SYS_gettid);
	pthread_mutex_lock(&pi);
	pthread_mutex_unlock(&pi);
	return NULL;
}

TEST(threads_and_their_numbers)
{
	pid_t p = first();
	if (!p && fork()) { // the C library knows its thread's number after a fork of its own only
		int st;
		wait(&st);
		_exit(WIFEXITED(st) ? WEXITSTATUS(st) : 99);
	}
	if (!p) {
		pthread_mutexattr_t a;
		pthread_t t;
		ZERO(pthread_mutexattr_init(&a));
		ZERO(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT));
		ZERO(pthread_mutex_init(&pi, &a));
		ZERO(pthread_mutex_lock(&pi));
		ZERO(pthread_create(&t, NULL, locks, NULL));
		while (!inside)
			t_sleep_ms(1);
		EQ(inside, 3);
		t_sleep_ms(20);
		ZERO(pthread_mutex_unlock(&pi));
		ZERO(pthread_join(t, NULL));
		ZERO(pthread_mutex_lock(&pi));
		ERR(syscall(SYS_futex, &pi, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0), EDEADLK);
		int tid = -1;
		if (!clone_flags(0))
			_exit(0);
		pid_t c = (pid_t)syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &tid, &inside, 0);
		if (!c)
			_exit(inside == getpid() ? 0 : 1);
		EQ(tid, c);
		EQ(t_wait(c), 0);
		c = vfork();
		if (!c)
			_exit(0);
		CHECK(c > 3 && c < 10);
		_exit(3);
	}
	EQ(t_wait(p), 3);
}

TEST_DIR(proc_shows_its_own)
{
	if (!t_root_is_mount_point())
		SKIP("the root is no mount point");
	pid_t p = clone_flags(CLONE_NEWPID | CLONE_NEWNS);
	if (p < 0 && errno == EPERM)
		SKIP("not allowed to make namespaces");
	if (!p) {
		char link[32] = "", line[64];
		OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		OK(mount("proc", "/proc", "proc", 0, NULL));
		OK(readlink("/proc/self", link, sizeof(link)));
		STREQ(link, "1");
		pid_t c = OK(fork());
		if (!c)
			for (;;)
				pause();
		int seen = 0;
		DIR *d = opendir("/proc");
		for (struct dirent *e; (e = readdir(d));)
			if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
				seen += atoi(e->d_name);
		closedir(d);
		EQ(seen, 3); // 1 and 2
		CHECK(!strncmp(t_get("/proc/2/stat"), "2 (", 3));
		snprintf(line, sizeof(line), "\nPPid:\t1\n");
		CHECK(strstr(t_get("/proc/2/status"), line));
		CHECK(strstr(t_get("/proc/2/status"), "\nNSpid:\t2\n"));
		OK(access("/proc/2/task/2/comm", R_OK));
		ERR(access("/proc/3", F_OK), ENOENT);
		_exit(0);
	}
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", p);
	EQ(t_wait(p), 0);
}

TEST(seen_from_outside)
{
	char path[64], want[64], mine[64] = "", its[64] = "";
	pid_t p = first();
	if (!p)
		for (;;)
			pause();
	snprintf(path, sizeof(path), "/proc/%d/status", p);
	snprintf(want, sizeof(want), "\nNSpid:\t%d\t1\n", p);
	CHECK(strstr(t_get(path), want));
	OK(readlink("/proc/self/ns/pid", mine, sizeof(mine)));
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", p);
	OK(readlink(path, its, sizeof(its)));
	CHECK(strcmp(mine, its));
	int fd = OK(open(path, O_RDONLY));
	OK(setns(fd, CLONE_NEWPID)); // for children
	OK(readlink("/proc/self/ns/pid_for_children", mine, sizeof(mine)));
	STREQ(mine, its);
	pid_t c = OK(fork());
	if (!c)
		_exit(getpid() == 2 && getppid() == 0 ? 0 : 1);
	EQ(t_wait(c), 0);
	fd = OK(open("/proc/self/ns/pid", O_RDONLY));
	OK(setns(fd, 0));
	c = OK(fork());
	if (!c)
		_exit(getpid() > 2 ? 0 : 1);
	EQ(t_wait(c), 0);
	OK(kill(p, SIGKILL));
	EQ(t_wait(p), 128 + SIGKILL);
}

TEST(credentials_of_peers)
{
	int s[2];
	struct ucred u;
	socklen_t n = sizeof(u);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t p = first();
	if (!p) {
		OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
		EQ(u.pid, 0);
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
		EQ(u.pid, 1);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST(owners_of_files)
{
	int up[2], back[2];
	struct f_owner_ex ow;
	char b;
	OK(pipe(up));
	OK(pipe(back));
	pid_t p = first();
	if (!p) {
		EQ(fcntl(up[0], F_GETOWN), 0);
		OK(fcntl(up[0], F_SETOWN, 1));
		EQ(fcntl(up[0], F_GETOWN), 1);
		ERR(fcntl(up[0], F_SETOWN, 77), ESRCH);
		ERR(fcntl(up[0], F_SETOWN, -77), ESRCH);
		pid_t c = OK(fork());
		if (!c)
			for (;;)
				pause();
		ow = (struct f_owner_ex){F_OWNER_TID, c};
		OK(fcntl(up[0], F_SETOWN_EX, &ow));
		ow = (struct f_owner_ex){0, 0};
		OK(fcntl(up[0], F_GETOWN_EX, &ow));
		EQ(ow.type, F_OWNER_TID);
		EQ(ow.pid, 2);
		EQ(setsid(), 1);
		OK(fcntl(up[0], F_SETOWN, -1));
		EQ(fcntl(up[0], F_GETOWN), -1);
		// the signal comes to the one whose number it was here
		signal(SIGIO, SIG_IGN);
		struct sigaction sa = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO};
		OK(sigaction(SIGUSR1, &sa, NULL));
		OK(fcntl(up[0], F_SETOWN, 1));
		OK(fcntl(up[0], F_SETSIG, SIGUSR1));
		OK(fcntl(up[0], F_SETFL, O_ASYNC));
		EQ(write(up[1], "x", 1), 1);
		while (!got)
			t_sleep_ms(1);
		OK(fcntl(up[0], F_SETFL, 0));
		EQ(write(back[1], "y", 1), 1);
		for (;;)
			pause();
	}
	EQ(read(back[0], &b, 1), 1);
	EQ(fcntl(up[0], F_GETOWN), p); // the same one by its number outside
	OK(fcntl(up[0], F_SETOWN, getpid()));
	OK(kill(p, SIGKILL));
	EQ(t_wait(p), 128 + SIGKILL);
	p = first();
	if (!p) {
		EQ(fcntl(up[0], F_GETOWN), 0); // somebody whom it does not see
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST(wrong_uses)
{
	pid_t p = first();
	if (!p) {
		if (!OK(fork())) {
			OK(setuid(1000));
			ERR(unshare(CLONE_NEWPID), EPERM);
			ERR(clone_flags(CLONE_NEWPID), EPERM);
			_exit(0);
		}
		int st;
		OK(wait(&st));
		EQ(st, 0);
		OK(unshare(CLONE_NEWPID));
		ERR(syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FS, 0, 0, 0, 0), EINVAL);
		int fd = OK(open("/proc/self/ns/user", O_RDONLY));
		ERR(setns(fd, CLONE_NEWPID), EINVAL);
		_exit(0);
	}
	ERR(syscall(SYS_clone, CLONE_NEWPID | CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0), EINVAL);
	EQ(t_wait(p), 0);
}

TEST(cgroup_namespace)
{
	char a[64] = "", b[64] = "";
	OK(readlink("/proc/self/ns/cgroup", a, sizeof(a)));
	int fd = OK(open("/proc/self/ns/cgroup", O_RDONLY));
	if (unshare(CLONE_NEWCGROUP)) {
		if (errno == EPERM || errno == EINVAL)
			SKIP("not allowed to make namespaces");
		CHECK(0);
	}
	OK(readlink("/proc/self/ns/cgroup", b, sizeof(b)));
	CHECK(strcmp(a, b));
	CHECK(strstr(t_get("/proc/self/cgroup"), ":/\n"));
	OK(setns(fd, CLONE_NEWCGROUP));
	memset(b, 0, sizeof(b));
	OK(readlink("/proc/self/ns/cgroup", b, sizeof(b)));
	STREQ(a, b);
}

TEST(many_come_and_go)
{
	for (int i = 0; i < 200; i++) {
		pid_t p = first();
		if (!p) {
			if (!fork())
				pause();
			_exit(getpid());
		}
		EQ(t_wait(p), 1);
	}
}
