// SPDX-License-Identifier: Apache-2.0
// Waiting for children: every call, every kind of status, process groups, stops, and who may wait for whom.
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "tests/kernel/t.h"

static pid_t child(int code)
{
	pid_t p = fork();
	if (p < 0)
		t_fail(__LINE__, "fork: errno %d", errno);
	if (!p)
		_exit(code);
	return p;
}

// A child that waits to be killed.
static pid_t sleeper(void)
{
	pid_t p = fork();
	if (p < 0)
		t_fail(__LINE__, "fork: errno %d", errno);
	if (!p)
		for (;;)
			pause();
	return p;
}

TEST(no_children)
{
	ERR(wait(NULL), ECHILD);
	ERR(waitpid(-1, NULL, WNOHANG), ECHILD);
	ERR(waitpid(getpid(), NULL, 0), ECHILD);
	ERR(waitpid(1 << 22, NULL, 0), ECHILD);
	siginfo_t si;
	ERR(waitid(P_ALL, 0, &si, WEXITED), ECHILD);
}

TEST(wait_any)
{
	int st;
	pid_t p = child(3);
	EQ(wait(&st), p);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 3);
	ERR(wait(&st), ECHILD);
}

TEST(wnohang)
{
	int st = 77;
	pid_t p = sleeper();
	EQ(waitpid(p, &st, WNOHANG), 0);
	OK(kill(p, SIGTERM));
	EQ(waitpid(p, &st, 0), p);
	CHECK(WIFSIGNALED(st));
	EQ(WTERMSIG(st), SIGTERM);
}

TEST(wait_for_one_of_several)
{
	pid_t a = child(1), b = child(2), c = child(3);
	EQ(t_wait(b), 2);
	EQ(t_wait(c), 3);
	EQ(t_wait(a), 1);
}

TEST(status_by_signal)
{
	static const int sigs[] = {SIGKILL, SIGTERM, SIGHUP, SIGINT, SIGUSR1, SIGALRM, SIGPIPE};
	for (size_t i = 0; i < sizeof(sigs) / sizeof(*sigs); i++) {
		pid_t p = sleeper();
		OK(kill(p, sigs[i]));
		EQ(t_wait(p), 128 + sigs[i]);
	}
}

TEST(status_by_own_fault)
{
	pid_t p = OK(fork());
	if (!p) {
		int *volatile nowhere = (int *)8;
		*nowhere = 0;
		_exit(0);
	}
	EQ(t_wait(p), 128 + SIGSEGV);
	p = OK(fork());
	if (!p)
		abort();
	EQ(t_wait(p), 128 + SIGABRT);
}

TEST(waitid_fields)
{
	siginfo_t si;
	memset(&si, 0x55, sizeof(si));
	pid_t p = child(7);
	OK(waitid(P_PID, (id_t)p, &si, WEXITED | WNOWAIT));
	EQ(si.si_pid, p);
	EQ(si.si_signo, SIGCHLD);
	EQ(si.si_code, CLD_EXITED);
	EQ(si.si_status, 7);
	EQ(si.si_uid, getuid());
	OK(waitid(P_PID, (id_t)p, &si, WEXITED));
	ERR(waitid(P_PID, (id_t)p, &si, WEXITED), ECHILD);
	p = sleeper();
	si.si_pid = 99;
	OK(waitid(P_ALL, 0, &si, WEXITED | WNOHANG));
	EQ(si.si_pid, 0);
	OK(kill(p, SIGKILL));
	OK(waitid(P_ALL, 0, &si, WEXITED));
	EQ(si.si_code, CLD_KILLED);
	EQ(si.si_status, SIGKILL);
	ERR(waitid(P_ALL, 0, &si, 0), EINVAL);
	ERR(waitid(99, 0, &si, WEXITED), EINVAL);
}

TEST(bad_options)
{
	ERR(waitpid(-1, NULL, 0x100), EINVAL);
}

TEST(stop_and_continue)
{
	int st;
	pid_t p = sleeper();
	OK(kill(p, SIGSTOP));
	EQ(waitpid(p, &st, WUNTRACED), p);
	CHECK(WIFSTOPPED(st));
	EQ(WSTOPSIG(st), SIGSTOP);
	EQ(waitpid(p, &st, WUNTRACED | WNOHANG), 0); // reported once
	OK(kill(p, SIGCONT));
	EQ(waitpid(p, &st, WCONTINUED), p);
	CHECK(WIFCONTINUED(st));
	OK(kill(p, SIGSTOP));
	OK(kill(p, SIGKILL)); // ends even the stopped
	EQ(t_wait(p), 128 + SIGKILL);
}

TEST(stopped_process_makes_no_progress)
{
	int q[2], st;
	char c;
	OK(pipe2(q, O_NONBLOCK));
	pid_t p = OK(fork());
	if (!p)
		for (;;) {
			(void)!write(q[1], "x", 1);
			t_sleep_ms(1);
		}
	while (read(q[0], &c, 1) < 0)
		t_sleep_ms(1);
	OK(kill(p, SIGSTOP));
	EQ(waitpid(p, &st, WUNTRACED), p);
	while (read(q[0], &c, 1) > 0)
		;
	t_sleep_ms(30);
	ERR(read(q[0], &c, 1), EAGAIN);
	OK(kill(p, SIGCONT));
	while (read(q[0], &c, 1) < 0)
		t_sleep_ms(1);
	t_end(p);
}

TEST(stop_reported_without_asking)
{
	// Without WUNTRACED a stop is not seen.
	int st;
	pid_t p = sleeper();
	OK(kill(p, SIGSTOP));
	siginfo_t si;
	OK(waitid(P_PID, (id_t)p, &si, WSTOPPED | WNOWAIT));
	EQ(si.si_code, CLD_STOPPED);
	EQ(waitpid(p, &st, WNOHANG), 0);
	t_end(p);
}

TEST(by_process_group)
{
	pid_t a = sleeper(), b = sleeper();
	OK(setpgid(a, a));
	OK(setpgid(b, a));
	pid_t c = child(5);
	EQ(waitpid(0, NULL, 0), c); // own group
	ERR(waitpid(0, NULL, 0), ECHILD);
	OK(kill(-a, SIGTERM));
	pid_t x = OK(waitpid(-a, NULL, 0)), y = OK(waitpid(-a, NULL, 0));
	CHECK((x == a && y == b) || (x == b && y == a));
	ERR(waitpid(-a, NULL, 0), ECHILD);
}

TEST(sleeping_wait_wakes)
{
	pid_t p = OK(fork());
	if (!p) {
		t_sleep_ms(20);
		_exit(4);
	}
	int st;
	EQ(waitpid(-1, &st, 0), p);
	EQ(WEXITSTATUS(st), 4);
}

static void nothing(int s)
{
	(void)s;
}

TEST(wait_eintr)
{
	// The sleeper is our child; the pesterer too, hence its pid.
	pid_t p = sleeper();
	t_on(SIGUSR1, nothing, 0);
	pid_t k = t_pester(getpid(), SIGUSR1);
	ERR(waitpid(p, NULL, 0), EINTR);
	t_end(k);
	t_end(p);
}

TEST(ignored_sigchld_reaps)
{
	signal(SIGCHLD, SIG_IGN);
	child(1);
	child(2);
	ERR(wait(NULL), ECHILD); // waits for all of them, then says so
	signal(SIGCHLD, SIG_DFL);
	pid_t p = child(3);
	EQ(t_wait(p), 3);
}

TEST(no_cldwait_flag)
{
	t_on(SIGCHLD, nothing, SA_NOCLDWAIT);
	child(1);
	errno = 0;
	pid_t r;
	while ((r = wait(NULL)) == -1 && errno == EINTR)
		;
	CHECK(r == -1 && errno == ECHILD);
}

static volatile int chld;
static volatile siginfo_t chld_info;
static void on_chld(int s, siginfo_t *si, void *u)
{
	(void)s;
	(void)u;
	chld++;
	chld_info.si_pid = si->si_pid;
	chld_info.si_status = si->si_status;
	chld_info.si_code = si->si_code;
}

TEST(sigchld_tells_who)
{
	struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO};
	OK(sigaction(SIGCHLD, &sa, NULL));
	pid_t p = child(9);
	while (!chld)
		t_sleep_ms(1);
	EQ(chld_info.si_pid, p);
	EQ(chld_info.si_status, 9);
	EQ(chld_info.si_code, CLD_EXITED);
	EQ(t_wait(p), 9);
}

TEST(no_cldstop_flag)
{
	int st;
	t_on(SIGCHLD, nothing, 0);
	struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_NOCLDSTOP};
	OK(sigaction(SIGCHLD, &sa, NULL));
	pid_t p = sleeper();
	OK(kill(p, SIGSTOP));
	EQ(waitpid(p, &st, WUNTRACED), p);
	EQ(chld, 0);
	OK(kill(p, SIGKILL));
	while (!chld)
		t_sleep_ms(1);
	EQ(chld_info.si_code, CLD_KILLED);
	EQ(t_wait(p), 128 + SIGKILL);
}

static void *wait_in_thread(void *arg)
{
	return (void *)(long)t_wait(*(pid_t *)arg);
}

TEST(thread_waits_for_child_of_another_thread)
{
	pid_t p = child(6);
	pthread_t t;
	void *r;
	ZERO(pthread_create(&t, NULL, wait_in_thread, &p));
	ZERO(pthread_join(t, &r));
	EQ((long)r, 6);
}

TEST(zombie_exists_until_waited)
{
	pid_t p = child(0);
	siginfo_t si;
	OK(waitid(P_PID, (id_t)p, &si, WEXITED | WNOWAIT));
	OK(kill(p, 0));
	EQ(t_wait(p), 0);
	ERR(kill(p, 0), ESRCH);
}

TEST(wait4_usage)
{
	struct rusage ru;
	int st;
	memset(&ru, 0xff, sizeof(ru));
	pid_t p = child(2);
	EQ(wait4(p, &st, 0, &ru), p);
	CHECK(ru.ru_utime.tv_sec >= 0 && ru.ru_utime.tv_sec < 100);
	EQ(WEXITSTATUS(st), 2);
}

TEST(subreaper_adopts)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 && errno == EINVAL)
		SKIP("no subreaper here");
	pid_t p = OK(fork());
	if (!p) {
		pid_t mid = getpid();
		if (fork() == 0) {
			while (getppid() == mid)
				t_sleep_ms(2);
			_exit(66);
		}
		_exit(0);
	}
	EQ(t_wait(p), 0);
	int st;
	CHECK(wait(&st) > 0);
	EQ(WEXITSTATUS(st), 66);
}

TEST(parent_death_signal)
{
	int q[2];
	char c;
	OK(pipe(q));
	pid_t p = OK(fork());
	if (!p) {
		if (fork() == 0) {
			OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
			t_writen(q[1], "x", 1);
			for (;;)
				pause();
		}
		char d;
		close(q[1]);
		t_readn(q[0], &d, 1);
		_exit(0);
	}
	close(q[1]);
	EQ(t_wait(p), 0);
	EQ(read(q[0], &c, 1), 0); // the grandchild is gone, or this would hang
}

TEST(pidfd_open_and_poll)
{
	pid_t p = sleeper();
	long fd = syscall(434, p, 0);
	if (fd < 0 && errno == ENOSYS)
		SKIP("no pidfd here");
	CHECK(fd >= 0);
	OK(syscall(424, fd, SIGKILL, NULL, 0));
	siginfo_t si;
	OK(waitid((idtype_t)3 /* P_PIDFD */, (id_t)fd, &si, WEXITED));
	EQ(si.si_pid, p);
}

// An open /proc/PID names its process too, as it did before there were pidfds.
TEST(pidfd_send_signal_to_proc_directory)
{
	char name[64];
	pid_t p = sleeper();
	snprintf(name, sizeof(name), "/proc/%d", p);
	int fd = OK(open(name, O_RDONLY | O_DIRECTORY));
	int path = OK(open(name, O_PATH | O_DIRECTORY));
	strcat(name, "/task");
	int task = OK(open(name, O_RDONLY | O_DIRECTORY)), null = OK(open("/dev/null", O_RDONLY));
	ERR(syscall(424, path, SIGKILL, NULL, 0), EBADF);
	ERR(syscall(424, task, SIGKILL, NULL, 0), EBADF);
	ERR(syscall(424, null, SIGKILL, NULL, 0), EBADF);
	OK(syscall(424, fd, 0, NULL, 0));
	OK(syscall(424, fd, SIGKILL, NULL, 0));
	EQ(t_wait(p), 128 + SIGKILL);
	ERR(syscall(424, fd, SIGKILL, NULL, 0), ESRCH);
}
