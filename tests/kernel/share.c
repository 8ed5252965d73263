// SPDX-License-Identifier: Apache-2.0
// Processes that share memory without being threads (CLONE_VM alone), signal handlers (CLONE_SIGHAND) and directories or not
// (CLONE_FS), in all their lives: fork, exec, death of either.
#include <limits.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "tests/kernel/t.h"

#define STACK (256u << 10)

static volatile int word, other_word;

static char *stack_new(void)
{
	char *s = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(s != MAP_FAILED);
	return s + STACK;
}

// The child shares the thread pointer too, so errno: it must not fail without need.
static pid_t start(int (*fn)(void *), void *arg, int flags)
{
	return OK(clone(fn, stack_new(), flags | SIGCHLD, arg));
}

static void fwait(volatile int *p, int val)
{
	syscall(SYS_futex, p, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, val, NULL, NULL, 0);
}

static void fset(volatile int *p, int val)
{
	__atomic_store_n(p, val, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, p, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

static void await(volatile int *p, int val)
{
	int now;
	while ((now = __atomic_load_n(p, __ATOMIC_SEQ_CST)) != val)
		fwait(p, now);
}

static int writes_word(void *arg)
{
	word = (int)(long)arg;
	return getpid() == getppid() ? 9 : 5;
}

TEST(memory_is_one)
{
	pid_t c = start(writes_word, (void *)42l, CLONE_VM);
	CHECK(c != getpid());
	EQ(t_wait(c), 5);
	EQ(word, 42);
	for (int i = 0; i < 100; i++) {
		c = start(writes_word, (void *)(long)i, CLONE_VM | (i & 1 ? CLONE_FILES : 0) | (i & 2 ? CLONE_FS : 0));
		EQ(t_wait(c), 5);
		EQ(word, i);
	}
}

static void *volatile mapped;

static int maps(void *arg)
{
	(void)arg;
	mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(mapped, "there");
	fset(&word, 1);
	await(&other_word, 1);
	return munmap(mapped, 4096) ? 1 : 0;
}

TEST(mappings_are_one)
{
	int in;
	pid_t c = start(maps, NULL, CLONE_VM);
	await(&word, 1);
	STREQ((char *)mapped, "there");
	((char *)mapped)[4096] = 1;
	OK(msync(mapped, 8192, MS_ASYNC));
	fset(&other_word, 1);
	EQ(t_wait(c), 0);
	ERR(msync(mapped, 4096, MS_ASYNC), ENOMEM);
	EQ(((char *)mapped)[4096], 1);
	EQ(syscall(SYS_mincore, mapped, 4096, &in), -1);
	EQ(syscall(SYS_kcmp, getpid(), getpid(), 1, 0, 0), 0);
}

static int faults(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	*(volatile int *)arg = 1;
	return 0;
}

TEST(a_fault_ends_one_of_them)
{
	pid_t c = start(faults, (void *)16l, CLONE_VM);
	EQ(t_wait(c), 128 + SIGSEGV);
	word = 3;
	EQ(word, 3);
	c = start(faults, (void *)&word, CLONE_VM);
	EQ(t_wait(c), 0);
	EQ(word, 1);
}

static int sleeps(void *arg)
{
	fset(&word, 1);
	for (;;)
		pause();
	return (int)(long)arg;
}

TEST(killed_alone)
{
	word = 0;
	pid_t c = start(sleeps, NULL, CLONE_VM);
	await(&word, 1);
	OK(kill(c, SIGKILL));
	EQ(t_wait(c), 128 + SIGKILL);
}

static int execs(void *arg)
{
	char *argv[] = {t_self, "--helper", "code", arg, NULL};
	execv(t_self, argv);
	return 99;
}

HELPER(code) { return atoi(argv[1]); }

TEST(exec_leaves_the_memory)
{
	word = 77;
	for (int i = 0; i < 10; i++) {
		pid_t c = start(execs, "12", CLONE_VM);
		EQ(t_wait(c), 12);
		EQ(word, 77);
	}
	EQ(t_wait(start(writes_word, (void *)1l, CLONE_VM)), 5);
	EQ(word, 1);
}

static int pipefd[2];

static int outlives(void *arg)
{
	(void)arg;
	prctl(PR_SET_PDEATHSIG, 0);
	fset(&word, 1);
	char b;
	while (read(pipefd[0], &b, 1) != 1) // until the parent has gone
		;
	other_word = 8;
	char *more = malloc(100000);
	memset(more, 1, 100000);
	return write(pipefd[1], "k", 1) == 1 && other_word == 8 && more[99999] == 1 ? 6 : 7;
}

// The one that made the memory ends or execs; the other goes on in it.
static void survivor(bool exec)
{
	int up[2], down[2], st;
	char b;
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	OK(pipe(up));
	OK(pipe(down));
	pid_t p = OK(fork());
	if (!p) {
		pipefd[0] = down[0];
		pipefd[1] = up[1];
		start(outlives, NULL, CLONE_VM | CLONE_FILES);
		await(&word, 1);
		if (exec)
			execs("3");
		_exit(3);
	}
	if (exec) {
		EQ(t_wait(p), 3);
	} else {
		EQ(t_wait(p), 3);
	}
	EQ(write(down[1], "g", 1), 1);
	EQ(read(up[0], &b, 1), 1);
	CHECK(wait(&st) > 0);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 6);
}

TEST(memory_outlives_its_maker) { survivor(false); }
TEST(memory_outlives_its_makers_exec) { survivor(true); }

static int forks(void *arg)
{
	word = 5;
	pid_t g = fork();
	if (!g) {
		word = 6; // in a copy
		_exit(word == 6 ? 2 : 3);
	}
	int st;
	waitpid(g, &st, 0);
	(void)arg;
	return WIFEXITED(st) && WEXITSTATUS(st) == 2 && word == 5 ? 4 : 1;
}

TEST(a_sharer_forks)
{
	EQ(t_wait(start(forks, NULL, CLONE_VM)), 4);
	EQ(word, 5);
}

static int nested(void *arg)
{
	long depth = (long)arg;
	if (!depth)
		return 11;
	int st;
	pid_t c = clone(nested, (char *)mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + STACK, CLONE_VM | SIGCHLD,
			(void *)(depth - 1));
	waitpid(c, &st, 0);
	return WEXITSTATUS(st);
}

TEST(sharers_of_sharers) { EQ(t_wait(start(nested, (void *)5l, CLONE_VM)), 11); }

static int vforks(void *arg)
{
	(void)arg;
	pid_t c = vfork();
	if (!c)
		execs("21");
	int st;
	waitpid(c, &st, 0);
	return WEXITSTATUS(st);
}

TEST(a_sharer_vforks)
{
	EQ(t_wait(start(vforks, NULL, CLONE_VM)), 21);
	word = 0;
	pid_t c = vfork();
	if (!c) { // and a vfork child makes a sharer
		static char stack[STACK] __attribute__((aligned(64)));
		clone(sleeps, stack + STACK, CLONE_VM | SIGCHLD, NULL);
		await(&word, 1);
		_exit(1);
	}
	EQ(t_wait(c), 1);
}

static volatile pid_t tid_word = -1;

TEST(tid_words)
{
	volatile pid_t parent_word = 0;
	pid_t c = OK(clone(writes_word, stack_new(), CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, (void *)1l,
			   &parent_word, NULL, &tid_word));
	EQ(t_wait(c), 5);
	EQ(parent_word, c);
	EQ(tid_word, 0);
}

// --- signal handlers

static volatile int got;
static void on_signal(int sig) { got = sig; }

static int handles(void *arg)
{
	(void)arg;
	t_on(SIGUSR1, on_signal, 0);
	fset(&word, 1);
	await(&other_word, 1);
	return 0;
}

TEST(handlers_are_ones_own_or_shared)
{
	struct sigaction sa;
	for (int share = 0; share < 2; share++) {
		word = other_word = 0;
		t_on(SIGUSR1, SIG_IGN, 0);
		pid_t c = start(handles, NULL, CLONE_VM | (share ? CLONE_SIGHAND : 0));
		await(&word, 1);
		OK(sigaction(SIGUSR1, NULL, &sa));
		CHECK(sa.sa_handler == (share ? on_signal : SIG_IGN));
		got = 0;
		OK(raise(SIGUSR1));
		EQ(got, share ? SIGUSR1 : 0);
		got = 0;
		OK(kill(c, SIGUSR1));
		fset(&other_word, 1);
		EQ(t_wait(c), 0);
		OK(sigaction(SIGUSR1, NULL, &sa)); // as it was, the other gone
		CHECK(sa.sa_handler == (share ? on_signal : SIG_IGN));
	}
	ERR(clone(handles, stack_new(), CLONE_SIGHAND | SIGCHLD, NULL), EINVAL);
}

TEST(exec_has_handlers_of_its_own)
{
	t_on(SIGUSR1, on_signal, 0);
	pid_t c = start(execs, "4", CLONE_VM | CLONE_SIGHAND);
	EQ(t_wait(c), 4);
	struct sigaction sa;
	OK(sigaction(SIGUSR1, NULL, &sa));
	CHECK(sa.sa_handler == on_signal);
	got = 0;
	OK(raise(SIGUSR1));
	EQ(got, SIGUSR1);
}

// --- seen from outside

TEST(anothers_memory_through_either)
{
	char buf[8] = "";
	int v = 0;
	word = other_word = 0;
	pid_t p = OK(fork());
	if (!p) {
		pid_t c = start(sleeps, NULL, CLONE_VM);
		await(&word, 1);
		other_word = c;
		for (;;)
			pause();
	}
	struct iovec l = {&v, 4}, r = {(void *)&other_word, 4};
	while (process_vm_readv(p, &l, 1, &r, 1, 0) == 4 && !v)
		t_sleep_ms(5);
	CHECK(v > 0);
	pid_t c = v;
	l = (struct iovec){"Z", 1};
	r = (struct iovec){(void *)&mapped, 1};
	EQ(process_vm_writev(c, &l, 1, &r, 1, 0), 1);
	l = (struct iovec){buf, 1};
	EQ(process_vm_readv(p, &l, 1, &r, 1, 0), 1);
	EQ(buf[0], 'Z');
	EQ(syscall(SYS_kcmp, p, c, 1, 0, 0), 0); // KCMP_VM
	OK(kill(p, SIGKILL));
	t_wait(p);
	EQ(process_vm_readv(c, &l, 1, &r, 1, 0), 1); // lives on
	OK(kill(c, SIGKILL));
}

// --- directories

static char here[PATH_MAX];

static void *leaves(void *arg)
{
	(void)arg;
	if (unshare(CLONE_FS))
		return (void *)1;
	OK(chdir("/"));
	umask(077);
	OK(getcwd(here, sizeof(here)) ? 0 : -1);
	return NULL;
}

TEST_DIR(a_thread_has_its_own_directory)
{
	char before[PATH_MAX], after[PATH_MAX];
	pthread_t t;
	void *r;
	umask(022);
	CHECK(getcwd(before, sizeof(before)));
	ZERO(pthread_create(&t, NULL, leaves, NULL));
	ZERO(pthread_join(t, &r));
	CHECK(!r);
	STREQ(here, "/");
	CHECK(getcwd(after, sizeof(after)));
	STREQ(before, after);
	EQ(umask(022), 022);
}

static int goes(void *arg)
{
	syscall(SYS_chdir, "/");
	syscall(SYS_getcwd, here, sizeof(here));
	if (arg) {
		pid_t c = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); // a child of a thread with its own directory is there
		if (!c) {
			char cwd[PATH_MAX];
			syscall(SYS_getcwd, cwd, sizeof(cwd));
			_exit(cwd[0] == '/' && !cwd[1] ? 0 : 1);
		}
		int st = -1;
		syscall(SYS_wait4, c, &st, 0, NULL);
		other_word = st;
	}
	fset(&word, 1);
	return 0;
}

TEST_DIR(threads_without_clone_fs)
{
	char before[PATH_MAX], after[PATH_MAX];
	CHECK(getcwd(before, sizeof(before)));
	word = 0;
	other_word = -1;
	OK(clone(goes, stack_new(), CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES, (void *)1l));
	await(&word, 1);
	STREQ(here, "/");
	EQ(other_word, 0);
	CHECK(getcwd(after, sizeof(after)));
	STREQ(before, after);
	word = 0;
	OK(clone(goes, stack_new(), CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES | CLONE_FS, NULL));
	await(&word, 1);
	CHECK(getcwd(after, sizeof(after)));
	STREQ(after, "/");
}

// A thread that its maker waits for, as for a vfork child.
static int late(void *arg)
{
	struct timespec ts = {0, 50000000};
	(void)arg;
	nanosleep(&ts, NULL);
	word = 31;
	syscall(SYS_exit, 0);
	return 0;
}

TEST(thread_that_is_waited_for)
{
	word = 0;
	OK(clone(late, stack_new(), CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FS | CLONE_FILES | CLONE_VFORK, NULL));
	EQ(word, 31);
}

TEST(set_tid)
{
	pid_t want = 31000, none = 0;
	struct clone_args a = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&want, .set_tid_size = 1};
	while (kill(want, 0) == 0)
		want++;
	pid_t p = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (p == 0)
		_exit(getpid() == want ? 3 : 4);
	if (p < 0 && errno == EPERM)
		SKIP("not allowed to choose numbers");
	EQ(p, want);
	a.set_tid = (uintptr_t)(pid_t[]){getpid()};
	ERR(syscall(SYS_clone3, &a, sizeof(a)), EEXIST);
	a.set_tid = (uintptr_t)&none;
	ERR(syscall(SYS_clone3, &a, sizeof(a)), EINVAL);
	a.set_tid = 8;
	ERR(syscall(SYS_clone3, &a, sizeof(a)), EFAULT);
	a.set_tid = 0;
	ERR(syscall(SYS_clone3, &a, sizeof(a)), EINVAL);
	a = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&want};
	ERR(syscall(SYS_clone3, &a, sizeof(a)), EINVAL);
	a = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&want, .set_tid_size = 33};
	ERR(syscall(SYS_clone3, &a, sizeof(a)), EINVAL);
	EQ(t_wait(p), 3);
}
