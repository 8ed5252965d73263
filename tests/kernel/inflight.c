// SPDX-License-Identifier: Apache-2.0
// Descriptors that travel in messages of Unix sockets: cycles of them are collected.
#include "tests/kernel/t.h"
#include <poll.h>
#include <sys/socket.h>

static void send_fds(int s, const int *fds, int n)
{
	char ctl[CMSG_SPACE(sizeof(int) * 16)] = {0}, c = 'x';
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
	memcpy(CMSG_DATA(h), fds, sizeof(int) * (size_t)n);
	EQ(sendmsg(s, &m, 0), 1);
}

// The read end of this pipe sees the end of file when nobody holds the write end any more.
static void gone(int rfd)
{
	struct pollfd p = {rfd, POLLIN, 0};
	char c;
	for (int i = 0; i < 100; i++) { // closing any socket starts a collection; Linux does it in the background
		int s[2];
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		close(s[0]);
		close(s[1]);
		if (poll(&p, 1, 100) == 1)
			break;
	}
	EQ(poll(&p, 1, 0), 1);
	EQ(read(rfd, &c, 1), 0);
}

TEST(socket_sent_through_itself)
{
	int s[2], p[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(p));
	int fds[2] = {s[1], p[1]};
	send_fds(s[0], fds, 2);
	close(s[0]);
	close(s[1]);
	close(p[1]);
	gone(p[0]);
}

TEST(two_that_hold_each_other)
{
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		int a[2], b[2], p[2];
		OK(socketpair(AF_UNIX, type, 0, a));
		OK(socketpair(AF_UNIX, type, 0, b));
		OK(pipe(p));
		send_fds(a[0], b, 2);
		int fds[3] = {a[0], a[1], p[1]};
		send_fds(b[0], fds, 3);
		for (int i = 0; i < 2; i++) {
			close(a[i]);
			close(b[i]);
		}
		close(p[1]);
		gone(p[0]);
	}
}

TEST(a_living_cycle_stays)
{
	int a[2], b[2], p[2];
	char ctl[256], c;
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, a));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, b));
	OK(pipe(p));
	send_fds(a[0], b, 2);
	int fds[2] = {a[0], p[1]};
	send_fds(b[0], fds, 2);
	close(a[0]);
	close(b[0]);
	close(b[1]);
	close(p[1]);
	// a[1] is ours: through it everything can still be had
	for (int i = 0; i < 3; i++) {
		int s[2];
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		close(s[0]);
		close(s[1]);
	}
	struct pollfd pf = {p[0], POLLIN, 0};
	EQ(poll(&pf, 1, 50), 0);
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	EQ(recvmsg(a[1], &m, 0), 1);
	int got[2];
	memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
	m.msg_controllen = sizeof(ctl);
	EQ(recvmsg(got[1], &m, 0), 1);
	memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
	OK(write(got[1], "y", 1));
	EQ(read(p[0], &c, 1), 1);
}

TEST(many_cycles)
{
	// far more than may be in flight at once: they must be given back
	for (int i = 0; i < 20000; i++) {
		int s[2];
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		send_fds(s[0], s, 2);
		close(s[0]);
		close(s[1]);
	}
}

TEST(listener_queue)
{
	// a connection that was never accepted, with a descriptor of its own listener in it
	int p[2];
	struct { unsigned short family; char path[20]; } un = {AF_UNIX, ""};
	snprintf(un.path + 1, sizeof(un.path) - 1, "in%d", getpid());
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(l, (void *)&un, sizeof(un)));
	OK(listen(l, 5));
	OK(connect(c, (void *)&un, sizeof(un)));
	OK(pipe(p));
	int fds[3] = {l, c, p[1]};
	send_fds(c, fds, 3);
	close(l);
	close(c);
	close(p[1]);
	gone(p[0]);
}
