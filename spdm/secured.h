// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: a secured session as both ends have it: its number, its transcript, its keys, and messages and data in records and frames. One
// session a connection. No I/O, no clock, no locks.
#ifndef COFFER_SPDM_SECURED_H
#define COFFER_SPDM_SECURED_H

#include "lib/fault.h"
#include "spdm/frame.h"
#include "spdm/keys.h"

#define SESSION_LABEL "Coffer SPDM evidence"	// of the exporter value that evidence is bound to
#define SESSION_MAX_RECORDS (1ull << 32)		// with one key; then a new one is due, or nothing goes
#define SESSION_MAX_MESSAGE (RECORD_MAX_TEXT - SPDM_FRAME_HEAD)

enum session_state {
	SESSION_NONE,
	SESSION_HANDSHAKE,	// after KEY_EXCHANGE_RSP: FINISH may come
	SESSION_OPEN,
};

struct session {
	enum session_state state;
	bool requester;			// this end
	uint32_t id;
	struct transcript th;
	struct keys keys;
	// The requester's, while an answer to KEY_UPDATE is out: the keys that its answer has, which data that was sent before it does not have.
	bool changing;
	struct direction next;
};

// The session's number from both halves.
static inline uint32_t secured_number(uint16_t requester, uint16_t responder)
{
	return requester | (uint32_t)responder << 16;
}

// What the transcript of a key exchange begins with: the messages up to ALGORITHMS, the certificates' digest. False: OpenSSL fails.
bool secured_begin(struct session *s, const struct suite *suite, const struct buffer *vca, const uint8_t *chain_hash);
// With KEY_EXCHANGE and KEY_EXCHANGE_RSP up to its signature in the transcript: the handshake's keys. `own` is this end's key, `point` the other's.
bool secured_derive(struct session *s, const struct suite *suite, EVP_PKEY *own, const uint8_t *point);
// The verify data of the requester's FINISH, or the responder's, over the transcript so far.
bool secured_verify_data(const struct session *s, bool of_requester, uint8_t out[SUITE_MAX_HASH]);
// After FINISH_RSP: the session's own keys.
bool secured_open(struct session *s);

// Appends a frame with a message (SPDM_CLEAR), data, or their end in a record of this end. -EOVERFLOW, -ENOMEM, -EINVAL: too long.
int secured_seal(struct session *s, enum spdm_frame_type type, const void *bytes, size_t len, struct buffer *out);
// Opens a frame's content in place. -EBADMSG: made with other keys, altered, or not in this place; -EINVAL and what is malformed.
int secured_unseal(struct session *s, uint8_t *bytes, size_t len, enum spdm_frame_type *type, uint8_t **text, size_t *text_len, struct fault *f);

// Forgets all.
void secured_close(struct session *s);

#endif
