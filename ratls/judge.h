// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: what a side believes about its peer: evidence in the peer's certificate, evidence made in the session, tokens. Verdicts are
// immutable and shared by reference counts; those about certificates are kept for a while by the certificates' exact bytes. Threads may share a
// judge: what it reads is fixed at its opening, but for collateral, which is looked at anew; the cache has a lock of its own.
#ifndef COFFER_RATLS_JUDGE_H
#define COFFER_RATLS_JUDGE_H

#include <openssl/x509.h>
#include <time.h>

#include "lib/fault.h"
#include "ratls/ratls.h"

// What a token's key signs for an OHTTP gateway's keys: a JWS of this type, good for so long.
#define OHTTP_PROOF_TYPE "coffer-ohttp-keys+jwt"
#define OHTTP_PROOF_SECONDS 3600

struct judge;

struct verdict {
	bool accepted;
	const char *model;	// "background-check", "passport", "x509", "none"
	time_t from, until;	// when it was reached, how long it holds
	char *claims, *checks;	// JSON
	char *reason;		// of a refusal: each failed check on a line of its own
	char *short_reason;	// the failed checks' names, as the peer may know them
	unsigned int refs;	// verdict_ref, verdict_release
};

int judge_open(struct judge **out, const struct ratls_options *o, struct fault *f);
void judge_close(struct judge *j);

time_t judge_now(const struct judge *j);

// A new reference; NULL without memory.
struct verdict *judge_certificate(struct judge *j, X509 *cert);
// The same, of a verdict that is kept; NULL: there is none, and it would take long.
struct verdict *judge_kept(struct judge *j, X509 *cert);
// The content of an evidence extension that came in the session whose exporter value this is, as the answer to this nonce.
struct verdict *judge_session(struct judge *j, X509 *cert, const uint8_t *content, size_t len, const uint8_t nonce[32], const uint8_t exporter[32]);
// What is said for the key configurations of an OHTTP gateway (docs/ohttp.md), apart from any TLS.
struct judge_ohttp {
	EVP_PKEY *key;			// of the first of them
	const uint8_t *digest;		// SHA-256 of the list of them
	const void *nonce;		// that was asked with; NULL: none, and then nothing says how old the answer is
	size_t nonce_len;
	const uint8_t *content;		// evidence: the content of an evidence extension; NULL: a token
	size_t content_len;
	const char *token, *proof;	// a verifier's token about some key, and what that key signed (JWS)
};

// A new reference; NULL without memory.
struct verdict *judge_ohttp(struct judge *j, const struct judge_ohttp *q);

// Of ordinary certificates, which OpenSSL has looked at; reason "" when they will do.
struct verdict *judge_ordinary(const char *model, const char *reason);

struct verdict *verdict_ref(struct verdict *v);
void verdict_release(struct verdict *v);

#endif
