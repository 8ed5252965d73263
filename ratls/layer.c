// SPDX-License-Identifier: Apache-2.0
// See layer.h.
#include "ratls/layer.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER (4 * (RECORD_HEAD + RECORD_BODY_MAX))	// of what comes
#define EMPTY_MAX 32		// records without data, behind each other: as OpenSSL
#define MESSAGE_HEAD 4
#define TICKET_MAX (1u << 18)	// more than its longest form

enum message { NEW_SESSION_TICKET = 4, KEY_UPDATE = 24 };

// ---- the thread's buffers ----

// One set for each thread, so that no connection needs its own while it rests.
struct buffers {
	uint8_t *in;		// BUFFER bytes; NULL: a connection has them, and there are none instead yet
	uint8_t out[LAYER_RECORDS * RECORD_SEALED_MAX];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

static void free_buffers(void *buffers)
{
	free(((struct buffers *)buffers)->in);
	free(buffers);
}

static void make_key(void)
{
	has_key = !pthread_key_create(&key, free_buffers);
}

// The calling thread's; NULL without memory.
static struct buffers *own_buffers(void)
{
	pthread_once(&once, make_key);
	struct buffers *b = has_key ? pthread_getspecific(key) : NULL;
	if (b || !has_key)
		return b;
	if (!(b = malloc(sizeof *b)))
		return NULL;
	b->in = NULL;
	if (pthread_setspecific(key, b)) {
		free(b);
		return NULL;
	}
	return b;
}

static uint8_t *take_buffer(void)
{
	struct buffers *b = own_buffers();
	uint8_t *in = b ? b->in : NULL;
	if (in)
		b->in = NULL;
	return in ? in : malloc(BUFFER);
}

static void give_buffer(uint8_t *in)
{
	struct buffers *b = own_buffers();
	if (b && !b->in)
		b->in = in;
	else
		free(in);
}

// ---- sending ----

// To the socket, or to the wire's queue.
static int put(struct layer *l, enum record_type type, const uint8_t *bytes, size_t len)
{
	uint8_t record[RECORD_HEAD + 8 + 1 + RECORD_TAG];
	ssize_t n = tls13_seal(&l->out, type, NULL, 0, bytes, len, record);
	return n < 0 ? (int)n : wire_put(l->wire, record, (size_t)n);
}

static int send_update(struct layer *l, bool asks)
{
	const uint8_t message[] = {KEY_UPDATE, 0, 0, 1, asks};
	int err = put(l, RECORD_HANDSHAKE, message, sizeof message);
	return err ? err : tls13_update_keys(&l->out);
}

int layer_new_keys(struct layer *l)
{
	return l->shut ? 0 : send_update(l, true);
}

int layer_goodbye(struct layer *l)
{
	static const uint8_t alert[] = {SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY};
	if (l->shut)
		return 0;
	l->shut = true;
	return put(l, RECORD_ALERT, alert, sizeof alert);
}

int layer_write(struct layer *l, const uint8_t *head, size_t head_len, const uint8_t *bytes, size_t len)
{
	size_t have = 0;
	int err = 0;
	if (l->shut)
		return -EPIPE;
	if (wire_holds(l->wire))
		return -EAGAIN;
	struct buffers *b = own_buffers();
	uint8_t *out = b ? b->out : NULL;
	if (!out)
		return -ENOMEM;
	while (!err && head_len + len) {
		size_t n = RECORD_PLAIN_MAX - head_len < len ? RECORD_PLAIN_MAX - head_len : len;
		if (l->out.sequence >= RECORD_UPDATE_AT) {
			// Behind what was sealed by the old keys.
			err = wire_put(l->wire, out, have);
			have = 0;
			if (err || (err = send_update(l, false)))
				break;
		}
		ssize_t sealed = tls13_seal(&l->out, RECORD_DATA, head, head_len, bytes, n, out + have);
		if (sealed < 0) {
			err = (int)sealed;
			break;
		}
		have += (size_t)sealed;
		bytes += n;
		len -= n;
		head_len = 0;
	}
	if (!err)
		err = wire_put(l->wire, out, have);
	return err;
}

// ---- what comes, other than data ----

// Something is wrong with it: the peer is told, and that was all.
static ssize_t refuse(struct layer *l, int alert, const char *why)
{
	const uint8_t message[] = {SSL3_AL_FATAL, (uint8_t)alert};
	if (!l->shut)
		put(l, RECORD_ALERT, message, sizeof message);
	l->shut = true;
	l->why = why;
	l->plain_len = 0;
	return l->error = alert == SSL_AD_INTERNAL_ERROR ? -ENOMEM : -EPROTO;
}

static ssize_t take_alert(struct layer *l, const uint8_t *p, size_t len)
{
	if (len != 2)
		return refuse(l, SSL_AD_DECODE_ERROR, "an alert of another length than two");
	if (p[1] == SSL_AD_CLOSE_NOTIFY) {
		l->gone = true;
		return 0;
	}
	if (p[1] == SSL_AD_USER_CANCELLED)	// a goodbye follows (section 6.1)
		return 0;
	// Its level says nothing in TLS 1.3 (section 6).
	l->shut = true;
	l->alert = p[1];
	l->why = SSL_alert_desc_string_long(p[1]);
	return l->error = -EPROTO;
}

// Many wishes that come while nothing leaves have one answer (section 4.6.3).
static ssize_t take_update(struct layer *l, uint8_t asks)
{
	if (asks > 1)
		return refuse(l, SSL_AD_ILLEGAL_PARAMETER, "a change of keys that asks for neither");
	if (tls13_update_keys(&l->in))
		return refuse(l, SSL_AD_INTERNAL_ERROR, "out of memory");
	l->answers &= wire_holds(l->wire);
	if (!asks || l->shut || l->answers)
		return 0;
	l->answers = true;
	int err = send_update(l, false);
	if (err == -ENOMEM || err == -EOVERFLOW)
		return refuse(l, SSL_AD_INTERNAL_ERROR, "out of memory");
	return 0;	// that the socket is broken is told where it matters
}

static ssize_t take_messages(struct layer *l, const uint8_t *p, size_t len)
{
	if (!len)
		return refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "a handshake record of no length");
	while (len) {
		if (l->skip) {
			uint32_t n = len < l->skip ? (uint32_t)len : l->skip;
			l->skip -= n;
			p += n;
			len -= n;
			continue;
		}
		l->message[l->message_len++] = *p++;
		len--;
		if (l->message_len < MESSAGE_HEAD)
			continue;
		uint32_t body = (uint32_t)l->message[1] << 16 | (uint32_t)l->message[2] << 8 | l->message[3];
		if (l->message[0] == NEW_SESSION_TICKET && !l->server) {
			if (body > TICKET_MAX)
				return refuse(l, SSL_AD_DECODE_ERROR, "a session ticket that is too long");
			l->skip = body;
			l->message_len = 0;
		} else if (l->message[0] != KEY_UPDATE) {
			return refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "a handshake message that nobody waits for");
		} else if (body != 1) {
			return refuse(l, SSL_AD_DECODE_ERROR, "a change of keys of another length than one");
		} else if (l->message_len > MESSAGE_HEAD) {
			if (len)	// it would be under the old keys (section 5.1)
				return refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "a message behind a change of keys");
			l->message_len = 0;
			return take_update(l, l->message[MESSAGE_HEAD]);
		}
	}
	return 0;
}

// ---- receiving ----

// 1: there are data; 0: nothing of interest; an error.
static ssize_t take_record(struct layer *l, uint8_t *record, size_t len)
{
	uint8_t type;
	ssize_t n = tls13_open(&l->in, record, len, &type);
	switch (n) {
	case -EBADMSG: return refuse(l, SSL_AD_BAD_RECORD_MAC, "a record that was changed on its way");
	case -EMSGSIZE: return refuse(l, SSL_AD_RECORD_OVERFLOW, "a record that is too long");
	case -EPROTO: return refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "a record of no type");
	default: break;
	}
	if (n < 0)
		return refuse(l, SSL_AD_INTERNAL_ERROR, "out of memory");
	if (type != RECORD_HANDSHAKE && (l->message_len || l->skip))
		return refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "another record within a message");
	l->idle += len;
	if (type == RECORD_ALERT)
		return take_alert(l, record + RECORD_HEAD, (size_t)n);
	if (type == RECORD_HANDSHAKE)
		return take_messages(l, record + RECORD_HEAD, (size_t)n);
	if (type != RECORD_DATA)
		return refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "a record of an unknown type");
	if (!n)
		return ++l->empty > EMPTY_MAX ? refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "empty records without end") : 0;
	l->empty = 0;
	l->idle = 0;
	l->plain = record + RECORD_HEAD;
	l->plain_len = (size_t)n;
	return 1;
}

// What is not opened yet, into a buffer of its own that is no larger, or none: the connection may rest for long.
static void shrink(struct layer *l)
{
	size_t rest = l->len - l->pos;
	if (!l->bytes || l->small)
		return;
	uint8_t *own = rest ? malloc(rest) : NULL;
	if (rest && !own)	// then so
		return;
	if (rest)
		memcpy(own, l->bytes + l->pos, rest);
	give_buffer(l->bytes);
	l->bytes = own;
	l->small = rest;
	l->pos = 0;
	l->len = rest;
}

// More bytes behind the rest of those that there are: 0 or an error.
static ssize_t receive(struct layer *l)
{
	size_t rest = l->len - l->pos;
	uint8_t *to = l->bytes && !l->small ? l->bytes : take_buffer();
	if (!to)
		return -ENOMEM;
	if (rest)
		memmove(to, l->bytes + l->pos, rest);
	if (to != l->bytes)
		free(l->bytes);
	l->bytes = to;
	l->small = false;
	l->pos = 0;
	l->len = rest;
	ssize_t n = wire_get(l->wire, to + rest, BUFFER - rest);
	if (n > 0)
		l->len += (size_t)n;
	else
		shrink(l);
	return n > 0 ? 0 : n ? n : -ENODATA;
}

ssize_t layer_look(struct layer *l)
{
	ssize_t n = 0;
	while (!l->plain_len && !n) {
		if (l->error)
			return l->error;
		if (l->gone)
			return 0;
		ssize_t whole = l->bytes ? tls13_length(l->bytes + l->pos, l->len - l->pos) : 0;
		if (whole == -EPROTO)
			n = refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "a record that is not sealed");
		else if (whole == -EMSGSIZE)
			n = refuse(l, SSL_AD_RECORD_OVERFLOW, "a record that is too long");
		else if (l->idle > WIRE_IDLE_MAX)
			n = refuse(l, SSL_AD_UNEXPECTED_MESSAGE, "records without end, and no data");
		else if (!whole || (size_t)whole > l->len - l->pos)
			n = receive(l);
		else {
			n = take_record(l, l->bytes + l->pos, (size_t)whole);
			l->pos += (size_t)whole;
		}
	}
	return l->plain_len ? 1 : n;
}

ssize_t layer_read(struct layer *l, uint8_t *buf, size_t size)
{
	ssize_t n = layer_look(l);
	if (n <= 0)
		return n;
	n = (ssize_t)(size < l->plain_len ? size : l->plain_len);
	memcpy(buf, l->plain, (size_t)n);
	l->plain += n;
	l->plain_len -= (size_t)n;
	if (!l->plain_len && l->pos == l->len)
		shrink(l);
	return n;
}

bool layer_has_more(const struct layer *l)
{
	if (l->plain_len || l->error)
		return l->plain_len;
	if (l->gone)
		return false;
	ssize_t whole = l->bytes ? tls13_length(l->bytes + l->pos, l->len - l->pos) : 0;
	return whole < 0 || (whole && (size_t)whole <= l->len - l->pos) || wire_has_more(l->wire);
}

// ---- beginning and end ----

// A peer that takes only short records (RFC 6066 section 4) is OpenSSL's, which keeps to that.
static bool has_whole_records(SSL *ssl)
{
	const SSL_SESSION *session = SSL_get0_session(ssl);
	uint8_t mode = session ? SSL_SESSION_get_max_fragment_length(session) : TLSEXT_max_fragment_length_DISABLED;
	return mode == TLSEXT_max_fragment_length_DISABLED;
}

// Nothing but the handshake has passed under the application's keys, in either direction: their first record has the number 0.
static bool is_fresh(SSL *ssl)
{
	return SSL_version(ssl) == TLS1_3_VERSION && SSL_is_init_finished(ssl) && !SSL_get_read_ahead(ssl) && !SSL_has_pending(ssl) &&
	       SSL_want(ssl) == SSL_NOTHING && SSL_get_key_update_type(ssl) == SSL_KEY_UPDATE_NONE && !SSL_get_shutdown(ssl) &&
	       SSL_get_early_data_status(ssl) != SSL_EARLY_DATA_ACCEPTED && (!SSL_is_server(ssl) || !SSL_get_num_tickets(ssl));
}

struct layer *layer_new(SSL *ssl, BIO *wire, const uint8_t *client_secret, const uint8_t *server_secret, size_t secret_len)
{
	bool server = SSL_is_server(ssl);
	uint16_t suite = SSL_get_current_cipher(ssl) ? SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)) : 0;
	struct layer *l = is_fresh(ssl) && has_whole_records(ssl) && !wire_holds(wire) ? calloc(1, sizeof *l) : NULL;
	if (!l)
		return NULL;
	l->server = server;
	l->alert = -1;
	if (tls13_open_keys(&l->out, suite, server ? server_secret : client_secret, secret_len, true) ||
	    tls13_open_keys(&l->in, suite, server ? client_secret : server_secret, secret_len, false) || !BIO_up_ref(wire)) {
		layer_free(l);
		return NULL;
	}
	// It is the layer's alone from now on: no second record has the number of another.
	l->wire = wire;
	SSL_set_bio(ssl, NULL, NULL);
	return l;
}

void layer_free(struct layer *l)
{
	if (!l)
		return;
	tls13_close_keys(&l->in);
	tls13_close_keys(&l->out);
	BIO_free(l->wire);
	if (l->bytes && !l->small)
		give_buffer(l->bytes);
	else
		free(l->bytes);
	free(l);
}
