// SPDX-License-Identifier: Apache-2.0
// Evidence as clients of the KBS protocol 0.4.0 (Confidential Containers) write it, one JSON form for each kind of hardware, read into a
// bundle. Bytes may be base64 text or lists of numbers, as serialisers of different languages write them. Untrusted; pure; no locks.
#ifndef COFFER_ATTEST_COCO_H
#define COFFER_ATTEST_COCO_H

#include <jansson.h>

#include "attest/evidence.h"

struct coco_tee {
	const char *name;		// as the protocol says it: "snp", "az-tdx-vtpm"...
	enum evidence_kind kind;	// what its evidence must turn out to be
	bool by_nonce;			// bound by the nonce of a TPM's quote, not by report data
	bool simulated;			// a name for simulated hardware
	const char *hardware;		// whose claims there must be, where the kind leaves it open; NULL
	int (*read)(const json_t *primary, struct bundle *b, struct fault *f);
};

// NULL when there is none of that name.
const struct coco_tee *coco_tee_find(const char *name);
// The names, for messages: "snp, tdx, ...".
const char *coco_tee_names(void);

// Reads untrusted evidence into an initialised bundle. -EINVAL and which field; -ENOMEM.
int coco_read(const struct coco_tee *tee, const json_t *primary, struct bundle *b, struct fault *f);

// The nonce that a TPM's quote must carry for this report data: clients give the digest as it is (48 bytes), with zeros (64), or its first
// 32 bytes. Which of these follows from what the quote has; its value does not.
size_t coco_nonce_len(struct bundle *b);

// Inside attest/: the 1184 bytes of an SNP report from its fields by name. -EINVAL and which.
int coco_snp_report(const json_t *fields, uint8_t report[1184], struct fault *f);
// The same the other way round, as verifiers of the KBS protocol read it; a new reference.
json_t *coco_snp_fields(const uint8_t report[1184]);
// Inside attest/: up to `size` bytes of a list of numbers. -EINVAL.
ssize_t coco_numbers(const json_t *list, uint8_t *out, size_t size);

#endif
