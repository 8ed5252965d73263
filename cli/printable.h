// SPDX-License-Identifier: Apache-2.0
// What brokers answer, for a terminal: nothing that came from others is for it to obey.
#ifndef COFFER_CLI_PRINTABLE_H
#define COFFER_CLI_PRINTABLE_H

#include <jansson.h>

// A copy whose texts have no control characters, in the place of *v, whose reference is taken over. NULL stays NULL.
json_t *printable(json_t *v);

#endif
