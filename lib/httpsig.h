// SPDX-License-Identifier: Apache-2.0
// HTTP Message Signatures (RFC 9421) and Content-Digest (RFC 9530), the part that the broker and its owners speak: one signature a message,
// components without parameters, ECDSA P-256 and Ed25519. Strict: what is not canonical is refused, so that what was signed is what is read.
// No locks; fuzz_httpsig drives the parser.
#ifndef COFFER_LIB_HTTPSIG_H
#define COFFER_LIB_HTTPSIG_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define HTTPSIG_COMPONENTS 16
#define HTTPSIG_TEXT 129	// nonce, keyid: with the terminator
#define HTTPSIG_DIGEST 64	// "sha-256=:...:" with the terminator

struct httpsig {
	char component[HTTPSIG_COMPONENTS][32];	// lower case, "@method"...
	unsigned int count;
	int64_t created, expires;	// 0: not said
	char nonce[HTTPSIG_TEXT], keyid[HTTPSIG_TEXT], algorithm[32], tag[32];	// "": not said
	const char *params;		// inside the header: the inner list with its parameters, as it was sent
	size_t params_len;
	uint8_t signature[64];
};

// The values of Signature-Input and Signature. -EINVAL and why. *s points into `input`.
int httpsig_parse(struct httpsig *s, const char *input, const char *signature, struct fault *f);
bool httpsig_covers(const struct httpsig *s, const char *component);

// A component's value; NULL: the message does not have it, or it is not looked at.
typedef const char *httpsig_value(void *ctx, const char *component);

// What is signed: *base is malloc'ed. -EINVAL names the component that the message does not have.
int httpsig_base(const struct httpsig *s, httpsig_value *value, void *ctx, char **base, size_t *len, struct fault *f);

// -EKEYREJECTED: the signature does not hold, or names another algorithm than the key's.
int httpsig_verify(const struct httpsig *s, EVP_PKEY *key, const char *base, size_t len, struct fault *f);

// The header lines of a request (two, each ended by \r\n), malloc'ed. `components` is what stands between the parentheses.
int httpsig_sign(EVP_PKEY *key, const char *components, int64_t created, const char *nonce, const char *keyid, const char *tag, httpsig_value *value,
		 void *ctx, char **headers, struct fault *f);

// "sha-256=:...:" of a body.
void httpsig_digest(const void *body, size_t len, char out[HTTPSIG_DIGEST]);
// The value of a Content-Digest: sha-256 or sha-512 must be there, and hold; other algorithms are passed over. -EINVAL, -EBADMSG.
int httpsig_digest_check(const char *header, const void *body, size_t len, struct fault *f);

#endif
