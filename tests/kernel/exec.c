// SPDX-License-Identifier: Apache-2.0
// execve: arguments and environment, what survives, scripts, and files that cannot be run.
#include <limits.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/kernel/t.h"

extern char **environ;

// Runs the helper in a child with these arguments; its exit code.
static int run(char *const argv[], char *const envp[])
{
	pid_t p = fork();
	if (p < 0)
		t_fail(__LINE__, "fork: errno %d", errno);
	if (!p) {
		execve(t_self, argv, envp);
		_exit(126);
	}
	return t_wait(p);
}

HELPER(args)
{
	// args N a1..aN-1 and the environment X=y
	if (argc != atoi(argv[1]))
		return 1;
	for (int i = 2; i < argc; i++)
		if (atoi(argv[i]) != i && strcmp(argv[i], "") && strchr(argv[i], ' ') == NULL)
			return 2;
	if (argv[argc])
		return 3;
	if (!getenv("X") || strcmp(getenv("X"), "y=z"))
		return 4;
	return environ[1] ? 5 : 0;
}

TEST(argv_and_envp)
{
	char *argv[] = {"name", "--helper", "args", "5", "2", "", "with space", NULL};
	char *envp[] = {"X=y=z", NULL};
	EQ(run(argv, envp), 0);
}

HELPER(argv0)
{
	FILE *f = fopen("/proc/self/cmdline", "r");
	char buf[64] = "";
	if (!f || fread(buf, 1, sizeof(buf) - 1, f) == 0)
		return 1;
	return strcmp(buf, "any name") ? 2 : 0;
}

TEST(argv0_is_callers_choice)
{
	char *argv[] = {"any name", "--helper", "argv0", NULL};
	EQ(run(argv, environ), 0);
}

HELPER(many)
{
	if (argc != 20002)
		return 1;
	for (int i = 2; i < argc; i++)
		if (strlen(argv[i]) != 20 || atoi(argv[i]) != i)
			return 2;
	return 0;
}

TEST(many_arguments)
{
	char **argv = calloc(20010, sizeof(*argv));
	argv[0] = "x";
	argv[1] = "--helper";
	argv[2] = "many";
	argv[3] = "-";
	for (int i = 2; i < 20002; i++) {
		argv[i + 2] = malloc(32);
		snprintf(argv[i + 2], 32, "%020d", i);
	}
	EQ(run(argv, environ), 0);
}

TEST(too_big)
{
	char *huge = malloc(200 << 10);
	memset(huge, 'x', 200 << 10);
	huge[(200 << 10) - 1] = 0;
	char *one[] = {"x", huge, NULL}; // one string over 128 KiB
	ERR(execve(t_self, one, environ), E2BIG);
	huge[100000] = 0;
	char **all = calloc(201, sizeof(*all));
	for (int i = 0; i < 200; i++)
		all[i] = huge; // 20 MB in all
	ERR(execve(t_self, all, environ), E2BIG);
}

HELPER(fds)
{
	return (fcntl(100, F_GETFD) == 0) + 2 * (fcntl(101, F_GETFD) >= 0);
}

TEST(close_on_exec)
{
	OK(dup2(1, 100));
	OK(dup3(1, 101, O_CLOEXEC));
	char *argv[] = {"x", "--helper", "fds", NULL};
	EQ(run(argv, environ), 1);
	EQ(fcntl(101, F_GETFD), FD_CLOEXEC);
}

static void nothing(int s)
{
	(void)s;
}

HELPER(signals)
{
	struct sigaction sa;
	sigset_t set, pend;
	sigaction(SIGUSR1, NULL, &sa);
	if (sa.sa_handler != SIG_DFL)
		return 1;
	sigaction(SIGUSR2, NULL, &sa);
	if (sa.sa_handler != SIG_IGN)
		return 2;
	sigprocmask(SIG_BLOCK, NULL, &set);
	if (!sigismember(&set, SIGTERM) || sigismember(&set, SIGINT))
		return 3;
	sigpending(&pend);
	if (!sigismember(&pend, SIGTERM))
		return 4;
	stack_t ss;
	sigaltstack(NULL, &ss);
	return ss.ss_flags == SS_DISABLE ? 0 : 5;
}

TEST(signal_state)
{
	pid_t p = OK(fork());
	if (!p) {
		static char stack[65536];
		stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
		sigset_t set;
		OK(sigaltstack(&ss, NULL));
		t_on(SIGUSR1, nothing, 0);
		signal(SIGUSR2, SIG_IGN);
		sigemptyset(&set);
		sigaddset(&set, SIGTERM);
		OK(sigprocmask(SIG_SETMASK, &set, NULL));
		OK(raise(SIGTERM)); // stays pending
		execl(t_self, t_self, "--helper", "signals", NULL);
		_exit(126);
	}
	EQ(t_wait(p), 0);
}

HELPER(samepid)
{
	return getpid() == atoi(argv[1]) && getppid() == atoi(argv[2]) && alarm(0) > 900 ? 0 : 1;
}

TEST(pid_alarm_and_parent_stay)
{
	pid_t p = OK(fork());
	if (!p) {
		char a[16], b[16];
		snprintf(a, sizeof(a), "%d", getpid());
		snprintf(b, sizeof(b), "%d", getppid());
		alarm(1000);
		execl(t_self, t_self, "--helper", "samepid", a, b, NULL);
		_exit(126);
	}
	EQ(t_wait(p), 0);
}

static short lock_seen_by_child(int fd)
{
	pid_t p = OK(fork());
	if (!p) {
		struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		_exit(fcntl(fd, F_GETLK, &l) ? 99 : l.l_type);
	}
	return (short)t_wait(p);
}

HELPER(locked) { return lock_seen_by_child(atoi(argv[1])); }

static void *wait_for_end(void *arg)
{
	for (;;)
		pause();
	return arg;
}

// Record locks are the process's: threads that shared its descriptors, and others that look at them, take nothing from it.
TEST_DIR(record_locks_stay)
{
	pid_t looker[2];
	char path[64];
	int ready[2], fd = OK(open("f", O_CREAT | O_RDWR, 0644));
	int top = OK(fcntl(fd, F_DUPFD, 400)); // a table that takes a while to list
	for (int i = 0; i < 300; i++)
		OK(fcntl(fd, F_DUPFD, 50));
	for (int round = 0; round < 30; round++) {
		OK(pipe(ready));
		pid_t p = OK(fork());
		if (!p) {
			char c, num[16];
			struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
			pthread_t th;
			OK(fcntl(fd, F_SETLK, &l));
			ZERO(pthread_create(&th, NULL, wait_for_end, NULL));
			OK(read(ready[0], &c, 1));
			snprintf(num, sizeof(num), "%d", top);
			execl(t_self, t_self, "--helper", "locked", num, NULL);
			_exit(98);
		}
		snprintf(path, sizeof(path), "/proc/%d/fd", p);
		for (int i = 0; i < 2; i++) {
			looker[i] = OK(fork());
			if (!looker[i]) {
				char buf[4096];
				int d = OK(open(path, O_RDONLY | O_DIRECTORY));
				for (bool told = false;; told = true) {
					OK(lseek(d, 0, SEEK_SET));
					while (syscall(SYS_getdents64, d, buf, sizeof(buf)) > 0)
						;
					if (!told)
						OK(write(ready[1], "xx", 1));
				}
			}
		}
		EQ(t_wait(p), F_WRLCK);
		t_end(looker[0]);
		t_end(looker[1]);
		close(ready[0]);
		close(ready[1]);
	}
}

HELPER(mem_of_another)
{
	static long here = 5;
	int fd = atoi(argv[1]);
	long v = 6;
	if (pread(fd, &v, sizeof(v), (off_t)(uintptr_t)&here) || pwrite(fd, &v, sizeof(v), (off_t)(uintptr_t)&here))
		return 1;
	return here == 5 ? 0 : 2;
}

// What was opened as the memory of one program is not that of the next.
TEST(memory_file_ends_with_the_program)
{
	pid_t p = OK(fork());
	if (!p) {
		char num[16];
		snprintf(num, sizeof(num), "%d", OK(open("/proc/self/mem", O_RDWR)));
		execl(t_self, t_self, "--helper", "mem_of_another", num, NULL);
		_exit(98);
	}
	EQ(t_wait(p), 0);
}

HELPER(cwd)
{
	char now[PATH_MAX];
	return getcwd(now, sizeof(now)) && !strcmp(now, argv[1]) && umask(0) == 031 ? 0 : 1;
}

TEST_DIR(cwd_and_umask_stay)
{
	char now[PATH_MAX];
	CHECK(getcwd(now, sizeof(now)));
	umask(031);
	char *argv[] = {"x", "--helper", "cwd", now, NULL};
	EQ(run(argv, environ), 0);
}

TEST_DIR(errors)
{
	char *argv[] = {"x", NULL};
	t_put("f", "x");
	OK(mkdir("d", 0755));
	OK(symlink("l", "l"));
	ERR(execve("no", argv, environ), ENOENT);
	ERR(execve("f", argv, environ), EACCES); // no x bit
	ERR(execve("d", argv, environ), EACCES);
	ERR(execve("f/x", argv, environ), ENOTDIR);
	ERR(execve("l", argv, environ), ELOOP);
	ERR(execve("", argv, environ), ENOENT);
	OK(chmod("f", 0755));
	ERR(execve("f", argv, environ), ENOEXEC);
}

TEST_DIR(empty_and_truncated_elf)
{
	char *argv[] = {"x", NULL};
	t_put("empty", "");
	OK(chmod("empty", 0755));
	ERR(execve("empty", argv, environ), ENOEXEC);
	t_put("elf", "\177ELF\2\1\1");
	OK(chmod("elf", 0755));
	ERR(execve("elf", argv, environ), ENOEXEC);
	char head[64];
	int fd = OK(open(t_self, O_RDONLY));
	EQ(read(fd, head, 64), 64);
	int out = OK(open("cut", O_WRONLY | O_CREAT, 0755));
	EQ(write(out, head, 64), 64); // header without its program headers
	close(out);
	int r = execve("cut", argv, environ);
	CHECK(r == -1 && (errno == ENOEXEC || errno == EIO));
	head[18] = 3; // another machine
	out = OK(open("i386", O_WRONLY | O_CREAT, 0755));
	EQ(write(out, head, 64), 64);
	close(out);
	ERR(execve("i386", argv, environ), ENOEXEC);
}

TEST_DIR(script_with_interpreter)
{
	char line[PATH_MAX + 32];
	snprintf(line, sizeof(line), "#!%s --helper\nanything\n", t_self);
	if (strlen(t_self) > 80)
		SKIP("path of the test is too long for #!");
	// "#!PROG --helper" runs PROG "--helper" "./shebang" "a": the helper named ./shebang
	t_put("shebang", line);
	OK(chmod("shebang", 0755));
	pid_t p = OK(fork());
	if (!p) {
		execl("./shebang", "zero", "a", NULL);
		_exit(126);
	}
	EQ(t_wait(p), 33);
}

static int helper_script(int argc, char **argv)
{
	return argc == 2 && !strcmp(argv[1], "a") ? 33 : 34;
}
static struct t_helper t_helper_script = {"./shebang", helper_script, NULL};
__attribute__((constructor)) static void add_script(void)
{
	t_helper_script.next = t_helpers;
	t_helpers = &t_helper_script;
}

TEST_DIR(script_errors)
{
	char *argv[] = {"x", NULL};
	t_put("a", "#!/no/such/interpreter\n");
	t_put("b", "#!\n");
	t_put("loop", "#!./loop\n");
	OK(chmod("a", 0755));
	OK(chmod("b", 0755));
	OK(chmod("loop", 0755));
	ERR(execve("./a", argv, environ), ENOENT);
	ERR(execve("./b", argv, environ), ENOEXEC);
	ERR(execve("./loop", argv, environ), ELOOP);
}

TEST_DIR(text_file_busy)
{
	// A program that is open for writing cannot be run.
	char *argv[] = {"x", NULL};
	static char buf[1 << 16];
	int in = OK(open(t_self, O_RDONLY)), out = OK(open("copy", O_WRONLY | O_CREAT, 0755));
	ssize_t n;
	while ((n = read(in, buf, sizeof(buf))) > 0)
		t_writen(out, buf, (size_t)n);
	ERR(execve("./copy", argv, environ), ETXTBSY);
	close(out);
	pid_t p = OK(fork());
	if (!p) {
		execl("./copy", "copy", "--helper", "ok", NULL);
		_exit(126);
	}
	EQ(t_wait(p), 12);
	// One that runs can be neither written nor cut, not even by an open for reading.
	ERR(open(t_self, O_WRONLY), ETXTBSY);
	ERR(open(t_self, O_RDONLY | O_TRUNC), ETXTBSY);
	ERR(truncate(t_self, 0), ETXTBSY);
}

HELPER(ok)
{
	return 12;
}

TEST_DIR(program_made_at_run_time)
{
	static char buf[1 << 16];
	int in = OK(open(t_self, O_RDONLY)), out = OK(open("copy", O_WRONLY | O_CREAT, 0755));
	ssize_t n;
	while ((n = read(in, buf, sizeof(buf))) > 0)
		t_writen(out, buf, (size_t)n);
	close(out);
	for (int i = 0; i < 3; i++) {
		pid_t p = OK(fork());
		if (!p) {
			execl("./copy", "copy", "--helper", "ok", NULL);
			_exit(126);
		}
		EQ(t_wait(p), 12);
	}
	OK(unlink("copy"));
}

TEST(fexecve_by_descriptor)
{
	int fd = OK(open(t_self, O_RDONLY | O_CLOEXEC));
	pid_t p = OK(fork());
	if (!p) {
		char *argv[] = {"x", "--helper", "ok", NULL};
		fexecve(fd, argv, environ);
		_exit(126);
	}
	EQ(t_wait(p), 12);
}

HELPER(aux)
{
	const char *fn = (const char *)getauxval(AT_EXECFN);
	if (!fn || strcmp(fn, argv[1]))
		return 1;
	if (getauxval(AT_PAGESZ) != 4096 || !getauxval(AT_RANDOM) || !getauxval(AT_PHDR) || !getauxval(AT_ENTRY))
		return 2;
	if (getauxval(AT_UID) != getuid() || getauxval(AT_EUID) != geteuid() || getauxval(AT_SECURE))
		return 3;
	if (strcmp((const char *)getauxval(AT_PLATFORM), "x86_64"))
		return 4;
	return getauxval(AT_CLKTCK) == 100 ? 0 : 5;
}

TEST(auxiliary_vector)
{
	char *argv[] = {"x", "--helper", "aux", t_self, NULL};
	EQ(run(argv, environ), 0);
}

HELPER(chain)
{
	int n = atoi(argv[1]);
	char next[16];
	if (n == 0)
		return 21;
	snprintf(next, sizeof(next), "%d", n - 1);
	execl(t_self, t_self, "--helper", "chain", next, NULL);
	return 1;
}

TEST(exec_again_and_again)
{
	char *argv[] = {t_self, "--helper", "chain", "30", NULL};
	EQ(run(argv, environ), 21);
}

HELPER(stack_limit)
{
	struct rlimit rl;
	getrlimit(RLIMIT_STACK, &rl);
	return rl.rlim_cur == 3 << 20 ? 0 : 1;
}

TEST(limits_stay)
{
	pid_t p = OK(fork());
	if (!p) {
		struct rlimit rl;
		OK(getrlimit(RLIMIT_STACK, &rl));
		rl.rlim_cur = 3 << 20;
		OK(setrlimit(RLIMIT_STACK, &rl));
		execl(t_self, t_self, "--helper", "stack_limit", NULL);
		_exit(126);
	}
	EQ(t_wait(p), 0);
}

TEST(empty_environment)
{
	char *argv[] = {"x", "--helper", "noenv", NULL}, *envp[] = {NULL};
	EQ(run(argv, envp), 0);
}

HELPER(noenv)
{
	return environ[0] == NULL ? 0 : 1;
}

TEST(memory_is_gone)
{
	// A mapping of the old program must not be seen by the new one.
	char addr[32];
	void *m = mmap((void *)0x500000000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	snprintf(addr, sizeof(addr), "%p", m);
	char *argv[] = {"x", "--helper", "unmapped", addr, NULL};
	EQ(run(argv, environ), 0);
}

HELPER(unmapped)
{
	void *m = (void *)strtoul(argv[1], NULL, 16);
	unsigned char v;
	return mincore(m, 4096, &v) == -1 && errno == ENOMEM ? 0 : 1;
}

TEST(failed_exec_leaves_process_whole)
{
	t_on(SIGUSR1, nothing, 0);
	int fd = OK(fcntl(1, F_DUPFD_CLOEXEC, 50));
	char *argv[] = {"x", NULL};
	ERR(execve("/etc", argv, environ), EACCES);
	OK(fcntl(fd, F_GETFD));
	struct sigaction sa;
	OK(sigaction(SIGUSR1, NULL, &sa));
	CHECK(sa.sa_handler == nothing);
}
