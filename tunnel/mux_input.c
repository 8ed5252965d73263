// SPDX-License-Identifier: Apache-2.0
// What the peer sends: frames in pieces of any size, each checked against what the peer may do before anything of it has an effect. See mux.h.
// Touches nothing but memory; no locks.
#include "tunnel/mux_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void credit_back(struct mux_stream *s)
{
	size_t used = s->window - s->room;	// of which some may be kept still
	if (s->kind == MUX_TCP && !(s->flags & (S_GONE | S_END_TAKEN)) && used - s->kept.len >= s->window / 2)
		mux_due(s, S_CREDIT_DUE);
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
	mux_stream_ended(s);
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
		mux_stream_reset(s, mux_error_of((int)n), true);
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
		mux_stream_reset(s, mux_error_of(err), true);
	else
		credit_back(s);
}

void mux_resume(struct mux_stream *s)
{
	struct mux *m = s->m;
	mux_enter(m);
	while (!(s->flags & S_GONE) && s->kept.len) {
		ssize_t n = offer(s, s->kept.bytes + s->kept.from, s->kept.len);
		if (n <= 0)
			break;
		s->kept.from += (size_t)n;
		s->kept.len -= (size_t)n;
	}
	if (!(s->flags & S_GONE)) {
		if (!s->kept.len)
			mux_drop_kept(s);
		credit_back(s);
		tell_end(s);
	}
	mux_leave(m);
}

static int take_hello(struct mux *m, const uint8_t *p)
{
	if (m->hello_taken)
		return mux_broken(m, "the peer sent two hellos");
	m->peer_window = mux_get32(p);
	m->peer_streams = mux_get32(p + 4);
	if (!m->peer_window || m->peer_window > MUX_MAX_CREDIT)
		return mux_broken(m, "the peer's hello has a window of %u bytes", m->peer_window);
	m->hello_taken = true;
	return 0;
}

static int take_open(struct mux *m, uint32_t id, const uint8_t *p, size_t len)
{
	enum mux_kind kind;
	struct target target;
	int err = mux_open_read(p, len, &kind, &target);
	if (err)
		return mux_broken(m, "the peer sent an open with a malformed target");
	if (mux_own_id(m, id) || id != m->peer_next_id)
		return mux_broken(m, "the peer opened stream %u; its next is %u", id, m->peer_next_id);
	m->peer_next_id += 2;
	if (m->going)
		return 0;	// it did not know yet; what more comes for it is passed over
	if (m->peer_open >= m->o.streams)
		return mux_broken(m, "the peer has more than %u streams open", m->o.streams);
	struct mux_stream *s = mux_stream_new(m, kind, &target, NULL);
	if (!s)
		return mux_no_memory(m);
	s->id = id;
	s->credit = m->peer_window;
	s->flags |= S_COUNTED;
	m->peer_open++;
	m->peer_streams_here++;
	mux_insert(m, s);
	// Streams that have ended for the peer but not for their slow readers are bounded as well.
	err = m->peer_streams_here > 2 * (size_t)m->o.streams ? -EBUSY : m->ops->opened(m->ctx, s);
	if (err)
		mux_stream_reset(s, mux_error_of(err), false);
	return 0;
}

static int take_go(struct mux *m, const uint8_t *p)
{
	uint32_t last = mux_get32(p);
	if (m->peer_going)
		return mux_broken(m, "the peer went twice");
	if (last && (!mux_own_id(m, last) || last >= m->next_id))
		return mux_broken(m, "the peer goes after stream %u, which was never opened", last);
	m->peer_going = true;
	struct mux_stream *s, *next;
	for (s = TAILQ_FIRST(&m->all); s; s = next) {
		bool unknown = s->flags & S_OURS && (!s->id || s->id > last);
		if (unknown)
			mux_stream_gone(s, MUX_GOING, true);	// which may end others
		next = TAILQ_NEXT(s, all);
		if (unknown)
			mux_stream_free(s);
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
			mux_stream_free(s);
		return 0;
	}
	switch (m->frame.type) {
	case MUX_F_ACCEPT:
		if (!(s->flags & S_OURS) || s->flags & S_ACCEPTED)
			return mux_broken(m, "the peer accepted stream %u, which was not to be accepted", s->id);
		s->flags |= S_ACCEPTED;
		m->ops->accepted(m->ctx, s);
		return 0;
	case MUX_F_DATA:
		if (s->kind == MUX_IP && !len)
			return mux_broken(m, "the peer sent an empty packet");
		ssize_t n = m->ops->data(m->ctx, s, p, len);
		if (n < 0 && n != -EAGAIN && !(s->flags & S_GONE))
			mux_stream_reset(s, mux_error_of((int)n), true);
		return 0;
	case MUX_F_END:
		if (s->kind != MUX_TCP || s->flags & S_END_TAKEN)
			return mux_broken(m, "the peer ended stream %u, which has no end or had it", s->id);
		s->flags |= S_END_TAKEN;
		s->flags &= ~S_CREDIT_DUE;
		if (s->flags & S_END_SENT)
			mux_count_out(m, s);
		tell_end(s);
		return 0;
	case MUX_F_RESET:
		mux_count_out(m, s);
		mux_stream_gone(s, p[0] < MUX_ERRORS ? p[0] : MUX_FAILED, true);
		mux_stream_free(s);
		return 0;
	default:	// MUX_F_CREDIT
		more = mux_get32(p);
		if (s->kind != MUX_TCP || !more || more > MUX_MAX_CREDIT - s->credit)
			return mux_broken(m, "the peer gave stream %u a credit of %u bytes", s->id, more);
		s->credit += more;
		mux_schedule(s);
		return 0;
	}
}

// A frame, or its first part: looks at its head before anything of it is kept.
static int frame_begin(struct mux *m)
{
	struct mux_frame *f = &m->frame;
	if (mux_head_read(m->head, f))
		return mux_broken(m, "the peer sent a frame of type %u with %u bytes for stream %u", f->type, f->len, f->id);
	if (!m->hello_taken && f->type != MUX_F_HELLO)
		return mux_broken(m, "the peer sent a frame of type %u before its hello", f->type);
	if (f->id && f->type != MUX_F_OPEN && f->id >= (mux_own_id(m, f->id) ? m->next_id : m->peer_next_id))
		return mux_broken(m, "the peer sent a frame of type %u for stream %u, which was never opened", f->type, f->id);
	m->left = f->len;
	m->in_frame = true;
	m->gathered_len = 0;
	struct mux_stream *s = f->type == MUX_F_DATA || f->type == MUX_F_END ? mux_find(m, f->id) : NULL;
	if (!s || s->flags & S_GONE)
		return 0;
	if (s->flags & S_OURS && !(s->flags & S_ACCEPTED))
		return mux_broken(m, "the peer sent data in stream %u before it accepted it", s->id);
	if (f->type == MUX_F_END || s->kind != MUX_TCP)
		return 0;
	if (!f->len || s->flags & S_END_TAKEN)
		return mux_broken(m, "the peer sent nothing as data in stream %u, or data after its end", s->id);
	if (f->len > s->room)
		return mux_broken(m, "the peer sent %u bytes in stream %u, which had room for %u", f->len, s->id, s->room);
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
			return mux_broken(m, "the peer pings again before it was answered");
		m->pong = mux_get64(p);
		m->pong_due = true;
		return 0;
	case MUX_F_PONG:
		if (!m->ping_out || m->ping_due || mux_get64(p) != m->ping)
			return mux_broken(m, "the peer answered a ping that was not sent");
		m->ping_out = false;
		if (m->ops->pong)
			m->ops->pong(m->ctx);
		return 0;
	case MUX_F_GO:
		return take_go(m, p);
	default:
		s = mux_find(m, f->id);	// NULL: it has ended here, which the peer did not know yet
		return s ? take_stream(m, s, p, f->len) : 0;
	}
}

// Takes bytes of a frame that has begun. How many; or an error.
static ssize_t frame_more(struct mux *m, const uint8_t *bytes, size_t len)
{
	size_t n = len < m->left ? len : m->left;
	struct mux_stream *s = m->frame.type == MUX_F_DATA ? mux_find(m, m->frame.id) : NULL;
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
				return mux_no_memory(m);
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

// The frame that begins here has more bytes of the stream whose frame is being taken.
static bool goes_on(const struct mux *m, const uint8_t *bytes, size_t len)
{
	struct mux_frame next;
	return m->frame.type == MUX_F_DATA && len > MUX_HEAD && !mux_head_read(bytes, &next) && next.type == MUX_F_DATA && next.id == m->frame.id &&
	       next.len;
}

int mux_input(struct mux *m, const uint8_t *bytes, size_t len)
{
	int err = 0;
	if (m->broken)
		return -EPROTO;
	mux_enter(m);
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
		m->more = len > m->left && goes_on(m, bytes + m->left, len - m->left);
		ssize_t n = frame_more(m, bytes, len);
		m->more = false;
		if (n < 0) {
			err = (int)n;
		} else {
			bytes += n;
			len -= (size_t)n;
		}
	}
	mux_leave(m);
	return err;
}
