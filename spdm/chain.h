// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: certificate chains as a slot holds them (DSP0274 "Certificates and certificate chains"): length, two zeros, the root's digest,
// certificates in DER, the root's or its first child's first, the leaf last. A CPU TEE's has one certificate, which is its own root and carries
// evidence (docs/ra-tls.md).
#ifndef COFFER_SPDM_CHAIN_H
#define COFFER_SPDM_CHAIN_H

#include <openssl/x509.h>

#include "lib/fault.h"
#include "spdm/buffer.h"
#include "spdm/suite.h"

// -E2BIG: longer than a slot can be; -ENOMEM.
int chain_write(struct buffer *b, const struct suite *s, X509 *cert, struct fault *f);
// The leaf of an untrusted one whose links all hold and whose root is the one that its digest names. *leaf: X509_free. Nothing is said of trust.
// -EINVAL or -EBADMSG and why.
int chain_read(const uint8_t *bytes, size_t len, const struct suite *s, X509 **leaf, struct fault *f);

#endif
