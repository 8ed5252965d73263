// SPDX-License-Identifier: Apache-2.0
// Evidence of any kind: finds out what it is and has it verified with what a bundle holds. No network, no clock of its own, no locks.
#ifndef COFFER_ATTEST_EVIDENCE_H
#define COFFER_ATTEST_EVIDENCE_H

#include <openssl/x509.h>

#include "attest/bundle.h"
#include "attest/result.h"

enum evidence_kind {
	EVIDENCE_UNKNOWN, EVIDENCE_SNP, EVIDENCE_SGX, EVIDENCE_TDX, EVIDENCE_HCL, EVIDENCE_CSV, EVIDENCE_CCA, EVIDENCE_TPM, EVIDENCE_LOG,
	EVIDENCE_GPU,
};

// What untrusted bytes look like. A TPM's quote (TPMS_ATTEST) is EVIDENCE_TPM, an event log EVIDENCE_LOG.
enum evidence_kind evidence_kind_of(const uint8_t *bytes, size_t len);
// "an Intel TDX quote"...
const char *evidence_kind_name(enum evidence_kind kind);

struct evidence_input {
	struct bundle *bundle;		// `evidence` and all that belongs to it
	const uint8_t *report_data;	// 64 bytes (TPM and Azure: see nonce); NULL: not checked
	const uint8_t *nonce;		// of a TPM's quote; NULL: not checked
	size_t nonce_len;
	X509 *const *simulated_roots;
	unsigned int simulated_root_count;
	const uint8_t *simulated_hrk;	// 832 bytes, or NULL
	X509 *const *tpm_roots;		// of makers of TPMs
	unsigned int tpm_root_count;
	const struct cert_revocation *tpm_revocation;	// of certificates under them; NULL: not checked
	X509 *const *gpu_roots;		// of makers of GPUs, beside NVIDIA's own
	unsigned int gpu_root_count;
	const uint8_t *gpu_nonce;	// 32 bytes, of GPUs beside other evidence; NULL: not checked (of GPUs alone: nonce)
	const char *const *tpm_keys;	// SHA-256 of acceptable attestation keys, up to NULL; or NULL
	const char *tpm_activated;	// SHA-256 of the attestation key that a known TPM has shown to hold (tpm_credential.h), hex; NULL
	const char *tpm_endorsement;	// then the SHA-256 of that TPM's endorsement key
	const char *const *cca_keys;	// SHA-256 of acceptable platform keys, up to NULL; or NULL
	bool strict;
	time_t now;
};

// Verifies; `out` is initialised by the caller. Returns the kind found; for EVIDENCE_UNKNOWN the check "format" says so.
enum evidence_kind evidence_verify(const struct evidence_input *in, struct attest_result *out);

#endif
