// SPDX-License-Identifier: Apache-2.0
// Appraisal of claims: named conditions, each of which becomes a check, so that a refusal names the claim, the value
// expected and the value found. A zeroed policy is the strictest: real hardware, no debug, no measurement allowed.
#ifndef COFFER_ATTEST_POLICY_H
#define COFFER_ATTEST_POLICY_H

#include "attest/result.h"

// Lowest security versions of an SNP platform; what is 0 is not asked for. `fmc` counts on Turin only.
struct attest_snp_tcb {
	int fmc, bootloader, tee, snp, microcode;
};

#define ATTEST_MEASUREMENT_HEX 97	// 96 digits and the terminator

struct attest_policy {
	bool insecure_accept_simulated;	// `tee` may be "simulated"
	bool insecure_accept_debug;	// `dbgstat` may be "enabled"
	const char *const *tees;	// which hardware may be `tee`, up to NULL; NULL: only "snp"
	const char *const *tcb_status;	// which `tcb_status` will do beside "UpToDate", up to NULL; NULL: none
	struct attest_snp_tcb snp_minimum;	// of the reported, committed and launch versions
	bool require_revocation;	// revocation lists must have been given and checked
	const char *const *tpm_keys;	// a TPM's attestation keys that will do, up to NULL; empty or NULL: not asked
	const char *const *tpm_endorsement_keys;	// the same of endorsement keys, for attestation keys that were activated
	const char *const *cca_keys;	// the platform keys of Arm CCA that will do; NULL: not asked (the verifier knows)
	const json_t *pcrs;		// registers of a TPM and their acceptable values, {"7": ["hex", ...]}; NULL: not asked
	const char *const *anchors;	// which anchors of volumes will do ("broker", "tpm"), up to NULL; NULL: any, and none
	const char (*measurements)[ATTEST_MEASUREMENT_HEX];	// lower case; any one of them
	unsigned int measurement_count;
};

// Conditions on the platform: tee, dbgstat, and those of its kind (SNP: VMPL, migration; TDX: attributes; Intel: TCB status).
// Appends checks to r, whose claims are read.
void attest_appraise_platform(const struct attest_policy *p, struct attest_result *r);

// The condition on what runs there: measurement.
void attest_appraise_measurement(const struct attest_policy *p, struct attest_result *r);

// What the enclave states of its volumes: who remembers their newest state, so that a rollback is refused.
void attest_appraise_anchor(const struct attest_policy *p, struct attest_result *r);

#endif
