// SPDX-License-Identifier: Apache-2.0
// The gateway as a process: a configuration file, an engine, its administration, and signals. One in a process.
#ifndef COFFER_TUNNEL_GATEWAY_H
#define COFFER_TUNNEL_GATEWAY_H

#include "lib/fault.h"

// Runs until SIGTERM or SIGINT (a second one ends it at once), reads the file again at SIGHUP. 0 after an end in order; else why it could not begin.
int gateway_run(const char *path, struct fault *f);
// Reads a configuration and all that it names, without listening or connecting.
int gateway_check(const char *path, struct fault *f);

#endif
