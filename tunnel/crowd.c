// SPDX-License-Identifier: Apache-2.0
// See crowd.h.
#include "tunnel/crowd.h"

#include <sched.h>
#include <unistd.h>

#define PER_SECOND 5000u	// events of another client than the one before
#define STILL_PER_SECOND 2500u	// once it is of SCHED_BATCH: one slow window is no reason to begin anew
#define PAID_MS 100		// a time as SCHED_BATCH that was worth it
#define HOLD_LEAST_MS 100u
#define HOLD_MOST_MS 10000u

static bool set(int policy)
{
	return !sched_setscheduler(0, policy, &(struct sched_param){0});
}

void crowd_begin(struct crowd *c, int64_t now_ms)
{
	*c = (struct crowd){.since_ms = now_ms, .may = sched_getscheduler(0) == SCHED_OTHER};
}

void crowd_look(struct crowd *c, int64_t now_ms)
{
	bool many = (int64_t)c->turns * 1000 >= (c->batch ? STILL_PER_SECOND : PER_SECOND) * (now_ms - c->since_ms);
	c->turns = 0;
	c->since_ms = now_ms;
	if (!c->may || many == c->batch || (many && now_ms < c->not_before_ms))
		return;
	if (many) {
		c->may = c->batch = set(SCHED_BATCH);
		c->batch_ms = now_ms;
		return;
	}
	c->batch = false;
	c->may = set(SCHED_OTHER);
	// Less was done than before: somebody else may have had the CPU. The same again would only go to and fro.
	if (now_ms - c->batch_ms >= PAID_MS)
		c->hold_ms = 0;
	else
		c->hold_ms = c->hold_ms ? (2 * c->hold_ms < HOLD_MOST_MS ? 2 * c->hold_ms : HOLD_MOST_MS) : HOLD_LEAST_MS;
	c->not_before_ms = now_ms + c->hold_ms;
}

void crowd_helper(void)
{
	if (sched_getscheduler(0) == SCHED_BATCH && sched_getscheduler(getpid()) == SCHED_OTHER)
		set(SCHED_OTHER);
}
