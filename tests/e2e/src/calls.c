// SPDX-License-Identifier: Apache-2.0
// Makes system calls of many kinds in a known order, for the test of --debug-strace (refusals/strace).
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Writes when the first thread waits in its read(2), call 0.
static void *late(void *fd)
{
	char path[64], said[2] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", getpid());
	while (said[0] != '0' || said[1] != ' ') {
		int f = open(path, O_RDONLY | O_CLOEXEC);

		if (f < 0 || read(f, said, 2) != 2)
			_exit(9);
		close(f);
		usleep(1000);
	}
	usleep(50000);
	if (write(*(int *)fd, "x\n\1", 3) != 3)
		_exit(9);
	return NULL;
}
static void on(int s) { (void)s; }

// The point is what the trace says, not what the calls answer.
static void ignore(long result) { (void)result; }

int main(int argc, char **argv)
{
	if (argc > 1)
		return argv[1][0] == 'a' ? 0 : 1;

	struct stat st;
	struct timespec ts = { 0, 1000000 };
	struct rlimit rl;
	int p[2], status, e;
	char b[80];
	pthread_t t;
	struct sigaction sa = { .sa_handler = on, .sa_flags = SA_RESTART };

	ignore(open("/nowhere/at all", O_RDWR | O_CREAT | O_CLOEXEC, 0640));
	stat("/etc", &st);
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGINT);
	sigaction(SIGUSR1, &sa, NULL);
	kill(getpid(), SIGUSR1);
	nanosleep(&ts, NULL);
	getrlimit(RLIMIT_NOFILE, &rl);
	ignore(pipe(p));
	ignore(write(p[1], "a long text with \"quotes\" that goes on and on beyond what is shown of it on one line", 84));
	ignore(read(p[0], b, sizeof(b)));
	ignore(read(p[0], b, sizeof(b)));
	pthread_create(&t, NULL, late, &p[1]);
	ignore(read(p[0], b, sizeof(b)));
	pthread_join(t, NULL);
	struct iovec v[2] = { { "one", 3 }, { "two", 3 } };
	ignore(writev(p[1], v, 2));
	struct pollfd pf[2] = { { p[0], POLLIN, 0 }, { p[1], POLLOUT, 0 } };
	ignore(poll(pf, 2, 10));
	fd_set in;
	FD_ZERO(&in);
	FD_SET(p[0], &in);
	struct timeval tv = { 1, 0 };
	ignore(select(p[0] + 1, &in, NULL, NULL, &tv));
	e = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { EPOLLIN | EPOLLET, { .u64 = 7 } };
	epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev);
	epoll_wait(e, &ev, 1, -1);
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un un = { AF_UNIX, "/tmp/none" };
	connect(s, (void *)&un, sizeof(un));
	pid_t c = fork();
	if (!c)
		_exit(3);
	waitpid(c, &status, 0);
	ignore(syscall(500, 1, 2, 3));
	execl("/calls", "calls", "again", NULL);
	return 1;
}
