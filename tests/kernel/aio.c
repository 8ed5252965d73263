// SPDX-License-Identifier: Apache-2.0
// Linux AIO: io_setup, io_submit, io_getevents, io_pgetevents, io_cancel, io_destroy.
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "tests/kernel/t.h"

static aio_context_t ctx;

static long submit(long n, struct iocb **v) { return syscall(SYS_io_submit, ctx, n, v); }
static long events(long least, long n, struct io_event *e, struct timespec *ts) { return syscall(SYS_io_getevents, ctx, least, n, e, ts); }

static void setup(unsigned n)
{
	if (syscall(SYS_io_setup, n, &ctx) < 0 && errno == ENOSYS)
		SKIP("no AIO here");
	CHECK(ctx);
}

static struct iocb request(int op, int fd, void *buf, size_t n, long off, long data)
{
	return (struct iocb){.aio_lio_opcode = (unsigned short)op, .aio_fildes = (unsigned)fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = n,
			     .aio_offset = off, .aio_data = (unsigned long)data};
}

TEST_DIR(writes_and_reads)
{
	char out[2][8] = {"first..", "second."}, in[16] = "";
	struct io_event e[4];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	setup(4);
	struct iocb a = request(IOCB_CMD_PWRITE, fd, out[0], 7, 0, 11), b = request(IOCB_CMD_PWRITE, fd, out[1], 7, 7, 22), *v[] = {&a, &b};
	EQ(submit(2, v), 2);
	EQ(events(2, 4, e, NULL), 2);
	for (int i = 0; i < 2; i++) {
		EQ(e[i].res, 7);
		CHECK((e[i].obj == (uintptr_t)&a && e[i].data == 11) || (e[i].obj == (uintptr_t)&b && e[i].data == 22));
	}
	CHECK(e[0].obj != e[1].obj);
	struct iocb c = request(IOCB_CMD_PREAD, fd, in, 16, 0, 33), *w[] = {&c};
	EQ(submit(1, w), 1);
	EQ(events(1, 1, e, NULL), 1);
	EQ(e[0].res, 14);
	STREQ(in, "first..second.");
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	struct iocb s = request(IOCB_CMD_FSYNC, fd, NULL, 0, 0, 44);
	w[0] = &s;
	EQ(submit(1, w), 1);
	EQ(events(1, 1, e, NULL), 1);
	EQ(e[0].res, 0);
	OK(syscall(SYS_io_destroy, ctx));
	ERR(syscall(SYS_io_destroy, ctx), EINVAL);
	ERR(submit(1, w), EINVAL);
}

TEST_DIR(vectors)
{
	char a[4] = "", b[8] = "";
	struct iovec v[2] = {{a, 3}, {b, 5}};
	struct io_event e;
	t_put("f", "abcdefgh");
	int fd = OK(open("f", O_RDWR));
	setup(1);
	struct iocb r = request(IOCB_CMD_PREADV, fd, v, 2, 0, 1), *p = &r;
	EQ(submit(1, &p), 1);
	EQ(events(1, 1, &e, NULL), 1);
	EQ(e.res, 8);
	STREQ(a, "abc");
	STREQ(b, "defgh");
	r = request(IOCB_CMD_PWRITEV, fd, v, 2, 8, 1);
	EQ(submit(1, &p), 1);
	EQ(events(1, 1, &e, NULL), 1);
	STREQ(t_get("f"), "abcdefghabcdefgh");
}

TEST_DIR(eventfd_tells)
{
	uint64_t n = 0;
	struct io_event e[3];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), ev = OK(eventfd(0, 0));
	setup(8);
	struct iocb a[3], *v[3];
	for (int i = 0; i < 3; i++) {
		a[i] = request(IOCB_CMD_PWRITE, fd, "x", 1, i, i);
		a[i].aio_flags = IOCB_FLAG_RESFD;
		a[i].aio_resfd = (unsigned)ev;
		v[i] = &a[i];
	}
	EQ(submit(3, v), 3);
	uint64_t sum = 0;
	while (sum < 3) {
		EQ(read(ev, &n, 8), 8);
		sum += n;
	}
	EQ(sum, 3);
	EQ(events(3, 3, e, NULL), 3);
	a[0].aio_resfd = (unsigned)fd;
	ERR(submit(1, v), EINVAL);
	a[0].aio_resfd = 99;
	ERR(submit(1, v), EBADF);
}

TEST_DIR(errors)
{
	aio_context_t bad = 1;
	struct io_event e;
	int fd = OK(open("f", O_RDONLY | O_CREAT, 0644));
	ERR(syscall(SYS_io_setup, 0, &ctx), EINVAL);
	ERR(syscall(SYS_io_setup, 1, &bad), EINVAL);
	ERR(syscall(SYS_io_setup, 1, (void *)8), EFAULT);
	ctx = 0x12345;
	struct iocb r = request(IOCB_CMD_PREAD, fd, &e, 1, 0, 0), *p = &r;
	ERR(submit(1, &p), EINVAL);
	ERR(events(0, 1, &e, NULL), EINVAL);
	ctx = 0;
	setup(2);
	EQ(submit(0, &p), 0);
	ERR(submit(-1, &p), EINVAL);
	p = (void *)8;
	ERR(submit(1, &p), EFAULT);
	p = &r;
	r.aio_fildes = 99;
	ERR(submit(1, &p), EBADF);
	r = request(IOCB_CMD_PWRITE, fd, "x", 1, 0, 0);
	ERR(submit(1, &p), EBADF);
	r = request(77, fd, "x", 1, 0, 0);
	ERR(submit(1, &p), EINVAL);
	r = request(IOCB_CMD_PREAD, fd, &e, 1, 0, 0);
	r.aio_reserved2 = 1;
	ERR(submit(1, &p), EINVAL);
	// the good ones before a bad one are done
	struct iocb good = request(IOCB_CMD_PREAD, fd, &bad, 1, 0, 5), *two[2] = {&good, &r};
	EQ(submit(2, two), 1);
	EQ(events(1, 1, &e, NULL), 1);
	EQ(e.res, 0);
	EQ(e.data, 5);
	ERR(events(2, 1, &e, NULL), EINVAL);
	ERR(events(-1, 1, &e, NULL), EINVAL);
	EQ(events(0, 1, &e, NULL), 0);
	struct timespec ts = {0, 1000000};
	EQ(events(1, 1, &e, &ts), 0);
	ERR(syscall(SYS_io_cancel, ctx, &good, &e), EINVAL);
}

TEST_DIR(full_context)
{
	struct io_event e[256];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), n = 0;
	setup(1);
	struct iocb a = request(IOCB_CMD_PWRITE, fd, "x", 1, 0, 0), *p = &a;
	while (n < 10000 && submit(1, &p) == 1) // Linux rounds the size up
		n++;
	CHECK(n >= 1 && n < 10000 && errno == EAGAIN);
	long got = 0, k;
	while ((k = events(0, 256, e, &(struct timespec){0, 0})) > 0)
		got += k;
	EQ(got, n);
	EQ(submit(1, &p), 1);
}

TEST_DIR(not_inherited)
{
	int st;
	struct io_event e;
	setup(2);
	pid_t kid = OK(fork());
	if (!kid)
		_exit(events(0, 1, &e, NULL) == -1 && errno == EINVAL ? 0 : 1);
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
}

static void nothing(int sig) { (void)sig; }

TEST(interrupted)
{
	struct io_event e;
	struct sigaction sa = {.sa_handler = nothing};
	sigset_t none;
	struct { sigset_t *s; size_t n; } arg = {&none, 8};
	setup(2);
	sigaction(SIGUSR1, &sa, NULL);
	pid_t kid = t_pester(getpid(), SIGUSR1);
	ERR(events(1, 1, &e, NULL), EINTR);
	sigset_t block;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	sigemptyset(&none);
	ERR(syscall(SYS_io_pgetevents, ctx, 1, 1, &e, NULL, &arg), EINTR);
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	CHECK(sigismember(&now, SIGUSR1));
	t_end(kid);
}

static void *submits_later(void *arg)
{
	struct iocb *p = arg;
	usleep(20000);
	submit(1, &p);
	return NULL;
}

TEST_DIR(waits_for_another_thread)
{
	pthread_t t;
	struct io_event e;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	setup(2);
	struct iocb a = request(IOCB_CMD_PWRITE, fd, "hello", 5, 0, 9);
	ZERO(pthread_create(&t, NULL, submits_later, &a));
	EQ(events(1, 1, &e, NULL), 1);
	EQ(e.res, 5);
	EQ(e.data, 9);
	ZERO(pthread_join(t, NULL));
}
