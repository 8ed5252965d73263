// SPDX-License-Identifier: Apache-2.0
// Each thread has its own pointer to a descriptor table: who shares one, who leaves it (close_range, unshare, clone, exec),
// and what becomes of the table while others are at it.
#include <pthread.h>
#include <stdatomic.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>

#include "tests/kernel/t.h"

#define UNSHARE 2u

static int range(unsigned first, unsigned last, unsigned flags) { return (int)syscall(SYS_close_range, first, last, flags); }

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void *leave_by_close_range(void *arg)
{
	int fd = *(int *)arg;
	OK(range((unsigned)fd, (unsigned)fd, UNSHARE));
	CHECK(!is_open(fd));
	*(int *)arg = OK(open("/dev/null", O_RDONLY));
	return NULL;
}

static void *leave_by_unshare(void *arg)
{
	int fd = *(int *)arg;
	OK(unshare(CLONE_FILES));
	OK(close(fd));
	CHECK(!is_open(fd));
	*(int *)arg = OK(open("/dev/null", O_RDONLY));
	return NULL;
}

static void only_the_caller(void *(*leave)(void *))
{
	int fd = OK(open("/dev/zero", O_RDONLY)), high = OK(fcntl(fd, F_DUPFD, 50)), at = high;
	char c = 'x';
	pthread_t t;
	OK(close(fd));
	ZERO(pthread_create(&t, NULL, leave, &at));
	ZERO(pthread_join(t, NULL));
	CHECK(is_open(high));
	CHECK(!is_open(at)); // what the thread opened is not ours
	EQ(read(high, &c, 1), 1);
	EQ(c, 0);
}

TEST(close_range_unshare_is_of_the_thread) { only_the_caller(leave_by_close_range); }
TEST(unshare_is_of_the_thread) { only_the_caller(leave_by_unshare); }

static void *end_of_a_pipe(void *arg)
{
	int *p = arg;
	OK(unshare(CLONE_FILES));
	OK(close(p[0]));
	return NULL; // its copy of the writing end closes with the thread
}

TEST(a_threads_own_table_ends_with_it)
{
	int p[2];
	char c;
	pthread_t t;
	OK(pipe(p));
	ZERO(pthread_create(&t, NULL, end_of_a_pipe, p));
	OK(close(p[1]));
	EQ(read(p[0], &c, 1), 0);
	ZERO(pthread_join(t, NULL));
}

static void *see_other_table(void *arg)
{
	int fd = *(int *)arg;
	char name[64];
	OK(unshare(CLONE_FILES));
	OK(close(fd));
	snprintf(name, sizeof(name), "/proc/thread-self/fd/%d", fd);
	ERR(access(name, F_OK), ENOENT);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	OK(access(name, F_OK));
	CHECK(syscall(SYS_kcmp, getpid(), gettid(), KCMP_FILES, 0, 0) > 0);
	return NULL;
}

TEST(proc_shows_the_threads_table)
{
	int fd = OK(open("/dev/null", O_RDONLY));
	pthread_t t;
	ZERO(pthread_create(&t, NULL, see_other_table, &fd));
	ZERO(pthread_join(t, NULL));
}

// A thread without CLONE_FILES: made by hand, it uses no libc state of its own.
static _Atomic int raw_tid, raw_closed;
static int raw_fd;
static int raw_thread(void *arg)
{
	(void)arg;
	raw_closed = syscall(SYS_close, raw_fd) == 0;
	syscall(SYS_exit, 0);
	return 0;
}

TEST(thread_without_clone_files)
{
	static char stack[65536] __attribute__((aligned(16)));
	raw_fd = OK(open("/dev/null", O_RDONLY));
	raw_tid = 1;
	OK(clone(raw_thread, stack + sizeof(stack), CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID, NULL, NULL,
		 NULL, &raw_tid));
	for (int v; (v = raw_tid);)
		syscall(SYS_futex, &raw_tid, FUTEX_WAIT, v, NULL, NULL, 0);
	EQ(raw_closed, 1);
	CHECK(is_open(raw_fd));
}

// exec: siblings end before, so the table stays the same one, and record locks with it.
HELPER(lock_is_held)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	pid_t me = getpid(), c = fork();
	int status;
	if (!c) {
		int fd = open("f", O_RDWR);
		_exit(fd < 0 || fcntl(fd, F_GETLK, &l) || l.l_type != F_WRLCK || l.l_pid != me);
	}
	return waitpid(c, &status, 0) == c && status == 0 ? 0 : 1;
}

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

TEST_DIR(exec_with_threads_keeps_locks)
{
	char *args[] = {t_self, "--helper", "lock_is_held", NULL};
	int status;
	t_put("f", "x");
	pid_t c = OK(fork());
	if (!c) {
		struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		pthread_t t;
		int fd = open("f", O_RDWR);
		if (fd < 0 || fcntl(fd, F_SETLK, &l) || pthread_create(&t, NULL, wait_for_ever, NULL))
			_exit(70);
		execv(t_self, args);
		_exit(71);
	}
	EQ(waitpid(c, &status, 0), c);
	EQ(status, 0);
}

// Threads leave their tables while others, processes that share one among them, open, close and look.
#define ROUNDS 1500
static _Atomic bool done;

static void *leaver(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		int fd = OK(open("/dev/null", O_RDONLY)), to = 40 + (int)(long)arg;
		EQ(dup2(fd, to), to);
		OK(range((unsigned)to, ~0u, UNSHARE));
		CHECK(is_open(fd));
		CHECK(!is_open(to));
		OK(close(fd));
		OK(unshare(CLONE_FILES));
	}
	return NULL;
}

static void *opener(void *arg)
{
	while (!done) {
		int fd = OK(open("/dev/null", O_RDONLY));
		int other = OK(fcntl(fd, F_DUPFD, 60));
		OK(close(fd));
		OK(close(other));
	}
	return arg;
}

// Each round's thread leaves the table that it shares with the openers and looks at theirs through /proc.
static void *short_lived(void *arg)
{
	(void)arg;
	OK(access("/proc/self/fd/0", F_OK));
	OK(range(30, 100, UNSHARE));
	return NULL;
}

static void shares_table(void)
{
	for (int i = 0; i < 20; i++) {
		int fd = open("/dev/null", O_RDONLY);
		if (fd < 0 || close(fd))
			_exit(1);
	}
	_exit(range(30, 100, UNSHARE) != 0);
}

TEST(tables_come_and_go_under_threads)
{
	pthread_t leavers[3], openers[2], one;
	int status;
	if (!is_open(0))
		EQ(open("/dev/null", O_RDONLY), 0);
	done = false;
	for (long i = 0; i < 3; i++)
		ZERO(pthread_create(&leavers[i], NULL, leaver, (void *)i));
	for (int i = 0; i < 2; i++)
		ZERO(pthread_create(&openers[i], NULL, opener, NULL));
	for (int i = 0; i < 150; i++) {
		ZERO(pthread_create(&one, NULL, short_lived, NULL));
		ZERO(pthread_join(one, NULL));
		if (i % 10)
			continue;
		pid_t c = (pid_t)OK(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
		if (!c)
			shares_table();
		EQ(waitpid(c, &status, 0), c);
		EQ(status, 0);
	}
	for (int i = 0; i < 3; i++)
		ZERO(pthread_join(leavers[i], NULL));
	done = true;
	for (int i = 0; i < 2; i++)
		ZERO(pthread_join(openers[i], NULL));
}

// The thread pointer of a child is checked as arch_prctl's is.
TEST(clone_refuses_a_thread_pointer_outside)
{
	ERR(syscall(SYS_clone, CLONE_SETTLS | SIGCHLD, 0, 0, 0, 0x800000000000ul), EPERM);
	ERR(syscall(SYS_clone, CLONE_SETTLS | SIGCHLD, 0, 0, 0, ~0ul), EPERM);
}
