// SPDX-License-Identifier: Apache-2.0
// Turns of links: the handshake, and bytes both ways between attested TLS and the mux, or the one flow of a link without. See link.h.
#include "tunnel/link_inner.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "tunnel/associate.h"
#include "tunnel/flow.h"
#include "tunnel/tundev.h"
#include "tunnel/udp.h"

#define TURN_READS 8		// of a link, each a buffer full, before others have their turn
#define TURN_WRITES 16
#define FEW_BYTES 8192
#define LOOK_MS 500	// how often a peer is listened to whose data the plain side does not take

// ---- helpers' work ----

static void run_work(struct job *j)
{
	struct link_job *b = (struct link_job *)j;
	ratls_work_run(b->work);
}

static void work_done(struct job *j)
{
	struct link_job *b = (struct link_job *)j;
	if (b->link) {
		b->link->job = NULL;
		b->link->readable = true;
		link_mark(b->link);
	}
	free(b);
}

static int take_work(struct link *l)
{
	if (l->job)
		return 0;
	struct ratls_work *work = ratls_work_take(l->c);
	if (!work)
		return 0;
	struct link_job *b = calloc(1, sizeof *b);
	if (b) {
		*b = (struct link_job){.job = {.work = run_work, .done = work_done}, .work = work, .link = l};
		l->job = b;
		if (!worker_help(l->lane->w, &b->job))
			return 0;
		l->job = NULL;
		free(b);
	}
	ratls_work_run(work);	// it must be run once; late is better than never
	l->readable = true;
	link_mark(l);
	return 0;
}

// ---- turns ----

// What is waited for until the next turn: bytes, room, and the time.
static void wait_for(struct link *l)
{
	struct worker *w = l->lane->w;
	int wait;
	bool ready, takes = l->mux || l->state == LINK_HANDSHAKE || (l->direct && l->direct->accepted && !l->kept);
	short wants = ratls_wants(l->c, &wait, &ready);
	uint32_t events = (wants & POLLIN && takes ? EPOLLIN : 0) | (wants & POLLOUT || l->rest ? EPOLLOUT : 0);
	int64_t at = wait >= 0 ? w->now_ms + wait : INT64_MAX, silence = l->heard_ms + (l->pinged ? 2 : 1) * (int64_t)w->settings.keepalive_ms;
	// While it wrote it may have read, which no event will tell.
	if (ready && takes && !l->ended && l->state != LINK_HANDSHAKE)
		l->readable = true;
	if (events != l->watched && !worker_watch_for(w, &l->src, events))
		l->watched = events;
	if (l->state == LINK_HANDSHAKE && l->deadline_ms < at)
		at = l->deadline_ms;
	if (l->mux && silence < at)
		at = silence;
	if (!takes && w->now_ms + LOOK_MS < at)	// for challenges, and whether anybody is still there
		at = w->now_ms + LOOK_MS;
	// Each turn would move it a little: sooner than it must is soon enough.
	if (at == INT64_MAX)
		timer_clear(&w->timers, &l->timer);
	else if (!l->timer.place || at < l->timer.at_ms || l->timer.at_ms <= w->now_ms)
		timer_set(&w->timers, &l->timer, at);
}

static int make_mux(struct link *l)
{
	const struct settings *s = &l->lane->w->settings;
	const struct mux_options o = {.client = l->client, .streams = s->connections < 1 << 20 ? s->connections : 1 << 20,
		.window_max = s->window_bytes,
				      .memory = s->memory_bytes / l->lane->w->e->worker_count / 4 * 3};
	l->mux = mux_new(&o, &link_mux_ops, l);
	return l->mux ? 0 : -ENOMEM;
}

static void established(struct link *l)
{
	struct lane *lane = l->lane;
	bool speaks = !strcmp(ratls_alpn(l->c), MUX_ALPN);
	char peer[TARGET_TEXT];
	int err = 0;
	if (l->client && lane->r->c->mux && !speaks) {
		link_fail(l, -EPROTO,
			"the far end is no gateway of Coffer's: it speaks attested TLS, but not " MUX_ALPN ". For such servers: mux: false");
		return;
	}
	l->state = LINK_OPEN;
	link_leave_handshake(l);
	lane_count(lane, COUNT_LINKS, 1);
	lane_count(lane, COUNT_LINKS_OPEN, 1);
	if (l->client && lane->r->c->mux) {
		lane->back_off_ms = 0;
		lane->retry_at_ms = 0;
		lane->error = 0;
		lane->reason[0] = '\0';
	}
	tunnel_log(TUNNEL_LOG_INFO, "attested connection established", LOG_TEXT("route", lane->r->c->name), LOG_TEXT("peer", link_peer_text(l, peer)),
		   LOG_TEXT("mode", speaks ? "streams" : "single"), LOG_NUMBER("ms", lane->w->now_ms - l->began_ms));
	if (speaks)
		err = make_mux(l);
	else if (!l->client)
		err = flow_begin(l, NULL);
	else if (l->direct)
		flow_far_open(l->direct);
	if (err) {
		link_fail(l, err, err == -ENOMEM ? "out of memory" : "a client without streams names no destination, and this route has no `to`");
		return;
	}
	while (l->mux && !list_empty(&l->waiting)) {
		struct flow *f = list_entry(l->waiting.next, struct flow, wait);
		list_remove(&f->wait);
		f->link = NULL;
		err = link_open_stream(l, f);
		if (err)	// before anything of it was sent
			flow_far_closed(f, err, "the far gateway takes no more streams");
	}
	if (l->client && l->mux) {
		udp_lane_link_open(lane);
		associate_link_open(lane);
		tun_lane_link_open(lane);
	}
	if (lane->gone)
		link_retire(l);
}

static void shake_hands(struct link *l)
{
	struct worker *w = l->lane->w;
	int err = ratls_handshake(l->c, 0);
	if (!err) {
		established(l);
		return;
	}
	if (err == -EAGAIN && w->now_ms >= l->deadline_ms) {
		link_fail(l, -ETIMEDOUT, "no end of the handshake in time");
		return;
	}
	if (err != -EAGAIN) {
		link_fail(l, err, ratls_reason(l->c));
		return;
	}
	l->readable = false;
	take_work(l);
	wait_for(l);
}

// What TLS did not take. 0, -EAGAIN, or what the link was lost by.
static int send_rest(struct link *l)
{
	if (!l->rest)
		return 0;
	ssize_t n = ratls_write(l->c, l->rest + l->rest_pos, l->rest_len - l->rest_pos, 0);
	if (n < 0)
		return (int)n;
	l->rest_pos += (size_t)n;
	if (l->rest_pos < l->rest_len)
		return -EAGAIN;
	free(l->rest);
	l->rest = NULL;
	return 0;
}

static int send_bytes(struct link *l, const uint8_t *bytes, size_t len)
{
	ssize_t n = ratls_write(l->c, bytes, len, 0);
	if (n == -EAGAIN)
		n = 0;
	if (n < 0)
		return (int)n;
	if ((size_t)n == len)
		return 0;
	l->rest = malloc(len - (size_t)n);
	if (!l->rest)
		return -ENOMEM;
	memcpy(l->rest, bytes + n, len - (size_t)n);
	l->rest_len = len - (size_t)n;
	l->rest_pos = 0;
	return -EAGAIN;
}

// Without a mux: the plain side broke, and the far side must not take that for an end.
static void lose_plain_side(struct link *l, int err)
{
	struct flow *f = l->direct;
	l->direct = NULL;
	f->link = NULL;
	link_break_off(l);
	link_bury(l);
	flow_far_closed(f, err, "the plain side broke");
}

// The next bytes of whoever has some; 0: nothing now.
static ssize_t make_bytes(struct link *l, uint8_t *buf)
{
	if (l->mux)
		return (ssize_t)mux_output(l->mux, buf, WORKER_BUFFER);
	if (!l->direct || !l->pulls || l->end_sent)
		return 0;
	ssize_t n = flow_pull(l->direct, buf, WORKER_BUFFER);
	if (n == -EAGAIN) {
		l->pulls = false;
		return 0;
	}
	if (n < 0) {
		lose_plain_side(l, (int)n);
		return 0;
	}
	if (!n) {
		l->end_sent = true;
		int err = ratls_end(l->c, 0);
		return err == -EAGAIN ? 0 : err;
	}
	return n;
}

static int flush(struct link *l)
{
	bool ready;
	int err = send_rest(l);
	// What TLS holds back goes first: no more is read from anywhere until then.
	if (!err && ratls_wants(l->c, NULL, &ready) & POLLOUT)
		err = (int)ratls_write(l->c, "", 0, 0);
	for (unsigned int turn = 0; !err; turn++) {
		if (turn == TURN_WRITES) {
			link_mark(l);
			return 0;
		}
		ssize_t n = make_bytes(l, l->lane->w->out_buffer);
		if (n <= 0)
			return (int)n;
		err = send_bytes(l, l->lane->w->out_buffer, (size_t)n);
	}
	return err == -EAGAIN ? 0 : err;
}

// Without a mux: to the plain side, or kept. 0 or -ENOMEM.
static int deliver(struct link *l, const uint8_t *bytes, size_t len)
{
	ssize_t n = l->direct ? flow_data(l->direct, bytes, len) : (ssize_t)len;
	if (n == -EAGAIN)
		n = 0;
	if (n < 0)
		lose_plain_side(l, (int)n);
	if (n < 0 || (size_t)n == len)
		return 0;
	l->kept = malloc(len - (size_t)n);
	if (!l->kept)
		return -ENOMEM;
	memcpy(l->kept, bytes + n, len - (size_t)n);
	l->kept_len = len - (size_t)n;
	l->kept_pos = 0;
	return 0;
}

static void deliver_kept(struct link *l)
{
	ssize_t n = flow_data(l->direct, l->kept + l->kept_pos, l->kept_len - l->kept_pos);
	if (n < 0 && n != -EAGAIN) {
		lose_plain_side(l, (int)n);
		return;
	}
	l->kept_pos += n > 0 ? (size_t)n : 0;
	if (l->kept_pos < l->kept_len)
		return;
	free(l->kept);
	l->kept = NULL;
	if (l->ended && l->direct)
		flow_far_end(l->direct);
}

// Fills the worker's buffer: *have bytes, whatever is returned: 1 there may be more; 0 the peer's end; -EAGAIN; what the link was lost by.
static ssize_t gather(struct link *l, size_t *have)
{
	struct worker *w = l->lane->w;
	*have = 0;
	if (l->ended)
		return -EAGAIN;
	while (*have < WORKER_BUFFER) {
		bool ready = true;
		ssize_t n = ratls_read(l->c, w->buffer + *have, WORKER_BUFFER - *have, 0);
		if (n <= 0)
			return n;
		*have += (size_t)n;
		l->heard_ms = w->now_ms;
		l->pinged = false;
		if (*have < FEW_BYTES)	// most likely all: to ask in vain costs as much as this took
			ratls_wants(l->c, NULL, &ready);
		if (!ready)
			return -EAGAIN;
	}
	return 1;
}

// 1: there may be more; 0: all is read; a negative errno: the link was lost by that.
static int receive(struct link *l)
{
	struct worker *w = l->lane->w;
	size_t have;
	int err = 0;
	if (l->kept && l->direct)
		deliver_kept(l);
	if (l->state == LINK_DEAD)
		return 0;
	if (!l->mux && (l->kept || !l->direct || !l->direct->accepted)) {
		ssize_t n = ratls_write(l->c, "", 0, 0);	// proofs are answered meanwhile
		return n < 0 && n != -EAGAIN ? (int)n : 0;
	}
	// What has come is gathered first: the plain side is written to in larger pieces.
	for (unsigned int turn = 0; turn < TURN_READS; turn++) {
		ssize_t n = gather(l, &have);
		if (have && !(err = l->mux ? mux_input(l->mux, w->buffer, have) : deliver(l, w->buffer, have)) && l->state == LINK_DEAD)
			return 0;
		if (err)
			return err;
		if (n == -EAGAIN || (n > 0 && (l->kept || (!l->mux && !l->direct))))
			return 0;
		if (n < 0)
			return (int)n;
		if (!n) {
			l->ended = true;
			if (l->direct && !l->kept)	// else when that is delivered
				flow_far_end(l->direct);
			return 0;
		}
	}
	return 1;
}

static bool is_over(const struct link *l)
{
	bool ready;
	// What TLS has taken and the socket has not would be lost with the connection.
	if (l->rest || l->kept || ratls_wants(l->c, NULL, &ready) & POLLOUT)
		return false;
	if (l->mux)
		return (l->ended || l->state == LINK_GOING) && !mux_streams(l->mux) && !mux_pending(l->mux);
	return l->ended && l->end_sent;
}

static const char *reason_of(const struct link *l)
{
	const char *why = l->mux ? mux_reason(l->mux) : "";
	return *why ? why : ratls_reason(l->c);
}

// Is anybody still there?
static int look_alive(struct link *l)
{
	struct worker *w = l->lane->w;
	int64_t silent = w->now_ms - l->heard_ms, patience = w->settings.keepalive_ms;
	if (!l->mux || silent < patience)
		return 0;
	if (l->pinged && silent >= 2 * patience)
		return -ETIMEDOUT;
	// One that is on its way already, from before the last sign of life, asks as well: it may never have arrived, and no other one can be sent.
	int err = l->pinged ? 0 : mux_ping(l->mux);
	l->pinged |= !err || err == -EALREADY;
	return 0;
}

// What is kept for slow readers counts for the whole worker, however many links it has. False: this one has made it too much.
static bool account(struct link *l)
{
	struct worker *w = l->lane->w;
	size_t now = l->mux ? mux_memory(l->mux) : l->kept ? l->kept_len : 0, before = l->accounted;
	w->kept += now - before;
	l->accounted = now;
	return now <= before || w->kept <= w->settings.memory_bytes / w->e->worker_count;
}

// Who keeps most pays for it, and not who happened to be the last to need some.
static struct link *greediest(struct worker *w)
{
	struct link *most = NULL;
	list_each(n, &w->lanes) {
		list_each(k, &list_entry(n, struct lane, node)->links) {
			struct link *l = list_entry(k, struct link, node);
			if (!most || l->accounted > most->accounted)
				most = l;
		}
	}
	return most;
}

static void pass_bytes(struct link *l)
{
	int more = 0, err;
	if (l->readable) {
		more = receive(l);
		l->readable = more == 1;
	}
	if (l->state == LINK_DEAD)
		return;
	if (!account(l)) {
		link_fail(greediest(l->lane->w), -ENOBUFS, "limits: memory_mib: too much is kept for slow readers");
		if (l->state == LINK_DEAD)
			return;
	}
	err = more < 0 ? more : look_alive(l);
	if (err == -ETIMEDOUT && more >= 0) {
		link_fail(l, err, "no sign of life of the far end");
		return;
	}
	if (!err)
		err = flush(l);
	if (l->state == LINK_DEAD)
		return;
	if (!err && l->ended && l->mux && mux_streams(l->mux))
		err = -ECONNRESET;	// it said goodbye with streams open
	if (err) {
		link_fail(l, err, reason_of(l));
		return;
	}
	take_work(l);
	if (is_over(l)) {
		link_finish(l);
		return;
	}
	wait_for(l);
	if (l->readable)
		link_mark(l);
}

void link_turn(struct link *l)
{
	switch (l->state) {
	case LINK_HANDSHAKE:
		shake_hands(l);
		if (l->state != LINK_OPEN && l->state != LINK_GOING)
			break;
		l->readable = true;
		__attribute__((fallthrough));
	case LINK_OPEN:
	case LINK_GOING: pass_bytes(l); break;
	case LINK_LINGERING: link_linger(l); break;
	case LINK_DIALING:
	case LINK_DEAD: break;
	}
}
