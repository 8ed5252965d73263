// SPDX-License-Identifier: Apache-2.0
// See flow.h.
#include "tunnel/flow.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel/accept.h"
#include "tunnel/associate.h"
#include "tunnel/direct.h"
#include "tunnel/filter.h"
#include "tunnel/link.h"
#include "tunnel/near.h"
#include "tunnel/transparent.h"

#define FLUSH_MS 30000	// for a client to take the end of what it was sent
#define TURN_NOBODY 64	// reads of what nobody wants
#define NEWS_AGAIN_MS 10000	// what does not work is said so often
#define WATCHED (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static void close_flow(struct flow *f, int err, const char *why);
static void take_input(struct flow *f);
static void watch_end(struct flow *f);

// ---- the plain socket ----

// What the acceptor still has to say to the client. 0, -EAGAIN, or the socket's error.
static int say(struct flow *f)
{
	size_t n;
	const uint8_t *bytes;
	while (f->acceptor && (bytes = accept_output(f->acceptor, &n)) && n) {
		ssize_t k = send(f->src.fd, bytes, n, MSG_NOSIGNAL);
		if (k < 0)
			return -errno;
		accept_sent(f->acceptor, (size_t)k);
	}
	return 0;
}

static void drop_acceptor(struct flow *f)
{
	if (f->acceptor && f->state == FLOW_OPEN && !accept_filters(f->acceptor)) {
		accept_free(f->acceptor);
		f->acceptor = NULL;
	}
}

static void on_event(struct source *s, uint32_t events)
{
	struct flow *f = list_entry(s, struct flow, src);
	if (f->state == FLOW_DEAD)
		return;
	if (events & (EPOLLERR | EPOLLHUP)) {
		int err = 0;
		socklen_t len = sizeof err;
		if (events & EPOLLERR && !getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) && err) {
			flow_cut(f, -err, "the plain side broke");
			return;
		}
	}
	f->hup |= events & (EPOLLRDHUP | EPOLLHUP);
	if (events & EPOLLOUT) {
		int err = say(f);
		if (!err && f->filter)
			err = filter_flush(f->filter, f->src.fd);
		if (!err && f->state == FLOW_FLUSHING) {
			close_flow(f, 0, NULL);
			return;
		}
		if (err && err != -EAGAIN) {
			flow_cut(f, err, "the plain side broke");
			return;
		}
		if (!err) {
			drop_acceptor(f);
			link_flow_resume(f);
		}
	}
	if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) || f->state == FLOW_DEAD)
		return;
	f->readable = true;
	crowd_event(&f->lane->w->crowd, f);
	if (f->association)
		watch_end(f);
	else if (f->state == FLOW_ACCEPTING)
		take_input(f);
	else if (!f->plain_ended && f->state != FLOW_FLUSHING)
		link_flow_ready(f);
}

static void on_timer(struct timer *t)
{
	struct flow *f = list_entry(t, struct flow, timer);
	struct worker *w = f->lane->w;
	unsigned int idle = w->settings.idle_ms;
	if (f->state == FLOW_OPEN && (!idle || w->now_ms - f->active_ms < idle)) {
		if (idle)
			timer_set(&w->timers, t, f->active_ms + idle);
		return;
	}
	flow_cut(f, -ETIMEDOUT,
		f->state == FLOW_OPEN ? "idle for too long" : f->state == FLOW_ACCEPTING ? "it did not say in time where it wants to go" :
		 "the far side was not connected in time");
}

static struct flow *new_flow(struct lane *lane, int fd)
{
	struct flow *f = calloc(1, sizeof *f);
	struct worker *w = lane->w;
	if (!f)
		return NULL;
	*f = (struct flow){.lane = lane, .src = {.fd = fd, .event = on_event}, .timer = {.fire = on_timer}, .began_ms = w->now_ms,
		.active_ms = w->now_ms};
	list_add_last(&lane->flows, &f->node);
	lane_enter(lane);
	return f;
}

void flow_free(struct flow *f)
{
	struct lane *lane = f->lane;
	if (f->src.fd >= 0)
		close(f->src.fd);
	direct_free(f->passed);
	associate_free(f->association);
	filter_free(f->filter);
	accept_free(f->acceptor);
	free(f->early);
	free(f);
	lane_leave(lane);
}

// How closing it ends the connection: with a reset, also when this process dies, or in order, with all that was sent.
static void set_abrupt(int fd, bool abrupt)
{
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = abrupt}, sizeof(struct linger));
}

// The plain side learns by a reset that something may be missing, unless all went in order.
static void close_flow(struct flow *f, int err, const char *why)
{
	struct lane *lane = f->lane;
	struct worker *w = lane->w;
	char where[TARGET_TEXT];
	const struct target *t = f->acceptor && f->state != FLOW_ACCEPTING ? accept_target(f->acceptor) : NULL;
	if (f->state == FLOW_DEAD)
		return;
	if (f->state != FLOW_OPEN && f->state != FLOW_FLUSHING)
		lane_count(lane, COUNT_REFUSED, 1);
	tunnel_log(TUNNEL_LOG_DEBUG, err ? "connection cut" : "connection ended", LOG_TEXT("route", lane->r->c->name), LOG_TEXT("reason", why),
		   LOG_TEXT("error", err ? strerrorname_np(-err) : NULL), LOG_TEXT("to", t && t->host != TARGET_NONE ? target_text(t, where) : NULL),
		   LOG_NUMBER("in", f->in), LOG_NUMBER("out", f->out), LOG_NUMBER("ms", w->now_ms - f->began_ms));
	f->state = FLOW_DEAD;
	if (f->dial)
		dial_cancel(f->dial);
	f->dial = NULL;
	direct_drop(f, err);
	associate_end(f);
	if (f->src.fd >= 0) {
		worker_unwatch(w, &f->src);
		if (!err)
			set_abrupt(f->src.fd, false);
		close(f->src.fd);
		f->src.fd = -1;
	}
	timer_clear(&w->timers, &f->timer);
	if (w->walk == &f->node)
		w->walk = f->node.next;
	list_remove(&f->node);
	list_remove(&f->wait);
	list_add_last(&w->dead_flows, &f->dead);
	lane_count(lane, COUNT_OPEN, -1);
	atomic_fetch_sub(&w->e->connections, 1);
	if (lane->r->c->kind == ROUTE_INGRESS)
		atomic_fetch_sub(&w->load, 1);
}

void flow_cut(struct flow *f, int err, const char *why)
{
	if (f->state == FLOW_DEAD)
		return;
	link_drop(f, err);
	close_flow(f, err, why);
}

// ---- ingress: who wants where ----

// The far side could not be had: the client is told in its own protocol, if that has words for it.
static void refuse(struct flow *f, int err, const char *why)
{
	size_t words = 0;
	if (f->acceptor && f->state != FLOW_ACCEPTING && f->state != FLOW_OPEN) {
		accept_connected(f->acceptor, err, NULL);
		accept_output(f->acceptor, &words);
		if (words && !say(f)) {	// then an end in order, or the reset would eat it
			close_flow(f, 0, why);
			return;
		}
	}
	close_flow(f, err, why);
}

// What `destinations` does not name: 1 it goes past the tunnel, -EACCES or why it cannot. 0: it goes through.
static int past_tunnel(struct flow *f)
{
	const struct route_config *c = f->lane->r->c;
	const struct target *t = f->acceptor ? accept_target(f->acceptor) : NULL;
	if (!c->through || !t || rules_select(c->through, t))
		return 0;
	int err = c->otherwise_direct ? direct_begin(f, t) : -EACCES;
	return err ? err : 1;
}

static void go_on(struct flow *f)
{
	struct worker *w = f->lane->w;
	f->state = FLOW_WAITING;
	timer_set(&w->timers, &f->timer, w->now_ms + w->settings.connect_ms + w->settings.handshake_ms);
	int err = past_tunnel(f);
	if (err == 1)
		return;
	if (err) {
		refuse(f, err, err == -EACCES ? "no rule of `destinations` names where it wants to go" : "the destination cannot be reached");
		return;
	}
	err = link_want(f->lane, f);
	if (err)
		refuse(f, err, f->lane->reason[0] ? f->lane->reason : "the far gateway cannot be reached");
}

// A connection beside which there are datagrams: its end is all that it has to say.
static void watch_end(struct flow *f)
{
	char nobody[4096];
	ssize_t n = 1;
	for (unsigned int i = 0; n > 0 && i < TURN_NOBODY; i++)
		n = recv(f->src.fd, nobody, sizeof nobody, 0);
	if (n > 0)	// who never stops would keep all others waiting
		close_flow(f, -EPROTO, "it talks where it has nothing to say");
	else if (!n || (errno != EAGAIN && errno != EINTR))
		close_flow(f, 0, NULL);
}

static void associate(struct flow *f)
{
	struct worker *w = f->lane->w;
	int err = associate_begin(f);
	f->state = err ? FLOW_WAITING : FLOW_OPEN;
	if (err) {
		refuse(f, err, "there is no socket for datagrams");
		return;
	}
	f->active_ms = w->now_ms;
	timer_clear(&w->timers, &f->timer);
	if (w->settings.idle_ms)
		timer_set(&w->timers, &f->timer, f->active_ms + w->settings.idle_ms);
	err = say(f);
	if (err && err != -EAGAIN)
		close_flow(f, err, "the plain side broke");
	else
		watch_end(f);
}

static void step(struct flow *f, enum accept_step s)
{
	size_t words = 0;
	if (f->acceptor)
		accept_output(f->acceptor, &words);
	int err = say(f);
	if (err && err != -EAGAIN) {
		close_flow(f, err, "the plain side broke");
		return;
	}
	switch (s) {
	case ACCEPT_MORE: break;
	case ACCEPT_TARGET:
	case ACCEPT_OPEN: go_on(f); break;
	case ACCEPT_UDP: associate(f); break;
	case ACCEPT_REFUSED: close_flow(f, words ? 0 : -ECONNABORTED, accept_reason(f->acceptor)); break;
	}
}

// Reads until the destination is known; what follows it stays in f->early.
static void take_input(struct flow *f)
{
	while (f->state == FLOW_ACCEPTING && f->readable) {
		size_t used = 0;
		if (!f->early && !(f->early = malloc(ACCEPT_MAX_INPUT))) {
			close_flow(f, -ENOMEM, "out of memory");
			return;
		}
		ssize_t n = recv(f->src.fd, f->early + f->early_len, ACCEPT_MAX_INPUT - f->early_len, 0);
		if (n < 0 && errno == EAGAIN) {
			f->readable = false;
			return;
		}
		if (n <= 0) {
			close_flow(f, n ? -errno : 0, n ? "the plain side broke" : "the client ended before it said where it wants to go");
			return;
		}
		f->early_len += (size_t)n;
		enum accept_step s = accept_input(f->acceptor, f->early, f->early_len, &used);
		memmove(f->early, f->early + used, f->early_len - used);
		f->early_len -= used;
		if (s == ACCEPT_MORE && f->early_len == ACCEPT_MAX_INPUT) {
			close_flow(f, -EPROTO, "too much before the destination");
			return;
		}
		if (s != ACCEPT_MORE && !f->early_len) {
			free(f->early);
			f->early = NULL;
		}
		step(f, s);
	}
}

void flow_accept(struct lane *lane, int fd)
{
	struct worker *w = lane->w;
	struct flow *f = new_flow(lane, fd);
	enum accept_step s = ACCEPT_TARGET;
	if (!f) {
		close(fd);
		atomic_fetch_sub(&w->e->connections, 1);
		atomic_fetch_sub(&w->load, 1);
		return;
	}
	set_abrupt(fd, true);
	near_tune(fd);
	if (lane->r->c->accept.kind != ACCEPT_MAPPING) {
		f->acceptor = accept_new(&lane->r->c->accept);
		if (!f->acceptor) {
			close_flow(f, -ENOMEM, "out of memory");
			return;
		}
		s = accept_begin(f->acceptor, fd);
	}
	timer_set(&w->timers, &f->timer, w->now_ms + ACCEPT_MAX_MS);
	int err = worker_watch(w, &f->src, WATCHED);
	if (err)
		close_flow(f, err, "no more descriptors can be waited for");
	else
		step(f, s);
}

// ---- egress: to the destination ----

static void connected(struct flow *f, int fd)
{
	f->src.fd = fd;
	set_abrupt(fd, true);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));	// a Unix socket has none
	near_tune(fd);
	int err = worker_watch(f->lane->w, &f->src, WATCHED);
	if (err) {
		flow_cut(f, err, "no more descriptors can be waited for");
		return;
	}
	if (f->far_ended)	// before this side was there, and without a byte, or that would still wait
		shutdown(fd, SHUT_WR);
	f->accepted = true;
	f->state = FLOW_OPEN;
	f->active_ms = f->lane->w->now_ms;
	timer_clear(&f->lane->w->timers, &f->timer);
	if (f->lane->w->settings.idle_ms)
		timer_set(&f->lane->w->timers, &f->timer, f->active_ms + f->lane->w->settings.idle_ms);
	link_flow_accept(f);
}

// Where a stream is meant to go: NULL, to what the route names.
static const struct target *named(struct mux_stream *s)
{
	const struct target *t = s ? mux_target(s) : NULL;
	return t && t->host == TARGET_NONE ? NULL : t;
}

// Whose gateway this is has to hear that its file and the world differ, and not once for each client.
enum trouble { TROUBLE_SERVER, TROUBLE_CLIENT };
static void say_trouble(struct lane *lane, enum trouble what, const struct target *t, int err, const char *why)
{
	static const char *const words[] = {"the server cannot be reached", "a client was refused"};
	char where[TARGET_TEXT];
	if (lane->w->now_ms < lane->quiet_until_ms[what])
		return;
	lane->quiet_until_ms[what] = lane->w->now_ms + NEWS_AGAIN_MS;
	tunnel_log(TUNNEL_LOG_WARNING, words[what], LOG_TEXT("route", lane->r->c->name), LOG_TEXT("to", t ? target_text(t, where) : NULL),
		   LOG_TEXT("reason", why), LOG_TEXT("error", strerrorname_np(-err)));
}

static void dialed(void *ctx, int fd, const char *why)
{
	struct flow *f = ctx;
	f->dial = NULL;
	if (fd < 0) {
		if (!named(f->stream))	// else it is the client's affair
			say_trouble(f->lane, TROUBLE_SERVER, NULL, fd, why);
		flow_cut(f, fd, why);
	} else {
		connected(f, fd);
	}
}

static int dial_unix(struct flow *f)
{
	const struct config_address *a = &f->lane->r->c->to_path;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&a->sa, a->len)) {
		int err = errno == EAGAIN ? -EBUSY : errno == ENOENT ? -ECONNREFUSED : -errno;
		close(fd);
		return err;
	}
	connected(f, fd);
	return 0;
}

static int dial_target(struct flow *f, const struct target *t)
{
	struct lane *lane = f->lane;
	const struct route_config *c = lane->r->c;
	const struct dial_options o = {.rules = t ? c->allow : NULL, .mark = c->mark, .timeout_ms = (int)lane->w->settings.connect_ms,
				       .share = f->link->share};
	struct target meant;
	struct fault why = {""};
	if (!t && c->to_unix)
		return dial_unix(f);
	if (!t && c->to_original) {
		int err = transparent_target(f->link->src.fd, c->accept.listen_port, &meant);
		if (err)
			return err == -ELOOP ? -EACCES : err;
		return dial_start(&f->dial, lane->w->inbox, &meant, &o, dialed, f, &why);
	}
	return dial_start(&f->dial, lane->w->inbox, t ? t : &c->to, &o, dialed, f, &why);
}

int flow_begin(struct link *l, struct mux_stream *s)
{
	struct lane *lane = l->lane;
	struct engine *e = lane->w->e;
	const struct target *t = named(s);
	struct flow *f;
	if (lane->r->c->kind != ROUTE_EGRESS || (s && mux_kind(s) != MUX_TCP))
		return -EOPNOTSUPP;
	if (t ? !rules_match(lane->r->c->allow, t) : !lane->r->c->has_to) {
		say_trouble(lane, TROUBLE_CLIENT, t, -EACCES, t ? "`allow` has no rule for this destination" :
			    "it names no destination, and the route has no `to`");
		return -EACCES;
	}
	if (atomic_fetch_add(&e->connections, 1) >= lane->w->settings.connections) {
		atomic_fetch_sub(&e->connections, 1);
		lane_count(lane, COUNT_OVER_LIMIT, 1);
		return -EBUSY;
	}
	if (!(f = new_flow(lane, -1))) {
		atomic_fetch_sub(&e->connections, 1);
		return -ENOMEM;
	}
	f->link = l;
	f->stream = s;
	f->state = FLOW_DIALING;
	if (s)
		mux_set_user(s, f);
	else
		l->direct = f;
	int err = dial_target(f, t);
	if (err) {	// the link refuses the stream itself
		f->link = NULL;
		f->stream = NULL;
		if (!s)
			l->direct = NULL;
		if (!t)
			say_trouble(lane, TROUBLE_SERVER, NULL, err, strerror(-err));
		close_flow(f, err, "the destination cannot be reached");
	}
	return err;
}

// ---- the far side's words ----

void flow_far_open(struct flow *f)
{
	struct worker *w = f->lane->w;
	enum accept_step s = ACCEPT_OPEN;
	if (f->state != FLOW_WAITING)
		return;
	f->accepted = true;
	if (f->acceptor) {
		s = accept_connected(f->acceptor, 0, NULL);
		int err = say(f);
		if (err && err != -EAGAIN) {
			flow_cut(f, err, "the plain side broke");
			return;
		}
		if (s != ACCEPT_OPEN) {
			flow_cut(f, -EPROTO, accept_reason(f->acceptor));
			return;
		}
	}
	if (f->acceptor && accept_filters(f->acceptor)) {
		if (!(f->filter = filter_new(f->acceptor))) {
			flow_cut(f, -ENOMEM, "out of memory");
			return;
		}
		if (f->early)
			filter_early(f->filter, f->early, f->early_len);
		free(f->early);
		f->early = NULL;
	}
	f->state = FLOW_OPEN;
	f->active_ms = w->now_ms;
	timer_clear(&w->timers, &f->timer);
	if (w->settings.idle_ms)
		timer_set(&w->timers, &f->timer, f->active_ms + w->settings.idle_ms);
	size_t left = 0;
	if (f->acceptor && (!accept_output(f->acceptor, &left) || !left))
		drop_acceptor(f);
	if (f->readable || f->early || f->filter)
		link_flow_ready(f);
	link_flow_resume(f);
}

bool flow_is_bare(const struct flow *f)
{
	return f->src.fd >= 0 && f->state == FLOW_OPEN && !f->acceptor && !f->filter && !f->early;
}

static ssize_t took(struct flow *f, ssize_t n)
{
	f->in += (uint64_t)n;
	f->active_ms = f->lane->w->now_ms;
	lane_count(f->lane, COUNT_BYTES_IN, n);
	return n;
}

static ssize_t pull_early(struct flow *f, uint8_t *buf, size_t size)
{
	size_t n = f->early_len - f->early_pos;
	n = n < size ? n : size;
	memcpy(buf, f->early + f->early_pos, n);
	f->early_pos += n;
	if (f->early_pos == f->early_len) {
		free(f->early);
		f->early = NULL;
		f->early_len = f->early_pos = 0;
	}
	return took(f, (ssize_t)n);
}

ssize_t flow_took(struct flow *f, ssize_t n)
{
	if (n > 0)
		return took(f, n);
	f->readable = false;
	f->plain_ended |= !n;
	return n;
}

ssize_t flow_pull(struct flow *f, uint8_t *buf, size_t size)
{
	// What needs an answer first (SOCKS, HTTP) has nothing to send before that.
	if (f->src.fd < 0 || f->state == FLOW_DEAD || (f->acceptor && f->state != FLOW_OPEN))
		return -EAGAIN;
	if (f->early)
		return pull_early(f, buf, size);
	if (f->filter) {
		ssize_t k = filter_pull(f->filter, f->src.fd, buf, size);
		return k > 0 ? took(f, k) : k;
	}
	ssize_t n = recv(f->src.fd, buf, size, 0);
	if (n > 0) {
		// Less than there was room for: all that had come. An end that came as well makes no new event.
		if ((size_t)n < size && !f->hup) {
			f->readable = false;
			link_flow_drained(f);
		}
		return took(f, n);
	}
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			f->readable = errno == EINTR;
		return -errno;
	}
	return flow_took(f, 0);
}

void flow_gave(struct flow *f, size_t n)
{
	f->out += (uint64_t)n;
	f->active_ms = f->lane->w->now_ms;
	lane_count(f->lane, COUNT_BYTES_OUT, (long long)n);
}

ssize_t flow_data(struct flow *f, const uint8_t *bytes, size_t len)
{
	if (f->src.fd < 0 || f->state != FLOW_OPEN)
		return -EAGAIN;
	if (f->acceptor) {	// its last words come first
		int err = say(f);
		if (err)
			return err;
	}
	bool over = false;
	ssize_t n = f->filter ? filter_push(f->filter, f->src.fd, bytes, len, &over) :
				send(f->src.fd, bytes, len, MSG_NOSIGNAL | (f->stream && mux_more(f->stream) ? MSG_MORE : 0));
	if (n < 0)
		return f->filter ? n : -errno;
	if (over) {	// the response is whole, and the proxy's connection ends with it
		link_drop(f, 0);
		flow_far_closed(f, 0, NULL);
		return n;
	}
	flow_gave(f, (size_t)n);
	return n;
}

void flow_far_end(struct flow *f)
{
	f->far_ended = true;
	if (f->filter) {	// a response that had no other end; the far side is never told of the client's
		filter_end(f->filter);
		link_drop(f, 0);
		flow_far_closed(f, 0, NULL);
	} else if (f->src.fd >= 0) {
		shutdown(f->src.fd, SHUT_WR);	// fails when the client is gone, which another event tells
	}
}

void flow_far_closed(struct flow *f, int err, const char *why)
{
	struct worker *w = f->lane->w;
	if (f->state == FLOW_WAITING && err)
		refuse(f, err, why);
	else if (!err && f->state == FLOW_OPEN && f->filter && filter_flush(f->filter, f->src.fd) == -EAGAIN &&
		 !timer_set(&w->timers, &f->timer, w->now_ms + FLUSH_MS))
		f->state = FLOW_FLUSHING;
	else
		close_flow(f, err, why);
}

json_t *flow_describe(struct flow *f)
{
	static const char *const states[] = {"accepting", "waiting", "connecting", "open", "flushing", "closed"};
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	char plain[CONFIG_ADDRESS_TEXT] = "", where[TARGET_TEXT] = "";
	const struct target *t = f->stream ? mux_target(f->stream) : NULL;
	int64_t now = f->lane->w->now_ms;
	if (f->src.fd >= 0 && !getpeername(f->src.fd, (struct sockaddr *)&sa, &len))
		config_address_text(plain, (struct sockaddr *)&sa, len);
	if (t && t->host != TARGET_NONE)
		target_text(t, where);
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "route", f->lane->r->c->name, "plain", plain, "to", where, "state",
		states[f->state],
			 "bytes_in", (json_int_t)f->in, "bytes_out", (json_int_t)f->out, "age_seconds", (json_int_t)(now - f->began_ms) / 1000,
				"idle_seconds",
			 (json_int_t)(now - f->active_ms) / 1000);
}
