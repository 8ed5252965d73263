// SPDX-License-Identifier: Apache-2.0
// What `coffer tunnel`'s parts share.
#ifndef COFFER_CLI_TUNNEL_H
#define COFFER_CLI_TUNNEL_H

#include "cli/cli.h"

extern const struct command command_tunnel;

int tunnel_exec(int argc, char **argv);
int tunnel_import(int argc, char **argv);

#endif
