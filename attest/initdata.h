// SPDX-License-Identifier: Apache-2.0
// Init-data: settings that a host hands to a confidential guest at its start, in the clear, and whose digest the hardware reports (SNP: host_data,
// TDX: mr_config_id, SGX: CONFIGID, CCA: the realm's personalization value; virtual machines with a vTPM: PCR 8). As Confidential Containers define
// them (Trustee, kbs/docs/initdata.md; the KBS protocol's `init-data`). No locks.
#ifndef COFFER_ATTEST_INITDATA_H
#define COFFER_ATTEST_INITDATA_H

#include "attest/evidence.h"

#define INITDATA_MAX_BYTES (1u << 20)

struct initdata {
	const char *algorithm;	// "sha256", "sha384", "sha512"; static text
	uint8_t digest[64];	// of the text
	size_t len;
};

// Digest of an untrusted text in the format "toml" or "json", by the hash that it names itself. -EINVAL with a message: another format, no
// `algorithm` or `version` on the first level, a hash that is not one of the three.
int initdata_digest(const char *format, const char *body, size_t len, struct initdata *out, struct fault *f);

// Where evidence came with init-data (members init_data and init_data_format of the bundle): the check "init-data", that this is what the hardware
// reported, and then the claims init_data.{algorithm, digest}. To be asked when the evidence's own claims are there.
void initdata_check(const struct bundle *b, enum evidence_kind kind, struct attest_result *out);

#endif
