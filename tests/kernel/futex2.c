// SPDX-License-Identifier: Apache-2.0
// futex_waitv and the calls futex_wait, futex_wake, futex_requeue.
#include <pthread.h>
#include <sys/mman.h>

#include "tests/kernel/t.h"

enum { WAITV = 449, WAKE2 = 454, WAIT2 = 455, REQUEUE2 = 456, U32 = 2, PRIVATE = 128 };
struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

static uint32_t *words;

static long waitv(struct waitv *w, unsigned n, const struct timespec *ts) { return syscall(WAITV, w, n, 0, ts, CLOCK_MONOTONIC); }
static long wake(uint32_t *p, int n) { return syscall(SYS_futex, p, 1 /* FUTEX_WAKE */, n, NULL, NULL, 0); }

static struct timespec in_ms(long ms)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += ms * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return ts;
}

static void share(void)
{
	words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void fill(struct waitv *w, int n)
{
	for (int i = 0; i < n; i++)
		w[i] = (struct waitv){.val = words[i], .uaddr = (uintptr_t)&words[i], .flags = U32};
}

TEST(waitv_is_woken_by_any)
{
	struct waitv w[5];
	int st;
	share();
	fill(w, 5);
	pid_t kid = OK(fork());
	if (!kid)
		_exit((int)waitv(w, 5, NULL));
	while (wake(&words[3], 1) != 1)
		usleep(1000);
	EQ(waitpid(kid, &st, 0), kid);
	EQ(WEXITSTATUS(st), 3);
	EQ(wake(&words[0], 1), 0); // it left the other queues
}

TEST(waitv_values_and_time)
{
	struct waitv w[3];
	struct timespec soon = in_ms(20), past = {0, 1};
	share();
	fill(w, 3);
	ERR(waitv(w, 3, &soon), ETIMEDOUT);
	ERR(waitv(w, 3, &past), ETIMEDOUT);
	words[1] = 5;
	ERR(waitv(w, 3, NULL), EAGAIN);
	EQ(wake(&words[0], 1), 0);
}

TEST(waitv_errors)
{
	struct waitv w[2];
	struct timespec ts = in_ms(10);
	share();
	fill(w, 2);
	ERR(waitv(w, 0, NULL), EINVAL);
	ERR(waitv(w, 129, NULL), EINVAL);
	ERR(waitv(NULL, 1, NULL), EINVAL);
	ERR(waitv((void *)8, 1, NULL), EFAULT);
	ERR(syscall(WAITV, w, 2, 1, NULL, CLOCK_MONOTONIC), EINVAL);
	ERR(syscall(WAITV, w, 2, 0, &ts, CLOCK_BOOTTIME), EINVAL);
	w[1].flags = 1 << 10;
	ERR(waitv(w, 2, NULL), EINVAL);
	fill(w, 2);
	w[1].reserved = 1;
	ERR(waitv(w, 2, NULL), EINVAL);
	fill(w, 2);
	w[1].uaddr++;
	ERR(waitv(w, 2, NULL), EINVAL);
}

static void nothing(int sig) { (void)sig; }

TEST(waitv_interrupted)
{
	struct waitv w[1];
	struct sigaction sa = {.sa_handler = nothing};
	share();
	fill(w, 1);
	sigaction(SIGUSR1, &sa, NULL);
	pid_t kid = t_pester(getpid(), SIGUSR1);
	ERR(waitv(w, 1, NULL), EINTR);
	t_end(kid);
}

TEST(wait_and_wake)
{
	int st;
	share();
	if (syscall(WAKE2, words, 0xffffffff, 1, U32) < 0 && errno == ENOSYS)
		SKIP("no futex_wake here");
	pid_t kid = OK(fork());
	if (!kid)
		_exit(syscall(WAIT2, words, 0, 2, U32, NULL, CLOCK_MONOTONIC) ? 1 : 0);
	usleep(10000);
	EQ(syscall(WAKE2, words, 1, 1, U32), 0); // another bit
	while (syscall(WAKE2, words, 2, 1, U32) != 1)
		usleep(1000);
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	ERR(syscall(WAIT2, words, 1, ~0u, U32, NULL, CLOCK_MONOTONIC), EAGAIN);
	ERR(syscall(WAIT2, words, 0, ~0u, 3, NULL, CLOCK_MONOTONIC), EINVAL);
	ERR(syscall(WAIT2, words, 0, 0, U32, NULL, CLOCK_MONOTONIC), EINVAL);
	ERR(syscall(WAKE2, words, 0, 1, U32), EINVAL);
	struct timespec ts = in_ms(10);
	ERR(syscall(WAIT2, words, 0, ~0u, U32 | PRIVATE, &ts, CLOCK_MONOTONIC), ETIMEDOUT);
}

TEST(requeue)
{
	struct waitv w[2];
	int st;
	share();
	fill(w, 2);
	if (syscall(REQUEUE2, w, 0, 0, 0) < 0 && errno == ENOSYS)
		SKIP("no futex_requeue here");
	pid_t kid = OK(fork());
	if (!kid)
		_exit(syscall(WAIT2, words, 0, ~0u, U32, NULL, CLOCK_MONOTONIC) ? 1 : 0);
	while (syscall(REQUEUE2, w, 0, 0, 1) != 1)
		usleep(1000);
	EQ(wake(&words[0], 1), 0);
	EQ(wake(&words[1], 1), 1);
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	words[0] = 9;
	ERR(syscall(REQUEUE2, w, 0, 1, 1), EAGAIN);
}
