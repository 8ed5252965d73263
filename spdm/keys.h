// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: the keys of one session (DSP0274 section "Key schedule") and its records (DSP0277). Each direction has a key, a start value and a
// count; a record opens once, in its place. Wiped by keys_free. No locks; one owner.
#ifndef COFFER_SPDM_KEYS_H
#define COFFER_SPDM_KEYS_H

#include "spdm/buffer.h"
#include "spdm/suite.h"

#define RECORD_HEAD 6			// session and length, over TCP
#define RECORD_MAX 65533		// what a frame may carry
#define RECORD_OVERHEAD (RECORD_HEAD + 2 + SUITE_TAG)
#define RECORD_MAX_TEXT (RECORD_MAX - RECORD_OVERHEAD)

struct direction {
	uint8_t secret[SUITE_MAX_HASH];
	uint8_t key[SUITE_KEY], iv[SUITE_IV];
	uint64_t sequence;		// of the next record
};

struct keys {
	struct suite suite;
	struct direction request, response;
	uint8_t request_finished[SUITE_MAX_HASH], response_finished[SUITE_MAX_HASH];
	uint8_t handshake[SUITE_MAX_HASH];	// what the next step is derived from
	uint8_t exporter[SUITE_MAX_HASH];
};

// After KEY_EXCHANGE_RSP: the keys of FINISH, from the shared secret and TH1. False: OpenSSL fails.
bool keys_handshake(struct keys *k, const struct suite *s, const uint8_t *secret, size_t len, const uint8_t *th1);
// After FINISH_RSP: the keys of all that follows, from TH2. Forgets what came before.
bool keys_application(struct keys *k, const uint8_t *th2);
// A new key for a direction, from the one that it has; counts anew.
bool keys_update(const struct keys *k, struct direction *d);
// 32 bytes that only the ends of this session know, for proofs of it.
bool keys_exporter(const struct keys *k, const char *label, uint8_t out[32]);
void keys_free(struct keys *k);

// Appends the record of `len` bytes (at most RECORD_MAX_TEXT) to b. sequence_len: how many bytes of the count go with it (0 over TCP). -EINVAL:
// too long; -ENOMEM.
int record_seal(struct direction *d, uint32_t session, size_t sequence_len, const void *bytes, size_t len, struct buffer *b);
// Opens a record in place: the text is in `bytes`. -EINVAL: malformed; -EBADMSG: not made with this key, or not in this place; -ENOMEM.
int record_open(struct direction *d, uint32_t session, size_t sequence_len, uint8_t *bytes, size_t len, uint8_t **text, size_t *text_len);

#endif
