// SPDX-License-Identifier: Apache-2.0
// Inside attest/: the certificates of one Intel platform (PCK certificate, its authority, a root) and what follows from their bytes alone: how they
// hang together, whether Intel's root is above them, what the platform is. Reading them costs more than all the signatures of a quote, and a platform
// sends the same ones each time: they are kept, by those bytes (shared_cache.h). Dates, revocation and whom a verifier trusts are not in here: they are
// looked at each time. Immutable but for the key's prepared contexts; threads share one.
#ifndef COFFER_ATTEST_PCK_CHAIN_H
#define COFFER_ATTEST_PCK_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "attest/cert.h"
#include "attest/dcap_tcb.h"
#include "attest/shared_cache.h"
#include "attest/verify_key.h"

struct pck_chain {
	struct cert_list certs;		// the platform's first; may be empty
	X509 *chain[3];			// platform, authority, root: signatures checked. When !err
	int err;
	struct fault why;
	bool intel_root;
	struct verify_key *key;		// the platform's
	bool platform_read, processor;	// the issuer is the processor CA, else the platform CA
	struct pck_platform platform;
	struct fault platform_why;	// !platform_read
};

// From PEM or DER; NUL characters behind the text, as quotes have them, do not count. const struct pck_chain *c = shared_object(e).
// NULL when memory is short. shared_release by the caller; shared_prove where the root turned out to be one that is trusted.
struct shared_entry *pck_chain_of(const void *bytes, size_t len);

// Its public key is that of the "Intel SGX Root CA".
bool dcap_root_is_intel(X509 *root);

#endif
