// SPDX-License-Identifier: Apache-2.0
// Memory that never becomes a program's text (PR_SET_MDWE), the policy about bad memory, and threads that leave their process's mounts.
#include "t.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1ul
#define PR_GET_MDWE 66
#endif
#define NO_INHERIT 2ul
#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)
#define PAGE 4096ul

static void need_mdwe(void)
{
	if (prctl(PR_GET_MDWE, 0ul, 0ul, 0ul, 0ul) < 0)
		SKIP("this kernel has none");
}

TEST(written_is_not_run)
{
	need_mdwe();
	char *before = OK(mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *text = OK(mmap(NULL, PAGE, RX, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	EQ(prctl(PR_GET_MDWE, 0ul, 0ul, 0ul, 0ul), 0);
	ERR(prctl(PR_SET_MDWE, 4ul, 0ul, 0ul, 0ul), EINVAL);
	ERR(prctl(PR_SET_MDWE, NO_INHERIT, 0ul, 0ul, 0ul), EINVAL);
	ERR(prctl(PR_SET_MDWE, 1ul, 1ul, 0ul, 0ul), EINVAL);
	ERR(prctl(PR_GET_MDWE, 1ul, 0ul, 0ul, 0ul), EINVAL);
	OK(prctl(PR_SET_MDWE, 1ul, 0ul, 0ul, 0ul));
	EQ(prctl(PR_GET_MDWE, 0ul, 0ul, 0ul, 0ul), 1);
	ERR(prctl(PR_SET_MDWE, 0ul, 0ul, 0ul, 0ul), EPERM);
	ERR(prctl(PR_SET_MDWE, 3ul, 0ul, 0ul, 0ul), EPERM);
	OK(prctl(PR_SET_MDWE, 1ul, 0ul, 0ul, 0ul));
	ERR((long)mmap(NULL, PAGE, RW | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EACCES);
	ERR(mprotect(before, PAGE, RX), EACCES);
	ERR(mprotect(before, PAGE, RW | PROT_EXEC), EACCES);
	ERR(mprotect(text, PAGE, RW | PROT_EXEC), EACCES);
	OK(mprotect(before, PAGE, PROT_READ));
	ERR(mprotect(before, PAGE, RX), EACCES);
	OK(mmap(NULL, PAGE, RX, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	OK(mprotect(text, PAGE, PROT_READ | PROT_EXEC));
	OK(mprotect(text, PAGE, RW));
	ERR(mprotect(text, PAGE, RX), EACCES);
}

HELPER(mdwe) { return prctl(PR_GET_MDWE, 0ul, 0ul, 0ul, 0ul) < 0 ? 99 : prctl(PR_GET_MDWE, 0ul, 0ul, 0ul, 0ul); }

static int in_exec(bool vforked)
{
	pid_t p = vforked ? vfork() : fork();
	if (!p) {
		execl(t_self, t_self, "--helper", "mdwe", (char *)NULL);
		_exit(98);
	}
	return t_wait(OK(p));
}

TEST(refusal_is_inherited)
{
	need_mdwe();
	OK(prctl(PR_SET_MDWE, 1ul, 0ul, 0ul, 0ul));
	pid_t p = OK(fork());
	if (!p)
		_exit((int)prctl(PR_GET_MDWE, 0ul, 0ul, 0ul, 0ul));
	EQ(t_wait(p), 1);
	EQ(in_exec(false), 1);
	EQ(in_exec(true), 1);
}

TEST(refusal_of_one_alone)
{
	need_mdwe();
	if (prctl(PR_SET_MDWE, 3ul, 0ul, 0ul, 0ul))
		SKIP("this kernel has none");
	EQ(prctl(PR_GET_MDWE, 0ul, 0ul, 0ul, 0ul), 3);
	pid_t p = OK(fork());
	if (!p)
		_exit((int)prctl(PR_GET_MDWE, 0ul, 0ul, 0ul, 0ul));
	EQ(t_wait(p), 0);
	EQ(in_exec(true), 0);
}

TEST(bad_memory)
{
	EQ(prctl(PR_MCE_KILL_GET, 0ul, 0ul, 0ul, 0ul), PR_MCE_KILL_DEFAULT);
	OK(prctl(PR_MCE_KILL, (unsigned long)PR_MCE_KILL_SET, (unsigned long)PR_MCE_KILL_EARLY, 0ul, 0ul));
	EQ(prctl(PR_MCE_KILL_GET, 0ul, 0ul, 0ul, 0ul), PR_MCE_KILL_EARLY);
	pid_t p = OK(fork());
	if (!p)
		_exit(prctl(PR_MCE_KILL_GET, 0ul, 0ul, 0ul, 0ul));
	EQ(t_wait(p), PR_MCE_KILL_EARLY);
	OK(prctl(PR_MCE_KILL, (unsigned long)PR_MCE_KILL_SET, (unsigned long)PR_MCE_KILL_LATE, 0ul, 0ul));
	EQ(prctl(PR_MCE_KILL_GET, 0ul, 0ul, 0ul, 0ul), PR_MCE_KILL_LATE);
	OK(prctl(PR_MCE_KILL, (unsigned long)PR_MCE_KILL_CLEAR, 0ul, 0ul, 0ul));
	EQ(prctl(PR_MCE_KILL_GET, 0ul, 0ul, 0ul, 0ul), PR_MCE_KILL_DEFAULT);
	ERR(prctl(PR_MCE_KILL, (unsigned long)PR_MCE_KILL_SET, 7ul, 0ul, 0ul), EINVAL);
	ERR(prctl(PR_MCE_KILL, 7ul, 0ul, 0ul, 0ul), EINVAL);
	ERR(prctl(PR_MCE_KILL, (unsigned long)PR_MCE_KILL_CLEAR, 1ul, 0ul, 0ul), EINVAL);
	ERR(prctl(PR_MCE_KILL_GET, 1ul, 0ul, 0ul, 0ul), EINVAL);
}

// --- a thread with mounts of its own

static volatile int result;

static void link_of(char *buf)
{
	memset(buf, 0, 64);
	OK(readlink("/proc/thread-self/ns/mnt", buf, 63));
}

static void *leaves(void *arg)
{
	char was[64], now[64];
	(void)arg;
	link_of(was);
	if (unshare(CLONE_NEWNS)) {
		result = errno;
		return NULL;
	}
	link_of(now);
	CHECK(strcmp(was, now));
	if (t_root_is_mount_point())
		OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	OK(mount("none", "/tmp", "tmpfs", 0, NULL));
	t_put("/tmp/only_here", "x");
	CHECK(strstr(t_get("/proc/thread-self/mounts"), "none /tmp tmpfs"));
	pid_t p = OK(fork()); // a child is where the thread is
	if (!p) {
		char its[64];
		link_of(its);
		_exit(access("/tmp/only_here", F_OK) || strcmp(its, now) ? 6 : 5);
	}
	EQ(t_wait(p), 5);
	OK(umount("/tmp"));
	ERR(access("/tmp/only_here", F_OK), ENOENT);
	OK(mount("none", "/tmp", "tmpfs", 0, NULL));
	t_put("/tmp/only_here", "x");
	return NULL;
}

TEST(a_thread_leaves_its_mounts)
{
	pthread_t t;
	char was[64], now[64];
	link_of(was);
	int home = OK(open("/proc/self/ns/mnt", O_RDONLY));
	ZERO(pthread_create(&t, NULL, leaves, NULL));
	ZERO(pthread_join(t, NULL));
	if (result == EPERM)
		SKIP("not permitted");
	EQ(result, 0);
	link_of(now);
	STREQ(now, was);
	ERR(access("/tmp/only_here", F_OK), ENOENT);
	CHECK(!strstr(t_get("/proc/self/mounts"), "none /tmp tmpfs"));
	OK(setns(home, CLONE_NEWNS));
}
