// SPDX-License-Identifier: Apache-2.0
// See direct.h. Bytes are read when the other side has taken what came before: each way keeps one buffer's rest at the most, or what is in one pipe.
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
#include "tunnel/near.h"
#include "tunnel/shares.h"
#include "tunnel/splice.h"
#include "tunnel/worker.h"

#define TURN_BUFFERS 16	// then others have their turn
#define MUCH 16384	// came at once: what follows is spliced. Less is read and written, which costs less then

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
	struct splice up_pipe, down_pipe;	// one of them holds something only while the rest beside it is empty
	bool splices, up_much, down_much;
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

// What the pipe holds, to the destination: 0 all of it, -EAGAIN, or an error.
static int give_up(struct direct *d)
{
	ssize_t n = splice_give(&d->up_pipe, &d->f->lane->w->pipe, d->src.fd);
	return n < 0 ? (int)n : d->up_pipe.held ? -EAGAIN : 0;
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
	return give_up(d);
}

// As splice_take and flow_pull, from the client, and on to the destination. *err as of give_up.
static ssize_t splice_up(struct direct *d, int *err)
{
	ssize_t n = splice_take(&d->up_pipe, &d->f->lane->w->pipe, d->f->src.fd);
	d->splices = n != -EOPNOTSUPP;
	if (n >= 0 || n == -EAGAIN)
		flow_took(d->f, n);
	if (n > 0)
		*err = give_up(d);
	return n;
}

static ssize_t copy_up(struct direct *d, int *err)
{
	struct worker *w = d->f->lane->w;
	ssize_t n = flow_pull(d->f, w->out_buffer, WORKER_BUFFER);
	if (n > 0)
		*err = send_up(d, w->out_buffer, (size_t)n);
	return n;
}

static int pump_up(struct direct *d)
{
	struct worker *w = d->f->lane->w;
	int err = send_kept(d);
	for (int turn = 0; !err && d->ready && !d->up_ended; turn++) {
		if (turn == TURN_BUFFERS)
			return timer_set(&w->timers, &d->again, w->now_ms);
		ssize_t n = d->splices && d->up_much && flow_is_bare(d->f) ? splice_up(d, &err) : copy_up(d, &err);
		if (n == -EOPNOTSUPP)
			continue;	// by copies
		d->up_much = n == -EAGAIN ? d->up_much : n >= MUCH;
		if (n == -EAGAIN) {
			d->ready = false;
		} else if (n < 0) {
			return (int)n;
		} else if (!n) {
			d->up_ended = true;
			shutdown(d->src.fd, SHUT_WR);
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

static int give_down_pipe(struct direct *d, bool *all)
{
	if (!d->down_pipe.held)
		return 0;
	ssize_t n = splice_give(&d->down_pipe, &d->f->lane->w->pipe, d->f->src.fd);
	if (n < 0)
		return (int)n;
	flow_gave(d->f, (size_t)n);
	*all = !d->down_pipe.held;
	return 0;
}

static ssize_t splice_down(struct direct *d, int *err, bool *all)
{
	ssize_t n = splice_take(&d->down_pipe, &d->f->lane->w->pipe, d->src.fd);
	d->splices = n != -EOPNOTSUPP;
	if (n > 0)
		*err = give_down_pipe(d, all);
	return n;
}

static ssize_t copy_down(struct direct *d, int *err, bool *all)
{
	struct worker *w = d->f->lane->w;
	ssize_t n = recv(d->src.fd, w->buffer, WORKER_BUFFER, 0);
	if (n > 0)
		*err = give_down(d, w->buffer, (size_t)n, all);
	return n < 0 ? -errno : n;
}

static int pump_down(struct direct *d)
{
	struct worker *w = d->f->lane->w;
	bool all = true;
	int err = d->down.bytes ? give_down(d, d->down.bytes + d->down.at, d->down.len - d->down.at, &all) : 0;
	if (!err && all) {
		forget(&d->down);
		err = give_down_pipe(d, &all);
	}
	for (int turn = 0; !err && all && d->readable && !d->down_ended && d->f->past; turn++) {
		if (turn == TURN_BUFFERS)
			return timer_set(&w->timers, &d->again, w->now_ms);
		ssize_t n = d->splices && d->down_much && flow_is_bare(d->f) ? splice_down(d, &err, &all) : copy_down(d, &err, &all);
		if (n == -EOPNOTSUPP)
			continue;
		d->down_much = n == -EAGAIN ? d->down_much : n >= MUCH;
		if (n == -EAGAIN)
			d->readable = false;
		else if (n < 0)
			return (int)n;
		else if (!n)
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
	else if (d->up_ended && d->down_ended && !d->up.bytes && !d->down.bytes && !d->up_pipe.held && !d->down_pipe.held) {
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
		near_tune(fd);
		err = worker_watch(f->lane->w, &d->src, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	}
	if (err < 0) {
		direct_drop(f, true);
		flow_far_closed(f, err, why);
		return;
	}
	d->splices = splice_can(f->src.fd, fd);
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
	splice_drop(&d->up_pipe);
	splice_drop(&d->down_pipe);
	free(d);
}
