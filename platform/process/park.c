// SPDX-License-Identifier: Apache-2.0
// Host threads between two tasks. Making and ending a thread of the host costs more than all else that a thread's life takes, so one whose
// task has ended sleeps for the next task of its process, a few in each process. It keeps its window and signal stack;
// the new task's registers, vector state and figures are its own as if the thread were new.
//
// hproc->threads is one word, so that nobody is left asleep when the last thread leaves: how many threads there are, and which window
// is the first on the list of those that sleep. Who leaves puts itself there in its last step, from which on it does not
// touch its stack (win_park in entry.S). A sleeper wakes on park.word, a futex of its process only. No locks.
#include "kernel/include/log.h"
#include "platform/process/window.h"

#define PARK_MAX 4u	// in a process
#define FUTEX_WAKE_PRIVATE_ 129

// threads: bits 0-31 how many, 32-47 index + 1 of the first sleeper, 48-63 changes with every one that is taken
static u32 count_of(u64 threads) { return (u32)threads; }
static u32 first_of(u64 threads) { return (u32)(threads >> 32 & 0xffff); }

static_assert(WIN_MAX < 0xffff && offsetof(struct park, next) == 4 && offsetof(struct park, self) == 8 && offsetof(struct park, used) == 16 &&
	      offsetof(struct park, stack) == 24, "entry.S says otherwise");

static void wake(struct window *w, u32 why)
{
	__atomic_store_n(&w->park.word, why, __ATOMIC_SEQ_CST);
	S3(__NR_futex, &w->park.word, FUTEX_WAKE_PRIVATE_, 1);
}

struct window *park_take(struct hproc *hp)
{
	u64 old = __atomic_load_n(&hp->threads, __ATOMIC_ACQUIRE), new;
	struct window *w;

	do {
		if (!first_of(old))
			return NULL;
		w = WIN(first_of(old) - 1);
		new = (old & U32_MAX) + 1;
		new |= (u64)(__atomic_load_n(&w->park.next, __ATOMIC_RELAXED) & 0xffff) << 32 | ((old >> 48) + 1) << 48;
	} while (!__atomic_compare_exchange_n(&hp->threads, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	__atomic_fetch_sub(&hp->nparked, 1, __ATOMIC_RELAXED);
	return w;
}

void park_go(struct window *w)
{
	pf_xsave(win_fpu(w)); // the creator's vector state, as a new thread of the host would have it
	wake(w, PARK_GO);
}

// A thread that slept begins with its new task.
void park_again(void)
{
	struct window *w = win_self();

	w->park.word = 0;
	__atomic_exchange_n(&w->h.ready, 1, __ATOMIC_SEQ_CST);
	cpus_follow(w);
	if (pf_xrstor(win_fpu(w)))
		panic("a thread's vector state is damaged");
	pf_set_fs(current->fs_base);
	kresume(win_regs(w));
}

void park(struct hproc *hp, struct window *w, u8 *used)
{
	if (count_of(hp->threads) < 2 || !w->h.host_pid || hp->pid != w->h.host_pid) // the host process is gone: death.c
		return;
	if (__atomic_add_fetch(&hp->nparked, 1, __ATOMIC_RELAXED) <= PARK_MAX) {
		w->park.word = 0;
		w->park.self = (u64)(w->index + 1) << 32;
		w->park.used = used;
		w->park.stack = win_stack(w);
		win_park(&hp->threads, &w->park);
	}
	__atomic_fetch_sub(&hp->nparked, 1, __ATOMIC_RELAXED); // too many, or all others have left meanwhile
}

bool park_leave(struct hproc *hp)
{
	u64 old = __atomic_load_n(&hp->threads, __ATOMIC_ACQUIRE);
	bool last;

	do
		last = count_of(old) == 1;
	while (!__atomic_compare_exchange_n(&hp->threads, &old, last ? 0 : old - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	for (u32 i = last ? first_of(old) : 0; i;) {
		struct window *w = WIN(i - 1);

		i = w->park.next;
		wake(w, PARK_END);
	}
	return last;
}

void park_forget(struct hproc *hp)
{
	u64 old = __atomic_fetch_and(&hp->threads, U32_MAX, __ATOMIC_ACQ_REL);

	for (u32 i = first_of(old); i;) {
		struct window *w = WIN(i - 1);

		i = w->park.next;
		win_free(w);
	}
}
