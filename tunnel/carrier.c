// SPDX-License-Identifier: Apache-2.0
// See carrier.h.
#include "tunnel/carrier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/link.h"

int carrier_open(struct carrier *c, enum mux_kind kind, const struct target *target)
{
	struct link *l = c->lane->link;
	int err = -EAGAIN;
	if (l && l->state == LINK_OPEN) {
		err = mux_open(&c->stream, l->mux, kind, target, c);
		if (!err) {
			c->link = l;
			link_mark(l);
			return 0;
		}
		if (err != -EAGAIN && err != -ESHUTDOWN)
			return err;
		link_retire(l);	// it is full: what is open in it goes on
	}
	lane_tend(c->lane);
	return -EAGAIN;
}

void carrier_take(struct carrier *c, struct link *l, struct mux_stream *s)
{
	c->link = l;
	c->stream = s;
	mux_set_user(s, c);
}

void carrier_accept(struct carrier *c)
{
	if (!c->stream)
		return;
	mux_accept(c->stream);
	link_mark(c->link);
}

void carrier_ready(struct carrier *c)
{
	if (!c->stream)
		return;
	mux_ready(c->stream);
	link_mark(c->link);
}

void carrier_drop(struct carrier *c, int err)
{
	struct mux_stream *s = c->stream;
	struct link *l = c->link;
	c->stream = NULL;
	c->link = NULL;
	if (!s)
		return;
	mux_reset(s, err ? mux_error_of(err) : MUX_CLOSED);
	link_mark(l);
}

void carrier_bury(struct carrier *c)
{
	list_add_last(&c->lane->w->dead_carriers, &c->dead);
}

bool carrier_admit(struct worker *w)
{
	struct engine *e = w->e;
	unsigned int most = w->settings.connections, share = most > 1 ? most / 2 : 1;
	if (atomic_fetch_add(&e->datagrams, 1) < share) {
		if (atomic_fetch_add(&e->connections, 1) < most)
			return true;
		atomic_fetch_sub(&e->connections, 1);
	}
	atomic_fetch_sub(&e->datagrams, 1);
	return false;
}

void carrier_leave(struct worker *w)
{
	atomic_fetch_sub(&w->e->datagrams, 1);
	atomic_fetch_sub(&w->e->connections, 1);
}

// ---- queues ----

void queue_init(struct datagram_queue *q)
{
	*q = (struct datagram_queue){0};
	q->last = &q->first;
}

static struct datagram *take_first(struct datagram_queue *q)
{
	struct datagram *d = q->first;
	if (!d)
		return NULL;
	if (!(q->first = d->next))
		q->last = &q->first;
	q->count--;
	q->bytes -= sizeof *d + d->len;
	return d;
}

unsigned int queue_put(struct datagram_queue *q, const uint8_t *bytes, size_t len)
{
	struct datagram *d = malloc(sizeof *d + len);
	unsigned int lost = 0;
	if (!d)
		return 1;
	d->next = NULL;
	d->len = len;
	memcpy(d->bytes, bytes, len);
	while (q->first && (q->count == CARRIER_QUEUE_COUNT || q->bytes + sizeof *d + len > CARRIER_QUEUE_BYTES)) {
		free(take_first(q));
		lost++;
	}
	*q->last = d;
	q->last = &d->next;
	q->count++;
	q->bytes += sizeof *d + len;
	return lost;
}

ssize_t queue_get(struct datagram_queue *q, uint8_t *buf, size_t size)
{
	struct datagram *d = take_first(q);
	if (!d)
		return -EAGAIN;
	ssize_t n = d->len <= size ? (ssize_t)d->len : -EMSGSIZE;
	if (n > 0)
		memcpy(buf, d->bytes, d->len);
	free(d);
	return n;
}

void queue_clear(struct datagram_queue *q)
{
	struct datagram *d;
	while ((d = take_first(q)))
		free(d);
}
