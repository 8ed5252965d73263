// SPDX-License-Identifier: Apache-2.0
// See link.h.
#include "tunnel/link_inner.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel/carrier.h"
#include "tunnel/direct.h"
#include "tunnel/flow.h"
#include "tunnel/near.h"
#include "tunnel/shares.h"
#include "tunnel/tundev.h"
#include "tunnel/udp.h"

#define LINGER_MS 1000
#define TURN_LINGER 64
#define BACK_OFF_LEAST_MS 100
#define BACK_OFF_MOST_MS 10000
#define BACK_OFF_REFUSED_MS 30000	// a peer that did not prove itself will hardly do so a moment later
#define WAIT_FOR_RETRY_MS 1000	// a flow waits for the next try when it is as near as this

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
const char *link_peer_text(const struct link *l, char out[TARGET_TEXT])
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
		// The far gateway went before it had begun with the stream, of which nothing was sent: another connection will do.
		if (why != MUX_GOING || f->state != FLOW_WAITING || f->in || link_want(f->lane, f))
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

const struct mux_ops link_mux_ops = {
	.opened = op_opened, .accepted = op_accepted, .pull = op_pull, .data = op_data, .end = op_end, .closed = op_closed, .pong = op_pong,
		.going = op_going,
};

// ---- the end of a link ----

void link_leave_handshake(struct link *l)
{
	if (l->counted) {
		atomic_fetch_sub(&l->lane->w->e->handshakes, 1);
		shares_give(l->lane->w->e->shares, l->share);
	}
	l->counted = false;
}

// Nothing more comes of it; what waits or passes in it has been told.
void link_bury(struct link *l)
{
	struct worker *w = l->lane->w;
	if (l->lane->link == l)
		l->lane->link = NULL;
	if (l->state == LINK_OPEN || l->state == LINK_GOING)
		lane_count(l->lane, COUNT_LINKS_OPEN, -1);
	link_leave_handshake(l);
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
	w->kept -= l->accounted;
	l->accounted = 0;
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
void link_break_off(struct link *l)
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

// A far gateway that is being started anew, or the next one of several, is worth a moment's wait.
static void keep_waiting(struct link *l)
{
	struct lane *lane = l->lane;
	if (!l->client || !lane->r->c->mux || lane->gone || lane->retry_at_ms > lane->w->now_ms + WAIT_FOR_RETRY_MS)
		return;
	while (!list_empty(&l->waiting)) {
		struct flow *f = list_entry(l->waiting.next, struct flow, wait);
		list_remove(&f->wait);
		list_add_last(&lane->waiting, &f->wait);
		f->link = NULL;
	}
}

void link_fail(struct link *l, int err, const char *why)
{
	static const char *const words[] = {"the peer was refused", "the peer refuses this side", "the attested connection was lost",
		"no attested connection"};
	struct lane *lane = l->lane;
	bool open = l->state == LINK_OPEN || l->state == LINK_GOING, refused = err == -EKEYREJECTED, by_peer = err == -EACCES;
	char peer[TARGET_TEXT], reason[1024];
	size_t streams = l->mux ? mux_streams(l->mux) : l->direct != NULL;
	snprintf(reason, sizeof reason, "%.*s", (int)sizeof reason - 1, why);	// it may be of what is freed here
	count_failure(l, err);
	// Scanners and health checks that never say a word are no news. That this side has nothing to show (-EIO) is.
	tunnel_log(!open && !l->client && !refused && !by_peer && err != -EIO ? TUNNEL_LOG_DEBUG : TUNNEL_LOG_WARNING,
		words[refused ? 0 : by_peer ? 1 : open ? 2 : 3],
		   LOG_TEXT("route", lane->r->c->name), LOG_TEXT("peer", link_peer_text(l, peer)), LOG_TEXT("reason", reason), LOG_TEXT("error",
			strerrorname_np(-err)),
		   LOG_NUMBER("streams", streams ? (int64_t)streams : LOG_NOTHING));
	back_off(l, err, reason);
	if (lane->link == l)
		lane->link = NULL;
	if (!open && !refused && !by_peer)
		keep_waiting(l);
	drop_flows(l, open && !refused && !by_peer ? -ECONNRESET : err, reason);
	if (refused && l->c && l->src.fd >= 0 && !shutdown(l->src.fd, SHUT_WR)) {
		// Who closes a socket with unread data makes the peer lose what it was told last.
		if (open)
			lane_count(lane, COUNT_LINKS_OPEN, -1);
		link_leave_handshake(l);
		l->state = LINK_LINGERING;
		if (!timer_set(&lane->w->timers, &l->timer, lane->w->now_ms + LINGER_MS)) {
			worker_watch_for(lane->w, &l->src, EPOLLIN);
			link_mark(l);
			if (l->client)
				lane_tend(lane);
			return;
		}
	}
	link_break_off(l);
	link_bury(l);
	if (l->client)
		lane_tend(lane);
}

void link_linger(struct link *l)
{
	char sink[4096];
	ssize_t n = 1;
	for (unsigned int i = 0; n > 0 && i < TURN_LINGER; i++)	// the rest has another turn: others wait
		n = read(l->src.fd, sink, sizeof sink);
	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		link_bury(l);
}

// In order: the last stream is gone.
void link_finish(struct link *l)
{
	char peer[TARGET_TEXT];
	tunnel_log(TUNNEL_LOG_DEBUG, "attested connection ended", LOG_TEXT("route", l->lane->r->c->name), LOG_TEXT("peer", link_peer_text(l, peer)));
	drop_flows(l, 0, NULL);
	link_bury(l);
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
	link_break_off(l);
	link_bury(l);
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
	} else if ((l->state == LINK_DIALING || (l->state == LINK_HANDSHAKE && l->client)) && list_empty(&l->waiting) && !l->direct) {
		link_break_off(l);	// nobody waits for it
		link_bury(l);
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
		link_bury(l);
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
	*l = (struct link){.lane = lane, .client = client, .src = {.fd = -1, .event = on_event}, .timer = {.fire = on_timer},
		.gateway = lane->gateway,
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
	near_tune(l->src.fd);
	l->state = LINK_HANDSHAKE;
	l->deadline_ms = w->now_ms + w->settings.handshake_ms;
	l->readable = true;
	l->watched = EPOLLIN;
	int err = worker_watch(w, &l->src, l->watched);
	if (err)
		link_fail(l, err, "no more descriptors can be waited for");
	else
		link_mark(l);
}

// A gateway that speaks to itself waits for itself.
static bool is_own(const struct config_address *own, int fd)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof peer;
	if (getpeername(fd, (struct sockaddr *)&peer, &len) || peer.ss_family != own->sa.ss_family)
		return false;
	if (peer.ss_family == AF_INET) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)&peer, *b = (const struct sockaddr_in *)&own->sa;
		return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
	}
	const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)&peer, *b = (const struct sockaddr_in6 *)&own->sa;
	return peer.ss_family == AF_INET6 && a->sin6_port == b->sin6_port && !memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr);
}

static void dialed(void *ctx, int fd, const char *why)
{
	struct link *l = ctx;
	struct lane *lane = l->lane;
	struct ratls_error e = {""};
	char name[TARGET_TEXT];
	l->dial = NULL;
	if (fd < 0) {
		link_fail(l, fd, why);
		return;
	}
	if (is_own(&lane->r->at, fd)) {
		close(fd);
		link_fail(l, -ELOOP, "that is where this route itself listens: it must be said where the far gateway is (`connect`, or `coffer run --connect`)");
		return;
	}
	target_host_text(&lane->r->c->gateways[l->gateway], name);
	int err = ratls_connect(&l->c, lane->r->tls, fd, lane->r->c->gateway_name ? lane->r->c->gateway_name : name, &e);
	if (err)
		link_fail(l, err, e.text);
	else
		begin_handshake(l);
}

static int dial_gateway(struct link *l)
{
	struct lane *lane = l->lane;
	const struct dial_options o = {.mark = lane->r->c->mark, .timeout_ms = (int)lane->w->settings.connect_ms};
	struct fault why = {""};
	l->state = LINK_DIALING;
	int err = dial_start(&l->dial, lane->w->inbox, &lane->r->c->gateways[l->gateway], &o, dialed, l, &why);
	if (err)
		link_fail(l, err, why.text);
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
	// One peer may have half of them: another one finds room.
	unsigned int most = lane->w->settings.handshakes, half = (most + 1) / 2;
	uint64_t share = share_of_peer(fd);
	bool room = atomic_fetch_add(&e->handshakes, 1) < most && shares_take(e->shares, share, half);
	if (room && (l = new_link(lane, false))) {
		l->counted = true;
		l->share = share;
		if (!ratls_accept(&l->c, lane->r->tls, fd, &why)) {	// the descriptor is its own now
			begin_handshake(l);
			return;
		}
		link_fail(l, -EIO, why.text);
		return;
	}
	if (room)
		shares_give(e->shares, share);
	atomic_fetch_sub(&e->handshakes, 1);
	atomic_fetch_sub(&e->connections, 1);
	atomic_fetch_sub(&lane->w->load, 1);
	lane_count(lane, COUNT_OVER_LIMIT, 1);
	tunnel_log(TUNNEL_LOG_WARNING, "a peer was turned away: too many handshakes at once", LOG_TEXT("route", lane->r->c->name));
	close(fd);
}

// ---- streams for flows ----

// Of an open link: -EAGAIN, -ESHUTDOWN: another link is needed.
int link_open_stream(struct link *l, struct flow *f)
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
		err = link_open_stream(l, f);
		if (err != -EAGAIN && err != -ESHUTDOWN)
			return err;
		link_retire(l);	// it is full: what is open in it goes on, and it ends with that
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
		link_break_off(l);
		link_bury(l);
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

json_t *link_describe(struct link *l)
{
	static const char *const states[] = {"connecting", "handshake", "open", "going", "closing", "closed"};
	char peer[TARGET_TEXT];
	json_t *known = l->c && l->state >= LINK_OPEN ? json_loads(ratls_peer(l->c), 0, NULL) : NULL;
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "route", l->lane->r->c->name, "peer", link_peer_text(l, peer), "state",
		states[l->state],
			      "mode", l->mux ? "streams" : "single", "streams", (json_int_t)(l->mux ? mux_streams(l->mux) : l->direct != NULL),
				"age_seconds",
			      (json_int_t)(l->lane->w->now_ms - l->began_ms) / 1000, "kept_bytes",
				(json_int_t)(l->mux ? mux_memory(l->mux) : l->kept_len));
	if (o && known)
		json_object_set_new(o, "attestation", known);
	else
		json_decref(known);
	return o;
}
