// SPDX-License-Identifier: Apache-2.0
// The child's half of exec.h.
#ifndef COFFER_TUNNEL_EXEC_FILTER_H
#define COFFER_TUNNEL_EXEC_FILTER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

// Puts this process under the filter. The descriptor of its notifications, or a negative errno.
int exec_filter(void);
// After fork: waits for a byte, sends the notifications' descriptor, waits for another byte, becomes the program. What fails is written to
// `channel` as an int.
_Noreturn void exec_child(int channel, char *const *argv, const sigset_t *mask);

#endif
