// SPDX-License-Identifier: Apache-2.0
// Inside broker/: certificates as identities.
#ifndef COFFER_BROKER_IDENTITY_CERT_H
#define COFFER_BROKER_IDENTITY_CERT_H

#include <openssl/x509.h>

#include "broker/identities.h"

// "x509:" and the SHA-256 of the certificate in hex.
int certificate_keyid(X509 *cert, char keyid[IDENTITY_KEYID]);
// The identity of the first of its names that is listed: those of subjectAltName (email, DNS, URI), the common name where there are none. -ENOENT.
int certificate_find(struct identities *s, X509 *cert, struct identity *who, struct fault *f);

#endif
