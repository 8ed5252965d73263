// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: the responder's insides, for responder.c and responder_session.c.
#ifndef COFFER_SPDM_RESPONDER_STATE_H
#define COFFER_SPDM_RESPONDER_STATE_H

#include "spdm/chain.h"
#include "spdm/message.h"
#include "spdm/responder.h"
#include "spdm/secured.h"

// Contexts of signatures.
#define CONTEXT_CHALLENGE "responder-challenge_auth signing"
#define CONTEXT_MEASUREMENTS "responder-measurements signing"
#define CONTEXT_KEY_EXCHANGE "responder-key_exchange_rsp signing"

enum stage { STAGE_NONE, STAGE_VERSION, STAGE_CAPABILITIES, STAGE_ALGORITHMS, STAGE_ANY };

struct request {
	const uint8_t *bytes;
	size_t len;
	bool in_session;
};

struct responder {
	X509 *cert;
	EVP_PKEY *key;
	struct measured measured;
	int (*prove)(void *ctx, const uint8_t nonce[32], const uint8_t exporter[32], uint8_t **content, size_t *len, struct fault *f);
	void *ctx;
	uint8_t heartbeat_s;
	uint32_t transfer_size;

	enum stage stage;
	struct buffer vca;		// the messages up to ALGORITHMS, which begin every transcript
	struct spdm_capabilities peer;
	struct suite suite;
	uint32_t measurement_hash;	// MeasurementHashAlgo; 0: no measurements
	struct buffer chain;
	uint8_t chain_hash[SUITE_MAX_HASH];
	struct transcript m, l;		// of CHALLENGE, of GET_MEASUREMENTS
	bool l_in_session;
	struct session session;
	uint8_t beat_s;			// what was said in KEY_EXCHANGE_RSP
	int64_t heard_ms;		// when a record came last
	int64_t now_ms;			// of this frame
	_Atomic int64_t *all_evidence;	// the same of all connections; NULL: they are not counted
	int64_t evidence_until_ms;	// what new evidence was asked for counts until then
	bool open_due, close_due;	// once the answer is sealed
	bool verify_due;		// the requester must show its new key
	bool ended;

	struct buffer answer;
	struct buffer large;		// an answer that is fetched in pieces
	bool large_in_session;
	uint8_t handle;
	uint16_t chunk;			// which piece is next
	uint32_t chunk_at;
	uint8_t error, error_data;
	struct fault refusal;
};

int responder_refuse(struct responder *r, uint8_t code, const char *why);

int responder_key_exchange(struct responder *r, const struct request *q, struct buffer *b);
int responder_finish(struct responder *r, const struct request *q, struct buffer *b);
int responder_heartbeat(struct responder *r, const struct request *q, struct buffer *b);
int responder_key_update(struct responder *r, const struct request *q, struct buffer *b);
int responder_end_session(struct responder *r, const struct request *q, struct buffer *b);
int responder_chunk_get(struct responder *r, const struct request *q, struct buffer *b);

// The longest message that the requester takes at once.
size_t responder_most(const struct responder *r);
// An answer that the requester does not take at once waits for CHUNK_GET, or is refused.
int responder_fit(struct responder *r, const struct request *q, struct buffer *b);
// What an answer changes once it has been sealed.
int responder_after(struct responder *r, struct fault *f);

#endif
