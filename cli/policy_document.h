// SPDX-License-Identifier: Apache-2.0
// `coffer policy put`, show, history, rollback, withdraw: the rules in a broker's database, by version.
#ifndef COFFER_CLI_POLICY_DOCUMENT_H
#define COFFER_CLI_POLICY_DOCUMENT_H

#include <stdbool.h>

bool policy_document_knows(const char *what);
// argv[0] is the word.
int policy_document(int argc, char **argv);

#endif
