// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: what passes in a connection whose sides both make proofs of the session: frames of a type (one byte), a length (three, the highest first)
// and that many bytes. Pure; no locks.
#ifndef COFFER_RATLS_FRAME_H
#define COFFER_RATLS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define FRAME_HEAD 4
#define FRAME_NONCE 32
#define FRAME_MAX_PROOF (256u << 10)
#define FRAME_MAX_REASON 512

enum frame_type {
	FRAME_DATA,		// the program's bytes; at least one, so that who sends much of nothing is found out
	FRAME_CHALLENGE,	// a nonce: prove yourself
	FRAME_PROOF,		// content of an evidence extension with that nonce and this session; empty: there is none, or none now
	FRAME_VERDICT,		// empty: the proof is accepted; else why not, in words
	FRAME_END,		// no more data from this side; challenges are still answered
	FRAME_TYPES,
};

struct frame {
	enum frame_type type;
	uint32_t len;
};

// Reads an untrusted head. -EPROTO and what is wrong: another type, a length that this type does not have.
int frame_read(const uint8_t head[FRAME_HEAD], struct frame *out, struct fault *f);
void frame_write(uint8_t head[FRAME_HEAD], enum frame_type type, size_t len);

#endif
