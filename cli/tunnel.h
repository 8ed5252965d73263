// SPDX-License-Identifier: Apache-2.0
// What `coffer tunnel`'s parts share.
#ifndef COFFER_CLI_TUNNEL_H
#define COFFER_CLI_TUNNEL_H

#include "cli/cli.h"

extern const struct command command_tunnel;

#endif
