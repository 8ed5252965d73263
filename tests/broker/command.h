// SPDX-License-Identifier: Apache-2.0
// The broker's commands, each in a process of its own, as a test runs them. Single-threaded.
#ifndef COFFER_TESTS_BROKER_COMMAND_H
#define COFFER_TESTS_BROKER_COMMAND_H

#include <sys/types.h>

extern char said[8192];	// what the last one printed

// A descriptor that gives this text.
int giving(const char *text);
// Begins it; words up to NULL. Those that begin with % are passphrases: they are given through a descriptor.
#define command_begin(run, ...) command_begin_with(run, (const char *const[]){__VA_ARGS__, NULL})
pid_t command_begin_with(int (*run)(int, char **), const char *const *words);
// Its exit status, -1 when it was killed; `said`.
int command_end(pid_t pid);
#define command(run, ...) command_end(command_begin(run, __VA_ARGS__))

#endif
