// SPDX-License-Identifier: Apache-2.0
// The way to the helper of a running enclave (lib/control.h), for commands.
#ifndef COFFER_CLI_EXEC_H
#define COFFER_CLI_EXEC_H

#include "lib/fault.h"

// A connection, or -errno: it does not run, or takes no requests.
int exec_connect(const char *name, struct fault *f);
// Its tasks, JSON from inside, malloc'ed. 0 or -errno.
int exec_tasks(const char *name, char **json, struct fault *f);

#endif
