// SPDX-License-Identifier: Apache-2.0
// The responder's end of SPDM 1.2 over TCP: a CPU TEE that answers who asks what it is, and keeps a secured session with him. A state machine: frames
// go in, frames come out. No I/O, no clock (times are given), no locks; one connection, one owner.
#ifndef COFFER_SPDM_RESPONDER_H
#define COFFER_SPDM_RESPONDER_H

#include <openssl/x509.h>

#include "lib/fault.h"
#include "spdm/frame.h"
#include "spdm/measure.h"

struct responder;

struct responder_options {
	X509 *cert;			// carries evidence about its key; one reference is taken
	EVP_PKEY *key;			// ECDSA on P-256 or P-384; one reference is taken
	const struct measured *measured;	// of that evidence; copied
	unsigned int heartbeat_s;	// at most 255; 0: sessions may be silent
	uint32_t transfer_size;		// the longest message that is taken at once; 0: what a frame carries
	// New evidence about this key, nonce and session: the content of a certificate's evidence extension. *content: free. NULL: not
	// to be asked for.
	int (*prove)(void *ctx, const uint8_t nonce[32], const uint8_t exporter[32], uint8_t **content, size_t *len, struct fault *f);
	void *ctx;
};

// -EINVAL: a key that does not sign here; -E2BIG: a certificate that is too long; -ENOMEM.
int responder_new(struct responder **out, const struct responder_options *o, struct fault *f);
void responder_free(struct responder *r);
// How often all responders that share it, in whichever processes, ask for new evidence is bounded as well. It begins as 0, and outlives them.
void responder_share_evidence(struct responder *r, _Atomic int64_t *until_ms);

// What came of a frame: where a program's data are, until the next call.
struct spdm_event {
	const uint8_t *data;
	size_t len;
	bool data_end;		// no more data will come
};

// A whole frame's content, which is overwritten. Answers are appended to `out`, also when it fails; then the connection is to be closed once they are
// sent. -EPROTO: no SPDM; -EBADMSG: a record that does not hold; -ENOMEM; -EIO: this side fails. Refusals that leave the connection usable are no
// errors.
int responder_input(struct responder *r, const struct spdm_frame *head, uint8_t *bytes, int64_t now_ms, struct buffer *out, struct spdm_event *e,
		    struct fault *f);
// Data in the session, at most SPDM_DATA_MAX at once; none and `end`: no more will come. -ENOTCONN without a session.
#define SPDM_DATA_MAX 32768
int responder_send(struct responder *r, const void *bytes, size_t len, bool end, struct buffer *out);
// The session is there; it has been there and was ended by the requester.
bool responder_open(const struct responder *r);
bool responder_ended(const struct responder *r);
// When the session is over unless something comes; -1: never. responder_expired then says so, and ends it.
int64_t responder_due_ms(const struct responder *r);
bool responder_expired(struct responder *r, int64_t now_ms);
// The last request that was refused, in words; "" when none was.
const char *responder_refusal(const struct responder *r);

#endif
