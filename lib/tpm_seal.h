// SPDX-License-Identifier: Apache-2.0
// A secret that only this TPM opens: sealed under its storage root key (P-256, made of the owner's seed each time), and if wanted only
// while chosen PCRs (bank SHA-256) have the values that they had. What travels is encrypted to that key. No locks.
#ifndef COFFER_LIB_TPM_SEAL_H
#define COFFER_LIB_TPM_SEAL_H

#include "lib/tpm.h"

#define TPM_SEAL_SECRET 32
#define TPM_SEAL_BLOB 512
#define TPM_PCRS 24

struct tpm_sealed {
	uint8_t root[TPM_NAME_BYTES]; // the storage root key's name
	uint32_t pcrs;		      // which count: a bit each
	uint8_t pcr[TPM_PCRS][32];    // their values when it was sealed
	uint8_t private[TPM_SEAL_BLOB], public[TPM_SEAL_BLOB];
	size_t private_len, public_len;
};

int tpm_seal(struct tpm *t, uint32_t pcrs, const uint8_t secret[TPM_SEAL_SECRET], struct tpm_sealed *out, struct fault *f);
// -EKEYREJECTED: another TPM, or it was cleared. -EPERM: PCRs have other values; the message names them. -EBADMSG: *s was changed.
int tpm_unseal(struct tpm *t, const struct tpm_sealed *s, uint8_t secret[TPM_SEAL_SECRET], struct fault *f);

#endif
