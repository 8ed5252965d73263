// SPDX-License-Identifier: Apache-2.0
// Makes certificates and revocation lists under test roots. For tests only: aborts when something cannot be made.
#ifndef COFFER_TESTS_ATTEST_MAKE_PKI_H
#define COFFER_TESTS_ATTEST_MAKE_PKI_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct pki {
	X509 *cert;
	EVP_PKEY *key;
};

struct pki_extension {
	const char *oid;
	const uint8_t *bytes;
	int len;
};

// What makes a certificate one of a TPM's attestation key (tcg-kp-AIKCertificate).
extern const struct pki_extension pki_ak_usage[];

struct pki_spec {
	const char *name;
	const struct pki *issuer;	// NULL: signed by itself
	bool ca;
	const char *kind;		// "P-256", "P-384" or "RSA"
	time_t from, to;
	const struct pki_extension *extensions;	// the last has no oid
};

struct pki pki_make(const struct pki_spec *s);
void pki_free(struct pki *p);

// A list by `issuer` that revokes `revoked` (or nothing).
X509_CRL *pki_crl(const struct pki *issuer, X509 *revoked, time_t from, time_t to);

// DER of a list, PEM text of certificates up to NULL; free() by the caller.
uint8_t *pki_crl_der(X509_CRL *crl, size_t *len);
char *pki_pem(X509 *first, ...);

// r then s, each n bytes, big-endian, over SHA-256 (n = 32) or SHA-384 (48) of the message.
void pki_sign(EVP_PKEY *key, size_t n, const void *message, size_t len, uint8_t *rs);

// The public point: x then y, n bytes each.
void pki_point(EVP_PKEY *key, size_t n, uint8_t *xy);

#endif
