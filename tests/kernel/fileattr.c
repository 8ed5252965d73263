// SPDX-License-Identifier: Apache-2.0
// Flags of files in memory: immutable, append only, no dump. The calls that lsattr and chattr make, and what the flags forbid. A case
// takes the flags away at its end, so that its folder can be removed.
#include "t.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/xattr.h>

static int flags_of(const char *name)
{
	int fd = OK(open(name, O_RDONLY)), flags = 0;
	OK(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	close(fd);
	return flags;
}

static int set(const char *name, int flags)
{
	int fd = OK(open(name, O_RDONLY)), r = ioctl(fd, FS_IOC_SETFLAGS, &flags);
	int e = errno;
	close(fd);
	errno = e;
	return r;
}

static void file_with(int flags)
{
	int fd, have;
	t_put("f", "text");
	fd = OK(open("f", O_RDONLY));
	if (ioctl(fd, FS_IOC_GETFLAGS, &have))
		SKIP("no flags of files in memory here");
	close(fd);
	if (set("f", flags) && errno == EPERM)
		SKIP("may not change flags here");
	EQ(flags_of("f") & (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL), flags);
}

TEST_DIR(immutable)
{
	int w = OK(open("f", O_RDWR | O_CREAT, 0644)), out;
	file_with(FS_IMMUTABLE_FL);
	ERR(open("f", O_WRONLY), EPERM);
	ERR(open("f", O_RDONLY | O_TRUNC), EPERM);
	ERR(open("f", O_WRONLY | O_APPEND), EPERM);
	ERR(unlink("f"), EPERM);
	ERR(rename("f", "g"), EPERM);
	ERR(link("f", "g"), EPERM);
	ERR(chmod("f", 0600), EPERM);
	ERR(chown("f", 1, 1), EPERM);
	ERR(truncate("f", 0), EPERM);
	ERR(utimes("f", NULL), EPERM);
	ERR(setxattr("f", "user.x", "y", 1, 0), EPERM);
	ERR(access("f", W_OK), EPERM);
	ERR(fallocate(w, 0, 0, 100), EPERM);
	t_put("g", "other");
	ERR(rename("g", "f"), EPERM);
	STREQ(t_get("f"), "text");
	EQ(write(w, "T", 1), 1); // was open before
	struct statx sx;
	OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &sx));
	CHECK(sx.stx_attributes & STATX_ATTR_IMMUTABLE);
	CHECK(sx.stx_attributes_mask & STATX_ATTR_APPEND);
	OK(set("f", 0));
	out = OK(open("f", O_WRONLY));
	EQ(write(out, "t", 1), 1);
	OK(unlink("f"));
}

TEST_DIR(append_only)
{
	file_with(FS_APPEND_FL);
	ERR(open("f", O_WRONLY), EPERM);
	ERR(open("f", O_WRONLY | O_TRUNC | O_APPEND), EPERM);
	int fd = OK(open("f", O_WRONLY | O_APPEND));
	EQ(write(fd, "+", 1), 1);
	ERR(fcntl(fd, F_SETFL, 0), EPERM);
	int rw = OK(open("f", O_RDWR | O_APPEND));
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, rw, 0) == MAP_FAILED && errno == EACCES);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, rw, 0) != MAP_FAILED);
	ERR(ftruncate(fd, 1), EPERM);
	ERR(truncate("f", 1), EPERM);
	ERR(unlink("f"), EPERM);
	ERR(rename("f", "g"), EPERM);
	ERR(link("f", "g"), EPERM);
	ERR(chmod("f", 0600), EPERM);
	OK(utimes("f", NULL));
	struct timeval tv[2] = {{1, 0}, {1, 0}};
	ERR(utimes("f", tv), EPERM);
	STREQ(t_get("f"), "text+");
	OK(set("f", 0));
}

TEST_DIR(directories)
{
	file_with(0);
	OK(mkdir("d", 0755));
	t_put("d/old", "");
	OK(set("d", FS_APPEND_FL));
	t_put("d/new", "");
	ERR(unlink("d/old"), EPERM);
	ERR(rename("d/old", "d/x"), EPERM);
	ERR(rmdir("d"), EPERM);
	OK(set("d", FS_IMMUTABLE_FL));
	ERR(open("d/more", O_CREAT | O_WRONLY, 0644), EPERM);
	ERR(unlink("d/old"), EPERM);
	ERR(mkdir("d/sub", 0755), EPERM);
	OK(open("d/old", O_WRONLY));
	OK(set("d", FS_NODUMP_FL));
	t_put("d/more", "");
	CHECK(flags_of("d/more") & FS_NODUMP_FL);
	OK(mkdir("d/sub", 0755));
	CHECK(flags_of("d/sub") & FS_NODUMP_FL);
}

TEST_DIR(who_may)
{
	file_with(FS_NODUMP_FL);
	OK(chmod(".", 0777));
	OK(chmod("f", 0666));
	int r = set("f", FS_SECRM_FL);
	EQ(r, -1);
	EQ(errno, EOPNOTSUPP);
	pid_t p = fork();
	if (!p) {
		OK(setgid(1234));
		OK(setuid(1234));
		EQ(flags_of("f") & FS_NODUMP_FL, FS_NODUMP_FL);
		ERR(set("f", 0), EPERM);
		t_put("own", "");
		OK(set("own", FS_NODUMP_FL));
		ERR(set("own", FS_NODUMP_FL | FS_IMMUTABLE_FL), EPERM);
		ERR(set("own", FS_APPEND_FL), EPERM);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(by_the_other_ioctl)
{
	struct fsxattr x = {0};
	file_with(FS_NODUMP_FL);
	int fd = OK(open("f", O_RDONLY));
	OK(ioctl(fd, FS_IOC_FSGETXATTR, &x));
	EQ(x.fsx_xflags, FS_XFLAG_NODUMP);
	x.fsx_xflags = FS_XFLAG_APPEND;
	OK(ioctl(fd, FS_IOC_FSSETXATTR, &x));
	EQ(flags_of("f") & (FS_APPEND_FL | FS_NODUMP_FL), FS_APPEND_FL);
	x.fsx_xflags = FS_XFLAG_REALTIME;
	ERR(ioctl(fd, FS_IOC_FSSETXATTR, &x), EOPNOTSUPP);
	OK(set("f", 0));
	int null = OK(open("/dev/null", O_RDONLY)), flags;
	ERR(ioctl(null, FS_IOC_GETFLAGS, &flags), ENOTTY);
}

TEST_DIR(by_the_new_calls)
{
	struct {
		uint64_t xflags;
		uint32_t more[4];
	} a = {0};
	file_with(FS_NODUMP_FL);
	if (syscall(468, AT_FDCWD, "f", &a, sizeof(a), 0) && errno == ENOSYS)
		SKIP("no file_getattr here");
	OK(syscall(468, AT_FDCWD, "f", &a, sizeof(a), 0));
	EQ(a.xflags, FS_XFLAG_NODUMP);
	a.xflags = FS_XFLAG_IMMUTABLE;
	OK(syscall(469, AT_FDCWD, "f", &a, sizeof(a), 0));
	EQ(flags_of("f") & (FS_IMMUTABLE_FL | FS_NODUMP_FL), FS_IMMUTABLE_FL);
	a.xflags = 0;
	OK(syscall(469, AT_FDCWD, "f", &a, sizeof(a), 0));
	OK(unlink("f"));
}
