// SPDX-License-Identifier: Apache-2.0
// See direct.h. Bytes are read when the other side has taken what came before: each way keeps one buffer's rest at the most.
#include "tunnel/direct.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel/dial.h"
#include "tunnel/shares.h"
#include "tunnel/worker.h"

#define TURN_BUFFERS 16	// then others have their turn

// What one side gave and the other has not taken.
struct rest {
	uint8_t *bytes;
	size_t at, len;
};

struct direct {
	struct source src;
	struct timer again;
	struct flow *f;
	struct dial *dial;
	struct rest up, down;
	bool ready, readable;		// the flow's side has something; ours has
	bool up_ended, down_ended;
};

static int keep(struct rest *r, const uint8_t *bytes, size_t len)
{
	r->bytes = malloc(len);
	if (!r->bytes)
		return -ENOMEM;
	memcpy(r->bytes, bytes, len);
	r->at = 0;
	r->len = len;
	return 0;
}

static void forget(struct rest *r)
{
	free(r->bytes);
	*r = (struct rest){0};
}

// To the destination: 0 all of it, -EAGAIN: the rest is kept.
static int send_up(struct direct *d, const uint8_t *bytes, size_t len)
{
	ssize_t n = send(d->src.fd, bytes, len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		return -errno;
	n = n < 0 ? 0 : n;
	if ((size_t)n == len)
		return 0;
	int err = keep(&d->up, bytes + n, len - (size_t)n);
	return err ? err : -EAGAIN;
}

static int send_kept(struct direct *d)
{
	while (d->up.bytes) {
		ssize_t n = send(d->src.fd, d->up.bytes + d->up.at, d->up.len - d->up.at, MSG_NOSIGNAL);
		if (n < 0)
			return -errno;
		d->up.at += (size_t)n;
		if (d->up.at == d->up.len)
			forget(&d->up);
	}
	return 0;
}

static int pump_up(struct direct *d)
{
	struct worker *w = d->f->lane->w;
	int err = send_kept(d);
	for (int turn = 0; !err && d->ready && !d->up_ended; turn++) {
		if (turn == TURN_BUFFERS)
			return timer_set(&w->timers, &d->again, w->now_ms);
		ssize_t n = flow_pull(d->f, w->out_buffer, WORKER_BUFFER);
		if (n == -EAGAIN) {
			d->ready = false;
		} else if (n < 0) {
			return (int)n;
		} else if (!n) {
			d->up_ended = true;
			shutdown(d->src.fd, SHUT_WR);
		} else {
			err = send_up(d, w->out_buffer, (size_t)n);
		}
	}
	return err == -EAGAIN ? 0 : err;
}

// To the client. *all: nothing is left of it.
static int give_down(struct direct *d, const uint8_t *bytes, size_t len, bool *all)
{
	ssize_t n = flow_data(d->f, bytes, len);
	if (n < 0 && n != -EAGAIN)
		return (int)n;
	n = n < 0 ? 0 : n;
	*all = (size_t)n == len;
	if (*all || d->f->state == FLOW_DEAD)
		return 0;
	if (!d->down.bytes)
		return keep(&d->down, bytes + n, len - (size_t)n);
	d->down.at += (size_t)n;
	return 0;
}

static int pump_down(struct direct *d)
{
	struct worker *w = d->f->lane->w;
	bool all = true;
	int err = d->down.bytes ? give_down(d, d->down.bytes + d->down.at, d->down.len - d->down.at, &all) : 0;
	if (!err && all)
		forget(&d->down);
	for (int turn = 0; !err && all && d->readable && !d->down_ended && d->f->past; turn++) {
		if (turn == TURN_BUFFERS)
			return timer_set(&w->timers, &d->again, w->now_ms);
		ssize_t n = recv(d->src.fd, w->buffer, WORKER_BUFFER, 0);
		if (n < 0 && errno == EAGAIN)
			d->readable = false;
		else if (n < 0)
			return -errno;
		else if (n)
			err = give_down(d, w->buffer, (size_t)n, &all);
		else
			d->down_ended = true;
	}
	if (!err && d->down_ended && all && d->f->past && !d->f->far_ended)
		flow_far_end(d->f);
	return err;
}

static void pump(struct direct *d)
{
	struct flow *f = d->f;
	if (d->src.fd < 0 || f->state != FLOW_OPEN || f->past != d)
		return;
	int err = pump_up(d);
	if (!err)
		err = pump_down(d);
	if (f->past != d || f->state != FLOW_OPEN)
		return;		// it ended meanwhile
	if (err)
		flow_cut(f, err, "the destination's connection broke");
	else if (d->up_ended && d->down_ended && !d->up.bytes && !d->down.bytes) {
		direct_drop(f, false);
		flow_far_closed(f, 0, NULL);
	}
}

static void on_event(struct source *s, uint32_t events)
{
	struct direct *d = list_entry(s, struct direct, src);
	int err = 0;
	socklen_t len = sizeof err;
	if (s->fd < 0)
		return;
	if (events & EPOLLERR && !getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) && err) {
		flow_cut(d->f, -err, "the destination's connection broke");
		return;
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))
		d->readable = true;
	pump(d);
}

static void on_again(struct timer *t)
{
	pump(list_entry(t, struct direct, again));
}

static void dialed(void *ctx, int fd, const char *why)
{
	struct direct *d = ctx;
	struct flow *f = d->f;
	int err = fd;
	d->dial = NULL;
	if (fd >= 0) {
		d->src.fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		err = worker_watch(f->lane->w, &d->src, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	}
	if (err < 0) {
		direct_drop(f, true);
		flow_far_closed(f, err, why);
		return;
	}
	flow_far_open(f);
	direct_ready(f);
}

int direct_begin(struct flow *f, const struct target *t)
{
	struct worker *w = f->lane->w;
	const struct dial_options o = {.mark = f->lane->r->c->mark, .timeout_ms = (int)w->settings.connect_ms,
				       .share = share_of_peer(f->src.fd)};
	struct direct *d = calloc(1, sizeof *d);
	struct fault why = {""};
	if (!d)
		return -ENOMEM;
	*d = (struct direct){.src = {.fd = -1, .event = on_event}, .again = {.fire = on_again}, .f = f};
	int err = dial_start(&d->dial, w->inbox, t, &o, dialed, d, &why);
	if (err)
		free(d);
	else
		f->past = d;
	return err;
}

void direct_ready(struct flow *f)
{
	if (!f->past)
		return;
	f->past->ready = true;
	pump(f->past);
}

void direct_resume(struct flow *f)
{
	if (f->past)
		pump(f->past);
}

void direct_drop(struct flow *f, bool cut)
{
	struct direct *d = f->past;
	struct worker *w = f->lane->w;
	if (!d)
		return;
	f->past = NULL;
	f->passed = d;		// events of this turn may still name it
	dial_cancel(d->dial);
	d->dial = NULL;
	timer_clear(&w->timers, &d->again);
	if (d->src.fd < 0)
		return;
	worker_unwatch(w, &d->src);
	if (cut)
		setsockopt(d->src.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
	close(d->src.fd);
	d->src.fd = -1;
}

void direct_free(struct direct *d)
{
	if (!d)
		return;
	forget(&d->up);
	forget(&d->down);
	free(d);
}
