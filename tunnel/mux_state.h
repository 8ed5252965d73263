// SPDX-License-Identifier: Apache-2.0
// Inside mux.c and mux_input.c: what a connection and its streams are made of.
#ifndef COFFER_TUNNEL_MUX_STATE_H
#define COFFER_TUNNEL_MUX_STATE_H

#include <sys/queue.h>

#include "tunnel/mux.h"
#include "tunnel/mux_frame.h"

#define MUX_MAX_CREDIT 0x7fffffffu

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
	uint32_t go_last;		// the peer's last stream that was taken before mux_go; 0: none was
	uint32_t peer_window, peer_streams;	// its hello
	bool hello_due, hello_taken, going, go_due, peer_going, pong_due, ping_due, ping_out, broken, closing;
	uint64_t ping, pong;
	uint8_t head[MUX_HEAD];
	size_t head_len;
	struct mux_frame frame;		// the one that is being received
	uint32_t left;			// bytes of it that did not come yet
	bool in_frame, more;	// more: mux_more
	uint8_t *gathered;		// of frames that are needed whole
	size_t gathered_len, gathered_size;
	char reason[160];
};

// The connection is of no use any more, for this reason: -EPROTO.
__attribute__((format(printf, 2, 3))) int mux_broken(struct mux *m, const char *format, ...);
int mux_no_memory(struct mux *m);	// the same: -ENOMEM

bool mux_own_id(const struct mux *m, uint32_t id);
struct mux_stream *mux_find(const struct mux *m, uint32_t id);
void mux_insert(struct mux *m, struct mux_stream *s);	// by its number

// Between these nothing is freed: streams that ops end stay readable.
void mux_enter(struct mux *m);
void mux_leave(struct mux *m);

struct mux_stream *mux_stream_new(struct mux *m, enum mux_kind kind, const struct target *target, void *user);
void mux_stream_free(struct mux_stream *s);
// The stream is gone for the user; `closed` says so unless it was the user who wanted it.
void mux_stream_gone(struct mux_stream *s, enum mux_error why, bool tell);
// Ends the stream on both sides. The number stays in the table until the peer has been told.
void mux_stream_reset(struct mux_stream *s, enum mux_error why, bool tell);
void mux_stream_ended(struct mux_stream *s);	// a direction has: perhaps both
void mux_count_out(struct mux *m, struct mux_stream *s);	// it is not open any more, between the two gateways
void mux_due(struct mux_stream *s, unsigned int what);	// S_..._DUE
void mux_schedule(struct mux_stream *s);	// puts the stream into `ready`, at its end, or takes it out of it
void mux_drop_kept(struct mux_stream *s);

#endif
