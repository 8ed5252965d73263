// SPDX-License-Identifier: Apache-2.0
// See timer.h.
#include "tunnel/timer.h"

#include <errno.h>
#include <stdlib.h>

static void place(struct timers *s, unsigned int i, struct timer *t)
{
	s->heap[i] = t;
	t->place = i + 1;
}

static void rise(struct timers *s, unsigned int i)
{
	struct timer *t = s->heap[i];
	for (; i && s->heap[(i - 1) / 2]->at_ms > t->at_ms; i = (i - 1) / 2)
		place(s, i, s->heap[(i - 1) / 2]);
	place(s, i, t);
}

static void sink(struct timers *s, unsigned int i)
{
	struct timer *t = s->heap[i];
	for (unsigned int k; (k = 2 * i + 1) < s->count; i = k) {
		if (k + 1 < s->count && s->heap[k + 1]->at_ms < s->heap[k]->at_ms)
			k++;
		if (s->heap[k]->at_ms >= t->at_ms)
			break;
		place(s, i, s->heap[k]);
	}
	place(s, i, t);
}

int timer_set(struct timers *s, struct timer *t, int64_t at_ms)
{
	if (t->place) {
		int64_t before = t->at_ms;
		t->at_ms = at_ms;
		if (at_ms < before)
			rise(s, t->place - 1);
		else if (at_ms > before)
			sink(s, t->place - 1);
		return 0;
	}
	if (s->count == s->size) {
		unsigned int size = s->size ? 2 * s->size : 64;
		struct timer **more = reallocarray(s->heap, size, sizeof *more);
		if (!more)
			return -ENOMEM;
		s->heap = more;
		s->size = size;
	}
	t->at_ms = at_ms;
	s->heap[s->count] = t;
	rise(s, s->count++);
	return 0;
}

void timer_clear(struct timers *s, struct timer *t)
{
	if (!t->place)
		return;
	unsigned int i = t->place - 1;
	struct timer *last = s->heap[--s->count];
	t->place = 0;
	if (last == t)
		return;
	place(s, i, last);
	rise(s, i);
	sink(s, last->place - 1);
}

int64_t timers_next(const struct timers *s)
{
	return s->count ? s->heap[0]->at_ms : -1;
}

void timers_run(struct timers *s, int64_t now_ms)
{
	// Who sets itself for a time that is over would keep the thread here.
	for (unsigned int most = s->count; most && s->count && s->heap[0]->at_ms <= now_ms; most--) {
		struct timer *t = s->heap[0];
		timer_clear(s, t);
		t->fire(t);
	}
}

void timers_free(struct timers *s)
{
	free(s->heap);
	*s = (struct timers){0};
}
