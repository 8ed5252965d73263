// SPDX-License-Identifier: Apache-2.0
// Makes SGX and TDX quotes with all their collateral under a test root, byte for byte in Intel's formats. A test takes the defaults,
// changes one thing and makes it anew. For tests only.
#ifndef COFFER_TESTS_ATTEST_MAKE_DCAP_H
#define COFFER_TESTS_ATTEST_MAKE_DCAP_H

#include "attest/dcap.h"
#include "tests/attest/make/pki.h"

#define MADE_NOW 1767225600	// 2026-01-01
#define MADE_DAY 86400

struct made_level {
	int svn, pce_svn, tdx0, tdx2;	// svn: each SGX component; 0 in `status`: the list ends
	const char *status, *date, *advisory;
};

struct made_module {
	const char *id;		// NULL: the list ends
	int svn[3];
	const char *status[3];
};

struct dcap_spec {
	bool tdx, td15;
	int version, ak_type;
	uint8_t sgx_flags;	// low byte of the enclave's attributes
	uint64_t td_attributes, seam_attributes;
	uint8_t tee_tcb_svn[3], tee_tcb_svn2[3], mrsigner_seam;
	int qe_svn, qe_prod_id;
	uint8_t qe_mrsigner, qe_flags;
	int platform_svn, platform_pce;
	const char *fmspc, *tcb_fmspc, *pce_id;	// hex
	const char *tcb_id, *qe_id;
	int tcb_version, qe_version;
	time_t tcb_issued, tcb_next, qe_issued, qe_next, crl_from, crl_to, pck_to;
	struct made_level levels[4];
	struct made_module modules[3];
	const char *qe_status;	// of the level that qe_svn 4 reaches; svn 2 is OutOfDate, 1 Revoked
	int revoke;		// 1: PCK certificate, 2: its authority, 3: TCB signer
	bool wrong_ak_hash, quote_signed_by_other, qe_signed_by_other, tcb_signed_by_ca, other_crl_issuer, tcb_tampered, qe_tampered;
	bool has_bound;		// report data: else 64 bytes 0xda
	uint8_t bound[64];
	bool no_root_in_chain, chain_shuffled, extra_certificate;
};

struct made {
	uint8_t quote[16 << 10];
	size_t quote_len;
	char *tcb, *qe, *tcb_chain, *crl_chain;
	uint8_t *root_crl, *pck_crl, *revoking;
	size_t revoking_len;	// a later list of the same authority, which names the platform
	struct dcap_collateral_parts parts;
	struct dcap_collateral *collateral;
};

extern const struct dcap_spec made_sgx, made_tdx;	// the defaults: all is well

// The test root, the same for all that a process makes.
X509 *made_root(void);

// Makes the whole; made_free by the caller.
void made_make(const struct dcap_spec *s, struct made *m);
void made_free(struct made *m);

#endif
