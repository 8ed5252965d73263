// SPDX-License-Identifier: Apache-2.0
// Verification of Intel SGX and TDX quotes. No network, no clock of its own, no locks: time, collateral and test roots are inputs.
#ifndef COFFER_ATTEST_DCAP_H
#define COFFER_ATTEST_DCAP_H

#include <openssl/x509.h>
#include <time.h>

#include "attest/dcap_collateral.h"
#include "attest/dcap_quote.h"
#include "attest/result.h"

struct dcap_input {
	const uint8_t *quote;
	size_t quote_len;
	const struct dcap_collateral *collateral;	// NULL: none, and the checks that need it fail
	const uint8_t *report_data;	// the 64 bytes that must be bound; NULL: not checked (and said so)
	X509 *const *simulated_roots;	// test roots that make the claim tee = "simulated"; Intel's is built in
	unsigned int simulated_root_count;
	bool strict;			// bytes behind the quote are refused; else they are ignored and counted in the claims
	time_t now;
};

// Makes every check that can be made and fills claims, also when some fail. tee is "sgx" or "tdx" only under Intel's root, "simulated"
// only under one of simulated_roots, else "unknown". Passing says that the quote is genuine and not revoked; how current the
// platform is stands in the claim tcb_status, for policy to judge (policy.h). `out` is initialised by the caller.
void dcap_verify(const struct dcap_input *in, struct attest_result *out);

// The claims of a quote alone, as untrusted as the quote itself.
void dcap_claims(const struct dcap_quote *q, json_t *out);

#endif
