// SPDX-License-Identifier: Apache-2.0
// A passphrase from the terminal or a file, never from an argument or the environment.
#ifndef COFFER_CLI_PASSPHRASE_H
#define COFFER_CLI_PASSPHRASE_H

// --passphrase-file; NULL: the terminal is asked.
extern const char *cli_passphrase_file;

// In the form that OpenSSL wants: its length, or -1. `writing`: for a new key, asked twice. `path` (char *) names what it opens.
int cli_passphrase(char *out, int size, int writing, void *path);

#endif
