// SPDX-License-Identifier: Apache-2.0
// One portable file with everything that a verification needs, so that it can be made anywhere and again later: evidence, collateral,
// event log, the time at which it was collected. A JSON object of texts, which a person can read; bytes are base64 (lists also hex or
// PEM). The names of Intel's collateral are those that PCCS tools use, so their files can be taken as they are. Untrusted: nothing in a
// bundle is believed, roots are never taken from one. Immutable after reading; no locks.
#ifndef COFFER_ATTEST_BUNDLE_H
#define COFFER_ATTEST_BUNDLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "lib/fault.h"

#define BUNDLE_MAX_BYTES (16u << 20)
#define BUNDLE_FORMAT "coffer-evidence-1"
#define BUNDLE_MAX_BLOBS 24

// Members. Texts: time, tcb_info, tcb_info_signature, qe_identity, qe_identity_signature, *_chain, certificates, tpm_certificates, format,
// init_data, init_data_format (initdata.h).
// Bytes: all others. tpm_pcrs: an object of register numbers and hex.
// device_evidence_list: evidence of GPUs as clients of the KBS protocol write it; gpu_crl: revocation lists for it.
extern const char *const bundle_members[];	// up to NULL

struct bundle {
	json_t *json;
	// What was decoded, by member; freed with the bundle.
	unsigned int count;
	struct {
		const char *name;
		uint8_t *bytes;
		size_t len;
	} blobs[BUNDLE_MAX_BLOBS];
};

// True for what bundle_read would take: an object of JSON.
bool bundle_looks(const uint8_t *bytes, size_t len);
// Reads untrusted JSON: a bundle, or a file of collateral alone. Unknown members are refused by name. -EINVAL.
int bundle_read(struct bundle *b, const uint8_t *bytes, size_t len, struct fault *f);
// An empty one; -ENOMEM.
int bundle_init(struct bundle *b);
void bundle_free(struct bundle *b);

// Takes over what `other` has and `b` lacks.
void bundle_merge(struct bundle *b, const struct bundle *other);
// The same, but its collateral counts before what `b` has: a bundle comes from whoever wants to be believed, and may hold an older
// revocation list that is still valid.
void bundle_prefer(struct bundle *b, const struct bundle *other);
int bundle_put_bytes(struct bundle *b, const char *name, const void *bytes, size_t len);
// The same for a member that may have been decoded already: what bundle_bytes gave for it is gone.
int bundle_replace_bytes(struct bundle *b, const char *name, const void *bytes, size_t len);
// A text that others may have as well; the reference stays the caller's.
int bundle_put_shared(struct bundle *b, const char *name, json_t *text);
int bundle_put_text(struct bundle *b, const char *name, const char *text, size_t len);

// A member as text or decoded; NULL when it is missing or malformed. Valid until bundle_free, or the member is put anew.
const char *bundle_text(const struct bundle *b, const char *name, size_t *len);
const uint8_t *bundle_bytes(struct bundle *b, const char *name, size_t *len);
// The time that it was collected at, or -1.
time_t bundle_time(const struct bundle *b);

#endif
