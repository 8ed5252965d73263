// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: AES-256-GCM (NIST SP 800-38D) by libIPSec_MB, through seal/gcm.h, and of what lies in several places, which that has not. A short
// record costs a quarter of the instructions that the way to OpenSSL's AEAD takes, a long one less than half of the time. No I/O; no locks.
#ifndef COFFER_RATLS_GATHER_H
#define COFFER_RATLS_GATHER_H

#include "seal/gcm.h"

struct gather_piece {
	const uint8_t *bytes;
	size_t len;	// may be 0
};

// Chooses the implementation, once and for all threads; before anything of gcm.h is called. False: this CPU has none.
bool gather_ready(void);
// Seals the pieces, behind each other, into `out`, which does not overlap, with the tag behind them.
void gather_seal(const struct gcm_key *k, uint8_t *out, const struct gather_piece *pieces, size_t count, const uint8_t nonce[12], const void *aad,
		 size_t aad_len);

#endif
