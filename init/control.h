// SPDX-License-Identifier: Apache-2.0
// Inside init/: the helper that starts programs for `coffer exec` and lists tasks for `coffer ps NAME`.
#ifndef COFFER_INIT_CONTROL_H
#define COFFER_INIT_CONTROL_H

#include "init/exec_request.h"

// Serves the host's requests, which come through `control` (COFFER_CONTROL_FILE), each in a process of its own. Never returns.
_Noreturn void control_serve(int control, const struct exec_rules *rules);

// The tasks of the enclave as JSON, in frames to `fd` (lib/control.h). 0 or -errno. arguments: with those of programs, which may be secret;
// else their paths alone.
int control_tasks(int fd, bool arguments);

#endif
