// SPDX-License-Identifier: Apache-2.0
// RA-TLS: self-signed certificates that carry attestation evidence about their own key, in the form that the CCC's implementations exchange
// (docs/ra-tls.md), and the older ones that still occur. A certificate without evidence is an error here and never "no opinion".
// Pure over what is given; no locks.
#ifndef COFFER_RATLS_CERTIFICATE_H
#define COFFER_RATLS_CERTIFICATE_H

#include <openssl/x509.h>

#include "attest/bundle.h"
#include "attest/evidence.h"
#include "attest/result.h"

// CBOR tags of evidence.
#define RATLS_TAG_QUOTE 60000		// SGX and TDX
#define RATLS_TAG_SNP 0x1a7504		// librats'
#define RATLS_TAG_CSV 0x1a7506		// librats'
#define RATLS_TAG_TOKEN 0xc0c001	// a verifier's token about the key (EAR) in the place of evidence, as TNG has it
#define RATLS_TAG_BUNDLE 0xc0ffe2	// ours: a bundle, for hardware that has no tag of its own

#define RATLS_MAX_NONCE 64
#define RATLS_MAX_CLAIMS 32
#define RATLS_EXPORTER_BYTES 32
#define RATLS_OHTTP_KEYS_BYTES 32

enum ratls_form {
	RATLS_DICE,		// 2.23.133.5.4.9: evidence and a buffer of claims
	RATLS_GRAMINE,		// a bare quote over the key
	RATLS_INTEL,		// the same under the identifier of Intel's SDK
};

// What a certificate carries; points into it.
struct ratls_cert {
	enum ratls_form form;
	uint64_t tag;			// of RATLS_DICE
	const uint8_t *evidence;
	size_t evidence_len;
	const uint8_t *claims;		// the buffer that the evidence is bound to; NULL in the older forms
	size_t claims_len;
	unsigned int key_alg;		// of "pubkey-hash": 1 SHA-256, 7 SHA-384, 8 SHA-512
	const uint8_t *key_hash;
	size_t key_hash_len;
	const uint8_t *nonce;		// NULL: none
	size_t nonce_len;
	const uint8_t *exporter;	// RATLS_EXPORTER_BYTES: the TLS session that it was made in; NULL: none
	const uint8_t *ohttp_keys;	// RATLS_OHTTP_KEYS_BYTES: SHA-256 of the key configurations that it vouches for; NULL: none
	const uint8_t *endorsements;	// the second extension, CBOR; NULL: none
	size_t endorsements_len;
};

// The certificate has one of these extensions, well-formed or not.
bool ratls_cert_carries(X509 *cert);

// -ENODATA: no evidence in it; -EINVAL and what is malformed.
int ratls_cert_read(X509 *cert, struct ratls_cert *r, struct fault *f);

// The same from the content of an evidence extension that came another way: about a key that is known already.
int ratls_content_read(const uint8_t *bytes, size_t len, struct ratls_cert *r, struct fault *f);

// Evidence and endorsements into an initialised bundle. -EINVAL: malformed endorsements; -ENOMEM.
int ratls_cert_bundle(const struct ratls_cert *r, struct bundle *b, struct fault *f);

// What the evidence must be bound to: SHA-256 of the claims (older forms: of the key), then zeros. -ENOMEM.
int ratls_cert_report_data(X509 *cert, const struct ratls_cert *r, uint8_t out[64]);

// The certificate's own checks: its signature, its dates, that the claims name its key, that the evidence is of the kind that its tag says;
// and the claim "ratls". That the evidence is genuine and bound to the claims is evidence_verify's to say, with ratls_cert_report_data.
// Of tokens: the signer's to say.
void ratls_cert_check(X509 *cert, const struct ratls_cert *r, time_t now, struct attest_result *out);

// Those of content alone: its claims name the certificate's key, and evidence is of the kind that the tag says.
void ratls_content_check(X509 *cert, const struct ratls_cert *r, struct attest_result *out);

// The check "tls-session": the claim is this session's exporter value.
void ratls_content_check_session(const struct ratls_cert *r, const uint8_t exporter[RATLS_EXPORTER_BYTES], struct attest_result *out);

// The check "ohttp-keys": the claim is the digest of the key configurations that are looked at.
void ratls_content_check_ohttp(const struct ratls_cert *r, const uint8_t digest[RATLS_OHTTP_KEYS_BYTES], struct attest_result *out);

// The check "nonce" against the claim that came with the certificate. One without a nonce fails it.
void ratls_cert_check_nonce(const struct ratls_cert *r, const void *nonce, size_t len, struct attest_result *out);

// All of that up to the evidence: reads, checks, fills an initialised bundle and the report data that evidence_verify must find. False, with
// a failed check that says why, when there is nothing to verify.
bool ratls_cert_begin(X509 *cert, time_t now, struct ratls_cert *r, struct bundle *b, uint8_t report_data[64], struct attest_result *out);

// ---- making one (certificate_make.c) ----

struct ratls_cert_request {
	EVP_PKEY *key;			// stays the caller's
	const char *subject;		// the common name
	const void *nonce;		// what the verifier gave, at most RATLS_MAX_NONCE bytes; NULL: none
	size_t nonce_len;
	const uint8_t *exporter;	// RATLS_EXPORTER_BYTES of the session that it is for; NULL: none
	const uint8_t *ohttp_keys;	// RATLS_OHTTP_KEYS_BYTES, of an OHTTP gateway; NULL: none
	const char *token;		// a verifier's token, instead of evidence; NULL: none
	struct bundle *endorsements;	// collateral to be sent along, of SGX and TDX; NULL: none
	time_t now;
	unsigned int seconds;		// how long it is valid; it begins a minute before now, for clocks that differ
	// Asks the hardware: fills an initialised bundle ("evidence", "certificates") with evidence over these data.
	int (*evidence)(void *ctx, const uint8_t report_data[64], struct bundle *out, struct fault *f);
	void *ctx;
};

// *out: X509_free. What has no tag of its own goes as a bundle, which only Coffer reads.
int ratls_cert_make(const struct ratls_cert_request *q, X509 **out, struct fault *f);

// The content of the evidence extension alone. *out: free.
int ratls_content_make(const struct ratls_cert_request *q, uint8_t **out, size_t *len, struct fault *f);

// A certificate without evidence, for a side that need not prove anything.
int ratls_cert_make_plain(const struct ratls_cert_request *q, X509 **out, struct fault *f);

#endif
