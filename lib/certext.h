// SPDX-License-Identifier: Apache-2.0
// Extensions of certificates that are being made.
#ifndef COFFER_LIB_CERTEXT_H
#define COFFER_LIB_CERTEXT_H

#include <openssl/x509v3.h>
#include <stdbool.h>

// Adds the extension `nid` with `value` as x509v3_config(5) has it ("critical,CA:FALSE"). issuer: whose key identifier "keyid" means; *cert itself
// when it is self-signed. False: it cannot be made.
bool certext_add(X509 *cert, X509 *issuer, int nid, const char *value);

#endif
