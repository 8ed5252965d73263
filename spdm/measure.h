// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: a CPU TEE's measurements as SPDM's measurement blocks: registers of its evidence, by fixed numbers (docs/spdm.md). The raw form of a
// block is the register, the other one its digest. Both ends make the same list: the responder of its own evidence, the requester of what it has
// verified. Pure.
#ifndef COFFER_SPDM_MEASURE_H
#define COFFER_SPDM_MEASURE_H

#include <jansson.h>

#include "attest/spdm.h"
#include "lib/fault.h"
#include "spdm/buffer.h"
#include "spdm/suite.h"

#define MEASURE_MAX 64			// registers
#define MEASURE_VALUE 64		// bytes of one
#define INDEX_EVIDENCE 0xef		// new evidence about this session, only when it is asked for by its number
#define INDEX_MANIFEST 0xfd		// JSON: the registers' names by their numbers
#define INDEX_MODE 0xfe

struct measured {
	unsigned int count;
	struct register_value {
		uint8_t index, type;
		const char *claim;	// "tdx.rtmr_0"
		uint8_t value[MEASURE_VALUE];
		size_t len;
	} registers[MEASURE_MAX];	// by ascending numbers
	bool debug;			// the host may look inside
};

// From claims of evidence (attest/).
void measured_from(const json_t *claims, struct measured *m);

// "mutable firmware"... by DMTFSpecMeasurementValueType.
const char *measure_type_name(uint8_t type);
// What a register of that number is called, or NULL.
const char *measure_claim(uint8_t index);

// The number of measurements, the evidence not counted.
unsigned int measured_count(const struct measured *m);
// Appends blocks: of all numbers (0xff), or of one. *blocks: how many. -ENOENT: no such number. `hash`: MeasurementHashAlgo.
int measured_record(const struct measured *m, uint32_t hash, uint8_t operation, bool raw, struct buffer *record, unsigned int *blocks);
// Appends one block of any content, raw.
void measure_block(struct buffer *record, uint8_t index, uint8_t type, const void *value, size_t len);
// The summary of that kind (message.h) into out. False: OpenSSL fails, or memory is short.
bool measured_summary(const struct measured *m, const struct suite *s, uint32_t hash, uint8_t summary_type, uint8_t out[SUITE_MAX_HASH]);

// What was answered to a request for all is what verified evidence says: each register once and the same, the mode, the manifest, and nothing else.
// -EBADMSG and which differs.
int measured_compare(const struct measured *m, uint32_t hash, const struct spdm_measurements *answer, struct fault *f);

#endif
