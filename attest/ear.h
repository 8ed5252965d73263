// SPDX-License-Identifier: Apache-2.0
// Reading attestation results that are tokens: EAR (EAT Attestation Results, draft-ietf-rats-ear) in a JWT signed with ES256, as the broker makes
// them (broker/ear.h). Pure; no locks.
#ifndef COFFER_ATTEST_EAR_H
#define COFFER_ATTEST_EAR_H

#include <time.h>

#include "lib/jws.h"

// A token that one of the keys made which `find` knows, and that has not expired: its body and its claims (new references; either may be NULL
// when nobody asks) and the TEE's key. -EBADMSG, -ESTALE expired, -ENOMEM.
int ear_open(jws_find *find, void *ctx, const char *token, time_t now, json_t **body, json_t **claims, EVP_PKEY **key);

#endif
