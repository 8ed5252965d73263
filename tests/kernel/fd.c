// SPDX-License-Identifier: Apache-2.0
// Descriptors: dup and fcntl, flags, sharing of the open file, limits, record locks and flock.
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "tests/kernel/t.h"

TEST_DIR(dup_shares_offset)
{
	char c;
	t_put("f", "abc");
	int a = OK(open("f", O_RDONLY)), b = OK(dup(a));
	EQ(read(a, &c, 1), 1);
	EQ(read(b, &c, 1), 1);
	EQ(c, 'b');
	close(a);
	EQ(read(b, &c, 1), 1);
	EQ(c, 'c');
}

TEST_DIR(dup_shares_status_flags)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644)), b = OK(dup(a));
	OK(fcntl(a, F_SETFL, O_APPEND | O_NONBLOCK));
	EQ(fcntl(b, F_GETFL) & (O_APPEND | O_NONBLOCK), O_APPEND | O_NONBLOCK);
	OK(fcntl(a, F_SETFD, FD_CLOEXEC));
	EQ(fcntl(b, F_GETFD), 0);
}

TEST_DIR(dup2_rules)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644)), p[2];
	OK(pipe(p));
	EQ(dup2(a, 100), 100);
	EQ(dup2(a, a), a);
	EQ(dup2(a, p[0]), p[0]);
	struct stat st;
	OK(fstat(p[0], &st));
	CHECK(S_ISREG(st.st_mode));
	signal(SIGPIPE, SIG_IGN);
	ERR(write(p[1], "x", 1), EPIPE); // the reader was closed
	ERR(dup2(999, 5), EBADF);
	ERR(dup2(a, -1), EBADF);
	ERR(dup2(a, 1 << 30), EBADF);
}

TEST_DIR(dup3_rules)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(dup3(a, 100, O_CLOEXEC), 100);
	EQ(fcntl(100, F_GETFD), FD_CLOEXEC);
	ERR(dup3(a, a, 0), EINVAL);
	ERR(dup3(a, 101, O_APPEND), EINVAL);
}

TEST_DIR(dupfd)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(fcntl(a, F_DUPFD, 100), 100);
	EQ(fcntl(a, F_DUPFD, 100), 101);
	EQ(fcntl(a, F_DUPFD_CLOEXEC, 100), 102);
	EQ(fcntl(102, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(101, F_GETFD), 0);
	ERR(fcntl(a, F_DUPFD, -1), EINVAL);
}

TEST(pipe2_flags)
{
	int p[2];
	OK(pipe2(p, O_CLOEXEC | O_NONBLOCK));
	EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	CHECK(fcntl(p[1], F_GETFL) & O_NONBLOCK);
	EQ(fcntl(p[0], F_GETFL) & O_ACCMODE, O_RDONLY);
	EQ(fcntl(p[1], F_GETFL) & O_ACCMODE, O_WRONLY);
	ERR(pipe2(p, 0x40000000), EINVAL);
}

TEST(fcntl_unknown)
{
	ERR(fcntl(0, 12345, 0), EINVAL);
}

TEST_DIR(nofile_limit_bites)
{
	struct rlimit old, rl;
	int f = OK(open("f", O_RDWR | O_CREAT, 0644)), n = 0, p[2];
	OK(getrlimit(RLIMIT_NOFILE, &old));
	rl = old;
	rl.rlim_cur = 40;
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	int last = f, fd;
	while ((fd = dup(f)) >= 0) {
		last = fd;
		n++;
	}
	EQ(errno, EMFILE);
	EQ(last, 39);
	ERR(open("f", O_RDONLY), EMFILE);
	ERR(pipe(p), EMFILE);
	ERR(fcntl(f, F_DUPFD, 40), EINVAL);
	ERR(dup2(f, 40), EBADF);
	close(last);
	ERR(pipe(p), EMFILE); // one is not enough for two
	EQ(dup(f), 39);
}

TEST_DIR(thousand_descriptors)
{
	struct rlimit rl;
	OK(getrlimit(RLIMIT_NOFILE, &rl));
	if (rl.rlim_cur < 1100) {
		rl.rlim_cur = rl.rlim_max < 1100 ? rl.rlim_max : 1100;
		OK(setrlimit(RLIMIT_NOFILE, &rl));
	}
	if (rl.rlim_cur < 1050)
		SKIP("limit too low");
	int fds[1000];
	char c = 'x';
	for (int i = 0; i < 1000; i++)
		fds[i] = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(write(fds[0], &c, 1), 1);
	EQ(read(fds[999], &c, 1), 1);
	for (int i = 0; i < 1000; i++)
		OK(close(fds[i]));
}

TEST(ioctl_fionbio_fionread_fioclex)
{
	int p[2], n = -1, on = 1;
	OK(pipe(p));
	EQ(write(p[1], "abc", 3), 3);
	OK(ioctl(p[0], FIONREAD, &n));
	EQ(n, 3);
	OK(ioctl(p[0], FIONBIO, &on));
	CHECK(fcntl(p[0], F_GETFL) & O_NONBLOCK);
	OK(ioctl(p[0], FIOCLEX));
	EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	OK(ioctl(p[0], FIONCLEX));
	EQ(fcntl(p[0], F_GETFD), 0);
	ERR(ioctl(p[0], TCGETS, &n), ENOTTY);
	ERR(ioctl(999, FIONREAD, &n), EBADF);
}

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

// Runs fn in a child that has the file open; its exit code.
static int in_child(int (*fn)(int fd))
{
	pid_t p = OK(fork());
	if (!p)
		_exit(fn(open("f", O_RDWR)));
	return t_wait(p);
}

static int try_lock_10_20(int fd)
{
	struct flock l = range(F_WRLCK, 10, 10);
	return fcntl(fd, F_SETLK, &l) == 0 ? 0 : errno;
}

static int try_read_lock_10_20(int fd)
{
	struct flock l = range(F_RDLCK, 10, 10);
	return fcntl(fd, F_SETLK, &l) == 0 ? 0 : errno;
}

TEST_DIR(record_lock_excludes_others)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	struct flock l = range(F_WRLCK, 15, 1);
	OK(fcntl(fd, F_SETLK, &l));
	OK(fcntl(fd, F_SETLK, &l)); // own locks never conflict
	EQ(in_child(try_lock_10_20), EAGAIN);
	l = range(F_UNLCK, 0, 0);
	OK(fcntl(fd, F_SETLK, &l));
	EQ(in_child(try_lock_10_20), 0);
}

TEST_DIR(record_lock_readers_share)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	struct flock l = range(F_RDLCK, 0, 0);
	OK(fcntl(fd, F_SETLK, &l));
	EQ(in_child(try_read_lock_10_20), 0);
	EQ(in_child(try_lock_10_20), EAGAIN);
}

TEST_DIR(record_lock_split_ranges)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	struct flock l = range(F_WRLCK, 0, 100);
	OK(fcntl(fd, F_SETLK, &l));
	l = range(F_UNLCK, 10, 10);
	OK(fcntl(fd, F_SETLK, &l));
	EQ(in_child(try_lock_10_20), 0);
	pid_t p = OK(fork());
	if (!p) {
		int g = open("f", O_RDWR);
		struct flock q = range(F_WRLCK, 0, 5), r = range(F_WRLCK, 10, 20);
		if (fcntl(g, F_SETLK, &q) == 0 || fcntl(g, F_SETLK, &r) == 0)
			_exit(1);
		OK(fcntl(g, F_GETLK, &r));
		_exit(r.l_type == F_WRLCK && r.l_start == 20 && r.l_len == 80 && r.l_pid == getppid() ? 0 : 2);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(record_lock_getlk_free)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	struct flock l = range(F_WRLCK, 0, 10);
	OK(fcntl(fd, F_GETLK, &l));
	EQ(l.l_type, F_UNLCK);
}

TEST_DIR(record_lock_any_close_drops)
{
	// POSIX: closing any descriptor of the file drops all of the process's locks on it.
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), other = OK(open("f", O_RDONLY));
	struct flock l = range(F_WRLCK, 10, 10);
	OK(fcntl(fd, F_SETLK, &l));
	EQ(in_child(try_lock_10_20), EAGAIN);
	close(other);
	EQ(in_child(try_lock_10_20), 0);
}

TEST_DIR(record_lock_not_inherited_and_dropped_at_exit)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), p[2], q[2];
	char c;
	OK(pipe(p));
	OK(pipe(q));
	pid_t pid = OK(fork());
	if (!pid) {
		struct flock l = range(F_WRLCK, 10, 10);
		OK(fcntl(fd, F_SETLK, &l));
		t_writen(p[1], "x", 1);
		t_readn(q[0], &c, 1);
		_exit(0);
	}
	t_readn(p[0], &c, 1);
	struct flock l = range(F_WRLCK, 10, 10);
	ERR(fcntl(fd, F_SETLK, &l), EAGAIN);
	t_writen(q[1], "x", 1);
	EQ(t_wait(pid), 0);
	OK(fcntl(fd, F_SETLK, &l));
}

TEST_DIR(record_lock_wait)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), p[2];
	char c;
	OK(pipe(p));
	struct flock l = range(F_WRLCK, 0, 1);
	OK(fcntl(fd, F_SETLK, &l));
	pid_t pid = OK(fork());
	if (!pid) {
		int g = open("f", O_RDWR);
		t_writen(p[1], "x", 1);
		struct flock m = range(F_WRLCK, 0, 1);
		OK(fcntl(g, F_SETLKW, &m)); // waits until the parent lets go
		_exit(0);
	}
	t_readn(p[0], &c, 1);
	t_sleep_ms(20);
	EQ(waitpid(pid, NULL, WNOHANG), 0);
	l.l_type = F_UNLCK;
	OK(fcntl(fd, F_SETLK, &l));
	EQ(t_wait(pid), 0);
}

TEST_DIR(record_lock_deadlock_found)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), p[2];
	char c;
	OK(pipe(p));
	struct flock l = range(F_WRLCK, 0, 1);
	OK(fcntl(fd, F_SETLK, &l));
	pid_t pid = OK(fork());
	if (!pid) {
		int g = open("f", O_RDWR);
		struct flock m = range(F_WRLCK, 1, 1);
		OK(fcntl(g, F_SETLK, &m));
		t_writen(p[1], "x", 1);
		m = range(F_WRLCK, 0, 1);
		_exit(fcntl(g, F_SETLKW, &m) == 0 ? 0 : errno);
	}
	t_readn(p[0], &c, 1);
	l = range(F_WRLCK, 1, 1);
	int r = fcntl(fd, F_SETLKW, &l), e = errno;
	if (r == -1) {
		EQ(e, EDEADLK);
		l = range(F_UNLCK, 0, 0);
		OK(fcntl(fd, F_SETLK, &l));
		EQ(t_wait(pid), 0);
	} else {
		EQ(t_wait(pid), EDEADLK);
	}
}

TEST_DIR(record_lock_mode_check)
{
	t_put("f", "x");
	int r = OK(open("f", O_RDONLY)), w = OK(open("f", O_WRONLY));
	struct flock l = range(F_WRLCK, 0, 1);
	ERR(fcntl(r, F_SETLK, &l), EBADF);
	l = range(F_RDLCK, 0, 1);
	ERR(fcntl(w, F_SETLK, &l), EBADF);
	l = range(77, 0, 1);
	ERR(fcntl(w, F_SETLK, &l), EINVAL);
}

TEST_DIR(open_file_locks)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644)), b = OK(open("f", O_RDWR));
	struct flock l = range(F_WRLCK, 0, 10);
	if (fcntl(a, F_OFD_SETLK, &l) < 0 && errno == EINVAL)
		SKIP("no open file locks here");
	ERR(fcntl(b, F_OFD_SETLK, &l), EAGAIN);
	close(a);
	OK(fcntl(b, F_OFD_SETLK, &l));
}

TEST_DIR(flock_between_open_files)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644)), b = OK(open("f", O_RDWR)), c = OK(dup(a));
	OK(flock(a, LOCK_EX));
	ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	close(a);
	ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK); // the copy holds it
	OK(flock(c, LOCK_SH));
	OK(flock(b, LOCK_SH | LOCK_NB));
	OK(flock(c, LOCK_UN));
	OK(flock(b, LOCK_EX | LOCK_NB));
	ERR(flock(b, 16), EINVAL);
}

TEST_DIR(flock_shared_with_child)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644));
	OK(flock(a, LOCK_EX));
	pid_t p = OK(fork());
	if (!p) {
		int b = open("f", O_RDWR);
		if (flock(b, LOCK_EX | LOCK_NB) == 0)
			_exit(1);
		OK(flock(a, LOCK_UN)); // the same open file: unlocks for the parent too
		OK(flock(b, LOCK_EX | LOCK_NB));
		_exit(0);
	}
	EQ(t_wait(p), 0);
	OK(flock(a, LOCK_EX | LOCK_NB));
}

TEST_DIR(flock_wait)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644));
	OK(flock(a, LOCK_EX));
	pid_t p = OK(fork());
	if (!p) {
		close(a);
		int b = OK(open("f", O_RDWR));
		_exit(flock(b, LOCK_EX) == 0 ? 0 : 1);
	}
	t_sleep_ms(20);
	EQ(waitpid(p, NULL, WNOHANG), 0);
	OK(flock(a, LOCK_UN));
	EQ(t_wait(p), 0);
}
