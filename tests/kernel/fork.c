// SPDX-License-Identifier: Apache-2.0
// fork and vfork: what is copied, what is shared, how processes are related.
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/kernel/t.h"

static int global = 1;

TEST(exit_code)
{
	for (int i = 0; i < 256; i += 51) {
		pid_t p = OK(fork());
		if (!p)
			_exit(i);
		EQ(t_wait(p), i);
	}
	pid_t p = OK(fork());
	if (!p)
		_exit(0x1234);
	EQ(t_wait(p), 0x34);
}

TEST(pids)
{
	pid_t me = getpid(), p = OK(fork());
	if (!p) {
		EQ(getppid(), me);
		CHECK(getpid() != me);
		EQ(getpid(), syscall(SYS_gettid));
		EQ(getpgrp(), getpgid(me));
		EQ(getsid(0), getsid(me));
		_exit(0);
	}
	CHECK(p != me && p > 0);
	EQ(t_wait(p), 0);
}

TEST(memory_is_copied)
{
	int local = 1;
	int *heap = malloc(1 << 20);
	heap[1000] = 1;
	pid_t p = OK(fork());
	if (!p) {
		EQ(global, 1);
		EQ(heap[1000], 1);
		global = local = heap[1000] = 2;
		_exit(local + global + heap[1000] - 6);
	}
	EQ(t_wait(p), 0);
	EQ(global + local + heap[1000], 3);
	// and the other way round
	int q[2];
	char c;
	OK(pipe(q));
	p = OK(fork());
	if (!p) {
		t_readn(q[0], &c, 1);
		_exit(global == 1 ? 0 : 1);
	}
	global = 7;
	t_writen(q[1], "x", 1);
	EQ(t_wait(p), 0);
}

TEST(big_memory_is_copied)
{
	size_t n = 64 << 20;
	uint64_t *m = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	for (size_t i = 0; i < n / 8; i += 512)
		m[i] = i;
	pid_t p = OK(fork());
	if (!p) {
		for (size_t i = 0; i < n / 8; i += 512) {
			if (m[i] != i)
				_exit(1);
			m[i] = 0;
		}
		_exit(0);
	}
	EQ(t_wait(p), 0);
	for (size_t i = 0; i < n / 8; i += 512)
		CHECK(m[i] == i);
}

TEST_DIR(descriptors_share_offset)
{
	t_put("f", "abcdef");
	int fd = OK(open("f", O_RDONLY));
	char c;
	pid_t p = OK(fork());
	if (!p) {
		EQ(read(fd, &c, 1), 1);
		EQ(read(fd, &c, 1), 1);
		close(fd); // the parent's stays open
		_exit(c == 'b' ? 0 : 1);
	}
	EQ(t_wait(p), 0);
	EQ(read(fd, &c, 1), 1);
	EQ(c, 'c');
}

TEST(descriptor_tables_are_separate)
{
	int q[2];
	OK(pipe(q));
	pid_t p = OK(fork());
	if (!p) {
		close(q[0]);
		close(q[1]);
		OK(fcntl(0, F_SETFD, FD_CLOEXEC));
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(write(q[1], "x", 1), 1);
	EQ(fcntl(0, F_GETFD), 0);
}

TEST_DIR(own_cwd_and_umask)
{
	OK(mkdir("d", 0755));
	umask(022);
	pid_t p = OK(fork());
	if (!p) {
		OK(chdir("d"));
		umask(077);
		t_put("f", "x");
		_exit(0);
	}
	EQ(t_wait(p), 0);
	OK(access("d/f", F_OK));
	EQ(umask(0), 022);
}

TEST(many_children)
{
	enum { N = 50 };
	pid_t p[N];
	for (int i = 0; i < N; i++) {
		p[i] = OK(fork());
		if (!p[i])
			_exit(i);
	}
	for (int i = N - 1; i >= 0; i--)
		EQ(t_wait(p[i]), i);
	ERR(wait(NULL), ECHILD);
}

TEST(grandchildren)
{
	pid_t p = OK(fork());
	if (!p) {
		int sum = 0;
		for (int i = 1; i <= 5; i++) {
			pid_t q = fork();
			if (!q) {
				pid_t r = fork();
				if (!r)
					_exit(i);
				_exit(t_wait(r) * 2);
			}
			sum += t_wait(q);
		}
		_exit(sum);
	}
	EQ(t_wait(p), 30);
}

TEST(chain_of_forks)
{
	pid_t p = OK(fork());
	if (!p) {
		int depth = 0;
		while (depth < 20) {
			pid_t q = fork();
			if (q < 0)
				_exit(100);
			if (q > 0)
				_exit(t_wait(q));
			depth++;
		}
		_exit(depth);
	}
	EQ(t_wait(p), 20);
}

TEST(pending_signals_and_timers_not_inherited)
{
	sigset_t set, pend;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	OK(raise(SIGUSR1));
	alarm(1000);
	pid_t p = OK(fork());
	if (!p) {
		OK(sigpending(&pend));
		EQ(sigismember(&pend, SIGUSR1), 0);
		EQ(alarm(0), 0);
		sigset_t now;
		OK(sigprocmask(SIG_BLOCK, NULL, &now));
		EQ(sigismember(&now, SIGUSR1), 1); // the mask is
		_exit(0);
	}
	EQ(t_wait(p), 0);
	CHECK(alarm(0) > 900);
}

static volatile int hits;
static void hit(int s)
{
	(void)s;
	hits++;
}

TEST(handlers_inherited)
{
	t_on(SIGUSR1, hit, 0);
	pid_t p = OK(fork());
	if (!p) {
		OK(raise(SIGUSR1));
		_exit(hits);
	}
	EQ(t_wait(p), 1);
	EQ(hits, 0);
}

TEST(shared_anonymous_memory)
{
	int *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	pid_t p = OK(fork());
	if (!p) {
		m[0] = 42;
		pid_t q = fork();
		if (!q) {
			m[1] = 43;
			_exit(0);
		}
		_exit(t_wait(q));
	}
	EQ(t_wait(p), 0);
	EQ(m[0], 42);
	EQ(m[1], 43);
}

TEST(children_times)
{
	struct rusage ru;
	pid_t p = OK(fork());
	if (!p) {
		for (volatile unsigned i = 0; i < 60000000; i++)
			;
		_exit(0);
	}
	EQ(t_wait(p), 0);
	OK(getrusage(RUSAGE_CHILDREN, &ru));
	CHECK(ru.ru_utime.tv_sec > 0 || ru.ru_utime.tv_usec > 0 || ru.ru_stime.tv_usec > 0);
}

TEST(stdio_buffer_is_copied)
{
	int q[2];
	char buf[32] = "";
	OK(pipe(q));
	FILE *f = fdopen(q[1], "w");
	fputs("once ", f);
	pid_t p = OK(fork());
	if (!p) {
		fclose(f);
		_exit(0);
	}
	EQ(t_wait(p), 0);
	fclose(f);
	EQ(t_readn(q[0], buf, sizeof(buf)), 10);
	STREQ(buf, "once once ");
}

TEST(vfork_exit)
{
	volatile int seen = 0;
	pid_t p = vfork();
	if (p == 0) {
		seen = 1; // the same memory
		_exit(9);
	}
	CHECK(p > 0);
	EQ(seen, 1);
	EQ(t_wait(p), 9);
}

TEST(vfork_exec)
{
	for (int i = 0; i < 10; i++) {
		pid_t p = vfork();
		if (p == 0) {
			execl(t_self, t_self, "--helper", "exit", "5", NULL);
			_exit(1);
		}
		CHECK(p > 0);
		EQ(t_wait(p), 5);
	}
}

TEST(vfork_failing_exec)
{
	volatile int e = 0;
	pid_t p = vfork();
	if (p == 0) {
		execl("/no/such/program", "x", NULL);
		e = errno;
		_exit(3);
	}
	EQ(t_wait(p), 3);
	EQ(e, ENOENT);
}

TEST(vfork_child_has_own_ids_and_descriptors)
{
	volatile pid_t child = 0, parent = 0;
	pid_t me = getpid();
	int q[2];
	OK(pipe(q));
	pid_t p = vfork();
	if (p == 0) {
		child = (pid_t)syscall(SYS_getpid);
		parent = (pid_t)syscall(SYS_getppid);
		close(q[0]);
		dup2(q[1], 100);
		_exit(0);
	}
	EQ(child, p);
	EQ(parent, me);
	EQ(getpid(), me);
	EQ(t_wait(p), 0);
	EQ(fcntl(q[0], F_GETFD), 0);
	ERR(fcntl(100, F_GETFD), EBADF);
}

TEST(vfork_killed_child)
{
	pid_t p = vfork();
	if (p == 0) {
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
		_exit(1);
	}
	EQ(t_wait(p), 128 + SIGKILL);
}

HELPER(exit)
{
	return atoi(argv[1]);
}

TEST(orphan_gets_new_parent)
{
	int q[2];
	pid_t me = getpid(), v[2];
	OK(pipe(q));
	pid_t p = OK(fork());
	if (!p) {
		pid_t mid = getpid();
		if (fork() == 0) {
			while (getppid() == mid)
				t_sleep_ms(5);
			v[0] = getppid();
			v[1] = mid;
			t_writen(q[1], v, sizeof(v));
			_exit(0);
		}
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(t_readn(q[0], v, sizeof(v)), sizeof(v));
	EQ(v[1], p);
	CHECK(v[0] != p && v[0] != me && v[0] > 0);
}

TEST(fork_in_deep_stack)
{
	char *big = __builtin_alloca(1 << 20);
	memset(big, 'x', 1 << 20);
	pid_t p = OK(fork());
	if (!p) {
		for (int i = 0; i < 1 << 20; i += 4096)
			if (big[i] != 'x')
				_exit(1);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST(raw_clone_like_fork)
{
	pid_t tid = 0;
	long p = syscall(SYS_clone, SIGCHLD | 0x01000000 /* CHILD_SETTID */ | 0x00100000 /* PARENT_SETTID */, 0, &tid, &tid,
			 0);
	CHECK(p >= 0);
	if (p == 0)
		_exit(tid == syscall(SYS_getpid) ? 0 : 1);
	EQ(tid, p);
	EQ(t_wait((pid_t)p), 0);
	ERR(syscall(SYS_clone, 0x00010000 /* THREAD without VM */ | SIGCHLD, 0, 0, 0, 0), EINVAL);
}
