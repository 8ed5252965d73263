// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: proofs in a session, apart from the bytes' way: who has challenged whom, what is answered, and until when. Each side may be verifier,
// attester or both. Proofs are over the exporter value (RFC 8446 section 7.5) of the attester's role, so that none can be sent back or carried into
// another session; over the verifier's nonce, so that none can be kept; and over the key of the attester's certificate.
// Belongs to one connection; no locks, no clock, no I/O: frames to be sent are handed to `send`, and what takes long is handed out as work.
#ifndef COFFER_RATLS_EXCHANGE_H
#define COFFER_RATLS_EXCHANGE_H

#include "ratls/frame.h"
#include "ratls/judge.h"
#include "ratls/self.h"
#include "ratls/work.h"

#define EXCHANGE_LABEL "EXPORTER-Coffer-RA-TLS"	// with the context "client" or "server": the attester's role

struct exchange_state {
	struct judge *judge;		// NULL: this side verifies nothing
	struct self *self;
	X509 *peer;			// its certificate; exchange_close frees it. NULL after exchange_rest, if it has one:
	uint8_t *peer_small;		// without extensions
	size_t peer_small_len;
	bool peer_verifies;
	uint8_t own_exporter[32], peer_exporter[32];
	int (*send)(void *ctx, enum frame_type type, const void *bytes, size_t len);
	void *ctx;
	unsigned int renew_s, answer_s;

	uint8_t nonce[FRAME_NONCE];
	bool asked;			// a challenge is out
	bool judging;			// the answer is with who judges it
	int64_t answer_by_ms, renew_at_ms;	// monotonic; 0: not yet
	unsigned int proofs;		// of the peer's that were accepted
	unsigned int answers, verdicts;	// of ours that were sent and accepted
	int64_t answered_until_ms;	// the peer's challenges have used up the answers of so long
	struct verdict *verdict;	// the newest about the peer; NULL before the first
};

// Challenges the peer, unless it is challenged already, or its answer is being judged.
int exchange_challenge(struct exchange_state *x, int64_t now_ms, struct fault *f);

// A whole frame other than data and end. *work: what is to be done about it, for exchange_finish; NULL: nothing. One at a time: no challenge and no
// proof may be handed in while there is some. -EKEYREJECTED: the peer is refused; -EACCES: it refuses us; -EPROTO.
int exchange_take(struct exchange_state *x, enum frame_type type, const uint8_t *bytes, size_t len, int64_t now_ms, struct ratls_work **work,
		  struct fault *f);
// With work that is done; it stays the caller's. Errors as above, and -EIO: this side cannot prove itself.
int exchange_finish(struct exchange_state *x, struct ratls_work *w, int64_t now_ms, struct fault *f);

// Both sides know what they wanted to know: the program's data may flow.
bool exchange_done(const struct exchange_state *x);
// When something is due next; -1: nothing.
int64_t exchange_due_ms(const struct exchange_state *x);

// Makes itself small, until there is another proof.
void exchange_rest(struct exchange_state *x);
void exchange_close(struct exchange_state *x);

#endif
