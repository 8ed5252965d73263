// SPDX-License-Identifier: Apache-2.0
// Signed measurements of a device as SPDM carries them (DMTF DSP0274): the request GET_MEASUREMENTS, which bears the asker's nonce, and the answer
// MEASUREMENTS. Measurement blocks are DMTF's. Here GPUs' (version 1.1), whose signature covers both messages' bytes; spdm/ has a requester and a responder
// of version 1.2. Reads untrusted bytes; pure.
#ifndef COFFER_ATTEST_SPDM_H
#define COFFER_ATTEST_SPDM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define SPDM_NONCE_BYTES 32
#define SPDM_MAX_BYTES (64u << 10)
#define SPDM_MAX_BLOCKS 255
#define SPDM_P384_SIGNATURE 96

struct spdm_block {
	uint8_t index;		// from 1
	uint8_t type;		// DMTFSpecMeasurementValueType, without its top bit
	bool raw;		// the value itself; else its digest
	const uint8_t *value;
	uint16_t len;
};

struct spdm_measurements {
	uint8_t slot;				// of the certificate chain that was asked for
	uint8_t param1, param2;			// of the answer
	const uint8_t *nonce, *answer_nonce;	// of the request, of the answer
	unsigned int count;
	struct spdm_block blocks[SPDM_MAX_BLOCKS];
	const uint8_t *opaque;
	size_t opaque_len;
	size_t signed_len;			// bytes from the start that the signature covers
	const uint8_t *signature;
	size_t trailing;			// bytes behind it
};

// `signature` is its length: it follows from the algorithms that were agreed on before, of which the messages say nothing. -EINVAL and why.
int spdm_parse(const uint8_t *bytes, size_t len, size_t signature, struct spdm_measurements *m, struct fault *f);
// The answer alone, of that version (0x11, 0x12); signature 0: it has none. signed_len is counted from its first byte; slot and nonce are left.
int spdm_parse_answer(const uint8_t *bytes, size_t len, uint8_t version, size_t signature, struct spdm_measurements *m, struct fault *f);
// Whether these bytes begin as two such messages do.
bool spdm_looks(const uint8_t *bytes, size_t len);

#endif
