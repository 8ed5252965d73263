// SPDX-License-Identifier: Apache-2.0
// What the parts of `coffer token` share.
#ifndef COFFER_CLI_TOKEN_H
#define COFFER_CLI_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/owner.h"

struct token_fetch {
	const struct owner *owner;	// where the broker is
	const char *key_file;		// what the token is about: EC, P-256; made when there is none
	const char *output;		// replaced whole, never half written
	uint8_t *simulated;		// 48 bytes: SIMULATED evidence of this measurement; NULL: what this runs on gives it
};

// Attests once. *no: the broker refuses the evidence (401, 403), and nothing else is wrong.
int token_fetch(const struct token_fetch *q, bool *no, struct fault *f);

#endif
