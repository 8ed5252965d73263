// SPDX-License-Identifier: Apache-2.0
// The futex call itself, between threads and between processes.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>

#include "tests/kernel/t.h"

struct shared {
	uint32_t word, other, state, woken;
};

static struct shared *s;

static long fut(uint32_t *w, int op, uint32_t val, const struct timespec *ts, uint32_t *w2, uint32_t val3)
{
	return syscall(SYS_futex, w, op, val, ts, w2, val3);
}

static void setup(void)
{
	s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		t_fail(__LINE__, "mmap: errno %d", errno);
}

// A process that waits on the word until woken; it counts itself in s->woken.
static pid_t waiter(uint32_t *w, uint32_t bits)
{
	pid_t p = fork();
	if (p < 0)
		t_fail(__LINE__, "fork: errno %d", errno);
	if (!p) {
		long r = fut(w, FUTEX_WAIT_BITSET, 0, NULL, NULL, bits);
		if (r)
			_exit(1);
		__atomic_add_fetch(&s->woken, 1, __ATOMIC_SEQ_CST);
		_exit(0);
	}
	return p;
}

// Wakes until n processes in all have been hit: they may still be on their way into the call.
static void wake_all(uint32_t *w, int n, uint32_t bits)
{
	for (int got = 0; got < n; t_sleep_ms(1)) {
		long r = fut(w, FUTEX_WAKE_BITSET, 1, NULL, NULL, bits);
		if (r < 0)
			t_fail(__LINE__, "wake: errno %d", errno);
		got += (int)r;
	}
}

TEST(value_differs)
{
	uint32_t w = 5;
	ERR(fut(&w, FUTEX_WAIT, 4, NULL, NULL, 0), EAGAIN);
	ERR(fut(&w, FUTEX_WAIT_PRIVATE, 4, NULL, NULL, 0), EAGAIN);
	EQ(fut(&w, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
}

TEST(timeout_relative)
{
	uint32_t w = 0;
	struct timespec ts = {0, 20000000}, a, b;
	OK(clock_gettime(CLOCK_MONOTONIC, &a));
	ERR(fut(&w, FUTEX_WAIT, 0, &ts, NULL, 0), ETIMEDOUT);
	OK(clock_gettime(CLOCK_MONOTONIC, &b));
	CHECK((b.tv_sec - a.tv_sec) * 1000000000l + b.tv_nsec - a.tv_nsec >= 20000000);
	ts.tv_nsec = 1000000000;
	ERR(fut(&w, FUTEX_WAIT, 0, &ts, NULL, 0), EINVAL);
}

TEST(timeout_absolute)
{
	uint32_t w = 0;
	struct timespec ts;
	OK(clock_gettime(CLOCK_MONOTONIC, &ts));
	ts.tv_sec -= 1;
	ERR(fut(&w, FUTEX_WAIT_BITSET, 0, &ts, NULL, ~0u), ETIMEDOUT);
	OK(clock_gettime(CLOCK_REALTIME, &ts));
	ts.tv_nsec += 10000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	ERR(fut(&w, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &ts, NULL, ~0u), ETIMEDOUT);
	ERR(fut(&w, FUTEX_WAIT_BITSET, 0, &ts, NULL, 0), EINVAL);
}

TEST(wake_between_processes)
{
	setup();
	pid_t p = waiter(&s->word, ~0u);
	wake_all(&s->word, 1, ~0u);
	EQ(t_wait(p), 0);
}

TEST(wake_counts)
{
	setup();
	pid_t p[5];
	for (int i = 0; i < 5; i++)
		p[i] = waiter(&s->word, ~0u);
	wake_all(&s->word, 5, ~0u);
	for (int i = 0; i < 5; i++)
		EQ(t_wait(p[i]), 0);
	EQ(s->woken, 5);
	EQ(fut(&s->word, FUTEX_WAKE, 100, NULL, NULL, 0), 0);
}

TEST(bitset_selects)
{
	setup();
	pid_t a = waiter(&s->word, 1), b = waiter(&s->word, 2);
	wake_all(&s->word, 1, 2);
	EQ(t_wait(b), 0);
	EQ(waitpid(a, NULL, WNOHANG), 0);
	EQ(fut(&s->word, FUTEX_WAKE_BITSET, 10, NULL, NULL, 4), 0);
	wake_all(&s->word, 1, 1);
	EQ(t_wait(a), 0);
}

TEST(requeue_moves_waiters)
{
	setup();
	pid_t p[4];
	for (int i = 0; i < 4; i++)
		p[i] = waiter(&s->word, ~0u);
	// The time-out argument is the number to requeue. Repeated until all have gone over.
	int moved = 0, woken = 0;
	while (moved + woken < 4) {
		long r = fut(&s->word, FUTEX_REQUEUE, 0, (void *)10l, &s->other, 0);
		if (r < 0)
			t_fail(__LINE__, "requeue: errno %d", errno);
		moved += (int)r;
		t_sleep_ms(1);
	}
	EQ(fut(&s->word, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
	EQ(fut(&s->other, FUTEX_WAKE, 10, NULL, NULL, 0), 4);
	for (int i = 0; i < 4; i++)
		EQ(t_wait(p[i]), 0);
}

TEST(cmp_requeue)
{
	setup();
	s->word = 0;
	ERR(fut(&s->word, FUTEX_CMP_REQUEUE, 1, (void *)10l, &s->other, 7), EAGAIN);
	pid_t p[3];
	for (int i = 0; i < 3; i++)
		p[i] = waiter(&s->word, ~0u);
	int n = 0;
	while (n < 3) {
		n += (int)OK(fut(&s->word, FUTEX_CMP_REQUEUE, 0, (void *)10l, &s->other, 0));
		t_sleep_ms(1);
	}
	EQ(fut(&s->other, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
	EQ(fut(&s->other, FUTEX_WAKE, 10, NULL, NULL, 0), 2);
	for (int i = 0; i < 3; i++)
		EQ(t_wait(p[i]), 0);
}

TEST(wake_op)
{
	setup();
	s->other = 5;
	// other += 3; wake word's waiters, and other's as well if other was > 4
	uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_GT, 4);
	EQ(fut(&s->word, FUTEX_WAKE_OP, 1, (void *)1l, &s->other, op), 0);
	EQ(s->other, 8);
	op = FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_EQ, 8);
	EQ(fut(&s->word, FUTEX_WAKE_OP, 1, (void *)1l, &s->other, op), 0);
	EQ(s->other, 0);
	pid_t p = waiter(&s->word, ~0u);
	op = FUTEX_OP(FUTEX_OP_OR, 2, FUTEX_OP_CMP_EQ, 99);
	while (fut(&s->word, FUTEX_WAKE_OP, 1, (void *)1l, &s->other, op) == 0)
		t_sleep_ms(1);
	EQ(t_wait(p), 0);
	EQ(s->other, 2);
}

TEST(unknown_operation)
{
	uint32_t w = 0;
	ERR(fut(&w, 100, 0, NULL, NULL, 0), ENOSYS);
}

static uint32_t private_word, private_flag;
static void *private_waiter(void *arg)
{
	__atomic_store_n(&private_flag, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&private_word, __ATOMIC_SEQ_CST) == 0)
		fut(&private_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return arg;
}

TEST(private_between_threads)
{
	for (int i = 0; i < 200; i++) {
		pthread_t t;
		private_word = 0;
		ZERO(pthread_create(&t, NULL, private_waiter, NULL));
		if (i % 2)
			sched_yield();
		__atomic_store_n(&private_word, 1, __ATOMIC_SEQ_CST);
		OK(fut(&private_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
		ZERO(pthread_join(t, NULL));
	}
}

TEST(private_is_per_process)
{
	// The same address in a forked child is another futex.
	static uint32_t w;
	pid_t p = OK(fork());
	if (!p) {
		struct timespec ts = {0, 100000000};
		_exit(fut(&w, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0) == -1 && errno == ETIMEDOUT ? 0 : 1);
	}
	int st;
	pid_t r;
	while ((r = waitpid(p, &st, WNOHANG)) == 0) {
		EQ(fut(&w, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
		t_sleep_ms(5);
	}
	EQ(st, 0);
}

TEST_DIR(shared_by_file_mapping)
{
	// Two mappings of one file at different addresses: the key is the object, not the address.
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	OK(ftruncate(fd, 4096));
	uint32_t *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint32_t *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(a != MAP_FAILED && b != MAP_FAILED && a != b);
	setup();
	pid_t p = waiter(a + 3, ~0u);
	wake_all(b + 3, 1, ~0u);
	EQ(t_wait(p), 0);
}

TEST(ping_pong_between_processes)
{
	setup();
	pid_t p = OK(fork());
	uint32_t me = p ? 0 : 1;
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t v;
		while ((v = __atomic_load_n(&s->state, __ATOMIC_SEQ_CST)) % 2 != me)
			fut(&s->state, FUTEX_WAIT, v, NULL, NULL, 0);
		__atomic_add_fetch(&s->state, 1, __ATOMIC_SEQ_CST);
		fut(&s->state, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	if (!p)
		_exit(0);
	EQ(t_wait(p), 0);
	EQ(s->state, 2000);
}

TEST(clear_child_tid_wakes)
{
	// What pthread_join waits for.
	pid_t *tid = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(tid != MAP_FAILED);
	*tid = 77;
	pid_t p = OK(fork());
	if (!p) {
		syscall(SYS_set_tid_address, tid);
		syscall(SYS_exit, 0);
	}
	EQ(t_wait(p), 0);
	// Linux clears it only where the memory has other users; a shared page alone is not enough.
	CHECK(*tid == 77 || *tid == 0);
}

TEST(waiter_killed_leaves_no_trace)
{
	setup();
	pid_t p = waiter(&s->word, ~0u);
	t_sleep_ms(10);
	t_end(p);
	EQ(fut(&s->word, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
	p = waiter(&s->word, ~0u);
	wake_all(&s->word, 1, ~0u);
	EQ(t_wait(p), 0);
}
