// SPDX-License-Identifier: Apache-2.0
// Many streams in one attested connection between two gateways (docs/tunnel-protocol.md). A pure state machine: bytes of the connection go in and
// come out; no I/O, threads, clock or locks. One struct mux belongs to one connection and to one thread at a time.
//
// Nothing is buffered on the way out: `pull` is called with room in the connection's own buffer when the stream's turn has come and its credit lets
// it, so that a socket is read only when what it has can be sent. On the way in `data` is offered bytes of the connection's buffer; what it does not
// take is kept (at most the stream's window) and offered again by mux_resume. With edge-triggered epoll a flow is four lines:
//
//	EPOLLIN:  mux_ready(s);                      pull: return read(fd, buf, size);
//	EPOLLOUT: mux_resume(s);                     data: return write(fd, bytes, len);     (-1: return -errno)
//
// After any call that may have made something to send, mux_pending says whether mux_output has work.
//
// Calls from within ops are fine, of any function but mux_free, mux_input and mux_output, for any stream.
#ifndef COFFER_TUNNEL_MUX_H
#define COFFER_TUNNEL_MUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tunnel/target.h"

#define MUX_ALPN "coffer-mux/1"
#define MUX_MAX_DATA 65535u	// bytes of a stream in one frame; a datagram is one frame
#define MUX_OUTPUT_MIN (MUX_MAX_DATA + 8u)	// the least room that mux_output may be given. 128 KiB and more serve datagrams well

struct mux;
struct mux_stream;

enum mux_kind {
	MUX_TCP = 1,	// bytes in order, each direction with an end of its own
	MUX_UDP = 2,	// datagrams of 0 to 65,507 bytes, no ends and no credit: what finds no room is the user's to drop
	MUX_IP = 3,	// IP packets, likewise
};

// Why a stream ended. On the wire; mux_error_of and mux_errno_of translate.
enum mux_error {
	MUX_CLOSED = 0,		// in order: both ends came, or a stream of datagrams is no longer needed
	MUX_FAILED,		// anything else
	MUX_DENIED,		// the route does not allow the destination
	MUX_REFUSED,		// ECONNREFUSED of the destination
	MUX_NET_UNREACHABLE,
	MUX_HOST_UNREACHABLE,
	MUX_TIMED_OUT,
	MUX_NO_NAME,		// the destination's name is unknown
	MUX_UNSUPPORTED,	// this kind of stream or address
	MUX_BUSY,		// a limit of streams or memory
	MUX_RESET,		// ECONNRESET, EPIPE of either end's socket
	MUX_GOING,		// the gateway goes; the stream had not begun there, and may be opened anew in another connection
	MUX_ERRORS,
	MUX_LOST = MUX_ERRORS,	// the connection is gone. Never on the wire
};

struct mux_ops {
	// The peer opened a stream: mux_kind and mux_target say where to. 0: to be answered with mux_accept or mux_reset, now or later; a negative
	// errno refuses it (mux_error_of). mux_set_user is usually called here.
	int (*opened)(void *ctx, struct mux_stream *s);
	// The peer accepted a stream of ours: the destination is connected.
	void (*accepted)(void *ctx, struct mux_stream *s);
	// As read(2): what to send next; size > 0. 0: no more will come (the end is sent; of datagrams: an empty one). -EAGAIN: nothing now,
	// mux_ready will be called. Others: the stream is reset for this reason. One datagram at a time, and there is always room for MUX_MAX_DATA
	// then.
	ssize_t (*pull)(void *ctx, struct mux_stream *s, uint8_t *buf, size_t size);
	// As write(2): how much was taken. Less than all, or -EAGAIN: mux_resume will be called. Other errors: the stream is reset for this reason. A
	// datagram is whole, and gone whatever this returns.
	ssize_t (*data)(void *ctx, struct mux_stream *s, const uint8_t *bytes, size_t len);
	// The peer has ended its side; all its data was taken.
	void (*end)(void *ctx, struct mux_stream *s);
	// The stream is gone; the last call for it. Once for each stream, whatever ended it (also mux_free), but for those that mux_reset was
	// called for and those that `opened` refused.
	void (*closed)(void *ctx, struct mux_stream *s, enum mux_error why);
	// The peer answered mux_ping. May be NULL.
	void (*pong)(void *ctx);
	// The peer takes no more new streams: mux_open fails from now on. May be NULL.
	void (*going)(void *ctx);
};

// 0: the default.
struct mux_options {
	bool client;		// which end opened the TLS connection
	unsigned int streams;	// that the peer may have open at once; 16384
	uint32_t window;	// bytes of a stream that the peer may send ahead at first; 65536
	uint32_t window_max;	// what it may grow to while the reader keeps up; 4 MiB
	size_t memory;		// bytes kept for slow readers, of all streams; 256 MiB. A stream that would go beyond is reset
};

// NULL: no memory. ops, ctx: must outlive it. Whatever opens comes after the peer's hello.
struct mux *mux_new(const struct mux_options *o, const struct mux_ops *ops, void *ctx);
// `closed` for every stream (MUX_LOST), then frees. NULL is fine.
void mux_free(struct mux *m);

// What the connection received; all of it is taken. 0, or -EPROTO: the peer broke the protocol (mux_reason), -ENOMEM. After an error nothing more
// goes in or out: the connection is to be closed.
int mux_input(struct mux *m, const uint8_t *bytes, size_t len);
// What to send next: fills buf with up to size (>= MUX_OUTPUT_MIN) bytes and returns how many; 0: nothing now. They count as sent.
size_t mux_output(struct mux *m, uint8_t *buf, size_t size);
bool mux_pending(const struct mux *m);
const char *mux_reason(const struct mux *m);	// "" when nothing failed

// Opens a stream to `target` as the far gateway sees it; NULL or TARGET_NONE: what its route maps to (always so for MUX_IP). Data may be sent at
// once (mux_ready), or after `accepted`. -EAGAIN: the peer lets no more be open at once; -ESHUTDOWN: the peer, or this side, goes away, or the
// numbers are used up: it needs another connection; -EINVAL: the target; -ENOMEM.
int mux_open(struct mux_stream **out, struct mux *m, enum mux_kind kind, const struct target *target, void *user);
void mux_accept(struct mux_stream *s);
// Ends the stream both ways; s is gone for the caller and no op is called for it any more.
void mux_reset(struct mux_stream *s, enum mux_error why);

void mux_ready(struct mux_stream *s);	// `pull` has something (or may have): called until it says -EAGAIN
void mux_unready(struct mux_stream *s);	// takes that back, also from within `pull` after the last bytes that it has
void mux_resume(struct mux_stream *s);	// `data` takes bytes again: offers what is kept

void *mux_user(const struct mux_stream *s);
void mux_set_user(struct mux_stream *s, void *user);
struct mux *mux_of(const struct mux_stream *s);
enum mux_kind mux_kind(const struct mux_stream *s);
const struct target *mux_target(const struct mux_stream *s);	// of both sides' streams
// Within mux_ops.data: it is called again for this stream at once, so that these bytes need not leave before (MSG_MORE), unless it takes less than all.
bool mux_more(const struct mux_stream *s);
size_t mux_kept(const struct mux_stream *s);	// bytes that wait for mux_resume

// Asks for a sign of life: `pong` is called. Nothing when one is under way already (-EALREADY).
int mux_ping(struct mux *m);
// Tells the peer to open no more; streams that are open go on. When mux_streams is 0 and nothing is pending the connection may be closed.
void mux_go(struct mux *m);
size_t mux_streams(const struct mux *m);	// open ones of both sides
size_t mux_memory(const struct mux *m);	// bytes kept for slow readers

enum mux_error mux_error_of(int err);	// of a negative (or positive) errno
int mux_errno_of(enum mux_error why);	// a negative errno; MUX_CLOSED: 0
const char *mux_error_text(enum mux_error why);

#endif
