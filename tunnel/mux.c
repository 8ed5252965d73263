// SPDX-License-Identifier: Apache-2.0
// Streams in one connection: their life, their turns and what goes out (docs/tunnel-protocol.md). See mux.h; mux_input.c has what comes in,
// mux_frame.c the frames' form. Touches nothing but memory; no locks.
//
// What is to be sent is kept as flags of streams, never as a queue of frames, so that no peer can make it grow: a stream is in `due` while it has
// frames other than data to send, and in `ready` while its user has data, it may be sent, and there is credit for it.
#include "tunnel/mux_state.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN 16384u	// bytes of a stream's turn while others wait

// ---- small things ----

int mux_broken(struct mux *m, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	vsnprintf(m->reason, sizeof(m->reason), format, ap);
	va_end(ap);
	m->broken = true;
	return -EPROTO;
}

int mux_no_memory(struct mux *m)
{
	snprintf(m->reason, sizeof(m->reason), "no memory");
	m->broken = true;
	return -ENOMEM;
}

bool mux_own_id(const struct mux *m, uint32_t id)
{
	return (id & 1) == m->o.client;
}

struct mux_stream *mux_find(const struct mux *m, uint32_t id)
{
	struct mux_stream *s = m->table[(id >> 1) & (m->buckets - 1)];
	while (s && s->id != id)
		s = s->next;
	return s;
}

void mux_insert(struct mux *m, struct mux_stream *s)
{
	if (m->streams > m->buckets) {
		size_t more = m->buckets * 2;
		struct mux_stream **table = calloc(more, sizeof(struct mux_stream *));
		for (size_t i = 0; table && i < m->buckets; i++) {
			for (struct mux_stream *each = m->table[i], *next; each; each = next) {
				struct mux_stream **to = &table[(each->id >> 1) & (more - 1)];
				next = each->next;
				each->next = *to;
				*to = each;
			}
		}
		if (table) {	// else chains grow longer, and nothing else
			free(m->table);
			m->table = table;
			m->buckets = more;
		}
	}
	struct mux_stream **to = &m->table[(s->id >> 1) & (m->buckets - 1)];
	s->next = *to;
	*to = s;
}

void mux_count_out(struct mux *m, struct mux_stream *s)
{
	if (!(s->flags & S_COUNTED))
		return;
	s->flags &= ~S_COUNTED;
	if (s->flags & S_OURS)
		m->own_open--;
	else
		m->peer_open--;
}

void mux_due(struct mux_stream *s, unsigned int what)
{
	s->flags |= what;
	if (!(s->flags & S_DUE)) {
		s->flags |= S_DUE;
		TAILQ_INSERT_TAIL(&s->m->due, s, due);
	}
}

static void not_due(struct mux_stream *s)
{
	if (s->flags & S_DUE) {
		s->flags &= ~S_DUE;
		TAILQ_REMOVE(&s->m->due, s, due);
	}
}

// Puts the stream into `ready`, at its end, or takes it out of it.
void mux_schedule(struct mux_stream *s)
{
	bool turn = s->flags & S_READY && s->id && (s->flags & S_OURS || s->flags & S_ACCEPTED) &&
		!(s->flags & (S_END_DUE | S_END_SENT | S_RESET_DUE | S_GONE)) && (s->kind != MUX_TCP || s->credit);
	if (turn == !!(s->flags & S_TURN))
		return;
	s->flags ^= S_TURN;
	if (turn)
		TAILQ_INSERT_TAIL(&s->m->ready, s, ready);
	else
		TAILQ_REMOVE(&s->m->ready, s, ready);
}

void mux_drop_kept(struct mux_stream *s)
{
	s->m->memory -= s->kept.size;
	free(s->kept.bytes);
	memset(&s->kept, 0, sizeof(s->kept));
}

struct mux_stream *mux_stream_new(struct mux *m, enum mux_kind kind, const struct target *target, void *user)
{
	struct mux_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->m = m;
	s->user = user;
	s->kind = kind;
	if (target)
		s->target = *target;
	s->window = s->room = m->o.window;
	m->streams++;
	TAILQ_INSERT_TAIL(&m->all, s, all);
	return s;
}

void mux_stream_free(struct mux_stream *s)
{
	struct mux *m = s->m;
	if (s->flags & S_FREED)
		return;
	s->flags |= S_GONE;
	s->flags &= ~S_READY;
	mux_schedule(s);
	not_due(s);
	mux_count_out(m, s);
	mux_drop_kept(s);
	m->grown -= s->window - m->o.window;
	if (s->id) {
		struct mux_stream **at = &m->table[(s->id >> 1) & (m->buckets - 1)];
		while (*at != s)
			at = &(*at)->next;
		*at = s->next;
	} else {
		TAILQ_REMOVE(&m->opening, s, due);
		m->waiting--;
	}
	m->peer_streams_here -= !(s->flags & S_OURS);
	m->streams--;
	TAILQ_REMOVE(&m->all, s, all);
	s->flags |= S_FREED;
	if (m->depth)
		TAILQ_INSERT_TAIL(&m->dead, s, due);
	else
		free(s);
}

void mux_enter(struct mux *m)
{
	m->depth++;
}

void mux_leave(struct mux *m)
{
	struct mux_stream *s;
	if (--m->depth)
		return;
	while ((s = TAILQ_FIRST(&m->dead))) {
		TAILQ_REMOVE(&m->dead, s, due);
		free(s);
	}
}

// The stream is gone for the user; `closed` says so unless it was the user who wanted it.
void mux_stream_gone(struct mux_stream *s, enum mux_error why, bool tell)
{
	struct mux *m = s->m;
	if (s->flags & S_GONE)
		return;
	s->flags |= S_GONE;
	s->flags &= ~S_READY;
	mux_schedule(s);
	mux_drop_kept(s);
	if (tell) {
		mux_enter(m);
		m->ops->closed(m->ctx, s, why);
		mux_leave(m);
	}
}

// Ends the stream on both sides. The number stays in the table until the peer has been told.
void mux_stream_reset(struct mux_stream *s, enum mux_error why, bool tell)
{
	if (s->flags & S_GONE)
		return;
	mux_enter(s->m);
	struct mux *m = s->m;
	mux_stream_gone(s, why, tell);
	if (s->id && s->flags & S_COUNTED) {
		s->why = why;
		s->flags &= ~(S_ACCEPT_DUE | S_CREDIT_DUE | S_END_DUE);
		mux_due(s, S_RESET_DUE);
	} else {
		mux_stream_free(s);	// the peer does not know it yet, or not any more
	}
	mux_leave(m);
}

// Both directions have ended: between the gateways, and for the user.
void mux_stream_ended(struct mux_stream *s)
{
	if (s->flags & S_END_SENT && s->flags & S_END_TAKEN)
		mux_count_out(s->m, s);
	if (s->flags & S_END_SENT && s->flags & S_END_TOLD && !(s->flags & S_GONE)) {
		mux_enter(s->m);
		struct mux *m = s->m;
		mux_stream_gone(s, MUX_CLOSED, true);
		mux_stream_free(s);
		mux_leave(m);
	}
}

// ---- what goes out ----

static bool may_open(const struct mux *m)
{
	return m->hello_taken && !m->peer_going && m->own_open < m->peer_streams && m->next_id <= MUX_LAST_ID;
}

bool mux_pending(const struct mux *m)
{
	if (m->broken)
		return false;
	return m->hello_due || m->go_due || m->pong_due || m->ping_due || !TAILQ_EMPTY(&m->due) || !TAILQ_EMPTY(&m->ready) ||
		(!TAILQ_EMPTY(&m->opening) && may_open(m));
}

struct out {
	uint8_t *buf;
	size_t len, size;
};

static bool room(const struct out *o, size_t content)
{
	return o->size - o->len >= MUX_HEAD + content;
}

static void put(struct out *o, enum mux_type type, uint32_t id, const void *content, uint32_t len)
{
	mux_head_write(o->buf + o->len, type, len, id);
	if (len)
		memcpy(o->buf + o->len + MUX_HEAD, content, len);
	o->len += MUX_HEAD + len;
}

static void put_connection(struct mux *m, struct out *o)
{
	uint8_t p[8];
	if (m->hello_due) {
		mux_put32(p, m->o.window);
		mux_put32(p + 4, m->o.streams);
		put(o, MUX_F_HELLO, 0, p, 8);
		m->hello_due = false;
	}
	if (m->pong_due && room(o, 8)) {
		mux_put64(p, m->pong);
		put(o, MUX_F_PONG, 0, p, 8);
		m->pong_due = false;
	}
	if (m->ping_due && room(o, 8)) {
		mux_put64(p, m->ping);
		put(o, MUX_F_PING, 0, p, 8);
		m->ping_due = false;
	}
	if (m->go_due && room(o, 4)) {
		mux_put32(p, m->go_last);
		put(o, MUX_F_GO, 0, p, 4);
		m->go_due = false;
	}
}

static void put_opens(struct mux *m, struct out *o)
{
	struct mux_stream *s;
	uint8_t p[MUX_MAX_OPEN];
	while (may_open(m) && room(o, sizeof(p)) && (s = TAILQ_FIRST(&m->opening))) {
		TAILQ_REMOVE(&m->opening, s, due);
		m->waiting--;
		s->id = m->next_id;
		m->next_id += 2;
		s->credit = m->peer_window;
		s->flags |= S_COUNTED;
		m->own_open++;
		mux_insert(m, s);
		put(o, MUX_F_OPEN, s->id, p, (uint32_t)mux_open_write(p, s->kind, &s->target));
		mux_schedule(s);
	}
}

// The frames but data that a stream has to send.
static void put_due(struct mux_stream *s, struct out *o)
{
	uint8_t p[4];
	not_due(s);
	if (s->flags & S_RESET_DUE) {
		p[0] = (uint8_t)s->why;
		put(o, MUX_F_RESET, s->id, p, 1);
		mux_stream_free(s);
		return;
	}
	if (s->flags & S_ACCEPT_DUE)
		put(o, MUX_F_ACCEPT, s->id, NULL, 0);
	if (s->flags & S_CREDIT_DUE) {
		uint32_t more = s->window - s->room - (uint32_t)s->kept.len;
		mux_put32(p, more);
		put(o, MUX_F_CREDIT, s->id, p, 4);
		s->room += more;
	}
	if (s->flags & S_END_DUE) {
		put(o, MUX_F_END, s->id, NULL, 0);
		s->flags |= S_END_SENT;
	}
	s->flags &= ~(S_ACCEPT_DUE | S_CREDIT_DUE | S_END_DUE);
	mux_stream_ended(s);
}

// One turn of a stream: a frame of bytes, or some datagrams.
static void put_data(struct mux *m, struct mux_stream *s, struct out *o)
{
	bool stream = s->kind == MUX_TCP;
	size_t turn = TAILQ_NEXT(s, ready) ? TURN : MUX_MAX_DATA, used = 0;
	TAILQ_REMOVE(&m->ready, s, ready);	// behind the others
	TAILQ_INSERT_TAIL(&m->ready, s, ready);
	while (s->flags & S_TURN && used < turn && room(o, stream ? 1 : MUX_MAX_DATA)) {
		size_t max = stream ? turn : MUX_MAX_DATA;
		if (max > o->size - o->len - MUX_HEAD)
			max = o->size - o->len - MUX_HEAD;
		if (stream && max > s->credit)
			max = s->credit;
		ssize_t n = m->ops->pull(m->ctx, s, o->buf + o->len + MUX_HEAD, max);
		if (s->flags & S_GONE)
			return;
		assert(n < 0 || (size_t)n <= max);
		if (n == -EAGAIN || (n == 0 && s->kind == MUX_IP)) {
			s->flags &= ~S_READY;
		} else if (n < 0) {
			mux_stream_reset(s, mux_error_of((int)n), true);
			return;
		} else if (n == 0 && stream) {
			mux_due(s, S_END_DUE);
		} else {
			mux_head_write(o->buf + o->len, MUX_F_DATA, (uint32_t)n, s->id);
			o->len += MUX_HEAD + (size_t)n;
			used += MUX_HEAD + (size_t)n;
			if (stream)
				s->credit -= (uint32_t)n;
		}
		mux_schedule(s);
		if (stream)
			break;
	}
}

size_t mux_output(struct mux *m, uint8_t *buf, size_t size)
{
	struct out o = {buf, 0, size};
	struct mux_stream *s;
	assert(size >= MUX_OUTPUT_MIN);
	if (m->broken)
		return 0;
	mux_enter(m);
	for (;;) {
		put_connection(m, &o);
		put_opens(m, &o);
		// The most that put_due writes: accept, credit, end.
		while (room(&o, 2 * MUX_HEAD + 4) && (s = TAILQ_FIRST(&m->due)))
			put_due(s, &o);
		s = TAILQ_FIRST(&m->ready);
		// A last frame that is shorter than its turn is left for the next time: full frames cost least.
		if (!s || !TAILQ_EMPTY(&m->due) || !room(&o, s->kind == MUX_TCP ? TURN : MUX_MAX_DATA))
			break;
		put_data(m, s, &o);
	}
	mux_leave(m);
	return o.len;
}

// ---- the user's calls ----

struct mux *mux_new(const struct mux_options *o, const struct mux_ops *ops, void *ctx)
{
	struct mux *m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->o = *o;
	if (!m->o.streams)
		m->o.streams = 16384;
	if (!m->o.window)
		m->o.window = 65536;
	if (!m->o.window_max)
		m->o.window_max = 4u << 20;
	if (!m->o.memory)
		m->o.memory = 256u << 20;
	assert(m->o.window <= MUX_MAX_CREDIT / 2 && m->o.window_max <= MUX_MAX_CREDIT / 2);
	m->ops = ops;
	m->ctx = ctx;
	m->buckets = 64;
	m->table = calloc(m->buckets, sizeof(struct mux_stream *));
	if (!m->table) {
		free(m);
		return NULL;
	}
	TAILQ_INIT(&m->all);
	TAILQ_INIT(&m->opening);
	TAILQ_INIT(&m->due);
	TAILQ_INIT(&m->ready);
	TAILQ_INIT(&m->dead);
	m->next_id = o->client ? 1 : 2;
	m->peer_next_id = o->client ? 2 : 1;
	m->hello_due = true;
	return m;
}

void mux_free(struct mux *m)
{
	struct mux_stream *s;
	if (!m)
		return;
	m->closing = true;
	mux_enter(m);
	while ((s = TAILQ_FIRST(&m->all))) {
		mux_stream_gone(s, MUX_LOST, true);
		mux_stream_free(s);
	}
	mux_leave(m);
	free(m->table);
	free(m->gathered);
	free(m);
}

int mux_open(struct mux_stream **out, struct mux *m, enum mux_kind kind, const struct target *target, void *user)
{
	if (m->broken || m->closing || m->going || m->peer_going || m->next_id > MUX_LAST_ID)
		return -ESHUTDOWN;
	if (kind < MUX_TCP || kind > MUX_IP || (target && target->host != TARGET_NONE && (kind == MUX_IP || !target->port)))
		return -EINVAL;
	if (m->own_open + m->waiting >= (m->hello_taken ? m->peer_streams : m->o.streams))
		return -EAGAIN;
	struct mux_stream *s = mux_stream_new(m, kind, target, user);
	if (!s)
		return -ENOMEM;
	s->flags |= S_OURS;
	TAILQ_INSERT_TAIL(&m->opening, s, due);
	m->waiting++;
	*out = s;
	return 0;
}

void mux_accept(struct mux_stream *s)
{
	if (s->flags & (S_OURS | S_ACCEPTED | S_GONE))
		return;
	s->flags |= S_ACCEPTED;
	mux_due(s, S_ACCEPT_DUE);
	mux_schedule(s);
}

void mux_reset(struct mux_stream *s, enum mux_error why)
{
	mux_stream_reset(s, why < MUX_ERRORS ? why : MUX_FAILED, false);
}

void mux_ready(struct mux_stream *s)
{
	if (s->flags & S_GONE)
		return;
	s->flags |= S_READY;
	mux_schedule(s);
}

void mux_unready(struct mux_stream *s)
{
	s->flags &= ~S_READY;
	mux_schedule(s);
}

void *mux_user(const struct mux_stream *s)
{
	return s->user;
}

void mux_set_user(struct mux_stream *s, void *user)
{
	s->user = user;
}

struct mux *mux_of(const struct mux_stream *s)
{
	return s->m;
}

enum mux_kind mux_kind(const struct mux_stream *s)
{
	return s->kind;
}

const struct target *mux_target(const struct mux_stream *s)
{
	return &s->target;
}

bool mux_more(const struct mux_stream *s)
{
	return s->m->more;
}

size_t mux_kept(const struct mux_stream *s)
{
	return s->kept.len;
}

int mux_ping(struct mux *m)
{
	if (m->ping_out)
		return -EALREADY;
	m->ping++;
	m->ping_out = m->ping_due = true;
	return 0;
}

void mux_go(struct mux *m)
{
	if (m->going)
		return;
	m->going = m->go_due = true;
	m->go_last = m->peer_next_id > 2 ? m->peer_next_id - 2 : 0;
}

size_t mux_streams(const struct mux *m)
{
	return m->streams;
}

size_t mux_memory(const struct mux *m)
{
	return m->memory;
}

const char *mux_reason(const struct mux *m)
{
	return m->reason;
}
