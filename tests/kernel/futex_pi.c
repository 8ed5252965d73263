// SPDX-License-Identifier: Apache-2.0
// Futexes that know their owner: waiting with a move to such a lock, deadlocks seen, owners that died.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "tests/kernel/t.h"

#define N 4
static uint32_t cond, lock, lock2;
static int waiting, done;
static pid_t tids[N];

static long fut(uint32_t *w, int op, uint32_t val, const void *ts, uint32_t *w2, uint32_t val3)
{
	return syscall(SYS_futex, w, op | FUTEX_PRIVATE_FLAG, val, ts, w2, val3);
}

static pid_t tid(void) { return (pid_t)syscall(SYS_gettid); }
static void plock(uint32_t *w)
{
	uint32_t none = 0;
	if (!__atomic_compare_exchange_n(w, &none, (uint32_t)tid(), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		OK(fut(w, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
}
static void punlock(uint32_t *w)
{
	uint32_t me = (uint32_t)tid();
	if (!__atomic_compare_exchange_n(w, &me, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		OK(fut(w, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
}

// As a condition variable with a PI mutex does.
static void *waits(void *arg)
{
	int i = (int)(long)arg;
	tids[i] = tid();
	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	long r = fut(&cond, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &lock, 0);
	if (r || (lock & FUTEX_TID_MASK) != (uint32_t)tid())
		return (void *)1;
	done++; // the lock is ours
	punlock(&lock);
	return NULL;
}

// Until n more have been moved or given the lock; how many calls that took is not told.
static void move(int n, int each)
{
	for (int got = 0; got < n; t_sleep_ms(1)) {
		long r = fut(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)(long)each, &lock, 0);
		if (r < 0)
			t_fail(__LINE__, "requeue: errno %d", errno);
		got += (int)r;
	}
}

TEST(requeue_to_a_lock_that_is_held)
{
	pthread_t t[N];
	void *r;
	if (fut(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)1l, &lock, 0) < 0 && errno == ENOSYS)
		SKIP("no such futexes here");
	plock(&lock);
	for (int i = 0; i < N; i++)
		ZERO(pthread_create(&t[i], NULL, waits, (void *)(long)i));
	move(N, N);
	EQ(done, 0);
	CHECK(lock & FUTEX_WAITERS);
	EQ(lock & FUTEX_TID_MASK, tid());
	punlock(&lock);
	for (int i = 0; i < N; i++) {
		ZERO(pthread_join(t[i], &r));
		CHECK(!r);
	}
	EQ(done, N);
	EQ(lock, 0);
}

TEST(requeue_to_a_free_lock)
{
	pthread_t t[N];
	void *r;
	for (int i = 0; i < N; i++)
		ZERO(pthread_create(&t[i], NULL, waits, (void *)(long)i));
	move(N, N); // the first gets it at once, the others after it
	for (int i = 0; i < N; i++) {
		ZERO(pthread_join(t[i], &r));
		CHECK(!r);
	}
	EQ(done, N);
	EQ(lock & ~FUTEX_WAITERS, 0);
}

TEST(one_at_a_time)
{
	pthread_t t[N];
	void *r;
	for (int i = 0; i < N; i++)
		ZERO(pthread_create(&t[i], NULL, waits, (void *)(long)i));
	move(N, 0);
	for (int i = 0; i < N; i++) {
		ZERO(pthread_join(t[i], &r));
		CHECK(!r);
	}
	EQ(done, N);
}

TEST(wrong_arguments)
{
	struct timespec past = {0, 1};
	cond = 0;
	ERR(fut(&cond, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &cond, 0), EINVAL);
	ERR(fut(&cond, FUTEX_WAIT_REQUEUE_PI, 1, NULL, &lock, 0), EAGAIN);
	ERR(fut(&cond, FUTEX_WAIT_REQUEUE_PI, 0, &past, &lock, 0), ETIMEDOUT);
	ERR(fut(&cond, FUTEX_WAIT_REQUEUE_PI | FUTEX_CLOCK_REALTIME, 0, &past, &lock, 0), ETIMEDOUT);
	ERR(fut(&cond, FUTEX_CMP_REQUEUE_PI, 2, (void *)1l, &lock, 0), EINVAL);
	ERR(fut(&cond, FUTEX_CMP_REQUEUE_PI, 0, (void *)1l, &lock, 0), EINVAL);
	ERR(fut(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)1l, &cond, 0), EINVAL);
	ERR(fut(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)-1l, &lock, 0), EINVAL);
	ERR(fut(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)1l, &lock, 7), EAGAIN);
	EQ(fut(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)1l, &lock, 0), 0);
	ERR(fut((uint32_t *)8, FUTEX_CMP_REQUEUE_PI, 1, (void *)1l, &lock, 0), EFAULT);
	ERR(fut((uint32_t *)((char *)&cond + 1), FUTEX_WAIT_REQUEUE_PI, 0, NULL, &lock, 0), EINVAL);
}

static volatile int interrupted;
static void on_usr1(int sig) { interrupted = sig; }

static void *plain(void *arg)
{
	(void)arg;
	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	return (void *)fut(&cond, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void asleep(pid_t t)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", t);
	while (!strstr(t_get(path), ") S "))
		t_sleep_ms(1);
}

TEST(waiters_of_two_kinds_do_not_mix)
{
	pthread_t t;
	void *r;
	ZERO(pthread_create(&t, NULL, waits, (void *)0l));
	while (!__atomic_load_n(&waiting, __ATOMIC_SEQ_CST))
		t_sleep_ms(1);
	asleep(tids[0]);
	ERR(fut(&cond, FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL); // it waits to be moved, not to be woken
	ERR(fut(&cond, FUTEX_CMP_REQUEUE, 1, (void *)1l, &lock, 0), EINVAL);
	ERR(fut(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)1l, &lock2, 0), EINVAL); // to another lock than it said
	move(1, 1);
	ZERO(pthread_join(t, &r));
	CHECK(!r);
	waiting = 0;
	ZERO(pthread_create(&t, NULL, plain, NULL));
	long e = 0;
	for (; !e; t_sleep_ms(1))
		e = fut(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)1l, &lock, 0);
	EQ(e, -1);
	EQ(errno, EINVAL);
	EQ(fut(&cond, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
	ZERO(pthread_join(t, &r));
	CHECK(!r);
}

static void *waits_long(void *arg)
{
	struct timespec ts;
	(void)arg;
	t_on(SIGUSR1, on_usr1, 0);
	tids[0] = tid();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += 200000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_sec++, ts.tv_nsec -= 1000000000;
	long r = fut(&cond, FUTEX_WAIT_REQUEUE_PI, 0, &ts, &lock, 0);
	return (void *)(long)(r ? errno : 0);
}

TEST(time_ends_after_the_move)
{
	pthread_t t;
	void *r;
	plock(&lock);
	ZERO(pthread_create(&t, NULL, waits_long, NULL));
	move(1, 1);
	ZERO(pthread_join(t, &r));
	EQ((long)r, ETIMEDOUT);
	punlock(&lock);
	EQ(lock & FUTEX_TID_MASK, 0);
	plock(&lock2); // nothing is left behind
	punlock(&lock2);
}

TEST(a_signal_before_the_move)
{
	pthread_t t;
	void *r;
	interrupted = 0;
	tids[0] = 0;
	ZERO(pthread_create(&t, NULL, waits_long, NULL));
	while (!*(volatile pid_t *)&tids[0])
		t_sleep_ms(1);
	asleep(tids[0]);
	ZERO(pthread_kill(t, SIGUSR1));
	ZERO(pthread_join(t, &r));
	EQ((long)r, ETIMEDOUT); // it went on waiting
	EQ(interrupted, SIGUSR1);
}

// --- deadlocks

static int step;
static void *crosses(void *arg)
{
	(void)arg;
	tids[1] = tid();
	plock(&lock2);
	__atomic_store_n(&step, 1, __ATOMIC_SEQ_CST);
	plock(&lock); // waits
	punlock(&lock);
	punlock(&lock2);
	return NULL;
}

TEST(deadlocks_are_seen)
{
	pthread_t t;
	plock(&lock);
	ERR(fut(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0), EDEADLK);
	ERR(fut(&lock, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0), EDEADLK);
	ZERO(pthread_create(&t, NULL, crosses, NULL));
	while (!__atomic_load_n(&step, __ATOMIC_SEQ_CST))
		t_sleep_ms(1);
	asleep(tids[1]);
	ERR(fut(&lock2, FUTEX_LOCK_PI, 0, NULL, NULL, 0), EDEADLK);
	ERR(fut(&lock2, FUTEX_LOCK_PI2, 0, NULL, NULL, 0), EDEADLK);
	punlock(&lock);
	ZERO(pthread_join(t, NULL));
	plock(&lock2);
	punlock(&lock2);
	ERR(fut(&lock2, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), EPERM);
	lock2 = 4000000; // nobody
	ERR(fut(&lock2, FUTEX_LOCK_PI, 0, NULL, NULL, 0), ESRCH);
	lock2 = 0;
}

static void *tries(void *arg)
{
	struct timespec past = {0, 1};
	(void)arg;
	ERR(fut(&lock, FUTEX_LOCK_PI2, 0, &past, NULL, 0), ETIMEDOUT);
	ERR(fut(&lock, FUTEX_LOCK_PI2 | FUTEX_CLOCK_REALTIME, 0, &past, NULL, 0), ETIMEDOUT);
	ERR(fut(&lock, FUTEX_LOCK_PI, 0, &past, NULL, 0), ETIMEDOUT);
	ERR(fut(&lock, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME, 0, &past, NULL, 0), ENOSYS);
	ERR(fut(&lock, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0), EAGAIN);
	ERR(fut(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), EPERM);
	return NULL;
}

TEST(locks_and_clocks)
{
	pthread_t t;
	plock(&lock);
	ZERO(pthread_create(&t, NULL, tries, NULL));
	ZERO(pthread_join(t, NULL));
	punlock(&lock);
	EQ(lock & FUTEX_TID_MASK, 0);
}

// --- owners that die

static pthread_mutex_t robust;
static void *dies(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&robust);
	return NULL;
}

TEST(robust_lock_of_a_dead_thread)
{
	pthread_mutexattr_t a;
	pthread_t t;
	ZERO(pthread_mutexattr_init(&a));
	ZERO(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST));
	ZERO(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT));
	ZERO(pthread_mutex_init(&robust, &a));
	for (int i = 0; i < 5; i++) {
		ZERO(pthread_create(&t, NULL, dies, NULL));
		ZERO(pthread_join(t, NULL));
		EQ(pthread_mutex_lock(&robust), EOWNERDEAD);
		ZERO(pthread_mutex_consistent(&robust));
		ZERO(pthread_mutex_unlock(&robust));
	}
}

TEST(robust_lock_of_a_dead_process)
{
	pthread_mutexattr_t a;
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	ZERO(pthread_mutexattr_init(&a));
	ZERO(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST));
	ZERO(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT));
	ZERO(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED));
	ZERO(pthread_mutex_init(m, &a));
	int p[2];
	OK(pipe(p));
	pid_t c = OK(fork());
	if (!c) {
		pthread_mutex_lock(m);
		EQ(write(p[1], "x", 1), 1);
		for (;;)
			pause();
	}
	char b;
	EQ(read(p[0], &b, 1), 1);
	pid_t w = OK(fork());
	if (!w)
		_exit(pthread_mutex_lock(m) == EOWNERDEAD && !pthread_mutex_consistent(m) && !pthread_mutex_unlock(m) ? 0 : 1);
	t_sleep_ms(20);
	OK(kill(c, SIGKILL));
	EQ(t_wait(c), 128 + SIGKILL);
	EQ(t_wait(w), 0);
	ZERO(pthread_mutex_lock(m));
	ZERO(pthread_mutex_unlock(m));
}
