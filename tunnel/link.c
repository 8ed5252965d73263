// SPDX-License-Identifier: Apache-2.0
// See link.h.
#include "tunnel/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel/carrier.h"
#include "tunnel/associate.h"
#include "tunnel/direct.h"
#include "tunnel/flow.h"
#include "tunnel/tundev.h"
#include "tunnel/udp.h"

#define TURN_READS 8		// of a link, each a buffer full, before others have their turn
#define TURN_WRITES 16
#define FEW_BYTES 8192
#define LINGER_MS 1000
#define LOOK_MS 500	// how often a peer is listened to whose data the plain side does not take
#define BACK_OFF_LEAST_MS 100
#define BACK_OFF_MOST_MS 10000
#define BACK_OFF_REFUSED_MS 30000	// a peer that did not prove itself will hardly do so a moment later
#define WAIT_FOR_RETRY_MS 1000	// a flow waits for the next try when it is as near as this
#define KEPT_MAX (256u << 10)

// A piece of attested TLS's work, in a helper's hands.
struct link_job {
	struct job job;
	struct ratls_work *work;
	struct link *link;	// NULL: it has ended meanwhile
};

static void fail(struct link *l, int err, const char *why);

void link_mark(struct link *l)
{
	if (!list_has(&l->dirty) && l->state != LINK_DEAD)
		list_add_last(&l->lane->w->dirty, &l->dirty);
}

static const char *gateway_text(const struct link *l, char out[TARGET_TEXT])
{
	return target_text(&l->lane->r->c->gateways[l->gateway], out);
}

// The peer in text: the far gateway's name, or a client's address.
static const char *peer_text(const struct link *l, char out[TARGET_TEXT])
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	if (l->client)
		return gateway_text(l, out);
	if (l->src.fd < 0 || getpeername(l->src.fd, (struct sockaddr *)&sa, &len))
		return "?";
	config_address_text(out, (struct sockaddr *)&sa, len);
	return out;
}

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

// ---- what the mux asks for ----

// The user of a stream of bytes is a flow, of one of datagrams or packets a carrier.
static int op_opened(void *ctx, struct mux_stream *s)
{
	switch (mux_kind(s)) {
	case MUX_TCP: return flow_begin(ctx, s);
	case MUX_UDP: return udp_begin(ctx, s);
	default: return tun_begin(ctx, s);
	}
}

static void op_accepted(void *ctx, struct mux_stream *s)
{
	struct carrier *c = mux_user(s);
	(void)ctx;
	if (mux_kind(s) == MUX_TCP)
		flow_far_open(mux_user(s));
	else if (c->ops->open)
		c->ops->open(c);
}

static ssize_t op_pull(void *ctx, struct mux_stream *s, uint8_t *buf, size_t size)
{
	struct carrier *c = mux_user(s);
	(void)ctx;
	return mux_kind(s) == MUX_TCP ? flow_pull(mux_user(s), buf, size) : c->ops->pull(c, buf, size);
}

static ssize_t op_data(void *ctx, struct mux_stream *s, const uint8_t *bytes, size_t len)
{
	struct carrier *c = mux_user(s);
	(void)ctx;
	return mux_kind(s) == MUX_TCP ? flow_data(mux_user(s), bytes, len) : c->ops->data(c, bytes, len);
}

static void op_end(void *ctx, struct mux_stream *s)
{
	(void)ctx;
	flow_far_end(mux_user(s));
}

static void op_closed(void *ctx, struct mux_stream *s, enum mux_error why)
{
	const int err = why == MUX_LOST ? -ECONNRESET : mux_errno_of(why);
	const char *text = why ? mux_error_text(why) : NULL;
	struct flow *f = mux_user(s);
	struct carrier *c = mux_user(s);
	(void)ctx;
	if (mux_kind(s) == MUX_TCP) {
		f->link = NULL;
		f->stream = NULL;
		flow_far_closed(f, err, text);
	} else {
		c->link = NULL;
		c->stream = NULL;
		c->ops->closed(c, err, text);
	}
}

static void op_pong(void *ctx)
{
	struct link *l = ctx;
	l->pinged = false;
}

static void op_going(void *ctx)
{
	link_retire(ctx);
}

static const struct mux_ops ops = {
	.opened = op_opened, .accepted = op_accepted, .pull = op_pull, .data = op_data, .end = op_end, .closed = op_closed, .pong = op_pong, .going = op_going,
};

// ---- the end of a link ----

static void leave_handshake(struct link *l)
{
	if (l->counted)
		atomic_fetch_sub(&l->lane->w->e->handshakes, 1);
	l->counted = false;
}

// Nothing more comes of it; what waits or passes in it has been told.
static void bury(struct link *l)
{
	struct worker *w = l->lane->w;
	if (l->lane->link == l)
		l->lane->link = NULL;
	if (l->state == LINK_OPEN || l->state == LINK_GOING)
		lane_count(l->lane, COUNT_LINKS_OPEN, -1);
	leave_handshake(l);
	if (l->dial)
		dial_cancel(l->dial);
	if (l->job)
		l->job->link = NULL;
	if (l->src.fd >= 0)
		worker_unwatch(w, &l->src);
	timer_clear(&w->timers, &l->timer);
	list_remove(&l->dirty);
	list_remove(&l->node);
	l->state = LINK_DEAD;
	list_add_last(&w->dead_links, &l->dead);
	if (!l->client) {
		atomic_fetch_sub(&w->e->connections, 1);
		atomic_fetch_sub(&w->load, 1);
	}
}

void link_free(struct link *l)
{
	struct lane *lane = l->lane;
	ratls_close(l->c, 0);
	free(l->rest);
	free(l->kept);
	free(l);
	lane_leave(lane);
}

// The flows that wait or pass in it, each told once.
static void drop_flows(struct link *l, int err, const char *why)
{
	struct mux *m = l->mux;
	l->mux = NULL;
	mux_free(m);	// op_closed for each
	if (l->direct) {
		struct flow *f = l->direct;
		l->direct = NULL;
		f->link = NULL;
		flow_far_closed(f, err, why);
	}
	while (!list_empty(&l->waiting)) {
		struct flow *f = list_entry(l->waiting.next, struct flow, wait);
		list_remove(&f->wait);
		f->link = NULL;
		flow_far_closed(f, err, why);
	}
}

// A peer that gets no goodbye knows that something may be missing.
static void break_off(struct link *l)
{
	if (l->src.fd >= 0)
		shutdown(l->src.fd, SHUT_RDWR);
}

static void back_off(struct link *l, int err, const char *why)
{
	struct lane *lane = l->lane;
	bool refused = err == -EKEYREJECTED || err == -EACCES;
	unsigned int most = refused ? BACK_OFF_REFUSED_MS : BACK_OFF_MOST_MS;
	if (!l->client || !lane->r->c->mux)
		return;
	lane->error = err;
	snprintf(lane->reason, sizeof lane->reason, "%.*s", (int)sizeof lane->reason - 1, why);
	lane->gateway = (l->gateway + 1) % lane->r->c->gateway_count;
	lane->back_off_ms = lane->back_off_ms ? 2 * lane->back_off_ms : refused ? 10 * BACK_OFF_LEAST_MS : BACK_OFF_LEAST_MS;
	if (lane->back_off_ms > most)
		lane->back_off_ms = most;
	// The other gateways of the route may be well.
	lane->retry_at_ms = lane->w->now_ms + (lane->gateway ? 0 : lane->back_off_ms);
}

static void count_failure(struct link *l, int err)
{
	if (l->state == LINK_OPEN || l->state == LINK_GOING)
		lane_count(l->lane, COUNT_LINKS_LOST, 1);
	if (err == -EKEYREJECTED)
		lane_count(l->lane, COUNT_PEERS_REFUSED, 1);
	else if (err == -EACCES)
		lane_count(l->lane, COUNT_REFUSED_BY_PEER, 1);
	else if (l->state != LINK_OPEN && l->state != LINK_GOING)
		lane_count(l->lane, COUNT_LINKS_FAILED, 1);
}

static void fail(struct link *l, int err, const char *why)
{
	static const char *const words[] = {"the peer was refused", "the peer refuses this side", "the attested connection was lost", "no attested connection"};
	struct lane *lane = l->lane;
	bool open = l->state == LINK_OPEN || l->state == LINK_GOING, refused = err == -EKEYREJECTED, by_peer = err == -EACCES;
	char peer[TARGET_TEXT], reason[1024];
	size_t streams = l->mux ? mux_streams(l->mux) : l->direct != NULL;
	snprintf(reason, sizeof reason, "%.*s", (int)sizeof reason - 1, why);	// it may be of what is freed here
	count_failure(l, err);
	// Scanners and health checks that never say a word are no news.
	tunnel_log(!open && !l->client && !refused && !by_peer ? TUNNEL_LOG_DEBUG : TUNNEL_LOG_WARNING, words[refused ? 0 : by_peer ? 1 : open ? 2 : 3],
		   LOG_TEXT("route", lane->r->c->name), LOG_TEXT("peer", peer_text(l, peer)), LOG_TEXT("reason", reason), LOG_TEXT("error", strerrorname_np(-err)),
		   LOG_NUMBER("streams", streams ? (int64_t)streams : LOG_NOTHING));
	back_off(l, err, reason);
	if (lane->link == l)
		lane->link = NULL;
	drop_flows(l, open && !refused && !by_peer ? -ECONNRESET : err, reason);
	if (refused && l->c && l->src.fd >= 0 && !shutdown(l->src.fd, SHUT_WR)) {
		// Who closes a socket with unread data makes the peer lose what it was told last.
		if (open)
			lane_count(lane, COUNT_LINKS_OPEN, -1);
		leave_handshake(l);
		l->state = LINK_LINGERING;
		if (!timer_set(&lane->w->timers, &l->timer, lane->w->now_ms + LINGER_MS)) {
			worker_watch_for(lane->w, &l->src, EPOLLIN);
			link_mark(l);
			if (l->client)
				lane_tend(lane);
			return;
		}
	}
	break_off(l);
	bury(l);
	if (l->client)
		lane_tend(lane);
}

static void linger(struct link *l)
{
	char sink[4096];
	ssize_t n;
	do {
		n = read(l->src.fd, sink, sizeof sink);
	} while (n > 0);
	if (!n || (errno != EAGAIN && errno != EINTR))
		bury(l);
}

// In order: the last stream is gone.
static void finish(struct link *l)
{
	char peer[TARGET_TEXT];
	tunnel_log(TUNNEL_LOG_DEBUG, "attested connection ended", LOG_TEXT("route", l->lane->r->c->name), LOG_TEXT("peer", peer_text(l, peer)));
	drop_flows(l, 0, NULL);
	bury(l);
	if (l->client)
		lane_tend(l->lane);
}

void link_cut(struct link *l, const char *why)
{
	if (l->state == LINK_DEAD)
		return;
	if (l->lane->link == l)
		l->lane->link = NULL;
	drop_flows(l, -ECONNRESET, why);
	break_off(l);
	bury(l);
}

void link_retire(struct link *l)
{
	if (l->lane->link == l)
		l->lane->link = NULL;
	if (l->state == LINK_OPEN) {
		l->state = LINK_GOING;
		if (l->mux)
			mux_go(l->mux);
		link_mark(l);
	} else if (l->state == LINK_DIALING && list_empty(&l->waiting) && !l->direct) {
		bury(l);
	}
}

// ---- the beginning ----

static void on_event(struct source *s, uint32_t events)
{
	struct link *l = list_entry(s, struct link, src);
	l->readable |= events & (EPOLLIN | EPOLLHUP | EPOLLERR);
	link_mark(l);
}

static void on_timer(struct timer *t)
{
	struct link *l = list_entry(t, struct link, timer);
	if (l->state == LINK_LINGERING) {
		bury(l);
		return;
	}
	l->readable = true;
	link_mark(l);
}

static struct link *new_link(struct lane *lane, bool client)
{
	struct link *l = calloc(1, sizeof *l);
	if (!l)
		return NULL;
	*l = (struct link){.lane = lane, .client = client, .src = {.fd = -1, .event = on_event}, .timer = {.fire = on_timer}, .gateway = lane->gateway,
			   .began_ms = lane->w->now_ms, .heard_ms = lane->w->now_ms};
	list_head(&l->waiting);
	list_add_last(&lane->links, &l->node);
	lane_use(lane);
	return l;
}

// With l->c made: the handshake begins.
static void begin_handshake(struct link *l)
{
	struct worker *w = l->lane->w;
	l->src.fd = ratls_fd(l->c);
	l->state = LINK_HANDSHAKE;
	l->deadline_ms = w->now_ms + w->e->settings.handshake_ms;
	l->readable = true;
	l->watched = EPOLLIN;
	int err = worker_watch(w, &l->src, l->watched);
	if (err)
		fail(l, err, "no more descriptors can be waited for");
	else
		link_mark(l);
}

static void dialed(void *ctx, int fd, const char *why)
{
	struct link *l = ctx;
	struct lane *lane = l->lane;
	struct ratls_error e = {""};
	char name[TARGET_TEXT];
	l->dial = NULL;
	if (fd < 0) {
		fail(l, fd, why);
		return;
	}
	target_host_text(&lane->r->c->gateways[l->gateway], name);
	int err = ratls_connect(&l->c, lane->r->tls, fd, lane->r->c->gateway_name ? lane->r->c->gateway_name : name, &e);
	if (err)
		fail(l, err, e.text);
	else
		begin_handshake(l);
}

static int dial_gateway(struct link *l)
{
	struct lane *lane = l->lane;
	const struct dial_options o = {.mark = lane->r->c->mark, .timeout_ms = (int)lane->w->e->settings.connect_ms};
	struct fault why = {""};
	l->state = LINK_DIALING;
	int err = dial_start(&l->dial, lane->w->inbox, &lane->r->c->gateways[l->gateway], &o, dialed, l, &why);
	if (err)
		fail(l, err, why.text);
	return err;
}

void lane_tend(struct lane *lane)
{
	struct worker *w = lane->w;
	if (lane->r->c->kind != ROUTE_INGRESS || !lane->r->c->mux || lane->link || lane->gone)
		return;
	if (lane->retry_at_ms > w->now_ms) {
		timer_set(&w->timers, &lane->retry, lane->retry_at_ms);
		return;
	}
	struct link *l = new_link(lane, true);
	if (!l) {
		timer_set(&w->timers, &lane->retry, w->now_ms + BACK_OFF_MOST_MS);
		return;
	}
	lane->link = l;
	while (!list_empty(&lane->waiting)) {
		struct flow *f = list_entry(lane->waiting.next, struct flow, wait);
		list_remove(&f->wait);
		list_add_last(&l->waiting, &f->wait);
		f->link = l;
	}
	dial_gateway(l);
}

void link_accept(struct lane *lane, int fd)
{
	struct engine *e = lane->w->e;
	struct ratls_error why = {""};
	struct link *l = NULL;
	bool room = atomic_fetch_add(&e->handshakes, 1) < e->settings.handshakes;
	if (room && (l = new_link(lane, false))) {
		l->counted = true;
		if (!ratls_accept(&l->c, lane->r->tls, fd, &why)) {	// the descriptor is its own now
			begin_handshake(l);
			return;
		}
		fail(l, -EIO, why.text);
		return;
	}
	atomic_fetch_sub(&e->handshakes, 1);
	atomic_fetch_sub(&e->connections, 1);
	atomic_fetch_sub(&lane->w->load, 1);
	lane_count(lane, COUNT_OVER_LIMIT, 1);
	tunnel_log(TUNNEL_LOG_WARNING, "a peer was turned away: too many handshakes at once", LOG_TEXT("route", lane->r->c->name));
	close(fd);
}

// ---- streams for flows ----

// Of an open link: -EAGAIN, -ESHUTDOWN: another link is needed.
static int open_stream(struct link *l, struct flow *f)
{
	const struct target *t = f->acceptor ? accept_target(f->acceptor) : NULL;
	int err = mux_open(&f->stream, l->mux, MUX_TCP, t && t->host != TARGET_NONE ? t : NULL, f);
	if (err)
		return err;
	f->link = l;
	if (f->readable || f->early)
		mux_ready(f->stream);
	link_mark(l);
	return 0;
}

int link_want(struct lane *lane, struct flow *f)
{
	struct link *l = lane->link;
	int err = -EAGAIN;
	if (!lane->r->c->mux) {
		if (!(l = new_link(lane, true)))
			return -ENOMEM;
		l->direct = f;
		l->pulls = true;
		f->link = l;
		lane->gateway = (lane->gateway + 1) % lane->r->c->gateway_count;
		dial_gateway(l);	// a failure has told the flow
		return 0;
	}
	if (l && l->state == LINK_OPEN) {
		err = open_stream(l, f);
		if (err != -EAGAIN && err != -ESHUTDOWN)
			return err;
		if (lane->link == l)	// it is full: what is open in it goes on
			lane->link = NULL;
		l = NULL;
	}
	if (!l && lane->retry_at_ms > lane->w->now_ms + WAIT_FOR_RETRY_MS)
		return lane->error ? lane->error : -EHOSTUNREACH;
	if (!l && lane->retry_at_ms <= lane->w->now_ms) {
		lane_tend(lane);
		l = lane->link;
		if (!l && lane->retry_at_ms > lane->w->now_ms + WAIT_FOR_RETRY_MS)
			return lane->error ? lane->error : -EHOSTUNREACH;
	}
	f->link = l;
	list_add_last(l ? &l->waiting : &lane->waiting, &f->wait);
	return 0;
}

void link_drop(struct flow *f, int err)
{
	struct link *l = f->link;
	struct mux_stream *s = f->stream;
	direct_drop(f, err);
	list_remove(&f->wait);
	f->link = NULL;
	f->stream = NULL;
	if (s) {
		mux_reset(s, err ? mux_error_of(err) : MUX_CLOSED);
		link_mark(l);
	} else if (l && l->direct == f) {
		l->direct = NULL;
		break_off(l);
		bury(l);
	}
}

void link_flow_ready(struct flow *f)
{
	if (f->past) {
		direct_ready(f);
		return;
	}
	if (f->stream)
		mux_ready(f->stream);
	else if (f->link)
		f->link->pulls = true;
	if (f->link)
		link_mark(f->link);
}

void link_flow_drained(struct flow *f)
{
	if (f->stream)
		mux_unready(f->stream);
	else if (f->link)
		f->link->pulls = false;
}

void link_flow_resume(struct flow *f)
{
	if (f->past) {
		direct_resume(f);
		return;
	}
	if (f->stream && mux_kept(f->stream)) {
		mux_resume(f->stream);
	} else if (f->link && f->link->kept) {
		f->link->readable = true;
	} else {
		return;
	}
	if (f->link)	// what was kept may have ended it
		link_mark(f->link);
}

void link_flow_accept(struct flow *f)
{
	if (f->stream) {
		mux_accept(f->stream);
		mux_resume(f->stream);
	}
	if (f->link) {
		f->link->readable = true;	// without a mux nothing was read until now
		link_mark(f->link);
	}
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
	int64_t at = wait >= 0 ? w->now_ms + wait : INT64_MAX, silence = l->heard_ms + (l->pinged ? 2 : 1) * (int64_t)w->e->settings.keepalive_ms;
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
	const struct settings *s = &l->lane->w->e->settings;
	const struct mux_options o = {.client = l->client, .streams = s->connections < 1 << 20 ? s->connections : 1 << 20, .window_max = s->window_bytes,
				      .memory = s->memory_bytes / l->lane->w->e->worker_count};
	l->mux = mux_new(&o, &ops, l);
	return l->mux ? 0 : -ENOMEM;
}

static void established(struct link *l)
{
	struct lane *lane = l->lane;
	bool speaks = !strcmp(ratls_alpn(l->c), MUX_ALPN);
	char peer[TARGET_TEXT];
	int err = 0;
	if (l->client && lane->r->c->mux && !speaks) {
		fail(l, -EPROTO, "the far end is no gateway of Coffer's: it speaks attested TLS, but not " MUX_ALPN ". For such servers: mux: false");
		return;
	}
	l->state = LINK_OPEN;
	leave_handshake(l);
	lane_count(lane, COUNT_LINKS, 1);
	lane_count(lane, COUNT_LINKS_OPEN, 1);
	if (l->client && lane->r->c->mux) {
		lane->back_off_ms = 0;
		lane->retry_at_ms = 0;
		lane->error = 0;
		lane->reason[0] = '\0';
	}
	tunnel_log(TUNNEL_LOG_INFO, "attested connection established", LOG_TEXT("route", lane->r->c->name), LOG_TEXT("peer", peer_text(l, peer)),
		   LOG_TEXT("mode", speaks ? "streams" : "single"), LOG_NUMBER("ms", lane->w->now_ms - l->began_ms));
	if (speaks)
		err = make_mux(l);
	else if (!l->client)
		err = flow_begin(l, NULL);
	else if (l->direct)
		flow_far_open(l->direct);
	if (err) {
		fail(l, err, err == -ENOMEM ? "out of memory" : "a client without streams names no destination, and this route has no `to`");
		return;
	}
	while (l->mux && !list_empty(&l->waiting)) {
		struct flow *f = list_entry(l->waiting.next, struct flow, wait);
		list_remove(&f->wait);
		f->link = NULL;
		err = open_stream(l, f);
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
		fail(l, -ETIMEDOUT, "no end of the handshake in time");
		return;
	}
	if (err != -EAGAIN) {
		fail(l, err, ratls_reason(l->c));
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
	break_off(l);
	bury(l);
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
	int wait;
	bool ready;
	int err = send_rest(l);
	// What TLS holds back goes first: no more is read from anywhere until then.
	if (!err && ratls_wants(l->c, &wait, &ready) & POLLOUT)
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
}

// Fills the worker's buffer: *have bytes, whatever is returned: 1 there may be more; 0 the peer's end; -EAGAIN; what the link was lost by.
static ssize_t gather(struct link *l, size_t *have)
{
	struct worker *w = l->lane->w;
	*have = 0;
	if (l->ended)
		return -EAGAIN;
	while (*have < WORKER_BUFFER) {
		int wait;
		bool ready = true;
		ssize_t n = ratls_read(l->c, w->buffer + *have, WORKER_BUFFER - *have, 0);
		if (n <= 0)
			return n;
		*have += (size_t)n;
		l->heard_ms = w->now_ms;
		l->pinged = false;
		if (*have < FEW_BYTES)	// most likely all: to ask in vain costs as much as this took
			ratls_wants(l->c, &wait, &ready);
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
			if (l->direct)
				flow_far_end(l->direct);
			return 0;
		}
	}
	return 1;
}

static bool is_over(const struct link *l)
{
	if (l->rest || l->kept)
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
	int64_t silent = w->now_ms - l->heard_ms, patience = w->e->settings.keepalive_ms;
	if (!l->mux || silent < patience)
		return 0;
	if (l->pinged && silent >= 2 * patience)
		return -ETIMEDOUT;
	if (!l->pinged && !mux_ping(l->mux))
		l->pinged = true;
	return 0;
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
	err = more < 0 ? more : look_alive(l);
	if (err == -ETIMEDOUT && more >= 0) {
		fail(l, err, "no sign of life of the far end");
		return;
	}
	if (!err)
		err = flush(l);
	if (l->state == LINK_DEAD)
		return;
	if (!err && l->ended && l->mux && mux_streams(l->mux))
		err = -ECONNRESET;	// it said goodbye with streams open
	if (err) {
		fail(l, err, reason_of(l));
		return;
	}
	take_work(l);
	if (is_over(l)) {
		finish(l);
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
	case LINK_LINGERING: linger(l); break;
	case LINK_DIALING:
	case LINK_DEAD: break;
	}
}

json_t *link_describe(struct link *l)
{
	static const char *const states[] = {"connecting", "handshake", "open", "going", "closing", "closed"};
	char peer[TARGET_TEXT];
	json_t *known = l->c && l->state >= LINK_OPEN ? json_loads(ratls_peer(l->c), 0, NULL) : NULL;
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "route", l->lane->r->c->name, "peer", peer_text(l, peer), "state", states[l->state],
			      "mode", l->mux ? "streams" : "single", "streams", (json_int_t)(l->mux ? mux_streams(l->mux) : l->direct != NULL), "age_seconds",
			      (json_int_t)(l->lane->w->now_ms - l->began_ms) / 1000, "kept_bytes", (json_int_t)(l->mux ? mux_memory(l->mux) : l->kept_len));
	if (o && known)
		json_object_set_new(o, "attestation", known);
	else
		json_decref(known);
	return o;
}
