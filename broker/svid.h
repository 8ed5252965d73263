// SPDX-License-Identifier: Apache-2.0
// Inside broker/: SPIFFE identities as documents (X509-SVID, JWT-SVID, trust bundle), as the SPIFFE specifications have them. Pure; who may have
// which identity is svid_api.c's.
#ifndef COFFER_BROKER_SVID_H
#define COFFER_BROKER_SVID_H

#include <openssl/x509.h>
#include <stdbool.h>

#include "broker/signer.h"

#define SVID_X509_SECONDS 3600	// unless the owner says otherwise
#define SVID_JWT_SECONDS 300
#define SVID_AUTHORITY_SECONDS (10 * 365 * 86400ll)
#define SVID_MAX_DOMAIN 255
#define SVID_ID_TEXT (9 + SVID_MAX_DOMAIN + 1 + 64 + 1)

// A trust domain's name: lower-case letters, digits, . _ -
bool svid_domain_valid(const char *domain);
// One segment of a path: letters, digits, . _ -, at most 64, not . or ..
bool svid_name_valid(const char *name);
void svid_id(char out[SVID_ID_TEXT], const char *domain, const char *name);

// The authority's certificate: the same subject and key each time it is made for a key. NULL on failure.
X509 *svid_authority(const struct signer *s, const char *domain);
// For a workload's public key, good from a minute before now for so long. NULL on failure.
X509 *svid_leaf(const struct signer *s, const char *domain, const char *name, EVP_PKEY *key, time_t now, unsigned int seconds);
// malloc'ed; NULL on failure. `audience`: a list of texts.
char *svid_jwt(const struct signer *s, const char *issuer, const char *domain, const char *name, const json_t *audience, time_t now);

// A certificate as PEM (malloc'ed) or as base64 of DER, as x5c has it.
char *svid_pem(X509 *cert);
char *svid_x5c(X509 *cert);

#endif
