// SPDX-License-Identifier: Apache-2.0
// io_uring by bare system calls, for the tests of it.
#ifndef TESTS_KERNEL_URING_H
#define TESTS_KERNEL_URING_H
#include "tests/kernel/t.h"
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct ring {
	int fd;
	struct io_uring_params p;
	char *rings;
	struct io_uring_sqe *sqes;
	unsigned tail;
	size_t rings_len, sqes_len;
};

static inline int setup(unsigned n, struct io_uring_params *p) { return (int)syscall(__NR_io_uring_setup, n, p); }
static inline int enter(int fd, unsigned n, unsigned want, unsigned flags)
{
	return (int)syscall(__NR_io_uring_enter, fd, n, want, flags, NULL, 8);
}
static inline int reg(int fd, unsigned op, void *arg, unsigned n) { return (int)syscall(__NR_io_uring_register, fd, op, arg, n); }

#define WORD(r, off) ((unsigned *)((r)->rings + (off)))
#define LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

__attribute__((unused)) static void ring_map(struct ring *r)
{
	unsigned ssz = r->p.flags & IORING_SETUP_SQE128 ? 128 : 64, csz = r->p.flags & IORING_SETUP_CQE32 ? 32 : 16;
	size_t a = r->p.sq_off.array + r->p.sq_entries * 4, b = r->p.cq_off.cqes + r->p.cq_entries * csz;
	r->rings_len = a > b ? a : b;
	r->sqes_len = r->p.sq_entries * ssz;
	r->rings = mmap(NULL, r->rings_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->sqes_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	CHECK(r->rings != MAP_FAILED && r->sqes != MAP_FAILED);
}

// A ring; the case is skipped where the machine's kernel refuses io_uring.
__attribute__((unused)) static void ring_new(struct ring *r, unsigned n, unsigned flags)
{
	memset(r, 0, sizeof(*r));
	r->p.flags = flags;
	r->fd = setup(n, &r->p);
	if (r->fd < 0 && (errno == EPERM || errno == ENOSYS))
		SKIP("no io_uring here");
	OK(r->fd);
	ring_map(r);
}

__attribute__((unused)) static void ring_free(struct ring *r)
{
	munmap(r->rings, r->rings_len);
	munmap(r->sqes, r->sqes_len);
	OK(close(r->fd));
}

__attribute__((unused)) static struct io_uring_sqe *sqe(struct ring *r, int op, int fd, const void *addr, unsigned len, unsigned long off, unsigned long data)
{
	unsigned i = r->tail & (r->p.sq_entries - 1);
	struct io_uring_sqe *s = (void *)((char *)r->sqes + (size_t)i * (r->p.flags & IORING_SETUP_SQE128 ? 128 : 64));
	memset(s, 0, sizeof(*s));
	s->opcode = (unsigned char)op;
	s->fd = fd;
	s->addr = (unsigned long)addr;
	s->len = len;
	s->off = off;
	s->user_data = data;
	WORD(r, r->p.sq_off.array)[i] = i;
	r->tail++;
	STORE(WORD(r, r->p.sq_off.tail), r->tail);
	return s;
}

__attribute__((unused)) static unsigned ready(struct ring *r)
{
	return LOAD(WORD(r, r->p.cq_off.tail)) - *WORD(r, r->p.cq_off.head);
}

__attribute__((unused)) static struct io_uring_cqe *peek(struct ring *r, unsigned n)
{
	unsigned sz = r->p.flags & IORING_SETUP_CQE32 ? 32 : 16;
	return (void *)(r->rings + r->p.cq_off.cqes + ((*WORD(r, r->p.cq_off.head) + n) & (r->p.cq_entries - 1)) * sz);
}

__attribute__((unused)) static void seen(struct ring *r) { STORE(WORD(r, r->p.cq_off.head), *WORD(r, r->p.cq_off.head) + 1); }

struct cqe {
	unsigned long user_data;
	int res;
	unsigned flags;
};

// The next completion, waited for.
__attribute__((unused)) static struct cqe next(struct ring *r)
{
	struct cqe c;
	while (!ready(r)) {
		int e = enter(r->fd, 0, 1, IORING_ENTER_GETEVENTS);
		if (e < 0 && errno != EINTR)
			t_fail(__LINE__, "io_uring_enter: errno %d", errno);
	}
	memcpy(&c, peek(r, 0), sizeof(c));
	seen(r);
	return c;
}

// The result of one request, submitted alone.
__attribute__((unused)) static int one(struct ring *r)
{
	EQ(enter(r->fd, 1, 1, IORING_ENTER_GETEVENTS), 1);
	return next(r).res;
}

// Waits for the completion with this user data among the next n: its result. The others are dropped.
__attribute__((unused)) static int result_of(struct ring *r, unsigned n, unsigned long data)
{
	int res = -99999;
	while (n--) {
		struct cqe c = next(r);
		if (c.user_data == data)
			res = c.res;
	}
	return res;
}

#define COMPLETES(r, data_, res_)                                                                  \
	do {                                                                                       \
		struct cqe c_ = next(r);                                                  \
		if (c_.user_data != (data_) || c_.res != (res_))                                   \
			t_fail(__LINE__, "completion %lu: %d, want %lu: %d", (unsigned long)c_.user_data, c_.res, \
			       (unsigned long)(data_), (int)(res_));                               \
	} while (0)
#endif
