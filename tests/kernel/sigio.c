// SPDX-License-Identifier: Apache-2.0
// Signals about files: O_ASYNC, F_SETOWN, F_SETSIG, SIGURG and dnotify (fcntl F_NOTIFY).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tests/kernel/t.h"

enum { SIG = 40 }; // a real-time signal, which queues and carries its details

static void block(int sig)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
}

static siginfo_t await(int sig)
{
	sigset_t s;
	siginfo_t si;
	struct timespec limit = {20, 0};
	sigemptyset(&s);
	sigaddset(&s, sig);
	EQ(sigtimedwait(&s, &si, &limit), sig);
	return si;
}

static void none(int sig)
{
	sigset_t s;
	siginfo_t si;
	struct timespec brief = {0, 50000000};
	sigemptyset(&s);
	sigaddset(&s, sig);
	ERR(sigtimedwait(&s, &si, &brief), EAGAIN);
}

static void async(int fd, bool on) { OK(fcntl(fd, F_SETFL, (fcntl(fd, F_GETFL) & ~O_ASYNC) | (on ? O_ASYNC : 0))); }

TEST(owner_is_kept)
{
	int p[2];
	struct f_owner_ex ow = {F_OWNER_TID, (pid_t)syscall(SYS_gettid)};
	OK(pipe(p));
	EQ(fcntl(p[0], F_GETOWN), 0);
	EQ(fcntl(p[0], F_GETSIG), 0);
	OK(fcntl(p[0], F_SETOWN, getpid()));
	EQ(fcntl(p[0], F_GETOWN), getpid());
	OK(fcntl(p[0], F_SETOWN_EX, &ow));
	ow.pid = 0;
	OK(fcntl(p[0], F_GETOWN_EX, &ow));
	EQ(ow.type, F_OWNER_TID);
	EQ(ow.pid, syscall(SYS_gettid));
	ow.type = F_OWNER_PGRP;
	ow.pid = getpgrp();
	OK(fcntl(p[0], F_SETOWN_EX, &ow));
	OK(fcntl(p[0], F_GETOWN_EX, &ow));
	EQ(ow.type, F_OWNER_PGRP);
	EQ(ow.pid, getpgrp());
	OK(fcntl(p[0], F_SETSIG, SIG));
	EQ(fcntl(p[0], F_GETSIG), SIG);
	EQ(fcntl(p[1], F_GETSIG), 0);
	ERR(fcntl(p[0], F_SETSIG, 65), EINVAL);
	ERR(fcntl(p[0], F_SETSIG, -1), EINVAL);
	ERR(fcntl(p[0], F_SETOWN, 0x3ffffff), ESRCH);
	ow.type = 3;
	ERR(fcntl(p[0], F_SETOWN_EX, &ow), EINVAL);
	OK(fcntl(p[0], F_SETOWN, 0));
	EQ(fcntl(p[0], F_GETOWN), 0);
}

TEST(pipe_reader_hears_of_data)
{
	int p[2];
	block(SIG);
	OK(pipe(p));
	OK(fcntl(p[0], F_SETOWN, getpid()));
	OK(fcntl(p[0], F_SETSIG, SIG));
	OK(write(p[1], "x", 1));
	none(SIG); // not asked for yet
	char c;
	EQ(read(p[0], &c, 1), 1);
	async(p[0], true);
	EQ(fcntl(p[0], F_GETFL) & O_ASYNC, O_ASYNC);
	OK(write(p[1], "x", 1));
	siginfo_t si = await(SIG);
	EQ(si.si_code, POLL_IN);
	EQ(si.si_fd, p[0]);
	CHECK(si.si_band & POLL_IN);
	EQ(read(p[0], &c, 1), 1);
	async(p[0], false);
	OK(write(p[1], "x", 1));
	none(SIG);
}

TEST(without_owner_nobody_hears)
{
	int p[2];
	block(SIGIO);
	OK(pipe(p));
	async(p[0], true);
	OK(write(p[1], "x", 1));
	none(SIGIO);
}

TEST(plain_sigio_and_fioasync)
{
	int s[2], on = 1;
	block(SIGIO);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(fcntl(s[0], F_SETOWN, getpid()));
	OK(ioctl(s[0], FIOASYNC, &on));
	EQ(fcntl(s[0], F_GETFL) & O_ASYNC, O_ASYNC);
	OK(write(s[1], "x", 1));
	siginfo_t si = await(SIGIO);
	EQ(si.si_code, SI_KERNEL);
}

TEST(process_group_hears)
{
	int p[2], ready[2];
	char c;
	OK(pipe(ready));
	OK(pipe(p));
	block(SIG);
	pid_t child = OK(fork());
	if (!child) {
		OK(setpgid(0, 0));
		OK(write(ready[1], "r", 1));
		_exit(await(SIG).si_code == POLL_IN ? 0 : 1);
	}
	EQ(read(ready[0], &c, 1), 1);
	OK(fcntl(p[0], F_SETOWN, -child));
	EQ(fcntl(p[0], F_GETOWN), -child);
	OK(fcntl(p[0], F_SETSIG, SIG));
	async(p[0], true);
	OK(write(p[1], "x", 1));
	EQ(t_wait(child), 0);
	none(SIG);
}

TEST(duplicates_share_it_and_the_end_is_quiet)
{
	int p[2];
	block(SIG);
	OK(pipe(p));
	OK(fcntl(p[0], F_SETOWN, getpid()));
	OK(fcntl(p[0], F_SETSIG, SIG));
	async(p[0], true);
	int d = OK(dup(p[0]));
	OK(close(p[0]));
	OK(write(p[1], "x", 1));
	EQ(await(SIG).si_fd, p[0]); // the number under which it was asked for
	OK(close(d));
	signal(SIGPIPE, SIG_IGN);
	ERR(write(p[1], "x", 1), EPIPE);
	none(SIG);
}

TEST(terminal_hears_of_a_line)
{
	int m, s;
	block(SIG);
	OK(openpty(&m, &s, NULL, NULL, NULL));
	OK(fcntl(s, F_SETSIG, SIG));
	OK(fcntl(s, F_SETOWN, getpid()));
	async(s, true);
	OK(write(m, "line\n", 5));
	siginfo_t si = await(SIG);
	EQ(si.si_code, POLL_IN);
	EQ(si.si_fd, s);
}

TEST(kinds_without_it_take_the_flag)
{
	int e = OK(eventfd(0, 0));
	uint64_t one = 1;
	block(SIGIO);
	OK(fcntl(e, F_SETOWN, getpid()));
	async(e, true);
	OK(write(e, &one, 8));
	none(SIGIO);
}

TEST(tcp_data_and_urgent_data)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	block(SIG);
	block(SIGURG);
	OK(bind(l, (void *)&a, n));
	OK(listen(l, 1));
	OK(getsockname(l, (void *)&a, &n));
	OK(fcntl(l, F_SETOWN, getpid()));
	OK(fcntl(l, F_SETSIG, SIG));
	async(l, true);
	OK(connect(c, (void *)&a, n));
	EQ(await(SIG).si_fd, l);
	int s = OK(accept(l, NULL, NULL));
	OK(fcntl(s, F_SETOWN, getpid()));
	OK(send(c, "u", 1, MSG_OOB));
	await(SIGURG);
}

TEST_DIR(dnotify_once)
{
	int d = OK(open(".", O_RDONLY));
	block(SIG);
	OK(fcntl(d, F_SETSIG, SIG));
	OK(fcntl(d, F_NOTIFY, DN_CREATE | DN_DELETE));
	EQ(fcntl(d, F_GETOWN), getpid());
	t_put("a", "x");
	siginfo_t si = await(SIG);
	EQ(si.si_fd, d);
	EQ(si.si_code, POLL_MSG);
	OK(unlink("a"));
	none(SIG);
}

TEST_DIR(dnotify_again_and_again)
{
	int d = OK(open(".", O_RDONLY));
	block(SIG);
	OK(mkdir("sub", 0755));
	OK(fcntl(d, F_SETSIG, SIG));
	OK(fcntl(d, F_NOTIFY, DN_CREATE | DN_DELETE | DN_MULTISHOT));
	t_put("a", "x");
	await(SIG);
	t_put("a", "y"); // written, not created
	none(SIG);
	t_put("sub/b", "x"); // not in this directory
	none(SIG);
	OK(fcntl(d, F_NOTIFY, DN_MODIFY | DN_MULTISHOT)); // adds up
	t_put("a", "z");
	await(SIG);
	while (sigtimedwait(&(sigset_t){{1ul << (SIG - 1)}}, NULL, &(struct timespec){0, 50000000}) == SIG)
		;
	OK(unlink("a"));
	await(SIG);
	OK(fcntl(d, F_NOTIFY, 0));
	t_put("a", "x");
	none(SIG);
}

TEST_DIR(dnotify_rename_and_close)
{
	int d = OK(open(".", O_RDONLY));
	block(SIG);
	OK(mkdir("sub", 0755));
	t_put("a", "x");
	OK(fcntl(d, F_SETSIG, SIG));
	OK(fcntl(d, F_NOTIFY, DN_RENAME | DN_MULTISHOT));
	OK(rename("a", "b"));
	await(SIG);
	OK(rename("b", "sub/b")); // to another directory: no DN_RENAME
	none(SIG);
	OK(close(d));
	OK(rename("sub/b", "sub/c"));
	none(SIG);
}

TEST_DIR(dnotify_refuses)
{
	t_put("file", "x");
	int f = OK(open("file", O_RDONLY));
	ERR(fcntl(f, F_NOTIFY, DN_CREATE), ENOTDIR);
	OK(fcntl(f, F_NOTIFY, 0));
	int d = OK(open(".", O_RDONLY));
	OK(fcntl(d, F_NOTIFY, DN_MULTISHOT));
	EQ(fcntl(d, F_GETOWN), 0);
}
