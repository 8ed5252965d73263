// SPDX-License-Identifier: Apache-2.0
// Timers of one thread: a binary heap of the times at which something is due. Setting one again is cheap, so that whoever is often active need not: a
// timer that
// fires early looks and sets itself anew. No clock of its own; no locks.
#ifndef COFFER_TUNNEL_TIMER_H
#define COFFER_TUNNEL_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct timer {
	int64_t at_ms;
	void (*fire)(struct timer *t);
	unsigned int place;	// in the heap, from 1; 0: not set
};

struct timers {
	struct timer **heap;
	unsigned int count, size;
};

// -ENOMEM: it is not set. `t` stays where it is until it has fired or is cleared.
int timer_set(struct timers *s, struct timer *t, int64_t at_ms);
void timer_clear(struct timers *s, struct timer *t);
// The earliest, or -1.
int64_t timers_next(const struct timers *s);
// Fires what is due. Those that are set meanwhile for a time that has come wait for the next call.
void timers_run(struct timers *s, int64_t now_ms);
void timers_free(struct timers *s);

#endif
