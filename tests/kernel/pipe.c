// SPDX-License-Identifier: Apache-2.0
// Pipes and FIFOs: data, ends, capacity, atomic writes, SIGPIPE.
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "tests/kernel/t.h"

TEST(data_in_order)
{
	char buf[10] = "";
	int p[2];
	OK(pipe(p));
	EQ(write(p[1], "abc", 3), 3);
	EQ(write(p[1], "def", 3), 3);
	EQ(read(p[0], buf, 4), 4);
	STREQ(buf, "abcd");
	EQ(read(p[0], buf, 10), 2);
	CHECK(!memcmp(buf, "ef", 2));
}

// As sudo, su and container runtimes do, for whom they start.
TEST(mode_and_owner)
{
	struct stat st;
	int p[2], s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(pipe(p));
	OK(fchmod(p[1], 0644));
	OK(fchmod(s, 0600));
	OK(fchown(p[1], geteuid(), getegid()));
	OK(fstat(p[0], &st));
	EQ(st.st_mode, S_IFIFO | 0644u);
	EQ(st.st_uid, geteuid());
	OK(fstat(s, &st));
	EQ(st.st_mode, S_IFSOCK | 0600u);
	ERR(ftruncate(p[1], 0), EINVAL);
}

TEST(wrong_end)
{
	char c;
	int p[2];
	OK(pipe(p));
	ERR(read(p[1], &c, 1), EBADF);
	ERR(write(p[0], &c, 1), EBADF);
}

TEST(eof_after_last_writer)
{
	char c;
	int p[2];
	OK(pipe(p));
	int w2 = OK(dup(p[1]));
	EQ(write(p[1], "x", 1), 1);
	close(p[1]);
	OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
	EQ(read(p[0], &c, 1), 1);
	ERR(read(p[0], &c, 1), EAGAIN);
	close(w2);
	EQ(read(p[0], &c, 1), 0);
	EQ(read(p[0], &c, 1), 0);
}

TEST(eof_wakes_sleeping_reader)
{
	int p[2];
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		char c;
		close(p[1]);
		_exit(read(p[0], &c, 1) == 0 ? 0 : 1);
	}
	t_sleep_ms(20);
	close(p[1]);
	EQ(t_wait(pid), 0);
}

TEST(epipe_and_sigpipe)
{
	int p[2];
	OK(pipe(p));
	close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	ERR(write(p[1], "x", 1), EPIPE);
	pid_t pid = OK(fork());
	if (!pid) {
		signal(SIGPIPE, SIG_DFL);
		if (write(p[1], "x", 1))
			_exit(1);
		_exit(2);
	}
	EQ(t_wait(pid), 128 + SIGPIPE);
}

static volatile int got_pipe;
static void on_pipe(int s)
{
	got_pipe = s;
}

TEST(sigpipe_handler_then_epipe)
{
	int p[2];
	OK(pipe(p));
	close(p[0]);
	t_on(SIGPIPE, on_pipe, 0);
	ERR(write(p[1], "x", 1), EPIPE);
	EQ(got_pipe, SIGPIPE);
}

TEST(reader_gone_wakes_sleeping_writer)
{
	int p[2];
	static char big[1 << 20];
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		close(p[0]);
		signal(SIGPIPE, SIG_IGN);
		ssize_t n = write(p[1], big, sizeof(big));
		if (n >= 0)
			n = write(p[1], big, 1);
		_exit(n == -1 && errno == EPIPE ? 0 : 1);
	}
	char c;
	close(p[1]);
	EQ(read(p[0], &c, 1), 1);
	close(p[0]);
	EQ(t_wait(pid), 0);
}

TEST(capacity_64k)
{
	static char b[4096];
	int p[2], n = 0;
	ssize_t r;
	OK(pipe2(p, O_NONBLOCK));
	while ((r = write(p[1], b, sizeof(b))) > 0)
		n += (int)r;
	EQ(errno, EAGAIN);
	EQ(n, 65536);
	EQ(fcntl(p[0], F_GETPIPE_SZ), 65536);
}

TEST(nonblock_empty_and_full)
{
	char c;
	int p[2];
	OK(pipe2(p, O_NONBLOCK));
	ERR(read(p[0], &c, 1), EAGAIN);
	static char b[65536];
	EQ(write(p[1], b, 65536), 65536);
	ERR(write(p[1], b, 1), EAGAIN);
	EQ(read(p[0], b, 4096), 4096);
	EQ(write(p[1], b, 4096), 4096);
	ERR(write(p[1], b, 4096), EAGAIN);
}

TEST(nonblock_big_write_is_partial)
{
	static char b[100000];
	int p[2];
	OK(pipe2(p, O_NONBLOCK));
	EQ(write(p[1], b, sizeof(b)), 65536);
}

TEST(nonblock_atomic_write_is_all_or_nothing)
{
	static char b[65536];
	int p[2];
	OK(pipe2(p, O_NONBLOCK));
	EQ(write(p[1], b, 65536 - 100), 65536 - 100);
	ssize_t n = write(p[1], b, PIPE_BUF);
	CHECK(n == -1 && errno == EAGAIN);
}

TEST(set_size)
{
	int p[2];
	static char b[1 << 18];
	OK(pipe2(p, O_NONBLOCK));
	EQ(fcntl(p[1], F_SETPIPE_SZ, 1 << 18), 1 << 18);
	EQ(fcntl(p[0], F_GETPIPE_SZ), 1 << 18);
	EQ(write(p[1], b, sizeof(b)), sizeof(b));
	ERR(fcntl(p[1], F_SETPIPE_SZ, 4096), EBUSY);
	EQ(t_readn(p[0], b, sizeof(b)), sizeof(b));
	EQ(fcntl(p[1], F_SETPIPE_SZ, 4096), 4096);
}

TEST(big_transfer_between_processes)
{
	enum { N = 8 << 20 };
	int p[2];
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		uint32_t b[2500], v = 0;
		while (v < N / 4) {
			size_t k = 0;
			for (; k < 2500 && v < N / 4; k++)
				b[k] = v++;
			t_writen(p[1], b, k * 4);
		}
		_exit(0);
	}
	close(p[1]);
	uint32_t b[1777], v = 0;
	size_t n;
	while ((n = t_readn(p[0], b, sizeof(b))) > 0)
		for (size_t i = 0; i < n / 4; i++)
			CHECK(b[i] == v++);
	EQ(v, N / 4);
	EQ(t_wait(pid), 0);
}

TEST(atomic_writes_of_many_writers)
{
	// Writes of up to PIPE_BUF bytes are never interleaved.
	enum { WRITERS = 4, LINES = 200, LEN = 1000 };
	int p[2];
	OK(pipe(p));
	for (int w = 0; w < WRITERS; w++)
		if (OK(fork()) == 0) {
			char line[LEN];
			memset(line, 'a' + w, LEN);
			for (int i = 0; i < LINES; i++)
				if (write(p[1], line, LEN) != LEN)
					_exit(1);
			_exit(0);
		}
	close(p[1]);
	char line[LEN];
	int seen[WRITERS] = {0};
	while (t_readn(p[0], line, LEN) == LEN) {
		for (int i = 1; i < LEN; i++)
			CHECK(line[i] == line[0]);
		seen[line[0] - 'a']++;
	}
	for (int w = 0; w < WRITERS; w++) {
		EQ(seen[w], LINES);
		int st;
		OK(wait(&st));
		EQ(st, 0);
	}
}

TEST(ping_pong)
{
	int a[2], b[2];
	OK(pipe(a));
	OK(pipe(b));
	pid_t pid = OK(fork());
	if (!pid) {
		int v;
		close(a[1]);
		while (t_readn(a[0], &v, sizeof(v)) == sizeof(v)) {
			v++;
			t_writen(b[1], &v, sizeof(v));
		}
		_exit(0);
	}
	for (int i = 0; i < 2000; i++) {
		int v = i;
		t_writen(a[1], &v, sizeof(v));
		EQ(t_readn(b[0], &v, sizeof(v)), sizeof(v));
		EQ(v, i + 1);
	}
	close(a[1]);
	EQ(t_wait(pid), 0);
}

TEST(write_blocks_until_read)
{
	static char b[65536 + 4096];
	int p[2];
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		close(p[0]);
		_exit(write(p[1], b, sizeof(b)) == sizeof(b) ? 0 : 1);
	}
	t_sleep_ms(20);
	EQ(waitpid(pid, NULL, WNOHANG), 0);
	EQ(t_readn(p[0], b, sizeof(b)), sizeof(b));
	EQ(t_wait(pid), 0);
}

TEST(chain_of_pipes)
{
	// a | b | c | ... as a shell makes it
	int in[2];
	OK(pipe(in));
	int first = in[1], prev = in[0];
	for (int i = 0; i < 10; i++) {
		int p[2];
		OK(pipe(p));
		if (OK(fork()) == 0) {
			char c;
			close(first);
			close(p[0]);
			while (t_readn(prev, &c, 1) == 1) {
				c++;
				t_writen(p[1], &c, 1);
			}
			_exit(0);
		}
		close(prev);
		close(p[1]);
		prev = p[0];
	}
	char buf[8] = "";
	t_writen(first, "abc", 3);
	close(first);
	EQ(t_readn(prev, buf, 8), 3);
	STREQ(buf, "klm");
	for (int i = 0; i < 10; i++)
		OK(wait(NULL));
	ERR(wait(NULL), ECHILD);
}

TEST_DIR(fifo_between_processes)
{
	OK(mkfifo("p", 0600));
	pid_t pid = OK(fork());
	if (!pid) {
		int fd = OK(open("p", O_WRONLY)); // waits for the reader
		t_writen(fd, "through", 7);
		_exit(0);
	}
	char buf[16] = "";
	int fd = OK(open("p", O_RDONLY));
	EQ(t_readn(fd, buf, sizeof(buf)), 7);
	STREQ(buf, "through");
	EQ(t_wait(pid), 0);
}

TEST_DIR(fifo_nonblocking_open)
{
	char c;
	OK(mkfifo("p", 0600));
	ERR(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
	int r = OK(open("p", O_RDONLY | O_NONBLOCK));
	EQ(read(r, &c, 1), 0); // no writer yet
	int w = OK(open("p", O_WRONLY | O_NONBLOCK));
	ERR(read(r, &c, 1), EAGAIN);
	EQ(write(w, "x", 1), 1);
	EQ(read(r, &c, 1), 1);
}

TEST_DIR(fifo_read_write_open)
{
	char c;
	OK(mkfifo("p", 0600));
	int fd = OK(open("p", O_RDWR));
	EQ(write(fd, "x", 1), 1);
	EQ(read(fd, &c, 1), 1);
	EQ(c, 'x');
}

TEST(reopen_through_proc)
{
	// bash's <(...) opens /dev/fd/N of a pipe.
	char path[64], c;
	int p[2];
	OK(pipe(p));
	EQ(write(p[1], "x", 1), 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	int fd = OK(open(path, O_RDONLY));
	EQ(read(fd, &c, 1), 1);
	EQ(c, 'x');
}

TEST(reopen_through_proc_after_writer_is_gone)
{
	char path[64], c;
	int p[2];
	OK(pipe(p));
	EQ(write(p[1], "x", 1), 1);
	close(p[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	int fd = OK(open(path, O_RDONLY)); // a FIFO would wait for a writer here
	EQ(read(fd, &c, 1), 1);
	EQ(read(fd, &c, 1), 0);
}

TEST(pipe_through_exec)
{
	int p[2];
	char buf[16] = "";
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		OK(dup2(p[1], 1));
		execl(t_self, t_self, "--helper", "hello", NULL);
		_exit(1);
	}
	close(p[1]);
	EQ(t_readn(p[0], buf, sizeof(buf)), 6);
	STREQ(buf, "hello\n");
	EQ(t_wait(pid), 7);
}

HELPER(hello)
{
	t_writen(1, "hello\n", 6);
	return 7;
}

TEST(packet_mode)
{
	char buf[16];
	int p[2];
	if (pipe2(p, O_DIRECT) < 0 && errno == EINVAL)
		SKIP("no packet pipes here");
	EQ(write(p[1], "abc", 3), 3);
	EQ(write(p[1], "de", 2), 2);
	EQ(read(p[0], buf, 16), 3);
	EQ(read(p[0], buf, 1), 1);
	OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
	ERR(read(p[0], buf, 16), EAGAIN);
}
