// SPDX-License-Identifier: Apache-2.0
// A program whose connections go through a gateway of its own, in one process with it: `coffer tunnel exec`.
#ifndef COFFER_TUNNEL_GATEWAY_EXEC_H
#define COFFER_TUNNEL_GATEWAY_EXEC_H

#include "lib/fault.h"

// Runs argv through the ingress route `route` of the configuration (NULL: its only one); where that route listens and what it accepts does not
// matter then. *status: how the program ended, as a shell has it.
int gateway_exec(const char *path, const char *route, char *const *argv, int *status, struct fault *f);

#endif
