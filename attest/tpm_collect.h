// SPDX-License-Identifier: Apache-2.0
// The attester's half of TPM evidence: an attestation key of the TPM's own, quotes by it, registers, certificates, and the answer to a
// challenge. Works with any TPM 2.0 that lib/tpm.h reaches (a device, swtpm), and with Azure's vTPM, whose key the paravisor made. Objects
// are made anew from the TPM's seed at each use and flushed: nothing is stored in it. Needs empty authorisation of the endorsement hierarchy,
// as TPMs have it in virtual machines and mostly elsewhere. No locks; one caller each.
#ifndef COFFER_ATTEST_TPM_COLLECT_H
#define COFFER_ATTEST_TPM_COLLECT_H

#include <stdbool.h>

#include "attest/bundle.h"
#include "attest/tpm_credential.h"
#include "lib/tpm.h"

#define TPM_DEFAULT_DEVICE "device:/dev/tpmrm0"

struct tpm_attester {
	struct tpm tpm;
	bool azure;		// the key is Azure's, under the paravisor's evidence
	uint32_t ak, ek;	// handles; ek 0: not made yet
	uint8_t ak_public[600], ek_public[600];	// TPM2B_PUBLIC
	size_t ak_len, ek_len;
};

// where: as tpm_open; NULL: the machine's device. -ENODEV: there is none; -EACCES: the hierarchy has a secret.
int tpm_attester_open(struct tpm_attester *a, const char *where, struct fault *f);
void tpm_attester_close(struct tpm_attester *a);

// The EK's certificate as it lies in the TPM (DER); -ENOENT: none. free() by the caller. Makes the EK of that kind (without one: P-256).
int tpm_attester_endorsement(struct tpm_attester *a, uint8_t **der, size_t *len, struct fault *f);

// A quote over the registers of the mask (SHA-256) and this nonce: fills tpm_quote, tpm_signature, tpm_key, tpm_pcrs, and `evidence` (Azure: the
// paravisor's report, else the quote).
int tpm_attester_quote(struct tpm_attester *a, uint32_t mask, const uint8_t *nonce, size_t nonce_len, struct bundle *out, struct fault *f);

// Answers a verifier's challenge; `credential` gets what was sealed to this TPM. -EACCES: it was for another key or TPM.
int tpm_attester_activate(struct tpm_attester *a, const struct tpm_challenge *c, uint8_t credential[TPM_CREDENTIAL_BYTES], struct fault *f);

// All of an NV index that the owner may read; free() by the caller. -ENOENT: there is none.
int tpm_attester_nv(struct tpm_attester *a, uint32_t index, uint8_t **bytes, size_t *len, struct fault *f);

#endif
