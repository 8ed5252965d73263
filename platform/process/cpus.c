// SPDX-License-Identifier: Apache-2.0
// CPUs as programs see them: 0 to n-1, in the order of those that the host lets the enclave use at boot. Which of them a task may use
// is told to the host, who may ignore it: a hint, and nothing inside depends on it. So is whether it is SCHED_BATCH. No locks: the masks of two who set the
// same task's at once may end in either order, as may those of a task that is just changing its host thread.
#include "platform/process/window.h"
#include <linux/sched.h>

#define HOST_CPUS 1024u
static u64 host_cpus[HOST_CPUS / 64] __sealed;
static u32 ncpus __sealed;
static bool dense __sealed; // the host's numbers are ours
static bool classes __sealed; // the host's own class for the enclave is SCHED_NORMAL: whoever chose another one meant all of it

static void set_dense(void)
{
	dense = true;
	for (u32 i = 0; i < HOST_CPUS; i++)
		dense &= (host_cpus[i / 64] >> (i % 64) & 1) == (i < ncpus);
}

void cpus_init(void)
{
	long r = S3(__NR_sched_getaffinity, 0, sizeof(host_cpus), host_cpus);

	for (u32 i = 0; r > 0 && i < HOST_CPUS; i++)
		ncpus += host_cpus[i / 64] >> (i % 64) & 1;
	set_dense();
	if (!ncpus) // the host does not say
		ncpus = 1;
	classes = S1(__NR_sched_getscheduler, 0) == SCHED_NORMAL;
	win_self()->cpus = U64_MAX;
}

static void tell_host(struct window *w, u64 cpus);

// The first of those that the host gave: which these are is its choice.
void pf_limit_cpus(u32 most)
{
	u32 n = 0;

	if (ncpus <= most)
		return;
	for (u32 i = 0; i < HOST_CPUS; i++)
		if (host_cpus[i / 64] >> (i % 64) & 1 && n++ >= most)
			host_cpus[i / 64] &= ~(1ul << (i % 64));
	ncpus = most;
	set_dense();
	tell_host(win_self(), U64_MAX); // the host's tasks that follow inherit it
}

u32 pf_ncpus(void) { return ncpus; }
bool cpus_dense(void) { return dense; }

int pf_getcpu(void)
{
	u32 cpu, n = 0;

	__asm__ volatile("rdtscp" : "=c"(cpu) : : "eax", "edx"); // where Linux keeps it
	cpu &= 0xfff;
	if (likely(dense))
		return cpu < ncpus ? (int)cpu : 0;
	for (u32 i = 0; i < cpu && i < HOST_CPUS; i++)
		n += host_cpus[i / 64] >> (i % 64) & 1;
	return n < ncpus ? (int)n : 0;
}

// The host's thread of a window may run on `cpus` from now on. U64_MAX: on all that the enclave has, even beyond 64.
static void tell_host(struct window *w, u64 cpus)
{
	u64 mask[HOST_CPUS / 64] = {0};
	u32 tid = w == win_self() ? 0 : __atomic_load_n(&w->h.host_tid, __ATOMIC_SEQ_CST), n = 0;

	if (w != win_self() && !tid)
		return; // not yet begun, or gone
	for (u32 i = 0; i < HOST_CPUS; i++)
		if (host_cpus[i / 64] >> (i % 64) & 1) {
			if (n >= 64 ? cpus == U64_MAX : cpus >> n & 1)
				mask[i / 64] |= 1ul << (i % 64);
			n++;
		}
	w->cpus = cpus;
	S3(__NR_sched_setaffinity, tid, sizeof(mask), mask);
}

void pf_set_cpus(struct task *t)
{
	struct hthread *h = __atomic_load_n(&t->host, __ATOMIC_SEQ_CST);

	if (h && h->cur == t) // else whoever will carry it
		tell_host((struct window *)h, t->cpu_mask);
}

void pf_set_batch(bool batch)
{
	struct window *w = win_self();
	const int none = 0;

	if (classes)
		S3(__NR_sched_setscheduler, 0, batch ? SCHED_BATCH : SCHED_NORMAL, &none);
	w->batch = batch;
}

void cpus_follow(struct window *w)
{
	if (unlikely(w->cpus != w->h.cur->cpu_mask))
		tell_host(w, w->h.cur->cpu_mask);
	if (unlikely(w->batch != sched_batch(w->h.cur)) && w == win_self()) // a thread that sleeps looks again when it begins
		pf_set_batch(!w->batch);
}
