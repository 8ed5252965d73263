// SPDX-License-Identifier: Apache-2.0
// Size and space of files: truncate, holes, fallocate, copying inside the kernel.
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/time.h>

#include "tests/kernel/t.h"

static off_t size(int fd)
{
	struct stat st;
	if (fstat(fd, &st))
		t_fail(__LINE__, "fstat: errno %d", errno);
	return st.st_size;
}

static bool zeroes(int fd, off_t from, size_t n)
{
	char *b = malloc(n);
	ssize_t got = pread(fd, b, n, from);
	for (size_t i = 0; i < n; i++)
		if (got != (ssize_t)n || b[i]) {
			free(b);
			return false;
		}
	free(b);
	return true;
}

TEST_DIR(truncate_shorter)
{
	t_put("f", "0123456789");
	OK(truncate("f", 4));
	STREQ(t_get("f"), "0123");
	ERR(truncate("f", -1), EINVAL);
	ERR(truncate("no", 0), ENOENT);
	ERR(truncate(".", 0), EISDIR);
}

TEST_DIR(truncate_longer_gives_zeroes)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(write(fd, "abc", 3), 3);
	OK(ftruncate(fd, 10000));
	EQ(size(fd), 10000);
	CHECK(zeroes(fd, 3, 9997));
	EQ(lseek(fd, 0, SEEK_CUR), 3);
}

TEST_DIR(truncate_forgets_old_bytes)
{
	// Bytes cut off must not come back when the file grows again.
	char buf[9000];
	memset(buf, 'x', sizeof(buf));
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	OK(ftruncate(fd, 100));
	OK(ftruncate(fd, 9000));
	CHECK(zeroes(fd, 100, 8900));
	OK(ftruncate(fd, 50));
	EQ(pwrite(fd, "y", 1, 8000), 1);
	CHECK(zeroes(fd, 50, 7950));
}

TEST_DIR(ftruncate_needs_write)
{
	t_put("f", "abc");
	int fd = OK(open("f", O_RDONLY)), p[2];
	ERR(ftruncate(fd, 0), EINVAL);
	OK(pipe(p));
	ERR(ftruncate(p[1], 0), EINVAL);
}

TEST_DIR(sparse_file)
{
	struct stat st;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(pwrite(fd, "end", 3, 1l << 30), 3);
	OK(fstat(fd, &st));
	EQ(st.st_size, (1l << 30) + 3);
	CHECK(st.st_blocks < 100000);
	CHECK(zeroes(fd, 12345, 100000));
	char b[4] = "";
	EQ(pread(fd, b, 3, 1l << 30), 3);
	STREQ(b, "end");
}

TEST_DIR(seek_data_and_hole)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(pwrite(fd, "x", 1, 1 << 20), 1);
	off_t d = lseek(fd, 0, SEEK_DATA);
	CHECK(d >= 0 && d <= 1 << 20);
	EQ(lseek(fd, 1 << 20, SEEK_DATA), 1 << 20);
	CHECK(lseek(fd, 1 << 20, SEEK_HOLE) == (1 << 20) + 1);
	ERR(lseek(fd, (1 << 20) + 1, SEEK_DATA), ENXIO);
}

TEST_DIR(fallocate_grows)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	OK(fallocate(fd, 0, 0, 10000));
	EQ(size(fd), 10000);
	CHECK(zeroes(fd, 0, 10000));
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 50000));
	EQ(size(fd), 10000);
	ERR(fallocate(fd, 0, -1, 10), EINVAL);
	ERR(fallocate(fd, 0, 0, 0), EINVAL);
	ZERO(posix_fallocate(fd, 0, 20000));
	EQ(size(fd), 20000);
}

// Memory that other files had before; one part of it is there already.
static void allocated_pages_are_zero(int a, int b, size_t size)
{
	static char buf[1 << 20];
	struct stat st;
	memset(buf, 'x', sizeof(buf));
	for (size_t at = 0; at < size; at += sizeof(buf))
		t_writen(a, buf, sizeof(buf));
	OK(ftruncate(a, 0));
	EQ(pwrite(b, "there", 5, 5 << 20), 5);
	OK(fallocate(b, 0, 4096, (off_t)size - 4096));
	OK(fstat(b, &st));
	EQ(st.st_size, size);
	CHECK((size_t)st.st_blocks * 512 >= size - 4096);
	for (size_t at = 0; at < size; at += sizeof(buf)) {
		EQ(t_readn(b, buf, sizeof(buf)), sizeof(buf));
		if (at == 5 << 20) {
			EQ(memcmp(buf, "there", 5), 0);
			memset(buf, 0, 5);
		}
		CHECK(!buf[0] && !memcmp(buf, buf + 1, sizeof(buf) - 1));
	}
	char *p = OK(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, b, 0));
	for (size_t at = 4096 + 17; at < size; at += 12345) {
		CHECK(p[at] == 0);
		p[at] = 'w';
	}
	EQ(pread(b, buf, 1, 4096 + 17 + 12345), 1);
	EQ(buf[0], 'w');
	OK(munmap(p, size));
	OK(ftruncate(b, 0));
}

TEST_DIR(fallocated_pages_are_zero)
{
	int a = OK(open("a", O_RDWR | O_CREAT, 0600)), b = OK(open("b", O_RDWR | O_CREAT, 0600));
	allocated_pages_are_zero(a, b, 48 << 20);
	OK(lseek(b, 0, SEEK_SET));
	OK(lseek(a, 0, SEEK_SET));
	allocated_pages_are_zero(a, OK(memfd_create("b", 0)), 48 << 20);
}

TEST_DIR(fallocate_punch_hole)
{
	char buf[16384];
	memset(buf, 'x', sizeof(buf));
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096) < 0 && errno == EOPNOTSUPP)
		SKIP("no hole punching here");
	CHECK(zeroes(fd, 4096, 4096));
	EQ(size(fd), 16384);
	EQ(pread(fd, buf, 2, 4095), 2);
	CHECK(buf[0] == 'x' && buf[1] == 0);
}

TEST_DIR(punch_behind_the_end)
{
	int files[] = {OK(memfd_create("m", 0)), OK(open("f", O_RDWR | O_CREAT, 0644))};
	for (int i = 0; i < 2; i++) {
		struct stat st;
		int fd = files[i];
		EQ(write(fd, "kept", 4), 4);
		OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 64 << 10));
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 16384)); // allocated, behind the end
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 40960, INT64_MAX - 40960));
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1l << 50, 100)); // never there
		OK(fstat(fd, &st));
		EQ(st.st_size, 4);
		if (!i) // other file systems may keep room in other ways
			EQ(st.st_blocks, (64 - 16 - 24) * 2);
		OK(ftruncate(fd, 64 << 10));
		CHECK(zeroes(fd, 4, (64 << 10) - 4));
		char *m = OK(mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
		m[4096] = 'x';
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, INT64_MAX - 2)); // mapped, and soon done
		CHECK(m[0] == 'k' && m[1] == 'e' && !m[2] && !m[4096]);
	}
}

TEST_DIR(offset_overflow)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	ERR(pwrite(fd, "x", 1, INT64_MAX), EINVAL);
	EQ(size(fd), 0);
}

TEST_DIR(sendfile_to_pipe_and_file)
{
	char buf[8] = "";
	int p[2];
	t_put("f", "0123456789");
	int in = OK(open("f", O_RDONLY)), out = OK(open("g", O_RDWR | O_CREAT, 0644));
	OK(pipe(p));
	EQ(sendfile(p[1], in, NULL, 4), 4);
	EQ(read(p[0], buf, 8), 4);
	CHECK(!memcmp(buf, "0123", 4));
	EQ(lseek(in, 0, SEEK_CUR), 4);
	off_t off = 2;
	EQ(sendfile(out, in, &off, 3), 3);
	EQ(off, 5);
	EQ(lseek(in, 0, SEEK_CUR), 4);
	EQ(sendfile(out, in, NULL, 100), 6);
	STREQ(t_get("g"), "234456789");
	EQ(sendfile(out, in, NULL, 100), 0);
	ERR(sendfile(in, out, NULL, 1), EBADF);
}

TEST_DIR(copy_file_range_copies)
{
	t_put("f", "0123456789");
	int in = OK(open("f", O_RDONLY)), out = OK(open("g", O_RDWR | O_CREAT, 0644));
	loff_t from = 3, to = 2;
	ssize_t n = copy_file_range(in, &from, out, &to, 4, 0);
	if (n < 0 && (errno == ENOSYS || errno == EXDEV || errno == EOPNOTSUPP))
		SKIP("no copy_file_range here");
	EQ(n, 4);
	EQ(from, 7);
	EQ(to, 6);
	EQ(lseek(in, 0, SEEK_CUR), 0);
	char b[8] = "";
	EQ(pread(out, b, 8, 0), 6);
	CHECK(!memcmp(b, "\0\0003456", 6));
}

// What the two files are is looked at before what they were opened for.
// The source ends where it ended before: neither is what has been copied behind its end copied again, nor is that an overlap.
TEST_DIR(copy_file_range_within_a_file)
{
	int fd = OK(open("within", O_RDWR | O_CREAT | O_TRUNC, 0600));
	off_t from = 1000, to = 10000;
	struct stat st;
	char b[4];

	EQ(write(fd, "abcd", 4), 4);
	EQ(pwrite(fd, "wxyz", 4, 9996), 4);
	ssize_t n = copy_file_range(fd, &from, fd, &to, 20000, 0);
	if (n < 0 && (errno == ENOSYS || errno == EOPNOTSUPP || errno == EXDEV))
		SKIP("no copy_file_range here");
	EQ(n, 9000);
	EQ(from, 10000);
	EQ(to, 19000);
	OK(fstat(fd, &st));
	EQ(st.st_size, 19000);
	EQ(pread(fd, b, 4, 18996), 4);
	EQ(memcmp(b, "wxyz", 4), 0);
	from = 19000;
	EQ(copy_file_range(fd, &from, fd, &to, 1, 0), 0);
	from = 0;
	to = 18999;
	ERR(copy_file_range(fd, &from, fd, &to, 30000, 0), EINVAL);
	close(fd);
}

TEST_DIR(copy_file_range_refuses_in_order)
{
	t_put("f", "x");
	int in = OK(open("f", O_RDONLY)), out = OK(open("g", O_WRONLY | O_CREAT, 0644)), dir = OK(open(".", O_RDONLY)), p[2];
	OK(pipe(p));
	ERR(copy_file_range(in, NULL, dir, NULL, 1, 0), EISDIR);
	ERR(copy_file_range(dir, NULL, out, NULL, 1, 0), EISDIR);
	ERR(copy_file_range(out, NULL, dir, NULL, 1, 0), EISDIR);
	ERR(copy_file_range(p[1], NULL, out, NULL, 1, 0), EINVAL);
	ERR(copy_file_range(out, NULL, in, NULL, 1, 0), EBADF);
	ERR(copy_file_range(-1, NULL, dir, NULL, 1, 0), EBADF);
}

TEST_DIR(clone_refuses_in_order)
{
	int pipes[2], a = OK(open("a", O_RDWR | O_CREAT, 0644)), d = OK(open(".", O_RDONLY));
	int ro = OK(open("a", O_RDONLY)), app = OK(open("b", O_RDWR | O_CREAT | O_APPEND, 0644)), wo = OK(open("b", O_WRONLY));
	int other = OK(open("/proc/self/status", O_RDONLY));
	OK(pipe(pipes));
	ERR(ioctl(a, FICLONE, -1), EBADF);
	ERR(ioctl(-1, FICLONE, a), EBADF);
	ERR(ioctl(a, FICLONE, other), EXDEV);
	ERR(ioctl(a, FICLONE, d), EISDIR);
	ERR(ioctl(ro, FICLONE, app), EBADF);
	ERR(ioctl(app, FICLONE, ro), EBADF);
	ERR(ioctl(a, FICLONE, wo), EBADF);
	ERR(ioctl(a, FICLONERANGE, NULL), EFAULT);
}

// Where the file system can: the clone has the contents, and changes of one are not seen in the other.
TEST_DIR(clones)
{
	enum { N = 300000 };
	char *buf = malloc(N), *got = malloc(N);
	for (int i = 0; i < N; i++)
		buf[i] = (char)(i * 7 + i / 4096);
	int a = OK(open("a", O_RDWR | O_CREAT, 0644)), b = OK(open("b", O_RDWR | O_CREAT, 0644));
	EQ(write(a, buf, N), N);
	EQ(pwrite(b, "what was there before", 21, 5000), 21);
	EQ(pread(b, got, 100, 0), 100); // in the cache
	char *before = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, b, 0);
	CHECK(before != MAP_FAILED && before[5000] == 'w');
	if (ioctl(b, FICLONE, a)) {
		EQ(errno, EOPNOTSUPP);
		return;
	}
	EQ(before[5000], buf[5000]);
	before[5000] ^= 1;
	EQ(pread(b, got, 1, 5000), 1);
	EQ(got[0], buf[5000] ^ 1);
	before[5000] ^= 1;
	EQ(size(b), N);
	EQ(pread(b, got, N, 0), N);
	CHECK(!memcmp(buf, got, N));
	EQ(pwrite(a, "changed", 7, 8000), 7);
	EQ(pwrite(b, "too", 3, 200000), 3);
	EQ(pread(b, got, 7, 8000), 7);
	CHECK(!memcmp(got, buf + 8000, 7));
	EQ(pread(a, got, 3, 200000), 3);
	CHECK(!memcmp(got, buf + 200000, 3));
	OK(fsync(a));
	OK(fsync(b));
	EQ(pread(b, got, 7, 8000), 7);
	CHECK(!memcmp(got, buf + 8000, 7));
	struct file_clone_range c = {.src_fd = a, .src_offset = 4096, .src_length = 8192, .dest_offset = 1 << 20};
	OK(ioctl(b, FICLONERANGE, &c));
	EQ(size(b), (1 << 20) + 8192);
	EQ(pread(b, got, 8192, 1 << 20), 8192);
	EQ(memcmp(got, buf + 4096, 8000 - 4096), 0);
	EQ(memcmp(got + 8000 - 4096, "changed", 7), 0);
	CHECK(zeroes(b, N, 4096));
	char *m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, b, 0);
	CHECK(m != MAP_FAILED && m[1] == buf[1]);
	OK(ftruncate(a, 0));
	EQ(pwrite(a, "short", 5, 0), 5);
	c = (struct file_clone_range){.src_fd = a, .src_offset = 1, .src_length = 4096};
	ERR(ioctl(b, FICLONERANGE, &c), EINVAL);
	EQ(m[1], buf[1]);
}

// Nobody stores what has no name, until it is cloned; what is around the clone stays; and nothing is cloned from the end on.
TEST_DIR(clones_of_nameless_files)
{
	char got[8192];
	int a = OK(open("a", O_RDWR | O_CREAT, 0644)), b = OK(open("b", O_RDWR | O_CREAT, 0644));
	char *buf = malloc(65536);
	memset(buf, 'a', 65536);
	OK(unlink("a"));
	EQ(write(a, buf, 65536), 65536);
	if (ioctl(b, FICLONE, a)) {
		EQ(errno, EOPNOTSUPP);
		return;
	}
	EQ(size(b), 65536);
	EQ(pread(b, got, 8192, 8192), 8192);
	CHECK(!memcmp(got, buf, 8192));
	memset(buf, 'b', 65536);
	OK(unlink("b"));
	EQ(pwrite(b, buf, 65536, 0), 65536);
	struct file_clone_range c = {.src_fd = a, .src_offset = 0, .src_length = 4096, .dest_offset = 4096};
	OK(ioctl(b, FICLONERANGE, &c));
	EQ(pread(b, got, 8192, 4096), 8192);
	CHECK(got[0] == 'a' && got[4095] == 'a' && !memcmp(got + 4096, buf, 4096));
	c = (struct file_clone_range){.src_fd = a, .src_offset = 65536, .dest_offset = 1 << 20};
	OK(ioctl(b, FICLONERANGE, &c));
	EQ(size(b), 65536);
}

TEST_DIR(splice_file_to_pipe_to_file)
{
	int p[2];
	t_put("f", "spliced");
	int in = OK(open("f", O_RDONLY)), out = OK(open("g", O_RDWR | O_CREAT, 0644));
	OK(pipe(p));
	ssize_t n = splice(in, NULL, p[1], NULL, 100, 0);
	if (n < 0 && errno == ENOSYS)
		SKIP("no splice here");
	EQ(n, 7);
	EQ(splice(p[0], NULL, out, NULL, 100, 0), 7);
	STREQ(t_get("g"), "spliced");
	ERR(splice(in, NULL, out, NULL, 1, 0), EINVAL);
}

TEST(memfd_basics)
{
	char b[8] = "";
	int fd = OK(memfd_create("name", MFD_CLOEXEC));
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EQ(write(fd, "hello", 5), 5);
	EQ(pread(fd, b, 8, 0), 5);
	STREQ(b, "hello");
	char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	m[0] = 'H';
	EQ(pread(fd, b, 1, 0), 1);
	EQ(b[0], 'H');
	ERR(memfd_create("x", 0x4000), EINVAL);
}

TEST(memfd_seals)
{
	int fd = OK(memfd_create("name", MFD_ALLOW_SEALING));
	OK(ftruncate(fd, 4096));
	OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE));
	EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_WRITE);
	ERR(write(fd, "x", 1), EPERM);
	ERR(ftruncate(fd, 0), EPERM);
	OK(ftruncate(fd, 8192));
	int g = OK(memfd_create("name", 0));
	ERR(fcntl(g, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
}

TEST_DIR(fadvise_and_readahead)
{
	t_put("f", "x");
	int fd = OK(open("f", O_RDONLY)), p[2];
	ZERO(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	ZERO(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
	OK(pipe(p));
	EQ(posix_fadvise(p[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
}

static volatile sig_atomic_t ticks;

static void tick(int sig)
{
	(void)sig;
	ticks++;
}

static void ticking(int us)
{
	struct itimerval v = {{0, us}, {0, us}};
	OK(setitimer(ITIMER_REAL, &v, NULL));
}

// A signal that has a handler waits for the end of what a file does: no EINTR, and nothing less than was asked for.
TEST_DIR(signals_wait_for_files)
{
	enum { SIZE = 32 << 20 };
	struct sigaction a = {.sa_handler = tick};
	char *buf = malloc(SIZE);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	OK(sigaction(SIGALRM, &a, NULL));
	memset(buf, 'x', SIZE);
	for (int i = 0; i < 3 || !ticks; i++) {
		OK(ftruncate(fd, 0));
		ticking(500);
		OK(fallocate(fd, 0, 0, 4 * SIZE));
		EQ(pwrite(fd, buf, SIZE, 0), SIZE);
		EQ(pread(fd, buf, SIZE, 0), SIZE);
		ticking(0);
	}
	EQ(buf[SIZE - 1], 'x');
	free(buf);
}
