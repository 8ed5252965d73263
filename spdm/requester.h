// SPDX-License-Identifier: Apache-2.0
// The requester's end of SPDM 1.2 over TCP: asks a responder what it is, believes nothing that is not proved, and keeps a secured session with it. A
// state machine: frames go in, frames come out, each request follows from the answer before it. No I/O, no clock (times are given), no locks; one
// connection, one owner.
#ifndef COFFER_SPDM_REQUESTER_H
#define COFFER_SPDM_REQUESTER_H

#include <jansson.h>
#include <openssl/x509.h>

#include "lib/fault.h"
#include "spdm/frame.h"
#include "spdm/responder.h"

struct requester;

enum requester_session {
	REQUESTER_EVIDENCE,		// a session with new evidence in it, or nothing
	REQUESTER_EVIDENCE_WANTED,	// the same; a responder that has no such thing will do
	REQUESTER_SESSION,		// a session; the certificate's evidence alone
	REQUESTER_NO_SESSION,		// no session: it is asked, and that is all
};

struct requester_options {
	// Whether the evidence in this certificate is believed: 0 and its claims (a new reference), or -EKEYREJECTED and why.
	int (*judge)(void *ctx, X509 *leaf, json_t **claims, struct fault *f);
	// The same for new evidence that came in the session with this exporter value, as the answer to this nonce.
	int (*judge_session)(void *ctx, X509 *leaf, const uint8_t *content, size_t len, const uint8_t nonce[32], const uint8_t exporter[32],
			     struct fault *f);
	void *ctx;
	enum requester_session session;
	uint32_t transfer_size;		// as in struct responder_options
	uint64_t records_per_key;	// 0: 2^20
	// What is offered; 0: all that there is.
	uint32_t asym, hash;
	uint16_t dhe;
};

int requester_new(struct requester **out, const struct requester_options *o, struct fault *f);
void requester_free(struct requester *r);

// The first request.
int requester_begin(struct requester *r, struct buffer *out);
// A whole frame's content, which is overwritten; requests are appended to `out`. Any error ends the connection: -EKEYREJECTED: something that was to
// be proved is not; -EBADMSG: a record that does not hold; -EPROTO: the responder breaks the protocol, or refuses; -ENOMEM; -EIO.
int requester_input(struct requester *r, const struct spdm_frame *head, uint8_t *bytes, int64_t now_ms, struct buffer *out, struct spdm_event *e,
		    struct fault *f);

// All that was to be proved is; with a session: data may go.
bool requester_open(const struct requester *r);
// The session is over, orderly; or without one: all is done.
bool requester_ended(const struct requester *r);
// As responder_send; -EAGAIN while keys change (requester_input goes on then), -ENOTCONN.
int requester_send(struct requester *r, const void *bytes, size_t len, bool end, struct buffer *out);
bool requester_may_send(const struct requester *r);
// New keys for both directions; END_SESSION. -EAGAIN while another request is out.
int requester_update(struct requester *r, struct buffer *out);
int requester_end(struct requester *r, struct buffer *out);
// When requester_tick is due; -1: not. It sends a heartbeat or changes keys. -ETIMEDOUT: the responder has not answered the one before.
int64_t requester_due_ms(const struct requester *r);
int requester_tick(struct requester *r, int64_t now_ms, struct buffer *out, struct fault *f);

// What is known of the responder: {"verdict", "spdm": {...}, "checks": [...], "claims", "measurements"}; a new reference, NULL without memory.
json_t *requester_report(const struct requester *r);

#endif
