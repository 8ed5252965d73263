// SPDX-License-Identifier: Apache-2.0
// rseq(2): registration, the CPU's number, aborted critical sections. Inside, the image says restartable_sequences: true.
#include "tests/kernel/t.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/rseq.h>

#define SIG 0x53053053u

static int sys_rseq(void *area, unsigned len, int flags, unsigned sig) { return (int)syscall(__NR_rseq, area, len, flags, sig); }
static volatile struct rseq *area(void) { return (void *)((char *)__builtin_thread_pointer() + __rseq_offset); }

static void wanted(void)
{
	if (!__rseq_size)
		SKIP("the C library has registered nothing");
}

TEST(registered)
{
	wanted();
	volatile struct rseq *rs = area();
	CHECK((int)rs->cpu_id >= 0);
	CHECK((int)rs->cpu_id < sysconf(_SC_NPROCESSORS_CONF));
	EQ(rs->cpu_id, rs->cpu_id_start);
	CHECK(sched_getcpu() >= 0 && sched_getcpu() < sysconf(_SC_NPROCESSORS_CONF));
}

TEST(errors)
{
	struct rseq *other = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	wanted();
	ERR(sys_rseq((void *)area(), 32, 0, SIG), EBUSY);
	ERR(sys_rseq((void *)area(), 32, 0, 1), EPERM);
	ERR(sys_rseq(other, 32, 0, SIG), EINVAL);
	ERR(sys_rseq(other, 32, 1, SIG), EINVAL);
	ERR(sys_rseq((void *)area(), 32, 1, 1), EPERM);
	ERR(sys_rseq((void *)area(), 32, 2, SIG), EINVAL);
	OK(sys_rseq((void *)area(), 32, 1, SIG));
	EQ((int)area()->cpu_id, -1);
	ERR(sys_rseq((void *)area(), 32, 1, SIG), EINVAL);
	ERR(sys_rseq((char *)other + 4, 32, 0, SIG), EINVAL);
	ERR(sys_rseq(other, 16, 0, SIG), EINVAL);
	ERR(sys_rseq((void *)0xffff800000000000ul, 32, 0, SIG), EFAULT);
	OK(sys_rseq(other, 32, 0, SIG));
	CHECK((int)other->cpu_id >= 0);
	OK(sys_rseq(other, 32, 1, SIG));
	OK(sys_rseq((void *)area(), 32, 0, SIG));
}

// Adds one to counters[cpu] in a restartable sequence: true unless it was aborted.
static bool add_percpu(volatile struct rseq *rs, long *counters, long stride)
{
	unsigned cpu = rs->cpu_id_start;
	__asm__ goto(".pushsection __rseq_cs, \"aw\"\n\t"
		     ".balign 32\n\t"
		     "3:\n\t"
		     ".long 0, 0\n\t"
		     ".quad 1f, 2f - 1f, 4f\n\t"
		     ".popsection\n\t"
		     "leaq 3b(%%rip), %%rax\n\t"
		     "movq %%rax, 8(%[rs])\n\t"
		     "1:\n\t"
		     "cmpl %[cpu], 4(%[rs])\n\t"
		     "jnz 4f\n\t"
		     "incq (%[p])\n\t"
		     "2:\n\t"
		     ".pushsection __rseq_abort, \"ax\"\n\t"
		     ".byte 0x0f, 0xb9, 0x3d\n\t"
		     ".long 0x53053053\n\t"
		     "4:\n\t"
		     "jmp %l[aborted]\n\t"
		     ".popsection"
		     :
		     : [rs] "r"(rs), [cpu] "r"(cpu), [p] "r"(counters + cpu * stride)
		     : "memory", "cc", "rax"
		     : aborted);
	return true;
aborted:
	return false;
}

enum { THREADS = 8, ROUNDS = 200000, STRIDE = 16 };
static long counters[256 * STRIDE];

static void *adder(void *arg)
{
	(void)arg;
	volatile struct rseq *rs = area();
	for (int i = 0; i < ROUNDS; i++)
		while (!add_percpu(rs, counters, STRIDE))
			;
	return NULL;
}

TEST(percpu_counters)
{
	pthread_t t[THREADS];
	long sum = 0;
	wanted();
	for (int i = 0; i < THREADS; i++)
		ZERO(pthread_create(&t[i], NULL, adder, NULL));
	for (int i = 0; i < THREADS; i++)
		ZERO(pthread_join(t[i], NULL));
	for (int i = 0; i < 256; i++)
		sum += counters[i * STRIDE];
	EQ(sum, (long)THREADS * ROUNDS);
}

static volatile int handled;
static void on_sig(int sig)
{
	(void)sig;
	handled = 1;
}

// Sits in a critical section until something aborts it.
static void spin_until_aborted(volatile struct rseq *rs)
{
	__asm__ goto(".pushsection __rseq_cs, \"aw\"\n\t"
		     ".balign 32\n\t"
		     "3:\n\t"
		     ".long 0, 0\n\t"
		     ".quad 1f, 2f - 1f, 4f\n\t"
		     ".popsection\n\t"
		     "leaq 3b(%%rip), %%rax\n\t"
		     "movq %%rax, 8(%[rs])\n\t"
		     "1:\n\t"
		     "pause\n\t"
		     "jmp 1b\n\t"
		     "2:\n\t"
		     ".pushsection __rseq_abort, \"ax\"\n\t"
		     ".byte 0x0f, 0xb9, 0x3d\n\t"
		     ".long 0x53053053\n\t"
		     "4:\n\t"
		     "jmp %l[aborted]\n\t"
		     ".popsection"
		     :
		     : [rs] "r"(rs)
		     : "memory", "cc", "rax"
		     : aborted);
aborted:
	return;
}

TEST(signal_aborts)
{
	wanted();
	t_on(SIGUSR1, on_sig, 0);
	pid_t p = t_pester(getpid(), SIGUSR1);
	while (!handled)
		spin_until_aborted(area());
	t_end(p);
}

TEST(fork_inherits)
{
	wanted();
	for (int i = 0; i < 20; i++) {
		pid_t p = fork();
		if (!p) {
			ERR(sys_rseq((void *)area(), 32, 0, SIG), EBUSY);
			for (int k = 0; k < 1000; k++)
				while (!add_percpu(area(), counters, STRIDE))
					;
			OK(sys_rseq((void *)area(), 32, 1, SIG));
			OK(sys_rseq((void *)area(), 32, 0, SIG));
			_exit(0);
		}
		EQ(t_wait(p), 0);
	}
	ERR(sys_rseq((void *)area(), 32, 0, SIG), EBUSY);
}

HELPER(look)
{
	return !__rseq_size || sys_rseq((void *)area(), 32, 0, SIG) != -1 || errno != EBUSY || (int)area()->cpu_id < 0;
}

TEST(exec_anew)
{
	wanted();
	for (int i = 0; i < 10; i++) {
		pid_t p = i % 2 ? vfork() : fork();
		if (!p) {
			execl(t_self, t_self, "--helper", "look", NULL);
			_exit(99);
		}
		EQ(t_wait(p), 0);
	}
	ERR(sys_rseq((void *)area(), 32, 0, SIG), EBUSY);
}

static void *in_thread(void *arg)
{
	(void)arg;
	if (sys_rseq((void *)area(), 32, 0, SIG) != -1 || errno != EBUSY)
		t_fail(__LINE__, "a new thread is not registered");
	return NULL;
}

TEST(threads_come_and_go)
{
	wanted();
	for (int i = 0; i < 200; i++) {
		pthread_t t;
		pthread_attr_t a;
		void *stack = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		pthread_attr_init(&a);
		ZERO(pthread_attr_setstack(&a, stack, 1 << 17));
		ZERO(pthread_create(&t, &a, in_thread, NULL));
		ZERO(pthread_join(t, NULL));
		OK(munmap(stack, 1 << 17)); // its area was there
	}
}

TEST(memory_taken_away)
{
	wanted();
	pid_t p = fork();
	if (!p) {
		void *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		OK(sys_rseq((void *)area(), 32, 1, SIG));
		OK(sys_rseq(m, 32, 0, SIG));
		munmap(m, 4096);
		for (;;)
			sched_yield();
	}
	EQ(t_wait(p), 128 + SIGSEGV);
}
