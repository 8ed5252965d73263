// SPDX-License-Identifier: Apache-2.0
// Inside broker/: clients that attest with their TLS certificate (RA-TLS) instead of a request of their own. TLS has proved that the client
// has the certificate's key; here the evidence in it is verified, by the same rules as any.
#ifndef COFFER_BROKER_RATLS_H
#define COFFER_BROKER_RATLS_H

#include "broker/api.h"

// The certificate carries the nonce of this session, which it spends: the session is attested then, and its claims and key are those of
// session_get. Answers a refusal.
int ratls_ask(struct broker *b, const char *session, const struct http_request *q, struct http_response *r, json_t **claims, EVP_PKEY **key);

// No session: where the owner lets certificates be as old as `ratls_max_age`. Verified anew at each request.
int ratls_ask_by_age(struct broker *b, const struct http_request *q, struct http_response *r, json_t **claims, EVP_PKEY **key);

#endif
