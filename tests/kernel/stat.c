// SPDX-License-Identifier: Apache-2.0
// What files say about themselves: stat and its kin, times, modes, owners, access, statfs, attributes.
#include <linux/capability.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/xattr.h>

#include "tests/kernel/t.h"

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

TEST_DIR(stat_regular)
{
	struct stat st;
	t_put("f", "hello");
	OK(chmod("f", 0640));
	OK(stat("f", &st));
	CHECK(S_ISREG(st.st_mode));
	EQ(st.st_mode & 07777, 0640);
	EQ(st.st_size, 5);
	EQ(st.st_nlink, 1);
	EQ(st.st_uid, geteuid());
	CHECK(st.st_ino != 0);
	CHECK(st.st_blksize >= 512);
}

TEST_DIR(stat_kinds)
{
	struct stat st;
	int p[2];
	OK(mkdir("d", 0755));
	OK(symlink("d", "l"));
	OK(mkfifo("p", 0600));
	OK(stat("d", &st));
	CHECK(S_ISDIR(st.st_mode));
	OK(stat("l", &st));
	CHECK(S_ISDIR(st.st_mode));
	OK(lstat("l", &st));
	CHECK(S_ISLNK(st.st_mode));
	EQ(st.st_size, 1);
	OK(stat("p", &st));
	CHECK(S_ISFIFO(st.st_mode));
	OK(stat("/dev/null", &st));
	CHECK(S_ISCHR(st.st_mode));
	EQ(st.st_rdev, 0x103);
	OK(pipe(p));
	OK(fstat(p[0], &st));
	CHECK(S_ISFIFO(st.st_mode));
}

TEST_DIR(fstatat_flags)
{
	struct stat a, b;
	t_put("f", "x");
	OK(symlink("f", "l"));
	int d = OK(open(".", O_RDONLY)), f = OK(open("f", O_RDONLY));
	OK(fstatat(d, "l", &a, 0));
	CHECK(S_ISREG(a.st_mode));
	OK(fstatat(d, "l", &b, AT_SYMLINK_NOFOLLOW));
	CHECK(S_ISLNK(b.st_mode));
	OK(fstatat(f, "", &b, AT_EMPTY_PATH));
	EQ(a.st_ino, b.st_ino);
	ERR(fstatat(d, "", &b, 0), ENOENT);
	ERR(fstatat(d, "f", &b, 0x40000000), EINVAL);
}

TEST_DIR(statx_basics)
{
	struct statx x;
	t_put("f", "hello");
	OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
	EQ(x.stx_size, 5);
	CHECK(S_ISREG(x.stx_mode));
	CHECK(x.stx_mask & STATX_SIZE);
	EQ(x.stx_nlink, 1);
	struct stat st;
	OK(stat("f", &st));
	EQ(st.st_ino, x.stx_ino);
	EQ(st.st_mtim.tv_sec, x.stx_mtime.tv_sec);
	EQ(st.st_mtim.tv_nsec, x.stx_mtime.tv_nsec);
	ERR(statx(AT_FDCWD, "no", 0, STATX_BASIC_STATS, &x), ENOENT);
	ERR(statx(AT_FDCWD, "f", 0x40000000, STATX_BASIC_STATS, &x), EINVAL);
}

TEST_DIR(inode_numbers_tell_files_apart)
{
	struct stat a, b, c;
	t_put("f", "x");
	t_put("g", "x");
	OK(link("f", "h"));
	OK(stat("f", &a));
	OK(stat("g", &b));
	OK(stat("h", &c));
	CHECK(a.st_ino != b.st_ino);
	EQ(a.st_ino, c.st_ino);
	EQ(a.st_dev, b.st_dev);
	EQ(a.st_nlink, 2);
	OK(rename("f", "i"));
	OK(stat("i", &b));
	EQ(a.st_ino, b.st_ino);
}

TEST_DIR(mtime_moves_on_write)
{
	struct stat a, b;
	struct timespec old[2] = {{1000, 5}, {2000, 7}};
	t_put("f", "x");
	OK(utimensat(AT_FDCWD, "f", old, 0));
	OK(stat("f", &a));
	EQ(a.st_atim.tv_sec, 1000);
	EQ(a.st_mtim.tv_sec, 2000);
	EQ(a.st_mtim.tv_nsec, 7);
	int fd = OK(open("f", O_WRONLY));
	EQ(write(fd, "y", 1), 1);
	OK(fstat(fd, &b));
	CHECK(later(b.st_mtim, a.st_mtim));
	CHECK(!later(a.st_ctim, b.st_ctim));
}

TEST_DIR(times_of_a_new_file_are_now)
{
	struct timespec before, after;
	struct stat st;
	OK(clock_gettime(CLOCK_REALTIME, &before));
	before.tv_sec -= 2; // file times come from a coarser clock
	t_put("f", "x");
	OK(clock_gettime(CLOCK_REALTIME, &after));
	after.tv_sec += 2;
	OK(stat("f", &st));
	CHECK(later(st.st_mtim, before) && later(after, st.st_mtim));
	CHECK(later(st.st_ctim, before) && later(after, st.st_ctim));
	CHECK(later(st.st_atim, before) && later(after, st.st_atim));
}

TEST_DIR(directory_mtime_on_change)
{
	struct stat a, b;
	struct timespec old[2] = {{1000, 0}, {1000, 0}};
	OK(mkdir("d", 0755));
	OK(utimensat(AT_FDCWD, "d", old, 0));
	OK(stat("d", &a));
	EQ(a.st_mtim.tv_sec, 1000);
	t_put("d/f", "x");
	OK(stat("d", &b));
	CHECK(later(b.st_mtim, a.st_mtim));
	OK(utimensat(AT_FDCWD, "d", old, 0));
	OK(unlink("d/f"));
	OK(stat("d", &b));
	CHECK(later(b.st_mtim, a.st_mtim));
}

TEST_DIR(utimensat_now_and_omit)
{
	struct stat a, b;
	struct timespec old[2] = {{1000, 0}, {1000, 0}};
	t_put("f", "x");
	OK(utimensat(AT_FDCWD, "f", old, 0));
	struct timespec ts[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
	OK(utimensat(AT_FDCWD, "f", ts, 0));
	OK(stat("f", &a));
	EQ(a.st_atim.tv_sec, 1000);
	CHECK(a.st_mtim.tv_sec > 100000);
	int fd = OK(open("f", O_RDONLY));
	OK(futimens(fd, old));
	OK(fstat(fd, &b));
	EQ(b.st_mtim.tv_sec, 1000);
	ts[0].tv_nsec = 2000000000;
	ERR(utimensat(AT_FDCWD, "f", ts, 0), EINVAL);
}

TEST_DIR(utimensat_of_link_itself)
{
	struct stat a, b;
	struct timespec old[2] = {{1000, 0}, {1000, 0}};
	t_put("f", "x");
	OK(symlink("f", "l"));
	OK(utimensat(AT_FDCWD, "l", old, AT_SYMLINK_NOFOLLOW));
	OK(lstat("l", &a));
	OK(stat("l", &b));
	EQ(a.st_mtim.tv_sec, 1000);
	CHECK(b.st_mtim.tv_sec > 1000);
}

TEST_DIR(chmod_family)
{
	struct stat st;
	t_put("f", "x");
	OK(chmod("f", 0755));
	OK(stat("f", &st));
	EQ(st.st_mode & 07777, 0755);
	int fd = OK(open("f", O_RDONLY));
	OK(fchmod(fd, 0600));
	OK(fstat(fd, &st));
	EQ(st.st_mode & 07777, 0600);
	OK(fchmodat(AT_FDCWD, "f", 0444, 0));
	OK(stat("f", &st));
	EQ(st.st_mode & 07777, 0444);
	OK(mkdir("d", 0755));
	OK(chmod("d", 01777));
	OK(stat("d", &st));
	EQ(st.st_mode & 07777, 01777);
	ERR(chmod("no", 0644), ENOENT);
}

TEST_DIR(chown_as_root)
{
	if (geteuid() != 0)
		SKIP("needs root");
	struct stat st;
	t_put("f", "x");
	OK(chown("f", 1000, 1001));
	OK(stat("f", &st));
	EQ(st.st_uid, 1000);
	EQ(st.st_gid, 1001);
	OK(chown("f", -1u, 7));
	OK(stat("f", &st));
	EQ(st.st_uid, 1000);
	EQ(st.st_gid, 7);
	OK(symlink("f", "l"));
	OK(lchown("l", 5, 5));
	OK(stat("f", &st));
	EQ(st.st_uid, 1000);
}

static mode_t after(mode_t mode, const char *how)
{
	struct stat st;
	unlink("p");
	int fd = OK(open("p", O_RDWR | O_CREAT, 0600));
	EQ(write(fd, "12345678", 8), 8);
	OK(fchmod(fd, mode));
	if (*how == 'w')
		EQ(pwrite(fd, "x", 1, 0), 1);
	else if (*how == 't')
		OK(truncate("p", how[1] == '=' ? 8 : 3));
	else if (*how == 'f')
		OK(ftruncate(fd, 5000));
	else if (*how == 'o')
		OK(close(OK(open("p", O_RDONLY | O_TRUNC))));
	else if (*how == 'a')
		OK(fallocate(fd, 0, 0, 5000));
	OK(fstat(fd, &st));
	OK(close(fd));
	return st.st_mode & 07777;
}

static void drop_caps(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{0}};
	OK(syscall(SYS_capset, &h, d));
}

// Who changes the contents of a program that gains rights takes these away from it, unless he has CAP_FSETID.
TEST_DIR(setid_bits_go)
{
	static const char *const how[] = {"write", "truncate", "t=", "ftruncate", "open"};
	mode_t root_keeps = after(06777, "write");
	for (unsigned int k = 1; !geteuid() && k < 5; k++)
		EQ(after(06777, how[k]), root_keeps);
	pid_t p = OK(fork());
	if (!p) {
		drop_caps();
		for (unsigned int k = 0; k < 5; k++) {
			EQ(after(06777, how[k]), 0777);
			EQ(after(06767, how[k]), 02767); // no group may execute it: a file of mandatory locks, once
			EQ(after(04700, how[k]), 0700);
			EQ(after(01755, how[k]), 01755);
		}
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

// fallocate counts as a change of contents (since Linux 5.17; its tmpfs followed later).
TEST_DIR(setid_bits_go_by_fallocate)
{
	if (access("/proc/coffer", F_OK))
		SKIP("only inside an enclave");
	pid_t p = OK(fork());
	if (!p) {
		drop_caps();
		EQ(after(06777, "allocate"), 0777);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(access_modes)
{
	t_put("f", "x");
	OK(chmod("f", 0600));
	OK(access("f", F_OK));
	OK(access("f", R_OK | W_OK));
	ERR(access("f", X_OK), EACCES);
	ERR(access("no", F_OK), ENOENT);
	ERR(access("f", 99), EINVAL);
	OK(chmod("f", 0700));
	OK(access("f", X_OK));
	OK(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
	OK(symlink("no", "l"));
	ERR(access("l", F_OK), ENOENT);
	OK(faccessat(AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
}

TEST_DIR(statfs_answers)
{
	struct statfs a, b;
	OK(statfs(".", &a));
	CHECK(a.f_bsize > 0);
	CHECK(a.f_namelen >= 255);
	int fd = OK(open(".", O_RDONLY));
	OK(fstatfs(fd, &b));
	EQ(a.f_type, b.f_type);
	ERR(statfs("no", &a), ENOENT);
	OK(statfs("/proc", &a));
	EQ(a.f_type, 0x9fa0);
}

TEST_DIR(blocks_follow_contents)
{
	struct stat st;
	char buf[8192] = {1};
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	OK(fstat(fd, &st));
	EQ(st.st_blocks, 0);
	EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	OK(fstat(fd, &st));
	CHECK(st.st_blocks >= 16);
}

TEST_DIR(xattr_basic)
{
	char buf[32];
	t_put("f", "x");
	if (setxattr("f", "user.colour", "red", 3, 0) < 0 && errno == EOPNOTSUPP)
		SKIP("no user attributes here");
	EQ(getxattr("f", "user.colour", buf, sizeof(buf)), 3);
	CHECK(!memcmp(buf, "red", 3));
	EQ(getxattr("f", "user.colour", NULL, 0), 3);
	ERR(getxattr("f", "user.colour", buf, 1), ERANGE);
	ERR(setxattr("f", "user.colour", "x", 1, XATTR_CREATE), EEXIST);
	ERR(setxattr("f", "user.no", "x", 1, XATTR_REPLACE), ENODATA);
	EQ(listxattr("f", buf, sizeof(buf)), 12);
	STREQ(buf, "user.colour");
	OK(removexattr("f", "user.colour"));
	ERR(getxattr("f", "user.colour", buf, sizeof(buf)), ENODATA);
}

// Names of the administrator's own are not told to others.
TEST_DIR(xattr_trusted_is_hidden)
{
	char buf[64];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	if (geteuid() || fsetxattr(fd, "trusted.mark", "x", 1, 0) || fsetxattr(fd, "user.colour", "red", 3, 0))
		SKIP("no trusted attributes here");
	EQ(flistxattr(fd, buf, sizeof(buf)), 25);
	EQ(flistxattr(fd, NULL, 0), 25);
	ERR(flistxattr(fd, buf, 24), ERANGE);
	pid_t p = OK(fork());
	if (!p) {
		OK(setuid(65534));
		EQ(flistxattr(fd, buf, sizeof(buf)), 12);
		STREQ(buf, "user.colour");
		ERR(flistxattr(fd, buf, 11), ERANGE);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(xattr_missing_is_clean_error)
{
	// ls, cp and tar ask for these on each file and must get one of two answers.
	char buf[32];
	t_put("f", "x");
	errno = 0;
	CHECK(getxattr("f", "security.selinux", buf, sizeof(buf)) == -1 && (errno == ENODATA || errno == EOPNOTSUPP));
	CHECK(getxattr("f", "system.posix_acl_access", buf, sizeof(buf)) == -1 &&
	      (errno == ENODATA || errno == EOPNOTSUPP));
	ERR(getxattr("no", "user.x", buf, sizeof(buf)), ENOENT);
}
