// SPDX-License-Identifier: Apache-2.0
// ptrace(2) over the life of processes: events of fork, exec and exit, attaching and letting go, stops of groups, /proc, and storms.
#include "tests/kernel/ptrace.h"

static void forks(void)
{
	pid_t p = fork();
	if (!p)
		_exit(3);
	_exit(t_wait(p));
}

static unsigned long event_msg(pid_t p)
{
	unsigned long m = 0;
	OK(pt(PTRACE_GETEVENTMSG, p, NULL, &m));
	return m;
}

// Lets both run to their ends, passing on what comes; each has to end as said (wb -1: anyhow).
static void both_end(pid_t a, int wa, pid_t b, int wb)
{
	int left = 2;
	while (left) {
		int st;
		pid_t p = OK(waitpid(-1, &st, __WALL));
		CHECK(p == a || p == b);
		if (WIFSTOPPED(st)) {
			cont(p, st >> 16 || WSTOPSIG(st) == SIGSTOP || WSTOPSIG(st) == SIGTRAP ? 0 : WSTOPSIG(st));
			continue;
		}
		if (p == a || wb >= 0)
			EQ(st, p == a ? wa : wb);
		left--;
	}
}

TEST(fork_event)
{
	pid_t p = tracee(forks, PTRACE_O_TRACEFORK), c;
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_FORK));
	c = (pid_t)event_msg(p);
	EQ(waits(c), STOPPED(SIGSTOP, 0));
	siginfo_t si;
	OK(pt(PTRACE_GETSIGINFO, p, NULL, &si));
	EQ(si.si_code, SIGTRAP | PTRACE_EVENT_FORK << 8);
	EQ(regs_of(c).rax, 0);
	cont(p, 0);
	cont(c, 0);
	both_end(p, 3 << 8, c, 3 << 8);
}

TEST(fork_without_option_is_not_followed)
{
	pid_t p = tracee(forks, 0);
	int st;
	for (cont(p, 0); WIFSTOPPED(st = waits(p)); cont(p, WSTOPSIG(st)))
		EQ(WSTOPSIG(st), SIGCHLD);
	EQ(st, 3 << 8);
}

static void vforks(void)
{
	pid_t p = vfork();
	if (!p)
		_exit(4);
	_exit(t_wait(p));
}

TEST(vfork_events)
{
	pid_t p = tracee(vforks, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE), c;
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_VFORK));
	c = (pid_t)event_msg(p);
	EQ(waits(c), STOPPED(SIGSTOP, 0)); // both stand still now
	EQ(peek(c, &constant), constant);
	EQ(peek(p, &constant), constant);
	EQ(regs_of(c).rsp, regs_of(p).rsp);
	cont(p, 0);
	cont(c, 0);
	EQ(waits(c), 4 << 8);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_VFORK_DONE));
	EQ(event_msg(p), c);
	cont(p, 0);
	int st;
	for (; WIFSTOPPED(st = waits(p)); cont(p, WSTOPSIG(st)))
		EQ(WSTOPSIG(st), SIGCHLD);
	EQ(st, 4 << 8);
}

TEST(vfork_parent_continued_late)
{
	pid_t p = tracee(vforks, PTRACE_O_TRACEVFORK), c;
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_VFORK));
	c = (pid_t)event_msg(p);
	EQ(waits(c), STOPPED(SIGSTOP, 0));
	cont(c, 0);
	EQ(waits(c), 4 << 8);
	EQ(waitpid(p, &(int){0}, WNOHANG | __WALL), 0);
	cont(p, 0);
	int st;
	for (; WIFSTOPPED(st = waits(p)); cont(p, WSTOPSIG(st)))
		EQ(WSTOPSIG(st), SIGCHLD);
	EQ(st, 4 << 8);
}

static void spawns(void)
{
	pid_t p;
	char *argv[] = {t_self, "--helper", "nothing", NULL};
	if (posix_spawn(&p, t_self, NULL, NULL, argv, environ))
		_exit(99);
	_exit(t_wait(p));
}

HELPER(nothing) { return 6; }

TEST(spawn_followed_into_exec)
{
	pid_t p = tracee(spawns, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD), c;
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_VFORK));
	c = (pid_t)event_msg(p);
	EQ(waits(c), STOPPED(SIGSTOP, 0));
	cont(p, 0);
	cont(c, 0);
	EQ(waits(c), STOPPED(SIGTRAP, PTRACE_EVENT_EXEC));
	EQ(event_msg(c), c);
	cont(c, 0);
	both_end(p, 6 << 8, c, 6 << 8);
}

static void execs(void)
{
	execl(t_self, t_self, "--helper", "nothing", NULL);
	_exit(99);
}

TEST(exec_without_option_is_a_sigtrap)
{
	pid_t p = tracee(execs, 0);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, 0));
	siginfo_t si;
	OK(pt(PTRACE_GETSIGINFO, p, NULL, &si));
	EQ(si.si_code, SI_USER);
	cont(p, 0);
	EQ(waits(p), 6 << 8);
}

TEST(exec_event_and_its_system_call)
{
	pid_t p = tracee(execs, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD);
	do {
		OK(ptl(PTRACE_SYSCALL, p, 0));
		EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0));
	} while (regs_of(p).orig_rax != SYS_execve);
	OK(ptl(PTRACE_SYSCALL, p, 0));
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_EXEC));
	OK(ptl(PTRACE_SYSCALL, p, 0));
	EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0));
	EQ(regs_of(p).rax, 0);
	EQ(regs_of(p).orig_rax, SYS_execve);
	OK(ptl(PTRACE_SYSCALL, p, 0));
	EQ(waits(p), STOPPED(SIGTRAP | 0x80, 0)); // the first call of the new program
	cont(p, 0);
	EQ(waits(p), 6 << 8);
}

TEST(exit_event)
{
	pid_t p = tracee(exits_7, PTRACE_O_TRACEEXIT);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_EXIT));
	EQ(event_msg(p), 7 << 8);
	EQ(peek(p, &constant), constant); // its memory is still there
	cont(p, 0);
	EQ(waits(p), 7 << 8);
}

// --- threads

static void *thread_exits(void *arg) { return arg; }

static void *thread_sleeps(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void starts_thread(void)
{
	pthread_t t;
	pthread_create(&t, NULL, thread_exits, NULL);
	pthread_join(t, NULL);
	_exit(8);
}

TEST(thread_event_and_end)
{
	pid_t p = tracee(starts_thread, PTRACE_O_TRACECLONE), t;
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_CLONE));
	t = (pid_t)event_msg(p);
	CHECK(t != p);
	EQ(waits(t), STOPPED(SIGSTOP, 0));
	cont(p, 0);
	cont(t, 0);
	both_end(p, 8 << 8, t, -1); // the end of the process may overtake that of the thread
}

static void *thread_execs(void *arg)
{
	execl(t_self, t_self, "--helper", "nothing", NULL);
	return arg;
}

static void starts_thread_that_execs(void)
{
	pthread_t t[2];
	pthread_create(&t[0], NULL, thread_sleeps, NULL);
	pthread_create(&t[1], NULL, thread_execs, NULL);
	for (;;)
		pause();
}

TEST(exec_by_another_thread)
{
	pid_t p = tracee(starts_thread_that_execs, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC), t[2], w;
	int st;
	for (int i = 0; i < 2; i++) {
		cont(p, 0);
		EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_CLONE));
		t[i] = (pid_t)event_msg(p);
		EQ(waits(t[i]), STOPPED(SIGSTOP, 0));
	}
	cont(t[0], 0);
	cont(p, 0);
	cont(t[1], 0); // ends the others
	for (;;) { // the sleeper's end may be told before
		w = OK(waitpid(-1, &st, __WALL));
		if (w == p)
			break;
		EQ(w, t[0]);
		CHECK(!WIFSTOPPED(st));
	}
	EQ(st, STOPPED(SIGTRAP, PTRACE_EVENT_EXEC));
	EQ(event_msg(p), t[1]);
	ERR(ptl(PTRACE_CONT, t[1], 0), ESRCH);
	cont(p, 0);
	do
		w = OK(waitpid(-1, &st, __WALL));
	while (w == t[0]);
	EQ(w, p);
	EQ(st, 6 << 8);
	ERR(waitpid(-1, &st, __WALL), ECHILD);
}

// --- attach

static pid_t sleeper(void)
{
	pid_t p = OK(fork());
	if (!p) {
		for (volatile int i = 0;; i++)
			pause();
	}
	return p;
}

static void may_attach(long r)
{
	if (r && errno == EPERM)
		SKIP("ptrace is not permitted");
	EQ(r, 0);
}

TEST(attach_and_detach)
{
	pid_t p = sleeper();
	char path[64];
	may_attach(ptl(PTRACE_ATTACH, p, 0));
	EQ(waits(p), STOPPED(SIGSTOP, 0));
	ERR(ptl(PTRACE_ATTACH, p, 0), EPERM);
	snprintf(path, sizeof(path), "/proc/%d/status", p);
	char want[64];
	snprintf(want, sizeof(want), "TracerPid:\t%d\n", getpid());
	CHECK(strstr(t_get(path), want));
	CHECK(strstr(t_get(path), "State:\tt (tracing stop)"));
	OK(ptl(PTRACE_DETACH, p, 0));
	ERR(ptl(PTRACE_CONT, p, 0), ESRCH);
	CHECK(strstr(t_get(path), "TracerPid:\t0\n"));
	end(p);
}

static volatile long counter;
static pid_t spinner(void)
{
	pid_t p = OK(fork());
	if (!p) {
		for (;;)
			counter++;
	}
	return p;
}

TEST(attach_to_running_code)
{
	pid_t p = spinner();
	may_attach(ptl(PTRACE_ATTACH, p, 0));
	EQ(waits(p), STOPPED(SIGSTOP, 0));
	long a = peek(p, &counter), b;
	EQ(peek(p, &counter), a);
	cont(p, 0);
	for (b = a; b == a;) {
		t_sleep_ms(1);
		EQ(kill(p, SIGSTOP), 0);
		EQ(waits(p), STOPPED(SIGSTOP, 0));
		b = peek(p, &counter);
		cont(p, 0);
	}
	end(p);
}

TEST(attach_interrupts_a_call_that_goes_on)
{
	int fd[2], back[2];
	char c;
	OK(pipe(fd));
	OK(pipe(back));
	pid_t p = OK(fork());
	if (!p) {
		t_writen(back[1], "r", 1);
		_exit(read(fd[0], &c, 1) == 1 && c == 'x' ? 41 : 42);
	}
	EQ(t_readn(back[0], &c, 1), 1);
	for (;;) { // until it sleeps in read
		may_attach(ptl(PTRACE_ATTACH, p, 0));
		EQ(waits(p), STOPPED(SIGSTOP, 0));
		struct user_regs_struct r = regs_of(p);
		if (r.orig_rax == SYS_read && (long)r.rax == -512) {
			unsigned char b[8];
			long w = peek(p, (void *)(r.rip - 2));
			memcpy(b, &w, 8);
			EQ(b[0] << 8 | b[1], 0x0f05);
			break;
		}
		OK(ptl(PTRACE_DETACH, p, 0));
		t_sleep_ms(1);
	}
	OK(ptl(PTRACE_SYSCALL, p, 0));
	EQ(waits(p), STOPPED(SIGTRAP, 0)); // it calls again
	EQ(regs_of(p).orig_rax, SYS_read);
	cont(p, 0);
	t_writen(fd[1], "x", 1);
	EQ(waits(p), 41 << 8);
}

TEST(seize_interrupt_listen)
{
	pid_t p = sleeper();
	may_attach(ptl(PTRACE_SEIZE, p, PTRACE_O_TRACESYSGOOD));
	EQ(waitpid(p, &(int){0}, WNOHANG | __WALL), 0); // goes on
	ERR(ptl(PTRACE_CONT, p, 0), ESRCH);
	OK(ptl(PTRACE_INTERRUPT, p, 0));
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_STOP));
	cont(p, 0);
	kill(p, SIGSTOP);
	EQ(waits(p), STOPPED(SIGSTOP, 0)); // delivery
	cont(p, SIGSTOP);
	EQ(waits(p), STOPPED(SIGSTOP, PTRACE_EVENT_STOP)); // the group stops
	OK(ptl(PTRACE_LISTEN, p, 0));
	ERR(ptl(PTRACE_CONT, p, 0), ESRCH);
	kill(p, SIGCONT);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_STOP));
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGCONT, 0));
	cont(p, SIGCONT);
	OK(ptl(PTRACE_INTERRUPT, p, 0));
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_STOP));
	OK(ptl(PTRACE_DETACH, p, 0));
	end(p);
}

TEST(interrupt_wants_seize)
{
	pid_t p = tracee(exits_7, 0);
	ERR(ptl(PTRACE_INTERRUPT, p, 0), EIO);
	ERR(ptl(PTRACE_LISTEN, p, 0), EIO);
	ERR(ptl(PTRACE_SETOPTIONS, p, 1l << 15), EINVAL);
	end(p);
	p = sleeper();
	ERR(ptl(PTRACE_SEIZE, p, 1l << 15), EIO);
	ERR(pt(PTRACE_SEIZE, p, (void *)1, NULL), EIO);
	end(p);
}

TEST(group_stop_of_an_attached_process)
{
	pid_t p = sleeper();
	may_attach(ptl(PTRACE_ATTACH, p, 0));
	EQ(waits(p), STOPPED(SIGSTOP, 0));
	cont(p, 0);
	kill(p, SIGSTOP);
	EQ(waits(p), STOPPED(SIGSTOP, 0));
	siginfo_t si;
	OK(pt(PTRACE_GETSIGINFO, p, NULL, &si));
	cont(p, SIGSTOP);
	EQ(waits(p), STOPPED(SIGSTOP, 0)); // now the group's
	ERR(pt(PTRACE_GETSIGINFO, p, NULL, &si), EINVAL);
	OK(ptl(PTRACE_DETACH, p, 0));
	int st;
	EQ(waitpid(p, &st, WUNTRACED), p); // still stopped, for its parent now
	EQ(st, STOPPED(SIGSTOP, 0));
	end(p);
}

TEST(kill_ends_a_stopped_tracee)
{
	pid_t p = tracee(exits_7, 0);
	kill(p, SIGKILL);
	EQ(waits(p), SIGKILL);
	p = tracee(exits_7, 0);
	OK(ptl(PTRACE_KILL, p, 0));
	EQ(waits(p), SIGKILL);
}

// The case's own child traces the grandchild's sleeper.
static pid_t tracer_of(pid_t p, long options)
{
	int fd[2];
	char c;
	OK(pipe(fd));
	pid_t t = OK(fork());
	if (!t) {
		int st;
		if (ptl(PTRACE_SEIZE, p, options) || ptl(PTRACE_INTERRUPT, p, 0) || waitpid(p, &st, __WALL) != p)
			_exit(errno == EPERM ? T_SKIPPED : 1);
		t_writen(fd[1], "x", 1);
		for (;;)
			pause();
	}
	close(fd[1]);
	if (t_readn(fd[0], &c, 1) != 1)
		SKIP("ptrace is not permitted");
	close(fd[0]);
	return t;
}

TEST(exitkill)
{
	pid_t p = sleeper(), t = tracer_of(p, PTRACE_O_EXITKILL);
	EQ(waitpid(p, &(int){0}, WNOHANG), 0);
	t_end(t);
	EQ(waits(p), SIGKILL);
}

TEST(death_of_the_tracer_lets_go)
{
	pid_t p = sleeper(), t = tracer_of(p, 0);
	char path[64];
	t_end(t);
	snprintf(path, sizeof(path), "/proc/%d/status", p);
	while (!strstr(t_get(path), "State:\tS"))
		t_sleep_ms(1);
	CHECK(strstr(t_get(path), "TracerPid:\t0\n"));
	end(p);
}

TEST(parent_waits_until_the_tracer_has)
{
	pid_t p = sleeper(), t = tracer_of(p, 0);
	kill(p, SIGKILL);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/status", p);
	while (!strstr(t_get(path), "State:\tZ"))
		t_sleep_ms(1);
	EQ(waitpid(p, &(int){0}, WNOHANG), 0);
	t_end(t);
	EQ(waits(p), SIGKILL);
}

TEST(waitid_tells_trapped)
{
	pid_t p = tracee(exits_7, PTRACE_O_TRACEEXIT);
	cont(p, 0);
	siginfo_t si;
	OK(waitid(P_PID, (id_t)p, &si, WEXITED | WSTOPPED | WNOWAIT));
	EQ(si.si_code, CLD_TRAPPED);
	EQ(si.si_status, SIGTRAP | PTRACE_EVENT_EXIT << 8);
	EQ(si.si_pid, p);
	EQ(waits(p), STOPPED(SIGTRAP, PTRACE_EVENT_EXIT));
	cont(p, 0);
	EQ(waits(p), 7 << 8);
}

TEST(proc_syscall)
{
	char path[64], want[64];
	int fd[2];
	OK(pipe(fd));
	pid_t p = OK(fork());
	if (!p) {
		char c;
		_exit((int)read(fd[0], &c, 1));
	}
	snprintf(path, sizeof(path), "/proc/%d/syscall", p);
	int f = open(path, O_RDONLY);
	char now[256] = "";
	if (f < 0 || read(f, now, sizeof(now)) < 0) {
		end(p);
		SKIP("no /proc/PID/syscall");
	}
	snprintf(want, sizeof(want), "%d 0x%x 0x", SYS_read, (unsigned)fd[0]);
	while (strncmp(t_get(path), want, strlen(want)))
		t_sleep_ms(1);
	t_writen(fd[1], "x", 1);
	EQ(t_wait(p), 1);
}

// --- memory by file

TEST(proc_mem)
{
	pid_t p = tracee(exits_with_word, 0);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/mem", p);
	int fd = OK(open(path, O_RDWR));
	long v = 0;
	EQ(OK(pread(fd, &v, 8, (off_t)(uintptr_t)&word)), 8);
	EQ(v, 0x1122334455667788);
	v = 42;
	EQ(OK(pwrite(fd, &v, 8, (off_t)(uintptr_t)&word)), 8);
	EQ(peek(p, &word), 42);
	char text[64];
	EQ(OK(pread(fd, text, 64, (off_t)(uintptr_t)getppid)), 64);
	CHECK(memmem(text, 16, "\xb8\x6e\0\0\0\x0f\x05", 7)); // mov $110,%eax; syscall: as the file has it
	ERR(pread(fd, &v, 8, 16), EIO);
	EQ(OK(pwrite(fd, text, 16, (off_t)(uintptr_t)getppid)), 16); // text, with a debugger's right
	EQ(OK(lseek(fd, (off_t)(uintptr_t)&word, SEEK_SET)), (off_t)(uintptr_t)&word);
	EQ(OK(read(fd, &v, 8)), 8);
	EQ(v, 42);
	cont(p, 0);
	EQ(waits(p), 5 << 8);
	EQ(pread(fd, &v, 8, (off_t)(uintptr_t)&word), 0); // gone
}

TEST(proc_self_mem)
{
	int fd = OK(open("/proc/self/mem", O_RDWR));
	long v = 5;
	EQ(OK(pwrite(fd, &v, 8, (off_t)(uintptr_t)&other[0])), 8);
	EQ(other[0], 5);
	v = 0;
	EQ(OK(pread(fd, &v, 8, (off_t)(uintptr_t)&other[0])), 8);
	EQ(v, 5);
}

// Inferior calls of a debugger: registers set to run a function, and everything put back.
TEST(inferior_call)
{
	pid_t p = tracee(calls_doubled, 0);
	struct user_regs_struct saved = regs_of(p), r = saved;
	r.rip = (unsigned long)doubled;
	r.rdi = 100;
	r.rsp = ((r.rsp - 256) & ~15ul) - 8;
	r.orig_rax = -1ul;
	poke(p, (void *)r.rsp, 0); // returns to nowhere
	set_regs(p, &r);
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGSEGV, 0));
	EQ(regs_of(p).rax, 200);
	EQ(regs_of(p).rip, 0);
	set_regs(p, &saved);
	cont(p, 0);
	EQ(waits(p), 3 << 8);
}

static volatile long watched[2];
static void writes_watched(void)
{
	for (long i = 0; i < 100; i++)
		watched[1] = i;
	getppid();
	watched[0] = 7;
	watched[1] = 0;
	_exit(doubled(watched[0]) == 14 ? 17 : 18);
}

#define DEBUGREG(n) ((void *)(offsetof(struct user, u_debugreg) + (n) * 8))

TEST(watchpoint_by_debug_register)
{
	pid_t p = tracee(writes_watched, 0);
	long v = 1;
	OK(pt(PTRACE_PEEKUSR, p, DEBUGREG(7), &v));
	EQ(v, 0);
	if (pt(PTRACE_POKEUSR, p, DEBUGREG(0), (void *)watched) || pt(PTRACE_POKEUSR, p, DEBUGREG(7), (void *)(1l | 9l << 16))) {
		end(p);
		SKIP("no debug registers");
	}
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, 0));
	siginfo_t si;
	OK(pt(PTRACE_GETSIGINFO, p, NULL, &si));
	EQ(si.si_code, TRAP_HWBKPT);
	OK(pt(PTRACE_PEEKUSR, p, DEBUGREG(6), &v));
	EQ(v & 15, 1);
	EQ(peek(p, &watched[0]), 7);
	EQ(peek(p, &watched[1]), 99);
	// now an address to run to
	OK(pt(PTRACE_POKEUSR, p, DEBUGREG(7), NULL));
	OK(pt(PTRACE_POKEUSR, p, DEBUGREG(1), (void *)doubled));
	OK(pt(PTRACE_POKEUSR, p, DEBUGREG(7), (void *)4l));
	cont(p, 0);
	EQ(waits(p), STOPPED(SIGTRAP, 0));
	EQ(regs_of(p).rip, (long)doubled);
	OK(pt(PTRACE_POKEUSR, p, DEBUGREG(7), NULL));
	cont(p, 0);
	EQ(waits(p), 17 << 8);
}

// --- many at once: whoever dies when, everybody comes to an end

static void *short_thread(void *arg)
{
	getppid();
	return arg;
}

static void busy_for_ever(void)
{
	for (;;) {
		pthread_t t[2];
		volatile int n = 0;
		for (int i = 0; i < 2; i++)
			n += pthread_create(&t[n], NULL, short_thread, NULL) == 0;
		pid_t a = fork();
		if (!a) {
			getppid();
			_exit(0);
		}
		pid_t b = vfork();
		if (!b) {
			execl(t_self, t_self, "--helper", "nothing", NULL);
			_exit(1);
		}
		raise(SIGURG);
		while (n)
			pthread_join(t[--n], NULL);
		waitpid(a, NULL, 0);
		waitpid(b, NULL, 0);
	}
}

static void calls_for_ever(void)
{
	for (;;)
		getppid();
}

// Requests with random arguments and registers: the tracee may die of them, nothing else.
TEST(garbage)
{
	static const long reqs[] = {PTRACE_PEEKTEXT, PTRACE_PEEKUSR, PTRACE_POKEDATA, PTRACE_POKEUSR, PTRACE_CONT, PTRACE_SINGLESTEP, REQ_GETREGS,
				    REQ_SETREGS, REQ_GETFPREGS, REQ_SETFPREGS, 18, 30, PTRACE_SYSCALL, 31, 32, 33, PTRACE_SETOPTIONS, PTRACE_GETEVENTMSG,
				    PTRACE_GETSIGINFO, PTRACE_SETSIGINFO, PTRACE_GETREGSET, PTRACE_SETREGSET, PTRACE_INTERRUPT, PTRACE_LISTEN,
				    PTRACE_PEEKSIGINFO, PTRACE_GETSIGMASK, PTRACE_SETSIGMASK, PTRACE_SECCOMP_GET_FILTER, PTRACE_GET_SYSCALL_INFO};
	static unsigned long buf[2048];
	unsigned seed = 1;
	for (int round = 0; round < 60; round++) {
		pid_t p = tracee(calls_for_ever, (round & 1) * PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
		for (int i = 0; i < 200; i++) {
			long req = reqs[(unsigned)rand_r(&seed) % (sizeof(reqs) / sizeof(*reqs))];
			struct iovec v = {buf, (size_t)rand_r(&seed) % sizeof(buf)};
			for (int k = 0; k < 30; k++)
				if (rand_r(&seed) % 4 == 0)
					buf[(unsigned)rand_r(&seed) % 2048] = (unsigned long)rand_r(&seed) << (rand_r(&seed) % 40);
			if (rand_r(&seed) % 2)
				pt(REQ_GETREGS, p, NULL, buf);
			static const long sets[] = {NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE, 7};
			bool set = req == PTRACE_GETREGSET || req == PTRACE_SETREGSET;
			unsigned long addr = set ? (unsigned long)sets[rand_r(&seed) % 4]
					     : rand_r(&seed) % 2 ? (unsigned long)rand_r(&seed) % 1000 : (unsigned long)buf;
			unsigned long data = set ? (unsigned long)&v : rand_r(&seed) % 4 == 0 ? (unsigned long)rand_r(&seed) % 100 : (unsigned long)buf;
			if (req == PTRACE_SETOPTIONS)
				data &= 0xff;
			pt(req, p, (void *)addr, (void *)data);
			int st;
			for (int n = 0; n < 3; n++)
				if (waitpid(p, &st, WNOHANG | __WALL) == p && !WIFSTOPPED(st))
					goto next;
			if (i % 20 == 19)
				kill(p, SIGSTOP);
		}
		end(p);
	next:;
	}
}

static void traces_for_ever(unsigned seed)
{
	static const long how[] = {PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SINGLESTEP, PTRACE_SYSCALL, PTRACE_CONT};
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
		       (seed & 1 ? PTRACE_O_TRACEEXIT : 0) | (seed & 2 ? PTRACE_O_TRACEVFORKDONE : 0) | (seed & 4 ? PTRACE_O_EXITKILL : 0);
	pid_t p = fork();
	if (!p) {
		if (!(seed & 8))
			traceme();
		busy_for_ever();
	}
	if (seed & 8)
		ptl(PTRACE_SEIZE, p, options);
	else if (waitpid(p, &(int){0}, 0) == p)
		ptl(PTRACE_SETOPTIONS, p, options), ptl(PTRACE_CONT, p, 0);
	for (;;) {
		int st;
		pid_t w = waitpid(-1, &st, __WALL);
		if (w < 0 && errno == ECHILD)
			_exit(0);
		if (w < 0 || !WIFSTOPPED(st))
			continue;
		struct user_regs_struct r;
		if (rand_r(&seed) % 4 == 0 && pt(REQ_GETREGS, w, NULL, &r) == 0) {
			long v;
			pt(PTRACE_PEEKDATA, w, (void *)r.rip, &v);
			pt(REQ_SETREGS, w, NULL, &r);
		}
		int sig = WSTOPSIG(st), pass = st >> 16 || sig & 0x80 || sig == SIGTRAP || sig == SIGSTOP ? 0 : sig;
		if (rand_r(&seed) % 200 == 0)
			ptl(PTRACE_DETACH, w, pass);
		else if (rand_r(&seed) % 400 == 0)
			kill(w, SIGKILL);
		else
			ptl(how[(unsigned)rand_r(&seed) % 5], w, pass);
	}
}


// A tracer in another process than the parent: both wait, each for its own.
TEST(tracer_in_the_middle_of_job_control)
{
	pid_t p = sleeper(), t = tracer_of(p, 0);
	int st;
	kill(p, SIGKILL); // while it stands for the other
	t_end(t);
	EQ(waitpid(p, &st, 0), p);
	EQ(st, SIGKILL);
	p = sleeper();
	kill(p, SIGSTOP);
	EQ(waitpid(p, &st, WUNTRACED), p);
	t = tracer_of(p, 0); // attaches to a stopped process
	EQ(waitpid(p, &st, WUNTRACED | WNOHANG), 0);
	t_end(t);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/status", p);
	while (!strstr(t_get(path), "State:\tT"))
		t_sleep_ms(1);
	kill(p, SIGCONT);
	EQ(waitpid(p, &st, WCONTINUED), p);
	CHECK(WIFCONTINUED(st));
	end(p);
}

TEST(storm)
{
	end(tracee(exits_7, 0)); // skips where nobody may trace
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	for (unsigned round = 0; round < 32; round++) {
		pid_t t = OK(fork()), w;
		if (!t) {
			setpgid(0, 0);
			traces_for_ever(round);
		}
		setpgid(t, t);
		t_sleep_ms(3 + round);
		if (round & 16)
			t_sleep_ms(20);
		kill(t, SIGKILL); // the tracer first, then what it leaves
		do {
			kill(-t, SIGKILL);
			while ((w = waitpid(-1, NULL, WNOHANG)) > 0)
				;
			if (w == 0)
				t_sleep_ms(1);
		} while (w == 0);
		EQ(errno, ECHILD);
	}
}

// The child either is traced and let go, or is refused: its parent leaves at that moment.
TEST(traceme_while_the_parent_leaves)
{
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	for (int i = 0; i < 400; i++) {
		pid_t p = OK(fork());
		if (!p) {
			if (!fork()) {
				for (volatile int spin = 0; spin < i * 20; spin++)
					;
				pt(PTRACE_TRACEME, 0, 0, 0);
				_exit(0);
			}
			_exit(0);
		}
		for (int status, n = 0; n < 2; n++) {
			OK(wait(&status));
			EQ(status, 0);
		}
	}
}

// A tracer that listens to a group stop hears of a SIGCONT that came while the stop was being told. Strace starts programs so.
TEST(continued_while_the_stop_is_told)
{
	for (int i = 0; i < 500; i++) {
		int st;
		pid_t p = OK(fork());
		if (!p) {
			raise(SIGSTOP);
			_exit(7);
		}
		EQ(OK(waitpid(p, &st, WUNTRACED)), p);
		CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
		may_attach(ptl(PTRACE_SEIZE, p, 0));
		OK(kill(p, SIGCONT));
		while (st = waits(p), WIFSTOPPED(st)) {
			if (st >> 16 == PTRACE_EVENT_STOP)
				OK(ptl(WSTOPSIG(st) == SIGSTOP ? PTRACE_LISTEN : PTRACE_CONT, p, 0));
			else
				OK(ptl(PTRACE_CONT, p, WSTOPSIG(st)));
		}
		EQ(WEXITSTATUS(st), 7);
	}
}
