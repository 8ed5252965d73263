// SPDX-License-Identifier: Apache-2.0
// The harness of the kernel behaviour tests: ordinary Linux programs that run natively and inside an
// enclave and must agree. A program is one .c file with many cases; each case runs in a forked child
// with a time limit, so that a failure or a hang hurts nothing else. Time never decides a result: a case
// waits for events, and only a hang ends at the limit.
//
//	NAME [-l] [-n] [CASE...]      -l lists the cases; -n runs them in this process, without fork
//
// Output: `ok NAME.CASE`, `not ok NAME.CASE: line N: expression: what was got`, `skip NAME.CASE: why`.
#ifndef TESTS_KERNEL_T_H
#define TESTS_KERNEL_T_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef T_LIMIT
#define T_LIMIT 40 // seconds a case may take, unless T_SECONDS in the environment says otherwise
#endif
enum { T_SKIPPED = 77 };

struct t_case {
	const char *name;
	void (*fn)(void);
	bool dir; // the case wants an empty current directory
	struct t_case *next;
};

struct t_helper {
	const char *name;
	int (*fn)(int argc, char **argv);
	struct t_helper *next;
};

static struct t_case *t_first, **t_last = &t_first;
static struct t_helper *t_helpers;
static const char *t_prog;       // base name of this program
static char t_self[4096];        // its absolute path, to run it again
static int t_msg = -1;           // where a failing case tells why
static volatile pid_t t_victim;  // the case that runs now

#define T_CASE(name_, dir_)                                                                        \
	static void test_##name_(void);                                                            \
	static struct t_case t_case_##name_ = {#name_, test_##name_, dir_, NULL};                  \
	__attribute__((constructor)) static void t_add_##name_(void)                               \
	{                                                                                          \
		*t_last = &t_case_##name_;                                                         \
		t_last = &t_case_##name_.next;                                                     \
	}                                                                                          \
	static void test_##name_(void)

// A case; TEST_DIR gives it an empty directory of its own as current directory.
#define TEST(name_) T_CASE(name_, false)
#define TEST_DIR(name_) T_CASE(name_, true)

// A program that the tests start by t_exec_helper: same binary, other main.
#define HELPER(name_)                                                                              \
	static int helper_##name_(int argc, char **argv);                                          \
	static struct t_helper t_helper_##name_ = {#name_, helper_##name_, NULL};                  \
	__attribute__((constructor)) static void t_addh_##name_(void)                              \
	{                                                                                          \
		t_helper_##name_.next = t_helpers;                                                 \
		t_helpers = &t_helper_##name_;                                                     \
	}                                                                                          \
	static int helper_##name_(__attribute__((unused)) int argc, __attribute__((unused)) char **argv)

// Ends the case at once. Safe in threads and in children of the case.
__attribute__((format(printf, 2, 3), noreturn, unused)) static void t_fail(int line, const char *fmt, ...)
{
	char buf[512];
	int n = snprintf(buf, sizeof(buf), "line %d: ", line);
	va_list ap;
	va_start(ap, fmt);
	n += vsnprintf(buf + n, sizeof(buf) - (size_t)n, fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(buf))
		n = sizeof(buf) - 1;
	if (t_msg < 0 || write(t_msg, buf, (size_t)n) < 0)
		dprintf(1, "# %s: %s\n", t_prog, buf);
	_exit(1);
}

__attribute__((noreturn, unused)) static void t_skip(const char *why)
{
	if (t_msg >= 0 && write(t_msg, why, strlen(why)) < 0)
		_exit(1);
	_exit(T_SKIPPED);
}
#define SKIP(why) t_skip(why)

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x))                                                                          \
			t_fail(__LINE__, "%s (errno %d %s)", #x, errno, strerror(errno));          \
	} while (0)

// The value of a call that must not fail with -1.
#define OK(x)                                                                                      \
	({                                                                                         \
		__auto_type ok_ = (x);                                                             \
		if ((long)ok_ == -1)                                                               \
			t_fail(__LINE__, "%s: errno %d %s", #x, errno, strerror(errno));           \
		ok_;                                                                               \
	})

// A call that must fail with -1 and this errno.
#define ERR(x, e)                                                                                  \
	do {                                                                                       \
		errno = 0;                                                                         \
		long r_ = (long)(x);                                                               \
		int e_ = errno;                                                                    \
		if (r_ != -1 || e_ != (e))                                                         \
			t_fail(__LINE__, "%s: want " #e ", got %ld errno %d %s", #x, r_, e_,       \
			       strerror(e_));                                                      \
	} while (0)

#define EQ(a, b)                                                                                   \
	do {                                                                                       \
		long a_ = (long)(a);                                                               \
		int e_ = errno;                                                                    \
		long b_ = (long)(b);                                                               \
		if (a_ != b_)                                                                      \
			t_fail(__LINE__, "%s == %s: got %ld, want %ld (errno %d)", #a, #b, a_, b_, \
			       e_);                                                                \
	} while (0)

#define STREQ(a, b)                                                                                \
	do {                                                                                       \
		const char *a_ = (a), *b_ = (b);                                                   \
		if (strcmp(a_, b_))                                                                \
			t_fail(__LINE__, "%s: got \"%.200s\", want \"%.200s\"", #a, a_, b_);       \
	} while (0)

// pthread functions return the error.
#define ZERO(x)                                                                                    \
	do {                                                                                       \
		int r_ = (x);                                                                      \
		if (r_)                                                                            \
			t_fail(__LINE__, "%s: %d %s", #x, r_, strerror(r_));                       \
	} while (0)

// Waits for one child: its exit code, or 128 + the signal that ended it.
__attribute__((unused)) static int t_wait(pid_t pid)
{
	int st;
	pid_t got;
	do
		got = waitpid(pid, &st, 0);
	while (got < 0 && errno == EINTR);
	if (got != pid)
		t_fail(__LINE__, "waitpid(%d): %d errno %d", pid, got, errno);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

__attribute__((unused)) static void t_sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&ts, NULL);
}

// A child that sends a signal again and again until it is killed: whatever blocks is hit for certain,
// however slow the machine is.
__attribute__((unused)) static pid_t t_pester(pid_t target, int sig)
{
	pid_t p = fork();
	if (p < 0)
		t_fail(__LINE__, "fork: errno %d", errno);
	if (p == 0) {
		while (kill(target, sig) == 0)
			t_sleep_ms(10);
		_exit(0);
	}
	return p;
}

__attribute__((unused)) static void t_end(pid_t p)
{
	kill(p, SIGKILL);
	t_wait(p);
}

__attribute__((unused)) static void t_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd))
		t_fail(__LINE__, "t_put(%s): errno %d", path, errno);
}

// The whole file as a string, in a static buffer.
__attribute__((unused)) static const char *t_get(const char *path)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		t_fail(__LINE__, "t_get(%s): errno %d", path, errno);
	size_t len = 0;
	ssize_t n;
	while (len < sizeof(buf) - 1 && (n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	buf[len] = 0;
	return buf;
}

// In a plain chroot the root is no mount point, and cannot be made private.
__attribute__((unused)) static bool t_root_is_mount_point(void)
{
	const char *line = t_get("/proc/self/mountinfo");
	char at[8];

	for (; line && *line; line = strchr(line, '\n'), line += !!line)
		if (sscanf(line, "%*d %*d %*s %*s %7s", at) == 1 && !strcmp(at, "/"))
			return true;
	return false;
}

// Reads exactly n bytes; the number read, which is less at the end of the file.
__attribute__((unused)) static size_t t_readn(int fd, void *buf, size_t n)
{
	size_t got = 0;
	while (got < n) {
		ssize_t r = read(fd, (char *)buf + got, n - got);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			t_fail(__LINE__, "read: errno %d", errno);
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return got;
}

__attribute__((unused)) static void t_writen(int fd, const void *buf, size_t n)
{
	size_t done = 0;
	while (done < n) {
		ssize_t r = write(fd, (const char *)buf + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			t_fail(__LINE__, "write: errno %d", errno);
		done += (size_t)r;
	}
}

__attribute__((unused)) static void t_on(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = flags};
	if (sigaction(sig, &sa, NULL))
		t_fail(__LINE__, "sigaction(%d): errno %d", sig, errno);
}

static void t_rmtree(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char sub[4096];
	while (d && (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		struct stat st;
		if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode)) {
			chmod(sub, 0700);
			t_rmtree(sub);
		} else {
			unlink(sub);
		}
	}
	if (d)
		closedir(d);
	rmdir(path);
}

static void t_on_alarm(int sig)
{
	(void)sig;
	kill(-t_victim, SIGKILL);
	kill(t_victim, SIGKILL);
}

static unsigned int t_limit(void)
{
	const char *other = getenv("T_SECONDS");
	return other ? (unsigned int)atoi(other) : T_LIMIT;
}

static bool t_run(const struct t_case *c, bool in_process)
{
	const char *tmp = getenv("TMPDIR");
	char dir[4096], why[512] = "";
	int msg[2] = {-1, -1}, st;

	snprintf(dir, sizeof(dir), "%s/t.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (c->dir && !mkdtemp(dir)) {
		dprintf(1, "not ok %s.%s: mkdtemp(%s): errno %d\n", t_prog, c->name, dir, errno);
		return false;
	}
	if (in_process) {
		if (c->dir && chdir(dir))
			return false;
		c->fn();
		dprintf(1, "ok %s.%s\n", t_prog, c->name);
		return true;
	}
	if (pipe2(msg, O_CLOEXEC | O_NONBLOCK) == 0) {
		// Out of the way of cases that look at descriptor numbers.
		for (int i = 0; i < 2; i++) {
			int high = fcntl(msg[i], F_DUPFD_CLOEXEC, 220);
			close(msg[i]);
			msg[i] = high;
		}
	}
	pid_t pid = fork();
	if (pid == 0) {
		t_msg = msg[1];
		close(msg[0]);
		setpgid(0, 0);
		signal(SIGALRM, SIG_DFL);
		if (c->dir && chdir(dir))
			t_fail(__LINE__, "chdir(%s): errno %d", dir, errno);
		c->fn();
		_exit(0);
	}
	close(msg[1]);
	if (pid < 0) {
		dprintf(1, "not ok %s.%s: fork: errno %d\n", t_prog, c->name, errno);
		return false;
	}
	t_victim = pid;
	alarm(t_limit());
	pid_t got;
	while ((got = waitpid(pid, &st, 0)) < 0 && errno == EINTR)
		;
	bool late = alarm(0) == 0;
	kill(-pid, SIGKILL); // what the case left running
	if (read(msg[0], why, sizeof(why) - 1) < 0)
		why[0] = 0;
	close(msg[0]);
	if (c->dir)
		t_rmtree(dir);
	if (got != pid) {
		dprintf(1, "not ok %s.%s: waitpid gave %d\n", t_prog, c->name, got);
		return false;
	}
	if (WIFEXITED(st) && WEXITSTATUS(st) == 0) {
		dprintf(1, "ok %s.%s\n", t_prog, c->name);
		return true;
	}
	if (WIFEXITED(st) && WEXITSTATUS(st) == T_SKIPPED) {
		dprintf(1, "skip %s.%s: %s\n", t_prog, c->name, why);
		return true;
	}
	if (!why[0] && WIFSIGNALED(st))
		snprintf(why, sizeof(why), late && WTERMSIG(st) == SIGKILL ? "no end after %d s" :
			 "ended by signal %d", late && WTERMSIG(st) == SIGKILL ? (int)t_limit() : WTERMSIG(st));
	else if (!why[0])
		snprintf(why, sizeof(why), "exit code %d", WEXITSTATUS(st));
	for (char *p = why; *p; p++)
		if (*p == '\n')
			*p = ' ';
	dprintf(1, "not ok %s.%s: %s\n", t_prog, c->name, why);
	return false;
}

int main(int argc, char **argv)
{
	bool list = false, in_process = false, good = true;
	int first = 1;

	t_prog = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	if (argv[0][0] == '/')
		snprintf(t_self, sizeof(t_self), "%s", argv[0]);
	else if (!strchr(argv[0], '/') || !realpath(argv[0], t_self))
		snprintf(t_self, sizeof(t_self), "/proc/self/exe");
	if (argc > 2 && !strcmp(argv[1], "--helper")) {
		for (struct t_helper *h = t_helpers; h; h = h->next)
			if (!strcmp(h->name, argv[2]))
				return h->fn(argc - 2, argv + 2);
		return 99;
	}
	for (; first < argc && argv[first][0] == '-'; first++) {
		list |= !strcmp(argv[first], "-l");
		in_process |= !strcmp(argv[first], "-n");
	}
	signal(SIGALRM, t_on_alarm);
	for (int i = first; i < argc; i++) {
		struct t_case *c = t_first;
		while (c && strcmp(c->name, argv[i]))
			c = c->next;
		if (!c) {
			dprintf(1, "not ok %s.%s: no such case\n", t_prog, argv[i]);
			good = false;
		}
	}
	for (struct t_case *c = t_first; c; c = c->next) {
		bool wanted = first == argc;
		for (int i = first; i < argc; i++)
			wanted |= !strcmp(argv[i], c->name);
		if (wanted && list)
			dprintf(1, "%s.%s\n", t_prog, c->name);
		else if (wanted)
			good &= t_run(c, in_process);
	}
	return good ? 0 : 1;
}

#endif
