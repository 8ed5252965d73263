// SPDX-License-Identifier: Apache-2.0
// The bytes of a connection: records (the record layer's, or OpenSSL's where that stays in charge), frames in them, the program's bytes in these, and what is kept for later. One thread at a time; no
// locks.
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/tls.h"
#include "ratls/connection.h"

#define RECORD 16384
#define FRAME_DATA_MAX (8 * RECORD - FRAME_HEAD)	// of one that we send: eight full records
#define OUT_MAX (1u << 20)	// of frames that the peer does not take
#define LOOK_EVERY_MS 10	// how often a program that writes without a pause looks for challenges

// ---- OpenSSL's answers ----

int connection_lose(struct ratls_connection *c, int err)
{
	if (!c->failed)
		c->failed = err;
	return err;
}

struct fault *connection_reason(struct ratls_connection *c)
{
	if (!c->reason)
		c->reason = calloc(1, sizeof *c->reason);
	return c->reason;
}

int connection_lose_by(struct ratls_connection *c, int err, const struct fault *why)
{
	if (!c->failed && connection_reason(c))
		*c->reason = *why;
	return connection_lose(c, err);
}

// SSL_get_error looks at the thread's queue, in which another's errors may be; to clear an empty one takes longer than to look.
static void forget_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

// Alerts by which a peer says that it does not like our certificate.
static bool is_refusal(int alert)
{
	switch (alert) {
	case SSL_AD_BAD_CERTIFICATE: case SSL_AD_UNSUPPORTED_CERTIFICATE: case SSL_AD_CERTIFICATE_REVOKED: case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN: case SSL_AD_UNKNOWN_CA: case SSL_AD_ACCESS_DENIED: case SSL_AD_CERTIFICATE_REQUIRED: return true;
	default: return false;
	}
}

static int lose_by_refusal(struct ratls_connection *c, int alert)
{
	if (alert == SSL_AD_CERTIFICATE_REQUIRED)	// OpenSSL 3.0 has no word for it
		return connection_lose(c, fault_set(connection_reason(c), -EACCES,
						    "the peer refuses this side: it asks for evidence or a certificate, and was shown none"));
	return connection_lose(c, fault_set(connection_reason(c), -EACCES, "the peer refuses this side's certificate (%s)",
					    SSL_alert_desc_string_long(alert)));
}

static int layer_trouble(struct ratls_connection *c, int err);

// A peer that has gone may have said why before: an alert, or a verdict, that nobody has read yet. True: the connection is lost by that.
static bool has_last_words(struct ratls_connection *c)
{
	char byte;
	if (c->framed && c->phase >= RATLS_PROOF) {
		connection_advance(c);
	} else if (c->layer) {
		ssize_t n = layer_look(c->layer);
		if (n <= 0)
			layer_trouble(c, (int)n);
	} else {
		ERR_clear_error();
		int n = SSL_peek(c->ssl, &byte, 1);
		if (n <= 0)
			connection_trouble(c, n, false);
	}
	return c->failed;
}

// After a call of the record layer's that brought no data: -EAGAIN, 0 the peer's goodbye, or what the connection was lost by.
static int layer_trouble(struct ratls_connection *c, int err)
{
	int alert = c->layer->alert;
	bool all_came = c->ended && !c->head_len;
	switch (err) {
	case 0: case -EAGAIN: return err;
	case -ENOMEM: return connection_lose(c, fault_set(connection_reason(c), err, "out of memory"));
	case -EPROTO:
		if (alert >= 0 && is_refusal(alert))
			return lose_by_refusal(c, alert);
		return connection_lose(c, fault_set(connection_reason(c), err, "%s %s", alert >= 0 ? "the peer ends TLS with the alert" : "the peer sends",
						    c->layer->why));
	// Frames tell an end from a cut.
	case -ENODATA: return c->framed ? 0 : connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the connection was cut"));
	default:
		return all_came ? 0 : connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the connection was cut: %s", strerror(-err)));
	}
}

// What people run into, in words of theirs; NULL: as OpenSSL says it.
static const char *plain_words(unsigned long e)
{
	if (ERR_GET_LIB(e) != ERR_LIB_SSL)
		return NULL;
	switch (ERR_GET_REASON(e)) {
	case SSL_R_HTTP_REQUEST: case SSL_R_HTTPS_PROXY_REQUEST: return "the peer does not speak TLS: it sends plain HTTP";
	case SSL_R_WRONG_VERSION_NUMBER: return "the peer does not speak TLS: what it sends is something else";
	case SSL_R_UNSUPPORTED_PROTOCOL: case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION: return "the peer does not speak TLS 1.3, only older versions";
	default: return NULL;
	}
}

int connection_trouble(struct ratls_connection *c, int ret, bool writing)
{
	char why[256];
	int kind = SSL_get_error(c->ssl, ret), saved = errno;
	unsigned long e = ERR_peek_last_error();
	int alert = ERR_GET_REASON(e) - SSL_AD_REASON_OFFSET;
	switch (kind) {
	case SSL_ERROR_WANT_READ: c->want_write = false; return -EAGAIN;
	case SSL_ERROR_WANT_WRITE: c->want_write = true; return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN: return 0;
	default: break;
	}
	const char *said = plain_words(e);
	ERR_error_string_n(e, why, sizeof why);
	ERR_clear_error();
	if (c->phase == RATLS_TLS && c->verdict && !c->verdict->accepted)
		return connection_lose(c, fault_set(connection_reason(c), -EKEYREJECTED, "the peer is refused: %s", c->verdict->reason));
	if (kind == SSL_ERROR_SYSCALL && !writing && saved == EPROTO)	// wire.h
		return connection_lose(c, fault_set(connection_reason(c), -EPROTO, "the peer sends records without end, and no data"));
	if (kind == SSL_ERROR_SYSCALL && writing && has_last_words(c))
		return c->failed;
	if (kind == SSL_ERROR_SYSCALL && !writing && c->ended && !c->head_len)	// all had come
		return 0;
	if (kind == SSL_ERROR_SYSCALL || ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the connection was cut%s%s",
						    kind == SSL_ERROR_SYSCALL && saved ? ": " : "",
						    kind == SSL_ERROR_SYSCALL && saved ? strerror(saved) : ""));
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && alert > 0 && is_refusal(alert))
		return lose_by_refusal(c, alert);
	if (ERR_GET_REASON(e) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		return connection_lose(c, fault_set(connection_reason(c), -EKEYREJECTED, "the peer is refused: it shows no certificate"));
	return connection_lose(c, fault_set(connection_reason(c), -EPROTO, "%s%s", said ? said : "TLS 1.3 failed: ", said ? "" : why));
}

// ---- sending ----

static int keep(struct ratls_connection *c, const void *bytes, size_t len)
{
	if (c->out_pos) {
		memmove(c->out, c->out + c->out_pos, c->out_len - c->out_pos);
		c->out_len -= c->out_pos;
		c->out_pos = 0;
	}
	if (c->out_len + len > OUT_MAX)
		return connection_lose(c, fault_set(connection_reason(c), -EPROTO, "the peer asks and does not take the answers"));
	if (c->out_len + len > c->out_size) {
		uint8_t *more = realloc(c->out, c->out_len + len);
		if (!more)
			return connection_lose(c, fault_set(connection_reason(c), -ENOMEM, "out of memory"));
		c->out = more;
		c->out_size = c->out_len + len;
	}
	memcpy(c->out + c->out_len, bytes, len);
	c->out_len += len;
	return 0;
}

// The socket does not take it: the peer may have said why.
static int lose_by_socket(struct ratls_connection *c, int err)
{
	if (has_last_words(c))
		return c->failed;
	return connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the connection was cut: %s", strerror(-err)));
}

// Through the record layer: 0 all of it, -EAGAIN nothing, or what the connection was lost by.
static int put_layer(struct ratls_connection *c, const uint8_t *head, size_t head_len, const uint8_t *bytes, size_t len)
{
	int err = layer_write(c->layer, head, head_len, bytes, len);
	switch (err) {
	case 0: case -EAGAIN: return err;
	case -ENOMEM: case -EOVERFLOW: return connection_lose(c, fault_set(connection_reason(c), -ENOMEM, "out of memory"));
	default: return lose_by_socket(c, err);
	}
}

// How much of it was taken; -EAGAIN, or what the connection was lost by.
static int put_record(struct ratls_connection *c, const uint8_t *bytes, size_t len)
{
	if (c->layer) {
		int err = put_layer(c, NULL, 0, bytes, len < LAYER_WRITE_MAX ? len : LAYER_WRITE_MAX);
		return err ? err : len < LAYER_WRITE_MAX ? (int)len : LAYER_WRITE_MAX;
	}
	forget_errors();
	int k = SSL_write(c->ssl, bytes, len > RECORD ? RECORD : (int)len);
	if (k > 0)
		return k;
	k = connection_trouble(c, k, true);
	return k ? k : connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the connection was cut"));
}

bool connection_has_to_send(const struct ratls_connection *c)
{
	return c->out_len || wire_holds(c->wire) || (c->end_sent && !c->framed && !c->shut);
}

// Where there are no frames TLS says that no more will come, behind all that was written.
static int say_end(struct ratls_connection *c)
{
	if (!c->end_sent || c->framed || c->shut)
		return 0;
	if (c->layer) {
		c->shut = true;
		layer_goodbye(c->layer);	// what it needs of the socket is there, or the peer has gone
		return wire_holds(c->wire) ? -EAGAIN : 0;
	}
	ERR_clear_error();
	int k = SSL_shutdown(c->ssl);
	if (k < 0 && SSL_get_error(c->ssl, k) == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	ERR_clear_error();
	c->shut = true;
	return 0;
}

// What OpenSSL has written leaves: 0, -EAGAIN when not all of it did, or what the connection was lost by.
static int send_records(struct ratls_connection *c)
{
	int err = wire_send(c->wire);
	return !err || err == -EAGAIN ? err : lose_by_socket(c, err);
}

int connection_flush(struct ratls_connection *c)
{
	while (c->out_pos < c->out_len || wire_holds(c->wire)) {
		int k = c->layer ? send_records(c) : 0;	// which takes nothing before that
		if (k)
			return k;
		bool gathers = !c->layer && c->out_len - c->out_pos > RECORD;
		if (gathers)
			wire_gather(c->wire);
		while (c->out_pos < c->out_len && (k = put_record(c, c->out + c->out_pos, c->out_len - c->out_pos)) > 0)
			c->out_pos += (size_t)k;
		if (k < 0 && (k != -EAGAIN || !gathers))
			return k;
		if ((k = send_records(c)))	// else there is room again
			return k;
	}
	if (c->out) {
		free(c->out);
		c->out = NULL;
		c->out_len = c->out_pos = c->out_size = 0;
	}
	return say_end(c);
}

int connection_send_frame(void *ctx, enum frame_type type, const void *bytes, size_t len)
{
	struct ratls_connection *c = ctx;
	uint8_t head[FRAME_HEAD];
	frame_write(head, type, len);
	int err = keep(c, head, sizeof head);
	if (!err && len)
		err = keep(c, bytes, len);
	return err;
}

// ---- receiving ----

// Some bytes, -EAGAIN, 0 the peer's goodbye.
static int input(struct ratls_connection *c, void *buf, size_t size)
{
	if (c->layer) {
		int got = (int)layer_read(c->layer, buf, size > 1 << 20 ? 1 << 20 : size);
		if (got > 0)
			return got;
		if (got == -EAGAIN)
			c->drained_ms = clock_ms();
		return layer_trouble(c, got);
	}
	forget_errors();
	int n = SSL_read(c->ssl, buf, size > 1 << 20 ? 1 << 20 : (int)size);
	c->starved = n <= 0;
	if (n > 0) {
		wire_heard(c->wire);
		return n;
	}
	n = connection_trouble(c, n, false);
	if (n == -EAGAIN)
		c->drained_ms = clock_ms();
	return n;
}

bool connection_is_blocked(const struct ratls_connection *c)
{
	return c->work && c->head_len == FRAME_HEAD && !c->left && (c->in.type == FRAME_CHALLENGE || c->in.type == FRAME_PROOF);
}

static int take_head(struct ratls_connection *c)
{
	struct fault why;
	if (frame_read(c->head, &c->in, &why))
		return connection_lose_by(c, -EPROTO, &why);
	c->left = c->in.len;
	if (c->in.type == FRAME_DATA && c->phase != RATLS_OPEN && !exchange_done(&c->x))
		return connection_lose(c, fault_set(connection_reason(c), -EPROTO, "the peer sends data before it has proved itself"));
	if ((c->in.type == FRAME_DATA || c->in.type == FRAME_END) && c->ended)
		return connection_lose(c, fault_set(connection_reason(c), -EPROTO, "the peer sends data behind their end"));
	if (c->in.type != FRAME_DATA && c->left && !(c->message = malloc(c->left)))
		return connection_lose(c, fault_set(connection_reason(c), -ENOMEM, "out of memory"));
	return 0;
}

static int take_message(struct ratls_connection *c)
{
	struct ratls_work *w;
	struct fault why;
	int err = exchange_take(&c->x, c->in.type, c->message, c->in.len, clock_ms(), &w, &why);
	free(c->message);
	c->message = NULL;
	c->head_len = 0;
	return err ? connection_lose_by(c, err, &why) : w ? connection_begin_work(c, w) : 0;
}

// The peer has said goodbye.
static int take_goodbye(struct ratls_connection *c)
{
	if (c->head_len)
		return connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the connection was cut, within a frame"));
	if (!c->ended)
		return connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the connection was cut, without an end of the data"));
	c->gone = true;
	return 0;
}

// More of a head or of a message: 1; 0: the peer has gone, as it may.
static int take_more(struct ratls_connection *c)
{
	bool head = c->head_len < FRAME_HEAD;
	int n = head ? input(c, c->head + c->head_len, FRAME_HEAD - c->head_len) : input(c, c->message + (c->in.len - c->left), c->left);
	if (n <= 0)
		return n ? n : take_goodbye(c);
	if (!head)
		c->left -= (uint32_t)n;
	else if ((c->head_len += (unsigned int)n) == FRAME_HEAD && (n = take_head(c)))
		return n;
	return 1;
}

int connection_advance(struct ratls_connection *c)
{
	int n;
	if (!c->framed)
		return !c->ended;
	// Behind the end of its data a peer still asks for proofs, and gives them.
	while (!c->gone) {
		if (c->head_len < FRAME_HEAD || (c->left && c->in.type != FRAME_DATA)) {
			n = take_more(c);
			if (n <= 0)
				return n == -EAGAIN && c->ended ? 0 : n;
		} else if (c->in.type == FRAME_DATA) {
			if (c->left)
				return 1;
			c->head_len = 0;
		} else if (c->in.type == FRAME_END) {
			c->ended = true;
			c->head_len = 0;
		} else if (connection_is_blocked(c)) {
			return c->ended ? 0 : -EAGAIN;
		} else if ((n = take_message(c))) {
			return n;
		}
	}
	return 0;
}

// The program's bytes, behind connection_advance.
static ssize_t take_data(struct ratls_connection *c, void *buf, size_t size)
{
	int n = input(c, buf, c->framed && size > c->left ? c->left : size);
	if (n > 0) {
		c->left -= c->framed ? (uint32_t)n : 0;
		c->since_challenge += (uint64_t)n;
	} else if (!n && c->framed) {
		return connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the connection was cut, within a frame"));
	} else if (!n) {
		c->ended = true;
	}
	return n;
}

// ---- the program's bytes ----

static ssize_t from_stash(struct ratls_connection *c, void *buf, size_t size)
{
	size_t n = c->stash_len - c->stash_pos;
	n = n < size ? n : size;
	memcpy(buf, c->stash + c->stash_pos, n);
	c->stash_pos += n;
	if (c->stash_pos == c->stash_len) {
		free(c->stash);
		c->stash = NULL;
		c->stash_len = c->stash_pos = 0;
	}
	return (ssize_t)n;
}

ssize_t ratls_read(struct ratls_connection *c, void *buf, size_t size, int timeout_ms)
{
	int64_t deadline = connection_deadline(timeout_ms);
	bool overdue;
	if (!size)
		return 0;
	for (;;) {
		int err = c->phase == RATLS_OPEN ? connection_tick(c, &overdue) : ratls_handshake(c, timeout_ms);
		if (err && (err != -ECONNRESET || !c->stash))	// what came before a cut is the program's
			return err;
		if (c->stash)
			return from_stash(c, buf, size);
		ssize_t n = connection_advance(c);
		if (n == 1)
			n = take_data(c, buf, size);
		int sent = c->failed ? 0 : connection_flush(c);
		if (c->failed) {
			connection_flush(c);
			return n > 0 ? n : c->failed;
		}
		c->ended_told |= !n;
		if (n != -EAGAIN || c->work)
			return n;
		if ((err = connection_wait(c, sent == -EAGAIN ? POLLIN | POLLOUT : POLLIN, deadline)))
			return err;
	}
}

bool connection_can_keep(const struct ratls_connection *c)
{
	return c->framed && !c->gone && c->stash_len - c->stash_pos < RATLS_STASH_MAX;
}

// While the program only writes: challenges are answered, what else comes is kept for ratls_read.
static int look_around(struct ratls_connection *c)
{
	c->looked_ms = clock_ms();
	for (;;) {
		int n = connection_advance(c);
		if (n != 1)
			return n == -EAGAIN ? 0 : n;
		if (!connection_can_keep(c))
			return 0;
		if (!c->stash && !(c->stash = malloc(RATLS_STASH_MAX)))
			return connection_lose(c, fault_set(connection_reason(c), -ENOMEM, "out of memory"));
		memmove(c->stash, c->stash + c->stash_pos, c->stash_len - c->stash_pos);
		c->stash_len -= c->stash_pos;
		c->stash_pos = 0;
		n = (int)take_data(c, c->stash + c->stash_len, RATLS_STASH_MAX - c->stash_len);
		if (n > 0)
			c->stash_len += (size_t)n;
		if (!c->stash_len) {
			free(c->stash);
			c->stash = NULL;
		}
		if (n <= 0)
			return n == -EAGAIN ? 0 : n;
	}
}

// Hands bytes to OpenSSL, or to the queue when it takes no more: it has begun with them then, and wants the same again.
static int put_bytes(struct ratls_connection *c, const uint8_t *bytes, size_t len)
{
	while (len) {
		int k = put_record(c, bytes, len);
		if (k < 0)
			return k == -EAGAIN ? keep(c, bytes, len) : k;
		bytes += k;
		len -= (size_t)k;
	}
	return 0;
}

// A frame, or a record, of the program's bytes: how many. Only what shares a record with the head is copied.
static ssize_t put(struct ratls_connection *c, const uint8_t *bytes, size_t len)
{
	uint8_t first[RECORD];
	size_t n = len < FRAME_DATA_MAX ? len : FRAME_DATA_MAX, k = n < RECORD - FRAME_HEAD ? n : RECORD - FRAME_HEAD;
	int err;
	if (c->layer) {
		frame_write(first, FRAME_DATA, n);
		err = put_layer(c, first, c->framed ? FRAME_HEAD : 0, bytes, n);
		return err == -EAGAIN ? 0 : err ? err : (ssize_t)n;
	}
	if (n > k)
		wire_gather(c->wire);
	if (!c->framed) {
		err = put_bytes(c, bytes, n);
	} else {
		frame_write(first, FRAME_DATA, n);
		memcpy(first + FRAME_HEAD, bytes, k);
		err = put_bytes(c, first, FRAME_HEAD + k);
		if (!err && n > k)
			err = c->out_len ? keep(c, bytes + k, n - k) : put_bytes(c, bytes + k, n - k);
	}
	if (!err)
		err = send_records(c);
	return err && err != -EAGAIN ? err : (ssize_t)n;
}

// What a writer waits for: only what it would read.
static short events_of_writer(const struct ratls_connection *c, bool writes)
{
	return (short)((connection_can_keep(c) && !connection_is_blocked(c) ? POLLIN : 0) | (writes ? POLLOUT : 0));
}

ssize_t ratls_write(struct ratls_connection *c, const void *buf, size_t len, int timeout_ms)
{
	int64_t deadline = connection_deadline(timeout_ms);
	const uint8_t *p = buf;
	size_t done = 0;
	bool overdue = false, look = !len || clock_ms() - c->looked_ms >= LOOK_EVERY_MS;
	if (c->end_sent && len)
		return fault_set(connection_reason(c), -EPIPE, "this side has ended the connection");
	for (;;) {
		int err = c->phase == RATLS_OPEN ? connection_tick(c, &overdue) : ratls_handshake(c, timeout_ms);
		if (!err && c->framed && (look || overdue))
			err = look_around(c);
		if (!err && !c->failed)
			err = connection_flush(c);
		if (c->failed) {
			connection_flush(c);
			return c->failed;
		}
		if (err && err != -EAGAIN)
			return err;
		if (!err && done == len)
			return (ssize_t)done;
		if (!err && !overdue) {
			ssize_t n = put(c, p + done, len - done);
			if (n < 0)
				return n;
			done += (size_t)n;
			if (done == len && !connection_has_to_send(c))
				return (ssize_t)done;
			continue;
		}
		if (c->phase != RATLS_OPEN)
			return err;	// the handshake has waited
		look = true;
		err = connection_wait(c, events_of_writer(c, err), deadline);
		if (err)
			return done ? (ssize_t)done : err;
	}
}

int ratls_end(struct ratls_connection *c, int timeout_ms)
{
	int64_t deadline = connection_deadline(timeout_ms);
	bool overdue;
	int err = c->phase == RATLS_OPEN ? 0 : ratls_handshake(c, timeout_ms);
	if (!err && !c->end_sent && c->framed)
		err = connection_send_frame(c, FRAME_END, NULL, 0);
	if (err || c->failed)
		return err ? err : c->failed;
	c->end_sent = true;
	// The peer may be as full as this side is, and take nothing before it is read from.
	while ((err = connection_flush(c)) == -EAGAIN && !(err = connection_tick(c, &overdue)) && !(c->framed && (err = look_around(c))) &&
	       !(err = connection_wait(c, events_of_writer(c, true), deadline)))
		;
	if (c->failed)
		connection_flush(c);
	return err;
}
