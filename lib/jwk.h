// SPDX-License-Identifier: Apache-2.0
// What identifies a public key in JSON: its thumbprint (RFC 7638). Pure.
#ifndef COFFER_LIB_JWK_H
#define COFFER_LIB_JWK_H

#include <jansson.h>
#include <stdbool.h>

#define JWK_THUMBPRINT 44	// base64url of SHA-256, with the terminator

// Of a key of type EC, RSA or OKP; the members are taken as they are. "" and false when there are none, or memory is short.
bool jwk_thumbprint(const json_t *jwk, char out[JWK_THUMBPRINT]);

#endif
