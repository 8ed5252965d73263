// SPDX-License-Identifier: Apache-2.0
// Whether an attestation key (AK) is in the same TPM as an endorsement key (EK) whose maker vouches for it: the verifier encrypts a secret to the EK
// under the AK's name, and only a TPM that holds both gives it out (TPM2_ActivateCredential; TPM 2.0 Library, part 1, 24). The verifier's half
// needs no TPM. Pure but for random bytes; no locks.
#ifndef COFFER_ATTEST_TPM_CREDENTIAL_H
#define COFFER_ATTEST_TPM_CREDENTIAL_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "attest/cert.h"
#include "attest/digest.h"
#include "lib/fault.h"

#define TPM_CREDENTIAL_BYTES 32

// An object's public part, as a TPM describes it.
struct tpm_public {
	EVP_PKEY *key;
	uint32_t attributes;
	uint8_t name[2 + DIGEST_MAX];	// hash algorithm, then the digest of the public part
	size_t name_len;
};

// Reads untrusted bytes (TPM2B_PUBLIC or TPMT_PUBLIC) of a signing key. -EINVAL. tpm_public_free after 0.
int tpm_public_read(const uint8_t *bytes, size_t len, struct tpm_public *p, struct fault *f);
void tpm_public_free(struct tpm_public *p);
// A key that signs only what the TPM itself says and that cannot leave it: without this a quote by it proves nothing. -EBADMSG and what it lacks.
int tpm_public_attests(const struct tpm_public *p, struct fault *f);

// The EK of a certificate chain (the EK's first) under one of the roots, valid now and made for EKs (tcg-kp-EKCertificate). Borrowed from the
// list. -EBADMSG, -ESTALE.
int tpm_ek_certified(const struct cert_list *certificates, X509 *const *roots, unsigned int root_count, const struct cert_revocation *revocation, time_t now,
		     EVP_PKEY **ek, struct fault *f);

struct tpm_challenge {
	uint8_t blob[256], secret[600];	// TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET
	size_t blob_len, secret_len;
};

// TPM2_MakeCredential: EKs of TCG's profile (RSA 2048, 3072; P-256, P-384). -EINVAL: another kind of key; -EIO.
int tpm_credential_make(EVP_PKEY *ek, const uint8_t *name, size_t name_len, const uint8_t credential[TPM_CREDENTIAL_BYTES], struct tpm_challenge *c,
			struct fault *f);

#endif
