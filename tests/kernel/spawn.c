// SPDX-License-Identifier: Apache-2.0
// posix_spawn: file actions, attributes, errors; system() and popen() on top of it.
#include <spawn.h>

#include "tests/kernel/t.h"

extern char **environ;

HELPER(exit)
{
	return atoi(argv[1]);
}

HELPER(cat)
{
	char b[256];
	ssize_t n;
	while ((n = read(0, b, sizeof(b))) > 0)
		t_writen(1, b, (size_t)n);
	return 0;
}

HELPER(state)
{
	sigset_t set;
	struct sigaction sa;
	sigprocmask(SIG_BLOCK, NULL, &set);
	sigaction(SIGUSR2, NULL, &sa);
	return (getpgrp() == getpid()) + 2 * (sigismember(&set, SIGUSR1) == 1) + 4 * (sa.sa_handler == SIG_DFL) +
	       8 * (getsid(0) == getpid());
}

TEST(simple)
{
	pid_t p;
	char *argv[] = {t_self, "--helper", "exit", "5", NULL};
	for (int i = 0; i < 20; i++) {
		ZERO(posix_spawn(&p, t_self, NULL, NULL, argv, environ));
		EQ(t_wait(p), 5);
	}
}

TEST(many_at_once)
{
	enum { N = 20 };
	pid_t p[N];
	char *argv[] = {t_self, "--helper", "exit", "6", NULL};
	for (int i = 0; i < N; i++)
		ZERO(posix_spawn(&p[i], t_self, NULL, NULL, argv, environ));
	for (int i = 0; i < N; i++)
		EQ(t_wait(p[i]), 6);
}

TEST(missing_program)
{
	pid_t p;
	char *argv[] = {"x", NULL};
	EQ(posix_spawn(&p, "/no/such/program", NULL, NULL, argv, environ), ENOENT);
	ERR(wait(NULL), ECHILD);
}

TEST_DIR(file_actions)
{
	pid_t p;
	posix_spawn_file_actions_t fa;
	char *argv[] = {t_self, "--helper", "cat", NULL};
	t_put("in", "from file");
	OK(mkdir("d", 0755));
	int extra = OK(dup(1));
	ZERO(posix_spawn_file_actions_init(&fa));
	ZERO(posix_spawn_file_actions_addopen(&fa, 0, "in", O_RDONLY, 0));
	ZERO(posix_spawn_file_actions_addchdir_np(&fa, "d"));
	ZERO(posix_spawn_file_actions_addopen(&fa, 50, "out", O_WRONLY | O_CREAT, 0644));
	ZERO(posix_spawn_file_actions_adddup2(&fa, 50, 1));
	ZERO(posix_spawn_file_actions_addclose(&fa, extra));
	ZERO(posix_spawn(&p, t_self, &fa, NULL, argv, environ));
	EQ(t_wait(p), 0);
	STREQ(t_get("d/out"), "from file");
	OK(fcntl(extra, F_GETFD));
}

TEST_DIR(failing_file_action)
{
	pid_t p;
	posix_spawn_file_actions_t fa;
	char *argv[] = {t_self, "--helper", "cat", NULL};
	ZERO(posix_spawn_file_actions_init(&fa));
	ZERO(posix_spawn_file_actions_addopen(&fa, 0, "missing", O_RDONLY, 0));
	EQ(posix_spawn(&p, t_self, &fa, NULL, argv, environ), ENOENT);
	ERR(wait(NULL), ECHILD);
}

TEST(attributes)
{
	pid_t p;
	posix_spawnattr_t at;
	sigset_t mask, def;
	char *argv[] = {t_self, "--helper", "state", NULL};
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigemptyset(&def);
	sigaddset(&def, SIGUSR2);
	ZERO(posix_spawnattr_init(&at));
	ZERO(posix_spawn(&p, t_self, NULL, &at, argv, environ));
	EQ(t_wait(p), 0);
	ZERO(posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
	ZERO(posix_spawnattr_setpgroup(&at, 0));
	ZERO(posix_spawnattr_setsigmask(&at, &mask));
	ZERO(posix_spawnattr_setsigdefault(&at, &def));
	ZERO(posix_spawn(&p, t_self, NULL, &at, argv, environ));
	EQ(t_wait(p), 7);
	ZERO(posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID));
	ZERO(posix_spawn(&p, t_self, NULL, &at, argv, environ));
	EQ(t_wait(p), 9);
}

TEST(pipes_between_spawned)
{
	// cat | cat with descriptors that close on exec
	int a[2], b[2], c[2];
	pid_t p, q;
	char buf[32] = "";
	char *argv[] = {t_self, "--helper", "cat", NULL};
	posix_spawn_file_actions_t fa;
	OK(pipe2(a, O_CLOEXEC));
	OK(pipe2(b, O_CLOEXEC));
	OK(pipe2(c, O_CLOEXEC));
	ZERO(posix_spawn_file_actions_init(&fa));
	ZERO(posix_spawn_file_actions_adddup2(&fa, a[0], 0));
	ZERO(posix_spawn_file_actions_adddup2(&fa, b[1], 1));
	ZERO(posix_spawn(&p, t_self, &fa, NULL, argv, environ));
	ZERO(posix_spawn_file_actions_init(&fa));
	ZERO(posix_spawn_file_actions_adddup2(&fa, b[0], 0));
	ZERO(posix_spawn_file_actions_adddup2(&fa, c[1], 1));
	ZERO(posix_spawn(&q, t_self, &fa, NULL, argv, environ));
	close(a[0]);
	close(b[0]);
	close(b[1]);
	close(c[1]);
	t_writen(a[1], "hello", 5);
	close(a[1]);
	EQ(t_readn(c[0], buf, sizeof(buf)), 5);
	STREQ(buf, "hello");
	EQ(t_wait(p), 0);
	EQ(t_wait(q), 0);
}

TEST(shell_by_system)
{
	if (access("/bin/sh", X_OK))
		SKIP("no /bin/sh");
	EQ(system(NULL) != 0, 1);
	EQ(system("exit 7"), 7 << 8);
	EQ(system("kill -9 $$"), 9);
}

TEST(shell_by_popen)
{
	if (access("/bin/sh", X_OK))
		SKIP("no /bin/sh");
	char buf[32] = "";
	FILE *f = popen("echo one; echo two | tr a-z A-Z 2>/dev/null || true", "r");
	CHECK(f);
	CHECK(fgets(buf, sizeof(buf), f));
	STREQ(buf, "one\n");
	while (fgets(buf, sizeof(buf), f))
		;
	EQ(pclose(f), 0);
}

TEST(parent_memory_does_not_matter)
{
	// A spawn from a big process: the child starts all the same.
	size_t n = 256 << 20;
	char *big = malloc(n);
	for (size_t i = 0; i < n; i += 4096)
		big[i] = 1;
	pid_t p;
	char *argv[] = {t_self, "--helper", "exit", "8", NULL};
	ZERO(posix_spawn(&p, t_self, NULL, NULL, argv, environ));
	EQ(t_wait(p), 8);
	EQ(big[4096], 1);
}
