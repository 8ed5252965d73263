// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: what a side shows of itself: its key, its certificate with evidence or a token, and proofs for one session. Threads may share one: a
// mutex guards the certificate, another the hardware, which is asked by one at a time and never with the first one held.
#ifndef COFFER_RATLS_SELF_H
#define COFFER_RATLS_SELF_H

#include <openssl/ssl.h>

#include "lib/fault.h"
#include "ratls/judge.h"
#include "ratls/ratls.h"

struct self;

int self_open(struct self **out, const struct ratls_options *o, struct fault *f);
void self_close(struct self *s);

// It has something that a peer could verify.
bool self_attests(const struct self *s);

// Whether a new connection is given a certificate: a client that has nothing to show shows none.
bool self_shows(const struct self *s, bool server);
// *out: a reference to the certificate, made anew when that is due. May it not be made, as that takes long, and has to be: -EINPROGRESS.
int self_current(struct self *s, bool may_make, X509 **out, struct fault *f);
// Gives it to a new connection.
int self_show(struct self *s, X509 *cert, SSL *ssl, struct fault *f);

// The current certificate and its key, for protocols other than TLS: X509_free, EVP_PKEY_free.
int self_certificate(struct self *s, X509 **cert, EVP_PKEY **key, struct fault *f);

// The content of an evidence extension for this session and nonce. *content: free.
int self_prove(struct self *s, const uint8_t nonce[32], const uint8_t exporter[32], uint8_t **content, size_t *len, struct fault *f);

// For an OHTTP gateway (docs/ohttp.md), over the digest of its key configurations and a client's nonce (NULL: none): the content of an evidence
// extension about `key`; or, of a side that has a token, that token and what its key signs. Each is malloc'ed; the other kind's stay NULL.
int self_vouch(struct self *s, EVP_PKEY *key, const uint8_t digest[32], const void *nonce, size_t nonce_len, uint8_t **content, size_t *len,
	char **token,
	       char **proof, struct fault *f);
// It has a token, so that vouching asks no hardware.
bool self_has_token(const struct self *s);

#endif
