// SPDX-License-Identifier: Apache-2.0
// Whether a worker's thread interrupts others when it is woken. With one client it must: somebody waits. With many clients at work, a thread that takes the
// CPU from whoever has just sent something finds one request where it could have found ten, and everything that is done for each wake-up, on both sides of
// the attested connection and in the server behind it, is done ten times. Then the thread is of SCHED_BATCH (sched(7)), which the system lets run
// when the CPU is free; where programs keep all CPUs busy without a pause that takes milliseconds, so that it is left again as soon as less is done than
// before. Belongs to one thread; no locks.
#ifndef COFFER_TUNNEL_CROWD_H
#define COFFER_TUNNEL_CROWD_H

#include <stdbool.h>
#include <stdint.h>

struct crowd {
	const void *last;		// who had something last: only compared
	int64_t since_ms;		// the window's beginning
	int64_t batch_ms, not_before_ms;	// since when it is of SCHED_BATCH; when it may be again
	unsigned int turns;		// in this window: somebody else had something
	unsigned int hold_ms;
	bool may, batch;
};

// In the thread that it is about, which has its own class of before. Who was started with another class than SCHED_OTHER keeps it.
void crowd_begin(struct crowd *c, int64_t now_ms);
// `who` has something to be done.
static inline void crowd_event(struct crowd *c, const void *who)
{
	c->turns += who != c->last;
	c->last = who;
}
// The window is over: counts, and changes the thread's class if need be.
void crowd_look(struct crowd *c, int64_t now_ms);
#define CROWD_WINDOW_MS 10
static inline void crowd_turn(struct crowd *c, int64_t now_ms)
{
	if (now_ms - c->since_ms >= CROWD_WINDOW_MS)
		crowd_look(c, now_ms);
}
// In a thread that a worker made, which need not be as the worker just was.
void crowd_helper(void);

#endif
