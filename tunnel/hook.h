// SPDX-License-Identifier: Apache-2.0
// Where the connections of a program under `coffer tunnel exec` are to go: who catches its connect(2) (exec.c) says it here, sends HOOK_TICKET
// bytes down the connection instead of any protocol, and is told what became of it; the program itself sees nothing of that. A ticket is random
// and good for one connection: the listener is of use to nobody else on the machine. Lock: hook.lock; nothing is called under it.
#ifndef COFFER_TUNNEL_HOOK_H
#define COFFER_TUNNEL_HOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "tunnel/target.h"

#define HOOK_TICKET 16
#define HOOK_MAX 16384		// tickets that wait

struct hook;

// What became of a connection: `error` as accept_connected takes it. Called by the gateway's threads.
typedef void hook_result(void *ctx, uint64_t id, int error);

int hook_new(struct hook **out, hook_result *result, void *ctx);
void hook_free(struct hook *h);

// A ticket for a connection to `t` that the caller knows by `id`. -EBUSY: too many wait, -EIO: no random bytes, -ENOMEM.
int hook_issue(struct hook *h, const struct target *t, uint64_t id, uint8_t ticket[HOOK_TICKET]);
// The connection was not made after all.
void hook_forget(struct hook *h, uint64_t id);
// For accept.c: takes a ticket back. False: there is none of these bytes.
bool hook_redeem(struct hook *h, const uint8_t ticket[HOOK_TICKET], struct target *t, uint64_t *id);
void hook_tell(struct hook *h, uint64_t id, int error);

#endif
