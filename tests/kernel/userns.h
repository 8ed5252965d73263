// SPDX-License-Identifier: Apache-2.0
// What the cases about user namespaces share: to be in one, and to speak with a child that is.
#ifndef TESTS_KERNEL_USERNS_H
#define TESTS_KERNEL_USERNS_H
#include "t.h"
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>

// 0 or errno.
__attribute__((unused)) static int put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);
	if (fd < 0)
		return errno;
	int e = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : errno;
	close(fd);
	return e;
}

__attribute__((unused)) static int put_of(pid_t pid, const char *file, const char *text)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	return put(path, text);
}

// An ordinary user's namespace: whether there is one.
__attribute__((unused)) static bool get_alone(int flags)
{
	if (!geteuid()) {
		OK(setgroups(0, NULL));
		OK(setresgid(1234, 1234, 1234));
		OK(setresuid(1234, 1234, 1234));
		OK(prctl(PR_SET_DUMPABLE, 1));
	}
	return !unshare(CLONE_NEWUSER | flags);
}

__attribute__((unused)) static void alone_in(int flags)
{
	if (!get_alone(flags))
		SKIP("no user namespaces here");
}

__attribute__((unused)) static void as_root_in(int flags)
{
	char map[64];
	unsigned uid = geteuid() ? geteuid() : 1234, gid = geteuid() ? getegid() : 1234;
	alone_in(flags);
	snprintf(map, sizeof(map), "0 %u 1", uid);
	EQ(put("/proc/self/uid_map", map), 0);
	EQ(put("/proc/self/setgroups", "deny"), 0);
	snprintf(map, sizeof(map), "0 %u 1\n", gid);
	EQ(put("/proc/self/gid_map", map), 0);
}

// Two pipes between a case and its child: each says that it is so far, and waits for the other.
struct pair {
	int up[2], down[2];
};

__attribute__((unused)) static void pair_new(struct pair *p)
{
	OK(pipe(p->up));
	OK(pipe(p->down));
}

__attribute__((unused)) static void say(int *to) { EQ(write(to[1], "x", 1), 1); }

__attribute__((unused)) static void hear(int *from)
{
	char c;
	EQ(read(from[0], &c, 1), 1);
}

// The parent's wait for a child that is in a namespace of its own, or has ended because there is none.
__attribute__((unused)) static void hear_or_skip(struct pair *p, pid_t child)
{
	char c;
	OK(close(p->up[1]));
	if (read(p->up[0], &c, 1) == 1)
		return;
	EQ(t_wait(child), T_SKIPPED);
	SKIP("no user namespaces here");
}
#endif
