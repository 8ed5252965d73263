// SPDX-License-Identifier: Apache-2.0
// Sharing blocks and giving them back: FIDEDUPERANGE, copy_file_range of what can be shared, FITRIM, sync_file_range.
// Where the file system cannot share, natively or inside, only the answers to wrong requests count.
#include "t.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statfs.h>

struct dedupe { // struct file_dedupe_range, with room at its end
	struct {
		__u64 src_offset, src_length;
		__u16 dest_count, reserved1;
		__u32 reserved2;
	} r;
	struct file_dedupe_range_info i[3];
};

static int make(const char *name, const char *pattern, size_t n)
{
	int fd = OK(open(name, O_RDWR | O_CREAT, 0644));
	char *buf = malloc(n);
	for (size_t k = 0; k < n; k++)
		buf[k] = pattern[k / 4096 % strlen(pattern)] + (char)(k % 13);
	EQ(write(fd, buf, n), n);
	free(buf);
	return fd;
}

static bool sharing(int a) // does this file system?
{
	int b = OK(open("probe", O_RDWR | O_CREAT, 0644));
	int r = ioctl(b, FICLONE, a);
	close(b);
	unlink("probe");
	return !r;
}

TEST_DIR(dedupe_wrong)
{
	int a = make("a", "a", 8192), d = OK(open(".", O_RDONLY)), w = OK(open("a", O_WRONLY)), pipes[2];
	OK(pipe(pipes));
	struct dedupe q = {.r = {.src_length = 4096, .dest_count = 1}, .i[0].dest_fd = a};
	ERR(ioctl(-1, FIDEDUPERANGE, &q), EBADF);
	ERR(ioctl(a, FIDEDUPERANGE, NULL), EFAULT);
	q.r.dest_count = 1000;
	ERR(ioctl(a, FIDEDUPERANGE, &q), ENOMEM);
	q.r.dest_count = 1;
	ERR(ioctl(w, FIDEDUPERANGE, &q), EINVAL);
	ERR(ioctl(d, FIDEDUPERANGE, &q), EISDIR);
	ERR(ioctl(pipes[0], FIDEDUPERANGE, &q), EINVAL);
	q.r.reserved1 = 1;
	ERR(ioctl(a, FIDEDUPERANGE, &q), EINVAL);
	q.r.reserved1 = 0;
	q.r.src_offset = ~0ull;
	EQ(ioctl(a, FIDEDUPERANGE, &q), -1);
	CHECK(errno == EINVAL || errno == EOPNOTSUPP);
}

TEST_DIR(dedupe)
{
	int a = make("a", "abcdefgh", 65536), b = make("b", "abcdefgh", 65536), c = make("c", "abXdefgh", 65536);
	int other = OK(open("/proc/self/status", O_RDONLY)), d = OK(open(".", O_RDONLY));
	if (!sharing(a)) // not here
		return;
	struct dedupe q = {.r = {.src_length = 65536, .dest_count = 3},
			   .i = {{.dest_fd = b}, {.dest_fd = c}, {.dest_fd = -1}}};
	struct stat before, after;
	OK(fstat(b, &before));
	char *m = mmap(NULL, 65536, PROT_READ, MAP_SHARED, b, 0);
	CHECK(m != MAP_FAILED && m[5] == 'a' + 5);
	OK(ioctl(a, FIDEDUPERANGE, &q));
	EQ(q.i[0].status, FILE_DEDUPE_RANGE_SAME);
	EQ(q.i[0].bytes_deduped, 65536);
	EQ(q.i[1].status, FILE_DEDUPE_RANGE_DIFFERS);
	EQ(q.i[1].bytes_deduped, 0);
	EQ(q.i[2].status, -EBADF);
	OK(fstat(b, &after));
	EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
	EQ(m[5], 'a' + 5);
	EQ(pwrite(b, "changed", 7, 4096), 7); // they share no longer
	char got[8] = "";
	EQ(pread(a, got, 7, 4096), 7);
	EQ(got[0], 'b' + 4096 % 13);
	EQ(m[4096], 'c');
	q = (struct dedupe){.r = {.src_length = 4096, .dest_count = 3}, .i = {{.dest_fd = other}, {.dest_fd = d}, {.dest_fd = c, .dest_offset = 1}}};
	OK(ioctl(a, FIDEDUPERANGE, &q));
	EQ(q.i[0].status, -EXDEV);
	EQ(q.i[1].status, -EISDIR);
	EQ(q.i[2].status, -EINVAL);
	q = (struct dedupe){.r = {.src_offset = 65536, .src_length = 4096, .dest_count = 1}, .i = {{.dest_fd = c}}};
	ERR(ioctl(a, FIDEDUPERANGE, &q), EINVAL); // beyond the end
	q = (struct dedupe){.r = {.src_offset = 12288, .src_length = 4096, .dest_count = 1}, .i = {{.dest_fd = c, .dest_offset = 12288}}};
	OK(ioctl(a, FIDEDUPERANGE, &q));
	EQ(q.i[0].status, FILE_DEDUPE_RANGE_SAME);
}

static void compare(int a, off_t from, int b, off_t to, size_t n)
{
	char x[4096], y[4096];
	for (size_t at = 0; at < n; at += sizeof x) {
		size_t k = n - at < sizeof x ? n - at : sizeof x;
		EQ(pread(a, x, k, from + (off_t)at), k);
		EQ(pread(b, y, k, to + (off_t)at), k);
		CHECK(!memcmp(x, y, k));
	}
}

// The same bytes arrive, aligned or not, into holes and over what was there, up to the end of the source and not beyond.
TEST_DIR(copy_file_range_shares_or_copies)
{
	int a = make("a", "hijklmnop", (1 << 20) + 777), b = OK(open("b", O_RDWR | O_CREAT, 0644));
	struct stat st;
	loff_t in = 0, out = 0;
	EQ(copy_file_range(a, &in, b, &out, 4 << 20, 0), (1 << 20) + 777);
	EQ(in, (1 << 20) + 777);
	EQ(out, (1 << 20) + 777);
	OK(fstat(b, &st));
	EQ(st.st_size, (1 << 20) + 777);
	compare(a, 0, b, 0, (1 << 20) + 777);
	EQ(copy_file_range(a, &in, b, &out, 100, 0), 0);
	in = 4096, out = 2 << 20; // aligned, with a ragged end
	EQ(copy_file_range(a, &in, b, &out, 500001, 0), 500001);
	compare(a, 4096, b, 2 << 20, 500001);
	OK(fstat(b, &st));
	EQ(st.st_size, (2 << 20) + 500001);
	in = 131072, out = 8192; // over what is there, which goes on behind it
	EQ(copy_file_range(a, &in, b, &out, 262144 + 5, 0), 262144 + 5);
	compare(a, 131072, b, 8192, 262144 + 5);
	compare(a, 8192 + 262144 + 5, b, 8192 + 262144 + 5, 4096);
	in = 77, out = 4096 * 5; // not aligned
	EQ(copy_file_range(a, &in, b, &out, 200000, 0), 200000);
	compare(a, 77, b, 4096 * 5, 200000);
	in = 0, out = 1 << 19; // within one file
	EQ(copy_file_range(b, &in, b, &out, 1 << 18, 0), 1 << 18);
	compare(b, 0, b, 1 << 19, 1 << 18);
	EQ(pwrite(a, "new", 3, 131072), 3);
	char got[4] = "";
	EQ(pread(b, got, 3, 8192), 3);
	CHECK(memcmp(got, "new", 3));
	OK(lseek(a, 65536, SEEK_SET));
	OK(lseek(b, 65536, SEEK_SET));
	EQ(copy_file_range(a, NULL, b, NULL, 131072, 0), 131072);
	EQ(lseek(a, 0, SEEK_CUR), 65536 + 131072);
	EQ(lseek(b, 0, SEEK_CUR), 65536 + 131072);
	compare(a, 65536, b, 65536, 131072);
}

// What cannot be overwritten because the program's memory ends there stays, also where the file has not been read yet.
TEST_DIR(memory_ends_within_a_write)
{
	int a = make("a", "qrstuvwx", 131072), b = OK(open("b", O_RDWR | O_CREAT, 0644));
	loff_t in = 0, out = 0;
	char got[100];
	EQ(copy_file_range(a, &in, b, &out, 131072, 0), 131072);
	char *m = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	memset(m, '!', 16384);
	OK(mprotect(m + 4096, 12288, PROT_NONE));
	EQ(pwrite(b, m, 12288, 40960), 4096);
	EQ(pwrite(b, m + 3996, 12288, 8192), 100);
	ERR(pwrite(b, m + 4096, 8192, 81920), EFAULT);
	OK(fsync(b));
	compare(a, 0, b, 0, 8192);
	compare(a, 8292, b, 8292, 40960 - 8292);
	compare(a, 45056, b, 45056, 131072 - 45056);
	EQ(pread(b, got, 100, 8192), 100);
	CHECK(!memcmp(got, m, 100));
	EQ(pread(b, got, 100, 44956), 100);
	CHECK(!memcmp(got, m, 100));
}

// On a small file system for itself (tests/e2e/refusals/storage): a clone that stops half way, for want of room, has replaced what it has
// replaced, and everybody sees that: readers, mappings, and who asks for the size.
TEST_DIR(clone_without_room)
{
	const off_t part = 14 << 20, old = 2 << 20;
	int a = OK(open("a", O_RDWR | O_CREAT, 0644)), b, r = 0, e = 0;
	struct statfs s;
	struct stat st;
	char name[8], page[4096];
	OK(statfs(".", &s));
	if (!sharing(a) || s.f_blocks * (unsigned long)s.f_bsize > 80ul << 20)
		return;
	OK(fallocate(a, 0, 0, part));
	for (int k = 0; k < 10 && !r; k++) {
		struct file_clone_range c = {.src_fd = a, .src_length = (unsigned long)part, .dest_offset = 4096};
		snprintf(name, sizeof(name), "b%d", k);
		b = make(name, "b", (size_t)old);
		OK(fsync(b));
		char *m = mmap(NULL, (size_t)old, PROT_READ | PROT_WRITE, MAP_SHARED, b, 0);
		CHECK(m != MAP_FAILED && m[4096] == 'b' + 4096 % 13);
		r = ioctl(b, FICLONERANGE, &c);
		e = errno;
		OK(fstat(b, &st));
		EQ(m[0], 'b');
		EQ(m[4096], 0);
		EQ(pread(b, page, 4096, 4096), 4096);
		EQ(page[0], 0);
		CHECK(st.st_size >= old && st.st_size <= part + 4096);
		ERR(lseek(b, st.st_size, SEEK_HOLE), ENXIO);
		OK(munmap(m, (size_t)old));
		if (!r)
			OK(close(b));
	}
	CHECK(r == -1 && e == ENOSPC); // the tenth would be twice the file system's size
	CHECK(st.st_size < part + 4096);
}

TEST_DIR(sync_file_range)
{
	int a = make("a", "s", 100000), pipes[2];
	OK(pipe(pipes));
	OK(sync_file_range(a, 0, 0, 0));
	OK(sync_file_range(a, 0, 4096, SYNC_FILE_RANGE_WRITE));
	OK(sync_file_range(a, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
	ERR(sync_file_range(a, -1, 1, 1), EINVAL);
	ERR(sync_file_range(a, 0, -1, 1), EINVAL);
	ERR(sync_file_range(a, 0, 0, 8), EINVAL);
	ERR(sync_file_range(pipes[1], 0, 0, 1), ESPIPE);
	ERR(sync_file_range(-1, 0, 0, 1), EBADF);
}

// What is free goes back to the host, where the file system lies on something that can take it; what is in use stays.
TEST_DIR(trim)
{
	int a = make("a", "t", 300000), d = OK(open(".", O_RDONLY)), drop = make("drop", "d", 3 << 20);
	struct fstrim_range r = {.len = ~0ull};
	OK(fsync(drop));
	OK(close(drop));
	OK(unlink("drop"));
	OK(fsync(a));
	if (ioctl(d, FITRIM, &r)) {
		CHECK(errno == EPERM || errno == ENOTTY || errno == EOPNOTSUPP);
		return;
	}
	ERR(ioctl(d, FITRIM, NULL), EFAULT);
	struct fstrim_range beyond = {.start = 1ull << 62, .len = ~0ull}, little = {.len = 1};
	ERR(ioctl(d, FITRIM, &beyond), EINVAL);
	ERR(ioctl(d, FITRIM, &little), EINVAL);
	int again = make("again", "t", 300000);
	compare(a, 0, again, 0, 300000);
}

// What is written and not yet stored counts as used.
TEST_DIR(statfs_counts_what_waits)
{
	struct statfs a, b, c;
	OK(statfs(".", &a));
	int fd = make("big", "x", 8 << 20);
	OK(statfs(".", &b));
	OK(fsync(fd));
	OK(statfs(".", &c));
	CHECK(b.f_bfree < a.f_bfree);
	CHECK(a.f_blocks == b.f_blocks && c.f_bavail <= c.f_bfree && c.f_bfree <= c.f_blocks);
}
