// SPDX-License-Identifier: Apache-2.0
// rseq(2) in an enclave whose coffer.yaml does not ask for it: the C library does without.
#include "tests/kernel/t.h"
#include <sched.h>
#include <sys/rseq.h>

TEST(refused)
{
	if (access("/proc/coffer/objects", R_OK))
		SKIP("only inside an enclave");
	EQ(__rseq_size, 0);
	ERR(syscall(__NR_rseq, NULL, 32, 0, 0x53053053), ENOSYS);
	CHECK(sched_getcpu() >= 0 && sched_getcpu() < sysconf(_SC_NPROCESSORS_CONF));
}
