// SPDX-License-Identifier: Apache-2.0
// Which CPUs of this machine an enclave gets that has a limit on their number (`limits: cpus:`). The kernel takes no more than its limit
// whatever is offered; this only keeps several enclaves from crowding on the first ones.
#include "host/cpus.h"

#include <sched.h>
#include <unistd.h>

void cpus_choose(unsigned int most, unsigned int seed)
{
	cpu_set_t may, mine;
	int have, skip, taken = 0;

	if (!most || sched_getaffinity(0, sizeof(may), &may))
		return;
	have = CPU_COUNT(&may);
	if (have <= 0 || most >= (unsigned int)have)
		return;
	skip = (int)(seed % (unsigned int)have);
	CPU_ZERO(&mine);
	// from the one that the seed says, around to those before it
	for (int round = 0; round < 2 && taken < (int)most; round++)
		for (int cpu = 0, n = 0; cpu < CPU_SETSIZE && taken < (int)most; cpu++)
			if (CPU_ISSET(cpu, &may) && (n++ >= skip) == !round) {
				CPU_SET(cpu, &mine);
				taken++;
			}
	sched_setaffinity(0, sizeof(mine), &mine); // refused: the kernel takes the first ones
}
