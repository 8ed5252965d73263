// SPDX-License-Identifier: Apache-2.0
// A PostgreSQL server of a test's own, from Debian's package, in a folder of its own, as an unprivileged user, on a socket in that folder.
#ifndef COFFER_TESTS_BROKER_PG_H
#define COFFER_TESTS_BROKER_PG_H

#include <stdbool.h>
#include <sys/types.h>

struct pg {
	char dir[64];
	char url[384];	// with a password file
	int port;	// 0: no TCP
	pid_t pid;
};

// False (with a notice) when the package is not there.
bool pg_make(struct pg *s);
// Returns when it takes connections.
bool pg_start(struct pg *s);
// From its next start on: over TLS on 127.0.0.1, with a certificate of its own.
bool pg_use_tls(struct pg *s);
// At once, as after a power cut; or SIGINT: its transactions end, then it.
void pg_stop(struct pg *s, int sig);
// All its processes hang, with their connections open, until they go on.
void pg_hang(const struct pg *s, bool hang);
void pg_remove(struct pg *s);

#endif
