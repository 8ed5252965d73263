// SPDX-License-Identifier: Apache-2.0
// Signed JSON tokens (JWS compact form, RFC 7515) with ES256, the one algorithm that is spoken here. Pure; no locks.
#ifndef COFFER_LIB_JWS_H
#define COFFER_LIB_JWS_H

#include <jansson.h>
#include <openssl/evp.h>

#define JWS_MAX_BYTES (256u << 10)

// `header` gets "alg"; both are taken over. malloc'ed text, NULL on failure.
char *jws_sign(EVP_PKEY *p256, json_t *header, json_t *body);
// The same in two steps, where many tokens have one header: a part as base64url text (malloc'ed; takes *o over), and a token with such a header,
// which must have "alg": "ES256", of a body that is text of JSON. NULL on failure, and for NULL.
char *jws_part(json_t *o);
char *jws_sign_part(EVP_PKEY *p256, const char *header, const char *body);

// Which key may have signed a token with that header (untrusted): 0 and a new reference, or -errno.
typedef int jws_find(void *ctx, const json_t *header, EVP_PKEY **key);

// The body of an untrusted token, a new reference. Nothing but its header is looked at before the signature is found good. -EBADMSG, or
// what `find` said.
int jws_open(const char *token, jws_find *find, void *ctx, json_t **body);

// For jws_find: the key of a set {"keys": [...]} with that header's "kid"; without a kid, the only key. -ENOENT.
int jws_find_in_set(void *jwks, const json_t *header, EVP_PKEY **key);

#endif
