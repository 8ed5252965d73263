// SPDX-License-Identifier: Apache-2.0
// What `coffer verify` and `coffer evidence` share: evidence, collateral and logs from files into one bundle.
#ifndef COFFER_CLI_EVIDENCE_H
#define COFFER_CLI_EVIDENCE_H

#include "attest/bundle.h"
#include "attest/cert.h"
#include "attest/collateral.h"

struct evidence_files {
	const char *evidence;
	const char *collateral;	// a file, or a folder: a store of collateral
	const char *event_log;
	const char *store;	// a store beside that; "": the default one; NULL: none
};

// Raw evidence or a bundle, with what the others add. bundle_free by the caller.
int evidence_load(const struct evidence_files *files, struct bundle *b, struct fault *f);

// *cert: the file is one certificate, which may carry evidence (RA-TLS; X509_free); else NULL.
int evidence_certificate(const char *path, X509 **cert, struct fault *f);

// Adds what the store has for that evidence, if one was named; `n` tells what was wanted. To be called when the time is known.
int evidence_add_store(const struct evidence_files *files, struct bundle *b, time_t now, struct collateral_needs *n, struct fault *f);
// Says on stderr what is missing and which command fetches it; the number of items.
unsigned int evidence_missing(const struct evidence_files *files, const struct collateral_needs *n);

// Writes evidence with all that was given into one file; `complete`: refused when the store lacks something.
int evidence_pack(const struct evidence_files *files, const char *at, const char *output, bool complete, struct fault *f);

// "now", "recorded" (the bundle's own time) or 2025-06-19T10:16:03Z.
int evidence_time(const char *text, const struct bundle *b, time_t *t, struct fault *f);

// Certificates from a file, PEM or DER; path NULL: none.
int evidence_roots(const char *path, struct cert_list *l, struct fault *f);

#endif
