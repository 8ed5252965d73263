// SPDX-License-Identifier: Apache-2.0
// A file system (FUSE) of one file, "v.vol", that hands everything on to a backing file and writes down, in order, each write with
// its bytes, each flush, each hole and each change of size: from that log `cut` makes what a power cut could have left of the file.
//
//	recordfs BACKING LOG MOUNTPOINT		in the foreground, until it is unmounted
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/powercut/log.h"

#define NAME "/v.vol"

static int backing = -1, record_fd = -1;

static int record(unsigned int kind, unsigned long off, const void *data, unsigned long len)
{
	struct cut_record r = {.off = off, .len = len, .kind = kind};
	struct iovec v[2] = {{&r, sizeof r}, {(void *)(unsigned long)data, kind == CUT_WRITE ? len : 0}};
	ssize_t want = (ssize_t)(v[0].iov_len + v[1].iov_len);
	return writev(record_fd, v, 2) == want ? 0 : -EIO;
}

static int do_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	memset(st, 0, sizeof *st);
	if (!strcmp(path, "/")) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return 0;
	}
	return strcmp(path, NAME) ? -ENOENT : fstat(backing, st) ? -errno : 0;
}

static int do_open(const char *path, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	return strcmp(path, NAME) ? -ENOENT : 0;
}

static int do_read(const char *path, char *buf, size_t n, off_t off, struct fuse_file_info *fi)
{
	(void)path, (void)fi;
	ssize_t r = pread(backing, buf, n, off);
	return r < 0 ? -errno : (int)r;
}

static int do_write(const char *path, const char *buf, size_t n, off_t off, struct fuse_file_info *fi)
{
	(void)path, (void)fi;
	int r = record(CUT_WRITE, (unsigned long)off, buf, n);
	if (r)
		return r;
	return pwrite(backing, buf, n, off) == (ssize_t)n ? (int)n : -EIO;
}

static int do_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	(void)path, (void)fi;
	int r = record(CUT_SIZE, (unsigned long)size, NULL, 0);
	return r ? r : ftruncate(backing, size) ? -errno : 0;
}

static int do_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
	(void)path, (void)data_only, (void)fi;
	return record(CUT_FLUSH, 0, NULL, 0);
}

static int do_fallocate(const char *path, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	(void)path, (void)fi;
	if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	int r = record(CUT_HOLE, (unsigned long)off, NULL, (unsigned long)len);
	return r ? r : fallocate(backing, mode, off, len) ? -errno : 0;
}

static const struct fuse_operations ops = {
	.getattr = do_getattr,
	.open = do_open,
	.read = do_read,
	.write = do_write,
	.truncate = do_truncate,
	.fsync = do_fsync,
	.fallocate = do_fallocate,
};

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	backing = open(argv[1], O_RDWR | O_CLOEXEC);
	record_fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (backing < 0 || record_fd < 0) {
		perror("recordfs");
		return 1;
	}
	char *args[] = {argv[0], "-f", "-s", "-o", "default_permissions", argv[3], NULL};
	return fuse_main(6, args, &ops, NULL);
}
