// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: the record layer of a connection behind its handshake, which is OpenSSL's: records both ways, several in each call of the kernel's, alerts,
// new traffic keys (RFC 8446 sections 4.6, 5, 6). Where something is wrong the peer gets the alert that says so, and nothing passes any more.
// Belongs to one connection; no locks. Has memory of the thread that calls, which a connection keeps only while something of its peer's is not read yet.
#ifndef COFFER_RATLS_LAYER_H
#define COFFER_RATLS_LAYER_H

#include <openssl/ssl.h>

#include "ratls/record.h"
#include "ratls/wire.h"

#define LAYER_RECORDS 8		// in one call of the kernel's
#define LAYER_WRITE_MAX (LAYER_RECORDS * RECORD_PLAIN_MAX)

struct layer {
	BIO *wire;
	struct tls13_keys in, out;
	bool server;

	uint8_t *bytes;			// what has come, `len` of it; NULL: nothing
	size_t len, pos;		// from `pos` on still sealed
	bool small;			// `bytes` has room for no more
	uint8_t *plain;			// opened and not yet taken: in `bytes`
	size_t plain_len;
	uint8_t message[5];		// of the handshake's kind: what has come of it
	unsigned int message_len;
	uint32_t skip;			// bytes of one that nobody reads
	unsigned int empty;		// records without data, behind each other
	size_t idle;			// bytes that brought no data, since the last that did
	bool gone;			// the peer has said goodbye
	bool shut;			// so have we, or something is wrong
	bool answers;			// the peer's wish for new keys is in the wire's queue

	int error;			// a negative errno, for good
	int alert;			// the peer's; -1: none
	const char *why;
};

// From OpenSSL behind its handshake: secrets of the two directions. NULL where that cannot be: the connection stays OpenSSL's, which is untouched then.
// Afterwards it must not be written to or read from; the wire is the layer's.
struct layer *layer_new(SSL *ssl, BIO *wire, const uint8_t *client_secret, const uint8_t *server_secret, size_t secret_len);
void layer_free(struct layer *l);

// Data: how many bytes, at most `size`; 0 the peer's goodbye; -EAGAIN; -ENODATA the connection's end without one; -EPROTO (l->why; l->alert, if the peer
// says so); -ENOMEM; what the descriptor's error is.
ssize_t layer_read(struct layer *l, uint8_t *buf, size_t size);
// The same, without taking any: 1 for some.
ssize_t layer_look(struct layer *l);
// There is something to be read, or to be found out, without another byte.
bool layer_has_more(const struct layer *l);

// Head and bytes, behind each other, at most LAYER_WRITE_MAX: all are taken, and what the socket does not take is the wire's. -EAGAIN: while that holds
// something nothing is taken. -EPIPE: this side has said goodbye; -ENOMEM; what the descriptor's error is.
int layer_write(struct layer *l, const uint8_t *head, size_t head_len, const uint8_t *bytes, size_t len);
// New keys for what this side sends, and the peer is asked for the same.
int layer_new_keys(struct layer *l);
// Goodbye, once. No write after it.
int layer_goodbye(struct layer *l);

#endif
