// SPDX-License-Identifier: Apache-2.0
// rseq(2) with an area that goes bad: that ends the program by SIGSEGV, and nothing else. Inside, the image says
// restartable_sequences: true.
#include "tests/kernel/t.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/rseq.h>

#define SIG 0x53053053u

enum bad { POINTER, HIGH_POINTER, SIGNATURE, VERSION, UNMAPPED, READ_ONLY };
enum what { SPINS, CALLS };

static int sys_rseq(void *area, unsigned len, int flags, unsigned sig) { return (int)syscall(__NR_rseq, area, len, flags, sig); }
static struct rseq_cs cs __attribute__((aligned(32)));
static long sink;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct rseq *own_area(void)
{
	struct rseq *rs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (__rseq_size)
		OK(sys_rseq((char *)__builtin_thread_pointer() + __rseq_offset, 32, 1, SIG));
	OK(sys_rseq(rs, 32, 0, SIG));
	return rs;
}

static void spoil(struct rseq *rs, enum bad bad)
{
	switch (bad) {
	case POINTER: rs->rseq_cs = 4096; break;
	case HIGH_POINTER: rs->rseq_cs = ~0ul << 12; break;
	case SIGNATURE:
	case VERSION: rs->rseq_cs = (uintptr_t)&cs; break;
	case UNMAPPED: munmap(rs, 4096); break;
	case READ_ONLY: mprotect(rs, 4096, PROT_READ); break;
	}
}

static void spin(int n)
{
	for (volatile int i = 0; i < n; i++)
		;
}

// Slow to notice: only a thread that the host has taken the CPU from is looked at. CALLS: most of that is while the kernel runs.
static void child(enum bad bad, enum what what)
{
	static char buf[1 << 16];
	struct rseq *rs = own_area();
	double end = now() + 30;
	int zero = what == CALLS ? OK(open("/dev/zero", O_RDONLY)) : -1;

	cs.start_ip = 4096;
	cs.post_commit_offset = 16;
	cs.abort_ip = (uintptr_t)child; // what stands before is not SIG
	cs.version = bad == VERSION ? 77 : 0;
	spoil(rs, bad);
	while (now() < end) {
		spin(20000);
		if (what == CALLS) {
			sink += read(zero, buf, sizeof(buf));
			spoil(rs, bad);
		}
	}
	_exit(0);
}

static void bad_area(enum bad bad)
{
	for (enum what what = SPINS; what <= CALLS; what++) {
		pid_t p = fork();
		if (!p)
			child(bad, what);
		EQ(t_wait(p), 128 + SIGSEGV);
	}
}

TEST(pointer) { bad_area(POINTER); }
TEST(pointer_beyond_user_space) { bad_area(HIGH_POINTER); }
TEST(signature) { bad_area(SIGNATURE); }
TEST(version) { bad_area(VERSION); }
TEST(unmapped) { bad_area(UNMAPPED); }
TEST(read_only) { bad_area(READ_ONLY); }

static struct rseq *volatile shown;
static volatile int sleeper, spinners;

static void *victim(void *arg)
{
	(void)arg;
	shown = own_area();
	while (shown)
		;
	return NULL;
}

static void *sleeps(void *arg)
{
	sleeper = gettid();
	pause();
	return arg;
}

static void *spins(void *arg)
{
	__atomic_add_fetch(&spinners, 1, __ATOMIC_SEQ_CST);
	while (spinners)
		;
	return arg;
}

static char state_of(int tid)
{
	char path[64], text[256] = "";
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	int fd = OK(open(path, O_RDONLY));
	OK(read(fd, text, sizeof(text) - 1));
	close(fd);
	char *at = strrchr(text, ')');
	return at && at[1] ? at[2] : 0;
}

// Other threads of the program go with it, those that sleep, too; its parent lives. Nobody may be on the way through the kernel when
// the host looks (docs/kernel.md), so all that are awake are busy in the program, and more than there are CPUs: the host has to look.
TEST(of_another_thread)
{
	pid_t p = fork();
	if (!p) {
		int n = (int)sysconf(_SC_NPROCESSORS_ONLN);
		struct timespec long_asleep = { .tv_nsec = 500000000 };
		pthread_t t;
		OK(pthread_create(&t, NULL, sleeps, NULL));
		OK(pthread_create(&t, NULL, victim, NULL));
		for (int i = 0; i < n; i++)
			OK(pthread_create(&t, NULL, spins, NULL));
		while (!shown || !sleeper || spinners < n || state_of(sleeper) != 'S')
			sched_yield();
		nanosleep(&long_asleep, NULL);
		alarm(60);
		shown->rseq_cs = 4096;
		for (;;)
			;
	}
	EQ(t_wait(p), 128 + SIGSEGV);
}

// The end of the heap moves below an area.
TEST(heap_shrinks)
{
	pid_t p = fork();
	if (!p) {
		char *a = sbrk(0);
		a += -(uintptr_t)a & 4095;
		OK(brk(a + 4096));
		OK(sys_rseq(own_area(), 32, 1, SIG));
		OK(sys_rseq(a, 32, 0, SIG));
		OK(brk(a));
		for (;;)
			sched_yield();
	}
	EQ(t_wait(p), 128 + SIGSEGV);
}

// Other memory is moved to where the area was, and there it cannot be written.
TEST(covered_by_mremap)
{
	for (int shared = 0; shared < 2; shared++) {
		pid_t p = fork();
		if (!p) {
			struct rseq *rs = own_area();
			void *m = mmap(NULL, 4096, PROT_NONE, (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
			OK(mremap(m, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, rs));
			for (;;)
				sched_yield();
		}
		EQ(t_wait(p), 128 + SIGSEGV);
	}
}

// Threads come with areas in stacks of their own while another one takes the memory of stacks away.
static void *volatile stack;
static void *comes(void *arg)
{
	void *m = stack;
	sys_rseq((char *)__builtin_thread_pointer() + __rseq_offset, 32, 1, SIG);
	while (sys_rseq(m, 32, 0, SIG) && errno == EFAULT)
		m = stack;
	for (;;)
		sched_yield();
	return arg;
}

TEST(registered_while_memory_goes)
{
	for (int i = 0; i < 50; i++) {
		pid_t p = fork();
		if (!p) {
			pthread_t t;
			stack = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			OK(pthread_create(&t, NULL, comes, NULL));
			for (;;) {
				void *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *old = stack;
				stack = m;
				munmap(old, 4096);
			}
		}
		EQ(t_wait(p), 128 + SIGSEGV);
	}
}

// What was left in rseq_cs by a section that is over may go away: a system call has cleared it, or the program did.
TEST(left_over_descriptor)
{
	pid_t p = fork();
	if (!p) {
		struct rseq *rs = own_area();
		struct rseq_cs *old = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		double end = now() + 0.2;
		old->start_ip = 4096;
		old->post_commit_offset = 16;
		old->abort_ip = (uintptr_t)&cs.version + 4;
		cs.version = SIG;
		rs->rseq_cs = (uintptr_t)old;
		spin(10000);
		rs->rseq_cs = 0;
		munmap(old, 4096);
		while (now() < end)
			;
		EQ(rs->rseq_cs, 0);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

// A child without the memory of the area that it inherits may die of it; nobody else may.
TEST(not_for_children)
{
	pid_t p = fork();
	if (!p) {
		struct rseq *rs = own_area();
		OK(madvise(rs, 4096, MADV_DONTFORK));
		for (int i = 0; i < 20; i++) {
			pid_t c = fork();
			if (!c)
				_exit(0);
			int st = t_wait(c);
			CHECK(!st || st == 128 + SIGSEGV);
			CHECK((int)rs->cpu_id >= 0);
			ERR(sys_rseq(rs, 32, 0, SIG), EBUSY);
		}
		_exit(0);
	}
	EQ(t_wait(p), 0);
}
