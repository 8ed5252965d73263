// SPDX-License-Identifier: Apache-2.0
// The enclave's way to a TPM of this host: a port of 127.0.0.1 whose connections are passed on to the device, one after the other, if they are
// of this process's user: others of the host do not get at a TPM by it that they may not use themselves. The enclave needs no faith in it.
#pragma once
#include <stddef.h>

#include "lib/fault.h"

// Begins to serve `where` (lib/tpm.h) in a thread, for this process's life. out: "tcp:127.0.0.1:PORT"; the same as `where` when that is a TCP
// address itself. What goes wrong later is said at message_fd. 0 or -errno.
int tpm_relay(const char *where, int message_fd, char *out, size_t n, struct fault *f);
