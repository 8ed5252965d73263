// SPDX-License-Identifier: Apache-2.0
// Streams in one connection: their life, credit and turns (docs/tunnel-protocol.md). See mux.h. mux_frame.c has the frames' form. Touches nothing but
// memory; no locks.
//
// What is to be sent is kept as flags of streams, never as a queue of frames, so that no peer can make it grow: a stream is in `due` while it has
// frames other than data to send, and in `ready` while its user has data, it may be sent, and there is credit for it.
#include "tunnel/mux.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tunnel/mux_frame.h"

#define TURN 16384u	// bytes of a stream's turn while others wait
#define MAX_CREDIT 0x7fffffffu

enum {
	S_OURS = 1 << 0,	// this side opened it
	S_COUNTED = 1 << 1,	// counts as open between the two gateways
	S_ACCEPTED = 1 << 2,
	S_READY = 1 << 3,	// the user has data
	S_TURN = 1 << 4,	// in `ready`
	S_DUE = 1 << 5,		// in `due`
	S_ACCEPT_DUE = 1 << 6,
	S_CREDIT_DUE = 1 << 7,
	S_END_DUE = 1 << 8,
	S_RESET_DUE = 1 << 9,
	S_END_SENT = 1 << 10,
	S_END_TAKEN = 1 << 11,	// the peer's end was received
	S_END_TOLD = 1 << 12,	// ... and the user knows
	S_GONE = 1 << 13,	// for the user: no op is called any more
	S_FREED = 1 << 14,	// in `dead`
};

struct mux_stream {
	struct mux *m;
	void *user;
	struct mux_stream *next;	// in the table
	TAILQ_ENTRY(mux_stream) all, due, ready;	// `due`: also of `opening` and `dead`
	uint32_t id;			// 0: not opened yet
	unsigned int flags;
	enum mux_kind kind;
	enum mux_error why;		// of the reset that is due
	uint32_t credit;		// bytes that may be sent
	uint32_t room;			// bytes that the peer may send
	uint32_t window;		// room + kept is brought back to this
	struct {
		uint8_t *bytes;
		size_t from, len, size;
	} kept;				// received, not taken yet
	struct target target;
};

TAILQ_HEAD(queue, mux_stream);

struct mux {
	struct mux_options o;
	const struct mux_ops *ops;
	void *ctx;
	struct queue all, opening, due, ready, dead;
	struct mux_stream **table;	// by id
	size_t buckets, streams, waiting;	// all; in `opening`
	size_t own_open, peer_open, peer_streams_here;	// counted ones of each side; the peer's, counted or not
	size_t memory, grown;		// of `kept`; sum of what windows have grown
	unsigned int depth;		// within ops and mux_input: nothing is freed
	uint32_t next_id, peer_next_id;	// of the next stream of each side
	uint32_t peer_window, peer_streams;	// its hello
	bool hello_due, hello_taken, going, go_due, peer_going, pong_due, ping_due, ping_out, broken, closing;
	uint64_t ping, pong;
	uint8_t head[MUX_HEAD];
	size_t head_len;
	struct mux_frame frame;		// the one that is being received
	uint32_t left;			// bytes of it that did not come yet
	bool in_frame;
	uint8_t *gathered;		// of frames that are needed whole
	size_t gathered_len, gathered_size;
	char reason[160];
};

// ---- small things ----

__attribute__((format(printf, 2, 3))) static int broken(struct mux *m, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	vsnprintf(m->reason, sizeof(m->reason), format, ap);
	va_end(ap);
	m->broken = true;
	return -EPROTO;
}

static int no_memory(struct mux *m)
{
	snprintf(m->reason, sizeof(m->reason), "no memory");
	m->broken = true;
	return -ENOMEM;
}

static bool own_id(const struct mux *m, uint32_t id)
{
	return (id & 1) == m->o.client;
}

static struct mux_stream *find(const struct mux *m, uint32_t id)
{
	struct mux_stream *s = m->table[(id >> 1) & (m->buckets - 1)];
	while (s && s->id != id)
		s = s->next;
	return s;
}

static void insert(struct mux *m, struct mux_stream *s)
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

static void count_out(struct mux *m, struct mux_stream *s)
{
	if (!(s->flags & S_COUNTED))
		return;
	s->flags &= ~S_COUNTED;
	if (s->flags & S_OURS)
		m->own_open--;
	else
		m->peer_open--;
}

static void due(struct mux_stream *s, unsigned int what)
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
static void schedule(struct mux_stream *s)
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

static void drop_kept(struct mux_stream *s)
{
	s->m->memory -= s->kept.size;
	free(s->kept.bytes);
	memset(&s->kept, 0, sizeof(s->kept));
}

static struct mux_stream *stream_new(struct mux *m, enum mux_kind kind, const struct target *target, void *user)
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

static void stream_free(struct mux_stream *s)
{
	struct mux *m = s->m;
	if (s->flags & S_FREED)
		return;
	s->flags |= S_GONE;
	s->flags &= ~S_READY;
	schedule(s);
	not_due(s);
	count_out(m, s);
	drop_kept(s);
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

static void enter(struct mux *m)
{
	m->depth++;
}

static void leave(struct mux *m)
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
static void gone(struct mux_stream *s, enum mux_error why, bool tell)
{
	struct mux *m = s->m;
	if (s->flags & S_GONE)
		return;
	s->flags |= S_GONE;
	s->flags &= ~S_READY;
	schedule(s);
	drop_kept(s);
	if (tell) {
		enter(m);
		m->ops->closed(m->ctx, s, why);
		leave(m);
	}
}

// Ends the stream on both sides. The number stays in the table until the peer has been told.
static void reset(struct mux_stream *s, enum mux_error why, bool tell)
{
	if (s->flags & S_GONE)
		return;
	enter(s->m);
	struct mux *m = s->m;
	gone(s, why, tell);
	if (s->id && s->flags & S_COUNTED) {
		s->why = why;
		s->flags &= ~(S_ACCEPT_DUE | S_CREDIT_DUE | S_END_DUE);
		due(s, S_RESET_DUE);
	} else {
		stream_free(s);	// the peer does not know it yet, or not any more
	}
	leave(m);
}

// Both directions have ended: between the gateways, and for the user.
static void ended(struct mux_stream *s)
{
	if (s->flags & S_END_SENT && s->flags & S_END_TAKEN)
		count_out(s->m, s);
	if (s->flags & S_END_SENT && s->flags & S_END_TOLD && !(s->flags & S_GONE)) {
		enter(s->m);
		struct mux *m = s->m;
		gone(s, MUX_CLOSED, true);
		stream_free(s);
		leave(m);
	}
}

// ---- what comes in ----

static void credit_back(struct mux_stream *s)
{
	size_t used = s->window - s->room;	// of which some may be kept still
	if (s->kind == MUX_TCP && !(s->flags & (S_GONE | S_END_TAKEN)) && used - s->kept.len >= s->window / 2)
		due(s, S_CREDIT_DUE);
}

// The peer has used all that it might, and the reader keeps up: the window is what limits it.
static void window_grow(struct mux_stream *s)
{
	struct mux *m = s->m;
	if (s->room || s->kept.len || s->window > m->o.window_max / 2 || m->grown + s->window > m->o.memory / 2)
		return;
	m->grown += s->window;
	s->window *= 2;
	credit_back(s);
}

static void tell_end(struct mux_stream *s)
{
	if (!(s->flags & S_END_TAKEN) || s->flags & (S_END_TOLD | S_GONE) || s->kept.len)
		return;
	s->flags |= S_END_TOLD;
	s->m->ops->end(s->m->ctx, s);
	ended(s);
}

static int keep(struct mux_stream *s, const uint8_t *bytes, size_t len)
{
	struct mux *m = s->m;
	if (s->kept.from && s->kept.from + s->kept.len + len > s->kept.size) {
		memmove(s->kept.bytes, s->kept.bytes + s->kept.from, s->kept.len);
		s->kept.from = 0;
	}
	if (s->kept.len + len > s->kept.size) {
		size_t size = s->kept.size ? s->kept.size : 4096;
		while (size < s->kept.len + len)
			size *= 2;
		if (size > s->window && s->kept.len + len <= s->window)
			size = s->window;
		if (m->memory - s->kept.size + size > m->o.memory)
			return -ENOBUFS;
		uint8_t *more = realloc(s->kept.bytes, size);
		if (!more)
			return -ENOMEM;
		m->memory += size - s->kept.size;
		s->kept.bytes = more;
		s->kept.size = size;
	}
	memcpy(s->kept.bytes + s->kept.from + s->kept.len, bytes, len);
	s->kept.len += len;
	return 0;
}

// Offers bytes to the user. How many were taken; negative: the stream was reset.
static ssize_t offer(struct mux_stream *s, const uint8_t *bytes, size_t len)
{
	struct mux *m = s->m;
	ssize_t n = m->ops->data(m->ctx, s, bytes, len);
	if (s->flags & S_GONE)
		return -ECANCELED;
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		reset(s, mux_error_of((int)n), true);
	assert(n < 0 || (size_t)n <= len);
	return n;
}

static void stream_data(struct mux_stream *s, const uint8_t *bytes, size_t len)
{
	ssize_t n = s->kept.len ? 0 : offer(s, bytes, len);
	if (n < 0)
		return;
	int err = (size_t)n < len ? keep(s, bytes + n, len - (size_t)n) : 0;
	if (err)
		reset(s, mux_error_of(err), true);
	else
		credit_back(s);
}

void mux_resume(struct mux_stream *s)
{
	struct mux *m = s->m;
	enter(m);
	while (!(s->flags & S_GONE) && s->kept.len) {
		ssize_t n = offer(s, s->kept.bytes + s->kept.from, s->kept.len);
		if (n <= 0)
			break;
		s->kept.from += (size_t)n;
		s->kept.len -= (size_t)n;
	}
	if (!(s->flags & S_GONE)) {
		if (!s->kept.len)
			drop_kept(s);
		credit_back(s);
		tell_end(s);
	}
	leave(m);
}

static int take_hello(struct mux *m, const uint8_t *p)
{
	if (m->hello_taken)
		return broken(m, "the peer sent two hellos");
	m->peer_window = mux_get32(p);
	m->peer_streams = mux_get32(p + 4);
	if (!m->peer_window || m->peer_window > MAX_CREDIT)
		return broken(m, "the peer's hello has a window of %u bytes", m->peer_window);
	m->hello_taken = true;
	return 0;
}

static int take_open(struct mux *m, uint32_t id, const uint8_t *p, size_t len)
{
	enum mux_kind kind;
	struct target target;
	int err = mux_open_read(p, len, &kind, &target);
	if (err)
		return broken(m, "the peer sent an open with a malformed target");
	if (own_id(m, id) || id != m->peer_next_id)
		return broken(m, "the peer opened stream %u; its next is %u", id, m->peer_next_id);
	m->peer_next_id += 2;
	if (m->going && !m->go_due)
		return 0;	// it did not know yet; what more comes for it is passed over
	if (m->peer_open >= m->o.streams)
		return broken(m, "the peer has more than %u streams open", m->o.streams);
	struct mux_stream *s = stream_new(m, kind, &target, NULL);
	if (!s)
		return no_memory(m);
	s->id = id;
	s->credit = m->peer_window;
	s->flags |= S_COUNTED;
	m->peer_open++;
	m->peer_streams_here++;
	insert(m, s);
	// Streams that have ended for the peer but not for their slow readers are bounded as well.
	err = m->peer_streams_here > 2 * (size_t)m->o.streams ? -EBUSY : m->ops->opened(m->ctx, s);
	if (err)
		reset(s, mux_error_of(err), false);
	return 0;
}

static int take_go(struct mux *m, const uint8_t *p)
{
	uint32_t last = mux_get32(p);
	if (m->peer_going)
		return broken(m, "the peer went twice");
	if (last && (!own_id(m, last) || last >= m->next_id))
		return broken(m, "the peer goes after stream %u, which was never opened", last);
	m->peer_going = true;
	struct mux_stream *s, *next;
	for (s = TAILQ_FIRST(&m->all); s; s = next) {
		bool unknown = s->flags & S_OURS && (!s->id || s->id > last);
		if (unknown)
			gone(s, MUX_GOING, true);	// which may end others
		next = TAILQ_NEXT(s, all);
		if (unknown)
			stream_free(s);
	}
	if (m->ops->going)
		m->ops->going(m->ctx);
	return 0;
}

// A frame of a stream that is there. DATA of MUX_TCP does not come here.
static int take_stream(struct mux *m, struct mux_stream *s, const uint8_t *p, size_t len)
{
	uint32_t more;
	if (s->flags & S_GONE) {
		// Reset here, which the peer did not know yet.
		if (m->frame.type == MUX_F_RESET)
			stream_free(s);
		return 0;
	}
	switch (m->frame.type) {
	case MUX_F_ACCEPT:
		if (!(s->flags & S_OURS) || s->flags & S_ACCEPTED)
			return broken(m, "the peer accepted stream %u, which was not to be accepted", s->id);
		s->flags |= S_ACCEPTED;
		m->ops->accepted(m->ctx, s);
		return 0;
	case MUX_F_DATA:
		if (s->kind == MUX_IP && !len)
			return broken(m, "the peer sent an empty packet");
		ssize_t n = m->ops->data(m->ctx, s, p, len);
		if (n < 0 && n != -EAGAIN && !(s->flags & S_GONE))
			reset(s, mux_error_of((int)n), true);
		return 0;
	case MUX_F_END:
		if (s->kind != MUX_TCP || s->flags & S_END_TAKEN)
			return broken(m, "the peer ended stream %u, which has no end or had it", s->id);
		s->flags |= S_END_TAKEN;
		s->flags &= ~S_CREDIT_DUE;
		if (s->flags & S_END_SENT)
			count_out(m, s);
		tell_end(s);
		return 0;
	case MUX_F_RESET:
		count_out(m, s);
		gone(s, p[0] < MUX_ERRORS ? p[0] : MUX_FAILED, true);
		stream_free(s);
		return 0;
	default:	// MUX_F_CREDIT
		more = mux_get32(p);
		if (s->kind != MUX_TCP || !more || more > MAX_CREDIT - s->credit)
			return broken(m, "the peer gave stream %u a credit of %u bytes", s->id, more);
		s->credit += more;
		schedule(s);
		return 0;
	}
}

// A frame, or its first part: looks at its head before anything of it is kept.
static int frame_begin(struct mux *m)
{
	struct mux_frame *f = &m->frame;
	if (mux_head_read(m->head, f))
		return broken(m, "the peer sent a frame of type %u with %u bytes for stream %u", f->type, f->len, f->id);
	if (!m->hello_taken && f->type != MUX_F_HELLO)
		return broken(m, "the peer sent a frame of type %u before its hello", f->type);
	if (f->id && f->type != MUX_F_OPEN && f->id >= (own_id(m, f->id) ? m->next_id : m->peer_next_id))
		return broken(m, "the peer sent a frame of type %u for stream %u, which was never opened", f->type, f->id);
	m->left = f->len;
	m->in_frame = true;
	m->gathered_len = 0;
	struct mux_stream *s = f->type == MUX_F_DATA || f->type == MUX_F_END ? find(m, f->id) : NULL;
	if (!s || s->flags & S_GONE)
		return 0;
	if (s->flags & S_OURS && !(s->flags & S_ACCEPTED))
		return broken(m, "the peer sent data in stream %u before it accepted it", s->id);
	if (f->type == MUX_F_END || s->kind != MUX_TCP)
		return 0;
	if (!f->len || s->flags & S_END_TAKEN)
		return broken(m, "the peer sent nothing as data in stream %u, or data after its end", s->id);
	if (f->len > s->room)
		return broken(m, "the peer sent %u bytes in stream %u, which had room for %u", f->len, s->id, s->room);
	return 0;
}

// All of a frame has come; p: its content.
static int frame_end(struct mux *m, const uint8_t *p)
{
	struct mux_frame *f = &m->frame;
	struct mux_stream *s;
	switch (f->type) {
	case MUX_F_HELLO:
		return take_hello(m, p);
	case MUX_F_OPEN:
		return take_open(m, f->id, p, f->len);
	case MUX_F_PING:
		if (m->pong_due)
			return broken(m, "the peer pings again before it was answered");
		m->pong = mux_get64(p);
		m->pong_due = true;
		return 0;
	case MUX_F_PONG:
		if (!m->ping_out || m->ping_due || mux_get64(p) != m->ping)
			return broken(m, "the peer answered a ping that was not sent");
		m->ping_out = false;
		if (m->ops->pong)
			m->ops->pong(m->ctx);
		return 0;
	case MUX_F_GO:
		return take_go(m, p);
	default:
		s = find(m, f->id);	// NULL: it has ended here, which the peer did not know yet
		return s ? take_stream(m, s, p, f->len) : 0;
	}
}

// Takes bytes of a frame that has begun. How many; or an error.
static ssize_t frame_more(struct mux *m, const uint8_t *bytes, size_t len)
{
	size_t n = len < m->left ? len : m->left;
	struct mux_stream *s = m->frame.type == MUX_F_DATA ? find(m, m->frame.id) : NULL;
	bool passes = m->frame.type == MUX_F_DATA && (!s || s->flags & S_GONE || s->kind == MUX_TCP);
	const uint8_t *whole = bytes;
	int err = 0;
	if (passes) {	// no need to wait for the rest
		if (s && !(s->flags & S_GONE) && n) {
			s->room -= (uint32_t)n;
			stream_data(s, bytes, n);
		}
	} else if (n < m->frame.len) {
		if (m->gathered_size < m->frame.len) {
			uint8_t *more = realloc(m->gathered, m->frame.len);
			if (!more)
				return no_memory(m);
			m->gathered = more;
			m->gathered_size = m->frame.len;
		}
		memcpy(m->gathered + m->gathered_len, bytes, n);
		m->gathered_len += n;
		whole = m->gathered;
	}
	m->left -= (uint32_t)n;
	if (m->left)
		return (ssize_t)n;
	m->in_frame = false;
	m->head_len = 0;
	if (!passes)
		err = frame_end(m, whole);
	else if (s && !(s->flags & S_GONE))
		window_grow(s);
	return err ? err : (ssize_t)n;
}

int mux_input(struct mux *m, const uint8_t *bytes, size_t len)
{
	int err = 0;
	if (m->broken)
		return -EPROTO;
	enter(m);
	while (len && !err) {
		if (!m->in_frame) {
			size_t n = MUX_HEAD - m->head_len < len ? MUX_HEAD - m->head_len : len;
			memcpy(m->head + m->head_len, bytes, n);
			m->head_len += n;
			bytes += n;
			len -= n;
			if (m->head_len < MUX_HEAD)
				break;
			err = frame_begin(m);
			if (err || (m->left && !len))
				continue;
		}
		ssize_t n = frame_more(m, bytes, len);
		if (n < 0) {
			err = (int)n;
		} else {
			bytes += n;
			len -= (size_t)n;
		}
	}
	leave(m);
	return err;
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
		// The last that was taken: 0 when there was none.
		mux_put32(p, m->peer_next_id > 2 ? m->peer_next_id - 2 : 0);
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
		insert(m, s);
		put(o, MUX_F_OPEN, s->id, p, (uint32_t)mux_open_write(p, s->kind, &s->target));
		schedule(s);
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
		stream_free(s);
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
	ended(s);
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
			reset(s, mux_error_of((int)n), true);
			return;
		} else if (n == 0 && stream) {
			due(s, S_END_DUE);
		} else {
			mux_head_write(o->buf + o->len, MUX_F_DATA, (uint32_t)n, s->id);
			o->len += MUX_HEAD + (size_t)n;
			used += MUX_HEAD + (size_t)n;
			if (stream)
				s->credit -= (uint32_t)n;
		}
		schedule(s);
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
	enter(m);
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
	leave(m);
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
	assert(m->o.window <= MAX_CREDIT / 2 && m->o.window_max <= MAX_CREDIT / 2);
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
	enter(m);
	while ((s = TAILQ_FIRST(&m->all))) {
		gone(s, MUX_LOST, true);
		stream_free(s);
	}
	leave(m);
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
	struct mux_stream *s = stream_new(m, kind, target, user);
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
	due(s, S_ACCEPT_DUE);
	schedule(s);
}

void mux_reset(struct mux_stream *s, enum mux_error why)
{
	reset(s, why < MUX_ERRORS ? why : MUX_FAILED, false);
}

void mux_ready(struct mux_stream *s)
{
	if (s->flags & S_GONE)
		return;
	s->flags |= S_READY;
	schedule(s);
}

void mux_unready(struct mux_stream *s)
{
	s->flags &= ~S_READY;
	schedule(s);
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
