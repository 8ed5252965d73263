// SPDX-License-Identifier: Apache-2.0
// Files: open and its flags, read, write, seek, vectors, append, permissions.
#include <sys/uio.h>

#include "tests/kernel/t.h"

TEST_DIR(write_then_read)
{
	char buf[16] = "";
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(write(fd, "hello", 5), 5);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(read(fd, buf, sizeof(buf)), 5);
	STREQ(buf, "hello");
	EQ(read(fd, buf, sizeof(buf)), 0);
}

TEST_DIR(open_missing)
{
	ERR(open("no", O_RDONLY), ENOENT);
	ERR(open("no/f", O_RDWR | O_CREAT, 0644), ENOENT);
	ERR(open("", O_RDONLY), ENOENT);
}

TEST_DIR(open_through_file)
{
	t_put("f", "x");
	ERR(open("f/x", O_RDONLY), ENOTDIR);
	ERR(open("f/", O_RDONLY), ENOTDIR);
	ERR(open("f/.", O_RDONLY), ENOTDIR);
}

TEST_DIR(open_excl)
{
	close(OK(open("f", O_RDWR | O_CREAT | O_EXCL, 0644)));
	ERR(open("f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	OK(symlink("nowhere", "l"));
	ERR(open("l", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
}

TEST_DIR(open_trunc)
{
	t_put("f", "something long");
	int fd = OK(open("f", O_WRONLY | O_TRUNC));
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_size, 0);
	t_put("f", "abc");
	close(OK(open("f", O_RDONLY)));
	STREQ(t_get("f"), "abc");
}

TEST_DIR(open_directory_flag)
{
	t_put("f", "x");
	OK(mkdir("d", 0755));
	ERR(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	OK(open("d", O_RDONLY | O_DIRECTORY));
	ERR(open("d", O_WRONLY), EISDIR);
	ERR(open("d", O_RDWR), EISDIR);
	ERR(open("d", O_RDONLY | O_CREAT, 0644), EISDIR);
}

TEST_DIR(open_nofollow)
{
	t_put("f", "x");
	OK(symlink("f", "l"));
	ERR(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	OK(open("f", O_RDONLY | O_NOFOLLOW));
	OK(open("l", O_RDONLY));
}

TEST_DIR(open_path)
{
	t_put("f", "x");
	int fd = OK(open("f", O_PATH));
	char c;
	struct stat st;
	ERR(read(fd, &c, 1), EBADF);
	OK(fstat(fd, &st));
	EQ(st.st_size, 1);
}

TEST_DIR(open_cloexec)
{
	int a = OK(open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	int b = OK(open("f", O_RDWR));
	EQ(fcntl(a, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(b, F_GETFD), 0);
}

TEST_DIR(open_lowest_number)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644)), b = OK(open("f", O_RDONLY)), c = OK(open("f", O_RDONLY));
	CHECK(a < b && b < c);
	close(b);
	EQ(open("f", O_RDONLY), b);
	close(a);
	close(b);
	EQ(open("f", O_RDONLY), a);
}

TEST_DIR(open_access_modes)
{
	char c = 'x';
	t_put("f", "abc");
	int r = OK(open("f", O_RDONLY)), w = OK(open("f", O_WRONLY));
	ERR(write(r, &c, 1), EBADF);
	ERR(read(w, &c, 1), EBADF);
	EQ(fcntl(r, F_GETFL) & O_ACCMODE, O_RDONLY);
	EQ(fcntl(w, F_GETFL) & O_ACCMODE, O_WRONLY);
}

TEST_DIR(open_mode_and_umask)
{
	struct stat st;
	umask(027);
	close(OK(open("f", O_RDWR | O_CREAT, 0666)));
	OK(stat("f", &st));
	EQ(st.st_mode & 07777, 0640);
	OK(mkdir("d", 0777));
	OK(stat("d", &st));
	EQ(st.st_mode & 07777, 0750);
	EQ(umask(0), 027);
}

TEST_DIR(open_long_names)
{
	char name[300];
	memset(name, 'a', sizeof(name));
	name[256] = 0;
	ERR(open(name, O_RDWR | O_CREAT, 0644), ENAMETOOLONG);
	name[255] = 0;
	OK(open(name, O_RDWR | O_CREAT, 0644));
	char *path = malloc(5000);
	memset(path, '/', 5000);
	path[4999] = 0;
	ERR(open(path, O_RDONLY), ENAMETOOLONG);
	for (int i = 0; i < 2000; i++)
		memcpy(path + 2 * i, "./", 2);
	strcpy(path + 4000, "f");
	OK(open(path, O_RDWR | O_CREAT, 0644));
}

// What else is wrong is said first, in Linux's order.
TEST_DIR(long_names_and_other_errors)
{
	char name[400] = "d/";
	memset(name + 2, 'n', 300);
	OK(mkdir("d", 0700));
	t_put("f", "x");
	ERR(rename(name, "f"), ENAMETOOLONG);
	ERR(rename("none", name), ENOENT);
	ERR(rename("f", name), ENAMETOOLONG);
	ERR(rename("d/.", name), EBUSY);
	ERR(rename(name, "d/.."), EBUSY);
	ERR(rename(name, "/proc/self"), EXDEV);
	ERR(link("f", name), ENAMETOOLONG);
	ERR(symlink("f", name), ENAMETOOLONG);
	ERR(mkdir(name, 0755), ENAMETOOLONG);
	ERR(unlink(name), ENAMETOOLONG);
	ERR(rmdir(name), ENAMETOOLONG);
	if (geteuid())
		return;
	OK(chmod(".", 0755));
	OK(seteuid(1234));
	ERR(access(name, F_OK), ENAMETOOLONG); // by the real user
	ERR(open(name, O_RDONLY), EACCES);
	ERR(mkdir(name, 0755), EACCES);
}

TEST_DIR(open_tmpfile)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);
	if (fd < 0 && errno == EOPNOTSUPP)
		SKIP("no O_TMPFILE here");
	CHECK(fd >= 0);
	EQ(write(fd, "x", 1), 1);
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_size, 1);
}

TEST_DIR(open_slashes_and_dots)
{
	OK(mkdir("d", 0755));
	t_put("d/f", "x");
	OK(open("d//f", O_RDONLY));
	OK(open("./d/../d/./f", O_RDONLY));
	int r = OK(open("/..", O_RDONLY));
	struct stat a, b;
	OK(fstat(r, &a));
	OK(stat("/", &b));
	EQ(a.st_ino, b.st_ino);
}

TEST_DIR(openat_relative)
{
	OK(mkdir("d", 0755));
	int d = OK(open("d", O_RDONLY | O_DIRECTORY));
	int fd = OK(openat(d, "f", O_RDWR | O_CREAT, 0644));
	EQ(write(fd, "in d", 4), 4);
	STREQ(t_get("d/f"), "in d");
	ERR(openat(fd, "x", O_RDONLY), ENOTDIR);
	ERR(openat(999, "x", O_RDONLY), EBADF);
	OK(openat(999, "/", O_RDONLY));
}

TEST_DIR(openat_of_removed_directory)
{
	OK(mkdir("d", 0755));
	int d = OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(rmdir("d"));
	ERR(openat(d, "f", O_RDWR | O_CREAT, 0644), ENOENT);
}

TEST_DIR(append_goes_to_end)
{
	t_put("f", "abc");
	int a = OK(open("f", O_RDWR | O_APPEND)), b = OK(open("f", O_WRONLY | O_APPEND));
	EQ(write(a, "1", 1), 1);
	EQ(write(b, "2", 1), 1);
	EQ(lseek(a, 0, SEEK_SET), 0);
	EQ(write(a, "3", 1), 1);
	EQ(lseek(a, 0, SEEK_CUR), 6);
	STREQ(t_get("f"), "abc123");
}

TEST_DIR(append_set_by_fcntl)
{
	t_put("f", "abc");
	int fd = OK(open("f", O_RDWR));
	OK(fcntl(fd, F_SETFL, O_APPEND));
	EQ(write(fd, "d", 1), 1);
	OK(fcntl(fd, F_SETFL, 0));
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(write(fd, "A", 1), 1);
	STREQ(t_get("f"), "Abcd");
}

TEST_DIR(lseek_rules)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(write(fd, "0123456789", 10), 10);
	EQ(lseek(fd, 3, SEEK_SET), 3);
	EQ(lseek(fd, 2, SEEK_CUR), 5);
	EQ(lseek(fd, -1, SEEK_END), 9);
	EQ(lseek(fd, 100, SEEK_END), 110);
	ERR(lseek(fd, -1, SEEK_SET), EINVAL);
	ERR(lseek(fd, -200, SEEK_CUR), EINVAL);
	ERR(lseek(fd, 0, 77), EINVAL);
	EQ(lseek(fd, 0, SEEK_CUR), 110);
}

TEST(lseek_not_seekable)
{
	int p[2];
	OK(pipe(p));
	ERR(lseek(p[0], 0, SEEK_SET), ESPIPE);
	char c;
	ERR(pread(p[0], &c, 1, 0), ESPIPE);
	ERR(lseek(999, 0, SEEK_SET), EBADF);
}

TEST_DIR(pread_pwrite_leave_offset)
{
	char buf[8] = "";
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(pwrite(fd, "abcdef", 6, 0), 6);
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	EQ(pread(fd, buf, 3, 2), 3);
	STREQ(buf, "cde");
	EQ(pread(fd, buf, 3, 100), 0);
	ERR(pread(fd, buf, 1, -1), EINVAL);
	EQ(lseek(fd, 0, SEEK_CUR), 0);
}

TEST_DIR(vectors)
{
	char a[3] = "", b[10] = "";
	struct iovec w[3] = {{"ab", 2}, {"", 0}, {"cdef", 4}}, r[2] = {{a, 2}, {b, 9}};
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(writev(fd, w, 3), 6);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(readv(fd, r, 2), 6);
	STREQ(a, "ab");
	STREQ(b, "cdef");
	EQ(pwritev(fd, w, 1, 4), 2);
	EQ(preadv(fd, r, 2, 3), 3);
	STREQ(t_get("f"), "abcdab");
	EQ(readv(fd, r, 0), 0);
}

TEST_DIR(read_directory_is_eisdir)
{
	char c;
	int fd = OK(open(".", O_RDONLY));
	ERR(read(fd, &c, 1), EISDIR);
	ERR(write(fd, &c, 1), EBADF);
}

TEST_DIR(big_file_contents)
{
	enum { N = 3 << 20 };
	uint32_t *m = malloc(N), *r = malloc(N);
	for (uint32_t i = 0; i < N / 4; i++)
		m[i] = i * 2654435761u;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	t_writen(fd, m, N);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(t_readn(fd, r, N), N);
	CHECK(memcmp(m, r, N) == 0);
	for (int off = 1; off < N; off += 40961) {
		EQ(pread(fd, r, 5000, off), off + 5000 > N ? N - off : 5000);
		CHECK(memcmp((char *)m + off, r, (size_t)(off + 5000 > N ? N - off : 5000)) == 0);
	}
}

TEST_DIR(overwrite_in_small_pieces)
{
	char ref[20000], got[20000];
	memset(ref, 'a', sizeof(ref));
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	t_writen(fd, ref, sizeof(ref));
	for (int i = 0, off = 7; off + 13 < (int)sizeof(ref); i++, off += 1009) {
		memset(ref + off, 'A' + i % 26, 13);
		EQ(pwrite(fd, ref + off, 13, off), 13);
	}
	EQ(pread(fd, got, sizeof(got), 0), sizeof(got));
	CHECK(memcmp(ref, got, sizeof(got)) == 0);
}

TEST_DIR(two_opens_two_offsets)
{
	char c;
	t_put("f", "abc");
	int a = OK(open("f", O_RDONLY)), b = OK(open("f", O_RDONLY));
	EQ(read(a, &c, 1), 1);
	EQ(read(a, &c, 1), 1);
	EQ(c, 'b');
	EQ(read(b, &c, 1), 1);
	EQ(c, 'a');
}

TEST_DIR(unlinked_file_lives_on)
{
	char buf[4] = "";
	t_put("f", "abc");
	int fd = OK(open("f", O_RDWR));
	OK(unlink("f"));
	ERR(open("f", O_RDONLY), ENOENT);
	t_put("f", "new");
	EQ(read(fd, buf, 3), 3);
	STREQ(buf, "abc");
	EQ(write(fd, "more", 4), 4);
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_size, 7);
	STREQ(t_get("f"), "new");
}

TEST_DIR(write_while_reading)
{
	char buf[10];
	int w = OK(open("f", O_WRONLY | O_CREAT, 0644)), r = OK(open("f", O_RDONLY));
	EQ(read(r, buf, 10), 0);
	EQ(write(w, "ab", 2), 2);
	EQ(read(r, buf, 10), 2);
	EQ(write(w, "cd", 2), 2);
	EQ(read(r, buf, 10), 2);
	CHECK(!memcmp(buf, "cd", 2));
}

TEST_DIR(fsync_family)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), p[2];
	EQ(write(fd, "x", 1), 1);
	OK(fsync(fd));
	OK(fdatasync(fd));
	OK(syncfs(fd));
	sync();
	OK(pipe(p));
	ERR(fsync(p[0]), EINVAL);
	ERR(fsync(999), EBADF);
}

TEST(bad_descriptors)
{
	char c = 0;
	struct stat st;
	ERR(read(-1, &c, 1), EBADF);
	ERR(write(1000, &c, 1), EBADF);
	ERR(close(1000), EBADF);
	ERR(close(-1), EBADF);
	ERR(fstat(1000, &st), EBADF);
	ERR(fcntl(1000, F_GETFD), EBADF);
	ERR(dup(1000), EBADF);
	ERR(ftruncate(1000, 0), EBADF);
	ERR(fchdir(1000), EBADF);
	ERR(close((int)0x80000000), EBADF);
}

TEST_DIR(offset_of_huge_seek)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(lseek(fd, 1l << 40, SEEK_SET), 1l << 40);
	char c;
	EQ(read(fd, &c, 1), 0);
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_size, 0);
}

TEST_DIR(permission_of_other_user)
{
	if (geteuid() != 0)
		SKIP("needs root");
	OK(chmod(".", 0755));
	t_put("f", "x");
	OK(chmod("f", 0600));
	OK(mkdir("d", 0700));
	t_put("d/g", "x");
	pid_t p = OK(fork());
	if (!p) {
		OK(setgid(65534));
		OK(setuid(65534));
		ERR(open("f", O_RDONLY), EACCES);
		ERR(open("f", O_RDONLY | O_TRUNC), EACCES);
		ERR(open("d/g", O_RDONLY), EACCES);
		ERR(open("new", O_RDWR | O_CREAT, 0644), EACCES);
		ERR(unlink("f"), EACCES);
		ERR(access("f", R_OK), EACCES);
		ERR(chmod("f", 0777), EPERM);
		ERR(setuid(0), EPERM);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(readonly_mode_file_as_root_or_owner)
{
	t_put("f", "x");
	OK(chmod("f", 0444));
	struct stat st;
	OK(stat("f", &st));
	EQ(st.st_mode & 07777, 0444);
	OK(open("f", O_RDONLY));
	if (geteuid() != 0)
		ERR(open("f", O_WRONLY), EACCES);
}

TEST_DIR(creat_readonly_still_writable)
{
	// The mode given to O_CREAT counts from the next open on.
	int fd = OK(open("f", O_RDWR | O_CREAT, 0));
	EQ(write(fd, "x", 1), 1);
}

TEST_DIR(write_zero_bytes)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(lseek(fd, 10, SEEK_SET), 10);
	EQ(write(fd, "", 0), 0);
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_size, 0);
}

TEST_DIR(openat2_missing_or_right)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = {O_RDWR | O_CREAT, 0644, 0};
	long fd = syscall(437, AT_FDCWD, "f", &how, sizeof(how));
	if (fd < 0 && errno == ENOSYS)
		SKIP("no openat2 here");
	CHECK(fd >= 0);
	EQ(write((int)fd, "x", 1), 1);
}

TEST_DIR(close_range_closes)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644)), b = OK(dup(a)), c = OK(dup(a));
	long r = syscall(436, b, c, 0);
	if (r < 0 && errno == ENOSYS)
		SKIP("no close_range here");
	EQ(r, 0);
	ERR(fcntl(b, F_GETFD), EBADF);
	ERR(fcntl(c, F_GETFD), EBADF);
	EQ(fcntl(a, F_GETFD), 0);
}
