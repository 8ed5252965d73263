// SPDX-License-Identifier: Apache-2.0
// Azure's confidential VMs: the paravisor (HCL) asks the hardware for a report at boot and keeps it in the vTPM. The report binds a JSON text
// that names the vTPM's keys; the vTPM's quotes carry the nonce and the registers. So trust runs hardware -> JSON -> attestation key ->
// quote. Layout: Microsoft's "Confidential VM attestation report". No network, no clock of its own, no locks.
#ifndef COFFER_ATTEST_HCL_H
#define COFFER_ATTEST_HCL_H

#include "attest/dcap.h"
#include "attest/snp.h"
#include "attest/tpm.h"

enum hcl_hardware { HCL_SNP = 2, HCL_TDX = 4 };

struct hcl_report {
	enum hcl_hardware hardware;
	const uint8_t *report;		// SNP: the report; TDX: the TD report, of which a quote must be had from the machine's host
	size_t report_len;
	const char *runtime;		// the bound JSON
	size_t runtime_len;
	uint16_t hash;			// by which it is bound
};

// Reads the untrusted blob. -EINVAL and which field. Bytes behind the JSON are allowed: the vTPM's slot has a fixed size.
int hcl_parse(const uint8_t *bytes, size_t len, struct hcl_report *h, struct fault *f);

// The vTPM's attestation key as the JSON names it ("HCLAkPub"). NULL and why; EVP_PKEY_free by the caller.
EVP_PKEY *hcl_attestation_key(const struct hcl_report *h, struct fault *f);

struct hcl_input {
	const uint8_t *blob;
	size_t blob_len;
	const struct snp_input *snp;	// chain, roots, time; report and report_data are taken from the blob
	const struct dcap_input *dcap;	// TDX: the quote and its collateral
	const struct tpm_input *tpm;	// quote, signature, nonce, registers, log; key and trust are taken from the blob. NULL: none
};

// Makes every check that can be made: the hardware's (snp_verify, dcap_verify), "hcl-format", "hcl-binding", the vTPM's (tpm_verify).
void hcl_verify(const struct hcl_input *in, struct attest_result *out);

#endif
