// SPDX-License-Identifier: Apache-2.0
// io_uring: rings, submission, completion, chains, files and names, events, lives of rings.
#include "tests/kernel/uring.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/xattr.h>

TEST(setup_errors)
{
	struct io_uring_params p = {0};
	int fd = setup(4, &p);
	if (fd < 0 && (errno == EPERM || errno == ENOSYS))
		SKIP("no io_uring here");
	close(fd);
	memset(&p, 0, sizeof(p));
	ERR(setup(0, &p), EINVAL);
	ERR(setup(32769, &p), EINVAL);
	ERR(setup(4, NULL), EFAULT);
	p.resv[1] = 1;
	ERR(setup(4, &p), EINVAL);
	p = (struct io_uring_params){.flags = 1u << 30};
	ERR(setup(4, &p), EINVAL);
	p = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE};
	ERR(setup(4, &p), EINVAL);
	p = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE, .cq_entries = 2};
	ERR(setup(4, &p), EINVAL);
	p = (struct io_uring_params){.flags = IORING_SETUP_DEFER_TASKRUN};
	ERR(setup(4, &p), EINVAL);
	p = (struct io_uring_params){.flags = IORING_SETUP_TASKRUN_FLAG};
	ERR(setup(4, &p), EINVAL);
	p = (struct io_uring_params){.flags = IORING_SETUP_SQ_AFF};
	ERR(setup(4, &p), EINVAL);
	p = (struct io_uring_params){.flags = IORING_SETUP_SQPOLL | IORING_SETUP_COOP_TASKRUN};
	ERR(setup(4, &p), EINVAL);
	p = (struct io_uring_params){.flags = IORING_SETUP_CLAMP};
	fd = OK(setup(100000, &p));
	EQ(p.sq_entries, 32768);
	EQ(p.cq_entries, 65536);
	close(fd);
	p = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE, .cq_entries = 100};
	fd = OK(setup(5, &p));
	EQ(p.sq_entries, 8);
	EQ(p.cq_entries, 128);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK(p.features & IORING_FEAT_SINGLE_MMAP && p.features & IORING_FEAT_NODROP && p.features & IORING_FEAT_EXT_ARG);
	close(fd);
	ERR(enter(0, 0, 0, 1u << 20), EINVAL);
	ERR(enter(999, 0, 0, 0), EBADF);
	int pfd[2];
	OK(pipe(pfd));
	ERR(enter(pfd[0], 0, 0, 0), EOPNOTSUPP);
}

TEST(mmap_ring)
{
	struct ring r;
	ring_new(&r, 8, 0);
	size_t len = r.p.cq_off.cqes + r.p.cq_entries * 16;
	char *cq = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, IORING_OFF_CQ_RING);
	CHECK(cq != MAP_FAILED);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 77);
	EQ(enter(r.fd, 1, 0, 0), 1);
	EQ(*(unsigned *)(cq + r.p.cq_off.tail), 1);
	EQ(((struct io_uring_cqe *)(cq + r.p.cq_off.cqes))->user_data, 77);
	EQ(*WORD(&r, r.p.cq_off.ring_entries), 16);
	EQ(*WORD(&r, r.p.sq_off.ring_mask), 7);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, r.fd, 0x20000000) == MAP_FAILED);
	ring_free(&r);
}

TEST(nop_many)
{
	struct ring r;
	ring_new(&r, 8, 0);
	unsigned long got = 0;
	for (int round = 0; round < 1000; round++) {
		for (int i = 0; i < 8; i++)
			sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, (unsigned long)round * 8 + i);
		EQ(enter(r.fd, 8, 8, IORING_ENTER_GETEVENTS), 8);
		EQ(ready(&r), 8);
		for (int i = 0; i < 8; i++)
			COMPLETES(&r, got++, 0);
	}
	EQ(*WORD(&r, r.p.sq_off.head), 8000);
	EQ(enter(r.fd, 5, 0, 0), 0);
	ring_free(&r);
}

TEST(bad_entries)
{
	struct ring r;
	ring_new(&r, 8, 0);
	sqe(&r, 200, -1, NULL, 0, 0, 1);
	EQ(one(&r), -EINVAL);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2)->flags = 128;
	EQ(one(&r), -EINVAL);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2)->ioprio = 1;
	EQ(one(&r), -EINVAL);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2)->flags = IOSQE_BUFFER_SELECT;
	EQ(one(&r), -EOPNOTSUPP);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2)->personality = 7;
	EQ(one(&r), -EINVAL);
	sqe(&r, IORING_OP_READ, 999, &r, 1, 0, 3);
	EQ(one(&r), -EBADF);
	// an index out of range is dropped
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 4);
	WORD(&r, r.p.sq_off.array)[(r.tail - 1) & 7] = 1000;
	EQ(enter(r.fd, 1, 0, 0), 0);
	EQ(*WORD(&r, r.p.sq_off.dropped), 1);
	EQ(*WORD(&r, r.p.sq_off.head), r.tail);
	// submission stops after a bad entry, which counts
	sqe(&r, 200, -1, NULL, 0, 0, 5);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 6);
	EQ(enter(r.fd, 2, 0, 0), 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	COMPLETES(&r, 5, -EINVAL);
	COMPLETES(&r, 6, 0);
	ring_free(&r);
	ring_new(&r, 8, IORING_SETUP_SUBMIT_ALL);
	sqe(&r, 200, -1, NULL, 0, 0, 5);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 6);
	EQ(enter(r.fd, 2, 0, 0), 2);
	COMPLETES(&r, 5, -EINVAL);
	COMPLETES(&r, 6, 0);
	ring_free(&r);
}

TEST_DIR(file_io)
{
	struct ring r;
	char buf[100] = "hello world";
	struct iovec v[2] = {{buf, 5}, {buf + 5, 6}};
	ring_new(&r, 8, 0);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	sqe(&r, IORING_OP_WRITE, fd, buf, 11, 0, 1);
	EQ(one(&r), 11);
	memset(buf, 0, sizeof(buf));
	sqe(&r, IORING_OP_READ, fd, buf, 50, 6, 1);
	EQ(one(&r), 5);
	STREQ(buf, "world");
	sqe(&r, IORING_OP_READ, fd, buf, 50, 11, 1);
	EQ(one(&r), 0);
	// offset -1: the file's position
	sqe(&r, IORING_OP_READ, fd, buf, 3, -1ul, 1);
	EQ(one(&r), 3);
	sqe(&r, IORING_OP_READ, fd, buf, 3, -1ul, 1);
	EQ(one(&r), 3);
	EQ(memcmp(buf, "lo ", 3), 0);
	EQ(lseek(fd, 0, SEEK_CUR), 6);
	memcpy(buf, "HELLOthere!", 11);
	sqe(&r, IORING_OP_WRITEV, fd, v, 2, 3, 1);
	EQ(one(&r), 11);
	memset(buf, 0, sizeof(buf));
	sqe(&r, IORING_OP_READV, fd, v, 2, 3, 1);
	EQ(one(&r), 11);
	STREQ(buf, "HELLOthere!");
	sqe(&r, IORING_OP_FSYNC, fd, NULL, 0, 0, 1);
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_FSYNC, fd, NULL, 0, 0, 1)->fsync_flags = 8;
	EQ(one(&r), -EINVAL);
	sqe(&r, IORING_OP_READ, fd, (void *)8, 4, 0, 1);
	EQ(one(&r), -EFAULT);
	sqe(&r, IORING_OP_READ, fd, buf, 4, 0, 1)->rw_flags = 0x10000;
	EQ(one(&r), -EOPNOTSUPP);
	sqe(&r, IORING_OP_FALLOCATE, fd, (void *)8192, 0, 0, 1);
	EQ(one(&r), 0);
	EQ(lseek(fd, 0, SEEK_END), 8192);
	sqe(&r, IORING_OP_FADVISE, fd, NULL, 0, 0, 1)->fadvise_advice = 3;
	EQ(one(&r), 0);
	int ro = OK(open("f", O_RDONLY));
	sqe(&r, IORING_OP_WRITE, ro, buf, 4, 0, 1);
	EQ(one(&r), -EBADF);
	ring_free(&r);
}

TEST_DIR(names)
{
	struct ring r;
	char buf[256];
	ring_new(&r, 8, 0);
	sqe(&r, IORING_OP_MKDIRAT, AT_FDCWD, "d", 0755, 0, 1);
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_MKDIRAT, AT_FDCWD, "d", 0755, 0, 1);
	EQ(one(&r), -EEXIST);
	sqe(&r, IORING_OP_OPENAT, AT_FDCWD, "d/f", 0644, 0, 1)->open_flags = O_CREAT | O_RDWR;
	int fd = one(&r);
	CHECK(fd >= 0);
	OK(write(fd, "abc", 3));
	struct open_how_ { unsigned long flags, mode, resolve; } how = {O_RDONLY, 0, 0};
	sqe(&r, IORING_OP_OPENAT2, AT_FDCWD, "d/f", sizeof(how), (unsigned long)&how, 1);
	int fd2 = one(&r);
	CHECK(fd2 >= 0);
	EQ(read(fd2, buf, 10), 3);
	struct statx st;
	sqe(&r, IORING_OP_STATX, AT_FDCWD, "d/f", STATX_ALL, (unsigned long)&st, 1);
	EQ(one(&r), 0);
	EQ(st.stx_size, 3);
	sqe(&r, IORING_OP_STATX, fd, "", STATX_ALL, (unsigned long)&st, 1)->statx_flags = AT_EMPTY_PATH;
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_RENAMEAT, AT_FDCWD, "d/f", (unsigned)AT_FDCWD, (unsigned long)"g", 1);
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_LINKAT, AT_FDCWD, "g", (unsigned)AT_FDCWD, (unsigned long)"h", 1);
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_SYMLINKAT, AT_FDCWD, "target", 0, (unsigned long)"s", 1);
	EQ(one(&r), 0);
	EQ(readlink("s", buf, sizeof(buf)), 6);
	sqe(&r, IORING_OP_UNLINKAT, AT_FDCWD, "h", 0, 0, 1);
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_UNLINKAT, AT_FDCWD, "d", 0, 0, 1)->unlink_flags = AT_REMOVEDIR;
	EQ(one(&r), 0);
	EQ(access("d", F_OK), -1);
	sqe(&r, IORING_OP_CLOSE, fd2, NULL, 0, 0, 1);
	EQ(one(&r), 0);
	EQ(fcntl(fd2, F_GETFD), -1);
	sqe(&r, IORING_OP_CLOSE, r.fd, NULL, 0, 0, 1);
	EQ(one(&r), -EBADF);
	sqe(&r, IORING_OP_CLOSE, 999, NULL, 0, 0, 1);
	EQ(one(&r), -EBADF);
	sqe(&r, IORING_OP_OPENAT, AT_FDCWD, "none", 0, 0, 1);
	EQ(one(&r), -ENOENT);
	sqe(&r, IORING_OP_OPENAT, AT_FDCWD, (void *)8, 0, 0, 1);
	EQ(one(&r), -EFAULT);
	ring_free(&r);
}

TEST_DIR(xattrs)
{
	struct ring r;
	char buf[32] = "";
	ring_new(&r, 8, 0);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	if (fsetxattr(fd, "user.probe", "x", 1, 0) < 0)
		SKIP("no xattrs on this file system");
	sqe(&r, IORING_OP_FSETXATTR, fd, "user.a", 3, (unsigned long)"abc", 1);
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_FGETXATTR, fd, "user.a", sizeof(buf), (unsigned long)buf, 1);
	EQ(one(&r), 3);
	STREQ(buf, "abc");
	sqe(&r, IORING_OP_SETXATTR, 0, "user.b", 2, (unsigned long)"de", 1)->addr3 = (unsigned long)"f";
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_GETXATTR, 0, "user.b", sizeof(buf), (unsigned long)buf, 1)->addr3 = (unsigned long)"f";
	EQ(one(&r), 2);
	ring_free(&r);
}

TEST(pipe_waits)
{
	struct ring r;
	char a[8] = "", b[8] = "";
	int p[2];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_READ, p[0], a, 2, 0, 1);
	sqe(&r, IORING_OP_READ, p[0], b, 2, 0, 2);
	EQ(enter(r.fd, 2, 0, 0), 2);
	EQ(ready(&r), 0);
	OK(write(p[1], "abcd", 4));
	struct cqe c = next(&r), d = next(&r);
	EQ(c.res, 2);
	EQ(d.res, 2);
	CHECK(c.user_data + d.user_data == 3);
	CHECK((!strcmp(a, "ab") && !strcmp(b, "cd")) || (!strcmp(b, "ab") && !strcmp(a, "cd")));
	// without entering the kernel again: the completion appears by itself
	sqe(&r, IORING_OP_READ, p[0], a, 2, 0, 3);
	EQ(enter(r.fd, 1, 0, 0), 1);
	pid_t pid = fork();
	if (!pid) {
		t_sleep_ms(20);
		OK(write(p[1], "xy", 2));
		_exit(0);
	}
	while (!ready(&r))
		__builtin_ia32_pause();
	COMPLETES(&r, 3, 2);
	EQ(t_wait(pid), 0);
	// end of file
	sqe(&r, IORING_OP_READ, p[0], a, 2, 0, 4);
	EQ(enter(r.fd, 1, 0, 0), 1);
	close(p[1]);
	COMPLETES(&r, 4, 0);
	// RWF_NOWAIT does not wait
	OK(pipe(p));
	sqe(&r, IORING_OP_READ, p[0], a, 2, 0, 5)->rw_flags = 8;
	EQ(one(&r), -EAGAIN);
	// a full pipe
	OK(fcntl(p[1], F_SETFL, O_NONBLOCK));
	static char big[65536];
	while (write(p[1], big, sizeof(big)) > 0)
		;
	sqe(&r, IORING_OP_WRITE, p[1], big, 4096, 0, 6);
	EQ(enter(r.fd, 1, 0, 0), 1);
	EQ(ready(&r), 0);
	EQ(t_readn(p[0], big, 65536), 65536);
	COMPLETES(&r, 6, 4096);
	ring_free(&r);
}

static void *late_write(void *arg)
{
	t_sleep_ms(20);
	OK(write(*(int *)arg, "zz", 2));
	return NULL;
}

TEST(blocked_elsewhere)
{
	// The submitter sleeps in another call; its request goes on all the same, seen by another thread.
	struct ring r;
	char a[8] = "";
	int p[2], q[2];
	pthread_t t;
	ring_new(&r, 8, 0);
	OK(pipe(p));
	OK(pipe(q));
	int efd = OK(eventfd(0, 0));
	EQ(reg(r.fd, IORING_REGISTER_EVENTFD, &efd, 1), 0);
	sqe(&r, IORING_OP_READ, p[0], a, 2, 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	ZERO(pthread_create(&t, NULL, late_write, &p[1]));
	unsigned long n = 0;
	EQ(read(efd, &n, 8), 8); // sleeps; what wakes it is its own completion
	EQ(n, 1);
	EQ(ready(&r), 1);
	COMPLETES(&r, 1, 2);
	pthread_join(t, NULL);
	ring_free(&r);
}

TEST(links)
{
	struct ring r;
	char buf[16] = "";
	int p[2];
	ring_new(&r, 16, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_WRITE, p[1], "ab", 2, 0, 1)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_READ, p[0], buf, 2, 0, 2)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	EQ(enter(r.fd, 3, 3, IORING_ENTER_GETEVENTS), 3);
	COMPLETES(&r, 1, 2);
	COMPLETES(&r, 2, 2);
	COMPLETES(&r, 3, 0);
	// a waiting head holds the rest back
	sqe(&r, IORING_OP_READ, p[0], buf, 2, 0, 1)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	EQ(enter(r.fd, 3, 1, IORING_ENTER_GETEVENTS), 3);
	COMPLETES(&r, 3, 0);
	EQ(ready(&r), 0);
	OK(write(p[1], "cd", 2));
	COMPLETES(&r, 1, 2);
	COMPLETES(&r, 2, 0);
	// failure breaks the chain, a short read too
	sqe(&r, IORING_OP_READ, 999, buf, 2, 0, 1)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	EQ(enter(r.fd, 3, 3, IORING_ENTER_GETEVENTS), 3);
	COMPLETES(&r, 1, -EBADF);
	COMPLETES(&r, 2, -ECANCELED);
	COMPLETES(&r, 3, -ECANCELED);
	OK(write(p[1], "e", 1));
	sqe(&r, IORING_OP_READ, p[0], buf, 2, 0, 1)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
	EQ(enter(r.fd, 2, 2, IORING_ENTER_GETEVENTS), 2);
	COMPLETES(&r, 1, 1);
	COMPLETES(&r, 2, -ECANCELED);
	// but not a hard one
	sqe(&r, IORING_OP_READ, 999, buf, 2, 0, 1)->flags = IOSQE_IO_HARDLINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
	EQ(enter(r.fd, 2, 2, IORING_ENTER_GETEVENTS), 2);
	COMPLETES(&r, 1, -EBADF);
	COMPLETES(&r, 2, 0);
	// a bad entry in a chain cancels all of it
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1)->flags = IOSQE_IO_LINK;
	sqe(&r, 200, -1, NULL, 0, 0, 2)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	EQ(enter(r.fd, 3, 3, IORING_ENTER_GETEVENTS), 3);
	COMPLETES(&r, 1, -ECANCELED);
	COMPLETES(&r, 2, -EINVAL);
	COMPLETES(&r, 3, -ECANCELED);
	// a chain that the submission cuts off is complete
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1)->flags = IOSQE_IO_LINK;
	EQ(enter(r.fd, 1, 1, IORING_ENTER_GETEVENTS), 1);
	COMPLETES(&r, 1, 0);
	ring_free(&r);
}

TEST_DIR(link_files)
{
	// LINKED_FILE: a later member's file is looked up when its turn comes
	struct ring r;
	char buf[16] = "", path[16] = "f";
	ring_new(&r, 8, 0);
	int fds[4] = {-1, -1, -1, -1};
	EQ(reg(r.fd, IORING_REGISTER_FILES, fds, 4), 0);
	struct io_uring_sqe *s = sqe(&r, IORING_OP_OPENAT, AT_FDCWD, path, 0644, 0, 1);
	s->open_flags = O_CREAT | O_RDWR;
	s->file_index = 3;
	s->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_WRITE, 2, "data", 4, 0, 2)->flags = IOSQE_IO_LINK | IOSQE_FIXED_FILE;
	sqe(&r, IORING_OP_READ, 2, buf, 4, 0, 3)->flags = IOSQE_IO_LINK | IOSQE_FIXED_FILE;
	sqe(&r, IORING_OP_UNLINKAT, AT_FDCWD, path, 0, 0, 4)->flags = IOSQE_IO_LINK;
	sqe(&r, IORING_OP_CLOSE, 0, NULL, 0, 0, 5)->file_index = 3;
	EQ(enter(r.fd, 5, 0, 0), 5);
	for (int i = 1; i <= 5; i++)
		COMPLETES(&r, (unsigned long)i, i == 2 || i == 3 ? 4 : 0);
	STREQ(buf, "data");
	EQ(access("f", F_OK), -1);
	sqe(&r, IORING_OP_READ, 2, buf, 4, 0, 1)->flags = IOSQE_FIXED_FILE;
	EQ(one(&r), -EBADF);
	ring_free(&r);
}

TEST(drain)
{
	struct ring r;
	char buf[4];
	int p[2];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2)->flags = IOSQE_IO_DRAIN;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	EQ(enter(r.fd, 3, 0, 0), 3);
	EQ(ready(&r), 0);
	OK(write(p[1], "x", 1));
	COMPLETES(&r, 1, 1);
	COMPLETES(&r, 2, 0);
	COMPLETES(&r, 3, 0);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 4)->flags = IOSQE_IO_DRAIN;
	EQ(one(&r), 0);
	ring_free(&r);
}

TEST(cqe_skip)
{
	struct ring r;
	ring_new(&r, 8, 0);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1)->flags = IOSQE_CQE_SKIP_SUCCESS;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
	EQ(enter(r.fd, 2, 1, IORING_ENTER_GETEVENTS), 2);
	EQ(ready(&r), 1);
	COMPLETES(&r, 2, 0);
	sqe(&r, IORING_OP_READ, 999, &r, 1, 0, 3)->flags = IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_LINK;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 4);
	EQ(enter(r.fd, 2, 1, IORING_ENTER_GETEVENTS), 2);
	COMPLETES(&r, 3, -EBADF);
	EQ(enter(r.fd, 0, 0, IORING_ENTER_GETEVENTS), 0);
	EQ(ready(&r), 0);
	ring_free(&r);
}

TEST(eventfds)
{
	struct ring r;
	unsigned long n = 0;
	ring_new(&r, 8, 0);
	int efd = OK(eventfd(0, EFD_NONBLOCK)), p[2];
	EQ(reg(r.fd, IORING_REGISTER_EVENTFD, &efd, 1), 0);
	ERR(reg(r.fd, IORING_REGISTER_EVENTFD, &efd, 1), EBUSY);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	EQ(one(&r), 0);
	EQ(read(efd, &n, 8), 8);
	CHECK(n >= 1);
	*WORD(&r, r.p.cq_off.flags) = IORING_CQ_EVENTFD_DISABLED;
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	EQ(one(&r), 0);
	ERR(read(efd, &n, 8), EAGAIN);
	*WORD(&r, r.p.cq_off.flags) = 0;
	EQ(reg(r.fd, IORING_UNREGISTER_EVENTFD, NULL, 0), 0);
	ERR(reg(r.fd, IORING_UNREGISTER_EVENTFD, NULL, 0), ENXIO);
	EQ(reg(r.fd, IORING_REGISTER_EVENTFD_ASYNC, &efd, 1), 0);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	EQ(one(&r), 0);
	ERR(read(efd, &n, 8), EAGAIN);
	OK(pipe(p));
	ERR(reg(r.fd, IORING_REGISTER_EVENTFD, p, 1), EBUSY);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1)->flags = IOSQE_ASYNC;
	EQ(one(&r), 0);
	struct pollfd pf = {efd, POLLIN, 0};
	EQ(poll(&pf, 1, 10000), 1);
	ring_free(&r);
}

TEST(splices)
{
	struct ring r;
	char buf[8] = "";
	int p[2], q[2];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	OK(pipe(q));
	struct io_uring_sqe *s = sqe(&r, IORING_OP_SPLICE, q[1], NULL, 4, -1ul, 1);
	s->splice_fd_in = p[0];
	s->splice_off_in = -1ul;
	EQ(enter(r.fd, 1, 0, 0), 1);
	EQ(ready(&r), 0);
	OK(write(p[1], "abcd", 4));
	COMPLETES(&r, 1, 4);
	s = sqe(&r, IORING_OP_TEE, p[1], NULL, 2, 0, 2);
	s->splice_fd_in = q[0];
	EQ(one(&r), 2);
	EQ(read(q[0], buf, 8), 4);
	STREQ(buf, "abcd");
	memset(buf, 0, 8);
	EQ(read(p[0], buf, 8), 2);
	STREQ(buf, "ab");
	ring_free(&r);
}

TEST(epoll_op)
{
	struct ring r;
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 5}, got;
	int p[2], ep = OK(epoll_create1(0));
	ring_new(&r, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_EPOLL_CTL, ep, &ev, EPOLL_CTL_ADD, (unsigned long)p[0], 1);
	EQ(one(&r), 0);
	sqe(&r, IORING_OP_EPOLL_CTL, ep, &ev, EPOLL_CTL_ADD, (unsigned long)p[0], 1);
	EQ(one(&r), -EEXIST);
	OK(write(p[1], "x", 1));
	EQ(epoll_wait(ep, &got, 1, 0), 1);
	EQ(got.data.u32, 5);
	ring_free(&r);
}

TEST(fork_and_exit)
{
	// A child's requests are its own and end with it; the parent's live on.
	struct ring r;
	char buf[4];
	int p[2];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	pid_t pid = fork();
	if (!pid) {
		sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
		EQ(enter(r.fd, 1, 0, 0), 1);
		_exit(0);
	}
	EQ(t_wait(pid), 0);
	r.tail++;
	COMPLETES(&r, 2, 0);
	EQ(ready(&r), 0);
	OK(write(p[1], "x", 1));
	COMPLETES(&r, 1, 1);
	// exits with requests pending, ring open or closed
	for (int i = 0; i < 2; i++) {
		pid = fork();
		if (!pid) {
			struct ring c;
			ring_new(&c, 8, 0);
			sqe(&c, IORING_OP_READ, p[0], buf, 1, 0, 1);
			sqe(&c, IORING_OP_POLL_ADD, c.fd, NULL, 0, 0, 2)->poll32_events = POLLIN;
			struct __kernel_timespec t = {100, 0};
			sqe(&c, IORING_OP_TIMEOUT, -1, &t, 1, 0, 3);
			EQ(enter(c.fd, 3, 0, 0), 3);
			if (i)
				ring_free(&c);
			_exit(0);
		}
		EQ(t_wait(pid), 0);
	}
	OK(write(p[1], "x", 1));
	EQ(read(p[0], buf, 4), 1);
	ring_free(&r);
}

static void *submit_and_leave(void *arg)
{
	struct ring *r = arg;
	static char buf[4];
	int p[2];
	OK(pipe(p));
	sqe(r, IORING_OP_READ, p[0], buf, 1, 0, 1);
	EQ(enter(r->fd, 1, 0, 0), 1);
	return (void *)(long)p[1];
}

TEST(thread_exit)
{
	struct ring r;
	pthread_t t;
	void *wfd;
	ring_new(&r, 8, 0);
	ZERO(pthread_create(&t, NULL, submit_and_leave, &r));
	ZERO(pthread_join(t, &wfd));
	if (write((int)(long)wfd, "x", 1) < 0)
		t_fail(__LINE__, "write");
	COMPLETES(&r, 1, -ECANCELED);
	ring_free(&r);
}

HELPER(count_fds)
{
	int n = 0;
	for (int i = 0; i < 64; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

TEST(exec_closes)
{
	struct ring r;
	char buf[4];
	int p[2];
	ring_new(&r, 8, 0);
	OK(pipe2(p, O_CLOEXEC));
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	int fds = 0;
	for (int i = 0; i < 64; i++)
		fds += fcntl(i, F_GETFD) >= 0 && !(fcntl(i, F_GETFD) & FD_CLOEXEC);
	pid_t pid = fork();
	if (!pid) {
		EQ(enter(r.fd, 0, 0, IORING_ENTER_GETEVENTS), 0);
		execl(t_self, t_self, "--helper", "count_fds", NULL);
		_exit(99);
	}
	EQ(t_wait(pid), fds);
	ring_free(&r);
}

TEST(defer_taskrun)
{
	struct ring r;
	char buf[4];
	int p[2];
	ring_new(&r, 8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	OK(pipe(p));
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	OK(write(p[1], "x", 1));
	getppid();
	EQ(ready(&r), 0);
	struct pollfd pf = {r.fd, POLLIN, 0};
	EQ(poll(&pf, 1, 0), 1);
	COMPLETES(&r, 1, 1);
	pid_t pid = fork();
	if (!pid) {
		sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
		ERR(enter(r.fd, 1, 0, 0), EEXIST);
		_exit(0);
	}
	EQ(t_wait(pid), 0);
	ring_free(&r);
}

TEST(coop_taskrun)
{
	struct ring r;
	char buf[4];
	int p[2];
	ring_new(&r, 8, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
	OK(pipe(p));
	sqe(&r, IORING_OP_READ, p[0], buf, 1, 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	OK(write(p[1], "x", 1));
	COMPLETES(&r, 1, 1);
	EQ(LOAD(WORD(&r, r.p.sq_off.flags)) & IORING_SQ_TASKRUN, 0);
	ring_free(&r);
}

TEST(sqpoll)
{
	struct ring r;
	struct io_uring_params p = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 1};
	memset(&r, 0, sizeof(r));
	r.fd = setup(8, &p);
	if (r.fd < 0)
		SKIP("no io_uring with SQPOLL here");
	r.p = p;
	ring_map(&r);
	for (unsigned long i = 0; i < 50; i++) {
		sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, i);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (LOAD(WORD(&r, r.p.sq_off.flags)) & IORING_SQ_NEED_WAKEUP)
			EQ(enter(r.fd, 1, 0, IORING_ENTER_SQ_WAKEUP), 1);
		COMPLETES(&r, i, 0);
		if (i % 10 == 0)
			t_sleep_ms(5);
	}
	ring_free(&r);
}

TEST(big_entries)
{
	struct ring r;
	ring_new(&r, 8, IORING_SETUP_SQE128 | IORING_SETUP_CQE32);
	for (unsigned long i = 0; i < 40; i++) {
		sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, i);
		EQ(enter(r.fd, 1, 0, 0), 1);
		COMPLETES(&r, i, 0);
	}
	ring_free(&r);
}

TEST(disabled_and_restricted)
{
	struct ring r;
	ring_new(&r, 8, IORING_SETUP_R_DISABLED);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	ERR(enter(r.fd, 1, 0, 0), EBADFD);
	struct io_uring_restriction x[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP},
		{.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_PROBE},
	};
	EQ(reg(r.fd, IORING_REGISTER_RESTRICTIONS, x, 2), 0);
	ERR(reg(r.fd, IORING_REGISTER_RESTRICTIONS, x, 2), EBUSY);
	EQ(reg(r.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0), 0);
	EQ(enter(r.fd, 1, 0, 0), 1);
	COMPLETES(&r, 1, 0);
	sqe(&r, IORING_OP_READ, 0, &r, 1, 0, 2);
	EQ(one(&r), -EACCES);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3)->flags = IOSQE_ASYNC;
	EQ(one(&r), -EACCES);
	ERR(reg(r.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0), EACCES);
	ring_free(&r);
}

TEST(probe)
{
	struct ring r;
	char mem[sizeof(struct io_uring_probe) + 256 * sizeof(struct io_uring_probe_op)] = {0};
	struct io_uring_probe *p = (void *)mem;
	ring_new(&r, 4, 0);
	EQ(reg(r.fd, IORING_REGISTER_PROBE, p, 256), 0);
	CHECK(p->last_op >= IORING_OP_SENDMSG_ZC);
	for (int op = 0; op <= IORING_OP_SENDMSG_ZC; op++)
		if (op != IORING_OP_URING_CMD)
			CHECK(p->ops[op].flags & IO_URING_OP_SUPPORTED);
	ERR(reg(r.fd, IORING_REGISTER_PROBE, p, 256), EINVAL);
	ERR(reg(r.fd, 9999, NULL, 0), EINVAL);
	ring_free(&r);
}

TEST(personality)
{
	struct ring r;
	ring_new(&r, 4, 0);
	int id = reg(r.fd, IORING_REGISTER_PERSONALITY, NULL, 0);
	CHECK(id > 0);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1)->personality = (unsigned short)id;
	EQ(one(&r), 0);
	EQ(reg(r.fd, IORING_UNREGISTER_PERSONALITY, NULL, (unsigned)id), 0);
	ERR(reg(r.fd, IORING_UNREGISTER_PERSONALITY, NULL, (unsigned)id), EINVAL);
	ring_free(&r);
}

struct watch_ids {
	int stop, seen;
};

// Another thread of the process: is it ever anybody else?
static void *watch_ids(void *arg)
{
	struct watch_ids *w = arg;
	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		int fd = open("secret", O_RDONLY);
		if (fd < 0 || geteuid())
			t_fail(__LINE__, "another thread lost its ids: open %d, euid %d", fd, (int)geteuid());
		close(fd);
		__atomic_add_fetch(&w->seen, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

// A request under other credentials, in a process of two threads: they are the request's, and nobody else's.
TEST_DIR(personality_with_threads)
{
	struct watch_ids w = {0};
	struct ring r;
	pthread_t th;
	int id, fd, ran = 0;
	ring_new(&r, 4, 0);
	if (geteuid())
		SKIP("needs root");
	fd = OK(open("secret", O_CREAT | O_WRONLY, 0600));
	close(fd);
	OK(chmod(".", 0777));
	OK(seteuid(1000));
	id = OK(reg(r.fd, IORING_REGISTER_PERSONALITY, NULL, 0));
	OK(seteuid(0));
	ZERO(pthread_create(&th, NULL, watch_ids, &w));
	while (ran < 200 || __atomic_load_n(&w.seen, __ATOMIC_ACQUIRE) < 200) {
		sqe(&r, IORING_OP_OPENAT, AT_FDCWD, "secret", 0, 0, 1)->personality = (unsigned short)id;
		EQ(one(&r), -EACCES);
		sqe(&r, IORING_OP_OPENAT, AT_FDCWD, "secret", 0, 0, 1);
		fd = one(&r);
		CHECK(fd >= 0);
		close(fd);
		ran++;
	}
	sqe(&r, IORING_OP_MKDIRAT, AT_FDCWD, "theirs", 0700, 0, 1)->personality = (unsigned short)id;
	EQ(one(&r), 0);
	struct stat st;
	OK(stat("theirs", &st));
	EQ(st.st_uid, 1000);
	// A chain: each request with its own.
	sqe(&r, IORING_OP_OPENAT, AT_FDCWD, "secret", 0, 0, 1)->flags = IOSQE_IO_HARDLINK;
	sqe(&r, IORING_OP_OPENAT, AT_FDCWD, "secret", 0, 0, 2)->personality = (unsigned short)id;
	EQ(enter(r.fd, 2, 2, IORING_ENTER_GETEVENTS), 2);
	CHECK(next(&r).res >= 0);
	EQ(next(&r).res, -EACCES);
	EQ(geteuid(), 0);
	__atomic_store_n(&w.stop, 1, __ATOMIC_RELEASE);
	ZERO(pthread_join(th, NULL));
	ring_free(&r);
}

static void *spin_submit(void *arg)
{
	struct ring r;
	int p[2];
	char b[64];
	(void)arg;
	ring_new(&r, 32, 0);
	OK(pipe(p));
	for (int i = 0; i < 300; i++) {
		for (int k = 0; k < 8; k++) {
			sqe(&r, IORING_OP_READ, p[0], b + k, 1, 0, k);
			sqe(&r, IORING_OP_WRITE, p[1], "x", 1, 0, 100 + k);
		}
		EQ(enter(r.fd, 16, 16, IORING_ENTER_GETEVENTS), 16);
		for (int k = 0; k < 16; k++)
			EQ(next(&r).res, 1);
	}
	ring_free(&r);
	return NULL;
}

TEST(threads)
{
	pthread_t t[4];
	struct ring r;
	ring_new(&r, 4, 0);
	for (int i = 0; i < 4; i++)
		ZERO(pthread_create(&t[i], NULL, spin_submit, NULL));
	for (int i = 0; i < 4; i++)
		ZERO(pthread_join(t[i], NULL));
	ring_free(&r);
}

// Entries, indices and heads of every kind: whatever comes of them, the kernel and this process live.
TEST_DIR(garbage)
{
	struct ring r;
	unsigned long x = 88172645463325252ul;
	int p[2];
	ring_new(&r, 64, 0);
	OK(pipe2(p, O_NONBLOCK));
	char *page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static const unsigned char skip[] = {IORING_OP_CLOSE, IORING_OP_MADVISE, IORING_OP_RENAMEAT, IORING_OP_UNLINKAT, IORING_OP_OPENAT, IORING_OP_OPENAT2};
	for (int i = 0; i < 20000; i++) {
		struct io_uring_sqe s;
		for (unsigned k = 0; k < sizeof(s); k += 8) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memcpy((char *)&s + k, &x, 8);
		}
		s.opcode %= IORING_OP_LAST + 1;
		if (memchr(skip, s.opcode, sizeof(skip)))
			s.opcode = IORING_OP_NOP;
		if (x & 1)
			s.flags &= IOSQE_IO_LINK | IOSQE_ASYNC;
		if (x & 2)
			s.fd = p[x >> 8 & 1];
		if (x & 4)
			s.addr = (unsigned long)page;
		if (x & 8)
			s.len &= 0xff;
		if (x & 16)
			s.rw_flags = 0;
		if (x & 32)
			s.off = s.ioprio = 0, s.splice_fd_in = 0, s.buf_index = 0;
		s.personality = 0;
		*sqe(&r, IORING_OP_NOP, 0, NULL, 0, 0, 0) = s;
		if (i % 100 == 0)
			STORE(WORD(&r, r.p.cq_off.head), (unsigned)x);
		enter(r.fd, 1, 0, i % 7 == 0 ? IORING_ENTER_GETEVENTS : 0);
		STORE(WORD(&r, r.p.cq_off.head), LOAD(WORD(&r, r.p.cq_off.tail)));
	}
	ring_free(&r);
	struct ring again;
	ring_new(&again, 4, 0);
	sqe(&again, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	EQ(one(&again), 0);
	ring_free(&again);
}
