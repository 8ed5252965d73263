// SPDX-License-Identifier: Apache-2.0
// Unix sockets: streams, datagrams, packets, names, passing of descriptors and credentials.
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "tests/kernel/t.h"

static struct sockaddr_un name(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return a;
}

#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)

static int listener(const char *path, int type)
{
	struct sockaddr_un a = name(path);
	int s = socket(AF_UNIX, type, 0);
	if (s < 0 || bind(s, ADDR(a)) || listen(s, 5))
		t_fail(__LINE__, "listener: errno %d", errno);
	return s;
}

static int caller(const char *path, int type)
{
	struct sockaddr_un a = name(path);
	int s = socket(AF_UNIX, type, 0);
	if (s < 0 || connect(s, ADDR(a)))
		t_fail(__LINE__, "connect: errno %d", errno);
	return s;
}

TEST(pair_stream)
{
	char b[16] = "";
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EQ(send(s[0], "abc", 3, 0), 3);
	EQ(write(s[0], "def", 3), 3);
	EQ(recv(s[1], b, 4, 0), 4);
	STREQ(b, "abcd");
	EQ(read(s[1], b, 16), 2);
	EQ(write(s[1], "back", 4), 4);
	EQ(read(s[0], b, 16), 4);
	close(s[1]);
	EQ(read(s[0], b, 16), 0);
	signal(SIGPIPE, SIG_IGN);
	ERR(write(s[0], "x", 1), EPIPE);
	ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
}

TEST(sigpipe_on_socket)
{
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	close(s[1]);
	pid_t p = OK(fork());
	if (!p) {
		signal(SIGPIPE, SIG_DFL);
		if (send(s[0], "x", 1, MSG_NOSIGNAL) != -1)
			_exit(1);
		(void)!write(s[0], "x", 1);
		_exit(2);
	}
	EQ(t_wait(p), 128 + SIGPIPE);
}

TEST(pair_datagram)
{
	char b[16];
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	EQ(send(s[0], "abc", 3, 0), 3);
	EQ(send(s[0], "", 0, 0), 0);
	EQ(send(s[0], "defgh", 5, 0), 5);
	EQ(recv(s[1], b, 16, 0), 3);
	EQ(recv(s[1], b, 16, 0), 0);
	EQ(recv(s[1], b, 2, MSG_TRUNC), 5); // the rest is cut off
	ERR(recv(s[1], b, 16, MSG_DONTWAIT), EAGAIN);
}

TEST(pair_seqpacket)
{
	char b[16];
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	EQ(send(s[0], "abc", 3, 0), 3);
	EQ(send(s[0], "de", 2, 0), 2);
	EQ(recv(s[1], b, 16, 0), 3);
	EQ(recv(s[1], b, 16, 0), 2);
	close(s[0]);
	EQ(recv(s[1], b, 16, 0), 0);
}

TEST(flags_at_creation)
{
	int s[2];
	char c;
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s));
	EQ(fcntl(s[0], F_GETFD), FD_CLOEXEC);
	ERR(read(s[0], &c, 1), EAGAIN);
	ERR(socket(AF_UNIX, 6, 0), ESOCKTNOSUPPORT);
	ERR(socket(77, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(AF_UNIX, SOCK_STREAM, 77), EPROTONOSUPPORT);
}

TEST_DIR(listen_connect_accept)
{
	char b[8] = "";
	int l = listener("sock", SOCK_STREAM), c = caller("sock", SOCK_STREAM);
	struct stat st;
	OK(stat("sock", &st));
	CHECK(S_ISSOCK(st.st_mode));
	struct sockaddr_un peer;
	socklen_t len = sizeof(peer);
	int s = OK(accept(l, (struct sockaddr *)&peer, &len));
	EQ(peer.sun_family, AF_UNIX);
	EQ(len, sizeof(sa_family_t)); // the caller has no name
	EQ(write(c, "hi", 2), 2);
	EQ(read(s, b, 8), 2);
	STREQ(b, "hi");
	len = sizeof(peer);
	OK(getpeername(c, (struct sockaddr *)&peer, &len));
	STREQ(peer.sun_path, "sock");
	len = sizeof(peer);
	OK(getsockname(s, (struct sockaddr *)&peer, &len));
	STREQ(peer.sun_path, "sock");
}

TEST_DIR(connect_errors)
{
	struct sockaddr_un a = name("no");
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect(s, ADDR(a)), ENOENT);
	int l = listener("sock", SOCK_STREAM);
	close(l);
	a = name("sock");
	ERR(connect(s, ADDR(a)), ECONNREFUSED); // the name is left over
	int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(bind(t, ADDR(a)), EADDRINUSE);
	t_put("f", "x");
	a = name("f");
	ERR(connect(s, ADDR(a)), ECONNREFUSED);
	ERR(listen(s, 1), EINVAL);
	char c;
	ERR(read(s, &c, 1), EINVAL);
	ERR(send(s, "x", 1, MSG_NOSIGNAL), ENOTCONN);
	ERR(accept(s, NULL, NULL), EINVAL);
	int l2 = listener("sock2", SOCK_SEQPACKET);
	a = name("sock2");
	ERR(connect(s, ADDR(a)), EPROTOTYPE);
	close(l2);
}

TEST_DIR(accept_nonblocking_and_poll)
{
	int l = listener("sock", SOCK_STREAM);
	OK(fcntl(l, F_SETFL, O_NONBLOCK));
	ERR(accept(l, NULL, NULL), EAGAIN);
	struct pollfd p = {l, POLLIN, 0};
	EQ(poll(&p, 1, 0), 0);
	int c = caller("sock", SOCK_STREAM);
	EQ(poll(&p, 1, -1), 1);
	int s = OK(accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	CHECK(fcntl(s, F_GETFL) & O_NONBLOCK);
	CHECK(!(fcntl(c, F_GETFL) & O_NONBLOCK));
}

TEST_DIR(server_and_many_clients)
{
	int l = listener("sock", SOCK_STREAM);
	for (int i = 0; i < 10; i++)
		if (OK(fork()) == 0) {
			int s = caller("sock", SOCK_STREAM), v = i;
			t_writen(s, &v, sizeof(v));
			EQ(t_readn(s, &v, sizeof(v)), sizeof(v));
			_exit(v == i * 2 ? 0 : 1);
		}
	for (int i = 0; i < 10; i++) {
		int s = OK(accept(l, NULL, NULL)), v;
		EQ(t_readn(s, &v, sizeof(v)), sizeof(v));
		v *= 2;
		t_writen(s, &v, sizeof(v));
		close(s);
	}
	int st;
	for (int i = 0; i < 10; i++) {
		OK(wait(&st));
		EQ(st, 0);
	}
}

TEST_DIR(backlog_full)
{
	struct sockaddr_un a = name("sock");
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(l, ADDR(a)));
	OK(listen(l, 1));
	int n = 0;
	for (;; n++) {
		int s = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
		if (connect(s, ADDR(a))) {
			EQ(errno, EAGAIN);
			break;
		}
		CHECK(n < 20);
	}
	CHECK(n >= 1);
}

TEST(abstract_name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "kt-%d", getpid());
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect(c, (struct sockaddr *)&a, len), ECONNREFUSED);
	OK(bind(l, (struct sockaddr *)&a, len));
	OK(listen(l, 5));
	OK(connect(c, (struct sockaddr *)&a, len));
	struct sockaddr_un got;
	socklen_t glen = sizeof(got);
	OK(getsockname(l, (struct sockaddr *)&got, &glen));
	EQ(glen, len);
	CHECK(!memcmp(&got, &a, len));
	int d = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(bind(d, (struct sockaddr *)&a, len), EADDRINUSE);
	close(l);
	OK(bind(d, (struct sockaddr *)&a, len)); // gone with its socket
}

TEST_DIR(datagram_names)
{
	char b[16] = "";
	struct sockaddr_un a = name("a"), z = name("z"), from;
	int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), r = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(bind(s, ADDR(a)));
	OK(bind(r, ADDR(z)));
	EQ(sendto(s, "hello", 5, 0, ADDR(z)), 5);
	socklen_t len = sizeof(from);
	EQ(recvfrom(r, b, sizeof(b), 0, (struct sockaddr *)&from, &len), 5);
	STREQ(from.sun_path, "a");
	EQ(sendto(r, "back", 4, 0, (struct sockaddr *)&from, len), 4);
	EQ(recv(s, b, sizeof(b), 0), 4);
	ERR(send(s, "x", 1, 0), ENOTCONN);
	OK(connect(s, ADDR(z)));
	EQ(send(s, "y", 1, 0), 1);
	EQ(recv(r, b, sizeof(b), 0), 1);
	close(r);
	ERR(send(s, "y", 1, 0), ECONNREFUSED);
	OK(unlink("z"));
	ERR(sendto(s, "x", 1, 0, ADDR(z)), ENOENT);
}

// Sends n descriptors with one byte.
static void send_fds(int s, const int *fds, int n)
{
	char data = 'F', ctl[CMSG_SPACE(sizeof(int) * 10)] = "";
	struct iovec v = {&data, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)n);
	if (sendmsg(s, &m, 0) != 1)
		t_fail(__LINE__, "sendmsg: errno %d", errno);
}

// Receives up to 10 descriptors; their number.
static int recv_fds(int s, int *fds, int flags)
{
	char data, ctl[CMSG_SPACE(sizeof(int) * 10)];
	struct iovec v = {&data, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	if (recvmsg(s, &m, flags) != 1)
		t_fail(__LINE__, "recvmsg: errno %d", errno);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (!c)
		return 0;
	if (c->cmsg_type != SCM_RIGHTS)
		t_fail(__LINE__, "control type %d", c->cmsg_type);
	memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
}

TEST_DIR(rights_sender_closes_at_once)
{
	char b[8] = "";
	int s[2], got[10];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	t_put("f", "content");
	int fd = OK(open("f", O_RDONLY));
	send_fds(s[0], &fd, 1);
	close(fd);
	OK(unlink("f"));
	EQ(recv_fds(s[1], got, 0), 1);
	EQ(read(got[0], b, 7), 7);
	STREQ(b, "content");
	EQ(fcntl(got[0], F_GETFD), 0);
}

TEST(rights_between_processes)
{
	char b[8] = "";
	int s[2], got[10];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t p = OK(fork());
	if (!p) {
		int q[2];
		OK(pipe(q));
		t_writen(q[1], "via", 3);
		send_fds(s[0], q, 2);
		_exit(0); // its table is gone before the parent reads
	}
	EQ(t_wait(p), 0);
	EQ(recv_fds(s[1], got, MSG_CMSG_CLOEXEC), 2);
	EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	EQ(read(got[0], b, 8), 3);
	STREQ(b, "via");
	OK(fcntl(got[0], F_SETFL, O_NONBLOCK));
	ERR(read(got[0], b, 8), EAGAIN); // got[1] holds it open
	close(got[1]);
	EQ(read(got[0], b, 8), 0);
}

TEST(rights_unread_are_closed)
{
	char c;
	int s[2], q[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(q));
	send_fds(s[0], &q[1], 1);
	close(q[1]);
	close(s[0]);
	close(s[1]); // the message dies, and the last writer with it
	EQ(read(q[0], &c, 1), 0);
}

TEST(rights_plain_read_drops_them)
{
	char c;
	int s[2], q[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(q));
	send_fds(s[0], &q[1], 1);
	close(q[1]);
	EQ(read(s[1], &c, 1), 1);
	EQ(read(q[0], &c, 1), 0);
}

TEST(rights_truncated)
{
	char data, ctl[CMSG_SPACE(sizeof(int))];
	int s[2], q[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(q));
	int three[3] = {q[0], q[1], q[0]};
	send_fds(s[0], three, 3);
	struct iovec v = {&data, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = CMSG_LEN(sizeof(int))};
	EQ(recvmsg(s[1], &m, 0), 1);
	CHECK(m.msg_flags & MSG_CTRUNC);
}

TEST(rights_bad_descriptor)
{
	char data = 'x', ctl[CMSG_SPACE(sizeof(int))] = "";
	int s[2], bad = 999;
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct iovec v = {&data, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &bad, sizeof(int));
	ERR(sendmsg(s[0], &m, 0), EBADF);
}

TEST(credentials)
{
	int s[2], on = 1;
	char data, ctl[CMSG_SPACE(sizeof(struct ucred))];
	struct ucred uc;
	socklen_t len = sizeof(uc);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &uc, &len));
	EQ(uc.pid, getpid());
	EQ(uc.uid, geteuid());
	OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	EQ(write(s[0], "x", 1), 1);
	struct iovec v = {&data, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	EQ(recvmsg(s[1], &m, 0), 1);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_type == SCM_CREDENTIALS);
	memcpy(&uc, CMSG_DATA(c), sizeof(uc));
	EQ(uc.pid, getpid());
	EQ(uc.gid, getegid());
}

TEST(half_shutdown)
{
	char b[8];
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EQ(write(s[0], "last", 4), 4);
	OK(shutdown(s[0], SHUT_WR));
	EQ(read(s[1], b, 8), 4);
	EQ(read(s[1], b, 8), 0);
	EQ(write(s[1], "still", 5), 5);
	EQ(read(s[0], b, 8), 5);
	ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	OK(shutdown(s[0], SHUT_RD));
	EQ(read(s[0], b, 8), 0);
	ERR(shutdown(s[0], 9), EINVAL);
}

TEST(peek)
{
	char b[8] = "";
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EQ(write(s[0], "abc", 3), 3);
	EQ(recv(s[1], b, 2, MSG_PEEK), 2);
	EQ(recv(s[1], b, 8, MSG_PEEK), 3);
	EQ(recv(s[1], b, 8, 0), 3);
	STREQ(b, "abc");
	ERR(recv(s[1], b, 8, MSG_DONTWAIT | MSG_PEEK), EAGAIN);
}

TEST(waitall)
{
	char b[8] = "";
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t p = OK(fork());
	if (!p) {
		t_writen(s[0], "ab", 2);
		t_sleep_ms(10);
		t_writen(s[0], "cd", 2);
		_exit(0);
	}
	EQ(recv(s[1], b, 4, MSG_WAITALL), 4);
	STREQ(b, "abcd");
	EQ(t_wait(p), 0);
}

TEST(vectors_and_mmsg)
{
	char a[4] = "", b[4] = "", x[4] = "", y[4] = "";
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	struct iovec o1[2] = {{"ab", 2}, {"c", 1}}, o2[1] = {{"de", 2}};
	struct mmsghdr out[2] = {{{.msg_iov = o1, .msg_iovlen = 2}, 0}, {{.msg_iov = o2, .msg_iovlen = 1}, 0}};
	EQ(sendmmsg(s[0], out, 2, 0), 2);
	EQ(out[0].msg_len, 3);
	struct iovec i1[2] = {{a, 1}, {b, 3}}, i2[2] = {{x, 3}, {y, 3}};
	struct mmsghdr in[2] = {{{.msg_iov = i1, .msg_iovlen = 2}, 0}, {{.msg_iov = i2, .msg_iovlen = 2}, 0}};
	EQ(recvmmsg(s[1], in, 2, 0, NULL), 2);
	STREQ(a, "a");
	STREQ(b, "bc");
	STREQ(x, "de");
	EQ(in[1].msg_len, 2);
}

TEST(big_transfer)
{
	enum { N = 4 << 20 };
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t p = OK(fork());
	char *b = malloc(N);
	if (!p) {
		for (int i = 0; i < N; i++)
			b[i] = (char)(i * 7 + (i >> 12));
		t_writen(s[0], b, N);
		_exit(0);
	}
	close(s[0]);
	EQ(t_readn(s[1], b, N), N);
	for (int i = 0; i < N; i++)
		CHECK(b[i] == (char)(i * 7 + (i >> 12)));
	char c;
	EQ(read(s[1], &c, 1), 0);
	EQ(t_wait(p), 0);
}

TEST(socket_options)
{
	int s[2], v = 0;
	socklen_t len = sizeof(v);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, &len));
	EQ(v, SOCK_STREAM);
	OK(getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &v, &len));
	EQ(v, AF_UNIX);
	OK(getsockopt(s[0], SOL_SOCKET, SO_ERROR, &v, &len));
	EQ(v, 0);
	OK(getsockopt(s[0], SOL_SOCKET, SO_ACCEPTCONN, &v, &len));
	EQ(v, 0);
	OK(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &len));
	CHECK(v > 0);
	ERR(getsockopt(s[0], SOL_SOCKET, 9999, &v, &len), ENOPROTOOPT);
	ERR(setsockopt(0, SOL_SOCKET, SO_SNDBUF, &v, len), ENOTSOCK);
	struct timeval tv = {0, 20000};
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	char c;
	ERR(read(s[0], &c, 1), EAGAIN);
	EQ(write(s[1], "abc", 3), 3);
	OK(ioctl(s[0], FIONREAD, &v));
	EQ(v, 3);
}

TEST_DIR(bind_in_other_directory_and_unlink)
{
	OK(mkdir("d", 0755));
	int l = listener("d/sock", SOCK_STREAM);
	OK(rename("d", "e"));
	caller("e/sock", SOCK_STREAM);
	OK(unlink("e/sock"));
	struct sockaddr_un a = name("e/sock");
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect(s, ADDR(a)), ENOENT);
	OK(accept(l, NULL, NULL)); // the call made before still waits
	ERR(open("e", O_RDWR), EISDIR);
}

TEST_DIR(open_of_socket_file)
{
	listener("sock", SOCK_STREAM);
	ERR(open("sock", O_RDWR), ENXIO);
}

TEST(close_wakes_blocked_peer)
{
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t p = OK(fork());
	if (!p) {
		char c;
		close(s[0]);
		_exit(read(s[1], &c, 1) == 0 ? 0 : 1);
	}
	close(s[1]);
	t_sleep_ms(10);
	close(s[0]);
	EQ(t_wait(p), 0);
}

TEST(unread_data_resets_peer)
{
	char c;
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EQ(write(s[0], "x", 1), 1);
	close(s[1]);
	ERR(read(s[0], &c, 1), ECONNRESET);
}
