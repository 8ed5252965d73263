// SPDX-License-Identifier: Apache-2.0
// Hardware whose standing changes while an enclave on it is connected: TDX quotes under a test root, and the maker's collateral about them in a folder, for
// the judge's side to read. One at a time; for several threads of one judge.
#ifndef COFFER_TESTS_RATLS_STANDING_H
#define COFFER_TESTS_RATLS_STANDING_H

#include "tests/ratls/world.h"

// The root that such a judge takes (insecure_simulated_root).
void standing_write_root(const char *path);
// A folder of collateral, by which all is well.
void standing_begin(const char *dir);
void standing_end(void);
// A collector for struct ratls_options.
int standing_quote(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out);
// News: the platform is revoked (as its next quote shows), or else its firmware has fallen behind.
void standing_change(bool revoke);

#endif
