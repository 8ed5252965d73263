// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: the requester's insides, for requester*.c.
#ifndef COFFER_SPDM_REQUESTER_STATE_H
#define COFFER_SPDM_REQUESTER_STATE_H

#include "spdm/chain.h"
#include "spdm/message.h"
#include "spdm/requester.h"
#include "spdm/secured.h"

#define REQUESTER_MAX_MESSAGE (128u << 10)	// put together from pieces
#define REQUESTER_MAX_CHECKS 16

// What the answer that is awaited belongs to; the order is the conversation's.
enum step {
	STEP_BEGIN, STEP_VERSION, STEP_CAPABILITIES, STEP_ALGORITHMS, STEP_DIGESTS, STEP_CERTIFICATE, STEP_CHALLENGE, STEP_CLEAR_MEASUREMENTS,
	STEP_KEY_EXCHANGE, STEP_FINISH, STEP_MEASUREMENTS, STEP_EVIDENCE, STEP_OPEN, STEP_ENDED,
};

// A whole answer, which belongs to r->request.
struct response {
	const uint8_t *bytes;
	size_t len;
	struct spdm_head head;
	bool in_session;
};

struct requester {
	struct requester_options o;
	enum step step;
	bool waiting;			// for the answer to `request`
	struct buffer request;		// as it was sent
	int64_t asked_ms;		// of heartbeats
	struct buffer vca;
	struct spdm_capabilities peer;
	struct suite suite;
	uint32_t measurement_hash;
	uint8_t chain_hash[SUITE_MAX_HASH];
	struct buffer chain;
	X509 *leaf;
	struct transcript m;
	uint8_t nonce[SPDM_NONCE_BYTES];
	json_t *claims;			// NULL: not judged yet
	struct measured measured;	// of the claims
	json_t *blocks;			// of the last answer, for the report
	EVP_PKEY *dhe;			// of KEY_EXCHANGE
	uint16_t half;			// of the session's number
	struct session session;
	uint16_t secured_version;
	uint8_t beat_s, tag;
	bool proved;			// by new evidence in the session
	unsigned int updates;
	struct buffer large;		// an answer that comes in pieces
	uint32_t large_total;
	uint16_t chunk;
	uint8_t handle;
	bool chunking;
	unsigned int check_count;
	const char *checks[REQUESTER_MAX_CHECKS];	// that were passed
	const char *failed;				// the one that was not; NULL
};

// Notes a check. 0, or -EKEYREJECTED and why it failed, with its name before it.
__attribute__((format(printf, 5, 6))) int requester_check(struct requester *r, const char *name, bool passed, struct fault *f, const char *format,
							  ...);

// Sends r->request, within the session if there is one.
int requester_ask(struct requester *r, struct buffer *out);
struct buffer *requester_request(struct requester *r);	// emptied, for a new one

// Answers, and what is asked next (requester_prove.c).
int take_digests(struct requester *r, const struct response *a, struct buffer *out, struct fault *f);
int take_certificate(struct requester *r, const struct response *a, struct buffer *out, struct fault *f);
int take_challenge(struct requester *r, const struct response *a, struct buffer *out, struct fault *f);
int take_measurements(struct requester *r, const struct response *a, struct buffer *out, struct fault *f);
int take_key_exchange(struct requester *r, const struct response *a, struct buffer *out, struct fault *f);
int take_finish(struct requester *r, const struct response *a, struct buffer *out, struct fault *f);
int take_evidence(struct requester *r, const struct response *a, struct buffer *out, struct fault *f);
int ask_digests(struct requester *r, struct buffer *out);

#endif
