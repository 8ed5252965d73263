// SPDX-License-Identifier: Apache-2.0
// Verification of TPM 2.0 quotes: the attested structure, its signature, the registers (PCRs), the event log. Formats: "TPM 2.0 Library", part
// 2: TPMS_ATTEST, TPMT_SIGNATURE. Why the attestation key (AK) is trusted is the caller's to say and stands in the claims: a quote by a
// key of unknown origin proves nothing. No network, no clock of its own, no locks.
#ifndef COFFER_ATTEST_TPM_H
#define COFFER_ATTEST_TPM_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "attest/cert.h"
#include "attest/eventlog.h"
#include "attest/result.h"

#define TPM_PCRS 24
#define TPM_NONCE_MAX 64

struct tpm_quote {
	const uint8_t *signer, *nonce, *digest;	// qualifiedSigner, extraData, pcrDigest
	uint16_t signer_len, nonce_len, digest_len;
	uint64_t clock, firmware;
	uint32_t resets, restarts;
	bool safe;
	unsigned int bank_count;
	struct {
		uint16_t alg;
		uint32_t mask;
	} banks[4];		// what was selected, in order
};

struct tpm_signature {
	uint16_t scheme, hash;	// 0x14 RSASSA, 0x16 RSAPSS, 0x18 ECDSA
	const uint8_t *rsa;	// as many bytes as the key has
	size_t rsa_len;
	uint8_t rs[96];		// ECDSA: r then s, each as long as the curve's order
	size_t rs_half;
};

// Read untrusted bytes; nothing may follow. -EINVAL and which field.
int tpm_quote_parse(const uint8_t *bytes, size_t len, struct tpm_quote *q, struct fault *f);
int tpm_signature_parse(const uint8_t *bytes, size_t len, struct tpm_signature *s, struct fault *f);

// A public key: SubjectPublicKeyInfo as DER or PEM, or a TPM2B_PUBLIC / TPMT_PUBLIC. NULL and why; EVP_PKEY_free by the caller.
EVP_PKEY *tpm_key_read(const uint8_t *bytes, size_t len, struct fault *f);

// SHA-256 of the key's DER, as hex. False when memory is short.
bool tpm_key_digest(EVP_PKEY *key, char hex[65]);

// An RSA public key from modulus and exponent (0: 65537). NULL when memory is short.
EVP_PKEY *tpm_rsa_key(const uint8_t *n, size_t len, uint32_t e);

// Why the AK is believed to be a TPM's.
enum tpm_trust {
	TPM_TRUST_NONE,		// nothing says so: the check fails
	TPM_TRUST_ALLOWED,	// it is on the verifier's list
	TPM_TRUST_CERTIFICATE,	// a certificate names it, under one of the roots given
	TPM_TRUST_ACTIVATED,	// the TPM of a known EK showed by activate-credential that it holds it (done before, by the caller)
	TPM_TRUST_TEE,		// the TEE's own evidence names it (Azure)
};

struct tpm_input {
	const uint8_t *attest, *signature;
	size_t attest_len, signature_len;
	bool bare_signature;		// only the RSASSA/SHA-256 signature itself, without its TPMT_SIGNATURE
	EVP_PKEY *ak;
	struct verify_key *prepared;	// the same key, of callers that keep keys; NULL: made here
	const char *ak_digest;		// as tpm_key_digest gives it, for callers that keep keys; NULL: computed here, which costs more than RSA
	enum tpm_trust trust;
	const char *const *allowed;	// TPM_TRUST_ALLOWED: SHA-256 of acceptable AKs (DER), hex, up to NULL
	const struct cert_list *certificates;	// TPM_TRUST_CERTIFICATE: the AK's first
	X509 *const *roots;
	unsigned int root_count;
	const struct cert_revocation *revocation;	// of these certificates; NULL: not checked
	const uint8_t *nonce;		// NULL: not checked (and said so)
	size_t nonce_len;
	const uint8_t *const *pcrs;	// values by number, of the bank that was selected; NULL entries: not given
	const uint8_t *log;		// NULL: none
	size_t log_len;
	time_t now;
};

// Makes every check that can be made and fills claims under `tpm`; tee becomes "tpm" unless a TEE has said more already.
void tpm_verify(const struct tpm_input *in, struct attest_result *out);

#endif
