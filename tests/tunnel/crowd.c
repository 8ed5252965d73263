// SPDX-License-Identifier: Apache-2.0
// When a worker's thread is of SCHED_BATCH: with many clients at work, not with one, and not where that makes it slower.
#include "tunnel/crowd.h"

#include <pthread.h>
#include <sched.h>

#include "tests/attest/ok.h"

static int64_t now;

// A window in which `clients` had something in turn, `events` times in all. True: SCHED_BATCH after it.
static bool window(struct crowd *c, unsigned int clients, unsigned int events)
{
	static const char who[16];
	for (unsigned int i = 0; i < events; i++)
		crowd_event(c, &who[i % clients]);
	crowd_turn(c, now);	// not over yet
	now += CROWD_WINDOW_MS;
	crowd_turn(c, now);
	return sched_getscheduler(0) == SCHED_BATCH;
}

static void *helper(void *ctx)
{
	(void)ctx;
	bool inherits = sched_getscheduler(0) == SCHED_BATCH;
	crowd_helper();
	return (void *)(uintptr_t)(inherits && sched_getscheduler(0) == SCHED_OTHER);
}

// The class is a thread's: the first one's is what the process was started with.
static void *worker(void *ctx)
{
	struct crowd c;
	pthread_t t;
	void *good = NULL;
	(void)ctx;
	crowd_begin(&c, now);
	ok("crowd: one client", !window(&c, 1, 5000), "batch");
	ok("crowd: many who do little", !window(&c, 10, 20), "batch");
	ok("crowd: many who do not yet do enough", !window(&c, 10, 40), "batch");
	ok("crowd: many at work", window(&c, 10, 500) && window(&c, 2, 500), "not batch");
	ok("crowd: a slow window", window(&c, 10, 40), "not batch");
	ok("crowd: helpers are not", !pthread_create(&t, NULL, helper, NULL) && !pthread_join(t, &good) && good, "wrong");
	ok("crowd: less than before", !window(&c, 10, 20), "batch");
	ok("crowd: not again at once", !window(&c, 10, 500), "batch");
	now += 100;
	window(&c, 10, 0);	// the pause is no part of the next window
	ok("crowd: later", window(&c, 10, 500), "not batch");
	ok("crowd: to and fro", !window(&c, 10, 1) && (now += 150, !window(&c, 10, 0)) && !window(&c, 10, 500), "batch");
	now += 100;
	window(&c, 10, 0);
	ok("crowd: for longer", window(&c, 10, 500), "not batch");
	for (int i = 0; i < 20; i++)
		window(&c, 10, 500);
	ok("crowd: it was worth it", !window(&c, 10, 1) && window(&c, 10, 500), "not batch");
	now += 5000;
	ok("crowd: idle", !window(&c, 10, 10), "batch");
	if (!sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0})) {
		crowd_begin(&c, now);
		ok("crowd: its own class stays", window(&c, 1, 1) && window(&c, 10, 500) && window(&c, 1, 1), "changed");
	}
	return NULL;
}

int main(void)
{
	pthread_t t;
	if (sched_getscheduler(0) != SCHED_OTHER || sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}) ||
	    sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0})) {
		skip("tunnel.crowd", "classes cannot be changed here");
		return 0;
	}
	if (pthread_create(&t, NULL, worker, NULL))
		return 1;
	pthread_join(t, NULL);
	return ok_failed != 0;
}
