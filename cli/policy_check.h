// SPDX-License-Identifier: Apache-2.0
// `coffer policy check`; what follows `coffer policy` on the command line.
#ifndef COFFER_CLI_POLICY_CHECK_H
#define COFFER_CLI_POLICY_CHECK_H

int policy_check(int argc, char **argv);

#endif
