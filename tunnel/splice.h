// SPDX-License-Identifier: Apache-2.0
// Bytes from one plain TCP socket to another through a pipe, without a copy of them into this process (splice(2)): of connections that go past the tunnel
// (direct.h), where nothing is sealed or looked at. Belongs to the worker's thread; no locks.
#ifndef COFFER_TUNNEL_SPLICE_H
#define COFFER_TUNNEL_SPLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// One direction. It has a pipe only while that holds something: what one socket gave and the other has not taken.
struct splice {
	int fds[2];		// valid while `held`
	size_t held;
};

// A pipe that is empty, for whoever needs one next: a worker's. {-1, -1}: none yet.
struct splice_spare {
	int fds[2];
};

bool splice_can(int a, int b);	// both are TCP
// What has come at `from`, of which nothing is held: so many bytes; 0 its end; -EAGAIN; -EOPNOTSUPP: not here, they have to be read; others: it broke.
ssize_t splice_take(struct splice *s, struct splice_spare *spare, int from);
// What is held, to `to`. How many bytes it took, all (s->held is 0 then) or as many as it had room for; or a negative errno: it broke.
ssize_t splice_give(struct splice *s, struct splice_spare *spare, int to);
void splice_drop(struct splice *s);	// what is held is thrown away
void splice_spare_close(struct splice_spare *spare);

#endif
