// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: what a connection that rests can do without. OpenSSL keeps the peer's certificate, with all the evidence in it, three times over as
// long as a connection lives; a gateway has ten thousand of them.
#ifndef COFFER_RATLS_SHED_H
#define COFFER_RATLS_SHED_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The certificate without its extensions: names and key, which is what proofs are compared with. malloc'ed, NULL without memory.
uint8_t *shed_extensions(X509 *cert, size_t *len);
// Back from that; NULL without memory.
X509 *shed_read(const uint8_t *bytes, size_t len);
// Puts a small certificate that says nothing in the place of this one's content. Whoever has a reference to it has that afterwards: nobody may be
// reading it.
void shed_certificate(X509 *cert);

#endif
