// SPDX-License-Identifier: Apache-2.0
// Configurations of TNG (Trusted Network Gateway), as ours: what means the same is carried over, and of each field that is not is said why and
// what to do. Reads and writes no file; no locks.
#ifndef COFFER_TUNNEL_IMPORT_H
#define COFFER_TUNNEL_IMPORT_H

#include <jansson.h>

#include "lib/fault.h"

// *yaml: malloc'ed text of a configuration; *notes: a list of {"field": where in TNG's file, "outcome": "not carried over" or "changed" or
// "unknown", "note": why, and the way out}. -EINVAL: not an object with routes; -ENOMEM.
int import_tng(const json_t *tng, char **yaml, json_t **notes, struct fault *f);

#endif
