// SPDX-License-Identifier: Apache-2.0
// Starts a program whose TCP connections go through the gateway, without privileges and without a word of its own: a seccomp filter hands each
// connect(2) of it and of all that it starts to this process (user notification, Linux 5.6), which connects the program's very socket to the
// gateway's listener and says by a ticket where it is to go (hook.h). Unlike a library in LD_PRELOAD that covers static programs, Go, and whatever
// makes system calls by itself, in one way. What else could carry bytes outside is closed: UDP beyond the loopback, raw sockets, fast open,
// io_uring. It is no sandbox, though: the program is trusted not to change its arguments while they are looked at.
#ifndef COFFER_TUNNEL_EXEC_H
#define COFFER_TUNNEL_EXEC_H

#include <netinet/in.h>
#include <stdbool.h>

#include "lib/fault.h"
#include "tunnel/hook.h"

struct exec;

// Starts the child, which waits for exec_run. To be called before there are threads. -ENOSYS, -EPERM: the kernel, or what this runs in, does not
// let a process do such things; f says what would help.
int exec_new(struct exec **out, char *const *argv, struct fault *f);
// What the gateway's listener takes tickets of.
struct hook *exec_hook(struct exec *e);
// Lets the program run until it ends; SIGTERM and SIGHUP are handed on to it. *status: as a shell would have it (127: it could not be started).
int exec_run(struct exec *e, const struct sockaddr_in *gateway, int *status, struct fault *f);
void exec_free(struct exec *e);	// a child that was not run goes

#endif
