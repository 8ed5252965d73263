// SPDX-License-Identifier: Apache-2.0
// One end of SPDM on a TCP socket: frames are read and written as they come, with limits on time and memory, and data pass between the session and
// two descriptors. Blocks in poll(2); belongs to one thread; no locks.
#ifndef COFFER_SPDM_TCP_H
#define COFFER_SPDM_TCP_H

#include "spdm/requester.h"
#include "spdm/responder.h"

struct spdm_tcp;

// Takes over the socket and the one end that is given, also when it fails. timeout_ms: for all up to the open session, and for each frame that has
// begun. -ENOMEM, -EIO.
int spdm_tcp_open(struct spdm_tcp **out, int fd, struct requester *q, struct responder *r, int timeout_ms, struct fault *f);
void spdm_tcp_close(struct spdm_tcp *l);

// The requester's conversation, until all is proved. The errors of requester_input; -ETIMEDOUT, -ECONNRESET.
int spdm_tcp_prove(struct spdm_tcp *l, struct fault *f);
// The responder's part, until a session is open or the requester has gone: *open says which.
int spdm_tcp_answer(struct spdm_tcp *l, bool *open, struct fault *f);
// Data from `in` and to `out` until both sides have ended. owns_out: a program's input, closed when the other side has ended; else all ends then.
// -EIO: `out` is closed.
int spdm_tcp_relay(struct spdm_tcp *l, int in, int out, bool owns_out, struct fault *f);
// The requester's end: END_SESSION and its answer.
int spdm_tcp_end(struct spdm_tcp *l, struct fault *f);

#endif
