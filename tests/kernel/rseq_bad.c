// SPDX-License-Identifier: Apache-2.0
// rseq(2) with an area that goes bad: that ends the program at most, by SIGSEGV. An enclave refuses the call to a program whose
// image does not ask for it; then nothing looks at the area, and the same program ends well.
#include "tests/kernel/t.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/rseq.h>

#define SIG 0x53053053u

enum bad { POINTER, HIGH_POINTER, SIGNATURE, VERSION, UNMAPPED, READ_ONLY };
enum what { SPINS, SLEEPS };

static int sys_rseq(void *area, unsigned len, int flags, unsigned sig) { return (int)syscall(__NR_rseq, area, len, flags, sig); }
static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// Ends with 0 when nothing minds. The program is slow to notice: only a thread that the host has taken the CPU from is looked at.
static void child(enum bad bad, enum what what, bool refused)
{
	static struct rseq_cs cs __attribute__((aligned(32)));
	struct rseq *rs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double end = now() + (refused ? 0.05 : 20);

	if (__rseq_size)
		OK(sys_rseq((char *)__builtin_thread_pointer() + __rseq_offset, 32, 1, SIG));
	if (refused)
		ERR(sys_rseq(rs, 32, 0, SIG), ENOSYS);
	else
		OK(sys_rseq(rs, 32, 0, SIG));
	cs.start_ip = 4096;
	cs.post_commit_offset = 16;
	cs.abort_ip = (uintptr_t)child; // what stands before is not SIG
	cs.version = bad == VERSION ? 77 : 0;
	switch (bad) {
	case POINTER: rs->rseq_cs = 4096; break;
	case HIGH_POINTER: rs->rseq_cs = ~0ul << 12; break;
	case SIGNATURE:
	case VERSION: rs->rseq_cs = (uintptr_t)&cs; break;
	case UNMAPPED: munmap(rs, 4096); break;
	case READ_ONLY: mprotect(rs, 4096, PROT_READ); break;
	}
	while (now() < end) {
		if (what == SLEEPS)
			usleep(1000);
		for (volatile int i = 0; i < 100000; i++)
			;
	}
	_exit(0);
}

static void bad_area(enum bad bad)
{
	bool refused = sys_rseq(NULL, 0, 0, 0) == -1 && errno == ENOSYS;

	for (enum what what = SPINS; what <= SLEEPS; what++) {
		pid_t p = fork();
		if (!p)
			child(bad, what, refused);
		EQ(t_wait(p), refused ? 0 : 128 + SIGSEGV);
	}
}

TEST(pointer) { bad_area(POINTER); }
TEST(pointer_beyond_user_space) { bad_area(HIGH_POINTER); }
TEST(signature) { bad_area(SIGNATURE); }
TEST(version) { bad_area(VERSION); }
TEST(unmapped) { bad_area(UNMAPPED); }
TEST(read_only) { bad_area(READ_ONLY); }

TEST(refused_unless_asked_for)
{
	if (access("/proc/coffer/objects", R_OK))
		SKIP("only inside an enclave");
	EQ(__rseq_size, 0);
	ERR(sys_rseq(NULL, 32, 0, SIG), ENOSYS);
	CHECK(sched_getcpu() >= 0 && sched_getcpu() < sysconf(_SC_NPROCESSORS_CONF));
}
