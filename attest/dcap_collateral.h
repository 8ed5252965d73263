// SPDX-License-Identifier: Apache-2.0
// What Intel says about its platforms, as far as a verifier needs it: TCB info and the quoting enclave's identity with their issuers'
// chain, the revocation lists of root and PCK authority. Opened once and used for many quotes: the signatures are checked at
// opening, dates, revocation and trust in the root at each use. Immutable after opening but for the
// cache of platforms, which locks for itself: threads may share one.
#ifndef COFFER_ATTEST_DCAP_COLLATERAL_H
#define COFFER_ATTEST_DCAP_COLLATERAL_H

#include "attest/cert.h"
#include "attest/dcap_tcb.h"
#include "attest/pck_chain.h"

struct collateral_text {
	const char *bytes;	// NULL: not given
	size_t len;
};

// All as PCS hands them out. TCB info and identity: the whole answer ({"tcbInfo": ..., "signature": ...}), or only the inner object with
// its signature (hex) apart. Lists: DER or PEM. Chains: PEM.
struct dcap_collateral_parts {
	struct collateral_text tcb_info, tcb_info_signature, tcb_info_chain;
	struct collateral_text qe_identity, qe_identity_signature, qe_identity_chain;
	struct collateral_text root_crl, pck_crl, pck_crl_chain;
	struct collateral_text pck_chain;	// for quotes that only name their platform (certification data 1 to 3)
};

// A signed statement: good when its chain leads to a root and its signer signed the exact bytes.
struct collateral_signed {
	bool given, good;
	struct fault why;	// !good
	struct cert_list certs;
	X509 *chain[4];		// signer first, root last
	unsigned int count;
};

struct dcap_collateral {
	struct collateral_signed tcb_signed, qe_signed;
	struct tcb_info tcb;		// valid when tcb_signed.good
	struct qe_identity qe;		// valid when qe_signed.good
	X509_CRL *root_crl, *pck_crl;
	X509 *root_crl_issuer;		// whose signature on root_crl was checked; NULL: nobody's
	X509 *pck_crl_issuer, *pck_root;	// the same of pck_crl, and the root above it (its signature checked)
	struct cert_list crl_certs;
	struct shared_entry *pck;	// of pck_chain.h; NULL: none was given
};

// Never fails for what the parts hold: what is missing or wrong shows in the checks of each verification. -ENOMEM.
int dcap_collateral_open(const struct dcap_collateral_parts *parts, struct dcap_collateral **out);
void dcap_collateral_free(struct dcap_collateral *c);

// The first moment at which some part is no longer current, and which; -1 when nothing with a date was given.
time_t dcap_collateral_expires(const struct dcap_collateral *c, const char **part);

#endif
