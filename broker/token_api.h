// SPDX-License-Identifier: Apache-2.0
// Inside broker/: what those who verify the broker's tokens ask for, and the owner's way to make it sign with a new key.
#ifndef COFFER_BROKER_TOKEN_API_H
#define COFFER_BROKER_TOKEN_API_H

#include "broker/api.h"

BROKER_HANDLER(token_jwks);		// GET /.well-known/jwks.json
BROKER_HANDLER(token_discovery);	// GET /.well-known/openid-configuration
BROKER_HANDLER(token_keys);		// GET /coffer/v0/signing-key
BROKER_HANDLER(token_rotate);		// POST /coffer/v0/signing-key {"ring": ...}

// jws_find over the keys for attestation results; ctx: struct broker *.
int token_find(void *ctx, const json_t *header, EVP_PKEY **key);

// What the master key gives besides secrets: opens the rings (the key that a broker from before kept in DIR/token.key is taken over, and the
// file removed), derives others.
int token_open(struct broker *b, const char *dir, const uint8_t master_key[32], struct fault *f);

#endif
