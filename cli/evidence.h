// SPDX-License-Identifier: Apache-2.0
// What `coffer verify` and `coffer evidence` share: evidence, collateral and logs from files into one bundle.
#ifndef COFFER_CLI_EVIDENCE_H
#define COFFER_CLI_EVIDENCE_H

#include "attest/bundle.h"

struct evidence_files {
	const char *evidence, *collateral, *event_log;
};

// Raw evidence or a bundle, with what the others add. bundle_free by the caller.
int evidence_load(const struct evidence_files *files, struct bundle *b, struct fault *f);

// "now", "recorded" (the bundle's own time) or 2025-06-19T10:16:03Z.
int evidence_time(const char *text, const struct bundle *b, time_t *t, struct fault *f);

#endif
