// SPDX-License-Identifier: Apache-2.0
// Inside broker/: SPIFFE identities for attested workloads. An identity is a resource, spiffe/svid/NAME: who may have it is what any policy or
// rule says of resources, and on record like it.
#ifndef COFFER_BROKER_SVID_API_H
#define COFFER_BROKER_SVID_API_H

#include "broker/api.h"

#define SVID_RESOURCE "spiffe/svid/"

BROKER_HANDLER(svid_mint);	// POST /kbs/v0/svid {"name": ..., "audience": [...]}
BROKER_HANDLER(svid_bundle);	// GET /spiffe/bundle

#endif
