// SPDX-License-Identifier: Apache-2.0
// Kernel timers: a list sorted by expiry and one kernel thread that sleeps until the first of them.
// There are few of them (interval timers, timerfds); sleeps with a time-out do not come here.
// Locks: timer_lock (leaf: nothing else is taken under it; expiry functions run without it).
#include "kernel/include/lock.h"
#include "kernel/include/platform.h"
#include "kernel/include/wait.h"
#include "kernel/time/clock.h"
#include "kernel/task/load.h"

static struct mutex timer_lock;
static struct list timers = LIST_INIT(timers);
static struct ktimer *running;	// whose fn is being called
static u32 wake_word;		// the thread sleeps on it; bumped when the first expiry changes
static u32 done_word;		// bumped after each fn; cancellers sleep on it
static u32 cancellers;		// how many sleep on it
static u64 sleeping_until;	// 0: the thread is awake and will look at the list anyway

void ktimer_start(struct ktimer *t, u64 expires, void (*fn)(struct ktimer *))
{
	mutex_lock(&timer_lock);
	if (t->pending)
		list_del(&t->link);
	t->expires = expires;
	t->fn = fn;
	t->pending = true;
	struct list *at = timers.prev; // later timers mostly go to the end
	while (at != &timers && list_entry(at, struct ktimer, link)->expires > expires)
		at = at->prev;
	list_add(&t->link, at);
	bool wake = expires < sleeping_until;
	if (wake) {
		sleeping_until = 0;
		__atomic_fetch_add(&wake_word, 1, __ATOMIC_RELEASE);
	}
	mutex_unlock(&timer_lock);
	if (wake)
		pf_wake(&wake_word, 1);
}

bool ktimer_cancel(struct ktimer *t)
{
	mutex_lock(&timer_lock);
	bool was = t->pending;
	if (was) {
		list_del(&t->link);
		t->pending = false;
	}
	while (running == t) {
		u32 seq = __atomic_load_n(&done_word, __ATOMIC_ACQUIRE);
		cancellers++;
		mutex_unlock(&timer_lock);
		pf_wait(&done_word, seq, NO_DEADLINE);
		mutex_lock(&timer_lock);
		cancellers--;
		if (t->pending) { // fn has started it again
			list_del(&t->link);
			t->pending = false;
			was = true;
		}
	}
	mutex_unlock(&timer_lock);
	return was;
}

// Calls what is due. A function may free its timer, so nothing of it is touched afterwards.
static void run_expired(void)
{
	mutex_lock(&timer_lock);
	while (!list_empty(&timers)) {
		struct ktimer *t = list_first(&timers, struct ktimer, link);
		if (t->expires > ktime_mono())
			break;
		list_del(&t->link);
		t->pending = false;
		running = t;
		void (*fn)(struct ktimer *) = t->fn;
		mutex_unlock(&timer_lock);
		fn(t);
		mutex_lock(&timer_lock);
		running = NULL;
		__atomic_fetch_add(&done_word, 1, __ATOMIC_RELEASE);
		if (cancellers)
			pf_wake(&done_word, U32_MAX);
	}
	mutex_unlock(&timer_lock);
}

void ktimer_thread(void *arg)
{
	(void)arg;
	u64 gap = 20000000; // the boot calibration was short: look again soon
	u64 next_tick = ktime_mono() + gap;
	for (;;) {
		u64 now = ktime_mono();
		if (now >= next_tick) {
			ktime_tick();
			load_tick();
			rlimit_tick();
			gap = min(gap * 4, NSEC_PER_SEC);
			next_tick = ktime_mono() + gap;
		}
		run_expired();

		mutex_lock(&timer_lock);
		u64 until = next_tick;
		if (!list_empty(&timers))
			until = min(until, list_first(&timers, struct ktimer, link)->expires);
		u32 seq = __atomic_load_n(&wake_word, __ATOMIC_ACQUIRE);
		sleeping_until = until;
		mutex_unlock(&timer_lock);
		if (until > ktime_mono())
			pf_wait(&wake_word, seq, until);
		mutex_lock(&timer_lock);
		sleeping_until = 0;
		mutex_unlock(&timer_lock);
	}
}
