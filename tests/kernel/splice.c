// SPDX-License-Identifier: Apache-2.0
// splice, tee, vmsplice, sendfile, copy_file_range: their corners.
#include "tests/kernel/t.h"
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int p[2], q[2];
static char buf[1 << 17] __attribute__((aligned(4096)));

static void pipes(void)
{
	OK(pipe(p));
	OK(pipe(q));
}

TEST_DIR(errors)
{
	loff_t off = 0, neg = -1;
	pipes();
	int f = OK(open("f", O_RDWR | O_CREAT, 0600)), ro = OK(open("f", O_RDONLY)), d = OK(open(".", O_RDONLY));
	int ap = OK(open("f", O_RDWR | O_APPEND));
	OK(write(f, "0123456789", 10));
	ERR(splice(999, NULL, p[1], NULL, 1, 0), EBADF);
	ERR(splice(p[0], NULL, 999, NULL, 1, 0), EBADF);
	ERR(splice(p[1], NULL, q[1], NULL, 1, 0), EBADF);
	ERR(splice(p[0], NULL, q[0], NULL, 1, 0), EBADF);
	ERR(splice(f, NULL, f, NULL, 1, 0), EINVAL);
	ERR(splice(p[0], &off, q[1], NULL, 1, 0), ESPIPE);
	ERR(splice(f, &off, p[1], &off, 1, 0), ESPIPE);
	ERR(splice(p[0], NULL, p[1], NULL, 1, 0), EINVAL);
	ERR(splice(f, &neg, p[1], NULL, 1, 0), EINVAL);
	ERR(splice(f, NULL, p[1], NULL, 1, 0x100), EINVAL);
	ERR(splice(d, NULL, p[1], NULL, 1, 0), EINVAL);
	OK(write(p[1], "abc", 3));
	ERR(splice(p[0], NULL, ro, NULL, 1, 0), EBADF);
	ERR(splice(p[0], NULL, ap, NULL, 1, 0), EINVAL);
	EQ(splice(p[0], NULL, f, NULL, 0, 0), 0);
	ERR(splice(f, (void *)8, p[1], NULL, 1, 0), EFAULT);
	ERR(tee(f, p[1], 1, 0), EINVAL);
	ERR(tee(p[0], p[1], 1, 0), EINVAL);
	ERR(tee(q[0], p[1], 1, SPLICE_F_NONBLOCK), EAGAIN);
	EQ(tee(p[0], q[1], 0, 0), 0);
	struct iovec v = {buf, 1};
	ERR(vmsplice(f, &v, 1, 0), EBADF);
	ERR(vmsplice(p[1], &v, 2000, 0), EINVAL);
	ERR(vmsplice(p[1], &v, 1, 0x100), EINVAL);
	EQ(vmsplice(p[1], &v, 0, 0), 0);
}

TEST_DIR(offsets)
{
	loff_t in = 2, out = 5;
	pipes();
	int f = OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(write(f, "0123456789", 10));
	EQ(splice(f, &in, p[1], NULL, 4, 0), 4);
	EQ(in, 6);
	EQ(lseek(f, 0, SEEK_CUR), 10);
	int g = OK(open("g", O_RDWR | O_CREAT, 0600)); // another file: what lies in the pipe are f's own pages
	OK(write(g, "xxxxxxxxxx", 10));
	EQ(splice(p[0], NULL, g, &out, 100, 0), 4);
	EQ(out, 9);
	EQ(lseek(g, 0, SEEK_CUR), 10);
	EQ(pread(g, buf, 20, 0), 10);
	EQ(memcmp(buf, "xxxxx2345x", 10), 0);
	OK(lseek(f, 1, SEEK_SET));
	EQ(splice(f, NULL, p[1], NULL, 3, 0), 3);
	EQ(lseek(f, 0, SEEK_CUR), 4);
	in = 10;
	EQ(splice(f, &in, p[1], NULL, 3, 0), 0);
	in = 1000;
	EQ(splice(f, &in, p[1], NULL, 3, 0), 0);
}

TEST(empty_and_full)
{
	pipes();
	ERR(splice(p[0], NULL, q[1], NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
	OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
	ERR(splice(p[0], NULL, q[1], NULL, 1, 0), EAGAIN);
	OK(write(p[1], "abc", 3));
	OK(fcntl(q[1], F_SETFL, O_NONBLOCK));
	while (write(q[1], buf, 4096) > 0)
		;
	ERR(splice(p[0], NULL, q[1], NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
	ERR(tee(p[0], q[1], 1, SPLICE_F_NONBLOCK), EAGAIN);
	// a writer-less pipe ends
	int e[2];
	OK(pipe(e));
	close(e[1]);
	int o[2];
	OK(pipe(o));
	EQ(splice(e[0], NULL, o[1], NULL, 1, 0), 0);
	EQ(tee(e[0], o[1], 1, 0), 0);
	// nobody reads
	signal(SIGPIPE, SIG_IGN);
	close(o[0]);
	ERR(splice(p[0], NULL, o[1], NULL, 1, 0), EPIPE);
	struct iovec v = {buf, 1};
	ERR(vmsplice(o[1], &v, 1, 0), EPIPE);
}

static int got_pipe;
static void on_pipe(int sig)
{
	(void)sig;
	got_pipe = 1;
}

TEST_DIR(sigpipe)
{
	pipes();
	t_on(SIGPIPE, on_pipe, 0);
	int f = OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(write(f, "abc", 3));
	loff_t off = 0;
	close(p[0]);
	ERR(splice(f, &off, p[1], NULL, 3, 0), EPIPE);
	CHECK(got_pipe);
}

TEST(sockets)
{
	int s[2];
	pipes();
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(write(p[1], "through", 7));
	EQ(splice(p[0], NULL, s[0], NULL, 100, 0), 7);
	EQ(splice(s[1], NULL, q[1], NULL, 100, 0), 7);
	EQ(read(q[0], buf, 100), 7);
	EQ(memcmp(buf, "through", 7), 0);
	ERR(splice(s[1], NULL, q[1], NULL, 100, SPLICE_F_NONBLOCK), EAGAIN);
	close(s[0]);
	EQ(splice(s[1], NULL, q[1], NULL, 100, 0), 0);
}

TEST(tee_keeps)
{
	pipes();
	OK(write(p[1], "0123456789", 10));
	EQ(tee(p[0], q[1], 4, 0), 4);
	EQ(tee(p[0], q[1], 100, 0), 10);
	EQ(read(p[0], buf, 100), 10);
	EQ(read(q[0], buf, 100), 14);
	EQ(memcmp(buf, "01230123456789", 14), 0);
}

TEST(vmsplice_both_ways)
{
	struct iovec v[2] = {{(char *)"abc", 3}, {(char *)"defg", 4}}, in = {buf, 100};
	pipes();
	EQ(vmsplice(p[1], v, 2, 0), 7);
	EQ(vmsplice(p[0], &in, 1, 0), 7);
	EQ(memcmp(buf, "abcdefg", 7), 0);
	ERR(vmsplice(p[0], &in, 1, SPLICE_F_NONBLOCK), EAGAIN);
	v[0] = (struct iovec){buf, sizeof(buf)};
	EQ(vmsplice(p[1], v, 1, SPLICE_F_NONBLOCK), 65536);
	ERR(vmsplice(p[1], v, 1, SPLICE_F_NONBLOCK), EAGAIN);
}

TEST_DIR(big)
{
	pipes();
	int f = OK(open("f", O_RDWR | O_CREAT, 0600)), g = OK(open("g", O_RDWR | O_CREAT, 0600));
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 7 + i / 256);
	for (int i = 0; i < 16; i++)
		OK(write(f, buf, sizeof(buf)));
	OK(lseek(f, 0, SEEK_SET));
	pid_t pid = fork();
	if (!pid) {
		close(p[0]);
		long n;
		while ((n = splice(f, NULL, p[1], NULL, 1 << 20, SPLICE_F_MOVE | SPLICE_F_MORE)) > 0)
			;
		_exit(n != 0);
	}
	close(p[1]);
	long n;
	while ((n = OK(splice(p[0], NULL, g, NULL, 1 << 20, 0))) > 0)
		;
	EQ(t_wait(pid), 0);
	static char other[sizeof(buf)];
	for (int i = 0; i < 16; i++) {
		EQ(pread(g, other, sizeof(buf), i * (long)sizeof(buf)), sizeof(buf));
		EQ(memcmp(buf, other, sizeof(buf)), 0);
	}
}

TEST_DIR(sendfile_corners)
{
	off_t off = 3;
	int s[2];
	pipes();
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	int f = OK(open("f", O_RDWR | O_CREAT, 0600)), g = OK(open("g", O_RDWR | O_CREAT, 0600)), ap = OK(open("g", O_RDWR | O_APPEND));
	OK(write(f, "0123456789", 10));
	EQ(sendfile(s[0], f, &off, 4), 4);
	EQ(off, 7);
	EQ(lseek(f, 0, SEEK_CUR), 10);
	EQ(read(s[1], buf, 100), 4);
	EQ(sendfile(s[0], f, NULL, 4), 0);
	OK(lseek(f, 8, SEEK_SET));
	EQ(sendfile(g, f, NULL, 100), 2);
	EQ(lseek(g, 0, SEEK_CUR), 2);
	EQ(sendfile(p[1], f, NULL, 0), 0);
	off = 0;
	ERR(sendfile(ap, f, &off, 4), EINVAL);
	ERR(sendfile(s[0], p[0], &off, 4), ESPIPE);
	off = -1;
	ERR(sendfile(s[0], f, &off, 4), EINVAL);
	ERR(sendfile(s[0], 999, NULL, 4), EBADF);
	int wo = OK(open("f", O_WRONLY));
	ERR(sendfile(s[0], wo, NULL, 4), EBADF);
	// a full socket that does not block takes what fits, then nothing
	int z = OK(open("z", O_RDWR | O_CREAT, 0600));
	OK(ftruncate(z, 4 << 20));
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	off = 0;
	long n, total = 0;
	while ((n = sendfile(s[0], z, &off, 4 << 20)) > 0)
		total += n;
	EQ(errno, EAGAIN);
	EQ(off, total);
	CHECK(total > 0 && total < 4 << 20);
}

TEST_DIR(sendfile_from_pipe)
{
	// Since 5.12 a pipe can be the source of splice only
	pipes();
	int f = OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(write(p[1], "abc", 3));
	ERR(sendfile(f, p[0], NULL, 3), EINVAL);
}
