// SPDX-License-Identifier: Apache-2.0
// The name server of programs under `coffer tunnel exec`: every name gets an address of 198.18.0.0/15 (RFC 2544, on no network), which stands for
// that name until it is needed for another. So names go through the tunnel as names, and nobody outside is asked about them. Messages: RFC 1035,
// strict. No I/O; belongs to one thread.
#ifndef COFFER_TUNNEL_EXEC_NAMES_H
#define COFFER_TUNNEL_EXEC_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tunnel/target.h"

#define NAMES_MAX 32768		// kept at once; the one that was asked for longest ago gives way
#define NAMES_MESSAGE 512	// bytes of the longest question and answer

struct exec_names;

struct exec_names *exec_names_new(void);	// NULL: no memory
void exec_names_free(struct exec_names *n);

// Answers one question. The answer's length; 0: no question, nothing is to be sent. IPv4 addresses are made up; every other kind is answered with
// nothing, but for the way back from such an address to its name.
size_t exec_names_answer(struct exec_names *n, const uint8_t *question, size_t len, uint8_t answer[NAMES_MESSAGE]);

// What stands behind an address. 0: it was not made up here, t is as it was; 1: t is now a name, with the port as it was; -ENOENT: made up, and
// forgotten.
int exec_names_find(struct exec_names *n, struct target *t);

#endif
